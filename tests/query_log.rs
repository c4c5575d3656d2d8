//! The query log as others' programs read it: `dnstap-read` a file, and
//! `fstrm_capture` a socket. And live queries of a server that answers.

mod support;

use std::io::{BufRead, BufReader, Read, Write, stderr};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use shardns::daemon::dnstap::{Config as Log, Dnstap, Target};
use shardns::daemon::queries::{self, LiveQuery};
use shardns::server::{Config, Listen, Server};
use support::running::{NOBODY, PROGRAM, Running, is_root, skip};

/// Long enough for any machine; what takes as long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn start() -> Server {
    let listen = |address: &str| Listen {
        address: address.parse().unwrap(),
        required: true,
    };
    let config = Config {
        listen: vec![listen("127.0.0.1:0"), listen("[::1]:0")],
        workers: Some(2),
        settings: support::settings(),
        ..Config::default()
    };
    Server::start(&config, Arc::new(support::demo())).unwrap()
}

fn log(server: &Server, target: Target) -> Dnstap {
    let config = Log {
        target,
        every: 1,
        identity: b"tested".into(),
        version: b"shardns".into(),
    };
    Dnstap::start(server.tap(), config).unwrap()
}

/// Asks for a name below a zone that nobody has, over both families and both
/// transports.
fn ask(server: &Server) {
    for address in server.addresses() {
        let any = if address.is_ipv4() {
            "127.0.0.1:0"
        } else {
            "[::1]:0"
        };
        let socket = UdpSocket::bind(any).unwrap();
        socket.connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send(&support::query("udp.invalid", 1)).unwrap();
        assert!(socket.recv(&mut [0; 512]).unwrap() > 12);

        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = support::query("tcp.invalid", 28);
        let length = (request.len() as u16).to_be_bytes();
        stream.write_all(&[&length, &request[..]].concat()).unwrap();
        stream.read_exact(&mut [0; 14]).unwrap();
    }
}

fn is_installed(program: &str) -> bool {
    let found = Command::new("which").arg(program).output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        // Where the test runner does not hide it.
        let _ = writeln!(stderr(), "SKIPPED: {program} is not installed");
    }
    found
}

fn dnstap_read(path: &Path) -> String {
    let output = Command::new("dnstap-read").arg(path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Looks for eight messages: a query and a reply by two families and two
/// transports, between the addresses that they went between.
fn check(text: &str, server: &Server) {
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 8, "{text}");
    for address in server.addresses() {
        for (transport, question) in [("UDP", "udp.invalid/IN/A"), ("TCP", "tcp.invalid/IN/AAAA")] {
            for (kind, arrow) in [("AQ", "->"), ("AR", "<-")] {
                let end = format!("{arrow} {}:{} {transport}", address.ip(), address.port());
                let found = lines.iter().filter(|line| {
                    line.contains(&format!(" {kind} "))
                        && line.contains(&end)
                        && line.ends_with(question)
                });
                assert_eq!(found.count(), 1, "{kind} {end} {question} in\n{text}");
            }
        }
    }
}

#[test]
fn dnstap_read_reads_the_file() {
    if !is_installed("dnstap-read") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.tap");
    let mut server = start();
    let log = log(&server, Target::File(path.clone()));
    ask(&server);
    server.stop();
    let counts = log.stop();
    assert_eq!((counts.written, counts.lost), (8, 0));
    check(&dnstap_read(&path), &server);
    let details = Command::new("dnstap-read").arg("-y").arg(&path).output();
    let details = String::from_utf8(details.unwrap().stdout).unwrap();
    assert_eq!(details.matches("identity: tested").count(), 8, "{details}");
    assert_eq!(
        details.matches("opcode: QUERY, status: REFUSED").count(),
        4,
        "{details}"
    );
    let tapped: u64 = server.totals().iter().map(|totals| totals.tapped).sum();
    assert_eq!(tapped, 4);
}

/// A child that does not outlive the test.
struct Reader(Child);

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn fstrm_capture_takes_it_from_a_socket() {
    if !is_installed("fstrm_capture") || !is_installed("dnstap-read") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (socket, file) = (folder.path().join("socket"), folder.path().join("q.tap"));
    let capture = Command::new("fstrm_capture")
        .args(["-t", "protobuf:dnstap.Dnstap", "-u"])
        .arg(&socket)
        .arg("-w")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut capture = Reader(capture.unwrap());
    await_that(|| socket.exists());
    let mut server = start();
    let log = log(&server, Target::Unix(socket));
    await_that(|| log.counts().connected);
    ask(&server);
    server.stop();
    let counts = log.stop();
    assert_eq!((counts.written, counts.lost), (8, 0));
    // It writes what it holds when it is told to end.
    let ended = Command::new("kill")
        .arg(capture.0.id().to_string())
        .status();
    assert!(ended.unwrap().success());
    capture.0.wait().unwrap();
    check(&dnstap_read(&file), &server);
}

fn serve(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardns"));
    command
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(support::running::own_user())
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

#[test]
fn the_program_logs_until_it_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.tap");
    let mut program = Reader(
        serve(&["--dnstap", path.to_str().unwrap()])
            .spawn()
            .unwrap(),
    );
    let mut said = BufReader::new(program.0.stderr.take().unwrap()).lines();
    let address = said.find_map(|line| {
        let line = line.unwrap();
        let (_, rest) = line.split_once("listening on ")?;
        Some(rest.split(',').next()?.to_owned())
    });
    let ready = |line: std::io::Result<String>| line.unwrap().ends_with("ready");
    assert!(said.any(ready));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address.unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send(&support::query("udp.invalid", 1)).unwrap();
    assert!(socket.recv(&mut [0; 512]).unwrap() > 12);
    let ended = Command::new("kill")
        .arg(program.0.id().to_string())
        .status();
    assert!(ended.unwrap().success());
    let told: Vec<String> = said.map(Result::unwrap).collect();
    let counts = "dnstap: 2 messages written, 0 queries lost on the way";
    assert!(told.iter().any(|line| line.contains(counts)), "{told:?}");
    assert!(program.0.wait().unwrap().success());
    let log = std::fs::read(&path).unwrap();
    assert!(
        log.ends_with(&[0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 3]),
        "it ends with STOP"
    );
}

#[test]
fn a_log_that_cannot_be_written_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    if is_root() {
        // Who writes to it.
        let owned = Command::new("chown").arg("nobody").arg(&pipe).status();
        assert!(owned.unwrap().success());
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let dangling = folder.path().join("link");
    std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
    for (arguments, code, said) in [
        (
            &["--dnstap", pipe.to_str().unwrap()][..],
            1,
            "nobody reads this pipe; start what does before the server",
        ),
        (
            &["--dnstap", folder.path().to_str().unwrap()],
            1,
            "is a directory",
        ),
        (
            &["--dnstap", dangling.to_str().unwrap()],
            1,
            "a link to what is not there",
        ),
        (
            &["--dnstap", "/nowhere/q.tap"][..],
            1,
            "shardns: cannot log queries to /nowhere/q.tap: No such file",
        ),
        (&["--dnstap", "unix:"], 2, "the path of a socket"),
        (&["--dnstap-sample", "5"], 2, "--dnstap <FILE|unix:PATH>"),
        (
            &["--dnstap", "q.tap", "--dnstap-sample", "0"],
            2,
            "0 is not in 1..",
        ),
    ] {
        let output = serve(arguments).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(said), "{text}");
    }
}

