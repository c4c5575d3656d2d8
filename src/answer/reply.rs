//! The reply as it grows: header, question, then record sets one behind the
//! other, whole or not at all, with room kept for the OPT record. What does
//! not fit sets TC, unless the reply can do without it. `signed` is what replies with
//! signatures need besides.

mod signed;

use super::cookie::{self, Cookie};
use super::edns::{COOKIE_OPTION, Edns, ExtendedError, OPT, ReplyOptions};
use super::query::Query;
use super::terms::{MAX_MESSAGE, MIN_UDP, Notes, Outcome, Request, Settings, Source, Via};
use crate::wire::header::{HEADER, flag};
use crate::wire::name::wire_length;
use crate::wire::octets;
use crate::wire::{Cursor, LookupName, Rcode, RrType};
use crate::zone::store::{Composed, QUESTION_TAIL, RECORD_HEAD, Set};

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
pub struct Reply<'o> {
    out: &'o mut [u8],
    at: usize,
    /// Where records must end, so that the OPT record still fits.
    room: usize,
    /// The header's flags as they will be sent, and what else is to be known.
    notes: Notes,
    /// The header's four counts as it has them, that of questions on top.
    counts: u64,
    error: Option<ExtendedError>,
}

/// The set that was to be sent fits into no message.
#[derive(Clone, Copy, Debug)]
pub struct Oversized;

/// The sections behind the question, and where their counts are in the four.
#[derive(Clone, Copy)]
enum Section {
    Answer = 32,
    Authority = 16,
    Additional = 0,
}

/// The counts of a reply without records.
const ONE_QUESTION: u64 = 1 << 48;

impl<'o> Reply<'o> {
    /// Copies the question as it was asked and settles how long the reply may
    /// get. `name` is set to its name; `out` has room for the longest reply on
    /// this way in.
    #[inline(always)]
    pub fn begin(
        query: &Query,
        name: &LookupName,
        request: &Request<'_>,
        out: &'o mut [u8],
    ) -> Self {
        let client = query.edns.map_or(MIN_UDP, Edns::size);
        let most = match request.via {
            Via::Udp(_) => client,
            Via::Tcp => MAX_MESSAGE,
        };
        let limit = most.min(out.len());
        let opt = if query.edns.is_some() { OPT } else { 0 };
        let at = HEADER + name.length() + QUESTION_TAIL;
        // The header too, for the ID; the rest of it is written at the end.
        octets::copy(&mut out[..at], &request.octets[..at]);
        Reply {
            out,
            at,
            room: limit - opt,
            notes: Notes::new(flag::QR | query.flags & flag::RD),
            counts: ONE_QUESTION,
            error: None,
        }
    }

    /// Keeps room for a COOKIE option, so that no record takes its place. Where
    /// that is shows at the end; until then it waits behind all.
    pub fn keep_cookie(&mut self, cookie: Cookie, ours: &[u8; cookie::BOTH]) {
        self.room -= COOKIE_OPTION;
        self.out[self.room + OPT..][..cookie::BOTH].copy_from_slice(ours);
        self.notes = self.notes.with_cookie(cookie);
    }

    /// `set_source` where it has not been set.
    #[inline]
    pub fn begin_source(&mut self, source: Source) {
        self.notes.begin_source(source);
    }

    /// Says what the reply is made from, where that is not the name's own records.
    #[inline]
    pub fn set_source(&mut self, source: Source) {
        self.notes = self.notes.with_source(source);
    }

    /// Has the client come again by TCP.
    pub fn set_tc(&mut self) {
        self.notes.set(flag::TC);
    }

    /// What is to be known of the reply besides.
    pub fn notes(&self) -> Notes {
        self.notes
    }

    /// Sets or clears the AA bit.
    #[inline]
    pub fn set_aa(&mut self, authoritative: bool) {
        self.notes.clear(flag::AA);
        if authoritative {
            self.notes.set(flag::AA);
        }
    }

    /// Says more about the reply, to clients that speak EDNS.
    pub fn set_ede(&mut self, error: ExtendedError) {
        self.error = Some(error);
    }

    /// Adds a set that `owner` owns, with its addresses. True where it fitted.
    ///
    /// # Errors
    ///
    /// A set that no message has room for.
    #[inline(always)]
    pub fn answer(&mut self, set: &Set<'_>, owner: Owner) -> Result<bool, Oversized> {
        // Records right behind their own question are right as they lie.
        if let Some((count, body)) = set.verbatim()
            && owner.at == HEADER
            && self.at + body.len() <= self.room
        {
            let start = self.at;
            self.at += body.len();
            octets::copy(&mut self.out[start..self.at], body);
            self.count(Section::Answer, count);
            return Ok(true);
        }
        self.place(*set, owner, Section::Answer)
    }

