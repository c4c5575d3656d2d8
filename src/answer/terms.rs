//! What every file of this layer may use: a request with all that its answer
//! may depend on, how requests are answered, and what became of one.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::cookie::{Cookie, Secrets};
use crate::wire::Rcode;
use crate::wire::header::flag;

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
    /// What server cookies are made with (RFC 7873); `None` where clients' cookies
    /// are not looked at.
    pub cookies: Option<Secrets>,
    /// How long a connection may be idle, for clients that ask (RFC 7828); `None`
    /// where they are not told.
    pub tcp_idle: Option<Duration>,
}

impl Settings {
    /// `tcp_idle` as messages have it: in units of 100 ms, and never longer than it
    /// is.
    pub(super) fn keepalive(&self) -> Option<u16> {
        let units = self.tcp_idle?.as_millis() / 100;
        Some(units.try_into().unwrap_or(u16::MAX))
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            edns_size: DEFAULT_EDNS_SIZE,
            identity: Vec::new(),
            version: concat!("shardns ", env!("CARGO_PKG_VERSION")).into(),
            cookies: None,
            tcp_idle: None,
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
        /// What else is to be known of it.
        notes: Notes,
    },
    /// Nothing is sent: the request is a response, or shorter than a header.
    Ignored,
}

/// What a reply was made from, for whoever counts replies to a client that say
/// the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Records of the name that was asked for, and what its aliases lead to.
    #[default]
    Name,
    /// A wildcard or DNAME that speaks for all names below one: that which ends the
    /// question's name and begins at this octet of it.
    Above(u8),
    /// The zone: it has no such name or type, it refers to another, or it fails.
    Zone,
    /// The server: errors, refusals, and what it says of itself.
    Server,
}

/// What is to be known of a reply besides: packed, since hardly anybody asks, and
/// copying one word costs less than four.
///
/// ```text
/// bit  27 26    25 24   23 … 16                        15 … 0
///      cookie   source  where `Source::Above` begins   the header's flags
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes(u32);

impl Notes {
    const COOKIES: [Cookie; 4] = [
        Cookie::None,
        Cookie::ClientOnly,
        Cookie::Valid,
        Cookie::Invalid,
    ];

    /// Notes on a reply whose header has these flags, the code left out.
    #[inline(always)]
    pub fn new(flags: u16) -> Notes {
        Notes(flags.into())
    }

    /// The header's flags, the code left out.
    #[inline(always)]
    pub fn flags(self) -> u16 {
        self.0 as u16
    }

    /// Sets these flags.
    #[inline(always)]
    pub fn set(&mut self, flags: u16) {
        self.0 |= u32::from(flags);
    }

    /// Clears these flags.
    #[inline(always)]
    pub fn clear(&mut self, flags: u16) {
        self.0 &= !u32::from(flags);
    }

    /// True where TC is set.
    #[inline]
    pub fn is_truncated(self) -> bool {
        self.flags() & flag::TC != 0
    }

    /// What the client has shown of itself.
    #[inline]
    pub fn cookie(self) -> Cookie {
        Notes::COOKIES[(self.0 >> 26 & 3) as usize]
    }

    /// What the reply was made from.
    #[inline]
    pub fn source(self) -> Source {
        match self.0 >> 24 & 3 {
            0 => Source::Name,
            1 => Source::Above((self.0 >> 16) as u8),
            2 => Source::Zone,
            _ => Source::Server,
        }
    }

    /// The same with another cookie.
    #[inline]
    pub fn with_cookie(self, cookie: Cookie) -> Notes {
        Notes(self.0 & !(3 << 26) | (cookie as u32) << 26)
    }

    /// The same with another source.
    #[inline]
    pub fn with_source(self, source: Source) -> Notes {
        let mut notes = Notes(self.0 & !SOURCE);
        notes.begin_source(source);
        notes
    }

    /// Sets the source where it is `Name`, as at first.
    #[inline]
    pub fn begin_source(&mut self, source: Source) {
        debug_assert!(self.0 & SOURCE == 0);
        self.0 |= match source {
            Source::Name => 0,
            Source::Above(start) => 1 << 24 | u32::from(start) << 16,
            Source::Zone => 2 << 24,
            Source::Server => 3 << 24,
        };
    }
}

/// The bits of notes that tell the source.
const SOURCE: u32 = 0x3ff << 16;

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
