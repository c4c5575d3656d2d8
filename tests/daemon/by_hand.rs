//! Takeovers in which the test is one of both processes, and stops where it likes:
//! whoever waits for it goes on serving whoever asks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shardns::daemon::control::{Counted, Reply};
use shardns::server::counters::Totals;
use shardns::sys::lab::bind::{Reuse, bind_udp};
use shardns::sys::unix::{receive_descriptors, send_descriptors};

use super::control::ctl;
use super::support::running::{PROGRAM, own_user};
use super::takeover::controlled;
use super::*;

/// Long enough for any machine; what takes as long has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a process waits for one that is to let go.
const LETTING_GO: Duration = Duration::from_secs(10);

/// A connection on which the test speaks.
struct Lines(BufReader<UnixStream>);

impl Lines {
    fn on(stream: UnixStream) -> Lines {
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Lines(BufReader::new(stream))
    }

    fn say(&self, line: &Value) {
        let mut stream = self.0.get_ref();
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn command(&self, name: &str) {
        self.say(&json!({ "command": name }));
    }

    /// What the other process says; null where it has gone.
    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        match line.is_empty() {
            true => Value::Null,
            false => serde_json::from_str(&line).unwrap(),
        }
    }
}

/// A server that another takes over from, of the version before cookies were handed
/// over. It answers nothing.
struct Old {
    listener: UnixListener,
    /// Those of a group, if there are several.
    sockets: Vec<UdpSocket>,
}

impl Old {
    fn start(folder: &Folder) -> Old {
        let listener = UnixListener::bind(folder.path("control")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let sockets = vec![UdpSocket::bind("127.0.0.1:0").unwrap()];
        Old { listener, sockets }
    }

    /// One with so many workers.
    fn start_group(folder: &Folder, workers: usize) -> Old {
        let mut old = Old::start(folder);
        let address = old.sockets.pop().unwrap().local_addr().unwrap();
        let reuse = Reuse {
            address: false,
            port: true,
        };
        let sockets = (0..workers).map(|_| bind_udp(address, reuse).unwrap());
        old.sockets.extend(sockets);
        old
    }

    /// Has the program take over; returns it and the connection when it has said that
    /// it answers.
    fn begin(&self, folder: &Folder, more: &[&str]) -> (Running, Lines) {
        let (running, mut lines) = self.hand_over(folder, more);
        // Nothing is asked for that was not offered.
        let ready = lines.hear();
        assert_eq!(ready["command"], "ready", "{ready}");
        assert_eq!(ready["taken"]["groups"], json!([1]));
        (running, lines)
    }

    /// Has the program take over, up to where it has the sockets.
    fn hand_over(&self, folder: &Folder, more: &[&str]) -> (Running, Lines) {
        let address = self.sockets[0].local_addr().unwrap();
        let workers = self.sockets.len();
        let listen = address.to_string();
        let mut command = Command::new(PROGRAM);
        command
            .args(["serve", "--takeover", "--workers", "1", "--no-tcp"])
            .args(["--listen", &listen, "--control"])
            .arg(folder.path("control"))
            .args(own_user())
            .args(more)
            .arg(folder.0.path())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let running = Running {
            address,
            log: String::new(),
            stderr: BufReader::new(child.stderr.take().unwrap()),
            child,
        };
        let mut lines = Lines::on(self.accept());
        assert_eq!(lines.hear()["command"], "takeover");
        lines.say(&json!({ "offer": {
            "pid": 7, "version": "0", "workers": workers, "groups": [workers], "listeners": 0,
            "metrics": false, "counting_seconds": 100.0,
        }}));
        assert_eq!(lines.hear()["command"], "go");
        let sockets = self.sockets.iter().map(AsFd::as_fd);
        let descriptors: Vec<_> = sockets.chain([self.listener.as_fd()]).collect();
        send_descriptors(lines.0.get_ref(), &descriptors).unwrap();
        (running, lines)
    }

    fn accept(&self) -> UnixStream {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => return stream,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
            std::thread::yield_now();
        }
    }
}

