//! Dates and times from text and from epoch numbers, in the proleptic Gregorian calendar, without leap seconds.

use super::EpochUnit;

const DAY_SECONDS: i64 = 86_400;
/// 0001-01-01 in days since the epoch.
const MIN_DAY: i64 = -719_162;
/// 9999-12-31 in days since the epoch.
const MAX_DAY: i64 = 2_932_896;
/// Nanoseconds in a day.
const DAY_NANOS: i128 = DAY_SECONDS as i128 * 1_000_000_000;

/// A date with time as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DateTime {
    /// Seconds since 1970-01-01T00:00:00 of the same local time.
    seconds: i64,
    /// 0 to 999,999,999.
    nanos: i64,
    /// Seconds east of UTC, if there was an offset.
    pub(crate) offset: Option<i64>,
}

impl DateTime {
    /// Microseconds since the epoch; finer digits are cut off, towards the past.
    pub(crate) fn micros(self) -> i64 {
        // Four-digit years keep this far from overflow.
        (self.seconds - self.offset.unwrap_or(0)) * 1_000_000 + self.nanos / 1_000
    }

    /// Nanoseconds since the epoch, if they fit (years 1677 to 2262).
    pub(crate) fn nanos(self) -> Option<i64> {
        let nanos = i128::from(self.seconds - self.offset.unwrap_or(0)) * 1_000_000_000 + i128::from(self.nanos);
        i64::try_from(nanos).ok()
    }
}

/// `YYYY-MM-DD` to days since the epoch.
pub(crate) fn date(text: &str) -> Option<i32> {
    let text: &[u8; 10] = text.as_bytes().try_into().ok()?;
    day(text)
}

/// `HH:MM:SS[.f]` to nanoseconds since midnight.
pub(crate) fn time(text: &str) -> Option<i64> {
    let (seconds, nanos, rest) = clock(text.as_bytes())?;
    rest.is_empty().then_some(seconds * 1_000_000_000 + nanos)
}

/// `YYYY-MM-DD`, one of `T`, `t` or a space, `HH:MM:SS[.f]`, and perhaps `Z`, `z` or `±HH:MM`.
pub(crate) fn date_time(text: &str) -> Option<DateTime> {
    let (date, rest) = text.as_bytes().split_first_chunk::<10>()?;
    let days = day(date)?;
    let [b'T' | b't' | b' ', rest @ ..] = rest else { return None };
    let (seconds, nanos, rest) = clock(rest)?;
    let offset = match rest {
        [] => None,
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (two(*h1, *h2)?, two(*m1, *m2)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = hours * 3_600 + minutes * 60;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => return None,
    };
    Some(DateTime { seconds: i64::from(days) * DAY_SECONDS + seconds, nanos, offset })
}

/// An epoch number to days since the epoch: the UTC day it falls on.
pub(crate) fn epoch_date(number: i128, unit: EpochUnit) -> Option<i32> {
    i32::try_from(epoch_nanos(number, unit)?.div_euclid(DAY_NANOS)).ok()
}

/// A number since midnight to microseconds since midnight.
pub(crate) fn epoch_time(number: i128, unit: EpochUnit) -> Option<i64> {
    let nanos = number.checked_mul(unit.nanos())?;
    if (0..DAY_NANOS).contains(&nanos) { i64::try_from(nanos / 1_000).ok() } else { None }
}

/// An epoch number to microseconds since the epoch, within the years 0001 to 9999.
pub(crate) fn epoch_micros(number: i128, unit: EpochUnit) -> Option<i64> {
    i64::try_from(epoch_nanos(number, unit)?.div_euclid(1_000)).ok()
}

/// An epoch number to nanoseconds since the epoch, as far as they fit (years 1677 to 2262).
pub(crate) fn epoch_timestamp_ns(number: i128, unit: EpochUnit) -> Option<i64> {
    i64::try_from(epoch_nanos(number, unit)?).ok()
}

fn epoch_nanos(number: i128, unit: EpochUnit) -> Option<i128> {
    let nanos = number.checked_mul(unit.nanos())?;
    let days = i64::try_from(nanos.div_euclid(DAY_NANOS)).ok()?;
    (MIN_DAY..=MAX_DAY).contains(&days).then_some(nanos)
}

impl EpochUnit {
    fn nanos(self) -> i128 {
        match self {
            Self::Seconds => 1_000_000_000,
            Self::Millis => 1_000_000,
            Self::Micros => 1_000,
            Self::Nanos => 1,
        }
    }
}

fn two(tens: u8, ones: u8) -> Option<i64> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

fn day(text: &[u8; 10]) -> Option<i32> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *text else { return None };
    let year = two(y1, y2)? * 100 + two(y3, y4)?;
    let (month, day) = (two(m1, m2)?, two(d1, d2)?);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if year == 0 || day == 0 || day > length {
        return None;
    }
    // Years counted from March, so that the leap day is a year's last (Hinnant, days_from_civil).
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    i32::try_from(days).ok()
}

/// The seconds and nanoseconds of `HH:MM:SS[.f]`, and what follows it.
fn clock(text: &[u8]) -> Option<(i64, i64, &[u8])> {
    let (&[h1, h2, b':', m1, m2, b':', s1, s2], mut rest) = text.split_first_chunk::<8>()? else {
        return None;
    };
    let (hours, minutes, seconds) = (two(h1, h2)?, two(m1, m2)?, two(s1, s2)?);
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let mut nanos = 0;
    if let [b'.', fraction @ ..] = rest {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=9).contains(&digits) {
            return None;
        }
        let (fraction, after) = fraction.split_at(digits);
        let padded = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
        nanos = padded.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        rest = after;
    }
    Some((hours * 3_600 + minutes * 60 + seconds, nanos, rest))
}
