//! Sets of record types as windows of bits (RFC 4034 §4.1.2).
//!
//! ```text
//! window 0: NS SOA MX      00 03 22 01 00 ...   number, octets, then bit 0
//! window 4: TYPE1234       04 1b 00 ... 20      (highest first) to the last set
//! ```

use crate::wire::{Cursor, RrType};

/// Octets of a whole window: 256 types.
const MAX_WINDOW: usize = 32;

/// Appends the windows of these types, which are sorted.
pub fn write(types: &[RrType], out: &mut Vec<u8>) {
    for window in types.chunk_by(|one, next| one.0 >> 8 == next.0 >> 8) {
        write_window(window, out);
    }
}

fn write_window(types: &[RrType], out: &mut Vec<u8>) {
    let mut bits = [0u8; MAX_WINDOW];
    for rtype in types {
        bits[rtype.0 as usize % 256 / 8] |= 0x80 >> (rtype.0 % 8);
    }
    let length = MAX_WINDOW - bits.iter().rev().take_while(|&&octet| octet == 0).count();
    out.extend([(types[0].0 >> 8) as u8, length as u8]);
    out.extend_from_slice(&bits[..length]);
}

/// True for windows in their order, none empty, none with zeros at its end.
pub fn is_valid(octets: &[u8]) -> bool {
    let mut before = None;
    let mut rest = Cursor::new(octets);
    while !rest.is_empty() {
        let window = rest.u8();
        if window <= before {
            return false;
        }
        before = window;
        let Some((1..=MAX_WINDOW, bits)) = take_bits(&mut rest) else {
            return false;
        };
        if bits.last() == Some(&0) {
            return false;
        }
    }
    true
}

/// The types of a valid set, rising.
pub fn types(octets: &[u8]) -> impl Iterator<Item = RrType> {
    let mut rest = Cursor::new(octets);
    let windows = std::iter::from_fn(move || {
        let window = rest.u8()?;
        Some((window, take_bits(&mut rest)?.1))
    });
    windows.flat_map(|(window, bits)| {
        let is_set = move |bit: &usize| bits[bit / 8] & 0x80 >> (bit % 8) != 0;
        let rtype = move |bit: usize| RrType(u16::from(window) << 8 | bit as u16);
        (0..8 * bits.len()).filter(is_set).map(rtype)
    })
}

fn take_bits<'r>(rest: &mut Cursor<'r>) -> Option<(usize, &'r [u8])> {
    let length = rest.u8()? as usize;
    Some((length, rest.take(length)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_keep_their_order_and_their_ends() {
        let full = [&[7, 32][..], &[0xff; 32]].concat();
        for valid in [
            &b""[..],
            b"\x00\x01\x40",
            b"\x00\x01\x40\x01\x01\x80",
            &full,
        ] {
            assert!(is_valid(valid), "{valid:?}");
        }
        for broken in [
            &b"\x00"[..],
            b"\x00\x00",
            b"\x00\x01",
            b"\x00\x02\x40\x00",
            b"\x01\x01\x40\x00\x01\x40",
            b"\x00\x01\x40\x00\x01\x40",
            b"\x00\x21aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(!is_valid(broken), "{broken:?}");
        }
        assert_eq!(types(&full).count(), 256);
        assert_eq!(types(&full).next(), Some(RrType(7 * 256)));
    }

    #[test]
    fn what_is_written_is_the_rfcs_and_is_read_again() {
        let written = [RrType::A, RrType::MX, RrType::NSEC, RrType(1234)];
        let mut out = Vec::new();
        write(&written, &mut out);
        // The example of RFC 4034 §4.3, without RRSIG.
        let mut expected = b"\x00\x06\x40\x01\x00\x00\x00\x01\x04\x1b".to_vec();
        expected.extend([0; 26]);
        expected.push(0x20);
        assert_eq!(out, expected);
        assert_eq!(types(&out).collect::<Vec<_>>(), written);
    }
}
