//! Generated columns, nested at will: what is read back from the JSON is what they were made of.

use arrow_buffer::BooleanBuffer;
use arrow_schema::TimeUnit;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDate, SecondsFormat};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

/// A column with the values that its rows must have.
#[derive(Debug, Clone)]
struct Sample {
    array: ArrayRef,
    json: Vec<Value>,
}

impl Sample {
    fn of<T>(values: Vec<Option<T>>, json: impl Fn(&T) -> Value, array: impl Fn(Vec<Option<T>>) -> ArrayRef) -> Self {
        let json = values.iter().map(|value| value.as_ref().map_or(Value::Null, &json)).collect();
        Self { array: array(values), json }
    }
}

fn leaf(rows: usize) -> BoxedStrategy<Sample> {
    macro_rules! leaves {
        ($(($values:expr, $json:expr, $array:expr)),* $(,)?) => {
            prop_oneof![$(vec(option::of($values), rows).prop_map(|v| Sample::of(v, $json, |v| Arc::new($array(v))))),*]
        };
    }
    let whole = leaves![
        (any::<bool>(), |v| Value::from(*v), BooleanArray::from),
        (any::<i8>(), |v| Value::from(*v), Int8Array::from),
        (any::<i16>(), |v| Value::from(*v), Int16Array::from),
        (any::<i32>(), |v| Value::from(*v), Int32Array::from),
        (any::<i64>(), |v| Value::from(*v), Int64Array::from),
        (any::<u8>(), |v| Value::from(*v), UInt8Array::from),
        (any::<u16>(), |v| Value::from(*v), UInt16Array::from),
        (any::<u32>(), |v| Value::from(*v), UInt32Array::from),
        (any::<u64>(), |v| Value::from(*v), UInt64Array::from),
        (any::<f64>(), |v| Value::from(*v), Float64Array::from),
    ];
    let text = leaves![
        (any::<String>(), |v| Value::from(v.as_str()), StringArray::from),
        (any::<String>(), |v| Value::from(v.as_str()), LargeStringArray::from),
        (any::<String>(), |v| Value::from(v.as_str()), StringViewArray::from),
        (
            any::<String>(),
            |v| Value::from(v.as_str()),
            |v: Vec<Option<String>>| { v.iter().map(Option::as_deref).collect::<DictionaryArray<Int32Type>>() }
        ),
        (
            any::<String>(),
            |v| Value::from(v.as_str()),
            |v: Vec<Option<String>>| { v.iter().map(Option::as_deref).collect::<RunArray<Int32Type>>() }
        ),
        (
            any::<Vec<u8>>(),
            |v| Value::from(STANDARD.encode(v)),
            |v: Vec<Option<Vec<u8>>>| { BinaryArray::from_iter(v) }
        ),
        (
            any::<Vec<u8>>(),
            |v| Value::from(STANDARD.encode(v)),
            |v: Vec<Option<Vec<u8>>>| { BinaryViewArray::from_iter(v) }
        ),
    ];
    let time = leaves![
        (
            -719_162..2_932_897,
            |v| Value::from(NaiveDate::from_epoch_days(*v).expect("a day").format("%Y-%m-%d").to_string()),
            Date32Array::from
        ),
        (
            any::<i64>(),
            |v| Value::from(DateTime::from_timestamp_nanos(*v).to_rfc3339_opts(SecondsFormat::Nanos, true)),
            |v| TimestampNanosecondArray::from(v).with_timezone_utc()
        ),
        (
            -62_135_596_800_000_000..253_402_300_800_000_000i64,
            |v| {
                let time = DateTime::from_timestamp_micros(*v).expect("a time").naive_utc();
                Value::from(time.format("%Y-%m-%dT%H:%M:%S%.6f").to_string())
            },
            TimestampMicrosecondArray::from
        ),
    ];
    prop_oneof![whole, text, time].boxed()
}

fn nulls_of(rows: usize) -> impl Strategy<Value = Vec<bool>> {
    vec(any::<bool>(), rows)
}

fn validity(valid: &[bool]) -> Option<NullBuffer> {
    Some(NullBuffer::new(BooleanBuffer::from(valid.to_vec())))
}

fn list(rows: usize, depth: usize) -> BoxedStrategy<Sample> {
    (vec(0..4usize, rows), nulls_of(rows), any::<bool>())
        .prop_flat_map(move |(sizes, valid, views)| {
            sample(sizes.iter().sum(), depth - 1).prop_map(move |child| {
                let field = Arc::new(Field::new_list_field(child.array.data_type().clone(), true));
                let offsets = OffsetBuffer::<i32>::from_lengths(sizes.iter().copied());
                let array = ListArray::new(field, offsets.clone(), child.array, validity(&valid));
                let json = offsets.windows(2).zip(&valid).map(|(ends, valid)| {
                    let elements = &child.json[ends[0] as usize..ends[1] as usize];
                    if *valid { Value::from(elements.to_vec()) } else { Value::Null }
                });
                let json = json.collect();
                let array: ArrayRef = if views { Arc::new(ListViewArray::from(array)) } else { Arc::new(array) };
                Sample { array, json }
            })
        })
        .boxed()
}

