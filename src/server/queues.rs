//! Queues that are read past the sockets: opened before the workers start, left
//! before they end, and counted in between and afterwards.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde::{Deserialize, Serialize};

use super::config::{Config, Xdp};
use super::order::Order;
use super::ports::AnyPort;
use super::{Server, StartError, bound, drain};
use crate::sys::xdp::{
    AddressWatch, Interface, Locked, Options, Passed, Prepared, Queue, QueuePort, QueueTotals,
};

/// How long a queue may stay busy that somebody has left just now, as a server that was
/// killed: the kernel frees it some 40 ms later, or when it has freed all else.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same where whoever left it may have had much to answer.
const PATIENCE_AFTER_ANOTHER: Duration = Duration::from_secs(5);
/// How long workers may take until they have left their queues: longer than they answer
/// what lies there.
const LEAVING: Duration = Duration::from_millis(2500);
const _: () =
    assert!(LEAVING.as_millis() > drain::DRAIN_WITHIN.as_millis() + drain::DRAIN.as_millis());
/// What is waited for as long as this is told.
const LONG: Duration = Duration::from_secs(1);

/// Interfaces with their queues.
pub struct Queues {
    open: Vec<Interface>,
    /// What was counted of those that are not open any more, here and by servers before
    /// this one.
    ended: Vec<InterfaceTotals>,
    /// Disconnected when every worker has left its queues.
    left: Receiver<Infallible>,
    /// Tells of addresses that come and go, where that is to be had.
    addresses: Option<AddressWatch>,
}

impl Default for Queues {
    fn default() -> Queues {
        Queues {
            open: Vec::new(),
            ended: Vec::new(),
            left: crossbeam_channel::never(),
            addresses: None,
        }
    }
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
    /// Times that it was removed from the system, or became another station, while it
    /// was read.
    pub gone: u64,
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

/// Who reads interfaces past the sockets that are wanted here.
pub struct Readers<'r> {
    /// The interfaces, by name.
    pub interfaces: &'r [String],
    /// Has them left.
    pub leave: Box<dyn FnMut() -> io::Result<()> + 'r>,
}

impl Readers<'_> {
    /// Nobody.
    pub fn nobody() -> Readers<'static> {
        Readers {
            interfaces: &[],
            leave: Box::new(|| Ok(())),
        }
    }
}

/// Interfaces with the ports that read them, in the order of the configuration.
pub type Opened = Vec<(Interface, Vec<QueuePort>)>;

/// Sees whether the queues that `config` asks for can be had, as far as that can be told
/// while somebody else reads them.
///
/// # Errors
///
/// A sentence for the first thing that is in the way.
pub fn check(config: &Config) -> Result<(), StartError> {
    let Some(Xdp { interfaces, .. }) = &config.xdp else {
        return Ok(());
    };
    let options = options(config, bound::seats(config)?.len());
    let checked = interfaces.iter().map(|one| Interface::check(one, &options));
    let locked: Vec<Locked> = checked.collect::<Result<_, _>>()?;
    Ok(Locked::check(&locked)?)
}

