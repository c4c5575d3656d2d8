//! What a zone must be to be served, and what someone should look at. Each
//! fault is named at the record that shows it; none hides another.

use super::compose::{self, Composer};
use super::names::NameId;
use super::records::{Faults, Provenance, Record, Records};
use super::sorted::{Occlusion, Sorted, SortedSet};
use super::store::RECORD_HEAD;
use crate::wire::{LookupName, Name, RrType, rdata};

/// Looks at the whole zone. What seems to be missing is not missed where it
/// may stand on a line that could not be read.
pub fn check(sorted: &mut Sorted) {
    let mut faults = std::mem::take(&mut sorted.records.faults);
    let checker = Checker { sorted };
    checker.apex(&mut faults);
    for id in sorted.records.names.ids() {
        checker.name(&mut faults, id);
    }
    sorted.records.faults = faults;
}

struct Checker<'d> {
    sorted: &'d Sorted,
}

impl Checker<'_> {
    fn apex(&self, faults: &mut Faults) {
        let sorted = self.sorted;
        let apex = sorted.records.names.name(sorted.apex);
        let soa = sorted.set(sorted.apex, RrType::SOA);
        if let Some(second) = soa.and_then(|soa| sorted.records(soa).nth(1)) {
            faults.error(
                second.from,
                format!("a second, different SOA at {apex}; a zone has one"),
            );
        }
        if sorted.set(sorted.apex, RrType::NS).is_none()
            && !sorted.records.unread.may_hold(RrType::NS)
        {
            let sentence = format!("no NS record at {apex}; a zone names its servers at its apex");
            let from = soa.map_or(Provenance::START, |soa| self.first(soa).from);
            faults.error(from, sentence);
        }
    }

    fn name(&self, faults: &mut Faults, id: NameId) {
        let sorted = self.sorted;
        match sorted.occlusion(id) {
            Occlusion::Outside => self.outside(faults, id),
            // A hash is no name, and so not below one.
            Occlusion::BelowDname(_) if sorted.is_hashed(id) => {}
            Occlusion::BelowDname(owner) => self.redirected(faults, id, owner),
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
                for set in sorted.sets(id) {
                    self.ttls(faults, set);
                    self.soa_elsewhere(faults, id, set);
                    self.targets(faults, id, set);
                    self.size(faults, id, set);
                }
            }
        }
    }

    fn outside(&self, faults: &mut Faults, id: NameId) {
        let apex = self.sorted.records.names.name(self.sorted.apex);
        for record in self.all(id) {
            faults.error(
                record.from,
                format!("{} is outside the zone {apex}", self.shown(id)),
            );
        }
    }

    fn redirected(&self, faults: &mut Faults, id: NameId, owner: NameId) {
        let owner = self.shown(owner);
        for record in self.all(id) {
            let sentence = format!(
                "{} is below the DNAME at {owner}, where nothing may be (RFC 6672 §2.4)",
                self.shown(id)
            );
            faults.error(record.from, sentence);
        }
    }

    /// Glue is address records; anything else below a cut, or beside its NS
    /// and DS, belongs to the child.
    fn hidden(&self, faults: &mut Faults, id: NameId, cut: NameId) {
        let glue = [RrType::A, RrType::AAAA];
        let parental = [
            RrType::NS,
            RrType::DS,
            RrType::RRSIG,
            RrType::NSEC,
            RrType::DNAME,
            RrType::CNAME,
        ];
        for set in self.sorted.sets(id) {
            if glue.contains(&set.rtype) || (id == cut && parental.contains(&set.rtype)) {
                continue;
            }
            let sentence = format!(
                "{} is never served: {} is delegated",
                set.rtype,
                self.shown(cut)
            );
            faults.warning(self.first(set).from, sentence);
        }
    }

    /// CNAME stands alone but for its signatures and the key that made them
    /// (RFC 1034 §3.6.2, RFC 2181 §10.1, RFC 4035 §2.5); DNAME beside neither CNAME nor a delegation, and once
    /// (RFC 6672 §2.3, §2.4).
    fn exclusive(&self, faults: &mut Faults, id: NameId) {
        let sorted = self.sorted;
        for single in [RrType::CNAME, RrType::DNAME] {
            if let Some(second) = sorted
                .set(id, single)
                .and_then(|set| sorted.records(set).nth(1))
            {
                faults.error(
                    second.from,
                    format!("a second {single} at {}; there may be one", self.shown(id)),
                );
            }
        }
        if sorted.set(id, RrType::CNAME).is_some() {
            let beside = [RrType::CNAME, RrType::RRSIG, RrType::NSEC, RrType::KEY];
            for other in sorted
                .sets(id)
                .iter()
                .filter(|set| !beside.contains(&set.rtype))
            {
                let sentence = format!(
                    "{} beside a CNAME at {}; a CNAME stands alone",
                    other.rtype,
                    self.shown(id)
                );
                faults.error(self.first(other).from, sentence);
            }
        }
        if let Some(dname) = sorted.set(id, RrType::DNAME)
            && sorted.is_cut(id)
        {
            let sentence = format!(
                "DNAME beside the delegation of {}; there may be one of the two",
                self.shown(id)
            );
            faults.error(self.first(dname).from, sentence);
        }
    }

    /// A delegation or a DNAME at an asterisk has no defined meaning
    /// (RFC 4592 §4.2, §4.4). A DNAME can be served all the same: it redirects
    /// what is below the asterisk itself, and nothing that the wildcard covers.
    fn wildcard(&self, faults: &mut Faults, id: NameId) {
        if id == self.sorted.apex || !self.sorted.records.names.wire(id).starts_with(b"\x01*") {
            return;
        }
        let meaningless = |rtype| {
            let shown = self.shown(id);
            format!("{rtype} at the wildcard {shown}, which has no defined meaning (RFC 4592 §4)")
        };
        if let Some(set) = self.sorted.set(id, RrType::NS) {
            faults.error(self.first(set).from, meaningless(RrType::NS));
        }
        if let Some(set) = self.sorted.set(id, RrType::DNAME) {
            faults.warning(self.first(set).from, meaningless(RrType::DNAME));
        }
    }

    /// A signature's TTL is that of what it signs, so the RRSIG records of one
    /// name may differ (RFC 4034 §3).
    fn ttls(&self, faults: &mut Faults, set: &SortedSet) {
        let mut records = self.sorted.records(set);
        let first = records.next().map_or(0, |record| record.ttl);
        if let Some(other) = records.find(|record| record.ttl != first)
            && set.rtype != RrType::RRSIG
        {
            let sentence = format!(
                "TTL {} in a set that began with {first}; the lowest, {}, holds for all (RFC 2181 §5.2)",
                other.ttl, set.ttl
            );
            faults.warning(other.from, sentence);
        }
    }

    fn soa_elsewhere(&self, faults: &mut Faults, id: NameId, set: &SortedSet) {
        if set.rtype == RrType::SOA && id != self.sorted.apex {
            let apex = self.shown(self.sorted.apex);
            let sentence = format!(
                "a SOA at {} in the zone {apex}; a zone has one, at its apex",
                self.shown(id)
            );
            faults.error(self.first(set).from, sentence);
        }
    }

    /// Names that records point at, where this zone knows them.
    fn targets(&self, faults: &mut Faults, id: NameId, set: &SortedSet) {
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
        let has_address = [RrType::A, RrType::AAAA]
            .into_iter()
            .any(|rtype| has(rtype) || unread.may_hold(rtype));
        if rtype != RrType::NS || has_address {
            return None;
        }
        let below_owner =
            sorted.is_cut(owner) && target.is_within(&sorted.records.names.name(owner));
        let name = LookupName::of(target);
        let hidden = (0..=name.labels()).find_map(|label| sorted.records.names.find(&name, label));
        let elsewhere =
            hidden.is_some_and(|id| sorted.occlusion(id) != Occlusion::Served || sorted.is_cut(id));
        if below_owner {
            Some(format!(
                "no glue: {target} is a server of the zone that it is in, and has no address here (RFC 9471)"
            ))
        } else if elsewhere {
            // The other delegation's child may know it.
            None
        } else {
            Some(format!(
                "name server {target} is in this zone and has no address here"
            ))
        }
    }

    /// A set is sent whole, in one message, or not at all.
    fn size(&self, faults: &mut Faults, id: NameId, set: &SortedSet) {
        let sorted = self.sorted;
        let lengths = sorted.records(set).map(|record| usize::from(record.length));
        if lengths.map(|length| RECORD_HEAD + length).sum::<usize>() <= compose::SURE_TO_FIT {
            return;
        }
        // Compression may yet make room.
        let mut composer = Composer::new();
        composer.begin(sorted.records.names.wire(id), set.rtype);
        let over = sorted
            .records(set)
            .find(|record| !composer.record(set.ttl, sorted.records.rdata(record)));
        if let Some(record) = over {
            let sentence = format!(
                "the {} records of {} do not fit into one message of 65,535 octets; \
                who asks for them gets SERVFAIL",
                set.rtype,
                self.shown(id)
            );
            faults.warning(record.from, sentence);
        }
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

    fn shown(&self, id: NameId) -> Name {
        self.sorted.records.names.name(id)
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

/// The fault of a zone that has no beginning.
pub fn no_soa(faults: &mut Faults, origin: Option<&Name>) {
    let sentence = match origin {
        Some(origin) => format!("no SOA record at {origin}; a zone begins with one"),
        None => "no SOA record; a zone begins with one".into(),
    };
    faults.error(Provenance::START, sentence);
}
