//! Finding: a name and a type -> what the zone says to them (RFC 1034
//! §4.3.2 step 3, with RFC 4592 for wildcards and RFC 6672 for DNAME). One
//! probe finds a name that exists; only a miss looks for the closest encloser.

use super::denial::Denial;
use super::memory;
use super::store::{self, Node, NodeRef, Set, Store};
use crate::wire::{LookupName, Name, RrType};

/// A zone, immutable.
pub struct Zone {
    apex: Name,
    name: LookupName,
    pub(super) store: Store,
    pub(super) denial: Denial,
    apex_node: NodeRef,
    negative: NodeRef,
    summary: ZoneSummary,
}

/// How much a zone holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZoneSummary {
    /// The serial of the SOA record.
    pub serial: u32,
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
#[derive(Clone, Copy)]
pub enum Found<'z> {
    /// The search ends here.
    End(End<'z>),
    /// It goes on at another name.
    Alias(Alias<'z>),
}

/// How a search ends, and what was met on the way that proves it.
#[derive(Clone, Copy)]
pub enum End<'z> {
    /// The record set that was asked for, and where a wildcard's stands for the
    /// name's, what shows that the name itself does not exist.
    Answer(Set<'z>, Option<Encloser<'z>>),
    /// Signatures were asked for, whatever they cover: those at this node.
    Signatures(Node<'z>, Option<Encloser<'z>>),
    /// The node of the zone cut at or above the name, and its NS set.
    Referral(Node<'z>, Set<'z>),
    /// The name exists at this node, or stands for it by a wildcard, without
    /// such a set.
    NoData(Node<'z>, Option<Encloser<'z>>),
    /// The name does not exist.
    NoName(Encloser<'z>),
}

/// What leads on to another name.
#[derive(Clone, Copy)]
pub enum Alias<'z> {
    /// The CNAME set of the name, or of a wildcard that stands for it.
    Cname(Set<'z>, Option<Encloser<'z>>),
    /// The DNAME set of a name above.
    Dname(Set<'z>),
}

/// The closest encloser of a name that does not exist (RFC 4592 §3.3.1).
#[derive(Clone, Copy)]
pub struct Encloser<'z> {
    /// Its node.
    pub node: Node<'z>,
    /// The label of the name with which the next closer name begins (RFC 5155
    /// §1.3): the encloser's own first label is the next.
    pub next_closer: usize,
}

impl Zone {
    /// A zone of what was laid down; `negative` is the node with the SOA for
    /// negative answers.
    pub(super) fn new(
        apex: Name,
        store: Store,
        denial: Denial,
        apex_node: NodeRef,
        negative: NodeRef,
        mut summary: ZoneSummary,
    ) -> Zone {
        summary.octets = store.octets() + denial.octets();
        store.memory().into_iter().for_each(memory::settle);
        Zone {
            apex,
            name: LookupName::of(&apex),
            store,
            denial,
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

    /// True for names at or below the apex.
    pub fn holds(&self, name: &LookupName) -> bool {
        let above = name.labels().checked_sub(self.name.labels());
        above.is_some_and(|label| name.suffix(label) == self.name.suffix(0))
    }

    /// How much it holds.
    pub fn summary(&self) -> ZoneSummary {
        self.summary
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

    /// `find` in two halves: the set that was asked for, where the name has
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
            Some(node) => at_node(node, None, rtype),
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

    /// What belongs to the zone and is not found by its name: glue, what a cut
    /// occludes, NSEC3 records.
    pub fn hidden_nodes(&self) -> impl Iterator<Item = Node<'_>> {
        let beside = self.store.beside();
        beside.chain(self.denial.hidden_nodes(&self.store))
    }

    /// The name is not in the zone: what does its closest encloser say?
    fn find_above(&self, name: &LookupName, rtype: RrType) -> Found<'_> {
        let encloser = self.closest_encloser(name);
        let node = encloser.node;
        if node.flags() & store::CUT != 0
            && let Some(servers) = node.set(RrType::NS)
        {
            return Found::End(End::Referral(node, servers));
        }
        if node.flags() & store::DNAME != 0
            && let Some(set) = node.set(RrType::DNAME)
        {
            return Found::Alias(Alias::Dname(set));
        }
        // Only the closest encloser's asterisk is the source of synthesis
        // (RFC 4592 §3.3.1).
        match node.wildcard() {
            Some(wildcard) => at_node(self.store.node(wildcard), Some(encloser), rtype),
            None => Found::End(End::NoName(encloser)),
        }
    }

    /// The longest suffix of the name that exists (RFC 4592 §3.3.1). All names
    /// between a name and the apex exist with it, so the place where existence
    /// ends is found by halving: 7 probes for 127 labels, none for the usual one.
    fn closest_encloser(&self, name: &LookupName) -> Encloser<'_> {
        let apex_label = name.labels() - self.name.labels();
        let mut node = self.store.node(self.apex_node);
        // Suffixes from `there` on exist, those up to `missing` do not.
        let (mut missing, mut there) = (0, apex_label);
        while there - missing > 1 {
            let middle = (missing + there) / 2;
            match self.store.find(name, middle) {
                Some(found) => (node, there) = (found, middle),
                None => missing = middle,
            }
        }
        Encloser {
            node,
            next_closer: missing,
        }
    }
}

