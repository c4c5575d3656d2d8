//! The query log: what a tap yields, as dnstap, into a file or to whoever listens
//! on a UNIX socket. A thread of its own writes it, so that a full disk or a
//! reader that sleeps costs samples, which are counted, and nothing else.

mod message;
mod stream;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, never, select};
use tracing::{info, warn};

use crate::server::tap::{Behind, Exchange, Subscription, Tap};
use message::Encoder;
use stream::Stream;

pub use stream::Target;

/// Exchanges that may wait to be written.
const ROOM: usize = 8192;
/// Octets that are written at once.
const WRITE: usize = 64 << 10;
/// How long nothing is tried after the target could not be written to: at first,
/// and at most, doubling in between.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long stopping waits for a target that takes nothing.
const STOP: Duration = Duration::from_secs(5);

/// What is logged, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to.
    pub target: Target,
    /// One of how many queries.
    pub every: u32,
    /// The server's name; empty to leave it out.
    pub identity: Vec<u8>,
    /// The server's version; empty to leave it out.
    pub version: Vec<u8>,
}

/// What has become of what was sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages written: one for a request, one for a reply.
    pub written: u64,
    /// Exchanges that could not be written.
    pub lost: u64,
    /// Whether the target takes something now.
    pub connected: bool,
}

/// A query log that is being written. Dropping it ends it as `stop` does.
pub struct Dnstap {
    tap: Tap,
    commands: Option<Sender<Command>>,
    ended: Receiver<()>,
    counts: Arc<SharedCounts>,
}

enum Command {
    Reopen,
}

/// All relaxed: counts, and nothing is read on the strength of them.
#[derive(Default)]
struct SharedCounts {
    written: AtomicU64,
    lost: AtomicU64,
    connected: AtomicBool,
}

impl Dnstap {
    /// Subscribes to the tap and starts to write. Who listens on a socket may come
    /// later; a file must be there now.
    ///
    /// # Errors
    ///
    /// What the kernel says to opening the file, or to starting a thread.
    pub fn start(tap: &Tap, config: Config) -> io::Result<Dnstap> {
        let counts = Arc::<SharedCounts>::default();
        let mut writer = Writer {
            stream: None,
            subscription: tap.subscribe(config.every, ROOM, Behind::Lose)?,
            encoder: Encoder::new(config.identity, config.version),
            target: config.target,
            buffer: Vec::with_capacity(WRITE),
            waiting: Waiting::default(),
            counts: counts.clone(),
            next_try: Instant::now(),
            pause: PAUSES.0,
            told: false,
        };
        if let Target::File(_) = writer.target {
            writer.opened(Stream::open(&writer.target)?);
        }
        let (commands, told) = crossbeam_channel::bounded(1);
        let (end, ended) = crossbeam_channel::bounded(0);
        let thread = thread::Builder::new().name("shardns-dnstap".into());
        thread.spawn(move || {
            writer.run(&told);
            drop(writer);
            // Disconnects who waits for the end.
            drop(end);
        })?;
        Ok(Dnstap {
            tap: tap.clone(),
            commands: Some(commands),
            ended,
            counts,
        })
    }

    /// Ends the stream and begins another: in a new file, if somebody has moved
    /// the old one away, or on a new connection.
    pub fn reopen(&self) {
        if let Some(commands) = &self.commands {
            // Where one waits already, it serves for both.
            let _ = commands.try_send(Command::Reopen);
        }
    }

    /// What has become of what was sampled.
    pub fn counts(&self) -> Counts {
        Counts {
            written: self.counts.written.load(Relaxed),
            lost: self.counts.lost.load(Relaxed),
            connected: self.counts.connected.load(Relaxed),
        }
    }

    /// Writes what has been sampled and ends the stream. Call it when the threads
    /// that answer have stopped. A target that takes nothing is left after five
    /// seconds.
    pub fn stop(mut self) -> Counts {
        self.end();
        self.counts()
    }

    fn end(&mut self) {
        if self.commands.is_none() {
            return;
        }
        self.tap.flush();
        self.commands = None;
        // An error is that it has ended; no time is left to tell of the other.
        let _ = self.ended.recv_timeout(STOP);
    }
}

