//! The port of a socket: `recvmmsg` fills the batch, `sendmmsg` empties it. All
//! buffers and message headers are built once; a call changes only what the kernel
//! changed or what differs from reply to reply.

use std::cell::UnsafeCell;
use std::io;
use std::mem::size_of;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::Arc;

use libc::{c_uint, iovec, mmsghdr, sockaddr_in6};

use super::buffers::{
    CUT, Slots, empty_header, flow_of, is_empty_wait, name_length, no_peer, peer_of,
};
use super::{MAX_WIDTH, Port, Wait};
use crate::sys::socket::UdpSocket;

/// Room for one `IP_PKTINFO` or `IPV6_PKTINFO` message.
type Control = [u64; 5];
/// Where the data of the first control message starts (`CMSG_DATA`).
const CONTROL_DATA: usize = size_of::<libc::cmsghdr>();

/// A socket with its batch and buffers. Several ports may share a socket.
///
/// The headers point into the other fields, all of which live on the heap and
/// stay where they are; `UnsafeCell` tells the compiler that they are written
/// behind its back. The kernel touches them only inside `receive` and `send`.
pub struct SocketPort {
    socket: Arc<UdpSocket>,
    requests: Slots,
    replies: Slots,
    incoming: Box<[mmsghdr]>,
    outgoing: Box<[mmsghdr]>,
    peers: Box<[UnsafeCell<sockaddr_in6>]>,
    controls: Box<[UnsafeCell<Control>]>,
    _vectors: Box<[UnsafeCell<iovec>]>,
    reply_vectors: Box<[UnsafeCell<iovec>]>,
    wildcard: bool,
    local: IpAddr,
    ipv6: bool,
    received: usize,
}

// SAFETY: the pointers lead into the port's own heap memory, which moves to
// another thread with it.
unsafe impl Send for SocketPort {}

impl SocketPort {
    /// A port for batches of `width` datagrams: requests of up to
    /// `request_size` octets, of longer ones 12 octets are left, and replies of
    /// up to `reply_size`.
    pub fn new(
        socket: Arc<UdpSocket>,
        width: usize,
        request_size: usize,
        reply_size: usize,
    ) -> SocketPort {
        let width = width.clamp(1, MAX_WIDTH);
        let requests = Slots::new(width, request_size);
        let replies = Slots::new(width, reply_size);
        let vectors: Box<[_]> = (0..width).map(|index| requests.vector(index)).collect();
        let reply_vectors: Box<[_]> = (0..width).map(|index| replies.vector(index)).collect();
        let peers: Box<[_]> = (0..width).map(|_| UnsafeCell::new(no_peer())).collect();
        let controls: Box<[_]> = (0..width).map(|_| UnsafeCell::new([0; 5])).collect();
        let header = |vectors: &[UnsafeCell<iovec>], index: usize| {
            let mut header = empty_header();
            header.msg_hdr.msg_iov = vectors[index].get();
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = peers[index].get().cast();
            header.msg_hdr.msg_namelen = name_length(socket.local().is_ipv6());
            if socket.is_wildcard() {
                header.msg_hdr.msg_control = controls[index].get().cast();
                header.msg_hdr.msg_controllen = size_of::<Control>();
            }
            header
        };
        SocketPort {
            incoming: (0..width).map(|index| header(&vectors, index)).collect(),
            outgoing: (0..width)
                .map(|index| header(&reply_vectors, index))
                .collect(),
            requests,
            replies,
            peers,
            controls,
            _vectors: vectors,
            reply_vectors,
            wildcard: socket.is_wildcard(),
            local: socket.local().ip(),
            ipv6: socket.local().is_ipv6(),
            socket,
            received: 0,
        }
    }

    /// The socket.
    pub fn socket(&self) -> &Arc<UdpSocket> {
        &self.socket
    }

    /// Datagrams that the kernel dropped because the socket's buffer was full;
    /// 0 where it does not tell.
    pub fn drops(&self) -> u64 {
        self.socket.drops().unwrap_or(0)
    }

    /// Closes the socket, unless somebody else has it too, and returns what was
    /// dropped on it until then.
    pub fn close(self) -> Option<u64> {
        Arc::into_inner(self.socket).map(|socket| socket.drops().unwrap_or(0))
    }

