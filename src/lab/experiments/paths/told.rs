//! What `paths` tells of what was measured.

use super::{IDLE, Load, Measure, Visits};
use crate::lab::figure::{Axis, BarSeries, Bars, Drawing, Figure, Panel, number};
use crate::lab::path::Path;
use crate::lab::result::{Finding, Table, counted, listed};
use crate::lab::rounds::{RoundOrder, Rounds};
use crate::lab::statistics::Verdict;

const RATE: Measure = |visit| Some(visit.answers_per_s);
const CPU: Measure = |visit| visit.cpu_us_per_query;
const GENERATOR: Measure = |visit| visit.generator_us_per_query;
const SERVER_BUSY: Measure = |visit| visit.server_busy;
const SERVER_IDLE: Measure = |visit| visit.server_idle;
const GENERATOR_BUSY: Measure = |visit| visit.generator_busy;
const P50: Measure = |visit| Some(visit.latency.latency_us_p50);
const P99: Measure = |visit| Some(visit.latency.latency_us_p99);
const P999: Measure = |visit| Some(visit.latency.latency_us_p999);

impl Visits {
    /// A figure by path and round; `None` where one is missing.
    fn rounds(&self, load: Load, measure: Measure) -> Option<Rounds> {
        let of = |path: &Path| self.of(*path, load).map(measure).collect();
        Rounds::new(self.paths.iter().map(of))
    }

    fn name(&self, index: usize) -> String {
        self.paths[index].name().into()
    }

    fn lost_of_sent(&self, path: Path, load: Load) -> String {
        let [lost, sent] = self
            .of(path, load)
            .fold([0, 0], |[lost, sent], visit| {
                [lost + visit.lost, sent + visit.sent]
            })
            .map(|count| number(count as f64));
        format!("{lost} of {sent}")
    }

    /// Paths whose worker waited for the load, each with how much of the time.
    fn waited(&self) -> Vec<String> {
        let idle = |path: &Path| (*path, self.middle(*path, Load::Most, SERVER_IDLE));
        let waited = self.paths.iter().map(idle).filter(|(_, idle)| *idle > IDLE);
        waited
            .map(|(path, idle)| format!("{} (idle {:.0} %)", path.name(), idle * 100.0))
            .collect()
    }
}

pub(super) fn tables(visits: &Visits) -> Vec<Table> {
    vec![rates(visits), latencies(visits)]
}

fn rates(visits: &Visits) -> Table {
    let network = visits.all.first().map_or("", |visit| visit.network);
    let mut title = format!(
        "As fast as answers come, over {network}: medians, ratio to {} round by round (95 %)",
        visits.name(0)
    );
    for left_out in &visits.left_out {
        let name = left_out.path.name();
        title += &format!("; {name} is left out ({})", left_out.reason);
    }
    let first = format!("times {}", visits.name(0));
    let mut table = Table::new(
        title,
        &[
            "path",
            "answers/s",
            &first,
            "CPU µs a query",
            "load's CPU µs",
            "worker busy",
            "worker idle",
            "load busy",
            "lost of sent",
        ],
    );
    let rounds = visits.rounds(Load::Most, RATE);
    for (index, &path) in visits.paths.iter().enumerate() {
        let middle = |measure| visits.middle(path, Load::Most, measure);
        let ratio = rounds.as_ref().and_then(|rounds| rounds.ratio(index, 0));
        let ratio = ratio.filter(|_| index > 0);
        table.row([
            path.name().into(),
            number(middle(RATE)),
            ratio.map_or(String::new(), |ratio| ratio.to_string()),
            format!("{:.2}", middle(CPU)),
            format!("{:.2}", middle(GENERATOR)),
            format!("{:.2}", middle(SERVER_BUSY)),
            format!("{:.2}", middle(SERVER_IDLE)),
            format!("{:.2}", middle(GENERATOR_BUSY)),
            visits.lost_of_sent(path, Load::Most),
        ]);
    }
    table
}

