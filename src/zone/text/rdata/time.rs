//! Time in master files: TTLs and periods with their units, and the calendar
//! times of signatures. Nothing here reads a clock.

/// The largest TTL (RFC 2181 §8).
pub const MAX_TTL: u32 = i32::MAX as u32;

/// A TTL past `MAX_TTL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_TTL} seconds (RFC 2181 §8)")]
pub struct TtlTooLarge;

/// Reads a TTL as `parse_period` does. `None` where the text is something
/// else, which may yet be a class, a type or a name.
#[inline]
pub fn parse_ttl(text: &[u8]) -> Option<Result<u32, TtlTooLarge>> {
    let seconds = parse_period(text)?;
    let is_ttl = seconds <= u64::from(MAX_TTL);
    Some(is_ttl.then_some(seconds as u32).ok_or(TtlTooLarge))
}

/// Reads seconds: a number, or numbers with units such as `1h30m` or `2W`.
#[inline]
pub(super) fn parse_period(text: &[u8]) -> Option<u64> {
    if !text.first()?.is_ascii_digit() {
        return None;
    }
    let mut total = 0u64;
    let mut has_units = false;
    let mut open = None;
    for &octet in text {
        if octet.is_ascii_digit() {
            let digit = u64::from(octet - b'0');
            open = Some(
                open.unwrap_or(0u64)
                    .saturating_mul(10)
                    .saturating_add(digit),
            );
        } else {
            let seconds = open.take()?.saturating_mul(unit(octet)?);
            total = total.saturating_add(seconds);
            has_units = true;
        }
    }
    match open {
        None => Some(total),
        // `1h30` leaves open what the 30 are.
        Some(_) if has_units => None,
        number => number,
    }
}

fn unit(letter: u8) -> Option<u64> {
    match letter.to_ascii_lowercase() {
        b's' => Some(1),
        b'm' => Some(60),
        b'h' => Some(60 * 60),
        b'd' => Some(24 * 60 * 60),
        b'w' => Some(7 * 24 * 60 * 60),
        _ => None,
    }
}

const DAY: u32 = 24 * 60 * 60;

/// Reads a signature's time: `YYYYMMDDHHmmSS`, or seconds since 1970 in up to
/// ten digits (RFC 4034 §3.2). Only times that 32 bits hold are accepted,
/// which ends early in 2106.
pub(super) fn parse_timestamp(text: &[u8]) -> Option<u32> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |digits: &[u8]| super::reader::number(digits).unwrap_or(u64::MAX);
    if text.len() != 14 {
        let seconds = (1..=10).contains(&text.len()).then(|| number(text))?;
        return u32::try_from(seconds).ok();
    }
    let (year, rest) = text.split_at(4);
    let [month, day, hour, minute, second] = std::array::from_fn(|i| number(&rest[2 * i..][..2]));
    let year = number(year);
    if !(1970..=2106).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    let (year, month) = (year as u32, month as u32);
    let in_month = days_before(year, month + 1) - days_before(year, month);
    if !(1..=u64::from(in_month)).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = u64::from(days_before(year, month)) + day - 1;
    u32::try_from(days * u64::from(DAY) + hour * 3600 + minute * 60 + second).ok()
}

/// Writes seconds since 1970 as `YYYYMMDDHHmmSS`.
pub(super) fn print_timestamp(seconds: u32, out: &mut String) {
    let (days, time) = (seconds / DAY, seconds % DAY);
    // The year is right or one too early: no year is longer than 366 days.
    let mut year = 1970 + days / 366;
    while days_before(year + 1, 1) <= days {
        year += 1;
    }
    let mut month = 1;
    while days_before(year, month + 1) <= days {
        month += 1;
    }
    let day = days - days_before(year, month) + 1;
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    out.push_str(&format!(
        "{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}"
    ));
}

/// Days from the start of 1970 to that of a month; month 13 is the next
/// January.
fn days_before(year: u32, month: u32) -> u32 {
    const BEFORE_MONTH: [u32; 13] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];
    let past = year - 1;
    let leap_days = past / 4 - past / 100 + past / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
    let is_leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let february = u32::from(is_leap && month > 2);
    (year - 1970) * 365 + leap_days + BEFORE_MONTH[month as usize - 1] + february
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttls_with_and_without_units() {
        for (text, seconds) in [
            ("0", 0),
            ("3600", 3600),
            ("1h30m", 5400),
            ("2W", 1_209_600),
            ("1w1d1h1m1s", 694_861),
            ("2147483647", MAX_TTL),
            ("0w2147483647S", MAX_TTL),
        ] {
            assert_eq!(parse_ttl(text.as_bytes()), Some(Ok(seconds)), "{text}");
        }
        let many = "9".repeat(400) + "w";
        for text in ["2147483648", "4294967296", "3551w", "68y", &many] {
            let too_large = (!text.ends_with('y')).then_some(Err(TtlTooLarge));
            assert_eq!(parse_ttl(text.as_bytes()), too_large, "{text}");
        }
        for text in ["", "IN", "h", "1h30", "1hh", "-1", "1.5h", "1 h", "1\n"] {
            assert_eq!(parse_ttl(text.as_bytes()), None, "{text}");
        }
    }

    fn printed(seconds: u32) -> String {
        let mut out = String::new();
        print_timestamp(seconds, &mut out);
        out
    }

    #[test]
    fn known_times() {
        for (text, seconds) in [
            ("19700101000000", 0),
            ("20000229235959", 951_868_799),
            ("20030322173103", 1_048_354_263),
            ("20240229000000", 1_709_164_800),
            ("20380119031407", 2_147_483_647),
            ("21000228235959", 4_107_542_399),
            ("21000301000000", 4_107_542_400),
            ("21060207062815", u32::MAX),
        ] {
            assert_eq!(parse_timestamp(text.as_bytes()), Some(seconds), "{text}");
            assert_eq!(printed(seconds), text);
        }
        assert_eq!(parse_timestamp(b"4294967295"), Some(u32::MAX));
        assert_eq!(parse_timestamp(b"1"), Some(1));
    }

    #[test]
    fn no_such_times() {
        for text in [
            "",
            "4294967296",
            "00000000001",
            "2003032217310",
            "200303221731030",
            "2003032217310x",
            "19691231235959",
            "21060207062816",
            "99991231235959",
            "20030022173103",
            "20031322173103",
            "20030300173103",
            "20030332173103",
            "20230229000000",
            "21000229000000",
            "20030322240000",
            "20030322006000",
            "20030322000060",
        ] {
            assert_eq!(parse_timestamp(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn every_day_comes_back() {
        let mut before = String::new();
        for day in (0..=u32::MAX / DAY).step_by(if cfg!(miri) { 499 } else { 1 }) {
            let seconds = day * DAY + 4 * 3600;
            let text = printed(seconds);
            assert!(before < text);
            assert_eq!(parse_timestamp(text.as_bytes()), Some(seconds));
            before = text;
        }
    }
}
