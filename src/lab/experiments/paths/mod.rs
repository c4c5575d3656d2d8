//! `paths`: the ways for datagrams to come to a worker and back. What is measured is
//! here; `told` says what it tells.

mod told;

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use rand::seq::SliceRandom;
use serde::Serialize;

use crate::lab::load::{self, IMPATIENCE, Latency, PATIENCE};
use crate::lab::load_generator::{self, LoadRequest, Pace, Plan, Tally};
use crate::lab::path::{Path, PathServer};
use crate::lab::result::{ExperimentResult, rows};
use crate::lab::site::Site;
use crate::lab::statistics::Sample;
use crate::lab::tasks::{Cost, Tasks};
use crate::lab::veth::Veth;
use crate::lab::{Experiment, Lab, Practice};
use crate::server::placement::{Seat, allowed_cpus, take};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    name: "paths",
    question: "What does each way from the kernel to a worker and back cost?",
    method: "One worker, held on the second CPU, answers from the same zone with the same code; \
        its datagrams come and go over a socket one a call, over a socket in batches of up to 32 \
        (recvmmsg, sendmmsg), over io_uring (a multishot receive, one call for a batch), and past \
        the sockets (AF_XDP), behind the driver and in it. As root this is between two network \
        namespaces over a veth pair; else over loopback, where there is no AF_XDP. The load \
        generator is held on the first CPU, asks over 4 flows from ordinary sockets and calls \
        sendmmsg for 32 at a time. The paths take turns, each opened anew, in rounds of random \
        order: first as fast as answers come, 64 waiting on each flow, then at 10, 50 and 90 % of \
        the path's own median rate, where latency counts from when a request was due. CPU times \
        are those of the threads; on a veth pair the way in, the XDP program and its copy \
        included, is on the load's bill, and the way of a reply to the client on the worker's. \
        Where the worker idles, with nothing to do, more than 10 % of the time, the load was the \
        limit. No worker polls. \
        Not covered: network cards, zero copy, several queues, polling.",
    expectation: "Calls for many datagrams save little, since each still goes through the \
        kernel's network stack alone; io_uring goes the same way. AF_XDP leaves the stack out on \
        the server's side: a reply is a description in a ring, and one call sends many. In the \
        driver a frame becomes no socket buffer first, so that it is cheaper than behind it. On a \
        veth pair the rest of the way stays, on the other end's account.",
    practice: &[
        Practice {
            advice: "`shardns serve --xdp IF` reads an interface past the sockets, where there is \
                one; `--xdp-mode` chooses between driver and behind.",
            source: "README, `shardns serve`; Documentation/networking/af_xdp.rst",
        },
        Practice {
            advice: "Knot DNS (`listen` in its `xdp` section) and NSD (`xdp-interface`) do the \
                same, past firewall and tcpdump.",
            source: "Knot DNS, Configuration reference, xdp section; nsd.conf(5)",
        },
        Practice {
            advice: "Containers and distributions often forbid io_uring: \
                `kernel.io_uring_disabled` says so.",
            source: "Documentation/admin-guide/sysctl/kernel.rst, io_uring_disabled",
        },
    ],
    run,
};

const FLOWS: usize = 4;
/// Requests of a flow that wait in the closed loop.
const WINDOW: usize = 64;
/// How long a path is tried first, whether it works.
const TRIAL: Duration = Duration::from_millis(5);
/// Times that it is tried where the load had no CPU to ask anything in.
const TRIALS: usize = 20;
/// A worker that idles longer, as a share of the time, has waited for the load.
const IDLE: f64 = 0.1;

/// How much a path is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Load {
    #[serde(rename = "most")]
    Most,
    #[serde(rename = "10 %")]
    Low,
    #[serde(rename = "50 %")]
    Half,
    #[serde(rename = "90 %")]
    High,
}

impl Load {
    const SHARES: [Load; 3] = [Load::Low, Load::Half, Load::High];

    fn name(self) -> &'static str {
        match self {
            Load::Most => "most",
            Load::Low => "10 %",
            Load::Half => "50 %",
            Load::High => "90 %",
        }
    }

    /// `most` is what the path answers at most.
    fn pace(self, most: f64) -> Pace {
        let share = match self {
            Load::Most => return Pace::Closed { window: WINDOW },
            Load::Low => 0.1,
            Load::Half => 0.5,
            Load::High => 0.9,
        };
        let rate = (share * most) as u64;
        Pace::Open { rate: rate.max(1) }
    }
}

