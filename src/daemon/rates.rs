//! Two readings of a server's counters -> what happens in a second. Nothing is
//! polled or drawn here.

use super::status::{Status, ThreadStatus};
use crate::server::queues::InterfaceTotals;
use crate::sys::xdp::QueueTotals;

/// What happened in a second, between two readings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// Seconds between the readings.
    pub seconds: f64,
    /// Where counting began anew between them; then, as where there was no reading
    /// before, all is the mean since the beginning.
    pub restarted: bool,
    /// The workers.
    pub workers: Vec<ThreadRates>,
    /// The thread that serves TCP.
    pub tcp: Option<ThreadRates>,
    /// All of them.
    pub total: ThreadRates,
    /// Interfaces whose requests can be taken past the sockets.
    pub interfaces: Vec<InterfaceRates>,
    /// The shares between which chance alone would leave a worker, where it is
    /// known how many flows there are.
    pub band: Option<(f64, f64)>,
}

/// What came in on an interface in a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InterfaceRates {
    /// Its name.
    pub interface: String,
    /// By queue: its number, its worker's, and what `QueueTotals::HEADINGS` name.
    pub queues: Vec<(u32, u32, [f64; QueueTotals::HEADINGS.len()])>,
    /// Frames that went on to the kernel, by the reason.
    pub passed: Vec<(String, f64)>,
}

/// What a thread did in a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ThreadRates {
    /// The worker's number, or `tcp`.
    pub name: String,
    /// The CPU that it is pinned to.
    pub cpu: Option<usize>,
    /// Requests.
    pub queries: f64,
    /// Its part of the workers' requests, 0 to 1; of the TCP thread 0.
    pub share: f64,
    /// Datagrams that the kernel dropped.
    pub drops: f64,
    /// Requests in a batch, on average; `None` where there was no batch.
    pub batch: Option<f64>,
    /// Replies by response code, as (mnemonic, number).
    pub rcodes: Vec<(String, f64)>,
    /// Replies that could not be sent.
    pub send_failures: f64,
    /// Connections accepted.
    pub connections: f64,
    /// Connections turned away or cut off because of a limit.
    pub connections_refused: f64,
}

impl Rates {
    /// The rates between two readings of one server; without one before, since
    /// counting began.
    pub fn between(before: Option<&Status>, after: &Status) -> Rates {
        let restarted = before.is_some_and(|before| is_restarted(before, after));
        let before = before.filter(|_| !restarted);
        let begun = before.map_or(0.0, |before| before.counting_seconds);
        let seconds = (after.counting_seconds - begun).max(0.0);
        let rates = |thread: &ThreadStatus| {
            let earlier = before.and_then(|before| find(before, &thread.name));
            ThreadRates::between(earlier, thread, seconds)
        };
        let mut workers: Vec<ThreadRates> = after.workers.iter().map(rates).collect();
        let tcp = after.tcp.as_ref().map(rates);
        let by_workers: f64 = workers.iter().map(|worker| worker.queries).sum();
        for worker in &mut workers {
            worker.share = ratio(worker.queries, by_workers).unwrap_or(0.0);
        }
        Rates {
            seconds,
            restarted,
            total: total(&workers, tcp.as_ref(), mean_batch(before, after)),
            interfaces: interfaces(before, after, seconds),
            workers,
            tcp,
            band: band(&after.workers),
        }
    }

    /// Requests that were taken past the sockets; `None` where none can be.
    pub fn past_sockets(&self) -> Option<f64> {
        let queues = self.interfaces.iter().flat_map(|one| &one.queues);
        let received = queues.map(|(_, _, [received, ..])| received);
        (!self.interfaces.is_empty()).then(|| received.sum())
    }
}

fn interfaces(before: Option<&Status>, after: &Status, seconds: f64) -> Vec<InterfaceRates> {
    let rate = |now: u64, then: u64| ratio(now.saturating_sub(then) as f64, seconds).unwrap_or(0.0);
    let rates = |now: &InterfaceTotals| {
        let mut earlier = before.iter().flat_map(|before| &before.interfaces);
        let then = earlier.find(|then| then.interface == now.interface);
        // One that was not there has another name by now, and counted in all that time.
        let then = then.or(before.map(|_| now));
        let queues = now.queues.iter().map(|queue| {
            let mut earlier = then.iter().flat_map(|then| &then.queues);
            let then = earlier.find(|then| then.queue == queue.queue);
            let then = then.map(|then| then.totals.numbers()).unwrap_or_default();
            let numbers = queue.totals.numbers();
            let rates = std::array::from_fn(|at| rate(numbers[at], then[at]));
            (queue.queue, queue.worker, rates)
        });
        let passed = now.passed.iter().map(|(reason, frames)| {
            let then = then.map_or(0, |then| of(&then.passed, reason));
            (reason.clone(), rate(*frames, then))
        });
        InterfaceRates {
            interface: now.interface.clone(),
            queues: queues.collect(),
            passed: passed.collect(),
        }
    };
    after.interfaces.iter().map(rates).collect()
}

