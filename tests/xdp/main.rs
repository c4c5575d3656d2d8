//! Past the sockets, over a wire between two namespaces: the text cases, what is not
//! for the program, hostile frames, and what is left behind. Only root can make such
//! a wire; others see that these tests were left out.

mod changes;
mod counters;
mod faults;
mod handover;
mod held;
mod hostile;
mod lifetime;
mod mtu;
mod renamed;
#[path = "../support/mod.rs"]
mod support;
mod wire;

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use shardns::server::{Config, Listen, Server, Xdp};
use shardns::sys::xdp::{Mode, QueueTotals};
use shardns::zone::Zones;
use support::cases::{self, CaseFile};
use support::running::{is_root, skip};
use support::{UDP, query, receive, without_server_cookie};
use wire::{CLIENT, ENDS, SECOND_ENDS, SECOND_SERVER, SERVER, Wire};

/// Long enough for any machine; what takes as long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A wire, where one can be made.
fn wire(name: &str) -> Option<Wire> {
    if !is_root() {
        skip("past the sockets: only root makes network namespaces");
        return None;
    }
    Some(Wire::new(name))
}

fn config(mode: Mode, workers: usize) -> Config {
    Config {
        listen: SERVER
            .map(|address| Listen {
                address: SocketAddr::new(address.parse().unwrap(), 0),
                required: true,
            })
            .into(),
        workers: Some(workers),
        settings: support::settings(),
        xdp: Some(Xdp {
            interfaces: vec![ENDS[0].into()],
            mode,
        }),
        ..Config::default()
    }
}

