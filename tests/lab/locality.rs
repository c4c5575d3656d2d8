//! `locality`: steering by CPU brings a datagram to the worker on that CPU.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;

use super::{measure, rows};

fn count(row: &Value, name: &str) -> u64 {
    row[name].as_u64().unwrap()
}

/// Workers are held on the CPUs in their order, so that as many CPUs as there
/// are workers have one.
fn has_worker(result: &Value, row: &Value) -> bool {
    let mut cpus: Vec<u64> = rows(result)
        .iter()
        .map(|row| count(row, "client_cpu"))
        .collect();
    cpus.sort_unstable();
    cpus.dedup();
    let rank = cpus.iter().position(|cpu| *cpu == count(row, "client_cpu"));
    rank.unwrap() < count(row, "workers") as usize
}

#[test]
fn steering_by_cpu_finds_the_worker_on_the_receiving_cpu() {
    for arguments in [&[][..], &["--sockets", "1"], &["--sockets", "5"]] {
        let result = measure("locality", arguments);
        let mut checked = 0;
        for row in rows(&result)
            .iter()
            .filter(|row| row["network"] == "loopback")
        {
            let all = count(row, "datagrams");
            assert!(all > 0 && count(row, "local") <= all, "{row}");
            // On loopback a datagram is received where it is sent.
            assert_eq!(count(row, "on_client_cpu"), all, "{row}");
            if row["policy"] == "cpu" && row["pinned"] == true && has_worker(&result, row) {
                assert_eq!(count(row, "local"), all, "{row}");
                assert_eq!(row["share"], 1.0);
                checked += 1;
            }
        }
        assert!(checked > 0);
    }
}

#[test]
fn the_veth_pair_is_measured_or_said_to_be_left_out() {
    let result = measure("locality", &["--sockets", "1"]);
    let is_measured = rows(&result).iter().any(|row| row["network"] == "veth");
    let notes = result["finding"]["notes"].to_string();
    assert!(
        is_measured != notes.contains("virtual cable is left out"),
        "{notes}"
    );
}

/// Interrupted as soon as it has made its namespaces, where it may make any.
#[test]
fn namespaces_are_gone_after_an_interruption() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_shardns"))
        .args(["lab", "locality", "--quick"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let process = program.id().to_string();
    let ends = ["server", "client"].map(|end| format!("/run/netns/shardns-{process}-{end}"));
    let exist = || ends.iter().all(|end| Path::new(end).exists());
    while program.try_wait().unwrap().is_none() {
        if exist() {
            Command::new("kill")
                .args(["-INT", &process])
                .status()
                .unwrap();
            break;
        }
        thread::yield_now();
    }
    program.wait().unwrap();
    assert!(ends.iter().all(|end| !Path::new(end).exists()));
}