/// Opens the queues that `config` asks for, one a worker, and returns the ports, by
/// interface. Who reads them until then is told to leave them when all else is there.
pub fn open(
    config: &Config,
    workers: usize,
    served: &[SocketAddr],
    readers: &mut Readers<'_>,
) -> Result<Opened, StartError> {
    let Some(Xdp { interfaces, .. }) = &config.xdp else {
        return Ok(Vec::new());
    };
    let options = options(config, workers);
    let prepared = interfaces
        .iter()
        .map(|interface| Interface::prepare(interface, served, &options))
        .collect::<Result<Vec<Prepared>, _>>()?;
    let order: Vec<String> = prepared.iter().map(|one| one.name().to_owned()).collect();
    if !prepared.iter().all(Prepared::has_memory) {
        // Then the limit counts; others may take a part of it, which will be free.
        let locked = prepared.iter().map(Prepared::locked).cloned();
        Locked::check_limited(&locked.collect::<Vec<_>>())?;
    }
    let is_held = |one: &Prepared| {
        let is_read = readers.interfaces.iter().any(|name| name == one.name());
        // What they lack of memory may be what the other one takes.
        is_read || !(readers.interfaces.is_empty() || one.has_memory())
    };
    // What nobody reads first: if that cannot be had, nobody has left anything for it.
    let (held, free): (Vec<_>, Vec<_>) = prepared.into_iter().partition(is_held);
    let mut opened = free
        .into_iter()
        .map(|one| one.open(PATIENCE))
        .collect::<Result<Opened, _>>()?;
    if !held.is_empty() {
        (readers.leave)().map_err(|error| StartError::System {
            what: "past the sockets".into(),
            error,
        })?;
        for one in held {
            opened.push(one.open(PATIENCE_AFTER_ANOTHER)?);
        }
    }
    let place = |(one, _): &(Interface, _)| order.iter().position(|name| *name == one.name);
    opened.sort_by_key(place);
    // Nothing is taken from the sockets before all is there.
    for (interface, ports) in &opened {
        interface.enter(ports)?;
    }
    Ok(opened)
}

fn options(config: &Config, workers: usize) -> Options {
    Options {
        mode: config.xdp.as_ref().map(|xdp| xdp.mode).unwrap_or_default(),
        readers: workers,
        width: config.batch,
        reply: config.settings.edns_size.into(),
    }
}

