//! An exchange as the two messages that dnstap has for an authoritative server,
//! in Protocol Buffers' encoding. Only one kind of message is ever written, so
//! its fields stand here by their numbers in `dnstap.proto`
//! (<https://github.com/dnstap/dnstap.pb>) instead of being generated from it.

use std::net::IpAddr;
use std::time::Duration;

use crate::server::tap::{Exchange, Transport};

/// The fields of `Dnstap` that are written.
mod dnstap {
    pub const IDENTITY: u32 = 1;
    pub const VERSION: u32 = 2;
    pub const MESSAGE: u32 = 14;
    pub const TYPE: u32 = 15;
    /// The one value of `Dnstap.Type`.
    pub const TYPE_MESSAGE: u64 = 1;
}

/// The fields of `Message` that are written.
mod field {
    pub const TYPE: u32 = 1;
    pub const SOCKET_FAMILY: u32 = 2;
    pub const SOCKET_PROTOCOL: u32 = 3;
    pub const QUERY_ADDRESS: u32 = 4;
    pub const RESPONSE_ADDRESS: u32 = 5;
    pub const QUERY_PORT: u32 = 6;
    pub const RESPONSE_PORT: u32 = 7;
    pub const QUERY_TIME_SEC: u32 = 8;
    pub const QUERY_TIME_NSEC: u32 = 9;
    pub const QUERY_MESSAGE: u32 = 10;
    pub const RESPONSE_TIME_SEC: u32 = 12;
    pub const RESPONSE_TIME_NSEC: u32 = 13;
    pub const RESPONSE_MESSAGE: u32 = 14;
}

/// The kinds of `Message` that an authoritative server writes (`Message.Type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    AuthQuery = 1,
    AuthResponse = 2,
}

/// How a field's value is encoded.
#[derive(Clone, Copy)]
enum Wire {
    Varint = 0,
    Octets = 2,
    Fixed32 = 5,
}

/// What all messages of a server have in common.
pub struct Encoder {
    identity: Vec<u8>,
    version: Vec<u8>,
    scratch: Vec<u8>,
}

impl Encoder {
    /// An encoder for a server of this name and version; an empty one is left out.
    pub fn new(identity: Vec<u8>, version: Vec<u8>) -> Encoder {
        Encoder {
            identity,
            version,
            scratch: Vec::new(),
        }
    }

    /// Adds the frames of an exchange to `out`, and returns how many: one for the
    /// request, and one for the reply if there was one.
    pub fn encode(&mut self, exchange: &Exchange, out: &mut Vec<u8>) -> u64 {
        self.frame(exchange, Kind::AuthQuery, out);
        if exchange.reply.is_empty() {
            return 1;
        }
        self.frame(exchange, Kind::AuthResponse, out);
        2
    }

