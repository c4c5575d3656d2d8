//! The server in one process: the text cases over real sockets with several
//! workers, what the counters say to it, steering, panics, and stopping.

mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
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
use support::{UDP, query};

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

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut reply = vec![0; 65_535];
    let length = socket.recv(&mut reply).expect("a reply");
    reply.truncate(length);
    reply
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
        assert_eq!(
            reply,
            support::ask(&file.zones, UDP, &case.request),
            "{place}"
        );
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
        assert_eq!(reply, expected, "{place}");
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

#[test]
fn many_flows_reach_every_worker_and_none_is_lost() {
    let mut server =
        Server::start(&config(&["127.0.0.1:0"], 4), Arc::new(support::demo())).unwrap();
    let address = server.addresses()[0];
    let clients: Vec<UdpSocket> = (0..64).map(|_| client(address)).collect();
    let request = query("worker.server", 16);
    let request = [&request[..request.len() - 1], &[3]].concat();
    let mut workers = BTreeSet::new();
    for _ in 0..20 {
        for client in &clients {
            client.send(&request).unwrap();
        }
        for client in &clients {
            let reply = receive(client);
            let text = String::from_utf8_lossy(&reply).into_owned();
            let worker = text
                .split("worker=")
                .nth(1)
                .and_then(|rest| rest.chars().next())
                .unwrap();
            assert!(text.contains("batch=") && text.contains("cpu="), "{text}");
            workers.insert(worker);
        }
    }
    assert_eq!(
        workers.len(),
        4,
        "64 flows leave a socket of four without any once in 10^8 times"
    );
    server.stop();
    let totals = server.totals();
    assert_eq!(
        totals.iter().map(|totals| totals.received).sum::<u64>(),
        64 * 20
    );
    assert!(totals[..4].iter().all(|totals| totals.received > 0));
    for totals in &totals[..4] {
        let batches: u64 = totals.batches.iter().sum();
        assert!(batches > 0 && batches <= totals.received);
    }
}

#[test]
fn one_flow_stays_with_one_worker() {
    let server = Server::start(&config(&["127.0.0.1:0"], 4), Arc::new(support::demo())).unwrap();
    let socket = client(server.addresses()[0]);
    for _ in 0..50 {
        socket.send(&query("www.example.com", 1)).unwrap();
        receive(&socket);
    }
    let received: Vec<u64> = server
        .totals()
        .iter()
        .map(|totals| totals.received)
        .filter(|&n| n > 0)
        .collect();
    assert_eq!(received, [50]);
}

#[test]
fn steering_by_query_id_spreads_one_flow_by_its_ids() {
    let mut config = config(&["127.0.0.1:0", "[::1]:0"], 3);
    config.steer = Some(Steer::QueryId);
    let mut server = Server::start(&config, Arc::new(support::demo())).unwrap();
    for address in server.addresses() {
        let socket = client(address);
        for id in 0..90u16 {
            let mut request = query("www.example.com", 1);
            request[..2].copy_from_slice(&id.to_be_bytes());
            socket.send(&request).unwrap();
            receive(&socket);
        }
    }
    server.stop();
    let received: Vec<u64> = server.totals()[..3]
        .iter()
        .map(|totals| totals.received)
        .collect();
    assert_eq!(received, [60, 60, 60]);
}

#[test]
fn steering_at_random_and_by_cpu_loses_nothing() {
    for steer in [Steer::Random, Steer::Cpu] {
        let mut config = config(&["127.0.0.1:0"], 3);
        config.steer = Some(steer);
        let mut server = Server::start(&config, Arc::new(support::demo())).unwrap();
        let socket = client(server.addresses()[0]);
        for _ in 0..200 {
            socket.send(&query("www.example.com", 1)).unwrap();
            receive(&socket);
        }
        server.stop();
        let received: Vec<u64> = server.totals()[..3]
            .iter()
            .map(|totals| totals.received)
            .collect();
        assert_eq!(received.iter().sum::<u64>(), 200);
        if steer == Steer::Random {
            // The chance that one of three sockets gets none is 3 (2/3)^200.
            assert!(received.iter().all(|&count| count > 0), "{received:?}");
        }
    }
}

