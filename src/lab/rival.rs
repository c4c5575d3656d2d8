//! Rivals: ways for several threads or processes to share one port, all with
//! the same answering code, batch and receive buffer, and all running until
//! they are dropped.
//!
//! ```text
//! reuseport      socket, socket, …     each read by its worker
//! shared socket  socket                read by all workers
//! shared epoll   socket <- epoll       all workers wait in the one instance
//! hand-off       socket <- receiver    -> channel -> workers, batch by batch
//! processes      socket, socket, …     each read by its process
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::Context;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use signal_hook::consts::SIGUSR1;

use super::group::Group;
use super::load;
use super::process::{self, Process};
use super::site::Site;
use super::tasks::Tasks;
use crate::answer;
use crate::server::answerer::{Answerer, Responder};
use crate::server::counters::{Counters, Totals};
use crate::server::idle::IDLE_WAIT;
use crate::server::snapshot::{self, Snapshot};
use crate::server::{BATCH, Config, Listen, RECEIVE_BUFFER, Server, Sharing};
use crate::sys::epoll::Epoll;
use crate::sys::port::{Port, SocketPort, Wait};
use crate::sys::socket::{UdpOptions, UdpSocket};
use crate::zone::Zones;

/// How the port is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// A socket of a `SO_REUSEPORT` group for each worker.
    Reuseport,
    /// One socket, which all workers read.
    SharedSocket,
    /// One socket in one epoll instance, in which all workers wait.
    SharedEpoll,
    /// One thread that receives, and workers that answer what it hands them.
    HandOff,
    /// A socket of a `SO_REUSEPORT` group for each of several processes.
    Processes,
}

impl Model {
    /// All of them; the first is what the others are compared with.
    pub const ALL: [Model; 5] = [
        Model::Reuseport,
        Model::SharedSocket,
        Model::SharedEpoll,
        Model::HandOff,
        Model::Processes,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Model::Reuseport => "reuseport",
            Model::SharedSocket => "shared socket",
            Model::SharedEpoll => "shared epoll",
            Model::HandOff => "hand-off",
            Model::Processes => "processes",
        }
    }
}

/// A rival that serves.
pub struct Rival {
    /// Where it serves.
    pub address: SocketAddr,
    /// All its threads.
    pub tasks: Tasks,
    crew: Crew,
}

enum Crew {
    Server(Box<Server>),
    Threads(Threads),
    Processes(Vec<Process>),
}

impl Rival {
    /// Starts so many workers that share a port of the kernel's choice.
    ///
    /// # Errors
    ///
    /// What the kernel would not give.
    pub fn start(site: Site, model: Model, workers: usize) -> anyhow::Result<Rival> {
        let zones = load::zones()?;
        let threads = |start: fn(&mut Threads, usize, &Arc<Zones>) -> anyhow::Result<()>| {
            let start = || Threads::start(site, workers, &zones, start);
            let (threads, tasks) = Tasks::started_by(start);
            let threads = threads?;
            Ok((threads.socket.local(), tasks, Crew::Threads(threads)))
        };
        let shared = |sharing| Config {
            sharing,
            ..load::config(workers)
        };
        let (address, tasks, crew) = match model {
            Model::Reuseport => serve(site, shared(Sharing::Reuseport)),
            Model::SharedSocket => serve(site, shared(Sharing::Shared)),
            Model::SharedEpoll => threads(Threads::wait_in_one_epoll),
            Model::HandOff => threads(Threads::hand_off),
            Model::Processes => start_processes(site, workers),
        }?;
        Ok(Rival {
            address,
            tasks,
            crew,
        })
    }

    /// Starts one worker that takes up to so many datagrams with one call.
    ///
    /// # Errors
    ///
    /// As `start`.
    pub fn of_batch(site: Site, batch: usize) -> anyhow::Result<Rival> {
        let config = Config {
            batch,
            ..load::config(1)
        };
        let (address, tasks, crew) = serve(site, config)?;
        Ok(Rival {
            address,
            tasks,
            crew,
        })
    }

