//! A port: where datagrams come in and leave, a batch at a time. There are two: a
//! socket, and a queue of a network card that is read past the sockets
//! (`crate::sys::xdp`). The loop over them is the same.

mod buffers;
mod socket;

use std::io;
use std::net::{IpAddr, SocketAddr};

pub(in crate::sys) use buffers::{
    CUT, Slots, empty_header, flow_of, ipv4_flow, ipv6_flow, is_empty_wait, name_length, no_peer,
    peer_of,
};
pub use socket::SocketPort;

/// The widest batch. Wider ones save no more of the cost of a call, and their
/// buffers push the zone out of the cache.
pub const MAX_WIDTH: usize = 128;

/// How a receive waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// For one datagram, up to the socket's timeout; then takes what is there.
    ForOne,
    /// Not at all.
    No,
}

impl Wait {
    pub(super) fn flags(self) -> libc::c_int {
        match self {
            Wait::ForOne => libc::MSG_WAITFORONE,
            Wait::No => libc::MSG_DONTWAIT,
        }
    }
}

/// A batch of datagrams, from when they are received until their replies are sent.
/// A slot is the place of one of them, counted from 0.
pub trait Port {
    /// Datagrams that a batch can hold.
    fn width(&self) -> usize;

    /// Fills the batch and returns the number of datagrams, 0 where none came
    /// in time or a signal ended the wait.
    ///
    /// # Errors
    ///
    /// What the kernel says, waiting and interruption apart.
    fn receive(&mut self, wait: Wait) -> io::Result<usize>;

    /// The request in slot `index`.
    fn request(&self, index: usize) -> &[u8];

    /// The request in slot `index` and the buffer for its reply.
    fn exchange(&mut self, index: usize) -> (&[u8], &mut [u8]);

    /// Who sent the datagram in slot `index`.
    fn peer(&self, index: usize) -> SocketAddr;

    /// True where the datagram in slot `index` gets no reply, whatever it asks: whoever
    /// sent it has an address that nobody else can have.
    fn is_from_stranger(&self, _index: usize) -> bool {
        false
    }

    /// Who sent the datagram in slot `index`, in as many bits: for whoever tells
    /// clients apart, and wants to know nothing else of them. Two clients may have
    /// the same ones if they choose to.
    fn flow(&self, index: usize) -> [u64; 2];

    /// The address that the datagram in slot `index` was sent to. Known before
    /// its reply is settled.
    fn local(&self, index: usize) -> IpAddr;

    /// The port that the datagram in slot `index` was sent to.
    fn local_port(&self, index: usize) -> u16;

    /// Settles the reply in slot `index`: its length, 0 for none.
    fn set_reply(&mut self, index: usize, length: usize);

    /// The reply that is settled in slot `index`; empty where there is none.
    fn reply(&self, index: usize) -> &[u8];

    /// Sends all replies of the batch, in order. A reply that the kernel
    /// refuses is dropped and handed to `failed`; the others are sent.
    fn send(&mut self, failed: impl FnMut(io::Error));
}
