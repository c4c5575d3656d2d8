//! Every type in text and in octets, and what is said of data that is wrong.

use super::testing::*;
use super::*;
use crate::wire::rdata::names;

/// One record of each type with fields, as the RFCs show it, and how it is
/// printed where that differs.
const EXAMPLES: &[(&str, &str, &str)] = &[
    ("A", "192.0.2.1", ""),
    ("NS", "NS1", "NS1.example."),
    ("MD", "mail.example.", ""),
    ("MF", "mail.example.", ""),
    ("CNAME", "Www.Example.", ""),
    (
        "SOA",
        "ns host\\.master 2024010100 1h30m 15M 2W 1d",
        r"ns.example. host\.master.example. 2024010100 5400 900 1209600 86400",
    ),
    ("MB", "mail.example.", ""),
    ("MG", "mail.example.", ""),
    ("MR", "mail.example.", ""),
    ("PTR", r"a\.b\000.example.", ""),
    ("HINFO", r#"PC "Red \"Hat\"""#, r#""PC" "Red \"Hat\"""#),
    ("MINFO", "a.example. .", ""),
    ("MX", "10 mail", "10 mail.example."),
    (
        "TXT",
        r#"v=spf1 "a;b" \"\200 """#,
        r#""v=spf1" "a;b" "\"\200" """#,
    ),
    ("RP", "mbox.example. txt.example.", ""),
    ("AFSDB", "1 afs.example.", ""),
    ("X25", "\"311061700956\"", ""),
    ("ISDN", r#""150862028003217""#, ""),
    ("ISDN", r#""150862028003217" "004""#, ""),
    ("RT", "10 relay.example.", ""),
    (
        "SIG",
        "TYPE0 RSASHA256 0 0 1709164800 20240101000000 12345 a. AQ ID",
        "TYPE0 8 0 0 20240229000000 20240101000000 12345 a. AQID",
    ),
    ("KEY", "256 3 8 AwEAAQ==", ""),
    ("KEY", "49152 3 8", ""),
    ("PX", "50 ab.net2.it. O-ab.PRMD-net2.ADMDb.C-it.", ""),
    (
        "GPOS",
        "-32.6882 116.8652 10.0",
        r#""-32.6882" "116.8652" "10.0""#,
    ),
    ("AAAA", "2001:DB8:0::1", "2001:db8::1"),
    ("AAAA", "::ffff:192.0.2.1", ""),
    (
        "LOC",
        "42 21 54 N 71 06 18 W -24m 30m",
        "42 21 54.000 N 71 6 18.000 W -24.00m 30m 10000m 10m",
    ),
    ("SRV", "0 1 9 server.example.com.", ""),
    (
        "NAPTR",
        r#"100 10 "u" "sip+E2U" "!^(.*)$!sip:\\1@e.com!" ."#,
        "",
    ),
    ("KX", "2 rt1.example.", ""),
    ("CERT", "PKIX 12345 RSASHA256 AQID", "1 12345 8 AQID"),
    ("DNAME", "frobozz-division.acme.example.", ""),
    ("APL", "1:192.168.32.0/21 !1:192.168.38.0/28", ""),
    (
        "DS",
        "60485 5 1 ( 2BB183AF5F22588179A53B0A 98631FAD1A292118 )",
        "60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118",
    ),
    ("SSHFP", "2 1 123456789ABCDEF67890123456789ABCDEF67890", ""),
    ("IPSECKEY", "10 1 2 192.0.2.38 AQNRU3mG", ""),
    ("IPSECKEY", "10 0 2 . AQNRU3mG", ""),
    ("IPSECKEY", "10 2 2 2001:db8::8002:0:1 AQNRU3mG", ""),
    ("IPSECKEY", "10 3 2 mygateway.example.com. AQNRU3mG", ""),
    ("IPSECKEY", "10 3 0 mygateway.example.com.", ""),
    (
        "RRSIG",
        "A 5 3 86400 20030322173103 20030220173103 2642 example.com. oJB1W6WN",
        "",
    ),
    ("NSEC", "host.example.com. A MX RRSIG NSEC TYPE1234", ""),
    (
        "DNSKEY",
        "256 3 5 AQPSKmyn fzW4kyBv",
        "256 3 5 AQPSKmynfzW4kyBv",
    ),
    (
        "DHCID",
        "AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=",
        "",
    ),
    (
        "NSEC3",
        "1 1 12 aabbccdd 2t7b4g4vsa5smi47k61mv5bv1a22bojr MX DNSKEY NS SOA",
        "1 1 12 AABBCCDD 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR NS SOA MX DNSKEY",
    ),
    ("NSEC3", "1 0 0 - 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR", ""),
    ("NSEC3PARAM", "1 0 12 aabbccdd", "1 0 12 AABBCCDD"),
    ("NSEC3PARAM", "1 0 0 -", ""),
    ("TLSA", "0 0 0 d2abde24 0d7cd3ee", "0 0 0 D2ABDE240D7CD3EE"),
    ("SMIMEA", "3 0 0 D2ABDE240D7CD3EE", ""),
    ("HIP", "2 200100107B1A74DF365639CC39F1D578 AwEAAbdx", ""),
    (
        "HIP",
        "2 2001 AwEAAbdx rvs.example.com. rvs2.example.com.",
        "",
    ),
    ("NINFO", r#""a" "b""#, ""),
    ("TALINK", ". next.example.", ""),
    ("CDS", "0 0 0 00", ""),
    ("CDNSKEY", "0 3 0 AA==", ""),
    ("OPENPGPKEY", "AQID BAUG", "AQIDBAUG"),
    ("CSYNC", "66 3 A NS AAAA", ""),
    ("CSYNC", "0 0", ""),
    (
        "ZONEMD",
        "2018031500 1 1 FEBE3D4CE2EC2FFA4BA99D46CD69D6D29711E55217057BEE7EB1A7B641A47BA7FED2DD5B97AE499FAFA4F22C6BD647DE",
        "",
    ),
    (
        "SVCB",
        "16 foo port=53 alpn=h2",
        r#"16 foo.example. alpn="h2" port=53"#,
    ),
    ("HTTPS", "0 foo.example.", ""),
    ("SPF", r#""v=spf1 +all""#, ""),
    ("NID", "10 0014:4fff:ff20:ee64", "10 14:4fff:ff20:ee64"),
    ("L32", "10 10.1.2.0", ""),
    ("L64", "10 2001:0DB8:1140:1000", "10 2001:db8:1140:1000"),
    ("LP", "10 l64-subnet1.example.com.", ""),
    ("EUI48", "00-00-5E-00-53-2a", "00-00-5e-00-53-2a"),
    ("EUI64", "00-00-5e-ef-10-00-00-2a", ""),
    ("URI", r#"10 1 "ftp://ftp1.example.com/public""#, ""),
    ("CAA", r#"0 issue "ca1.example.net; account=230123""#, ""),
    ("CAA", r#"128 iodef """#, ""),
    ("AVC", r#""app-name:WOLFGANG|app-class:OAM""#, ""),
    (
        "RESINFO",
        "qnamemin exterr=15-17",
        r#""qnamemin" "exterr=15-17""#,
    ),
    (
        "WKS",
        "192.0.2.1 TCP smtp telnet 80",
        "192.0.2.1 6 23 25 80",
    ),
    ("NSAP", "0x47.0005.80", "0x47000580"),
    ("NSAP-PTR", "foo.example.", ""),
    ("NXT", "medium.foo.nil. A MX SIG NXT", ""),
    ("EID", "1289 ab", "1289AB"),
    ("NIMLOC", "321251 4a", "3212514A"),
    ("ATMA", "+61200001111", ""),
    ("ATMA", "39.246f.00", "39246F00"),
    ("A6", "64 ::1234:5678:9abc:def0 subnet.example.", ""),
    ("A6", "0 2345:c1::1", ""),
    ("A6", "128 a.example.", ""),
    ("SINK", "64 0 0 AQID", ""),
    ("RKEY", "0 255 RSASHA256 AQID", "0 255 8 AQID"),
    (
        "DSYNC",
        "CDS NOTIFY 5359 Endpoint.example.",
        "CDS 1 5359 Endpoint.example.",
    ),
    ("HHIT", "AQID BAUG", "AQIDBAUG"),
    ("BRID", "AQID", ""),
    ("DOA", "0 1 2 \"text/plain\" AQID", ""),
    ("DOA", "1 4294967295 3 \"\" -", ""),
    ("AMTRELAY", "10 0 0 .", ""),
    ("AMTRELAY", "10 1 1 203.0.113.15", ""),
    ("AMTRELAY", "255 0 2 2001:db8::15", ""),
    ("AMTRELAY", "128 1 3 amtrelays.example.com.", ""),
    ("WALLET", "ETH \"0x1\"", "\"ETH\" \"0x1\""),
    ("CLA", "\"TCP-v4-v6\"", ""),
    ("IPN", "18446744073709551615", ""),
    ("TA", "1 8 1 2BB183AF5F22588179A53B0A98631FAD1A292118", ""),
    (
        "DS",
        "1 8 5 00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF",
        "",
    ),
    ("DLV", "1 5 9 AB", ""),
];

fn rtype(mnemonic: &str) -> RrType {
    RrType::from_text(mnemonic.as_bytes()).unwrap()
}

#[test]
fn every_type_goes_to_octets_and_back() {
    for &(mnemonic, text, expected) in EXAMPLES {
        let rtype = rtype(mnemonic);
        let octets = octets(rtype, text);
        let printed = printed(rtype, &octets);
        let expected = if expected.is_empty() { text } else { expected };
        assert_eq!(printed, expected, "{rtype}");
        assert_eq!(super::testing::octets(rtype, &printed), octets, "{rtype}");
    }
    let with_fields = (0..=u16::MAX)
        .map(RrType)
        .filter(|rtype| rtype.fields().is_some());
    for rtype in with_fields {
        let has_example = EXAMPLES.iter().any(|(name, ..)| *name == rtype.to_string());
        assert!(has_example, "{rtype} has no example");
    }
}

#[test]
fn every_type_has_a_generic_form() {
    for &(mnemonic, text, _) in EXAMPLES {
        let rtype = rtype(mnemonic);
        let octets = octets(rtype, text);
        let mut generic = String::new();
        print_generic(&octets, &mut generic);
        assert_eq!(super::testing::octets(rtype, &generic), octets, "{generic}");
        let unknown = RrType(65280);
        assert_eq!(reprinted(unknown, &generic), generic);
    }
    assert_eq!(reprinted(RrType::NULL, r"\# 0"), r"\# 0");
    assert_eq!(reprinted(RrType::A, r"\# 4 ( C0 00 0 201 )"), "192.0.2.1");
    assert_eq!(octets(RrType::TXT, r##""\#""##), b"\x01#");
}

#[test]
fn data_cut_short_or_long_is_printed_in_generic_form() {
    for &(mnemonic, text, _) in EXAMPLES {
        let rtype = rtype(mnemonic);
        let octets = octets(rtype, text);
        for length in (0..octets.len()).step_by(if cfg!(miri) { 13 } else { 1 }) {
            let part = &octets[..length];
            let printed = printed(rtype, part);
            assert_eq!(
                is_valid(rtype, part),
                !printed.starts_with(r"\#"),
                "{rtype}"
            );
            assert_eq!(try_read(rtype, &printed).is_ok(), is_valid(rtype, part));
            names(rtype, part, |_, _| {});
        }
    }
    assert!(!is_valid(RrType::A, &[1, 2, 3, 4, 5]));
    assert_eq!(printed(RrType::A, &[1, 2, 3]), r"\# 3 010203");
    // A compression pointer has no place in a zone.
    assert!(!is_valid(RrType::NS, &[0xc0, 0x0c]));
}

#[test]
fn random_octets_never_panic() {
    let mut state = 1u64;
    let mut octet = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        // Small octets make lengths that fit.
        (state >> 59) as u8 * if state >> 40 & 7 == 0 { 8 } else { 1 }
    };
    for round in 0..if cfg!(miri) { 400 } else { 200_000 } {
        let rtype = rtype(EXAMPLES[round % EXAMPLES.len()].0);
        let rdata: Vec<u8> = (0..octet()).map(|_| octet()).collect();
        let printed = printed(rtype, &rdata);
        if is_valid(rtype, &rdata) {
            let octets = octets(rtype, &printed);
            assert_eq!(rdata, octets, "{rtype} {printed}");
        }
    }
}

#[test]
fn faults_name_the_field_and_the_reason() {
    for (mnemonic, text, token, sentence) in [
        ("A", "1.2.3", 0, "address `1.2.3`: not an IPv4 address"),
        ("A", "", 0, "missing field: address"),
        ("A", "1.2.3.4 x", 1, "unexpected `x` after the last field"),
        ("MX", "70000 a", 0, "preference `70000`: more than 65535"),
        ("MX", "65536 a", 0, "preference `65536`: more than 65535"),
        ("MX", "-1 a", 0, "preference `-1`: not a number"),
        ("MX", "10", 1, "missing field: exchange"),
        ("MX", "10 a..b", 1, "exchange `a..b`: an empty label"),
        (
            "TLSA",
            "256 0 0 00",
            0,
            "certificate usage `256`: more than 255",
        ),
        (
            "CSYNC",
            "4294967296 0",
            0,
            "serial `4294967296`: more than 4294967295",
        ),
        (
            "SOA",
            ". . 1 2 3 4 1y",
            6,
            "minimum `1y`: neither seconds nor a period such as 1h30m",
        ),
        (
            "SOA",
            ". . 1 4294967296 3 4 5",
            3,
            "refresh `4294967296`: more than 4294967295 seconds",
        ),
        ("TXT", "", 0, "missing field: text"),
        ("HINFO", "\"\"", 1, "missing field: system"),
        (
            "TXT",
            r"a \999",
            1,
            r"text `\999`: a broken escape; write \X for a character or \DDD for an octet",
        ),
        ("NSEC", "a.", 1, "missing field: types"),
        ("NSEC", "a. A B", 2, "types `B`: not a record type"),
        (
            "RRSIG",
            "A 8 2 1 20230229000000",
            4,
            "expiration `20230229000000`: not a time from 19700101000000 to 21060207062815, nor its seconds",
        ),
        (
            "DNSKEY",
            "256 3 RSA AQID",
            2,
            "algorithm `RSA`: neither a number nor a known mnemonic",
        ),
        ("DNSKEY", "256 3 8", 3, "missing field: public key"),
        ("KEY", "256 3 8", 3, "missing field: public key"),
        ("RKEY", "0 255 8", 3, "missing field: public key"),
        (
            "TLSA",
            "3 1 1 0011",
            3,
            "certificate data `0011`: 2 octets; a digest of this type has 32",
        ),
        (
            "SMIMEA",
            "3 1 2 0011",
            3,
            "certificate data `0011`: 2 octets; a digest of this type has 64",
        ),
        (
            "SSHFP",
            "1 2 0011",
            2,
            "fingerprint `0011`: 2 octets; a digest of this type has 32",
        ),
        (
            "NSEC3",
            "1 0 0 - 2t7b4g4v A",
            4,
            "next hashed owner `2t7b4g4v`: 5 octets; a hash of this algorithm has 20",
        ),
        ("A6", "129 a.", 0, "prefix length `129`: more than 128"),
        (
            "AMTRELAY",
            "10 2 1 1.2.3.4",
            1,
            "discovery optional `2`: more than 1",
        ),
        (
            "AMTRELAY",
            "10 1 4 .",
            2,
            "relay type `4`: not 0, 1, 2 or 3",
        ),
        (
            "IPN",
            "18446744073709551616",
            0,
            "node number `18446744073709551616`: not a number up to 18446744073709551615",
        ),
        (
            "IPN",
            "+1",
            0,
            "node number `+1`: not a number up to 18446744073709551615",
        ),
        (
            "DSYNC",
            "CDS SIGNAL 53 a.",
            1,
            "scheme `SIGNAL`: neither a number nor a known mnemonic",
        ),
        (
            "UID",
            "1",
            0,
            r"the fields of UID are not known; write its data as \# length hexadecimal (RFC 3597 §5)",
        ),
        (
            "DS",
            "1 8 2 00 11",
            4,
            "digest `11`: 2 octets; a digest of this type has 32",
        ),
        (
            "IPSECKEY",
            "10 4 2 . AQID",
            1,
            "gateway type `4`: not 0, 1, 2 or 3",
        ),
        (
            "IPSECKEY",
            "10 0 2 a. AQID",
            3,
            "gateway `a.`: not `.`, though its type 0 means that there is none",
        ),
        ("IPSECKEY", "10 1 2 1.2.3.4", 4, "missing field: public key"),
        ("URI", "1 1 \"\"", 2, "target ``: empty"),
        (
            "CAA",
            "0 a-b \"\"",
            1,
            "tag `a-b`: a tag is made of letters and digits",
        ),
        (
            "TYPE65280",
            "abc",
            0,
            r"the fields of TYPE65280 are not known; write its data as \# length hexadecimal (RFC 3597 §5)",
        ),
        (
            "ANY",
            r"\# 0",
            0,
            "ANY is for questions and messages and has no data in a zone",
        ),
        ("TYPE65280", r"\#", 1, "missing field: length"),
        (
            "TYPE65280",
            r"\# 2 abc",
            2,
            "data `abc`: an odd number of hexadecimal digits",
        ),
        (
            "TYPE65280",
            r"\# 2 ab",
            1,
            "length `2`: the data has 1 octets",
        ),
        (
            "TYPE65280",
            r"\# 65536",
            1,
            "length `65536`: more than 65535",
        ),
        (
            "A",
            r"\# 3 ab cd ef",
            0,
            r"data `\#`: 3 octets that do not fit the fields of A",
        ),
    ] {
        let fault = fault(rtype(mnemonic), text);
        assert_eq!((fault.token, fault.sentence.as_str()), (token, sentence));
    }
}

#[test]
fn limits_hold_on_both_sides() {
    for (mnemonic, text) in [
        ("MX", "65535 ."),
        ("CAA", "255 issue \"\""),
        ("CSYNC", "4294967295 65535"),
        ("SOA", ". . 4294967295 2147483648 0 0 4294967295"),
    ] {
        assert_eq!(reprinted(rtype(mnemonic), text), text);
    }
    let string = "x".repeat(255);
    assert_eq!(octets(RrType::TXT, &string).len(), 256);
    let long = fault(RrType::TXT, &format!("{string}x"));
    assert!(
        long.sentence
            .ends_with("256 octets; one string has 255 at most")
    );
    let name = format!("{}.", ["x".repeat(63).as_str(); 4].join("."));
    assert!(
        fault(RrType::NS, &name)
            .sentence
            .ends_with("more than 255 octets")
    );
}

#[test]
#[cfg_attr(miri, ignore = "64 KiB of text take too long there")]
fn the_longest_data_and_no_longer() {
    let string = "x".repeat(255);
    let whole = vec![string.as_str(); 255].join(" ");
    assert_eq!(
        octets(RrType::TXT, &format!("{whole} {}", "x".repeat(254))).len(),
        65535
    );
    let over = fault(RrType::TXT, &format!("{whole} {string}"));
    assert_eq!(
        over.sentence,
        "data of 65536 octets; one record has 65535 at most"
    );
}

#[test]
fn names_are_found_with_their_places() {
    let found = |mnemonic: &str, text: &str| {
        let rdata = octets(rtype(mnemonic), text);
        let mut found = Vec::new();
        names(rtype(mnemonic), &rdata, |kind, place| {
            let name = Name::from_wire(&rdata[place]).unwrap();
            let compressible = kind == Kind::CompressibleName;
            found.push(format!("{name}{}", if compressible { "!" } else { "" }));
        });
        found.join(" ")
    };
    assert_eq!(found("A", "1.2.3.4"), "");
    assert_eq!(found("MX", "10 a"), "a.example.!");
    assert_eq!(found("SOA", "@ b. 1 2 3 4 5"), "example.! b.!");
    assert_eq!(found("RP", "a. ."), "a. .");
    assert_eq!(found("SRV", "1 2 3 a."), "a.");
    assert_eq!(found("NAPTR", r#"1 2 "" "" "" a."#), "a.");
    assert_eq!(found("RRSIG", "A 8 0 0 0 0 0 a. AQID"), "a.");
    assert_eq!(found("HIP", "2 AA AQID a. b.c."), "a. b.c.");
    assert_eq!(found("HTTPS", "1 a. port=1"), "a.");
    assert_eq!(found("IPSECKEY", "1 3 2 a. AQID"), "a.");
    assert_eq!(found("IPSECKEY", "1 1 2 1.2.3.4 AQID"), "");
    assert_eq!(found("TYPE65280", r"\# 1 00"), "");
    assert_eq!(found("A6", "64 ::1 a."), "a.");
    assert_eq!(found("A6", "0 ::1"), "");
    assert_eq!(found("AMTRELAY", "1 0 3 a."), "a.");
    assert_eq!(found("AMTRELAY", "1 0 1 1.2.3.4"), "");
    assert_eq!(found("DSYNC", "CDS 1 53 a."), "a.");
    assert_eq!(found("NSAP-PTR", "a."), "a.");
    // Quotes make a label of the sign for the origin.
    assert_eq!(found("NS", "\"@\""), r"\@.example.!");
}
