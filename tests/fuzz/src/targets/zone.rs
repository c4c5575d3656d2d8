//! The reader of zone files, and all that is made of what it reads: an octet says
//! how, then a text, and behind a line `====` another that it may include as `more`.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use shardns::answer::Via;
use shardns::wire::{Name, RrType};
use shardns::zone::records::Severity;
use shardns::zone::text::Library;
use shardns::zone::text::fault::Fault;
use shardns::zone::{self, Zone, Zones};

use crate::support::decode::decode;
use crate::support::{self, UDP, zones};

/// The line between the texts.
const BETWEEN: &[u8] = b"\n====\n";
/// Names of a zone that are asked for.
const MAX_ASKED: usize = 40;

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let folder = tempfile::Builder::new().prefix("shardns-fuzz-").to_owned();
    match memory.is_dir() {
        true => folder.tempdir_in(memory).unwrap(),
        false => folder.tempdir().unwrap(),
    }
});

/// Reads the zone; where it is good, prints it, reads that, and asks for its names.
pub fn run(input: &[u8]) {
    let [way, text @ ..] = input else { return };
    if is_long(text) {
        return;
    }
    let between = text.windows(BETWEEN.len()).position(|part| part == BETWEEN);
    let (first, more) = match between {
        Some(at) => (&text[..at + 1], &text[at + BETWEEN.len()..]),
        None => (text, &b""[..]),
    };
    let path = FOLDER.path().join("zone");
    fs::write(&path, first).unwrap();
    fs::write(FOLDER.path().join("more"), more).unwrap();
    let origin: Option<Name> = (way & 1 != 0).then(|| "example.".parse().unwrap());
    let loaded = zone::load(Library::Disk, &path, origin).unwrap();
    let severity = |fault: &Fault| fault.severity;
    assert!(
        loaded.faults.is_sorted_by_key(severity),
        "errors come first"
    );
    let is_wrong = loaded.faults.first().map(severity) == Some(Severity::Error);
    assert_eq!(is_wrong, loaded.zone.is_none(), "{:?}", loaded.faults);
    for fault in &loaded.faults {
        let lines = [first, more].map(|text| text.split(|octet| *octet == b'\n').count());
        let most = if fault.path.ends_with("more") {
            lines[1]
        } else {
            lines[0]
        };
        assert!((1..=most).contains(&fault.line), "{fault}");
        assert!(fault.column >= 1 && !fault.sentence.is_empty(), "{fault}");
        assert!(!fault.to_string().contains('\r'), "{fault}");
    }
    if let Some(zone) = loaded.zone {
        if let Err(error) = zones::check_again(&path, origin, FOLDER.path()) {
            panic!("{error}");
        }
        ask(zone);
    }
}

/// True for texts that stand for more than there is time for: ranges of more than
/// four digits.
fn is_long(text: &[u8]) -> bool {
    let word = b"$GENERATE";
    let at = |part: &[u8]| part.eq_ignore_ascii_case(word);
    let found = text.windows(word.len()).enumerate();
    let mut found = found.filter(|(_, part)| at(part));
    let of_this = |at: usize| &text[at..text.len().min(at + 64)];
    found.any(|(at, _)| {
        let parts = of_this(at).split(|octet| !octet.is_ascii_digit());
        parts.map(<[u8]>::len).any(|digits| digits > 3)
    })
}

/// Every name of the zone can be asked for, and so can what is below it.
fn ask(zone: std::sync::Arc<Zone>) {
    let zones = Zones::new(vec![zone.clone()]);
    for node in zone.nodes().chain(zone.hidden_nodes()).take(MAX_ASKED) {
        let types = [RrType::A, RrType::DS, RrType::ANY];
        let below = [b"\x01x", node.name()].concat();
        for name in [node.name(), &below] {
            if name.len() > 255 {
                continue;
            }
            for rtype in node.types().chain(types) {
                let mut request = vec![1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
                request.extend_from_slice(name);
                request.extend(rtype.0.to_be_bytes());
                request.extend(b"\0\x01\0\0\x29\x04\xd0\0\0\x80\0\0\0");
                for via in [UDP, Via::Tcp] {
                    let reply = support::ask(&zones, via, &request).expect("it is a question");
                    let read = decode(&reply);
                    read.unwrap_or_else(|error| panic!("{error}: {request:02x?} {reply:02x?}"));
                }
            }
        }
    }
}

/// The zones of all cases of both kinds.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for folder in ["tests/cases", "tests/zones"] {
        for entry in fs::read_dir(support::repository(folder)).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            let zones = indented(&text).into_iter();
            seeds.extend(zones.map(|text| format!("\x01{text}").into_bytes()));
        }
    }
    for file in ["example.com", "child.example.com", "192.0.2", "2001-db8"] {
        let path = support::repository(&format!("zones/{file}.zone"));
        seeds.push([b"\0", &fs::read(path).unwrap()[..]].concat());
    }
    seeds
}

/// What a text has indented behind each line `zone …` and `file …`.
fn indented(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut is_zone = false;
    for line in text.lines() {
        match line.strip_prefix("    ") {
            Some(line) if is_zone => {
                let zone = found.last_mut().expect("one has begun");
                *zone += line;
                zone.push('\n');
            }
            None if line.is_empty() => {}
            None => {
                is_zone = line.starts_with("zone ") || line.starts_with("file ");
                if is_zone {
                    found.push(String::new());
                }
            }
            Some(_) => {}
        }
    }
    found.retain(|text| text.len() < 8192);
    found
}
