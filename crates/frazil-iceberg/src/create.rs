//! What a new table is made of, from text: schema JSON, partition specs and sort orders as people write them. Pure.

mod partition;
mod sort;
mod term;

use std::collections::BTreeMap;

use iceberg::spec::{PrimitiveType, Schema};

pub use partition::parse_partition_spec;
pub use sort::parse_sort_order;

use crate::rest::CreateTable;

/// The reserved property that chooses the format version of a new table.
const FORMAT_VERSION: &str = "format-version";

/// Why a text is no schema, partition spec or sort order, or why they do not go together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DefinitionError {
    /// Not an Iceberg schema.
    #[error("invalid schema: {reason}")]
    Schema {
        /// What is wrong.
        reason: String,
    },
    /// A term of a partition spec cannot be read.
    #[error("invalid partition field {term:?}: {reason}")]
    PartitionField {
        /// The term.
        term: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A term of a sort order cannot be read.
    #[error("invalid sort field {term:?}: {reason}")]
    SortField {
        /// The term.
        term: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The properties ask for a format version that does not have the schema's types.
    #[error("column {column:?} has nanoseconds, which need format-version 3, but the properties say {version:?}")]
    FormatVersion {
        /// The first such column.
        column: String,
        /// The version asked for.
        version: String,
    },
}

/// Reads an Iceberg schema from its JSON.
///
/// # Errors
/// [`DefinitionError::Schema`].
pub fn parse_schema(json: &str) -> Result<Schema, DefinitionError> {
    serde_json::from_str(json).map_err(|error| DefinitionError::Schema { reason: error.to_string() })
}

/// A table to create, from schema JSON, a partition spec such as `day(event_time), bucket(16, user_id)` and a sort
/// order such as `user_id, event_time desc` (each empty for none). A schema with nanoseconds gets the property
/// `format-version` = 3. The catalog assigns its own field ids: take the schema back from the created table.
///
/// # Errors
/// [`DefinitionError`].
pub fn create_table(
    schema_json: &str,
    partition_spec: &str,
    sort_order: &str,
    mut properties: BTreeMap<String, String>,
    location: Option<String>,
) -> Result<CreateTable, DefinitionError> {
    let schema = parse_schema(schema_json)?;
    let spec = parse_partition_spec(partition_spec, &schema)?;
    let order = parse_sort_order(sort_order, &schema)?;
    choose_version(&schema, &mut properties)?;
    Ok(CreateTable {
        partition_spec: (!spec.fields().is_empty()).then_some(spec),
        sort_order: (!order.is_unsorted()).then_some(order),
        schema,
        properties,
        location,
    })
}

fn choose_version(schema: &Schema, properties: &mut BTreeMap<String, String>) -> Result<(), DefinitionError> {
    let Some(column) = nanosecond_column(schema) else { return Ok(()) };
    match properties.get(FORMAT_VERSION).map(|version| version.trim()) {
        None => {
            properties.insert(FORMAT_VERSION.to_owned(), "3".to_owned());
            Ok(())
        }
        Some(version @ ("1" | "2")) => {
            Err(DefinitionError::FormatVersion { column: column.to_owned(), version: version.to_owned() })
        }
        // Later versions, and what is no version at all, are the catalog's to judge.
        Some(_) => Ok(()),
    }
}

/// The first column (with its path) that holds nanoseconds, which only format version 3 has.
pub(crate) fn nanosecond_column(schema: &Schema) -> Option<&str> {
    let nanos = |id: &i32| {
        let field = schema.field_by_id(*id)?;
        let primitive = field.field_type.as_primitive_type()?;
        matches!(primitive, PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs).then_some(*id)
    };
    let first = schema.field_id_to_name_map().keys().filter_map(nanos).min()?;
    schema.name_by_field_id(first)
}

#[cfg(test)]
mod tests;
