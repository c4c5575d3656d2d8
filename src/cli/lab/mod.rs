//! `shardns lab`: runs experiments and writes down what they found. Its tools,
//! which are no experiments, have files of their own.

mod answer;
mod explain;
mod far;
mod files;
mod play;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag;

use files::{ReportFiles, check_folder, check_record, check_report, write};

use crate::lab::compare::Comparison;
use crate::lab::place::{Machine, Surroundings};
use crate::lab::record::Record;
use crate::lab::report::{Part, Report};
use crate::lab::result::ExperimentResult;
use crate::lab::{Conditions, EXPERIMENTS, Experiment, Interrupted, Lab, experiments};
use crate::sys::limits::raise_open_files;

/// The name that stands for all experiments.
const ALL: &str = "all";
/// Longer lines are hard to read.
const MAX_WIDTH: usize = 100;
/// What the shell reports of a process that a signal ended.
const INTERRUPTED: i32 = 130;

/// The arguments of `shardns lab`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    tool: Option<Tool>,
    /// The experiment, or `all`; without one, lists them
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// A folder for the report and the raw rows of all experiments
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Another report's folder: says what differs from it beyond noise
    #[arg(long, value_name = "DIR")]
    compare: Option<PathBuf>,
    /// Write the result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the raw rows as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Draw the figure as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Under 3 s, to see that it works; the figures say little then
    #[arg(long)]
    quick: bool,
    /// Sockets of a group, where the experiment leaves the choice
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    sockets: Option<u16>,
    /// `spread` with TCP connections over listeners
    #[arg(long)]
    tcp: bool,
    /// The same seed gives the same chances
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    far: far::FarArguments,
}

/// What there is beside experiments.
#[derive(Debug, clap::Subcommand)]
enum Tool {
    /// Have the sockets here, for experiments that send from another host
    ///
    /// For a network whose hosts are trusted, and for no longer than the experiments
    /// take: whoever knows the token may open sockets and start servers here. They take
    /// datagrams of the host that the token came from, and answer no other.
    Answer(answer::Answer),
    /// Say what loads the sockets of a running group, anybody's
    Explain(explain::Explain),
    /// Serve a page on loopback to play with sockets of a group at
    Play(play::Play),
}

impl Tool {
    fn run(self) -> anyhow::Result<()> {
        match self {
            Tool::Answer(answer) => answer.run(),
            Tool::Explain(explain) => explain.run(),
            Tool::Play(play) => play.run(),
        }
    }
}

impl Arguments {
    /// Lists, runs one, or runs all.
    ///
    /// # Errors
    ///
    /// An unknown name, what the kernel would not give, a file that cannot be
    /// written.
    pub fn run(mut self) -> anyhow::Result<()> {
        if let Some(tool) = self.tool.take() {
            return tool.run();
        }
        match self.name.as_deref() {
            None => list(),
            Some(ALL) => self.run_all(),
            Some(name) => self.run_one(find(name)?),
        }
    }

    fn lab(&self) -> anyhow::Result<Lab> {
        raise_open_files();
        Ok(Lab::new(self.conditions(), stop_on_signals()?))
    }

    fn conditions(&self) -> Conditions {
        Conditions {
            quick: self.quick,
            sockets: self.sockets.map(usize::from),
            tcp: self.tcp,
            seed: self.seed,
        }
    }

    fn run_one(&self, experiment: &Experiment) -> anyhow::Result<()> {
        if self.out.is_some() {
            bail!(
                "--out is for `shardns lab all`; {} takes --json, --csv and --svg",
                experiment.name
            );
        }
        if self.tcp && experiment.name != "spread" {
            bail!("--tcp is for `shardns lab spread`");
        }
        // Better now than after the measurement.
        for path in [&self.json, &self.csv, &self.svg].into_iter().flatten() {
            check_folder(path)?;
        }
        if let Some(path) = self.json.as_ref().filter(|_| self.quick) {
            check_record(path)?;
        }
        self.far.check(experiment)?;
        let there = self.other_record(experiment)?;
        let (lab, here) = (self.far.reach(self.lab()?)?, Here::look());
        introduce(experiment)?;
        far::introduce(&lab)?;
        let mut outcome = lab.run(experiment)?;
        let mut record = here.record(experiment, &outcome, &self.conditions());
        far::add_to_record(&lab, &mut record);
        if let Some(path) = &self.json {
            write(path, &|out| write_json(&record, out))?;
        }
        if let Some(path) = &self.csv {
            far::add_to_rows(&lab, &mut outcome.rows);
            write(path, &|out| outcome.csv(&here.place, out))?;
        }
        if let Some(path) = &self.svg {
            let svg = outcome.figure.svg()?;
            write(path, &|out| Ok(out.write_all(svg.as_bytes())?))?;
        }
        let comparison = there.map(|there| Comparison::new(&record, there));
        tell(&outcome, comparison.as_ref())
    }

    /// What the other report has of an experiment.
    fn other_record(&self, experiment: &Experiment) -> anyhow::Result<Option<Record>> {
        let Some(folder) = &self.compare else {
            return Ok(None);
        };
        let record = Record::find(folder, experiment)?;
        if record.is_none() && self.name.as_deref() != Some(ALL) {
            bail!(
                "{} has no {}.json, which `shardns lab all --out` writes",
                folder.display(),
                experiment.name
            );
        }
        Ok(record)
    }

