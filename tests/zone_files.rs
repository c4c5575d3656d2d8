//! Zone files: every text case, what the command line says of files, and what
//! no text may do.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use shardns::zone;
use shardns::zone::text::Library;
use support::zones;

#[test]
fn every_zone_file_is_read_as_its_case_says() {
    let mut failures = Vec::new();
    let cases = zones::all();
    for case in &cases {
        if let Err(error) = case.check() {
            failures.push(format!("{}: {}\n  {error}", case.at, case.title));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} cases\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
    assert!(cases.len() > 90, "only {} cases were found", cases.len());
}

/// A folder of files to check.
struct Files(tempfile::TempDir);

/// What `shardns check` has to say.
struct Checked {
    code: Option<i32>,
    out: String,
    error: String,
}

const GOOD: &str = "@ 60 SOA ns.test. h.test. 1 2 3 4 5\n@ NS ns.test.\n@ NS ns2.test.\n";

impl Files {
    fn new(files: &[(&str, &str)]) -> Files {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Files(folder)
    }

    fn check(&self, arguments: &[&str]) -> Checked {
        let Output {
            status,
            stdout,
            stderr,
        } = Command::new(env!("CARGO_BIN_EXE_shardns"))
            .arg("check")
            .args(arguments)
            .current_dir(self.0.path())
            .output()
            .unwrap();
        Checked {
            code: status.code(),
            out: String::from_utf8(stdout).unwrap(),
            error: String::from_utf8(stderr).unwrap(),
        }
    }
}

/// A zone at `origin` that nothing is wrong with.
fn good(origin: &str) -> String {
    format!("$ORIGIN {origin}\n{GOOD}")
}

#[test]
fn a_summary_counts_names_sets_and_records() {
    let text = good("example.")
        + "a A 192.0.2.1\na A 192.0.2.2\na TXT x\ndeep.under.b A 192.0.2.3\n\
           cut NS ns.cut\nns.cut A 192.0.2.4\n@ SOA ns.test. h.test. 1 2 3 4 5\n";
    let checked = Files::new(&[("x.zone", &text)]).check(&["x.zone"]);
    assert_eq!(checked.code, Some(0), "{}", checked.error);
    // example, a, deep.under.b, under.b, b and cut; the second SOA is the first.
    let counts = "x.zone: example.: 6 names, 6 record sets, 9 records, ";
    assert!(checked.out.starts_with(counts), "{}", checked.out);
    assert!(checked.out.ends_with(" bytes\n"), "{}", checked.out);
    assert_eq!(checked.error, "");
}

#[test]
fn warnings_leave_a_zone_fit_and_errors_do_not() {
    let files = Files::new(&[
        (
            "warn.zone",
            &(good("warn.") + "a A 192.0.2.1\na A 192.0.2.1\n"),
        ),
        (
            "bad.zone",
            &(good("bad.") + "a A 192.0.2.1\na A 192.0.2.1\nb FOO\nc A\n"),
        ),
    ]);
    let checked = files.check(&["warn.zone"]);
    assert_eq!(checked.code, Some(0));
    let warning = "warn.zone:6:1: warning: the same A record stands here already; this one is dropped\n  \
                   6 | a A 192.0.2.1\n    | ^\nwarn.zone: warn.: ";
    assert!(checked.out.starts_with(warning), "{}", checked.out);
    assert!(checked.out.ends_with(" bytes, 1 warning\n"));

    let checked = files.check(&["bad.zone", "warn.zone"]);
    assert_eq!(checked.code, Some(1));
    let places: Vec<&str> = checked
        .out
        .lines()
        .filter(|line| line.contains(".zone:"))
        .map(|line| line.rsplit_once(": ").map_or(line, |(place, _)| place))
        .collect();
    assert!(places[0].starts_with("bad.zone:7:3: error"), "{places:?}");
    assert!(places[1].starts_with("bad.zone:8:4: error"), "{places:?}");
    assert!(places[2].starts_with("bad.zone:6:1: warning"), "{places:?}");
    assert!(checked.out.contains("\nbad.zone: 2 errors, 1 warning\n"));
    let sentence = "shardns: 2 errors; 1 of 2 zones cannot be served\n";
    assert_eq!(checked.error, sentence);
}

#[test]
fn strict_takes_warnings_for_errors_and_quiet_says_nothing() {
    let files = Files::new(&[
        ("good.zone", &good("good.")),
        (
            "warn.zone",
            &(good("warn.") + "a A 192.0.2.1\na A 192.0.2.1\n"),
        ),
        ("bad.zone", &(good("bad.") + "b FOO\n")),
    ]);
    for (zone, lenient, strict) in [
        ("good.zone", 0, 0),
        ("warn.zone", 0, 1),
        ("bad.zone", 1, 1),
        ("missing.zone", 1, 1),
        ("no-folder/", 1, 1),
    ] {
        for (arguments, code) in [
            (&[][..], lenient),
            (&["--strict"], strict),
            (&["--quiet"], lenient),
            (&["-q", "--strict"], strict),
        ] {
            let checked = files.check(&[arguments, &[zone]].concat());
            assert_eq!(checked.code, Some(code), "{arguments:?} {zone}");
            let is_told = !checked.out.is_empty() || !checked.error.is_empty();
            let is_quiet = arguments.iter().any(|word| word.contains('q'));
            assert_eq!(is_told, !is_quiet, "{arguments:?} {zone}");
        }
    }
    let checked = files.check(&["--strict", "good.zone", "warn.zone"]);
    assert!(checked.out.contains("warn.zone:6:1: warning: the same"));
    let sentence = "shardns: 1 warning, which --strict takes for errors\n";
    assert_eq!(checked.error, sentence);
    assert_eq!(files.check(&["--quiet", "--print"]).code, Some(2));
}

#[test]
fn several_zones_at_once_parents_and_children_and_the_root() {
    let files = Files::new(&[
        ("root", GOOD),
        ("zones/a.zone", &good("example.")),
        ("zones/b.zone", &good("sub.example.")),
        ("zones/c.zone", &good("x.sub.example.")),
        ("zones/part.inc", "never read for itself"),
    ]);
    let checked = files.check(&[".=root", "zones", "test=root", "other.test.=root"]);
    assert_eq!(checked.code, Some(0), "{}", checked.error);
    let summaries = checked.out.lines().filter(|line| line.contains(" bytes"));
    let names: Vec<&str> = summaries
        .map(|line| line.split(": ").nth(1).unwrap())
        .collect();
    assert_eq!(
        names,
        [
            ".",
            "example.",
            "sub.example.",
            "x.sub.example.",
            "test.",
            "other.test."
        ]
    );
}

#[test]
fn a_second_file_for_an_origin_is_an_error_among_others() {
    let files = Files::new(&[
        ("a.zone", &good("example.")),
        ("b", GOOD),
        ("bad.zone", "x"),
    ]);
    let both = "a.zone and b both hold the zone example.; name one of them";
    let checked = files.check(&["a.zone", "EXAMPLE=b"]);
    assert_eq!(checked.code, Some(1));
    assert_eq!(
        checked.error,
        "shardns: 1 error; 1 of 2 zones cannot be served\n"
    );
    assert!(checked.out.contains(both), "{}", checked.out);
    let checked = files.check(&["a.zone", "bad.zone", "example.=b"]);
    assert_eq!(checked.code, Some(1));
    assert!(checked.out.contains(both), "{}", checked.out);
    let checked = files.check(&["a.zone", "a.zone"]);
    assert_eq!(checked.code, Some(1));
}

#[test]
fn what_is_no_file_is_refused_without_waiting_long_and_the_rest_is_told() {
    let files = Files::new(&[
        ("good.zone", &good("example.")),
        (
            "includes.zone",
            &(good("example.test.") + "$INCLUDE pipe\n$INCLUDE /dev/zero\n"),
        ),
        ("folder/x", ""),
    ]);
    let pipe = files.0.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for (print, shown) in [(&[][..], 1), (&["--print"][..], 4)] {
        let zones = [
            "pipe",
            "/dev/zero",
            "missing.zone",
            "good.zone",
            "includes.zone",
        ];
        let checked = files.check(&[print, &zones].concat());
        assert_eq!(checked.code, Some(1));
        let says = |text: &str| assert!(checked.out.contains(text), "{text}\n{}", checked.out);
        says("cannot read pipe: nobody has written to this pipe for 3 s");
        says("cannot read /dev/zero: it is no regular file");
        says("cannot read missing.zone: No such file or directory");
        says("includes.zone:5:10: error: cannot read pipe: it is no regular file");
        says("includes.zone:6:10: error: cannot read /dev/zero: it is no regular file");
        let good = checked.out.lines().filter(|line| {
            line.starts_with("example.\t") || line.starts_with("good.zone: example.: ")
        });
        assert_eq!(good.count(), shown, "{}", checked.out);
        assert_eq!(
            checked.error,
            "shardns: 5 errors; 4 of 5 zones cannot be served\n"
        );
    }
    let checked = files.check(&["example.=folder"]);
    assert_eq!(checked.code, Some(1));
    assert!(
        checked.error.contains("folder is a folder"),
        "{}",
        checked.error
    );
    let checked = files.check(&["folder"]);
    assert!(
        checked.error.contains("no file of a name like *.zone"),
        "{}",
        checked.error
    );
}

#[test]
fn octets_that_are_no_text_are_shown_harmlessly() {
    let files = Files::new(&[]);
    let text = b"$ORIGIN example.\n$TTL 60\n@ SOA ns.test. h 1 2 3 4 5\n@ NS ns.test.\n\
                 \xff\xfe\x00\x01 TXT \x1b[31m\xe9\x00 \"\x07\"\na FOO\x1b[2J \xff\n";
    fs::write(files.0.path().join("x.zone"), text).unwrap();
    let checked = files.check(&["--print", "x.zone"]);
    assert_eq!(checked.code, Some(1));
    let record = r#"\255\254\000\001.example.	60	IN	TXT	"\027[31m\233\000" "\007""#;
    assert!(
        checked.out.lines().any(|line| line == record),
        "{}",
        checked.out
    );
    let fault = "x.zone:6:3: error: unknown type `FOO\u{fffd}[2J`";
    assert!(checked.out.contains(fault), "{}", checked.out);
    let controls = checked
        .out
        .chars()
        .filter(|c| c.is_control() && !"\n\t".contains(*c));
    assert_eq!(controls.count(), 0);
}

#[test]
fn many_faults_take_no_longer_than_their_number() {
    // Each would take minutes if faults, sets or entries were met in pairs.
    let lines = 50_000;
    for (line, faults) in [
        ("n# A 192.0.2\n", lines),
        ("n# A ( 192.0.2.1\n", lines),
        ("n# A 192.0.2.1 )\n", lines),
        ("n# TXT \"x\n", lines),
        ("same TXT x\n", lines - 1),
        ("n#.test. A 192.0.2.1\n", lines),
        ("n# NS ns.n#\n", lines),
        ("big A 10.#.0.1\n", lines - 256),
    ] {
        let numbered = |number: usize| line.replace('#', &number.to_string());
        let text = good("example.") + &(0..lines).map(numbered).collect::<String>();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zone");
        fs::write(&path, text).unwrap();
        let loaded = zone::load(Library::Disk, &path, None).unwrap();
        assert_eq!(loaded.faults.len(), faults, "{line}");
    }
}

/// Reads a text and whatever it includes of itself; says what is wrong with
/// what comes out.
fn read_anything(text: &[u8], origin: Option<&str>) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zone");
    fs::write(&path, text).unwrap();
    let origin = origin.map(|origin| origin.parse().unwrap());
    let loaded = zone::load(Library::Disk, &path, origin)
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    let lines = text.split(|&octet| octet == b'\n').count();
    for fault in &loaded.faults {
        prop_assert!((1..=lines).contains(&fault.line), "{fault}");
        prop_assert_eq!(fault.to_string().lines().count(), 3);
    }
    zones::check_again(&path, origin, Path::new(folder.path())).map_err(TestCaseError::fail)
}

