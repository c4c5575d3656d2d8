//! The port of a socket whose datagrams come and go over io_uring (`io_uring(7)`): one
//! receive that stays (multishot, Linux 6.0) puts datagrams into buffers that the kernel
//! chooses, and one call hands over the replies to a batch and takes the next one.
//!
//! ```text
//! receive    enter: send what was settled, wait for a datagram; take what is there
//! set_reply  a message header leads to the reply
//! send       the headers go into the queue of what is to be done, the buffers back
//! ```

use std::cell::UnsafeCell;
use std::io;
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::squeue::{self, Flags};
use io_uring::types::{BufRingEntry, CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode};
use libc::{iovec, msghdr, sockaddr_in6};

use crate::sys::port::{
    CUT, MAX_WIDTH, Port, Slots, Wait, empty_header, flow_of, name_length, no_peer, peer_of,
};
use crate::sys::socket::UdpSocket;

/// Buffers that datagrams may lie in: a page of entries.
const BUFFERS: u16 = 256;
/// Entries of the queue of what is to be done: a batch and the receive.
const ENTRIES: u32 = 2 * MAX_WIDTH as u32;
/// Where the buffers are, among groups of them.
const GROUP: u16 = 0;
/// Octets in front of what the kernel puts into a buffer (`struct
/// io_uring_recvmsg_out`), and of the peer's address behind them.
const OUT: usize = 16;
const NAME: usize = size_of::<sockaddr_in6>();
/// Where `flags` and `payloadlen` are in the former.
const FLAGS_AT: usize = 12;
const PAYLOAD_AT: usize = 8;
/// Which completions are of datagrams, and which of replies.
const RECEIVED: u64 = 1;
const SENT: u64 = 2;

/// A page that the kernel reads which buffers are free from.
#[repr(C, align(4096))]
struct Page(UnsafeCell<[u8; 4096]>);

/// A socket with its ring and buffers, for the thread that makes it.
///
/// The kernel reads and writes what the pointers lead to, all of it on the heap, until
/// `Drop` has ended its work.
pub struct RingPort {
    ring: IoUring,
    socket: Arc<UdpSocket>,
    ipv6: bool,
    requests: Slots,
    replies: Slots,
    free: Box<Page>,
    /// Buffers given to the kernel so far.
    given: u16,
    incoming: Box<UnsafeCell<msghdr>>,
    outgoing: Box<[UnsafeCell<msghdr>]>,
    vectors: Box<[UnsafeCell<iovec>]>,
    peers: Box<[UnsafeCell<sockaddr_in6>]>,
    /// By slot: the buffer, and the octets of the request in it.
    batch: Vec<(u16, usize)>,
    /// True as long as the receive stays.
    is_receiving: bool,
    timeout: Timespec,
    /// What the kernel said of replies that it would not send.
    refused: Vec<io::Error>,
}

impl RingPort {
    /// A port for batches of `width` datagrams, requests and replies of up to `size`
    /// octets, on a socket that is bound to one address. A receive that waits does so
    /// for up to `timeout`.
    ///
    /// # Errors
    ///
    /// What the kernel says: `EPERM` where io_uring is forbidden, `ENOSYS` where there
    /// is none, `EINVAL` where it is older than 6.1.
    pub fn new(
        socket: Arc<UdpSocket>,
        width: usize,
        size: usize,
        timeout: Duration,
    ) -> io::Result<RingPort> {
        let width = width.clamp(1, MAX_WIDTH);
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(2 * u32::from(BUFFERS))
            .build(ENTRIES)?;
        let replies = Slots::new(width, size);
        let vectors: Box<[_]> = (0..width).map(|index| replies.vector(index)).collect();
        let peers: Box<[_]> = (0..width).map(|_| UnsafeCell::new(no_peer())).collect();
        let ipv6 = socket.local().is_ipv6();
        let outgoing = vectors.iter().zip(&peers).map(|(vector, peer)| {
            let mut header = empty_header().msg_hdr;
            header.msg_iov = vector.get();
            header.msg_iovlen = 1;
            header.msg_name = peer.get().cast();
            header.msg_namelen = name_length(ipv6);
            UnsafeCell::new(header)
        });
        let outgoing = outgoing.collect();
        let mut incoming = empty_header().msg_hdr;
        incoming.msg_namelen = NAME as libc::socklen_t;
        let mut port = RingPort {
            ring,
            ipv6,
            socket,
            requests: Slots::new(BUFFERS.into(), OUT + NAME + size),
            replies,
            free: Box::new(Page(UnsafeCell::new([0; 4096]))),
            given: 0,
            incoming: Box::new(UnsafeCell::new(incoming)),
            outgoing,
            vectors,
            peers,
            batch: Vec::with_capacity(width),
            is_receiving: false,
            timeout: Timespec::from(timeout),
            refused: Vec::new(),
        };
        port.register()?;
        Ok(port)
    }

