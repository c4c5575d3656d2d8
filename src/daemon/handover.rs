//! The control thread's part of handing the sockets to another process: what the
//! server does at each step of a takeover (`daemon/takeover.rs`).

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use tracing::{error, info, warn};

use super::Daemon;
use super::arrival::Awaiting;
use super::control::Counted;
use super::takeover::{Handed, Offer};
use crate::server::counters::Totals;
use crate::server::inherited::Taken;
use crate::server::leaving::Leaving;
use crate::server::{Config, Server, Sockets};
use crate::sys::steer::Steer;

/// How long it may take to tell the other process what was counted.
const TELLING: Duration = Duration::from_secs(1);

/// How far a takeover has come.
#[derive(Default)]
pub enum Stage {
    /// There is none.
    #[default]
    None,
    /// It is this process that takes over, from one that has not let go yet.
    Awaiting(Awaiting),
    /// That one goes on, and this one ends.
    Withdrawn,
    /// Another process has copies of all sockets; this one has left these interfaces
    /// to it, which it read past the sockets.
    Handed(Vec<String>),
    /// It answers, and this one could go on at any time.
    LetGo(Box<Kept>),
    /// This one ends with its last connection.
    Retired(Retired),
}

/// What is left of a server that another process has taken over from.
pub struct Retired {
    /// Where what was counted since is wanted.
    answer: Sender<Counted>,
    /// Is disconnected when it has been passed on.
    told: Receiver<()>,
    /// What was counted by who read what was not taken.
    surplus: Vec<Totals>,
    /// What the other process knows already of the TCP thread's.
    counted: Box<Totals>,
}

/// What a server keeps that has let go.
pub struct Kept {
    sockets: Sockets,
    metrics: Option<TcpListener>,
    /// Who reads what was not taken.
    surplus: Option<Server>,
    /// What was.
    taken: Taken,
    /// The process that has taken over.
    successor: u32,
    /// What the TCP thread had counted when it let go.
    counted: Box<Totals>,
    /// Interfaces that were read past the sockets.
    left: Vec<String>,
}

impl Daemon {
    /// Copies of everything, for another process.
    pub(super) fn hand_over(&mut self) -> Option<Handed> {
        if !matches!(self.stage, Stage::None) {
            return None;
        }
        match self.copy_all() {
            Ok(handed) => {
                info!("another process takes the sockets over");
                self.stage = Stage::Handed(Vec::new());
                Some(handed)
            }
            Err(error) => {
                error!("the sockets cannot be handed over: {error}");
                None
            }
        }
    }

    fn copy_all(&self) -> io::Result<Handed> {
        let sockets = self.server.hand_over()?;
        let control = self
            .control
            .as_ref()
            .map(|control| control.copy_descriptor());
        let control = control.ok_or(io::ErrorKind::NotFound)??;
        let metrics = self.metrics.as_ref().map(|metrics| metrics.listener());
        let metrics = metrics.transpose()?;
        let cookies = self.server.snapshot().settings.cookies.clone();
        Ok(Handed {
            offer: Offer {
                pid: std::process::id(),
                version: env!("CARGO_PKG_VERSION").into(),
                workers: sockets.workers,
                groups: sockets.groups.iter().map(Vec::len).collect(),
                listeners: sockets.listeners.len(),
                metrics: metrics.is_some(),
                counting_seconds: self.counting().as_secs_f64(),
                interfaces: self.server.open_interfaces(),
                cookie_secrets: cookies.is_some(),
            },
            sockets,
            control,
            metrics: metrics.map(Into::into),
            cookies,
        })
    }

    /// Leaves what is read past the sockets to the other process, which has all else
    /// that it needs. No queue has two readers: until the other one reads them, what
    /// comes in goes over the sockets.
    pub(super) fn leave_queues(&mut self) {
        let open = self.server.open_interfaces();
        if let Stage::Handed(left) = &mut self.stage
            && !open.is_empty()
        {
            if !self.server.leave_queues() {
                warn!("a worker is slow to leave its queue; the other process waits for it");
            }
            left.extend(open);
        }
    }

    /// The other process is not to be after all.
    pub(super) fn withdraw(&mut self) {
        if let Stage::Handed(left) = &self.stage {
            let said = as_before(left);
            warn!("the other process did not get ready; this one goes on {said}");
            self.stage = Stage::None;
            // It may have read the sockets while this one stood still.
            self.steer();
        }
    }

    /// Leaves to the other process what it has taken, and reads the rest on.
    pub(super) fn let_go(&mut self, taken: &Taken, successor: u32) -> Option<Counted> {
        let Stage::Handed(left) = &self.stage else {
            return None;
        };
        let said = as_before(left);
        let mut kept = match self.keep(taken, successor) {
            Ok(kept) => kept,
            Err(error) => {
                error!("cannot let go of the sockets: {error}; this one goes on {said}");
                self.stage = Stage::None;
                return None;
            }
        };
        // The other process does without those that it has not asked for.
        self.leave_queues();
        if let Stage::Handed(left) = std::mem::take(&mut self.stage) {
            kept.left = left;
        }
        self.server.let_go();
        if let Some(control) = &mut self.control {
            control.end();
        }
        if let Some(metrics) = self.metrics.take() {
            // Its thread may be waiting for this one.
            std::thread::spawn(move || drop(metrics));
        }
        let (workers, tcp) = self.server.to_carry();
        let tcp = Box::new(tcp);
        kept.counted = tcp.clone();
        self.stage = Stage::LetGo(Box::new(kept));
        Some(Counted {
            workers,
            tcp,
            interfaces: self.server.interfaces(),
        })
    }

