//! What can be done to the bench, each with a sentence about what came of it. The
//! figures are counted, never reckoned: where flows land before and after by a roll
//! call, what was lost by the numbers of the questions that have no answer.

mod ends;
mod guests;
mod restarts;
mod sockets;

use std::fmt::Write;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::bench::{Bench, Kind, Said, band, moved};
use super::ledger::NOBODY;
use super::locked;
use super::message::Serial;
use super::setup::Setup;
use super::words::{self, many, number};

/// How often something is looked at until it is as wanted.
const TICK: Duration = Duration::from_millis(10);

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
    orders: [Vec<(Serial, Kind)>; 2],
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

    /// Flows of which it is not known where they are, or were.
    fn unheard(&self) -> u64 {
        let pairs = self.before.iter().zip(&self.after);
        let is_unheard =
            |(before, after): &(&Serial, &Serial)| [**before, **after].contains(&NOBODY);
        pairs.filter(is_unheard).count() as u64
    }

    /// Where the server's sockets are new, a flow has moved if the place of its socket
    /// among them is another, or if it went to somebody else.
    fn compare_slots(&mut self) {
        let slots = |places: &[Serial], order: &[(Serial, Kind)]| -> Vec<Serial> {
            places.iter().map(|at| slot(order, *at)).collect()
        };
        let [before, after] = &self.orders;
        self.moved = moved(&slots(&self.before, before), &slots(&self.after, after));
    }
}

/// The place of a socket among the server's, or whose else it is.
fn slot(order: &[(Serial, Kind)], at: Serial) -> Serial {
    let mut own = 0;
    for &(serial, kind) in order {
        match kind {
            Kind::Own if serial == at => return own,
            Kind::Own => own += 1,
            Kind::Process if serial == at => return NOBODY - 1,
            Kind::Python if serial == at => return NOBODY - 2,
            Kind::Process | Kind::Python => {}
        }
    }
    NOBODY
}

impl Bench {
    /// Does it, and says what came of it; of what failed, why.
    pub fn act(&mut self, action: Action) -> Said {
        locked(&self.shown).doing = Some(action.doing());
        let ended = self.tend();
        let done = self.carry_out(action);
        let mut outcome = done.unwrap_or_else(|error| {
            let mut text = format!("Nothing came of it: {error:#}.");
            text.extend(self.tend().map(|ended| format!(" {ended}")));
            Outcome {
                text,
                figures: json!({"failed": true}),
                moved: Vec::new(),
            }
        });
        if let Some(ended) = ended {
            outcome.text = format!("{ended} {}", outcome.text);
        }
        locked(&self.shown).doing = None;
        self.say(outcome.text, outcome.figures, outcome.moved)
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
        locked(self.clients.ledger()).begin();
        let before = self.roll_call();
        let order = self.order();
        let start = Instant::now();
        let deed = deed(self)?;
        let took = start.elapsed();
        locked(self.clients.ledger()).end();
        let (sent, lost) = self.counted();
        let after = self.roll_call();
        Ok(Seen {
            deed,
            moved: moved(&before, &after),
            before,
            after,
            orders: [order, self.order()],
            sent,
            lost,
            took,
        })
    }

    fn set(&mut self, setup: Setup) -> anyhow::Result<Outcome> {
        let old = locked(&self.shown).setup();
        let group = |setup: Setup| (setup.sockets, setup.flows, setup.process, setup.python);
        if group(old) != group(setup) || old == setup {
            return self.set_up_anew(setup);
        }
        let seen = self.around(|bench| {
            locked(&bench.shown).setup = setup;
            bench.clients.set_rate(setup.rate);
            bench.steer()
        })?;
        let figures = json!({"rate": setup.rate});
        if old.policy == setup.policy {
            let rate = many(setup.rate.into(), "datagram");
            let text =
                format!("The clients are to send {rate} a second. No flow is moved by that.");
            return Ok(self.outcome(&seen, text, figures));
        }
        let text = format!(
            "Steered by {} now, no longer by {}.",
            setup.policy_name(),
            old.policy_name(),
        );
        let mut outcome = self.outcome(&seen, text, figures);
        if seen.unheard() == 0 {
            let _ = write!(
                outcome.text,
                " Of {} {} last answered by another socket.",
                many(seen.flows(), "flow"),
                words::were(seen.moved()),
            );
        }
        outcome.text += match setup.policy_name() {
            "hash" => " From now on each stays where it is.",
            "cpu" => {
                " On loopback a datagram comes in on the CPU that sends it, so that few sockets \
                    get all."
            }
            _ => " A program chooses for each datagram: no flow has a socket of its own.",
        };
        Ok(outcome)
    }

