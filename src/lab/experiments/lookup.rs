//! `lookup`: what it costs the kernel to choose among many sockets. On loopback
//! a datagram is received within the call that sends it, so the time of that
//! call is the time of the choice and of much else, which is the same for all.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;

use crate::lab::figure::{Axis, Drawing, Figure, Line, Lines, Panel, number};
use crate::lab::group::ANY_PORT;
use crate::lab::result::{ExperimentResult, Finding, Table, rows};
use crate::lab::statistics::{Mean, Ratio, Sample, Verdict, median, slope};
use crate::lab::{Experiment, Lab, Practice};
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
    practice: PRACTICE,
    run,
};

const PRACTICE: &[Practice] = &[
    Practice {
        advice: "Choose the number of workers by the CPUs that they shall use: how many sockets \
            a group has does not matter to the kernel that chooses among them.",
        source: "shardns serve, --workers; net/core/sock_reuseport.c",
    },
    Practice {
        advice: "The same goes for nginx (worker_processes, with reuseport) and NSD \
            (server-count, with reuseport: yes).",
        source: "nginx, ngx_core_module, worker_processes; nsd.conf(5), server-count, reuseport",
    },
    Practice {
        advice: "Each socket is an open file: for groups of hundreds raise ulimit -n, or \
            LimitNOFILE= of a systemd service.",
        source: "getrlimit(2), RLIMIT_NOFILE; systemd.exec(5), LimitNOFILE=",
    },
];

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
/// Calls of a group in a round; their median is the round's figure. They take
/// some milliseconds, so that what else runs on the CPU disturbs few of them.
const CALLS: usize = 32;
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

    /// What is chosen by.
    fn words(self) -> &'static str {
        match self {
            LookupPolicy::Hash => "hash",
            LookupPolicy::QueryId => "message ID",
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
    let rounds = lab.choose(25, 10);
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
    policy: LookupPolicy,
    sizes: Vec<Size>,
    /// Nanoseconds for each socket more, and for each doubling of the group.
    by_socket: Option<Mean>,
    by_doubling: Option<Mean>,
}

struct Size {
    sockets: usize,
    /// Nanoseconds by round.
    ns: Sample,
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
            let ns: Sample = group.iter().map(|m| m.ns).collect();
            sizes.push(Size {
                sockets: group[0].sockets,
                ratio: sizes
                    .first()
                    .and_then(|one: &Size| Ratio::paired(ns.each(), one.ns.each())),
                ns,
            });
        }
        let growth = |x: fn(f64) -> f64| {
            let rounds = sizes.first().map_or(0, |size| size.ns.each().len());
            let point = |size: &Size, round: usize| (x(size.sockets as f64), size.ns.each()[round]);
            let slopes = (0..rounds).map(|round| {
                let points: Vec<_> = sizes.iter().map(|size| point(size, round)).collect();
                slope(&points)
            });
            Mean::of(&slopes.collect::<Vec<_>>()).filter(|_| sizes.len() > 1)
        };
        LookupSummary {
            policy,
            by_socket: growth(|sockets| sockets),
            by_doubling: growth(f64::log2),
            sizes,
        }
    }

    fn table(&self, left_out: &[usize]) -> Table {
        let mut title = format!("{}: ns to send and deliver a datagram", self.policy.name());
        if let Some(Mean { mean, low, high }) = self.by_doubling {
            title += &format!("; {mean:+.1} ({low:.1} to {high:.1}) for each doubling");
        }
        if let Some(words) = left_out_words(left_out) {
            title += &format!("; left out: {words}");
        }
        let header = ["sockets", "median", "by round", "times one socket's"];
        let mut table = Table::new(title, &header);
        for Size { sockets, ns, ratio } in &self.sizes {
            table.row([
                number(*sockets as f64),
                number(ns.middle()),
                format!("{}–{}", number(ns.low()), number(ns.high())),
                ratio.map_or(String::new(), |ratio| ratio.to_string()),
            ]);
        }
        table
    }

    /// The smallest and the largest group, where there are two.
    fn ends(&self) -> Option<(&Size, &Size)> {
        match self.sizes.as_slice() {
            [one, .., most] => Some((one, most)),
            _ => None,
        }
    }

    /// Whether the kernel looks at one socket after the other.
    fn verdict(&self, most: &Size) -> &'static str {
        let (Some(ratio), Some(Mean { low, high, .. })) = (most.ratio, self.by_socket) else {
            return "one round tells nothing";
        };
        if low > SEARCH_NS {
            "the group is searched"
        } else if high > SEARCH_NS {
            "too noisy to tell whether the group is searched"
        } else if Verdict::of(Some(ratio)) == Verdict::WithinNoise {
            "no difference beyond noise"
        } else {
            "the group is not searched"
        }
    }

    /// What a datagram takes in the largest group and with one socket.
    fn beside_one(&self) -> Option<String> {
        let (one, most) = self.ends()?;
        Some(format!(
            "By {}, a datagram takes {} ns among {} sockets and {} ns with one",
            self.policy.words(),
            number(most.ns.middle()),
            number(most.sockets as f64),
            number(one.ns.middle()),
        ))
    }

    fn sentence(&self) -> String {
        let told = self.beside_one().zip(self.ends());
        match (told, self.sizes.first()) {
            (Some((told, (_, most))), _) => format!("{told}: {}.", self.verdict(most)),
            (None, Some(one)) => format!(
                "One socket leaves nothing to choose; a datagram takes {} ns.",
                number(one.ns.middle())
            ),
            (None, None) => "Nothing was measured.".into(),
        }
    }

    fn growth(&self) -> Option<String> {
        let (_, most) = self.ends()?;
        let (Ratio { mean, low, high }, growth) = (most.ratio?, self.by_socket?);
        let more = if growth.low > SEARCH_NS {
            format!("{} to {} ns", number(growth.low), number(growth.high))
        } else if growth.high < 0.001 {
            "less than 0.001 ns".into()
        } else {
            format!("at most {} ns", number(growth.high))
        };
        Some(format!(
            "Round by round that is {mean:.2} times ({low:.2}–{high:.2}); each socket more adds \
                {more}, where a search adds {SEARCH_NS} or more."
        ))
    }

    fn ratio(&self) -> Option<String> {
        let (_, most) = self.ends()?;
        Some(format!("{}; by round {}.", self.beside_one()?, most.ratio?))
    }
}

