//! What the server says of itself, in class CHAOS (RFC 4892): its version, its
//! name, and which worker is speaking.

use std::io::Write;

use super::query::Query;
use super::reply::Reply;
use super::terms::{Settings, Via};
use crate::wire::header::{HEADER, class};
use crate::wire::{LookupName, Rcode, RrType};

/// A character-string holds 255 octets (RFC 1035 §3.3).
const MAX_STRING: usize = 255;

/// Answers a question of class CHAOS. There is no SOA to go with a negative
/// answer.
#[cold]
#[inline(never)]
pub fn answer(
    settings: &Settings,
    via: Via,
    query: &Query,
    name: &LookupName,
    reply: &mut Reply<'_>,
) -> Rcode {
    if [RrType::AXFR, RrType::IXFR].contains(&query.rtype) {
        return Rcode::NotImp;
    }
    let mut text = Strings::new();
    match name.suffix(0) {
        b"\x07version\x04bind\0" | b"\x07version\x06server\0" if !settings.version.is_empty() => {
            text.add(&settings.version)
        }
        b"\x08hostname\x04bind\0" | b"\x02id\x06server\0" if !settings.identity.is_empty() => {
            text.add(&settings.identity)
        }
        b"\x06worker\x06server\0" => text.add_worker(via),
        _ => return Rcode::Refused,
    }
    reply.set_aa(true);
    if query.rtype == RrType::TXT || query.rtype == RrType::ANY {
        let mut fixed = [0; 8];
        fixed[..2].copy_from_slice(&RrType::TXT.0.to_be_bytes());
        fixed[2..4].copy_from_slice(&class::CH.to_be_bytes());
        reply.record(HEADER, &fixed, [text.octets(), &[]]);
    }
    Rcode::NoError
}

/// Character-strings, one behind the other.
struct Strings {
    octets: [u8; 1 + MAX_STRING],
    length: usize,
}

impl Strings {
    fn new() -> Strings {
        Strings {
            octets: [0; 1 + MAX_STRING],
            length: 0,
        }
    }

    fn octets(&self) -> &[u8] {
        &self.octets[..self.length]
    }

    fn add(&mut self, text: &[u8]) {
        let free = &mut self.octets[self.length..];
        let length = text.len().min(free.len().saturating_sub(1));
        free[0] = length as u8;
        free[1..=length].copy_from_slice(&text[..length]);
        self.length += 1 + length;
    }

    /// `"worker=0" "cpu=1" "batch=7"`: keys and values as in RFC 1464.
    fn add_worker(&mut self, via: Via) {
        match via {
            Via::Tcp => self.add(b"tcp"),
            Via::Udp(worker) => {
                self.add_pair("worker", Some(worker.index));
                self.add_pair("cpu", worker.cpu);
                self.add_pair("batch", Some(worker.batch));
            }
        }
    }

    fn add_pair(&mut self, name: &str, value: Option<u16>) {
        let mut text = [0; 32];
        let mut rest = &mut text[..];
        let written = match value {
            Some(value) => write!(rest, "{name}={value}"),
            None => write!(rest, "{name}=any"),
        };
        debug_assert!(written.is_ok(), "32 octets hold the name and five digits");
        let length = 32 - rest.len();
        self.add(&text[..length]);
    }
}
