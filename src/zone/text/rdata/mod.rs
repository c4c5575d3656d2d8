//! The data of one record, text <-> octets, after the table of types and their
//! fields in `wire::rtype`; the octets are `wire::rdata`'s. Here are the matches
//! over the kinds of fields, one to read and one to print, and the generic form
//! that any type may take (RFC 3597 §5). Kinds that are ideas of their own have files beside
//! this one. Owner, TTL, class and type belong to the record, not here.

pub mod time;

mod address;
mod apl;
mod bitmap;
mod encoded;
mod hip;
mod loc;
mod mnemonic;
mod obsolete;
mod reader;
mod string;
mod svcb;

use super::scanner::Token;
use crate::wire::field::Kind;
use crate::wire::name::wire_length;
use crate::wire::rdata::{MAX_RDATA, fields, is_valid, resolve};
use crate::wire::{Name, RrType};
use reader::Reader;
pub use reader::{FieldFault, excerpt};
pub use string::{BAD_ESCAPE, unescape_all};
use time::{parse_period, parse_timestamp, print_timestamp};

/// Announces data in generic form.
const GENERIC: &[u8] = br"\#";

/// Appends the data of a record of type `rtype` to `out`, uncompressed.
/// `tokens` are those behind the type; relative names are completed with
/// `origin`. After a fault `out` may end in part of a record.
pub fn read(
    rtype: RrType,
    tokens: &[Token<'_>],
    origin: Option<&Name>,
    out: &mut Vec<u8>,
) -> Result<(), FieldFault> {
    if rtype.is_meta() {
        return Err(no_data(rtype));
    }
    let mut reader = Reader::new(tokens, origin, out);
    match (tokens, rtype.fields()) {
        ([first, ..], _) if first.text == GENERIC && !first.quoted => {
            read_generic(rtype, &mut reader)?;
        }
        (_, Some(fields)) => {
            for field in fields {
                reader.field = field.name;
                read_field(field.kind, &mut reader)?;
            }
            reader.end()?;
        }
        (_, None) => return Err(not_known(rtype)),
    }
    match reader.data().len() {
        0..=MAX_RDATA => Ok(()),
        length => Err(too_long(length)),
    }
}

/// Appends the data of a record as dig prints it: names absolute and in the
/// case they are stored in, in one line. Data of types without fields, and
/// data that does not fit its type's fields, is printed in generic form.
pub fn print(rtype: RrType, rdata: &[u8], out: &mut String) {
    let start = out.len();
    let whole = fields(rtype, rdata, |kind, place| {
        let before = out.len();
        if before > start {
            out.push(' ');
        }
        let field = out.len();
        print_field(kind, &rdata[place], out);
        if out.len() == field {
            out.truncate(before);
        }
    });
    if whole.is_none() {
        out.truncate(start);
        print_generic(rdata, out);
    }
}

fn read_field(kind: Kind, reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    match kind {
        Kind::CompressibleName | Kind::Name | Kind::CasedName => read_name(reader),
        Kind::CasedNames => read_names(reader),
        Kind::Address4 => address::read_ipv4(reader),
        Kind::Address6 => address::read_ipv6(reader),
        Kind::U8 => reader
            .number(u8::MAX.into())
            .map(|n| reader.append([n as u8])),
        Kind::U16 => reader
            .number(u16::MAX.into())
            .map(|n| reader.append((n as u16).to_be_bytes())),
        Kind::U32 => reader
            .number(u32::MAX)
            .map(|n| reader.append(n.to_be_bytes())),
        Kind::U64 => read_u64(reader),
        Kind::Period => read_period(reader),
        Kind::Timestamp => read_timestamp(reader),
        Kind::Algorithm => mnemonic::read_algorithm(reader),
        Kind::Protocol => mnemonic::read_protocol(reader),
        Kind::Scheme => mnemonic::read_scheme(reader),
        Kind::CertificateType => mnemonic::read_certificate_type(reader),
        Kind::Type => read_type(reader),
        Kind::OptionalCharString if reader.is_empty() => Ok(()),
        Kind::CharString | Kind::OptionalCharString => string::read(reader),
        Kind::CharStrings => string::read_several(reader),
        Kind::Tag => string::read_tag(reader),
        Kind::Digits => string::read_digits(reader),
        Kind::Text { may_be_empty } => string::read_text(reader, may_be_empty),
        Kind::Hex => encoded::read_hex(reader, false),
        Kind::Digest(lengths) => encoded::read_digest(reader, lengths),
        Kind::Base64 { may_be_empty } => encoded::read_base64(reader, may_be_empty),
        Kind::Salt => encoded::read_salt(reader),
        Kind::HashedOwner => encoded::read_hash(reader),
        Kind::TypeBitmap { may_be_empty } => bitmap::read(reader, may_be_empty),
        Kind::Eui(length) => address::read_eui(reader, length),
        Kind::Locator64 => address::read_locator(reader),
        Kind::Location => loc::read(reader),
        Kind::AddressPrefixes => apl::read(reader),
        Kind::ServiceParameters => svcb::read(reader),
        Kind::IpsecGateway | Kind::IpsecKey | Kind::KeyOrNone | Kind::Relay | Kind::A6Prefix => {
            read_resolved(kind, reader)
        }
        Kind::A6Suffix => match resolve(kind, reader.data()) {
            Some(Kind::A6Suffix) => obsolete::read_a6_suffix(reader),
            _ => read_resolved(kind, reader),
        },
        Kind::NoGateway => read_no_gateway(reader),
        Kind::Nothing => Ok(()),
        Kind::Base64OrDash => encoded::read_base64_or_dash(reader),
        Kind::Nsap => obsolete::read_nsap(reader),
        Kind::AtmAddress => obsolete::read_atm_address(reader),
        Kind::OldTypeBitmap => obsolete::read_old_types(reader),
        Kind::PortBitmap => obsolete::read_ports(reader),
        Kind::RelayType => read_relay_type(reader),
        Kind::HostIdentity => hip::read(reader),
    }
}

/// Reads a field whose kind the data before it tells.
fn read_resolved(kind: Kind, reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    if let Some(kind) = resolve(kind, reader.data()) {
        return read_field(kind, reader);
    }
    let (field, token, reason) = match kind {
        Kind::IpsecGateway => ("gateway type", 1, "not 0, 1, 2 or 3"),
        Kind::Relay => ("relay type", 2, "not 0, 1, 2 or 3"),
        _ => ("prefix length", 0, "more than 128"),
    };
    reader.field = field;
    Err(reader.fault_at(token, reason))
}

/// Reads whether discovery is optional, and the kind of a relay (RFC 8777 §4.3).
fn read_relay_type(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    reader.field = "discovery optional";
    let is_optional = reader.number(1)?;
    reader.field = "relay type";
    let number = reader.number(0x7f)?;
    reader.append([(is_optional << 7 | number) as u8]);
    Ok(())
}

fn read_u64(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    let text = reader.token()?.text;
    let number = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    // Digits alone, no sign.
    let number = number.filter(|_| text.iter().all(u8::is_ascii_digit));
    let limit = format_args!("not a number up to {}", u64::MAX);
    reader.append(number.ok_or_else(|| reader.fault(limit))?.to_be_bytes());
    Ok(())
}

/// The text of a name. In quotes an `@` is a label of one octet.
pub fn name_text<'t>(token: &Token<'t>) -> &'t [u8] {
    match token.quoted && token.text == b"@" {
        true => br"\@",
        false => token.text,
    }
}

