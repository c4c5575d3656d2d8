//! What a zone must be to be served (`structure`), and what someone should look
//! at: what records point at (`targets`, `aliases`), and what people get wrong
//! (`mistakes`). Signed zones have signatures (`signed`) that are valid for some time
//! (`times`), keys that are to be trusted (`trust`), proofs of what there is not
//! (`proofs`, `chains`), and maybe a digest of everything (`digest`). Each fault is named at the record that shows it; none hides
//! another.

mod aliases;
mod chains;
mod digest;
mod mistakes;
mod proofs;
mod signed;
mod structure;
mod targets;
mod times;
mod trust;

use std::time::SystemTime;

use super::hashes::HashedChain;
use super::names::NameId;
use super::pieces::{ids, in_turn};
use super::records::{Faults, Provenance, Record};
use super::sorted::{Occlusion, Sorted, SortedSet};
use crate::wire::{Name, RrType};

use aliases::Redirections;
pub use signed::{is_good, labels};
pub use structure::no_soa;
pub use targets::target;
pub use times::SOON;

/// How closely a zone is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Scrutiny {
    /// The time for which its signatures are to be valid, in seconds since 1970, modulo
    /// 2^32.
    pub now: u32,
    /// Threads that verify every signature. With 0 the signatures are believed, and what
    /// resolvers refuse of a signed zone is a warning: it can be served. Otherwise
    /// that is an error.
    pub verifiers: usize,
}

impl Scrutiny {
    /// As a zone is looked at that is about to be served.
    pub fn now() -> Scrutiny {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Scrutiny {
            // Signatures count modulo 2^32 too (RFC 4034 §3.1.5).
            now: since.map_or(0, |since| since.as_secs() as u32),
            verifiers: 0,
        }
    }
}

/// Looks at the whole zone, and at the NSEC3 chain that it has. What seems to be
/// missing is not missed where it may stand on a line that could not be read.
pub fn check(sorted: &mut Sorted, chain: Option<&HashedChain>, scrutiny: Scrutiny) {
    let mut faults = std::mem::take(&mut sorted.records.faults);
    let mut checker = Checker {
        sorted,
        scrutiny,
        redirections: Redirections::default(),
        origins: mistakes::origins(sorted),
    };
    checker.redirections = checker.redirections();
    checker.apex(&mut faults);
    let names = |piece| {
        let mut faults = Faults::of_part();
        ids(piece).for_each(|id| checker.name(&mut faults, id));
        faults
    };
    in_turn(sorted.records.names.len(), names, |part| {
        faults.append(part)
    });
    checker.loops(&mut faults);
    checker.signatures(&mut faults);
    checker.others_keys(&mut faults);
    checker.proofs(&mut faults, chain);
    checker.digests(&mut faults);
    sorted.records.faults = faults;
}

struct Checker<'d> {
    sorted: &'d Sorted,
    scrutiny: Scrutiny,
    redirections: Redirections,
    /// What relative names were completed with, and the zone's name, in lower case.
    origins: Vec<Name>,
}

impl<'d> Checker<'d> {
    fn name(&self, faults: &mut Faults, id: NameId) {
        let sorted = self.sorted;
        match sorted.occlusion(id) {
            Occlusion::Outside => self.outside(faults, id),
            // A hash is no name, and so not below the apex.
            Occlusion::BelowDname(owner) if owner == sorted.apex && sorted.is_hashed(id) => {
                self.hashed(faults, id);
            }
            Occlusion::BelowDname(owner) => self.below_dname(faults, id, owner),
            Occlusion::Served if sorted.is_hashed(id) => self.hashed(faults, id),
            Occlusion::BelowCut(cut) => {
                self.hidden(faults, id, cut);
                for set in sorted.sets(id) {
                    self.ttls(faults, set);
                }
            }
            Occlusion::Served => {
                self.exclusive(faults, id);
                self.wildcard(faults, id);
                if sorted.is_cut(id) {
                    self.hidden(faults, id, id);
                }
                self.owner(faults, id);
                self.hashed(faults, id);
                for set in sorted.sets(id) {
                    self.ttls(faults, set);
                    self.soa_elsewhere(faults, id, set);
                    self.targets(faults, id, set);
                    self.mistakes(faults, id, set);
                    self.stray_signature(faults, id, set);
                    self.size(faults, id, set);
                }
            }
        }
    }

    /// Notes what resolvers that validate do not take, and all others do.
    fn invalid(&self, faults: &mut Faults, from: Provenance, sentence: String) {
        match self.scrutiny.verifiers {
            0 => faults.warning(from, sentence),
            _ => faults.error(from, sentence),
        }
    }

    /// The same, or a warning where something else makes up for it.
    fn unless_spare(
        &self,
        faults: &mut Faults,
        is_spare: bool,
        from: Provenance,
        sentence: String,
    ) {
        match is_spare {
            true => faults.warning(from, sentence),
            false => self.invalid(faults, from, sentence),
        }
    }

    /// True for a zone that somebody has signed: its apex has signatures.
    fn is_signed(&self) -> bool {
        let mut sets = self.sorted.sets(self.sorted.apex).iter();
        sets.any(|set| set.rtype == RrType::RRSIG)
    }

    fn all(&self, id: NameId) -> impl Iterator<Item = &Record> {
        self.sorted
            .sets(id)
            .iter()
            .flat_map(|set| self.sorted.records(set))
    }

    fn first(&self, set: &SortedSet) -> &Record {
        self.sorted.records(set).next().expect("a set has a record")
    }

    /// True for a name that the zone answers for.
    fn is_served(&self, id: NameId) -> bool {
        self.sorted.occlusion(id) == Occlusion::Served && !self.sorted.is_hashed(id)
    }

    fn shown(&self, id: NameId) -> Name {
        self.sorted.records.names.name(id)
    }
}
