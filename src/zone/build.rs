//! Records -> a zone that can be served: sorted (`sorted`), checked
//! (`check`), every answer composed once (`compose`), all of it laid down in
//! the store.

mod denial;

use std::sync::Mutex;

use super::check::{self, Scrutiny};
use super::compose::{Composer, SURE_TO_FIT};
use super::hashes::HashedChain;
use super::lookup::{Zone, ZoneSummary};
use super::memory;
use super::names::{NameId, OCTETS_PER_NAME};
use super::pieces::{self, Piece};
use super::records::{Faults, Provenance, Record, Records};
use super::sorted::{Occlusion, Sorted, SortedSet};
use super::store::{self, Builder, NODE, NodeRef, RECORD_HEAD, SET};
use super::verify::{Verified, verify};
use crate::wire::{LookupName, Name, RrType};

/// What became of records.
pub struct Built {
    /// The zone; `None` where an error makes it unfit to be served.
    pub zone: Option<Zone>,
    /// What is wrong with it.
    pub faults: Faults,
    /// What came of its signatures, where they were to be verified.
    pub verified: Option<Verified>,
}

impl Built {
    fn failed(faults: Faults, verified: Option<Verified>) -> Built {
        Built {
            zone: None,
            faults,
            verified,
        }
    }
}

/// Builds a zone from records, `origin` if that is given, and tells what is
/// wrong with it.
pub fn build(mut records: Records, origin: Option<Name>, scrutiny: Scrutiny) -> Built {
    let Some(apex) = apex(&records, origin).or_else(|| without_soa(&mut records, origin)) else {
        return Built::failed(records.faults, None);
    };
    let mut sorted = Sorted::new(records, apex);
    let chain = HashedChain::of(&sorted);
    check::check(&mut sorted, chain.as_ref(), scrutiny);
    let verified = (scrutiny.verifiers > 0).then(|| verify(&mut sorted, scrutiny));
    if sorted.records.faults.errors() > 0 {
        return Built::failed(sorted.records.faults, verified);
    }
    let builder = Builder::new(room(&sorted));
    let zone = Assembler::new(&sorted, chain.is_some(), builder).assemble(chain);
    let mut faults = sorted.records.faults;
    match zone {
        Ok(zone) => Built {
            zone: Some(zone),
            faults,
            verified,
        },
        Err(Full) => {
            let sentence = "the zone takes more than 16 GiB of memory; split it";
            faults.error(Provenance::START, sentence);
            Built::failed(faults, verified)
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
    /// Nodes of the names, in their order, where they have one.
    nodes: Vec<Option<NodeRef>>,
    /// Nodes that no name finds.
    beside: Vec<NodeRef>,
    /// Nodes with NSEC3 records, and whose they are.
    nsec3: Vec<(NameId, NodeRef)>,
    /// Whether the zone has a chain of NSEC3.
    is_hashed: bool,
    /// What no message has room for.
    oversized: Vec<Oversized<'d>>,
    summary: ZoneSummary,
}

/// Where the sets of a name lie.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Where the name is found.
    Found,
    /// Beside it: glue, and what else a cut occludes.
    Beside,
    /// With the proofs of what does not exist.
    Denial,
}

/// Records of one type and TTL that are too many for a message.
struct Oversized<'d> {
    owner: NameId,
    rtype: RrType,
    ttl: u32,
    records: Vec<&'d [u8]>,
}

/// The zone has outgrown its store.
struct Full;

impl<'d> Assembler<'d> {
    /// Nothing yet of the zone, or of some of its names, laid down by a builder.
    fn new(sorted: &'d Sorted, is_hashed: bool, builder: Builder) -> Self {
        Assembler {
            sorted,
            builder,
            composer: Composer::new(),
            nodes: Vec::new(),
            beside: Vec::new(),
            nsec3: Vec::new(),
            is_hashed,
            oversized: Vec::new(),
            summary: ZoneSummary::default(),
        }
    }

