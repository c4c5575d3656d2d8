//! Messages on a connection: cut anywhere, many at once, longest, broken.

use super::*;

#[test]
fn a_message_is_there_or_not() {
    assert_eq!(first_message(b""), None);
    assert_eq!(first_message(b"\0"), None);
    assert_eq!(first_message(b"\0\x02a"), None);
    assert_eq!(first_message(b"\0\x02ab"), Some(&b"ab"[..]));
    assert_eq!(first_message(b"\0\x02abc"), Some(&b"ab"[..]));
    assert_eq!(first_message(b"\0\0abc"), Some(&b""[..]));
}

#[test]
fn a_message_may_come_octet_by_octet() {
    let mut place = place(&[LOCAL], Limits::default());
    let mut client = place.connect();
    let length = query(0, "h").len();
    for (sent, octet) in queries(2, "h").into_iter().enumerate() {
        client.send(&[octet]);
        let partial = |server: &TcpServer| {
            server
                .connections
                .values()
                .next()
                .map(|held| held.input.len())
        };
        while partial(&place.server) != Some((sent + 1) % length) {
            place.server.round().unwrap();
        }
        assert_eq!(place.counters.read().received, ((sent + 1) / length) as u64);
    }
    drop(place);
    client.expect(0..2);
}

#[test]
fn messages_may_be_cut_anywhere() {
    let mut running = run(&[LOCAL], Limits::default());
    let octets = queries(3, "h");
    for cut in 1..octets.len() {
        let mut client = running.connect();
        client.send(&octets[..cut]);
        // Replies to what is whole show that the server has read this far.
        let whole = cut / (octets.len() / 3);
        for id in 0..whole as u16 {
            assert_eq!(id_of(&client.receive().unwrap()), id);
        }
        client.send(&octets[cut..]);
        client.0.shutdown(Shutdown::Write).unwrap();
        client.expect(whole as u16..3);
    }
    let totals = running.stop();
    assert_eq!(totals.received, 3 * (octets.len() as u64 - 1));
    assert_eq!(totals.with_rcode(Rcode::NoError), totals.received);
}

#[test]
fn a_thousand_queries_in_one_write() {
    let mut running = run(&[LOCAL], Limits::default());
    let mut client = running.connect();
    client.send(&queries(1000, "h"));
    for id in 0..1000 {
        assert_eq!(client.receive().map(|reply| id_of(&reply)), Some(id));
    }
    assert!(client.ask(1));
    assert_eq!(running.stop().received, 1001);
}

#[test]
fn requests_read_together_are_answered_in_one_write() {
    let mut place = place(&[LOCAL], Limits::default());
    place.settle();
    let mut client = place.connect();
    place.settle();
    client.send(&queries(100, "h"));
    place.server.wait(Some(PATIENT)).unwrap();
    place.server.next_turn(Instant::now());
    // One turn sends everything, and one read finds it.
    let mut replies = vec![0; 1 << 16];
    let length = client.0.read(&mut replies).unwrap();
    assert_eq!(length, 100 * (query(0, "h").len() + 16));
}

#[test]
fn the_longest_reply_and_the_longest_request() {
    let running = run(&[LOCAL], Limits::default());
    let mut client = running.connect();
    client.send(&query(7, "big"));
    let reply = client.receive().unwrap();
    assert_eq!(
        (id_of(&reply), rcode_of(&reply), reply.len()),
        (7, 0, MAX_MESSAGE)
    );
    assert_eq!(reply[2] & 2, 0, "TC is not set");
    // Octets behind the question are no query (RFC 9619), but an answer is due.
    let mut message = query(8, "h")[PREFIX..].to_vec();
    message.resize(MAX_MESSAGE, 0);
    client.send(&framed(&message));
    let reply = client.receive().unwrap();
    assert_eq!((id_of(&reply), rcode_of(&reply)), (8, 1));
    assert!(client.ask(9));
}

#[test]
fn what_is_no_request_ends_the_connection() {
    let mut running = run(
        &[LOCAL],
        Limits {
            idle: PATIENT,
            ..Limits::default()
        },
    );
    let mut response = query(2, "h");
    response[PREFIX + 2] |= 0x80;
    let short = framed(b"\0\x07\0\0\0\x01\0\0\0\0\0");
    for garbage in [framed(b""), framed(b"\0"), short, response] {
        let mut client = running.connect();
        client.send(&[query(1, "h"), garbage, query(3, "h")].concat());
        client.expect([1]);
    }
    let totals = running.stop();
    assert_eq!((totals.received, totals.ignored), (8, 4));
}

#[test]
fn replies_before_garbage_survive_what_comes_behind_it() {
    let running = run(
        &[LOCAL],
        Limits {
            idle: PATIENT,
            ..Limits::default()
        },
    );
    let mut client = running.connect();
    let mut sender = client.0.try_clone().unwrap();
    let flood = thread::spawn(move || {
        sender.write_all(&queries(300, "big")).unwrap();
        sender.write_all(&framed(b"")).unwrap();
        sender.write_all(&vec![0xff; 4 << 20]).unwrap();
    });
    client.expect(0..300);
    flood.join().unwrap();
}

#[test]
fn what_cannot_be_parsed_is_answered() {
    let running = run(&[LOCAL], Limits::default());
    let mut client = running.connect();
    for message in [
        &b"\0\x07\0\0\0\x01\0\0\0\0\0\0"[..],
        b"\0\x07\0\0\0\x01\0\0\0\0\0\0\xff",
    ] {
        client.send(&framed(message));
        let reply = client.receive().unwrap();
        assert_eq!((id_of(&reply), rcode_of(&reply), reply.len()), (7, 1, 12));
    }
    assert!(client.ask(1));
}

#[test]
fn a_panic_costs_its_connection_only() {
    let mut place = place(&[LOCAL], Limits::default());
    // Room for a bare header: enough for FORMERR, and no more.
    place.server.scratch.reply = vec![0; 12].into();
    let mut client = place.connect();
    let broken = framed(b"\0\x07\0\0\0\x01\0\0\0\0\0\0");
    client.send(&[broken.clone(), query(1, "h"), broken.clone()].concat());
    let mut other = place.connect();
    place.settle();
    client.expect([7]);
    other.send(&broken);
    place.settle();
    assert_eq!(id_of(&other.receive().unwrap()), 7);
    let totals = place.counters.read();
    assert_eq!(
        (totals.received, totals.panicked, totals.answered()),
        (3, 1, 2)
    );
}
