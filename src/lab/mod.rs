//! The laboratory: what is told about `SO_REUSEPORT`, as experiments that run
//! on the reader's own kernel in seconds. It may use everything else in the
//! crate; nothing but the command line uses it.
//!
//! An experiment is one file in `experiments`: its question, method and
//! expectation, what follows in practice, and a function that measures. What it
//! measured becomes rows (for programs), tables and a finding (for people) and a
//! figure, all in `result` and `figure`; `record` is how that is written down
//! and read again, `report` the page of all, `compare` two of them side by side.

pub mod card;
pub mod compare;
pub mod consistent_hash;
pub mod contender;
pub mod contest;
pub mod cpu_probe;
pub mod experiments;
pub mod explain;
pub mod figure;
pub mod group;
pub mod listeners;
pub mod load;
pub mod load_generator;
pub mod path;
pub mod place;
pub mod play;
pub mod process;
pub mod question;
pub mod record;
pub mod remote;
pub mod report;
pub mod result;
pub mod rival;
pub mod rounds;
pub mod site;
pub mod statistics;
pub mod stub;
pub mod tasks;
pub mod veth;
pub mod wakeup_probe;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::server::placement::{allowed_cpus, usable_cpus};
use remote::Far;
use result::ExperimentResult;

pub use experiments::EXPERIMENTS;

/// One claim, made measurable.
pub struct Experiment {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it asks, in one line.
    pub question: &'static str,
    /// What it does.
    pub method: &'static str,
    /// What should come out, and why.
    pub expectation: &'static str,
    /// What follows for whoever runs servers.
    pub practice: &'static [Practice],
    /// Does it.
    pub run: fn(&Lab) -> anyhow::Result<ExperimentResult>,
}

/// An option of this server or of another program, a setting of the kernel or of
/// a network card, that an experiment says something of.
pub struct Practice {
    /// What to do, in one or two sentences.
    pub advice: &'static str,
    /// Where it is documented.
    pub source: &'static str,
}

/// What the person at the terminal chose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// Under 3 s, to see that it works, rather than under 30 s.
    pub quick: bool,
    /// Sockets of a group, where the experiment leaves the choice.
    pub sockets: Option<usize>,
    /// TCP connections over listeners rather than datagrams over sockets.
    pub tcp: bool,
    /// What chance begins with: the same seed, the same chances.
    pub seed: u64,
}

/// The person at the terminal has had enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted; nothing is left behind")]
pub struct Interrupted;

/// What an experiment works with.
pub struct Lab {
    conditions: Conditions,
    progress: ProgressBar,
    stop: Arc<AtomicBool>,
    /// Where the sockets are, if not here.
    far: Option<Rc<Far>>,
    /// Random streams given out so far.
    streams: Cell<u64>,
}

impl Lab {
    /// A laboratory that shows how far it is on stderr, where that is a
    /// terminal, and ends early when `stop` is set.
    pub fn new(conditions: Conditions, stop: Arc<AtomicBool>) -> Lab {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}");
        Lab {
            conditions,
            progress: ProgressBar::new(0).with_style(style.expect("the template is good")),
            stop,
            far: None,
            streams: Cell::new(0),
        }
    }

    /// The same with its sockets on another host.
    pub fn with_far(self, far: Far) -> Lab {
        Lab {
            far: Some(Rc::new(far)),
            ..self
        }
    }

    /// The other host, where the sockets are on one.
    pub fn far(&self) -> Option<&Rc<Far>> {
        self.far.as_ref()
    }

    /// The CPUs that whoever has the sockets may use.
    pub fn cpus_there(&self) -> Vec<usize> {
        self.far
            .as_ref()
            .map_or_else(allowed_cpus, |far| far.cpus().to_vec())
    }

    /// How much of them a control group leaves.
    pub fn usable_cpus_there(&self) -> usize {
        self.far
            .as_ref()
            .map_or_else(usable_cpus, |far| far.usable_cpus())
    }

    /// Sockets of a group; `usual` where the person left it to us.
    pub fn sockets(&self, usual: usize) -> usize {
        self.conditions.sockets.unwrap_or(usual)
    }

    /// True where connections are wanted rather than datagrams.
    pub fn wants_tcp(&self) -> bool {
        self.conditions.tcp
    }

    /// `full` of what a run of some seconds does, `quick` where it shall be
    /// over at once.
    pub fn choose<T>(&self, full: T, quick: T) -> T {
        if self.conditions.quick { quick } else { full }
    }

    /// Says how many steps are to come.
    pub fn plan(&self, steps: usize) {
        self.progress.set_length(steps as u64);
    }

    /// Begins a step. Steps are short: this is also where the experiment ends
    /// when it is interrupted.
    ///
    /// # Errors
    ///
    /// `Interrupted`.
    pub fn step(&self, what: impl Into<String>) -> Result<(), Interrupted> {
        self.progress.set_message(what.into());
        self.progress.inc(1);
        self.check()
    }

    /// Looks whether to go on, within long steps.
    ///
    /// # Errors
    ///
    /// `Interrupted`.
    pub fn check(&self) -> Result<(), Interrupted> {
        // Relaxed: nothing is read on the strength of it.
        match self.stop.load(Ordering::Relaxed) {
            true => Err(Interrupted),
            false => Ok(()),
        }
    }

    /// Set when the experiment is to end early.
    pub fn stop(&self) -> &AtomicBool {
        &self.stop
    }

    /// A source of chance of its own for each caller, the same from run to run
    /// with the same seed.
    pub fn random(&self) -> ChaCha8Rng {
        let mut random = ChaCha8Rng::seed_from_u64(self.conditions.seed);
        random.set_stream(self.streams.get());
        self.streams.set(self.streams.get() + 1);
        random
    }

    /// Runs an experiment.
    ///
    /// # Errors
    ///
    /// `Interrupted`, or what the kernel would not give.
    pub fn run(&self, experiment: &Experiment) -> anyhow::Result<ExperimentResult> {
        self.progress.reset();
        self.streams.set(0);
        let outcome = (experiment.run)(self);
        self.progress.finish_and_clear();
        // What was cut short means nothing.
        self.check()?;
        outcome
    }
}
