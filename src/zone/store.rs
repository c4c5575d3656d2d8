//! The zone store: one arena of nodes and one hash table over it, written once
//! by `Builder`, read-only ever after.
//!
//! ```text
//! table    slot: node reference (32 bits, in units of 4 octets; 0 = empty)
//!                tag            (32 bits: the low half of the name's hash)
//!          first slot = hash × slots / 2^64, then the next one
//!
//! node     0  u8  octets of the name
//!          1  u8  flags: CUT, DNAME, ALIAS
//!          2  u16 record sets
//!          4  u32 reference of the node `*` right below, 0 = none
//!          8  record sets, 12 octets each, by rising type:
//!                u16 type | u16 records | u16 octets of the answer
//!                u16 1 where the body begins with details | u32 body, from the node
//!          …  the name, lower-cased, in wire form
//!          …  the bodies
//!
//! body     details, where there are any:
//!                u16 octets of additional | u16 octets of additional that are required
//!                u16 records of additional | u16 pointers | u16 place of each pointer
//!          answer: the records as they are sent, owner names as C00C
//!          additional:  address records for the additional section
//! ```
//!
//! Integers of the frame are little-endian, those of records in network order.
//! An answer is composed for a reply whose question is the node's own name: it
//! starts at octet 16 + length of the name. Anywhere else its pointers are
//! moved (`answer::reply`): those into the owner name by one distance, those
//! into the body by another; the list of places says where they are. An
//! A record at `h12.example.com.` takes 61 octets here, and its reply is one
//! probe, one comparison and one copy of 16 octets.

use std::hint::black_box;
use std::ops::Range;

use arrayvec::ArrayVec;

use super::memory;
use crate::wire::header::{HEADER, class};
use crate::wire::octets;
use crate::wire::{LookupName, RrType};

/// The name is a zone cut: its NS set is a referral (RFC 1034 §4.2.1).
pub const CUT: u8 = 1;
/// The name owns a DNAME: what is below is redirected (RFC 6672).
pub const DNAME: u8 = 2;
/// The name owns a CNAME.
pub const ALIAS: u8 = 4;

/// How far an answer may stand from where it was composed, and its owner's name
/// from the question: behind a chain of aliases, or grown at a wildcard.
/// Pointers lead to targets that stay within their 14 bits after such a move.
pub const FURTHEST_MOVE: usize = 9_000;

/// Octets of a question after its name: type and class.
pub const QUESTION_TAIL: usize = 4;

/// Octets of a cache line, near enough: what lies further is in another.
const LINE: usize = 60;
const NODE: usize = 8;
const SET: usize = 12;
const DETAILS: usize = 8;
/// Nodes start at multiples of this, so that 32 bits reach 16 GiB.
const UNIT: usize = 4;

/// A reference to a node in units of `UNIT` octets; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeRef(u32);

/// The finished store.
pub struct Store {
    arena: Box<[u8]>,
    slots: Box<[u64]>,
}

