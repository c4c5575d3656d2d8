//! Rate limits over real sockets. A limit holds for a second by the clock, so what
//! a test allows is counted from the seconds that it has touched.

use std::time::{SystemTime, UNIX_EPOCH};

use shardns::server::counters::Totals;
use shardns::server::rate_limit::Options;

use super::*;

const A: u16 = 1;
const TC: u8 = 2;
const NAME: &str = "www.example.com";
/// Client cookie, as an OPT record of a request that brings it alone.
const CLIENT_COOKIE: [u8; 8] = *b"a client";

fn second() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs()
}

fn server(workers: usize, options: Options) -> Server {
    let config = Config {
        rate_limit: Some(options),
        ..config(&["127.0.0.1:0"], workers)
    };
    Server::start(&config, Arc::new(support::demo())).unwrap()
}

fn limit(limit: u32, slip: u8) -> Options {
    Options {
        limit,
        slip,
        entries: 1 << 10,
        ..Options::default()
    }
}

/// What all threads have counted, and that nothing is missing in it.
fn totals(server: &Server) -> Totals {
    let all = server.totals();
    let all = all.iter().fold(Totals::default(), |sum, one| sum.plus(one));
    assert_eq!(
        all.received,
        all.answered() + all.ignored + all.panicked + all.rate_limited
    );
    all
}

fn ask(socket: &UdpSocket, request: &[u8]) -> Vec<u8> {
    socket.send(request).unwrap();
    receive(socket)
}

fn is_answer(reply: &[u8]) -> bool {
    reply[7] > 0
}

#[test]
fn a_flooded_name_is_limited_over_all_workers() {
    let workers = 3;
    let mut server = server(workers, limit(50, 0));
    let sockets: Vec<_> = (0..24).map(|_| client(server.addresses()[0])).collect();
    let first = second();
    let started = Instant::now();
    let mut sent = 0;
    for _ in 0..100 {
        for socket in &sockets {
            socket.send(&query(NAME, A)).unwrap();
            sent += 1;
        }
        // What is not read yet must not fill the sockets.
        while server.totals().iter().map(|one| one.received).sum::<u64>() + 64 < sent {
            assert!(started.elapsed() < PATIENCE, "requests are lost");
            std::thread::yield_now();
        }
    }
    server.stop();
    let seconds = second() - first + 1;
    let all = totals(&server);
    assert_eq!(all.received, 2400);
    let most = seconds * (50 + workers as u64 - 1);
    assert!(
        (50..=most).contains(&all.answered()),
        "{all:?} in {seconds} s"
    );
    let busy = server
        .totals()
        .iter()
        .filter(|one| one.received > 0)
        .count();
    assert!(busy > 1, "one worker got everything");
}

#[test]
fn one_flow_gets_more_than_the_share_of_its_worker() {
    let server = server(4, limit(400, 0));
    let socket = client(server.addresses()[0]);
    let (first, started) = (second(), Instant::now());
    loop {
        for _ in 0..50 {
            socket.send(&query(NAME, A)).unwrap();
        }
        let answered: u64 = server.totals().iter().map(Totals::answered).sum();
        if answered > 100 * (second() - first + 1) {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "only {answered} are answered");
    }
}

#[test]
fn over_the_limit_replies_say_to_come_by_tcp() {
    let mut server = server(1, limit(1, 1));
    let address = server.addresses()[0];
    let (socket, request, first) = (client(address), query(NAME, A), second());
    let replies: Vec<_> = (0..50).map(|_| ask(&socket, &request)).collect();
    let seconds = second() - first + 1;
    let (answers, others): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| is_answer(reply));
    assert!((1..=seconds).contains(&(answers.len() as u64)));
    for reply in &others {
        assert_eq!(reply[2] & TC, TC);
        assert_eq!(reply[12..], request[12..], "the question alone");
    }
    for _ in 0..10 {
        assert!(is_answer(&ask_tcp(address, &request).unwrap()));
    }
    server.stop();
    let all = totals(&server);
    assert_eq!((all.slipped, all.rate_limited), (others.len() as u64, 0));
    assert_eq!(all.truncated, others.len() as u64);
}

#[test]
fn random_names_below_a_wildcard_are_limited_together_and_so_are_those_that_are_not_there() {
    let server = server(1, limit(1, 1));
    let socket = client(server.addresses()[0]);
    for (domain, has_records) in [("wild.example.com", true), ("example.com", false)] {
        let first = second();
        let asked = (0..30).map(|number| {
            let request = query(&format!("random{number}.{domain}"), A);
            ask(&socket, &request)
        });
        let passed = asked.filter(|reply| reply[2] & TC == 0);
        let passed: Vec<_> = passed.collect();
        assert!(passed.iter().all(|reply| is_answer(reply) == has_records));
        let seconds = second() - first + 1;
        assert!((1..=seconds).contains(&(passed.len() as u64)), "{domain}");
    }
}

#[test]
fn the_exempt_get_all_replies() {
    let options = Options {
        exempt: vec!["127.0.0.0/8".parse().unwrap()],
        ..limit(1, 0)
    };
    let server = server(2, options);
    let socket = client(server.addresses()[0]);
    assert!((0..50).all(|_| is_answer(&ask(&socket, &query(NAME, A)))));
}

#[test]
fn a_cookie_lifts_the_limit_and_whoever_has_none_yet_is_told_to_use_it() {
    let mut server = server(2, limit(1, 0));
    let socket = client(server.addresses()[0]);
    let first = second();
    let request = support::with_cookie(query(NAME, A), &CLIENT_COOKIE);
    let replies: Vec<_> = (0..30).map(|_| ask(&socket, &request)).collect();
    let seconds = second() - first + 1;
    let (answers, others): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| is_answer(reply));
    // Both workers may have had one.
    assert!((1..=2 * seconds).contains(&(answers.len() as u64)));
    let mut cookie = [0; 24];
    for reply in &others {
        let message = support::decode::decode(reply).unwrap();
        assert_eq!((message.rcode(), message.flags & 0x200), (23, 0));
        let opt = message.opt.unwrap();
        cookie = opt.options[0].1[..].try_into().unwrap();
        assert_eq!(cookie[..8], CLIENT_COOKIE);
    }
    let request = support::with_cookie(query(NAME, A), &cookie);
    assert!((0..30).all(|_| is_answer(&ask(&socket, &request))));
    let mut wrong = cookie;
    wrong[23] ^= 1;
    let wrong = support::with_cookie(query(NAME, A), &wrong);
    (0..10).for_each(|_| drop(ask(&socket, &wrong)));
    server.stop();
    let all = totals(&server);
    assert_eq!(all.cookies, [30, 30, 10]);
    assert!(all.with_rcode(shardns::wire::Rcode::BadCookie) >= others.len() as u64);
    assert_eq!((all.rate_limited, all.slipped), (0, 0));
}
