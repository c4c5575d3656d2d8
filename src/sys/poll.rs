//! Waiting for one descriptor.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// Has opening and reading return at once (`O_NONBLOCK`).
pub const NONBLOCK: i32 = libc::O_NONBLOCK;

/// Waits until something can be read, or the other end is gone; false where
/// neither has come to pass after `limit`, which is for ever where there is none.
/// A pipe that nobody has opened for writing yet is waited for.
///
/// # Errors
///
/// What the kernel says to `poll`.
pub fn readable(descriptor: BorrowedFd<'_>, limit: Option<Duration>) -> io::Result<bool> {
    let milliseconds = limit.map_or(-1, |limit| {
        i32::try_from(limit.as_millis()).unwrap_or(i32::MAX)
    });
    let mut watched = libc::pollfd {
        fd: descriptor.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    super::retry(|| {
        // SAFETY: `watched` is one entry, and lives through the call.
        let returned = unsafe { libc::poll(&mut watched, 1, milliseconds) };
        super::check(returned)
    })
    .map(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn waits_for_words_or_the_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let soon = Some(Duration::from_millis(1));
        assert!(!readable(reader.as_fd(), soon).unwrap());
        writer.write_all(b"x").unwrap();
        assert!(readable(reader.as_fd(), None).unwrap());
        let (reader, writer) = io::pipe().unwrap();
        drop(writer);
        assert!(readable(reader.as_fd(), None).unwrap());
    }
}
