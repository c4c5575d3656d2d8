//! A takeover: one process hands all its sockets to another while both answer from
//! them. Nothing that is queued belongs to either, so nothing is lost, and no flow
//! moves, since each socket keeps its place in its group.
//!
//! ```text
//! new: takeover            ─▶  old: may it? (its user, or root)
//! old: offer               ◀─       how many sockets there are
//! new: go                  ─▶
//! old: descriptors         ◀─  both have all sockets, the old one reads them
//! new: cookie secrets      ─▶  where it has none of its own, and the offer has them
//! old: cookie secrets      ◀─
//! new: leave queues        ─▶  what is read past the sockets is left, where both want
//! old: queues left         ◀─      it; what comes in goes over the sockets
//! new starts its workers       both read them
//! new: ready, taken        ─▶  old: its workers end after the batch in hand;
//!                                   what was not taken it reads on
//! old: let go, counters    ◀─  the new one reads them
//!            (a second)        if the new one is gone by then, the old one goes on
//! old: leaves what was not taken: nothing more comes to it, it is drained and closed
//! old: finished, counters  ◀─  its last connection has ended, and so does it
//! ```
//!
//! What was not always there is asked for where the offer has it, and not waited for
//! where nobody asks, so that versions before and after one another get on.
//!
//! If the new one dies before it is ready, the old one has never stopped. If the old
//! one dies once the new one has the descriptors, the new one goes on alone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crossbeam_channel::Sender;
use serde::{Deserialize, Serialize};

use super::asks::{Ask, Asks, LetGo};
use super::control::{self, ClientError, Command, Counted, Lines, Reply};
use crate::answer::Secrets;
use crate::server::Sockets;
use crate::server::inherited::Taken;
use crate::sys::unix;

/// How long the new process may take from having the sockets to being ready.
const STARTING: Duration = Duration::from_secs(60);
/// How long the new process must live to be trusted with the sockets.
const TRIAL: Duration = Duration::from_secs(1);
/// How long the old process may take to let go.
const LETTING_GO: Duration = Duration::from_secs(10);

/// What there is to be had; descriptors follow in this order: groups, listeners, the
/// control socket, the listener for metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// The process that has it.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Its workers.
    pub workers: usize,
    /// Sockets of each group.
    pub groups: Vec<usize>,
    /// TCP listeners.
    pub listeners: usize,
    /// Whether there is a listener for metrics.
    pub metrics: bool,
    /// Seconds since counting began.
    pub counting_seconds: f64,
    /// Interfaces that it reads past the sockets, and goes on to until it is told to
    /// leave them.
    #[serde(default)]
    pub interfaces: Vec<String>,
    /// Whether the secrets of its DNS cookies are to be had.
    #[serde(default)]
    pub cookie_secrets: bool,
}

/// What is handed over.
#[derive(Debug)]
pub struct Handed {
    /// What it is.
    pub offer: Offer,
    /// UDP sockets and TCP listeners.
    pub sockets: Sockets,
    /// The control socket.
    pub control: OwnedFd,
    /// The listener for metrics.
    pub metrics: Option<OwnedFd>,
    /// The secrets of DNS cookies, which are sent to who asks for them.
    pub cookies: Option<Secrets>,
}

impl Handed {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let Sockets {
            groups, listeners, ..
        } = &self.sockets;
        let sockets = groups.iter().flatten().chain(listeners);
        let rest = [&self.control].into_iter().chain(&self.metrics);
        sockets.chain(rest).map(AsFd::as_fd).collect()
    }

    /// Sorts descriptors as the offer has them.
    fn sort(offer: Offer, descriptors: Vec<OwnedFd>) -> Option<Handed> {
        let mut rest = descriptors.into_iter();
        let mut take = |count: usize| -> Vec<OwnedFd> { rest.by_ref().take(count).collect() };
        let groups = offer.groups.iter().map(|count| take(*count)).collect();
        let listeners = take(offer.listeners);
        let control = take(1).pop()?;
        let metrics = take(usize::from(offer.metrics)).pop();
        Some(Handed {
            sockets: Sockets {
                workers: offer.workers,
                groups,
                listeners,
            },
            offer,
            control,
            metrics,
            cookies: None,
        })
    }

    fn count(offer: &Offer) -> usize {
        offer.groups.iter().sum::<usize>() + offer.listeners + 1 + usize::from(offer.metrics)
    }
}

/// The old process's part, on the thread of the connection.
///
/// # Errors
///
/// A connection that broke; the server goes on then.
pub(super) fn give(lines: &mut Lines, asks: &Asks) -> io::Result<()> {
    let Some(handed) = asks.hand_over() else {
        let words = "another process is taking the sockets over, or the server is about to end";
        return lines.send(&Reply::Error(words.into()));
    };
    let (taken, process) = match hand(lines, handed, asks) {
        Ok(ready) => ready,
        Err(error) => {
            asks.withdraw();
            let _ = lines.send(&Reply::Withdrawn);
            return Err(error);
        }
    };
    let counted = match asks.let_go(taken, process) {
        LetGo::Done(counted) => counted,
        LetGo::Not => return lines.send(&Reply::Withdrawn),
        // Without a word: the other process is the only one then.
        LetGo::Ending => return Ok(()),
    };
    let is_heard = lines.send(&Reply::LetGo(counted)).is_ok();
    if !is_alive(lines, is_heard) {
        asks.resume();
        return Ok(());
    }
    match asks.retire() {
        // The process waits for the other end of `_told` before it ends.
        Some((counted, _told)) => lines.send(&Reply::Finished(counted)),
        None => Ok(()),
    }
}

