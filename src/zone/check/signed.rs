//! What a signed zone must hold for resolvers to take its answers: a signature of
//! every set, by a key that the zone has, with the zone's name. Whether a signature
//! is what its key has made is not looked at here (`zone::verify`).
//!
//! What is wrong with one signature is no more than a warning where another of the set
//! makes up for it: validators take any one that is good (RFC 4035 §5.3.1, RFC 6840
//! §5.11), and a zone whose keys are rolled over has both for a time.
//!
//! None of this makes a zone unfit to be served, as it does not with NSD or Knot:
//! who validates refuses the answers, and all others get them. Only who has the
//! signatures verified is told of errors.

use super::super::keys::{By, Done, Keys};
use super::super::names::NameId;
use super::super::pieces::{ids, in_turn};
use super::super::records::{Faults, Provenance};
use super::super::sorted::{Occlusion, SortedSet};
use super::Checker;
use super::times::{Times, is_timely};
use crate::wire::name::Starts;
use crate::wire::rdata::dnssec::Signature;
use crate::wire::{Name, RrType};

/// Mistakes of one kind, which a signer makes at every name or at none: the first is
/// told, the others are counted.
#[derive(Default)]
pub(super) struct Tally {
    first: Option<(Provenance, String)>,
    more: usize,
}

impl Tally {
    /// Adds those that come behind.
    pub(super) fn append(&mut self, others: Tally) {
        match (&self.first, others.first) {
            (None, first) => *self = Tally { first, ..others },
            (Some(_), None) => {}
            (Some(_), Some(_)) => self.more += 1 + others.more,
        }
    }

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

/// What makes answers invalid, and the like of it for which other signatures of the set
/// make up.
#[derive(Default)]
pub(super) struct Graded<T> {
    needed: T,
    spare: T,
}

impl<T> Graded<T> {
    pub(super) fn of(&mut self, is_spare: bool) -> &mut T {
        match is_spare {
            true => &mut self.spare,
            false => &mut self.needed,
        }
    }

    /// Adds those that come behind.
    pub(super) fn append(&mut self, others: Graded<T>, append: impl Fn(&mut T, T)) {
        append(&mut self.needed, others.needed);
        append(&mut self.spare, others.spare);
    }

    /// Both, and which is spare.
    pub(super) fn each(self, mut told: impl FnMut(T, bool)) {
        told(self.needed, false);
        told(self.spare, true);
    }
}

/// What is known of a signed zone while its names are gone through.
struct Signatures<'c> {
    checker: &'c Checker<'c>,
    keys: &'c Keys<'c>,
    times: Times,
    foreign: Graded<Tally>,
    keyless: Graded<Tally>,
    revoked: Graded<Tally>,
    incomplete: Tally,
    ttls: Tally,
    /// Those of one set.
    read: Vec<Read<'c>>,
}

/// A signature.
struct Read<'c> {
    from: Provenance,
    signature: Signature<'c>,
    by: By,
}

