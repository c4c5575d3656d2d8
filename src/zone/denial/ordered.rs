//! The names that own NSEC, in canonical order. One search finds the last name
//! that is not behind another: first among keys of every sixteenth name, which
//! lie close together, then among the names between two of them.
//!
//! ```text
//! key      16 octets of the labels below the apex, from the top, each ended by
//!          a 0, without those that all names have in common. An octet 0 or 1 in
//!          a label becomes a 1 and ends the key, so that no name has a higher
//!          key than one behind it.
//! ```

use std::cmp::Ordering;

use super::super::store::{Node, NodeRef, Store};
use crate::wire::LookupName;
use crate::wire::name::{MAX_NAME, Marked, Starts, canonical_order, label_before};

/// Names for each key.
const STEP: usize = 16;
/// Octets of a key.
const KEY: usize = 16;

/// A chain of NSEC records, which is a circle.
pub struct Ordered {
    nodes: Box<[NodeRef]>,
    keys: Box<[u128]>,
    /// What the keys of all names but the apex begin with, and is left out.
    common: Box<[u8]>,
    /// Octets of the apex.
    apex: usize,
    /// Its labels.
    apex_labels: usize,
}

impl Ordered {
    /// The chain of these nodes and their names, with which it does not matter in
    /// what order they come, in the zone of this apex.
    pub fn new(names: Vec<(&[u8], NodeRef)>, apex: &[u8]) -> Ordered {
        let apex_labels = Starts::of(apex).name(apex).labels();
        let apex = apex.len();
        let nodes = in_order(names, apex);
        let whole = |at: usize| Key::of(below(nodes[at].0, apex), MAX_NAME);
        // What the first and the last have in common, all between them have.
        let common = match nodes.len() {
            0 | 1 => Box::default(),
            count => {
                let (first, last) = (whole(1), whole(count - 1));
                let pairs = first.octets().iter().zip(last.octets());
                let same = pairs.take_while(|(one, other)| one == other).count();
                first.octets()[..same].into()
            }
        };
        let sampled = (0..nodes.len()).step_by(STEP);
        Ordered {
            keys: sampled.map(|at| whole(at).cut(&common)).collect(),
            nodes: nodes.iter().map(|(_, node)| *node).collect(),
            common,
            apex,
            apex_labels,
        }
    }

    /// The node of the last name before the one that a label makes with the suffix of
    /// `name` that begins with label `above`, or of just that name: its NSEC record
    /// proves the name, or that there is none. `None` for an empty chain.
    ///
    /// All that is below the suffix is told apart by the label next to it.
    pub fn find<'z>(
        &self,
        store: &'z Store,
        name: &LookupName,
        above: usize,
        label: &[u8],
    ) -> Option<Node<'z>> {
        let (suffix, marked) = (name.suffix(above), name.marked(above));
        let key = self.key(&marked, label);
        // Sampled names of a lower key are before the name, those of a higher one
        // behind it.
        let lower = self.keys.partition_point(|sample| *sample < key);
        let same = match self.keys.get(lower) {
            Some(sample) if *sample == key => {
                self.keys[lower..].partition_point(|sample| *sample == key)
            }
            _ => 0,
        };
        let from = lower.saturating_sub(1) * STEP;
        let end = (lower + same) * STEP;
        let between = &self.nodes[from..self.nodes.len().min(end)];
        let length = suffix.len() + 1 + label.len();
        let is_before = |at: &NodeRef| {
            let other = store.node(*at).name();
            let beside = self.label_below(other, suffix);
            match beside.map(|beside| beside.cmp(label)) {
                Some(Ordering::Less) => true,
                Some(Ordering::Equal) => other.len() == length,
                Some(Ordering::Greater) => false,
                // The apex is before all.
                None => other.len() == self.apex || marked.order_of(other).is_le(),
            }
        };
        let behind = from + between.partition_point(is_before);
        let at = behind.checked_sub(1).or(self.nodes.len().checked_sub(1))?;
        Some(store.node(self.nodes[at]))
    }

    /// The label of a name of the chain that is next to a suffix, where the name is
    /// below that. All but the apex are below the apex.
    fn label_below<'n>(&self, name: &'n [u8], suffix: &[u8]) -> Option<&'n [u8]> {
        let offset = name.len().checked_sub(suffix.len()).filter(|&at| at > 0)?;
        if suffix.len() > self.apex && name[offset..] != *suffix {
            return None;
        }
        label_before(name, offset)
    }

    /// The key of the name that a label makes with one above it.
    fn key(&self, above: &Marked<'_>, label: &[u8]) -> u128 {
        let mut key = Key::new();
        let below = (0..above.labels() - self.apex_labels).rev();
        let labels = below.map(|at| above.label(at)).chain([label]);
        key.fill(labels, self.common.len() + KEY);
        key.cut(&self.common)
    }

    /// Octets of memory that the chain holds.
    pub fn octets(&self) -> usize {
        size_of_val(&*self.nodes) + size_of_val(&*self.keys) + self.common.len()
    }
}

