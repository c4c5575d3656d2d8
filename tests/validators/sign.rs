//! Signs zones with the tools of other projects: every denial, and keys as they are in
//! ordinary times and in the middle of a roll-over.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use shardns::wire::RrType;
use shardns::zone::canonical;
use trust_dns_proto::dnssec::rdata::DNSKEY;
use trust_dns_proto::dnssec::{Algorithm, DigestType, PublicKey, PublicKeyBuf};
use trust_dns_proto::rr::Name;

use crate::support::running::skip;
use crate::support::{self, ldns_keys};

/// What a zone below `test.` holds. Its child zones are served beside it: `secure`
/// is signed with keys of its own, `insecure` is not signed.
const ZONE: &str = "\
$TTL 3600
@ SOA ns hostmaster 1 7200 3600 1209600 300
@ NS ns
@ MX 10 mail
ns A 127.0.0.1
mail A 192.0.2.25
mail AAAA 2001:db8::25
*.w A 192.0.2.1
*.alias CNAME x.w
alias CNAME mail
again CNAME alias
through CNAME x.d
nowhere CNAME nothere
away CNAME www.secure
d DNAME w
a.b.c TXT \"below names without data\"
secure NS ns.secure
ns.secure A 127.0.0.2
insecure NS ns.insecure
ns.insecure A 127.0.0.2
*.insecure.ent TXT \"x\"
one.onlyinsecure NS ns
Upper.Case A 192.0.2.9
e.*.hollow A 192.0.2.10
";

const CHILD: &str = "\
$TTL 3600
@ SOA ns hostmaster 1 7200 3600 1209600 300
@ NS ns
ns A 127.0.0.2
www A 192.0.2.80
";

/// How the absence of names is proven.
#[derive(Clone, Copy, PartialEq)]
pub enum Denial {
    Nsec,
    Nsec3,
    OptOut,
}

/// What a key signs: others' keys, the zone's records, or both.
#[derive(Clone, Copy, PartialEq)]
pub enum Role {
    Keys,
    Records,
    Both,
}

/// Keys of a zone, and under which name it is known for them.
pub struct Keys {
    name: &'static str,
    keys: &'static [(Role, Algorithm)],
}

const ONE: Keys = Keys {
    name: "one",
    keys: &[(Role::Both, Algorithm::ECDSAP256SHA256)],
};
const TWO: Keys = Keys {
    name: "two",
    keys: &[
        (Role::Keys, Algorithm::ECDSAP256SHA256),
        (Role::Records, Algorithm::ECDSAP256SHA256),
    ],
};
/// In a roll-over with double signatures (RFC 6781 §4.1.1.2).
const NEXT_KEY: Keys = Keys {
    name: "next-key",
    keys: &[
        (Role::Keys, Algorithm::ECDSAP256SHA256),
        (Role::Records, Algorithm::ECDSAP256SHA256),
        (Role::Records, Algorithm::ECDSAP256SHA256),
    ],
};
/// In a roll-over to another algorithm (RFC 6781 §4.1.4).
const NEXT_ALGORITHM: Keys = Keys {
    name: "next-algorithm",
    keys: &[
        (Role::Keys, Algorithm::RSASHA256),
        (Role::Records, Algorithm::RSASHA256),
        (Role::Keys, Algorithm::ECDSAP256SHA256),
        (Role::Records, Algorithm::ECDSAP256SHA256),
    ],
};
const NEXT_CURVE: Keys = Keys {
    name: "next-curve",
    keys: &[
        (Role::Both, Algorithm::ECDSAP256SHA256),
        (Role::Both, Algorithm::ED25519),
    ],
};

/// A signed zone in a folder of its own.
pub struct Signed {
    pub apex: String,
    pub file: PathBuf,
    pub folder: PathBuf,
    pub denial: Denial,
    /// Signatures beside each set that no key stands in.
    pub signatures: usize,
    /// Zones below it, with their files.
    pub children: Vec<(String, PathBuf)>,
}

