//! The loop: wait, receive a batch, answer it, send the replies, count. A worker
//! owns its buffers and its counters and shares only what nobody writes. It
//! never waits for another thread, never logs, and never blocks on sending.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answerer::Responder;
use super::counters::Counters;
use super::idle::Idle;
use super::order::{Order, Orders};
use crate::sys::limits;
use crate::sys::port::{SocketPort, Wait};

/// How long a worker that stops goes on answering what is queued.
pub const DRAIN: Duration = Duration::from_millis(200);
/// One batch in so many is timed. Reading the clock twice takes some 50 ns, which
/// for every batch of one would be 2 % of the work; so it is nothing.
pub const SAMPLED: u32 = 64;

/// A worker, from its start to its end.
pub struct Worker<R> {
    ports: Vec<SocketPort>,
    idle: Idle,
    responder: R,
    counters: Arc<Counters>,
    orders: Arc<Orders>,
    /// Batches until one is timed.
    until_sample: u32,
}

impl<R: Responder> Worker<R> {
    /// A worker on these ports, one for each address. After an answer it polls
    /// so many times before it sleeps.
    ///
    /// # Errors
    ///
    /// What the kernel says where several sockets need to be waited for.
    pub fn new(
        ports: Vec<SocketPort>,
        polls: u32,
        responder: R,
        counters: Arc<Counters>,
        orders: Arc<Orders>,
    ) -> io::Result<Worker<R>> {
        Ok(Worker {
            idle: Idle::new(&ports, polls, counters.clone())?,
            ports,
            responder,
            counters,
            orders,
            until_sample: 0,
        })
    }

    /// Serves until there is another order.
    pub fn run(&mut self) {
        self.counters.begin_thread();
        // Long turns have more datagrams in a batch.
        let _ = limits::take_usual_turns();
        while self.orders.current() == Order::Serve {
            let wait = self.idle.wait();
            if !self.exchange_all(wait) {
                self.responder.idle();
            }
        }
        if self.orders.current() == Order::Stop {
            self.drain();
        }
    }

    /// Closes the sockets that are its alone, and keeps what the kernel counted
    /// on them.
    pub fn close(self) {
        let handed_over = self.orders.current() == Order::LetGo;
        for dropped in self.ports.into_iter().filter_map(SocketPort::close) {
            // Who has the socket now goes on from what the kernel has counted.
            if !handed_over {
                self.counters.dropped(dropped);
            }
        }
        self.counters.end_thread();
    }

    /// A batch of each port that may have one; false where none had.
    #[inline]
    fn exchange_all(&mut self, wait: Wait) -> bool {
        let mut any = false;
        for port in 0..self.ports.len() {
            if self.idle.is_ready(port) {
                any |= self.exchange(port, wait);
            }
        }
        any
    }

    /// One batch in, its replies out; false where there was none.
    #[inline]
    fn exchange(&mut self, number: usize, wait: Wait) -> bool {
        let port = &mut self.ports[number];
        let received = self.idle.receive(number, port, wait);
        if received == 0 {
            return false;
        }
        let begin = self.begin_if_sampled();
        let port = &mut self.ports[number];
        self.responder.exchange(port, received, &self.counters);
        if let Some(begin) = begin {
            self.counters.served(received, begin.elapsed());
        }
        true
    }

    /// The time, where the batch that begins is one that is timed.
    #[inline]
    fn begin_if_sampled(&mut self) -> Option<Instant> {
        if self.until_sample > 0 {
            self.until_sample -= 1;
            return None;
        }
        self.until_sample = SAMPLED - 1;
        Some(Instant::now())
    }

    /// Answers what is queued on the sockets already, a batch of each in turn,
    /// so that a flood on one does not use up the time of the others.
    fn drain(&mut self) {
        let end = Instant::now() + DRAIN;
        self.idle.look_at_all();
        while self.idle.is_any_ready() && Instant::now() < end {
            self.exchange_all(Wait::No);
        }
    }
}
