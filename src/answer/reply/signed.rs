//! The reply of a client that wants signatures: each set with those that cover it,
//! right behind it; sets of other names that prove something; then the additional
//! part of a set, which in other replies stands right behind it.

use super::{Oversized, Owner, Reply, Section, pointer, whole_sets};
use crate::wire::header::{HEADER, flag};
use crate::wire::name::MAX_NAME;
use crate::wire::{Cursor, LookupName, RrType};
use crate::zone::Zone;
use crate::zone::store::{FURTHEST_MOVE, RECORD_HEAD, Set};

/// The furthest place that a pointer leads to.
const FURTHEST: usize = 0x3fff;
/// Octets of a pointer.
const POINTER: usize = 2;

impl Reply<'_> {
    /// Adds a set of the question's own name with its signatures to the answer, where
    /// that is all there is to add, and fits.
    #[inline(always)]
    pub fn signed_at_once(&mut self, set: &Set<'_>) -> bool {
        let Some((count, octets)) = set.signed_verbatim() else {
            return false;
        };
        let fits = octets.len() <= self.room.saturating_sub(self.at);
        if fits {
            self.append(octets);
            self.count(Section::Answer, count);
        }
        fits
    }

    /// Adds a set that `owner` owns with its signatures to the answer.
    ///
    /// # Errors
    ///
    /// As `answer`.
    pub fn signed_answer(&mut self, set: &Set<'_>, owner: Owner) -> Result<bool, Oversized> {
        self.place_signed(set, owner, Section::Answer)
    }

    /// Adds the set of a name above `owner`, or of `owner` itself, with its signatures
    /// to the authority section.
    ///
    /// # Errors
    ///
    /// As `answer`.
    pub fn signed_authority(&mut self, set: &Set<'_>, owner: Owner) -> Result<bool, Oversized> {
        self.place_signed(set, owner.end(set.owner_length()), Section::Authority)
    }

    /// `place` with signatures and without the additional part. A set goes with its
    /// signatures or not at all (RFC 4035 §3.1.1).
    fn place_signed(
        &mut self,
        set: &Set<'_>,
        owner: Owner,
        section: Section,
    ) -> Result<bool, Oversized> {
        if set.is_oversized() {
            return Err(Oversized);
        }
        let start = self.at;
        let (count, octets) = set.signed();
        if octets.len() > self.room.saturating_sub(start) {
            return self.leave_out();
        }
        let has_details = set.has_details();
        if has_details && start != set.composed_at() {
            let composed = set.open();
            self.append(composed.answer);
            self.move_pointers(set, &composed, owner, start);
            self.append(composed.signatures);
        } else {
            self.append(octets);
        }
        // Behind their own question owners are right as they lie.
        if owner.at != HEADER {
            self.point_owners(start, self.at, owner);
        }
        self.count(section, count);
        Ok(true)
    }

    /// Adds a set of some name of the zone to the authority section, to prove
    /// something about `name`, which stands at `owner`. TC where it does not fit.
    pub fn proof(&mut self, set: &Set<'_>, name: &LookupName, owner: Owner) {
        let (count, octets) = set.signed();
        let own = set.owner();
        let shared = shared_end(own, name.suffix(0));
        let apart = own.len() - shared;
        let start = self.at;
        // Each record but the first has a pointer to the first one's owner, where that
        // is not too far back.
        let repeated = if start <= FURTHEST { 0 } else { apart };
        let length = octets.len() + apart + usize::from(count - 1) * repeated;
        if length > self.room.saturating_sub(start) {
            self.notes.set(flag::TC);
            return;
        }
        let end = pointer(owner.at + owner.length - shared);
        let mut rest = octets;
        while let Some(record) = next_record(&mut rest) {
            if self.at == start || start > FURTHEST {
                self.append(&own[..apart]);
                self.append(&end);
            } else {
                self.append(&pointer(start));
            }
            self.append(&record[POINTER..]);
        }
        self.count(Section::Authority, count);
    }

    /// Adds the additional part of a set that was placed at `start`, as much of it as
    /// fits. TC where that is less than a referral needs (RFC 9471 §3.1). Returns where
    /// the records begin that may have signatures: these are behind those below a cut.
    pub fn additional(&mut self, set: &Set<'_>, owner: Owner, start: usize) -> usize {
        let composed = set.open();
        let at = self.at;
        let composed_from = set.composed_at() + composed.answer.len();
        let mut free = self.room.saturating_sub(at);
        if at.saturating_sub(composed_from) > FURTHEST_MOVE {
            // What comes here could not be pointed into.
            free = 0;
        }
        let mut additional = (composed.additional, composed.additional_count);
        if additional.0.len() > free {
            additional = whole_sets(&composed, free);
        }
        let (octets, count) = additional;
        if octets.len() < composed.additional_required {
            self.notes.set(flag::TC);
        }
        self.append(octets);
        self.count(Section::Additional, count);
        let body = &mut self.out[at..at + octets.len()];
        let (owner_end, composed_end) = (owner.at + owner.length, HEADER + set.owner_length());
        let places = composed.pointers();
        let places = places.filter_map(|place| place.checked_sub(composed.answer.len()));
        for place in places.take_while(|place| *place < octets.len()) {
            let target = u16::from_be_bytes([body[place], body[place + 1]]);
            let target = usize::from(target) & FURTHEST;
            let moved = if target < composed_end {
                target + owner_end - composed_end
            } else if target < composed_from {
                target + start - set.composed_at()
            } else {
                target + at - composed_from
            };
            body[place..place + POINTER].copy_from_slice(&pointer(moved));
        }
        at + composed.additional_required.min(octets.len())
    }

    /// Adds the signatures of the additional records that stand from `from` on, as
    /// far as they fit: these are the first that a reply does without (RFC 4035
    /// §3.1.1). `name` is used for their owners.
    pub fn sign_additional(&mut self, zone: &Zone, from: usize, name: &mut LookupName) {
        let (mut at, end) = (from, self.at);
        let mut last = None;
        while at < end {
            let mut rest = Cursor::new(&self.out[at..end]);
            let Some(record) = rest.record() else {
                debug_assert!(false, "whole records were added");
                return;
            };
            let next = end - rest.rest().len();
            // As `pointer` where the owner is one itself.
            let owner = match *record.owner {
                [upper, lower] if upper >= 0xc0 => [upper, lower],
                _ => pointer(at.min(FURTHEST)),
            };
            let head = (owner, record.rtype);
            let set = (last != Some(head) && at <= FURTHEST)
                .then(|| self.signed_set(zone, at, record.rtype, name))
                .flatten();
            if let Some(set) = set {
                self.additional_signatures(&set, owner);
            }
            (last, at) = (Some(head), next);
        }
    }

    /// The set that the name at `at` has, or a wildcard for it.
    fn signed_set<'z>(
        &self,
        zone: &'z Zone,
        at: usize,
        rtype: RrType,
        name: &mut LookupName,
    ) -> Option<Set<'z>> {
        let mut wire = [0; MAX_NAME];
        let length = expand(&self.out[..self.at], at, &mut wire)?;
        name.set(&wire[..length])?;
        zone.signed_set(name, rtype)
    }

    fn additional_signatures(&mut self, set: &Set<'_>, owner: [u8; POINTER]) {
        let composed = set.open();
        if composed.signatures.len() > self.room.saturating_sub(self.at) {
            return;
        }
        let mut rest = composed.signatures;
        while let Some(record) = next_record(&mut rest) {
            self.append(&owner);
            self.append(&record[POINTER..]);
        }
        self.count(Section::Additional, composed.signature_count);
    }
}

