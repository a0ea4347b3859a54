//! Values as JSON, in forms that the mapping rules read back as the same values.
//!
//! | Arrow | JSON |
//! | --- | --- |
//! | null, and nulls of every type | `null` |
//! | boolean | `true`, `false` |
//! | whole numbers, decimals | a number with all its digits |
//! | floating point | the shortest number that reads back the same; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | date | `"YYYY-MM-DD"` |
//! | time | `"HH:MM:SS[.f]"` |
//! | timestamp | `"YYYY-MM-DDTHH:MM:SS[.f]"`, with `Z` if the type has a zone |
//! | utf8 | a string |
//! | binary | base64 |
//! | fixed-size binary | hexadecimal behind `\x`; with the extension type `arrow.uuid` the 36-character text |
//! | lists | an array |
//! | struct | an object |
//! | map | an object if the keys are text, else `{"keys": […], "values": […]}` |
//! | dictionary, run-end encoded | the value |

use std::io::Write as _;

use uuid::Uuid;

use super::layout::{Array, Data, bit_at, bytes_at, value_at};
use super::schema::{Kind, Whole, Width};
use super::temporal::{Clock, Day, date_time};
use super::{Fault, Full, LineWriter, Outcome};

const DAY_MILLIS: i64 = 86_400_000;

