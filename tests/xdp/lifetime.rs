//! What begins and ends: nothing is left of a process that was killed, nothing is
//! lost by one that stops or is taken over from.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use shardns::server::Server;
use shardns::server::answerer::Responder;
use shardns::server::order::Order;
use shardns::sys::port::Port;
use shardns::sys::xdp::Mode;

use super::support::query;
use super::support::running::Running;
use super::wire::{ENDS, SERVER, Wire};
use super::{PATIENCE, client, config, demo, receive, taken, wire};

pub(super) fn has_program(wire: &Wire) -> bool {
    let link = super::wire::ip(&format!("-n {} -d link show {}", wire.server, ENDS[0]));
    link.contains("prog/xdp")
}

/// The program past the sockets, in the server's namespace, with more arguments.
pub(super) fn serve(wire: &Wire, arguments: &[&str]) -> Running {
    serve_over_sockets(wire, &[&["--xdp", ENDS[0]], arguments].concat())
}

fn serve_over_sockets(wire: &Wire, arguments: &[&str]) -> Running {
    Running::spawn(&mut command(wire, arguments))
}

fn command(wire: &Wire, arguments: &[&str]) -> Command {
    command_by(wire, &[], &[&["--workers", "2"], arguments].concat())
}

/// The same, started by this command.
fn command_by(wire: &Wire, starter: &[&str], arguments: &[&str]) -> Command {
    let listen = SERVER.map(|address| format!("--listen={}", bracketed(address)));
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", &wire.server])
        .args(starter)
        .args([env!("CARGO_BIN_EXE_shardns"), "serve"])
        .args(listen)
        .args(arguments);
    command
}

/// As a user who has the capabilities that the documents name, and no other.
#[test]
fn three_capabilities_are_enough() {
    let Some(wire) = wire("capabilities") else {
        return;
    };
    let capabilities = "+net_raw,+net_admin,+bpf";
    let inherited = format!("--inh-caps={capabilities}");
    let ambient = format!("--ambient-caps={capabilities}");
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let starter = [&nobody[..], &[&inherited, &ambient]].concat();
    // One queue's frames are within the usual limit of what may be locked.
    let arguments = ["--workers", "1", "--xdp", ENDS[0]];
    let mut server = Running::spawn(&mut command_by(&wire, &starter, &arguments));
    assert!(has_program(&wire));
    ask(&wire);
    server.signal("TERM");
    server.until("past the sockets");
}

/// A server's address with its port.
pub(super) fn server_address(address: &str) -> SocketAddr {
    bracketed(address).parse().unwrap()
}

fn bracketed(address: &str) -> String {
    match address.contains(':') {
        true => format!("[{address}]:5300"),
        false => format!("{address}:5300"),
    }
}

/// Datagrams that all queues received, by the table that is shown at the end.
fn received(table: &str) -> u64 {
    let rows = table.lines().map(str::split_whitespace);
    let mut rows = rows.skip_while(|row| row.clone().next() != Some("queue"));
    assert_eq!(rows.next().unwrap().nth(2), Some("received"));
    let numbers = rows.map_while(|mut row| row.nth(2)?.parse::<u64>().ok());
    numbers.sum()
}

fn ask(wire: &Wire) {
    wire.at_client(|| {
        for address in SERVER {
            let socket = client(server_address(address));
            socket.send(&query("www.example.com", 1)).unwrap();
            receive(&socket);
        }
    });
}

#[test]
fn a_process_that_is_killed_leaves_nothing_behind() {
    let Some(wire) = wire("killed") else { return };
    let server = serve(&wire, &[]);
    assert!(has_program(&wire));
    ask(&wire);
    server.signal("KILL");
    server.end();
    let begin = Instant::now();
    while has_program(&wire) {
        assert!(begin.elapsed() < PATIENCE, "the program stays");
    }
    // The queues are free again, after a moment that the next one waits for.
    let next = serve(&wire, &[]);
    ask(&wire);
    next.signal("TERM");
    let table = next.end().1;
    assert_eq!(received(&table), 2, "{table}");
}

/// What an HTTP server at this address of the server's network says.
fn get(wire: &Wire, address: &str, path: &str) -> String {
    wire.at_server(|| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said
    })
}

/// As the user that root's servers become, under the sandbox, and after a reload.
#[test]
fn a_server_without_privileges_goes_on_past_the_sockets_and_tells() {
    let Some(wire) = wire("metrics") else { return };
    let mut server = serve(&wire, &["--metrics", "127.0.0.1:0"]);
    ask(&wire);
    server.signal("HUP");
    server.until("reload: ");
    ask(&wire);
    let address = server.log.split("metrics at http://").nth(1).unwrap();
    let address = address.split('/').next().unwrap();
    let metrics = get(&wire, address, "/metrics");
    let sum = |name: &str| -> u64 {
        let lines = metrics.lines().filter(|line| line.starts_with(name));
        let values = lines.map(|line| line.rsplit(' ').next().unwrap());
        values.map(|value| value.parse::<u64>().unwrap()).sum()
    };
    assert_eq!(sum("shardns_queue_received_total{"), 4, "{metrics}");
    assert_eq!(sum("shardns_queue_sent_total{"), 4);
    assert_eq!(sum("shardns_queue_no_frame_total{"), 0);
    assert!(metrics.contains("\nshardns_queue_ring_empty_total{"));
    // To learn where the server is, the client asks groups of stations.
    assert!(sum("shardns_passed_total{") > 0, "{metrics}");
    assert!(metrics.contains("interface=\"xdp-server\",queue=\"1\",worker=\"1\""));
    assert!(metrics.contains("interface=\"xdp-server\",reason=\"not_unicast\""));
}

