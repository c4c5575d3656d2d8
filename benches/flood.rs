//! A load generator for DNS over UDP, small and fast:
//!
//! ```sh
//! cargo bench --bench flood -- 127.0.0.1:5300 --queries queries.txt --window 64
//! ```
//!
//! In the closed loop (`--window`) each flow keeps so many requests waiting, and
//! the time to each answer is measured. In the open loop (`--rate`) requests go
//! out at their rate whatever comes back, which is what clients do. What became
//! of each request is known by its id, never by subtraction.
//!
//! One thread drives all flows unless told otherwise. It does about as much work
//! for a query as the server, so one of its cores does not saturate a server's;
//! see whether the server has idle time before calling a number its limit.
//!
//! Without an address it loads a server of its own for a second and checks that
//! the counts add up, so that a plain `cargo bench` shows that it works.

mod support;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use serde_json::{Map, Value, json};
use shardns::lab::load_generator::{self, LoadRequest, Pace, Plan, Tally};
use shardns::server::{Config, Listen, Server};
use shardns::wire::{Name, Rcode, RrType};
use support::{Kind, requests, zones};

/// The port of an address that is written without one, as in `shardns serve`.
const DEFAULT_PORT: u16 = 5300;
/// The longest run.
const MAX_SECONDS: f64 = 86_400.0;

/// Loads a DNS server over UDP and counts what comes back.
#[derive(Debug, Parser)]
#[command(name = "flood", bin_name = "cargo bench --bench flood --")]
struct Options {
    /// Who is asked; port 5300 if none is written. Without it, a server of its
    /// own, for a second
    #[arg(value_name = "ADDRESS[:PORT]", value_parser = parse_address)]
    address: Option<SocketAddr>,
    /// Sockets to ask from, shared out among the threads
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    flows: u16,
    /// Open loop: so many queries a second in all, 0 for as many as go out
    #[arg(long, value_name = "Q", conflicts_with = "window", value_parser = clap::value_parser!(u64).range(0..=1_000_000_000))]
    rate: Option<u64>,
    /// Closed loop: so many queries of each flow are waiting for their answers
    #[arg(long, value_name = "W", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    window: u16,
    /// For how long
    #[arg(long, value_name = "S", default_value = "5", value_parser = parse_seconds)]
    seconds: Duration,
    /// After how long a query without an answer is lost
    #[arg(long, value_name = "S", default_value = "1", value_parser = parse_seconds)]
    patience: Duration,
    /// What to ask, a `NAME TYPE` a line, as `shardns queries` writes it; with a D
    /// behind it, with DO
    /// [default: www.example.com A]
    #[arg(long, value_name = "FILE")]
    queries: Option<PathBuf>,
    /// Threads, each with its share of the flows and the rate
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Look for answers all the time rather than sleep until one comes
    #[arg(long)]
    spin: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    /// Allow addresses that are neither loopback, private nor link-local. Flood
    /// nobody who has not asked for it
    #[arg(long)]
    anywhere: bool,
    /// What cargo and criterion's users pass to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
    #[arg(long, hide = true)]
    quick: bool,
    #[arg(long, hide = true)]
    test: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flood: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    let Some(address) = options.address else {
        return load_own_server();
    };
    if !options.anywhere && !load_generator::is_near(address.ip()) {
        bail!(
            "{} is neither a loopback nor a private address; --anywhere floods it all the same",
            address.ip()
        );
    }
    let requests = match &options.queries {
        Some(path) => read_queries(path)?,
        None => vec![request("www.example.com", "A", false)?],
    };
    let tally = load(options, address, &requests)?;
    if options.json {
        println!("{}", as_json(&tally));
    } else {
        println!("{address}: {}", describe(options));
        show(&tally);
    }
    Ok(())
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(text).parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, DEFAULT_PORT));
    }
    text.parse()
        .map_err(|_| "write 127.0.0.1, 127.0.0.1:5300, ::1 or [::1]:5300".into())
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && seconds <= MAX_SECONDS => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err(format!("write a number above 0, {MAX_SECONDS} at most")),
    }
}

fn read_queries(path: &Path) -> anyhow::Result<Vec<LoadRequest>> {
    let file = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {file}"))?;
    let mut requests = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let mut words = line.split_whitespace();
        let Some(name) = words.next().filter(|word| !word.starts_with([';', '#'])) else {
            continue;
        };
        let rtype = words.next().unwrap_or("A");
        let dnssec = words.next() == Some("D");
        requests.push(request(name, rtype, dnssec).with_context(|| format!("{file}:{number}"))?);
    }
    ensure!(!requests.is_empty(), "{file} holds no query");
    Ok(requests)
}

/// An OPT record with DO (RFC 3225 §3).
const DNSSEC_OK: [u8; 11] = *b"\0\0\x29\x04\xd0\0\0\x80\0\0\0";

fn request(name: &str, rtype: &str, dnssec: bool) -> anyhow::Result<LoadRequest> {
    let absolute: Name = Name::from_text(name.as_bytes(), Some(&Name::ROOT))?;
    let rtype =
        RrType::from_text(rtype.as_bytes()).with_context(|| format!("{rtype} is not a type"))?;
    let mut octets = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    octets.extend(absolute.as_wire());
    octets.extend([rtype.0.to_be_bytes(), [0, 1]].concat());
    if dnssec {
        octets[11] = 1;
        octets.extend(DNSSEC_OK);
    }
    LoadRequest::new(octets).context("not a question")
}