fn object(rows: usize, depth: usize) -> BoxedStrategy<Sample> {
    (sample(rows, depth - 1), sample(rows, depth - 1), nulls_of(rows))
        .prop_map(|(a, b, valid)| {
            let field = |name: &str, of: &Sample| Field::new(name, of.array.data_type().clone(), true);
            let fields = Fields::from(vec![field("a", &a), field("b.\"c\"", &b)]);
            let members =
                a.json.into_iter().zip(b.json).zip(&valid).map(|((a, b), valid)| {
                    if *valid { serde_json::json!({"a": a, "b.\"c\"": b}) } else { Value::Null }
                });
            let json = members.collect();
            Sample { array: Arc::new(StructArray::new(fields, vec![a.array, b.array], validity(&valid))), json }
        })
        .boxed()
}

fn sample(rows: usize, depth: usize) -> BoxedStrategy<Sample> {
    if depth == 0 {
        return leaf(rows);
    }
    prop_oneof![leaf(rows), list(rows, depth), object(rows, depth)].boxed()
}

fn columns() -> impl Strategy<Value = Vec<Sample>> {
    (0..6usize).prop_flat_map(|rows| vec(sample(rows, 3), 1..4))
}

fn body_of(samples: &[Sample]) -> Vec<u8> {
    let names = ["one", "two", "three"];
    let columns = names.into_iter().zip(samples).map(|(name, sample)| (name, sample.array.clone())).collect();
    stream_of(&[batch_of(columns)])
}

proptest! {
    /// 1. Every value of every row is the one that went in.
    #[test]
    fn values_come_back(samples in columns()) {
        let found = lines(&body_of(&samples));
        prop_assert_eq!(found.len(), samples[0].json.len());
        for (row, line) in found.iter().enumerate() {
            // As text: parsing floating point by `serde_json` is not exact.
            let members = ["one", "two", "three"].into_iter().zip(&samples);
            let members: Vec<_> = members.map(|(name, sample)| format!("\"{name}\":{}", sample.json[row])).collect();
            prop_assert_eq!(line, &format!("{{{}}}", members.join(",")));
        }
    }

    /// 2. Bytes that are flipped, cut off or put in the middle make an error or other rows, but no panic.
    #[test]
    fn damage_is_survived(
        samples in columns(),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in option::of(any::<prop::sample::Index>()),
    ) {
        let mut body = body_of(&samples);
        for (place, byte) in flips {
            let place = place.index(body.len());
            body[place] = byte;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        // Not `convert`, which would catch a panic.
        if let Ok(events) = rows(&body, 10_000) {
            prop_assert!(events.bytes() <= 10_000);
            prop_assert!(events.iter().all(|line| serde_json::from_slice::<Value>(line).is_ok()));
        }
    }

    /// 3. No bytes make it panic.
    #[test]
    fn any_bytes(body: Vec<u8>) {
        let _ = rows(&body, 1000);
    }
}

#[test]
fn every_unit_of_time_has_its_digits() {
    for (unit, text) in [
        (TimeUnit::Second, "1970-01-01T00:00:07"),
        (TimeUnit::Millisecond, "1970-01-01T00:00:00.007"),
        (TimeUnit::Microsecond, "1970-01-01T00:00:00.000007"),
        (TimeUnit::Nanosecond, "1970-01-01T00:00:00.000000007"),
    ] {
        let (seven, zone) = (vec![7], Some("UTC"));
        let [local, zoned]: [ArrayRef; 2] =
            match unit {
                TimeUnit::Second => {
                    [None, zone].map(|z| Arc::new(TimestampSecondArray::from(seven.clone()).with_timezone_opt(z)) as _)
                }
                TimeUnit::Millisecond => [None, zone]
                    .map(|z| Arc::new(TimestampMillisecondArray::from(seven.clone()).with_timezone_opt(z)) as _),
                TimeUnit::Microsecond => [None, zone]
                    .map(|z| Arc::new(TimestampMicrosecondArray::from(seven.clone()).with_timezone_opt(z)) as _),
                TimeUnit::Nanosecond => [None, zone]
                    .map(|z| Arc::new(TimestampNanosecondArray::from(seven.clone()).with_timezone_opt(z)) as _),
            };
        let body = stream_of(&[batch_of(vec![("l", local), ("z", zoned)])]);
        assert_eq!(lines(&body), [format!("{{\"l\":\"{text}\",\"z\":\"{text}Z\"}}")]);
    }
}
