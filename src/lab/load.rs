//! The load that servers are compared under: a small zone, questions that it
//! answers, and what became of them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::Lab;
use super::group::ANY_PORT;
use super::load_generator::{self, LoadRequest, Pace, Plan, Tally};
use super::question::request;
use super::tasks::{Cost, Tasks};
use crate::server::{Config, Listen};
use crate::zone::text::Library;
use crate::zone::{self, Zones};

/// The zone's name.
pub const APEX: &str = "example.com";
/// The zone's master file. It stays in the cache: what is compared is how
/// datagrams reach the answering code.
pub const ZONE: &str = "\
$ORIGIN example.com.
$TTL 1h
@ SOA ns1 hostmaster 1 2h 15m 2w 5m
@ NS ns1
ns1 A 192.0.2.1
$GENERATE 0-255 host$ A 192.0.2.$
";
const HOSTS: usize = 256;
/// Patience with what must not be lost: longer than any queue here lasts.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Patience with what may be lost, as a buffer overflows where the load generator or
/// the server was held up: every loss makes the load generator wait so long at its end.
pub const IMPATIENCE: Duration = Duration::from_millis(200);

/// The zone, built.
///
/// # Errors
///
/// None, as long as the text above is good.
pub fn zones() -> anyhow::Result<Arc<Zones>> {
    const PATH: &str = "example.com.zone";
    let library = Library::Embedded(&[(PATH, ZONE)]);
    let loaded = zone::load(library, Path::new(PATH), None)?;
    let zone = loaded.zone.context("the laboratory's zone has faults")?;
    Ok(Arc::new(Zones::new(vec![zone])))
}

/// What is asked: the address of each host.
///
/// # Errors
///
/// None, as long as the names are good.
pub fn questions() -> anyhow::Result<Vec<LoadRequest>> {
    let question = |host| request(&format!("host{host}.{APEX}."));
    (0..HOSTS).map(question).collect()
}

/// A server on loopback that differs from others by what an experiment sets:
/// unpinned workers that sleep at once, UDP only.
pub fn config(workers: usize) -> Config {
    Config {
        listen: vec![Listen {
            address: ANY_PORT,
            required: true,
        }],
        workers: Some(workers),
        pin: false,
        busy_polls: 0,
        tcp: None,
        ..Config::default()
    }
}

/// How a server is asked.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Sockets to ask from.
    pub flows: usize,
    /// How fast.
    pub pace: Pace,
    /// For how long.
    pub duration: Duration,
    /// After which time a request is lost.
    pub patience: Duration,
}

impl Demand {
    /// Requests a second; none in the closed loop.
    pub fn offered_per_s(&self) -> Option<u64> {
        match self.pace {
            Pace::Open { rate } => Some(rate),
            Pace::Closed { .. } => None,
        }
    }
}

/// What became of the requests, and what it took.
pub struct Measured {
    /// The requests.
    pub tally: Tally,
    /// What the server's threads took.
    pub cost: Option<Cost>,
    /// CPU time of the load generator, as a share of one CPU.
    pub generator_busy: Option<f64>,
}

impl Measured {
    /// CPU time of the server, in microseconds.
    pub fn cpu_us_per_query(&self) -> Option<f64> {
        let cost = self.cost?;
        Some(cost.cpu.as_secs_f64() * 1e6 / self.queries())
    }

    /// Context switches of the server.
    pub fn switches_per_query(&self) -> Option<f64> {
        Some(self.cost?.switches as f64 / self.queries())
    }

    fn queries(&self) -> f64 {
        self.tally.answered.max(1) as f64
    }
}

/// Asks a server, whose threads have cost what `cost` says, and looks at what that
/// takes.
///
/// # Errors
///
/// As `ask`, or as `cost`.
pub fn measure(
    lab: &Lab,
    peer: SocketAddr,
    mut cost: impl FnMut() -> anyhow::Result<Option<Cost>>,
    questions: &[LoadRequest],
    demand: &Demand,
) -> anyhow::Result<Measured> {
    let before = cost()?;
    let (generator, start) = (Tasks::current(), Instant::now());
    let own_before = generator.cost();
    let tally = ask(lab, peer, questions, demand)?;
    let own_cost = Cost::between(own_before, generator.cost());
    let elapsed = start.elapsed().as_secs_f64();
    Ok(Measured {
        tally,
        cost: Cost::between(before, cost()?),
        generator_busy: own_cost.map(|cost| cost.cpu.as_secs_f64() / elapsed),
    })
}

