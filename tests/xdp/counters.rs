//! What was lost is counted.

use std::time::Instant;

use shardns::server::Server;
use shardns::sys::xdp::{Mode, QueueTotals};

use super::lifetime::Held;
use super::support::query;
use super::{PATIENCE, client, config, demo, wire};

fn counted(server: &Server) -> Vec<QueueTotals> {
    let interfaces = server.interfaces();
    let queues = interfaces.iter().flat_map(|interface| &interface.queues);
    queues.map(|queue| queue.totals).collect()
}

/// While its worker stands still, a queue fills until no frame is left.
#[test]
fn datagrams_that_find_no_frame_are_counted() {
    let Some(wire) = wire("full") else { return };
    for mode in [Mode::Native, Mode::Generic] {
        let (begun, begins) = crossbeam_channel::unbounded();
        let (allow, leave) = crossbeam_channel::unbounded();
        let hold = |inner| Held {
            inner,
            begun: begun.clone(),
            leave: leave.clone(),
        };
        let config = config(mode, 2);
        let server = wire.at_server(|| Server::start_with(&config, demo(), hold));
        let mut server = server.unwrap();
        let socket = wire.at_client(|| client(server.addresses()[0]));
        let request = query("www.example.com", 1);
        socket.send(&request).unwrap();
        begins.recv_timeout(PATIENCE).unwrap();
        let begin = Instant::now();
        while counted(&server).iter().all(|queue| queue.no_frame == 0) {
            assert!(begin.elapsed() < PATIENCE);
            socket.send(&request).unwrap();
        }
        drop(allow);
        server.stop();
        let full = counted(&server);
        let full = full.iter().find(|queue| queue.no_frame > 0).unwrap();
        assert!(full.ring_empty > 0 && full.received > 2000, "{full:?}");
        let drops: u64 = server.totals().iter().map(|totals| totals.drops).sum();
        assert!(drops >= full.no_frame, "{drops}: {full:?}");
    }
}
