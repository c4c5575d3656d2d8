//! A load generator: sends requests over many flows, at a rate or as fast as they
//! are answered, and knows of each what became of it. It reads the clock once a
//! batch and allocates nothing once it runs.

mod ledger;
mod request;
mod tally;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::sys::epoll::Epoll;
use crate::sys::lab::client::{Flow, Inbox, Outbox};
use crate::sys::port::Wait;
use ledger::{Fate, Ledger};
use request::REQUEST;
pub use request::{LoadRequest, is_near};
pub use tally::Tally;

/// Datagrams that go out or come in with one call.
const BATCH: usize = 32;
/// What is kept of a reply; the question behind the header is all that is read.
const REPLY: usize = 512;
/// Bytes that may wait on each socket.
const BUFFER: usize = 4 << 20;
/// How often it looks for requests that are lost.
const TICK: Duration = Duration::from_millis(10);
/// Batches of a flow that are read before it does; as many may wait at the usual rates
/// after half a second without a CPU.
const PASSES: usize = 8;

/// When the next request is sent.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// So many a second, answered or not; 0 for as many as go out.
    Open {
        /// Requests a second, over all flows.
        rate: u64,
    },
    /// When fewer than so many of the flow's are waiting for their answers.
    Closed {
        /// Requests of a flow that wait at a time.
        window: usize,
    },
}

/// Whom to ask, how, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'r> {
    /// Who is asked.
    pub peer: SocketAddr,
    /// Sockets to ask from.
    pub flows: usize,
    /// How fast.
    pub pace: Pace,
    /// For how long.
    pub duration: Duration,
    /// After which time a request is lost.
    pub patience: Duration,
    /// Never to sleep: a wake-up costs more than most answers.
    pub spin: bool,
    /// What is asked, over and over, by each flow from another place on.
    pub requests: &'r [LoadRequest],
    /// Set from elsewhere to end early.
    pub stop: &'r AtomicBool,
}

/// Carries the plan out.
///
/// # Errors
///
/// Sockets that are not to be had. Later faults are counted.
pub fn run(plan: &Plan) -> io::Result<Tally> {
    run_in_sight(plan, &AtomicU64::new(0))
}

/// As `run`; `sent` says meanwhile how many requests have gone out.
///
/// # Errors
///
/// As `run`.
pub fn run_in_sight(plan: &Plan, sent: &AtomicU64) -> io::Result<Tally> {
    let mut generator = Generator::new(plan, sent)?;
    match plan.pace {
        Pace::Open { rate } => generator.keep_rate(rate)?,
        Pace::Closed { window } => generator.keep_window(window)?,
    }
    generator.tally.sending = generator.start.elapsed();
    generator.tally.answered_meanwhile = generator.tally.answered;
    generator.wait_for_the_rest()?;
    Ok(generator.tally)
}

struct Generator<'p> {
    plan: &'p Plan<'p>,
    flows: Vec<Asking>,
    outbox: Outbox,
    inbox: Inbox,
    epoll: Epoll,
    /// Flows that have something to read.
    ready: Vec<usize>,
    start: Instant,
    tally: Tally,
    /// `tally.sent`, for others to see.
    sent: &'p AtomicU64,
}

/// A flow, what it asked, and the place among the requests that it began at.
struct Asking {
    flow: Flow,
    ledger: Ledger,
    offset: usize,
}

