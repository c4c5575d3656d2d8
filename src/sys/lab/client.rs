//! The other end of a port: connected sockets that send requests by the batch
//! and receive what comes back. One outbox and one inbox serve any number of
//! flows, since the headers of a connected socket name no peer.

use std::cell::UnsafeCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::time::Duration;

use libc::{c_uint, iovec, mmsghdr};
use socket2::{Domain, Protocol, Socket, Type};

use super::super::port::{MAX_WIDTH, Slots, Wait, empty_header, is_empty_wait};
use super::super::socket::{meminfo, set_buffers};

/// A UDP socket with one peer: one source port, one flow.
#[derive(Debug)]
pub struct Flow {
    socket: Socket,
}

impl Flow {
    /// A socket from a port of the kernel's choice to `peer`; everybody else's
    /// datagrams stay out. Its buffers are `buffer` bytes if they can be had,
    /// and a receive that waits does so for `timeout`.
    ///
    /// # Errors
    ///
    /// What the kernel says to `socket`, `bind` or `connect`.
    pub fn connect(peer: SocketAddr, buffer: usize, timeout: Duration) -> io::Result<Flow> {
        let socket = Socket::new(Domain::for_address(peer), Type::DGRAM, Some(Protocol::UDP))?;
        let any = match peer {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        // Less room only means replies dropped earlier, and counted as lost.
        set_buffers(&socket, buffer, buffer);
        socket.set_read_timeout(Some(timeout))?;
        socket.bind(&SocketAddr::new(any, 0).into())?;
        socket.connect(&peer.into())?;
        Ok(Flow { socket })
    }

    /// Replies that the kernel dropped because the socket's buffer was full.
    ///
    /// # Errors
    ///
    /// What the kernel says to `getsockopt`.
    pub fn drops(&self) -> io::Result<u32> {
        Ok(meminfo(self.as_raw_fd())?[libc::SK_MEMINFO_DROPS as usize])
    }
}

impl AsRawFd for Flow {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Buffers, and a header for each that points at it. The headers point into
/// the other fields, which live on the heap and stay where they are.
struct Messages {
    slots: Slots,
    vectors: Box<[UnsafeCell<iovec>]>,
    headers: Box<[mmsghdr]>,
}

// SAFETY: the pointers lead into the messages' own heap memory, which moves to
// another thread with them.
unsafe impl Send for Messages {}

impl Messages {
    fn new(width: usize, size: usize) -> Messages {
        let width = width.clamp(1, MAX_WIDTH);
        let slots = Slots::new(width, size);
        let vectors: Box<[_]> = (0..width).map(|index| slots.vector(index)).collect();
        let header = |vector: &UnsafeCell<iovec>| {
            let mut header = empty_header();
            header.msg_hdr.msg_iov = vector.get();
            header.msg_hdr.msg_iovlen = 1;
            header
        };
        let headers = vectors.iter().map(header).collect();
        Messages {
            slots,
            vectors,
            headers,
        }
    }
}

/// Requests on their way out.
pub struct Outbox(Messages);

impl Outbox {
    /// Room for `width` requests of up to `size` octets.
    pub fn new(width: usize, size: usize) -> Outbox {
        Outbox(Messages::new(width, size))
    }

    /// Requests that it can hold.
    pub fn width(&self) -> usize {
        self.0.headers.len()
    }

    /// Puts a request into slot `index` and returns it as it lies there. What
    /// is longer than a slot is cut off.
    #[inline]
    pub fn put(&mut self, index: usize, request: &[u8]) -> &mut [u8] {
        let request = &request[..request.len().min(self.0.slots.size())];
        // SAFETY: the kernel reads vectors only inside `send`.
        let vector = unsafe { &mut *self.0.vectors[index].get() };
        vector.iov_len = request.len();
        let place = self.0.slots.place(index);
        // SAFETY: the slot is at least as long as the request, initialised, and
        // nothing else refers to it while the outbox is borrowed mutably.
        let slot = unsafe { std::slice::from_raw_parts_mut(place, request.len()) };
        slot.copy_from_slice(request);
        slot
    }

    /// Sends the first `count` requests without waiting and returns how many
    /// the kernel took, 0 where it has no room for any.
    ///
    /// # Errors
    ///
    /// What the kernel says of the first; an earlier one's "port unreachable"
    /// comes this way too.
    pub fn send(&mut self, flow: &Flow, count: usize) -> io::Result<usize> {
        let headers = self.0.headers[..count].as_mut_ptr();
        let (fd, count) = (flow.as_raw_fd(), count as c_uint);
        let sent = super::super::retry(|| {
            // SAFETY: `headers` are `count` headers whose pointers lead into
            // this outbox, which is borrowed for the call.
            super::super::check(unsafe { libc::sendmmsg(fd, headers, count, libc::MSG_DONTWAIT) })
        });
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            sent => sent,
        }
    }
}

/// Datagrams that came in: replies, or what waits on any socket.
pub struct Inbox(Messages);

impl Inbox {
    /// Room for `width` replies of up to `size` octets; longer ones are cut off.
    pub fn new(width: usize, size: usize) -> Inbox {
        Inbox(Messages::new(width, size))
    }

    /// Replies that it can hold.
    pub fn width(&self) -> usize {
        self.0.headers.len()
    }

