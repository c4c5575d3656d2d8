//! Records sorted out: which name owns which record sets, what stands above
//! it, and whether a zone cut or a DNAME takes it out of the zone's own data.
//! `check` looks them over for faults, `build` composes the answers from them.

use std::ops::Range;

use super::memory;
use super::names::NameId;
use super::records::{Record, Records};
use crate::wire::{LookupName, RrType, rdata};

/// One record set: its records are `order[range]`. Signatures of one type are
/// a set, whatever else is signed at the name (RFC 4035 §2.2).
#[derive(Clone, Debug)]
pub struct SortedSet {
    /// The type.
    pub rtype: RrType,
    /// What signatures sign; 0 for any other set.
    pub covered: RrType,
    /// The lowest TTL of its records (RFC 2181 §5.2).
    pub ttl: u32,
    range: Range<u32>,
}

impl SortedSet {
    /// The place of its first record; the others follow.
    pub fn first(&self) -> u32 {
        self.range.start
    }
}

/// What, if anything, keeps the data at a name from being answered with
/// (RFC 5936 §3.5 calls such data occluded).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occlusion {
    /// Not at or below the apex: no data of this zone.
    Outside,
    /// Nothing does.
    Served,
    /// Below this zone cut: glue at most.
    BelowCut(NameId),
    /// Below this owner of a DNAME: may not be (RFC 6672 §2.4).
    BelowDname(NameId),
}

/// The records of one zone by name.
pub struct Sorted {
    /// What was read; its names now hold every empty non-terminal as well.
    pub records: Records,
    /// The zone's own name.
    pub apex: NameId,
    /// The name one label up; at the apex and outside of the zone the name
    /// itself.
    parents: Vec<NameId>,
    occlusions: Vec<Occlusion>,
    order: Vec<u32>,
    sets: Vec<SortedSet>,
    /// Name `i` owns `sets[first_set[i]..first_set[i + 1]]`.
    first_set: Vec<u32>,
    /// By name: whether it owns NSEC3 records and nothing else. Empty where none does.
    hashed: Vec<bool>,
}

impl Sorted {
    /// Sorts the records out. Duplicates are dropped here, with a warning.
    pub fn new(mut records: Records, apex: NameId) -> Sorted {
        let parents = add_ancestors(&mut records, apex);
        let mut sorted = Sorted {
            records,
            apex,
            parents,
            occlusions: Vec::new(),
            order: Vec::new(),
            sets: Vec::new(),
            first_set: Vec::new(),
            hashed: Vec::new(),
        };
        sorted.order_by_owner();
        sorted.group();
        sorted.occlude();
        sorted.find_hashed();
        sorted
    }

    /// The name one label up, `None` at the apex and outside of the zone.
    pub fn parent(&self, id: NameId) -> Option<NameId> {
        Some(self.parents[id.index()]).filter(|parent| *parent != id)
    }

    /// What keeps the data at a name from being answered with.
    pub fn occlusion(&self, id: NameId) -> Occlusion {
        self.occlusions[id.index()]
    }

    /// True for what owns NSEC3 records and nothing else: a hash, and no name
    /// that anybody can ask for (RFC 5155 §7.2.8).
    pub fn is_hashed(&self, id: NameId) -> bool {
        self.hashed.get(id.index()) == Some(&true)
    }

    /// The record sets of a name, by rising type; the signatures among them by
    /// rising type that they cover.
    pub fn sets(&self, id: NameId) -> &[SortedSet] {
        let (first, end) = (self.first_set[id.index()], self.first_set[id.index() + 1]);
        &self.sets[first as usize..end as usize]
    }

    /// The record set of one type, but for signatures.
    pub fn set(&self, id: NameId, rtype: RrType) -> Option<&SortedSet> {
        debug_assert!(
            rtype != RrType::RRSIG,
            "a name may have several sets of these"
        );
        self.find(id, (rtype, RrType(0)))
    }

    /// The signatures of the set of one type.
    pub fn signatures(&self, id: NameId, covered: RrType) -> Option<&SortedSet> {
        self.find(id, (RrType::RRSIG, covered))
    }

    fn find(&self, id: NameId, kind: (RrType, RrType)) -> Option<&SortedSet> {
        let sets = self.sets(id);
        let at = sets.binary_search_by_key(&kind, |set| (set.rtype, set.covered));
        at.ok().map(|at| &sets[at])
    }

