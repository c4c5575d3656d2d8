//! Writing a store: sets into nodes, nodes into the arena and the table, as
//! drawn in the file above.

use std::hint::black_box;

use arrayvec::ArrayVec;

use super::super::memory;
use super::{
    HAS_DETAILS, HASHED, IS_OVERSIZED, IS_SIGNED, NODE, NodeRef, SET, STRAY, Store, UNIT,
    first_slot, u16_at, u32_at,
};
use crate::wire::RrType;

/// A record set on its way into the store.
#[derive(Clone, Copy)]
pub struct NewSet<'a> {
    /// The type of its records.
    pub rtype: RrType,
    /// Records in the answer.
    pub count: u16,
    /// The answer.
    pub answer: &'a [u8],
    /// The signatures that cover it.
    pub signatures: &'a [u8],
    /// Records in `signatures`.
    pub signature_count: u16,
    /// Address records.
    pub additional: &'a [u8],
    /// Records in `additional`.
    pub additional_count: u16,
    /// Octets at the start of `additional` that are required.
    pub additional_required: u16,
    /// Places of pointers in answer and additional part, as if these followed
    /// each other.
    pub pointers: &'a [u16],
}

impl NewSet<'_> {
    /// A set of this type without anything.
    pub fn empty(rtype: RrType) -> Self {
        NewSet {
            rtype,
            count: 0,
            answer: &[],
            signatures: &[],
            signature_count: 0,
            additional: &[],
            additional_count: 0,
            additional_required: 0,
            pointers: &[],
        }
    }
}

/// The length of a part, which the caller has kept within a message.
fn octets<T>(part: &[T]) -> u16 {
    u16::try_from(part.len()).expect("a message has less than 64 KiB")
}

/// Octets of a reference to a node.
const REFERENCE: usize = 4;
/// Nodes whose slots are asked for together.
const FETCHED: usize = 32;

/// How far nodes have moved that were written elsewhere.
#[derive(Clone, Copy)]
pub struct Shift(u32);

impl Shift {
    /// Where a node is now.
    pub fn of(self, NodeRef(at): NodeRef) -> NodeRef {
        NodeRef(at + self.0)
    }
}

/// Writes a store: begin a name, add its sets by rising type, end it.
pub struct Builder {
    arena: Vec<u8>,
    frames: Vec<u8>,
    bodies: Vec<u8>,
}

impl Builder {
    /// An empty store, with room for about so many octets.
    pub fn new(octets: usize) -> Builder {
        let mut arena = Vec::new();
        memory::reserve(&mut arena, octets);
        // Reference 0 is no node.
        arena.resize(UNIT, 0);
        Builder {
            arena,
            frames: Vec::new(),
            bodies: Vec::new(),
        }
    }

    /// Adds a set to the name that is being written. Answer, signatures and
    /// additional part have less than 64 KiB each.
    pub fn set(&mut self, set: &NewSet<'_>) {
        let mut flags = 0;
        if !set.pointers.is_empty() || !set.additional.is_empty() {
            flags |= HAS_DETAILS;
            let details = [
                octets(set.pointers),
                octets(set.additional),
                set.additional_required,
                set.additional_count,
            ];
            self.put(set.pointers.iter().chain(&details));
        }
        if !set.signatures.is_empty() {
            flags |= IS_SIGNED;
            self.put(&[octets(set.signatures), set.signature_count]);
        }
        self.frame(set.rtype, set.count, octets(set.answer), flags);
        for part in [set.answer, set.signatures, set.additional] {
            self.bodies.extend_from_slice(part);
        }
    }

    /// Adds signatures that stand behind no set of the name, composed as a set of
    /// RRSIG records.
    pub fn stray_signatures(&mut self, set: &NewSet<'_>) {
        self.set(&NewSet {
            rtype: STRAY,
            ..*set
        });
    }

    /// Adds a set that does not fit into any message.
    pub fn oversized_set(&mut self, rtype: RrType) {
        self.frame(rtype, 0, 0, IS_OVERSIZED);
    }

    fn frame(&mut self, rtype: RrType, count: u16, answer: u16, flags: u16) {
        for field in [rtype.0, count, answer, flags] {
            self.frames.extend(field.to_le_bytes());
        }
        self.frames.extend((self.bodies.len() as u32).to_le_bytes());
    }

