//! Others who want the port: a second process, a program in another language, another
//! user.

use std::fmt::Write;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;

use super::{Outcome, TICK};
use crate::lab::play::bench::{Bench, Kind, Lane};
use crate::lab::play::locked;
use crate::lab::play::message::PYTHON_SERIAL;
use crate::lab::play::server::{Python, Server};
use crate::lab::play::setup::Setup;
use crate::lab::play::words::{many, many_do, number};
use crate::sys::lab::bind::{Reuse, as_user, bind_udp, symbol};
use crate::sys::sock_diag::bound_to;
use crate::sys::user;

/// How long an interpreter may take to start, on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(10);
/// The user `nobody` on most systems, who owns nothing.
const NOBODY_USER: u32 = 65_534;

impl Bench {
    /// Has those join that belong to a setup, and adds what came of it.
    pub(in crate::lab::play) fn invite(&mut self, setup: Setup, text: &mut String) {
        let mut tell = |joined: anyhow::Result<Outcome>| match joined {
            Ok(outcome) => text.extend([" ", outcome.text.as_str()]),
            Err(error) => text.push_str(&format!(" Somebody could not join: {error:#}.")),
        };
        if setup.process {
            tell(self.join_process());
        }
        if setup.python {
            tell(self.join_python());
        }
    }

    pub(super) fn join_process(&mut self) -> anyhow::Result<Outcome> {
        let port = self.address.port();
        let beside = self.lanes();
        let seen = self.around(|bench| {
            let mut process = Server::process()?;
            let serial = bench.serial();
            let socket = process.bind(serial, port);
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
        let beside = many(beside as u64, "socket");
        let text = format!("Process {process} bound the port too, beside {beside}.");
        let figures = json!({"to_it": seen.on(serial), "process": process});
        Ok(self.joined(&seen, text, serial, figures))
    }

    pub(super) fn join_python(&mut self) -> anyhow::Result<Outcome> {
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
        let beside = many(beside as u64, "socket");
        let text = format!("Ten lines of Python bound the port too, beside {beside}.");
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
    pub(super) fn end(&mut self, kind: Kind) -> anyhow::Result<Outcome> {
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
        let text = format!("{who} has ended.");
        let mut outcome = self.outcome(&seen, text, json!({"own": own}));
        if seen.unheard() == 0 {
            let _ = write!(
                outcome.text,
                " Its {} went to the {} left, and {} of the others moved too.",
                many(own, "flow"),
                many_do(self.lanes() as u64, "socket", ["that is", "that are"]),
                number(seen.moved().saturating_sub(own)),
            );
        }
        self.tell_loss(&mut outcome, &seen);
        Ok(outcome)
    }

    pub(super) fn other_user(&mut self) -> anyhow::Result<Outcome> {
        if self.lanes() == 0 {
            bail!("nobody has the port now, so that anybody may bind it");
        }
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
                            only the user who has it may add sockets."
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
            if seen.unheard() == 0 {
                let _ = write!(outcome.text, " {} moved.", many(seen.moved(), "flow"));
            }
            self.tell_loss(&mut outcome, &seen);
        }
        Ok(outcome)
    }
}
