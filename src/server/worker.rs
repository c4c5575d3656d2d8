//! The loop: receive a batch, respond to each request, send the replies,
//! count. A worker owns its buffers and its counters and shares only what
//! nobody writes. It never waits for another thread, never logs, and never
//! blocks on sending.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrayvec::ArrayVec;

use super::counters::Counters;
use crate::answer::{self, Outcome, Prepared, Request, Settings, Via};
use crate::sys::batch::{Batch, MAX_WIDTH, Wait};
use crate::sys::epoll::Epoll;
use crate::sys::socket::UdpSocket;
use crate::wire::LookupName;
use crate::zone::Zones;

/// How long a worker waits for a datagram before it looks whether it shall
/// stop. Short enough for a stop to feel prompt; ten wake-ups a second cost an
/// idle machine next to nothing.
pub const IDLE_WAIT: Duration = Duration::from_millis(100);
/// How long a stopping worker goes on with what is queued on its sockets.
pub const DRAIN: Duration = Duration::from_millis(200);
/// Times that a worker looks for more, before it sleeps, after it has answered
/// something: some 20 µs of looking. Being woken takes as long, so that a client
/// that asks one question after another waits half as long for each answer.
pub const LOOKS: u32 = 16;
/// Looking in vain is work for nothing: each time, twice as many batches as
/// before are answered without, up to so many.
const MAX_REST: u32 = 256;
/// The pause after a receive that failed for no reason that waiting helps
/// against, so that the failure cannot keep a core busy.
const FAILURE_PAUSE: Duration = Duration::from_millis(10);

/// What answers requests: `Answers`, or something in its place. The requests of
/// a batch are all read before the first is answered.
pub trait Responder: Copy + Send + 'static {
    /// A request that has been read.
    type Prepared<'z>: Copy;

    /// Reads a request; `name` is its own until it is answered.
    fn prepare<'z>(
        self,
        zones: &'z Zones,
        request: &[u8],
        name: &mut LookupName,
    ) -> Self::Prepared<'z>;

    /// Looks at a whole batch between reading and answering.
    fn fetch(self, batch: &[Self::Prepared<'_>], names: &[LookupName]);

    /// Answers a request that has been read.
    fn finish(
        self,
        prepared: Self::Prepared<'_>,
        settings: &Settings,
        request: &Request<'_>,
        name: &mut LookupName,
        out: &mut [u8],
    ) -> Outcome;
}

/// Answers from the zones.
#[derive(Clone, Copy, Debug)]
pub struct Answers;

impl Responder for Answers {
    type Prepared<'z> = Prepared<'z>;

    #[inline]
    fn prepare<'z>(self, zones: &'z Zones, request: &[u8], name: &mut LookupName) -> Prepared<'z> {
        Prepared::read(zones, request, name)
    }

    #[inline]
    fn fetch(self, batch: &[Prepared<'_>], names: &[LookupName]) {
        // One request alone gains nothing.
        if batch.len() > 1 {
            Prepared::fetch(batch, names);
        }
    }

    #[inline]
    fn finish(
        self,
        prepared: Prepared<'_>,
        settings: &Settings,
        request: &Request<'_>,
        name: &mut LookupName,
        out: &mut [u8],
    ) -> Outcome {
        prepared.finish(settings, request, name, out)
    }
}

/// A function of the shape of `answer::respond`, for experiments and tests.
impl<F> Responder for F
where
    F: Fn(&Zones, &Settings, &Request<'_>, &mut LookupName, &mut [u8]) -> Outcome
        + Copy
        + Send
        + 'static,
{
    type Prepared<'z> = &'z Zones;

    fn prepare<'z>(self, zones: &'z Zones, _: &[u8], _: &mut LookupName) -> &'z Zones {
        zones
    }

    fn fetch(self, _: &[&Zones], _: &[LookupName]) {}

    fn finish(
        self,
        zones: &Zones,
        settings: &Settings,
        request: &Request<'_>,
        name: &mut LookupName,
        out: &mut [u8],
    ) -> Outcome {
        self(zones, settings, request, name, out)
    }
}

/// What a worker is given.
pub struct Duty {
    /// Its number.
    pub index: u16,
    /// The CPU it is pinned to.
    pub cpu: Option<u16>,
    /// Its sockets, one for each address; `Worker::new` takes them out.
    pub sockets: Vec<Arc<UdpSocket>>,
    /// Datagrams that it takes at once.
    pub batch: usize,
    /// Times that it looks for more before it sleeps; `LOOKS` is good.
    pub looks: u32,
    /// What it answers from.
    pub zones: Arc<Zones>,
    /// How it answers.
    pub settings: Arc<Settings>,
    /// Where it counts.
    pub counters: Arc<Counters>,
    /// Set by the control thread once; see `Worker::run` for the ordering.
    pub stop: Arc<AtomicBool>,
}

/// A worker, from its start to its end.
pub struct Worker<R> {
    duty: Duty,
    responder: R,
    lanes: Vec<Lane>,
    epoll: Option<Epoll>,
    /// A name for each slot of a batch.
    names: Vec<LookupName>,
    vigil: Vigil,
}

