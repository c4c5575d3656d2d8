//! Zones signed with others' tools, in every way there is, and others' validators, which
//! must accept every kind of answer. What is not installed is skipped, and says so.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use support::running::{Running, skip};

/// What a zone below `test.` holds. Its child zones are served beside it: `secure`
/// is signed with a key of its own, `insecure` is not signed.
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
nowhere CNAME nothere
d DNAME w
a.b.c TXT \"below names without data\"
insecure NS ns
*.insecure.ent TXT \"x\"
one.onlyinsecure NS ns
Upper.Case A 192.0.2.9
";

/// Questions, and whether their proofs are as good where insecure delegations are left
/// out of the chain: what such a span covers is not secure (RFC 5155 §12.2).
const QUESTIONS: [(&str, &str, Proof); 18] = [
    ("mail", "A", Proof::Secure),
    ("@", "MX", Proof::Secure),
    ("@", "DNSKEY", Proof::Secure),
    ("@", "NSEC3PARAM", Proof::Secure),
    ("mail", "TXT", Proof::Secure),
    ("nothere", "A", Proof::SecureUnlessOptOut),
    ("x.y.nothere", "A", Proof::SecureUnlessOptOut),
    ("x.w", "A", Proof::SecureUnlessOptOut),
    ("x.y.w", "TXT", Proof::SecureUnlessOptOut),
    ("b.c", "A", Proof::Secure),
    ("alias", "A", Proof::Secure),
    ("nowhere", "A", Proof::SecureUnlessOptOut),
    ("x.alias", "A", Proof::SecureUnlessOptOut),
    ("x.d", "A", Proof::SecureUnlessOptOut),
    ("upper.case", "MX", Proof::Secure),
    ("insecure", "DS", Proof::SecureUnlessOptOut),
    ("onlyinsecure", "A", Proof::SecureUnlessOptOut),
    ("www.insecure", "A", Proof::Insecure),
];

#[derive(Clone, Copy, PartialEq)]
enum Proof {
    Secure,
    SecureUnlessOptOut,
    Insecure,
}

/// A signed zone in a folder of its own.
struct Signed {
    apex: String,
    file: PathBuf,
    folder: PathBuf,
    opt_out: bool,
}

/// Runs a tool in the folder; `None` where there is no such tool.
fn run(folder: &Path, tool: &str, arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new("timeout");
    command.args(["20", tool]).args(arguments);
    let output = command.current_dir(folder).output().unwrap();
    // What `timeout` says of what it cannot find.
    (output.status.code() != Some(127)).then_some(output)
}

fn sign_with(folder: &Path, tool: &str, arguments: &[&str]) -> Option<String> {
    let output = run(folder, tool, arguments)?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {said}");
    Some(String::from_utf8(output.stdout).unwrap().trim().into())
}

/// With two keys, or in a roll-over to another algorithm with four.
fn ldns(folder: &Path, apex: &str, way: &str) -> Option<PathBuf> {
    let algorithms: &[&str] = match way {
        "rollover" => &["ECDSAP256SHA256", "ED25519"],
        _ => &["ECDSAP256SHA256"],
    };
    let mut arguments = match way {
        "nsec3" => vec!["-n", "-t", "0", "-s", "aabb"],
        _ => Vec::new(),
    };
    arguments.extend(["-f", "signed", "zone"]);
    let mut keys = Vec::new();
    for algorithm in algorithms {
        keys.push(sign_with(
            folder,
            "ldns-keygen",
            &["-a", algorithm, "-k", apex],
        )?);
        keys.push(sign_with(folder, "ldns-keygen", &["-a", algorithm, apex])?);
    }
    arguments.extend(keys.iter().map(String::as_str));
    sign_with(folder, "ldns-signzone", &arguments)?;
    Some(folder.join("signed"))
}

/// With one key for everything.
fn bind(folder: &Path, apex: &str, way: &str) -> Option<PathBuf> {
    let algorithm = "ECDSAP256SHA256";
    sign_with(
        folder,
        "dnssec-keygen",
        &["-q", "-a", algorithm, "-f", "KSK", apex],
    )?;
    let mut arguments = vec!["-S", "-z", "-o", apex, "-f", "signed"];
    arguments.extend::<&[&str]>(match way {
        "nsec3" => &["-3", "-", "-H", "0"],
        "opt-out" => &["-3", "-", "-H", "0", "-A"],
        _ => &[],
    });
    arguments.push("zone");
    sign_with(folder, "dnssec-signzone", &arguments)?;
    Some(folder.join("signed"))
}