    /// Another bench in the place of this one, shown to whoever looks at this one.
    fn set_up_anew(&mut self, setup: Setup) -> anyhow::Result<Outcome> {
        let fresh = Bench::start(setup)?;
        let shown = self.shown.clone();
        *self = fresh;
        let number = locked(&shown).said.number;
        std::mem::swap(&mut *locked(&shown), &mut *locked(&self.shown));
        // What is left in the other are the old sockets, which are closed with it.
        self.shown = shown;
        let said = &mut locked(&self.shown).said;
        said.number = number;
        Ok(Outcome {
            text: said.text.clone(),
            figures: said.figures.clone(),
            moved: Vec::new(),
        })
    }

    /// What is told of a socket that came: how many moved, and how many had to.
    fn joined<T>(&self, seen: &Seen<T>, text: String, new: Serial, figures: Value) -> Outcome {
        let mut outcome = self.outcome(seen, text, figures);
        if self.is_steered() && seen.on(new) == 0 {
            outcome.text += " It gets nothing: the program that steers was made for the others.";
            return outcome;
        }
        if self.is_steered() {
            let _ = write!(outcome.text, " {}", self.steered());
            return outcome;
        }
        if seen.unheard() > 0 {
            self.tell_loss(&mut outcome, seen);
            return outcome;
        }
        let [low, high] = band(seen.before.len(), self.lanes());
        let _ = write!(
            outcome.text,
            " It has {} of {} (by chance {low} to {high}); {} moved in all, since the hash is scaled \
                to the number of sockets.",
            number(seen.on(new)),
            many(seen.flows(), "flow"),
            number(seen.moved()),
        );
        self.tell_loss(&mut outcome, seen);
        outcome
    }

    /// The figures that all actions have, beside their own. Where somebody was not
    /// heard, nothing is told of who moved.
    fn outcome<T>(&self, seen: &Seen<T>, mut text: String, own: Value) -> Outcome {
        let unheard = seen.unheard();
        let mut figures = json!({
            "flows": seen.flows(),
            "moved": seen.moved(),
            "unheard": unheard,
            "sent": seen.sent,
            "lost": seen.lost,
        });
        if let (Value::Object(all), Value::Object(own)) = (&mut figures, own) {
            all.extend(own);
            if unheard > 0 {
                all.retain(|name, _| name != "moved" && name != "to_it");
            }
        }
        if unheard > 0 {
            let ports = words::many_do(unheard, "port", ["has", "have"]);
            let _ = write!(
                text,
                " {ports} not been answered; nothing is told of who moved."
            );
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

    fn order(&self) -> Vec<(Serial, Kind)> {
        let shown = locked(&self.shown);
        let lanes = shown.lanes.iter();
        lanes.map(|lane| (lane.serial, lane.kind)).collect()
    }

    /// The server's sockets.
    fn own(&self) -> usize {
        locked(&self.shown).count(Kind::Own)
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
            ..Setup::default()
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

    fn seen(after: Vec<Serial>) -> Seen<()> {
        let guest = (9, Kind::Process);
        Seen {
            deed: (),
            before: vec![1, 2, 9, 9],
            after,
            orders: [
                vec![(1, Kind::Own), guest, (2, Kind::Own)],
                vec![guest, (3, Kind::Own), (4, Kind::Own)],
            ],
            moved: Vec::new(),
            sent: 0,
            lost: 0,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn new_sockets_are_compared_by_place_and_a_guests_is_its_own() {
        let mut seen = seen(vec![3, 9, 9, 4]);
        seen.compare_slots();
        assert_eq!(seen.moved, [false, true, false, true]);
    }

    #[test]
    fn of_flows_that_were_not_heard_nothing_is_told() {
        let bench = start(0);
        let told = |after| {
            let figures = json!({"to_it": 1});
            bench.joined(&seen(after), "Added.".to_owned(), 4, figures)
        };
        let heard = told(vec![3, 9, 9, 4]);
        assert!(
            heard.text.contains(" It has 1 of 4 flows"),
            "{}",
            heard.text
        );
        assert_eq!(heard.figures["to_it"], 1);
        let unheard = told(vec![3, NOBODY, NOBODY, 4]);
        assert!(unheard.text.contains("2 ports have not been answered"));
        assert!(!unheard.text.contains("It has"), "{}", unheard.text);
        let figures = &unheard.figures;
        assert!(figures["to_it"].is_null() && figures["moved"].is_null());
    }

    #[test]
    fn where_nobody_has_the_port_no_other_user_tries_for_it() {
        let mut bench = start(0);
        locked(&bench.shown).lanes.clear();
        assert!(bench.other_user().is_err());
    }

    #[test]
    fn what_is_half_done_is_made_good() {
        let mut bench = start(0);
        bench.close(1).unwrap();
        assert!(bench.tend().unwrap().contains("1 socket"));
        assert_eq!((bench.lanes(), bench.tend()), (4, None));
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