fn latencies(visits: &Visits) -> Table {
    let mut table = Table::new(
        "Latency in µs at a share of the path's own rate: medians of the rounds",
        &[
            "path",
            "load",
            "offered/s",
            "p50",
            "p99",
            "p99.9",
            "CPU µs a query",
            "worker busy",
            "lost of sent",
        ],
    );
    for &path in &visits.paths {
        for load in Load::SHARES {
            let middle = |measure| visits.middle(path, load, measure);
            let whole = |measure| number(middle(measure).round());
            table.row([
                path.name().into(),
                load.name().into(),
                whole(|visit| visit.offered_per_s.map(|rate| rate as f64)),
                whole(P50),
                whole(P99),
                whole(P999),
                format!("{:.2}", middle(CPU)),
                format!("{:.2}", middle(SERVER_BUSY)),
                visits.lost_of_sent(path, load),
            ]);
        }
    }
    table
}

pub(super) fn figure(visits: &Visits) -> Figure {
    let bars = |name: &str, load, measure| BarSeries {
        name: name.into(),
        samples: visits
            .paths
            .iter()
            .map(|&path| visits.sample(path, load, measure))
            .collect(),
    };
    let panel = |title: String, x: Axis, series| Panel {
        title,
        drawing: Drawing::Bars(Bars {
            x,
            groups: (0..visits.paths.len())
                .map(|path| visits.name(path))
                .collect(),
            series,
            band: None,
        }),
    };
    let mut panels = vec![
        panel(
            "Answers, as fast as they come".into(),
            Axis::linear("answers/s"),
            vec![bars("", Load::Most, RATE)],
        ),
        panel(
            "CPU time a query, as fast as answers come".into(),
            Axis::linear("µs a query"),
            vec![
                bars("worker", Load::Most, CPU),
                bars("load", Load::Most, GENERATOR),
            ],
        ),
    ];
    for load in Load::SHARES {
        let series = [("p50", P50), ("p99", P99), ("p99.9", P999)];
        panels.push(panel(
            format!("Latency at {} of each one's own rate", load.name()),
            Axis::logarithmic("µs"),
            series
                .map(|(name, measure): (_, Measure)| bars(name, load, measure))
                .into(),
        ));
    }
    Figure { panels }
}

pub(super) fn finding(visits: &Visits) -> Finding {
    let note = |what: &str, load, measure| {
        let rounds = visits.rounds(load, measure)?;
        let told = rounds.told(RoundOrder::Lowest, |index| visits.name(index), " µs");
        Some(format!("{what}: {told}."))
    };
    Finding::new(most(visits))
        .note_where(note(
            "Least CPU time of the worker a query",
            Load::Most,
            CPU,
        ))
        .note_where(note("Lowest p99 at half of its own rate", Load::Half, P99))
        .note_where(reservation(visits))
}

/// Which way answers most.
fn most(visits: &Visits) -> String {
    let Some(rounds) = visits.rounds(Load::Most, RATE) else {
        return "Nothing was answered.".into();
    };
    let lead = rounds.lead(RoundOrder::Highest);
    if lead.is_shared_by_all() {
        let range = rounds.range("/s");
        return match lead.verdict {
            Some(Verdict::Nothing) => {
                format!("One round does not tell which path answers most: {range}.")
            }
            Some(Verdict::WithinNoise) => {
                format!("One worker answers alike over all paths, within noise: {range}.")
            }
            _ => format!("It is too noisy to tell over which path a worker answers most: {range}."),
        };
    }
    let middle = |index: usize| rounds.sample(index).middle();
    let (ahead, name) = (lead.ahead(), |index: usize| visits.name(index));
    let names = listed(&ahead.iter().map(|&index| name(index)).collect::<Vec<_>>());
    let told = if ahead.len() > 1 {
        ", not told apart"
    } else {
        ""
    };
    let against = match ahead.contains(&0) {
        true => String::new(),
        false => format!(
            ", {} times {}",
            number(middle(lead.first) / middle(0)),
            name(0)
        ),
    };
    format!(
        "One worker answers most over {names}: {}/s{told}{against}.",
        number(middle(lead.first))
    )
}

