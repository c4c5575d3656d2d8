//! Waiting on several sockets at once, for workers that serve more than one
//! address. The TCP thread waits with mio instead: that is edge-triggered, which
//! suits connections that keep their own state, and knows no `EPOLLEXCLUSIVE`,
//! without which a datagram on a shared socket wakes every worker.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use libc::c_int;

/// Sockets that one wait reports; others are reported by the next one.
const EVENTS: usize = 64;

/// Whom a datagram wakes where several instances watch its socket, and how
/// often (epoll(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// All of them, for as long as there is something to read.
    Level,
    /// All of them, once for what came.
    Edge,
    /// At least one of them, else as `Level` (`EPOLLEXCLUSIVE`, Linux 4.5).
    Exclusive,
}

impl Trigger {
    fn flag(self) -> c_int {
        match self {
            Trigger::Level => 0,
            Trigger::Edge => libc::EPOLLET,
            Trigger::Exclusive => libc::EPOLLEXCLUSIVE,
        }
    }
}

/// An epoll instance. What is only added is watched with `Exclusive`, so that
/// a datagram on a socket that many threads wait for wakes one of them.
pub struct Epoll {
    fd: OwnedFd,
    events: Box<[libc::epoll_event]>,
}

impl Epoll {
    /// An instance that watches nothing yet.
    ///
    /// # Errors
    ///
    /// What the kernel says to `epoll_create1`.
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: the call takes no pointer.
        let returned = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        let fd = super::check(returned)? as c_int;
        // SAFETY: the kernel just gave out `fd`, and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let nothing = libc::epoll_event { events: 0, u64: 0 };
        Ok(Epoll {
            fd,
            events: vec![nothing; EVENTS].into_boxed_slice(),
        })
    }

    /// This instance for one more thread to wait in: what is watched, and
    /// what is ready, is common to both.
    ///
    /// # Errors
    ///
    /// What the kernel says to `fcntl`.
    pub fn share(&self) -> io::Result<Epoll> {
        Ok(Epoll {
            fd: self.fd.try_clone()?,
            events: self.events.clone(),
        })
    }

    /// Watches a socket for datagrams, to be reported as `token`.
    ///
    /// # Errors
    ///
    /// What the kernel says to `epoll_ctl`.
    pub fn add(&self, socket: &impl AsRawFd, token: usize) -> io::Result<()> {
        self.add_with(socket, token, Trigger::Exclusive)
    }

    /// Watches a socket with a trigger of the caller's choice.
    ///
    /// # Errors
    ///
    /// As `add`.
    pub fn add_with(
        &self,
        socket: &impl AsRawFd,
        token: usize,
        trigger: Trigger,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | trigger.flag()) as u32,
            u64: token as u64,
        };
        let (epoll, socket) = (self.fd.as_raw_fd(), socket.as_raw_fd());
        // SAFETY: `event` lives through the call; the kernel copies it.
        let returned = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, socket, &mut event) };
        super::check(returned).map(drop)
    }

    /// Watches a socket no longer.
    ///
    /// # Errors
    ///
    /// What the kernel says to `epoll_ctl`, as where it was not watched.
    pub fn remove(&self, socket: &impl AsRawFd) -> io::Result<()> {
        let (epoll, socket) = (self.fd.as_raw_fd(), socket.as_raw_fd());
        let none = std::ptr::null_mut();
        // SAFETY: the call reads no event (since Linux 2.6.9).
        let returned = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_DEL, socket, none) };
        super::check(returned).map(drop)
    }

    /// The tokens of the sockets that have something to read, after `timeout`
    /// at the latest, then none. A signal ends the wait early.
    ///
    /// # Errors
    ///
    /// What the kernel says to `epoll_wait`.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<impl Iterator<Item = usize>> {
        let milliseconds = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        let (fd, place) = (self.fd.as_raw_fd(), self.events.as_mut_ptr());
        // SAFETY: `place` has room for `EVENTS` events and lives through the call.
        let returned = unsafe { libc::epoll_wait(fd, place, EVENTS as c_int, milliseconds) };
        let ready = match super::check(returned) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            ready => ready?,
        };
        Ok(self.events[..ready].iter().map(|event| event.u64 as usize))
    }
}
