//! The parameters of SVCB and HTTPS records in text (RFC 9460 §2.1), where they
//! stand in any order.

use std::net::{Ipv4Addr, Ipv6Addr};

use data_encoding::BASE64;

use super::reader::{FieldFault, Reader, excerpt, number};
use super::string::{self, push};
use crate::wire::rdata::svcb::{
    ALPN, DOHPATH, ECH, INVALID, IPV4HINT, IPV6HINT, MANDATORY, NO_DEFAULT_ALPN, OHTTP, PORT,
    UNWANTED_VALUE, fault, items, keys, parameters,
};

/// The names of the keys, by number (RFC 9460 §14.3.2, RFC 9461 §5, RFC 9540 §4).
const NAMES: [&str; 9] = [
    "mandatory",
    "alpn",
    "no-default-alpn",
    "port",
    "ipv4hint",
    "ech",
    "ipv6hint",
    "dohpath",
    "ohttp",
];

const NO_VALUE: &str = "a value is missing";
const NO_PATH: &str = "not a path with the variable dns, as /dns-query{?dns}";

/// One parameter as read, and the token it came from.
struct Parameter {
    key: u16,
    value: Vec<u8>,
    token: usize,
}

/// Reads all that is left as parameters, of which there may be none.
pub(super) fn read(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    reader.field = "parameter";
    let mut parameters = Vec::new();
    while !reader.is_empty() {
        let (word, token) = (reader.token()?, reader.taken());
        // `key="value"`: a quote right behind the sign (RFC 9460 §2.1).
        let quoted = match reader.peek() {
            Some(next) if next.quoted && word.text.ends_with(b"=") && word.touches(&next) => {
                Some(reader.token()?)
            }
            _ => None,
        };
        let token = token - 1;
        if let (Some(value), Some(next)) = (quoted, reader.peek())
            && value.touches(&next)
        {
            let [word, value, next] = [word, value, next].map(|token| excerpt(token.text));
            let sentence =
                format!("parameter `{word}\"{value}\"{next}`: something follows the closing quote");
            return Err(FieldFault { token, sentence });
        }
        let value = quoted.map(|value| value.text);
        let (key, value) =
            parse(word.text, value).map_err(|reason| reader.fault_at(token, reason))?;
        parameters.push(Parameter { key, value, token });
    }
    // Stable: of two with the same key the second is the one at fault.
    parameters.sort_by_key(|parameter| parameter.key);
    let start = reader.out.len();
    for parameter in &parameters {
        let length = u16::try_from(parameter.value.len());
        let length =
            length.map_err(|_| reader.fault_at(parameter.token, "more than 65535 octets"))?;
        reader.out.extend_from_slice(&parameter.key.to_be_bytes());
        reader.out.extend_from_slice(&length.to_be_bytes());
        reader.out.extend_from_slice(&parameter.value);
    }
    let Some((key, reason)) = fault(&reader.out[start..]) else {
        return Ok(());
    };
    let at_fault = parameters.iter().rfind(|parameter| parameter.key == key);
    let token = at_fault.map_or(reader.taken(), |parameter| parameter.token);
    Err(reader.fault_at(token, reason))
}

/// Reads `key`, `key=value`, or `key=` and a value that stood in quotes (RFC 9460
/// §2.1).
fn parse(text: &[u8], quoted: Option<&[u8]>) -> Result<(u16, Vec<u8>), &'static str> {
    let equals = text.iter().position(|&octet| octet == b'=');
    let (name, value) = match equals {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &b""[..]),
    };
    let key = parse_key(name).ok_or("not a known key, nor one such as key65000")?;
    let value = string::unescape_all(quoted.unwrap_or(value)).ok_or(string::BAD_ESCAPE)?;
    // The generic spelling of any key takes the wire form of its value.
    if name.starts_with(b"key") {
        return Ok((key, value));
    }
    Ok((key, encode(key, value)?))
}

/// A key's name, or `key` and its number without leading zeros.
fn parse_key(name: &[u8]) -> Option<u16> {
    if let Some(key) = NAMES.iter().position(|known| known.as_bytes() == name) {
        return Some(key as u16);
    }
    let digits = name.strip_prefix(b"key")?;
    let key = u16::try_from(number(digits)?).ok()?;
    let is_short = digits == b"0" || !digits.starts_with(b"0");
    (is_short && key != INVALID).then_some(key)
}

/// True for a relative URI template (RFC 6570) with the variable `dns` (RFC 9461
/// §5).
fn is_doh_path(value: &[u8]) -> bool {
    let Ok(path) = std::str::from_utf8(value) else {
        return false;
    };
    let mut expressions = path.split('{').skip(1);
    path.starts_with('/')
        && expressions.any(|behind| {
            let expression = behind.split('}').next().unwrap_or_default();
            let names = expression.trim_start_matches(['+', '#', '.', '/', ';', '?', '&']);
            names.split(',').any(|name| name == "dns")
        })
}

