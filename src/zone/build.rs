//! Records -> a zone that can be served: sorted (`sorted`), checked
//! (`check`), every answer composed once (`compose`), all of it laid down in
//! the store.

use super::check;
use super::compose::Composer;
use super::lookup::{Summary, Zone};
use super::memory;
use super::names::NameId;
use super::records::{Faults, Provenance, Record, Records};
use super::sorted::{Occlusion, Sorted, SortedSet};
use super::store::{self, Builder, NodeRef};
use crate::wire::{LookupName, Name, RrType};

/// Builds a zone from records, `origin` if that is given, and tells what is
/// wrong with it. There is none where an error makes it unfit to be served.
pub fn build(mut records: Records, origin: Option<Name>) -> (Option<Zone>, Faults) {
    let Some(apex) = apex(&records, origin).or_else(|| without_soa(&mut records, origin)) else {
        return (None, records.faults);
    };
    let mut sorted = Sorted::new(records, apex);
    check::check(&mut sorted);
    if sorted.records.faults.errors() > 0 {
        return (None, sorted.records.faults);
    }
    let zone = Assembler::new(&sorted).assemble();
    let mut faults = sorted.records.faults;
    match zone {
        Ok(zone) => (Some(zone), faults),
        Err(Full) => {
            let sentence = "the zone takes more than 16 GiB of memory; split it";
            faults.error(Provenance::START, sentence);
            (None, faults)
        }
    }
}

/// Notes that there is no SOA, and returns what must be the apex all the same,
/// so that the other faults can be told: the origin that was asked for, the
/// owner of a SOA that could not be read, or what is taken for it. There is no
/// telling where the only SOA is that of another name.
fn without_soa(records: &mut Records, origin: Option<Name>) -> Option<NameId> {
    let unread = &records.unread;
    let soa_owner = unread.soa_owner.map(|owner| records.names.name(owner));
    if !unread.may_hold(RrType::SOA) {
        check::no_soa(&mut records.faults, origin.as_ref());
    }
    if records
        .list
        .iter()
        .any(|record| record.rtype == RrType::SOA)
    {
        return None;
    }
    let apex = origin.or(soa_owner).or(records.likely_apex)?;
    Some(records.names.add(&LookupName::of(&apex), 0))
}

/// The owner of the SOA: the first, or the one at the origin asked for.
fn apex(records: &Records, origin: Option<Name>) -> Option<NameId> {
    let soas = records
        .list
        .iter()
        .filter(|record| record.rtype == RrType::SOA);
    let mut owners = soas.map(|record| record.owner);
    match origin {
        None => owners.next(),
        Some(origin) => {
            let apex = records.names.find(&LookupName::of(&origin), 0)?;
            owners.find(|&owner| owner == apex)
        }
    }
}

struct Assembler<'d> {
    sorted: &'d Sorted,
    builder: Builder,
    composer: Composer,
    /// Node by name, where it has one.
    nodes: Vec<Option<NodeRef>>,
    summary: Summary,
}

/// The zone has outgrown its store.
struct Full;

impl<'d> Assembler<'d> {
    fn new(sorted: &'d Sorted) -> Self {
        let names = sorted.records.names.len();
        Assembler {
            sorted,
            builder: Builder::new(names),
            composer: Composer::new(),
            nodes: memory::filled(None, names),
            summary: Summary::default(),
        }
    }

    fn assemble(mut self) -> Result<Zone, Full> {
        for id in self.sorted.records.names.ids() {
            if self.sorted.occlusion(id) == Occlusion::Served {
                self.node(id)?;
            }
        }
        self.link_wildcards();
        let negative = self.negative()?;
        let sorted = self.sorted;
        self.summary.names = self.nodes.iter().flatten().count();
        self.summary.records = sorted.kept();
        let names = sorted.records.names.ids().zip(&self.nodes);
        let found = names.filter_map(|(id, node)| Some((sorted.records.names.hash(id), (*node)?)));
        let apex = sorted.records.names.name(sorted.apex);
        let apex_node = self.nodes[sorted.apex.index()].expect("the apex is served");
        Ok(Zone::new(
            apex,
            self.builder.finish(self.summary.names, found),
            apex_node,
            negative,
            self.summary,
        ))
    }

    fn node(&mut self, id: NameId) -> Result<(), Full> {
        let sorted = self.sorted;
        let cut = sorted.is_cut(id);
        let mut flags = if cut { store::CUT } else { 0 };
        for set in sorted.sets(id) {
            self.summary.record_sets += 1;
            // A cut keeps what the parent side answers: NS for referrals, DS,
            // and what proves them.
            let parental = [RrType::NS, RrType::DS, RrType::RRSIG, RrType::NSEC];
            if cut && !parental.contains(&set.rtype) {
                continue;
            }
            flags |= match set.rtype {
                RrType::CNAME => store::ALIAS,
                RrType::DNAME => store::DNAME,
                _ => 0,
            };
            self.compose(id, set, set.ttl);
            self.builder.set(&self.composer.finish());
        }
        self.nodes[id.index()] = Some(self.end(id, flags)?);
        Ok(())
    }

