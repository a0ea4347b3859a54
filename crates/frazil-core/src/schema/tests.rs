//! Tests of the schema model and its JSON form.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Any type, at most a few levels deep. Field ids are arbitrary: the JSON form does not care.
fn any_type() -> impl Strategy<Value = Type> {
    let leaf = prop_oneof![
        Just(Type::Boolean),
        Just(Type::Int),
        Just(Type::Long),
        Just(Type::Float),
        Just(Type::Double),
        (1u8..=38)
            .prop_flat_map(|p| (Just(p), 0..=p))
            .prop_map(|(precision, scale)| Type::Decimal { precision, scale }),
        Just(Type::Date),
        Just(Type::Time),
        Just(Type::Timestamp),
        Just(Type::Timestamptz),
        Just(Type::TimestampNs),
        Just(Type::TimestamptzNs),
        Just(Type::String),
        Just(Type::Uuid),
        (1u32..1000).prop_map(Type::Fixed),
        Just(Type::Binary),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(field_of(inner.clone()), 0..4).prop_map(Type::Struct),
            (any::<i32>(), any::<bool>(), inner.clone()).prop_map(|(element_id, element_required, element)| {
                Type::List { element_id, element_required, element: Box::new(element) }
            }),
            (any::<i32>(), inner.clone(), any::<i32>(), any::<bool>(), inner).prop_map(
                |(key_id, key, value_id, value_required, value)| Type::Map {
                    key_id,
                    key: Box::new(key),
                    value_id,
                    value_required,
                    value: Box::new(value)
                }
            ),
        ]
    })
}

fn field_of(ty: impl Strategy<Value = Type>) -> impl Strategy<Value = Field> {
    (any::<i32>(), any::<String>(), any::<bool>(), ty, any::<Option<String>>())
        .prop_map(|(id, name, required, ty, doc)| Field { id, name, required, ty, doc })
}

proptest! {
    /// Invariant 1: a schema survives its JSON form unchanged.
    #[test]
    fn round_trip(
        schema_id in any::<i32>(),
        fields in proptest::collection::vec(field_of(any_type()), 0..6),
        identifier_field_ids in proptest::collection::vec(any::<i32>(), 0..3),
    ) {
        let schema = Schema { schema_id, fields, identifier_field_ids };
        let text = serde_json::to_vec(&schema).expect("a schema serialises");
        prop_assert_eq!(Schema::from_json(&text), Ok(schema.clone()));
        prop_assert_eq!(serde_json::from_slice::<Schema>(&text).expect("a schema deserialises"), schema);
    }
}

#[test]
fn reads_the_specs_own_spelling() {
    let schema = Schema::from_value(&json!({
        "type": "struct",
        "schema-id": 3,
        "identifier-field-ids": [1],
        "fields": [
            {"id": 1, "name": "id", "required": true, "type": "uuid", "initial-default": "x", "write-default": "y"},
            {"id": 2, "name": "price", "required": false, "type": "decimal(9, 2)", "doc": "net"},
            {"id": 3, "name": "hash", "required": false, "type": "fixed[16]"},
            {"id": 4, "name": "tags", "required": false, "type":
                {"type": "list", "element-id": 5, "element-required": true, "element": "string"}},
            {"id": 6, "name": "m", "required": false, "type":
                {"type": "map", "key-id": 7, "key": "string", "value-id": 8, "value-required": false, "value":
                    {"type": "struct", "fields": [{"id": 9, "name": "x", "required": false, "type": "timestamptz_ns"}]}}},
        ],
    }))
    .expect("a valid schema");
    assert_eq!(schema.schema_id, 3);
    assert_eq!(schema.identifier_field_ids, [1]);
    assert_eq!(schema.highest_field_id(), 9);
    assert_eq!(schema.fields[1].doc.as_deref(), Some("net"));
    let types: Vec<String> = schema.fields.iter().map(|field| field.ty.to_string()).collect();
    assert_eq!(types, ["uuid", "decimal(9,2)", "fixed[16]", "list<string>", "map<string, struct<x: timestamptz_ns>>"]);
}

#[test]
fn refusals_name_the_column() {
    let nested = |ty: serde_json::Value| {
        json!({"type": "struct", "fields": [{"id": 1, "name": "user", "required": false, "type":
            {"type": "struct", "fields": [{"id": 2, "name": "shape", "required": false, "type": ty}]}}]})
    };
    for ty in ["variant", "geometry(srid:4326)", "unknown", "decimal(39,0)", "decimal(3,4)", "fixed[0]", "Int"] {
        let error = Schema::from_value(&nested(json!(ty))).expect_err(ty);
        assert_eq!(error, SchemaError::Unsupported { column: "user.shape".to_owned(), ty: ty.to_owned() });
        assert!(error.to_string().contains("user.shape") && error.to_string().contains(ty));
    }
    let list = json!({"type": "list", "element-id": 3, "element-required": false, "element": "variant"});
    let error = Schema::from_value(&nested(list)).expect_err("a list of variants");
    assert!(error.to_string().contains("user.shape.element"), "{error}");
    let error = Schema::from_value(&nested(json!({"type": "list"}))).expect_err("a list without element");
    assert_eq!(error.to_string(), "column `user.shape`: `element-id` is missing or no 32-bit id");
    assert!(matches!(Schema::from_json(b"{"), Err(SchemaError::Json(_))));
    assert!(Schema::from_json(b"[]").is_err());
    assert!(Schema::from_json(b"{}").is_err());
}

#[test]
fn system_columns_are_appended_once() {
    let schema = Schema::new(vec![
        Field::required(1, "user", Type::Struct(vec![Field::optional(7, "name", Type::String)])),
        Field::optional(2, TS_COLUMN, Type::Long),
    ])
    .with_system_columns();
    let found: Vec<_> = schema.fields.iter().map(|f| (f.id, f.name.as_str(), f.required, f.ty.to_string())).collect();
    assert_eq!(
        found,
        [
            (1, "user", true, "struct<name: string>".to_owned()),
            (2, TS_COLUMN, false, "long".to_owned()),
            (8, ID_COLUMN, false, "string".to_owned()),
            (9, WRITE_ID_COLUMN, false, "string".to_owned()),
            (10, EXTRA_COLUMN, false, "string".to_owned()),
        ]
    );
    assert_eq!(schema.clone().with_system_columns(), schema);
}
