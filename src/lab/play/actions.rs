//! What can be done to the bench, each with a sentence about what came of it. The
//! figures are counted, never reckoned: where flows land before and after by a roll
//! call, what was lost by the numbers of the questions that have no answer.

use std::fmt::Write;
use std::net::SocketAddr;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::bench::{Bench, Kind, Lane, Said, band, moved};
use super::ledger::NOBODY;
use super::locked;
use super::message::{PYTHON_SERIAL, Serial};
use super::server::{Python, Server};
use super::serving::{Order, bind};
use super::setup::{MAX_SOCKETS, Setup};
use super::words::{many, number};
use crate::sys::lab::bind::{Reuse, as_user, bind_udp, symbol};
use crate::sys::sock_diag::bound_to;
use crate::sys::user;

/// How long a socket is stalled.
const STALL: Duration = Duration::from_secs(1);
/// How long an interpreter may take to start, on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether it has.
const TICK: Duration = Duration::from_millis(10);
/// The user `nobody` on most systems, who owns nothing.
const NOBODY_USER: u32 = 65_534;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Set it up otherwise.
    Set(Setup),
    /// One more socket.
    Add,
    /// One socket less.
    Close(Serial),
    /// One socket that is not read for a second.
    Stall(Serial),
    /// The server ends, and another is started.
    Reopen,
    /// Another is started, and the server ends.
    Overlap,
    /// Another is started and gets the server's sockets.
    Takeover,
    /// A second process on the port, or its end.
    Process,
    /// The Python program on the port, or its end.
    Python,
    /// Another user tries for the port.
    OtherUser,
}

impl FromStr for Action {
    type Err = anyhow::Error;

    /// Reads the name of an action, with what it needs: `close=7`, `set?rate=5`.
    fn from_str(text: &str) -> anyhow::Result<Action> {
        if let Some(setup) = text.strip_prefix("set?") {
            return Ok(Action::Set(setup.parse()?));
        }
        let (name, serial) = text.split_once('=').unwrap_or((text, ""));
        let serial = || serial.parse().context("name a socket by its number");
        Ok(match name {
            "add" => Action::Add,
            "close" => Action::Close(serial()?),
            "stall" => Action::Stall(serial()?),
            "reopen" => Action::Reopen,
            "overlap" => Action::Overlap,
            "takeover" => Action::Takeover,
            "process" => Action::Process,
            "python" => Action::Python,
            "other-user" => Action::OtherUser,
            _ => bail!("there is no action {name}"),
        })
    }
}

impl Action {
    fn doing(self) -> &'static str {
        match self {
            Action::Set(_) => "setting up",
            Action::Add => "adding a socket",
            Action::Close(_) => "closing a socket",
            Action::Stall(_) => "not reading a socket for a second",
            Action::Reopen | Action::Overlap | Action::Takeover => "restarting",
            Action::Process => "a second process",
            Action::Python => "ten lines of Python",
            Action::OtherUser => "another user",
        }
    }
}

/// What came of an action.
struct Outcome {
    text: String,
    figures: Value,
    moved: Vec<bool>,
}

/// What was seen around a deed.
struct Seen<T> {
    deed: T,
    /// Which socket answered each flow, before and after.
    before: Vec<Serial>,
    after: Vec<Serial>,
    /// The sockets in the kernel's order, before and after.
    orders: [Vec<Serial>; 2],
    moved: Vec<bool>,
    /// Datagrams that were sent meanwhile, and those of them that have no answer.
    sent: u64,
    lost: u64,
    took: Duration,
}

impl<T> Seen<T> {
    fn moved(&self) -> u64 {
        self.moved.iter().filter(|moved| **moved).count() as u64
    }

    /// Flows that a socket has.
    fn on(&self, serial: Serial) -> u64 {
        self.after.iter().filter(|at| **at == serial).count() as u64
    }

    fn flows(&self) -> u64 {
        self.before.len() as u64
    }

