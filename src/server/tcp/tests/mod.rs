//! What the tests of DNS over TCP share: a server whose loop a test turns by
//! hand, one on a thread of its own, and a client.

mod ends;
mod limits;
mod messages;

use std::net::TcpStream;
use std::path::Path;
use std::sync::LazyLock;
use std::thread::{self, JoinHandle};

use std::io::{Read, Write};
use std::net::Shutdown;

use super::connection::{OUTPUT_LIMIT, PREFIX, READ_CHUNK, READS, first_message};
use super::*;
use crate::answer::MAX_MESSAGE;
use crate::server::counters::{Counters, Totals};
use crate::server::snapshot::{self, Snapshot};
use crate::sys::socket::listen_tcp;
use crate::wire::Rcode;
use crate::zone::Zones;
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
    let loaded = crate::zone::load(Library::Embedded(texts), Path::new("t.zone"), None).unwrap();
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
    orders: Arc<Orders>,
}

fn place(addresses: &[&str], limits: Limits) -> Place {
    let bind = |address: &&str| listen_tcp(address.parse().unwrap()).unwrap();
    let listeners: Vec<_> = addresses.iter().map(bind).collect();
    let addresses = listeners
        .iter()
        .map(|listener| listener.local_addr().unwrap())
        .collect();
    let (counters, orders) = (Arc::<Counters>::default(), Arc::<Orders>::default());
    let (events, _) = crossbeam_channel::bounded(0);
    let answerer = Answerer::new(
        snapshot::fixed(Snapshot {
            zones: ZONES.clone(),
            ..Snapshot::default()
        }),
        counters.clone(),
        (0, None),
        events,
    );
    let built = TcpServer::new(listeners, answerer, limits, orders.clone());
    let (server, waker) = built.unwrap();
    Place {
        server,
        waker,
        addresses,
        counters,
        orders,
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
            let more =
                !server.turns.is_empty() || server.listeners.iter().any(|listener| listener.ready);
            server
                .wait(Some(Duration::from_millis(if more { 0 } else { 100 })))
                .unwrap();
            let now = Instant::now();
            if server.turns.is_empty() && !server.listeners.iter().any(|listener| listener.ready) {
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
    orders: Arc<Orders>,
    thread: Option<JoinHandle<()>>,
}

fn run(addresses: &[&str], limits: Limits) -> Running {
    let mut place = place(addresses, limits);
    let thread = thread::spawn(move || place.server.run());
    Running {
        waker: place.waker,
        addresses: place.addresses,
        counters: place.counters,
        orders: place.orders,
        thread: Some(thread),
    }
}

impl Running {
    fn connect(&self) -> Client {
        Client::connect(self.addresses[0])
    }

    fn stop(&mut self) -> Totals {
        if let Some(thread) = self.thread.take() {
            self.orders.give(Order::Stop);
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