    fn end(&mut self, id: NameId, flags: u8) -> Result<NodeRef, Full> {
        let name = self.sorted.records.names.wire(id);
        self.builder.end(name, flags).ok_or(Full)
    }

    /// The SOA for negative answers, its TTL no longer than its MINIMUM
    /// (RFC 2308 §3), at a node that no name finds.
    fn negative(&mut self) -> Result<NodeRef, Full> {
        let sorted = self.sorted;
        let soa = sorted
            .set(sorted.apex, RrType::SOA)
            .expect("the apex was found by its SOA");
        let record = sorted.records(soa).next().expect("a set has a record");
        let minimum = sorted
            .records
            .rdata(record)
            .last_chunk()
            .expect("a SOA ends in MINIMUM");
        self.compose(sorted.apex, soa, soa.ttl.min(u32::from_be_bytes(*minimum)));
        self.builder.set(&self.composer.finish());
        self.end(sorted.apex, 0)
    }

    fn link_wildcards(&mut self) {
        let names = &self.sorted.records.names;
        for id in names.ids() {
            if names.wire(id).starts_with(b"\x01*")
                && let Some(node) = self.nodes[id.index()]
                && let Some(parent) = self.sorted.parent(id)
                && let Some(above) = self.nodes[parent.index()]
            {
                self.builder.link_wildcard(above, node);
            }
        }
    }

    fn compose(&mut self, owner: NameId, set: &SortedSet, ttl: u32) {
        let sorted = self.sorted;
        self.composer
            .begin(sorted.records.names.wire(owner), set.rtype, ttl);
        for record in sorted.records(set) {
            let fits = self.composer.record(sorted.records.rdata(record));
            debug_assert!(fits, "`check` has found those that do not");
        }
        let pointing = [
            RrType::NS,
            RrType::MX,
            RrType::SRV,
            RrType::SVCB,
            RrType::HTTPS,
        ];
        if pointing.contains(&set.rtype) {
            self.additional(owner, set);
        }
    }

    /// Addresses of the hosts that the records point at: first those without
    /// which a referral leads nowhere (RFC 9471 §3.1), then the others.
    fn additional(&mut self, owner: NameId, set: &SortedSet) {
        let sorted = self.sorted;
        let cut = sorted
            .is_cut(owner)
            .then(|| sorted.records.names.name(owner));
        let mut targets: Vec<Name> = Vec::new();
        for record in sorted.records(set) {
            let target =
                check::target(&sorted.records, record).or_else(|| self.own_target(owner, record));
            targets.extend(target.filter(|target| !targets.contains(target)));
        }
        let in_domain = |target: &Name| cut.is_some_and(|cut| target.is_within(&cut));
        for required in [true, false] {
            for target in targets
                .iter()
                .filter(|target| in_domain(target) == required)
            {
                self.addresses(target, set.rtype, required);
            }
        }
    }

    /// `.` in a service binding that is no alias stands for its owner
    /// (RFC 9460 §2.5.2). At a wildcard the owner is whatever was asked for.
    fn own_target(&self, owner: NameId, record: &Record) -> Option<Name> {
        let names = &self.sorted.records.names;
        let binding = [RrType::SVCB, RrType::HTTPS].contains(&record.rtype);
        let data = self.sorted.records.rdata(record);
        let own = binding
            && data[..2] != [0, 0]
            && data[2] == 0
            && !names.wire(owner).starts_with(b"\x01*");
        own.then(|| names.name(owner))
    }

    fn addresses(&mut self, target: &Name, rtype: RrType, required: bool) {
        let sorted = self.sorted;
        let Some(id) = sorted.covering(&LookupName::of(target)) else {
            return;
        };
        // Glue helps to reach a name server and is nobody else's answer.
        let served = sorted.occlusion(id) == Occlusion::Served && !sorted.is_cut(id);
        if !served && rtype != RrType::NS {
            return;
        }
        for rtype in [RrType::A, RrType::AAAA] {
            let Some(set) = sorted.set(id, rtype) else {
                continue;
            };
            let records = sorted
                .records(set)
                .map(|record| sorted.records.rdata(record));
            let owner = target.as_wire();
            self.composer
                .additional(owner, rtype, set.ttl, records, required);
        }
    }
}
