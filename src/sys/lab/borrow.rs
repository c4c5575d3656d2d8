//! Another process's socket, borrowed for a moment: a descriptor of the same
//! socket is had by pidfd_getfd(2), its options are read, and it is closed. It
//! takes the right to trace that process (ptrace(2)), which root has. Nothing of
//! the socket is changed but what the kernel changes for whoever gets a descriptor
//! (`__receive_sock` in `net/core/sock.c`): under version 1 of control groups it is
//! from then on in the net_cls class and has the net_prio index of this process.
//! What a program on its group is, no option tells.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use libc::{c_int, c_long, socklen_t};
use socket2::Socket;

use super::super::check;

/// What only a descriptor tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// `SO_REUSEPORT`: one of a group.
    pub reuse_port: bool,
    /// `SO_REUSEADDR`.
    pub reuse_address: bool,
    /// `SO_INCOMING_CPU`: the CPU that brought the last datagram, or that was
    /// asked for; `None` before the first.
    pub incoming_cpu: Option<u32>,
    /// `SO_BUSY_POLL`, in microseconds; 0 where it waits to be woken.
    pub busy_poll_us: u32,
    /// A filter of the socket's own (`SO_ATTACH_FILTER`, `SO_ATTACH_BPF`).
    pub filter: SocketFilter,
}

/// What looks at each datagram before the socket takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketFilter {
    /// Nothing.
    None,
    /// A classic program of so many instructions.
    Classic(u32),
    /// An eBPF program, which cannot be read back.
    Extended,
    /// The kernel does not say.
    Unknown,
}

/// The options of the socket with this cookie, which process `process` has as
/// descriptor `descriptor`.
///
/// # Errors
///
/// What the kernel says, or that the descriptor is of something else by now.
pub fn options(process: u32, descriptor: RawFd, cookie: u64) -> io::Result<SocketOptions> {
    let socket = Socket::from(copy(process, descriptor)?);
    let fd = socket.as_raw_fd();
    if option::<u64>(fd, libc::SO_COOKIE)? != cookie {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    let cpu = option::<c_int>(fd, libc::SO_INCOMING_CPU).unwrap_or(-1);
    Ok(SocketOptions {
        reuse_port: socket.reuse_port()?,
        reuse_address: socket.reuse_address()?,
        incoming_cpu: u32::try_from(cpu).ok(),
        busy_poll_us: option::<c_int>(fd, libc::SO_BUSY_POLL).unwrap_or(0) as u32,
        filter: filter(fd),
    })
}

/// A descriptor of this process for the same open file.
fn copy(process: u32, descriptor: RawFd) -> io::Result<OwnedFd> {
    let no_flags: c_long = 0;
    // SAFETY: the call takes numbers and no pointer.
    let returned = unsafe { libc::syscall(libc::SYS_pidfd_open, c_long::from(process), no_flags) };
    let process = check(returned as c_int)? as RawFd;
    // SAFETY: the kernel just gave out `process`, and nothing else owns it.
    let process = unsafe { OwnedFd::from_raw_fd(process) };
    let (process, descriptor) = (c_long::from(process.as_raw_fd()), c_long::from(descriptor));
    // SAFETY: the call takes numbers and no pointer.
    let returned = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process, descriptor, no_flags) };
    let copy = check(returned as c_int)? as RawFd;
    // SAFETY: the kernel just gave out `copy`, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// An option of the socket's level whose value is a number.
fn option<T: Copy + Default>(fd: RawFd, name: c_int) -> io::Result<T> {
    let mut value = T::default();
    let mut length = size_of::<T>() as socklen_t;
    let place = (&raw mut value).cast();
    // SAFETY: `place` and `length` describe `value`, a plain number that lives
    // through the call.
    let returned = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, place, &mut length) };
    check(returned)?;
    Ok(value)
}

/// Asked for no instructions at all, the kernel says how many there are
/// (`sk_get_filter` in `net/core/filter.c`).
fn filter(fd: RawFd) -> SocketFilter {
    let (name, mut length): (c_int, socklen_t) = (libc::SO_GET_FILTER, 0);
    let nowhere = std::ptr::null_mut();
    // SAFETY: with a length of 0 the kernel writes the length alone.
    let returned = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, nowhere, &mut length) };
    match check(returned) {
        Ok(_) if length == 0 => SocketFilter::None,
        Ok(_) => SocketFilter::Classic(length),
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => SocketFilter::Extended,
        Err(_) => SocketFilter::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use super::super::super::socket::{UdpOptions, UdpSocket};
    use super::super::super::steer::{Steer, attach, return_k, set_program};

    /// A process may borrow from itself.
    #[test]
    fn options_are_read_and_a_program_on_the_group_is_not_among_them() {
        let wanted = UdpOptions {
            grouped: true,
            receive_buffer: 1 << 16,
            timeout: Duration::from_secs(1),
        };
        let socket = UdpSocket::bind(([127, 0, 0, 1], 0).into(), &wanted, &mut Vec::new()).unwrap();
        let fd = socket.as_raw_fd();
        let cookie = option::<u64>(fd, libc::SO_COOKIE).unwrap();
        let read = || options(std::process::id(), fd, cookie);
        let first = match read() {
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
                return eprintln!("SKIPPED: this kernel lends no descriptors");
            }
            first => first.unwrap(),
        };
        assert!(first.reuse_port && !first.reuse_address);
        assert_eq!((first.filter, first.busy_poll_us), (SocketFilter::None, 0));
        attach(&socket, Steer::Random, &[0]).unwrap();
        assert_eq!(read().unwrap().filter, SocketFilter::None);
        let all = vec![return_k(u32::MAX)];
        set_program(&socket, libc::SO_ATTACH_FILTER, all).unwrap();
        assert_eq!(read().unwrap().filter, SocketFilter::Classic(1));
        let other = options(std::process::id(), fd, cookie + 1).unwrap_err();
        assert_eq!(other.kind(), io::ErrorKind::NotFound);
    }
}
