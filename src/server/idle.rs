//! Waiting: for one socket by receiving, for several by epoll; looking for more
//! for a while before falling asleep (busy polling); and what comes of it,
//! counted here and nowhere else.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::counters::Counters;
use super::ports::AnyPort;
use crate::sys::epoll::Epoll;
use crate::sys::port::{Port, Wait};

/// How long a worker waits for a datagram before it looks whether it shall
/// stop.
pub const IDLE_WAIT: Duration = Duration::from_millis(100);
/// Polls before a worker sleeps, after it has answered something: some 20 µs of
/// looking. Being woken takes as long, so that a client that asks one question
/// after another waits half as long for each answer.
pub const BUSY_POLLS: u32 = 16;
/// Polling in vain is work for nothing: each time, twice as many batches as
/// before are answered without, up to so many.
const MAX_BACKOFF: u32 = 256;
/// While queues have something, which is seen without a call, sockets are looked at
/// once in so many batches.
const UNLOOKED: u32 = 8;
/// The pause after a receive that failed for no reason that waiting helps
/// against, so that the failure cannot keep a core busy.
const FAILURE_PAUSE: Duration = Duration::from_millis(10);

/// Which ports of a worker to read, and how to wait for that.
pub struct Idle {
    watch: Watch,
    /// By port: there may be more to read without waiting.
    ready: Vec<bool>,
    /// The first port that is a queue.
    first_queue: usize,
    /// Batches since sockets were looked at.
    unlooked: u32,
    polling: BusyPolling,
    counters: Arc<Counters>,
}

/// What is waited for.
enum Watch {
    /// One socket, by receiving from it.
    One,
    /// Several, by asking which have something.
    Several(Epoll),
}

/// How long a worker stays awake when there is nothing to read.
#[derive(Default)]
struct BusyPolling {
    /// Polls after an answer.
    polls: u32,
    /// Polls left before it sleeps.
    left: u32,
    /// Batches to go without polling.
    backoff: u32,
    /// How many there were last time.
    last_backoff: u32,
}

impl BusyPolling {
    fn is_awake(&self) -> bool {
        self.left > 0
    }

    /// There was something to read.
    fn found(&mut self) {
        if self.is_awake() {
            self.last_backoff = 0;
        }
        self.left = if self.backoff == 0 { self.polls } else { 0 };
        self.backoff = self.backoff.saturating_sub(1);
    }

    /// There was nothing. Whoever else wants the CPU, the client perhaps, has
    /// it before the next poll.
    fn polled_in_vain(&mut self) {
        self.left -= 1;
        if self.left == 0 {
            self.last_backoff = (2 * self.last_backoff).clamp(1, MAX_BACKOFF);
            self.backoff = self.last_backoff;
        }
        std::thread::yield_now();
    }
}

impl Idle {
    /// Waits for these ports, sockets before queues, polling so many times after an answer before it
    /// sleeps.
    ///
    /// # Errors
    ///
    /// What the kernel says where several sockets need to be waited for.
    pub fn new(ports: &[AnyPort], polls: u32, counters: Arc<Counters>) -> io::Result<Idle> {
        let mut watch = Watch::One;
        if ports.len() > 1 {
            let epoll = Epoll::new()?;
            for (token, port) in ports.iter().enumerate() {
                epoll.add(port, token)?;
            }
            watch = Watch::Several(epoll);
        }
        Ok(Idle {
            watch,
            ready: vec![false; ports.len()],
            first_queue: ports.iter().take_while(|port| !port.is_queue()).count(),
            unlooked: 0,
            polling: BusyPolling {
                polls,
                ..BusyPolling::default()
            },
            counters,
        })
    }

    /// Finds out which ports to read. A single one is read by waiting on it. Of
    /// several, all that have something are read in turn: while one has, the
    /// others are looked at without waiting, so that none can starve them.
    #[inline]
    pub fn wait(&mut self, ports: &[AnyPort]) -> Wait {
        if let Watch::Several(_) = self.watch {
            self.wait_for_several(ports);
            return Wait::No;
        }
        self.ready[0] = true;
        match self.polling.is_awake() {
            true => Wait::No,
            false => Wait::ForOne,
        }
    }

