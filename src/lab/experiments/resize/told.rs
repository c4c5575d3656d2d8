//! What the rounds tell: summaries, the table, the figure and the words.

use super::{Change, POLICIES, ResizePolicy, ResizeRound, UNLIKELY};
use crate::lab::figure::{Axis, BarSeries, Bars, Drawing, Figure, Panel, number};
use crate::lab::result::{Finding, Table};
use crate::lab::statistics::{self, ChiSquare, Sample, fit};

/// The rounds of one policy and one change.
pub struct ResizeSummary {
    policy: ResizePolicy,
    change: Change,
    /// Of the unaffected flows and of all, how many of a hundred moved, by round.
    share: Sample,
    share_of_all: Sample,
    theory: f64,
    hottest_after: Sample,
    /// Flows of all rounds.
    unaffected: usize,
    unaffected_moved: usize,
}

impl ResizeSummary {
    /// Whether those that moved and those that stayed are as many as in theory.
    fn test(&self) -> Option<ChiSquare> {
        let (all, moved) = (self.unaffected as f64, self.theory * self.unaffected as f64);
        let counts = [
            self.unaffected_moved as u64,
            (self.unaffected - self.unaffected_moved) as u64,
        ];
        fit(&counts, &[moved, all - moved])
    }

    /// The share of all flows that must move, so that all sockets have as many.
    fn least(&self, sockets: usize) -> f64 {
        match self.change {
            Change::Join => 1.0 / (sockets + 1) as f64,
            Change::MiddleLeaves | Change::LastLeaves => 1.0 / sockets as f64,
        }
    }
}

/// One for each policy and each change.
pub fn summaries(measured: &[ResizeRound], changes: &[Change]) -> Vec<ResizeSummary> {
    let cases = POLICIES
        .into_iter()
        .flat_map(|policy| changes.iter().map(move |&change| (policy, change)));
    let summary = |(policy, change): (ResizePolicy, Change)| {
        let own = || {
            let names = (policy.name(), change.name());
            measured
                .iter()
                .filter(move |round| (round.policy, round.change) == names)
        };
        let percent = |some: usize, all: usize| 100.0 * some as f64 / all.max(1) as f64;
        ResizeSummary {
            policy,
            change,
            share: own()
                .map(|round| percent(round.unaffected_moved, round.unaffected))
                .collect(),
            share_of_all: own()
                .map(|round| percent(round.moved, round.flows))
                .collect(),
            theory: own().next().map_or(0.0, |round| round.theory),
            hottest_after: own().map(|round| round.hottest_after).collect(),
            unaffected: own().map(|round| round.unaffected).sum(),
            unaffected_moved: own().map(|round| round.unaffected_moved).sum(),
        }
    };
    cases.map(summary).collect()
}

/// The figures for people.
pub fn table(summaries: &[ResizeSummary], sockets: usize) -> Table {
    let title = format!(
        "% of flows that move, medians of the rounds; sockets before the change: {}",
        number(sockets as f64)
    );
    let mut table = Table::new(
        title,
        &[
            "choice",
            "change",
            "of unaffected flows",
            "by round",
            "theory",
            "of all flows",
            "least, if even",
            "hottest/mean after",
        ],
    );
    for summary in summaries {
        let share = &summary.share;
        table.row([
            summary.policy.name().into(),
            summary.change.name().into(),
            number(share.middle()),
            format!("{}–{}", number(share.low()), number(share.high())),
            number(100.0 * summary.theory),
            number(summary.share_of_all.middle()),
            number(100.0 * summary.least(sockets)),
            number(summary.hottest_after.middle()),
        ]);
    }
    table
}

/// What moves beside what theory has move, and beside what must.
pub fn figure(summaries: &[ResizeSummary], changes: &[Change], sockets: usize) -> Figure {
    type Shown<'a> = &'a dyn Fn(&ResizeSummary) -> Sample;
    let series = |name: &str, policy: ResizePolicy, shown: Shown| BarSeries {
        name: name.into(),
        samples: summaries
            .iter()
            .filter(|summary| summary.policy == policy)
            .map(shown)
            .collect(),
    };
    let panel = |title: &str, label: &str, third: BarSeries, shown: Shown| Panel {
        title: title.into(),
        drawing: Drawing::Bars(Bars {
            x: Axis::linear(label),
            groups: changes.iter().map(|change| change.words().into()).collect(),
            series: vec![
                series("hash", ResizePolicy::Hash, shown),
                series("consistent table", ResizePolicy::Consistent, shown),
                third,
            ],
            band: None,
        }),
    };
    let exact = |share: f64| Sample::new(vec![100.0 * share]);
    let theory = series("hash in theory", ResizePolicy::Hash, &|summary| {
        exact(summary.theory)
    });
    let least = series("least, if even", ResizePolicy::Hash, &|summary| {
        exact(summary.least(sockets))
    });
    Figure {
        panels: vec![
            panel(
                "Flows that move though they could have stayed",
                "% of the flows that could have stayed",
                theory,
                &|summary| summary.share.clone(),
            ),
            panel("All flows that move", "% of all flows", least, &|summary| {
                summary.share_of_all.clone()
            }),
        ],
    }
}

