//! Memory that is shared with the kernel: the frames of a queue, and the rings by
//! which they go to and fro (`Documentation/networking/af_xdp.rst`).
//!
//! A ring is read by one side and written by the other. Its two counters never turn
//! back; a place in it is a counter modulo its length. Whoever writes stores the
//! entry and then the counter (release), whoever reads loads the counter (acquire)
//! and then the entry.

use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use libc::{c_int, c_void, off_t};

use super::super::memory;

/// Mapped memory.
struct Mapping {
    start: NonNull<c_void>,
    length: usize,
}

impl Mapping {
    /// Maps part of a file, or memory of its own where that is none.
    fn new(length: usize, file: Option<(RawFd, off_t)>) -> io::Result<Mapping> {
        let (fd, offset) = file.unwrap_or((-1, 0));
        let flags = match file {
            Some(_) => libc::MAP_SHARED | libc::MAP_POPULATE,
            None => libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        };
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses where, so that nothing is mapped over.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, access, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { start, length })
    }

    /// The place `offset` octets from the beginning, where a `T` lies.
    fn at<T>(&self, offset: usize) -> NonNull<T> {
        assert!(offset.is_multiple_of(align_of::<T>()));
        assert!(offset + size_of::<T>() <= self.length);
        // SAFETY: the place is inside the mapping.
        unsafe { self.start.byte_add(offset) }.cast()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped like this, and whatever pointed into it is gone with
        // its owner.
        unsafe { libc::munmap(self.start.as_ptr(), self.length) };
    }
}

/// Frames of one size.
pub(super) struct Frames {
    memory: Mapping,
    /// Octets of a frame, a power of two.
    pub size: usize,
    pub count: u32,
}

// SAFETY: the memory is the struct's own, and moves to another thread with it.
unsafe impl Send for Frames {}

impl Frames {
    pub fn new(size: usize, count: u32) -> io::Result<Frames> {
        let length = size * count as usize;
        let memory = Mapping::new(length, None)?;
        let start = memory.start.as_ptr().cast_const().cast::<u8>();
        memory::prefer_huge_pages(start..start.wrapping_add(length));
        Ok(Frames {
            memory,
            size,
            count,
        })
    }

    /// What the kernel is told of them.
    pub fn registration(&self) -> libc::xdp_umem_reg {
        libc::xdp_umem_reg {
            addr: self.memory.start.as_ptr() as u64,
            len: self.memory.length as u64,
            chunk_size: self.size as u32,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        }
    }

    /// Where the frame begins that has this place in it.
    pub fn start_of(&self, place: u64) -> u64 {
        place & !(self.size as u64 - 1)
    }

    fn place(&self, at: usize) -> *mut u8 {
        self.memory.start.as_ptr().cast::<u8>().wrapping_add(at)
    }

    /// Octets of frames that are with this side, which nothing writes while they are
    /// looked at.
    pub fn octets(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.memory.length);
        // SAFETY: the range is inside the memory, which was zero at the beginning.
        // Frames are this side's from when they are read off a ring until they are
        // put on one, and are written only through `&mut self`.
        unsafe { std::slice::from_raw_parts(self.place(range.start), range.len()) }
    }

    /// Octets to read and, behind them, others to write.
    pub fn split(&mut self, read: Range<usize>, write: Range<usize>) -> (&[u8], &mut [u8]) {
        assert!(read.start <= read.end && read.end <= write.start);
        assert!(write.start <= write.end && write.end <= self.memory.length);
        // SAFETY: the range is inside the memory; it is this side's, as in `octets`,
        // and does not overlap the other.
        let written =
            unsafe { std::slice::from_raw_parts_mut(self.place(write.start), write.len()) };
        (self.octets(read), written)
    }
}

/// Numbers that the program counts in, and those that it is told.
pub(super) struct Numbers {
    memory: Mapping,
    count: usize,
}

// SAFETY: the memory is read and written as atomic numbers, and goes with the struct.
unsafe impl Send for Numbers {}
// SAFETY: as above.
unsafe impl Sync for Numbers {}

impl Numbers {
    /// Maps a map of `count` numbers of 64 bits.
    pub fn new(map: RawFd, count: usize) -> io::Result<Numbers> {
        let memory = Mapping::new(count * size_of::<u64>(), Some((map, 0)))?;
        Ok(Numbers { memory, count })
    }

    /// Number `index`, as of lately.
    pub fn get(&self, index: usize) -> u64 {
        self.number(index).load(Ordering::Relaxed)
    }

    /// Has number `index` be this, for the program soon.
    pub fn set(&self, index: usize, number: u64) {
        self.number(index).store(number, Ordering::Relaxed);
    }

    fn number(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.count);
        let number = self.memory.at::<AtomicU64>(index * size_of::<u64>());
        // SAFETY: it lies in the mapping, and is written as an atomic number.
        unsafe { number.as_ref() }
    }
}

