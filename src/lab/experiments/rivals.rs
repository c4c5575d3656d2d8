//! `rivals`: the ways for workers to share a port, side by side.

use std::time::Duration;

use rand::seq::SliceRandom;
use serde::Serialize;

use crate::lab::figure::{Bars, Figure, Panel};
use crate::lab::load::{self, Demand, IMPATIENCE, Latency, PATIENCE};
use crate::lab::load_generator::{LoadRequest, Pace};
use crate::lab::result::{ExperimentResult, Table, rows};
use crate::lab::rival::{Model, Rival};
use crate::lab::rounds::{Order, Rounds};
use crate::lab::statistics::{Verdict, hottest, jain, median};
use crate::lab::{Experiment, Lab};
use crate::server::placement::usable_cpus;

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    name: "rivals",
    question: "Which way of sharing a port is best?",
    method: "Five rivals serve the same small zone with the same answering code, batch and number of workers: a SO_REUSEPORT socket for each worker; one socket that all read; one socket in one epoll instance that all wait in; one receiver that hands batches over crossbeam-channel to the workers, a thread more; and SO_REUSEPORT among processes of one worker each. All run throughout; one is asked at a time, in rounds of random order, over 64 flows from one thread of this process: first a little, then as fast as answers come (4 waiting on each flow), then at 50 % and 90 % of the rival's own median rate, where latency counts from when a request was due, and is that of the answers that came: rivals are compared at different rates there. The best is the one ahead by its geometric mean over the rounds; each other is compared with it round by round, with 95 % confidence for the four comparisons together. CPU time and context switches are those of the rival's threads. The load generator competes with them for the CPUs, and on loopback it pays for the delivery of requests and they for that of replies. Not covered: pinned workers, a network card's queues, TCP, more than 32 workers.",
    expectation: "Sockets of their own spare workers the lock of a common queue and useless wake-ups, and a hand-off costs a wake-up more for each batch; but a common queue serves whoever is free, so that with few flows or few CPUs it is more even and its slowest answers are faster. Threads and processes are the same to the kernel. What a common queue costs shows with many cores only.",
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
/// Queries a second that keep nobody busy.
const LOW_RATE: u64 = 2000;

/// How much a rival is asked.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
enum Load {
    #[serde(rename = "low")]
    Low,
    #[serde(rename = "most")]
    Most,
    #[serde(rename = "50 %")]
    Half,
    #[serde(rename = "90 %")]
    High,
}

impl Load {
    fn name(self) -> &'static str {
        match self {
            Load::Low => "low",
            Load::Most => "most",
            Load::Half => "50 %",
            Load::High => "90 %",
        }
    }

    fn patience(self) -> Duration {
        match self {
            Load::Low | Load::Most => PATIENCE,
            Load::Half | Load::High => IMPATIENCE,
        }
    }

    /// Where `most` is the rival's rate.
    fn pace(self, most: f64) -> Pace {
        let share = match self {
            Load::Low => return Pace::Open { rate: LOW_RATE },
            Load::Most => return Pace::Closed { window: WINDOW },
            Load::Half => 0.5,
            Load::High => 0.9,
        };
        let rate = (share * most) as u64;
        Pace::Open { rate: rate.max(1) }
    }
}

/// What one rival did in one round.
#[derive(Serialize)]
struct Visit {
    rival: &'static str,
    workers: usize,
    load: Load,
    round: usize,
    /// Requests a second; none in the closed loop.
    offered_per_s: Option<u64>,
    sent: u64,
    answered: u64,
    lost: u64,
    held_back: u64,
    answers_per_s: f64,
    cpu_us_per_query: Option<f64>,
    switches_per_query: Option<f64>,
    /// CPU time of the load generator, as a share of one CPU.
    generator_busy: Option<f64>,
    received_by_worker: Vec<u64>,
    jain: f64,
    hottest: f64,
    #[serde(flatten)]
    latency: Latency,
}

fn run(lab: &Lab) -> anyhow::Result<ExperimentResult> {
    let workers = lab.sockets(usable_cpus().max(2)).min(MOST_WORKERS);
    let (rounds, later_rounds) = (lab.choose(7, 2), lab.choose(5, 1));
    lab.plan(Model::ALL.len() * (2 + rounds + 2 * later_rounds));
    let zones = load::zones()?;
    let mut rivals = Vec::new();
    for model in Model::ALL {
        lab.step(format!("start {}", model.name()))?;
        rivals.push(Rival::start(model, workers, &zones)?);
    }
    let mut contest = Contest {
        lab,
        questions: load::questions()?,
        duration: Duration::from_millis(lab.choose(250, 30)),
        visits: Vec::new(),
    };
    let mut random = lab.random();
    for (load, rounds) in [
        (Load::Low, 1),
        (Load::Most, rounds),
        (Load::Half, later_rounds),
        (Load::High, later_rounds),
    ] {
        for round in 0..rounds {
            // Nobody always follows the same one, or is the first, whom the
            // pause before favours.
            rivals.shuffle(&mut random);
            for rival in &mut rivals {
                contest.visit(rival, load, round)?;
            }
        }
    }
    let visits = contest.visits;
    Ok(ExperimentResult {
        finding: finding(&visits, workers),
        tables: vec![rates(&visits, workers), latencies(&visits)],
        figure: figure(&visits),
        rows: rows(&visits),
    })
}

