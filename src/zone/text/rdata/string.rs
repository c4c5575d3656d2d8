//! Strings in master files: text with escapes <-> octets (RFC 1035 §5.1), bare
//! or behind a length octet.

use std::fmt::{Display, Write};

use super::reader::{FieldFault, Reader};
use crate::wire::name::unescape;
use crate::wire::rdata::strings::{MAX_CHAR_STRING, are_digits, is_tag, split};

/// What is said of a backslash that nothing good follows.
pub const BAD_ESCAPE: &str = "a broken escape; write \\X for a character or \\DDD for an octet";

/// Reads one string behind a length octet.
pub(super) fn read(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    let place = reader.out.len();
    reader.out.push(0);
    read_text(reader, true)?;
    let length = reader.out.len() - place - 1;
    if length > MAX_CHAR_STRING {
        let limit = format_args!("{length} octets; one string has {MAX_CHAR_STRING} at most");
        return Err(reader.fault(limit));
    }
    reader.out[place] = length as u8;
    Ok(())
}

/// Reads one string or more.
pub(super) fn read_several(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    read(reader)?;
    while !reader.is_empty() {
        read(reader)?;
    }
    Ok(())
}

/// Reads a string without a length before it.
pub(super) fn read_text(reader: &mut Reader<'_, '_>, may_be_empty: bool) -> Result<(), FieldFault> {
    let text = reader.token()?.text;
    if text.is_empty() && !may_be_empty {
        return Err(reader.fault("empty"));
    }
    decode(text, reader.out).ok_or_else(|| reader.fault(BAD_ESCAPE))
}

/// Reads the tag of a CAA property (RFC 8659 §4.1).
pub(super) fn read_tag(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    let place = reader.out.len();
    read(reader)?;
    if !is_tag(&reader.out[place + 1..]) {
        return Err(reader.fault("a tag is made of letters and digits"));
    }
    Ok(())
}

/// Reads the address of an X.25 station (RFC 1183 §3.1).
pub(super) fn read_digits(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    let place = reader.out.len();
    read(reader)?;
    if !are_digits(&reader.out[place + 1..]) {
        return Err(reader.fault("not decimal digits, four at least"));
    }
    Ok(())
}

/// Appends the octets that `text` stands for; `None` for a broken escape.
pub(super) fn decode(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&octet| octet == b'\\') {
        let (plain, escape) = rest.split_at(at);
        let (octet, behind) = unescape(&escape[1..])?;
        out.extend_from_slice(plain);
        out.push(octet);
        rest = behind;
    }
    out.extend_from_slice(rest);
    Some(())
}

/// The octets that `text` stands for; `None` for a broken escape.
pub fn unescape_all(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    decode(text, &mut out)?;
    Some(out)
}

/// Writes the strings in `octets`, each in quotes.
pub(super) fn print_several(octets: &[u8], out: &mut String) {
    let mut rest = octets;
    while let Some((string, behind)) = split(rest) {
        print(string, out);
        rest = behind;
        if !rest.is_empty() {
            out.push(' ');
        }
    }
}

/// Writes anything the way it displays itself.
pub(super) fn push(item: impl Display, out: &mut String) {
    write!(out, "{item}").expect("a string has room for everything");
}

/// Writes octets as a string in quotes.
pub(super) fn print(octets: &[u8], out: &mut String) {
    out.push('"');
    for &octet in octets {
        match octet {
            b'"' | b'\\' => out.extend(['\\', octet as char]),
            b' '..=b'~' => out.push(octet as char),
            _ => push(format_args!("\\{octet:03}"), out),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(text: &[u8]) -> Option<Vec<u8>> {
        unescape_all(text)
    }

    #[test]
    fn escapes_go_both_ways() {
        for (text, wire) in [
            (r"plain text", &b"plain text"[..]),
            (r"\000\255\127", b"\x00\xff\x7f"),
            (r#"a\"b\\c"#, b"a\"b\\c"),
            ("", b""),
        ] {
            assert_eq!(octets(text.as_bytes()).as_deref(), Some(wire), "{text}");
            let mut printed = String::new();
            print(wire, &mut printed);
            assert_eq!(printed, format!("\"{text}\""));
        }
        assert_eq!(octets(br"\a\;\032").as_deref(), Some(&b"a; "[..]));
        for text in [&br"\"[..], br"a\", br"\1", br"\12", br"\256", br"\1x2"] {
            assert_eq!(octets(text), None);
        }
    }
}
