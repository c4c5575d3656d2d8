//! `explain`: each thing that can be the matter with a group is told from the
//! others, by what a user may see and by what root may.

use std::io::{Write, stderr};
use std::net::{SocketAddr, UdpSocket as Client};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use shardns::lab::process::{Process, own_user};
use shardns::sys::lab::bind::{Reuse, bind_udp};
use shardns::sys::lab::client::Inbox;
use shardns::sys::port::Wait;
use shardns::sys::socket::{UdpOptions, UdpSocket};
use shardns::sys::steer::{Steer, attach};

use super::lab;

const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn explain(address: SocketAddr, more: &[&str]) -> Value {
    explain_for("400ms", address, more)
}

/// Long enough for who sends and who reads to have a CPU meanwhile.
fn explain_load(address: SocketAddr) -> Value {
    explain_for("2s", address, &[])
}

fn explain_for(window: &str, address: SocketAddr, more: &[&str]) -> Value {
    let address = address.to_string();
    let common = ["explain", &address, "--json", "--for", window];
    let output = lab(&[&common, more].concat());
    let faults = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{faults}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["version"], 1);
    assert_eq!(told["address"], address);
    let words = told["verdict"]["sentence"].as_str().unwrap();
    assert!(
        words.split(' ').count() <= 25 && words.ends_with('.'),
        "{words}"
    );
    assert!(
        told["verdict"]["notes"].as_array().unwrap().len() <= 3,
        "{told:#}"
    );
    told
}

fn diagnosis(told: &Value) -> &str {
    told["verdict"]["diagnosis"].as_str().unwrap()
}

fn sentence(told: &Value) -> &str {
    told["verdict"]["sentence"].as_str().unwrap()
}

/// What each socket had, as far as it was told.
fn took(told: &Value) -> Vec<u64> {
    let sockets = told["sockets"].as_array().unwrap();
    sockets
        .iter()
        .map(|socket| match &socket["took"] {
            // Clients are not what they send.
            Value::Null => socket["flows_by_hash"].as_u64().unwrap(),
            took => took.as_u64().unwrap(),
        })
        .collect()
}

/// True where receives were counted; says so where they were not.
fn is_counted(told: &Value) -> bool {
    let is_counted = told["evidence"] == "receives";
    if !is_counted {
        let _ = writeln!(
            stderr(),
            "SKIPPED: receives were not counted: {}",
            told["unknown"]
        );
    }
    is_counted
}

fn group(sockets: usize) -> Vec<UdpSocket> {
    let options = UdpOptions {
        grouped: true,
        receive_buffer: 1 << 16,
        timeout: Duration::from_secs(1),
    };
    let mut group: Vec<UdpSocket> = Vec::new();
    while group.len() < sockets {
        let address = group.first().map_or(LOOPBACK, UdpSocket::local);
        group.push(UdpSocket::bind(address, &options, &mut Vec::new()).unwrap());
    }
    group
}

/// Has `clients` send all the time, and these sockets read, while `during` runs.
fn under_load<T>(
    address: SocketAddr,
    clients: usize,
    read: &[impl AsRawFd + Sync],
    during: impl FnOnce() -> T,
) -> T {
    let over = AtomicBool::new(false);
    let client = || {
        let client = Client::bind(LOOPBACK).unwrap();
        client.connect(address).unwrap();
        client
    };
    let clients: Vec<Client> = (0..clients).map(|_| client()).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut inbox = Inbox::new(64, 64);
            while !over.load(Ordering::Relaxed) {
                for socket in read {
                    while inbox.receive(socket, Wait::No).unwrap() > 0 {}
                }
                std::thread::sleep(Duration::from_micros(500));
            }
        });
        scope.spawn(|| {
            let mut id = 0u16;
            while !over.load(Ordering::Relaxed) {
                for client in &clients {
                    id = id.wrapping_add(1);
                    // Where nobody reads, a send may fail; it is only load.
                    let _ = client.send(&[&id.to_be_bytes()[..], b" a query"].concat());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        struct End<'a>(&'a AtomicBool);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _end = End(&over);
        during()
    })
}

