//! What has resolvers trust a zone's keys: the keys themselves, what a zone says of them
//! to its parent, and what a parent says of its children's. All of this can be served;
//! but where it is wrong, resolvers take a zone for unsigned, or for forged.

use ring::digest::{self, Algorithm};

use super::super::names::NameId;
use super::super::pieces::{ids, in_turn};
use super::super::records::{Faults, Record};
use super::super::sorted::{Occlusion, SortedSet};
use super::Checker;
use super::signed::Tally;
use crate::wire::rdata::dnssec::{Key, algorithm_name};
use crate::wire::{Cursor, RrType};

/// Algorithms that are fit for use (RFC 8624 §3.1): all but RSA with MD5 and SHA-1, DSA
/// and GOST.
const ALGORITHMS: [u8; 6] = [8, 10, 13, 14, 15, 16];
/// The same of digests of keys (RFC 8624 §3.3): all but SHA-1 and GOST.
const DIGESTS: [u8; 2] = [2, 4];
/// With such a label the CDS of other zones begin, in a zone of their name servers (RFC
/// 9615 §2).
const BOOTSTRAP: &[u8] = b"_dsboot";
/// Fields of DNSKEY.
const FLAGS: usize = 0;
const PROTOCOL: usize = 1;
const ALGORITHM: usize = 2;

/// The data of DS and CDS, in parts.
struct Digest<'r> {
    tag: u16,
    algorithm: u8,
    kind: u8,
    octets: &'r [u8],
}

impl<'r> Digest<'r> {
    fn read(data: &'r [u8]) -> Option<Digest<'r>> {
        let mut rest = Cursor::new(data);
        Some(Digest {
            tag: rest.u16()?,
            algorithm: rest.u8()?,
            kind: rest.u8()?,
            octets: rest.rest(),
        })
    }

    /// Whether it is that of a key, as the zone `apex` has it (RFC 4034 §5.1.4); of kinds
    /// that are not known here the tag has to do.
    fn is_of(&self, apex: &[u8], key: &[u8]) -> bool {
        let Some(read) = Key::read(key) else {
            return false;
        };
        let hash: &Algorithm = match self.kind {
            1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            2 => &digest::SHA256,
            4 => &digest::SHA384,
            _ => return (read.tag, read.algorithm) == (self.tag, self.algorithm),
        };
        let mut context = digest::Context::new(hash);
        context.update(&apex.to_ascii_lowercase());
        context.update(key);
        (read.tag, read.algorithm) == (self.tag, self.algorithm)
            && context.finish().as_ref() == self.octets
    }
}

/// True for a key by which a zone can be entered from its parent.
fn can_be_entry(key: &Key) -> bool {
    key.signs_zones() && !key.is_revoked()
}

impl Checker<'_> {
    /// Keys that sign nothing, and such as have the zone taken for unsigned.
    pub(super) fn zone_keys(&self, faults: &mut Faults, set: &SortedSet) {
        let mut usable = Vec::new();
        for record in self.sorted.records(set) {
            let Some(key) = Key::read(self.sorted.records.rdata(record)) else {
                continue;
            };
            if key.protocol != 3 {
                let sentence = format!(
                    "a DNSKEY of protocol {}, which signs nothing: the protocol is 3 (RFC 4034 \
                    §2.1.2)",
                    key.protocol
                );
                faults.warning(record.from.field(PROTOCOL), sentence);
            } else if !key.signs_zones() {
                let sentence = "a DNSKEY without the flag 256, which signs nothing in a zone (RFC \
                    4034 §2.1.1)";
                faults.warning(record.from.field(FLAGS), sentence);
            } else if can_be_entry(&key) {
                usable.push((record, key.algorithm));
            }
        }
        let is_good = |(_, algorithm): &(&Record, u8)| ALGORITHMS.contains(algorithm);
        if let Some((record, algorithm)) = usable.first()
            && !usable.iter().any(is_good)
        {
            let sentence = format!(
                "no key is of an algorithm that is fit for use (RFC 8624 §3.1): resolvers \
                that take none of {algorithm} ({}) take the zone for unsigned",
                algorithm_name(*algorithm)
            );
            faults.warning(record.from.field(ALGORITHM), sentence);
        }
    }

    /// What a zone says of its children's keys, and of others'.
    pub(super) fn others_keys(&self, faults: &mut Faults) {
        let sorted = self.sorted;
        let names = |piece| {
            let (mut weak, mut elsewhere) = (Tally::default(), Tally::default());
            for id in ids(piece) {
                for set in sorted.sets(id) {
                    match set.rtype {
                        RrType::DS if sorted.is_cut(id) => self.child_keys(&mut weak, id, set),
                        RrType::CDS | RrType::CDNSKEY if id != sorted.apex => {
                            self.request_elsewhere(&mut elsewhere, id, set);
                        }
                        _ => {}
                    }
                }
            }
            [weak, elsewhere]
        };
        let mut all = [Tally::default(), Tally::default()];
        in_turn(sorted.records.names.len(), names, |part| {
            all.iter_mut()
                .zip(part)
                .for_each(|(all, part)| all.append(part));
        });
        for (from, sentence) in all.into_iter().filter_map(Tally::into_told) {
            faults.warning(from, sentence);
        }
    }