impl Store {
    /// The node whose name is the suffix of `name` that begins with `label`.
    #[inline(always)]
    pub fn find(&self, name: &LookupName, label: usize) -> Option<Node<'_>> {
        let slot = first_slot(name.hash_of(label), self.slots.len());
        let (slot, node) = self.probe(slot, name, label)?;
        if octets::equal(node.name(), name.suffix(label)) {
            return Some(node);
        }
        self.find_behind(slot, name, label)
    }

    /// The same behind slot `slot`, where another name has the tag, as one in
    /// four thousand million does.
    #[cold]
    #[inline(never)]
    fn find_behind(&self, mut slot: usize, name: &LookupName, label: usize) -> Option<Node<'_>> {
        loop {
            let node;
            (slot, node) = self.probe(slot + 1, name, label)?;
            if node.name() == name.suffix(label) {
                return Some(node);
            }
        }
    }

    /// The first slot from `slot` on that has the tag of the suffix, and its
    /// node.
    #[inline(always)]
    fn probe(&self, mut slot: usize, name: &LookupName, label: usize) -> Option<(usize, Node<'_>)> {
        let tag = name.hash_of(label) as u32;
        loop {
            let Some(&found) = self.slots.get(slot) else {
                // Behind the last one. There are always some.
                slot = 0;
                continue;
            };
            if found == 0 {
                return None;
            }
            if (found >> 32) as u32 == tag {
                return Some((slot, self.node(NodeRef(found as u32))));
            }
            slot += 1;
        }
    }

    /// The slot at which the search for the whole name begins.
    #[inline]
    pub fn first_slot(&self, name: &LookupName) -> u64 {
        self.slots[first_slot(name.hash_of(0), self.slots.len())]
    }

    /// Reads an octet of each of the two cache lines that a node with one
    /// record set mostly lies in.
    #[inline]
    pub fn fetch(&self, slot: u64) -> u8 {
        let at = slot as u32 as usize * UNIT;
        let octet = |at: usize| self.arena.get(at).copied().unwrap_or(0);
        octet(at) ^ octet(at + LINE)
    }

    /// The node behind a reference that this store gave out.
    #[inline]
    pub fn node(&self, at: NodeRef) -> Node<'_> {
        Node {
            octets: &self.arena[at.0 as usize * UNIT..],
        }
    }

    /// All nodes that hold a name, in no particular order.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        let full = self.slots.iter().filter(|&&slot| slot != 0);
        full.map(|&slot| self.node(NodeRef(slot as u32)))
    }

    /// The memory of the arena and of the table.
    pub fn memory(&self) -> [Range<*const u8>; 2] {
        let slots = self.slots.as_ptr_range();
        [
            self.arena.as_ptr_range(),
            slots.start.cast()..slots.end.cast(),
        ]
    }

    /// Octets of memory that the store holds.
    pub fn octets(&self) -> usize {
        self.arena.len() + size_of_val(&*self.slots)
    }
}

#[inline]
fn first_slot(hash: u64, slots: usize) -> usize {
    ((u128::from(hash) * slots as u128) >> 64) as usize
}

/// A name of the zone and what it owns.
#[derive(Clone, Copy)]
pub struct Node<'z> {
    octets: &'z [u8],
}

impl<'z> Node<'z> {
    /// The lower-cased wire form.
    #[inline(always)]
    pub fn name(&self) -> &'z [u8] {
        let start = NODE + SET * self.sets();
        &self.octets[start..start + self.octets[0] as usize]
    }

    /// `CUT`, `DNAME` and `ALIAS`.
    #[inline]
    pub fn flags(&self) -> u8 {
        self.octets[1]
    }

    /// How many record sets the name owns; 0 at an empty non-terminal.
    #[inline]
    pub fn sets(&self) -> usize {
        u16_at(self.octets, 2) as usize
    }

    /// The asterisk label right below this name (RFC 4592 §2.1.1).
    #[inline]
    pub fn wildcard(&self) -> Option<NodeRef> {
        let at = u32_at(self.octets, 4);
        (at != 0).then_some(NodeRef(at))
    }

    /// The record set of a type.
    #[inline(always)]
    pub fn set(&self, rtype: RrType) -> Option<Set<'z>> {
        let wanted = rtype.0.to_le_bytes();
        let frame = self.frames().find(|frame| frame[..2] == wanted)?;
        Some(self.set_of(frame))
    }

    /// The record set of the lowest type.
    pub fn first_set(&self) -> Option<Set<'z>> {
        self.frames().next().map(|frame| self.set_of(frame))
    }

    /// The types of all record sets, rising.
    pub fn types(&self) -> impl Iterator<Item = RrType> + use<'z> {
        self.frames().map(|frame| RrType(u16_at(frame, 0)))
    }

    #[inline]
    fn frames(&self) -> impl Iterator<Item = &'z [u8; SET]> + use<'z> {
        let frames = &self.octets[NODE..NODE + SET * self.sets()];
        frames.as_chunks().0.iter()
    }

    #[inline]
    fn set_of(&self, frame: &'z [u8; SET]) -> Set<'z> {
        Set {
            node: self.octets,
            frame,
        }
    }
}

