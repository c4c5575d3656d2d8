//! Who asks: a thread with a socket for each client port. They ask in turn, at a
//! steady rate, whether they are answered or not; and all of them once when it is to
//! be known where each flow lands.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::ledger::Ledger;
use super::locked;
use super::message::{LONGEST, QUESTION, ask, read};
use crate::sys::epoll::{Epoll, Trigger};
use crate::sys::lab::client::{Flow, Inbox, Outbox};
use crate::sys::port::Wait;

/// How often it is looked what is to be sent.
const TICK: Duration = Duration::from_millis(1);
/// What could not be sent in time is not made up for beyond this.
const BACKLOG: Duration = Duration::from_millis(20);
/// Questions that go out until it is looked for answers again: no more than the clients
/// of which one look hears, or answers would wait for them longer and longer.
const ASKED_AT_ONCE: usize = 64;
/// Questions of a roll call that go out in a tick: few, so that no queue overflows
/// from them alone.
const CALLED_AT_ONCE: usize = 16;
/// Clients whose drops are looked at in a tick: all in a second.
const LOOKED_AT: usize = 4;
/// Bytes that may wait on a client's socket, which are few answers.
const BUFFER: usize = 32 << 10;
/// Answers that one call takes.
const BATCH: usize = 16;
/// What message IDs are drawn from begins with this.
const SEED: u64 = 1;

/// The clients, until they are dropped.
pub struct Clients {
    ledger: Arc<Mutex<Ledger>>,
    orders: Arc<Orders>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is told. Relaxed throughout: each stands for itself, and what goes
/// with them is in the ledger, behind its lock.
#[derive(Default)]
struct Orders {
    /// Questions a second.
    rate: AtomicU32,
    /// Roll calls that were asked for, and those that were sent.
    calls: AtomicU32,
    called: AtomicU32,
    stop: AtomicBool,
}

impl Clients {
    /// Opens so many client ports, which ask at a rate.
    ///
    /// # Errors
    ///
    /// What the kernel says, with what to do.
    pub fn start(peer: SocketAddr, flows: usize, rate: u32) -> anyhow::Result<Clients> {
        let ledger = Arc::new(Mutex::new(Ledger::new(flows)));
        let orders = Arc::<Orders>::default();
        orders.rate.store(rate, Relaxed);
        let connect = |_| Flow::connect(peer, BUFFER, TICK);
        let sockets: io::Result<Vec<Flow>> = (0..flows).map(connect).collect();
        let sockets = sockets
            .with_context(|| format!("cannot open {flows} client sockets; raise `ulimit -n`"))?;
        let epoll = Epoll::new()?;
        for (flow, socket) in sockets.iter().enumerate() {
            epoll.add_with(socket, flow, Trigger::Level)?;
        }
        let mut asking = Asking {
            ledger: ledger.clone(),
            orders: orders.clone(),
            dropped: vec![0; sockets.len()],
            sockets,
            next: 0,
            looked: 0,
            outbox: Outbox::new(1, QUESTION),
            inbox: Inbox::new(BATCH, LONGEST),
            chance: ChaCha8Rng::seed_from_u64(SEED),
        };
        let thread = thread::Builder::new().name("play-clients".into());
        let thread = thread.spawn(move || asking.run(epoll))?;
        Ok(Clients {
            ledger,
            orders,
            thread: Some(thread),
        })
    }

    /// What becomes of the questions.
    pub fn ledger(&self) -> &Arc<Mutex<Ledger>> {
        &self.ledger
    }

    /// Changes the rate.
    pub fn set_rate(&self, rate: u32) {
        self.orders.rate.store(rate, Relaxed);
    }

    /// Has every client port ask once, and returns when all have been sent.
    pub fn call(&self) {
        let call = self.orders.calls.fetch_add(1, Relaxed) + 1;
        while self.orders.called.load(Relaxed) < call && !self.is_over() {
            thread::sleep(TICK);
        }
    }

    fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.orders.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Asking {
    ledger: Arc<Mutex<Ledger>>,
    orders: Arc<Orders>,
    sockets: Vec<Flow>,
    /// The flow whose turn it is.
    next: usize,
    /// The flow whose drops are looked at next, and what each had dropped.
    looked: usize,
    dropped: Vec<u32>,
    outbox: Outbox,
    inbox: Inbox,
    chance: ChaCha8Rng,
}

impl Asking {
    fn run(&mut self, mut epoll: Epoll) {
        let start = Instant::now();
        let (mut last, mut ticked, mut due) = (start, start, 0.0);
        let mut called = 0..0;
        while !self.orders.stop.load(Relaxed) {
            // Whoever cannot wait for the kernel cannot do anything.
            let patience = if due < 1.0 { TICK } else { Duration::ZERO };
            let Ok(ready) = epoll.wait(patience) else {
                return;
            };
            let ready: Vec<usize> = ready.collect();
            let ledger = self.ledger.clone();
            let mut ledger = locked(&ledger);
            for flow in ready {
                self.receive(flow, &mut ledger);
            }
            let now = Instant::now();
            let rate = f64::from(self.orders.rate.load(Relaxed));
            due += rate * now.duration_since(last).as_secs_f64();
            due = due.min((rate * BACKLOG.as_secs_f64()).max(1.0));
            last = now;
            for _ in 0..ASKED_AT_ONCE.min(due as usize) {
                self.ask(self.next, &mut ledger);
                self.next = (self.next + 1) % self.sockets.len();
                due -= 1.0;
            }
            let elapsed = now.duration_since(ticked);
            if elapsed < TICK {
                continue;
            }
            ticked = now;
            if called.is_empty() && self.has_call() {
                called = 0..self.sockets.len();
            }
            if !called.is_empty() {
                let ticks = elapsed.min(BACKLOG).as_millis() as usize;
                for flow in called.by_ref().take(CALLED_AT_ONCE * ticks) {
                    self.ask(flow, &mut ledger);
                }
                if called.is_empty() {
                    self.orders.called.fetch_add(1, Relaxed);
                }
            }
            self.look_for_drops(&mut ledger);
            ledger.look(now);
        }
    }

    fn look_for_drops(&mut self, ledger: &mut Ledger) {
        for _ in 0..LOOKED_AT.min(self.sockets.len()) {
            let flow = self.looked;
            self.looked = (flow + 1) % self.sockets.len();
            let dropped = self.sockets[flow].drops().unwrap_or(self.dropped[flow]);
            ledger.overran(dropped.wrapping_sub(self.dropped[flow]).into());
            self.dropped[flow] = dropped;
        }
    }

    fn has_call(&self) -> bool {
        self.orders.called.load(Relaxed) < self.orders.calls.load(Relaxed)
    }

    fn ask(&mut self, flow: usize, ledger: &mut Ledger) {
        let number = ledger.ask(flow as u16, Instant::now());
        let question = ask(self.chance.random(), flow as u16, number);
        self.outbox.put(0, &question);
        // An earlier question's "port unreachable" comes in the place of this one's
        // success (udp(7)); then nothing was sent, and the second attempt does it.
        for _ in 0..2 {
            match self.outbox.send(&self.sockets[flow], 1) {
                Ok(_) => return,
                Err(_) => ledger.refused(),
            }
        }
    }

    fn receive(&mut self, flow: usize, ledger: &mut Ledger) {
        match self.inbox.receive(&self.sockets[flow], Wait::No) {
            Ok(received) => {
                let now = Instant::now();
                for slot in 0..received {
                    if let Some(answer) = read(self.inbox.reply(slot)) {
                        ledger.answered(answer, now);
                    }
                }
            }
            Err(_) => ledger.refused(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::serving::{Control, bind, serve};
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn all_are_called_and_answered_whatever_the_rate() {
        let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let serving = thread::spawn(|| serve(far));
        let mut control = Control::new(near);
        control.hand_over(3, &socket).unwrap();
        let clients = Clients::start(socket.local(), 50, 0).unwrap();
        clients.call();
        let start = Instant::now();
        while locked(clients.ledger()).heard_since(0) < 50 {
            assert!(start.elapsed() < Duration::from_secs(20));
            thread::sleep(TICK);
        }
        let ledger = locked(clients.ledger());
        assert_eq!(ledger.totals().sent, 50);
        assert_eq!(ledger.places_since(0), [3; 50]);
        drop(ledger);
        clients.set_rate(1000);
        while locked(clients.ledger()).totals().answered < 80 {
            assert!(start.elapsed() < Duration::from_secs(20));
            thread::sleep(TICK);
        }
        drop((clients, control));
        serving.join().unwrap().unwrap();
    }
}
