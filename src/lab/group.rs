//! A `SO_REUSEPORT` group that nobody serves: what is sent to it waits in its
//! sockets until it is collected, so that where it went can be counted without
//! threads that come between.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as Client};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::site::Site;
use crate::server::placement::allowed_cpus;
use crate::sys::lab::client::Inbox;
use crate::sys::port::{MAX_WIDTH, Wait};
use crate::sys::socket::{UdpOptions, UdpSocket};
use crate::sys::steer::{self, Steer};

/// Loopback, at a port that the kernel chooses.
pub const ANY_PORT: SocketAddr = Site::LOOPBACK.address;
/// Datagrams that may wait to be collected: they fit into a socket's buffer
/// even where an unprivileged user gets the usual 208 KiB.
pub const MAX_WAITING: usize = 128;
/// How long a datagram may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest datagram of use here.
const DATAGRAM: usize = 512;
/// Bytes that may wait on a socket, where that can be had.
const BUFFER: usize = 1 << 20;

/// Sockets that nobody reads, here or on another host.
pub trait Unread {
    /// The address that all are bound to, as it is reached from here.
    fn address(&self) -> SocketAddr;

    /// How many there are.
    fn sockets(&self) -> usize;

    /// Puts a program on them, with socket *i* meant for the *i*-th CPU that their
    /// process may use.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    fn steer(&self, steer: Steer) -> anyhow::Result<()>;

    /// Collects what was sent, `MAX_WAITING` datagrams at most, and tells of each its
    /// socket and its mark (`mark`).
    ///
    /// # Errors
    ///
    /// Datagrams that do not come.
    fn collect(&mut self, sent: usize) -> anyhow::Result<Vec<(usize, u32)>>;
}

/// A datagram of a message ID, which may steer it, and a mark to know it by.
pub fn marked(id: u16, mark: u32) -> [u8; 6] {
    let ([a, b], [c, d, e, f]) = (id.to_be_bytes(), mark.to_be_bytes());
    [a, b, c, d, e, f]
}

fn mark(datagram: &[u8]) -> u32 {
    let mark = datagram.get(2..).and_then(|rest| rest.first_chunk());
    mark.map_or(0, |mark| u32::from_be_bytes(*mark))
}

/// The group.
pub struct Group {
    site: Site,
    sockets: Vec<UdpSocket>,
    /// One for all: thousands would be most of the time that binding takes.
    inbox: Inbox,
}

impl Group {
    /// Binds a group of so many sockets on loopback.
    ///
    /// # Errors
    ///
    /// What the kernel says, with what to do.
    pub fn bind(sockets: usize) -> anyhow::Result<Group> {
        Group::bind_at(Site::LOOPBACK, sockets)
    }

    /// Binds a group of so many sockets.
    ///
    /// # Errors
    ///
    /// As `bind`.
    pub fn bind_at(site: Site, sockets: usize) -> anyhow::Result<Group> {
        let first = bind(site, site.address)?;
        let mut group = Group {
            site,
            inbox: Inbox::new(MAX_WIDTH, DATAGRAM),
            sockets: vec![first],
        };
        while group.sockets.len() < sockets {
            group.join()?;
        }
        Ok(group)
    }

    /// Adds a socket, which becomes the last.
    ///
    /// # Errors
    ///
    /// As `bind`.
    pub fn join(&mut self) -> anyhow::Result<()> {
        self.sockets.push(bind(self.site, self.address())?);
        Ok(())
    }

    /// Closes a socket. The kernel moves the last into its place, and so does
    /// this list (`reuseport_detach_sock` in `net/core/sock_reuseport.c`).
    pub fn leave(&mut self, index: usize) {
        self.sockets.swap_remove(index);
    }

    /// The address that all are bound to.
    pub fn address(&self) -> SocketAddr {
        self.sockets[0].local()
    }

    /// Sockets of the group.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// True never: a group is there because it has a socket.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Any of its sockets; what is set on one for the group holds for all.
    pub fn socket(&self) -> &UdpSocket {
        &self.sockets[0]
    }

