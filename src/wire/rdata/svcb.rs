//! The parameters of SVCB and HTTPS records (RFC 9460 §2.2), their keys
//! ascending.
//!
//! ```text
//! key 2 octets | length 2 | value ... | key ...
//! ```

use super::strings;
use crate::wire::Cursor;

/// The keys that must be understood (RFC 9460 §8).
pub const MANDATORY: u16 = 0;
/// Protocols (RFC 9460 §7.1).
pub const ALPN: u16 = 1;
/// The scheme's own protocol is not spoken (RFC 9460 §7.1).
pub const NO_DEFAULT_ALPN: u16 = 2;
/// A port (RFC 9460 §7.2).
pub const PORT: u16 = 3;
/// IPv4 addresses (RFC 9460 §7.3).
pub const IPV4HINT: u16 = 4;
/// Encrypted ClientHello (RFC 9848).
pub const ECH: u16 = 5;
/// IPv6 addresses (RFC 9460 §7.3).
pub const IPV6HINT: u16 = 6;
/// Where DNS over HTTPS is (RFC 9461 §5).
pub const DOHPATH: u16 = 7;
/// Oblivious HTTP is spoken (RFC 9540 §4).
pub const OHTTP: u16 = 8;
/// Never a key (RFC 9460 §14.3.2).
pub const INVALID: u16 = 65_535;

/// A key that has a value and may not.
pub const UNWANTED_VALUE: &str = "it has no value";

/// The first key that is wrong in a list of parameters, and why; `None` for
/// parameters that are well formed and agree with each other.
pub fn fault(octets: &[u8]) -> Option<(u16, &'static str)> {
    let mut before = None;
    let mut rest = Cursor::new(octets);
    while !rest.is_empty() {
        let Some((key, value)) = take(&mut rest) else {
            return Some((INVALID, "cut short"));
        };
        let reason = if before.replace(key) >= Some(key) {
            "the same key again"
        } else if let Some(reason) = value_fault(key, value) {
            reason
        } else if key == MANDATORY && !keys(value).all(|key| has(octets, key)) {
            "a key in the list is not among the parameters"
        } else if key == NO_DEFAULT_ALPN && !has(octets, ALPN) {
            "it needs alpn beside it (RFC 9460 §7.1.1)"
        } else {
            continue;
        };
        return Some((key, reason));
    }
    None
}

/// The keys and values of valid parameters.
pub fn parameters(octets: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = Cursor::new(octets);
    std::iter::from_fn(move || take(&mut rest))
}

/// The keys in the value of `mandatory`.
pub fn keys(value: &[u8]) -> impl Iterator<Item = u16> {
    let mut rest = Cursor::new(value);
    std::iter::from_fn(move || rest.u16())
}

/// The items in the value of `alpn`.
pub fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let (item, behind) = strings::split(rest)?;
        rest = behind;
        Some(item)
    })
}

fn value_fault(key: u16, value: &[u8]) -> Option<&'static str> {
    let is_valid = match key {
        MANDATORY => return keys_fault(value),
        ALPN => strings::are_strings(value) && !items(value).any(<[u8]>::is_empty),
        NO_DEFAULT_ALPN | OHTTP if value.is_empty() => true,
        NO_DEFAULT_ALPN | OHTTP => return Some(UNWANTED_VALUE),
        PORT => value.len() == 2,
        IPV4HINT => !value.is_empty() && value.len().is_multiple_of(4),
        IPV6HINT => !value.is_empty() && value.len().is_multiple_of(16),
        ECH => !value.is_empty(),
        DOHPATH => !value.is_empty() && std::str::from_utf8(value).is_ok(),
        INVALID => false,
        _ => true,
    };
    (!is_valid).then_some("not a value of this key")
}

/// RFC 9460 §8: the keys ascend, and `mandatory` is not among them.
fn keys_fault(value: &[u8]) -> Option<&'static str> {
    if value.is_empty() || !value.len().is_multiple_of(2) {
        Some("not a value of this key")
    } else if keys(value).any(|key| key == MANDATORY) {
        Some("it lists itself")
    } else if !keys(value).is_sorted_by(|one, next| one < next) {
        Some("a key is listed twice")
    } else {
        None
    }
}

fn has(octets: &[u8], key: u16) -> bool {
    parameters(octets).any(|(found, _)| found == key)
}

fn take<'r>(rest: &mut Cursor<'r>) -> Option<(u16, &'r [u8])> {
    let (key, length) = (rest.u16()?, rest.u16()?);
    Some((key, rest.take(length.into())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_parameters_are_told() {
        assert_eq!(fault(b""), None);
        assert_eq!(fault(b"\x00\x03\x00\x02\x00\x35"), None);
        for broken in [
            &b"\x00\x03\x00\x02\x00"[..],
            b"\x00\x03\x00",
            b"\x00\x03\x00\x01\x35",
            b"\x00\x03\x00\x02\x00\x35\x00\x03\x00\x02\x00\x35",
            b"\x00\x03\x00\x02\x00\x35\x00\x01\x00\x02\x01a",
            b"\x00\x01\x00\x01\x00",
            b"\x00\x01\x00\x02\x05a",
            b"\x00\x00\x00\x02\x00\x03",
            b"\xff\xff\x00\x00",
        ] {
            assert!(fault(broken).is_some(), "{broken:?}");
        }
    }
}
