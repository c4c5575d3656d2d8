//! What the dearest queries cost that anybody can think of, in instructions of
//! `respond()`, counted as in `benches/instructions.rs`, and how many times a plain
//! answer that is. Run as `cargo bench --bench worst`, with words of titles behind
//! `--` for some of them.
//!
//! The zones are made for the worst: they have the longest names, the deepest trees,
//! chains of aliases without end. Signatures are stand-ins.
//!
//! Valgrind has no instructions for SHA-1, and what NSEC3 costs is mostly hashes. Their
//! blocks are counted beside, and taken for what they are on a CPU that has some.

#[path = "support/signed.rs"]
mod signed;

use std::ffi::OsStr;
use std::fs;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use shardns::answer::{self, Request, Secrets, Settings, Via, Worker};
use shardns::wire::{LookupName, Name, RrType, lookup_name};
use shardns::zone::denial::Parameters;
use shardns::zone::text::Library;
use shardns::zone::{self, Zones};
use signed::{Chain, sign};

/// What a query of the worst kind may cost, in plain answers.
const LIMIT: u64 = 20;

/// Instructions that hash a block of 64 octets where the CPU has some for it.
const SHA1_BLOCK: u64 = 140;

/// Octets of a datagram that a worker takes.
const DATAGRAM: usize = 4096;

/// A title, zones by their names, and a request.
struct Worst {
    title: &'static str,
    zones: Vec<(String, String)>,
    request: Vec<u8>,
    tcp: bool,
}

fn main() {
    lookup_name::fix_hashes();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, folder] = &arguments[..]
        && word == "ask"
    {
        return ask(&read(Path::new(folder)));
    }
    if let [word, _] = &arguments[..]
        && word == "hash"
    {
        let (parameters, _) = Parameters::read(&[1, 0, 0, 0, 0]).unwrap();
        return (0..ROUNDS).for_each(|_| hash(&parameters));
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("SKIPPED: valgrind is not installed");
        return;
    }
    let words: Vec<&String> = arguments
        .iter()
        .filter(|word| !word.starts_with('-'))
        .collect();
    let all = all();
    let plain = one(&all[0]).total();
    println!(
        "{:<58}{:>7}{:>9}{:>7}{:>9}{:>7}{:>7}",
        "instructions of respond(), for one query",
        "octets",
        "valgrind",
        "blocks",
        "",
        "times",
        "reply"
    );
    let is_test = arguments.iter().any(|argument| argument == "--test");
    for worst in all.iter().take(if is_test { 2 } else { all.len() }) {
        let is_meant = |word: &&String| worst.title.contains(word.as_str());
        if !words.is_empty() && !words.iter().any(is_meant) {
            continue;
        }
        let (cost, reply) = (one(worst), reply(worst));
        let (total, times) = (cost.total(), cost.total() as f64 / plain as f64);
        let mark = if times > LIMIT as f64 {
            "  too much"
        } else {
            ""
        };
        println!(
            "{:<58}{:>7}{:>9}{:>7}{total:>9}{times:>7.1}{reply:>7}{mark}",
            worst.title,
            worst.request.len(),
            cost.counted,
            cost.blocks,
        );
    }
}

/// What valgrind counts for one query.
struct Cost {
    counted: u64,
    /// Those of it that hash.
    hashing: u64,
    /// How many blocks they hash.
    blocks: u64,
}

impl Cost {
    /// With instructions for SHA-1.
    fn total(&self) -> u64 {
        self.counted - self.hashing + SHA1_BLOCK * self.blocks
    }
}

/// Times that a question is put.
const ROUNDS: u64 = 10;

/// What is counted for one query: of all that the program does, `put`.
fn one(worst: &Worst) -> Cost {
    let folder = tempfile::tempdir().unwrap();
    write(worst, folder.path());
    let (counted, hashing) = count("ask", "worst::put*", folder.path());
    Cost {
        counted: counted / ROUNDS,
        hashing: hashing / ROUNDS,
        blocks: hashing / block(),
    }
}

/// Instructions that hash a block in software, which are always as many, `ROUNDS`
/// times.
fn block() -> u64 {
    static BLOCK: OnceLock<u64> = OnceLock::new();
    let folder = Path::new(".");
    *BLOCK.get_or_init(|| count("hash", "worst::hash*", folder).1)
}