    /// Gives the kernel all buffers.
    fn register(&mut self) -> io::Result<()> {
        let (page, submitter) = (self.free.0.get() as u64, self.ring.submitter());
        // SAFETY: the page has room for so many entries and lives until `Drop` has ended
        // the kernel's work.
        unsafe { submitter.register_buf_ring_with_flags(page, BUFFERS, GROUP, 0) }?;
        (0..BUFFERS).for_each(|buffer| self.give(buffer));
        self.publish();
        Ok(())
    }

    /// Enters a buffer among the free ones.
    fn give(&mut self, buffer: u16) {
        let entries = self.free.0.get().cast::<BufRingEntry>();
        let entry = entries.wrapping_add((self.given % BUFFERS).into());
        // SAFETY: the entry is within the page, and the kernel does not look at it
        // before it is published.
        let entry = unsafe { &mut *entry };
        entry.set_addr(self.requests.place(buffer.into()) as u64);
        entry.set_len(self.requests.size() as u32);
        entry.set_bid(buffer);
        self.given = self.given.wrapping_add(1);
    }

    /// Shows the kernel the buffers that were entered.
    fn publish(&self) {
        // SAFETY: the page begins with the first entry.
        let tail = unsafe { BufRingEntry::tail(self.free.0.get().cast()) };
        // SAFETY: the tail is a number within the page, at its own size's multiple.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: the kernel, which reads the tail with acquire, then sees the entries
        // before it. Only this thread writes it.
        tail.store(self.given, Ordering::Release);
    }

    /// Notes what is to be done; the next call hands it over.
    fn note(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: what the entry leads to lives until `Drop` has ended the kernel's work.
        let noted = unsafe { self.ring.submission().push(entry) };
        noted.map_err(|_| io::ErrorKind::OutOfMemory.into())
    }

    fn stay_receiving(&mut self) -> io::Result<()> {
        if self.is_receiving {
            return Ok(());
        }
        let socket = Fd(self.socket.as_raw_fd());
        let receive = opcode::RecvMsgMulti::new(socket, self.incoming.get(), GROUP);
        self.note(&receive.build().user_data(RECEIVED))?;
        self.is_receiving = true;
        Ok(())
    }

