//! Random questions for a zone: of what it has, and of what stands below, above and
//! beside that.

use std::collections::BTreeSet;
use std::path::Path;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use shardns::wire::{Name, RrType};
use shardns::zone::text::{self, Library};

use super::exchange::{CLIENT_FLAGS, Edns, Question};

const SIZES: [u16; 5] = [512, 1232, 1232, 1232, 4096];
/// Types that zones may not have; ANY, and the two that are of no zone at all.
const TYPES: [&str; 26] = [
    "A",
    "AAAA",
    "NS",
    "SOA",
    "CNAME",
    "DNAME",
    "MX",
    "TXT",
    "DS",
    "DS",
    "NSEC",
    "NSEC3",
    "NSEC3PARAM",
    "RRSIG",
    "DNSKEY",
    "ANY",
    "SRV",
    "PTR",
    "HTTPS",
    "CDS",
    "CAA",
    "TYPE65280",
    "TYPE65281",
    "NULL",
    "KEY",
    "HINFO",
];
const LABELS: [&[u8]; 16] = [
    b"a",
    b"b",
    b"c",
    b"w",
    b"x",
    b"www",
    b"ns",
    b"_tcp",
    b"*",
    b"\0",
    b"\xff",
    b"q.q",
    b"zz",
    b"UPPER",
    b"-",
    b"lllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll",
];

/// What questions are made from: the names of a zone and its records' types.
pub struct Subject {
    apex: Name,
    owned: Vec<(Name, RrType)>,
    /// Who owns something, in lower case.
    owners: BTreeSet<String>,
    /// Names in the data of records that lead within the zone.
    names: Vec<Name>,
}

impl Subject {
    /// Reads the zone as it is served.
    pub fn read(path: &Path, apex: Name) -> Result<Subject, String> {
        let records = text::read(Library::Disk, path, Some(apex))?.records;
        let owned = records
            .list
            .iter()
            .map(|record| (records.names.name(record.owner), record.rtype));
        let owned: Vec<(Name, RrType)> = owned.collect();
        let mut names: Vec<Name> = Vec::new();
        for record in &records.list {
            let octets = records.rdata(record);
            shardns::wire::rdata::names(record.rtype, octets, |_, place| {
                let name = Name::from_wire(&octets[place]);
                names.extend(name.ok().filter(|name| name.is_within(&apex)));
            });
        }
        names.extend(owned.iter().map(|(name, _)| *name));
        let owners = owned
            .iter()
            .map(|(name, _)| name.to_string().to_lowercase());
        let owners = owners.collect();
        Ok(Subject {
            apex,
            owned,
            owners,
            names,
        })
    }

    /// Whether a name is at the apex or below.
    pub fn encloses(&self, name: &Name) -> bool {
        name.to_lower().is_within(&self.apex.to_lower())
    }

    /// Octets of the apex: more of them, further down.
    pub fn depth(&self) -> usize {
        self.apex.as_wire().len()
    }

    /// Whether a name, in lower case, owns something.
    pub fn owns(&self, name: &str) -> bool {
        self.owners.contains(name)
    }

    /// Whether it does, or a wildcard that could stand for it.
    pub fn has(&self, name: &str) -> bool {
        let above = name.match_indices('.').map(|(at, _)| &name[at..]);
        let mut wildcards = above.map(|rest| format!("*{rest}"));
        self.owns(name) || wildcards.any(|wildcard| self.owns(&wildcard))
    }

    /// Whether a name, in lower case, is at or below servers of another zone.
    pub fn is_glue(&self, name: &str) -> bool {
        let mut cuts = self
            .owned
            .iter()
            .filter(|(owner, rtype)| *rtype == RrType::NS && *owner != self.apex);
        let Ok(name) = name.parse::<Name>() else {
            return false;
        };
        cuts.any(|(cut, _)| name.to_lower().is_within(&cut.to_lower()))
    }

    /// All owners.
    pub fn names(&self) -> Vec<Name> {
        self.owners
            .iter()
            .map(|owner| owner.parse().unwrap())
            .collect()
    }

    pub fn question(&self, random: &mut ChaCha8Rng) -> Question {
        let (owner, own_type) = *self.owned.choose(random).unwrap();
        let mut name = match random.random_range(0..100) {
            0..45 => owner,
            45..60 => *self.names.choose(random).unwrap(),
            60..85 => self.below(random),
            85..95 => self.beside(random),
            _ => self.above(random),
        };
        if random.random_bool(0.1) {
            name = with_other_case(&name, random);
        }
        let rtype = if random.random_bool(0.35) {
            own_type
        } else {
            RrType::from_text(TYPES.choose(random).unwrap().as_bytes()).unwrap()
        };
        let edns = random.random_bool(0.75).then(|| edns(random));
        let flags = CLIENT_FLAGS.iter().filter(|_| random.random_bool(0.15));
        Question {
            name,
            rtype,
            flags: flags.map(|(_, flag)| flag).sum(),
            edns,
            tcp: random.random_bool(0.1),
        }
    }

    /// A name some labels below one that the zone has; an asterisk may be exchanged.
    fn below(&self, random: &mut ChaCha8Rng) -> Name {
        let mut name = *self.names.choose(random).unwrap();
        if name.as_wire().starts_with(b"\x01*") {
            name = without_first(&name);
        }
        for _ in 0..*[1, 1, 1, 2, 3].choose(random).unwrap() {
            name = below(&name, LABELS.choose(random).unwrap());
        }
        name
    }

    /// A name that has the same parent.
    fn beside(&self, random: &mut ChaCha8Rng) -> Name {
        let name = self.names.choose(random).unwrap();
        if *name == self.apex {
            return *name;
        }
        below(&without_first(name), LABELS.choose(random).unwrap())
    }

    /// A name that one of the zone's is below: often one without data.
    fn above(&self, random: &mut ChaCha8Rng) -> Name {
        let mut name = *self.names.choose(random).unwrap();
        for _ in 0..random.random_range(1..3) {
            if name != self.apex {
                name = without_first(&name);
            }
        }
        name
    }
}

/// Mostly as resolvers ask.
fn edns(random: &mut ChaCha8Rng) -> Edns {
    Edns {
        size: *SIZES.choose(random).unwrap(),
        signed: random.random_bool(0.7),
        unknown_flags: random.random_bool(0.04),
        unknown_option: random.random_bool(0.04),
        version: u8::from(random.random_bool(0.02)),
    }
}

/// The name one label further down; itself where that would be too long.
fn below(name: &Name, label: &[u8]) -> Name {
    let octets = [&[label.len() as u8], label, name.as_wire()].concat();
    Name::from_wire(&octets).unwrap_or(*name)
}

fn without_first(name: &Name) -> Name {
    let wire = name.as_wire();
    Name::from_wire(&wire[1 + usize::from(wire[0])..]).unwrap()
}

fn with_other_case(name: &Name, random: &mut ChaCha8Rng) -> Name {
    let swap = |octet: &u8| match octet {
        b'a'..=b'z' if random.random() => octet.to_ascii_uppercase(),
        _ => *octet,
    };
    let wire: Vec<u8> = name.as_wire().iter().map(swap).collect();
    Name::from_wire(&wire).unwrap()
}
