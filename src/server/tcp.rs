//! DNS over TCP (RFC 7766), on a thread of its own, so that no client can
//! stall a UDP worker. One event loop owns the listeners and the connections;
//! a connection with something to do gets one bounded turn, read a little,
//! answer, write, and goes to the end of the queue. It never blocks on a
//! client, and what clients can take is limited: connections, memory, time.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use super::counters::Counters;
use super::panics;
use crate::answer::{self, MAX_MESSAGE, Outcome, Request, Settings, Via};
use crate::sys::is_out_of_files;
use crate::wire::{Cursor, LookupName};
use crate::zone::Zones;

/// Octets that say how long the message behind them is (RFC 1035 §4.2.2).
const PREFIX: usize = 2;
/// Octets that one read takes: some 400 pipelined queries.
const READ_CHUNK: usize = 16 << 10;
/// Reads in a turn. The second one mostly finds that there is no more, which
/// edge-triggered readiness needs to be told.
const READS: usize = 2;
/// Unsent octets from which on nothing more is answered, and so nothing more
/// is read. With the reply that passes it a connection holds twice this.
const OUTPUT_LIMIT: usize = 64 << 10;
/// Connections accepted from one listener before others have their turns.
const ACCEPTS: usize = 16;
/// How long nothing is accepted after an accept failed for want of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a server that stops goes on sending.
const FLUSH: Duration = Duration::from_millis(200);
/// A connection that has got nowhere for so long gives way to a new one where
/// there are too many and none is idle: otherwise whoever opens them all, and
/// sends an octet on each, locks everyone else out.
const STALLED: Duration = Duration::from_secs(1);
/// Events taken from the kernel at once.
const EVENTS: usize = 256;

const WAKE: Token = Token(usize::MAX);

/// Limits that keep clients from taking everything. Where a connection is one
/// too many, the one that has been idle longest is closed for it; while none
/// is idle, the new one is turned away.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections in all; 1024 unless said otherwise.
    pub connections: usize,
    /// Connections of one client: an IPv4 address, or an IPv6 /64, any address
    /// of which a single host can give itself (RFC 4291 §2.5.1); 64 unless
    /// said otherwise.
    pub per_client: usize,
    /// How long a connection may stay without progress, which is a complete
    /// request or reply octets that the kernel took; 10 s unless said otherwise.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 1024,
            per_client: 64,
            idle: Duration::from_secs(10),
        }
    }
}

/// The event loop with all that it owns.
pub struct TcpServer {
    poll: Poll,
    events: Events,
    listeners: Vec<Listener>,
    /// While accepting fails: when to try again.
    paused_until: Option<Instant>,
    /// By number, which is also the token. Numbers follow those of the
    /// listeners and are never used again, so that an event that comes late
    /// meets nobody.
    connections: HashMap<usize, Connection>,
    next_number: usize,
    /// The connections whose turn it is, each once.
    turns: VecDeque<usize>,
    roster: Roster,
    answerer: Answerer,
    chunk: Box<[u8]>,
    limits: Limits,
    stop: Arc<AtomicBool>,
}

struct Listener {
    socket: TcpListener,
    /// There may be more to accept.
    ready: bool,
}

impl TcpServer {
    /// A server on these listeners, which must not block, and the waker that
    /// makes its loop look at `stop`.
    ///
    /// # Errors
    ///
    /// What the kernel says to the event queue or to watching a listener.
    pub fn new(
        listeners: Vec<std::net::TcpListener>,
        zones: Arc<Zones>,
        settings: Arc<Settings>,
        limits: Limits,
        counters: Arc<Counters>,
        stop: Arc<AtomicBool>,
    ) -> io::Result<(TcpServer, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let mut watched = Vec::with_capacity(listeners.len());
        for (number, listener) in listeners.into_iter().enumerate() {
            let mut socket = TcpListener::from_std(listener);
            poll.registry()
                .register(&mut socket, Token(number), Interest::READABLE)?;
            watched.push(Listener {
                socket,
                ready: false,
            });
        }
        let server = TcpServer {
            poll,
            events: Events::with_capacity(EVENTS),
            next_number: watched.len(),
            listeners: watched,
            paused_until: None,
            connections: HashMap::new(),
            turns: VecDeque::new(),
            roster: Roster::default(),
            answerer: Answerer {
                zones,
                settings,
                counters,
                name: LookupName::new(),
                reply: vec![0; PREFIX + MAX_MESSAGE].into(),
            },
            chunk: vec![0; READ_CHUNK].into(),
            limits,
            stop,
        };
        Ok((server, waker))
    }

    /// Serves until `stop` is set and the waker is rung; then answers the
    /// requests that have been read, sends what clients take within 200 ms,
    /// and closes everything.
    pub fn run(&mut self) {
        let ended = self.serve().and_then(|()| self.finish(FLUSH));
        if let Err(error) = ended {
            tracing::error!("DNS over TCP ends: waiting for events failed: {error}");
        }
    }

    fn serve(&mut self) -> io::Result<()> {
        // Relaxed: set once by the control thread, which then rings; nothing
        // else is read on the strength of it.
        while !self.stop.load(Ordering::Relaxed) {
            self.round()?;
        }
        Ok(())
    }

    /// Waits, and then gives everyone one turn. Connections come before
    /// listeners, so that nobody counts as idle whose request is here.
    fn round(&mut self) -> io::Result<()> {
        self.wait(self.patience(Instant::now()))?;
        let now = Instant::now();
        for _ in 0..self.turns.len() {
            self.next_turn(now);
        }
        self.cut_off(now);
        self.accept(now);
        Ok(())
    }