/// Names in canonical order, with what belongs to them; all are in a zone whose apex
/// has so many octets.
pub fn in_order<T: Copy>(names: Vec<(&[u8], T)>, apex: usize) -> Vec<(&[u8], T)> {
    let keyed = names.into_iter().map(|(name, owned)| {
        let key = Key::of(below(name, apex), KEY).cut(&[]);
        (key, name, owned)
    });
    let mut keyed: Vec<(u128, &[u8], T)> = keyed.collect();
    keyed.sort_unstable_by(|(key, one, _), (other_key, other, _)| {
        key.cmp(other_key)
            .then_with(|| order(below(one, apex), below(other, apex)))
    });
    let sorted = keyed.into_iter();
    sorted.map(|(_, name, owned)| (name, owned)).collect()
}

/// True where a name comes before another in canonical order; both are as in
/// `in_order`.
pub fn is_before(name: &[u8], other: &[u8], apex: usize) -> bool {
    order(below(name, apex), below(other, apex)).is_lt()
}

/// The labels of a name below an apex of so many octets.
fn below(name: &[u8], apex: usize) -> &[u8] {
    &name[..name.len() - apex]
}

/// Canonical order of labels below the same apex, mostly of one each.
fn order(one: &[u8], other: &[u8]) -> Ordering {
    match (alone(one), alone(other)) {
        (Some(one), Some(other)) => one.cmp(other),
        _ => canonical_order(one, other),
    }
}

/// The octets of a label that has no other behind it.
fn alone(labels: &[u8]) -> Option<&[u8]> {
    let (&length, label) = labels.split_first()?;
    (usize::from(length) == label.len()).then_some(label)
}

/// The key of a name before it is cut: no longer than the name, since each label ends
/// in an octet instead of beginning with one.
struct Key {
    octets: [u8; MAX_NAME],
    length: usize,
}

impl Key {
    fn new() -> Key {
        Key {
            octets: [0; MAX_NAME],
            length: 0,
        }
    }

    /// The key of labels, the last of which is the topmost, or its first `enough` octets
    /// and more.
    fn of(labels: &[u8], enough: usize) -> Key {
        let mut key = Key::new();
        let starts = Starts::of(labels);
        let marked = starts.name(labels);
        let topmost_first = (0..marked.labels()).rev();
        key.fill(topmost_first.map(|at| marked.label(at)), enough);
        key
    }

