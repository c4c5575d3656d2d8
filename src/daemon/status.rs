//! What a running server says of itself: gathered by the control thread, sent
//! over the control socket, shown by `ctl` and `top`, turned into metrics. All of
//! it are plain numbers, so that whoever shows them computes rates and shares.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::chance::Band;
use crate::server::Server;
use crate::server::counters::{
    BATCH_CLASSES, COOKIES, Gauges, SERVICE_CLASSES_US, SERVICE_COUNTS, SendFailure, Totals,
};
use crate::server::queues::InterfaceTotals;
use crate::wire::Rcode;

/// How long shares of workers are counted before they are compared.
const SHARES_WINDOW: Duration = Duration::from_secs(10);

/// The state of a server at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// The commit that it was built from.
    pub commit: String,
    /// The process.
    pub pid: u32,
    /// The process that it is taking over from, where that has not let go yet: what
    /// that one has counted is not known here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taking_over_from: Option<u32>,
    /// Seconds since the process began to serve.
    pub uptime_seconds: f64,
    /// Seconds since counting began: longer than `uptime_seconds` where the sockets,
    /// and the counters with them, were taken over.
    pub counting_seconds: f64,
    /// When the process began to serve, in seconds since 1970.
    #[serde(default)]
    pub start_seconds: f64,
    /// How unevenly the workers are busy.
    #[serde(default)]
    pub imbalance: Option<Imbalance>,
    /// `ADDR:PORT` of what is served, with the ports that the kernel chose.
    pub addresses: Vec<String>,
    /// The workers, in the order of their sockets.
    pub workers: Vec<ThreadStatus>,
    /// The thread that serves TCP, if there is one.
    pub tcp: Option<ThreadStatus>,
    /// Interfaces that are read past the sockets, or were.
    #[serde(default)]
    pub interfaces: Vec<InterfaceTotals>,
    /// The zones, in canonical order of their names.
    pub zones: Vec<ZoneStatus>,
}

/// What one thread has counted. Numbers only grow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThreadStatus {
    /// The worker's number, or `tcp`.
    pub name: String,
    /// The CPU that it is pinned to.
    pub cpu: Option<usize>,
    /// Requests.
    pub received: u64,
    /// Requests that got no reply because they deserve none.
    pub ignored: u64,
    /// Requests that the answering code broke on.
    pub panicked: u64,
    /// Replies with TC set.
    pub truncated: u64,
    /// Requests whose replies the rate limit dropped.
    #[serde(default)]
    pub rate_limited: u64,
    /// Replies that the rate limit sent without records, and with TC where they have
    /// a question.
    #[serde(default)]
    pub slipped: u64,
    /// Replies by the cookie of their request, as (`new`, `valid` or `invalid`,
    /// number).
    #[serde(default)]
    pub cookies: Vec<(String, u64)>,
    /// Replies by response code, as (mnemonic, number), all codes that there are.
    pub rcodes: Vec<(String, u64)>,
    /// Replies that could not be sent by reason, as (reason, number).
    pub send_failures: Vec<(String, u64)>,
    /// Receives that failed.
    pub receive_failures: u64,
    /// Batches by size, as (largest size of the class, number).
    pub batches: Vec<(usize, u64)>,
    /// Waits that ended with nothing to read.
    pub idle_wakeups: u64,
    /// Datagrams that the kernel dropped because the socket's buffer was full.
    pub kernel_drops: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Connections turned away or cut off because of a limit.
    pub connections_refused: u64,
    /// Connections that are open.
    #[serde(default)]
    pub connections_open: u64,
    /// How long requests were in the server.
    #[serde(default)]
    pub service: ServiceTimes,
    /// CPU time of the thread.
    #[serde(default)]
    pub cpu_seconds: f64,
    /// Flows that requests came from in the last whole minute, or in this one where
    /// those are more already: an estimate, and no count that only grows.
    #[serde(default)]
    pub flows: u64,
    /// Exchanges copied for dnstap and live queries.
    #[serde(default)]
    pub tapped: u64,
    /// Exchanges not copied because there was no room.
    #[serde(default)]
    pub tap_dropped: u64,
}

/// How long requests were in the server, from the receipt of their batch until its
/// replies had been sent; of a sample of batches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceTimes {
    /// As (longest of the class in seconds, number of requests).
    pub classes: Vec<(f64, u64)>,
    /// Requests that took longer than any class holds.
    pub longer: u64,
    /// The sum of all these times, in seconds.
    pub sum_seconds: f64,
}

/// The hottest worker's requests as a multiple of the workers' mean, over some ten
/// seconds at least.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Imbalance {
    /// The multiple.
    pub hottest: f64,
    /// Where it would be by chance, 95 times of 100, with as many flows as there
    /// are, all of which ask alike; `None` where there are no flows.
    pub chance: Option<Band>,
}

/// A zone that is served, or one that cannot be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ZoneStatus {
    /// Its name; that of its file where it has never been read.
    pub name: String,
    /// The file.
    pub path: String,
    /// The serial of its SOA record; `None` where it is not served.
    pub serial: Option<u32>,
    /// Names that can be asked for.
    pub names: usize,
    /// Records.
    pub records: usize,
    /// Octets of memory in the store.
    pub octets: usize,
    /// Seconds that reading and building it took.
    pub load_seconds: f64,
    /// Seconds since it was read.
    pub age_seconds: f64,
    /// Why the newest version of its file is not served; `None` where it is.
    pub error: Option<String>,
}

