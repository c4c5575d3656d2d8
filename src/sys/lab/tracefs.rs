//! The kernel's tracing files. Where no one has mounted them, they are mounted
//! for this process alone, in no folder: they go when it ends.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use libc::{c_int, c_long, c_uint};

use super::super::check;

/// Where they usually are.
const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// A folder with the tracing files.
pub struct Tracefs {
    root: PathBuf,
    /// Held for as long as the folder is used.
    _mount: Option<OwnedFd>,
}

impl Tracefs {
    /// Finds or mounts them. It takes root.
    ///
    /// # Errors
    ///
    /// What the kernel says to fsopen(2), fsconfig(2) or fsmount(2).
    pub fn open() -> io::Result<Tracefs> {
        let has_files = |place: &&&str| Path::new(place).join("instances").is_dir();
        if let Some(place) = PLACES.iter().find(has_files) {
            return Ok(Tracefs {
                root: place.into(),
                _mount: None,
            });
        }
        let mount = mount()?;
        Ok(Tracefs {
            root: format!("/proc/self/fd/{}", mount.as_raw_fd()).into(),
            _mount: Some(mount),
        })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// linux/mount.h, which the libc crate does not have all of.
const CLOSE_ON_EXEC: c_uint = 1;
const CREATE: c_uint = 6;

fn mount() -> io::Result<OwnedFd> {
    let name = c"tracefs".as_ptr();
    // SAFETY: `name` is a string that ends in a zero.
    let returned = unsafe { libc::syscall(libc::SYS_fsopen, name, CLOSE_ON_EXEC) };
    let context = own(returned)?;
    let (fd, no_flags) = (context.as_raw_fd(), c_int::default());
    let none = std::ptr::null::<u8>();
    // SAFETY: this command takes neither key nor value.
    let returned = unsafe { libc::syscall(libc::SYS_fsconfig, fd, CREATE, none, none, no_flags) };
    check(returned as c_int)?;
    // SAFETY: the call takes numbers and no pointer.
    let returned = unsafe { libc::syscall(libc::SYS_fsmount, fd, CLOSE_ON_EXEC, no_flags) };
    own(returned)
}

fn own(returned: c_long) -> io::Result<OwnedFd> {
    let fd = check(returned as c_int)? as RawFd;
    // SAFETY: the kernel just gave out `fd`, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_of_ones_own_has_the_files() {
        match mount() {
            Ok(mount) => {
                let root = format!("/proc/self/fd/{}", mount.as_raw_fd());
                assert!(Path::new(&root).join("events").is_dir());
            }
            Err(error) => eprintln!("SKIPPED: only root mounts: {error}"),
        }
    }
}
