//! What happens to the sockets for a while: how their queues go, what they drop,
//! which flows come in and who receives, each as far as the kernel lets us see.
//! Nothing is sent, and nothing of the sockets is changed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::members::Members;
use super::receipts::{Recorded, Recorder};
use crate::sys::lab::diag::Diag;
use crate::sys::lab::tap::{Ends, Tap};
use crate::sys::proc_net::Protocol;

/// Times that the queues are looked at.
const LOOKS: u32 = 100;
/// Where nothing comes in, the tap is looked at this often.
const PAUSE: Duration = Duration::from_millis(2);
/// Batches that are taken before the queues are looked at again.
const BATCHES: usize = 64;
/// Flows that are told apart; datagrams of further ones are only counted.
pub const MAX_FLOWS: usize = 1 << 16;

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// How long it took.
    pub lasted: Duration,
    /// The queues of the members.
    pub queues: Vec<Queue>,
    /// Datagrams by flow, or why they were not counted.
    pub flows: Told<Flows>,
    /// Receives by socket, or why they were not counted.
    pub receipts: Told<Recorded>,
    /// Members that were gone at the end.
    pub gone: usize,
    /// Sockets of the port that were new at the end.
    pub joined: usize,
}

/// Something, or why it is not to be had.
#[derive(Debug)]
pub enum Told<T> {
    /// It is to be had.
    Told(T),
    /// A sentence.
    Untold(String),
}

impl<T> Default for Told<T> {
    fn default() -> Told<T> {
        Told::Untold("it was not looked at".into())
    }
}

impl<T> Told<T> {
    fn of(found: anyhow::Result<T>) -> Told<T> {
        found.map_or_else(|error| Told::Untold(format!("{error:#}")), Told::Told)
    }

    /// It, where it is to be had.
    pub fn get(&self) -> Option<&T> {
        match self {
            Told::Told(it) => Some(it),
            Told::Untold(_) => None,
        }
    }

    /// Why it is not to be had.
    pub fn why(&self) -> Option<&str> {
        match self {
            Told::Told(_) => None,
            Told::Untold(why) => Some(why),
        }
    }
}

/// Flows that came in.
#[derive(Debug, Default)]
pub struct Flows {
    /// Datagrams by where they came from and went.
    pub datagrams: HashMap<Ends, u64>,
    /// Datagrams that came too fast, or of one flow too many.
    pub missed: u64,
}

/// The queue of a socket, or the connections that a listener has not accepted.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    looks: u32,
    /// Looks that found it not empty.
    pub filled: u32,
    /// What waited at last.
    pub last: u32,
    /// The most that waited.
    pub most: u32,
    /// True where it has been seen to become shorter.
    pub shrank: bool,
    first_drops: Option<u32>,
    last_drops: u32,
}

impl Queue {
    pub(super) fn look(&mut self, waiting: u32, drops: u32) {
        self.shrank |= self.looks > 0 && waiting < self.last;
        self.looks += 1;
        self.filled += u32::from(waiting > 0);
        self.last = waiting;
        self.most = self.most.max(waiting);
        self.first_drops.get_or_insert(drops);
        self.last_drops = drops;
    }

    /// What was dropped meanwhile; the kernel's number starts over at 2^32.
    pub fn drops(&self) -> u64 {
        let first = self.first_drops.unwrap_or(self.last_drops);
        u64::from(self.last_drops.wrapping_sub(first))
    }

    /// The part of all looks that found it not empty.
    pub fn filled_share(&self) -> f64 {
        f64::from(self.filled) / f64::from(self.looks.max(1))
    }

    /// True where something waited all the time and nobody took any of it.
    pub fn is_left_alone(&self) -> bool {
        self.looks > 1 && self.filled == self.looks && !self.shrank
    }
}

