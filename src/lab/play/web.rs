//! The page and what it asks for, over HTTP on loopback: a thread for each
//! connection, one request each. Nobody drives the bench who does not know the token
//! of this run, which other programs of the machine do not, and pages from elsewhere
//! neither: it is in a field of its own, which a page may not send to another origin
//! unasked, and a name that somebody has pointed at this machine is refused by its
//! `Host`.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use crossbeam_channel::{Sender, bounded};
use data_encoding::HEXLOWER;

use super::bench::Shown;
use super::frame::Frames;
use super::{Wish, locked};
use crate::lab::experiments::BESIDE;

/// Connections at one time. Where there is one too many, the oldest is closed of those
/// that have not shown the token: whoever just holds connections locks nobody out.
const CONNECTIONS: usize = 32;
/// Octets of a request, and fields of its header.
const REQUEST: usize = 8 << 10;
const FIELDS: usize = 64;
/// How long a client may take to send its request.
const HASTE: Duration = Duration::from_secs(5);
/// How long a client may take to take what it is sent.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an action waits for those before it, of which none takes as long.
const TURN: Duration = Duration::from_secs(60);
/// Time from frame to frame, thirty a second and a bit.
const FRAME: Duration = Duration::from_millis(32);
/// The field with the token.
const TOKEN_FIELD: &str = "x-shardns-token";

/// What may be read by anybody on the machine: it is in the program.
const PAGES: [(&str, &str, &str); 4] = [
    ("/", "text/html", include_str!("page.html")),
    ("/page.css", "text/css", include_str!("page.css")),
    ("/page.js", "text/javascript", include_str!("page.js")),
    ("/beside.py", "text/plain", BESIDE),
];

/// What every response says: the page takes nothing from elsewhere and is shown
/// nowhere else.
const FIELDS_OF_ALL: &str = "\
    Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Referrer-Policy: no-referrer\r\n\
    Cross-Origin-Resource-Policy: same-origin\r\n\
    Cross-Origin-Opener-Policy: same-origin\r\n\
    Cache-Control: no-store\r\n\
    Connection: close\r\n";

/// The page's server, until it is dropped.
pub struct Web {
    serving: Arc<Serving>,
    thread: Option<JoinHandle<()>>,
}

struct Serving {
    address: SocketAddr,
    token: String,
    shown: Arc<Mutex<Shown>>,
    /// None when it is over.
    wishes: Mutex<Option<Sender<Wish>>>,
    /// Relaxed: nothing is read on the strength of it, nor of the number.
    stop: AtomicBool,
    connections: AtomicUsize,
    /// Those that have not shown the token, the oldest first, by a number each.
    unproven: Mutex<BTreeMap<u64, TcpStream>>,
}

/// What a client wants, as far as it matters.
struct Asked {
    method: String,
    target: String,
    host: String,
    origin: Option<String>,
    token: String,
}

