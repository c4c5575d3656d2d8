//! The text of types that are given up and still in the registry: services by
//! port, OSI and ATM addresses, IPv6 addresses in parts.

use std::net::Ipv6Addr;

use super::encoded;
use super::reader::{FieldFault, Reader, number};
use super::string::push;
use crate::wire::RrType;
use crate::wire::rdata::obsolete::{bits, is_suffix, suffix_length, write_bits};

/// Names of services as RFC 1010 and its successors had them when WKS was in
/// use, and some that people write today. Others are written as numbers.
const SERVICES: &[(&str, u16)] = &[
    ("echo", 7),
    ("discard", 9),
    ("systat", 11),
    ("daytime", 13),
    ("qotd", 17),
    ("chargen", 19),
    ("ftp-data", 20),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("time", 37),
    ("rlp", 39),
    ("nameserver", 42),
    ("nicname", 43),
    ("whois", 43),
    ("domain", 53),
    ("bootps", 67),
    ("bootpc", 68),
    ("tftp", 69),
    ("gopher", 70),
    ("finger", 79),
    ("http", 80),
    ("kerberos", 88),
    ("hostname", 101),
    ("pop2", 109),
    ("pop3", 110),
    ("sunrpc", 111),
    ("auth", 113),
    ("sftp", 115),
    ("uucp-path", 117),
    ("nntp", 119),
    ("ntp", 123),
    ("imap", 143),
    ("snmp", 161),
    ("irc", 194),
    ("https", 443),
];

/// Reads all that is left as ports, of which there may be none.
pub(super) fn read_ports(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    let mut ports = Vec::new();
    while !reader.is_empty() {
        let text = reader.token()?.text;
        let named = SERVICES
            .iter()
            .find(|(name, _)| text.eq_ignore_ascii_case(name.as_bytes()));
        let port = match named {
            Some(&(_, port)) => Some(port),
            None => number(text).and_then(|port| u16::try_from(port).ok()),
        };
        let port = port.ok_or_else(|| reader.fault("neither a port nor a known service"))?;
        ports.push(usize::from(port));
    }
    write_bits(&ports, reader.out);
    Ok(())
}

/// Reads all that is left as types up to 127, one at least.
pub(super) fn read_old_types(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    let mut types = Vec::new();
    loop {
        match RrType::from_text(reader.token()?.text) {
            Some(RrType(number @ 1..=127)) => types.push(usize::from(number)),
            Some(_) => return Err(reader.fault("only the types 1 to 127 have a place here")),
            None => return Err(reader.fault("not a record type")),
        }
        if reader.is_empty() {
            break;
        }
    }
    write_bits(&types, reader.out);
    Ok(())
}

/// Writes the numbers of a set of ports.
pub(super) fn print_ports(octets: &[u8], out: &mut String) {
    print_bits(octets, out, push);
}

/// Writes a set of types.
pub(super) fn print_old_types(octets: &[u8], out: &mut String) {
    print_bits(octets, out, |rtype, out| push(RrType(rtype as u16), out));
}

fn print_bits(octets: &[u8], out: &mut String, print: impl Fn(usize, &mut String)) {
    for (at, bit) in bits(octets).enumerate() {
        if at > 0 {
            out.push(' ');
        }
        print(bit, out);
    }
}

/// Reads an NSAP address: `0x`, then octets with dots anywhere between them.
pub(super) fn read_nsap(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    let text = reader.token()?.text;
    let digits = text.strip_prefix(b"0x").or(text.strip_prefix(b"0X"));
    let digits = digits.ok_or_else(|| reader.fault("it does not begin with 0x"))?;
    read_dotted(reader, digits)
}

/// Reads an ATM address: a telephone number behind `+`, or an NSAP address.
pub(super) fn read_atm_address(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    let text = reader.token()?.text;
    let Some(number) = text.strip_prefix(b"+") else {
        reader.append([0]);
        return read_dotted(reader, text);
    };
    let digits: Vec<u8> = number.iter().copied().filter(|&c| c != b'.').collect();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(reader.fault("not digits behind the +"));
    }
    reader.append([1]);
    reader.out.extend(digits);
    Ok(())
}

fn read_dotted(reader: &mut Reader<'_, '_>, text: &[u8]) -> Result<(), FieldFault> {
    let digits: Vec<u8> = text.iter().copied().filter(|&c| c != b'.').collect();
    match encoded::decode_hex(&digits) {
        Some(octets) if !octets.is_empty() => {
            reader.out.extend(octets);
            Ok(())
        }
        _ => Err(reader.fault("not pairs of hexadecimal digits, dots between them apart")),
    }
}

/// Writes an ATM address that is valid.
pub(super) fn print_atm_address(octets: &[u8], out: &mut String) {
    match octets {
        [1, digits @ ..] => {
            out.push('+');
            out.push_str(&String::from_utf8_lossy(digits));
        }
        octets => encoded::print_hex(octets.get(1..).unwrap_or_default(), out),
    }
}

