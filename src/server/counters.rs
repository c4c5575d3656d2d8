//! What happened, counted. Each worker has one block, on cache lines of its
//! own, that it alone writes; whoever wants totals reads all blocks and adds.
//!
//! Orderings: all `Relaxed`. A counter has one writer, which therefore needs
//! no read-modify-write; readers want each number as of lately and draw no
//! conclusion from one number about another while workers run. After a worker
//! has been joined, the join orders all its writes before the reads.

use std::io;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::flows::Flows;
use super::rate_limit::Withheld;
use crate::answer::{Cookie, Outcome};
use crate::sys::cpu_clock::CpuClock;
use crate::sys::is_out_of_buffers;
use crate::sys::port::MAX_WIDTH;
use crate::wire::Rcode;

/// Why a reply could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendFailure {
    /// The socket's or the device's buffer was full.
    BufferFull,
    /// No route, or no neighbour.
    Unreachable,
    /// A firewall said no.
    NotPermitted,
    /// Anything else.
    Other,
}

impl SendFailure {
    /// All reasons, with the heading that tables give them.
    pub const ALL: [(SendFailure, &'static str); 4] = [
        (SendFailure::BufferFull, "send: buffer full"),
        (SendFailure::Unreachable, "send: unreachable"),
        (SendFailure::NotPermitted, "send: not permitted"),
        (SendFailure::Other, "send: other"),
    ];

    /// The reason in a word, as metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            SendFailure::BufferFull => "buffer_full",
            SendFailure::Unreachable => "unreachable",
            SendFailure::NotPermitted => "not_permitted",
            SendFailure::Other => "other",
        }
    }

    /// The reason behind an error of `sendmmsg`.
    pub fn of(error: &io::Error) -> SendFailure {
        use io::ErrorKind::*;
        match error.kind() {
            WouldBlock | OutOfMemory => SendFailure::BufferFull,
            HostUnreachable | NetworkUnreachable | NetworkDown => SendFailure::Unreachable,
            PermissionDenied => SendFailure::NotPermitted,
            _ if is_out_of_buffers(error) => SendFailure::BufferFull,
            _ => SendFailure::Other,
        }
    }
}

/// Upper ends of the classes that batch sizes are counted in.
pub const BATCH_CLASSES: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, MAX_WIDTH];

/// Upper ends of the classes that service times are counted in, in microseconds;
/// what took longer is in one more.
pub const SERVICE_CLASSES_US: [u64; 15] = [
    1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384,
];
/// The classes, and the one above.
pub const SERVICE_COUNTS: usize = SERVICE_CLASSES_US.len() + 1;

/// One thread's counters. 128 octets apart, since the prefetcher of common
/// CPUs fetches lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    received: AtomicU64,
    ignored: AtomicU64,
    panicked: AtomicU64,
    truncated: AtomicU64,
    rate_limited: AtomicU64,
    slipped: AtomicU64,
    cookies: [AtomicU64; COOKIES.len()],
    rcodes: [AtomicU64; Rcode::ALL.len()],
    send_failures: [AtomicU64; SendFailure::ALL.len()],
    receive_failures: AtomicU64,
    batches: [AtomicU64; BATCH_CLASSES.len()],
    idle_wakeups: AtomicU64,
    connections: AtomicU64,
    connections_refused: AtomicU64,
    tapped: AtomicU64,
    tap_dropped: AtomicU64,
    drops: AtomicU64,
    service_times: [AtomicU64; SERVICE_COUNTS],
    service_ns: AtomicU64,
    /// The CPU time of the thread when it ended; its clock while it runs, else 0.
    cpu_ns: AtomicU64,
    cpu_clock: AtomicI32,
    connections_open: AtomicU64,
    flows: Flows,
}

/// What is counted of cookies, with the heading that tables give it.
pub const COOKIES: [(Cookie, &str); 3] = [
    (Cookie::ClientOnly, "cookies: new"),
    (Cookie::Valid, "cookies: valid"),
    (Cookie::Invalid, "cookies: invalid"),
];

fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed) + n, Relaxed);
}

impl Counters {
    /// A batch of `n` requests came in, n > 0.
    pub fn batch(&self, n: usize) {
        let class = BATCH_CLASSES.iter().position(|&end| n <= end);
        add(&self.batches[class.unwrap_or(BATCH_CLASSES.len() - 1)], 1);
        add(&self.received, n as u64);
    }

    /// One request came in over a connection.
    pub fn request(&self) {
        add(&self.received, 1);
    }

