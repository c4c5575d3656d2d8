//! Short runs of octets, copied and compared where they stand. Names, questions
//! and most records are of 8 to 64 octets; for so few, calling the library and
//! having it find out how many there are costs more than the work itself.
//!
//! Whatever the length between N and 2N, the first N octets and the last N are
//! all of them, so that two moves of fixed size do.

/// Copies `from` to `to`, which is as long.
#[inline(always)]
pub fn copy(to: &mut [u8], from: &[u8]) {
    match from.len() {
        16..=32 => copy_ends::<16>(to, from),
        33..=64 => copy_ends::<32>(to, from),
        _ => to.copy_from_slice(from),
    }
}

#[inline(always)]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    assert_eq!(to.len(), from.len());
    if let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) {
        let (first, last) = (first.as_chunks().0, last.as_chunks().0);
        let end = to.len() - N;
        put(&mut to[..N], first);
        put(&mut to[end..], last);
    }
}

/// As numbers: copies of memory, even of a fixed size, the compiler likes to
/// join into one of any size, which is a call.
#[inline(always)]
fn put(to: &mut [u8], from: &[[u8; 16]]) {
    for (to, from) in to.as_chunks_mut().0.iter_mut().zip(from) {
        *to = u128::from_ne_bytes(*from).to_ne_bytes();
    }
}

/// True where both are the same.
#[inline(always)]
pub fn equal(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    match one.len() {
        16..=32 => ends_equal::<16>(one, other),
        33..=64 => ends_equal::<32>(one, other),
        8..=15 => ends_equal::<8>(one, other),
        _ => one == other,
    }
}

#[inline(always)]
fn ends_equal<const N: usize>(one: &[u8], other: &[u8]) -> bool {
    one.first_chunk::<N>() == other.first_chunk() && one.last_chunk::<N>() == other.last_chunk()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths on both sides of every one that is treated in another way. Under Miri a
    /// few of those beyond are enough.
    fn lengths() -> impl Iterator<Item = usize> {
        let step = if cfg!(miri) { 61 } else { 1 };
        (0..=66).chain((67..=255).step_by(step))
    }

    #[test]
    fn copies_any_length_and_nothing_more() {
        let from: Vec<u8> = (1..=255).collect();
        for length in lengths() {
            let mut to = [0; 300];
            copy(&mut to[20..20 + length], &from[..length]);
            assert_eq!(to[20..20 + length], from[..length]);
            assert!(
                to[..20]
                    .iter()
                    .chain(&to[20 + length..])
                    .all(|octet| *octet == 0)
            );
        }
    }

    #[test]
    fn one_other_octet_is_another_run() {
        let one: Vec<u8> = (0..255).collect();
        let same = one.clone();
        for length in lengths() {
            assert!(equal(&one[..length], &same[..length]));
            assert!(length == 0 || !equal(&one[..length], &one[..length - 1]));
            for place in 0..length {
                let mut other = one[..length].to_vec();
                other[place] ^= 0x80;
                assert!(!equal(&one[..length], &other), "{place} of {length}");
            }
        }
    }
}