    /// Hands over what is to be done, and waits.
    fn enter(&mut self, wait: Wait) -> io::Result<()> {
        let submitter = self.ring.submitter();
        let entered = match wait {
            Wait::ForOne => {
                let arguments = SubmitArgs::new().timespec(&self.timeout);
                submitter.submit_with_args(1, &arguments)
            }
            Wait::No => {
                let now = Timespec::new();
                submitter.submit_with_args(1, &SubmitArgs::new().timespec(&now))
            }
        };
        match entered {
            Ok(_) => Ok(()),
            // EBUSY: completions are to be taken first.
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Takes what is done, as much as a batch holds.
    fn take(&mut self) -> io::Result<()> {
        while self.batch.len() < self.width() {
            let Some(done) = self.ring.completion().next() else {
                return Ok(());
            };
            let error = || io::Error::from_raw_os_error(-done.result());
            if done.user_data() == SENT {
                self.refused.push(error());
                continue;
            }
            self.is_receiving &= cqueue::more(done.flags());
            match (cqueue::buffer_select(done.flags()), done.result()) {
                (Some(buffer), length @ 0..) => self.enter_batch(buffer, length as usize),
                (Some(buffer), _) => {
                    self.give(buffer);
                    self.publish();
                }
                // No buffer was free; some are soon.
                (None, _) if error().raw_os_error() == Some(libc::ENOBUFS) => {}
                (None, _) => return Err(error()),
            }
        }
        Ok(())
    }

    fn enter_batch(&mut self, buffer: u16, length: usize) {
        let slot = self.batch.len();
        let place = self.requests.place(buffer.into());
        // SAFETY: the buffer's octets were initialised, and it is not the kernel's again
        // before it is given back.
        let octets = unsafe { std::slice::from_raw_parts(place, self.requests.size()) };
        let number = |at: usize| octets[at..at + 4].try_into().map_or(0, u32::from_ne_bytes);
        let peer = &octets[OUT..OUT + NAME];
        let to = self.peers[slot].get().cast::<u8>();
        // SAFETY: the peer is as long as the structure that it is copied to, whose reply
        // has been sent.
        unsafe { std::ptr::copy_nonoverlapping(peer.as_ptr(), to, NAME) };
        let there = length.saturating_sub(OUT + NAME);
        let is_cut = number(FLAGS_AT) & libc::MSG_TRUNC as u32 != 0;
        let request = match is_cut {
            true => CUT.min(there),
            false => (number(PAYLOAD_AT) as usize).min(there),
        };
        self.batch.push((buffer, request));
    }

    fn reply_length(&self, index: usize) -> usize {
        // SAFETY: vectors are written by `set_reply` alone.
        unsafe { (*self.vectors[index].get()).iov_len }
    }
}

const _: () = assert!(BUFFERS as usize * size_of::<BufRingEntry>() == size_of::<Page>());

impl Port for RingPort {
    fn width(&self) -> usize {
        self.outgoing.len()
    }

    fn receive(&mut self, wait: Wait) -> io::Result<usize> {
        self.batch.clear();
        self.stay_receiving()?;
        self.enter(wait)?;
        self.take()?;
        Ok(self.batch.len())
    }

    fn request(&self, index: usize) -> &[u8] {
        let (buffer, length) = self.batch[index];
        let place = self.requests.place(buffer.into()).wrapping_add(OUT + NAME);
        // SAFETY: the request is within the buffer, whose octets were initialised and
        // which is not the kernel's before `send`.
        unsafe { std::slice::from_raw_parts(place, length) }
    }

    fn exchange(&mut self, index: usize) -> (&[u8], &mut [u8]) {
        let reply = self.replies.place(index);
        // SAFETY: the slot has so many initialised octets, which nothing else refers to
        // while the port is borrowed mutably.
        let reply = unsafe { std::slice::from_raw_parts_mut(reply, self.replies.size()) };
        (self.request(index), reply)
    }

    fn peer(&self, index: usize) -> SocketAddr {
        // SAFETY: peers are written by `receive` alone.
        let peer = unsafe { &*self.peers[index].get() };
        peer_of(peer, self.ipv6)
    }

    fn flow(&self, index: usize) -> [u64; 2] {
        // SAFETY: as for `peer`.
        flow_of(unsafe { &*self.peers[index].get() }, self.ipv6)
    }

    fn local(&self, _index: usize) -> IpAddr {
        self.socket.local().ip()
    }

    fn local_port(&self, _index: usize) -> u16 {
        self.socket.local().port()
    }

    fn set_reply(&mut self, index: usize, length: usize) {
        debug_assert!(length <= self.replies.size());
        // SAFETY: the kernel reads vectors inside `receive` alone.
        let vector = unsafe { &mut *self.vectors[index].get() };
        vector.iov_len = length;
    }

    fn reply(&self, index: usize) -> &[u8] {
        let (length, reply) = (self.reply_length(index), self.replies.place(index));
        // SAFETY: a reply is no longer than its slot, whose octets were initialised, and
        // nothing writes replies while the port is borrowed.
        unsafe { std::slice::from_raw_parts(reply, length.min(self.replies.size())) }
    }

    /// Notes the replies, which the next receive hands over. One that would have to
    /// wait is refused (`MSG_DONTWAIT`), so that all have left their buffers then.
    fn send(&mut self, mut failed: impl FnMut(io::Error)) {
        let socket = Fd(self.socket.as_raw_fd());
        for slot in 0..self.batch.len() {
            if self.reply_length(slot) > 0 {
                let reply = opcode::SendMsg::new(socket, self.outgoing[slot].get())
                    .flags(libc::MSG_DONTWAIT as u32)
                    .build()
                    .flags(Flags::SKIP_SUCCESS)
                    .user_data(SENT);
                if let Err(error) = self.note(&reply) {
                    failed(error);
                }
            }
            self.give(self.batch[slot].0);
        }
        self.publish();
        self.batch.clear();
        self.refused.drain(..).for_each(failed);
    }
}

impl Drop for RingPort {
    /// Has the kernel end its work before the memory that it works on is gone.
    fn drop(&mut self) {
        let _ = self.ring.submit();
        let submitter = self.ring.submitter();
        // Without a time limit; there is nothing to cancel where it fails.
        let _ = submitter.register_sync_cancel(None, CancelBuilder::any());
        let _ = submitter.unregister_buf_ring(GROUP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::UdpOptions;

    /// `None` where io_uring is forbidden.
    fn port(address: &str, width: usize) -> Option<RingPort> {
        let options = UdpOptions {
            grouped: false,
            receive_buffer: 1 << 20,
            timeout: Duration::from_secs(5),
        };
        let socket = UdpSocket::bind(address.parse().unwrap(), &options, &mut Vec::new());
        match RingPort::new(Arc::new(socket.unwrap()), width, 512, options.timeout) {
            Ok(port) => Some(port),
            Err(error) => {
                eprintln!("SKIPPED: no io_uring here ({error})");
                None
            }
        }
    }

    fn echo(port: &mut RingPort, count: usize) {
        let mut received = 0;
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
            port.send(|error| panic!("{error}"));
        }
        // What was noted last goes out.
        assert_eq!(port.receive(Wait::No).unwrap(), 0);
    }

    /// More datagrams than there are buffers, and more than a batch.
    #[test]
    fn every_width_carries_every_datagram() {
        for (width, address) in [(1, "127.0.0.1:0"), (32, "[::1]:0"), (128, "127.0.0.1:0")] {
            let Some(mut server) = port(address, width) else {
                return;
            };
            let client = std::net::UdpSocket::bind(address).unwrap();
            client.connect(server.socket.local()).unwrap();
            for round in 0..3u8 {
                for number in 0..200u8 {
                    client.send(&[round, number]).unwrap();
                }
                echo(&mut server, 200);
                for number in 0..200 {
                    let mut reply = [0; 8];
                    assert_eq!(client.recv(&mut reply).unwrap(), 2);
                    assert_eq!(reply[..2], [round, number]);
                }
            }
        }
    }

    #[test]
    fn of_what_is_too_long_the_header_is_left() {
        let Some(mut server) = port("127.0.0.1:0", 4) else {
            return;
        };
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.socket.local()).unwrap();
        for (length, left) in [(0, 0), (512, 512), (513, CUT)] {
            client.send(&vec![7; length]).unwrap();
            assert_eq!(server.receive(Wait::ForOne).unwrap(), 1);
            assert_eq!(server.request(0), vec![7; left]);
            assert_eq!(server.peer(0), client.local_addr().unwrap());
            server.set_reply(0, 0);
            server.send(|error| panic!("{error}"));
        }
    }
}
