//! The zone store: one arena of nodes and one hash table over it, written once
//! by `builder`, read-only ever after.
//!
//! ```text
//! table    slot: node reference (32 bits, in units of 4 octets; 0 = empty)
//!                tag            (32 bits: the low half of the name's hash)
//!          first slot = hash × slots / 2^64, then the next one
//!
//! node     0  u8  octets of the name
//!          1  u8  flags: CUT, DNAME, ALIAS, HASHED
//!          2  u16 record sets
//!          4  u32 reference of the node `*` right below, 0 = none
//!          8  record sets, 12 octets each, by rising type:
//!                u16 type | u16 records | u16 octets of the answer
//!                u16 flags: DETAILS, SIGNED (what stands before the body),
//!                OVERSIZED (there is no body)
//!                u32 where the body starts, from the node
//!          …  the name, lower-cased, in wire form
//!          …  u32 reference of the node with the name's NSEC3 record, 0 = none,
//!             where the flag HASHED says so
//!          …  the bodies, each with what stands before it
//!
//! body     answer:     the records as they are sent, owner names as C00C
//!          signatures: the RRSIG records that cover them, likewise
//!          additional: address records for the additional section
//!
//! before   DETAILS: u16 place of each pointer … | u16 pointers
//! it,               u16 octets of additional | u16 of these required
//! end to            u16 records of additional
//! end      SIGNED:  u16 octets of signatures | u16 records of signatures
//! ```
//!
//! An answer with DO is one copy of answer and signatures, an answer without
//! is one of the answer alone and never looks at what is before or behind it.
//! Signatures of a type that the name does not have, or without room behind
//! their set, make up a set of their own, whose frame has a type that nobody can
//! ask for.
//!
//! Integers of the frame are little-endian, those of records in network order.
//! An answer is composed for a reply whose question is the node's own name: it
//! starts at octet 16 + length of the name. Anywhere else its pointers are
//! moved (`answer::reply`): those into the owner name by one distance, those
//! into the answer by another; the list of places says where they are, as if
//! there were no signatures. Nothing points into signatures, nor, where there
//! are any, into the additional part. An A record at `h12.example.com.` takes
//! 56 octets of the arena and 12 of the table, which has a third of its slots
//! free; its reply is one probe, one comparison and one copy of 16 octets.
//!
//! Not every node is in the table. What is never an answer, but belongs to the
//! zone (glue, what a cut occludes), lies in nodes *beside* it; so do NSEC3
//! records, whose owners are no names of the zone (RFC 5155 §7.2.8) and are
//! found by `denial`.

mod builder;

use std::ops::Range;

pub use builder::{Builder, NewSet, Shift};

use crate::wire::header::{HEADER, class};
use crate::wire::octets;
use crate::wire::{LookupName, RrType};

/// The name is a zone cut: its NS set is a referral (RFC 1034 §4.2.1).
pub const CUT: u8 = 1;
/// The name owns a DNAME: what is below is redirected (RFC 6672).
pub const DNAME: u8 = 2;
/// The name owns a CNAME.
pub const ALIAS: u8 = 4;

/// The zone proves with NSEC3: behind the name is where its record lies.
pub const HASHED: u8 = 8;

/// How far an answer may stand from where it was composed, and its owner's name
/// from the question: behind a chain of aliases, or grown at a wildcard.
/// Pointers lead to targets that stay within their 14 bits after such a move.
pub const FURTHEST_MOVE: usize = 9_000;

/// Octets of a question after its name: type and class.
pub const QUESTION_TAIL: usize = 4;

/// Octets of a cache line, near enough: what lies further is in another.
const LINE: usize = 60;
pub(super) const NODE: usize = 8;
pub(super) const SET: usize = 12;
/// Record sets that are looked through one by one, which nearly all names have.
const FEW: usize = 16;
/// Octets that tell of pointers and additional records.
const DETAILS: usize = 8;
/// Octets that tell of signatures.
const SIGNED: usize = 4;
/// Flags of a frame: what stands before the body.
const HAS_DETAILS: u16 = 1;
const IS_SIGNED: u16 = 2;
/// The set does not fit into any message; there is no body.
const IS_OVERSIZED: u16 = 4;
/// What the frame of signatures that stand behind no set has for a type: one that
/// is never looked for, since it can neither be asked for nor be in a zone. A
/// question for RRSIG does not end here, but with all signatures of the name.
const STRAY: RrType = RrType::TKEY;
/// Nodes start at multiples of this, so that 32 bits reach 16 GiB.
const UNIT: usize = 4;

