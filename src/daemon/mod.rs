//! Keeping a server running: what an operator does to it while it answers, and
//! what it tells of itself. Nothing here is on the way of a datagram.
//!
//! The control thread owns the server and waits for whatever may come: signals,
//! events of its threads, zones that have been read anew. It does nothing that takes
//! long itself.

pub mod chance;
pub mod http;
pub mod metrics;
pub mod reload;
pub mod signals;
pub mod status;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select, tick};
use tracing::{error, warn};

use crate::server::snapshot::Snapshot;
use crate::server::{Event, Server};
use reload::{Keeper, Known, Reloaded, Reloader, Said, What};
use signals::Wish;

/// How often what was replaced is freed, where no thread has it any more.
const TICK: Duration = Duration::from_millis(100);

/// A running server and what belongs to it.
pub struct Daemon {
    server: Server,
    reloader: Reloader,
    /// The zones and their files, as of the last time that they were looked at.
    known: Vec<Known>,
    /// Who waits for each look that is under way or to come; `None` for nobody but
    /// the log.
    waiting: VecDeque<Option<Sender<Said>>>,
}

/// Writes to stderr. Where nobody can read it, as on a full disk or a closed
/// terminal, the words are lost and the server goes on.
pub fn print(words: &str) {
    let _ = io::stderr().write_all(words.as_bytes());
}

impl Daemon {
    /// Takes a server that runs, and what is needed to read its zones anew.
    ///
    /// # Errors
    ///
    /// What the kernel says to more threads.
    pub fn new(server: Server, keeper: Keeper) -> io::Result<Daemon> {
        Ok(Daemon {
            server,
            known: keeper.collection.entries().map(Known::of).collect(),
            reloader: Reloader::start(keeper)?,
            waiting: VecDeque::new(),
        })
    }

    /// Keeps the server running until somebody wants it to end; returns it as it
    /// was then, stopped.
    pub fn run(mut self, wishes: &Receiver<Wish>) -> Server {
        let ticks = tick(TICK);
        loop {
            select! {
                recv(wishes) -> wish => match wish {
                    Ok(Wish::Reload) => self.reload(What::All, None),
                    Ok(Wish::Counters) => print(&self.server.table()),
                    Ok(Wish::Stop) | Err(_) => break,
                },
                recv(self.server.events()) -> event => match event {
                    Ok(event) => log(&event),
                    // No thread is left that could report.
                    Err(_) => break,
                },
                recv(self.reloader.done()) -> done => match done {
                    Ok(reloaded) => self.take(reloaded),
                    Err(_) => break,
                },
                recv(ticks) -> _ => {
                    self.server.free_replaced();
                }
            }
        }
        self.server.stop();
        self.server
    }

    /// Has the zones read anew, and whoever asks be told.
    fn reload(&mut self, what: What, asker: Option<Sender<Said>>) {
        self.waiting.push_back(asker);
        self.reloader.want(what);
    }

    /// Serves what was read.
    fn take(&mut self, reloaded: Reloaded) {
        let Reloaded {
            zones,
            settings,
            known,
            said,
        } = reloaded;
        let before = self.server.snapshot();
        if zones.is_some() || settings.is_some() {
            self.server.replace(Snapshot {
                zones: zones.unwrap_or_else(|| before.zones.clone()),
                settings: settings.unwrap_or_else(|| before.settings.clone()),
            });
        }
        // The last one who has it frees it, and that is to be this thread.
        drop(before);
        self.known = known;
        said.log();
        if let Some(Some(asker)) = self.waiting.pop_front() {
            // Whoever asked may have gone.
            let _ = asker.send(said);
        }
    }
}

fn log(event: &Event) {
    match event {
        Event::Panicked {
            thread,
            message,
            backtrace,
        } => {
            error!("{thread} broke on a request, dropped it and goes on: {message}\n{backtrace}");
        }
        Event::NotPinned { thread, cpu } => {
            warn!("{thread} could not be pinned to CPU {cpu} and runs where the kernel puts it");
        }
    }
}
