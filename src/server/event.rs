//! What threads report while they run, to whoever listens. Where nobody does, or
//! too much waits already, it is lost, and counted where it matters.

/// What a thread reports.
#[derive(Debug)]
pub enum Event {
    /// It broke on a request, has dropped it and gone on.
    Panicked {
        /// The thread's name.
        thread: String,
        /// The panic's message and place.
        message: String,
        /// Where it came from.
        backtrace: String,
    },
    /// It could not be held on its CPU, and runs all the same.
    NotPinned {
        /// The thread's name.
        thread: String,
        /// The CPU.
        cpu: usize,
    },
}
