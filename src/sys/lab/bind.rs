//! Sockets that try for an address with whatever options, for the laboratory:
//! the server's own are in `socket`, which knows which options are good.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::thread;

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted.
const BACKLOG: libc::c_int = 64;

/// The options that let sockets share an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reuse {
    /// `SO_REUSEADDR`.
    pub address: bool,
    /// `SO_REUSEPORT`.
    pub port: bool,
}

/// A UDP socket that does not block. One of IPv6 takes IPv4 as well.
///
/// # Errors
///
/// What the kernel says to `socket` or `bind`.
pub fn bind_udp(address: SocketAddr, reuse: Reuse) -> io::Result<UdpSocket> {
    bind(address, reuse, Type::DGRAM, Protocol::UDP).map(UdpSocket::from)
}

/// A TCP socket that has an address and does not listen yet.
#[derive(Debug)]
pub struct BoundTcp(Socket);

/// A TCP socket that has an address, and does not block.
///
/// # Errors
///
/// As `bind_udp`.
pub fn bind_tcp(address: SocketAddr, reuse: Reuse) -> io::Result<BoundTcp> {
    bind(address, reuse, Type::STREAM, Protocol::TCP).map(BoundTcp)
}

impl BoundTcp {
    /// The address, with the port that the kernel chose.
    ///
    /// # Errors
    ///
    /// What the kernel says to `getsockname`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = self.0.local_addr()?;
        address
            .as_socket()
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Takes connections.
    ///
    /// # Errors
    ///
    /// What the kernel says to `listen`.
    pub fn listen(self) -> io::Result<TcpListener> {
        self.0.listen(BACKLOG)?;
        Ok(self.0.into())
    }
}

fn bind(address: SocketAddr, reuse: Reuse, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(reuse.address)?;
    socket.set_reuse_port(reuse.port)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A UDP socket whose multicasts stay on loopback.
///
/// # Errors
///
/// What the kernel says.
pub fn multicast_sender() -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    Ok(socket.into())
}

/// Acts on a thread of its own whose sockets belong to `user`, `None` where
/// this process may not do so. A socket's owner is its maker's file-system user
/// (`sock_alloc` in `net/socket.c`), which is a thread's own (setfsuid(2)), so
/// that nothing else in the process changes hands.
pub fn as_user<T: Send>(user: u32, act: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            // The first call changes the user without saying whether it could;
            // the second returns whom it finds.
            set_file_system_user(user);
            (set_file_system_user(user) == i64::from(user)).then(act)
        });
        other.join().ok().flatten()
    })
}

/// Returns the user before the call.
fn set_file_system_user(user: u32) -> i64 {
    // SAFETY: the call takes no pointer and changes this thread alone.
    i64::from(unsafe { libc::setfsuid(user) })
}

/// The symbol of an error that `bind` and `listen` are known for, or its number.
pub fn symbol(error: &io::Error) -> String {
    let symbol = match error.raw_os_error() {
        Some(libc::EADDRINUSE) => "EADDRINUSE",
        Some(libc::EADDRNOTAVAIL) => "EADDRNOTAVAIL",
        Some(libc::EACCES) => "EACCES",
        Some(libc::EAFNOSUPPORT) => "EAFNOSUPPORT",
        Some(libc::EINVAL) => "EINVAL",
        Some(libc::EPERM) => "EPERM",
        Some(libc::ENOPROTOOPT) => "ENOPROTOOPT",
        Some(number) => return format!("errno {number}"),
        None => return error.to_string(),
    };
    symbol.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    const NEITHER: Reuse = Reuse {
        address: false,
        port: false,
    };

    fn any() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    #[test]
    fn a_taken_address_is_refused_by_name() {
        let taken = bind_tcp(any(), NEITHER).unwrap();
        let refused = bind_tcp(taken.local_addr().unwrap(), NEITHER).unwrap_err();
        assert_eq!(symbol(&refused), "EADDRINUSE");
        assert_eq!(symbol(&io::Error::from_raw_os_error(1000)), "errno 1000");
    }

    #[test]
    fn another_users_thread_is_the_only_one_that_changes() {
        let own = std::fs::metadata("/proc/thread-self").unwrap().uid();
        let owner = |socket: &UdpSocket| {
            use std::os::fd::AsRawFd;
            let link = format!("/proc/self/fd/{}", socket.as_raw_fd());
            std::fs::metadata(link).unwrap().uid()
        };
        assert_eq!(as_user(own, || 7), Some(7));
        let Some(socket) = as_user(65534, || bind_udp(any(), NEITHER).unwrap()) else {
            eprintln!("skipped: only root makes sockets of another user");
            return;
        };
        assert_eq!(owner(&socket), 65534);
        assert_eq!(owner(&bind_udp(any(), NEITHER).unwrap()), own);
    }
}
