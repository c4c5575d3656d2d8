//! Places on earth in text (RFC 1876 §3): degrees, minutes and seconds, and
//! metres.

use super::reader::{FieldFault, Reader, number};
use super::string::push;
use crate::wire::rdata::loc::{DEGREE, ORIGIN, parts};

/// Sea level is this far above the lowest altitude, in centimetres.
const SEA_LEVEL: i64 = 10_000_000;
/// The largest size, in centimetres: 9e9.
const MAX_SIZE: u64 = 9_000_000_000;
/// Size, horizontal and vertical precision where the text has none: 1 m, 10 km
/// and 10 m (RFC 1876 §3).
const DEFAULTS: [(&str, u8); 3] = [
    ("size", 0x12),
    ("horizontal precision", 0x16),
    ("vertical precision", 0x13),
];

/// Reads a whole location.
pub(super) fn read(reader: &mut Reader<'_, '_>) -> Result<(), FieldFault> {
    let latitude = read_angle(reader, "latitude", 90, [b'N', b'S'])?;
    let longitude = read_angle(reader, "longitude", 180, [b'E', b'W'])?;
    let altitude = read_altitude(reader)?;
    reader.out.push(0);
    for (field, default) in DEFAULTS {
        reader.field = field;
        let size = if reader.is_empty() {
            default
        } else {
            read_size(reader)?
        };
        reader.out.push(size);
    }
    for number in [latitude, longitude, altitude] {
        reader.out.extend_from_slice(&number.to_be_bytes());
    }
    Ok(())
}

/// Reads degrees, minutes if there are any, seconds if there are any, and the
/// letter of one of two directions, the first of which counts upwards.
fn read_angle(
    reader: &mut Reader<'_, '_>,
    field: &'static str,
    max_degrees: u64,
    directions: [u8; 2],
) -> Result<u32, FieldFault> {
    reader.field = field;
    let degrees = reader.token()?.text;
    let mut angle = match number(degrees) {
        Some(degrees) if degrees <= max_degrees => degrees * DEGREE,
        _ => return Err(reader.fault(format_args!("not degrees, 0 to {max_degrees}"))),
    };
    // Minutes are whole; seconds have up to three decimals.
    for (decimals, end, unit, limits) in [
        (0, 60, 60_000, "minutes, 0 to 59"),
        (3, 60_000, 1, "seconds, 0 to 59.999"),
    ] {
        let text = reader.token()?.text;
        if let Some(is_up) = direction(text, directions) {
            return Ok(place(angle, is_up));
        }
        let part = fixed_point(text, decimals).filter(|&part| part < end);
        angle += part.ok_or_else(|| reader.fault(format_args!("not {limits}")))? * unit;
        if angle > max_degrees * DEGREE {
            return Err(reader.fault(format_args!("more than {max_degrees} degrees in all")));
        }
    }
    let [up, down] = directions.map(char::from);
    let is_up = direction(reader.token()?.text, directions);
    let is_up = is_up.ok_or_else(|| reader.fault(format_args!("neither {up} nor {down}")))?;
    Ok(place(angle, is_up))
}

fn direction(text: &[u8], [up, down]: [u8; 2]) -> Option<bool> {
    let is_up = text.eq_ignore_ascii_case(&[up]);
    (is_up || text.eq_ignore_ascii_case(&[down])).then_some(is_up)
}

fn place(angle: u64, is_up: bool) -> u32 {
    let angle = angle as i64;
    (if is_up {
        ORIGIN + angle
    } else {
        ORIGIN - angle
    }) as u32
}

fn read_altitude(reader: &mut Reader<'_, '_>) -> Result<u32, FieldFault> {
    reader.field = "altitude";
    let text = without_unit(reader.token()?.text);
    let (is_below, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let metres = fixed_point(text, 2).and_then(|height| i64::try_from(height).ok());
    let height = metres.map(|height| if is_below { -height } else { height });
    let altitude = height.and_then(|height| u32::try_from(height.checked_add(SEA_LEVEL)?).ok());
    altitude.ok_or_else(|| reader.fault("not metres, -100000.00 to 42849672.95"))
}

/// Reads metres as one digit and a power of ten, the digits behind it cut off.
fn read_size(reader: &mut Reader<'_, '_>) -> Result<u8, FieldFault> {
    let text = without_unit(reader.token()?.text);
    let size = fixed_point(text, 2).filter(|&size| size <= MAX_SIZE);
    let mut digit = size.ok_or_else(|| reader.fault("not metres, 0 to 90000000.00"))?;
    let mut exponent = 0;
    while digit > 9 {
        digit /= 10;
        exponent += 1;
    }
    Ok((digit as u8) << 4 | exponent)
}

fn without_unit(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"m")
        .or(text.strip_suffix(b"M"))
        .unwrap_or(text)
}

