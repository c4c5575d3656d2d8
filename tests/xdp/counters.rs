//! What was lost is counted.

use std::time::Instant;

use shardns::sys::xdp::Mode;

use super::held::Held;
use super::support::query;
use super::{PATIENCE, config, queues, wire};

/// While its worker stands still, a queue fills until no frame is left.
#[test]
fn datagrams_that_find_no_frame_are_counted() {
    let Some(wire) = wire("full") else { return };
    for mode in [Mode::Native, Mode::Generic] {
        let mut held = Held::start(&wire, &config(mode, 2));
        let request = query("www.example.com", 1);
        held.client.send(&request).unwrap();
        held.begins.recv_timeout(PATIENCE).unwrap();
        let begin = Instant::now();
        while queues(&held.server).iter().all(|queue| queue.no_frame == 0) {
            assert!(begin.elapsed() < PATIENCE);
            held.client.send(&request).unwrap();
        }
        drop(held.allow);
        held.server.stop();
        let full = queues(&held.server);
        let full = full.iter().find(|queue| queue.no_frame > 0).unwrap();
        // How much of it is read before the end is a matter of time.
        let lay = full.received + full.unread;
        assert!(full.ring_empty > 0 && lay > 2000, "{full:?}");
        let drops: u64 = held.server.totals().iter().map(|totals| totals.drops).sum();
        assert!(drops >= full.no_frame, "{drops}: {full:?}");
    }
}
