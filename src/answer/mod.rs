//! Request octets in, reply octets out. No I/O, no clock, no allocation: what
//! a reply depends on is in the arguments, and what happened is in the
//! `Outcome`, for the caller to count.

mod alias;
mod chaos;
mod edns;
mod query;
mod reply;

use std::hint::black_box;

use crate::wire::header::{HEADER, class};
use crate::wire::name::MAX_NAME;
use crate::wire::{LookupName, Rcode, RrType};
use crate::zone::store::{FURTHEST_MOVE, Node, RECORD_HEAD};
use crate::zone::{Found, Zone, Zones};
use edns::ExtendedError;
use query::{Query, Unanswerable};
use reply::{Owner, Reply};

/// Aliases that one answer follows. Real chains have two or three; each hop
/// costs a lookup and up to two records of 267 octets.
pub const MAX_ALIASES: usize = 16;
// What stands behind the longest chain, at a wildcard grown to the longest
// name, can still be pointed into.
const _: () = assert!(MAX_ALIASES * 2 * (RECORD_HEAD + MAX_NAME) + MAX_NAME <= FURTHEST_MOVE);
/// The longest message, and with it the longest reply buffer of use.
pub const MAX_MESSAGE: usize = 65_535;
/// The shortest reply limit: what every client takes (RFC 1035 §2.3.4).
pub const MIN_UDP: usize = 512;

/// Requests that `Prepared::fetch` fetches for at once: the widest batch.
const MAX_FETCHED: usize = 128;

/// What stays the same from query to query.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The longest UDP reply, and what replies say that the server takes.
    pub edns_size: u16,
    /// The server's name for itself, for NSID (RFC 5001) and `id.server`
    /// (RFC 4892); empty where it keeps it to itself. 255 octets at most.
    pub identity: Vec<u8>,
    /// What `version.server` says. 255 octets at most.
    pub version: Vec<u8>,
}

/// The DNS Flag Day 2020 size: fits every common MTU without fragments.
pub const DEFAULT_EDNS_SIZE: u16 = 1232;

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            edns_size: DEFAULT_EDNS_SIZE,
            identity: Vec::new(),
            version: concat!("shardns ", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}

/// How a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// In a datagram, to this worker.
    Udp(Worker),
    /// Over a connection.
    Tcp,
}

/// What `worker.server` tells of the thread that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its number, which is also that of its socket in the group.
    pub index: u16,
    /// The CPU that it is pinned to.
    pub cpu: Option<u16>,
    /// Datagrams in the batch that the request came with.
    pub batch: u16,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The reply is in the buffer.
    Replied {
        /// Octets of the reply.
        length: usize,
        /// Its response code.
        rcode: Rcode,
        /// True where TC is set.
        truncated: bool,
    },
    /// Nothing is sent: the request is a response, or too short to tell.
    Ignored,
}

impl Outcome {
    /// Octets to send; 0 for nothing.
    #[inline]
    pub fn length(self) -> usize {
        match self {
            Outcome::Replied { length, .. } => length,
            Outcome::Ignored => 0,
        }
    }
}

/// Answers one request. `out` takes the reply; `settings.edns_size` octets
/// serve every datagram, `MAX_MESSAGE` every connection. `name` is scratch
/// space that spares building one for each query.
#[inline]
pub fn respond(
    zones: &Zones,
    settings: &Settings,
    via: Via,
    request: &[u8],
    name: &mut LookupName,
    out: &mut [u8],
) -> Outcome {
    Prepared::read(zones, request, name).finish(settings, via, request, name, out)
}

/// A request that has been read, and the zone that it is about: the first half
/// of an answer. Between the halves the requests of a batch wait together for
/// what their answers need from memory.
#[derive(Clone, Copy)]
pub struct Prepared<'z> {
    query: Result<Query, Unanswerable>,
    zone: Option<&'z Zone>,
}

