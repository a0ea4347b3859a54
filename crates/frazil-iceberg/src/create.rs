//! What a new table is made of, from text: schema JSON and partition specs as people write them. Pure.

use std::collections::BTreeMap;

use iceberg::spec::{NestedFieldRef, Schema, Transform, UnboundPartitionSpec};

use crate::rest::CreateTable;

/// Why a text is no schema or partition spec.
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
}

/// Reads an Iceberg schema from its JSON.
///
/// # Errors
/// [`DefinitionError::Schema`].
pub fn parse_schema(json: &str) -> Result<Schema, DefinitionError> {
    serde_json::from_str(json).map_err(|error| DefinitionError::Schema { reason: error.to_string() })
}

/// A table to create, from schema JSON and a partition spec such as `day(event_time), bucket(16, user_id)` (empty for
/// none). The catalog assigns its own field ids: take the schema back from the created table.
///
/// # Errors
/// [`DefinitionError`].
pub fn create_table(
    schema_json: &str,
    partition_spec: &str,
    properties: BTreeMap<String, String>,
    location: Option<String>,
) -> Result<CreateTable, DefinitionError> {
    let schema = parse_schema(schema_json)?;
    let spec = parse_partition_spec(partition_spec, &schema)?;
    let partition_spec = (!spec.fields().is_empty()).then_some(spec);
    Ok(CreateTable { schema, partition_spec, sort_order: None, properties, location })
}

/// Reads a partition spec in the notation of the field: terms separated by commas, each `transform(column)`,
/// `bucket(16, column)`, `truncate(4, column)` (arguments in either order) or a bare column name (also
/// `identity column` and `identity(column)`). Nested columns are written with dots, names with other characters in
/// backquotes or double quotes. Fields are named as the Java implementation does (`event_time_day`, `user_id_bucket`,
/// `x_trunc`, `col`).
///
/// # Errors
/// [`DefinitionError::PartitionField`] for an unknown transform or column, a transform that does not fit the
/// column's type, and for redundant terms.
pub fn parse_partition_spec(text: &str, schema: &Schema) -> Result<UnboundPartitionSpec, DefinitionError> {
    let mut builder = UnboundPartitionSpec::builder();
    if text.trim().is_empty() {
        return Ok(builder.build());
    }
    for term in split(text) {
        let term = term.trim();
        let invalid = |reason: String| DefinitionError::PartitionField { term: term.to_owned(), reason };
        let (transform, column) = parse_term(term).map_err(invalid)?;
        let field = find(schema, &column).ok_or_else(|| invalid(unknown_column(&column, schema)))?;
        transform.result_type(&field.field_type).map_err(|error| invalid(error.message().to_owned()))?;
        let name = field_name(&column, transform);
        if transform != Transform::Identity && schema.field_by_name(&name).is_some() {
            return Err(invalid(format!("its name {name:?} is a column's")));
        }
        builder = builder
            .add_partition_field(field.id, name, transform)
            .map_err(|error| invalid(error.message().to_owned()))?;
    }
    Ok(builder.build())
}

fn unknown_column(column: &str, schema: &Schema) -> String {
    let known: Vec<&str> = schema.as_struct().fields().iter().map(|field| field.name.as_str()).collect();
    format!("there is no column {column:?}; its columns are: {}", known.join(", "))
}