    /// The records of a set, in the order of the text.
    pub fn records(&self, set: &SortedSet) -> impl ExactSizeIterator<Item = &Record> {
        let range = set.range.start as usize..set.range.end as usize;
        self.order[range]
            .iter()
            .map(|&at| &self.records.list[at as usize])
    }

    /// The record at a place.
    pub fn record(&self, place: u32) -> &Record {
        &self.records.list[self.order[place as usize] as usize]
    }

    /// How many records there are, dropped ones not counted.
    pub fn kept(&self) -> usize {
        self.order.len()
    }

    /// True where NS records below the apex delegate the name.
    pub fn is_cut(&self, id: NameId) -> bool {
        id != self.apex && self.set(id, RrType::NS).is_some()
    }

    /// The name that answers for `name` in this zone: itself, or the wildcard
    /// that covers it. `None` where neither exists, and outside of the zone.
    pub fn covering(&self, name: &LookupName) -> Option<NameId> {
        let names = &self.records.names;
        let own = names.find(name, 0).filter(|&id| !self.is_hashed(id));
        if let Some(id) = own {
            return (self.occlusion(id) != Occlusion::Outside).then_some(id);
        }
        let encloser = (1..=name.labels()).find_map(|label| names.find(name, label))?;
        let occlusion = self.occlusion(encloser);
        if occlusion != Occlusion::Served
            || self.is_cut(encloser)
            || self.set(encloser, RrType::DNAME).is_some()
        {
            return None;
        }
        let star = [b"\x01*", names.wire(encloser)].concat();
        let mut name = LookupName::new();
        name.set(&star)?;
        names.find(&name, 0)
    }

    /// A counting sort: names are numbered, and records keep their order.
    fn order_by_owner(&mut self) {
        let mut starts = memory::filled(0u32, self.records.names.len() + 1);
        for record in &self.records.list {
            starts[record.owner.index() + 1] += 1;
        }
        for name in 1..starts.len() {
            starts[name] += starts[name - 1];
        }
        self.order = memory::filled(0, self.records.list.len());
        for (at, record) in self.records.list.iter().enumerate() {
            let start = &mut starts[record.owner.index()];
            self.order[*start as usize] = at as u32;
            *start += 1;
        }
    }

    /// Makes record sets of the ordered records.
    fn group(&mut self) {
        memory::reserve(&mut self.sets, self.records.list.len());
        memory::reserve(&mut self.first_set, self.records.names.len() + 1);
        let mut kept = 0;
        let mut next = 0;
        for id in self.records.names.ids() {
            self.first_set.push(self.sets.len() as u32);
            let first = next;
            while next < self.order.len() && self.record_at(next).owner == id {
                next += 1;
            }
            let records = &self.records;
            self.order[first..next].sort_by_key(|&at| kind(records, &records.list[at as usize]));
            let mut at = first;
            while at < next {
                let kind = self.kind_at(at);
                let end = (at..next)
                    .find(|&end| self.kind_at(end) != kind)
                    .unwrap_or(next);
                kept = self.add_set(kind, at..end, kept);
                at = end;
            }
        }
        self.first_set.push(self.sets.len() as u32);
        self.order.truncate(kept);
    }

    /// Adds one set, its duplicates dropped and the rest moved down to `kept`;
    /// returns where the next set's records go.
    fn add_set(
        &mut self,
        (rtype, covered): (RrType, RrType),
        range: Range<usize>,
        kept: usize,
    ) -> usize {
        let ttl = range
            .clone()
            .map(|at| self.record_at(at).ttl)
            .min()
            .unwrap_or(0);
        let mut end = kept;
        if range.len() == 1 {
            self.order[end] = self.order[range.start];
            end += 1;
        } else {
            let repeated = self.repeated(rtype, range.clone());
            for (at, repeated) in range.zip(repeated) {
                if repeated {
                    // A saved transfer ends with the SOA that it began with.
                    if rtype != RrType::SOA {
                        let from = self.record_at(at).from;
                        let warning = format!(
                            "the same {rtype} record stands here already; this one is dropped"
                        );
                        self.records.faults.warning(from, warning);
                    }
                } else {
                    self.order[end] = self.order[at];
                    end += 1;
                }
            }
        }
        self.sets.push(SortedSet {
            rtype,
            covered,
            ttl,
            range: kept as u32..end as u32,
        });
        end
    }