/// Words that mean something in a zone file, most of all next to each other.
fn word() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "@",
        "a",
        "b.a",
        "*",
        "*.a",
        "example.",
        "test.",
        "..",
        "\\",
        "\\032",
        "\\25",
        "\"",
        "\"q\"",
        "(",
        ")",
        "(\n",
        ";",
        "; c",
        "\n",
        "\n",
        "\n",
        "\n ",
        "\r\n",
        "\t",
        "=",
        "a=\"",
        "$",
        "$ORIGIN",
        "$TTL",
        "$INCLUDE",
        "zone",
        "/",
        "$GENERATE",
        "1-3",
        "$x",
        "${0,3,n}",
        "${",
        "1",
        "0",
        "5m",
        "2147483648",
        "IN",
        "CH",
        "CLASS1",
        "A",
        "192.0.2.1",
        "AAAA",
        "2001:db8::1",
        "NS",
        "CNAME",
        "DNAME",
        "SOA",
        "MX",
        "TXT",
        "SRV",
        "HTTPS",
        "alpn=h2",
        "LOC",
        "N",
        "E",
        "NSEC",
        "DS",
        "APL",
        "1:0.0.0.0/0",
        "TYPE1",
        "TYPE65280",
        "\\#",
        "00",
        "\u{feff}",
        "é",
        "\0",
    ]);
    (words, any::<bool>()).prop_map(|(word, is_apart)| match is_apart {
        true => format!(" {word}"),
        false => word.to_owned(),
    })
}

