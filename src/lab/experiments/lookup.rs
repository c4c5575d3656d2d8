//! `lookup`: what it costs the kernel to choose among many sockets. On loopback
//! a datagram is received within the call that sends it, so the time of that
//! call is the time of the choice and of much else, which is the same for all.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;

use crate::lab::figure::{Axis, Figure, Lines, Panel};
use crate::lab::group::ANY_PORT;
use crate::lab::result::{ExperimentResult, Table, rows};
use crate::lab::statistics::{Mean, Range, Ratio, median, slope};
use crate::lab::{Experiment, Lab};
use crate::sys::is_out_of_files;
use crate::sys::lab::client::{Flow, Inbox, Outbox};
use crate::sys::port::Wait;
use crate::sys::socket::{UdpOptions, UdpSocket};
use crate::sys::steer::{self, Steer};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    name: "lookup",
    question: "Does choosing among many sockets cost more?",
    method: "Groups of 1, 4, 16 … sockets, up to --sockets, are there side by side. In each \
        round each group gets batches of 64 datagrams from one flow over loopback, with one \
        sendmmsg a batch, whose time is taken; it includes sending and receiving up to the \
        socket's queue. The queues are emptied in between. Under hash the flow always lands on \
        the same socket, and what differs from group to group is the choice alone; under \
        query-id each datagram goes to the next socket, and the sockets' memory, cold in large \
        groups, counts too. Groups are compared with one socket in the same round. Not covered: \
        datagrams from other machines, connected sockets in the group, IPv6.",
    expectation: "The first socket of the group that the kernel meets leads to an array of all, \
        and the hash, or the program, is its index (net/core/sock_reuseport.c): flat since \
        Linux 4.5 (TCP: 4.6). Before, every socket of the group was scored, and the cost grew \
        with their number.",
    run,
};

/// The largest group, unless told otherwise.
const SOCKETS: usize = 4096;
const SOCKETS_QUICK: usize = 1024;
/// How much larger the next group is.
const STEP: usize = 4;
/// Datagrams of a call: they fit into a socket's buffer even where an
/// unprivileged user gets the usual 208 KiB.
const WIDTH: usize = 64;
/// Octets of a datagram.
const SIZE: usize = 64;
/// Calls of a group in a round; their median is the round's figure.
const CALLS: usize = 8;
/// Bytes that may wait on a socket: a limit, not memory.
const BUFFER: usize = 1 << 18;
/// How long a datagram on loopback may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Nanoseconds that a search needs for each socket at least: it reads some
/// cache lines of each.
const SEARCH_NS: f64 = 1.0;

const POLICIES: [LookupPolicy; 2] = [LookupPolicy::Hash, LookupPolicy::QueryId];

#[derive(Clone, Copy, PartialEq, Eq)]
enum LookupPolicy {
    Hash,
    QueryId,
}

impl LookupPolicy {
    fn name(self) -> &'static str {
        match self {
            LookupPolicy::Hash => "hash",
            LookupPolicy::QueryId => "query-id",
        }
    }
}

/// One group in one round.
#[derive(Serialize)]
struct LookupRound {
    policy: &'static str,
    sockets: usize,
    round: usize,
    datagrams: usize,
    /// A datagram's share of a call, nanoseconds: the middle call's, and the
    /// fastest one's.
    ns: f64,
    ns_fastest: f64,
}

fn run(lab: &Lab) -> anyhow::Result<ExperimentResult> {
    let rounds = lab.choose(100, 10);
    let sizes = sizes(lab.sockets(lab.choose(SOCKETS, SOCKETS_QUICK)));
    lab.plan(POLICIES.len() * rounds + 1);
    lab.step("binding")?;
    let (mut groups, left_out) = bind(lab, &sizes)?;
    let mut measured = Vec::new();
    for policy in POLICIES {
        groups.iter_mut().try_for_each(|group| group.take(policy))?;
        for round in 0..rounds {
            lab.step(format!("{}: round {}", policy.name(), round + 1))?;
            // None is always the first of a round.
            groups.rotate_left(1);
            for group in &mut groups {
                lab.check()?;
                measured.push(group.measure(policy, round)?);
            }
        }
    }
    // Which group came when is of no interest any more.
    measured.sort_by_key(|m| (m.policy, m.sockets, m.round));
    let summaries: Vec<LookupSummary> = POLICIES.map(|p| LookupSummary::new(&measured, p)).into();
    Ok(ExperimentResult {
        finding: finding(&summaries, &left_out),
        tables: summaries.iter().map(|s| s.table(&left_out)).collect(),
        figure: figure(&summaries),
        rows: rows(&measured),
    })
}

