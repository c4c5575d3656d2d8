//! `restart`: what becomes of the datagrams that come while a server is
//! exchanged for its successor.

mod shown;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use crossbeam_channel::bounded;
use serde::Serialize;
use signal_hook::consts::SIGTERM;

use crate::answer::DEFAULT_EDNS_SIZE;
use crate::lab::group::{ANY_PORT, port_for_later};
use crate::lab::load_generator::{self, Pace, Plan};
use crate::lab::process::{self, Process};
use crate::lab::question;
use crate::lab::result::{ExperimentResult, rows};
use crate::lab::{Experiment, Lab, Practice};
use crate::server::BATCH;
use crate::server::answerer::Answerer;
use crate::server::counters::Counters;
use crate::server::order::{Order, Orders};
use crate::server::placement::MAX_WORKERS;
use crate::server::snapshot::{self, Snapshot};
use crate::server::worker::Worker;
use crate::sys::port::SocketPort;
use crate::sys::socket::{UdpOptions, UdpSocket};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    name: "restart",
    question: "How many datagrams does a restart lose?",
    method: "64 flows on loopback ask at a steady rate, 20,000 a second, whether they are \
        answered or not. A round in which a busy machine has sent less than half of that while the server \
        was replaced is run again, three times at most, and is left out if it stays so; its row \
        says so (kept_up). Meanwhile the server, N threads (1,024 at most) with a socket each, is \
        replaced by another: closed, and 20 ms later opened again; by one that joins the \
        SO_REUSEPORT group first, the old one then being closed as it is, or when every thread \
        has answered what is queued, or each socket as soon as its thread has (as this server \
        does); by one that gets the old one's sockets. There old and new server are threads of \
        one process and share the descriptors. Twice they are this program itself, in a process \
        each, started anew: with --join, where the first is told to end (SIGTERM) when the second \
        is ready; and with --takeover, where the second gets the first one's sockets over a Unix \
        socket (SCM_RIGHTS), and the first ends when it has seen the second live for a second. \
        Each request is followed by its message ID: lost is what has no answer after 400 ms, or \
        20 s where the sockets stay open, since a busy machine may keep a thread waiting. \
        Errors are how often the kernel told a client of one, mostly that the port is \
        unreachable, which may be once for several datagrams. Not covered: the time that a real \
        server takes to load large zones, and TCP.",
    expectation: "While nobody has the port, everything is lost. With an overlap only what is \
        queued on a socket when it is closed is lost. Draining answers that, but what comes \
        between a thread's last look and the close is lost still, the more the longer the \
        socket stays open. A socket that is handed over keeps its queue, and nothing is lost. \
        Processes do as threads do, however long the second takes to start: a takeover loses \
        nothing.",
    practice: &[
        Practice {
            advice: "shardns: `serve --takeover --control PATH` takes the sockets of the running \
                server. Without a control socket, start both with `--join`, and end the old one \
                when the new one is ready.",
            source: "README, \"Replace it while it runs\"",
        },
        Practice {
            advice: "systemd: a socket unit keeps the sockets while the service restarts, and what \
                comes meanwhile waits in their buffers.",
            source: "systemd.socket(5)",
        },
        Practice {
            advice: "nginx: USR2 and then QUIT to the old master process, rather than stop and \
                start. HAProxy: `expose-fd listeners` on the stats socket, and `-x` for the new \
                process.",
            source: "nginx, Controlling nginx, Upgrading Executable on the Fly; HAProxy Management \
                Guide, -x",
        },
        Practice {
            advice: "TCP: `net.ipv4.tcp_migrate_req=1` gives connections that still wait on a \
                closed listener to others of its group.",
            source: "Documentation/networking/ip-sysctl.rst, tcp_migrate_req",
        },
    ],
    run,
};

/// Sockets of a server, unless told otherwise.
const SOCKETS: usize = 4;
const FLOWS: usize = 64;
/// Bytes that may wait on a socket, where that can be had.
const BUFFER: usize = 1 << 20;
/// How long a thread without datagrams takes to notice that it shall end.
const IDLE: Duration = Duration::from_millis(10);
/// When a request is lost: later than a thread mostly waits for its CPU.
const PATIENCE: Duration = Duration::from_millis(400);
/// And where every socket stays open, so that what has no answer is still queued.
const LONG_PATIENCE: Duration = Duration::from_secs(20);
/// Times that a round is run until the load generator keeps up.
const ATTEMPTS: usize = 3;
/// How long the load generator may take until it has a CPU and sends.
const SLOW: Duration = Duration::from_secs(5);
/// A restart does not take that long.
const LONGEST: Duration = Duration::from_secs(60);
/// What a small server needs until it has its port back.
const START: Duration = Duration::from_millis(20);
/// Requests and replies are shorter.
const DATAGRAM: usize = 512;

