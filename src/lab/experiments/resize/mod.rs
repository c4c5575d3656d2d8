//! `resize`: which flows change their socket when the group grows or shrinks.
//! What is measured is here; `told` says what it tells.

mod told;

use std::net::UdpSocket as Client;

use anyhow::Context;
use serde::Serialize;

use crate::lab::consistent_hash::Buckets;
use crate::lab::group::{Group, MAX_WAITING, clients};
use crate::lab::result::{ExperimentResult, rows};
use crate::lab::statistics::hottest;
use crate::lab::{Experiment, Lab, Practice};
use crate::sys::lab::buckets;

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    name: "resize",
    question: "What happens to flows when a socket joins or leaves?",
    method: "1,024 client sockets on loopback, IPv4, send one datagram each to a group of N \
        sockets that nobody reads, before and after one socket joins, one in the middle leaves, \
        or the last leaves; which socket has it tells where the flow goes. Unaffected are flows \
        that were not on the socket that left and are not on the one that joined. Several \
        rounds with new ports, with the kernel's hash, and with a consistent table: a classic \
        BPF program on the group with 256 buckets of flows, rewritten on each change so that \
        only the leaver's buckets, or just enough for the newcomer, change hands; beyond 256 \
        sockets some get none. Theory is how far the slices overlap into which the hash is \
        divided before and after; least, if even, is what must move so that all sockets have as \
        many flows, though the one that leaves may happen to have had fewer. Not covered: datagrams on their way during the change, and \
        TCP.",
    expectation: "The kernel scales the hash to the number of sockets, so that another number \
        shifts every slice but the first: some half of the flows move. When a socket in the \
        middle leaves, the kernel also moves the last into its place. The table moves no \
        unaffected flow.",
    practice: PRACTICE,
    run,
};

const PRACTICE: &[Practice] = &[
    Practice {
        advice: "To replace a running server, start the new one with --takeover and as many \
            workers: it gets the sockets themselves, and no flow moves. With --join one group \
            grows and shrinks, and half of the flows move twice.",
        source: "shardns serve, --takeover, --join",
    },
    Practice {
        advice: "Plain DNS over UDP does not mind: each datagram stands alone, and all workers of \
            shardns together keep to a client's rate limit.",
        source: "shardns serve, --rate-limit",
    },
    Practice {
        advice: "QUIC does mind: nginx finds a connection's worker again by its ID with \
            quic_bpf on, whatever the hash says.",
        source: "nginx, ngx_http_v3_module, quic_bpf",
    },
    Practice {
        advice: "TCP connections that a listener has not accepted are lost when it closes; with \
            net.ipv4.tcp_migrate_req = 1 another one of the group gets them (Linux 5.14).",
        source: "Documentation/networking/ip-sysctl.rst, tcp_migrate_req",
    },
];

/// Sockets of the group before the change, unless told otherwise.
const SOCKETS: usize = 8;
/// Flows of a round.
const FLOWS: usize = 1024;
/// Chance strays so far less often than once in a thousand runs.
const UNLIKELY: f64 = 0.001;

/// What happens to the group.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Join,
    MiddleLeaves,
    LastLeaves,
}

impl Change {
    fn name(self) -> &'static str {
        match self {
            Change::Join => "join",
            Change::MiddleLeaves => "middle leaves",
            Change::LastLeaves => "last leaves",
        }
    }

    /// What happens, for the figure.
    fn words(self) -> &'static str {
        match self {
            Change::Join => "one joins",
            Change::MiddleLeaves => "a middle one leaves",
            Change::LastLeaves => "the last one leaves",
        }
    }

    /// The slot of the socket that leaves.
    fn leaver(self, sockets: usize) -> Option<usize> {
        match self {
            Change::Join => None,
            Change::MiddleLeaves => Some((sockets - 1) / 2),
            Change::LastLeaves => Some(sockets - 1),
        }
    }

    /// True for a flow that need not move: it was not on the socket that left
    /// and is not on the one that joined.
    fn spares(self, sockets: usize, was: usize, is: usize) -> bool {
        Some(was) != self.leaver(sockets) && is < sockets
    }

    /// Which socket has which slot afterwards, where socket i had slot i.
    fn slots_after(self, sockets: usize) -> Vec<usize> {
        let mut slots: Vec<usize> = (0..sockets).collect();
        match self.leaver(sockets) {
            None => slots.push(sockets),
            Some(slot) => {
                slots.swap_remove(slot);
            }
        }
        slots
    }
}

