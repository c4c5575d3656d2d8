//! A small HTTP/1.1 server for what is read and never written: one request a
//! connection, on a thread of its own that starts no other and never blocks on a
//! client. What clients can take is limited: connections, octets, time. Where a
//! connection is one too many, the one that has been there longest is closed for
//! it, so that clients that send an octet a second lock nobody out.

mod connection;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use crate::sys::limits;
use connection::{Connection, Next, Times};

/// Connections at one time.
const CONNECTIONS: usize = 16;
/// How long clients may take.
const TIMES: Times = Times {
    request: Duration::from_secs(5),
    response: Duration::from_secs(30),
    close: Duration::from_secs(1),
};
/// How long nothing is accepted after an accept failed for want of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Events taken from the kernel at once.
const EVENTS: usize = 2 * CONNECTIONS;

const LISTENER: Token = Token(0);
const WAKE: Token = Token(1);
const FIRST: usize = 2;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    /// The path, without what follows a `?`.
    pub path: &'r str,
    /// The field `Accept`; empty where there is none.
    pub accept: &'r str,
}

/// What comes back.
#[derive(Clone, Debug)]
pub struct Response {
    status: u16,
    media_type: &'static str,
    body: String,
}

impl Response {
    /// A response of this status and content.
    pub fn of(status: u16, media_type: &'static str, body: String) -> Response {
        Response {
            status,
            media_type,
            body,
        }
    }

    fn fault(status: u16) -> Response {
        let body = format!("{}\n", reason(status));
        Response::of(status, "text/plain; charset=utf-8", body)
    }

    /// What goes over the connection.
    fn octets(self, with_body: bool) -> Vec<u8> {
        let Response {
            status,
            media_type,
            body,
        } = self;
        let allow = match status {
            405 => "Allow: GET, HEAD\r\n",
            _ => "",
        };
        let head = format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n",
            reason(status),
            body.len(),
        );
        let body = if with_body { body } else { String::new() };
        [head.into_bytes(), body.into_bytes()].concat()
    }
}

/// The words behind a status that this server uses.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Bad Request",
    }
}

