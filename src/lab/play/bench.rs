//! The bench itself: the sockets in the kernel's order, who serves them, who asks,
//! and what can be found out about them. What is done to it is in `actions`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};
use statrs::distribution::{Binomial, DiscreteCDF};

use super::clients::Clients;
use super::ledger::{Ledger, NOBODY};
use super::locked;
use super::message::{QUESTION, Serial, ask};
use super::server::{Python, Server};
use super::serving::{Order, bind};
use super::setup::Setup;
use super::words::{many, number};
use crate::lab::explain::chance::Chance;
use crate::lab::group::{ANY_PORT, port_for_later};
use crate::server::placement::allowed_cpus;
use crate::sys::socket::UdpSocket;
use crate::sys::steer;

/// Roll calls without news until whoever has not answered is taken to be unable to.
const CALLS: usize = 5;
/// How long nothing has to come until nothing more is expected.
const QUIET: Duration = Duration::from_millis(300);
/// However much still comes, it is not waited for longer.
const LONGEST: Duration = Duration::from_secs(3);
/// The clients give up what is older than two seconds; where they have a CPU.
const DECIDED: Duration = Duration::from_secs(20);
/// What is drawn to know chance is always the same.
const SEED: u64 = 1;
/// How often it is looked.
const TICK: Duration = Duration::from_millis(2);

/// Whose socket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The server's.
    Own,
    /// A second process's, which bound it itself.
    Process,
    /// The Python program's.
    Python,
}

/// A socket of the group.
pub struct Lane {
    /// Its number, which no other has had.
    pub serial: Serial,
    /// Whose it is.
    pub kind: Kind,
    /// The process that serves it.
    pub process: u32,
    /// A descriptor to look at queue and drops, and to hand it over; none of
    /// Python's.
    pub socket: Option<UdpSocket>,
}

/// What is shown of a bench.
pub struct Shown {
    /// As it is to be: sockets of the server, and who else is there, are counted by
    /// `setup()`.
    pub setup: Setup,
    /// The sockets in the kernel's order. They are here alone: what is taken off the
    /// list is closed.
    pub lanes: Vec<Lane>,
    /// What has become of the datagrams.
    pub ledger: Arc<Mutex<Ledger>>,
    /// Datagrams that were dropped on sockets that are closed by now.
    pub dropped: u64,
    /// Bytes that one datagram takes in a queue.
    pub datagram: usize,
    /// The last that was said.
    pub said: Said,
    /// What is being done.
    pub doing: Option<&'static str>,
}

/// What happened.
#[derive(Clone, Debug, Serialize)]
pub struct Said {
    /// Counts what was said.
    pub number: u64,
    /// A sentence or two.
    pub text: String,
    /// The figures in it.
    pub figures: Value,
    /// The flows that moved.
    #[serde(skip)]
    pub moved: Vec<bool>,
}

/// The bench.
pub struct Bench {
    pub(super) shown: Arc<Mutex<Shown>>,
    pub(super) address: SocketAddr,
    pub(super) server: Server,
    pub(super) process: Option<Server>,
    pub(super) python: Option<Python>,
    pub(super) clients: Clients,
    pub(super) next_serial: Serial,
}

impl Bench {
    /// Sets a bench up.
    ///
    /// # Errors
    ///
    /// What the kernel would not give.
    pub fn start(setup: Setup) -> anyhow::Result<Bench> {
        let address = port_for_later().context("there is no port on loopback")?;
        let first = bind(address).context("cannot bind a socket on loopback")?;
        let address = first.local();
        let shown = Shown {
            setup,
            lanes: Vec::new(),
            ledger: Arc::new(Mutex::new(Ledger::new(0))),
            dropped: 0,
            datagram: cost_of_a_datagram()?,
            said: Said {
                number: 0,
                text: String::new(),
                figures: Value::Null,
                moved: Vec::new(),
            },
            doing: None,
        };
        let clients = Clients::start(address, setup.flows, setup.rate)?;
        let mut bench = Bench {
            shown: Arc::new(Mutex::new(shown)),
            address,
            server: Server::thread()?,
            process: None,
            python: None,
            clients,
            next_serial: 1,
        };
        locked(&bench.shown).ledger = bench.clients.ledger().clone();
        bench.push(first)?;
        while bench.lanes() < setup.sockets {
            bench.push(bind(address)?)?;
        }
        bench.steer()?;
        let (mut text, figures) = bench.tell_spread();
        bench.invite(setup, &mut text);
        bench.say(text, figures, Vec::new());
        Ok(bench)
    }

    /// What is shown of it.
    pub fn shown(&self) -> Arc<Mutex<Shown>> {
        self.shown.clone()
    }

    /// Sockets of the group.
    pub fn lanes(&self) -> usize {
        locked(&self.shown).lanes.len()
    }

    /// A number for a socket.
    pub fn serial(&mut self) -> Serial {
        self.next_serial += 1;
        self.next_serial - 1
    }