/// A number with up to so many decimals, in units of the last of them.
fn fixed_point(text: &[u8], decimals: u32) -> Option<u64> {
    let (whole, fraction) = match text.iter().position(|&octet| octet == b'.') {
        Some(point) if decimals > 0 => (&text[..point], &text[point + 1..]),
        _ => (text, &b""[..]),
    };
    let missing = decimals.checked_sub(fraction.len() as u32)?;
    let fraction = if fraction.is_empty() {
        0
    } else {
        number(fraction)?
    };
    let whole = number(whole)?.checked_mul(10u64.pow(decimals))?;
    whole.checked_add(fraction * 10u64.pow(missing))
}

/// Writes a valid location.
pub(super) fn print(octets: &[u8], out: &mut String) {
    let Some(parts) = parts(octets) else {
        return;
    };
    print_angle(parts.latitude, ['N', 'S'], out);
    print_angle(parts.longitude, ['E', 'W'], out);
    let height = parts.altitude - SEA_LEVEL;
    let sign = if height < 0 { "-" } else { "" };
    let (metres, rest) = (height.abs() / 100, height.abs() % 100);
    push(format_args!("{sign}{metres}.{rest:02}m"), out);
    for size in parts.sizes {
        print_size(*size, out);
    }
}

fn print_angle(place: i64, [up, down]: [char; 2], out: &mut String) {
    let direction = if place >= ORIGIN { up } else { down };
    let angle = place.abs_diff(ORIGIN);
    let (degrees, minutes) = (angle / DEGREE, angle / 60_000 % 60);
    let (seconds, rest) = (angle / 1000 % 60, angle % 1000);
    push(
        format_args!("{degrees} {minutes} {seconds}.{rest:03} {direction} "),
        out,
    );
}

/// Writes a size in metres, its decimals only where it has any.
fn print_size(size: u8, out: &mut String) {
    let centimetres = u64::from(size >> 4) * 10u64.pow(u32::from(size & 15));
    let (metres, rest) = (centimetres / 100, centimetres % 100);
    match metres {
        0 => push(format_args!(" 0.{rest:02}m"), out),
        _ => push(format_args!(" {metres}m"), out),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{fault, reprinted};
    use crate::wire::RrType;

    fn printed(text: &str) -> String {
        reprinted(RrType::LOC, text)
    }

    #[test]
    fn defaults_fill_what_is_left_out() {
        // The examples of RFC 1876 §4.
        for (text, full) in [
            (
                "42 21 54 N 71 06 18 W -24m 30m",
                "42 21 54.000 N 71 6 18.000 W -24.00m 30m 10000m 10m",
            ),
            (
                "42 21 43.952 N 71 5 6.344 W -24m 1m 200m",
                "42 21 43.952 N 71 5 6.344 W -24.00m 1m 200m 10m",
            ),
            (
                "52 14 05 N 00 08 50 E 10m",
                "52 14 5.000 N 0 8 50.000 E 10.00m 1m 10000m 10m",
            ),
            (
                "32 7 19 S 116 2 25 e 10",
                "32 7 19.000 S 116 2 25.000 E 10.00m 1m 10000m 10m",
            ),
            ("0 N 180 W 0.1 .5 0.05m 90000000.00m", ""),
        ] {
            if full.is_empty() {
                assert_eq!(fault(RrType::LOC, text).token, 5);
            } else {
                assert_eq!(printed(text), full);
                assert_eq!(printed(full), full);
            }
        }
    }

    #[test]
    fn limits_hold_on_both_sides() {
        let edge = "90 0 0.000 N 180 0 0.000 W -100000.00m 0.00m 0.01m 90000000m";
        assert_eq!(printed(edge), edge);
        let edge = "89 59 59.999 S 0 59 0.001 E 42849672.95m 9m 0.90m 1m";
        assert_eq!(printed(edge), edge);
        // One digit of precision: the rest is cut off.
        assert!(printed("0 N 0 E 0 1999m 0.99 15m").ends_with("1000m 0.90m 10m"));
        for (text, token) in [
            ("91 N 0 E 0", 0),
            ("90 0 0.001 N 0 E 0", 2),
            ("89 60 N 0 E 0", 1),
            ("89 1.5 N 0 E 0", 1),
            ("89 18446744073709551615 N 0 E 0", 1),
            ("89 0 18446744073709551615 N 0 E 0", 2),
            ("89 59 60 N 0 E 0", 2),
            ("89 59 59.9999 N 0 E 0", 2),
            ("89 59 59 59 N 0 E 0", 3),
            ("89 E 0 E 0", 1),
            ("89 N 181 E 0", 2),
            ("89 N 0 E -100000.01", 4),
            ("89 N 0 E 42849672.96", 4),
            ("89 N 0 E 99999999999999999999", 4),
            ("89 N 0 E 0 90000000.01m", 5),
            ("89 N 0 E 0 -1m", 5),
            ("89 N 0 E 0 1m 1m 1m 1m", 8),
            ("89 N 0", 3),
            ("89 N 0 E", 4),
        ] {
            assert_eq!(fault(RrType::LOC, text).token, token, "{text}");
        }
    }
}