/// Watches the members for `window`, or until `stop` is set.
///
/// # Errors
///
/// What the kernel says to a listing.
pub fn watch(
    diag: &Diag,
    members: &Members,
    window: Duration,
    stop: &AtomicBool,
) -> anyhow::Result<Seen> {
    let mut seen = Seen {
        queues: vec![Queue::default(); members.sockets.len()],
        ..Seen::default()
    };
    let is_udp = members.protocol == Protocol::Udp;
    let recorder = is_udp.then(Recorder::prepare);
    let mut listener = is_udp.then(|| Listener::open(members));
    if let Some(Ok(recorder)) = &recorder {
        recorder.begin()?;
    }
    let begun = Instant::now();
    let mut next = begun;
    // Relaxed: nothing is read on the strength of it.
    while begun.elapsed() < window && !stop.load(Ordering::Relaxed) {
        if Instant::now() >= next {
            look(diag, members, &mut seen)?;
            next += window / LOOKS;
        }
        let came = match &mut listener {
            Some(Ok(listener)) => listener.take()?,
            _ => false,
        };
        if !came {
            thread::sleep(PAUSE.min(next.saturating_duration_since(Instant::now())));
        }
    }
    seen.lasted = begun.elapsed();
    if let Some(Ok(recorder)) = &recorder {
        recorder.end()?;
    }
    look(diag, members, &mut seen)?;
    if let Some(listener) = listener {
        seen.flows = Told::of(listener.and_then(Listener::finish));
    }
    if let Some(recorder) = recorder {
        seen.receipts = Told::of(recorder.and_then(Recorder::read_all));
    }
    Ok(seen)
}

fn look(diag: &Diag, members: &Members, seen: &mut Seen) -> anyhow::Result<()> {
    let listed = diag.on_port(members.address.port())?;
    (seen.gone, seen.joined) = (members.sockets.len(), 0);
    for socket in &listed {
        match members.position(socket.cookie) {
            Some(index) => {
                seen.queues[index].look(socket.waiting, socket.drops);
                seen.gone -= 1;
            }
            None => seen.joined += usize::from(!members.knows(socket.cookie)),
        }
    }
    Ok(())
}

/// Listens along with what comes in.
struct Listener<'a> {
    members: &'a Members,
    taps: Vec<Tap>,
    flows: Flows,
}

impl Listener<'_> {
    fn open(members: &Members) -> anyhow::Result<Listener<'_>> {
        let families = [false, true].into_iter();
        let taps = families
            .filter(|ipv6| members.takes(*ipv6))
            .map(|ipv6| Tap::open(members.address.port(), ipv6))
            .collect::<std::io::Result<_>>()
            .map_err(|error| anyhow::anyhow!("to see what comes in takes root ({error})"))?;
        Ok(Listener {
            members,
            taps,
            flows: Flows::default(),
        })
    }

    /// Counts what has come; false where nothing had.
    fn take(&mut self) -> std::io::Result<bool> {
        let (flows, asked) = (&mut self.flows, self.members.address.ip());
        let mut came = false;
        for tap in &mut self.taps {
            for _ in 0..BATCHES {
                let more = tap.take(|ends| {
                    if asked.is_unspecified() || ends.1 == asked {
                        flows.count(ends);
                    }
                })?;
                if !more {
                    break;
                }
                came = true;
            }
        }
        Ok(came)
    }

    fn finish(mut self) -> anyhow::Result<Flows> {
        self.take()?;
        let missed: u32 = self.taps.iter().map(Tap::missed).sum();
        self.flows.missed += u64::from(missed);
        Ok(self.flows)
    }
}

impl Flows {
    fn count(&mut self, ends: Ends) {
        let has_room = self.datagrams.len() < MAX_FLOWS;
        match self.datagrams.entry(ends) {
            Entry::Occupied(mut count) => *count.get_mut() += 1,
            Entry::Vacant(place) if has_room => drop(place.insert(1)),
            Entry::Vacant(_) => self.missed += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(looks: &[(u32, u32)]) -> Queue {
        let mut queue = Queue::default();
        for (waiting, drops) in looks {
            queue.look(*waiting, *drops);
        }
        queue
    }

    #[test]
    fn a_queue_that_only_grows_is_left_alone() {
        assert!(queue(&[(1, 0), (5, 0), (5, 0)]).is_left_alone());
        assert!(!queue(&[(5, 0), (4, 0), (5, 0)]).is_left_alone());
        assert!(!queue(&[(0, 0), (5, 0), (5, 0)]).is_left_alone());
        assert!(!queue(&[(5, 0)]).is_left_alone());
        assert_eq!(queue(&[(5, u32::MAX), (0, 2)]).drops(), 3);
        assert_eq!(queue(&[(5, 0), (0, 2)]).filled_share(), 0.5);
        assert_eq!(Queue::default().drops(), 0);
    }
}