    fn run_all(&self) -> anyhow::Result<()> {
        let Some(folder) = &self.out else {
            bail!("`shardns lab all` needs --out DIR, a folder for its report");
        };
        if self.json.is_some() || self.csv.is_some() || self.svg.is_some() || self.tcp {
            bail!(
                "`shardns lab all` writes everything to --out; --json, --csv, --svg and --tcp \
                    are for one experiment"
            );
        }
        self.far.refuse_for_all()?;
        if self.quick {
            check_report(folder)?;
        }
        // Read first: the other report may be the one that is written over.
        let there = EXPERIMENTS
            .iter()
            .map(|experiment| self.other_record(experiment));
        let mut there = there.collect::<anyhow::Result<Vec<_>>>()?;
        if self.compare.is_some() && there.iter().all(Option::is_none) {
            bail!("--compare: there is no report of `shardns lab all --out` in that folder");
        }
        let mut files = ReportFiles::new(folder)?;
        let (lab, here) = (self.lab()?, Here::look());
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for (experiment, there) in EXPERIMENTS.iter().zip(&mut there) {
            introduce(experiment)?;
            let outcome = match lab.run(experiment) {
                Ok(outcome) => outcome,
                Err(error) if error.is::<Interrupted>() => return Err(error),
                // The others still have something to say.
                Err(error) => {
                    say(&format!("{}: {error:#}\n", experiment.name))?;
                    failed.push((experiment, format!("{error:#}")));
                    continue;
                }
            };
            let record = here.record(experiment, &outcome, &self.conditions());
            let comparison = there.take().map(|there| Comparison::new(&record, there));
            write_parts(&mut files, &record, &outcome)?;
            tell(&outcome, comparison.as_ref())?;
            done.push((experiment, outcome, comparison));
        }
        let parts = done.iter().map(|(experiment, outcome, comparison)| Part {
            experiment,
            outcome,
            comparison: comparison.as_ref(),
        });
        let page = Report {
            place: &here.place,
            surroundings: &here.surroundings,
            conditions: &self.conditions(),
            parts: &parts.collect::<Vec<Part<'_>>>(),
            failed: &failed,
        }
        .page()?;
        say(&files.finish(&page)?.display().to_string())?;
        if !failed.is_empty() {
            let names: Vec<&str> = failed
                .iter()
                .map(|(experiment, _)| experiment.name)
                .collect();
            bail!(
                "could not measure {}; the report says why",
                names.join(", ")
            );
        }
        Ok(())
    }
}

/// Where all is measured that one command measures.
struct Here {
    place: Machine,
    surroundings: Surroundings,
}

impl Here {
    fn look() -> Here {
        Here {
            place: Machine::here(),
            surroundings: Surroundings::here(),
        }
    }

    fn record(
        &self,
        experiment: &Experiment,
        outcome: &ExperimentResult,
        conditions: &Conditions,
    ) -> Record {
        Record::new(
            experiment,
            outcome,
            conditions,
            (&self.place, &self.surroundings),
        )
    }
}

fn write_json(record: &Record, out: &mut dyn Write) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(&mut *out, record)?;
    Ok(writeln!(out)?)
}

/// What is kept of an experiment beside the page.
fn write_parts(
    files: &mut ReportFiles,
    record: &Record,
    outcome: &ExperimentResult,
) -> anyhow::Result<()> {
    let name = |ending: &str| format!("{}.{ending}", record.experiment);
    let svg = outcome.figure.svg()?;
    files.write(name("json"), &|out| write_json(record, out))?;
    files.write(name("csv"), &|out| outcome.csv(&record.place, out))?;
    files.write(name("svg"), &|out| Ok(out.write_all(svg.as_bytes())?))
}

/// Set by the first signal that is to end the program.
fn stop_on_signals() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
        // The second one does not wait for anything to tidy up.
        flag::register_conditional_shutdown(signal, INTERRUPTED, stop.clone())?;
        flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}

fn find(name: &str) -> anyhow::Result<&'static Experiment> {
    experiments::find(name).with_context(|| {
        let names: Vec<&str> = EXPERIMENTS
            .iter()
            .map(|experiment| experiment.name)
            .collect();
        format!(
            "there is no experiment {name}; there are {} and {ALL}",
            names.join(", ")
        )
    })
}

fn list() -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for experiment in EXPERIMENTS {
        writeln!(out, "{:<12} {}", experiment.name, experiment.question)?;
    }
    writeln!(out, "{ALL:<12} all of these, and a report")?;
    Ok(())
}

fn introduce(experiment: &Experiment) -> anyhow::Result<()> {
    let Experiment {
        name,
        question,
        method,
        expectation,
        ..
    } = experiment;
    say(&for_people(&format!(
        "{name}: {question}\n\nMethod: {method}\n\nExpectation: {expectation}\n"
    )))
}

/// Writes a line to stdout. Where nobody reads any more, the words are lost and
/// the experiment goes on: its files are still wanted.
fn say(words: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{words}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        said => Ok(said?),
    }
}

/// Breaks lines where a person reads them; programs get them whole.
fn for_people(text: &str) -> String {
    if !io::stdout().is_terminal() {
        return text.into();
    }
    textwrap::fill(text, textwrap::termwidth().min(MAX_WIDTH))
}

fn tell(outcome: &ExperimentResult, comparison: Option<&Comparison>) -> anyhow::Result<()> {
    for table in &outcome.tables {
        say(&format!("{table}\n"))?;
    }
    if let Some(comparison) = comparison {
        say(&format!("{}\n", comparison.table()))?;
        let beside = format!("Beside {}: {}\n", comparison.place(), comparison.sentence());
        say(&for_people(&beside))?;
    }
    say(&for_people(&format!("Finding: {}\n", outcome.finding)))
}
