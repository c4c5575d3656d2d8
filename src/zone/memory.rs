//! Memory that is about to be filled. Reading a large zone touches hundreds of
//! megabytes once; how the pages under them come to be is the kernel's matter,
//! which this layer does not speak to. Whoever does can leave a word here.

use std::ops::Range;
use std::sync::OnceLock;

/// What is told of memory that has been reserved and not been touched.
pub type Advise = fn(Range<*const u8>);

static ADVISE: OnceLock<Advise> = OnceLock::new();

/// Has `advise` told of all large memory from now on; the first call counts.
pub fn advise_with(advise: Advise) {
    // A second one changes nothing.
    let _ = ADVISE.set(advise);
}

/// Makes room for so many more elements, and tells of it.
pub(super) fn reserve<T>(vector: &mut Vec<T>, more: usize) {
    vector.reserve(more);
    if let Some(advise) = ADVISE.get() {
        let start = vector.as_ptr();
        advise(start.cast()..start.wrapping_add(vector.capacity()).cast());
    }
}

/// `count` times `value`, on memory that was told of.
pub(super) fn filled<T: Clone>(value: T, count: usize) -> Vec<T> {
    let mut vector = Vec::new();
    reserve(&mut vector, count);
    vector.resize(count, value);
    vector
}
