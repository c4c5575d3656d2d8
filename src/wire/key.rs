//! A name made ready for finding: lower-cased, its labels marked, and the hash
//! of every one of its suffixes, all from one walk over the octets. A lookup
//! that misses climbs towards the root without hashing again.

use super::name::{MAX_LABEL, MAX_NAME};

/// Labels in the longest name: 127 of one octet each, and the root.
const MAX_LABELS: usize = 128;
/// Words are read and written eight octets at a time, so the last may run over.
const PADDED: usize = MAX_NAME + 9;
/// An odd constant with well-mixed bits: the fraction of the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const ROOT_HASH: u64 = 0x243f_6a88_85a3_08d3;

/// A lower-cased name with the hashes of its suffixes.
///
/// ```text
/// lower    3 w w w 7 e x a m p l e 0
/// starts   0       4               (12)
/// hashes   [0]     [1]             [2] = the root's
/// ```
///
/// Made once and set again for each name: it is 1.4 KiB of which a typical
/// name touches 100 octets.
#[derive(Clone)]
pub struct Key {
    lower: [u8; PADDED],
    starts: [u8; MAX_LABELS],
    hashes: [u64; MAX_LABELS],
    length: u8,
    labels: u8,
}

impl Key {
    /// The key of the root.
    pub fn new() -> Key {
        let mut key = Key {
            lower: [0; PADDED],
            starts: [0; MAX_LABELS],
            hashes: [0; MAX_LABELS],
            length: 1,
            labels: 0,
        };
        key.hashes[0] = ROOT_HASH;
        key
    }

    /// Takes the uncompressed name at the start of `octets`. `None` where
    /// there is no valid one; the key is then good for nothing until it is set
    /// again.
    #[inline]
    pub fn set(&mut self, octets: &[u8]) -> Option<()> {
        self.mark(octets)?;
        let length = self.length();
        self.lower[..length].copy_from_slice(&octets[..length]);
        self.lower_and_hash();
        Some(())
    }

    /// The key of a name, for code that has no key to set.
    pub fn of(name: &super::Name) -> Key {
        let mut key = Key::new();
        let valid = key.set(name.as_wire());
        debug_assert!(valid.is_some(), "a Name is valid");
        key
    }

    /// Octets of the whole name.
    #[inline]
    pub fn length(&self) -> usize {
        self.length as usize
    }

    /// Labels of the whole name, the root not counted.
    #[inline]
    pub fn labels(&self) -> usize {
        self.labels as usize
    }

    /// The lower-cased suffix that begins with label `label`; the whole name
    /// for 0, the root for `labels()`.
    #[inline]
    pub fn suffix(&self, label: usize) -> &[u8] {
        &self.lower[self.start(label)..self.length as usize]
    }

    /// Where in the name the suffix of label `label` starts.
    #[inline]
    pub fn start(&self, label: usize) -> usize {
        self.starts[label] as usize
    }

    /// The hash of that suffix.
    #[inline]
    pub fn hash_of(&self, label: usize) -> u64 {
        self.hashes[label]
    }

    /// Finds the labels.
    #[inline]
    fn mark(&mut self, octets: &[u8]) -> Option<()> {
        let mut at = 0;
        // 127 labels and the root fill a name, so the places never run out
        // before its length does.
        for (label, start) in self.starts.iter_mut().enumerate() {
            let length = *octets.get(at)? as usize;
            *start = at as u8;
            at += 1 + length;
            if length == 0 {
                self.length = at as u8;
                self.labels = label as u8;
                return Some(());
            }
            if length > MAX_LABEL || at >= MAX_NAME {
                return None;
            }
        }
        None
    }