fn read_name(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    let token = reader.token()?;
    match Name::from_text(name_text(&token), reader.origin) {
        Ok(name) => {
            reader.out.extend_from_slice(name.as_wire());
            Ok(())
        }
        Err(error) => Err(reader.fault(error)),
    }
}

fn read_names(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    while !reader.is_empty() {
        read_name(reader)?;
    }
    Ok(())
}

/// The times of a SOA fill their 32 bits; only TTLs end at 2^31-1.
fn read_period(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    match parse_period(reader.token()?.text).map(u32::try_from) {
        Some(Ok(seconds)) => {
            reader.append(seconds.to_be_bytes());
            Ok(())
        }
        Some(Err(_)) => Err(reader.fault(format_args!("more than {} seconds", u32::MAX))),
        None => Err(reader.fault("neither seconds nor a period such as 1h30m")),
    }
}

fn read_timestamp(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    let seconds = parse_timestamp(reader.token()?.text);
    let form = "not a time from 19700101000000 to 21060207062815, nor its seconds";
    reader.append(seconds.ok_or_else(|| reader.fault(form))?.to_be_bytes());
    Ok(())
}

fn read_type(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    let rtype = RrType::from_text(reader.token()?.text);
    let rtype = rtype.ok_or_else(|| reader.fault("not a record type"))?;
    reader.append(rtype.0.to_be_bytes());
    Ok(())
}

