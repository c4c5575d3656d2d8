//! Reading zones anew while the server answers: on a thread of its own, of less
//! weight than those that answer. What is good goes to the control thread as one
//! set; what is not is told, and what was served stays.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender};
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use super::status::ZoneStatus;
use crate::answer::Settings;
use crate::sys::limits;
use crate::wire::Name;
use crate::zone::Zones;
use crate::zone::collection::{Change, ChangeKind, Collection, Entry, KeyChange, Report};
use crate::zone::told::Told;

/// Zones of which each has a line of its own in the log; more are summed up.
const LISTED: usize = 20;

/// Problems of which each has a line.
const PROBLEMS: usize = 100;

/// What is to be looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Everything: files, folders, settings.
    All,
    /// The files of one zone.
    Zone(Box<Name>),
}

/// What may have changed besides the zones' files.
pub struct Renewed {
    /// What is named to be served.
    pub zones: Vec<String>,
    /// How requests are answered.
    pub settings: Settings,
    /// What could not be read of it, and stays as it was.
    pub faults: Vec<String>,
}

/// Reads what may have changed besides the zones' files.
pub type Renew = Box<dyn FnMut() -> anyhow::Result<Renewed> + Send>;

/// The zones, with where they come from and how they are told of.
pub struct Keeper {
    /// What is served.
    pub collection: Collection,
    /// Reads what else may have changed.
    pub renew: Renew,
    /// Whether every fault is told.
    pub all: bool,
}

/// What is served from now on, and what there is to say about it.
pub struct Reloaded {
    /// The zones, where they have changed or may have.
    pub zones: Option<Arc<Zones>>,
    /// The settings, where they were read.
    pub settings: Option<Settings>,
    /// All zones for whoever asks.
    pub known: Vec<Known>,
    /// For whoever asked.
    pub said: Said,
}

/// A zone as it is told of.
#[derive(Clone, Debug)]
pub struct Known {
    status: ZoneStatus,
    read: Option<SystemTime>,
}

/// What came of reading zones anew.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Said {
    /// Zones that are served now.
    pub served: usize,
    /// Zones of which another version is served than before, or none was.
    pub loaded: usize,
    /// Files that had not changed.
    pub unchanged: usize,
    /// Zones that are served no more since their files are gone.
    pub removed: usize,
    /// Files that cannot be served, and whatever else failed.
    pub failed: usize,
    /// Seconds that it took.
    pub seconds: f64,
    /// What went well, a sentence each.
    pub events: Vec<String>,
    /// What somebody must mend, a sentence each.
    pub problems: Vec<String>,
    /// The faults of the files, as many as people can read.
    pub faults: Vec<String>,
}

/// The thread that reads.
pub struct Reloader {
    jobs: Sender<What>,
    done: Receiver<Reloaded>,
}

impl Reloader {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// What the kernel says to one more thread.
    pub fn start(mut keeper: Keeper) -> io::Result<Reloader> {
        let (jobs, wanted) = crossbeam_channel::unbounded();
        let (send, done) = crossbeam_channel::unbounded();
        let work = move || {
            // Its threads have what it has. Without, it still works.
            let _ = limits::give_way();
            for what in wanted {
                let reload = AssertUnwindSafe(|| keeper.reload(&what));
                // What it broke on is not served; what was served is.
                let reloaded = panic::catch_unwind(reload).unwrap_or_else(|_| keeper.broke());
                if send.send(reloaded).is_err() {
                    return;
                }
            }
        };
        let name = "shardns-reload".to_owned();
        thread::Builder::new().name(name).spawn(work)?;
        Ok(Reloader { jobs, done })
    }

    /// Has the thread look at something again, after what it is at.
    pub fn want(&self, what: What) {
        // The thread ends with this.
        let _ = self.jobs.send(what);
    }

    /// What came of it, one for each that was wanted.
    pub fn done(&self) -> &Receiver<Reloaded> {
        &self.done
    }
}