    /// All that each worker has counted so far; nothing of processes, which tell
    /// no more than what they have received.
    pub fn totals(&self) -> Vec<Totals> {
        match &self.crew {
            Crew::Server(server) => server.totals(),
            Crew::Threads(threads) => threads.counters.iter().map(|own| own.read()).collect(),
            Crew::Processes(_) => Vec::new(),
        }
    }

    /// Requests that each worker has received so far.
    ///
    /// # Errors
    ///
    /// A process that has ended.
    pub fn received(&mut self) -> anyhow::Result<Vec<u64>> {
        match &mut self.crew {
            Crew::Processes(processes) => processes.iter_mut().map(received_by).collect(),
            Crew::Server(_) | Crew::Threads(_) => {
                let totals = self.totals();
                Ok(totals.iter().map(|totals| totals.received).collect())
            }
        }
    }
}

type Started = anyhow::Result<(SocketAddr, Tasks, Crew)>;

fn serve(site: Site, config: Config) -> Started {
    let config = Config {
        listen: vec![Listen {
            address: site.address,
            required: true,
        }],
        ..config
    };
    let zones = load::zones()?;
    let (server, tasks) = Tasks::started_by(|| Server::start(&config, zones));
    let server = server?;
    // A copy of a descriptor is of the same socket.
    for socket in server.hand_over()?.groups.iter().flatten() {
        site.guard(socket)?;
    }
    Ok((server.addresses()[0], tasks, Crew::Server(Box::new(server))))
}

/// Threads around one socket that nobody else reads.
struct Threads {
    socket: Arc<UdpSocket>,
    counters: Vec<Arc<Counters>>,
    stop: Arc<AtomicBool>,
    running: Vec<JoinHandle<()>>,
}

