//! Interfaces that cannot be read past the sockets: each has a sentence that says
//! what to do.

use shardns::server::Server;
use shardns::sys::xdp::Mode;

use super::wire::ENDS;
use super::{config, demo, wire};

fn fault(wire: &super::wire::Wire, interfaces: &[&str]) -> String {
    let mut config = config(Mode::Auto, 1);
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
