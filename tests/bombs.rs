//! Zone files that stand for more than they are: each ends with an error that has a
//! place, in memory and time that go with the octets of the file.

mod support;

use std::fs;
use std::path::Path;

use shardns::zone;
use shardns::zone::records::Severity;
use shardns::zone::text::Library;
use shardns::zone::text::fault::Fault;

/// Octets of the texts here.
const TEXT: usize = 1 << 20;
/// Faults that are told.
const MAX_TOLD: usize = 100_000;
/// Octets of memory for each octet of text, since a line of two makes room for a record
/// and a name, and what is needed anyway.
const FACTOR: u64 = 64;
const ANYWAY: u64 = 96 << 20;

const HEAD: &str = "$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n";

/// The errors of a file.
fn errors(path: &Path) -> Vec<Fault> {
    let mut loaded = None;
    let used = allocation_counter::measure(|| {
        let origin = "example.".parse().unwrap();
        loaded = Some(zone::load(Library::Disk, path, Some(origin)).unwrap());
    });
    let allowed = FACTOR * fs::metadata(path).unwrap().len() + ANYWAY;
    assert!(used.bytes_max < allowed, "{} octets", used.bytes_max);
    let loaded = loaded.unwrap();
    let is_error = |fault: &Fault| fault.severity == Severity::Error;
    loaded.faults.into_iter().filter(is_error).collect()
}

/// The errors of a text.
fn errors_of(text: &str) -> Vec<Fault> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zone");
    fs::write(&path, text).unwrap();
    errors(&path)
}

/// The only error: its line, and what it says.
fn error_of(text: &str) -> (usize, String) {
    let mut errors = errors_of(text);
    assert_eq!(errors.len(), 1, "{:#?}", &errors[..2]);
    let error = errors.remove(0);
    (error.line, error.sentence)
}

#[test]
fn a_line_of_words_without_end() {
    let (line, sentence) = error_of(&format!("{HEAD}x TXT {}\n", "a ".repeat(TEXT / 2)));
    assert_eq!(line, 5);
    assert!(sentence.contains("262144 words"), "{sentence}");
}

#[test]
fn a_word_without_end() {
    let long = "a".repeat(TEXT);
    for text in [
        format!("x A {long}"),
        format!("{long} A 192.0.2.1"),
        format!("x TXT {long}"),
        format!("x TXT \"{long}\""),
        format!("x TYPE65280 \\# 65535 {long}"),
        format!("x {long} A 192.0.2.1"),
        format!("$INCLUDE {long}"),
        format!("$GENERATE 1-2 {long} A 192.0.2.1"),
    ] {
        let errors = errors_of(&format!("{HEAD}{text}\n"));
        assert_eq!(errors[0].line, 5, "{}", &text[..20]);
        assert!(errors[0].to_string().len() < 2_000, "{}", &text[..20]);
    }
}

#[test]
fn parentheses_inside_parentheses() {
    for text in ["(", "(\n"] {
        // All is read to the end before it shows that they stay open.
        let text = text.repeat(TEXT + 1);
        let (line, sentence) = error_of(&format!("{HEAD}x A {text}"));
        assert!(line == 5 || line == 5 + TEXT, "{line}");
        assert!(sentence.contains("more than 1048576"), "{sentence}");
    }
    // Closed, they are as good as one pair.
    let (open, closed) = ("(".repeat(100_000), ")".repeat(100_000));
    assert!(errors_of(&format!("{HEAD}x A {open}192.0.2.1{closed}\n")).is_empty());
    let closing = errors_of(&format!("{HEAD}{}", ")\n".repeat(TEXT / 2)));
    assert_eq!(closing.len(), MAX_TOLD);
}

#[test]
fn garbage_of_all_kinds() {
    let mut octet = 1u32;
    let garbage: String = std::iter::repeat_with(|| {
        octet = octet.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from((octet >> 24) as u8)
    })
    .take(TEXT / 2)
    .collect();
    for text in [
        garbage,
        "x\n".repeat(TEXT / 2),
        "\0".repeat(TEXT),
        "\"\n".repeat(TEXT / 2),
    ] {
        let errors = errors_of(&text);
        assert!((1..=MAX_TOLD).contains(&errors.len()), "{}", errors.len());
    }
}

#[test]
fn files_that_include_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
    // Sixteen levels, of which each includes the next one ten times.
    for level in 1..=16 {
        write(
            &format!("f{level}"),
            format!("$INCLUDE f{}\n", level + 1).repeat(10),
        );
    }
    write("f17", "x A 192.0.2.1\n".into());
    write("f0", format!("{HEAD}$INCLUDE f1\n"));
    let errors = errors(&folder.path().join("f0"));
    assert_eq!(errors[0].line, 1);
    assert!(errors[0].path.ends_with("f16"), "{}", errors[0].path);
    assert!(
        errors[0].sentence.contains("nested"),
        "{}",
        errors[0].sentence
    );
}

#[test]
fn ranges_without_end() {
    for (range, says) in [
        ("0-4294967295", "more than 16777216"),
        ("0-4294967296", "write start-stop"),
        ("4294967295-0", "must rise"),
        ("0-1/0", "gets nowhere"),
    ] {
        let (line, sentence) = error_of(&format!("{HEAD}$GENERATE {range} a$ A 192.0.2.1\n"));
        assert_eq!(line, 5);
        assert!(sentence.contains(says), "{range}: {sentence}");
    }
}
