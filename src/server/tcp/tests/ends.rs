//! How connections end: by the client, by a reset, by a stop, by letting go.

use super::*;

#[test]
fn a_client_may_end_its_side_first() {
    let mut running = run(
        &[LOCAL],
        Limits {
            idle: PATIENT,
            ..Limits::default()
        },
    );
    let mut client = running.connect();
    // Far more than the sockets hold, and a message that stays incomplete.
    client.send(&queries(500, "big"));
    client.send(&[0, 12, 0]);
    client.0.shutdown(Shutdown::Write).unwrap();
    client.expect(0..500);
    let mut silent = running.connect();
    silent.0.shutdown(Shutdown::Write).unwrap();
    silent.expect([]);
    assert_eq!(running.stop().received, 500);
}

#[test]
fn a_reset_costs_nobody_else() {
    let mut running = run(&[LOCAL], Limits::default());
    let mut other = running.connect();
    for _ in 0..20 {
        let mut client = running.connect();
        client.send(&queries(100, "big"));
        client.receive().unwrap();
        // Closing with octets unread resets the connection.
        drop(client);
        assert!(other.ask(1));
    }
    running.stop();
}

#[test]
fn a_stop_answers_what_was_read() {
    let mut place = place(&[LOCAL], Limits::default());
    let mut client = place.connect();
    client.send(&queries(1000, "big"));
    place.settle();
    let mut idle = place.connect();
    place.settle();
    let connection = place
        .server
        .connections
        .values()
        .find(|connection| !connection.is_idle())
        .unwrap();
    let unanswered = connection.input.len() / query(0, "big").len();
    let read = place.counters.read().received + unanswered as u64;
    let reader = thread::spawn(move || {
        let mut replies = 0;
        while let Some(reply) = client.receive() {
            assert_eq!((id_of(&reply), reply.len()), (replies, MAX_MESSAGE));
            replies += 1;
        }
        replies
    });
    place.server.finish(PATIENT).unwrap();
    assert_eq!(idle.receive(), None);
    assert_eq!(
        (
            u64::from(reader.join().unwrap()),
            place.counters.read().received
        ),
        (read, read)
    );
}

#[test]
fn a_stop_waits_for_nobody_for_long() {
    let mut running = run(
        &[LOCAL],
        Limits {
            idle: PATIENT,
            ..Limits::default()
        },
    );
    let mut silent = running.connect();
    assert!(silent.ask(1));
    let mut deaf = running.connect();
    deaf.send(&queries(1000, "big"));
    deaf.receive().unwrap();
    let start = Instant::now();
    running.stop();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(silent.receive(), None);
    // Listening has ended as well.
    assert!(TcpStream::connect(running.addresses[0]).is_err());
}

#[test]
fn the_roster_forgets_who_leaves() {
    let mut place = place(&[LOCAL], Limits::default());
    let clients: Vec<Client> = (0..40).map(|_| place.connect()).collect();
    place.settle();
    assert_eq!(
        (
            place.server.connections.len(),
            place.server.roster.all.len()
        ),
        (40, 40)
    );
    drop(clients);
    place.settle();
    let roster = &place.server.roster;
    assert!(place.server.connections.is_empty());
    assert!(roster.all.is_empty() && roster.idle.is_empty() && roster.clients.is_empty());
}