/// How long a worker stays awake when there is nothing to read.
#[derive(Default)]
struct Vigil {
    /// Looks left before it sleeps.
    looks: u32,
    /// Batches to go without looking for more.
    rest: u32,
    /// How many there were last time.
    last_rest: u32,
}

impl Vigil {
    fn is_awake(&self) -> bool {
        self.looks > 0
    }

    /// There was something to read.
    fn found(&mut self, looks: u32) {
        if self.is_awake() {
            self.last_rest = 0;
        }
        self.looks = if self.rest == 0 { looks } else { 0 };
        self.rest = self.rest.saturating_sub(1);
    }

    /// There was nothing. Whoever else wants the CPU, the client perhaps, has
    /// it before the next look.
    fn looked(&mut self) {
        self.looks -= 1;
        if self.looks == 0 {
            self.last_rest = (2 * self.last_rest).clamp(1, MAX_REST);
            self.rest = self.last_rest;
        }
        std::thread::yield_now();
    }
}

/// A socket and the batch that goes through it.
struct Lane {
    socket: Arc<UdpSocket>,
    batch: Batch,
    hand: Hand,
    /// There may be more to read without waiting.
    ready: bool,
}

/// The batch that is being answered: what is left over if the answering code
/// breaks.
#[derive(Default)]
struct Hand {
    /// Requests in the batch.
    length: usize,
    /// How many of them have been answered.
    answered: usize,
    /// The one that is being looked at.
    current: usize,
    /// Those that have broken the answering code, a bit each.
    broken: u128,
}

impl Hand {
    fn is_broken(&self, slot: usize) -> bool {
        self.broken >> slot & 1 != 0
    }
}

// Every slot has its bit.
const _: () = assert!(MAX_WIDTH <= u128::BITS as usize);

impl<R: Responder> Worker<R> {
    /// Builds all buffers.
    ///
    /// # Errors
    ///
    /// What the kernel says where several sockets need to be waited for.
    pub fn new(mut duty: Duty, responder: R) -> std::io::Result<Worker<R>> {
        let reply = usize::from(duty.settings.edns_size);
        // As long as what we say we take, and not shorter than the default.
        let request = reply.max(answer::DEFAULT_EDNS_SIZE.into());
        let lane = |socket: Arc<UdpSocket>| Lane {
            batch: Batch::new(&socket, duty.batch, request, reply),
            socket,
            hand: Hand::default(),
            ready: false,
        };
        let sockets = std::mem::take(&mut duty.sockets);
        let lanes: Vec<Lane> = sockets.into_iter().map(lane).collect();
        let width = lanes
            .iter()
            .map(|lane| lane.batch.width())
            .max()
            .unwrap_or(1);
        let mut epoll = None;
        if lanes.len() > 1 {
            let watch = Epoll::new()?;
            for (token, lane) in lanes.iter().enumerate() {
                watch.add(&*lane.socket, token)?;
            }
            epoll = Some(watch);
        }
        Ok(Worker {
            duty,
            responder,
            lanes,
            epoll,
            names: vec![LookupName::new(); width],
            vigil: Vigil::default(),
        })
    }

    /// Serves until `stop` is set, then answers what is queued, and returns.
    ///
    /// If it panics it can be run again: it drops the request that it broke on
    /// and goes on with the rest of that batch.
    pub fn run(&mut self) {
        self.finish_batch_in_hand();
        // Relaxed: set once by the control thread, and nothing else is read on
        // the strength of it.
        while !self.duty.stop.load(Ordering::Relaxed) {
            let wait = self.wait();
            for lane in 0..self.lanes.len() {
                if self.lanes[lane].ready {
                    self.exchange(lane, wait);
                }
            }
        }
        self.drain();
    }

    /// Closes the sockets that are its alone, and keeps what the kernel counted
    /// on them.
    pub fn close(self) {
        for lane in self.lanes {
            if let Some(socket) = Arc::into_inner(lane.socket) {
                self.duty.counters.dropped(socket.drops().unwrap_or(0));
            }
        }
    }

    /// Finds out which sockets to read. A single one is read by waiting on it.
    /// Of several, all that have something are read in turn: while one has, the
    /// others are looked at without waiting, so that none can starve them.
    fn wait(&mut self) -> Wait {
        let awake = self.vigil.is_awake();
        let Some(epoll) = &mut self.epoll else {
            self.lanes[0].ready = true;
            return if awake { Wait::No } else { Wait::ForOne };
        };
        let busy = self.lanes.iter().any(|lane| lane.ready);
        if self.lanes.iter().all(|lane| lane.ready) {
            return Wait::No;
        }
        let timeout = if busy || awake {
            Duration::ZERO
        } else {
            IDLE_WAIT
        };
        match epoll.wait(timeout) {
            Ok(tokens) => tokens.for_each(|token| self.lanes[token].ready = true),
            Err(_) => {
                self.duty.counters.receive_failed();
                std::thread::sleep(FAILURE_PAUSE);
            }
        }
        if !self.lanes.iter().any(|lane| lane.ready) {
            if awake {
                self.vigil.looked();
            } else {
                self.duty.counters.idle_wakeup();
            }
        }
        Wait::No
    }