    /// DS records that resolvers may not go by.
    fn child_keys(&self, weak: &mut Tally, id: NameId, set: &SortedSet) {
        let records = self.sorted.records(set);
        let mut digests = records.filter_map(|record| {
            let digest = Digest::read(self.sorted.records.rdata(record))?;
            Some((digest.algorithm, digest.kind))
        });
        let is_good = |(algorithm, kind): (u8, u8)| {
            ALGORITHMS.contains(&algorithm) && DIGESTS.contains(&kind)
        };
        if !digests.any(is_good) && self.sorted.occlusion(id) == Occlusion::Served {
            weak.add(self.first(set).from, || {
                format!(
                    "no DS at {} is of an algorithm and a digest that are fit for use (RFC 8624 \
                    §3.1, §3.3): resolvers that take none of them take the child for unsigned (RFC \
                    4035 §5.2)",
                    self.shown(id)
                )
            });
        }
    }

    /// A CDS or CDNSKEY that is not at the apex.
    fn request_elsewhere(&self, tally: &mut Tally, id: NameId, set: &SortedSet) {
        let owner = self.shown(id);
        let first = owner.labels().next();
        let is_signal = first.is_some_and(|label| label.eq_ignore_ascii_case(BOOTSTRAP));
        if !is_signal && self.is_served(id) {
            tally.add(self.first(set).from, || {
                format!(
                    "{} at {owner}, which is not the zone's own name; nobody looks for it there \
                    (RFC 7344 §4.1)",
                    set.rtype
                )
            });
        }
    }

    /// What a zone asks its parent to take for DS: CDS or CDNSKEY (RFC 7344).
    pub(super) fn requests(&self, faults: &mut Faults, id: NameId, set: &SortedSet) {
        let sorted = self.sorted;
        let rtype = set.rtype;
        self.deletion(faults, set);
        if !sorted.records.unread.is_nothing() {
            return;
        }
        let keys = sorted.set(id, RrType::DNSKEY);
        let is_key = |record: &Record| {
            keys.is_some_and(|keys| self.stands_for(rtype, record, keys, can_be_entry))
        };
        let mut kept = sorted
            .records(set)
            .filter(|record| !self.deletes(rtype, record));
        if let Some(first) = kept.next()
            && !is_key(first)
            && !kept.any(is_key)
        {
            let sentence = format!(
                "no {rtype} stands for a DNSKEY of the zone: with a parent that does as it says, \
                resolvers refuse the zone (RFC 7344 §4.1)"
            );
            faults.warning(first.from, sentence);
        }
        if rtype == RrType::CDS
            && let Some(other) = sorted.set(id, RrType::CDNSKEY)
        {
            self.pair(faults, set, other);
        }
    }

    /// RFC 7344 §4: where there are both, they say the same.
    fn pair(&self, faults: &mut Faults, digests: &SortedSet, keys: &SortedSet) {
        let deletes = |set: &SortedSet| {
            let mut records = self.sorted.records(set);
            records.any(|record| self.deletes(set.rtype, record))
        };
        let is_kept = |digest: &Record| self.stands_for(RrType::CDS, digest, keys, |_| true);
        let has_digest = |key: &Record| {
            let data = self.sorted.records.rdata(key);
            let mut digests = self.sorted.records(digests);
            digests.any(|digest| self.is_of(digest, data))
        };
        let is_same = match (deletes(digests), deletes(keys)) {
            (true, true) => true,
            (false, false) => {
                self.sorted.records(digests).all(is_kept)
                    && self.sorted.records(keys).all(has_digest)
            }
            _ => false,
        };
        if !is_same {
            let sentence =
                "CDS and CDNSKEY say different things; parents take either (RFC 7344 §4)";
            faults.warning(self.first(digests).from, sentence);
        }
    }

    /// True for a record that stands for a key of the set, which is DNSKEY or CDNSKEY,
    /// one that is meant.
    fn stands_for(
        &self,
        rtype: RrType,
        record: &Record,
        keys: &SortedSet,
        is_meant: fn(&Key) -> bool,
    ) -> bool {
        let data = |record| self.sorted.records.rdata(record);
        let mut keys = self.sorted.records(keys).map(data);
        keys.any(|key| {
            let is_same = match rtype {
                RrType::CDS => self.is_of(record, key),
                _ => data(record) == key,
            };
            is_same && Key::read(key).is_some_and(|key| is_meant(&key))
        })
    }

    fn is_of(&self, digest: &Record, key: &[u8]) -> bool {
        let apex = self.sorted.records.names.wire(self.sorted.apex);
        let digest = Digest::read(self.sorted.records.rdata(digest));
        digest.is_some_and(|digest| digest.is_of(apex, key))
    }

    /// RFC 8078 §4: what asks the parent to delete the DS set stands alone.
    fn deletion(&self, faults: &mut Faults, set: &SortedSet) {
        let records = || self.sorted.records(set);
        if records().len() > 1
            && let Some(record) = records().find(|record| self.deletes(set.rtype, record))
        {
            let sentence = format!(
                "a {} that deletes the DS set stands beside another; it must be alone \
                (RFC 8078 §4)",
                set.rtype
            );
            faults.warning(record.from, sentence);
        }
    }

    fn deletes(&self, rtype: RrType, record: &Record) -> bool {
        let algorithm = if rtype == RrType::CDS { 2 } else { 3 };
        self.sorted.records.rdata(record).get(algorithm) == Some(&0)
    }
}
