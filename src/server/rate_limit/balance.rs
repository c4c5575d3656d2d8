//! The balance: gives the workers that are short of replies for a key what the
//! others leave over. It runs apart from the workers, and only where one of them
//! has said that it is short.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::line::low;
use super::table::{Key, Table};

/// A worker is short of replies for a key, or has none left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Report {
    /// The number of the second.
    pub second: u64,
    /// The key.
    pub key: Key,
}

/// Balances the limits of all workers.
pub struct Balance {
    tables: Vec<Arc<Table>>,
    reports: Vec<Receiver<Report>>,
    /// Replies that pass of a key in a second.
    limit: u32,
    /// Those that a worker passes without asking.
    share: u32,
    /// Kept for its room.
    short: Vec<Report>,
}

impl Balance {
    pub(super) fn new(
        tables: Vec<Arc<Table>>,
        reports: Vec<Receiver<Report>>,
        limit: u32,
        share: u32,
    ) -> Balance {
        Balance {
            tables,
            reports,
            limit,
            share,
            short: Vec::new(),
        }
    }

    /// Settles what workers have reported, `second` being the present one; true
    /// where there was something. To be called every `TICK`.
    pub fn run(&mut self, second: u64) -> bool {
        let reports = self.reports.iter().flat_map(Receiver::try_iter);
        self.short
            .extend(reports.filter(|report| report.second == second));
        // Several workers may be short of the same.
        self.short.sort_unstable();
        self.short.dedup();
        let any = !self.short.is_empty();
        let mut short = std::mem::take(&mut self.short);
        short.drain(..).for_each(|report| self.settle(report));
        self.short = short;
        any
    }

    /// What is left of the limit is divided evenly among those that are short; the
    /// others keep half of what would be theirs of it. They lose the rest before
    /// others get it, so that all together never have more than the limit.
    fn settle(&self, Report { second, key }: Report) {
        let state = |table: &Arc<Table>| table.state(key, second, self.share);
        let states: Vec<_> = self.tables.iter().map(state).collect();
        let Some(left) = self.left(states.iter().map(|(passed, _)| *passed)) else {
            return;
        };
        let is_short = |&(passed, allowed): &(u32, u32)| passed >= low(allowed);
        let keep = left / (2 * self.tables.len() as u32);
        for (table, state) in self.tables.iter().zip(&states) {
            if !is_short(state) {
                table.grant(key, second, state.0 + keep);
            }
        }
        // They have gone on meanwhile.
        let taken = self.tables.iter().zip(&states).map(|(table, before)| {
            let (passed, allowed) = table.state(key, second, self.share);
            match is_short(before) {
                true => passed,
                false => passed.max(allowed),
            }
        });
        let short = states.iter().filter(|state| is_short(state)).count() as u32;
        let (Some(left), Some(_)) = (self.left(taken), short.checked_sub(1)) else {
            return;
        };
        let mut over = left % short;
        for (table, state) in self.tables.iter().zip(&states) {
            if is_short(state) {
                let (passed, _) = table.state(key, second, self.share);
                let one = u32::from(over > 0);
                over -= one;
                table.grant(key, second, passed + left / short + one);
            }
        }
    }

    /// What is left of the limit, if anything is.
    fn left(&self, taken: impl Iterator<Item = u32>) -> Option<u32> {
        let taken: u32 = taken.sum();
        self.limit.checked_sub(taken).filter(|left| *left > 0)
    }
}
