//! `shardns lab`: runs experiments and writes down what they found.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag;

use crate::lab::page::{self, PagePart};
use crate::lab::result::{ExperimentResult, Machine};
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
pub struct Arguments {
    /// The experiment, or `all`; without one, lists them
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// A folder for the report and the raw rows of all experiments
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
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
}

impl Arguments {
    /// Lists, runs one, or runs all.
    ///
    /// # Errors
    ///
    /// An unknown name, what the kernel would not give, a file that cannot be
    /// written.
    pub fn run(self) -> anyhow::Result<()> {
        match self.name.as_deref() {
            None => list(),
            Some(ALL) => self.run_all(),
            Some(name) => self.run_one(find(name)?),
        }
    }

    fn lab(&self) -> anyhow::Result<Lab> {
        raise_open_files();
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
            // The second one does not wait for the experiment to tidy up.
            flag::register_conditional_shutdown(signal, INTERRUPTED, stop.clone())?;
            flag::register(signal, stop.clone())?;
        }
        Ok(Lab::new(self.conditions(), stop))
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
        let (lab, place) = (self.lab()?, Machine::here());
        introduce(experiment)?;
        let outcome = lab.run(experiment)?;
        if let Some(path) = &self.json {
            write(path, |out| {
                self.write_json(experiment, &outcome, &place, out)
            })?;
        }
        if let Some(path) = &self.csv {
            write(path, |out| outcome.csv(&place, out))?;
        }
        if let Some(path) = &self.svg {
            let svg = outcome.figure.svg()?;
            write(path, |out| Ok(out.write_all(svg.as_bytes())?))?;
        }
        tell(&outcome)
    }

    fn write_json(
        &self,
        experiment: &Experiment,
        outcome: &ExperimentResult,
        place: &Machine,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        serde_json::to_writer_pretty(
            &mut *out,
            &outcome.json(experiment, &self.conditions(), place),
        )?;
        Ok(writeln!(out)?)
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
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let (lab, place) = (self.lab()?, Machine::here());
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for experiment in EXPERIMENTS {
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
            let svg = outcome.figure.svg()?;
            let path = |ending: &str| folder.join(format!("{}.{ending}", experiment.name));
            write(&path("json"), |out| {
                self.write_json(experiment, &outcome, &place, out)
            })?;
            write(&path("csv"), |out| outcome.csv(&place, out))?;
            write(&path("svg"), |out| Ok(out.write_all(svg.as_bytes())?))?;
            tell(&outcome)?;
            done.push((experiment, outcome, svg));
        }
        let parts: Vec<PagePart<'_>> = done
            .iter()
            .map(|(experiment, outcome, svg)| PagePart {
                experiment,
                outcome,
                svg,
            })
            .collect();
        let report = folder.join("report.html");
        write(&report, |out| {
            Ok(out.write_all(page::page(&place, &parts, &failed).as_bytes())?)
        })?;
        say(&report.display().to_string())?;
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

fn tell(outcome: &ExperimentResult) -> anyhow::Result<()> {
    for table in &outcome.tables {
        say(&format!("{table}\n"))?;
    }
    say(&for_people(&format!("Finding: {}\n", outcome.finding)))
}

/// A file needs a folder.
fn check_folder(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    if folder.is_some_and(|folder| !folder.is_dir()) {
        bail!("cannot write {}: there is no such folder", path.display());
    }
    Ok(())
}

fn write(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let name = path.display();
    let file = File::create(path).with_context(|| format!("cannot write {name}"))?;
    let mut out = BufWriter::new(file);
    content(&mut out)
        .and_then(|()| Ok(out.flush()?))
        .with_context(|| format!("cannot write {name}"))
}
