//! `rivals`: the ways for workers to share a port, side by side.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::lab::contender::Contender;
use crate::lab::contest::{self, Contest, Contestant, Load};
use crate::lab::figure::{Axis, BarSeries, Bars, Drawing, Figure, Panel, number};
use crate::lab::load::Measured;
use crate::lab::remote::ContenderKind;
use crate::lab::result::{ExperimentResult, Finding, Table, counted, listed, rows};
use crate::lab::rival::Model;
use crate::lab::rounds::RoundOrder;
use crate::lab::statistics::{Sample, Verdict, hottest, jain};
use crate::lab::tasks::Cost;
use crate::lab::{Experiment, Lab, Practice};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    name: "rivals",
    question: "Which way of sharing a port answers most?",
    method: "Five rivals serve the same small zone with the same answering code, batch and \
        number of workers: a SO_REUSEPORT socket for each worker; one socket that all read; one \
        socket in one epoll instance that all wait in; one receiver that hands batches over \
        crossbeam-channel to the workers, a thread more; and SO_REUSEPORT among processes of \
        one worker each. All run throughout; one is asked at a time, in rounds of random order, \
        over 64 flows from one thread of this process: first a little, then as fast as answers \
        come (4 waiting on each flow), then at 50 % and 90 % of the rival's own median rate, \
        where latency counts from when a request was due, and is that of the answers that came: \
        rivals are compared at different rates there. Who has the best median \
        is named if each other is behind it round by round, with 95 % confidence for the four \
        comparisons together; else those that are not told apart are named together. CPU time and context switches are those \
        of the rival's threads. The load generator competes with them for the CPUs, and on \
        loopback it pays for the delivery of requests and they for that of replies. Not \
        covered: pinned workers, a network card's queues, TCP, more than 32 workers.",
    expectation: "Sockets of their own spare workers the lock of a common queue and useless \
        wake-ups, and a hand-off costs a wake-up more for each batch; but a common queue serves \
        whoever is free, so that with few flows or few CPUs it is more even and its slowest \
        answers are faster. Threads and processes are the same to the kernel. What a common \
        queue costs shows with many cores only.",
    practice: &[
        Practice {
            advice: "This server gives each worker a socket (`--sockets reuseport`); `--sockets \
                shared` lets all read one.",
            source: "README, `shardns serve`",
        },
        Practice {
            advice: "NSD and BIND share a port this way with `reuseport: yes` and `reuseport yes;`, \
                Knot always does where the kernel has it.",
            source: "nsd.conf(5); BIND 9 Administrator Reference Manual, options; Knot DNS, Configuration reference",
        },
        Practice {
            advice: "nginx opens a listening socket for each worker process with `listen … \
                reuseport`.",
            source: "nginx, ngx_http_core_module, listen",
        },
    ],
    run,
};

/// What the others are compared with, in `Model::ALL`.
const REUSEPORT: usize = 0;
/// More workers, as processes above all, take longer to start than to measure.
const MOST_WORKERS: usize = 32;
/// Flows, enough for the hash to spread.
const FLOWS: usize = 64;
/// Requests of a flow that wait in the closed loop: 256 in all, which fit into
/// one socket's buffer even where an unprivileged user gets the usual 208 KiB.
const WINDOW: usize = 4;
/// So many CPUs or fewer show little of what workers cost each other.
const FEW_CPUS: usize = 8;
/// The share lost above which the finding tells of it.
const TOLD_LOSS: f64 = 0.001;
/// What a visit measured of a rival beside its answers.
#[derive(Serialize)]
pub struct Shares {
    rival: &'static str,
    workers: usize,
    held_back: u64,
    switches_per_query: Option<f64>,
    received_by_worker: Vec<u64>,
    jain: f64,
    hottest: f64,
}

fn run(lab: &Lab) -> anyhow::Result<ExperimentResult> {
    let workers = lab
        .sockets(lab.usable_cpus_there().max(2))
        .min(MOST_WORKERS);
    let later_rounds = lab.choose(5, 1);
    let contest = Contest {
        lab,
        flows: FLOWS,
        window: WINDOW,
        duration: Duration::from_millis(lab.choose(250, 30)),
        rate_of: |rival| rival,
        loads: vec![
            (Load::Low, 1),
            (Load::Most, lab.choose(7, 2)),
            (Load::Half, later_rounds),
            (Load::High, later_rounds),
        ],
    };
    lab.plan(Model::ALL.len() + contest.visits(Model::ALL.len()));
    let mut rivals = Vec::new();
    for model in Model::ALL {
        lab.step(format!("start {}", model.name()))?;
        rivals.push(RivalServer {
            model,
            server: Contender::start(lab, ContenderKind::Rival { model, workers })?,
        });
    }
    let visits = contest.run(rivals)?;
    Ok(ExperimentResult {
        finding: finding(&visits, workers, lab.usable_cpus_there()),
        tables: vec![rates(&visits, workers), latencies(&visits)],
        figure: figure(&visits),
        rows: rows(visits.all()),
    })
}