/// A record set where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Set<'z> {
    node: &'z [u8],
    frame: &'z [u8; SET],
}

/// A record set, composed.
#[derive(Clone, Copy, Debug)]
pub struct Composed<'z> {
    /// Records in the answer.
    pub count: u16,
    /// Octets of the answer, the first part of the body.
    pub answer_length: usize,
    /// Octets of the additional part that a reply must not go without.
    pub additional_required: usize,
    /// Records in the additional part.
    pub additional_count: u16,
    /// The answer and the additional records, as they are sent.
    pub body: &'z [u8],
    pointers: &'z [u8],
}

impl<'z> Set<'z> {
    /// True for the same set of the same store.
    pub fn is(&self, other: &Set<'_>) -> bool {
        std::ptr::eq(self.frame, other.frame)
    }

    /// Octets of the owner's name.
    #[inline]
    pub fn owner_length(&self) -> usize {
        self.node[0].into()
    }

    /// Records and octets, where they are all there is to send: no additional
    /// part, and no pointers but those in front of the records.
    #[inline(always)]
    pub fn verbatim(&self) -> Option<(u16, &'z [u8])> {
        if u16_at(self.frame, 6) != 0 {
            return None;
        }
        let body = &self.node[u32_at(self.frame, 8) as usize..];
        Some((
            u16_at(self.frame, 2),
            &body[..u16_at(self.frame, 4) as usize],
        ))
    }

    /// What there is to send.
    pub fn open(&self) -> Composed<'z> {
        let body = &self.node[u32_at(self.frame, 8) as usize..];
        let answer = u16_at(self.frame, 4) as usize;
        let mut set = Composed {
            count: u16_at(self.frame, 2),
            answer_length: answer,
            additional_required: 0,
            additional_count: 0,
            pointers: &[],
            body: &[],
        };
        if u16_at(self.frame, 6) == 0 {
            set.body = &body[..answer];
            return set;
        }
        let additional = u16_at(body, 0) as usize;
        set.additional_required = u16_at(body, 2) as usize;
        set.additional_count = u16_at(body, 4);
        let pointers = 2 * u16_at(body, 6) as usize;
        set.pointers = &body[DETAILS..DETAILS + pointers];
        set.body = &body[DETAILS + pointers..][..answer + additional];
        set
    }

    /// Where the body starts in a reply whose question is the owner's name.
    #[inline]
    pub fn composed_at(&self) -> usize {
        HEADER + self.owner_length() + QUESTION_TAIL
    }
}

impl<'z> Composed<'z> {
    /// Places in the body of compression pointers, those in front of the
    /// answer's own records apart.
    pub fn pointers(&self) -> impl Iterator<Item = usize> + use<'z> {
        let places = self.pointers.chunks_exact(2);
        places.map(|place| u16_at(place, 0) as usize)
    }
}

#[inline]
fn u16_at(octets: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(octets[at..at + 2].try_into().unwrap())
}

#[inline]
fn u32_at(octets: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(octets[at..at + 4].try_into().unwrap())
}

/// A record set on its way into the store.
pub struct NewSet<'a> {
    /// The type of its records.
    pub rtype: RrType,
    /// Records in the answer.
    pub count: u16,
    /// Octets of the answer, the first part of the body.
    pub answer_length: u16,
    /// Octets of additional records that are required.
    pub additional_required: u16,
    /// Records in the additional part.
    pub additional_count: u16,
    /// Answer and additional; together 64 KiB at most.
    pub body: &'a [u8],
    /// Places of pointers in the body.
    pub pointers: &'a [u16],
}

/// Octets of a node with one address, as far as they matter for making room
/// beforehand.
const OCTETS_PER_NODE: usize = 64;

