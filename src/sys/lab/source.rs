//! A filter on a socket that drops what others than one address have sent, before it
//! takes room in the socket's queue.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use libc::sock_filter;

use super::super::steer::{instruction, load, return_k, set_program};

/// Where the source address is in an IPv4 header (RFC 791 §3.1) and in one of IPv6
/// (RFC 8200 §3).
const SOURCE_V4: u32 = 12;
const SOURCE_V6: u32 = 8;
/// What a filter returns to keep all of a datagram, and to keep nothing.
const ALL: u32 = u32::MAX;
const NOTHING: u32 = 0;

/// Has a socket take datagrams of `source` alone (`SO_ATTACH_FILTER`, socket(7)). An
/// address can be forged where nobody looks at who sends what: this keeps others out
/// of a measurement, and replies from going anywhere else.
///
/// # Errors
///
/// What the kernel says to `setsockopt`.
pub fn admit_only(socket: &impl AsRawFd, source: IpAddr) -> io::Result<()> {
    let mut program = only_from(source);
    program.push(return_k(ALL));
    set_program(socket, libc::SO_ATTACH_FILTER, program)
}

/// The beginning of a filter: whatever follows sees datagrams of `source` alone. The
/// IP header lies before what a socket's filter sees, and is reached through
/// `SKF_NET_OFF` (`Documentation/networking/filter.rst`).
pub(super) fn only_from(source: IpAddr) -> Vec<sock_filter> {
    let (offset, octets) = match source {
        IpAddr::V4(address) => (SOURCE_V4, address.octets().to_vec()),
        IpAddr::V6(address) => (SOURCE_V6, address.octets().to_vec()),
    };
    let offset = (libc::SKF_NET_OFF as u32).wrapping_add(offset);
    let words = octets.as_chunks::<4>().0.iter();
    let places = (offset..).step_by(4);
    let check = |(place, word): (u32, &[u8; 4])| {
        let mut compare = instruction(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            u32::from_be_bytes(*word),
            0,
        );
        // Past the return.
        compare.jt = 1;
        [load(libc::BPF_W, place), compare, return_k(NOTHING)]
    };
    places.zip(words).flat_map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::time::Duration;

    #[test]
    fn what_others_send_is_not_received() {
        let own = UdpSocket::bind("127.0.0.1:0").unwrap();
        own.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        admit_only(&own, "127.0.0.3".parse().unwrap()).unwrap();
        for (source, octet) in [("127.0.0.2:0", 2), ("127.0.0.1:0", 1), ("127.0.0.3:0", 3)] {
            let other = UdpSocket::bind(source).unwrap();
            other.send_to(&[octet], own.local_addr().unwrap()).unwrap();
        }
        let mut octets = [0; 8];
        assert_eq!(own.recv(&mut octets).unwrap(), 1);
        assert_eq!(octets[0], 3);
    }

    #[test]
    fn all_of_an_ipv6_address_is_compared() {
        let Ok(own) = UdpSocket::bind("[::1]:0") else {
            eprintln!("skipped: there is no IPv6 here");
            return;
        };
        own.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let sender = UdpSocket::bind("[::1]:0").unwrap();
        let send = |octet| sender.send_to(&[octet], own.local_addr().unwrap()).unwrap();
        admit_only(&own, "::2".parse().unwrap()).unwrap();
        send(1);
        admit_only(&own, "1::1".parse().unwrap()).unwrap();
        send(2);
        admit_only(&own, "::1".parse().unwrap()).unwrap();
        send(3);
        let mut octets = [0; 8];
        assert_eq!(own.recv(&mut octets).unwrap(), 1);
        assert_eq!(octets[0], 3);
    }
}
