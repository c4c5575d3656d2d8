//! `respond()` with the zones of all text cases, signed ones among them, and
//! settings of every kind: two octets say how, the request follows, or what one is
//! to be made of.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, LazyLock};

use shardns::answer::{self, MAX_MESSAGE, Outcome, Prepared, Request, Settings, Via};
use shardns::wire::{LookupName, Name, RrType};
use shardns::zone::{Zone, Zones};

use crate::support::decode::{Message, Record, decode};
use crate::support::{self, UDP, cases};

/// Sets of zones: where two case files have one of the same name, the first one's or
/// the last one's; the root only in one.
static WORLDS: LazyLock<[Zones; 2]> = LazyLock::new(|| {
    let all: Vec<Arc<Zone>> = cases::all()
        .iter()
        .flat_map(|file| file.zones.iter().cloned().collect::<Vec<_>>())
        .collect();
    let set = |zones: &mut dyn Iterator<Item = &Arc<Zone>>| {
        let mut kept: Vec<Arc<Zone>> = Vec::new();
        for zone in zones {
            if kept.iter().all(|other| other.apex() != zone.apex()) {
                kept.push(zone.clone());
            }
        }
        Zones::new(kept)
    };
    let mut without_root = all.iter().filter(|zone| *zone.apex() != Name::ROOT);
    [set(&mut without_root), set(&mut all.iter().rev())]
});

/// Names that there are in the zones.
static NAMES: LazyLock<Vec<Name>> = LazyLock::new(|| {
    let zones = WORLDS.iter().flat_map(Zones::iter);
    let nodes = zones.flat_map(|zone| zone.nodes().chain(zone.hidden_nodes()));
    let mut names: Vec<Name> = nodes
        .filter_map(|node| Name::from_wire(node.name()).ok())
        .collect();
    names.sort_by_key(|name| name.to_lower().as_wire().to_vec());
    names.dedup();
    names
});

/// How a request is put: a bit each.
const TCP: u8 = 1;
const OTHER_WORLD: u8 = 2;
const NO_COOKIES: u8 = 4;
const NO_IDENTITY: u8 = 8;
const IPV6: u8 = 16;
const NO_KEEPALIVE: u8 = 32;
/// The request is made of what follows, instead of being it.
const MADE: u8 = 64;

/// Sizes that replies may be limited to.
const SIZES: [u16; 4] = [512, 1232, 1452, 4096];

/// Answers one request, and looks at the reply.
pub fn run(input: &[u8]) {
    let [way, size, rest @ ..] = input else {
        return;
    };
    let made;
    let octets = match way & MADE {
        0 => rest,
        _ => {
            let Some(request) = make(rest) else { return };
            made = request;
            &made[..]
        }
    };
    if octets.len() > MAX_MESSAGE {
        return;
    }
    let mut settings = support::settings();
    settings.edns_size = SIZES[usize::from(size % 4)];
    if way & NO_COOKIES != 0 {
        settings.cookies = None;
    }
    if way & NO_IDENTITY != 0 {
        settings.identity.clear();
        settings.version.clear();
    }
    if way & NO_KEEPALIVE != 0 {
        settings.tcp_idle = None;
    }
    let via = if way & TCP != 0 { Via::Tcp } else { UDP };
    let mut request = support::request(via, octets);
    if way & IPV6 != 0 {
        let client = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);
        request.peer = (client, 5353).into();
        request.local = IpAddr::V6(Ipv6Addr::LOCALHOST);
    }
    let zones = &WORLDS[usize::from(way & OTHER_WORLD != 0)];
    let reply = ask(zones, &settings, &request);
    if let Err(wrong) = check(zones, &settings, &request, reply.as_deref()) {
        panic!("{wrong}\nrequest {octets:02x?}\nreply {reply:02x?}");
    }
}