/// Instructions of a function of this program, and how many of these hash.
fn count(word: &str, function: &str, folder: &Path) -> (u64, u64) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--compress-strings=no"])
        .arg(format!("--callgrind-out-file={}", file.path().display()))
        .arg(format!("--toggle-collect={function}"))
        .arg(std::env::current_exe().unwrap())
        .args([OsStr::new(word), folder.as_os_str()])
        // One instruction that copies all octets would count as one for each.
        .env(
            "GLIBC_TUNABLES",
            "glibc.cpu.x86_rep_movsb_threshold=100000000",
        )
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let count = text.split("Collected : ").nth(1);
    let count = count.and_then(|rest| rest.split_whitespace().next());
    let count = count.unwrap_or_else(|| panic!("valgrind says {text}"));
    let profile = fs::read_to_string(file.path()).unwrap();
    (count.parse().unwrap(), hashing(&profile))
}

/// The instructions of the function that hashes, from what valgrind writes: lines of a
/// place and a number behind the function's name, and each behind one of a call, whose
/// number is that of what is called.
fn hashing(profile: &str) -> u64 {
    let (mut is_meant, mut is_call, mut sum) = (false, false, 0);
    for line in profile.lines() {
        if let Some(function) = line.strip_prefix("fn=") {
            is_meant = function.starts_with("sha1::block_api::compress");
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [_, number] = words[..]
            && let Ok(number) = number.parse::<u64>()
            && is_meant
            && !is_call
        {
            sum += number;
        }
        is_call = line.starts_with("calls=");
    }
    sum
}

/// Hashes a block.
#[inline(never)]
fn hash(parameters: &Parameters) {
    black_box(parameters.hash(black_box(b"\x01n\x02ex\0")));
}

/// Writes it down for the process that is counted, which then need not make all.
fn write(worst: &Worst, folder: &Path) {
    fs::write(folder.join("request"), &worst.request).unwrap();
    fs::write(folder.join("tcp"), [u8::from(worst.tcp)]).unwrap();
    for (number, (origin, text)) in worst.zones.iter().enumerate() {
        let text = format!("{origin}\n{text}");
        fs::write(folder.join(format!("zone{number}")), text).unwrap();
    }
}

fn read(folder: &Path) -> Worst {
    let mut zones = Vec::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("zone") {
            let text = fs::read_to_string(&path).unwrap();
            let (origin, text) = text.split_once('\n').unwrap();
            zones.push((origin.into(), text.into()));
        }
    }
    Worst {
        title: "",
        zones,
        request: fs::read(folder.join("request")).unwrap(),
        tcp: fs::read(folder.join("tcp")).unwrap() == [1],
    }
}

fn zones(worst: &Worst) -> Zones {
    let load = |(origin, text): &(String, String)| {
        let text: &str = text.clone().leak();
        let library = Library::Embedded(vec![("zone", text)].leak());
        let origin = origin.parse().unwrap();
        let loaded = zone::load(library, "zone".as_ref(), Some(origin)).unwrap();
        let faults = loaded.faults;
        loaded
            .zone
            .unwrap_or_else(|| panic!("{}: {faults:?}", worst.title))
    };
    Zones::new(worst.zones.iter().map(load).collect())
}

fn settings() -> Settings {
    Settings {
        edns_size: 4096,
        identity: vec![b'i'; 255],
        cookies: Some(Secrets {
            current: [7; 16],
            previous: Some([8; 16]),
        }),
        ..Settings::default()
    }
}

fn request(worst: &Worst) -> Request<'_> {
    let worker = Worker {
        index: 0,
        cpu: None,
        batch: 1,
    };
    Request {
        octets: &worst.request,
        peer: (Ipv4Addr::LOCALHOST, 5353).into(),
        local: Ipv4Addr::LOCALHOST.into(),
        via: if worst.tcp {
            Via::Tcp
        } else {
            Via::Udp(worker)
        },
        now: Duration::from_secs(1_700_000_000),
    }
}

fn room(worst: &Worst) -> usize {
    if worst.tcp { answer::MAX_MESSAGE } else { 4096 }
}

/// Octets of the reply.
fn reply(worst: &Worst) -> usize {
    let (mut name, mut reply) = (LookupName::new(), vec![0; room(worst)]);
    let request = request(worst);
    answer::respond(&zones(worst), &settings(), &request, &mut name, &mut reply).length()
}

fn ask(worst: &Worst) {
    let (zones, settings) = (zones(worst), settings());
    let (mut name, mut reply) = (LookupName::new(), vec![0; room(worst)]);
    let request = request(worst);
    for _ in 0..ROUNDS {
        put(&zones, &settings, &request, &mut name, &mut reply);
    }
}