impl Read<'_> {
    fn is_for(&self, ttl: u32) -> bool {
        self.signature.original_ttl == ttl
    }
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

    /// A signature of what is not there, which nobody is given unasked.
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
        faults.warning(self.first(set).from, sentence);
    }

    /// Goes through all names of a zone that is signed.
    pub(super) fn signatures(&self, faults: &mut Faults) {
        let sorted = self.sorted;
        let apex = sorted.apex;
        match (sorted.set(apex, RrType::DNSKEY), self.is_signed()) {
            (None, false) => return self.remains(faults),
            (Some(keys), false) => {
                let sentence = format!(
                    "{} has a DNSKEY, and no signature of its SOA: sign the zone, or take the key \
                    out",
                    self.shown(apex)
                );
                return self.invalid(faults, self.first(keys).from, sentence);
            }
            (None, true) if !sorted.records.unread.may_hold(RrType::DNSKEY) => {
                let sentence = format!(
                    "{} is signed, and has no DNSKEY: nobody can verify its signatures",
                    self.shown(apex)
                );
                let mut sets = sorted.sets(apex).iter();
                let signed = sets.find(|set| set.rtype == RrType::RRSIG);
                let from = signed.map_or(Provenance::START, |set| self.first(set).from);
                self.invalid(faults, from, sentence);
            }
            _ => {}
        }
        let keys = Keys::of(sorted);
        let names = |piece| {
            let mut signatures = Signatures::new(self, &keys);
            let mut faults = Faults::of_part();
            let signed =
                |id: &NameId| sorted.occlusion(*id) == Occlusion::Served || sorted.is_hashed(*id);
            let signed = ids(piece).filter(signed);
            signed.for_each(|id| signatures.name(&mut faults, id));
            (signatures, faults)
        };
        let mut all = Signatures::new(self, &keys);
        in_turn(sorted.records.names.len(), names, |(signatures, part)| {
            faults.append(part);
            all.append(signatures);
        });
        all.tell(faults);
    }

    /// What only a signed zone has, where its apex has neither keys nor signatures: who
    /// knows from the parent that it is signed refuses all of it.
    fn remains(&self, faults: &mut Faults) {
        let sorted = self.sorted;
        if sorted.records.unread.may_hold(RrType::DNSKEY) {
            return;
        }
        let names = |piece| {
            let mut found = Tally::default();
            for id in ids(piece) {
                let sets = sorted.sets(id).iter();
                for set in sets.filter(|set| REMAINS.contains(&set.rtype)) {
                    if sorted.occlusion(id) == Occlusion::Served || sorted.is_hashed(id) {
                        found.add(self.first(set).from, || {
                            format!(
                                "{} at {}, as in a signed zone, and no DNSKEY and no signature at \
                                {}: resolvers that know it as signed refuse it",
                                set.rtype,
                                self.shown(id),
                                self.shown(sorted.apex)
                            )
                        });
                    }
                }
            }
            found
        };
        let mut all = Tally::default();
        in_turn(sorted.records.names.len(), names, |part| all.append(part));
        if let Some((from, sentence)) = all.into_told() {
            self.invalid(faults, from, sentence);
        }
    }

    /// True for a set that the zone signs: at a delegation, only what is of the parent
    /// side (RFC 4035 §2.2).
    pub(super) fn is_own(&self, is_cut: bool, rtype: RrType) -> bool {
        !is_cut || [RrType::DS, RrType::NSEC, RrType::NSEC3].contains(&rtype)
    }
}

impl<'c> Signatures<'c> {
    fn new(checker: &'c Checker<'c>, keys: &'c Keys<'c>) -> Self {
        Signatures {
            checker,
            keys,
            times: Times::new(checker.scrutiny.now),
            foreign: Graded::default(),
            keyless: Graded::default(),
            revoked: Graded::default(),
            incomplete: Tally::default(),
            ttls: Tally::default(),
            read: Vec::new(),
        }
    }

