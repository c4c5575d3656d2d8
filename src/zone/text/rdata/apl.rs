//! Lists of address prefixes in text (RFC 3123 §5):
//! `1:192.0.2.0/24 !2:2001:db8::/32`.

use std::net::IpAddr;

use super::reader::{FieldFault, Reader, number};
use super::string::push;
use crate::wire::rdata::apl::{IPV4, IPV6, Prefix, bits, prefixes};

/// Reads all that is left as prefixes, of which there may be none.
pub(super) fn read(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    while !reader.is_empty() {
        let text = reader.token()?.text;
        match std::str::from_utf8(text).ok().and_then(parse) {
            Some(prefix) => write_wire(&prefix, reader.out),
            None => {
                let form = "not a prefix such as 1:192.0.2.0/24 or !2:2001:db8::/32";
                return Err(reader.fault(form));
            }
        }
    }
    Ok(())
}

fn parse(text: &str) -> Option<Prefix> {
    let (is_negated, text) = match text.strip_prefix('!') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (family, text) = text.split_once(':')?;
    let (address, length) = text.split_once('/')?;
    let address = match number(family.as_bytes())? {
        1 => IpAddr::V4(address.parse().ok()?),
        2 => IpAddr::V6(address.parse().ok()?),
        _ => return None,
    };
    let length = number(length.as_bytes()).filter(|&length| length <= bits(address))?;
    Some(Prefix {
        is_negated,
        address,
        length: length as u8,
    })
}

fn write_wire(prefix: &Prefix, out: &mut Vec<u8>) {
    let (family, address) = match prefix.address {
        IpAddr::V4(address) => (IPV4, address.octets().to_vec()),
        IpAddr::V6(address) => (IPV6, address.octets().to_vec()),
    };
    let zeros = address
        .iter()
        .rev()
        .take_while(|&&octet| octet == 0)
        .count();
    let kept = &address[..address.len() - zeros];
    out.extend_from_slice(&family.to_be_bytes());
    out.push(prefix.length);
    out.push(u8::from(prefix.is_negated) << 7 | kept.len() as u8);
    out.extend_from_slice(kept);
}

/// Writes the prefixes of a valid list.
pub(super) fn print(octets: &[u8], out: &mut String) {
    let mut separator = "";
    for prefix in prefixes(octets) {
        let sign = if prefix.is_negated { "!" } else { "" };
        let family = if prefix.address.is_ipv4() { IPV4 } else { IPV6 };
        let (address, length) = (prefix.address, prefix.length);
        push(
            format_args!("{separator}{sign}{family}:{address}/{length}"),
            out,
        );
        separator = " ";
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{fault, octets, reprinted};
    use crate::wire::RrType;

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 3123 §5.
        for text in [
            "1:192.168.32.0/21 !1:192.168.38.0/28",
            "1:192.168.42.0/26 1:192.168.42.64/26 !1:192.168.42.128/25",
            "1:127.0.0.1/32 1:172.16.64.0/22",
            "1:224.0.0.0/4 2:ff00::/8",
            "",
            "1:0.0.0.0/0 2:::/128 !2:::1/0",
        ] {
            assert_eq!(reprinted(RrType::APL, text), text);
        }
        let wire = b"\x00\x01\x15\x03\xc0\xa8\x20\x00\x01\x1c\x83\xc0\xa8\x26";
        let text = "1:192.168.32.0/21 !1:192.168.38.0/28";
        assert_eq!(octets(RrType::APL, text), wire);
    }

    #[test]
    fn broken_prefixes() {
        for text in [
            "192.0.2.0/24",
            "1:192.0.2.0",
            "1:192.0.2.0/33",
            "1:192.0.2/24",
            "2:::/129",
            "2:192.0.2.0/24",
            "3:00/8",
            "!!1:0.0.0.0/0",
            "1:0.0.0.0/",
        ] {
            let broken = fault(RrType::APL, &format!("1:0.0.0.0/0 {text}"));
            assert_eq!(broken.token, 1, "{text}");
        }
    }
}
