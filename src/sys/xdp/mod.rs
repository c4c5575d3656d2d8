//! Past the sockets: datagrams are taken from the queues of an interface before the
//! kernel's UDP sees them (AF_XDP, `Documentation/networking/af_xdp.rst`). A small
//! program in the kernel picks those that are for this server; everything else goes
//! on as ever, to the sockets, too, which stay open beside.
//!
//! - `program.rs`: the program, of `assembler.rs`'s instructions.
//! - `filter.rs`: the program with its maps; `bpf.rs`: the calls for these.
//! - `queue.rs`: the socket of a queue; `memory.rs`: its frames and rings.
//! - `frame.rs`: the headers around a datagram.
//! - `port.rs`: all of it as a port.
//! - `source.rs`: what measurements need beside.
//! - `interface.rs`: which interfaces this is possible on.
//!
//! A reply goes back to the station that its request came from, on the same
//! interface, whatever the routes say. That is right where the route back is the
//! way there, as with one router or one network.

mod assembler;
mod bpf;
mod filter;
mod frame;
mod interface;
mod memory;
mod port;
mod program;
mod queue;
pub mod source;

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bpf::Program;
use filter::{Filter, MAX_SERVED};
use interface::{Facts, MIN_MTU};
use port::{Common, Strangers, frame_size};
use program::KEY;

use crate::sys::ethtool::{Channels, Ethtool};

pub use port::QueuePort;
pub use program::Passed;
pub use queue::{Queue, QueueTotals};

/// Where on its way a frame meets the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, or else behind it.
    #[default]
    Auto,
    /// In the driver (`XDP_FLAGS_DRV_MODE`).
    Native,
    /// Behind it, on every kind of interface (`XDP_FLAGS_SKB_MODE`).
    Generic,
}

/// `XDP_FLAGS_SKB_MODE` and `XDP_FLAGS_DRV_MODE` (`linux/if_link.h`).
const GENERIC_FLAG: u32 = 2;
const NATIVE_FLAG: u32 = 4;

/// What queues are opened with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Where the program runs.
    pub mode: Mode,
    /// Queues to read at most, from number 0 on.
    pub readers: usize,
    /// Datagrams of a batch.
    pub width: usize,
    /// Octets of the longest reply.
    pub reply: usize,
}

/// Why an interface cannot be read past the sockets.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// There is no such interface.
    #[error("there is no interface `{0}`; `ip link` lists them")]
    NoInterface(String),
    /// Replies would not arrive.
    #[error(
        "{0} is loopback, where the kernel takes no replies past the sockets; leave it out, its \
            datagrams go over the sockets"
    )]
    Loopback(String),
    /// No Ethernet headers.
    #[error("{0} is no Ethernet interface; --xdp works with no other")]
    NotEthernet(String),
    /// Replies would not fit.
    #[error("{0} has an MTU of {1}; --xdp takes 576 or more")]
    SmallMtu(String, usize),
    /// The card takes tags off frames before anybody sees them.
    #[error(
        "{interface} takes VLAN tags off before a program sees the frame, so that what is for \
            {vlan} could not be told apart; run `ethtool -K {interface} rxvlan off`, or leave \
            {interface} out"
    )]
    HiddenTags {
        /// The interface.
        interface: String,
        /// A VLAN on it.
        vlan: String,
    },
    /// Somebody else's program is there.
    #[error(
        "another XDP program is attached to {0}; `ip link show {0}` shows it, and `ip link set {0} \
            xdp off` takes it off where it was not attached by a link that is still open"
    )]
    OtherProgram(String),
    /// Somebody else reads the queue.
    #[error("queue {queue} of {interface} is read by another process; stop that one first")]
    QueueTaken {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// The driver cannot do it.
    #[error(
        "the driver of {interface} runs no XDP program ({error}); use --xdp-mode generic, or, \
            where it does in principle, fewer queues (`ethtool -L`) or a smaller MTU"
    )]
    NotNative {
        /// The interface.
        interface: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// Capabilities are missing.
    #[error(
        "no permission to read {0} past the sockets; run as root, or give the program \
            CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF"
    )]
    NoPermission(String),
    /// The memory of the frames counts against a limit.
    #[error(
        "too little memory may be locked for the frames of {0}; raise `ulimit -l`, or give the \
            program CAP_IPC_LOCK"
    )]
    LockedMemory(String),
    /// The program calls what is not there yet.
    #[error("--xdp needs Linux 5.18 or later, and this is {0}; serve without --xdp")]
    OldKernel(String),
    /// The kernel was built without it.
    #[error("this kernel has no AF_XDP sockets; serve without --xdp")]
    NoSockets,
    /// Nothing of what is served has an address there.
    #[error(
        "no address that is served is one of {0}, so that nothing would come in there; see `ip \
            address show {0}` and --listen"
    )]
    NothingServed(String),
    /// Anything else.
    #[error("cannot {what} of {interface}: {error}")]
    Kernel {
        /// The interface.
        interface: String,
        /// What was to be done.
        what: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}