/// 1, 4, 16 … and `largest`.
fn sizes(largest: usize) -> Vec<usize> {
    let steps = std::iter::successors(Some(1), |size| Some(size * STEP));
    let mut sizes: Vec<usize> = steps.take_while(|size| *size < largest).collect();
    sizes.push(largest);
    sizes
}

/// Binds the groups, and says which do not fit into the files that the process
/// may open.
fn bind(lab: &Lab, sizes: &[usize]) -> anyhow::Result<(Vec<Group>, Vec<usize>)> {
    let mut groups = Vec::new();
    for (index, &size) in sizes.iter().enumerate() {
        match Group::bind(lab, size) {
            Err(error) if index > 0 && is_no_room(&error) => {
                return Ok((groups, sizes[index..].to_vec()));
            }
            group => groups.push(group?),
        }
    }
    Ok((groups, Vec::new()))
}

fn is_no_room(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(is_out_of_files)
}

/// A group, and the one flow to it.
struct Group {
    sockets: Vec<UdpSocket>,
    flow: Flow,
    outbox: Outbox,
    inbox: Inbox,
    /// The next message ID.
    id: u16,
    /// The socket that the hash chooses for the flow.
    home: Option<usize>,
}

impl Group {
    fn bind(lab: &Lab, size: usize) -> anyhow::Result<Group> {
        let options = UdpOptions {
            grouped: true,
            receive_buffer: BUFFER,
            timeout: PATIENCE,
        };
        let bind = |address: SocketAddr| UdpSocket::bind(address, &options, &mut Vec::new());
        let first = bind(ANY_PORT).context("cannot bind")?;
        let address = first.local();
        let flow = Flow::connect(address, BUFFER, PATIENCE).context("cannot connect")?;
        let inbox = Inbox::new(WIDTH, SIZE);
        let mut sockets = vec![first];
        while sockets.len() < size {
            lab.check()?;
            sockets.push(bind(address).context("cannot bind one more socket of the group")?);
        }
        Ok(Group {
            sockets,
            flow,
            outbox: Outbox::new(WIDTH, SIZE),
            inbox,
            id: 0,
            home: None,
        })
    }

    fn take(&mut self, policy: LookupPolicy) -> anyhow::Result<()> {
        if policy == LookupPolicy::QueryId {
            let cpus = vec![0; self.sockets.len()];
            steer::attach(&self.sockets[0], Steer::QueryId, &cpus)
                .context("cannot steer the group")?;
        }
        Ok(())
    }

    fn measure(&mut self, policy: LookupPolicy, round: usize) -> anyhow::Result<LookupRound> {
        // The first call finds the group's memory as others left it.
        self.call(policy)?;
        let times: anyhow::Result<Vec<f64>> = (0..CALLS).map(|_| self.call(policy)).collect();
        let times = times?;
        Ok(LookupRound {
            policy: policy.name(),
            sockets: self.sockets.len(),
            round,
            datagrams: CALLS * WIDTH,
            ns: median(&times),
            ns_fastest: times.iter().copied().fold(f64::INFINITY, f64::min),
        })
    }

