//! The fields of record data: what a field is called, and what it looks like in
//! text and on the wire. Doing it is the business of others: of `rdata` for
//! octets, of `zone::text` for text.

/// One field of a type's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// What the RFC calls it; messages name it so.
    pub name: &'static str,
    /// How it is written, in text and on the wire.
    pub kind: Kind,
}

/// How a field is written. Those marked "rest" take all that is left, so they
/// stand last in their row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A domain name that may be compressed in a message: only in the types of
    /// RFC 1035 (RFC 3597 §4).
    CompressibleName,
    /// A domain name that is never compressed, lower-cased in canonical form
    /// (RFC 4034 §6.2).
    Name,
    /// A domain name that is never compressed and whose case canonical form
    /// keeps (RFC 3597 §7, RFC 6840 §5.1).
    CasedName,
    /// Rest: any number of such names.
    CasedNames,
    /// Four octets, a dotted quad.
    Address4,
    /// Sixteen octets, an IPv6 address.
    Address6,
    /// One octet, a decimal number.
    U8,
    /// Two octets, a decimal number.
    U16,
    /// Four octets, a decimal number.
    U32,
    /// Eight octets, a decimal number.
    U64,
    /// Four octets, seconds; units such as `1h30m` are understood.
    Period,
    /// Four octets, a time since 1970 written `YYYYMMDDHHmmSS` (RFC 4034 §3.2).
    Timestamp,
    /// One octet, a DNSSEC algorithm's number or mnemonic (RFC 4034 §A.1).
    Algorithm,
    /// One octet, an IP protocol's number or mnemonic (RFC 1035 §3.4.2).
    Protocol,
    /// One octet, a DSYNC scheme's number or mnemonic (RFC 9859 §2.1).
    Scheme,
    /// Two octets, a certificate type's number or mnemonic (RFC 4398 §2.1).
    CertificateType,
    /// Two octets, a record type.
    Type,
    /// Up to 255 octets behind a length octet (RFC 1035 §3.3).
    CharString,
    /// Up to 255 octets behind a length octet, or nothing at all.
    OptionalCharString,
    /// Decimal digits behind a length octet, four at least (RFC 1183 §3.1).
    Digits,
    /// Rest: one or more of them.
    CharStrings,
    /// A CAA property's tag: letters and digits behind a length octet.
    Tag,
    /// Rest: octets without a length before them, written as a string.
    Text {
        /// Whether no octet at all will do.
        may_be_empty: bool,
    },
    /// Rest: octets in hexadecimal, one at least.
    Hex,
    /// Rest: a digest in hexadecimal, whose kind is the octet before it. Known
    /// kinds have a length.
    Digest(&'static [(u8, usize)]),
    /// Rest: octets in base64.
    Base64 {
        /// Whether no octet at all will do.
        may_be_empty: bool,
    },
    /// Octets in hexadecimal behind a length octet; `-` for none (RFC 5155 §3.3).
    Salt,
    /// A hash in base32hex without padding, behind a length octet (RFC 5155
    /// §3.3). The data's first octet is its kind, and SHA-1 has a length.
    HashedOwner,
    /// Rest: a set of record types (RFC 4034 §4.1.2).
    TypeBitmap {
        /// Whether the empty set will do.
        may_be_empty: bool,
    },
    /// So many octets, two hexadecimal digits each, joined by `-` (RFC 7043).
    Eui(usize),
    /// Eight octets, four hexadecimal numbers joined by `:` (RFC 6742 §2.1.2).
    Locator64,
    /// Rest: a place on earth (RFC 1876).
    Location,
    /// Rest: a list of address prefixes (RFC 3123).
    AddressPrefixes,
    /// Rest: the parameters of a service (RFC 9460 §2).
    ServiceParameters,
    /// One of four kinds, told by the data's second octet: no gateway, an IPv4
    /// or IPv6 address, a name (RFC 4025 §2.5).
    IpsecGateway,
    /// No octets, written `.`.
    NoGateway,
    /// Rest: octets in base64, which may be none where the data's third octet,
    /// the key's algorithm, is 0 (RFC 4025 §2.4).
    IpsecKey,
    /// Rest: octets in base64, which may be none where the flags that begin the
    /// data say that there is no key (RFC 2535 §3.1.2).
    KeyOrNone,
    /// Rest: octets in base64, `-` for none.
    Base64OrDash,
    /// Rest: octets in hexadecimal behind `0x`, with dots between any of them
    /// (RFC 1706 §5).
    Nsap,
    /// Rest: an ATM address: a format octet, then an NSAP address in hexadecimal
    /// or, behind `+`, the digits of a telephone number (ATM Forum
    /// af-dans-0152.000 §3.3.2).
    AtmAddress,
    /// Rest: a set of types up to 127, a bit each, of no window (RFC 2535 §5.2).
    OldTypeBitmap,
    /// Rest: a set of ports, a bit each (RFC 1035 §3.4.2).
    PortBitmap,
    /// The end of an IPv6 address, behind as many bits as the data's first octet
    /// says (RFC 2874 §3.1).
    A6Suffix,
    /// The name of what stands before it, where that is anything.
    A6Prefix,
    /// Nothing at all, in text neither.
    Nothing,
    /// One octet: a bit that says whether discovery is optional, and the kind of
    /// the relay (RFC 8777 §4.2). Two numbers in text.
    RelayType,
    /// What that octet, the data's second, says: nothing, an address, a name.
    Relay,
    /// A host's algorithm, tag and key, the lengths before them (RFC 8005 §5).
    HostIdentity,
}

/// SHA-1, SHA-256, GOST R 34.11-94, SHA-384, GOST R 34.11-2012, SM3 (RFC 4034
/// §A.2, RFC 4509, RFC 5933, RFC 6605, RFC 9558, RFC 9563).
pub(super) const DS_DIGESTS: Kind =
    Kind::Digest(&[(1, 20), (2, 32), (3, 32), (4, 48), (5, 32), (6, 32)]);
/// SHA-384 and SHA-512 (RFC 8976 §5.3).
pub(super) const ZONE_DIGESTS: Kind = Kind::Digest(&[(1, 48), (2, 64)]);
/// SHA-256 and SHA-512 (RFC 6698 §2.1.3, RFC 8162 §2).
pub(super) const CERTIFICATE_DIGESTS: Kind = Kind::Digest(&[(1, 32), (2, 64)]);
/// SHA-1 and SHA-256 (RFC 4255 §3.1.2, RFC 6594 §3).
pub(super) const FINGERPRINTS: Kind = Kind::Digest(&[(1, 20), (2, 32)]);
pub(super) const STRING: Kind = Kind::CharString;
pub(super) const BASE64: Kind = Kind::Base64 {
    may_be_empty: false,
};
pub(super) const TYPES_PRESENT: Kind = Kind::TypeBitmap {
    may_be_empty: false,
};
/// An empty non-terminal has no types, but an NSEC3 record (RFC 5155 §7.1).
pub(super) const TYPES_OR_NONE: Kind = Kind::TypeBitmap { may_be_empty: true };