/// Who chooses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ResizePolicy {
    Hash,
    Consistent,
}

const POLICIES: [ResizePolicy; 2] = [ResizePolicy::Hash, ResizePolicy::Consistent];

impl ResizePolicy {
    fn name(self) -> &'static str {
        match self {
            ResizePolicy::Hash => "hash",
            ResizePolicy::Consistent => "consistent table",
        }
    }
}

/// One round.
#[derive(Serialize)]
struct ResizeRound {
    policy: &'static str,
    change: &'static str,
    round: usize,
    sockets_before: usize,
    sockets_after: usize,
    flows: usize,
    /// Flows that are elsewhere afterwards.
    moved: usize,
    /// Flows that need not move.
    unaffected: usize,
    /// How many of them did.
    unaffected_moved: usize,
    /// What share of them theory has move.
    theory: f64,
    /// The busiest socket as a multiple of the mean, before and after.
    hottest_before: f64,
    hottest_after: f64,
}

fn run(lab: &Lab) -> anyhow::Result<ExperimentResult> {
    let sockets = lab.sockets(SOCKETS);
    let changes: &[Change] = match sockets {
        // The only socket cannot leave.
        1 => &[Change::Join],
        _ => &[Change::Join, Change::MiddleLeaves, Change::LastLeaves],
    };
    let (rounds, flows) = (lab.choose(10, 2), lab.choose(FLOWS, FLOWS / 2));
    lab.plan(rounds * changes.len() * POLICIES.len());
    let mut measured = Vec::new();
    for round in 0..rounds {
        for &change in changes {
            for policy in POLICIES {
                lab.step(format!("{}: {}", policy.name(), change.name()))?;
                measured.push(measure(policy, change, round, sockets, flows)?);
            }
        }
    }
    let summaries = told::summaries(&measured, changes);
    Ok(ExperimentResult {
        finding: told::finding(&summaries, sockets),
        tables: vec![told::table(&summaries, sockets)],
        figure: told::figure(&summaries, changes, sockets),
        rows: rows(&measured),
    })
}

fn measure(
    policy: ResizePolicy,
    change: Change,
    round: usize,
    sockets: usize,
    flows: usize,
) -> anyhow::Result<ResizeRound> {
    let mut group = Group::bind(sockets)?;
    let mut buckets = Buckets::new(sockets);
    let steer = |group: &Group, buckets: &Buckets| match policy {
        ResizePolicy::Hash => Ok(()),
        ResizePolicy::Consistent => buckets::attach(group.socket(), buckets.slots()),
    };
    const REFUSED: &str = "the kernel takes no table on the group";
    steer(&group, &buckets).context(REFUSED)?;
    let clients = clients(flows, group.address())?;
    let before = locate(&mut group, &clients)?;
    match change.leaver(sockets) {
        None => {
            group.join()?;
            buckets.join();
        }
        Some(slot) => {
            group.leave(slot);
            buckets.leave(slot);
        }
    }
    steer(&group, &buckets).context(REFUSED)?;
    let after = locate(&mut group, &clients)?;
    Ok(compare(policy, change, round, sockets, &before, &after))
}

/// The slot in which each flow's datagrams arrive.
fn locate(group: &mut Group, clients: &[Client]) -> anyhow::Result<Vec<usize>> {
    let mut slots = vec![0; clients.len()];
    for (chunk, clients) in clients.chunks(MAX_WAITING).enumerate() {
        for (place, client) in clients.iter().enumerate() {
            client.send(&[place as u8])?;
        }
        group.collect(clients.len(), |slot, datagram| {
            slots[chunk * MAX_WAITING + usize::from(datagram[0])] = slot;
        })?;
    }
    Ok(slots)
}

