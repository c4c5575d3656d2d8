//! The end of a tap that is in a thread which answers: chooses exchanges by
//! chance and copies them into a ring of its own. It waits for nobody and
//! allocates nothing; what finds no room is dropped, and counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use rtrb::Producer;

use super::exchange::{HEAD, Head, Transport};
use crate::server::counters::Counters;
use crate::sys::port::Port;

/// One of how many requests is copied; 0 for none. Written by whoever subscribes,
/// read by every probe once a batch.
#[derive(Debug, Default)]
pub(super) struct Sampling(AtomicU32);

impl Sampling {
    pub(super) fn set(&self, every: u32) {
        // Relaxed: a probe may learn of it a batch later, and reads nothing else
        // on the strength of it.
        self.0.store(every, Relaxed);
    }

    #[inline]
    fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

/// The tap of one thread.
pub struct Probe {
    sampling: Arc<Sampling>,
    ring: Producer<u8>,
    /// Requests to pass over before the next one is copied.
    pass_over: u32,
    chance: Chance,
}

/// A request with its reply, before it is copied.
struct Sample<'s> {
    asked: Duration,
    replied: Duration,
    peer: SocketAddr,
    local: SocketAddr,
    transport: Transport,
    request: &'s [u8],
    reply: &'s [u8],
}

impl Probe {
    pub(super) fn new(sampling: Arc<Sampling>, ring: Producer<u8>, seed: u64) -> Probe {
        Probe {
            sampling,
            ring,
            pass_over: 0,
            chance: Chance(seed.wrapping_mul(2).wrapping_add(1)),
        }
    }

    /// One of how many requests is to be copied; `None` while nobody wants any.
    #[inline]
    pub fn sampling(&self) -> Option<u32> {
        match self.sampling.get() {
            0 => None,
            every => Some(every),
        }
    }

    /// Copies one of `every` exchanges of a batch of which the replies are settled
    /// and not sent.
    #[cold]
    pub fn batch<P: Port>(
        &mut self,
        every: u32,
        port: &P,
        received: usize,
        asked: Duration,
        counters: &Counters,
    ) {
        // Read once at most, and only where something is copied.
        let mut replied = None;
        for slot in 0..received {
            if !self.is_next(every) {
                continue;
            }
            let sample = Sample {
                asked,
                replied: *replied.get_or_insert_with(crate::server::now),
                peer: port.peer(slot),
                local: SocketAddr::new(port.local(slot), port.local_port(slot)),
                transport: Transport::Udp,
                request: port.request(slot),
                reply: port.reply(slot),
            };
            self.copy(&sample, counters);
        }
    }

    /// Copies one of `every` exchanges over a connection.
    #[cold]
    pub fn message(
        &mut self,
        every: u32,
        (peer, local): (SocketAddr, SocketAddr),
        (request, reply): (&[u8], &[u8]),
        asked: Duration,
        counters: &Counters,
    ) {
        if !self.is_next(every) {
            return;
        }
        let sample = Sample {
            asked,
            replied: crate::server::now(),
            peer,
            local,
            transport: Transport::Tcp,
            request,
            reply,
        };
        self.copy(&sample, counters);
    }

    /// True for one of `every` requests on average. The distance from one to the
    /// next is left to chance: with a fixed one, of clients that ask for A and
    /// AAAA in turn only one of the two would ever be seen.
    fn is_next(&mut self, every: u32) -> bool {
        let farthest = every.saturating_sub(1).saturating_mul(2);
        // It may have been drawn for fewer samples than are wanted now.
        self.pass_over = self.pass_over.min(farthest);
        if self.pass_over > 0 {
            self.pass_over -= 1;
            return false;
        }
        self.pass_over = self.chance.up_to(farthest);
        true
    }

    fn copy(&mut self, sample: &Sample<'_>, counters: &Counters) {
        let head = Head {
            asked: sample.asked,
            replied: sample.replied,
            peer: sample.peer,
            local: sample.local,
            transport: sample.transport,
            request: sample.request.len() as u16,
            reply: sample.reply.len() as u16,
        };
        if self.ring.slots() < HEAD + head.body() {
            return counters.tap_dropped();
        }
        let parts = [&head.to_octets()[..], sample.request, sample.reply];
        let copied = parts
            .into_iter()
            .all(|part| self.ring.push_entire_slice(part).is_ok());
        debug_assert!(copied, "nobody but this thread takes room from the ring");
        counters.tapped();
    }
}

/// Marsaglia's xorshift: enough for who is looked at.
struct Chance(u64);

impl Chance {
    /// A number from 0 to `last`.
    fn up_to(&mut self, last: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let range = u64::from(last) + 1;
        (((self.0 >> 32) * range) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe() -> Probe {
        Probe::new(Arc::default(), rtrb::RingBuffer::new(8).0, 7)
    }

    #[test]
    fn one_of_so_many_is_taken_on_average() {
        for every in [1, 2, 10, 1000] {
            let mut probe = probe();
            let rounds = 1000 * every;
            let taken = (0..rounds).filter(|_| probe.is_next(every)).count();
            let expected = if every == 1 { 1000..=1000 } else { 900..=1100 };
            assert!(expected.contains(&taken), "{taken} of {rounds}");
        }
    }

    #[test]
    fn requests_in_turn_are_all_seen() {
        let mut probe = probe();
        let mut seen = [0; 2];
        for number in 0..10_000 {
            seen[number % 2] += usize::from(probe.is_next(10));
        }
        assert!(seen.into_iter().all(|count| count > 300), "{seen:?}");
    }

    #[test]
    fn a_higher_rate_holds_at_once() {
        let mut probe = probe();
        while probe.pass_over < 1000 {
            probe.is_next(u32::MAX);
        }
        assert!(probe.is_next(1));
        assert!(probe.is_next(1));
    }
}
