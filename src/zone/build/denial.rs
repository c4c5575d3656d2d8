//! The chain with which a zone proves what does not exist: which it is, and what
//! belongs to it.

use super::super::denial::{Denial, HashedBuilder, Ordered, Parameters, owner_hash};
use super::super::names::NameId;
use super::super::sorted::Sorted;
use super::Assembler;
use crate::wire::{LookupName, RrType};

use data_encoding::BASE32_DNSSEC;

/// How names are hashed in the chain that the zone says is whole (RFC 5155 §4, §7.3):
/// the first one that its apex is in. Flags that are set say that it is not.
pub fn parameters(sorted: &Sorted) -> Option<Parameters> {
    let set = sorted.set(sorted.apex, RrType::NSEC3PARAM)?;
    let chains = sorted.records(set).filter_map(|record| {
        let (parameters, flags) = Parameters::read(sorted.records.rdata(record))?;
        (flags == 0).then_some(parameters)
    });
    let mut chains = chains.collect::<Vec<_>>().into_iter();
    chains.find(|parameters| has_apex(sorted, parameters))
}

fn has_apex(sorted: &Sorted, parameters: &Parameters) -> bool {
    let names = &sorted.records.names;
    let apex = names.wire(sorted.apex);
    let label = BASE32_DNSSEC.encode(&parameters.hash(apex));
    let owner = [&[label.len() as u8], label.as_bytes(), apex].concat();
    let mut name = LookupName::new();
    let id = name.set(&owner).and_then(|()| names.find(&name, 0));
    id.is_some_and(|id| is_in(sorted, id, parameters))
}

/// True for an owner of NSEC3 in the chain of these parameters.
fn is_in(sorted: &Sorted, id: NameId, parameters: &Parameters) -> bool {
    let records = sorted.set(id, RrType::NSEC3).map(|set| sorted.records(set));
    let mut data = records
        .into_iter()
        .flatten()
        .map(|record| sorted.records.rdata(record));
    data.any(|data| Parameters::read(data).is_some_and(|(own, _)| own == *parameters))
}

impl Assembler<'_> {
    /// The zone's chain; names know their NSEC3 record from then on. Records of other
    /// chains are the zone's, but prove nothing.
    pub(super) fn denial(&mut self) -> Denial {
        let nsec3 = std::mem::take(&mut self.nsec3);
        let Some(parameters) = self.parameters.take() else {
            self.beside.extend(nsec3.iter().map(|(_, node)| *node));
            return self.nsec();
        };
        let names = &self.sorted.records.names;
        let mut records = Vec::with_capacity(nsec3.len());
        for (id, node) in nsec3 {
            match owner_hash(names.wire(id)) {
                Some(hash) if is_in(self.sorted, id, &parameters) => records.push((hash, node)),
                _ => self.beside.push(node),
            }
        }
        let chain = HashedBuilder::new(records);
        for id in names.ids() {
            if let Some(node) = self.nodes[id.index()]
                && let Some(nsec3) = chain.find(&parameters.hash(names.wire(id)))
            {
                self.builder.link_nsec3(node, nsec3);
            }
        }
        Denial::Nsec3(chain.finish(parameters))
    }

    fn nsec(&self) -> Denial {
        let names = &self.sorted.records.names;
        let owns_nsec = |id: &NameId| self.sorted.set(*id, RrType::NSEC).is_some();
        // Without the apex there is no telling what the chain proves.
        if self.sorted.set(self.sorted.apex, RrType::NSEC).is_none() {
            return Denial::None;
        }
        let served = names.ids().filter(owns_nsec);
        let nodes = served.filter_map(|id| Some((names.wire(id), self.nodes[id.index()]?)));
        let apex = names.wire(self.sorted.apex).len();
        Denial::Nsec(Ordered::new(nodes.collect(), apex))
    }
}
