//! `rivals`: whoever shares the port, and how, everything is answered.

use std::fs;
use std::io::{Write, stderr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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

/// An experiment with three processes, once all of them are there; `None` where
/// that cannot be seen.
fn with_processes() -> Option<(Child, Vec<String>)> {
    let mut running = Command::new(env!("CARGO_BIN_EXE_shardns"))
        .args(["lab", "rivals", "--sockets", "3"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    loop {
        match children(running.id()) {
            None => {
                let _ = writeln!(
                    stderr(),
                    "SKIPPED: this kernel does not list the children of a process"
                );
                running.kill().unwrap();
                running.wait().unwrap();
                return None;
            }
            Some(children) if children.len() == 3 => return Some((running, children)),
            Some(_) => assert!(running.try_wait().unwrap().is_none(), "it ends too early"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn ctrl_c_ends_its_processes() {
    let Some((mut running, started)) = with_processes() else {
        return;
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

/// Root's too, which might have become another user's by then.
#[test]
fn its_processes_end_with_it_even_where_it_is_killed() {
    let Some((mut running, started)) = with_processes() else {
        return;
    };
    let end = Instant::now() + Duration::from_secs(20);
    // Workers are started when nothing is left to be given up.
    let threads = |child: &str| fs::read_dir(format!("/proc/{child}/task")).map(Iterator::count);
    while started.iter().any(|child| threads(child).unwrap() < 2) {
        assert!(Instant::now() < end, "a process has no workers");
        std::thread::yield_now();
    }
    running.kill().unwrap();
    running.wait().unwrap();
    // Whoever they belong to now may not have looked yet.
    let is_left = |child: &String| {
        let state = fs::read_to_string(format!("/proc/{child}/stat"));
        state.is_ok_and(|state| !state.contains(") Z "))
    };
    while started.iter().any(is_left) {
        assert!(Instant::now() < end, "of {started:?} there are some left");
        std::thread::yield_now();
    }
}
