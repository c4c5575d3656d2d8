//! Request octets -> a query, or the reason why there is none. What is read
//! here is right, and is not checked again.

use super::edns::Edns;
use crate::wire::header::{HEADER, flag};
use crate::wire::{Cursor, Key, Opcode, Rcode, RrType};

/// What a reply repeats of a request's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The message ID.
    pub id: u16,
    /// The flags as they came.
    pub flags: u16,
}

/// A request that can be answered. Its name is in the `Key` it was parsed with.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    /// What to repeat.
    pub header: Header,
    /// Octets of the question: name, type and class.
    pub question_length: u16,
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
    /// A response, or too short to rule out that it is one.
    Silence,
    /// A header goes back, with an OPT record if a whole one was read
    /// (RFC 6891 §6.1.1).
    Refused(Header, Rcode, Option<Edns>),
}

impl Query {
    /// Reads a request; `key` becomes its name, ready for finding.
    #[inline]
    pub fn parse(request: &[u8], key: &mut Key) -> Result<Query, Unanswerable> {
        let header = Header::parse(request)?;
        if Opcode::of(header.flags) != Opcode::QUERY {
            let edns = other_opcode(request).flatten();
            return Err(Unanswerable::Refused(header, Rcode::NotImp, edns));
        }
        // RFC 1035 §4.1 and RFC 9619: a query is one question, whole, with
        // nothing behind its last record.
        Query::read(header, request, key).ok_or(Unanswerable::Refused(header, Rcode::FormErr, None))
    }

    #[inline]
    fn read(header: Header, request: &[u8], key: &mut Key) -> Option<Query> {
        let (fixed, rest) = request.split_first_chunk::<HEADER>()?;
        let count = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let (questions, answers, authorities, additional) =
            (count(4), count(6), count(8), count(10));
        if questions != 1 {
            return None;
        }
        let mut rest = Cursor::new(rest);
        // The key takes only names without compression.
        key.set(rest.rest())?;
        let question = rest.take(key.length() + 4)?;
        let [upper, lower, class @ ..] = *question.last_chunk::<4>()?;
        let (rtype, class) = (
            RrType(u16::from_be_bytes([upper, lower])),
            u16::from_be_bytes(class),
        );
        if is_no_question(rtype) {
            return None;
        }
        for _ in 0..u32::from(answers) + u32::from(authorities) {
            skip_record(&mut rest)?;
        }
        let edns = if additional == 0 {
            None
        } else {
            Edns::find(&mut rest, additional)?
        };
        rest.is_empty().then_some(Query {
            header,
            question_length: question.len() as u16,
            rtype,
            class,
            edns,
        })
    }
}

impl Header {
    /// The id takes two octets, and the third tells a query from a response.
    fn parse(request: &[u8]) -> Result<Header, Unanswerable> {
        let (Some(id), Some(&upper)) = (request.first_chunk(), request.get(2)) else {
            return Err(Unanswerable::Silence);
        };
        let lower = request.get(3).copied().unwrap_or(0);
        let header = Header {
            id: u16::from_be_bytes(*id),
            flags: u16::from_be_bytes([upper, lower]),
        };
        // Two servers that answer each other's responses never stop.
        if header.flags & flag::QR != 0 {
            return Err(Unanswerable::Silence);
        }
        if request.len() < HEADER {
            return Err(Unanswerable::Refused(header, Rcode::FormErr, None));
        }
        Ok(header)
    }
}

/// The OPT record of a message of another opcode. NOTIFY and UPDATE are laid
/// out as queries are (RFC 1996 §3.7, RFC 2136 §2); of what is not, nothing is
/// said.
fn other_opcode(request: &[u8]) -> Option<Option<Edns>> {
    let mut rest = Cursor::new(request);
    rest.take(4)?;
    let (questions, answers) = (rest.u16()?, rest.u16()?);
    let (authorities, additional) = (rest.u16()?, rest.u16()?);
    for _ in 0..questions {
        rest.skip_name()?;
        rest.take(4)?;
    }
    for _ in 0..u32::from(answers) + u32::from(authorities) {
        skip_record(&mut rest)?;
    }
    Edns::find(&mut rest, additional).filter(|_| rest.is_empty())
}

/// Records that live in messages and in no zone (RFC 6895 §3.1) cannot be
/// asked for.
fn is_no_question(rtype: RrType) -> bool {
    matches!(rtype, RrType::OPT | RrType::TKEY | RrType::TSIG)
}

/// Passes over a record outside of the additional section, where no OPT may
/// be (RFC 6891 §6.1.1).
fn skip_record(rest: &mut Cursor<'_>) -> Option<()> {
    rest.skip_name()?;
    let rtype = RrType(rest.u16()?);
    rest.take(6)?;
    let length = rest.u16()?;
    rest.take(length.into())?;
    (rtype != RrType::OPT).then_some(())
}
