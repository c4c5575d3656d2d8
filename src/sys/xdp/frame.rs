//! A datagram in its frame: Ethernet, IPv4 (RFC 791) or IPv6 (RFC 8200), UDP
//! (RFC 768). What comes in has been looked at by the program in the kernel
//! (`program.rs`); what goes out has headers that are written anew.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ops::Range;

use crate::sys::port::{ipv4_flow, ipv6_flow};

/// Octets of headers before a request: Ethernet, IP, UDP.
pub(super) const IPV4_HEADERS: usize = 14 + 20 + 8;
pub(super) const IPV6_HEADERS: usize = 14 + 40 + 8;

/// `TTL` and hop limit of a reply (RFC 1700).
const HOPS: u8 = 64;
const UDP: u8 = 17;

/// Which octets of a frame are the datagram's payload; `None` where lengths do not
/// agree or it is none.
pub(super) fn payload(frame: &[u8]) -> Option<Range<usize>> {
    let half = |at: usize| {
        let octets = frame.get(at..at + 2)?;
        Some(usize::from(u16::from_be_bytes([octets[0], octets[1]])))
    };
    let (headers, end) = match half(12)? {
        0x0800 => (IPV4_HEADERS, 14 + half(16)?),
        0x86dd => (IPV6_HEADERS, 54 + half(18)?),
        _ => return None,
    };
    (headers <= end && end <= frame.len()).then_some(headers..end)
}

/// The headers of a request.
#[derive(Clone, Copy)]
pub(super) struct Headers<'f>(&'f [u8]);

impl<'f> Headers<'f> {
    /// The headers, which are as long as one of the two constants; `None` for
    /// anything else.
    pub fn new(octets: &'f [u8]) -> Option<Headers<'f>> {
        matches!(octets.len(), IPV4_HEADERS | IPV6_HEADERS).then_some(Headers(octets))
    }

    fn is_ipv4(self) -> bool {
        self.0.len() == IPV4_HEADERS
    }

    /// Source and destination address.
    fn addresses(self) -> (&'f [u8], &'f [u8]) {
        match self.is_ipv4() {
            true => (&self.0[26..30], &self.0[30..34]),
            false => (&self.0[22..38], &self.0[38..54]),
        }
    }

    /// Source and destination port, as they lie there.
    fn ports(self) -> ([u8; 2], [u8; 2]) {
        let udp = &self.0[self.0.len() - 8..];
        ([udp[0], udp[1]], [udp[2], udp[3]])
    }

    /// Who sent it; a link-local address is on the interface with this number.
    pub fn peer(self, interface: u32) -> SocketAddr {
        let port = u16::from_be_bytes(self.ports().0);
        match address(self.addresses().0) {
            IpAddr::V6(address) if address.is_unicast_link_local() => {
                SocketAddrV6::new(address, port, 0, interface).into()
            }
            address => SocketAddr::new(address, port),
        }
    }

    /// Where it was sent to.
    pub fn local(self) -> SocketAddr {
        let port = u16::from_be_bytes(self.ports().1);
        SocketAddr::new(address(self.addresses().1), port)
    }

    /// Who sent it, in as many bits.
    pub fn flow(self) -> [u64; 2] {
        let (source, port) = (self.addresses().0, self.ports().0);
        match source.first_chunk() {
            Some(address) => ipv6_flow(*address, port),
            None => ipv4_flow(*source.first_chunk().unwrap_or(&[0; 4]), port),
        }
    }

    /// Writes the headers of a reply, which goes back to whence the request came,
    /// before its payload: `frame` is as long as both.
    pub fn write_reply(self, frame: &mut [u8]) {
        let (headers, payload) = frame.split_at_mut(self.0.len());
        let (source, destination) = self.addresses();
        headers[..6].copy_from_slice(&self.0[6..12]);
        headers[6..12].copy_from_slice(&self.0[..6]);
        headers[12..14].copy_from_slice(&self.0[12..14]);
        let udp_length = (8 + payload.len()) as u16;
        let udp_start = headers.len() - 8;
        let (network, udp) = headers[14..].split_at_mut(udp_start - 14);
        if self.is_ipv4() {
            // A datagram that is not taken apart on its way needs no number
            // (RFC 6864, section 4.1); one that would be is lost, and not joined
            // with what somebody else sent (RFC 9715).
            network[..4].copy_from_slice(&[0x45, 0, 0, 0]);
            network[2..4].copy_from_slice(&(20 + udp_length).to_be_bytes());
            network[4..12].copy_from_slice(&[0, 0, 0x40, 0, HOPS, UDP, 0, 0]);
            network[12..16].copy_from_slice(destination);
            network[16..20].copy_from_slice(source);
            let checksum = checksum(sum(network));
            network[10..12].copy_from_slice(&checksum);
        } else {
            network[..4].copy_from_slice(&[0x60, 0, 0, 0]);
            network[4..6].copy_from_slice(&udp_length.to_be_bytes());
            network[6..8].copy_from_slice(&[UDP, HOPS]);
            network[8..24].copy_from_slice(destination);
            network[24..40].copy_from_slice(source);
        }
        let (client, server) = self.ports();
        udp[..2].copy_from_slice(&server);
        udp[2..4].copy_from_slice(&client);
        udp[4..6].copy_from_slice(&udp_length.to_be_bytes());
        udp[6..].fill(0);
        let pseudo = sum(source) + sum(destination) + sum(&[0, UDP]) + sum(&udp[4..6]);
        let checksum = match checksum(pseudo + sum(udp) + sum(payload)) {
            // 0 would say that there is none (RFC 768).
            [0, 0] => [0xff; 2],
            checksum => checksum,
        };
        udp[6..].copy_from_slice(&checksum);
    }
}

/// A request over IPv4 in its frame, from a station and address to others, with no
/// checksum of UDP and no source port.
pub(super) fn request(
    from: ([u8; 6], Ipv4Addr),
    to: ([u8; 6], Ipv4Addr, u16),
    payload: &[u8],
) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let mut network = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, HOPS, UDP, 0, 0];
    network[2..4].copy_from_slice(&(20 + length).to_be_bytes());
    network.extend(from.1.octets());
    network.extend(to.1.octets());
    let checksum = checksum(sum(&network));
    network[10..12].copy_from_slice(&checksum);
    let ports = [[0; 2], to.2.to_be_bytes(), length.to_be_bytes(), [0; 2]];
    let ethernet = [&to.0[..], &from.0, &[8, 0]].concat();
    [&ethernet, &network, ports.as_flattened(), payload].concat()
}

