//! Sets of record types as windows of bits (RFC 4034 §4.1.2).
//!
//! ```text
//! window 0: NS SOA MX      00 03 22 01 00 ...   number, octets, then bit 0
//! window 4: TYPE1234       04 1b 00 ... 20      (highest first) to the last set
//! ```

use super::reader::{FieldFault, Reader};
use super::string::push;
use crate::wire::{Cursor, RrType};

/// Octets of a whole window: 256 types.
const MAX_WINDOW: usize = 32;

/// Reads all that is left as types, in any order. Meta-types are let through:
/// signers of denials on the fly list NXNAME (RFC 9824 §2).
pub(super) fn read(reader: &mut Reader<'_, '_>, may_be_empty: bool) -> Result<(), FieldFault> {
    let mut types = Vec::new();
    while !reader.is_empty() {
        let rtype = RrType::from_text(reader.token()?.text);
        types.push(rtype.ok_or_else(|| reader.fault("not a record type"))?);
    }
    if types.is_empty() && !may_be_empty {
        return Err(reader.missing());
    }
    types.sort_unstable();
    for window in types.chunk_by(|one, next| one.0 >> 8 == next.0 >> 8) {
        write_window(window, reader.out);
    }
    Ok(())
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
pub(super) fn is_valid(octets: &[u8]) -> bool {
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

/// Writes the types of a valid set.
pub(super) fn print(octets: &[u8], out: &mut String) {
    let mut separator = "";
    let mut rest = Cursor::new(octets);
    while let (Some(window), Some((_, bits))) = (rest.u8(), take_bits(&mut rest)) {
        for (at, octet) in bits.iter().enumerate() {
            for bit in (0..8).filter(|bit| octet & 0x80 >> bit != 0) {
                let rtype = RrType(u16::from(window) << 8 | (at * 8 + bit) as u16);
                push(format_args!("{separator}{rtype}"), out);
                separator = " ";
            }
        }
    }
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
        for valid in [
            &b""[..],
            b"\x00\x01\x40",
            b"\x00\x01\x40\x01\x01\x80",
            &full(),
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
    }

    fn full() -> Vec<u8> {
        let mut full = vec![7, 32];
        full.resize(34, 0xff);
        full
    }

    #[test]
    fn any_order_makes_sorted_windows() {
        let mut out = Vec::new();
        write_window(&[RrType::A, RrType::MX, RrType::NSEC], &mut out);
        write_window(&[RrType(1234)], &mut out);
        // The example of RFC 4034 §4.3, without RRSIG.
        let mut expected = b"\x00\x06\x40\x01\x00\x00\x00\x01\x04\x1b".to_vec();
        expected.extend([0; 26]);
        expected.push(0x20);
        assert_eq!(out, expected);
        let mut text = String::new();
        print(&out, &mut text);
        assert_eq!(text, "A MX NSEC TYPE1234");
        text.clear();
        print(&full(), &mut text);
        assert!(text.starts_with("TYPE1792 TYPE1793") && text.ends_with("TYPE2047"));
    }
}
