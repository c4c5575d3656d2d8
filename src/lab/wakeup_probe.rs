//! Threads that wait for datagrams, each of which one of them takes. What the
//! kernel notes of each thread in `/proc` says when all of them sleep again,
//! and how often they woke without the program knowing of it.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, UdpSocket as Client};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::lab::group::ANY_PORT;
use crate::sys::epoll::{Epoll, Trigger};
use crate::sys::port::{Port, SocketPort, Wait};
use crate::sys::socket::{UdpOptions, UdpSocket};

/// How long all threads may take until they sleep again.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a thread waits at most. A blocking receive queues anew after it, so
/// that a short one would disturb the order in which the threads wait.
const TICK: Duration = Duration::from_secs(1);

/// What the threads wait in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// In a receive on one socket.
    Receive,
    /// Each in an epoll instance of its own, on one socket.
    Epoll(Trigger),
    /// In one epoll instance, level-triggered, on one socket.
    OneEpoll,
    /// In a receive on a `SO_REUSEPORT` socket of its own.
    Group,
}

/// Threads that wait for datagrams until this is dropped.
pub struct SleepingThreads {
    address: SocketAddr,
    threads: Vec<SleepingThread>,
    stop: Arc<AtomicBool>,
}

struct SleepingThread {
    counts: Arc<Counts>,
    /// What the kernel says of the thread.
    status: File,
    handle: JoinHandle<io::Result<()>>,
}

/// What a thread did. Written by it alone and read when it sleeps, so relaxed
/// will do: it sleeps and is seen sleeping by way of the kernel's locks.
#[derive(Default)]
struct Counts {
    returns: AtomicU64,
    taken: AtomicU64,
    empty: AtomicU64,
    ticks: AtomicU64,
}

/// A thread at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// It is in its wait, or on no CPU for another reason.
    pub sleeps: bool,
    /// Voluntary context switches.
    pub switches: u64,
    /// Returns of the wait for something to read.
    pub returns: u64,
    /// Datagrams that it read.
    pub taken: u64,
    /// Returns after which there was nothing to read.
    pub empty: u64,
    /// Waits that ended for nothing but their time.
    pub ticks: u64,
}

impl SleepingThreads {
    /// Starts the threads; each waits before the next is started.
    ///
    /// # Errors
    ///
    /// What the kernel would not give, and threads that find no sleep.
    pub fn start(waits: Waits, threads: usize) -> anyhow::Result<SleepingThreads> {
        let grouped = matches!(waits, Waits::Group);
        let first = Arc::new(bind(ANY_PORT, grouped)?);
        let shared = Epoll::new()?;
        if let Waits::OneEpoll = waits {
            shared.add_with(&*first, 0, Trigger::Level)?;
        }
        let mut waiters = SleepingThreads {
            address: first.local(),
            threads: Vec::new(),
            stop: Arc::default(),
        };
        for index in 0..threads {
            let socket = match waits {
                Waits::Group if index > 0 => Arc::new(bind(waiters.address, grouped)?),
                _ => first.clone(),
            };
            let epoll = match waits {
                Waits::Receive | Waits::Group => None,
                Waits::OneEpoll => Some(shared.share()?),
                Waits::Epoll(trigger) => {
                    let own = Epoll::new()?;
                    own.add_with(&*socket, 0, trigger)?;
                    Some(own)
                }
            };
            waiters.add(Taker::new(socket, epoll, waits))?;
            waiters.settle(0)?;
        }
        Ok(waiters)
    }

    fn add(&mut self, taker: Taker) -> anyhow::Result<()> {
        let (counts, stop) = (taker.counts.clone(), self.stop.clone());
        let (tell, told) = mpsc::channel();
        let handle = thread::spawn(move || {
            // The name leads to whoever opens it (proc(5)).
            let _ = tell.send(File::open("/proc/thread-self/status"));
            taker.take_until(&stop)
        });
        let status = told.recv()?.context("cannot see what a thread does")?;
        self.threads.push(SleepingThread {
            counts,
            status,
            handle,
        });
        Ok(())
    }

