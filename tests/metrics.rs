//! What a server tells of itself: its metrics over HTTP, and a real Prometheus that
//! scrapes them and evaluates each query of the dashboard and the alert rules.

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write, stderr};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use shardns::daemon::metrics::Metrics;
use shardns::daemon::status::{self, Shares, Status, ZoneStatus};
use shardns::server::flows::WINDOW;
use shardns::server::{Config, Listen, Server};
use support::query;

const PROGRAM: &str = env!("CARGO_BIN_EXE_shardns");
/// Long enough for any machine; what takes as long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at another process.
const PAUSE: Duration = Duration::from_millis(100);

/// A server with two workers and its metrics.
struct Watched {
    server: Arc<Mutex<Server>>,
    address: SocketAddr,
    metrics: Metrics,
}

fn start() -> Watched {
    let config = Config {
        listen: vec![Listen {
            address: "127.0.0.1:0".parse().unwrap(),
            required: true,
        }],
        workers: Some(2),
        settings: support::settings(),
        ..Config::default()
    };
    let server = Server::start(&config, Arc::new(support::demo())).unwrap();
    let address = server.addresses()[0];
    let server = Arc::new(Mutex::new(server));
    let (watched, shares) = (server.clone(), Mutex::new(Shares::new(Instant::now())));
    let source = move || {
        Some(status(
            &watched.lock().unwrap(),
            &mut shares.lock().unwrap(),
        ))
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    Watched {
        server,
        address,
        metrics: Metrics::start(listener, source).unwrap(),
    }
}

fn status(server: &Server, shares: &mut Shares) -> Status {
    let (workers, tcp) = status::threads(server);
    let snapshot = server.snapshot();
    let zones = snapshot.zones.iter().map(|zone| ZoneStatus {
        name: zone.apex().to_string(),
        serial: Some(1),
        ..ZoneStatus::default()
    });
    Status {
        version: "0".into(),
        commit: "none".into(),
        start_seconds: 1.0,
        imbalance: shares.compare(Instant::now(), &workers),
        zones: zones.collect(),
        workers,
        tcp,
        ..Status::default()
    }
}

/// Asks from as many ports over UDP, and as often on one connection.
fn ask(server: SocketAddr, ports: u64) {
    let request = query("www.example.com", 1);
    let framed = [&(request.len() as u16).to_be_bytes(), &request[..]].concat();
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..ports {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(&request, server).unwrap();
        socket.recv(&mut [0; 4096]).unwrap();
        stream.write_all(&framed).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut reply = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut reply).unwrap();
    }
}

/// What an HTTP server answers, head and body.
fn get(server: SocketAddr, path: &str, fields: &str) -> (String, String) {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.0\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    (head.into(), body.into())
}

/// The sum of all series of this name whose labels contain the words.
fn sum(text: &str, name: &str, words: &str) -> f64 {
    let series = text.lines().filter_map(|line| line.rsplit_once(' '));
    let wanted = series
        .filter(|(series, _)| series.split('{').next() == Some(name) && series.contains(words));
    wanted.map(|(_, value)| value.parse::<f64>().unwrap()).sum()
}

/// A server that was asked from as many ports in one minute by the clock, by which flows
/// are counted; one that has seen a minute end is left alone.
fn asked_in_one_minute(ports: u64) -> Watched {
    let minute = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.unwrap().as_secs() / WINDOW.as_secs()
    };
    loop {
        let begin = minute();
        let watched = start();
        ask(watched.address, ports);
        if minute() == begin {
            return watched;
        }
    }
}

