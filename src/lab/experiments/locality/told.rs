//! What the rounds tell: summaries, the table, the figure and the words.

use statrs::distribution::{ContinuousCDF, Normal};

use super::{LeftOut, Measured};
use crate::lab::figure::{Axis, BarSeries, Bars, Drawing, Figure, Panel, number};
use crate::lab::result::{Finding, Table};
use crate::lab::statistics::Sample;

/// How often all shares that chance makes are within what it is allowed.
const CONFIDENCE: f64 = 0.95;

/// What a policy steers by, for people.
fn steered(policy: &str) -> &'static str {
    match policy {
        "query-id" => "by message ID",
        "random" => "at random",
        "cpu" => "by CPU",
        _ => "by hash",
    }
}

/// What the figure calls a network.
fn place(network: &str) -> &'static str {
    match network {
        "veth" => "virtual cable",
        "spread veth" => "flows spread over CPUs",
        "other host" => "the other host",
        _ => "loopback",
    }
}

/// A policy on a network, with all of the client's CPUs.
pub struct LocalitySummary {
    network: &'static str,
    policy: &'static str,
    pinned: bool,
    workers: usize,
    datagrams: u64,
    /// How many of a hundred were received on the worker's CPU, by round.
    local: Sample,
    on_client_cpu: Sample,
    told: Sample,
    /// The share of all rounds, and the one that chance would have.
    share: f64,
    chance: f64,
}

impl LocalitySummary {
    /// True where chance can be judged: workers that are not held are moved
    /// about or not, and nothing in that is independent from one datagram to
    /// the next.
    fn is_judged(&self) -> bool {
        self.pinned && self.workers > 1
    }

    /// True where chance may have made the share, as one of so many.
    fn is_chance(&self, of: usize) -> bool {
        self.is_judged() && is_chance(self.share, self.chance, self.datagrams, of)
    }
}

/// One for each policy on each network, pinned and not.
pub fn summaries(measured: &[Measured]) -> Vec<LocalitySummary> {
    let same = |a: &Measured, b: &Measured| {
        (a.network, a.policy, a.pinned) == (b.network, b.policy, b.pinned)
    };
    measured.chunk_by(same).map(summary).collect()
}

fn summary(group: &[Measured]) -> LocalitySummary {
    let share = |group: &[Measured], count| {
        sum(group, count) as f64 / sum(group, |m| m.datagrams).max(1) as f64
    };
    let by_round = |count: fn(&Measured) -> u64| {
        let rounds = group.chunk_by(|a, b| a.round == b.round);
        rounds.map(|round| 100.0 * share(round, count)).collect()
    };
    let datagrams = sum(group, |m| m.datagrams);
    let by_chance = group.iter().map(|m| m.chance * m.datagrams as f64);
    LocalitySummary {
        network: group[0].network,
        policy: group[0].policy,
        pinned: group[0].pinned,
        workers: group[0].workers,
        datagrams,
        local: by_round(|m| m.local),
        on_client_cpu: by_round(|m| m.on_client_cpu),
        told: by_round(|m| m.told),
        share: share(group, |m| m.local),
        chance: by_chance.sum::<f64>() / datagrams.max(1) as f64,
    }
}

fn sum(measured: &[Measured], count: fn(&Measured) -> u64) -> u64 {
    measured.iter().map(count).sum()
}

/// True where so many independent draws may well have made the share, which
/// they are expected to make `expected`, as one of so many shares.
fn is_chance(share: f64, expected: f64, draws: u64, of: usize) -> bool {
    let deviation = (expected * (1.0 - expected) / draws.max(1) as f64).sqrt();
    deviation > 0.0 && (share - expected).abs() <= deviations(of) * deviation
}

/// Standard deviations within which all of so many figures lie that often.
fn deviations(figures: usize) -> f64 {
    let beyond = (1.0 - CONFIDENCE) / figures.max(1) as f64;
    Normal::standard().inverse_cdf(1.0 - beyond / 2.0)
}

fn judged(summaries: &[LocalitySummary]) -> usize {
    summaries.iter().filter(|s| s.is_judged()).count()
}

fn percent(percentage: f64) -> String {
    format!("{percentage:.0} %")
}

