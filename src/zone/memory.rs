//! Memory of large zones, on large pages where the kernel gives them: reading
//! touches hundreds of megabytes once, and finding touches them at random. The
//! only file of this layer that speaks to `sys`.

use std::ops::Range;

use crate::sys::memory::{prefer_huge_pages, use_huge_pages};

/// Makes room for so many more elements, on large pages.
pub(super) fn reserve<T>(vector: &mut Vec<T>, more: usize) {
    vector.reserve(more);
    let start = vector.as_ptr();
    prefer_huge_pages(start.cast()..start.wrapping_add(vector.capacity()).cast());
}

/// `count` times `value`, on large pages.
pub(super) fn filled<T: Clone>(value: T, count: usize) -> Vec<T> {
    let mut vector = Vec::new();
    reserve(&mut vector, count);
    vector.resize(count, value);
    vector
}

/// Brings what has been filled onto large pages, which is best effort: small
/// ones serve as well, only slower.
pub(super) fn settle(region: Range<*const u8>) {
    let _ = use_huge_pages(region);
}