/// What is missing, and what the load hides, in one sentence.
fn reservation(visits: &Visits) -> Option<String> {
    let names = visits.left_out.iter().map(|left_out| left_out.path.name());
    let names: Vec<&str> = names.collect();
    let waited = visits.waited();
    if names.is_empty() {
        // More names would be no sentence; the table has them.
        let which = match waited.len() {
            0 => return None,
            1 | 2 => listed(&waited),
            many => format!("{many} paths"),
        };
        return Some(format!(
            "The load was the limit, the worker idle at times, for {which}."
        ));
    }
    let limit = match waited.len() {
        0 => String::new(),
        some => format!("; the load was the limit for {}", counted(some, "path")),
    };
    let names = listed(&names);
    Some(format!("Left out, as the table explains: {names}{limit}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::experiments::paths::{LeftOut, Visit};
    use crate::lab::load::Latency;

    /// Two rounds of each path, whose rates are these, with the worker idle so much.
    fn visits(rates: &[[f64; 2]], idle: f64) -> Visits {
        let latency = Latency {
            latency_us_p50: 10.0,
            latency_us_p90: 20.0,
            latency_us_p99: 30.0,
            latency_us_p999: 40.0,
            latency_us_deviation: 5.0,
        };
        let visit = |path: Path, load, round, rate| Visit {
            way: path,
            path: path.name(),
            network: "veth",
            load,
            round,
            offered_per_s: None,
            sent: 10,
            answered: 9,
            lost: 1,
            wrong: 0,
            past_sockets: 0,
            answers_per_s: rate,
            cpu_us_per_query: Some(1e6 / rate),
            generator_us_per_query: Some(1.0),
            server_busy: Some(1.0 - idle),
            generator_busy: Some(1.0),
            server_idle: Some(idle),
            latency,
        };
        let mut all = Vec::new();
        for (path, rates) in Path::ALL.into_iter().zip(rates) {
            for load in [Load::Most, Load::Low, Load::Half, Load::High] {
                let rounds = rates.iter().enumerate();
                all.extend(rounds.map(|(round, rate)| visit(path, load, round, *rate)));
            }
        }
        let there = rates.len();
        Visits {
            all,
            paths: Path::ALL[..there].to_vec(),
            left_out: Path::ALL[there..]
                .iter()
                .map(|&path| LeftOut {
                    path,
                    reason: "for once".into(),
                })
                .collect(),
        }
    }

    const SLOW: [f64; 2] = [1000.0, 1001.0];
    const FAST: [f64; 2] = [3000.0, 3004.0];

    #[test]
    fn who_is_ahead_is_named_with_how_much() {
        let told = finding(&visits(&[SLOW, SLOW, SLOW, SLOW, FAST], 0.05));
        let sentence = "One worker answers most over AF_XDP native: 3,002/s, 3 times one a call.";
        assert_eq!(told.sentence, sentence);
        assert_eq!(told.notes.len(), 2, "{told}");
    }

    /// `Finding` itself looks that no sentence is too long.
    #[test]
    fn sentences_with_many_names_are_short() {
        let told = finding(&visits(&[SLOW, FAST, FAST, FAST, FAST], 0.2));
        assert!(told.sentence.contains("not told apart, 3 times"), "{told}");
        assert!(told.notes[2].ends_with("for 5 paths."), "{told}");
        let told = finding(&visits(&[FAST, FAST, SLOW, FAST, FAST], 0.2));
        assert!(!told.sentence.contains("times"), "{told}");
    }

    #[test]
    fn what_is_missing_is_told_with_the_reason() {
        let visits = visits(&[SLOW, FAST], 0.2);
        let note = "Left out, as the table explains: io_uring, AF_XDP generic and AF_XDP native; \
            the load was the limit for 2 paths.";
        assert_eq!(finding(&visits).notes[2], note);
        let title = &tables(&visits)[0].title;
        assert_eq!(
            title.matches("is left out (for once)").count(),
            3,
            "{title}"
        );
    }

    #[test]
    fn the_load_is_the_limit_where_the_worker_idles() {
        let mut visits = visits(&[SLOW, FAST], 0.05);
        visits.left_out.clear();
        assert!(reservation(&visits).is_none());
        for visit in visits
            .all
            .iter_mut()
            .filter(|visit| visit.way == Path::Batch)
        {
            visit.server_idle = Some(0.25);
        }
        let told = reservation(&visits).unwrap();
        assert!(told.ends_with("for recvmmsg (idle 25 %)."), "{told}");
    }
}