fn load(options: &Options, peer: SocketAddr, requests: &[LoadRequest]) -> anyhow::Result<Tally> {
    let (flows, threads) = (usize::from(options.flows), usize::from(options.threads));
    ensure!(threads <= flows, "{threads} threads need as many flows");
    let share = |all: usize, thread: usize| all * (thread + 1) / threads - all * thread / threads;
    let never = AtomicBool::new(false);
    let plan = |thread: usize| Plan {
        peer,
        flows: share(flows, thread),
        pace: match options.rate {
            None => Pace::Closed {
                window: options.window.into(),
            },
            Some(0) => Pace::Open { rate: 0 },
            // A share that came out as 0 would mean "as many as go out".
            Some(rate) => Pace::Open {
                rate: share(rate as usize, thread).max(1) as u64,
            },
        },
        duration: options.seconds,
        patience: options.patience,
        spin: options.spin,
        requests,
        stop: &never,
    };
    let tallies = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || load_generator::run(&plan(thread))))
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join().expect("a thread");
        running.into_iter().map(join).collect::<Result<Vec<_>, _>>()
    });
    let tallies = tallies.context("cannot make the flows")?;
    Ok(tallies
        .into_iter()
        .reduce(Tally::and)
        .expect("at least one thread"))
}

fn describe(options: &Options) -> String {
    let pace = match options.rate {
        None => format!("window {}", options.window),
        Some(0) => "as fast as possible".into(),
        Some(rate) => format!("rate {rate}"),
    };
    let seconds = options.seconds.as_secs_f64();
    format!("flows {}, {pace}, {seconds} s", options.flows)
}

fn rcodes(tally: &Tally) -> impl Iterator<Item = (String, u64)> {
    let name = |code: usize| match Rcode::ALL.iter().find(|rcode| **rcode as usize == code) {
        Some(rcode) => rcode.to_string(),
        None => format!("RCODE{code}"),
    };
    let counts = tally.rcodes.iter().enumerate();
    counts
        .filter(|&(_, &count)| count > 0)
        .map(move |(code, &count)| (name(code), count))
}

/// What is always told of latencies.
const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p999", 0.999),
    ("max", 1.0),
];

fn as_json(tally: &Tally) -> Value {
    let latency: Map<String, Value> = QUANTILES
        .iter()
        .filter(|_| !tally.latency_ns.is_empty())
        .map(|&(name, quantile)| {
            let value = tally.latency_ns.value_at_quantile(quantile);
            (name.into(), value.into())
        })
        .collect();
    json!({
        "seconds": tally.sending.as_secs_f64(),
        "sent": tally.sent,
        "answered": tally.answered,
        "lost": tally.lost,
        "held_back": tally.held_back,
        "late": tally.late,
        "duplicates": tally.duplicates,
        "strangers": tally.strangers,
        "errors": tally.errors,
        "sent_per_s": tally.sent_per_s().round(),
        "answers_per_s": tally.answers_per_s().round(),
        "rcodes": rcodes(tally).collect::<std::collections::BTreeMap<_, _>>(),
        "latency_ns": latency,
    })
}

fn show(tally: &Tally) {
    let rate = |per_second: f64| format!("{per_second:.0} a second");
    println!(
        "  sent        {:>10}  {}",
        tally.sent,
        rate(tally.sent_per_s())
    );
    println!(
        "  answered    {:>10}  {}",
        tally.answered,
        rate(tally.answers_per_s())
    );
    println!("  lost        {:>10}", tally.lost);
    for (name, count) in [
        ("held back", tally.held_back),
        ("late", tally.late),
        ("duplicates", tally.duplicates),
        ("strangers", tally.strangers),
        ("errors", tally.errors),
    ] {
        if count > 0 {
            println!("  {name:<12}{count:>10}");
        }
    }
    if let Some(error) = &tally.last_error {
        println!("  the last error: {error}");
    }
    for (name, count) in rcodes(tally) {
        println!("  {name:<12}{count:>10}");
    }
    if !tally.latency_ns.is_empty() {
        let quantiles = QUANTILES.map(|(name, quantile)| {
            let microseconds = tally.latency_ns.value_at_quantile(quantile) as f64 / 1000.0;
            format!("{name} {microseconds:.1}")
        });
        println!("  latency, µs: {}", quantiles.join(", "));
    }
}

/// Half a second in each loop against a server in this process.
fn load_own_server() -> anyhow::Result<()> {
    const NAMES: usize = 1000;
    let config = Config {
        listen: vec![Listen {
            address: "127.0.0.1:0".parse()?,
            required: true,
        }],
        workers: Some(1),
        pin: false,
        tcp: None,
        ..Config::default()
    };
    let server = Server::start(&config, Arc::new(zones(NAMES)))?;
    let address = server.addresses()[0];
    let requests: Vec<LoadRequest> = [Kind::Hit, Kind::NxDomain]
        .into_iter()
        .flat_map(|kind| requests(NAMES, kind, 500))
        .map(|octets| LoadRequest::new(octets).context("not a question"))
        .collect::<Result<_, _>>()?;
    for pace in [&["--window", "8"], &["--rate", "20000"]] {
        let common = ["flood", "--flows", "8", "--seconds", "0.5"];
        let options = Options::parse_from(common.iter().chain(pace.iter()));
        let tally = load(&options, address, &requests)?;
        println!("a server of its own: {}", describe(&options));
        show(&tally);
        ensure!(tally.answered > 0, "no answers");
        ensure!(
            tally.sent == tally.answered + tally.lost,
            "requests went missing"
        );
        ensure!(
            tally.strangers + tally.duplicates == 0,
            "replies to nothing"
        );
        ensure!(
            tally.answered == tally.rcodes[0] + tally.rcodes[3],
            "unexpected rcodes"
        );
    }
    Ok(())
}
