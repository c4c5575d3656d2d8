//! A name made ready for finding: lower-cased, its labels marked, and its hash.
//! Those of its suffixes are computed when they are asked for, which a name
//! that is found at once never does.

use std::sync::OnceLock;

use super::name::{MAX_LABEL, MAX_NAME, Marked};

/// The longest name has 127 labels and the root. With twice the places, any
/// octet is the number of one, which spares checking that it is.
const PLACES: usize = 256;
/// Names are hashed sixteen octets at a time, and the last may run over.
const STEP: usize = 16;
const PADDED: usize = MAX_NAME + STEP + 1;
/// Well-mixed bits: the fractions of pi and of the golden ratio.
const FIXED: Key = [0x243f_6a88_85a3_08d3, 0x9e37_79b9_7f4a_7c15];

/// What a hash begins with, and what each step is multiplied by. Neither may be known
/// to who chooses names: a step that is the second is multiplied to 0, whatever came
/// before it.
type Key = [u64; 2];

/// One for the process, so that nobody can choose names for a zone that all begin at
/// one slot.
static KEY: OnceLock<Key> = OnceLock::new();

fn chance() -> Key {
    // Without any there is no telling who chose the names, and no server either.
    let chance = || getrandom::u64().unwrap_or(0);
    FIXED.map(|word| word ^ chance())
}

/// Has names hash alike in every process, for those that count instructions. To be
/// called before there are names.
#[doc(hidden)]
pub fn fix_hashes() {
    let known = KEY.get_or_init(|| FIXED);
    assert!(*known == FIXED, "there are names already");
}

/// A lower-cased name, ready for finding.
///
/// ```text
/// lower    3 w w w 7 e x a m p l e 0 0 0 0 0 0 0 0 0
/// starts   0       4               12
/// ```
///
/// The octets behind the name are zero as far as its last step can reach. Made
/// once and set again for each name.
#[derive(Clone)]
pub struct LookupName {
    lower: [u8; PADDED],
    starts: [u8; PLACES],
    key: Key,
    /// Of the whole name.
    hash: u64,
    length: u8,
    labels: u8,
}

impl LookupName {
    /// The root.
    pub fn new() -> LookupName {
        let mut name = LookupName {
            lower: [0; PADDED],
            starts: [0; PLACES],
            key: *KEY.get_or_init(chance),
            hash: 0,
            length: 1,
            labels: 0,
        };
        name.hash = name.hash_from(0);
        name
    }

    /// Takes the uncompressed name at the start of `octets`. `None` where
    /// there is no valid one; what was set is then good for nothing until it is set
    /// again.
    // Not inlined: alone it keeps all that it needs in registers.
    #[inline(never)]
    pub fn set(&mut self, octets: &[u8]) -> Option<()> {
        let name = self.mark(octets)?;
        let lower = &mut self.lower[..name.len()];
        // The first N octets and the last are all, as in `octets::copy`.
        match name.len() {
            16..=32 => lower_ends::<16>(lower, name),
            33..=64 => lower_ends::<32>(lower, name),
            8..=15 => lower_words(lower, name),
            _ => return self.set_any(name),
        }
        self.seal(name.len());
        Some(())
    }

    /// A name, for code that has no `LookupName` to set.
    pub fn of(name: &super::Name) -> LookupName {
        let mut lookup = LookupName::new();
        let valid = lookup.set(name.as_wire());
        debug_assert!(valid.is_some(), "a Name is valid");
        lookup
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
        // Mostly the whole name is meant, which is known where this is inlined.
        if label == 0 {
            return 0;
        }
        self.starts[label] as usize
    }

