//! Partition specs as people write them. Pure.

use iceberg::spec::{Schema, Transform, UnboundPartitionField, UnboundPartitionSpec};

use super::{DefinitionError, term};
use crate::manifest_file;

/// The id of a table's first spec. The REST API lets clients leave it out, but Apache Iceberg's own parser does not, and
/// catalogs written in Java use that.
const FIRST_SPEC_ID: i32 = 0;
/// The id of a table's first partition field, by the specification's convention. The REST API leaves ids to the catalog,
/// but not every catalog does.
const FIRST_FIELD_ID: i32 = 1000;

/// Reads a partition spec in the notation of the field: terms separated by commas, each `transform(column)`,
/// `bucket(16, column)`, `truncate(4, column)` (arguments in either order) or a bare column name (also
/// `identity column` and `identity(column)`). Nested columns are written with dots, names with other characters in
/// backquotes or double quotes. Fields are named as the Java implementation does (`event_time_day`, `user_id_bucket`,
/// `x_trunc`, `x_null` for `void(x)`, `col`).
///
/// # Errors
/// [`DefinitionError::PartitionField`] for an unknown transform or column, a transform that does not fit the
/// column's type, and for redundant terms.
pub fn parse_partition_spec(text: &str, schema: &Schema) -> Result<UnboundPartitionSpec, DefinitionError> {
    let mut builder = UnboundPartitionSpec::builder().with_spec_id(FIRST_SPEC_ID);
    let mut types = Vec::new();
    if text.trim().is_empty() {
        return Ok(builder.build());
    }
    for (field_id, term) in (FIRST_FIELD_ID..).zip(term::split(text)) {
        let term = term.trim();
        let invalid = |reason: String| DefinitionError::PartitionField { term: term.to_owned(), reason };
        let (transform, column, field) = term::resolve(term, schema).map_err(invalid)?;
        if !field.field_type.is_primitive() {
            return Err(invalid(format!("{column:?} is no column of single values")));
        }
        let name = field_name(&column, transform);
        if transform != Transform::Identity && schema.field_by_name(&name).is_some() {
            return Err(invalid(format!("its name {name:?} is a column's")));
        }
        types.extend(transform.result_type(&field.field_type).ok());
        if let Some(length) = manifest_file::shared_fixed(&types) {
            return Err(invalid(format!("only one partition field can be of type fixed[{length}]")));
        }
        builder = builder
            .add_partition_fields([UnboundPartitionField {
                source_id: field.id,
                field_id: Some(field_id),
                name,
                transform,
            }])
            .map_err(|error| invalid(error.message().to_owned()))?;
    }
    Ok(builder.build())
}

fn field_name(column: &str, transform: Transform) -> String {
    match transform {
        Transform::Identity | Transform::Unknown => column.to_owned(),
        Transform::Void => format!("{column}_null"),
        Transform::Year => format!("{column}_year"),
        Transform::Month => format!("{column}_month"),
        Transform::Day => format!("{column}_day"),
        Transform::Hour => format!("{column}_hour"),
        Transform::Bucket(_) => format!("{column}_bucket"),
        Transform::Truncate(_) => format!("{column}_trunc"),
    }
}