    /// Has the server serve one more socket, which is the last of the group.
    ///
    /// # Errors
    ///
    /// A server that is gone.
    pub fn push(&mut self, socket: UdpSocket) -> anyhow::Result<()> {
        let serial = self.serial();
        self.server.hand_over(serial, &socket)?;
        let lane = Lane {
            serial,
            kind: Kind::Own,
            process: self.server.process_id(),
            socket: Some(socket),
        };
        locked(&self.shown).lanes.push(lane);
        Ok(())
    }

    /// Closes a socket, and returns how many datagrams had been queued on it. The
    /// kernel moves the last into its place, and so does the list.
    ///
    /// # Errors
    ///
    /// A server that is gone.
    pub fn close(&mut self, index: usize) -> anyhow::Result<u64> {
        let (serial, kind) = {
            let shown = locked(&self.shown);
            (shown.lanes[index].serial, shown.lanes[index].kind)
        };
        match kind {
            Kind::Own => self.server.give(Order::Close(serial))?,
            Kind::Process => {
                if let Some(process) = &mut self.process {
                    process.give(Order::Close(serial))?;
                }
                self.process = None;
            }
            Kind::Python => self.python = None,
        }
        let mut shown = locked(&self.shown);
        let (queued, dropped) = shown.load(&shown.lanes[index]);
        shown.dropped += dropped;
        shown.lanes.swap_remove(index);
        Ok(queued)
    }

    /// Puts the program of the policy on the group, for as many sockets as it has.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn steer(&self) -> anyhow::Result<()> {
        let shown = locked(&self.shown);
        let any = shown.lanes.iter().find_map(|lane| lane.socket.as_ref());
        let any = any.context("there is no socket to steer")?;
        let Some(policy) = shown.setup.steer() else {
            steer::detach(any);
            return Ok(());
        };
        let cpus = allowed_cpus();
        let count = shown.lanes.len();
        let cpus: Vec<usize> = cpus.iter().copied().cycle().take(count).collect();
        steer::attach(any, policy, &cpus).context("cannot steer the group")
    }

    /// Has all client ports ask once, and says which socket answers each; `NOBODY`
    /// where none does.
    pub fn roll_call(&self) -> Vec<Serial> {
        let ledger = self.clients.ledger();
        let from = locked(ledger).next();
        let flows = locked(ledger).flows().len();
        let (mut known, mut calls) = (0, 0);
        while known < flows && calls < CALLS {
            self.clients.call();
            let heard = || locked(ledger).heard_since(from);
            let heard = wait_until_quiet(heard, |&heard| heard == flows);
            calls = if heard > known { 0 } else { calls + 1 };
            known = heard;
        }
        locked(ledger).places_since(from)
    }

    /// Waits until each of the questions that are counted apart is answered or given
    /// up; how many these are, and how many have no answer.
    pub fn counted(&self) -> (u64, u64) {
        let (start, ledger) = (Instant::now(), self.clients.ledger());
        while !locked(ledger).is_decided() && start.elapsed() < DECIDED {
            thread::sleep(TICK);
        }
        locked(ledger).counted()
    }

    /// How many flows each socket has, and what chance would have made of it.
    pub fn tell_spread(&self) -> (String, Value) {
        let places = self.roll_call();
        let shown = locked(&self.shown);
        let flows = |lane: &Lane| places.iter().filter(|at| **at == lane.serial).count() as u64;
        let flows: Vec<u64> = shown.lanes.iter().map(flows).collect();
        let (most, least) = (flows.iter().max(), flows.iter().min());
        let (most, least) = (*most.unwrap_or(&0), *least.unwrap_or(&0));
        let [low, high] = busiest(places.len(), flows.len());
        let setup = shown.setup;
        let mut text = format!(
            "{} and {}, steered by {}",
            many(setup.sockets as u64, "socket"),
            many(setup.flows as u64, "client port"),
            setup.policy_name(),
        );
        text += &match flows.len() {
            0 | 1 => format!(": it has {} of the ports.", number(most)),
            _ => format!(
                ": the busiest socket has {} of the ports, the idlest {}. Chance alone gives the \
                    busiest {} to {}, 95 times of 100.",
                number(most),
                number(least),
                number(low),
                number(high),
            ),
        };
        let figures = json!({"most": most, "least": least, "low": low, "high": high});
        (text, figures)
    }

    /// Says what happened, and which flows moved.
    pub fn say(&self, text: String, figures: Value, moved: Vec<bool>) -> Said {
        let mut shown = locked(&self.shown);
        shown.said = Said {
            number: shown.said.number + 1,
            text,
            figures,
            moved,
        };
        shown.said.clone()
    }
}

impl Shown {
    /// As it is set up by now.
    pub fn setup(&self) -> Setup {
        Setup {
            sockets: self.count(Kind::Own).max(1),
            process: self.count(Kind::Process) > 0,
            python: self.count(Kind::Python) > 0,
            ..self.setup
        }
    }

