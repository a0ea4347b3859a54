//! The JSON reader and the number and calendar arithmetic, each against an independent implementation.

use chrono::{DateTime, NaiveDate, NaiveTime};
use proptest::prelude::*;

use super::super::json::Reader;
use super::super::{decimal, temporal};

/// Our verdict on a whole text, and the value as `serde_json` reads our raw slice.
fn reads(text: &[u8]) -> bool {
    let Ok(mut reader) = Reader::new(text) else { return false };
    reader.skip_value().is_ok() && reader.finish().is_ok()
}

fn serde_reads(text: &[u8]) -> bool {
    match serde_json::from_slice::<serde_json::Value>(text) {
        Ok(_) => true,
        // To us a number is only its digits.
        Err(error) => error.to_string().starts_with("number out of range"),
    }
}

/// Texts that are JSON or nearly so.
fn nearly_json() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just(","),
        Just(":"),
        Just("\""),
        Just("\\"),
        Just(" "),
        Just("\"a\""),
        Just("\"a\":"),
        Just("1"),
        Just("-0"),
        Just("0.5"),
        Just("e1"),
        Just("1E+2"),
        Just("."),
        Just("true"),
        Just("false"),
        Just("null"),
        Just("\\u00e9"),
        Just("\\ud83d\\ude00"),
        Just("\\ud800"),
        Just("é"),
        Just("\n"),
        Just("\u{1}"),
        Just("\"abcdefghijklmnop\""),
        Just("[]"),
        Just("{}"),
        Just("{\"k\":1}"),
        Just("\\n"),
    ];
    proptest::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat())
}

/// Valid JSON with one byte changed, removed or added.
fn damaged_json() -> impl Strategy<Value = Vec<u8>> {
    let text =
        r#"{"a":[1,-2.5e-3,true,false,null,"x\n\"\u00e9\ud83d\ude00"],"b":{"c":{},"d":[]},"é":"long enough text"}"#;
    (0..text.len(), any::<u8>(), 0..3).prop_map(move |(at, byte, how)| {
        let mut bytes = text.as_bytes().to_vec();
        match how {
            0 => bytes[at] = byte,
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, byte),
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Invariant 1: the reader takes exactly the texts that `serde_json` takes.
    #[test]
    fn agrees_with_serde_json(text in nearly_json(), damaged in damaged_json(), any in any::<Vec<u8>>()) {
        for text in [text.as_bytes(), &damaged, &any] {
            prop_assert_eq!(reads(text), serde_reads(text), "{}", String::from_utf8_lossy(text));
        }
    }

    /// Invariant 2: strings have the values that `serde_json` gives them, escaped in any way.
    #[test]
    fn strings(value in any::<String>(), escape_all in any::<bool>()) {
        let text = if escape_all {
            let units: String = value.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            format!("\"{units}\"")
        } else {
            serde_json::Value::from(value.as_str()).to_string()
        };
        let mut reader = Reader::new(text.as_bytes()).expect("UTF-8");
        prop_assert_eq!(reader.peek(), Some(b'"'));
        prop_assert_eq!(reader.string().expect("a string").value(), value);
    }

    /// Invariant 3: a decimal's digits come back, however the number is written.
    #[test]
    fn decimals(value in any::<i128>(), scale in 0u8..=38, exponent in -50i32..50) {
        let digits = value.unsigned_abs().to_string();
        let sign = if value < 0 { "-" } else { "" };
        // digits × 10^-scale, with the point moved by the exponent.
        let places = i32::from(scale) + exponent;
        let text = if places <= 0 {
            format!("{sign}{digits}e{exponent}").replace(&format!("e{exponent}"), &format!("e{}", -i32::from(scale)))
        } else {
            let places = usize::try_from(places).expect("positive");
            let padded = format!("{digits:0>width$}", width = places + 1);
            let (whole, fraction) = padded.split_at(padded.len() - places);
            format!("{sign}{whole}.{fraction}e{exponent}")
        };
        prop_assert_eq!(decimal::unscaled(&text, scale), Ok(value), "{}", text);
    }

    /// Invariant 4: arbitrary text never panics the arithmetic, and what is no number is not taken for one.
    #[test]
    fn arbitrary_numbers(text in "[-+0-9.eE]{0,12}", scale in 0u8..=38) {
        let number = serde_json::from_str::<f64>(&text).is_ok() || serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
        prop_assert_eq!(decimal::unscaled(&text, scale) != Err(decimal::Unfit::Syntax), number, "{}", text);
    }

    /// Invariant 5: dates, times and instants agree with chrono.
    #[test]
    fn calendar(days in -719_162i32..=2_932_896, nanos in 0i64..86_400_000_000_000, offset in -1_439i32..=1_439) {
        let date = NaiveDate::from_epoch_days(days).expect("in range");
        prop_assert_eq!(temporal::date(&date.to_string()), Some(days));
        let seconds = u32::try_from(nanos / 1_000_000_000).expect("small");
        let fraction = u32::try_from(nanos % 1_000_000_000).expect("small");
        let time = NaiveTime::from_num_seconds_from_midnight_opt(seconds, fraction).expect("in range");
        prop_assert_eq!(temporal::time(&time.format("%H:%M:%S%.9f").to_string()), Some(nanos));
        let sign = if offset < 0 { '-' } else { '+' };
        let (hours, minutes) = (offset.abs() / 60, offset.abs() % 60);
        let text = format!("{date}T{}{sign}{hours:02}:{minutes:02}", time.format("%H:%M:%S%.f"));
        let expected = DateTime::parse_from_rfc3339(&text).expect("RFC 3339");
        let found = temporal::date_time(&text).expect("accepted");
        prop_assert_eq!(found.micros(), expected.timestamp_micros());
        prop_assert_eq!(found.nanos(), expected.timestamp_nanos_opt());
        prop_assert_eq!(found.offset, Some(i64::from(offset) * 60));
    }

    /// Invariant 6: arbitrary text never panics, and no date is taken that chrono refuses.
    #[test]
    fn arbitrary_calendar(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}", any in any::<String>(), near in "[0-9TZ: .+-]{0,32}") {
        let expected = NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok().filter(|_| !text.starts_with("0000"));
        prop_assert_eq!(temporal::date(&text), expected.map(|date| date.to_epoch_days()));
        for text in [any, near] {
            let _ = (temporal::date(&text), temporal::time(&text), temporal::date_time(&text));
        }
    }
}
