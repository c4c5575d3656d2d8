//! Frames of whatever content, given to an interface as they are (packet(7)). Needs
//! CAP_NET_RAW.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::sys::ethtool;
use crate::sys::port::{MAX_WIDTH, empty_header};

/// `ETH_P_ALL` in the network's order, for sending: nothing is received by 0.
const NOTHING: libc::c_int = 0;

/// An interface to send on.
pub struct FrameSender {
    socket: OwnedFd,
}

impl FrameSender {
    /// The interface of that name.
    ///
    /// # Errors
    ///
    /// No such interface, or what the kernel says to `socket` or `bind`.
    pub fn new(interface: &str) -> io::Result<FrameSender> {
        let index = ethtool::number(interface)?;
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: the call takes no pointer.
        let returned = unsafe { libc::socket(libc::AF_PACKET, kind, NOTHING) };
        let fd = crate::sys::check(returned)? as libc::c_int;
        // SAFETY: the kernel just gave out `fd`, and nothing else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all zero is a value of this structure of numbers.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = index as i32;
        let (place, length) = ((&raw const address).cast(), size_of::<libc::sockaddr_ll>());
        // SAFETY: `place` is an address of `length` octets.
        crate::sys::check(unsafe { libc::bind(fd, place, length as libc::socklen_t) })?;
        Ok(FrameSender { socket })
    }

    /// Sends frames, 128 at most, and returns how many.
    ///
    /// # Errors
    ///
    /// What the kernel says of the first one.
    pub fn send(&self, frames: &mut [Vec<u8>]) -> io::Result<usize> {
        let frames = frames.iter_mut().take(MAX_WIDTH);
        let mut vectors: Vec<libc::iovec> = frames
            .map(|frame| libc::iovec {
                iov_base: frame.as_mut_ptr().cast(),
                iov_len: frame.len(),
            })
            .collect();
        let mut headers: Vec<libc::mmsghdr> = vectors
            .iter_mut()
            .map(|vector| {
                let mut header = empty_header();
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        let (fd, count) = (self.socket.as_raw_fd(), headers.len() as libc::c_uint);
        // SAFETY: the headers point at vectors and these at frames, all of which are
        // borrowed for the call.
        crate::sys::check(unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), count, 0) })
    }
}