/// A socket of the client that speaks with this address of the server.
fn client(server: SocketAddr) -> UdpSocket {
    let own = CLIENT[usize::from(server.is_ipv6())];
    let own = SocketAddr::new(own.parse().unwrap(), 0);
    let socket = UdpSocket::bind(own).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// What was counted of each queue.
fn queues(server: &Server) -> Vec<QueueTotals> {
    let interfaces = server.interfaces();
    let queues = interfaces.iter().flat_map(|interface| &interface.queues);
    queues.map(|queue| queue.totals).collect()
}

/// Datagrams that were taken past the sockets, and those that went over them.
fn taken(server: &Server) -> (u64, u64) {
    let taken = queues(server).iter().map(|queue| queue.received).sum();
    let workers = server.totals();
    let all: u64 = workers.iter().map(|worker| worker.received).sum();
    (taken, all - taken)
}

fn demo() -> Arc<Zones> {
    Arc::new(support::demo())
}

/// Asks every case that is not for TCP; returns how many datagrams were sent.
fn ask_all(file: &CaseFile, server: &Server) -> u64 {
    let mut sent = 0;
    let marker = query("marker.invalid", 1);
    let cases = file.cases.iter().filter(|case| !case.tcp);
    for (number, case) in cases.enumerate() {
        let socket = client(server.addresses()[number % 2]);
        socket.send(&case.request).unwrap();
        sent += 1;
        let mut reply = receive_unless_silent(&socket, case.is_silence(), &marker);
        sent += u64::from(case.is_silence());
        let mut expected = support::ask(&file.zones, UDP, &case.request);
        for reply in [&mut reply, &mut expected] {
            *reply = reply.take().map(without_server_cookie);
        }
        let place = format!("{}:{}: {}", file.path.display(), case.line, case.title);
        assert_eq!(reply, expected, "{place}");
    }
    sent
}

/// Nothing says that a datagram is not coming; the next reply on the same flow does.
fn receive_unless_silent(socket: &UdpSocket, silent: bool, marker: &[u8]) -> Option<Vec<u8>> {
    if !silent {
        return Some(receive(socket));
    }
    socket.send(marker).unwrap();
    assert_eq!(
        receive(socket)[12..],
        marker[12..],
        "a reply to what gets none"
    );
    None
}

#[test]
fn every_case_is_answered_as_over_sockets() {
    let Some(wire) = wire("cases") else { return };
    for (number, file) in cases::all().into_iter().enumerate() {
        let mode = [Mode::Native, Mode::Generic][number % 2];
        let config = Config {
            batch: [1, 2, 32, 128][number % 4],
            ..config(mode, 2)
        };
        let zones = Arc::new(Zones::new(file.zones.iter().cloned().collect()));
        let mut server = wire.at_server(|| Server::start(&config, zones)).unwrap();
        let sent = wire.at_client(|| ask_all(&file, &server));
        server.stop();
        let (taken, others) = taken(&server);
        assert_eq!(taken + others, sent, "{}", file.path.display());
        // What is too long for a frame goes over the sockets.
        let long = file.cases.iter().filter(|case| case.request.len() > 400);
        assert!(
            others <= long.count() as u64,
            "{}: {others}",
            file.path.display()
        );
        let replies: u64 = server.totals().iter().map(|totals| totals.answered()).sum();
        let interfaces = server.interfaces();
        let queues = interfaces.iter().flat_map(|interface| &interface.queues);
        let sent_past: u64 = queues
            .map(|queue| queue.totals.sent + queue.totals.lost() + queue.totals.invalid)
            .sum();
        assert!(sent_past <= replies && sent_past + others >= replies);
    }
}

#[test]
fn what_is_not_for_the_program_goes_on_as_ever() {
    let Some(wire) = wire("others") else { return };
    for mode in [Mode::Native, Mode::Generic] {
        let config = config(mode, 2);
        let server = wire.at_server(|| Server::start(&config, demo())).unwrap();
        wire.at_client(|| {
            for address in server.addresses() {
                // TCP.
                drop(TcpStream::connect_timeout(&address, PATIENCE).unwrap());
                // A request in fragments, which is longer than any packet of the wire.
                let socket = client(address);
                let mut long = query("www.example.com", 1);
                long.resize(4000, 0);
                socket.send(&long).unwrap();
                assert!(receive(&socket).len() >= 12);
                // One that is whole and too long for a frame with its reply.
                long.truncate(1200);
                socket.send(&long).unwrap();
                assert!(receive(&socket).len() >= 12);
                // Another port.
                let neighbour = SocketAddr::new(address.ip(), 9);
                client(neighbour).send(b"anybody there?").unwrap();
            }
        });
        let (taken, others) = taken(&server);
        assert_eq!((taken, others), (0, 4), "{mode:?}");
        let interfaces = server.interfaces();
        let reasons: Vec<&str> = interfaces[0]
            .passed
            .iter()
            .map(|(reason, _)| reason.as_str())
            .collect();
        for reason in ["not_udp", "fragment", "too_long", "elsewhere"] {
            assert!(reasons.contains(&reason), "{reason}: {reasons:?}");
        }
    }
}

#[test]
fn ping_and_vlans_go_on_as_ever() {
    let Some(wire) = wire("vlan") else { return };
    for program in ["ping", "ethtool"] {
        if std::process::Command::new(program)
            .arg("-V")
            .output()
            .is_err()
        {
            return skip(&format!("{program} is not installed"));
        }
    }
    {
        let config = config(Mode::Native, 2);
        let server = wire.at_server(|| Server::start(&config, demo())).unwrap();
        for address in SERVER {
            let ping = format!("netns exec {} ping -c 1 -W 20 {address}", wire.client);
            wire::ip(&ping);
        }
        let interfaces = server.interfaces();
        assert!(
            interfaces[0]
                .passed
                .iter()
                .any(|(reason, _)| reason == "not_udp")
        );
    }
    for (namespace, end) in [(&wire.server, ENDS[0]), (&wire.client, ENDS[1])] {
        // The tag is in the frame, where the program sees it.
        for feature in ["txvlan", "rxvlan"] {
            let ethtool = format!("netns exec {namespace} ethtool -K {end} {feature} off");
            wire::ip(&ethtool);
        }
        if !wire.add_vlan(namespace, end) {
            return;
        }
        let host = if end == ENDS[0] { 1 } else { 2 };
        wire::ip(&format!(
            "-n {namespace} addr add 198.19.7.{host}/24 dev {end}.7"
        ));
        wire::ip(&format!("-n {namespace} link set {end}.7 up"));
    }
    let mut config = config(Mode::Native, 2);
    let any = SocketAddr::new("198.19.7.1".parse().unwrap(), 0);
    config.listen.push(Listen {
        address: any,
        required: true,
    });
    let server = wire.at_server(|| Server::start(&config, demo())).unwrap();
    wire.at_client(|| {
        let socket = UdpSocket::bind("198.19.7.2:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(server.addresses()[2]).unwrap();
        socket.send(&query("www.example.com", 1)).unwrap();
        receive(&socket);
    });
    assert_eq!(taken(&server), (0, 1));
}

/// As many flows go to a queue that nobody reads as to the one that is read.
#[test]
fn a_queue_without_a_worker_and_a_worker_without_a_queue() {
    let Some(wire) = wire("queues") else { return };
    for (workers, all_taken) in [(1, false), (2, true), (3, true)] {
        let config = config(Mode::Native, workers);
        let server = wire.at_server(|| Server::start(&config, demo())).unwrap();
        let told = server.told_of_queues();
        assert_eq!(told.len(), 1);
        assert!(
            told[0].contains(match workers {
                1 => "queues (`ethtool -L xdp-server rx 1 tx 1` makes them as many)",
                2 => "2 of 2 queues read past the sockets, in the driver, copied",
                _ =>
                    "; 1 of 3 workers read none, as long as there are fewer queues (`ethtool -L \
                    xdp-server rx 3 tx 3`",
            }),
            "{told:?}"
        );
        wire.at_client(|| {
            for number in 0..60 {
                let socket = client(server.addresses()[number % 2]);
                socket.send(&query("www.example.com", 1)).unwrap();
                receive(&socket);
            }
        });
        let (taken, others) = taken(&server);
        assert_eq!(taken + others, 60);
        assert_eq!(
            others == 0,
            all_taken,
            "{workers} workers: {others} over sockets"
        );
        assert!(taken > 5, "{taken}");
    }
}

#[test]
fn two_interfaces_and_addresses_that_stand_for_all() {
    let Some(wire) = wire("two") else { return };
    wire.connect_second();
    let mut config = config(Mode::Auto, 2);
    config
        .listen
        .iter_mut()
        .zip(["0.0.0.0:0", "[::]:0"])
        .for_each(|(listen, all)| {
            listen.address = all.parse().unwrap();
        });
    let xdp = config.xdp.as_mut().unwrap();
    xdp.interfaces.push(SECOND_ENDS[0].into());
    let server = wire.at_server(|| Server::start(&config, demo())).unwrap();
    wire.at_client(|| {
        for address in SERVER.into_iter().chain(SECOND_SERVER) {
            let ip: std::net::IpAddr = address.parse().unwrap();
            let port = server.addresses()[usize::from(ip.is_ipv6())].port();
            let socket = match ip.is_ipv4() {
                true => UdpSocket::bind("0.0.0.0:0"),
                false => UdpSocket::bind("[::]:0"),
            };
            let socket = socket.unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            // Connected, it takes replies from the address that was asked alone.
            socket.connect((ip, port)).unwrap();
            socket.send(&query("www.example.com", 1)).unwrap();
            receive(&socket);
        }
    });
    let interfaces = server.interfaces();
    let taken = interfaces.iter().map(|interface| {
        let queues = interface.queues.iter();
        queues.map(|queue| queue.totals.received).sum::<u64>()
    });
    assert_eq!(taken.collect::<Vec<_>>(), [2, 2]);
}
