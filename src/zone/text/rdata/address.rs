//! Addresses of all sorts: IPv4, IPv6, and numbers in groups of hexadecimal
//! digits (RFC 6742, RFC 7043).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::reader::{FieldFault, Reader};
use super::string::push;

/// Reads a dotted quad.
#[inline]
pub(super) fn read_ipv4(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    let address = parse(reader.token()?.text).map(|address: Ipv4Addr| address.octets());
    reader.append(address.ok_or_else(|| reader.fault("not an IPv4 address"))?);
    Ok(())
}

/// Reads an IPv6 address.
#[inline]
pub(super) fn read_ipv6(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    let address = parse(reader.token()?.text).map(|address: Ipv6Addr| address.octets());
    reader.append(address.ok_or_else(|| reader.fault("not an IPv6 address"))?);
    Ok(())
}

fn parse<T: FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Reads so many octets, two hexadecimal digits each, joined by `-`.
pub(super) fn read_eui(reader: &mut Reader<'_, '_>, octets: usize) -> Result<(), FieldFault> {
    let text = reader.token()?.text;
    let start = reader.out.len();
    for group in text.split(|&octet| octet == b'-') {
        match hexadecimal(group).filter(|_| group.len() == 2) {
            Some(octet) => reader.append([octet as u8]),
            None => return Err(reader.fault("not pairs of hexadecimal digits joined by -")),
        }
    }
    match reader.out.len() - start {
        found if found == octets => Ok(()),
        found => Err(reader.fault(format_args!("{found} octets instead of {octets}"))),
    }
}

/// Reads four numbers of up to four hexadecimal digits, joined by `:`. It is
/// half an IPv6 address, but `::` is not allowed (RFC 6742 §2.1.2).
pub(super) fn read_locator(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    let text = reader.token()?.text;
    let start = reader.out.len();
    for group in text.split(|&octet| octet == b':') {
        match hexadecimal(group) {
            Some(number) => reader.append(number.to_be_bytes()),
            None => return Err(reader.fault("not hexadecimal numbers joined by :")),
        }
    }
    match (reader.out.len() - start) / 2 {
        4 => Ok(()),
        found => Err(reader.fault(format_args!("{found} numbers instead of 4"))),
    }
}

/// One to four hexadecimal digits.
fn hexadecimal(digits: &[u8]) -> Option<u16> {
    if !(1..=4).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Writes an address of 4 or 16 octets.
pub(super) fn print_ip(octets: &[u8], out: &mut String) {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        push(Ipv4Addr::from(octets), out);
    } else if let Ok(octets) = <[u8; 16]>::try_from(octets) {
        push(Ipv6Addr::from(octets), out);
    }
}

/// Writes octets joined by `-`.
pub(super) fn print_eui(octets: &[u8], out: &mut String) {
    for (at, octet) in octets.iter().enumerate() {
        let separator = if at > 0 { "-" } else { "" };
        push(format_args!("{separator}{octet:02x}"), out);
    }
}

/// Writes numbers of two octets joined by `:`.
pub(super) fn print_locator(octets: &[u8], out: &mut String) {
    for (at, &number) in octets.as_chunks().0.iter().enumerate() {
        let separator = if at > 0 { ":" } else { "" };
        push(
            format_args!("{separator}{:x}", u16::from_be_bytes(number)),
            out,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{fault, octets};
    use crate::wire::RrType;

    #[test]
    fn addresses_that_are_none() {
        for text in [
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.256",
            "01.2.3.4",
            "1.2.3.4a",
            "::1",
            "1.2.3.",
        ] {
            let fault = fault(RrType::A, text);
            assert_eq!(
                fault.sentence,
                format!("address `{text}`: not an IPv4 address")
            );
        }
        for text in [
            ":::",
            "1.2.3.4",
            "1:2:3:4:5:6:7",
            "g::",
            "::12345",
            "fe80::1%eth0",
        ] {
            let fault = fault(RrType::AAAA, text);
            assert_eq!(
                fault.sentence,
                format!("address `{text}`: not an IPv6 address")
            );
        }
    }

    #[test]
    fn groups_of_digits() {
        assert_eq!(
            octets(RrType::EUI48, "00-00-5e-00-53-FF"),
            b"\0\0\x5e\0\x53\xff"
        );
        for text in [
            "00-00-5e-00-53",
            "00-00-5e-00-53-2a-00",
            "0-0-5e-0-53-2a",
            "00:00:5e:00:53:2a",
        ] {
            assert_eq!(fault(RrType::EUI48, text).token, 0, "{text}");
        }
        assert_eq!(
            octets(RrType::NID, "1 1:02:003:fFff"),
            b"\0\x01\0\x01\0\x02\0\x03\xff\xff"
        );
        for text in [
            "1::2",
            "1:2:3",
            "1:2:3:4:5",
            "1:2:3:00004",
            "1:2:3:g",
            "+1:2:3:4",
        ] {
            assert_eq!(fault(RrType::L64, &format!("1 {text}")).token, 1, "{text}");
        }
    }
}
