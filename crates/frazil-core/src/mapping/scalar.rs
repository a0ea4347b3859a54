//! Primitive values: from JSON tokens, by the rules of the column's type, to typed values.
//!
//! It must not know where the value stands: paths belong to the walk.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::decimal::{self, Unfit};
use super::json::{Number, Reader};
use super::{Column, EpochUnit, MappingPolicy, NonFinite, Reason, temporal};
use crate::schema::Type;

/// Base64 as RFC 4648 has it, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A type without children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Primitive {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Decimal { precision: u8, scale: u8 },
    Date,
    Time,
    Timestamp,
    Timestamptz,
    TimestampNs,
    TimestamptzNs,
    String,
    Uuid,
    Fixed(u32),
    Binary,
}

/// A typed value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scalar<'s> {
    Boolean(bool),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Decimal(i128),
    Date(i32),
    Time(i64),
    Timestamp(i64),
    TimestampNs(i64),
    String(&'s str),
    Uuid([u8; 16]),
    Bytes(&'s [u8]),
}

/// A map key, for telling repeated ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Number(i128),
    Bytes(Box<[u8]>),
}

/// Buffers for values that do not stand in the event as they are.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    text: String,
    bytes: Vec<u8>,
}

impl Scalar<'_> {
    #[inline]
    pub(super) fn deliver<C: Column>(self, column: &mut C) {
        match self {
            Self::Boolean(value) => column.boolean(value),
            Self::Int(value) => column.int(value),
            Self::Long(value) => column.long(value),
            Self::Float(value) => column.float(value),
            Self::Double(value) => column.double(value),
            Self::Decimal(value) => column.decimal(value),
            Self::Date(value) => column.date(value),
            Self::Time(value) => column.time(value),
            Self::Timestamp(value) => column.timestamp(value),
            Self::TimestampNs(value) => column.timestamp_ns(value),
            Self::String(value) => column.string(value),
            Self::Uuid(value) => column.uuid(value),
            Self::Bytes(value) => column.bytes(value),
        }
    }

    /// Equal for equal keys of one column.
    pub(super) fn key(self) -> Key {
        match self {
            Self::Boolean(value) => Key::Number(value.into()),
            Self::Int(value) | Self::Date(value) => Key::Number(value.into()),
            Self::Long(value) | Self::Time(value) => Key::Number(value.into()),
            Self::Timestamp(value) | Self::TimestampNs(value) => Key::Number(value.into()),
            // 0.0 and -0.0 are one key; NaN is always the same bits here.
            Self::Float(value) => Key::Number(if value == 0.0 { 0 } else { value.to_bits().into() }),
            Self::Double(value) => Key::Number(if value == 0.0 { 0 } else { value.to_bits().into() }),
            Self::Decimal(value) => Key::Number(value),
            Self::String(value) => Key::Bytes(value.as_bytes().into()),
            Self::Uuid(value) => Key::Bytes(value.as_slice().into()),
            Self::Bytes(value) => Key::Bytes(value.into()),
        }
    }
}

impl Primitive {
    /// `None` for nested types.
    pub(crate) fn of(ty: &Type) -> Option<Self> {
        Some(match ty {
            Type::Boolean => Self::Boolean,
            Type::Int => Self::Int,
            Type::Long => Self::Long,
            Type::Float => Self::Float,
            Type::Double => Self::Double,
            Type::Decimal { precision, scale } => Self::Decimal { precision: *precision, scale: *scale },
            Type::Date => Self::Date,
            Type::Time => Self::Time,
            Type::Timestamp => Self::Timestamp,
            Type::Timestamptz => Self::Timestamptz,
            Type::TimestampNs => Self::TimestampNs,
            Type::TimestamptzNs => Self::TimestamptzNs,
            Type::String => Self::String,
            Type::Uuid => Self::Uuid,
            Type::Fixed(length) => Self::Fixed(*length),
            Type::Binary => Self::Binary,
            Type::Struct(_) | Type::List { .. } | Type::Map { .. } => return None,
        })
    }