impl Signed {
    /// Writes the keys that others trust into its folder: `anchor.conf` as delv reads
    /// them, `anchor.key` as others do.
    pub fn trust(&self) {
        let apex = &self.apex;
        let keys = trusted_keys(apex, &self.file);
        assert!(!keys.is_empty(), "{apex} has a key");
        let (mut statements, mut records) = (String::new(), String::new());
        for key in &keys {
            let text = key.to_string();
            let (numbers, key) = text.rsplit_once(' ').unwrap();
            statements += &format!("  {apex}. static-key {numbers} \"{key}\";\n");
            records += &format!("{apex}. 3600 IN DNSKEY {numbers} {key}\n");
        }
        let statements = format!("trust-anchors {{\n{statements}}};\n");
        fs::write(self.folder.join("anchor.conf"), statements).unwrap();
        fs::write(self.folder.join("anchor.key"), records).unwrap();
    }
}

/// Runs a tool in the folder; `None` where there is no such tool.
pub fn run(folder: &Path, tool: &str, arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new("timeout");
    command.args(["20", tool]).args(arguments);
    let output = command.current_dir(folder).output().unwrap();
    // What `timeout` says of what it cannot find.
    (output.status.code() != Some(127)).then_some(output)
}

/// What a tool prints that must succeed.
fn succeed(folder: &Path, tool: &str, arguments: &[&str]) -> Option<String> {
    let output = run(folder, tool, arguments)?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {said}");
    Some(String::from_utf8(output.stdout).unwrap().trim().into())
}

fn ldns(folder: &Path, apex: &str, denial: Denial, keys: &Keys) -> Option<PathBuf> {
    let mut arguments = match denial {
        Denial::Nsec => Vec::new(),
        Denial::Nsec3 => vec!["-n", "-t", "0", "-s", "aabb"],
        Denial::OptOut => vec!["-n", "-p", "-t", "0"],
    };
    arguments.extend(["-f", "signed", "zone"]);
    let make = |(role, algorithm): &(Role, Algorithm)| {
        let mut arguments = vec!["-a", algorithm.as_str(), "-b", "2048"];
        if *role != Role::Records {
            arguments.push("-k");
        }
        arguments.push(apex);
        succeed(folder, "ldns-keygen", &arguments)
    };
    let files = ldns_keys(|| keys.keys.iter().map(make).collect())?;
    arguments.extend(files.iter().map(String::as_str));
    succeed(folder, "ldns-signzone", &arguments)?;
    Some(folder.join("signed"))
}

fn bind(folder: &Path, apex: &str, denial: Denial, keys: &Keys) -> Option<PathBuf> {
    for (role, algorithm) in keys.keys {
        let mut arguments = vec!["-q", "-a", algorithm.as_str()];
        if *algorithm == Algorithm::RSASHA256 {
            arguments.extend(["-b", "2048"]);
        }
        if *role != Role::Records {
            arguments.extend(["-f", "KSK"]);
        }
        arguments.push(apex);
        succeed(folder, "dnssec-keygen", &arguments)?;
    }
    let mut arguments = vec!["-S", "-o", apex, "-f", "signed"];
    if keys.keys.iter().any(|(role, _)| *role == Role::Both) {
        arguments.push("-z");
    }
    arguments.extend::<&[&str]>(match denial {
        Denial::Nsec => &[],
        Denial::Nsec3 => &["-3", "-", "-H", "0"],
        Denial::OptOut => &["-3", "-", "-H", "0", "-A"],
    });
    arguments.push("zone");
    succeed(folder, "dnssec-signzone", &arguments)?;
    Some(folder.join("signed"))
}