#[test]
fn a_shared_socket_is_read_by_all_workers() {
    for addresses in [&["127.0.0.1:0"][..], &["127.0.0.1:0", "[::1]:0"]] {
        let mut config = config(addresses, 3);
        config.sharing = Sharing::Shared;
        let mut server = Server::start(&config, Arc::new(support::demo())).unwrap();
        for address in server.addresses() {
            let socket = client(address);
            for _ in 0..100 {
                socket.send(&query("www.example.com", 1)).unwrap();
                receive(&socket);
            }
        }
        server.stop();
        let received: u64 = server.totals().iter().map(|totals| totals.received).sum();
        assert_eq!(received, 100 * addresses.len() as u64);
    }
}

#[test]
fn a_wildcard_socket_answers_from_the_address_that_was_asked() {
    let server = Server::start(&config(&["0.0.0.0:0"], 2), Arc::new(support::demo())).unwrap();
    let port = server.addresses()[0].port();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for host in ["127.0.0.1", "127.0.0.2", "127.1.2.3"] {
        let asked: SocketAddr = format!("{host}:{port}").parse().unwrap();
        socket.send_to(&query("www.example.com", 1), asked).unwrap();
        let (_, from) = socket.recv_from(&mut [0; 512]).unwrap();
        assert_eq!(from, asked);
    }
}

/// An answerer that does something before it looks at a batch.
struct After<F> {
    first: F,
    answerer: Answerer,
}

impl<F: FnMut(&Port, usize) + Send + 'static> Responder for After<F> {
    fn answer(&mut self, port: &mut Port, received: usize) {
        (self.first)(port, received);
        self.answerer.answer(port, received);
    }
}

