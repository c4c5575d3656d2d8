//! The NSEC3 chain among sorted records: which it is, what belongs to it, and which
//! record each name has. Found once, for `check` to look it over and for `build` to
//! lay it down.

use data_encoding::BASE32_DNSSEC;

use super::denial::{HASH, Hashed, HashedBuilder, Parameters, owner_hash};
use super::memory;
use super::names::NameId;
use super::pieces::{ids, in_turn};
use super::records::Record;
use super::sorted::{Occlusion, Sorted};
use super::store::NodeRef;
use crate::wire::rdata::dnssec::Nsec3;
use crate::wire::{LookupName, RrType};

/// The most iterations of NSEC3 that are served: what resolvers agree to take, and
/// what a proof may cost.
pub const MAX_ITERATIONS: u16 = 100;

/// True for parameters whose chain may be answered with.
pub fn is_fit(parameters: &Parameters) -> bool {
    parameters.iterations <= MAX_ITERATIONS
}

/// The chain that a zone proves with.
pub struct HashedChain {
    /// How its names are hashed.
    pub parameters: Parameters,
    /// Its records, by hash.
    pub records: HashedBuilder<Link>,
    /// Where each record leads, in the order of their owners.
    nexts: Vec<[u8; HASH]>,
    /// By name: the place of its record, or `NONE`.
    own: Vec<u32>,
}

/// A record of the chain.
#[derive(Clone, Copy)]
pub struct Link {
    /// Its owner.
    pub owner: NameId,
    /// Its place in the order of owners.
    at: u32,
    /// Its place among the sorted records.
    record: u32,
}

const NONE: u32 = u32::MAX;

impl HashedChain {
    /// The chain of which the zone says that it is whole (RFC 5155 §4, §7.3): the first
    /// that its apex is in. One with more iterations than are served is not looked at.
    pub fn of(sorted: &Sorted) -> Option<HashedChain> {
        let mut fit = listed(sorted).filter(|(_, parameters)| is_fit(parameters));
        let (_, parameters) = fit.find(|(_, parameters)| has_apex(sorted, parameters))?;
        Some(HashedChain::with(sorted, parameters))
    }

    /// What there is of the chain with these parameters.
    pub fn with(sorted: &Sorted, parameters: Parameters) -> HashedChain {
        let names = sorted.records.names.len();
        let (mut records, mut nexts) = (Vec::new(), Vec::new());
        let links = |piece| {
            let links = ids(piece).filter_map(|id| link(sorted, id, &parameters));
            links.collect::<Vec<_>>()
        };
        in_turn(names, links, |links| {
            for (hash, next, owner, record) in links {
                let at = nexts.len() as u32;
                nexts.push(next);
                records.push((hash, Link { owner, at, record }));
            }
        });
        let records = HashedBuilder::new(records);
        let mut own = Vec::new();
        memory::reserve(&mut own, names);
        let found = |piece| {
            let own = ids(piece).map(|id| place_of_own(sorted, id, &parameters, &records));
            own.collect::<Vec<_>>()
        };
        in_turn(names, found, |found| own.extend(found));
        HashedChain {
            parameters,
            records,
            nexts,
            own,
        }
    }

    /// The chain as answers are proved with it; `nodes` are those of its records, in
    /// their order.
    pub fn finish(self, nodes: Vec<NodeRef>) -> Hashed {
        self.records.finish(self.parameters, nodes)
    }

    /// The place of a name's own record.
    pub fn own(&self, id: NameId) -> Option<usize> {
        let at = self.own[id.index()];
        (at != NONE).then_some(at as usize)
    }

    /// The place of the record that covers the hash of a name which has none.
    pub fn covering(&self, name: &[u8]) -> Option<usize> {
        self.records.find(&self.parameters.hash(name)).err()?
    }

    /// The hash of a record.
    pub fn hash(&self, at: usize) -> &[u8; HASH] {
        &self.records.records()[at].0
    }

    /// The hash that a record leads to.
    pub fn next(&self, at: usize) -> &[u8; HASH] {
        &self.nexts[self.records.records()[at].1.at as usize]
    }

    /// The record, and its data.
    pub fn record<'s>(&self, sorted: &'s Sorted, at: usize) -> Option<(&'s Record, Nsec3<'s>)> {
        let record = sorted.record(self.records.records()[at].1.record);
        Some((record, Nsec3::read(sorted.records.rdata(record))?))
    }
}

/// The records that say of a chain that it is whole, each with its parameters. One
/// that has flags does not (RFC 5155 §4.1.2).
pub fn listed(sorted: &Sorted) -> impl Iterator<Item = (&Record, Parameters)> {
    let set = sorted.set(sorted.apex, RrType::NSEC3PARAM);
    let records = set.into_iter().flat_map(|set| sorted.records(set));
    records.filter_map(|record| {
        let (parameters, flags) = Parameters::read(sorted.records.rdata(record))?;
        (flags == 0).then_some((record, parameters))
    })
}

/// The first label of the owner of an NSEC3 record.
pub fn label(hash: &[u8; HASH]) -> String {
    BASE32_DNSSEC.encode(hash)
}

fn has_apex(sorted: &Sorted, parameters: &Parameters) -> bool {
    let names = &sorted.records.names;
    let apex = names.wire(sorted.apex);
    let label = label(&parameters.hash(apex));
    let owner = [&[label.len() as u8], label.as_bytes(), apex].concat();
    let mut name = LookupName::new();
    let id = name.set(&owner).and_then(|()| names.find(&name, 0));
    id.is_some_and(|id| place_of(sorted, id, parameters).is_some())
}

/// The hash that a name is, the one that its record in the chain of these parameters
/// leads to, and the place of that record; `None` where it has no such record.
fn link(
    sorted: &Sorted,
    id: NameId,
    parameters: &Parameters,
) -> Option<([u8; HASH], [u8; HASH], NameId, u32)> {
    let record = place_of(sorted, id, parameters)?;
    let hash = owner_hash(sorted.records.names.wire(id))?;
    let data = Nsec3::read(sorted.records.rdata(sorted.record(record)));
    let next = data.and_then(|data| data.next.try_into().ok());
    // Data of another length does not get through the reader.
    Some((hash, next.unwrap_or([0; HASH]), id, record))
}

/// The place of a name's own record in the chain, or `NONE`.
fn place_of_own(
    sorted: &Sorted,
    id: NameId,
    parameters: &Parameters,
    chain: &HashedBuilder<Link>,
) -> u32 {
    let is_name = sorted.occlusion(id) == Occlusion::Served && !sorted.is_hashed(id);
    let hash = is_name.then(|| parameters.hash(sorted.records.names.wire(id)));
    let found = hash.and_then(|hash| chain.find(&hash).ok());
    found.map_or(NONE, |at| at as u32)
}

/// The place of an owner's NSEC3 record in the chain of these parameters.
fn place_of(sorted: &Sorted, id: NameId, parameters: &Parameters) -> Option<u32> {
    let set = sorted.set(id, RrType::NSEC3)?;
    let is_of = |record: &Record| parameters.are_of(sorted.records.rdata(record));
    let at = sorted.records(set).position(is_of)?;
    Some(set.first() + at as u32)
}
