//! The reply as it grows: header, question, then record sets one behind the
//! other, whole or not at all, with room kept for the OPT record. What does
//! not fit sets TC, unless the reply can do without it.

use super::edns::{Edns, ExtendedError, OPT, OptReply};
use super::query::{Header, Query};
use super::{MAX_MESSAGE, MIN_UDP, Outcome, Settings, Via};
use crate::wire::header::{HEADER, flag};
use crate::wire::{Cursor, Key, Rcode};
use crate::zone::store::{Composed, RECORD_HEAD, Set};

/// A name that stands in the reply in one piece: the question's, or the target
/// of an alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Where it starts.
    pub at: usize,
    /// Its octets.
    pub length: usize,
}

/// A reply under construction.
pub struct Reply<'o, 's> {
    out: &'o mut [u8],
    at: usize,
    /// Where records must end, so that the OPT record still fits.
    room: usize,
    /// Where the reply must end.
    limit: usize,
    header: Header,
    counts: [u16; 3],
    edns: Option<Edns>,
    nsid: Option<&'s [u8]>,
    error: Option<ExtendedError>,
    settings: &'s Settings,
    truncated: bool,
    /// The AA bit.
    pub authoritative: bool,
}

/// The sections behind the question.
#[derive(Clone, Copy)]
enum Section {
    Answer = 0,
    Authority = 1,
    Additional = 2,
}

impl<'o, 's> Reply<'o, 's> {
    /// Copies the question as it was asked and settles how long the reply may
    /// get. `out` has room for the longest reply on this way in.
    #[inline(always)]
    pub fn begin(
        query: &Query,
        request: &[u8],
        settings: &'s Settings,
        via: Via,
        out: &'o mut [u8],
    ) -> Self {
        let client = query
            .edns
            .map_or(MIN_UDP, |edns| usize::from(edns.size).max(MIN_UDP));
        let limit = match via {
            Via::Udp(_) => client.min(settings.edns_size.into()),
            Via::Tcp => MAX_MESSAGE,
        };
        let limit = limit.min(out.len());
        let asked = query
            .edns
            .is_some_and(|edns| edns.nsid && edns.version == 0);
        let nsid = (asked && !settings.identity.is_empty()).then_some(&settings.identity[..]);
        let at = HEADER + usize::from(query.question_length);
        out[HEADER..at].copy_from_slice(&request[HEADER..at]);
        // NSID goes where it fits: a client asks for the answer first.
        let opt = if query.edns.is_some() { OPT } else { 0 };
        Reply {
            out,
            at,
            room: limit - opt,
            limit,
            header: query.header,
            counts: [0; 3],
            edns: query.edns,
            nsid,
            error: None,
            settings,
            truncated: false,
            authoritative: false,
        }
    }

    /// Says more about the reply, to clients that speak EDNS.
    pub fn explain(&mut self, error: ExtendedError) {
        self.error = Some(error);
    }

    /// Adds a set that `owner` owns, with its addresses. True where it fitted.
    #[inline]
    pub fn answer(&mut self, set: &Set<'_>, owner: Owner) -> bool {
        self.place(set, owner, Section::Answer)
    }

    /// Adds the set of a name above `owner`, or of `owner` itself, to the
    /// answer.
    pub fn answer_above(&mut self, set: &Set<'_>, owner: Owner) -> bool {
        self.place(set, owner.end(set.owner_length()), Section::Answer)
    }

    /// Adds the set of a name above `owner`, or of `owner` itself, to the
    /// authority section.
    pub fn authority(&mut self, set: &Set<'_>, owner: Owner) -> bool {
        self.place(set, owner.end(set.owner_length()), Section::Authority)
    }

    /// Adds one record by hand to the answer, `owner` as a pointer. `fixed` is
    /// type, class and TTL. True where it fitted.
    pub fn record(&mut self, owner: usize, fixed: &[u8; 8], data: [&[u8]; 2]) -> bool {
        let length = data[0].len() + data[1].len();
        let end = self.at + RECORD_HEAD + length;
        if end > self.room {
            self.truncated = true;
            return false;
        }
        let place = &mut self.out[self.at..end];
        place[..2].copy_from_slice(&pointer(owner));
        place[2..10].copy_from_slice(fixed);
        place[10..RECORD_HEAD].copy_from_slice(&(length as u16).to_be_bytes());
        let (first, second) = place[RECORD_HEAD..].split_at_mut(data[0].len());
        first.copy_from_slice(data[0]);
        second.copy_from_slice(data[1]);
        self.at = end;
        self.count(Section::Answer, 1);
        true
    }

    /// Octets written so far.
    pub fn length(&self) -> usize {
        self.at
    }

    /// What was written from `at` on.
    pub fn written(&self, at: usize) -> &[u8] {
        &self.out[at..self.at]
    }

    /// Writes the header and the OPT record.
    #[inline(always)]
    pub fn finish(mut self, rcode: Rcode) -> Outcome {
        if let Some(edns) = self.edns {
            self.finish_edns(edns, rcode);
        }
        let aa = if self.authoritative { flag::AA } else { 0 };
        let tc = if self.truncated { flag::TC } else { 0 };
        let flags = flag::QR | aa | tc | self.header.flags & flag::RD | rcode.low();
        let [answers, authorities, additional] = self.counts;
        write_header(
            self.out,
            [self.header.id, flags, 1, answers, authorities, additional],
        );
        Outcome::Replied {
            length: self.at,
            rcode,
            truncated: self.truncated,
        }
    }

