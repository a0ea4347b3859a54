//! Tests of schema inference.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::mapping::{MappingPolicy, NoColumn, Plan, RowMeta};

const META: RowMeta<'_> = RowMeta { id: "id", ts_micros: 0, write_id: "w" };

fn infer(events: &[&str]) -> Schema {
    infer_schema(events.iter().map(|event| event.as_bytes())).expect("valid events")
}

/// The columns as `name: type`, after checking that every event is valid for them.
fn columns(events: &[&str]) -> Vec<String> {
    let schema = infer(events);
    accept_all(&schema, events.iter().map(|event| event.as_bytes()));
    schema.fields.iter().map(|field| format!("{}: {}", field.name, field.ty)).collect()
}

fn accept_all<'e>(schema: &Schema, events: impl Iterator<Item = &'e [u8]>) {
    let schema = schema.clone().with_system_columns();
    let plan = Plan::new(&schema, &MappingPolicy::default()).expect("an inferred schema has a plan");
    for event in events {
        if let Err(error) = plan.row(event, &META, &mut NoColumn) {
            panic!("{error}\nevent: {}\nschema: {schema:?}", String::from_utf8_lossy(event));
        }
    }
}

#[test]
fn one_type_per_kind() {
    assert_eq!(
        columns(&[
            r#"{"l":1,"d":1.5,"e":1e3,"b":true,"s":"x","t":"2024-05-01T10:00:00.123+02:00","o":{"x":1},"a":[1,null]}"#
        ]),
        [
            "l: long",
            "d: double",
            "e: double",
            "b: boolean",
            "s: string",
            "t: timestamptz",
            "o: struct<x: long>",
            "a: list<long>"
        ]
    );
}

