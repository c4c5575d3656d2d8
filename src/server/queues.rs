//! Queues that are read past the sockets: opened before the workers start, left
//! before they end, and counted in between and afterwards.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Server;
use super::config::{Config, Xdp};
use super::order::Order;
use super::ports::AnyPort;
use crate::sys::xdp::{Interface, Options, Passed, Queue, QueuePort, QueueTotals, XdpError};

/// Interfaces with their queues.
#[derive(Default)]
pub struct Queues {
    open: Vec<Interface>,
    /// What was counted of those that are not open any more.
    ended: Vec<InterfaceTotals>,
}

/// What was counted of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InterfaceTotals {
    /// Its name.
    pub interface: String,
    /// Whether frames are looked at in the driver.
    pub native: bool,
    /// By queue, which is by worker.
    pub queues: Vec<QueueCounts>,
    /// Frames that went on to the kernel, by the reason, where there were any.
    pub passed: Vec<(String, u64)>,
}

/// A queue, and what was counted of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueCounts {
    /// Its number.
    pub queue: u32,
    /// The worker that reads it.
    pub worker: u32,
    /// Whether frames are not copied.
    pub zero_copy: bool,
    /// What was counted.
    #[serde(flatten)]
    pub totals: QueueTotals,
}

/// Opens the queues that `config` asks for, one a worker, and returns the ports, by
/// interface.
pub fn open(
    config: &Config,
    workers: usize,
    served: &[SocketAddr],
) -> Result<Vec<(Interface, Vec<QueuePort>)>, XdpError> {
    let Some(Xdp { interfaces, mode }) = &config.xdp else {
        return Ok(Vec::new());
    };
    let options = Options {
        mode: *mode,
        readers: workers,
        width: config.batch,
        reply: config.settings.edns_size.into(),
    };
    interfaces
        .iter()
        .map(|interface| Interface::open(interface, served, &options))
        .collect()
}

impl Queues {
    /// Keeps the interfaces and deals out the ports, to each worker its own of each.
    pub fn deal(
        opened: Vec<(Interface, Vec<QueuePort>)>,
        workers: usize,
    ) -> (Queues, Vec<Vec<AnyPort>>) {
        let mut dealt: Vec<Vec<AnyPort>> = (0..workers).map(|_| Vec::new()).collect();
        let mut queues = Queues::default();
        for (interface, ports) in opened {
            for (hand, port) in dealt.iter_mut().zip(ports) {
                hand.push(port.into());
            }
            queues.open.push(interface);
        }
        (queues, dealt)
    }

    /// A sentence for each interface.
    pub fn told(&self, workers: usize) -> Vec<String> {
        self.open
            .iter()
            .map(|interface| told(interface, workers))
            .collect()
    }

    /// True where datagrams are taken before the sockets.
    pub fn are_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Has everything that comes in go over the sockets from now on.
    pub fn detach(&mut self) {
        self.open.iter_mut().for_each(Interface::detach);
    }

    /// Closes what the workers have left, and keeps what was counted.
    pub fn end(&mut self) {
        let ended = self.open.drain(..).map(|interface| totals(&interface));
        self.ended.extend(ended);
    }

    /// What was counted, by interface.
    pub fn totals(&self) -> Vec<InterfaceTotals> {
        let open = self.open.iter().map(totals);
        self.ended.iter().cloned().chain(open).collect()
    }

    /// Datagrams that were lost on the queues of a worker.
    pub fn lost(&self, worker: usize) -> u64 {
        let open = self.open.iter().filter_map(|one| one.queues.get(worker));
        let ended = self.ended.iter().filter_map(|one| one.queues.get(worker));
        let open = open.map(|queue| queue.totals().lost());
        open.chain(ended.map(|queue| queue.totals.lost())).sum()
    }
}

impl Server {
    /// A sentence for each interface that is read past the sockets.
    pub fn told_of_queues(&self) -> Vec<String> {
        self.queues.told(self.seats.len())
    }

    /// What was counted of interfaces that are read past the sockets.
    pub fn interfaces(&self) -> Vec<InterfaceTotals> {
        self.queues.totals()
    }

    /// Looks at interfaces that are read past the sockets once more, whose MTU may be
    /// another by now; returns what there is to say, a sentence for each.
    pub fn follow_interfaces(&mut self) -> Vec<String> {
        let open = self.queues.open.iter_mut();
        open.filter_map(|interface| interface.follow_mtu().err())
            .map(|error| format!("{error}; its datagrams go over the sockets from now on"))
            .collect()
    }

    /// Has everything go over the sockets from now on, and leaves the interfaces to
    /// whoever opens them next. What lies in queues is answered.
    pub fn leave_queues(&mut self) {
        if self.queues.are_open() {
            self.queues.detach();
            self.give(Order::LeaveQueues);
            self.queues.end();
        }
    }
}

fn totals(interface: &Interface) -> InterfaceTotals {
    let queue = |(worker, queue): (usize, &Arc<Queue>)| QueueCounts {
        queue: queue.number,
        worker: worker as u32,
        zero_copy: queue.zero_copy,
        totals: queue.totals(),
    };
    let passed = Passed::ALL.iter().zip(interface.passed());
    InterfaceTotals {
        interface: interface.name.clone(),
        native: interface.native,
        queues: interface.queues.iter().enumerate().map(queue).collect(),
        passed: passed
            .filter(|(_, frames)| *frames > 0)
            .map(|((_, reason), frames)| ((*reason).to_owned(), frames))
            .collect(),
    }
}

fn told(interface: &Interface, workers: usize) -> String {
    let name = &interface.name;
    let read = interface.queues.len();
    let channels = interface.channels;
    let there = channels.map_or(read, |there| there.receiving as usize);
    let command = |queues| channels.map(|there| there.command(name, queues));
    let place = match interface.native {
        true => "in the driver",
        false => "behind the driver (generic mode)",
    };
    let copied = match interface.queues.iter().all(|queue| queue.zero_copy) {
        true => "without copying",
        false => "copied",
    };
    let mut sentence = format!(
        "{name}: {read} of {there} {} read past the sockets, {place}, {copied}",
        if there == 1 { "queue" } else { "queues" }
    );
    if there > read {
        sentence += "; what comes in on the others goes over the sockets, as long as there are \
            fewer workers than queues";
        if let Some(command) = command(workers) {
            sentence += &format!(" (`{command}` makes them as many)");
        }
    } else if read < workers {
        let left = workers - read;
        sentence +=
            &format!("; {left} of {workers} workers read none, as long as there are fewer queues");
        if let Some(command) = command(workers) {
            sentence += &format!(" (`{command}` makes more where the card has them)");
        }
    }
    sentence
}
