//! The data of a record in wire form, uncompressed: which fields it is made of,
//! where names lie in it, and its canonical form, after the table of types in
//! `rtype`. Text, composing, signatures and transfers all take it from here.
//! How the fields are written in master files is `zone::text`'s business.

pub mod apl;
pub mod bitmap;
pub mod dnssec;
pub mod hip;
pub mod loc;
pub mod obsolete;
pub mod strings;
pub mod svcb;

use std::ops::Range;

use super::RrType;
use super::field::{Field, Kind};
use super::name::wire_length;

/// The most octets of one record's data: its length has 16 bits.
pub const MAX_RDATA: usize = 65_535;

/// True where `rdata` is made of the type's fields, exactly. Any octets will do
/// for a type without fields.
pub fn is_valid(rtype: RrType, rdata: &[u8]) -> bool {
    let has_fields = rtype.fields().is_some();
    rdata.len() <= MAX_RDATA && (!has_fields || fields(rtype, rdata, |_, _| {}).is_some())
}

/// Calls `each` for the fields that `rdata` is made of, in their order. `None`
/// at the first that is broken, and where something follows the last.
pub fn fields(rtype: RrType, rdata: &[u8], mut each: impl FnMut(Kind, Range<usize>)) -> Option<()> {
    let mut at = 0;
    for field in rtype.fields()? {
        let (before, rest) = rdata.split_at(at);
        let kind = resolve(field.kind, before)?;
        let length = measure(kind, before, rest)?;
        if length > rest.len() {
            return None;
        }
        each(kind, at..at + length);
        at += length;
    }
    (at == rdata.len()).then_some(())
}

/// Calls `each` for the domain names in valid `rdata`, in their order: which
/// kind of name it is, and where it stands.
pub fn names(rtype: RrType, rdata: &[u8], mut each: impl FnMut(Kind, Range<usize>)) {
    fields(rtype, rdata, |kind, place| match kind {
        Kind::CompressibleName | Kind::Name | Kind::CasedName => each(kind, place),
        Kind::CasedNames => {
            let mut at = place.start;
            while let Some(length) = wire_length(&rdata[at..place.end]) {
                each(kind, at..at + length);
                at += length;
            }
        }
        _ => {}
    });
}

/// True for types whose data can have names in it.
pub fn has_names(rtype: RrType) -> bool {
    let may_be_name = |field: &Field| {
        matches!(
            field.kind,
            Kind::CompressibleName
                | Kind::Name
                | Kind::CasedName
                | Kind::CasedNames
                | Kind::IpsecGateway
                | Kind::Relay
                | Kind::A6Prefix
        )
    };
    let fields = rtype.fields().unwrap_or_default();
    fields.iter().any(may_be_name)
}

/// Brings valid data into canonical form (RFC 4034 §6.2): names of the types
/// that it lists in lower case, but for NSEC (RFC 6840 §5.1). Records of a set
/// are in canonical order where these octets are (RFC 4034 §6.3).
pub fn make_canonical(rtype: RrType, rdata: &mut [u8]) {
    lower_names(rtype, rdata, |kind| {
        matches!(kind, Kind::CompressibleName | Kind::Name)
    });
}

/// Lower-cases all names in valid data: records that are the same then are one
/// record (RFC 2181 §5).
pub fn make_comparable(rtype: RrType, rdata: &mut [u8]) {
    lower_names(rtype, rdata, |_| true);
}

fn lower_names(rtype: RrType, rdata: &mut [u8], which: impl Fn(Kind) -> bool) {
    let mut places: Vec<Range<usize>> = Vec::new();
    names(rtype, rdata, |kind, place| {
        if which(kind) {
            places.push(place);
        }
    });
    // Length octets are under 64 and no letters.
    for place in places {
        rdata[place].make_ascii_lowercase();
    }
}

/// The kind that a field takes on after the octets before it: a gateway or a
/// relay by the kind that was told (RFC 4025 §2.1, RFC 8777 §4.2), a key by its
/// algorithm or flags, an address in parts by how long its prefix is. Others are
/// what they are. `None` where no kind goes with these octets.
pub fn resolve(kind: Kind, before: &[u8]) -> Option<Kind> {
    let gateway = |number: u8| match number {
        0 => Some(Kind::NoGateway),
        1 => Some(Kind::Address4),
        2 => Some(Kind::Address6),
        3 => Some(Kind::CasedName),
        _ => None,
    };
    let base64 = |may_be_empty| Some(Kind::Base64 { may_be_empty });
    match (kind, before) {
        (Kind::IpsecGateway, [_, number, ..]) => gateway(*number),
        (Kind::Relay, [_, number, ..]) => gateway(number & 0x7f),
        (Kind::IpsecKey, [_, _, algorithm, ..]) => base64(*algorithm == 0),
        (Kind::KeyOrNone, [flags, ..]) => base64(flags >> 6 == 3),
        (Kind::A6Suffix, [128, ..]) | (Kind::A6Prefix, [0, ..]) => Some(Kind::Nothing),
        (Kind::A6Suffix, [bits, ..]) if *bits > 128 => None,
        (Kind::A6Prefix, [_, ..]) => Some(Kind::Name),
        (kind, _) => Some(kind),
    }
}

/// How long a digest is behind the octets `before` it, the last of which is its
/// kind; `None` where that is not known.
pub fn digest_length(before: &[u8], lengths: &[(u8, usize)]) -> Option<usize> {
    let kind = before.last()?;
    let known = lengths.iter().find(|(number, _)| number == kind);
    known.map(|&(_, length)| length)
}

