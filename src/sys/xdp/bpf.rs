//! The calls of bpf(2) that are needed: maps, a program, its link to an interface.
//! Each is given a structure whose fields are those of `union bpf_attr`
//! (`linux/bpf.h`); what follows them is 0.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::assembler::Instruction;

const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;
const PROG_TEST_RUN: libc::c_int = 10;
const LINK_CREATE: libc::c_int = 28;

/// `BPF_PROG_TYPE_XDP` and `BPF_XDP`.
const XDP_PROGRAM: u32 = 6;
const XDP_ATTACHED: u32 = 37;
/// `BPF_F_TEST_XDP_LIVE_FRAMES`.
const LIVE_FRAMES: u32 = 2;
/// `BPF_F_MMAPABLE`.
const MAPPABLE: u32 = 1 << 10;

/// `enum bpf_map_type`.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum Kind {
    Hash = 1,
    /// Which a process can map, so that it is read without a call.
    Numbers = 2,
    Sockets = 17,
}

#[repr(C)]
struct NewMap {
    kind: u32,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
}

#[repr(C)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct NewProgram {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
}

#[repr(C)]
struct NewLink {
    program: u32,
    interface: u32,
    attached: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    returned: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch: u32,
    /// Must be 0, and would else be left to chance.
    padding: u32,
}

fn call<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    let (place, size) = (&raw mut *attributes, size_of::<T>());
    // SAFETY: `place` is a structure of `size` octets for this command; what it
    // points at lives as long as the borrows of whoever calls.
    let returned = unsafe { libc::syscall(libc::SYS_bpf, command, place, size) };
    super::super::check(returned as libc::c_int).map(|returned| returned as libc::c_int)
}

fn owned(descriptor: libc::c_int) -> OwnedFd {
    // SAFETY: the kernel just gave out `descriptor`, and nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// A map of the kernel's, with keys and values of fixed sizes.
pub(super) struct Map {
    descriptor: OwnedFd,
    key: usize,
    value: usize,
}

impl Map {
    pub fn new(kind: Kind, key: usize, value: usize, entries: u32) -> io::Result<Map> {
        let mut wanted = NewMap {
            kind: kind as u32,
            key: key as u32,
            value: value as u32,
            entries,
            flags: if let Kind::Numbers = kind {
                MAPPABLE
            } else {
                0
            },
        };
        Ok(Map {
            descriptor: owned(call(MAP_CREATE, &mut wanted)?),
            key,
            value,
        })
    }

    /// Puts a value under a key, in the place of the one before.
    pub fn set(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        assert_eq!((key.len(), value.len()), (self.key, self.value));
        let mut element = Element {
            map: self.as_raw_fd() as u32,
            padding: 0,
            key: key.as_ptr() as u64,
            value: value.as_ptr() as u64,
            flags: 0,
        };
        call(MAP_UPDATE, &mut element).map(drop)
    }
}

impl AsRawFd for Map {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

/// A program that the kernel has verified.
pub(super) struct Program(OwnedFd);

impl Program {
    pub fn load(instructions: &[Instruction]) -> io::Result<Program> {
        let mut wanted = NewProgram {
            kind: XDP_PROGRAM,
            count: instructions.len() as u32,
            instructions: instructions.as_ptr() as u64,
            license: c"MIT".as_ptr() as u64,
            log_level: 0,
            log_size: 0,
            log: 0,
        };
        call(PROG_LOAD, &mut wanted).map(|program| Program(owned(program)))
    }

    #[cfg(test)]
    /// Runs the program on a frame, and returns what it answers. Nothing leaves.
    pub fn try_on(&self, frame: &[u8]) -> io::Result<i32> {
        let mut run = TestRun {
            program: self.0.as_raw_fd() as u32,
            size_in: frame.len() as u32,
            data_in: frame.as_ptr() as u64,
            repeat: 1,
            ..TestRun::default()
        };
        call(PROG_TEST_RUN, &mut run)?;
        Ok(run.returned as i32)
    }

    /// Has the interface with this number send the frame so many times, each after
    /// the program has changed it, if it answers XDP_TX
    /// (`Documentation/bpf/bpf_prog_run.rst`).
    pub fn send_copies(&self, frame: &[u8], interface: u32, repeat: u32) -> io::Result<()> {
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index,
        // egress_ifindex.
        let context = [0, frame.len() as u32, 0, interface, 0, 0];
        let mut run = TestRun {
            program: self.0.as_raw_fd() as u32,
            size_in: frame.len() as u32,
            data_in: frame.as_ptr() as u64,
            context_size_in: size_of_val(&context) as u32,
            context_in: context.as_ptr() as u64,
            repeat,
            flags: LIVE_FRAMES,
            ..TestRun::default()
        };
        call(PROG_TEST_RUN, &mut run).map(drop)
    }

    /// Attaches the program to an interface for as long as the link is open. `flags`
    /// say how (`linux/if_link.h`).
    pub fn attach(&self, interface: u32, flags: u32) -> io::Result<OwnedFd> {
        let mut wanted = NewLink {
            program: self.0.as_raw_fd() as u32,
            interface,
            attached: XDP_ATTACHED,
            flags,
        };
        call(LINK_CREATE, &mut wanted).map(owned)
    }
}
