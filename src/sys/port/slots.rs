//! Equal buffers in one piece of memory, one a slot of a batch.

use std::cell::UnsafeCell;

use libc::iovec;

/// Equal buffers in one piece of memory.
pub(in crate::sys) struct Slots {
    octets: Box<[UnsafeCell<u8>]>,
    size: usize,
    stride: usize,
}

impl Slots {
    pub(in crate::sys) fn new(count: usize, size: usize) -> Slots {
        // Strides of whole pages would put the beginnings of all buffers into
        // the same few cache sets; an odd number of lines spreads them.
        let stride = (size.div_ceil(64) | 1) * 64;
        let octets = (0..count * stride).map(|_| UnsafeCell::new(0)).collect();
        Slots {
            octets,
            size,
            stride,
        }
    }

    pub(in crate::sys) fn size(&self) -> usize {
        self.size
    }

    pub(in crate::sys) fn place(&self, index: usize) -> *mut u8 {
        let slot = &self.octets[index * self.stride..][..self.size];
        UnsafeCell::raw_get(slot.as_ptr())
    }

    pub(in crate::sys) fn vector(&self, index: usize) -> UnsafeCell<iovec> {
        UnsafeCell::new(iovec {
            iov_base: self.place(index).cast(),
            iov_len: self.size,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_do_not_overlap() {
        let slots = Slots::new(3, 100);
        assert!(slots.stride >= 100 && (slots.stride / 64) % 2 == 1);
        assert_eq!(
            slots.place(1) as usize - slots.place(0) as usize,
            slots.stride
        );
        assert!(size_of_val(&*slots.octets) >= 3 * 100);
    }
}