#[test]
fn what_is_scraped_is_what_happened() {
    let watched = asked_in_one_minute(200);
    let scrape = || get(watched.metrics.address(), "/metrics", "");
    // A worker counts a little after its reply has been sent.
    let begin = Instant::now();
    while sum(&scrape().1, "shardns_service_time_seconds_count", "") < 2.0 {
        assert!(begin.elapsed() < PATIENCE);
    }
    let (head, text) = scrape();
    assert!(
        head.contains("\r\nContent-Type: text/plain; version=0.0.4"),
        "{head}"
    );
    for transport in ["transport=\"udp\"", "transport=\"tcp\""] {
        assert_eq!(sum(&text, "shardns_queries_total", transport), 200.0);
        assert_eq!(sum(&text, "shardns_answers_total", transport), 200.0);
        assert!(sum(&text, "shardns_cpu_seconds_total", transport) > 0.0);
    }
    assert_eq!(
        sum(&text, "shardns_answers_total", "rcode=\"NOERROR\""),
        400.0
    );
    assert_eq!(sum(&text, "shardns_batch_size_sum", ""), 200.0);
    // Four standard errors of the estimate, which says 3 % for any number.
    assert!((sum(&text, "shardns_flows", "") - 200.0).abs() < 26.0);
    assert!(sum(&text, "shardns_imbalance_ratio", "") >= 1.0);
    assert!(sum(&text, "shardns_imbalance_chance_high_ratio", "") > 1.0);
    assert_eq!(
        sum(&text, "shardns_tcp_connections_accepted_total", ""),
        1.0
    );
    let zones = watched.server.lock().unwrap().snapshot().zones.len();
    assert_eq!(sum(&text, "shardns_zones", ""), zones as f64);
    assert_eq!(text.matches("\nshardns_zone_serial{").count(), zones);

    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let (head, text) = get(watched.metrics.address(), "/metrics", accept);
    assert!(head.contains("\r\nContent-Type: application/openmetrics-text; version=1.0.0"));
    assert!(text.ends_with("# EOF\n"));
    assert!(
        get(watched.metrics.address(), "/", "")
            .1
            .contains("/metrics")
    );
    assert!(
        get(watched.metrics.address(), "/other", "")
            .0
            .contains("404")
    );
}

#[test]
fn connections_that_are_open_are_told() {
    let watched = start();
    let open = || {
        let (_, text) = get(watched.metrics.address(), "/metrics", "");
        sum(&text, "shardns_tcp_connections", "")
    };
    let await_open = |count: f64| {
        let begin = Instant::now();
        while open() != count {
            assert!(begin.elapsed() < PATIENCE, "{} are open", open());
        }
    };
    let connections = [(); 3].map(|()| TcpStream::connect(watched.address).unwrap());
    await_open(3.0);
    drop(connections);
    await_open(0.0);
}

/// What the program prints.
fn printed(command: &str) -> String {
    let output = Command::new(PROGRAM).arg(command).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// The words that are names of metrics.
fn names(text: &str) -> BTreeSet<&str> {
    let is_letter = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    text.split(|letter| !is_letter(letter))
        .filter(|word| word.starts_with("shardns_"))
        .collect()
}

#[test]
fn dashboard_and_alerts_ask_for_what_is_exported() {
    let watched = start();
    let (_, text) = get(watched.metrics.address(), "/metrics", "");
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let exported: BTreeSet<&str> = series
        .flat_map(|line| names(line).into_iter().take(1))
        .collect();
    for command in ["dashboard", "alerts"] {
        let printed = printed(command);
        let asked = names(&printed);
        assert!(asked.len() >= 10);
        let unknown: Vec<_> = asked.difference(&exported).collect();
        assert!(unknown.is_empty(), "{command} asks for {unknown:?}");
    }
}

/// The queries of the dashboard, as Grafana would fill them in.
fn dashboard_queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&printed("dashboard")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries = targets.map(|target| target["expr"].as_str().unwrap());
    queries
        .map(|query| {
            let query = query.replace("$instance", ".*");
            query.replace("$__rate_interval", "10s")
        })
        .collect()
}

/// Runs promtool, which has nothing to say where all is well.
fn check(what: &str, arguments: &[&str], input: &str) {
    let mut child = Command::new("promtool")
        .args(["check", what])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && said.is_empty(),
        "check {what}: {said}"
    );
}

