//! `bind`: the rows that are the same on every Linux since 4.6.

use std::io::{Write, stderr};
use std::sync::OnceLock;

use serde_json::Value;

use super::{measure, rows};

const NEITHER: &str = "neither";
const ADDRESS: &str = "SO_REUSEADDR";
const PORT: &str = "SO_REUSEPORT";
const HERE: &str = "127.0.0.1";
const ANYWHERE: &str = "0.0.0.0";
const OPTIONS: [&str; 4] = [NEITHER, ADDRESS, PORT, "both"];

/// One run serves all tests.
fn result() -> &'static Value {
    static RESULT: OnceLock<Value> = OnceLock::new();
    RESULT.get_or_init(|| measure("bind", &[]))
}

fn part(part: &str, protocol: &str) -> Vec<&'static Value> {
    let is_it = |row: &&Value| row["part"] == part && row["protocol"] == protocol;
    rows(result()).iter().filter(is_it).collect()
}

fn row(kind: &str, protocol: &str, addresses: [&str; 2], options: [&str; 2]) -> &'static Value {
    let named = |row: &Value, names: [&str; 2]| names.map(|name| row[name].clone());
    let own = part(kind, protocol);
    let mut own = own.into_iter().filter(|row| {
        named(row, ["first", "second"]) == addresses
            && named(row, ["first_options", "second_options"]) == options
    });
    let row = own.next();
    row.unwrap_or_else(|| panic!("{kind} {protocol} {addresses:?} {options:?}"))
}

fn serving(protocol: &str, addresses: [&str; 2], options: [&str; 2]) -> &'static Value {
    row("first serves", protocol, addresses, options)
}

fn is_in_use(row: &Value, call: &str) {
    assert_eq!(row["result"], "fails", "{row}");
    assert_eq!(
        (&row["errno"], &row["call"]),
        (&"EADDRINUSE".into(), &call.into()),
        "{row}"
    );
    assert!(row["received_at_127_0_0_1"].is_null(), "{row}");
}

#[test]
fn both_must_set_reuseport() {
    for protocol in ["UDP", "TCP"] {
        for addresses in [[HERE; 2], [HERE, ANYWHERE], [ANYWHERE, HERE], [ANYWHERE; 2]] {
            assert_eq!(serving(protocol, addresses, [PORT; 2])["result"], "works");
            for options in [[NEITHER; 2], [PORT, NEITHER], [NEITHER, PORT]] {
                is_in_use(serving(protocol, addresses, options), "bind");
            }
        }
        let same = serving(protocol, [HERE; 2], [PORT; 2]);
        assert_eq!(same["received_at_127_0_0_1"], "shared");
        let wider = serving(protocol, [ANYWHERE, HERE], [PORT; 2]);
        assert_eq!(wider["received_at_127_0_0_1"], "second");
        assert_eq!(wider["received_at_127_0_0_2"], "first");
    }
}

#[test]
fn reuseaddr_shares_no_listener_but_every_datagram_socket() {
    is_in_use(serving("TCP", [HERE; 2], [ADDRESS; 2]), "bind");
    // Bound sockets do not stand in the way yet; a listener does.
    is_in_use(
        row("both bound first", "TCP", [HERE; 2], [ADDRESS; 2]),
        "listen",
    );
    let taken = serving("UDP", [HERE; 2], [ADDRESS; 2]);
    assert_eq!(taken["result"], "works");
    assert_eq!(
        taken["received_at_127_0_0_1"], "second",
        "the last binder takes all"
    );
    is_in_use(serving("UDP", [HERE; 2], [ADDRESS, PORT]), "bind");
}

#[test]
fn addresses_that_do_not_overlap_need_no_option() {
    for protocol in ["UDP", "TCP"] {
        for first in OPTIONS {
            for second in OPTIONS {
                let row = serving(protocol, [HERE, "127.0.0.2"], [first, second]);
                assert_eq!(row["received_at_127_0_0_1"], "first", "{row}");
                assert_eq!(row["received_at_127_0_0_2"], "second", "{row}");
            }
        }
    }
}

#[test]
fn time_wait_is_passed_by_an_option_in_common() {
    for addresses in [[HERE; 2], [HERE, ANYWHERE], [ANYWHERE, HERE], [ANYWHERE; 2]] {
        let left = |options| row("first in TIME_WAIT", "TCP", addresses, options);
        for options in [[ADDRESS; 2], [PORT; 2]] {
            assert_eq!(left(options)["result"], "works");
        }
        for options in [
            [NEITHER; 2],
            [NEITHER, ADDRESS],
            [ADDRESS, NEITHER],
            [ADDRESS, PORT],
        ] {
            is_in_use(left(options), "bind");
        }
    }
}

#[test]
fn another_users_group_is_closed() {
    if part("another user", "UDP").is_empty() {
        let finding = result()["finding"]["notes"].to_string();
        assert!(finding.contains("only root"), "{finding}");
        let _ = writeln!(stderr(), "SKIPPED: only root makes sockets of another user");
        return;
    }
    for protocol in ["UDP", "TCP"] {
        is_in_use(row("another user", protocol, [HERE; 2], [PORT; 2]), "bind");
    }
}

#[test]
fn each_member_of_a_multicast_group_gets_a_copy() {
    for row in part("multicast", "UDP") {
        let has_common =
            row["first_options"] != NEITHER && row["first_options"] == row["second_options"];
        if has_common {
            assert_eq!(row["received_at_group"], "each", "{row}");
        }
    }
    let group = &part("multicast", "UDP")[0]["first"];
    let group = group.as_str().unwrap();
    is_in_use(row("multicast", "UDP", [group; 2], [NEITHER; 2]), "bind");
}

#[test]
fn all_three_of_a_port_are_listed() {
    for protocol in ["UDP", "TCP"] {
        let row = part("listing", protocol)[0];
        assert_eq!(
            (&row["listed_in_proc"], &row["listed_addresses"]),
            (&3.into(), &2.into())
        );
        let netlink = &row["listed_by_netlink"];
        assert!(netlink.is_null() || netlink == 3, "{row}");
    }
}

#[test]
fn what_is_published_is_compared() {
    let published = rows(result())
        .iter()
        .filter(|row| !row["published"].is_null());
    let mut compared = 0;
    for row in published {
        assert_eq!(
            row["differs"],
            Value::Bool(row["published"] != row["result"])
        );
        assert!(
            row["protocol"] == "TCP" && row["first_options"] != "both",
            "{row}"
        );
        compared += 1;
    }
    // Four address pairs, three options on each, with and without TIME_WAIT.
    assert_eq!(compared, 4 * 9 * 2);
}
