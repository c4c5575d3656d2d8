//! Zones of any size and the requests that go with them, the same each time.

#![allow(dead_code)]

pub mod report;

use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use shardns::answer::{self, Prepared, Request, Settings, Via, Worker};
use shardns::server::rate_limit::{self, Limiter, Withheld};
use shardns::wire::{LookupName, Name, RrType};
use shardns::zone::text::Library;
use shardns::zone::{self, Zones};

/// Names that the benchmarks go through.
pub const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];

/// What a request meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An A record.
    Hit,
    /// No such name.
    NxDomain,
    /// No such type.
    NoData,
    /// A wildcard.
    Wildcard,
    /// Three CNAMEs and an A record.
    Aliases,
    /// A delegation with four servers and their addresses.
    Referral,
    /// A set that does not fit.
    Truncated,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 7] = [
        Kind::Hit,
        Kind::NxDomain,
        Kind::NoData,
        Kind::Wildcard,
        Kind::Aliases,
        Kind::Referral,
        Kind::Truncated,
    ];

    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Hit => "hit",
            Kind::NxDomain => "NXDOMAIN",
            Kind::NoData => "no data",
            Kind::Wildcard => "wildcard",
            Kind::Aliases => "alias chain",
            Kind::Referral => "referral with glue",
            Kind::Truncated => "truncated",
        }
    }
}

fn random() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

/// The label of name `number`: scattered, so that neighbours in the file are
/// none in the table.
fn label(number: usize) -> String {
    format!(
        "h{:x}",
        (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24
    )
}

/// Writes a master file of example.com with `names` names that have an A
/// record, and a few of each other kind. Returns its path.
pub fn zone_file(names: usize) -> PathBuf {
    let path =
        std::env::temp_dir().join(format!("shardns-bench-{}-{names}.zone", std::process::id()));
    let mut out = BufWriter::new(std::fs::File::create(&path).unwrap());
    out.write_all(
        b"$ORIGIN example.com.\n$TTL 3600\n@ SOA ns1 hostmaster 1 7200 3600 1209600 300\n@ NS ns1\n\
        ns1 A 192.0.2.1\n*.wild A 192.0.2.2\nalias1 CNAME alias2\nalias2 CNAME alias3\nalias3 CNAME ns1\n\
        sub NS a.ns.sub\nsub NS b.ns.sub\nsub NS c.ns.sub\nsub NS d.ns.sub\n\
        a.ns.sub A 192.0.2.3\nb.ns.sub A 192.0.2.4\nc.ns.sub A 192.0.2.5\nd.ns.sub A 192.0.2.6\n\
        $GENERATE 1-100 big A 10.0.0.$\n",
    )
    .unwrap();
    for number in 0..names {
        let [_, a, b, c] = (number as u32).to_be_bytes();
        writeln!(out, "{} A 10.{a}.{b}.{c}", label(number)).unwrap();
    }
    out.flush().unwrap();
    path
}

/// The zone of `zone_file`, loaded.
pub fn zones(names: usize) -> Zones {
    let path = zone_file(names);
    let loaded = zone::load(Library::Disk, &path, None).unwrap();
    std::fs::remove_file(path).unwrap();
    Zones::new(vec![loaded.zone.expect("the zone is good")])
}

/// `count` requests of a kind, with EDNS, for the zone of that many names.
pub fn requests(names: usize, kind: Kind, count: usize) -> Vec<Vec<u8>> {
    let mut random = random();
    let mut request = || {
        let number = random.random_range(0..names);
        let (name, rtype) = match kind {
            Kind::Hit => (label(number), RrType::A),
            Kind::NxDomain => (format!("nx{number:x}"), RrType::A),
            Kind::NoData => (label(number), RrType::AAAA),
            Kind::Wildcard => (format!("w{number:x}.wild"), RrType::A),
            Kind::Aliases => ("alias1".into(), RrType::A),
            Kind::Referral => (format!("r{number:x}.sub"), RrType::A),
            Kind::Truncated => ("big".into(), RrType::A),
        };
        query(&format!("{name}.example.com"), rtype)
    };
    (0..count).map(|_| request()).collect()
}

/// One query with EDNS.
pub fn query(name: &str, rtype: RrType) -> Vec<u8> {
    let mut request = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    request.extend(name.parse::<Name>().unwrap().as_wire());
    request.extend([rtype.0.to_be_bytes(), [0, 1]].concat());
    request.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    request
}

/// A request from loopback.
fn request(octets: &[u8]) -> Request<'_> {
    Request {
        octets,
        peer: (Ipv4Addr::LOCALHOST, 5353).into(),
        local: Ipv4Addr::LOCALHOST.into(),
        via: Via::Udp(Worker {
            index: 0,
            cpu: None,
            batch: 32,
        }),
        now: Duration::ZERO,
    }
}

/// Requests of a batch, as the server takes them by default.
pub const BATCH: usize = 32;

/// Answers each request before it looks at the next.
pub fn one_by_one(zones: &Zones, requests: &[Vec<u8>], name: &mut LookupName, out: &mut [u8]) {
    let settings = Settings::default();
    for octets in requests {
        let request = request(octets);
        black_box(answer::respond(zones, &settings, &request, name, out));
    }
}

/// Answers the requests in batches, as a worker does.
pub fn together(zones: &Zones, requests: &[Vec<u8>], names: &mut [LookupName], out: &mut [u8]) {
    let settings = Settings::default();
    for batch in requests.chunks(BATCH) {
        let read = batch.iter().zip(names.iter_mut());
        let prepared: Vec<Prepared> = read
            .map(|(request, name)| Prepared::read(zones, request, name))
            .collect();
        Prepared::fetch(&prepared, names);
        for ((prepared, octets), name) in prepared.iter().zip(batch).zip(names.iter_mut()) {
            let request = request(octets);
            black_box(prepared.finish(&settings, &request, name, out));
        }
    }
}

/// Answers each request as one of a client of its own, under a limit or without.
pub fn limited(
    zones: &Zones,
    requests: &[Vec<u8>],
    limiter: Option<&Limiter>,
    name: &mut LookupName,
    out: &mut [u8],
) {
    let settings = Settings::default();
    let mut withheld = Withheld::default();
    for (number, octets) in (0u32..).zip(requests) {
        let client = Ipv4Addr::from_bits(number << 8);
        let request = Request {
            peer: (client, 5353).into(),
            ..request(octets)
        };
        let prepared = Prepared::read(zones, octets, name);
        black_box(rate_limit::answer(
            limiter,
            prepared,
            &settings,
            &request,
            name,
            out,
            &mut withheld,
        ));
    }
}