/// Where 95 of 100 times a worker's share would be by chance: that of so many
/// coins, one for each flow.
fn band(workers: &[ThreadStatus]) -> Option<(f64, f64)> {
    let flows: u64 = workers.iter().map(|worker| worker.flows).sum();
    if flows == 0 {
        return None;
    }
    let equal = 1.0 / workers.len() as f64;
    let deviation = (equal * (1.0 - equal) / flows as f64).sqrt();
    let (low, high) = (equal - 1.96 * deviation, equal + 1.96 * deviation);
    Some((low.max(0.0), high.min(1.0)))
}

/// Counting goes on in a process that takes the sockets over, and begins anew in
/// one that does not.
fn is_restarted(before: &Status, after: &Status) -> bool {
    let went_back = |thread: &ThreadStatus| {
        find(before, &thread.name).is_some_and(|earlier| earlier.received > thread.received)
    };
    after.counting_seconds < before.counting_seconds || threads(after).any(went_back)
}

fn threads(status: &Status) -> impl Iterator<Item = &ThreadStatus> {
    status.workers.iter().chain(&status.tcp)
}

fn find<'s>(status: &'s Status, name: &str) -> Option<&'s ThreadStatus> {
    threads(status).find(|thread| thread.name == name)
}

impl ThreadRates {
    fn between(before: Option<&ThreadStatus>, after: &ThreadStatus, seconds: f64) -> ThreadRates {
        let rate = |count: fn(&ThreadStatus) -> u64| {
            let more = count(after).saturating_sub(before.map_or(0, count));
            ratio(more as f64, seconds).unwrap_or(0.0)
        };
        let rcodes = after.rcodes.iter().map(|(name, count)| {
            let earlier = before.map_or(0, |before| of(&before.rcodes, name));
            let more = count.saturating_sub(earlier);
            (name.clone(), ratio(more as f64, seconds).unwrap_or(0.0))
        });
        ThreadRates {
            name: after.name.clone(),
            cpu: after.cpu,
            queries: rate(|thread| thread.received),
            share: 0.0,
            drops: rate(|thread| thread.kernel_drops),
            batch: Batches::of(after).since(before.map(Batches::of)).mean(),
            rcodes: rcodes.collect(),
            send_failures: rate(|thread| thread.send_failures.iter().map(|(_, n)| n).sum()),
            connections: rate(|thread| thread.connections),
            connections_refused: rate(|thread| thread.connections_refused),
        }
    }
}

fn of(counts: &[(String, u64)], name: &str) -> u64 {
    let found = counts.iter().find(|(known, _)| known == name);
    found.map_or(0, |(_, count)| *count)
}

/// Requests of workers, and the batches that they came in.
#[derive(Clone, Copy, Default)]
struct Batches {
    requests: u64,
    batches: u64,
}

impl Batches {
    fn of(thread: &ThreadStatus) -> Batches {
        Batches {
            requests: thread.received,
            batches: thread.batches.iter().map(|(_, count)| count).sum(),
        }
    }

    fn of_all(status: &Status) -> Batches {
        let all = status.workers.iter().map(Batches::of);
        all.fold(Batches::default(), |sum, own| Batches {
            requests: sum.requests + own.requests,
            batches: sum.batches + own.batches,
        })
    }

    fn since(self, before: Option<Batches>) -> Batches {
        let before = before.unwrap_or_default();
        Batches {
            requests: self.requests.saturating_sub(before.requests),
            batches: self.batches.saturating_sub(before.batches),
        }
    }

    fn mean(self) -> Option<f64> {
        ratio(self.requests as f64, self.batches as f64)
    }
}

fn mean_batch(before: Option<&Status>, after: &Status) -> Option<f64> {
    let before = before.map(Batches::of_all);
    Batches::of_all(after).since(before).mean()
}

fn total(workers: &[ThreadRates], tcp: Option<&ThreadRates>, batch: Option<f64>) -> ThreadRates {
    let mut total = ThreadRates {
        name: "all".into(),
        share: 1.0,
        batch,
        ..ThreadRates::default()
    };
    for thread in workers.iter().chain(tcp) {
        total.queries += thread.queries;
        total.drops += thread.drops;
        total.send_failures += thread.send_failures;
        total.connections += thread.connections;
        total.connections_refused += thread.connections_refused;
        for (name, rate) in &thread.rcodes {
            match total.rcodes.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += rate,
                None => total.rcodes.push((name.clone(), *rate)),
            }
        }
    }
    total
}

