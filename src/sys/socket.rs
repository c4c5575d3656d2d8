//! UDP sockets and TCP listeners as this server wants them. An option is
//! required, then its failure is the caller's error, or best effort, then it
//! becomes a note for the log.

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use libc::{c_int, socklen_t};
use socket2::{Domain, Protocol, Socket, Type};

/// Bytes that a socket may hold on their way out. A batch of 128 replies of
/// 4 KiB each, with the kernel's overhead, stays below.
const SEND_BUFFER: usize = 2 << 20;
/// Connections that wait to be accepted (as NSD has it).
const BACKLOG: c_int = 256;
/// Free ports that are tried, where any will do.
const PORT_ATTEMPTS: usize = 16;

/// How a UDP socket is made.
#[derive(Clone, Copy, Debug)]
pub struct UdpOptions {
    /// `SO_REUSEPORT`: one of a group.
    pub grouped: bool,
    /// Bytes that may wait to be read, as the kernel counts them.
    pub receive_buffer: usize,
    /// How long a receive waits before it returns empty.
    pub timeout: Duration,
}

/// A bound UDP socket.
#[derive(Debug)]
pub struct UdpSocket {
    socket: Socket,
    local: SocketAddr,
}

impl UdpSocket {
    /// Makes and binds a socket; adds a sentence to `notes` for each option
    /// that was not to be had.
    ///
    /// # Errors
    ///
    /// What the kernel says to `socket`, `bind` or a required option.
    pub fn bind(
        address: SocketAddr,
        options: &UdpOptions,
        notes: &mut Vec<String>,
    ) -> io::Result<UdpSocket> {
        Unbound::new(address, options, notes)?.bind()
    }

    /// Takes a socket that was made and bound elsewhere, with the options that it
    /// has, but for those that its reader relies on: how long a receive waits, and
    /// being told where datagrams were sent to.
    ///
    /// # Errors
    ///
    /// A descriptor that is no UDP socket, or one without an address.
    pub fn adopt(descriptor: OwnedFd, timeout: Duration) -> io::Result<UdpSocket> {
        let socket = Socket::from(descriptor);
        is_of(&socket, Type::DGRAM, Protocol::UDP)?;
        let local = address_of(&socket)?;
        socket.set_read_timeout(Some(timeout))?;
        tell_destinations(&socket, local)?;
        Ok(UdpSocket { socket, local })
    }

    /// Gives a socket that was bound elsewhere the options that one bound here has,
    /// as far as it lacks them; adds a sentence to `notes` for each that was not to
    /// be had.
    pub fn tune(&self, options: &UdpOptions, notes: &mut Vec<String>) {
        // systemd sets it on all sockets; see `bind` for what it lets others do.
        let _ = self.socket.set_reuse_address(false);
        let has = self.socket.recv_buffer_size().unwrap_or(0) / 2;
        if has < options.receive_buffer {
            tune(&self.socket, self.local, options, notes);
        } else {
            // Asking again could take away what a privileged binder gave.
            let _ = self.socket.set_send_buffer_size(SEND_BUFFER);
            ignore_path_mtu(&self.socket, self.local, notes);
        }
    }

    /// True where others may join it on its address.
    pub fn is_grouped(&self) -> bool {
        self.socket.reuse_port().unwrap_or(false)
    }

    /// The user whose sockets alone may join it: who made it.
    ///
    /// # Errors
    ///
    /// What the kernel says to `fcntl` and `fstat`.
    pub fn owner(&self) -> io::Result<u32> {
        Ok(File::from(self.copy_descriptor()?).metadata()?.uid())
    }

    /// One more descriptor of the socket, for somebody else to adopt.
    ///
    /// # Errors
    ///
    /// What the kernel says to `fcntl`.
    pub fn copy_descriptor(&self) -> io::Result<OwnedFd> {
        Ok(self.socket.try_clone()?.into())
    }

    /// The address that it is bound to, with the port that the kernel chose.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// True where datagrams to any address of the machine arrive here, so that
    /// replies must say which one they leave from.
    pub fn is_wildcard(&self) -> bool {
        self.local.ip().is_unspecified()
    }

    /// Datagrams that the kernel dropped because the socket's buffer was full.
    pub fn drops(&self) -> io::Result<u64> {
        Ok(u64::from(
            meminfo(self.as_raw_fd())?[libc::SK_MEMINFO_DROPS as usize],
        ))
    }

