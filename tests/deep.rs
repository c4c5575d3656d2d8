//! Zones and requests made to take long: they are answered as all others.

#[path = "../benches/support/signed.rs"]
mod signed;
mod support;

use data_encoding::BASE32_DNSSEC;
use shardns::answer::Via;
use shardns::wire::{LookupName, Name, RrType};
use shardns::zone::Zones;
use shardns::zone::denial::Parameters;
use signed::{Chain, sign};
use support::decode::{Message, decode};
use support::{ask, query};

const HEAD: &str = "@ 60 SOA ns h 1 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.1\n";

fn zones(text: &str) -> Zones {
    Zones::new(vec![support::zone("ex.", text)])
}

/// The reply to a query, with DO.
fn reply(zones: &Zones, name: &str, rtype: RrType) -> Message {
    let mut request = query(name, rtype.0);
    request[11] = 1;
    request.extend(b"\0\0\x29\x04\xd0\0\0\x80\0\0\0");
    decode(&ask(zones, Via::Tcp, &request).unwrap()).unwrap()
}

#[test]
fn every_type_of_many_is_found_and_no_other() {
    let mut text = format!("$TTL 60\n{HEAD}");
    for rtype in (1001..1200).step_by(2) {
        text += &format!("many TYPE{rtype} \\# 2 {rtype:04x}\n");
    }
    let zones = zones(&text);
    for rtype in 1000..1201 {
        let found = &reply(&zones, "many.ex.", RrType(rtype)).sections[0];
        let data: Vec<&[u8]> = found.iter().map(|record| &record.rdata[..]).collect();
        let expected = rtype.to_be_bytes();
        let expected: &[&[u8]] = if rtype % 2 == 1 { &[&expected] } else { &[] };
        assert_eq!(data, expected, "TYPE{rtype}");
    }
}

/// RFC 5155 §7.2.7: "the closest provable encloser" of a delegation that is opted out,
/// however far above it.
#[test]
fn the_closest_provable_encloser_of_a_deep_delegation() {
    let (parameters, _) = Parameters::read(&[1, 0, 0, 0, 0]).unwrap();
    let hash_of = |name: &str| {
        let name: Name = name.parse().unwrap();
        BASE32_DNSSEC.encode(&parameters.hash(name.as_wire()))
    };
    for depth in 1..20 {
        for provable in 0..depth {
            let deep = |labels: usize| "d.".repeat(labels) + "ex.";
            let (cut, above) = (deep(depth), deep(provable));
            let text = format!("{HEAD}{cut} NS ns.elsewhere.\n{above} TXT provable\n");
            let chain = Chain::Nsec3 {
                opt_out: true,
                iterations: 0,
                salt: "-",
            };
            let zones = zones(&sign("ex.", &text, chain));
            let authority = &reply(&zones, &format!("x.{cut}"), RrType::A).sections[1];
            let proofs = authority
                .iter()
                .filter(|record| record.rtype == RrType::NSEC3);
            let owners: Vec<String> = proofs.map(|record| record.owner.to_string()).collect();
            let label = |owner: &String| owner.split('.').next().unwrap().to_owned();
            let hashes: Vec<String> = owners.iter().map(label).collect();
            assert!(hashes.contains(&hash_of(&above)), "{depth} {provable}");
            // Some record covers the next closer name, or has it where it is the same.
            let next = hash_of(&deep(provable + 1));
            let is_covered = authority.iter().zip(0..).any(|(record, _)| {
                let own = label(&record.owner.to_string());
                let to = BASE32_DNSSEC.encode(record.rdata.get(6..26).unwrap_or_default());
                let within = own < next && next < to;
                let around = to <= own && (own < next || next < to);
                record.rtype == RrType::NSEC3 && (within || around)
            });
            assert!(is_covered, "{depth} {provable}");
        }
    }
}

