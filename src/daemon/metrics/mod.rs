//! The status of a server as metrics, in the text formats that Prometheus reads,
//! and where they can be had over HTTP. What is exported is in `exported.rs`.

mod exported;
mod queues;

use std::io;
use std::net::{SocketAddr, TcpListener};

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

use super::http::{Http, Request, Response};
use super::status::Status;
use exported::Exported;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::chance::Band;
    use crate::daemon::status::{Imbalance, ThreadStatus, ZoneStatus};
    use crate::server::counters::{Gauges, Totals};
    use std::time::Instant;

    /// A status in which nothing is 0 that is looked for.
    fn full() -> Status {
        let totals = Totals {
            received: 7,
            rcodes: [5, 1, 0, 0, 0, 0, 0, 0, 0],
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
