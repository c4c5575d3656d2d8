//! Zones and the files that they came from, over time: what has changed is read
//! again, what has not is shared with what is served already, and a zone whose
//! files are bad keeps its last good version. Nothing is told to anybody here;
//! whoever asks gets a report.

use std::collections::HashMap;
use std::ffi::OsString;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::load::{LoadError, Loaded, Source};
use super::lookup::Zone;
use super::records::Severity;
use super::sources::{self, FileNames, Found};
use super::store::RECORD_HEAD;
use super::text::Stamp;
use super::text::fault::Fault;
use super::zones::Zones;
use crate::wire::rdata::dnssec::Key;
use crate::wire::{Name, RrType};

/// A file must have been left alone for so long before what was read of it is
/// taken for all of it. Longer than a tick of the clock that the kernel stamps
/// files with, so that a later change has another stamp.
pub const QUIET: Duration = Duration::from_millis(20);
/// Times that a file is read anew because it changed meanwhile.
pub const ATTEMPTS: usize = 5;

/// Zones by the files that they came from.
#[derive(Default)]
pub struct Collection {
    names: FileNames,
    /// In the order of the arguments.
    places: Vec<Place>,
}

/// What one argument stands for; no argument stands for what is served by default.
struct Place {
    argument: Option<String>,
    entries: Vec<Entry>,
}

/// A file that holds a zone, or should.
pub struct Entry {
    source: Source,
    /// What is served.
    zone: Option<Arc<Zone>>,
    /// All that was read the last time.
    files: Vec<(PathBuf, Option<Stamp>)>,
    /// When the zone that is served was read, and how long that took.
    read: Option<(SystemTime, Duration)>,
    /// Why the newest version is not served.
    error: Option<String>,
}

/// What looking for changes came to.
#[derive(Default)]
pub struct Report {
    /// What is not as it was, in the order of the arguments.
    pub changes: Vec<Change>,
    /// Arguments that stand for nothing now.
    pub faults: Vec<LoadError>,
    /// Folders beneath others that cannot be read.
    pub unread: Vec<LoadError>,
    /// Files that were not read because they have not changed.
    pub unchanged: usize,
}

/// A file that was read, or is gone.
pub struct Change {
    /// The file.
    pub path: PathBuf,
    /// The zone's name, if it has ever been read.
    pub apex: Option<Name>,
    /// What has become of it.
    pub kind: ChangeKind,
    /// All faults of the file.
    pub faults: Vec<Fault>,
}

/// What has become of a zone's keys (DNSKEY) between two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// One at least by which the zone is entered is still there, or there was none.
    Kept,
    /// There are others now.
    Replaced,
    /// There are no keys any more.
    Lost,
}

impl KeyChange {
    /// Of keys that a parent may tell of: the entry points, where there are such.
    fn between(before: &Zone, after: &Zone) -> KeyChange {
        let (mut before, after) = (keys(before), keys(after));
        let is_entry = |octets: &&[u8]| Key::read(octets).is_some_and(|key| key.is_entry_point());
        if before.iter().any(is_entry) {
            before.retain(is_entry);
        }
        match before.iter().any(|key| after.contains(key)) {
            true => KeyChange::Kept,
            false if before.is_empty() => KeyChange::Kept,
            false if after.is_empty() => KeyChange::Lost,
            false => KeyChange::Replaced,
        }
    }
}

/// The data of a zone's DNSKEY records.
fn keys(zone: &Zone) -> Vec<&[u8]> {
    let set = zone.find_set(zone.lookup_name(), RrType::DNSKEY);
    let mut rest = set.map_or(&[][..], |set| set.open().answer);
    let keys = std::iter::from_fn(|| {
        let (head, behind) = rest.split_at_checked(RECORD_HEAD)?;
        let length = u16::from_be_bytes(*head.last_chunk()?);
        let key;
        (key, rest) = behind.split_at_checked(length.into())?;
        Some(key)
    });
    keys.collect()
}