    /// For each record of a set, whether an equal one stands before it; names
    /// within the data are compared without regard to case (RFC 2181 §5).
    fn repeated(&self, rtype: RrType, range: Range<usize>) -> Vec<bool> {
        let comparable = range.map(|at| {
            let mut octets = self.records.rdata(self.record_at(at)).to_vec();
            rdata::make_comparable(rtype, &mut octets);
            octets
        });
        let mut sorted: Vec<(Vec<u8>, usize)> = comparable.zip(0..).collect();
        sorted.sort();
        let mut repeated = vec![false; sorted.len()];
        for pair in sorted.windows(2) {
            repeated[pair[1].1] = pair[0].0 == pair[1].0;
        }
        repeated
    }

    fn kind_at(&self, order: usize) -> (RrType, RrType) {
        kind(&self.records, self.record_at(order))
    }

    fn record_at(&self, order: usize) -> &Record {
        &self.records.list[self.order[order] as usize]
    }

    /// Finds each name's occlusion from its parent's; parents come first.
    fn occlude(&mut self) {
        // Outside is also what is not decided yet; from inside, the climb ends
        // at the apex at the latest.
        self.occlusions = memory::filled(Occlusion::Outside, self.records.names.len());
        self.occlusions[self.apex.index()] = Occlusion::Served;
        let mut climb = Vec::new();
        for id in self.records.names.ids() {
            let mut at = id;
            while self.occlusion(at) == Occlusion::Outside
                && let Some(parent) = self.parent(at)
            {
                climb.push(at);
                at = parent;
            }
            while let Some(at) = climb.pop() {
                let parent = self.parents[at.index()];
                self.occlusions[at.index()] = match self.occlusion(parent) {
                    Occlusion::Served => self.below(parent),
                    above => above,
                };
            }
        }
    }

    /// Finds the owners of NSEC3 records that own nothing else, and that no other
    /// name is below of.
    fn find_hashed(&mut self) {
        let is_denial = |set: &SortedSet| [set.rtype, set.covered].contains(&RrType::NSEC3);
        for id in self.records.names.ids() {
            let sets = self.sets(id);
            if self.set(id, RrType::NSEC3).is_some() && sets.iter().all(is_denial) {
                self.hashed.resize(self.records.names.len(), false);
                self.hashed[id.index()] = true;
            }
        }
        if !self.hashed.is_empty() {
            for id in self.records.names.ids() {
                if let Some(parent) = self.parent(id) {
                    self.hashed[parent.index()] = false;
                }
            }
        }
    }

    /// The occlusion of names right below a name that is served.
    fn below(&self, parent: NameId) -> Occlusion {
        if self.is_cut(parent) {
            Occlusion::BelowCut(parent)
        } else if self.set(parent, RrType::DNAME).is_some() {
            Occlusion::BelowDname(parent)
        } else {
            Occlusion::Served
        }
    }
}

/// What makes records of one name a set: their type, and of signatures the type
/// that they cover, with which their data begins (RFC 4034 §3.1).
fn kind(records: &Records, record: &Record) -> (RrType, RrType) {
    let covered = match (record.rtype, records.rdata(record)) {
        (RrType::RRSIG, [upper, lower, ..]) => u16::from_be_bytes([*upper, *lower]),
        _ => 0,
    };
    (record.rtype, RrType(covered))
}

/// Adds the names between each name and the apex, so that every parent has a
/// number, and returns the parents.
fn add_ancestors(records: &mut Records, apex: NameId) -> Vec<NameId> {
    let names = &mut records.names;
    let apex_wire = names.wire(apex).to_vec();
    let apex_labels = LookupName::of(&names.name(apex)).labels();
    let mut name = LookupName::new();
    let mut parents = Vec::new();
    memory::reserve(&mut parents, names.len());
    // The loop meets the names that it adds itself.
    while parents.len() < names.len() {
        let id = NameId(parents.len() as u32);
        let wire = names.wire(id);
        if wire.get(1 + usize::from(wire[0])..) == Some(&apex_wire) {
            // Most names are right below the apex.
            parents.push(apex);
            continue;
        }
        let valid = name.set(names.wire(id));
        debug_assert!(valid.is_some(), "only names are added");
        let above = name.labels().checked_sub(apex_labels);
        let inside = above.filter(|&above| above > 0 && name.suffix(above) == apex_wire);
        parents.push(inside.map_or(id, |_| names.add(&name, 1)));
    }
    parents
}
