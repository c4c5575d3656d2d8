//! Limits of the process, and when its threads have their turns.

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

/// Octets of memory that the user's processes may lock, as far as this one is concerned.
pub fn locked_memory() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` lives through the call.
    match unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) } {
        // Without a limit this is the largest number (`RLIM_INFINITY`).
        0 => limit.rlim_cur,
        _ => libc::RLIM_INFINITY,
    }
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

/// Has the calling thread, and those that it starts from now on, run soon after it
/// is woken, however busy others keep the CPU: it asks for short turns, and the
/// kernel grants them before longer ones (`sched_setattr`, since Linux 6.12; those
/// before take no notice). Its share of the CPU stays what it was.
///
/// # Errors
///
/// What the kernel says to `sched_setattr`.
pub fn take_short_turns() -> io::Result<()> {
    /// Others have some 3 ms. The kernel takes 100 µs at least.
    const TURN_NS: u64 = 200_000;
    take_turns(TURN_NS)
}

/// Has the calling thread take turns as any other, whatever the one that started it
/// does.
///
/// # Errors
///
/// As `take_short_turns`.
pub fn take_usual_turns() -> io::Result<()> {
    take_turns(0)
}

fn take_turns(nanoseconds: u64) -> io::Result<()> {
    // SAFETY: the call takes no pointer; 0 is the calling thread.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: nanoseconds,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: `attributes` lives through the call and says how long it is; 0 is the
    // calling thread.
    let returned = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    super::check(returned as libc::c_int).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_turns_leave_a_thread_its_weight() {
        let thread = std::thread::spawn(|| {
            give_way().unwrap();
            take_short_turns().unwrap();
            // SAFETY: the call takes no pointer.
            unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
        });
        assert_eq!(thread.join().unwrap(), 10);
    }
}
