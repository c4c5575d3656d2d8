//! What a service manager hands to the process that it starts: variables of the
//! environment, descriptors from the third on, a clock.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use libc::c_int;
use socket2::{Protocol, Socket, Type};

/// The first descriptor that is handed over (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;

/// What a descriptor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A UDP socket that is bound.
    Udp {
        /// Where.
        address: SocketAddr,
        /// Whether it takes IPv4 besides IPv6.
        both: bool,
    },
    /// A TCP socket that listens.
    TcpListener(SocketAddr),
    /// A UNIX stream socket that listens.
    UnixListener(Option<PathBuf>),
    /// Something else.
    Other(&'static str),
}

/// The value of a variable, which goes from the environment while there is but
/// one thread: nothing that is started later is to take it for its own.
pub fn take_variable(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name)?;
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads == 1 {
        // SAFETY: no other thread reads the environment, since there is none.
        unsafe { std::env::remove_var(name) };
    }
    Some(value)
}

/// The descriptors that a service manager has left, as many as it said, each
/// closed when another program is executed. To be called once in a process.
///
/// # Errors
///
/// A descriptor that is not open; none is taken then.
pub fn take_descriptors(count: usize) -> io::Result<Vec<OwnedFd>> {
    let end = c_int::try_from(count)
        .ok()
        .and_then(|count| count.checked_add(FIRST));
    let end = end.ok_or_else(|| io::Error::other("there cannot be so many"))?;
    for descriptor in FIRST..end {
        // SAFETY: the call takes no pointer, and fails on what is not open.
        let flags = super::check(unsafe { libc::fcntl(descriptor, libc::F_GETFD) })? as c_int;
        // SAFETY: as above.
        super::check(unsafe { libc::fcntl(descriptor, libc::F_SETFD, flags | libc::FD_CLOEXEC) })?;
    }
    // SAFETY: they are open, and by the service manager's word they are handed to
    // this process for whoever takes them, which is done once.
    Ok((FIRST..end)
        .map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) })
        .collect())
}

/// What a descriptor is.
pub fn kind(descriptor: &OwnedFd) -> Kind {
    let socket = socket2::SockRef::from(descriptor);
    kind_of(&socket).unwrap_or(Kind::Other("no socket"))
}

fn kind_of(socket: &Socket) -> io::Result<Kind> {
    let local = socket.local_addr()?;
    let bound = local.as_socket().filter(|address| address.port() != 0);
    let listens = socket.is_listener()?;
    Ok(match (socket.r#type()?, socket.protocol()?, bound) {
        (Type::DGRAM, Some(Protocol::UDP), Some(address)) => Kind::Udp {
            address,
            both: address.is_ipv6() && address.ip().is_unspecified() && !socket.only_v6()?,
        },
        (Type::STREAM, Some(Protocol::TCP), Some(address)) if listens => Kind::TcpListener(address),
        (Type::STREAM, _, _) if local.is_unix() && listens => {
            Kind::UnixListener(local.as_pathname().map(Into::into))
        }
        (Type::STREAM, _, _) => Kind::Other("a stream socket that does not listen"),
        (Type::DGRAM, Some(Protocol::UDP), None) => Kind::Other("a UDP socket that is not bound"),
        (_, _, _) => Kind::Other("a socket of another kind"),
    })
}

/// Microseconds of `CLOCK_MONOTONIC`, which a service manager compares.
pub fn monotonic_microseconds() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` lives through the call, which fails for no clock that exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixListener};

    #[test]
    fn descriptors_are_told_apart() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = udp.local_addr().unwrap();
        let both = false;
        assert_eq!(kind(&udp.into()), Kind::Udp { address, both });
        let tcp = TcpListener::bind("[::1]:0").unwrap();
        let address = tcp.local_addr().unwrap();
        assert_eq!(kind(&tcp.into()), Kind::TcpListener(address));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let unix = UnixListener::bind(&path).unwrap();
        assert_eq!(kind(&unix.into()), Kind::UnixListener(Some(path)));
        let other = |descriptor: OwnedFd| matches!(kind(&descriptor), Kind::Other(_));
        assert!(other(UnixDatagram::unbound().unwrap().into()));
        assert!(other(std::fs::File::open("/dev/null").unwrap().into()));
        let unbound = Socket::new(socket2::Domain::IPV4, Type::DGRAM, Some(Protocol::UDP));
        assert!(other(unbound.unwrap().into()));
    }

    #[test]
    fn the_clock_goes_on() {
        let before = monotonic_microseconds();
        assert!(before > 0 && monotonic_microseconds() >= before);
    }
}
