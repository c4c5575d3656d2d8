//! The identity of a host in the Host Identity Protocol (RFC 8005 §5).
//!
//! ```text
//! tag length 1 octet | algorithm 1 | key length 2 | tag ... | key ...
//! ```

use crate::wire::Cursor;

/// Octets before the tag.
pub const HEAD: usize = 4;

/// Octets of the identity at the start of `octets`.
pub fn length(octets: &[u8]) -> Option<usize> {
    let (_, tag, key) = split(octets)?;
    let is_whole = !tag.is_empty() && !key.is_empty();
    is_whole.then_some(HEAD + tag.len() + key.len())
}

/// The algorithm, the tag and the key.
pub fn split(octets: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let mut rest = Cursor::new(octets);
    let (tag, algorithm, key) = (rest.u8()?, rest.u8()?, rest.u16()?);
    Some((algorithm, rest.take(tag.into())?, rest.take(key.into())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_are_there() {
        let wire = b"\x02\x02\x00\x03\xaa\xbb\x01\x02\x03\x01a\0\x01b\0";
        assert_eq!(length(wire), Some(9));
        assert_eq!(length(&wire[..8]), None);
        assert_eq!(length(b"\x00\x02\x00\x01k"), None);
        assert_eq!(length(b"\x01\x02\x00\x00t"), None);
    }
}
