//! UNIX stream sockets as the control socket needs them: private, with a peer that
//! is known, and a way for descriptors from process to process.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::ptr;

use libc::{c_int, c_uint, socklen_t};
use socket2::{Domain, SockAddr, Socket, Type};

/// Connections that wait to be accepted.
const BACKLOG: c_int = 16;
/// Descriptors that one message carries; the kernel takes 253 (`SCM_MAX_FD`).
const MAX_DESCRIPTORS: usize = 250;
/// Octets of a control message with so many, in words so that it is aligned.
const CONTROL_WORDS: usize =
    (size_of::<libc::cmsghdr>() + MAX_DESCRIPTORS * size_of::<RawFd>()).div_ceil(size_of::<u64>());

/// A listener that only its owner and root can connect to, from the moment that it
/// has a name.
///
/// # Errors
///
/// What the kernel says, as where something has the name already.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The mode of the socket is that of its file (`unix_bind` in `net/unix/af_unix.c`).
    // SAFETY: the call takes no pointer.
    super::check(unsafe { libc::fchmod(socket.as_raw_fd(), 0o600) })?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(UnixListener::from(OwnedFd::from(socket)))
}

/// The user who is at the other end, as of when it connected, or began to listen.
///
/// # Errors
///
/// What the kernel says to `SO_PEERCRED`.
pub fn peer_user(stream: &UnixStream) -> io::Result<u32> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut length = size_of_val(&peer) as socklen_t;
    let place = (&raw mut peer).cast();
    let (level, option) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    // SAFETY: `place` and `length` describe `peer`, which lives through the call.
    let returned =
        unsafe { libc::getsockopt(stream.as_raw_fd(), level, option, place, &mut length) };
    super::check(returned)?;
    Ok(peer.uid)
}

/// Sends copies of descriptors, in as many messages as they take, each with one
/// octet beside them.
///
/// # Errors
///
/// What the kernel says to `sendmsg`.
pub fn send_descriptors(stream: &UnixStream, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    for some in descriptors.chunks(MAX_DESCRIPTORS) {
        let raw: Vec<RawFd> = some.iter().map(AsRawFd::as_raw_fd).collect();
        let octets = size_of_val(&raw[..]) as c_uint;
        let mut control = [0u64; CONTROL_WORDS];
        // SAFETY: the call computes a number from a number.
        let space = unsafe { libc::CMSG_SPACE(octets) };
        // SAFETY: the call computes a number from a number.
        let length = unsafe { libc::CMSG_LEN(octets) };
        let header = libc::cmsghdr {
            cmsg_len: length as _,
            cmsg_level: libc::SOL_SOCKET,
            cmsg_type: libc::SCM_RIGHTS,
        };
        let place = control.as_mut_ptr().cast::<libc::cmsghdr>();
        // SAFETY: `control` is aligned for a header, and longer than one.
        unsafe { place.write(header) };
        // SAFETY: the header is the first of `control`, and its data follow it.
        let data = unsafe { libc::CMSG_DATA(place) };
        // SAFETY: `control` has room for `MAX_DESCRIPTORS` descriptors behind a
        // header, and `raw` has no more.
        unsafe { ptr::copy_nonoverlapping(raw.as_ptr().cast(), data, octets as usize) };
        let octet = [IoSlice::new(b"d")];
        let mut message = message(octet.as_ptr().cast_mut().cast(), &mut control);
        message.msg_controllen = space as _;
        super::retry(|| {
            // SAFETY: all that `message` points to lives through the call.
            let sent = unsafe { libc::sendmsg(stream.as_raw_fd(), &message, libc::MSG_NOSIGNAL) };
            super::check(sent as c_int)
        })?;
    }
    Ok(())
}

/// Receives so many descriptors, which are closed when a program is executed.
///
/// # Errors
///
/// What the kernel says to `recvmsg`; an end before all have come.
pub fn receive_descriptors(stream: &UnixStream, count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut received = Vec::with_capacity(count);
    while received.len() < count {
        let mut octet = [0];
        let mut vector = [IoSliceMut::new(&mut octet)];
        let mut control = [0u64; CONTROL_WORDS];
        let mut message = message(vector.as_mut_ptr().cast(), &mut control);
        let length = super::retry(|| {
            let flags = libc::MSG_CMSG_CLOEXEC;
            // SAFETY: all that `message` points to lives through the call.
            let length = unsafe { libc::recvmsg(stream.as_raw_fd(), &mut message, flags) };
            super::check(length as c_int)
        })?;
        // SAFETY: the kernel has filled in what `message` points to.
        let header = unsafe { libc::CMSG_FIRSTHDR(&message) };
        if length == 0 || header.is_null() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: it is not null, and so the beginning of a whole header.
        let head = unsafe { header.read() };
        if (head.cmsg_level, head.cmsg_type) != (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY: the data of a header are behind it.
        let data = unsafe { libc::CMSG_DATA(header) };
        let octets = head.cmsg_len as usize - (data as usize - header as usize);
        for index in 0..octets / size_of::<RawFd>() {
            let place = data.cast::<RawFd>().wrapping_add(index);
            // SAFETY: the kernel has written so many descriptors there.
            let raw = unsafe { place.read_unaligned() };
            // SAFETY: the kernel just gave it out, and nothing else owns it.
            received.push(unsafe { OwnedFd::from_raw_fd(raw) });
        }
    }
    Ok(received)
}

fn message(vector: *mut libc::iovec, control: &mut [u64; CONTROL_WORDS]) -> libc::msghdr {
    // SAFETY: a header of nothing but zeros is valid: no name, no vectors.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(control) as _;
    message
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;

    use super::super::user;
    use super::*;

    #[test]
    fn descriptors_arrive_in_their_order_however_many() {
        for count in [1, MAX_DESCRIPTORS, MAX_DESCRIPTORS + 1] {
            let (one, other) = UnixStream::pair().unwrap();
            let pipes: Vec<_> = (0..count).map(|_| io::pipe().unwrap()).collect();
            let readers: Vec<BorrowedFd<'_>> = pipes.iter().map(|(r, _)| r.as_fd()).collect();
            send_descriptors(&one, &readers).unwrap();
            let received = receive_descriptors(&other, count).unwrap();
            assert_eq!(received.len(), count);
            for (number, ((_, mut writer), reader)) in pipes.into_iter().zip(received).enumerate() {
                io::Write::write_all(&mut writer, &number.to_be_bytes()).unwrap();
                let mut octets = [0; 8];
                File::from(reader).read_exact(&mut octets).unwrap();
                assert_eq!(usize::from_be_bytes(octets), number);
            }
            drop(one);
            assert!(receive_descriptors(&other, 1).is_err());
        }
    }

    #[test]
    fn a_listener_is_private_and_knows_its_peer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let listener = listen(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let client = UnixStream::connect(&path).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (served, _) = listener.accept().unwrap();
        assert_eq!(peer_user(&served).unwrap(), user::effective());
        assert_eq!(peer_user(&client).unwrap(), user::effective());
        assert!(listen(&path).is_err());
    }
}
