//! An interface that is given another name while it is read past the sockets is the same
//! one: it is followed, and taken over by the name that it has by then.

use std::process::Command;
use std::time::Instant;

use shardns::server::Server;
use shardns::sys::xdp::Mode;

use super::handover::Folder;
use super::lifetime::{ask, has_program_on, received, serve, serve_over_sockets, server_address};
use super::mtu;
use super::support::running::skip;
use super::wire::{ENDS, SERVER, Wire};
use super::{PATIENCE, client, config, demo, wire};

const LATER: &str = "xdp-renamed";

/// Names the server's end anew; false where the kernel does that only while it is down,
/// as before Linux 6.2.
fn rename(wire: &Wire, from: &str, to: &str) -> bool {
    let renamed = Command::new("ip")
        .args(["-n", &wire.server, "link", "set", from, "name", to])
        .status();
    let renamed = renamed.unwrap().success();
    if !renamed {
        skip("this kernel renames no interface that is up");
    }
    renamed
}

#[test]
fn a_renamed_interface_is_followed_and_taken_over() {
    let Some(wire) = mtu::large_wire("renamed") else {
        return;
    };
    let folder = Folder::new();
    let options = [&folder.options()[..], &["--edns-size", "4096"]].concat();
    let mut first = serve(&wire, &options);
    ask(&wire);
    if !rename(&wire, ENDS[0], LATER) {
        return;
    }
    first.until("xdp-server is named xdp-renamed by now");
    // Replies follow its MTU.
    let socket = wire.at_client(|| client(server_address(SERVER[0])));
    assert!(mtu::ask(&socket).1);
    mtu::set_mtu_of(&wire, LATER, 1280);
    let begin = Instant::now();
    while mtu::ask(&socket).1 {
        assert!(begin.elapsed() < PATIENCE);
    }
    // The next one knows no other name.
    let later = [&options[..], &["--takeover", "--xdp", LATER]].concat();
    let mut second = serve_over_sockets(&wire, &later);
    let (code, rest) = first.end();
    assert_eq!(code, Some(0), "{rest}");
    assert!(!rest.contains("is named"), "told once: {rest}");
    assert!(has_program_on(&wire, LATER));
    ask(&wire);
    // As it was named at first, and of its counters there is one table.
    assert!(rename(&wire, LATER, ENDS[0]));
    second.until("xdp-renamed is named xdp-server by now");
    second.signal("TERM");
    let table = second.end().1;
    assert!(received(&table) >= 6, "{table}");
    assert!(!table.contains(LATER), "{table}");
}

/// Also between two looks, and the one of its old name is another.
#[test]
fn a_name_is_looked_up_when_it_is_told() {
    let Some(wire) = wire("names") else { return };
    let config = config(Mode::Native, 2);
    let mut server = wire.at_server(|| Server::start(&config, demo())).unwrap();
    if !rename(&wire, ENDS[0], LATER) {
        return;
    }
    assert_eq!(server.open_interfaces(), [LATER]);
    super::wire::ip(&format!(
        "-n {} link add {} type veth peer name another",
        wire.server, ENDS[0]
    ));
    mtu::set_mtu_of(&wire, ENDS[0], 500);
    let said = server.follow_interfaces();
    assert_eq!(
        said,
        ["xdp-server is named xdp-renamed by now, and is told of by that name"]
    );
    assert_eq!(server.follow_interfaces(), [] as [String; 0]);
    assert_eq!(server.interfaces()[0].interface, LATER);
}
