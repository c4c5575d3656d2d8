//! Zones with signatures that nobody verifies, and a chain of NSEC or NSEC3 that is
//! right.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE32_DNSSEC;
use shardns::wire::Name;
use shardns::wire::name::canonical_order;
use shardns::zone::denial::Parameters;

/// How a zone proves what it has not.
#[allow(dead_code)]
#[derive(Clone, Copy)]
pub enum Chain {
    Nsec,
    Nsec3 {
        /// Over delegations without DS.
        opt_out: bool,
        iterations: u16,
        /// In hexadecimal digits, or `-`.
        salt: &'static str,
    },
}

/// The text, which has a record a line, `OWNER [60] TYPE DATA`, and no more than that,
/// with all that its chain needs.
pub fn sign(origin: &str, text: &str, chain: Chain) -> String {
    let apex: Name = origin.parse().unwrap();
    let mut types: BTreeMap<Vec<Vec<u8>>, (Name, BTreeSet<String>)> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let owner = Name::from_text(words.next().unwrap().as_bytes(), Some(&apex)).unwrap();
        let rtype = words.find(|word| *word != "60").unwrap();
        let of_owner = types.entry(key(&owner)).or_insert((owner, BTreeSet::new()));
        of_owner.1.insert(rtype.into());
    }
    let cuts: Vec<Name> = types
        .values()
        .filter(|(owner, types)| *owner != apex && types.contains("NS"))
        .map(|(owner, _)| *owner)
        .collect();
    let is_below = |owner: &Name| cuts.iter().any(|cut| cut != owner && owner.is_within(cut));
    let mut signed = format!("$TTL 60\n{text}");
    let mut owners: Vec<(Name, Vec<String>)> = Vec::new();
    for (owner, types) in types.values() {
        if is_below(owner) {
            continue;
        }
        let is_cut = cuts.contains(owner);
        let is_signed = |rtype: &&String| !is_cut || *rtype == "DS";
        for rtype in types.iter().filter(is_signed) {
            signed += &signature(&owner.to_string(), owner, rtype, origin);
        }
        owners.push((*owner, types.iter().cloned().collect()));
    }
    match chain {
        Chain::Nsec => signed + &nsec(owners, origin),
        Chain::Nsec3 {
            opt_out,
            iterations,
            salt,
        } => signed + &nsec3(owners, &cuts, origin, (opt_out, iterations, salt)),
    }
}

/// Labels from the top down: names sort by it in canonical order.
fn key(name: &Name) -> Vec<Vec<u8>> {
    let lower = name.to_lower();
    let mut labels: Vec<Vec<u8>> = lower.labels().map(<[u8]>::to_vec).collect();
    labels.reverse();
    labels
}

fn signature(written: &str, owner: &Name, rtype: &str, origin: &str) -> String {
    let labels = owner.labels().filter(|label| *label != b"*").count();
    let octets = "A".repeat(86);
    format!(
        "{written} RRSIG {rtype} 13 {labels} 60 20300101000000 20200101000000 1 {origin} {octets}==\n"
    )
}

fn nsec(mut owners: Vec<(Name, Vec<String>)>, origin: &str) -> String {
    owners.sort_by(|(one, _), (other, _)| {
        canonical_order(one.to_lower().as_wire(), other.to_lower().as_wire())
    });
    let mut text = String::new();
    for (at, (owner, types)) in owners.iter().enumerate() {
        let next = owners[(at + 1) % owners.len()].0;
        let types = types.join(" ");
        text += &format!("{owner} NSEC {next} {types} NSEC RRSIG\n");
        text += &signature(&owner.to_string(), owner, "NSEC", origin);
    }
    text
}

fn nsec3(
    owners: Vec<(Name, Vec<String>)>,
    cuts: &[Name],
    origin: &str,
    (opt_out, iterations, salt): (bool, u16, &str),
) -> String {
    let apex: Name = origin.parse().unwrap();
    let mut all: BTreeMap<Vec<u8>, Vec<String>> = BTreeMap::new();
    for (owner, types) in owners {
        let is_insecure = cuts.contains(&owner) && !types.iter().any(|rtype| rtype == "DS");
        if opt_out && is_insecure {
            continue;
        }
        // It and all between it and the apex.
        let lower = owner.to_lower();
        let mut rest = lower.as_wire();
        while rest.len() > apex.as_wire().len() {
            all.entry(rest.to_vec()).or_default();
            rest = &rest[1 + usize::from(rest[0])..];
        }
        all.insert(lower.as_wire().to_vec(), types);
    }
    let octets = match salt {
        "-" => Vec::new(),
        salt => data_encoding::HEXLOWER.decode(salt.as_bytes()).unwrap(),
    };
    let mut data = vec![1, 0];
    data.extend(iterations.to_be_bytes());
    data.push(octets.len() as u8);
    data.extend(octets);
    let (parameters, _) = Parameters::read(&data).unwrap();
    let mut hashed: Vec<(String, Vec<String>)> = all
        .into_iter()
        .map(|(name, types)| (BASE32_DNSSEC.encode(&parameters.hash(&name)), types))
        .collect();
    hashed.sort();
    let mut text = format!("{origin} NSEC3PARAM 1 0 {iterations} {salt}\n");
    text += &signature(origin, &apex, "NSEC3PARAM", origin);
    for (at, (hash, types)) in hashed.iter().enumerate() {
        let next = &hashed[(at + 1) % hashed.len()].0;
        let flags = u8::from(opt_out);
        let with = |rtype: &str| types.iter().any(|own| own == rtype);
        let is_signed = !types.is_empty() && (!with("NS") || with("SOA") || with("DS"));
        let types = format!(
            "{} {}",
            types.join(" "),
            if is_signed { "RRSIG" } else { "" }
        );
        let param = if with("SOA") { "NSEC3PARAM" } else { "" };
        text += &format!(
            "{hash}.{origin} NSEC3 1 {flags} {iterations} {salt} {next} {types} {param}\n"
        );
        let owner: Name = format!("{hash}.{origin}").parse().unwrap();
        text += &signature(&owner.to_string(), &owner, "NSEC3", origin);
    }
    text
}