impl Threads {
    fn start(
        site: Site,
        workers: usize,
        zones: &Arc<Zones>,
        start: fn(&mut Threads, usize, &Arc<Zones>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Threads> {
        let options = UdpOptions {
            grouped: false,
            receive_buffer: RECEIVE_BUFFER,
            timeout: IDLE_WAIT,
        };
        let socket = UdpSocket::bind(site.address, &options, &mut Vec::new())?;
        site.guard(&socket)?;
        let mut threads = Threads {
            socket: Arc::new(socket),
            counters: (0..workers).map(|_| Arc::default()).collect(),
            stop: Arc::default(),
            running: Vec::new(),
        };
        start(&mut threads, workers, zones)?;
        Ok(threads)
    }

    fn wait_in_one_epoll(&mut self, workers: usize, zones: &Arc<Zones>) -> anyhow::Result<()> {
        let epoll = Epoll::new()?;
        epoll.add(&*self.socket, 0)?;
        for index in 0..workers {
            let (mut epoll, mut port) = (epoll.share()?, self.port());
            let (mut crew, stop) = (self.member(index, zones), self.stop.clone());
            self.spawn(move || {
                // Relaxed: the flag is all that is passed on.
                while !stop.load(Ordering::Relaxed) {
                    match epoll.wait(IDLE_WAIT).map(Iterator::count) {
                        Ok(0) => continue,
                        Ok(_) => {}
                        Err(_) => return,
                    }
                    // Another worker may have been faster.
                    if let Ok(received @ 1..) = port.receive(Wait::No) {
                        crew.exchange(&mut port, received);
                    }
                }
            })?;
        }
        Ok(())
    }

    /// Whole batches change hands, and come back empty: two for each worker,
    /// and one to fill.
    fn hand_off(&mut self, workers: usize, zones: &Arc<Zones>) -> anyhow::Result<()> {
        let (work, to_do) = unbounded::<(SocketPort, usize)>();
        let (done, free) = unbounded::<SocketPort>();
        for _ in 0..=2 * workers {
            // Never fails: the other end is in this function.
            let _ = done.send(self.port());
        }
        for index in 0..workers {
            let (to_do, done) = (to_do.clone(), done.clone());
            let mut crew = self.member(index, zones);
            // Ends when the receiver has ended and all is answered.
            self.spawn(move || {
                for (mut port, received) in to_do {
                    crew.exchange(&mut port, received);
                    let _ = done.send(port);
                }
            })?;
        }
        let stop = self.stop.clone();
        self.spawn(move || receive(&free, &work, &stop))
    }

    fn spawn(&mut self, run: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
        let thread = thread::Builder::new().name("shardns-rival".into());
        self.running.push(thread.spawn(run)?);
        Ok(())
    }

    fn port(&self) -> SocketPort {
        let size = answer::DEFAULT_EDNS_SIZE.into();
        SocketPort::new(self.socket.clone(), BATCH, size, size)
    }

    fn member(&self, index: usize, zones: &Arc<Zones>) -> Member {
        let counters = self.counters[index].clone();
        // Nobody listens: what breaks is counted.
        let (events, _) = bounded(0);
        let seat = (index as u16, None);
        Member {
            answerer: Answerer::new(
                snapshot::fixed(Snapshot {
                    zones: zones.clone(),
                    ..Snapshot::default()
                }),
                counters.clone(),
                seat,
                events,
            ),
            counters,
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Relaxed: the flag is all that is passed on.
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.running.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The receiver of the hand-off. Without a free batch it waits for one; the
/// socket's buffer holds what comes meanwhile.
fn receive(free: &Receiver<SocketPort>, work: &Sender<(SocketPort, usize)>, stop: &AtomicBool) {
    while let Ok(mut port) = free.recv() {
        let received = loop {
            // Relaxed: the flag is all that is passed on.
            if stop.load(Ordering::Relaxed) {
                return;
            }
            if let Ok(received @ 1..) = port.receive(Wait::ForOne) {
                break received;
            }
        };
        if work.send((port, received)).is_err() {
            return;
        }
    }
}

/// One of the threads that answer, wherever the batches come from.
struct Member {
    answerer: Answerer,
    counters: Arc<Counters>,
}

impl Member {
    fn exchange(&mut self, port: &mut SocketPort, received: usize) {
        self.answerer.exchange(port, received, &self.counters);
    }
}

fn start_processes(site: Site, count: usize) -> Started {
    // Holds the port until all have joined its group.
    let group = Group::bind_at(site, 1)?;
    let address = group.address();
    let started: anyhow::Result<Vec<Process>> =
        (0..count).map(|_| start_process(site, address)).collect();
    let mut processes = started?;
    let mut tasks = Tasks::default();
    for process in &mut processes {
        process.ready()?;
        tasks = tasks.and(Tasks::of_process(process.id()));
    }
    Ok((address, tasks, Crew::Processes(processes)))
}

/// With one worker. Where others are to be kept out of its socket it is handed one,
/// since it would not know how.
fn start_process(site: Site, address: SocketAddr) -> anyhow::Result<Process> {
    let mut command = process::this_program()?;
    command.args(["--workers", "1", "--listen", &address.to_string()]);
    if site.source.is_none() {
        return Process::start(&mut command);
    }
    let options = UdpOptions {
        grouped: true,
        receive_buffer: RECEIVE_BUFFER,
        timeout: IDLE_WAIT,
    };
    let socket = UdpSocket::bind(address, &options, &mut Vec::new())?;
    site.guard(&socket)?;
    Process::start_on(command, socket.copy_descriptor()?)
}

/// Requests that a process has received, from the table that a signal asks it for:
/// `worker`, `cpu`, `received` are the first columns.
fn received_by(process: &mut Process) -> anyhow::Result<u64> {
    process.signal(SIGUSR1)?;
    process.wait_for(|line| line.starts_with("worker") && line.contains("received"))?;
    let row = process.wait_for(|_| true)?;
    let received = row.split_whitespace().nth(2);
    let received = received.and_then(|number| number.parse().ok());
    received.with_context(|| format!("no count of requests in `{row}`"))
}
