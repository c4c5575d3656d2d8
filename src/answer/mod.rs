//! A request in, reply octets out. No I/O, no clock, no allocation: what a reply
//! depends on is in the arguments, and what happened is in the `Outcome`, for
//! the caller to count.

mod alias;
mod chaos;
pub mod cookie;
mod edns;
mod end;
mod header_only;
mod query;
mod reply;
mod signed;
mod terms;
mod unusual;

use std::hint::black_box;

use crate::wire::header::class;
use crate::wire::{LookupName, Rcode, RrType};
use crate::zone::store::Node;
use crate::zone::{Found, Zone, Zones};
pub use alias::MAX_ALIASES;
pub use cookie::{Cookie, Secrets};
use edns::ExtendedError;
use query::{Query, Unanswerable, is_no_question};
use reply::{Oversized, Owner, Reply};
pub use terms::{
    DEFAULT_EDNS_SIZE, MAX_MESSAGE, MIN_UDP, Notes, Outcome, Request, Settings, Source, Via, Worker,
};

/// Requests that `Prepared::fetch` fetches for at once: the widest batch.
const MAX_FETCHED: usize = 128;

/// Answers one request. `out` takes the reply, and is as long as it may be: 512 octets
/// at least; `settings.edns_size` for a datagram, `MAX_MESSAGE` for a connection.
/// `name` is scratch space that spares building one for each query.
#[inline]
pub fn respond(
    zones: &Zones,
    settings: &Settings,
    request: &Request<'_>,
    name: &mut LookupName,
    out: &mut [u8],
) -> Outcome {
    Prepared::read(zones, request.octets, name).finish(settings, request, name, out)
}

/// A request that has been read, and the zone that it is about: the first half
/// of an answer. Between the halves the requests of a batch wait together for
/// what their answers need from memory.
#[derive(Clone, Copy)]
pub struct Prepared<'z> {
    query: Result<Query, Unanswerable>,
    zones: &'z Zones,
    zone: Option<&'z Zone>,
}

