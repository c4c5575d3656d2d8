//! A tap: copies of sampled exchanges, for whoever subscribes. While nobody
//! does, a thread that answers reads one word a batch and goes on.
//!
//! ```text
//! worker ─ Probe ─ ring ─┐
//! worker ─ Probe ─ ring ─┼─ collecting thread ─┬─ bounded channel ─ Subscription
//! TCP    ─ Probe ─ ring ─┘                     └─ bounded channel ─ Subscription
//! ```
//!
//! Each ring has one writer and one reader, so that threads that answer share
//! nothing that they write. The collecting thread looks at the rings in turn
//! and is never woken, since waking it would be a system call in the thread
//! that answers; it runs only while somebody subscribes.

mod exchange;
mod probe;

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use rtrb::{Consumer, RingBuffer};

pub use exchange::{Exchange, Transport};
pub use probe::Probe;

use exchange::{HEAD, Head, Held};
use probe::Sampling;

/// Octets of a thread's ring: some 5,000 exchanges, which a worker at its fastest
/// makes in 25 ms. It becomes memory when it is first written.
const RING: usize = 1 << 20;
/// How long the collecting thread sleeps between two looks at the rings.
const PAUSE: Duration = Duration::from_millis(5);
/// Exchanges taken from one ring before the others have their turns.
const TURN: usize = 4096;
/// Octets of exchanges that may wait for subscribers, all together.
const MAX_HELD: usize = 16 << 20;
/// What an exchange takes besides its octets.
const OVERHEAD: usize = 256;

/// What becomes of a subscriber that does not keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// It gets nothing any more, and is counted.
    CutOff,
    /// It loses what finds no room, which is counted.
    Lose,
}

/// The tap of a server.
#[derive(Clone)]
pub struct Tap {
    hub: Arc<Hub>,
}

struct Hub {
    sampling: Arc<Sampling>,
    state: Mutex<State>,
    held: Arc<AtomicUsize>,
    cut_off: AtomicU64,
    max_held: usize,
}

#[derive(Default)]
struct State {
    sources: Vec<Source>,
    subscribers: Vec<Subscriber>,
    next_number: u64,
    collecting: bool,
}

/// The reading end of a thread's ring.
struct Source {
    worker: Option<u16>,
    ring: Consumer<u8>,
    /// What was read of an exchange whose octets were not all there.
    head: Option<Head>,
}

struct Subscriber {
    number: u64,
    every: u32,
    /// What it has coming: whole samples times `every`.
    credit: u64,
    behind: Behind,
    lost: Arc<AtomicU64>,
    sender: Sender<Arc<Exchange>>,
}

/// Exchanges on their way to one subscriber. Dropping it ends them, and the
/// sampling if there is no other.
pub struct Subscription {
    number: u64,
    hub: Arc<Hub>,
    lost: Arc<AtomicU64>,
    receiver: Receiver<Arc<Exchange>>,
}

impl Default for Tap {
    fn default() -> Tap {
        Tap::holding(MAX_HELD)
    }
}

impl Tap {
    fn holding(max_held: usize) -> Tap {
        Tap {
            hub: Arc::new(Hub {
                sampling: Arc::default(),
                state: Mutex::default(),
                held: Arc::default(),
                cut_off: AtomicU64::new(0),
                max_held,
            }),
        }
    }

    /// The end of the tap for one more thread that answers: a worker by its
    /// number, or the one that serves TCP.
    pub fn probe(&self, worker: Option<u16>) -> Probe {
        let (producer, ring) = RingBuffer::new(RING);
        let mut state = self.hub.state();
        let seed = state.sources.len() as u64;
        state.sources.push(Source {
            worker,
            ring,
            head: None,
        });
        Probe::new(self.hub.sampling.clone(), producer, seed)
    }

    /// One of `every` exchanges from now on, of which `room` may wait to be
    /// received.
    ///
    /// # Errors
    ///
    /// What the kernel says to one more thread.
    pub fn subscribe(&self, every: u32, room: usize, behind: Behind) -> io::Result<Subscription> {
        let (sender, receiver) = crossbeam_channel::bounded(room.max(1));
        let lost = Arc::<AtomicU64>::default();
        let mut state = self.hub.state();
        if !state.collecting {
            state.discard();
            let hub = Arc::downgrade(&self.hub);
            let thread = thread::Builder::new().name("shardns-tap".into());
            thread.spawn(move || collect(&hub))?;
            state.collecting = true;
        }
        let number = state.next_number;
        state.next_number += 1;
        state.subscribers.push(Subscriber {
            number,
            every: every.max(1),
            credit: 0,
            behind,
            lost: lost.clone(),
            sender,
        });
        self.hub.settle(&state);
        Ok(Subscription {
            number,
            hub: self.hub.clone(),
            lost,
            receiver,
        })
    }

