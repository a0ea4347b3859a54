//! Frazil's own small model of an Iceberg schema: what the proxy and the mapping need, and no more.
//!
//! It is read from and written to the schema JSON of the Iceberg table spec (appendix C). It knows nothing of
//! catalogs, Arrow or Parquet, and it decides nothing about schema evolution. Types that Frazil cannot fill
//! (variant, geometry, unknown, …) are refused with the column's name, never guessed.

mod json;
pub mod json_schema;
#[cfg(test)]
mod tests;

use std::fmt;

pub use json::SchemaError;

/// Column with the deterministic id of an event (string).
pub const ID_COLUMN: &str = "__id__";
/// Column with the time at which the event was received (timestamptz).
pub const TS_COLUMN: &str = "__ts__";
/// Column with the id of the commit that wrote the row (string).
pub const WRITE_ID_COLUMN: &str = "__write_id__";
/// Column with the event's unknown fields, as one JSON object (string, null if there are none).
pub const EXTRA_COLUMN: &str = "__extra__";

/// The columns that Frazil fills itself, in the order in which it appends them to tables it creates.
pub const SYSTEM_COLUMNS: [(&str, Type); 4] = [
    (ID_COLUMN, Type::String),
    (TS_COLUMN, Type::Timestamptz),
    (WRITE_ID_COLUMN, Type::String),
    (EXTRA_COLUMN, Type::String),
];

/// An Iceberg table schema.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schema {
    /// The schema's id within its table.
    pub schema_id: i32,
    /// The columns, in table order.
    pub fields: Vec<Field>,
    /// Ids of the fields that identify a row; empty for most event tables.
    pub identifier_field_ids: Vec<i32>,
}

/// A column, or a field of a struct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Unique id within the schema.
    pub id: i32,
    /// Exact name; unique among its siblings.
    pub name: String,
    /// Whether null is forbidden.
    pub required: bool,
    /// The type of the values.
    pub ty: Type,
    /// Documentation for people.
    pub doc: Option<String>,
}

/// The type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// True or false.
    Boolean,
    /// 32-bit signed integer.
    Int,
    /// 64-bit signed integer.
    Long,
    /// 32-bit IEEE 754 number.
    Float,
    /// 64-bit IEEE 754 number.
    Double,
    /// Fixed-point number of at most 38 digits.
    Decimal {
        /// Number of digits, 1 to 38.
        precision: u8,
        /// Digits after the point, at most `precision`.
        scale: u8,
    },
    /// Calendar date.
    Date,
    /// Time of day, microseconds.
    Time,
    /// Local date and time without zone, microseconds.
    Timestamp,
    /// Instant, microseconds.
    Timestamptz,
    /// Local date and time without zone, nanoseconds.
    TimestampNs,
    /// Instant, nanoseconds.
    TimestamptzNs,
    /// UTF-8 text.
    String,
    /// 128-bit UUID.
    Uuid,
    /// Byte string of exactly this many bytes.
    Fixed(u32),
    /// Byte string of any length.
    Binary,
    /// Named fields.
    Struct(Vec<Field>),
    /// Ordered values of one type.
    List {
        /// Field id of the element.
        element_id: i32,
        /// Whether null elements are forbidden.
        element_required: bool,
        /// The type of the elements.
        element: Box<Type>,
    },
    /// Key-value pairs; keys are never null.
    Map {
        /// Field id of the key.
        key_id: i32,
        /// The type of the keys.
        key: Box<Type>,
        /// Field id of the value.
        value_id: i32,
        /// Whether null values are forbidden.
        value_required: bool,
        /// The type of the values.
        value: Box<Type>,
    },
}

impl Schema {
    /// A schema with id 0 and no identifier fields.
    pub fn new(fields: Vec<Field>) -> Self {
        Self { schema_id: 0, fields, identifier_field_ids: Vec::new() }
    }

    /// The column with exactly this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The highest field id in use, nested ids included; 0 for an empty schema.
    pub fn highest_field_id(&self) -> i32 {
        highest_id(&self.fields)
    }

