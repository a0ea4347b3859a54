//! Tests of the translation of JSON Schemas.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::mapping::{MappingPolicy, NoColumn, Plan, RowMeta};

fn columns(schema: &Value) -> Result<Vec<String>, String> {
    let schema = parse(schema.to_string().as_bytes()).map_err(|error| error.to_string())?;
    let mark = |field: &Field| if field.required { "!" } else { "" };
    Ok(schema.fields.iter().map(|field| format!("{}: {}{}", field.name, field.ty, mark(field))).collect())
}

/// The type of a column `c` with this schema.
fn column(schema: Value) -> String {
    let whole = json!({"type": "object", "properties": {"c": schema}, "required": ["c"]});
    let columns = columns(&whole).unwrap_or_else(|error| panic!("{whole}: {error}"));
    columns[0].strip_prefix("c: ").expect("the column's name").to_owned()
}

fn refusal(schema: Value) -> String {
    columns(&schema).expect_err("refused")
}

#[test]
fn types() {
    for (schema, expected) in [
        (json!({"type": "boolean"}), "boolean!"),
        (json!({"type": "integer"}), "long!"),
        (json!({"type": "integer", "minimum": 0, "maximum": 255}), "long!"),
        (json!({"type": "integer", "format": "int32"}), "int!"),
        (json!({"type": "integer", "format": "int64"}), "long!"),
        (json!({"type": "integer", "format": "uint64"}), "decimal(20,0)!"),
        (json!({"type": "integer", "maximum": u64::MAX}), "decimal(38,0)!"),
        (json!({"type": "number"}), "double!"),
        (json!({"type": "number", "format": "float"}), "float!"),
        (json!({"type": "number", "format": "decimal", "x-precision": 12, "x-scale": 2}), "decimal(12,2)!"),
        (json!({"type": "number", "format": "decimal", "multipleOf": 0.001}), "decimal(38,3)!"),
        (json!({"type": "string", "format": "decimal", "x-scale": 0}), "decimal(38,0)!"),
        (json!({"type": "string"}), "string!"),
        (json!({"type": "string", "format": "email"}), "string!"),
        (json!({"type": "string", "format": "date"}), "date!"),
        (json!({"type": "string", "format": "date-time"}), "timestamptz!"),
        (json!({"type": "string", "format": "date-time-local"}), "timestamp!"),
        (json!({"type": "string", "format": "time"}), "string!"),
        (json!({"type": "string", "format": "time-local"}), "time!"),
        (json!({"type": "string", "format": "uuid"}), "uuid!"),
        (json!({"type": "string", "format": "byte"}), "binary!"),
        (json!({"type": "string", "contentEncoding": "base64"}), "binary!"),
        (json!({"type": "string", "contentEncoding": "base16"}), "string!"),
        (json!({"type": "string", "enum": ["a", "b"]}), "string!"),
        (json!({"enum": ["a", "b", null]}), "string"),
        (json!({"enum": [1, 2]}), "long!"),
        (json!({"enum": [1, "a"]}), "string!"),
        (json!({"const": true}), "boolean!"),
        (json!({"type": ["string", "null"]}), "string"),
        (json!({"type": ["integer", "number"]}), "double!"),
        (json!({"type": ["integer", "string"]}), "string!"),
        (json!({"type": "null"}), "string"),
        (json!({"type": "integer", "nullable": true}), "long"),
        (json!({}), "string"),
        (json!(true), "string"),
    ] {
        assert_eq!(column(schema.clone()), expected, "{schema}");
    }
}

#[test]
fn nested_types() {
    for (schema, expected) in [
        (json!({"type": "array", "items": {"type": "integer"}}), "list<long>!"),
        (json!({"items": {"items": {"type": "boolean"}}}), "list<list<boolean>>!"),
        (json!({"type": "array"}), "string!"),
        (json!({"type": "array", "items": true}), "string!"),
        (json!({"type": "array", "items": [{"type": "integer"}]}), "string!"),
        (json!({"type": "array", "prefixItems": [{}], "items": {"type": "integer"}}), "string!"),
        (json!({"type": "object"}), "string!"),
        (json!({"type": "object", "additionalProperties": {"type": "number"}}), "map<string, double>!"),
        (json!({"type": "object", "additionalProperties": true}), "string!"),
        (json!({"type": "object", "patternProperties": {"^x": {"type": "integer"}}}), "string!"),
        (
            json!({"properties": {"z": {"type": "integer"}, "no": false, "a": {"type": "string"}}}),
            "struct<a: string, z: long>!",
        ),
        (json!({"anyOf": [{"type": "null"}, {"type": "integer"}]}), "long"),
        (json!({"oneOf": [{"type": "string", "format": "date"}, {"const": null}]}), "date"),
        (json!({"oneOf": [{"type": "integer"}, {"type": "string"}]}), "string"),
        (json!({"anyOf": [{"type": "integer"}], "oneOf": [{"type": "integer"}]}), "string"),
        (json!({"allOf": [{"type": "integer"}], "description": "d"}), "long!"),
        (json!({"allOf": [{"type": "integer"}, {"minimum": 1}]}), "string"),
        (json!({"type": "integer", "anyOf": [{"minimum": 1}, {"maximum": 0}]}), "long!"),
    ] {
        assert_eq!(column(schema.clone()), expected, "{schema}");
    }
}