    /// A suffix with its labels, without their lengths.
    pub fn marked(&self, label: usize) -> Marked<'_> {
        Marked::new(self.suffix(label), &self.starts[label..=self.labels()])
    }

    /// The hash of that suffix, which is that of a name of its own.
    #[inline]
    pub fn hash_of(&self, label: usize) -> u64 {
        if label == 0 {
            return self.hash;
        }
        self.hash_from(self.start(label))
    }

    /// The same for names that may be deep, as closest enclosers are: their steps are
    /// counted first, which costs more than it spares where there are one or two.
    #[inline(always)]
    pub fn hash_of_deep(&self, label: usize) -> u64 {
        if label == 0 {
            return self.hash;
        }
        let start = self.start(label);
        let steps = (self.length() - start).div_ceil(STEP);
        let [hash, multiplier] = self.key;
        let steps = &self.lower[start..].as_chunks::<STEP>().0[..steps];
        let hashed = |hash, step: &_| mix_step(hash, multiplier, step);
        steps.iter().fold(hash, hashed)
    }

    /// Finds the labels, and with them the end of the name.
    #[inline(always)]
    fn mark<'m>(&mut self, octets: &'m [u8]) -> Option<&'m [u8]> {
        let octets = &octets[..octets.len().min(MAX_NAME)];
        // The octets run out before the places do: 127 labels fill a name.
        let (mut at, mut label, mut lengths) = (0, 0u8, 0);
        loop {
            let length = usize::from(*octets.get(at)?);
            self.starts[usize::from(label)] = at as u8;
            at += length + 1;
            lengths |= length;
            if length == 0 {
                break;
            }
            label = label.wrapping_add(1);
        }
        self.length = at as u8;
        self.labels = label;
        // Too long a label sets a bit that no length has.
        (lengths <= MAX_LABEL).then_some(&octets[..at])
    }

    /// Names shorter or longer than nearly all.
    #[cold]
    #[inline(never)]
    fn set_any(&mut self, name: &[u8]) -> Option<()> {
        let lower = &mut self.lower[..name.len()];
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.seal(name.len());
        Some(())
    }

    /// What is left to do with the lower-cased octets.
    #[inline(always)]
    fn seal(&mut self, end: usize) {
        self.lower[end..end + STEP].fill(0);
        self.hash = self.hash_from(0);
    }

    /// Hashes what begins at `start`, as wyhash does. No name is the start of
    /// another, so the zeros behind the last octet are not mistaken for some of
    /// the name.
    #[inline(always)]
    fn hash_from(&self, start: usize) -> u64 {
        let (mut rest, mut left) = (&self.lower[start..], self.length() - start);
        let [mut hash, multiplier] = self.key;
        while let Some((step, behind)) = rest.split_first_chunk::<STEP>() {
            hash = mix_step(hash, multiplier, step);
            if left <= STEP {
                break;
            }
            (rest, left) = (behind, left - STEP);
        }
        hash
    }
}

/// One step of a hash.
#[inline(always)]
fn mix_step(hash: u64, multiplier: u64, step: &[u8; STEP]) -> u64 {
    let step = u128::from_le_bytes(*step);
    mix(hash ^ step as u64, multiplier ^ (step >> 64) as u64)
}

/// Copies a name of N to 2N octets in lower case. Length octets are under 64
/// and so never taken for letters, which begin at 65.
#[inline(always)]
fn lower_ends<const N: usize>(lower: &mut [u8], name: &[u8]) {
    if let (Some(first), Some(last)) = (name.first_chunk::<N>(), name.last_chunk::<N>()) {
        lower[..N].copy_from_slice(&first.map(|octet| octet.to_ascii_lowercase()));
        let at = name.len() - N;
        lower[at..].copy_from_slice(&last.map(|octet| octet.to_ascii_lowercase()));
    }
}

/// Copies a name of 8 to 16 octets in lower case. Whether the compiler takes so few
/// octets at once or one by one depends on what else it compiles; words it takes as
/// they are.
#[inline(always)]
fn lower_words(lower: &mut [u8], name: &[u8]) {
    if let (Some(first), Some(last)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        lower[..8].copy_from_slice(&lower_word(u64::from_ne_bytes(*first)).to_ne_bytes());
        let last = lower_word(u64::from_ne_bytes(*last)).to_ne_bytes();
        let at = name.len() - 8;
        lower[at..].copy_from_slice(&last);
    }
}

/// Eight octets in lower case. Each is compared with `A` and with what follows `Z` by an
/// addition that sets its highest bit from there on; those whose own is set are no
/// letters.
#[inline(always)]
fn lower_word(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHEST: u64 = 0x80 * ONES;
    let low = word & !HIGHEST;
    let from_a = low + ONES * (0x80 - b'A' as u64);
    let behind_z = low + ONES * (0x7f - b'Z' as u64);
    let upper = (from_a ^ behind_z) & !word & HIGHEST;
    word | upper >> 2
}

