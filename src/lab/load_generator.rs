//! A load generator: sends requests over many flows, at a rate or as fast as they
//! are answered, and knows of each what became of it. It reads the clock once a
//! batch and allocates nothing once it runs.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::sys::epoll::Epoll;
use crate::sys::lab::client::{Flow, Inbox, Outbox};
use crate::sys::port::Wait;
use crate::wire::header::HEADER;
use crate::wire::name::wire_length;

/// Datagrams that go out or come in with one call.
const BATCH: usize = 32;
/// The longest request: a header, a name of 255 octets, type, class, OPT.
const REQUEST: usize = 512;
/// What is kept of a reply; the question behind the header is all that is read.
const REPLY: usize = 512;
/// Bytes that may wait on each socket.
const BUFFER: usize = 4 << 20;
/// How often it looks for requests that are lost.
const TICK: Duration = Duration::from_millis(10);
/// Message ids that a flow has.
const IDS: u64 = 1 << 16;
/// The longest latency that is told from longer ones.
const LONGEST: u64 = 60_000_000_000;

/// True for loopback, private (RFC 1918, RFC 4193) and link-local addresses:
/// a load that goes elsewhere is an attack.
pub fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

/// A request, its id left open.
#[derive(Clone, Debug)]
pub struct LoadRequest {
    octets: Vec<u8>,
    /// Where the question ends.
    question: usize,
}

impl LoadRequest {
    /// A request from its octets, `None` where they hold no whole question.
    pub fn new(octets: Vec<u8>) -> Option<LoadRequest> {
        let question = HEADER + wire_length(octets.get(HEADER..)?)? + 4;
        let fits = (question..=REQUEST).contains(&octets.len());
        fits.then_some(LoadRequest { octets, question })
    }

    /// True for a response that repeats the question, or has none, as that to a
    /// request that was not understood.
    fn is_answered_by(&self, reply: &[u8]) -> bool {
        let [_, _, flags, _, count @ ..] = reply else {
            return false;
        };
        let same = reply.get(HEADER..self.question) == Some(&self.octets[HEADER..self.question]);
        let none = reply.len() >= HEADER && count.starts_with(&[0, 0]);
        flags & 0x80 != 0 && (same || none)
    }
}

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

/// What became of all requests: `sent` is `answered` and `lost`.
#[derive(Debug)]
pub struct Tally {
    /// Requests that the kernel took.
    pub sent: u64,
    /// Requests whose reply came in time.
    pub answered: u64,
    /// Requests whose reply did not.
    pub lost: u64,
    /// Requests that were due but found no room in the kernel or no free id.
    pub held_back: u64,
    /// Replies to requests that had been given up.
    pub late: u64,
    /// Replies to requests that were answered before.
    pub duplicates: u64,
    /// Datagrams that reply to nothing: another id, another question, no reply.
    pub strangers: u64,
    /// Times that the kernel would not send or receive, as after "port
    /// unreachable".
    pub errors: u64,
    /// The last of these.
    pub last_error: Option<io::Error>,
    /// Answers by response code.
    pub rcodes: [u64; 16],
    /// How long it sent, and how many answers came while it did.
    pub sending: Duration,
    /// Answers in that time.
    pub answered_meanwhile: u64,
    /// Nanoseconds from a request to its answer; in the open loop from when the
    /// request was due, so that a generator that was held up does not hide it.
    pub latency_ns: Histogram<u64>,
}

impl Tally {
    fn new() -> Tally {
        Tally {
            sent: 0,
            answered: 0,
            lost: 0,
            held_back: 0,
            late: 0,
            duplicates: 0,
            strangers: 0,
            errors: 0,
            last_error: None,
            rcodes: [0; 16],
            sending: Duration::ZERO,
            answered_meanwhile: 0,
            latency_ns: Histogram::new_with_max(LONGEST, 3).expect("the bounds are good"),
        }
    }

