//! Keeping a server running: what an operator does to it while it answers, and
//! what it tells of itself. Nothing here is on the way of a datagram.
//!
//! The control thread owns the server and waits for whatever may come: signals,
//! events of its threads, zones that have been read anew, what the threads of the
//! control socket ask. It does nothing that takes long itself.

pub mod activation;
pub mod chance;
pub mod control;
pub mod cookie_secrets;
pub mod dnstap;
pub mod http;
pub mod metrics;
pub mod notify;
pub mod privileges;
pub mod queries;
pub mod rates;
pub mod reload;
pub mod signals;
pub mod status;
pub mod stderr;
pub mod takeover;

mod arrival;
mod asks;
mod handover;

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, never, select, tick, unbounded};
use tracing::{error, info, warn};

use crate::server::snapshot::Snapshot;
use crate::server::{Config, Event, Server};
use crate::sys::{limits, user};
pub use asks::{Ask, Asks};
use control::{Control, Counted};
use dnstap::Dnstap;
use handover::Stage;
use metrics::Metrics;
use notify::Notifier;
use reload::{Keeper, Known, Reloaded, Reloader, Said, What};
use signals::Wish;
use status::{Shares, Status};
use takeover::Predecessor;

/// How often what was replaced is freed, where no thread has it any more, and interfaces
/// are looked at that are read past the sockets.
const TICK: Duration = Duration::from_millis(100);

/// How long who asks for metrics waits for the control thread.
const SCRAPE: Duration = Duration::from_secs(1);

/// A running server and what belongs to it.
pub struct Daemon {
    server: Server,
    config: Config,
    reloader: Reloader,
    /// The zones and their files, as of the last time that they were looked at.
    known: Vec<Known>,
    /// Who waits for each look that is under way or to come; `None` for nobody but
    /// the log.
    waiting: VecDeque<Option<Sender<Said>>>,
    asks: (Sender<Ask>, Receiver<Ask>),
    control: Option<Control>,
    metrics: Option<Metrics>,
    shares: Shares,
    started: (Instant, SystemTime),
    /// How long those before this process have counted.
    counted_before: Duration,
    notifier: Notifier,
    /// The query log that is wanted, and is written.
    dnstap: (Option<dnstap::Config>, Option<Dnstap>),
    stage: Stage,
    predecessor: Option<Predecessor>,
    /// Servers of which some connection is still open.
    retired: Vec<Server>,
}

/// Why a server runs no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Somebody wanted that.
    Wanted,
    /// Another process has taken over.
    TakenOver,
    /// The process that it was to take over from goes on.
    Withdrawn,
}

/// What a server is started with beside its zones.
#[derive(Default)]
pub struct Equipment {
    /// The control socket.
    pub control: Option<Control>,
    /// Where metrics are asked for.
    pub metrics: Option<TcpListener>,
    /// The service manager.
    pub notifier: Notifier,
    /// The query log that is wanted.
    pub dnstap: Option<dnstap::Config>,
}

impl Daemon {
    /// Takes a server that runs, what it was configured with, what is needed to read
    /// its zones anew, and what else belongs to it.
    ///
    /// # Errors
    ///
    /// What the kernel says to more threads, or to the file of the query log.
    pub fn new(
        server: Server,
        config: Config,
        keeper: Keeper,
        equipment: Equipment,
    ) -> io::Result<Daemon> {
        let mut daemon = Daemon {
            server,
            config,
            known: keeper.collection.entries().map(Known::of).collect(),
            reloader: Reloader::start(keeper)?,
            waiting: VecDeque::new(),
            asks: unbounded(),
            control: equipment.control,
            metrics: None,
            shares: Shares::new(Instant::now()),
            started: (Instant::now(), SystemTime::now()),
            counted_before: Duration::ZERO,
            notifier: equipment.notifier,
            dnstap: (equipment.dnstap, None),
            stage: Stage::None,
            predecessor: None,
            retired: Vec::new(),
        };
        daemon.start_dnstap()?;
        daemon.start_control();
        if let Some(listener) = equipment.metrics {
            daemon.start_metrics(listener);
        }
        Ok(daemon)
    }

