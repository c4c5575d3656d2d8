//! What every file of this layer may use: a request with all that its answer
//! may depend on, how requests are answered, and what became of one.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::wire::Rcode;

/// The longest message, and with it the longest reply buffer of use.
pub const MAX_MESSAGE: usize = 65_535;
/// The shortest reply limit: what every client takes (RFC 1035 §2.3.4).
pub const MIN_UDP: usize = 512;
/// The DNS Flag Day 2020 size: fits every common MTU without fragments.
pub const DEFAULT_EDNS_SIZE: u16 = 1232;

/// A request, and everything that its answer may depend on but the zones and
/// the settings: the same request gets the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'r> {
    /// The message.
    pub octets: &'r [u8],
    /// Who sent it.
    pub peer: SocketAddr,
    /// The address that it was sent to.
    pub local: IpAddr,
    /// How it came in.
    pub via: Via,
    /// The time, since the beginning of 1970 UTC.
    pub now: Duration,
}

/// How a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// In a datagram, to this worker.
    Udp(Worker),
    /// Over a connection.
    Tcp,
}

/// What `worker.server` tells of the thread that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its number, which is also that of its socket in the group.
    pub index: u16,
    /// The CPU that it is pinned to.
    pub cpu: Option<u16>,
    /// Datagrams in the batch that the request came with.
    pub batch: u16,
}

/// What stays the same from query to query.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The longest UDP reply, and what replies say that the server takes.
    pub edns_size: u16,
    /// The server's name for itself, for NSID (RFC 5001) and `id.server`
    /// (RFC 4892); empty where it keeps it to itself. 255 octets at most.
    pub identity: Vec<u8>,
    /// What `version.server` says; empty where it keeps it to itself. 255 octets at
    /// most.
    pub version: Vec<u8>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            edns_size: DEFAULT_EDNS_SIZE,
            identity: Vec::new(),
            version: concat!("shardns ", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The reply is in the buffer.
    Replied {
        /// Octets of the reply.
        length: usize,
        /// Its response code.
        rcode: Rcode,
        /// True where TC is set.
        truncated: bool,
    },
    /// Nothing is sent: the request is a response, or shorter than a header.
    Ignored,
}

impl Outcome {
    /// Octets to send; 0 for nothing.
    #[inline]
    pub fn length(self) -> usize {
        match self {
            Outcome::Replied { length, .. } => length,
            Outcome::Ignored => 0,
        }
    }
}
