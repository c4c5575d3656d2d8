//! `stall`: who makes clients wait.

use serde_json::Value;

use super::{measure, rows};

/// A busy machine keeps any worker waiting now and then; not every time.
const ATTEMPTS: usize = 12;

fn figure(row: &Value, name: &str) -> u64 {
    row[name].as_u64().unwrap()
}

#[test]
fn a_flow_and_an_id_wait_for_the_stalled_worker_alone() {
    let is_clean = |result: &Value| {
        let by_group = |row: &&Value| {
            let policy = row["policy"].as_str().unwrap();
            row["asked"] == "once"
                && row["worker"].is_null()
                && ["hash", "query-id"].contains(&policy)
        };
        let of_groups: Vec<&Value> = rows(result).iter().filter(by_group).collect();
        assert_eq!(of_groups.len(), 2);
        of_groups.into_iter().all(|row| {
            let late = figure(row, "late");
            late > 0 && late == figure(row, "late_of_stalled")
        })
    };
    assert!((0..ATTEMPTS).any(|_| is_clean(&measure("stall", &[]))));
}

#[test]
fn a_retry_loses_nothing_and_all_are_counted() {
    let result = measure("stall", &["--sockets", "2"]);
    let all = || rows(&result).iter().filter(|row| row["worker"].is_null());
    assert_eq!(all().count(), 8);
    for row in all() {
        assert!(
            figure(row, "clients_hit") <= figure(row, "clients"),
            "{row}"
        );
        let by_worker = rows(&result).iter().filter(|other| {
            !other["worker"].is_null()
                && (&other["policy"], &other["asked"]) == (&row["policy"], &row["asked"])
        });
        let answered: u64 = by_worker.map(|row| figure(row, "answered")).sum();
        assert_eq!(answered, figure(row, "answered"), "{row}");
    }
}
