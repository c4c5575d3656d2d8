//! Everything that is decided before the start.

use std::net::SocketAddr;

use super::{idle, rate_limit, tcp};
use crate::answer::Settings;
use crate::sys::steer::Steer;
use crate::sys::xdp::Mode;

/// How the workers share an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Each its own socket of a `SO_REUSEPORT` group.
    Reuseport,
    /// One socket, read by all.
    Shared,
}

/// An address to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Address and port; port 0 lets the kernel choose one.
    pub address: SocketAddr,
    /// Whether the server shall not start without it.
    pub required: bool,
}

/// What is read past the sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xdp {
    /// Interfaces, by name.
    pub interfaces: Vec<String>,
    /// Where frames are looked at.
    pub mode: Mode,
}

/// Everything that is decided before the start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: Vec<Listen>,
    /// How many workers; one for each CPU where it is not said.
    pub workers: Option<usize>,
    /// The CPUs to use; those of the affinity mask where it is not said.
    pub cpus: Option<Vec<usize>>,
    /// Whether each worker is held on its CPU.
    pub pin: bool,
    /// How the workers share an address.
    pub sharing: Sharing,
    /// Which socket of a group takes a datagram, where not the kernel's hash.
    pub steer: Option<Steer>,
    /// Datagrams that a worker takes at once, 1 to 128.
    pub batch: usize,
    /// Times that a worker polls for more datagrams before it sleeps; 0 to sleep
    /// at once.
    pub busy_polls: u32,
    /// Bytes that may wait on a socket, as the kernel counts them.
    pub receive_buffer: usize,
    /// Whether other processes may listen for TCP beside this one. They may for UDP
    /// where each worker has a socket of its own.
    pub join: bool,
    /// Interfaces whose datagrams are taken before they come to the sockets; `None`
    /// for none.
    pub xdp: Option<Xdp>,
    /// How requests are answered; how long connections last is what `tcp` says.
    pub settings: Settings,
    /// Limits of DNS over TCP; `None` for none at all.
    pub tcp: Option<tcp::Limits>,
    /// How many replies over UDP a client gets; `None` for as many as it asks for.
    pub rate_limit: Option<rate_limit::Options>,
}

/// Bytes that may wait on each socket: some 5,000 queries, which a worker
/// clears in 25 ms.
pub const RECEIVE_BUFFER: usize = 4 << 20;
/// Datagrams that a worker takes at once.
pub const BATCH: usize = 32;

impl Config {
    /// How requests are answered, with what clients are told of the limits here.
    pub(super) fn answers(&self) -> Settings {
        Settings {
            tcp_idle: self.tcp.map(|limits| limits.idle),
            ..self.settings.clone()
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: Vec::new(),
            workers: None,
            cpus: None,
            pin: true,
            sharing: Sharing::Reuseport,
            steer: None,
            batch: BATCH,
            busy_polls: idle::BUSY_POLLS,
            receive_buffer: RECEIVE_BUFFER,
            join: false,
            xdp: None,
            settings: Settings::default(),
            tcp: Some(tcp::Limits::default()),
            rate_limit: None,
        }
    }
}
