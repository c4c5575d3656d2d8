//! What begins and ends: nothing is left of a process that was killed, nothing is
//! lost by one that stops or is taken over from.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use shardns::server::Server;
use shardns::server::drain;
use shardns::server::order::Order;
use shardns::sys::xdp::{Interface, Mode, Options, QueueTotals, XdpError};

use super::held::Held;
use super::support::query;
use super::support::running::Running;
use super::wire::{CLIENT, ENDS, SERVER, Wire};
use super::{PATIENCE, client, config, demo, queues, receive, taken, wire};

pub fn has_program(wire: &Wire) -> bool {
    has_program_on(wire, ENDS[0])
}

pub fn has_program_on(wire: &Wire, interface: &str) -> bool {
    let link = super::wire::ip(&format!("-n {} -d link show {interface}", wire.server));
    link.contains("prog/xdp")
}

/// The program past the sockets, in the server's namespace, with more arguments.
pub fn serve(wire: &Wire, arguments: &[&str]) -> Running {
    serve_over_sockets(wire, &[&["--xdp", ENDS[0]], arguments].concat())
}

pub fn serve_over_sockets(wire: &Wire, arguments: &[&str]) -> Running {
    Running::spawn(&mut command(wire, arguments))
}

pub fn command(wire: &Wire, arguments: &[&str]) -> Command {
    command_by(wire, &[], &[&["--workers", "2"], arguments].concat())
}

/// The same, started by this command.
pub fn command_by(wire: &Wire, starter: &[&str], arguments: &[&str]) -> Command {
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
pub fn server_address(address: &str) -> SocketAddr {
    bracketed(address).parse().unwrap()
}

pub fn bracketed(address: &str) -> String {
    match address.contains(':') {
        true => format!("[{address}]:5300"),
        false => format!("{address}:5300"),
    }
}

/// Datagrams that all queues received, by the table that is shown at the end.
pub fn received(table: &str) -> u64 {
    let rows = table.lines().map(str::split_whitespace);
    let mut rows = rows.skip_while(|row| row.clone().next() != Some("queue"));
    assert_eq!(rows.next().unwrap().nth(2), Some("received"));
    let numbers = rows.map_while(|mut row| row.nth(2)?.parse::<u64>().ok());
    numbers.sum()
}

pub fn ask(wire: &Wire) {
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
}

/// The kernel frees the queues, and takes the program off, some time after a process has
/// ended; the next one waits for that.
#[test]
fn a_server_starts_as_soon_as_another_was_killed() {
    let Some(wire) = wire("again") else { return };
    let mut server = serve(&wire, &[]);
    for _ in 0..3 {
        server.signal("KILL");
        server.end();
        server = serve(&wire, &[]);
    }
    ask(&wire);
    server.signal("TERM");
    let table = server.end().1;
    assert_eq!(received(&table), 2, "{table}");
}

/// CPU time of a process, in hundredths of a second.
fn cpu_time(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    // utime and stime, of which the first one is the 14th field, as the name is the 2nd.
    fields[11..13]
        .iter()
        .map(|time| time.parse::<u64>().unwrap())
        .sum()
}

#[test]
fn an_interface_that_goes_is_told_and_the_sockets_go_on() {
    let Some(wire) = wire("gone") else { return };
    let mut server = serve(&wire, &["--metrics", "127.0.0.1:0"]);
    ask(&wire);
    super::wire::ip(&format!("-n {} link del {}", wire.server, ENDS[0]));
    server.until("xdp-server was removed while it was read past the sockets");
    let before = cpu_time(server.child.id());
    let begin = Instant::now();
    std::thread::sleep(Duration::from_millis(300));
    let busy = (cpu_time(server.child.id()) - before) as f64 / 100.0;
    let share = busy / begin.elapsed().as_secs_f64();
    assert!(share < 0.5, "{share} of a CPU for nothing");
    // One of the same name is another one.
    wire.connect(ENDS, [SERVER, CLIENT]);
    ask(&wire);
    let address = server.log.split("metrics at http://").nth(1).unwrap();
    let metrics = get(&wire, address.split('/').next().unwrap(), "/metrics");
    let gone = "shardns_interface_gone_total{interface=\"xdp-server\"} 1";
    assert!(metrics.contains(gone), "{metrics}");
    server.signal("TERM");
    let table = server.end().1;
    assert_eq!(received(&table), 2, "{table}");
    assert_eq!(
        table.matches("removed while").count(),
        0,
        "told once: {table}"
    );
    let gone = "times that it was removed or got another MAC address: 1";
    assert!(table.contains(gone), "{table}");
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
            // Who has to be looked for first gets everything some time later.
            for address in server.addresses() {
                let socket = client(address);
                socket.send(&query("www.example.com", 1)).unwrap();
                receive(&socket);
            }
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
        assert_eq!(taken(&server), (52, 0));
    }
}