fn read_no_gateway(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    match reader.token()?.text {
        b"." => Ok(()),
        _ => Err(reader.fault("not `.`, though its type 0 means that there is none")),
    }
}

/// Reads `\# length hexadecimal`, which must fit the type's fields if it has
/// any (RFC 3597 §5).
fn read_generic(rtype: RrType, reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    reader.token()?;
    reader.field = "length";
    let announced = reader.number(MAX_RDATA as u32)? as usize;
    reader.field = "data";
    encoded::read_hex(reader, true)?;
    let length = reader.data().len();
    if length != announced {
        reader.field = "length";
        let found = format_args!("the data has {length} octets");
        return Err(reader.fault_at(1, found));
    }
    if !is_valid(rtype, reader.data()) {
        reader.field = "data";
        return Err(reader.fault_at(
            0,
            format_args!("{length} octets that do not fit the fields of {rtype}"),
        ));
    }
    Ok(())
}

/// Writes one field, whose octets are valid.
fn print_field(kind: Kind, octets: &[u8], out: &mut String) {
    match kind {
        Kind::CompressibleName | Kind::Name | Kind::CasedName | Kind::CasedNames => {
            print_names(octets, out);
        }
        Kind::U8
        | Kind::U16
        | Kind::U32
        | Kind::U64
        | Kind::Period
        | Kind::Algorithm
        | Kind::Protocol
        | Kind::Scheme
        | Kind::CertificateType => string::push(number(octets), out),
        Kind::Timestamp => print_timestamp(number(octets) as u32, out),
        Kind::Type => string::push(RrType(number(octets) as u16), out),
        Kind::Address4 | Kind::Address6 => address::print_ip(octets, out),
        Kind::Eui(_) => address::print_eui(octets, out),
        Kind::Locator64 => address::print_locator(octets, out),
        Kind::CharString | Kind::OptionalCharString | Kind::CharStrings | Kind::Digits => {
            string::print_several(octets, out);
        }
        Kind::Tag => out.push_str(&String::from_utf8_lossy(counted(octets))),
        Kind::Text { .. } => string::print(octets, out),
        Kind::Hex | Kind::Digest(_) => encoded::print_hex(octets, out),
        Kind::Base64 { .. } => encoded::print_base64(octets, out),
        Kind::Salt => encoded::print_salt(counted(octets), out),
        Kind::HashedOwner => encoded::print_hash(counted(octets), out),
        Kind::TypeBitmap { .. } => bitmap::print(octets, out),
        Kind::Location => loc::print(octets, out),
        Kind::AddressPrefixes => apl::print(octets, out),
        Kind::ServiceParameters => svcb::print(octets, out),
        Kind::NoGateway => out.push('.'),
        Kind::HostIdentity => hip::print(octets, out),
        Kind::Base64OrDash => encoded::print_base64_or_dash(octets, out),
        Kind::Nsap => {
            out.push_str("0x");
            encoded::print_hex(octets, out);
        }
        Kind::AtmAddress => obsolete::print_atm_address(octets, out),
        Kind::OldTypeBitmap => obsolete::print_old_types(octets, out),
        Kind::PortBitmap => obsolete::print_ports(octets, out),
        Kind::A6Suffix => obsolete::print_a6_suffix(octets, out),
        Kind::RelayType => {
            let octet = number(octets);
            string::push(format_args!("{} {}", octet >> 7, octet & 0x7f), out);
        }
        // `resolve` has made others of these.
        Kind::Nothing
        | Kind::IpsecGateway
        | Kind::IpsecKey
        | Kind::KeyOrNone
        | Kind::Relay
        | Kind::A6Prefix => {}
    }
}

