//! Zones signed with others' tools, in every way there is, and others' validators, which
//! must accept every kind of answer. What is not installed is skipped, and says so.

mod hickory;
mod referrals;
mod sign;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::PathBuf;
use std::thread;

use sign::{Denial, Signed};
use support::running::{Running, skip};

/// Questions, and whether their proofs are as good where insecure delegations are left
/// out of the chain: what such a span covers is not secure (RFC 5155 §12.2).
const QUESTIONS: [(&str, &str, Proof); 29] = [
    ("mail", "A", Proof::Secure),
    ("@", "MX", Proof::Secure),
    ("@", "DNSKEY", Proof::Secure),
    ("@", "NSEC3PARAM", Proof::Secure),
    ("mail", "TXT", Proof::Secure),
    ("nothere", "A", Proof::SecureUnlessOptOut),
    ("x.y.nothere", "A", Proof::SecureUnlessOptOut),
    ("x.w", "A", Proof::SecureUnlessOptOut),
    ("x.y.w", "A", Proof::SecureUnlessOptOut),
    ("x.y.w", "TXT", Proof::SecureUnlessOptOut),
    ("b.c", "A", Proof::Secure),
    ("alias", "A", Proof::Secure),
    ("again", "A", Proof::Secure),
    ("through", "A", Proof::SecureUnlessOptOut),
    ("nowhere", "A", Proof::SecureUnlessOptOut),
    ("x.alias", "A", Proof::SecureUnlessOptOut),
    ("x.d", "A", Proof::SecureUnlessOptOut),
    ("upper.case", "MX", Proof::Secure),
    ("secure", "DS", Proof::Secure),
    ("insecure", "DS", Proof::SecureUnlessOptOut),
    ("onlyinsecure", "A", Proof::SecureUnlessOptOut),
    ("alias", "CNAME", Proof::Secure),
    ("alias", "TXT", Proof::Secure),
    ("d", "DNAME", Proof::Secure),
    ("q.hollow", "A", Proof::SecureUnlessOptOut),
    ("www.secure", "A", Proof::Secure),
    ("www.secure", "TXT", Proof::Secure),
    ("away", "A", Proof::Secure),
    ("www.insecure", "A", Proof::Insecure),
];

/// What a validator must find.
#[derive(Clone, Copy, PartialEq)]
pub enum Proof {
    /// The chain of trust reaches the answer.
    Secure,
    /// It does, or ends provably where delegations are left out of it.
    SecureUnlessOptOut,
    /// It ends provably before the answer.
    Insecure,
}

impl Proof {
    /// Whether what a validator found is as it must be in that zone.
    pub fn accepts(self, zone: &Signed, secure: bool, insecure: bool) -> bool {
        match self {
            Proof::Secure => secure,
            Proof::SecureUnlessOptOut => secure || zone.denial == Denial::OptOut && insecure,
            Proof::Insecure => insecure,
        }
    }
}

/// The questions about a zone, their names whole.
pub fn questions(zone: &Signed) -> impl Iterator<Item = (String, &'static str, Proof)> {
    QUESTIONS.into_iter().map(|(name, rtype, proof)| {
        let name = match name {
            "@" => zone.apex.clone(),
            below => format!("{below}.{}", zone.apex),
        };
        (name, rtype, proof)
    })
}

/// The words with which a validator tells that it accepts an answer, or that the
/// answer is from where nothing is signed.
struct Validator {
    tool: &'static str,
    secure: &'static str,
    insecure: &'static str,
    arguments: fn(&Signed, port: &str, name: &str, rtype: &str) -> Vec<String>,
    /// Questions that it can answer at all.
    takes: fn(&Signed, name: &str) -> bool,
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
            // It takes a reply that was cut short for the whole; over TCP none is.
            strings(&[
                "-S",
                "-t",
                "-k",
                "anchor.key",
                "-p",
                port,
                "@127.0.0.1",
                name,
                rtype,
            ])
        },
        takes: |zone, name| {
            // It looks for a signature of the CNAME that a DNAME makes, and follows no
            // referral.
            let is_beyond = name.starts_with("x.d.") || name.starts_with("www.insecure.");
            // Of an empty non-terminal it wants an NSEC3 of its own, or an NSEC that covers a
            // wildcard too.
            let is_hidden = zone.denial != Denial::Nsec3 && name.starts_with("onlyinsecure.");
            !is_beyond && !is_hidden
        },
    },
    Validator {
        tool: "unbound-host",
        secure: "(secure)",
        insecure: "(insecure)",
        arguments: |_, _, name, rtype| strings(&["-v", "-C", "unbound.conf", "-t", rtype, name]),
        // Of a wildcard without data it takes an NSEC of its own alone, and not the one
        // that leads below it.
        takes: |zone, name| zone.denial != Denial::Nsec || !name.starts_with("q.hollow."),
    },
];

