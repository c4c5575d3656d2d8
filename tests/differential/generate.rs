//! Random zones without a fault, as text that names nothing of where it is put: the
//! same zone can be served under several origins at once, which is how a case is
//! shrunk. What is random comes from the seed alone.

use std::collections::BTreeSet;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// How a zone is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    Unsigned,
    Nsec,
    Nsec3,
    OptOut,
}

/// Who signs it: their chains differ where the RFCs leave them room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    Bind,
    Ldns,
    Knot,
}

/// What a key signs: others' keys, the zone's records, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Keys,
    Records,
    Both,
}

/// The keys that it is signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    One,
    Two,
    Rsa,
    Ed25519,
    /// In the middle of a roll-over to another algorithm (RFC 6781 §4.1.4).
    TwoAlgorithms,
}

impl Keys {
    pub const ALL: [Keys; 5] = [
        Keys::One,
        Keys::Two,
        Keys::Rsa,
        Keys::Ed25519,
        Keys::TwoAlgorithms,
    ];

    /// Each with its algorithm, as all signers name it.
    pub fn each(self) -> &'static [(&'static str, Role)] {
        match self {
            Keys::One => &[("ECDSAP256SHA256", Role::Both)],
            Keys::Two => &[
                ("ECDSAP256SHA256", Role::Keys),
                ("ECDSAP256SHA256", Role::Records),
            ],
            Keys::Rsa => &[("RSASHA256", Role::Keys), ("RSASHA256", Role::Records)],
            Keys::Ed25519 => &[("ED25519", Role::Both)],
            Keys::TwoAlgorithms => &[
                ("ECDSAP256SHA256", Role::Keys),
                ("ECDSAP256SHA256", Role::Records),
                ("ED25519", Role::Keys),
                ("ED25519", Role::Records),
            ],
        }
    }
}

/// How NSEC3 hashes names. The default is what RFC 9276 asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hashing {
    pub iterations: u16,
    /// In octets; the signers make it up.
    pub salt: usize,
}

/// A zone's text.
#[derive(Clone, Debug)]
pub struct ZoneText {
    pub denial: Denial,
    pub signer: Signer,
    pub keys: Keys,
    pub hashing: Hashing,
    /// Without these records it is no zone.
    pub needed: Vec<String>,
    /// All others, one a line, names relative to the origin.
    pub records: Vec<String>,
}

impl ZoneText {
    pub fn text(&self, origin: &str) -> String {
        let lines = self.needed.iter().chain(&self.records);
        let lines = lines.map(|line| line.clone() + "\n");
        format!("$ORIGIN {origin}\n$TTL 3600\n") + &lines.collect::<String>()
    }
}

const LABELS: [&str; 16] = [
    "a", "b", "c", "d", "e", "f", "g", "w", "x", "y", "z", "ns", "www", "_tcp", "1", "0-0",
];
/// Octets that text has to escape, cases, an asterisk that is no wildcard, and the
/// longest label. A backslash is not among them: NSD 4.6 takes the dot behind `\\\\` for
/// a part of the label.
const ODD_LABELS: [&str; 13] = [
    r"\000",
    r"\255",
    r"q\.q",
    r"\032",
    "\\\"",
    r"\;c",
    r"\(\)",
    r"\@",
    "UPPER",
    "MiXed",
    "a*",
    "**",
    "lllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll",
];
const TTLS: [u32; 6] = [0, 1, 60, 300, 3600, 86400];
/// What ldns-signzone 1.8 writes without the backslash, so that nobody reads it.
const NOT_LDNS: [&str; 2] = [r"\@", "\\\""];
/// As deep as names get, without those that a question puts below.
const MAX_DEPTH: usize = 7;

/// A zone while it is made.
struct Maker<'r> {
    random: &'r mut ChaCha8Rng,
    records: Vec<String>,
    /// All owners, lower-cased.
    owners: BTreeSet<String>,
    /// Those below which more may come.
    parents: Vec<String>,
    dnames: Vec<String>,
    /// Cuts and what is below them that was named.
    below_cuts: Vec<String>,
}