impl<'p> Generator<'p> {
    fn new(plan: &'p Plan<'p>, sent: &'p AtomicU64) -> io::Result<Generator<'p>> {
        let epoll = Epoll::new()?;
        let mut flows = Vec::new();
        for index in 0..plan.flows {
            let flow = Flow::connect(plan.peer, BUFFER, TICK)?;
            epoll.add(&flow, index)?;
            flows.push(Asking {
                flow,
                ledger: Ledger::new(),
                offset: index * plan.requests.len() / plan.flows,
            });
        }
        Ok(Generator {
            plan,
            ready: Vec::with_capacity(flows.len()),
            flows,
            outbox: Outbox::new(BATCH, REQUEST),
            inbox: Inbox::new(BATCH, REPLY),
            epoll,
            start: Instant::now(),
            tally: Tally::new(),
            sent,
        })
    }

    fn is_over(&self, now: Duration) -> bool {
        // Relaxed: nothing is read on the strength of it.
        now >= self.plan.duration || self.plan.stop.load(Ordering::Relaxed)
    }

    fn keep_rate(&mut self, rate: u64) -> io::Result<()> {
        let (mut turn, mut tick) = (0, TICK);
        loop {
            let now = self.start.elapsed();
            if self.is_over(now) {
                return Ok(());
            }
            if now >= tick {
                self.catch_up()?;
                self.give_up(now);
                tick = now + TICK;
            }
            let due = match rate {
                0 => BATCH as u64,
                // The first is due at once.
                _ => (now.as_nanos() as u64 / 1000 * rate / 1_000_000 + 1)
                    .saturating_sub(self.tally.sent + self.tally.held_back),
            };
            let mut wait = Duration::ZERO;
            if due > 0 {
                let count = BATCH.min(due as usize);
                let sent = self.send(turn, count, rate);
                if rate > 0 {
                    self.tally.held_back += (count - sent) as u64;
                }
                turn = (turn + 1) % self.flows.len();
            } else if !self.plan.spin {
                // Rounded down to milliseconds: what is below is spun away.
                wait = Duration::from_secs(1) / rate.try_into().unwrap_or(u32::MAX);
            }
            self.receive_ready(wait.min(TICK))?;
        }
    }

    fn keep_window(&mut self, window: usize) -> io::Result<()> {
        let wait = if self.plan.spin { Duration::ZERO } else { TICK };
        let mut tick = Duration::ZERO;
        loop {
            let now = self.start.elapsed();
            if self.is_over(now) {
                return Ok(());
            }
            if now >= tick {
                self.catch_up()?;
                self.give_up(now);
                (0..self.flows.len()).for_each(|index| self.fill(index, window));
                tick = now + TICK;
            }
            if self.flows.len() > 1 {
                self.receive_ready(wait)?;
                for ready in 0..self.ready.len() {
                    self.fill(self.ready[ready], window);
                }
            } else {
                // One flow needs no call to find out which.
                let wait = if self.plan.spin {
                    Wait::No
                } else {
                    Wait::ForOne
                };
                self.receive(0, wait);
                self.fill(0, window);
            }
        }
    }

    fn wait_for_the_rest(&mut self) -> io::Result<()> {
        let end = self.start.elapsed() + self.plan.patience;
        while self.start.elapsed() < end && self.flows.iter().any(|flow| flow.ledger.waiting > 0) {
            let now = self.start.elapsed();
            self.receive_ready(TICK)?;
            self.catch_up()?;
            self.give_up(now);
        }
        self.give_up(Duration::MAX);
        Ok(())
    }

    /// Sends until `window` requests of a flow are waiting.
    fn fill(&mut self, index: usize, window: usize) {
        while let missing @ 1.. = window.saturating_sub(self.flows[index].ledger.waiting) {
            if self.send(index, missing, 0) == 0 {
                return;
            }
        }
    }

    /// Sends up to a batch on one flow and returns how many went out. They were
    /// due when the rate says, or, without a rate, now.
    fn send(&mut self, index: usize, count: usize, rate: u64) -> usize {
        let Asking {
            flow,
            ledger,
            offset,
        } = &mut self.flows[index];
        let count = count.min(self.outbox.width()).min(ledger.room());
        if count == 0 {
            return 0;
        }
        for slot in 0..count {
            let sequence = ledger.next + slot as u64;
            let request = choose(self.plan.requests, *offset, sequence);
            let id = (sequence as u16).to_be_bytes();
            self.outbox.put(slot, &request.octets)[..2].copy_from_slice(&id);
        }
        let now = self.start.elapsed();
        let first = self.tally.sent + self.tally.held_back;
        match self.outbox.send(flow, count) {
            Ok(sent) => {
                for number in first..first + sent as u64 {
                    let due = 1_000_000_000 * u128::from(number) / u128::from(rate.max(1));
                    ledger.enter(if rate == 0 { now } else { nanoseconds(due) });
                }
                self.tally.sent += sent as u64;
                // Relaxed: the number is all that is passed on.
                self.sent.store(self.tally.sent, Ordering::Relaxed);
                sent
            }
            Err(error) => {
                self.tally.error(error);
                0
            }
        }
    }

    /// Reads a batch of each flow that has one, and leaves in `ready` which.
    fn receive_ready(&mut self, wait: Duration) -> io::Result<()> {
        self.ready.clear();
        self.ready.extend(self.epoll.wait(wait)?);
        for ready in 0..self.ready.len() {
            self.receive(self.ready[ready], Wait::No);
        }
        Ok(())
    }

    /// Reads what has come: who had no CPU for a while does not take it for lost.
    fn catch_up(&mut self) -> io::Result<()> {
        for _ in 0..PASSES {
            self.receive_ready(Duration::ZERO)?;
            if self.ready.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn receive(&mut self, index: usize, wait: Wait) {
        let asking = &mut self.flows[index];
        match self.inbox.receive(&asking.flow, wait) {
            Ok(0) => {}
            Ok(received) => {
                let now = self.start.elapsed();
                for slot in 0..received {
                    let reply = self.inbox.reply(slot);
                    asking.judge(self.plan, reply, now, &mut self.tally);
                }
            }
            Err(error) => self.tally.error(error),
        }
    }

    /// Writes off what has been waiting too long.
    fn give_up(&mut self, now: Duration) {
        let Some(before) = now.checked_sub(self.plan.patience) else {
            return;
        };
        for flow in &mut self.flows {
            self.tally.lost += flow.ledger.give_up(before);
        }
    }
}

fn nanoseconds(number: u128) -> Duration {
    Duration::from_nanos(u64::try_from(number).unwrap_or(u64::MAX))
}

fn choose(requests: &[LoadRequest], offset: usize, sequence: u64) -> &LoadRequest {
    &requests[(offset as u64 + sequence) as usize % requests.len()]
}

impl Asking {
    fn judge(&mut self, plan: &Plan, reply: &[u8], now: Duration, tally: &mut Tally) {
        let Some(sequence) = self.ledger.sequence(reply) else {
            tally.strangers += 1;
            return;
        };
        if !choose(plan.requests, self.offset, sequence).is_answered_by(reply) {
            tally.strangers += 1;
            return;
        }
        match self.ledger.settle(sequence, now) {
            Fate::Answered(latency) => {
                tally.answered += 1;
                tally.rcodes[usize::from(reply[3] & 15)] += 1;
                tally
                    .latency_ns
                    .saturating_record(latency.as_nanos() as u64);
            }
            Fate::Duplicate => tally.duplicates += 1,
            Fate::Late => tally.late += 1,
        }
    }
}