/// Splits at commas outside parentheses and quotes.
fn split(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let (mut depth, mut quote) = (0_i32, None);
    for character in text.chars() {
        match (character, quote) {
            ('`' | '"', None) => quote = Some(character),
            (_, Some(open)) if open == character => quote = None,
            ('(', None) => depth += 1,
            (')', None) => depth -= 1,
            (',', None) if depth == 0 => {
                terms.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(term) = terms.last_mut() {
            term.push(character);
        }
    }
    terms
}

fn parse_term(term: &str) -> Result<(Transform, String), String> {
    if term.is_empty() {
        return Err("a partition field is missing".to_owned());
    }
    if term.starts_with(['`', '"']) {
        return Ok((Transform::Identity, unquote(term)?));
    }
    let Some((function, rest)) = term.split_once('(') else {
        return match term.split_once(char::is_whitespace) {
            Some((word, column)) if word.eq_ignore_ascii_case("identity") => {
                Ok((Transform::Identity, unquote(column.trim())?))
            }
            Some(_) => Err("expected a column or transform(column)".to_owned()),
            None => Ok((Transform::Identity, unquote(term)?)),
        };
    };
    let inner = rest.trim_end().strip_suffix(')').ok_or("the closing parenthesis is missing")?;
    let arguments: Vec<String> = split(inner).iter().map(|argument| argument.trim().to_owned()).collect();
    let function = function.trim().to_ascii_lowercase();
    match (function.as_str(), arguments.as_slice()) {
        ("identity", [column]) => Ok((Transform::Identity, unquote(column)?)),
        ("year" | "years", [column]) => Ok((Transform::Year, unquote(column)?)),
        ("month" | "months", [column]) => Ok((Transform::Month, unquote(column)?)),
        ("day" | "days" | "date", [column]) => Ok((Transform::Day, unquote(column)?)),
        ("hour" | "hours" | "date_hour", [column]) => Ok((Transform::Hour, unquote(column)?)),
        ("bucket", [first, second]) => with_width(first, second).map(|(n, column)| (Transform::Bucket(n), column)),
        ("truncate", [first, second]) => with_width(first, second).map(|(n, column)| (Transform::Truncate(n), column)),
        ("bucket" | "truncate", _) => Err(format!("{function} takes a number and a column")),
        ("identity" | "year" | "years" | "month" | "months" | "day" | "days" | "date" | "hour" | "hours", _) => {
            Err(format!("{function} takes one column"))
        }
        _ => Err(format!("unknown transform {function:?}; known: identity, year, month, day, hour, bucket, truncate")),
    }
}

fn with_width(first: &str, second: &str) -> Result<(u32, String), String> {
    let width = |text: &str| text.parse::<u32>().ok();
    let (width, column) = match (width(first), width(second)) {
        (Some(width), None) => (width, second),
        (None, Some(width)) => (width, first),
        _ => return Err("expected a number and a column".to_owned()),
    };
    if width == 0 || i32::try_from(width).is_err() {
        return Err(format!("{width} is out of range"));
    }
    Ok((width, unquote(column)?))
}

fn unquote(text: &str) -> Result<String, String> {
    let column = match text.strip_prefix(['`', '"']) {
        Some(rest) => rest.strip_suffix(['`', '"']).ok_or("the closing quote is missing")?,
        None if text.contains(|c: char| c.is_whitespace() || "()'`\"".contains(c)) => {
            return Err(format!("{text:?} is no column name; quote it with backquotes"));
        }
        None => text,
    };
    if column.is_empty() { Err("the column is missing".to_owned()) } else { Ok(column.to_owned()) }
}

fn find<'a>(schema: &'a Schema, column: &str) -> Option<&'a NestedFieldRef> {
    schema.field_by_name(column).or_else(|| schema.field_by_name_case_insensitive(column))
}

fn field_name(column: &str, transform: Transform) -> String {
    match transform {
        Transform::Identity | Transform::Void | Transform::Unknown => column.to_owned(),
        Transform::Year => format!("{column}_year"),
        Transform::Month => format!("{column}_month"),
        Transform::Day => format!("{column}_day"),
        Transform::Hour => format!("{column}_hour"),
        Transform::Bucket(_) => format!("{column}_bucket"),
        Transform::Truncate(_) => format!("{column}_trunc"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type":"struct","schema-id":0,"fields":[
        {"id":1,"name":"event_time","required":false,"type":"timestamptz"},
        {"id":2,"name":"user_id","required":false,"type":"long"},
        {"id":3,"name":"x","required":false,"type":"string"},
        {"id":4,"name":"odd, name","required":false,"type":"string"},
        {"id":5,"name":"s","required":false,"type":{"type":"struct","fields":[
            {"id":6,"name":"inner","required":false,"type":"int"}]}},
        {"id":7,"name":"x_trunc","required":false,"type":"string"},
        {"id":8,"name":"d","required":false,"type":"double"}]}"#;

    fn parse(text: &str) -> Result<Vec<(i32, String, String)>, DefinitionError> {
        let schema = parse_schema(SCHEMA).expect("schema");
        let spec = parse_partition_spec(text, &schema)?;
        let field = |f: &iceberg::spec::UnboundPartitionField| (f.source_id, f.name.clone(), f.transform.to_string());
        Ok(spec.fields().iter().map(field).collect())
    }

    #[test]
    fn terms() {
        let parsed = parse("day(event_time), bucket(16, user_id), truncate(4, `odd, name`), x").expect("spec");
        let expected = [
            (1, "event_time_day", "day"),
            (2, "user_id_bucket", "bucket[16]"),
            (4, "odd, name_trunc", "truncate[4]"),
            (3, "x", "identity"),
        ];
        let parsed: Vec<_> =
            parsed.iter().map(|(id, name, transform)| (*id, name.as_str(), transform.as_str())).collect();
        assert_eq!(parsed, expected);
        assert_eq!(parse("").expect("none"), []);
        assert_eq!(parse("bucket(user_id,8)").expect("either order")[0].2, "bucket[8]");
        assert_eq!(parse("identity x, HOURS( event_time )").expect("spec").len(), 2);
        assert_eq!(parse("bucket(4, s.inner)").expect("nested")[0].0, 6);
    }

    #[test]
    fn refusals() {
        for text in [
            "day(nothing)",
            "day(x)",
            "bucket(0, x)",
            "bucket(x)",
            "bucket(16, d)",
            "day(event_time",
            "week(event_time)",
            "x,",
            ",",
            "x y",
            "truncate(4, x)",
            "x, x",
            "day(event_time), hour(event_time), day(event_time)",
            "s",
            "`x",
            "identity",
            "identity()",
            "bucket(99999999999, x)",
        ] {
            assert!(matches!(parse(text), Err(DefinitionError::PartitionField { .. })), "{text}: {:?}", parse(text));
        }
        assert!(matches!(parse_schema("{}"), Err(DefinitionError::Schema { .. })));
    }
}
