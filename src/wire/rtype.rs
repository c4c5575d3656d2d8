//! Record types and THE ONE TABLE of their fields. The table drives reading,
//! printing and name compression: it says what the fields of a type are, and
//! `field` what each kind of field looks like in text and on the wire. A type
//! without fields is just octets (RFC 3597); one without a row has no name.

use std::fmt;

use super::field::Kind::*;
use super::field::{
    BASE64, CERTIFICATE_DIGESTS, DS_DIGESTS, FINGERPRINTS, Field, STRING, TYPES_OR_NONE,
    TYPES_PRESENT, ZONE_DIGESTS,
};

/// The type of a record or of a question.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RrType(pub u16);

/// Makes a constant and a row of `ROWS` from each entry of the table.
macro_rules! table {
    (@fields) => { None };
    (@fields $($label:literal $kind:expr),+) => {
        Some(&[$(Field { name: $label, kind: $kind }),+])
    };
    (@mnemonic $name:ident) => { stringify!($name) };
    (@mnemonic $name:ident $mnemonic:literal) => { $mnemonic };
    ($(
        $(#[$doc:meta])*
        $name:ident $(/ $mnemonic:literal)? = $number:literal
        $(: $($label:literal $kind:expr),+)?;
    )+) => {
        impl RrType {
            $($(#[$doc])* pub const $name: RrType = RrType($number);)+
        }

        const ROWS: &[TypeRow] = &[$(TypeRow {
            number: $number,
            mnemonic: table!(@mnemonic $name $($mnemonic)?),
            fields: table!(@fields $($($label $kind),+)?),
        }),+];
    };
}

struct TypeRow {
    number: u16,
    mnemonic: &'static str,
    fields: Option<&'static [Field]>,
}

table! {
    /// An IPv4 address (RFC 1035 §3.4.1).
    A = 1: "address" Address4;
    /// A name server of a zone (RFC 1035 §3.3.11).
    NS = 2: "name server" CompressibleName;
    /// A mail destination, obsolete (RFC 1035 §3.3.4).
    MD = 3: "mail agent" CompressibleName;
    /// A mail forwarder, obsolete (RFC 1035 §3.3.5).
    MF = 4: "mail agent" CompressibleName;
    /// The name for which this one is an alias (RFC 1035 §3.3.1).
    CNAME = 5: "canonical name" CompressibleName;
    /// The start of a zone of authority (RFC 1035 §3.3.13).
    SOA = 6: "primary server" CompressibleName, "mailbox" CompressibleName, "serial" U32,
        "refresh" Period, "retry" Period, "expire" Period, "minimum" Period;
    /// A mailbox's host (RFC 1035 §3.3.3).
    MB = 7: "mail host" CompressibleName;
    /// A member of a mail group (RFC 1035 §3.3.6).
    MG = 8: "mailbox" CompressibleName;
    /// A mailbox's new name (RFC 1035 §3.3.8).
    MR = 9: "mailbox" CompressibleName;
    /// Octets without meaning (RFC 1035 §3.3.10).
    NULL = 10;
    /// Well-known services of a host, given up (RFC 1035 §3.4.2).
    WKS = 11: "address" Address4, "protocol" Protocol, "services" PortBitmap;
    /// A name elsewhere, mostly that of an address (RFC 1035 §3.3.12).
    PTR = 12: "pointer" CompressibleName;
    /// A host's machine and operating system (RFC 1035 §3.3.2, RFC 8482).
    HINFO = 13: "machine" STRING, "system" STRING;
    /// Who answers for a mailbox or mail list (RFC 1035 §3.3.7).
    MINFO = 14: "responsible mailbox" CompressibleName, "error mailbox" CompressibleName;
    /// A mail exchange (RFC 1035 §3.3.9).
    MX = 15: "preference" U16, "exchange" CompressibleName;
    /// Text (RFC 1035 §3.3.14).
    TXT = 16: "text" CharStrings;
    /// A responsible person (RFC 1183 §2.2).
    RP = 17: "mailbox" Name, "text name" Name;
    /// An AFS or DCE server (RFC 1183 §1).
    AFSDB = 18: "subtype" U16, "host" Name;
    /// An X.25 address (RFC 1183 §3.1).
    X25 = 19: "address" Digits;
    /// An ISDN address (RFC 1183 §3.2).
    ISDN = 20: "address" STRING, "subaddress" OptionalCharString;
    /// A route by way of another host (RFC 1183 §3.3).
    RT = 21: "preference" U16, "intermediate host" Name;
    /// An address of the OSI network layer (RFC 1706 §5).
    NSAP = 22: "address" Nsap;
    /// The name of such an address, given up (RFC 1706 §6).
    NSAP_PTR / "NSAP-PTR" = 23: "pointer" CasedName;
    /// A signature, today of messages only (RFC 2931).
    SIG = 24: "type covered" Type, "algorithm" Algorithm, "labels" U8, "original TTL" U32,
        "expiration" Timestamp, "inception" Timestamp, "key tag" U16, "signer's name" Name,
        "signature" BASE64;
    /// A key, today of messages only (RFC 2535 §3, RFC 3445).
    KEY = 25: "flags" U16, "protocol" U8, "algorithm" Algorithm, "public key" KeyOrNone;
    /// X.400 mail mapping (RFC 2163 §4).
    PX = 26: "preference" U16, "RFC 822 domain" Name, "X.400 domain" Name;
    /// A place on earth, the older way (RFC 1712).
    GPOS = 27: "longitude" STRING, "latitude" STRING, "altitude" STRING;
    /// An IPv6 address (RFC 3596 §2).
    AAAA = 28: "address" Address6;
    /// A place on earth (RFC 1876).
    LOC = 29: "location" Location;
    /// The next name of a zone, given up for NSEC (RFC 2535 §5.2).
    NXT = 30: "next name" Name, "types" OldTypeBitmap;
    /// An endpoint identifier of Nimrod (the registry's template).
    EID = 31: "identifier" Hex;
    /// A locator of Nimrod (the registry's template).
    NIMLOC = 32: "locator" Hex;
    /// Where a service is (RFC 2782).
    SRV = 33: "priority" U16, "weight" U16, "port" U16, "target" Name;
    /// An ATM address (ATM Forum af-dans-0152.000).
    ATMA = 34: "address" AtmAddress;
    /// A rule that rewrites a name (RFC 3403 §4).
    NAPTR = 35: "order" U16, "preference" U16, "flags" STRING, "services" STRING,
        "regexp" STRING, "replacement" Name;
    /// A key exchanger (RFC 2230).
    KX = 36: "preference" U16, "exchanger" Name;
    /// A certificate (RFC 4398 §2).
    CERT = 37: "type" CertificateType, "key tag" U16, "algorithm" Algorithm, "certificate" BASE64;
    /// An IPv6 address in parts, given up for AAAA (RFC 2874, RFC 6563).
    A6 = 38: "prefix length" U8, "address suffix" A6Suffix, "prefix name" A6Prefix;
    /// The names below this one are those below another (RFC 6672).
    DNAME = 39: "target" Name;
    /// Anything at all (draft-eastlake-kitchen-sink).
    SINK = 40: "meaning" U8, "coding" U8, "subcoding" U8, "data" BASE64;
    /// EDNS, in messages only (RFC 6891).
    OPT = 41;
    /// Lists of address prefixes (RFC 3123).
    APL = 42: "prefixes" AddressPrefixes;
    /// The digest of a child zone's key (RFC 4034 §5).
    DS = 43: "key tag" U16, "algorithm" Algorithm, "digest type" U8, "digest" DS_DIGESTS;
    /// The fingerprint of a host's SSH key (RFC 4255 §3).
    SSHFP = 44: "algorithm" U8, "fingerprint type" U8, "fingerprint" FINGERPRINTS;
    /// A key for IPsec (RFC 4025).
    IPSECKEY = 45: "precedence" U8, "gateway type" U8, "algorithm" U8, "gateway" IpsecGateway,
        "public key" IpsecKey;
    /// A signature of a record set (RFC 4034 §3).
    RRSIG = 46: "type covered" Type, "algorithm" Algorithm, "labels" U8, "original TTL" U32,
        "expiration" Timestamp, "inception" Timestamp, "key tag" U16, "signer's name" Name,
        "signature" BASE64;
    /// The next name of a zone, and the types of this one (RFC 4034 §4).
    NSEC = 47: "next name" CasedName, "types" TYPES_PRESENT;
    /// A zone's key (RFC 4034 §2).
    DNSKEY = 48: "flags" U16, "protocol" U8, "algorithm" Algorithm, "public key" BASE64;
    /// The DHCP client that a name belongs to (RFC 4701).
    DHCID = 49: "identity" BASE64;
    /// The next hashed name of a zone (RFC 5155 §3).
    NSEC3 = 50: "hash algorithm" U8, "flags" U8, "iterations" U16, "salt" Salt,
        "next hashed owner" HashedOwner, "types" TYPES_OR_NONE;
    /// How a zone's names are hashed (RFC 5155 §4).
    NSEC3PARAM = 51: "hash algorithm" U8, "flags" U8, "iterations" U16, "salt" Salt;
    /// The certificate of a TLS server (RFC 6698 §2).
    TLSA = 52: "certificate usage" U8, "selector" U8, "matching type" U8,
        "certificate data" CERTIFICATE_DIGESTS;
    /// The certificate of a mail user (RFC 8162 §2).
    SMIMEA = 53: "certificate usage" U8, "selector" U8, "matching type" U8,
        "certificate data" CERTIFICATE_DIGESTS;
    /// A host's identity (RFC 8005 §5).
    HIP = 55: "host identity" HostIdentity, "rendezvous servers" CasedNames;
    /// A zone's state, as text (the registry's template).
    NINFO = 56: "text" CharStrings;
    /// A key that data in the zone is encrypted with (the registry's template).
    RKEY = 57: "flags" U16, "protocol" U8, "algorithm" Algorithm, "public key" BASE64;
    /// The links of a trust anchor history (the registry's template).
    TALINK = 58: "previous name" CasedName, "next name" CasedName;
    /// What the child wants as DS (RFC 7344 §3.1).
    CDS = 59: "key tag" U16, "algorithm" Algorithm, "digest type" U8, "digest" DS_DIGESTS;
    /// The key that the child wants a DS of (RFC 7344 §3.2).
    CDNSKEY = 60: "flags" U16, "protocol" U8, "algorithm" Algorithm, "public key" BASE64;
    /// A user's OpenPGP key (RFC 7929 §2).
    OPENPGPKEY = 61: "public key" BASE64;
    /// Which records the parent should copy (RFC 7477 §2.1).
    CSYNC = 62: "serial" U32, "flags" U16, "types" TYPES_OR_NONE;
    /// The digest of a whole zone (RFC 8976 §2).
    ZONEMD = 63: "serial" U32, "scheme" U8, "hash algorithm" U8, "digest" ZONE_DIGESTS;
    /// How a service is reached (RFC 9460 §2).
    SVCB = 64: "priority" U16, "target" CasedName, "parameters" ServiceParameters;
    /// How a web server is reached (RFC 9460 §9).
    HTTPS = 65: "priority" U16, "target" CasedName, "parameters" ServiceParameters;
    /// Where a parent wants to be told of changes (RFC 9859 §2).
    DSYNC = 66: "type" Type, "scheme" Scheme, "port" U16, "target" CasedName;
    /// A drone's identity (RFC 9886 §5.1).
    HHIT = 67: "data" BASE64;
    /// What a drone broadcasts (RFC 9886 §5.2).
    BRID = 68: "data" BASE64;
    /// Who may send mail, given up for TXT (RFC 7208 §3.1).
    SPF = 99: "text" CharStrings;
    /// A user's record, reserved (the registry).
    UINFO = 100;
    /// A user's number, reserved (the registry).
    UID = 101;
    /// A group's number, reserved (the registry).
    GID = 102;
    /// Anything, reserved (the registry).
    UNSPEC = 103;
    /// An ILNP node identifier (RFC 6742 §2.1).
    NID = 104: "preference" U16, "node identifier" Locator64;
    /// An ILNP locator of 32 bits (RFC 6742 §2.2).
    L32 = 105: "preference" U16, "locator" Address4;
    /// An ILNP locator of 64 bits (RFC 6742 §2.3).
    L64 = 106: "preference" U16, "locator" Locator64;
    /// The name of an ILNP locator (RFC 6742 §2.4).
    LP = 107: "preference" U16, "name" CasedName;
    /// A MAC address of 48 bits (RFC 7043 §3).
    EUI48 = 108: "address" Eui(6);
    /// A MAC address of 64 bits (RFC 7043 §4).
    EUI64 = 109: "address" Eui(8);
    /// In a type bitmap: the name does not exist (RFC 9824 §2).
    NXNAME = 128;
    /// The making of a key, in messages only (RFC 2930).
    TKEY = 249;
    /// A message's signature, in messages only (RFC 8945).
    TSIG = 250;
    /// In questions: the newest changes to a zone (RFC 1995).
    IXFR = 251;
    /// In questions: a whole zone (RFC 5936).
    AXFR = 252;
    /// In questions: MB, MG or MR (RFC 1035 §3.2.3).
    MAILB = 253;
    /// In questions: MD or MF, obsolete (RFC 1035 §3.2.3).
    MAILA = 254;
    /// In questions: any type, `*` (RFC 1035 §3.2.3, RFC 8482).
    ANY = 255;
    /// A URI (RFC 7553 §4).
    URI = 256: "priority" U16, "weight" U16, "target" Text { may_be_empty: false };
    /// Who may issue certificates (RFC 8659 §4).
    CAA = 257: "flags" U8, "tag" Tag, "value" Text { may_be_empty: true };
    /// What an application may show, as text (the registry's template).
    AVC = 258: "text" CharStrings;
    /// An object of the Digital Object Architecture (the registry's template).
    DOA = 259: "enterprise" U32, "type" U32, "location" U8, "media type" STRING,
        "data" Base64OrDash;
    /// A relay for multicast (RFC 8777 §4).
    AMTRELAY = 260: "precedence" U8, "relay type" RelayType, "relay" Relay;
    /// What a resolver is able to do, as text (RFC 9606 §3).
    RESINFO = 261: "text" CharStrings;
    /// A wallet's address, as text (the registry's template).
    WALLET = 262: "text" CharStrings;
    /// How a bundle node is reached, as text (the registry's template).
    CLA = 263: "text" CharStrings;
    /// A bundle node's number (the registry's template).
    IPN = 264: "node number" U64;
    /// A trust anchor of a zone (the registry's template).
    TA = 32768: "key tag" U16, "algorithm" Algorithm, "digest type" U8, "digest" DS_DIGESTS;
    /// A trust anchor of a look-aside tree, obsolete (RFC 8749).
    DLV = 32769: "key tag" U16, "algorithm" Algorithm, "digest type" U8, "digest" DS_DIGESTS;
}

impl RrType {
    /// The type that `text` names: a mnemonic in any case, or `TYPE` and a
    /// number (RFC 3597 §5), which may be that of a type with a mnemonic.
    pub fn from_text(text: &[u8]) -> Option<RrType> {
        let word = pack(text)?;
        let mut slot = slot_of(word);
        while BY_TEXT[slot] != NO_ROW {
            let row = BY_TEXT[slot] as usize;
            if WORDS[row] == word {
                return Some(RrType(ROWS[row].number));
            }
            slot = (slot + 1) % SLOTS;
        }
        numbered(text)
    }

    /// The fields of the type's data in their order, or `None` where its data
    /// is just octets.
    pub fn fields(self) -> Option<&'static [Field]> {
        self.row()?.fields
    }

    /// True for types that have no records in zones: those of questions and of
    /// messages (RFC 6895 §3.1).
    pub fn is_meta(self) -> bool {
        matches!(self.0, 0 | 41 | 128..=255)
    }

    fn row(self) -> Option<&'static TypeRow> {
        let row = *BY_NUMBER.get(place_of(self.0)?)?;
        ROWS.get(row as usize)
    }
}

impl fmt::Display for RrType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row() {
            Some(row) => f.write_str(row.mnemonic),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

impl fmt::Debug for RrType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Reads `TYPE` and a number.
fn numbered(text: &[u8]) -> Option<RrType> {
    let (word, digits) = text.split_at_checked(4)?;
    let is_number = word.eq_ignore_ascii_case(b"TYPE") && digits.iter().all(u8::is_ascii_digit);
    let digits = std::str::from_utf8(digits).ok()?;
    is_number.then(|| digits.parse().ok())?.map(RrType)
}

/// Marks an empty place in an index of `ROWS`.
const NO_ROW: u8 = u8::MAX;
/// Slots of `BY_TEXT`, a power of two, more than twice the rows.
const SLOTS: usize = 512;

/// The mnemonics of `ROWS`, packed.
const WORDS: [u128; ROWS.len()] = {
    let mut words = [0; ROWS.len()];
    let mut row = 0;
    while row < ROWS.len() {
        words[row] = match pack(ROWS[row].mnemonic.as_bytes()) {
            Some(word) => word,
            None => panic!("a mnemonic is too long"),
        };
        row += 1;
    }
    words
};

/// Mnemonic -> row: a hash table with linear probing, made at compile time.
/// This is looked up for every record of a zone file.
static BY_TEXT: [u8; SLOTS] = {
    let mut slots = [NO_ROW; SLOTS];
    let mut row = 0;
    while row < ROWS.len() {
        let mut slot = slot_of(WORDS[row]);
        while slots[slot] != NO_ROW {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = row as u8;
        row += 1;
    }
    slots
};

/// Number -> row.
static BY_NUMBER: [u8; PLACES] = {
    let mut places = [NO_ROW; PLACES];
    let mut row = 0;
    while row < ROWS.len() {
        match place_of(ROWS[row].number) {
            Some(place) => places[place] = row as u8,
            None => panic!("a number has no place"),
        }
        row += 1;
    }
    places
};

/// Places of `BY_NUMBER`: 320 for the numbers from 0, 32 for those from 32768,
/// where TA and DLV stand apart.
const PLACES: usize = 352;

const fn place_of(number: u16) -> Option<usize> {
    match number {
        0..320 => Some(number as usize),
        32768..32800 => Some(320 + number as usize - 32768),
        _ => None,
    }
}

/// Up to 15 octets in upper case in one word. The 1 in front keeps words of
/// different lengths apart.
const fn pack(text: &[u8]) -> Option<u128> {
    if text.len() > 15 {
        return None;
    }
    let mut word = 1;
    let mut at = 0;
    while at < text.len() {
        word = word << 8 | text[at].to_ascii_uppercase() as u128;
        at += 1;
    }
    Some(word)
}

const fn slot_of(word: u128) -> usize {
    let folded = word as u64 ^ (word >> 64) as u64;
    // The fraction of the golden ratio spreads words that differ little.
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::super::field::Kind;
    use super::*;

    #[test]
    fn every_row_is_found_by_text_and_by_number() {
        for row in ROWS {
            let rtype = RrType(row.number);
            assert_eq!(rtype.to_string(), row.mnemonic);
            assert_eq!(RrType::from_text(row.mnemonic.as_bytes()), Some(rtype));
            let lower = row.mnemonic.to_ascii_lowercase();
            assert_eq!(RrType::from_text(lower.as_bytes()), Some(rtype));
            assert_eq!(rtype.fields(), row.fields);
            assert!(!rtype.is_meta() || row.fields.is_none(), "{rtype}");
        }
        assert!(ROWS.is_sorted_by(|one, next| one.number < next.number));
        assert!(ROWS.len() < SLOTS / 2);
    }

    #[test]
    fn numbers_stand_for_any_type() {
        let number = |text: &str| RrType::from_text(text.as_bytes()).map(|rtype| rtype.0);
        assert_eq!(number("TYPE0"), Some(0));
        assert_eq!(number("type1"), Some(1));
        assert_eq!(number("TYPE65280"), Some(65280));
        assert_eq!(number("TYPE65535"), Some(65535));
        for text in [
            "TYPE65536",
            "TYPE",
            "TYPE+1",
            "TYPE-1",
            "TYPE1x",
            "TYP1",
            "",
        ] {
            assert_eq!(number(text), None, "{text}");
        }
        for text in [
            "IN",
            "\0A",
            "AA",
            "NSEC3PARAMS",
            "a-very-long-owner-name.example.",
        ] {
            assert_eq!(number(text), None, "{text}");
        }
        assert_eq!(RrType(65280).to_string(), "TYPE65280");
        assert_eq!(RrType(32800).to_string(), "TYPE32800");
        assert_eq!(RrType(320).to_string(), "TYPE320");
    }

    #[test]
    fn only_the_types_of_rfc_1035_are_compressed() {
        let compressed = |row: &&TypeRow| {
            let fields = row.fields.unwrap_or_default();
            fields.iter().any(|field| field.kind == CompressibleName)
        };
        let found: Vec<_> = ROWS
            .iter()
            .filter(compressed)
            .map(|row| row.mnemonic)
            .collect();
        let expected = "NS MD MF CNAME SOA MB MG MR PTR MINFO MX";
        assert_eq!(found.join(" "), expected);
    }

    #[test]
    fn meta_types_end_where_the_registry_says() {
        for (number, is_meta) in [
            (0, true),
            (1, false),
            (40, false),
            (41, true),
            (42, false),
            (127, false),
            (128, true),
            (255, true),
            (256, false),
        ] {
            assert_eq!(RrType(number).is_meta(), is_meta, "{number}");
        }
    }

    #[test]
    fn kinds_that_take_the_rest_stand_last() {
        let takes_rest = |kind: Kind| {
            matches!(
                kind,
                CasedNames
                    | CharStrings
                    | OptionalCharString
                    | Text { .. }
                    | Hex
                    | Digest(_)
                    | Base64 { .. }
                    | TypeBitmap { .. }
                    | Location
                    | AddressPrefixes
                    | ServiceParameters
                    | IpsecKey
                    | KeyOrNone
                    | Base64OrDash
                    | Nsap
                    | AtmAddress
                    | OldTypeBitmap
                    | PortBitmap
            )
        };
        for row in ROWS {
            let fields = row.fields.unwrap_or_default();
            let before_last = fields.iter().rev().skip(1);
            assert!(!before_last.into_iter().any(|field| takes_rest(field.kind)));
        }
    }
}