/// Starts a server whose workers do `first` for each request before they answer
/// its batch; that may wait.
fn start_after(config: &Config, first: impl FnMut(&[u8]) + Copy + Send + 'static) -> Server {
    let each = move |port: &Port, received: usize| {
        let mut first = first;
        (0..received).for_each(|slot| first(port.request(slot)));
    };
    let wrap = |answerer| After {
        first: each,
        answerer,
    };
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

/// A configuration under which every reply with a question in it breaks: there
/// is no room for more than a header, and so FORMERR alone is answered.
fn breaking(workers: usize) -> Config {
    let mut config = config(&["127.0.0.1:0"], workers);
    config.settings.edns_size = 12;
    config
}

/// A request that is answered all the same: it ends before its question.
fn answerable(id: u8) -> [u8; 12] {
    [id, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
}

#[test]
fn a_panic_costs_one_request_and_is_told() {
    let gate = Gate::leak();
    let mut server = start_after(&breaking(1), move |request| gate.hold(request));
    let socket = client(server.addresses()[0]);
    // While the first is held, the others queue up and become one batch.
    socket.send(&answerable(0xff)).unwrap();
    gate.await_arrival();
    for first in [1, 0xee, 2, 0xee, 3] {
        match first {
            0xee => socket.send(&query("www.example.com", 1)),
            _ => socket.send(&answerable(first)),
        }
        .unwrap();
    }
    gate.open();
    let replies: Vec<u8> = (0..4).map(|_| receive(&socket)[0]).collect();
    assert_eq!(replies, [0xff, 1, 2, 3]);
    for _ in 0..2 {
        let Ok(Event::Panicked {
            thread,
            message,
            backtrace,
        }) = server.events().recv_timeout(PATIENCE)
        else {
            panic!("the panic was not told");
        };
        assert_eq!(thread, "shardns-0");
        assert!(message.contains("reply.rs"), "{message}");
        assert!(backtrace.contains("respond"), "{backtrace}");
    }
    socket.send(&answerable(4)).unwrap();
    assert_eq!(receive(&socket)[0], 4);
    server.stop();
    let totals = server.totals()[0];
    assert_eq!(
        (totals.received, totals.answered(), totals.panicked),
        (7, 5, 2)
    );
}

#[test]
fn a_worker_that_breaks_does_not_stop_the_others() {
    let server = Server::start(&breaking(3), Arc::new(support::demo())).unwrap();
    let clients: Vec<UdpSocket> = (0..32).map(|_| client(server.addresses()[0])).collect();
    for round in 0..10 {
        let breaks = |number: usize| (number + round).is_multiple_of(5);
        for (number, client) in clients.iter().enumerate() {
            match breaks(number) {
                true => client.send(&query("www.example.com", 1)),
                false => client.send(&answerable(1)),
            }
            .unwrap();
            client.send(&answerable(2)).unwrap();
        }
        for (number, client) in clients.iter().enumerate() {
            if !breaks(number) {
                assert_eq!(receive(client)[0], 1);
            }
            assert_eq!(receive(client)[0], 2);
        }
    }
}

#[test]
fn a_stop_answers_what_is_queued() {
    for addresses in [&["127.0.0.1:0"][..], &["127.0.0.1:0", "[::1]:0"]] {
        let gate = Gate::leak();
        let mut server = start_after(&config(addresses, 1), move |request| gate.hold(request));
        let sockets: Vec<UdpSocket> = server.addresses().into_iter().map(client).collect();
        let mut request = query("www.example.com", 1);
        request[0] = 0xff;
        sockets[0].send(&request).unwrap();
        gate.await_arrival();
        request[0] = 1;
        for _ in 0..QUEUED {
            for socket in &sockets {
                socket.send(&request).unwrap();
            }
        }
        let stopping = std::thread::spawn(move || {
            server.stop();
            server
        });
        gate.open();
        for socket in &sockets {
            (0..QUEUED).for_each(|_| drop(receive(socket)));
        }
        receive(&sockets[0]);
        let server = stopping.join().unwrap();
        assert_eq!(
            server.totals()[0].answered(),
            QUEUED * sockets.len() as u64 + 1
        );
    }
}

/// What is queued when a server lets go belongs to the one that has adopted its
/// sockets: no flow moves, nothing is lost, and nothing is answered twice.
#[test]
fn sockets_that_are_handed_over_keep_their_queues() {
    for addresses in [&["127.0.0.1:0"][..], &["127.0.0.1:0", "[::1]:0"]] {
        let gate = Gate::leak();
        let mut old = start_after(&config(addresses, 1), move |request| gate.hold(request));
        let sockets: Vec<UdpSocket> = old.addresses().into_iter().map(client).collect();
        let mut connected = TcpStream::connect(old.addresses()[0]).unwrap();
        let mut request = query("www.example.com", 1);
        ask_on(&mut connected, &request).unwrap();
        request[0] = 0xff;
        sockets[0].send(&request).unwrap();
        gate.await_arrival();
        request[0] = 1;
        for _ in 0..QUEUED {
            for socket in &sockets {
                socket.send(&request).unwrap();
            }
        }
        let handed = old.hand_over().unwrap();
        old.give(Order::LetGo);
        gate.open();
        let letting_go = std::thread::spawn(move || {
            old.let_go();
            old
        });
        // The connection is served to its end, though its server has no listener.
        ask_on(&mut connected, &request).unwrap();
        drop(connected);
        let old = letting_go.join().unwrap();
        let mut new = Server::adopt(&config(&[], 7), Arc::new(support::demo()), handed).unwrap();
        assert_eq!(new.addresses(), old.addresses());
        for socket in &sockets {
            (0..QUEUED).for_each(|_| drop(receive(socket)));
        }
        receive(&sockets[0]);
        assert!(ask_tcp(new.addresses()[0], &request).is_some());
        new.stop();
        let answered = |server: &Server| server.totals()[0].answered();
        assert_eq!(
            answered(&old) + answered(&new),
            QUEUED * sockets.len() as u64 + 1
        );
        assert!(answered(&new) > 0, "nothing was left to the successor");
        assert!(TcpStream::connect(old.addresses()[0]).is_err());
    }
}

#[test]
fn only_sockets_are_adopted() {
    let adopt = |sockets: Sockets| {
        Server::adopt(&config(&[], 1), Arc::default(), sockets)
            .err()
            .map(|error| error.to_string())
    };
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let none = adopt(Sockets::default()).unwrap();
    assert!(none.contains("there is no socket among them"), "{none}");
    let mixed = adopt(Sockets {
        groups: vec![vec![udp.try_clone().unwrap().into()]],
        listeners: vec![udp.into()],
    });
    let mixed = mixed.unwrap();
    assert!(mixed.contains("a descriptor of another kind"), "{mixed}");
}

/// A socket that outlives its worker would take datagrams that nobody reads.
#[test]
fn a_stopped_worker_closes_its_socket_though_another_is_busy() {
    let gate = Gate::leak();
    let config = config(&["127.0.0.1:0"], 3);
    let mut server = start_after(&config, move |request| gate.hold(request));
    let address = server.addresses()[0];
    let open = || owners(Protocol::Udp, address).len();
    assert_eq!(open(), 3);
    let mut request = query("www.example.com", 1);
    request[0] = 0xff;
    let held = client(address);
    held.send(&request).unwrap();
    gate.await_arrival();
    let stopping = std::thread::spawn(move || server.stop());
    let started = Instant::now();
    while open() > 1 {
        assert!(started.elapsed() < PATIENCE, "sockets stay open unread");
        std::thread::yield_now();
    }
    gate.open();
    receive(&held);
    stopping.join().unwrap();
    assert_eq!(open(), 0);
}

#[test]
fn a_stopped_server_has_closed_the_socket_that_its_workers_shared() {
    let mut config = config(&["127.0.0.1:0"], 3);
    config.sharing = Sharing::Shared;
    let mut server = Server::start(&config, Arc::new(support::demo())).unwrap();
    let address = server.addresses()[0];
    assert_eq!(owners(Protocol::Udp, address).len(), 1);
    server.stop();
    assert_eq!(owners(Protocol::Udp, address).len(), 0);
}

#[test]
fn a_small_receive_buffer_drops_and_the_drops_are_counted() {
    let gate = Gate::leak();
    let mut config = config(&["127.0.0.1:0"], 1);
    config.receive_buffer = 4096;
    let mut server = start_after(&config, |_| gate.pass());
    let socket = client(server.addresses()[0]);
    socket.send(b"1").unwrap();
    gate.await_arrival();
    for _ in 0..1000 {
        socket.send(b"2").unwrap();
    }
    assert!(server.totals()[0].drops > 0);
    gate.open();
    server.stop();
    let totals = server.totals()[0];
    assert_eq!(totals.received + totals.drops, 1001);
    assert_eq!(totals.ignored, totals.received);
}

#[test]
fn port_zero_without_tcp_and_with_every_batch_width() {
    for batch in [1, 7, 128] {
        let mut config = config(&["127.0.0.1:0"], 2);
        config.batch = batch;
        config.tcp = None;
        let server = Server::start(&config, Arc::new(support::demo())).unwrap();
        let socket = client(server.addresses()[0]);
        for _ in 0..QUEUED {
            socket.send(&query("www.example.com", 1)).unwrap();
        }
        (0..QUEUED).for_each(|_| drop(receive(&socket)));
        assert!(TcpStream::connect(server.addresses()[0]).is_err());
    }
}

#[test]
fn limits_of_tcp_are_those_of_the_configuration() {
    let mut config = config(&["127.0.0.1:0"], 1);
    config.tcp = Some(tcp::Limits {
        connections: 2,
        per_client: 2,
        idle: PATIENCE,
    });
    let server = Server::start(&config, Arc::new(support::demo())).unwrap();
    let address = server.addresses()[0];
    let request = query("www.example.com", 1);
    let framed = [&(request.len() as u16).to_be_bytes()[..], &request].concat();
    let connect = || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&framed).unwrap();
        let mut reply = [0; 2];
        stream.read_exact(&mut reply).unwrap();
        stream
            .read_exact(&mut vec![0; u16::from_be_bytes(reply).into()])
            .unwrap();
        stream
    };
    let mut first = connect();
    let mut second = connect();
    let _third = connect();
    // The one that has been idle longest has made room.
    assert_eq!(first.read(&mut [0; 1]).unwrap_or(0), 0);
    second.write_all(&framed).unwrap();
    assert_eq!(second.read(&mut [0; 2]).unwrap(), 2);
}