    /// One batch in, its replies out.
    #[inline]
    fn exchange(&mut self, lane: usize, wait: Wait) {
        let counters = &self.duty.counters;
        let Lane {
            socket,
            batch,
            hand,
            ready,
        } = &mut self.lanes[lane];
        let received = match batch.receive(socket, wait) {
            Ok(received) => received,
            Err(_) => {
                counters.receive_failed();
                std::thread::sleep(FAILURE_PAUSE);
                0
            }
        };
        // A batch that is not full has emptied the socket.
        *ready = received == batch.width();
        if received == 0 {
            match wait {
                Wait::ForOne => counters.idle_wakeup(),
                Wait::No if self.epoll.is_none() && self.vigil.is_awake() => self.vigil.looked(),
                Wait::No => {}
            }
            return;
        }
        self.vigil.found(self.duty.looks);
        counters.batch(received);
        hand.length = received;
        self.answer(lane);
    }

    /// Answers the batch in hand, but for requests that broke it before, and
    /// sends the replies.
    #[inline]
    fn answer(&mut self, lane: usize) {
        let Duty {
            index,
            cpu,
            zones,
            settings,
            counters,
            ..
        } = &self.duty;
        let Lane {
            socket,
            batch,
            hand,
            ..
        } = &mut self.lanes[lane];
        // A clock before 1970 is a clock that nobody has set.
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        let (responder, names) = (self.responder, &mut self.names[..hand.length]);
        let mut prepared = ArrayVec::<_, MAX_WIDTH>::new();
        for (slot, name) in names.iter_mut().enumerate() {
            hand.current = slot;
            let request = if hand.is_broken(slot) {
                &[]
            } else {
                batch.request(slot)
            };
            prepared.push(responder.prepare(zones, request, name));
        }
        responder.fetch(&prepared, names);
        let via = Via::Udp(answer::Worker {
            index: *index,
            cpu: *cpu,
            batch: hand.length as u16,
        });
        for (slot, (prepared, name)) in prepared
            .into_iter()
            .zip(names)
            .enumerate()
            .skip(hand.answered)
        {
            hand.current = slot;
            let mut length = 0;
            if !hand.is_broken(slot) {
                let (peer, local) = (batch.peer(slot), batch.local(slot));
                let outcome = if peer.port() == 0 {
                    Outcome::Ignored
                } else {
                    let (octets, reply) = batch.exchange(slot);
                    let request = Request {
                        octets,
                        peer,
                        local,
                        via,
                        now,
                    };
                    responder.finish(prepared, settings, &request, name, reply)
                };
                counters.outcome(outcome);
                length = outcome.length();
            }
            batch.set_reply(slot, length);
            hand.answered = slot + 1;
        }
        *hand = Hand::default();
        batch.send(socket, |error| counters.send_failed(&error));
    }

    /// After a panic: the request that was being looked at gets no reply; those
    /// around it do.
    fn finish_batch_in_hand(&mut self) {
        for lane in 0..self.lanes.len() {
            let hand = &mut self.lanes[lane].hand;
            if hand.answered < hand.length {
                self.duty.counters.panicked();
                hand.broken |= 1 << hand.current;
                self.answer(lane);
            }
        }
    }

    /// Answers what is queued on the sockets already, a batch of each in turn,
    /// so that a flood on one does not use up the time of the others.
    fn drain(&mut self) {
        let end = Instant::now() + DRAIN;
        self.lanes.iter_mut().for_each(|lane| lane.ready = true);
        while self.lanes.iter().any(|lane| lane.ready) && Instant::now() < end {
            for lane in 0..self.lanes.len() {
                if self.lanes[lane].ready {
                    self.exchange(lane, Wait::No);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches until the worker looks for more again.
    fn rest(vigil: &mut Vigil) -> u32 {
        (0..)
            .find(|_| {
                vigil.found(LOOKS);
                vigil.is_awake()
            })
            .unwrap()
    }

    fn look_in_vain(vigil: &mut Vigil) {
        (0..LOOKS).for_each(|_| vigil.looked());
        assert!(!vigil.is_awake());
    }

    #[test]
    fn looking_in_vain_grows_rare_and_a_find_makes_it_usual_again() {
        let mut vigil = Vigil::default();
        assert_eq!(rest(&mut vigil), 0);
        let mut rests = Vec::new();
        for _ in 0..10 {
            look_in_vain(&mut vigil);
            rests.push(rest(&mut vigil));
        }
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 64, 128, 256, 256]);
        vigil.looked();
        assert_eq!(rest(&mut vigil), 0, "found while awake");
        look_in_vain(&mut vigil);
        assert_eq!(rest(&mut vigil), 1);
    }

    #[test]
    fn without_looks_it_sleeps_at_once() {
        let mut vigil = Vigil::default();
        vigil.found(0);
        assert!(!vigil.is_awake());
    }
}
