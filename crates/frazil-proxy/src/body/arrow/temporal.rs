//! Days, times and timestamps as the mapping rules read them: ISO 8601, years 0001 to 9999.

use std::fmt;

use chrono::{Datelike, NaiveDate};

use super::schema::Unit;

const DAY_SECONDS: i64 = 86_400;

/// A day of the proleptic Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Day(NaiveDate);

impl Day {
    /// The day so many days after 1970-01-01, in the years 0001 to 9999.
    pub(super) fn new(since_epoch: i64) -> Option<Self> {
        let day = NaiveDate::from_epoch_days(since_epoch.try_into().ok()?)?;
        (1..=9999).contains(&day.year()).then_some(Self(day))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.0.year(), self.0.month(), self.0.day())
    }
}

/// A time of day, with as many fractional digits as its unit has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    seconds: i64,
    fraction: i64,
    digits: usize,
}

impl Clock {
    /// The time so many units after midnight, on the same day.
    pub(super) fn new(since_midnight: i64, unit: Unit) -> Option<Self> {
        let (seconds, fraction) = (since_midnight / unit.per_second, since_midnight % unit.per_second);
        let clock = Self { seconds, fraction, digits: unit.digits };
        (since_midnight >= 0 && seconds < DAY_SECONDS).then_some(clock)
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, fraction, digits } = *self;
        write!(f, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
        if digits == 0 { Ok(()) } else { write!(f, ".{fraction:0digits$}") }
    }
}

/// The day and time so many units after the epoch, in the years 0001 to 9999.
pub(super) fn date_time(since_epoch: i64, unit: Unit) -> Option<(Day, Clock)> {
    let seconds = since_epoch.div_euclid(unit.per_second);
    let fraction = since_epoch.rem_euclid(unit.per_second);
    let day = Day::new(seconds.div_euclid(DAY_SECONDS))?;
    Some((day, Clock { seconds: seconds.rem_euclid(DAY_SECONDS), fraction, digits: unit.digits }))
}