    /// Fills the inbox and returns the number of replies, 0 where none came in
    /// time or a signal ended the wait.
    ///
    /// # Errors
    ///
    /// What the kernel says to `recvmmsg`, waiting and interruption apart.
    pub fn receive(&mut self, socket: &impl AsRawFd, wait: Wait) -> io::Result<usize> {
        let (fd, width) = (socket.as_raw_fd(), self.width() as c_uint);
        let headers = self.0.headers.as_mut_ptr();
        // SAFETY: `headers` are `width` headers whose pointers lead into this
        // inbox, which is borrowed for the call.
        let returned = unsafe { libc::recvmmsg(fd, headers, width, wait.flags(), ptr::null_mut()) };
        match super::super::check(returned) {
            Err(error) if is_empty_wait(&error) => Ok(0),
            received => received,
        }
    }

    /// The datagram in slot `index`.
    #[inline]
    pub fn reply(&self, index: usize) -> &[u8] {
        let length = (self.0.headers[index].msg_len as usize).min(self.0.slots.size());
        let reply = self.0.slots.place(index);
        // SAFETY: the first `length` octets of the slot were initialised, and
        // nothing writes replies while the inbox is borrowed.
        unsafe { std::slice::from_raw_parts(reply, length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn server(address: &str) -> UdpSocket {
        let server = UdpSocket::bind(address).unwrap();
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        server
    }

    fn connect(server: &UdpSocket) -> Flow {
        Flow::connect(server.local_addr().unwrap(), 1 << 20, PATIENCE).unwrap()
    }

    #[test]
    fn requests_go_out_in_order_and_replies_come_back() {
        for (address, width) in [("127.0.0.1:0", 1), ("127.0.0.1:0", 8), ("[::1]:0", 128)] {
            let server = server(address);
            let flow = connect(&server);
            let (mut outbox, mut inbox) = (Outbox::new(width, 64), Inbox::new(width, 64));
            assert_eq!((outbox.width(), inbox.width()), (width, width));
            // The second round shows that nothing of the first is left over.
            for round in 0..2u8 {
                for slot in 0..width {
                    outbox.put(slot, &[round, slot as u8, 0][..3 - usize::from(round)]);
                }
                assert_eq!(outbox.send(&flow, width).unwrap(), width);
                for slot in 0..width {
                    let mut request = [0; 64];
                    let (length, from) = server.recv_from(&mut request).unwrap();
                    let expected = [round, slot as u8, 0];
                    assert_eq!(&request[..length], &expected[..3 - usize::from(round)]);
                    server.send_to(&request[..length], from).unwrap();
                }
                let mut received = 0;
                while received < width {
                    let count = inbox.receive(&flow, Wait::ForOne).unwrap();
                    assert!(count > 0, "replies are lost");
                    for slot in 0..count {
                        assert_eq!(inbox.reply(slot)[1], (received + slot) as u8);
                        assert_eq!(inbox.reply(slot).len(), 3 - usize::from(round));
                    }
                    received += count;
                }
            }
        }
    }

    #[test]
    fn nothing_to_read_is_no_error_and_returns_at_once() {
        let server = server("127.0.0.1:0");
        assert_eq!(
            Inbox::new(4, 64)
                .receive(&connect(&server), Wait::No)
                .unwrap(),
            0
        );
    }

    #[test]
    fn strangers_stay_out() {
        let (server, stranger) = (server("127.0.0.1:0"), server("127.0.0.1:0"));
        let (flow, mut outbox, mut inbox) = (connect(&server), Outbox::new(1, 8), Inbox::new(4, 8));
        outbox.put(0, b"ask");
        outbox.send(&flow, 1).unwrap();
        let (_, client) = server.recv_from(&mut [0; 8]).unwrap();
        stranger.send_to(b"strange", client).unwrap();
        server.send_to(b"reply", client).unwrap();
        assert_eq!(inbox.receive(&flow, Wait::ForOne).unwrap(), 1);
        assert_eq!(inbox.reply(0), b"reply");
    }

    #[test]
    fn a_closed_port_is_an_error_once() {
        let server = server("127.0.0.1:0");
        let flow = connect(&server);
        drop(server);
        let (mut outbox, mut inbox) = (Outbox::new(1, 8), Inbox::new(1, 8));
        outbox.put(0, b"ask");
        assert_eq!(outbox.send(&flow, 1).unwrap(), 1);
        let error = inbox.receive(&flow, Wait::ForOne).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(inbox.receive(&flow, Wait::No).unwrap(), 0);
    }

    #[test]
    fn what_does_not_fit_is_cut_off() {
        let server = server("127.0.0.1:0");
        let flow = connect(&server);
        let (mut outbox, mut inbox) = (Outbox::new(1, 4), Inbox::new(1, 4));
        for (octets, kept) in [(&b"abcd"[..], &b"abcd"[..]), (b"abcde", b"abcd")] {
            assert_eq!(outbox.put(0, octets), kept);
            outbox.send(&flow, 1).unwrap();
            let (length, client) = server.recv_from(&mut [0; 8]).unwrap();
            assert_eq!(length, 4);
            server.send_to(octets, client).unwrap();
            assert_eq!(inbox.receive(&flow, Wait::ForOne).unwrap(), 1);
            assert_eq!(inbox.reply(0), kept);
        }
    }
}
