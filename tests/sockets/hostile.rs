//! Clients of DNS over TCP that mean no good, all at once, and what others notice of
//! them. The server is a process of its own, so that its memory can be told from that
//! of its clients.

use std::io::ErrorKind;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;

use super::support::Over;
use super::support::running::Running;
use super::*;

/// Connections that send an octet now and then.
const SLOW: usize = 200;
/// Connections that ask for much and read nothing.
const DEAF: usize = 16;
/// Connections that go on sending after the server has ended its side.
const TALKATIVE: usize = 32;
/// Connections that are reset in the middle of a message.
const RESETS: usize = 200;
/// Big answers that a deaf client asks for: more than all sockets' buffers take.
const BIG_ANSWERS: usize = 400;
/// How often at least each of the polite is served meanwhile.
const ROUNDS: usize = 100;
/// What the server may take for all of them: a deaf one has 128 KiB of answers and
/// room for as much again, and the rest has hardly anything.
const GROWTH_KB: u64 = 16 << 10;

/// Connections that the server has ended.
#[derive(Default)]
struct Ended {
    slow: AtomicUsize,
    deaf: AtomicUsize,
    talkative: AtomicUsize,
    reset: AtomicUsize,
}

impl Ended {
    fn all(&self) -> bool {
        self.slow.load(SeqCst) >= SLOW
            && self.deaf.load(SeqCst) >= DEAF
            && self.talkative.load(SeqCst) >= TALKATIVE
            && self.reset.load(SeqCst) >= RESETS
    }
}

#[test]
fn clients_that_mean_no_good_stop_nobody_and_take_little() {
    let folder = tempfile::tempdir().unwrap();
    let zone = folder.path().join("test.zone");
    let mut text =
        "$ORIGIN test.\n$TTL 60\n@ SOA ns hm 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n".to_owned();
    (0..240).for_each(|record| text += &format!("big TXT \"{record:0255}\"\n"));
    std::fs::write(&zone, text).unwrap();
    let limits = ["--tcp-connections", "1000", "--tcp-per-client", "1000"];
    let more = ["--tcp-idle", "3", zone.to_str().unwrap()];
    let server = Running::start(&[&limits[..], &more].concat());
    let address = server.address;
    // What every server comes to hold is there before it is looked at.
    assert!(ask_tcp(address, &query("ns.test", 1)).is_some());
    assert!(ask_tcp(address, &query("big.test", 16)).is_some());
    let before = resident_kb(&server);
    let (ended, over) = (Ended::default(), AtomicBool::new(false));
    let (mut most, mut asked) = (0, 0);
    thread::scope(|scope| {
        let bad: [fn(SocketAddr, &Ended, &AtomicBool); 4] = [slow, deaf, talkative, reset];
        for client in bad {
            let (ended, over) = (&ended, &over);
            scope.spawn(move || client(address, ended, over));
        }
        // Also where an assertion fails, or nobody else would end.
        let _end = Over(&over);
        let socket = client(address);
        let mut polite = TcpStream::connect(address).unwrap();
        let started = Instant::now();
        // However slow the machine, they are served again and again meanwhile.
        while !ended.all() || asked < ROUNDS {
            assert!(
                started.elapsed() < PATIENCE,
                "somebody is never cut off, or others wait: {asked} rounds"
            );
            let request = query("ns.test", 1);
            socket.send(&request).unwrap();
            assert_eq!(receive(&socket)[7], 1, "over UDP");
            let reply = ask_on(&mut polite, &request).expect("on a connection that is in use");
            assert_eq!(reply[7], 1);
            let reply = ask_tcp(address, &request).expect("on a new connection");
            assert_eq!(reply[7], 1);
            most = most.max(resident_kb(&server));
            asked += 1;
        }
    });
    let grown = most.saturating_sub(before);
    assert!(grown < GROWTH_KB, "{before} kB have become {most}");
}

fn resident_kb(server: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kb = line.unwrap().split_whitespace().next().unwrap();
    kb.parse().unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    // This paces whoever reads and gets nothing.
    stream
        .set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    stream
}

/// True where the server has ended the connection altogether, or its side of it.
fn is_ended(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// An octet to each in turn, of a message that would take hours.
fn slow(address: SocketAddr, ended: &Ended, over: &AtomicBool) {
    let mut streams: Vec<TcpStream> = (0..SLOW).map(|_| connect(address)).collect();
    while !over.load(SeqCst) {
        for stream in &mut streams {
            if stream.write_all(&[0xff]).is_err() || is_ended(stream) {
                ended.slow.fetch_add(1, SeqCst);
                *stream = connect(address);
            }
        }
    }
}

/// Asks for far more than the sockets hold, and takes nothing of it.
fn deaf(address: SocketAddr, ended: &Ended, over: &AtomicBool) {
    let request = query("big.test", 16);
    let framed = [&(request.len() as u16).to_be_bytes()[..], &request].concat();
    let mut streams: Vec<TcpStream> = (0..DEAF)
        .map(|_| {
            let mut stream = connect(address);
            stream.write_all(&framed.repeat(BIG_ANSWERS)).unwrap();
            stream
        })
        .collect();
    while !over.load(SeqCst) && !streams.is_empty() {
        streams.retain(|stream| {
            let is_cut_off = stream.take_error().unwrap().is_some() || {
                let mut stream = stream;
                stream.write_all(&framed).is_err()
            };
            ended.deaf.fetch_add(usize::from(is_cut_off), SeqCst);
            !is_cut_off
        });
        thread::yield_now();
    }
}

/// Has the server end its side by what is no request, and sends on.
fn talkative(address: SocketAddr, ended: &Ended, over: &AtomicBool) {
    let mut streams: Vec<TcpStream> = (0..TALKATIVE)
        .map(|_| {
            let mut stream = connect(address);
            stream.write_all(b"\0\x01x").unwrap();
            while !is_ended(&mut stream) && !over.load(SeqCst) {}
            stream
        })
        .collect();
    while !over.load(SeqCst) && !streams.is_empty() {
        streams.retain_mut(|stream| {
            let is_cut_off = stream.write_all(&[0; 64]).is_err();
            ended.talkative.fetch_add(usize::from(is_cut_off), SeqCst);
            !is_cut_off
        });
        thread::yield_now();
    }
}

/// Resets connections within a message that goes and one that comes, and ends its
/// side of others in the middle of one.
fn reset(address: SocketAddr, ended: &Ended, over: &AtomicBool) {
    let request = query("big.test", 16);
    let framed = [&(request.len() as u16).to_be_bytes()[..], &request].concat();
    let message_and_more = [&framed[..], &framed[..5]].concat();
    while !over.load(SeqCst) {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&message_and_more).unwrap();
        // Closing with octets unread resets the connection.
        stream.read_exact(&mut [0]).unwrap();
        drop(stream);
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&message_and_more).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert!(all.len() > 60_000, "the whole answer to the whole message");
        ended.reset.fetch_add(1, SeqCst);
    }
}
