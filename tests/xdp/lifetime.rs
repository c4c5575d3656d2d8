//! What begins and ends: nothing is left of a process that was killed, nothing is
//! lost by one that stops or is taken over from.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shardns::server::Server;
use shardns::sys::xdp::Mode;

use super::support::query;
use super::support::running::Running;
use super::wire::{ENDS, SERVER, Wire};
use super::{PATIENCE, client, config, demo, receive, taken, wire};

fn has_program(wire: &Wire) -> bool {
    let link = super::wire::ip(&format!("-n {} -d link show {}", wire.server, ENDS[0]));
    link.contains("prog/xdp")
}

/// The program, in the server's namespace, with more arguments.
fn serve(wire: &Wire, arguments: &[&str]) -> Running {
    let listen = SERVER.map(|address| format!("--listen={}", bracketed(address)));
    let mut command = Command::new("ip");
    command
        .args([
            "netns",
            "exec",
            &wire.server,
            env!("CARGO_BIN_EXE_shardns"),
            "serve",
        ])
        .args(listen)
        .args(["--workers", "2", "--xdp", ENDS[0]])
        .args(arguments);
    Running::spawn(&mut command)
}

fn bracketed(address: &str) -> String {
    match address.contains(':') {
        true => format!("[{address}]:5300"),
        false => format!("{address}:5300"),
    }
}

fn ask(wire: &Wire) {
    wire.at_client(|| {
        for address in SERVER {
            let socket = client(bracketed(address).parse().unwrap());
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
    let mut next = serve(&wire, &[]);
    ask(&wire);
    next.signal("TERM");
    let table = next.until("past the sockets");
    assert!(table.contains("worker"));
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
    let socket = client(bracketed(address).parse().unwrap());
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        socket.send(&query("www.example.com", 1)).unwrap();
        receive(&socket);
        answered += 1;
    }
    answered
}

#[test]
fn a_takeover_loses_nothing_and_goes_on_past_the_sockets() {
    let Some(wire) = wire("takeover") else { return };
    let folder = tempfile::tempdir().unwrap();
    let control = folder.path().join("control");
    let control = control.to_str().unwrap();
    // The folder is root's alone.
    let options = ["--control", control, "--user", "root"];
    let first = serve(&wire, &options);
    let stop = AtomicBool::new(false);
    let stop = &stop;
    std::thread::scope(|scope| {
        let wire = &wire;
        let clients: Vec<_> = SERVER
            .map(|address| scope.spawn(move || wire.at_client(|| ask_until(stop, address))))
            .into();
        let mut second = serve(wire, &[&options[..], &["--takeover"]].concat());
        let (code, _) = first.end();
        assert_eq!(code, Some(0));
        // Long enough for some to be asked of the second one alone.
        std::thread::sleep(Duration::from_millis(100));
        stop.store(true, Ordering::Relaxed);
        let answered: u64 = clients.into_iter().map(|one| one.join().unwrap()).sum();
        assert!(answered > 100, "{answered}");
        assert!(has_program(wire));
        second.signal("TERM");
        let table = second.until("past the sockets") + &second.until("passed on to the kernel");
        let row = table
            .lines()
            .find(|line| line.trim_start().starts_with("0  "));
        assert!(row.is_some() || table.contains("queue"), "{table}");
    });
}
