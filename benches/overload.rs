//! A server under a flood that it cannot answer: `cargo bench --bench overload`.
//!
//! ```sh
//! cargo bench --bench overload -- --seconds 60
//! cargo bench --bench overload -- --seconds 60 --spread --server "--rate-limit 50"
//! ```
//!
//! Threads of this process send over loopback without reading a reply, on the
//! server's own CPUs and with its weight, so that the server has what they leave it
//! and the kernel drops the rest. Meanwhile the server's memory is read each second,
//! and it is timed how long the control socket, the metrics and a query on a new TCP
//! connection take. Before and after, a closed loop measures how much is answered, in
//! slices of 100 ms. It fails where memory grows, where one of them takes more than
//! 100 ms, or where the rate of before is not back within a second.

mod support;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use hdrhistogram::Histogram;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use shardns::daemon::control;
use shardns::lab::load_generator::{self, LoadRequest, Pace, Plan};
use shardns::sys::limits;
use shardns::wire::{Name, RrType};
use support::query;

/// What is asked: the demo zones hold it.
const NAME: &str = "www.example.com";
/// Sockets that a flooder sends from in turn.
const SOCKETS: usize = 16;
/// Datagrams from one address before a spreading flooder takes another.
const BEFORE_NEXT: usize = 64;
/// Pages that come into use when a buffer fills for the first time, not growth.
const GROWTH_KB: u64 = 2048;
const ANSWERED_WITHIN: Duration = Duration::from_millis(100);
/// How long the rate is measured before and after, and in which pieces.
const MEASURED: Duration = Duration::from_secs(3);
const SLICE: Duration = Duration::from_millis(100);
/// The share of the rate of before that counts as all of it: what slices differ by.
const FULL: f64 = 0.9;

/// Floods a server at several times what it can answer.
#[derive(Debug, Parser)]
#[command(name = "overload", bin_name = "cargo bench --bench overload --")]
struct Options {
    /// For how long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Threads that flood
    #[arg(long, default_value_t = 4)]
    threads: usize,
    /// Send from ever new addresses of 127.0.0.0/8
    #[arg(long)]
    spread: bool,
    /// The server's program, if not the one that was built for this
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_shardns"))]
    program: PathBuf,
    /// More options of the server
    #[arg(
        long,
        value_name = "OPTIONS",
        default_value = "",
        allow_hyphen_values = true
    )]
    server: String,
    /// Two seconds, and nothing is required of times
    #[arg(long)]
    test: bool,
    /// What cargo and criterion's users pass to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
    #[arg(long, hide = true)]
    quick: bool,
}

