//! How an interface comes to be read past the sockets, in steps: what can be told
//! beforehand is told before anything is touched; what can be had beside another
//! process that reads the interface is made; then the program is attached and the
//! queues are bound; and only when all of that is there, for every interface, are
//! datagrams taken.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::addresses::Strangers;
use super::bpf::Program;
use super::filter::{Filter, MAX_SERVED};
use super::interface::{self, Facts, MIN_MTU};
use super::locked::Locked;
use super::port::{self, Common, FRAMES, QueuePort, frame_size};
use super::program::{self, KEY, Passed};
use super::queue::{self, Queue};
use super::{GENERIC_FLAG, Mode, NATIVE_FLAG, Options, XdpError};
use crate::sys::ethtool::{Channels, Ethtool};

/// An interface whose datagrams are taken before the sockets see them, until this is
/// dropped. Then they go over the sockets again, but for those that lie in queues.
pub struct Interface {
    /// Its name, as of when it was looked at last.
    pub name: String,
    /// Its number, which it keeps whatever it is named.
    index: u32,
    /// Whether the program runs in the driver.
    pub native: bool,
    /// Queues that there are, where the driver tells.
    pub channels: Option<Channels>,
    /// Those that are read.
    pub queues: Vec<Arc<Queue>>,
    /// How long it took until they were there.
    pub waited: Duration,
    filter: Filter,
    link: Option<OwnedFd>,
    /// Whom to ask about it.
    ethtool: Ethtool,
    common: Arc<Common>,
    is_gone: bool,
    /// Whether its MTU leaves replies no room for now.
    is_closed: bool,
    /// Its own address on the link when it was opened.
    station: [u8; 6],
    /// Whether it has another one by now.
    has_moved: bool,
    /// Addresses and ports that are served there and are too many to be taken.
    pub left_out: usize,
}

impl Interface {
    /// Sees whether an interface can be read past the sockets, as far as that can be
    /// told without touching it: what it is, and whether this process may. Returns the
    /// memory that its frames would take.
    ///
    /// # Errors
    ///
    /// A sentence for whatever is in the way.
    pub fn check(name: &str, options: &Options) -> Result<Locked, XdpError> {
        let facts = Facts::of(name)?;
        let failed = |what| move |error| XdpError::new(name, what, error);
        drop(queue::socket().map_err(failed("make a socket for a queue"))?);
        let filter = filter(&facts, &[], options);
        filter.map_err(failed("load the program"))?;
        Ok(locked(&facts, options))
    }

    /// Makes all that is needed to take datagrams to what is `served` from the queues of
    /// an interface, which may still be read by another process. Of addresses that stand
    /// for all, those count that the interface has, and those of loopback.
    ///
    /// # Errors
    ///
    /// A sentence for whatever is in the way; nothing is changed then.
    pub fn prepare(
        name: &str,
        served: &[SocketAddr],
        options: &Options,
    ) -> Result<Prepared, XdpError> {
        let facts = Facts::of(name)?;
        let failed = |what| move |error| XdpError::new(name, what, error);
        let addresses = interface::addresses().map_err(failed("list addresses"))?;
        let mut keys = keys(&facts.name, served, &addresses);
        if keys.is_empty() {
            return Err(XdpError::NothingServed(facts.name));
        }
        let left_out = keys.len().saturating_sub(MAX_SERVED as usize);
        keys.truncate(MAX_SERVED as usize);
        let filter = filter(&facts, &keys, options).map_err(failed("load the program"))?;
        let locked = locked(&facts, options);
        let common = Arc::new(Common {
            strangers: strangers(&addresses),
            mtu: facts.mtu.into(),
        });
        let queues = (0..locked.queues)
            .map(|_| port::Unbound::new(options.width, options.reply, common.clone()))
            .collect::<io::Result<_>>();
        Ok(Prepared {
            queues: queues.map_err(failed("make a queue"))?,
            common,
            mode: options.mode,
            locked,
            left_out,
            facts,
            filter,
        })
    }

