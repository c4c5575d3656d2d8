//! What people name on the command line -> the files that hold zones: files,
//! `ORIGIN=FILE`, folders with their subfolders, or what is there when nothing is
//! named.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use super::load::{LoadError, Source};
use super::text::Library;

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
/// Which files of a folder hold zones, unless it is said.
pub const PATTERN: &str = "*.zone";

/// Which files of a folder hold zones: those whose names match. Hidden ones, as
/// editors leave behind, only if the pattern begins with a dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileNames(Pattern);

impl Default for FileNames {
    fn default() -> FileNames {
        FileNames(Pattern::new(PATTERN).expect("the pattern is right"))
    }
}

impl std::str::FromStr for FileNames {
    type Err = String;

    fn from_str(text: &str) -> Result<FileNames, String> {
        if text.contains('/') {
            return Err("it is for the names of files, which hold no slash".into());
        }
        Pattern::new(text).map(FileNames).map_err(|error| {
            format!("`*` stands for any characters, `?` for one, `[ab]` for one of these; {error}")
        })
    }
}

impl FileNames {
    fn match_path(&self, path: &Path) -> bool {
        let options = MatchOptions {
            require_literal_leading_dot: true,
            ..MatchOptions::new()
        };
        let name = path.file_name().map(|name| name.to_string_lossy());
        name.is_some_and(|name| self.0.matches_with(&name, options))
    }
}

/// The files that were found, and the folders among them that cannot be read.
#[derive(Default)]
pub struct Found {
    /// The files.
    pub sources: Vec<Source>,
    /// Subfolders, and what the kernel said of them.
    pub unread: Vec<(PathBuf, LoadError)>,
}

impl From<Source> for Found {
    fn from(source: Source) -> Found {
        Found {
            sources: vec![source],
            unread: Vec::new(),
        }
    }
}

/// The files that one argument stands for.
///
/// # Errors
///
/// An argument that stands for none.
pub fn find(argument: &str, names: &FileNames) -> Result<Found, LoadError> {
    let path = Path::new(argument);
    if path.is_dir() {
        return folder(path, names);
    }
    if !path.exists() && argument.chars().all(|c| c.is_ascii_lowercase()) {
        return Err(LoadError::NoFile(argument.into()));
    }
    match argument.split_once('=') {
        // A file may have a name with `=` in it.
        Some((origin, file)) if !path.exists() => {
            let name = origin.parse().map_err(|error| LoadError::NoName {
                argument: argument.into(),
                origin: origin.into(),
                error,
            })?;
            if Path::new(file).is_dir() {
                return Err(LoadError::NamedFolder {
                    argument: argument.into(),
                    folder: file.into(),
                });
            }
            Ok(Source::new(Library::Named, file, Some(name)).into())
        }
        _ => Ok(Source::new(Library::Named, argument, None).into()),
    }
}

/// The files that hold zones where no argument says which.
///
/// # Errors
///
/// A folder `zones` that cannot be read or holds none.
pub fn find_default(names: &FileNames) -> Result<Found, LoadError> {
    if Path::new(FOLDER).is_dir() {
        return folder(Path::new(FOLDER), names);
    }
    let demo = DEMO_ZONES.iter().map(|path| Source::new(DEMO, path, None));
    Ok(Found {
        sources: demo.collect(),
        unread: Vec::new(),
    })
}

fn folder(path: &Path, names: &FileNames) -> Result<Found, LoadError> {
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    let mut walk = Walk {
        names,
        seen: HashSet::new(),
        found: &mut found,
        unread: &mut unread,
    };
    walk.folder(path)?;
    if found.is_empty() {
        return Err(LoadError::Empty {
            path: path.into(),
            pattern: names.0.as_str().into(),
        });
    }
    // By octets: paths compare by their components, which takes ten times as long.
    found.sort_by(|one, other| one.as_os_str().cmp(other.as_os_str()));
    let source = |path| Source::new(Library::Disk, path, None);
    Ok(Found {
        sources: found.into_iter().map(source).collect(),
        unread,
    })
}

/// A walk through a folder and those beneath it, each once: links may lead round in
/// a circle.
struct Walk<'w> {
    names: &'w FileNames,
    seen: HashSet<PathBuf>,
    found: &'w mut Vec<PathBuf>,
    unread: &'w mut Vec<(PathBuf, LoadError)>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path) -> Result<(), LoadError> {
        let failed = |error| LoadError::Folder {
            path: folder.into(),
            error,
        };
        if !self.seen.insert(folder.canonicalize().map_err(failed)?) {
            return Ok(());
        }
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (path, name) = (entry.path(), entry.file_name());
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() || (kind.is_symlink() && path.is_dir()) {
                // What is hidden is not meant; one that cannot be read, as the
                // `lost+found` of a file system, takes no other with it.
                if name.as_encoded_bytes()[0] != b'.'
                    && let Err(error) = self.folder(&path)
                {
                    self.unread.push((path, error));
                }
            } else if self.names.match_path(&path) {
                self.found.push(path);
            }
        }
        Ok(())
    }
}