#[test]
fn the_order_of_the_file_and_its_descriptions_are_kept() {
    let text = br#"{"type":"object","properties":{
        "z":{"type":"integer","title":"Z","description":"last letter"},"a":{"type":"string","title":"A"},
        "m":{"type":"object","properties":{"y":{"type":"array","items":{"type":"string"}},"b":{"type":["boolean","null"]}},
             "required":["y","b"]}}}"#;
    let schema = parse(text).expect("valid");
    let found: Vec<_> = schema.fields.iter().map(|f| (f.id, f.name.as_str(), f.doc.as_deref())).collect();
    assert_eq!(found, [(1, "z", Some("last letter")), (2, "a", Some("A")), (3, "m", None)]);
    let Type::Struct(inner) = &schema.fields[2].ty else { panic!("no struct") };
    let found: Vec<_> = inner.iter().map(|f| (f.id, f.name.as_str(), f.required)).collect();
    assert_eq!(found, [(4, "y", true), (6, "b", false)]);
}

#[test]
fn references_are_followed_and_cycles_become_text() {
    let schema = json!({
        "$ref": "#/$defs/order",
        "$defs": {
            "order": {"type": "object", "required": ["id"], "properties": {
                "id": {"$ref": "#/$defs/id~1x"},
                "parent": {"$ref": "#/$defs/order", "description": "where it came from"},
                "tree": {"$ref": "#/$defs/tree"},
                "self": {"$ref": "#"},
            }},
            "id/x": {"type": "string", "format": "uuid"},
            "tree": {"type": "object", "properties": {
                "name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}},
        },
    });
    assert_eq!(
        columns(&schema).expect("valid"),
        ["id: uuid!", "parent: string", "self: string", "tree: struct<children: list<string>, name: string>"]
    );
}

#[test]
fn refusals_name_the_place() {
    let with = |schema: Value| json!({"type": "object", "properties": {"a/b": {"properties": {"c": schema}}}});
    let place = "at /properties/a~1b/properties/c";
    for (schema, message) in [
        (json!(1), ": a schema is an object, `true` or `false`"),
        (json!({"type": "strng"}), "/type: there is no type \"strng\" in JSON Schema"),
        (json!({"type": 3}), "/type: `type` is the name of a type, or an array of them"),
        (json!({"type": "object", "properties": []}), "/properties: `properties` is an object"),
        (json!({"properties": {"x": {}}, "required": "x"}), "/required: `required` is an array of names"),
        (json!({"anyOf": {}}), "/anyOf: this is an array"),
        (json!({"enum": "x"}), "/enum: `enum` is an array of values"),
        (json!({"$ref": 1}), "/$ref: a reference is a string"),
        (json!({"$ref": "#/nope"}), "/$ref: there is nothing at \"#/nope\""),
        (
            json!({"$ref": "https://example.com/s"}),
            "/$ref: \"https://example.com/s\" is not in this document; only `#/…` can be followed",
        ),
        (json!({"properties": {"": {}}}), "/properties/: a column needs a name"),
        (json!({"type": "number", "format": "decimal", "x-scale": 39}), "/x-scale: expected 0 to 38"),
        (
            json!({"type": "number", "format": "decimal", "x-precision": 2, "x-scale": 3}),
            ": 3 digits after the point are more than 2 digits in all",
        ),
    ] {
        assert_eq!(refusal(with(schema.clone())), format!("{place}{message}"), "{schema}");
    }
    assert!(refusal(with(json!({"type": "number", "format": "decimal"}))).contains("needs `x-scale`"));
    assert!(refusal(json!({"type": "array"})).starts_with("at the root: the events of a table are objects"));
    assert_eq!(
        refusal(json!({"properties": {"__TS__": {}}})),
        "at /properties/__ts__: this is a column that Frazil fills itself; leave it out"
    );
    for names in
        [json!({"properties": {"a": {}, "A": {}}}), json!({"properties": {"x.y": {}, "x": {"properties": {"y": {}}}}})]
    {
        assert!(refusal(names.clone()).contains("cannot be told apart"), "{names}");
    }
    let twice = parse(br#"{"properties":{"a":{},"a":{}}}"#).expect_err("refused");
    assert!(twice.to_string().contains("the member \"a\" comes twice"), "{twice}");
}

#[test]
fn depth_and_size_are_bounded() {
    // Nested by references, because JSON text itself cannot be nested this deep.
    let defs = |count: usize, body: &dyn Fn(String) -> Value| -> Value {
        let definitions: serde_json::Map<_, _> = (0..count)
            .map(|n| {
                (
                    format!("d{n}"),
                    if n + 1 < count { body(format!("#/$defs/d{}", n + 1)) } else { json!({"type": "string"}) },
                )
            })
            .collect();
        json!({"properties": {"c": {"$ref": "#/$defs/d0"}}, "$defs": definitions})
    };
    let list = |next: String| json!({"type": "array", "items": {"$ref": next}});
    assert!(columns(&defs(60, &list)).is_ok());
    assert!(refusal(defs(80, &list)).contains("nested 64 deep"));
    assert!(refusal(defs(10_000, &|next| json!({"$ref": next}))).contains("nested 256 deep"));
    let wide = |next: String| json!({"properties": {"a": {"$ref": next.clone()}, "b": {"$ref": next}}});
    assert!(refusal(defs(40, &wide)).contains("more than 10000 columns"));
    assert_eq!(parse(&vec![b' '; DOCUMENT_MAX_BYTES + 1]), Err(JsonSchemaError::TooLarge(DOCUMENT_MAX_BYTES + 1)));
}

#[test]
fn both_kinds_are_recognised() {
    let iceberg = json!({"type": "struct", "fields": [{"id": 7, "name": "a", "required": false, "type": "long"}]});
    let bare = json!({"fields": iceberg["fields"]});
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}, "fields": {"type": "string"}}});
    let any = |value: &Value| parse_any(value.to_string().as_bytes());
    assert_eq!(any(&iceberg).expect("Iceberg").fields[0].id, 7);
    assert_eq!(any(&bare).expect("Iceberg").fields[0].id, 7);
    assert_eq!(any(&schema).expect("JSON Schema").fields.len(), 2);
    assert_eq!(any(&json!({"a": 1})), Err(DeclarationError::Neither));
    assert_eq!(any(&json!([])), Err(DeclarationError::Neither));
    assert!(matches!(any(&json!({"type": "struct"})), Err(DeclarationError::Iceberg(_))));
    assert!(matches!(any(&json!({"type": "array"})), Err(DeclarationError::JsonSchema(_))));
    assert!(matches!(parse_any(b"{"), Err(DeclarationError::JsonSchema(JsonSchemaError::Json(_)))));
}

