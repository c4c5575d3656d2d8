//! What a stall comes to, in words, as tables and as a figure: of each figure
//! the median of its rounds.

use super::{ASKING, Asking, Figures, POLICIES, STALLED, StallPolicy, StallRound, Stalls, look};
use crate::lab::figure::{Axis, BarSeries, Bars, Drawing, Figure, Panel, number};
use crate::lab::result::{Finding, Table};
use crate::lab::statistics::{Ratio, Sample, Verdict};

/// Workers that a table has room for.
const SHOWN_WORKERS: usize = 8;

const HASH: &StallPolicy = &POLICIES[0];
const MESSAGE_ID: &StallPolicy = &POLICIES[1];
const CHANCE: &StallPolicy = &POLICIES[2];
const SHARED: &StallPolicy = &POLICIES[3];

/// A policy's rounds, looked at.
fn looks(
    measured: &[StallRound],
    policy: &StallPolicy,
    asking: Asking,
    worker: Option<u16>,
    stalls: Stalls,
) -> Vec<Figures> {
    let rounds = measured.iter().filter(|round| round.policy == policy.name);
    rounds
        .map(|round| look(round, asking, worker, stalls))
        .collect()
}

fn each(looks: &[Figures], figure: fn(&Figures) -> f64) -> Sample {
    looks.iter().map(figure).collect()
}

/// The medians of the rounds, for a table.
fn medians<const N: usize>(looks: &[Figures], figures: [fn(&Figures) -> f64; N]) -> [String; N] {
    figures.map(|figure| number(each(looks, figure).middle()))
}

pub fn table(measured: &[StallRound], workers: usize, stalls: Stalls) -> Table {
    let mut table = Table::new(
        format!(
            "One of {} workers stalls {} ms every {} ms: milliseconds, medians of the rounds; late \
                is after {} ms",
            number(workers as f64),
            stalls.length.as_millis(),
            stalls.every.as_millis(),
            stalls.late().as_millis()
        ),
        &[
            "policy",
            "asked",
            "p50",
            "p99",
            "p99.9",
            "max",
            "late, %",
            "missing",
            "clients hit, %",
        ],
    );
    for policy in &POLICIES {
        for asking in ASKING {
            let looks = looks(measured, policy, asking, None, stalls);
            let [p50, p99, p999, max, late, missing, hit] = medians(
                &looks,
                [
                    |f| f.p50_ms,
                    |f| f.p99_ms,
                    |f| f.p999_ms,
                    |f| f.max_ms,
                    Figures::late_percent,
                    |f| (f.questions - f.answered) as f64,
                    Figures::hit_percent,
                ],
            );
            let (policy, asked) = (policy.shown.into(), asking.name().into());
            table.row([policy, asked, p50, p99, p999, max, late, missing, hit]);
        }
    }
    table
}

pub fn by_worker(measured: &[StallRound], workers: usize, stalls: Stalls) -> Table {
    let mut table = Table::new(
        format!("By the worker that answered, asked once; worker {STALLED} stalls"),
        &[
            "policy", "worker", "answers", "p50", "p99", "p99.9", "max", "late",
        ],
    );
    for policy in &POLICIES {
        for worker in 0..workers.min(SHOWN_WORKERS) {
            let one = Some(worker as u16);
            let looks = looks(measured, policy, Asking::Once, one, stalls);
            let [answers, p50, p99, p999, max, late] = medians(
                &looks,
                [
                    |f| f.answered as f64,
                    |f| f.p50_ms,
                    |f| f.p99_ms,
                    |f| f.p999_ms,
                    |f| f.max_ms,
                    |f| f.late as f64,
                ],
            );
            let (policy, worker) = (policy.shown.into(), worker.to_string());
            table.row([policy, worker, answers, p50, p99, p999, max, late]);
        }
    }
    table
}

pub fn figure(measured: &[StallRound], stalls: Stalls) -> Figure {
    let panel = |title: &str, unit: &str, asking: &[Asking], figure: fn(&Figures) -> f64| {
        let series = |&asking: &Asking| {
            let of_policy = |policy| each(&looks(measured, policy, asking, None, stalls), figure);
            BarSeries {
                name: match asking {
                    Asking::Once => "asked once".into(),
                    Asking::WithRetry => "with a retry".into(),
                },
                samples: POLICIES.iter().map(of_policy).collect(),
            }
        };
        let bars = Bars {
            x: Axis::linear(unit),
            groups: POLICIES.iter().map(|policy| policy.shown.into()).collect(),
            series: asking.iter().map(series).collect(),
            band: None,
        };
        Panel {
            title: title.into(),
            drawing: Drawing::Bars(bars),
        }
    };
    Figure {
        panels: vec![
            panel(
                "Clients that one stalled worker makes wait",
                "% of clients",
                &[Asking::Once],
                Figures::hit_percent,
            ),
            panel(
                "The same, with a retry and without",
                "% of clients",
                &ASKING,
                Figures::hit_percent,
            ),
            panel(
                "Late answers",
                "% of answers",
                &ASKING,
                Figures::late_percent,
            ),
        ],
    }
}

