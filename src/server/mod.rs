//! The control plane: binds every socket in worker order, starts the workers,
//! tells what they counted, stops them. It decides everything before the first
//! datagram is read; the loop in `worker` only follows.

pub mod answerer;
pub mod config;
pub mod counters;
pub mod drain;
pub mod flows;
pub mod idle;
pub mod inherited;
pub mod leaving;
pub mod order;
pub mod placement;
pub mod ports;
pub mod queues;
pub mod rate_limit;
pub mod snapshot;
pub mod table;
pub mod tap;
pub mod tcp;
pub mod worker;

mod bind;
mod bound;
mod event;
mod handed;
mod panics;
mod threads;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender};

use crate::answer;
use crate::sys::port::SocketPort;
use crate::sys::socket::UdpSocket;
use crate::sys::steer::{self, Steer};
use crate::sys::xdp::XdpError;
use crate::zone::Zones;
use answerer::{Answerer, Responder};
use counters::{Counters, Gauges, Totals};
use order::{Order, Orders};
use placement::{PlacementError, Seat};
use ports::AnyPort;
use queues::{InterfaceTotals, Queues};
use rate_limit::Limiter;
use snapshot::{Snapshot, Snapshots, View};
use tap::Tap;
use threads::{LIMITS_THREAD, spawn_limits, spawn_tcp, spawn_worker};
use worker::Worker;

pub use bind::BindError;
pub use bound::Bound;
pub use config::{BATCH, Config, Listen, RECEIVE_BUFFER, Sharing, Xdp};
pub use event::Event;
pub use inherited::Sockets;

/// Events that wait to be told. A query that breaks the answering code may come
/// a million times; what does not fit is only counted.
const MAX_EVENTS: usize = 64;

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
    /// An interface cannot be read past the sockets.
    #[error(transparent)]
    Xdp(#[from] XdpError),
    /// The system is out of something.
    #[error("cannot start {what}: {error}")]
    System {
        /// What was to be started.
        what: String,
        /// What the kernel said.
        error: io::Error,
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
    /// What is read past the sockets.
    queues: Queues,
    /// The TCP thread's, to be handed over.
    listeners: Vec<TcpListener>,
    counters: Vec<Arc<Counters>>,
    /// What servers before this one have counted on its sockets: by worker, and the
    /// TCP thread's.
    carried: (Vec<Totals>, Totals),
    workers: Vec<JoinHandle<()>>,
    tcp: Option<TcpThread>,
    tcp_counters: Option<Arc<Counters>>,
    /// The thread that balances the workers' rate limits.
    limits: Option<JoinHandle<()>>,
    orders: Arc<Orders>,
    snapshots: Snapshots,
    tap: Tap,
    events: Receiver<Event>,
    notes: Vec<String>,
}

struct TcpThread {
    thread: JoinHandle<()>,
    waker: mio::Waker,
}

/// What all threads of a server are given.
struct Shared<'c> {
    config: &'c Config,
    view: View,
    tap: Tap,
    events: Sender<Event>,
}

impl Shared<'_> {
    fn worker_answerer(&self, counters: &Arc<Counters>, seat: (u16, Option<u16>)) -> Answerer {
        let probe = self.tap.probe(Some(seat.0));
        self.answerer(counters, seat).with_probe(probe)
    }

    fn tcp_answerer(&self, counters: &Arc<Counters>) -> Answerer {
        let probe = self.tap.probe(None);
        self.answerer(counters, (0, None)).with_probe(probe)
    }

    fn answerer(&self, counters: &Arc<Counters>, seat: (u16, Option<u16>)) -> Answerer {
        Answerer::new(
            self.view.clone(),
            counters.clone(),
            seat,
            self.events.clone(),
        )
    }
}

impl Server {
    /// Binds all sockets, then starts all threads.
    ///
    /// # Errors
    ///
    /// A sentence for the first thing that cannot be had; nothing runs then.
    pub fn start(config: &Config, zones: Arc<Zones>) -> Result<Server, StartError> {
        Server::start_with(config, zones, |answerer| answerer)
    }

