//! Lower and upper bound of a column over all row groups of a file. A bound may be wider than the values, never
//! narrower: truncated statistics are bounds and are used as such, and where a row group has none, there is no bound.

use std::cmp::Ordering;

use iceberg::spec::{Datum, PrimitiveType};
use parquet::data_type::ByteArray;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::statistics::Statistics;

/// A value in the order of its Iceberg type.
#[derive(Clone, Debug)]
enum Value {
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Decimal(i128),
    Bytes(Vec<u8>),
}

impl Value {
    /// `None` for values of different kinds, which one column never has.
    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Boolean(a), Self::Boolean(b)) => Some(a.cmp(b)),
            (Self::Integer(a), Self::Integer(b)) => Some(a.cmp(b)),
            (Self::Float(a), Self::Float(b)) => Some(a.total_cmp(b)),
            (Self::Decimal(a), Self::Decimal(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Boolean(_) | Self::Integer(_) | Self::Float(_) | Self::Decimal(_) | Self::Bytes(_), _) => None,
        }
    }
}

/// Bounds of a column that has at least one value.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    lower: Value,
    upper: Value,
}

impl Bounds {
    /// Over all row groups, or `None` if the column has no values or any row group does not say.
    pub(super) fn of_column(primitive: &PrimitiveType, chunks: &[&ColumnChunkMetaData]) -> Option<Self> {
        let mut merged: Option<Self> = None;
        for chunk in chunks {
            let statistics = chunk.statistics()?;
            if statistics.null_count_opt() == u64::try_from(chunk.num_values()).ok() {
                continue;
            }
            let own = Self::of_statistics(primitive, statistics)?;
            merged = Some(match merged {
                Some(bounds) => bounds.widened(own)?,
                None => own,
            });
        }
        merged
    }

    fn of_statistics(primitive: &PrimitiveType, statistics: &Statistics) -> Option<Self> {
        match (primitive, statistics) {
            (PrimitiveType::Boolean, Statistics::Boolean(s)) => {
                Self::of_pair(s.min_opt(), s.max_opt(), |v| Some(Value::Boolean(*v)))
            }
            (PrimitiveType::Int | PrimitiveType::Date, Statistics::Int32(s)) => {
                Self::of_pair(s.min_opt(), s.max_opt(), |v| Some(Value::Integer(i64::from(*v))))
            }
            (
                PrimitiveType::Long
                | PrimitiveType::Time
                | PrimitiveType::Timestamp
                | PrimitiveType::Timestamptz
                | PrimitiveType::TimestampNs
                | PrimitiveType::TimestamptzNs,
                Statistics::Int64(s),
            ) => Self::of_pair(s.min_opt(), s.max_opt(), |v| Some(Value::Integer(*v))),
            (PrimitiveType::Float, Statistics::Float(s)) => {
                Self::of_pair(s.min_opt(), s.max_opt(), |v| float(f64::from(*v)))
            }
            (PrimitiveType::Double, Statistics::Double(s)) => Self::of_pair(s.min_opt(), s.max_opt(), |v| float(*v)),
            (PrimitiveType::Decimal { .. }, Statistics::Int32(s)) => {
                Self::of_pair(s.min_opt(), s.max_opt(), |v| Some(Value::Decimal(i128::from(*v))))
            }
            (PrimitiveType::Decimal { .. }, Statistics::Int64(s)) => {
                Self::of_pair(s.min_opt(), s.max_opt(), |v| Some(Value::Decimal(i128::from(*v))))
            }
            (PrimitiveType::Decimal { .. }, Statistics::FixedLenByteArray(s)) => {
                Self::of_pair(s.min_opt(), s.max_opt(), |v| big_endian(v.data()).map(Value::Decimal))
            }
            (PrimitiveType::String | PrimitiveType::Binary, Statistics::ByteArray(s)) => {
                Self::of_pair(s.min_opt(), s.max_opt(), |v: &ByteArray| Some(Value::Bytes(v.data().to_vec())))
            }
            (PrimitiveType::Uuid | PrimitiveType::Fixed(_), Statistics::FixedLenByteArray(s)) => {
                Self::of_pair(s.min_opt(), s.max_opt(), |v| Some(Value::Bytes(v.data().to_vec())))
            }
            // Any other physical type is not how this crate writes the column; no bound is always right.
            _ => None,
        }
    }

    fn of_pair<T>(min: Option<&T>, max: Option<&T>, value: fn(&T) -> Option<Value>) -> Option<Self> {
        Some(Self { lower: value(min?)?, upper: value(max?)? })
    }

    fn widened(self, other: Self) -> Option<Self> {
        let lower = if self.lower.compare(&other.lower)?.is_le() { self.lower } else { other.lower };
        let upper = if self.upper.compare(&other.upper)?.is_ge() { self.upper } else { other.upper };
        Some(Self { lower, upper })
    }

    /// The lower bound, cut off after `limit` characters or bytes.
    pub(super) fn lower(&self, primitive: &PrimitiveType, limit: Option<usize>) -> Option<Datum> {
        let value = match (primitive, &self.lower, limit) {
            (PrimitiveType::String, Value::Bytes(bytes), Some(limit)) => {
                let text = std::str::from_utf8(bytes).ok()?;
                Value::Bytes(text.chars().take(limit).collect::<String>().into_bytes())
            }
            (PrimitiveType::Binary | PrimitiveType::Fixed(_), Value::Bytes(bytes), Some(limit)) => {
                Value::Bytes(bytes[..bytes.len().min(limit)].to_vec())
            }
            (_, value, _) => value.clone(),
        };
        datum(primitive, &value)
    }

