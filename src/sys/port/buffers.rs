//! What batches of datagrams lie in: equal buffers in one piece of memory, one a slot,
//! and the headers of messages that lead to them.

use std::cell::UnsafeCell;
use std::io;
use std::mem::{offset_of, size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use libc::{iovec, mmsghdr, sockaddr_in, sockaddr_in6};

/// What is left of a datagram that did not fit: a DNS header, which can be
/// answered with an error and nothing else.
pub(in crate::sys) const CUT: usize = 12;

/// Equal buffers in one piece of memory.
pub(in crate::sys) struct Slots {
    octets: Box<[UnsafeCell<u8>]>,
    size: usize,
    stride: usize,
}

impl Slots {
    pub(in crate::sys) fn new(count: usize, size: usize) -> Slots {
        // Strides of whole pages would put the beginnings of all buffers into
        // the same few cache sets; an odd number of lines spreads them.
        let stride = (size.div_ceil(64) | 1) * 64;
        let octets = (0..count * stride).map(|_| UnsafeCell::new(0)).collect();
        Slots {
            octets,
            size,
            stride,
        }
    }

    pub(in crate::sys) fn size(&self) -> usize {
        self.size
    }

    pub(in crate::sys) fn place(&self, index: usize) -> *mut u8 {
        let slot = &self.octets[index * self.stride..][..self.size];
        UnsafeCell::raw_get(slot.as_ptr())
    }

    pub(in crate::sys) fn vector(&self, index: usize) -> UnsafeCell<iovec> {
        UnsafeCell::new(iovec {
            iov_base: self.place(index).cast(),
            iov_len: self.size,
        })
    }
}

/// Octets of a peer's address.
pub(in crate::sys) fn name_length(ipv6: bool) -> libc::socklen_t {
    let length = match ipv6 {
        true => size_of::<sockaddr_in6>(),
        false => size_of::<sockaddr_in>(),
    };
    length as libc::socklen_t
}

/// The peer in a structure that has room for either kind of address: the port is at
/// the same place in both, the address of IPv4 where that of IPv6 has its flow
/// information.
#[inline]
pub(in crate::sys) fn peer_of(peer: &sockaddr_in6, ipv6: bool) -> SocketAddr {
    let port = u16::from_be(peer.sin6_port);
    if !ipv6 {
        let address = Ipv4Addr::from(peer.sin6_flowinfo.to_ne_bytes());
        return SocketAddrV4::new(address, port).into();
    }
    let address = Ipv6Addr::from(peer.sin6_addr.s6_addr);
    SocketAddrV6::new(address, port, 0, peer.sin6_scope_id).into()
}

/// The same peer in as many bits.
#[inline]
pub(in crate::sys) fn flow_of(peer: &sockaddr_in6, ipv6: bool) -> [u64; 2] {
    let port = peer.sin6_port.to_ne_bytes();
    match ipv6 {
        true => ipv6_flow(peer.sin6_addr.s6_addr, port),
        false => ipv4_flow(peer.sin6_flowinfo.to_ne_bytes(), port),
    }
}

/// A client in as many bits, by its address and port as they lie in a packet: the same
/// ones whichever kind of port it came in on.
#[inline]
pub(in crate::sys) fn ipv4_flow(address: [u8; 4], port: [u8; 2]) -> [u64; 2] {
    let (address, port) = (u32::from_ne_bytes(address), u16::from_ne_bytes(port));
    [u64::from(address) << 16 | u64::from(port), 0]
}

/// The same of IPv6.
#[inline]
pub(in crate::sys) fn ipv6_flow(address: [u8; 16], port: [u8; 2]) -> [u64; 2] {
    let bits = u128::from_ne_bytes(address);
    let port = u64::from(u16::from_ne_bytes(port));
    [(bits >> 64) as u64 ^ port, bits as u64]
}

const _: () = assert!(offset_of!(sockaddr_in, sin_port) == offset_of!(sockaddr_in6, sin6_port));
const _: () = assert!(offset_of!(sockaddr_in, sin_addr) == offset_of!(sockaddr_in6, sin6_flowinfo));

pub(in crate::sys) fn no_peer() -> sockaddr_in6 {
    // SAFETY: all zero is a valid address structure.
    unsafe { zeroed() }
}

pub(in crate::sys) fn empty_header() -> mmsghdr {
    // SAFETY: all zero is a valid header that points at nothing.
    unsafe { zeroed() }
}

pub(in crate::sys) fn is_empty_wait(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_do_not_overlap() {
        let slots = Slots::new(3, 100);
        assert!(slots.stride >= 100 && (slots.stride / 64) % 2 == 1);
        assert_eq!(
            slots.place(1) as usize - slots.place(0) as usize,
            slots.stride
        );
        assert!(size_of_val(&*slots.octets) >= 3 * 100);
    }
}
