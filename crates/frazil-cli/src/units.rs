//! Durations and sizes as people write them (`5s`, `1h30m`, `64MiB`), parsed once into typed values.
//!
//! Pure; knows no configuration key.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize, Serializer};

const TIME_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// A length of time with millisecond resolution, such as `250ms`, `5s` or `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(pub(crate) Duration);

/// A number of bytes, such as `64MiB` (binary) or `5MB` (decimal).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

/// A text that is no duration or no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnitError {
    #[error("{0:?} is not a duration: write a number and a unit, such as 250ms, 5s, 10m, 1h30m or 90d")]
    Span(String),
    #[error("{0:?} is not a size: write a number and a unit, such as 512KiB, 64MiB, 5MB or 16GiB")]
    Size(String),
}

impl Span {
    pub(crate) const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// Whole seconds, rounded up so that a short span never becomes none; saturates.
    pub(crate) fn ceil_secs(self) -> u32 {
        let secs = self.0.as_secs() + u64::from(self.0.subsec_nanos() > 0);
        u32::try_from(secs).unwrap_or(u32::MAX)
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        parse_span(text.trim())
            .map(|millis| Self(Duration::from_millis(millis)))
            .ok_or_else(|| UnitError::Span(text.to_owned()))
    }
}

/// Sum of number-unit pairs, largest unit first, each unit at most once.
fn parse_span(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0_u64;
    let mut last = u64::MAX;
    if text.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at(letters);
        let (_, factor) = TIME_UNITS.iter().find(|(name, _)| *name == unit)?;
        if *factor >= last {
            return None;
        }
        last = *factor;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*factor)?)?;
        rest = next;
    }
    Some(total)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in TIME_UNITS {
            if millis >= factor {
                write!(f, "{}{unit}", millis / factor)?;
                millis %= factor;
            }
        }
        Ok(())
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        parse_size(text.trim()).map(Self).ok_or_else(|| UnitError::Size(text.to_owned()))
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().ok()?;
    let unit = unit.trim_start();
    let factor = match unit {
        "" => 1,
        _ => SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1,
    };
    number.checked_mul(factor)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = SIZE_UNITS.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match exact {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

/// Takes a text with a unit or a plain number of bytes.
struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"64MiB\", or a number of bytes")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Size, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<Size, E> {
        u64::try_from(bytes).map(Size).map_err(|_| E::custom(UnitError::Size(bytes.to_string())))
    }

    fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<Size, E> {
        Ok(Size(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (text, millis) in
            [("0s", 0), ("250ms", 250), ("5s", 5_000), ("10m", 600_000), ("1h30m", 5_400_000), ("90d", 7_776_000_000)]
        {
            let span: Span = text.parse().expect(text);
            assert_eq!(span.0, Duration::from_millis(millis), "{text}");
            assert_eq!(span.to_string(), text);
        }
        assert_eq!("90m".parse::<Span>().expect("valid").to_string(), "1h30m");
        for bad in ["", "5", "s", "5 s", "-1s", "1.5s", "5sec", "5s5s", "5s1h", "99999999999999999999d"] {
            assert_eq!(bad.parse::<Span>(), Err(UnitError::Span(bad.to_owned())));
        }
        assert_eq!(Span(Duration::from_millis(1)).ceil_secs(), 1);
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("1B", 1), ("64MiB", 64 << 20), ("5MB", 5_000_000), ("16GiB", 16 << 30), ("3KiB", 3072)] {
            let size: Size = text.parse().expect(text);
            assert_eq!(size.0, bytes, "{text}");
            assert_eq!(size.to_string(), text);
        }
        assert_eq!("1024".parse(), Ok(Size(1024)));
        assert_eq!("5 mib".parse(), Ok(Size(5 << 20)));
        for bad in ["", "MiB", "-1", "1.5MB", "1Mb/s", "99999999TiB"] {
            assert_eq!(bad.parse::<Size>(), Err(UnitError::Size(bad.to_owned())));
        }
    }
}
