//! The control plane: binds every socket in worker order, starts the workers,
//! tells what they counted, stops them. It decides everything before the first
//! datagram is read; the loop in `worker` only follows.

pub mod counters;
pub mod placement;
pub mod table;
pub mod tcp;
pub mod worker;

mod bind;
mod panics;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender};

use crate::answer::Settings;
use crate::sys::socket::UdpSocket;
use crate::sys::steer::Steer;
use crate::zone::Zones;
use counters::{Counters, Totals};
use placement::{PlacementError, Seat};
use worker::{Duty, Responder, Worker};

pub use bind::BindError;

/// How the workers share an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Each its own socket of a `SO_REUSEPORT` group.
    Reuseport,
    /// One socket, read by all.
    Shared,
}

/// An address to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Address and port; port 0 lets the kernel choose one.
    pub address: SocketAddr,
    /// Whether the server shall not start without it.
    pub required: bool,
}

/// Everything that is decided before the start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: Vec<Listen>,
    /// How many workers; one for each CPU where it is not said.
    pub workers: Option<usize>,
    /// The CPUs to use; those of the affinity mask where it is not said.
    pub cpus: Option<Vec<usize>>,
    /// Whether each worker is held on its CPU.
    pub pin: bool,
    /// How the workers share an address.
    pub sharing: Sharing,
    /// Which socket of a group takes a datagram, where not the kernel's hash.
    pub steer: Option<Steer>,
    /// Datagrams that a worker takes at once, 1 to 128.
    pub batch: usize,
    /// Times that a worker looks for more datagrams before it sleeps; 0 to sleep
    /// at once.
    pub looks: u32,
    /// Bytes that may wait on a socket, as the kernel counts them.
    pub receive_buffer: usize,
    /// How requests are answered.
    pub settings: Settings,
    /// Limits of DNS over TCP; `None` for none at all.
    pub tcp: Option<tcp::Limits>,
}

/// Bytes that may wait on each socket: some 5,000 queries, which a worker
/// clears in 25 ms.
pub const RECEIVE_BUFFER: usize = 4 << 20;
/// The name of the TCP thread.
const TCP_THREAD: &str = "shardns-tcp";
/// Events that wait to be told. A query that breaks the answering code may come
/// a million times; what does not fit is only counted.
const MAX_EVENTS: usize = 64;
/// Datagrams that a worker takes at once.
pub const BATCH: usize = 32;

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: Vec::new(),
            workers: None,
            cpus: None,
            pin: true,
            sharing: Sharing::Reuseport,
            steer: None,
            batch: BATCH,
            looks: worker::LOOKS,
            receive_buffer: RECEIVE_BUFFER,
            settings: Settings::default(),
            tcp: Some(tcp::Limits::default()),
        }
    }
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The workers have no place.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// An address cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The kernel takes no program on the group.
    #[error(
        "cannot steer the sockets of {address}: {error}; --steer hash leaves the choice to the kernel"
    )]
    Steer {
        /// The address of the group.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// The system is out of something.
    #[error("cannot start {what}: {error}")]
    System {
        /// What was to be started.
        what: String,
        /// What the kernel said.
        error: io::Error,
    },
}

/// What threads report while they run.
#[derive(Debug)]
pub enum Event {
    /// A worker broke on a request; it has dropped it and gone on.
    Panicked {
        /// The thread's name.
        thread: String,
        /// The panic's message and place.
        message: String,
        /// Where it came from.
        backtrace: String,
    },
    /// A worker could not be held on its CPU, and runs all the same.
    NotPinned {
        /// The thread's name.
        thread: String,
        /// The CPU.
        cpu: usize,
    },
}

/// A running server.
pub struct Server {
    seats: Vec<Seat>,
    addresses: Vec<SocketAddr>,
    /// Groups by address; in a group, sockets by worker. They are the workers',
    /// so that each closes when its worker has answered what is queued on it:
    /// one that stayed open until all are done would go on taking datagrams
    /// that nobody reads.
    groups: Vec<Vec<Weak<UdpSocket>>>,
    /// Sockets that all workers read, and none closes.
    shared: Vec<Arc<UdpSocket>>,
    counters: Vec<Arc<Counters>>,
    workers: Vec<JoinHandle<()>>,
    tcp: Option<TcpThread>,
    tcp_counters: Option<Arc<Counters>>,
    stop: Arc<AtomicBool>,
    events: Receiver<Event>,
    notes: Vec<String>,
}

