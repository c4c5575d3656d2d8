//! Which socket of a `SO_REUSEPORT` group takes a datagram. Left alone the
//! kernel hashes addresses and ports, so that one client socket always lands
//! on one server socket. A classic BPF program on the group chooses otherwise
//! (`SO_ATTACH_REUSEPORT_CBPF`, since Linux 4.5, no privilege needed): its
//! return value is the socket's number in the order of binding, and a number
//! out of range falls back to the hash.

use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;

use libc::{sock_filter, sock_fprog, socklen_t};

use super::socket::{UdpSocket, set_option};

/// What the choice follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Steer {
    /// The message ID: spreads the queries of one client socket evenly.
    QueryId,
    /// The CPU on which the datagram came in: a worker pinned there takes it.
    Cpu,
    /// A random number for each datagram.
    Random,
}

/// Instructions that one program may have (`BPF_MAXINSNS`).
pub(super) const MAX_INSTRUCTIONS: usize = 4096;

/// `linux/membarrier.h`.
const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;

/// Puts the program on the group that `socket` belongs to. `cpus[i]` is the
/// CPU that the worker of socket `i` is pinned to.
///
/// # Errors
///
/// What the kernel says to `setsockopt`.
pub fn attach(socket: &UdpSocket, steer: Steer, cpus: &[usize]) -> io::Result<()> {
    attach_program(socket, program(steer, cpus))
}

/// Puts a program on the group, in the place of the one before.
pub(super) fn attach_program(socket: &UdpSocket, program: Vec<sock_filter>) -> io::Result<()> {
    set_program(socket, libc::SO_ATTACH_REUSEPORT_CBPF, program)
}

/// Sets an option whose value is a classic BPF program.
pub(super) fn set_program(
    socket: &impl AsRawFd,
    option: libc::c_int,
    mut program: Vec<sock_filter>,
) -> io::Result<()> {
    let description = sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    let length = size_of::<sock_fprog>() as socklen_t;
    let fd = socket.as_raw_fd();
    let place = (&raw const description).cast();
    // SAFETY: `description` points at `program`; both live through the call,
    // and the kernel copies the instructions.
    let returned = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, place, length) };
    super::check(returned).map(drop)
}

/// The program: load a number, bring it into the range of sockets, return it.
///
/// The packet that the program sees starts at the UDP payload, so the message
/// ID is the half-word at 0; what is not in the packet is read from the
/// ancillary area at `SKF_AD_OFF` (`linux/filter.h`).
fn program(steer: Steer, cpus: &[usize]) -> Vec<sock_filter> {
    let sockets = cpus.len().max(1) as u32;
    match steer {
        Steer::QueryId => vec![load(libc::BPF_H, 0), modulo(sockets), return_a()],
        Steer::Random => vec![
            load_ancillary(libc::SKF_AD_RANDOM),
            modulo(sockets),
            return_a(),
        ],
        Steer::Cpu => {
            let mut program = vec![load_ancillary(libc::SKF_AD_CPU)];
            // The first worker on that CPU; CPUs without one are shared out.
            let known = cpus.iter().enumerate().take((MAX_INSTRUCTIONS - 3) / 2);
            for (socket, &cpu) in known {
                program.push(skip_next_unless(cpu as u32));
                program.push(return_k(socket as u32));
            }
            program.extend([modulo(sockets), return_a()]);
            program
        }
    }
}

/// A = the number at `offset`, of the size `BPF_H` or `BPF_W`.
pub(super) fn load(size: u32, offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | size | libc::BPF_ABS, offset, 0)
}

/// A = a number that is not in the packet.
pub(super) fn load_ancillary(offset: libc::c_int) -> sock_filter {
    load(libc::BPF_W, (libc::SKF_AD_OFF + offset) as u32)
}

/// A = A + `n`.
pub(super) fn add(n: u32) -> sock_filter {
    instruction(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K, n, 0)
}

/// A = A mod `n`.
fn modulo(n: u32) -> sock_filter {
    instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, n, 0)
}

/// Go on with the next instruction if A is `value`, else with the one behind it.
fn skip_next_unless(value: u32) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, 1)
}

pub(super) fn return_a() -> sock_filter {
    // BPF_A, which the libc crate does not name.
    instruction(libc::BPF_RET | 0x10, 0, 0)
}

pub(super) fn return_k(value: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, value, 0)
}

pub(super) fn instruction(code: u32, k: u32, jump_if_false: u8) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: jump_if_false,
        k,
    }
}

/// Takes the program off the socket's group, if there is one.
pub fn detach(socket: &UdpSocket) {
    // The kernel refuses where there is none.
    let fd = socket.as_raw_fd();
    let _ = set_option(fd, libc::SOL_SOCKET, libc::SO_DETACH_REUSEPORT_BPF, 0);
}

/// Waits until all datagrams are queued for which the choice was made by what was on
/// their group before this was called: that happens in one read-side section of RCU
/// (`net/ipv4/udp.c`), and the call waits for all of these (`membarrier(2)`). Takes some
/// hundredths of a second.
///
/// # Errors
///
/// `EINVAL` where some CPUs have no tick of the clock (`nohz_full`), `ENOSYS` where the
/// kernel was built without it.
pub fn settle() -> io::Result<()> {
    // SAFETY: the call takes three numbers and touches no memory of the process.
    let returned = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    match returned {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