impl XdpError {
    fn new(interface: &str, what: &'static str, error: io::Error) -> XdpError {
        let name = interface.to_owned();
        let release = || fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        match error.raw_os_error() {
            Some(libc::EINVAL) if is_too_old(&release()) => {
                XdpError::OldKernel(release().trim().to_owned())
            }
            // `EACCES` is a program that the kernel refuses, whoever loads it.
            Some(libc::EPERM) => XdpError::NoPermission(name),
            Some(libc::ENOBUFS) => XdpError::LockedMemory(name),
            Some(libc::EAFNOSUPPORT) => XdpError::NoSockets,
            _ => XdpError::Kernel {
                interface: name,
                what,
                error,
            },
        }
    }
}

/// True for a kernel before the one that has all that the program calls
/// (`bpf_xdp_get_buff_len`): it refuses the program as one that makes no sense.
fn is_too_old(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse::<u32>().ok();
    (number(), number()) < (Some(5), Some(18)) && !release.is_empty()
}

/// An interface whose datagrams are taken before the sockets see them, until this is
/// dropped. Then they go over the sockets again, but for those that lie in queues.
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether the program runs in the driver.
    pub native: bool,
    /// Queues that there are, where the driver tells.
    pub channels: Option<Channels>,
    /// Those that are read.
    pub queues: Vec<Arc<Queue>>,
    filter: Filter,
    link: Option<OwnedFd>,
    /// Whom to ask about it.
    ethtool: Ethtool,
    common: Arc<Common>,
}

impl Interface {
    /// Takes datagrams to what is `served` from the queues of an interface. Of
    /// addresses that stand for all, those count that the interface has, and those
    /// of loopback.
    ///
    /// # Errors
    ///
    /// A sentence for whatever is in the way; nothing is changed then.
    pub fn open(
        name: &str,
        served: &[SocketAddr],
        options: &Options,
    ) -> Result<(Interface, Vec<QueuePort>), XdpError> {
        let facts = Facts::of(name)?;
        let failed = |what| move |error| XdpError::new(name, what, error);
        let addresses = interface::addresses().map_err(failed("list addresses"))?;
        let keys = keys(&facts.name, served, &addresses);
        if keys.is_empty() {
            return Err(XdpError::NothingServed(name.into()));
        }
        let common = Arc::new(Common {
            strangers: strangers(&addresses),
            mtu: facts.mtu.into(),
        });
        let (_, longest) = frame_size((options.reply, facts.mtu));
        let filter = Filter::new(&keys, facts.station, options.readers, longest);
        let filter = filter.map_err(failed("load the program"))?;
        // As long as no socket is in its map, the program passes everything.
        let (link, native) = attach(&filter.program, &facts, options.mode)?;
        let ports = open_queues(&facts, native, options, &common)?;
        for port in &ports {
            let entered = filter.enter(port.queue().number, port);
            entered.map_err(failed("enter a queue"))?;
        }
        let interface = Interface {
            name: facts.name,
            native,
            channels: facts.channels,
            queues: ports.iter().map(|port| port.queue().clone()).collect(),
            filter,
            link: Some(link),
            ethtool: facts.ethtool,
            common,
        };
        Ok((interface, ports))
    }

    /// How many frames went on to the kernel, by the reason, in the order of
    /// `Passed::ALL`.
    pub fn passed(&self) -> [u64; Passed::ALL.len()] {
        self.filter.passed()
    }

