//! Every text case through `respond()`, without a socket.

mod support;

use shardns::answer::Via;
use shardns::wire::RrType;
use shardns::zone::Zones;
use support::{UDP, ask, cases, decode, oracle, query};

#[test]
fn every_case_is_answered_as_it_says() {
    let mut failures = Vec::new();
    let mut count = 0;
    for file in cases::all() {
        for case in &file.cases {
            count += 1;
            let via = if case.tcp { Via::Tcp } else { UDP };
            let reply = ask(&file.zones, via, &case.request);
            if let Err(error) = case.check(reply.as_deref()) {
                failures.push(format!(
                    "{}:{}: {}\n  {error}",
                    file.path.display(),
                    case.line,
                    case.title
                ));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {count} cases\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(count > 400, "only {count} cases were found");
}

/// A name of 253 octets below `z.`, the same for the same number.
fn long_name(number: usize) -> String {
    let label = |tag: char, length: usize| {
        format!("{tag}{number}{}", "x".repeat(length))[..length].to_owned()
    };
    format!(
        "{}.{}.{}.{}",
        label('a', 57),
        label('b', 63),
        label('c', 63),
        label('d', 63)
    )
}

#[test]
fn pointers_reach_behind_the_longest_chains() {
    let mut text =
        "$ORIGIN z.\n$TTL 60\n@ SOA ns hm 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n".to_owned();
    text += &format!("d0 DNAME {}\nc0 CNAME {}\n", long_name(1), "x.w");
    for hop in 1..16 {
        text += &format!("{} DNAME {}\n", long_name(hop), long_name(hop + 1));
    }
    // Large sets whose names repeat each other's ends, near and far.
    for number in 0..600 {
        let host = format!("h{number}.{}", "m".repeat(40));
        text += &format!("q.{} MX 1 {host}\n*.w MX 1 {host}\n", long_name(16));
        text += &format!("q.{} MX 2 a.{host}\n*.w MX 2 a.{host}\n", long_name(16));
    }
    let zones = Zones::new(vec![support::zone("z.", &text)]);
    let grown = format!("{}.w.z.", long_name(7).trim_end_matches('x'));
    for (name, records) in [
        ("q.d0.z.", 1200),
        ("c0.z.", 1200),
        ("w.w.z.", 1200),
        (&grown, 1200),
    ] {
        let reply = ask(&zones, Via::Tcp, &query(name, RrType::MX.0)).unwrap();
        let message = decode::decode(&reply).unwrap_or_else(|error| panic!("{name}: {error}"));
        oracle::compare(&reply, &message).unwrap();
        let mut found: Vec<&[u8]> = message.sections[0]
            .iter()
            .filter(|record| record.rtype == RrType::MX)
            .map(|record| &record.rdata[..])
            .collect();
        found.sort();
        found.dedup();
        assert_eq!(found.len(), records, "{name}");
    }
}
