//! A consistent table: buckets of flows, dealt out to the sockets of a group so
//! that a socket that joins or leaves moves no flow that need not move.
//! `sys::lab::buckets` puts it on the group.

use crate::sys::lab::buckets::BUCKETS;

/// Which slot each bucket of flows belongs to. A change moves no bucket that it
/// need not, and leaves the slots with equal numbers of them, give or take one.
pub struct Buckets {
    slots: [u16; BUCKETS],
    sockets: usize,
}

impl Buckets {
    /// A table for so many sockets.
    pub fn new(sockets: usize) -> Buckets {
        let mut buckets = Buckets {
            slots: [0; BUCKETS],
            sockets: 1,
        };
        (1..sockets).for_each(|_| buckets.join());
        buckets
    }

    /// The slot of each bucket.
    pub fn slots(&self) -> &[u16; BUCKETS] {
        &self.slots
    }

    /// The newcomer takes its part, each bucket from whom then has most.
    pub fn join(&mut self) {
        let mut counts = self.counts();
        self.sockets += 1;
        for _ in 0..BUCKETS / self.sockets {
            let (richest, count) = counts
                .iter_mut()
                .enumerate()
                .max_by_key(|(_, count)| **count)
                .expect("there is a socket");
            *count -= 1;
            let bucket = self.slots.iter().position(|&slot| slot == richest as u16);
            self.slots[bucket.expect("it has most")] = self.sockets as u16 - 1;
        }
    }

    /// The leaver's buckets go to whoever then has fewest; those of the last
    /// follow it into the leaver's slot.
    pub fn leave(&mut self, leaver: usize) {
        let mut counts = self.counts();
        for bucket in 0..BUCKETS {
            if self.slots[bucket] == leaver as u16 {
                let (poorest, count) = counts
                    .iter_mut()
                    .enumerate()
                    .filter(|(slot, _)| *slot != leaver)
                    .min_by_key(|(_, count)| **count)
                    .expect("the last socket does not leave");
                *count += 1;
                self.slots[bucket] = poorest as u16;
            }
        }
        self.sockets -= 1;
        let renamed = |slot: &&mut u16| usize::from(**slot) == self.sockets;
        self.slots
            .iter_mut()
            .filter(renamed)
            .for_each(|slot| *slot = leaver as u16);
    }

    /// Buckets by slot.
    fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.sockets];
        self.slots
            .iter()
            .for_each(|&slot| counts[usize::from(slot)] += 1);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(buckets: &Buckets) -> usize {
        let counts = buckets.counts();
        counts.iter().max().unwrap() - counts.iter().min().unwrap()
    }

    #[test]
    fn buckets_change_hands_only_where_they_must() {
        let mut buckets = Buckets::new(1);
        // One more socket than there are buckets: it gets none.
        for sockets in 2..=BUCKETS + 1 {
            let before = buckets.slots;
            buckets.join();
            let newcomer = sockets as u16 - 1;
            let moved = before
                .iter()
                .zip(&buckets.slots)
                .filter(|(was, is)| was != is);
            assert!(moved.clone().all(|(_, is)| *is == newcomer));
            assert_eq!(moved.count(), BUCKETS / sockets);
            assert!(spread(&buckets) <= 1, "{sockets}");
        }
        while buckets.sockets > 1 {
            let before = buckets.slots;
            let (leaver, last) = (buckets.sockets / 3, buckets.sockets - 1);
            buckets.leave(leaver);
            for (was, is) in before.iter().zip(buckets.slots) {
                let was = usize::from(*was);
                let renamed = if was == last { leaver } else { was };
                assert!(was == leaver || renamed == usize::from(is));
            }
            assert!(spread(&buckets) <= 1);
        }
    }
}