    /// The type in a sentence that starts with "expected".
    fn expected(self) -> &'static str {
        match self {
            Self::Boolean => "a boolean",
            Self::Int => "a whole number (int)",
            Self::Long => "a whole number (long)",
            Self::Float => "a number (float)",
            Self::Double => "a number (double)",
            Self::Decimal { .. } => "a number, or a string with one (decimal)",
            Self::Date => "a date as \"YYYY-MM-DD\" or an epoch number",
            Self::Time => "a time as \"HH:MM:SS[.ffffff]\" or a number since midnight",
            Self::Timestamp | Self::TimestampNs => {
                "a local date and time without offset as \"YYYY-MM-DDTHH:MM:SS[.f]\" or an epoch number"
            }
            Self::Timestamptz | Self::TimestamptzNs => {
                "an RFC 3339 date and time with offset as \"YYYY-MM-DDTHH:MM:SS[.f]Z\" or an epoch number"
            }
            Self::String => "a string",
            Self::Uuid => "a UUID of 36 characters",
            Self::Fixed(_) => "hexadecimal text",
            Self::Binary => "base64 text, or hexadecimal text behind `\\x`",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Decimal { .. } => "decimal",
            Self::Date => "date",
            Self::Time => "time",
            Self::Timestamp => "timestamp",
            Self::Timestamptz => "timestamptz",
            Self::TimestampNs => "timestamp_ns",
            Self::TimestamptzNs => "timestamptz_ns",
            Self::String => "string",
            Self::Uuid => "uuid",
            Self::Fixed(_) => "fixed",
            Self::Binary => "binary",
        }
    }

    /// Takes the value of this type that starts with the peeked byte `next`.
    #[inline]
    pub(crate) fn read<'s, 'a: 's>(
        self,
        next: u8,
        reader: &mut Reader<'a>,
        policy: &MappingPolicy,
        scratch: &'s mut Scratch,
    ) -> Result<Scalar<'s>, Reason> {
        match (next, self) {
            (b'"', Self::String) => {
                let text = reader.string()?;
                if !text.escaped {
                    return Ok(Scalar::String(text.raw));
                }
                scratch.text.clear();
                text.unescape(&mut scratch.text);
                Ok(Scalar::String(&scratch.text))
            }
            (_, Self::String) => reader.skip_value().map(Scalar::String),
            (b'-' | b'0'..=b'9', _) => self.number(reader.number()?, policy.epoch_unit),
            (b'"', _) => self.text(reader, policy, scratch),
            (b't', Self::Boolean) => reader.literal("true").map(|()| Scalar::Boolean(true)),
            (b'f', Self::Boolean) => reader.literal("false").map(|()| Scalar::Boolean(false)),
            _ => Err(self.wrong_type()),
        }
    }

    #[inline]
    fn number(self, number: Number<'_>, unit: EpochUnit) -> Result<Scalar<'static>, Reason> {
        match self {
            Self::Long => match number.small {
                Some(value) => Ok(Scalar::Long(value)),
                None => self.fit(self.whole(number)?.try_into().ok()).map(Scalar::Long),
            },
            Self::Int => self.fit(self.whole(number)?.try_into().ok()).map(Scalar::Int),
            Self::Double => {
                let value: f64 = number.text.parse().expect("a JSON number is a Rust number");
                self.fit(value.is_finite().then_some(value)).map(Scalar::Double)
            }
            Self::Float => {
                let value: f32 = number.text.parse().expect("a JSON number is a Rust number");
                self.fit(value.is_finite().then_some(value)).map(Scalar::Float)
            }
            Self::Decimal { precision, scale } => decimal_of(number.text, precision, scale),
            Self::Date => self.fit(temporal::epoch_date(self.whole(number)?, unit)).map(Scalar::Date),
            Self::Time => self.fit(temporal::epoch_time(self.whole(number)?, unit)).map(Scalar::Time),
            Self::Timestamp | Self::Timestamptz => {
                self.fit(temporal::epoch_micros(self.whole(number)?, unit)).map(Scalar::Timestamp)
            }
            Self::TimestampNs | Self::TimestamptzNs => {
                self.fit(temporal::epoch_timestamp_ns(self.whole(number)?, unit)).map(Scalar::TimestampNs)
            }
            Self::Boolean | Self::String | Self::Uuid | Self::Fixed(_) | Self::Binary => Err(self.wrong_type()),
        }
    }

    fn text<'s, 'a: 's>(
        self,
        reader: &mut Reader<'a>,
        policy: &MappingPolicy,
        scratch: &'s mut Scratch,
    ) -> Result<Scalar<'s>, Reason> {
        let token = reader.string()?;
        let Scratch { text: buffer, bytes } = scratch;
        let text = if token.escaped {
            buffer.clear();
            token.unescape(buffer);
            buffer.as_str()
        } else {
            token.raw
        };
        match self {
            Self::Decimal { precision, scale } => decimal_of(text, precision, scale),
            Self::Date => self.form(temporal::date(text)).map(Scalar::Date),
            Self::Time => self.form(temporal::time(text)).map(|nanos| Scalar::Time(nanos / 1_000)),
            Self::Timestamp | Self::Timestamptz => Ok(Scalar::Timestamp(self.date_time(text)?.micros())),
            Self::TimestampNs | Self::TimestamptzNs => self.fit(self.date_time(text)?.nanos()).map(Scalar::TimestampNs),
            Self::Uuid => {
                // The crate reads shorter and braced forms too.
                let uuid = (text.len() == 36).then(|| uuid::Uuid::try_parse(text).ok()).flatten();
                self.form(uuid).map(|uuid| Scalar::Uuid(uuid.into_bytes()))
            }
            Self::Fixed(length) => {
                bytes.clear();
                self.form(hex(text.strip_prefix(HEX_PREFIX).unwrap_or(text), bytes))?;
                if bytes.len() == length as usize {
                    Ok(Scalar::Bytes(bytes))
                } else {
                    Err(Reason::WrongLength { bytes: length })
                }
            }
            Self::Binary => {
                bytes.clear();
                self.form(match text.strip_prefix(HEX_PREFIX) {
                    Some(digits) => hex(digits, bytes),
                    None => BASE64.decode_vec(text, bytes).ok(),
                })?;
                Ok(Scalar::Bytes(bytes))
            }
            Self::Int | Self::Long | Self::Float | Self::Double => self.number_text(text, policy),
            Self::String | Self::Boolean => Err(self.wrong_type()),
        }
    }

    /// The value of a string in a column of binary numbers: what the policy allows.
    fn number_text(self, text: &str, policy: &MappingPolicy) -> Result<Scalar<'static>, Reason> {
        if policy.non_finite == NonFinite::Accept
            && matches!(self, Self::Float | Self::Double)
            && let Some((double, float)) = non_finite(text)
        {
            return Ok(if self == Self::Float { Scalar::Float(float) } else { Scalar::Double(double) });
        }
        if !policy.numbers_in_strings {
            return Err(self.wrong_type());
        }
        // No column of a number reads it as an epoch.
        self.number(self.form(only_number(text))?, EpochUnit::default())
    }

    /// The date and time of a timestamp column, whose offset is as the type demands.
    fn date_time(self, text: &str) -> Result<temporal::DateTime, Reason> {
        let value = self.form(temporal::date_time(text))?;
        let zoned = matches!(self, Self::Timestamptz | Self::TimestamptzNs);
        let fits = if zoned { value.offset.is_some() } else { value.offset.unwrap_or(0) == 0 };
        self.form(fits.then_some(value))
    }

    #[inline]
    fn whole(self, number: Number<'_>) -> Result<i128, Reason> {
        match number.small {
            Some(value) => Ok(value.into()),
            None => decimal::unscaled(number.text, 0).map_err(|unfit| match unfit {
                Unfit::Fraction => Reason::Fraction { of: self.name() },
                Unfit::Overflow | Unfit::Syntax => Reason::OutOfRange { of: self.name() },
            }),
        }
    }

    #[inline]
    fn fit<T>(self, value: Option<T>) -> Result<T, Reason> {
        value.ok_or(Reason::OutOfRange { of: self.name() })
    }

    #[inline]
    fn form<T>(self, value: Option<T>) -> Result<T, Reason> {
        value.ok_or(Reason::BadFormat { expected: self.expected() })
    }

    fn wrong_type(self) -> Reason {
        Reason::WrongType { expected: self.expected() }
    }
}