    /// Bytes that wait to be read, as the kernel counts them: a small datagram takes
    /// several hundred.
    pub fn waiting(&self) -> io::Result<usize> {
        Ok(meminfo(self.as_raw_fd())?[libc::SK_MEMINFO_RMEM_ALLOC as usize] as usize)
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// A UDP socket with all its options, to which no datagram comes before it is bound.
#[derive(Debug)]
pub struct Unbound {
    socket: Socket,
    address: SocketAddr,
    is_grouped: bool,
}

impl Unbound {
    /// Makes a socket for this address.
    ///
    /// # Errors
    ///
    /// As `UdpSocket::bind`.
    pub fn new(
        address: SocketAddr,
        options: &UdpOptions,
        notes: &mut Vec<String>,
    ) -> io::Result<Unbound> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Never SO_REUSEADDR: on UDP it lets a second binder take every
        // datagram without a word.
        socket.set_reuse_port(options.grouped)?;
        socket.set_read_timeout(Some(options.timeout))?;
        tell_destinations(&socket, address)?;
        tune(&socket, address, options, notes);
        Ok(Unbound {
            socket,
            address,
            is_grouped: options.grouped,
        })
    }

    /// Binds it.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn bind(self) -> io::Result<UdpSocket> {
        let Unbound {
            socket,
            address,
            is_grouped,
        } = self;
        match is_grouped && address.port() == 0 {
            true => bind_anywhere(&socket, || with_free_port(address))?,
            false => socket.bind(&address.into())?,
        }
        let local = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(UdpSocket { socket, local })
    }
}

/// Sees whether this process may bind sockets to an address that is taken, without taking
/// a datagram from who has it: a socket of no group is refused for that reason, and for
/// a lack of permission before (`__inet_bind` in `net/ipv4/af_inet.c`).
///
/// # Errors
///
/// What else the kernel says.
pub fn may_bind(address: SocketAddr) -> io::Result<()> {
    match std::net::UdpSocket::bind(address) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => Err(error),
        _ => Ok(()),
    }
}

/// Has the kernel say of each datagram to which address it was sent, where that
/// may be any.
fn tell_destinations(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if !address.ip().is_unspecified() {
        return Ok(());
    }
    let (level, option) = match address {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    set_option(socket.as_raw_fd(), level, option, 1)
}

/// Binds to the first address found that still is free: between two calls another socket
/// may get its port.
fn bind_anywhere(
    socket: &Socket,
    mut find: impl FnMut() -> io::Result<SocketAddr>,
) -> io::Result<()> {
    let mut taken = io::ErrorKind::AddrInUse.into();
    for _ in 0..PORT_ATTEMPTS {
        match socket.bind(&find()?.into()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => taken = error,
            bound => return bound,
        }
    }
    Err(taken)
}

/// The address with a port that no socket has. Left to choose, the kernel gives a
/// socket of a group any port that it may share, which may be that of another
/// group of the same user (`udp_lib_get_port` in `net/ipv4/udp.c`).
fn with_free_port(mut address: SocketAddr) -> io::Result<SocketAddr> {
    let probe = std::net::UdpSocket::bind(address)?;
    address.set_port(probe.local_addr()?.port());
    Ok(address)
}

/// The options without which the server still serves.
fn tune(socket: &Socket, address: SocketAddr, options: &UdpOptions, notes: &mut Vec<String>) {
    ignore_path_mtu(socket, address, notes);
    let wanted = options.receive_buffer;
    let got = set_buffers(socket, wanted, SEND_BUFFER);
    if got < wanted {
        notes.push(format!(
            "the receive buffer is {got} bytes rather than {wanted}; raise net.core.rmem_max, \
                or give the program CAP_NET_ADMIN"
        ));
    }
}

fn ignore_path_mtu(socket: &Socket, address: SocketAddr, notes: &mut Vec<String>) {
    // Replies may be fragmented on the way but never because of a forged
    // "fragmentation needed" (draft-ietf-dnsop-avoid-fragmentation).
    let (level, option) = match address {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
    };
    let fd = socket.as_raw_fd();
    if let Err(error) = set_option(fd, level, option, libc::IP_PMTUDISC_OMIT) {
        notes.push(format!("path MTU discovery stays on: {error}"));
    }
}

/// Sets the buffers past the machine's limits where that is allowed, as far as
/// they go elsewhere, and returns how many bytes may wait to be read.
pub(super) fn set_buffers(socket: &Socket, receive: usize, send: usize) -> usize {
    let fd = socket.as_raw_fd();
    let force = |option, bytes| set_option(fd, libc::SOL_SOCKET, option, as_c_int(bytes));
    if force(libc::SO_SNDBUFFORCE, send).is_err() {
        // Less room to send only means replies dropped earlier, and counted.
        let _ = socket.set_send_buffer_size(send);
    }
    if force(libc::SO_RCVBUFFORCE, receive).is_ok() {
        return receive;
    }
    let _ = socket.set_recv_buffer_size(receive);
    // The kernel doubles what is asked for, and gives what the limit allows.
    socket.recv_buffer_size().unwrap_or(0) / 2
}

fn as_c_int(bytes: usize) -> c_int {
    c_int::try_from(bytes).unwrap_or(c_int::MAX)
}

/// Sets an option whose value is an `int`.
pub(super) fn set_option(fd: RawFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    let length = size_of::<c_int>() as socklen_t;
    // SAFETY: `value` is an int of `length` bytes and lives through the call.
    let returned =
        unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), length) };
    super::check(returned).map(drop)
}