/// A request for a name that there is, or one near it: which one (two octets), how
/// it is changed, the type (two), bits for the message, and options.
fn make(input: &[u8]) -> Option<Vec<u8>> {
    let [
        upper,
        lower,
        change,
        type_upper,
        type_lower,
        bits,
        rest @ ..,
    ] = input
    else {
        return None;
    };
    let number = usize::from(u16::from_be_bytes([*upper, *lower]));
    let name = NAMES[number % NAMES.len()].as_wire();
    let (labels, options) = rest.split_at_checked(usize::from(change >> 3))?;
    let cut = match (change & 7, name) {
        (1, [length, ..]) if *length > 0 => &name[1 + usize::from(*length)..],
        _ => name,
    };
    let mut whole = Vec::new();
    match change & 7 {
        2 => whole.extend(b"\x01*"),
        3 => whole.extend(b"\x01*\x01x"),
        4 => whole.extend([1, b'x'].repeat((254 - cut.len()) / 2)),
        _ => {}
    }
    if !labels.is_empty() {
        whole.push(labels.len() as u8);
        whole.extend(labels);
    }
    whole.extend(cut);
    Name::from_wire(&whole).ok()?;
    if bits & 1 != 0 {
        whole.make_ascii_uppercase();
    }
    let with_opt = bits & 2 != 0;
    let class = [1, 1, 3, 255][usize::from(bits >> 6)];
    let mut request = vec![
        7,
        *upper,
        bits >> 2 & 1,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        0,
        with_opt as u8,
    ];
    request.extend(whole);
    request.extend([*type_upper, *type_lower, 0, class]);
    if with_opt {
        let size = [512u16, 1232, 4096, 65_535][usize::from(bits >> 4 & 3)];
        let flags = if bits & 8 != 0 { 0x80 } else { 0 };
        request.extend([0, 0, 41]);
        request.extend(size.to_be_bytes());
        request.extend([0, 0, flags, 0]);
        request.extend((options.len() as u16).to_be_bytes());
        request.extend(options);
    }
    Some(request)
}

/// The reply; `None` for silence. It is the same alone and in a batch.
fn ask(zones: &Zones, settings: &Settings, request: &Request<'_>) -> Option<Vec<u8>> {
    let room = match request.via {
        Via::Udp(_) => settings.edns_size.into(),
        Via::Tcp => MAX_MESSAGE,
    };
    let (mut name, mut reply) = (LookupName::new(), vec![0xaa; room]);
    let outcome = answer::respond(zones, settings, request, &mut name, &mut reply);
    reply.truncate(outcome.length());
    let other = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03com\0\0\x01\0\x01";
    let mut names = vec![LookupName::new(); 3];
    let batch: Vec<Prepared<'_>> = [other, request.octets, other]
        .iter()
        .zip(&mut names)
        .map(|(octets, name)| Prepared::read(zones, octets, name))
        .collect();
    Prepared::fetch(&batch, &names);
    let mut again = vec![0x55; room];
    let second = batch[1].finish(settings, request, &mut names[1], &mut again);
    again.truncate(second.length());
    assert_eq!((outcome, &reply), (second, &again), "alone and in a batch");
    matches!(outcome, Outcome::Replied { .. }).then_some(reply)
}

fn check(
    zones: &Zones,
    settings: &Settings,
    request: &Request<'_>,
    reply: Option<&[u8]>,
) -> Result<(), String> {
    let octets = request.octets;
    let is_response = octets.len() > 2 && octets[2] & 0x80 != 0;
    let Some(reply) = reply else {
        return holds(is_response || octets.len() < 12, "silence");
    };
    holds(!is_response, "an answer to a response")?;
    holds(octets.len() >= 12, "an answer to half a header")?;
    let message = decode(reply)?;
    let asked = decode(octets).ok();
    check_header(octets, reply, &message)?;
    let limit = match (request.via, asked.as_ref().map(|asked| &asked.opt)) {
        (Via::Tcp, _) => MAX_MESSAGE,
        (_, Some(None)) => 512,
        (_, Some(Some(opt))) => opt.size.clamp(512, settings.edns_size).into(),
        (_, None) => settings.edns_size.into(),
    };
    holds(reply.len() <= limit, "longer than the client takes")?;
    let is_truncated = message.flags & 0x200 != 0;
    // Where addresses that a referral cannot do without fit into no message.
    let is_full = reply.len() > MAX_MESSAGE / 3;
    holds(
        !is_truncated || request.via != Via::Tcp || is_full,
        "TC over TCP",
    )?;
    for section in &message.sections {
        let mut lines: Vec<String> = section.iter().map(Record::line).collect();
        lines.sort();
        let duplicate = lines.windows(2).find(|pair| pair[0] == pair[1]);
        if let Some([record, _]) = duplicate {
            return Err(format!("twice in a section: {record}"));
        }
    }
    let Some(asked) = asked else {
        return Ok(());
    };
    check_edns(&asked, &message)?;
    check_content(&asked, &message)?;
    // A timeout that the client tells is wrong over TCP alone (RFC 7828 §3.2.1).
    let mut options = asked.opt.iter().flat_map(|opt| &opt.options);
    let may_differ = options.any(|(code, data)| *code == 11 && !data.is_empty());
    if request.via != Via::Tcp && !is_truncated && !may_differ {
        let over_tcp = Request {
            via: Via::Tcp,
            ..*request
        };
        let reply = ask(zones, settings, &over_tcp).ok_or("silence over TCP")?;
        check_transports(&message, &decode(&reply)?)?;
    }
    Ok(())
}

