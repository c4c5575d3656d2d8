//! The server ends and another takes its place, in a process of its own: after it,
//! beside it, or with its sockets.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::Context;
use serde_json::{Value, json};

use super::{Outcome, Seen};
use crate::lab::play::bench::{Bench, Kind, Lane};
use crate::lab::play::locked;
use crate::lab::play::server::Server;
use crate::lab::play::serving::{Order, bind};
use crate::lab::play::words::{many, many_do, number};

impl Bench {
    pub(super) fn reopen(&mut self) -> anyhow::Result<Outcome> {
        let address = self.address;
        let mut seen = self.around(|bench| {
            let count = bench.own();
            // Whoever cannot be started ends nothing.
            let new = Server::process()?;
            let queued = bench.close_own()?;
            let gap = Instant::now();
            bench.server = new;
            bench.open(address, count)?;
            Ok((queued, gap.elapsed()))
        })?;
        let (queued, gap) = (seen.deed.0, seen.deed.1.as_millis() as u64);
        let text = format!(
            "Started another process and closed all sockets of the old one; {} bound {} ms later.",
            many_do(self.own() as u64, "new socket", ["was", "were"]),
            number(gap),
        );
        let mut outcome = self.restarted(&mut seen, text, json!({"queued": queued, "gap_ms": gap}));
        let _ = write!(
            outcome.text,
            " Queued on the old sockets: {}",
            number(queued)
        );
        let is_alone = self.lanes() == self.own();
        outcome.text += match is_alone && seen.lost > queued {
            true => "; the rest came while nobody had the port.",
            false => ".",
        };
        Ok(outcome)
    }

    pub(super) fn overlap(&mut self) -> anyhow::Result<Outcome> {
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
            "{} of another process joined, then as many old ones were closed with what was \
                queued: somebody had the port all the time.",
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

    pub(super) fn take_over(&mut self) -> anyhow::Result<Outcome> {
        let mut seen = self.around(|bench| {
            let mut new = Server::process()?;
            let mut shown = locked(&bench.shown);
            let own = |lane: &&mut Lane| lane.kind == Kind::Own;
            let process = new.process_id();
            for lane in shown.lanes.iter_mut().filter(own) {
                if let Some(socket) = &lane.socket {
                    new.hand_over(lane.serial, socket)?;
                }
                // What it has read by then it has answered.
                bench.server.give(Order::Close(lane.serial))?;
                lane.process = process;
            }
            drop(shown);
            bench.server = new;
            Ok(())
        })?;
        let text = format!(
            "Process {} took over {}, with what was queued (SCM_RIGHTS), in {} ms.",
            self.server.process_id(),
            many_do(self.own() as u64, "socket", ["as it is", "as they are"]),
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
        if self.is_steered() {
            let _ = write!(outcome.text, " {}", self.steered());
        } else if seen.unheard() == 0 {
            let _ = write!(
                outcome.text,
                " Of {} {} moved to another place of the group.",
                many(seen.flows(), "flow"),
                number(seen.moved()),
            );
        }
        outcome
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
                old.give(Order::Close(shown.lanes[index].serial))?;
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