/// What has become of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Its zone is served from now on.
    Loaded {
        /// The zone's serial, and the one before, if it was served before.
        serial: u32,
        /// The serial that was served until now.
        before: Option<u32>,
        /// What has become of its keys.
        keys: KeyChange,
    },
    /// It cannot be served.
    Failed {
        /// Why, in a sentence.
        reason: String,
        /// True where the last good version is served still.
        kept: bool,
    },
    /// It is gone, and so is its zone.
    Removed {
        /// The serial that was served.
        serial: u32,
    },
}

impl Report {
    /// The files that cannot be served, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&Change, &str)> {
        self.changes.iter().filter_map(|change| match &change.kind {
            ChangeKind::Failed { reason, .. } => Some((change, &**reason)),
            _ => None,
        })
    }

    /// A zone whose file has another name is not gone.
    fn join_moved(&mut self) {
        let removed = |change: &Change| match change.kind {
            ChangeKind::Removed { serial } => Some((change.apex?, serial)),
            _ => None,
        };
        let gone: Vec<(Name, u32)> = self.changes.iter().filter_map(removed).collect();
        let mut moved = Vec::new();
        for change in &mut self.changes {
            if let ChangeKind::Loaded { before, .. } = &mut change.kind
                && before.is_none()
                && let Some((apex, serial)) =
                    gone.iter().find(|(apex, _)| Some(*apex) == change.apex)
            {
                *before = Some(*serial);
                moved.push(*apex);
            }
        }
        self.changes
            .retain(|change| removed(change).is_none_or(|(apex, _)| !moved.contains(&apex)));
    }
}

impl Change {
    /// True where the serial has gone back, so that whoever transfers the zone
    /// takes the version before for the newer one (RFC 1982 §3.2).
    pub fn goes_back(&self) -> bool {
        match self.kind {
            ChangeKind::Loaded {
                serial,
                before: Some(before),
                ..
            } => serial != before && serial.wrapping_sub(before) >= 1 << 31,
            _ => false,
        }
    }
}

impl Collection {
    /// Of a folder, those files hold zones whose names match.
    pub fn new(names: FileNames) -> Collection {
        Collection {
            names,
            places: Vec::new(),
        }
    }

    /// Looks at what the arguments stand for now, and reads what has changed. Of
    /// what is read, each zone is taken whole or not at all.
    pub fn refresh(&mut self, arguments: &[String]) -> Report {
        let mut report = Report::default();
        self.find(arguments, &mut report);
        self.read(|_| true, &mut report);
        report.join_moved();
        report
    }

    /// Reads the zone of this name again if its files have changed; `None` where
    /// there is none.
    pub fn refresh_one(&mut self, apex: &Name) -> Option<Report> {
        let is_it = |entry: &Entry| entry.apex() == Some(*apex);
        if !self.entries().any(is_it) {
            return None;
        }
        let mut report = Report::default();
        self.read(is_it, &mut report);
        Some(report)
    }

    /// How many zones are good.
    pub fn served(&self) -> usize {
        self.entries().filter_map(Entry::zone).count()
    }

    /// All that is good, as one set.
    pub fn zones(&self) -> Zones {
        Zones::new(
            self.entries()
                .filter_map(|entry| entry.zone.clone())
                .collect(),
        )
    }

