//! One request at a time: over a connection, and of a batch on which answering
//! broke.

use std::net::SocketAddr;

use super::{Answerer, Arrival, exchange};
use crate::answer::{Outcome, Prepared, Request, Via};
use crate::server::event::Event;
use crate::server::rate_limit::{self, Withheld};
use crate::server::snapshot::Snapshot;
use crate::server::{now, panics};
use crate::sys::port::Port;

impl Answerer {
    /// Answers one request that came over a connection, and counts it. `None`
    /// where it gets no reply, because it is none that we understand, or because
    /// the answering code broke on it.
    pub fn answer_message(
        &mut self,
        octets: &[u8],
        peer: SocketAddr,
        local: SocketAddr,
        out: &mut [u8],
    ) -> Option<usize> {
        self.counters.request();
        let request = Request {
            octets,
            peer,
            local: local.ip(),
            via: Via::Tcp,
            now: now(),
        };
        let outcome = self.alone(&request, out);
        let length = outcome.map_or(0, Outcome::length);
        if let Some(probe) = &mut self.probe
            && let Some(every) = probe.sampling()
        {
            let octets = (octets, &out[..length]);
            probe.message(every, (peer, local), octets, request.now, &self.counters);
        }
        (length > 0).then_some(length)
    }

    /// After a panic: those on which answering breaks get no reply, and those
    /// around them do.
    #[cold]
    pub(super) fn one_by_one<P: Port>(&mut self, port: &mut P, received: usize, arrival: Arrival) {
        self.scratch.outcomes.clear();
        self.scratch.withheld = Withheld::default();
        for slot in 0..received {
            let outcome = match exchange(port, slot, arrival) {
                Some((request, out)) => self.alone(&request, out),
                None => {
                    self.scratch.outcomes.push(Outcome::Ignored);
                    None
                }
            };
            port.set_reply(slot, outcome.map_or(0, Outcome::length));
        }
    }

    /// Answers one request and counts what became of it; `None` where the reply is
    /// withheld, or answering breaks, which is told.
    fn alone(&mut self, request: &Request<'_>, out: &mut [u8]) -> Option<Outcome> {
        let Snapshot { zones, settings } = &**self.view.load();
        let name = &mut self.scratch.names[0];
        let over_udp = matches!(request.via, Via::Udp(_));
        let limiter = self.limiter.as_ref().filter(|_| over_udp);
        let mut withheld = Withheld::default();
        let caught = panics::catch(|| {
            let prepared = Prepared::read(zones, request.octets, name);
            rate_limit::answer(
                limiter,
                prepared,
                settings,
                request,
                name,
                out,
                &mut withheld,
            )
        });
        let (message, backtrace) = match caught {
            Ok(outcome) => {
                outcome
                    .iter()
                    .for_each(|outcome| self.counters.outcome(*outcome));
                self.counters.withheld(withheld);
                return outcome;
            }
            Err(broken) => broken,
        };
        self.counters.panicked();
        let thread = std::thread::current();
        // Nobody may be listening, or too much may wait already.
        let _ = self.events.try_send(Event::Panicked {
            thread: thread.name().unwrap_or("a thread").into(),
            message,
            backtrace,
        });
        None
    }
}
