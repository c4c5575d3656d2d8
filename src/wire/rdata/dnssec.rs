//! The fields of signatures, keys and proofs (RFC 4034 §2 to §4, RFC 5155 §3).

use crate::wire::name::wire_length;
use crate::wire::{Cursor, RrType};

/// The data of an RRSIG record, in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature<'r> {
    /// The type of the set that is signed.
    pub covered: RrType,
    /// The algorithm.
    pub algorithm: u8,
    /// Labels of the owner, without the root and without the asterisk of a wildcard.
    pub labels: u8,
    /// The TTL of the set when it was signed.
    pub original_ttl: u32,
    /// Until when it is valid, in seconds since 1970, modulo 2^32.
    pub expiration: u32,
    /// From when on it is valid, likewise.
    pub inception: u32,
    /// Which key made it.
    pub key_tag: u16,
    /// Whose key that is, in wire form and the case in which it is written.
    pub signer: &'r [u8],
    /// All of the above as octets, without the signer.
    pub head: &'r [u8],
    /// What the key made of it.
    pub octets: &'r [u8],
}

/// Octets before the signer's name.
const HEAD: usize = 18;

impl<'r> Signature<'r> {
    /// The parts of valid data.
    pub fn read(rdata: &'r [u8]) -> Option<Signature<'r>> {
        let (head, behind) = rdata.split_at_checked(HEAD)?;
        let (signer, octets) = behind.split_at_checked(wire_length(behind)?)?;
        let mut rest = Cursor::new(head);
        Some(Signature {
            covered: RrType(rest.u16()?),
            algorithm: rest.u8()?,
            labels: rest.u8()?,
            original_ttl: rest.u32()?,
            expiration: rest.u32()?,
            inception: rest.u32()?,
            key_tag: rest.u16()?,
            signer,
            head,
            octets,
        })
    }
}

/// The data of a DNSKEY record, in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'r> {
    /// What it is for.
    pub flags: u16,
    /// Always 3.
    pub protocol: u8,
    /// The algorithm.
    pub algorithm: u8,
    /// What signatures name it by; others may have the same.
    pub tag: u16,
    /// The key itself, as its algorithm writes it.
    pub octets: &'r [u8],
}

/// The flag without which a key signs no zone (RFC 4034 §2.1.1).
const ZONE_KEY: u16 = 0x0100;
/// The flag of a key by which a zone is entered from its parent (RFC 4034 §2.1.1).
const ENTRY_POINT: u16 = 0x0001;
/// The flag of a key that is no longer to be believed (RFC 5011 §2.1).
const REVOKED: u16 = 0x0080;
/// The only protocol that there is (RFC 4034 §2.1.2).
const DNSSEC: u8 = 3;

impl<'r> Key<'r> {
    /// The parts of valid data.
    pub fn read(rdata: &'r [u8]) -> Option<Key<'r>> {
        let mut rest = Cursor::new(rdata);
        Some(Key {
            flags: rest.u16()?,
            protocol: rest.u8()?,
            algorithm: rest.u8()?,
            tag: tag(rdata),
            octets: rest.rest(),
        })
    }

    /// True for a key that may sign what is in a zone.
    pub fn signs_zones(&self) -> bool {
        self.flags & ZONE_KEY != 0 && self.protocol == DNSSEC
    }

    /// True for a key that signs the zone's keys and is known to the parent, as far as
    /// its flags tell.
    pub fn is_entry_point(&self) -> bool {
        self.flags & ENTRY_POINT != 0
    }

    /// True for a key of which it is said, by itself, that it is not to be believed.
    pub fn is_revoked(&self) -> bool {
        self.flags & REVOKED != 0
    }
}

/// The tag of a key (RFC 4034 appendix B), but for algorithm 1, which is in no use.
fn tag(rdata: &[u8]) -> u16 {
    let value = |(at, &octet): (usize, &u8)| u32::from(octet) << (8 * (1 - at % 2));
    let sum: u32 = rdata.iter().enumerate().map(value).sum();
    (sum + (sum >> 16)) as u16
}

/// The data of an NSEC record, in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nsec<'r> {
    /// The next name, in wire form and the case in which it is written.
    pub next: &'r [u8],
    /// The types at this one.
    pub types: &'r [u8],
}

