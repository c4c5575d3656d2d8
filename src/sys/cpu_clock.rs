//! The clock of a thread's CPU time. Whoever has it reads it from any thread of the
//! process, and needs neither a file nor a privilege for it.

use std::io;
use std::time::Duration;

/// The clock of one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuClock(libc::clockid_t);

impl CpuClock {
    /// The clock of the calling thread; `None` where the system has none.
    pub fn of_this_thread() -> Option<CpuClock> {
        let mut clock = 0;
        // SAFETY: the call takes no pointer.
        let this = unsafe { libc::pthread_self() };
        // SAFETY: the thread is running, and `clock` lives through the call.
        let failed = unsafe { libc::pthread_getcpuclockid(this, &raw mut clock) };
        (failed == 0).then_some(CpuClock(clock))
    }

    /// The clock by the number that `number` gave.
    pub fn from_number(number: i32) -> CpuClock {
        CpuClock(number)
    }

    /// The clock's number, never 0.
    pub fn number(self) -> i32 {
        self.0
    }

    /// The CPU time that the thread has had.
    ///
    /// # Errors
    ///
    /// The thread has ended.
    pub fn read(self) -> io::Result<Duration> {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `time` lives through the call.
        super::check(unsafe { libc::clock_gettime(self.0, &raw mut time) })?;
        // Neither is negative, and nanoseconds stay below a second.
        Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn another_threads_time_is_read_while_it_runs_and_not_afterwards() {
        let (tell, told) = channel();
        let (end, ended) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let clock = CpuClock::of_this_thread().unwrap();
            while clock.read().unwrap() < Duration::from_millis(5) {}
            tell.send(clock).unwrap();
            ended.recv().unwrap();
        });
        let clock = told.recv().unwrap();
        assert_ne!(clock.number(), 0);
        let time = CpuClock::from_number(clock.number()).read().unwrap();
        assert!(time >= Duration::from_millis(5), "{time:?}");
        end.send(()).unwrap();
        thread.join().unwrap();
        // The kernel may forget the thread a little after it has been joined.
        while clock.read().is_ok() {
            std::thread::yield_now();
        }
    }
}
