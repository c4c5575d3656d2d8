//! What the restarts come to, in words, as a table and as a figure: of each way
//! the median of its rounds.

use super::{Ending, Restart, START, WAYS, Way};
use crate::lab::figure::{Axis, BarSeries, Bars, Drawing, Figure, Panel, number};
use crate::lab::result::{Finding, Table};
use crate::lab::statistics::{Ratio, Sample, Verdict};

const CLOSED: Way = Way::Overlap(Ending::Closed);
const DRAINED: Way = Way::Overlap(Ending::Drained);
const ONE_BY_ONE: Way = Way::Overlap(Ending::DrainedEach);

/// A figure of the rounds of one way.
fn each(measured: &[Restart], way: Way, figure: fn(&Restart) -> f64) -> Sample {
    let rounds = measured.iter().filter(|round| round.way == way.name());
    rounds.map(figure).collect()
}

fn lost(measured: &[Restart], way: Way) -> Sample {
    each(measured, way, |round| round.lost as f64)
}

pub fn table(measured: &[Restart], sockets: usize) -> Table {
    let rate = measured.first().map_or(0, |round| round.rate);
    let mut table = Table::new(
        format!(
            "Datagrams of one restart at {} a second, {} sockets: medians of the rounds",
            number(rate as f64),
            number(sockets as f64)
        ),
        &[
            "way",
            "sent",
            "lost",
            "least–most",
            "errors told",
            "buffer full",
            "restart, ms",
        ],
    );
    for way in WAYS {
        let lost = lost(measured, way);
        let median = |figure| number(each(measured, way, figure).middle());
        table.row([
            way.name().into(),
            median(|round| round.sent as f64),
            number(lost.middle()),
            format!("{}–{}", number(lost.low()), number(lost.high())),
            median(|round| round.errors_told as f64),
            median(|round| round.dropped as f64),
            median(|round| round.took_us as f64 / 1000.0),
        ]);
    }
    table
}

pub fn figure(measured: &[Restart]) -> Figure {
    let panel = |title: &str, ways: &[Way]| {
        let bars = Bars {
            x: Axis::linear("datagrams lost"),
            groups: ways.iter().map(|way| way.name().into()).collect(),
            series: vec![BarSeries {
                name: "lost".into(),
                samples: ways.iter().map(|&way| lost(measured, way)).collect(),
            }],
            band: None,
        };
        Panel {
            title: title.into(),
            drawing: Drawing::Bars(bars),
        }
    };
    Figure {
        panels: vec![
            panel("What one restart loses", &WAYS),
            panel("The same while somebody always has the port", &WAYS[1..]),
        ],
    }
}

pub fn finding(measured: &[Restart]) -> Finding {
    let rate = measured.first().map_or(0, |round| round.rate);
    let lost = |way| told(&lost(measured, way));
    Finding::new(format!(
        "At {} datagrams a second, {} ms without a server lose {}; a process that takes over \
            the open sockets loses {}.",
        number(rate as f64),
        START.as_millis(),
        lost(Way::Reopen),
        lost(Way::Takeover),
    ))
    .note(format!(
        "A process that joins before the old one ends loses {}; new threads on the same sockets \
            lose {}.",
        lost(Way::Join),
        lost(Way::HandOver),
    ))
    .note(format!(
        "Where a second server joins, just closing the old sockets loses {}, draining them \
            together {}, one by one {}.",
        lost(CLOSED),
        lost(DRAINED),
        lost(ONE_BY_ONE),
    ))
    .note(endings(measured))
}

/// The median, and between which numbers the rounds were.
fn told(lost: &Sample) -> String {
    let (low, high) = (lost.low(), lost.high());
    if high == 0.0 {
        "none".into()
    } else if low == high {
        number(high)
    } else {
        format!(
            "{} ({}–{})",
            number(lost.middle()),
            number(low),
            number(high)
        )
    }
}

