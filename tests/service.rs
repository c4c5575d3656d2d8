//! The program as a service manager runs it: the units that it prints, sockets
//! that are handed in, what it tells of itself, and who it has become.

mod support;

use std::fs;
use std::io::{Write, stderr};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use support::query;

const PROGRAM: &str = env!("CARGO_BIN_EXE_shardns");
const PATIENCE: Duration = Duration::from_secs(20);
/// The exposure that the unit stays below, as `systemd-analyze security` counts.
const EXPOSURE: f32 = 2.0;

fn skip(what: &str) {
    let _ = writeln!(stderr(), "SKIPPED: {what}");
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[test]
fn systemd_is_content_with_the_units() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        return skip("what systemd says of the units: there is no systemd-analyze");
    }
    for arguments in [&["unit"][..], &["unit", "--config", "/etc/a b.toml"]] {
        let folder = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        for (name, arguments) in [
            ("shardns.service", arguments),
            ("shardns.socket", &["unit", "--socket"]),
        ] {
            paths.push(folder.path().join(name));
            fs::write(paths.last().unwrap(), unit(arguments)).unwrap();
        }
        let verified = Command::new("systemd-analyze")
            .arg("verify")
            .args(&paths)
            .output()
            .unwrap();
        assert!(
            verified.status.success() && text(&verified).is_empty(),
            "{}",
            text(&verified)
        );
        let rated = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager"])
            .arg(&paths[0])
            .output()
            .unwrap();
        let rated = text(&rated);
        let exposure: f32 = rated
            .split("Overall exposure level for shardns.service: ")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or_else(|| panic!("{rated}"));
        assert!(exposure < EXPOSURE, "{rated}");
    }
}

fn unit(arguments: &[&str]) -> String {
    let unit = Command::new(PROGRAM).args(arguments).output().unwrap();
    assert!(unit.status.success(), "{}", text(&unit));
    String::from_utf8(unit.stdout).unwrap()
}

#[test]
fn a_service_is_reached_where_ctl_looks_for_it() {
    let unit = unit(&["unit"]);
    let start = unit.lines().find(|line| line.starts_with("ExecStart="));
    let (_, control) = start.unwrap().split_once(" --control ").unwrap();
    let help = text(
        &Command::new(PROGRAM)
            .args(["ctl", "--help"])
            .output()
            .unwrap(),
    );
    let path = control.split(' ').next().unwrap();
    // The line may be broken before it.
    assert!(help.contains(&format!("{path}]\n")), "{help}");
    assert!(EXAMPLE.contains(&format!("\ncontrol = {path:?}\n")));
}

/// The configuration that the package brings.
const EXAMPLE: &str = include_str!("../src/cli/package/shardns.toml");

#[test]
fn every_line_of_the_example_can_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let zone = "$ORIGIN a.test.\n@ 60 SOA a. b. 1 2 3 4 5\n@ 60 NS ns.b.test.\n";
    write("a.zone", zone);
    // What is said about the keys has a space behind its #.
    let is_key = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase());
    let in_use = |line: &'static str| line.strip_prefix('#').filter(|rest| is_key(rest));
    let all: Vec<&str> = EXAMPLE
        .lines()
        .map(|line| in_use(line).unwrap_or(line))
        .collect();
    let keys = all.iter().filter(|line| is_key(line)).count();
    assert!(keys > 15, "{all:?}");
    let zones = folder.path().display().to_string();
    for text in [EXAMPLE, &all.join("\n")] {
        let text = text.replace("/etc/shardns/zones", &zones);
        let config = write("shardns.toml", &text);
        let checked = Command::new(PROGRAM)
            .args(["check", "--config", &config])
            .output()
            .unwrap();
        assert!(checked.status.success(), "{text}\n{checked:?}");
    }
}

/// A server that was handed sockets, and the manager that it tells about itself.
struct Service {
    child: Child,
    manager: UnixDatagram,
    _folder: tempfile::TempDir,
}

impl Service {
    /// Has a shell put the socket where `LISTEN_FDS` says that it is.
    fn start(socket: OwnedFd, arguments: &str) -> Service {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let script = format!(
            "exec 3<&0; export LISTEN_PID=$$ WATCHDOG_PID=$$; exec \"$0\" serve --workers 2 {arguments}"
        );
        let child = Command::new("sh")
            .args(["-c", &script, PROGRAM])
            .env("LISTEN_FDS", "1")
            .env("LISTEN_FDNAMES", "dns")
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "200000")
            .stdin(Stdio::from(socket))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Service {
            child,
            manager,
            _folder: folder,
        }
    }

    fn hears(&self, words: &str) {
        let mut octets = [0; 512];
        let length = self.manager.recv(&mut octets).unwrap();
        let heard = String::from_utf8_lossy(&octets[..length]);
        assert!(heard.starts_with(words), "{heard}");
    }

    fn end(mut self) -> String {
        let process = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .arg(process)
                .status()
                .unwrap()
                .success()
        );
        loop {
            let mut octets = [0; 512];
            let length = self.manager.recv(&mut octets).unwrap();
            if octets[..length].starts_with(b"STOPPING=1") {
                break;
            }
        }
        let stderr = self.child.stderr.take().unwrap();
        let log = std::io::read_to_string(stderr).unwrap();
        assert!(self.child.wait().unwrap().success(), "{log}");
        log
    }
}

fn ask(address: SocketAddr) {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
        .send_to(&query("www.example.com", 1), address)
        .unwrap();
    client.recv(&mut [0; 512]).unwrap();
}

#[test]
fn a_socket_that_is_handed_in_is_served_and_kept() {
    let kept = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = kept.local_addr().unwrap();
    for _ in 0..2 {
        // What arrives while no server runs waits, and is answered by the next.
        let early = UdpSocket::bind("127.0.0.1:0").unwrap();
        early.set_read_timeout(Some(PATIENCE)).unwrap();
        early
            .send_to(&query("www.example.com", 1), address)
            .unwrap();
        let service = Service::start(kept.try_clone().unwrap().into(), "");
        service.hears("READY=1\nSTATUS=");
        early.recv(&mut [0; 512]).unwrap();
        ask(address);
        service.hears("WATCHDOG=1");
        service.hears("WATCHDOG=1");
        let log = service.end();
        assert!(
            log.contains(&format!("2 workers read 1 socket of {address}")),
            "{log}"
        );
    }
}

#[test]
fn what_cannot_be_served_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = Command::new("sh")
        .args([
            "-c",
            "exec 3<&0; export LISTEN_PID=$$; exec \"$0\" serve",
            PROGRAM,
        ])
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", "control")
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(
        said.contains("socket 1 that the service manager hands in (`control`)"),
        "{said}"
    );
}

#[test]
fn the_programs_threads_are_nobodys() {
    if !is_root() {
        return skip("who the threads of the program are: only root becomes somebody else");
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let service = Service::start(socket.into(), "");
    service.hears("READY=1");
    let tasks = format!("/proc/{}/task", service.child.id());
    let mut threads = 0;
    for task in fs::read_dir(tasks).unwrap() {
        threads += 1;
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let has = |key: &str, value: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            assert_eq!(line.map(str::trim), Some(value), "{key} {status}");
        };
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            has(set, "0000000000000000");
        }
        has("Groups:", "");
        has("NoNewPrivs:", "1");
        has("Seccomp:", "2");
        has("Uid:", "65534\t65534\t65534\t65534");
    }
    assert!(threads > 3, "workers, TCP, signals");
    assert!(service.end().contains("it goes on as the user nobody"));
}
