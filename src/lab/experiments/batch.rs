//! `batch`: what it brings to take several datagrams with one call.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use crate::lab::contender::Contender;
use crate::lab::contest::{self, Contest, Contestant, Load};
use crate::lab::figure::{Axis, Drawing, Figure, Line, Lines, Panel, number};
use crate::lab::load::Measured;
use crate::lab::remote::ContenderKind;
use crate::lab::result::{ExperimentResult, Finding, Table, rows};
use crate::lab::rounds::{RoundOrder, Rounds};
use crate::lab::statistics::Verdict;
use crate::lab::tasks::Cost;
use crate::lab::{Experiment, Lab, Practice};
use crate::server::counters::Totals;

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    name: "batch",
    question: "What does it bring to take many datagrams with one call?",
    method: "Eight servers of one worker, which take up to 1, 2, 4 … 128 datagrams with one \
        recvmmsg and send their replies with one sendmmsg, are asked one at a time, in rounds \
        of random order, over 4 flows from one thread of this process: first as fast as answers \
        come, 64 waiting on each flow, then all at the same rate, half of what batch 1 managed, \
        where latency counts from when a request was due. The batch with the \
        best median is compared with each other round by round, with 95 % confidence for the \
        seven comparisons together; the narrowest that is not told apart from it is named. Receives and sends are the batches \
        that the worker counts, times 2: one call to receive it and one to send its replies, so \
        long as the kernel refuses none; waits that end with nothing are told apart. The load \
        generator, which sends 32 at a time at most, competes for the CPUs, and on loopback a \
        reply's delivery is part of the worker's call. Not covered: several workers (--sockets \
        means nothing here), a network card, replies that the kernel refuses.",
    expectation: "Two system calls a query at batch 1, fewer with each doubling for as long as \
        datagrams wait to be taken. The calls' own cost goes down with them, but most of the \
        cost is the kernel's way through its network stack, which each datagram still goes \
        alone: the gain is modest and ends early. A worker takes what is there and does not \
        wait for more, so that batching costs no latency.",
    practice: &[
        Practice {
            advice: "`--batch N` is how many datagrams a worker takes and sends with one call; \
                waiting for more is not part of it, so that a wide one costs no latency.",
            source: "README, `shardns serve`; recvmmsg(2)",
        },
        Practice {
            advice: "A load test shows it only if enough queries wait: dnsperf's `-q` is how many \
                it keeps outstanding.",
            source: "dnsperf(1), -q",
        },
        Practice {
            advice: "On a network card, interrupt moderation (`ethtool -C IF rx-usecs N`) decides \
                how many datagrams come at once.",
            source: "ethtool(8), --coalesce",
        },
    ],
    run,
};

/// Powers of two up to `MAX_WIDTH`.
const WIDTHS: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
/// What the others are compared with, in `WIDTHS`.
const ONE: usize = 0;
/// The widest, in `WIDTHS`.
const WIDEST: usize = WIDTHS.len() - 1;
/// A batch that is filled less than this was not needed.
const HALF_FULL: f64 = 0.5;
const FLOWS: usize = 4;
/// Requests of a flow that wait in the closed loop: 256 in all, so that the
/// widest batch can be filled, and the smallest socket buffer holds them.
const WINDOW: usize = 64;

/// How a worker was called upon.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Calls {
    /// The widest batch that the worker takes.
    batch: usize,
    batches: u64,
    /// Waits that ended with nothing.
    empty_waits: u64,
    /// Batches times 2: one call to receive it, one to send its replies.
    receives_and_sends_per_query: f64,
    /// Datagrams that a receive brought.
    mean_batch: f64,
}

impl Calls {
    /// What the worker did between two looks at its counters. It counts batches,
    /// and sends each with one call as long as the kernel refuses no reply.
    fn between(batch: usize, before: &Totals, after: &Totals) -> Calls {
        let batches = |totals: &Totals| totals.batches.iter().sum::<u64>();
        let batches = batches(after) - batches(before);
        let queries = (after.received - before.received) as f64;
        Calls {
            batch,
            batches,
            empty_waits: after.idle_wakeups - before.idle_wakeups,
            receives_and_sends_per_query: 2.0 * batches as f64 / queries.max(1.0),
            mean_batch: queries / batches.max(1) as f64,
        }
    }
}

