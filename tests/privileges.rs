//! What a server gives up is gone, and what it needs is left. It cannot be had
//! back, so that each test gives it up in a process of its own: this program, run
//! once more for the one test.

mod support;

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write, stderr};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use shardns::daemon::privileges::{Paths, PrivilegeError, Privileges};
use shardns::server::snapshot::Snapshot;
use shardns::server::{Bound, Config, Listen};
use shardns::sys::user;
use shardns::zone::collection::Collection;
use shardns::zone::sources::FileNames;
use support::query;
use tempfile::TempDir;

/// Names the test whose body this process is for, and the folder it works in.
const CHILD: &str = "SHARDNS_TEST_APART";
const FOLDER: &str = "SHARDNS_TEST_FOLDER";
const SECOND: Duration = Duration::from_secs(1);
const SIGSYS: i32 = 31;
const ZONE: &str = "$ORIGIN example.com.\n$TTL 300\n@ SOA ns h 1 2 3 4 5\n NS ns\nns A 192.0.2.1\nwww A 192.0.2.80\n";

/// Does `body` in a process of its own, in a folder with `zones` and others, and
/// returns how that ended.
fn apart(test: &str, body: impl FnOnce(&Path)) -> Output {
    if std::env::var(CHILD).is_ok_and(|child| child == test) {
        body(&PathBuf::from(std::env::var_os(FOLDER).unwrap()));
        std::process::exit(0);
    }
    let folder = place();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        .env(FOLDER, folder.path())
        .output()
        .unwrap()
}

fn place() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), open).unwrap();
    for name in ["zones", "private", "run"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let zone = folder.path().join("zones/example.com.zone");
    fs::write(zone, ZONE).unwrap();
    fs::write(folder.path().join("private/key"), "secret").unwrap();
    folder
}

fn succeeded(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

/// Says that something was left out where the test runner does not hide it.
fn skip(what: &str) {
    let _ = writeln!(stderr(), "SKIPPED: {what}");
}

fn is_root() -> bool {
    user::effective() == 0
}

/// Stays whoever runs the tests, so that only the sandbox can be what forbids.
fn sandbox(folder: &Path) -> Vec<String> {
    let user = is_root().then_some("root");
    let privileges = Privileges::resolve(user, true).unwrap();
    privileges.drop(&paths(folder)).unwrap()
}

fn paths(folder: &Path) -> Paths {
    Paths {
        read: vec![folder.join("zones/example.com.zone")],
        write: vec![folder.join("run/control")],
    }
}

/// Whether the sandbox is whole; says so where it is not.
fn whole(notes: &[String]) -> bool {
    for note in notes {
        skip(note);
    }
    notes.is_empty()
}

#[test]
fn files_that_are_not_the_servers_are_out_of_reach() {
    let test = "files_that_are_not_the_servers_are_out_of_reach";
    let output = apart(test, |folder| {
        let zones = folder.join("zones");
        let zone = zones.join("example.com.zone");
        let key = folder.join("private/key");
        assert_eq!(fs::read_to_string(&key).unwrap(), "secret");
        let control = UnixListener::bind(folder.join("run/control")).unwrap();
        if !whole(&sandbox(folder)) {
            return;
        }
        let denied = |done: std::io::Result<()>| {
            assert_eq!(done.unwrap_err().kind(), ErrorKind::PermissionDenied);
        };
        let forbidden = move || {
            denied(File::open("/etc/passwd").map(drop));
            denied(File::open(&key).map(drop));
            denied(fs::read_dir("/").map(drop));
            denied(fs::write(zones.join("made"), "").map(drop));
            denied(fs::write(&zone, ""));
            denied(fs::remove_file(&zone));
            denied(UnixListener::bind(zones.join("control")).map(drop));
            assert_eq!(fs::read_dir(&zones).unwrap().count(), 1);
            assert!(fs::read_to_string(&zone).unwrap().contains("SOA"));
        };
        // Threads that are started are held to it, too.
        std::thread::spawn(forbidden.clone()).join().unwrap();
        forbidden();
        drop(control);
        fs::remove_file(folder.join("run/control")).unwrap();
        let control = UnixListener::bind(folder.join("run/new")).unwrap();
        fs::rename(folder.join("run/new"), folder.join("run/control")).unwrap();
        drop(control);
        // What a backtrace is made from.
        File::open(std::env::current_exe().unwrap()).unwrap();
        fs::read_to_string("/proc/self/maps").unwrap();
    });
    let text = succeeded(&output);
    text.lines()
        .filter_map(|line| line.strip_prefix("SKIPPED: "))
        .for_each(skip);
}

#[test]
fn system_calls_that_no_server_needs_fail() {
    let output = apart("system_calls_that_no_server_needs_fail", |folder| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        TcpStream::connect(address).unwrap();
        let (ask, told) = std::sync::mpsc::channel::<()>();
        // A thread that was there before is held to the system calls, too.
        let before = std::thread::spawn(move || {
            told.recv().unwrap();
            TcpStream::connect(address).is_err() && UdpSocket::bind("127.0.0.1:0").is_err()
        });
        sandbox(folder);
        ask.send(()).unwrap();
        assert!(before.join().unwrap());
        assert!(TcpStream::connect(address).is_err());
        assert!(TcpListener::bind("127.0.0.1:0").is_err());
        assert!(UdpSocket::bind("127.0.0.1:0").is_err());
        assert!(Command::new("/bin/true").status().is_err());
        // What threads, control and service manager need is left.
        std::thread::spawn(|| ()).join().unwrap();
        let (one, other) = UnixDatagram::pair().unwrap();
        one.send(b"READY=1").unwrap();
        let mut octets = [0; 16];
        assert_eq!(other.recv(&mut octets).unwrap(), 7);
        UnixDatagram::unbound().unwrap();
        listener.set_nonblocking(true).unwrap();
        listener.accept().unwrap();
    });
    succeeded(&output);
}