#[test]
fn what_lies_in_queues_is_answered_before_a_server_stops() {
    let Some(wire) = wire("stopping") else { return };
    for mode in [Mode::Native, Mode::Generic] {
        let config = config(mode, 2);
        let mut server = wire.at_server(|| Server::start(&config, demo())).unwrap();
        let sockets = wire.at_client(|| {
            let sockets: Vec<_> = (0..50)
                .map(|number| client(server.addresses()[number % 2]))
                .collect();
            for socket in &sockets {
                socket.send(&query("www.example.com", 1)).unwrap();
            }
            sockets
        });
        server.stop();
        assert!(!has_program(&wire));
        sockets.iter().for_each(|socket| drop(receive(socket)));
        assert_eq!(taken(&server), (50, 0));
    }
}

/// Asks one question after another until it is told to stop, and returns how many
/// had an answer. Each has to.
fn ask_until(stop: &AtomicBool, address: &str) -> u64 {
    let socket = client(server_address(address));
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        socket.send(&query("www.example.com", 1)).unwrap();
        receive(&socket);
        answered += 1;
    }
    answered
}

/// Around what answers: tells that there is a batch, and waits for leave to answer it.
pub(super) struct Held<R> {
    pub inner: R,
    pub begun: Sender<()>,
    pub leave: Receiver<()>,
}

impl<R: Responder> Responder for Held<R> {
    fn answer<P: Port>(&mut self, port: &mut P, received: usize) {
        self.begun.send(()).unwrap();
        let _ = self.leave.recv_timeout(PATIENCE);
        self.inner.answer(port, received);
    }

    fn idle(&mut self) {
        self.inner.idle();
    }
}

/// A worker that is told to end while it answers what lies in a queue that it leaves
/// ends.
#[test]
fn an_order_that_comes_while_queues_are_left_is_followed() {
    let Some(wire) = wire("orders") else { return };
    for order in [Order::Stop, Order::LetGo] {
        let (begun, begins) = crossbeam_channel::unbounded();
        let (allow, leave) = crossbeam_channel::unbounded();
        let hold = |inner| Held {
            inner,
            begun: begun.clone(),
            leave: leave.clone(),
        };
        let config = config(Mode::Native, 1);
        let server = wire.at_server(|| Server::start_with(&config, demo(), hold));
        let mut server = server.unwrap();
        let socket = wire.at_client(|| client(server.addresses()[0]));
        let ask = || {
            socket.send(&query("www.example.com", 1)).unwrap();
        };
        ask();
        begins.recv_timeout(PATIENCE).unwrap();
        // One more lies in the queue when it is to be left.
        ask();
        server.give(Order::LeaveQueues);
        allow.send(()).unwrap();
        begins.recv_timeout(PATIENCE).unwrap();
        server.give(order);
        allow.send(()).unwrap();
        let (ended, ends) = crossbeam_channel::bounded(1);
        std::thread::spawn(move || {
            server.let_go();
            let _ = ended.send(());
        });
        ends.recv_timeout(PATIENCE).expect("the worker goes on");
    }
}

/// A server past the sockets is taken over from by another, which `serve_next` starts, while
/// clients ask, and for some time more. Returns the other one, and how many queries were
/// answered, which is all of them.
fn taken_over(
    wire: &Wire,
    serve_next: fn(&Wire, &[&str]) -> Running,
    more: Duration,
) -> (Running, u64) {
    let folder = tempfile::tempdir().unwrap();
    let control = folder.path().join("control");
    let control = control.to_str().unwrap();
    // The folder is root's alone.
    let options = ["--control", control, "--user", "root"];
    let first = serve(wire, &options);
    let stop = AtomicBool::new(false);
    let stop = &stop;
    std::thread::scope(|scope| {
        let clients: Vec<_> = SERVER
            .map(|address| scope.spawn(move || wire.at_client(|| ask_until(stop, address))))
            .into();
        let second = serve_next(wire, &[&options[..], &["--takeover"]].concat());
        let (code, _) = first.end();
        assert_eq!(code, Some(0));
        std::thread::sleep(more);
        stop.store(true, Ordering::Relaxed);
        let answered = clients.into_iter().map(|one| one.join().unwrap()).sum();
        (second, answered)
    })
}

#[test]
fn a_takeover_by_a_server_without_queues_loses_nothing() {
    let Some(wire) = wire("plain") else { return };
    let (second, answered) = taken_over(&wire, serve_over_sockets, Duration::ZERO);
    assert!(answered > 0);
    assert!(!has_program(&wire));
    drop(second);
}

#[test]
fn a_takeover_loses_nothing_and_goes_on_past_the_sockets() {
    let Some(wire) = wire("takeover") else { return };
    // Long enough for some to be asked of the second one alone.
    let (second, answered) = taken_over(&wire, serve, Duration::from_millis(100));
    assert!(answered > 100, "{answered}");
    assert!(has_program(&wire));
    second.signal("TERM");
    let table = second.end().1;
    assert!(received(&table) > 0, "{table}");
}