/// Compares the slots that flows were and are in.
fn compare(
    policy: ResizePolicy,
    change: Change,
    round: usize,
    sockets: usize,
    before: &[usize],
    after: &[usize],
) -> ResizeRound {
    let slots = change.slots_after(sockets);
    let pairs = || before.iter().zip(after).map(|(&was, &is)| (was, slots[is]));
    let unaffected = || pairs().filter(|&(was, is)| change.spares(sockets, was, is));
    let busiest = |places: &[usize], sockets: usize| {
        let mut shares = vec![0; sockets];
        places.iter().for_each(|&place| shares[place] += 1);
        hottest(&shares)
    };
    ResizeRound {
        policy: policy.name(),
        change: change.name(),
        round,
        sockets_before: sockets,
        sockets_after: slots.len(),
        flows: before.len(),
        moved: pairs().filter(|(was, is)| was != is).count(),
        unaffected: unaffected().count(),
        unaffected_moved: unaffected().filter(|(was, is)| was != is).count(),
        theory: match policy {
            ResizePolicy::Hash => theory(change, sockets),
            ResizePolicy::Consistent => 0.0,
        },
        hottest_before: busiest(before, sockets),
        hottest_after: busiest(after, slots.len()),
    }
}

/// The share of unaffected flows that move where slot i of N has the i-th of N
/// equal slices of the hash (`reciprocal_scale` in `include/linux/kernel.h`).
fn theory(change: Change, sockets: usize) -> f64 {
    let slots = change.slots_after(sockets);
    let (mut unaffected, mut stay) = (0, 0);
    // The slices' ends, in units of which both cuttings have whole numbers.
    for (after, &is) in slots.iter().enumerate() {
        let (low, high) = (after * sockets, (after + 1) * sockets);
        for was in low / slots.len()..high.div_ceil(slots.len()) {
            let (from, to) = (was * slots.len(), (was + 1) * slots.len());
            let common = high.min(to) - low.max(from);
            if change.spares(sockets, was, is) {
                unaffected += common;
                stay += if was == is { common } else { 0 };
            }
        }
    }
    1.0 - stay as f64 / unaffected as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slices drawn by hand: of N, growing to N + 1, half of the hash stays;
    /// 1/(N + 1) goes to the newcomer.
    #[test]
    fn theory_of_slices() {
        for (change, sockets, share) in [
            (Change::Join, 1, 0.0),
            (Change::Join, 8, 7.0 / 16.0),
            (Change::LastLeaves, 8, 6.0 / 14.0),
            (Change::LastLeaves, 2, 0.0),
            // a b c -> a c: of the thirds of a and c, a's stays and so does c's.
            (Change::MiddleLeaves, 3, 0.0),
            // a b c d -> a d c: a keeps its quarter, c half of its own, d none.
            (Change::MiddleLeaves, 4, 2.0 / 3.0 - 1.0 / 9.0),
        ] {
            let theory = theory(change, sockets);
            assert!((theory - share).abs() < 1e-9, "{sockets}: {theory}");
        }
    }

    #[test]
    fn flows_are_judged_by_socket_not_by_slot() {
        // Socket 1 leaves, socket 3 takes its slot: the flow on 3 stays there,
        // that on 1 had to move, that on 2 need not have.
        let change = Change::MiddleLeaves;
        let round = compare(
            ResizePolicy::Hash,
            change,
            0,
            4,
            &[0, 1, 2, 3],
            &[0, 0, 1, 1],
        );
        assert_eq!(
            (round.moved, round.unaffected, round.unaffected_moved),
            (2, 3, 1)
        );
        // To the newcomer or to an old one.
        let round = compare(
            ResizePolicy::Hash,
            Change::Join,
            0,
            2,
            &[0, 0, 1],
            &[2, 1, 1],
        );
        assert_eq!(
            (round.moved, round.unaffected, round.unaffected_moved),
            (2, 2, 1)
        );
    }
}