impl Web {
    /// Serves on that port of loopback.
    ///
    /// # Errors
    ///
    /// A port that another has, or no chance to draw a token from.
    pub fn start(port: u16, shown: Arc<Mutex<Shown>>, wishes: Sender<Wish>) -> anyhow::Result<Web> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("cannot listen on 127.0.0.1:{port}; choose another --port"))?;
        let mut token = [0; 16];
        getrandom::fill(&mut token).map_err(io::Error::from)?;
        let serving = Arc::new(Serving {
            address: listener.local_addr()?,
            token: HEXLOWER.encode(&token),
            shown,
            wishes: Mutex::new(Some(wishes)),
            stop: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            unproven: Mutex::default(),
        });
        let accepting = serving.clone();
        let thread = thread::Builder::new().name("play-web".into());
        let thread = thread.spawn(move || accept(&listener, &accepting))?;
        Ok(Web {
            serving,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.serving.address
    }

    /// What a request must have.
    pub fn token(&self) -> &str {
        &self.serving.token
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.serving.stop.store(true, Relaxed);
        *locked(&self.serving.wishes) = None;
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.serving.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, serving: &Arc<Serving>) {
    for (stream, number) in listener.incoming().zip(0..) {
        if serving.stop.load(Relaxed) {
            return;
        }
        let Ok(stream) = stream else {
            // Out of files, mostly: others are closed meanwhile.
            thread::sleep(FRAME);
            continue;
        };
        if serving.connections.fetch_add(1, Relaxed) < CONNECTIONS || serving.make_room() {
            let own = serving.clone();
            let thread = thread::Builder::new().name("play-page".into());
            if let Ok(copy) = stream.try_clone() {
                locked(&serving.unproven).insert(number, copy);
            }
            let started = thread.spawn(move || {
                // A client that is gone is nobody to tell.
                let _ = own.serve(stream, number);
                locked(&own.unproven).remove(&number);
                own.connections.fetch_sub(1, Relaxed);
            });
            if started.is_ok() {
                continue;
            }
            locked(&serving.unproven).remove(&number);
        }
        serving.connections.fetch_sub(1, Relaxed);
    }
}

impl Serving {
    /// Closes the oldest connection that has not shown the token; false where all have.
    fn make_room(&self) -> bool {
        let oldest = locked(&self.unproven).pop_first();
        // Its thread ends by that, if it has not by itself.
        let ends = oldest.map(|(_, stream)| stream.shutdown(Shutdown::Both));
        ends.is_some()
    }

    fn serve(&self, mut stream: TcpStream, number: u64) -> io::Result<()> {
        stream.set_read_timeout(Some(HASTE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let asked = match read(&mut stream)? {
            Some(asked) => asked,
            None => return respond(&mut stream, 400, "text/plain", "This is no request.\n"),
        };
        if !self.is_own(&asked.host) {
            let body = "This page has no other name than 127.0.0.1 and localhost.\n";
            return respond(&mut stream, 421, "text/plain", body);
        }
        let path = asked.target.split('?').next().unwrap_or_default();
        if let Some((_, media, page)) = PAGES.iter().find(|(own, ..)| *own == path) {
            return match asked.method.as_str() {
                "GET" => respond(&mut stream, 200, media, page),
                _ => respond(&mut stream, 405, "text/plain", "It is only to be read.\n"),
            };
        }
        if !self.may_drive(&asked) {
            let body = "Open the address that `shardns lab play` has printed.\n";
            return respond(&mut stream, 403, "text/plain", body);
        }
        locked(&self.unproven).remove(&number);
        match (asked.method.as_str(), path) {
            ("GET", "/frames") => self.stream(&mut stream),
            ("GET", "/counters") => {
                let counters = Frames::of(self.shown.clone()).counted();
                respond(&mut stream, 200, "application/json", &counters)
            }
            ("POST", _) => match asked.target.strip_prefix("/act/") {
                Some(action) => self.act(&mut stream, action),
                None => respond(&mut stream, 404, "text/plain", "There is nothing.\n"),
            },
            _ => respond(&mut stream, 404, "text/plain", "There is nothing.\n"),
        }
    }

    fn is_own(&self, host: &str) -> bool {
        let port = self.address.port();
        [format!("127.0.0.1:{port}"), format!("localhost:{port}")].contains(&host.to_owned())
    }

    /// The token is compared without haste, so that the time tells nothing of it.
    fn may_drive(&self, asked: &Asked) -> bool {
        let own = |origin: &String| *origin == format!("http://{}", asked.host);
        let pairs = self.token.bytes().zip(asked.token.bytes());
        let difference = pairs.fold(0, |all, (own, other)| all | (own ^ other));
        let is_token = self.token.len() == asked.token.len() && difference == 0;
        is_token && asked.origin.as_ref().is_none_or(own)
    }

    fn act(&self, stream: &mut TcpStream, action: &str) -> io::Result<()> {
        let action = match action.parse() {
            Ok(action) => action,
            Err(error) => return respond(stream, 400, "text/plain", &format!("{error:#}\n")),
        };
        let (send, came) = bounded(1);
        let wish = Wish { action, said: send };
        let wishes = locked(&self.wishes).clone();
        let sent = wishes.is_some_and(|wishes| wishes.send_timeout(wish, TURN).is_ok());
        match came.recv() {
            Ok(said) if sent => {
                let said = serde_json::to_string(&said).unwrap_or_default();
                respond(stream, 200, "application/json", &said)
            }
            _ => respond(stream, 503, "text/plain", "The bench is busy, or gone.\n"),
        }
    }

    /// Frames, a line each, for as long as somebody takes them.
    fn stream(&self, stream: &mut TcpStream) -> io::Result<()> {
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n{FIELDS_OF_ALL}\r\n");
        stream.write_all(head.as_bytes())?;
        let mut frames = Frames::of(self.shown.clone());
        let mut due = Instant::now();
        while !self.stop.load(Relaxed) {
            let mut line = frames.frame();
            line.push('\n');
            stream.write_all(line.as_bytes())?;
            // What could not be shown in time is left out.
            due = (due + FRAME).max(Instant::now());
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }
}

/// Reads a request's line and header; `None` of what is none.
fn read(stream: &mut TcpStream) -> io::Result<Option<Asked>> {
    let (start, mut octets, mut chunk) = (Instant::now(), Vec::new(), [0; 1024]);
    loop {
        let length = stream.read(&mut chunk)?;
        octets.extend(&chunk[..length]);
        if length == 0 || octets.len() > REQUEST {
            return Ok(None);
        }
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(&octets) {
            Ok(httparse::Status::Complete(_)) => return Ok(Some(Asked::of(&request))),
            Ok(httparse::Status::Partial) if start.elapsed() <= HASTE => {}
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Ok(None),
        }
    }
}

impl Asked {
    fn of(request: &httparse::Request<'_, '_>) -> Asked {
        let field = |name: &str| {
            let mut fields = request.headers.iter();
            let field = fields.find(|field| field.name.eq_ignore_ascii_case(name))?;
            str::from_utf8(field.value).ok().map(str::to_owned)
        };
        Asked {
            method: request.method.unwrap_or_default().into(),
            target: request.path.unwrap_or_default().into(),
            host: field("host").unwrap_or_default(),
            origin: field("origin"),
            token: field(TOKEN_FIELD).unwrap_or_default(),
        }
    }
}

fn respond(stream: &mut TcpStream, status: u16, media: &str, body: &str) -> io::Result<()> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        421 => "Misdirected Request",
        _ => "Service Unavailable",
    };
    let length = body.len();
    let response = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {media}; charset=utf-8\r\n\
            Content-Length: {length}\r\n{FIELDS_OF_ALL}\r\n{body}"
    );
    stream.write_all(response.as_bytes())
}