/// A running server, until it is dropped.
pub struct Http {
    address: SocketAddr,
    listener: std::net::TcpListener,
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Http {
    /// Serves on a listener, which may be another process's too, from a thread of
    /// this name. All requests are answered on it, one after another.
    ///
    /// # Errors
    ///
    /// What the kernel says to the event queue or the thread.
    pub fn start(
        name: &str,
        listener: std::net::TcpListener,
        answer: impl Fn(&Request<'_>) -> Response + Send + 'static,
    ) -> io::Result<Http> {
        Http::start_with(TIMES, name, listener, answer)
    }

    fn start_with(
        times: Times,
        name: &str,
        listener: std::net::TcpListener,
        answer: impl Fn(&Request<'_>) -> Response + Send + 'static,
    ) -> io::Result<Http> {
        listener.set_nonblocking(true)?;
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let mut watched = TcpListener::from_std(listener.try_clone()?);
        poll.registry()
            .register(&mut watched, LISTENER, Interest::READABLE)?;
        let stop = Arc::<AtomicBool>::default();
        let mut serving = Serving {
            poll,
            listener: watched,
            paused_until: None,
            acceptable: false,
            connections: BTreeMap::new(),
            next: FIRST,
            stop: stop.clone(),
            times,
            answer,
        };
        let thread = std::thread::Builder::new().name(name.into());
        Ok(Http {
            address: listener.local_addr()?,
            listener,
            stop,
            waker,
            thread: Some(thread.spawn(move || {
                // Whoever watches wants to know most when the CPUs are busy.
                let _ = limits::take_short_turns();
                serving.run();
            })?),
        })
    }

    /// Where it listens, with the port that the kernel chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A copy of the listener, for another process to adopt.
    ///
    /// # Errors
    ///
    /// What the kernel says, as where no more files may be open.
    pub fn listener(&self) -> io::Result<std::net::TcpListener> {
        self.listener.try_clone()
    }
}

impl Drop for Http {
    /// Ends at once; who is being answered sees the connection end.
    fn drop(&mut self) {
        // Relaxed: nothing is read on the strength of it but itself.
        self.stop.store(true, Relaxed);
        // A waker that fails leaves the loop to its next event.
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The event loop with all that it owns.
struct Serving<A> {
    poll: Poll,
    listener: TcpListener,
    /// There may be somebody to accept.
    acceptable: bool,
    /// While accepting fails: when to try again.
    paused_until: Option<Instant>,
    /// By number, which is also the token, and so in the order that they came.
    connections: BTreeMap<usize, Connection>,
    next: usize,
    stop: Arc<AtomicBool>,
    times: Times,
    answer: A,
}

impl<A: Fn(&Request<'_>) -> Response> Serving<A> {
    fn run(&mut self) {
        let mut events = Events::with_capacity(EVENTS);
        while !self.stop.load(Relaxed) {
            if let Err(error) = self.round(&mut events) {
                tracing::error!("metrics end: waiting for events failed: {error}");
                return;
            }
        }
    }

    fn round(&mut self, events: &mut Events) -> io::Result<()> {
        let patience = self.patience(Instant::now());
        match self.poll.poll(events, patience) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            done => done?,
        }
        for event in events.iter() {
            match event.token() {
                LISTENER => self.acceptable = true,
                Token(number) => self.turn(number),
            }
        }
        let now = Instant::now();
        self.connections
            .retain(|_, connection| now < connection.deadline());
        if self.acceptable && self.paused_until.is_none_or(|until| now >= until) {
            self.paused_until = None;
            self.accept(now);
        }
        Ok(())
    }

    fn patience(&self, now: Instant) -> Option<Duration> {
        let deadlines = self.connections.values().map(Connection::deadline);
        let next = deadlines.chain(self.paused_until).min()?;
        Some(next.saturating_duration_since(now))
    }

    fn accept(&mut self, now: Instant) {
        // Whoever is in hand has a turn between any so many.
        for _ in 0..CONNECTIONS {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream, now),
                Err(error) => match error.kind() {
                    ErrorKind::ConnectionAborted | ErrorKind::Interrupted => {}
                    kind => {
                        self.acceptable = kind != ErrorKind::WouldBlock;
                        self.paused_until = self.acceptable.then_some(now + ACCEPT_PAUSE);
                        return;
                    }
                },
            }
        }
        self.paused_until = Some(now);
    }

    fn admit(&mut self, mut stream: TcpStream, now: Instant) {
        let number = self.next;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        if registry
            .register(&mut stream, Token(number), interest)
            .is_err()
        {
            return;
        }
        self.next += 1;
        if self.connections.len() == CONNECTIONS {
            self.evict();
        }
        let connection = Connection::new(stream, now + self.times.request);
        self.connections.insert(number, connection);
        self.turn(number);
    }

    /// Closes the connection that has been there longest, of those that are not
    /// being answered if there is one.
    fn evict(&mut self) {
        let mut all = self.connections.iter();
        let unanswered = all.find(|(_, one)| !one.is_being_answered());
        let oldest = self.connections.first_key_value();
        if let Some(number) = unanswered.or(oldest).map(|(number, _)| *number) {
            self.connections.remove(&number);
        }
    }

    /// Does what can be done without waiting.
    fn turn(&mut self, number: usize) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        // A connection that broke has nobody to be told about it.
        if !matches!(connection.turn(self.times, &self.answer), Ok(Next::Wait)) {
            self.connections.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::connection::{FIELDS, REQUEST};
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream as Client;

    /// Long enough for any machine; what takes as long has failed.
    const PATIENCE: Duration = Duration::from_secs(20);
    /// More than the kernel holds of a response that nobody reads.
    const LARGE: usize = 16 << 20;

    fn start() -> Http {
        start_with(TIMES)
    }

    fn start_with(times: Times) -> Http {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let answer = |request: &Request<'_>| match request.path {
            "/" => Response::of(200, "text/plain", format!("accept {}", request.accept)),
            "/large" => Response::of(200, "text/plain", "x".repeat(LARGE)),
            _ => Response::fault(404),
        };
        Http::start_with(times, "http-test", listener, answer).unwrap()
    }

    fn connect(server: &Http) -> Client {
        let client = Client::connect(server.address()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    fn read(client: &mut Client) -> String {
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        text
    }

    fn ask(server: &Http, request: &str) -> String {
        let mut client = connect(server);
        client.write_all(request.as_bytes()).unwrap();
        read(&mut client)
    }

    #[test]
    fn requests_get_what_they_deserve() {
        let server = start();
        let host = "Host: localhost\r\n";
        for (request, status) in [
            (format!("GET / HTTP/1.1\r\n{host}\r\n"), "200 OK"),
            ("GET /?a=b HTTP/1.0\r\n\r\n".into(), "200 OK"),
            (format!("GET /no HTTP/1.1\r\n{host}\r\n"), "404 Not Found"),
            (format!("POST / HTTP/1.1\r\n{host}\r\nwords"), "405 Method"),
            ("GET / HTTP/2.0\r\n\r\n".into(), "505 HTTP"),
            ("\x16\x03\x01\x02".into(), "400 Bad"),
            ("GET  HTTP\r\n\r\n".into(), "400 Bad"),
        ] {
            let response = ask(&server, &request);
            let expected = format!("HTTP/1.1 {status}");
            assert!(response.starts_with(&expected), "{request:?}: {response}");
            assert!(response.contains("\r\nConnection: close\r\n"));
        }
        let response = ask(&server, "GET / HTTP/1.1\r\naccept: this\r\n\r\n");
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "accept this");
        assert!(head.contains("\r\nContent-Length: 11\r\n"), "{head}");
        let response = ask(&server, "HEAD / HTTP/1.1\r\naccept: this\r\n\r\n");
        assert_eq!(response, format!("{head}\r\n\r\n"));
    }

    #[test]
    fn a_request_has_a_limit() {
        let server = start();
        let of = |length: usize| {
            let rest = length - "GET / HTTP/1.1\r\na: \r\n\r\n".len();
            format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(rest))
        };
        assert!(ask(&server, &of(REQUEST)).starts_with("HTTP/1.1 200"));
        assert!(ask(&server, &of(REQUEST + 1)).starts_with("HTTP/1.1 431"));
        let fields = |count| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
        assert!(ask(&server, &fields(FIELDS)).starts_with("HTTP/1.1 200"));
        assert!(ask(&server, &fields(FIELDS + 1)).starts_with("HTTP/1.1 431"));
    }

    #[test]
    fn a_request_may_come_in_pieces() {
        let server = start();
        let mut client = connect(&server);
        client.set_nodelay(true).unwrap();
        for octet in b"GET / HTTP/1.1\r\n\r\n" {
            client.write_all(&[*octet]).unwrap();
        }
        assert!(read(&mut client).ends_with("accept "));
    }

    #[test]
    fn the_slow_lock_nobody_out() {
        let server = start();
        let slow = |_| {
            let mut client = connect(&server);
            client.write_all(b"GET /").unwrap();
            client
        };
        let stuck = |_| {
            let mut client = connect(&server);
            client.write_all(b"GET /large HTTP/1.1\r\n\r\n").unwrap();
            // Being answered, and reading no more than this.
            client.read_exact(&mut [0; 8]).unwrap();
            client
        };
        let mut unread: Vec<Client> = (0..CONNECTIONS).map(stuck).collect();
        let mut waiting: Vec<Client> = (0..3 * CONNECTIONS).map(slow).collect();
        for _ in 0..3 {
            let response = ask(&server, "GET / HTTP/1.1\r\n\r\n");
            assert!(response.starts_with("HTTP/1.1 200"));
        }
        // The first who waited has been closed for others.
        assert!(!matches!(waiting[0].read(&mut [0; 8]), Ok(1..)));
        // The last who was stuck still gets everything.
        let rest = read(unread.last_mut().unwrap());
        assert!(rest.len() > LARGE, "{}", rest.len());
    }

    #[test]
    fn a_clients_time_ends_in_every_stage() {
        let short = Duration::from_millis(10);
        let with = |change: fn(&mut Times, Duration)| {
            let mut times = TIMES;
            change(&mut times, short);
            start_with(times)
        };
        // Nobody sends anything, and the connection ends.
        let server = with(|times, short| times.request = short);
        let mut client = connect(&server);
        client.write_all(b"GET /").unwrap();
        assert!(!matches!(client.read(&mut [0; 8]), Ok(1..)));
        // Nobody reads the response to its end until it is too late.
        let server = with(|times, short| times.response = short);
        let mut client = connect(&server);
        client.write_all(b"GET /large HTTP/1.1\r\n\r\n").unwrap();
        let begin = Instant::now();
        while begin.elapsed() < 5 * short {
            client.read_exact(&mut [0]).unwrap();
        }
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest);
        assert!(rest.len() < LARGE);
        // Everything has been said, and the client leaves the connection open.
        let server = with(|times, short| times.close = short);
        let mut client = connect(&server);
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        read(&mut client);
        let begin = Instant::now();
        // Slowly, so that it is not ended for the sake of others.
        while client.write_all(b"m").is_ok() {
            assert!(begin.elapsed() < PATIENCE);
            std::thread::sleep(short / 10);
        }
    }

    #[test]
    fn it_stops_at_once_and_leaves_a_copy_of_its_listener() {
        let server = start();
        let mut waiting = connect(&server);
        assert!(ask(&server, "GET / HTTP/1.1\r\n\r\n").contains("200"));
        let (address, copy) = (server.address(), server.listener().unwrap());
        let begin = Instant::now();
        drop(server);
        assert!(begin.elapsed() < TIMES.request);
        assert!(!matches!(waiting.read(&mut [0; 8]), Ok(1..)));
        let answer = |_: &Request<'_>| Response::of(200, "text/plain", "next".into());
        let server = Http::start("http-test", copy, answer).unwrap();
        assert_eq!(server.address(), address);
        assert!(ask(&server, "GET / HTTP/1.1\r\n\r\n").ends_with("next"));
    }
}