    /// Where all sockets are new, a flow has moved if the place of its socket in the
    /// group is another.
    fn compare_slots(&mut self) {
        let slots = |places: &[Serial], order: &[Serial]| -> Vec<Serial> {
            let slot = |at: &Serial| order.iter().position(|serial| serial == at);
            let slots = places.iter().map(slot);
            slots
                .map(|slot| slot.map_or(NOBODY, |slot| slot as Serial))
                .collect()
        };
        let [before, after] = &self.orders;
        self.moved = moved(&slots(&self.before, before), &slots(&self.after, after));
    }
}

impl Bench {
    /// Does it, and says what came of it; of what failed, why.
    pub fn act(&mut self, action: Action) -> Said {
        locked(&self.shown).doing = Some(action.doing());
        let done = self.carry_out(action);
        locked(&self.shown).doing = None;
        match done {
            Ok(outcome) => self.say(outcome.text, outcome.figures, outcome.moved),
            Err(error) => {
                let text = format!("Nothing came of it: {error:#}.");
                self.say(text, json!({"failed": true}), Vec::new())
            }
        }
    }

    fn carry_out(&mut self, action: Action) -> anyhow::Result<Outcome> {
        match action {
            Action::Set(setup) => self.set(setup),
            Action::Add => self.add(),
            Action::Close(serial) => self.close_one(serial),
            Action::Stall(serial) => self.stall(serial),
            Action::Reopen => self.reopen(),
            Action::Overlap => self.overlap(),
            Action::Takeover => self.take_over(),
            Action::Process if self.process.is_some() => self.end(Kind::Process),
            Action::Process => self.join_process(),
            Action::Python if self.python.is_some() => self.end(Kind::Python),
            Action::Python => self.join_python(),
            Action::OtherUser => self.other_user(),
        }
    }

    /// Looks where the flows land before and after a deed, and what it costs.
    fn around<T>(
        &mut self,
        deed: impl FnOnce(&mut Bench) -> anyhow::Result<T>,
    ) -> anyhow::Result<Seen<T>> {
        let from = locked(self.clients.ledger()).next();
        let before = self.roll_call();
        let order = self.order();
        let start = Instant::now();
        let deed = deed(self)?;
        let took = start.elapsed();
        let to = locked(self.clients.ledger()).next();
        let lost = self.unanswered(from, to);
        let after = self.roll_call();
        Ok(Seen {
            deed,
            moved: moved(&before, &after),
            before,
            after,
            orders: [order, self.order()],
            sent: to - from,
            lost,
            took,
        })
    }

    fn set(&mut self, setup: Setup) -> anyhow::Result<Outcome> {
        let old = locked(&self.shown).setup;
        if (old.sockets, old.flows) != (setup.sockets, setup.flows) || old == setup {
            return self.set_up_anew(setup);
        }
        let seen = self.around(|bench| {
            locked(&bench.shown).setup = setup;
            bench.clients.set_rate(setup.rate);
            bench.steer()
        })?;
        let mut outcome = self.outcome(&seen, String::new(), json!({"rate": setup.rate}));
        if old.policy == setup.policy {
            let rate = many(setup.rate.into(), "datagram");
            outcome.text =
                format!("The clients send {rate} a second now. No flow is moved by that.");
            return Ok(outcome);
        }
        outcome.text = format!(
            "Steered by {} now, no longer by {}: {} of {} were last answered by another socket. {}",
            setup.policy_name(),
            old.policy_name(),
            number(seen.moved()),
            many(seen.flows(), "flow"),
            match setup.policy_name() {
                "hash" => "From now on each stays where it is.",
                "cpu" =>
                    "On loopback a datagram comes in on the CPU that sends it, so that few \
                    sockets get all.",
                _ => "A program chooses for each datagram: no flow has a socket of its own.",
            },
        );
        Ok(outcome)
    }

