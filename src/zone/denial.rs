//! What proves that something does not exist: the NSEC records of a zone in
//! canonical order (`ordered`), or its NSEC3 records in that of their hashes
//! (`hashed`). Which of them show what is in `proof`. A zone that is not signed has
//! neither, and pays nothing.

mod hashed;
mod ordered;

pub use hashed::{HASH, Hashed, HashedBuilder, Parameters, owner_hash};
pub use ordered::{Ordered, in_order, is_before};

use super::store::{Node, Store};

/// The chain of a zone.
#[derive(Default)]
pub enum Denial {
    /// The zone proves nothing.
    #[default]
    None,
    /// NSEC (RFC 4034 §4).
    Nsec(Ordered),
    /// NSEC3 (RFC 5155).
    Nsec3(Hashed),
}

impl Denial {
    /// The nodes with NSEC3 records, which no name finds.
    pub fn hidden_nodes<'z>(&self, store: &'z Store) -> impl Iterator<Item = Node<'z>> {
        let nodes = match self {
            Denial::None | Denial::Nsec(_) => &[],
            Denial::Nsec3(hashed) => hashed.nodes(),
        };
        nodes.iter().map(|&at| store.node(at))
    }

    /// Octets of memory that the chain holds.
    pub fn octets(&self) -> usize {
        match self {
            Denial::None => 0,
            Denial::Nsec(ordered) => ordered.octets(),
            Denial::Nsec3(hashed) => hashed.octets(),
        }
    }
}