/// The type and data of a record that is right.
fn record() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "@",
        "a",
        "b.a",
        "*.c",
        "d\\.e",
        "x.test.",
        "\\000\\255",
    ]);
    let string = prop::collection::vec(any::<u8>(), 0..20).prop_map(|octets| {
        let escaped = octets.iter().map(|octet| format!("\\{octet:03}"));
        format!("\"{}\"", escaped.collect::<String>())
    });
    let hex = prop::collection::vec(any::<u8>(), 0..20).prop_map(|octets| {
        let digits = octets.iter().map(|octet| format!("{octet:02x}"));
        format!("\\# {} {}", octets.len(), digits.collect::<String>())
    });
    let data = prop_oneof![
        any::<[u8; 4]>().prop_map(|[a, b, c, d]| format!("A {a}.{b}.{c}.{d}")),
        any::<[u16; 2]>().prop_map(|[a, b]| format!("AAAA 2001:db8::{a:x}:{b:x}")),
        (any::<u16>(), name.clone()).prop_map(|(number, name)| format!("MX {number} {name}")),
        name.clone().prop_map(|name| format!("NS {name}")),
        name.clone().prop_map(|name| format!("CNAME {name}")),
        prop::collection::vec(string, 1..4)
            .prop_map(|strings| format!("TXT {}", strings.join(" "))),
        (256..65280u16, hex).prop_map(|(rtype, hex)| format!("TYPE{} {hex}", rtype + 200)),
    ];
    let ttl = prop::sample::select(vec!["", "5", "1h", "IN", "IN 2147483647"]);
    let owner = prop_oneof![3 => name, 1 => Just("")];
    (owner, ttl, data).prop_map(|(owner, ttl, data)| format!("{owner} {ttl} {data}\n"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_octets_make_it_panic(
        text in prop::collection::vec(any::<u8>(), 0..300),
        named in any::<bool>(),
    ) {
        read_anything(&text, named.then_some("example."))?;
    }

    #[test]
    fn no_words_make_it_panic(
        words in prop::collection::vec(word(), 0..60),
        named in any::<bool>(),
    ) {
        let text = match named {
            true => words.concat(),
            false => good("example.") + &words.concat(),
        };
        read_anything(text.as_bytes(), named.then_some("example."))?;
    }

    #[test]
    fn what_is_read_is_printed_and_read_again(records in prop::collection::vec(record(), 0..20)) {
        let text = good("example.") + &records.concat();
        read_anything(text.as_bytes(), None)?;
    }
}