/// A worker that is told to end while it answers what lies in a queue that it leaves
/// ends.
#[test]
fn an_order_that_comes_while_queues_are_left_is_followed() {
    let Some(wire) = wire("orders") else { return };
    for order in [Order::Stop, Order::LetGo] {
        let held = Held::start(&wire, &config(Mode::Native, 1));
        let (mut server, begins, allow) = (held.server, held.begins, held.allow);
        let ask = || {
            held.client.send(&query("www.example.com", 1)).unwrap();
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

/// What was counted of all queues, of which a flow is in one.
fn all_queues(server: &Server) -> QueueTotals {
    let queues = queues(server).into_iter();
    queues.fold(QueueTotals::default(), |sum, queue| sum.plus(&queue))
}

/// What a worker has in hand when it is to leave its queue is counted, too.
#[test]
fn queues_are_counted_when_they_have_been_left() {
    let Some(wire) = wire("counted") else { return };
    let mut held = Held::start(&wire, &config(Mode::Native, 2));
    held.client.send(&query("www.example.com", 1)).unwrap();
    held.begins.recv_timeout(PATIENCE).unwrap();
    // The worker may go on some time after it was told to leave.
    let allow = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        held.allow.send(())
    });
    assert!(held.server.leave_queues());
    assert_eq!(all_queues(&held.server).sent, 1);
    receive(&held.client);
    allow.join().unwrap().unwrap();
}

/// A worker that has no time left leaves what it has not read, which is lost, and counted.
#[test]
fn what_is_not_read_any_more_is_counted() {
    let Some(wire) = wire("unread") else { return };
    let mut config = config(Mode::Native, 2);
    config.batch = 1;
    let mut held = Held::start(&wire, &config);
    for _ in 0..3 {
        held.client.send(&query("www.example.com", 1)).unwrap();
    }
    held.begins.recv_timeout(PATIENCE).unwrap();
    held.server.give(Order::Stop);
    held.allow.send(()).unwrap();
    held.begins.recv_timeout(PATIENCE).unwrap();
    // The second one takes all the time that there is for what is queued.
    std::thread::sleep(drain::DRAIN_WITHIN);
    held.allow.send(()).unwrap();
    held.server.stop();
    let totals = all_queues(&held.server);
    assert_eq!((totals.received, totals.unread), (2, 1));
    let workers = held.server.totals();
    assert_eq!(workers.iter().map(|worker| worker.drops).sum::<u64>(), 1);
}

/// As after a server that was killed, whose program the kernel takes off some time later.
#[test]
fn an_interface_is_waited_for() {
    let Some(wire) = wire("waited") else { return };
    let options = Options {
        mode: Mode::Auto,
        readers: 2,
        width: 64,
        reply: 1232,
    };
    let served = [bracketed(SERVER[0]).parse().unwrap()];
    let (begun, begins) = crossbeam_channel::unbounded();
    let open = |patience| {
        let prepare = || Interface::prepare(ENDS[0], &served, &options);
        wire.at_server(|| {
            let prepared = prepare().unwrap();
            begun.send(()).unwrap();
            prepared.open(patience)
        })
    };
    let first = open(Duration::ZERO).unwrap();
    let error = open(Duration::ZERO).err().unwrap();
    assert!(matches!(error, XdpError::OtherProgram(_)), "{error}");
    let (opened, opens) = crossbeam_channel::bounded(1);
    std::thread::scope(|scope| {
        scope.spawn(|| opened.send(open(PATIENCE)).unwrap());
        (0..3).for_each(|_| begins.recv_timeout(PATIENCE).unwrap());
        let long = Duration::from_millis(300);
        assert!(opens.recv_timeout(long).is_err(), "it does not wait");
        drop(first);
        let (interface, ports) = opens.recv_timeout(PATIENCE).unwrap().unwrap();
        assert!(interface.waited > long / 2 && ports.len() == 2);
    });
}