/// Columns that are the members of an object.
pub(super) fn members(columns: &[Array<'_>], index: usize, lines: &mut LineWriter) -> Outcome {
    lines.raw(b"{")?;
    for (place, array) in columns.iter().enumerate() {
        if place > 0 {
            lines.raw(b",")?;
        }
        lines.raw(&array.column.key)?;
        value(array, index, lines).map_err(|fault| fault.within(&array.column.name))?;
    }
    Ok(lines.raw(b"}")?)
}

/// Any value.
fn value(array: &Array<'_>, index: usize, lines: &mut LineWriter) -> Outcome {
    let Some((array, index)) = array.resolve(index)? else { return Ok(lines.raw(b"null")?) };
    match &array.data {
        Data::Fixed(buffer) => scalar(&array.column.kind, buffer, index, lines),
        Data::Variable { .. } | Data::Views { .. } => bytes(array, index, lines),
        Data::List { offsets, child } => {
            let (start, end) = range(&array.column.kind, offsets, index)?;
            elements(child, start, end, lines)
        }
        Data::ListView { offsets, sizes, child } => {
            let Kind::ListView(width, _) = &array.column.kind else { return Err(mismatch()) };
            let start = width.at(offsets, index)?;
            elements(child, start, start.saturating_add(width.at(sizes, index)?), lines)
        }
        Data::FixedList(child) => {
            let Kind::FixedList(size, _) = &array.column.kind else { return Err(mismatch()) };
            let start = index.saturating_mul(*size);
            elements(child, start, start.saturating_add(*size), lines)
        }
        Data::Struct(children) => members(children, index, lines),
        Data::Map { offsets, keys, values } => {
            let (start, end) = range(&array.column.kind, offsets, index)?;
            match &array.column.kind {
                Kind::Map { text: true, .. } => entries(keys, values, start, end, lines),
                _ => pairs(keys, values, start, end, lines),
            }
        }
        Data::None | Data::Dictionary { .. } | Data::RunEnds { .. } => Err(mismatch()),
    }
}

/// What binding columns rules out.
fn mismatch() -> Box<Fault> {
    Fault::invalid("its buffers are not those of its type")
}

/// Where the elements of list or map `index` begin and end.
fn range(kind: &Kind, offsets: &[u8], index: usize) -> Outcome<(usize, usize)> {
    let width = if let Kind::List(width, _) = kind { *width } else { Width::Four };
    let (start, end) = (width.at(offsets, index)?, width.at(offsets, index + 1)?);
    if start <= end { Ok((start, end)) } else { Err(Fault::invalid("its offsets decrease")) }
}

fn elements(child: &Array<'_>, start: usize, end: usize, lines: &mut LineWriter) -> Outcome {
    lines.raw(b"[")?;
    for index in start..end {
        if index > start {
            lines.raw(b",")?;
        }
        value(child, index, lines).map_err(|fault| fault.within(&child.column.name))?;
    }
    Ok(lines.raw(b"]")?)
}

/// A map with text for keys: an object.
fn entries(keys: &Array<'_>, values: &Array<'_>, start: usize, end: usize, lines: &mut LineWriter) -> Outcome {
    lines.raw(b"{")?;
    for index in start..end {
        if index > start {
            lines.raw(b",")?;
        }
        key(keys, index, lines).map_err(|fault| fault.within(&keys.column.name))?;
        lines.raw(b":")?;
        value(values, index, lines).map_err(|fault| fault.within(&values.column.name))?;
    }
    Ok(lines.raw(b"}")?)
}

/// A map with other keys.
fn pairs(keys: &Array<'_>, values: &Array<'_>, start: usize, end: usize, lines: &mut LineWriter) -> Outcome {
    lines.raw(b"{\"keys\":[")?;
    for index in start..end {
        if index > start {
            lines.raw(b",")?;
        }
        key(keys, index, lines).map_err(|fault| fault.within(&keys.column.name))?;
    }
    lines.raw(b"],\"values\":")?;
    elements(values, start, end, lines)?;
    Ok(lines.raw(b"}")?)
}

fn key(keys: &Array<'_>, index: usize, lines: &mut LineWriter) -> Outcome {
    match keys.resolve(index)? {
        Some((array, index)) => value(array, index, lines),
        None => Err(Fault::invalid("a key of a map is null")),
    }
}

/// A value of a fixed size.
fn scalar(kind: &Kind, buffer: &[u8], index: usize, lines: &mut LineWriter) -> Outcome {
    match *kind {
        Kind::Boolean => Ok(lines.raw(if bit_at(buffer, index)? { b"true" } else { b"false" })?),
        Kind::Whole(whole) => print(lines, format_args!("{}", whole.at(buffer, index)?)),
        Kind::Float(2) => single(half(u16::from_le_bytes(value_at(buffer, index)?)), lines),
        Kind::Float(4) => single(f32::from_le_bytes(value_at(buffer, index)?), lines),
        Kind::Float(_) => double(f64::from_le_bytes(value_at(buffer, index)?), lines),
        Kind::Decimal { bytes, scale } => Ok(lines.raw(decimal(bytes_at(buffer, index, bytes)?, scale).as_bytes())?),
        Kind::Date32 => day(i32::from_le_bytes(value_at(buffer, index)?).into(), lines),
        Kind::Date64 => {
            let millis = i64::from_le_bytes(value_at(buffer, index)?);
            if millis % DAY_MILLIS != 0 {
                return Err(Fault::invalid(format!("the date of {millis} milliseconds is not a whole day")));
            }
            day(millis / DAY_MILLIS, lines)
        }
        Kind::Time { bytes, unit } => {
            let number = integer(bytes, buffer, index)?;
            let clock = Clock::new(number, unit);
            let clock = clock.ok_or_else(|| Fault::invalid(format!("the time {number} is not within a day")))?;
            print(lines, format_args!("\"{clock}\""))
        }
        Kind::Timestamp { unit, zoned } => {
            let number = integer(8, buffer, index)?;
            let found = date_time(number, unit);
            let (day, clock) = found.ok_or_else(|| out_of_years("timestamp", number))?;
            print(lines, format_args!("\"{day}T{clock}{}\"", if zoned { "Z" } else { "" }))
        }
        Kind::Fixed(size) => Ok(lines.hex(bytes_at(buffer, index, size)?)?),
        Kind::Uuid => {
            let uuid = Uuid::from_bytes(value_at(buffer, index)?);
            print(lines, format_args!("\"{uuid}\""))
        }
        _ => Err(mismatch()),
    }
}

fn print(lines: &mut LineWriter, text: std::fmt::Arguments<'_>) -> Outcome {
    Ok(lines.write_fmt(text).map_err(|_| Full::Bytes)?)
}

fn integer(bytes: usize, buffer: &[u8], index: usize) -> Outcome<i64> {
    let number = Whole { bytes, signed: true }.at(buffer, index)?;
    Ok(i64::try_from(number).expect("at most eight bytes"))
}

fn day(days: i64, lines: &mut LineWriter) -> Outcome {
    let day = Day::new(days).ok_or_else(|| out_of_years("date", days))?;
    print(lines, format_args!("\"{day}\""))
}

fn out_of_years(what: &str, number: i64) -> Box<Fault> {
    Fault::invalid(format!("the {what} {number} is not in the years 0001 to 9999"))
}

fn single(number: f32, lines: &mut LineWriter) -> Outcome {
    if number.is_finite() { Ok(lines.float(number)?) } else { not_finite(number.into(), lines) }
}

fn double(number: f64, lines: &mut LineWriter) -> Outcome {
    if number.is_finite() { Ok(lines.double(number)?) } else { not_finite(number, lines) }
}

fn not_finite(number: f64, lines: &mut LineWriter) -> Outcome {
    let text: &[u8] = match number {
        f64::INFINITY => b"\"Infinity\"",
        f64::NEG_INFINITY => b"\"-Infinity\"",
        _ => b"\"NaN\"",
    };
    Ok(lines.raw(text)?)
}

/// A number of half precision, which single precision holds exactly.
pub(super) fn half(bits: u16) -> f32 {
    let (exponent, fraction) = (u32::from(bits >> 10 & 0x1f), u32::from(bits & 0x3ff));
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    sign * match exponent {
        // Zero and the numbers below the normal ones, in steps of 2^-24.
        0 => f32::from(bits & 0x3ff) / 16_777_216.0,
        0x1f => f32::from_bits(0x7f80_0000 | fraction << 13),
        // The exponents are biased by 15 and by 127.
        _ => f32::from_bits((exponent + 112) << 23 | fraction << 13),
    }
}

/// The number of a decimal of 4, 8, 16 or 32 bytes, least significant first.
fn decimal(bytes: &[u8], scale: i32) -> String {
    let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; 32];
    wide[..bytes.len()].copy_from_slice(bytes);
    let mut digits = magnitude(wide, negative);
    let scale_digits = scale.unsigned_abs() as usize;
    if scale < 0 && digits != "0" {
        digits.extend(std::iter::repeat_n('0', scale_digits));
    }
    if scale > 0 {
        digits = format!("{digits:0>width$}", width = scale_digits + 1);
        digits.insert(digits.len() - scale_digits, '.');
    }
    if negative { format!("-{digits}") } else { digits }
}