/// How a server follows another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Reopen,
    Overlap(Ending),
    HandOver,
    Join,
    Takeover,
}

const WAYS: [Way; 7] = [
    Way::Reopen,
    Way::Overlap(Ending::Closed),
    Way::Overlap(Ending::Drained),
    Way::Overlap(Ending::DrainedEach),
    Way::HandOver,
    Way::Join,
    Way::Takeover,
];

/// What a server does with its queues when it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It leaves them, and closes its sockets.
    Closed,
    /// It answers them, and closes its sockets when all threads have.
    Drained,
    /// It answers them, and each thread closes its socket.
    DrainedEach,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Reopen => "closed, reopened",
            Way::Overlap(Ending::Closed) => "overlap, closed",
            Way::Overlap(Ending::Drained) => "overlap, drained",
            Way::Overlap(Ending::DrainedEach) => "overlap, one by one",
            Way::HandOver => "handed over",
            Way::Join => "process joins",
            Way::Takeover => "process takes over",
        }
    }

    fn patience(self) -> Duration {
        match self {
            Way::HandOver | Way::Takeover => LONG_PATIENCE,
            Way::Reopen | Way::Overlap(_) | Way::Join => PATIENCE,
        }
    }
}

/// One restart.
#[derive(Serialize)]
struct Restart {
    way: &'static str,
    round: usize,
    /// Times that it was run; all but the last told nothing.
    attempts: usize,
    sockets: usize,
    flows: usize,
    rate: u64,
    sent: u64,
    /// Sent while the server was replaced.
    sent_meanwhile: u64,
    /// Whether that is what the rate says, or half of it at least.
    kept_up: bool,
    answered: u64,
    lost: u64,
    /// Lost, because a buffer was full.
    dropped: u64,
    /// Times that the kernel told a client of an error: mostly of a port where
    /// nobody is.
    errors_told: u64,
    /// Microseconds from the order to restart until the old server was gone
    /// and the new one there.
    took_us: u64,
}

fn run(lab: &Lab) -> anyhow::Result<ExperimentResult> {
    let sockets = lab.sockets(SOCKETS).min(MAX_WORKERS);
    let rounds = lab.choose(7, 1);
    lab.plan(rounds * WAYS.len());
    let mut measured = Vec::new();
    for round in 0..rounds {
        for way in WAYS {
            lab.step(way.name())?;
            measured.push(measure_under_load(lab, way, round, sockets)?);
        }
    }
    Ok(ExperimentResult {
        finding: shown::finding(&measured),
        tables: vec![shown::table(&measured, sockets)],
        figure: shown::figure(&measured),
        rows: rows(&measured),
    })
}

/// A server that is not asked anything while it is replaced loses nothing, however
/// it is done.
fn measure_under_load(
    lab: &Lab,
    way: Way,
    round: usize,
    sockets: usize,
) -> anyhow::Result<Restart> {
    let mut attempts = 1;
    loop {
        let restart = measure(lab, way, round, sockets)?;
        if restart.kept_up || attempts == ATTEMPTS {
            return Ok(Restart {
                attempts,
                ..restart
            });
        }
        attempts += 1;
    }
}

/// Whether at least half was sent of what the rate says.
fn has_kept_up(rate: u64, took: Duration, sent: u64) -> bool {
    let due = u128::from(rate) * took.as_micros() / 1_000_000;
    2 * u128::from(sent) >= due
}

fn measure(lab: &Lab, way: Way, round: usize, sockets: usize) -> anyhow::Result<Restart> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let old = Server::start(way, sockets, folder.path())?;
    // The slower rate leaves the smallest buffers room for a server that does
    // not get a CPU for a while.
    let rate = lab.choose(20_000, 2000);
    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    // Relaxed: flag and number are all that is passed on.
    let sent_so_far = || sent.load(Ordering::Relaxed);
    let plan = Plan {
        peer: old.address(),
        flows: FLOWS,
        pace: Pace::Open { rate },
        duration: LONGEST,
        patience: way.patience(),
        spin: false,
        requests: &[question::request("example.")?],
        stop: &over,
    };
    let around = Duration::from_millis(lab.choose(100, 50));
    thread::scope(|scope| {
        let asking = scope.spawn(|| load_generator::run_in_sight(&plan, &sent));
        let slow = Instant::now() + SLOW;
        while sent_so_far() == 0 && !asking.is_finished() && Instant::now() < slow {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(around);
        let (start, sent_before) = (Instant::now(), sent_so_far());
        // On this thread: a process ends with the one that has started it.
        let restarted = old.restart(sockets, folder.path());
        let (took, sent_meanwhile) = (start.elapsed(), sent_so_far() - sent_before);
        thread::sleep(around);
        over.store(true, Ordering::Relaxed);
        let tally = asking.join().expect("the thread does not panic");
        let (new, dropped) = restarted?;
        let tally = tally.context("cannot open the client sockets")?;
        Ok(Restart {
            way: way.name(),
            round,
            attempts: 1,
            sockets,
            flows: FLOWS,
            rate,
            sent: tally.sent,
            sent_meanwhile,
            kept_up: has_kept_up(rate, took, sent_meanwhile),
            answered: tally.answered,
            lost: tally.lost,
            dropped: dropped + new.end()?,
            errors_told: tally.errors,
            took_us: took.as_micros() as u64,
        })
    })
}

