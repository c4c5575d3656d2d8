//! Answering: the snapshot of zones and settings, the counters, and room for the
//! names of a batch. A worker, the TCP thread and whatever else answers has one.
//! It is the only place where a snapshot is taken, and so the only one where it
//! can change. It reads the clock, once a batch, and does no I/O.

mod alone;

use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;
use crossbeam_channel::Sender;

use super::counters::Counters;
use super::event::Event;
use super::rate_limit::{self, Limiter, Withheld};
use super::snapshot::{Snapshot, View};
use super::tap::Probe;
use super::{now, panics};
use crate::answer::{self, Outcome, Prepared, Request, Via};
use crate::sys::port::{MAX_WIDTH, Port};
use crate::wire::LookupName;

/// What answers the batches of a worker: an `Answerer`, or something around
/// one.
pub trait Responder: Send + 'static {
    /// Settles the replies to the `received` requests that a port holds, and
    /// counts them.
    fn answer<P: Port>(&mut self, port: &mut P, received: usize);

    /// Called when there was nothing to answer for a while.
    fn idle(&mut self);

    /// Answers the `received` requests that a port holds, and sends the replies.
    #[inline]
    fn exchange<P: Port>(&mut self, port: &mut P, received: usize, counters: &Counters) {
        self.answer(port, received);
        port.send(|error| counters.send_failed(&error));
    }
}

/// Answers requests from a snapshot of zones.
pub struct Answerer {
    view: View,
    counters: Arc<Counters>,
    /// The worker's number and CPU, to be told to whoever asks.
    seat: (u16, Option<u16>),
    /// Where a request that breaks the answering code is told of; what does not
    /// fit is only counted.
    events: Sender<Event>,
    /// Where copies of what is answered go, if anybody wants some.
    probe: Option<Probe>,
    /// Limits the replies over UDP.
    limiter: Option<Limiter>,
    scratch: Scratch,
}

/// Room that batches use in turn.
struct Scratch {
    /// A name for each slot of a batch.
    names: Box<[LookupName]>,
    /// What became of a batch.
    outcomes: Vec<Outcome>,
    withheld: Withheld,
}

impl Responder for Answerer {
    #[inline(always)]
    fn answer<P: Port>(&mut self, port: &mut P, received: usize) {
        self.counters.batch(received);
        let arrival = self.arrival(received);
        let (snapshot, scratch) = (self.view.load(), &mut self.scratch);
        let limiter = self.limiter.as_ref();
        let answer = || together(snapshot, limiter, scratch, port, received, arrival);
        // Answering is pure, so a batch on which it broke can be answered again; a
        // limit counts some of it twice.
        if panics::catch(answer).is_err() {
            self.one_by_one(port, received, arrival);
        }
        for outcome in &self.scratch.outcomes {
            self.counters.outcome(*outcome);
        }
        self.counters.withheld(self.scratch.withheld);
        let flows = (0..received).map(|slot| port.flow(slot));
        self.counters.flows().see(flows, arrival.now);
        if let Some(probe) = &mut self.probe
            && let Some(every) = probe.sampling()
        {
            probe.batch(every, port, received, arrival.now, &self.counters);
        }
    }

    /// Lets go of a snapshot that does not hold any more.
    fn idle(&mut self) {
        self.view.load();
    }
}

/// What the requests of a batch have in common.
#[derive(Clone, Copy)]
struct Arrival {
    via: Via,
    now: Duration,
}

impl Answerer {
    /// An answerer for a worker, or for something that speaks for none.
    pub fn new(
        view: View,
        counters: Arc<Counters>,
        seat: (u16, Option<u16>),
        events: Sender<Event>,
    ) -> Answerer {
        Answerer {
            view,
            counters,
            seat,
            events,
            probe: None,
            limiter: None,
            scratch: Scratch {
                names: vec![LookupName::new(); MAX_WIDTH].into(),
                outcomes: Vec::with_capacity(MAX_WIDTH),
                withheld: Withheld::default(),
            },
        }
    }

    /// The same with a tap on what it answers.
    pub fn with_probe(self, probe: Probe) -> Answerer {
        Answerer {
            probe: Some(probe),
            ..self
        }
    }

    /// The same with a limit on its replies over UDP.
    pub fn with_limiter(self, limiter: Option<Limiter>) -> Answerer {
        Answerer { limiter, ..self }
    }

    /// The number of the worker that it answers for.
    pub fn worker(&self) -> u16 {
        self.seat.0
    }

    /// Where it counts.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn arrival(&self, received: usize) -> Arrival {
        let (index, cpu) = self.seat;
        let worker = answer::Worker {
            index,
            cpu,
            batch: received as u16,
        };
        Arrival {
            via: Via::Udp(worker),
            now: now(),
        }
    }
}

