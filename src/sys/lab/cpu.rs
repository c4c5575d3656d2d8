//! Where things happen: the CPU that a thread runs on, and the one on which a
//! datagram was received.

use std::io;
use std::mem::size_of;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use libc::{c_int, socklen_t};

use super::super::socket::UdpSocket;
use super::super::steer::{add, load_ancillary, return_a, set_program};
use super::source::only_from;

/// Octets of the UDP header, which a socket filter sees in front of the payload.
const UDP_HEADER: u32 = 8;

/// The CPU that the calling thread runs on at this moment.
///
/// # Errors
///
/// What the kernel says to `getcpu`.
pub fn current() -> io::Result<usize> {
    // SAFETY: the call takes no pointer.
    super::super::check(unsafe { libc::sched_getcpu() })
}

/// The CPU on which the socket's last datagram was received, as
/// `SO_INCOMING_CPU` has it (socket(7), Linux 3.19); `None` where the kernel
/// has not noted any. It does so for connected UDP sockets only
/// (`__udp_queue_rcv_skb` in `net/ipv4/udp.c`).
///
/// # Errors
///
/// What the kernel says to `getsockopt`.
pub fn incoming(socket: &impl AsRawFd) -> io::Result<Option<usize>> {
    let mut cpu: c_int = -1;
    let mut length = size_of::<c_int>() as socklen_t;
    let (fd, option) = (socket.as_raw_fd(), libc::SO_INCOMING_CPU);
    let place = (&raw mut cpu).cast();
    // SAFETY: `place` and `length` describe `cpu`, which lives through the call.
    let returned =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, option, place, &raw mut length) };
    super::super::check(returned)?;
    Ok(usize::try_from(cpu).ok())
}

/// Cuts each datagram down to `base` octets and one for each CPU below the one
/// that received it, by a filter on the socket, which returns how much of the
/// datagram to keep (`SO_ATTACH_FILTER`, socket(7)) and runs where it is
/// received. What is shorter stays as it is. Where `source` is given, what others
/// send is dropped.
///
/// # Errors
///
/// What the kernel says to `setsockopt`.
pub fn tell_by_length(socket: &UdpSocket, base: u16, source: Option<IpAddr>) -> io::Result<()> {
    let mut program = source.map_or(Vec::new(), only_from);
    program.extend([
        load_ancillary(libc::SKF_AD_CPU),
        add(UDP_HEADER + u32::from(base)),
        return_a(),
    ]);
    set_program(socket, libc::SO_ATTACH_FILTER, program)
}