fn print_names(octets: &[u8], out: &mut String) {
    let mut separator = "";
    let mut rest = octets;
    while let Some((octets, behind)) = wire_length(rest).map(|length| rest.split_at(length)) {
        if let Ok(name) = Name::from_wire(octets) {
            string::push(format_args!("{separator}{name}"), out);
        }
        separator = " ";
        rest = behind;
    }
}

/// Up to eight octets in network order as a number.
fn number(octets: &[u8]) -> u64 {
    octets
        .iter()
        .fold(0, |number, &octet| number << 8 | u64::from(octet))
}

/// What stands behind a length octet.
fn counted(octets: &[u8]) -> &[u8] {
    octets.get(1..).unwrap_or_default()
}

fn print_generic(rdata: &[u8], out: &mut String) {
    string::push(format_args!(r"\# {}", rdata.len()), out);
    if !rdata.is_empty() {
        out.push(' ');
        encoded::print_hex(rdata, out);
    }
}

fn not_known(rtype: RrType) -> FieldFault {
    let form = r"write its data as \# length hexadecimal (RFC 3597 §5)";
    FieldFault {
        token: 0,
        sentence: format!("the fields of {rtype} are not known; {form}"),
    }
}

fn no_data(rtype: RrType) -> FieldFault {
    FieldFault {
        token: 0,
        sentence: format!("{rtype} is for questions and messages and has no data in a zone"),
    }
}

fn too_long(length: usize) -> FieldFault {
    FieldFault {
        token: 0,
        sentence: format!("data of {length} octets; one record has {MAX_RDATA} at most"),
    }
}

#[cfg(test)]
pub(super) mod testing {
    //! What the tests of single kinds of fields share.

    use super::*;
    use crate::zone::text::scanner::Scanner;

    /// Reads data as it stands in a master file, with the origin `example.`.
    pub fn try_read(rtype: RrType, text: &str) -> Result<Vec<u8>, FieldFault> {
        let origin = "example.".parse().unwrap();
        let mut tokens = Vec::new();
        Scanner::new(text.as_bytes()).next(&mut tokens).unwrap();
        let mut out = b"before".to_vec();
        read(rtype, &tokens, Some(&origin), &mut out)?;
        let octets = out.split_off(6);
        assert!(is_valid(rtype, &octets), "{rtype} {text}: {octets:?}");
        Ok(octets)
    }

    /// The octets of data that is right.
    pub fn octets(rtype: RrType, text: &str) -> Vec<u8> {
        try_read(rtype, text).unwrap_or_else(|fault| panic!("{rtype} {text}: {fault:?}"))
    }

    /// The fault of data that is wrong.
    pub fn fault(rtype: RrType, text: &str) -> FieldFault {
        try_read(rtype, text).expect_err(text)
    }

    /// What is printed of octets.
    pub fn printed(rtype: RrType, rdata: &[u8]) -> String {
        let mut out = "before ".to_string();
        print(rtype, rdata, &mut out);
        out.split_off(7)
    }

    /// What is printed of text that is right.
    pub fn reprinted(rtype: RrType, text: &str) -> String {
        printed(rtype, &octets(rtype, text))
    }
}

#[cfg(test)]
mod tests;
