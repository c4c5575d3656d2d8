//! The way of a query whose client wants signatures (RFC 3225 §3): each set comes with
//! those that cover it, and behind the answer what proves (RFC 4035 §3.1, RFC 5155
//! §7.2) that something does not exist, or that no name stood closer than a wildcard.
//! Last come the additional records, which the reply can do without.

use arrayvec::ArrayVec;

use super::alias::{self, MAX_ALIASES};
use super::end;
use super::query::is_no_question;
use super::reply::{Oversized, Owner, Reply};
use super::unusual;
use crate::wire::header::HEADER;
use crate::wire::{LookupName, Rcode, RrType};
use crate::zone::proof::Proof;
use crate::zone::store::{Node, Set};
use crate::zone::{Encloser, End, Found, Zone, Zones};

/// RFC 1034 §4.3.2 from step 3 on, as `super::from_zone` and `super::from_node` go it.
#[inline(never)]
pub fn from_zone(
    zones: &Zones,
    zone: &Zone,
    rtype: RrType,
    name: &mut LookupName,
    reply: &mut Reply<'_>,
) -> Rcode {
    reply.set_aa(true);
    let found = match zone.find_set(name, rtype) {
        Ok(set) if reply.signed_at_once(&set) => return Rcode::NoError,
        Ok(set) => Found::End(End::Answer(set, None)),
        Err(_) if is_no_question(rtype) => return unusual::no_question(rtype, reply),
        Err(node) => zone.find_from(node, name, rtype),
    };
    match found {
        Found::End(end) => conclude(zone, end, name, Owner::question(name), &[], reply),
        Found::Alias(alias) => {
            reply.begin_source(alias::source(&alias, name));
            alias::follow::<true>((zones, zone), rtype, alias, name, reply)
        }
    }
}

/// A name of the answer that a wildcard has stood for.
#[derive(Clone, Copy)]
pub struct Expanded {
    /// Where it stands.
    pub owner: Owner,
    /// Its label with which the next closer name begins.
    pub next_closer: usize,
}

/// `end::conclude` with signatures and proofs; `expanded` are the wildcards that led
/// to the end.
#[inline(never)]
pub fn conclude(
    zone: &Zone,
    end: End<'_>,
    name: &mut LookupName,
    owner: Owner,
    expanded: &[Expanded],
    reply: &mut Reply<'_>,
) -> Rcode {
    let (is_question, start) = (owner.at == HEADER, reply.length());
    if is_question {
        reply.begin_source(end::source(&end, name));
    }
    let placed = match &end {
        End::Answer(set, _) => reply.signed_answer(set, owner),
        End::Signatures(node, _) => end::signatures(node, owner, reply),
        End::Referral(_, servers) => {
            reply.set_aa(!is_question);
            reply.signed_authority(servers, owner)
        }
        End::NoData(..) | End::NoName(_) => reply.signed_authority(&zone.negative(), owner),
    };
    match placed {
        Ok(true) => add(zone, &end, name, (owner, start), expanded, reply),
        Ok(false) => {}
        Err(Oversized) => return reply.fail(),
    }
    match end {
        End::NoName(_) => Rcode::NxDomain,
        End::Answer(..) | End::Signatures(..) | End::Referral(..) | End::NoData(..) => {
            Rcode::NoError
        }
    }
}

/// Proves the wildcards of a chain that has left the zone.
pub fn leave(zone: &Zone, expanded: &[Expanded], name: &mut LookupName, reply: &mut Reply<'_>) {
    Proofs::of(zone).expansions(expanded, name, reply);
}

/// Adds what proves an end and what led there, then the additional records of the set
/// that ends it. `at` is where the name stands, and where that set does. What comes
/// behind something that has not fitted is left out.
fn add(
    zone: &Zone,
    end: &End<'_>,
    name: &mut LookupName,
    at: (Owner, usize),
    expanded: &[Expanded],
    reply: &mut Reply<'_>,
) {
    let (owner, start) = at;
    let mut proofs = Proofs::of(zone);
    match end {
        End::Answer(_, None) | End::Signatures(_, None) => {}
        End::Answer(_, Some(encloser)) | End::Signatures(_, Some(encloser)) => {
            proofs.no_closer(encloser, name, owner, reply);
        }
        End::Referral(cut, _) => proofs.delegation(cut, name, owner, reply),
        End::NoData(node, None) => {
            proofs.add(&zone.prove_no_data(name, 0, *node), name, owner, reply);
        }
        End::NoData(wildcard, Some(encloser)) => {
            let proof = zone.prove_no_wildcard_data(name, *wildcard, encloser);
            proofs.add(&proof, name, owner, reply);
        }
        End::NoName(encloser) => {
            proofs.add(&zone.prove_no_name(name, encloser), name, owner, reply);
        }
    }
    proofs.expansions(expanded, name, reply);
    if let End::Answer(set, _) | End::Referral(_, set) = end
        && set.has_details()
        && !reply.notes().is_truncated()
    {
        let from = reply.additional(set, owner.end(set.owner_length()), start);
        reply.sign_additional(zone, from, name);
    }
}

/// The sets that proofs take: three for the last name, one for each before it.
const MAX_SETS: usize = 3 + MAX_ALIASES;

/// The proofs of one reply. A set that proves two things is there once.
struct Proofs<'z> {
    zone: &'z Zone,
    added: ArrayVec<Set<'z>, MAX_SETS>,
}

impl<'z> Proofs<'z> {
    fn of(zone: &'z Zone) -> Proofs<'z> {
        Proofs {
            zone,
            added: ArrayVec::new(),
        }
    }

    /// Proves for each wildcard that no name stood closer. `name` is used for theirs.
    fn expansions(&mut self, expanded: &[Expanded], name: &mut LookupName, reply: &mut Reply<'_>) {
        for &Expanded { owner, next_closer } in expanded {
            let known = name.set(reply.written(owner.at));
            debug_assert!(known.is_some(), "it has been looked for");
            let proof = self.zone.prove_expansion(name, next_closer);
            self.add(&proof, name, owner, reply);
        }
    }

    fn no_closer(
        &mut self,
        encloser: &Encloser<'_>,
        name: &LookupName,
        owner: Owner,
        reply: &mut Reply<'_>,
    ) {
        let proof = self.zone.prove_expansion(name, encloser.next_closer);
        self.add(&proof, name, owner, reply);
    }

    /// The DS set of a cut at or above the name, or that there is none (RFC 4035
    /// §3.1.4).
    fn delegation(
        &mut self,
        cut: &Node<'z>,
        name: &LookupName,
        owner: Owner,
        reply: &mut Reply<'_>,
    ) {
        if let Some(ds) = cut.set(RrType::DS) {
            // Without a signature it says nothing to whoever asks for signatures, as in
            // a zone that is not signed. One that fits into no message is told of when
            // the zone is read.
            if ds.open().signature_count > 0 {
                let _ = reply.signed_authority(&ds, owner);
            }
            return;
        }
        let start = name.length() - cut.name().len();
        let label = (0..name.labels()).find(|&label| name.start(label) == start);
        let label = label.unwrap_or(name.labels());
        let proof = self.zone.prove_no_data(name, label, *cut);
        self.add(&proof, name, owner, reply);
    }

    /// Adds the sets that are not there already, as far as they fit.
    fn add(&mut self, proof: &Proof<'z>, name: &LookupName, owner: Owner, reply: &mut Reply<'_>) {
        for set in proof.sets() {
            if !self.added.iter().any(|added| added.is(set)) && !reply.notes().is_truncated() {
                reply.proof(set, name, owner);
                self.added.push(*set);
            }
        }
    }
}
