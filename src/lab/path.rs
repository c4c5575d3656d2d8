//! Paths: ways for datagrams to come from the kernel to a worker and back, all with the
//! same answering code and one worker, which is held on its CPU and sleeps at once.
//!
//! ```text
//! one a call       recvmmsg of one, sendmmsg of one    socket
//! recvmmsg         recvmmsg, sendmmsg                  socket
//! io_uring         a receive that stays, sends         socket
//! AF_XDP generic   rings in memory                     behind the driver
//! AF_XDP native    rings in memory                     in the driver
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::Context;
use crossbeam_channel::{Sender, bounded};

use super::load;
use super::tasks::Tasks;
use super::veth::INTERFACE;
use crate::answer;
use crate::server::answerer::{Answerer, Responder};
use crate::server::counters::Counters;
use crate::server::idle::IDLE_WAIT;
use crate::server::placement::{Seat, take};
use crate::server::snapshot::{self, Snapshot};
use crate::server::{BATCH, Config, Listen, RECEIVE_BUFFER, Server, Xdp};
use crate::sys::lab::ring::RingPort;
use crate::sys::port::{Port, Wait};
use crate::sys::socket::{UdpOptions, UdpSocket};
use crate::sys::xdp::Mode;

/// The way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// A socket, a datagram a call.
    One,
    /// A socket, a batch a call.
    Batch,
    /// A socket, whose datagrams come and go over io_uring.
    Ring,
    /// A queue past the sockets, filled behind the driver.
    Generic,
    /// A queue past the sockets, filled in the driver.
    Native,
}

impl Path {
    /// All of them; the first is what the others are compared with.
    pub const ALL: [Path; 5] = [
        Path::One,
        Path::Batch,
        Path::Ring,
        Path::Generic,
        Path::Native,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Path::One => "one a call",
            Path::Batch => "recvmmsg",
            Path::Ring => "io_uring",
            Path::Generic => "AF_XDP generic",
            Path::Native => "AF_XDP native",
        }
    }

    /// Where the program runs that takes datagrams past the sockets, if one does.
    pub fn past_sockets(self) -> Option<Mode> {
        match self {
            Path::One | Path::Batch | Path::Ring => None,
            Path::Generic => Some(Mode::Generic),
            Path::Native => Some(Mode::Native),
        }
    }
}

/// A server that is asked over one of the paths, until it is dropped.
pub struct PathServer {
    /// Where it serves.
    pub address: SocketAddr,
    /// All its threads.
    pub tasks: Tasks,
    worker: Worker,
}

enum Worker {
    /// Of a whole server.
    Served(Box<Server>),
    /// A thread around a ring, which ends with it.
    Ring { _worker: RingWorker },
}

impl PathServer {
    /// Starts one whose worker is held on a CPU, in the calling thread's network.
    ///
    /// # Errors
    ///
    /// What the kernel would not give, as where it has no such path.
    pub fn start(path: Path, address: SocketAddr, cpu: usize) -> anyhow::Result<PathServer> {
        let start = || match path {
            Path::Ring => {
                let worker = RingWorker::start(address, cpu)?;
                Ok((worker.address, Worker::Ring { _worker: worker }))
            }
            _ => {
                let server = Server::start(&config(path, address, cpu), load::zones()?)?;
                Ok((server.addresses()[0], Worker::Served(Box::new(server))))
            }
        };
        let (started, tasks): (anyhow::Result<_>, _) = Tasks::started_by(start);
        let (address, worker) = started?;
        Ok(PathServer {
            address,
            tasks,
            worker,
        })
    }

    /// Datagrams that were taken past the sockets so far.
    pub fn past_sockets(&self) -> u64 {
        let Worker::Served(server) = &self.worker else {
            return 0;
        };
        let interfaces = server.interfaces();
        let queues = interfaces.iter().flat_map(|interface| &interface.queues);
        queues.map(|queue| queue.totals.received).sum()
    }
}

fn config(path: Path, address: SocketAddr, cpu: usize) -> Config {
    Config {
        listen: vec![Listen {
            address,
            required: true,
        }],
        cpus: Some(vec![cpu]),
        pin: true,
        batch: if path == Path::One { 1 } else { BATCH },
        xdp: path.past_sockets().map(|mode| Xdp {
            interfaces: vec![INTERFACE.into()],
            mode,
        }),
        ..load::config(1)
    }
}

/// The loop of a worker, around a ring: a ring is for the thread that makes it.
struct RingWorker {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    running: Option<JoinHandle<()>>,
}

impl RingWorker {
    fn start(address: SocketAddr, cpu: usize) -> anyhow::Result<RingWorker> {
        let options = UdpOptions {
            grouped: false,
            receive_buffer: RECEIVE_BUFFER,
            timeout: IDLE_WAIT,
        };
        let socket = UdpSocket::bind(address, &options, &mut Vec::new())?;
        let address = socket.local();
        let snapshot = Snapshot {
            zones: load::zones()?,
            ..Snapshot::default()
        };
        let (stop, (tell, told)) = (Arc::<AtomicBool>::default(), bounded(1));
        let over = stop.clone();
        let work = move || {
            take(Seat { cpu, pinned: true });
            serve(socket, snapshot, &over, &tell);
        };
        let running = thread::Builder::new().name("shardns-ring".into());
        let worker = RingWorker {
            address,
            stop,
            running: Some(running.spawn(work)?),
        };
        let opened = told.recv().context("the thread has ended")?;
        opened.context("cannot open the ring")?;
        Ok(worker)
    }
}

fn serve(
    socket: UdpSocket,
    snapshot: Snapshot,
    stop: &AtomicBool,
    tell: &Sender<std::io::Result<()>>,
) {
    let size = answer::DEFAULT_EDNS_SIZE.into();
    let mut port = match RingPort::new(Arc::new(socket), BATCH, size, IDLE_WAIT) {
        Ok(port) => port,
        Err(error) => return drop(tell.send(Err(error))),
    };
    let counters = Arc::<Counters>::default();
    // Nobody listens: what breaks is counted.
    let (events, _) = bounded(0);
    let view = snapshot::fixed(snapshot);
    let mut answerer = Answerer::new(view, counters.clone(), (0, None), events);
    let _ = tell.send(Ok(()));
    // Relaxed: the flag is all that is passed on.
    while !stop.load(Ordering::Relaxed) {
        match port.receive(Wait::ForOne) {
            Ok(0) => {}
            Ok(received) => answerer.exchange(&mut port, received, &counters),
            Err(_) => return,
        }
    }
}

impl Drop for RingWorker {
    fn drop(&mut self) {
        // Relaxed: the flag is all that is passed on.
        self.stop.store(true, Ordering::Relaxed);
        if let Some(running) = self.running.take() {
            let _ = running.join();
        }
    }
}