impl<'r> Nsec<'r> {
    /// The parts of valid data.
    pub fn read(rdata: &'r [u8]) -> Option<Nsec<'r>> {
        let (next, types) = rdata.split_at_checked(wire_length(rdata)?)?;
        Some(Nsec { next, types })
    }
}

/// The data of an NSEC3 record, in parts, without how it is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nsec3<'r> {
    /// True where it passes over insecure delegations (RFC 5155 §6).
    pub opt_out: bool,
    /// True with flags that mean nothing yet: whoever validates passes over such a record
    /// (RFC 5155 §8.2).
    pub has_unknown_flags: bool,
    /// The hash of the next name.
    pub next: &'r [u8],
    /// The types at this one.
    pub types: &'r [u8],
}

impl<'r> Nsec3<'r> {
    /// The parts of valid data.
    pub fn read(rdata: &'r [u8]) -> Option<Nsec3<'r>> {
        let mut rest = Cursor::new(rdata);
        let (_, flags, _) = (rest.u8()?, rest.u8()?, rest.u16()?);
        let salt = rest.u8()?;
        rest.take(salt.into())?;
        let length = rest.u8()?;
        Some(Nsec3 {
            opt_out: flags & 1 != 0,
            has_unknown_flags: flags & !1 != 0,
            next: rest.take(length.into())?,
            types: rest.rest(),
        })
    }
}

/// Algorithms' names (RFC 8624 §3.1), for people.
pub fn algorithm_name(algorithm: u8) -> &'static str {
    match algorithm {
        1 => "RSA/MD5",
        3 | 6 => "DSA",
        5 | 7 => "RSA/SHA-1",
        8 => "RSA/SHA-256",
        10 => "RSA/SHA-512",
        12 => "GOST",
        13 => "ECDSA P-256",
        14 => "ECDSA P-384",
        15 => "Ed25519",
        16 => "Ed448",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;

    use super::*;

    /// RFC 4034 §5.4 has a DNSKEY and its tag; RFC 8080 §6 another.
    #[test]
    fn the_tags_of_the_rfcs_keys() {
        let key = |head: &[u8], text: &str| {
            let octets = BASE64.decode(text.as_bytes()).unwrap();
            [head, &octets].concat()
        };
        let rsa = key(
            &[1, 0, 3, 5],
            "AQOeiiR0GOMYkDshWoSKz9XzfwJr1AYtsmx3TGkJaNXVbfi/2pHm822aJ5iI9BMzNXxeYCmZ\
             DRD99WYwYqUSdjMmmAphXdvxegXd/M5+X7OrzKBaMbCVdFLUUh6DhweJBjEVv5f2wwjM9Xzc\
             nOf+EPbtG9DMBmADjFDc2w/rljwvFw==",
        );
        assert_eq!(Key::read(&rsa).unwrap().tag, 60485);
        let edwards = key(
            &[1, 1, 3, 15],
            "l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
        );
        let key = Key::read(&edwards).unwrap();
        assert_eq!((key.tag, key.algorithm, key.flags), (3613, 15, 257));
        assert!(key.signs_zones());
        assert!(!Key { flags: 1, ..key }.signs_zones());
        assert!(!Key { protocol: 2, ..key }.signs_zones());
    }

    #[test]
    fn a_signature_falls_into_its_parts() {
        let data = b"\0\x01\x0d\x02\0\0\0\x3c\0\0\0\x02\0\0\0\x01\x12\x34\x01A\0sig";
        let signature = Signature::read(data).unwrap();
        assert_eq!((signature.covered, signature.labels), (RrType::A, 2));
        assert_eq!((signature.expiration, signature.inception), (2, 1));
        assert_eq!((signature.key_tag, signature.original_ttl), (0x1234, 60));
        assert_eq!(
            (signature.signer, signature.octets),
            (&b"\x01A\0"[..], &b"sig"[..])
        );
        assert!(Signature::read(&data[..19]).is_none());
    }
}