    /// How long to wait for events; `None` where only an event is of interest.
    fn patience(&self, now: Instant) -> Option<Duration> {
        let turn = (!self.turns.is_empty()).then_some(now);
        let accept = self.listeners.iter().any(|listener| listener.ready);
        let accept = accept.then(|| self.paused_until.unwrap_or(now));
        let cut_off = self
            .roster
            .oldest()
            .and_then(|(since, _)| since.checked_add(self.limits.idle));
        let next = [turn, accept, cut_off].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(now))
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            done => done?,
        }
        for event in &self.events {
            let Token(number) = event.token();
            if let Some(listener) = self.listeners.get_mut(number) {
                listener.ready = true;
            } else if let Some(connection) = self.connections.get_mut(&number) {
                connection.note(event);
                connection.queue(&mut self.turns);
            }
        }
        Ok(())
    }

    fn next_turn(&mut self, now: Instant) {
        let Some(number) = self.turns.pop_front() else {
            return;
        };
        // It may have been closed while it was queued.
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        connection.queued = false;
        // A connection that broke has nobody to be told about it.
        let turn = connection.turn(&mut self.answerer, &mut self.chunk);
        let Ok(Turn { progress, next }) = turn else {
            return self.close(number);
        };
        match next {
            Next::Close => return self.close(number),
            Next::Again => connection.queue(&mut self.turns),
            Next::Wait => {}
        }
        let before = connection.standing;
        connection.standing.since = if progress { now } else { before.since };
        connection.standing.idle = connection.is_idle();
        self.roster.change(before, connection.standing);
    }

    /// Closes the connections that have made no progress for too long.
    fn cut_off(&mut self, now: Instant) {
        while let Some((since, number)) = self.roster.oldest()
            && now.saturating_duration_since(since) >= self.limits.idle
        {
            self.close(number);
        }
    }

    fn accept(&mut self, now: Instant) {
        if self.paused_until.is_some_and(|until| now < until) {
            return;
        }
        for index in 0..self.listeners.len() {
            if self.listeners[index].ready {
                self.accept_from(index, now);
            }
        }
    }

    fn accept_from(&mut self, index: usize, now: Instant) {
        for _ in 0..ACCEPTS {
            let error = match self.listeners[index].socket.accept() {
                Ok((stream, peer)) => {
                    self.paused_until = None;
                    self.admit(stream, peer, now);
                    continue;
                }
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::WouldBlock => {
                    self.listeners[index].ready = false;
                    self.paused_until = None;
                    return;
                }
                // The client gave up before it was its turn.
                ErrorKind::ConnectionAborted | ErrorKind::Interrupted => {}
                // The kernel takes a descriptor before it looks whether anyone
                // waits, so this may close one for nobody.
                _ if is_out_of_files(&error) && self.evict(self.roster.idlest()) => {}
                _ => return self.pause(&error, now),
            }
        }
    }

    /// Accepting again at once would fail again and keep the core busy. It is
    /// logged once, until an accept succeeds.
    fn pause(&mut self, error: &io::Error, now: Instant) {
        if self.paused_until.is_none() {
            tracing::warn!("DNS over TCP: cannot accept connections: {error}; still trying");
        }
        self.paused_until = Some(now + ACCEPT_PAUSE);
    }

    fn admit(&mut self, mut stream: TcpStream, peer: SocketAddr, now: Instant) {
        let number = self.next_number;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let client = client(peer.ip());
        if !self.make_room(client)
            || self
                .poll
                .registry()
                .register(&mut stream, Token(number), interest)
                .is_err()
        {
            self.answerer.counters.connection_refused();
            return;
        }
        // Replies are written whole: holding back a last, short segment for
        // more to come only delays it. Not worth a connection if it fails.
        let _ = stream.set_nodelay(true);
        self.answerer.counters.connection();
        self.next_number += 1;
        let local = stream.local_addr().map_or(peer.ip(), |local| local.ip());
        let mut connection = Connection::new(stream, Ends { peer, local }, client, number, now);
        // The first request often comes with the handshake's last segment.
        connection.queue(&mut self.turns);
        self.roster.enter(connection.standing);
        self.connections.insert(number, connection);
    }

    /// True where one more connection of this client is within the limits, if
    /// need be after closing the one that has been idle longest (RFC 7766
    /// §6.2.2 and §6.2.3): of the client's own where it is at its own limit.
    fn make_room(&mut self, client: IpAddr) -> bool {
        if self.roster.connections_of(client) >= self.limits.per_client
            && !self.evict(self.roster.idlest_of(client))
        {
            return false;
        }
        self.connections.len() < self.limits.connections
            || self.evict(self.roster.idlest())
            || self.evict(self.roster.stalled())
    }

    /// Closes a connection for the sake of another; false where there is none.
    fn evict(&mut self, number: Option<usize>) -> bool {
        if let Some(number) = number {
            self.answerer.counters.connection_refused();
            self.close(number);
        }
        number.is_some()
    }

    fn close(&mut self, number: usize) {
        if let Some(connection) = self.connections.remove(&number) {
            self.roster.leave(connection.standing);
        }
    }

    /// Takes no more connections and no more requests; closes what is idle, and
    /// the rest when what has been read is answered and sent.
    fn finish(&mut self, limit: Duration) -> io::Result<()> {
        self.listeners.clear();
        self.connections
            .retain(|_, connection| !connection.is_idle());
        for connection in self.connections.values_mut() {
            connection.discard();
            connection.queue(&mut self.turns);
        }
        let mut now = Instant::now();
        let end = now + limit;
        while !self.connections.is_empty() && now < end {
            if self.turns.is_empty() {
                self.wait(Some(end - now))?;
            }
            self.next_turn(now);
            now = Instant::now();
        }
        self.connections.clear();
        self.roster = Roster::default();
        Ok(())
    }
}

