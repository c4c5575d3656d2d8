//! Requests that break the answering code, receive buffers that are full, and
//! datagrams that are cut off.

use super::*;

/// A configuration under which every reply with a question in it breaks: there
/// is no room for more than a header, and so FORMERR alone is answered.
fn breaking(workers: usize) -> Config {
    let mut config = config(&["127.0.0.1:0"], workers);
    config.settings.edns_size = 12;
    config
}

/// A request that is answered all the same: it ends before its question.
fn answerable(id: u8) -> [u8; 12] {
    [id, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
}

#[test]
fn a_panic_costs_one_request_and_is_told() {
    let gate = Gate::leak();
    let mut server = start_after(&breaking(1), move |request| gate.hold(request));
    let socket = client(server.addresses()[0]);
    // While the first is held, the others queue up and become one batch.
    socket.send(&answerable(0xff)).unwrap();
    gate.await_arrival();
    for first in [1, 0xee, 2, 0xee, 3] {
        match first {
            0xee => socket.send(&query("www.example.com", 1)),
            _ => socket.send(&answerable(first)),
        }
        .unwrap();
    }
    gate.open();
    let replies: Vec<u8> = (0..4).map(|_| receive(&socket)[0]).collect();
    assert_eq!(replies, [0xff, 1, 2, 3]);
    for _ in 0..2 {
        let Ok(Event::Panicked {
            thread,
            message,
            backtrace,
        }) = server.events().recv_timeout(PATIENCE)
        else {
            panic!("the panic was not told");
        };
        assert_eq!(thread, "shardns-0");
        assert!(message.contains("reply.rs"), "{message}");
        assert!(backtrace.contains("shardns_core::answer::"), "{backtrace}");
    }
    socket.send(&answerable(4)).unwrap();
    assert_eq!(receive(&socket)[0], 4);
    server.stop();
    let totals = server.totals()[0];
    assert_eq!(
        (totals.received, totals.answered(), totals.panicked),
        (7, 5, 2)
    );
}

#[test]
fn a_worker_that_breaks_does_not_stop_the_others() {
    let server = Server::start(&breaking(3), Arc::new(support::demo())).unwrap();
    let clients: Vec<UdpSocket> = (0..32).map(|_| client(server.addresses()[0])).collect();
    for round in 0..10 {
        let breaks = |number: usize| (number + round).is_multiple_of(5);
        for (number, client) in clients.iter().enumerate() {
            match breaks(number) {
                true => client.send(&query("www.example.com", 1)),
                false => client.send(&answerable(1)),
            }
            .unwrap();
            client.send(&answerable(2)).unwrap();
        }
        for (number, client) in clients.iter().enumerate() {
            if !breaks(number) {
                assert_eq!(receive(client)[0], 1);
            }
            assert_eq!(receive(client)[0], 2);
        }
    }
}

#[test]
fn a_small_receive_buffer_drops_and_the_drops_are_counted() {
    let gate = Gate::leak();
    let mut config = config(&["127.0.0.1:0"], 1);
    config.receive_buffer = 4096;
    let mut server = start_after(&config, |_| gate.pass());
    let socket = client(server.addresses()[0]);
    socket.send(b"1").unwrap();
    gate.await_arrival();
    for _ in 0..1000 {
        socket.send(b"2").unwrap();
    }
    assert!(server.totals()[0].drops > 0);
    gate.open();
    server.stop();
    let totals = server.totals()[0];
    assert_eq!(totals.received + totals.drops, 1001);
    assert_eq!(totals.ignored, totals.received);
}

#[test]
fn a_datagram_that_is_cut_off_is_not_taken_for_a_whole_one() {
    let server = Server::start(&config(&["127.0.0.1:0"], 1), Arc::new(support::demo())).unwrap();
    let socket = client(server.addresses()[0]);
    // A good query as long as the buffer, and one octet more that is too many.
    let mut request = query("www.example.com", 1);
    request[11] = 1;
    let padding = 1232 - request.len() - 11;
    request.extend([0, 0, 41, 4, 208, 0, 0, 0, 0]);
    request.extend((padding as u16).to_be_bytes());
    request.extend([0xfd, 0xe9]);
    request.extend((padding as u16 - 4).to_be_bytes());
    request.extend(vec![0; padding - 4]);
    assert_eq!(request.len(), 1232);
    socket.send(&request).unwrap();
    assert_eq!(receive(&socket)[3] & 15, 0);
    request.push(0);
    socket.send(&request).unwrap();
    let reply = receive(&socket);
    assert_eq!((reply.len(), reply[3] & 15), (12, 1));
}
