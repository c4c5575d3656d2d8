//! What changes cost whoever asks meanwhile: queries lost, each followed by its
//! id, and how long answers take, while zones are reloaded, while one process
//! takes over from another, and when one is killed and started again; then how
//! long it takes to reload one zone of many, and what reading a million names over
//! and over costs those who ask. Run as `cargo bench --bench change`; it takes some
//! five minutes, prints tables, and writes them with the raw rows to
//! `benches/results`. With `-- --quick` or `-- --test` it takes seconds, changes
//! little once, and writes nothing.
//!
//! The servers are the program itself in processes of their own, and the load
//! generator shares the machine with them: the rate leaves room for both, as the
//! rows without any change show.

mod support;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use serde_json::{Value, json};
use shardns::daemon::control::{self, Reply};
use shardns::daemon::reload::Said;
use shardns::lab::load::{self, ZONE};
use shardns::lab::load_generator::{self, LoadRequest, Pace, Plan, Tally};
use shardns::lab::process::{Process, own_user};
use signal_hook::consts::{SIGKILL, SIGTERM};
use support::report::{Spread, facts, load_average, save};
use support::{Kind, requests, zone_file};

const PROGRAM: &str = env!("CARGO_BIN_EXE_shardns");
/// Sockets that ask.
const FLOWS: usize = 256;
/// Workers, where nothing else is said.
const WORKERS: usize = 2;
/// When a query is lost: later than any server here takes to start.
const PATIENCE: Duration = Duration::from_secs(2);
/// No change takes that long.
const LONGEST: Duration = Duration::from_secs(3600);
/// How long the load goes on before a change and after it.
const AROUND: Duration = Duration::from_millis(200);
/// Queries of each flow that wait, where answers set the pace.
const WINDOW: usize = 2;
/// Different names that are asked for of many.
const QUERIES: usize = 200_000;

/// How much is done.
struct Effort {
    rate: u64,
    /// How long the load is looked at without a change.
    without: Duration,
    reloads: usize,
    takeovers: usize,
    /// Numbers of workers, one after the other.
    workers: &'static [usize],
    kills: usize,
    zones: usize,
    zone_reloads: usize,
    names: usize,
    rounds: usize,
}

const FULL: Effort = Effort {
    rate: 20_000,
    without: Duration::from_secs(10),
    reloads: 100,
    takeovers: 50,
    workers: &[3, 1, 4, 2, 1, 3, 4, 1, 4, 2],
    kills: 5,
    zones: 10_000,
    zone_reloads: 30,
    names: 1_000_000,
    rounds: 5,
};

const LITTLE: Effort = Effort {
    rate: 2000,
    without: Duration::from_millis(200),
    reloads: 2,
    takeovers: 1,
    workers: &[3, 2],
    kills: 1,
    zones: 50,
    zone_reloads: 2,
    names: 1000,
    rounds: 1,
};

/// Measures what changes cost whoever asks meanwhile.
#[derive(Debug, Parser)]
#[command(name = "change", bin_name = "cargo bench --bench change --")]
struct Options {
    /// What cargo passes to every benchmark that it runs
    #[arg(long, hide = true)]
    bench: bool,
    /// Little, once, and write nothing
    #[arg(long)]
    quick: bool,
    #[arg(long, hide = true)]
    test: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.quick || options.test || !options.bench {
        true => measure(&LITTLE).and_then(|report| report.holds()),
        false => measure(&FULL).and_then(|report| report.save()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("change: {error:#}");
            ExitCode::FAILURE
        }
    }
}

struct Report {
    rows: Vec<Value>,
    text: String,
}

fn measure(effort: &Effort) -> anyhow::Result<Report> {
    let mut report = Report {
        rows: vec![facts("change", effort.rounds)],
        text: String::new(),
    };
    report.add(changes(effort)?, changes_table)?;
    report.add(many_zones(effort)?, many_zones_table)?;
    report.add(many_names(effort)?, many_names_table)?;
    Ok(report)
}

impl Report {
    /// Adds rows and what they come to, and prints that.
    fn add(
        &mut self,
        rows: Vec<Value>,
        table: fn(&[Value]) -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        let table = table(&rows)?;
        println!("{table}");
        writeln!(self.text, "{table}")?;
        self.rows.extend(rows);
        Ok(())
    }

    /// What must be so however little is measured.
    fn holds(&self) -> anyhow::Result<()> {
        for row in &self.rows {
            let keeps_all = ["reload", "takeover"]
                .iter()
                .any(|what| row["what"] == *what);
            ensure!(!keeps_all || row["lost"] == 0, "queries are lost: {row}");
        }
        Ok(())
    }