    /// Both together, where they ran side by side.
    pub fn and(mut self, other: Tally) -> Tally {
        self.sent += other.sent;
        self.answered += other.answered;
        self.lost += other.lost;
        self.held_back += other.held_back;
        self.late += other.late;
        self.duplicates += other.duplicates;
        self.strangers += other.strangers;
        self.errors += other.errors;
        self.last_error = self.last_error.or(other.last_error);
        for (count, more) in self.rcodes.iter_mut().zip(other.rcodes) {
            *count += more;
        }
        self.sending = self.sending.max(other.sending);
        self.answered_meanwhile += other.answered_meanwhile;
        self.latency_ns += other.latency_ns;
        self
    }

    /// Requests sent, for each second of sending.
    pub fn sent_per_s(&self) -> f64 {
        self.sent as f64 / self.sending.as_secs_f64()
    }

    /// Answers that came during the sending, for each second of it.
    pub fn answers_per_s(&self) -> f64 {
        self.answered_meanwhile as f64 / self.sending.as_secs_f64()
    }

    fn error(&mut self, error: io::Error) {
        self.errors += 1;
        self.last_error = Some(error);
    }
}

/// Carries the plan out.
///
/// # Errors
///
/// Sockets that are not to be had. Later faults are counted.
pub fn run(plan: &Plan) -> io::Result<Tally> {
    let mut generator = Generator::new(plan)?;
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
}

/// A flow, what it asked, and the place among the requests that it began at.
struct Asking {
    flow: Flow,
    ledger: Ledger,
    offset: usize,
}

impl<'p> Generator<'p> {
    fn new(plan: &'p Plan<'p>) -> io::Result<Generator<'p>> {
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
            self.receive_ready(TICK)?;
            self.give_up(self.start.elapsed());
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

/// What became of the requests of a flow, by id. Ids are given out in order;
/// one is used again when its request is answered or lost, not before.
///
/// ```text
///   ... answered or lost ... | first ... waiting, answered ... | next
/// ```
struct Ledger {
    /// The oldest request that may be waiting.
    first: u64,
    /// The request to come. Its id is its low 16 bits.
    next: u64,
    /// Requests between these that are waiting.
    waiting: usize,
    /// By id, when the request was sent, or `ANSWERED`, or `LOST`. Memory that
    /// is not used yet takes no room.
    entries: Vec<u64>,
}

const ANSWERED: u64 = u64::MAX;
const LOST: u64 = u64::MAX - 1;

enum Fate {
    Answered(Duration),
    Duplicate,
    Late,
}

impl Ledger {
    fn new() -> Ledger {
        Ledger {
            first: 0,
            next: 0,
            waiting: 0,
            entries: vec![0; IDS as usize],
        }
    }

    fn entry(&mut self, sequence: u64) -> &mut u64 {
        &mut self.entries[(sequence % IDS) as usize]
    }

    /// Requests that there are ids for.
    fn room(&self) -> usize {
        (IDS - (self.next - self.first)) as usize
    }

    fn enter(&mut self, due: Duration) {
        *self.entry(self.next) = due.as_nanos() as u64;
        self.next += 1;
        self.waiting += 1;
    }

    /// The request that a reply's id stands for: the last one that had it.
    fn sequence(&self, reply: &[u8]) -> Option<u64> {
        let id = u16::from_be_bytes(*reply.first_chunk()?);
        let last = self.next.checked_sub(1)?;
        last.checked_sub(u64::from((last as u16).wrapping_sub(id)))
    }

    fn settle(&mut self, sequence: u64, now: Duration) -> Fate {
        let fate = match std::mem::replace(self.entry(sequence), ANSWERED) {
            ANSWERED => Fate::Duplicate,
            LOST => Fate::Late,
            sent => {
                self.waiting -= 1;
                Fate::Answered(now.saturating_sub(Duration::from_nanos(sent)))
            }
        };
        while self.first < self.next && *self.entry(self.first) == ANSWERED {
            self.first += 1;
        }
        fate
    }

