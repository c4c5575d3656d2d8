//! What begins and ends: nothing is left of a process that was killed, nothing is
//! lost by one that stops or is taken over from.

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
    let server = serve(&wire, &["--control", "none"]);
    assert!(has_program(&wire));
    ask(&wire);
    server.signal("KILL");
    server.end();
    let begin = Instant::now();
    while has_program(&wire) {
        assert!(begin.elapsed() < PATIENCE, "the program stays");
    }
    // The queues are free again, after a moment that the next one waits for.
    let mut next = serve(&wire, &["--control", "none"]);
    ask(&wire);
    next.signal("TERM");
    let table = next.until("past the sockets");
    assert!(table.contains("worker"));
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