/// Nodes whose slots are asked for together.
const FETCHED: usize = 32;

/// Writes a store: begin a name, add its sets by rising type, end it.
pub struct Builder {
    arena: Vec<u8>,
    frames: Vec<u8>,
    bodies: Vec<u8>,
}

impl Builder {
    /// An empty store, with room for about so many names.
    pub fn new(names: usize) -> Builder {
        let mut arena = Vec::new();
        memory::reserve(&mut arena, names * OCTETS_PER_NODE);
        // Reference 0 is no node.
        arena.resize(UNIT, 0);
        Builder {
            arena,
            frames: Vec::new(),
            bodies: Vec::new(),
        }
    }

    /// Adds a set to the name that is being written.
    pub fn set(&mut self, set: &NewSet<'_>) {
        let plain = set.pointers.is_empty() && set.body.len() == usize::from(set.answer_length);
        for field in [set.rtype.0, set.count, set.answer_length, u16::from(!plain)] {
            self.frames.extend(field.to_le_bytes());
        }
        self.frames.extend((self.bodies.len() as u32).to_le_bytes());
        if !plain {
            let additional = (set.body.len() - usize::from(set.answer_length)) as u16;
            let details = [
                additional,
                set.additional_required,
                set.additional_count,
                set.pointers.len() as u16,
            ];
            for field in details.iter().chain(set.pointers) {
                self.bodies.extend(field.to_le_bytes());
            }
        }
        self.bodies.extend_from_slice(set.body);
    }

    /// Writes the name with the sets added since the last one, or `None` where
    /// the store has grown past what references reach.
    pub fn end(&mut self, name: &[u8], flags: u8) -> Option<NodeRef> {
        let at = u32::try_from(self.arena.len() / UNIT).ok()?;
        let sets = self.frames.len() / SET;
        let bodies_at = (NODE + self.frames.len() + name.len()) as u32;
        for frame in self.frames.chunks_exact_mut(SET) {
            let body = u32_at(frame, 8) + bodies_at;
            frame[8..].copy_from_slice(&body.to_le_bytes());
        }
        self.arena.extend([name.len() as u8, flags]);
        self.arena.extend((sets as u16).to_le_bytes());
        self.arena.extend([0; 4]);
        self.arena.append(&mut self.frames);
        self.arena.extend_from_slice(name);
        self.arena.append(&mut self.bodies);
        self.arena
            .resize(self.arena.len().next_multiple_of(UNIT), 0);
        Some(NodeRef(at))
    }

    /// Makes `wildcard` the asterisk label below `parent`.
    pub fn link_wildcard(&mut self, parent: NodeRef, wildcard: NodeRef) {
        let at = parent.0 as usize * UNIT + 4;
        self.arena[at..at + 4].copy_from_slice(&wildcard.0.to_le_bytes());
    }

    /// The store, in which `count` nodes can be found by the hashes of their
    /// names. Its table is filled to two thirds: a name is then found in two
    /// probes and missed in five, mostly within one cache line.
    pub fn finish(self, count: usize, nodes: impl Iterator<Item = (u64, NodeRef)>) -> Store {
        let mut slots = memory::filled(0u64, count * 3 / 2 + 1).into_boxed_slice();
        let mut fill = |batch: &[(u64, NodeRef)]| {
            // Asked for in one go, the slots come all at once.
            let places = batch.iter().map(|(hash, _)| first_slot(*hash, slots.len()));
            black_box(places.fold(0, |seen, place| seen ^ slots[place]));
            for &(hash, NodeRef(at)) in batch {
                let mut slot = first_slot(hash, slots.len());
                while slots[slot] != 0 {
                    slot = (slot + 1) % slots.len();
                }
                slots[slot] = u64::from(hash as u32) << 32 | u64::from(at);
            }
        };
        let mut batch = ArrayVec::<_, FETCHED>::new();
        for node in nodes {
            batch.push(node);
            if batch.is_full() {
                fill(&batch);
                batch.clear();
            }
        }
        fill(&batch);
        Store {
            arena: self.arena.into_boxed_slice(),
            slots,
        }
    }
}