/// What counts as one client, see `Limits::per_client`.
fn client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// Who is connected, in the order of the last progress. Every connection is
/// in `all`; the idle ones are also in `idle` and in their client's `idle`.
#[derive(Default)]
struct Roster {
    all: BTreeSet<(Instant, usize)>,
    idle: BTreeSet<(Instant, usize)>,
    clients: HashMap<IpAddr, Client>,
}

#[derive(Default)]
struct Client {
    connections: usize,
    idle: BTreeSet<(Instant, usize)>,
}

/// Where a connection stands in the roster.
#[derive(Clone, Copy, PartialEq)]
struct Standing {
    number: usize,
    client: IpAddr,
    /// Its last progress.
    since: Instant,
    /// Nothing of it is under way, so that it can be closed.
    idle: bool,
}

impl Roster {
    fn oldest(&self) -> Option<(Instant, usize)> {
        self.all.first().copied()
    }

    /// The connection that has got nowhere for longest, if that is long enough
    /// to give its place to somebody else.
    fn stalled(&self) -> Option<usize> {
        let (since, number) = self.oldest()?;
        (since.elapsed() >= STALLED).then_some(number)
    }

    fn idlest(&self) -> Option<usize> {
        self.idle.first().map(|&(_, number)| number)
    }

    fn idlest_of(&self, client: IpAddr) -> Option<usize> {
        self.clients
            .get(&client)?
            .idle
            .first()
            .map(|&(_, number)| number)
    }

    fn connections_of(&self, client: IpAddr) -> usize {
        self.clients
            .get(&client)
            .map_or(0, |client| client.connections)
    }

    fn enter(&mut self, standing: Standing) {
        self.clients.entry(standing.client).or_default().connections += 1;
        self.add(standing);
    }

    fn leave(&mut self, standing: Standing) {
        self.remove(standing);
        if let Some(client) = self.clients.get_mut(&standing.client) {
            client.connections -= 1;
            if client.connections == 0 {
                self.clients.remove(&standing.client);
            }
        }
    }

    fn change(&mut self, before: Standing, after: Standing) {
        if before != after {
            self.remove(before);
            self.add(after);
        }
    }

    fn add(&mut self, standing: Standing) {
        let entry = (standing.since, standing.number);
        self.all.insert(entry);
        if standing.idle {
            self.idle.insert(entry);
            if let Some(client) = self.clients.get_mut(&standing.client) {
                client.idle.insert(entry);
            }
        }
    }

    fn remove(&mut self, standing: Standing) {
        let entry = (standing.since, standing.number);
        self.all.remove(&entry);
        if standing.idle {
            self.idle.remove(&entry);
            if let Some(client) = self.clients.get_mut(&standing.client) {
                client.idle.remove(&entry);
            }
        }
    }
}

/// The two ends of a connection.
#[derive(Clone, Copy)]
struct Ends {
    peer: SocketAddr,
    local: IpAddr,
}

struct Connection {
    stream: TcpStream,
    ends: Ends,
    /// Read and not answered: less than a message and what a turn reads.
    input: Vec<u8>,
    /// Answered and not sent: less than `OUTPUT_LIMIT` and a reply.
    output: Vec<u8>,
    intake: Intake,
    /// What the last event or call said of the socket. An edge-triggered event
    /// does not come again, so these hold until a call would block.
    readable: bool,
    writable: bool,
    /// It is in the queue for a turn.
    queued: bool,
    standing: Standing,
}

/// What becomes of what the client sends.
#[derive(Clone, Copy, PartialEq)]
enum Intake {
    /// Requests are answered.
    Open,
    /// It is thrown away until the client ends its side. Closing with octets
    /// unread would reset the connection, and replies on their way be lost.
    Discarded {
        /// All is sent, and our side is ended.
        told: bool,
    },
    /// There is no more: the client has ended its side.
    Ended,
}

/// What a turn has led to.
struct Turn {
    /// The client has sent a whole request, or has taken some of the replies.
    progress: bool,
    next: Next,
}

enum Next {
    /// There is nothing to do before the next event.
    Wait,
    /// There is more to do.
    Again,
    /// It is done with.
    Close,
}

impl Connection {
    fn new(
        stream: TcpStream,
        ends: Ends,
        client: IpAddr,
        number: usize,
        now: Instant,
    ) -> Connection {
        Connection {
            stream,
            ends,
            input: Vec::new(),
            output: Vec::new(),
            intake: Intake::Open,
            readable: true,
            writable: true,
            queued: false,
            standing: Standing {
                number,
                client,
                since: now,
                idle: false,
            },
        }
    }

    fn note(&mut self, event: &Event) {
        // Closed or broken shows as what reading or writing returns.
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
    }

    fn queue(&mut self, turns: &mut VecDeque<usize>) {
        if !self.queued {
            self.queued = true;
            turns.push_back(self.standing.number);
        }
    }

    /// Reads and answers some, then sends it: one write for all the requests
    /// that came together (RFC 7766 §6.2.1.1).
    fn turn(&mut self, answerer: &mut Answerer, chunk: &mut [u8]) -> io::Result<Turn> {
        if self.wants_input() {
            self.read(chunk)?;
        }
        let answered = self.answer(answerer);
        let sent = self.send()?;
        // Once only: every call raises another event.
        if self.intake == (Intake::Discarded { told: false })
            && self.output.is_empty()
            && !self.has_request()
        {
            self.stream.shutdown(Shutdown::Write)?;
            self.intake = Intake::Discarded { told: true };
        }
        for buffer in [&mut self.input, &mut self.output] {
            if buffer.is_empty() {
                *buffer = Vec::new();
            }
        }
        Ok(Turn {
            progress: answered || sent,
            next: self.next(),
        })
    }