fn main() -> ExitCode {
    let mut options = Options::parse();
    options.test |= options.quick || !options.bench;
    if options.test {
        options.seconds = 2;
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("overload: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(folder.path(), options)?;
    let before = server.rates()?;
    let full = median(&before);
    println!("before: {full:.0} answers a second in a closed loop");
    let flood = server.flood(options)?;
    flood.show(full);
    let after = server.rates()?;
    let per_slice = after.iter().map(|rate| format!("{:.0}", rate / 1000.0));
    let per_slice: Vec<String> = per_slice.collect();
    println!(
        "after, thousands a second in slices of 100 ms: {}",
        per_slice.join(" ")
    );
    let back = after.iter().position(|&rate| rate >= FULL * full);
    match back {
        Some(slice) => println!(
            "back to {FULL} of the rate of before in slice {}",
            slice + 1
        ),
        None => println!("not back to {FULL} of the rate of before"),
    }
    ensure!(flood.answered > 0, "nothing was answered during the flood");
    if !options.test {
        flood.judge()?;
        ensure!(
            back.is_some_and(|slice| slice < 10),
            "the rate does not come back within a second"
        );
    }
    Ok(())
}

fn median(rates: &[f64]) -> f64 {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// A server in a process of its own; ended when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
    metrics: SocketAddr,
    control: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(folder: &Path, options: &Options) -> anyhow::Result<Server> {
        let control = folder.join("control");
        let mut command = Command::new(&options.program);
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(["--metrics", "127.0.0.1:0", "--control"])
            .arg(&control)
            .args(options.server.split_whitespace())
            .current_dir(folder)
            .stderr(Stdio::piped());
        if std::fs::metadata("/proc/self")
            .is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
        {
            command.args(["--user", "root"]);
        }
        let mut child = command.spawn().context("cannot start the server")?;
        let mut log = String::new();
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        while !log.trim_end().ends_with("ready") {
            ensure!(
                stderr.read_line(&mut log)? > 0,
                "the server did not start: {log}"
            );
        }
        // What it says later is nobody's business, but must not stop it.
        thread::spawn(move || io::copy(&mut stderr, &mut io::sink()));
        let address = |before: &str, after: char| -> anyhow::Result<SocketAddr> {
            let rest = log.split(before).nth(1).with_context(|| log.clone())?;
            Ok(rest.split(after).next().unwrap_or_default().parse()?)
        };
        Ok(Server {
            address: address("listening on ", ',')?,
            metrics: address("http://", '/')?,
            child,
            control,
        })
    }

    /// Answers a second, by slices.
    fn rates(&self) -> anyhow::Result<Vec<f64>> {
        let mut request = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        request.extend(NAME.parse::<Name>()?.as_wire());
        request.extend([0, 1, 0, 1]);
        let requests = [LoadRequest::new(request).context("not a question")?];
        let stop = AtomicBool::new(false);
        let plan = Plan {
            peer: self.address,
            flows: 16,
            pace: Pace::Closed { window: 32 },
            duration: SLICE,
            patience: SLICE / 4,
            spin: false,
            requests: &requests,
            stop: &stop,
        };
        let start = Instant::now();
        let mut rates = Vec::new();
        while start.elapsed() < MEASURED {
            let tally = load_generator::run(&plan)?;
            rates.push(tally.answered_meanwhile as f64 / tally.sending.as_secs_f64());
        }
        Ok(rates)
    }

    fn flood(&self, options: &Options) -> anyhow::Result<Flood> {
        let (sent, over) = (AtomicU64::new(0), AtomicBool::new(false));
        let counted = self.counted()?;
        let mut flood = Flood::default();
        let start = Instant::now();
        let watched = thread::scope(|scope| {
            for seed in 0..options.threads as u64 {
                let (sent, over) = (&sent, &over);
                scope.spawn(move || flood_from(self.address, options.spread, seed, sent, over));
            }
            let watched = self.watch(options.seconds, &mut flood);
            over.store(true, Relaxed);
            watched
        });
        watched?;
        flood.seconds = start.elapsed().as_secs_f64();
        flood.sent = sent.into_inner();
        let now = self.counted()?;
        [flood.answered, flood.dropped, flood.withheld] =
            std::array::from_fn(|at| now[at] - counted[at]);
        Ok(flood)
    }

    /// Once a second: how much memory there is, and how long the others take.
    fn watch(&self, seconds: u64, flood: &mut Flood) -> anyhow::Result<()> {
        // The flooders would keep whoever asks waiting, and not the server.
        limits::take_short_turns()?;
        let start = Instant::now();
        for second in 1..=seconds {
            thread::sleep(
                (start + Duration::from_secs(second)).saturating_duration_since(Instant::now()),
            );
            flood.resident_kb.push(self.resident_kb()?);
            let probes: [&dyn Fn() -> anyhow::Result<()>; 3] =
                [&|| self.ask_control(), &|| self.scrape().map(drop), &|| {
                    self.ask_over_tcp()
                }];
            for (times, probe) in flood.times.iter_mut().zip(probes) {
                let begin = Instant::now();
                probe()?;
                times.record(begin.elapsed().as_micros() as u64)?;
            }
        }
        Ok(())
    }

    fn resident_kb(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kb = line.and_then(|line| line.split_whitespace().next());
        Ok(kb.context("no VmRSS")?.parse()?)
    }

    fn ask_control(&self) -> anyhow::Result<()> {
        Ok(control::ask(&self.control, &control::Command::Status).map(drop)?)
    }

    fn scrape(&self) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.metrics)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    fn ask_over_tcp(&self) -> anyhow::Result<()> {
        let request = query(NAME, RrType::A);
        let mut stream = TcpStream::connect(self.address)?;
        stream.write_all(&[&(request.len() as u16).to_be_bytes()[..], &request].concat())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        stream.read_exact(&mut vec![0; u16::from_be_bytes(length).into()])?;
        Ok(())
    }

    /// Replies, datagrams that the kernel dropped, replies that a limit withheld.
    fn counted(&self) -> anyhow::Result<[u64; 3]> {
        let text = self.scrape()?;
        let sum = |name: &str| -> u64 {
            let lines = text.lines().filter(|line| line.starts_with(name));
            let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            values.sum::<f64>() as u64
        };
        Ok([
            sum("shardns_answers_total{"),
            sum("shardns_kernel_drops_total{"),
            sum("shardns_rate_limited_total{"),
        ])
    }
}

/// Sends until it is over, and reads nothing. Replies fill the sockets once, and
/// are thrown away by the kernel from then on.
fn flood_from(server: SocketAddr, spread: bool, seed: u64, sent: &AtomicU64, over: &AtomicBool) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut socket = || -> io::Result<UdpSocket> {
        let address = match spread {
            true => Ipv4Addr::from_bits(0x7f00_0000 | random.random_range(1..0xff_fffe)),
            false => Ipv4Addr::LOCALHOST,
        };
        let socket = UdpSocket::bind((address, 0))?;
        socket.connect(server)?;
        Ok(socket)
    };
    let mut sockets: Vec<UdpSocket> = (0..SOCKETS).filter_map(|_| socket().ok()).collect();
    let request = query(NAME, RrType::A);
    let mut turn = 0;
    while !over.load(Relaxed) {
        let place = turn % sockets.len();
        if spread && let Ok(next) = socket() {
            sockets[place] = next;
        }
        let through = (0..BEFORE_NEXT).filter(|_| sockets[place].send(&request).is_ok());
        sent.fetch_add(through.count() as u64, Relaxed);
        turn += 1;
    }
}

