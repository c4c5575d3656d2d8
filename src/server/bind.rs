//! Binding: for each address a socket a worker, in worker order, and a TCP
//! listener. Whatever stands in the way gets a sentence that says what to do.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use super::idle::IDLE_WAIT;
use super::inherited::Inherited;
use super::placement::Seat;
use super::{Config, Listen, Sharing, StartError};
use crate::sys::proc_net::{self, Protocol};
use crate::sys::socket::{self, UdpOptions, UdpSocket, Unbound};
use crate::sys::steer::{self, Steer};
use crate::sys::{is_out_of_files, user};

/// With port 0 the kernel chooses one for UDP that TCP may not have; so many
/// are tried.
const PORT_ATTEMPTS: usize = 16;

/// What was bound.
pub struct Held {
    /// Groups by address; in a group, sockets by worker.
    pub groups: Vec<Vec<Arc<UdpSocket>>>,
    /// One listener an address, where TCP is served.
    pub listeners: Vec<TcpListener>,
    /// What was not to be had and is done without.
    pub notes: Vec<String>,
}

impl Held {
    /// The addresses, in the order of their groups.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.groups.iter().map(|group| group[0].local()).collect()
    }

    /// The sockets that several workers read.
    pub fn shared(&self, workers: usize, sharing: Sharing) -> Vec<Arc<UdpSocket>> {
        let is_shared = |group: &&Vec<_>| sharing == Sharing::Shared || group.len() < workers;
        let groups = self.groups.iter().filter(is_shared);
        groups.flatten().cloned().collect()
    }
}

/// Why an address cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody listens there.
    #[error(
        "{protocol} {address} is taken; stop what listens there (`ss -lnp{flag} 'sport = \
            :{port}'` shows it), choose another port with --listen, or start both with --join \
            to have them share it",
        flag = flag(protocol), port = address.port()
    )]
    Taken {
        /// `UDP` or `TCP`.
        protocol: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// Another user's sockets hold it.
    #[error(
        "UDP {address} is held by a process of another user (uid {user}); only processes of \
            that user can join its SO_REUSEPORT group, so run as that user, stop it, or choose \
            another port with --listen"
    )]
    OtherUser {
        /// The address.
        address: SocketAddr,
        /// Who holds it.
        user: u32,
    },
    /// A socket was handed in that no other can join.
    #[error(
        "the socket of {0} that was handed in is in no SO_REUSEPORT group, so that no other can \
            be added; use --sockets shared or --workers 1, or, in a socket unit, ReusePort=yes"
    )]
    NotGrouped(SocketAddr),
    /// No interface has the address.
    #[error(
        "{0} is not an address of this machine; `ip address` lists those, and 0.0.0.0 or [::] \
            stands for all of them"
    )]
    NotOurs(SocketAddr),
    /// A port that only privileged processes may bind.
    #[error(
        "no permission for port {}; run as root, give the program CAP_NET_BIND_SERVICE (`setcap \
            cap_net_bind_service=+ep`), or lower net.ipv4.ip_unprivileged_port_start",
        .0.port()
    )]
    NoPermission(SocketAddr),
    /// A link-local address without the interface it is on.
    #[error(
        "{0} is on every link; say which by the interface's number, as in [fe80::1%2]:53 (`ip \
            link` lists them)"
    )]
    NoInterface(SocketAddr),
    /// More sockets than files may be open.
    #[error("too many open files for the sockets of {0}; use fewer --workers or raise `ulimit -n`")]
    TooManyFiles(SocketAddr),
    /// Something else.
    #[error("cannot listen on {protocol} {address}: {error}")]
    Other {
        /// `UDP` or `TCP`.
        protocol: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// Nothing to listen on.
    #[error("no address to listen on")]
    Nothing,
}

fn flag(protocol: &str) -> &'static str {
    if protocol == "UDP" { "u" } else { "t" }
}