    fn set_up_anew(&mut self, setup: Setup) -> anyhow::Result<Outcome> {
        let fresh = Bench::start(setup)?;
        let shown = self.shown.clone();
        *self = fresh;
        // Whoever looks has the old one in hand.
        std::mem::swap(&mut *locked(&shown), &mut *locked(&self.shown));
        let said = std::mem::replace(&mut self.shown, shown);
        let old_number = locked(&said).said.number;
        drop(said);
        let mut shown = locked(&self.shown);
        let (text, figures) = (shown.said.text.clone(), shown.said.figures.clone());
        shown.said.number = old_number;
        Ok(Outcome {
            text,
            figures,
            moved: Vec::new(),
        })
    }

    fn add(&mut self) -> anyhow::Result<Outcome> {
        if self.lanes() >= MAX_SOCKETS {
            bail!("{MAX_SOCKETS} sockets are the most that are shown");
        }
        let address = self.address;
        let seen = self.around(|bench| {
            bench.push(bind(address).context("cannot bind one more socket")?)?;
            locked(&bench.shown).setup.sockets += 1;
            bench.steer()
        })?;
        let new = self.next_serial - 1;
        let text = format!("Added socket {new} to {}.", self.lanes() - 1);
        let figures = json!({"socket": new, "to_it": seen.on(new)});
        Ok(self.joined(&seen, text, new, figures))
    }

    /// What is told of a socket that came: how many moved, and how many had to.
    fn joined<T>(&self, seen: &Seen<T>, text: String, new: Serial, figures: Value) -> Outcome {
        let mut outcome = self.outcome(seen, text, figures);
        if self.is_steered() {
            let _ = write!(outcome.text, " {}", self.steered());
            return outcome;
        }
        let [low, high] = band(seen.before.len(), self.lanes());
        let _ = write!(
            outcome.text,
            " It has {} of {} (by chance {low} to {high}); all in all {} moved, to make room for \
                so few.",
            number(seen.on(new)),
            many(seen.flows(), "flow"),
            number(seen.moved()),
        );
        self.tell_loss(&mut outcome, seen);
        outcome
    }

    fn close_one(&mut self, serial: Serial) -> anyhow::Result<Outcome> {
        let count = self.lanes();
        let (index, kind) = self.find(serial)?;
        if kind != Kind::Own {
            return self.end(kind);
        }
        let own = |lane: &&Lane| lane.kind == Kind::Own;
        if locked(&self.shown).lanes.iter().filter(own).count() == 1 {
            bail!("it is the server's only socket; restart it instead");
        }
        let seen = self.around(|bench| {
            let queued = bench.close(index)?;
            locked(&bench.shown).setup.sockets -= 1;
            bench.steer()?;
            Ok(queued)
        })?;
        let own = seen.before.iter().filter(|at| **at == serial).count() as u64;
        let others = seen.moved().saturating_sub(own);
        let text = match index + 1 == count {
            true => format!("Closed socket {serial} of {count}, the kernel's last."),
            false => format!(
                "Closed socket {serial} of {count}; the kernel moved its last into the gap."
            ),
        };
        let queued = seen.deed;
        let figures = json!({"queued": queued, "own": own, "others_moved": others});
        let mut outcome = self.outcome(&seen, text, figures);
        if self.is_steered() {
            let _ = write!(outcome.text, " {}", self.steered());
        } else {
            let _ = write!(
                outcome.text,
                " Its {} had to move; {} of {} that were elsewhere moved too.",
                many(own, "flow"),
                number(others),
                number(seen.flows() - own),
            );
        }
        self.tell_loss(&mut outcome, &seen);
        let _ = write!(outcome.text, " Queued on it: {}.", number(queued));
        Ok(outcome)
    }