impl Keeper {
    /// Nothing has changed, since reading broke.
    fn broke(&self) -> Reloaded {
        let said = Said {
            failed: 1,
            problems: vec!["reading the zones broke; all stays as it was".into()],
            ..Said::default()
        };
        Reloaded {
            zones: None,
            settings: None,
            known: self.collection.entries().map(Known::of).collect(),
            said,
        }
    }

    /// Looks at what is meant, and reads what has changed.
    pub fn reload(&mut self, what: &What) -> Reloaded {
        let start = Instant::now();
        let mut said = Said::default();
        let mut settings = None;
        let report = match what {
            What::All => match (self.renew)() {
                Ok(renewed) => {
                    settings = Some(renewed.settings);
                    said.failed += renewed.faults.len();
                    said.problems.extend(renewed.faults);
                    self.collection.refresh(&renewed.zones)
                }
                Err(error) => {
                    said.failed += 1;
                    said.problems
                        .push(format!("all stays as it was: {error:#}"));
                    Report::default()
                }
            },
            What::Zone(name) => {
                let report = self.collection.refresh_one(name);
                report.unwrap_or_else(|| {
                    said.failed += 1;
                    let words = "a reload of all finds zones that are new";
                    said.problems
                        .push(format!("there is no zone {name}; {words}"));
                    Report::default()
                })
            }
        };
        said.take(&report, self.all);
        let known: Vec<Known> = self.collection.entries().map(Known::of).collect();
        let changed = report
            .changes
            .iter()
            .any(|change| !matches!(change.kind, ChangeKind::Failed { kept: true, .. }));
        let zones = changed.then(|| Arc::new(self.collection.zones()));
        said.served = self.collection.served();
        said.seconds = start.elapsed().as_secs_f64();
        Reloaded {
            zones,
            settings,
            known,
            said,
        }
    }
}

impl Said {
    fn take(&mut self, report: &Report, all: bool) {
        self.unchanged = report.unchanged;
        for fault in &report.faults {
            self.failed += 1;
            self.problems.push(fault.to_string());
        }
        let unread = report.unread.iter();
        self.problems
            .extend(unread.map(|error| format!("{error}; what was found there before stays")));
        let mut told = Told::nothing(all);
        for change in &report.changes {
            match change.kind {
                ChangeKind::Loaded { .. } => self.loaded += 1,
                ChangeKind::Removed { .. } => self.removed += 1,
                ChangeKind::Failed { .. } => self.failed += 1,
            }
            let goes_well =
                !matches!(change.kind, ChangeKind::Failed { .. }) && !change.goes_back();
            let told_of = match goes_well {
                true => &mut self.events,
                false => &mut self.problems,
            };
            told_of.push(sentence(change));
            self.problems.extend(unlike_its_parent(change));
            let line = |text: &str| {
                self.faults.push(text.to_owned());
                Ok::<_, std::convert::Infallible>(())
            };
            let Ok(()) = told.tell(&change.faults, line);
        }
        // What the sandbox forbids and what a file's mode does look alike.
        if self
            .problems
            .iter()
            .any(|problem| problem.contains("os error 13"))
        {
            let words = "what was not in a folder with zones at the start is out of reach by now, \
                and so is a folder that took the place of one: a restart or a takeover gets there, \
                or --no-sandbox";
            self.problems.push(words.into());
        }
        if told.untold() > 0 {
            self.faults
                .push(format!("and {} more faults", told.untold()));
        }
    }

    /// Writes it to the log: what needs somebody to act always, and what went well
    /// one line each, or in sum.
    pub fn log(&self) {
        for fault in &self.faults {
            warn!("{fault}");
        }
        for problem in self.problems.iter().take(PROBLEMS) {
            error!("{problem}");
        }
        for event in self.events.iter().take(LISTED) {
            info!("{event}");
        }
        let left = |of: &[String], listed: usize| of.len().saturating_sub(listed);
        let untold = left(&self.problems, PROBLEMS) + left(&self.events, LISTED);
        if untold > 0 {
            info!("and {untold} more");
        }
        let summary = self.to_string();
        match self.failed {
            0 => info!("{summary}"),
            _ => error!("{summary}"),
        }
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Said {
            served,
            loaded,
            unchanged,
            removed,
            failed,
            seconds,
            ..
        } = self;
        write!(
            f,
            "reload: {loaded} loaded, {unchanged} unchanged, {removed} removed, {failed} failed, in {:.0} ms; {served} served",
            seconds * 1000.0
        )
    }
}