    fn wait_for_several(&mut self, ports: &[AnyPort]) {
        let first = self.first_queue;
        let mut queue_has = false;
        for (ready, port) in self.ready[first..].iter_mut().zip(&ports[first..]) {
            *ready |= port.has_waiting();
            queue_has |= *ready;
        }
        if self.ready.iter().all(|ready| *ready) {
            return;
        }
        if queue_has && self.unlooked < UNLOOKED {
            self.unlooked += 1;
            return;
        }
        self.unlooked = 0;
        let timeout = match self.is_any_ready() || self.polling.is_awake() {
            true => Duration::ZERO,
            false => IDLE_WAIT,
        };
        let Watch::Several(epoll) = &mut self.watch else {
            return;
        };
        match epoll.wait(timeout) {
            Ok(tokens) => {
                let ports = self.ready.len();
                // Of a queue that was left there may be word still.
                let tokens = tokens.filter(|token| *token < ports);
                tokens.for_each(|token| self.ready[token] = true);
            }
            Err(_) => return failed(&self.counters),
        }
        if !self.is_any_ready() {
            self.nothing();
        }
    }

    /// There was nothing to read: a poll in vain, or a wait.
    fn nothing(&mut self) {
        match self.polling.is_awake() {
            true => self.polling.polled_in_vain(),
            false => self.counters.idle_wakeup(),
        }
    }

    /// True where a port may have something to read.
    #[inline]
    pub fn is_ready(&self, port: usize) -> bool {
        self.ready[port]
    }

    /// True where any port may have something to read.
    pub fn is_any_ready(&self) -> bool {
        self.ready.iter().any(|ready| *ready)
    }

    /// Has these of the ports looked at once more, and no other.
    pub fn look_at(&mut self, ports: impl Iterator<Item = bool>) {
        self.ready.clear();
        self.ready.extend(ports);
    }

    /// So many ports are left, which are the first ones.
    pub fn keep(&mut self, ports: usize) {
        self.ready.truncate(ports);
    }

    /// Receives a batch from the port of this number; 0 where there is none.
    #[inline(always)]
    pub fn receive<P: Port>(&mut self, number: usize, port: &mut P, wait: Wait) -> usize {
        let Ok(received) = port.receive(wait) else {
            self.ready[number] = false;
            failed(&self.counters);
            return 0;
        };
        // A batch that is not full has emptied the socket.
        self.ready[number] = received == port.width();
        if received > 0 {
            self.polling.found();
        } else if let Watch::One = self.watch {
            self.nothing();
        }
        received
    }
}

#[cold]
fn failed(counters: &Counters) {
    counters.receive_failed();
    std::thread::sleep(FAILURE_PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn polling() -> BusyPolling {
        BusyPolling {
            polls: BUSY_POLLS,
            ..BusyPolling::default()
        }
    }

    /// Batches until the worker polls again.
    fn backoff(polling: &mut BusyPolling) -> u32 {
        (0..)
            .find(|_| {
                polling.found();
                polling.is_awake()
            })
            .unwrap()
    }

    fn poll_in_vain(polling: &mut BusyPolling) {
        (0..BUSY_POLLS).for_each(|_| polling.polled_in_vain());
        assert!(!polling.is_awake());
    }

    #[test]
    fn polling_in_vain_grows_rare_and_a_find_makes_it_usual_again() {
        let mut polling = polling();
        assert_eq!(backoff(&mut polling), 0);
        let mut backoffs = Vec::new();
        for _ in 0..10 {
            poll_in_vain(&mut polling);
            backoffs.push(backoff(&mut polling));
        }
        assert_eq!(backoffs, [1, 2, 4, 8, 16, 32, 64, 128, 256, 256]);
        polling.polled_in_vain();
        assert_eq!(backoff(&mut polling), 0, "found while awake");
        poll_in_vain(&mut polling);
        assert_eq!(backoff(&mut polling), 1);
    }

    #[test]
    fn without_polls_it_sleeps_at_once() {
        let mut polling = BusyPolling::default();
        polling.found();
        assert!(!polling.is_awake());
    }
}
