//! The server in one process: the text cases over real sockets with several
//! workers, what the counters say to it, steering, panics, and stopping.

mod distribution;
mod faults;
mod handed;
mod hostile;
mod limits;
mod rate_limit;
mod replacing;
mod stopping;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use shardns::answer::Via;
use shardns::server::answerer::{Answerer, Responder};
use shardns::server::order::Order;
use shardns::server::{Config, Event, Listen, Server, Sharing, Sockets, tcp};
use shardns::sys::port::Port;
use shardns::sys::proc_net::{Protocol, owners};
use shardns::sys::steer::Steer;
use shardns::zone::Zones;
use support::cases::{self, CaseFile};
use support::{UDP, query, receive, without_server_cookie};

/// Long enough for any machine; what takes as long has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// Replies that a client's socket holds unread, whatever its default buffer.
const QUEUED: u64 = 100;

fn config(addresses: &[&str], workers: usize) -> Config {
    let listen = |address: &&str| Listen {
        address: address.parse().unwrap(),
        required: true,
    };
    Config {
        listen: addresses.iter().map(listen).collect(),
        workers: Some(workers),
        settings: support::settings(),
        ..Config::default()
    }
}

fn client(server: SocketAddr) -> UdpSocket {
    let any = if server.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    };
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Asks on a fresh connection; `None` where the server closes it instead.
fn ask_tcp(server: SocketAddr, request: &[u8]) -> Option<Vec<u8>> {
    ask_on(&mut TcpStream::connect(server).unwrap(), request)
}

/// Asks on a connection; `None` where the server closes it instead.
fn ask_on(stream: &mut TcpStream, request: &[u8]) -> Option<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(&[&(request.len() as u16).to_be_bytes(), request].concat())
        .unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut reply = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut reply).unwrap();
    Some(reply)
}

fn ask_over_udp(file: &CaseFile, server: &Server) -> u64 {
    let mut sent = 0;
    // Nothing says that a datagram is not coming; the next reply on the same
    // flow, which the same worker sends, does.
    let marker = query("marker.invalid", 1);
    for (number, case) in file.cases.iter().enumerate().filter(|(_, case)| !case.tcp) {
        let addresses = server.addresses();
        let socket = client(addresses[number % addresses.len()]);
        socket.send(&case.request).unwrap();
        sent += 1;
        let reply = if case.is_silence() {
            socket.send(&marker).unwrap();
            sent += 1;
            let next = receive(&socket);
            assert_eq!(
                next[12..],
                marker[12..],
                "{}: a reply to what gets none",
                case.title
            );
            None
        } else {
            Some(receive(&socket))
        };
        let place = format!("{}:{}: {}", file.path.display(), case.line, case.title);
        case.check(reply.as_deref())
            .unwrap_or_else(|error| panic!("{place}: {error}"));
        let expected = support::ask(&file.zones, UDP, &case.request);
        let timeless = [reply, expected].map(|reply| reply.map(without_server_cookie));
        assert_eq!(timeless[0], timeless[1], "{place}");
    }
    sent
}

fn ask_over_tcp(file: &CaseFile, server: &Server) -> u64 {
    let mut sent = 0;
    for (number, case) in file.cases.iter().enumerate() {
        let addresses = server.addresses();
        let reply = ask_tcp(addresses[number % addresses.len()], &case.request);
        let place = format!("{}:{}: {}", file.path.display(), case.line, case.title);
        let expected = support::ask(&file.zones, Via::Tcp, &case.request);
        let [timeless, as_expected] =
            [&reply, &expected].map(|reply| reply.clone().map(without_server_cookie));
        assert_eq!(timeless, as_expected, "{place}");
        if case.tcp {
            case.check(reply.as_deref())
                .unwrap_or_else(|error| panic!("{place}: {error}"));
        }
        sent += u64::from(expected.is_some());
    }
    sent
}

#[test]
fn every_case_over_udp_and_tcp_with_several_workers() {
    for (number, file) in cases::all().into_iter().enumerate() {
        let zones = Arc::new(reload(&file));
        let mut config = config(&["127.0.0.1:0", "[::1]:0"], 3);
        // One address is read by waiting on its socket, several by epoll.
        if number % 2 == 0 {
            config.listen.pop();
        }
        config.batch = [1, 2, 32, 128][number % 4];
        let mut server = Server::start(&config, zones).unwrap();
        let over_udp = ask_over_udp(&file, &server);
        let over_tcp = ask_over_tcp(&file, &server);
        server.stop();
        let totals = server.totals();
        let (tcp, workers) = totals.split_last().unwrap();
        assert_eq!(workers.len(), 3);
        assert_eq!(
            workers.iter().map(|worker| worker.received).sum::<u64>(),
            over_udp
        );
        assert_eq!(tcp.answered(), over_tcp);
        for totals in &totals {
            assert_eq!(totals.received, totals.answered() + totals.ignored);
            assert_eq!(
                (totals.panicked, totals.send_failures, totals.drops),
                (0, [0; 4], 0)
            );
        }
    }
}

/// The zones of a file once more, for the server to own.
fn reload(file: &CaseFile) -> Zones {
    Zones::new(file.zones.iter().cloned().collect())
}

/// An answerer that does something before it looks at a batch.
struct After<F> {
    first: F,
    answerer: Answerer,
}

impl<F: FnMut(&[u8]) + Send + 'static> Responder for After<F> {
    fn answer<P: Port>(&mut self, port: &mut P, received: usize) {
        (0..received).for_each(|slot| (self.first)(port.request(slot)));
        self.answerer.answer(port, received);
    }

    fn idle(&mut self) {
        self.answerer.idle();
    }
}

/// Starts a server whose workers do `first` for each request before they answer
/// its batch; that may wait.
fn start_after(config: &Config, first: impl FnMut(&[u8]) + Copy + Send + 'static) -> Server {
    let wrap = |answerer| After { first, answerer };
    Server::start_with(config, Arc::new(support::demo()), wrap).unwrap()
}

/// A gate that holds a responder until the test opens it.
#[derive(Default)]
struct Gate {
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    fn leak() -> &'static Gate {
        Box::leak(Box::default())
    }

    /// Called by the responder: says that it is here, and waits.
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 = true;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |(_, open)| !*open).unwrap());
    }

    /// The same for requests whose id begins with 0xff.
    fn hold(&self, request: &[u8]) {
        if request[0] == 0xff {
            self.pass();
        }
    }

    fn await_arrival(&self) {
        let state = self.state.lock().unwrap();
        drop(
            self.changed
                .wait_while(state, |(arrived, _)| !*arrived)
                .unwrap(),
        );
    }

    fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}