/// Writes down whom the validators trust and whom they ask.
fn configure(zone: &Signed, port: u16) {
    zone.trust();
    // Unbound would ask the servers of a delegation at port 53.
    let children = zone.children.iter().map(|(child, _)| child);
    let names = [&zone.apex].into_iter().chain(children);
    let stubs: String = names.map(|name| stub(name, port)).collect();
    fs::write(zone.folder.join("unbound.conf"), unbound(zone, &stubs)).unwrap();
}

/// Where unbound asks about a zone.
pub fn stub(name: &str, port: u16) -> String {
    format!("stub-zone:\n name: \"{name}\"\n stub-addr: 127.0.0.1@{port}\n")
}

/// How unbound is set up; of several algorithms each must be good, not one of them.
pub fn unbound(zone: &Signed, stubs: &str) -> String {
    let anchors = zone.folder.join("anchor.key");
    format!(
        "server:\n do-not-query-localhost: no\n local-zone: \"test.\" nodefault\n \
        harden-algo-downgrade: yes\n trust-anchor-file: \"{}\"\n{stubs}",
        anchors.display()
    )
}

/// What a validator says. Now and then one of many takes a port that another has.
fn ask_one(zone: &Signed, validator: &Validator, arguments: &[&str]) -> Option<String> {
    loop {
        let output = sign::run(&zone.folder, validator.tool, arguments)?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        if !said.contains("address in use") {
            return Some(said);
        }
    }
}

/// What was not accepted of the answers about a zone, and how many were.
#[derive(Default)]
pub struct Verdict {
    failures: Vec<String>,
    accepted: usize,
}

impl Verdict {
    /// Counts what was accepted, and keeps what was said of anything else.
    pub fn note(&mut self, accepted: bool, said: impl FnOnce() -> String) {
        match accepted {
            true => self.accepted += 1,
            false => self.failures.push(said()),
        }
    }
}

/// Asks everything about a zone; nothing where there is no such tool.
fn ask_all(zone: &Signed, validator: &Validator, port: u16) -> Option<Verdict> {
    let port = port.to_string();
    let mut verdict = Verdict::default();
    for (name, rtype, proof) in questions(zone) {
        if !(validator.takes)(zone, &name) {
            continue;
        }
        let arguments = (validator.arguments)(zone, &port, &name, rtype);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let said = ask_one(zone, validator, &arguments)?;
        let told = |words| said.contains(words);
        let accepted = proof.accepts(zone, told(validator.secure), told(validator.insecure));
        verdict.note(accepted, || {
            format!("{} {arguments:?}: {said}", validator.tool)
        });
    }
    Some(verdict)
}

/// Has one validator judge all zones, each on a thread.
pub fn judge(zones: &[Signed], tool: &str, ask: impl Fn(&Signed) -> Option<Verdict> + Sync) {
    let verdicts: Option<Vec<Verdict>> = thread::scope(|scope| {
        let ask = &ask;
        let start = |zone| scope.spawn(move || ask(zone));
        let threads: Vec<_> = zones.iter().map(start).collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.collect()
    });
    let Some(verdicts) = verdicts else {
        return skip(&format!("{tool} is not installed"));
    };
    let failures: Vec<&str> = verdicts
        .iter()
        .flat_map(|verdict| verdict.failures.iter().map(String::as_str))
        .collect();
    assert!(
        failures.is_empty(),
        "{} failures\n{}",
        failures.len(),
        failures.join("\n")
    );
    let accepted: usize = verdicts.iter().map(|verdict| verdict.accepted).sum();
    assert!(accepted >= 4 * zones.len(), "{tool} accepted {accepted}");
}

/// `ORIGIN=FILE`, as `serve` takes it.
pub fn served<'a>(zones: impl IntoIterator<Item = (&'a String, &'a PathBuf)>) -> Vec<String> {
    let zones = zones.into_iter();
    zones
        .map(|(apex, file)| format!("{apex}={}", file.display()))
        .collect()
}

#[test]
fn validators_accept_every_kind_of_answer() {
    let folder = tempfile::tempdir().unwrap();
    let zones = sign::sign_all(folder.path());
    if zones.is_empty() {
        return;
    }
    let own = zones.iter().map(|zone| (&zone.apex, &zone.file));
    let below = zones.iter().flat_map(|zone| &zone.children);
    let arguments = served(own.chain(below.map(|(apex, file)| (apex, file))));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let server = Running::start(&arguments);
    let port = server.address.port();
    zones.iter().for_each(|zone| configure(zone, port));
    for validator in &VALIDATORS {
        judge(&zones, validator.tool, |zone| {
            ask_all(zone, validator, port)
        });
    }
    judge(&zones, "hickory", |zone| {
        Some(hickory::ask_all(zone, server.address))
    });
}