/// From the smallest to the largest percentage.
fn range(low: f64, high: f64) -> String {
    match (percent(low), percent(high)) {
        (low, high) if low == high => low,
        (low, high) => format!("{}–{high}", low.trim_end_matches(" %")),
    }
}

/// The figures for people.
pub fn table(summaries: &[LocalitySummary], left_out: Option<&LeftOut>) -> Table {
    let mut title =
        "Share of datagrams received on the worker's CPU, medians of the rounds".to_owned();
    if let Some(LeftOut { reason, .. }) = left_out {
        title += &format!("; {reason}");
    }
    let header = [
        "network",
        "policy",
        "workers",
        "datagrams",
        "on the worker's CPU",
        "by round",
        "on the client's CPU",
        "SO_INCOMING_CPU right",
    ];
    let mut table = Table::new(title, &header);
    let of = judged(summaries);
    for s in summaries {
        let chance = if s.is_chance(of) { ", as chance" } else { "" };
        table.row([
            s.network.into(),
            s.policy.into(),
            if s.pinned { "pinned" } else { "not pinned" }.into(),
            number(s.datagrams as f64),
            percent(s.local.middle()) + chance,
            range(s.local.low(), s.local.high()),
            percent(s.on_client_cpu.middle()),
            percent(s.told.middle()),
        ]);
    }
    table
}

/// A panel for each network, the one that is most like a network card first.
pub fn figure(summaries: &[LocalitySummary]) -> Figure {
    let networks = summaries.chunk_by(|a, b| a.network == b.network);
    Figure {
        panels: networks.rev().map(panel).collect(),
    }
}

fn panel(network: &[LocalitySummary]) -> Panel {
    let series = |name: &str, pinned: bool| BarSeries {
        name: name.into(),
        samples: network
            .iter()
            .filter(|s| s.pinned == pinned)
            .map(|s| s.local.clone())
            .collect(),
    };
    let policies = network.iter().filter(|s| s.pinned);
    Panel {
        title: format!(
            "Received on the worker's CPU: {}",
            place(network[0].network)
        ),
        drawing: Drawing::Bars(Bars {
            x: Axis::linear("% of datagrams"),
            groups: policies.map(|s| steered(s.policy).to_owned()).collect(),
            series: vec![series("pinned", true), series("not pinned", false)],
            band: band(network),
        }),
    }
}

/// Where 95 of 100 rounds are if workers are drawn by lot.
fn band(network: &[LocalitySummary]) -> Option<(String, f64, f64)> {
    let any = network.iter().find(|s| s.is_judged())?;
    let rounds = any.local.each().len().max(1) as f64;
    let deviation = (any.chance * (1.0 - any.chance) * rounds / any.datagrams.max(1) as f64).sqrt();
    let end = |deviations: f64| 100.0 * (any.chance + deviations * deviation).clamp(0.0, 1.0);
    let reach = deviations(1);
    let name = "95 of 100 rounds if workers were drawn by lot";
    (deviation > 0.0).then(|| (name.into(), end(-reach), end(reach)))
}

/// What came of it.
pub fn finding(
    summaries: &[LocalitySummary],
    measured: &[Measured],
    left_out: Option<&LeftOut>,
) -> Finding {
    Finding::new(sentence(summaries))
        .note(unpinned(summaries))
        .note(incoming_cpu(measured))
        .note_where(left_out.map(|left_out| left_out.note.into()))
}

/// What steering does for workers that are pinned.
fn sentence(summaries: &[LocalitySummary]) -> String {
    let pinned = || summaries.iter().filter(|s| s.pinned);
    let (by_cpu, otherwise): (Vec<_>, Vec<_>) = pinned().partition(|s| s.policy == "cpu");
    let medians = |own: &[&LocalitySummary]| {
        let medians: Sample = own.iter().map(|s| s.local.middle()).collect();
        range(medians.low(), medians.high())
    };
    if pinned().all(|s| s.workers == 1) {
        return format!(
            "A single pinned worker gets {} of datagrams on the CPU that received them, however \
                they are steered.",
            medians(&pinned().collect::<Vec<_>>())
        );
    }
    let of = judged(summaries);
    let chance = match otherwise.iter().all(|s| s.is_chance(of)) {
        true => "as chance has it",
        false => "which is not all chance",
    };
    format!(
        "Steered by CPU, pinned workers get {} of datagrams on the CPU that received them; \
            otherwise steered, {}, {chance}.",
        medians(&by_cpu),
        medians(&otherwise)
    )
}

