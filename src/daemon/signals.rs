//! Signals -> what an operator wants. None that a terminal or an operator sends
//! ends a server before it has answered what is queued, but for a second one that
//! says the same.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossbeam_channel::Receiver;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::iterator::Signals;

use super::print;

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

/// Signals that have come, and whether there is a server to tell of them.
pub struct Wishes {
    serving: Arc<AtomicBool>,
    wishes: Receiver<Wish>,
}

impl Wishes {
    /// Watches for signals from now on. Before `serve` there is nothing to lose: a
    /// signal to stop ends the process on the spot.
    ///
    /// # Errors
    ///
    /// What the kernel says to watching, or to one more thread.
    pub fn watch() -> io::Result<Wishes> {
        let all = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ];
        let mut signals = Signals::new(all)?;
        let serving = Arc::new(AtomicBool::new(false));
        let (send, wishes) = crossbeam_channel::unbounded();
        let is_serving = serving.clone();
        let watch = move || {
            let mut stopping = false;
            for wish in signals.forever().filter_map(Wish::of) {
                // SeqCst: once at the start of the program, cost is no matter.
                let serving = is_serving.load(Ordering::SeqCst);
                match wish {
                    Wish::Stop if !serving => std::process::exit(0),
                    Wish::Stop if stopping => at_once(),
                    _ if !serving => continue,
                    _ => stopping |= wish == Wish::Stop,
                }
                if send.send(wish).is_err() && !stopping {
                    return;
                }
            }
        };
        let name = "shardns-signals".to_owned();
        thread::Builder::new().name(name).spawn(watch)?;
        Ok(Wishes { serving, wishes })
    }

    /// From now on there is a server, and what comes is its to follow.
    pub fn serve(&self) -> &Receiver<Wish> {
        // SeqCst: once at the start of the program, cost is no matter.
        self.serving.store(true, Ordering::SeqCst);
        &self.wishes
    }
}

fn at_once() -> ! {
    print("shardns: stopped at once by a second signal; what was queued is lost\n");
    std::process::exit(1)
}
