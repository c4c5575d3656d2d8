//! What batches of datagrams lie in: equal buffers in one piece of memory, one a slot,
//! and the headers of messages that lead to them.

use std::cell::UnsafeCell;
use std::io;
use std::mem::{size_of, zeroed};

use libc::{iovec, mmsghdr, sockaddr_in6};

use crate::sys::socket::UdpSocket;

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

pub(super) fn name_length(socket: &UdpSocket) -> libc::socklen_t {
    let length = match socket.local().is_ipv4() {
        true => size_of::<libc::sockaddr_in>(),
        false => size_of::<sockaddr_in6>(),
    };
    length as libc::socklen_t
}

pub(super) fn no_peer() -> sockaddr_in6 {
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