    fn keep(&mut self, taken: &Taken, successor: u32) -> io::Result<Kept> {
        let surplus = self.server.hand_over()?.without(taken);
        let surplus = match surplus.groups.is_empty() {
            true => None,
            false => Some(self.another_on(surplus, false)?),
        };
        let metrics = self.metrics.as_ref().map(|metrics| metrics.listener());
        Ok(Kept {
            sockets: self.server.hand_over()?,
            metrics: metrics.transpose()?,
            surplus,
            taken: taken.clone(),
            successor,
            counted: Box::default(),
            left: Vec::new(),
        })
    }

    /// One more server on sockets of this one, with what it answers from.
    fn another_on(&self, sockets: Sockets, tcp: bool) -> io::Result<Server> {
        let snapshot = self.server.snapshot();
        let config = Config {
            settings: snapshot.settings.clone(),
            tcp: self.config.tcp.filter(|_| tcp),
            ..self.config.clone()
        };
        let started = Server::adopt(&config, snapshot.zones.clone(), sockets);
        started.map_err(|error| io::Error::other(error.to_string()))
    }

    /// The other process is gone: everything is read again.
    pub(super) fn resume(&mut self) {
        let Stage::LetGo(kept) = std::mem::take(&mut self.stage) else {
            return;
        };
        let said = as_before(&kept.left);
        warn!("the other process is gone; this one goes on {said}");
        let mut server = match self.another_on(kept.sockets, true) {
            Ok(server) => server,
            Err(error) => return error!("cannot go on: {error}"),
        };
        let (mut workers, tcp) = self.server.to_carry();
        if let Some(mut surplus) = kept.surplus {
            surplus.let_go();
            workers.extend(surplus.to_carry().0);
        }
        server.carry_on(&workers, &tcp, &self.server.interfaces());
        // Connections that are open stay with their thread.
        let before = std::mem::replace(&mut self.server, server);
        // The other process may have put a program of its own on the groups.
        self.steer();
        self.retired.push(before);
        self.leave_dnstap();
        if let Err(error) = self.start_dnstap() {
            error!("{error}");
        }
        self.start_control();
        if let Some(listener) = kept.metrics {
            self.start_metrics(listener);
        }
    }

    /// The other process is trusted: what it has not taken is drained and closed.
    pub(super) fn retire(&mut self, answer: Sender<Counted>, told: Receiver<()>) {
        let Stage::LetGo(mut kept) = std::mem::take(&mut self.stage) else {
            return;
        };
        let surplus = kept.leave();
        // The service manager believes nobody else.
        self.notifier.main_process(kept.successor);
        info!("the other process answers; this one ends with its last connection");
        self.stage = Stage::Retired(Retired {
            answer,
            told,
            surplus,
            counted: kept.counted,
        });
    }

    /// Tells the other process what was counted since, once there is no more to come.
    /// True where this process is done.
    pub(super) fn is_done(&mut self) -> bool {
        let (Stage::Retired(retired), true) = (&mut self.stage, self.server.is_finished()) else {
            return false;
        };
        let _ = retired.answer.send(Counted {
            workers: std::mem::take(&mut retired.surplus),
            tcp: Box::new(self.server.to_carry().1.since(&retired.counted)),
            interfaces: Vec::new(),
        });
        let _ = retired.told.recv_timeout(TELLING);
        true
    }

    /// Puts the program on the groups that this server wants there, or takes off what is.
    pub(super) fn steer(&self) {
        self.steer_by(self.config.steer);
    }

    /// Puts this one there.
    pub(super) fn steer_by(&self, steer: Option<Steer>) {
        if let Err(error) = self.server.steer(steer) {
            error!("{error}");
        }
    }
}

impl Kept {
    /// Drains and closes what was not taken; returns what was counted by who read it.
    pub(super) fn leave(&mut self) -> Vec<Totals> {
        let sockets = std::mem::take(&mut self.sockets);
        let Some(mut server) = self.surplus.take() else {
            return Vec::new();
        };
        // Until it is dropped, which must be after the last of them is closed.
        let leaving = Leaving::begin(sockets, &self.taken);
        if let Err(error) = &leaving {
            warn!("what comes in while sockets are closed may be lost: {error}");
        }
        server.stop();
        server.totals()
    }
}

/// How a server goes on that has left these interfaces to another one. To take them
/// again needs privileges that it has given up.
fn as_before(left: &[String]) -> String {
    if left.is_empty() {
        return "as before".into();
    }
    format!(
        "over its sockets alone, and past them on {} no more, until it is started anew or taken \
            over from",
        left.join(" and ")
    )
}
