//! What records point at, as far as this zone knows it.

use super::super::names::NameId;
use super::super::records::{Faults, Record, Records};
use super::super::sorted::{Occlusion, SortedSet};
use super::Checker;
use crate::wire::{LookupName, Name, RrType, rdata};

impl Checker<'_> {
    /// Names that records point at, where this zone knows them.
    pub(super) fn targets(&self, faults: &mut Faults, id: NameId, set: &SortedSet) {
        if ![RrType::NS, RrType::MX, RrType::SRV].contains(&set.rtype) {
            return;
        }
        for record in self.sorted.records(set) {
            let Some(target) = target(&self.sorted.records, record) else {
                continue;
            };
            if let Some(sentence) = self.target(id, set.rtype, &target) {
                faults.warning(record.from, sentence);
            }
        }
    }

    fn target(&self, owner: NameId, rtype: RrType, target: &Name) -> Option<String> {
        let sorted = self.sorted;
        let apex = sorted.records.names.name(sorted.apex);
        if !target.is_within(&apex) {
            return None;
        }
        let found = sorted.covering(&LookupName::of(target));
        let has = |rtype| found.is_some_and(|found| sorted.set(found, rtype).is_some());
        if has(RrType::CNAME) {
            return Some(format!(
                "{rtype} points at {target}, which is a CNAME (RFC 2181 §10.3)"
            ));
        }
        let unread = &sorted.records.unread;
        if self.is_address(target) && !self.is_there(target) {
            // That has a warning of its own.
            return None;
        }
        let has_address = [RrType::A, RrType::AAAA]
            .into_iter()
            .any(|rtype| has(rtype) || unread.may_hold(rtype));
        if rtype != RrType::NS || has_address {
            return None;
        }
        let below_owner =
            sorted.is_cut(owner) && target.is_within(&sorted.records.names.name(owner));
        if below_owner {
            Some(format!(
                "no glue: {target} is a server of the zone that it is in, and has no address \
                here (RFC 9471)"
            ))
        } else if self.is_elsewhere(target) {
            // The other delegation's child may know it.
            None
        } else {
            Some(format!(
                "name server {target} is in this zone and has no address here"
            ))
        }
    }

    /// True for a name that the zone has, itself or by a wildcard.
    pub(super) fn is_there(&self, name: &Name) -> bool {
        self.sorted.covering(&LookupName::of(name)).is_some()
    }

    /// True for a name of this zone that it should have and does not, as far as
    /// everything could be read.
    pub(super) fn is_missing(&self, target: &Name) -> bool {
        let sorted = self.sorted;
        target.is_within(&self.shown(sorted.apex))
            && !self.is_there(target)
            && !self.is_elsewhere(target)
            && sorted.records.unread.is_nothing()
    }

    /// True for names of this zone that a delegation or a DNAME takes out of its
    /// own data.
    fn is_elsewhere(&self, target: &Name) -> bool {
        let sorted = self.sorted;
        let name = LookupName::of(target);
        let closest = (0..=name.labels()).find_map(|label| sorted.records.names.find(&name, label));
        closest.is_some_and(|id| {
            let is_own = self.shown(id) == *target;
            let redirects = !is_own && sorted.set(id, RrType::DNAME).is_some();
            sorted.occlusion(id) != Occlusion::Served || sorted.is_cut(id) || redirects
        })
    }
}

/// The host that an NS, MX, SRV, SVCB or HTTPS record points at: the one name
/// in its data. The root stands for "none" (RFC 2782, RFC 7505, RFC 9460).
pub fn target(records: &Records, record: &Record) -> Option<Name> {
    let octets = records.rdata(record);
    let mut found = None;
    rdata::names(record.rtype, octets, |_, name| {
        found = Name::from_wire(&octets[name]).ok()
    });
    found.filter(|name| name.as_wire().len() > 1)
}