    /// True where octets can be read, will be of use, and there is room for
    /// the replies to them.
    fn wants_input(&self) -> bool {
        self.readable && self.intake != Intake::Ended && self.has_room() && !self.has_request()
    }

    fn has_room(&self) -> bool {
        self.output.len() < OUTPUT_LIMIT
    }

    fn has_request(&self) -> bool {
        first_message(&self.input).is_some()
    }

    fn is_idle(&self) -> bool {
        self.input.is_empty() && self.output.is_empty() && !self.queued
    }

    fn read(&mut self, chunk: &mut [u8]) -> io::Result<()> {
        for _ in 0..READS {
            match self.stream.read(chunk) {
                Ok(0) => {
                    self.intake = Intake::Ended;
                    return Ok(());
                }
                Ok(length) if self.intake == Intake::Open => {
                    self.input.extend_from_slice(&chunk[..length])
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Answers requests in their order while there is room for the replies.
    /// True where there was one.
    fn answer(&mut self, answerer: &mut Answerer) -> bool {
        let mut taken = 0;
        while self.has_room()
            && let Some(request) = first_message(&self.input[taken..])
        {
            taken += PREFIX + request.len();
            if !answerer.answer(request, self.ends, &mut self.output) {
                taken = self.input.len();
                self.discard();
            }
        }
        self.input.drain(..taken);
        taken > 0
    }

    /// Takes no more requests, and lets the connection end.
    fn discard(&mut self) {
        if self.intake == Intake::Open {
            self.intake = Intake::Discarded { told: false };
        }
    }

    /// Writes until all is sent or the kernel takes no more. True where it
    /// took something.
    fn send(&mut self) -> io::Result<bool> {
        let mut sent = false;
        while self.writable && !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => {
                    self.output.drain(..length);
                    sent = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    fn next(&self) -> Next {
        let readable = self.readable && self.intake != Intake::Ended;
        if self.has_room() && (readable || self.has_request()) {
            Next::Again
        } else if self.intake == Intake::Ended && self.output.is_empty() {
            Next::Close
        } else {
            Next::Wait
        }
    }
}

/// The first message of `input`, without its prefix, where all of it is there.
fn first_message(input: &[u8]) -> Option<&[u8]> {
    let mut rest = Cursor::new(input);
    let length = rest.u16()?;
    rest.take(length.into())
}

/// What answering needs, shared by all connections.
struct Answerer {
    zones: Arc<Zones>,
    settings: Arc<Settings>,
    counters: Arc<Counters>,
    name: LookupName,
    /// Room for a reply and its prefix.
    reply: Box<[u8]>,
}

impl Answerer {
    /// Appends the reply to `output`. False where there is none, because this
    /// is no client that we understand, or because the answering code broke.
    fn answer(&mut self, octets: &[u8], ends: Ends, output: &mut Vec<u8>) -> bool {
        self.counters.request();
        let (prefix, reply) = self.reply.split_at_mut(PREFIX);
        let request = Request {
            octets,
            peer: ends.peer,
            local: ends.local,
            via: Via::Tcp,
            // A clock before 1970 is a clock that nobody has set.
            now: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        };
        // What a panic leaves behind is good for the next request: the name is
        // set and the reply is written anew.
        let caught = panics::catch(|| {
            answer::respond(&self.zones, &self.settings, &request, &mut self.name, reply)
        });
        let outcome = match caught {
            Ok(outcome) => outcome,
            Err((message, backtrace)) => {
                self.counters.panicked();
                tracing::error!(
                    "dropped a request over TCP and its connection: {message}\n{backtrace}"
                );
                return false;
            }
        };
        self.counters.outcome(outcome);
        match outcome {
            Outcome::Ignored => false,
            Outcome::Replied { length, .. } => {
                prefix.copy_from_slice(&(length as u16).to_be_bytes());
                output.extend_from_slice(&self.reply[..PREFIX + length]);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::path::Path;
    use std::sync::LazyLock;
    use std::thread::{self, JoinHandle};

    use super::*;
    use crate::server::counters::Totals;
    use crate::sys::socket::listen_tcp;
    use crate::wire::Rcode;
    use crate::zone::text::Library;

    const LOCAL: &str = "127.0.0.1:0";
    const PATIENT: Duration = Duration::from_secs(60);

    /// `h.example.` has an address, and TXT records that fill a message of
    /// 65,535 octets are at `big.example.`: header and question take 29, 244
    /// records 268 each, the last one 103, and OPT 11.
    static ZONES: LazyLock<Arc<Zones>> = LazyLock::new(|| {
        let mut text =
            "$ORIGIN example.\n$TTL 60\n@ SOA ns hm 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\nh A 192.0.2.7\n".to_owned();
        for record in 0..245 {
            let length = if record < 244 { 255 } else { 90 };
            text += &format!("big TXT \"{record:0length$}\"\n");
        }
        let texts = Box::leak(Box::new([("t.zone", &*text.leak())]));
        let loaded =
            crate::zone::load(Library::Embedded(texts), Path::new("t.zone"), None).unwrap();
        Arc::new(Zones::new(vec![
            loaded.zone.unwrap_or_else(|| panic!("{:?}", loaded.faults)),
        ]))
    });

    /// A server, and what is needed to talk to it.
    struct Place {
        server: TcpServer,
        waker: Waker,
        addresses: Vec<SocketAddr>,
        counters: Arc<Counters>,
        stop: Arc<AtomicBool>,
    }

    fn place(addresses: &[&str], limits: Limits) -> Place {
        let bind = |address: &&str| listen_tcp(address.parse().unwrap()).unwrap();
        let listeners: Vec<_> = addresses.iter().map(bind).collect();
        let addresses = listeners
            .iter()
            .map(|listener| listener.local_addr().unwrap())
            .collect();
        let (counters, stop) = (Arc::<Counters>::default(), Arc::<AtomicBool>::default());
        let settings = Arc::default();
        let built = TcpServer::new(
            listeners,
            ZONES.clone(),
            settings,
            limits,
            counters.clone(),
            stop.clone(),
        );
        let (server, waker) = built.unwrap();
        Place {
            server,
            waker,
            addresses,
            counters,
            stop,
        }
    }

    impl Place {
        fn connect(&self) -> Client {
            Client::connect(self.addresses[0])
        }

        /// Lets the loop run until nothing has happened for a while.
        fn settle(&mut self) {
            let server = &mut self.server;
            for _ in 0..100_000 {
                let more = !server.turns.is_empty()
                    || server.listeners.iter().any(|listener| listener.ready);
                server
                    .wait(Some(Duration::from_millis(if more { 0 } else { 100 })))
                    .unwrap();
                let now = Instant::now();
                if server.turns.is_empty()
                    && !server.listeners.iter().any(|listener| listener.ready)
                {
                    return;
                }
                for _ in 0..server.turns.len() {
                    server.next_turn(now);
                    server.assert_bounds();
                }
                server.accept(now);
            }
            panic!("the loop spins");
        }
    }

    impl TcpServer {
        fn assert_bounds(&self) {
            for connection in self.connections.values() {
                let message = PREFIX + MAX_MESSAGE;
                assert!(connection.input.len() < message + READS * READ_CHUNK);
                assert!(connection.output.len() < OUTPUT_LIMIT + message);
                // A growing vector takes at most twice of what it needs.
                assert!(connection.input.capacity() < 2 * (message + READS * READ_CHUNK));
                assert!(connection.output.capacity() < 2 * (OUTPUT_LIMIT + message));
            }
        }
    }

    /// A server on its thread; stopped when dropped.
    struct Running {
        waker: Waker,
        addresses: Vec<SocketAddr>,
        counters: Arc<Counters>,
        stop: Arc<AtomicBool>,
        thread: Option<JoinHandle<()>>,
    }

    fn run(addresses: &[&str], limits: Limits) -> Running {
        let mut place = place(addresses, limits);
        let thread = thread::spawn(move || place.server.run());
        Running {
            waker: place.waker,
            addresses: place.addresses,
            counters: place.counters,
            stop: place.stop,
            thread: Some(thread),
        }
    }

    impl Running {
        fn connect(&self) -> Client {
            Client::connect(self.addresses[0])
        }

        fn stop(&mut self) -> Totals {
            if let Some(thread) = self.thread.take() {
                self.stop.store(true, Ordering::Relaxed);
                self.waker.wake().unwrap();
                thread.join().unwrap();
            }
            self.counters.read()
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            self.stop();
        }
    }

    struct Client(TcpStream);

    impl Client {
        fn connect(address: SocketAddr) -> Client {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENT)).unwrap();
            stream.set_nodelay(true).unwrap();
            Client(stream)
        }

        fn send(&mut self, octets: &[u8]) {
            self.0.write_all(octets).unwrap();
        }

        /// The next reply; `None` where the connection is closed or reset.
        fn receive(&mut self) -> Option<Vec<u8>> {
            let mut prefix = [0; PREFIX];
            match self.0.read(&mut prefix[..1]) {
                Ok(0) => return None,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                read => assert_eq!(read.unwrap(), 1),
            }
            self.0.read_exact(&mut prefix[1..]).unwrap();
            let mut message = vec![0; u16::from_be_bytes(prefix).into()];
            self.0.read_exact(&mut message).unwrap();
            Some(message)
        }

        /// True where a query is answered.
        fn ask(&mut self, id: u16) -> bool {
            let sent = self.0.write_all(&query(id, "h"));
            sent.is_ok() && self.receive().is_some_and(|reply| id_of(&reply) == id)
        }

        /// Takes replies until the end, which must have these IDs.
        fn expect(&mut self, ids: impl IntoIterator<Item = u16>) {
            for id in ids {
                assert_eq!(self.receive().map(|reply| id_of(&reply)), Some(id));
            }
            assert_eq!(self.receive(), None);
        }
    }

    /// A query with its prefix for a name in `example.`: `h` for its address,
    /// `big` for its TXT records, with EDNS.
    fn query(id: u16, label: &str) -> Vec<u8> {
        let (rtype, opt): (u8, &[u8]) = match label {
            "h" => (1, b""),
            _ => (16, b"\0\0\x29\x04\xd0\0\0\0\0\0\0"),
        };
        let mut message = id.to_be_bytes().to_vec();
        message.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(!opt.is_empty())]);
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
        message.extend(b"\x07example\0");
        message.extend([0, rtype, 0, 1]);
        message.extend(opt);
        framed(&message)
    }

    fn queries(count: u16, label: &str) -> Vec<u8> {
        (0..count).flat_map(|id| query(id, label)).collect()
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut framed = (message.len() as u16).to_be_bytes().to_vec();
        framed.extend(message);
        framed
    }

    fn id_of(reply: &[u8]) -> u16 {
        u16::from_be_bytes([reply[0], reply[1]])
    }

    fn rcode_of(reply: &[u8]) -> u16 {
        u16::from(reply[3] & 15)
    }

    #[test]
    fn a_message_is_there_or_not() {
        assert_eq!(first_message(b""), None);
        assert_eq!(first_message(b"\0"), None);
        assert_eq!(first_message(b"\0\x02a"), None);
        assert_eq!(first_message(b"\0\x02ab"), Some(&b"ab"[..]));
        assert_eq!(first_message(b"\0\x02abc"), Some(&b"ab"[..]));
        assert_eq!(first_message(b"\0\0abc"), Some(&b""[..]));
    }

    #[test]
    fn clients_are_addresses_or_networks_of_64_bits() {
        let same =
            |one: &str, two: &str| client(one.parse().unwrap()) == client(two.parse().unwrap());
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(same("2001:db8::1", "2001:db8::ffff:0:0:2"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
    }

    #[test]
    fn a_message_may_come_octet_by_octet() {
        let mut place = place(&[LOCAL], Limits::default());
        let mut client = place.connect();
        let length = query(0, "h").len();
        for (sent, octet) in queries(2, "h").into_iter().enumerate() {
            client.send(&[octet]);
            let partial = |server: &TcpServer| {
                server
                    .connections
                    .values()
                    .next()
                    .map(|held| held.input.len())
            };
            while partial(&place.server) != Some((sent + 1) % length) {
                place.server.round().unwrap();
            }
            assert_eq!(place.counters.read().received, ((sent + 1) / length) as u64);
        }
        drop(place);
        client.expect(0..2);
    }

    #[test]
    fn messages_may_be_cut_anywhere() {
        let mut running = run(&[LOCAL], Limits::default());
        let octets = queries(3, "h");
        for cut in 1..octets.len() {
            let mut client = running.connect();
            client.send(&octets[..cut]);
            // Replies to what is whole show that the server has read this far.
            let whole = cut / (octets.len() / 3);
            for id in 0..whole as u16 {
                assert_eq!(id_of(&client.receive().unwrap()), id);
            }
            client.send(&octets[cut..]);
            client.0.shutdown(Shutdown::Write).unwrap();
            client.expect(whole as u16..3);
        }
        let totals = running.stop();
        assert_eq!(totals.received, 3 * (octets.len() as u64 - 1));
        assert_eq!(totals.with_rcode(Rcode::NoError), totals.received);
    }

    #[test]
    fn a_thousand_queries_in_one_write() {
        let mut running = run(&[LOCAL], Limits::default());
        let mut client = running.connect();
        client.send(&queries(1000, "h"));
        for id in 0..1000 {
            assert_eq!(client.receive().map(|reply| id_of(&reply)), Some(id));
        }
        assert!(client.ask(1));
        assert_eq!(running.stop().received, 1001);
    }

    #[test]
    fn requests_read_together_are_answered_in_one_write() {
        let mut place = place(&[LOCAL], Limits::default());
        place.settle();
        let mut client = place.connect();
        place.settle();
        client.send(&queries(100, "h"));
        place.server.wait(Some(PATIENT)).unwrap();
        place.server.next_turn(Instant::now());
        // One turn sends everything, and one read finds it.
        let mut replies = vec![0; 1 << 16];
        let length = client.0.read(&mut replies).unwrap();
        assert_eq!(length, 100 * (query(0, "h").len() + 16));
    }

    #[test]
    fn the_longest_reply_and_the_longest_request() {
        let running = run(&[LOCAL], Limits::default());
        let mut client = running.connect();
        client.send(&query(7, "big"));
        let reply = client.receive().unwrap();
        assert_eq!(
            (id_of(&reply), rcode_of(&reply), reply.len()),
            (7, 0, MAX_MESSAGE)
        );
        assert_eq!(reply[2] & 2, 0, "TC is not set");
        // Octets behind the question are no query (RFC 9619), but an answer is due.
        let mut message = query(8, "h")[PREFIX..].to_vec();
        message.resize(MAX_MESSAGE, 0);
        client.send(&framed(&message));
        let reply = client.receive().unwrap();
        assert_eq!((id_of(&reply), rcode_of(&reply)), (8, 1));
        assert!(client.ask(9));
    }

    #[test]
    fn replies_that_are_not_read_stop_the_reading() {
        let count = 2500;
        let mut place = place(&[LOCAL], Limits::default());
        let mut client = place.connect();
        client.send(&queries(count, "big"));
        place.settle();
        let connection = place.server.connections.values().next().unwrap();
        assert!(connection.output.len() >= OUTPUT_LIMIT && !connection.is_idle());
        assert!(place.counters.read().received < count.into());
        let reader = thread::spawn(move || {
            client.0.shutdown(Shutdown::Write).unwrap();
            for id in 0..count {
                let reply = client.receive().unwrap();
                assert_eq!((id_of(&reply), reply.len()), (id, MAX_MESSAGE));
            }
            assert_eq!(client.receive(), None);
        });
        while !place.server.connections.is_empty() {
            place.server.round().unwrap();
            place.server.assert_bounds();
        }
        reader.join().unwrap();
        assert_eq!(place.counters.read().received, u64::from(count));
    }

    #[test]
    fn an_idle_connection_holds_no_buffer() {
        let mut place = place(&[LOCAL], Limits::default());
        let mut client = place.connect();
        client.send(&queries(500, "h"));
        place.settle();
        for connection in place.server.connections.values() {
            assert!(connection.is_idle() && connection.standing.idle);
            assert_eq!(
                (connection.input.capacity(), connection.output.capacity()),
                (0, 0)
            );
        }
        assert_eq!(place.server.roster.idle.len(), 1);
    }

    #[test]
    fn a_connection_without_progress_is_cut_off() {
        let idle = Duration::from_millis(150);
        let running = run(
            &[LOCAL],
            Limits {
                idle,
                ..Limits::default()
            },
        );
        let mut client = running.connect();
        assert!(client.ask(1));
        let start = Instant::now();
        assert_eq!(client.receive(), None);
        assert!(start.elapsed() + Duration::from_millis(50) > idle);
        assert_eq!(running.counters.read().connections_refused, 0);
    }

    #[test]
    fn a_trickle_is_no_progress() {
        let idle = Duration::from_millis(150);
        let running = run(
            &[LOCAL],
            Limits {
                idle,
                ..Limits::default()
            },
        );
        let mut client = running.connect();
        let start = Instant::now();
        // The timeout paces the octets: a message that would take minutes.
        client
            .0
            .set_read_timeout(Some(Duration::from_millis(10)))
            .unwrap();
        client.send(&[255, 255]);
        let end = loop {
            match client.0.read(&mut [0]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                end => break end,
            }
            if client.0.write_all(&[0]).is_err() {
                break Ok(0);
            }
            assert!(start.elapsed() < PATIENT, "still connected");
        };
        assert!(matches!(end, Ok(0)) || end.is_err());
        assert!(start.elapsed() + Duration::from_millis(50) > idle);
    }

    #[test]
    fn a_client_that_reads_nothing_is_cut_off() {
        let idle = Duration::from_millis(150);
        let mut running = run(
            &[LOCAL],
            Limits {
                idle,
                ..Limits::default()
            },
        );
        let mut client = running.connect();
        client.0.set_write_timeout(Some(PATIENT)).unwrap();
        let start = Instant::now();
        let batch = queries(1000, "big");
        let broken = loop {
            if let Err(error) = client.0.write_all(&batch) {
                break error;
            }
        };
        assert!(
            start.elapsed() < PATIENT && broken.kind() != ErrorKind::WouldBlock,
            "{broken}"
        );
        assert!(running.connect().ask(1));
        running.stop();
    }

    #[test]
    fn the_longest_idle_connection_makes_room() {
        let limits = Limits {
            connections: 3,
            idle: PATIENT,
            ..Limits::default()
        };
        let mut running = run(&[LOCAL], limits);
        let mut clients: Vec<Client> = (0..3).map(|_| running.connect()).collect();
        for order in [0, 1, 2, 0] {
            assert!(clients[order].ask(1));
        }
        let mut fourth = running.connect();
        assert!(fourth.ask(2));
        assert_eq!(clients[1].receive(), None);
        let mut fifth = running.connect();
        assert!(fifth.ask(3));
        assert_eq!(clients[2].receive(), None);
        assert!(clients[0].ask(4) && fourth.ask(4) && fifth.ask(4));
        let totals = running.stop();
        assert_eq!((totals.connections, totals.connections_refused), (5, 2));
    }

    #[test]
    fn a_client_over_its_limit_loses_its_own_connection() {
        if std::net::TcpListener::bind("[::1]:0").is_err() {
            eprintln!("skipped: the second client needs IPv6");
            return;
        }
        let limits = Limits {
            connections: 4,
            per_client: 2,
            idle: PATIENT,
        };
        let mut running = run(&[LOCAL, "[::1]:0"], limits);
        let mut other = Client::connect(running.addresses[1]);
        assert!(other.ask(1));
        let mut first = running.connect();
        assert!(first.ask(1));
        let mut second = running.connect();
        assert!(second.ask(1));
        let mut third = running.connect();
        assert!(third.ask(1));
        assert_eq!(first.receive(), None);
        assert!(other.ask(2) && second.ask(2) && third.ask(2));
        drop((second, third));
        // A client that has gone is not counted any more.
        let mut later = running.connect();
        assert!(later.ask(3) && other.ask(3));
        let totals = running.stop();
        assert_eq!((totals.connections, totals.connections_refused), (5, 1));
    }

    #[test]
    fn nobody_who_is_busy_makes_room() {
        let mut place = place(
            &[LOCAL],
            Limits {
                connections: 1,
                ..Limits::default()
            },
        );
        let mut first = place.connect();
        first.send(&query(1, "h")[..5]);
        place.settle();
        let mut second = place.connect();
        place.settle();
        assert_eq!(second.receive(), None);
        first.send(&query(1, "h")[5..]);
        place.settle();
        assert_eq!(id_of(&first.receive().unwrap()), 1);
        let totals = place.counters.read();
        assert_eq!((totals.connections, totals.connections_refused), (1, 1));
    }

    #[test]
    fn limits_of_zero_turn_everyone_away() {
        for (connections, per_client) in [(0, 64), (64, 0)] {
            let mut running = run(
                &[LOCAL],
                Limits {
                    connections,
                    per_client,
                    ..Limits::default()
                },
            );
            assert_eq!(running.connect().receive(), None);
            assert_eq!(running.stop().connections_refused, 1);
        }
    }

    #[test]
    fn the_roster_forgets_who_leaves() {
        let mut place = place(&[LOCAL], Limits::default());
        let clients: Vec<Client> = (0..40).map(|_| place.connect()).collect();
        place.settle();
        assert_eq!(
            (
                place.server.connections.len(),
                place.server.roster.all.len()
            ),
            (40, 40)
        );
        drop(clients);
        place.settle();
        let roster = &place.server.roster;
        assert!(place.server.connections.is_empty());
        assert!(roster.all.is_empty() && roster.idle.is_empty() && roster.clients.is_empty());
    }

    #[test]
    fn a_client_may_end_its_side_first() {
        let mut running = run(
            &[LOCAL],
            Limits {
                idle: PATIENT,
                ..Limits::default()
            },
        );
        let mut client = running.connect();
        // Far more than the sockets hold, and a message that stays incomplete.
        client.send(&queries(500, "big"));
        client.send(&[0, 12, 0]);
        client.0.shutdown(Shutdown::Write).unwrap();
        client.expect(0..500);
        let mut silent = running.connect();
        silent.0.shutdown(Shutdown::Write).unwrap();
        silent.expect([]);
        assert_eq!(running.stop().received, 500);
    }

    #[test]
    fn what_is_no_request_ends_the_connection() {
        let mut running = run(
            &[LOCAL],
            Limits {
                idle: PATIENT,
                ..Limits::default()
            },
        );
        let mut response = query(2, "h");
        response[PREFIX + 2] |= 0x80;
        for garbage in [framed(b""), framed(b"\0"), framed(b"\0\x01"), response] {
            let mut client = running.connect();
            client.send(&[query(1, "h"), garbage, query(3, "h")].concat());
            client.expect([1]);
        }
        let totals = running.stop();
        assert_eq!((totals.received, totals.ignored), (8, 4));
    }

    #[test]
    fn replies_before_garbage_survive_what_comes_behind_it() {
        let running = run(
            &[LOCAL],
            Limits {
                idle: PATIENT,
                ..Limits::default()
            },
        );
        let mut client = running.connect();
        let mut sender = client.0.try_clone().unwrap();
        let flood = thread::spawn(move || {
            sender.write_all(&queries(300, "big")).unwrap();
            sender.write_all(&framed(b"")).unwrap();
            sender.write_all(&vec![0xff; 4 << 20]).unwrap();
        });
        client.expect(0..300);
        flood.join().unwrap();
    }

    #[test]
    fn what_cannot_be_parsed_is_answered() {
        let running = run(&[LOCAL], Limits::default());
        let mut client = running.connect();
        for message in [
            &b"\0\x07\0"[..],
            b"\0\x07\0\0\0",
            b"\0\x07\0\0\0\x01\0\0\0\0\0\0\xff",
        ] {
            client.send(&framed(message));
            let reply = client.receive().unwrap();
            assert_eq!((id_of(&reply), rcode_of(&reply), reply.len()), (7, 1, 12));
        }
        assert!(client.ask(1));
    }

    #[test]
    fn a_reset_costs_nobody_else() {
        let mut running = run(&[LOCAL], Limits::default());
        let mut other = running.connect();
        for _ in 0..20 {
            let mut client = running.connect();
            client.send(&queries(100, "big"));
            client.receive().unwrap();
            // Closing with octets unread resets the connection.
            drop(client);
            assert!(other.ask(1));
        }
        running.stop();
    }

    #[test]
    fn a_busy_client_starves_nobody() {
        let running = run(
            &[LOCAL],
            Limits {
                idle: PATIENT,
                ..Limits::default()
            },
        );
        let busy = running.connect();
        let (mut sender, mut receiver) = (busy.0.try_clone().unwrap(), busy.0.try_clone().unwrap());
        let batch = queries(1000, "h");
        let sending = thread::spawn(move || while sender.write_all(&batch).is_ok() {});
        let receiving = thread::spawn(move || {
            while receiver
                .read(&mut [0; 1 << 16])
                .is_ok_and(|length| length > 0)
            {}
        });
        let mut other = running.connect();
        for id in 0..200 {
            assert!(other.ask(id));
        }
        busy.0.shutdown(Shutdown::Both).unwrap();
        sending.join().unwrap();
        receiving.join().unwrap();
    }

    #[test]
    fn a_panic_costs_its_connection_only() {
        let mut place = place(&[LOCAL], Limits::default());
        // Room for a bare header: enough for FORMERR, and no more.
        place.server.answerer.reply = vec![0; PREFIX + 12].into();
        let mut client = place.connect();
        let broken = framed(b"\0\x07\0");
        client.send(&[broken.clone(), query(1, "h"), broken.clone()].concat());
        let mut other = place.connect();
        place.settle();
        client.expect([7]);
        other.send(&broken);
        place.settle();
        assert_eq!(id_of(&other.receive().unwrap()), 7);
        let totals = place.counters.read();
        assert_eq!(
            (totals.received, totals.panicked, totals.answered()),
            (3, 1, 2)
        );
    }

    #[test]
    fn a_stop_answers_what_was_read() {
        let mut place = place(&[LOCAL], Limits::default());
        let mut client = place.connect();
        client.send(&queries(1000, "big"));
        place.settle();
        let mut idle = place.connect();
        place.settle();
        let connection = place
            .server
            .connections
            .values()
            .find(|connection| !connection.is_idle())
            .unwrap();
        let unanswered = connection.input.len() / query(0, "big").len();
        let read = place.counters.read().received + unanswered as u64;
        let reader = thread::spawn(move || {
            let mut replies = 0;
            while let Some(reply) = client.receive() {
                assert_eq!((id_of(&reply), reply.len()), (replies, MAX_MESSAGE));
                replies += 1;
            }
            replies
        });
        place.server.finish(PATIENT).unwrap();
        assert_eq!(idle.receive(), None);
        assert_eq!(
            (
                u64::from(reader.join().unwrap()),
                place.counters.read().received
            ),
            (read, read)
        );
    }

    #[test]
    fn a_stop_waits_for_nobody_for_long() {
        let mut running = run(
            &[LOCAL],
            Limits {
                idle: PATIENT,
                ..Limits::default()
            },
        );
        let mut silent = running.connect();
        assert!(silent.ask(1));
        let mut deaf = running.connect();
        deaf.send(&queries(1000, "big"));
        deaf.receive().unwrap();
        let start = Instant::now();
        running.stop();
        assert!(start.elapsed() < Duration::from_secs(5));
        assert_eq!(silent.receive(), None);
        // Listening has ended as well.
        assert!(TcpStream::connect(running.addresses[0]).is_err());
    }
}