    /// Starts a server with something around the answerer of each worker.
    ///
    /// # Errors
    ///
    /// As `start`.
    pub fn start_with<R: Responder>(
        config: &Config,
        zones: Arc<Zones>,
        wrap: impl Fn(Answerer) -> R,
    ) -> Result<Server, StartError> {
        Bound::bind(config)?.start_with(zones, wrap)
    }

    /// Starts all threads on sockets that another server has handed over, as
    /// many workers as it had. Whatever program steers a group goes on doing so.
    ///
    /// # Errors
    ///
    /// Descriptors of something else, or as `start`.
    pub fn adopt(
        config: &Config,
        zones: Arc<Zones>,
        sockets: Sockets,
    ) -> Result<Server, StartError> {
        Bound::adopt(config, sockets)?.start(zones)
    }

    fn start_on<R: Responder>(
        bound: Bound,
        zones: Arc<Zones>,
        wrap: impl Fn(Answerer) -> R,
    ) -> Result<Server, StartError> {
        let Bound {
            config,
            seats,
            held,
            queues,
            ..
        } = bound;
        let (queues, dealt) = Queues::deal(queues, seats.len());
        let (events, told) = crossbeam_channel::bounded(MAX_EVENTS);
        let snapshots = Snapshots::new(Snapshot {
            zones,
            settings: config.answers(),
        });
        let shared = Shared {
            config: &config,
            view: snapshots.view(),
            tap: Tap::default(),
            events,
        };
        let mut server = Server {
            shared: held.shared(seats.len(), config.sharing),
            counters: seats.iter().map(|_| Arc::default()).collect(),
            carried: (vec![Totals::default(); seats.len()], Totals::default()),
            seats,
            addresses: held.addresses(),
            groups: held
                .groups
                .iter()
                .map(|group| group.iter().map(Arc::downgrade).collect())
                .collect(),
            queues,
            listeners: Vec::new(),
            workers: Vec::new(),
            tcp: None,
            tcp_counters: config.tcp.map(|_| Arc::default()),
            limits: None,
            orders: Arc::default(),
            snapshots,
            tap: shared.tap.clone(),
            events: told,
            notes: held.notes,
        };
        let started = server
            .start_workers(&shared, held.groups, dealt, wrap)
            .and_then(|()| server.start_tcp(&shared, held.listeners));
        match started {
            Ok(()) => Ok(server),
            Err((what, error)) => {
                server.stop();
                Err(StartError::System { what, error })
            }
        }
    }

    fn start_workers<R: Responder>(
        &mut self,
        shared: &Shared<'_>,
        groups: Vec<Vec<Arc<UdpSocket>>>,
        queues: Vec<Vec<AnyPort>>,
        wrap: impl Fn(Answerer) -> R,
    ) -> Result<(), (String, io::Error)> {
        let reply = usize::from(shared.config.settings.edns_size);
        // As long as what we say we take, and not shorter than the default.
        let request = reply.max(answer::DEFAULT_EDNS_SIZE.into());
        let mut limiters = self.start_limits(shared.config)?.into_iter();
        for ((index, &seat), queues) in self.seats.iter().enumerate().zip(queues) {
            let name = format!("shardns-{index}");
            let port = |group: &Vec<Arc<UdpSocket>>| {
                let socket = group[index % group.len()].clone();
                SocketPort::new(socket, shared.config.batch, request, reply).into()
            };
            let counters = &self.counters[index];
            let cpu = seat.pinned.then_some(seat.cpu as u16);
            let answerer = shared.worker_answerer(counters, (index as u16, cpu));
            let started = Worker::new(
                groups.iter().map(port).chain(queues).collect(),
                shared.config.busy_polls,
                wrap(answerer.with_limiter(limiters.next())),
                counters.clone(),
                self.orders.clone(),
            );
            let started =
                started.and_then(|worker| spawn_worker(worker, &name, seat, &shared.events));
            self.workers.push(started.map_err(|error| (name, error))?);
        }
        Ok(())
    }

