//! Proleptic Gregorian calendar over the whole range of the stored integers: no value panics, before 1970 or far from
//! it. Pure arithmetic; knows no Iceberg type.

const DAYS_PER_400_YEARS: i64 = 146_097;

/// Year, month (1..=12) and day of month (1..=31) of a day counted from 1970-01-01.
///
/// Counts from 0000-03-01, so that the leap day is the last day of a year and months need no table.
pub(super) fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(DAYS_PER_400_YEARS);
    let day_of_era = shifted.rem_euclid(DAYS_PER_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let small = |value: i64| u32::try_from(value).expect("months and days of month are small and positive");
    (year, small(month), small(day))
}

/// `2026-11-21`.
pub(super) fn date(days: i64) -> String {
    let (year, month, day) = civil_from_days(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `2026-11-21T10:00:00.5`: ISO local date and time of an instant given in units of `per_second`; the fraction has as
/// many digits as it needs.
pub(super) fn date_time(value: i64, per_second: i64) -> String {
    let per_day = 86_400 * per_second;
    let (year, month, day) = civil_from_days(value.div_euclid(per_day));
    let in_day = value.rem_euclid(per_day);
    let seconds = in_day / per_second;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    // The ISO form has a sign for years that do not have four digits.
    let sign = match year {
        ..0 => "-",
        0..=9999 => "",
        10_000.. => "+",
    };
    let year = year.abs();
    let mut text = format!("{sign}{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    let fraction = in_day % per_second;
    if fraction > 0 {
        let digits = format!("{:0width$}", fraction, width = per_second.ilog10() as usize);
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
    text
}

/// `10:00`, `10:00:01`, `10:00:01.500` or `10:00:01.500001`: time of day from microseconds, as short as possible.
pub(super) fn time_of_day(micros: i64) -> String {
    let seconds = micros.div_euclid(1_000_000);
    let fraction = micros.rem_euclid(1_000_000);
    let mut text = format!("{:02}:{:02}", seconds / 3600, seconds / 60 % 60);
    if seconds % 60 != 0 || fraction != 0 {
        text.push_str(&format!(":{:02}", seconds % 60));
    }
    if fraction % 1000 != 0 {
        text.push_str(&format!(".{fraction:06}"));
    } else if fraction != 0 {
        text.push_str(&format!(".{:03}", fraction / 1000));
    }
    text
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Datelike};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ends_of_the_range_do_not_panic() {
        for value in [i64::MIN, i64::MAX] {
            assert!(!date_time(value, 1_000_000).is_empty());
            assert!(!date_time(value, 1_000_000_000).is_empty());
        }
        assert_eq!(date(i64::from(i32::MAX)), "5881580-07-11");
        assert_eq!(date_time(i64::MAX, 1_000_000), "+294247-01-10T04:00:54.775807");
    }

    #[test]
    fn before_1970() {
        assert_eq!(date(-1), "1969-12-31");
        assert_eq!(date_time(-1_500_001, 1_000_000), "1969-12-31T23:59:58.499999");
        assert_eq!(date_time(-1, 1_000_000_000), "1969-12-31T23:59:59.999999999");
    }

    #[test]
    fn times_are_as_short_as_possible() {
        assert_eq!(time_of_day(0), "00:00");
        assert_eq!(time_of_day(36_001_000_000), "10:00:01");
        assert_eq!(time_of_day(36_000_500_000), "10:00:00.500");
        assert_eq!(time_of_day(86_399_999_999), "23:59:59.999999");
    }

    proptest! {
        /// Equal to chrono wherever chrono has an answer.
        #[test]
        fn agrees_with_chrono(micros in -8_000_000_000_000_000_000_i64..8_000_000_000_000_000_000) {
            let expected = DateTime::from_timestamp_micros(micros).expect("inside chrono's range");
            let days = micros.div_euclid(86_400_000_000);
            let (year, month, day) = civil_from_days(days);
            prop_assert_eq!((year, month, day), (i64::from(expected.year()), expected.month(), expected.day()));
        }
    }
}