/// A schema of the simple subset and a value that is valid by it. Left out are leap seconds, years outside 0001 to 9999,
/// and numbers that no 64-bit type holds: JSON Schema has them, columns have not.
fn schema_and_value() -> impl Strategy<Value = (Value, Value)> {
    let text = "[ -~äß😀\"\\\\]{0,12}";
    let leaf = prop_oneof![
        any::<bool>().prop_map(|value| (json!({"type": "boolean"}), json!(value))),
        any::<i64>().prop_map(|value| (json!({"type": "integer"}), json!(value))),
        any::<i32>().prop_map(|value| (json!({"type": "integer", "format": "int32"}), json!(value))),
        any::<u64>().prop_map(|value| (json!({"type": "integer", "format": "uint64"}), json!(value))),
        (-1e15..1e15_f64).prop_map(|value| (json!({"type": "number"}), json!(value))),
        (-1e6..1e6_f64).prop_map(|value| (json!({"type": "number", "format": "float"}), json!(value))),
        (-99_999..99_999_i32).prop_map(|cents| {
            let schema = json!({"type": "number", "format": "decimal", "multipleOf": 0.01, "x-precision": 7});
            (schema, json!(f64::from(cents) / 100.0))
        }),
        text.prop_map(|value| (json!({"type": "string"}), json!(value))),
        "[a-z]{1,5}".prop_map(|value| (json!({"enum": [value, "other"]}), json!(value))),
        (1..=9999_i32, 1..=12_u32, 1..=28_u32).prop_map(|(y, m, d)| (
            json!({"type": "string", "format": "date"}),
            json!(format!("{y:04}-{m:02}-{d:02}"))
        )),
        (0..24_u32, 0..60_u32, "(\\.[0-9]{1,9})?", "Z|[+-](0[0-9]|1[0-3]):[0-5][0-9]").prop_map(|(h, m, f, z)| {
            let text = format!("2024-02-29T{h:02}:{m:02}:59{f}{z}");
            (json!({"type": "string", "format": "date-time"}), json!(text))
        }),
        "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](Z|\\+01:00)"
            .prop_map(|value| (json!({"type": "string", "format": "time"}), json!(value))),
        any::<u128>().prop_map(|bits| {
            (json!({"type": "string", "format": "uuid"}), json!(uuid::Uuid::from_u128(bits).to_string()))
        }),
        proptest::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| {
            use base64::Engine;
            let text = base64::engine::general_purpose::STANDARD.encode(bytes);
            (json!({"type": "string", "contentEncoding": "base64"}), json!(text))
        }),
        Just((json!({"type": ["integer", "null"]}), Value::Null)),
        any::<i64>().prop_map(|value| (json!({"type": ["integer", "string"]}), json!(value))),
        Just((json!({}), json!({"any": [1, {"thing": null}]}))),
        Just((json!({"type": "array"}), json!([1, "a", null]))),
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        let name = "[a-z]{1,6}";
        prop_oneof![
            (inner.clone(), 0..3_usize)
                .prop_map(|(one, n)| { (json!({"type": "array", "items": one.0}), Value::Array(vec![one.1; n])) }),
            (inner.clone(), proptest::collection::btree_set(text, 0..3)).prop_map(|(one, keys)| {
                let object = keys.into_iter().map(|key| (key, one.1.clone())).collect();
                (json!({"type": "object", "additionalProperties": one.0}), Value::Object(object))
            }),
            inner.clone().prop_map(|one| (json!({"anyOf": [one.0, {"type": "null"}]}), one.1)),
            inner.clone().prop_map(|one| (json!({"anyOf": [one.0, {"type": "null"}]}), Value::Null)),
            inner.clone().prop_map(|one| (json!({"allOf": [one.0], "title": "T"}), one.1)),
            proptest::collection::btree_map(name, (inner, 0..3_u8), 1..4).prop_map(object_of),
        ]
    })
}