/// A reference to a node in units of `UNIT` octets; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeRef(u32);

/// The finished store.
pub struct Store {
    arena: Box<[u8]>,
    slots: Box<[u64]>,
    beside: Box<[NodeRef]>,
}

impl Store {
    /// The node whose name is the suffix of `name` that begins with `label`.
    #[inline(always)]
    pub fn find(&self, name: &LookupName, label: usize) -> Option<Node<'_>> {
        let slot = first_slot(name.hash_of_deep(label), self.slots.len());
        let (slot, node) = self.probe(slot, name, label)?;
        if octets::equal(node.name(), name.suffix(label)) {
            return Some(node);
        }
        self.find_behind(slot, name, label)
    }

    /// Searches on behind slot `slot`, where another name has the tag, as one in
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
        let tag = name.hash_of_deep(label) as u32;
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

    /// The nodes beside the table.
    pub fn beside(&self) -> impl Iterator<Item = Node<'_>> {
        self.beside.iter().map(|&at| self.node(at))
    }

    /// All nodes that can be found, in no particular order.
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
        self.arena.len() + size_of_val(&*self.slots) + size_of_val(&*self.beside)
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

    /// `CUT`, `DNAME`, `ALIAS` and `HASHED`.
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

    /// The node with the NSEC3 record of the name, where it has one.
    pub fn nsec3(&self) -> Option<NodeRef> {
        if self.flags() & HASHED == 0 {
            return None;
        }
        let behind = NODE + SET * self.sets() + self.octets[0] as usize;
        let at = u32_at(self.octets, behind);
        (at != 0).then_some(NodeRef(at))
    }

    /// The record set of a type.
    #[inline(always)]
    pub fn set(&self, rtype: RrType) -> Option<Set<'z>> {
        if self.sets() > FEW {
            return self.set_of_many(rtype);
        }
        let wanted = rtype.0.to_le_bytes();
        let frame = self.frames().find(|frame| frame[..2] == wanted)?;
        Some(self.set_of(frame))
    }

    /// The same by halving.
    #[cold]
    #[inline(never)]
    fn set_of_many(&self, rtype: RrType) -> Option<Set<'z>> {
        let frames = self.frame_list();
        let type_of = |frame: &[u8; SET]| u16::from_le_bytes([frame[0], frame[1]]);
        let found = frames.binary_search_by_key(&rtype.0, type_of).ok()?;
        Some(self.set_of(&frames[found]))
    }

    /// The record set of the lowest type, one that fits into a message if there
    /// is any.
    pub fn first_set(&self) -> Option<Set<'z>> {
        let mut fitting = self.all_sets().filter(|set| !set.is_oversized());
        fitting.next().or_else(|| self.all_sets().next())
    }

    /// The types of all record sets, rising.
    pub fn types(&self) -> impl Iterator<Item = RrType> + use<'z> {
        self.all_sets().map(|set| set.rtype())
    }

    /// True where the name owns signatures, whatever they cover.
    pub fn is_signed(&self) -> bool {
        let mut sets = self.all_sets();
        sets.any(|set| set.rtype() == RrType::RRSIG || set.flags() & IS_SIGNED != 0)
    }

    /// All record sets, by rising type.
    pub fn all_sets(&self) -> impl Iterator<Item = Set<'z>> + use<'z> {
        let node = *self;
        self.frames().map(move |frame| node.set_of(frame))
    }

    #[inline]
    fn frames(&self) -> impl Iterator<Item = &'z [u8; SET]> + use<'z> {
        self.frame_list().iter()
    }

    #[inline]
    fn frame_list(&self) -> &'z [[u8; SET]] {
        let frames = &self.octets[NODE..NODE + SET * self.sets()];
        frames.as_chunks().0
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
    /// The answer, as it is sent.
    pub answer: &'z [u8],
    /// The signatures, as they are sent right behind it.
    pub signatures: &'z [u8],
    /// Records in `signatures`.
    pub signature_count: u16,
    /// The additional records.
    pub additional: &'z [u8],
    /// Records in `additional`.
    pub additional_count: u16,
    /// Octets at the start of `additional` that a reply must not go without.
    pub additional_required: usize,
    pointers: &'z [u8],
}

impl<'z> Set<'z> {
    /// True for the same set of the same store.
    pub fn is(&self, other: &Set<'_>) -> bool {
        std::ptr::eq(self.frame, other.frame)
    }