    fn assemble(mut self, chain: Option<HashedChain>) -> Result<Zone, Full> {
        let sorted = self.sorted;
        let names = sorted.records.names.len();
        memory::reserve(&mut self.nodes, names);
        match pieces::are_many(names) {
            true => self.pieces(names)?,
            false => self.names(0..names)?,
        }
        self.lay_oversized()?;
        self.link_wildcards();
        let negative = self.negative()?;
        let denial = self.denial(chain);
        self.summary.names = self.nodes.iter().flatten().count();
        self.summary.records = sorted.kept();
        let names = sorted.records.names.ids().zip(&self.nodes);
        let found = names.filter_map(|(id, node)| Some((sorted.records.names.hash(id), (*node)?)));
        let apex = sorted.records.names.name(sorted.apex);
        let apex_node = self.nodes[sorted.apex.index()].expect("the apex is served");
        let store = self.builder.finish(self.summary.names, found, self.beside);
        Ok(Zone::new(
            apex,
            store,
            denial,
            apex_node,
            negative,
            self.summary,
        ))
    }

    /// Lays down the names of a piece.
    fn names(&mut self, piece: Piece) -> Result<(), Full> {
        let sorted = self.sorted;
        for id in pieces::ids(piece) {
            let served = sorted.occlusion(id) == Occlusion::Served;
            let node = match served && !sorted.is_hashed(id) {
                true => Some(self.node(id)?),
                false => None,
            };
            self.nodes.push(node);
            if !served || sorted.is_cut(id) {
                self.node_apart(id, Place::Beside)?;
            }
            if sorted.sets(id).iter().any(|set| set.rtype == RrType::NSEC3) {
                self.node_apart(id, Place::Denial)?;
            }
        }
        Ok(())
    }

    /// Lays down all names, on several threads.
    fn pieces(&mut self, names: usize) -> Result<(), Full> {
        let (sorted, is_hashed) = (self.sorted, self.is_hashed);
        // The memory of those that were taken: what the kernel takes back and gives
        // again costs more than what is laid there.
        let spare = Mutex::new(Vec::new());
        let lay = |piece| {
            let builder = spare.lock().ok().and_then(|mut spare| spare.pop());
            let builder = builder.unwrap_or_else(|| Builder::new(0));
            let mut part = Assembler::new(sorted, is_hashed, builder);
            part.names(piece).map(|()| part)
        };
        let mut laid = Ok(());
        pieces::in_turn(names, lay, |part| {
            if laid.is_ok() {
                laid = part.and_then(|part| self.append(part)).map(|builder| {
                    if let Ok(mut spare) = spare.lock() {
                        spare.push(builder);
                    }
                });
            }
        });
        laid
    }

    /// Goes on behind the names of a piece, and gives its builder back.
    fn append(&mut self, mut part: Assembler<'d>) -> Result<Builder, Full> {
        let shift = self.builder.append(&part.builder).ok_or(Full)?;
        let nodes = part.nodes.into_iter();
        self.nodes.extend(nodes.map(|node| Some(shift.of(node?))));
        self.beside
            .extend(part.beside.into_iter().map(|node| shift.of(node)));
        let nsec3 = part.nsec3.into_iter();
        self.nsec3
            .extend(nsec3.map(|(id, node)| (id, shift.of(node))));
        self.oversized.extend(part.oversized);
        self.summary.record_sets += part.summary.record_sets;
        part.builder.clear();
        Ok(part.builder)
    }

    /// Lays down what is found at a name, which may be nothing.
    fn node(&mut self, id: NameId) -> Result<NodeRef, Full> {
        let mut flags = 0;
        if self.sorted.is_cut(id) {
            flags |= store::CUT;
        }
        if self.is_hashed {
            flags |= store::HASHED;
        }
        for set in self.sets(id, Place::Found) {
            flags |= match set.rtype {
                RrType::CNAME => store::ALIAS,
                RrType::DNAME => store::DNAME,
                _ => 0,
            };
        }
        self.summary.record_sets += self.sorted.sets(id).len();
        self.lay(id, Place::Found);
        self.end(id, flags)
    }