    /// Sockets of one kind.
    pub fn count(&self, kind: Kind) -> usize {
        let is_it = |lane: &&Lane| lane.kind == kind;
        self.lanes.iter().filter(is_it).count()
    }

    /// Datagrams that wait on a socket, and those that were dropped on it.
    pub fn load(&self, lane: &Lane) -> (u64, u64) {
        let Some(socket) = &lane.socket else {
            return (0, 0);
        };
        let bytes = socket.waiting().unwrap_or(0);
        let queued = bytes.div_ceil(self.datagram) as u64;
        (queued, socket.drops().unwrap_or(0))
    }
}

/// Looks until what is seen is as wanted, or has not changed for a while.
fn wait_until_quiet<T: PartialEq>(look: impl Fn() -> T, is_it: impl Fn(&T) -> bool) -> T {
    let start = Instant::now();
    let (mut seen, mut since) = (look(), start);
    while !is_it(&seen) && since.elapsed() < QUIET && start.elapsed() < LONGEST {
        thread::sleep(TICK);
        let now = look();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    seen
}

/// How many of the flows a socket has by chance, 95 times of 100.
pub fn band(flows: usize, sockets: usize) -> [u64; 2] {
    let chance = 1.0 / sockets.max(1) as f64;
    match Binomial::new(chance, flows as u64) {
        Ok(binomial) if sockets > 1 => [0.025, 0.975].map(|part| quantile(&binomial, part)),
        _ => [flows as u64; 2],
    }
}

/// How many of the flows the busiest socket has by chance, 95 times of 100.
fn busiest(flows: usize, sockets: usize) -> [u64; 2] {
    let chance = Chance::of(&vec![1; flows], sockets, SEED);
    let range = chance.map_or([1.0; 2], |chance| [chance.busiest.low, chance.busiest.high]);
    range.map(|part| (part * flows as f64).round() as u64)
}

/// The least count that so large a part of all draws does not exceed. (The library's
/// own search panics where the first count has more than that.)
fn quantile(binomial: &Binomial, part: f64) -> u64 {
    let (mut low, mut high) = (0, binomial.n());
    while low < high {
        let middle = low.midpoint(high);
        match binomial.cdf(middle) < part {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    low
}

/// What the kernel counts for one question in a queue (`truesize` of its buffer).
fn cost_of_a_datagram() -> anyhow::Result<usize> {
    let socket = bind(ANY_PORT)?;
    let client = std::net::UdpSocket::bind(ANY_PORT)?;
    let question: [u8; QUESTION] = ask(0, 0, 0);
    client.send_to(&question, socket.local())?;
    // On loopback it is there when the call returns.
    Ok(socket.waiting()?.max(1))
}

/// Which flows are elsewhere, of those that are known both times.
pub fn moved(before: &[Serial], after: &[Serial]) -> Vec<bool> {
    let is_moved = |(before, after): (&Serial, &Serial)| {
        before != after && *before != NOBODY && *after != NOBODY
    };
    before.iter().zip(after).map(is_moved).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 100 throws of a coin 40 to 60 are heads, 95 times of 100.
    #[test]
    fn the_band_of_chance_is_the_tables() {
        assert_eq!(band(100, 2), [40, 60]);
        assert_eq!(
            (band(7, 1), band(4, 2), band(1, 64)),
            ([7, 7], [0, 4], [0, 0])
        );
        let [low, high] = band(4096, 64);
        assert!((48..=49).contains(&low) && (79..=80).contains(&high));
    }

    #[test]
    fn every_flow_has_its_socket_and_every_datagram_its_answer() {
        let setup = Setup {
            sockets: 4,
            flows: 64,
            rate: 0,
            ..Setup::default()
        };
        let bench = Bench::start(setup).unwrap();
        locked(bench.clients.ledger()).begin();
        let (first, second) = (bench.roll_call(), bench.roll_call());
        assert_eq!(first, second, "a flow stays where it is");
        assert!(first.iter().all(|at| (1..=4).contains(at)), "{first:?}");
        // On a busy machine somebody may have to be called once more.
        let (sent, lost) = bench.counted();
        assert!(sent >= 128 && sent % 64 == 0 && lost == 0, "{sent} {lost}");
        let said = locked(&bench.shown).said.clone();
        assert_eq!(said.number, 1);
        let busiest = (1..=4).map(|serial| first.iter().filter(|at| **at == serial).count());
        assert_eq!(said.figures["most"], busiest.max().unwrap());
        // The busiest of four never has less than the mean.
        assert!(said.figures["low"].as_u64().unwrap() >= 16, "{said:?}");
        assert!(said.text.contains("gives the busiest"), "{said:?}");
    }

    #[test]
    fn a_flow_that_is_not_known_has_not_moved() {
        let moved = moved(&[1, 1, NOBODY, 2], &[1, 2, 2, NOBODY]);
        assert_eq!(moved, [false, true, false, false]);
    }
}
