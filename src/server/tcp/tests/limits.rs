//! Limits: how many, how long, how much; who gives way, and who is not served.

use super::*;

/// Soon over, and enough for who does ask on a machine with other work.
const IDLE: Duration = Duration::from_millis(500);

#[test]
fn clients_are_addresses_or_networks_of_64_bits() {
    let same = |one: &str, two: &str| client(one.parse().unwrap()) == client(two.parse().unwrap());
    assert!(!same("192.0.2.1", "192.0.2.2"));
    assert!(same("2001:db8::1", "2001:db8::ffff:0:0:2"));
    assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
}

#[test]
fn replies_that_are_not_read_stop_the_reading() {
    let count = 2500;
    let mut place = place(&[LOCAL], Limits::default());
    let mut client = place.connect();
    client.send(&queries(count, "big"));
    place.settle();
    let connection = place.server.connections.values().next().unwrap();
    assert!(connection.output.len() >= OUTPUT_LIMIT && !connection.is_idle());
    assert!(place.counters.read().received < count.into());
    let reader = thread::spawn(move || {
        client.0.shutdown(Shutdown::Write).unwrap();
        for id in 0..count {
            let reply = client.receive().unwrap();
            assert_eq!((id_of(&reply), reply.len()), (id, MAX_MESSAGE));
        }
        assert_eq!(client.receive(), None);
    });
    while !place.server.connections.is_empty() {
        place.server.round().unwrap();
        place.server.assert_bounds();
    }
    reader.join().unwrap();
    assert_eq!(place.counters.read().received, u64::from(count));
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    let mut place = place(&[LOCAL], Limits::default());
    let mut client = place.connect();
    client.send(&queries(500, "h"));
    place.settle();
    for connection in place.server.connections.values() {
        assert!(connection.is_idle() && connection.entry.idle);
        assert_eq!(
            (connection.input.capacity(), connection.output.capacity()),
            (0, 0)
        );
    }
    assert_eq!(place.server.roster.idle.len(), 1);
}

#[test]
fn a_connection_without_progress_is_cut_off() {
    let running = run(
        &[LOCAL],
        Limits {
            idle: IDLE,
            ..Limits::default()
        },
    );
    let start = Instant::now();
    let mut client = running.connect();
    assert!(client.ask(1));
    assert_eq!(client.receive(), None);
    assert!(start.elapsed() >= IDLE);
    assert_eq!(running.counters.read().connections_refused, 0);
}

#[test]
fn a_trickle_is_no_progress() {
    let running = run(
        &[LOCAL],
        Limits {
            idle: IDLE,
            ..Limits::default()
        },
    );
    let start = Instant::now();
    let mut client = running.connect();
    // The timeout paces the octets: a message that would take minutes.
    client
        .0
        .set_read_timeout(Some(Duration::from_millis(10)))
        .unwrap();
    client.send(&[255, 255]);
    let end = loop {
        match client.0.read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            end => break end,
        }
        if client.0.write_all(&[0]).is_err() {
            break Ok(0);
        }
        assert!(start.elapsed() < PATIENT, "still connected");
    };
    assert!(matches!(end, Ok(0)) || end.is_err());
    assert!(start.elapsed() >= IDLE);
}

#[test]
fn a_client_that_reads_nothing_is_cut_off() {
    let mut running = run(
        &[LOCAL],
        Limits {
            idle: IDLE,
            ..Limits::default()
        },
    );
    let mut client = running.connect();
    client.0.set_write_timeout(Some(PATIENT)).unwrap();
    let start = Instant::now();
    let batch = queries(1000, "big");
    let broken = loop {
        if let Err(error) = client.0.write_all(&batch) {
            break error;
        }
    };
    assert!(
        start.elapsed() < PATIENT && broken.kind() != ErrorKind::WouldBlock,
        "{broken}"
    );
    assert!(running.connect().ask(1));
    running.stop();
}

#[test]
fn the_longest_idle_connection_makes_room() {
    let limits = Limits {
        connections: 3,
        idle: PATIENT,
        ..Limits::default()
    };
    let mut running = run(&[LOCAL], limits);
    let mut clients: Vec<Client> = (0..3).map(|_| running.connect()).collect();
    for order in [0, 1, 2, 0] {
        assert!(clients[order].ask(1));
    }
    let mut fourth = running.connect();
    assert!(fourth.ask(2));
    assert_eq!(clients[1].receive(), None);
    let mut fifth = running.connect();
    assert!(fifth.ask(3));
    assert_eq!(clients[2].receive(), None);
    assert!(clients[0].ask(4) && fourth.ask(4) && fifth.ask(4));
    let totals = running.stop();
    assert_eq!((totals.connections, totals.connections_refused), (5, 2));
}

#[test]
fn a_client_over_its_limit_loses_its_own_connection() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: the second client needs IPv6");
        return;
    }
    let limits = Limits {
        connections: 4,
        per_client: 2,
        idle: PATIENT,
    };
    let mut running = run(&[LOCAL, "[::1]:0"], limits);
    let mut other = Client::connect(running.addresses[1]);
    assert!(other.ask(1));
    let mut first = running.connect();
    assert!(first.ask(1));
    let mut second = running.connect();
    assert!(second.ask(1));
    let mut third = running.connect();
    assert!(third.ask(1));
    assert_eq!(first.receive(), None);
    assert!(other.ask(2) && second.ask(2) && third.ask(2));
    drop((second, third));
    // A client that has gone is not counted any more.
    let mut later = running.connect();
    assert!(later.ask(3) && other.ask(3));
    let totals = running.stop();
    assert_eq!((totals.connections, totals.connections_refused), (5, 1));
}

#[test]
fn nobody_who_is_busy_makes_room() {
    let mut place = place(
        &[LOCAL],
        Limits {
            connections: 1,
            ..Limits::default()
        },
    );
    let mut first = place.connect();
    first.send(&query(1, "h")[..5]);
    place.settle();
    let mut second = place.connect();
    place.settle();
    assert_eq!(second.receive(), None);
    first.send(&query(1, "h")[5..]);
    place.settle();
    assert_eq!(id_of(&first.receive().unwrap()), 1);
    let totals = place.counters.read();
    assert_eq!((totals.connections, totals.connections_refused), (1, 1));
}

#[test]
fn limits_of_zero_turn_everyone_away() {
    for (connections, per_client) in [(0, 64), (64, 0)] {
        let mut running = run(
            &[LOCAL],
            Limits {
                connections,
                per_client,
                ..Limits::default()
            },
        );
        assert_eq!(running.connect().receive(), None);
        assert_eq!(running.stop().connections_refused, 1);
    }
}

#[test]
fn a_busy_client_starves_nobody() {
    let running = run(
        &[LOCAL],
        Limits {
            idle: PATIENT,
            ..Limits::default()
        },
    );
    let busy = running.connect();
    let (mut sender, mut receiver) = (busy.0.try_clone().unwrap(), busy.0.try_clone().unwrap());
    let batch = queries(1000, "h");
    let sending = thread::spawn(move || while sender.write_all(&batch).is_ok() {});
    let receiving = thread::spawn(move || {
        while receiver
            .read(&mut [0; 1 << 16])
            .is_ok_and(|length| length > 0)
        {}
    });
    let mut other = running.connect();
    for id in 0..200 {
        assert!(other.ask(id));
    }
    busy.0.shutdown(Shutdown::Both).unwrap();
    sending.join().unwrap();
    receiving.join().unwrap();
}
