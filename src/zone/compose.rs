//! One record set -> the octets that answer for it, compressed against the
//! question it will stand behind and against itself (RFC 1035 §4.1.4). Only
//! names in the data of the old types are compressed (RFC 3597 §4); the names
//! of other types may still be pointed at by owner names further down.

use super::store::{FURTHEST_MOVE, NewSet, QUESTION_TAIL, put_record_head};
use crate::wire::field::Kind;
use crate::wire::header::HEADER;
use crate::wire::name::MAX_NAME;
use crate::wire::rdata;
use crate::wire::{LookupName, RrType};

/// Compression pointers have 14 bits, and targets may move.
const FURTHEST_TARGET: usize = 0x3fff - FURTHEST_MOVE;
/// Names that are remembered as targets. Each later name is compared with all
/// of them; large sets gain little from more.
const MAX_SEEN: usize = 256;
/// A message ends at 65,535 octets, an OPT record of 11 included.
const MAX_BODY: usize = 65_535 - 11;
/// Octets of records, their heads counted, that fit behind any question.
pub const SURE_TO_FIT: usize = MAX_BODY - HEADER - MAX_NAME - QUESTION_TAIL;

/// Composes sets one after another; its buffers are kept.
pub struct Composer {
    out: Vec<u8>,
    pointers: Vec<u16>,
    signatures: Vec<u8>,
    signature_count: u16,
    /// Where `out` starts in the message it is composed for.
    base: usize,
    seen: Vec<Seen>,
    lowered: Vec<u8>,
    name: LookupName,
    rtype: RrType,
    answer_length: usize,
    additional_required: usize,
    /// A required record has been left out.
    incomplete: bool,
    additional_count: u16,
    count: u16,
}

/// A name, or the end of one, that stands uncompressed in the message.
struct Seen {
    hash: u64,
    lowered: (usize, usize),
    target: u16,
}

impl Composer {
    /// A composer with nothing in it.
    pub fn new() -> Composer {
        Composer {
            out: Vec::new(),
            pointers: Vec::new(),
            signatures: Vec::new(),
            signature_count: 0,
            base: 0,
            seen: Vec::new(),
            lowered: Vec::new(),
            name: LookupName::new(),
            rtype: RrType(0),
            answer_length: 0,
            additional_required: 0,
            incomplete: false,
            additional_count: 0,
            count: 0,
        }
    }

    /// Begins a set of the owner `owner`, a lower-cased wire name.
    pub fn begin(&mut self, owner: &[u8], rtype: RrType) {
        self.out.clear();
        self.pointers.clear();
        self.signatures.clear();
        self.signature_count = 0;
        self.seen.clear();
        self.lowered.clear();
        self.base = HEADER + owner.len() + QUESTION_TAIL;
        self.rtype = rtype;
        (self.answer_length, self.additional_required) = (0, 0);
        self.incomplete = false;
        (self.additional_count, self.count) = (0, 0);
        // Types without names need no list of what can be pointed at.
        if rdata::has_names(rtype) {
            self.see_owner(owner);
        }
    }

    /// Adds a record of the set. False where the set has outgrown a message.
    #[must_use]
    pub fn record(&mut self, ttl: u32, data: &[u8]) -> bool {
        self.out.extend([0xc0, HEADER as u8]);
        self.data(self.rtype, ttl, data);
        self.count = self.count.wrapping_add(1);
        self.answer_length = self.out.len();
        self.base + self.out.len() <= MAX_BODY
    }