#[test]
fn a_flooded_address_starves_no_other() {
    let mut server = Server::start(
        &config(&["127.0.0.1:0", "[::1]:0"], 1),
        Arc::new(support::demo()),
    )
    .unwrap();
    let addresses = server.addresses();
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flood = {
        let (socket, over) = (client(addresses[0]), over.clone());
        std::thread::spawn(move || {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                // A full socket is what the flood is for.
                let _ = socket.send(&query("www.example.com", 1));
            }
        })
    };
    let socket = client(addresses[1]);
    for _ in 0..20 {
        socket.send(&query("www.example.com", 1)).unwrap();
        receive(&socket);
    }
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    flood.join().unwrap();
    server.stop();
}

#[test]
fn a_datagram_that_is_cut_off_is_not_taken_for_a_whole_one() {
    let server = Server::start(&config(&["127.0.0.1:0"], 1), Arc::new(support::demo())).unwrap();
    let socket = client(server.addresses()[0]);
    // A good query as long as the buffer, and one octet more that is too many.
    let mut request = query("www.example.com", 1);
    request[11] = 1;
    let padding = 1232 - request.len() - 11;
    request.extend([0, 0, 41, 4, 208, 0, 0, 0, 0]);
    request.extend((padding as u16).to_be_bytes());
    request.extend([0xfd, 0xe9]);
    request.extend((padding as u16 - 4).to_be_bytes());
    request.extend(vec![0; padding - 4]);
    assert_eq!(request.len(), 1232);
    socket.send(&request).unwrap();
    assert_eq!(receive(&socket)[3] & 15, 0);
    request.push(0);
    socket.send(&request).unwrap();
    let reply = receive(&socket);
    assert_eq!((reply.len(), reply[3] & 15), (12, 1));
}