/// What a path did in one round.
#[derive(Serialize)]
struct Visit {
    #[serde(skip)]
    way: Path,
    path: &'static str,
    network: &'static str,
    load: Load,
    round: usize,
    /// Requests a second; none in the closed loop.
    offered_per_s: Option<u64>,
    sent: u64,
    answered: u64,
    lost: u64,
    /// Answers that are not the right ones, and what answers nothing.
    wrong: u64,
    /// Datagrams that the worker took past the sockets.
    past_sockets: u64,
    answers_per_s: f64,
    /// CPU time of the worker, and of the load generator, in microseconds.
    cpu_us_per_query: Option<f64>,
    generator_us_per_query: Option<f64>,
    /// The same as shares of a CPU.
    server_busy: Option<f64>,
    generator_busy: Option<f64>,
    /// The share of the time that the worker neither ran nor could have run.
    server_idle: Option<f64>,
    #[serde(flatten)]
    latency: Latency,
}

/// A path that is not there, with what the kernel said.
struct LeftOut {
    path: Path,
    reason: String,
}

/// All that was measured.
struct Visits {
    all: Vec<Visit>,
    paths: Vec<Path>,
    left_out: Vec<LeftOut>,
}

/// One figure of a visit, where it is to be had.
type Measure = fn(&Visit) -> Option<f64>;

impl Visits {
    fn of(&self, path: Path, load: Load) -> impl Iterator<Item = &Visit> {
        let own = move |visit: &&Visit| visit.way == path && visit.load == load;
        self.all.iter().filter(own)
    }

    fn sample(&self, path: Path, load: Load, measure: Measure) -> Sample {
        self.of(path, load).filter_map(measure).collect()
    }

    /// The median of the rounds; 0 where it is not known.
    fn middle(&self, path: Path, load: Load, measure: Measure) -> f64 {
        self.sample(path, load, measure).middle()
    }
}

/// Where load and server are.
struct Stage<'l> {
    lab: &'l Lab,
    /// The wire, where there is one.
    veth: Option<Veth>,
    /// The load's CPU, and the worker's.
    cpus: [usize; 2],
    questions: Vec<LoadRequest>,
}

fn run(lab: &Lab) -> anyhow::Result<ExperimentResult> {
    let cpus = allowed_cpus();
    let (veth, reason) = match Veth::new() {
        Ok(veth) => (Some(veth), String::new()),
        Err(error) => (None, format!("needs root for a veth pair ({error:#})")),
    };
    let stage = Stage {
        lab,
        veth,
        cpus: [cpus[0], cpus[1 % cpus.len()]],
        questions: load::questions()?,
    };
    let (paths, left_out) = stage.try_all(&reason)?;
    ensure!(!paths.is_empty(), "no path works, not even a socket");
    let mut visits = Visits {
        all: Vec::new(),
        paths,
        left_out,
    };
    let few = lab.choose(3, 1);
    let rounds = [
        (Load::Most, lab.choose(7, 2)),
        (Load::Low, few),
        (Load::Half, few),
        (Load::High, few),
    ];
    let all: usize = rounds.iter().map(|(_, rounds)| rounds).sum();
    lab.plan(all * visits.paths.len());
    let (mut order, mut random) = (visits.paths.clone(), lab.random());
    for (load, rounds) in rounds {
        for round in 0..rounds {
            order.shuffle(&mut random);
            for &path in &order {
                let most = visits.middle(path, Load::Most, |visit| Some(visit.answers_per_s));
                visits.all.push(stage.visit(path, load, round, most)?);
            }
        }
    }
    Ok(ExperimentResult {
        finding: told::finding(&visits),
        tables: told::tables(&visits),
        figure: told::figure(&visits),
        rows: rows(&visits.all),
    })
}