    /// Lowers and hashes, eight octets a step and from the root leftwards: the
    /// hash of a suffix is that of the next one with one label mixed in. A word
    /// may reach into the label behind, where it finds what it would write.
    /// Length octets are under 64 and so never taken for letters, which begin
    /// at 65.
    #[inline]
    fn lower_and_hash(&mut self) {
        let labels = self.labels as usize;
        let mut hash = ROOT_HASH;
        self.hashes[labels] = hash;
        for (start, place) in self.starts[..labels]
            .iter()
            .zip(&mut self.hashes[..labels])
            .rev()
        {
            let mut at = *start;
            let mut left = 1 + self.lower[at as usize];
            while left > 8 {
                hash = mix(hash ^ lower_word(&mut self.lower, at));
                at = at.wrapping_add(8);
                left -= 8;
            }
            hash = mix(hash ^ (lower_word(&mut self.lower, at) & (u64::MAX >> (64 - 8 * left))));
            *place = hash;
        }
    }
}

/// Lowers eight octets in place and returns them. The place is an octet so that
/// it is plain to the compiler that they are within the buffer.
#[inline]
fn lower_word(buffer: &mut [u8; PADDED], at: u8) -> u64 {
    let place = &mut buffer[at as usize..at as usize + 8];
    let word = to_lower(u64::from_le_bytes((&*place).try_into().unwrap()));
    place.copy_from_slice(&word.to_le_bytes());
    word
}

impl Default for Key {
    fn default() -> Key {
        Key::new()
    }
}

/// Both halves of the product folded together, as wyhash does.
#[inline]
fn mix(value: u64) -> u64 {
    let product = u128::from(value) * u128::from(MULTIPLIER);
    product as u64 ^ (product >> 64) as u64
}

/// Eight octets to ASCII lower case at once: an octet is a capital where
/// adding what lies between `A` and 128 sets its high bit and adding what lies
/// above `Z` does not.
#[inline]
fn to_lower(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let low = word & (0x7f * ONES);
    let from_a = low + (0x80 - b'A' as u64) * ONES;
    let past_z = low + (0x7f - b'Z' as u64) * ONES;
    let capital = (from_a & !past_z) & !word & (0x80 * ONES);
    word | capital >> 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Name;

    #[test]
    fn every_octet_lowers_as_ascii_does() {
        for octet in 0..=255u8 {
            for place in 0..8 {
                let mut octets = [b'A', b'Z', 0, 255, b'@', b'[', b'z', 0x80];
                octets[place] = octet;
                let lowered = to_lower(u64::from_le_bytes(octets)).to_le_bytes();
                octets.make_ascii_lowercase();
                assert_eq!(lowered, octets);
            }
        }
    }

    #[test]
    fn a_suffix_hashes_as_the_name_does() {
        let key = Key::of(
            &"a.BB.a-label-longer-than-eight-octets.example"
                .parse()
                .unwrap(),
        );
        for (label, text) in [
            (1, "bb.a-label-longer-than-eight-octets.example"),
            (3, "example"),
            (4, "."),
        ] {
            let own = Key::of(&text.parse::<Name>().unwrap());
            assert_eq!(key.suffix(label), own.suffix(0));
            assert_eq!(key.hash_of(label), own.hash_of(0));
        }
    }

    #[test]
    fn label_boundaries_count() {
        let hash = |wire: &[u8]| Key::of(&Name::from_wire(wire).unwrap()).hash_of(0);
        assert_ne!(hash(b"\x03a\x01b\0"), hash(b"\x01a\x01b\0"));
        assert_ne!(hash(b"\x02ab\0"), hash(b"\x01a\x01b\0"));
    }

    #[test]
    fn takes_the_longest_name_and_no_longer() {
        let mut deepest = b"\x01a".repeat(127);
        deepest.push(0);
        let mut key = Key::new();
        assert!(key.set(&deepest).is_some());
        assert_eq!((key.length(), key.labels()), (255, 127));
        deepest.splice(254..254, *b"\x01a");
        assert!(key.set(&deepest).is_none());
        for broken in [&b""[..], b"\x01a", b"\x40", b"\xc0\x0c"] {
            assert!(key.set(broken).is_none());
        }
    }
}
