//! The keys at a zone's apex: which of them a signature names, and what signatures by
//! them do for a set (`check` looks at their fields, `verify` at their octets).

use super::sorted::Sorted;
use crate::wire::RrType;
use crate::wire::rdata::dnssec::{Key, Signature};

/// The keys of a zone that may sign what is in it.
pub struct Keys<'d> {
    /// The zone's name, in wire form.
    apex: &'d [u8],
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
            apex: sorted.records.names.wire(sorted.apex),
            keys,
            algorithms,
            has_entry_points,
        }
    }

    /// Who made a signature, going by the names in it.
    pub fn maker(&self, signature: &Signature) -> By {
        if !signature.signer.eq_ignore_ascii_case(self.apex) {
            return By::Foreign;
        }
        let mut by = By::Nobody;
        for (_, key) in self.named_by(signature) {
            let mut algorithms = self.algorithms.iter();
            match algorithms.position(|own| *own == key.algorithm) {
                Some(algorithm) if !key.is_revoked() => {
                    let is_entered = key.is_entry_point() || !self.has_entry_points;
                    return By::Key {
                        algorithm,
                        is_entered,
                    };
                }
                _ => by = By::Revoked,
            }
        }
        by
    }

    /// True for a signature of a set of this type that the set can do without, since
    /// others do the same for it.
    pub fn is_spare(&self, rtype: RrType, by: By, done: Done) -> bool {
        match by {
            By::Key {
                algorithm,
                is_entered,
            } => {
                let lets_in = rtype == RrType::DNSKEY && is_entered;
                done.has(algorithm) && (done.is_entered || !lets_in)
            }
            _ => !self.algorithms.is_empty() && self.missing(done).is_none(),
        }
    }

    /// An algorithm with which nothing is done for a set.
    pub fn missing(&self, done: Done) -> Option<u8> {
        let mut algorithms = self.algorithms.iter().enumerate();
        let (_, algorithm) = algorithms.find(|(at, _)| !done.has(*at))?;
        Some(*algorithm)
    }

    /// Those that a signature names, each with its place: mostly one, but others may
    /// have its tag.
    pub fn named_by(&self, signature: &Signature) -> impl Iterator<Item = (usize, &Key<'d>)> {
        let wanted = (signature.key_tag, signature.algorithm);
        let keys = self.keys.iter().enumerate();
        keys.filter(move |(_, key)| (key.tag, key.algorithm) == wanted)
    }
}

/// Who made a signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Somebody who is not the zone.
    Foreign,
    /// A key that the zone does not have.
    Nobody,
    /// A key that is not to be believed.
    Revoked,
    /// A key of the algorithm with this place, and whether the zone is entered by it: one
    /// that is meant for that, where there are such.
    Key {
        /// The place among the algorithms of the zone.
        algorithm: usize,
        /// Whether it has the zone's keys believed.
        is_entered: bool,
    },
}

/// What signatures do for a set together, whatever is wrong with others of it.
#[derive(Clone, Copy, Default)]
pub struct Done {
    /// A bit for each algorithm.
    algorithms: u64,
    /// There is one by a key with which the zone is entered.
    pub is_entered: bool,
}

impl Done {
    /// Adds what a signature does.
    pub fn add(&mut self, by: By) {
        if let By::Key {
            algorithm,
            is_entered,
        } = by
        {
            self.algorithms |= bit(algorithm);
            self.is_entered |= is_entered;
        }
    }

    fn has(self, algorithm: usize) -> bool {
        self.algorithms & bit(algorithm) != 0
    }
}

fn bit(algorithm: usize) -> u64 {
    1 << algorithm.min(63)
}