/// Random zones with their origins. Some are children of others, so that parent and
/// child are on one server.
pub fn zones(count: usize, random: &mut ChaCha8Rng) -> Vec<(String, ZoneText)> {
    let mut zones = Vec::new();
    while zones.len() < count {
        let origin = format!("z{}.test.", zones.len());
        let parent = zone(random);
        if random.random_bool(0.2)
            && let Some(cut) = cuts(&parent).choose(random)
        {
            zones.push((format!("{cut}.{origin}"), zone(random)));
        }
        zones.push((origin, parent));
    }
    zones
}

/// The zone's cuts whose names need no escapes, not even as file names.
fn cuts(zone: &ZoneText) -> Vec<&str> {
    let cuts = zone.records.iter().filter_map(|record| {
        let (owner, rest) = record.split_once(' ')?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '.';
        (rest.contains(" NS ") && owner.chars().all(is_plain)).then_some(owner)
    });
    cuts.collect()
}

/// A random zone.
fn zone(random: &mut ChaCha8Rng) -> ZoneText {
    use Denial::{Nsec, Nsec3, OptOut, Unsigned};
    let denial = [Unsigned, Unsigned, Nsec, Nsec, Nsec3, OptOut, OptOut];
    let denial = *denial.choose(random).unwrap();
    let signer = [Signer::Bind, Signer::Bind, Signer::Ldns, Signer::Knot];
    let signer = *signer.choose(random).unwrap();
    let keys = *Keys::ALL.choose(random).unwrap();
    let hashing = Hashing {
        iterations: *[0, 0, 0, 1, 12, 100].choose(random).unwrap(),
        salt: *[0, 0, 4, 8].choose(random).unwrap(),
    };
    let minimum = TTLS.choose(random).unwrap();
    let ttl = TTLS.choose(random).unwrap();
    let mut needed = vec![
        format!("@ {ttl} SOA ns1 host 1 7200 3600 1209600 {minimum}"),
        "@ 3600 NS ns1".into(),
        "ns1 3600 A 192.0.2.1".into(),
    ];
    if random.random_bool(0.5) {
        needed.push("@ 3600 NS ns.elsewhere.".into());
    }
    let mut maker = Maker {
        random,
        records: Vec::new(),
        owners: ["@", "ns1"].map(String::from).into(),
        parents: vec!["@".into()],
        dnames: Vec::new(),
        below_cuts: Vec::new(),
    };
    let nodes = maker.random.random_range(4..45);
    for _ in 0..nodes {
        maker.node();
    }
    // What stands beside the records that a zone needs.
    if maker.random.random_bool(0.6) {
        maker.sets("@");
    }
    // Aliases last, so that they find something to lead to.
    for _ in 0..maker.random.random_range(0..10) {
        maker.alias();
    }
    let is_unfit = |record: &String| NOT_LDNS.iter().any(|label| record.contains(label));
    let for_ldns = !maker.records.iter().any(is_unfit);
    ZoneText {
        denial,
        signer: if signer == Signer::Ldns && !for_ldns {
            Signer::Bind
        } else {
            signer
        },
        keys,
        hashing,
        needed,
        records: maker.records,
    }
}

fn child(label: &str, parent: &str) -> String {
    match parent {
        "@" => label.into(),
        parent => format!("{label}.{parent}"),
    }
}

fn is_below(name: &str, above: &str) -> bool {
    let name = name.to_lowercase();
    let above = above.to_lowercase();
    name.ends_with(&format!(".{above}"))
}

