//! How the draws are told: tables, the figure, the finding.

use super::{EVEN, MOST_PORTS, SpreadPolicy, SpreadRound};
use crate::lab::Lab;
use crate::lab::figure::{
    Axis, Band, BarSeries, Bars, Drawing, Figure, Line, Lines, Panel, number,
};
use crate::lab::result::{Finding, Table, counted};
use crate::lab::statistics::{self, ChiSquare, Range, Sample, chi_square, ideal};

/// What a small load test has, of which the finding tells.
const FEW: usize = 64;
/// Times that chance is asked what one socket gets.
const DRAWS: usize = 1000;
/// Sockets that a figure has room for.
const SHOWN_SOCKETS: usize = 16;
/// What chance does as rarely as this is not put down to chance.
const SURPRISING: f64 = 0.001;
/// Shares that a table has room for.
const SHOWN_SHARES: usize = 8;

/// The rounds of one policy and one number of flows, taken together.
struct SpreadSummary {
    flows: usize,
    hottest: Sample,
    jain: Sample,
    test: Option<ChiSquare>,
    ideal: Range,
    rounds: usize,
    rounds_in_band: usize,
    first_shares: Vec<u64>,
}

fn summaries(measured: &[SpreadRound], policy: SpreadPolicy) -> Vec<SpreadSummary> {
    let own: Vec<&SpreadRound> = measured
        .iter()
        .filter(|round| round.policy == policy.name())
        .collect();
    let same_flows = own.chunk_by(|a, b| a.flows == b.flows);
    same_flows.filter_map(summary).collect()
}

fn summary(rounds: &[&SpreadRound]) -> Option<SpreadSummary> {
    let first = rounds.first()?;
    let sample =
        |figure: fn(&SpreadRound) -> f64| rounds.iter().map(|round| figure(round)).collect();
    let tests: Vec<Option<ChiSquare>> = rounds
        .iter()
        .map(|round| chi_square(&round.shares))
        .collect();
    let ideal = Range {
        low: first.ideal_hottest_low,
        median: first.ideal_hottest_median,
        high: first.ideal_hottest_high,
    };
    Some(SpreadSummary {
        flows: first.flows,
        hottest: sample(|round| round.hottest),
        jain: sample(|round| round.jain),
        test: statistics::pooled(&tests, first.sockets),
        ideal,
        rounds: rounds.len(),
        rounds_in_band: rounds.iter().filter(|r| ideal.holds(r.hottest)).count(),
        first_shares: first.shares.clone(),
    })
}

/// A policy's rounds by flows.
pub fn table(measured: &[SpreadRound], policy: SpreadPolicy, sockets: usize) -> Table {
    let title = format!(
        "{}, {}: median of the rounds, p of all rounds together",
        policy.name(),
        of_all(sockets, &[policy])
    );
    let mut table = Table::new(
        title,
        &[
            "flows",
            "hottest/mean",
            "ideal, 95 of 100",
            "rounds in it",
            "Jain",
            "chi-square",
            "p",
            "shares of the first round",
        ],
    );
    for summary in summaries(measured, policy) {
        let shares = summary
            .first_shares
            .iter()
            .take(SHOWN_SHARES)
            .map(|&share| number(share as f64));
        let more = if sockets > SHOWN_SHARES { " …" } else { "" };
        table.row([
            number(summary.flows as f64),
            format!("{:.2}", summary.hottest.middle()),
            format!("{:.2}–{:.2}", summary.ideal.low, summary.ideal.high),
            format!("{} of {}", summary.rounds_in_band, summary.rounds),
            format!("{:.3}", summary.jain.middle()),
            summary
                .test
                .map_or(String::new(), |test| number(test.statistic)),
            summary
                .test
                .map_or(String::new(), |test| probability(test.p)),
            shares.collect::<Vec<_>>().join(" ") + more,
        ]);
    }
    table
}

/// How many client ports make a load even.
pub fn ports_table(by_ports: &[(usize, f64)], sockets: usize) -> Table {
    let title = format!(
        "The busiest of {} by an ideal hash, as a multiple of the mean: 39 times of 40 it is no \
            more",
        number(sockets as f64)
    );
    let mut table = Table::new(title, &["client ports", "hottest/mean"]);
    for &(ports, high) in by_ports {
        table.row([number(ports as f64), format!("{high:.2}")]);
    }
    table
}

