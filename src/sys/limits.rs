//! Limits of the process.

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
