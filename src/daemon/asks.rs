//! What other threads ask of the control thread, which owns the server.

use std::io;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::control::Counted;
use super::reload::{Said, What};
use super::status::Status;
use super::takeover::{Answer, Handed};
use crate::server::inherited::Taken;
use crate::server::tap::Subscription;

/// How long the control thread may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long reading zones anew may take.
const RELOADING: Duration = Duration::from_secs(600);

/// One thing asked, and where the answer goes.
pub enum Ask {
    /// The state of the server.
    Status(Sender<Status>),
    /// To look at zones again.
    Reload(What, Sender<Said>),
    /// The end.
    Stop(Sender<()>),
    /// One of so many queries from now on.
    Watch(u32, Sender<io::Result<Subscription>>),
    /// Copies of all sockets; `None` where another process is being handed them.
    HandOver(Sender<Option<Handed>>),
    /// To read nothing past the sockets any more.
    LeaveQueues(Sender<()>),
    /// To go on as if nothing had been asked for.
    Withdraw,
    /// To leave the sockets to the process that has them too, but for what was not
    /// taken; the answer is what has been counted, `None` where it cannot.
    LetGo(Taken, u32, Sender<Option<Counted>>),
    /// To read the sockets again, since the other process is gone.
    Resume,
    /// To end when the last connection does; the answer is what was counted since
    /// letting go, and is passed on when the receiver is disconnected.
    Retire(Sender<Counted>, Receiver<()>),
    /// To follow what the process says whose sockets were taken.
    Settle(Answer),
    /// To serve without it: it has ended.
    Alone,
    /// To add what another process has counted on these sockets.
    CarryOn(Counted),
}

/// What came of asking the server to let go.
pub enum LetGo {
    /// It has, and has counted so much.
    Done(Counted),
    /// It has not, and goes on.
    Not,
    /// It is ending anyway.
    Ending,
}

/// A way to ask.
#[derive(Clone)]
pub struct Asks(Sender<Ask>);

impl Asks {
    /// What is asked goes to whoever has the other end.
    pub fn new(asks: Sender<Ask>) -> Asks {
        Asks(asks)
    }

    /// The state of the server; `None`, as for all of these, where it is about to
    /// end.
    pub fn status(&self) -> Option<Status> {
        self.status_within(PATIENCE)
    }

    /// The state of the server, or nothing if that takes too long.
    pub fn status_within(&self, patience: Duration) -> Option<Status> {
        wait(self.ask(Ask::Status)?, Some(patience))
    }

    /// Has zones looked at again, and waits until that is done.
    pub fn reload(&self, what: What) -> Option<Said> {
        wait(self.ask(|to| Ask::Reload(what, to))?, Some(RELOADING))
    }

    /// Ends the server.
    pub fn stop(&self) -> Option<()> {
        wait(self.ask(Ask::Stop)?, Some(PATIENCE))
    }

    /// One of `every` queries from now on.
    pub fn watch(&self, every: u32) -> Option<io::Result<Subscription>> {
        wait(self.ask(|to| Ask::Watch(every, to))?, Some(PATIENCE))
    }

    /// Copies of all sockets.
    pub fn hand_over(&self) -> Option<Handed> {
        wait(self.ask(Ask::HandOver)?, Some(PATIENCE))?
    }

    /// Has the server leave what it reads past the sockets.
    pub fn leave_queues(&self) -> Option<()> {
        wait(self.ask(Ask::LeaveQueues)?, Some(PATIENCE))
    }

    /// Has the server go on with all its sockets, as before `hand_over`.
    pub fn withdraw(&self) {
        let _ = self.0.send(Ask::Withdraw);
    }

    /// Has the server leave its sockets to who has taken them. That waits for as long as
    /// the control thread takes: it cannot be asked not to, and who has taken them reads
    /// them anyway.
    pub fn let_go(&self, taken: Taken, process: u32) -> LetGo {
        let Some(answer) = self.ask(|to| Ask::LetGo(taken, process, to)) else {
            return LetGo::Ending;
        };
        match wait(answer, None) {
            Some(Some(counted)) => LetGo::Done(counted),
            Some(None) => LetGo::Not,
            None => LetGo::Ending,
        }
    }

    /// Has the server read all its sockets again, as before `let_go`.
    pub fn resume(&self) {
        let _ = self.0.send(Ask::Resume);
    }

    /// Has the server end when its last connection does, and waits for that. The process
    /// ends when what was counted has been passed on, and the sender is dropped.
    pub fn retire(&self) -> Option<(Counted, Sender<()>)> {
        let (tells, told) = bounded(0);
        let counted = wait(self.ask(|to| Ask::Retire(to, told))?, None)?;
        Some((counted, tells))
    }

    fn ask<T>(&self, ask: impl FnOnce(Sender<T>) -> Ask) -> Option<Receiver<T>> {
        let (to, answer) = bounded(1);
        self.0.send(ask(to)).ok()?;
        Some(answer)
    }
}

fn wait<T>(answer: Receiver<T>, patience: Option<Duration>) -> Option<T> {
    match patience {
        Some(patience) => answer.recv_timeout(patience).ok(),
        None => answer.recv().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_knows_the_status_is_asked_and_not_waited_for_without_end() {
        let (whom, asked) = bounded(2);
        let asks = Asks::new(whom);
        let soon = Duration::from_millis(100);
        let full = || Status {
            pid: 7,
            ..Status::default()
        };
        std::thread::scope(|scope| {
            scope.spawn(|| match asked.recv().unwrap() {
                Ask::Status(answer) => answer.send(full()).unwrap(),
                _ => panic!("something else is asked"),
            });
            assert_eq!(asks.status(), Some(full()));
        });
        // Asked, and kept waiting; then with nobody there.
        assert_eq!(asks.status_within(soon), None);
        assert_eq!(asks.status_within(soon), None);
        drop(asked);
        assert_eq!(asks.status(), None);
    }
}