    /// Keeps the server running until it is to end. Returns it as it was then, stopped,
    /// and why it is.
    pub fn run(mut self, wishes: &Receiver<Wish>) -> (Server, End) {
        // Who asks shall not wait for workers that have much to do.
        let _ = limits::take_short_turns();
        let ticks = tick(TICK);
        let alive = self.notifier.interval().map(tick).unwrap_or_else(never);
        if self.awaited().is_none() {
            info!("ready");
            self.say_ready();
        }
        loop {
            // A server that has let go has no thread that reports.
            let none = never();
            let events = match self.stage {
                Stage::None | Stage::Awaiting(_) | Stage::Handed(_) => self.server.events(),
                _ => &none,
            };
            select! {
                recv(wishes) -> wish => match wish {
                    Ok(Wish::Reload) => self.reload(What::All, None),
                    Ok(Wish::Counters) => stderr::print(&self.server.table()),
                    Ok(Wish::Stop) | Err(_) => break,
                },
                recv(events) -> event => match event {
                    Ok(event) => log(&event),
                    // No thread is left that could report.
                    Err(_) => break,
                },
                recv(self.reloader.done()) -> done => match done {
                    Ok(reloaded) => self.take(reloaded),
                    Err(_) => break,
                },
                recv(self.asks.1) -> ask => match ask.map(|ask| self.answer(ask)) {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) | Err(_) => break,
                },
                recv(alive) -> _ => self.notifier.alive(),
                recv(ticks) -> _ => {
                    self.server.free_replaced();
                    let said = self.server.follow_interfaces();
                    said.iter().for_each(|sentence| warn!("{sentence}"));
                    self.tell_who_waits();
                    self.retired.retain(|server| !server.is_finished());
                    if self.retired.is_empty() && self.is_done() {
                        self.stop_dnstap();
                        self.dismiss();
                        return (self.server, End::TakenOver);
                    }
                }
            }
        }
        self.stop();
        match self.stage {
            Stage::Withdrawn => (self.server, End::Withdrawn),
            _ => (self.server, End::Wanted),
        }
    }

    /// Tells the service manager that all is well, once this is the server.
    fn say_ready(&self) {
        if !self.is_known() {
            return;
        }
        let served = self.server.snapshot().zones.len();
        self.notifier.ready(&format!("{served} zones are served"));
    }

    /// Whether this is the process that the service manager knows, and not one that has
    /// not let go yet, or one that has taken over.
    fn is_known(&self) -> bool {
        !matches!(
            self.stage,
            Stage::Awaiting(_) | Stage::Withdrawn | Stage::Retired(_)
        )
    }

    fn stop(&mut self) {
        if self.is_known() {
            self.notifier.stopping();
        }
        // One that has not let go goes on.
        if !matches!(self.stage, Stage::Awaiting(_) | Stage::Withdrawn) {
            self.dismiss();
        }
        if let Stage::LetGo(kept) = &mut self.stage {
            kept.leave();
        }
        if let Some(control) = &mut self.control {
            match self.stage {
                Stage::None => control.remove(),
                // The other process has it.
                _ => control.end(),
            }
        }
        self.retired.clear();
        self.server.stop();
        self.stop_dnstap();
    }

    /// Has a process that stood still when this one took over not go on when it wakes.
    fn dismiss(&self) {
        if let Some(predecessor) = &self.predecessor {
            predecessor.dismiss();
        }
    }

    /// Does what is asked; breaks where that is to end.
    fn answer(&mut self, ask: Ask) -> ControlFlow<()> {
        // Whoever asked may have gone: then nobody gets the answer.
        match ask {
            Ask::Status(answer) => self.ask_status(answer),
            Ask::Reload(what, answer) => self.reload(what, Some(answer)),
            Ask::Stop(answer) => {
                let _ = answer.send(());
                return ControlFlow::Break(());
            }
            Ask::Watch(every, answer) => {
                let _ = answer.send(queries::watch(self.server.tap(), every));
            }
            Ask::HandOver(answer) => {
                if answer.send(self.hand_over()).is_err() {
                    self.withdraw();
                }
            }
            Ask::LeaveQueues(answer) => {
                self.leave_queues();
                let _ = answer.send(());
            }
            Ask::Withdraw => self.withdraw(),
            Ask::LetGo(taken, process, answer) => {
                let counted = self.let_go(&taken, process);
                if answer.send(counted).is_err() {
                    self.resume();
                }
            }
            Ask::Resume => self.resume(),
            Ask::Retire(answer, told) => self.retire(answer, told),
            Ask::Alone => self.serve_alone(),
            Ask::Settle(answer) => return self.settle(answer),
            Ask::CarryOn(counted) => self.carry_on(&counted),
        }
        ControlFlow::Continue(())
    }

    fn carry_on(&mut self, counted: &Counted) {
        let Counted {
            workers,
            tcp,
            interfaces,
        } = counted;
        self.server.carry_on(workers, tcp, interfaces);
    }

    fn start_dnstap(&mut self) -> io::Result<()> {
        let (wanted, written) = &mut self.dnstap;
        if let Some(config) = wanted.clone() {
            let target = config.target.clone();
            let log = Dnstap::start(self.server.tap(), config).map_err(|error| {
                // The list of users may be out of reach by now.
                let user = user::effective().to_string();
                io::Error::new(error.kind(), target.refusal(&error, &user))
            })?;
            *written = Some(log);
        }
        Ok(())
    }

    /// Writes what there is left to write; there is no more to come.
    fn stop_dnstap(&mut self) {
        if let Some(log) = self.dnstap.1.take() {
            stop_dnstap(log);
        }
    }

    /// As `stop_dnstap`, where there is something else to do than to wait for a target
    /// that takes nothing.
    fn leave_dnstap(&mut self) {
        if let Some(log) = self.dnstap.1.take() {
            let thread = std::thread::Builder::new().name("shardns-dnstap".into());
            // Without a thread, it is ended here.
            let _ = thread.spawn(move || stop_dnstap(log));
        }
    }

    fn start_control(&mut self) {
        let asks = self.asks.0.clone();
        if let Some(control) = &mut self.control
            && let Err(error) = control.start(asks)
        {
            error!("nobody answers at the control socket: {error}");
        }
    }

    fn start_metrics(&mut self, listener: TcpListener) {
        let asks = Asks::new(self.asks.0.clone());
        let source = move || {
            let status = asks.status_within(SCRAPE);
            // Counters that have not been carried on yet would seem to have been reset.
            status.filter(|status| status.taking_over_from.is_none())
        };
        match Metrics::start(listener, source) {
            Ok(metrics) => {
                info!("metrics at http://{}/metrics", metrics.address());
                self.metrics = Some(metrics);
            }
            Err(error) => error!("nobody answers for metrics: {error}"),
        }
    }

    /// How long has been counted.
    fn counting(&self) -> Duration {
        self.counted_before + self.started.0.elapsed()
    }

    /// The state of the server.
    fn status(&mut self) -> Status {
        let (workers, tcp) = status::threads(&self.server);
        let (started, start) = self.started;
        let since_1970 = start.duration_since(SystemTime::UNIX_EPOCH);
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            commit: env!("SHARDNS_COMMIT").into(),
            pid: std::process::id(),
            taking_over_from: self.awaited(),
            uptime_seconds: started.elapsed().as_secs_f64(),
            counting_seconds: self.counting().as_secs_f64(),
            start_seconds: since_1970.unwrap_or_default().as_secs_f64(),
            imbalance: self.shares.compare(Instant::now(), &workers),
            addresses: self
                .server
                .addresses()
                .iter()
                .map(ToString::to_string)
                .collect(),
            workers,
            tcp,
            interfaces: self.server.interfaces(),
            zones: self.known.iter().map(Known::status).collect(),
        }
    }

    /// Has the zones read anew, and whoever asks be told.
    fn reload(&mut self, what: What, asker: Option<Sender<Said>>) {
        self.waiting.push_back(asker);
        if let Some(log) = &self.dnstap.1 {
            log.reopen();
        }
        if self.is_known() {
            self.notifier.reloading();
        }
        self.reloader.want(what);
    }

    /// Serves what was read.
    fn take(&mut self, reloaded: Reloaded) {
        let Reloaded {
            zones,
            settings,
            known,
            said,
        } = reloaded;
        let before = self.server.snapshot();
        if zones.is_some() || settings.is_some() {
            self.server.replace(Snapshot {
                zones: zones.unwrap_or_else(|| before.zones.clone()),
                settings: settings.unwrap_or_else(|| before.settings.clone()),
            });
        }
        // The last one who has it frees it, and that is to be this thread.
        drop(before);
        self.known = known;
        said.log();
        self.say_ready();
        if let Some(Some(asker)) = self.waiting.pop_front() {
            // Whoever asked may have gone.
            let _ = asker.send(said);
        }
    }
}

fn stop_dnstap(log: Dnstap) {
    let dnstap::Counts { written, lost, .. } = log.stop();
    info!("dnstap: {written} messages written, {lost} queries lost on the way");
}

fn log(event: &Event) {
    match event {
        Event::Panicked {
            thread,
            message,
            backtrace,
        } => {
            error!("{thread} broke on a request, dropped it and goes on: {message}\n{backtrace}");
        }
        Event::NotPinned { thread, cpu } => {
            warn!("{thread} could not be pinned to CPU {cpu} and runs where the kernel puts it");
        }
    }
}
