//! Zone files and what is to be said of them. The files in `tests/zones`
//! explain themselves; this is how they are read.
//!
//! ```text
//! case TITLE
//! file [ORIGIN=]NAME [crlf] [bom] [open-end]
//!     the text, indented by four spaces. The first file is the one that is
//!     read, as ORIGIN=NAME where that is written; others can be included
//!
//! now YYYY-MM-DDTHH:MM:SSZ         when it is read, if not at the start of 2026
//! no faults              or
//! faults
//!     LINE:COLUMN: error|warning: PART OF THE SENTENCE
//!     NAME:LINE:COLUMN: …                      in another file than the first
//! records                all of them, as they are printed, or
//! records below          all but the SOA and NS records that a zone begins with
//!     OWNER TTL IN TYPE RDATA
//! ```
//!
//! `<TEXT*N>` stands for N times TEXT, and `<CR>`, `<NUL>`, `<VT>`, `<FF>`,
//! `<NBSP>` and `<BOM>` for what cannot be seen. `<KEY>` is the data of a DNSKEY, and
//! `<BY N>` what stands behind the type in a signature by it of a set in `example.` with
//! a TTL of 3600 and N labels, valid from December 2025 to January 2026. In a file's
//! name `\032` is a blank. `crlf` ends lines with CR LF, `bom` puts a byte-order mark
//! first, `open-end` leaves out the last newline.
//!
//! The faults are all there are, in their order: errors first, then by place.
//! Nearly every zone here has one name server, so that this is left out where a
//! case does not name it.
//! There must be a zone exactly where no error is among them. The line and the
//! caret that are shown with a fault are checked for every case, and what a
//! case prints is read again, which must give the same records.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use shardns::wire::Name;
use shardns::zone::load::Source;
use shardns::zone::records::Severity;
use shardns::zone::text::fault::{self, Fault};
use shardns::zone::text::{self, Library};
use shardns::zone::{Loaded, Scrutiny};

/// What nearly every zone of the cases would be told.
const ONE_SERVER: &str = "has one name server";

/// One zone and what is to be said of it.
pub struct Case {
    /// Where it stands.
    pub at: String,
    pub title: String,
    origin: Option<Name>,
    files: Vec<File>,
    faults: Option<Vec<String>>,
    records: Option<Vec<String>>,
    /// Whether `records` leaves out how the zone begins.
    below: bool,
    scrutiny: Scrutiny,
}

#[derive(Default)]
struct File {
    name: String,
    lines: Vec<String>,
    crlf: bool,
    bom: bool,
    open_end: bool,
}

impl File {
    fn octets(&self) -> Vec<u8> {
        let newline = if self.crlf { "\r\n" } else { "\n" };
        let mut text = self.lines.join(newline);
        if self.bom {
            text.insert(0, '\u{feff}');
        }
        if !self.open_end && !self.lines.is_empty() {
            text.push_str(newline);
        }
        text.into_bytes()
    }
}

/// The cases of all files, in the order of their names.
pub fn all() -> Vec<Case> {
    let folder = super::repository("tests/zones");
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().flat_map(|path| read(path)).collect()
}