    /// Writes off what was sent before a point in time; returns how many.
    fn give_up(&mut self, before: Duration) -> u64 {
        let before = u64::try_from(before.as_nanos()).unwrap_or(LOST);
        let mut lost = 0;
        while self.first < self.next {
            let entry = self.entry(self.first);
            if *entry != ANSWERED {
                if *entry >= before {
                    break;
                }
                *entry = LOST;
                lost += 1;
            }
            self.first += 1;
        }
        self.waiting -= lost as usize;
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn enter(ledger: &mut Ledger, count: usize, due: Duration) {
        (0..count).for_each(|_| ledger.enter(due));
    }

    fn reply(id: u16) -> [u8; 2] {
        id.to_be_bytes()
    }

    #[test]
    fn an_id_stands_for_the_last_request_that_had_it() {
        let mut ledger = Ledger::new();
        assert_eq!(ledger.sequence(&reply(0)), None);
        enter(&mut ledger, 3, MS);
        assert_eq!(ledger.sequence(&reply(2)), Some(2));
        assert_eq!(ledger.sequence(&reply(3)), None);
        assert_eq!(ledger.sequence(&[0]), None);
        assert_eq!(ledger.give_up(2 * MS), 3);
        enter(&mut ledger, IDS as usize, 3 * MS);
        assert_eq!(ledger.sequence(&reply(2)), Some(IDS + 2));
        assert_eq!(ledger.sequence(&reply(3)), Some(3));
    }

    #[test]
    fn each_request_is_answered_once_or_lost() {
        let mut ledger = Ledger::new();
        enter(&mut ledger, 4, MS);
        assert!(matches!(ledger.settle(1, 3 * MS), Fate::Answered(latency) if latency == 2 * MS));
        assert!(matches!(ledger.settle(1, 3 * MS), Fate::Duplicate));
        assert_eq!((ledger.waiting, ledger.first), (3, 0));
        // Sent before, not at, that time.
        assert_eq!(ledger.give_up(MS), 0);
        enter(&mut ledger, 1, 2 * MS);
        assert_eq!(ledger.give_up(2 * MS), 3);
        assert_eq!((ledger.waiting, ledger.first), (1, 4));
        assert!(matches!(ledger.settle(0, 3 * MS), Fate::Late));
        assert!(matches!(ledger.settle(0, 3 * MS), Fate::Duplicate));
        assert!(matches!(ledger.settle(4, 3 * MS), Fate::Answered(_)));
        assert_eq!((ledger.waiting, ledger.first), (0, 5));
    }

    #[test]
    fn an_id_is_used_again_when_its_request_is_settled() {
        let mut ledger = Ledger::new();
        enter(&mut ledger, IDS as usize - 1, MS);
        assert_eq!(ledger.room(), 1);
        enter(&mut ledger, 1, MS);
        assert_eq!(ledger.room(), 0);
        // The oldest holds up those behind it.
        ledger.settle(1, MS);
        assert_eq!(ledger.room(), 0);
        ledger.settle(0, MS);
        assert_eq!(ledger.room(), 2);
        assert_eq!(ledger.give_up(Duration::MAX), IDS - 2);
        assert_eq!((ledger.room(), ledger.waiting), (IDS as usize, 0));
    }

    #[test]
    fn near_addresses_are_told_from_others() {
        let near = |text: &str| is_near(text.parse().unwrap());
        for address in [
            "127.0.0.1",
            "10.0.0.0",
            "10.255.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.3.4",
            "169.254.0.1",
            "::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(near(address), "{address}");
        }
        for address in [
            "0.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.0.1",
            "192.0.2.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "fbff::1",
            "fe00::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:192.0.2.1",
        ] {
            assert!(!near(address), "{address}");
        }
    }
}