    fn save(&self) -> anyhow::Result<()> {
        save("change", &self.rows, self.text.trim_start(), &[])
    }
}

/// A server in a process of its own that can be reached and taken over.
struct Server<'f> {
    process: Process,
    address: SocketAddr,
    folder: &'f Path,
}

impl<'f> Server<'f> {
    /// Serves the zones in the folder `zones` of a folder.
    fn start(folder: &'f Path) -> anyhow::Result<Server<'f>> {
        Server::run(folder, "127.0.0.1:0", WORKERS, &[])
    }

    fn run(
        folder: &'f Path,
        listen: &str,
        workers: usize,
        more: &[&str],
    ) -> anyhow::Result<Server<'f>> {
        let mut command = Command::new(PROGRAM);
        command
            .args(["serve", "--listen", listen, "--workers"])
            .arg(workers.to_string())
            .arg("--control")
            .arg(folder.join("control"))
            .args(own_user())
            .args(more)
            .arg(folder.join("zones"));
        let mut process = Process::start(&mut command)?;
        let address = process.ready()?;
        Ok(Server {
            process,
            address,
            folder,
        })
    }

    /// Another takes over from it, which ends well.
    fn take_over(self, workers: usize) -> anyhow::Result<Server<'f>> {
        let listen = self.address.to_string();
        let next = Server::run(self.folder, &listen, workers, &["--takeover"])?;
        self.process.end()?;
        Ok(next)
    }

    /// It is killed, and another started.
    fn kill(self) -> anyhow::Result<Server<'f>> {
        self.process.signal(SIGKILL)?;
        drop(self.process);
        Server::run(self.folder, &self.address.to_string(), WORKERS, &[])
    }

    /// Has it look at its zones again, of which one has changed.
    fn reload(&self) -> anyhow::Result<Said> {
        let wanted = control::Command::Reload { zone: None };
        match control::ask(&self.folder.join("control"), &wanted)? {
            Reply::Reloaded(said) if (said.loaded, said.failed) == (1, 0) => Ok(said),
            reply => bail!("a reload of one zone gave {reply:?}"),
        }
    }

    fn stop(self) -> anyhow::Result<()> {
        self.process.signal(SIGTERM)?;
        self.process.end().map(drop)
    }
}

/// Asks while something is done, on this thread: processes end with the one that
/// starts them.
fn under_load<T>(
    peer: SocketAddr,
    pace: Pace,
    requests: &[LoadRequest],
    what: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(Tally, T)> {
    let over = AtomicBool::new(false);
    let plan = Plan {
        peer,
        flows: FLOWS,
        pace,
        duration: LONGEST,
        patience: PATIENCE,
        spin: false,
        requests,
        stop: &over,
    };
    thread::scope(|scope| {
        let asking = scope.spawn(|| load_generator::run(&plan));
        thread::sleep(AROUND);
        let done = what();
        thread::sleep(AROUND);
        // Relaxed: the flag is all that is passed on.
        over.store(true, Ordering::Relaxed);
        let tally = asking.join().expect("the thread does not panic");
        let (done, tally) = (done?, tally.context("cannot make the flows")?);
        ensure!(
            tally.strangers + tally.duplicates == 0 && tally.rcodes[0] == tally.answered,
            "replies to nothing, twice, or of another code"
        );
        Ok((tally, done))
    })
}

fn microseconds(tally: &Tally, quantile: f64) -> f64 {
    tally.latency_ns.value_at_quantile(quantile) as f64 / 1e3
}

/// One row for what was seen of the load.
fn row(what: &str, times: usize, tally: &Tally, more: Value) -> Value {
    let mut row = json!({
        "what": what, "times": times, "seconds": tally.sending.as_secs_f64(),
        "sent": tally.sent, "answered": tally.answered, "lost": tally.lost,
        "not_sent": tally.held_back, "errors": tally.errors,
        "answers_per_s": tally.answers_per_s().round(),
        "latency_us_p50": microseconds(tally, 0.5),
        "latency_us_p99": microseconds(tally, 0.99),
        "latency_us_p999": microseconds(tally, 0.999),
        "latency_us_max": microseconds(tally, 1.0),
        "load_average": load_average(),
    });
    if let (Some(row), Value::Object(more)) = (row.as_object_mut(), more) {
        row.extend(more);
    }
    row
}

/// The zone of the laboratory, with a serial.
fn write_zone(folder: &Path, serial: usize) -> anyhow::Result<()> {
    let text = ZONE.replace("hostmaster 1 ", &format!("hostmaster {serial} "));
    // Whoever reads meanwhile has the old one, whole.
    let (new, path) = (folder.join("new"), folder.join("zones/example.com.zone"));
    fs::write(&new, text)?;
    Ok(fs::rename(new, path)?)
}

fn folder_of_zones() -> anyhow::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    fs::create_dir(folder.path().join("zones"))?;
    Ok(folder)
}