/// Reads the end of an IPv6 address, the prefix of which is 0.
pub(super) fn read_a6_suffix(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    let prefix_bits = reader.data().first().copied().unwrap_or(0);
    let text = reader.token()?.text;
    let address: Option<Ipv6Addr> = std::str::from_utf8(text).ok().and_then(|t| t.parse().ok());
    let octets = address
        .ok_or_else(|| reader.fault("not an IPv6 address"))?
        .octets();
    let (prefix, suffix) = octets.split_at(16 - suffix_length(prefix_bits).unwrap_or(0));
    if prefix.iter().any(|&octet| octet != 0) || !is_suffix(prefix_bits, suffix) {
        let reason = format_args!("the first {prefix_bits} bits are the prefix's and must be 0");
        return Err(reader.fault(reason));
    }
    reader.out.extend_from_slice(suffix);
    Ok(())
}

/// Writes it.
pub(super) fn print_a6_suffix(octets: &[u8], out: &mut String) {
    let mut address = [0; 16];
    if let Some(place) = address.get_mut(16usize.saturating_sub(octets.len())..) {
        place.copy_from_slice(octets);
    }
    push(Ipv6Addr::from(address), out);
}

#[cfg(test)]
mod tests {
    use super::super::testing::{fault, octets, reprinted};
    use crate::wire::RrType;

    #[test]
    fn services_by_name_and_by_number() {
        // RFC 1035 §3.4.2: "if PORT = 6 (TCP), the 26th bit corresponds to TCP port 25".
        let wire = octets(RrType::WKS, "192.0.2.1 TCP smtp");
        assert_eq!(wire, b"\xc0\0\x02\x01\x06\0\0\0\x40");
        assert_eq!(
            reprinted(RrType::WKS, "192.0.2.1 udp domain 53 0 ( 65535 )"),
            "192.0.2.1 17 0 53 65535"
        );
        assert_eq!(reprinted(RrType::WKS, "192.0.2.1 6"), "192.0.2.1 6");
        for (text, token) in [
            ("192.0.2.1", 1),
            ("192.0.2.1 sctp 1", 1),
            ("192.0.2.1 tcp nothing", 2),
            ("192.0.2.1 tcp 65536", 2),
        ] {
            assert_eq!(fault(RrType::WKS, text).token, token, "{text}");
        }
    }

    #[test]
    fn addresses_with_dots_anywhere() {
        let text = "0x47.0005.80.005a00.0000.0001.e133.ffffff000161.00";
        let plain = "0x47000580005A0000000001E133FFFFFF00016100";
        assert_eq!(reprinted(RrType::NSAP, text), plain);
        assert_eq!(reprinted(RrType::NSAP, plain), plain);
        for text in ["47000580", "0x", "0x4", "0x4g", "0x47 00"] {
            let broken = fault(RrType::NSAP, text);
            assert!(broken.token <= 1, "{text}");
        }
        let text = "39.246f.00.0e7c9c03120001000100.000012345678.00";
        let plain = "39246F000E7C9C0312000100010000001234567800";
        assert_eq!(reprinted(RrType::ATMA, text), plain);
        assert_eq!(octets(RrType::ATMA, "+61.200.001111"), b"\x0161200001111");
        assert_eq!(reprinted(RrType::ATMA, "+61.200"), "+61200");
        for text in ["+", "+6x", "39.2", "."] {
            assert_eq!(fault(RrType::ATMA, text).token, 0, "{text}");
        }
    }

    #[test]
    fn an_address_in_parts() {
        // RFC 2874 §3.1 and §3.2.
        let wire = octets(RrType::A6, "64 ::1234:5678:9abc:def0 subnet");
        assert_eq!(
            wire,
            b"\x40\x12\x34\x56\x78\x9a\xbc\xde\xf0\x06subnet\x07example\0"
        );
        assert_eq!(reprinted(RrType::A6, "0 2345:00C1::1"), "0 2345:c1::1");
        assert_eq!(reprinted(RrType::A6, "128 a.b."), "128 a.b.");
        assert_eq!(reprinted(RrType::A6, "61 ::7:0:0:1 a."), "61 ::7:0:0:1 a.");
        for (text, token) in [
            ("129 a.", 0),
            ("64 ::1", 2),
            ("0 ::1 a.", 2),
            ("128 ::1 a.", 2),
            ("64 1::1 a.", 1),
            ("61 0:0:0:8::1 a.", 1),
            ("64 a. b.", 1),
        ] {
            assert_eq!(fault(RrType::A6, text).token, token, "{text}");
        }
    }

    #[test]
    fn types_without_windows() {
        // RFC 2535 §5.3.
        let text = "medium.foo.nil. A MX SIG NXT";
        assert_eq!(reprinted(RrType::NXT, text), text);
        for (text, token) in [
            ("a.", 1),
            ("a. TYPE128", 1),
            ("a. A TYPE0", 2),
            ("a. FOO", 1),
        ] {
            assert_eq!(fault(RrType::NXT, text).token, token, "{text}");
        }
    }
}
