//! What proves that something does not exist: a chain that leads round through all
//! names of the zone, each with the types that are there. A wrong one has resolvers
//! believe that there is nothing where something is (RFC 8198), or take no denial at
//! all.

use std::collections::BTreeSet;

use super::super::denial::{in_order, is_before};
use super::super::hashes::{HashedChain, is_fit, label, listed};
use super::super::names::NameId;
use super::super::pieces::{ids, in_turn};
use super::super::records::{Faults, Provenance, Record};
use super::Checker;
use super::signed::Tally;
use crate::wire::rdata::bitmap;
use crate::wire::rdata::dnssec::{Nsec, Nsec3};
use crate::wire::{LookupName, Name, RrType};

/// Names that are looked at for the next of a chain before it is looked up: signers
/// write a zone in the order of its chain.
const NEAR: u32 = 8;

/// What the types of a name are gathered in, one name after another.
#[derive(Default)]
struct Types {
    list: Vec<RrType>,
    octets: Vec<u8>,
}

impl Checker<'_> {
    /// The chain with which the zone proves, and what it has beside that.
    pub(super) fn proofs(&self, faults: &mut Faults, chain: Option<&HashedChain>) {
        let sorted = self.sorted;
        if !self.is_signed() || !sorted.records.unread.is_nothing() {
            return;
        }
        let mut ttls = Tally::default();
        if let Some(chain) = chain {
            self.by_hash(faults, chain, &mut ttls);
        } else if sorted.set(sorted.apex, RrType::NSEC).is_some() {
            self.by_name(faults, &mut ttls);
        } else if listed(sorted).all(|(_, parameters)| is_fit(&parameters)) {
            // Else too many iterations are told of already.
            let sentence = format!(
                "{} is signed, and has neither NSEC nor NSEC3PARAM with the NSEC3 of its own name: \
                nobody can prove what it does not have",
                self.shown(sorted.apex)
            );
            let soa = sorted.set(sorted.apex, RrType::SOA);
            let from = soa.map_or(Provenance::START, |soa| self.first(soa).from);
            self.invalid(faults, from, sentence);
        }
        self.other_chains(faults, chain, &mut ttls);
        if let Some((from, sentence)) = ttls.into_told() {
            faults.warning(from, sentence);
        }
    }

    /// The chain of NSEC.
    pub(super) fn by_name(&self, faults: &mut Faults, ttls: &mut Tally) {
        self.named(faults, ttls);
        if !self.closes() {
            self.breaks(faults);
        }
    }

    /// A chain of NSEC3.
    pub(super) fn by_hash(&self, faults: &mut Faults, chain: &HashedChain, ttls: &mut Tally) {
        self.hashed_names(faults, chain, ttls);
        self.hashed_chain(faults, chain);
    }

    /// Every name that owns something has NSEC, with its types (RFC 4035 §2.3).
    fn named(&self, faults: &mut Faults, ttls: &mut Tally) {
        let names = |piece| {
            let (mut faults, mut ttls) = (Faults::of_part(), Tally::default());
            let mut types = Types::default();
            ids(piece).for_each(|id| self.name_in_chain(&mut faults, id, &mut ttls, &mut types));
            (faults, ttls)
        };
        in_turn(self.sorted.records.names.len(), names, |(part, more)| {
            faults.append(part);
            ttls.append(more);
        });
    }

    fn name_in_chain(&self, faults: &mut Faults, id: NameId, ttls: &mut Tally, types: &mut Types) {
        let sorted = self.sorted;
        let Some(any) = sorted.sets(id).first().filter(|_| self.is_served(id)) else {
            return;
        };
        let Some(set) = sorted.set(id, RrType::NSEC) else {
            let sentence = format!("{} has no NSEC (RFC 4035 §2.3)", self.shown(id));
            return self.invalid(faults, self.first(any).from, sentence);
        };
        if let Some(second) = sorted.records(set).nth(1) {
            let sentence = format!("a second NSEC at {}; there is one", self.shown(id));
            self.invalid(faults, second.from, sentence);
        }
        let record = self.first(set);
        self.denial_ttl(ttls, record);
        if let Some(nsec) = Nsec::read(sorted.records.rdata(record)) {
            self.types(faults, id, record, nsec.types, types);
        }
    }

    /// Says what a bitmap has and the name has not, and what it has not.
    fn types(&self, faults: &mut Faults, id: NameId, at: &Record, told: &[u8], types: &mut Types) {
        let is_cut = self.sorted.is_cut(id);
        let sets = self.sorted.sets(id).iter();
        let there = sets.map(|set| set.rtype).filter(|rtype| {
            // NSEC3 belongs to a hash, even where a name is spelled like one.
            (self.is_own(is_cut, *rtype) || *rtype == RrType::NS)
                && ![RrType::RRSIG, RrType::NSEC3].contains(rtype)
        });
        types.list.clear();
        types.list.extend(there);
        // What is signed has a signature, or has a fault of its own.
        if types.list.iter().any(|rtype| self.is_own(is_cut, *rtype)) {
            let place = types.list.partition_point(|rtype| *rtype < RrType::RRSIG);
            types.list.insert(place, RrType::RRSIG);
        }
        types.octets.clear();
        bitmap::write(&types.list, &mut types.octets);
        if types.octets == told {
            return;
        }
        let told: Vec<RrType> = bitmap::types(told).collect();
        let beyond = |all: &[RrType], other: &[RrType]| {
            let names = all.iter().filter(|rtype| !other.contains(rtype));
            let names: Vec<String> = names.map(RrType::to_string).collect();
            (!names.is_empty()).then(|| names.join(", "))
        };
        let (rtype, name) = (at.rtype, self.shown(id));
        let more = beyond(&told, &types.list).map(|names| format!("tells of {names}, not there"));
        let less = beyond(&types.list, &told).map(|names| format!("does not tell of {names}"));
        let parts: Vec<String> = more.into_iter().chain(less).collect();
        let sentence = format!("the {rtype} of {name} {}", parts.join(", and "));
        let field = if rtype == RrType::NSEC { 1 } else { 5 };
        self.invalid(faults, at.from.field(field), sentence);
    }

    /// What resolvers conclude from a proof lasts as long as other denials (RFC 9077).
    fn denial_ttl(&self, ttls: &mut Tally, record: &Record) {
        let sorted = self.sorted;
        let Some(soa) = sorted.set(sorted.apex, RrType::SOA) else {
            return;
        };
        let data = sorted.records.rdata(self.first(soa));
        let minimum = data
            .last_chunk()
            .map_or(0, |last| u32::from_be_bytes(*last));
        let most = soa.ttl.min(minimum);
        if record.ttl > most {
            ttls.add(record.from, || {
                format!(
                    "{} of {} has a TTL of {}; {most}, the lower of the SOA's TTL and minimum, is \
                    the most that it should have (RFC 9077)",
                    record.rtype,
                    self.shown(record.owner),
                    record.ttl
                )
            });
        }
    }

    /// Follows the chain of NSEC from name to name. Where it rises until it is back at
    /// the apex, and meets as many names as have NSEC, it is right.
    fn closes(&self) -> bool {
        let names = &self.sorted.records.names;
        let apex = self.sorted.apex;
        let apex_length = names.wire(apex).len();
        let mut left = names.ids().filter(|&id| self.in_chain(id)).count();
        let mut at = apex;
        while left > 0 {
            let Some(next) = self.next_name(at).and_then(|next| self.find_near(at, next)) else {
                return false;
            };
            left -= 1;
            if next == apex {
                return left == 0;
            }
            if !is_before(names.wire(at), names.wire(next), apex_length) {
                return false;
            }
            at = next;
        }
        false
    }

    pub(super) fn in_chain(&self, id: NameId) -> bool {
        self.sorted.set(id, RrType::NSEC).is_some() && self.is_served(id)
    }

    fn next_name(&self, id: NameId) -> Option<&[u8]> {
        let set = self.sorted.set(id, RrType::NSEC)?;
        let data = self.sorted.records.rdata(self.first(set));
        Nsec::read(data).map(|nsec| nsec.next)
    }

    /// The number of a name of the chain, mostly one of the next numbers.
    fn find_near(&self, at: NameId, wire: &[u8]) -> Option<NameId> {
        let names = &self.sorted.records.names;
        let end = (at.0 + 1 + NEAR).min(names.len() as u32);
        let mut near = (at.0 + 1..end).map(NameId);
        let found = near.find(|&id| names.wire(id).eq_ignore_ascii_case(wire));
        let found = found.or_else(|| {
            let name = Name::from_wire(wire).ok()?;
            names.find(&LookupName::of(&name), 0)
        });
        found.filter(|&id| self.in_chain(id))
    }

    /// Tells where the chain of NSEC leads elsewhere than to the next name.
    fn breaks(&self, faults: &mut Faults) {
        let names = &self.sorted.records.names;
        let owners = names.ids().filter(|&id| self.in_chain(id));
        let owners = owners.map(|id| (names.wire(id), id)).collect();
        let owners = in_order(owners, names.wire(self.sorted.apex).len());
        let next = owners.iter().cycle().skip(1);
        for ((_, id), (expected, expected_id)) in owners.iter().zip(next) {
            let Some(set) = self.sorted.set(*id, RrType::NSEC) else {
                continue;
            };
            let found = self.next_name(*id).unwrap_or_default();
            if !found.eq_ignore_ascii_case(expected) {
                let sentence = format!(
                    "the NSEC of {} leads to {}; the next name is {}",
                    self.shown(*id),
                    Name::from_wire(found).unwrap_or(Name::ROOT),
                    self.shown(*expected_id)
                );
                self.invalid(faults, self.first(set).from.field(0), sentence);
            }
        }
    }

    /// The records of a chain of NSEC3 lead from hash to hash, and each is that of a
    /// name (RFC 5155 §7.1).
    fn hashed_chain(&self, faults: &mut Faults, chain: &HashedChain) {
        let count = chain.records.records().len();
        let mut named = vec![false; count];
        for id in self.sorted.records.names.ids() {
            if let Some(at) = chain.own(id) {
                named[at] = true;
            }
        }
        for (at, is_named) in named.into_iter().enumerate() {
            let (found, expected) = (chain.next(at), chain.hash((at + 1) % count));
            if found == expected && is_named {
                continue;
            }
            let Some((record, _)) = chain.record(self.sorted, at) else {
                continue;
            };
            let hash = label(chain.hash(at));
            if found != expected {
                let (found, expected) = (label(found), label(expected));
                let sentence =
                    format!("the NSEC3 of {hash} leads to {found}; the next hash is {expected}");
                self.invalid(faults, record.from.field(4), sentence);
            }
            if !is_named {
                let sentence = format!("the NSEC3 of {hash} is that of no name in the zone");
                self.invalid(faults, record.from, sentence);
            }
        }
    }

    /// Every name has its NSEC3, but for what opt-out passes over: insecure
    /// delegations, and names that own nothing and lead to none but these (RFC 5155
    /// §7.1).
    fn hashed_names(&self, faults: &mut Faults, chain: &HashedChain, ttls: &mut Tally) {
        let names = |piece| {
            let mut part = (Faults::of_part(), Tally::default(), BTreeSet::new());
            let mut types = Types::default();
            for id in ids(piece).filter(|id| self.is_served(*id)) {
                self.hashed_name(chain, id, &mut types, &mut part);
            }
            part
        };
        let mut above_told = BTreeSet::new();
        in_turn(
            self.sorted.records.names.len(),
            names,
            |(part, more, above)| {
                faults.append(part);
                ttls.append(more);
                for above in above {
                    if above_told.insert(above) {
                        self.without_hash(faults, chain, above);
                    }
                }
            },
        );
    }

    /// Looks at one name, and notes one above it that must be in the chain as well.
    fn hashed_name(
        &self,
        chain: &HashedChain,
        id: NameId,
        types: &mut Types,
        (faults, ttls, above_missed): &mut (Faults, Tally, BTreeSet<NameId>),
    ) {
        let sorted = self.sorted;
        match chain.own(id) {
            Some(at) => {
                if let Some((record, Nsec3 { types: told, .. })) = chain.record(sorted, at) {
                    self.denial_ttl(ttls, record);
                    self.types(faults, id, record, told, types);
                }
                // What is above a name of the chain is in the chain.
                if let Some(above) = sorted.parent(id)
                    && chain.own(above).is_none()
                    && self.is_passed_over(chain, above)
                {
                    above_missed.insert(above);
                }
            }
            None if self.is_passed_over(chain, id) => {}
            None => self.without_hash(faults, chain, id),
        }
    }

    fn is_passed_over(&self, chain: &HashedChain, id: NameId) -> bool {
        let sorted = self.sorted;
        let insecure = match sorted.sets(id) {
            [] => true,
            _ => sorted.is_cut(id) && sorted.set(id, RrType::DS).is_none(),
        };
        let covering = || {
            let at = chain.covering(sorted.records.names.wire(id))?;
            chain.record(sorted, at)
        };
        insecure && covering().is_some_and(|(_, nsec3)| nsec3.opt_out)
    }

    /// Misses the NSEC3 of a name, at what the name owns, or else at the record in whose
    /// span it would be.
    fn without_hash(&self, faults: &mut Faults, chain: &HashedChain, id: NameId) {
        let sorted = self.sorted;
        let name = sorted.records.names.wire(id);
        let own = sorted.sets(id).first().map(|set| self.first(set));
        let covering = || Some(chain.record(sorted, chain.covering(name)?)?.0);
        let from = own.or_else(covering).map(|record| record.from);
        let sentence = format!(
            "{} has no NSEC3, which would be that of {} (RFC 5155 §7.1)",
            self.shown(id),
            label(&chain.parameters.hash(name))
        );
        self.invalid(faults, from.unwrap_or(Provenance::START), sentence);
    }
}
