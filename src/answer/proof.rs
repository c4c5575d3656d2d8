//! What a reply to a client that wants signatures proves besides (RFC 4035 §3.1,
//! RFC 5155 §7.2): that what was not found does not exist, and that no name stood
//! closer than a wildcard. Behind it come the additional records, which the reply
//! can do without.

use arrayvec::ArrayVec;

use super::alias::MAX_ALIASES;
use super::reply::{Owner, Reply};
use crate::wire::{LookupName, RrType};
use crate::zone::proof::Proof;
use crate::zone::store::{Node, Set};
use crate::zone::{Encloser, End, Zone};

/// A name of the answer that a wildcard has stood for.
#[derive(Clone, Copy)]
pub struct Expanded {
    /// Where it stands.
    pub owner: Owner,
    /// Its label with which the next closer name begins.
    pub next_closer: usize,
}

/// The sets that proofs take: three for the last name, one for each before it.
const MAX_SETS: usize = 3 + MAX_ALIASES;

/// The proofs of one reply. A set that proves two things is there once.
struct Proofs<'z> {
    zone: &'z Zone,
    added: ArrayVec<Set<'z>, MAX_SETS>,
}

/// Adds what proves an end and what led there, then the additional records of the set
/// that ends it. `at` is where the name stands, and where that set does. What comes
/// behind something that has not fitted is left out.
#[inline(never)]
pub fn add(
    zone: &Zone,
    end: &End<'_>,
    name: &mut LookupName,
    at: (Owner, usize),
    expanded: &[Expanded],
    reply: &mut Reply<'_>,
) {
    let (owner, start) = at;
    let mut proofs = Proofs::of(zone);
    let set = match end {
        End::Answer(set, None) => Some(set),
        End::Answer(set, Some(encloser)) => {
            proofs.no_closer(encloser, name, owner, reply);
            Some(set)
        }
        End::Signatures(_, None) => None,
        End::Signatures(_, Some(encloser)) => {
            proofs.no_closer(encloser, name, owner, reply);
            None
        }
        End::Referral(cut, servers) => {
            proofs.delegation(cut, name, owner, reply);
            Some(servers)
        }
        End::NoData(node, None) => {
            proofs.add(&zone.prove_no_data(name, 0, *node), name, owner, reply);
            None
        }
        End::NoData(wildcard, Some(encloser)) => {
            let proof = zone.prove_no_wildcard_data(name, *wildcard, encloser);
            proofs.add(&proof, name, owner, reply);
            None
        }
        End::NoName(encloser) => {
            proofs.add(&zone.prove_no_name(name, encloser), name, owner, reply);
            None
        }
    };
    proofs.expansions(expanded, name, reply);
    if let Some(set) = set
        && set.has_details()
        && !reply.notes().is_truncated()
    {
        let from = reply.length();
        reply.additional(set, owner.end(set.owner_length()), start);
        reply.sign_additional(zone, from, name);
    }
}

/// Adds what proves the wildcards of a chain that has left the zone.
#[inline(never)]
pub fn add_expansions(
    zone: &Zone,
    expanded: &[Expanded],
    name: &mut LookupName,
    reply: &mut Reply<'_>,
) {
    Proofs::of(zone).expansions(expanded, name, reply);
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
            // One that fits into no message is told of when the zone is read.
            let _ = reply.authority(&ds, owner);
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
