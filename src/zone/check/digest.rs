//! The digest of a whole zone (RFC 8976). Whoever puts one in says that the zone is
//! this and nothing else, so that a zone which is not is refused, as Knot does with
//! `zonemd-verify`: it may have been cut short or changed on its way. One whose
//! digests are all of kinds that nobody knows is as good as one without (§4).
//!
//! That the digest itself is signed, and by whom, is not asked for (§4 step 1 to 3):
//! the server holds nobody's keys for true. `check --dnssec` verifies its signature
//! as it does all others.

use ring::digest::{Algorithm, Context, SHA384, SHA512};

use super::super::denial::in_order;
use super::super::names::NameId;
use super::super::records::{Faults, Record};
use super::super::sorted::{Occlusion, Sorted};
use super::Checker;
use crate::wire::{Cursor, RrType, rdata};

/// The only scheme that is defined: all records, in canonical order (§3.3).
const SIMPLE: u8 = 1;
/// Hash algorithms (§5.3).
const HASHES: [(u8, &Algorithm); 2] = [(1, &SHA384), (2, &SHA512)];
/// Fields of ZONEMD, but for the digest itself.
const SERIAL: usize = 0;
const DIGEST: usize = 3;

/// The data of a ZONEMD record, in parts.
struct Claim<'r> {
    record: &'r Record,
    serial: u32,
    scheme: u8,
    hash: u8,
    digest: &'r [u8],
}

impl<'r> Claim<'r> {
    fn read(record: &'r Record, data: &'r [u8]) -> Option<Claim<'r>> {
        let mut rest = Cursor::new(data);
        Some(Claim {
            record,
            serial: rest.u32()?,
            scheme: rest.u8()?,
            hash: rest.u8()?,
            digest: rest.rest(),
        })
    }

    fn algorithm(&self) -> Option<&'static Algorithm> {
        let mut known = HASHES.iter().filter(|_| self.scheme == SIMPLE);
        let (_, algorithm) = known.find(|(number, _)| *number == self.hash)?;
        Some(algorithm)
    }
}

impl Checker<'_> {
    /// Holds the zone against its digests: one that is right is enough (§4 step 5).
    pub(super) fn digests(&self, faults: &mut Faults) {
        let sorted = self.sorted;
        let set = sorted.set(sorted.apex, RrType::ZONEMD);
        let Some(set) = set.filter(|_| sorted.records.unread.is_nothing()) else {
            return;
        };
        let data = |record| sorted.records.rdata(record);
        let all = || {
            let records = sorted.records(set);
            records.filter_map(|record| Claim::read(record, data(record)))
        };
        let mut wrong: Vec<(&Claim, String)> = Vec::new();
        let known: Vec<Claim> = all().filter(|claim| claim.algorithm().is_some()).collect();
        for claim in &known {
            let kind = (claim.scheme, claim.hash);
            // Two of a kind are none (§4 step 5a, §2.2).
            if all()
                .filter(|other| (other.scheme, other.hash) == kind)
                .count()
                > 1
            {
                let sentence = "a second ZONEMD of this scheme and hash; neither counts";
                wrong.push((claim, sentence.into()));
            } else if claim.serial != self.serial() {
                let sentence = format!(
                    "ZONEMD is for the serial {}, and the zone has {} (RFC 8976 §4)",
                    claim.serial,
                    self.serial()
                );
                wrong.push((claim, sentence));
            } else if claim
                .algorithm()
                .map(|hash| digest(sorted, hash))
                .as_deref()
                == Some(claim.digest)
            {
                return;
            } else {
                let sentence = "ZONEMD is not the digest of this zone: it was changed after that \
                    was made, or is not whole (RFC 8976 §4)";
                wrong.push((claim, sentence.into()));
            }
        }
        if known.is_empty() {
            let sentence = "no ZONEMD of a scheme and a hash that are known (1; 1 or 2): the zone \
                is taken as one without (RFC 8976 §4)";
            faults.warning(self.first(set).from, sentence);
        }
        for (claim, sentence) in wrong {
            let field = if claim.serial == self.serial() {
                DIGEST
            } else {
                SERIAL
            };
            faults.error(claim.record.from.field(field), sentence);
        }
    }

    fn serial(&self) -> u32 {
        let soa = self.sorted.set(self.sorted.apex, RrType::SOA);
        let data = soa.map(|soa| self.sorted.records.rdata(self.first(soa)));
        let numbers = data.and_then(|data| data.last_chunk::<20>());
        numbers.map_or(0, |numbers| u32::from_be_bytes(numbers.as_chunks().0[0]))
    }
}

/// The digest of all records, each once, in canonical order and form (§3.3.1): those
/// that a cut hides are among them, the digests themselves and their signatures are
/// not. Sorting has dropped what is there twice.
fn digest(sorted: &Sorted, algorithm: &'static Algorithm) -> Vec<u8> {
    let names = &sorted.records.names;
    let inside = |id: &NameId| sorted.occlusion(*id) != Occlusion::Outside;
    let owners = names.ids().filter(inside).map(|id| (names.wire(id), id));
    let mut context = Context::new(algorithm);
    for (name, id) in in_order(owners.collect(), names.wire(sorted.apex).len()) {
        for set in sorted.sets(id) {
            let is_digest = [set.rtype, set.covered].contains(&RrType::ZONEMD);
            if is_digest && id == sorted.apex {
                continue;
            }
            let records = sorted.records(set).map(|record| {
                let mut octets = sorted.records.rdata(record).to_vec();
                rdata::make_canonical(set.rtype, &mut octets);
                (octets, record.ttl)
            });
            let mut records: Vec<(Vec<u8>, u32)> = records.collect();
            records.sort_unstable();
            for (octets, ttl) in records {
                context.update(name);
                context.update(&set.rtype.0.to_be_bytes());
                context.update(&CLASS_IN);
                context.update(&ttl.to_be_bytes());
                context.update(&(octets.len() as u16).to_be_bytes());
                context.update(&octets);
            }
        }
    }
    context.finish().as_ref().to_vec()
}

const CLASS_IN: [u8; 2] = [0, 1];
