//! Octets written as digits: hexadecimal, base64 and base32hex (RFC 4648).
//! Hexadecimal and base64 may be cut into tokens anywhere.

use std::borrow::Cow;

use data_encoding::{BASE32_DNSSEC, BASE64, DecodeKind, Encoding, HEXLOWER_PERMISSIVE, HEXUPPER};

use super::super::scanner::Token;
use super::reader::{FieldFault, Reader};
use crate::wire::rdata::{digest_length, is_hash};

/// Reads all that is left as hexadecimal.
pub(super) fn read_hex(reader: &mut Reader<'_, '_>, may_be_empty: bool) -> Result<(), FieldFault> {
    read_rest(reader, may_be_empty, &HEXLOWER_PERMISSIVE)
}

/// Reads all that is left as base64.
pub(super) fn read_base64(
    reader: &mut Reader<'_, '_>,
    may_be_empty: bool,
) -> Result<(), FieldFault> {
    read_rest(reader, may_be_empty, &BASE64)
}

/// Reads all that is left as the hexadecimal of a digest, whose kind was
/// written before it; `lengths` are those of the kinds that are known.
pub(super) fn read_digest(
    reader: &mut Reader<'_, '_>,
    lengths: &[(u8, usize)],
) -> Result<(), FieldFault> {
    let start = reader.out.len();
    let expected = digest_length(reader.data(), lengths);
    read_hex(reader, false)?;
    let length = reader.out.len() - start;
    match expected {
        Some(expected) if expected != length => Err(reader.fault(format_args!(
            "{length} octets; a digest of this type has {expected}"
        ))),
        _ => Ok(()),
    }
}

/// Reads one token of base64, one octet at least; returns how many.
pub(super) fn read_base64_word(reader: &mut Reader<'_, '_>) -> Result<usize, FieldFault> {
    read_word(reader, &BASE64)
}

/// Reads one token of hexadecimal, one octet at least; returns how many.
pub(super) fn read_hex_word(reader: &mut Reader<'_, '_>) -> Result<usize, FieldFault> {
    read_word(reader, &HEXLOWER_PERMISSIVE)
}

/// Reads all that is left as base64, or `-` for nothing.
pub(super) fn read_base64_or_dash(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    if reader.peek().is_some_and(|next| next.text == b"-") {
        return reader.token().map(drop);
    }
    read_base64(reader, false)
}

/// The octets that hexadecimal digits stand for.
pub(super) fn decode_hex(digits: &[u8]) -> Option<Vec<u8>> {
    HEXLOWER_PERMISSIVE.decode(digits).ok()
}

/// Reads a salt: hexadecimal behind a length octet, or `-` (RFC 5155 §3.3).
pub(super) fn read_salt(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    if reader.peek().is_none_or(|next| next.text != b"-") {
        return read_counted(reader, &HEXLOWER_PERMISSIVE);
    }
    reader.token()?;
    reader.out.push(0);
    Ok(())
}

/// Reads a hash in base32hex without padding behind a length octet.
pub(super) fn read_hash(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    let start = reader.data().len();
    read_counted(reader, &BASE32_DNSSEC)?;
    let (before, hash) = reader.data().split_at(start);
    let octets = hash.len() - 1;
    if !is_hash(before, octets) {
        let reason = format_args!("{octets} octets; a hash of this algorithm has 20");
        return Err(reader.fault(reason));
    }
    Ok(())
}

/// Writes a salt, `-` for none.
pub(super) fn print_salt(octets: &[u8], out: &mut String) {
    match octets {
        [] => out.push('-'),
        octets => print_hex(octets, out),
    }
}

/// Writes a hash as dig does, in upper case.
pub(super) fn print_hash(octets: &[u8], out: &mut String) {
    out.push_str(&BASE32_DNSSEC.encode(octets).to_ascii_uppercase());
}

pub(super) fn print_hex(octets: &[u8], out: &mut String) {
    HEXUPPER.encode_append(octets, out);
}

/// Writes base64, `-` for nothing.
pub(super) fn print_base64_or_dash(octets: &[u8], out: &mut String) {
    match octets {
        [] => out.push('-'),
        octets => print_base64(octets, out),
    }
}

pub(super) fn print_base64(octets: &[u8], out: &mut String) {
    BASE64.encode_append(octets, out);
}

fn read_rest(
    reader: &mut Reader<'_, '_>,
    may_be_empty: bool,
    encoding: &Encoding,
) -> Result<(), FieldFault> {
    let first = reader.taken();
    let start = reader.out.len();
    let tokens = reader.rest();
    decode(reader, first, tokens, encoding)?;
    if reader.out.len() == start && !may_be_empty {
        return Err(reader.missing());
    }
    Ok(())
}

fn read_counted(reader: &mut Reader<'_, '_>, encoding: &Encoding) -> Result<(), FieldFault> {
    let place = reader.out.len();
    reader.out.push(0);
    let length = read_word(reader, encoding)?;
    let limit = || reader.fault(format_args!("{length} octets; the limit is 255"));
    reader.out[place] = u8::try_from(length).map_err(|_| limit())?;
    Ok(())
}

fn read_word(reader: &mut Reader<'_, '_>, encoding: &Encoding) -> Result<usize, FieldFault> {
    let token = reader.token()?;
    let start = reader.out.len();
    decode(reader, reader.taken() - 1, &[token], encoding)?;
    match reader.out.len() - start {
        0 => Err(reader.fault("empty")),
        length => Ok(length),
    }
}