impl Stage<'_> {
    fn network(&self) -> &'static str {
        match self.veth {
            Some(_) => "veth",
            None => "loopback",
        }
    }

    /// Which paths work, and why the others do not.
    fn try_all(&self, no_veth: &str) -> anyhow::Result<(Vec<Path>, Vec<LeftOut>)> {
        let (mut working, mut left_out) = (Vec::new(), Vec::new());
        for path in Path::ALL {
            self.lab.check()?;
            let tried = match (&self.veth, path.past_sockets()) {
                (None, Some(_)) => Err(no_veth.to_owned()),
                _ => self.try_one(path).map_err(|error| format!("{error:#}")),
            };
            match tried {
                Ok(()) => working.push(path),
                Err(reason) => left_out.push(LeftOut { path, reason }),
            }
        }
        Ok((working, left_out))
    }

    fn try_one(&self, path: Path) -> anyhow::Result<()> {
        let server = self.start(path)?;
        let ask = || self.ask(server.address, Pace::Closed { window: 1 }, TRIAL);
        let mut asked = ask()?;
        for _ in 1..TRIALS {
            if asked.tally.sent == 0 {
                asked = ask()?;
            }
        }
        ensure!(asked.tally.answered > 0, "no answer comes");
        Ok(())
    }

    fn start(&self, path: Path) -> anyhow::Result<PathServer> {
        let cpu = self.cpus[1];
        let start = |address| PathServer::start(path, address, cpu);
        match &self.veth {
            Some(veth) => {
                let address = veth.address();
                veth.server().within(|| start(address))
            }
            None => start(Site::LOOPBACK.address),
        }
    }

    fn visit(&self, path: Path, load: Load, round: usize, most: f64) -> anyhow::Result<Visit> {
        self.lab
            .step(format!("{}, load: {}", path.name(), load.name()))?;
        let server = self.start(path)?;
        let pace = load.pace(most);
        let duration = Duration::from_millis(self.lab.choose(300, 60));
        let before = (server.tasks.cost(), server.tasks.held_up());
        let Asked { tally, cost } = self.ask(server.address, pace, duration)?;
        let own = Cost::between(before.0, server.tasks.cost());
        let held_up = server
            .tasks
            .held_up()
            .zip(before.1)
            .map(|(now, then)| now - then);
        let idle = own.zip(held_up).map(|(own, held_up)| {
            let ran = (own.cpu + held_up).as_secs_f64() / tally.sending.as_secs_f64();
            (1.0 - ran).max(0.0)
        });
        let each = |cost: Option<Cost>| {
            cost.map(|cost| cost.cpu.as_secs_f64() * 1e6 / tally.answered.max(1) as f64)
        };
        let share =
            |cost: Option<Cost>| cost.map(|c| c.cpu.as_secs_f64() / tally.sending.as_secs_f64());
        Ok(Visit {
            way: path,
            path: path.name(),
            network: self.network(),
            load,
            round,
            offered_per_s: match pace {
                Pace::Open { rate } => Some(rate),
                Pace::Closed { .. } => None,
            },
            sent: tally.sent,
            answered: tally.answered,
            lost: tally.lost,
            wrong: tally.answered - tally.rcodes[0] + tally.strangers + tally.duplicates,
            past_sockets: server.past_sockets(),
            answers_per_s: tally.answers_per_s(),
            cpu_us_per_query: each(own),
            generator_us_per_query: each(cost),
            server_busy: share(own),
            generator_busy: share(cost),
            server_idle: idle,
            latency: Latency::of(&tally.latency_ns),
        })
    }

    /// Asks from the client's end, on a thread that is held on the load's CPU.
    fn ask(&self, peer: SocketAddr, pace: Pace, duration: Duration) -> anyhow::Result<Asked> {
        let plan = Plan {
            peer,
            flows: FLOWS,
            pace,
            duration,
            patience: match pace {
                Pace::Closed { .. } => PATIENCE,
                Pace::Open { .. } => IMPATIENCE,
            },
            spin: false,
            requests: &self.questions,
            stop: self.lab.stop(),
        };
        let cpu = self.cpus[0];
        let ask = || ask(&plan, cpu);
        let asked = match &self.veth {
            Some(veth) => veth.client().within(ask),
            None => {
                let asked = thread::scope(|scope| scope.spawn(ask).join());
                asked.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
        };
        self.lab.check()?;
        asked
    }
}

/// What became of the requests, and what the load generator took.
struct Asked {
    tally: Tally,
    cost: Option<Cost>,
}

fn ask(plan: &Plan, cpu: usize) -> anyhow::Result<Asked> {
    take(Seat { cpu, pinned: true });
    let generator = Tasks::current();
    let before = generator.cost();
    let tally = load_generator::run(plan)?;
    Ok(Asked {
        tally,
        cost: Cost::between(before, generator.cost()),
    })
}