/// The digits of a number without its sign.
fn magnitude(bytes: [u8; 32], negative: bool) -> String {
    let (low, high) = bytes.split_at(16);
    let half = |bytes: &[u8]| u128::from_le_bytes(bytes.try_into().expect("16 of 32 bytes"));
    let (mut low, mut high) = (half(low), half(high));
    if negative {
        let carry;
        (low, carry) = (!low).overflowing_add(1);
        high = (!high).wrapping_add(carry.into());
    }
    if high == 0 {
        return low.to_string();
    }
    /// Ten to the 19th, the largest power of ten in 64 bits.
    const BASE: u128 = 10_000_000_000_000_000_000;
    let mut limbs = [high >> 64, high & u128::from(u64::MAX), low >> 64, low & u128::from(u64::MAX)];
    let mut digits = String::new();
    while limbs != [0; 4] {
        let mut rest = 0;
        for limb in &mut limbs {
            let dividend = rest << 64 | *limb;
            (*limb, rest) = (dividend / BASE, dividend % BASE);
        }
        digits.insert_str(0, &format!("{rest:019}"));
    }
    digits.trim_start_matches('0').to_owned()
}

/// Text or bytes of any length.
fn bytes(array: &Array<'_>, index: usize, lines: &mut LineWriter) -> Outcome {
    let outside = || Fault::invalid("its offsets lie outside of their buffer");
    let found = match (&array.data, &array.column.kind) {
        (Data::Variable { offsets, bytes }, Kind::Text(width) | Kind::Binary(width)) => {
            bytes.get(width.at(offsets, index)?..width.at(offsets, index + 1)?)
        }
        (Data::Views { views, buffers }, _) => {
            let view: &[u8] = bytes_at(views, index, 16)?;
            let number = |place: usize| Width::Four.at(view, place);
            let len = number(0)?;
            if len <= 12 {
                view.get(4..4 + len)
            } else {
                let start = number(3)?;
                buffers.get(number(2)?).and_then(|buffer| buffer.get(start..start + len))
            }
        }
        _ => None,
    };
    let found = found.ok_or_else(outside)?;
    match array.column.kind {
        Kind::Text(_) | Kind::TextView => {
            let text = std::str::from_utf8(found).map_err(|_| Fault::invalid("a string is not valid UTF-8"))?;
            Ok(lines.string(text)?)
        }
        _ => Ok(lines.base64(found)?),
    }
}
