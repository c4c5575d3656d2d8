//! The load generator counts exactly, whatever a server does to it.

use std::net::UdpSocket;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use shardns::lab::load_generator::{self, LoadRequest, Pace, Plan, Tally};

const PATIENCE: Duration = Duration::from_secs(20);

/// Ways to treat a request.
const MANNERS: usize = 8;

/// Replies to `request` that a server of that manner sends.
fn replies(manner: usize, request: &[u8]) -> Vec<Vec<u8>> {
    let mut reply = request.to_vec();
    reply[2] |= 0x80;
    let changed = |index: usize, bits: u8| {
        let mut other = reply.clone();
        other[index] ^= bits;
        other
    };
    match manner {
        0 => vec![reply],
        1 => vec![reply.clone(), reply],
        2 => vec![],
        // Another id, no response, another question, half a header.
        3 => vec![changed(0, 0x80)],
        4 => vec![changed(2, 0x80)],
        5 => vec![changed(13, 1)],
        6 => vec![reply[..6].to_vec()],
        // Refused without repeating the question.
        _ => vec![[&reply[..3], &[5], &[0; 8]].concat()],
    }
}

fn requests() -> Vec<LoadRequest> {
    let request = |letter: u8| {
        let octets = [
            &[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, letter][..],
            &[0, 0, 1, 0, 1],
        ];
        LoadRequest::new(octets.concat()).unwrap()
    };
    (b'a'..=b'z').map(request).collect()
}

/// Asks a server whose manners depend on the id; returns what was counted, and
/// how many requests the server met with each manner.
fn load(pace: Pace, duration: Duration) -> (Tally, [u64; MANNERS]) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let requests = requests();
    let plan = Plan {
        peer: server.local_addr().unwrap(),
        flows: 3,
        pace,
        duration,
        patience: Duration::from_secs(4),
        spin: false,
        requests: &requests,
        stop: &AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| serve(&server));
        let tally = load_generator::run(&plan).unwrap();
        // An empty datagram ends it.
        let last = UdpSocket::bind("127.0.0.1:0").unwrap();
        last.send_to(&[], plan.peer).unwrap();
        (tally, serving.join().unwrap())
    })
}

fn serve(server: &UdpSocket) -> [u64; MANNERS] {
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut seen, mut request) = ([0; MANNERS], [0; 512]);
    loop {
        let (length, client) = server.recv_from(&mut request).unwrap();
        if length == 0 {
            return seen;
        }
        let manner = usize::from(request[1]) % MANNERS;
        seen[manner] += 1;
        for reply in replies(manner, &request[..length]) {
            server.send_to(&reply, client).unwrap();
        }
    }
}

fn check(tally: &Tally, seen: [u64; MANNERS]) {
    assert_eq!(tally.sent, seen.iter().sum::<u64>());
    assert!(seen.iter().all(|&count| count > 0), "{seen:?}");
    assert_eq!(tally.answered, seen[0] + seen[1] + seen[7]);
    assert_eq!(tally.duplicates, seen[1]);
    assert_eq!(tally.lost, seen[2..=6].iter().sum::<u64>());
    assert_eq!(tally.strangers, seen[3..=6].iter().sum::<u64>());
    assert_eq!(tally.rcodes[0], seen[0] + seen[1]);
    assert_eq!(tally.rcodes[5], seen[7]);
    assert_eq!((tally.late, tally.errors, tally.held_back), (0, 0, 0));
}

#[test]
fn every_request_is_accounted_for_in_the_closed_loop() {
    let (tally, seen) = load(Pace::Closed { window: 64 }, Duration::from_millis(100));
    check(&tally, seen);
    assert_eq!(tally.latency_ns.len(), tally.answered);
}

#[test]
fn every_request_is_accounted_for_in_the_open_loop() {
    let (tally, seen) = load(Pace::Open { rate: 400 }, Duration::from_millis(500));
    check(&tally, seen);
    // Fewer where it has no CPU.
    assert!((1..=200).contains(&tally.sent), "{}", tally.sent);
    assert_eq!(tally.latency_ns.len(), tally.answered);
}

#[test]
fn a_port_where_nobody_listens_is_told() {
    // At an address where nobody else binds one, either.
    let nobody = UdpSocket::bind("127.77.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let requests = requests();
    let plan = Plan {
        peer: nobody,
        flows: 1,
        pace: Pace::Closed { window: 1 },
        duration: Duration::from_millis(50),
        patience: Duration::from_millis(10),
        spin: true,
        requests: &requests,
        stop: &AtomicBool::new(false),
    };
    let tally = load_generator::run(&plan).unwrap();
    assert!(tally.sent > 0 && tally.errors > 0);
    assert_eq!((tally.answered, tally.lost), (0, tally.sent));
    let error = tally.last_error.unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}
