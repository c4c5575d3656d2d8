//! `rivals`: whoever shares the port, and how, everything is answered.

use std::fs;
use std::io::{Write, stderr};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{measure, rows};

const RIVALS: [&str; 5] = [
    "reuseport",
    "shared socket",
    "shared epoll",
    "hand-off",
    "processes",
];
const LOADS: [&str; 4] = ["low", "most", "50 %", "90 %"];

fn by_worker(row: &Value) -> Vec<u64> {
    let workers = row["received_by_worker"].as_array().unwrap();
    workers
        .iter()
        .map(|count| count.as_u64().unwrap())
        .collect()
}

fn holds(result: &Value, workers: usize) {
    for rival in RIVALS {
        for load in LOADS {
            let is_it = |row: &&Value| row["rival"] == rival && row["load"] == load;
            assert!(rows(result).iter().any(|row| is_it(&row)), "{rival} {load}");
        }
    }
    for row in rows(result) {
        let number = |name: &str| row[name].as_u64().unwrap();
        assert_eq!(number("sent"), number("answered") + number("lost"), "{row}");
        assert_eq!(by_worker(row).len(), workers);
        // What comes late or not at all has been counted by who received it.
        assert!(
            by_worker(row).iter().sum::<u64>() >= number("answered"),
            "{row}"
        );
        match row["load"].as_str().unwrap() {
            "low" => assert_eq!(number("lost"), 0, "{row}"),
            "most" => assert!(number("answered") > 0, "{row}"),
            _ => {}
        }
        // The hash leaves none of three workers out of 64 flows.
        if row["load"] == "most" && row["rival"] == "reuseport" {
            assert!(by_worker(row).iter().all(|&count| count > 0), "{row}");
        }
    }
}

#[test]
fn all_rivals_answer_everything() {
    holds(&measure("rivals", &["--sockets", "3"]), 3);
}

#[test]
fn one_worker_has_nobody_to_share_with() {
    let result = measure("rivals", &["--sockets", "1"]);
    holds(&result, 1);
    assert!(rows(&result).iter().all(|row| row["hottest"] == 1.0));
}

/// The processes of one worker each that it starts.
fn children(process: u32) -> Option<Vec<String>> {
    let list = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    Some(list.split_whitespace().map(str::to_owned).collect())
}

#[test]
fn ctrl_c_ends_its_processes() {
    let mut running = Command::new(env!("CARGO_BIN_EXE_shardns"))
        .args(["lab", "rivals", "--sockets", "3"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = loop {
        match children(running.id()) {
            None => {
                let _ = writeln!(
                    stderr(),
                    "SKIPPED: this kernel does not list the children of a process"
                );
                running.kill().unwrap();
                running.wait().unwrap();
                return;
            }
            Some(children) if children.len() == 3 => break children,
            Some(_) => assert!(running.try_wait().unwrap().is_none(), "it ends too early"),
        }
        std::thread::yield_now();
    };
    let interrupt = Command::new("kill")
        .args(["-INT", &running.id().to_string()])
        .status();
    assert!(interrupt.unwrap().success());
    assert_eq!(running.wait().unwrap().code(), Some(1));
    for child in started {
        assert!(!Path::new("/proc").join(&child).exists(), "{child} is left");
    }
}