    /// The type of its records.
    pub fn rtype(&self) -> RrType {
        match RrType(u16_at(self.frame, 0)) {
            STRAY => RrType::RRSIG,
            rtype => rtype,
        }
    }

    /// The owner's name, lower-cased.
    #[inline]
    pub fn owner(&self) -> &'z [u8] {
        Node { octets: self.node }.name()
    }

    /// Octets of the owner's name.
    #[inline]
    pub fn owner_length(&self) -> usize {
        self.node[0].into()
    }

    /// True where no message has room for the set.
    #[inline]
    pub fn is_oversized(&self) -> bool {
        self.flags() & IS_OVERSIZED != 0
    }

    /// Records and octets, where they are all there is to send: no additional
    /// part, and no pointers but those in front of the records.
    #[inline(always)]
    pub fn verbatim(&self) -> Option<(u16, &'z [u8])> {
        if self.flags() & !IS_SIGNED != 0 {
            return None;
        }
        let answer = &self.node[self.body_at()..];
        Some((
            u16_at(self.frame, 2),
            &answer[..u16_at(self.frame, 4) as usize],
        ))
    }

    /// The same with the signatures behind the records, whatever else there may
    /// be to the set.
    #[inline(always)]
    pub fn signed(&self) -> (u16, &'z [u8]) {
        let (mut count, at) = (u16_at(self.frame, 2), self.body_at());
        let mut octets = usize::from(u16_at(self.frame, 4));
        if self.flags() & IS_SIGNED != 0 {
            octets += usize::from(u16_at(self.node, at - SIGNED));
            count += u16_at(self.node, at - SIGNED + 2);
        }
        (count, &self.node[at..at + octets])
    }

    /// `signed` where it is all there is to send, as in `verbatim`.
    #[inline(always)]
    pub fn signed_verbatim(&self) -> Option<(u16, &'z [u8])> {
        (self.flags() & !IS_SIGNED == 0).then(|| self.signed())
    }

    /// True where there is more to the set than records and signatures.
    #[inline(always)]
    pub fn has_details(&self) -> bool {
        self.flags() & HAS_DETAILS != 0
    }

    /// The set with all that there is to know about it.
    pub fn open(&self) -> Composed<'z> {
        let (mut before, body) = self.node.split_at(self.body_at());
        let (answer, mut behind) = body.split_at(u16_at(self.frame, 4).into());
        let mut set = Composed {
            count: u16_at(self.frame, 2),
            answer,
            signatures: &[],
            signature_count: 0,
            additional: &[],
            additional_count: 0,
            additional_required: 0,
            pointers: &[],
        };
        if self.flags() & IS_SIGNED != 0 {
            let signed = take_end(&mut before, SIGNED);
            set.signatures = take_start(&mut behind, u16_at(signed, 0).into());
            set.signature_count = u16_at(signed, 2);
        }
        if self.flags() & HAS_DETAILS != 0 {
            let details = take_end(&mut before, DETAILS);
            set.pointers = take_end(&mut before, 2 * usize::from(u16_at(details, 0)));
            set.additional = take_start(&mut behind, u16_at(details, 2).into());
            set.additional_required = u16_at(details, 4).into();
            set.additional_count = u16_at(details, 6);
        }
        set
    }

    #[inline(always)]
    fn flags(&self) -> u16 {
        u16_at(self.frame, 6)
    }

    #[inline(always)]
    fn body_at(&self) -> usize {
        u32_at(self.frame, 8) as usize
    }

    /// Where the body starts in a reply whose question is the owner's name.
    #[inline]
    pub fn composed_at(&self) -> usize {
        HEADER + self.owner_length() + QUESTION_TAIL
    }
}

impl<'z> Composed<'z> {
    /// Places of compression pointers, those in front of the answer's own records
    /// apart, in answer and additional part as if these followed each other.
    pub fn pointers(&self) -> impl Iterator<Item = usize> + use<'z> {
        let places = self.pointers.chunks_exact(2);
        places.map(|place| u16_at(place, 0) as usize)
    }
}

fn take_start<'z>(octets: &mut &'z [u8], length: usize) -> &'z [u8] {
    let taken;
    (taken, *octets) = octets.split_at(length);
    taken
}

fn take_end<'z>(octets: &mut &'z [u8], length: usize) -> &'z [u8] {
    let taken;
    (*octets, taken) = octets.split_at(octets.len() - length);
    taken
}

#[inline]
fn u16_at(octets: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(octets[at..at + 2].try_into().unwrap())
}

#[inline]
fn u32_at(octets: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(octets[at..at + 4].try_into().unwrap())
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