impl Default for LookupName {
    fn default() -> LookupName {
        LookupName::new()
    }
}

/// Both halves of the product folded together.
#[inline]
fn mix(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Name;

    /// A name of `length` octets, its labels as long as may be.
    fn name_of(length: usize, octet: u8) -> Vec<u8> {
        let mut wire = Vec::new();
        while wire.len() + 1 < length {
            let label = (length - wire.len() - 2).min(MAX_LABEL);
            // One octet alone would be no label.
            let label = label - usize::from(length - wire.len() - 2 - label == 1);
            wire.push(label as u8);
            wire.extend(std::iter::repeat_n(octet, label));
        }
        wire.push(0);
        wire
    }

    #[test]
    fn every_length_lowers_as_ascii_does() {
        let mut name = LookupName::new();
        let lengths = (1..=MAX_NAME).step_by(if cfg!(miri) { 23 } else { 1 });
        for length in lengths.filter(|length| *length != 2) {
            for octet in [b'@', b'A', b'Z', b'[', b'a', b'z', 0, 0x80, 0xc1, 255] {
                let mut wire = name_of(length, octet);
                assert_eq!(wire.len(), length);
                // What stands behind the name, or nothing, is all the same.
                for behind in 0..2 {
                    wire.truncate(length);
                    wire.extend(std::iter::repeat_n(0xff, 40 * behind));
                    assert!(name.set(&wire).is_some());
                    assert_eq!(name.suffix(0), wire[..length].to_ascii_lowercase());
                    let mut own = LookupName::new();
                    own.set(&wire[..length]);
                    assert_eq!(name.hash_of(0), own.hash_of(0));
                }
            }
        }
    }

    #[test]
    fn every_suffix_of_the_deepest_name_has_its_own_hash() {
        let mut deepest = b"\x01a".repeat(127);
        deepest.push(0);
        let (mut name, mut own) = (LookupName::new(), LookupName::new());
        name.set(&deepest);
        let mut hashes = std::collections::BTreeSet::new();
        for label in 0..=127 {
            own.set(&deepest[2 * label..]);
            assert_eq!(name.hash_of(label), own.hash_of(0));
            assert_eq!(name.hash_of_deep(label), own.hash_of(0));
            hashes.insert(name.hash_of(label));
        }
        assert_eq!(hashes.len(), 128);
        assert_eq!(own.hash_of(0), LookupName::new().hash_of(0));
    }

    #[test]
    fn a_suffix_hashes_as_the_name_does() {
        let name = LookupName::of(
            &"a.BB.a-label-longer-than-eight-octets.example"
                .parse()
                .unwrap(),
        );
        for (label, text) in [
            (1, "bb.a-label-longer-than-eight-octets.example"),
            (3, "example"),
            (4, "."),
        ] {
            let own = LookupName::of(&text.parse::<Name>().unwrap());
            assert_eq!(name.suffix(label), own.suffix(0));
            assert_eq!(name.hash_of(label), own.hash_of(0));
            assert_eq!(name.hash_of_deep(label), own.hash_of(0));
        }
    }

    #[test]
    fn label_boundaries_count() {
        let hash = |wire: &[u8]| LookupName::of(&Name::from_wire(wire).unwrap()).hash_of(0);
        assert_ne!(hash(b"\x03a\x01b\0"), hash(b"\x01a\x01b\0"));
        assert_ne!(hash(b"\x02ab\0"), hash(b"\x01a\x01b\0"));
    }

    #[test]
    fn takes_the_longest_name_and_no_longer() {
        let mut deepest = b"\x01a".repeat(127);
        deepest.push(0);
        let mut name = LookupName::new();
        assert!(name.set(&deepest).is_some());
        assert_eq!((name.length(), name.labels()), (255, 127));
        deepest.splice(254..254, *b"\x01a");
        assert!(name.set(&deepest).is_none());
        let long = |label: usize| [&[label as u8], &[b'a'; 64][..label], &[0]].concat();
        assert!(name.set(&long(63)).is_some());
        assert!(name.set(&long(64)).is_none());
        for broken in [&b""[..], b"\x01a", b"\x40", b"\xc0\x0c"] {
            assert!(name.set(broken).is_none());
        }
    }
}
