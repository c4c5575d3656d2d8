//! The set of zones that is served: one immutable snapshot, found by longest
//! match.

use std::sync::Arc;

use super::lookup::Zone;
use crate::wire::{Key, Name, RrType};

/// Zones by name.
#[derive(Default)]
pub struct Zones {
    /// In canonical order of their names, for whoever lists them.
    all: Vec<Arc<Zone>>,
    /// Open addressing over the hash of the apex, with it: index into `all`
    /// plus 1, 0 = empty. A power of two, filled to at most half.
    slots: Vec<(u64, u32)>,
    /// How many labels apexes have, falling, each number once: a name is looked
    /// up only where a zone can be.
    depths: Vec<u8>,
}

/// A name that more than one zone has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the zone {0} is there twice")]
pub struct DuplicateZone(pub Box<Name>);

impl Zones {
    /// The snapshot of these zones.
    ///
    /// # Errors
    ///
    /// A name that more than one of them has.
    pub fn new(mut all: Vec<Arc<Zone>>) -> Result<Zones, DuplicateZone> {
        all.sort_by_cached_key(|zone| {
            let labels: Vec<Vec<u8>> = zone
                .apex()
                .to_lower()
                .labels()
                .map(<[u8]>::to_vec)
                .collect();
            labels.into_iter().rev().collect::<Vec<_>>()
        });
        if let Some(twice) = all.windows(2).find(|pair| pair[0].apex() == pair[1].apex()) {
            return Err(DuplicateZone(Box::new(*twice[0].apex())));
        }
        let size = (2 * all.len()).next_power_of_two();
        let mut slots = vec![(0, 0); size];
        let mut depths = Vec::new();
        for (index, zone) in all.iter().enumerate() {
            let mut slot = zone.key().hash_of(0) as usize & (size - 1);
            while slots[slot].1 != 0 {
                slot = (slot + 1) & (size - 1);
            }
            slots[slot] = (zone.key().hash_of(0), index as u32 + 1);
            depths.push(zone.key().labels() as u8);
        }
        depths.sort_unstable_by(|a, b| b.cmp(a));
        depths.dedup();
        Ok(Zones { all, slots, depths })
    }

    /// The zones, parents before their children.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Zone>> {
        self.all.iter()
    }

    /// How many zones there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The zone that answers for a name and a type: the deepest that holds the
    /// name; for DS at an apex the parent, if it is here (RFC 4035 §3.1.4.1). A
    /// zone further up that delegates another zone in between is not the parent.
    #[inline]
    pub fn find(&self, key: &Key, rtype: RrType) -> Option<&Zone> {
        let zone = self.deepest(key, 0)?;
        if rtype == RrType::DS && zone.key().labels() == key.labels() && key.labels() > 0 {
            return self
                .deepest(key, 1)
                .filter(|above| above.delegates(key))
                .or(Some(zone));
        }
        Some(zone)
    }

    /// The deepest zone at or above the suffix that begins with `label`.
    #[inline]
    fn deepest(&self, key: &Key, label: usize) -> Option<&Zone> {
        let labels = key.labels();
        for &depth in &self.depths {
            let start = labels.wrapping_sub(depth.into());
            // A depth below the name's own wraps to a label past all others.
            if start >= label
                && start <= labels
                && let Some(zone) = self.at(key, start)
            {
                return Some(zone);
            }
        }
        None
    }

    #[inline]
    fn at(&self, key: &Key, label: usize) -> Option<&Zone> {
        let hash = key.hash_of(label);
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let (known, index) = self.slots[slot];
            // Names whose hashes agree are compared where there is one left.
            if known == hash && index != 0 {
                let zone = &self.all[index as usize - 1];
                if zone.key().suffix(0) == key.suffix(label) {
                    return Some(zone);
                }
            }
            if index == 0 {
                return None;
            }
            slot = (slot + 1) & mask;
        }
    }
}