    /// The kernel dropped so many datagrams of a socket that is being closed.
    pub fn dropped(&self, n: u64) {
        add(&self.drops, n);
    }

    /// What became of a request.
    #[inline]
    pub fn outcome(&self, outcome: Outcome) {
        match outcome {
            Outcome::Ignored => add(&self.ignored, 1),
            Outcome::Replied { rcode, notes, .. } => {
                add(&self.rcodes[rcode_index(rcode)], 1);
                add(&self.truncated, u64::from(notes.is_truncated()));
                if let Some(index) = cookie_index(notes.cookie()) {
                    add(&self.cookies[index], 1);
                }
            }
        }
    }

    /// Replies that the rate limit kept back.
    pub fn withheld(&self, withheld: Withheld) {
        if withheld != Withheld::default() {
            add(&self.rate_limited, withheld.dropped);
            add(&self.slipped, withheld.slipped);
        }
    }

    /// A request that the answering code broke on; it is dropped.
    pub fn panicked(&self) {
        add(&self.panicked, 1);
    }

    /// A reply that could not be sent; it is dropped.
    pub fn send_failed(&self, error: &io::Error) {
        let reason = SendFailure::of(error);
        let index = SendFailure::ALL
            .iter()
            .position(|(known, _)| *known == reason);
        add(&self.send_failures[index.unwrap_or(0)], 1);
    }

    /// A receive that failed for a reason other than that nothing came.
    pub fn receive_failed(&self) {
        add(&self.receive_failures, 1);
    }

    /// A wait that ended with nothing to read.
    pub fn idle_wakeup(&self) {
        add(&self.idle_wakeups, 1);
    }

    /// A connection was accepted.
    pub fn connection(&self) {
        add(&self.connections, 1);
    }

    /// A connection was turned away or cut off because a limit was reached.
    pub fn connection_refused(&self) {
        add(&self.connections_refused, 1);
    }

    /// A batch of `n` requests was looked at more closely: so long after it had
    /// been received, its last reply was sent. Each of its requests took as long,
    /// since no reply leaves before all are settled.
    pub fn served(&self, n: usize, took: Duration) {
        let class = SERVICE_CLASSES_US
            .iter()
            .position(|&end| took <= Duration::from_micros(end));
        let class = class.unwrap_or(SERVICE_CLASSES_US.len());
        add(&self.service_times[class], n as u64);
        add(&self.service_ns, n as u64 * took.as_nanos() as u64);
    }

    /// So many connections are open.
    pub fn connections_open(&self, n: usize) {
        self.connections_open.store(n as u64, Relaxed);
    }

    /// Where the flows of requests are noted.
    #[inline]
    pub fn flows(&self) -> &Flows {
        &self.flows
    }

    /// The calling thread is the one that counts here from now on.
    pub fn begin_thread(&self) {
        let clock = CpuClock::of_this_thread();
        self.cpu_clock
            .store(clock.map_or(0, CpuClock::number), Relaxed);
    }

    /// The calling thread counts no more, and its clock will be gone.
    pub fn end_thread(&self) {
        self.cpu_ns.store(self.cpu_ns(), Relaxed);
        self.cpu_clock.store(0, Relaxed);
    }

    fn cpu_ns(&self) -> u64 {
        let running = match self.cpu_clock.load(Relaxed) {
            0 => None,
            clock => CpuClock::from_number(clock).read().ok(),
        };
        running.map_or(self.cpu_ns.load(Relaxed), |time| time.as_nanos() as u64)
    }

    /// What is as it is now, and is not added up over time; `now` is counted from
    /// 1970.
    pub fn gauges(&self, now: Duration) -> Gauges {
        Gauges {
            flows: self.flows.estimate(now),
            connections_open: self.connections_open.load(Relaxed),
        }
    }

    /// An exchange was copied for whoever subscribes to the tap.
    pub fn tapped(&self) {
        add(&self.tapped, 1);
    }

    /// An exchange was to be copied, and there was no room.
    pub fn tap_dropped(&self) {
        add(&self.tap_dropped, 1);
    }