/// The groups that were too large, where there are any.
fn left_out_words(left_out: &[usize]) -> Option<String> {
    let sizes: Vec<String> = left_out.iter().map(|&size| number(size as f64)).collect();
    match sizes.is_empty() {
        true => None,
        false => Some(format!(
            "{} sockets, too many for `ulimit -n`",
            sizes.join(" and ")
        )),
    }
}

fn figure(summaries: &[LookupSummary]) -> Figure {
    let line = |summary: &LookupSummary| {
        let point = |size: &Size| (size.sockets as f64, size.ns.clone());
        Line {
            name: format!("by {}", summary.policy.words()),
            points: summary.sizes.iter().map(point).collect(),
        }
    };
    let lines = Lines {
        x: Axis::logarithmic("sockets of the group"),
        y: Axis::linear("ns a datagram"),
        series: summaries.iter().map(line).collect(),
        band: None,
    };
    let panel = Panel {
        title: "Sending and delivering a datagram".into(),
        drawing: Drawing::Lines(lines),
    };
    Figure {
        panels: vec![panel],
    }
}

fn finding(summaries: &[LookupSummary], left_out: &[usize]) -> Finding {
    let [hash, id] = summaries else {
        unreachable!("each policy has a summary");
    };
    let left_out = left_out_words(left_out);
    Finding::new(hash.sentence())
        .note_where(hash.growth())
        .note_where(id.ratio())
        .note_where(left_out.map(|words| format!("Left out: {words}.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both policies in groups up to `largest`, in so many rounds.
    fn measured(largest: usize, rounds: usize, ns: impl Fn(usize) -> f64) -> Vec<LookupSummary> {
        let mut measured = Vec::new();
        for policy in POLICIES {
            for sockets in sizes(largest) {
                for round in 0..rounds {
                    // Rounds differ by a little, the same for all groups.
                    let ns = ns(sockets) + (round % 3) as f64;
                    measured.push(LookupRound {
                        policy: policy.name(),
                        sockets,
                        round,
                        datagrams: 1,
                        ns,
                        ns_fastest: ns,
                    });
                }
            }
        }
        let of = |policy| LookupSummary::new(&measured, policy);
        POLICIES.map(of).into()
    }

    fn told(ns: impl Fn(usize) -> f64) -> Finding {
        finding(&measured(4096, 10, ns), &[])
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
        let flat = told(|_| 1000.0);
        assert_eq!(
            flat.sentence,
            "By hash, a datagram takes 1,001 ns among 4,096 sockets and 1,001 ns with one: no \
                difference beyond noise."
        );
        assert!(flat.notes[0].contains("1.00 times (1.00–1.00)"), "{flat}");
        assert!(flat.notes[0].contains("less than 0.001 ns"), "{flat}");
        let slow = told(|sockets| 1000.0 + 10.0 * (sockets as f64).log2());
        assert!(slow.sentence.ends_with(": the group is not searched."));
        assert!(slow.notes[0].contains("adds at most 0.0"), "{slow}");
        assert!(slow.notes[1].starts_with("By message ID, a datagram takes 1,121 ns"));
        let search = told(|sockets| 1000.0 + 3.0 * sockets as f64);
        assert!(search.sentence.ends_with(": the group is searched."));
        assert!(search.notes[0].contains("adds 3 to 3 ns"), "{search}");
    }

    #[test]
    fn what_is_too_noisy_is_said_to_be() {
        let mut summaries = measured(4096, 10, |_| 1000.0);
        let wide = Mean {
            mean: 1.0,
            low: -3.0,
            high: 5.0,
        };
        summaries[0].by_socket = Some(wide);
        summaries[1].sizes.last_mut().unwrap().ratio = Some(Ratio {
            mean: 1.0,
            low: 0.5,
            high: 2.0,
        });
        let Finding { sentence, notes } = finding(&summaries, &[]);
        assert!(sentence.ends_with(": too noisy to tell whether the group is searched."));
        assert!(notes[1].ends_with("; by round 1.00 times (0.50–2.00), too noisy to tell."));
    }

    #[test]
    fn few_sockets_and_a_single_round_are_told_as_well() {
        let one = finding(&measured(1, 10, |_| 1000.0), &[]);
        assert_eq!(
            one,
            Finding::new("One socket leaves nothing to choose; a datagram takes 1,001 ns.")
        );
        let once = finding(&measured(4, 1, |_| 1000.0), &[]);
        assert!(
            once.sentence
                .ends_with("with one: one round tells nothing.")
        );
        assert!(once.notes.is_empty());
    }

    #[test]
    fn what_is_left_out_is_said() {
        let finding = finding(&measured(256, 10, |_| 1000.0), &[1024, 4096]);
        assert_eq!(
            finding.notes[2],
            "Left out: 1,024 and 4,096 sockets, too many for `ulimit -n`."
        );
    }
}