    /// The upper bound, cut off after `limit` characters or bytes and then raised, so that it is not below any value
    /// it was cut from; `None` if it cannot be raised.
    pub(super) fn upper(&self, primitive: &PrimitiveType, limit: Option<usize>) -> Option<Datum> {
        let value = match (primitive, &self.upper, limit) {
            (PrimitiveType::String, Value::Bytes(bytes), Some(limit)) => {
                Value::Bytes(raise_text(std::str::from_utf8(bytes).ok()?, limit)?.into_bytes())
            }
            (PrimitiveType::Binary | PrimitiveType::Fixed(_), Value::Bytes(bytes), Some(limit)) => {
                Value::Bytes(raise_bytes(bytes, limit)?)
            }
            (_, value, _) => value.clone(),
        };
        datum(primitive, &value)
    }
}

/// A bound must not be NaN: it has no place in the order that readers compare by.
fn float(value: f64) -> Option<Value> {
    (!value.is_nan()).then_some(Value::Float(value))
}

fn big_endian(bytes: &[u8]) -> Option<i128> {
    let mut wide = if bytes.first()? & 0x80 == 0 { [0; 16] } else { [0xff; 16] };
    wide.get_mut(16_usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

fn raise_text(text: &str, limit: usize) -> Option<String> {
    let mut kept: Vec<char> = text.chars().take(limit).collect();
    if kept.len() == text.chars().count() {
        return Some(text.to_owned());
    }
    while let Some(last) = kept.pop() {
        if let Some(next) = next_char(last) {
            kept.push(next);
            return Some(kept.into_iter().collect());
        }
    }
    None
}

/// The next code point that can stand in a string, past the surrogates.
fn next_char(of: char) -> Option<char> {
    match u32::from(of) + 1 {
        0xd800 => Some('\u{e000}'),
        next => char::from_u32(next),
    }
}

fn raise_bytes(bytes: &[u8], limit: usize) -> Option<Vec<u8>> {
    if bytes.len() <= limit {
        return Some(bytes.to_vec());
    }
    let mut kept = bytes[..limit].to_vec();
    while let Some(last) = kept.pop() {
        if let Some(next) = last.checked_add(1) {
            kept.push(next);
            return Some(kept);
        }
    }
    None
}

/// Through the single-value serialization, which is the only public way to any type's datum.
fn datum(primitive: &PrimitiveType, value: &Value) -> Option<Datum> {
    let bytes = match (primitive, value) {
        (_, Value::Boolean(value)) => vec![u8::from(*value)],
        (PrimitiveType::Int | PrimitiveType::Date, Value::Integer(value)) => {
            i32::try_from(*value).ok()?.to_le_bytes().to_vec()
        }
        (_, Value::Integer(value)) => value.to_le_bytes().to_vec(),
        // Exact: the value came from an `f32`.
        (PrimitiveType::Float, Value::Float(value)) => (*value as f32).to_le_bytes().to_vec(),
        (_, Value::Float(value)) => value.to_le_bytes().to_vec(),
        (_, Value::Decimal(value)) => value.to_be_bytes().to_vec(),
        (_, Value::Bytes(bytes)) => bytes.clone(),
    };
    Datum::try_from_bytes(&bytes, primitive.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upper_bound_is_raised_only_if_it_was_cut() {
        assert_eq!(raise_text("abc", 3).as_deref(), Some("abc"));
        assert_eq!(raise_text("abcd", 3).as_deref(), Some("abd"));
        assert_eq!(raise_text("äöüß", 3).as_deref(), Some("äöý"));
        assert_eq!(raise_bytes(&[1, 2, 3], 3), Some(vec![1, 2, 3]));
        assert_eq!(raise_bytes(&[1, 2, 3], 2), Some(vec![1, 3]));
    }

    #[test]
    fn the_last_place_carries_into_the_one_before() {
        assert_eq!(raise_text("a\u{10ffff}x", 2).as_deref(), Some("b"));
        assert_eq!(raise_text("a\u{d7ff}x", 2).as_deref(), Some("a\u{e000}"));
        assert_eq!(raise_bytes(&[1, 0xff, 0], 2), Some(vec![2]));
    }

    #[test]
    fn a_bound_that_cannot_be_raised_is_dropped() {
        assert_eq!(raise_text("\u{10ffff}\u{10ffff}x", 2), None);
        assert_eq!(raise_bytes(&[0xff, 0xff, 0], 2), None);
    }

    #[test]
    fn decimals_of_any_width_are_signed() {
        assert_eq!(big_endian(&[0xff]), Some(-1));
        assert_eq!(big_endian(&[0x00, 0xff]), Some(255));
        assert_eq!(big_endian(&i128::MIN.to_be_bytes()), Some(i128::MIN));
        assert_eq!(big_endian(&[]), None);
        assert_eq!(big_endian(&[0; 17]), None);
    }
}