impl Drop for Dnstap {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the thread owns.
struct Writer {
    target: Target,
    stream: Option<Stream>,
    subscription: Subscription,
    encoder: Encoder,
    buffer: Vec<u8>,
    waiting: Waiting,
    counts: Arc<SharedCounts>,
    next_try: Instant,
    pause: Duration,
    /// It has been said that the target takes nothing.
    told: bool,
}

/// What the buffer holds.
#[derive(Default)]
struct Waiting {
    exchanges: u64,
    frames: u64,
}

impl Writer {
    fn run(&mut self, commands: &Receiver<Command>) {
        let exchanges = self.subscription.receiver().clone();
        let nothing = never();
        loop {
            self.try_again();
            let ready = self.is_ready();
            let from = if ready { &exchanges } else { &nothing };
            let wait = match ready {
                true => PAUSES.1,
                false => self.next_try.saturating_duration_since(Instant::now()),
            };
            select! {
                recv(commands) -> command => match command {
                    Ok(Command::Reopen) => self.reopen(),
                    Err(_) => break,
                },
                recv(from) -> exchange => match exchange {
                    Ok(exchange) => self.take(exchange, &exchanges),
                    Err(_) => break,
                },
                default(wait) => {}
            }
            self.count_lost();
        }
        while self.is_ready()
            && let Ok(exchange) = exchanges.try_recv()
        {
            self.take(exchange, &exchanges);
        }
        self.lose(exchanges.len() as u64);
        self.count_lost();
        self.finish();
    }

    fn is_ready(&self) -> bool {
        self.stream.is_some() && self.next_try <= Instant::now()
    }

    /// Opens the target where it is not open and the time has come.
    fn try_again(&mut self) {
        if self.stream.is_some() || self.next_try > Instant::now() {
            return;
        }
        match Stream::open(&self.target) {
            Ok(stream) => self.opened(stream),
            Err(error) => self.failed(&error),
        }
    }

    fn opened(&mut self, stream: Stream) {
        self.stream = Some(stream);
        self.counts.connected.store(true, Relaxed);
        if self.told {
            info!("dnstap: {} takes messages again", self.target);
        }
        self.told = false;
    }

    /// Writes an exchange, and those that wait behind it.
    fn take(&mut self, first: Arc<Exchange>, rest: &Receiver<Arc<Exchange>>) {
        self.add(&first);
        drop(first);
        while self.buffer.len() < WRITE
            && let Ok(exchange) = rest.try_recv()
        {
            self.add(&exchange);
        }
        self.flush();
    }

    fn add(&mut self, exchange: &Exchange) {
        self.waiting.frames += self.encoder.encode(exchange, &mut self.buffer);
        self.waiting.exchanges += 1;
    }

    fn flush(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let written = stream.write(&self.buffer);
        let waiting = std::mem::take(&mut self.waiting);
        self.buffer.clear();
        match written {
            Ok(()) => {
                self.counts.written.fetch_add(waiting.frames, Relaxed);
                self.counts.connected.store(true, Relaxed);
                self.pause = PAUSES.0;
            }
            Err(error) => {
                if !stream.mend() {
                    self.stream = None;
                }
                self.lose(waiting.exchanges);
                self.failed(&error);
            }
        }
    }

    /// Nothing is tried for a while; told once, until it works again.
    fn failed(&mut self, error: &io::Error) {
        if !self.told {
            warn!("dnstap: {}: {error}; still trying", self.target);
        }
        self.told = true;
        self.counts.connected.store(false, Relaxed);
        self.next_try = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSES.1);
    }

    fn reopen(&mut self) {
        self.finish();
        self.next_try = Instant::now();
        self.pause = PAUSES.0;
    }

    fn finish(&mut self) {
        self.counts.connected.store(false, Relaxed);
        if let Some(Err(error)) = self.stream.take().map(Stream::finish) {
            warn!("dnstap: {}: the end was not taken: {error}", self.target);
        }
    }

    fn lose(&self, exchanges: u64) {
        self.counts.lost.fetch_add(exchanges, Relaxed);
    }

    /// Adds what the tap could not hand over.
    fn count_lost(&mut self) {
        let lost = self.subscription.take_lost();
        self.lose(lost);
    }
}

#[cfg(test)]
mod tests;
