//! The status of a server as metrics, in the text formats that Prometheus reads,
//! and where they can be had over HTTP. What is exported is listed once, in
//! `Exported`.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric, MetricEncoder,
    NoLabelSet, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::http::{Http, Request, Response};
use super::status::{Status, ThreadStatus, ZoneStatus};

/// Who comes to the root is shown the way.
const POINTER: &str = "shardns: metrics are at /metrics\n";
const TEXT: &str = "text/plain; charset=utf-8";

/// A text format, with the media type that it is announced by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The format before it, which any Prometheus reads.
    Prometheus,
}

impl Format {
    /// OpenMetrics for whoever says that it is taken.
    pub fn accepted(accept: &str) -> Format {
        match accept.contains("application/openmetrics-text") {
            true => Format::OpenMetrics,
            false => Format::Prometheus,
        }
    }

    /// The content type.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Metrics over HTTP, until it is dropped.
pub struct Metrics(Http);

impl Metrics {
    /// Serves metrics on a listener, which may be another process's too. Each
    /// scrape asks `source` for the status, on the thread that serves all of them:
    /// it has to return soon, `None` where it cannot tell.
    ///
    /// # Errors
    ///
    /// What the kernel says to the event queue or the thread.
    pub fn start(
        listener: TcpListener,
        source: impl Fn() -> Option<Status> + Send + Sync + 'static,
    ) -> io::Result<Metrics> {
        let answer = move |request: &Request<'_>| answer(request, &source);
        Ok(Metrics(Http::start("shardns-metrics", listener, answer)?))
    }

    /// Where it listens, with the port that the kernel chose.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// A copy of the listener, for another process to adopt.
    ///
    /// # Errors
    ///
    /// What the kernel says, as where no more files may be open.
    pub fn listener(&self) -> io::Result<TcpListener> {
        self.0.listener()
    }
}

fn answer(request: &Request<'_>, source: &impl Fn() -> Option<Status>) -> Response {
    match request.path {
        "/" => Response::of(200, TEXT, POINTER.into()),
        "/metrics" => match source() {
            Some(status) => {
                let format = Format::accepted(request.accept);
                Response::of(200, format.media_type(), encode(status, format))
            }
            None => Response::of(503, TEXT, "the server is busy; try again\n".into()),
        },
        _ => Response::of(404, TEXT, POINTER.into()),
    }
}

/// The status as text.
pub fn encode(status: Status, format: Format) -> String {
    // Nobody's text is longer by much, and growing it copies it.
    let mut out = String::with_capacity(16 << 10 | status.zones.len() << 10);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exported(status)));
    let encoded = match format {
        Format::OpenMetrics => text::encode(&mut out, &registry),
        Format::Prometheus => prometheus_text::encode(&mut out, &registry),
    };
    debug_assert_eq!(encoded, Ok(()), "a string takes anything");
    out
}

/// A status that is encoded.
#[derive(Debug)]
struct Exported(Status);

/// Labels of a series, as (name, value).
type Labels<'l> = Vec<(&'static str, Cow<'l, str>)>;
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
        families.zones(&self.0)
    }
}