/// A Prometheus that scrapes a server, until it is dropped.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(target: SocketAddr) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("alerts.yaml"), printed("alerts")).unwrap();
        let config = format!(
            "global: {{scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 250ms}}\n\
             rule_files: [alerts.yaml]\n\
             scrape_configs: [{{job_name: shardns, static_configs: [{{targets: ['{target}']}}]}}]\n"
        );
        std::fs::write(path("prometheus.yaml"), config).unwrap();
        check("rules", &[&path("alerts.yaml")], "");
        let mut child = Command::new("prometheus")
            .arg(format!("--config.file={}", path("prometheus.yaml")))
            .arg(format!("--storage.tsdb.path={}", path("data")))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let address = loop {
            let line = log.next().unwrap_or_else(|| panic!("{said}")).unwrap();
            let found = line.split_once("\"Listening on\" address=");
            if let Some((_, address)) = found {
                break address.split_whitespace().next().unwrap().parse().unwrap();
            }
            said += &format!("{line}\n");
        };
        // What nobody reads would stop it in the end.
        std::thread::spawn(move || log.for_each(drop));
        Prometheus {
            child,
            address,
            _folder: folder,
        }
    }

    /// What its API says to a path.
    fn ask(&self, path: &str) -> Value {
        let (_, body) = get(self.address, path, "");
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        answer["data"].clone()
    }

    /// The values that a query has now, that are none where it makes no sense.
    fn values(&self, query: &str) -> Vec<f64> {
        let escaped: String = query.bytes().map(|octet| format!("%{octet:02x}")).collect();
        let data = self.ask(&format!("/api/v1/query?query={escaped}"));
        let results = data["result"].as_array().cloned().unwrap_or_default();
        let values = results
            .iter()
            .filter_map(|result| result["value"][1].as_str());
        values
            .map(|value| value.parse().unwrap())
            .filter(|value: &f64| !value.is_nan())
            .collect()
    }

    fn await_values(&self, query: &str) -> Vec<f64> {
        let begin = Instant::now();
        loop {
            let values = self.values(query);
            if !values.is_empty() {
                return values;
            }
            assert!(begin.elapsed() < PATIENCE, "no result: {query}");
            std::thread::sleep(PAUSE);
        }
    }

    /// The alert rules, once each has been evaluated.
    fn rules(&self) -> Vec<Value> {
        let begin = Instant::now();
        loop {
            let data = self.ask("/api/v1/rules");
            let rules = data["groups"][0]["rules"].as_array().cloned();
            let rules = rules.unwrap_or_default();
            if !rules.is_empty() && rules.iter().all(|rule| rule["health"] != "unknown") {
                return rules;
            }
            assert!(begin.elapsed() < PATIENCE, "{data}");
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_real_prometheus_has_a_result_for_every_query() {
    for program in ["prometheus", "promtool"] {
        if Command::new(program).arg("--version").output().is_err() {
            let _ = writeln!(stderr(), "SKIPPED: {program} is not installed");
            return;
        }
    }
    let watched = start();
    let (_, text) = get(watched.metrics.address(), "/metrics", "");
    check("metrics", &[], &text);
    let prometheus = Prometheus::start(watched.metrics.address());
    let (done, asked) = (AtomicBool::new(false), watched.address);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                ask(asked, 100);
            }
        });
        // Whatever fails, whoever asks has to end.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let queries = dashboard_queries();
            assert!(queries.len() >= 20);
            for query in queries {
                prometheus.await_values(&query);
            }
            let rules = prometheus.rules();
            assert!(rules.len() >= 10);
            for rule in &rules {
                assert_eq!(rule["health"], "ok", "{rule}");
                // An alert has a result where it is raised; what it looks at always.
                let query = rule["query"].as_str().unwrap();
                let condition = query.rfind(" > ").or(query.rfind(" < ")).unwrap();
                prometheus.await_values(&query[..condition]);
                // One slow batch of some forty, or one slow scrape, makes one pending: to
                // wait for a second one is what its `for` is there for.
                assert_ne!(rule["state"], "firing", "{rule}");
            }
        }));
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    assert!(prometheus.await_values("sum(shardns_queries_total)")[0] > 0.0);
}
