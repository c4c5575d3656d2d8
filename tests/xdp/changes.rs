//! What becomes of an interface and its addresses while it is read past the sockets, and
//! the names that it may have.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Instant;

use shardns::server::{Listen, Server};
use shardns::sys::xdp::Mode;

use super::lifetime::{ask, has_program, received, serve, serve_over_sockets};
use super::support::query;
use super::wire::{CLIENT, ENDS, SERVER, Wire, ip};
use super::{PATIENCE, config, demo, receive, taken, wire};

/// Sends a question from an address of the client to one of the server, where both are
/// in no network of the wire's.
fn ask_from(wire: &Wire, from: &str, to: SocketAddr) -> UdpSocket {
    let from: IpAddr = from.parse().unwrap();
    wire.at_client(|| {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(to).unwrap();
        socket.send(&query("www.example.com", 1)).unwrap();
        socket
    })
}

/// There, and when it has come back, datagrams go over the sockets.
#[test]
fn an_interface_that_goes_to_another_namespace_takes_nothing_along() {
    let Some(wire) = wire("moved") else { return };
    for mode in ["native", "generic"] {
        let mut server = serve(&wire, &["--xdp-mode", mode]);
        ask(&wire);
        let Wire {
            server: home,
            client,
        } = &wire;
        ip(&format!("-n {home} link set {} netns {client}", ENDS[0]));
        server.until("xdp-server was removed while it was read past the sockets, or has gone to");
        let link = ip(&format!("-n {client} -d link show {}", ENDS[0]));
        assert!(!link.contains("prog/xdp"), "{link}");
        ip(&format!("-n {client} link set {} netns {home}", ENDS[0]));
        for (address, prefix) in SERVER.into_iter().zip(["/24", "/64 nodad"]) {
            let [address, more] = [address, prefix].map(str::to_owned);
            let (length, flags) = more.split_once(' ').unwrap_or((&more, ""));
            ip(&format!(
                "-n {home} addr add {address}{length} dev {} {flags}",
                ENDS[0]
            ));
        }
        ip(&format!("-n {home} link set {} up", ENDS[0]));
        ask(&wire);
    }
}

#[test]
fn another_station_is_served_over_the_sockets() {
    let Some(wire) = wire("station") else { return };
    let mut server = serve(&wire, &[]);
    ask(&wire);
    let station = "02:00:00:00:12:34";
    ip(&format!(
        "-n {} link set {} address {station}",
        wire.server, ENDS[0]
    ));
    server.until("xdp-server has another MAC address by now");
    assert!(!has_program(&wire));
    ip(&format!("-n {} neigh flush all", wire.client));
    ask(&wire);
    server.signal("TERM");
    let table = server.end().1;
    assert_eq!(received(&table), 2, "{table}");
    assert_eq!(
        table.matches("has another").count(),
        0,
        "told once: {table}"
    );
    let lost = "times that it was removed or got another MAC address: 1";
    assert!(table.contains(lost), "{table}");
}