    /// Takes datagrams from now on. `ports` are those of the interface.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn enter(&self, ports: &[QueuePort]) -> Result<(), XdpError> {
        let enter = |port: &QueuePort| self.filter.enter(port.queue().number, port);
        let failed = |error| XdpError::new(&self.name, "enter a queue", error);
        ports.iter().try_for_each(enter).map_err(failed)
    }

    /// How many frames went on to the kernel, by the reason, in the order of
    /// `Passed::ALL`.
    pub fn passed(&self) -> [u64; Passed::ALL.len()] {
        self.filter.passed()
    }

    /// Has all datagrams go over the sockets from now on, for good, since to attach the
    /// program once more takes privileges; those that lie in queues can still be taken.
    pub fn detach(&mut self) {
        self.link = None;
    }

    /// The name that it has by now.
    pub fn name_by_now(&self) -> String {
        // Of one that is gone the last one; another may have its number.
        let name = (!self.is_gone).then(|| self.ethtool.name_of(self.index));
        match name {
            Some(Ok(name)) => name,
            _ => self.name.clone(),
        }
    }

    /// Takes the name that it has by now; returns the one before, where that was another.
    pub fn follow_name(&mut self) -> Option<String> {
        let name = self.name_by_now();
        if name == self.name {
            return None;
        }
        self.ethtool.rename(&name).ok()?;
        Some(std::mem::replace(&mut self.name, name))
    }

    /// Has replies be as long as the interface's MTU allows by now, and as there is room
    /// for in frames that were laid out at the start. Where it allows none, nothing is
    /// taken until it does. Returns the MTU where that is so again.
    ///
    /// # Errors
    ///
    /// The MTU is too small for replies by now.
    pub fn follow_mtu(&mut self) -> Result<Option<usize>, XdpError> {
        // An interface that is gone sends nothing, however long; one that has its name by
        // now is another one.
        if self.is_gone || self.link.is_none() {
            return Ok(None);
        }
        let Ok(mtu) = self.ethtool.mtu() else {
            return Ok(None);
        };
        let is_small = mtu < MIN_MTU;
        if !is_small {
            self.common.mtu.store(mtu, Ordering::Relaxed);
        }
        if is_small == self.is_closed {
            return Ok(None);
        }
        // The program stays where it is: to attach it once more takes privileges, which
        // are gone.
        self.filter.close(is_small);
        self.is_closed = is_small;
        match is_small {
            true => Err(XdpError::SmallMtu(self.name.clone(), mtu)),
            false => Ok(Some(mtu)),
        }
    }

    /// Takes nothing any more where the interface has become another station; true if
    /// that is so now. What comes in is for the new one, and the program, which cannot
    /// be exchanged without privileges, knows the old one.
    pub fn has_moved(&mut self) -> bool {
        if self.is_gone || self.link.is_none() {
            return false;
        }
        let has_moved = self.ethtool.station().is_ok_and(|now| now != self.station);
        if has_moved {
            self.detach();
            self.has_moved = true;
        }
        has_moved
    }

    /// True once it is not read any more, since it has gone or is another station.
    pub fn is_lost(&self) -> bool {
        self.is_gone || self.has_moved
    }

    /// Goes by the addresses that the machine has now: requests to one of the start that
    /// it has lost are not answered, and those from it are a client's.
    pub fn follow_addresses(&self, now: &BTreeSet<IpAddr>) {
        self.common.strangers.follow(now);
    }

    /// Asks the kernel whether the interface is still there; true if it has gone since
    /// this was asked before. To go to another network namespace is that too: the queues
    /// are closed then, but the program would stay where it is, and take for nobody.
    pub fn has_gone(&mut self) -> bool {
        let has_gone = self.queues.iter().any(|queue| queue.has_gone());
        if has_gone {
            self.detach();
        }
        let is_news = has_gone && !self.is_gone;
        self.is_gone |= has_gone;
        is_news
    }
}

/// An interface with all that is needed to read it, which is not touched yet.
pub struct Prepared {
    facts: Facts,
    filter: Filter,
    queues: Vec<port::Unbound>,
    common: Arc<Common>,
    mode: Mode,
    locked: Locked,
    left_out: usize,
}