    /// Adds labels, the topmost first.
    fn fill<'n>(&mut self, labels: impl Iterator<Item = &'n [u8]>, enough: usize) {
        for label in labels {
            if !self.add(label) || self.length >= enough {
                break;
            }
        }
    }

    /// Adds a label and its end. False where the key ends within it.
    fn add(&mut self, label: &[u8]) -> bool {
        let place = &mut self.octets[self.length..=self.length + label.len()];
        for (at, (place, &octet)) in place.iter_mut().zip(label).enumerate() {
            if octet <= 1 {
                *place = 1;
                self.length += at + 1;
                return false;
            }
            *place = octet;
        }
        self.length += label.len() + 1;
        true
    }

    fn octets(&self) -> &[u8] {
        &self.octets[..self.length]
    }

    /// The first octets behind what all have in common. What differs there is before
    /// all or behind all.
    fn cut(&self, common: &[u8]) -> u128 {
        match self.octets[..common.len()].cmp(common) {
            Ordering::Less => return 0,
            Ordering::Greater => return u128::MAX,
            Ordering::Equal => {}
        }
        // There are zeros behind the last.
        let mut octets = [0; KEY];
        let rest = &self.octets[common.len()..];
        let length = rest.len().min(KEY);
        octets[..length].copy_from_slice(&rest[..length]);
        u128::from_be_bytes(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::store::Builder;
    use super::*;

    fn chain(mut names: Vec<Vec<u8>>) -> (Store, Ordered, Vec<Vec<u8>>) {
        names.sort_by(|one, other| canonical_order(one, other));
        names.dedup();
        let mut builder = Builder::new(names.len());
        let end = |name: &Vec<u8>| builder.end(name, 0).unwrap();
        let nodes: Vec<NodeRef> = names.iter().map(end).collect();
        let named = names.iter().map(|name| &name[..]).zip(nodes).rev();
        let ordered = Ordered::new(named.collect(), b"\x07example\0");
        let store = builder.finish(0, std::iter::empty(), Vec::new());
        (store, ordered, names)
    }

    /// Searches for a name below the apex.
    fn find<'z>(ordered: &Ordered, store: &'z Store, asked: &[u8]) -> Option<Node<'z>> {
        let mut name = LookupName::new();
        name.set(asked).unwrap();
        ordered.find(store, &name, 1, name.marked(0).label(0))
    }

    #[test]
    fn the_name_or_the_last_before_it() {
        let names = [
            &b"\x07example\0"[..],
            b"\x01a\x07example\0",
            b"\x01b\x01a\x07example\0",
            b"\x01z\x07example\0",
        ];
        let owned = names.iter().map(|name| name.to_vec()).collect();
        let (store, ordered, _) = chain(owned);
        for (asked, found) in [
            (&b"\x01*\x07example\0"[..], names[0]),
            (names[1], names[1]),
            (b"\x01a\x01a\x07example\0", names[1]),
            (names[2], names[2]),
            (b"\x01x\x01b\x01a\x07example\0", names[2]),
            (b"\x01y\x07example\0", names[2]),
            (b"\x01z\x01z\x07example\0", names[3]),
        ] {
            let node = find(&ordered, &store, asked).unwrap();
            assert_eq!(node.name(), found, "{asked:?}");
        }
        let (store, ordered, _) = chain(Vec::new());
        assert!(find(&ordered, &store, names[1]).is_none());
    }

    /// Names of all kinds, asked for by all of them and by what is next to them.
    #[test]
    fn keys_lead_to_where_a_search_through_all_does() {
        let apex = b"\x07example\0".to_vec();
        let labels: [&[u8]; 12] = [
            b"host-0000001",
            b"host-0000002",
            b"host",
            b"\0",
            b"\x01",
            b"\x02",
            b"a\0",
            b"a\x01",
            b"a",
            b"\xff\xff",
            b"*",
            b"host-with-a-name-longer-than-any-key",
        ];
        let below = |above: &[u8], label: &[u8]| [&[label.len() as u8], label, above].concat();
        for prefix in [&b""[..], b"the-same-in-all-of-them-"] {
            let mut names = vec![apex.clone()];
            for number in 0..300 {
                let one = [prefix, labels[number % 12], number.to_string().as_bytes()].concat();
                let name = below(&apex, &one);
                names.push(below(&name, labels[number / 3 % 12]));
                names.push(below(
                    &below(&name, labels[number / 5 % 12]),
                    labels[number % 7],
                ));
                names.push(below(&apex, &[prefix, labels[number % 12]].concat()));
                names.push(name);
            }
            let (store, ordered, names) = chain(names);
            assert!(ordered.keys.len() > 20);
            for name in names.iter().step_by(if cfg!(miri) { 150 } else { 1 }) {
                let asked = labels.iter().map(|label| below(name, label));
                let beside = labels.iter().map(|label| below(&apex, label));
                let own = (*name != apex).then(|| name.clone());
                for asked in asked.chain(beside).chain(own) {
                    let is_before = |at: &Vec<u8>| canonical_order(at, &asked).is_le();
                    let expected = names.partition_point(is_before) - 1;
                    let found = find(&ordered, &store, &asked).unwrap();
                    assert_eq!(found.name(), names[expected], "{asked:?}");
                }
            }
        }
    }
}