struct TcpThread {
    thread: JoinHandle<()>,
    waker: mio::Waker,
}

impl Server {
    /// Binds all sockets, then starts all threads.
    ///
    /// # Errors
    ///
    /// A sentence for the first thing that cannot be had; nothing runs then.
    pub fn start(config: &Config, zones: Arc<Zones>) -> Result<Server, StartError> {
        Server::start_with(config, zones, worker::Answers)
    }

    /// The same with something else in the place of `worker::Answers` on UDP.
    ///
    /// # Errors
    ///
    /// As `start`.
    pub fn start_with(
        config: &Config,
        zones: Arc<Zones>,
        responder: impl Responder,
    ) -> Result<Server, StartError> {
        let seats = placement::plan(
            config.workers,
            config.cpus.as_deref(),
            config.pin,
            &placement::allowed_cpus(),
            placement::usable_cpus(),
        )?;
        let bound = bind::bind(config, seats.len())?;
        bind::steer(config, &bound.groups, &seats)?;
        let (report, events) = crossbeam_channel::bounded(MAX_EVENTS);
        let settings = Arc::new(config.settings.clone());
        let mut server = Server {
            counters: seats.iter().map(|_| Arc::default()).collect(),
            seats,
            addresses: bound.groups.iter().map(|group| group[0].local()).collect(),
            groups: bound
                .groups
                .iter()
                .map(|group| group.iter().map(Arc::downgrade).collect())
                .collect(),
            shared: match config.sharing {
                Sharing::Reuseport => Vec::new(),
                Sharing::Shared => bound.groups.concat(),
            },
            workers: Vec::new(),
            tcp: None,
            tcp_counters: config.tcp.map(|_| Arc::default()),
            stop: Arc::default(),
            events,
            notes: bound.notes,
        };
        let bound = (bound.groups, bound.listeners);
        let started = server.start_threads(config, &zones, &settings, bound, responder, &report);
        match started {
            Ok(()) => Ok(server),
            Err((what, error)) => {
                server.stop();
                Err(StartError::System { what, error })
            }
        }
    }

    fn start_threads(
        &mut self,
        config: &Config,
        zones: &Arc<Zones>,
        settings: &Arc<Settings>,
        (groups, listeners): (Vec<Vec<Arc<UdpSocket>>>, Vec<std::net::TcpListener>),
        responder: impl Responder,
        report: &Sender<Event>,
    ) -> Result<(), (String, io::Error)> {
        for (index, &seat) in self.seats.iter().enumerate() {
            let name = format!("shardns-{index}");
            let duty = Duty {
                index: index as u16,
                cpu: seat.pinned.then_some(seat.cpu as u16),
                sockets: groups
                    .iter()
                    .map(|group| group[index % group.len()].clone())
                    .collect(),
                batch: config.batch,
                looks: config.looks,
                zones: zones.clone(),
                settings: settings.clone(),
                counters: self.counters[index].clone(),
                stop: self.stop.clone(),
            };
            let started = Worker::new(duty, responder)
                .and_then(|worker| spawn_worker(worker, &name, seat, report));
            self.workers.push(started.map_err(|error| (name, error))?);
        }
        drop(groups);
        if let Some(limits) = config.tcp {
            let tcp = self.spawn_tcp(listeners, zones, settings, limits, report.clone());
            self.tcp = Some(tcp.map_err(|error| ("the TCP thread".to_owned(), error))?);
        }
        Ok(())
    }