#[test]
fn one_flow_lands_on_one_socket() {
    let group = group(4);
    let address = group[0].local();
    let told = under_load(address, 1, &group, || explain_load(address));
    let counts = took(&told);
    let total: u64 = counts.iter().sum();
    assert_eq!(counts.iter().max(), Some(&total), "{told:#}");
    assert_eq!(told["flows"], 1);
    // A client that is connected is seen by anybody, what it sends is not.
    match is_counted(&told) {
        true => {
            assert_eq!(diagnosis(&told), "heavy-flow", "{told:#}");
            assert!(
                sentence(&told).contains("one flow carries 100 %"),
                "{told:#}"
            );
        }
        false => assert_eq!(diagnosis(&told), "few-flows", "{told:#}"),
    }
}

#[test]
fn many_flows_are_within_chance() {
    let group = group(4);
    let address = group[0].local();
    let told = under_load(address, 400, &group, || explain_load(address));
    assert_eq!(told["flows"], 400);
    // One time in 40 the hash is less even than that, and on a busy machine the
    // reader is too slow.
    let kinds = ["even", "more-than-chance", "overloaded"];
    assert!(kinds.contains(&diagnosis(&told)), "{told:#}");
    let counts = took(&told);
    assert!(
        counts.iter().all(|count| count * 8 > counts.iter().sum()),
        "{told:#}"
    );
    let sockets = told["sockets"].as_array().unwrap();
    for socket in sockets {
        let part = socket["part_of_all_flows"].as_f64().unwrap();
        assert!((0.2..0.3).contains(&part), "{socket:#}");
        // A process that was just started by this one may have them for a moment too.
        let mut holders = socket["holders"].as_array().unwrap().iter();
        assert!(
            holders.any(|holder| holder["process"] == std::process::id()),
            "{socket:#}"
        );
    }
    let flows = sockets
        .iter()
        .map(|socket| socket["flows_by_hash"].as_u64().unwrap());
    assert_eq!(flows.sum::<u64>(), 400);
}

#[test]
fn a_socket_that_nobody_reads_is_named() {
    let group = group(3);
    let address = group[0].local();
    let told = under_load(address, 64, &group[..2], || {
        // Not before it is full.
        while group[2].drops().unwrap() == 0 {
            std::thread::yield_now();
        }
        explain_load(address)
    });
    assert_eq!(diagnosis(&told), "not-read", "{told:#}");
    let words = sentence(&told);
    assert!(words.starts_with("Nobody reads socket 3 of 3: "), "{words}");
    let unread = &told["sockets"][2];
    assert!(unread["waiting"].as_u64() > Some(1000) && unread["dropped"].as_u64() > Some(0));
    if is_counted(&told) {
        assert_eq!(unread["received"], 0);
        assert!(told["sockets"][0]["received"].as_u64() > Some(0));
    }
}

#[test]
fn a_program_that_steers_is_inferred() {
    let group = group(4);
    let address = group[0].local();
    // The message ID modulo 1.
    attach(&group[0], Steer::QueryId, &[0]).unwrap();
    let told = under_load(address, 100, &group, || explain_load(address));
    if is_counted(&told) {
        assert_eq!(diagnosis(&told), "program", "{told:#}");
        let words = sentence(&told);
        assert!(words.starts_with("Socket 1 of 4 took 100 % of "), "{words}");
        assert!(words.ends_with("a program steers."), "{words}");
    }
}

#[test]
fn a_stranger_in_the_group_is_named() {
    let group = group(2);
    let address = group[0].local();
    let listen = address.to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardns"));
    command
        .args([
            "serve",
            "--no-tcp",
            "--no-pin",
            "--workers",
            "1",
            "--listen",
            &listen,
        ])
        .args(own_user());
    let mut stranger = Process::start(&mut command).unwrap();
    stranger.ready().unwrap();
    let told = explain(address, &[]);
    assert_eq!(diagnosis(&told), "strangers", "{told:#}");
    assert_eq!(told["sockets"].as_array().unwrap().len(), 3);
    assert_eq!(told["sockets"][2]["holders"][0]["process"], stranger.id());
    let notes = told["verdict"]["notes"].to_string();
    assert!(notes.contains("1 of 3 sockets"), "{notes}");
}

#[test]
fn the_last_binder_takes_all_without_reuseport() {
    let reuse = Reuse {
        address: true,
        port: false,
    };
    let first = bind_udp(LOOPBACK, reuse).unwrap();
    let address = first.local_addr().unwrap();
    let _others = [(); 2].map(|()| bind_udp(address, reuse).unwrap());
    let told = explain(address, &[]);
    assert_eq!(diagnosis(&told), "never-chosen", "{told:#}");
    let words = "Socket 3 of 3 takes everything: the kernel chooses none of the other 2.";
    assert_eq!(sentence(&told), words);
}

