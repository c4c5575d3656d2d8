//! Copies of the heads of datagrams as they come in for a UDP port, on any
//! interface, before the kernel picks their socket (packet(7)). It takes
//! CAP_NET_RAW.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

use libc::{c_int, sockaddr_ll, socklen_t};
use socket2::{Domain, SockAddr, SockFilter, Socket, Type};

use super::super::port::Wait;
use super::super::socket::set_buffers;
use super::super::steer::{instruction, load, return_k};
use super::client::Inbox;

/// Heads that are taken at once.
const WIDTH: usize = 128;
/// Octets of each: the longest IPv4 header and the ports behind it, or both of
/// an IPv6 header without extensions.
const HEAD: usize = 64;
/// Octets that may wait, as the kernel counts them: some 20,000 datagrams.
const BUFFER: usize = 16 << 20;

/// Where a datagram came from and where it went.
pub type Ends = (SocketAddr, IpAddr);

/// What listens along.
pub struct Tap {
    socket: Socket,
    inbox: Inbox,
}

impl Tap {
    /// Listens along from now on, to IPv4 or to IPv6.
    ///
    /// # Errors
    ///
    /// What the kernel says; without the capability, that it is not permitted.
    pub fn open(port: u16, ipv6: bool) -> io::Result<Tap> {
        let (ethernet, program) = match ipv6 {
            false => (libc::ETH_P_IP, ipv4_to(port)),
            true => (libc::ETH_P_IPV6, ipv6_to(port)),
        };
        // Of no protocol until the filter is in place, so that nothing else is
        // ever taken. One protocol's listener hears what comes in and not what
        // goes out, so that loopback counts once (`net/core/dev.c`).
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
        let program = program
            .iter()
            .map(|it| SockFilter::new(it.code, it.jt, it.jf, it.k));
        socket.attach_filter(&program.collect::<Vec<_>>())?;
        set_buffers(&socket, BUFFER, 0);
        bind(&socket, ethernet)?;
        Ok(Tap {
            socket,
            inbox: Inbox::new(WIDTH, HEAD),
        })
    }

    /// Hands out what has come, without waiting; false where nothing had.
    ///
    /// # Errors
    ///
    /// What the kernel says to `recvmmsg`.
    pub fn take(&mut self, mut each: impl FnMut(Ends)) -> io::Result<bool> {
        let count = self.inbox.receive(&self.socket, Wait::No)?;
        for index in 0..count {
            if let Some(ends) = read(self.inbox.reply(index)) {
                each(ends);
            }
        }
        Ok(count > 0)
    }

    /// Datagrams that came too fast since this was asked last.
    pub fn missed(&self) -> u32 {
        // `struct tpacket_stats` (linux/if_packet.h).
        const PACKET_STATISTICS: c_int = 6;
        let mut statistics = [0u32; 2];
        let mut length = size_of_val(&statistics) as socklen_t;
        let (fd, place) = (self.as_raw_fd(), statistics.as_mut_ptr().cast());
        // SAFETY: `place` and `length` describe `statistics`, which lives through
        // the call.
        let returned = unsafe {
            libc::getsockopt(fd, libc::SOL_PACKET, PACKET_STATISTICS, place, &mut length)
        };
        match super::super::check(returned) {
            Ok(_) => statistics[1],
            Err(_) => 0,
        }
    }
}

impl AsRawFd for Tap {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// All interfaces, one protocol.
fn bind(socket: &Socket, ethernet: c_int) -> io::Result<()> {
    let fill = |storage: *mut socket2::SockAddrStorage, length: *mut socklen_t| {
        let address = storage.cast::<sockaddr_ll>();
        // SAFETY: the storage is zeroed, aligned for and larger than any address.
        let address = unsafe { &mut *address };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (ethernet as u16).to_be();
        // SAFETY: the caller lends `length` for this closure.
        unsafe { *length = size_of::<sockaddr_ll>() as socklen_t };
        Ok(())
    };
    // SAFETY: `fill` leaves a whole address and its length.
    let ((), address) = unsafe { SockAddr::try_init(fill) }?;
    socket.bind(&address)
}

const DATAGRAM: u32 = libc::IPPROTO_UDP as u32;

/// Goes on where A is `value`, else skips to the end, `left` instructions on.
fn unless(value: u32, left: u8) -> libc::sock_filter {
    let compare = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    instruction(compare, value, left)
}

/// The program's packet begins with the IP header (RFC 791 §3.1).
fn ipv4_to(port: u16) -> Vec<libc::sock_filter> {
    let not_first = instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0x1fff, 0);
    vec![
        load(libc::BPF_B, 9),
        unless(DATAGRAM, 6),
        // Ports are in the first fragment alone.
        load(libc::BPF_H, 6),
        libc::sock_filter { jt: 4, ..not_first },
        instruction(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0),
        instruction(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 2, 0),
        unless(u32::from(port), 1),
        return_k(HEAD as u32),
        return_k(0),
    ]
}

/// RFC 8200 §3; datagrams behind extension headers are passed by.
fn ipv6_to(port: u16) -> Vec<libc::sock_filter> {
    vec![
        load(libc::BPF_B, 6),
        unless(DATAGRAM, 3),
        load(libc::BPF_H, 42),
        unless(u32::from(port), 1),
        return_k(HEAD as u32),
        return_k(0),
    ]
}

fn read(head: &[u8]) -> Option<Ends> {
    let (source, destination, ports): (IpAddr, IpAddr, usize) = match head.first()? >> 4 {
        4 => {
            let address = |at: usize| head[at..].first_chunk::<4>().map(|&it| Ipv4Addr::from(it));
            let _whole = head.get(..20)?;
            let ports = usize::from(head[0] & 15) * 4;
            (address(12)?.into(), address(16)?.into(), ports)
        }
        6 => {
            let address = |at: usize| head[at..].first_chunk::<16>().map(|&it| Ipv6Addr::from(it));
            let _whole = head.get(..40)?;
            (address(8)?.into(), address(24)?.into(), 40)
        }
        _ => return None,
    };
    let port = u16::from_be_bytes(*head.get(ports..)?.first_chunk()?);
    Some((SocketAddr::new(source, port), destination))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn each_datagram_is_seen_once_and_replies_are_not() {
        for (address, ipv6) in [("127.0.0.1:0", false), ("[::1]:0", true)] {
            let server = UdpSocket::bind(address).unwrap();
            let client = UdpSocket::bind(address).unwrap();
            let local = server.local_addr().unwrap();
            let mut tap = match Tap::open(local.port(), ipv6) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return eprintln!("SKIPPED: only root listens along");
                }
                tap => tap.unwrap(),
            };
            client.connect(local).unwrap();
            for _ in 0..3 {
                client.send(b"request").unwrap();
            }
            server
                .send_to(b"reply", client.local_addr().unwrap())
                .unwrap();
            let mut seen = Vec::new();
            while tap.take(|ends| seen.push(ends)).unwrap() {}
            let ends = (client.local_addr().unwrap(), local.ip());
            assert_eq!(seen, [ends; 3]);
            assert_eq!(tap.missed(), 0);
        }
    }

    #[test]
    fn heads_cut_short_are_passed_by() {
        for head in [&[][..], &[0x45; 19], &[0x4f; 60], &[0x60; 40], &[0x10; 64]] {
            assert_eq!(read(head), None);
        }
    }
}