/// Hands everything over; returns what has been taken when it is being answered, and
/// by which process.
fn hand(lines: &mut Lines, handed: Handed, asks: &Asks) -> io::Result<(Taken, u32)> {
    lines.send(&Reply::Offer(handed.offer.clone()))?;
    if lines.receive()? != Some(Command::Go) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    unix::send_descriptors(lines.stream(), &handed.descriptors())?;
    // The new process has its own copies by now.
    let Handed { mut cookies, .. } = handed;
    lines.set_patience(Some(STARTING))?;
    loop {
        match lines.receive()? {
            Some(Command::CookieSecrets) => {
                let secrets = cookies.take().ok_or(io::ErrorKind::UnexpectedEof)?;
                lines.send(&Reply::CookieSecrets(secrets))?;
            }
            Some(Command::LeaveQueues) => {
                // They cannot be taken back.
                is_there(lines)?;
                // Without a word where the server is ending: it leaves them then, too.
                asks.leave_queues().ok_or(io::ErrorKind::UnexpectedEof)?;
                lines.send(&Reply::QueuesLeft)?;
            }
            Some(Command::Ready { taken, process }) => {
                is_there(lines)?;
                return Ok((taken, process));
            }
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Whoever has gone meanwhile, as when this process stood still, shall not have what it
/// has asked for. Who was to end has said so.
fn is_there(lines: &mut Lines) -> io::Result<()> {
    match lines.is_closed()? {
        true => Err(io::ErrorKind::UnexpectedEof.into()),
        false => Ok(()),
    }
}

/// True where the new process lives for a while, or ends because somebody wants it
/// to, or because it has a successor by now.
fn is_alive(lines: &mut Lines, is_heard: bool) -> bool {
    match lines.has_more(TRIAL) {
        Ok(false) => is_heard,
        _ => matches!(lines.receive(), Ok(Some(Command::Stop))),
    }
}

/// A takeover under way, seen from the new process.
pub struct Takeover {
    lines: Lines,
    /// What was offered.
    pub offer: Offer,
}

/// How the old process has taken it.
#[derive(Debug)]
pub enum Answer {
    /// It reads the sockets no more; what has been counted.
    LetGo(Counted),
    /// It says nothing, and is not dead: it may still let go.
    Silent,
    /// It has died.
    Died,
    /// It goes on: this took too long.
    Withdrawn,
}

impl Takeover {
    /// Asks the server at the control socket for its sockets; `None` where there is
    /// no server.
    ///
    /// # Errors
    ///
    /// A server that refuses, or is another user's.
    pub fn begin(path: &Path) -> Result<Option<(Takeover, Handed)>, ClientError> {
        let failed = |error| ClientError::new(path, error);
        let mut lines = match control::connect(path) {
            Err(ClientError::Nobody(_)) => return Ok(None),
            lines => lines?,
        };
        lines.send(&Command::Takeover).map_err(failed)?;
        let offer = match lines.receive().map_err(failed)? {
            Some(Reply::Offer(offer)) => offer,
            Some(Reply::Error(reason)) => return Err(ClientError::Refused(reason)),
            _ => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
        };
        lines.send(&Command::Go).map_err(failed)?;
        let count = Handed::count(&offer);
        let descriptors = unix::receive_descriptors(lines.stream(), count).map_err(failed)?;
        let handed = Handed::sort(offer.clone(), descriptors);
        let handed = handed.ok_or_else(|| failed(io::ErrorKind::UnexpectedEof.into()))?;
        Ok(Some((Takeover { lines, offer }, handed)))
    }

    /// The secrets of the other process's DNS cookies; `None` where it has none, or
    /// keeps them to itself as older versions do.
    ///
    /// # Errors
    ///
    /// A server that does not send them after all.
    pub fn cookie_secrets(&mut self) -> io::Result<Option<Secrets>> {
        if !self.offer.cookie_secrets {
            return Ok(None);
        }
        self.lines.send(&Command::CookieSecrets)?;
        match self.lines.receive()? {
            Some(Reply::CookieSecrets(secrets)) => Ok(Some(secrets)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Has the other process leave what it reads past the sockets. To be called when all
    /// else is there that is needed to read it here: it cannot take it back.
    ///
    /// # Errors
    ///
    /// A server that stands still, has withdrawn, or says something else. One that has
    /// died has left it, too.
    pub fn leave_queues(&mut self) -> io::Result<()> {
        let process = self.offer.pid;
        let words = match self.ask(&Command::LeaveQueues) {
            Ok(Some(Reply::QueuesLeft) | None) => return Ok(()),
            Ok(Some(Reply::Withdrawn)) => {
                format!("process {process} keeps its queues; this one took too long to start")
            }
            Ok(Some(Reply::Error(words))) => {
                format!("process {process} keeps its queues: {words}")
            }
            Ok(Some(_)) => format!("process {process} does not say that it leaves its queues"),
            Err(error) if is_timeout(&error) => {
                format!("process {process} does not leave its queues; it stands still")
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                format!("process {process} says nothing that is known of its queues: {error}")
            }
            Err(_) => return Ok(()),
        };
        Err(io::Error::other(words))
    }

    /// Says that so much of what was handed over is being answered.
    fn ready(&mut self, taken: Taken) -> Answer {
        let process = std::process::id();
        match self.ask(&Command::Ready { taken, process }) {
            Ok(Some(Reply::LetGo(counted))) => Answer::LetGo(counted),
            Ok(Some(_)) => Answer::Withdrawn,
            Err(error) if is_timeout(&error) => Answer::Silent,
            Ok(None) | Err(_) => Answer::Died,
        }
    }

    /// Says something, and reads what comes: that is there also where nobody listens any
    /// more, as of a server that has withdrawn before it was asked.
    fn ask(&mut self, command: &Command) -> io::Result<Option<Reply>> {
        let said = self.lines.send(command);
        let _ = self.lines.set_patience(Some(LETTING_GO));
        let reply = self.lines.receive()?;
        match (reply, said) {
            (None, Err(error)) => Err(error),
            (reply, _) => Ok(reply),
        }
    }

    /// Says that so much of what was handed over is being answered, and waits for the
    /// old process to let go and to end, on a thread of its own, which passes on what
    /// it says. Returns a way to tell it that this one ends because it is to.
    ///
    /// # Errors
    ///
    /// What the kernel says to one more thread or descriptor.
    pub fn settle(mut self, taken: Taken, asks: Sender<Ask>) -> io::Result<Predecessor> {
        let stream = self.lines.stream().try_clone()?;
        let wait = move || {
            let answer = self.ready(taken);
            // The server may be ending.
            let _ = asks.send(Ask::Settle(answer));
            let _ = self.lines.set_patience(None);
            while let Ok(Some(reply)) = self.lines.receive() {
                let _ = asks.send(match reply {
                    Reply::LetGo(counted) | Reply::Finished(counted) => Ask::CarryOn(counted),
                    Reply::Withdrawn => Ask::Settle(Answer::Withdrawn),
                    _ => break,
                });
            }
            let _ = asks.send(Ask::Alone);
        };
        let thread = thread::Builder::new().name("shardns-takeover".into());
        thread.spawn(wait)?;
        Ok(Predecessor(stream))
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// The process whose sockets were taken, while it still looks on.
pub struct Predecessor(UnixStream);

impl Predecessor {
    /// Tells it that this process ends because it is to, so that it need not go on.
    pub fn dismiss(&self) {
        use io::Write;
        let mut line = serde_json::to_vec(&Command::Stop).expect("a command is text");
        line.push(b'\n');
        // It may have ended long ago.
        let _ = (&self.0).write_all(&line);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A takeover from a server that says this when it is asked for the first time, or
    /// before anybody asks it, and goes.
    fn takeover(said: &'static str, is_asked: bool) -> Takeover {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let listener = UnixListener::bind(&path).unwrap();
        let lines = control::connect(&path).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut answer = move || {
            if is_asked {
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
            }
            stream.write_all(said.as_bytes()).unwrap();
        };
        match is_asked {
            true => drop(thread::spawn(answer)),
            false => answer(),
        }
        let offer = Offer {
            pid: 7,
            ..Offer::default()
        };
        Takeover { lines, offer }
    }

    #[test]
    fn queues_are_left_where_that_is_said_or_nobody_has_them_any_more() {
        for is_asked in [true, false] {
            for (said, fault) in [
                ("\"queues-left\"\n", None),
                ("", None),
                ("\"withdrawn\"\n", Some("7 keeps its queues; this one took")),
                ("{\"error\":\"no\"}\n", Some("7 keeps its queues: no")),
                ("\"stopping\"\n", Some("7 does not say that it leaves")),
                ("\"of-later\"\n", Some("7 says nothing that is known")),
            ] {
                let answer = takeover(said, is_asked).leave_queues();
                let answer = answer.err().map(|error| error.to_string());
                match (&answer, fault) {
                    (None, None) => {}
                    (Some(answer), Some(fault)) if answer.contains(fault) => {}
                    _ => panic!("{said:?}: {answer:?}"),
                }
            }
        }
    }

    /// It reads its sockets on: two servers on them is one too many.
    #[test]
    fn a_server_that_has_withdrawn_is_not_dead() {
        for is_asked in [true, false] {
            let ready = |said| takeover(said, is_asked).ready(Taken::default());
            assert!(matches!(ready("\"withdrawn\"\n"), Answer::Withdrawn));
            assert!(matches!(ready(""), Answer::Died));
        }
    }
}
