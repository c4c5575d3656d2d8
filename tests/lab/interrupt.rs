//! Ctrl-C ends an experiment, says so, and leaves nothing behind.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

#[test]
fn ctrl_c_ends_an_experiment() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("result.json");
    let mut running = Command::new(env!("CARGO_BIN_EXE_shardns"))
        .args(["lab", "spread", "--json"])
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The question is told before anything is measured.
    let mut told = BufReader::new(running.stdout.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    assert!(line.starts_with("spread: "), "{line}");
    let interrupt = Command::new("kill")
        .args(["-INT", &running.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupt.success());
    let status = running.wait().unwrap();
    let mut faults = String::new();
    running.stderr.unwrap().read_to_string(&mut faults).unwrap();
    assert_eq!(status.code(), Some(1), "{faults}");
    assert!(faults.contains("interrupted"), "{faults}");
    assert!(!file.exists(), "what was cut short is not written");
}