/// Octets of a composed record before its RDATA, its owner a pointer.
pub const RECORD_HEAD: usize = 12;

/// Appends a record's type, class, TTL and an RDLENGTH to be set later;
/// returns where that stands.
pub fn put_record_head(out: &mut Vec<u8>, rtype: RrType, ttl: u32) -> usize {
    out.extend(rtype.0.to_be_bytes());
    out.extend(class::IN.to_be_bytes());
    out.extend(ttl.to_be_bytes());
    out.extend([0; 2]);
    out.len() - 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> LookupName {
        LookupName::of(&text.parse().unwrap())
    }

    #[test]
    fn what_goes_in_comes_out() {
        let mut builder = Builder::new(2);
        let apex = name("example");
        let plain = NewSet {
            rtype: RrType::A,
            count: 1,
            answer_length: 3,
            additional_required: 0,
            additional_count: 0,
            body: b"abc",
            pointers: &[],
        };
        builder.set(&plain);
        builder.set(&NewSet {
            rtype: RrType::MX,
            count: 2,
            additional_required: 1,
            additional_count: 3,
            body: b"abcde",
            pointers: &[7, 9],
            ..plain
        });
        let parent = builder.end(apex.suffix(0), ALIAS).unwrap();
        let star = name("*.example");
        let below = builder.end(star.suffix(0), 0).unwrap();
        builder.link_wildcard(parent, below);
        let nodes = [(apex.hash_of(0), parent), (star.hash_of(0), below)];
        let store = builder.finish(2, nodes.into_iter());

        let node = store.find(&name("x.EXAMPLE"), 1).unwrap();
        assert_eq!(
            (node.flags(), node.sets(), node.name()),
            (ALIAS, 2, &b"\x07example\0"[..])
        );
        assert_eq!(store.node(node.wildcard().unwrap()).name(), star.suffix(0));
        let a = node.set(RrType::A).unwrap();
        assert_eq!((a.owner_length(), a.composed_at()), (9, 25));
        let a = a.open();
        assert_eq!((a.count, a.body, a.answer_length), (1, &b"abc"[..], 3));
        let mx = node.set(RrType::MX).unwrap().open();
        assert_eq!((mx.count, mx.body, mx.answer_length), (2, &b"abcde"[..], 3));
        assert_eq!((mx.additional_required, mx.additional_count), (1, 3));
        assert_eq!(mx.pointers().collect::<Vec<_>>(), [7, 9]);
        assert!(node.set(RrType::NS).is_none());
        assert!(store.find(&name("other"), 0).is_none());
        assert_eq!(store.nodes().count(), 2);
    }

    #[test]
    fn a_name_is_found_behind_others_of_its_hash() {
        let (other, wanted, third) = (name("a.example"), name("b.example"), name("c.example"));
        let mut builder = Builder::new(3);
        let nodes = [&other, &third, &wanted]
            .map(|name| (wanted.hash_of(0), builder.end(name.suffix(0), 0).unwrap()));
        let store = builder.finish(3, nodes.into_iter());
        let found = store.find(&wanted, 0).map(|node| node.name());
        assert_eq!(found, Some(wanted.suffix(0)));
    }

    #[test]
    fn many_names_are_all_found_and_no_other() {
        let mut builder = Builder::new(0);
        let mut nodes = Vec::new();
        for number in 0..5000 {
            let name = name(&format!("h{number}.example"));
            nodes.push((name.hash_of(0), builder.end(name.suffix(0), 0).unwrap()));
        }
        let store = builder.finish(nodes.len(), nodes.into_iter());
        for number in 0..10_000 {
            let name = name(&format!("h{number}.example"));
            assert_eq!(store.find(&name, 0).is_some(), number < 5000);
        }
    }
}