    /// The counters as plain numbers.
    pub fn read(&self) -> Totals {
        let number = |counter: &AtomicU64| counter.load(Relaxed);
        Totals {
            received: number(&self.received),
            ignored: number(&self.ignored),
            panicked: number(&self.panicked),
            truncated: number(&self.truncated),
            rate_limited: number(&self.rate_limited),
            slipped: number(&self.slipped),
            cookies: self.cookies.each_ref().map(number),
            rcodes: self.rcodes.each_ref().map(number),
            send_failures: self.send_failures.each_ref().map(number),
            receive_failures: number(&self.receive_failures),
            batches: self.batches.each_ref().map(number),
            idle_wakeups: number(&self.idle_wakeups),
            connections: number(&self.connections),
            connections_refused: number(&self.connections_refused),
            tapped: number(&self.tapped),
            tap_dropped: number(&self.tap_dropped),
            drops: number(&self.drops),
            service_times: self.service_times.each_ref().map(number),
            service_ns: number(&self.service_ns),
            cpu_ns: self.cpu_ns(),
        }
    }
}

#[inline]
fn rcode_index(rcode: Rcode) -> usize {
    // The order of `Rcode::ALL`; a test holds the two together.
    match rcode {
        Rcode::NoError => 0,
        Rcode::NxDomain => 1,
        Rcode::Refused => 2,
        Rcode::FormErr => 3,
        Rcode::NotImp => 4,
        Rcode::ServFail => 5,
        Rcode::YxDomain => 6,
        Rcode::BadVers => 7,
        Rcode::BadCookie => 8,
    }
}

/// What holds for one thread at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Flows that requests came from lately, an estimate.
    pub flows: u64,
    /// Connections.
    pub connections_open: u64,
}

#[inline]
fn cookie_index(cookie: Cookie) -> Option<usize> {
    // The order of `COOKIES`; a test holds the two together.
    match cookie {
        Cookie::None => None,
        Cookie::ClientOnly => Some(0),
        Cookie::Valid => Some(1),
        Cookie::Invalid => Some(2),
    }
}

/// Counters of one thread, or of several added up.
///
/// `received = answered() + ignored + panicked + rate_limited`, and of those answered,
/// `send_failures` were not sent.
///
/// What one process has written another, perhaps of another version, reads: numbers
/// that it does not know are left out, and those that it misses are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Requests.
    pub received: u64,
    /// Requests that get no reply: responses, and what is shorter than a header.
    pub ignored: u64,
    /// Requests dropped because the answering code broke on them.
    pub panicked: u64,
    /// Replies with TC set.
    pub truncated: u64,
    /// Requests whose replies the rate limit dropped.
    pub rate_limited: u64,
    /// Replies that the rate limit sent without records, and with TC where they have
    /// a question; they are among those answered.
    pub slipped: u64,
    /// Replies by the cookie of their request, in the order of `COOKIES`.
    #[serde(deserialize_with = "padded")]
    pub cookies: [u64; COOKIES.len()],
    /// Replies by code, in the order of `Rcode::ALL`.
    #[serde(deserialize_with = "padded")]
    pub rcodes: [u64; Rcode::ALL.len()],
    /// Replies that could not be sent, in the order of `SendFailure::ALL`.
    #[serde(deserialize_with = "padded")]
    pub send_failures: [u64; SendFailure::ALL.len()],
    /// Receives that failed.
    pub receive_failures: u64,
    /// Batches by size, in the order of `BATCH_CLASSES`.
    #[serde(deserialize_with = "padded")]
    pub batches: [u64; BATCH_CLASSES.len()],
    /// Waits that ended with nothing to read.
    pub idle_wakeups: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Connections turned away or cut off because of a limit.
    pub connections_refused: u64,
    /// Exchanges copied for whoever subscribes to the tap.
    pub tapped: u64,
    /// Exchanges not copied for want of room.
    pub tap_dropped: u64,
    /// Datagrams that the kernel dropped because the socket's buffer was full.
    pub drops: u64,
    /// Requests by the time from the receipt of their batch until its replies had
    /// been sent, of one batch in `worker::SAMPLED`, in the order of
    /// `SERVICE_CLASSES_US`.
    #[serde(deserialize_with = "padded")]
    pub service_times: [u64; SERVICE_COUNTS],
    /// The sum of these times, in nanoseconds.
    pub service_ns: u64,
    /// CPU time of the thread, in nanoseconds.
    pub cpu_ns: u64,
}

/// Reads numbers of which there may be more or fewer elsewhere.
fn padded<'d, D: Deserializer<'d>, const N: usize>(from: D) -> Result<[u64; N], D::Error> {
    let numbers = Vec::<u64>::deserialize(from)?;
    Ok(std::array::from_fn(|index| {
        numbers.get(index).copied().unwrap_or(0)
    }))
}

impl Totals {
    /// Replies made.
    pub fn answered(&self) -> u64 {
        self.rcodes.iter().sum()
    }