impl<'z> Prepared<'z> {
    /// Reads a request; `name` becomes the name that is asked for.
    #[inline]
    pub fn read(zones: &'z Zones, request: &[u8], name: &mut LookupName) -> Prepared<'z> {
        let query = Query::parse(request, name);
        let zone = match &query {
            Ok(query) => zones.find(name, query.rtype),
            Err(_) => None,
        };
        Prepared { query, zone }
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

    /// Writes the reply to `request`, the octets that were read before.
    #[inline]
    pub fn finish(
        self,
        settings: &Settings,
        via: Via,
        request: &[u8],
        name: &mut LookupName,
        out: &mut [u8],
    ) -> Outcome {
        let query = match self.query {
            Ok(query) => query,
            Err(Unanswerable::Silence) => return Outcome::Ignored,
            Err(Unanswerable::Refused(header, rcode, edns)) => {
                return reply::header_only(header, rcode, edns, settings, out);
            }
        };
        let mut reply = Reply::begin(&query, name, request, settings, via, out);
        let rcode = if query.edns.map_or(0, |edns| edns.version) > 0 {
            Rcode::BadVers
        } else {
            match query.class {
                class::IN | class::ANY => from_zones(self.zone, query.rtype, name, &mut reply),
                class::CH => chaos::answer(settings, via, &query, name, &mut reply),
                _ => Rcode::Refused,
            }
        };
        // An answer for all classes cannot speak for all of them (RFC 1035 §6.2).
        if query.class == class::ANY {
            reply.set_aa(false);
        }
        reply.finish(rcode)
    }
}

#[inline(always)]
fn from_zones(
    zone: Option<&Zone>,
    rtype: RrType,
    name: &mut LookupName,
    reply: &mut Reply<'_, '_>,
) -> Rcode {
    match (rtype, zone) {
        // No zone is given away, and mailbox lookups left with RFC 973.
        (RrType::AXFR | RrType::IXFR | RrType::MAILA | RrType::MAILB, _) => {
            reply.set_ede(ExtendedError::NotSupported);
            Rcode::NotImp
        }
        (rtype, Some(zone)) => from_zone(zone, rtype, name, reply),
        (_, None) => {
            reply.set_ede(ExtendedError::NotAuthoritative);
            Rcode::Refused
        }
    }
}

/// RFC 1034 §4.3.2 from step 3 on. What is mostly asked for is there.
#[inline(always)]
fn from_zone(
    zone: &Zone,
    rtype: RrType,
    name: &mut LookupName,
    reply: &mut Reply<'_, '_>,
) -> Rcode {
    reply.set_aa(true);
    match zone.find_set(name, rtype) {
        Ok(set) => {
            reply.answer(&set, Owner::question(name));
            Rcode::NoError
        }
        Err(node) => from_node(zone, node, rtype, name, reply),
    }
}

#[inline(never)]
fn from_node<'z>(
    zone: &'z Zone,
    node: Option<Node<'z>>,
    rtype: RrType,
    name: &mut LookupName,
    reply: &mut Reply<'_, '_>,
) -> Rcode {
    match zone.find_from(node, name, rtype) {
        found @ (Found::Alias(_) | Found::Redirect(_)) => follow(zone, rtype, found, name, reply),
        found => conclude(zone, found, Owner::question(name), reply),
    }
}

/// The last name has been found, or not.
#[inline]
fn conclude(zone: &Zone, found: Found<'_>, owner: Owner, reply: &mut Reply<'_, '_>) -> Rcode {
    match found {
        Found::Answer(set) => reply.answer(&set, owner),
        Found::Referral(set) => {
            // AA speaks of the name that was asked for, even where an alias of
            // it leads out of the zone's own data (RFC 1035 §4.1.1).
            reply.set_aa(owner.at != HEADER);
            reply.authority(&set, owner)
        }
        Found::NoData | Found::NoName => reply.authority(&zone.negative(), owner),
        Found::Alias(_) | Found::Redirect(_) => unreachable!("aliases are followed before"),
    };
    match found {
        Found::NoName => Rcode::NxDomain,
        _ => Rcode::NoError,
    }
}

/// Goes round for each alias within the zone; what lies outside is for the
/// resolver to ask again. The rcode is that of the last name (RFC 6604 §3).
#[inline(never)]
fn follow<'z>(
    zone: &'z Zone,
    rtype: RrType,
    mut found: Found<'z>,
    name: &mut LookupName,
    reply: &mut Reply<'_, '_>,
) -> Rcode {
    let mut aliases = alias::Chain::new();
    loop {
        let owner = aliases.owner(name);
        let next = match found {
            Found::Alias(set) => aliases.follow(&set, owner, reply),
            Found::Redirect(set) => match aliases.redirect(&set, owner, reply) {
                Ok(next) => next.filter(|_| rtype != RrType::CNAME && rtype != RrType::ANY),
                Err(alias::TooLong) => return Rcode::YxDomain,
            },
            found => return conclude(zone, found, owner, reply),
        };
        match next {
            Some(target) if aliases.turn_to(target, name, reply) && zone.holds(name) => {}
            _ => return Rcode::NoError,
        }
        found = zone.find(name, rtype);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let (settings, mut name) = (Settings::default(), LookupName::new());
        for label in 1..=63 {
            let mut request = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, label as u8];
            request.extend(std::iter::repeat_n(b'X', label));
            request.extend(b"\x07Example\x03com\0\0\x01\0\x01");
            let mut expected = request.clone();
            (expected[2], expected[7]) = (0x85, 1);
            expected.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01");
            let mut out = vec![0xaa; expected.len()];
            let outcome = respond(&zones, &settings, Via::Tcp, &request, &mut name, &mut out);
            assert_eq!((outcome.length(), &out), (expected.len(), &expected));
            out.pop();
            let outcome = respond(&zones, &settings, Via::Tcp, &request, &mut name, &mut out);
            let truncated = Outcome::Replied {
                length: request.len(),
                rcode: Rcode::NoError,
                truncated: true,
            };
            assert_eq!(outcome, truncated);
            assert_eq!((out[2], out[7]), (0x87, 0));
            request.pop();
            let outcome = respond(&zones, &settings, Via::Tcp, &request, &mut name, &mut out);
            assert_eq!(outcome.length(), HEADER, "the question is not whole");
        }
    }
}
