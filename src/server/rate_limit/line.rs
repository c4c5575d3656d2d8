//! A cache line of a table: counts of up to four keys, which the worker writes,
//! and what it was granted for keys, which the balance writes. All that is
//! decided about a reply is decided here.
//!
//! ```text
//! bits of a count or a grant    63 … 40   39 … 28   27 … 20    19 … 0
//!                               tag       window    withheld   replies
//! ```
//!
//! Replies are those that passed in the window, or of a grant those that may.
//!
//! Where a fifth key comes in the same window, it takes the place of the one that
//! has passed least, and its count with it (as in the space-saving algorithm of
//! Metwally and others). So counts never fall within a window, and keys
//! that push each other out get no more than four keys would. What a key
//! inherits is gone with the window.
//!
//! Orderings: all `Relaxed`. Each word says by itself what it is about, and has
//! one writer: counts the worker, grants the balance. Either may read the other's
//! a moment late, which costs or gives a few replies.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Keys that a line has room for.
pub const KEYS: usize = 4;
/// The highest limit that a count can hold.
pub const MAX_REPLIES: u32 = (1 << REPLIES_BITS) - 1;

/// Below this a key is reported when replies are withheld, and not before: else
/// every client that asks once would be.
const SMALL: u32 = 4;
/// Of the replies that are withheld, every so manieth is reported, in case that a
/// report was lost.
const REPORTED: u8 = 16;
const REPLIES_BITS: u32 = 20;
const WITHHELD_BITS: u32 = 8;
const WINDOW_BITS: u32 = 12;
const WINDOW_AT: u32 = REPLIES_BITS + WITHHELD_BITS;
const TAG_AT: u32 = WINDOW_AT + WINDOW_BITS;
const ONE_WITHHELD: u64 = 1 << REPLIES_BITS;
const WITHHELD: u64 = ((1 << WITHHELD_BITS) - 1) << REPLIES_BITS;

/// A key within its line, and a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(u64);

impl Identity {
    /// Of a key's hash, whose lower bits have chosen the line, and the number of a
    /// second.
    #[inline]
    pub fn new(hash: u64, second: u64) -> Identity {
        let window = second & ((1 << WINDOW_BITS) - 1);
        Identity(hash >> TAG_AT << TAG_AT | window << WINDOW_AT)
    }

    #[inline]
    fn is_of(self, word: u64) -> bool {
        (word ^ self.0) >> WINDOW_AT == 0
    }

    #[inline]
    fn has_tag_of(self, word: u64) -> bool {
        (word ^ self.0) >> TAG_AT == 0
    }

    #[inline]
    fn has_window_of(self, word: u64) -> bool {
        (word ^ self.0) << (64 - TAG_AT) >> (64 - WINDOW_BITS) == 0
    }
}

/// What is to be done with a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It passes.
    Passed,
    /// It passes, and there is not much left for the key, or nothing: to be
    /// reported.
    PassedLow,
    /// It does not pass.
    Withheld {
        /// So many of the key did not before it, modulo 256.
        before: u8,
        /// It is to be reported that there is nothing left.
        report: bool,
    },
}

/// Four keys.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Line {
    counts: [AtomicU64; KEYS],
    grants: [AtomicU64; KEYS],
}

impl Line {
    /// Decides about a reply, for the worker whose line it is. Where nothing was
    /// granted, `share` replies pass in a window.
    #[inline]
    pub fn take(&self, identity: Identity, share: u32) -> Taken {
        let (place, count) = self.find(identity);
        let (passed, allowed) = (replies(count), self.allowed(identity, share));
        if passed >= allowed {
            let withheld = count & WITHHELD;
            let next = count & !WITHHELD | withheld.wrapping_add(ONE_WITHHELD) & WITHHELD;
            self.counts[place].store(next, Relaxed);
            let before = (withheld >> REPLIES_BITS) as u8;
            let report = allowed < SMALL || before.is_multiple_of(REPORTED);
            return Taken::Withheld { before, report };
        }
        self.counts[place].store(count + 1, Relaxed);
        match passed + 1 {
            now if allowed >= SMALL && (now == allowed || now == low(allowed)) => Taken::PassedLow,
            _ => Taken::Passed,
        }
    }

    /// How many replies of a key have passed, and how many may.
    pub fn state(&self, identity: Identity, share: u32) -> (u32, u32) {
        let counts = self.counts.iter().map(|count| count.load(Relaxed));
        let passed = counts.filter(|count| identity.is_of(*count)).map(replies);
        (passed.max().unwrap_or(0), self.allowed(identity, share))
    }

    /// Has so many replies of a key pass in its window, for the balance. Where more
    /// than four keys of a line are granted something in a window, one falls back
    /// to its share.
    pub fn grant(&self, identity: Identity, replies: u32) {
        let rank = |word: u64| match () {
            _ if identity.is_of(word) => 0,
            _ if !identity.has_window_of(word) => 1,
            _ => 2,
        };
        let place = (0..KEYS).min_by_key(|place| rank(self.grants[*place].load(Relaxed)));
        let word = identity.0 | u64::from(replies.min(MAX_REPLIES));
        self.grants[place.unwrap_or(0)].store(word, Relaxed);
    }