/// What all threads of a server have counted: its workers in the order of their
/// sockets, and the TCP thread.
pub fn threads(server: &Server) -> (Vec<ThreadStatus>, Option<ThreadStatus>) {
    let all = server.totals().into_iter().zip(server.gauges());
    let mut seats = server.seats().iter().enumerate();
    let (mut workers, mut tcp) = (Vec::new(), None);
    for (totals, gauges) in all {
        match seats.next() {
            Some((index, seat)) => {
                let cpu = seat.pinned.then_some(seat.cpu);
                workers.push(ThreadStatus::of(index.to_string(), cpu, &totals, gauges));
            }
            None => tcp = Some(ThreadStatus::of("tcp".into(), None, &totals, gauges)),
        }
    }
    (workers, tcp)
}

/// Compares the workers' shares from time to time, whoever asks however often.
#[derive(Debug)]
pub struct Shares {
    since: Instant,
    /// What each worker had received by then.
    before: Vec<u64>,
    last: Option<Imbalance>,
}

impl Shares {
    /// Begins to compare.
    pub fn new(now: Instant) -> Shares {
        Shares {
            since: now,
            before: Vec::new(),
            last: None,
        }
    }

    /// The imbalance of the last window of ten seconds or more, each of which ends
    /// when this is called; before the first has ended, of what there is. `None`
    /// where nobody asked anything.
    pub fn compare(&mut self, now: Instant, workers: &[ThreadStatus]) -> Option<Imbalance> {
        let is_over = now.saturating_duration_since(self.since) >= SHARES_WINDOW;
        self.before.resize(workers.len(), 0);
        let received = workers.iter().map(|worker| worker.received);
        let shares: Vec<u64> = received
            .zip(&self.before)
            .map(|(now, before)| now.saturating_sub(*before))
            .collect();
        let flows = workers.iter().map(|worker| worker.flows).sum();
        if is_over {
            self.last = imbalance(&shares, flows);
            self.since = now;
            self.before = workers.iter().map(|worker| worker.received).collect();
            return self.last;
        }
        self.last.or_else(|| imbalance(&shares, flows))
    }
}

fn imbalance(shares: &[u64], flows: u64) -> Option<Imbalance> {
    let (sum, hottest) = (shares.iter().sum::<u64>(), *shares.iter().max()?);
    if sum == 0 {
        return None;
    }
    let count = shares.len() as u64;
    Some(Imbalance {
        hottest: hottest as f64 * count as f64 / sum as f64,
        chance: Band::of(flows, count),
    })
}

impl ThreadStatus {
    /// A thread's counters and what holds of it now.
    pub fn of(name: String, cpu: Option<usize>, totals: &Totals, gauges: Gauges) -> ThreadStatus {
        let rcodes = Rcode::ALL.into_iter().zip(totals.rcodes);
        let failures = SendFailure::ALL.into_iter().zip(totals.send_failures);
        ThreadStatus {
            name,
            cpu,
            received: totals.received,
            ignored: totals.ignored,
            panicked: totals.panicked,
            truncated: totals.truncated,
            rate_limited: totals.rate_limited,
            slipped: totals.slipped,
            cookies: COOKIES
                .into_iter()
                .zip(totals.cookies)
                .map(|((_, heading), count)| {
                    (heading.trim_start_matches("cookies: ").into(), count)
                })
                .collect(),
            rcodes: rcodes
                .map(|(rcode, count)| (rcode.name().into(), count))
                .collect(),
            send_failures: failures
                .map(|((reason, _), count)| (reason.name().into(), count))
                .collect(),
            receive_failures: totals.receive_failures,
            batches: BATCH_CLASSES.into_iter().zip(totals.batches).collect(),
            idle_wakeups: totals.idle_wakeups,
            kernel_drops: totals.drops,
            connections: totals.connections,
            connections_refused: totals.connections_refused,
            connections_open: gauges.connections_open,
            service: ServiceTimes::of(totals),
            cpu_seconds: totals.cpu_ns as f64 / 1e9,
            flows: gauges.flows,
            tapped: totals.tapped,
            tap_dropped: totals.tap_dropped,
        }
    }

    /// Replies made.
    pub fn answered(&self) -> u64 {
        self.rcodes.iter().map(|(_, count)| count).sum()
    }
}

impl ServiceTimes {
    fn of(totals: &Totals) -> ServiceTimes {
        let ends = SERVICE_CLASSES_US.map(|end| end as f64 / 1e6);
        ServiceTimes {
            classes: ends.into_iter().zip(totals.service_times).collect(),
            longer: totals.service_times[SERVICE_COUNTS - 1],
            sum_seconds: totals.service_ns as f64 / 1e9,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(received: [u64; 2]) -> Vec<ThreadStatus> {
        let worker = |received| ThreadStatus {
            received,
            flows: 50,
            ..ThreadStatus::default()
        };
        received.map(worker).into()
    }

    #[test]
    fn shares_are_compared_over_windows() {
        let start = Instant::now();
        let mut shares = Shares::new(start);
        let mut hottest = |seconds, received| {
            let now = start + Duration::from_secs(seconds);
            let imbalance = shares.compare(now, &workers(received));
            imbalance.map(|imbalance| imbalance.hottest)
        };
        assert_eq!(hottest(1, [0, 0]), None);
        assert_eq!(hottest(2, [30, 10]), Some(1.5), "no window has ended");
        assert_eq!(hottest(11, [30, 30]), Some(1.0));
        assert_eq!(hottest(15, [60, 30]), Some(1.0), "the last window holds");
        assert_eq!(hottest(21, [60, 40]), Some(1.5));
        assert_eq!(
            hottest(40, [60, 40]),
            None,
            "a window in which nobody asked"
        );
        let imbalance = Shares::new(start).compare(start, &workers([5, 5])).unwrap();
        let band = imbalance.chance.unwrap();
        assert!(1.0 <= band.low && band.high < 1.3, "{band:?}");
    }
}
