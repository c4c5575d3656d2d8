//! The names met while a zone is read, each once, lower-cased, with a number.
//! Everything that concerns a name is kept in arrays by that number.

use std::hint::black_box;
use std::ops::Range;

use super::memory;
use crate::wire::{LookupName, Name};

/// A name's number, in the order of first appearance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameId(pub u32);

impl NameId {
    /// The number as an index into arrays by name.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Names by number, and numbers by name.
#[derive(Default)]
pub struct Names {
    octets: Vec<u8>,
    entries: Vec<Entry>,
    /// Open addressing with linear probing: the high half of the hash and the
    /// number, or `EMPTY`. A power of two, filled to at most half. With a half
    /// of the hash at hand, a probe seldom looks at a name that is another.
    slots: Vec<u64>,
}

/// What is kept of a name. In one piece, since a probe needs all of it.
#[derive(Clone, Copy)]
struct Entry {
    hash: u64,
    /// Where it starts in the octets, and its length in the lowest eight bits.
    place: u64,
}

impl Entry {
    fn range(self) -> Range<usize> {
        let start = (self.place >> 8) as usize;
        start..start + (self.place & 255) as usize
    }
}

/// Names whose slots are asked for together.
const FETCHED: usize = 32;

/// Octets of a name, as far as they matter for making room beforehand.
pub const OCTETS_PER_NAME: usize = 32;

const EMPTY: u64 = u64::MAX;

impl Names {
    /// How many names there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All numbers, in order.
    pub fn ids(&self) -> impl Iterator<Item = NameId> + use<> {
        (0..self.entries.len() as u32).map(NameId)
    }

    /// The lower-cased wire form.
    pub fn wire(&self, id: NameId) -> &[u8] {
        &self.octets[self.entries[id.index()].range()]
    }

    /// The name, to be shown.
    pub fn name(&self, id: NameId) -> Name {
        Name::from_wire(self.wire(id)).expect("only names are added")
    }

    /// The hash that `LookupName` gives the whole name.
    pub fn hash(&self, id: NameId) -> u64 {
        self.entries[id.index()].hash
    }

    /// The number of the suffix of `name` that begins with `label`, if it has one.
    pub fn find(&self, name: &LookupName, label: usize) -> Option<NameId> {
        self.probe(name.hash_of(label), name.suffix(label)).ok()
    }

    /// The number of that suffix, given to it now if it had none.
    pub fn add(&mut self, name: &LookupName, label: usize) -> NameId {
        self.add_hashed(name.hash_of(label), name.suffix(label))
    }

    fn add_hashed(&mut self, hash: u64, wire: &[u8]) -> NameId {
        self.make_slots(1);
        match self.probe(hash, wire) {
            Ok(id) => id,
            Err(slot) => {
                let id = self.entries.len() as u32;
                self.entries.push(Entry {
                    hash,
                    place: (self.octets.len() as u64) << 8 | wire.len() as u64,
                });
                self.octets.extend_from_slice(wire);
                self.slots[slot] = filled(hash, id);
                NameId(id)
            }
        }
    }

    /// Forgets all names, and keeps the memory.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.octets.clear();
        self.slots.fill(EMPTY);
    }

    /// Adds all of `others`, and returns their numbers here.
    pub fn add_all(&mut self, others: &Names) -> Vec<NameId> {
        if others.is_empty() {
            return Vec::new();
        }
        self.make_slots(others.len());
        let mask = self.slots.len() - 1;
        let mut numbers = Vec::with_capacity(others.len());
        for entries in others.entries.chunks(FETCHED) {
            // The table is not in the cache; asked for in one go, what these
            // names need comes all at once.
            let slots = entries.iter().map(|entry| entry.hash as usize & mask);
            black_box(slots.fold(0, |seen, slot| seen ^ self.slots[slot]));
            for entry in entries {
                numbers.push(self.add_hashed(entry.hash, &others.octets[entry.range()]));
            }
        }
        numbers
    }

    /// The number, or the slot where it would stand.
    fn probe(&self, hash: u64, wire: &[u8]) -> Result<NameId, usize> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut slot = hash as usize & mask;
        if self.slots.is_empty() {
            return Err(0);
        }
        loop {
            match self.slots[slot] {
                EMPTY => return Err(slot),
                slot if slot >> 32 == hash >> 32 && self.wire(NameId(slot as u32)) == wire => {
                    return Ok(NameId(slot as u32));
                }
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    /// Makes room for so many names, to spare growing on the way.
    pub fn reserve(&mut self, names: usize) {
        memory::reserve(&mut self.entries, names);
        memory::reserve(&mut self.octets, names * OCTETS_PER_NAME);
        self.make_slots(names);
    }

    /// Makes the table large enough for so many more names.
    fn make_slots(&mut self, more: usize) {
        let needed = 2 * (self.entries.len() + more);
        if needed <= self.slots.len() {
            return;
        }
        let size = needed.next_power_of_two().max(64);
        let mask = size - 1;
        self.slots = memory::filled(EMPTY, size);
        for (id, entry) in self.entries.iter().enumerate() {
            let mut slot = entry.hash as usize & mask;
            while self.slots[slot] != EMPTY {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = filled(entry.hash, id as u32);
        }
    }
}

/// A slot that holds a number.
fn filled(hash: u64, id: u32) -> u64 {
    hash >> 32 << 32 | u64::from(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_once_without_regard_to_case() {
        let mut names = Names::default();
        let name = |text: &str| LookupName::of(&text.parse().unwrap());
        assert_eq!(names.find(&name("a.example"), 0), None);
        let first = names.add(&name("a.example"), 0);
        assert_eq!(names.add(&name("A.EXAMPLE"), 0), first);
        let above = names.add(&name("b.example"), 1);
        assert_eq!(names.find(&name("example"), 0), Some(above));
        assert_eq!(
            (names.len(), names.name(first).to_string()),
            (2, "a.example.".into())
        );
        for number in 0..1000 {
            names.add(&name(&format!("n{number}.example")), 0);
        }
        assert_eq!(names.len(), 1002);
        assert_eq!(names.find(&name("a.example"), 0), Some(first));
        assert_eq!(
            names.wire(names.find(&name("n7.example"), 0).unwrap()),
            b"\x02n7\x07example\0"
        );
    }
}