/// What a name that exists, or a wildcard that stands for it, says to a type.
#[inline]
fn at_node<'z>(node: Node<'z>, encloser: Option<Encloser<'z>>, rtype: RrType) -> Found<'z> {
    // Types below the cut are the child's; DS is the parent's (RFC 4035 §3.1.4.1).
    if node.flags() & store::CUT != 0
        && rtype != RrType::DS
        && let Some(servers) = node.set(RrType::NS)
    {
        return Found::End(End::Referral(node, servers));
    }
    let set = match rtype {
        RrType::ANY => node.first_set(),
        RrType::RRSIG if node.is_signed() => {
            return Found::End(End::Signatures(node, encloser));
        }
        _ => node.set(rtype),
    };
    match set {
        Some(set) => Found::End(End::Answer(set, encloser)),
        None if node.flags() & store::ALIAS != 0
            && !lives_beside_alias(rtype)
            && let Some(set) = node.set(RrType::CNAME) =>
        {
            Found::Alias(Alias::Cname(set, encloser))
        }
        None => Found::End(End::NoData(node, encloser)),
    }
}

/// Types that are asked for at an alias itself: any, and what signatures need beside
/// a CNAME (RFC 4035 §2.5). KEY, SIG and NXT may stand there too (RFC 2181 §10.1), but
/// one that does not is looked for where the alias leads.
fn lives_beside_alias(rtype: RrType) -> bool {
    matches!(rtype, RrType::ANY | RrType::NSEC | RrType::RRSIG)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::zone::text::Library;

    const ZONE: &str = "\
$ORIGIN example.
$TTL 60
@ SOA ns.test. h 1 2 3 4 5
@ NS ns.test.
a.b.c A 192.0.2.1
*.w A 192.0.2.1
alias.*.w TXT x
*.v CNAME a.b.c
d DNAME test.
cut NS ns.test.
";

    /// What a search meets: how it ends, the encloser and the next closer name.
    fn evidence(
        zone: &Zone,
        name: &str,
        rtype: RrType,
    ) -> (&'static str, Option<(Vec<u8>, usize)>) {
        let name = LookupName::of(&name.parse().unwrap());
        let (end, encloser) = match zone.find(&name, rtype) {
            Found::End(End::Answer(_, encloser)) => ("answer", encloser),
            Found::End(End::Signatures(_, encloser)) => ("signatures", encloser),
            Found::End(End::NoData(_, encloser)) => ("no data", encloser),
            Found::End(End::NoName(encloser)) => ("no name", Some(encloser)),
            Found::End(End::Referral(..)) => ("referral", None),
            Found::Alias(Alias::Cname(_, encloser)) => ("alias", encloser),
            Found::Alias(Alias::Dname(_)) => ("redirection", None),
        };
        let shown = encloser.map(|found| (found.node.name().to_vec(), found.next_closer));
        (end, shown)
    }

    #[test]
    fn a_search_keeps_what_proves_its_end() {
        let library = Library::Embedded(&[("zone", ZONE)]);
        let zone = crate::zone::load(library, Path::new("zone"), None)
            .unwrap()
            .zone
            .unwrap();
        let at = |name: &str, label| {
            let name: Name = name.parse().unwrap();
            Some((name.as_wire().to_vec(), label))
        };
        for (name, rtype, end, encloser) in [
            ("a.b.c.example.", RrType::A, "answer", None),
            ("a.b.c.example.", RrType::MX, "no data", None),
            // An empty non-terminal.
            ("b.c.example.", RrType::A, "no data", None),
            // Next closer are x, y.a, x.b: the label after which the encloser begins.
            ("x.example.", RrType::A, "no name", at("example.", 0)),
            ("y.x.example.", RrType::A, "no name", at("example.", 1)),
            (
                "x.b.c.example.",
                RrType::A,
                "no name",
                at("b.c.example.", 0),
            ),
            (
                "z.y.x.b.c.example.",
                RrType::A,
                "no name",
                at("b.c.example.", 2),
            ),
            (
                "y.x.a.b.c.example.",
                RrType::A,
                "no name",
                at("a.b.c.example.", 1),
            ),
            ("x.w.example.", RrType::A, "answer", at("w.example.", 0)),
            ("y.x.w.example.", RrType::A, "answer", at("w.example.", 1)),
            ("x.w.example.", RrType::MX, "no data", at("w.example.", 0)),
            (
                "x.*.w.example.",
                RrType::A,
                "no name",
                at("*.w.example.", 0),
            ),
            ("x.v.example.", RrType::A, "alias", at("v.example.", 0)),
            ("x.d.example.", RrType::A, "redirection", None),
            ("x.cut.example.", RrType::A, "referral", None),
        ] {
            assert_eq!(evidence(&zone, name, rtype), (end, encloser), "{name}");
        }
    }
}