    /// Whether a column with this name could be added: none has it yet, in whatever case.
    pub fn lacks(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        !self.fields.iter().any(|field| field.name.to_lowercase() == name)
    }

    /// Appends the system columns that the schema lacks, all optional, with ids above the highest in use.
    ///
    /// A column that already has such a name, in whatever case, is left as it is; the mapping decides whether it can be
    /// filled.
    #[must_use]
    pub fn with_system_columns(mut self) -> Self {
        let mut id = self.highest_field_id();
        for (name, ty) in SYSTEM_COLUMNS {
            if self.lacks(name) {
                id += 1;
                self.fields.push(Field::optional(id, name, ty));
            }
        }
        self
    }
}

/// Whether a top-level name is a system column's, in whatever case.
pub(crate) fn is_system_name(name: &str) -> bool {
    SYSTEM_COLUMNS.iter().any(|(column, _)| column.eq_ignore_ascii_case(name))
}

impl Field {
    /// A field that may be null.
    pub fn optional(id: i32, name: impl Into<String>, ty: Type) -> Self {
        Self { id, name: name.into(), required: false, ty, doc: None }
    }

    /// A field that may not be null.
    pub fn required(id: i32, name: impl Into<String>, ty: Type) -> Self {
        Self { required: true, ..Self::optional(id, name, ty) }
    }

    /// Whether this, as a column of a table, is a system column that Frazil can fill: of the exact name, and of a type
    /// for its values.
    pub fn is_filled(&self) -> bool {
        match self.name.as_str() {
            ID_COLUMN | WRITE_ID_COLUMN => self.ty == Type::String,
            TS_COLUMN => matches!(self.ty, Type::Timestamptz | Type::Timestamp),
            EXTRA_COLUMN => self.ty == Type::String && !self.required,
            _ => false,
        }
    }
}

impl Type {
    /// A list whose elements may be null.
    pub fn list(element_id: i32, element: Type) -> Self {
        Self::List { element_id, element_required: false, element: Box::new(element) }
    }

    /// A map whose values may be null.
    pub fn map(key_id: i32, key: Type, value_id: i32, value: Type) -> Self {
        Self::Map { key_id, key: Box::new(key), value_id, value_required: false, value: Box::new(value) }
    }
}

fn highest_id(fields: &[Field]) -> i32 {
    fields.iter().map(|field| field.id.max(highest_nested(&field.ty))).max().unwrap_or(0)
}

fn highest_nested(ty: &Type) -> i32 {
    match ty {
        Type::Struct(fields) => highest_id(fields),
        Type::List { element_id, element, .. } => highest_nested(element).max(*element_id),
        Type::Map { key_id, key, value_id, value, .. } => {
            highest_nested(key).max(highest_nested(value)).max(*key_id).max(*value_id)
        }
        _ => 0,
    }
}

/// The spec's spelling for primitives; `struct<…>`, `list<…>` and `map<…>` for people.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("boolean"),
            Self::Int => f.write_str("int"),
            Self::Long => f.write_str("long"),
            Self::Float => f.write_str("float"),
            Self::Double => f.write_str("double"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Date => f.write_str("date"),
            Self::Time => f.write_str("time"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Timestamptz => f.write_str("timestamptz"),
            Self::TimestampNs => f.write_str("timestamp_ns"),
            Self::TimestamptzNs => f.write_str("timestamptz_ns"),
            Self::String => f.write_str("string"),
            Self::Uuid => f.write_str("uuid"),
            Self::Fixed(length) => write!(f, "fixed[{length}]"),
            Self::Binary => f.write_str("binary"),
            Self::Struct(fields) => {
                f.write_str("struct<")?;
                for (index, field) in fields.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{}: {}", field.name, field.ty)?;
                }
                f.write_str(">")
            }
            Self::List { element, .. } => write!(f, "list<{element}>"),
            Self::Map { key, value, .. } => write!(f, "map<{key}, {value}>"),
        }
    }
}
