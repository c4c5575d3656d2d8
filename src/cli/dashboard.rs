//! `shardns dashboard`: a dashboard for Grafana that shows a server's workers side
//! by side.

use std::io::Write;

use serde_json::{Value, json};

/// Columns of Grafana's grid.
const GRID: usize = 24;
/// Height of a panel in rows of that grid.
const HEIGHT: usize = 8;
/// Panels beside each other.
const ABREAST: usize = 3;

/// The arguments of `shardns dashboard`.
#[derive(Debug, clap::Args)]
pub struct Dashboard {}

impl Dashboard {
    /// Prints the dashboard.
    ///
    /// # Errors
    ///
    /// What keeps it from being written.
    pub fn run(self) -> anyhow::Result<()> {
        print(&format!("{:#}\n", dashboard()))
    }
}

/// Prints to stdout.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// What a panel shows.
struct Panel {
    title: &'static str,
    description: &'static str,
    /// Grafana's name for it.
    unit: &'static str,
    kind: &'static str,
    /// As (legend, query).
    queries: &'static [(&'static str, &'static str)],
}

/// A panel of lines over time.
const LINES: &str = "timeseries";
/// A panel of the last values as a table.
const TABLE: &str = "table";

/// The panels, in the order that they are looked at: how much, is anything lost, is
/// it even, how long does it take, what is served. `$I` is who is looked at.
const PANELS: &[Panel] = &[
    Panel {
        title: "Queries by worker",
        description: "Received, before anything is decided about them.",
        unit: "reqps",
        kind: LINES,
        queries: &[(
            "{{instance}} {{worker}}",
            "sum by (instance, worker) (rate(shardns_queries_total{$I}[$__rate_interval]))",
        )],
    },
    Panel {
        title: "Answers by response code",
        description: "All threads together.",
        unit: "reqps",
        kind: LINES,
        queries: &[(
            "{{rcode}} {{transport}}",
            "sum by (rcode, transport) (rate(shardns_answers_total{$I}[$__rate_interval]))",
        )],
    },
    Panel {
        title: "Lost and not answered",
        description: "Dropped by the kernel because a socket's buffer was full; replies that could not be sent; requests that deserve none.",
        unit: "reqps",
        kind: LINES,
        queries: &[
            (
                "dropped by the kernel, worker {{worker}}",
                "sum by (worker) (rate(shardns_kernel_drops_total{$I}[$__rate_interval]))",
            ),
            (
                "not sent: {{reason}}",
                "sum by (reason) (rate(shardns_send_failures_total{$I}[$__rate_interval]))",
            ),
            (
                "not received",
                "sum(rate(shardns_receive_failures_total{$I}[$__rate_interval]))",
            ),
            (
                "ignored",
                "sum(rate(shardns_ignored_total{$I}[$__rate_interval]))",
            ),
            (
                "broken on",
                "sum(rate(shardns_panics_total{$I}[$__rate_interval]))",
            ),
        ],
    },
    Panel {
        title: "Imbalance, and what chance makes of it",
        description: "The busiest worker's queries as a multiple of the mean. Between the two other lines it is as chance deals out so many flows; above them, some flows ask much more than others.",
        unit: "none",
        kind: LINES,
        queries: &[
            ("{{instance}}", "shardns_imbalance_ratio{$I}"),
            (
                "{{instance}} chance, low",
                "shardns_imbalance_chance_low_ratio{$I}",
            ),
            (
                "{{instance}} chance, high",
                "shardns_imbalance_chance_high_ratio{$I}",
            ),
        ],
    },
    Panel {
        title: "Flows by worker",
        description: "Addresses and ports of clients within a minute, an estimate to within some 3 %.",
        unit: "short",
        kind: LINES,
        queries: &[(
            "{{instance}} {{worker}}",
            "sum by (instance, worker) (shardns_flows{$I})",
        )],
    },
    Panel {
        title: "CPU by thread",
        description: "1 is a CPU of its own, used fully.",
        unit: "percentunit",
        kind: LINES,
        queries: &[(
            "{{instance}} {{worker}}",
            "sum by (instance, worker) (rate(shardns_cpu_seconds_total{$I}[$__rate_interval]))",
        )],
    },
    Panel {
        title: "CPU for a query",
        description: "What a query costs, by transport.",
        unit: "s",
        kind: LINES,
        queries: &[(
            "{{transport}}",
            "sum by (transport) (rate(shardns_cpu_seconds_total{$I}[$__rate_interval])) / sum by (transport) (rate(shardns_queries_total{$I}[$__rate_interval]))",
        )],
    },
    Panel {
        title: "Time in the server",
        description: "From the receipt of a query's batch until its replies have been sent, of a sample. Not the time in the socket's buffer before it.",
        unit: "s",
        kind: LINES,
        queries: &[
            (
                "half",
                "histogram_quantile(0.5, sum by (le) (rate(shardns_service_time_seconds_bucket{$I}[$__rate_interval])))",
            ),
            (
                "99 of 100",
                "histogram_quantile(0.99, sum by (le) (rate(shardns_service_time_seconds_bucket{$I}[$__rate_interval])))",
            ),
        ],
    },
    Panel {
        title: "Queries in a batch",
        description: "Few: the workers wait for queries. As many as --batch: queries wait for the workers.",
        unit: "none",
        kind: LINES,
        queries: &[
            (
                "{{instance}} {{worker}}",
                "sum by (instance, worker) (rate(shardns_batch_size_sum{$I}[$__rate_interval])) / sum by (instance, worker) (rate(shardns_batch_size_count{$I}[$__rate_interval]))",
            ),
            (
                "99 of 100",
                "histogram_quantile(0.99, sum by (le) (rate(shardns_batch_size_bucket{$I}[$__rate_interval])))",
            ),
        ],
    },
    Panel {
        title: "Wake-ups for nothing",
        description: "Waits that ended without a query; ten a second for a worker that nobody asks.",
        unit: "ops",
        kind: LINES,
        queries: &[(
            "{{instance}} {{worker}}",
            "sum by (instance, worker) (rate(shardns_idle_wakeups_total{$I}[$__rate_interval]))",
        )],
    },
    Panel {
        title: "TCP connections",
        description: "Open ones, and how many come and are turned away a second.",
        unit: "none",
        kind: LINES,
        queries: &[
            (
                "{{instance}} open",
                "sum by (instance) (shardns_tcp_connections{$I})",
            ),
            (
                "{{instance}} accepted a second",
                "sum by (instance) (rate(shardns_tcp_connections_accepted_total{$I}[$__rate_interval]))",
            ),
            (
                "{{instance}} refused a second",
                "sum by (instance) (rate(shardns_tcp_connections_refused_total{$I}[$__rate_interval]))",
            ),
        ],
    },
    Panel {
        title: "Truncated",
        description: "The share of answers that send the client to TCP.",
        unit: "percentunit",
        kind: LINES,
        queries: &[(
            "{{instance}}",
            "sum by (instance) (rate(shardns_truncated_total{$I}[$__rate_interval])) / sum by (instance) (rate(shardns_answers_total{$I}[$__rate_interval]))",
        )],
    },
    Panel {
        title: "Zones",
        description: "The serial of each zone, the hundred that were read last.",
        unit: "none",
        kind: TABLE,
        queries: &[(
            "{{zone}}",
            "shardns_zone_serial{$I} and on (instance, zone) bottomk(100, shardns_zone_age_seconds{$I})",
        )],
    },
    Panel {
        title: "Zones whose newest version is not served",
        description: "Their files have an error, which shardns check names.",
        unit: "none",
        kind: LINES,
        queries: &[(
            "{{instance}}",
            "sum by (instance) (shardns_zone_failed{$I})",
        )],
    },
    Panel {
        title: "Programs",
        description: "Who runs what.",
        unit: "none",
        kind: TABLE,
        queries: &[(
            "{{instance}}",
            "shardns_build_info{$I} * on (instance) group_left shardns_start_time_seconds{$I}",
        )],
    },
];

