//! The set of zones that is served: one immutable snapshot, found by longest
//! match.

use std::cmp::Reverse;
use std::sync::Arc;

use super::lookup::Zone;
use crate::wire::name::{canonical_order, common_end};
use crate::wire::octets;
use crate::wire::{LookupName, RrType};

/// Zones by name.
#[derive(Default)]
pub struct Zones {
    /// In canonical order of their names, for whoever lists them.
    all: Vec<Arc<Zone>>,
    /// Open addressing over the hash of the apex, with it: index into `all`
    /// plus 1, 0 = empty. A power of two, filled to at most half.
    slots: Vec<(u64, u32)>,
    /// How many labels apexes have, falling, each number once: a name is looked
    /// up only where a zone can be. Empty where there are too many.
    depths: Vec<Depth>,
    /// For each zone the index of the closest one that holds it, or its own; there
    /// where `depths` is not. Names are then looked up in the order of `all`.
    above: Vec<u32>,
}

/// Numbers of labels that are tried one by one, each of which hashes the end of a name.
/// Hardly anybody has zones below zones below zones that often.
const MAX_DEPTHS: usize = 8;

/// A number of labels that apexes have.
struct Depth {
    labels: u8,
    /// The zone that alone has so many. It is compared with straight away,
    /// which takes half as long as hashing the name's end and finding a slot.
    alone: Option<Arc<Zone>>,
}

impl Zones {
    /// The snapshot of these zones, each of a name of its own.
    pub fn new(mut all: Vec<Arc<Zone>>) -> Zones {
        all.sort_by(|one, other| canonical_order(apex_of(one), apex_of(other)));
        debug_assert!(
            all.windows(2).all(|pair| pair[0].apex() != pair[1].apex()),
            "a zone is there twice"
        );
        let size = (2 * all.len()).next_power_of_two();
        let mut slots = vec![(0, 0); size];
        let mut depths = Vec::new();
        for (index, zone) in all.iter().enumerate() {
            let mut slot = zone.lookup_name().hash_of(0) as usize & (size - 1);
            while slots[slot].1 != 0 {
                slot = (slot + 1) & (size - 1);
            }
            slots[slot] = (zone.lookup_name().hash_of(0), index as u32 + 1);
            depths.push(Depth {
                labels: zone.lookup_name().labels() as u8,
                alone: Some(zone.clone()),
            });
        }
        depths.sort_by_key(|depth| Reverse(depth.labels));
        depths.dedup_by(|next, kept| {
            let same = next.labels == kept.labels;
            if same {
                kept.alone = None;
            }
            same
        });
        let mut above = Vec::new();
        if depths.len() > MAX_DEPTHS {
            depths.clear();
            above = closest_above(&all);
        }
        Zones {
            all,
            slots,
            depths,
            above,
        }
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
    /// name; for DS at an apex the next one above, where there is one here
    /// (RFC 4035 §3.1.4.1): the parent, or a zone that refers to it or knows of no
    /// such name.
    #[inline]
    pub fn find(&self, name: &LookupName, rtype: RrType) -> Option<&Zone> {
        let zone = self.deepest(name, name.labels())?;
        if rtype == RrType::DS {
            return Some(self.parent(zone, name));
        }
        Some(zone)
    }

    /// True where `zone`, which holds the name, is the one that answers for it and
    /// a type: no other that holds it is deeper.
    pub fn is_in(&self, zone: &Zone, name: &LookupName, rtype: RrType) -> bool {
        if rtype != RrType::DS
            && let Some(deepest) = self.depths.first()
            && usize::from(deepest.labels) <= zone.lookup_name().labels()
        {
            return true;
        }
        let found = self.find(name, rtype);
        found.is_some_and(|found| std::ptr::eq(found, zone))
    }

    /// The zone to ask for DS: where the name is the apex of the deepest zone that
    /// holds it, the next one above.
    #[cold]
    #[inline(never)]
    fn parent<'z>(&'z self, deepest: &'z Zone, name: &LookupName) -> &'z Zone {
        let above = match name.labels().checked_sub(1) {
            Some(most) if deepest.lookup_name().labels() > most => self.deepest(name, most),
            _ => None,
        };
        above.unwrap_or(deepest)
    }

    /// The deepest zone at or above the name whose apex has at most `most`
    /// labels, which the name has as well.
    #[inline(always)]
    fn deepest(&self, name: &LookupName, most: usize) -> Option<&Zone> {
        for depth in &self.depths {
            let labels = usize::from(depth.labels);
            if labels > most {
                continue;
            }
            let start = name.labels() - labels;
            let found = match &depth.alone {
                Some(zone) => is_at(zone, name, start).then_some(&**zone),
                None => self.at(name, start),
            };
            if found.is_some() {
                return found;
            }
        }
        self.deepest_of_many(name, most)
    }

    /// The same where zones are nested deeply: whatever holds the name holds the last
    /// zone that is not behind it, too.
    #[cold]
    #[inline(never)]
    fn deepest_of_many(&self, name: &LookupName, most: usize) -> Option<&Zone> {
        if self.above.is_empty() {
            return None;
        }
        let label = name.labels() - most.min(name.labels());
        let (name_end, marked) = (name.suffix(label), name.marked(label));
        let is_before = |zone: &Arc<Zone>| {
            let apex = zone.lookup_name().marked(0);
            marked.order_of_marked(&apex).is_le()
        };
        let mut at = self.all.partition_point(is_before).checked_sub(1)?;
        let same = common_end(apex_of(&self.all[at]), name_end);
        loop {
            let zone = &self.all[at];
            if zone.lookup_name().length() <= same && zone.holds(name) {
                return Some(zone);
            }
            let above = self.above[at] as usize;
            if above == at {
                return None;
            }
            at = above;
        }
    }

    /// The zone whose apex is the suffix that begins with label `label`.
    #[inline(never)]
    fn at(&self, name: &LookupName, label: usize) -> Option<&Zone> {
        let hash = name.hash_of(label);
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let (known, index) = self.slots[slot];
            if index == 0 {
                return None;
            }
            // Names whose hashes agree are compared where there is one left.
            if known == hash {
                let zone = &self.all[index as usize - 1];
                if is_at(zone, name, label) {
                    return Some(zone);
                }
            }
            slot = (slot + 1) & mask;
        }
    }
}

/// The index of the closest other zone that holds each, or else its own. Zones in
/// canonical order come behind those that hold them.
fn closest_above(all: &[Arc<Zone>]) -> Vec<u32> {
    let mut above = Vec::with_capacity(all.len());
    let mut open: Vec<usize> = Vec::new();
    for (at, zone) in all.iter().enumerate() {
        while let Some(&last) = open.last()
            && !all[last].holds(zone.lookup_name())
        {
            open.pop();
        }
        above.push(open.last().copied().unwrap_or(at) as u32);
        open.push(at);
    }
    above
}

/// The apex as it is found by, lower-cased.
fn apex_of(zone: &Zone) -> &[u8] {
    zone.lookup_name().suffix(0)
}

#[inline(always)]
fn is_at(zone: &Zone, name: &LookupName, label: usize) -> bool {
    octets::equal(zone.lookup_name().suffix(0), name.suffix(label))
}
