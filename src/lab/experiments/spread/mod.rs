//! `spread`: how evenly flows come out over the sockets of a group. `told` makes
//! tables, a figure and a finding of the draws.

mod told;

use std::collections::BTreeSet;

use anyhow::Context;
use rand::RngExt;
use serde::Serialize;

use crate::lab::group::{Group, MAX_WAITING, Unread, clients, marked};
use crate::lab::listeners::{Listeners, Listening, MAX_CONNECTING};
use crate::lab::result::{ExperimentResult, rows};
use crate::lab::site::Site;
use crate::lab::statistics::{Range, chi_square, hottest, ideal, jain};
use crate::lab::{Experiment, Lab, Practice};
use crate::sys::socket::connect_tcp;
use crate::sys::steer::Steer;
use told::{Told, figure, ports_table, table};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    name: "spread",
    question: "How evenly does the hash spread F flows over N sockets?",
    method: "F client sockets on loopback send at least 1,024 datagrams with random message IDs \
        to a group of N sockets that nobody reads; then each socket's are counted. Several \
        rounds with new ports, fewer from 256 sockets on, for every policy of --steer. With \
        --tcp, F connections over N listeners. The band is where a round of an ideal hash lies \
        95 times of 100, computed by trial; rounds are counted in it one by one. The p of \
        query-id says nothing of the kernel: the IDs come from the seeded generator, and the \
        choice is the ID modulo N.",
    expectation: "The hash looks at addresses and ports only: a flow always lands on one \
        socket, and few flows come out as unevenly as chance has it. query-id and random decide \
        for each datagram and spread even a single flow. cpu follows the sender on loopback, \
        where a datagram is received on the CPU that sends it.",
    practice: &[
        Practice {
            advice: "Load a server from many client ports: dnsperf opens one socket for each of \
                its clients, `-c N`.",
            source: "dnsperf(1), -c",
        },
        Practice {
            advice: "Resolvers ask from ports of their own for each query, so that a server in \
                use has flows enough.",
            source: "RFC 5452, section 9.2",
        },
        Practice {
            advice: "Where a few clients ask all, `--steer query-id` chooses by message ID, for \
                each datagram anew.",
            source: "README, `shardns serve`; socket(7), SO_ATTACH_REUSEPORT_CBPF",
        },
        Practice {
            advice: "A network card chooses its queue by a hash of its own, for UDP often of \
                addresses alone: `ethtool -N IF rx-flow-hash udp4 sdfn` adds the ports.",
            source: "ethtool(8), rx-flow-hash; Documentation/networking/scaling.rst",
        },
    ],
    run,
};

/// Sockets of the group, unless told otherwise.
const SOCKETS: usize = 4;
/// Flows, from one to more than most load tests have.
const FLOWS: [usize; 7] = [1, 4, 16, 64, 256, 1024, 4096];
/// Datagrams of a round, at least: what shares are to be told from.
const DATAGRAMS: usize = 1024;
/// From so many sockets on a round takes long, and there are fewer of them.
const MANY_SOCKETS: usize = 256;
/// Times that chance is asked what it would have done.
const TRIALS: usize = 2000;
/// A load test is even where the busiest socket has this times the mean.
const EVEN: f64 = 1.1;
/// The most client ports that one address has room for.
const MOST_PORTS: usize = (1 << 16) - 1;

/// What chose the socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SpreadPolicy {
    Hash,
    Steered(Steer),
    Connections,
}

impl SpreadPolicy {
    fn name(self) -> &'static str {
        match self {
            SpreadPolicy::Hash => "hash",
            SpreadPolicy::Steered(Steer::QueryId) => "query-id",
            SpreadPolicy::Steered(Steer::Random) => "random",
            SpreadPolicy::Steered(Steer::Cpu) => "cpu",
            SpreadPolicy::Connections => "hash, TCP",
        }
    }

    /// True where all datagrams of a flow meet the same choice.
    fn chooses_by_flow(self) -> bool {
        matches!(self, SpreadPolicy::Hash | SpreadPolicy::Connections)
    }
}