#[inline(never)]
fn put(
    zones: &Zones,
    settings: &Settings,
    request: &Request<'_>,
    name: &mut LookupName,
    reply: &mut [u8],
) {
    let request = black_box(request);
    black_box(answer::respond(zones, settings, request, name, reply));
}

/// A query, with DO where that is said.
fn query(name: &str, rtype: RrType, dnssec: bool) -> Vec<u8> {
    let mut request = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(dnssec)];
    let name: Name = name
        .parse()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    request.extend(name.as_wire());
    request.extend([rtype.0.to_be_bytes(), [0, 1]].concat());
    if dnssec {
        request.extend([0, 0, 41, 16, 0, 0, 0, 0x80, 0, 0, 0]);
    }
    request
}

/// `count` labels of one octet below `ex`.
fn deep(count: usize, octet: char) -> String {
    format!("{octet}.").repeat(count) + "ex."
}

/// A name of 255 octets below `ex` with few labels, the last octets of the first of
/// which tell it from others.
fn long(number: usize) -> String {
    let label = |length| "l".repeat(length);
    format!(
        "{}{number:04}.{}.{}.{}.ex.",
        label(54),
        label(63),
        label(63),
        label(61)
    )
}

const HEAD: &str = "@ 60 SOA ns h 1 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.1\n";

fn all() -> Vec<Worst> {
    let mut all = Vec::new();
    let mut add = |title, text: &str, request: Vec<u8>| {
        all.push(Worst {
            title,
            zones: vec![("ex.".into(), format!("{HEAD}{text}"))],
            request,
            tcp: false,
        });
    };
    let a = RrType::A;
    add(
        "a plain answer",
        "h0123456789.zones A 192.0.2.2\n",
        query("h0123456789.zones.ex.", a, false),
    );
    lookups(&mut add);
    aliases(&mut add);
    let proofs = [
        ("NSEC", Chain::Nsec),
        (
            "NSEC3",
            Chain::Nsec3 {
                opt_out: false,
                iterations: 0,
                salt: "-",
            },
        ),
    ];
    for (name, chain) in proofs {
        signed_zones(&mut add, name, chain);
    }
    opt_out(&mut add);
    messages(&mut add);
    nested_zones(&mut all);
    over_tcp(&mut all);
    all
}

type Add<'a> = dyn FnMut(&'static str, &str, Vec<u8>) + 'a;

fn title(text: String) -> &'static str {
    text.leak()
}

/// Names that are long, deep, or nowhere.
fn lookups(add: &mut Add<'_>) {
    let a = RrType::A;
    add(
        "the longest name",
        &format!("{} A 192.0.2.2\n", long(1)),
        query(&long(1), a, false),
    );
    add(
        "the deepest name",
        &format!("{} A 192.0.2.2\n", deep(125, 'd')),
        query(&deep(125, 'd'), a, false),
    );
    add(
        "no such name, 125 labels below the zone",
        "",
        query(&deep(125, 'd'), a, false),
    );
    let half = format!("x.{} A 192.0.2.2\n", deep(60, 'd'));
    add(
        "no such name, 60 labels below the deepest",
        &half,
        query(&format!("{}{}", "y.".repeat(60), deep(60, 'd')), a, false),
    );
    let mut stars = String::new();
    for labels in 0..124 {
        stars += &format!("*.{} A 192.0.2.2\n", deep(labels, 'd'));
    }
    add(
        "a wildcard at every level",
        &stars,
        query(&format!("x.{}", deep(123, 'd')), a, false),
    );
    add(
        "a wildcard at the top for a deep name",
        "* A 192.0.2.2\n",
        query(&deep(125, 'x'), a, false),
    );
    let cut = format!(
        "{} NS ns.{}\nns.{} A 192.0.2.2\n",
        deep(60, 'd'),
        deep(60, 'd'),
        deep(60, 'd')
    );
    add(
        "below a deep delegation",
        &cut,
        query(&format!("{}{}", "y.".repeat(60), deep(60, 'd')), a, false),
    );
    let mut many = String::new();
    for number in 0..13 {
        many += &format!("cut NS ns{number}.cut\n");
        for host in 1..9 {
            many +=
                &format!("ns{number}.cut A 192.0.2.{host}\nns{number}.cut AAAA 2001:db8::{host}\n");
        }
    }
    add(
        "a delegation to 13 servers of 16 addresses",
        &many,
        query("x.cut.ex.", a, false),
    );
    let mut types = String::new();
    for number in 0..3000 {
        types += &format!("many TYPE{} \\# 1 00\n", 1000 + number);
    }
    add(
        "a name of 3,000 types",
        &types,
        query("many.ex.", RrType(9999), false),
    );
}

