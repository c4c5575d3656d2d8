//! Servers that end without being told to, and actions that fail halfway: what nobody
//! serves is closed, and the server has as many sockets again as it is to have.

use anyhow::Context;
use serde_json::json;

use crate::lab::play::bench::{Bench, Kind, Lane};
use crate::lab::play::locked;
use crate::lab::play::server::{Python, Server};
use crate::lab::play::serving::bind;
use crate::lab::play::words::many;

impl Bench {
    /// Looks whether all who serve are there, and says what was done if not.
    pub fn look_after(&mut self) {
        if let Some(text) = self.tend() {
            self.say(text, json!({"ended": true}), Vec::new());
        }
    }

    /// As `look_after`, for somebody else to say.
    pub(super) fn tend(&mut self) -> Option<String> {
        let mut told = Vec::new();
        match self.mend(&mut told) {
            Ok(()) if told.is_empty() => return None,
            Ok(()) => {}
            Err(error) => told.push(format!("The group is not as it was: {error:#}.")),
        }
        Some(told.join(" "))
    }

    fn mend(&mut self, told: &mut Vec<String>) -> anyhow::Result<()> {
        let mut ended = Vec::new();
        if self.process.as_mut().is_some_and(Server::is_over) {
            ended.extend(self.process.take().map(|process| process.process_id()));
        }
        if self.python.as_mut().is_some_and(Python::is_over) {
            ended.extend(self.python.take().map(|python| python.process_id()));
        }
        let is_over = self.server.is_over();
        if is_over {
            ended.push(self.server.process_id());
            let new = Server::process().or_else(|_| Server::thread());
            self.server = new.context("nobody can be started to serve")?;
        }
        for process in ended {
            told.push(format!(
                "Process {process} has ended without being told to."
            ));
        }
        let closed = self.close_unserved(is_over);
        if closed > 0 {
            let sockets = many(closed, "socket");
            told.push(format!("Closed {sockets} that nobody served."));
        }
        let wanted = locked(&self.shown).setup.sockets;
        let missing = wanted.saturating_sub(self.own());
        for _ in 0..missing {
            self.push(bind(self.address).context("cannot bind the port again")?)?;
        }
        if missing > 0 {
            let (process, sockets) = (self.server.process_id(), many(missing as u64, "socket"));
            told.push(format!("Process {process} bound {sockets} anew."));
        }
        if !told.is_empty() {
            self.steer()?;
        }
        Ok(())
    }

    /// Closes sockets of processes that are gone, and the server's if it is another.
    fn close_unserved(&mut self, is_other: bool) -> u64 {
        let server = self.server.process_id();
        let process = self.process.as_ref().map(Server::process_id);
        let python = self.python.as_ref().map(Python::process_id);
        let is_served = |lane: &Lane| match lane.kind {
            Kind::Own => !is_other && lane.process == server,
            Kind::Process => Some(lane.process) == process,
            Kind::Python => Some(lane.process) == python,
        };
        let mut shown = locked(&self.shown);
        let mut closed = 0;
        while let Some(index) = shown.lanes.iter().position(|lane| !is_served(lane)) {
            shown.dropped += shown.load(&shown.lanes[index]).1;
            shown.lanes.swap_remove(index);
            closed += 1;
        }
        closed
    }
}
