//! Stopping, and handing sockets over: what is queued is answered.

use shardns::server::drain;
use shardns::server::inherited::Taken;
use shardns::server::leaving::Leaving;

use super::*;

#[test]
fn a_stop_answers_what_is_queued() {
    for addresses in [&["127.0.0.1:0"][..], &["127.0.0.1:0", "[::1]:0"]] {
        let gate = Gate::leak();
        let mut server = start_after(&config(addresses, 1), move |request| gate.hold(request));
        let sockets: Vec<UdpSocket> = server.addresses().into_iter().map(client).collect();
        let mut request = query("www.example.com", 1);
        request[0] = 0xff;
        sockets[0].send(&request).unwrap();
        gate.await_arrival();
        request[0] = 1;
        for _ in 0..QUEUED {
            for socket in &sockets {
                socket.send(&request).unwrap();
            }
        }
        let stopping = std::thread::spawn(move || {
            server.stop();
            server
        });
        gate.open();
        for socket in &sockets {
            (0..QUEUED).for_each(|_| drop(receive(socket)));
        }
        receive(&sockets[0]);
        let server = stopping.join().unwrap();
        assert_eq!(
            server.totals()[0].answered(),
            QUEUED * sockets.len() as u64 + 1
        );
    }
}

/// Time in which other work has the CPU is not the worker's.
#[test]
fn a_stop_answers_what_is_queued_on_a_machine_that_is_slow() {
    let gate = Gate::leak();
    let mut config = config(&["127.0.0.1:0"], 1);
    config.batch = 1;
    let mut server = start_after(&config, move |request| {
        gate.hold(request);
        if request[0] == 0xfe {
            std::thread::sleep(drain::DRAIN);
        }
    });
    let client = client(server.addresses()[0]);
    let mut request = query("www.example.com", 1);
    for first in [0xff, 0xfe, 1] {
        request[0] = first;
        client.send(&request).unwrap();
    }
    gate.await_arrival();
    server.give(Order::Stop);
    gate.open();
    server.stop();
    assert_eq!(server.totals()[0].answered(), 3);
    (0..3).for_each(|_| drop(receive(&client)));
}

/// What is queued when a server lets go belongs to the one that has adopted its
/// sockets: no flow moves, nothing is lost, and nothing is answered twice.
#[test]
fn sockets_that_are_handed_over_keep_their_queues() {
    for addresses in [&["127.0.0.1:0"][..], &["127.0.0.1:0", "[::1]:0"]] {
        let gate = Gate::leak();
        let mut old = start_after(&config(addresses, 1), move |request| gate.hold(request));
        let sockets: Vec<UdpSocket> = old.addresses().into_iter().map(client).collect();
        let mut connected = TcpStream::connect(old.addresses()[0]).unwrap();
        let mut request = query("www.example.com", 1);
        ask_on(&mut connected, &request).unwrap();
        request[0] = 0xff;
        sockets[0].send(&request).unwrap();
        gate.await_arrival();
        request[0] = 1;
        for _ in 0..QUEUED {
            for socket in &sockets {
                socket.send(&request).unwrap();
            }
        }
        let handed = old.hand_over().unwrap();
        old.give(Order::LetGo);
        gate.open();
        let letting_go = std::thread::spawn(move || {
            old.let_go();
            old.finish();
            old
        });
        // The connection is served to its end, though its server has no listener.
        ask_on(&mut connected, &request).unwrap();
        drop(connected);
        let old = letting_go.join().unwrap();
        let mut new = Server::adopt(&config(&[], 7), Arc::new(support::demo()), handed).unwrap();
        assert_eq!(new.addresses(), old.addresses());
        for socket in &sockets {
            (0..QUEUED).for_each(|_| drop(receive(socket)));
        }
        receive(&sockets[0]);
        assert!(ask_tcp(new.addresses()[0], &request).is_some());
        new.stop();
        let answered = |server: &Server| server.totals()[0].answered();
        assert_eq!(
            answered(&old) + answered(&new),
            QUEUED * sockets.len() as u64 + 1
        );
        assert!(answered(&new) > 0, "nothing was left to the successor");
        // Not by a connection, which from the same port would be one to itself.
        assert!(owners(Protocol::Tcp, old.addresses()[0]).is_empty());
    }
}