#[test]
fn one_socket_is_no_group() {
    let group = group(1);
    let told = explain(group[0].local(), &[]);
    assert_eq!(diagnosis(&told), "alone", "{told:#}");
    let listener = std::net::TcpListener::bind("[::1]:0").unwrap();
    let told = explain(listener.local_addr().unwrap(), &["--tcp"]);
    assert_eq!(diagnosis(&told), "alone", "{told:#}");
    assert_eq!(told["protocol"], "TCP");
}

#[test]
fn connections_that_nobody_accepts_are_told() {
    let listener = std::net::TcpListener::bind(LOOPBACK).unwrap();
    let address = listener.local_addr().unwrap();
    let _waits = std::net::TcpStream::connect(address).unwrap();
    let told = explain(address, &["--tcp"]);
    assert_eq!(diagnosis(&told), "not-read", "{told:#}");
    assert_eq!(told["sockets"][0]["waiting"], 1);
}

#[test]
fn nothing_there_names_what_is_near() {
    let group = group(2);
    let port = group[0].local().port();
    let output = lab(&["explain", &format!("127.0.0.2:{port}")]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let near = format!("127.0.0.1:{port} (2 sockets)");
    assert!(
        said.contains("no UDP socket takes what is sent to") && said.contains(&near),
        "{said}"
    );
    for wrong in [
        &["explain", "localhost"][..],
        &["explain", "[::1]:53", "--for", "soon"],
        &["explain", "[::1]:53", "--for", "0s"],
    ] {
        assert_eq!(lab(wrong).status.code(), Some(2));
    }
}

#[test]
fn a_socket_of_the_address_takes_precedence() {
    let reuse = Reuse {
        address: false,
        port: true,
    };
    // The kernel may give a socket of a group the port of another one.
    let alone = Client::bind("0.0.0.0:0").unwrap();
    let wide = alone.local_addr().unwrap();
    drop(alone);
    let wide = bind_udp(wide, reuse).unwrap();
    let port = wide.local_addr().unwrap().port();
    let near = bind_udp(SocketAddr::new(LOOPBACK.ip(), port), reuse).unwrap();
    let told = explain(near.local_addr().unwrap(), &[]);
    assert_eq!(told["sockets"].as_array().unwrap().len(), 1);
    assert_eq!(told["behind"][0]["bound_to"], format!("0.0.0.0:{port}"));
    let told = explain(wide.local_addr().unwrap(), &[]);
    assert_eq!(told["sockets"][0]["bound_to"], format!("0.0.0.0:{port}"));
    assert_eq!(told["sockets"][0]["part_of_all_flows"], 1.0);
}

#[test]
fn people_are_told_in_tables() {
    let group = group(2);
    let output = lab(&["explain", &group[0].local().to_string(), "--for", "50ms"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for words in ["UDP sockets that take", "\nIn ", "\nTold from: "] {
        assert!(told.contains(words), "{told}");
    }
}

/// A server that a signal has stopped still gets its part.
#[test]
fn a_process_that_is_stopped_is_named() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardns"));
    command
        .args(["serve", "--no-tcp", "--no-pin", "--workers", "2"])
        .args(["--listen", "127.0.0.1:0"])
        .args(own_user());
    let mut server = Process::start(&mut command).unwrap();
    let address = server.ready().unwrap();
    server.signal(signal_hook::consts::SIGSTOP).unwrap();
    let nobody: [UdpSocket; 0] = [];
    let told = under_load(address, 64, &nobody, || explain_load(address));
    // Where the load began too late, the queues were not filled from the start.
    let told = match diagnosis(&told) {
        "not-read" => told,
        _ => under_load(address, 64, &nobody, || explain_load(address)),
    };
    assert_eq!(diagnosis(&told), "not-read", "{told:#}");
    let holder = &told["sockets"][0]["holders"][0];
    if holder.is_null() {
        let _ = writeln!(stderr(), "SKIPPED: who has sockets open is not told");
        return;
    }
    assert_eq!(holder["is_stopped"], true, "{told:#}");
    let notes = told["verdict"]["notes"].to_string();
    assert!(
        notes.contains(&format!("`kill -CONT {}`", server.id())),
        "{notes}"
    );
}