impl Maker<'_> {
    fn chance(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability)
    }

    fn label(&mut self) -> String {
        let labels: &[&str] = if self.chance(0.1) {
            &ODD_LABELS
        } else {
            &LABELS
        };
        (*labels.choose(self.random).unwrap()).into()
    }

    /// A name that owns nothing yet, some label or labels below one that may have more.
    fn owner(&mut self) -> Option<String> {
        let mut name = self.parents.choose(self.random).unwrap().clone();
        let labels = [1, 1, 1, 1, 2, 2, 3].choose(self.random).unwrap();
        for _ in 0..*labels {
            let label = if self.chance(0.04) {
                "*".into()
            } else {
                self.label()
            };
            name = child(&label, &name);
        }
        if self.chance(0.12) {
            name = child("*", &name);
        }
        let depth = name.matches('.').count() + 1;
        let is_hidden = self.dnames.iter().any(|dname| is_below(&name, dname));
        let long = name.len() > 150 || depth > MAX_DEPTH;
        let is_new = !is_hidden && !long && self.owners.insert(name.to_lowercase());
        is_new.then_some(name)
    }

    fn add(&mut self, owner: &str, ttl: u32, data: &str) {
        self.records.push(format!("{owner} {ttl} {data}"));
    }

    fn node(&mut self) {
        let Some(name) = self.owner() else {
            return;
        };
        let is_wildcard = name.starts_with('*');
        let has_children = self.owners.iter().any(|owner| is_below(owner, &name));
        match self.random.random_range(0..100) {
            0..22 if !is_wildcard => self.cut(&name),
            22..32 if !is_wildcard && !has_children => {
                let target = self.target();
                let ttl = *TTLS.choose(self.random).unwrap();
                self.add(&name, ttl, &format!("DNAME {target}"));
                if self.chance(0.3) {
                    self.add(&name, 60, "TXT \"beside a DNAME\"");
                }
                self.dnames.push(name);
            }
            32..38 => {
                self.big_set(&name);
                self.parents.push(name);
            }
            _ => {
                self.sets(&name);
                self.parents.push(name);
            }
        }
    }

    fn alias(&mut self) {
        let Some(name) = self.owner() else {
            return;
        };
        let target = self.target();
        let ttl = *TTLS.choose(self.random).unwrap();
        self.add(&name, ttl, &format!("CNAME {target}"));
        self.parents.push(name);
    }

    /// Some name that a record may have in its data.
    fn target(&mut self) -> String {
        let existing = |maker: &mut Self| {
            let owners: Vec<&String> = maker.owners.iter().collect();
            (**owners.choose(maker.random).unwrap()).clone()
        };
        match self.random.random_range(0..100) {
            0..45 => existing(self),
            45..52 => {
                let (label, name) = (self.label(), existing(self));
                child(&label, &name)
            }
            52..60 => self.label(),
            60..70 if !self.below_cuts.is_empty() => {
                self.below_cuts.choose(self.random).unwrap().clone()
            }
            70..80 if !self.dnames.is_empty() => {
                let (label, name) = (self.label(), self.dnames.choose(self.random).unwrap());
                child(&label, name)
            }
            80..88 => existing(self).replace('*', "v"),
            88..97 => child(&self.label(), "elsewhere."),
            _ => ".".into(),
        }
    }

    /// A delegation with every kind of glue, or none.
    fn cut(&mut self, name: &str) {
        let ttl = *TTLS.choose(self.random).unwrap();
        let mut servers = BTreeSet::new();
        for _ in 0..self.random.random_range(1..4) {
            let host = match self.random.random_range(0..8) {
                0..3 => child(&self.label(), name),
                3 => name.into(),
                4 if !self.below_cuts.is_empty() => {
                    self.below_cuts.choose(self.random).unwrap().clone()
                }
                5 => "ns1".into(),
                6 => self.target(),
                _ => child(&self.label(), "elsewhere."),
            };
            servers.insert(host);
        }
        // In an order of their own.
        for host in &servers {
            self.add(name, ttl, &format!("NS {host}"));
        }
        for host in servers {
            let is_at_or_below = host == name || is_below(&host, name);
            if !is_at_or_below || self.chance(0.2) {
                continue;
            }
            self.below_cuts.push(host.clone());
            if host != name && !self.owners.insert(host.to_lowercase()) {
                continue;
            }
            for _ in 0..self.random.random_range(0..3) {
                let n = self.random.random_range(1..255);
                self.add(&host, ttl, &format!("A 192.0.2.{n}"));
            }
            if self.chance(0.5) {
                self.add(&host, ttl, "AAAA 2001:db8::53");
            }
        }
        if self.chance(0.4) {
            for algorithm in 1..=self.random.random_range(1..3) {
                let digest = "00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF";
                self.add(name, 3600, &format!("DS 12345 {algorithm} 2 {digest}"));
            }
        }
        if self.chance(0.4) {
            self.occluded(name);
        }
        self.below_cuts.push(name.into());
    }

    /// What a cut hides: data of other types, more cuts, wildcards.
    fn occluded(&mut self, cut: &str) {
        for _ in 0..self.random.random_range(1..4) {
            let label = self.label();
            let label = if self.chance(0.2) { "*".into() } else { label };
            let name = child(&label, cut);
            if !self.owners.insert(name.to_lowercase()) {
                continue;
            }
            match self.random.random_range(0..4) {
                0 => self.add(&name, 60, "TXT \"occluded\""),
                1 if label != "*" => self.add(&name, 60, "NS ns.elsewhere."),
                2 => self.add(&name, 60, "CNAME ns1"),
                _ => self.add(&name, 60, "A 192.0.2.99"),
            }
            self.below_cuts.push(name);
        }
    }

    fn big_set(&mut self, name: &str) {
        let count = self.random.random_range(5..70);
        match self.random.random_range(0..3) {
            0 => (0..count).for_each(|n| {
                let text = "t".repeat(n % 90 + 40);
                self.add(name, 300, &format!("TXT \"{n} {text}\""));
            }),
            1 => (0..count).for_each(|n| self.add(name, 300, &format!("A 192.0.2.{n}"))),
            _ => (0..count.min(14)).for_each(|n| {
                let target = child(&format!("m{n}"), name);
                self.add(name, 300, &format!("MX {n} {target}"));
                if n % 3 == 0 && !name.starts_with('*') && self.owners.insert(target.to_lowercase())
                {
                    self.add(&target, 300, "A 192.0.2.25");
                }
            }),
        }
    }

    /// Some sets of a name.
    fn sets(&mut self, name: &str) {
        const TYPES: [&str; 16] = [
            "A",
            "A",
            "A",
            "AAAA",
            "MX",
            "TXT",
            "SRV",
            "PTR",
            "HTTPS",
            "SVCB",
            "CAA",
            "NAPTR",
            "HINFO",
            "LOC",
            "TLSA",
            "TYPE65280",
        ];
        let mut types = BTreeSet::new();
        for _ in 0..self.random.random_range(1..4) {
            types.insert(*TYPES.choose(self.random).unwrap());
        }
        for rtype in types {
            let ttl = *TTLS.choose(self.random).unwrap();
            let mut data = BTreeSet::new();
            for _ in 0..self.random.random_range(1..4) {
                data.insert(self.data(rtype));
            }
            for data in data {
                self.add(name, ttl, &format!("{rtype} {data}"));
            }
        }
    }

    fn data(&mut self, rtype: &str) -> String {
        let n: u8 = self.random.random();
        match rtype {
            "A" => format!("192.0.2.{n}"),
            "AAAA" => format!("2001:db8::{n:x}"),
            "MX" => format!("{n} {}", self.target()),
            "TXT" => format!("\"text {n}\" \"\\000\\255\""),
            "SRV" => format!("0 {n} 5060 {}", self.target()),
            "PTR" => self.target(),
            "HTTPS" | "SVCB" => format!("1 {} port={n}", self.target()),
            "CAA" => format!("0 issue \"ca{n}.elsewhere\""),
            "NAPTR" => format!("{n} 10 \"s\" \"SIP+D2U\" \"\" {}", self.target()),
            "HINFO" => format!("\"cpu {n}\" \"system\""),
            "LOC" => format!("{} N 0 0 0.000 E 10m", n % 90),
            "TLSA" => format!(
                "3 1 1 00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEE{n:02X}"
            ),
            _ => format!("\\# 2 AB{n:02X}"),
        }
    }
}