    /// A frame is its length and then its octets.
    fn frame(&mut self, exchange: &Exchange, kind: Kind, out: &mut Vec<u8>) {
        self.scratch.clear();
        write_message(exchange, kind, &mut self.scratch);
        let start = out.len();
        out.extend([0; 4]);
        for (field, octets) in [
            (dnstap::IDENTITY, &self.identity),
            (dnstap::VERSION, &self.version),
        ] {
            if !octets.is_empty() {
                put_octets(field, octets, out);
            }
        }
        put_octets(dnstap::MESSAGE, &self.scratch, out);
        put_number(dnstap::TYPE, dnstap::TYPE_MESSAGE, out);
        let length = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

fn write_message(exchange: &Exchange, kind: Kind, out: &mut Vec<u8>) {
    put_number(field::TYPE, kind as u64, out);
    // INET and INET6, UDP and TCP (`SocketFamily`, `SocketProtocol`).
    let family = if exchange.peer.is_ipv4() { 1 } else { 2 };
    put_number(field::SOCKET_FAMILY, family, out);
    let protocol = match exchange.transport {
        Transport::Udp => 1,
        Transport::Tcp => 2,
    };
    put_number(field::SOCKET_PROTOCOL, protocol, out);
    put_address(field::QUERY_ADDRESS, exchange.peer.ip(), out);
    put_address(field::RESPONSE_ADDRESS, exchange.local.ip(), out);
    put_number(field::QUERY_PORT, exchange.peer.port().into(), out);
    put_number(field::RESPONSE_PORT, exchange.local.port().into(), out);
    let times = (field::QUERY_TIME_SEC, field::QUERY_TIME_NSEC);
    put_time(times, exchange.asked, out);
    match kind {
        Kind::AuthQuery => put_octets(field::QUERY_MESSAGE, &exchange.request, out),
        Kind::AuthResponse => {
            let times = (field::RESPONSE_TIME_SEC, field::RESPONSE_TIME_NSEC);
            put_time(times, exchange.replied, out);
            put_octets(field::RESPONSE_MESSAGE, &exchange.reply, out);
        }
    }
}

fn put_address(field: u32, address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => put_octets(field, &address.octets(), out),
        IpAddr::V6(address) => put_octets(field, &address.octets(), out),
    }
}

fn put_time((seconds, nanoseconds): (u32, u32), time: Duration, out: &mut Vec<u8>) {
    put_number(seconds, time.as_secs(), out);
    put_key(nanoseconds, Wire::Fixed32, out);
    out.extend(time.subsec_nanos().to_le_bytes());
}

fn put_octets(field: u32, octets: &[u8], out: &mut Vec<u8>) {
    put_key(field, Wire::Octets, out);
    put_varint(octets.len() as u64, out);
    out.extend(octets);
}

fn put_number(field: u32, number: u64, out: &mut Vec<u8>) {
    put_key(field, Wire::Varint, out);
    put_varint(number, out);
}

fn put_key(field: u32, wire: Wire, out: &mut Vec<u8>) {
    put_varint(u64::from(field << 3 | wire as u32), out);
}

/// Seven bits an octet, the lowest first, the top bit set on all but the last.
fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_the_octets_that_they_need() {
        // The examples of Protocol Buffers' own page on its encoding.
        for (number, expected) in [
            (0, &[0][..]),
            (1, &[1]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (150, &[0x96, 1]),
            (
                u64::MAX,
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            ),
        ] {
            let mut out = Vec::new();
            put_varint(number, &mut out);
            assert_eq!(out, expected, "{number}");
        }
    }

    #[test]
    fn an_exchange_is_written_octet_by_octet() {
        let exchange = Exchange::new(
            ("10.0.0.210:55142", "[2001:db8::53]:53"),
            (Duration::new(300, 1), Duration::new(300, 2)),
            (b"ask", b"reply"),
        );
        let mut out = Vec::new();
        let mut encoder = Encoder::new(b"me".into(), Vec::new());
        assert_eq!(encoder.encode(&exchange, &mut out), 2);
        let common = [
            &b"\x10\x01\x18\x01\x22\x04\x0a\x00\x00\xd2\x2a\x10"[..],
            b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x53",
            b"\x30\xe6\xae\x03\x38\x35\x40\xac\x02\x4d\x01\0\0\0",
        ]
        .concat();
        let query = [b"\x08\x01", &common[..], b"\x52\x03ask"].concat();
        let response = [
            b"\x08\x02",
            &common[..],
            b"\x60\xac\x02\x6d\x02\0\0\0\x72\x05reply",
        ]
        .concat();
        let mut expected = Vec::new();
        for message in [query, response] {
            let length = message.len() as u8;
            expected.extend([0, 0, 0, length + 8]);
            expected.extend(b"\x0a\x02me\x72");
            expected.push(length);
            expected.extend(message);
            expected.extend(b"\x78\x01");
        }
        assert_eq!(out, expected);
    }

    #[test]
    fn without_a_reply_there_is_one_frame() {
        let exchange = Exchange::new(
            ("[::1]:1", "[::1]:53"),
            (Duration::ZERO, Duration::ZERO),
            (b"ask", b""),
        );
        let mut out = Vec::new();
        assert_eq!(
            Encoder::new(Vec::new(), Vec::new()).encode(&exchange, &mut out),
            1
        );
        assert_eq!(usize::from(out[3]) + 4, out.len());
    }
}
