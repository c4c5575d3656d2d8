//! The socket of one queue (AF_XDP): how it is made and bound, and what the kernel
//! counts of it (`Documentation/networking/af_xdp.rst`).

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libc::{c_int, socklen_t};

use super::memory::{Frames, Ring, Which};

/// Between two tries to have what somebody else still has.
const PAUSE: Duration = Duration::from_millis(5);
/// `XDP_MAX_TX_SKB_BUDGET` (`linux/if_xdp.h`): frames that one call sends where they
/// are copied.
const SEND_BUDGET: c_int = 9;

/// A queue as the control thread and its worker both see it.
#[derive(Debug)]
pub struct Queue {
    socket: OwnedFd,
    /// The queue's number.
    pub number: u32,
    /// Whether frames go between the card and this process without being copied.
    pub zero_copy: bool,
    /// Written by the worker alone, by way of `count`; `Relaxed`, as in `Counters`.
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) busy: AtomicU64,
    pub(super) unread: AtomicU64,
}

/// What was counted of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct QueueTotals {
    /// Datagrams that were taken.
    pub received: u64,
    /// Replies that were given to the kernel to send.
    pub sent: u64,
    /// Datagrams lost because no frame was free for them.
    pub no_frame: u64,
    /// Times that the kernel looked for a free frame and their ring was empty. Where
    /// frames are copied each of them is a datagram that is lost; where not, the card
    /// may have some left.
    pub ring_empty: u64,
    /// Datagrams lost because the ring of those received was full.
    pub ring_full: u64,
    /// Replies that the kernel found no place for, or did not understand.
    pub invalid: u64,
    /// Times that the kernel would not take what there was to send, and took it later.
    pub busy: u64,
    /// Datagrams lost because there was no time left for them when the queue was closed.
    pub unread: u64,
}

impl QueueTotals {
    /// A word for each number, in the order of `numbers`.
    pub const HEADINGS: [&str; 8] = [
        "received",
        "sent",
        "no frame",
        "ring empty",
        "ring full",
        "invalid",
        "busy",
        "unread",
    ];
    /// Which of them count what was lost, requests or replies. The others are what a busy
    /// server does as well: of datagrams that found no free frame, `no_frame` tells.
    pub const ARE_LOSSES: [bool; QueueTotals::HEADINGS.len()] =
        [false, false, true, false, true, true, false, true];

    /// All numbers.
    pub fn numbers(&self) -> [u64; QueueTotals::HEADINGS.len()] {
        [
            self.received,
            self.sent,
            self.no_frame,
            self.ring_empty,
            self.ring_full,
            self.invalid,
            self.busy,
            self.unread,
        ]
    }

    /// Datagrams that were lost.
    pub fn lost(&self) -> u64 {
        self.no_frame + self.ring_full + self.unread
    }

    /// Both together.
    pub fn plus(&self, other: &QueueTotals) -> QueueTotals {
        QueueTotals {
            received: self.received + other.received,
            sent: self.sent + other.sent,
            no_frame: self.no_frame + other.no_frame,
            ring_empty: self.ring_empty + other.ring_empty,
            ring_full: self.ring_full + other.ring_full,
            invalid: self.invalid + other.invalid,
            busy: self.busy + other.busy,
            unread: self.unread + other.unread,
        }
    }
}

impl Queue {
    /// What was counted so far.
    pub fn totals(&self) -> QueueTotals {
        // SAFETY: all zero is a value of a structure of numbers.
        let mut kernel: libc::xdp_statistics = unsafe { zeroed() };
        // Where the kernel does not tell, they stay 0.
        let _ = get_option(self.as_raw_fd(), libc::XDP_STATISTICS, &mut kernel);
        QueueTotals {
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            no_frame: kernel.rx_dropped,
            ring_empty: kernel.rx_fill_ring_empty_descs,
            ring_full: kernel.rx_ring_full,
            invalid: kernel.rx_invalid_descs + kernel.tx_invalid_descs,
            busy: self.busy.load(Ordering::Relaxed),
            unread: self.unread.load(Ordering::Relaxed),
        }
    }

