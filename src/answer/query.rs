//! Request octets -> a query, or the reason why there is none. What is read
//! here is right, and is not checked again.

use super::edns::{Edns, MAX_RECORDS};
use crate::wire::header::{HEADER, flag};
use crate::wire::{Cursor, LookupName, Rcode, RrType};

/// What a reply repeats of a request's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The message ID.
    pub id: u16,
    /// The flags as they came.
    pub flags: u16,
}

/// The counts of questions, answers and authorities of nearly every query.
const QUESTION_ALONE: u64 = 1 << 32;

/// A request that can be answered. Its name is in the `LookupName` it was parsed with.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    /// The header's flags.
    pub flags: u16,
    /// QTYPE.
    pub rtype: RrType,
    /// QCLASS.
    pub class: u16,
    /// The OPT record, if there was one.
    pub edns: Option<Edns>,
}

/// A request that gets no answer from the zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswerable {
    /// A response, or shorter than a header.
    Silence,
    /// A header goes back, with an OPT record if a whole one was read
    /// (RFC 6891 §6.1.1). BADCOOKIE stands for a cookie without a question, for
    /// which the cookie decides.
    Refused(Header, Rcode, Option<Edns>),
}

impl Query {
    /// Reads a request; `name` becomes its name, ready for finding.
    #[inline]
    pub fn parse(request: &[u8], name: &mut LookupName) -> Result<Query, Unanswerable> {
        let Some((head, rest)) = request.split_first_chunk::<HEADER>() else {
            return Err(malformed(request));
        };
        let flags = u16::from_be_bytes([head[2], head[3]]);
        if flags & (flag::QR | flag::OPCODE) != 0 {
            return Err(no_query(request));
        }
        let counts = u64::from_be_bytes(*head.last_chunk::<8>().expect("a header is longer"));
        // RFC 1035 §4.1 and RFC 9619: a query is one question, whole, with
        // nothing behind its last record.
        Query::read(flags, counts, rest, name).ok_or_else(|| malformed(request))
    }

    /// Reads what is behind the header, whose four counts `counts` are.
    #[inline(always)]
    fn read(flags: u16, counts: u64, rest: &[u8], name: &mut LookupName) -> Option<Query> {
        // Only a name without compression is taken.
        name.set(rest)?;
        let (question, rest) = rest.split_at_checked(name.length() + 4)?;
        let [upper, lower, class @ ..] = *question.last_chunk::<4>()?;
        let (rtype, class) = (
            RrType(u16::from_be_bytes([upper, lower])),
            u16::from_be_bytes(class),
        );
        let rest = if counts >> 16 == QUESTION_ALONE {
            rest
        } else {
            skip_to_additional(rest, counts)?
        };
        Some(Query {
            flags,
            rtype,
            class,
            edns: Edns::find(rest, counts as u16).ok()?,
        })
    }
}

/// A request that is broken. It gets a header, with an OPT record where one
/// could be read: "Lack of presence of an OPT record in a response MUST be taken
/// as an indication that the responder does not implement any part of the
/// protocol" (RFC 6891 §7).
#[cold]
#[inline(never)]
fn malformed(request: &[u8]) -> Unanswerable {
    header_with(Rcode::FormErr, request)
}

/// A response, or another kind of request. NOTIFY and UPDATE are laid out as
/// queries are (RFC 1996 §3.7, RFC 2136 §2).
#[cold]
#[inline(never)]
fn no_query(request: &[u8]) -> Unanswerable {
    header_with(Rcode::NotImp, request)
}

fn header_with(rcode: Rcode, request: &[u8]) -> Unanswerable {
    let Some(header) = Header::read(request) else {
        return Unanswerable::Silence;
    };
    match opt(request) {
        // What is wrong in version 0 may be right in that one (RFC 6891 §6.1.3).
        Some((edns, Whole::Yes)) if edns.version > 0 => {
            Unanswerable::Refused(header, Rcode::BadVers, Some(edns))
        }
        Some((edns, Whole::Yes)) if edns.has_cookie() && has_no_question(request) => {
            Unanswerable::Refused(header, Rcode::BadCookie, Some(edns))
        }
        opt => Unanswerable::Refused(header, rcode, opt.map(|(edns, _)| edns)),
    }
}

impl Header {
    /// What a reply repeats, or `None` where there must be no reply: to what is
    /// shorter than a header, and to a response. Two servers that answer each
    /// other's responses never stop.
    fn read(request: &[u8]) -> Option<Header> {
        let mut header = Cursor::new(request.first_chunk::<HEADER>()?);
        let header = Header {
            id: header.u16()?,
            flags: header.u16()?,
        };
        (header.flags & flag::QR == 0).then_some(header)
    }
}

/// True for queries whose QDCOUNT is 0.
fn has_no_question(request: &[u8]) -> bool {
    request[2] & (flag::OPCODE >> 8) as u8 == 0 && request[4..6] == [0, 0]
}

/// Whether a message can be read from its beginning to its end.
enum Whole {
    Yes,
    No,
}

/// The OPT record of a message that is no query, or the first one where it
/// belongs in a message that is broken elsewhere.
fn opt(request: &[u8]) -> Option<(Edns, Whole)> {
    let mut rest = Cursor::new(request);
    rest.take(4)?;
    let (questions, answers) = (rest.u16()?, rest.u16()?);
    let (authorities, additional) = (rest.u16()?, rest.u16()?);
    let before = [questions, answers, authorities].map(u32::from);
    if before.iter().sum::<u32>() > MAX_RECORDS.into() {
        return None;
    }
    for _ in 0..questions {
        rest.skip_name()?;
        rest.take(4)?;
    }
    for _ in 0..answers + authorities {
        skip_record(&mut rest)?;
    }
    match Edns::find(rest.rest(), additional) {
        Ok(edns) => Some((edns?, Whole::Yes)),
        Err(first) => Some((first?, Whole::No)),
    }
}

/// Records that live in messages and in no zone (RFC 6895 §3.1) cannot be
/// asked for, nor a type that only bitmaps tell of (RFC 9824 §3.5).
pub fn is_no_question(rtype: RrType) -> bool {
    matches!(
        rtype,
        RrType::OPT | RrType::NXNAME | RrType::TKEY | RrType::TSIG
    )
}

/// Passes over answers and authorities, which a query may bring.
#[cold]
#[inline(never)]
fn skip_to_additional(rest: &[u8], counts: u64) -> Option<&[u8]> {
    if counts >> 48 != 1 {
        return None;
    }
    let mut rest = Cursor::new(rest);
    let [_, answers, authorities, additional] =
        [48, 32, 16, 0].map(|shift| u32::from((counts >> shift) as u16));
    if answers + authorities + additional > MAX_RECORDS.into() {
        return None;
    }
    for _ in 0..answers + authorities {
        skip_record(&mut rest)?;
    }
    Some(rest.rest())
}

/// Passes over a record outside of the additional section, where no OPT may
/// be (RFC 6891 §6.1.1).
fn skip_record(rest: &mut Cursor<'_>) -> Option<()> {
    (rest.record()?.rtype != RrType::OPT).then_some(())
}
