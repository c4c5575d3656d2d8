//! The keys at a zone's apex: which of them a signature names, and what they can sign.

use super::sorted::Sorted;
use crate::wire::RrType;
use crate::wire::rdata::dnssec::{Key, Signature};

/// The keys of a zone that may sign what is in it.
pub struct Keys<'d> {
    keys: Vec<Key<'d>>,
    /// The algorithms with which each set has to be signed (RFC 4035 §2.2), each once.
    algorithms: Vec<u8>,
    /// Whether some are meant to be entered by from the parent.
    has_entry_points: bool,
}

impl<'d> Keys<'d> {
    /// Those of the zone's DNSKEY set.
    pub fn of(sorted: &'d Sorted) -> Keys<'d> {
        let set = sorted.set(sorted.apex, RrType::DNSKEY);
        let records = set.into_iter().flat_map(|set| sorted.records(set));
        let keys = records.filter_map(|record| Key::read(sorted.records.rdata(record)));
        let keys: Vec<Key> = keys.filter(Key::signs_zones).collect();
        let good = || keys.iter().filter(|key| !key.is_revoked());
        let mut algorithms: Vec<u8> = good().map(|key| key.algorithm).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        let has_entry_points = good().any(Key::is_entry_point);
        Keys {
            keys,
            algorithms,
            has_entry_points,
        }
    }

    /// Those that a signature names, each with its place: mostly one, but others may
    /// have its tag.
    pub fn named_by(&self, signature: &Signature) -> impl Iterator<Item = (usize, &Key<'d>)> {
        let wanted = (signature.key_tag, signature.algorithm);
        let keys = self.keys.iter().enumerate();
        keys.filter(move |(_, key)| (key.tag, key.algorithm) == wanted)
    }

    /// The algorithms with which each set has to be signed.
    pub fn algorithms(&self) -> &[u8] {
        &self.algorithms
    }

    /// True for a key whose signature has the zone's keys believed: one that is entered
    /// by, where there are such.
    pub fn is_entered_by(&self, key: &Key) -> bool {
        !key.is_revoked() && (key.is_entry_point() || !self.has_entry_points)
    }
}
