//! Properties of the walk as a whole, over generated schemas and events.

use base64::Engine as _;
use chrono::{DateTime, NaiveDate, NaiveDateTime};
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A type, with one value of it as the event has it and as the sink must get it.
#[derive(Debug, Clone)]
struct Typed {
    ty: Type,
    event: Value,
    row: Value,
}

fn typed(ty: Type, event: impl Into<Value>, row: impl Into<Value>) -> Typed {
    Typed { ty, event: event.into(), row: row.into() }
}

/// The whole range of years 0001 to 9999, in units since the epoch of which a second has `per_second`.
fn instants(per_second: i64) -> std::ops::RangeInclusive<i64> {
    (-62_135_596_800 * per_second)..=(253_402_300_800 * per_second - 1)
}

/// A local date and time with nanoseconds, and its offset in minutes from UTC.
fn local() -> impl Strategy<Value = (NaiveDateTime, i32)> {
    let parts = (instants(1), 0u32..1_000_000_000, -1439i32..=1439);
    parts.prop_map(|(seconds, nanos, offset)| {
        (DateTime::from_timestamp(seconds, nanos).expect("in range").naive_utc(), offset)
    })
}

/// An instant as RFC 3339 text of this local time with offset, and in microseconds.
fn instant(local: NaiveDateTime, offset: i32) -> (String, i64) {
    let sign = if offset < 0 { '-' } else { '+' };
    let text =
        format!("{}{sign}{:02}:{:02}", local.format("%Y-%m-%dT%H:%M:%S%.9f"), offset.abs() / 60, offset.abs() % 60);
    (text, local.and_utc().timestamp_micros() - i64::from(offset) * 60_000_000)
}

fn numbers() -> impl Strategy<Value = Typed> {
    let float = any::<f32>().prop_filter("finite", |v| v.is_finite());
    let double = any::<f64>().prop_filter("finite", |v| v.is_finite());
    let decimal = (1u8..=38).prop_flat_map(|precision| {
        let largest = 10i128.pow(precision.into()) - 1;
        (Just(precision), 0..=precision, prop_oneof![Just(largest), Just(-largest), -largest..=largest])
    });
    prop_oneof![
        any::<bool>().prop_map(|v| typed(Type::Boolean, v, v)),
        prop_oneof![any::<i32>(), Just(i32::MIN), Just(i32::MAX)].prop_map(|v| typed(Type::Int, v, v)),
        prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX)].prop_map(|v| typed(Type::Long, v, v)),
        (-9_007_199_254_740_991i64..=9_007_199_254_740_991).prop_map(|v| typed(Type::Long, v as f64, v)),
        double.prop_map(|v| typed(Type::Double, v, v)),
        float.prop_map(|v| typed(Type::Float, v, v)),
        decimal.prop_map(|(precision, scale, v)| {
            typed(Type::Decimal { precision, scale }, format!("{v}e-{scale}"), json!({ "decimal": v.to_string() }))
        }),
    ]
}

fn times() -> impl Strategy<Value = Typed> {
    prop_oneof![
        (-719_162i32..=2_932_896).prop_map(|days| {
            typed(Type::Date, NaiveDate::from_epoch_days(days).expect("in range").to_string(), days)
        }),
        instants(1_000).prop_map(|v| typed(Type::Date, v, v.div_euclid(86_400_000))),
        local().prop_map(|(at, _)| {
            let micros = at.and_utc().timestamp_micros().rem_euclid(86_400_000_000);
            typed(Type::Time, at.format("%H:%M:%S%.9f").to_string(), micros)
        }),
        (0i64..86_400_000).prop_map(|v| typed(Type::Time, v, v * 1_000)),
        local().prop_map(|(at, _)| typed(Type::Timestamp, at.to_string(), at.and_utc().timestamp_micros())),
        instants(1_000).prop_map(|v| typed(Type::Timestamptz, v, v * 1_000)),
        local().prop_map(|(at, offset)| {
            let (text, micros) = instant(at, offset);
            typed(Type::Timestamptz, text, micros)
        }),
        any::<i64>().prop_map(|nanos| {
            let text = DateTime::from_timestamp_nanos(nanos).naive_utc().format("%Y-%m-%d %H:%M:%S%.9f").to_string();
            typed(Type::TimestampNs, text, nanos)
        }),
        any::<i64>().prop_map(|nanos| typed(
            Type::TimestamptzNs,
            DateTime::from_timestamp_nanos(nanos).to_rfc3339(),
            nanos
        )),
        (-9_223_372_036_854i64..=9_223_372_036_854).prop_map(|v| typed(Type::TimestamptzNs, v, v * 1_000_000)),
    ]
}