    /// Sends a batch, and returns the nanoseconds that a datagram took.
    fn call(&mut self, policy: LookupPolicy) -> anyhow::Result<f64> {
        let ids: [u16; WIDTH] = std::array::from_fn(|slot| self.id.wrapping_add(slot as u16));
        self.id = self.id.wrapping_add(WIDTH as u16);
        for (slot, id) in ids.iter().enumerate() {
            let mut datagram = [0; SIZE];
            datagram[..2].copy_from_slice(&id.to_be_bytes());
            self.outbox.put(slot, &datagram);
        }
        let start = Instant::now();
        let sent = self.outbox.send(&self.flow, WIDTH)?;
        let time = start.elapsed();
        if sent < WIDTH {
            bail!("the kernel took {sent} of {WIDTH} datagrams");
        }
        let size = self.sockets.len();
        let mut reached: Vec<usize> = match (policy, self.home) {
            (LookupPolicy::Hash, Some(home)) => vec![home],
            (LookupPolicy::Hash, None) => (0..size).collect(),
            (LookupPolicy::QueryId, _) => ids.iter().map(|&id| usize::from(id) % size).collect(),
        };
        reached.dedup();
        self.drain(&reached)?;
        Ok(time.as_nanos() as f64 / WIDTH as f64)
    }

    fn drain(&mut self, reached: &[usize]) -> anyhow::Result<()> {
        let (start, mut drained) = (Instant::now(), 0);
        while drained < WIDTH {
            if start.elapsed() > PATIENCE {
                bail!(
                    "{} of {WIDTH} datagrams are not where they belong",
                    WIDTH - drained
                );
            }
            for &index in reached {
                let received = self.inbox.receive(&self.sockets[index], Wait::No)?;
                if received > 0 {
                    self.home = Some(index);
                }
                drained += received;
            }
        }
        Ok(())
    }
}

/// The rounds of one policy.
struct LookupSummary {
    policy: &'static str,
    sizes: Vec<Size>,
    /// Nanoseconds for each socket more, and for each doubling of the group.
    by_socket: Option<Mean>,
    by_doubling: Option<Mean>,
}

struct Size {
    sockets: usize,
    ns: Range,
    /// Nanoseconds by round.
    times: Vec<f64>,
    /// Compared with one socket.
    ratio: Option<Ratio>,
}

impl LookupSummary {
    fn new(measured: &[LookupRound], policy: LookupPolicy) -> LookupSummary {
        let own: Vec<&LookupRound> = measured
            .iter()
            .filter(|m| m.policy == policy.name())
            .collect();
        let mut sizes: Vec<Size> = Vec::new();
        for group in own.chunk_by(|a, b| a.sockets == b.sockets) {
            let times: Vec<f64> = group.iter().map(|m| m.ns).collect();
            sizes.push(Size {
                sockets: group[0].sockets,
                ns: Range::of(times.clone()),
                ratio: sizes
                    .first()
                    .and_then(|one: &Size| Ratio::paired(&times, &one.times)),
                times,
            });
        }
        let growth = |x: fn(f64) -> f64| {
            let rounds = sizes.first().map_or(0, |size| size.times.len());
            let point = |size: &Size, round| (x(size.sockets as f64), size.times[round]);
            let slopes = (0..rounds).map(|round| {
                let points: Vec<_> = sizes.iter().map(|size| point(size, round)).collect();
                slope(&points)
            });
            Mean::of(&slopes.collect::<Vec<_>>()).filter(|_| sizes.len() > 1)
        };
        LookupSummary {
            policy: policy.name(),
            by_socket: growth(|sockets| sockets),
            by_doubling: growth(f64::log2),
            sizes,
        }
    }

    fn table(&self, left_out: &[usize]) -> Table {
        let mut title = format!("{}: ns to send and deliver one datagram", self.policy);
        if let Some(Mean { mean, low, high }) = self.by_doubling {
            title += &format!("; {mean:+.1} ({low:.1} to {high:.1}) for each doubling");
        }
        title += &left_out_words(left_out);
        let header = [
            "sockets",
            "median",
            "95 of 100 rounds",
            "times one socket's",
        ];
        let mut table = Table::new(title, &header);
        for size in &self.sizes {
            table.row([
                size.sockets.to_string(),
                format!("{:.0}", size.ns.median),
                format!("{:.0}–{:.0}", size.ns.low, size.ns.high),
                size.ratio.map_or(String::new(), |ratio| ratio.to_string()),
            ]);
        }
        table
    }

