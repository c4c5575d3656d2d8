//! What few queries need, apart so that the others do without its questions: more
//! in the OPT record than a size, other classes, types that are of no zone's data,
//! and replies to clients that ask too often.

use super::cookie::{self, Cookie, Malformed};
use super::edns::{Edns, ExtendedError};
use super::query::{Query, is_no_question};
use super::reply::Reply;
use super::terms::{Outcome, Request, Settings, Source, Via};
use super::{Prepared, chaos};
use crate::wire::header::{HEADER, class};
use crate::wire::{LookupName, Rcode, RrType};
use crate::zone::{Zone, Zones};

/// `Prepared::finish` for a query with more in its OPT record than a size.
#[inline(always)]
pub fn finish(
    zones: (&Zones, Option<&Zone>),
    query: Query,
    settings: &Settings,
    request: &Request<'_>,
    name: &mut LookupName,
    out: &mut [u8],
) -> Outcome {
    match query.edns.is_some_and(Edns::wants_signatures) {
        true => finish_as::<true>(zones, query, settings, request, name, out),
        false => finish_as::<false>(zones, query, settings, request, name, out),
    }
}

#[inline(never)]
fn finish_as<const SIGNED: bool>(
    (zones, zone): (&Zones, Option<&Zone>),
    query: Query,
    settings: &Settings,
    request: &Request<'_>,
    name: &mut LookupName,
    out: &mut [u8],
) -> Outcome {
    let query = Query {
        edns: query.edns.map(|edns| edns.over(request.via)),
        ..query
    };
    let prepared = Prepared {
        query: Ok(query),
        zones,
        zone,
    };
    let mut reply = Reply::begin(&query, name, request, out);
    let unusual = query.edns.filter(|edns| edns.is_unusual());
    let rcode = match unusual.and_then(|edns| heed(edns, request, settings, &mut reply)) {
        Some(rcode) => {
            reply.set_source(Source::Server);
            rcode
        }
        None => prepared.by_class::<SIGNED>(query, settings, request, name, &mut reply),
    };
    reply.finish(rcode, query.edns, settings)
}

/// Looks at what else is in an OPT record. What decides on the reply is returned
/// as its code.
fn heed(
    edns: Edns,
    request: &Request<'_>,
    settings: &Settings,
    reply: &mut Reply<'_>,
) -> Option<Rcode> {
    if edns.version > 0 {
        return Some(Rcode::BadVers);
    }
    match cookie::read(edns, request, settings) {
        Ok(None) => {}
        Ok(Some((cookie, ours))) => reply.keep_cookie(cookie, &ours),
        // RFC 7873 §5.2.2.
        Err(Malformed) => return Some(Rcode::FormErr),
    }
    edns.has_bad_keepalive().then_some(Rcode::FormErr)
}

impl Prepared<'_> {
    /// Writes over the reply to `request`, since its client asks too often: with a
    /// new cookie and BADCOOKIE where it has shown one that proves nothing, else
    /// with the question alone and TC. Errors of a header and little more stay
    /// what they are.
    #[cold]
    #[inline(never)]
    pub fn withhold(
        self,
        settings: &Settings,
        request: &Request<'_>,
        name: &mut LookupName,
        out: &mut [u8],
    ) -> Outcome {
        let Ok(query) = self.query else {
            return self.finish(settings, request, name, out);
        };
        // Aliases may have left another name in it.
        let known = name.set(&request.octets[HEADER..]);
        debug_assert!(known.is_some(), "the request has been read");
        let mut reply = Reply::begin(&query, name, request, out);
        reply.set_source(Source::Server);
        let edns = query.edns.map(|edns| edns.over(request.via));
        let unusual = edns.filter(|edns| edns.is_unusual());
        let rcode = match unusual.and_then(|edns| heed(edns, request, settings, &mut reply)) {
            Some(rcode) => rcode,
            None if reply.notes().cookie() != Cookie::None => Rcode::BadCookie,
            None => {
                reply.set_tc();
                Rcode::NoError
            }
        };
        reply.finish(rcode, edns, settings)
    }

    /// An answer for all classes cannot speak for all of them (RFC 1035 §6.2).
    #[cold]
    #[inline(never)]
    pub(super) fn for_all_classes<const SIGNED: bool>(
        &self,
        rtype: RrType,
        name: &mut LookupName,
        reply: &mut Reply<'_>,
    ) -> Rcode {
        let rcode = self.look_up::<SIGNED>(rtype, name, reply);
        reply.set_aa(false);
        rcode
    }
}

/// A class that no zone has.
#[cold]
#[inline(never)]
pub fn other_class(
    query: Query,
    settings: &Settings,
    via: Via,
    name: &LookupName,
    reply: &mut Reply<'_>,
) -> Rcode {
    reply.set_source(Source::Server);
    match query.class {
        _ if is_no_question(query.rtype) => no_question(query.rtype, reply),
        class::CH => chaos::answer(settings, via, &query, name, reply),
        _ => Rcode::Refused,
    }
}

/// A type that cannot be asked for.
#[cold]
#[inline(never)]
pub fn no_question(rtype: RrType, reply: &mut Reply<'_>) -> Rcode {
    if rtype == RrType::NXNAME {
        // RFC 9824 §3.5.
        reply.set_ede(ExtendedError::InvalidQueryType);
    }
    reply.malformed()
}

/// Types between TKEY and MAILA, which are of no zone's data.
#[cold]
#[inline(never)]
pub fn other_type(rtype: RrType, reply: &mut Reply<'_>) -> Rcode {
    if is_no_question(rtype) {
        return no_question(rtype, reply);
    }
    reply.set_source(Source::Server);
    // No zone is given away, and mailbox lookups left with RFC 973.
    reply.set_ede(ExtendedError::NotSupported);
    Rcode::NotImp
}
