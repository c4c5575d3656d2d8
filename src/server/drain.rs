//! The time that a worker which stops has for what is queued. A flood would keep it for
//! ever; and it is CPU time, since where other work has the CPU nothing is answered.

use std::time::{Duration, Instant};

use crate::sys::cpu_clock::CpuClock;

/// CPU time, at most.
pub const DRAIN: Duration = Duration::from_millis(200);
/// Time until the end, at most.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(2);

/// What is left of it, for the thread that began it.
pub struct Budget {
    clock: Option<CpuClock>,
    until_spent: Duration,
    until: Instant,
}

impl Budget {
    /// Nothing is spent.
    pub fn begin() -> Budget {
        let clock = CpuClock::of_this_thread();
        Budget {
            clock,
            until_spent: spent(clock) + DRAIN,
            until: Instant::now() + DRAIN_WITHIN,
        }
    }

    /// True as long as there is some.
    pub fn is_left(&self) -> bool {
        spent(self.clock) < self.until_spent && Instant::now() < self.until
    }
}

/// Without such a clock, nothing.
fn spent(clock: Option<CpuClock>) -> Duration {
    let spent = clock.and_then(|clock| clock.read().ok());
    spent.unwrap_or_default()
}