    /// Puts a program on the group, with socket *i* meant for the *i*-th CPU
    /// that the process may use.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn steer(&self, steer: Steer) -> anyhow::Result<()> {
        let cpus = allowed_cpus();
        let cpus: Vec<usize> = cpus.iter().copied().cycle().take(self.len()).collect();
        steer::attach(self.socket(), steer, &cpus).context("cannot steer the group")
    }

    /// Collects what was sent, `MAX_WAITING` datagrams at most, and hands each
    /// to `see` with the number of its socket.
    ///
    /// # Errors
    ///
    /// Datagrams that do not come.
    pub fn collect(
        &mut self,
        sent: usize,
        mut see: impl FnMut(usize, &[u8]),
    ) -> anyhow::Result<()> {
        debug_assert!(sent <= MAX_WAITING);
        let (start, mut collected) = (Instant::now(), 0);
        while collected < sent {
            if start.elapsed() > PATIENCE {
                bail!("{} of {sent} datagrams got lost", sent - collected);
            }
            for (index, socket) in self.sockets.iter().enumerate() {
                let received = self.inbox.receive(socket, Wait::No)?;
                (0..received).for_each(|slot| see(index, self.inbox.reply(slot)));
                collected += received;
            }
        }
        Ok(())
    }
}

impl Unread for Group {
    fn address(&self) -> SocketAddr {
        Group::address(self)
    }

    fn sockets(&self) -> usize {
        self.len()
    }

    fn steer(&self, steer: Steer) -> anyhow::Result<()> {
        Group::steer(self, steer)
    }

    fn collect(&mut self, sent: usize) -> anyhow::Result<Vec<(usize, u32)>> {
        let mut collected = Vec::with_capacity(sent);
        Group::collect(self, sent, |socket, datagram| {
            collected.push((socket, mark(datagram)));
        })?;
        Ok(collected)
    }
}

fn bind(site: Site, address: SocketAddr) -> anyhow::Result<UdpSocket> {
    let options = UdpOptions {
        grouped: true,
        receive_buffer: BUFFER,
        timeout: PATIENCE,
    };
    let socket = UdpSocket::bind(address, &options, &mut Vec::new())
        .context("cannot bind one more socket of the group; `ulimit -n` limits how many")?;
    site.guard(&socket)?;
    Ok(socket)
}

/// Where a client's socket is bound that is to reach `peer`: the kernel chooses the
/// address by the route, and the port.
pub fn any_port_towards(peer: SocketAddr) -> SocketAddr {
    match peer {
        SocketAddr::V4(peer) if peer.ip().is_loopback() => ANY_PORT,
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// An address on loopback that nobody gets from the kernel while it is free, for who
/// will close all its sockets and bind it again: below the ports that are given out to
/// who names none (`net.ipv4.ip_local_port_range`, from 32768 on unless set).
///
/// # Errors
///
/// What the kernel says.
pub fn port_for_later() -> io::Result<SocketAddr> {
    const ATTEMPTS: usize = 16;
    let attempt = || {
        let mut address = Client::bind(ANY_PORT)?.local_addr()?;
        address.set_port(address.port() / 2);
        Client::bind(address).map(|_| address)
    };
    let mut found = attempt();
    for _ in 1..ATTEMPTS {
        if found.is_err() {
            found = attempt();
        }
    }
    found
}

/// Client sockets, each a flow to `peer`.
///
/// # Errors
///
/// What the kernel says, with what to do.
pub fn clients(count: usize, peer: SocketAddr) -> anyhow::Result<Vec<Client>> {
    let client = |_| {
        let client = Client::bind(any_port_towards(peer))?;
        client.connect(peer)?;
        Ok(client)
    };
    let clients: io::Result<Vec<Client>> = (0..count).map(client).collect();
    clients.with_context(|| format!("cannot open {count} client sockets; raise `ulimit -n`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_collected_once() {
        let mut group = Group::bind(3).unwrap();
        let clients = clients(20, group.address()).unwrap();
        for (number, client) in clients.iter().enumerate() {
            client.send(&[number as u8]).unwrap();
        }
        let mut seen = [0; 20];
        group
            .collect(20, |_, datagram| seen[usize::from(datagram[0])] += 1)
            .unwrap();
        assert_eq!(seen, [1; 20]);
    }

    /// The list follows the kernel's when a socket leaves: a program that names
    /// a slot reaches the socket that the list has there.
    #[test]
    fn the_list_is_the_kernels() {
        let mut group = Group::bind(4).unwrap();
        group.leave(1);
        group.steer(Steer::QueryId).unwrap();
        let client = &clients(1, group.address()).unwrap()[0];
        for id in 0..3u8 {
            client.send(&[0, id, 0]).unwrap();
            let mut at = None;
            group.collect(1, |socket, _| at = Some(socket)).unwrap();
            assert_eq!(at, Some(usize::from(id)));
        }
    }
}