/// RFC 5798 has an address go from one router to another.
#[test]
fn an_address_that_goes_to_a_client_is_that_clients() {
    let Some(wire) = wire("failover") else { return };
    let Wire {
        server: at_server,
        client: at_client,
    } = &wire;
    for address in ["198.18.0.3/24", "198.18.0.4/24"] {
        ip(&format!(
            "-n {at_server} addr add {address} dev {}",
            ENDS[0]
        ));
    }
    let mut config = config(Mode::Native, 2);
    config.listen[0].address = "0.0.0.0:0".parse().unwrap();
    let mut server = wire.at_server(|| Server::start(&config, demo())).unwrap();
    let port = server.addresses()[0].port();
    let to = |address: &str| SocketAddr::new(address.parse().unwrap(), port);
    receive(&ask_from(&wire, CLIENT[0], to("198.18.0.3")));
    // Who still sends frames to the machine, as a router with an old neighbour does.
    let link = ip(&format!("-n {at_server} link show {}", ENDS[0]));
    let station = link
        .split("link/ether ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    let neighbour = format!("198.18.0.4 lladdr {station} dev {} nud permanent", ENDS[1]);
    ip(&format!("-n {at_client} neigh replace {neighbour}"));
    receive(&ask_from(&wire, CLIENT[0], to("198.18.0.4")));
    ip(&format!(
        "-n {at_server} addr del 198.18.0.4/24 dev {}",
        ENDS[0]
    ));
    ip(&format!(
        "-n {at_server} addr del 198.18.0.3/24 dev {}",
        ENDS[0]
    ));
    ip(&format!(
        "-n {at_client} addr add 198.18.0.3/24 dev {}",
        ENDS[1]
    ));
    // It has been heard of when what is sent to it has no answer.
    let ignored = |server: &Server| -> u64 {
        let workers = server.totals();
        workers.iter().map(|worker| worker.ignored).sum()
    };
    let begin = Instant::now();
    while ignored(&server) == 0 {
        assert!(begin.elapsed() < PATIENCE);
        assert_eq!(server.follow_interfaces(), [] as [String; 0]);
        let before = taken(&server).0;
        drop(ask_from(&wire, CLIENT[0], to("198.18.0.4")));
        while taken(&server).0 == before {
            assert!(begin.elapsed() < PATIENCE);
        }
        receive(&ask_from(&wire, CLIENT[0], to(SERVER[0])));
    }
    receive(&ask_from(&wire, "198.18.0.3", to(SERVER[0])));
    assert_eq!(ignored(&server), 1);
    // It may come back.
    ip(&format!(
        "-n {at_server} addr add 198.18.0.4/24 dev {}",
        ENDS[0]
    ));
    let mut is_answered = false;
    while !is_answered {
        assert!(begin.elapsed() < PATIENCE);
        server.follow_interfaces();
        let socket = ask_from(&wire, CLIENT[0], to("198.18.0.4"));
        // What is asked later is answered later, or by the other worker.
        receive(&ask_from(&wire, CLIENT[0], to(SERVER[0])));
        socket.set_nonblocking(true).unwrap();
        is_answered = socket.recv(&mut [0; 512]).is_ok();
    }
}

/// By another name, also beside the first one, and with an address that has a label.
#[test]
fn an_interface_is_found_by_each_of_its_names() {
    let Some(wire) = wire("altname") else { return };
    let at_server = &wire.server;
    let added = std::process::Command::new("ip")
        .args(["-n", at_server, "link", "property", "add", "dev", ENDS[0]])
        .args(["altname", "xdp-other"])
        .status();
    if !added.unwrap().success() {
        return super::support::running::skip("this kernel has no other names of interfaces");
    }
    ip(&format!(
        "-n {at_server} addr del {}/24 dev {}",
        SERVER[0], ENDS[0]
    ));
    ip(&format!(
        "-n {at_server} addr add {}/24 dev {} label {}:1",
        SERVER[0], ENDS[0], ENDS[0]
    ));
    let server = serve_over_sockets(&wire, &["--xdp", "xdp-other,xdp-server"]);
    ask(&wire);
    server.signal("TERM");
    let (code, table) = server.end();
    assert_eq!(code, Some(0), "{table}");
    assert!(!table.contains("by now"), "{table}");
    assert_eq!(received(&table), 2, "{table}");
}

/// The interface's own addresses come first.
#[test]
fn addresses_that_are_too_many_are_told() {
    let Some(wire) = wire("many") else { return };
    let folder = tempfile::tempdir().unwrap();
    let batch = folder.path().join("batch");
    let add = |number: u32| {
        format!(
            "addr add 10.{}.{}.1/32 dev lo\n",
            number / 200,
            number % 200
        )
    };
    std::fs::write(&batch, (0..4100).map(add).collect::<String>()).unwrap();
    ip(&format!("-n {} -batch {}", wire.server, batch.display()));
    let mut config = config(Mode::Native, 2);
    config.listen = vec![Listen {
        address: "0.0.0.0:0".parse().unwrap(),
        required: true,
    }];
    let server = wire.at_server(|| Server::start(&config, demo())).unwrap();
    let told = server.told_of_queues();
    let words = "; 5 of the addresses and ports that are served there are more than the program";
    assert!(told[0].contains(words), "{told:?}");
    let to = SocketAddr::new(SERVER[0].parse().unwrap(), server.addresses()[0].port());
    receive(&ask_from(&wire, CLIENT[0], to));
    assert_eq!(taken(&server), (1, 0));
}
