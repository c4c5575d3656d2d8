//! When signatures expire. One sentence tells of all that have, and one of all that
//! soon will.

use super::super::names::NameId;
use super::super::records::{Faults, Provenance};
use super::Checker;
use super::signed::Graded;
use crate::wire::RrType;
use crate::wire::rdata::dnssec::Signature;

/// Seconds before a signature expires in which people are told of it: enough to come
/// back from a weekend. Signers renew theirs earlier.
pub const SOON: u32 = 3 * DAY;

const DAY: u32 = 24 * HOUR;
const HOUR: u32 = 3600;

/// The signatures of a zone by their time.
pub(super) struct Times {
    now: u32,
    count: usize,
    expired: Graded<Extreme>,
    soon: Extreme,
    early: Graded<Extreme>,
}

/// Signatures of one kind: how many, and the one for which it is the longest time.
#[derive(Default)]
struct Extreme {
    count: usize,
    most: Option<(u32, Provenance, (NameId, RrType))>,
}

impl Extreme {
    /// Adds those that come behind.
    fn append(&mut self, others: Extreme) {
        let count = self.count + others.count;
        if let Some((seconds, from, of)) = others.most {
            self.add(seconds, from, of);
        }
        self.count = count;
    }

    fn add(&mut self, seconds: u32, from: Provenance, of: (NameId, RrType)) {
        self.count += 1;
        if self.most.is_none_or(|(most, ..)| seconds > most) {
            self.most = Some((seconds, from, of));
        }
    }
}

impl Times {
    pub(super) fn new(now: u32) -> Times {
        Times {
            now,
            count: 0,
            expired: Graded::default(),
            soon: Extreme::default(),
            early: Graded::default(),
        }
    }

    /// Adds those that come behind.
    pub(super) fn append(&mut self, others: Times) {
        self.count += others.count;
        self.expired.append(others.expired, Extreme::append);
        self.soon.append(others.soon);
        self.early.append(others.early, Extreme::append);
    }

    /// Looks at a signature, which others make up for where it is spare.
    pub(super) fn add(
        &mut self,
        from: Provenance,
        signature: &Signature,
        of: (NameId, RrType),
        is_spare: bool,
    ) {
        self.count += 1;
        let (left, until) = distances(signature, self.now);
        if left < 0 {
            self.expired.of(is_spare).add(left.unsigned_abs(), from, of);
        } else if until > 0 {
            self.early.of(is_spare).add(until.unsigned_abs(), from, of);
        } else if left.unsigned_abs() <= SOON {
            self.soon.add(SOON - left.unsigned_abs(), from, of);
        }
    }

    pub(super) fn tell(self, checker: &Checker<'_>, faults: &mut Faults) {
        let of = self.count;
        let counted = |count: usize, one: &str, many: &str| match (count, of) {
            (1, 1) => format!("the only signature {one}"),
            (1, of) => format!("1 of {of} signatures {one}"),
            (count, of) => format!("{count} of {of} signatures {many}"),
        };
        let shown = |(id, rtype): (NameId, RrType)| format!("{rtype} at {}", checker.shown(id));
        let sentence = |Extreme { count, most }, one, many, when: &dyn Fn(u32) -> String| {
            let (seconds, from, set) = most?;
            let counted = counted(count, one, many);
            let sentence = format!("{counted}: that of {} {}", shown(set), when(seconds));
            Some((from, sentence))
        };
        let beside = |is_spare| match is_spare {
            true => ", beside others that make up for it",
            false => "",
        };
        self.expired.each(|expired, is_spare| {
            let when = |ago| format!("{} ago{}", span(ago), beside(is_spare));
            let told = sentence(expired, "has expired", "have expired", &when);
            if let Some((from, sentence)) = told {
                checker.unless_spare(faults, is_spare, from.field(EXPIRATION), sentence);
            }
        });
        self.early.each(|early, is_spare| {
            let (beside, question) = (beside(is_spare), "is this machine's clock right?");
            let when = |ahead| format!("will be in {}{beside}; {question}", span(ahead));
            let told = sentence(early, "is not valid yet", "are not valid yet", &when);
            if let Some((from, sentence)) = told {
                checker.unless_spare(faults, is_spare, from.field(INCEPTION), sentence);
            }
        });
        let when = |gone| format!("in {}", span(SOON - gone));
        let told = sentence(self.soon, "expires soon", "expire soon", &when);
        if let Some((from, sentence)) = told {
            faults.warning(from.field(EXPIRATION), sentence);
        }
    }
}

/// True for a signature that is valid now, and in the seconds that it names, too (RFC
/// 4035 §5.3.1).
pub(super) fn is_timely(signature: &Signature, now: u32) -> bool {
    let (left, until) = distances(signature, now);
    left >= 0 && until <= 0
}

/// Seconds from now until a signature expires, and until it is valid. The numbers go
/// round, so that what is more than 68 years ahead lies behind (RFC 4034 §3.1.5).
fn distances(signature: &Signature, now: u32) -> (i32, i32) {
    let from_now = |time: u32| time.wrapping_sub(now) as i32;
    (
        from_now(signature.expiration),
        from_now(signature.inception),
    )
}

/// Fields of RRSIG.
const EXPIRATION: usize = 4;
const INCEPTION: usize = 5;

/// A time as people say it, in its two largest units.
fn span(seconds: u32) -> String {
    let units = [(DAY, "day"), (HOUR, "hour"), (60, "minute"), (1, "second")];
    let first = units
        .iter()
        .position(|(unit, _)| seconds >= *unit)
        .unwrap_or(3);
    let mut rest = seconds;
    let mut words = Vec::new();
    for (at, (unit, name)) in units.iter().enumerate().skip(first).take(2) {
        let count = rest / unit;
        rest %= unit;
        if count > 0 || at == 3 && words.is_empty() {
            words.push(format!(
                "{count} {name}{}",
                if count == 1 { "" } else { "s" }
            ));
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_its_two_largest_units() {
        for (seconds, words) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (60, "1 minute"),
            (61, "1 minute 1 second"),
            (3599, "59 minutes 59 seconds"),
            (3600, "1 hour"),
            (3659, "1 hour"),
            (2 * DAY + 4 * HOUR + 59, "2 days 4 hours"),
            (DAY + 60, "1 day"),
        ] {
            assert_eq!(span(seconds), words);
        }
    }
}
