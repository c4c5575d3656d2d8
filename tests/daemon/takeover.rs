//! One process takes the sockets of another.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::control::ctl;
use super::support::running::{PROGRAM, own_user};
use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

pub fn controlled(folder: &Folder, listen: &str, more: &[&str]) -> Running {
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--listen", listen, "--control"]);
    command.arg(folder.path("control")).args(own_user());
    command.args(more).arg(folder.0.path());
    Running::spawn(&mut command)
}

/// The next process, on the address of the one before.
pub fn successor(folder: &Folder, before: &Running, more: &[&str]) -> Running {
    let listen = before.address.to_string();
    controlled(folder, &listen, &[&["--takeover"], more].concat())
}

/// Clients that ask at a steady rate, and count by number what does not come back. On a
/// machine that is busy with something else they wait: more than the sockets hold would
/// be dropped by the kernel, takeover or not.
struct Load {
    over: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<(usize, BTreeSet<u16>)>>,
}

impl Load {
    const CLIENTS: usize = 8;
    /// Queries that a client has under way at most; a socket holds some 10,000, or 270
    /// where `net.core.rmem_max` is small.
    const WINDOW: usize = 32;

    fn start(running: &Running) -> Load {
        let over = Arc::<AtomicBool>::default();
        let address = running.address;
        let client = || {
            let over = over.clone();
            thread::spawn(move || {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.connect(address).unwrap();
                socket.set_nonblocking(true).unwrap();
                let mut request = query("www.a.test.", 1);
                let (mut sent, mut waiting) = (0, BTreeSet::new());
                let mut last = Instant::now();
                let mut reply = [0; 512];
                while !over.load(Ordering::Relaxed) || last.elapsed() < PATIENCE {
                    let is_asking = sent < 60_000 && waiting.len() < Load::WINDOW;
                    if is_asking && !over.load(Ordering::Relaxed) {
                        let id = sent as u16;
                        request[..2].copy_from_slice(&id.to_be_bytes());
                        socket.send(&request).unwrap();
                        waiting.insert(id);
                        sent += 1;
                        last = Instant::now();
                    }
                    while let Ok(length) = socket.recv(&mut reply) {
                        assert_eq!((reply[3] & 15, length > 12), (0, true));
                        waiting.remove(&u16::from_be_bytes([reply[0], reply[1]]));
                    }
                    thread::sleep(Duration::from_micros(500));
                    if waiting.is_empty() && over.load(Ordering::Relaxed) {
                        break;
                    }
                }
                (sent, waiting)
            })
        };
        let threads = (0..Load::CLIENTS).map(|_| client()).collect();
        Load { over, threads }
    }

    /// Returns how many were sent and how many got no reply.
    fn end(self) -> (usize, usize) {
        self.over.store(true, Ordering::Relaxed);
        let all = self
            .threads
            .into_iter()
            .map(|thread| thread.join().unwrap());
        all.fold((0, 0), |(sent, lost), (more, waiting)| {
            (sent + more, lost + waiting.len())
        })
    }
}

fn answered(folder: &Folder) -> u64 {
    let (_, said) = ctl(folder, &["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&said).unwrap();
    let workers = status["workers"].as_array().unwrap();
    let received = |worker: &serde_json::Value| worker["received"].as_u64().unwrap();
    workers.iter().map(received).sum()
}

#[test]
fn with_as_many_workers_nothing_is_lost_and_counting_goes_on() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let mut running = controlled(&folder, "127.0.0.1:0", &["--workers", "2"]);
    let load = Load::start(&running);
    for number in 2..8 {
        folder.zone("a.test.", number.into(), number);
        let next = successor(&folder, &running, &["--workers", "2", "--batch", "8"]);
        assert!(next.log.contains("took over from process"), "{}", next.log);
        let (code, rest) = running.end();
        assert_eq!(code, Some(0), "{rest}");
        assert_eq!(ask(&next.client(), "a.test."), Ok(number));
        running = next;
    }
    let (sent, lost) = load.end();
    assert!(sent > 1000, "{sent}");
    assert_eq!(lost, 0, "of {sent}");
    assert_eq!(answered(&folder), sent as u64 + 6);
    assert_eq!(ctl(&folder, &["stop"]).0, Some(0));
    assert_eq!(running.end().0, Some(0));
    assert!(!folder.path("control").exists());
}

#[test]
fn another_number_of_workers_answers_all_the_same() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let mut running = controlled(&folder, "127.0.0.1:0", &["--workers", "2"]);
    let load = Load::start(&running);
    for workers in ["3", "1", "4", "1", "4", "2"] {
        let next = successor(&folder, &running, &["--workers", workers]);
        assert_eq!(running.end().0, Some(0));
        for client in (0..32).map(|_| next.client()) {
            assert_eq!(ask(&client, "a.test."), Ok(1), "{workers}");
        }
        running = next;
    }
    let (sent, lost) = load.end();
    assert_eq!(lost, 0, "of {sent}");
}

