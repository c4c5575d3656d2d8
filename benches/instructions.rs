//! How many instructions `respond()` takes, counted by valgrind's callgrind,
//! which counts the same on a busy machine as on an idle one. Run as
//! `cargo bench --bench instructions`; where valgrind is missing it says so.
//!
//! The program runs itself under callgrind for each question, asking it 1,000
//! and 2,000 times, takes the difference, and from that what the loop costs
//! that asks, measured in the same way with nobody to answer. Under valgrind no CPU
//! has instructions for SHA-1, so that NSEC3 looks dearer here than it is.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use data_encoding::BASE32_DNSSEC;
use shardns::answer::{self, Notes, Outcome, Request, Secrets, Settings, Via, Worker};
use shardns::wire::{LookupName, Name, Rcode, RrType};
use shardns::zone::denial::Parameters;
use shardns::zone::text::Library;
use shardns::zone::{self, Zones};

const ZONE: &str = "\
$ORIGIN example.com.
$TTL 3600
@ SOA ns1 hostmaster 1 7200 3600 1209600 300
@ NS ns1
@ MX 10 mail
ns1 A 192.0.2.1
mail A 192.0.2.25
h0123456789 A 192.0.2.2
www CNAME h0123456789
*.wild A 192.0.2.3
sub NS ns.sub
ns.sub A 192.0.2.4
";

/// Owners of the same zone in canonical order, and the types that are signed there.
const OWNERS: [(&str, &str); 8] = [
    ("", "NS SOA MX"),
    ("h0123456789.", "A"),
    ("mail.", "A"),
    ("ns1.", "A"),
    ("sub.", ""),
    // Empty, and so without NSEC.
    ("wild.", ""),
    ("*.wild.", "A"),
    ("www.", "CNAME"),
];

/// Names as they are hashed in a zone of NSEC3 with the parameters of RFC 9276 §3.1.
const PARAMETERS: &[u8] = &[1, 0, 0, 0, 0];

const QUESTIONS: [(&str, &str, RrType); 7] = [
    ("A record", "h0123456789.example.com", RrType::A),
    ("NXDOMAIN", "nx01234567.example.com", RrType::A),
    ("no data", "h0123456789.example.com", RrType::AAAA),
    ("wildcard", "anything.wild.example.com", RrType::A),
    ("alias", "www.example.com", RrType::A),
    ("referral", "www.sub.example.com", RrType::A),
    ("MX with address", "example.com", RrType::MX),
];

/// Octets of a signature of ECDSA P-256 in base64, which nobody here verifies.
fn signature(owner: &str, rtype: &str) -> String {
    let labels = owner.replace("*.", "").matches('.').count() + 2;
    let octets = "A".repeat(86);
    format!(
        "{owner}example.com. RRSIG {rtype} 13 {labels} 3600 20300101000000 20200101000000 1 \
        example.com. {octets}==\n"
    )
}

