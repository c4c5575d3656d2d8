//! Sockets that somebody else has bound: each has a reader, and workers beyond
//! their number get sockets of their own where others may join.

use std::net::Ipv4Addr;

use super::*;
use shardns::server::Bound;
use shardns::server::queues::Readers;
use shardns::sys::socket::{UdpOptions, UdpSocket as Socket};

/// So many sockets of one group, or one that lets nobody join, and what a service
/// manager would hand in of them.
fn bound(sockets: usize, grouped: bool) -> (SocketAddr, Sockets) {
    let options = UdpOptions {
        grouped,
        receive_buffer: 1 << 16,
        timeout: PATIENCE,
    };
    let address = (Ipv4Addr::LOCALHOST, support::free_port()).into();
    let first = Socket::bind(address, &options, &mut Vec::new()).unwrap();
    let mut group = vec![first.copy_descriptor().unwrap()];
    for _ in 1..sockets {
        let next = Socket::bind(address, &options, &mut Vec::new()).unwrap();
        group.push(next.copy_descriptor().unwrap());
    }
    let sockets = Sockets {
        groups: vec![group],
        ..Sockets::default()
    };
    (address, sockets)
}

/// Starts a server on them; returns its notes, and how many workers had queries to
/// answer.
fn serve(address: SocketAddr, sockets: Sockets, workers: usize) -> (Vec<String>, usize) {
    let config = config(&[], workers);
    let bound = Bound::complete(&config, sockets, &mut Readers::nobody()).unwrap();
    let mut server = bound.start(Arc::new(support::demo())).unwrap();
    assert_eq!(server.addresses(), [address]);
    let request = query("www.example.com", 1);
    // Enough flows for each socket of a group to take one.
    for _ in 0..100 {
        let client = client(address);
        client.send(&request).unwrap();
        receive(&client);
    }
    assert!(ask_tcp(address, &request).is_some());
    server.stop();
    let totals = server.totals();
    let busy = totals[..server.seats().len()]
        .iter()
        .filter(|totals| totals.received > 0);
    let received: u64 = totals.iter().map(|totals| totals.received).sum();
    assert_eq!(received, 101);
    let shared = |note: &&String| note.contains("workers read");
    let notes = server.notes().iter().filter(shared).cloned().collect();
    (notes, busy.count())
}

#[test]
fn workers_beyond_the_sockets_join_a_group() {
    let (address, sockets) = bound(1, true);
    assert_eq!(serve(address, sockets, 3), (Vec::new(), 3));
}

#[test]
fn every_socket_has_a_reader() {
    let (address, sockets) = bound(3, true);
    assert_eq!(serve(address, sockets, 1), (Vec::new(), 3));
}

#[test]
fn a_socket_that_lets_nobody_join_is_read_by_all() {
    let (address, sockets) = bound(1, false);
    let (notes, _) = serve(address, sockets, 3);
    let expected = format!("3 workers read 1 socket of {address}; without ReusePort=yes");
    assert!(notes[0].starts_with(&expected), "{notes:?}");
}