fn address(octets: &[u8]) -> IpAddr {
    match octets.first_chunk::<16>() {
        Some(octets) => Ipv6Addr::from(*octets).into(),
        None => Ipv4Addr::from(*octets.first_chunk().unwrap_or(&[0; 4])).into(),
    }
}

/// The sum of the 16-bit words, of which an odd last octet is the first half, in the
/// machine's order of octets: what is made of it in the end does not depend on that
/// (RFC 1071, section 2).
fn sum(octets: &[u8]) -> u64 {
    let (words, rest) = octets.as_chunks::<4>();
    let words: u64 = words
        .iter()
        .map(|word| u64::from(u32::from_ne_bytes(*word)))
        .sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    words + u64::from(u32::from_ne_bytes(last))
}

/// The checksum that a sum makes, as it is written.
fn checksum(mut sum: u64) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    (!(sum as u16)).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::port::{flow_of, no_peer};

    /// A request as it would come in, with this payload.
    fn request(ipv4: bool, payload: &[u8]) -> Vec<u8> {
        let length = (8 + payload.len()) as u16;
        let mut frame = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02".to_vec();
        if ipv4 {
            frame.extend(b"\x08\0\x45\xb8");
            frame.extend((20 + length).to_be_bytes());
            frame.extend(b"\x12\x34\x40\0\x33\x11\0\0\xc0\0\x02\x01\xc6\x33\x64\x07");
        } else {
            frame.extend(b"\x86\xdd\x6b\x80\x12\x34");
            frame.extend(length.to_be_bytes());
            frame.extend(b"\x11\x33");
            frame.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
            frame.extend("2001:db8::53".parse::<Ipv6Addr>().unwrap().octets());
        }
        frame.extend(b"\xc3\x50\0\x35");
        frame.extend(length.to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(payload);
        frame
    }

    fn reply(request: &[u8], payload: &[u8]) -> Vec<u8> {
        let headers = request.len() - super::payload(request).unwrap().len();
        let mut frame = [&vec![0xaa; headers], payload].concat();
        Headers::new(&request[..headers])
            .unwrap()
            .write_reply(&mut frame);
        frame
    }

    /// What a receiver does to check: 16 bits after another, with carry.
    fn adds_up(octets: impl IntoIterator<Item = u8>) -> bool {
        let mut octets: Vec<u8> = octets.into_iter().collect();
        octets.resize(octets.len().next_multiple_of(2), 0);
        let mut sum = 0u32;
        for pair in octets.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum == 0xffff
    }

    fn checksums_are_right(frame: &[u8]) {
        let is_ipv4 = frame[12] == 8;
        let (addresses, udp) = match is_ipv4 {
            true => (&frame[26..34], &frame[34..]),
            false => (&frame[22..54], &frame[54..]),
        };
        assert!(!is_ipv4 || adds_up(frame[14..34].to_vec()));
        let pseudo = [addresses, &udp[4..6], &[0, 17]].concat();
        assert!(adds_up([&pseudo, udp].concat()), "{frame:x?}");
        assert_ne!(udp[6..8], [0, 0]);
    }

    #[test]
    fn a_reply_goes_back_to_whence_the_request_came() {
        let frame = reply(&request(true, b"question"), b"answer!");
        assert_eq!(
            frame[..42 - 2],
            *b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x08\0\
               \x45\0\0\x23\0\0\x40\0\x40\x11\x4e\x8e\xc6\x33\x64\x07\xc0\0\x02\x01\
               \0\x35\xc3\x50\0\x0f"
        );
        checksums_are_right(&frame);
        let frame = reply(&request(false, b"question"), b"answer");
        assert_eq!(
            frame[..22],
            *b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x86\xdd\x60\0\0\0\0\x0e\x11\x40"
        );
        assert_eq!(frame[22..38], request(false, b"")[38..54]);
        assert_eq!(frame[38..54], request(false, b"")[22..38]);
        checksums_are_right(&frame);
    }

    /// "If the computed checksum is zero, it is transmitted as all ones" (RFC 768).
    #[test]
    fn checksums_of_every_length_and_the_one_that_would_be_0() {
        for ipv4 in [true, false] {
            let request = request(ipv4, b"?");
            for length in 0..80u8 {
                let payload: Vec<u8> = (0..length).map(|octet| octet.wrapping_mul(151)).collect();
                checksums_are_right(&reply(&request, &payload));
            }
            let ones = (0..=u16::MAX).filter(|word| {
                let frame = reply(&request, &word.to_be_bytes());
                checksums_are_right(&frame);
                let udp = frame.len() - 10;
                frame[udp + 6..udp + 8] == [0xff, 0xff]
            });
            assert_eq!(ones.count(), 1);
        }
    }

    #[test]
    fn lengths_are_what_the_headers_say() {
        for ipv4 in [true, false] {
            let mut frame = request(ipv4, b"12345");
            let headers = frame.len() - 5;
            // Short frames are filled up on the way.
            frame.extend([0; 9]);
            assert_eq!(payload(&frame), Some(headers..headers + 5));
            assert_eq!(payload(&frame[..headers + 5]), Some(headers..headers + 5));
            assert_eq!(payload(&frame[..headers + 4]), None);
            assert_eq!(payload(&frame[..headers - 1]), None);
            assert_eq!(payload(&frame[..13]), None);
        }
        let mut frame = request(true, b"");
        assert_eq!(payload(&frame), Some(42..42));
        frame[17] -= 1;
        assert_eq!(payload(&frame), None);
    }

    /// Whoever comes over a socket, too, is no other client for that.
    #[test]
    fn a_flow_is_the_same_over_sockets() {
        for ipv4 in [true, false] {
            let frame = request(ipv4, b"");
            let mut peer = no_peer();
            peer.sin6_port = 50_000u16.to_be();
            match ipv4 {
                // Where IPv6 has its flow information.
                true => peer.sin6_flowinfo = u32::from_ne_bytes([192, 0, 2, 1]),
                false => {
                    peer.sin6_addr.s6_addr = "2001:db8::1".parse::<Ipv6Addr>().unwrap().octets()
                }
            }
            let flow = Headers::new(&frame).unwrap().flow();
            assert_eq!(flow, flow_of(&peer, !ipv4));
        }
    }

    #[test]
    fn who_and_where() {
        let frame = request(true, b"");
        let headers = Headers::new(&frame).unwrap();
        assert_eq!(headers.peer(7), "192.0.2.1:50000".parse().unwrap());
        assert_eq!(headers.local(), "198.51.100.7:53".parse().unwrap());
        let mut frame = request(false, b"");
        let headers = Headers::new(&frame).unwrap();
        assert_eq!(headers.peer(7), "[2001:db8::1]:50000".parse().unwrap());
        assert_eq!(headers.local(), "[2001:db8::53]:53".parse().unwrap());
        frame[22..38].copy_from_slice(&"fe80::1".parse::<Ipv6Addr>().unwrap().octets());
        let headers = Headers::new(&frame).unwrap();
        assert_eq!(headers.peer(7), "[fe80::1%7]:50000".parse().unwrap());
        assert!(Headers::new(&frame[..50]).is_none());
    }
}