    /// Hands on what is in the rings, without waiting for the thread that does so:
    /// for the end, when the threads that answer have stopped.
    pub fn flush(&self) {
        while self.hub.state().pass(&self.hub) > 0 {}
    }

    /// True while somebody subscribes.
    pub fn is_on(&self) -> bool {
        !self.hub.state().subscribers.is_empty()
    }

    /// Subscribers that were cut off because they did not keep up.
    pub fn cut_off(&self) -> u64 {
        // Relaxed: a count, and nothing is read on the strength of it.
        self.hub.cut_off.load(Relaxed)
    }
}

impl Subscription {
    /// Where the exchanges come out. It is disconnected where the subscriber has
    /// been cut off.
    pub fn receiver(&self) -> &Receiver<Arc<Exchange>> {
        &self.receiver
    }

    /// Exchanges that found no room since this was asked before.
    pub fn take_lost(&self) -> u64 {
        // Relaxed: a count, and nothing is read on the strength of it.
        self.lost.swap(0, Relaxed)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        let number = self.number;
        state
            .subscribers
            .retain(|subscriber| subscriber.number != number);
        self.hub.settle(&state);
    }
}

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        // Whole after every statement, so a panic leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has probes sample as often as the most curious subscriber wants.
    fn settle(&self, state: &State) {
        self.sampling.set(state.every());
    }
}

/// The collecting thread, until there is no subscriber or no tap.
fn collect(hub: &Weak<Hub>) {
    while let Some(hub) = hub.upgrade() {
        let mut state = hub.state();
        if state.subscribers.is_empty() {
            state.collecting = false;
            return;
        }
        state.pass(&hub);
        drop(state);
        drop(hub);
        thread::sleep(PAUSE);
    }
}

impl State {
    fn every(&self) -> u32 {
        let wanted = self.subscribers.iter().map(|subscriber| subscriber.every);
        wanted.min().unwrap_or(0)
    }

    /// Takes what is in the rings to the subscribers; returns how many exchanges
    /// that were.
    fn pass(&mut self, hub: &Hub) -> usize {
        let every = self.every();
        let State {
            sources,
            subscribers,
            ..
        } = self;
        let mut taken = 0;
        for source in sources {
            for _ in 0..TURN {
                let Some(mut exchange) = source.next() else {
                    break;
                };
                taken += 1;
                let octets = exchange.request.len() + exchange.reply.len() + OVERHEAD;
                exchange.held = Held::within(hub.max_held, &hub.held, octets);
                let exchange = exchange.held.is_some().then(|| Arc::new(exchange));
                subscribers.retain_mut(|subscriber| subscriber.take(every, exchange.as_ref(), hub));
            }
        }
        hub.sampling.set(self.every());
        taken
    }

    /// Forgets what came in after the last subscriber had gone.
    fn discard(&mut self) {
        for source in &mut self.sources {
            while source.next().is_some() {}
        }
    }
}

impl Source {
    /// The next exchange, if all of it is there.
    fn next(&mut self) -> Option<Exchange> {
        let head = match self.head {
            Some(head) => head,
            None => {
                let mut octets = [0; HEAD];
                self.ring.pop_entire_slice(&mut octets).ok()?;
                *self.head.insert(Head::read(&octets)?)
            }
        };
        if self.ring.slots() < head.body() {
            return None;
        }
        self.head = None;
        let mut take = |length: u16| {
            let mut octets = vec![0; length.into()];
            let taken = self.ring.pop_entire_slice(&mut octets);
            taken.ok().map(|()| octets)
        };
        Some(Exchange {
            asked: head.asked,
            replied: head.replied,
            peer: head.peer,
            local: head.local,
            transport: head.transport,
            worker: self.worker,
            request: take(head.request)?,
            reply: take(head.reply)?,
            held: None,
        })
    }
}

impl Subscriber {
    /// Gives it an exchange, one of `every`, if it has one coming; without one to
    /// give it has lost it. False where it is a subscriber no more.
    fn take(&mut self, every: u32, exchange: Option<&Arc<Exchange>>, hub: &Hub) -> bool {
        self.credit += u64::from(every);
        if self.credit < u64::from(self.every) {
            return true;
        }
        self.credit -= u64::from(self.every);
        let sent = exchange.map(|exchange| self.sender.try_send(exchange.clone()));
        match sent {
            Some(Ok(())) => return true,
            Some(Err(TrySendError::Disconnected(_))) => return false,
            Some(Err(TrySendError::Full(_))) | None => {}
        }
        match self.behind {
            Behind::Lose => {
                self.lost.fetch_add(1, Relaxed);
                true
            }
            Behind::CutOff => {
                hub.cut_off.fetch_add(1, Relaxed);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests;
