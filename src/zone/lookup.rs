//! Finding: a name and a type -> what the zone says to them (RFC 1034
//! §4.3.2 step 3, with RFC 4592 for wildcards and RFC 6672 for DNAME). One
//! probe finds a name that exists; only a miss looks for the closest encloser.

use super::memory;
use super::store::{self, Node, NodeRef, Set, Store};
use crate::wire::{LookupName, Name, RrType};

/// A zone, immutable.
pub struct Zone {
    apex: Name,
    name: LookupName,
    store: Store,
    apex_node: NodeRef,
    negative: NodeRef,
    summary: Summary,
}

/// How much a zone holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Names that can be asked for, empty non-terminals among them.
    pub names: usize,
    /// Record sets at these names.
    pub record_sets: usize,
    /// Records, glue among them; duplicates are not counted.
    pub records: usize,
    /// Octets of memory in the store.
    pub octets: usize,
}

/// What a zone says to a name and a type.
#[derive(Clone, Copy, Debug)]
pub enum Found<'z> {
    /// The record set that was asked for.
    Answer(Set<'z>),
    /// The CNAME set of the name.
    Alias(Set<'z>),
    /// The DNAME set of a name above.
    Redirect(Set<'z>),
    /// The NS set of the zone cut at or above the name.
    Referral(Set<'z>),
    /// The name exists, without such a set.
    NoData,
    /// The name does not exist.
    NoName,
}

impl Zone {
    /// A zone of what was laid down; `negative` is the node with the SOA for
    /// negative answers.
    pub(super) fn new(
        apex: Name,
        store: Store,
        apex_node: NodeRef,
        negative: NodeRef,
        mut summary: Summary,
    ) -> Zone {
        summary.octets = store.octets();
        store.memory().into_iter().for_each(memory::settle);
        Zone {
            apex,
            name: LookupName::of(&apex),
            store,
            apex_node,
            negative,
            summary,
        }
    }

    /// The zone's own name.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// The apex, ready for finding.
    pub fn lookup_name(&self) -> &LookupName {
        &self.name
    }

    /// How much it holds.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// True for names at or below the apex.
    pub fn holds(&self, name: &LookupName) -> bool {
        let above = name.labels().checked_sub(self.name.labels());
        above.is_some_and(|label| name.suffix(label) == self.name.suffix(0))
    }

    /// True where the name is itself a zone cut of this zone.
    pub fn delegates(&self, name: &LookupName) -> bool {
        let node = self.store.find(name, 0);
        node.is_some_and(|node| node.flags() & store::CUT != 0)
    }

    /// The SOA set that goes with negative answers.
    pub fn negative(&self) -> Set<'_> {
        let set = self.store.node(self.negative).first_set();
        set.expect("the node for negative answers has the SOA")
    }

    /// What the zone says to the name, which it must hold, and the type;
    /// `RrType::ANY` is answered with one set (RFC 8482 §4.1).
    pub fn find(&self, name: &LookupName, rtype: RrType) -> Found<'_> {
        self.find_from(self.store.find(name, 0), name, rtype)
    }

    /// The same in two halves: the set that was asked for, where the name has
    /// it, or else what the second half begins with. Callers that answer with
    /// the set at once spare themselves telling all the others apart.
    #[inline(always)]
    pub fn find_set(&self, name: &LookupName, rtype: RrType) -> Result<Set<'_>, Option<Node<'_>>> {
        let node = self.store.find(name, 0).ok_or(None)?;
        // Only DS is the parent's business at a cut.
        if node.flags() & store::CUT != 0 {
            return Err(Some(node));
        }
        node.set(rtype).ok_or(Some(node))
    }

    /// The second half, from what the first one left.
    pub fn find_from<'z>(
        &'z self,
        node: Option<Node<'z>>,
        name: &LookupName,
        rtype: RrType,
    ) -> Found<'z> {
        match node {
            Some(node) => at_node(node, rtype),
            None => self.find_above(name, rtype),
        }
    }

    /// The slot at which the search for the name begins. Reading it early, for
    /// many names in a row, lets the cache fetch them together.
    #[inline]
    pub fn first_slot(&self, name: &LookupName) -> u64 {
        self.store.first_slot(name)
    }

    /// Reads the node behind a slot, for the same purpose.
    #[inline]
    pub fn fetch(&self, slot: u64) -> u8 {
        self.store.fetch(slot)
    }

    /// All names with what they own, in no particular order.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.store.nodes()
    }

    /// The name is not in the zone: what does its closest encloser say?
    fn find_above(&self, name: &LookupName, rtype: RrType) -> Found<'_> {
        let encloser = self.closest_encloser(name);
        if encloser.flags() & store::CUT != 0 {
            return referral(encloser);
        }
        if encloser.flags() & store::DNAME != 0
            && let Some(set) = encloser.set(RrType::DNAME)
        {
            return Found::Redirect(set);
        }
        // Only the closest encloser's asterisk is the source of synthesis
        // (RFC 4592 §3.3.1).
        match encloser.wildcard() {
            Some(wildcard) => at_node(self.store.node(wildcard), rtype),
            None => Found::NoName,
        }
    }

    /// The longest suffix of the name that exists (RFC 4592 §3.3.1). All names
    /// between a name and the apex exist with it, so the place where existence
    /// ends is found by halving: 7 probes for 127 labels, none for the usual one.
    fn closest_encloser(&self, name: &LookupName) -> Node<'_> {
        let apex_label = name.labels() - self.name.labels();
        let mut found = self.store.node(self.apex_node);
        // Suffixes from `there` on exist, those up to `missing` do not.
        let (mut missing, mut there) = (0, apex_label);
        while there - missing > 1 {
            let middle = (missing + there) / 2;
            match self.store.find(name, middle) {
                Some(node) => (found, there) = (node, middle),
                None => missing = middle,
            }
        }
        found
    }
}

/// What a name that exists says to a type.
#[inline]
fn at_node(node: Node<'_>, rtype: RrType) -> Found<'_> {
    // Types below the cut are the child's; DS is the parent's (RFC 4035 §3.1.4.1).
    if node.flags() & store::CUT != 0 && rtype != RrType::DS {
        return referral(node);
    }
    let set = if rtype == RrType::ANY {
        node.first_set()
    } else {
        node.set(rtype)
    };
    match set {
        Some(set) => Found::Answer(set),
        None if node.flags() & store::ALIAS != 0 && rtype != RrType::ANY => alias(node),
        None => Found::NoData,
    }
}

fn referral(node: Node<'_>) -> Found<'_> {
    node.set(RrType::NS).map_or(Found::NoData, Found::Referral)
}

fn alias(node: Node<'_>) -> Found<'_> {
    node.set(RrType::CNAME).map_or(Found::NoData, Found::Alias)
}
