//! `lookup`: every group that fits is measured, and those that do not are named.

use std::process::Command;

use serde_json::Value;

use super::{measure, rows};

/// Groups by policy.
fn groups(result: &Value, policy: &str) -> Vec<u64> {
    let own = rows(result).iter().filter(|row| row["policy"] == policy);
    let mut groups: Vec<u64> = own.map(|row| row["sockets"].as_u64().unwrap()).collect();
    groups.dedup();
    groups
}

#[test]
fn every_group_is_measured_under_every_policy() {
    for (sockets, expected) in [
        ("1", &[1][..]),
        ("4", &[1, 4]),
        ("5", &[1, 4, 5]),
        ("300", &[1, 4, 16, 64, 256, 300]),
    ] {
        let result = measure("lookup", &["--sockets", sockets]);
        for policy in ["hash", "query-id"] {
            assert_eq!(groups(&result, policy), expected);
        }
        for row in rows(&result) {
            assert!(row["ns"].as_f64().unwrap() > 0.0, "{row}");
        }
    }
}

#[test]
fn groups_that_do_not_fit_are_named() {
    let program = env!("CARGO_BIN_EXE_shardns");
    let limited = format!("ulimit -n 128 && exec {program} lab lookup --quick --sockets 300");
    let output = Command::new("sh").args(["-c", &limited]).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}");
    let left_out = "- Left out: 256 and 300 sockets, too many for `ulimit -n`.";
    assert!(told.contains(left_out), "{told}");
}
