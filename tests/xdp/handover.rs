//! One server past the sockets takes over from another: nothing is lost, whether it
//! comes about or not, counting goes on, and what the log says is so.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shardns::daemon::control::Reply;
use shardns::daemon::takeover::Takeover;
use shardns::server::inherited::Inherited;
use shardns::server::queues::Readers;
use shardns::server::{Bound, Server};
use shardns::sys::unix::receive_descriptors;
use shardns::sys::xdp::Mode;

use super::lifetime::{
    ask, command, command_by, has_program, received, serve, serve_over_sockets, server_address,
};
use super::support::running::{PROGRAM, Running};
use super::support::{Over, query};
use super::wire::{ENDS, SECOND_ENDS, SECOND_SERVER, SERVER, Wire};
use super::{PATIENCE, client, config, demo, wire};

/// Where the control socket is. The folder is root's alone.
pub struct Folder {
    _folder: tempfile::TempDir,
    control: String,
}

impl Folder {
    pub fn new() -> Folder {
        let folder = tempfile::tempdir().unwrap();
        Folder {
            control: folder.path().join("control").to_str().unwrap().to_owned(),
            _folder: folder,
        }
    }

    pub fn options(&self) -> [&str; 4] {
        ["--control", &self.control, "--user", "root"]
    }
}

/// Asks one question after another until it is told to stop, and returns how many
/// had an answer. Each has to; but a veth may lose what just comes into its ring when
/// a program is taken off (`veth_napi_del` in `drivers/net/veth.c`), one in some hundred
/// times under many more than here.
fn ask_until(stop: &AtomicBool, address: &str) -> u64 {
    let socket = client(server_address(address));
    socket.set_read_timeout(Some(PATIENCE / 2)).unwrap();
    let (mut answered, mut lost) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        socket.send(&query("www.example.com", 1)).unwrap();
        match socket.recv(&mut [0; 2000]) {
            Ok(_) => answered += 1,
            Err(_) => lost += 1,
        }
    }
    assert!(lost <= 1, "{lost} of {answered} lost");
    answered
}

/// Does something while clients ask, every one of whom gets every answer. Returns what
/// comes of it, and how many there were.
fn while_clients_ask<T>(wire: &Wire, work: impl FnOnce() -> T) -> (T, u64) {
    let stop = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = SERVER
            .map(|address| scope.spawn(move || wire.at_client(|| ask_until(stop, address))))
            .into();
        let over = Over(stop);
        let done = work();
        drop(over);
        let answered = clients.into_iter().map(|one| one.join().unwrap()).sum();
        assert!(answered > 0);
        (done, answered)
    })
}

/// A server past the sockets is taken over from by another, which `serve_next` starts, while
/// clients ask, and for some time more. Returns the other one, and how many queries were
/// answered, which is all of them.
fn taken_over(
    wire: &Wire,
    serve_next: fn(&Wire, &[&str]) -> Running,
    more: Duration,
) -> (Running, u64) {
    let folder = Folder::new();
    let options = folder.options();
    let first = serve(wire, &options);
    while_clients_ask(wire, || {
        let second = serve_next(wire, &[&options[..], &["--takeover"]].concat());
        let (code, _) = first.end();
        assert_eq!(code, Some(0));
        std::thread::sleep(more);
        second
    })
}

#[test]
fn a_takeover_by_a_server_without_queues_loses_nothing() {
    let Some(wire) = wire("plain") else { return };
    let (second, answered) = taken_over(&wire, serve_over_sockets, Duration::ZERO);
    assert!(answered > 0);
    assert!(!has_program(&wire));
    drop(second);
}

#[test]
fn a_takeover_loses_nothing_and_goes_on_past_the_sockets() {
    let Some(wire) = wire("takeover") else { return };
    // Long enough for some to be asked of the second one alone.
    let (second, answered) = taken_over(&wire, serve, Duration::from_millis(100));
    assert!(answered > 100, "{answered}");
    assert!(has_program(&wire));
    assert!(received_at_end(second) > 0);
}

