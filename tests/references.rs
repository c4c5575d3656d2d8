//! Other servers' tools read the text of every type, and find in it the octets
//! that are found here. What is not installed is skipped, and says so.

mod support;

use std::io::{Write, stderr};
use std::path::Path;
use std::process::{Command, Output};

use shardns::wire::RrType;
use shardns::zone::records::{Record, Records};
use shardns::zone::text::{self, Library};

const ZONE: &str = "tests/references/every-type.zone";
/// Types that BIND 9.18 does not know, or knows and refuses as obsolete.
const NOT_BIND: [&str; 4] = ["MD", "MF", "CLA", "IPN"];
/// Types that Knot 3.2 knows by their numbers alone.
const NOT_KNOT: [&str; 37] = [
    "MD", "MF", "MB", "MG", "MR", "NULL", "WKS", "X25", "ISDN", "NSAP", "NSAP-PTR", "SIG", "KEY",
    "PX", "GPOS", "NXT", "EID", "NIMLOC", "ATMA", "A6", "SINK", "HIP", "NINFO", "RKEY", "TALINK",
    "DSYNC", "HHIT", "BRID", "AVC", "DOA", "AMTRELAY", "RESINFO", "WALLET", "CLA", "IPN", "TA",
    "DLV",
];

/// The records of a zone file without a fault.
fn records(path: &Path) -> Records {
    let read = text::read(Library::Disk, path, None).unwrap();
    assert_eq!(read.records.faults.errors(), 0, "{}", path.display());
    read.records
}

/// A record with its data in generic form (RFC 3597 §5).
fn generic(records: &Records, record: &Record) -> String {
    let (owner, rtype) = (records.names.name(record.owner), record.rtype.0);
    let octets = records.rdata(record);
    let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    let length = octets.len();
    format!("{owner} {} IN TYPE{rtype} \\# {length} {hex}", record.ttl)
}

/// All records in some form.
fn all(records: &Records, form: impl Fn(&Records, &Record) -> String) -> String {
    let lines = records
        .list
        .iter()
        .map(|record| form(records, record) + "\n");
    lines.collect()
}

/// The zone's lines but for those of some types.
fn without(types: &[&str]) -> String {
    let text = std::fs::read_to_string(support::repository(ZONE)).unwrap();
    let rtype = |line: &str| {
        line.split_whitespace()
            .nth(1)
            .unwrap_or_default()
            .to_owned()
    };
    let lines = text
        .lines()
        .filter(|line| !types.contains(&rtype(line).as_str()));
    lines.map(|line| line.to_owned() + "\n").collect()
}

/// Runs a tool in the folder; `None` where there is no such tool.
fn run(folder: &Path, tool: &str, arguments: &[&str]) -> Option<Output> {
    let ran = Command::new(tool)
        .args(arguments)
        .current_dir(folder)
        .output();
    let Ok(output) = ran else {
        let _ = writeln!(stderr(), "SKIPPED: {tool} is not installed");
        return None;
    };
    assert!(
        output.status.success(),
        "{tool} {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Some(output)
}

#[test]
fn the_zone_has_every_type_with_fields() {
    let records = records(&support::repository(ZONE));
    let has = |rtype| records.list.iter().any(|record| record.rtype == rtype);
    let all = (0..=u16::MAX).map(RrType);
    for rtype in all.filter(|rtype| rtype.fields().is_some()) {
        assert!(has(rtype), "no {rtype}");
    }
}

#[test]
fn bind_finds_the_same_octets_in_the_text_of_every_type() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("original"), without(&NOT_BIND)).unwrap();
    let records = records(&path("original"));
    std::fs::write(path("printed"), all(&records, text::line)).unwrap();
    std::fs::write(path("generic"), all(&records, generic)).unwrap();
    let dumps = ["original", "printed", "generic"].map(|name| {
        let dump = format!("{name}.dump");
        let arguments = ["-D", "-s", "full", "-o", &dump, "example", name];
        run(folder.path(), "named-checkzone", &arguments)?;
        Some(std::fs::read_to_string(path(&dump)).unwrap())
    });
    let [Some(original), Some(printed), Some(in_octets)] = dumps else {
        return;
    };
    assert_eq!(original, in_octets);
    assert_eq!(printed, in_octets);
    // And what BIND writes is read here.
    let again = self::records(&path("original.dump"));
    let sorted = |records: &Records| {
        let all = all(records, generic);
        let mut lines: Vec<String> = all.lines().map(str::to_owned).collect();
        lines.sort();
        // BIND repeats the SOA.
        lines.dedup();
        lines
    };
    assert_eq!(sorted(&again), sorted(&records));
}

#[test]
fn knot_takes_every_type() {
    let records = records(&support::repository(ZONE));
    let folder = tempfile::tempdir().unwrap();
    for (name, zone) in [
        ("text", without(&NOT_KNOT)),
        ("generic", all(&records, generic)),
    ] {
        std::fs::write(folder.path().join(name), zone).unwrap();
        run(
            folder.path(),
            "kzonecheck",
            &["-d", "off", "-o", "example", name],
        );
    }
}
