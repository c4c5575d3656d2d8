//! Large memory on large pages: a table and an arena that are read at random
//! miss the TLB on every read, unless 2 MiB count as one page.

use std::io;
use std::ops::Range;

/// Octets of a huge page on x86-64 and, mostly, on AArch64.
const HUGE_PAGE: usize = 2 << 20;
/// `MADV_COLLAPSE` (`include/uapi/asm-generic/mman-common.h`, Linux 6.1).
const MADV_COLLAPSE: libc::c_int = 25;

/// Asks for huge pages under memory that will be filled: what is touched then
/// comes 2 MiB at a time, in one fault in place of 512. Where there are none,
/// it comes as ever.
pub fn prefer_huge_pages(region: Range<*const u8>) {
    if let Some((start, length)) = huge_part(region) {
        // Best effort.
        let _ = advise(start, length, libc::MADV_HUGEPAGE);
    }
}

/// Asks for huge pages under `region`, at once where the kernel can, else some
/// time. Contents and addresses stay. Returns the octets of the whole huge
/// pages within it, 0 where it has none.
///
/// # Errors
///
/// What the kernel says to `madvise`, as where huge pages are switched off.
pub fn use_huge_pages(region: Range<*const u8>) -> io::Result<usize> {
    let Some((start, length)) = huge_part(region) else {
        return Ok(0);
    };
    advise(start, length, libc::MADV_HUGEPAGE)?;
    // Without this the kernel gets round to it within minutes; one that does
    // not know it says so, and nothing is lost.
    let _ = advise(start, length, MADV_COLLAPSE);
    Ok(length)
}

/// Where the whole huge pages within the region start, and their octets.
fn huge_part(region: Range<*const u8>) -> Option<(usize, usize)> {
    let start = (region.start as usize).next_multiple_of(HUGE_PAGE);
    let end = region.end as usize / HUGE_PAGE * HUGE_PAGE;
    let length = end.checked_sub(start).filter(|length| *length > 0)?;
    Some((start, length))
}

fn advise(start: usize, length: usize, advice: libc::c_int) -> io::Result<()> {
    // SAFETY: neither advice changes what is in the memory or who may use it;
    // for a range that is not mapped the call fails.
    let returned = unsafe { libc::madvise(start as *mut libc::c_void, length, advice) };
    super::check(returned).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_stay_and_small_memory_is_left_alone() {
        let large: Vec<u32> = (0..4 << 20).collect();
        let octets = large.as_ptr_range();
        let moved = use_huge_pages(octets.start.cast()..octets.end.cast());
        // Kernels without huge pages say so.
        assert!(moved.is_err() || moved.is_ok_and(|moved| moved >= HUGE_PAGE));
        assert!(
            large
                .iter()
                .zip(0..)
                .all(|(found, expected)| *found == expected)
        );
        let small = [0u8; 4096];
        assert_eq!(use_huge_pages(small.as_ptr_range()).unwrap(), 0);
    }
}
