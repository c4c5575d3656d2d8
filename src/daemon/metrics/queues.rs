//! Metrics of interfaces that are read past the sockets. Where there are none, none
//! are exported.

use std::borrow::Cow;
use std::fmt;

use super::exported::{Families, Labels};
use crate::daemon::status::Status;
use crate::sys::xdp::QueueTotals;

type Count = fn(&QueueTotals) -> u64;

/// What is exported of each queue.
const OF_QUEUES: [(&str, &str, Count); 8] = [
    (
        "shardns_queue_received",
        "Datagrams taken past the sockets.",
        |queue| queue.received,
    ),
    (
        "shardns_queue_sent",
        "Replies given to the kernel past the sockets.",
        |queue| queue.sent,
    ),
    (
        "shardns_queue_no_frame",
        "Datagrams lost because no frame was free for them.",
        |queue| queue.no_frame,
    ),
    (
        "shardns_queue_ring_empty",
        "Times that the kernel found no free frame in their ring.",
        |queue| queue.ring_empty,
    ),
    (
        "shardns_queue_ring_full",
        "Datagrams lost because the ring of received ones was full.",
        |queue| queue.ring_full,
    ),
    (
        "shardns_queue_invalid",
        "Frames that the kernel did not take.",
        |queue| queue.invalid,
    ),
    (
        "shardns_queue_busy",
        "Times that the kernel would not take replies, and took them later.",
        |queue| queue.busy,
    ),
    (
        "shardns_queue_unread",
        "Datagrams lost because there was no time left for them when the queue was closed.",
        |queue| queue.unread,
    ),
];

impl Families<'_> {
    pub(super) fn queues(&mut self, status: &Status) -> fmt::Result {
        if status.interfaces.is_empty() {
            return Ok(());
        }
        for (name, help, count) in OF_QUEUES {
            self.of_queues(name, help, status, count)?;
        }
        let gone = status.interfaces.iter().map(|interface| {
            let labels: Labels<'_> = vec![("interface", Cow::from(&interface.interface))];
            (labels, interface.gone)
        });
        self.counter(
            ("shardns_interface_gone", None),
            "Times that an interface was removed, or became another station, while it was read \
                past the sockets.",
            gone,
        )?;
        let passed = status.interfaces.iter().flat_map(|interface| {
            interface.passed.iter().map(|(reason, frames)| {
                let labels: Labels<'_> = vec![
                    ("interface", Cow::from(&interface.interface)),
                    ("reason", Cow::from(reason)),
                ];
                (labels, *frames)
            })
        });
        self.counter(
            ("shardns_passed", None),
            "Frames that went on to the kernel, by the reason.",
            passed,
        )
    }

    fn of_queues(&mut self, name: &str, help: &str, status: &Status, count: Count) -> fmt::Result {
        let series = status.interfaces.iter().flat_map(|interface| {
            interface.queues.iter().map(|queue| {
                let labels: Labels<'_> = vec![
                    ("interface", Cow::from(&interface.interface)),
                    ("queue", queue.queue.to_string().into()),
                    ("worker", queue.worker.to_string().into()),
                ];
                (labels, count(&queue.totals))
            })
        });
        let series: Vec<_> = series.collect();
        self.counter((name, None), help, series)
    }
}
