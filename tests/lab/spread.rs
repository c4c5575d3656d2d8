//! `spread`: what the choice looks at.

use serde_json::Value;

use super::{measure, rows};

fn shares(row: &Value) -> Vec<u64> {
    let shares = row["shares"].as_array().unwrap();
    shares.iter().map(|share| share.as_u64().unwrap()).collect()
}

#[test]
fn one_flow_lands_on_one_socket() {
    let result = measure("spread", &["--sockets", "5"]);
    for row in rows(&result) {
        let policy = row["policy"].as_str().unwrap();
        assert_eq!(shares(row).len(), 5);
        match policy {
            "hash" => assert_eq!(row["sockets_of_a_flow"], 1),
            "query-id" | "random" => {
                assert_eq!(
                    shares(row).iter().sum::<u64>(),
                    row["datagrams"].as_u64().unwrap()
                );
            }
            _ => {}
        }
        if policy == "query-id" && row["flows"] == 1 {
            assert!(row["p"].as_f64().unwrap() > 0.001, "{row}");
            assert_eq!(row["sockets_of_a_flow"], 5);
        }
    }
}

#[test]
fn connections_are_spread_over_listeners() {
    let result = measure("spread", &["--tcp", "--sockets", "3"]);
    for row in rows(&result) {
        assert_eq!(row["policy"], "hash, TCP");
        assert!(row["sockets_of_a_flow"].is_null(), "{row}");
        assert_eq!(
            shares(row).iter().sum::<u64>(),
            row["flows"].as_u64().unwrap()
        );
    }
}

#[test]
fn one_socket_leaves_no_choice() {
    let result = measure("spread", &["--sockets", "1"]);
    for row in rows(&result) {
        assert_eq!((&row["hottest"], &row["jain"]), (&1.0.into(), &1.0.into()));
    }
}
