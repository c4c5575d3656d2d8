//! Limits of the process, and weights of its threads.

use std::io;

/// Raises the number of files that may be open to what the system allows: each
/// worker has a socket for each address, and each TCP connection is a file.
/// What is refused stays as it was.
pub fn raise_open_files() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` lives through the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` lives through the call; more files harm nobody here, who
    // uses no select().
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
}

/// Gives the calling thread, and those that it starts from now on, a ninth of the
/// weight of others that want the CPU (`sched_prio_to_weight` in
/// `kernel/sched/core.c`).
///
/// # Errors
///
/// What the kernel says to `setpriority`.
pub fn give_way() -> io::Result<()> {
    const NICE: libc::c_int = 10;
    // SAFETY: the call takes no pointer. 0 is the calling thread, since Linux keeps
    // this for each thread apart.
    let returned = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    super::check(returned).map(drop)
}