fn status(folder: &Folder) -> Value {
    let (code, said) = ctl(folder, &["status", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    serde_json::from_str(&said).unwrap()
}

fn scrape(log: &str) -> String {
    let address = log.split("metrics at http://").nth(1).unwrap();
    let mut stream = TcpStream::connect(address.split('/').next().unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn one_that_waits_for_the_other_to_let_go_serves_whoever_asks() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let old = Old::start(&folder);
    let (mut running, mut lines) = old.begin(&folder, &["--metrics", "127.0.0.1:0"]);
    let begin = Instant::now();
    let state = status(&folder);
    assert_eq!(state["pid"], running.child.id());
    assert_eq!(state["taking_over_from"], 7);
    let (_, said) = ctl(&folder, &["status"]);
    assert!(
        said.contains("process 7, which it takes over from"),
        "{said}"
    );
    assert_eq!(ask(&running.client(), "a.test."), Ok(1));
    // A count that is not known yet is none that has been reset.
    let metrics = running.until("metrics at http://");
    assert!(scrape(&metrics).starts_with("HTTP/1.1 503 "));
    hang_up(&mut running);
    // Nobody else takes over what is not this one's yet.
    let another = Lines::on(UnixStream::connect(folder.path("control")).unwrap());
    another.command("takeover");
    assert!({ another }.hear()["error"].is_string());
    running.signal("TERM");
    let (code, rest) = running.end();
    let took = begin.elapsed();
    assert_eq!(code, Some(0), "{rest}");
    assert!(took < LETTING_GO, "{took:?}");
    // The other one is not told to end as well, and its name is left to it.
    assert_eq!(lines.hear(), Value::Null);
    assert!(!rest.contains("ready"), "{rest}");
    assert!(folder.path("control").exists());
}

#[test]
fn what_the_other_has_counted_is_known_once_it_lets_go() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let old = Old::start(&folder);
    let (mut running, lines) = old.begin(&folder, &["--metrics", "127.0.0.1:0"]);
    let metrics = running.until("metrics at http://");
    assert_eq!(status(&folder)["workers"][0]["received"], 0);
    let counted = Counted {
        workers: vec![Totals {
            received: 1000,
            ..Totals::default()
        }],
        ..Counted::default()
    };
    lines.say(&serde_json::to_value(Reply::LetGo(counted)).unwrap());
    let said = running.until("ready");
    assert!(said.contains("took over from process 7"), "{said}");
    running.until("reload: 0 loaded, 1 unchanged");
    let state = status(&folder);
    assert_eq!(state["workers"][0]["received"], 1000);
    assert!(state["counting_seconds"].as_f64() > Some(100.0));
    assert!(state.get("taking_over_from").is_none());
    assert!(scrape(&metrics).starts_with("HTTP/1.1 200 "));
}

#[test]
fn one_whose_predecessor_goes_on_ends_and_leaves_it_all() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let old = Old::start(&folder);
    // When it is asked to let go, or before that and without waiting to be asked.
    for begin in [Old::begin, Old::hand_over] {
        let (running, lines) = begin(&old, &folder, &[]);
        lines.say(&json!("withdrawn"));
        drop(lines);
        let (code, said) = running.end();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("to be taken over from goes on"), "{said}");
        assert!(folder.path("control").exists());
    }
}

#[test]
fn one_whose_predecessor_dies_goes_on_alone() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let old = Old::start(&folder);
    let (mut running, lines) = old.begin(&folder, &[]);
    drop((old, lines));
    running.until("process 7 died; its sockets are here");
    running.until("ready");
    assert_eq!(ask(&running.client(), "a.test."), Ok(1));
    assert_eq!(ctl(&folder, &["stop"]).0, Some(0));
    assert_eq!(running.end().0, Some(0));
    assert!(!folder.path("control").exists());
}

/// Also where it has taken a part of the sockets, and the other process has the rest; the
/// kernel's hash chooses among those that are left once there are no others.
#[test]
fn one_whose_predecessor_stands_still_reads_everything() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let old = Old::start_group(&folder, 4);
    let (mut running, lines) = old.begin(&folder, &[]);
    running.until("process 7 stands still; its sockets are read here");
    running.until("ready");
    for client in (0..32).map(|_| running.client()) {
        assert_eq!(ask(&client, "a.test."), Ok(1));
    }
    drop((old, lines));
    for client in (0..32).map(|_| running.client()) {
        assert_eq!(ask(&client, "a.test."), Ok(1));
    }
}

/// A process that takes over, up to where it has copies of everything.
fn take(folder: &Folder) -> (Lines, Value, Vec<OwnedFd>) {
    let mut lines = Lines::on(UnixStream::connect(folder.path("control")).unwrap());
    lines.command("takeover");
    let offer = lines.hear()["offer"].take();
    lines.command("go");
    let groups = offer["groups"].as_array().unwrap();
    let sockets: u64 = groups.iter().map(|group| group.as_u64().unwrap()).sum();
    let count = sockets + offer["listeners"].as_u64().unwrap() + 1;
    let descriptors = receive_descriptors(lines.0.get_ref(), count as usize).unwrap();
    (lines, offer, descriptors)
}

fn ready(lines: &Lines) {
    let taken = json!({ "groups": [1], "listeners": [true] });
    lines.say(&json!({ "command": "ready", "taken": taken, "process": 7 }));
}

