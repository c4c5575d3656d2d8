//! Signals -> what an operator wants. None that a terminal or an operator sends
//! ends a server before it has answered what is queued, but for a second one that
//! says the same.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossbeam_channel::Receiver;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use super::stderr;

/// What an operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To have the zones looked at again (SIGHUP, which a closed terminal sends,
    /// too).
    Reload,
    /// To see the counters (SIGUSR1).
    Counters,
    /// The end (SIGTERM, SIGINT, SIGQUIT).
    Stop,
}

impl Wish {
    fn of(signal: i32) -> Option<Wish> {
        match signal {
            SIGHUP => Some(Wish::Reload),
            SIGUSR1 => Some(Wish::Counters),
            SIGTERM | SIGINT | SIGQUIT => Some(Wish::Stop),
            // Without meaning here, or, where the log's file has become too long,
            // none that the server is to suffer for.
            _ => None,
        }
    }
}

/// Signals that are caught, and wait for somebody to look at them.
pub struct Caught {
    signals: Signals,
    starting: Arc<AtomicBool>,
}

impl Caught {
    /// Catches signals from now on. Until `pass_on` there is nothing to lose: a
    /// signal to stop ends the process on the spot.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn catch() -> io::Result<Caught> {
        let starting = Arc::new(AtomicBool::new(true));
        for signal in [SIGINT, SIGQUIT, SIGTERM] {
            flag::register_conditional_shutdown(signal, 0, starting.clone())?;
        }
        let all = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ];
        Ok(Caught {
            signals: Signals::new(all)?,
            starting,
        })
    }

    /// From now on there is a server, and what comes is its to follow. The thread
    /// that this takes has what privileges the calling one has left.
    ///
    /// # Errors
    ///
    /// What the kernel says to one more thread.
    pub fn pass_on(mut self) -> io::Result<Receiver<Wish>> {
        // SeqCst: once at the start of the program, cost is no matter.
        self.starting.store(false, Ordering::SeqCst);
        let (send, wishes) = crossbeam_channel::unbounded();
        let watch = move || {
            let mut stopping = false;
            for wish in self.signals.forever().filter_map(Wish::of) {
                match wish {
                    Wish::Stop if stopping => at_once(),
                    _ => stopping |= wish == Wish::Stop,
                }
                if send.send(wish).is_err() && !stopping {
                    return;
                }
            }
        };
        let name = "shardns-signals".to_owned();
        thread::Builder::new().name(name).spawn(watch)?;
        Ok(wishes)
    }
}

fn at_once() -> ! {
    stderr::print("shardns: stopped at once by a second signal; what was queued is lost\n");
    stderr::flush();
    std::process::exit(1)
}
