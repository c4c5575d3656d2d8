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
        let left = signature.expiration.wrapping_sub(self.now) as i32;
        let until = signature.inception.wrapping_sub(self.now) as i32;
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
        let beside = |is_spare| match is_spare {
            true => ", beside others that make up for it",
            false => "",
        };
        self.expired.each(|Extreme { count, most }, is_spare| {
            if let Some((ago, from, set)) = most {
                let sentence = format!(
                    "{}: that of {} {} ago{}",
                    counted(count, "has expired", "have expired"),
                    shown(set),
                    span(ago),
                    beside(is_spare)
                );
                checker.unless_spare(faults, is_spare, from.field(EXPIRATION), sentence);
            }
        });
        self.early.each(|Extreme { count, most }, is_spare| {
            if let Some((ahead, from, set)) = most {
                let sentence = format!(
                    "{}: that of {} will be in {}{}; is this machine's clock right?",
                    counted(count, "is not valid yet", "are not valid yet"),
                    shown(set),
                    span(ahead),
                    beside(is_spare)
                );
                checker.unless_spare(faults, is_spare, from.field(INCEPTION), sentence);
            }
        });
        if let Some((gone, from, set)) = self.soon.most {
            let sentence = format!(
                "{}: that of {} in {}",
                counted(self.soon.count, "expires soon", "expire soon"),
                shown(set),
                span(SOON - gone)
            );
            faults.warning(from.field(EXPIRATION), sentence);
        }
    }
}

/// True for a signature that is valid now, and in the seconds that it names, too (RFC
/// 4035 §5.3.1). The numbers go round, so that what is more than 68 years ahead lies
/// behind (RFC 4034 §3.1.5).
pub fn is_timely(signature: &Signature, now: u32) -> bool {
    let left = signature.expiration.wrapping_sub(now) as i32;
    let until = signature.inception.wrapping_sub(now) as i32;
    left >= 0 && until <= 0
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
