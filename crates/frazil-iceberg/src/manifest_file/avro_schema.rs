//! The part of a manifest's Avro schema that describes partition values, as JSON. Pure.

use std::collections::HashMap;

use iceberg::spec::PrimitiveType;
use serde_json::{Value, json};

/// The fields of the partition struct, in the order of their values; none if the schema is no manifest's.
pub(super) fn partition_fields(schema: &mut Value) -> impl Iterator<Item = &mut Value> {
    let data_file = field(Some(schema), "data_file").map(|field| &mut field["type"]);
    let partition = field(data_file, "partition").map(|field| &mut field["type"]);
    partition.and_then(|partition| partition["fields"].as_array_mut()).into_iter().flatten()
}

fn field<'a>(record: Option<&'a mut Value>, name: &str) -> Option<&'a mut Value> {
    let fields = record?.get_mut("fields")?.as_array_mut()?;
    fields.iter_mut().find(|field| field["name"] == name)
}

/// The type that the specification ("Avro") gives to a type, where the spec layer writes another or one whose name may
/// be taken: names are made of the id of the partition field.
pub(super) fn specified(of: &PrimitiveType, field_id: i32) -> Option<Value> {
    let timestamp = |unit: &str, utc: bool| json!({"type": "long", "logicalType": unit, "adjust-to-utc": utc});
    Some(match of {
        PrimitiveType::Uuid => {
            json!({"type": "fixed", "name": format!("uuid_{field_id}"), "size": 16, "logicalType": "uuid"})
        }
        PrimitiveType::Decimal { precision, scale } => decimal(*precision, *scale, &format!("decimal_{field_id}"))?,
        PrimitiveType::Timestamp => timestamp("timestamp-micros", false),
        PrimitiveType::Timestamptz => timestamp("timestamp-micros", true),
        PrimitiveType::TimestampNs => timestamp("timestamp-nanos", false),
        PrimitiveType::TimestamptzNs => timestamp("timestamp-nanos", true),
        _ => return None,
    })
}

/// A decimal in as few bytes as its precision needs.
pub(super) fn decimal(precision: u32, scale: u32, name: &str) -> Option<Value> {
    let size = iceberg::spec::Type::decimal_required_bytes(precision).ok()?;
    Some(json!({
        "type": "fixed", "name": name, "size": size,
        "logicalType": "decimal", "precision": precision, "scale": scale,
    }))
}

/// Changes the type of a field's values, and leaves alone whether they may be null.
pub(super) fn set_type(field: &mut Value, of: Value) {
    match plain_mut(field) {
        Some(plain) => *plain = of,
        None => field["type"] = of,
    }
}

fn plain_mut(field: &mut Value) -> Option<&mut Value> {
    field.get_mut("type")?.as_array_mut()?.iter_mut().find(|branch| *branch != "null")
}

fn plain(field: &Value) -> &Value {
    let of = &field["type"];
    of.as_array().and_then(|branches| branches.iter().find(|branch| *branch != "null")).unwrap_or(of)
}

/// Whether the values of a field have the bytes of another type, which is a long or fixed. Types of fixed size may be
/// given by their name.
pub(super) fn is_like(field: &Value, of: &Value, sizes: &HashMap<String, u64>) -> bool {
    let written = plain(field);
    let base = |of: &Value| of["type"].as_str().or(of.as_str()).map(str::to_owned);
    match of["size"].as_u64() {
        None => base(written) == base(of),
        Some(size) => match written.as_str() {
            Some(name) => sizes.get(name) == Some(&size),
            None => base(written) == base(of) && written["size"].as_u64() == Some(size),
        },
    }
}

/// The sizes in bytes of the types of fixed size that a schema gives a name.
pub(super) fn fixed_sizes(schema: &Value) -> HashMap<String, u64> {
    let mut sizes = HashMap::new();
    collect_sizes(schema, &mut sizes);
    sizes
}

fn collect_sizes(schema: &Value, sizes: &mut HashMap<String, u64>) {
    if schema["type"] == "fixed"
        && let (Some(name), Some(size)) = (schema["name"].as_str(), schema["size"].as_u64())
    {
        sizes.insert(name.to_owned(), size);
    }
    match schema {
        Value::Array(parts) => parts.iter().for_each(|part| collect_sizes(part, sizes)),
        Value::Object(parts) => parts.values().for_each(|part| collect_sizes(part, sizes)),
        _ => {}
    }
}