/// The wire form of a known key's value.
fn encode(key: u16, value: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    match key {
        NO_DEFAULT_ALPN | OHTTP if value.is_empty() => Ok(value),
        NO_DEFAULT_ALPN | OHTTP => Err(UNWANTED_VALUE),
        _ if value.is_empty() => Err(NO_VALUE),
        MANDATORY => encode_keys(&value),
        ALPN => encode_list(&value),
        PORT => {
            let port = number(&value).and_then(|port| u16::try_from(port).ok());
            Ok(port.ok_or("not a port, 0 to 65535")?.to_be_bytes().to_vec())
        }
        IPV4HINT => addresses(&value, |address: Ipv4Addr| address.octets())
            .ok_or("not a list of IPv4 addresses"),
        IPV6HINT => addresses(&value, |address: Ipv6Addr| address.octets())
            .ok_or("not a list of IPv6 addresses"),
        ECH => BASE64.decode(&value).map_err(|_| "not base64"),
        DOHPATH if !is_doh_path(&value) => Err(NO_PATH),
        _ => Ok(value),
    }
}

fn encode_keys(value: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut keys = Vec::new();
    for name in value.split(|&octet| octet == b',') {
        keys.push(parse_key(name).ok_or("a key in the list is not known")?);
    }
    keys.sort_unstable();
    Ok(keys.into_iter().flat_map(u16::to_be_bytes).collect())
}

/// Addresses joined by commas.
fn addresses<A: std::str::FromStr, const N: usize>(
    value: &[u8],
    octets: impl Fn(A) -> [u8; N],
) -> Option<Vec<u8>> {
    let mut wire = Vec::new();
    for address in std::str::from_utf8(value).ok()?.split(',') {
        wire.extend(octets(address.parse().ok()?));
    }
    Some(wire)
}

/// Strings joined by commas, `\,` and `\\` for themselves (RFC 9460 §A.1).
fn encode_list(value: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut wire = vec![0];
    let mut place = 0;
    let mut octets = value.iter();
    while let Some(&octet) = octets.next() {
        match octet {
            b',' => {
                close_item(&mut wire, place)?;
                place = wire.len();
                wire.push(0);
            }
            b'\\' => match octets.next() {
                Some(&escaped @ (b',' | b'\\')) => wire.push(escaped),
                _ => return Err("in a list, \\ stands only before a comma or another \\"),
            },
            octet => wire.push(octet),
        }
    }
    close_item(&mut wire, place)?;
    Ok(wire)
}

fn close_item(wire: &mut [u8], place: usize) -> Result<(), &'static str> {
    wire[place] = match wire.len() - place - 1 {
        0 => return Err("an item of the list is empty"),
        length @ 1..=255 => length as u8,
        _ => return Err("an item of the list has more than 255 octets"),
    };
    Ok(())
}

/// Writes valid parameters.
pub(super) fn print(octets: &[u8], out: &mut String) {
    let mut separator = "";
    for (key, value) in parameters(octets) {
        out.push_str(separator);
        print_key(key, out);
        print_value(key, value, out);
        separator = " ";
    }
}

fn print_key(key: u16, out: &mut String) {
    match NAMES.get(usize::from(key)) {
        Some(name) => out.push_str(name),
        None => push(format_args!("key{key}"), out),
    }
}

fn print_value(key: u16, value: &[u8], out: &mut String) {
    if value.is_empty() {
        return;
    }
    out.push('=');
    match key {
        MANDATORY => print_list(keys(value), out, print_key),
        ALPN => string::print(&join(value), out),
        PORT => print_list(keys(value), out, push),
        IPV4HINT => print_list(value.as_chunks::<4>().0.iter(), out, |&octets, out| {
            push(Ipv4Addr::from(octets), out);
        }),
        IPV6HINT => print_list(value.as_chunks::<16>().0.iter(), out, |&octets, out| {
            push(Ipv6Addr::from(octets), out);
        }),
        ECH => BASE64.encode_append(value, out),
        _ => string::print(value, out),
    }
}

fn print_list<T>(items: impl Iterator<Item = T>, out: &mut String, each: impl Fn(T, &mut String)) {
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(',');
        }
        each(item, out);
    }
}

