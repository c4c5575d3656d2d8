//! Network namespaces: machines of their own, as far as sockets can tell.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Moves the calling thread, and it alone, into a network namespace: the
/// sockets that it makes from now on are there, and stay there. Needs
/// CAP_SYS_ADMIN (setns(2)).
///
/// # Errors
///
/// What the kernel says to `setns`.
pub fn enter_network(namespace: &File) -> io::Result<()> {
    // SAFETY: the call takes no pointer.
    let returned = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    super::super::check(returned).map(drop)
}
