//! Every text case through `respond()`, without a socket.

mod support;

use std::collections::BTreeSet;

use shardns::answer::{self, MAX_ALIASES, Settings, Via};
use shardns::wire::{LookupName, RrType};
use shardns::zone::Zones;
use support::decode::{Message, Record};
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
    // Each counts twice.
    let last = MAX_ALIASES / 2;
    text += &format!("d0 DNAME {}\nc0 CNAME {}\n", long_name(1), "x.w");
    for hop in 1..last {
        text += &format!("{} DNAME {}\n", long_name(hop), long_name(hop + 1));
    }
    // Large sets whose names repeat each other's ends, near and far.
    for number in 0..600 {
        let host = format!("h{number}.{}", "m".repeat(40));
        text += &format!("q.{} MX 1 {host}\n*.w MX 1 {host}\n", long_name(last));
        text += &format!("q.{} MX 2 a.{host}\n*.w MX 2 a.{host}\n", long_name(last));
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

const DO: u16 = 0x8000;
const TC: u16 = 0x0200;

/// Replies to clients that want signatures, of every length: whole at their own, and
/// in less room no set without the signatures that cover it, nothing twice, and TC
/// unless it is additional records that are missing.
#[test]
fn signed_replies_in_every_room() {
    let mut count = 0;
    for file in cases::all() {
        for case in &file.cases {
            let request = decode::decode(&case.request).ok();
            let wants = request.and_then(|request| request.opt);
            let is_signed = wants.is_some_and(|opt| opt.flags & DO != 0 && opt.options.is_empty());
            let whole = is_signed.then(|| ask(&file.zones, Via::Tcp, &case.request).unwrap());
            let Some(whole) = whole.filter(|whole| whole[5] == 1) else {
                continue;
            };
            count += 1;
            let message = decode::decode(&whole).unwrap();
            let least = case.request.len();
            // A third of them, another for each case, and the last.
            let rooms = (least + count % 3..whole.len()).step_by(3);
            let last = (whole.len() - 1).max(least)..=whole.len();
            for room in rooms.chain(last) {
                let reply = in_room(&file.zones, &case.request, room);
                let title = format!("{}, in {room} of {}", case.title, whole.len());
                let found =
                    decode::decode(&reply).unwrap_or_else(|error| panic!("{title}: {error}"));
                if let Err(error) = compare(&message, &found, room == whole.len()) {
                    panic!("{title}: {error}");
                }
            }
        }
    }
    assert!(count > 100, "only {count} cases want signatures");
}

fn in_room(zones: &Zones, octets: &[u8], room: usize) -> Vec<u8> {
    let settings = Settings {
        edns_size: room as u16,
        ..support::settings()
    };
    let (mut name, mut reply) = (LookupName::new(), vec![0; room]);
    let request = support::request(UDP, octets);
    let outcome = answer::respond(zones, &settings, &request, &mut name, &mut reply);
    reply.truncate(outcome.length());
    reply
}

fn compare(whole: &Message, found: &Message, is_whole: bool) -> Result<(), String> {
    let lines = |records: &[Record]| -> Vec<String> { records.iter().map(Record::line).collect() };
    let mut is_same = true;
    for (section, (whole, found)) in whole.sections.iter().zip(&found.sections).enumerate() {
        let (all, some) = (lines(whole), lines(found));
        let unique: BTreeSet<&String> = some.iter().collect();
        if unique.len() != some.len() || !some.iter().all(|line| all.contains(line)) {
            return Err(format!("section {section} has {some:#?} of {all:#?}"));
        }
        is_same &= all.len() == some.len() || section == 2;
        // Additional records may go without.
        for signature in whole.iter().filter(|record| record.rtype == RrType::RRSIG) {
            let covered = RrType(u16::from_be_bytes([signature.rdata[0], signature.rdata[1]]));
            let is_covered =
                |record: &Record| record.owner == signature.owner && record.rtype == covered;
            if section < 2 && found.iter().any(is_covered) && !found.contains(signature) {
                return Err(format!("no {}", signature.line()));
            }
        }
        if is_whole && all.len() != some.len() {
            return Err(format!("section {section} has {some:#?} of {all:#?}"));
        }
    }
    // RFC 9471 §3.1: a referral does not go without its glue.
    let is_referral = whole.sections[1]
        .iter()
        .any(|record| record.rtype == RrType::NS);
    let (truncated, addresses) = (found.flags & TC != 0, found.sections[2].len());
    match (truncated, is_same) {
        (false, false) => Err("no TC, and something is missing".into()),
        (true, _) if is_referral && addresses < whole.sections[2].len() => Ok(()),
        (true, true) => Err("TC, and nothing is missing".into()),
        (true, false) if addresses > 0 => Err("addresses, and something else is missing".into()),
        (true, false) | (false, true) => Ok(()),
    }
}
