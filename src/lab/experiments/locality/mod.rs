//! `locality`: whether a worker runs on the CPU that received the datagram. What
//! is measured is here; `told` says what it tells.

mod told;

use std::net::SocketAddr;
use std::rc::Rc;
use std::thread;

use rand::RngExt;
use serde::Serialize;

use crate::lab::cpu_probe::{CpuTally, CpuWorkers, ask, connect};
use crate::lab::remote::{Far, FarSubject};
use crate::lab::result::{ExperimentResult, rows};
use crate::lab::site::Site;
use crate::lab::veth::Veth;
use crate::lab::{Experiment, Lab, Practice};
use crate::server::placement::allowed_cpus;
use crate::sys::steer::Steer;

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    name: "locality",
    question: "Does the worker run where the packet arrived?",
    method: "A worker for each CPU (or as many as --sockets, 64 at most, 16 with --quick), held \
        on its CPU or not, answers 256 flows of a client that is held on each of up to 8 CPUs \
        in turn, with new ports on each, and sends one datagram with a random ID after another. \
        Every --steer policy, in rounds with new workers and ports; on loopback and, as root, \
        between two network namespaces over a veth pair, as it is and with receive packet \
        steering, which spreads flows over CPUs as a network card with several queues does. A \
        filter on the socket notes the receiving CPU of each datagram in the length that it \
        leaves of it, since SO_INCOMING_CPU is noted for connected UDP sockets only; it is \
        read, too. Each datagram is a flow of its own, so that their choices are independent; a \
        share is called chance's where it differs from that of a worker drawn by lot for each \
        datagram by no more than chance does, which keeps all of them together within these \
        bounds 95 times of 100. Workers that are not held, and a single one, are not judged: \
        where they run is up to the scheduler, from one round to the next. Not covered: real network cards, CPUs beyond 1,390.",
    expectation: "Without a network card a datagram is received on the CPU that sends it. hash, \
        query-id and random know nothing of CPUs: the worker is where the datagram was received \
        as often as chance has it. cpu chooses the worker held on the receiving CPU, always, \
        and with workers that are not held, only where the scheduler happens to run them there.",
    practice: PRACTICE,
    run,
};

const PRACTICE: &[Practice] = &[
    Practice {
        advice: "--steer cpu brings each datagram to the worker on the CPU that received it. Leave \
            workers pinned, and have one for each CPU that receives (--cpus).",
        source: "shardns serve, --steer, --cpus, --no-pin",
    },
    Practice {
        advice: "It spreads only what the card spreads: set the number of queues with ethtool -L, \
            their shares with ethtool -X, and each queue's CPU in /proc/irq; where there are \
            fewer queues than CPUs, rps_cpus.",
        source: "ethtool(8); Documentation/networking/scaling.rst, RSS and RPS",
    },
    Practice {
        advice: "Pinning alone, as with worker_cpu_affinity of nginx or cpu-affinity of NSD, \
            brings no datagram to the right CPU: the hash goes on choosing.",
        source: "nginx, ngx_core_module, worker_cpu_affinity; nsd.conf(5), cpu-affinity",
    },
    Practice {
        advice: "Do not judge it by dnsperf on the same host: on loopback a datagram is received \
            on the CPU that sent it, so that dnsperf's threads (-T) choose the workers.",
        source: "dnsperf(1), -T",
    },
];

/// The most workers, and the most CPUs that the client is held on.
const MOST_WORKERS: usize = 64;
const MOST_WORKERS_QUICK: usize = 16;
const MOST_CLIENT_CPUS: usize = 8;
/// Flows from one CPU, of a datagram each.
const FLOWS: usize = 256;
const FLOWS_QUICK: usize = 100;

const POLICIES: [(&str, Option<Steer>); 4] = [
    ("hash", None),
    ("query-id", Some(Steer::QueryId)),
    ("random", Some(Steer::Random)),
    ("cpu", Some(Steer::Cpu)),
];

