//! The identity of a host in the Host Identity Protocol (RFC 8005 §6): three
//! words.

use super::encoded;
use super::reader::{FieldFault, Reader};
use crate::wire::rdata::hip::{HEAD, split};

/// Reads the algorithm, the tag in hexadecimal and the key in base64.
pub(super) fn read(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    let start = reader.out.len();
    reader.field = "algorithm";
    let algorithm = reader.number(u8::MAX.into())?;
    reader.out.extend([0, algorithm as u8, 0, 0]);
    reader.field = "host identity tag";
    let tag = encoded::read_hex_word(reader)?;
    let tag = u8::try_from(tag).map_err(|_| reader.fault("more than 255 octets"))?;
    reader.field = "public key";
    let key = encoded::read_base64_word(reader)?;
    let key = u16::try_from(key).map_err(|_| reader.fault("more than 65535 octets"))?;
    reader.out[start] = tag;
    reader.out[start + 2..start + HEAD].copy_from_slice(&key.to_be_bytes());
    Ok(())
}

/// Writes a valid identity.
pub(super) fn print(octets: &[u8], out: &mut String) {
    if let Some((algorithm, tag, key)) = split(octets) {
        out.push_str(&format!("{algorithm} "));
        encoded::print_hex(tag, out);
        out.push(' ');
        encoded::print_base64(key, out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{fault, octets};
    use crate::wire::RrType;

    #[test]
    fn lengths_come_first() {
        let wire = octets(RrType::HIP, "2 AABB AQID a. b.");
        assert_eq!(wire, b"\x02\x02\x00\x03\xaa\xbb\x01\x02\x03\x01a\0\x01b\0");
    }

    #[test]
    fn each_part_is_named_in_faults() {
        for (text, token, sentence) in [
            ("256 AA AQID", 0, "algorithm `256`: more than 255"),
            (
                "2 AAB AQID",
                1,
                "host identity tag `AAB`: an odd number of hexadecimal digits",
            ),
            ("2 AA AQ=D", 2, "public key `AQ=D`: not base64"),
            ("2 AA", 2, "missing field: public key"),
            (
                "2 AA AQID a..",
                3,
                "rendezvous servers `a..`: an empty label",
            ),
        ] {
            let fault = fault(RrType::HIP, text);
            assert_eq!((fault.token, fault.sentence.as_str()), (token, sentence));
        }
        let long = fault(RrType::HIP, &format!("2 {} AQID", "aa".repeat(256)));
        assert!(long.sentence.ends_with("more than 255 octets"), "{long:?}");
    }
}