fn knot(folder: &Path, apex: &str, way: &str) -> Option<PathBuf> {
    let switch = |on: bool| if on { "on" } else { "off" };
    let (here, nsec3) = (folder.display(), switch(way != "nsec"));
    let configuration = format!(
        "server:\n  rundir: {here}\ndatabase:\n  storage: {here}\npolicy:\n  - id: p\n    \
        algorithm: ecdsap256sha256\n    nsec3: {nsec3}\n    nsec3-iterations: 0\n    \
        nsec3-opt-out: {}\nzone:\n  - domain: {apex}\n    file: {here}/zone\n    \
        dnssec-signing: on\n    dnssec-policy: p\n",
        switch(way == "opt-out")
    );
    fs::write(folder.join("knot.conf"), configuration).unwrap();
    fs::create_dir(folder.join("out")).unwrap();
    sign_with(folder, "kzonesign", &["-c", "knot.conf", "-o", "out", apex])?;
    Some(folder.join("out/zone"))
}

/// The zones that there are tools for.
fn signed(folder: &Path) -> Vec<Signed> {
    type Signer = fn(&Path, &str, &str) -> Option<PathBuf>;
    let signers: [(&str, Signer, &[&str]); 3] = [
        ("ldns", ldns, &["nsec", "nsec3", "rollover"]),
        ("bind", bind, &["nsec", "nsec3", "opt-out"]),
        ("knot", knot, &["nsec", "nsec3", "opt-out"]),
    ];
    let mut zones = Vec::new();
    for (signer, sign, ways) in signers {
        for way in ways {
            let apex = format!("{way}.{signer}.test");
            let folder = folder.join(&apex);
            fs::create_dir(&folder).unwrap();
            let text = format!("$ORIGIN {apex}.\n{ZONE}");
            fs::write(folder.join("zone"), text).unwrap();
            let Some(file) = sign(&folder, &apex, way) else {
                skip(&format!("no tools of {signer} to sign zones with"));
                break;
            };
            zones.push(Signed {
                apex,
                file,
                folder,
                opt_out: *way == "opt-out",
            });
        }
    }
    zones
}

/// The keys of a zone that others trust, as `FLAGS PROTOCOL ALGORITHM KEY`.
fn keys(zone: &Signed) -> Vec<String> {
    let loaded = support::load(&zone.file, Some(&zone.apex));
    let records = shardns::zone::canonical::records(&loaded);
    let is_key = |record: &&shardns::zone::canonical::CanonicalRecord| {
        record.rtype == shardns::wire::RrType::DNSKEY && record.rdata[1] == 1
    };
    let text = |rdata: &[u8]| {
        let mut text = String::new();
        shardns::zone::text::rdata::print(shardns::wire::RrType::DNSKEY, rdata, &mut text);
        text
    };
    let keys = records.iter().filter(is_key);
    keys.map(|record| text(&record.rdata)).collect()
}

