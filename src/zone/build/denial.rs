//! The chain with which a zone proves what does not exist, laid down.

use super::super::denial::{Denial, Ordered};
use super::super::hashes::HashedChain;
use super::super::memory;
use super::super::names::NameId;
use super::super::store::NodeRef;
use super::Assembler;
use crate::wire::RrType;

impl Assembler<'_> {
    /// The zone's chain; names know their NSEC3 record from then on. Records of other
    /// chains are the zone's, but prove nothing.
    pub(super) fn denial(&mut self, chain: Option<HashedChain>) -> Denial {
        let nsec3 = std::mem::take(&mut self.nsec3);
        let Some(chain) = chain else {
            self.beside.extend(nsec3.iter().map(|(_, node)| *node));
            return self.nsec();
        };
        let names = &self.sorted.records.names;
        let mut nodes: Vec<Option<NodeRef>> = memory::filled(None, names.len());
        nsec3
            .iter()
            .for_each(|&(id, node)| nodes[id.index()] = Some(node));
        let mut take = |id: NameId| nodes[id.index()].take().expect("its set was laid down");
        let of_chain = chain.records.records().iter();
        let of_chain: Vec<NodeRef> = of_chain.map(|(_, link)| take(link.owner)).collect();
        self.beside.extend(nodes.into_iter().flatten());
        for id in names.ids() {
            if let Some(node) = self.nodes[id.index()]
                && let Some(at) = chain.own(id)
            {
                self.builder.link_nsec3(node, of_chain[at]);
            }
        }
        Denial::Nsec3(chain.finish(of_chain))
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
        let apex = names.wire(self.sorted.apex);
        Denial::Nsec(Ordered::new(nodes.collect(), apex))
    }
}