/// One round.
#[derive(Serialize)]
struct SpreadRound {
    policy: &'static str,
    sockets: usize,
    flows: usize,
    datagrams: usize,
    round: usize,
    /// What was chosen for, by socket: flows, or datagrams.
    shares: Vec<u64>,
    /// The most sockets that one flow was seen on; a connection is made once.
    sockets_of_a_flow: Option<usize>,
    hottest: f64,
    jain: f64,
    chi_square: Option<f64>,
    p: Option<f64>,
    ideal_hottest_low: f64,
    ideal_hottest_median: f64,
    ideal_hottest_high: f64,
}

fn run(lab: &Lab) -> anyhow::Result<ExperimentResult> {
    let sockets = lab.sockets(SOCKETS);
    let policies: &[SpreadPolicy] = match lab.wants_tcp() {
        true => &[SpreadPolicy::Connections],
        false => &[
            SpreadPolicy::Hash,
            SpreadPolicy::Steered(Steer::QueryId),
            SpreadPolicy::Steered(Steer::Random),
            SpreadPolicy::Steered(Steer::Cpu),
        ],
    };
    let flows = lab.choose(&FLOWS[..], &FLOWS[..5]);
    let rounds = match sockets {
        // Odd, so that the median is a round that can be shown.
        ..MANY_SOCKETS => lab.choose(11, 3),
        _ => lab.choose(3, 1),
    };
    let trials = lab.choose(TRIALS, 100);
    lab.plan(policies.len() * flows.len() * (rounds + 1) + 1);
    let mut loads = Vec::new();
    for &policy in policies {
        for &flows in flows {
            lab.step("what an ideal hash does")?;
            loads.push(Load::new(lab, policy, flows, sockets, trials));
        }
    }
    let mut measured = Vec::new();
    for round in 0..rounds {
        // New ports for each round; a group serves all loads, since binding a
        // large one takes longer than anything else.
        let mut bound = Bound::new(lab, policies, sockets)?;
        for load in &loads {
            let Load { policy, flows, .. } = load;
            lab.step(format!("{}: {flows} flows", policy.name()))?;
            measured.push(judge(load, round, bound.count(lab, load)?));
        }
    }
    let place = |round: &SpreadRound| {
        let is_its = |load: &Load| (load.policy.name(), load.flows) == (round.policy, round.flows);
        (loads.iter().position(is_its), round.round)
    };
    measured.sort_by_key(place);
    lab.step("how many ports a load test needs")?;
    let by_ports = unevenness(lab, trials, sockets);
    Ok(ExperimentResult {
        finding: Told {
            measured: &measured,
            sockets,
            by_ports: &by_ports,
        }
        .finding(),
        tables: policies
            .iter()
            .map(|policy| table(&measured, *policy, sockets))
            .chain([ports_table(&by_ports, sockets)])
            .collect(),
        figure: figure(lab, &measured, policies),
        rows: rows(&measured),
    })
}

/// What is sent to a group, and what chance would make of it.
struct Load {
    policy: SpreadPolicy,
    flows: usize,
    datagrams: usize,
    ideal: Range,
}

impl Load {
    fn new(lab: &Lab, policy: SpreadPolicy, flows: usize, sockets: usize, trials: usize) -> Load {
        let datagrams = match policy {
            SpreadPolicy::Connections => flows,
            _ => DATAGRAMS.next_multiple_of(flows),
        };
        let balls = if policy.chooses_by_flow() {
            flows
        } else {
            datagrams
        };
        Load {
            policy,
            flows,
            datagrams,
            ideal: ideal(trials, balls, sockets, &mut lab.random(), hottest),
        }
    }
}

/// The sockets of a round.
enum Bound {
    Sockets(Box<dyn Unread>),
    Listeners(Box<dyn Listening>),
}

impl Bound {
    fn new(lab: &Lab, policies: &[SpreadPolicy], sockets: usize) -> anyhow::Result<Bound> {
        let connects = matches!(policies, [SpreadPolicy::Connections]);
        Ok(match (connects, lab.far()) {
            (true, None) => Bound::Listeners(Box::new(Listeners::open(Site::LOOPBACK, sockets)?)),
            (true, Some(far)) => Bound::Listeners(Box::new(far.listeners(sockets)?)),
            (false, None) => Bound::Sockets(Box::new(Group::bind(sockets)?)),
            (false, Some(far)) => Bound::Sockets(Box::new(far.group(sockets)?)),
        })
    }