impl Queues {
    /// Keeps the interfaces and deals out the ports, to each worker its own of each.
    pub fn deal(opened: Opened, workers: usize) -> (Queues, Vec<Vec<AnyPort>>) {
        let mut dealt: Vec<Vec<AnyPort>> = (0..workers).map(|_| Vec::new()).collect();
        let (hold, left) = crossbeam_channel::bounded(0);
        let mut queues = Queues {
            left,
            addresses: (!opened.is_empty())
                .then(|| AddressWatch::new().ok())
                .flatten(),
            ..Queues::default()
        };
        for (interface, ports) in opened {
            for (hand, port) in dealt.iter_mut().zip(ports) {
                hand.push(AnyPort::Queue(port, hold.clone()));
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

    /// The interfaces that are read, by the names that they have by now.
    pub fn names(&self) -> Vec<String> {
        self.open.iter().map(Interface::name_by_now).collect()
    }

    /// Looks at the interfaces once more, which may have gone or have another name or MTU by
    /// now; returns what there is to say, a sentence for each.
    pub fn follow(&mut self) -> Vec<String> {
        let mut said = self.follow_names();
        if let Some(now) = self.addresses.as_mut().and_then(AddressWatch::look) {
            self.open.iter().for_each(|one| one.follow_addresses(&now));
        }
        for one in &mut self.open {
            if one.has_gone() {
                said.push(format!(
                    "{} was removed while it was read past the sockets, or has gone to another \
                        network namespace; this server goes on over the sockets, also where an \
                        interface of this name comes back, until it is started anew or taken over \
                        from",
                    one.name
                ));
                continue;
            }
            if one.has_moved() {
                said.push(format!(
                    "{} has another MAC address by now; its datagrams go over the sockets until \
                        this server is started anew or taken over from",
                    one.name
                ));
                continue;
            }
            match one.follow_mtu() {
                Ok(None) => {}
                Ok(Some(mtu)) => said.push(format!(
                    "{} has an MTU of {mtu} by now; its datagrams are read past the sockets again",
                    one.name
                )),
                Err(error) => said.push(format!(
                    "{error}; its datagrams go over the sockets for now"
                )),
            }
        }
        said
    }

    /// At once, since two may have changed their names with each other.
    fn follow_names(&mut self) -> Vec<String> {
        let mut renamed = BTreeMap::new();
        for one in &mut self.open {
            if let Some(before) = one.follow_name() {
                renamed.insert(before, one.name.clone());
            }
        }
        for ended in &mut self.ended {
            if let Some(name) = renamed.get(&ended.interface) {
                ended.interface.clone_from(name);
            }
        }
        let told = |(before, name): (&String, &String)| {
            format!("{before} is named {name} by now, and is told of by that name")
        };
        renamed.iter().map(told).collect()
    }

    /// Waits until every worker has left its queues, which they do after an order, or
    /// until that has taken too long; false then.
    fn wait_until_left(&self) -> bool {
        self.left.recv_timeout(LEAVING) == Err(RecvTimeoutError::Disconnected)
    }

    /// Closes what the workers have left, and keeps what was counted.
    pub fn end(&mut self) {
        self.follow_names();
        for interface in self.open.drain(..) {
            add(&mut self.ended, &totals(&interface));
        }
    }

    /// Goes on from what a server before this one has counted, with so many workers.
    pub fn carry_on(&mut self, counted: &[InterfaceTotals], workers: usize) {
        for interface in counted {
            let mut interface = interface.clone();
            for queue in &mut interface.queues {
                queue.worker %= workers.max(1) as u32;
            }
            add(&mut self.ended, &interface);
        }
    }

    /// What was counted, by interface.
    pub fn totals(&self) -> Vec<InterfaceTotals> {
        let mut all = Vec::new();
        // As they are read now, and after them what was read before.
        let now = self.open.iter().map(totals);
        now.for_each(|interface| add(&mut all, &interface));
        let ended = self.ended.iter();
        ended.for_each(|interface| add(&mut all, interface));
        all
    }

    /// Datagrams that were lost on the queues of a worker.
    pub fn lost(&self, worker: usize) -> u64 {
        let open = self.open.iter().filter_map(|one| one.queues.get(worker));
        let open = open.map(|queue| queue.totals().lost());
        let ended = self.ended.iter().flat_map(|one| &one.queues);
        let ended = ended.filter(|queue| queue.worker as usize == worker);
        open.chain(ended.map(|queue| queue.totals.lost())).sum()
    }
}

/// Adds what was counted of an interface to what was counted of it already.
fn add(all: &mut Vec<InterfaceTotals>, more: &InterfaceTotals) {
    match all.iter_mut().find(|one| one.interface == more.interface) {
        Some(known) => known.add(more),
        None => all.push(more.clone()),
    }
}

impl InterfaceTotals {
    /// Adds what was counted of the same interface, by whoever read it.
    fn add(&mut self, more: &InterfaceTotals) {
        for queue in &more.queues {
            match self.queues.iter_mut().find(|own| own.queue == queue.queue) {
                Some(own) => own.totals = own.totals.plus(&queue.totals),
                None => self.queues.push(*queue),
            }
        }
        self.queues.sort_by_key(|queue| queue.queue);
        for (reason, frames) in &more.passed {
            match self.passed.iter_mut().find(|(own, _)| own == reason) {
                Some((_, own)) => *own += frames,
                None => self.passed.push((reason.clone(), *frames)),
            }
        }
        self.gone += more.gone;
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

    /// The interfaces that are read past the sockets now, by name.
    pub fn open_interfaces(&self) -> Vec<String> {
        self.queues.names()
    }

    /// Looks at interfaces that are read past the sockets once more, which may have gone
    /// or have another name or MTU by now; returns what there is to say, a sentence for
    /// each.
    pub fn follow_interfaces(&mut self) -> Vec<String> {
        self.queues.follow()
    }

    /// Has everything go over the sockets from now on, and leaves the interfaces to
    /// whoever opens them next. What lies in queues is answered. False where a worker
    /// has not left its own within half a second.
    pub fn leave_queues(&mut self) -> bool {
        if !self.queues.are_open() {
            return true;
        }
        self.queues.detach();
        self.give(Order::LeaveQueues);
        let is_left = self.queues.wait_until_left();
        self.queues.end();
        is_left
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
        gone: interface.is_lost().into(),
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
    if interface.left_out > 0 {
        sentence += &format!(
            "; {} of the addresses and ports that are served there are more than the program \
                takes, and go over the sockets",
            interface.left_out
        );
    }
    if interface.waited > LONG {
        let seconds = interface.waited.as_secs_f64();
        sentence += &format!("; it was free of who read it before after {seconds:.1} s");
    }
    sentence
}