fn probability(p: f64) -> String {
    if p < SURPRISING {
        "< 0.001".into()
    } else {
        format!("{p:.3}")
    }
}

/// Two draws of sockets themselves, the median ones, then the busiest by flows.
pub fn figure(lab: &Lab, measured: &[SpreadRound], policies: &[SpreadPolicy]) -> Figure {
    let by_flow = policies.iter().find(|policy| policy.chooses_by_flow());
    let median = |flows: usize| {
        let of = |round: &&SpreadRound| round.flows == flows && round.policy.starts_with("hash");
        let mut rounds: Vec<&SpreadRound> = measured.iter().filter(of).collect();
        rounds.sort_by(|a, b| a.hottest.total_cmp(&b.hottest));
        rounds.get(rounds.len() / 2).copied()
    };
    let most = measured.iter().map(|round| round.flows).max();
    let drawn = [Some(FEW), most.filter(|&most| most > FEW)];
    let mut panels: Vec<Panel> = drawn
        .into_iter()
        .flatten()
        .filter_map(|flows| Some(draw(lab, median(flows)?)))
        .collect();
    let line = |policy: &SpreadPolicy| {
        let points = summaries(measured, *policy).into_iter();
        Line {
            name: policy.name().into(),
            points: points.map(|s| (s.flows as f64, s.hottest)).collect(),
        }
    };
    let band = by_flow.map(|policy| {
        let ends = |s: &SpreadSummary| (s.flows as f64, s.ideal.low, s.ideal.high);
        Band {
            name: "where an ideal hash has a round 95 times of 100".into(),
            ends: summaries(measured, *policy).iter().map(ends).collect(),
        }
    });
    let sockets = measured.first().map_or(0, |round| round.sockets);
    panels.push(Panel {
        title: format!("The busiest of {}", of_all(sockets, policies)),
        drawing: Drawing::Lines(Lines {
            x: Axis::logarithmic("flows"),
            y: Axis::linear("times the mean"),
            series: policies.iter().map(line).collect(),
            band,
        }),
    });
    Figure { panels }
}

fn of_all(sockets: usize, policies: &[SpreadPolicy]) -> String {
    match policies.contains(&SpreadPolicy::Connections) {
        true => counted(sockets, "listener"),
        false => counted(sockets, "socket"),
    }
}

/// What each socket got in one round, beside what chance gives any of them.
fn draw(lab: &Lab, round: &SpreadRound) -> Panel {
    let chance = ideal(
        DRAWS,
        round.flows,
        round.sockets,
        &mut lab.random(),
        |shares| shares[0] as f64,
    );
    let shown = round.shares.iter().take(SHOWN_SOCKETS);
    let is_part = round.sockets > SHOWN_SOCKETS;
    let part = if is_part {
        format!(" (the first {SHOWN_SOCKETS})")
    } else {
        String::new()
    };
    let samples = shown.map(|&share| Sample::new(vec![share as f64]));
    Panel {
        title: format!(
            "The median draw: {} over {} sockets{part}",
            counted(round.flows, "flow"),
            number(round.sockets as f64)
        ),
        drawing: Drawing::Bars(Bars {
            x: Axis::linear("flows"),
            groups: (0..round.sockets.min(SHOWN_SOCKETS))
                .map(|socket| format!("socket {socket}"))
                .collect(),
            series: vec![BarSeries {
                name: "hash".into(),
                samples: samples.collect(),
            }],
            band: Some((
                "where chance has a socket 95 times of 100".into(),
                chance.low,
                chance.high,
            )),
        }),
    }
}

/// What is told of the rounds.
pub struct Told<'a> {
    /// All of them.
    pub measured: &'a [SpreadRound],
    /// Sockets of the group.
    pub sockets: usize,
    /// How uneven an ideal hash is by client ports, up to those that suffice.
    pub by_ports: &'a [(usize, f64)],
}