    fn count(&mut self, lab: &Lab, load: &Load) -> anyhow::Result<Counted> {
        match self {
            Bound::Sockets(group) => send(lab, &mut **group, load),
            Bound::Listeners(listeners) => connect(lab, &mut **listeners, load.flows),
        }
    }
}

/// Where the datagrams of a round went.
struct Counted {
    shares: Vec<u64>,
    sockets_of_a_flow: Option<usize>,
}

fn send(lab: &Lab, group: &mut dyn Unread, load: &Load) -> anyhow::Result<Counted> {
    let Load {
        policy,
        flows,
        datagrams,
        ..
    } = *load;
    let sockets = group.sockets();
    // A program stays on the group until the next one takes its place; the hash
    // is measured before all of them.
    if let SpreadPolicy::Steered(steer) = policy {
        group.steer(steer)?;
    }
    let clients = clients(flows, group.address())?;
    let mut random = lab.random();
    let mut seen_on = vec![BTreeSet::new(); flows];
    let mut shares = vec![0; sockets];
    let mut waiting = 0;
    for (datagram, flow) in (1..=datagrams).zip((0..flows).cycle()) {
        let id: u16 = random.random();
        clients[flow].send(&marked(id, flow as u32))?;
        waiting += 1;
        if waiting == MAX_WAITING || datagram == datagrams {
            lab.check()?;
            for (socket, flow) in group.collect(waiting)? {
                let seen = seen_on.get_mut(flow as usize);
                seen.context("a datagram of no flow")?.insert(socket);
                shares[socket] += 1;
            }
            waiting = 0;
        }
    }
    let sockets_of_a_flow = seen_on.iter().map(BTreeSet::len).max();
    if policy.chooses_by_flow() {
        shares = by_flow(&seen_on, sockets);
    }
    Ok(Counted {
        shares,
        sockets_of_a_flow,
    })
}

/// Flows by socket.
fn by_flow(seen_on: &[BTreeSet<usize>], sockets: usize) -> Vec<u64> {
    let mut shares = vec![0; sockets];
    seen_on
        .iter()
        .flatten()
        .for_each(|&socket| shares[socket] += 1);
    shares
}

/// Makes connections, which stay open until all are there.
fn connect(lab: &Lab, listeners: &mut dyn Listening, flows: usize) -> anyhow::Result<Counted> {
    let mut shares = vec![0; listeners.listeners()];
    let mut clients = Vec::new();
    while clients.len() < flows {
        lab.check()?;
        let more = MAX_CONNECTING.min(flows - clients.len());
        for _ in 0..more {
            let client = connect_tcp(listeners.address())
                .context("cannot open one more connection; raise `ulimit -n`")?;
            clients.push(client);
        }
        for listener in listeners.accept(more)? {
            shares[listener] += 1;
        }
    }
    listeners.hang_up()?;
    Ok(Counted {
        shares,
        sockets_of_a_flow: None,
    })
}

fn judge(load: &Load, round: usize, counted: Counted) -> SpreadRound {
    let Load {
        policy,
        flows,
        datagrams,
        ideal,
    } = *load;
    let Counted {
        shares,
        sockets_of_a_flow,
    } = counted;
    let test = chi_square(&shares);
    SpreadRound {
        policy: policy.name(),
        sockets: shares.len(),
        flows,
        datagrams,
        round,
        sockets_of_a_flow,
        hottest: hottest(&shares),
        jain: jain(&shares),
        chi_square: test.map(|test| test.statistic),
        p: test.map(|test| test.p),
        ideal_hottest_low: ideal.low,
        ideal_hottest_median: ideal.median,
        ideal_hottest_high: ideal.high,
        shares,
    }
}

/// How uneven an ideal hash is 39 times of 40 at most, by client ports: powers of
/// two and all ports of an address, up to the number that is even enough.
fn unevenness(lab: &Lab, trials: usize, sockets: usize) -> Vec<(usize, f64)> {
    let mut random = lab.random();
    let powers = std::iter::successors(Some(sockets.next_power_of_two()), |ports| Some(2 * ports));
    let counts = powers
        .take_while(|&ports| ports < MOST_PORTS)
        .chain([MOST_PORTS]);
    let mut all = Vec::new();
    for ports in counts {
        let high = ideal(trials, ports, sockets, &mut random, hottest).high;
        all.push((ports, high));
        if high <= EVEN {
            break;
        }
    }
    all
}
