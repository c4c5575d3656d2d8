//! The ports of a worker: sockets, and behind them queues.

use std::os::fd::{AsRawFd, RawFd};

use crate::sys::port::SocketPort;
use crate::sys::xdp::QueuePort;

/// A port of either kind. Which one it is, is asked once a batch.
pub enum AnyPort {
    /// A socket.
    Socket(SocketPort),
    /// A queue, read past the sockets.
    Queue(QueuePort),
}

impl AnyPort {
    /// True for a queue in which datagrams wait: that is seen without a call. Of a
    /// socket it is not known.
    #[inline]
    pub fn has_waiting(&self) -> bool {
        match self {
            AnyPort::Socket(_) => false,
            AnyPort::Queue(port) => port.has_waiting(),
        }
    }

    /// True for a queue.
    pub fn is_queue(&self) -> bool {
        matches!(self, AnyPort::Queue(_))
    }

    /// Closes the socket, unless somebody else has it too, and returns what was
    /// dropped on it until then. What is lost of a queue is kept with the queue.
    pub fn close(self) -> Option<u64> {
        match self {
            AnyPort::Socket(port) => port.close(),
            AnyPort::Queue(_) => None,
        }
    }
}

impl AsRawFd for AnyPort {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            AnyPort::Socket(port) => port.socket().as_raw_fd(),
            AnyPort::Queue(port) => port.as_raw_fd(),
        }
    }
}

impl From<SocketPort> for AnyPort {
    fn from(port: SocketPort) -> AnyPort {
        AnyPort::Socket(port)
    }
}

impl From<QueuePort> for AnyPort {
    fn from(port: QueuePort) -> AnyPort {
        AnyPort::Queue(port)
    }
}
