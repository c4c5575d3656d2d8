//! What a signed zone must hold for resolvers to take its answers: a signature of
//! every set, by a key that the zone has, with the zone's name. Whether a signature
//! is what its key has made is not looked at here (`zone::verify`).
//!
//! None of this makes a zone unfit to be served, as it does not with NSD or Knot:
//! who validates refuses the answers, and all others get them. Only who has the
//! signatures verified is told of errors.

use super::super::names::NameId;
use super::super::records::{Faults, Provenance};
use super::super::sorted::{Occlusion, SortedSet};
use super::Checker;
use super::times::Times;
use crate::wire::name::Starts;
use crate::wire::rdata::dnssec::{Key, Signature};
use crate::wire::{Name, RrType};

/// Mistakes of one kind, which a signer makes at every name or at none: the first is
/// told, the others are counted.
#[derive(Default)]
pub(super) struct Tally {
    first: Option<(Provenance, String)>,
    more: usize,
}

impl Tally {
    pub(super) fn add(&mut self, from: Provenance, sentence: impl FnOnce() -> String) {
        match self.first {
            None => self.first = Some((from, sentence())),
            Some(_) => self.more += 1,
        }
    }

    /// The first, and how many more there are.
    pub(super) fn into_told(self) -> Option<(Provenance, String)> {
        let (from, sentence) = self.first?;
        match self.more {
            0 => Some((from, sentence)),
            more => Some((from, format!("{sentence}; and {more} more like it"))),
        }
    }
}

/// What is known of a signed zone while its names are gone through.
struct Signatures<'c> {
    checker: &'c Checker<'c>,
    /// The keys that may sign the zone.
    keys: Vec<Key<'c>>,
    /// Their algorithms, each once.
    algorithms: Vec<u8>,
    times: Times,
    foreign: Tally,
    keyless: Tally,
    incomplete: Tally,
    ttls: Tally,
}

impl Checker<'_> {
    /// A DS anywhere but at a delegation: nobody asks for it there (RFC 4035 §2.4).
    pub(super) fn ds_elsewhere(&self, faults: &mut Faults, id: NameId, set: &SortedSet) {
        if self.sorted.is_cut(id) || self.sorted.records.unread.may_hold(RrType::NS) {
            return;
        }
        let sentence = format!(
            "DS at {}, which is not delegated: there is no NS beside it (RFC 4035 §2.4)",
            self.shown(id)
        );
        faults.warning(self.first(set).from, sentence);
    }

    /// A signature of what is not there.
    pub(super) fn stray_signature(&self, faults: &mut Faults, id: NameId, set: &SortedSet) {
        let covered = set.covered;
        if set.rtype != RrType::RRSIG
            || self.sorted.set(id, covered).is_some()
            || self.sorted.records.unread.may_hold(covered)
        {
            return;
        }
        let sentence = format!(
            "a signature of {covered} at {}, which has no {covered}",
            self.shown(id)
        );
        self.invalid(faults, self.first(set).from, sentence);
    }

    /// Goes through all names of a zone that has keys.
    pub(super) fn signatures(&self, faults: &mut Faults) {
        let sorted = self.sorted;
        let Some(keys) = sorted.set(sorted.apex, RrType::DNSKEY) else {
            return;
        };
        let soa = sorted.set(sorted.apex, RrType::SOA);
        if soa.is_some() && sorted.signatures(sorted.apex, RrType::SOA).is_none() {
            let sentence = format!(
                "{} has a DNSKEY, and no signature of its SOA: sign the zone, or take the key out",
                self.shown(sorted.apex)
            );
            return self.invalid(faults, self.first(keys).from, sentence);
        }
        let keys: Vec<Key> = sorted
            .records(keys)
            .filter_map(|record| Key::read(sorted.records.rdata(record)))
            .filter(Key::signs_zones)
            .collect();
        let mut algorithms: Vec<u8> = keys.iter().map(|key| key.algorithm).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        let mut signatures = Signatures {
            checker: self,
            keys,
            algorithms,
            times: Times::new(self.scrutiny.now),
            foreign: Tally::default(),
            keyless: Tally::default(),
            incomplete: Tally::default(),
            ttls: Tally::default(),
        };
        for id in sorted.records.names.ids() {
            if sorted.occlusion(id) == Occlusion::Served || sorted.is_hashed(id) {
                signatures.name(faults, id);
            }
        }
        signatures.tell(faults);
    }

    /// True for a set that the zone signs: at a delegation, only what is of the parent
    /// side (RFC 4035 §2.2).
    pub(super) fn is_own(&self, is_cut: bool, rtype: RrType) -> bool {
        !is_cut || [RrType::DS, RrType::NSEC].contains(&rtype)
    }
}