/// Asks a server over and over. The load generator sleeps where it may.
///
/// # Errors
///
/// `Interrupted`, or sockets that are not to be had.
pub fn ask(
    lab: &Lab,
    peer: SocketAddr,
    questions: &[LoadRequest],
    demand: &Demand,
) -> anyhow::Result<Tally> {
    let plan = Plan {
        peer,
        flows: demand.flows,
        pace: demand.pace,
        duration: demand.duration,
        patience: demand.patience,
        spin: false,
        requests: questions,
        stop: lab.stop(),
    };
    loop {
        lab.check()?;
        let tally = load_generator::run(&plan).context("cannot open the client's sockets")?;
        // On a busy machine the load generator may have slept through its time.
        if tally.sent > 0 {
            return Ok(tally);
        }
    }
}

/// How long answers took, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Half are faster.
    pub latency_us_p50: f64,
    /// 90 of 100 are faster.
    pub latency_us_p90: f64,
    /// 99 of 100 are faster.
    pub latency_us_p99: f64,
    /// 999 of 1,000 are faster.
    pub latency_us_p999: f64,
    /// The standard deviation.
    pub latency_us_deviation: f64,
}

impl Latency {
    /// From what the load generator recorded.
    pub fn of(nanoseconds: &Histogram<u64>) -> Latency {
        let quantile = |share| nanoseconds.value_at_quantile(share) as f64 / 1e3;
        Latency {
            latency_us_p50: quantile(0.5),
            latency_us_p90: quantile(0.9),
            latency_us_p99: quantile(0.99),
            latency_us_p999: quantile(0.999),
            latency_us_deviation: nanoseconds.stdev() / 1e3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{self, Outcome, Request, Settings, Via};
    use crate::lab::question::octets;
    use crate::wire::{LookupName, Rcode};
    use trust_dns_proto::rr::{DNSClass, RecordType};

    #[test]
    fn the_zone_answers_the_questions() {
        let (zones, mut lookup, mut out) = (zones().unwrap(), LookupName::new(), [0; 512]);
        assert_eq!(questions().unwrap().len(), HOSTS);
        let mut rcode = |host: usize| {
            let name = format!("host{host}.{APEX}.");
            let request = Request {
                octets: &octets(1, &name, RecordType::A, DNSClass::IN).unwrap(),
                peer: ANY_PORT,
                local: ANY_PORT.ip(),
                via: Via::Tcp,
                now: Duration::ZERO,
            };
            let settings = Settings::default();
            match answer::respond(&zones, &settings, &request, &mut lookup, &mut out) {
                Outcome::Replied { rcode, .. } => rcode,
                Outcome::Ignored => panic!("{name} is ignored"),
            }
        };
        assert_eq!(
            (rcode(0), rcode(HOSTS - 1)),
            (Rcode::NoError, Rcode::NoError)
        );
        assert_eq!(rcode(HOSTS), Rcode::NxDomain);
    }

    #[test]
    fn latencies_are_microseconds() {
        let mut histogram = Histogram::new_with_max(1_000_000, 3).unwrap();
        for microseconds in 1..=100u64 {
            histogram.record(microseconds * 1000).unwrap();
        }
        let latency = Latency::of(&histogram);
        let is_near = |figure: f64, other: f64| (figure / other - 1.0).abs() < 0.01;
        assert!(is_near(latency.latency_us_p50, 50.0), "{latency:?}");
        assert!(is_near(latency.latency_us_p99, 99.0), "{latency:?}");
        assert!(is_near(latency.latency_us_p999, 100.0), "{latency:?}");
        // Of 1 to n: the root of (n² - 1) / 12.
        assert!(is_near(latency.latency_us_deviation, 28.87), "{latency:?}");
    }
}