#[test]
fn only_sockets_are_adopted() {
    let adopt = |sockets: Sockets| {
        Server::adopt(&config(&[], 1), Arc::default(), sockets)
            .err()
            .map(|error| error.to_string())
    };
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let none = adopt(Sockets::default()).unwrap();
    assert!(none.contains("there is no socket among them"), "{none}");
    let mixed = adopt(Sockets {
        workers: 1,
        groups: vec![vec![udp.try_clone().unwrap().into()]],
        listeners: vec![udp.into()],
    });
    let mixed = mixed.unwrap();
    assert!(mixed.contains("a descriptor of another kind"), "{mixed}");
}

/// A socket that outlives its worker would take datagrams that nobody reads.
#[test]
fn a_stopped_worker_closes_its_socket_though_another_is_busy() {
    let gate = Gate::leak();
    let config = config(&["127.0.0.1:0"], 3);
    let mut server = start_after(&config, move |request| gate.hold(request));
    let address = server.addresses()[0];
    let open = || owners(Protocol::Udp, address).len();
    assert_eq!(open(), 3);
    let mut request = query("www.example.com", 1);
    request[0] = 0xff;
    let held = client(address);
    held.send(&request).unwrap();
    gate.await_arrival();
    let stopping = std::thread::spawn(move || server.stop());
    let started = Instant::now();
    while open() > 1 {
        assert!(started.elapsed() < PATIENCE, "sockets stay open unread");
        std::thread::yield_now();
    }
    gate.open();
    receive(&held);
    stopping.join().unwrap();
    assert_eq!(open(), 0);
}

#[test]
fn a_stopped_server_has_closed_the_socket_that_its_workers_shared() {
    let mut config = config(&["127.0.0.1:0"], 3);
    config.sharing = Sharing::Shared;
    let mut server = Server::start(&config, Arc::new(support::demo())).unwrap();
    let address = server.addresses()[0];
    assert_eq!(owners(Protocol::Udp, address).len(), 1);
    server.stop();
    assert_eq!(owners(Protocol::Udp, address).len(), 0);
}

#[test]
fn a_stop_under_a_flood_answers_what_is_queued_elsewhere() {
    let gate = Gate::leak();
    let config = config(&["127.0.0.1:0", "[::1]:0"], 1);
    let mut server = start_after(&config, move |request| gate.hold(request));
    let addresses = server.addresses();
    let (flooded, quiet) = (client(addresses[0]), client(addresses[1]));
    let mut request = query("www.example.com", 1);
    request[0] = 0xff;
    flooded.send(&request).unwrap();
    gate.await_arrival();
    request[0] = 1;
    for _ in 0..QUEUED {
        quiet.send(&request).unwrap();
    }
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flood = {
        let (over, request) = (over.clone(), request.clone());
        std::thread::spawn(move || {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                // A full socket is what the flood is for.
                let _ = flooded.send(&request);
            }
        })
    };
    let stopping = std::thread::spawn(move || server.stop());
    gate.open();
    (0..QUEUED).for_each(|_| drop(receive(&quiet)));
    stopping.join().unwrap();
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    flood.join().unwrap();
}

/// As long as the sockets of worker 1 are leaving, all datagrams are worker 0's.
#[test]
fn sockets_that_leave_their_group_get_nothing_more() {
    let addresses = &["127.0.0.1:0", "[::1]:0"];
    let server = Server::start(&config(addresses, 2), Arc::new(support::demo())).unwrap();
    let mut before = [0, 0];
    let mut received = || {
        for address in server.addresses() {
            for client in (0..64).map(|_| client(address)) {
                client.send(&query("www.example.com", 1)).unwrap();
                receive(&client);
            }
        }
        let end = Instant::now() + PATIENCE;
        loop {
            let now = server.totals();
            let more = [0, 1].map(|worker| now[worker].received - before[worker]);
            if more.iter().sum::<u64>() == 128 {
                before = [0, 1].map(|worker| now[worker].received);
                return more;
            }
            assert!(Instant::now() < end, "{more:?}");
            std::thread::yield_now();
        }
    };
    let begin = |groups: [usize; 2], hashed| {
        let taken = Taken {
            groups: groups.to_vec(),
            listeners: Vec::new(),
            hashed,
        };
        Leaving::begin(server.hand_over().unwrap(), &taken).unwrap()
    };
    assert!(!received().contains(&0), "the hash spreads them");
    let leaving = begin([1, 1], true);
    assert_eq!(received(), [128, 0]);
    drop(leaving);
    assert!(!received().contains(&0), "the hash spreads them again");
    // Nobody stays, everybody stays, or a program of another process chooses.
    for (groups, hashed) in [([0, 2], true), ([1, 1], false)] {
        let leaving = begin(groups, hashed);
        assert!(!received().contains(&0), "{groups:?}");
        drop(leaving);
    }
}