fn holds(it: bool, otherwise: &str) -> Result<(), String> {
    it.then_some(()).ok_or_else(|| otherwise.into())
}

/// Id, opcode and RD are the request's, and so is the question to the letter.
fn check_header(octets: &[u8], reply: &[u8], message: &Message) -> Result<(), String> {
    holds(reply[..2] == octets[..2], "another id")?;
    holds(
        reply[2] & 0xf9 == 0x80 | octets[2] & 0x79,
        "QR, opcode or RD",
    )?;
    holds(reply[3] & 0xc0 == 0, "RA or Z")?;
    if message.question.is_some() {
        let name = shardns::wire::name::wire_length(&reply[12..]).ok_or("no name")?;
        let end = 12 + name + 4;
        holds(
            octets.get(12..end) == Some(&reply[12..end]),
            "another question",
        )?;
    } else {
        holds(
            matches!(message.rcode(), 1 | 4 | 16 | 23 | 0),
            "no question",
        )?;
        let counts = message.sections.iter().map(Vec::len).sum::<usize>();
        holds(counts == 0, "records without a question")?;
    }
    Ok(())
}

/// An OPT record answers an OPT record and nothing else (RFC 6891 §7), in version 0,
/// with DO as it came (RFC 3225 §3).
fn check_edns(asked: &Message, message: &Message) -> Result<(), String> {
    // An OPT record may be where none belongs, and is none then.
    if matches!(message.rcode(), 1 | 4) {
        return Ok(());
    }
    let (Some(sent), Some(got)) = (&asked.opt, &message.opt) else {
        return holds(asked.opt.is_none() == message.opt.is_none(), "OPT or none");
    };
    holds(got.version == 0, "the version")?;
    holds(got.flags == sent.flags & 0x8000, "the flags of OPT")
}

/// Without DO nothing of DNSSEC but what was asked for (RFC 4035 §3.2.1), and a SOA
/// in each negative answer (RFC 2308 §3).
fn check_content(asked: &Message, message: &Message) -> Result<(), String> {
    let Some((_, rtype, class)) = asked.question else {
        return Ok(());
    };
    let records = || message.sections.iter().flatten();
    let wants = asked
        .opt
        .as_ref()
        .is_some_and(|opt| opt.flags & 0x8000 != 0);
    let dnssec = [RrType::RRSIG, RrType::NSEC, RrType::NSEC3];
    if !wants && rtype != RrType::ANY {
        let unwanted = |record: &&Record| dnssec.contains(&record.rtype) && record.rtype != rtype;
        if let Some(record) = records().find(unwanted) {
            return Err(format!("without DO: {}", record.line()));
        }
    }
    let [answer, authority, _] = &message.sections;
    let is_whole = message.flags & 0x200 == 0;
    let is_negative = message.rcode() == 3 || message.rcode() == 0 && answer.is_empty();
    let of = |rtype| authority.iter().any(move |record| record.rtype == rtype);
    let is_referral = message.flags & 0x400 == 0 && of(RrType::NS);
    if class == 1 && is_whole && is_negative && !is_referral && message.flags & 0x400 != 0 {
        holds(of(RrType::SOA), "no SOA in a negative answer")?;
    }
    Ok(())
}

/// What fits a datagram is the same over TCP, which may have more beside it.
fn check_transports(udp: &Message, tcp: &Message) -> Result<(), String> {
    holds(udp.rcode() == tcp.rcode(), "another code over TCP")?;
    holds(udp.flags == tcp.flags, "other flags over TCP")?;
    holds(udp.question == tcp.question, "another question over TCP")?;
    holds(
        udp.sections[..2] == tcp.sections[..2],
        "another answer over TCP",
    )?;
    let has = |record: &Record| tcp.sections[2].contains(record);
    holds(udp.sections[2].iter().all(has), "less over TCP")
}

/// The requests of all text cases, and some that are made of their names.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for file in cases::all() {
        for case in &file.cases {
            for way in [0, OTHER_WORLD] {
                let way = way | if case.tcp { TCP } else { 0 };
                seeds.push([&[way, 1], &case.request[..]].concat());
            }
        }
    }
    for number in 0..NAMES.len() {
        let ([upper, lower], change) = ((number as u16).to_be_bytes(), (number % 5) as u8);
        for (bits, rtype) in [(0x1a, 1), (0x1a, 28), (0x1a, 43), (0, 255), (0x0a, 46)] {
            seeds.push(vec![MADE, 1, upper, lower, change, 0, rtype, bits]);
        }
    }
    seeds
}
