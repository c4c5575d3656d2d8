//! `wakeups`: nothing is lost or taken twice, and a socket each spares wake-ups.

use serde_json::Value;

use super::{measure, rows};

fn count(row: &Value, name: &str) -> u64 {
    row[name].as_u64().unwrap()
}

fn row<'r>(result: &'r Value, way: &str) -> &'r Value {
    let mut rows = rows(result).iter();
    rows.find(|row| row["way"] == way).unwrap()
}

#[test]
fn each_datagram_is_taken_once_and_a_socket_each_wakes_nobody_else() {
    let result = measure("wakeups", &[]);
    assert_eq!(rows(&result).len(), 7);
    for row in rows(&result) {
        let sent = count(row, "datagrams");
        assert!(sent > 0 && count(row, "taken_once") == sent, "{row}");
        let shares = row["shares"].as_array().unwrap();
        let taken: u64 = shares.iter().map(|share| share.as_u64().unwrap()).sum();
        assert_eq!(taken, sent, "{row}");
        assert!(count(row, "returns") >= sent, "{row}");
        if row["way"].as_str().unwrap().starts_with("own socket") {
            assert_eq!(count(row, "returns"), sent, "{row}");
            assert_eq!(count(row, "empty_returns"), 0, "{row}");
        }
    }
    // As many a datagram at least; how many were sent is a matter of time.
    let each = |way: &str| {
        let row = row(&result, way);
        count(row, "wakeups") as f64 / count(row, "datagrams") as f64
    };
    assert!(each("epoll, level") >= each("epoll, exclusive"));
    let one_flow = row(&result, "own socket, 1 flow");
    assert_eq!(one_flow["same_again"], 1.0, "{one_flow}");
}

#[test]
fn one_thread_takes_everything() {
    let result = measure("wakeups", &["--sockets", "1"]);
    for row in rows(&result) {
        assert_eq!(count(row, "empty_returns"), 0, "{row}");
        assert_eq!(row["hottest"], 1.0);
    }
}