impl BindError {
    fn new(protocol: Protocol, address: SocketAddr, error: io::Error) -> BindError {
        let name = match protocol {
            Protocol::Udp => "UDP",
            Protocol::Tcp => "TCP",
        };
        match error.kind() {
            io::ErrorKind::AddrInUse => {
                let own = user::effective();
                let other = proc_net::owners(Protocol::Udp, address)
                    .into_iter()
                    .find(|user| *user != own);
                match (protocol, other) {
                    (Protocol::Udp, Some(user)) => BindError::OtherUser { address, user },
                    _ => BindError::Taken {
                        protocol: name,
                        address,
                    },
                }
            }
            io::ErrorKind::AddrNotAvailable => BindError::NotOurs(address),
            io::ErrorKind::InvalidInput if needs_interface(address) => {
                BindError::NoInterface(address)
            }
            _ if is_out_of_files(&error) => BindError::TooManyFiles(address),
            io::ErrorKind::PermissionDenied => BindError::NoPermission(address),
            _ => BindError::Other {
                protocol: name,
                address,
                error,
            },
        }
    }
}

fn needs_interface(address: SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(address) if address.ip().is_unicast_link_local() && address.scope_id() == 0)
}

/// Sockets that are to join groups that are there, in the order of the groups. They are
/// dealt datagrams from the moment that they are bound, and nobody reads them before the
/// workers start: so they are bound last.
pub struct Added(Vec<Vec<Unbound>>);

impl Added {
    /// Binds them, each group's behind those that are there.
    ///
    /// # Errors
    ///
    /// What the kernel says; what would stand in the way for long was seen before.
    pub fn bind(self, held: &mut Held) -> Result<(), BindError> {
        for (group, added) in held.groups.iter_mut().zip(self.0) {
            let address = group[0].local();
            for socket in added {
                let socket = socket.bind();
                let socket =
                    socket.map_err(|error| BindError::new(Protocol::Udp, address, error))?;
                group.push(Arc::new(socket));
            }
        }
        Ok(())
    }
}

