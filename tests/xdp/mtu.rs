//! A reply is no longer than a packet of the interface may be, at the start and later.

use std::net::UdpSocket;
use std::time::Instant;

use shardns::server::Server;
use shardns::sys::xdp::Mode;

use super::lifetime::{serve, server_address};
use super::support::query;
use super::wire::{CLIENT, ENDS, SERVER, Wire};
use super::{PATIENCE, client, config, demo, receive, taken, wire};

/// What the whole answer has room in.
const LARGE: usize = 2500;

/// A wire whose ends both have that MTU.
pub fn large_wire(name: &str) -> Option<Wire> {
    let wire = wire(name)?;
    let client = &wire.client;
    super::wire::ip(&format!("-n {client} link set {} mtu {LARGE}", ENDS[1]));
    set_mtu(&wire, LARGE);
    Some(wire)
}

/// The server's end alone: what is longer than it sends still arrives.
fn set_mtu(wire: &Wire, mtu: usize) {
    set_mtu_of(wire, ENDS[0], mtu);
}

pub fn set_mtu_of(wire: &Wire, end: &str, mtu: usize) {
    super::wire::ip(&format!("-n {} link set {end} mtu {mtu}", wire.server));
}

/// Asks for some 2,000 octets; returns how many came, and whether they are all.
pub fn ask(socket: &UdpSocket) -> (usize, bool) {
    let mut request = query("huge.example.com", 16);
    request[11] = 1;
    request.extend(b"\0\0\x29\x10\0\0\0\0\0\0\0");
    socket.send(&request).unwrap();
    let reply = receive(socket);
    (reply.len(), reply[2] & 2 == 0)
}

#[test]
fn a_small_mtu_truncates_replies() {
    let Some(wire) = wire("mtu") else { return };
    set_mtu(&wire, 1280);
    let server = wire.at_server(|| {
        let mut config = config(Mode::Native, 2);
        config.settings.edns_size = 4096;
        Server::start(&config, demo()).unwrap()
    });
    wire.at_client(|| {
        for (address, longest) in server.addresses().into_iter().zip([1252, 1232]) {
            let (length, is_whole) = ask(&client(address));
            assert!(length <= longest && !is_whole, "{length}");
        }
    });
    assert_eq!(taken(&server), (2, 0));
}

#[test]
fn replies_follow_the_mtu() {
    let Some(wire) = large_wire("changing") else {
        return;
    };
    for mode in [Mode::Native, Mode::Generic] {
        set_mtu(&wire, LARGE);
        let mut config = config(mode, 2);
        config.settings.edns_size = 4096;
        let mut server = wire.at_server(|| Server::start(&config, demo())).unwrap();
        let sockets = wire.at_client(|| [0, 1].map(|at| client(server.addresses()[at])));
        for (mtu, is_whole) in [(LARGE, true), (1280, false), (LARGE, true)] {
            set_mtu(&wire, mtu);
            assert_eq!(server.follow_interfaces(), [] as [String; 0]);
            for socket in &sockets {
                let (length, whole) = ask(socket);
                assert_eq!(whole, is_whole, "{mode:?}, {mtu}: {length}");
            }
        }
        assert_eq!(taken(&server), (6, 0));
    }
}

/// An interface that is gone has no MTU, and another one of its name has its own.
#[test]
fn the_mtu_of_another_interface_says_nothing() {
    let Some(wire) = wire("another") else { return };
    let config = config(Mode::Native, 2);
    let mut server = wire.at_server(|| Server::start(&config, demo())).unwrap();
    super::wire::ip(&format!("-n {} link del {}", wire.server, ENDS[0]));
    let said = server.follow_interfaces();
    assert!(said[0].contains("was removed"), "{said:?}");
    wire.connect(ENDS, [SERVER, CLIENT]);
    set_mtu(&wire, 500);
    assert_eq!(server.follow_interfaces(), [] as [String; 0]);
}

/// Under the sandbox, without privileges; and where replies have no room at all, the
/// sockets have it all until there is some again.
#[test]
fn a_running_server_looks_at_the_mtu() {
    let Some(wire) = large_wire("looking") else {
        return;
    };
    let mut server = serve(&wire, &["--edns-size", "4096"]);
    let socket = wire.at_client(|| client(server_address(SERVER[0])));
    assert!(ask(&socket).1);
    set_mtu(&wire, 1280);
    let begin = Instant::now();
    while ask(&socket).1 {
        assert!(begin.elapsed() < PATIENCE);
    }
    set_mtu(&wire, 500);
    server.until("xdp-server has an MTU of 500; --xdp takes 576 or more; its datagrams go over");
    // The kernel takes it apart.
    assert!(ask(&socket).1);
    for mtu in [575, 576] {
        set_mtu(&wire, mtu);
    }
    server.until("xdp-server has an MTU of 576 by now; its datagrams are read past the sockets");
    let (length, is_whole) = ask(&socket);
    assert!(length <= 576 - 28 && !is_whole, "{length}");
    server.signal("TERM");
    let table = server.end().1;
    assert!(table.contains("small mtu"), "{table}");
}