    /// Adds the set of a name above `owner`, or of `owner` itself, to the
    /// answer.
    ///
    /// # Errors
    ///
    /// As `answer`.
    pub fn answer_above(&mut self, set: &Set<'_>, owner: Owner) -> Result<bool, Oversized> {
        self.place(*set, owner.end(set.owner_length()), Section::Answer)
    }

    /// Adds the set of a name above `owner`, or of `owner` itself, to the
    /// authority section.
    ///
    /// # Errors
    ///
    /// As `answer`.
    pub fn authority(&mut self, set: &Set<'_>, owner: Owner) -> Result<bool, Oversized> {
        self.place(*set, owner.end(set.owner_length()), Section::Authority)
    }

    /// Adds the signatures that cover a set which `owner` owns, or of a set of
    /// signatures itself, to the answer. True where they fitted.
    pub fn signatures(&mut self, set: &Set<'_>, owner: Owner) -> bool {
        let composed = set.open();
        let (octets, count) = match set.rtype() {
            RrType::RRSIG => (composed.answer, composed.count),
            _ => (composed.signatures, composed.signature_count),
        };
        let start = self.at;
        if octets.len() > self.room.saturating_sub(start) {
            self.notes.set(flag::TC);
            return false;
        }
        self.append(octets);
        self.point_owners(start, self.at, owner);
        self.count(Section::Answer, count);
        true
    }

    /// Takes back all but the question: the server cannot answer it.
    #[cold]
    #[inline(never)]
    pub fn fail(&mut self) -> Rcode {
        let name = wire_length(&self.out[HEADER..]).expect("the question begins with a name");
        self.at = HEADER + name + QUESTION_TAIL;
        self.counts = ONE_QUESTION;
        self.notes.clear(flag::AA | flag::TC);
        self.set_source(Source::Zone);
        Rcode::ServFail
    }

    /// Takes back all but the header: the question is none.
    #[cold]
    #[inline(never)]
    pub fn malformed(&mut self) -> Rcode {
        (self.at, self.counts) = (HEADER, 0);
        self.notes.clear(flag::AA);
        self.set_source(Source::Server);
        Rcode::FormErr
    }

