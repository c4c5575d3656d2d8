//! The program with the maps that it looks into and counts in, loaded and not yet
//! attached.

use std::io;
use std::os::fd::AsRawFd;

use super::bpf::{Kind, Map, Program};
use super::memory::Numbers;
use super::program::{self, CLOSED, KEY, Maps, NUMBERS, Passed};

/// Addresses and ports that can be served on an interface.
pub(super) const MAX_SERVED: u32 = 4096;

/// The program and its maps, which live as long.
pub(super) struct Filter {
    pub program: Program,
    sockets: Map,
    numbers: Numbers,
    _kept: [Map; 2],
}

impl Filter {
    /// Takes datagrams to what is served, as `program::key` has it, in frames to this
    /// station with IP datagrams of up to `longest` octets, for so many queues from
    /// number 0 on.
    pub fn new(
        served: &[[u8; KEY]],
        station: [u8; 6],
        queues: usize,
        longest: u16,
    ) -> io::Result<Filter> {
        let sockets = Map::new(Kind::Sockets, 4, 4, queues as u32)?;
        let keys = Map::new(Kind::Hash, KEY, 4, MAX_SERVED)?;
        let numbers = Map::new(Kind::Numbers, 4, 8, NUMBERS as u32)?;
        for key in served {
            keys.set(key, &[1; 4])?;
        }
        let maps = Maps {
            sockets: sockets.as_raw_fd(),
            served: keys.as_raw_fd(),
            numbers: numbers.as_raw_fd(),
        };
        Ok(Filter {
            program: Program::load(&program::program(maps, station, longest))?,
            sockets,
            numbers: Numbers::new(numbers.as_raw_fd(), NUMBERS)?,
            _kept: [keys, numbers],
        })
    }

    /// Has the datagrams of a queue go to this socket. The kernel takes it out again when
    /// it is closed.
    pub fn enter(&self, queue: u32, socket: &impl AsRawFd) -> io::Result<()> {
        let socket = socket.as_raw_fd().to_ne_bytes();
        self.sockets.set(&queue.to_ne_bytes(), &socket)
    }

    /// Has everything go on to the kernel, or be taken again, without a call: whoever gave
    /// his privileges up can do so.
    pub fn close(&self, is_closed: bool) {
        self.numbers.set(CLOSED, is_closed.into());
    }

    /// How many frames were passed, by the reason, in the order of `Passed::ALL`.
    pub fn passed(&self) -> [u64; Passed::ALL.len()] {
        Passed::ALL.map(|(reason, _)| self.numbers.get(reason as usize))
    }
}
