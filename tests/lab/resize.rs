//! `resize`: who moves whom.

use serde_json::Value;

use super::{measure, rows};

fn moved(row: &Value) -> u64 {
    row["unaffected_moved"].as_u64().unwrap()
}

#[test]
fn the_table_moves_only_what_it_must() {
    let result = measure("resize", &[]);
    let mut seen = Vec::new();
    for row in rows(&result) {
        assert!(row["unaffected"].as_u64().unwrap() > 0, "{row}");
        if row["policy"] == "consistent table" {
            assert_eq!(moved(row), 0, "{row}");
            // What was the leaver's moves, and the newcomer gets something.
            assert!(row["moved"].as_u64().unwrap() > 0, "{row}");
            seen.push(row["change"].as_str().unwrap());
        } else if row["change"] == "middle leaves" {
            assert!(moved(row) > 0, "{row}");
        }
    }
    for change in ["join", "middle leaves", "last leaves"] {
        assert!(seen.contains(&change), "{change}");
    }
}

#[test]
fn two_sockets_become_one_and_one_becomes_two() {
    for sockets in ["1", "2"] {
        let result = measure("resize", &["--sockets", sockets]);
        for row in rows(&result) {
            if row["sockets_after"] == 1 || row["policy"] == "consistent table" {
                assert_eq!(moved(row), 0, "{row}");
            }
        }
    }
}
