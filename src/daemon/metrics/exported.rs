//! What is exported, family by family. Names end in their unit, and those of
//! counters in `_total`; units are seconds, bytes, ratios, and plain numbers.

use std::borrow::Cow;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric, MetricEncoder,
    NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::daemon::status::{Status, ThreadStatus, ZoneStatus};

/// A status that is encoded.
#[derive(Debug)]
pub struct Exported(pub Status);

/// Labels of a series, as (name, value).
pub(super) type Labels<'l> = Vec<(&'static str, Cow<'l, str>)>;
/// A metric's name and unit, which the name ends in where it is exported.
type Name<'n> = (&'n str, Option<Unit>);

impl Collector for Exported {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        families.process(&self.0)?;
        families.requests(&self.0)?;
        families.threads(&self.0)?;
        families.connections(&self.0)?;
        families.flows(&self.0)?;
        families.queues(&self.0)?;
        families.zones(&self.0)
    }
}

/// Writes one family of metrics after another.
pub(super) struct Families<'e>(DescriptorEncoder<'e>);

impl Families<'_> {
    fn process(&mut self, status: &Status) -> fmt::Result {
        let build = vec![
            ("version", Cow::from(&status.version)),
            ("commit", Cow::from(&status.commit)),
        ];
        self.info("shardns_build", "The program.", [build])?;
        self.gauge(
            ("shardns_start_time", Some(Unit::Seconds)),
            "When the process began to serve, since 1970.",
            [(Labels::new(), status.start_seconds)],
        )
    }

    fn requests(&mut self, status: &Status) -> fmt::Result {
        self.of_threads("shardns_queries", "Requests received.", status, |thread| {
            thread.received
        })?;
        self.by(
            ("shardns_answers", "rcode"),
            "Replies by response code.",
            status,
            |thread| &thread.rcodes,
        )?;
        self.of_threads(
            "shardns_truncated",
            "Replies with TC set.",
            status,
            |thread| thread.truncated,
        )?;
        self.of_threads(
            "shardns_rate_limited",
            "Requests whose replies the rate limit dropped.",
            status,
            |thread| thread.rate_limited,
        )?;
        self.of_threads(
            "shardns_slipped",
            "Replies that the rate limit sent without records.",
            status,
            |thread| thread.slipped,
        )?;
        self.by(
            ("shardns_cookies", "cookie"),
            "Replies by the cookie that their request brought.",
            status,
            |thread| &thread.cookies,
        )?;
        self.of_threads(
            "shardns_query_log_dropped",
            "Exchanges that were to be logged or shown, and not copied for want of room.",
            status,
            |thread| thread.tap_dropped,
        )?;
        self.of_threads(
            "shardns_ignored",
            "Requests that deserve no reply, as what is itself a reply.",
            status,
            |thread| thread.ignored,
        )?;
        self.of_threads(
            "shardns_panics",
            "Requests dropped because the answering code broke on them.",
            status,
            |thread| thread.panicked,
        )?;
        self.by(
            ("shardns_send_failures", "reason"),
            "Replies that could not be sent.",
            status,
            |thread| &thread.send_failures,
        )
    }

    fn threads(&mut self, status: &Status) -> fmt::Result {
        let seats = status.workers.iter().filter_map(|thread| {
            let mut labels = worker(thread);
            labels.push(("cpu", thread.cpu?.to_string().into()));
            Some(labels)
        });
        self.info(
            "shardns_worker",
            "The CPU that a worker is pinned to.",
            seats,
        )?;
        self.of_workers(
            "shardns_kernel_drops",
            "Datagrams that the kernel dropped because the socket's buffer was full.",
            status,
            |worker| worker.kernel_drops,
        )?;
        self.of_workers(
            "shardns_receive_failures",
            "Receives that failed.",
            status,
            |worker| worker.receive_failures,
        )?;
        self.of_workers(
            "shardns_idle_wakeups",
            "Waits that ended with nothing to read.",
            status,
            |worker| worker.idle_wakeups,
        )?;
        self.counter(
            ("shardns_cpu", Some(Unit::Seconds)),
            "CPU time of the thread, the kernel's work for it included.",
            threads(status).map(|(thread, labels)| (labels, thread.cpu_seconds)),
        )?;
        self.histogram(
            ("shardns_batch_size", None),
            "Requests received by one system call.",
            status,
            batches,
        )?;
        self.histogram(
            ("shardns_service_time", Some(Unit::Seconds)),
            "From the receipt of a request's batch until its replies have been sent; the requests of one batch in 64.",
            status,
            service_times,
        )
    }

    fn connections(&mut self, status: &Status) -> fmt::Result {
        let tcp = || status.tcp.iter();
        self.gauge(
            ("shardns_tcp_connections", None),
            "Connections that are open.",
            tcp().map(|tcp| (Labels::new(), tcp.connections_open)),
        )?;
        self.counter(
            ("shardns_tcp_connections_accepted", None),
            "Connections accepted.",
            tcp().map(|tcp| (Labels::new(), tcp.connections)),
        )?;
        self.counter(
            ("shardns_tcp_connections_refused", None),
            "Connections turned away, or closed for others, because of a limit.",
            tcp().map(|tcp| (Labels::new(), tcp.connections_refused)),
        )
    }

    fn flows(&mut self, status: &Status) -> fmt::Result {
        self.gauge(
            ("shardns_flows", None),
            "Addresses and ports that requests came from within a minute, an estimate.",
            status
                .workers
                .iter()
                .map(|thread| (worker(thread), thread.flows)),
        )?;
        // Without requests nobody is hotter than anybody else, as with one worker.
        let multiple = |multiple: Option<f64>| [(Labels::new(), multiple.unwrap_or(1.0))];
        let band = status.imbalance.and_then(|imbalance| imbalance.chance);
        self.gauge(
            ("shardns_imbalance_ratio", None),
            "Requests of the busiest worker as a multiple of the workers' mean, over some ten seconds.",
            multiple(status.imbalance.map(|imbalance| imbalance.hottest)),
        )?;
        self.gauge(
            ("shardns_imbalance_chance_low_ratio", None),
            "With as many flows that ask alike, chance leaves the imbalance below this 2.5 times of 100.",
            multiple(band.map(|band| band.low)),
        )?;
        self.gauge(
            ("shardns_imbalance_chance_high_ratio", None),
            "With as many flows that ask alike, chance leaves the imbalance above this 2.5 times of 100.",
            multiple(band.map(|band| band.high)),
        )
    }

    fn zones(&mut self, status: &Status) -> fmt::Result {
        let zones = &status.zones;
        let served = || zones.iter().filter(|zone| zone.serial.is_some());
        self.gauge(
            ("shardns_zones", None),
            "Zones that are served.",
            [(Labels::new(), served().count() as u64)],
        )?;
        self.gauge(
            ("shardns_zone_serial", None),
            "The serial number of the zone's SOA record.",
            served().map(|zone| (zone_label(zone), u64::from(zone.serial.unwrap_or_default()))),
        )?;
        self.gauge(
            ("shardns_zone_records", None),
            "Records of the zone.",
            served().map(|zone| (zone_label(zone), zone.records as u64)),
        )?;
        self.gauge(
            ("shardns_zone_names", None),
            "Names of the zone.",
            served().map(|zone| (zone_label(zone), zone.names as u64)),
        )?;
        self.gauge(
            ("shardns_zone_memory", Some(Unit::Bytes)),
            "Memory of the zone's answers.",
            served().map(|zone| (zone_label(zone), zone.octets as u64)),
        )?;
        self.gauge(
            ("shardns_zone_load", Some(Unit::Seconds)),
            "How long reading and building the zone took.",
            served().map(|zone| (zone_label(zone), zone.load_seconds)),
        )?;
        self.gauge(
            ("shardns_zone_age", Some(Unit::Seconds)),
            "Time since the zone was read.",
            served().map(|zone| (zone_label(zone), zone.age_seconds)),
        )?;
        self.gauge(
            ("shardns_zone_failed", None),
            "1 where the newest version of the zone's file is not served, because of an error.",
            zones
                .iter()
                .map(|zone| (zone_label(zone), u64::from(zone.error.is_some()))),
        )
    }

    /// A counter of all threads.
    fn of_threads(
        &mut self,
        name: &str,
        help: &str,
        status: &Status,
        count: impl Fn(&ThreadStatus) -> u64,
    ) -> fmt::Result {
        let series = threads(status).map(|(thread, labels)| (labels, count(thread)));
        self.counter((name, None), help, series)
    }

    /// A counter of the threads that own UDP sockets.
    fn of_workers(
        &mut self,
        name: &str,
        help: &str,
        status: &Status,
        count: impl Fn(&ThreadStatus) -> u64,
    ) -> fmt::Result {
        let workers = status.workers.iter();
        let series = workers.map(|thread| (worker(thread), count(thread)));
        self.counter((name, None), help, series)
    }

    /// A counter of all threads, by one label more.
    fn by(
        &mut self,
        (name, key): (&str, &'static str),
        help: &str,
        status: &Status,
        counts: impl Fn(&ThreadStatus) -> &[(String, u64)],
    ) -> fmt::Result {
        let series = threads(status).flat_map(|(thread, labels)| {
            counts(thread).iter().map(move |(value, count)| {
                let mut labels = labels.clone();
                labels.push((key, value.into()));
                (labels, *count)
            })
        });
        self.counter((name, None), help, series)
    }

    pub(super) fn counter<'l, V: EncodeCounterValue>(
        &mut self,
        name: Name<'_>,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'l>, V)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, series, |value, encoder| {
            ConstCounter::new(value).encode(encoder)
        })
    }

    fn gauge<'l, V: EncodeGaugeValue>(
        &mut self,
        name: Name<'_>,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'l>, V)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, series, |value, encoder| {
            ConstGauge::new(value).encode(encoder)
        })
    }

    fn info<'l>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = Labels<'l>>,
    ) -> fmt::Result {
        let mut encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Info)?;
        for labels in series {
            encoder.encode_info(&labels)?;
        }
        Ok(())
    }

    /// A histogram of the workers.
    fn histogram(
        &mut self,
        name: Name<'_>,
        help: &str,
        status: &Status,
        histogram: impl Fn(&ThreadStatus) -> Histogram,
    ) -> fmt::Result {
        let workers = status.workers.iter();
        let series = workers.map(|thread| (worker(thread), histogram(thread)));
        let encode = |Histogram { classes, sum }: Histogram, mut encoder: MetricEncoder<'_>| {
            let count = classes.iter().map(|(_, count)| count).sum();
            encoder.encode_histogram::<NoLabelSet>(sum, count, &classes, None)
        };
        self.family(name, help, MetricType::Histogram, series, encode)
    }

    fn family<'l, V>(
        &mut self,
        (name, unit): Name<'_>,
        help: &str,
        kind: MetricType,
        series: impl IntoIterator<Item = (Labels<'l>, V)>,
        encode: impl Fn(V, MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, unit.as_ref(), kind)?;
        for (labels, value) in series {
            encode(value, encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// What is counted in classes.
struct Histogram {
    /// As (end, number), the last without an end.
    classes: Vec<(f64, u64)>,
    sum: f64,
}

fn batches(worker: &ThreadStatus) -> Histogram {
    let ends = worker
        .batches
        .iter()
        .map(|&(end, count)| (end as f64, count));
    Histogram {
        classes: ends.chain([(f64::INFINITY, 0)]).collect(),
        sum: worker.received as f64,
    }
}

fn service_times(worker: &ThreadStatus) -> Histogram {
    let service = &worker.service;
    let longer = [(f64::INFINITY, service.longer)];
    Histogram {
        classes: service.classes.iter().copied().chain(longer).collect(),
        sum: service.sum_seconds,
    }
}

/// All threads that answer, each with its labels.
fn threads(status: &Status) -> impl Iterator<Item = (&ThreadStatus, Labels<'_>)> {
    let udp = status.workers.iter().map(|thread| (thread, "udp"));
    let all = udp.chain(status.tcp.iter().map(|thread| (thread, "tcp")));
    all.map(|(thread, transport)| {
        let mut labels = worker(thread);
        labels.push(("transport", transport.into()));
        (thread, labels)
    })
}

fn worker(thread: &ThreadStatus) -> Labels<'_> {
    vec![("worker", Cow::from(&thread.name))]
}

fn zone_label(zone: &ZoneStatus) -> Labels<'_> {
    vec![("zone", Cow::from(&zone.name))]
}