    /// A limiter for each worker, where replies are limited, and the thread that
    /// balances them.
    fn start_limits(&mut self, config: &Config) -> Result<Vec<Limiter>, (String, io::Error)> {
        let Some(options) = &config.rate_limit else {
            return Ok(Vec::new());
        };
        let workers = self.seats.len();
        let start = || {
            let mut secret = [0; 16];
            getrandom::fill(&mut secret)?;
            let (limiters, balance) = rate_limit::limiters(options, workers, secret);
            let thread = match workers {
                1 => None,
                _ => Some(spawn_limits(balance, self.orders.clone())?),
            };
            Ok((limiters, thread))
        };
        let started: io::Result<_> = start();
        let (limiters, thread) = started.map_err(|error| (LIMITS_THREAD.to_owned(), error))?;
        self.limits = thread;
        Ok(limiters)
    }

    fn start_tcp(
        &mut self,
        shared: &Shared<'_>,
        listeners: Vec<TcpListener>,
    ) -> Result<(), (String, io::Error)> {
        let (Some(limits), Some(counters)) = (shared.config.tcp, &self.tcp_counters) else {
            return Ok(());
        };
        let answerer = shared.tcp_answerer(counters);
        let started = || {
            let copies: io::Result<Vec<TcpListener>> =
                listeners.iter().map(TcpListener::try_clone).collect();
            let orders = self.orders.clone();
            let (server, waker) = tcp::TcpServer::new(listeners, answerer, limits, orders)?;
            let thread = spawn_tcp(server, shared.events.clone())?;
            Ok((copies?, TcpThread { thread, waker }))
        };
        let (listeners, tcp) = started().map_err(|error| ("the TCP thread".to_owned(), error))?;
        self.listeners = listeners;
        self.tcp = Some(tcp);
        Ok(())
    }

    /// Puts a program on groups that were there before, or takes off the one that they
    /// had.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn steer(&self, steer: Option<Steer>) -> Result<(), StartError> {
        let open = |group: &Vec<Weak<UdpSocket>>| group.iter().filter_map(Weak::upgrade).collect();
        let groups: Vec<Vec<_>> = self.groups.iter().map(open).collect();
        if steer.is_none() {
            let first = groups.iter().filter_map(|group| group.first());
            first.for_each(|socket| steer::detach(socket));
        }
        bind::steer(steer, &groups, &self.seats)
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

