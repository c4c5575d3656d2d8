//! Interfaces that cannot be read past the sockets: each has a sentence that says
//! what to do.

use std::time::Duration;

use shardns::server::Server;
use shardns::sys::xdp::{Interface, Mode, Options};

use super::wire::{ENDS, SERVER, Wire};
use super::{config, demo, wire};

fn fault(wire: &Wire, interfaces: &[&str]) -> String {
    fault_of(wire, Mode::Auto, interfaces)
}

fn fault_of(wire: &Wire, mode: Mode, interfaces: &[&str]) -> String {
    let mut config = config(mode, 1);
    let xdp = config.xdp.as_mut().unwrap();
    xdp.interfaces = interfaces.iter().map(|name| (*name).to_owned()).collect();
    match wire.at_server(|| Server::start(&config, demo())) {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}

/// Cards take VLAN tags off, and so do the interfaces of these tests unless told.
#[test]
fn tags_that_are_hidden_are_refused() {
    let Some(wire) = wire("tags") else { return };
    if !wire.add_vlan(&wire.server, ENDS[0]) {
        return;
    }
    let said = fault(&wire, &[ENDS[0]]);
    assert!(
        said.contains("`ethtool -K xdp-server rxvlan off`"),
        "{said}"
    );
}

#[test]
fn what_is_in_the_way_is_said() {
    let Some(wire) = wire("faults") else { return };
    let server = &wire.server;
    super::wire::ip(&format!(
        "-n {server} link add other type veth peer name another"
    ));
    super::wire::ip(&format!("-n {server} tuntap add dev tunnel mode tun"));
    for (interface, words) in [
        (
            "no-such",
            "there is no interface `no-such`; `ip link` lists them",
        ),
        ("lo", "lo is loopback"),
        ("tunnel", "tunnel is no Ethernet interface"),
        ("other", "no address that is served is one of other"),
    ] {
        let said = fault(&wire, &[interface]);
        assert!(said.contains(words), "{interface}: {said}");
    }
    // Nothing of what failed is left, and the first of two is let go where the
    // second cannot be had.
    fault(&wire, &[ENDS[0], "no-such"]);
    let config = config(Mode::Native, 1);
    let first = wire.at_server(|| Server::start(&config, demo())).unwrap();
    let said = fault(&wire, &[ENDS[0]]);
    assert!(
        said.contains("SO_REUSEPORT") || said.contains("another XDP program"),
        "{said}"
    );
    drop(first);
    wire.at_server(|| Server::start(&config, demo())).unwrap();
}

/// Packets of the other end that are larger than a page have no room before a program.
#[test]
fn a_driver_that_runs_no_program_is_said_to_or_done_without() {
    let Some(wire) = wire("driver") else { return };
    super::wire::ip(&format!("-n {} link set {} mtu 9000", wire.client, ENDS[1]));
    let said = fault_of(&wire, Mode::Native, &[ENDS[0]]);
    assert!(
        said.starts_with("the driver of xdp-server runs no XDP program (")
            && said.contains("use --xdp-mode generic"),
        "{said}"
    );
    let config = config(Mode::Auto, 1);
    let server = wire.at_server(|| Server::start(&config, demo())).unwrap();
    let told = server.told_of_queues();
    assert!(
        told[0].contains(", behind the driver (generic mode), "),
        "{told:?}"
    );
}

/// Its program is gone, and it has not let go of the queue.
#[test]
fn a_queue_that_somebody_reads_is_said_to_be_taken() {
    let Some(wire) = wire("taken") else { return };
    let open = || {
        let served = format!("{}:53", SERVER[0]).parse().unwrap();
        let options = Options {
            mode: Mode::Native,
            readers: 1,
            width: 1,
            reply: 512,
        };
        let prepared = Interface::prepare(ENDS[0], &[served], &options).unwrap();
        let (mut interface, ports) = prepared.open(Duration::ZERO).unwrap();
        interface.detach();
        (interface, ports)
    };
    let reader = wire.at_server(open);
    assert_eq!(
        fault(&wire, &[ENDS[0]]),
        "queue 0 of xdp-server is read by another process; stop that one first"
    );
    drop(reader);
    let config = config(Mode::Native, 1);
    wire.at_server(|| Server::start(&config, demo())).unwrap();
}
