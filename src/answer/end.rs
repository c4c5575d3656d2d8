//! How an answer ends: what was found of the last name, put into the reply.

use super::reply::{Oversized, Owner, Reply};
use super::terms::Source;
use crate::wire::header::HEADER;
use crate::wire::{LookupName, Rcode};
use crate::zone::store::Node;
use crate::zone::{Encloser, End, Zone};

/// Adds what was found to the reply; `owner` is where the name that it was found
/// for stands there. That of the question says what the reply is made from.
#[inline]
pub fn conclude(
    zone: &Zone,
    end: End<'_>,
    name: &LookupName,
    owner: Owner,
    reply: &mut Reply<'_>,
) -> Rcode {
    let is_question = owner.at == HEADER;
    if is_question {
        reply.begin_source(source(&end, name));
    }
    let (placed, rcode) = match end {
        End::Answer(set, _) => (reply.answer(&set, owner), Rcode::NoError),
        End::Signatures(node, _) => (signatures(&node, owner, reply), Rcode::NoError),
        End::Referral(_, servers) => {
            // AA speaks of the name that was asked for, even where an alias of
            // it leads out of the zone's own data (RFC 1035 §4.1.1).
            reply.set_aa(!is_question);
            (reply.authority(&servers, owner), Rcode::NoError)
        }
        End::NoData(..) => (reply.authority(&zone.negative(), owner), Rcode::NoError),
        End::NoName(_) => (reply.authority(&zone.negative(), owner), Rcode::NxDomain),
    };
    match placed {
        Ok(_) => rcode,
        Err(Oversized) => reply.fail(),
    }
}

/// What an end is made from.
#[inline(always)]
pub fn source(end: &End<'_>, name: &LookupName) -> Source {
    match end {
        End::Answer(_, None) | End::Signatures(_, None) => Source::Name,
        End::Answer(_, Some(encloser)) | End::Signatures(_, Some(encloser)) => {
            above(encloser, name)
        }
        End::Referral(..) | End::NoData(..) | End::NoName(_) => Source::Zone,
    }
}

/// The wildcard below an encloser, which speaks for all names there: answers to
/// random ones differ in nothing else.
#[inline]
pub fn above(encloser: &Encloser<'_>, name: &LookupName) -> Source {
    Source::Above(name.start(encloser.next_closer + 1) as u8)
}

/// All signatures at a node, set by set.
#[cold]
#[inline(never)]
pub fn signatures(node: &Node<'_>, owner: Owner, reply: &mut Reply<'_>) -> Result<bool, Oversized> {
    let mut all = true;
    for set in node.all_sets() {
        all &= reply.signatures(&set, owner);
    }
    Ok(all)
}