fn knot(folder: &Path, apex: &str, denial: Denial, keys: &Keys) -> Option<PathBuf> {
    let switch = |on: bool| if on { "on" } else { "off" };
    let (here, nsec3) = (folder.display(), switch(denial != Denial::Nsec));
    let both = keys.keys.iter().any(|(role, _)| *role == Role::Both);
    let configuration = format!(
        "server:\n  rundir: {here}\ndatabase:\n  storage: {here}\npolicy:\n  - id: p\n    \
        manual: on\n    single-type-signing: {}\n    nsec3: {nsec3}\n    nsec3-iterations: 0\n    \
        nsec3-salt-length: 0\n    \
        nsec3-opt-out: {}\nzone:\n  - domain: {apex}\n    file: {here}/zone\n    \
        dnssec-signing: on\n    dnssec-policy: p\n",
        switch(both),
        switch(denial == Denial::OptOut)
    );
    fs::write(folder.join("knot.conf"), configuration).unwrap();
    fs::create_dir(folder.join("out")).unwrap();
    for (role, algorithm) in keys.keys {
        let algorithm = format!("algorithm={}", algorithm.as_str().to_lowercase());
        let signs = |what, roles: [Role; 2]| {
            let yes = if roles.contains(role) { "yes" } else { "no" };
            format!("{what}={yes}")
        };
        let ksk = signs("ksk", [Role::Keys, Role::Both]);
        let zsk = signs("zsk", [Role::Records, Role::Both]);
        let arguments = ["-c", "knot.conf", apex, "generate", &algorithm, &ksk, &zsk];
        succeed(folder, "keymgr", &arguments)?;
    }
    succeed(folder, "kzonesign", &["-c", "knot.conf", "-o", "out", apex])?;
    Some(folder.join("out/zone"))
}

/// A project's tools, and the zones that are signed with them.
struct Signer {
    name: &'static str,
    sign: fn(&Path, apex: &str, Denial, &Keys) -> Option<PathBuf>,
    ways: &'static [(Denial, Keys)],
}

const SIGNERS: [Signer; 3] = [
    Signer {
        name: "ldns",
        sign: ldns,
        ways: &[
            (Denial::Nsec, TWO),
            (Denial::Nsec3, TWO),
            (Denial::OptOut, ONE),
            (Denial::Nsec3, NEXT_KEY),
            (Denial::Nsec, NEXT_ALGORITHM),
            (Denial::Nsec, NEXT_CURVE),
        ],
    },
    Signer {
        name: "bind",
        sign: bind,
        ways: &[
            (Denial::Nsec, ONE),
            (Denial::Nsec3, ONE),
            (Denial::OptOut, TWO),
            (Denial::Nsec, NEXT_KEY),
            (Denial::Nsec3, NEXT_ALGORITHM),
        ],
    },
    Signer {
        name: "knot",
        sign: knot,
        ways: &[
            (Denial::Nsec, ONE),
            (Denial::Nsec3, TWO),
            (Denial::OptOut, TWO),
            (Denial::OptOut, NEXT_KEY),
            (Denial::OptOut, NEXT_ALGORITHM),
        ],
    },
];

/// The zones that there are tools for.
pub fn sign_all(folder: &Path) -> Vec<Signed> {
    let sign = |signer: &Signer| {
        let ways = signer.ways.iter();
        let zones = ways.map(|(denial, keys)| signer.family(folder, *denial, keys));
        zones.collect::<Option<Vec<Signed>>>().unwrap_or_else(|| {
            skip(&format!("no tools of {} to sign zones with", signer.name));
            Vec::new()
        })
    };
    thread::scope(|scope| {
        let sign = &sign;
        let started = SIGNERS
            .each_ref()
            .map(|signer| scope.spawn(move || sign(signer)));
        let ended = started.into_iter().map(|thread| thread.join().unwrap());
        ended.flatten().collect()
    })
}

impl Keys {
    /// Signatures beside each set that no key stands in.
    fn of_records(&self) -> usize {
        let of_records = |(role, _): &&(Role, Algorithm)| *role != Role::Keys;
        self.keys.iter().filter(of_records).count()
    }
}

