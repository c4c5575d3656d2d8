//! Live queries: what a tap yields as lines to read, or as values to pass on. A
//! viewer that does not keep up is cut off, so that none holds memory.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::server::tap::{Behind, Exchange, Subscription, Tap, Transport};
use crate::wire::header::{HEADER, class, flag};
use crate::wire::name::wire_length;
use crate::wire::{Cursor, Name, Rcode, RecordOctets, RrType};

/// Queries that may wait for a viewer.
const ROOM: usize = 1024;
/// Checking disabled (RFC 4035 §3.2.2), which this server only copies.
const CD: u16 = 0x0010;
/// DNSSEC OK, in an OPT record's TTL (RFC 3225 §3).
const DO: u32 = 0x8000;

/// One of `every` queries from now on, until it is dropped.
///
/// # Errors
///
/// What the kernel says to one more thread.
pub fn watch(tap: &Tap, every: u32) -> io::Result<Subscription> {
    tap.subscribe(every, ROOM, Behind::CutOff)
}

/// A query and what became of it. Printed, it is one line without control
/// characters, whatever was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveQuery {
    /// When it was taken, as `2026-11-26T17:53:41.123Z`.
    pub time: String,
    /// Who asked.
    pub peer: SocketAddr,
    /// `udp` or `tcp`.
    pub transport: String,
    /// The worker's number; `None` for the TCP thread.
    pub worker: Option<u16>,
    /// What was asked for; `None` where the question could not be read.
    pub question: Option<Question>,
    /// The response code's name; `None` where there was no reply.
    pub rcode: Option<String>,
    /// Octets of the request.
    pub request_octets: usize,
    /// Octets of the reply.
    pub reply_octets: usize,
    /// Flags that were set: of the request `rd`, `cd` and `do`, of the reply `aa`
    /// and `tc`.
    pub flags: Vec<String>,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The name as it was asked for.
    pub name: String,
    /// The class.
    pub class: String,
    /// The type.
    #[serde(rename = "type")]
    pub rtype: String,
}

impl From<&Exchange> for LiveQuery {
    fn from(exchange: &Exchange) -> LiveQuery {
        let Exchange { request, reply, .. } = exchange;
        LiveQuery {
            time: humantime::format_rfc3339_millis(UNIX_EPOCH + exchange.asked).to_string(),
            peer: exchange.peer,
            transport: match exchange.transport {
                Transport::Udp => "udp".into(),
                Transport::Tcp => "tcp".into(),
            },
            worker: exchange.worker,
            question: question(request),
            rcode: rcode(reply),
            request_octets: request.len(),
            reply_octets: reply.len(),
            flags: flags(request, reply),
        }
    }
}

impl fmt::Display for LiveQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.time, self.peer, self.transport)?;
        match self.worker {
            Some(worker) => write!(f, " {worker}")?,
            None => f.write_str(" -")?,
        }
        match &self.question {
            Some(Question { name, class, rtype }) => write!(f, " {name} {class} {rtype}")?,
            None => f.write_str(" - - -")?,
        }
        let rcode = self.rcode.as_deref().unwrap_or("-");
        write!(f, " {rcode} {}>{}", self.request_octets, self.reply_octets)?;
        self.flags.iter().try_for_each(|flag| write!(f, " {flag}"))
    }
}

fn question(request: &[u8]) -> Option<Question> {
    let (_, rest) = request.split_at_checked(HEADER)?;
    let mut rest = Cursor::new(rest);
    let name = Name::from_wire(rest.take(wire_length(rest.rest())?)?).ok()?;
    let (rtype, class) = (RrType(rest.u16()?), rest.u16()?);
    Some(Question {
        name: name.to_string(),
        class: match class {
            class::IN => "IN".into(),
            class::CH => "CH".into(),
            class::ANY => "ANY".into(),
            other => format!("CLASS{other}"),
        },
        rtype: rtype.to_string(),
    })
}

