//! Servers compared under load: all run throughout, one is asked at a time, in
//! rounds of random order, first as fast as answers come and then at shares of
//! the rate that this brought. What a visit measures beside the answers is the
//! experiment's own.

use std::net::SocketAddr;
use std::time::Duration;

use rand::seq::SliceRandom;
use serde::Serialize;

use super::Lab;
use super::load::{self, Demand, IMPATIENCE, Latency, PATIENCE};
use super::load_generator::{LoadRequest, Pace};
use super::rounds::Rounds;
use super::statistics::Sample;
use super::tasks::Cost;

/// Queries a second that keep nobody busy.
const LOW_RATE: u64 = 2000;

/// How much a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Load {
    /// Little.
    #[serde(rename = "low")]
    Low,
    /// As fast as answers come.
    #[serde(rename = "most")]
    Most,
    /// Half of the rate that this brought.
    #[serde(rename = "50 %")]
    Half,
    /// 90 % of it.
    #[serde(rename = "90 %")]
    High,
}

impl Load {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
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

    /// `most` is the rate of which shares are taken, `window` how many requests
    /// of a flow wait where it is not known yet.
    fn pace(self, most: f64, window: usize) -> Pace {
        let share = match self {
            Load::Low => return Pace::Open { rate: LOW_RATE },
            Load::Most => return Pace::Closed { window },
            Load::Half => 0.5,
            Load::High => 0.9,
        };
        let rate = (share * most) as u64;
        Pace::Open { rate: rate.max(1) }
    }
}

/// A server that is compared.
pub trait Contestant {
    /// What a visit measures of it beside the answers.
    type Details: Serialize;
    /// What it has counted so far.
    type Counted;

    /// Its place among all of them, which is that in tables.
    fn index(&self) -> usize;

    /// Its name.
    fn name(&self) -> String;

    /// Where it serves.
    fn address(&self) -> SocketAddr;

    /// What all its threads have cost so far; `None` where the kernel does not tell.
    ///
    /// # Errors
    ///
    /// One that is not reached any more.
    fn cost(&mut self) -> anyhow::Result<Option<Cost>>;

    /// What it has counted so far.
    ///
    /// # Errors
    ///
    /// One that has ended.
    fn counted(&mut self) -> anyhow::Result<Self::Counted>;

    /// What became of a visit between two looks at what it counted.
    fn details(
        &self,
        before: Self::Counted,
        after: Self::Counted,
        measured: &load::Measured,
    ) -> Self::Details;
}

/// What one server did in one round.
#[derive(Serialize)]
pub struct Visit<D> {
    #[serde(skip)]
    contestant: usize,
    /// How much it was asked.
    pub load: Load,
    /// In which round.
    pub round: usize,
    /// Requests a second; none in the closed loop.
    pub offered_per_s: Option<u64>,
    /// Requests sent.
    pub sent: u64,
    /// Those that were answered.
    pub answered: u64,
    /// Those that were not in time.
    pub lost: u64,
    /// Answers that came during the sending, for each second of it.
    pub answers_per_s: f64,
    /// CPU time of the server, in microseconds.
    pub cpu_us_per_query: Option<f64>,
    /// CPU time of the load generator, as a share of one CPU.
    pub generator_busy: Option<f64>,
    /// What the experiment measured besides.
    #[serde(flatten)]
    pub details: D,
    /// How long answers took.
    #[serde(flatten)]
    pub latency: Latency,
}

/// One figure of a visit, where it is to be had.
pub type Measure<D> = fn(&Visit<D>) -> Option<f64>;

/// All visits of a contest.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Visits<D> {
    all: Vec<Visit<D>>,
    #[serde(skip)]
    contestants: usize,
}

/// How a contest goes.
pub struct Contest<'l> {
    /// The laboratory.
    pub lab: &'l Lab,
    /// Sockets to ask from.
    pub flows: usize,
    /// Requests of a flow that wait while answers come as fast as they can.
    pub window: usize,
    /// How long a visit lasts.
    pub duration: Duration,
    /// Which contestant's rate a contestant's shares are taken of.
    pub rate_of: fn(usize) -> usize,
    /// How much is asked, in which order, and for how many rounds.
    pub loads: Vec<(Load, usize)>,
}

impl Contest<'_> {
    /// How many visits there will be.
    pub fn visits(&self, contestants: usize) -> usize {
        let rounds: usize = self.loads.iter().map(|(_, rounds)| rounds).sum();
        contestants * rounds
    }

    /// Visits all contestants in all rounds.
    ///
    /// # Errors
    ///
    /// As `load::measure`, or a contestant that has ended.
    pub fn run<C: Contestant>(&self, mut servers: Vec<C>) -> anyhow::Result<Visits<C::Details>> {
        let questions = load::questions()?;
        let mut visits = Visits {
            all: Vec::new(),
            contestants: servers.len(),
        };
        let mut random = self.lab.random();
        for &(load, rounds) in &self.loads {
            for round in 0..rounds {
                // Nobody always follows the same one, or is the first, whom the
                // pause before favours.
                servers.shuffle(&mut random);
                for server in &mut servers {
                    let most = visits.middle((self.rate_of)(server.index()), Load::Most, |visit| {
                        Some(visit.answers_per_s)
                    });
                    visits
                        .all
                        .push(self.visit(server, load, round, most, &questions)?);
                }
            }
        }
        Ok(visits)
    }

    fn visit<C: Contestant>(
        &self,
        server: &mut C,
        load: Load,
        round: usize,
        most: f64,
        questions: &[LoadRequest],
    ) -> anyhow::Result<Visit<C::Details>> {
        self.lab
            .step(format!("{}, load: {}", server.name(), load.name()))?;
        let demand = Demand {
            flows: self.flows,
            pace: load.pace(most, self.window),
            duration: self.duration,
            patience: load.patience(),
        };
        let before = server.counted()?;
        let (peer, cost) = (server.address(), || server.cost());
        let measured = load::measure(self.lab, peer, cost, questions, &demand)?;
        let after = server.counted()?;
        let tally = &measured.tally;
        Ok(Visit {
            contestant: server.index(),
            load,
            round,
            offered_per_s: demand.offered_per_s(),
            sent: tally.sent,
            answered: tally.answered,
            lost: tally.lost,
            answers_per_s: tally.answers_per_s(),
            cpu_us_per_query: measured.cpu_us_per_query(),
            generator_busy: measured.generator_busy,
            latency: Latency::of(&tally.latency_ns),
            details: server.details(before, after, &measured),
        })
    }
}

impl<D> Visits<D> {
    /// All of them.
    pub fn all(&self) -> &[Visit<D>] {
        &self.all
    }

    /// Those of one contestant under one load.
    pub fn of(&self, contestant: usize, load: Load) -> impl Iterator<Item = &Visit<D>> {
        let own = move |visit: &&Visit<D>| visit.contestant == contestant && visit.load == load;
        self.all.iter().filter(own)
    }

    /// A figure by contestant and round; `None` where one is missing.
    pub fn rounds(&self, load: Load, measure: Measure<D>) -> Option<Rounds> {
        let figures =
            (0..self.contestants).map(|index| self.of(index, load).map(measure).collect());
        Rounds::new(figures)
    }

    /// What the rounds gave of a contestant; empty where it is not known.
    pub fn sample(&self, contestant: usize, load: Load, measure: Measure<D>) -> Sample {
        self.of(contestant, load).filter_map(measure).collect()
    }

    /// A contestant's median; 0 where it is not known.
    pub fn middle(&self, contestant: usize, load: Load, measure: Measure<D>) -> f64 {
        self.sample(contestant, load, measure).middle()
    }
}
