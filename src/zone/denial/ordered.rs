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

use super::super::store::{Node, NodeRef, Store};
use crate::wire::name::{MAX_LABELS, MAX_NAME, canonical_order};

use arrayvec::ArrayVec;

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
    /// Labels of the apex.
    apex: usize,
}

impl Ordered {
    /// The chain of these nodes, which are in canonical order, in a zone whose
    /// apex has so many labels. `name` tells a node's name.
    pub fn new<'n>(nodes: Vec<NodeRef>, apex: usize, name: impl Fn(usize) -> &'n [u8]) -> Ordered {
        let whole = |at: usize| whole_key(name(at), apex);
        // What the first and the last have in common, all between them have.
        let common = match nodes.len() {
            0 | 1 => Vec::new(),
            count => {
                let (first, last) = (whole(1), whole(count - 1));
                let same = first
                    .iter()
                    .zip(&last)
                    .take_while(|(one, other)| one == other);
                first[..same.count()].to_vec()
            }
        };
        let sampled = (0..nodes.len()).step_by(STEP);
        let keys = sampled.map(|at| cut(&whole(at), &common)).collect();
        Ordered {
            nodes: nodes.into_boxed_slice(),
            keys,
            common: common.into_boxed_slice(),
            apex,
        }
    }

    /// The node at the name, given lower-cased, or the last before it, whose NSEC
    /// record proves the name, or that there is none. `None` for an empty chain.
    pub fn find<'z>(&self, store: &'z Store, name: &[u8]) -> Option<Node<'z>> {
        let key = cut(&whole_key(name, self.apex), &self.common);
        // Sampled names of a lower key are before the name, those of a higher one
        // behind it.
        let lower = self.keys.partition_point(|sample| *sample < key);
        let higher = self.keys.partition_point(|sample| *sample <= key);
        let from = lower.saturating_sub(1) * STEP;
        let between = &self.nodes[from..self.nodes.len().min(higher * STEP)];
        let is_before = |at: &NodeRef| canonical_order(store.node(*at).name(), name).is_le();
        let behind = from + between.partition_point(is_before);
        let at = behind.checked_sub(1).or(self.nodes.len().checked_sub(1))?;
        Some(store.node(self.nodes[at]))
    }

    /// Octets of memory that the chain holds.
    pub fn octets(&self) -> usize {
        size_of_val(&*self.nodes) + size_of_val(&*self.keys) + self.common.len()
    }
}

/// The key of a name, not yet cut: no longer than the name, since each label ends in
/// an octet instead of beginning with one.
fn whole_key(name: &[u8], apex: usize) -> ArrayVec<u8, MAX_NAME> {
    let mut starts = ArrayVec::<u8, MAX_LABELS>::new();
    let mut at = 0;
    while name[at] != 0 {
        starts.push(at as u8);
        at += 1 + usize::from(name[at]);
    }
    let mut key = ArrayVec::new();
    let below = starts.len().saturating_sub(apex);
    for &start in starts[..below].iter().rev() {
        let start = usize::from(start);
        let label = &name[start + 1..][..usize::from(name[start])];
        for &octet in label {
            key.push(octet.max(1));
            if octet <= 1 {
                return key;
            }
        }
        key.push(0);
    }
    key
}

/// The first octets of a key behind what all have in common. What differs there
/// is before all or behind all.
fn cut(key: &[u8], common: &[u8]) -> u128 {
    let length = key.len().min(common.len());
    match key[..length].cmp(&common[..length]) {
        std::cmp::Ordering::Less => return 0,
        std::cmp::Ordering::Greater => return u128::MAX,
        std::cmp::Ordering::Equal => {}
    }
    let mut octets = [0; KEY];
    let rest = &key[length..];
    let length = rest.len().min(KEY);
    octets[..length].copy_from_slice(&rest[..length]);
    u128::from_be_bytes(octets)
}

#[cfg(test)]
mod tests {
    use super::super::super::store::Builder;
    use super::*;

    fn chain(mut names: Vec<Vec<u8>>, apex: usize) -> (Store, Ordered, Vec<Vec<u8>>) {
        names.sort_by(|one, other| canonical_order(one, other));
        names.dedup();
        let mut builder = Builder::new(names.len());
        let end = |name: &Vec<u8>| builder.end(name, 0).unwrap();
        let nodes: Vec<NodeRef> = names.iter().map(end).collect();
        let ordered = Ordered::new(nodes, apex, |at| &names[at]);
        let store = builder.finish(0, std::iter::empty(), Vec::new());
        (store, ordered, names)
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
        let (store, ordered, _) = chain(owned, 1);
        for (asked, found) in [
            (names[0], names[0]),
            (b"\x01*\x07example\0", names[0]),
            (names[1], names[1]),
            (b"\x01a\x01a\x07example\0", names[1]),
            (names[2], names[2]),
            (b"\x01x\x01b\x01a\x07example\0", names[2]),
            (b"\x01y\x07example\0", names[2]),
            (b"\x01z\x01z\x07example\0", names[3]),
        ] {
            let node = ordered.find(&store, asked).unwrap();
            assert_eq!(node.name(), found, "{asked:?}");
        }
        let (store, ordered, _) = chain(Vec::new(), 1);
        assert!(ordered.find(&store, names[0]).is_none());
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
            let (store, ordered, names) = chain(names, 1);
            assert!(ordered.keys.len() > 20);
            for name in &names {
                let asked = labels.iter().map(|label| below(name, label));
                let beside = labels.iter().map(|label| below(&apex, label));
                for asked in asked.chain(beside).chain([name.clone()]) {
                    let is_before = |at: &Vec<u8>| canonical_order(at, &asked).is_le();
                    let expected = names.partition_point(is_before) - 1;
                    let found = ordered.find(&store, &asked).unwrap();
                    assert_eq!(found.name(), names[expected], "{asked:?}");
                }
            }
        }
    }
}
