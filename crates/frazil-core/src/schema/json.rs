//! The JSON form of a schema, as in appendix C of the Iceberg table spec.
//!
//! Written by hand over [`serde_json::Value`] rather than derived, so that every refusal names the column.
//! Members that Frazil has no use for (v3 default values) are ignored, and so not written back.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value, json};

use super::{Field, Schema, Type};

/// Why a schema JSON was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The text is no JSON at all.
    #[error("the schema is not valid JSON: {0}")]
    Json(String),
    /// A member is missing or of the wrong JSON type.
    #[error("{}: {what}", place(column))]
    Shape {
        /// Dotted name of the column; empty for the schema itself.
        column: String,
        /// What is wrong.
        what: String,
    },
    /// The column has a type that Frazil cannot fill.
    #[error("column `{column}` has type `{ty}`, which Frazil does not support")]
    Unsupported {
        /// Dotted name of the column.
        column: String,
        /// The type as it was spelled.
        ty: String,
    },
}

fn place(column: &str) -> String {
    if column.is_empty() { "schema".to_owned() } else { format!("column `{column}`") }
}

impl Schema {
    /// Reads a schema from its JSON text.
    ///
    /// # Errors
    /// [`SchemaError`], which names the column at fault.
    pub fn from_json(text: &[u8]) -> Result<Self, SchemaError> {
        let value: Value = serde_json::from_slice(text).map_err(|error| SchemaError::Json(error.to_string()))?;
        Self::from_value(&value)
    }

    /// Reads a schema from its parsed JSON.
    ///
    /// # Errors
    /// [`SchemaError`], which names the column at fault.
    pub fn from_value(value: &Value) -> Result<Self, SchemaError> {
        let object = object(value, "")?;
        if object.get("type").is_some_and(|ty| ty != "struct") {
            return Err(shape("", "the schema's `type` is not `struct`"));
        }
        let identifier_field_ids = match object.get("identifier-field-ids") {
            None | Some(Value::Null) => Vec::new(),
            Some(ids) => array(ids, "", "identifier-field-ids")?
                .iter()
                .map(|id| id32(Some(id)).ok_or_else(|| shape("", "`identifier-field-ids` holds a value that is no id")))
                .collect::<Result<_, _>>()?,
        };
        Ok(Self {
            // Tables of format version 1 may have a schema without an id.
            schema_id: id32(object.get("schema-id")).unwrap_or(0),
            fields: fields(object, "")?,
            identifier_field_ids,
        })
    }