#[test]
fn a_connection_is_served_to_its_end_by_who_has_it() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let running = controlled(&folder, "127.0.0.1:0", &[]);
    let mut connected = TcpStream::connect(running.address).unwrap();
    connected.set_read_timeout(Some(PATIENCE)).unwrap();
    let ask_on = |connected: &mut TcpStream| {
        let request = query("www.a.test.", 1);
        let mut message = (request.len() as u16).to_be_bytes().to_vec();
        message.extend(request);
        connected.write_all(&message).unwrap();
        let mut length = [0; 2];
        connected.read_exact(&mut length).unwrap();
        let mut reply = vec![0; u16::from_be_bytes(length).into()];
        connected.read_exact(&mut reply).unwrap();
        *reply.last().unwrap()
    };
    assert_eq!(ask_on(&mut connected), 1);
    folder.zone("a.test.", 2, 2);
    let next = successor(&folder, &running, &[]);
    assert_eq!(ask_on(&mut connected), 1, "who has it has the old zone");
    let mut new = TcpStream::connect(next.address).unwrap();
    new.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(ask_on(&mut new), 2);
    drop(connected);
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn one_that_does_not_get_ready_leaves_the_other_as_it_was() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let mut running = controlled(&folder, "127.0.0.1:0", &[]);
    let listen = running.address.to_string();
    // It gets the sockets, and fails to bind one more address.
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--takeover", "--listen", &listen, "--control"]);
    command
        .arg(folder.path("control"))
        .args(own_user())
        .arg(folder.0.path());
    command.args(["--listen", &taken.local_addr().unwrap().to_string()]);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    running.until("this one goes on as before");
    assert_eq!(ask(&running.client(), "a.test."), Ok(1));
    let next = successor(&folder, &running, &[]);
    assert_eq!(running.end().0, Some(0));
    assert_eq!(ask(&next.client(), "a.test."), Ok(1));
}

#[test]
fn one_that_dies_as_soon_as_it_is_ready_is_no_loss() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let mut running = controlled(&folder, "127.0.0.1:0", &["--workers", "2"]);
    let mut next = successor(&folder, &running, &["--workers", "2"]);
    next.child.kill().unwrap();
    next.child.wait().unwrap();
    running.until("the other process is gone; this one goes on");
    for client in (0..16).map(|_| running.client()) {
        assert_eq!(ask(&client, "a.test."), Ok(1));
    }
    assert_eq!(ctl(&folder, &["status"]).0, Some(0));
    // One that ends because it is to is not stood in for.
    let mut next = successor(&folder, &running, &["--workers", "2"]);
    next.signal("TERM");
    let mut rest = String::new();
    next.stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(next.child.wait().unwrap().code(), Some(0), "{rest}");
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn without_a_server_it_starts_as_ever() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let running = controlled(&folder, "127.0.0.1:0", &["--takeover"]);
    assert_eq!(ask(&running.client(), "a.test."), Ok(1));
    assert_eq!(ctl(&folder, &["stop"]).0, Some(0));
}

#[test]
fn processes_that_join_share_an_address() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let first = serve(folder.0.path(), &["--join"]);
    folder.zone("a.test.", 2, 2);
    let listen = first.address.to_string();
    let mut command = Command::new(PROGRAM);
    command
        .args(["serve", "--join", "--listen", &listen])
        .args(own_user())
        .arg(folder.0.path());
    let second = Running::spawn(&mut command);
    let answers: BTreeSet<u8> = (0..64)
        .map(|_| ask(&first.client(), "a.test.").unwrap())
        .collect();
    assert_eq!(answers, [1, 2].into());
    // A restart by overlap: the first goes, and all ask the second.
    first.signal("TERM");
    assert_eq!(first.end().0, Some(0));
    for client in (0..64).map(|_| second.client()) {
        assert_eq!(ask(&client, "a.test."), Ok(2));
    }
    assert!(TcpStream::connect(second.address).is_ok());
    let output = Command::new(PROGRAM)
        .args(["serve", "--listen", &listen])
        .arg(folder.0.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("start both with --join"), "{said}");
}

#[test]
fn one_that_is_told_to_stop_while_the_other_is_on_trial_leaves_it_all() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let running = controlled(&folder, "127.0.0.1:0", &[]);
    let next = successor(&folder, &running, &[]);
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
    assert_eq!(ctl(&folder, &["status"]).0, Some(0));
    assert_eq!(ask(&next.client(), "a.test."), Ok(1));
}

/// The zone changes after the new process has read it.
#[test]
fn what_was_read_meanwhile_is_not_forgotten() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let running = controlled(&folder, "127.0.0.1:0", &[]);
    let mut next = successor(&folder, &running, &[]);
    // As soon as it has taken over it looks again.
    next.until("reload: 0 loaded, 1 unchanged");
}