impl Told<'_> {
    /// What they say.
    pub fn finding(&self) -> Finding {
        if self.sockets == 1 {
            return Finding::new("One socket leaves nothing to choose.");
        }
        Finding::new(self.ports_needed())
            .note_where(self.judged())
            .note_where(self.of_one_flow())
    }

    fn of(&self, policy: &str) -> impl Iterator<Item = &SpreadRound> {
        let own = move |round: &&SpreadRound| round.policy.starts_with(policy);
        self.measured.iter().filter(own)
    }

    fn ports_needed(&self) -> String {
        let within = (EVEN - 1.0) * 100.0;
        let sockets = number(self.sockets as f64);
        let few: Sample = self
            .of("hash")
            .filter(|round| round.flows == FEW)
            .map(|round| round.hottest)
            .collect();
        match self.by_ports.last() {
            Some(&(ports, high)) if high <= EVEN => format!(
                "Among {sockets} sockets, {} client ports keep the busiest within {within:.0} % of \
                    the mean; with {FEW} it has {} times the mean.",
                number(ports as f64),
                number(few.middle())
            ),
            _ => format!(
                "Not even {} client ports, all that one address has, keep the busiest of \
                    {sockets} sockets within {within:.0} % of the mean.",
                number(MOST_PORTS as f64)
            ),
        }
    }

    /// Whether the hash is what chance would be.
    fn judged(&self) -> Option<String> {
        let tests: Vec<Option<ChiSquare>> = self
            .of("hash")
            .map(|round| chi_square(&round.shares))
            .collect();
        let kept = match self
            .of("hash")
            .filter_map(|round| round.sockets_of_a_flow)
            .max()
        {
            None => "",
            Some(1) => ", and each flow stays on one socket",
            Some(_) => ", and some flows land on several sockets",
        };
        let test = statistics::pooled(&tests, self.sockets)?;
        let p = probability(test.p);
        Some(match test.p > SURPRISING {
            true => format!("The hash spreads flows as chance would (p = {p}){kept}."),
            false => format!("The hash does not spread flows as chance would (p {p}){kept}."),
        })
    }

    /// What is there for a single flow.
    fn of_one_flow(&self) -> Option<String> {
        let mut single = self.of("query-id").filter(|round| round.flows == 1);
        let reached = single.next()?.sockets_of_a_flow?;
        Some(format!(
            "`--steer query-id` spreads even one flow, over {} of the sockets.",
            number(reached as f64)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::statistics::{hottest, jain};

    fn round(policy: &'static str, flows: usize, shares: Vec<u64>) -> SpreadRound {
        SpreadRound {
            policy,
            sockets: shares.len(),
            flows,
            datagrams: 1024,
            round: 0,
            sockets_of_a_flow: Some(if policy == "hash" { 1 } else { shares.len() }),
            hottest: hottest(&shares),
            jain: jain(&shares),
            chi_square: None,
            p: None,
            ideal_hottest_low: 1.0,
            ideal_hottest_median: 1.2,
            ideal_hottest_high: 1.5,
            shares,
        }
    }

    fn told(measured: &[SpreadRound], ports: Option<usize>) -> Finding {
        let sockets = measured[0].sockets;
        let last = ports.map_or((MOST_PORTS, 1.2), |ports| (ports, EVEN));
        Told {
            measured,
            sockets,
            by_ports: &[(1024, 1.2), last],
        }
        .finding()
    }

    #[test]
    fn how_many_ports_are_needed_is_told_first() {
        let rounds = [
            round("hash", FEW, vec![20, 12, 16, 16]),
            round("query-id", 1, vec![256; 4]),
        ];
        let finding = told(&rounds, Some(2048));
        assert_eq!(
            finding.sentence,
            "Among 4 sockets, 2,048 client ports keep the busiest within 10 % of the mean; with 64 \
                it has 1.25 times the mean."
        );
        assert_eq!(finding.notes.len(), 2);
        assert!(finding.notes[0].starts_with("The hash spreads flows as chance would (p = 0."));
        assert!(finding.notes[1].contains("over 4 of the sockets"));
    }

    #[test]
    fn a_hash_that_favours_a_socket_is_told() {
        let finding = told(&[round("hash", FEW, vec![61, 1, 1, 1])], Some(2048));
        assert!(
            finding.notes[0].starts_with("The hash does not spread flows"),
            "{finding}"
        );
    }

    #[test]
    fn too_many_sockets_and_too_few_have_sentences_too() {
        let many = told(&[round("hash", FEW, vec![1; 64])], None);
        assert!(many.sentence.starts_with("Not even 65,535 client ports"));
        assert!(many.notes.is_empty(), "too few flows to judge: {many}");
        let one = told(&[round("hash", FEW, vec![64])], Some(1));
        assert_eq!(one.sentence, "One socket leaves nothing to choose.");
    }
}
