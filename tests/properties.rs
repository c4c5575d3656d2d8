//! What holds for any data, any name and any order: what is printed is read as the
//! same, and answers depend on the zone alone, not on how its file is written nor on
//! who answers. (That they do not depend on the transport or the batch, every input
//! of `tests/corpora.rs` is checked for.)

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use shardns::answer::{self, Outcome, Request, Via, Worker};
use shardns::wire::field::Kind;
use shardns::wire::rdata::{is_valid, resolve};
use shardns::wire::{LookupName, Name, RrType};
use shardns::zone::text::rdata;
use shardns::zone::text::scanner::{Scanner, Token};
use shardns::zone::{Zone, Zones};
use support::decode::{Message, Record, decode};
use support::{cases, zones};

/// Data of each type that is tried.
const TRIES: usize = 400;

fn octets(random: &mut ChaCha8Rng, length: usize) -> Vec<u8> {
    let mut octets = vec![0; length];
    random.fill_bytes(&mut octets);
    octets
}

fn name(random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut name = Vec::new();
    for _ in 0..random.random_range(0..6) {
        let label = random.random_range(1..=40);
        name.push(label as u8);
        name.extend(octets(random, label));
    }
    name.push(0);
    name
}

fn counted(random: &mut ChaCha8Rng, most: usize) -> Vec<u8> {
    let length = random.random_range(0..=most);
    [vec![length as u8], octets(random, length)].concat()
}

fn bitmap(random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bitmap = Vec::new();
    for window in 0..4 {
        if random.random_bool(0.5) {
            let length = random.random_range(1..=32);
            bitmap.extend([window, length as u8]);
            bitmap.extend(octets(random, length));
            *bitmap.last_mut().unwrap() |= 1;
        }
    }
    bitmap
}

/// Octets that a field of this kind may have behind others, mostly.
fn field(kind: Kind, before: &[u8], random: &mut ChaCha8Rng) -> Vec<u8> {
    let some = random.random_range(0..40);
    match resolve(kind, before).unwrap_or(kind) {
        Kind::CompressibleName | Kind::Name | Kind::CasedName => name(random),
        Kind::CasedNames => [name(random), name(random)].concat(),
        Kind::U8 | Kind::Algorithm | Kind::Protocol | Kind::Scheme | Kind::RelayType => {
            // Many fields mean something in small numbers alone.
            vec![[random.random_range(0..6), random.random()][usize::from(random.random_bool(0.5))]]
        }
        Kind::U16 | Kind::CertificateType | Kind::Type => octets(random, 2),
        Kind::U32 | Kind::Period | Kind::Timestamp | Kind::Address4 => octets(random, 4),
        Kind::U64 | Kind::Locator64 => octets(random, 8),
        Kind::Address6 => octets(random, 16),
        Kind::Eui(length) => octets(random, length),
        Kind::CharString | Kind::OptionalCharString => counted(random, 255),
        Kind::Salt => counted(random, 30),
        Kind::HashedOwner => [vec![20], octets(random, 20)].concat(),
        Kind::CharStrings => (0..=some / 10).flat_map(|_| counted(random, 60)).collect(),
        Kind::Tag => b"\x05issue".to_vec(),
        Kind::Digits => b"\x0531106".to_vec(),
        Kind::Digest(lengths) => {
            let kind = before.last().copied().unwrap_or(0);
            let known = lengths.iter().find(|(number, _)| *number == kind);
            octets(random, known.map_or(1 + some, |(_, length)| *length))
        }
        Kind::TypeBitmap { .. } => bitmap(random),
        Kind::Location => {
            let mut place = vec![0, 0x12, 0x12, 0x16];
            for _ in 0..2 {
                place.extend((0x8000_0000u32 + random.random_range(0..300_000_000)).to_be_bytes());
            }
            place.extend(octets(random, 4));
            place
        }
        Kind::AddressPrefixes => {
            let bits = random.random_range(0..=32u8);
            match random.random_range(0..3) {
                0 => vec![],
                1 => vec![0, 1, bits, 0],
                _ => vec![0, 2, 128, 0x80, 0, 1, 24, 3, 192, 0, 2],
            }
        }
        Kind::ServiceParameters => {
            let port = octets(random, 2);
            let own = octets(random, some);
            let length = own.len() as u8;
            [&b"\0\x03\0\x02"[..], &port, &[2, 155, 0, length], &own].concat()
        }
        Kind::HostIdentity => {
            let (tag, key) = (octets(random, 16), octets(random, 20));
            [&[16, 2, 0, 20][..], &tag, &key, &name(random)].concat()
        }
        Kind::OldTypeBitmap => vec![random.random::<u8>() & 0x7f | 2],
        Kind::PortBitmap => [octets(random, some), vec![1]].concat(),
        Kind::AtmAddress => [vec![0], octets(random, 20)].concat(),
        Kind::NoGateway | Kind::Nothing => vec![],
        _ => octets(random, some),
    }
}

/// What is read from the text of one record's data.
fn read(rtype: RrType, text: &str) -> Option<Vec<u8>> {
    let line = format!("x {text}");
    let mut tokens: Vec<Token<'_>> = Vec::new();
    Scanner::new(line.as_bytes()).next(&mut tokens).ok()?;
    let mut read = Vec::new();
    rdata::read(rtype, &tokens[1..], None, &mut read).ok()?;
    Some(read)
}

