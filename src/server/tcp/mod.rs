//! DNS over TCP (RFC 7766), on a thread of its own, so that no client can
//! stall a UDP worker. One event loop owns the listeners and the connections;
//! a connection with something to do gets one bounded turn, read a little,
//! answer, write, and goes to the end of the queue. It never blocks on a
//! client, and what clients can take is limited: connections, memory, time.

mod connection;
mod conversation;
mod roster;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use super::answerer::{Answerer, Responder};
use super::order::{Order, Orders};
use crate::sys::{is_out_of_files, limits};
pub use connection::Ends;
use connection::{Connection, Next, Scratch, Turn};
#[doc(hidden)]
pub use conversation::Conversation;
use roster::{Roster, client};

/// Connections accepted from one listener before others have their turns.
const ACCEPTS: usize = 16;
/// How long nothing is accepted after an accept failed for want of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a server that stops goes on sending.
const FLUSH: Duration = Duration::from_millis(200);
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
    scratch: Scratch,
    limits: Limits,
    orders: Arc<Orders>,
}

struct Listener {
    socket: TcpListener,
    /// There may be more to accept.
    ready: bool,
}

impl TcpServer {
    /// A server on these listeners, which must not block, and the waker that
    /// makes its loop look at its orders.
    ///
    /// # Errors
    ///
    /// What the kernel says to the event queue or to watching a listener.
    pub fn new(
        listeners: Vec<std::net::TcpListener>,
        answerer: Answerer,
        limits: Limits,
        orders: Arc<Orders>,
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
            answerer,
            scratch: Scratch::new(),
            limits,
            orders,
        };
        Ok((server, waker))
    }

    /// Serves until there is another order and the waker is rung. To stop is to
    /// answer the requests that have been read, to send what clients take within
    /// 200 ms, and to close everything; to let go is to accept nobody any more and
    /// to serve who is there until they have gone, or are cut off as idle.
    pub fn run(&mut self) {
        self.answerer.counters().begin_thread();
        // Where workers keep all CPUs busy, those who come by TCP, as a flood has them
        // do, wait for no more than a turn.
        let _ = limits::take_short_turns();
        let ended = match self.serve() {
            Ok(Order::LetGo) => self.serve_out(),
            Ok(_) => self.finish(FLUSH),
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::error!("DNS over TCP ends: waiting for events failed: {error}");
        }
        self.note_connections();
        self.answerer.counters().end_thread();
    }

    fn serve(&mut self) -> io::Result<Order> {
        loop {
            match self.orders.current() {
                order if order.is_to_serve() => self.round()?,
                other => return Ok(other),
            }
        }
    }

    /// Closes the listeners, which somebody else has too, and serves those who
    /// are connected, unless there is an order to stop meanwhile.
    fn serve_out(&mut self) -> io::Result<()> {
        self.close_listeners();
        while !self.connections.is_empty() {
            if self.orders.current() == Order::Stop {
                return self.finish(FLUSH);
            }
            self.round()?;
        }
        Ok(())
    }

    /// Waits, and then gives everyone one turn. Connections come before
    /// listeners, so that nobody counts as idle whose request is here.
    fn round(&mut self) -> io::Result<()> {
        self.wait(self.patience(Instant::now()))?;
        self.answerer.idle();
        let now = Instant::now();
        for _ in 0..self.turns.len() {
            self.next_turn(now);
        }
        self.cut_off(now);
        self.accept(now);
        self.note_connections();
        Ok(())
    }

    fn note_connections(&self) {
        let open = self.connections.len();
        self.answerer.counters().connections_open(open);
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
        let turn = connection.turn(&mut self.answerer, &mut self.scratch);
        let Ok(Turn { progress, next }) = turn else {
            return self.close(number);
        };
        match next {
            Next::Close => return self.close(number),
            Next::Again => connection.queue(&mut self.turns),
            Next::Wait => {}
        }
        let before = connection.entry;
        connection.entry.since = if progress { now } else { before.since };
        connection.entry.idle = connection.is_idle();
        self.roster.change(before, connection.entry);
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
            self.answerer.counters().connection_refused();
            return;
        }
        // Replies are written whole: holding back a last, short segment for
        // more to come only delays it. Not worth a connection if it fails.
        let _ = stream.set_nodelay(true);
        self.answerer.counters().connection();
        self.next_number += 1;
        let local = stream.local_addr().unwrap_or(peer);
        let mut connection = Connection::new(stream, Ends { peer, local }, client, number, now);
        // The first request often comes with the handshake's last segment.
        connection.queue(&mut self.turns);
        self.roster.enter(connection.entry);
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
            self.answerer.counters().connection_refused();
            self.close(number);
        }
        number.is_some()
    }

    fn close(&mut self, number: usize) {
        if let Some(connection) = self.connections.remove(&number) {
            self.roster.leave(connection.entry);
        }
    }

    /// Closes the listeners. Somebody else may have them too, and then they would
    /// go on waking this loop.
    fn close_listeners(&mut self) {
        for mut listener in self.listeners.drain(..) {
            let _ = self.poll.registry().deregister(&mut listener.socket);
        }
    }

    /// Takes no more connections and no more requests; closes what is idle, and
    /// the rest when what has been read is answered and sent.
    fn finish(&mut self, limit: Duration) -> io::Result<()> {
        self.close_listeners();
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