/// What the socket holds and has dropped (`include/uapi/linux/sock_diag.h`).
pub(super) fn meminfo(fd: RawFd) -> io::Result<[u32; 9]> {
    let mut values = [0u32; 9];
    let mut length = size_of_val(&values) as socklen_t;
    let place = values.as_mut_ptr().cast();
    // SAFETY: `place` and `length` describe `values`, which lives through the call.
    let returned =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, place, &mut length) };
    super::check(returned)?;
    Ok(values)
}

/// A TCP listener, IPv6 only where the address is IPv6, that does not block.
///
/// # Errors
///
/// What the kernel says to `socket`, `bind` or `listen`.
pub fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    listen(address, false)
}

/// A TCP listener of a `SO_REUSEPORT` group of them.
///
/// # Errors
///
/// As `listen_tcp`.
pub fn listen_grouped(address: SocketAddr) -> io::Result<TcpListener> {
    listen(address, true)
}

fn listen(address: SocketAddr, grouped: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(grouped)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Takes a listener that was made elsewhere.
///
/// # Errors
///
/// A descriptor that is no TCP socket, or one that does not listen.
pub fn adopt_listener(descriptor: OwnedFd) -> io::Result<TcpListener> {
    let socket = Socket::from(descriptor);
    is_of(&socket, Type::STREAM, Protocol::TCP)?;
    address_of(&socket)?;
    if !socket.is_listener()? {
        return Err(io::Error::other("a TCP socket that does not listen"));
    }
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn is_of(socket: &Socket, kind: Type, protocol: Protocol) -> io::Result<()> {
    if socket.r#type()? != kind || socket.protocol()? != Some(protocol) {
        return Err(io::Error::other("a descriptor of another kind"));
    }
    Ok(())
}

fn address_of(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?.as_socket();
    address
        .filter(|address| address.port() != 0)
        .ok_or_else(|| io::Error::other("a socket without an address"))
}

/// A TCP connection that is reset when it is closed, so that it leaves no
/// TIME_WAIT behind.
///
/// # Errors
///
/// What the kernel says to `socket` or `connect`.
pub fn connect_tcp(peer: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(peer), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.connect(&peer.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_adopted_is_what_it_should_be() {
        let udp = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = || TcpListener::bind("127.0.0.1:0").unwrap();
        let address = udp().local_addr().unwrap();
        assert_ne!(address.port(), 0);
        let bound = udp();
        let local = bound.local_addr().unwrap();
        let patience = Duration::from_millis(100);
        let adopt = |descriptor| UdpSocket::adopt(descriptor, patience);
        let adopted = adopt(bound.into()).unwrap();
        assert_eq!(adopted.local(), local);
        assert_eq!(adopted.socket.read_timeout().unwrap(), Some(patience));
        assert!(adopt_listener(tcp().into()).is_ok());
        assert!(adopt(tcp().into()).is_err());
        assert!(adopt_listener(udp().into()).is_err());
        let connected = TcpStream::connect(tcp().local_addr().unwrap());
        assert!(connected.is_err() || adopt_listener(connected.unwrap().into()).is_err());
        let unbound = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
        assert!(adopt(unbound.into()).is_err());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(adopt(file.into()).is_err());
    }

    #[test]
    fn a_port_that_was_free_may_be_taken_by_now() {
        let socket = |address: SocketAddr| {
            let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None).unwrap();
            socket.set_reuse_port(true).unwrap();
            socket
        };
        let holder = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let taken = holder.local_addr().unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut found = [Ok(taken), Ok(taken), with_free_port(any)].into_iter();
        let bound = socket(any);
        bind_anywhere(&bound, || found.next().unwrap()).unwrap();
        assert_ne!(bound.local_addr().unwrap().as_socket(), Some(taken));
        // One that stays taken, and something else that is in the way.
        let error = bind_anywhere(&socket(any), || Ok(taken)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let mut tries = 0;
        let elsewhere = || {
            tries += 1;
            Ok(SocketAddr::from(([192, 0, 2, 1], 0)))
        };
        assert!(bind_anywhere(&socket(any), elsewhere).is_err());
        assert_eq!(tries, 1);
    }
}