    /// Where they wait for datagrams, on loopback.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until all threads sleep and so many datagrams are taken. Two equal
    /// looks in a row: a thread that another one woke after it was looked at
    /// runs at the second look, or has woken since the first.
    ///
    /// # Errors
    ///
    /// Threads that find no sleep, datagrams that get lost.
    pub fn settle(&self, taken: u64) -> anyhow::Result<Vec<State>> {
        let start = Instant::now();
        let mut before = Vec::new();
        loop {
            let now = self.look()?;
            let all = now.iter().map(|state| state.taken).sum::<u64>() >= taken;
            if all && now == before && now.iter().all(|state| state.sleeps) {
                return Ok(now);
            }
            if start.elapsed() > PATIENCE {
                bail!("the threads do not come to rest, or a datagram got lost: {now:?}");
            }
            before = now;
            thread::yield_now();
        }
    }

    fn look(&self) -> anyhow::Result<Vec<State>> {
        self.threads.iter().map(SleepingThread::look).collect()
    }
}

impl Drop for SleepingThreads {
    fn drop(&mut self) {
        // Relaxed: nothing is read on the strength of it.
        self.stop.store(true, Ordering::Relaxed);
        while !self.threads.iter().all(|t| t.handle.is_finished()) {
            // From another port each time, until the hash has met each socket.
            // Who is not met ends when its wait is over.
            let client = Client::bind(ANY_PORT);
            let _ = client.and_then(|client| client.send_to(&[0], self.address));
            thread::yield_now();
        }
        for waiter in self.threads.drain(..) {
            // What went wrong in a thread shows as datagrams not taken.
            let _ = waiter.handle.join();
        }
    }
}

fn bind(address: SocketAddr, grouped: bool) -> anyhow::Result<UdpSocket> {
    let options = UdpOptions {
        grouped,
        receive_buffer: 1 << 16,
        timeout: TICK,
    };
    UdpSocket::bind(address, &options, &mut Vec::new()).context("cannot bind")
}

impl SleepingThread {
    fn look(&self) -> anyhow::Result<State> {
        let mut text = [0; 4096];
        let length = self.status.read_at(&mut text, 0)?;
        let (sleeps, switches) = parse(&String::from_utf8_lossy(&text[..length]))
            .context("/proc/thread-self/status is not as proc(5) has it")?;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Ok(State {
            sleeps,
            switches,
            returns: read(&self.counts.returns),
            taken: read(&self.counts.taken),
            empty: read(&self.counts.empty),
            ticks: read(&self.counts.ticks),
        })
    }
}

/// Whether a thread sleeps, and its voluntary context switches (proc(5)).
fn parse(status: &str) -> Option<(bool, u64)> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let switches = field("voluntary_ctxt_switches:")?;
    Some((
        field("State:")?.trim().starts_with('S'),
        switches.trim().parse().ok()?,
    ))
}

/// What a thread waits with.
struct Taker {
    port: SocketPort,
    epoll: Option<Epoll>,
    /// Reads until nothing is left, as an edge wants it.
    drains: bool,
    counts: Arc<Counts>,
}

impl Taker {
    fn new(socket: Arc<UdpSocket>, epoll: Option<Epoll>, waits: Waits) -> Taker {
        Taker {
            port: SocketPort::new(socket, 1, 64, 0),
            epoll,
            drains: matches!(waits, Waits::Epoll(Trigger::Edge)),
            counts: Arc::default(),
        }
    }

    fn take_until(mut self, stop: &AtomicBool) -> io::Result<()> {
        let count = |counter: &AtomicU64, more| counter.fetch_add(more, Ordering::Relaxed);
        while !stop.load(Ordering::Relaxed) {
            let is_ready = match &mut self.epoll {
                Some(epoll) => epoll.wait(TICK)?.count() > 0,
                None => true,
            };
            let wait = match self.epoll {
                Some(_) => Wait::No,
                None => Wait::ForOne,
            };
            let mut taken = 0;
            while is_ready && self.port.receive(wait)? > 0 {
                taken += 1;
                if !self.drains {
                    break;
                }
            }
            match (taken, &self.epoll) {
                (0, Some(_)) if is_ready => {
                    count(&self.counts.returns, 1);
                    count(&self.counts.empty, 1);
                }
                (0, _) => {
                    count(&self.counts.ticks, 1);
                }
                (taken, _) => {
                    count(&self.counts.returns, 1);
                    count(&self.counts.taken, taken);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_as_the_kernel_writes_it() {
        let status = "Name:\ta\nState:\tS (sleeping)\nvoluntary_ctxt_switches:\t17\nnonvoluntary_ctxt_switches:\t4\n";
        assert_eq!(parse(status), Some((true, 17)));
        let running = status.replace("S (sleeping)", "R (running)");
        assert_eq!(parse(&running), Some((false, 17)));
        assert_eq!(parse("State:\tS\n"), None);
    }
}