    /// Every file, in the order of the arguments.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.places.iter().flat_map(|place| &place.entries)
    }

    /// Settles which files there are. Those that are known keep their zones.
    fn find(&mut self, arguments: &[String], report: &mut Report) {
        let mut before = std::mem::take(&mut self.places);
        let mut arguments: Vec<Option<String>> = arguments.iter().cloned().map(Some).collect();
        if arguments.is_empty() {
            arguments.push(None);
        }
        for argument in arguments {
            let known = before.iter().position(|place| place.argument == argument);
            let known = known.map(|at| before.swap_remove(at).entries);
            let found = match &argument {
                Some(argument) => sources::find(argument, &self.names),
                None => sources::find_default(&self.names),
            };
            let found = found.and_then(|found| match &found.sources[..] {
                // What was a folder would now be a file, if it were there.
                [only] if is_folder_away(only, &known) => Err(LoadError::Unreadable {
                    path: only.path.to_path_buf(),
                    reason: "it is away".into(),
                }),
                _ => Ok(found),
            });
            let entries = match found {
                Ok(found) => renew(found, known.unwrap_or_default(), report),
                // A folder that is away for a moment takes no zone with it.
                Err(error) => {
                    report.faults.push(error);
                    known.unwrap_or_default()
                }
            };
            self.places.push(Place { argument, entries });
        }
        let gone = before.into_iter().flat_map(|place| place.entries);
        report.changes.extend(gone.filter_map(Entry::removed));
    }

    /// Reads those that are `meant` and have changed.
    fn read(&mut self, meant: impl Fn(&Entry) -> bool, report: &mut Report) {
        let entries = self.places.iter_mut().flat_map(|place| &mut place.entries);
        let (renewed, same): (Vec<&mut Entry>, Vec<&mut Entry>) =
            entries.partition(|entry| meant(entry) && entry.has_changed());
        report.unchanged += same.len();
        // A name belongs to who has it and has not changed, then to who comes first.
        let mut owners = Owners::with_capacity(same.len() + renewed.len());
        for entry in &same {
            owners.extend(entry.owned());
        }
        for entry in renewed {
            let change = entry.renew(&owners);
            owners.extend(entry.owned());
            report.changes.push(change);
        }
    }
}

/// True where there were files, and there is nothing now where they were.
fn is_folder_away(found: &Source, known: &Option<Vec<Entry>>) -> bool {
    let is_it = |entry: &Entry| entry.source.path == found.path;
    let files = known.as_deref().unwrap_or_default();
    !files.is_empty() && !files.iter().any(is_it) && !found.path.exists()
}

/// The entries of the sources that were found: those that are known as they are.
/// What is known of folders that cannot be read now stays.
fn renew(found: Found, known: Vec<Entry>, report: &mut Report) -> Vec<Entry> {
    let Found { sources, unread } = found;
    // By octets: paths compare and hash by their components, which takes long.
    let key = |source: &Source| source.path.as_os_str().to_owned();
    let mut known: HashMap<OsString, Entry> = known
        .into_iter()
        .map(|entry| (key(&entry.source), entry))
        .collect();
    let mut entries: Vec<Entry> = sources
        .into_iter()
        .map(|source| match known.remove(source.path.as_os_str()) {
            Some(entry) => Entry { source, ..entry },
            None => Entry::unread(source),
        })
        .collect();
    let is_away = |entry: &Entry| {
        let folders = unread.iter();
        folders
            .map(|(folder, _)| folder)
            .any(|folder| entry.source.path.starts_with(folder))
    };
    let (away, gone): (Vec<Entry>, Vec<Entry>) = known.into_values().partition(is_away);
    entries.extend(away);
    report
        .changes
        .extend(gone.into_iter().filter_map(Entry::removed));
    report
        .unread
        .extend(unread.into_iter().map(|(_, error)| error));
    entries
}

/// Which file each zone's name belongs to.
type Owners = HashMap<ByName, Arc<Path>>;

/// A zone, told from others by its name.
struct ByName(Arc<Zone>);

impl PartialEq for ByName {
    fn eq(&self, other: &ByName) -> bool {
        self.0.lookup_name().suffix(0) == other.0.lookup_name().suffix(0)
    }
}

impl Eq for ByName {}

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.lookup_name().hash_of(0).hash(state);
    }
}

impl Entry {
    fn unread(source: Source) -> Entry {
        Entry {
            source,
            zone: None,
            files: Vec::new(),
            read: None,
            error: None,
        }
    }

    /// The file.
    pub fn path(&self) -> &std::path::Path {
        &self.source.path
    }

    /// Every file that was read for it the last time, included ones too.
    pub fn files(&self) -> impl Iterator<Item = &std::path::Path> {
        self.files.iter().map(|(path, _)| &**path)
    }

    /// The zone that is served.
    pub fn zone(&self) -> Option<&Arc<Zone>> {
        self.zone.as_ref()
    }

    /// When what is served was read, and how long that took.
    pub fn read(&self) -> Option<(SystemTime, Duration)> {
        self.read
    }

