//! Data of types that are given up and still in the registry: bits and digits
//! that no other type has.

/// Octets of the end of an IPv6 address that stands behind so many bits (RFC
/// 2874 §3.1); `None` where there are not so many bits.
pub fn suffix_length(prefix_bits: u8) -> Option<usize> {
    let bits = 128usize.checked_sub(prefix_bits.into())?;
    Some(bits.div_ceil(8))
}

/// True where the bits of such a suffix that belong to the prefix are 0.
pub fn is_suffix(prefix_bits: u8, octets: &[u8]) -> bool {
    let padding = prefix_bits % 8;
    let first = octets.first().copied().unwrap_or(0);
    padding == 0 || first >> (8 - padding) == 0
}

/// True for an ATM address of a format that has a text form: 0, octets, or 1,
/// digits (ATM Forum af-dans-0152.000 §3.3.2).
pub fn is_atm_address(octets: &[u8]) -> bool {
    match octets {
        [0, _, ..] => true,
        [1, digits @ ..] => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// True for a set of types in the manner of NXT: up to 127, not 0, no zeros at
/// the end (RFC 2535 §5.2).
pub fn is_old_bitmap(octets: &[u8]) -> bool {
    (1..=16).contains(&octets.len()) && octets[0] & 0x80 == 0 && octets.last() != Some(&0)
}

/// True for a set of ports (RFC 1035 §3.4.2) without zeros at its end; there may
/// be none in it.
pub fn is_port_bitmap(octets: &[u8]) -> bool {
    octets.len() <= 1 << 13 && octets.last() != Some(&0)
}

/// The numbers of the bits that are set, the highest bit of the first octet
/// being 0.
pub fn bits(octets: &[u8]) -> impl Iterator<Item = usize> {
    (0..8 * octets.len()).filter(|bit| octets[bit / 8] & 0x80 >> (bit % 8) != 0)
}

/// Appends a set in which these bits are set.
pub fn write_bits(set: &[usize], out: &mut Vec<u8>) {
    let start = out.len();
    let last = set.iter().max();
    out.resize(start + last.map_or(0, |last| last / 8 + 1), 0);
    for bit in set {
        out[start + bit / 8] |= 0x80 >> (bit % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_out_as_they_went_in() {
        for set in [&[][..], &[0], &[25], &[1, 7, 8, 80, 65_535]] {
            let mut octets = Vec::new();
            write_bits(set, &mut octets);
            assert_eq!(bits(&octets).collect::<Vec<_>>(), set);
            assert!(is_port_bitmap(&octets));
        }
        assert!(!is_port_bitmap(&[1, 0]));
        assert!(is_old_bitmap(&[0x40]) && !is_old_bitmap(&[0x80]) && !is_old_bitmap(&[]));
        assert!(!is_old_bitmap(&[0x40; 17]));
    }

    #[test]
    fn a_suffix_has_the_bits_that_the_prefix_leaves() {
        assert_eq!(suffix_length(0), Some(16));
        assert_eq!(suffix_length(61), Some(9));
        assert_eq!(suffix_length(64), Some(8));
        assert_eq!(suffix_length(128), Some(0));
        assert_eq!(suffix_length(129), None);
        assert!(is_suffix(61, &[0x07]) && !is_suffix(61, &[0x08]));
        assert!(is_suffix(64, &[0xff]) && is_suffix(128, &[]));
    }
}