pub fn finding(measured: &[StallRound], workers: usize, stalls: Stalls) -> Finding {
    let looks = |policy, asking| looks(measured, policy, asking, None, stalls);
    let waiting = |policy, asking| {
        let hit = each(&looks(policy, asking), Figures::hit_percent);
        format!("{} %", number(hit.middle()))
    };
    // One more each, so that none is 0.
    let clients = |policy, asking| -> Vec<f64> {
        let looks = looks(policy, asking);
        looks.iter().map(|f| f.clients_hit as f64 + 1.0).collect()
    };
    let by_hash = waiting(HASH, Asking::Once);
    let mut finding = match workers {
        1 => Finding::new(format!(
            "When the only worker stands still, {by_hash} of clients wait: nobody else is there to \
                answer."
        )),
        _ => {
            let (shared, hash) = (clients(SHARED, Asking::Once), clients(HASH, Asking::Once));
            Finding::new(format!(
                "When one of {} workers stands still, {} of clients wait if the hash chooses, {} \
                    if all share one socket{}.",
                number(workers as f64),
                by_hash,
                waiting(SHARED, Asking::Once),
                Verdict::of(Ratio::paired(&shared, &hash)),
            ))
        }
    };
    for (policy, name) in [
        (HASH, "By hash"),
        (MESSAGE_ID, "By message ID"),
        (CHANCE, "By chance"),
    ] {
        let (once, retried) = (
            waiting(policy, Asking::Once),
            waiting(policy, Asking::WithRetry),
        );
        finding = finding.note(if once == retried {
            format!("{name}, {once} wait, with a retry and without.")
        } else {
            let (retrying, asking) = (
                clients(policy, Asking::WithRetry),
                clients(policy, Asking::Once),
            );
            let verdict = Verdict::of(Ratio::paired_as_one_of(3, &retrying, &asking));
            format!("{name}, {once} wait without a retry and {retried} with one{verdict}.")
        });
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::stub::{StubQuestion, StubReply};
    use std::time::Duration;

    const STALLS: Stalls = Stalls {
        every: Duration::from_millis(500),
        length: Duration::from_millis(100),
    };

    /// A round in which so many of a hundred clients wait, without a retry and
    /// with one.
    fn round(policy: &StallPolicy, round: usize, once: usize, retried: usize) -> StallRound {
        let reply = |is_late| {
            let latency = if is_late {
                STALLS.length
            } else {
                Duration::ZERO
            };
            Some(StubReply { latency, worker: 1 })
        };
        let question =
            |stub| StubQuestion::answered(stub, reply(stub < once), reply(stub < retried));
        StallRound {
            policy: policy.name,
            round,
            questions: (0..100).map(question).collect(),
        }
    }

    fn rounds(rounds: usize) -> Vec<StallRound> {
        let of_round = |place| {
            [
                round(HASH, place, 22 + place, 22 + place),
                round(MESSAGE_ID, place, 24, 24 - place),
                round(CHANCE, place, 30 + place, 9),
                round(SHARED, place, 2, 0),
            ]
        };
        (0..rounds).flat_map(of_round).collect()
    }

    #[test]
    fn the_hash_is_told_beside_a_shared_socket() {
        let finding = finding(&rounds(3), 4, STALLS);
        assert_eq!(
            finding.sentence,
            "When one of 4 workers stands still, 23 % of clients wait if the hash chooses, 2 % if \
                all share one socket."
        );
        assert_eq!(
            finding.notes,
            [
                "By hash, 23 % wait, with a retry and without.",
                "By message ID, 24 % wait without a retry and 23 % with one, within noise.",
                "By chance, 31 % wait without a retry and 9 % with one.",
            ]
        );
    }

    #[test]
    fn one_round_and_one_worker_are_told_as_such() {
        let finding = |workers| super::finding(&rounds(1), workers, STALLS);
        let sentence = finding(1024).sentence;
        assert!(
            sentence.starts_with("When one of 1,024 ")
                && sentence.ends_with("one round tells nothing."),
            "{sentence}"
        );
        assert_eq!(
            finding(1).sentence,
            "When the only worker stands still, 22 % of clients wait: nobody else is there to \
                answer."
        );
    }

    #[test]
    fn what_differs_from_round_to_round_is_too_noisy() {
        let measured = [(0, 90), (90, 0), (50, 1)]
            .map(|(hash, shared)| [round(HASH, 0, hash, 0), round(SHARED, 0, shared, 0)]);
        let measured: Vec<StallRound> = measured.into_iter().flatten().collect();
        let sentence = finding(&measured, 4, STALLS).sentence;
        assert!(sentence.ends_with("too noisy to tell."), "{sentence}");
    }
}