#[test]
fn connections_that_get_nowhere_give_way_to_new_ones() {
    let mut config = config(&["127.0.0.1:0"], 1);
    config.tcp = Some(tcp::Limits {
        connections: 4,
        per_client: 8,
        idle: PATIENCE,
    });
    let server = Server::start(&config, Arc::new(support::demo())).unwrap();
    let address = server.addresses()[0];
    let stalled: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&[0]).unwrap();
            stream
        })
        .collect();
    // Refused at first, served as soon as the others have stalled long enough.
    let request = query("www.example.com", 1);
    let framed = [&(request.len() as u16).to_be_bytes()[..], &request].concat();
    let started = Instant::now();
    let served = || {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&framed).ok()?;
        stream.read_exact(&mut [0; 2]).ok()
    };
    while served().is_none() {
        assert!(started.elapsed() < PATIENCE / 2, "still locked out");
    }
    drop(stalled);
}

#[test]
fn a_stop_under_a_flood_answers_what_is_queued_elsewhere() {
    let gate = Gate::leak();
    let config = config(&["127.0.0.1:0", "[::1]:0"], 1);
    let mut server = start_after(&config, move |request| gate.hold(request));
    let addresses = server.addresses();
    let (flooded, quiet) = (client(addresses[0]), client(addresses[1]));
    let mut request = query("www.example.com", 1);
    request[0] = 0xff;
    flooded.send(&request).unwrap();
    gate.await_arrival();
    request[0] = 1;
    for _ in 0..QUEUED {
        quiet.send(&request).unwrap();
    }
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flood = {
        let (over, request) = (over.clone(), request.clone());
        std::thread::spawn(move || {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                // A full socket is what the flood is for.
                let _ = flooded.send(&request);
            }
        })
    };
    let stopping = std::thread::spawn(move || server.stop());
    gate.open();
    (0..QUEUED).for_each(|_| drop(receive(&quiet)));
    stopping.join().unwrap();
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    flood.join().unwrap();
}