    /// The schema's JSON.
    pub fn to_value(&self) -> Value {
        let mut value = json!({
            "type": "struct",
            "schema-id": self.schema_id,
            "fields": self.fields.iter().map(field_json).collect::<Vec<_>>(),
        });
        if !self.identifier_field_ids.is_empty() {
            value["identifier-field-ids"] = json!(self.identifier_field_ids);
        }
        value
    }
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(&Value::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

fn field_json(field: &Field) -> Value {
    let mut value =
        json!({"id": field.id, "name": field.name, "required": field.required, "type": type_json(&field.ty)});
    if let Some(doc) = &field.doc {
        value["doc"] = json!(doc);
    }
    value
}

fn type_json(ty: &Type) -> Value {
    match ty {
        Type::Struct(fields) => {
            json!({"type": "struct", "fields": fields.iter().map(field_json).collect::<Vec<_>>()})
        }
        Type::List { element_id, element_required, element } => json!({
            "type": "list",
            "element-id": element_id,
            "element-required": element_required,
            "element": type_json(element),
        }),
        Type::Map { key_id, key, value_id, value_required, value } => json!({
            "type": "map",
            "key-id": key_id,
            "key": type_json(key),
            "value-id": value_id,
            "value-required": value_required,
            "value": type_json(value),
        }),
        primitive => Value::String(primitive.to_string()),
    }
}

fn fields(object: &Map<String, Value>, column: &str) -> Result<Vec<Field>, SchemaError> {
    let list = object.get("fields").ok_or_else(|| shape(column, "`fields` is missing"))?;
    array(list, column, "fields")?.iter().map(|value| field(value, column)).collect()
}

fn field(value: &Value, parent: &str) -> Result<Field, SchemaError> {
    let object = object(value, parent)?;
    let name = object
        .get("name")
        .and_then(Value::as_str)
        .ok_or_else(|| shape(parent, "a field's `name` is missing or no string"))?;
    let column = join(parent, name);
    Ok(Field {
        id: id(object, "id", &column)?,
        required: flag(object, "required", &column)?,
        ty: type_of(object, "type", &column)?,
        doc: object.get("doc").and_then(Value::as_str).map(str::to_owned),
        name: name.to_owned(),
    })
}

fn type_of(object: &Map<String, Value>, member: &str, column: &str) -> Result<Type, SchemaError> {
    match object.get(member) {
        Some(Value::String(text)) => primitive(text, column),
        Some(Value::Object(nested)) => match nested.get("type").and_then(Value::as_str) {
            Some("struct") => Ok(Type::Struct(fields(nested, column)?)),
            Some("list") => Ok(Type::List {
                element_id: id(nested, "element-id", column)?,
                element_required: flag(nested, "element-required", column)?,
                element: Box::new(type_of(nested, "element", &join(column, "element"))?),
            }),
            Some("map") => Ok(Type::Map {
                key_id: id(nested, "key-id", column)?,
                key: Box::new(type_of(nested, "key", &join(column, "key"))?),
                value_id: id(nested, "value-id", column)?,
                value_required: flag(nested, "value-required", column)?,
                value: Box::new(type_of(nested, "value", &join(column, "value"))?),
            }),
            Some(other) => Err(unsupported(column, other)),
            None => Err(shape(column, "a nested type without its `type`")),
        },
        _ => Err(shape(column, &format!("`{member}` is missing or no type"))),
    }
}

fn primitive(text: &str, column: &str) -> Result<Type, SchemaError> {
    Ok(match text {
        "boolean" => Type::Boolean,
        "int" => Type::Int,
        "long" => Type::Long,
        "float" => Type::Float,
        "double" => Type::Double,
        "date" => Type::Date,
        "time" => Type::Time,
        "timestamp" => Type::Timestamp,
        "timestamptz" => Type::Timestamptz,
        "timestamp_ns" => Type::TimestampNs,
        "timestamptz_ns" => Type::TimestamptzNs,
        "string" => Type::String,
        "uuid" => Type::Uuid,
        "binary" => Type::Binary,
        _ => parameterised(text).ok_or_else(|| unsupported(column, text))?,
    })
}

/// `decimal(P,S)` with or without spaces, and `fixed[L]`.
fn parameterised(text: &str) -> Option<Type> {
    if let Some(inner) = text.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')')) {
        let (precision, scale) = inner.split_once(',')?;
        let (precision, scale) = (precision.trim().parse::<u8>().ok()?, scale.trim().parse::<u8>().ok()?);
        return ((1..=38).contains(&precision) && scale <= precision).then_some(Type::Decimal { precision, scale });
    }
    let length = text.strip_prefix("fixed[")?.strip_suffix(']')?.trim().parse::<u32>().ok()?;
    (length > 0).then_some(Type::Fixed(length))
}

fn object<'v>(value: &'v Value, column: &str) -> Result<&'v Map<String, Value>, SchemaError> {
    value.as_object().ok_or_else(|| shape(column, "not a JSON object"))
}

fn array<'v>(value: &'v Value, column: &str, member: &str) -> Result<&'v [Value], SchemaError> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| shape(column, &format!("`{member}` is no array")))
}

fn id(object: &Map<String, Value>, member: &str, column: &str) -> Result<i32, SchemaError> {
    id32(object.get(member)).ok_or_else(|| shape(column, &format!("`{member}` is missing or no 32-bit id")))
}

fn id32(value: Option<&Value>) -> Option<i32> {
    value.and_then(Value::as_i64).and_then(|id| i32::try_from(id).ok())
}

fn flag(object: &Map<String, Value>, member: &str, column: &str) -> Result<bool, SchemaError> {
    object
        .get(member)
        .and_then(Value::as_bool)
        .ok_or_else(|| shape(column, &format!("`{member}` is missing or no boolean")))
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

fn shape(column: &str, what: &str) -> SchemaError {
    SchemaError::Shape { column: column.to_owned(), what: what.to_owned() }
}

fn unsupported(column: &str, ty: &str) -> SchemaError {
    SchemaError::Unsupported { column: column.to_owned(), ty: ty.to_owned() }
}