/// `None` where there is nothing to divide by.
fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::queues::QueueCounts;

    fn worker(name: &str, received: u64, batches: u64) -> ThreadStatus {
        ThreadStatus {
            name: name.into(),
            received,
            batches: vec![(1, batches), (2, 0)],
            rcodes: vec![("NOERROR".into(), received), ("NXDOMAIN".into(), 0)],
            kernel_drops: received / 10,
            ..ThreadStatus::default()
        }
    }

    fn status(seconds: f64, received: [u64; 2], tcp: u64) -> Status {
        Status {
            counting_seconds: seconds,
            workers: vec![
                worker("0", received[0], received[0] / 2),
                worker("1", received[1], received[1] / 4),
            ],
            tcp: Some(ThreadStatus {
                connections: tcp,
                batches: Vec::new(),
                ..worker("tcp", tcp, 0)
            }),
            ..Status::default()
        }
    }

    #[test]
    fn the_band_of_shares_is_that_of_chance() {
        let worker = |flows| ThreadStatus {
            flows,
            ..ThreadStatus::default()
        };
        assert_eq!(band(&[worker(0), worker(0)]), None);
        // 50 % of 100 flows, with a standard deviation of 5 %.
        let (low, high) = band(&[worker(60), worker(40)]).unwrap();
        assert!((low - 0.402).abs() < 1e-9 && (high - 0.598).abs() < 1e-9);
        assert_eq!(band(&[worker(1), worker(0)]), Some((0.0, 1.0)));
    }

    #[test]
    fn rates_are_of_the_time_between() {
        let (before, after) = (status(10.0, [1000, 500], 7), status(12.0, [1600, 700], 17));
        let rates = Rates::between(Some(&before), &after);
        assert_eq!((rates.seconds, rates.restarted), (2.0, false));
        let [first, second] = &rates.workers[..] else {
            panic!("two workers");
        };
        assert_eq!((first.queries, second.queries), (300.0, 100.0));
        assert_eq!((first.share, second.share), (0.75, 0.25));
        assert_eq!((first.batch, second.batch), (Some(2.0), Some(4.0)));
        assert_eq!(first.drops, 30.0);
        let tcp = rates.tcp.unwrap();
        assert_eq!((tcp.queries, tcp.share, tcp.batch), (5.0, 0.0, None));
        assert_eq!(tcp.connections, 5.0);
        assert_eq!(rates.total.queries, 405.0);
        // 800 requests in 300 and 50 batches; those over TCP come in none.
        assert_eq!(rates.total.batch, Some(800.0 / 350.0));
        assert_eq!(rates.total.rcodes[0], ("NOERROR".into(), 405.0));
    }

    #[test]
    fn rates_of_queues_are_of_the_time_between() {
        let status = |seconds, received: u64| {
            let totals = QueueTotals {
                received,
                ring_full: received / 100,
                ..QueueTotals::default()
            };
            Status {
                interfaces: vec![InterfaceTotals {
                    interface: "eth0".into(),
                    queues: vec![QueueCounts {
                        queue: 3,
                        totals,
                        ..QueueCounts::default()
                    }],
                    passed: vec![("elsewhere".into(), received / 10)],
                    ..InterfaceTotals::default()
                }],
                ..status(seconds, [received, 0], 0)
            }
        };
        let rates = Rates::between(Some(&status(10.0, 1000)), &status(12.0, 2000));
        assert_eq!(
            rates.interfaces,
            [InterfaceRates {
                interface: "eth0".into(),
                queues: vec![(3, 0, [500.0, 0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0])],
                passed: vec![("elsewhere".into(), 50.0)],
            }]
        );
        let mean = Rates::between(None, &status(10.0, 1000));
        assert_eq!(mean.interfaces[0].passed[0].1, 10.0);
        let mut renamed = status(12.0, 2000);
        renamed.interfaces[0].interface = "lan0".into();
        let rates = Rates::between(Some(&status(10.0, 1000)), &renamed);
        assert_eq!(rates.past_sockets(), Some(0.0), "not of these two seconds");
    }

    #[test]
    fn the_first_reading_gives_the_mean_since_the_beginning() {
        let rates = Rates::between(None, &status(10.0, [1000, 500], 0));
        assert_eq!((rates.seconds, rates.total.queries), (10.0, 150.0));
        assert!(!rates.restarted);
    }

    #[test]
    fn a_restart_is_no_negative_rate() {
        let before = status(100.0, [1000, 500], 7);
        for after in [status(2.0, [2000, 1000], 9), status(101.0, [10, 20], 0)] {
            let rates = Rates::between(Some(&before), &after);
            assert!(rates.restarted);
            assert_eq!(
                rates,
                Rates {
                    restarted: true,
                    ..Rates::between(None, &after)
                }
            );
        }
    }

    #[test]
    fn a_takeover_is_no_restart_and_may_bring_more_workers() {
        let before = status(10.0, [1000, 500], 0);
        let mut after = status(11.0, [1100, 600], 0);
        after.pid = 7;
        after.uptime_seconds = 0.1;
        after.workers.push(worker("2", 50, 50));
        let rates = Rates::between(Some(&before), &after);
        assert!(!rates.restarted);
        assert_eq!(rates.workers[2].queries, 50.0);
        assert_eq!(rates.total.queries, 250.0);
    }

    #[test]
    fn nothing_is_divided_by_zero() {
        let same = status(10.0, [1000, 500], 7);
        for rates in [
            Rates::between(Some(&same), &same),
            Rates::between(None, &Status::default()),
        ] {
            assert_eq!(rates.total.queries, 0.0);
            assert!(rates.workers.iter().all(|worker| worker.share == 0.0));
            assert_eq!(rates.total.batch, None);
        }
    }
}