    /// Octets to look at: of a datagram that was longer than its buffer only the
    /// beginning, so that nobody takes what is left for the whole.
    #[inline]
    fn request_length(&self, index: usize) -> usize {
        let header = &self.incoming[index];
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return CUT.min(self.requests.size());
        }
        (header.msg_len as usize).min(self.requests.size())
    }

    fn send_run(&mut self, first: usize, run: usize) -> io::Result<usize> {
        let headers = self.outgoing[first..first + run].as_mut_ptr();
        let (fd, run) = (self.socket.as_raw_fd(), run as c_uint);
        crate::sys::retry(|| {
            // SAFETY: `headers` are `run` headers whose pointers lead into this
            // port, which is borrowed for the call.
            crate::sys::check(unsafe { libc::sendmmsg(fd, headers, run, libc::MSG_DONTWAIT) })
        })
    }

    fn reply_length(&self, index: usize) -> usize {
        // SAFETY: vectors are written only by `set_reply`.
        unsafe { (*self.reply_vectors[index].get()).iov_len }
    }

    /// Turns what the kernel told about the datagram's destination into what
    /// it shall use as the reply's source. The interface is left open, so that
    /// the reply takes the route of its own, but for link-local addresses,
    /// which mean nothing without one.
    fn reply_from_asked_address(&mut self, index: usize) {
        let length = self.incoming[index].msg_hdr.msg_controllen;
        self.outgoing[index].msg_hdr.msg_controllen = length;
        if length == 0 {
            return;
        }
        let control = self.controls[index].get().cast::<u8>();
        // SAFETY: a `Control` has room for the header and either structure, and
        // the kernel writes it only inside `receive`.
        let data = unsafe { std::slice::from_raw_parts_mut(control, size_of::<Control>()) };
        let data = &mut data[CONTROL_DATA..];
        if !self.ipv6 {
            // struct in_pktinfo: interface, local address, header's address.
            data[..4].fill(0);
        } else if let Some(address) = data.first_chunk::<16>()
            && !Ipv6Addr::from(*address).is_unicast_link_local()
        {
            // struct in6_pktinfo: address, interface.
            data[16..20].fill(0);
        }
    }
}

impl Port for SocketPort {
    fn width(&self) -> usize {
        self.incoming.len()
    }

    fn receive(&mut self, wait: Wait) -> io::Result<usize> {
        if self.wildcard {
            for header in &mut self.incoming[..self.received] {
                header.msg_hdr.msg_controllen = size_of::<Control>();
            }
        }
        self.received = 0;
        let (fd, width) = (self.socket.as_raw_fd(), self.width() as c_uint);
        let headers = self.incoming.as_mut_ptr();
        // SAFETY: `headers` are `width` headers whose pointers lead into this
        // port, which is borrowed for the call.
        let returned = unsafe { libc::recvmmsg(fd, headers, width, wait.flags(), ptr::null_mut()) };
        match crate::sys::check(returned) {
            Ok(received) => {
                self.received = received;
                Ok(received)
            }
            Err(error) if is_empty_wait(&error) => Ok(0),
            Err(error) => Err(error),
        }
    }

    #[inline]
    fn request(&self, index: usize) -> &[u8] {
        let length = self.request_length(index);
        let request = self.requests.place(index);
        // SAFETY: the first `length` octets of the slot were initialised, and
        // nothing writes requests while the port is borrowed.
        unsafe { std::slice::from_raw_parts(request, length) }
    }

    #[inline]
    fn exchange(&mut self, index: usize) -> (&[u8], &mut [u8]) {
        let reply = self.replies.place(index);
        // SAFETY: the slot has `size` initialised octets, which nothing else
        // refers to while the port is borrowed mutably.
        let reply = unsafe { std::slice::from_raw_parts_mut(reply, self.replies.size()) };
        (self.request(index), reply)
    }

    #[inline]
    fn peer(&self, index: usize) -> SocketAddr {
        // SAFETY: the kernel writes peers only inside `receive`.
        let peer = unsafe { &*self.peers[index].get() };
        peer_of(peer, self.ipv6)
    }

    #[inline]
    fn flow(&self, index: usize) -> [u64; 2] {
        // SAFETY: the kernel writes peers only inside `receive`.
        let peer = unsafe { &*self.peers[index].get() };
        flow_of(peer, self.ipv6)
    }

    #[inline]
    fn local(&self, index: usize) -> IpAddr {
        if !self.wildcard || self.incoming[index].msg_hdr.msg_controllen == 0 {
            return self.local;
        }
        // SAFETY: the kernel writes it only inside `receive`.
        let control = unsafe { &*self.controls[index].get() };
        let octet = |at: usize| {
            let at = CONTROL_DATA + at;
            control[at / 8].to_ne_bytes()[at % 8]
        };
        // struct in_pktinfo: interface, local address, header's address;
        // struct in6_pktinfo: address, interface.
        match self.ipv6 {
            false => IpAddr::from(std::array::from_fn::<u8, 4, _>(|at| octet(8 + at))),
            true => IpAddr::from(std::array::from_fn::<u8, 16, _>(octet)),
        }
    }

    #[inline]
    fn local_port(&self, _index: usize) -> u16 {
        self.socket.local().port()
    }

