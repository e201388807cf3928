//! Numbers and lengths of time as go-yaml v2 reads them into Go's `int`, `int64` and `time.Duration`, as docker_auth does.
//!
//! Templates bring forth forms that nobody types: Helm writes `1e+06` for a million. A number with a fraction is refused:
//! Go would cut it off without a word, and half a second would be none.

use std::time::Duration;

use crate::refused::Refusal;

/// Go's units, in nanoseconds. Micro is written with either of the two letters that look alike.
const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];
/// The longest time that Go's type holds, in nanoseconds.
const LONGEST: u64 = i64::MAX.unsigned_abs();

/// A whole number in any form that go-yaml takes: `900`, `1_000`, `0x384`, `010` (8), `0o7`, `0b11`, `900.0`, `1e+06`.
/// `None` for anything else, a number with a fraction, and one beyond 64 bits.
pub fn whole(text: &str) -> Option<i64> {
    match text.bytes().next()? {
        b'.' => float(text),
        b'+' | b'-' | b'0'..=b'9' => {
            let plain = text.replace('_', "");
            integer(&plain).or_else(|| float(&plain))
        }
        _ => None,
    }
}

/// Go's `strconv.ParseInt` with base 0, without underscores.
fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("-", digits) => ("-", digits),
        ("+", digits) => ("", digits),
        _ => ("", text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(digits) = lower.strip_prefix("0x") {
        (16, digits)
    } else if let Some(digits) = lower.strip_prefix("0b") {
        (2, digits)
    } else if let Some(digits) = lower.strip_prefix("0o") {
        (8, digits)
    } else if let Some(digits) = lower.strip_prefix('0').filter(|digits| !digits.is_empty()) {
        (8, digits)
    } else {
        (10, lower.as_str())
    };
    // The library would take a second sign.
    digits.bytes().all(|digit| digit.is_ascii_alphanumeric()).then_some(())?;
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

/// A number in the form that YAML has for fractions and powers of ten, if it is whole. `08` is one, and is 8.
fn float(text: &str) -> Option<i64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (number, power) =
        unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(number, power)| (number, Some(power)));
    let (before, after) = number.split_once('.').unwrap_or((number, ""));
    let are_digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    let power_is_one = power.is_none_or(|power| {
        let digits = power.strip_prefix(['+', '-']).unwrap_or(power);
        !digits.is_empty() && are_digits(digits)
    });
    if !are_digits(before) || !are_digits(after) || (before.is_empty() && after.is_empty()) || !power_is_one {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "the number is whole, and below 2^63")]
    (value.fract() == 0.0 && value.abs() < 9.2e18).then_some(value as i64)
}

/// A length of time: a number is seconds, as of docker_auth's `expiration`; otherwise Go's form, `15m`, `1h30m`, `1.5h`,
/// `500ms`.
///
/// # Errors
/// Says what to write instead.
pub fn duration(text: &str) -> Result<Duration, Refusal> {
    let wrong = || Refusal::is("not a duration; write seconds (900) or a value with units (\"15m\", \"1h30m\")");
    let text = text.trim();
    if let Some(seconds) = whole(text) {
        return u64::try_from(seconds).map(Duration::from_secs).map_err(|_| wrong());
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let number_ends = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at_checked(number_ends).ok_or_else(wrong)?;
        let unit_ends = tail.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_ends).ok_or_else(wrong)?;
        let unit =
            UNITS.iter().find(|(name, _)| *name == unit).map(|(_, nanoseconds)| *nanoseconds).ok_or_else(wrong)?;
        let part = nanoseconds(number, unit).ok_or_else(wrong)?;
        total = total.checked_add(part).filter(|total| *total <= LONGEST).ok_or_else(wrong)?;
        rest = tail;
    }
    Ok(Duration::from_nanos(total))
}

/// A number from 1 to `most`; `what` is what there may be so many of.
///
/// # Errors
/// Says what to write instead.
pub fn count(text: &str, most: usize, what: &str) -> Result<usize, String> {
    let number =
        whole(text).and_then(|number| usize::try_from(number).ok()).filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("write how many {what}, from 1 to {most}"))
}

/// The time that an answer is waited for: at least 50 ms, and `longest` at most, in whole seconds. `usual` is what an
/// administrator is told to write.
///
/// # Errors
/// Says what to write instead.
pub fn waiting_time(text: &str, longest: Duration, usual: &str) -> Result<Duration, Refusal> {
    match duration(text)? {
        time if time < Duration::from_millis(50) => {
            Err(Refusal::says(format!("no server answers within that; {usual} is usual")))
        }
        time if time > longest => Err(Refusal::says(format!(
            "clients do not wait that long for a token; write {}s or less, {usual} is usual",
            longest.as_secs()
        ))),
        time => Ok(time),
    }
}