    #[inline]
    fn allowed(&self, identity: Identity, share: u32) -> u32 {
        for grant in &self.grants {
            let grant = grant.load(Relaxed);
            if identity.is_of(grant) {
                return replies(grant);
            }
        }
        share
    }

    /// The place of the key, or the one that it takes, and its count so far.
    #[inline]
    fn find(&self, identity: Identity) -> (usize, u64) {
        let (mut least, mut least_rank) = (0, u64::MAX);
        let mut inherited = 0;
        for (place, count) in self.counts.iter().enumerate() {
            let count = count.load(Relaxed);
            if identity.is_of(count) {
                return (place, count);
            }
            if identity.has_tag_of(count) {
                return (place, identity.0 | count & WITHHELD);
            }
            let passed = match identity.has_window_of(count) {
                true => u64::from(replies(count)),
                false => 0,
            };
            // A place that is free is better than one where nothing has passed.
            let rank = 2 * passed + u64::from(identity.has_window_of(count));
            if rank < least_rank {
                (least, least_rank, inherited) = (place, rank, passed);
            }
        }
        (least, identity.0 | inherited)
    }
}

/// The number of replies at which a quarter is left: early enough for more to be
/// granted before there is nothing.
#[inline]
pub fn low(allowed: u32) -> u32 {
    allowed - allowed / 4
}

#[inline]
fn replies(word: u64) -> u32 {
    word as u32 & MAX_REPLIES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64, second: u64) -> Identity {
        Identity::new(number << TAG_AT, second)
    }

    fn passed(line: &Line, identity: Identity, asked: usize, share: u32) -> usize {
        let taken = (0..asked).map(|_| line.take(identity, share));
        let passed = taken.filter(|taken| !matches!(taken, Taken::Withheld { .. }));
        passed.count()
    }

    #[test]
    fn a_key_gets_its_share_in_each_window_and_what_is_granted() {
        let line = Line::default();
        for second in [0, 1, 4095, 4096, 1_700_000_000] {
            assert_eq!(passed(&line, key(7, second), 100, 10), 10, "{second}");
        }
        line.grant(key(7, 2), 30);
        assert_eq!(passed(&line, key(7, 2), 100, 10), 30);
        line.grant(key(7, 2), 35);
        assert_eq!(passed(&line, key(7, 2), 100, 10), 5);
        assert_eq!(line.state(key(7, 2), 10), (35, 35));
        assert_eq!(passed(&line, key(7, 3), 100, 10), 10);
        assert_eq!(line.state(key(7, 4), 10), (0, 10));
    }

    #[test]
    fn a_worker_says_when_a_quarter_is_left_and_when_nothing_is() {
        let line = Line::default();
        let taken: Vec<_> = (0..10).map(|_| line.take(key(1, 1), 8)).collect();
        let expected = |at| match at {
            5 | 7 => Taken::PassedLow,
            8 | 9 => Taken::Withheld {
                before: at - 8,
                report: at == 8,
            },
            _ => Taken::Passed,
        };
        assert_eq!(taken, (0..10).map(expected).collect::<Vec<_>>());
    }

    #[test]
    fn withheld_replies_are_counted_from_window_to_window() {
        let line = Line::default();
        for second in 0..300 {
            assert_eq!(line.take(key(1, second), 1), Taken::Passed);
            let withheld = Taken::Withheld {
                before: second as u8,
                report: true,
            };
            assert_eq!(line.take(key(1, second), 1), withheld);
        }
    }

    #[test]
    fn keys_that_push_each_other_out_get_no_more_than_four() {
        let line = Line::default();
        let all: usize = (0..10_000)
            .map(|number| passed(&line, key(1 + number % 100, 5), 1, 10))
            .sum();
        assert_eq!(all, 4 * 10);
    }

    #[test]
    fn an_innocent_key_among_flooders_has_its_share_in_the_next_window() {
        let line = Line::default();
        for flooder in 1..=8 {
            passed(&line, key(flooder, 5), 100, 10);
        }
        assert_eq!(passed(&line, key(99, 5), 10, 10), 0);
        assert_eq!(passed(&line, key(99, 6), 10, 10), 10);
    }

    #[test]
    fn a_flooder_in_a_line_that_is_not_full_hurts_nobody() {
        let line = Line::default();
        passed(&line, key(1, 5), 1000, 10);
        for other in 2..=4 {
            assert_eq!(passed(&line, key(other, 5), 10, 10), 10);
        }
    }

    #[test]
    fn the_fifth_grant_of_a_window_costs_one_its_own() {
        let line = Line::default();
        for number in 1..=5 {
            line.grant(key(number, 1), 50);
        }
        let granted = (1..=5).filter(|number| line.state(key(*number, 1), 10).1 == 50);
        assert_eq!(granted.count(), 4);
        line.grant(key(1, 2), 50);
        assert_eq!(line.state(key(1, 2), 10).1, 50);
    }
}