    /// True once, when the interface has gone since this was asked before: the kernel
    /// lets the queue go then, and says so where the socket's error is asked for.
    pub fn has_gone(&self) -> bool {
        let mut error: c_int = 0;
        let asked = get_option_of(
            self.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            &mut error,
        );
        asked.is_ok() && error == libc::ENETDOWN
    }

    /// Has the kernel look at what there is to send; an error says why it did not
    /// send all.
    pub(super) fn call_to_send(&self) -> io::Result<()> {
        let (none, flags) = (std::ptr::null(), libc::MSG_DONTWAIT);
        // SAFETY: nothing is sent from memory, and to no address.
        let returned =
            unsafe { libc::sendto(self.as_raw_fd(), none, 0, flags, std::ptr::null(), 0) };
        super::super::check(returned as c_int).map(drop)
    }

    /// Has the kernel look at the frames that are free again.
    pub(super) fn call_to_fill(&self) {
        let (none, flags) = (std::ptr::null_mut(), libc::MSG_DONTWAIT);
        let nobody = std::ptr::null_mut();
        // SAFETY: nothing is received into memory, and no address is asked for.
        // The call says that nothing is there, or that the card is busy.
        let _ = unsafe { libc::recvfrom(self.as_raw_fd(), none, 0, flags, nobody, nobody.cast()) };
    }
}

/// Counts what its worker alone counts.
pub(super) fn count(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The four rings, named after what lies in them.
pub(super) struct Rings {
    /// Frames with a datagram, from the kernel.
    pub received: Ring<libc::xdp_desc>,
    /// Frames with a reply, to the kernel.
    pub to_send: Ring<libc::xdp_desc>,
    /// Frames whose reply has been sent, from the kernel.
    pub sent: Ring<u64>,
    /// Frames that are free, to the kernel.
    pub free: Ring<u64>,
}

/// A socket with its rings, which is not bound yet.
pub(super) struct Unbound {
    socket: OwnedFd,
    pub rings: Rings,
    /// Whether the kernel has the frames.
    pub is_registered: bool,
}

/// Makes a socket of this kind, which is not ready for anything.
///
/// # Errors
///
/// What the kernel says: `EPERM` to whoever may not, `EAFNOSUPPORT` where it has none.
pub(super) fn socket() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointer.
    let returned = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    let fd = super::super::check(returned)? as c_int;
    // SAFETY: the kernel just gave out `fd`, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes the socket of a queue with its rings. All four are as long as there are frames,
/// so that none is ever full on this side. Frames that are too much for now are left to
/// `bind`: those of another process of the same user may count beside them.
///
/// # Errors
///
/// What the kernel says.
pub(super) fn prepare(frames: &Frames) -> io::Result<Unbound> {
    let socket = socket()?;
    let fd = socket.as_raw_fd();
    let registered = set_option(fd, libc::XDP_UMEM_REG, &frames.registration());
    let is_registered = match registered {
        Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => false,
        registered => registered.map(|()| true)?,
    };
    for which in [Which::FREE, Which::SENT, Which::RECEIVED, Which::TO_SEND] {
        set_option(fd, which.option, &frames.count)?;
    }
    // Best effort: kernels before 6.17 send 32 at a time.
    let _ = set_option(fd, SEND_BUDGET, &(crate::sys::port::MAX_WIDTH as c_int));
    // SAFETY: all zero is a value of a structure of numbers.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { zeroed() };
    get_option(fd, libc::XDP_MMAP_OFFSETS, &mut offsets)?;
    let rings = Rings {
        received: Ring::new(fd, Which::RECEIVED, &offsets.rx, frames.count)?,
        to_send: Ring::new(fd, Which::TO_SEND, &offsets.tx, frames.count)?,
        sent: Ring::new(fd, Which::SENT, &offsets.cr, frames.count)?,
        free: Ring::new(fd, Which::FREE, &offsets.fr, frames.count)?,
    };
    Ok(Unbound {
        socket,
        rings,
        is_registered,
    })
}

impl Unbound {
    /// Binds the socket to a queue of the interface with this number, waiting until then
    /// for whoever has it, or has the memory that it needs. `copy` has frames copied even
    /// where the card could do without.
    ///
    /// # Errors
    ///
    /// What the kernel says: `EINVAL` for a queue that does not exist, `EBUSY` for one
    /// that somebody else has, `ENOBUFS` where the frames are too much.
    pub fn bind(
        &mut self,
        frames: &Frames,
        (interface, number): (u32, u32),
        copy: bool,
        until: Instant,
    ) -> io::Result<()> {
        let fd = self.socket.as_raw_fd();
        if !self.is_registered {
            let register = || set_option(fd, libc::XDP_UMEM_REG, &frames.registration());
            patiently(until, register)?;
            self.is_registered = true;
        }
        let copied = if copy { libc::XDP_COPY } else { 0 };
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: libc::XDP_USE_NEED_WAKEUP | copied,
            sxdp_ifindex: interface,
            sxdp_queue_id: number,
            sxdp_shared_umem_fd: 0,
        };
        patiently(until, || {
            let (place, length) = ((&raw const address).cast(), size_of_val(&address));
            // SAFETY: `place` is an address of `length` octets.
            let returned = unsafe { libc::bind(fd, place, length as socklen_t) };
            super::super::check(returned).map(drop)
        })
    }

    /// The queue that it has been bound to, and the rings.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn bound(self, number: u32) -> io::Result<(Queue, Rings)> {
        // SAFETY: all zero is a value of a structure of numbers.
        let mut options: libc::xdp_options = unsafe { zeroed() };
        get_option(self.socket.as_raw_fd(), libc::XDP_OPTIONS, &mut options)?;
        let queue = Queue {
            socket: self.socket,
            number,
            zero_copy: options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0,
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            unread: AtomicU64::new(0),
        };
        Ok((queue, self.rings))
    }
}