#[test]
fn so_many_records_and_options_are_looked_at_and_no_more() {
    let zones = zones(&format!("$TTL 60\n{HEAD}"));
    let rcode = |request: &[u8]| {
        decode(&ask(&zones, Via::Tcp, request).unwrap())
            .unwrap()
            .rcode()
    };
    let record = b"\0\0\x01\0\x01\0\0\0\0\0\0";
    for (count, expected) in [(1, 0), (3, 0), (4, 1), (2000, 1)] {
        for section in 0..3 {
            let mut request = query("ns.ex.", 1);
            request[6 + 2 * section..8 + 2 * section]
                .copy_from_slice(&(count as u16).to_be_bytes());
            request.extend(record.repeat(count));
            assert_eq!(rcode(&request), expected, "{count} records in {section}");
        }
    }
    // They are counted together.
    for (count, expected) in [(1, 0), (2, 1)] {
        let mut request = query("ns.ex.", 1);
        request[7] = 1;
        request[9] = 1;
        request[11] = count;
        request.extend(record.repeat(2 + usize::from(count)));
        assert_eq!(rcode(&request), expected, "{count} records and two");
    }
    for (count, expected) in [(1, 0), (64, 0), (65, 1), (2000, 1)] {
        let mut request = query("ns.ex.", 1);
        request[11] = 1;
        request.extend(b"\0\0\x29\x04\xd0\0\0\0\0");
        request.extend((4 * count as u16).to_be_bytes());
        request.extend(b"\0\xff\0\0".repeat(count));
        assert_eq!(rcode(&request), expected, "{count} options");
    }
}

/// RFC 1034 §4.3.2 step 2: "the zone which is the nearest ancestor to QNAME", however
/// deep zones are nested.
#[test]
fn the_nearest_of_many_nested_zones() {
    let name = |labels: &[&str]| {
        let text: String = labels.iter().map(|label| format!("{label}.")).collect();
        (text + "ex.").parse::<Name>().unwrap()
    };
    let mut apexes: Vec<Name> = Vec::new();
    for labels in (1..24).step_by(2) {
        apexes.push(name(&vec!["d"; labels]));
        apexes.push(name(&[&["e"], &vec!["d"; labels][..]].concat()));
    }
    for count in [3, 12, apexes.len()] {
        let load = |apex: &Name| support::zone(&apex.to_string(), &format!("$TTL 60\n{HEAD}"));
        let zones = Zones::new(apexes[..count].iter().map(load).collect());
        for labels in 0..26 {
            for first in [&[][..], &["c"], &["d"], &["e"], &["x", "e"], &["\\001d"]] {
                let asked = name(&[first, &vec!["d"; labels][..]].concat());
                let lookup = LookupName::of(&asked);
                let nearest = |most: usize| {
                    let above = zones.iter().filter(|zone| zone.holds(&lookup));
                    let above = above.filter(|zone| zone.lookup_name().labels() <= most);
                    above.max_by_key(|zone| zone.lookup_name().labels())
                };
                let found = zones.find(&lookup, RrType::A).map(|zone| zone.apex());
                let expected = nearest(lookup.labels());
                assert_eq!(found, expected.map(|zone| zone.apex()), "{asked}");
                // The DS of an apex is above it, where there is a zone.
                let found = zones.find(&lookup, RrType::DS).map(|zone| zone.apex());
                let expected = match expected {
                    Some(zone) if *zone.apex() == asked => {
                        nearest(lookup.labels() - 1).or(expected)
                    }
                    _ => expected,
                };
                assert_eq!(found, expected.map(|zone| zone.apex()), "DS of {asked}");
            }
        }
    }
}

/// Names of an answer may have so many labels together, and with proofs so many may be
/// made of wildcards; a resolver asks for the rest (RFC 1034 §5.3.3 step 4c).
#[test]
fn chains_end_where_they_have_gone_far_enough() {
    let records = |zones: &Zones, name: &str, rtype: RrType| {
        let answer = &reply(zones, name, RrType::A).sections[0];
        let meant = answer.iter().filter(|record| record.rtype == rtype);
        meant.count()
    };
    for (labels, addresses) in [(63, 1), (64, 0)] {
        let deep = |octet: &str| format!("{octet}.").repeat(labels) + "ex.";
        let text = format!(
            "{} CNAME {}\n{} A 192.0.2.1\n",
            deep("c"),
            deep("d"),
            deep("d")
        );
        let zones = zones(&format!("$TTL 60\n{HEAD}{text}"));
        assert_eq!(records(&zones, &deep("c"), RrType::CNAME), 1);
        assert_eq!(
            records(&zones, &deep("c"), RrType::A),
            addresses,
            "{labels}"
        );
    }
    let mut text = HEAD.to_owned();
    for number in 0..4 {
        text += &format!("*.w{number} CNAME x.w{}\n", number + 1);
    }
    text += "x.w4 A 192.0.2.1\n";
    let zones = zones(&sign("ex.", &text, Chain::Nsec));
    for (first, aliases, addresses) in [(1, 3, 1), (0, 3, 0)] {
        let name = format!("x.w{first}.ex.");
        assert_eq!(records(&zones, &name, RrType::CNAME), aliases, "{name}");
        assert_eq!(records(&zones, &name, RrType::A), addresses, "{name}");
    }
}