/// What is replaced, and by what.
enum Server {
    Reopening(Service),
    Overlapping(Service),
    HandingOver(Service),
    Joining(Program),
    TakingOver(Program),
}

impl Server {
    fn start(way: Way, sockets: usize, folder: &Path) -> anyhow::Result<Server> {
        let open = |ending| Service::open(ANY_PORT, sockets, ending);
        Ok(match way {
            Way::Reopen => {
                let address = port_for_later()?;
                Server::Reopening(Service::open(address, sockets, Ending::Closed)?)
            }
            Way::Overlap(ending) => Server::Overlapping(open(ending)?),
            Way::HandOver => Server::HandingOver(open(Ending::Closed)?),
            Way::Join => Server::Joining(Program::join(ANY_PORT, sockets)?),
            Way::Takeover => Server::TakingOver(Program::start(ANY_PORT, sockets, folder)?),
        })
    }

    fn address(&self) -> SocketAddr {
        match self {
            Server::Reopening(service)
            | Server::Overlapping(service)
            | Server::HandingOver(service) => service.address(),
            Server::Joining(program) | Server::TakingOver(program) => program.address,
        }
    }

    /// Replaces it by another; says how much the sockets that are gone have
    /// dropped.
    fn restart(self, sockets: usize, folder: &Path) -> anyhow::Result<(Server, u64)> {
        let address = self.address();
        Ok(match self {
            Server::Reopening(old) => {
                let (ending, dropped) = (old.ending, old.end());
                thread::sleep(START);
                let new = Service::open(address, sockets, ending)?;
                (Server::Reopening(new), dropped)
            }
            Server::Overlapping(old) => {
                let new = Service::open(address, sockets, old.ending)?;
                (Server::Overlapping(new), old.end())
            }
            Server::HandingOver(old) => {
                let new = Service::on(old.sockets.clone(), old.ending)?;
                old.end();
                (Server::HandingOver(new), 0)
            }
            Server::Joining(old) => {
                let new = Program::join(address, sockets)?;
                (Server::Joining(new), old.stop()?)
            }
            Server::TakingOver(old) => {
                let new = Program::take_over(address, sockets, folder)?;
                old.process.end()?;
                (Server::TakingOver(new), 0)
            }
        })
    }

    /// Ends it; returns what had been dropped.
    fn end(self) -> anyhow::Result<u64> {
        match self {
            Server::Reopening(service)
            | Server::Overlapping(service)
            | Server::HandingOver(service) => Ok(service.end()),
            Server::Joining(program) | Server::TakingOver(program) => program.stop(),
        }
    }
}

/// This program, in a process of its own, as a server that refuses the question.
struct Program {
    process: Process,
    address: SocketAddr,
}

impl Program {
    /// As one of several on an address.
    fn join(address: SocketAddr, sockets: usize) -> anyhow::Result<Program> {
        let mut command = process::this_program()?;
        Program::run(address, sockets, command.arg("--join"))
    }

    /// As one that another can take over from.
    fn start(address: SocketAddr, sockets: usize, folder: &Path) -> anyhow::Result<Program> {
        let mut command = process::this_program()?;
        let command = command.arg("--control").arg(folder.join("control"));
        Program::run(address, sockets, command)
    }

    fn take_over(address: SocketAddr, sockets: usize, folder: &Path) -> anyhow::Result<Program> {
        let mut command = process::this_program()?;
        let command = command.arg("--control").arg(folder.join("control"));
        Program::run(address, sockets, command.arg("--takeover"))
    }

    fn run(address: SocketAddr, sockets: usize, command: &mut Command) -> anyhow::Result<Program> {
        command
            .args(["--listen", &address.to_string()])
            .args(["--workers", &sockets.to_string()])
            .args(["--receive-buffer", &BUFFER.to_string()]);
        let mut process = Process::start(command)?;
        let address = process.ready()?;
        Ok(Program { process, address })
    }