/// What is to be feared where a parent tells of the keys that a zone had (RFC 4035 §5.2).
fn unlike_its_parent(change: &Change) -> Option<String> {
    let ChangeKind::Loaded { keys, .. } = change.kind else {
        return None;
    };
    let apex = change.apex?;
    match keys {
        KeyChange::Kept => None,
        KeyChange::Replaced => Some(format!(
            "zone {apex}: none of the keys by which it was entered (DNSKEY, flags 257 where there \
            are such) is left; resolvers refuse it as long as its parent, or a cache, tells of \
            those"
        )),
        KeyChange::Lost => Some(format!(
            "zone {apex}: it was signed and is not any more; resolvers refuse it as long as its \
            parent has a DS, or a cache"
        )),
    }
}

/// What has become of a file, for people.
pub fn sentence(change: &Change) -> String {
    let name = match &change.apex {
        Some(apex) => format!("zone {apex}"),
        None => "a zone".into(),
    };
    let path = change.path.display();
    match &change.kind {
        ChangeKind::Loaded { serial, before, .. } => match before {
            Some(before) if change.goes_back() => format!(
                "{name} ({path}): serial {serial} comes before {before}, which was served until now; secondaries take the old one for newer"
            ),
            Some(before) if before == serial => {
                format!("{name} ({path}): serial {serial} still, though its files have changed")
            }
            Some(before) => format!("{name} ({path}): serial {serial} after {before}"),
            None => format!("{name} ({path}): serial {serial}, new"),
        },
        ChangeKind::Failed { reason, kept } => {
            let still = match kept {
                true => "its last good version is served still",
                false => "it is not served",
            };
            format!("{name} ({path}): {reason}; {still}")
        }
        ChangeKind::Removed { .. } => format!("{name} ({path}): gone, and served no more"),
    }
}

impl Known {
    /// What is known of a file that holds a zone.
    pub fn of(entry: &Entry) -> Known {
        let summary = entry.zone().map(|zone| zone.summary());
        let path = entry.path().display().to_string();
        let name = entry.zone().map(|zone| zone.apex().to_string());
        let (read, took) = entry.read().unzip();
        Known {
            status: ZoneStatus {
                name: name.unwrap_or_else(|| path.clone()),
                path,
                serial: summary.map(|summary| summary.serial),
                names: summary.map_or(0, |summary| summary.names),
                records: summary.map_or(0, |summary| summary.records),
                octets: summary.map_or(0, |summary| summary.octets),
                load_seconds: took.unwrap_or_default().as_secs_f64(),
                age_seconds: 0.0,
                error: entry.error().map(str::to_owned),
            },
            read,
        }
    }

    /// The zone as of now.
    pub fn status(&self) -> ZoneStatus {
        let age = self.read.and_then(|read| read.elapsed().ok());
        ZoneStatus {
            age_seconds: age.unwrap_or(Duration::ZERO).as_secs_f64(),
            ..self.status.clone()
        }
    }
}

/// What is said of zones at the start: a line each, or in sum where there are many.
pub fn announce(zones: &Zones) {
    if zones.len() > LISTED {
        let sum = |of: fn(&crate::zone::lookup::ZoneSummary) -> usize| -> usize {
            zones.iter().map(|zone| of(&zone.summary())).sum()
        };
        let (names, records) = (sum(|zone| zone.names), sum(|zone| zone.records));
        return info!("{} zones: {names} names, {records} records", zones.len());
    }
    for zone in zones.iter() {
        let summary = zone.summary();
        info!(
            "zone {}: {} names, {} records, serial {}",
            zone.apex(),
            summary.names,
            summary.records,
            summary.serial
        );
    }
}
