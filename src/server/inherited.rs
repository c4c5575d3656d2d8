//! Sockets that were bound elsewhere, by the server before this one or by a service
//! manager: taken where they fit what is wanted, and left where they do not.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::bind::Held;
use super::idle::IDLE_WAIT;
use crate::sys::socket::{self, UdpSocket};

/// Descriptors of a server's sockets, on their way to another.
#[derive(Debug, Default)]
pub struct Sockets {
    /// How many workers read them.
    pub workers: usize,
    /// UDP sockets by address; in a group, by worker.
    pub groups: Vec<Vec<OwnedFd>>,
    /// TCP listeners, one an address where TCP is served.
    pub listeners: Vec<OwnedFd>,
}

/// How much of each group and which listeners somebody has taken, in the order of
/// the `Sockets` that they were in.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Taken {
    /// Of each group, so many from its beginning.
    pub groups: Vec<usize>,
    /// Of each listener, whether.
    pub listeners: Vec<bool>,
    /// Whether the kernel's hash is to choose among the sockets of a group from now on;
    /// else somebody has put a program of his own there.
    #[serde(default)]
    pub hashed: bool,
}

impl Sockets {
    /// What is left of these when so much has been taken, as groups of their own.
    pub fn without(mut self, taken: &Taken) -> Sockets {
        for (group, taken) in self.groups.iter_mut().zip(&taken.groups) {
            group.drain(..group.len().min(*taken));
        }
        self.groups.retain(|group| !group.is_empty());
        let mut is_taken = taken.listeners.iter().copied();
        self.listeners.retain(|_| !is_taken.next().unwrap_or(false));
        self.workers = self.groups.iter().map(Vec::len).max().unwrap_or(0);
        self
    }
}

/// Takes all sockets as they are.
///
/// # Errors
///
/// A descriptor of something else, or no group or an empty one.
pub fn hold(sockets: Sockets) -> io::Result<Held> {
    let Inherited {
        groups, listeners, ..
    } = Inherited::of(sockets)?;
    if groups.is_empty() {
        return Err(io::Error::other("there is no socket among them"));
    }
    Ok(Held {
        groups,
        listeners: listeners.into_iter().flatten().collect(),
        notes: Vec::new(),
    })
}

/// Sockets that are there to be taken.
#[derive(Default)]
pub struct Inherited {
    groups: Vec<Vec<Arc<UdpSocket>>>,
    listeners: Vec<Option<TcpListener>>,
    taken: Taken,
}

impl Inherited {
    /// Looks at what the descriptors are.
    ///
    /// # Errors
    ///
    /// A descriptor of something else, or an empty group.
    pub fn of(sockets: Sockets) -> io::Result<Inherited> {
        let socket = |descriptor| UdpSocket::adopt(descriptor, IDLE_WAIT).map(Arc::new);
        let group = |group: Vec<OwnedFd>| group.into_iter().map(socket).collect();
        let groups: io::Result<Vec<Vec<_>>> = sockets.groups.into_iter().map(group).collect();
        let groups = groups?;
        if groups.iter().any(Vec::is_empty) {
            return Err(io::Error::other("a group without a socket"));
        }
        let listener = |descriptor| socket::adopt_listener(descriptor).map(Some);
        let listeners: io::Result<Vec<_>> = sockets.listeners.into_iter().map(listener).collect();
        let listeners = listeners?;
        Ok(Inherited {
            taken: Taken {
                groups: vec![0; groups.len()],
                listeners: vec![false; listeners.len()],
                hashed: false,
            },
            groups,
            listeners,
        })
    }

    /// Takes the sockets of an address, `most` of them at most. A port of 0 stands
    /// for any.
    pub fn take_group(&mut self, address: SocketAddr, most: usize) -> Vec<Arc<UdpSocket>> {
        let is_free = |(index, group): &(usize, &Vec<Arc<UdpSocket>>)| {
            self.taken.groups[*index] == 0 && fits(address, group[0].local())
        };
        let found = self.groups.iter().enumerate().find(is_free);
        let Some(index) = found.map(|(index, _)| index) else {
            return Vec::new();
        };
        let group = &self.groups[index];
        let taken = group.len().min(most);
        self.taken.groups[index] = taken;
        group[..taken].to_vec()
    }

    /// Takes the listener of an address.
    pub fn take_listener(&mut self, address: SocketAddr) -> Option<TcpListener> {
        for (listener, taken) in self.listeners.iter_mut().zip(&mut self.taken.listeners) {
            let local = listener.as_ref().and_then(|found| found.local_addr().ok());
            if local == Some(address) {
                *taken = true;
                return listener.take();
            }
        }
        None
    }

    /// What has been taken.
    pub fn taken(&self) -> &Taken {
        &self.taken
    }
}

/// True where what was found is what is wanted; a port of 0 stands for any.
pub fn fits(wanted: SocketAddr, found: SocketAddr) -> bool {
    wanted == found || (wanted.port() == 0 && wanted.ip() == found.ip())
}