fn read(path: &Path) -> Vec<Case> {
    let text = fs::read_to_string(path).unwrap();
    let mut cases: Vec<Case> = Vec::new();
    let mut section = "";
    let mut blank_lines = 0;
    for (number, line) in text.lines().enumerate() {
        let at = format!("{}:{}", path.display(), number + 1);
        if line.is_empty() {
            blank_lines += 1;
            continue;
        }
        let blank_before = std::mem::take(&mut blank_lines);
        if let Some(line) = line.strip_prefix("    ") {
            let case = cases.last_mut().unwrap_or_else(|| panic!("{at}: no case"));
            let lines = match section {
                "file" => &mut case.files.last_mut().unwrap().lines,
                "faults" => case.faults.get_or_insert_default(),
                "records" => case.records.get_or_insert_default(),
                _ => panic!("{at}: neither a file nor what is to be said of it"),
            };
            if section == "file" && !lines.is_empty() {
                lines.extend(std::iter::repeat_n(String::new(), blank_before));
            }
            lines.push(repeated(line));
            continue;
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "#" {
            continue;
        }
        section = word;
        if word == "case" {
            cases.push(Case {
                at,
                title: rest.into(),
                origin: None,
                files: Vec::new(),
                faults: None,
                records: None,
                below: false,
                scrutiny: read_at("2026-01-01T00:00:00Z"),
            });
            continue;
        }
        let case = cases.last_mut().unwrap_or_else(|| panic!("{at}: no case"));
        match word {
            "file" => case.file(rest),
            "now" => case.scrutiny = read_at(rest),
            "no" | "faults" => case.faults = Some(Vec::new()),
            "records" => (case.records, case.below) = (Some(Vec::new()), rest == "below"),
            _ => panic!("{at}: cannot read `{line}`"),
        }
    }
    cases
}

/// A time at which a zone is read.
fn read_at(time: &str) -> Scrutiny {
    let time = humantime::parse_rfc3339(time).unwrap();
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Scrutiny {
        now: since.as_secs().try_into().unwrap(),
        verifiers: 0,
    }
}

/// What a case names, since nobody would see it, or see anything but it.
const NAMED: [(&str, &str); 10] = [
    ("<KEY>", "256 3 13 AQID"),
    (
        "<BY 1>",
        "13 1 3600 20260201000000 20251201000000 2063 example. AQID",
    ),
    (
        "<BY 2>",
        "13 2 3600 20260201000000 20251201000000 2063 example. AQID",
    ),
    (
        "<BY 3>",
        "13 3 3600 20260201000000 20251201000000 2063 example. AQID",
    ),
    ("<CR>", "\r"),
    ("<NUL>", "\0"),
    ("<VT>", "\x0b"),
    ("<FF>", "\x0c"),
    ("<NBSP>", "\u{a0}"),
    ("<BOM>", "\u{feff}"),
];

/// Writes names of what cannot be seen and `<TEXT*N>` out, the innermost first.
fn repeated(line: &str) -> String {
    let mut line = line.to_owned();
    for (name, text) in NAMED {
        line = line.replace(name, text);
    }
    while let Some(start) = line.rfind('<') {
        let end = start + line[start..].find('>').unwrap();
        let (text, count) = line[start + 1..end].rsplit_once('*').unwrap();
        let text = text.repeat(count.parse().unwrap());
        line.replace_range(start..=end, &text);
    }
    line
}

impl Case {
    fn file(&mut self, words: &str) {
        let mut words = words.split_whitespace();
        let name = words.next().unwrap();
        let (origin, name) = name.split_once('=').unwrap_or(("", name));
        if !origin.is_empty() {
            self.origin = Some(origin.parse().unwrap());
        }
        let words: Vec<&str> = words.collect();
        self.files.push(File {
            name: name.replace("\\032", " "),
            crlf: words.contains(&"crlf"),
            bom: words.contains(&"bom"),
            open_end: words.contains(&"open-end"),
            lines: Vec::new(),
        });
    }

    /// Says what is wrong with what is said of the zone.
    pub fn check(&self) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        // Files are shown by their paths, and so is a circle of them.
        let folder = folder.path().canonicalize().unwrap();
        for file in &self.files {
            let path = folder.join(&file.name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file.octets()).unwrap();
        }
        let first = folder.join(&self.files[0].name);
        let source = Source::new(Library::Disk, &first, self.origin);
        let loaded = source
            .load_under(self.scrutiny)
            .map_err(|error| error.to_string())?;
        self.check_faults(&loaded, &folder)?;
        let printed = print(&first, self.origin)?;
        if let Some(expected) = &self.records {
            let skip = |line: &&String| self.below && is_beginning(line, &printed[0]);
            let found: Vec<&String> = printed.iter().skip_while(skip).collect();
            if found != expected.iter().collect::<Vec<_>>() {
                return Err(format!("expected {expected:#?}, found {found:#?}"));
            }
        }
        check_again(&first, self.origin, &folder)
    }

    fn check_faults(&self, loaded: &Loaded, folder: &Path) -> Result<(), String> {
        let faults = &loaded.faults;
        let expected = self.faults.as_deref().unwrap_or_default();
        let is_named = expected.iter().any(|part| part.contains(ONE_SERVER));
        let found: Vec<String> = faults
            .iter()
            .map(|fault| self.shown(fault, folder))
            .filter(|shown| is_named || !shown.contains(ONE_SERVER))
            .collect();
        let is_expected = |(found, expected): (&String, &String)| {
            let parts = found.match_indices(": ").nth(1).map(|(at, _)| at + 2);
            let (place, sentence) = found.split_at(parts.unwrap());
            expected
                .strip_prefix(place)
                .is_some_and(|part| sentence.contains(part))
        };
        if found.len() != expected.len() || !found.iter().zip(expected).all(is_expected) {
            return Err(format!(
                "expected the faults {expected:#?}, found {found:#?}"
            ));
        }
        let has_error = faults.iter().any(|fault| fault.severity == Severity::Error);
        if has_error == loaded.zone.is_some() {
            return Err("there is a zone with errors, or none without".into());
        }
        faults
            .iter()
            .try_for_each(|fault| self.check_excerpt(fault, folder))
    }

    /// A fault as the cases have it, paths relative to the case's folder.
    fn shown(&self, fault: &Fault, folder: &Path) -> String {
        let line = fault.to_string().lines().next().unwrap().to_owned();
        let folder = format!("{}/", folder.display());
        let first = format!("{}:", self.files[0].name);
        let line = line.replace(&folder, "");
        line.strip_prefix(&first).unwrap_or(&line).into()
    }

    /// The line that is shown is that of the text, and the caret stands under
    /// the column. Long lines are cut; they have tests of their own.
    fn check_excerpt(&self, fault: &Fault, folder: &Path) -> Result<(), String> {
        let text = fs::read(folder.join(&fault.path)).map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let line = text.split('\n').nth(fault.line - 1).unwrap_or_default();
        if line.chars().count() > 50 {
            return Ok(());
        }
        let shown = fault.to_string();
        let lines: Vec<&str> = shown.lines().collect();
        let margin = format!("  {} | ", fault.line).len();
        let excerpt = lines[1].get(margin..).unwrap_or_default();
        let caret = &lines[2][margin..];
        let is_caret = caret.trim_start() == "^" && caret.chars().count() == fault.column;
        let line = line.trim_end().replace(
            |c: char| c.is_control() && c != '\t',
            &char::REPLACEMENT_CHARACTER.to_string(),
        );
        if excerpt != line || !is_caret {
            return Err(format!("`{line}`, and shown is\n{shown}"));
        }
        Ok(())
    }
}