    /// Adds the RRSIG records that cover the set, all of whose records are there;
    /// none and false where a message has no room for them behind it. The signer's
    /// name is never compressed (RFC 4034 §3.1.7), and nothing may point at it,
    /// since not everybody is sent signatures.
    #[must_use]
    pub fn signatures<'r>(&mut self, ttl: u32, records: impl Iterator<Item = &'r [u8]>) -> bool {
        for data in records {
            self.signatures.extend([0xc0, HEADER as u8]);
            let length_at = put_record_head(&mut self.signatures, RrType::RRSIG, ttl);
            let length = (data.len() as u16).to_be_bytes();
            self.signatures[length_at..length_at + 2].copy_from_slice(&length);
            self.signatures.extend_from_slice(data);
            self.signature_count += 1;
            if self.base + self.out.len() + self.signatures.len() > MAX_BODY {
                self.signatures.clear();
                self.signature_count = 0;
                return false;
            }
        }
        true
    }

    /// Adds the address records of `owner` to the additional part: all of a set, or
    /// none where a message has no room for them. Without a required one, no
    /// reply with this set is ever whole.
    pub fn additional<'r>(
        &mut self,
        owner: &[u8],
        rtype: RrType,
        ttl: u32,
        records: impl Iterator<Item = &'r [u8]>,
        required: bool,
    ) {
        let (length, pointers, seen) = (self.out.len(), self.pointers.len(), self.seen.len());
        let mut count = 0;
        for data in records {
            self.name(owner, true);
            self.data(rtype, ttl, data);
            count += 1;
            if self.base + self.out.len() > MAX_BODY {
                self.out.truncate(length);
                self.pointers.truncate(pointers);
                self.seen.truncate(seen);
                self.incomplete |= required;
                return;
            }
        }
        self.additional_count += count;
        if required {
            self.additional_required = self.out.len() - self.answer_length;
        }
    }

    /// The finished set.
    pub fn finish(&self) -> NewSet<'_> {
        NewSet {
            rtype: self.rtype,
            count: self.count,
            answer: &self.out[..self.answer_length],
            signatures: &self.signatures,
            signature_count: self.signature_count,
            additional: &self.out[self.answer_length..],
            additional_required: if self.incomplete {
                u16::MAX
            } else {
                self.additional_required as u16
            },
            additional_count: self.additional_count,
            pointers: &self.pointers,
        }
    }

    fn data(&mut self, rtype: RrType, ttl: u32, data: &[u8]) {
        let length_at = put_record_head(&mut self.out, rtype, ttl);
        let start = self.out.len();
        // A chain of aliases goes on from the target, which must therefore
        // stand in one piece.
        let whole = [RrType::CNAME, RrType::DNAME].contains(&rtype);
        let mut copied = 0;
        rdata::names(rtype, data, |kind, name| {
            self.out.extend_from_slice(&data[copied..name.start]);
            copied = name.end;
            self.name(&data[name], kind == Kind::CompressibleName && !whole);
        });
        self.out.extend_from_slice(&data[copied..]);
        let length = (self.out.len() - start) as u16;
        self.out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    }

    /// Writes a name, by a pointer from where it has been seen on.
    fn name(&mut self, wire: &[u8], compress: bool) {
        let mut name = std::mem::take(&mut self.name);
        let valid = name.set(wire);
        debug_assert!(valid.is_some(), "RDATA was checked when it was read");
        let mut label = 0;
        while label < name.labels() {
            let seen = if compress {
                self.find(&name, label)
            } else {
                None
            };
            if let Some(target) = seen {
                self.pointers.push(self.out.len() as u16);
                self.out.extend((0xc000 | target).to_be_bytes());
                break;
            }
            self.see(&name, label, self.base + self.out.len());
            self.out
                .extend_from_slice(&wire[name.start(label)..name.start(label + 1)]);
            label += 1;
        }
        if label == name.labels() {
            self.out.push(0);
        }
        self.name = name;
    }

    fn find(&self, name: &LookupName, label: usize) -> Option<u16> {
        let (hash, name) = (name.hash_of(label), name.suffix(label));
        let equal = |seen: &&Seen| {
            seen.hash == hash && &self.lowered[seen.lowered.0..seen.lowered.1] == name
        };
        self.seen.iter().find(equal).map(|seen| seen.target)
    }

    fn see(&mut self, name: &LookupName, label: usize, target: usize) {
        if target > FURTHEST_TARGET || self.seen.len() >= MAX_SEEN {
            return;
        }
        // What stands behind signatures moves where they are left out.
        if !self.signatures.is_empty() {
            return;
        }
        let start = self.lowered.len();
        self.lowered.extend_from_slice(name.suffix(label));
        self.seen.push(Seen {
            hash: name.hash_of(label),
            lowered: (start, self.lowered.len()),
            target: target as u16,
        });
    }

    /// The question stands before every answer. At a wildcard it is another
    /// name than the owner; only what follows the asterisk is the same.
    fn see_owner(&mut self, owner: &[u8]) {
        let mut name = std::mem::take(&mut self.name);
        let valid = name.set(owner);
        debug_assert!(valid.is_some(), "owners are names");
        let wildcard = owner.starts_with(b"\x01*");
        for label in usize::from(wildcard)..name.labels() {
            self.see(&name, label, HEADER + name.start(label));
        }
        self.name = name;
    }
}

impl Default for Composer {
    fn default() -> Composer {
        Composer::new()
    }
}