/// Binds everything that `config` asks for, but for what is there already, and for what
/// is to join it.
pub fn bind(
    config: &Config,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<(Held, Added), BindError> {
    let mut added = Vec::new();
    let mut bound = Held {
        groups: Vec::new(),
        listeners: Vec::new(),
        notes: Vec::new(),
    };
    // Every worker's sockets meet the same obstacles; each is told once.
    let mut notes = BTreeSet::new();
    for listen in &config.listen {
        match address(config, listen, workers, inherited, &mut notes) {
            Ok((group, others, listener)) => {
                bound.groups.push(group);
                added.push(others);
                bound.listeners.extend(listener);
            }
            Err(error) if listen.required => return Err(error),
            Err(error) => {
                notes.insert(format!("{} is left out: {error}", listen.address));
            }
        }
    }
    if bound.groups.is_empty() {
        return Err(BindError::Nothing);
    }
    bound.notes.extend(notes);
    Ok((bound, Added(added)))
}

type Address = (Vec<Arc<UdpSocket>>, Vec<Unbound>, Option<TcpListener>);

fn address(
    config: &Config,
    listen: &Listen,
    workers: usize,
    inherited: &mut Inherited,
    notes: &mut BTreeSet<String>,
) -> Result<Address, BindError> {
    let there = inherited.take_group(listen.address, sockets(config, workers));
    if let Some(first) = there.first() {
        let address = first.local();
        let listener = match config.tcp.and_then(|_| inherited.take_listener(address)) {
            Some(listener) => Some(listener),
            None => listener(config, address)?,
        };
        let others = others(config, &there, workers, notes)?;
        return Ok((there, others, listener));
    }
    let attempts = if listen.address.port() == 0 {
        PORT_ATTEMPTS
    } else {
        1
    };
    let mut last = None;
    for _ in 0..attempts {
        // TCP first: a second server of the same user would be let into the
        // group of UDP sockets and take its share of the datagrams unseen.
        let fixed = listen.address.port() != 0;
        let first = if fixed {
            listener(config, listen.address)?
        } else {
            None
        };
        let group = group(config, listen.address, workers, notes)?;
        if fixed {
            return Ok((group, Vec::new(), first));
        }
        match listener(config, group[0].local()) {
            Ok(listener) => return Ok((group, Vec::new(), listener)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or(BindError::Nothing))
}

/// The TCP listener of an address, where TCP is served.
pub fn listener(config: &Config, address: SocketAddr) -> Result<Option<TcpListener>, BindError> {
    let listener = config.tcp.map(|_| match config.join {
        true => socket::listen_grouped(address),
        false => socket::listen_tcp(address),
    });
    listener
        .transpose()
        .map_err(|error| BindError::new(Protocol::Tcp, address, error))
}

/// How many sockets an address has.
fn sockets(config: &Config, workers: usize) -> usize {
    match config.sharing {
        Sharing::Reuseport => workers,
        Sharing::Shared => 1,
    }
}

/// How the sockets are made.
pub fn options(config: &Config) -> UdpOptions {
    UdpOptions {
        grouped: config.sharing == Sharing::Reuseport,
        receive_buffer: config.receive_buffer,
        timeout: IDLE_WAIT,
    }
}

/// Sockets for the workers that a group which is there has none for. What would keep them
/// from being bound is told now.
fn others(
    config: &Config,
    there: &[Arc<UdpSocket>],
    workers: usize,
    notes: &mut BTreeSet<String>,
) -> Result<Vec<Unbound>, BindError> {
    let address = there[0].local();
    let failed = |error| BindError::new(Protocol::Udp, address, error);
    let options = options(config);
    let lacking = sockets(config, workers).saturating_sub(there.len());
    let mut own_notes = Vec::new();
    for socket in there {
        if lacking > 0 && !socket.is_grouped() {
            return Err(BindError::NotGrouped(address));
        }
        socket.tune(&options, &mut own_notes);
    }
    if lacking > 0 {
        let user = there[0].owner().map_err(failed)?;
        if user != user::effective() {
            return Err(BindError::OtherUser { address, user });
        }
        socket::may_bind(address).map_err(failed)?;
    }
    let others = (0..lacking).map(|_| Unbound::new(address, &options, &mut own_notes));
    let others = others.collect::<Result<_, _>>().map_err(failed)?;
    notes.extend(own_notes);
    Ok(others)
}

/// The sockets of one address, in worker order.
fn group(
    config: &Config,
    wanted: SocketAddr,
    workers: usize,
    notes: &mut BTreeSet<String>,
) -> Result<Vec<Arc<UdpSocket>>, BindError> {
    let options = options(config);
    let sockets = sockets(config, workers);
    let mut group: Vec<Arc<UdpSocket>> = Vec::new();
    let mut own_notes = Vec::new();
    if options.grouped && wanted.port() != 0 && !config.join {
        let company = proc_net::owners(Protocol::Udp, wanted).len();
        if company > 0 {
            notes.insert(format!(
                "{wanted} has {company} UDP sockets already; those of the same SO_REUSEPORT \
                    group take their share of the datagrams"
            ));
        }
    }
    while group.len() < sockets {
        // The first may choose the port; the others join it there.
        let address = group.first().map_or(wanted, |first| first.local());
        let socket = UdpSocket::bind(address, &options, &mut own_notes)
            .map_err(|error| BindError::new(Protocol::Udp, address, error))?;
        group.push(Arc::new(socket));
    }
    notes.extend(own_notes);
    Ok(group)
}

/// Puts the steering program on every group, if there is to be one.
pub fn steer(
    steer: Option<Steer>,
    groups: &[Vec<Arc<UdpSocket>>],
    seats: &[Seat],
) -> Result<(), StartError> {
    let Some(steer) = steer else {
        return Ok(());
    };
    let cpus: Vec<usize> = seats.iter().map(|seat| seat.cpu).collect();
    for group in groups {
        let address = group[0].local();
        // Sockets that a service manager bound may be fewer than workers.
        let cpus = &cpus[..group.len().min(cpus.len())];
        steer::attach(&group[0], steer, cpus)
            .map_err(|error| StartError::Steer { address, error })?;
    }
    Ok(())
}
