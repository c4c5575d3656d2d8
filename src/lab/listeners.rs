//! TCP listeners of one `SO_REUSEPORT` group, which count connections and say nothing
//! on them.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::site::Site;
use crate::sys::epoll::Epoll;
use crate::sys::socket::listen_grouped;

/// Connections that may wait to be accepted, all on one listener if it comes so.
pub const MAX_CONNECTING: usize = 128;
/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Listeners, here or on another host.
pub trait Listening {
    /// The address that all listen on, as it is reached from here.
    fn address(&self) -> SocketAddr;

    /// How many there are.
    fn listeners(&self) -> usize;

    /// Accepts connections that were just made, `MAX_CONNECTING` at most, and tells
    /// which listener had each.
    ///
    /// # Errors
    ///
    /// Connections that do not come.
    fn accept(&mut self, connections: usize) -> anyhow::Result<Vec<usize>>;

    /// Closes all connections.
    ///
    /// # Errors
    ///
    /// None of listeners that are here.
    fn hang_up(&mut self) -> anyhow::Result<()>;
}

/// A group of listeners.
pub struct Listeners {
    site: Site,
    listeners: Vec<TcpListener>,
    address: SocketAddr,
    accepted: Vec<TcpStream>,
    /// Tells which of them got a connection; to try each takes long.
    epoll: Epoll,
}

impl Listeners {
    /// Opens so many.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn open(site: Site, count: usize) -> anyhow::Result<Listeners> {
        let (mut listeners, epoll) = (Vec::new(), Epoll::new()?);
        let mut address = site.address;
        while listeners.len() < count {
            let listener = listen_grouped(address).context("cannot open one more listener")?;
            listener.set_nonblocking(true)?;
            address = listener.local_addr()?;
            epoll.add(&listener, listeners.len())?;
            listeners.push(listener);
        }
        Ok(Listeners {
            site,
            listeners,
            address,
            accepted: Vec::new(),
            epoll,
        })
    }
}

impl Listening for Listeners {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn listeners(&self) -> usize {
        self.listeners.len()
    }

    fn accept(&mut self, connections: usize) -> anyhow::Result<Vec<usize>> {
        let (start, mut had) = (Instant::now(), Vec::new());
        while had.len() < connections {
            if start.elapsed() > PATIENCE {
                let missing = connections - had.len();
                bail!("no listener gets {missing} of {connections} connections");
            }
            let ready: Vec<usize> = self.epoll.wait(PATIENCE)?.collect();
            for index in ready {
                let (accepted, peer) = match self.listeners[index].accept() {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    accepted => accepted.context("cannot accept a connection")?,
                };
                // Others have no business here; their connection is closed.
                let source = self.site.source;
                if source.is_none_or(|source| source == peer.ip().to_canonical()) {
                    had.push(index);
                    self.accepted.push(accepted);
                }
            }
        }
        Ok(had)
    }

    fn hang_up(&mut self) -> anyhow::Result<()> {
        self.accepted.clear();
        Ok(())
    }
}