    fn stall(&mut self, serial: Serial) -> anyhow::Result<Outcome> {
        let (_, kind) = self.find(serial)?;
        let dropped = |bench: &Bench| {
            let shown = locked(&bench.shown);
            let lane = shown.lanes.iter().find(|lane| lane.serial == serial);
            lane.map_or((0, 0), |lane| shown.load(lane))
        };
        let (_, dropped_before) = dropped(self);
        let seen = self.around(|bench| {
            locked(bench.clients.ledger()).watch();
            let order = Order::Stall(serial, STALL.as_millis() as u16);
            match (kind, &mut bench.process) {
                (Kind::Own, _) => bench.server.control().give(order)?,
                (Kind::Process, Some(process)) => process.control().give(order)?,
                _ => bail!("the Python program takes no orders"),
            }
            let (start, mut most) = (Instant::now(), 0);
            while start.elapsed() < STALL {
                thread::sleep(TICK);
                most = most.max(dropped(bench).0);
            }
            Ok(most)
        })?;
        let dropped = dropped(self).1 - dropped_before;
        let (slowest, waited) = locked(self.clients.ledger()).watched();
        let slowest = slowest.as_millis() as u64;
        let own = seen.before.iter().filter(|at| **at == serial).count() as u64;
        let (queued, others) = (seen.deed, self.lanes() - 1);
        let text = format!(
            "Socket {serial} was not read for a second: {} of {} waited, the longest {} ms, while \
                the other {others} had time. Its queue grew to {}; {} dropped because it was full.",
            number(waited),
            many(seen.flows(), "client"),
            number(slowest),
            many(queued, "datagram"),
            number(dropped),
        );
        let figures = json!({
            "waited": waited, "slowest_ms": slowest, "queued": queued, "dropped": dropped,
            "own": own,
        });
        let mut outcome = self.outcome(&seen, text, figures);
        self.tell_loss(&mut outcome, &seen);
        Ok(outcome)
    }

    fn reopen(&mut self) -> anyhow::Result<Outcome> {
        let address = self.address;
        let mut seen = self.around(|bench| {
            let count = bench.own();
            let queued = bench.close_own()?;
            let gap = Instant::now();
            bench.server = Server::process()?;
            bench.open(address, count)?;
            Ok((queued, gap.elapsed()))
        })?;
        let (queued, gap) = (seen.deed.0, seen.deed.1.as_millis() as u64);
        let text = format!(
            "Closed all sockets and started another process, which had {} bound {} ms later.",
            many(self.own() as u64, "new socket"),
            number(gap),
        );
        let mut outcome = self.restarted(&mut seen, text, json!({"queued": queued, "gap_ms": gap}));
        let _ = write!(
            outcome.text,
            " Queued on the old sockets: {}; the rest came while nobody had the port.",
            number(queued),
        );
        Ok(outcome)
    }

    fn overlap(&mut self) -> anyhow::Result<Outcome> {
        let address = self.address;
        let mut seen = self.around(|bench| {
            let count = bench.own();
            let old = std::mem::replace(&mut bench.server, Server::process()?);
            let mut old = Some(old);
            bench.open(address, count)?;
            let queued = bench.close_old(&mut old, count)?;
            bench.steer()?;
            Ok(queued)
        })?;
        let text = format!(
            "{} of another process joined, then the old were closed as they were: somebody had \
                the port all the time.",
            many(self.own() as u64, "socket"),
        );
        let figures = json!({"queued": seen.deed});
        let mut outcome = self.restarted(&mut seen, text, figures);
        let _ = write!(
            outcome.text,
            " Queued on the old sockets: {}.",
            number(seen.deed),
        );
        Ok(outcome)
    }

    fn take_over(&mut self) -> anyhow::Result<Outcome> {
        let mut seen = self.around(|bench| {
            let mut new = Server::process()?;
            let mut shown = locked(&bench.shown);
            let own = |lane: &&mut Lane| lane.kind == Kind::Own;
            let process = new.process_id();
            for lane in shown.lanes.iter_mut().filter(own) {
                if let Some(socket) = &lane.socket {
                    new.control().hand_over(lane.serial, socket)?;
                }
                // What it has read by then it has answered.
                bench.server.control().give(Order::Close(lane.serial))?;
                lane.process = process;
            }
            drop(shown);
            bench.server = new;
            Ok(())
        })?;
        let text = format!(
            "Process {} took {} over, as they are, with what was queued (SCM_RIGHTS), in {} ms.",
            self.server.process_id(),
            many(self.own() as u64, "socket"),
            number(seen.took.as_millis() as u64),
        );
        let figures = json!({"took_ms": seen.took.as_millis() as u64});
        Ok(self.restarted(&mut seen, text, figures))
    }