    /// Why the newest version is not served.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// The zone's name, as far as it is known.
    fn apex(&self) -> Option<Name> {
        let served = self.zone.as_ref().map(|zone| *zone.apex());
        served.or(self.source.origin)
    }

    /// The name that it has, with its file.
    fn owned(&self) -> Option<(ByName, Arc<Path>)> {
        let zone = self.zone.clone()?;
        Some((ByName(zone), self.source.path.clone()))
    }

    fn has_changed(&self) -> bool {
        self.error.is_some() || self.zone.is_none() || !self.files.iter().all(is_as_it_was)
    }

    fn removed(self) -> Option<Change> {
        let apex = self.apex();
        self.zone.map(|zone| Change {
            path: self.source.path.to_path_buf(),
            apex,
            kind: ChangeKind::Removed {
                serial: zone.summary().serial,
            },
            faults: Vec::new(),
        })
    }

    /// Reads it; what it holds is taken if it is good, and nobody owns its name.
    fn renew(&mut self, owners: &Owners) -> Change {
        let start = Instant::now();
        let source = match self.files.is_empty() {
            true => self.source.clone(),
            // A pipe is read once.
            false => self.source.again(),
        };
        let (zone, faults) = match read_whole(&source) {
            Ok(loaded) => {
                self.files = loaded.files;
                let zone = loaded.zone.ok_or_else(|| count_errors(&loaded.faults));
                (zone, loaded.faults)
            }
            Err(error) => (Err(error.to_string()), Vec::new()),
        };
        let zone = zone.and_then(|zone| match owners.get(&ByName(zone.clone())) {
            None => Ok(zone),
            Some(first) => Err(LoadError::Twice {
                first: first.to_path_buf(),
                second: self.source.path.to_path_buf(),
                apex: Box::new(*zone.apex()),
            }
            .to_string()),
        });
        let kind = match zone {
            Ok(zone) => {
                let serial = zone.summary().serial;
                let same = |before: &&Arc<Zone>| before.apex() == zone.apex();
                let before = self.zone.as_ref().filter(same);
                let keys =
                    before.map_or(KeyChange::Kept, |before| KeyChange::between(before, &zone));
                let before = before.map(|zone| zone.summary().serial);
                self.zone = Some(zone);
                self.read = Some((SystemTime::now(), start.elapsed()));
                self.error = None;
                ChangeKind::Loaded {
                    serial,
                    before,
                    keys,
                }
            }
            Err(reason) => {
                // Its name may have gone to somebody else meanwhile.
                let lost = |zone: &Arc<Zone>| owners.contains_key(&ByName(zone.clone()));
                if self.zone.as_ref().is_some_and(lost) {
                    self.zone = None;
                }
                self.error = Some(reason.clone());
                let kept = self.zone.is_some();
                ChangeKind::Failed { reason, kept }
            }
        };
        Change {
            path: self.source.path.to_path_buf(),
            apex: self.apex(),
            kind,
            faults,
        }
    }
}

fn count_errors(faults: &[Fault]) -> String {
    let is_error = |fault: &&Fault| fault.severity == Severity::Error;
    match faults.iter().filter(is_error).count() {
        1 => "1 error".into(),
        errors => format!("{errors} errors"),
    }
}

/// True where the file is the one that was read. What cannot be read again has no
/// stamp.
fn is_as_it_was((path, stamp): &(PathBuf, Option<Stamp>)) -> bool {
    stamp.is_none_or(|stamp| Stamp::at(path) == Some(stamp))
}

/// Reads files that nobody writes to meanwhile.
fn read_whole(source: &Source) -> Result<Loaded, LoadError> {
    for _ in 0..ATTEMPTS {
        let loaded = source.load()?;
        let stamps = || loaded.files.iter().filter_map(|(_, stamp)| stamp.as_ref());
        if let Some(age) = stamps().map(Stamp::age).min() {
            std::thread::sleep(QUIET.saturating_sub(age));
        }
        if loaded.files.iter().all(is_as_it_was) {
            return Ok(loaded);
        }
    }
    Err(LoadError::Restless(source.path.to_path_buf()))
}