/// Answers a batch: all requests are read, then what they need is fetched, then
/// all are answered.
fn together<P: Port>(
    Snapshot { zones, settings }: &Snapshot,
    limiter: Option<&Limiter>,
    scratch: &mut Scratch,
    port: &mut P,
    received: usize,
    arrival: Arrival,
) {
    let names = &mut scratch.names[..received];
    let mut batch = ArrayVec::<_, MAX_WIDTH>::new();
    for (slot, name) in names.iter_mut().enumerate() {
        batch.push(Prepared::read(zones, port.request(slot), name));
    }
    // One request alone gains nothing.
    if received > 1 {
        Prepared::fetch(&batch, names);
    }
    scratch.outcomes.clear();
    scratch.withheld = Withheld::default();
    for (slot, (prepared, name)) in batch.into_iter().zip(names).enumerate() {
        let outcome = match exchange(port, slot, arrival) {
            Some((request, out)) => {
                let withheld = &mut scratch.withheld;
                rate_limit::answer(limiter, prepared, settings, &request, name, out, withheld)
            }
            None => Some(Outcome::Ignored),
        };
        port.set_reply(slot, outcome.map_or(0, Outcome::length));
        scratch.outcomes.extend(outcome);
    }
}

/// The request in a slot, and room for its reply; `None` for one from port 0,
/// where nobody is, or from a stranger.
#[inline(always)]
fn exchange<P: Port>(
    port: &mut P,
    slot: usize,
    Arrival { via, now }: Arrival,
) -> Option<(Request<'_>, &mut [u8])> {
    let (peer, local) = (port.peer(slot), port.local(slot));
    if peer.port() == 0 || port.is_from_stranger(slot) {
        return None;
    }
    let (octets, out) = port.exchange(slot);
    let request = Request {
        octets,
        peer,
        local,
        via,
        now,
    };
    Some((request, out))
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket as Client};
    use std::time::Duration;

    use super::super::snapshot;
    use super::*;
    use crate::sys::port::{SocketPort, Wait};
    use crate::sys::socket::{UdpOptions, UdpSocket};

    const PATIENCE: Duration = Duration::from_secs(20);
    /// FORMERR is this long; a reply with a question is longer, and breaks what
    /// writes it where a port has no more room.
    const HEADER_ONLY: usize = 12;

    fn port(reply_size: usize) -> (SocketPort, Client) {
        let options = UdpOptions {
            grouped: false,
            receive_buffer: 1 << 20,
            timeout: PATIENCE,
        };
        let any = "127.0.0.1:0".parse().unwrap();
        let socket = UdpSocket::bind(any, &options, &mut Vec::new()).unwrap();
        let client = Client::bind(any).unwrap();
        client.connect(socket.local()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        (
            SocketPort::new(Arc::new(socket), 8, 512, reply_size),
            client,
        )
    }

    fn query(id: u8) -> Vec<u8> {
        [
            &[0, id, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0][..],
            b"\0\0\x01\0\x01",
        ]
        .concat()
    }

    /// A header that announces a question which is not there.
    fn broken(id: u8) -> Vec<u8> {
        vec![0, id, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    }

    fn answer_all(requests: &[Vec<u8>], reply_size: usize) -> (Vec<u8>, Arc<Counters>, usize) {
        let (mut port, client) = port(reply_size);
        let counters = Arc::<Counters>::default();
        let (events, told) = crossbeam_channel::unbounded();
        let mut answerer = Answerer::new(
            snapshot::fixed(Snapshot::default()),
            counters.clone(),
            (0, None),
            events,
        );
        for request in requests {
            client.send(request).unwrap();
        }
        let mut left = requests.len();
        while left > 0 {
            let received = port.receive(Wait::ForOne).unwrap();
            assert!(received > 0, "datagrams are lost");
            left -= received;
            answerer.answer(&mut port, received);
            port.send(|error| panic!("{error}"));
        }
        let answered = counters.read().answered();
        let ids = (0..answered).map(|_| {
            let mut reply = [0; 512];
            client.recv(&mut reply).unwrap();
            reply[1]
        });
        (ids.collect(), counters, told.len())
    }

    #[test]
    fn a_request_that_breaks_answering_costs_no_other_its_reply() {
        let requests = [broken(0), query(1), broken(2), query(3), broken(4)];
        let (ids, counters, told) = answer_all(&requests, HEADER_ONLY);
        assert_eq!(ids, [0, 2, 4]);
        let totals = counters.read();
        assert_eq!(
            (totals.received, totals.answered(), totals.panicked),
            (5, 3, 2)
        );
        assert_eq!(told, 2);
    }

    #[test]
    fn where_nothing_breaks_all_are_answered_and_nothing_is_told() {
        let requests = [broken(0), query(1), broken(2), query(3), broken(4)];
        let (ids, counters, told) = answer_all(&requests, 512);
        assert_eq!(ids, [0, 1, 2, 3, 4]);
        assert_eq!((counters.read().panicked, told), (0, 0));
    }

    #[test]
    fn a_message_that_breaks_answering_gets_none_and_is_told() {
        let (events, told) = crossbeam_channel::unbounded();
        let counters = Arc::<Counters>::default();
        let mut answerer = Answerer::new(
            snapshot::fixed(Snapshot::default()),
            counters.clone(),
            (0, None),
            events,
        );
        let peer: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let mut out = [0; HEADER_ONLY];
        let mut ask = |request: &[u8]| answerer.answer_message(request, peer, peer, &mut out);
        assert_eq!(ask(&query(1)), None);
        assert_eq!(ask(&broken(2)), Some(HEADER_ONLY));
        let totals = counters.read();
        assert_eq!((totals.received, totals.panicked, told.len()), (2, 1, 1));
        let Ok(Event::Panicked { message, .. }) = told.recv() else {
            panic!("something else is told");
        };
        assert!(message.contains("reply.rs"), "{message}");
    }
}