/// What came of it.
pub fn finding(summaries: &[ResizeSummary], sockets: usize) -> Finding {
    let of = |policy: ResizePolicy| summaries.iter().filter(move |s| s.policy == policy);
    let change = match sockets {
        1 => "When a second socket joins one".into(),
        _ => format!(
            "When one of {} sockets leaves or another joins",
            number(sockets as f64)
        ),
    };
    let moved = range(of(ResizePolicy::Hash).map(|s| s.share.middle()));
    Finding::new(format!(
        "{change}, the kernel's hash moves {moved} of the flows that could have stayed."
    ))
    .note(theory_words(of(ResizePolicy::Hash)))
    .note(consistent_words(of(ResizePolicy::Consistent)))
}

fn theory_words<'s>(summaries: impl Iterator<Item = &'s ResizeSummary> + Clone) -> String {
    let theory = range(summaries.clone().map(|s| 100.0 * s.theory));
    let tests: Vec<Option<ChiSquare>> = summaries.map(ResizeSummary::test).collect();
    match statistics::pooled(&tests, 2) {
        Some(test) if test.p > UNLIKELY => format!(
            "That is what equal slices of the hash have move, {theory}, within noise (p = {:.3}).",
            test.p
        ),
        Some(_) => format!(
            "Equal slices of the hash would have {theory} move, from which this differs by more \
                than chance."
        ),
        None => format!("Equal slices of the hash would have {theory} move."),
    }
}

fn consistent_words<'s>(summaries: impl Iterator<Item = &'s ResizeSummary> + Clone) -> String {
    let moved: usize = summaries.clone().map(|s| s.unaffected_moved).sum();
    let all: usize = summaries.clone().map(|s| s.unaffected).sum();
    match moved {
        0 => format!(
            "A consistent table on the group moved none of them; of all flows it moved {}.",
            range(summaries.map(|s| s.share_of_all.middle()))
        ),
        _ => format!(
            "A consistent table on the group moved {} of {} of them.",
            number(moved as f64),
            number(all as f64)
        ),
    }
}

/// From the smallest to the largest percentage.
fn range(percentages: impl Iterator<Item = f64>) -> String {
    let all: Sample = percentages.collect();
    let [low, high] = [all.low(), all.high()].map(|end| format!("{end:.0}"));
    match low == high {
        true => format!("{low} %"),
        false => format!("{low} to {high} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::theory;
    use super::*;

    /// A round of both policies for each change, in which the hash moves what
    /// `moved` says of a thousand flows and the table what `table` says.
    fn told(sockets: usize, moved: impl Fn(f64) -> usize, table: usize) -> Finding {
        let changes = match sockets {
            1 => &[Change::Join][..],
            _ => &[Change::Join, Change::MiddleLeaves],
        };
        let mut measured = Vec::new();
        for policy in POLICIES {
            for &change in changes {
                let theory = theory(change, sockets);
                let unaffected_moved = match policy {
                    ResizePolicy::Hash => moved(theory),
                    ResizePolicy::Consistent => table,
                };
                measured.push(ResizeRound {
                    policy: policy.name(),
                    change: change.name(),
                    round: 0,
                    sockets_before: sockets,
                    sockets_after: sockets,
                    flows: 2000,
                    moved: 250,
                    unaffected: 1000,
                    unaffected_moved,
                    theory,
                    hottest_before: 1.0,
                    hottest_after: 1.0,
                });
            }
        }
        finding(&summaries(&measured, changes), sockets)
    }

    #[test]
    fn what_moves_is_told_beside_theory() {
        let as_in_theory = |theory| (1000.0 * theory) as usize;
        let told_of = told(8, as_in_theory, 0);
        assert_eq!(
            told_of.to_string(),
            "When one of 8 sockets leaves or another joins, the kernel's hash moves 44 to 51 % of \
                the flows that could have stayed.\n\
                - That is what equal slices of the hash have move, 44 to 51 %, within noise \
                (p = 0.999).\n\
                - A consistent table on the group moved none of them; of all flows it moved 12 %."
        );
        let otherwise = told(4096, |_| 100, 3).to_string();
        assert!(otherwise.contains("one of 4,096 sockets"), "{otherwise}");
        assert!(otherwise.contains("moves 10 % of the flows"), "{otherwise}");
        assert!(
            otherwise.contains("differs by more than chance"),
            "{otherwise}"
        );
        assert!(otherwise.ends_with("moved 6 of 2,000 of them."));
    }

    #[test]
    fn a_single_socket_has_only_one_to_come() {
        let one = told(1, |_| 0, 0).to_string();
        assert!(
            one.starts_with("When a second socket joins one, the kernel's hash moves 0 % of"),
            "{one}"
        );
        assert!(one.contains("Equal slices of the hash would have 0 % move."));
    }
}
