//! The records of a built zone, given out again one by one: uncompressed and in
//! canonical form (RFC 4034 §6.2), glue and occluded ones among them: what
//! a zone holds, for those who compare it with what it was made of.

use super::lookup::Zone;
use super::store::{Composed, Node, Set};
use crate::wire::field::{Field, Kind};
use crate::wire::header::HEADER;
use crate::wire::name::MAX_NAME;
use crate::wire::rdata;
use crate::wire::{Cursor, RecordOctets, RrType};

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CanonicalRecord {
    /// Its owner, lower-cased, in wire form.
    pub owner: Vec<u8>,
    /// Its type.
    pub rtype: RrType,
    /// Seconds; of a set whose records differ the lowest.
    pub ttl: u32,
    /// Its data, names in it uncompressed.
    pub rdata: Vec<u8>,
}

/// All records of a zone, name by name, in no particular order.
pub fn records(zone: &Zone) -> Vec<CanonicalRecord> {
    let mut records = Vec::new();
    for node in zone.nodes().chain(zone.hidden_nodes()) {
        for set in node.all_sets() {
            let composed = set.open();
            for octets in [composed.answer, composed.signatures] {
                expand(&node, &set, &composed, octets, &mut records);
            }
        }
    }
    records
}

/// Undoes the composing of records that own pointers to their owner.
fn expand(
    node: &Node<'_>,
    set: &Set<'_>,
    composed: &Composed<'_>,
    octets: &[u8],
    out: &mut Vec<CanonicalRecord>,
) {
    let mut rest = Cursor::new(octets);
    while let Some(RecordOctets {
        rtype, ttl, data, ..
    }) = rest.record()
    {
        let message = Message {
            owner: node.name(),
            answer: composed.answer,
            starts: set.composed_at(),
        };
        let mut rdata = message.uncompressed(rtype, data);
        rdata::make_canonical(rtype, &mut rdata);
        out.push(CanonicalRecord {
            owner: node.name().to_vec(),
            rtype,
            ttl,
            rdata,
        });
    }
}

/// The message that an answer was composed for, as far as pointers lead.
struct Message<'z> {
    owner: &'z [u8],
    answer: &'z [u8],
    starts: usize,
}

impl Message<'_> {
    fn uncompressed(&self, rtype: RrType, data: &[u8]) -> Vec<u8> {
        let is_name = |field: &Field| field.kind == Kind::CompressibleName;
        let fields = rtype.fields().unwrap_or_default();
        if !fields.iter().any(is_name) {
            return data.to_vec();
        }
        // Types with such names have numbers and names alone, as MX and SOA.
        let mut whole = Vec::new();
        let mut rest = Cursor::new(data);
        for field in fields {
            let octets = match field.kind {
                Kind::CompressibleName => {
                    self.name(&mut rest, &mut whole);
                    continue;
                }
                Kind::U16 => rest.take(2),
                _ => rest.take(4),
            };
            whole.extend_from_slice(octets.unwrap_or_default());
        }
        whole
    }

    /// Appends the name at the start of `rest`, its pointers followed.
    fn name(&self, rest: &mut Cursor<'_>, out: &mut Vec<u8>) {
        let end = out.len() + MAX_NAME;
        let mut pointer = labels(rest, out);
        while let Some(target) = pointer
            && out.len() < end
        {
            pointer = labels(&mut self.at(target), out);
        }
    }

    /// What a pointer leads to: a part of the owner, or of the answer.
    fn at(&self, target: usize) -> Cursor<'_> {
        let octets = match target.checked_sub(self.starts) {
            Some(at) => self.answer.get(at..),
            None => target
                .checked_sub(HEADER)
                .and_then(|at| self.owner.get(at..)),
        };
        Cursor::new(octets.unwrap_or_default())
    }
}

