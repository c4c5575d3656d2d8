//! One master file -> a zone. Nothing is told to anybody here; whoever asks gets
//! the zone, its faults and the files behind it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::build::{Built, build};
use super::check::Scrutiny;
use super::lookup::Zone;
use super::text::fault::{self, Fault};
use super::text::{self, Library, Stamp};
use super::verify::Verified;
use crate::wire::{Name, NameError};

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
    #[error("the folder {} has no file of a name like {pattern}", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
        /// What names were looked for.
        pattern: String,
    },
    /// A file that cannot be read at all.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file that does not stop changing.
    #[error("{} was written to while it was read, again and again", .0.display())]
    Restless(PathBuf),
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
    pub path: Arc<Path>,
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
    /// What came of its signatures, where they were to be verified.
    pub verified: Option<Verified>,
}

impl Source {
    /// A file in a library, and the name of its zone where that is known.
    pub fn new(library: Library, path: impl Into<PathBuf>, origin: Option<Name>) -> Source {
        Source {
            library,
            path: path.into().into(),
            origin,
        }
    }

    /// The same for another time: only a file can be read twice.
    pub fn again(&self) -> Source {
        let library = match self.library {
            Library::Named => Library::Disk,
            other => other,
        };
        Source {
            library,
            ..self.clone()
        }
    }

    /// Reads and builds the zone.
    ///
    /// # Errors
    ///
    /// A file that cannot be read at all; everything else is a fault.
    pub fn load(&self) -> Result<Loaded, LoadError> {
        self.load_under(Scrutiny::now())
    }

    /// Reads the zone, looks at it so closely, and builds it.
    ///
    /// # Errors
    ///
    /// As `load`.
    pub fn load_under(&self, scrutiny: Scrutiny) -> Result<Loaded, LoadError> {
        let read = read(self.library, &self.path, self.origin)?;
        Ok(loaded(&self.path, self.origin, read, scrutiny))
    }

    /// The same, and hands its records to `line` as they were read, each as a line of
    /// a master file.
    ///
    /// # Errors
    ///
    /// As `load`.
    pub fn load_and_print(
        &self,
        scrutiny: Scrutiny,
        mut line: impl FnMut(&str),
    ) -> Result<Loaded, LoadError> {
        let read = read(self.library, &self.path, self.origin)?;
        for record in &read.records.list {
            line(&text::line(&read.records, record));
        }
        Ok(loaded(&self.path, self.origin, read, scrutiny))
    }
}

/// Reads and builds the zone in the master file at `path`. Without `origin`
/// the zone's name is the owner of its SOA.
///
/// # Errors
///
/// A file that cannot be read at all; everything else is a fault.
pub fn load(library: Library, path: &Path, origin: Option<Name>) -> Result<Loaded, LoadError> {
    Source::new(library, path, origin).load()
}

fn loaded(path: &Path, origin: Option<Name>, read: text::Read, scrutiny: Scrutiny) -> Loaded {
    let text::Read { records, texts } = read;
    let Built {
        zone,
        faults,
        verified,
    } = build(records, origin, scrutiny);
    Loaded {
        path: path.into(),
        zone: zone.map(Arc::new),
        faults: fault::show(faults, &texts),
        files: texts
            .iter()
            .map(|text| (text.path.clone(), text.stamp))
            .collect(),
        verified,
    }
}

fn read(library: Library, path: &Path, origin: Option<Name>) -> Result<text::Read, LoadError> {
    text::read(library, path, origin).map_err(|reason| LoadError::Unreadable {
        path: path.into(),
        reason,
    })
}