#[test]
fn executing_a_program_ends_the_process() {
    let output = apart("executing_a_program_ends_the_process", |folder| {
        sandbox(folder);
        // Not reached: an error would end the process otherwise than by a signal.
        panic!("{}", Command::new("/bin/true").exec());
    });
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(SIGSYS), "{text}");
}

#[test]
fn without_a_sandbox_nothing_is_forbidden() {
    let output = apart("without_a_sandbox_nothing_is_forbidden", |folder| {
        let user = is_root().then_some("root");
        let privileges = Privileges::resolve(user, false).unwrap();
        assert!(privileges.drop(&paths(folder)).unwrap().is_empty());
        File::open("/etc/passwd").unwrap();
        assert!(Command::new("/bin/true").status().unwrap().success());
        assert_eq!(status("NoNewPrivs"), "1");
    });
    succeeded(&output);
}

/// A line of what the kernel tells about the calling thread.
fn status(key: &str) -> String {
    let text = fs::read_to_string("/proc/thread-self/status").unwrap();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    value.unwrap().trim().to_owned()
}

#[test]
fn root_becomes_nobody_without_groups_and_capabilities() {
    if !is_root() {
        return skip("dropping privileges: only root has some");
    }
    let test = "root_becomes_nobody_without_groups_and_capabilities";
    let output = apart(test, |folder| {
        let secret = folder.join("zones/secret.zone");
        fs::write(&secret, "").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let mut paths = paths(folder);
        paths.read.push(secret);
        // Without the sandbox, which would keep the test from looking.
        let privileges = Privileges::resolve(None, false).unwrap();
        let notes = privileges.drop(&paths).unwrap();
        let gone = || {
            let nobody = user::by_name("nobody").unwrap().unwrap();
            let four = |number: u32| format!("{number}\t{number}\t{number}\t{number}");
            assert_eq!(status("Uid"), four(nobody.uid));
            assert_eq!(status("Gid"), four(nobody.gid));
            assert_eq!(status("Groups"), "");
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(status(set), "0000000000000000", "{set}");
            }
            assert_eq!(status("NoNewPrivs"), "1");
        };
        gone();
        std::thread::spawn(gone).join().unwrap();
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].contains("as the user nobody"), "{notes:?}");
        assert!(notes[1].contains("secret.zone cannot be read"), "{notes:?}");
        let root = Privileges::resolve(Some("root"), false).unwrap_err();
        assert!(matches!(root, PrivilegeError::NotRoot { .. }), "{root}");
        let sentence = Privileges::resolve(Some("0"), false)
            .unwrap_err()
            .to_string();
        assert!(sentence.contains("as `nobody`"), "{sentence}");
        // Its own name is no fault.
        Privileges::resolve(Some("nobody"), true).unwrap();
    });
    succeeded(&output);
}

#[test]
fn users_that_are_not_there_are_named() {
    let error = Privileges::resolve(Some("no-such-user"), true).unwrap_err();
    assert!(error.to_string().contains("`no-such-user`"), "{error}");
}

#[test]
fn a_server_answers_and_reloads_inside() {
    let output = apart("a_server_answers_and_reloads_inside", |folder| {
        let zone = folder.join("zones").to_string_lossy().into_owned();
        let load = || {
            let mut collection = Collection::new(FileNames::default());
            let report = collection.refresh(std::slice::from_ref(&zone));
            assert!(report.faults.is_empty());
            Arc::new(collection.zones())
        };
        let config = Config {
            listen: vec![Listen {
                address: "127.0.0.1:0".parse().unwrap(),
                required: true,
            }],
            workers: Some(2),
            ..Config::default()
        };
        let zones = load();
        let bound = Bound::bind(&config).unwrap();
        let address = bound.addresses()[0];
        // Nobody can make a client afterwards.
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.set_read_timeout(Some(10 * SECOND)).unwrap();
        udp.connect(address).unwrap();
        let mut tcp = TcpStream::connect(address).unwrap();
        let user = is_root().then_some("nobody");
        let privileges = Privileges::resolve(user, true).unwrap();
        let notes = privileges.drop(&paths(folder)).unwrap();
        whole(&notes);
        let mut server = bound.start(zones).unwrap();
        let request = query("www.example.com", 1);
        let mut reply = [0; 512];
        let mut ask = || {
            udp.send(&request).unwrap();
            let length = udp.recv(&mut reply).unwrap();
            assert!(length > request.len() && reply[3] & 15 == 0);
        };
        ask();
        let length = (request.len() as u16).to_be_bytes();
        tcp.write_all(&[&length, &request[..]].concat()).unwrap();
        let mut octets = [0; 2];
        tcp.read_exact(&mut octets).unwrap();
        let settings = server.snapshot().settings.clone();
        server.replace(Snapshot {
            zones: load(),
            settings,
        });
        ask();
        server.stop();
        let received: u64 = server.totals().iter().map(|totals| totals.received).sum();
        assert_eq!(received, 3);
        assert!(server.events().try_recv().is_err(), "nothing went wrong");
    });
    succeeded(&output);
}