    /// Replies with this code.
    pub fn with_rcode(&self, rcode: Rcode) -> u64 {
        self.rcodes[rcode_index(rcode)]
    }

    /// Both together.
    pub fn plus(mut self, other: &Totals) -> Totals {
        for (own, more) in self
            .numbers_mut()
            .into_iter()
            .zip(other.clone().numbers_mut())
        {
            *own += *more;
        }
        self
    }

    /// What has been counted since it was as before.
    pub fn since(mut self, before: &Totals) -> Totals {
        let numbers = self.numbers_mut().into_iter();
        for (own, before) in numbers.zip(before.clone().numbers_mut()) {
            *own = own.saturating_sub(*before);
        }
        self
    }

    fn numbers_mut(&mut self) -> Vec<&mut u64> {
        let mut numbers = vec![
            &mut self.received,
            &mut self.ignored,
            &mut self.panicked,
            &mut self.truncated,
            &mut self.rate_limited,
            &mut self.slipped,
            &mut self.receive_failures,
            &mut self.idle_wakeups,
            &mut self.connections,
            &mut self.connections_refused,
            &mut self.tapped,
            &mut self.tap_dropped,
            &mut self.drops,
            &mut self.service_ns,
            &mut self.cpu_ns,
        ];
        numbers.extend(&mut self.service_times);
        numbers.extend(&mut self.cookies);
        numbers.extend(&mut self.rcodes);
        numbers.extend(&mut self.send_failures);
        numbers.extend(&mut self.batches);
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Notes;

    #[test]
    fn rcodes_have_their_place() {
        for (place, rcode) in Rcode::ALL.into_iter().enumerate() {
            assert_eq!(rcode_index(rcode), place);
        }
    }

    #[test]
    fn cookies_have_their_place() {
        for (place, (cookie, _)) in COOKIES.into_iter().enumerate() {
            assert_eq!(cookie_index(cookie), Some(place));
        }
        assert_eq!(cookie_index(Cookie::None), None);
    }

    #[test]
    fn counters_add_up() {
        let counters = Counters::default();
        for size in [1, 2, 3, 4, 5, 128] {
            counters.batch(size);
        }
        counters.outcome(Outcome::Ignored);
        counters.outcome(Outcome::Replied {
            length: 12,
            rcode: Rcode::NxDomain,
            notes: Notes::new(0x8200).with_cookie(Cookie::Invalid),
        });
        counters.withheld(Withheld {
            dropped: 3,
            slipped: 4,
        });
        counters.send_failed(&io::Error::from_raw_os_error(1));
        counters.send_failed(&io::Error::from_raw_os_error(105));
        let totals = counters.read();
        assert_eq!(
            (totals.received, totals.answered(), totals.ignored),
            (143, 1, 1)
        );
        assert_eq!(totals.batches, [1, 1, 2, 1, 0, 0, 0, 1]);
        assert_eq!(totals.send_failures, [1, 0, 1, 0]);
        let double = totals.plus(&totals);
        assert_eq!(
            (double.received, double.truncated, double.batches[2]),
            (286, 2, 4)
        );
        assert_eq!(double.with_rcode(Rcode::NxDomain), 2);
        assert_eq!(
            (double.rate_limited, double.slipped, double.cookies),
            (6, 8, [0, 0, 2])
        );
    }

    #[test]
    fn service_times_are_the_requests_and_fall_into_their_classes() {
        let counters = Counters::default();
        for (requests, ns) in [(1, 1000), (2, 1001), (3, 2000), (4, 16_384_001)] {
            counters.served(requests, Duration::from_nanos(ns));
        }
        let totals = counters.read();
        assert_eq!(totals.service_times[..3], [1, 5, 0]);
        assert_eq!(totals.service_times[15], 4);
        assert_eq!(
            totals.service_ns,
            1000 + 2 * 1001 + 3 * 2000 + 4 * 16_384_001
        );
        assert_eq!(totals.plus(&totals).service_times[1], 10);
    }

    #[test]
    fn cpu_time_outlives_its_thread() {
        let counters = Counters::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                counters.begin_thread();
                while counters.read().cpu_ns < 2_000_000 {}
                counters.end_thread();
            });
        });
        let end = counters.read().cpu_ns;
        assert!(end >= 2_000_000, "{end}");
        assert_eq!(counters.read().cpu_ns, end);
    }

    #[test]
    fn blocks_share_no_cache_line() {
        assert_eq!(align_of::<Counters>(), 128);
        assert_eq!(size_of::<Counters>() % 128, 0);
    }
}
