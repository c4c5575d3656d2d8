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
//! - `addresses.rs`: which addresses are still the machine's.
//! - `opening.rs`: how one is opened, step by step.
//! - `locked.rs`: whether there is memory for it.
//!
//! A reply goes back to the station that its request came from, on the same
//! interface, whatever the routes say. That is right where the route back is the
//! way there, as with one router or one network.

mod addresses;
mod assembler;
mod bpf;
mod filter;
mod frame;
mod interface;
mod locked;
mod memory;
mod opening;
mod port;
mod program;
mod queue;
pub mod source;

use std::fs;
use std::io;

pub use addresses::AddressWatch;
pub use locked::Locked;
pub use opening::{Interface, Prepared};
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
        "too little memory may be locked for the frames of {interface}, {kib} KiB a queue; raise \
            `ulimit -l` (LimitMEMLOCK= in a unit) or give the program CAP_IPC_LOCK, or use fewer \
            --workers"
    )]
    LockedMemory {
        /// The interface.
        interface: String,
        /// What each queue takes.
        kib: usize,
    },
    /// No queue could be had.
    #[error("{0} has no queue that can be read past the sockets; leave it out")]
    NoQueue(String),
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