/// Writes one family of metrics after another.
struct Families<'e>(DescriptorEncoder<'e>);

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

    fn counter<'l, V: EncodeCounterValue>(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::chance::Band;
    use crate::daemon::status::Imbalance;
    use crate::server::counters::{Gauges, Totals};
    use std::time::Instant;

    /// A status in which nothing is 0 that is looked for.
    fn full() -> Status {
        let totals = Totals {
            received: 7,
            rcodes: [5, 1, 0, 0, 0, 0, 0, 0],
            batches: [3, 2, 0, 0, 0, 0, 0, 0],
            service_ns: 1_500_000,
            service_times: std::array::from_fn(|class| class as u64),
            cpu_ns: 2_500_000_000,
            ..Totals::default()
        };
        let gauges = Gauges {
            flows: 4,
            connections_open: 3,
        };
        let thread = |name: &str| ThreadStatus::of(name.into(), Some(1), &totals, gauges);
        let zone = |name: &str, serial| ZoneStatus {
            name: name.into(),
            serial,
            records: 12,
            load_seconds: 0.25,
            ..ZoneStatus::default()
        };
        Status {
            version: "1.2.3".into(),
            commit: "abc".into(),
            start_seconds: 1.5e9,
            workers: vec![thread("0"), thread("1")],
            tcp: Some(thread("tcp")),
            zones: vec![zone("example.", Some(2026)), zone(r#"a\"b.zone"#, None)],
            imbalance: Some(Imbalance {
                hottest: 1.25,
                chance: Some(Band {
                    low: 1.0,
                    high: 2.0,
                }),
            }),
            ..Status::default()
        }
    }

    /// A line's name, its labels in order, and its value, which formats write in
    /// ways of their own.
    fn series(line: &str) -> Option<(&str, Vec<&str>, f64)> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let mut labels: Vec<&str> = labels.strip_suffix('}')?.split(',').collect();
        labels.sort_unstable();
        Some((name, labels, value.parse().ok()?))
    }

    fn has(text: &str, line: &str) {
        let is_same = |one: &str| {
            one == line || series(line).is_some_and(|wanted| series(one) == Some(wanted))
        };
        assert!(text.lines().any(is_same), "{line} is not in\n{text}");
    }

    #[test]
    fn metrics_are_in_either_format() {
        for format in [Format::OpenMetrics, Format::Prometheus] {
            let text = encode(full(), format);
            for line in [
                r#"shardns_build_info{version="1.2.3",commit="abc"} 1"#,
                "shardns_start_time_seconds 1500000000.0",
                r#"shardns_queries_total{worker="0",transport="udp"} 7"#,
                r#"shardns_answers_total{worker="tcp",transport="tcp",rcode="NXDOMAIN"} 1"#,
                r#"shardns_send_failures_total{worker="1",transport="udp",reason="buffer_full"} 0"#,
                r#"shardns_worker_info{worker="1",cpu="1"} 1"#,
                r#"shardns_cpu_seconds_total{worker="0",transport="udp"} 2.5"#,
                r#"shardns_batch_size_count{worker="0"} 5"#,
                r#"shardns_batch_size_sum{worker="0"} 7.0"#,
                r#"shardns_service_time_seconds_bucket{worker="0",le="+Inf"} 120"#,
                r#"shardns_service_time_seconds_sum{worker="0"} 0.0015"#,
                "shardns_tcp_connections 3",
                r#"shardns_flows{worker="0"} 4"#,
                "shardns_imbalance_ratio 1.25",
                "shardns_imbalance_chance_high_ratio 2.0",
                "shardns_zones 1",
                r#"shardns_zone_serial{zone="example."} 2026"#,
                r#"shardns_zone_load_seconds{zone="example."} 0.25"#,
                r#"shardns_zone_failed{zone="a\\\"b.zone"} 0"#,
            ] {
                has(&text, line);
            }
        }
        let text = encode(full(), Format::OpenMetrics);
        has(&text, "# TYPE shardns_queries counter");
        has(&text, "# UNIT shardns_cpu_seconds seconds");
        assert!(text.ends_with("\n# EOF\n"));
        has(
            &encode(full(), Format::Prometheus),
            "# TYPE shardns_queries_total counter",
        );
    }

    #[test]
    fn a_server_without_anything_has_metrics_too() {
        let text = encode(Status::default(), Format::OpenMetrics);
        has(&text, "shardns_imbalance_ratio 1.0");
        has(&text, "shardns_zones 0");
    }

    #[test]
    fn ten_thousand_zones_take_no_time() {
        let mut status = full();
        let zone = status.zones[0].clone();
        status.zones = vec![zone; 10_000];
        let begin = Instant::now();
        let text = encode(status, Format::Prometheus);
        // A tenth of it where the compiler has optimised.
        assert!(begin.elapsed().as_secs() < 2, "{:?}", begin.elapsed());
        assert_eq!(text.matches("\nshardns_zone_serial{").count(), 10_000);
    }
}