/// So many units; what is less than a nanosecond is cut off.
fn nanoseconds(number: &str, unit: u64) -> Option<u64> {
    let (before, after) = number.split_once('.').unwrap_or((number, ""));
    if (before.is_empty() && after.is_empty()) || after.contains('.') {
        return None;
    }
    let whole: u64 = if before.is_empty() { 0 } else { before.parse().ok()? };
    // Digits beyond these are less than a nanosecond of an hour.
    let fraction: String = after.chars().take(18).collect();
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let part = u64::try_from(fraction * u128::from(unit) / scale).ok()?;
    whole.checked_mul(unit)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What go-yaml v2.4.0 makes of a text in an `int64` and in a `time.Duration` (nanoseconds), made by a program of Go;
    /// nothing where that is refused. Numbers with a fraction, and a time below zero, are left out: those are ours to refuse.
    const GO: &[(&str, Option<i64>, Option<i64>)] = &[
        ("900", Some(900), Some(900)),
        ("1e+06", Some(1_000_000), Some(1_000_000)),
        ("1E3", Some(1_000), Some(1_000)),
        ("1e3", Some(1_000), Some(1_000)),
        ("12e+0", Some(12), Some(12)),
        ("10e-1", Some(1), Some(1)),
        ("1.0e1", Some(10), Some(10)),
        ("1.5e1", Some(15), Some(15)),
        (".5e1", Some(5), Some(5)),
        ("900.0", Some(900), Some(900)),
        ("900.", Some(900), Some(900)),
        ("0.9999999999999999999", Some(1), Some(1)),
        ("1_000", Some(1_000), Some(1_000)),
        ("1_000.0", Some(1_000), Some(1_000)),
        ("1__0", Some(10), Some(10)),
        ("1_", Some(1), Some(1)),
        ("0x384", Some(900), Some(900)),
        ("0X384", Some(900), Some(900)),
        ("0x_384", Some(900), Some(900)),
        ("+0x10", Some(16), Some(16)),
        ("010", Some(8), Some(8)),
        ("00", Some(0), Some(0)),
        ("08", Some(8), Some(8)),
        ("0778", Some(778), Some(778)),
        ("0o7", Some(7), Some(7)),
        ("0O7", Some(7), Some(7)),
        ("0o17", Some(15), Some(15)),
        ("0b11", Some(3), Some(3)),
        ("0B11", Some(3), Some(3)),
        ("+5", Some(5), Some(5)),
        ("0", Some(0), Some(0)),
        ("-0", Some(0), Some(0)),
        ("4294967296", Some(4_294_967_296), Some(4_294_967_296)),
        ("1e18", Some(1_000_000_000_000_000_000), Some(1_000_000_000_000_000_000)),
        ("9223372036854775807", Some(i64::MAX), Some(i64::MAX)),
        ("900s", None, Some(900_000_000_000)),
        ("15m", None, Some(900_000_000_000)),
        ("1h30m", None, Some(5_400_000_000_000)),
        ("1.5h", None, Some(5_400_000_000_000)),
        ("1m1m", None, Some(120_000_000_000)),
        ("500ms", None, Some(500_000_000)),
        ("2us", None, Some(2_000)),
        ("2\u{b5}s", None, Some(2_000)),
        ("3ns", None, Some(3)),
        ("+5m", None, Some(300_000_000_000)),
        (".5s", None, Some(500_000_000)),
        ("5.s", None, Some(5_000_000_000)),
    ];
    /// What it refuses.
    const REFUSED: &str =
        "_1 0b2 0b 0x 0x1p4 9223372036854775808 18446744073709551615 18446744073709551616 9.3e18 1e19 1e400 1e3_0 .inf
        .nan inf NaN 1e e3 1:30 1,000 1e3s 0x5s 1_0s 15M 1d 2w s yes";

    #[test]
    fn numbers_and_times_are_what_go_makes_of_them() {
        for (text, number, time) in GO {
            assert_eq!(whole(text), *number, "{text}");
            // A bare number is seconds here, in a `time.Duration` of Go's it would be nanoseconds.
            let unit = if number.is_some() { 1_000_000_000 } else { 1 };
            let read = duration(text).ok().map(|time| time.as_nanos());
            assert_eq!(read, time.map(|time| u128::from(time.unsigned_abs()) * unit), "{text}");
        }
        for text in REFUSED.split_whitespace().chain(["1 000", "\u{96b}", "1h 30m"]) {
            assert!(whole(text).is_none() && duration(text).is_err(), "{text}");
        }
        assert_eq!([whole("-5"), whole("-0x5"), whole("-0b11")], [Some(-5), Some(-5), Some(-3)]);
    }

    #[test]
    fn a_fraction_is_never_cut_off_and_no_time_is_below_zero() {
        for text in ["900.7", "0.5", ".5", "+.5", "1e-1", "-.inf", "0x-5", "--5", "-", "+", ".", "", "1.5.5s"] {
            assert_eq!(whole(text), None, "{text}");
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["-5", "-5m", "9223372037s", "2562048h", "99999999999999999999s", "1..5s", ".s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(duration("2562047h47m16.854775807s").ok().map(|time| time.as_nanos()), Some(LONGEST.into()));
    }
}
