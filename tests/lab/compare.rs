//! Two reports side by side, and the form of what is written down.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use shardns::lab::record::{Record, SCHEMA};

use super::{lab, measure};

/// A record as the present form has it, with each field that a reader may use.
const LAST_FORM: &str = include_str!("record-2.json");

#[test]
fn the_last_form_is_read_and_written_alike() {
    let record = Record::read(LAST_FORM).unwrap();
    assert_eq!(record.schema, SCHEMA);
    assert_eq!(record.samples[0].sample.each(), [15.0, 17.0]);
    let again: Value = serde_json::to_value(&record).unwrap();
    assert_eq!(again, serde_json::from_str::<Value>(LAST_FORM).unwrap());
}

#[test]
fn what_is_written_has_the_fields_of_the_form() {
    fn fields(value: &Value) -> Vec<&String> {
        value.as_object().unwrap().keys().collect()
    }
    let written = measure("spread", &["--sockets", "2"]);
    let form: Value = serde_json::from_str(LAST_FORM).unwrap();
    for part in [
        "",
        "/finding",
        "/place",
        "/surroundings",
        "/conditions",
        "/samples/0",
    ] {
        let [written, form] = [&written, &form].map(|record| record.pointer(part).unwrap());
        assert_eq!(fields(written), fields(form), "{part}");
    }
}

#[test]
fn other_forms_are_told_from_what_is_no_record() {
    let told = |text: &str| format!("{:#}", Record::read(text).unwrap_err());
    assert!(told("{\"finding\":\"so\"}").contains("of form 1 and not 2"));
    assert!(told("{\"schema\":3}").contains("of form 3 and not 2"));
    assert!(told("{\"schema\":2}").contains("not a whole record"));
    assert!(told("<html>").contains("not a record"));
}

/// A folder with a record of `spread` in which every sample is so many times
/// what was measured, or chance away from it.
fn elsewhere(folder: &Path, quick: bool, change: impl Fn(&mut Value)) {
    let mut record: Value = measure("spread", &["--sockets", "2"]);
    record["conditions"]["quick"] = json!(quick);
    let samples = record["samples"].as_array_mut().unwrap();
    samples.iter_mut().for_each(change);
    fs::write(folder.join("spread.json"), record.to_string()).unwrap();
}

fn beside(folder: &Path) -> String {
    let folder = folder.to_str().unwrap();
    let output = lab(&["spread", "--quick", "--sockets", "2", "--compare", folder]);
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_differs_beyond_noise_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    let times_a_thousand = |sample: &mut Value| {
        for figure in sample["each"].as_array_mut().unwrap() {
            *figure = json!(figure.as_f64().unwrap() * 1000.0);
        }
    };
    elsewhere(folder.path(), true, times_a_thousand);
    let told = beside(folder.path());
    assert!(told.contains("figures differ beyond noise."), "{told}");
    assert!(
        told.lines().any(|line| line.trim_start().starts_with("* ")),
        "{told}"
    );
    assert!(told.contains("Beside Linux "), "{told}");
}

/// With the same seed, `query-id` comes out the same. The hash, the kernel's random
/// numbers and its scheduler are chance, by which something is marked now and then.
#[test]
fn the_same_is_not_marked() {
    let folder = tempfile::tempdir().unwrap();
    elsewhere(folder.path(), true, |_| {});
    let told = beside(folder.path());
    let lines = told.lines().map(str::trim_start);
    let marked: Vec<&str> = lines.filter(|line| line.starts_with("* ")).collect();
    assert!(
        marked.len() <= 2 && !marked.iter().any(|line| line.contains(": query-id, ")),
        "{told}"
    );
    let none = told.contains("figures differs beyond noise.");
    assert_eq!(none, marked.is_empty(), "{told}");
}

/// A quick run and a full one measure different things.
#[test]
fn what_was_asked_otherwise_is_not_compared() {
    let folder = tempfile::tempdir().unwrap();
    elsewhere(folder.path(), false, |_| {});
    let told = beside(folder.path());
    assert!(
        told.contains("Not compared, for the two differ in --quick."),
        "{told}"
    );
    assert!(
        !told.lines().any(|line| line.trim_start().starts_with("* ")),
        "{told}"
    );
}

/// Words have no spread: any other word differs.
#[test]
fn other_words_differ() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bind.json");
    let mut record = measure("bind", &[]);
    record["words"][0]["words"] = json!("whatever");
    fs::write(&path, record.to_string()).unwrap();
    let folder = folder.path().to_str().unwrap();
    let output = lab(&["bind", "--quick", "--compare", folder]);
    let told = String::from_utf8(output.stdout).unwrap();
    let lines = told.lines().map(str::trim_start);
    let marked: Vec<&str> = lines.filter(|line| line.starts_with("* ")).collect();
    assert_eq!(marked.len(), 1, "{marked:#?}\n{told}");
    assert!(marked[0].contains("whatever"), "{marked:#?}");
    assert!(
        told.contains("1 of 64 cells and figures differ beyond noise."),
        "{told}"
    );
}

#[test]
fn there_must_be_something_to_compare_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    for (arguments, said) in [
        (vec!["spread", "--compare", path], "has no spread.json"),
        (
            vec!["all", "--out", path, "--compare", path],
            "there is no report",
        ),
    ] {
        let output = lab(&arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains(said), "{told}");
    }
}

/// Nor over what it cannot read: an older report, or half a one.
#[test]
fn a_quick_run_does_not_write_over_a_full_report() {
    for content in [None, Some("{\"finding\":\"so\"}"), Some("{\"schema\":2,")] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spread.json");
        match content {
            None => elsewhere(folder.path(), false, |_| {}),
            Some(content) => fs::write(&path, content).unwrap(),
        }
        let before = fs::read_to_string(&path).unwrap();
        let all = folder.path().to_str().unwrap();
        for (arguments, said) in [
            (["all", "--quick", "--out", all], "holds a full report"),
            (
                ["spread", "--quick", "--json", path.to_str().unwrap()],
                "holds the record of a full run",
            ),
        ] {
            let output = lab(&arguments);
            let told = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success() && told.contains(said), "{told}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