/// The zone with signatures, and with NSEC or NSEC3.
fn signed(with: &str) -> String {
    let mut text = ZONE.to_owned();
    for (owner, types) in OWNERS {
        text.extend(
            types
                .split_whitespace()
                .map(|rtype| signature(owner, rtype)),
        );
    }
    if with == "nsec" {
        let owners = OWNERS.iter().filter(|(owner, _)| *owner != "wild.");
        let owners: Vec<_> = owners.collect();
        for (at, (owner, types)) in owners.iter().enumerate() {
            let next = owners[(at + 1) % owners.len()].0;
            text += &format!("{owner}example.com. NSEC {next}example.com. {types} NSEC RRSIG\n");
            text += &signature(owner, "NSEC");
        }
        return text;
    }
    let (parameters, _) = Parameters::read(PARAMETERS).unwrap();
    let hashed = OWNERS.map(|(owner, types)| {
        let name: Name = format!("{owner}example.com").parse().unwrap();
        let hash = parameters.hash(name.as_wire());
        (BASE32_DNSSEC.encode(&hash), types)
    });
    let mut hashed = hashed.to_vec();
    hashed.sort();
    text += "@ NSEC3PARAM 1 0 0 -\n";
    for (at, (hash, types)) in hashed.iter().enumerate() {
        let next = &hashed[(at + 1) % hashed.len()].0;
        text += &format!("{hash}.example.com. NSEC3 1 0 0 - {next} {types} RRSIG\n");
        text += &signature(&format!("{hash}."), "NSEC3");
    }
    text
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, question, rounds, edns, who] = &arguments[..]
        && let (Ok(question), Ok(rounds)) = (question.parse::<usize>(), rounds.parse())
    {
        return ask(QUESTIONS[question], rounds, edns, who);
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("SKIPPED: valgrind is not installed");
        return;
    }
    println!(
        "{:<18}{:>10}{:>12}{:>12}{:>12}{:>12}   instructions of respond(), for one query",
        "question", "plain", "with EDNS", "cookie", "DO, NSEC", "DO, NSEC3"
    );
    let is_test = arguments.iter().any(|argument| argument == "--test");
    let questions = if is_test { 1 } else { QUESTIONS.len() };
    for (index, (title, ..)) in QUESTIONS.iter().enumerate().take(questions) {
        let counts = ["plain", "edns", "cookie", "nsec", "nsec3"].map(|edns| {
            let one = |who| (count(index, 2000, edns, who) - count(index, 1000, edns, who)) / 1000;
            one(RESPOND) - one(NOBODY)
        });
        let [plain, edns, cookie, nsec, nsec3] = counts;
        println!("{title:<18}{plain:>10}{edns:>12}{cookie:>12}{nsec:>12}{nsec3:>12}");
    }
}

/// Who is asked.
const RESPOND: &str = "respond";
const NOBODY: &str = "nobody";
fn count(question: usize, rounds: u32, edns: &str, who: &str) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args([&question.to_string(), &rounds.to_string(), edns, who])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let count = text
        .split("Collected : ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    count
        .unwrap_or_else(|| panic!("valgrind says {text}"))
        .parse()
        .unwrap()
}

fn ask((_, name, rtype): (&str, &str, RrType), rounds: u32, edns: &str, who: &str) {
    let text = match edns {
        "nsec" | "nsec3" => signed(edns),
        _ => ZONE.to_owned(),
    };
    let files = [("example.com.zone", &*text.leak())];
    let library = Library::Embedded(files.to_vec().leak());
    let loaded = zone::load(library, "example.com.zone".as_ref(), None).unwrap();
    let zones = Zones::new(vec![loaded.zone.unwrap()]);
    let mut request = vec![
        0x12,
        0x34,
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        0,
        u8::from(edns != "plain"),
    ];
    request.extend(name.parse::<Name>().unwrap().as_wire());
    request.extend([rtype.0.to_be_bytes(), [0, 1]].concat());
    match edns {
        "edns" => request.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]),
        "cookie" => request.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 12, 0, 10, 0, 8]),
        "nsec" | "nsec3" => request.extend([0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0]),
        _ => {}
    }
    if edns == "cookie" {
        request.extend(*b"a client");
    }
    let settings = Settings {
        cookies: Some(Secrets {
            current: [7; 16],
            previous: None,
        }),
        ..Settings::default()
    };
    let (mut name, mut reply) = (LookupName::new(), [0; 1232]);
    let via = Via::Udp(Worker {
        index: 0,
        cpu: None,
        batch: 1,
    });
    if who == NOBODY {
        for _ in 0..rounds {
            black_box(Outcome::Replied {
                length: black_box(&request[..]).len(),
                rcode: Rcode::NoError,
                notes: Notes::default(),
            });
        }
        return;
    }
    let request = Request {
        octets: &request,
        peer: (Ipv4Addr::LOCALHOST, 5353).into(),
        local: Ipv4Addr::LOCALHOST.into(),
        via,
        now: Duration::ZERO,
    };
    for _ in 0..rounds {
        let request = black_box(&request);
        black_box(answer::respond(
            &zones, &settings, request, &mut name, &mut reply,
        ));
    }
}