    /// Adds one record by hand to the answer, `owner` as a pointer. `fixed` is
    /// type, class and TTL. True where it fitted.
    pub fn record(&mut self, owner: usize, fixed: &[u8; 8], data: [&[u8]; 2]) -> bool {
        let length = data[0].len() + data[1].len();
        let end = self.at + RECORD_HEAD + length;
        if end > self.room {
            let _ = self.leave_out();
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

    /// Writes the header and, where the query came with one, an OPT record.
    #[inline(always)]
    pub fn finish(&mut self, rcode: Rcode, edns: Option<Edns>, settings: &Settings) -> Outcome {
        if let Some(edns) = edns {
            self.finish_edns(edns, rcode, settings);
        }
        let flags = self.notes.flags() | rcode.low();
        let header = &mut self.out[..HEADER];
        header[2..4].copy_from_slice(&flags.to_be_bytes());
        header[4..].copy_from_slice(&self.counts.to_be_bytes());
        Outcome::Replied {
            length: self.at,
            rcode,
            notes: self.notes,
        }
    }

    #[inline(always)]
    fn finish_edns(&mut self, edns: Edns, rcode: Rcode, settings: &Settings) {
        let mut options = 0;
        if self.error.is_some() || edns.is_unusual() {
            options = self.write_options(edns, settings);
        }
        let end = self.at + OPT;
        let opt = edns.reply(rcode, settings.edns_size, options as u16);
        self.out[self.at..end].copy_from_slice(&opt);
        self.at = end + options;
        self.count(Section::Additional, 1);
    }

    /// Writes what follows the OPT record; returns its octets. There is room for a
    /// cookie. The rest is worth something, but not a longer reply: it goes where it
    /// fits, how long the connection lasts first, then the name, then explanations.
    #[cold]
    #[inline(never)]
    fn write_options(&mut self, edns: Edns, settings: &Settings) -> usize {
        let identity = &settings.identity[..];
        let is_known = edns.version == 0;
        let asked = edns.asks_for_nsid() && is_known && !identity.is_empty();
        let asks_how_long = edns.asks_for_keepalive() && is_known;
        let mut ours = [0; cookie::BOTH];
        let mut room = self.room;
        if self.notes.cookie() != Cookie::None {
            ours.copy_from_slice(&self.out[room + OPT..][..cookie::BOTH]);
            room += COOKIE_OPTION;
        }
        let mut options = ReplyOptions {
            cookie: (room != self.room).then_some(&ours),
            keepalive: settings.keepalive().filter(|_| asks_how_long),
            nsid: asked.then_some(identity),
            error: self.error,
        };
        if self.at + options.octets() > room {
            options.error = None;
        }
        if self.at + options.octets() > room {
            options.nsid = None;
        }
        if self.at + options.octets() > room {
            options.keepalive = None;
        }
        options.write(&mut self.out[self.at + OPT..]);
        options.octets()
    }

    /// Copies a set, and as much of its additional part as fits, to the end of the
    /// reply. Where the reply is not the one it was composed for, its pointers
    /// are moved.
    #[inline(never)]
    fn place(&mut self, set: Set<'_>, owner: Owner, section: Section) -> Result<bool, Oversized> {
        if set.is_oversized() {
            return Err(Oversized);
        }
        let start = self.at;
        let free = self.room.saturating_sub(start);
        if let Some((count, records)) = set.verbatim()
            && records.len() <= free
        {
            self.append(records);
            self.point_owners(start, self.at, owner);
            self.count(section, count);
            return Ok(true);
        }
        let composed = set.open();
        let Some(left) = free.checked_sub(composed.answer.len()) else {
            return self.leave_out();
        };
        let mut additional = composed.additional;
        let mut additional_count = composed.additional_count;
        if additional.len() > left {
            (additional, additional_count) = whole_sets(&composed, left);
        }
        // RFC 9471 §3.1: a referral without this glue leads nowhere.
        if additional.len() < composed.additional_required {
            self.notes.set(flag::TC);
        }
        self.append(composed.answer);
        self.append(additional);
        if owner.at != HEADER || start != set.composed_at() {
            self.move_pointers(&set, &composed, owner, start);
        }
        self.count(section, composed.count);
        self.count(Section::Additional, additional_count);
        Ok(true)
    }

    /// There is no room for a set. A client that came by UDP may come again by
    /// TCP, and one that came by TCP has nowhere to go.
    #[cold]
    fn leave_out(&mut self) -> Result<bool, Oversized> {
        self.notes.set(flag::TC);
        match self.room + OPT + COOKIE_OPTION < MAX_MESSAGE {
            true => Ok(false),
            false => Err(Oversized),
        }
    }

    #[inline(always)]
    fn append(&mut self, octets: &[u8]) {
        let start = self.at;
        self.at += octets.len();
        octets::copy(&mut self.out[start..self.at], octets);
    }

    /// Turns a set composed for its own question into one for where it stands
    /// now: `owner` is where the name of its records is, `start` where it was
    /// copied to.
    #[inline(never)]
    fn move_pointers(
        &mut self,
        set: &Set<'_>,
        composed: &Composed<'_>,
        owner: Owner,
        start: usize,
    ) {
        self.point_owners(start, start + composed.answer.len(), owner);
        let body = &mut self.out[start..self.at];
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

    /// Has the records from `at` to `end`, whose owners are pointers, begin with
    /// one to `owner`.
    fn point_owners(&mut self, mut at: usize, end: usize, owner: Owner) {
        while at < end {
            self.out[at..at + 2].copy_from_slice(&pointer(owner.at));
            let length = u16::from_be_bytes([self.out[at + 10], self.out[at + 11]]);
            at += RECORD_HEAD + usize::from(length);
        }
    }

    #[inline]
    fn count(&mut self, section: Section, records: u16) {
        // A message is too short for as many records as would carry over.
        self.counts += u64::from(records) << section as u32;
    }
}

impl Owner {
    /// The name of the question, which `name` is set to.
    #[inline]
    pub fn question(name: &LookupName) -> Owner {
        Owner {
            at: HEADER,
            length: name.length(),
        }
    }

    /// The last `length` octets of the name: a name above it.
    pub fn end(self, length: usize) -> Owner {
        Owner {
            at: self.at + self.length - length,
            length,
        }
    }
}

#[inline]
fn pointer(target: usize) -> [u8; 2] {
    debug_assert!(target <= 0x3fff, "composed so that pointers reach");
    (0xc000 | target as u16).to_be_bytes()
}

/// As much of a set's additional part as fits into `free` octets without cutting
/// through a record set, and how many records that are.
#[cold]
#[inline(never)]
fn whole_sets<'z>(set: &Composed<'z>, free: usize) -> (&'z [u8], u16) {
    let mut rest = Cursor::new(set.additional);
    let (mut fitting, mut records, mut fitting_records) = (0, 0, 0);
    let mut last: Option<(&[u8], RrType)> = None;
    while !rest.is_empty() {
        let used = set.additional.len() - rest.rest().len();
        let Some(record) = rest.record() else {
            break;
        };
        let head = (record.owner, record.rtype);
        if last.is_some_and(|last| last != head) {
            (fitting, fitting_records) = (used, records);
        }
        if set.additional.len() - rest.rest().len() > free {
            return (&set.additional[..fitting], fitting_records);
        }
        last = Some(head);
        records += 1;
    }
    (set.additional, set.additional_count)
}