/// True for the SOA and NS records of the owner that the first record has.
fn is_beginning(line: &str, first: &str) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    first.split(' ').next() == Some(words[0]) && ["SOA", "NS"].contains(&words[3])
}

/// The records of a master file as they are printed, a space between fields.
pub fn print(path: &Path, origin: Option<Name>) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    let source = Source::new(Library::Disk, path, origin);
    let printed = source.load_and_print(Scrutiny::now(), |line| {
        // An empty APL record has nothing behind its type.
        lines.push(line.replacen('\t', " ", 4).trim_end().to_owned());
    });
    printed.map_err(|error| error.to_string())?;
    Ok(lines)
}

/// What is printed is a master file too, which needs no origin and holds the
/// same records and no fault.
pub fn check_again(path: &Path, origin: Option<Name>, folder: &Path) -> Result<(), String> {
    let octets = |path: &Path, origin| -> Result<Vec<Vec<u8>>, String> {
        let text::Read { records, .. } = text::read(Library::Disk, path, origin)?;
        let list = records.list.iter();
        let octets = list.map(|record| {
            let rtype = record.rtype.0.to_be_bytes();
            let (owner, ttl) = (records.names.wire(record.owner), record.ttl.to_be_bytes());
            [owner, &rtype, &ttl, records.rdata(record)].concat()
        });
        Ok(octets.collect())
    };
    let printed = print(path, origin)?;
    let again = folder.join("printed again");
    fs::write(&again, printed.join("\n")).unwrap();
    let text::Read { records, texts } = text::read(Library::Disk, &again, None)?;
    if records.faults.errors() > 0 {
        let faults = fault::show(records.faults, &texts);
        return Err(format!("read again: {faults:#?}"));
    }
    if octets(path, origin)? != octets(&again, None)? {
        return Err("read again, other records come out".into());
    }
    match print(&again, None)? == printed {
        true => Ok(()),
        false => Err("printed again, other lines come out".into()),
    }
}