#[test]
fn one_whose_successor_stands_still_serves_whoever_asks() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let mut running = controlled(&folder, "127.0.0.1:0", &["--workers", "1"]);
    let begin = Instant::now();
    let _successor = take(&folder);
    assert_eq!(status(&folder)["pid"], running.child.id());
    assert_eq!(ask(&running.client(), "a.test."), Ok(1));
    hang_up(&mut running);
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
    assert!(begin.elapsed() < LETTING_GO);
}

/// As one of a version before cookies were handed over.
#[test]
fn a_successor_that_asks_for_no_secrets_is_let_go_to_all_the_same() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let running = controlled(&folder, "127.0.0.1:0", &["--workers", "1"]);
    let (mut lines, _, _descriptors) = take(&folder);
    ready(&lines);
    assert!(lines.hear()["let-go"].is_object());
    // It stands still while it is on trial.
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn secrets_are_had_once() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let mut running = controlled(&folder, "127.0.0.1:0", &["--workers", "1"]);
    let (mut lines, offer, _descriptors) = take(&folder);
    assert_eq!(offer["cookie_secrets"], true);
    lines.command("cookie-secrets");
    let secrets = &lines.hear()["cookie-secrets"];
    assert_eq!(secrets["current"].as_array().unwrap().len(), 16);
    assert!(secrets["previous"].is_null());
    lines.command("cookie-secrets");
    assert_eq!(lines.hear(), "withdrawn");
    running.until("this one goes on as before");
    // Without cookies there are none.
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let _running = controlled(&folder, "127.0.0.1:0", &["--workers", "1", "--no-cookies"]);
    let (mut lines, offer, _descriptors) = take(&folder);
    assert_eq!(offer["cookie_secrets"], false);
    lines.command("cookie-secrets");
    assert_eq!(lines.hear(), "withdrawn");
}

/// Its query log goes on in another file, and what was written before has its end.
#[test]
fn one_that_goes_on_logs_queries_again() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let logs = Folder::new();
    let log = logs.path("q.tap");
    let options = ["--workers", "1", "--dnstap", log.to_str().unwrap()];
    let mut running = controlled(&folder, "127.0.0.1:0", &options);
    assert_eq!(ask(&running.client(), "a.test."), Ok(1));
    let (mut lines, _, descriptors) = take(&folder);
    ready(&lines);
    assert!(lines.hear()["let-go"].is_object());
    drop((lines, descriptors));
    let said = running.until("dnstap: 2 messages written, 0 queries lost");
    assert!(said.contains("this one goes on as before"), "{said}");
    assert_eq!(ask(&running.client(), "a.test."), Ok(1));
    running.signal("TERM");
    let (code, rest) = running.end();
    assert_eq!(code, Some(0), "{rest}");
    assert!(rest.contains("dnstap: 2 messages written"), "{rest}");
    let files: Vec<_> = fs::read_dir(logs.0.path()).unwrap().collect();
    assert_eq!(files.len(), 2, "{files:?}");
    for file in files {
        let octets = fs::read(file.unwrap().path()).unwrap();
        assert!(octets.ends_with(&[0, 0, 0, 4, 0, 0, 0, 3]), "STOP");
    }
}

/// One that stood still lets go to nobody who has given up meanwhile.
#[test]
fn a_successor_that_has_gone_is_not_let_go_to() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let mut running = controlled(&folder, "127.0.0.1:0", &["--workers", "1"]);
    let (lines, _, descriptors) = take(&folder);
    running.signal("STOP");
    let begin = Instant::now();
    while !is_stopped(running.child.id()) {
        assert!(begin.elapsed() < PATIENCE);
    }
    ready(&lines);
    drop((lines, descriptors));
    running.signal("CONT");
    let said = running.until("goes on as before");
    assert!(said.contains("did not get ready"), "{said}");
    assert_eq!(ask(&running.client(), "a.test."), Ok(1));
}

/// One that stood still does not go on beside the successor of its successor, nor where
/// somebody has ended that one.
#[test]
fn a_successor_that_was_to_end_is_believed() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    for is_stopped_before in [true, false] {
        let running = controlled(&folder, "127.0.0.1:0", &["--workers", "1"]);
        let (mut lines, _, descriptors) = take(&folder);
        if is_stopped_before {
            running.signal("STOP");
            let begin = Instant::now();
            while !is_stopped(running.child.id()) {
                assert!(begin.elapsed() < PATIENCE);
            }
        }
        ready(&lines);
        if !is_stopped_before {
            assert!(lines.hear()["let-go"].is_object());
        }
        lines.command("stop");
        drop((lines, descriptors));
        running.signal("CONT");
        let (code, rest) = running.end();
        assert_eq!(code, Some(0), "{rest}");
        assert!(rest.contains("this one ends with its last"), "{rest}");
        std::fs::remove_file(folder.path("control")).unwrap();
    }
}

/// True for a process that a signal has stopped.
fn is_stopped(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().starts_with('T')
}
