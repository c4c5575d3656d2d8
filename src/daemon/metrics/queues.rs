//! Metrics of interfaces that are read past the sockets. Where there are none, none
//! are exported.

use std::borrow::Cow;
use std::fmt;

use super::exported::{Families, Labels};
use crate::daemon::status::Status;
use crate::sys::xdp::QueueTotals;

impl Families<'_> {
    pub(super) fn queues(&mut self, status: &Status) -> fmt::Result {
        if status.interfaces.is_empty() {
            return Ok(());
        }
        self.of_queues(
            "shardns_queue_received",
            "Datagrams taken past the sockets.",
            status,
            |queue| queue.received,
        )?;
        self.of_queues(
            "shardns_queue_sent",
            "Replies given to the kernel past the sockets.",
            status,
            |queue| queue.sent,
        )?;
        self.of_queues(
            "shardns_queue_no_frame",
            "Datagrams lost because no frame was free for them.",
            status,
            |queue| queue.no_frame,
        )?;
        self.of_queues(
            "shardns_queue_ring_empty",
            "Times that the kernel found no free frame in their ring.",
            status,
            |queue| queue.ring_empty,
        )?;
        self.of_queues(
            "shardns_queue_ring_full",
            "Datagrams lost because the ring of received ones was full.",
            status,
            |queue| queue.ring_full,
        )?;
        self.of_queues(
            "shardns_queue_invalid",
            "Frames that the kernel did not take.",
            status,
            |queue| queue.invalid,
        )?;
        self.of_queues(
            "shardns_queue_busy",
            "Times that the kernel would not take replies, and took them later.",
            status,
            |queue| queue.busy,
        )?;
        self.of_queues(
            "shardns_queue_unread",
            "Datagrams lost because there was no time left for them when the queue was closed.",
            status,
            |queue| queue.unread,
        )?;
        let gone = status.interfaces.iter().map(|interface| {
            let labels: Labels<'_> = vec![("interface", Cow::from(&interface.interface))];
            (labels, interface.gone)
        });
        self.counter(
            ("shardns_interface_gone", None),
            "Times that an interface was removed while it was read past the sockets.",
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

    fn of_queues(
        &mut self,
        name: &str,
        help: &str,
        status: &Status,
        count: impl Fn(&QueueTotals) -> u64,
    ) -> fmt::Result {
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
