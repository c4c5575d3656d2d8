//! Work that threads do ahead of the one that takes what comes of it, in the order in
//! which it was given out, so that it is the same with any number of threads.

use std::collections::VecDeque;
use std::num::NonZero;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

/// Jobs of each thread that are ahead of what is taken: one under way, one that comes
/// next, and two that wait to be taken.
const AHEAD: usize = 4;

/// As many threads as there are CPUs that this one may use.
pub(super) fn cpus() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Jobs that are under way: a `K` is kept here with each, a `J` goes to a thread, an
/// `R` comes back.
pub(super) struct Ahead<K, J, R> {
    jobs: Sender<(J, Sender<R>)>,
    given: VecDeque<(K, Receiver<R>)>,
    most: usize,
}

impl<K, J, R> Ahead<K, J, R> {
    /// True where another job may be given out.
    pub fn has_room(&self) -> bool {
        self.given.len() < self.most
    }

    /// Has the next free thread do a job.
    pub fn give(&mut self, kept: K, job: J) {
        let (reply, made) = bounded(1);
        // Where there is no thread nobody takes it, and `take` says so.
        let _ = self.jobs.send((job, reply));
        self.given.push_back((kept, made));
    }

    /// Waits for what comes of the job that was given out first: `None` of it where no
    /// thread was to be had. `None` at all where no job is under way.
    pub fn take(&mut self) -> Option<(K, Option<R>)> {
        let (kept, made) = self.given.pop_front()?;
        Some((kept, made.recv().ok()))
    }
}

/// Gives `order` so many threads to give jobs to, each with a worker of its own. They
/// are as the one that asks: what is read beside a server that answers gives way to it.
pub(super) fn with_threads<K, J: Send, R: Send, W: FnMut(J) -> R, T>(
    threads: usize,
    worker: impl Fn() -> W + Sync,
    order: impl FnOnce(Ahead<K, J, R>) -> T,
) -> T {
    thread::scope(|running| {
        let (jobs, taken) = unbounded::<(J, Sender<R>)>();
        for _ in 0..threads {
            let (taken, worker) = (taken.clone(), &worker);
            let run = move || {
                let mut work = worker();
                for (job, reply) in taken {
                    // Nobody listens any more where the order broke off.
                    let _ = reply.send(work(job));
                }
            };
            if thread::Builder::new().spawn_scoped(running, run).is_err() {
                break;
            }
        }
        drop(taken);
        let given = VecDeque::new();
        let most = threads * AHEAD;
        order(Ahead { jobs, given, most })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_taken_in_order_and_without_threads_comes_back() {
        for threads in [0, 1, 3] {
            let taken = with_threads(
                threads,
                || |job: u32| job * job,
                |mut ahead| {
                    let mut taken = Vec::new();
                    for number in 0..50 {
                        if !ahead.has_room() {
                            taken.extend(ahead.take());
                        }
                        ahead.give(number, number);
                    }
                    taken.extend(std::iter::from_fn(|| ahead.take()));
                    taken
                },
            );
            let square = |number| (threads > 0).then_some(number * number);
            let expected: Vec<_> = (0..50).map(|number| (number, square(number))).collect();
            assert_eq!(taken, expected);
        }
    }
}