fn dashboard() -> Value {
    let panels: Vec<Value> = PANELS.iter().enumerate().map(panel).collect();
    json!({
        "title": "shardns",
        "uid": "shardns",
        "description": "An authoritative DNS server, worker by worker.",
        "tags": ["dns"],
        "schemaVersion": 36,
        "editable": true,
        "time": { "from": "now-1h", "to": "now" },
        "refresh": "15s",
        "templating": { "list": [
            {
                "name": "datasource",
                "label": "Prometheus",
                "type": "datasource",
                "query": "prometheus",
            },
            {
                "name": "instance",
                "label": "Server",
                "type": "query",
                "datasource": source(),
                "query": {
                    "query": "label_values(shardns_build_info, instance)",
                    "refId": "instances",
                },
                "refresh": 2,
                "multi": true,
                "includeAll": true,
                "allValue": ".*",
                "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
            },
        ] },
        "panels": panels,
    })
}

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn panel((number, panel): (usize, &Panel)) -> Value {
    let is_table = panel.kind == TABLE;
    let width = GRID / ABREAST;
    let target = |(index, (legend, query)): (usize, &(&str, &str))| {
        json!({
            "refId": format!("q{index}"),
            "datasource": source(),
            "expr": query.replace("$I", r#"instance=~"$instance""#),
            "legendFormat": legend,
            "instant": is_table,
            "range": !is_table,
            "format": if is_table { "table" } else { "time_series" },
        })
    };
    let targets: Vec<Value> = panel.queries.iter().enumerate().map(target).collect();
    json!({
        "id": number + 1,
        "title": panel.title,
        "description": panel.description,
        "type": panel.kind,
        "datasource": source(),
        "gridPos": {
            "x": number % ABREAST * width,
            "y": number / ABREAST * HEIGHT,
            "w": width,
            "h": HEIGHT,
        },
        "fieldConfig": {
            "defaults": { "unit": panel.unit, "min": 0 },
            "overrides": [],
        },
        "targets": targets,
    })
}