#[test]
fn what_is_printed_is_read_as_the_same_for_every_type() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let types = (0..=u16::MAX).map(RrType).filter(|rtype| !rtype.is_meta());
    let mut tried = BTreeMap::new();
    for rtype in types {
        // Types without fields are all alike.
        if rtype.fields().is_none() && rtype.0 % 997 != 0 {
            continue;
        }
        let valid = tried.entry(rtype).or_insert(0);
        for _ in 0..TRIES {
            let mut data = Vec::new();
            match rtype.fields() {
                Some(fields) => {
                    for part in fields {
                        data.extend(field(part.kind, &data.clone(), &mut random));
                    }
                }
                None => data = octets(&mut random, 30),
            }
            if !is_valid(rtype, &data) {
                continue;
            }
            *valid += 1;
            let mut text = String::new();
            rdata::print(rtype, &data, &mut text);
            assert!(!text.contains(['\n', '\r']), "{rtype} {text}");
            assert_eq!(read(rtype, &text), Some(data), "{rtype} {text}");
        }
    }
    let untried: Vec<_> = tried.iter().filter(|(_, valid)| **valid == 0).collect();
    assert!(tried.len() > 120, "{}", tried.len());
    assert!(untried.is_empty(), "{untried:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Any octets in any number of labels; each type of data has had its turn above.
    #[test]
    fn names_are_read_as_they_are_written(seed in any::<u64>()) {
        let wire = name(&mut ChaCha8Rng::seed_from_u64(seed));
        let Ok(name) = Name::from_wire(&wire) else { return Ok(()) };
        let again: Name = name.to_string().parse().unwrap();
        prop_assert_eq!(again.as_wire(), &wire[..]);
        let lookup = LookupName::of(&name);
        prop_assert_eq!(lookup.suffix(0), wire.to_ascii_lowercase());
    }
}

/// The zone in the text, its records in another order.
fn shuffled(origin: &str, text: &str, random: &mut ChaCha8Rng) -> Arc<Zone> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zone");
    fs::write(&path, text).unwrap();
    let mut lines = zones::print(&path, Some(origin.parse().unwrap())).unwrap();
    lines.shuffle(random);
    support::zone(origin, &lines.join("\n"))
}

/// A message as it is whatever the order of sets and records: each section sorted.
fn sorted(message: &Message) -> (u16, u16, [Vec<String>; 3]) {
    let lines = |section: &Vec<Record>| {
        let mut lines: Vec<String> = section.iter().map(Record::line).collect();
        lines.sort();
        lines
    };
    let sections = [0, 1, 2].map(|section| lines(&message.sections[section]));
    (message.rcode(), message.flags, sections)
}

fn ask(zones: &Zones, request: &[u8]) -> Option<Message> {
    let reply = support::ask(zones, Via::Tcp, request)?;
    Some(decode(&reply).unwrap())
}

#[test]
fn answers_do_not_depend_on_the_order_of_records() {
    let mut random = ChaCha8Rng::seed_from_u64(9);
    let mut asked = 0;
    for file in cases::all() {
        let texts = file.texts.iter();
        let other = texts.map(|(origin, text)| shuffled(origin, text, &mut random));
        let other = Zones::new(other.collect());
        // What does not fit is left out in its order.
        let is_oversized = file.path.ends_with("oversized.txt");
        if is_oversized || other.len() != file.zones.len() {
            continue;
        }
        for case in &file.cases {
            let replies = [&file.zones, &other].map(|zones| ask(zones, &case.request));
            let [one, two] = replies.map(|reply| reply.as_ref().map(sorted));
            assert_eq!(one, two, "{}:{}", file.path.display(), case.line);
            asked += 1;
        }
    }
    assert!(asked > 400, "{asked}");
}

#[test]
fn answers_do_not_depend_on_who_answers() {
    let (settings, mut name) = (support::settings(), LookupName::new());
    let workers = [(0, None, 1), (0, Some(3), 128), (255, Some(0), 7)];
    for file in cases::all() {
        for case in &file.cases {
            let mut replies = workers.map(|(index, cpu, batch)| {
                let request = Request {
                    octets: &case.request,
                    peer: (Ipv4Addr::LOCALHOST, 5353).into(),
                    local: Ipv4Addr::LOCALHOST.into(),
                    via: Via::Udp(Worker { index, cpu, batch }),
                    now: Duration::from_secs(1_700_000_000),
                };
                let mut reply = vec![0; settings.edns_size.into()];
                let outcome =
                    answer::respond(&file.zones, &settings, &request, &mut name, &mut reply);
                reply.truncate(outcome.length());
                matches!(outcome, Outcome::Replied { .. }).then_some(reply)
            });
            // What tells of the worker is asked for in the class CH alone.
            let is_of_worker = case.request.windows(6).any(|part| part == b"worker");
            if !is_of_worker {
                replies[1..].rotate_left(1);
                assert!(
                    replies.iter().all(|reply| *reply == replies[0]),
                    "{}",
                    case.title
                );
            }
        }
    }
}