    fn put<'f>(&mut self, fields: impl IntoIterator<Item = &'f u16>) {
        let fields = fields.into_iter();
        self.bodies
            .extend(fields.flat_map(|field| field.to_le_bytes()));
    }

    /// Writes the name with the sets added since the last one, or `None` where
    /// the store has grown past what references reach.
    pub fn end(&mut self, name: &[u8], flags: u8) -> Option<NodeRef> {
        let at = u32::try_from(self.arena.len() / UNIT).ok()?;
        let sets = self.frames.len() / SET;
        let reference = if flags & HASHED != 0 { REFERENCE } else { 0 };
        let bodies_at = (NODE + self.frames.len() + name.len() + reference) as u32;
        for frame in self.frames.chunks_exact_mut(SET) {
            let body = u32_at(frame, 8) + bodies_at;
            frame[8..].copy_from_slice(&body.to_le_bytes());
        }
        self.arena.extend([name.len() as u8, flags]);
        self.arena.extend((sets as u16).to_le_bytes());
        self.arena.extend([0; 4]);
        self.arena.append(&mut self.frames);
        self.arena.extend_from_slice(name);
        self.arena.extend(&[0; REFERENCE][..reference]);
        self.arena.append(&mut self.bodies);
        self.arena
            .resize(self.arena.len().next_multiple_of(UNIT), 0);
        Some(NodeRef(at))
    }

    /// Forgets what was written, and keeps the memory.
    pub fn clear(&mut self) {
        self.arena.truncate(UNIT);
    }

    /// Takes over the nodes of another, whose references are of here once they are
    /// shifted by what is returned; `None` where the store would grow past what these
    /// reach.
    pub fn append(&mut self, other: &Builder) -> Option<Shift> {
        let shift = self.arena.len() / UNIT - 1;
        let nodes = &other.arena[UNIT..];
        u32::try_from((self.arena.len() + nodes.len()) / UNIT).ok()?;
        self.arena.extend_from_slice(nodes);
        Some(Shift(shift as u32))
    }

    /// Makes `wildcard` the asterisk label below `parent`.
    pub fn link_wildcard(&mut self, parent: NodeRef, wildcard: NodeRef) {
        let at = parent.0 as usize * UNIT + 4;
        self.arena[at..at + 4].copy_from_slice(&wildcard.0.to_le_bytes());
    }

    /// Makes `nsec3` the node with the NSEC3 record of a node that is `HASHED`.
    pub fn link_nsec3(&mut self, node: NodeRef, nsec3: NodeRef) {
        let at = node.0 as usize * UNIT;
        let octets = &mut self.arena[at..];
        debug_assert!(octets[1] & HASHED != 0, "there is room for a reference");
        let behind = NODE + SET * u16_at(octets, 2) as usize + octets[0] as usize;
        octets[behind..behind + REFERENCE].copy_from_slice(&nsec3.0.to_le_bytes());
    }

    /// The store, in which `count` nodes can be found by the hashes of their
    /// names, and those `beside` cannot. Its table is filled to two thirds: a name
    /// is then found in two probes and missed in five, mostly within one cache
    /// line.
    pub fn finish(
        self,
        count: usize,
        nodes: impl Iterator<Item = (u64, NodeRef)>,
        beside: Vec<NodeRef>,
    ) -> Store {
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
            beside: beside.into_boxed_slice(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ALIAS;
    use super::*;
    use crate::wire::LookupName;

    fn name(text: &str) -> LookupName {
        LookupName::of(&text.parse().unwrap())
    }

    #[test]
    fn what_goes_in_comes_out() {
        let mut builder = Builder::new(2);
        let apex = name("example");
        let plain = NewSet {
            count: 1,
            answer: b"abc",
            ..NewSet::empty(RrType::A)
        };
        builder.set(&plain);
        builder.set(&NewSet {
            rtype: RrType::MX,
            count: 2,
            additional: b"de",
            additional_required: 1,
            additional_count: 3,
            pointers: &[7, 9],
            ..plain
        });
        builder.oversized_set(RrType::TXT);
        let parent = builder.end(apex.suffix(0), ALIAS).unwrap();
        let star = name("*.example");
        let below = builder.end(star.suffix(0), 0).unwrap();
        builder.link_wildcard(parent, below);
        builder.set(&plain);
        let glue = builder.end(name("ns.sub.example").suffix(0), 0).unwrap();
        let nodes = [(apex.hash_of(0), parent), (star.hash_of(0), below)];
        let store = builder.finish(2, nodes.into_iter(), vec![glue]);

        let node = store.find(&name("x.EXAMPLE"), 1).unwrap();
        assert_eq!(
            (node.flags(), node.sets(), node.name()),
            (ALIAS, 3, &b"\x07example\0"[..])
        );
        assert_eq!(store.node(node.wildcard().unwrap()).name(), star.suffix(0));
        let a = node.set(RrType::A).unwrap();
        assert_eq!((a.owner_length(), a.composed_at()), (9, 25));
        assert_eq!(a.verbatim(), Some((1, &b"abc"[..])));
        assert_eq!((a.open().count, a.open().answer), (1, &b"abc"[..]));
        let mx = node.set(RrType::MX).unwrap();
        assert_eq!(mx.verbatim(), None);
        let mx = mx.open();
        assert_eq!((mx.count, mx.answer), (2, &b"abc"[..]));
        assert_eq!((mx.additional, mx.additional_count), (&b"de"[..], 3));
        assert_eq!(mx.additional_required, 1);
        assert_eq!(mx.pointers().collect::<Vec<_>>(), [7, 9]);
        let txt = node.set(RrType::TXT).unwrap();
        assert!(txt.is_oversized() && !a.is_oversized());
        assert_eq!(txt.verbatim(), None);
        assert!(node.set(RrType::NS).is_none());
        assert!(store.find(&name("other"), 0).is_none());
        assert_eq!(store.nodes().count(), 2);
        let beside: Vec<_> = store.beside().map(|node| node.name()).collect();
        assert_eq!(beside, [b"\x02ns\x03sub\x07example\0"]);
        assert!(store.find(&name("ns.sub.example"), 0).is_none());
    }

    #[test]
    fn signatures_stand_right_behind_their_set() {
        let mut builder = Builder::new(1);
        let signed = NewSet {
            count: 1,
            answer: b"abc",
            signatures: b"sig",
            signature_count: 2,
            ..NewSet::empty(RrType::A)
        };
        builder.set(&signed);
        builder.set(&NewSet {
            rtype: RrType::MX,
            additional: b"de",
            additional_count: 1,
            pointers: &[3],
            ..signed
        });
        let apex = name("example");
        let node = builder.end(apex.suffix(0), 0).unwrap();
        let store = builder.finish(1, [(apex.hash_of(0), node)].into_iter(), Vec::new());
        let node = store.find(&apex, 0).unwrap();
        // A signed set is still sent as it lies to whoever wants no signatures.
        let a = node.set(RrType::A).unwrap();
        assert_eq!(a.verbatim(), Some((1, &b"abc"[..])));
        for set in node.all_sets() {
            let open = set.open();
            assert_eq!((open.count, open.answer), (1, &b"abc"[..]));
            assert_eq!((open.signatures, open.signature_count), (&b"sig"[..], 2));
            assert_eq!(set.signed(), (3, &b"abcsig"[..]));
            // One copy takes both.
            let both = open.answer.as_ptr_range().end;
            assert_eq!(both, open.signatures.as_ptr());
        }
        let mx = node.set(RrType::MX).unwrap().open();
        assert_eq!((mx.additional, mx.additional_count), (&b"de"[..], 1));
        assert_eq!(mx.pointers().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_name_knows_its_nsec3_record() {
        let mut builder = Builder::new(1);
        let (apex, hash) = (
            name("example"),
            name("0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example"),
        );
        let plain = NewSet {
            count: 1,
            answer: b"abc",
            ..NewSet::empty(RrType::A)
        };
        builder.set(&plain);
        let hashed = builder.end(apex.suffix(0), HASHED).unwrap();
        builder.set(&plain);
        let other = builder.end(hash.suffix(0), 0).unwrap();
        let unlinked = builder.end(apex.suffix(0), HASHED).unwrap();
        builder.link_nsec3(hashed, other);
        let store = builder.finish(0, std::iter::empty(), vec![hashed, other, unlinked]);
        let found = store.node(hashed).nsec3().map(|at| store.node(at).name());
        assert_eq!(found, Some(hash.suffix(0)));
        let set = store.node(hashed).set(RrType::A).unwrap();
        assert_eq!(
            (set.signed(), set.owner()),
            ((1, &b"abc"[..]), apex.suffix(0))
        );
        assert!(store.node(other).nsec3().is_none());
        assert!(store.node(unlinked).nsec3().is_none());
    }

    #[test]
    fn a_name_is_found_behind_others_of_its_hash() {
        let (other, wanted, third) = (name("a.example"), name("b.example"), name("c.example"));
        let mut builder = Builder::new(3);
        let nodes = [&other, &third, &wanted]
            .map(|name| (wanted.hash_of(0), builder.end(name.suffix(0), 0).unwrap()));
        let store = builder.finish(3, nodes.into_iter(), Vec::new());
        let found = store.find(&wanted, 0).map(|node| node.name());
        assert_eq!(found, Some(wanted.suffix(0)));
    }

    #[test]
    fn many_names_are_all_found_and_no_other() {
        let mut builder = Builder::new(0);
        let mut nodes = Vec::new();
        let count = if cfg!(miri) { 300 } else { 5000 };
        for number in 0..count {
            let name = name(&format!("h{number}.example"));
            nodes.push((name.hash_of(0), builder.end(name.suffix(0), 0).unwrap()));
        }
        let store = builder.finish(nodes.len(), nodes.into_iter(), Vec::new());
        for number in 0..2 * count {
            let name = name(&format!("h{number}.example"));
            assert_eq!(store.find(&name, 0).is_some(), number < count);
        }
    }
}