    /// Has all datagrams go over the sockets from now on; those that lie in queues
    /// can still be taken.
    pub fn detach(&mut self) {
        self.link = None;
    }

    /// Has replies be as long as the interface's MTU allows by now, and as there is room
    /// for in frames that were laid out at the start.
    ///
    /// # Errors
    ///
    /// The MTU is too small for replies; nothing is taken from now on.
    pub fn follow_mtu(&mut self) -> Result<(), XdpError> {
        // An interface that is gone sends nothing, however long.
        let Ok(mtu) = self.ethtool.mtu() else {
            return Ok(());
        };
        if mtu >= MIN_MTU {
            self.common.mtu.store(mtu, Ordering::Relaxed);
            return Ok(());
        }
        match self.link.take() {
            Some(_) => Err(XdpError::SmallMtu(self.name.clone(), mtu)),
            None => Ok(()),
        }
    }
}

/// What of `served` can come in on the interface, as keys of the program's map.
fn keys(name: &str, served: &[SocketAddr], all: &[interface::Address]) -> Vec<[u8; KEY]> {
    let comes_in = |one: &&interface::Address| one.interface == name || one.is_loopback;
    let addresses: Vec<IpAddr> = all
        .iter()
        .filter(comes_in)
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
    keys.truncate(MAX_SERVED as usize);
    keys
}

fn strangers(all: &[interface::Address]) -> Strangers {
    let own = all.iter().map(|one| one.address);
    let broadcast = all.iter().filter_map(|one| one.broadcast.map(IpAddr::from));
    Strangers::new(own.chain(broadcast).collect())
}

/// Attaches the program, and says whether that was in the driver.
fn attach(program: &Program, facts: &Facts, mode: Mode) -> Result<(OwnedFd, bool), XdpError> {
    let name = &facts.name;
    let refused = |error: io::Error| match queue::is_busy(&error) {
        true => XdpError::OtherProgram(name.clone()),
        false => XdpError::new(name, "attach the program", error),
    };
    let generic = || {
        let link = program.attach(facts.index, GENERIC_FLAG);
        link.map(|link| (link, false)).map_err(refused)
    };
    if mode == Mode::Generic {
        return generic();
    }
    match program.attach(facts.index, NATIVE_FLAG) {
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

fn open_queues(
    facts: &Facts,
    native: bool,
    options: &Options,
    common: &Arc<Common>,
) -> Result<Vec<QueuePort>, XdpError> {
    let there = facts.channels.map(|told| told.receiving as usize);
    let wanted = there.map_or(options.readers, |there| options.readers.min(there));
    let mut ports = Vec::new();
    for queue in 0..wanted as u32 {
        let place = (facts.index, queue);
        let (width, reply) = (options.width, options.reply);
        let open = |copy| QueuePort::open(place, copy, width, reply, common.clone());
        // A driver may run programs and have no zero copy of its own, or none that
        // works as it is set up.
        let opened = match open(!native) {
            Err(error) if native && !queue::is_busy(&error) => open(true),
            opened => opened,
        };
        match opened {
            Ok(port) => ports.push(port),
            // There are no more.
            Err(error) if queue > 0 && error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) if queue::is_busy(&error) => {
                return Err(XdpError::QueueTaken {
                    interface: facts.name.clone(),
                    queue,
                });
            }
            Err(error) => return Err(XdpError::new(&facts.name, "open a queue", error)),
        }
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What to do about a program that the kernel refuses is not to run as root.
    #[test]
    fn only_what_is_not_permitted_asks_for_capabilities() {
        let said = |error| XdpError::new("eth0", "load the program", error).to_string();
        let said = |number| said(io::Error::from_raw_os_error(number));
        assert!(said(libc::EPERM).contains("CAP_BPF"));
        assert!(said(libc::EACCES).starts_with("cannot load the program of eth0: "));
    }

    #[test]
    fn kernels_that_are_too_old_are_told_from_others() {
        for (release, is_old) in [
            ("4.19.0-21-amd64", true),
            ("5.15.0", true),
            ("5.17.15-arch1\n", true),
            ("5.18-rc1", false),
            ("5.18.0", false),
            ("6.1.0", false),
            ("10.0", false),
            ("", false),
        ] {
            assert_eq!(is_too_old(release), is_old, "{release}");
        }
    }
}