/// The p99 of a while without changes, just before.
const WITHOUT: &str = "latency_us_p99_without";

/// Lost queries by kind of change. Before each kind the load is looked at
/// without any.
fn changes(effort: &Effort) -> anyhow::Result<Vec<Value>> {
    let folder = folder_of_zones()?;
    write_zone(folder.path(), 1)?;
    let mut server = Server::start(folder.path())?;
    let (questions, pace) = (load::questions()?, Pace::Open { rate: effort.rate });
    let peer = server.address;
    let mut rows = Vec::new();
    let without = |rows: &mut Vec<Value>| {
        let wait = || {
            thread::sleep(effort.without);
            Ok(())
        };
        let (tally, ()) = under_load(peer, pace, &questions, wait)?;
        rows.push(row("none", 0, &tally, json!({})));
        anyhow::Ok(microseconds(&tally, 0.99))
    };

    let p99 = without(&mut rows)?;
    let reload = || {
        let mut took_ms = Vec::new();
        for number in 0..effort.reloads {
            write_zone(folder.path(), number + 2)?;
            took_ms.push((server.reload()?.seconds * 1e3).round());
        }
        Ok(took_ms)
    };
    let (tally, took_ms) = under_load(peer, pace, &questions, reload)?;
    rows.push(row(
        "reload",
        effort.reloads,
        &tally,
        json!({ WITHOUT: p99, "took_ms": took_ms }),
    ));

    let p99 = without(&mut rows)?;
    let take_over = || {
        let mut took_ms = Vec::new();
        for _ in 0..effort.takeovers {
            let start = Instant::now();
            server = server.take_over(WORKERS)?;
            took_ms.push(start.elapsed().as_millis() as u64);
        }
        Ok((server, took_ms))
    };
    let (tally, (mut server, took_ms)) = under_load(peer, pace, &questions, take_over)?;
    rows.push(row(
        "takeover",
        effort.takeovers,
        &tally,
        json!({ WITHOUT: p99, "took_ms": took_ms }),
    ));

    let p99 = without(&mut rows)?;
    let mut before = WORKERS;
    for &workers in effort.workers {
        let (tally, next) = under_load(peer, pace, &questions, || server.take_over(workers))?;
        server = next;
        let what = match workers > before {
            true => "takeover, more workers",
            false => "takeover, fewer workers",
        };
        rows.push(row(
            what,
            1,
            &tally,
            json!({ WITHOUT: p99, "from": before, "to": workers }),
        ));
        before = workers;
    }

    let p99 = without(&mut rows)?;
    for _ in 0..effort.kills {
        let kill = || {
            let start = Instant::now();
            let next = server.kill()?;
            Ok((next, start.elapsed().as_millis() as u64))
        };
        let (tally, (next, took_ms)) = under_load(peer, pace, &questions, kill)?;
        server = next;
        rows.push(row(
            "kill -9 and start",
            1,
            &tally,
            json!({ WITHOUT: p99, "took_ms": took_ms }),
        ));
    }
    server.stop()?;
    Ok(rows)
}

