//! Which requests of a flow wait for their answers.

use std::time::Duration;

/// Message ids that a flow has.
const IDS: u64 = 1 << 16;

/// What became of the requests of a flow, by id. Ids are given out in order;
/// one is used again when its request is answered or lost, not before.
///
/// ```text
///   ... answered or lost ... | first ... waiting, answered ... | next
/// ```
pub(super) struct Ledger {
    /// The oldest request that may be waiting.
    first: u64,
    /// The request to come. Its id is its low 16 bits.
    pub(super) next: u64,
    /// Requests between these that are waiting.
    pub(super) waiting: usize,
    /// By id, when the request was sent, or `ANSWERED`, or `LOST`. Memory that
    /// is not used yet takes no room.
    entries: Vec<u64>,
}

const ANSWERED: u64 = u64::MAX;
const LOST: u64 = u64::MAX - 1;

pub(super) enum Fate {
    Answered(Duration),
    Duplicate,
    Late,
}

impl Ledger {
    pub(super) fn new() -> Ledger {
        Ledger {
            first: 0,
            next: 0,
            waiting: 0,
            entries: vec![0; IDS as usize],
        }
    }

    fn entry(&mut self, sequence: u64) -> &mut u64 {
        &mut self.entries[(sequence % IDS) as usize]
    }

    /// Requests that there are ids for.
    pub(super) fn room(&self) -> usize {
        (IDS - (self.next - self.first)) as usize
    }

    pub(super) fn enter(&mut self, due: Duration) {
        *self.entry(self.next) = due.as_nanos() as u64;
        self.next += 1;
        self.waiting += 1;
    }

    /// The request that a reply's id stands for: the last one that had it.
    pub(super) fn sequence(&self, reply: &[u8]) -> Option<u64> {
        let id = u16::from_be_bytes(*reply.first_chunk()?);
        let last = self.next.checked_sub(1)?;
        last.checked_sub(u64::from((last as u16).wrapping_sub(id)))
    }

    pub(super) fn settle(&mut self, sequence: u64, now: Duration) -> Fate {
        let fate = match std::mem::replace(self.entry(sequence), ANSWERED) {
            ANSWERED => Fate::Duplicate,
            LOST => Fate::Late,
            sent => {
                self.waiting -= 1;
                Fate::Answered(now.saturating_sub(Duration::from_nanos(sent)))
            }
        };
        while self.first < self.next && *self.entry(self.first) == ANSWERED {
            self.first += 1;
        }
        fate
    }

    /// Writes off what was sent before a point in time; returns how many.
    pub(super) fn give_up(&mut self, before: Duration) -> u64 {
        let before = u64::try_from(before.as_nanos()).unwrap_or(LOST);
        let mut lost = 0;
        while self.first < self.next {
            let entry = self.entry(self.first);
            if *entry != ANSWERED {
                if *entry >= before {
                    break;
                }
                *entry = LOST;
                lost += 1;
            }
            self.first += 1;
        }
        self.waiting -= lost as usize;
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn enter(ledger: &mut Ledger, count: usize, due: Duration) {
        (0..count).for_each(|_| ledger.enter(due));
    }

    fn reply(id: u16) -> [u8; 2] {
        id.to_be_bytes()
    }

    #[test]
    fn an_id_stands_for_the_last_request_that_had_it() {
        let mut ledger = Ledger::new();
        assert_eq!(ledger.sequence(&reply(0)), None);
        enter(&mut ledger, 3, MS);
        assert_eq!(ledger.sequence(&reply(2)), Some(2));
        assert_eq!(ledger.sequence(&reply(3)), None);
        assert_eq!(ledger.sequence(&[0]), None);
        assert_eq!(ledger.give_up(2 * MS), 3);
        enter(&mut ledger, IDS as usize, 3 * MS);
        assert_eq!(ledger.sequence(&reply(2)), Some(IDS + 2));
        assert_eq!(ledger.sequence(&reply(3)), Some(3));
    }

    #[test]
    fn each_request_is_answered_once_or_lost() {
        let mut ledger = Ledger::new();
        enter(&mut ledger, 4, MS);
        assert!(matches!(ledger.settle(1, 3 * MS), Fate::Answered(latency) if latency == 2 * MS));
        assert!(matches!(ledger.settle(1, 3 * MS), Fate::Duplicate));
        assert_eq!((ledger.waiting, ledger.first), (3, 0));
        // Sent before, not at, that time.
        assert_eq!(ledger.give_up(MS), 0);
        enter(&mut ledger, 1, 2 * MS);
        assert_eq!(ledger.give_up(2 * MS), 3);
        assert_eq!((ledger.waiting, ledger.first), (1, 4));
        assert!(matches!(ledger.settle(0, 3 * MS), Fate::Late));
        assert!(matches!(ledger.settle(0, 3 * MS), Fate::Duplicate));
        assert!(matches!(ledger.settle(4, 3 * MS), Fate::Answered(_)));
        assert_eq!((ledger.waiting, ledger.first), (0, 5));
    }

    #[test]
    fn an_id_is_used_again_when_its_request_is_settled() {
        let mut ledger = Ledger::new();
        enter(&mut ledger, IDS as usize - 1, MS);
        assert_eq!(ledger.room(), 1);
        enter(&mut ledger, 1, MS);
        assert_eq!(ledger.room(), 0);
        // The oldest holds up those behind it.
        ledger.settle(1, MS);
        assert_eq!(ledger.room(), 0);
        ledger.settle(0, MS);
        assert_eq!(ledger.room(), 2);
        assert_eq!(ledger.give_up(Duration::MAX), IDS - 2);
        assert_eq!((ledger.room(), ledger.waiting), (IDS as usize, 0));
    }
}