/// Ends a server, and returns what its queues have received.
fn received_at_end(server: Running) -> u64 {
    server.signal("TERM");
    let (code, table) = server.end();
    assert_eq!(code, Some(0), "{table}");
    received(&table)
}

#[test]
fn counting_goes_on_in_the_next_server() {
    let Some(wire) = wire("counting") else { return };
    for serve_next in [serve, serve_over_sockets] {
        let folder = Folder::new();
        let options = folder.options();
        let first = serve(&wire, &options);
        ask(&wire);
        let second = serve_next(&wire, &[&options[..], &["--takeover"]].concat());
        assert_eq!(first.end().0, Some(0));
        ask(&wire);
        let past = if has_program(&wire) { 4 } else { 2 };
        assert_eq!(received_at_end(second), past);
    }
}

/// Nothing is asked of the server that runs, which goes on past the sockets.
#[test]
fn a_takeover_that_cannot_be_is_none() {
    let Some(wire) = wire("misspelled") else {
        return;
    };
    let folder = Folder::new();
    let options = folder.options();
    let first = serve(&wire, &options);
    while_clients_ask(&wire, || {
        let arguments = [&options[..], &["--takeover", "--xdp", "xdp-sever"]].concat();
        let output = command(&wire, &arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("there is no interface `xdp-sever`"), "{said}");
    });
    assert!(has_program(&wire));
    first.signal("TERM");
    let rest = first.end().1;
    assert!(!rest.contains("another process"), "{rest}");
}

/// What the new server needs beside what the other one reads, it has to have first.
#[test]
fn a_takeover_that_fails_on_another_interface_leaves_the_first_one() {
    let Some(wire) = wire("other") else { return };
    wire.connect_second();
    let mut busy = config(Mode::Native, 1);
    busy.xdp.as_mut().unwrap().interfaces = vec![SECOND_ENDS[0].into()];
    for (listen, address) in busy.listen.iter_mut().zip(SECOND_SERVER) {
        listen.address.set_ip(address.parse().unwrap());
    }
    let _busy = wire.at_server(|| Server::start(&busy, demo())).unwrap();
    let folder = Folder::new();
    let options = folder.options();
    let mut first = serve(&wire, &options);
    while_clients_ask(&wire, || {
        let both = format!("{},{}", ENDS[0], SECOND_ENDS[0]);
        let listen = format!("--listen={}", server_address(SECOND_SERVER[0]));
        let arguments = ["--takeover", "--xdp", &both, &listen];
        let arguments = [&options[..], &arguments].concat();
        let output = command(&wire, &arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("attached to xdp-server2"), "{said}");
        first.until("the other process did not get ready; this one goes on as before");
    });
    assert!(has_program(&wire));
    assert!(received_at_end(first) > 0);
}

/// One that goes when the queues were left for it: what the log says then is so.
#[test]
fn a_server_that_has_left_its_queues_goes_on_over_its_sockets() {
    let Some(wire) = wire("left") else { return };
    let folder = Folder::new();
    let options = folder.options();
    let mut first = serve(&wire, &options);
    while_clients_ask(&wire, || {
        let begun = Takeover::begin(folder.control.as_ref()).unwrap();
        let (mut takeover, handed) = begun.unwrap();
        assert_eq!(takeover.offer.interfaces, [ENDS[0]]);
        assert!(has_program(&wire), "not before it is told");
        takeover.leave_queues().unwrap();
        assert!(!has_program(&wire));
        drop((takeover, handed));
        first.until("goes on over its sockets alone, and past them on xdp-server no more");
    });
    ask(&wire);
    let second = serve(&wire, &[&options[..], &["--takeover"]].concat());
    assert_eq!(first.end().0, Some(0));
    assert!(has_program(&wire));
    drop(second);
}