    /// Lays down what is not found at a name and belongs to the zone all the
    /// same, in a node of its own, where there is any.
    fn node_apart(&mut self, id: NameId, part: Place) -> Result<(), Full> {
        if self.sets(id, part).next().is_some() {
            self.lay(id, part);
            let node = self.end(id, 0)?;
            match part {
                Place::Denial => self.nsec3.push((id, node)),
                _ => self.beside.push(node),
            }
        }
        Ok(())
    }

    /// Composes the sets of one part of a name, and at last the signatures that
    /// stand behind none of them.
    fn lay(&mut self, id: NameId, part: Place) {
        let sorted = self.sorted;
        let mut stray = Vec::new();
        // All signatures of a name shall go into one answer for those who ask for
        // signatures.
        let mut room = SURE_TO_FIT;
        for set in self.sets(id, part) {
            if set.rtype != RrType::RRSIG {
                stray.extend(self.set(id, set, set.ttl));
                room = room.saturating_sub(self.composer.finish().signatures.len());
            } else if sorted.set(id, set.covered).is_none() {
                stray.push(set);
            }
        }
        if !stray.is_empty() {
            self.stray(id, stray, room);
        }
    }

    /// Composes signatures that stand behind no set: nobody is sent them but who
    /// asks for signatures, and of many as many as there is room for.
    fn stray(&mut self, id: NameId, sets: Vec<&'d SortedSet>, mut room: usize) {
        let sorted = self.sorted;
        self.composer
            .begin(sorted.records.names.wire(id), RrType::RRSIG);
        for set in sets {
            let (fitting, records) = split_to_fit(data(sorted, set).collect(), &mut room);
            for data in fitting {
                self.record(set.ttl, data);
            }
            self.oversized
                .extend((!records.is_empty()).then_some(Oversized {
                    owner: id,
                    rtype: RrType::RRSIG,
                    ttl: set.ttl,
                    records,
                }));
        }
        self.builder.stray_signatures(&self.composer.finish());
    }

    /// Composes a record for which there is room.
    fn record(&mut self, ttl: u32, data: &[u8]) {
        let fits = self.composer.record(ttl, data);
        debug_assert!(fits, "the octets of all were counted");
    }

    /// Lays sets that no message has room for down in parts that have, beside the
    /// names: nobody is answered with them, but the zone has them. A record that
    /// fits into no message by itself can never be given to anybody.
    fn lay_oversized(&mut self) -> Result<(), Full> {
        let names = &self.sorted.records.names;
        for Oversized {
            owner,
            rtype,
            ttl,
            mut records,
        } in std::mem::take(&mut self.oversized)
        {
            records.retain(|data| record_octets(data) <= SURE_TO_FIT);
            while !records.is_empty() {
                let part;
                (part, records) = split_to_fit(records, &mut SURE_TO_FIT.clone());
                self.composer.begin(names.wire(owner), rtype);
                for data in part {
                    self.record(ttl, data);
                }
                self.builder.set(&self.composer.finish());
            }
            let node = self.end(owner, 0)?;
            self.beside.push(node);
        }
        Ok(())
    }