/// A row for each kind: what is counted in sum, latency as the median of its runs.
fn changes_table(rows: &[Value]) -> anyhow::Result<String> {
    let mut table = String::from(
        "| change | times | sent | lost | not sent | lost each time | p99 µs | without, before | longest ms |\n\
         | :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let mut kinds: Vec<&Value> = rows.iter().map(|row| &row["what"]).collect();
    kinds.sort_by_key(|kind| rows.iter().position(|row| row["what"] == **kind));
    kinds.dedup();
    for kind in kinds {
        let own = || rows.iter().filter(|row| row["what"] == *kind);
        let sum = |key: &str| own().filter_map(|row| row[key].as_u64()).sum::<u64>();
        let times = sum("times");
        let each = match times {
            0 => String::new(),
            _ => format!(
                "{:.1}",
                (sum("lost") + sum("not_sent")) as f64 / times as f64
            ),
        };
        let longest = Spread::of(own(), "latency_us_max")?.high / 1e3;
        let without = Spread::of(own(), WITHOUT).map_or(String::new(), |one| one.show(0));
        writeln!(
            table,
            "| {} | {times} | {} | {} | {} | {each} | {} | {without} | {longest:.1} |",
            kind.as_str().unwrap_or_default(),
            sum("sent"),
            sum("lost"),
            sum("not_sent"),
            Spread::of(own(), "latency_us_p99")?.show(0),
        )?;
    }
    Ok(table)
}

/// One of many zones changes.
fn many_zones(effort: &Effort) -> anyhow::Result<Vec<Value>> {
    let folder = folder_of_zones()?;
    let write = |number: usize, serial: usize| {
        let path = folder.path().join(format!("zones/z{number}.test.zone"));
        fs::write(
            path,
            format!(
                "$ORIGIN z{number}.test.\n$TTL 1h\n@ SOA ns h {serial} 2h 15m 2w 5m\n@ NS ns\nns A 192.0.2.1\n"
            ),
        )
    };
    for number in 0..effort.zones {
        write(number, 1)?;
    }
    let server = Server::start(folder.path())?;
    let mut rows = Vec::new();
    for round in 0..effort.zone_reloads {
        write(round * effort.zones / effort.zone_reloads, 2)?;
        let start = Instant::now();
        let said = server.reload()?;
        let wall_ms = start.elapsed().as_secs_f64() * 1e3;
        ensure!(said.unchanged == effort.zones - 1, "{said}");
        rows.push(json!({
            "what": "one zone of many", "zones": effort.zones,
            "said_ms": said.seconds * 1e3, "wall_ms": wall_ms,
        }));
    }
    server.stop()?;
    Ok(rows)
}

fn many_zones_table(rows: &[Value]) -> anyhow::Result<String> {
    Ok(format!(
        "| zones, one of which has changed | reload says, ms | until the reply, ms |\n\
         | ---: | ---: | ---: |\n| {} | {} | {} |\n",
        rows[0]["zones"],
        Spread::of(rows.iter(), "said_ms")?.show(1),
        Spread::of(rows.iter(), "wall_ms")?.show(1),
    ))
}

const PACES: [&str; 2] = ["at a rate", "as fast as answered"];

/// Many names are read over and over while they are asked for, and not.
fn many_names(effort: &Effort) -> anyhow::Result<Vec<Value>> {
    let folder = folder_of_zones()?;
    let path = folder.path().join("zones/example.com.zone");
    let written: PathBuf = zone_file(effort.names);
    fs::copy(&written, &path)?;
    fs::remove_file(written)?;
    let questions: Option<Vec<LoadRequest>> = requests(effort.names, Kind::Hit, QUERIES)
        .into_iter()
        .map(LoadRequest::new)
        .collect();
    let questions = questions.context("not a question")?;
    let server = Server::start(folder.path())?;
    let wait = || {
        thread::sleep(effort.without);
        Ok(Vec::new())
    };
    let reload = || {
        let (start, mut took_s) = (Instant::now(), Vec::new());
        while start.elapsed() < effort.without {
            File::open(&path)?.set_modified(SystemTime::now())?;
            took_s.push(server.reload()?.seconds);
        }
        Ok(took_s)
    };
    let mut rows = Vec::new();
    for round in 0..effort.rounds {
        let paces = [
            Pace::Open { rate: effort.rate },
            Pace::Closed { window: WINDOW },
        ];
        for (name, pace) in PACES.into_iter().zip(paces) {
            for reloading in [false, true] {
                let (tally, took_s) = match reloading {
                    false => under_load(server.address, pace, &questions, wait)?,
                    true => under_load(server.address, pace, &questions, reload)?,
                };
                let more = json!({
                    "names": effort.names, "pace": name, "reloading": reloading,
                    "round": round, "took_s": took_s,
                });
                rows.push(row("many names", took_s.len(), &tally, more));
            }
        }
    }
    server.stop()?;
    Ok(rows)
}

fn many_names_table(rows: &[Value]) -> anyhow::Result<String> {
    let mut table = format!(
        "| {} names, asked for | reloads | s each | sent | lost | answers/s | p50 µs | p99 µs |\n\
         | :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        rows[0]["names"]
    );
    for (pace, reloading) in PACES.iter().flat_map(|pace| [(pace, false), (pace, true)]) {
        let own = || {
            let own = rows.iter().filter(|row| row["pace"] == **pace);
            own.filter(|row| row["reloading"] == reloading)
        };
        let sum = |key: &str| own().filter_map(|row| row[key].as_u64()).sum::<u64>();
        let spread = |key: &str| Spread::of(own(), key).map(|spread| spread.show(0));
        let times: Vec<f64> = own()
            .filter_map(|row| row["took_s"].as_array())
            .flatten()
            .filter_map(Value::as_f64)
            .collect();
        let each = match times.is_empty() {
            true => String::new(),
            false => Spread::over(times)?.show(2),
        };
        writeln!(
            table,
            "| {pace} | {} | {each} | {} | {} | {} | {} | {} |",
            sum("times"),
            sum("sent"),
            sum("lost"),
            spread("answers_per_s")?,
            spread("latency_us_p50")?,
            spread("latency_us_p99")?,
        )?;
    }
    Ok(table)
}