/// Which nobody may either, who root becomes.
#[test]
fn a_folder_of_root_is_told_of_before_anything_is_taken_over() {
    if !is_root() {
        return skip("the query log of a server that root starts: needs root to start it");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
    let (path, control) = (folder.path().join("q.tap"), folder.path().join("control"));
    let control = ["--control", control.to_str().unwrap()];
    let first = Running::start(&control);
    let serve = |listen: &str, more: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--listen", listen, "--dnstap"]);
        command.arg(&path).args(more);
        command
    };
    let listen = first.address.to_string();
    let refused = |more: &[&str], user: &str| {
        let output = serve(&listen, more).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let (path, folder) = (path.display(), folder.path().display());
        for words in [
            &format!("cannot log queries to {path}: Permission denied"),
            &format!("the user {user} makes the file"),
            &format!("do so in {folder}: "),
            &format!("`install -d -o {user} {folder}/dnstap`"),
        ] {
            assert!(said.contains(words), "{said}");
        }
    };
    let takeover = [&control[..], &["--takeover"]].concat();
    refused(&takeover, "nobody");
    refused(&[&takeover[..], &["--user", "65533"]].concat(), "65533");
    assert!(!path.exists());
    // One that is there already has to be set aside at the next reload.
    std::fs::write(&path, "x").unwrap();
    chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    refused(&takeover, "nobody");
    first.signal("TERM");
    let (_, rest) = first.end();
    assert!(!rest.contains("another process"), "{rest}");
    // What it says to do is what it takes.
    chown(&folder, Some(NOBODY), None).unwrap();
    let mut running = Running::spawn(&mut serve("127.0.0.1:0", &[]));
    running.signal("HUP");
    running.until("reload: ");
    let there = || std::fs::read_dir(folder.path()).unwrap().count();
    await_that(|| there() == 3);
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}

fn await_that(done: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "it does not happen");
        thread::yield_now();
    }
}

#[test]
fn live_queries_come_from_all_threads_until_nobody_looks() {
    let server = start();
    let viewer = queries::watch(server.tap(), 1).unwrap();
    ask(&server);
    let mut lines: Vec<LiveQuery> = Vec::new();
    while lines.len() < 4 {
        let exchange = viewer.receiver().recv_timeout(PATIENCE).unwrap();
        lines.push((&*exchange).into());
    }
    for line in &lines {
        let question = line.question.as_ref().unwrap();
        assert_eq!(question.name, format!("{}.invalid.", line.transport));
        assert_eq!(line.worker.is_none(), line.transport == "tcp");
        assert_eq!(line.rcode.as_deref(), Some("REFUSED"));
    }
    drop(viewer);
    ask(&server);
    let tapped: u64 = server.totals().iter().map(|totals| totals.tapped).sum();
    assert_eq!(tapped, 4);
}