fn run(lab: &Lab) -> anyhow::Result<ExperimentResult> {
    let contest = Contest {
        lab,
        flows: FLOWS,
        window: WINDOW,
        duration: Duration::from_millis(lab.choose(250, 20)),
        rate_of: |_| ONE,
        loads: vec![
            (Load::Most, lab.choose(6, 2)),
            (Load::Half, lab.choose(5, 1)),
        ],
    };
    lab.plan(WIDTHS.len() + contest.visits(WIDTHS.len()));
    let mut servers = Vec::new();
    for (index, batch) in WIDTHS.into_iter().enumerate() {
        lab.step(format!("start batch {batch}"))?;
        servers.push(BatchServer {
            index,
            batch,
            server: Contender::start(lab, ContenderKind::Batch(batch))?,
        });
    }
    let visits = contest.run(servers)?;
    Ok(ExperimentResult {
        finding: finding(&visits),
        tables: vec![table(&visits)],
        figure: figure(&visits),
        rows: rows(visits.all()),
    })
}

/// A server of one worker.
struct BatchServer {
    index: usize,
    batch: usize,
    server: Contender,
}

impl Contestant for BatchServer {
    type Details = Calls;
    type Counted = Totals;

    fn index(&self) -> usize {
        self.index
    }

    fn name(&self) -> String {
        format!("batch {}", self.batch)
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn cost(&mut self) -> anyhow::Result<Option<Cost>> {
        self.server.cost()
    }

    fn counted(&mut self) -> anyhow::Result<Totals> {
        let totals = self.server.counted()?.totals;
        totals.first().copied().context("a server without a worker")
    }

    fn details(&self, before: Totals, after: Totals, _: &Measured) -> Calls {
        Calls::between(self.batch, &before, &after)
    }
}

type Visits = contest::Visits<Calls>;
type Measure = contest::Measure<Calls>;
const RATE: Measure = |visit| Some(visit.answers_per_s);
const CALLS: Measure = |visit| Some(visit.details.receives_and_sends_per_query);
const FILLED: Measure = |visit| Some(visit.details.mean_batch);
const CPU: Measure = |visit| visit.cpu_us_per_query;
const BUSY: Measure = |visit| visit.generator_busy;
const P50: Measure = |visit| Some(visit.latency.latency_us_p50);
const P99: Measure = |visit| Some(visit.latency.latency_us_p99);

fn table(visits: &Visits) -> Table {
    let offered: Measure = |visit| visit.offered_per_s.map(|rate| rate as f64);
    let rate = visits.middle(ONE, Load::Half, offered);
    let title = format!(
        "As fast as answers come, and latency in µs at {} queries a second: medians of the \
            rounds, ratio to batch 1 round by round (95 %)",
        number(rate.round())
    );
    let mut table = Table::new(
        title,
        &[
            "batch",
            "answers/s",
            "times batch 1",
            "receives + sends a query",
            "filled",
            "CPU µs a query",
            "generator's CPU",
            "p50",
            "p99",
            "filled then",
        ],
    );
    let rates = visits.rounds(Load::Most, RATE);
    for (index, batch) in WIDTHS.into_iter().enumerate() {
        let most = |measure| visits.middle(index, Load::Most, measure);
        let half = |measure| visits.middle(index, Load::Half, measure);
        let ratio = rates.as_ref().and_then(|rates| rates.ratio(index, ONE));
        let ratio = ratio.filter(|_| index != ONE);
        table.row([
            batch.to_string(),
            number(most(RATE)),
            ratio.map_or(String::new(), |ratio| ratio.to_string()),
            format!("{:.3}", most(CALLS)),
            format!("{:.1}", most(FILLED)),
            format!("{:.2}", most(CPU)),
            format!("{:.2}", most(BUSY)),
            number(half(P50).round()),
            number(half(P99).round()),
            format!("{:.1}", half(FILLED)),
        ]);
    }
    table
}

fn figure(visits: &Visits) -> Figure {
    let line = |name: &str, load, measure| Line {
        name: name.into(),
        points: (0..)
            .zip(WIDTHS)
            .map(|(index, batch)| (batch as f64, visits.sample(index, load, measure)))
            .collect(),
    };
    let panel = |title: &str, y: &str, series| Panel {
        title: title.into(),
        drawing: Drawing::Lines(Lines {
            x: Axis::logarithmic("batch: datagrams a call may take"),
            y: Axis::linear(y),
            series,
            band: None,
        }),
    };
    let most = |name: &str, measure| vec![line(name, Load::Most, measure)];
    let latency = vec![line("p50", Load::Half, P50), line("p99", Load::Half, P99)];
    Figure {
        panels: vec![
            panel(
                "Answers, as fast as they come",
                "answers/s",
                most("answers", RATE),
            ),
            panel(
                "CPU time of the server",
                "µs a query",
                most("CPU time", CPU),
            ),
            panel(
                "System calls to receive and send",
                "a query",
                most("calls", CALLS),
            ),
            panel("What a receive brings", "datagrams", most("filled", FILLED)),
            panel("Latency at half the rate of batch 1", "µs", latency),
        ],
    }
}

fn finding(visits: &Visits) -> Finding {
    let [calls_alone, calls] = [ONE, WIDEST].map(|index| visits.middle(index, Load::Most, CALLS));
    let calls = format!(
        "A query takes {} receives and sends at batch 1, {} at batch {}.",
        number(calls_alone),
        number(calls),
        WIDTHS[WIDEST]
    );
    let latency = visits.rounds(Load::Half, P99);
    let latency = latency.and_then(|latency| latency.ratio(WIDEST, ONE));
    let latency = latency.map(|ratio| {
        format!(
            "At half the rate of batch 1, the p99 of batch {} is {ratio}.",
            WIDTHS[WIDEST]
        )
    });
    let finding = Finding::new(match visits.rounds(Load::Most, RATE) {
        Some(rounds) => gain(&rounds),
        None => "Nothing was answered.".into(),
    });
    finding
        .note(calls)
        .note_where(latency)
        .note_where(unfilled(visits))
}

/// From which batch on nothing is gained any more.
fn gain(rounds: &Rounds) -> String {
    let lead = rounds.lead(RoundOrder::Highest);
    let figure = |index| rounds.sample(index).middle();
    let narrowest = lead.ahead()[0];
    let alone = number(figure(ONE));
    if lead.verdict == Some(Verdict::Nothing) {
        return format!(
            "One round does not tell what batching gains: {}.",
            rounds.range("/s")
        );
    }
    if narrowest == ONE {
        return format!(
            "Batching gains nothing that can be told from noise here: batch 1 answers {alone}/s, \
                all together {}.",
            rounds.range("/s")
        );
    }
    let gain = format!(
        "Up to {} datagrams a call bring {} times the answers of one a call, {}/s against {alone}",
        WIDTHS[narrowest],
        number(figure(narrowest) / figure(ONE)),
        number(figure(narrowest))
    );
    match (narrowest + 1..WIDTHS.len()).all(|wider| lead.ahead().contains(&wider)) {
        true if narrowest < WIDEST => format!("{gain}; more bring nothing beyond noise."),
        _ => format!("{gain}."),
    }
}

/// Wide batches are not filled by a source that waits for its answers.
fn unfilled(visits: &Visits) -> Option<String> {
    let filled = |index: usize| visits.middle(index, Load::Most, FILLED);
    let fullest = (0..WIDTHS.len()).max_by(|&a, &b| filled(a).total_cmp(&filled(b)))?;
    (filled(WIDEST) < HALF_FULL * WIDTHS[WIDEST] as f64).then(|| {
        format!(
            "The queue is empty before batch {} is full: receives bring {} datagrams at most, at \
                batch {}.",
            WIDTHS[WIDEST],
            number(filled(fullest)),
            WIDTHS[fullest]
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_two_a_batch() {
        let before = Totals {
            received: 10,
            batches: [10, 0, 0, 0, 0, 0, 0, 0],
            idle_wakeups: 3,
            ..Totals::default()
        };
        let after = Totals {
            received: 110,
            batches: [12, 0, 0, 0, 0, 0, 0, 2],
            idle_wakeups: 4,
            ..before
        };
        let calls = Calls::between(128, &before, &after);
        assert_eq!((calls.batches, calls.empty_waits), (4, 1));
        assert_eq!(
            (calls.receives_and_sends_per_query, calls.mean_batch),
            (0.08, 25.0)
        );
        let nothing = Calls::between(128, &after, &after);
        assert_eq!(
            (nothing.receives_and_sends_per_query, nothing.mean_batch),
            (0.0, 0.0)
        );
    }
}