/// Chains of 1,000 aliases.
fn aliases(add: &mut Add<'_>) {
    let a = RrType::A;
    let (mut short, mut long_ones, mut stars, mut dnames) =
        (String::new(), String::new(), String::new(), String::new());
    for number in 0..1000 {
        short += &format!("c{number} CNAME c{}\n", number + 1);
        long_ones += &format!("{} CNAME {}\n", long(number), long(number + 1));
        stars += &format!("*.w{number} CNAME x.w{}\n", number + 1);
        dnames += &format!("d{number} DNAME d{}\n", number + 1);
    }
    let last = "c1000 A 192.0.2.2\nx.w1000 A 192.0.2.2\nx.d1000 A 192.0.2.2\n";
    add("1,000 aliases", &(short + last), query("c0.ex.", a, false));
    add(
        "1,000 aliases between the longest names",
        &long_ones,
        query(&long(0), a, true),
    );
    add(
        "1,000 aliases of wildcards",
        &(stars + last),
        query("x.w0.ex.", a, true),
    );
    add(
        "1,000 redirections",
        &(dnames + last),
        query("x.d0.ex.", a, true),
    );
    let first = format!(
        "{}.{}.{}.{}",
        "l".repeat(63),
        "l".repeat(63),
        "l".repeat(63),
        "l".repeat(40)
    );
    let mut dnames = String::new();
    for number in 0..1000 {
        dnames += &format!("d{number:04} DNAME d{:04}\n", number + 1);
    }
    add(
        "1,000 redirections of a long name",
        &dnames,
        query(&format!("{first}.d0000.ex."), a, true),
    );
}

/// Signed zones, and questions with DO.
fn signed_zones(add: &mut Add<'_>, name: &str, chain: Chain) {
    let a = RrType::A;
    let mut put = |what: &str, text: &str, request| {
        add(
            title(format!("{name}: {what}")),
            &sign("ex.", &format!("{HEAD}{text}"), chain),
            request,
        );
    };
    put("no such name", "m A 192.0.2.2\n", query("n.ex.", a, true));
    put(
        "no such name, 125 labels below",
        "m A 192.0.2.2\n",
        query(&deep(125, 'd'), a, true),
    );
    put(
        "no such name, the longest",
        "m A 192.0.2.2\n",
        query(&long(1), a, true),
    );
    let half = format!("x.{} A 192.0.2.2\n", deep(60, 'd'));
    put(
        "no such name below the deepest",
        &half,
        query(&format!("{}{}", "y.".repeat(60), deep(60, 'd')), a, true),
    );
    let mut alike = String::new();
    for number in 0..500 {
        alike += &format!("{} A 192.0.2.2\n", long(number));
    }
    put(
        "no such name among 500 long ones",
        &alike,
        query(&long(9000), a, true),
    );
    let mut deep_ones = String::new();
    for number in 0..500 {
        deep_ones += &format!("x{number}.{} A 192.0.2.2\n", deep(100, 'd'));
    }
    put(
        "no such name among 500 deep ones",
        &deep_ones,
        query(&format!("y.{}", deep(100, 'd')), a, true),
    );
    put(
        "no data at the deepest name",
        &format!("{} A 192.0.2.2\n", deep(125, 'd')),
        query(&deep(125, 'd'), RrType::MX, true),
    );
    let mut stars = String::new();
    for labels in 0..124 {
        stars += &format!("*.{} A 192.0.2.2\n", deep(labels, 'd'));
    }
    put(
        "a wildcard at every level",
        &stars,
        query(&format!("x.{}", deep(123, 'd')), a, true),
    );
    put(
        "no data at a wildcard at every level",
        &stars,
        query(&format!("x.{}", deep(123, 'd')), RrType::MX, true),
    );
    let (mut chain_of_stars, mut short) = (String::new(), String::new());
    let x = format!("{}x", "x.".repeat(100));
    for number in 0..100 {
        chain_of_stars += &format!("*.w{number} CNAME {x}.w{}\n", number + 1);
        short += &format!("*.w{number} CNAME x.w{}\n", number + 1);
    }
    put(
        "100 aliases of wildcards",
        &short,
        query("x.w0.ex.", a, true),
    );
    put(
        "100 aliases of wildcards, deep names",
        &chain_of_stars,
        query(&format!("{x}.w0.ex."), a, true),
    );
    put(
        "a delegation without DS",
        "sub NS ns.sub\nns.sub A 192.0.2.3\n",
        query("x.sub.ex.", a, true),
    );
}