/// The items of `alpn` joined by commas, as they stand inside a string.
fn join(value: &[u8]) -> Vec<u8> {
    let mut joined = Vec::new();
    for (at, item) in items(value).enumerate() {
        if at > 0 {
            joined.push(b',');
        }
        for &octet in item {
            if matches!(octet, b',' | b'\\') {
                joined.push(b'\\');
            }
            joined.push(octet);
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::super::testing::{fault, octets, reprinted};
    use super::*;
    use crate::wire::RrType;

    fn hex(text: &str) -> Vec<u8> {
        let digits = text.replace(char::is_whitespace, "");
        data_encoding::HEXLOWER_PERMISSIVE
            .decode(digits.as_bytes())
            .unwrap()
    }

    #[test]
    fn the_test_vectors_of_the_rfc() {
        // RFC 9460 §D.1 and §D.2, figures 2 to 10.
        const FOO_COM: &str = "03666f6f 076578616d706c65 03636f6d 00";
        const FOO_ORG: &str = "03666f6f 076578616d706c65 036f7267 00";
        for (text, head, target, parameters) in [
            ("0 foo.example.com.", "0000", FOO_COM, ""),
            ("1 .", "0001", "00", ""),
            (
                "16 foo.example.com. port=53",
                "0010",
                FOO_COM,
                "0003 0002 0035",
            ),
            (
                "1 foo.example.com. key667=hello",
                "0001",
                FOO_COM,
                "029b 0005 68656c6c6f",
            ),
            (
                r#"1 foo.example.com. key667="hello\210qoo""#,
                "0001",
                FOO_COM,
                "029b 0009 68656c6c6fd2716f6f",
            ),
            (
                r#"1 foo.example.com. ipv6hint="2001:db8::1,2001:db8::53:1""#,
                "0001",
                FOO_COM,
                "0006 0020 20010db8000000000000000000000001 20010db8000000000000000000530001",
            ),
            (
                "16 foo.example.org. alpn=h2,h3-19 mandatory=ipv4hint,alpn ipv4hint=192.0.2.1",
                "0010",
                FOO_ORG,
                "0000 0004 00010004 0001 0009 026832 0568332d3139 0004 0004 c0000201",
            ),
            (
                r#"16 foo.example.org. alpn="f\\\\oo\\,bar,h2""#,
                "0010",
                FOO_ORG,
                "0001 000c 08665c6f6f2c626172 026832",
            ),
            (
                r"16 foo.example.org. alpn=f\\\092oo\092,bar,h2",
                "0010",
                FOO_ORG,
                "0001 000c 08665c6f6f2c626172 026832",
            ),
        ] {
            let expected = hex(&[head, target, parameters].concat());
            for rtype in [RrType::SVCB, RrType::HTTPS] {
                assert_eq!(octets(rtype, text), expected, "{text}");
                assert_eq!(octets(rtype, &reprinted(rtype, text)), expected, "{text}");
            }
        }
    }

    #[test]
    fn the_failures_of_the_rfc() {
        // RFC 9460 §D.3.
        for (parameters, token, reason) in [
            ("key123=abc key123=def", 3, "the same key again"),
            ("mandatory", 2, NO_VALUE),
            ("alpn", 2, NO_VALUE),
            ("port", 2, NO_VALUE),
            ("ipv4hint", 2, NO_VALUE),
            ("ipv6hint", 2, NO_VALUE),
            ("alpn=h2 no-default-alpn=abc", 3, UNWANTED_VALUE),
            (
                "mandatory=key123",
                2,
                "a key in the list is not among the parameters",
            ),
            ("mandatory=mandatory", 2, "it lists itself"),
            (
                "key123=abc mandatory=key123,key123",
                3,
                "a key is listed twice",
            ),
        ] {
            let fault = fault(RrType::SVCB, &format!("1 foo.example.com. {parameters}"));
            assert_eq!(fault.token, token, "{parameters}");
            assert!(
                fault.sentence.starts_with("parameter `"),
                "{}",
                fault.sentence
            );
            assert!(fault.sentence.ends_with(reason), "{}", fault.sentence);
        }
    }

    #[test]
    fn other_faults() {
        for parameter in [
            "no-default-alpn",
            "Port=1",
            "bogus=1",
            "key=1",
            "key65535=1",
            "key65536=1",
            "key01=1",
            "port=65536",
            "port=",
            "port=\"\"",
            "alpn=a,,b",
            "alpn=,",
            r"alpn=a\\x",
            "ipv4hint=192.0.2.1,",
            "ipv4hint=2001:db8::1",
            "ipv6hint=192.0.2.1",
            "ech=AQ?=",
            "ohttp=1",
            "mandatory=bogus",
            "key3=x",
            "key4=abcde",
            r"key9=\2",
            r#"key9="a"b"#,
            "=x",
        ] {
            assert_eq!(
                fault(RrType::HTTPS, &format!("1 . {parameter}")).token,
                2,
                "{parameter}"
            );
        }
        let long = format!("1 . alpn=h2,{}", "x".repeat(256));
        assert_eq!(fault(RrType::SVCB, &long).token, 2);
    }

    #[test]
    fn every_key_is_printed_as_it_is_read() {
        for text in [
            r#"1 . mandatory=port,key9 alpn="h2,h3" no-default-alpn port=8443 key9="x""#,
            r#"1 . ipv4hint=192.0.2.1,192.0.2.2 ech=AQID ipv6hint=2001:db8::1 ohttp"#,
            r#"0 b. dohpath="/dns-query{?dns}""#,
            r#"1 . key1234 key1235="a b;c\"\\,\000""#,
            r#"1 . alpn="f\\\\oo\\,bar,h2""#,
        ] {
            assert_eq!(reprinted(RrType::SVCB, text), text);
        }
        let text = r#"1 . alpn="h2" no-default-alpn="" ohttp= key9="""#;
        assert_eq!(
            reprinted(RrType::SVCB, text),
            r#"1 . alpn="h2" no-default-alpn ohttp key9"#
        );
        // The generic spelling of a known key takes its wire form.
        assert_eq!(reprinted(RrType::SVCB, r"1 . key3=\000\053"), "1 . port=53");
    }
}
