//! Where the sockets are bound that an experiment studies, and whose datagrams they
//! take: anybody's on loopback, one host's where they are for a source elsewhere.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;

use crate::sys::lab::source::admit_only;

/// The address, and the source that is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Where sockets are bound, at port 0.
    pub address: SocketAddr,
    /// From whom datagrams are taken; from all where nobody is named.
    pub source: Option<IpAddr>,
}

impl Site {
    /// Loopback, where only this machine sends.
    pub const LOOPBACK: Site = Site {
        address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
        source: None,
    };

    /// Keeps everybody but the source out of a socket. It is bound by then: its port
    /// is the kernel's choice and told to nobody before.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn guard(&self, socket: &impl AsRawFd) -> io::Result<()> {
        self.source
            .map_or(Ok(()), |source| admit_only(socket, source))
    }
}