/// The sockets are those of a service manager, of which both servers have copies.
#[test]
fn a_server_that_a_manager_starts_takes_over_past_the_sockets() {
    let Some(wire) = wire("manager") else { return };
    let folder = Folder::new();
    let address = server_address(SERVER[0]);
    let socket = wire.at_server(|| UdpSocket::bind(address)).unwrap();
    let started = |more: &[&str]| {
        let script = "exec 3<&0; export LISTEN_PID=$$; exec \"$0\" serve \"$@\"";
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &wire.server, "sh", "-c", script])
            .args([PROGRAM, "--workers", "1", "--no-tcp", "--xdp", ENDS[0]])
            .args(folder.options())
            .args(more)
            .envs([("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "dns")])
            .stdin(OwnedFd::from(socket.try_clone().unwrap()));
        Running::spawn(&mut command)
    };
    let first = started(&[]);
    let second = started(&["--takeover"]);
    assert_eq!(first.end().0, Some(0));
    assert!(has_program(&wire));
    drop(second);
}

/// One that gives up on a server that stands still. What it has asked for is not done for
/// nobody later on.
#[test]
fn a_server_that_stood_still_keeps_its_queues() {
    let Some(wire) = wire("still") else { return };
    let folder = Folder::new();
    let mut first = serve(&wire, &folder.options());
    let stream = UnixStream::connect(&folder.control).unwrap();
    let mut lines = BufReader::new(&stream);
    let say = |line: &str| (&stream).write_all(line.as_bytes()).unwrap();
    say("{\"command\":\"takeover\"}\n");
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let Ok(Reply::Offer(offer)) = serde_json::from_str(&line) else {
        panic!("{line}");
    };
    say("{\"command\":\"go\"}\n");
    let sockets = offer.groups.iter().sum::<usize>() + offer.listeners;
    let descriptors = receive_descriptors(&stream, sockets + 1).unwrap();
    first.signal("STOP");
    let begin = Instant::now();
    while !is_stopped(first.child.id()) {
        assert!(begin.elapsed() < PATIENCE);
    }
    say("{\"command\":\"leave-queues\"}\n");
    drop((descriptors, stream));
    first.signal("CONT");
    let said = first.until("the other process did not get ready");
    assert!(said.contains("this one goes on as before"), "{said}");
    assert!(has_program(&wire));
    ask(&wire);
    assert_eq!(received_at_end(first), 2);
}

/// True for a process that a signal has stopped.
fn is_stopped(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().starts_with('T')
}

/// The program as a user who has what is needed and may lock so much memory, started by
/// another command. Nobody else's frames count with those of this user.
fn limited(
    wire: &Wire,
    folder: &Folder,
    (user, kib): (u32, u32),
    by: &[&str],
    more: &[&str],
) -> Command {
    let path = std::path::Path::new(&folder.control).parent().unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    let capabilities = "+net_raw,+net_admin,+bpf";
    let inherited = format!("--inh-caps={capabilities}");
    let ambient = format!("--ambient-caps={capabilities}");
    let [reuid, regid] = ["reuid", "regid"].map(|id| format!("--{id}={user}"));
    let user = [reuid.as_str(), &regid, "--clear-groups"];
    let limit = format!("--memlock={}", kib * 1024);
    let starter = [
        &["prlimit", &limit, "setpriv"],
        &user[..],
        &[&inherited, &ambient],
        by,
    ];
    let options = ["--control", &folder.control, "--xdp", ENDS[0]];
    command_by(wire, &starter.concat(), &[&options[..], more].concat())
}

const NO_MEMORY: &str = "too little memory may be locked for the frames of xdp-server, 4096 KiB a \
    queue; raise `ulimit -l`";

/// What it says, which does not start.
fn said_by(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

/// The frames of both servers count for their user, who may lock those of one. Where they
/// can never fit, the other server has not left anything for them. One test, since there is
/// one user.
#[test]
fn a_takeover_waits_for_memory_that_may_be_locked() {
    let Some(wire) = wire("memory") else { return };
    let folder = Folder::new();
    let two = ["--workers", "2"];
    let three = ["--workers", "2", "--takeover"];
    let first = Running::spawn(&mut limited(&wire, &folder, (65533, 8192), &[], &two));
    let mut second = Running::spawn(&mut limited(&wire, &folder, (65533, 8192), &[], &three));
    assert_eq!(first.end().0, Some(0));
    ask(&wire);
    let said = said_by(limited(&wire, &folder, (65533, 8191), &[], &three));
    assert!(said.contains(NO_MEMORY), "{said}");
    assert!(has_program(&wire));
    // Of workers that it does not know of before it has the sockets, it has to ask; a
    // manager's sockets are as many.
    let script = "exec 3<&0 4<&0; export LISTEN_PID=$$; exec \"$0\" \"$@\"";
    let one = ["--workers", "1", "--takeover"];
    let mut handed = limited(&wire, &folder, (65533, 8191), &["sh", "-c", script], &one);
    let socket = wire.at_server(|| UdpSocket::bind((SERVER[0], 0))).unwrap();
    handed
        .envs([("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "dns:dns")])
        .stdin(OwnedFd::from(socket));
    let said = said_by(handed);
    assert!(said.contains(NO_MEMORY), "{said}");
    let until = second.until("the other process did not get ready");
    assert!(until.contains("this one goes on as before"), "{until}");
    assert_eq!(until.matches("another process takes").count(), 1, "{until}");
    ask(&wire);
    assert_eq!(received_at_end(second), 4);
    let said = said_by(limited(&wire, &folder, (65533, 8191), &[], &two));
    assert!(said.contains(NO_MEMORY), "{said}");
}

/// UDP sockets that are bound to an address of IPv4.
fn bound_to(address: SocketAddr) -> usize {
    let SocketAddr::V4(address) = address else {
        panic!("{address}")
    };
    let ip = u32::from_ne_bytes(address.ip().octets());
    let local = format!(" {ip:08X}:{:04X} ", address.port());
    let list = std::fs::read_to_string("/proc/thread-self/net/udp").unwrap();
    list.lines().filter(|line| line.contains(&local)).count()
}

/// Of datagrams that come in meanwhile, none waits at a socket that nobody reads yet.
#[test]
fn sockets_are_added_when_the_queues_have_been_left() {
    let Some(wire) = wire("added") else { return };
    wire.at_server(|| {
        let mut first = Server::start(&config(Mode::Native, 1), demo()).unwrap();
        let address = first.addresses()[0];
        let mut wanted = config(Mode::Native, 2);
        for (listen, address) in wanted.listen.iter_mut().zip(first.addresses()) {
            listen.address = address;
        }
        let inherited = || Inherited::of(first.hand_over().unwrap()).unwrap();
        let (one, two) = (inherited(), inherited());
        let mut bind = |inherited, is_left: bool| {
            let mut readers = Readers {
                interfaces: &[ENDS[0].to_owned()],
                leave: Box::new(|| {
                    assert_eq!(bound_to(address), 1, "before anything is left");
                    match is_left {
                        true => drop(first.leave_queues()),
                        false => return Err(std::io::ErrorKind::TimedOut.into()),
                    }
                    Ok(())
                }),
            };
            Bound::bind_beside(&wanted, inherited, &mut readers)
        };
        assert!(bind(one, false).is_err());
        assert_eq!(bound_to(address), 1);
        let second = bind(two, true).unwrap();
        assert_eq!(bound_to(address), 2);
        drop(second);
    });
}

/// A server that may not add sockets finds out beforehand, and the other one goes on.
#[test]
fn a_takeover_that_cannot_add_sockets_leaves_the_queues() {
    let Some(wire) = wire("adding") else { return };
    let folder = Folder::new();
    let one = ["--workers", "1"];
    let two = ["--workers", "2", "--takeover"];
    let mut first = Running::spawn(&mut limited(&wire, &folder, (65532, 8192), &[], &one));
    let arguments = [&folder.options()[..], &two, &["--xdp", ENDS[0]]].concat();
    let said = said_by(command_by(&wire, &[], &arguments));
    assert!(said.contains("another user (uid 65532)"), "{said}");
    first.until("the other process did not get ready; this one goes on as before");
    let raise = "sysctl -qw net.ipv4.ip_unprivileged_port_start=6000";
    super::wire::ip(&format!("netns exec {} {raise}", wire.server));
    let said = said_by(limited(&wire, &folder, (65532, 8192), &[], &two));
    assert!(said.contains("no permission for port 5300"), "{said}");
    first.until("the other process did not get ready; this one goes on as before");
    assert!(has_program(&wire));
    assert!(received_at_end(first) == 0);
}
