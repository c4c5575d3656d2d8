//! `ZONE` arguments -> zones: files, `ORIGIN=FILE`, folders, or what is there
//! when none is given.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};

use super::tell;
use crate::sys::memory::prefer_huge_pages;
use crate::wire::Name;
use crate::zone::text::Library;
use crate::zone::text::fault::{Fault, Severity};
use crate::zone::{self, Zone, Zones};

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

/// The help text of `ZONE` arguments.
pub const HELP: &str = "A master file, ORIGIN=FILE (`.=FILE` for the root), or a folder whose *.zone files are read \
[default: the folder zones/ if there is one, else the demo]";

/// One master file to read.
pub struct Source {
    library: Library,
    /// The file.
    pub path: PathBuf,
    /// The zone's name, where it was given.
    pub origin: Option<Name>,
}

/// A zone that was read, or not.
pub struct Read {
    /// The file.
    pub path: PathBuf,
    /// The zone, where nothing is wrong with it.
    pub zone: Option<Arc<Zone>>,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
}

/// The files that the arguments stand for.
///
/// # Errors
///
/// An argument that stands for none.
pub fn find(arguments: &[String]) -> anyhow::Result<Vec<Source>> {
    if !arguments.is_empty() {
        let found: anyhow::Result<Vec<Vec<Source>>> =
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

fn find_one(text: &str) -> anyhow::Result<Vec<Source>> {
    let path = Path::new(text);
    if path.is_dir() {
        return folder(path);
    }
    let file = |path: &str, origin| {
        vec![Source {
            library: Library::Disk,
            path: path.into(),
            origin,
        }]
    };
    if !path.exists() && text.chars().all(|c| c.is_ascii_lowercase()) {
        bail!("there is no command and no zone file `{text}`; `shardns --help` lists the commands");
    }
    match text.split_once('=') {
        // A file may have a name with `=` in it.
        Some((origin, file_name)) if !path.exists() => {
            let name: Name = origin
                .parse()
                .with_context(|| format!("`{text}`: `{origin}` is no zone name"))?;
            if Path::new(file_name).is_dir() {
                bail!("`{text}`: {file_name} is a folder; a name goes with one file");
            }
            Ok(file(file_name, Some(name)))
        }
        _ => Ok(file(text, None)),
    }
}

fn folder(path: &Path) -> anyhow::Result<Vec<Source>> {
    let entries = std::fs::read_dir(path)
        .with_context(|| format!("cannot read the folder {}", path.display()))?;
    let mut sources = Vec::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("cannot read the folder {}", path.display()))?
            .path();
        if path.extension().is_some_and(|ending| ending == "zone") {
            sources.push(Source {
                library: Library::Disk,
                path,
                origin: None,
            });
        }
    }
    if sources.is_empty() {
        bail!(
            "the folder {} has no file whose name ends in .zone",
            path.display()
        );
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

/// Reads one zone.
///
/// # Errors
///
/// A file that cannot be read.
pub fn read(source: &Source) -> anyhow::Result<Read> {
    zone::memory::advise_with(prefer_huge_pages);
    let loaded = zone::load(source.library, &source.path, source.origin);
    let loaded = loaded
        .map_err(|error| anyhow::anyhow!("cannot read {}: {error}", source.path.display()))?;
    Ok(Read {
        path: source.path.clone(),
        zone: loaded.zone,
        faults: loaded.faults,
    })
}

/// Prints the records of one zone as they were read.
///
/// # Errors
///
/// A file that cannot be read.
pub fn print(source: &Source, line: impl FnMut(&str)) -> anyhow::Result<()> {
    zone::build::print(source.library, &source.path, source.origin, line)
        .map_err(|error| anyhow::anyhow!("cannot read {}: {error}", source.path.display()))
}

/// Makes one set of zones of those that were read.
///
/// # Errors
///
/// A name that two files claim.
pub fn assemble(read: &[Read]) -> anyhow::Result<Zones> {
    let mut files: HashMap<Vec<u8>, &Path> = HashMap::new();
    let mut zones = Vec::new();
    for Read { path, zone, .. } in read {
        let Some(zone) = zone else {
            continue;
        };
        let name = zone.apex().to_lower().as_wire().to_vec();
        if let Some(first) = files.insert(name, path) {
            let (first, second) = (first.display(), path.display());
            bail!(
                "{first} and {second} both hold the zone {}; name one of them",
                zone.apex()
            );
        }
        zones.push(zone.clone());
    }
    Ok(Zones::new(zones)?)
}

/// Reads the zones that the arguments stand for, prints their faults to
/// stderr, and makes one set of them.
///
/// # Errors
///
/// Anything that makes a zone unfit to be served.
pub fn load(arguments: &[String]) -> anyhow::Result<Zones> {
    let mut all = Vec::new();
    let mut errors = 0;
    for source in find(arguments)? {
        let read = read(&source)?;
        for fault in &read.faults {
            tell(format_args!("{fault}\n"));
            errors += usize::from(fault.severity == Severity::Error);
        }
        all.push(read);
    }
    if errors > 0 {
        bail!(
            "{errors} {} in the zones; nothing is served until they are mended",
            plural(errors, "error")
        );
    }
    assemble(&all)
}

/// `word`, or its plural where there are not one of them.
pub fn plural(count: usize, word: &str) -> String {
    if count == 1 {
        word.into()
    } else {
        format!("{word}s")
    }
}
