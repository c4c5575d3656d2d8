//! The loop: wait, receive a batch, answer it, send the replies, count. A worker
//! owns its buffers and its counters and shares only what nobody writes. It
//! never waits for another thread, never logs, and never blocks on sending.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::answerer::Responder;
use super::counters::Counters;
use super::drain::{Budget, DRAIN};
use super::idle::Idle;
use super::order::{Order, Orders};
use super::ports::{self, AnyPort};
use crate::sys::limits;
use crate::sys::port::{Port, Wait};

/// One batch in so many is timed. Reading the clock twice takes some 50 ns, which
/// for every batch of one would be 2 % of the work; so it is nothing.
pub const SAMPLED: u32 = 64;

/// A worker, from its start to its end.
pub struct Worker<R> {
    /// Sockets, and behind them queues.
    ports: Vec<AnyPort>,
    exchange: Exchange<R>,
    orders: Arc<Orders>,
    /// The order by which it serves as it does.
    serving: Order,
}

/// What a batch needs beside its port.
struct Exchange<R> {
    idle: Idle,
    responder: R,
    counters: Arc<Counters>,
    /// Batches until one is timed.
    until_sample: u32,
}

impl<R: Responder> Worker<R> {
    /// A worker on these ports, sockets before queues. After an answer it polls so
    /// many times before it sleeps.
    ///
    /// # Errors
    ///
    /// What the kernel says where several ports need to be waited for.
    pub fn new(
        ports: Vec<AnyPort>,
        polls: u32,
        responder: R,
        counters: Arc<Counters>,
        orders: Arc<Orders>,
    ) -> io::Result<Worker<R>> {
        Ok(Worker {
            exchange: Exchange {
                idle: Idle::new(&ports, polls, counters.clone())?,
                responder,
                counters,
                until_sample: 0,
            },
            ports,
            orders,
            serving: Order::Serve,
        })
    }

    /// Serves until there is an order to end.
    pub fn run(&mut self) {
        self.exchange.counters.begin_thread();
        // Long turns have more datagrams in a batch.
        let _ = limits::take_usual_turns();
        loop {
            self.serve();
            // Read once: another one that comes meanwhile is for the next turn.
            let order = self.orders.current();
            match order {
                Order::LeaveQueues => self.leave_queues(),
                Order::Serve => {}
                Order::Stop => return self.drain(|_| true),
                Order::LetGo => return,
            }
            self.serving = order;
        }
    }

    /// Serves until there is another order.
    fn serve(&mut self) {
        while self.orders.current() == self.serving {
            let wait = self.exchange.idle.wait(&self.ports);
            if !self.exchange_all(wait) {
                self.exchange.responder.idle();
                self.ports.iter_mut().for_each(AnyPort::push_rest);
            }
        }
    }

    /// Closes the sockets that are its alone, and keeps what the kernel counted
    /// on them.
    pub fn close(self) {
        let handed_over = self.orders.current() == Order::LetGo;
        let counters = self.exchange.counters;
        for dropped in self.ports.into_iter().filter_map(AnyPort::close) {
            // Who has the socket now goes on from what the kernel has counted.
            if !handed_over {
                counters.dropped(dropped);
            }
        }
        counters.end_thread();
    }

    /// A batch of each port that may have one; false where none had.
    #[inline]
    fn exchange_all(&mut self, wait: Wait) -> bool {
        let mut any = false;
        for (number, port) in self.ports.iter_mut().enumerate() {
            if self.exchange.idle.is_ready(number) {
                any |= match port {
                    AnyPort::Socket(port) => self.exchange.batch(number, port, wait),
                    AnyPort::Queue(port, _) => self.exchange.batch(number, port, wait),
                };
            }
        }
        any
    }

    /// Answers what is queued already on the ports that are meant, a batch of each
    /// in turn, so that a flood on one does not use up the time of the others, and sees
    /// the replies off.
    fn drain(&mut self, is_meant: impl Fn(&AnyPort) -> bool) {
        let budget = Budget::begin();
        self.exchange.idle.look_at(self.ports.iter().map(is_meant));
        while self.exchange.idle.is_any_ready() && budget.is_left() {
            self.exchange_all(Wait::No);
        }
        ports::see_off(&mut self.ports, Instant::now() + DRAIN);
    }

    /// Goes on over the sockets alone.
    fn leave_queues(&mut self) {
        self.drain(AnyPort::is_queue);
        self.ports.retain(|port| !port.is_queue());
        self.exchange.idle.keep(self.ports.len());
    }
}

impl<R: Responder> Exchange<R> {
    /// One batch in, its replies out; false where there was none.
    #[inline]
    fn batch<P: Port>(&mut self, number: usize, port: &mut P, wait: Wait) -> bool {
        let received = self.idle.receive(number, port, wait);
        if received == 0 {
            return false;
        }
        let begin = self.begin_if_sampled();
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
}
