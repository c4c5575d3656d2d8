//! The system calls that are left to a server that runs.
//!
//! Everything that is not listed fails with ENOSYS, as on a kernel that does not
//! have it: a library that tries a new call then takes the old one, where EPERM
//! would have it give up (as containers learnt from glibc's `clone3`), and a call
//! that was forgotten here costs one feature and not the server. What no server
//! ever does by accident, such as executing a program, ends the process: whoever
//! makes it do that has taken it over.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{self, Eq, MaskedEq};
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// Opening, reading, writing and naming files; Landlock says which.
const FILES: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_close,
    libc::SYS_openat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_lseek,
    libc::SYS_fadvise64,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getcwd,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_umask,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
];

/// What machines of this kind have beside `FILES` and `WAITING`, from the time
/// before the calls that end in `at`.
#[cfg(target_arch = "x86_64")]
const OLD: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_readlink,
    libc::SYS_access,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_chmod,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
];
#[cfg(target_arch = "aarch64")]
const OLD: &[c_long] = &[libc::SYS_renameat];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OLD: &[c_long] = &[];

const WAITING: &[c_long] = &[
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_restart_syscall,
];

/// Sockets that are there; `socket` itself is in `CONDITIONS`.
const SOCKETS: &[c_long] = &[
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
];

const MEMORY: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_membarrier,
];

/// Threads, and where and how eagerly they run.
const THREADS: &[c_long] = &[
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_getparam,
    libc::SYS_sched_setattr,
    libc::SYS_getpriority,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // How a process aborts.
    libc::SYS_tgkill,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
];

const LOOKS: &[c_long] = &[
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrusage,
    libc::SYS_prlimit64,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_times,
];

/// Calls that are allowed where an argument is as it should be: the call, which
/// argument, and how it is compared.
const CONDITIONS: &[(c_long, u8, SeccompCmpOp, u64)] = &[
    // The control socket's, dnstap's and the service manager's; no other network.
    (libc::SYS_socket, 0, Eq, libc::AF_UNIX as u64),
    (libc::SYS_socketpair, 0, Eq, libc::AF_UNIX as u64),
    // Nothing new is executed.
    (libc::SYS_mmap, 2, MaskedEq(libc::PROT_EXEC as u64), 0),
    (libc::SYS_mprotect, 2, MaskedEq(libc::PROT_EXEC as u64), 0),
    // Threads and no processes. `clone3` has its flags where no filter sees them;
    // without it, threads are started by `clone`.
    (libc::SYS_clone, 0, MaskedEq(THREAD), THREAD),
    (libc::SYS_prctl, 0, Eq, libc::PR_SET_NAME as u64),
    (libc::SYS_prctl, 0, Eq, libc::PR_GET_NAME as u64),
    // glibc names the memory that it takes.
    (libc::SYS_prctl, 0, Eq, libc::PR_SET_VMA as u64),
    (libc::SYS_ioctl, 1, Eq, libc::FIONBIO as _),
    (libc::SYS_ioctl, 1, Eq, libc::FIOCLEX as _),
    (libc::SYS_ioctl, 1, Eq, libc::FIONREAD as _),
    // The MTU of an interface that is read past the sockets, and the name and the address
    // that it has by now.
    (libc::SYS_ioctl, 1, Eq, libc::SIOCGIFMTU as _),
    (libc::SYS_ioctl, 1, Eq, libc::SIOCGIFHWADDR as _),
    (libc::SYS_ioctl, 1, Eq, libc::SIOCGIFNAME as _),
    // Is it a terminal, and how wide?
    (libc::SYS_ioctl, 1, Eq, libc::TCGETS as _),
    (libc::SYS_ioctl, 1, Eq, libc::TIOCGWINSZ as _),
];
const THREAD: u64 = libc::CLONE_THREAD as u64;

/// What ends the process.
const FATAL: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_io_uring_setup,
];

/// Leaves all threads of the process, and those that they start, the system calls
/// of a server that runs. False on a machine that no list is known for.
///
/// # Errors
///
/// What the kernel says, as one without seccomp.
pub fn restrict() -> Result<bool, Error> {
    let machine = match std::env::consts::ARCH {
        "x86_64" => TargetArch::x86_64,
        "aarch64" => TargetArch::aarch64,
        _ => return Ok(false),
    };
    let refuse = SeccompAction::Errno(libc::ENOSYS as u32);
    // The one that leaves the fewest calls last: it refuses another filter.
    let filters = [
        compile(
            every(FATAL),
            SeccompAction::Allow,
            SeccompAction::KillProcess,
            machine,
        )?,
        compile(allowed()?, refuse, SeccompAction::Allow, machine)?,
    ];
    for filter in filters {
        seccompiler::apply_filter_all_threads(&filter)?;
    }
    Ok(true)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn compile(
    rules: Rules,
    others: SeccompAction,
    these: SeccompAction,
    machine: TargetArch,
) -> Result<BpfProgram, Error> {
    let filter = SeccompFilter::new(rules, others, these, machine)?;
    Ok(filter.try_into()?)
}

fn allowed() -> Result<Rules, Error> {
    let lists = [FILES, OLD, WAITING, SOCKETS, MEMORY, THREADS, LOOKS];
    let mut rules = every(&lists.concat());
    for (call, argument, comparison, value) in CONDITIONS {
        let condition = SeccompCondition::new(*argument, Dword, comparison.clone(), *value)?;
        let rule = SeccompRule::new(vec![condition])?;
        rules.entry(*call).or_default().push(rule);
    }
    Ok(rules)
}

/// Calls whatever their arguments.
fn every(calls: &[c_long]) -> Rules {
    calls.iter().map(|&call| (call, Vec::new())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_in_one_list() {
        let lists = [FILES, OLD, WAITING, SOCKETS, MEMORY, THREADS, LOOKS, FATAL];
        let mut calls = lists.concat();
        calls.extend(CONDITIONS.iter().map(|condition| condition.0));
        calls.sort_unstable();
        // A list with conditions and one without would leave the conditions out.
        calls.dedup();
        let conditional = [
            libc::SYS_socket,
            libc::SYS_socketpair,
            libc::SYS_mmap,
            libc::SYS_mprotect,
            libc::SYS_clone,
            libc::SYS_prctl,
            libc::SYS_ioctl,
        ];
        assert_eq!(calls.len(), lists.concat().len() + conditional.len());
    }
}