/// Whether it matters how the old server ends.
fn endings(measured: &[Restart]) -> String {
    // One more each, so that none is 0.
    let counts = |way| -> Vec<f64> {
        let lost = lost(measured, way);
        lost.each().iter().map(|lost| lost + 1.0).collect()
    };
    let beside = |way| Ratio::paired_as_one_of(2, &counts(way), &counts(CLOSED));
    let (drained, one_by_one) = (beside(DRAINED), beside(ONE_BY_ONE));
    if drained.is_none() && one_by_one.is_none() {
        return "One round tells nothing about how these three differ.".into();
    }
    match (compared(drained), compared(one_by_one)) {
        (both, same) if both == same => {
            format!("Compared with just closing, draining {both} either way.")
        }
        (drained, one_by_one) => format!(
            "Compared with just closing, draining together {drained}, and one by one {one_by_one}."
        ),
    }
}

fn compared(ratio: Option<Ratio>) -> &'static str {
    match (Verdict::of(ratio), ratio) {
        (Verdict::Different, Some(ratio)) if ratio.mean < 1.0 => "loses fewer",
        (Verdict::Different, _) => "loses more",
        (Verdict::WithinNoise, _) => "loses as many within noise",
        (Verdict::TooNoisy, _) => "is too noisy to tell",
        (Verdict::Nothing, _) => "cannot be compared",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds of all ways, of which some lost what is given.
    fn restarts(rounds: usize, lost: &[(Way, &[u64])]) -> Vec<Restart> {
        let mut restarts = Vec::new();
        for way in WAYS {
            let given = lost.iter().find(|(with_losses, _)| *with_losses == way);
            for round in 0..rounds {
                let lost = given.map_or(0, |(_, lost)| lost[round]);
                restarts.push(Restart {
                    way: way.name(),
                    round,
                    sockets: 4,
                    flows: 64,
                    rate: 20_000,
                    sent: 4400,
                    answered: 4400 - lost,
                    lost,
                    dropped: 0,
                    errors_told: 0,
                    took_us: 1500,
                });
            }
        }
        restarts
    }

    #[test]
    fn a_takeover_is_told_beside_an_empty_port() {
        let lost: [(Way, &[u64]); 3] = [
            (Way::Reopen, &[405, 400, 1474]),
            (CLOSED, &[20, 22, 21]),
            (DRAINED, &[21, 21, 21]),
        ];
        let finding = finding(&restarts(3, &lost));
        assert_eq!(
            finding.sentence,
            "At 20,000 datagrams a second, 20 ms without a server lose 405 (400–1,474); a process \
                that takes over the open sockets loses none."
        );
        assert_eq!(
            finding.notes,
            [
                "A process that joins before the old one ends loses none; new threads on the same \
                    sockets lose none.",
                "Where a second server joins, just closing the old sockets loses 21 (20–22), \
                    draining them together 21, one by one none.",
                "Compared with just closing, draining together loses as many within noise, and one \
                    by one loses fewer.",
            ]
        );
    }

    #[test]
    fn the_worst_rounds_are_told_within_the_limits() {
        let losses: &[u64] = &[0, 1, 1000];
        let others: &[u64] = &[1000, 0, 1];
        let all = WAYS.map(|way| (way, if way == CLOSED { others } else { losses }));
        let finding = finding(&restarts(3, &all));
        assert!(
            finding.sentence.ends_with("loses 1 (0–1,000)."),
            "{finding}"
        );
        assert_eq!(
            finding.notes[2],
            "Compared with just closing, draining is too noisy to tell either way."
        );
    }

    #[test]
    fn one_round_compares_nothing() {
        let finding = finding(&restarts(1, &[(Way::Reopen, &[405])]));
        assert!(
            finding.sentence.contains("lose 405; a process"),
            "{finding}"
        );
        assert_eq!(
            finding.notes[2],
            "One round tells nothing about how these three differ."
        );
    }
}