/// What JSON has no number for, by the names that JavaScript and Protocol Buffers use.
fn non_finite(text: &str) -> Option<(f64, f32)> {
    match text {
        "NaN" => Some((f64::NAN, f32::NAN)),
        "Infinity" => Some((f64::INFINITY, f32::INFINITY)),
        "-Infinity" => Some((f64::NEG_INFINITY, f32::NEG_INFINITY)),
        _ => None,
    }
}

/// A text that is one JSON number and nothing else.
fn only_number(text: &str) -> Option<Number<'_>> {
    let mut reader = Reader::over(text);
    let starts_a_number = matches!(reader.peek(), Some(b'-' | b'0'..=b'9'));
    let number = starts_a_number.then(|| reader.number().ok()).flatten()?;
    (number.text.len() == text.len()).then_some(number)
}

fn decimal_of(text: &str, precision: u8, scale: u8) -> Result<Scalar<'static>, Reason> {
    match decimal::unscaled(text, scale) {
        Ok(value) if value.unsigned_abs() < 10u128.pow(precision.into()) => Ok(Scalar::Decimal(value)),
        Ok(_) | Err(Unfit::Fraction | Unfit::Overflow) => Err(Reason::DecimalDigits { precision, scale }),
        Err(Unfit::Syntax) => Err(Reason::BadFormat { expected: Primitive::Decimal { precision, scale }.expected() }),
    }
}

/// Says that hexadecimal text follows, as in PostgreSQL; never the beginning of base64.
const HEX_PREFIX: &str = "\\x";

/// Appends the bytes of hexadecimal text.
fn hex(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    for pair in pairs {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        out.push(u8::try_from(high? * 16 + low?).expect("two hexadecimal digits are a byte"));
    }
    Some(())
}
