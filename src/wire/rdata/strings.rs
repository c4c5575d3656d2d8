//! Strings of up to 255 octets behind a length octet (RFC 1035 §3.3).

/// The most octets of one string.
pub const MAX_CHAR_STRING: usize = 255;

/// The string at the start of `octets`, and what is behind it.
pub fn split(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = octets.split_first()?;
    rest.split_at_checked(length as usize)
}

/// True for nothing but strings, one at least.
pub fn are_strings(octets: &[u8]) -> bool {
    let mut rest = octets;
    while let Some((_, behind)) = split(rest) {
        rest = behind;
    }
    rest.is_empty() && !octets.is_empty()
}

/// True for the tag of a CAA property (RFC 8659 §4.1).
pub fn is_tag(octets: &[u8]) -> bool {
    !octets.is_empty() && octets.iter().all(u8::is_ascii_alphanumeric)
}

/// True for the address of an X.25 station (RFC 1183 §3.1).
pub fn are_digits(octets: &[u8]) -> bool {
    octets.len() >= 4 && octets.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_fill_their_octets_exactly() {
        assert!(are_strings(b"\x00"));
        assert!(are_strings(b"\x01a\x02bc"));
        for broken in [&b""[..], b"\x01", b"\x01a\x02b", b"\x00\x05"] {
            assert!(!are_strings(broken), "{broken:?}");
        }
    }
}