fn texts() -> impl Strategy<Value = Typed> {
    prop_oneof![
        any::<String>().prop_map(|v| typed(Type::String, v.clone(), v)),
        any::<i64>().prop_map(|v| typed(Type::String, v, v.to_string())),
        proptest::collection::vec(any::<String>(), 0..3).prop_map(|v| typed(
            Type::String,
            json!({ "k": v }),
            json!({ "k": v }).to_string()
        )),
        proptest::collection::vec(any::<u8>(), 1..9).prop_map(|v| {
            let text: String = v.iter().map(|byte| format!("{byte:02x}")).collect();
            let length = u32::try_from(v.len()).expect("short");
            typed(Type::Fixed(length), text, json!({ "bytes": v }))
        }),
        proptest::collection::vec(any::<u8>(), 0..9).prop_map(|v| {
            let text = base64::engine::general_purpose::STANDARD.encode(&v);
            typed(Type::Binary, text, json!({ "bytes": v }))
        }),
        any::<[u8; 16]>().prop_map(|v| typed(Type::Uuid, uuid::Uuid::from_bytes(v).to_string(), json!({ "bytes": v }))),
    ]
}

fn leaf() -> BoxedStrategy<Typed> {
    prop_oneof![numbers().boxed(), times().boxed(), texts().boxed()].boxed()
}

/// Any type, nested four deep at most, with a value, which may be null.
fn any_typed() -> BoxedStrategy<Typed> {
    leaf()
        .prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                members(inner.clone()).prop_map(|(fields, event, row)| Typed { ty: Type::Struct(fields), event, row }),
                (inner.clone(), 0usize..4, any::<bool>()).prop_map(|(element, len, optional)| Typed {
                    ty: Type::List {
                        element_id: 0,
                        element_required: !optional && !element.row.is_null(),
                        element: Box::new(element.ty),
                    },
                    event: Value::from(vec![element.event; len]),
                    row: Value::from(vec![element.row; len]),
                }),
                (inner.clone(), proptest::collection::btree_set(any::<String>(), 0..4)).prop_map(|(value, keys)| {
                    let event = keys.iter().map(|key| (key.clone(), value.event.clone())).collect();
                    let row: Vec<Value> = keys.iter().map(|key| json!([key, value.row])).collect();
                    typed(Type::map(0, Type::String, 0, value.ty), Value::Object(event), row)
                }),
                (inner.clone(), leaf(), any::<bool>()).prop_filter_map(
                    "keys of text are an object's",
                    |(value, key, empty)| {
                        let (keys, values, row) = match empty {
                            true => (json!([]), json!([]), json!([])),
                            false => (json!([key.event]), json!([value.event]), json!([[key.row, value.row]])),
                        };
                        let event = json!({ "keys": keys, "values": values });
                        (key.ty != Type::String).then(|| typed(Type::map(0, key.ty, 0, value.ty), event, row))
                    }
                ),
                inner.prop_map(|value| Typed { event: Value::Null, row: Value::Null, ..value }),
            ]
        })
        .boxed()
}

/// Fields of a struct, an object for them with some of them absent and in another order, and the row.
fn members(value: BoxedStrategy<Typed>) -> BoxedStrategy<(Vec<Field>, Value, Value)> {
    let member = ("[a-z]{1,3}", value, any::<bool>(), any::<bool>());
    proptest::collection::vec(member, 1..5)
        .prop_shuffle()
        .prop_map(|members| {
            let mut fields: Vec<Field> = Vec::new();
            let (mut event, mut row) = (Map::new(), Map::new());
            for (name, value, absent, required) in members {
                if row.contains_key(&name) {
                    continue;
                }
                let required = required && !absent && !value.row.is_null();
                fields.push(Field { required, ..Field::optional(0, name.clone(), value.ty) });
                if absent {
                    row.insert(name, Value::Null);
                } else {
                    event.insert(name.clone(), value.event);
                    row.insert(name, value.row);
                }
            }
            (fields, Value::Object(event), Value::Object(row))
        })
        .boxed()
}

fn policies() -> impl Strategy<Value = MappingPolicy> {
    let units = [EpochUnit::Seconds, EpochUnit::Millis, EpochUnit::Micros, EpochUnit::Nanos];
    let flags = (any::<bool>(), any::<bool>(), prop::sample::select(&[NonFinite::Reject, NonFinite::Accept][..]));
    (prop::sample::select(units.to_vec()), flags).prop_map(|(epoch_unit, flags)| {
        let (case_insensitive, numbers_in_strings, non_finite) = flags;
        MappingPolicy { epoch_unit, case_insensitive, numbers_in_strings, non_finite }
    })
}

