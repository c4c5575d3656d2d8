//! Numbers that may be written as words: DNSSEC algorithms, certificate types,
//! protocols. They are read in either form and printed as numbers.

use super::reader::{FieldFault, Reader};

/// RFC 4034 §A.1, RFC 5155 §2, RFC 5702, RFC 5933, RFC 6605, RFC 8080.
const ALGORITHMS: &[(&str, u32)] = &[
    ("RSAMD5", 1),
    ("DH", 2),
    ("DSA", 3),
    ("RSASHA1", 5),
    ("DSA-NSEC3-SHA1", 6),
    ("RSASHA1-NSEC3-SHA1", 7),
    ("RSASHA256", 8),
    ("RSASHA512", 10),
    ("ECC-GOST", 12),
    ("ECDSAP256SHA256", 13),
    ("ECDSAP384SHA384", 14),
    ("ED25519", 15),
    ("ED448", 16),
    ("INDIRECT", 252),
    ("PRIVATEDNS", 253),
    ("PRIVATEOID", 254),
];

/// RFC 4398 §2.1.
const CERTIFICATE_TYPES: &[(&str, u32)] = &[
    ("PKIX", 1),
    ("SPKI", 2),
    ("PGP", 3),
    ("IPKIX", 4),
    ("ISPKI", 5),
    ("IPGP", 6),
    ("ACPKIX", 7),
    ("IACPKIX", 8),
    ("URI", 253),
    ("OID", 254),
];

/// RFC 1035 §3.4.2, as the registry of protocol numbers has them.
const PROTOCOLS: &[(&str, u32)] = &[("TCP", 6), ("UDP", 17)];

/// RFC 9859 §6.2.
const SCHEMES: &[(&str, u32)] = &[("NOTIFY", 1)];

/// Reads an IP protocol, one octet.
pub(super) fn read_protocol(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    let protocol = read(reader, PROTOCOLS, u8::MAX.into())?;
    reader.append([protocol as u8]);
    Ok(())
}

/// Reads a scheme of DSYNC, one octet.
pub(super) fn read_scheme(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    let scheme = read(reader, SCHEMES, u8::MAX.into())?;
    reader.append([scheme as u8]);
    Ok(())
}

/// Reads an algorithm, one octet.
pub(super) fn read_algorithm(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    let algorithm = read(reader, ALGORITHMS, u8::MAX.into())?;
    reader.append([algorithm as u8]);
    Ok(())
}

/// Reads a certificate type, two octets.
pub(super) fn read_certificate_type(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    let certificate_type = read(reader, CERTIFICATE_TYPES, u16::MAX.into())?;
    reader.append((certificate_type as u16).to_be_bytes());
    Ok(())
}

fn read(reader: &mut Reader<'_, '_>, words: &[(&str, u32)], limit: u32) -> Result<u32, FieldFault> {
    let is_word = |token: super::Token<'_>| token.text.first().is_some_and(u8::is_ascii_alphabetic);
    if !reader.peek().is_some_and(is_word) {
        return reader.number(limit);
    }
    let text = reader.token()?.text;
    let known = words
        .iter()
        .find(|(word, _)| text.eq_ignore_ascii_case(word.as_bytes()));
    known
        .map(|&(_, number)| number)
        .ok_or_else(|| reader.fault("neither a number nor a known mnemonic"))
}
