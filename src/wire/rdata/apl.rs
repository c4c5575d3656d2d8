//! Lists of address prefixes (RFC 3123 §4).
//!
//! ```text
//! family 2 octets | prefix 1 | negation 1 bit, length 7 bits | address, its
//!                                                 zeros at the end left out
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::Cursor;

/// The number of an address family, of which RFC 3123 defines two.
pub const IPV4: u16 = 1;
/// The other one.
pub const IPV6: u16 = 2;

/// One prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// What is in it is meant to be left out.
    pub is_negated: bool,
    /// Its first address.
    pub address: IpAddr,
    /// How many bits count.
    pub length: u8,
}

/// True for prefixes of the families that are known, their zeros left out.
pub fn is_valid(octets: &[u8]) -> bool {
    let mut rest = Cursor::new(octets);
    while !rest.is_empty() {
        if take(&mut rest).is_none() {
            return false;
        }
    }
    true
}

/// The prefixes of a valid list.
pub fn prefixes(octets: &[u8]) -> impl Iterator<Item = Prefix> {
    let mut rest = Cursor::new(octets);
    std::iter::from_fn(move || take(&mut rest))
}

fn take(rest: &mut Cursor<'_>) -> Option<Prefix> {
    let (family, length, head) = (rest.u16()?, rest.u8()?, rest.u8()?);
    let kept = rest.take(usize::from(head & 0x7f))?;
    let mut octets = [0; 16];
    octets.get_mut(..kept.len())?.copy_from_slice(kept);
    let address = match (family, octets) {
        (IPV4, [a, b, c, d, ..]) if kept.len() <= 4 => Ipv4Addr::new(a, b, c, d).into(),
        (IPV6, octets) => Ipv6Addr::from(octets).into(),
        _ => return None,
    };
    let is_short = kept.last() != Some(&0) && u64::from(length) <= bits(address);
    is_short.then_some(Prefix {
        is_negated: head & 0x80 != 0,
        address,
        length,
    })
}

/// Bits of an address.
pub fn bits(address: IpAddr) -> u64 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_prefixes() {
        for wire in [
            &b"\x00\x01\x21\x00"[..],
            b"\x00\x01\x08\x05\x01\x02\x03\x04\x05",
            b"\x00\x01\x08\x02\x0a\x00",
            b"\x00\x02\x81\x00",
            b"\x00\x03\x08\x00",
            b"\x00\x01\x08\x02\x0a",
            b"\x00\x01\x08",
        ] {
            assert!(!is_valid(wire), "{wire:?}");
        }
    }
}