impl Signer {
    /// Signs a zone so that each set has as many signatures as there are keys for it.
    /// Where a signer took a key for another, other keys are made.
    fn sign_as_wanted(
        &self,
        folder: &Path,
        apex: &str,
        denial: Denial,
        keys: &Keys,
    ) -> Option<PathBuf> {
        for _ in 0..3 {
            let file = (self.sign)(folder, apex, denial, keys)?;
            if soa_signatures(apex, &file) == keys.of_records() {
                return Some(file);
            }
            for made in fs::read_dir(folder).unwrap().flatten() {
                if made.file_name().to_string_lossy().starts_with('K') {
                    fs::remove_file(made.path()).unwrap();
                }
            }
        }
        panic!(
            "{} signs {apex} with other keys than it was given",
            self.name
        );
    }

    /// A zone and its children.
    fn family(&self, folder: &Path, denial: Denial, keys: &Keys) -> Option<Signed> {
        let denied = match denial {
            Denial::Nsec => "nsec",
            Denial::Nsec3 => "nsec3",
            Denial::OptOut => "opt-out",
        };
        let apex = format!("{denied}.{}.{}.test", keys.name, self.name);
        let (secure, insecure) = (format!("secure.{apex}"), format!("insecure.{apex}"));
        let folder = folder.join(&apex);
        let write = |apex: &str, text: String| {
            let folder = folder.join(apex);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("zone"), format!("$ORIGIN {apex}.\n{text}")).unwrap();
            folder
        };
        let below = write(&secure, CHILD.into());
        let child = self.sign_as_wanted(&below, &secure, denial, keys)?;
        let trusted: String = trusted_keys(&secure, &child)
            .iter()
            .map(|key| format!("secure DS {}\n", digest(&secure, key)))
            .collect();
        let own = write(&apex, format!("{ZONE}{trusted}"));
        let file = self.sign_as_wanted(&own, &apex, denial, keys)?;
        let unsigned = write(&insecure, CHILD.into()).join("zone");
        Some(Signed {
            apex,
            file,
            folder: own,
            denial,
            signatures: keys.of_records(),
            children: vec![(secure, child), (insecure, unsigned)],
        })
    }
}

/// The keys of a zone that others trust: those that sign the set of keys.
fn trusted_keys(apex: &str, file: &Path) -> Vec<DNSKEY> {
    let keys = keys(apex, file).into_iter();
    keys.filter(DNSKEY::secure_entry_point).collect()
}

/// All keys of a zone.
pub fn keys(apex: &str, file: &Path) -> Vec<DNSKEY> {
    let records = canonical::records(&support::load(file, Some(apex)));
    let keys = records
        .iter()
        .filter(|record| record.rtype == RrType::DNSKEY);
    keys.map(|record| key(&record.rdata)).collect()
}

/// How many keys have signed the SOA.
fn soa_signatures(apex: &str, file: &Path) -> usize {
    let records = canonical::records(&support::load(file, Some(apex)));
    let is_of_soa = |rdata: &[u8]| rdata.starts_with(&RrType::SOA.0.to_be_bytes());
    let signatures = records.iter();
    signatures
        .filter(|record| record.rtype == RrType::RRSIG && is_of_soa(&record.rdata))
        .count()
}

/// RFC 4034 §2.1
fn key(rdata: &[u8]) -> DNSKEY {
    let flags = u16::from_be_bytes([rdata[0], rdata[1]]);
    let octets = PublicKeyBuf::new(rdata[4..].to_vec(), Algorithm::from_u8(rdata[3]));
    DNSKEY::with_flags(flags, octets)
}

/// What a parent says of a key.
fn digest(apex: &str, key: &DNSKEY) -> String {
    let name = Name::from_ascii(apex).unwrap();
    let digest = key.to_digest(&name, DigestType::SHA256).unwrap();
    let digest = data_encoding::HEXUPPER.encode(digest.as_ref());
    let tag = key.calculate_key_tag().unwrap();
    format!(
        "{tag} {} 2 {digest}",
        u8::from(key.public_key().algorithm())
    )
}