    #[inline]
    fn finish_edns(&mut self, edns: Edns, rcode: Rcode) {
        let mut reply = OptReply {
            rcode,
            size: self.settings.edns_size,
            nsid: self.nsid,
            error: self.error,
        };
        // Explanations and names are worth something, but not a longer reply.
        if self.at + reply.octets() > self.limit {
            reply.error = None;
        }
        if self.at + reply.octets() > self.limit {
            reply.nsid = None;
        }
        self.at += edns.write(&mut self.out[self.at..], &reply);
        self.count(Section::Additional, 1);
    }

    /// Copies a set, and as much of its extra part as fits, to the end of the
    /// reply. Where the reply is not the one it was composed for, its pointers
    /// are moved.
    #[inline(always)]
    fn place(&mut self, set: &Set<'_>, owner: Owner, section: Section) -> bool {
        let start = self.at;
        let free = self.room.saturating_sub(start);
        let composed = set.open();
        if composed.answer_length > free {
            self.truncated = true;
            return false;
        }
        let mut length = composed.body.len();
        let mut extra_count = composed.extra_count;
        if length > free {
            (length, extra_count) = whole_sets(&composed, free);
            // RFC 9471 §3.1: a referral without this glue leads nowhere.
            self.truncated |= length - composed.answer_length < composed.extra_required;
        }
        self.at += length;
        self.out[start..self.at].copy_from_slice(&composed.body[..length]);
        if owner.at != HEADER || start != set.composed_at() {
            self.move_pointers(set, owner, start);
        }
        self.count(section, composed.count);
        self.count(Section::Additional, extra_count);
        true
    }

    /// Turns a set composed for its own question into one for where it stands
    /// now: `owner` is where the name of its records is, `start` where it was
    /// copied to.
    fn move_pointers(&mut self, set: &Set<'_>, owner: Owner, start: usize) {
        let composed = set.open();
        let body = &mut self.out[start..self.at];
        let mut at = 0;
        while at < composed.answer_length {
            body[at..at + 2].copy_from_slice(&pointer(owner.at));
            let length = u16::from_be_bytes([body[at + 10], body[at + 11]]);
            at += RECORD_HEAD + usize::from(length);
        }
        // Names end where they ended; at a wildcard the owner has grown.
        let owner_end = owner.at + owner.length;
        let composed_end = HEADER + set.owner_length();
        let length = body.len();
        for at in composed.pointers().take_while(|at| *at < length) {
            let target = usize::from(u16::from_be_bytes([body[at], body[at + 1]]) & 0x3fff);
            let moved = if target < composed_end {
                target + owner_end - composed_end
            } else {
                target + start - set.composed_at()
            };
            body[at..at + 2].copy_from_slice(&pointer(moved));
        }
    }

    #[inline]
    fn count(&mut self, section: Section, records: u16) {
        self.counts[section as usize] += records;
    }
}

impl Owner {
    /// The name of the question, which `key` is set to.
    #[inline]
    pub fn question(key: &Key) -> Owner {
        Owner {
            at: HEADER,
            length: key.length(),
        }
    }

    /// The last `length` octets of the name: a name above it.
    fn end(self, length: usize) -> Owner {
        Owner {
            at: self.at + self.length - length,
            length,
        }
    }
}

/// A reply of a header, and an OPT record where there was one, for requests
/// whose rest means nothing.
pub fn header_only(
    header: Header,
    rcode: Rcode,
    edns: Option<Edns>,
    settings: &Settings,
    out: &mut [u8],
) -> Outcome {
    let flags = flag::QR | header.flags & (flag::OPCODE | flag::RD) | rcode.low();
    let mut length = HEADER;
    if let Some(edns) = edns {
        let reply = OptReply {
            rcode,
            size: settings.edns_size,
            nsid: None,
            error: None,
        };
        length += edns.write(&mut out[HEADER..], &reply);
    }
    write_header(out, [header.id, flags, 0, 0, 0, u16::from(edns.is_some())]);
    Outcome::Replied {
        length,
        rcode,
        truncated: false,
    }
}

#[inline]
fn write_header(out: &mut [u8], words: [u16; 6]) {
    let mut octets = [0; HEADER];
    for (place, word) in octets.as_chunks_mut().0.iter_mut().zip(words) {
        *place = word.to_be_bytes();
    }
    out[..HEADER].copy_from_slice(&octets);
}

#[inline]
fn pointer(target: usize) -> [u8; 2] {
    debug_assert!(target <= 0x3fff, "composed so that pointers reach");
    (0xc000 | target as u16).to_be_bytes()
}

/// How much of a set's body fits into `free` octets without cutting through a
/// record set, and how many extra records that leaves.
fn whole_sets(set: &Composed<'_>, free: usize) -> (usize, u16) {
    let extra = &set.body[set.answer_length..];
    let mut rest = Cursor::new(extra);
    let (mut fitting, mut records, mut fitting_records) = (0, 0, 0);
    let mut last: Option<(&[u8], &[u8])> = None;
    while !rest.is_empty() {
        let before = rest.rest();
        let used = extra.len() - before.len();
        let Some(head) = take_record(&mut rest) else {
            break;
        };
        if last.is_some_and(|last| last != head) {
            (fitting, fitting_records) = (used, records);
        }
        if set.answer_length + extra.len() - rest.rest().len() > free {
            return (set.answer_length + fitting, fitting_records);
        }
        last = Some(head);
        records += 1;
    }
    (set.body.len(), set.extra_count)
}

/// Takes a record; returns its owner and its type as they are written.
fn take_record<'m>(rest: &mut Cursor<'m>) -> Option<(&'m [u8], &'m [u8])> {
    let before = rest.rest();
    rest.skip_name()?;
    let owner = &before[..before.len() - rest.rest().len()];
    let rtype = rest.take(2)?;
    rest.take(6)?;
    let length = rest.u16()?;
    rest.take(length.into())?;
    Some((owner, rtype))
}