/// Deep insecure delegations that a chain passes over.
fn opt_out(add: &mut Add<'_>) {
    let chain = Chain::Nsec3 {
        opt_out: true,
        iterations: 0,
        salt: "-",
    };
    let text = format!("{HEAD}{} NS ns.elsewhere.\n", deep(120, 'd'));
    let name = format!("x.{}", deep(120, 'd'));
    add(
        "NSEC3: below a deep delegation that is opted out",
        &sign("ex.", &text, chain),
        query(&name, RrType::A, true),
    );
    let beside = format!("y.{}", deep(119, 'd'));
    add(
        "NSEC3: no name beside a deep one that is opted out",
        &sign("ex.", &text, chain),
        query(&beside, RrType::A, true),
    );
    for (iterations, salt) in [(10, "-"), (100, "-"), (100, "0123456789abcdef")] {
        let chain = Chain::Nsec3 {
            opt_out: false,
            iterations,
            salt,
        };
        let what = title(format!(
            "NSEC3, {iterations} iterations, salt {salt}: no such name"
        ));
        add(
            what,
            &sign("ex.", HEAD, chain),
            query("n.ex.", RrType::A, true),
        );
    }
}

/// Requests that take long to read.
fn messages(add: &mut Add<'_>) {
    let text = "h A 192.0.2.2\n";
    let fill = |mut request: Vec<u8>, with: &[u8]| {
        let times = (DATAGRAM - request.len()) / with.len();
        request.extend(with.repeat(times));
        (request, times as u16)
    };
    let (mut request, times) = fill(
        query("h.ex.", RrType::A, false),
        b"\0\0\x01\0\x01\0\0\0\0\0\0",
    );
    request[10..12].copy_from_slice(&times.to_be_bytes());
    add(
        "as many additional records as a datagram holds",
        text,
        request.clone(),
    );
    request.pop();
    add("the same, the last one not whole", text, request.clone());
    request[2] = 0x28;
    add("the same, as an update", text, request);
    for (title, option) in [
        ("as many options as a datagram holds", &b"\0\xff\0\0"[..]),
        ("as many NSID options as a datagram holds", b"\0\x03\0\0"),
        (
            "as many COOKIE options as a datagram holds",
            b"\0\x0a\0\x08a client",
        ),
    ] {
        let request = query("h.ex.", RrType::A, true);
        let at = request.len() - 2;
        let (mut request, times) = fill(request, option);
        let length = times * option.len() as u16;
        request[at..at + 2].copy_from_slice(&length.to_be_bytes());
        add(title, text, request);
    }
    let name = "a.".repeat(126);
    let owner = name.parse::<Name>().unwrap();
    let record = [owner.as_wire(), b"\0\x01\0\x01\0\0\0\0\0\0"].concat();
    let (mut request, times) = fill(query("h.ex.", RrType::A, false), &record);
    request[10..12].copy_from_slice(&times.to_be_bytes());
    add("additional records of the deepest names", text, request);
    let mut request = query(&deep(125, 'd'), RrType::A, false);
    request.extend(record.repeat(3));
    request[11] = 3;
    add("three of them", text, request.clone());
    request.pop();
    add("the same, the last one not whole", text, request);
}

/// A zone at every level, so that each has to be looked for.
fn nested_zones(all: &mut Vec<Worst>) {
    let mut zones = vec![("ex.".to_owned(), HEAD.to_owned())];
    for labels in 1..120 {
        for octet in ['d', 'e'] {
            zones.push((deep(labels, octet), HEAD.into()));
        }
    }
    let name = format!("{}x.ex.", "d.".repeat(123));
    all.push(Worst {
        title: "240 zones, two at every level",
        zones,
        request: query(&name, RrType::A, false),
        tcp: false,
    });
}

/// What fills a message of 65,535 octets.
fn over_tcp(all: &mut Vec<Worst>) {
    let (mut star, mut alone) = (String::new(), String::new());
    for number in 0..2400 {
        star += &format!("*.w MX 1 m{number:04}.m\n");
        alone += &format!("alone MX 1 m{number:04}.m\n");
    }
    let text = format!("{HEAD}{star}{alone}");
    for (title, name) in [
        ("over TCP, 2,400 records of a name", "alone.ex."),
        ("over TCP, 2,400 records of a wildcard", "x.w.ex."),
    ] {
        all.push(Worst {
            title,
            zones: vec![("ex.".into(), text.clone())],
            request: query(name, RrType::MX, false),
            tcp: true,
        });
    }
}
