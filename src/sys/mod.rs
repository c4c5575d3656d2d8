//! The kernel. The only folder with `unsafe`, and the only one that names libc
//! and socket2: what leaves it is safe to use and speaks in the kernel's terms.

#![allow(unsafe_code)]

pub mod cpu_clock;
pub mod epoll;
pub mod ethtool;
pub mod lab;
pub mod landlock;
pub mod limits;
pub mod memory;
pub mod poll;
pub mod port;
pub mod proc_net;
pub mod seccomp;
pub mod service;
pub mod sock_diag;
pub mod socket;
pub mod steer;
pub mod unix;
pub mod user;
pub mod xdp;

use std::io;

/// True where the process or the system has no more files to give.
pub fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// True where a device's queue is full, which std has no kind for.
pub fn is_out_of_buffers(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOBUFS)
}

/// Calls again for as long as a signal interrupts the call.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// The result of a call that returns -1 and sets `errno` where it fails.
fn check(returned: libc::c_int) -> io::Result<usize> {
    usize::try_from(returned).map_err(|_| io::Error::last_os_error())
}
