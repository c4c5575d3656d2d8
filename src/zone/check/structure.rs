//! What a zone must be to be served, and what of it never is.

use data_encoding::BASE32_DNSSEC;

use super::super::compose::{Composer, SURE_TO_FIT};
use super::super::names::NameId;
use super::super::records::{Faults, Provenance};
use super::super::sorted::SortedSet;
use super::super::store::RECORD_HEAD;
use super::Checker;
use crate::wire::rdata::is_hash;
use crate::wire::{Name, RrType};

impl Checker<'_> {
    pub(super) fn apex(&self, faults: &mut Faults) {
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

    pub(super) fn outside(&self, faults: &mut Faults, id: NameId) {
        let apex = self.sorted.records.names.name(self.sorted.apex);
        for record in self.all(id) {
            faults.error(
                record.from,
                format!("{} is outside the zone {apex}", self.shown(id)),
            );
        }
    }

    pub(super) fn below_dname(&self, faults: &mut Faults, id: NameId, owner: NameId) {
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
    pub(super) fn hidden(&self, faults: &mut Faults, id: NameId, cut: NameId) {
        let glue = [RrType::A, RrType::AAAA];
        let parental = [
            RrType::NS,
            RrType::DS,
            RrType::RRSIG,
            RrType::NSEC,
            RrType::NSEC3,
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
    /// (RFC 1034 §3.6.2, RFC 2181 §10.1, RFC 4035 §2.5); DNAME beside neither
    /// CNAME nor a delegation, and once (RFC 6672 §2.3, §2.4).
    pub(super) fn exclusive(&self, faults: &mut Faults, id: NameId) {
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
            let beside = [
                RrType::CNAME,
                RrType::RRSIG,
                RrType::NSEC,
                RrType::KEY,
                RrType::SIG,
                RrType::NXT,
            ];
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
    pub(super) fn wildcard(&self, faults: &mut Faults, id: NameId) {
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

    /// A record set has one TTL (RFC 2181 §5.2).
    pub(super) fn ttls(&self, faults: &mut Faults, set: &SortedSet) {
        let mut records = self.sorted.records(set);
        let first = records.next().map_or(0, |record| record.ttl);
        if let Some(other) = records.find(|record| record.ttl != first) {
            let sentence = format!(
                "TTL {} in a set that began with {first}; the lowest, {}, holds for all (RFC 2181 §5.2)",
                other.ttl, set.ttl
            );
            faults.warning(other.from, sentence);
        }
    }

    pub(super) fn soa_elsewhere(&self, faults: &mut Faults, id: NameId, set: &SortedSet) {
        if set.rtype == RrType::SOA && id != self.sorted.apex {
            let apex = self.shown(self.sorted.apex);
            let sentence = format!(
                "a SOA at {} in the zone {apex}; a zone has one, at its apex",
                self.shown(id)
            );
            faults.error(self.first(set).from, sentence);
        }
    }

    /// The owner of NSEC3 records is the hash of a name, right below the apex
    /// (RFC 5155 §3).
    pub(super) fn hashed(&self, faults: &mut Faults, id: NameId) {
        let sorted = self.sorted;
        if let Some(set) = sorted.set(id, RrType::NSEC3) {
            let owner = self.shown(id);
            if sorted.is_hashed(id) {
                self.ttls(faults, set);
            }
            for record in sorted.records(set) {
                let label = owner.labels().next().unwrap_or_default();
                let hash = BASE32_DNSSEC.decode(label).unwrap_or_default();
                let is_below_apex = sorted.parent(id) == Some(sorted.apex);
                if !is_hash(sorted.records.rdata(record), hash.len()) || !is_below_apex {
                    let sentence = format!(
                        "{owner} owns NSEC3 and is no hash of its algorithm, in base32hex, \
                        right below the zone's name (RFC 5155 §3)"
                    );
                    faults.error(record.from, sentence);
                }
            }
        }
    }

    /// A set is sent whole, in one message, or not at all, and its signatures with
    /// it.
    pub(super) fn size(&self, faults: &mut Faults, id: NameId, set: &SortedSet) {
        let sorted = self.sorted;
        let signatures = sorted.signatures(id, set.rtype);
        let sets = signatures.into_iter().chain([set]);
        let records = sets.flat_map(|set| sorted.records(set));
        let octets = records.map(|record| RECORD_HEAD + usize::from(record.length));
        if octets.sum::<usize>() <= SURE_TO_FIT {
            return;
        }
        // Compression may yet make room.
        let mut composer = Composer::new();
        composer.begin(sorted.records.names.wire(id), set.rtype);
        let over = sorted
            .records(set)
            .find(|record| !composer.record(set.ttl, sorted.records.rdata(record)));
        let (rtype, owner) = (set.rtype, self.shown(id));
        if let Some(record) = over {
            let sentence = format!(
                "the {rtype} records of {owner} do not fit into one message of 65,535 octets; \
                who asks for them gets SERVFAIL"
            );
            return faults.warning(record.from, sentence);
        }
        let Some(signatures) = signatures else {
            return;
        };
        let records = || sorted.records(signatures);
        let data = records().map(|record| sorted.records.rdata(record));
        if !composer.signatures(signatures.ttl, data)
            && let Some(record) = records().last()
        {
            let sentence = format!(
                "the signatures of the {rtype} records of {owner} do not fit into one message of \
                65,535 octets with them; who asks for the records gets them unsigned"
            );
            faults.warning(record.from, sentence);
        }
    }
}

/// The fault of a zone that has no beginning.
pub fn no_soa(faults: &mut Faults, origin: Option<&Name>) {
    let sentence = match origin {
        Some(origin) => format!("no SOA record at {origin}; a zone begins with one"),
        None => "no SOA record; a zone begins with one".into(),
    };
    faults.error(Provenance::START, sentence);
}
