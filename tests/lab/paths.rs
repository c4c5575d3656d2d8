//! `paths`: every path that there is brings the right answers, and the others are told.

use std::io::{Write, stderr};

use super::{measure, rows};

const PATHS: [&str; 5] = [
    "one a call",
    "recvmmsg",
    "io_uring",
    "AF_XDP generic",
    "AF_XDP native",
];

#[test]
fn every_path_answers_or_is_told_to_be_left_out() {
    let result = measure("paths", &[]);
    let notes = result["finding"]["notes"].to_string();
    for path in PATHS {
        let own: Vec<_> = rows(&result).iter().filter(|r| r["path"] == path).collect();
        let is_told = notes.contains("Left out") && notes.contains(path);
        if own.is_empty() {
            assert!(is_told, "{path}: {notes}");
            // Where the test runner does not hide it.
            let _ = writeln!(
                stderr(),
                "SKIPPED: {path}, which needs root or the kernel's leave"
            );
            continue;
        }
        for load in ["most", "10 %", "50 %", "90 %"] {
            assert!(own.iter().any(|row| row["load"] == load), "{path}: {load}");
        }
        for row in own {
            let count = |name: &str| row[name].as_u64().unwrap();
            assert_eq!(count("sent"), count("answered") + count("lost"), "{row}");
            assert_eq!(count("wrong"), 0, "{row}");
            assert!(count("answered") > 0 || row["load"] != "most", "{row}");
            match path.starts_with("AF_XDP") {
                true => assert!(count("past_sockets") >= count("answered"), "{row}"),
                false => assert_eq!(count("past_sockets"), 0, "{row}"),
            }
        }
    }
    // Sockets are everywhere.
    for path in &PATHS[..2] {
        assert!(rows(&result).iter().any(|row| row["path"] == *path));
    }
}