#[test]
fn merges_over_events() {
    assert_eq!(columns(&[r#"{"a":1}"#, r#"{"a":1.5,"b":null}"#, r#"{"b":2}"#]), ["a: double", "b: long"]);
    assert_eq!(columns(&[r#"{"t":"2024-05-01T10:00:00Z"}"#, r#"{"t":"2024-05-01T10:00:00"}"#]), ["t: string"]);
    assert_eq!(columns(&[r#"{"a":1}"#, r#"{"a":"x"}"#]), ["a: string"]);
    assert_eq!(columns(&[r#"{"a":{"x":1}}"#, r#"{"a":[1]}"#]), ["a: string"]);
    assert_eq!(
        columns(&[r#"{"a":[{"x":1}]}"#, r#"{"a":[{"y":[[true]]},null]}"#]),
        ["a: list<struct<x: long, y: list<list<boolean>>>>"]
    );
    assert_eq!(columns(&[r#"{"a":[1,"x",{}]}"#]), ["a: list<string>"]);
}

#[test]
fn empty_things_are_left_out_unless_mixed() {
    assert_eq!(columns(&[r#"{"n":null,"l":[],"o":{},"p":{"q":{}},"m":[null,[]],"a":1}"#]), ["a: long"]);
    assert_eq!(columns(&["{}"]), [""; 0]);
    assert_eq!(columns(&[]), [""; 0]);
    // An empty object beside another kind must still be kept.
    assert_eq!(columns(&[r#"{"a":{}}"#, r#"{"a":1}"#, r#"{"a":[]}"#]), ["a: string"]);
    assert_eq!(columns(&[r#"{"a":[]}"#, r#"{"a":{"x":1}}"#]), ["a: string"]);
    assert_eq!(columns(&[r#"{"a":{}}"#, r#"{"a":{"x":1}}"#]), ["a: struct<x: long>"]);
}

#[test]
fn numbers_stay_lossless() {
    assert_eq!(columns(&[r#"{"a":9223372036854775807,"b":-9223372036854775808}"#]), ["a: long", "b: long"]);
    assert_eq!(columns(&[r#"{"a":9223372036854775808}"#]), ["a: string"]);
    assert_eq!(columns(&[r#"{"a":1e400}"#, r#"{"a":1}"#]), ["a: string"]);
    assert_eq!(columns(&[r#"{"a":-0,"b":-0.0}"#]), ["a: long", "b: double"]);
}

#[test]
fn names_that_do_not_become_columns() {
    assert_eq!(
        columns(&[r#"{"__id__":1,"__TS__":2,"":3,"a":{"__id__":1},"A":5,"a.__id__":6,"b":7}"#]),
        ["a: struct<__id__: long>", "b: long"]
    );
    assert_eq!(columns(&[r#"{"l.element":1,"l":[1],"o.x":1,"o":{"x":1}}"#]), ["l.element: long", "o.x: long"]);
    assert_eq!(columns(&[r#"{"A":null,"a":1}"#]), ["a: long"]);
}

#[test]
fn ids_are_in_pre_order() {
    let schema = infer(&[r#"{"n":null,"o.x":1,"o":{"x":1},"a":{"b":[{"c":1}],"d":2},"e":3}"#]);
    assert_eq!(
        schema.to_value()["fields"],
        json!([
            {"id": 1, "name": "o.x", "required": false, "type": "long"},
            {"id": 2, "name": "a", "required": false, "type": {"type": "struct", "fields": [
                {"id": 3, "name": "b", "required": false, "type":
                    {"type": "list", "element-id": 4, "element-required": false, "element":
                        {"type": "struct", "fields": [{"id": 5, "name": "c", "required": false, "type": "long"}]}}},
                {"id": 6, "name": "d", "required": false, "type": "long"},
            ]}},
            {"id": 7, "name": "e", "required": false, "type": "long"},
        ])
    );
}

#[test]
fn width_is_bounded() {
    let wide: Map<String, Value> = (0..MAX_COLUMNS + 50).map(|i| (format!("f{i}"), json!(i))).collect();
    let top = Value::Object(wide.clone()).to_string();
    assert_eq!(columns(&[&top]).len(), MAX_COLUMNS);
    let nested = json!({"a_first": 1, "b_wide": wide, "c_last": [1]}).to_string();
    assert_eq!(columns(&[&nested]), ["a_first: long", "b_wide: string"]);
}

#[test]
fn depth_is_bounded() {
    for depth in [10, MAX_COLUMN_DEPTH - 1, MAX_COLUMN_DEPTH, 100] {
        let event = format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        let expected = if depth <= MAX_COLUMN_DEPTH { "long" } else { "string" };
        let found = columns(&[&event]).concat();
        assert!(found.contains(expected), "{depth}: {found}");
        let event = format!(r#"{{"a":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth));
        columns(&[&event]);
    }
}

#[test]
fn refusals_name_the_event() {
    for bad in ["[1]", "{", r#"{"a":1} x"#, r#"{"a":1,"a":2}"#, "", "\u{feff}{}"] {
        let events = [r#"{"a":1}"#, bad];
        let error = infer_schema(events.iter().map(|event| event.as_bytes())).expect_err(bad);
        assert_eq!(error.index, 1, "{bad}");
    }
    // The same name in two objects of one list is no repetition.
    columns(&[r#"{"a":[{"x":1},{"x":2}],"x":3}"#]);
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0i64..10).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(Value::from("2024-05-01T10:00:00Z")),
        Just(Value::from("2024-05-01 10:00:00.000000001-03:30")),
        Just(Value::from("2024-05-01")),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            members(inner).prop_map(Value::Object),
        ]
    })
}

/// Few names, so that events meet on them; some of them awkward.
fn members(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let name = prop_oneof![
        6 => "[a-d]",
        1 => Just("A".to_owned()),
        1 => Just("a.b".to_owned()),
        1 => Just("__id__".to_owned()),
        1 => Just("__extra__".to_owned()),
        1 => any::<String>(),
    ];
    proptest::collection::vec((name, value), 0..6).prop_map(|members| members.into_iter().collect())
}

proptest! {
    /// Invariant 1: every event is valid for the schema inferred from it and its batch.
    #[test]
    fn inferred_schema_takes_its_batch(events in proptest::collection::vec(members(any_value()), 0..8)) {
        let events: Vec<String> = events.into_iter().map(|event| Value::Object(event).to_string()).collect();
        let schema = infer(&events.iter().map(String::as_str).collect::<Vec<_>>());
        accept_all(&schema, events.iter().map(|event| event.as_bytes()));
        // Invariant 2: the ids are exactly 1..=n.
        let json = schema.to_value().to_string();
        let mut ids: Vec<i32> = json
            .split("id\":")
            .skip(1)
            .filter_map(|rest| rest[..rest.find([',', '}'])?].parse().ok())
            .filter(|id| *id > 0)
            .collect();
        ids.sort_unstable();
        prop_assert_eq!(ids, (1..=schema.highest_field_id()).collect::<Vec<_>>());
    }

    /// Invariant 3: arbitrary bytes never panic.
    #[test]
    fn arbitrary_bytes(bytes in any::<Vec<u8>>()) {
        let _ = infer_schema(std::iter::once(bytes.as_slice()));
    }
}