impl<'z> Prepared<'z> {
    /// Reads a request's octets; `name` becomes the name that is asked for.
    #[inline]
    pub fn read(zones: &'z Zones, octets: &[u8], name: &mut LookupName) -> Prepared<'z> {
        let query = Query::parse(octets, name);
        let zone = match &query {
            Ok(query) => zones.find(name, query.rtype),
            Err(_) => None,
        };
        Prepared { query, zones, zone }
    }

    /// Has the cache fetch what finding the names will read. Loads that do not
    /// depend on each other are under way together, so a batch waits about as
    /// long as one request would: first for all slots of the tables, then for
    /// all nodes.
    pub fn fetch(batch: &[Prepared<'z>], names: &[LookupName]) {
        let mut slots = [0; MAX_FETCHED];
        for ((prepared, name), slot) in batch.iter().zip(names).zip(&mut slots) {
            *slot = prepared.zone.map_or(0, |zone| zone.first_slot(name));
        }
        let mut read = 0u8;
        for (prepared, slot) in batch.iter().zip(slots) {
            read ^= prepared.zone.map_or(0, |zone| zone.fetch(slot));
        }
        black_box(read);
    }

    /// Writes the reply to `request`, whose octets were read before.
    #[inline]
    pub fn finish(
        self,
        settings: &Settings,
        request: &Request<'_>,
        name: &mut LookupName,
        out: &mut [u8],
    ) -> Outcome {
        let query = match self.query {
            Ok(query) => query,
            Err(Unanswerable::Silence) => return Outcome::Ignored,
            Err(Unanswerable::Refused(header, rcode, edns)) => {
                return header_only::reply(header, rcode, edns, request, settings, out);
            }
        };
        match query.edns {
            Some(edns) if !edns.is_plain() => {
                unusual::finish((self.zones, self.zone), query, settings, request, name, out)
            }
            edns => {
                let mut reply = Reply::begin(&query, name, request, out);
                let rcode = self.by_class::<false>(query, settings, request, name, &mut reply);
                reply.finish(rcode, edns, settings)
            }
        }
    }

    /// `SIGNED` where the client wants signatures.
    #[inline(always)]
    fn by_class<const SIGNED: bool>(
        &self,
        query: Query,
        settings: &Settings,
        request: &Request<'_>,
        name: &mut LookupName,
        reply: &mut Reply<'_>,
    ) -> Rcode {
        match query.class {
            class::IN => self.look_up::<SIGNED>(query.rtype, name, reply),
            class::ANY => self.for_all_classes::<SIGNED>(query.rtype, name, reply),
            _ => unusual::other_class(query, settings, request.via, name, reply),
        }
    }

    /// The zone that the request is about.
    pub fn zone(&self) -> Option<&'z Zone> {
        self.zone
    }

    #[inline(always)]
    fn look_up<const SIGNED: bool>(
        &self,
        rtype: RrType,
        name: &mut LookupName,
        reply: &mut Reply<'_>,
    ) -> Rcode {
        match self.zone {
            _ if (RrType::TKEY.0..=RrType::MAILA.0).contains(&rtype.0) => {
                unusual::other_type(rtype, reply)
            }
            Some(zone) if SIGNED => signed::from_zone(self.zones, zone, rtype, name, reply),
            Some(zone) => from_zone(self.zones, zone, rtype, name, reply),
            None if is_no_question(rtype) => unusual::no_question(rtype, reply),
            None => {
                reply.set_source(Source::Server);
                reply.set_ede(ExtendedError::NotAuthoritative);
                Rcode::Refused
            }
        }
    }
}

/// RFC 1034 §4.3.2 from step 3 on. What is mostly asked for is there.
#[inline(always)]
fn from_zone(
    zones: &Zones,
    zone: &Zone,
    rtype: RrType,
    name: &mut LookupName,
    reply: &mut Reply<'_>,
) -> Rcode {
    reply.set_aa(true);
    match zone.find_set(name, rtype) {
        Ok(set) => match reply.answer(&set, Owner::question(name)) {
            Ok(_) => Rcode::NoError,
            Err(Oversized) => reply.fail(),
        },
        Err(node) => from_node(zones, zone, node, rtype, name, reply),
    }
}

#[inline(never)]
fn from_node<'z>(
    zones: &'z Zones,
    zone: &'z Zone,
    node: Option<Node<'z>>,
    rtype: RrType,
    name: &mut LookupName,
    reply: &mut Reply<'_>,
) -> Rcode {
    if is_no_question(rtype) {
        return unusual::no_question(rtype, reply);
    }
    match zone.find_from(node, name, rtype) {
        Found::End(end) => end::conclude(zone, end, name, Owner::question(name), reply),
        Found::Alias(alias) => {
            reply.begin_source(alias::source(&alias, name));
            alias::follow::<false>((zones, zone), rtype, alias, name, reply)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;
    use crate::wire::header::HEADER;
    use crate::zone::text::Library;

    const ZONE: &str = "\
$ORIGIN example.com.
$TTL 60
@ SOA ns hostmaster 1 2 3 4 5
@ NS ns
* A 192.0.2.1
";

    /// Questions of all lengths that one label makes, in requests that end with
    /// them, and replies that have just the room, or an octet less.
    #[test]
    fn requests_and_replies_to_the_last_octet() {
        let library = Library::Embedded(&[("example.com.zone", ZONE)]);
        let loaded = crate::zone::load(library, "example.com.zone".as_ref(), None).unwrap();
        let zones = Zones::new(vec![loaded.zone.unwrap()]);
        let mut name = LookupName::new();
        let worker = Worker {
            index: 0,
            cpu: None,
            batch: 1,
        };
        let mut respond = |octets: &[u8], out: &mut [u8]| {
            let settings = Settings {
                edns_size: out.len() as u16,
                ..Settings::default()
            };
            let request = Request {
                octets,
                peer: (Ipv4Addr::LOCALHOST, 53).into(),
                local: Ipv4Addr::LOCALHOST.into(),
                via: Via::Udp(worker),
                now: Duration::ZERO,
            };
            respond(&zones, &settings, &request, &mut name, out)
        };
        for label in 1..=63 {
            let mut request = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, label as u8];
            request.extend(std::iter::repeat_n(b'X', label));
            request.extend(b"\x07Example\x03com\0\0\x01\0\x01");
            let mut expected = request.clone();
            (expected[2], expected[7]) = (0x85, 1);
            expected.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01");
            let mut out = vec![0xaa; expected.len()];
            let outcome = respond(&request, &mut out);
            assert_eq!((outcome.length(), &out), (expected.len(), &expected));
            out.pop();
            let outcome = respond(&request, &mut out);
            let truncated = Outcome::Replied {
                length: request.len(),
                rcode: Rcode::NoError,
                notes: Notes::new(0x8700).with_source(Source::Above(label as u8 + 1)),
            };
            assert_eq!(outcome, truncated);
            assert_eq!((out[2], out[7]), (0x87, 0));
            request.pop();
            let outcome = respond(&request, &mut out);
            assert_eq!(outcome.length(), HEADER, "the question is not whole");
        }
    }

    const KINDS: &str = "\
$ORIGIN test.
$TTL 60
@ SOA ns hostmaster 1 2 3 4 5
@ NS ns
a A 192.0.2.1
alias CNAME nowhere
*.w A 192.0.2.1
*.c CNAME a
d DNAME w
sub NS ns.sub
";

    /// What replies are counted by where there is a limit.
    #[test]
    fn a_reply_tells_what_it_was_made_from() {
        let library = Library::Embedded(&[("test.zone", KINDS)]);
        let loaded = crate::zone::load(library, "test.zone".as_ref(), None).unwrap();
        let zones = Zones::new(vec![loaded.zone.unwrap()]);
        let source = |name: &str, rtype: RrType, class: u8| {
            let mut octets = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            octets.extend(name.parse::<crate::wire::Name>().unwrap().as_wire());
            octets.extend([rtype.0.to_be_bytes(), [0, class]].concat());
            let request = Request {
                octets: &octets,
                peer: (Ipv4Addr::LOCALHOST, 53).into(),
                local: Ipv4Addr::LOCALHOST.into(),
                via: Via::Tcp,
                now: Duration::ZERO,
            };
            let (mut name, mut out) = (LookupName::new(), [0; 512]);
            match respond(&zones, &Settings::default(), &request, &mut name, &mut out) {
                Outcome::Replied { notes, .. } => notes.source(),
                Outcome::Ignored => panic!("a query is ignored"),
            }
        };
        for (name, rtype, class, expected) in [
            ("a.test.", RrType::A, 1, Source::Name),
            ("a.test.", RrType::A, 255, Source::Name),
            ("alias.test.", RrType::A, 1, Source::Name),
            ("test.", RrType::SOA, 1, Source::Name),
            ("a.test.", RrType::MX, 1, Source::Zone),
            ("x.test.", RrType::A, 1, Source::Zone),
            ("x.sub.test.", RrType::A, 1, Source::Zone),
            ("x.w.test.", RrType::MX, 1, Source::Zone),
            ("x.w.test.", RrType::A, 1, Source::Above(2)),
            ("yy.x.w.test.", RrType::A, 1, Source::Above(5)),
            ("x.c.test.", RrType::A, 1, Source::Above(2)),
            ("xyz.d.test.", RrType::A, 1, Source::Above(4)),
            ("x.invalid.", RrType::A, 1, Source::Server),
            ("a.test.", RrType::AXFR, 1, Source::Server),
            ("a.test.", RrType::TSIG, 1, Source::Server),
            ("version.server.", RrType::TXT, 3, Source::Server),
            ("a.test.", RrType::A, 4, Source::Server),
        ] {
            assert_eq!(source(name, rtype, class), expected, "{name} {rtype}");
        }
    }

    /// A refusal over TCP with all options there are, and room for ever more of
    /// them: each goes where it and those before it fit.
    #[test]
    fn options_go_where_they_fit_in_their_order() {
        let settings = Settings {
            identity: b"server".into(),
            cookies: Some(Secrets {
                current: [7; cookie::SECRET],
                previous: None,
            }),
            tcp_idle: Some(Duration::from_millis(2_345)),
            ..Settings::default()
        };
        let mut octets = b"\0\0\0\0\0\x01\0\0\0\0\0\x01\x01a\0\0\x01\0\x01".to_vec();
        let question = octets.len();
        octets.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\x14");
        octets.extend(b"\0\x03\0\0\0\x0b\0\0\0\x0a\0\x08a client");
        let request = Request {
            octets: &octets,
            peer: (Ipv4Addr::LOCALHOST, 53).into(),
            local: Ipv4Addr::LOCALHOST.into(),
            via: Via::Tcp,
            now: Duration::ZERO,
        };
        // The cookie has room always: a client without one may get no answer.
        let least = question + edns::OPT + edns::COOKIE_OPTION;
        for room in 0..=24 {
            let (mut name, mut out) = (LookupName::new(), vec![0; least + room]);
            let zones = Zones::default();
            let outcome = respond(&zones, &settings, &request, &mut name, &mut out);
            let options = &out[least..outcome.length()];
            let all = b"\0\x0b\0\x02\0\x17\0\x03\0\x06server\0\x0f\0\x02\0\x14";
            let fitting = [22, 16, 6, 0].into_iter().find(|&end| end <= room);
            assert_eq!(options, &all[..fitting.unwrap()], "room for {room}");
        }
    }
}
