//! A bench to play at: a page on loopback with real sockets of the kernel behind it.
//! One sees where each client port's datagrams land, adds and closes sockets, stalls
//! one, restarts the server in three ways, has others join, and reads what it cost.
//!
//! ```text
//!  browser ── web.rs ──▶ actions.rs on the bench's thread ──▶ bench.rs
//!     ▲                                                          │ binds, hands over
//!     └── frame.rs ◀── ledger.rs ◀── clients.rs ── datagrams ──▶ serving.rs
//! ```
//!
//! It listens on loopback alone, answers to nobody who does not have the random token
//! of this run, and takes nothing from elsewhere: page, style and script are in the
//! program.

mod actions;
mod bench;
mod clients;
mod frame;
mod ledger;
mod message;
mod server;
mod serving;
mod setup;
mod web;
mod words;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use actions::Action;
use bench::{Bench, Said, Shown};
use web::Web;

pub use setup::Setup;

/// How often it is looked whether all who serve are still there.
const TENDED: Duration = Duration::from_millis(500);

/// A bench that runs, until it is dropped.
pub struct Play {
    // Who may still ask is gone before the bench is.
    web: Option<Web>,
    bench: Option<JoinHandle<()>>,
    setup: Setup,
}

/// An action, and where to say what came of it.
struct Wish {
    action: Action,
    said: Sender<Said>,
}

impl Play {
    /// Sets a bench up, and serves its page on a port of loopback; the kernel
    /// chooses it where it is 0.
    ///
    /// # Errors
    ///
    /// What the kernel would not give.
    pub fn start(port: u16, setup: Setup) -> anyhow::Result<Play> {
        let (send, wishes) = bounded::<Wish>(0);
        let (ready, started) = bounded(1);
        // Other processes end with the thread that starts them, so that this one
        // lives as long as the bench.
        let thread = thread::Builder::new().name("play-bench".into());
        let bench = thread.spawn(move || match Bench::start(setup) {
            Ok(bench) => {
                let _ = ready.send(Ok(bench.shown()));
                run(bench, &wishes);
            }
            Err(error) => drop(ready.send(Err(error))),
        })?;
        let shown: Arc<Mutex<Shown>> = started.recv().context("the bench is gone")??;
        let web = Web::start(port, shown, send)?;
        Ok(Play {
            web: Some(web),
            bench: Some(bench),
            setup,
        })
    }

    /// Where the page is.
    pub fn address(&self) -> SocketAddr {
        self.web
            .as_ref()
            .map(Web::address)
            .expect("it is there until it is dropped")
    }

    /// The page's address with the token that it needs. What is behind `#` is kept by
    /// the browser and goes into no request.
    pub fn url(&self) -> String {
        let token = self.web.as_ref().map_or("", Web::token);
        format!("http://{}/#token={token}&{}", self.address(), self.setup)
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        drop(self.web.take());
        if let Some(bench) = self.bench.take() {
            let _ = bench.join();
        }
    }
}

fn run(mut bench: Bench, wishes: &Receiver<Wish>) {
    loop {
        match wishes.recv_timeout(TENDED) {
            // Whoever has gone away meanwhile sees it in the frames, if at all.
            Ok(Wish { action, said }) => drop(said.send(bench.act(action))),
            Err(RecvTimeoutError::Timeout) => bench.look_after(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Serves sockets that a bench hands over its standard input.
///
/// # Errors
///
/// What the kernel says, or an order that is none.
pub fn serve_stdin() -> io::Result<()> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    serving::serve(UnixStream::from(stdin))
}

/// What a thread that panicked has left is as good as any.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