/// One of the four rings of a queue, with entries `T`.
pub(super) struct Ring<T> {
    _memory: Mapping,
    produced: NonNull<AtomicU32>,
    consumed: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    mask: u32,
    /// The counter of this side, which is the next place to write or to read.
    own: u32,
    /// Another thread may have the ring, but no two at once.
    _entries: PhantomData<T>,
}

// SAFETY: the pointers lead into the ring's own mapping, which goes with it.
unsafe impl<T: Send> Send for Ring<T> {}

/// Which ring: the page offset of its mapping and the option that sets its length.
#[derive(Clone, Copy)]
pub(super) struct Which {
    pub page: off_t,
    pub option: c_int,
}

impl Which {
    pub const RECEIVED: Which = Which {
        page: libc::XDP_PGOFF_RX_RING,
        option: libc::XDP_RX_RING,
    };
    pub const TO_SEND: Which = Which {
        page: libc::XDP_PGOFF_TX_RING,
        option: libc::XDP_TX_RING,
    };
    pub const FREE: Which = Which {
        page: libc::XDP_UMEM_PGOFF_FILL_RING as off_t,
        option: libc::XDP_UMEM_FILL_RING,
    };
    pub const SENT: Which = Which {
        page: libc::XDP_UMEM_PGOFF_COMPLETION_RING as off_t,
        option: libc::XDP_UMEM_COMPLETION_RING,
    };
}

impl<T: Copy> Ring<T> {
    /// Maps a ring of a socket, whose length has been set.
    pub fn new(
        fd: RawFd,
        which: Which,
        offsets: &libc::xdp_ring_offset,
        length: u32,
    ) -> io::Result<Ring<T>> {
        assert!(length.is_power_of_two());
        let entries = offsets.desc as usize;
        let octets = entries + length as usize * size_of::<T>();
        let memory = Mapping::new(octets, Some((fd, which.page)))?;
        Ok(Ring {
            produced: memory.at(offsets.producer as usize),
            consumed: memory.at(offsets.consumer as usize),
            flags: memory.at(offsets.flags as usize),
            entries: memory.at(entries),
            mask: length - 1,
            own: 0,
            _memory: memory,
            _entries: PhantomData,
        })
    }

    fn produced(&self) -> &AtomicU32 {
        // SAFETY: it lies in the mapping that the ring keeps; the kernel uses it as
        // an atomic number, too.
        unsafe { self.produced.as_ref() }
    }

    fn consumed(&self) -> &AtomicU32 {
        // SAFETY: as for `produced`.
        unsafe { self.consumed.as_ref() }
    }

    /// True where the kernel has to be called to look at what was published just now.
    ///
    /// A driver that finds the ring empty sets the flag and looks once more before it
    /// goes to sleep; this side publishes and then reads the flag. One of the two sees
    /// what the other has written only if neither reads before its own write can be
    /// seen, and a release store lets later loads overtake it, on x86 too. Hence the
    /// fence, which libxdp does without (`xsk_ring_prod__needs_wakeup`). Not every
    /// driver looks once more, so that a wake-up can be missed for all that: whoever
    /// waits in vain asks again (`QueuePort::push_rest`).
    pub fn needs_call(&self) -> bool {
        fence(Ordering::SeqCst);
        // SAFETY: as for `produced`.
        let flags = unsafe { self.flags.as_ref() };
        flags.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    fn entry(&self, number: u32) -> NonNull<T> {
        // SAFETY: the mask keeps the index below the number of entries, all of which
        // lie in the mapping.
        unsafe { self.entries.add((number & self.mask) as usize) }
    }

    /// Entries that the kernel has written and this side has not taken.
    pub fn waiting(&self) -> u32 {
        self.produced()
            .load(Ordering::Acquire)
            .wrapping_sub(self.own)
    }

    /// The next entry. To be called no oftener than `waiting` says.
    pub fn take(&mut self) -> T {
        let entry = self.entry(self.own);
        self.own = self.own.wrapping_add(1);
        // SAFETY: the kernel has written it and does not write it again before
        // `release`.
        unsafe { entry.read() }
    }

    /// How many entries were put or taken until now.
    pub fn own(&self) -> u32 {
        self.own
    }

    /// Gives the places of entries that were taken back to the kernel.
    pub fn release(&self) {
        self.consumed().store(self.own, Ordering::Release);
    }

    /// Writes an entry. There is always room: a ring is as long as there are frames.
    pub fn put(&mut self, entry: T) {
        let place = self.entry(self.own);
        self.own = self.own.wrapping_add(1);
        // SAFETY: the kernel has read what was there, since no more frames are under
        // way than the ring has places, and reads this only after `publish`.
        unsafe { place.write(entry) }
    }

    /// Shows the kernel what was put.
    pub fn publish(&self) {
        self.produced().store(self.own, Ordering::Release);
    }

    /// Entries that were published and the kernel has not taken.
    pub fn left(&self) -> u32 {
        self.own
            .wrapping_sub(self.consumed().load(Ordering::Acquire))
    }
}