/// Octets that a field takes at the start of `rest`, or more than there are;
/// `None` where it is broken. `before` is the data in front of it.
fn measure(kind: Kind, before: &[u8], rest: &[u8]) -> Option<usize> {
    let all_if = |is_valid: bool| is_valid.then_some(rest.len());
    let counted = || strings::split(rest).map(|(string, _)| 1 + string.len());
    match kind {
        Kind::CompressibleName | Kind::Name | Kind::CasedName => wire_length(rest),
        Kind::CasedNames => all_if(are_names(rest)),
        Kind::NoGateway | Kind::Nothing => Some(0),
        Kind::U8 | Kind::Algorithm | Kind::Protocol | Kind::Scheme | Kind::RelayType => Some(1),
        Kind::U16 | Kind::CertificateType | Kind::Type => Some(2),
        Kind::U32 | Kind::Period | Kind::Timestamp | Kind::Address4 => Some(4),
        Kind::Locator64 | Kind::U64 => Some(8),
        Kind::Address6 => Some(16),
        Kind::Eui(length) => Some(length),
        Kind::OptionalCharString if rest.is_empty() => Some(0),
        Kind::CharString | Kind::OptionalCharString | Kind::Salt => counted(),
        Kind::HashedOwner => counted().filter(|&length| is_hash(before, length - 1)),
        Kind::Tag => counted().filter(|&length| strings::is_tag(&rest[1..length])),
        Kind::Digits => counted().filter(|&length| strings::are_digits(&rest[1..length])),
        Kind::CharStrings => all_if(strings::are_strings(rest)),
        Kind::Text { may_be_empty } | Kind::Base64 { may_be_empty } => {
            all_if(may_be_empty || !rest.is_empty())
        }
        Kind::Hex | Kind::Nsap => all_if(!rest.is_empty()),
        Kind::Base64OrDash => Some(rest.len()),
        Kind::AtmAddress => all_if(obsolete::is_atm_address(rest)),
        Kind::OldTypeBitmap => all_if(obsolete::is_old_bitmap(rest)),
        Kind::PortBitmap => all_if(obsolete::is_port_bitmap(rest)),
        Kind::A6Suffix => measure_suffix(*before.first()?, rest),
        Kind::Digest(lengths) => match digest_length(before, lengths) {
            Some(expected) => all_if(rest.len() == expected),
            None => all_if(!rest.is_empty()),
        },
        Kind::TypeBitmap { may_be_empty } => {
            all_if((may_be_empty || !rest.is_empty()) && bitmap::is_valid(rest))
        }
        Kind::Location => loc::is_valid(rest).then_some(loc::LENGTH),
        Kind::AddressPrefixes => all_if(apl::is_valid(rest)),
        Kind::ServiceParameters => all_if(svcb::fault(rest).is_none()),
        Kind::HostIdentity => hip::length(rest),
        // `resolve` has made others of these.
        Kind::IpsecGateway | Kind::IpsecKey | Kind::KeyOrNone | Kind::Relay | Kind::A6Prefix => {
            None
        }
    }
}

/// Octets of a SHA-1 hash, the only kind that is defined (RFC 5155 §11).
pub const SHA1: (u8, usize) = (1, 20);

/// True where a hash of the kind that the data before it begins with may have so
/// many octets.
pub fn is_hash(before: &[u8], octets: usize) -> bool {
    let (kind, length) = SHA1;
    match before.first() {
        Some(&found) if found == kind => octets == length,
        _ => octets > 0,
    }
}

fn measure_suffix(prefix_bits: u8, rest: &[u8]) -> Option<usize> {
    let length = obsolete::suffix_length(prefix_bits)?;
    let suffix = rest.get(..length)?;
    obsolete::is_suffix(prefix_bits, suffix).then_some(length)
}

fn are_names(octets: &[u8]) -> bool {
    let mut rest = octets;
    while let Some(length) = wire_length(rest).filter(|&length| length <= rest.len()) {
        rest = &rest[length..];
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_form_lowers_the_names_of_the_listed_types() {
        let canonical = |rtype, rdata: &[u8]| {
            let mut octets = rdata.to_vec();
            make_canonical(rtype, &mut octets);
            octets
        };
        // RFC 4034 §6.2 (3) lists MX and SRV; TXT holds no name.
        assert_eq!(canonical(RrType::MX, b"\0\x0a\x01A\0"), b"\0\x0a\x01a\0");
        let srv = b"\0\x01\0\x02\0\x03\x01A\0";
        assert_eq!(canonical(RrType::SRV, srv), b"\0\x01\0\x02\0\x03\x01a\0");
        assert_eq!(canonical(RrType::TXT, b"\x01A"), b"\x01A");
        // RFC 6840 §5.1: the next name of NSEC stays, the signer's is lowered.
        let nsec = b"\x01A\0\0\x01\x40";
        assert_eq!(canonical(RrType::NSEC, nsec), nsec);
        let rrsig = b"\0\x01\x08\x01\0\0\0\x3c\0\0\0\x02\0\0\0\x01\x12\x34\x01A\0sig";
        let lowered = b"\0\x01\x08\x01\0\0\0\x3c\0\0\0\x02\0\0\0\x01\x12\x34\x01a\0sig";
        assert_eq!(canonical(RrType::RRSIG, rrsig), lowered);
        // RFC 3597 §7: no type that came later is lowered.
        let svcb = b"\0\x01\x01A\0";
        assert_eq!(canonical(RrType::SVCB, svcb), svcb);
        let mut comparable = svcb.to_vec();
        make_comparable(RrType::SVCB, &mut comparable);
        assert_eq!(comparable, b"\0\x01\x01a\0");
    }

    #[test]
    fn any_octets_will_do_for_a_type_without_fields() {
        assert!(is_valid(RrType(65_280), b""));
        assert!(is_valid(RrType(65_280), &[0; MAX_RDATA]));
        assert!(!is_valid(RrType(65_280), &[0; MAX_RDATA + 1]));
    }
}