/// The words with which a validator tells that it accepts an answer, or that the
/// answer is from where nothing is signed.
struct Validator {
    tool: &'static str,
    secure: &'static str,
    insecure: &'static str,
    arguments: fn(&Signed, port: &str, name: &str, rtype: &str) -> Vec<String>,
    /// Questions that it can answer at all.
    takes: fn(name: &str, rtype: &str) -> bool,
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

const VALIDATORS: [Validator; 3] = [
    Validator {
        tool: "delv",
        secure: "fully validated",
        insecure: "unsigned answer",
        arguments: |zone, port, name, rtype| {
            let root = format!("+root={}", zone.apex);
            strings(&[
                "@127.0.0.1",
                "-p",
                port,
                "-a",
                "anchor.conf",
                &root,
                name,
                rtype,
            ])
        },
        takes: |_, _| true,
    },
    Validator {
        tool: "drill",
        secure: ";; Chase successful",
        insecure: "verifiably insecure",
        arguments: |_, port, name, rtype| {
            strings(&[
                "-S",
                "-k",
                "anchor.key",
                "-p",
                port,
                "@127.0.0.1",
                name,
                rtype,
            ])
        },
        // It looks for a signature of the CNAME that a DNAME makes, follows no referral,
        // and knows no proof for an empty non-terminal that opt-out passes over.
        takes: |name, _| {
            let known = ["mail.", "nothere.", "x.w.", "b.c.", "insecure."];
            known.iter().any(|known| name.starts_with(known))
        },
    },
    Validator {
        tool: "unbound-host",
        secure: "(secure)",
        insecure: "(insecure)",
        arguments: |_, _, name, rtype| strings(&["-v", "-C", "unbound.conf", "-t", rtype, name]),
        // It asks the servers of a delegation at their own port.
        takes: |name, _| !name.starts_with("www."),
    },
];

/// Writes down whom the validators trust and whom they ask.
fn trust(zone: &Signed, port: &str) {
    let (apex, keys) = (&zone.apex, keys(zone));
    assert!(!keys.is_empty(), "{apex} has a key");
    let mut anchors = String::new();
    let mut lines = String::new();
    for key in &keys {
        let (numbers, key) = key.rsplit_once(' ').unwrap();
        anchors += &format!("  {apex}. static-key {numbers} \"{key}\";\n");
        lines += &format!("{apex}. 3600 IN DNSKEY {numbers} {key}\n");
    }
    let write = |name: &str, text: &str| fs::write(zone.folder.join(name), text).unwrap();
    write("anchor.conf", &format!("trust-anchors {{\n{anchors}}};\n"));
    write("anchor.key", &lines);
    let file = zone.folder.join("anchor.key");
    let configuration = format!(
        "server:\n do-not-query-localhost: no\n local-zone: \"test.\" nodefault\n \
        trust-anchor-file: \"{}\"\nstub-zone:\n name: \"{apex}\"\n stub-addr: 127.0.0.1@{port}\n",
        file.display()
    );
    write("unbound.conf", &configuration);
}

/// What a validator says. Now and then one of many takes a port that another has.
fn ask_one(zone: &Signed, validator: &Validator, arguments: &[&str]) -> Option<String> {
    loop {
        let output = run(&zone.folder, validator.tool, arguments)?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        if !said.contains("address in use") {
            return Some(said);
        }
    }
}

/// Asks everything about a zone; returns what was not accepted, and how much was.
fn ask_all(zone: &Signed, validator: &Validator, port: &str) -> Option<(Vec<String>, usize)> {
    let mut failures = Vec::new();
    let mut accepted = 0;
    for (name, rtype, proof) in QUESTIONS {
        let name = match name {
            "@" => zone.apex.clone(),
            below => format!("{below}.{}", zone.apex),
        };
        if !(validator.takes)(&name, rtype) {
            continue;
        }
        let arguments = (validator.arguments)(zone, port, &name, rtype);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let said = ask_one(zone, validator, &arguments)?;
        let (secure, insecure) = (
            said.contains(validator.secure),
            said.contains(validator.insecure),
        );
        let fine = match proof {
            Proof::Secure => secure,
            Proof::SecureUnlessOptOut => secure || zone.opt_out && insecure,
            Proof::Insecure => insecure,
        };
        accepted += usize::from(fine);
        if !fine {
            failures.push(format!("{} {arguments:?}: {said}", validator.tool));
        }
    }
    Some((failures, accepted))
}

#[test]
fn validators_accept_every_kind_of_answer() {
    let folder = tempfile::tempdir().unwrap();
    let zones = signed(folder.path());
    let mut arguments = Vec::new();
    for zone in &zones {
        arguments.push(format!("{}={}", zone.apex, zone.file.display()));
        let child = zone.folder.join("insecure.zone");
        let text = "@ 60 SOA ns.test. h 1 2 3 4 5\n@ 60 NS ns.test.\nwww 60 A 192.0.2.80\n";
        fs::write(&child, text).unwrap();
        arguments.push(format!("insecure.{}={}", zone.apex, child.display()));
    }
    if zones.is_empty() {
        return;
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let server = Running::start(&arguments);
    let port = &*server.address.port().to_string();
    zones.iter().for_each(|zone| trust(zone, port));
    for validator in &VALIDATORS {
        let of_zone = |zone| move || ask_all(zone, validator, port);
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = zones
                .iter()
                .map(|zone| scope.spawn(of_zone(zone)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let Some(results) = results.into_iter().collect::<Option<Vec<_>>>() else {
            skip(&format!("{} is not installed", validator.tool));
            continue;
        };
        let failures: Vec<String> = results
            .iter()
            .flat_map(|(failures, _)| failures.clone())
            .collect();
        assert!(
            failures.is_empty(),
            "{} failures\n{}",
            failures.len(),
            failures.join("\n")
        );
        let accepted: usize = results.iter().map(|(_, accepted)| accepted).sum();
        assert!(
            accepted >= 6 * zones.len(),
            "{} accepted {accepted}",
            validator.tool
        );
    }
}
