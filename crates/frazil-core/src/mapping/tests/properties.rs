//! Properties of the walk as a whole, over generated schemas and events.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A type, with values of it as the event has them and as the sink must get them.
#[derive(Debug, Clone)]
struct Typed {
    ty: Type,
    event: Value,
    row: Value,
}

fn leaf() -> impl Strategy<Value = Typed> {
    let typed = |ty: Type, event: Value, row: Value| Typed { ty, event, row };
    prop_oneof![
        any::<bool>().prop_map(move |v| typed(Type::Boolean, json!(v), json!(v))),
        any::<i32>().prop_map(move |v| typed(Type::Int, json!(v), json!(v))),
        any::<i64>().prop_map(move |v| typed(Type::Long, json!(v), json!(v))),
        (-9_007_199_254_740_991i64..=9_007_199_254_740_991).prop_map(move |v| typed(
            Type::Long,
            json!(v as f64),
            json!(v)
        )),
        any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(move |v| typed(
            Type::Double,
            json!(v),
            json!(v)
        )),
        any::<f32>().prop_filter("finite", |v| v.is_finite()).prop_map(move |v| typed(Type::Float, json!(v), json!(v))),
        any::<String>().prop_map(move |v| typed(Type::String, json!(v), json!(v))),
        any::<i64>().prop_map(move |v| typed(Type::String, json!(v), json!(v.to_string()))),
        proptest::collection::vec(any::<String>(), 0..3).prop_map(move |v| typed(
            Type::String,
            json!({ "k": v }),
            json!(json!({ "k": v }).to_string())
        )),
        (any::<i64>(), 0u8..19).prop_map(move |(v, scale)| {
            let text = format!("{v}e-{scale}");
            typed(Type::Decimal { precision: 38, scale }, json!(text), json!({"decimal": v.to_string()}))
        }),
        (-62_135_596_800_000i64..=253_402_300_799_999).prop_map(move |v| typed(
            Type::Timestamptz,
            json!(v),
            json!(v * 1000)
        )),
        proptest::collection::vec(any::<u8>(), 1..9).prop_map(move |v| {
            let text: String = v.iter().map(|byte| format!("{byte:02x}")).collect();
            let length = u32::try_from(v.len()).expect("short");
            typed(Type::Fixed(length), json!(text), json!({"bytes": v}))
        }),
        any::<[u8; 16]>().prop_map(move |v| {
            typed(Type::Uuid, json!(uuid::Uuid::from_bytes(v).to_string()), json!({"bytes": v}))
        }),
    ]
}

/// Any type with a value, which may be null.
fn typed() -> impl Strategy<Value = Typed> {
    leaf().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            members(inner.clone()).prop_map(|(fields, event, row)| Typed { ty: Type::Struct(fields), event, row }),
            (inner.clone(), 0usize..4).prop_map(|(element, len)| Typed {
                ty: Type::list(0, element.ty),
                event: Value::from(vec![element.event; len]),
                row: Value::from(vec![element.row; len]),
            }),
            (inner.clone(), proptest::collection::btree_set(any::<String>(), 0..4)).prop_map(|(value, keys)| {
                let event = keys.iter().map(|key| (key.clone(), value.event.clone())).collect();
                let mut row: Vec<Value> = keys.iter().map(|key| json!([key, value.row])).collect();
                // The event's text has its keys in the order of serde_json's map.
                row.sort_by_key(|pair| pair[0].as_str().map(str::to_owned));
                Typed {
                    ty: Type::map(0, Type::String, 0, value.ty),
                    event: Value::Object(event),
                    row: Value::from(row),
                }
            }),
            inner.prop_map(|value| Typed { event: Value::Null, row: Value::Null, ..value }),
        ]
    })
}

/// Fields of a struct, an object for them with some of them absent and in another order, and the row.
fn members(value: impl Strategy<Value = Typed>) -> impl Strategy<Value = (Vec<Field>, Value, Value)> {
    let member = ("[a-z]{1,3}", value, any::<bool>());
    proptest::collection::vec(member, 1..5).prop_shuffle().prop_map(|members| {
        let mut fields: Vec<Field> = Vec::new();
        let (mut event, mut row) = (Map::new(), Map::new());
        for (name, value, absent) in members {
            if row.contains_key(&name) {
                continue;
            }
            fields.push(Field::optional(0, name.clone(), value.ty));
            if absent {
                row.insert(name, Value::Null);
            } else {
                event.insert(name.clone(), value.event);
                row.insert(name, value.row);
            }
        }
        (fields, Value::Object(event), Value::Object(row))
    })
}

proptest! {
    /// Invariant 1: a valid event's row has exactly the event's values. (`row` also checks that validation
    /// alone agrees, and that every column got one value.)
    #[test]
    fn rows_equal_their_events((fields, event, expected) in members(typed())) {
        let schema = Schema::new(fields);
        let found = row(&schema, &event.to_string());
        prop_assert_eq!(found, Ok(expected));
    }

    /// Invariant 2: nothing is lost: what has no column is in `__extra__`, with its value.
    #[test]
    fn nothing_is_lost((fields, event, _) in members(typed()), keep in any::<u64>()) {
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
    fn sinks_agree((fields, _, _) in members(typed()), (_, event, _) in members(typed()), extra in any::<bool>()) {
        let mut schema = Schema::new(fields);
        if extra {
            schema = schema.with_system_columns();
        }
        let _ = row(&schema, &event.to_string());
    }

    /// Invariant 4: the same for damaged events.
    #[test]
    fn damaged_events((fields, event, _) in members(typed()), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = event.to_string().into_bytes();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] = byte;
        }
        let schema = Schema::new(fields).with_system_columns();
        let _ = row_with(&schema, &MappingPolicy::default(), &bytes);
    }

    /// Invariant 5: the same for arbitrary bytes.
    #[test]
    fn arbitrary_bytes((fields, _, _) in members(typed()), bytes in any::<Vec<u8>>()) {
        let _ = row_with(&Schema::new(fields), &MappingPolicy::default(), &bytes);
    }
}