struct Contest<'l> {
    lab: &'l Lab,
    questions: Vec<LoadRequest>,
    duration: Duration,
    visits: Vec<Visit>,
}

impl Contest<'_> {
    fn visit(&mut self, rival: &mut Rival, load: Load, round: usize) -> anyhow::Result<()> {
        let name = rival.model.name();
        self.lab.step(format!("{name}, load: {}", load.name()))?;
        let pace = load.pace(middle(&self.visits, rival.model, Load::Most, RATE));
        let before = rival.received()?;
        let demand = Demand {
            flows: FLOWS,
            pace,
            duration: self.duration,
            patience: load.patience(),
        };
        let (peer, questions) = (rival.address, &self.questions);
        let measured = load::measure(self.lab, peer, &rival.tasks, questions, &demand)?;
        let after = rival.received()?;
        let by_worker: Vec<u64> = after.iter().zip(before).map(|(a, b)| a - b).collect();
        let tally = &measured.tally;
        self.visits.push(Visit {
            rival: name,
            workers: by_worker.len(),
            load,
            round,
            offered_per_s: demand.offered_per_s(),
            sent: tally.sent,
            answered: tally.answered,
            lost: tally.lost,
            held_back: tally.held_back,
            answers_per_s: tally.answers_per_s(),
            cpu_us_per_query: measured.cpu_us_per_query(),
            switches_per_query: measured.switches_per_query(),
            generator_busy: measured.generator_busy,
            jain: jain(&by_worker),
            hottest: hottest(&by_worker),
            received_by_worker: by_worker,
            latency: Latency::of(&tally.latency_ns),
        });
        Ok(())
    }
}

/// One figure of a visit, where it is to be had.
type Measure = fn(&Visit) -> Option<f64>;
const RATE: Measure = |visit| Some(visit.answers_per_s);
const CPU: Measure = |visit| visit.cpu_us_per_query;
const SWITCHES: Measure = |visit| visit.switches_per_query;
const BUSY: Measure = |visit| visit.generator_busy;
const P50: Measure = |visit| Some(visit.latency.latency_us_p50);
const P90: Measure = |visit| Some(visit.latency.latency_us_p90);
const P99: Measure = |visit| Some(visit.latency.latency_us_p99);
const P999: Measure = |visit| Some(visit.latency.latency_us_p999);

fn by_round(visits: &[Visit], model: Model, load: Load, measure: Measure) -> Vec<Option<f64>> {
    let own = visits
        .iter()
        .filter(|visit| visit.rival == model.name() && visit.load == load);
    own.map(measure).collect()
}

/// The rivals in the order of `Model::ALL`.
fn rounds(visits: &[Visit], load: Load, measure: Measure) -> Option<Rounds> {
    Rounds::new(
        Model::ALL
            .map(|model| by_round(visits, model, load, measure))
            .into_iter(),
    )
}

/// 0 where it is not known.
fn middle(visits: &[Visit], model: Model, load: Load, measure: Measure) -> f64 {
    let figures = by_round(visits, model, load, measure);
    median(&figures.into_iter().flatten().collect::<Vec<_>>())
}

fn rates(visits: &[Visit], workers: usize) -> Table {
    let title = format!(
        "As fast as answers come, {}: medians of the rounds, ratio to reuseport with 95 % confidence",
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
    let rate = rounds(visits, Load::Most, RATE);
    for (index, model) in Model::ALL.into_iter().enumerate() {
        let middle = |measure| middle(visits, model, Load::Most, measure);
        let ratio = rate.as_ref().and_then(|rate| rate.ratio(index, REUSEPORT));
        let ratio = ratio.filter(|_| index != REUSEPORT);
        table.row([
            model.name().into(),
            format!("{:.0}", middle(RATE)),
            ratio.map_or(String::new(), |ratio| ratio.to_string()),
            format!("{:.2}", middle(CPU)),
            format!("{:.3}", middle(SWITCHES)),
            format!("{:.2}", middle(|visit| Some(visit.hottest))),
            format!("{:.3}", middle(|visit| Some(visit.jain))),
            format!("{:.2}", middle(BUSY)),
        ]);
    }
    table
}

fn latencies(visits: &[Visit]) -> Table {
    let title = "Latency in µs at a share of the rival's own rate, and when nobody is busy: medians of the rounds";
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
    for model in Model::ALL {
        for load in [Load::Low, Load::Half, Load::High] {
            let middle = |measure| middle(visits, model, load, measure);
            let whole = |measure| format!("{:.0}", middle(measure));
            let [lost, sent] = lost_of_sent(visits, model, load);
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
                format!("{lost} of {sent}"),
            ]);
        }
    }
    table
}