    /// What is told of a restart: loss first.
    fn restarted<T>(&self, seen: &mut Seen<T>, text: String, figures: Value) -> Outcome {
        seen.compare_slots();
        let mut outcome = self.outcome(seen, text, figures);
        self.tell_loss(&mut outcome, seen);
        let moved = number(seen.moved());
        let _ = match self.is_steered() {
            true => write!(outcome.text, " {}", self.steered()),
            false => write!(
                outcome.text,
                " {moved} of {} are at another place of the group.",
                many(seen.flows(), "flow")
            ),
        };
        outcome
    }

    fn join_process(&mut self) -> anyhow::Result<Outcome> {
        let port = self.address.port();
        let beside = self.lanes();
        let seen = self.around(|bench| {
            let mut process = Server::process()?;
            let serial = bench.serial();
            let socket = process.control().bind(serial, port);
            let socket = socket.context("the second process could not bind the port")?;
            let lane = Lane {
                serial,
                kind: Kind::Process,
                process: process.process_id(),
                socket: Some(socket),
            };
            bench.process = Some(process);
            locked(&bench.shown).lanes.push(lane);
            Ok((serial, bench.process.as_ref().map_or(0, Server::process_id)))
        })?;
        let (serial, process) = seen.deed;
        let text = format!("Process {process} bound the port too, beside {beside} sockets.");
        let figures = json!({"to_it": seen.on(serial), "process": process});
        Ok(self.joined(&seen, text, serial, figures))
    }

    fn join_python(&mut self) -> anyhow::Result<Outcome> {
        let address = self.address;
        let beside = self.lanes();
        let seen = self.around(|bench| {
            let Some(mut python) = Python::start(address)? else {
                bail!("there is no python3 on this machine");
            };
            bench.wait_for(&mut python, beside)?;
            let lane = Lane {
                serial: PYTHON_SERIAL,
                kind: Kind::Python,
                process: python.process_id(),
                socket: None,
            };
            bench.python = Some(python);
            locked(&bench.shown).lanes.push(lane);
            Ok(())
        })?;
        let text = format!("Ten lines of Python bound the port too, beside {beside} sockets.");
        let figures = json!({"to_it": seen.on(PYTHON_SERIAL)});
        Ok(self.joined(&seen, text, PYTHON_SERIAL, figures))
    }

