//! The ports of a worker: sockets, and behind them queues.

use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

use crossbeam_channel::Sender;

use crate::sys::port::SocketPort;
use crate::sys::xdp::QueuePort;

/// A port of either kind. Which one it is, is asked once a batch.
pub enum AnyPort {
    /// A socket.
    Socket(SocketPort),
    /// A queue, read past the sockets.
    Queue(QueuePort, Hold),
}

/// Goes with a queue and closes after it, so that the other end sees when the last of
/// them is left. Nothing is ever sent.
pub type Hold = Sender<std::convert::Infallible>;

impl AnyPort {
    /// True for a queue in which datagrams wait: that is seen without a call. Of a
    /// socket it is not known.
    #[inline]
    pub fn has_waiting(&self) -> bool {
        match self {
            AnyPort::Socket(_) => false,
            AnyPort::Queue(port, _) => port.has_waiting(),
        }
    }

    /// True for a queue.
    pub fn is_queue(&self) -> bool {
        matches!(self, AnyPort::Queue(..))
    }

    /// Calls once more for what the kernel has not taken of a queue.
    pub fn push_rest(&mut self) {
        if let AnyPort::Queue(port, _) = self {
            port.push_rest();
        }
    }

    /// True where replies of a queue are still on their way, and would be lost if it
    /// were left. To ask has them go on.
    pub fn is_sending(&mut self) -> bool {
        match self {
            AnyPort::Socket(_) => false,
            AnyPort::Queue(port, _) => port.is_sending(),
        }
    }

    /// Closes the socket, unless somebody else has it too, and returns what was
    /// dropped on it until then. What is lost of a queue is kept with the queue.
    pub fn close(self) -> Option<u64> {
        match self {
            AnyPort::Socket(port) => port.close(),
            AnyPort::Queue(..) => None,
        }
    }
}

/// Waits until the replies of all queues have been sent, or until then at most.
pub fn see_off(ports: &mut [AnyPort], until: Instant) {
    let mut are_sending = || {
        let sending = ports.iter_mut().map(AnyPort::is_sending);
        sending.fold(false, |any, is| any | is)
    };
    while are_sending() && Instant::now() < until {
        std::thread::yield_now();
    }
}

impl AsRawFd for AnyPort {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            AnyPort::Socket(port) => port.socket().as_raw_fd(),
            AnyPort::Queue(port, _) => port.as_raw_fd(),
        }
    }
}

impl From<SocketPort> for AnyPort {
    fn from(port: SocketPort) -> AnyPort {
        AnyPort::Socket(port)
    }
}