/// Appends what the digits of `tokens` together stand for; `first` is the
/// number of the first of them.
fn decode(
    reader: &mut Reader<'_, '_>,
    first: usize,
    tokens: &[Token<'_>],
    encoding: &Encoding,
) -> Result<(), FieldFault> {
    let digits: Cow<'_, [u8]> = match tokens {
        [token] => Cow::Borrowed(token.text),
        _ => tokens
            .iter()
            .flat_map(|token| token.text)
            .copied()
            .collect(),
    };
    let start = reader.out.len();
    let room = encoding.decode_len(digits.len());
    let result = room.and_then(|room| {
        reader.out.resize(start + room, 0);
        let decoded = encoding.decode_mut(&digits, &mut reader.out[start..]);
        decoded.map_err(|partial| partial.error)
    });
    match result {
        Ok(length) => {
            reader.out.truncate(start + length);
            // Padded texts are taken one behind the other, as where a key stands
            // twice.
            let Some(behind) = behind_padding(&digits) else {
                return Ok(());
            };
            let token = first + token_of(tokens, behind);
            Err(reader.fault_at(token, "something follows the padding"))
        }
        Err(error) => {
            let digit = match error.kind {
                DecodeKind::Length => digits.len(),
                _ => error.position,
            };
            let token = first + token_of(tokens, digit);
            Err(reader.fault_at(token, reason(encoding, error.kind)))
        }
    }
}

/// Where something stands behind padding.
fn behind_padding(digits: &[u8]) -> Option<usize> {
    let padding = digits.iter().position(|&digit| digit == b'=')?;
    let behind = digits[padding..].iter().position(|&digit| digit != b'=')?;
    Some(padding + behind)
}

/// The token in which a digit stands; the last for those behind it.
fn token_of(tokens: &[Token<'_>], digit: usize) -> usize {
    let mut end = 0;
    let is_before = |token: &&Token<'_>| {
        end += token.text.len();
        end <= digit
    };
    let before = tokens.iter().take_while(is_before).count();
    before.min(tokens.len().saturating_sub(1))
}

fn reason(encoding: &Encoding, kind: DecodeKind) -> &'static str {
    let is_base64 = *encoding == BASE64;
    let is_hex = *encoding == HEXLOWER_PERMISSIVE;
    match kind {
        DecodeKind::Length if is_hex => "an odd number of hexadecimal digits",
        DecodeKind::Length if is_base64 => "base64 that is cut short; it comes in groups of four",
        _ if is_hex => "not hexadecimal",
        _ if is_base64 => "not base64",
        _ => "not base32hex without padding",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        parse: fn(&mut Reader<'_, '_>) -> Result<(), FieldFault>,
        words: &str,
    ) -> Result<Vec<u8>, (usize, String)> {
        let tokens: Vec<_> = words
            .split_whitespace()
            .map(|word| Token {
                text: word.as_bytes(),
                quoted: false,
                at: 0,
            })
            .collect();
        let mut out = Vec::new();
        let mut reader = Reader::new(&tokens, None, &mut out);
        reader.field = "data";
        match parse(&mut reader) {
            Ok(()) => Ok(out),
            Err(fault) => Err((fault.token, fault.sentence)),
        }
    }

    fn hex(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
        read_hex(reader, false)
    }

    fn base64(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
        read_base64(reader, true)
    }

    fn fault(token: usize, sentence: &str) -> Result<Vec<u8>, (usize, String)> {
        Err((token, sentence.to_string()))
    }

    #[test]
    fn digits_may_be_cut_anywhere() {
        assert_eq!(read(hex, "a B0 c"), Ok(vec![0xab, 0x0c]));
        assert_eq!(read(base64, "A QI D"), Ok(vec![1, 2, 3]));
        assert_eq!(
            read(base64, "A A="),
            fault(
                1,
                "data `A=`: base64 that is cut short; it comes in groups of four"
            )
        );
        assert_eq!(read(base64, "AA =="), Ok(vec![0]));
        assert_eq!(read(hex, ""), fault(0, "missing field: data"));
        assert_eq!(read(base64, ""), Ok(vec![]));
    }

    #[test]
    fn faults_point_at_the_token() {
        assert_eq!(
            read(hex, "ab cg ef"),
            fault(1, "data `cg`: not hexadecimal")
        );
        let odd = "data `e`: an odd number of hexadecimal digits";
        assert_eq!(read(hex, "ab cd e"), fault(2, odd));
        assert_eq!(
            read(base64, "AQID AQ?="),
            fault(1, "data `AQ?=`: not base64")
        );
        // The four bits that are left over must be zero (RFC 4648 §3.5).
        assert_eq!(read(base64, "AB=="), fault(0, "data `AB==`: not base64"));
    }

    #[test]
    fn counted_octets() {
        assert_eq!(read(read_salt, "-"), Ok(vec![0]));
        assert_eq!(read(read_salt, "aabb"), Ok(vec![2, 0xaa, 0xbb]));
        assert_eq!(read(read_salt, &"aa".repeat(255)).unwrap().len(), 256);
        let long = read(read_salt, &"aa".repeat(256)).unwrap_err().1;
        assert!(long.ends_with("256 octets; the limit is 255"), "{long}");
        assert_eq!(read(read_hash, "2t7b4g4v"), read(read_hash, "2T7B4G4V"));
        assert_eq!(
            read(read_hash, "91"),
            fault(0, "data `91`: not base32hex without padding")
        );
    }
}
