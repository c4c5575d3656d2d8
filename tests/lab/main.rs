//! The laboratory through its public face: each experiment runs, quickly, and
//! finds what must hold on any Linux since 4.6.

mod batch;
mod bind;
mod compare;
mod explain;
mod interrupt;
mod locality;
mod lookup;
mod paths;
mod play;
mod play_browser;
mod remote;
mod report;
mod resize;
mod restart;
mod rivals;
mod serve_beside;
mod spread;
mod stall;
mod wakeups;
mod webdriver;

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The program, told to run quickly.
fn lab(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shardns"))
        .arg("lab")
        .args(arguments)
        .output()
        .unwrap()
}

/// Runs an experiment and returns what it wrote as JSON.
fn measure(name: &str, arguments: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("result.json");
    let common = [name, "--quick", "--json", file.to_str().unwrap()];
    let output = lab(&[&common, arguments].concat());
    let told = String::from_utf8(output.stdout).unwrap();
    let faults = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}\n{faults}");
    let result: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(result["experiment"], name);
    assert_eq!(result["schema"], 2);
    short_sentences(&result["finding"], &told);
    same_names(rows(&result));
    result
}

/// A finding is read at a glance, and is the same wherever it stands.
fn short_sentences(finding: &Value, told: &str) {
    let notes = finding["notes"].as_array().unwrap();
    assert!(notes.len() <= 3, "{finding}");
    for sentence in std::iter::once(&finding["sentence"]).chain(notes) {
        let sentence = sentence.as_str().unwrap();
        assert!(shardns::lab::result::words(sentence) <= 25, "{sentence}");
        assert!(sentence.ends_with('.'), "{sentence}");
        assert!(told.contains(sentence), "{told}");
    }
}

fn rows(result: &Value) -> &[Value] {
    let rows = result["rows"].as_array().unwrap();
    assert!(!rows.is_empty());
    rows
}

/// CSV has one heading for all.
fn same_names(rows: &[Value]) {
    let names = |row: &Value| -> Vec<String> { row.as_object().unwrap().keys().cloned().collect() };
    for row in rows {
        assert_eq!(names(row), names(&rows[0]));
    }
}

#[test]
fn without_a_name_it_lists_the_experiments() {
    let output = lab(&[]);
    let list = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && list.contains("\nall "));
    for line in list.lines() {
        assert!(line.len() < 100, "{line}");
    }
}

#[test]
fn results_are_written_though_nobody_reads_along() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("result.csv");
    let mut running = Command::new(env!("CARGO_BIN_EXE_shardns"))
        .args(["lab", "bind", "--quick", "--csv", file.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(running.stdout.take());
    assert!(running.wait().unwrap().success());
    assert!(fs::read_to_string(file).unwrap().lines().count() > 100);
}

#[test]
fn wrong_arguments_are_told() {
    for (arguments, said) in [
        (&["spraed"][..], "there is no experiment spraed"),
        (&["all"], "needs --out DIR"),
        (&["spread", "--out", "there"], "--out is for"),
        (&["bind", "--tcp"], "--tcp is for"),
        (&["bind", "--json", "nowhere/result.json"], "no such folder"),
    ] {
        let output = lab(arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(told.contains(said), "{told}");
    }
}