    /// The snapshot that the threads answer from.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.current()
    }

    /// Has all threads answer from another snapshot, each from its next batch on.
    /// Replies stay as long as they could be at the start. The snapshot before it
    /// is freed by `free_replaced`, when no thread has it any more.
    pub fn replace(&mut self, snapshot: Snapshot) {
        self.snapshots.replace(snapshot);
        self.wake_tcp();
    }

    /// Frees snapshots that were replaced and that no thread answers from any
    /// more; returns how many are left.
    pub fn free_replaced(&mut self) -> usize {
        self.snapshots.free()
    }

    /// The tap on what the threads answer.
    pub fn tap(&self) -> &Tap {
        &self.tap
    }

    /// What threads report.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// What each worker has counted so far, and the TCP thread behind them.
    pub fn totals(&self) -> Vec<Totals> {
        let (carried, carried_tcp) = &self.carried;
        let workers = self.counters.iter().zip(carried).enumerate();
        let mut all: Vec<Totals> = workers
            .map(|(index, (counters, carried))| {
                self.with_drops(index, counters.read()).plus(carried)
            })
            .collect();
        let tcp = self.tcp_counters.as_ref();
        all.extend(tcp.map(|counters| counters.read().plus(carried_tcp)));
        all
    }

    /// Goes on from what a server before this one has counted: by worker, of which
    /// there may have been another number, the TCP thread's, and of interfaces that
    /// were read past the sockets.
    pub fn carry_on(&mut self, workers: &[Totals], tcp: &Totals, interfaces: &[InterfaceTotals]) {
        self.queues.carry_on(interfaces, self.seats.len());
        let (carried, carried_tcp) = &mut self.carried;
        let own = carried.len();
        for (index, totals) in workers.iter().enumerate() {
            let carried = &mut carried[index % own];
            *carried = carried.plus(totals);
        }
        *carried_tcp = carried_tcp.plus(tcp);
    }

    /// What is to be carried on: by worker, without what the kernel counts on
    /// sockets that are still open, since it goes on counting there.
    pub fn to_carry(&self) -> (Vec<Totals>, Totals) {
        let (carried, carried_tcp) = &self.carried;
        let workers = self.counters.iter().zip(carried);
        let workers = workers.map(|(counters, carried)| counters.read().plus(carried));
        let tcp = self.tcp_counters.as_ref();
        let tcp = tcp.map(|counters| counters.read()).unwrap_or_default();
        (workers.collect(), tcp.plus(carried_tcp))
    }

    /// What holds now for each worker, and the TCP thread behind them.
    pub fn gauges(&self) -> Vec<Gauges> {
        let now = now();
        let all = self.counters.iter().chain(&self.tcp_counters);
        all.map(|counters| counters.gauges(now)).collect()
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
        totals.drops += self.queues.lost(worker);
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
        table::show(&rows, &self.interfaces())
    }

    /// Copies of all sockets' descriptors, for another server to adopt while
    /// this one goes on. What comes in meanwhile is taken by either.
    ///
    /// # Errors
    ///
    /// What the kernel says, as where no more files may be open.
    pub fn hand_over(&self) -> io::Result<Sockets> {
        let group = |group: &Vec<Weak<UdpSocket>>| {
            let sockets = group.iter().filter_map(Weak::upgrade);
            sockets.map(|socket| socket.copy_descriptor()).collect()
        };
        let listener = |listener: &TcpListener| Ok(listener.try_clone()?.into());
        Ok(Sockets {
            workers: self.seats.len(),
            groups: self.groups.iter().map(group).collect::<io::Result<_>>()?,
            listeners: self
                .listeners
                .iter()
                .map(listener)
                .collect::<io::Result<_>>()?,
        })
    }

    /// Has every worker answer what is queued on its sockets, for 200 ms at
    /// most, and close them, and waits for the threads to end. The counters
    /// stay.
    pub fn stop(&mut self) {
        self.end(Order::Stop);
    }

    /// Has every worker end after the batch that it has in hand, and leaves what
    /// is queued to whoever has adopted the sockets. Connections that are open
    /// are served to their end, which `finish` waits for.
    pub fn let_go(&mut self) {
        self.give(Order::LetGo);
        self.end_workers();
    }

    /// Waits until the connections of a server that has let go have come to their
    /// end; with an order to stop meanwhile, that is soon.
    pub fn finish(&mut self) {
        if let Some(tcp) = self.tcp.take() {
            let _ = tcp.thread.join();
        }
    }

    /// True once no thread of the server is left.
    pub fn is_finished(&self) -> bool {
        let tcp = self.tcp.as_ref();
        self.workers.is_empty() && tcp.is_none_or(|tcp| tcp.thread.is_finished())
    }

    /// Gives all threads an order, and waits for none of them.
    pub fn give(&self, order: Order) {
        self.orders.give(order);
        self.wake_tcp();
    }

    fn wake_tcp(&self) {
        if let Some(tcp) = &self.tcp {
            // A waker that fails leaves the loop to its next event.
            let _ = tcp.waker.wake();
        }
    }

    fn end(&mut self, order: Order) {
        // What comes in from now on is drained off the sockets, too.
        self.queues.detach();
        self.give(order);
        self.end_workers();
        self.finish();
    }

    fn end_workers(&mut self) {
        self.listeners.clear();
        for worker in self.workers.drain(..) {
            // Panics are caught inside and have been reported.
            let _ = worker.join();
        }
        self.queues.end();
        let handed_over = self.orders.current() == Order::LetGo;
        for socket in self.shared.drain(..) {
            // Who has it now goes on from what the kernel has counted.
            if !handed_over {
                self.counters[0].dropped(socket.drops().unwrap_or(0));
            }
        }
        if let Some(limits) = self.limits.take() {
            limits.thread().unpark();
            let _ = limits.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The time for requests and limits. A clock before 1970 is one that nobody has
/// set.
fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