    /// Ends it; returns how many datagrams its sockets have dropped.
    fn stop(self) -> anyhow::Result<u64> {
        self.process.signal(SIGTERM)?;
        let said = self.process.end()?;
        dropped_by(&said).context("a process that ends without its counters")
    }
}

/// From the table that a server leaves: a column is flush right, and the last row
/// of the first part sums it up.
fn dropped_by(said: &[String]) -> Option<u64> {
    const HEADING: &str = "kernel drops";
    let mut rows = said.iter().skip_while(|line| !line.contains(HEADING));
    let end = rows.next()?.find(HEADING)? + HEADING.len();
    let sum = rows.find(|row| row.trim_start().starts_with("all"))?;
    sum.get(..end)?.split_whitespace().last()?.parse().ok()
}

/// A server, as far as a datagram sees it: sockets of a group, and a worker for
/// each that refuses every question.
struct Service {
    sockets: Vec<Arc<UdpSocket>>,
    threads: Vec<JoinHandle<()>>,
    orders: Arc<Orders>,
    ending: Ending,
}

impl Service {
    /// Binds sockets, and answers.
    fn open(address: SocketAddr, sockets: usize, ending: Ending) -> anyhow::Result<Service> {
        let options = UdpOptions {
            grouped: true,
            receive_buffer: BUFFER,
            timeout: IDLE,
        };
        let mut group: Vec<Arc<UdpSocket>> = Vec::new();
        for _ in 0..sockets {
            let address = group.first().map_or(address, |first| first.local());
            let socket = UdpSocket::bind(address, &options, &mut Vec::new())
                .context("cannot bind one more socket; `ulimit -n` limits how many")?;
            group.push(Arc::new(socket));
        }
        Service::on(group, ending)
    }

    /// Answers on sockets that are there already.
    fn on(sockets: Vec<Arc<UdpSocket>>, ending: Ending) -> anyhow::Result<Service> {
        let mut service = Service {
            sockets,
            threads: Vec::new(),
            orders: Arc::default(),
            ending,
        };
        for socket in service.sockets.clone() {
            let counters = Arc::<Counters>::default();
            // Nobody listens: what breaks is lost, and counted by the clients.
            let (events, _) = bounded(0);
            let answerer = Answerer::new(
                snapshot::fixed(Snapshot::default()),
                counters.clone(),
                (0, None),
                events,
            );
            let port = SocketPort::new(socket, BATCH, DATAGRAM, DEFAULT_EDNS_SIZE.into());
            let orders = service.orders.clone();
            let mut worker = Worker::new(vec![port.into()], 0, answerer, counters, orders)?;
            let thread = thread::Builder::new();
            service.threads.push(thread.spawn(move || worker.run())?);
        }
        Ok(service)
    }

    fn address(&self) -> SocketAddr {
        self.sockets[0].local()
    }

    /// Datagrams that came while a buffer was full.
    fn dropped(&self) -> u64 {
        let drops = self.sockets.iter().filter_map(|socket| socket.drops().ok());
        drops.sum()
    }

    /// Ends the threads and closes the sockets, unless somebody else has them
    /// too. Returns what had been dropped until then.
    fn end(mut self) -> u64 {
        let dropped = self.dropped();
        if self.ending != Ending::Drained {
            // The threads' own hold is the last then.
            self.sockets.clear();
        }
        self.join();
        dropped
    }

    fn join(&mut self) {
        self.orders.give(match self.ending {
            Ending::Closed => Order::LetGo,
            Ending::Drained | Ending::DrainedEach => Order::Stop,
        });
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::counters::{BATCH_CLASSES, Totals};
    use crate::server::table::{self, CounterRow};

    #[test]
    fn a_round_in_which_little_was_sent_tells_nothing() {
        let (rate, took) = (20_000, Duration::from_millis(20));
        assert!(has_kept_up(rate, took, 400) && has_kept_up(rate, took, 200));
        assert!(!has_kept_up(rate, took, 199) && !has_kept_up(rate, took, 0));
        // Nothing is due in so short a time.
        assert!(has_kept_up(2000, Duration::from_micros(400), 0));
    }

    #[test]
    fn the_kernels_drops_are_read_from_the_table_that_a_server_leaves() {
        let row = |drops| CounterRow {
            name: "0".into(),
            cpu: "any".into(),
            totals: Totals {
                drops,
                received: 123_456_789,
                idle_wakeups: 98_765,
                batches: [7; BATCH_CLASSES.len()],
                ..Totals::default()
            },
        };
        let said: Vec<String> = format!("stopping\n{}", table::show(&[row(1200), row(34)], &[]))
            .lines()
            .map(str::to_owned)
            .collect();
        assert_eq!(dropped_by(&said), Some(1234), "{said:#?}");
        assert_eq!(dropped_by(&said[..1]), None);
    }
}
