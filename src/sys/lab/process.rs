//! What std leaves out about the processes that this one starts.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use libc::c_int;

/// Has the kernel end the process with the thread that starts it, even where
/// that gets no chance to tidy up (`PR_SET_PDEATHSIG`).
pub fn end_with_parent(command: &mut Command) -> &mut Command {
    let promise = || {
        // SAFETY: with this option the call takes a number and no pointer.
        let returned = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        super::super::check(returned).map(drop)
    };
    // SAFETY: between fork and exec, `promise` only makes a system call and
    // reads errno; it takes no lock and allocates nothing.
    unsafe { command.pre_exec(promise) }
}

/// Sends a signal to a process that was started here.
///
/// # Errors
///
/// What the kernel says to `kill`.
pub fn signal(child: &Child, signal: c_int) -> io::Result<()> {
    let process = child.id() as libc::pid_t;
    // SAFETY: the call takes no pointer.
    let returned = unsafe { libc::kill(process, signal) };
    super::super::check(returned).map(drop)
}

/// A file that is in no folder and goes when it is closed everywhere, such as
/// another process takes for its standard input.
///
/// # Errors
///
/// What the kernel says to `memfd_create` or `write`.
pub fn unnamed_file(content: &[u8]) -> io::Result<File> {
    const NAME: &CStr = c"shardns";
    // SAFETY: `NAME` is a string that ends in a zero.
    let returned = unsafe { libc::memfd_create(NAME.as_ptr(), libc::MFD_CLOEXEC) };
    let fd = super::super::check(returned)? as c_int;
    // SAFETY: the kernel just gave out `fd`, and nothing else owns it.
    let mut file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_process_reads_its_file_and_ends_by_a_signal() {
        let mut command = Command::new("cat");
        command.stdin(unnamed_file(b"words").unwrap());
        let output = end_with_parent(&mut command).output().unwrap();
        assert_eq!(output.stdout, b"words");

        let mut command = Command::new("sleep");
        let mut child = end_with_parent(command.arg("60")).spawn().unwrap();
        signal(&child, libc::SIGTERM).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
    }
}
