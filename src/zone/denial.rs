//! What proves that something does not exist: the NSEC records of a zone in
//! canonical order, and its NSEC3 records in that of their hashes. Both are
//! found by halving. A zone that is not signed has neither, and pays nothing.

use data_encoding::BASE32_DNSSEC;

use super::store::{Node, NodeRef, Store};
use crate::wire::name::canonical_order;

/// Octets of a SHA-1 hash, the only kind there is (RFC 5155 §11).
pub const HASH: usize = 20;
/// Characters of such a hash in base32hex, which is in the same order.
const HASH_LABEL: usize = 32;

/// The chains of a zone, each a circle.
#[derive(Default)]
pub struct Denial {
    nsec: Box<[NodeRef]>,
    nsec3: Box<[NodeRef]>,
}

impl Denial {
    /// The chains of these nodes, each in canonical order of the owners: of
    /// those that own NSEC, and of those that own NSEC3, right below the apex.
    pub fn new(nsec: Vec<NodeRef>, nsec3: Vec<NodeRef>) -> Denial {
        Denial {
            nsec: nsec.into_boxed_slice(),
            nsec3: nsec3.into_boxed_slice(),
        }
    }

    /// The node whose NSEC record is at the name, given lower-cased, or the last
    /// before it: it proves the name, or that there is none. `None` without a
    /// chain.
    pub fn nsec<'z>(&self, store: &'z Store, name: &[u8]) -> Option<Node<'z>> {
        let is_before = |at: &NodeRef| canonical_order(store.node(*at).name(), name).is_le();
        last_before(&self.nsec, is_before).map(|at| store.node(at))
    }

    /// The node whose NSEC3 record has this hash, or the last before it.
    pub fn nsec3<'z>(&self, store: &'z Store, hash: &[u8; HASH]) -> Option<Node<'z>> {
        let mut label = [0; HASH_LABEL];
        BASE32_DNSSEC.encode_mut(hash, &mut label);
        let is_before = |at: &NodeRef| first_label(store.node(*at).name()) <= &label[..];
        last_before(&self.nsec3, is_before).map(|at| store.node(at))
    }

    /// The nodes that own NSEC3, in the order of their hashes.
    pub fn nsec3_nodes<'z>(&self, store: &'z Store) -> impl Iterator<Item = Node<'z>> {
        self.nsec3.iter().map(|&at| store.node(at))
    }

    /// Octets of memory that the chains hold.
    pub fn octets(&self) -> usize {
        size_of_val(&*self.nsec) + size_of_val(&*self.nsec3)
    }
}

/// The last in a sorted circle that is not behind the place; what is before the
/// first is behind the last.
fn last_before(chain: &[NodeRef], is_before: impl Fn(&NodeRef) -> bool) -> Option<NodeRef> {
    let behind = chain.partition_point(is_before);
    let at = behind.checked_sub(1).or(chain.len().checked_sub(1))?;
    Some(chain[at])
}

fn first_label(name: &[u8]) -> &[u8] {
    name.split_first()
        .map_or(&[], |(&length, rest)| &rest[..usize::from(length)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::store::Builder;

    fn store(names: &[&[u8]]) -> (Store, Vec<NodeRef>) {
        let mut builder = Builder::new(names.len());
        let nodes: Vec<NodeRef> = names
            .iter()
            .map(|name| builder.end(name, 0).unwrap())
            .collect();
        (builder.finish(0, std::iter::empty(), Vec::new()), nodes)
    }

    #[test]
    fn the_nsec_at_a_name_or_before_it() {
        let names = [
            &b"\x07example\0"[..],
            b"\x01a\x07example\0",
            b"\x01b\x01a\x07example\0",
            b"\x01z\x07example\0",
        ];
        let (store, nodes) = store(&names);
        let denial = Denial::new(nodes, Vec::new());
        for (asked, found) in [
            (names[0], names[0]),
            (b"\x01*\x07example\0", names[0]),
            (names[1], names[1]),
            (b"\x01a\x01a\x07example\0", names[1]),
            (names[2], names[2]),
            (b"\x01x\x01b\x01a\x07example\0", names[2]),
            (b"\x01y\x07example\0", names[2]),
            (b"\x01z\x01z\x07example\0", names[3]),
            // Before the first is behind the last.
            (b"\x03com\0", names[3]),
        ] {
            let node = denial.nsec(&store, asked).unwrap();
            assert_eq!(node.name(), found, "{asked:?}");
        }
        assert!(denial.nsec3(&store, &[0; HASH]).is_none());
        assert!(Denial::default().nsec(&store, names[0]).is_none());
    }

    #[test]
    fn the_nsec3_of_a_hash_or_before_it() {
        let owner = |hash: &[u8; HASH]| {
            let label = BASE32_DNSSEC.encode(hash);
            [b"\x20", label.as_bytes(), b"\x07example\0"].concat()
        };
        let (low, high) = (owner(&[0x11; HASH]), owner(&[0xee; HASH]));
        let (store, nodes) = store(&[&low, &high]);
        let denial = Denial::new(Vec::new(), nodes);
        for (first, found) in [
            (0x00, &high),
            (0x11, &low),
            (0x80, &low),
            (0xee, &high),
            (0xff, &high),
        ] {
            let mut hash = [0x11; HASH];
            hash.fill(first);
            let node = denial.nsec3(&store, &hash).unwrap();
            assert_eq!(node.name(), found, "{first:x}");
        }
        assert_eq!(denial.nsec3_nodes(&store).count(), 2);
        assert!(denial.nsec(&store, &low).is_none());
    }
}