/// The code in the header, with the upper bits from the OPT record.
fn rcode(reply: &[u8]) -> Option<String> {
    let low = header_flags(reply)? & 15;
    let high = opt_ttl(reply).map_or(0, |ttl| (ttl >> 24) as u16);
    let code = high << 4 | low;
    let known = Rcode::ALL.iter().find(|known| **known as u16 == code);
    Some(known.map_or(format!("RCODE{code}"), Rcode::to_string))
}

fn flags(request: &[u8], reply: &[u8]) -> Vec<String> {
    let (asked, said) = (
        header_flags(request).unwrap_or(0),
        header_flags(reply).unwrap_or(0),
    );
    let wants_dnssec = opt_ttl(request).is_some_and(|ttl| ttl & DO != 0);
    let all = [
        ("rd", asked & flag::RD != 0),
        ("cd", asked & CD != 0),
        ("do", wants_dnssec),
        ("aa", said & flag::AA != 0),
        ("tc", said & flag::TC != 0),
    ];
    let set = all.into_iter().filter(|(_, set)| *set);
    set.map(|(name, _)| name.to_owned()).collect()
}

fn header_flags(message: &[u8]) -> Option<u16> {
    let mut rest = Cursor::new(message.first_chunk::<HEADER>()?);
    rest.take(2)?;
    rest.u16()
}

/// The TTL of a message's OPT record, where it can be reached.
fn opt_ttl(message: &[u8]) -> Option<u32> {
    RecordOctets::first_opt(message).map(|opt| opt.ttl)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const QUESTION: &[u8] = b"\x03Www\x07example\0\0\x1c\0\x01";

    fn line(request: &[u8], reply: &[u8]) -> LiveQuery {
        let ends = ("192.0.2.1:5353", "192.0.2.53:53");
        let asked = Duration::from_millis(1_700_000_000_123);
        LiveQuery::from(&Exchange::new(ends, (asked, asked), (request, reply)))
    }

    fn message(flags: u16, opt: Option<u32>) -> Vec<u8> {
        let mut octets = vec![0xab, 0xcd];
        octets.extend(flags.to_be_bytes());
        octets.extend([0, 1, 0, 0, 0, 0, 0, u8::from(opt.is_some())]);
        octets.extend(QUESTION);
        if let Some(ttl) = opt {
            octets.extend(b"\0\0\x29\x04\xd0");
            octets.extend(ttl.to_be_bytes());
            octets.extend([0, 0]);
        }
        octets
    }

    #[test]
    fn a_query_is_one_line() {
        let found = line(&message(0x0110, Some(0x8000)), &message(0x8703, Some(0)));
        assert_eq!(
            found.to_string(),
            "2023-11-14T22:13:20.123Z 192.0.2.1:5353 udp 0 Www.example. IN AAAA \
             NXDOMAIN 40>40 rd cd do aa tc"
        );
    }

    #[test]
    fn codes_over_fifteen_are_put_together() {
        let rcode = |flags, opt| line(&message(0, None), &message(flags, opt)).rcode;
        assert_eq!(rcode(0x8000, Some(1 << 24)).as_deref(), Some("BADVERS"));
        assert_eq!(rcode(0x8005, None).as_deref(), Some("REFUSED"));
        assert_eq!(rcode(0x8009, Some(2 << 24)).as_deref(), Some("RCODE41"));
    }

    #[test]
    fn what_cannot_be_read_is_a_line_too() {
        let whole = message(0, None);
        for length in 0..whole.len() {
            let text = line(&whole[..length], b"").to_string();
            assert!(text.contains("- - - -"), "{text}");
        }
        let found = line(b"\0\0\0\0\0\x01\0\0\0\0\0\0\x02\x1b\n\0\0\x01\0\x05", b"");
        assert!(
            found.to_string().contains(r"\027\010. CLASS5 A - "),
            "{found}"
        );
    }

    #[test]
    fn it_is_passed_on_as_json() {
        let found = line(&message(0x0100, None), &message(0x8400, None));
        let text = serde_json::to_string(&found).unwrap();
        assert!(text.contains(r#""type":"AAAA""#), "{text}");
        assert_eq!(serde_json::from_str::<LiveQuery>(&text).unwrap(), found);
    }
}