    /// Adds what is known of names that come behind.
    fn append(&mut self, others: Signatures<'_>) {
        self.times.append(others.times);
        self.foreign.append(others.foreign, Tally::append);
        self.keyless.append(others.keyless, Tally::append);
        self.revoked.append(others.revoked, Tally::append);
        self.incomplete.append(others.incomplete);
        self.ttls.append(others.ttls);
    }

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
        let labels = labels(records.names.wire(id));
        let mut read = std::mem::take(&mut self.read);
        read.clear();
        read.extend(checker.sorted.records(signatures).filter_map(|record| {
            let signature = Signature::read(records.rdata(record))?;
            Some(Read {
                from: record.from,
                signature,
                by: self.keys.maker(&signature),
            })
        }));
        let (mut tried, mut done) = (Done::default(), Done::default());
        for Read { signature, by, .. } in &read {
            tried.add(*by);
            if is_good(signature, labels, checker.scrutiny.now) {
                done.add(*by);
            }
        }
        for one in &read {
            let is_spare = self.keys.is_spare(set.rtype, one.by, done);
            self.signature(faults, (id, set), labels, one, is_spare);
        }
        if signatures.ttl != set.ttl && read.iter().all(|one| one.is_for(set.ttl)) {
            self.ttls.add(checker.first(signatures).from, || {
                format!(
                    "the signatures of {} at {} have a TTL of {}; the set has {} (RFC 4034 §3)",
                    set.rtype,
                    checker.shown(id),
                    signatures.ttl,
                    set.ttl
                )
            });
        }
        self.read = read;
        self.missing(faults, (id, set), signatures, tried);
    }

    /// What may be wrong with one signature.
    fn signature(
        &mut self,
        faults: &mut Faults,
        (id, set): (NameId, &SortedSet),
        labels: u8,
        Read {
            from,
            signature,
            by,
        }: &Read<'_>,
        is_spare: bool,
    ) {
        let checker = self.checker;
        let shown = || format!("{} at {}", set.rtype, checker.shown(id));
        let (tag, algorithm) = (signature.key_tag, signature.algorithm);
        self.times.add(*from, signature, (id, set.rtype), is_spare);
        if signature.labels != labels {
            let sentence = format!(
                "the signature of {} counts {} of its labels, of which there are {labels} (RFC \
                4034 §3.1.3)",
                shown(),
                signature.labels
            );
            checker.unless_spare(faults, is_spare, from.field(LABELS), sentence);
        }
        match by {
            By::Foreign => self.foreign.of(is_spare).add(from.field(SIGNER), || {
                let signer = Name::from_wire(signature.signer).unwrap_or(Name::ROOT);
                format!(
                    "the signature of {} is by {signer}, which is not this zone",
                    shown()
                )
            }),
            By::Nobody => self.keyless.of(is_spare).add(from.field(KEY_TAG), || {
                format!(
                    "the signature of {} is by key {tag} of algorithm {algorithm}, which the zone \
                    does not have",
                    shown()
                )
            }),
            By::Revoked if set.rtype != RrType::DNSKEY => {
                self.revoked.of(is_spare).add(from.field(KEY_TAG), || {
                    format!(
                        "the signature of {} is by key {tag}, which is revoked and signs nothing \
                        but keys (RFC 5011 §2.1)",
                        shown()
                    )
                });
            }
            By::Revoked | By::Key { .. } => {}
        }
        if signature.original_ttl != set.ttl {
            self.ttls.add(from.field(ORIGINAL_TTL), || {
                format!(
                    "the signature of {} is for a TTL of {}; the set has {}",
                    shown(),
                    signature.original_ttl,
                    set.ttl
                )
            });
        }
    }

    /// What no signature of the set is there for.
    fn missing(
        &mut self,
        faults: &mut Faults,
        (id, set): (NameId, &SortedSet),
        signatures: &SortedSet,
        tried: Done,
    ) {
        let checker = self.checker;
        let shown = || format!("{} at {}", set.rtype, checker.shown(id));
        let from = checker.first(signatures).from;
        let missing = self.keys.missing(tried);
        if let Some(algorithm) = missing {
            self.incomplete.add(from, || {
                format!(
                    "{} has no signature by a key of algorithm {algorithm}, of which the zone has \
                    one (RFC 4035 §2.2)",
                    shown()
                )
            });
        }
        let is_request = [RrType::CDS, RrType::CDNSKEY].contains(&set.rtype);
        if is_request && !tried.is_entered && id == checker.sorted.apex {
            let sentence = format!(
                "{} has no signature by a key that its parent is meant to know, so that it must \
                not be followed (RFC 7344 §4.1)",
                shown()
            );
            faults.warning(from, sentence);
        }
        if set.rtype == RrType::DNSKEY && !tried.is_entered && missing.is_none() {
            let sentence = format!(
                "{} has no signature by a key that its parent is meant to know, one that is not \
                revoked and has the flags 257 where there are such (RFC 4035 §5.2)",
                shown()
            );
            checker.invalid(faults, from, sentence);
        }
    }

    fn tell(self, faults: &mut Faults) {
        let checker = self.checker;
        for tally in [self.foreign, self.keyless, self.revoked] {
            tally.each(|tally, is_spare| {
                if let Some((from, sentence)) = tally.into_told() {
                    checker.unless_spare(faults, is_spare, from, sentence);
                }
            });
        }
        if let Some((from, sentence)) = self.incomplete.into_told() {
            checker.invalid(faults, from, sentence);
        }
        if let Some((from, sentence)) = self.ttls.into_told() {
            faults.warning(from, sentence);
        }
        self.times.tell(checker, faults);
    }
}

/// Types that only signed zones have, and clients see: NSEC3PARAM is for servers alone.
const REMAINS: [RrType; 3] = [RrType::RRSIG, RrType::NSEC, RrType::NSEC3];
/// Fields of RRSIG.
const LABELS: usize = 2;
const ORIGINAL_TTL: usize = 3;
const KEY_TAG: usize = 6;
const SIGNER: usize = 7;

/// True for a signature that is valid now, of all labels of a name.
pub fn is_good(signature: &Signature, labels: u8, now: u32) -> bool {
    signature.labels == labels && is_timely(signature, now)
}

/// Labels of a name as signatures count them (RFC 4034 §3.1.3).
pub fn labels(wire: &[u8]) -> u8 {
    Starts::of(wire).name(wire).labels() as u8 - u8::from(wire.starts_with(b"\x01*"))
}
