//! What people name on the command line -> zones: files, `ORIGIN=FILE`,
//! folders, or what is there when nothing is named. Nothing is told to anybody
//! here; whoever asks gets the zones, their faults and the files behind them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::build::build;
use super::lookup::Zone;
use super::text::fault::{self, Fault};
use super::text::{self, Library, Stamp};
use super::zones::Zones;
use crate::wire::{Name, NameError};

/// The demo zones, so that the program shows something wherever it is run.
const DEMO: Library = Library::Embedded(&[
    (
        "zones/example.com.zone",
        include_str!("../../zones/example.com.zone"),
    ),
    (
        "zones/example.com.hosts",
        include_str!("../../zones/example.com.hosts"),
    ),
    (
        "zones/child.example.com.zone",
        include_str!("../../zones/child.example.com.zone"),
    ),
    (
        "zones/192.0.2.zone",
        include_str!("../../zones/192.0.2.zone"),
    ),
    (
        "zones/2001-db8.zone",
        include_str!("../../zones/2001-db8.zone"),
    ),
]);
const DEMO_ZONES: [&str; 4] = [
    "zones/example.com.zone",
    "zones/child.example.com.zone",
    "zones/192.0.2.zone",
    "zones/2001-db8.zone",
];
/// The folder that is served when no zone is named.
const FOLDER: &str = "zones";

/// Why there are no zones to be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// An argument that looks like a mistyped command.
    #[error("there is no command and no zone file `{0}`; `shardns --help` lists the commands")]
    NoFile(String),
    /// `ORIGIN=FILE` with an origin that is no name.
    #[error("`{argument}`: `{origin}` is no zone name: {error}")]
    NoName {
        /// The whole argument.
        argument: String,
        /// What stands before the `=`.
        origin: String,
        /// What is wrong with it.
        error: NameError,
    },
    /// `ORIGIN=FOLDER`.
    #[error("`{argument}`: {folder} is a folder; a name goes with one file")]
    NamedFolder {
        /// The whole argument.
        argument: String,
        /// What stands behind the `=`.
        folder: String,
    },
    /// A folder that cannot be listed.
    #[error("cannot read the folder {}: {error}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// A folder without zones.
    #[error("the folder {} has no file whose name ends in .zone", .0.display())]
    Empty(PathBuf),
    /// A file that cannot be read at all.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Two files that hold a zone of the same name.
    #[error("{} and {} both hold the zone {apex}; name one of them", first.display(), second.display())]
    Twice {
        /// The file that came first.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
        /// The zone's name.
        apex: Box<Name>,
    },
}

/// One master file to read.
#[derive(Clone, Debug)]
pub struct Source {
    library: Library,
    /// The file.
    pub path: PathBuf,
    /// The zone's name, where it was given.
    pub origin: Option<Name>,
}

/// A zone that was read, or not.
pub struct Loaded {
    /// The file.
    pub path: PathBuf,
    /// The zone; `None` where an error makes it unfit to be served.
    pub zone: Option<Arc<Zone>>,
    /// All faults, errors first.
    pub faults: Vec<Fault>,
    /// Every file that was read for it, included ones too, and its state then.
    pub files: Vec<(PathBuf, Option<Stamp>)>,
}

/// The files that the arguments stand for.
///
/// # Errors
///
/// An argument that stands for none.
pub fn find(arguments: &[String]) -> Result<Vec<Source>, LoadError> {
    if !arguments.is_empty() {
        let found: Result<Vec<Vec<Source>>, LoadError> =
            arguments.iter().map(|text| find_one(text)).collect();
        return Ok(found?.into_iter().flatten().collect());
    }
    if Path::new(FOLDER).is_dir() {
        return folder(Path::new(FOLDER));
    }
    let demo = DEMO_ZONES.iter().map(|path| Source {
        library: DEMO,
        path: path.into(),
        origin: None,
    });
    Ok(demo.collect())
}

fn find_one(text: &str) -> Result<Vec<Source>, LoadError> {
    let path = Path::new(text);
    if path.is_dir() {
        return folder(path);
    }
    if !path.exists() && text.chars().all(|c| c.is_ascii_lowercase()) {
        return Err(LoadError::NoFile(text.into()));
    }
    match text.split_once('=') {
        // A file may have a name with `=` in it.
        Some((origin, file)) if !path.exists() => {
            let name = origin.parse().map_err(|error| LoadError::NoName {
                argument: text.into(),
                origin: origin.into(),
                error,
            })?;
            if Path::new(file).is_dir() {
                return Err(LoadError::NamedFolder {
                    argument: text.into(),
                    folder: file.into(),
                });
            }
            Ok(vec![Source::on_disk(file, Some(name))])
        }
        _ => Ok(vec![Source::on_disk(text, None)]),
    }
}

fn folder(path: &Path) -> Result<Vec<Source>, LoadError> {
    let failed = |error| LoadError::Folder {
        path: path.into(),
        error,
    };
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == "zone") {
            sources.push(Source::on_disk(path, None));
        }
    }
    if sources.is_empty() {
        return Err(LoadError::Empty(path.into()));
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

impl Source {
    /// A file, and the name of its zone where that is known.
    pub fn on_disk(path: impl Into<PathBuf>, origin: Option<Name>) -> Source {
        Source {
            library: Library::Disk,
            path: path.into(),
            origin,
        }
    }

    /// Reads and builds the zone.
    ///
    /// # Errors
    ///
    /// A file that cannot be read at all; everything else is a fault.
    pub fn load(&self) -> Result<Loaded, LoadError> {
        load(self.library, &self.path, self.origin)
    }

    /// Hands the zone's records to `line` as they were read, each as a line of a
    /// master file.
    ///
    /// # Errors
    ///
    /// As `load`.
    pub fn print(&self, mut line: impl FnMut(&str)) -> Result<(), LoadError> {
        let text::Read { records, .. } = read(self.library, &self.path, self.origin)?;
        for record in &records.list {
            line(&text::line(&records, record));
        }
        Ok(())
    }
}

/// Reads and builds the zone in the master file at `path`. Without `origin`
/// the zone's name is the owner of its SOA.
///
/// # Errors
///
/// A file that cannot be read at all; everything else is a fault.
pub fn load(library: Library, path: &Path, origin: Option<Name>) -> Result<Loaded, LoadError> {
    let text::Read { records, texts } = read(library, path, origin)?;
    let (zone, faults) = build(records, origin);
    Ok(Loaded {
        path: path.into(),
        zone: zone.map(Arc::new),
        faults: fault::show(faults, &texts),
        files: texts
            .iter()
            .map(|text| (text.path.clone(), text.stamp))
            .collect(),
    })
}

fn read(library: Library, path: &Path, origin: Option<Name>) -> Result<text::Read, LoadError> {
    text::read(library, path, origin).map_err(|reason| LoadError::Unreadable {
        path: path.into(),
        reason,
    })
}

/// Makes one set of zones of those that were read.
///
/// # Errors
///
/// A name that two files claim.
pub fn assemble(loaded: &[Loaded]) -> Result<Zones, LoadError> {
    let mut files: HashMap<Vec<u8>, &Path> = HashMap::new();
    let mut zones = Vec::new();
    for Loaded { path, zone, .. } in loaded {
        let Some(zone) = zone else {
            continue;
        };
        let name = zone.lookup_name().suffix(0).to_vec();
        if let Some(first) = files.insert(name, path) {
            return Err(LoadError::Twice {
                first: first.into(),
                second: path.clone(),
                apex: Box::new(*zone.apex()),
            });
        }
        zones.push(zone.clone());
    }
    Ok(Zones::new(zones))
}
