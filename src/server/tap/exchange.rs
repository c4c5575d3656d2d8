//! A request with its reply, and how the two lie in a ring of octets between the
//! thread that answered and the one that reads.
//!
//! ```text
//! asked, replied   8 octets each   nanoseconds since the beginning of 1970
//! peer, local     16 octets each   IPv4 addresses as ::ffff:a.b.c.d
//! peer, local      2 octets each   ports
//! request, reply   2 octets each   lengths
//! transport        1 octet
//! request
//! reply
//! ```

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::wire::Cursor;

/// Octets before the request.
pub(super) const HEAD: usize = 57;

/// How a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// Over a connection.
    Tcp,
}

/// A request and its reply, copied.
#[derive(Debug)]
pub struct Exchange {
    /// When the request was taken, since the beginning of 1970 UTC.
    pub asked: Duration,
    /// When its reply was ready.
    pub replied: Duration,
    /// Who asked.
    pub peer: SocketAddr,
    /// Where.
    pub local: SocketAddr,
    /// How.
    pub transport: Transport,
    /// The number of the worker that answered; `None` for the TCP thread.
    pub worker: Option<u16>,
    /// The request.
    pub request: Vec<u8>,
    /// The reply; empty where there was none.
    pub reply: Vec<u8>,
    /// Keeps count of what is held of all exchanges.
    pub(super) held: Option<Held>,
}

impl Exchange {
    /// An exchange over UDP with worker 0 that nobody has seen, as tests of what
    /// becomes of exchanges make them up.
    ///
    /// # Panics
    ///
    /// Where an address is none.
    pub fn new(
        (peer, local): (&str, &str),
        (asked, replied): (Duration, Duration),
        (request, reply): (&[u8], &[u8]),
    ) -> Exchange {
        Exchange {
            asked,
            replied,
            peer: peer.parse().unwrap(),
            local: local.parse().unwrap(),
            transport: Transport::Udp,
            worker: Some(0),
            request: request.into(),
            reply: reply.into(),
            held: None,
        }
    }
}

/// Octets that count as held until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    all: Arc<AtomicUsize>,
    own: usize,
}

impl Held {
    /// Counts `own` octets more, unless that passes the limit.
    pub(super) fn within(limit: usize, all: &Arc<AtomicUsize>, own: usize) -> Option<Held> {
        // Relaxed: a count by which nothing else is read. Whoever adds has the
        // hub's lock, so the limit holds.
        if all.load(Relaxed) + own > limit {
            return None;
        }
        all.fetch_add(own, Relaxed);
        Some(Held {
            all: all.clone(),
            own,
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.own, Relaxed);
    }
}

/// What comes before the octets of request and reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub asked: Duration,
    pub replied: Duration,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub transport: Transport,
    pub request: u16,
    pub reply: u16,
}

impl Head {
    /// Octets of the request and its reply.
    pub(super) fn body(&self) -> usize {
        usize::from(self.request) + usize::from(self.reply)
    }

    pub(super) fn to_octets(self) -> [u8; HEAD] {
        let mut octets = [0; HEAD];
        let mut rest = &mut octets[..];
        let mut put = |part: &[u8]| {
            let (place, after) = std::mem::take(&mut rest).split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = after;
        };
        put(&(self.asked.as_nanos() as u64).to_be_bytes());
        put(&(self.replied.as_nanos() as u64).to_be_bytes());
        put(&sixteen(self.peer.ip()));
        put(&sixteen(self.local.ip()));
        put(&self.peer.port().to_be_bytes());
        put(&self.local.port().to_be_bytes());
        put(&self.request.to_be_bytes());
        put(&self.reply.to_be_bytes());
        put(&[u8::from(self.transport == Transport::Tcp)]);
        debug_assert!(rest.is_empty(), "the parts make up a head");
        octets
    }

    pub(super) fn read(octets: &[u8; HEAD]) -> Option<Head> {
        let mut rest = Cursor::new(octets);
        let (asked, replied) = (time(&mut rest)?, time(&mut rest)?);
        let (peer, local) = (address(&mut rest)?, address(&mut rest)?);
        Some(Head {
            asked,
            replied,
            peer: SocketAddr::new(peer, rest.u16()?),
            local: SocketAddr::new(local, rest.u16()?),
            request: rest.u16()?,
            reply: rest.u16()?,
            transport: match rest.u8()? {
                0 => Transport::Udp,
                _ => Transport::Tcp,
            },
        })
    }
}

fn sixteen(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn time(rest: &mut Cursor<'_>) -> Option<Duration> {
    let octets = rest.take(8)?.try_into().ok()?;
    Some(Duration::from_nanos(u64::from_be_bytes(octets)))
}

fn address(rest: &mut Cursor<'_>) -> Option<IpAddr> {
    let octets: [u8; 16] = rest.take(16)?.try_into().ok()?;
    Some(Ipv6Addr::from(octets).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        for (peer, local, transport) in [
            ("192.0.2.1:5353", "192.0.2.53:53", Transport::Udp),
            ("[2001:db8::1]:65535", "[2001:db8::53]:53", Transport::Tcp),
        ] {
            let head = Head {
                asked: Duration::new(1_700_000_000, 123_456_789),
                replied: Duration::new(1_700_000_000, 123_456_999),
                peer: peer.parse().unwrap(),
                local: local.parse().unwrap(),
                transport,
                request: 40,
                reply: 65_535,
            };
            assert_eq!(Head::read(&head.to_octets()), Some(head));
        }
    }

    #[test]
    fn what_is_held_is_counted_until_it_is_dropped() {
        let all = Arc::<AtomicUsize>::default();
        let first = Held::within(10, &all, 6).unwrap();
        assert!(Held::within(10, &all, 5).is_none());
        assert!(Held::within(10, &all, 4).is_some());
        drop(first);
        assert_eq!(all.load(Relaxed), 0);
    }
}