/// Tries until then to have what may still be somebody else's: the kernel frees queues
/// and programs some 40 ms after they were left, and memory when it comes to that.
pub(super) fn patiently<T>(
    until: Instant,
    mut call: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if may_be_free_soon(&error) && Instant::now() < until => {
                std::thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

fn may_be_free_soon(error: &io::Error) -> bool {
    is_busy(error) || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// True where somebody else has what was asked for.
pub(super) fn is_busy(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST))
}

fn set_option<T>(fd: RawFd, option: c_int, value: &T) -> io::Result<()> {
    let (place, length) = ((&raw const *value).cast(), size_of::<T>() as socklen_t);
    // SAFETY: `place` is a value of `length` octets, which lives through the call.
    let returned = unsafe { libc::setsockopt(fd, libc::SOL_XDP, option, place, length) };
    super::super::check(returned).map(drop)
}

fn get_option<T>(fd: RawFd, option: c_int, value: &mut T) -> io::Result<()> {
    get_option_of(fd, libc::SOL_XDP, option, value)
}

fn get_option_of<T>(fd: RawFd, level: c_int, option: c_int, value: &mut T) -> io::Result<()> {
    let mut length = size_of::<T>() as socklen_t;
    let place = (&raw mut *value).cast();
    // SAFETY: `place` has room for `length` octets; what the kernel writes are numbers.
    let returned = unsafe { libc::getsockopt(fd, level, option, place, &raw mut length) };
    super::super::check(returned).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_free_soon_is_waited_for_and_nothing_else() {
        let soon = Instant::now() + Duration::from_secs(20);
        let until = |until, errors: &[i32]| {
            let mut errors = errors.iter();
            let answer = patiently(until, || match errors.next() {
                Some(error) => Err(io::Error::from_raw_os_error(*error)),
                None => Ok(()),
            });
            answer.map_err(|error| error.raw_os_error())
        };
        let passing = [libc::EBUSY, libc::EEXIST, libc::ENOBUFS];
        assert_eq!(until(soon, &passing), Ok(()));
        assert_eq!(until(soon, &[libc::EINVAL]), Err(Some(libc::EINVAL)));
        for error in passing {
            assert_eq!(until(Instant::now(), &[error]), Err(Some(error)));
        }
    }
}