/// The event with every number that a binary number column got as a string.
fn quoted(ty: &Type, value: &Value) -> Value {
    match (ty, value) {
        (Type::Int | Type::Long | Type::Float | Type::Double, Value::Number(number)) => number.to_string().into(),
        (Type::Struct(fields), Value::Object(members)) => {
            let ty = |name: &str| fields.iter().find(|field| field.name == name).map(|field| &field.ty);
            let member = |(name, value): (&String, &Value)| {
                (name.clone(), ty(name).map_or_else(|| value.clone(), |ty| quoted(ty, value)))
            };
            Value::Object(members.iter().map(member).collect())
        }
        (Type::List { element, .. }, Value::Array(values)) => {
            values.iter().map(|value| quoted(element, value)).collect()
        }
        (Type::Map { key, value, .. }, Value::Object(members)) if **key == Type::String => {
            Value::Object(members.iter().map(|(name, member)| (name.clone(), quoted(value, member))).collect())
        }
        (Type::Map { key, value: ty, .. }, Value::Object(members)) => {
            let list = |ty: &Type| Type::list(0, ty.clone());
            json!({"keys": quoted(&list(key), &members["keys"]), "values": quoted(&list(ty), &members["values"])})
        }
        _ => value.clone(),
    }
}

proptest! {
    /// Invariant 1: a valid event's row has exactly the event's values. (`row` also checks that validation
    /// alone agrees, and that every column got one value.)
    #[test]
    fn rows_equal_their_events((fields, event, expected) in members(any_typed())) {
        let schema = Schema::new(fields);
        let found = row(&schema, &event.to_string());
        prop_assert_eq!(found, Ok(expected));
    }

    /// Invariant 2: nothing is lost: what has no column is in `__extra__`, with its value.
    #[test]
    fn nothing_is_lost((fields, event, _) in members(any_typed()), keep in any::<u64>()) {
        let kept: Vec<Field> = fields.iter().enumerate().filter(|(i, _)| keep >> i & 1 == 1).map(|(_, f)| f.clone()).collect();
        let schema = Schema::new(kept.clone()).with_system_columns();
        let found = row(&schema, &event.to_string()).expect("valid");
        let mut expected = event.as_object().expect("an object").clone();
        kept.iter().for_each(|field| drop(expected.remove(&field.name)));
        match &found["__extra__"] {
            Value::Null => prop_assert!(expected.is_empty()),
            text => {
                // Compared as text: serde_json's own parser rounds some doubles.
                let mut members: Vec<String> = expected.iter().map(|(k, v)| format!("{}:{v}", json!(k))).collect();
                members.sort();
                prop_assert_eq!(text, &Value::from(format!("{{{}}}", members.join(","))));
            }
        }
    }

    /// Invariant 3: the sinks agree on any schema and any event, and nothing panics.
    #[test]
    fn sinks_agree((fields, _, _) in members(any_typed()), (_, event, _) in members(any_typed()), extra in any::<bool>(), policy in policies()) {
        let mut schema = Schema::new(fields);
        if extra {
            schema = schema.with_system_columns();
        }
        let _ = row_with(&schema, &policy, event.to_string().as_bytes());
    }

    /// Invariant 4: the same for damaged events.
    #[test]
    fn damaged_events((fields, event, _) in members(any_typed()), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(), policy in policies()) {
        let mut bytes = event.to_string().into_bytes();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] = byte;
        }
        let schema = Schema::new(fields).with_system_columns();
        if Plan::new(&schema, &policy).is_ok() {
            let _ = row_with(&schema, &policy, &bytes);
        }
    }

    /// Invariant 5: numbers in strings come to the same as numbers, where they are allowed, and are refused elsewhere.
    #[test]
    fn numbers_in_strings((fields, event, expected) in members(any_typed())) {
        let text = quoted(&Type::Struct(fields.clone()), &event);
        let schema = Schema::new(fields);
        let policy = MappingPolicy { numbers_in_strings: true, ..MappingPolicy::default() };
        prop_assert_eq!(row_with(&schema, &policy, text.to_string().as_bytes()), Ok(expected));
        prop_assert_eq!(row(&schema, &text.to_string()).is_ok(), text == event);
    }

    /// Invariant 6: the same for arbitrary bytes.
    #[test]
    fn arbitrary_bytes((fields, _, _) in members(any_typed()), bytes in any::<Vec<u8>>()) {
        let _ = row_with(&Schema::new(fields), &MappingPolicy::default(), &bytes);
    }
}