/// Appends labels up to the root, or to a pointer, which is returned.
fn labels(rest: &mut Cursor<'_>, out: &mut Vec<u8>) -> Option<usize> {
    loop {
        let length = rest.u8()?;
        if length >= 0xc0 {
            return Some(usize::from(length & 0x3f) << 8 | usize::from(rest.u8()?));
        }
        out.push(length);
        out.extend_from_slice(rest.take(length.into())?);
        if length == 0 {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::zone::text::{self, Library};

    /// The records straight from the text, duplicates dropped.
    fn of_text(library: Library, path: &str) -> Vec<CanonicalRecord> {
        let text::Read { records, .. } = text::read(library, Path::new(path), None).unwrap();
        let canonical = records.list.iter().map(|record| {
            let mut rdata = records.rdata(record).to_vec();
            rdata::make_canonical(record.rtype, &mut rdata);
            CanonicalRecord {
                owner: records.names.wire(record.owner).to_vec(),
                rtype: record.rtype,
                ttl: record.ttl,
                rdata,
            }
        });
        let mut all: Vec<CanonicalRecord> = canonical.collect();
        all.sort();
        all.dedup();
        all
    }

    fn compare(library: Library, path: &str) {
        let loaded = crate::zone::load(library, Path::new(path), None).unwrap();
        let zone = loaded
            .zone
            .unwrap_or_else(|| panic!("{path}: {:?}", loaded.faults));
        let mut given = records(&zone);
        given.sort();
        assert_eq!(given.len(), zone.summary().records, "{path}");
        let expected = of_text(library, path);
        for (one, other) in given.iter().zip(&expected) {
            assert_eq!(one, other, "{path}");
        }
        assert_eq!(given.len(), expected.len(), "{path}");
    }

    #[test]
    fn the_demo_zones_come_out_as_they_went_in() {
        let zones = ["child.example.com", "192.0.2", "2001-db8", "example.com"];
        // The last one takes minutes under Miri.
        for zone in &zones[..if cfg!(miri) { 3 } else { 4 }] {
            let path = format!("{}/../../zones/{zone}.zone", env!("CARGO_MANIFEST_DIR"));
            compare(Library::Disk, &path);
        }
    }

    /// Glue, what a cut occludes, signatures and proofs, names in other case and
    /// names that are compressed in every way.
    const SIGNED: &str = "\
$ORIGIN Example.
$TTL 60
@ SOA NS hostmaster 1 2 3 4 5
@ RRSIG SOA 13 1 60 20300101000000 20200101000000 1 @ AQID
@ NS ns
@ NS NS.Sub
@ RRSIG NS 13 1 60 20300101000000 20200101000000 1 @ AQID
@ MX 10 mail.sub
@ MX 20 Mail
@ RRSIG MX 13 1 60 20300101000000 20200101000000 1 @ AQIDBA==
@ RRSIG MX 8 1 60 20300101000000 20200101000000 2 @ AQIDBAUG
@ RRSIG TXT 13 1 60 20300101000000 20200101000000 1 @ AQID
@ NSEC3PARAM 1 0 0 -
2t7b4g4vsa5smi47k61mv5bv1a22bojr NSEC3 1 1 0 - 2t7b4g4vsa5smi47k61mv5bv1a22bojr A
2t7b4g4vsa5smi47k61mv5bv1a22bojr 30 RRSIG NSEC3 13 2 30 20300101000000 20200101000000 1 @ AQID
ns A 192.0.2.1
mail A 192.0.2.2
sub NS ns.sub
sub NS ns
sub DS 1 13 2 00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF
sub RRSIG DS 13 2 60 20300101000000 20200101000000 1 @ AQID
sub A 192.0.2.3
sub TXT occluded
ns.sub A 192.0.2.4
deep.ns.sub TXT occluded too
a SRV 1 2 3 Target
a NAPTR 1 2 \"\" \"\" \"\" Replacement
a RP Mbox.Example. Txt
a HTTPS 1 Svc alpn=h2
a RRSIG HTTPS 13 2 60 20300101000000 20200101000000 1 @ AQID
";

    #[test]
    #[cfg_attr(miri, ignore = "a set past 64 KiB takes too long there")]
    fn a_set_that_no_message_has_room_for_comes_out_whole() {
        const LARGE: &str = "\
$ORIGIN example.
$TTL 60
@ SOA ns hostmaster 1 2 3 4 5
@ NS ns.test.
$GENERATE 1-9000 many AAAA 2001:db8::$
many TXT beside
many RRSIG AAAA 13 2 60 20300101000000 20200101000000 1 example. AQID
many RRSIG MX 13 2 60 20300101000000 20200101000000 1 example. AQID
signed A 192.0.2.1
$GENERATE 1-4000 signed RRSIG A 13 2 60 20300101000000 20200101000000 $ example. AQID
$GENERATE 1-5000 mail MX $ Host.Example.net.
";
        compare(Library::Embedded(&[("large", LARGE)]), "large");
    }

    #[test]
    fn nothing_is_lost_that_is_not_an_answer() {
        compare(Library::Embedded(&[("signed", SIGNED)]), "signed");
    }
}