fn unpinned(summaries: &[LocalitySummary]) -> String {
    let by_cpu = || summaries.iter().filter(|s| !s.pinned && s.policy == "cpu");
    let rounds: Sample = by_cpu()
        .flat_map(|s| s.local.each().iter().copied())
        .collect();
    let when = match by_cpu().any(|s| s.local.each().len() > 1) {
        true => "from round to round",
        false => "in a single round",
    };
    format!(
        "Where the scheduler may move workers, steering by CPU gives {} {when}.",
        range(rounds.low(), rounds.high())
    )
}

fn incoming_cpu(measured: &[Measured]) -> String {
    let all = sum(measured, |m| m.datagrams).max(1) as f64;
    let share = |count| percent(100.0 * sum(measured, count) as f64 / all);
    format!(
        "SO_INCOMING_CPU names the receiving CPU for {} of datagrams on the workers' sockets, and \
            one for {} on the clients', which are connected.",
        share(|m| m.told),
        share(|m| m.told_to_client)
    )
}

#[cfg(test)]
mod tests {
    use super::super::{NETWORKS, POLICIES};
    use super::*;

    #[test]
    fn chance_has_a_range() {
        // Half of 256, give or take 16.
        assert!(is_chance(0.5, 0.5, 256, 1) && is_chance(0.56, 0.5, 256, 1));
        assert!(!is_chance(0.57, 0.5, 256, 1) && !is_chance(1.0, 0.5, 256, 1));
        // One of nine may stray further.
        assert!(is_chance(0.57, 0.5, 256, 9) && !is_chance(0.6, 0.5, 256, 9));
        // One CPU leaves nothing to chance.
        assert!(!is_chance(1.0, 1.0, 256, 1));
    }

    /// Two rounds of all policies on loopback, where a datagram of a thousand
    /// is received on the worker's CPU as often as `local` says.
    fn told(
        workers: usize,
        local: impl Fn(&str, bool, usize) -> u64,
        left_out: Option<&LeftOut>,
    ) -> Finding {
        let mut measured = Vec::new();
        for (policy, _) in POLICIES {
            for pinned in [true, false] {
                for round in 0..2 {
                    let local = local(policy, pinned, round);
                    measured.push(Measured {
                        network: NETWORKS[0],
                        policy,
                        pinned,
                        round,
                        workers,
                        client_cpu: 0,
                        datagrams: 1000,
                        local,
                        share: local as f64 / 1000.0,
                        chance: 0.5,
                        on_client_cpu: 1000,
                        told: 0,
                        told_to_client: 1000,
                    });
                }
            }
        }
        finding(&summaries(&measured), &measured, left_out)
    }

    #[test]
    fn steering_is_told_beside_chance() {
        let as_expected = |policy: &str, pinned: bool, round: usize| match (policy, pinned) {
            ("cpu", true) => 1000,
            ("cpu", false) => 400 + 500 * round as u64,
            _ => 490 + 20 * round as u64,
        };
        assert_eq!(
            told(2, as_expected, None).to_string(),
            "Steered by CPU, pinned workers get 100 % of datagrams on the CPU that received them; \
                otherwise steered, 50 %, as chance has it.\n\
                - Where the scheduler may move workers, steering by CPU gives 40–90 % from round to \
                round.\n\
                - SO_INCOMING_CPU names the receiving CPU for 0 % of datagrams on the workers' \
                sockets, and one for 100 % on the clients', which are connected."
        );
        let left_out = LeftOut {
            note: "It needs root.",
            reason: "no permission".into(),
        };
        let odd = told(2, |_, _, _| 700, Some(&left_out));
        assert!(
            odd.sentence
                .ends_with("otherwise steered, 70 %, which is not all chance."),
            "{odd}"
        );
        assert_eq!(odd.notes[2], left_out.note);
    }

    #[test]
    fn a_single_worker_is_not_judged() {
        let local = |policy: &str, _, _| if policy == "cpu" { 500 } else { 400 };
        assert_eq!(
            told(1, local, None).sentence,
            "A single pinned worker gets 40–50 % of datagrams on the CPU that received them, \
                however they are steered."
        );
    }
}
