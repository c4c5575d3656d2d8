//! What the restarts come to, in words, as a table and as a figure: of each way
//! the median of the rounds that tell something.

use super::{Ending, Restart, START, WAYS, Way};
use crate::lab::figure::{Axis, BarSeries, Bars, Drawing, Figure, Panel, number};
use crate::lab::result::{Finding, Table};
use crate::lab::statistics::{Ratio, Sample, Verdict};

const CLOSED: Way = Way::Overlap(Ending::Closed);
const DRAINED: Way = Way::Overlap(Ending::Drained);
const ONE_BY_ONE: Way = Way::Overlap(Ending::DrainedEach);

/// The rounds of one way that tell something.
fn telling(measured: &[Restart], way: Way) -> impl Iterator<Item = &Restart> {
    let rounds = measured.iter().filter(move |it| it.way == way.name());
    rounds.filter(|it| it.kept_up)
}

/// A figure of them.
fn each(measured: &[Restart], way: Way, figure: fn(&Restart) -> f64) -> Sample {
    telling(measured, way).map(figure).collect()
}

/// True where fewer than half of the rounds tell something.
fn is_lacking(measured: &[Restart], way: Way) -> bool {
    let rounds = measured.iter().filter(|it| it.way == way.name()).count();
    2 * telling(measured, way).count() < rounds
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
            "rounds",
            "sent",
            "meanwhile",
            "lost",
            "least–most",
            "errors told",
            "buffer full",
            "restart, ms",
        ],
    );
    for way in WAYS {
        let lost = lost(measured, way);
        let known = |words: String| if lost.is_empty() { "-".into() } else { words };
        let median = |figure| known(number(each(measured, way, figure).middle()));
        table.row([
            way.name().into(),
            number(lost.each().len() as f64),
            median(|round| round.sent as f64),
            median(|round| round.sent_meanwhile as f64),
            median(|round| round.lost as f64),
            known(format!("{}–{}", number(lost.low()), number(lost.high()))),
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
    let lacks = |ways: &[Way]| ways.iter().any(|&way| is_lacking(measured, way));
    let known = |ways: &[Way], note: String| (!lacks(ways)).then_some(note);
    let lost = |way| told(&lost(measured, way));
    let finding = match lacks(&[Way::Reopen, Way::Takeover]) {
        true => Finding::new(format!(
            "The load generator could not keep up with {} datagrams a second: too noisy to tell.",
            number(rate as f64)
        )),
        false => Finding::new(format!(
            "At {} datagrams a second, {} ms without a server lose {}; a process that takes over \
                the open sockets loses {}.",
            number(rate as f64),
            START.as_millis(),
            lost(Way::Reopen),
            lost(Way::Takeover),
        )),
    };
    let joining = format!(
        "A process that joins before the old one ends loses {}; new threads on the same sockets \
            lose {}.",
        lost(Way::Join),
        lost(Way::HandOver),
    );
    let overlapping = format!(
        "Where a second server joins, just closing the old sockets loses {}, draining them \
            together {}, one by one {}.",
        lost(CLOSED),
        lost(DRAINED),
        lost(ONE_BY_ONE),
    );
    finding
        .note_where(known(&[Way::Join, Way::HandOver], joining))
        .note_where(known(&[CLOSED, DRAINED, ONE_BY_ONE], overlapping))
        .note(match lacks(&WAYS) {
            true => unknown(measured),
            false => endings(measured),
        })
}

/// A server that is sent nothing loses nothing.
fn unknown(measured: &[Restart]) -> String {
    let lacking = WAYS.iter().filter(|&&way| is_lacking(measured, way));
    format!(
        "Most rounds of {} of {} ways are left out, since too little was sent meanwhile: run it \
            again with less else to do.",
        lacking.count(),
        WAYS.len()
    )
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
    // Side by side are rounds that tell something of all three.
    let tells = |way, round| telling(measured, way).any(|it| it.round == round);
    let tells = |round| [CLOSED, DRAINED, ONE_BY_ONE].map(|way| tells(way, round)) == [true; 3];
    // One more each, so that none is 0.
    let counts = |way| -> Vec<f64> {
        let rounds = telling(measured, way).filter(|it| tells(it.round));
        rounds.map(|it| it.lost as f64 + 1.0).collect()
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
                    attempts: 1,
                    sockets: 4,
                    flows: 64,
                    rate: 20_000,
                    sent: 4400,
                    sent_meanwhile: 30,
                    kept_up: true,
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

    /// Rounds in which nothing was sent lose nothing, which says nothing.
    #[test]
    fn rounds_without_a_load_are_no_verdict() {
        let lost: [(Way, &[u64]); 2] = [(Way::Reopen, &[400, 402, 404]), (CLOSED, &[20, 21, 22])];
        let without = |idle: &[(Way, usize)]| {
            let mut measured = restarts(3, &lost);
            for it in &mut measured {
                if idle
                    .iter()
                    .any(|(way, round)| (way.name(), *round) == (it.way, it.round))
                {
                    (it.sent, it.sent_meanwhile, it.lost) = (0, 0, 0);
                    it.kept_up = false;
                }
            }
            measured
        };
        let told = finding(&without(&[(Way::Reopen, 0)]));
        assert!(told.sentence.contains(" lose 403 (402–404);"), "{told}");
        assert_eq!(told.notes.len(), 3);
        let told = finding(&without(&[(Way::Reopen, 0), (Way::Reopen, 2)]));
        assert_eq!(
            told.sentence,
            "The load generator could not keep up with 20,000 datagrams a second: too noisy to \
                tell."
        );
        assert!(told.notes[2].contains(" 1 of 7 ways "), "{told}");
        let told = finding(&without(&[
            (Way::HandOver, 0),
            (Way::HandOver, 2),
            (CLOSED, 1),
        ]));
        assert!(told.sentence.ends_with("loses none."), "{told}");
        assert!(
            told.notes[0].contains("loses 21 (20–22), draining"),
            "{told}"
        );
        assert!(told.notes[1].contains(" 1 of 7 ways "), "{told}");
        let none = without(&[(CLOSED, 0), (CLOSED, 1), (CLOSED, 2)]);
        let row = table(&none, 4).rows[1].clone();
        assert_eq!(
            row,
            ["overlap, closed", "0", "-", "-", "-", "-", "-", "-", "-"]
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
