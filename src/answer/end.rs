//! How an answer ends: what was found of the last name, put into the reply.

use super::reply::{Oversized, Owner, Reply};
use crate::wire::Rcode;
use crate::wire::header::HEADER;
use crate::zone::store::Node;
use crate::zone::{End, Zone};

/// Adds what was found to the reply; `owner` is the name that it was found for.
#[inline]
pub fn conclude(zone: &Zone, end: End<'_>, owner: Owner, reply: &mut Reply<'_>) -> Rcode {
    let (placed, rcode) = match end {
        End::Answer(set, _) => (reply.answer(&set, owner), Rcode::NoError),
        End::Signatures(node, _) => (signatures(&node, owner, reply), Rcode::NoError),
        End::Referral(_, servers) => {
            // AA speaks of the name that was asked for, even where an alias of
            // it leads out of the zone's own data (RFC 1035 §4.1.1).
            reply.set_aa(owner.at != HEADER);
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

/// All signatures at a node, set by set.
#[cold]
#[inline(never)]
fn signatures(node: &Node<'_>, owner: Owner, reply: &mut Reply<'_>) -> Result<bool, Oversized> {
    let mut all = true;
    for set in node.all_sets() {
        all &= reply.signatures(&set, owner);
    }
    Ok(all)
}
