//! What only measurements need: frames sent as fast as the kernel can make them, and
//! what comes back counted and thrown away, all without leaving the kernel
//! (`Documentation/bpf/bpf_prog_run.rst`, "Running XDP programs in live frame mode").

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use super::assembler::Condition::Greater;
use super::assembler::Operation::{Add, Or};
use super::assembler::Register::{R0, R1, R2, R7, R8};
use super::assembler::Size::{Half, Word};
use super::assembler::With::{Number, Register};
use super::assembler::{Assembler, Instruction, Label};
use super::bpf::{Kind, Map, Program};
use super::interface::Facts;
use super::memory::Numbers;
use super::{NATIVE_FLAG, program};
use crate::sys::ethtool::Ethtool;

/// Helpers and answers of programs (`linux/bpf.h`).
const RANDOM: i32 = 7;
const DROP: i32 = 1;
const SEND: i32 = 3;

/// An interface that frames leave by, and that takes none in but to count it.
pub struct Source {
    interface: u32,
    station: [u8; 6],
    source: Program,
    came_back: Numbers,
    _kept: (Map, Program, OwnedFd),
}

impl Source {
    /// Takes an interface, which is of no other use until this is dropped.
    ///
    /// # Errors
    ///
    /// No such interface, or what the kernel says.
    pub fn new(name: &str) -> io::Result<Source> {
        let facts = Facts::of(name).map_err(io::Error::other)?;
        let map = Map::new(Kind::Numbers, 4, 8, 1)?;
        let came_back = Numbers::new(map.as_raw_fd(), 1)?;
        let sink = Program::load(&sink(map.as_raw_fd()))?;
        let link = sink.attach(facts.index, NATIVE_FLAG)?;
        Ok(Source {
            interface: facts.index,
            station: Ethtool::new(name)?.station()?,
            source: Program::load(&source())?,
            came_back,
            _kept: (map, sink, link),
        })
    }

    /// The station that frames come from.
    pub fn station(&self) -> [u8; 6] {
        self.station
    }

    /// Sends so many copies of a frame with an IPv4 datagram, each from another port and
    /// with another message ID. Fewer than a million cost more than they send.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn send(&self, frame: &[u8], count: u32) -> io::Result<()> {
        self.source.send_copies(frame, self.interface, count)
    }

    /// Frames that came in so far.
    pub fn came_back(&self) -> u64 {
        self.came_back.get(0)
    }
}

/// A datagram in its frame, as it is sent to `to`, a station and an address and port,
/// without a checksum of UDP.
pub fn frame(from: ([u8; 6], Ipv4Addr), to: ([u8; 6], Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    super::frame::request(from, to, payload)
}

/// Another source port, another message ID, and out.
fn source() -> Vec<Instruction> {
    const END: Label = Label::new("end");
    let mut a = Assembler::default();
    a.load(Word, R7, R1, 0);
    a.load(Word, R8, R1, 4);
    a.set(R2, Register(R7));
    a.compute(Add, R2, Number(44));
    a.set(R0, Number(DROP));
    a.jump_if(R2, Greater, Register(R8), END);
    a.call(RANDOM);
    a.store(Half, R7, 42, Register(R0));
    // None of the ports that mean something.
    a.compute(Or, R0, Number(0x40));
    a.store(Half, R7, 34, Register(R0));
    a.set(R0, Number(SEND));
    a.label(END);
    a.exit();
    a.finish()
}

/// Counts a frame and drops it.
fn sink(map: i32) -> Vec<Instruction> {
    let mut a = Assembler::default();
    program::count(&mut a, map, Number(0), DROP);
    a.finish()
}