/// Octets at the end of two names that are the same, from the beginning of a label
/// of the first on.
fn shared_end(one: &[u8], other: &[u8]) -> usize {
    let mut rest = one;
    while !other.ends_with(rest)
        && let Some((&length, behind)) = rest.split_first()
    {
        rest = &behind[usize::from(length).min(behind.len())..];
    }
    rest.len()
}

/// The first of some records whose owners are pointers.
fn next_record<'z>(rest: &mut &'z [u8]) -> Option<&'z [u8]> {
    let length = rest.get(RECORD_HEAD - 2..RECORD_HEAD)?;
    let length = u16::from_be_bytes([length[0], length[1]]);
    let record;
    (record, *rest) = rest.split_at_checked(RECORD_HEAD + usize::from(length))?;
    Some(record)
}

/// Writes out the name at `at`, whose pointers lead backwards; returns its octets.
fn expand(message: &[u8], mut at: usize, wire: &mut [u8; MAX_NAME]) -> Option<usize> {
    let mut length = 0;
    loop {
        let octet = *message.get(at)?;
        if octet >= 0xc0 {
            let target = usize::from(octet & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
            if target >= at {
                return None;
            }
            at = target;
            continue;
        }
        let label = message.get(at..=at + usize::from(octet))?;
        wire.get_mut(length..length + label.len())?
            .copy_from_slice(label);
        length += label.len();
        if octet == 0 {
            return Some(length);
        }
        at += label.len();
    }
}
