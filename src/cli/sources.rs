//! The zones that a command is about: what people name, and how what is wrong with
//! it is told.

use std::path::PathBuf;

use anyhow::bail;

use super::tell;
use crate::zone::Zones;
use crate::zone::collection::{Collection, Report};
use crate::zone::load::{LoadError, Source};
use crate::zone::sources::{self, FileNames, Found, PATTERN};
use crate::zone::told::{IN_ALL, PER_FILE, Told};

/// Which zones.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ZoneArguments {
    /// A master file, ORIGIN=FILE (`.=FILE` for the root), or a folder that is
    /// searched with its subfolders; /dev/stdin and pipes are read once
    /// [default: the folder zones/ if there is one, else the demo]
    #[arg(value_name = "ZONE")]
    pub zones: Vec<String>,
    /// Which files of a folder hold zones
    #[arg(long, value_name = "PATTERN", default_value = PATTERN)]
    pub zone_pattern: FileNames,
    /// Tell every fault, not only the first of each file
    #[arg(long)]
    pub all: bool,
}

/// A file with options and zones.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigFile {
    /// A TOML file whose keys are options of `shardns serve`, and zones; what the
    /// command line says holds in its place
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ZoneArguments {
    /// The files that are meant.
    ///
    /// # Errors
    ///
    /// An argument that stands for none.
    pub fn find(&self) -> Result<Vec<Source>, LoadError> {
        let names = &self.zone_pattern;
        let found = match &self.zones[..] {
            [] => vec![sources::find_default(names)?],
            zones => {
                let found = zones.iter().map(|argument| sources::find(argument, names));
                found.collect::<Result<_, _>>()?
            }
        };
        let mut all = Vec::new();
        for Found { sources, unread } in found {
            for (_, error) in unread {
                tell(format_args!("{error}; it is passed over\n"));
            }
            all.extend(sources);
        }
        Ok(all)
    }

    /// Reads the zones, and tells all that is wrong with them.
    ///
    /// # Errors
    ///
    /// Anything that makes a zone unfit to be served.
    pub fn load(&self) -> anyhow::Result<Zones> {
        let mut collection = Collection::new(self.zone_pattern.clone());
        let mut report = collection.refresh(&self.zones);
        self.tell_faults(&report);
        if !report.faults.is_empty() {
            return Err(report.faults.swap_remove(0).into());
        }
        let mut bad = report.failures();
        if let Some((change, reason)) = bad.next() {
            let path = change.path.display();
            match bad.count() {
                0 => bail!("cannot use {path}: {reason}"),
                more => bail!("cannot use {path}: {reason}; and {more} more of the files"),
            }
        }
        Ok(collection.zones())
    }

    /// Tells the faults of what was read, as many as people can read.
    pub fn tell_faults(&self, report: &Report) {
        self.tell_faults_by(report, |words| tell(format_args!("{words}\n")));
    }

    /// The same by another way of telling.
    pub fn tell_faults_by(&self, report: &Report, tell: impl Fn(&str)) {
        for error in &report.unread {
            tell(&format!("{error}; it is passed over"));
        }
        let mut told = Told::nothing(self.all);
        for change in &report.changes {
            let line = |text: &str| {
                tell(text);
                Ok::<_, std::convert::Infallible>(())
            };
            let Ok(()) = told.tell(&change.faults, line);
        }
        if let Some(words) = untold(&told) {
            tell(&words);
        }
    }
}

/// That faults were left out, where some were.
pub fn untold(told: &Told) -> Option<String> {
    let untold = told.untold();
    (untold > 0).then(|| {
        format!(
            "and {untold} more {}; {PER_FILE} of a file and {IN_ALL} in all are told, all with --all",
            plural(untold, "fault")
        )
    })
}

/// `word`, or its plural where there are not one of them.
pub fn plural(count: usize, word: &str) -> String {
    if count == 1 {
        word.into()
    } else {
        format!("{word}s")
    }
}
