//! Sockets of the server: one more, one less, one that is not read.

use std::fmt::Write;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;

use super::{Outcome, TICK};
use crate::lab::play::bench::{Bench, Kind};
use crate::lab::play::locked;
use crate::lab::play::message::Serial;
use crate::lab::play::serving::{Order, bind};
use crate::lab::play::setup::MAX_SOCKETS;
use crate::lab::play::words::{many, number};

/// How long a socket is stalled.
const STALL: Duration = Duration::from_secs(1);

impl Bench {
    pub(super) fn add(&mut self) -> anyhow::Result<Outcome> {
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
        let text = match self.lanes() - 1 {
            0 => format!("Added socket {new}; there was no other."),
            others => format!("Added socket {new} to {}.", number(others as u64)),
        };
        let figures = json!({"socket": new, "to_it": seen.on(new)});
        Ok(self.joined(&seen, text, new, figures))
    }

    pub(super) fn close_one(&mut self, serial: Serial) -> anyhow::Result<Outcome> {
        let count = self.lanes();
        let (index, kind) = self.find(serial)?;
        if kind != Kind::Own {
            return self.end(kind);
        }
        if self.own() == 1 {
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
            true => format!("Closed socket {serial} of {count}, the kernel’s last."),
            false => format!(
                "Closed socket {serial} of {count}; the kernel moved its last into the gap."
            ),
        };
        let queued = seen.deed;
        let figures = json!({"queued": queued, "own": own, "others_moved": others});
        let mut outcome = self.outcome(&seen, text, figures);
        if self.is_steered() {
            let _ = write!(outcome.text, " {}", self.steered());
        } else if seen.unheard() == 0 {
            let _ = write!(outcome.text, " Its {} had to move", many(own, "flow"));
            let _ = match seen.flows() - own {
                0 => write!(outcome.text, "."),
                elsewhere => write!(
                    outcome.text,
                    "; of {} elsewhere {} moved too.",
                    number(elsewhere),
                    number(others),
                ),
            };
        }
        self.tell_loss(&mut outcome, &seen);
        let _ = write!(outcome.text, " Queued on it: {}.", number(queued));
        Ok(outcome)
    }

    pub(super) fn stall(&mut self, serial: Serial) -> anyhow::Result<Outcome> {
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
                (Kind::Own, _) => bench.server.give(order)?,
                (Kind::Process, Some(process)) => process.give(order)?,
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
        let meanwhile = match others {
            0 => "and there was no other socket",
            1 => "while the other socket had time",
            _ => "while the others had time",
        };
        let text = format!(
            "Socket {serial} was not read for a second: {} of {} waited, the longest {} ms, \
                {meanwhile}. Its queue grew to {}; {} dropped because it was full.",
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
}