    #[inline]
    fn set_reply(&mut self, index: usize, length: usize) {
        debug_assert!(length <= self.replies.size());
        // SAFETY: the kernel reads vectors only inside `send`.
        let vector = unsafe { &mut *self.reply_vectors[index].get() };
        vector.iov_len = length;
        if self.wildcard && length > 0 {
            self.reply_from_asked_address(index);
        }
    }

    #[inline]
    fn reply(&self, index: usize) -> &[u8] {
        let (length, reply) = (self.reply_length(index), self.replies.place(index));
        // SAFETY: a reply is no longer than its slot, whose octets were
        // initialised, and nothing writes replies while the port is borrowed.
        unsafe { std::slice::from_raw_parts(reply, length.min(self.replies.size())) }
    }

    fn send(&mut self, mut failed: impl FnMut(io::Error)) {
        let mut next = 0;
        while next < self.received {
            let run = (next..self.received)
                .take_while(|&index| self.reply_length(index) > 0)
                .count();
            if run == 0 {
                next += 1;
                continue;
            }
            match self.send_run(next, run) {
                Ok(sent) => next += sent,
                // The error is the first message's: those before it were sent.
                Err(error) => {
                    failed(error);
                    next += 1;
                }
            }
        }
    }
}

// Both kinds of packet information fit: a header and 20 octets at most.
const _: () = assert!(CONTROL_DATA + 20 <= size_of::<Control>());
const _: () = assert!(size_of::<libc::in6_pktinfo>() == 20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::UdpOptions;
    use std::time::Duration;

    fn port(address: &str, width: usize, size: usize) -> SocketPort {
        let options = UdpOptions {
            grouped: false,
            receive_buffer: 1 << 20,
            timeout: Duration::from_secs(5),
        };
        let socket = UdpSocket::bind(address.parse().unwrap(), &options, &mut Vec::new());
        SocketPort::new(Arc::new(socket.unwrap()), width, size, size)
    }

    fn echo(port: &mut SocketPort, count: usize) -> usize {
        let mut received = 0;
        let mut failures = 0;
        while received < count {
            let in_batch = port.receive(Wait::ForOne).unwrap();
            assert!(in_batch > 0, "datagrams are lost");
            received += in_batch;
            for index in 0..in_batch {
                let (request, reply) = port.exchange(index);
                let length = request.len();
                reply[..length].copy_from_slice(request);
                port.set_reply(index, length);
            }
            port.send(|_| failures += 1);
        }
        failures
    }

    #[test]
    fn every_width_carries_every_datagram() {
        for width in [1, 2, 32, 128] {
            let mut server = port("127.0.0.1:0", width, 512);
            let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            client.connect(server.socket().local()).unwrap();
            for number in 0..100u8 {
                client.send(&[number]).unwrap();
            }
            assert_eq!(echo(&mut server, 100), 0);
            for number in 0..100 {
                let mut reply = [0; 8];
                assert_eq!(client.recv(&mut reply).unwrap(), 1);
                assert_eq!(reply[0], number);
            }
        }
    }

    #[test]
    fn a_wildcard_socket_replies_from_the_address_that_was_asked() {
        for (bound, asked) in [("0.0.0.0:0", "127.0.0.2"), ("[::]:0", "::1")] {
            let mut server = port(bound, 4, 512);
            assert!(server.socket().is_wildcard());
            let port = server.socket().local().port();
            let asked = SocketAddr::new(asked.parse().unwrap(), port);
            let any = if asked.is_ipv4() {
                "127.0.0.1:0"
            } else {
                "[::1]:0"
            };
            let client = std::net::UdpSocket::bind(any).unwrap();
            for round in 0..3 {
                client.send_to(&[round], asked).unwrap();
                assert_eq!(echo(&mut server, 1), 0);
                let (_, from) = client.recv_from(&mut [0; 8]).unwrap();
                assert_eq!(from, asked);
            }
        }
    }

    #[test]
    fn one_bad_reply_costs_only_itself() {
        let mut server = port("127.0.0.1:0", 8, 70_000);
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.socket().local()).unwrap();
        for number in 0..5u8 {
            client.send(&[number]).unwrap();
        }
        let mut received = 0;
        let mut errors = Vec::new();
        while received < 5 {
            let in_batch = server.receive(Wait::ForOne).unwrap();
            for index in 0..in_batch {
                let number = server.exchange(index).0[0];
                server.exchange(index).1[0] = number;
                // Number 1 is too long for any datagram, 3 is not to be sent.
                server.set_reply(index, [1, 70_000, 1, 0, 1][number as usize]);
            }
            received += in_batch;
            server.send(|error| errors.push(error.raw_os_error()));
        }
        assert_eq!(errors, [Some(libc::EMSGSIZE)]);
        for expected in [0, 2, 4] {
            let mut reply = [0; 8];
            client.recv(&mut reply).unwrap();
            assert_eq!(reply[0], expected);
        }
    }
}
