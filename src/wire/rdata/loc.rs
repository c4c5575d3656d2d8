//! Places on earth (RFC 1876 §2): thousandths of a second of arc and
//! centimetres.
//!
//! ```text
//! version 0 | size | horizontal precision | vertical precision    1 octet each
//! latitude | longitude | altitude                                 4 octets each
//! ```

use crate::wire::Cursor;

/// Octets of a location.
pub const LENGTH: usize = 16;
/// Thousandths of a second of arc in a degree.
pub const DEGREE: u64 = 3_600_000;
/// The equator, the prime meridian.
pub const ORIGIN: i64 = 1 << 31;

/// What a location is made of.
pub struct Parts<'r> {
    /// Size, horizontal and vertical precision: a digit and a power of ten, in
    /// centimetres.
    pub sizes: &'r [u8],
    /// North of the equator where it is more than `ORIGIN`.
    pub latitude: i64,
    /// East of the prime meridian where it is more than `ORIGIN`.
    pub longitude: i64,
    /// Centimetres above the lowest altitude, 100 km below the sea.
    pub altitude: i64,
}

/// True for a location of the only version there is, on this earth.
pub fn is_valid(octets: &[u8]) -> bool {
    parts(octets).is_some_and(|parts| {
        // Zero times a power of ten is undefined but for 0 itself (RFC 1876 §2).
        let is_size = |&octet: &u8| octet >> 4 <= 9 && octet & 15 <= 9 && !(1..16).contains(&octet);
        parts.sizes.iter().all(is_size)
            && parts.latitude.abs_diff(ORIGIN) <= 90 * DEGREE
            && parts.longitude.abs_diff(ORIGIN) <= 180 * DEGREE
    })
}

/// The parts of a location; `None` where it is of another version, or cut off.
pub fn parts(octets: &[u8]) -> Option<Parts<'_>> {
    let mut rest = Cursor::new(octets);
    let (0, sizes) = (rest.u8()?, rest.take(3)?) else {
        return None;
    };
    let [latitude, longitude, altitude] = [rest.u32()?, rest.u32()?, rest.u32()?].map(i64::from);
    Some(Parts {
        sizes,
        latitude,
        longitude,
        altitude,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_versions_and_other_planets_are_not_valid() {
        let mut place = [0, 0x12, 0x16, 0x13, 128, 0, 0, 0, 128, 0, 0, 0, 0, 0, 0, 0];
        assert!(is_valid(&place));
        for (at, octet) in [(0, 1), (1, 0xa0), (2, 0x1a), (3, 0x05), (4, 255), (8, 255)] {
            let before = std::mem::replace(&mut place[at], octet);
            assert!(!is_valid(&place), "octet {at}");
            place[at] = before;
        }
    }
}