/// An object schema; a member is required (0), there (1) or absent (2).
fn object_of(members: std::collections::BTreeMap<String, ((Value, Value), u8)>) -> (Value, Value) {
    let required: Vec<&String> = members.iter().filter(|(_, (_, kind))| *kind == 0).map(|(name, _)| name).collect();
    let properties: serde_json::Map<_, _> =
        members.iter().map(|(name, ((schema, _), _))| (name.clone(), schema.clone())).collect();
    let present = members.iter().filter(|(_, (_, kind))| *kind < 2);
    let value: serde_json::Map<_, _> = present.map(|(name, ((_, value), _))| (name.clone(), value.clone())).collect();
    (json!({"type": "object", "properties": properties, "required": required}), Value::Object(value))
}

proptest! {
    /// Invariant 1: an event that is valid by a JSON Schema of the simple subset fits the table, whatever else is in it.
    #[test]
    fn valid_events_fit(members in proptest::collection::btree_map("[a-z]{1,6}", (schema_and_value(), 0..3_u8), 1..6)) {
        let (schema, mut event) = object_of(members);
        event["Not a column"] = json!([{"x": 1}]);
        let schema = parse(schema.to_string().as_bytes()).expect("a schema of the simple subset").with_system_columns();
        let plan = Plan::new(&schema, &MappingPolicy::default()).expect("a plan");
        let meta = RowMeta { id: "i", ts_micros: 0, write_id: "w" };
        let outcome = plan.row(event.to_string().as_bytes(), &meta, &mut NoColumn);
        prop_assert!(outcome.is_ok(), "{outcome:?}\n{event}\n{schema:?}");
    }

    /// Invariant 2: whatever the document, the answer is a schema or a message, and a schema survives its JSON form.
    #[test]
    fn any_document_has_an_answer(text in "(\\{|\\}|\\[|\\]|,|:|1|null|true|\"(type|properties|items|anyOf|object|array|string|\\$ref|#)\"){0,40}") {
        if let Ok(schema) = parse_any(text.as_bytes()) {
            prop_assert_eq!(Schema::from_value(&schema.to_value()), Ok(schema));
        }
    }
}
