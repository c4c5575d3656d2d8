//! What threads cost, as the scheduler counts it: CPU time, and how often one
//! was taken off its CPU. Read from `/proc` (proc(5)), since a thread can ask
//! `getrusage` about itself only.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Threads, of this process or of another.
#[derive(Default)]
pub struct Tasks(Vec<PathBuf>);

/// What they have used up since they were started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cost {
    /// Time on a CPU, in the kernel and outside.
    pub cpu: Duration,
    /// Context switches, both because they waited and because others were due.
    pub switches: u64,
}

impl Tasks {
    /// The calling thread.
    pub fn current() -> Tasks {
        // A link whose target differs from thread to thread.
        Tasks(vec![
            fs::canonicalize("/proc/thread-self").unwrap_or_default(),
        ])
    }

    /// All threads that a process has.
    pub fn of_process(id: u32) -> Tasks {
        Tasks(list(id).into_iter().collect())
    }

    /// The threads that `start` starts in this process and leaves behind.
    /// Nobody else starts any meanwhile.
    pub fn started_by<T>(start: impl FnOnce() -> T) -> (T, Tasks) {
        let before = list(std::process::id());
        let started = start();
        let after = list(std::process::id());
        (started, Tasks(after.difference(&before).cloned().collect()))
    }

    /// Both together.
    pub fn and(mut self, other: Tasks) -> Tasks {
        self.0.extend(other.0);
        self
    }

    /// What they have cost so far; `None` where the kernel does not count it
    /// (without `CONFIG_SCHED_INFO`), or where one of them has ended.
    pub fn cost(&self) -> Option<Cost> {
        self.0.iter().map(|task| cost(task)).sum()
    }

    /// How long they could have run so far but for others that did, all added up;
    /// `None` as above.
    pub fn held_up(&self) -> Option<Duration> {
        let held_up = |task: &PathBuf| {
            let schedstat = fs::read_to_string(task.join("schedstat")).ok()?;
            nanoseconds(&schedstat, 1)
        };
        self.0.iter().map(held_up).sum()
    }
}

impl Cost {
    /// What has come on top of an earlier look; `None` where either is missing.
    pub fn between(earlier: Option<Cost>, now: Option<Cost>) -> Option<Cost> {
        let (now, earlier) = (now?, earlier?);
        Some(Cost {
            cpu: now.cpu.saturating_sub(earlier.cpu),
            switches: now.switches.saturating_sub(earlier.switches),
        })
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(costs: I) -> Cost {
        costs.fold(Cost::default(), |sum, cost| Cost {
            cpu: sum.cpu + cost.cpu,
            switches: sum.switches + cost.switches,
        })
    }
}

fn list(process: u32) -> BTreeSet<PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{process}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    tasks.map(|task| task.path()).collect()
}

fn cost(task: &Path) -> Option<Cost> {
    let read = |name: &str| fs::read_to_string(task.join(name)).ok();
    Some(Cost {
        cpu: nanoseconds(&read("schedstat")?, 0)?,
        switches: switches(&read("status")?)?,
    })
}

/// The numbers of `schedstat` are nanoseconds on a CPU, nanoseconds in wait for one, and
/// turns (`Documentation/scheduler/sched-stats.rst`).
fn nanoseconds(schedstat: &str, number: usize) -> Option<Duration> {
    let nanoseconds = schedstat.split_whitespace().nth(number)?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

fn switches(status: &str) -> Option<u64> {
    let number = |name: &str| -> Option<u64> {
        let mut lines = status.lines();
        let number = lines.find_map(|line| line.strip_prefix(name))?;
        number.trim().parse().ok()
    };
    Some(number("voluntary_ctxt_switches:")? + number("nonvoluntary_ctxt_switches:")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    #[test]
    fn what_proc_says_is_read() {
        let read = |number| nanoseconds("1500 20 3\n", number);
        assert_eq!(read(0), Some(Duration::from_nanos(1500)));
        assert_eq!(read(1), Some(Duration::from_nanos(20)));
        assert_eq!(nanoseconds("", 0), None);
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t40\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(switches(status), Some(42));
        assert_eq!(switches("Name:\tx\n"), None);
    }

    #[test]
    fn a_thread_that_waits_is_switched() {
        let tasks = Tasks::current();
        let before = tasks.cost();
        if before.is_none() {
            eprintln!("skipped: this kernel does not count what threads cost");
            return;
        }
        let (wake, woken) = mpsc::channel::<()>();
        let waiting = thread::spawn(move || woken.recv());
        drop(wake);
        let _ = waiting.join();
        thread::sleep(Duration::from_millis(1));
        let cost = Cost::between(before, tasks.cost()).unwrap();
        assert!(cost.switches > 0 && cost.cpu < Duration::from_secs(60));
    }
}