/// What was seen of a flood.
struct Flood {
    seconds: f64,
    sent: u64,
    answered: u64,
    dropped: u64,
    withheld: u64,
    resident_kb: Vec<u64>,
    /// Microseconds that control, metrics and TCP took.
    times: [Histogram<u64>; 3],
}

const PROBES: [&str; 3] = ["control", "metrics", "TCP"];

impl Default for Flood {
    fn default() -> Flood {
        Flood {
            seconds: 0.0,
            sent: 0,
            answered: 0,
            dropped: 0,
            withheld: 0,
            resident_kb: Vec::new(),
            times: PROBES.map(|_| Histogram::new(3).expect("the bounds are good")),
        }
    }
}

impl Flood {
    fn show(&self, full: f64) {
        let [sent, answered, dropped, withheld] =
            [self.sent, self.answered, self.dropped, self.withheld]
                .map(|n| n as f64 / self.seconds);
        println!(
            "flood of {:.0} s: {sent:.0} sent a second, {:.1} times what is answered, {:.1} times the rate of before",
            self.seconds,
            sent / answered.max(1.0),
            sent / full
        );
        println!(
            "  {answered:.0} answered, {dropped:.0} dropped by the kernel, {withheld:.0} withheld a second"
        );
        println!("  resident, kB, each second: {:?}", self.resident_kb);
        for (name, times) in PROBES.iter().zip(&self.times) {
            let ms = |quantile: f64| times.value_at_quantile(quantile) as f64 / 1000.0;
            println!(
                "  {name}: median {:.1} ms, longest {:.1} ms",
                ms(0.5),
                ms(1.0)
            );
        }
    }

    fn judge(&self) -> anyhow::Result<()> {
        let settled = self.resident_kb.get(1).or(self.resident_kb.first());
        let most = self.resident_kb.iter().max();
        let grown = most
            .zip(settled)
            .map_or(0, |(most, settled)| most - settled);
        ensure!(grown <= GROWTH_KB, "memory grows by {grown} kB");
        for (name, times) in PROBES.iter().zip(&self.times) {
            let longest = Duration::from_micros(times.max());
            if longest > ANSWERED_WITHIN {
                bail!("{name} took {longest:?}");
            }
        }
        Ok(())
    }
}