/// A rival that is visited.
struct RivalServer {
    model: Model,
    server: Contender,
}

impl Contestant for RivalServer {
    type Details = Shares;
    /// Requests that each worker has received.
    type Counted = Vec<u64>;

    fn index(&self) -> usize {
        let place = Model::ALL.iter().position(|model| *model == self.model);
        place.expect("all models are there")
    }

    fn name(&self) -> String {
        self.model.name().into()
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn cost(&mut self) -> anyhow::Result<Option<Cost>> {
        self.server.cost()
    }

    fn counted(&mut self) -> anyhow::Result<Vec<u64>> {
        Ok(self.server.counted()?.received)
    }

    fn details(&self, before: Vec<u64>, after: Vec<u64>, measured: &Measured) -> Shares {
        let by_worker: Vec<u64> = after.iter().zip(before).map(|(a, b)| a - b).collect();
        Shares {
            rival: self.model.name(),
            workers: by_worker.len(),
            held_back: measured.tally.held_back,
            switches_per_query: measured.switches_per_query(),
            jain: jain(&by_worker),
            hottest: hottest(&by_worker),
            received_by_worker: by_worker,
        }
    }
}

type Visits = contest::Visits<Shares>;
type Measure = contest::Measure<Shares>;
const RATE: Measure = |visit| Some(visit.answers_per_s);
const CPU: Measure = |visit| visit.cpu_us_per_query;
const SWITCHES: Measure = |visit| visit.details.switches_per_query;
const BUSY: Measure = |visit| visit.generator_busy;
const P50: Measure = |visit| Some(visit.latency.latency_us_p50);
const P90: Measure = |visit| Some(visit.latency.latency_us_p90);
const P99: Measure = |visit| Some(visit.latency.latency_us_p99);
const P999: Measure = |visit| Some(visit.latency.latency_us_p999);

fn rates(visits: &Visits, workers: usize) -> Table {
    let title = format!(
        "As fast as answers come, {}: medians, and ratio to reuseport round by round (95 %)",
        counted(workers, "worker")
    );
    let mut table = Table::new(
        title,
        &[
            "rival",
            "answers/s",
            "times reuseport",
            "CPU µs a query",
            "switches a query",
            "hottest/mean",
            "Jain",
            "generator's CPU",
        ],
    );
    let rate = visits.rounds(Load::Most, RATE);
    for (index, model) in Model::ALL.into_iter().enumerate() {
        let middle = |measure| visits.middle(index, Load::Most, measure);
        let ratio = rate.as_ref().and_then(|rate| rate.ratio(index, REUSEPORT));
        let ratio = ratio.filter(|_| index != REUSEPORT);
        table.row([
            model.name().into(),
            number(middle(RATE)),
            ratio.map_or(String::new(), |ratio| ratio.to_string()),
            format!("{:.2}", middle(CPU)),
            format!("{:.3}", middle(SWITCHES)),
            format!("{:.2}", middle(|visit| Some(visit.details.hottest))),
            format!("{:.3}", middle(|visit| Some(visit.details.jain))),
            format!("{:.2}", middle(BUSY)),
        ]);
    }
    table
}

fn latencies(visits: &Visits) -> Table {
    let title = "Latency in µs at a share of the rival's own rate, and when nobody is busy: \
        medians of the rounds";
    let mut table = Table::new(
        title,
        &[
            "rival",
            "load",
            "offered/s",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "deviation",
            "CPU µs a query",
            "lost of sent",
        ],
    );
    for (index, model) in Model::ALL.into_iter().enumerate() {
        for load in [Load::Low, Load::Half, Load::High] {
            let middle = |measure| visits.middle(index, load, measure);
            let whole = |measure| number(middle(measure).round());
            let [lost, sent] = lost_of_sent(visits, index, load);
            table.row([
                model.name().into(),
                load.name().into(),
                whole(|visit| visit.offered_per_s.map(|rate| rate as f64)),
                whole(P50),
                whole(P90),
                whole(P99),
                whole(P999),
                whole(|visit| Some(visit.latency.latency_us_deviation)),
                format!("{:.2}", middle(CPU)),
                format!("{} of {}", number(lost as f64), number(sent as f64)),
            ]);
        }
    }
    table
}

fn lost_of_sent(visits: &Visits, rival: usize, load: Load) -> [u64; 2] {
    let own = visits.of(rival, load);
    own.fold([0, 0], |[lost, sent], visit| {
        [lost + visit.lost, sent + visit.sent]
    })
}

fn figure(visits: &Visits) -> Figure {
    let names = || Model::ALL.map(|model| model.name().to_owned()).to_vec();
    let bars = |name: &str, load, measure| BarSeries {
        name: name.into(),
        samples: (0..Model::ALL.len())
            .map(|rival| visits.sample(rival, load, measure))
            .collect(),
    };
    let panel = |title: &str, x: Axis, series| Panel {
        title: title.into(),
        drawing: Drawing::Bars(Bars {
            x,
            groups: names(),
            series,
            band: None,
        }),
    };
    let latencies = |title: &str, load| {
        let series = [("p50", P50), ("p90", P90), ("p99", P99)];
        let series = series.map(|(name, measure): (_, Measure)| bars(name, load, measure));
        panel(title, Axis::logarithmic("µs"), series.into())
    };
    let most = |measure| vec![bars("", Load::Most, measure)];
    Figure {
        panels: vec![
            panel(
                "Answers, as fast as they come",
                Axis::linear("answers/s"),
                most(RATE),
            ),
            panel(
                "CPU time of the server",
                Axis::linear("µs a query"),
                most(CPU),
            ),
            latencies("Latency at half of each one's own rate", Load::Half),
            latencies("Latency at 90 % of each one's own rate", Load::High),
        ],
    }
}

/// Of so many workers on so many CPUs.
fn finding(visits: &Visits, workers: usize, cpus: usize) -> Finding {
    let note = |what: &str, load, measure, unit| {
        let rounds = visits.rounds(load, measure)?;
        Some(format!(
            "{what}: {}.",
            rounds.told(RoundOrder::Lowest, name, unit)
        ))
    };
    Finding::new(most(visits, workers, cpus))
        .note_where(note("Least CPU time a query", Load::Most, CPU, " µs"))
        .note_where(note(
            "Lowest p99 at half of its own rate",
            Load::Half,
            P99,
            " µs",
        ))
        .note_where(lost(visits).or_else(|| shared_cpus(visits, cpus)))
}

fn name(index: usize) -> String {
    Model::ALL[index].name().into()
}

/// Who answers most.
fn most(visits: &Visits, workers: usize, cpus: usize) -> String {
    let Some(rounds) = visits.rounds(Load::Most, RATE) else {
        return "Nothing was answered.".into();
    };
    let with = format!("With {}", counted(workers, "worker"));
    let lead = rounds.lead(RoundOrder::Highest);
    if lead.is_shared_by_all() {
        let cpus = counted(cpus, "CPU");
        let range = rounds.range("/s");
        return match lead.verdict {
            Some(Verdict::Nothing) => {
                format!("One round does not tell which way answers most: {range}.")
            }
            Some(Verdict::WithinNoise) => {
                format!("{with} on {cpus}, all ways answer alike within noise: {range}.")
            }
            _ => {
                format!("{with} on {cpus} it is too noisy to tell which way answers most: {range}.")
            }
        };
    }
    let all = || 0..Model::ALL.len();
    let ahead = lead.ahead();
    let names = |of: &[usize]| listed(&of.iter().map(|&index| name(index)).collect::<Vec<_>>());
    let behind: Vec<usize> = all().filter(|index| !ahead.contains(index)).collect();
    let medians = |of: &[usize]| -> Sample {
        of.iter()
            .map(|&index| rounds.sample(index).middle())
            .collect()
    };
    if ahead.len() > 1 {
        let rates = medians(&ahead);
        return format!(
            "{with}, {} answer most, not told apart: {} to {}/s; behind them: {}.",
            names(&ahead),
            number(rates.low()),
            number(rates.high()),
            names(&behind)
        );
    }
    let (rate, next) = (medians(&ahead).middle(), medians(&behind).high());
    let is_next = |index: &usize| rounds.sample(*index).middle() == next;
    let second: Vec<usize> = behind.into_iter().filter(is_next).take(1).collect();
    format!(
        "{with}, {} answers most, {}/s; {} comes next with {} times that.",
        names(&ahead),
        number(rate),
        names(&second),
        number(next / rate)
    )
}

/// Who has lost so much at half its rate that its latency, which is that of the
/// answers that came, looks better than it was.
fn lost(visits: &Visits) -> Option<String> {
    let rivals = Model::ALL.into_iter().enumerate();
    let shares = rivals.filter_map(|(index, model)| {
        let [lost, sent] = lost_of_sent(visits, index, Load::Half);
        let share = lost as f64 / sent.max(1) as f64;
        (share > TOLD_LOSS).then(|| format!("{} % ({})", number(share * 100.0), model.name()))
    });
    let shares: Vec<String> = shares.collect();
    (!shares.is_empty())
        .then(|| format!("That is of answers that came; lost: {}.", listed(&shares)))
}

/// What a small machine cannot show.
fn shared_cpus(visits: &Visits, cpus: usize) -> Option<String> {
    let most_visits = visits.all().iter().filter(|visit| visit.load == Load::Most);
    let busy: Sample = most_visits.filter_map(BUSY).collect();
    (cpus <= FEW_CPUS && !busy.is_empty()).then(|| {
        format!(
            "{} for all, of which the load generator takes {:.2}, hide what many workers cost \
                each other.",
            counted(cpus, "CPU"),
            busy.middle()
        )
    })
}