impl Prepared {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.facts.name
    }

    /// False where another process must leave before there is memory enough.
    pub fn has_memory(&self) -> bool {
        self.queues.iter().all(port::Unbound::is_registered)
    }

    /// The memory that its frames take.
    pub fn locked(&self) -> &Locked {
        &self.locked
    }

    /// Attaches the program and binds the queues, waiting so long at most for whoever
    /// has left them just now. Nothing is taken before `enter`.
    ///
    /// # Errors
    ///
    /// A sentence for whatever is in the way; nothing is changed then.
    pub fn open(self, patience: Duration) -> Result<(Interface, Vec<QueuePort>), XdpError> {
        let begin = Instant::now();
        let until = begin + patience;
        // As long as no socket is in its map, the program passes everything.
        let (link, native) = attach(&self.filter.program, &self.facts, self.mode, until)?;
        let Prepared { facts, filter, .. } = self;
        let mut ports = Vec::new();
        for (number, queue) in (0..).zip(self.queues) {
            match queue.bind((facts.index, number), native, until) {
                Ok(port) => ports.push(port),
                // There are no more.
                Err(error) if number > 0 && error.raw_os_error() == Some(libc::EINVAL) => break,
                Err(error) => return Err(not_bound(&self.locked, number, error)),
            }
        }
        if ports.is_empty() {
            return Err(XdpError::NoQueue(facts.name));
        }
        let interface = Interface {
            name: facts.name,
            index: facts.index,
            native,
            channels: facts.channels,
            queues: ports.iter().map(|port| port.queue().clone()).collect(),
            waited: begin.elapsed(),
            filter,
            link: Some(link),
            ethtool: facts.ethtool,
            common: self.common,
            is_gone: false,
            is_closed: false,
            station: facts.station,
            has_moved: false,
            left_out: self.left_out,
        };
        Ok((interface, ports))
    }
}

fn not_bound(locked: &Locked, queue: u32, error: io::Error) -> XdpError {
    match error.raw_os_error() {
        _ if queue::is_busy(&error) => XdpError::QueueTaken {
            interface: locked.interface.clone(),
            queue,
        },
        Some(libc::ENOBUFS) => locked.refused(),
        _ => XdpError::new(&locked.interface, "open a queue", error),
    }
}

/// The memory of a queue's frames for each reader, as far as there are queues.
fn locked(facts: &Facts, options: &Options) -> Locked {
    let there = facts.channels.map(|told| told.receiving as usize);
    Locked {
        interface: facts.name.clone(),
        queues: there.map_or(options.readers, |there| options.readers.min(there)),
        octets: frame_size((options.reply, facts.mtu)).0 * FRAMES as usize,
    }
}

fn filter(facts: &Facts, keys: &[[u8; KEY]], options: &Options) -> io::Result<Filter> {
    let (_, longest) = frame_size((options.reply, facts.mtu));
    Filter::new(keys, facts.station, options.readers, longest)
}

/// What of `served` can come in on the interface, as keys of the program's map, those
/// of its own addresses first.
fn keys(name: &str, served: &[SocketAddr], all: &[interface::Address]) -> Vec<[u8; KEY]> {
    let own = all.iter().filter(|one| one.interface == name);
    let loopback = all.iter().filter(|one| one.is_loopback);
    let addresses: Vec<IpAddr> = own
        .chain(loopback)
        .map(|one| one.address)
        .filter(|address| !address.is_loopback())
        .collect();
    let mut keys = Vec::new();
    for served in served {
        let is_served = |address: &&IpAddr| match served.ip().is_unspecified() {
            true => address.is_ipv4() == served.is_ipv4(),
            false => **address == served.ip(),
        };
        let there = addresses.iter().filter(is_served);
        keys.extend(there.map(|address| program::key((*address, served.port()).into())));
    }
    keys
}

fn strangers(all: &[interface::Address]) -> Strangers {
    let broadcast = all.iter().flat_map(|one| one.broadcast);
    let broadcast = broadcast.flatten().map(IpAddr::from);
    Strangers::new(all.iter().map(|one| one.address).collect(), broadcast)
}

/// Attaches the program, and says whether that was in the driver.
fn attach(
    program: &Program,
    facts: &Facts,
    mode: Mode,
    until: Instant,
) -> Result<(OwnedFd, bool), XdpError> {
    let name = &facts.name;
    let attach = |flag| queue::patiently(until, || program.attach(facts.index, flag));
    let refused = |error: io::Error| match queue::is_busy(&error) {
        true => XdpError::OtherProgram(name.clone()),
        false => XdpError::new(name, "attach the program", error),
    };
    let generic = || {
        let link = attach(GENERIC_FLAG);
        link.map(|link| (link, false)).map_err(refused)
    };
    if mode == Mode::Generic {
        return generic();
    }
    match attach(NATIVE_FLAG) {
        Ok(link) => Ok((link, true)),
        Err(error) if queue::is_busy(&error) => Err(refused(error)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(refused(error)),
        Err(_) if mode == Mode::Auto => generic(),
        Err(error) => Err(XdpError::NotNative {
            interface: name.clone(),
            error,
        }),
    }
}