    /// Waits until a Python program has bound the port.
    fn wait_for(&self, python: &mut Python, beside: usize) -> anyhow::Result<()> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if python.is_over() {
                bail!("the Python program has ended by itself");
            }
            let is_there = match bound_to(self.address.port(), false) {
                Ok(sockets) => sockets.len() > beside,
                // This kernel lists nothing.
                Err(_) => self.roll_call().contains(&PYTHON_SERIAL),
            };
            if is_there {
                return Ok(());
            }
            thread::sleep(TICK);
        }
        let patience = PATIENCE.as_secs();
        bail!("the Python program has not bound the port in {patience} s")
    }

    /// Ends whoever joined.
    fn end(&mut self, kind: Kind) -> anyhow::Result<Outcome> {
        let index = locked(&self.shown)
            .lanes
            .iter()
            .position(|lane| lane.kind == kind);
        let index = index.context("it is not there")?;
        let serial = locked(&self.shown).lanes[index].serial;
        let seen = self.around(|bench| bench.close(index))?;
        let own = seen.before.iter().filter(|at| **at == serial).count() as u64;
        let who = match kind {
            Kind::Python => "The Python program",
            _ => "The second process",
        };
        let text = format!(
            "{who} has ended: its {} went to the {} that are left, and {} of the others moved too.",
            many(own, "flow"),
            many(self.lanes() as u64, "socket"),
            number(seen.moved().saturating_sub(own)),
        );
        let mut outcome = self.outcome(&seen, text, json!({"own": own}));
        self.tell_loss(&mut outcome, &seen);
        Ok(outcome)
    }

    fn other_user(&mut self) -> anyhow::Result<Outcome> {
        let address = self.address;
        let other = NOBODY_USER - u32::from(user::effective() == NOBODY_USER);
        let reuse = Reuse {
            address: false,
            port: true,
        };
        let seen = self.around(|_| Ok(as_user(other, || bind_udp(address, reuse).err())))?;
        let (text, result) = match &seen.deed {
            None => (
                "Only root can try as another user: start `shardns lab play` as root to see it. \
                    Nothing was tried."
                    .to_owned(),
                "not tried".to_owned(),
            ),
            Some(Some(error)) => {
                let symbol = symbol(error);
                (
                    format!(
                        "User {other} tried to bind the port with SO_REUSEPORT, and got {symbol}: \
                            only the user who has it may add sockets. {} moved.",
                        many(seen.moved(), "flow"),
                    ),
                    symbol,
                )
            }
            Some(None) => (
                format!("User {other} could bind the port, which no kernel should allow."),
                "bound".to_owned(),
            ),
        };
        let mut outcome = self.outcome(&seen, text, json!({"result": result}));
        if seen.deed.is_some() {
            self.tell_loss(&mut outcome, &seen);
        }
        Ok(outcome)
    }

    /// The figures that all actions have, beside their own.
    fn outcome<T>(&self, seen: &Seen<T>, text: String, own: Value) -> Outcome {
        let mut figures = json!({
            "flows": seen.flows(),
            "moved": seen.moved(),
            "unheard": seen.after.iter().filter(|at| **at == NOBODY).count(),
            "sent": seen.sent,
            "lost": seen.lost,
        });
        if let (Value::Object(all), Value::Object(own)) = (&mut figures, own) {
            all.extend(own);
        }
        // Where every datagram is chosen for, all flows are always elsewhere.
        let moved = match self.is_steered() {
            true => Vec::new(),
            false => seen.moved.clone(),
        };
        Outcome {
            text,
            figures,
            moved,
        }
    }

    fn tell_loss<T>(&self, outcome: &mut Outcome, seen: &Seen<T>) {
        let _ = write!(
            outcome.text,
            " Lost: {} of {}.",
            number(seen.lost),
            many(seen.sent, "datagram"),
        );
    }

    fn is_steered(&self) -> bool {
        locked(&self.shown).setup.steer().is_some()
    }

    fn steered(&self) -> String {
        let policy = locked(&self.shown).setup.policy_name();
        format!("Steered by {policy}, no flow has a socket of its own that it could leave.")
    }

    fn find(&self, serial: Serial) -> anyhow::Result<(usize, Kind)> {
        let shown = locked(&self.shown);
        let mut lanes = shown.lanes.iter().enumerate();
        let found = lanes.find(|(_, lane)| lane.serial == serial);
        let (index, lane) = found.with_context(|| format!("there is no socket {serial}"))?;
        Ok((index, lane.kind))
    }

    fn order(&self) -> Vec<Serial> {
        let shown = locked(&self.shown);
        shown.lanes.iter().map(|lane| lane.serial).collect()
    }

    /// The server's sockets.
    fn own(&self) -> usize {
        let shown = locked(&self.shown);
        let own = |lane: &&Lane| lane.kind == Kind::Own;
        shown.lanes.iter().filter(own).count()
    }

    /// Binds so many sockets for the server, and steers the group anew.
    fn open(&mut self, address: SocketAddr, count: usize) -> anyhow::Result<()> {
        for _ in 0..count {
            let socket = bind(address).context("cannot bind the port again")?;
            self.push(socket)?;
        }
        self.steer()
    }

    /// Closes all sockets of the server; how many datagrams were queued on them.
    fn close_own(&mut self) -> anyhow::Result<u64> {
        let mut queued = 0;
        while let Some(index) = self.first_own() {
            queued += self.close(index)?;
        }
        Ok(queued)
    }

    fn first_own(&self) -> Option<usize> {
        let shown = locked(&self.shown);
        shown.lanes.iter().position(|lane| lane.kind == Kind::Own)
    }

    /// Closes the sockets that an old server has beside the new one's, and ends it.
    fn close_old(&mut self, old: &mut Option<Server>, count: usize) -> anyhow::Result<u64> {
        let mut queued = 0;
        let new = self.server.process_id();
        for _ in 0..count {
            let mut shown = locked(&self.shown);
            let is_old = |lane: &Lane| lane.kind == Kind::Own && lane.process != new;
            let Some(index) = shown.lanes.iter().position(is_old) else {
                break;
            };
            if let Some(old) = old {
                old.control()
                    .give(Order::Close(shown.lanes[index].serial))?;
            }
            let (waiting, dropped) = shown.load(&shown.lanes[index]);
            queued += waiting;
            shown.dropped += dropped;
            shown.lanes.swap_remove(index);
        }
        *old = None;
        Ok(queued)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(policy: usize) -> Bench {
        let setup = Setup {
            sockets: 4,
            flows: 64,
            rate: 200,
            policy,
        };
        Bench::start(setup).unwrap()
    }

    #[test]
    fn names_of_actions_are_read() {
        assert_eq!("close=7".parse::<Action>().unwrap(), Action::Close(7));
        let setup: Setup = "sockets=3".parse().unwrap();
        assert_eq!(
            "set?sockets=3".parse::<Action>().unwrap(),
            Action::Set(setup)
        );
        for wrong in ["", "close", "stall=x", "set?sockets=0", "shutdown"] {
            assert!(wrong.parse::<Action>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_socket_that_closes_sends_its_flows_elsewhere() {
        let mut bench = start(0);
        let before = bench.roll_call();
        let own = before.iter().filter(|at| **at == 2).count();
        let said = bench.act(Action::Close(2));
        assert_eq!(said.figures["own"], own, "{said:?}");
        assert_eq!(said.figures["unheard"], 0);
        let after = bench.roll_call();
        let moved = (0..64).filter(|&flow| before[flow] != after[flow]).count();
        assert_eq!(said.figures["moved"], moved, "{said:?}");
        assert_eq!(said.moved.iter().filter(|moved| **moved).count(), moved);
        assert!(said.text.starts_with("Closed socket 2 of 4"), "{said:?}");
        assert_eq!(bench.lanes(), 3);
    }

    #[test]
    fn a_socket_that_comes_gets_its_share() {
        let mut bench = start(0);
        let said = bench.act(Action::Add);
        let after = bench.roll_call();
        let to_it = after.iter().filter(|at| **at == 5).count();
        assert_eq!(said.figures["to_it"], to_it, "{said:?}");
        assert_eq!(said.figures["lost"], 0, "{said:?}");
    }

    #[test]
    fn a_new_setup_is_a_new_bench_on_the_same_page() {
        let mut bench = start(0);
        let shown = bench.shown();
        let said = bench.act(Action::Set("sockets=2&flows=10&rate=0".parse().unwrap()));
        assert_eq!(said.number, 2, "{said:?}");
        let shown = locked(&shown);
        assert_eq!((shown.lanes.len(), shown.setup.flows), (2, 10));
        assert_eq!(locked(&shown.ledger).flows().len(), 10);
        assert!(
            said.text.starts_with("2 sockets and 10 client ports"),
            "{said:?}"
        );
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let mut bench = start(0);
        let said = bench.act(Action::Close(99));
        assert!(said.text.contains("there is no socket 99"), "{said:?}");
        assert_eq!(said.figures["failed"], true);
        for serial in [1, 2, 3] {
            bench.act(Action::Close(serial));
        }
        let said = bench.act(Action::Close(4));
        assert!(said.text.contains("only socket"), "{said:?}");
    }
}