fn lost_of_sent(visits: &[Visit], model: Model, load: Load) -> [u64; 2] {
    let own = visits
        .iter()
        .filter(|visit| visit.rival == model.name() && visit.load == load);
    own.fold([0, 0], |[lost, sent], visit| {
        [lost + visit.lost, sent + visit.sent]
    })
}

fn figure(visits: &[Visit]) -> Figure {
    let names = || Model::ALL.map(|model| model.name().to_owned()).to_vec();
    let bars = |load, measure| {
        Model::ALL
            .map(|model| middle(visits, model, load, measure))
            .to_vec()
    };
    let panel = |title: &str, y: &str, series: &[(&str, Load, Measure)]| {
        Panel::Bars(Bars {
            title: title.into(),
            y: y.into(),
            groups: names(),
            series: series
                .iter()
                .map(|&(name, load, measure)| (name.to_owned(), bars(load, measure)))
                .collect(),
        })
    };
    let latencies = |title: &str, load| {
        let series = [("p50", load, P50), ("p90", load, P90), ("p99", load, P99)];
        panel(title, "µs", &series)
    };
    Figure {
        panels: vec![
            panel(
                "Answers, as fast as they come",
                "per second",
                &[("answers", Load::Most, RATE)],
            ),
            panel(
                "CPU time of the server",
                "µs a query",
                &[("CPU time", Load::Most, CPU)],
            ),
            latencies("Latency at 50 % of the rival's rate", Load::Half),
            latencies("Latency at 90 % of the rival's rate", Load::High),
        ],
    }
}

fn finding(visits: &[Visit], workers: usize) -> String {
    let leader = |load, measure, order, unit| match rounds(visits, load, measure) {
        Some(rounds) => leader(&rounds, order, unit),
        None => "nobody, for this kernel does not tell".into(),
    };
    let most = leader(Load::Most, RATE, Order::Highest, "/s");
    let cheapest = leader(Load::Most, CPU, Order::Lowest, " µs a query");
    let fastest = leader(Load::Half, P99, Order::Lowest, " µs");
    let most_visits = visits.iter().filter(|visit| visit.load == Load::Most);
    let busy = median(&most_visits.filter_map(BUSY).collect::<Vec<_>>());
    let cpus = usable_cpus();
    let hidden = if cpus <= FEW_CPUS {
        format!(
            ", and {} for all this hides what many workers at once cost each other",
            counted(cpus, "CPU")
        )
    } else {
        String::new()
    };
    format!(
        "With {}, most answers come from {most}, the least CPU time is that of {cheapest}, and the lowest p99, each at half its own rate, that of {fastest}{}; the load generator alone kept {busy:.2} of a CPU busy{hidden}.",
        counted(workers, "worker"),
        losses(visits),
    )
}

/// Who has lost so much at half its rate that its latency, which is that of the
/// answers that came, looks better than it was.
fn losses(visits: &[Visit]) -> String {
    let shares = Model::ALL.into_iter().filter_map(|model| {
        let [lost, sent] = lost_of_sent(visits, model, Load::Half);
        let share = lost as f64 / sent.max(1) as f64;
        (share > TOLD_LOSS).then(|| format!("{:.1} % ({})", share * 100.0, model.name()))
    });
    let shares: Vec<String> = shares.collect();
    match shares.as_slice() {
        [] => String::new(),
        shares => format!(
            ", of the answers that came; not answered: {}",
            shares.join(", ")
        ),
    }
}

fn counted(count: usize, word: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {word}{plural}")
}

/// Who is ahead, with which figure, and of whom that is not sure.
fn leader(rounds: &Rounds, order: Order, unit: &str) -> String {
    let best = rounds.best(order);
    let figure = rounds.median(best);
    let digits = usize::from(figure < 100.0);
    let mut text = format!("{} ({figure:.digits$}{unit}", Model::ALL[best].name());
    if let Some(ratio) = rounds.ratio_of_best(best, REUSEPORT)
        && Verdict::of(Some(ratio)) == Verdict::Different
    {
        text += &format!(", {:.2} times reuseport's", ratio.mean);
    }
    for verdict in [Verdict::WithinNoise, Verdict::TooNoisy, Verdict::Nothing] {
        let so = (0..Model::ALL.len())
            .filter(|&other| other != best && rounds.verdict(best, other) == verdict);
        let so: Vec<&str> = so.map(|other| Model::ALL[other].name()).collect();
        if !so.is_empty() {
            text += &format!("; {}: {}", verdict.words(), so.join(", "));
        }
    }
    text + ")"
}