    fn finding(&self) -> Option<String> {
        let last = self.sizes.last()?;
        let (ratio, Mean { mean, low, high }) = (last.ratio?, self.by_socket?);
        let verdict = if low > SEARCH_NS {
            "the group is searched"
        } else if high > SEARCH_NS {
            "too noisy to say whether the group is searched"
        } else if ratio.is_noise() && low <= 0.0 {
            "flat"
        } else {
            "no search of the group"
        };
        Some(format!(
            "under {} {} sockets cost {ratio}, compared with one, and {mean:.3} ns ({low:.3} to \
                {high:.3}) for each socket more: {verdict}",
            self.policy, last.sockets,
        ))
    }
}

fn left_out_words(left_out: &[usize]) -> String {
    match left_out {
        [] => String::new(),
        sizes => {
            let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
            let sizes = sizes.join(" and ");
            format!("; left out: {sizes} sockets, too many for `ulimit -n`")
        }
    }
}

fn figure(summaries: &[LookupSummary]) -> Figure {
    let line = |summary: &LookupSummary| {
        let point = |size: &Size| (size.sockets as f64, size.ns.median);
        let points = summary.sizes.iter().map(point).collect();
        (summary.policy.to_owned(), points)
    };
    let lines = Lines {
        title: "Sending and delivering one datagram".into(),
        x: Axis::logarithmic("sockets of the group"),
        y: Axis::linear("ns"),
        series: summaries.iter().map(line).collect(),
        band: None,
    };
    Figure {
        panels: vec![Panel::Lines(lines)],
    }
}

fn finding(summaries: &[LookupSummary], left_out: &[usize]) -> String {
    let said: Vec<String> = summaries
        .iter()
        .filter_map(LookupSummary::finding)
        .collect();
    let left_out = left_out_words(left_out);
    if said.is_empty() {
        return format!("One socket leaves nothing to choose{left_out}.");
    }
    let mut said = said.join("; ");
    said[..1].make_ascii_uppercase();
    format!("{said}{left_out}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(ns: impl Fn(usize) -> f64) -> LookupSummary {
        let mut measured = Vec::new();
        for sockets in sizes(4096) {
            for round in 0..10 {
                // Rounds differ by a little, the same for all groups.
                let ns = ns(sockets) + f64::from(round % 3);
                measured.push(LookupRound {
                    policy: "hash",
                    sockets,
                    round: round as usize,
                    datagrams: 1,
                    ns,
                    ns_fastest: ns,
                });
            }
        }
        LookupSummary::new(&measured, LookupPolicy::Hash)
    }

    #[test]
    fn groups_up_to_the_largest() {
        assert_eq!(sizes(1), [1]);
        assert_eq!(sizes(4), [1, 4]);
        assert_eq!(sizes(5), [1, 4, 5]);
        assert_eq!(sizes(4096), [1, 4, 16, 64, 256, 1024, 4096]);
    }

    #[test]
    fn a_search_is_told_from_what_is_flat() {
        let flat = measured(|_| 1000.0).finding().unwrap();
        assert!(flat.ends_with(": flat"), "{flat}");
        let slow = measured(|sockets| 1000.0 + 10.0 * (sockets as f64).log2());
        let slow = slow.finding().unwrap();
        assert!(slow.ends_with(": no search of the group"), "{slow}");
        let search = measured(|sockets| 1000.0 + 3.0 * sockets as f64)
            .finding()
            .unwrap();
        assert!(search.ends_with(": the group is searched"), "{search}");
    }

    #[test]
    fn what_is_left_out_is_said() {
        assert_eq!(left_out_words(&[]), "");
        let finding = finding(&[measured(|_| 1.0)], &[1024, 4096]);
        assert!(finding.starts_with("Under hash"), "{finding}");
        let end = "; left out: 1024 and 4096 sockets, too many for `ulimit -n`.";
        assert!(finding.ends_with(end), "{finding}");
    }
}