    fn spawn_tcp(
        &self,
        listeners: Vec<std::net::TcpListener>,
        zones: &Arc<Zones>,
        settings: &Arc<Settings>,
        limits: tcp::Limits,
        report: Sender<Event>,
    ) -> io::Result<TcpThread> {
        let counters = self.tcp_counters.clone().unwrap_or_default();
        let (mut server, waker) = tcp::TcpServer::new(
            listeners,
            zones.clone(),
            settings.clone(),
            limits,
            counters,
            self.stop.clone(),
        )?;
        let thread = thread::Builder::new().name(TCP_THREAD.into());
        Ok(TcpThread {
            thread: thread.spawn(move || run_tcp(&mut server, &report))?,
            waker,
        })
    }

    /// The addresses that are served, with the ports that the kernel chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// Where each worker runs.
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// What was not to be had and is done without, a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What threads report.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// What each worker has counted so far, and the TCP thread behind them.
    pub fn totals(&self) -> Vec<Totals> {
        let workers = self.counters.iter().enumerate();
        let mut all: Vec<Totals> = workers
            .map(|(index, counters)| self.with_drops(index, counters.read()))
            .collect();
        all.extend(self.tcp_counters.as_ref().map(|counters| counters.read()));
        all
    }

    /// Adds the kernel's count for the worker's sockets that are open; of those
    /// that were closed the worker has kept it. A socket that several workers
    /// read is the first one's.
    fn with_drops(&self, worker: usize, mut totals: Totals) -> Totals {
        let sockets = self
            .groups
            .iter()
            .filter_map(|group| group.get(worker)?.upgrade());
        totals.drops += sockets
            .map(|socket| socket.drops().unwrap_or(0))
            .sum::<u64>();
        totals
    }

    /// The counters as tables.
    pub fn table(&self) -> String {
        let mut rows = Vec::new();
        for (index, totals) in self.totals().into_iter().enumerate() {
            let seat = self.seats.get(index);
            let cpu = seat.map(|seat| {
                if seat.pinned {
                    seat.cpu.to_string()
                } else {
                    "any".into()
                }
            });
            rows.push(table::CounterRow {
                name: seat.map_or("tcp".into(), |_| index.to_string()),
                cpu: cpu.unwrap_or_default(),
                totals,
            });
        }
        table::show(&rows)
    }

    /// Has every worker answer what is queued on its sockets, for 200 ms at
    /// most, and close them, and waits for the threads to end. The counters
    /// stay.
    pub fn stop(&mut self) {
        // Relaxed: the flag is all that is passed on.
        self.stop.store(true, Ordering::Relaxed);
        if let Some(tcp) = &self.tcp {
            // A waker that fails leaves the loop to its next event.
            let _ = tcp.waker.wake();
        }
        for worker in self.workers.drain(..) {
            // Panics are caught inside and have been reported.
            let _ = worker.join();
        }
        for socket in self.shared.drain(..) {
            self.counters[0].dropped(socket.drops().unwrap_or(0));
        }
        if let Some(tcp) = self.tcp.take() {
            let _ = tcp.thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs the TCP thread; as a worker, it is run again after a panic.
fn run_tcp(server: &mut tcp::TcpServer, report: &Sender<Event>) {
    while let Err((message, backtrace)) = panics::catch(|| server.run()) {
        let _ = report.try_send(Event::Panicked {
            thread: TCP_THREAD.into(),
            message,
            backtrace,
        });
    }
}

/// Starts a worker's thread. One that panics is reported and run again on the
/// same sockets, from the next request on.
fn spawn_worker<R: Responder>(
    mut worker: Worker<R>,
    name: &str,
    seat: Seat,
    report: &Sender<Event>,
) -> io::Result<JoinHandle<()>> {
    let (name, report) = (name.to_owned(), report.clone());
    thread::Builder::new().name(name.clone()).spawn(move || {
        if !placement::take(seat) {
            let _ = report.try_send(Event::NotPinned {
                thread: name.clone(),
                cpu: seat.cpu,
            });
        }
        while let Err((message, backtrace)) = panics::catch(|| worker.run()) {
            // Nobody may be listening, or too much may wait already.
            let _ = report.try_send(Event::Panicked {
                thread: name.clone(),
                message,
                backtrace,
            });
        }
        worker.close();
    })
}