impl Signatures<'_> {
    fn name(&mut self, faults: &mut Faults, id: NameId) {
        let checker = self.checker;
        let sets = checker.sorted.sets(id);
        let is_cut = checker.sorted.is_cut(id);
        let is_signature = |set: &&SortedSet| set.rtype == RrType::RRSIG;
        // Both are in the order of the types.
        let mut signatures = sets.iter().filter(is_signature).peekable();
        for set in sets.iter().filter(|set| !is_signature(set)) {
            while signatures.next_if(|own| own.covered < set.rtype).is_some() {}
            let own = signatures.next_if(|own| own.covered == set.rtype);
            match (own, checker.is_own(is_cut, set.rtype)) {
                (Some(own), true) => self.set(faults, id, set, own),
                (None, true) => {
                    let (rtype, name) = (set.rtype, checker.shown(id));
                    let sentence = format!("{rtype} at {name} has no signature");
                    checker.invalid(faults, checker.first(set).from, sentence);
                }
                (Some(own), false) => {
                    let sentence = format!(
                        "a signature of {} at {}, which is delegated: that is the child's to sign \
                        (RFC 4035 §2.2)",
                        set.rtype,
                        checker.shown(id)
                    );
                    checker.invalid(faults, checker.first(own).from, sentence);
                }
                (None, false) => {}
            }
        }
    }

    /// The signatures of one set.
    fn set(&mut self, faults: &mut Faults, id: NameId, set: &SortedSet, signatures: &SortedSet) {
        let checker = self.checker;
        let records = &checker.sorted.records;
        let wire = records.names.wire(id);
        let apex = records.names.wire(checker.sorted.apex);
        let labels = labels(wire);
        let shown = || format!("{} at {}", set.rtype, checker.shown(id));
        let mut seen = 0;
        for record in checker.sorted.records(signatures) {
            let Some(signature) = Signature::read(records.rdata(record)) else {
                continue;
            };
            let (tag, algorithm) = (signature.key_tag, signature.algorithm);
            self.times.add(record.from, &signature, (id, set.rtype));
            if signature.labels != labels {
                let sentence = format!(
                    "the signature of {} counts {} of its labels, of which there are {labels} (RFC \
                    4034 §3.1.3)",
                    shown(),
                    signature.labels
                );
                checker.invalid(faults, record.from.field(LABELS), sentence);
            }
            if !signature.signer.eq_ignore_ascii_case(apex) {
                self.foreign.add(record.from.field(SIGNER), || {
                    let signer = Name::from_wire(signature.signer).unwrap_or(Name::ROOT);
                    format!(
                        "the signature of {} is by {signer}, which is not this zone",
                        shown()
                    )
                });
            } else if let Some(at) = self.algorithm_of(tag, algorithm) {
                seen |= 1u64 << at.min(63);
            } else {
                self.keyless.add(record.from.field(KEY_TAG), || {
                    format!(
                        "the signature of {} is by key {tag} of algorithm {algorithm}, which the \
                        zone does not have",
                        shown()
                    )
                });
            }
            if signature.original_ttl != set.ttl {
                self.ttls.add(record.from.field(ORIGINAL_TTL), || {
                    format!(
                        "the signature of {} is for a TTL of {}; the set has {}",
                        shown(),
                        signature.original_ttl,
                        set.ttl
                    )
                });
            }
        }
        let missing = (0..self.algorithms.len().min(63)).find(|at| seen & (1 << at) == 0);
        if let Some(at) = missing {
            let algorithm = self.algorithms[at];
            self.incomplete.add(checker.first(signatures).from, || {
                format!(
                    "{} has no signature by a key of algorithm {algorithm}, of which the zone has \
                    one (RFC 4035 §2.2)",
                    shown()
                )
            });
        }
    }

    /// Which of the algorithms a key of the zone has, where there is such a key.
    fn algorithm_of(&self, tag: u16, algorithm: u8) -> Option<usize> {
        let mut keys = self.keys.iter();
        keys.find(|key| (key.tag, key.algorithm) == (tag, algorithm))?;
        self.algorithms.iter().position(|own| *own == algorithm)
    }

    fn tell(self, faults: &mut Faults) {
        let checker = self.checker;
        for tally in [self.foreign, self.keyless, self.incomplete] {
            if let Some((from, sentence)) = tally.into_told() {
                checker.invalid(faults, from, sentence);
            }
        }
        if let Some((from, sentence)) = self.ttls.into_told() {
            faults.warning(from, sentence);
        }
        self.times.tell(checker, faults);
    }
}

/// Fields of RRSIG.
const LABELS: usize = 2;
const ORIGINAL_TTL: usize = 3;
const KEY_TAG: usize = 6;
const SIGNER: usize = 7;

/// Labels of a name as signatures count them (RFC 4034 §3.1.3).
pub fn labels(wire: &[u8]) -> u8 {
    Starts::of(wire).name(wire).labels() as u8 - u8::from(wire.starts_with(b"\x01*"))
}