const NETWORKS: [&str; 4] = ["loopback", "veth", "spread veth", "other host"];

/// Where client and server meet.
struct Network<'n> {
    name: &'static str,
    wire: Wire<'n>,
}

/// What is between them.
enum Wire<'n> {
    Loopback,
    Veth(&'n Veth),
    /// Whatever leads to another host.
    Cards(&'n Rc<Far>),
}

/// Workers that answer, on whichever host.
enum Workers {
    Here(CpuWorkers),
    There(FarSubject),
}

/// A network that is not there.
struct LeftOut {
    note: &'static str,
    /// With what the kernel said.
    reason: String,
}

/// A round of one policy with the client on one CPU.
#[derive(Serialize)]
struct Measured {
    network: &'static str,
    policy: &'static str,
    pinned: bool,
    round: usize,
    workers: usize,
    client_cpu: usize,
    datagrams: u64,
    /// Datagrams received on the CPU that the worker ran on.
    local: u64,
    /// `local` of all.
    share: f64,
    /// The share that a worker drawn by lot for each datagram would have.
    chance: f64,
    /// Datagrams received on the client's CPU.
    on_client_cpu: u64,
    /// Datagrams after which `SO_INCOMING_CPU` of the worker's socket named the
    /// CPU that received it.
    told: u64,
    /// Replies after which that of the client's connected socket named one.
    told_to_client: u64,
}

fn run(lab: &Lab) -> anyhow::Result<ExperimentResult> {
    let rounds = lab.choose(5, 1);
    let networks = if lab.far().is_some() { 1 } else { 3 };
    lab.plan(networks * rounds * POLICIES.len() * 2);
    let (mut measured, mut left_out) = (Vec::new(), None);
    let mut meet = |name, wire| {
        let network = Network { name, wire };
        (0..rounds).try_for_each(|round| measure_round(lab, &network, round, &mut measured))
    };
    if let Some(far) = lab.far() {
        meet(NETWORKS[3], Wire::Cards(far))?;
    } else {
        meet(NETWORKS[0], Wire::Loopback)?;
        match Veth::new() {
            Err(error) => {
                left_out = Some(LeftOut {
                    note: "The virtual cable is left out, which needs root; the table says why.",
                    reason: format!("veth is left out, which needs root ({error:#})"),
                });
            }
            Ok(veth) => {
                meet(NETWORKS[1], Wire::Veth(&veth))?;
                match veth.spread(&allowed_cpus()) {
                    Err(error) => {
                        left_out = Some(LeftOut {
                            note: "Flows spread over CPUs are left out; the table says why.",
                            reason: format!("spread veth is left out ({error:#})"),
                        });
                    }
                    Ok(()) => meet(NETWORKS[2], Wire::Veth(&veth))?,
                }
            }
        }
    }
    // Rounds of the same together; the order is otherwise kept.
    let place = |name| POLICIES.iter().position(|(policy, _)| *policy == name);
    measured.sort_by_key(|m| {
        (
            NETWORKS.iter().position(|name| *name == m.network),
            place(m.policy),
            !m.pinned,
        )
    });
    let summaries = told::summaries(&measured);
    Ok(ExperimentResult {
        finding: told::finding(&summaries, &measured, left_out.as_ref()),
        tables: vec![told::table(&summaries, left_out.as_ref())],
        figure: told::figure(&summaries),
        rows: rows(&measured),
    })
}

fn measure_round(
    lab: &Lab,
    network: &Network,
    round: usize,
    measured: &mut Vec<Measured>,
) -> anyhow::Result<()> {
    for (policy, steer) in POLICIES {
        for pinned in [true, false] {
            let how = if pinned { "pinned" } else { "not pinned" };
            lab.step(format!("{}: {policy}, {how}", network.name))?;
            let seats = seats(lab);
            let new = |(client_cpu, tally): (usize, CpuTally)| Measured {
                network: network.name,
                policy,
                pinned,
                round,
                workers: seats.len(),
                client_cpu,
                datagrams: tally.answered,
                local: tally.local,
                share: tally.local as f64 / tally.answered.max(1) as f64,
                chance: chance(&tally, &seats),
                // A CPU of another machine is another one, whatever its number.
                on_client_cpu: match lab.far() {
                    Some(far) if !far.is_here() => 0,
                    _ => tally.on_client_cpu,
                },
                told: tally.told,
                told_to_client: tally.told_to_client,
            };
            measured.extend(measure(lab, network, steer, pinned)?.into_iter().map(new));
        }
    }
    Ok(())
}

/// The CPUs that the workers are held on.
fn seats(lab: &Lab) -> Vec<usize> {
    let cpus = lab.cpus_there();
    let workers = lab
        .sockets(cpus.len())
        .min(lab.choose(MOST_WORKERS, MOST_WORKERS_QUICK));
    cpus.iter().copied().cycle().take(workers).collect()
}

/// The share of datagrams for which a worker drawn by lot sits on the CPU that
/// received them.
fn chance(tally: &CpuTally, seats: &[usize]) -> f64 {
    let hits = tally.by_cpu.iter().map(|(cpu, &datagrams)| {
        let seated = seats.iter().filter(|seat| *seat == cpu).count();
        datagrams as f64 * seated as f64 / seats.len() as f64
    });
    hits.sum::<f64>() / tally.answered.max(1) as f64
}

/// Lets the client ask from one CPU after the other.
fn measure(
    lab: &Lab,
    network: &Network,
    steer: Option<Steer>,
    pinned: bool,
) -> anyhow::Result<Vec<(usize, CpuTally)>> {
    let (cpus, seats) = (allowed_cpus(), seats(lab));
    let workers = network.workers(&seats, pinned, steer)?;
    let datagrams = lab.choose(FLOWS, FLOWS_QUICK);
    let ask = |&cpu: &usize| {
        // From the same ports the hash would choose the same workers again.
        let address = workers.address();
        let clients = network.at_client(|| connect(address, datagrams))?;
        let ids: Vec<u16> = lab.random().random_iter().take(datagrams).collect();
        let stop = lab.stop();
        // On a thread of its own, which is held on the CPU.
        let asked = thread::scope(|scope| scope.spawn(|| ask(&clients, cpu, &ids, stop)).join());
        let tally = asked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        lab.check()?;
        Ok((cpu, tally?))
    };
    cpus.iter().take(MOST_CLIENT_CPUS).map(ask).collect()
}

impl Network<'_> {
    fn workers(
        &self,
        cpus: &[usize],
        pinned: bool,
        steer: Option<Steer>,
    ) -> anyhow::Result<Workers> {
        let start = |site| CpuWorkers::start(site, cpus, pinned, steer);
        let workers = match self.wire {
            Wire::Cards(far) => return far.cpu_workers(cpus, pinned, steer).map(Workers::There),
            Wire::Loopback => start(Site::LOOPBACK),
            Wire::Veth(veth) => veth.server().within(|| {
                start(Site {
                    address: veth.address(),
                    source: None,
                })
            }),
        };
        workers.map(Workers::Here)
    }

    fn at_client<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        match self.wire {
            Wire::Loopback | Wire::Cards(_) => work(),
            Wire::Veth(veth) => veth.client().within(work),
        }
    }
}

impl Workers {
    fn address(&self) -> SocketAddr {
        match self {
            Workers::Here(workers) => workers.address(),
            Workers::There(far) => far.address(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_the_share_of_workers_seated_where_datagrams_arrive() {
        let tally = CpuTally {
            answered: 10,
            by_cpu: [(0, 5), (1, 4), (7, 1)].into(),
            ..CpuTally::default()
        };
        // Two of three workers on CPU 0, one on CPU 1, none on CPU 7.
        let share = chance(&tally, &[0, 1, 0]);
        assert!((share - 14.0 / 30.0).abs() < 1e-12, "{share}");
    }
}