    /// The sets of a name that are in this part of it.
    fn sets(&self, id: NameId, part: Place) -> impl Iterator<Item = &'d SortedSet> + use<'d> {
        let sorted = self.sorted;
        let (cut, hidden) = (sorted.is_cut(id), sorted.occlusion(id) != Occlusion::Served);
        let part_of = move |set: &SortedSet| {
            // Signatures are where the set is that they cover.
            let rtype = match set.rtype {
                RrType::RRSIG => set.covered,
                rtype => rtype,
            };
            // A cut keeps what the parent side answers: NS for referrals, DS,
            // and what proves them.
            let parental = [RrType::NS, RrType::DS, RrType::NSEC];
            match rtype {
                RrType::NSEC3 if sorted.set(id, rtype).is_some() => Place::Denial,
                _ if hidden || cut && !parental.contains(&rtype) => Place::Beside,
                _ => Place::Found,
            }
        };
        let sets = sorted.sets(id).iter();
        sets.filter(move |set| part_of(set) == part)
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
        let numbers = sorted.records.rdata(record).last_chunk::<20>();
        let numbers = numbers.expect("a SOA ends in five numbers").as_chunks().0;
        let number = |at: usize| u32::from_be_bytes(numbers[at]);
        self.summary.serial = number(0);
        let ttl = soa.ttl.min(number(4));
        // Signatures that do not fit behind it are told of at the SOA itself.
        let _ = self.set(sorted.apex, soa, ttl);
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

    /// Composes a set with its signatures and what goes with it, and lays it
    /// down. Returns signatures that have no room behind it.
    fn set(&mut self, owner: NameId, set: &'d SortedSet, ttl: u32) -> Option<&'d SortedSet> {
        let sorted = self.sorted;
        let signatures = sorted.signatures(owner, set.rtype);
        self.composer
            .begin(sorted.records.names.wire(owner), set.rtype);
        for data in data(sorted, set) {
            if !self.composer.record(ttl, data) {
                self.oversized.push(Oversized {
                    owner,
                    rtype: set.rtype,
                    ttl,
                    records: self::data(sorted, set).collect(),
                });
                self.builder.oversized_set(set.rtype);
                return signatures;
            }
        }
        // The SOA of negative answers lasts as long as its signature.
        let left_over = signatures.filter(|signatures| {
            let ttl = signatures.ttl.min(ttl);
            !self.composer.signatures(ttl, data(sorted, signatures))
        });
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
        self.builder.set(&self.composer.finish());
        left_over
    }

    /// What goes with the hosts that the records point at: first those without
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
                self.of_target(target, set.rtype, owner, required);
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

    /// The addresses of a host that records of this type point at; of a service
    /// binding's target its own bindings first (RFC 9460 §4.1).
    fn of_target(&mut self, target: &Name, rtype: RrType, owner: NameId, required: bool) {
        let sorted = self.sorted;
        let Some(id) = sorted.covering(&LookupName::of(target)) else {
            return;
        };
        // Glue helps to reach a name server and is nobody else's answer.
        let served = sorted.occlusion(id) == Occlusion::Served && !sorted.is_cut(id);
        if !served && rtype != RrType::NS {
            return;
        }
        let is_binding = [RrType::SVCB, RrType::HTTPS].contains(&rtype);
        let binding = (is_binding && id != owner).then_some(rtype);
        for rtype in binding.into_iter().chain([RrType::A, RrType::AAAA]) {
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

/// Octets that answers of a zone take, as far as they matter for making room
/// beforehand: as if each record were a set, and nothing came with it. What is not
/// filled costs nothing, and to grow is to copy all of it.
fn room(sorted: &Sorted) -> usize {
    let records = &sorted.records;
    let heads = records.list.len() * (RECORD_HEAD + SET);
    records.rdata.len() + heads + records.names.len() * (NODE + OCTETS_PER_NAME)
}

/// Octets of a record that is composed without compression.
fn record_octets(data: &[u8]) -> usize {
    RECORD_HEAD + data.len()
}

/// Parts records into those at the front that fit into `room`, which shrinks by
/// them, and the rest.
fn split_to_fit<'r>(
    mut records: Vec<&'r [u8]>,
    room: &mut usize,
) -> (Vec<&'r [u8]>, Vec<&'r [u8]>) {
    let fits = |data: &&&[u8]| match room.checked_sub(record_octets(data)) {
        Some(left) => {
            *room = left;
            true
        }
        None => false,
    };
    let count = records.iter().take_while(fits).count();
    let rest = records.split_off(count);
    (records, rest)
}

/// The data of a set's records.
fn data<'d>(sorted: &'d Sorted, set: &'d SortedSet) -> impl Iterator<Item = &'d [u8]> {
    let records = sorted.records(set);
    records.map(|record| sorted.records.rdata(record))
}
