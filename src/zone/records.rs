//! The records of one zone on their way into the store, and what was found
//! wrong with them. Whoever produces records (a master file today) fills this
//! in; sorting, checking and building take it and know nothing of producers.

use std::collections::BTreeSet;

use super::names::{NameId, Names};
use crate::wire::{Name, RrType};

/// Where a record comes from, in its producer's terms: the producer alone can
/// say what the number means. Faults are shown in its order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Provenance(pub u64);

impl Provenance {
    /// Of what is missing.
    pub const START: Provenance = Provenance(0);
    /// Producers leave these bits free.
    const FIELD: u32 = 48;

    /// A field of the data of the record that comes from here, counted from 0.
    #[must_use]
    pub fn field(self, index: usize) -> Provenance {
        let field = (index as u64 + 1).min(0xffff);
        Provenance(self.0 | field << Self::FIELD)
    }

    /// The record's own, and the field of its data that is meant.
    pub fn split(self) -> (Provenance, Option<usize>) {
        let field = (self.0 >> Self::FIELD) as usize;
        let record = Provenance(self.0 & ((1 << Self::FIELD) - 1));
        (record, field.checked_sub(1))
    }
}

/// Origins that are remembered.
const MAX_ORIGINS: usize = 64;

/// One record; its RDATA is `rdata[at..at + length]`.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Whose record it is.
    pub owner: NameId,
    /// Its type.
    pub rtype: RrType,
    /// Seconds, at most 2^31-1.
    pub ttl: u32,
    /// Octets of RDATA.
    pub length: u16,
    /// Where its RDATA starts.
    pub at: usize,
    /// Where it comes from.
    pub from: Provenance,
}

/// All records of one zone.
#[derive(Default)]
pub struct Records {
    /// The names that were met as owners.
    pub names: Names,
    /// The records in the order in which they came.
    pub list: Vec<Record>,
    /// All RDATA, valid, names in it uncompressed and in their own case.
    pub rdata: Vec<u8>,
    /// Faults found so far.
    pub faults: Faults,
    /// What there is besides and could not be read.
    pub unread: Unread,
    /// What is taken for the zone's name where no SOA tells.
    pub likely_apex: Option<Name>,
    /// What relative names were completed with, each once.
    pub origins: Vec<Name>,
}

impl Records {
    /// Notes what relative names are completed with.
    pub fn add_origin(&mut self, origin: Name) {
        // Whoever changes it thousands of times is not told of names that end in it
        // twice.
        if self.origins.len() < MAX_ORIGINS && !self.origins.contains(&origin) {
            self.origins.push(origin);
        }
    }

    /// The RDATA of one record.
    pub fn rdata(&self, record: &Record) -> &[u8] {
        &self.rdata[record.at..record.at + record.length as usize]
    }
}

/// What stands where something could not be read, so that nobody misses what
/// is there.
#[derive(Debug, Default)]
pub struct Unread {
    types: BTreeSet<RrType>,
    records: usize,
    /// The owner of a SOA that could not be read.
    pub soa_owner: Option<NameId>,
    anything: bool,
}

impl Unread {
    /// True where a record of this type may be among what could not be read.
    pub fn may_hold(&self, rtype: RrType) -> bool {
        self.anything || self.types.contains(&rtype)
    }

    /// True where everything could be read.
    pub fn is_nothing(&self) -> bool {
        !self.anything && self.records == 0
    }

    /// Notes that a record of this type, if it has one, could not be read.
    pub fn note(&mut self, rtype: Option<RrType>, owner: Option<NameId>) {
        self.records += 1;
        self.types.extend(rtype);
        if rtype == Some(RrType::SOA) {
            self.soa_owner = self.soa_owner.or(owner);
        }
    }

    /// Notes that nobody knows what could not be read.
    pub fn note_anything(&mut self) {
        self.anything = true;
    }
}

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The zone cannot be served.
    Error,
    /// The zone can be served; someone should look at it.
    Warning,
}

/// Faults of a severity that are told. What is no zone file at all has one on each
/// line.
const MAX_TOLD: usize = 100_000;

/// What was found, before its producer shows it.
#[derive(Debug, Default)]
pub struct Faults {
    list: Vec<(Severity, Provenance, String)>,
    errors: usize,
    warnings: usize,
    kept: Kept,
}

/// Which faults are kept.
#[derive(Debug, Default)]
enum Kept {
    /// As many as are told.
    #[default]
    Told,
    /// All, until they are added to others.
    All,
    /// The first.
    First,
}

impl Faults {
    /// None yet, of a part of a zone.
    pub fn of_part() -> Faults {
        Faults {
            kept: Kept::All,
            ..Faults::default()
        }
    }

    /// None yet, of which the first will stand for all.
    pub fn of_one_kind() -> Faults {
        Faults {
            kept: Kept::First,
            ..Faults::default()
        }
    }

    /// Adds those of a part, as if they had been noted here.
    pub fn append(&mut self, part: Faults) {
        for (severity, from, sentence) in part.list {
            match severity {
                Severity::Error => self.error(from, sentence),
                Severity::Warning => self.warning(from, sentence),
            }
        }
    }

    /// Notes a fault that makes the zone unfit to be served.
    pub fn error(&mut self, from: impl Into<Provenance>, sentence: impl Into<String>) {
        self.errors += 1;
        self.add(Severity::Error, self.errors, from.into(), sentence.into());
    }

    /// Notes a fault that the zone can be served with.
    pub fn warning(&mut self, from: impl Into<Provenance>, sentence: impl Into<String>) {
        self.warnings += 1;
        let count = self.warnings;
        self.add(Severity::Warning, count, from.into(), sentence.into());
    }

    /// Keeps the fault that is number `count` of its severity.
    fn add(&mut self, severity: Severity, count: usize, from: Provenance, sentence: String) {
        let is_kept = match self.kept {
            Kept::All => true,
            Kept::First => self.list.is_empty(),
            Kept::Told => count <= MAX_TOLD,
        };
        if !is_kept {
            return;
        }
        let sentence = match self.kept {
            Kept::Told if count == MAX_TOLD => {
                format!("{sentence}; this is number {MAX_TOLD}, and no more are told")
            }
            _ => sentence,
        };
        self.list.push((severity, from, sentence));
    }

    /// Faults noted so far.
    pub fn count(&self) -> usize {
        self.errors + self.warnings
    }

    /// Errors noted so far.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// All of them, as they came.
    pub fn into_list(self) -> Vec<(Severity, Provenance, String)> {
        self.list
    }
}
