//! A partitioning in words, such as `day(ts), bucket(16, id)`, as an Iceberg partition spec. Pure.

use frazil_iceberg::spec::{Schema, Transform, UnboundPartitionSpec};

/// One partition field: a transform of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Term {
    transform: Transform,
    /// Column; levels of a nested one are joined with `.`.
    column: String,
}

/// A text that is no partitioning, or one that does not fit the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PartitionError {
    #[error("partition term {0:?}: write column, day(column), bucket(16, column) or truncate(4, column)")]
    Term(String),
    #[error("partition transform {0:?} is unknown; there are identity, year, month, day, hour, bucket and truncate")]
    Transform(String),
    #[error("partition term {term:?}: {number:?} must be a whole number from 1")]
    Number { term: String, number: String },
    #[error("partition column {column:?} is not in the schema; its columns are: {known}")]
    Column { column: String, known: String },
    #[error("the partitioning is refused: {0}")]
    Refused(String),
}

/// Reads a comma-separated list of terms.
pub(super) fn parse(text: &str) -> Result<Vec<Term>, PartitionError> {
    split(text).into_iter().map(|term| parse_term(term.trim())).collect()
}

/// Splits at commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_term(term: &str) -> Result<Term, PartitionError> {
    let malformed = || PartitionError::Term(term.to_owned());
    let Some((name, rest)) = term.split_once('(') else {
        let plain = !term.is_empty() && !term.contains([')', ' ', '\t']);
        return if plain {
            Ok(Term { transform: Transform::Identity, column: term.to_owned() })
        } else {
            Err(malformed())
        };
    };
    let inner = rest.strip_suffix(')').ok_or_else(malformed)?;
    let arguments: Vec<&str> = inner.split(',').map(str::trim).collect();
    if arguments.iter().any(|argument| argument.is_empty() || argument.contains(['(', ')'])) {
        return Err(malformed());
    }
    let number = |text: &str| {
        let positive = text.parse::<u32>().ok().filter(|number| *number > 0);
        positive.ok_or_else(|| PartitionError::Number { term: term.to_owned(), number: text.to_owned() })
    };
    let (transform, column) = match (name.trim().to_ascii_lowercase().as_str(), arguments.as_slice()) {
        ("identity", [column]) => (Transform::Identity, column),
        ("year" | "years", [column]) => (Transform::Year, column),
        ("month" | "months", [column]) => (Transform::Month, column),
        ("day" | "days" | "date", [column]) => (Transform::Day, column),
        ("hour" | "hours", [column]) => (Transform::Hour, column),
        ("bucket", [count, column]) => (Transform::Bucket(number(count)?), column),
        ("truncate", [width, column]) => (Transform::Truncate(number(width)?), column),
        ("identity" | "year" | "years" | "month" | "months" | "day" | "days" | "date" | "hour" | "hours", _)
        | ("bucket" | "truncate", _) => return Err(malformed()),
        (other, _) => return Err(PartitionError::Transform(other.to_owned())),
    };
    Ok(Term { transform, column: (*column).to_owned() })
}

/// Binds the terms to the columns of `schema`; partition fields get the names Spark would give them.
pub(super) fn spec(terms: &[Term], schema: &Schema) -> Result<UnboundPartitionSpec, PartitionError> {
    let mut builder = UnboundPartitionSpec::builder();
    for term in terms {
        let field = schema.field_by_name(&term.column).ok_or_else(|| unknown(&term.column, schema))?;
        let name = field_name(term);
        let refused =
            |error: frazil_iceberg::spec::Error| PartitionError::Refused(format!("{name}: {}", error.message()));
        term.transform.result_type(&field.field_type).map_err(refused)?;
        builder = builder.add_partition_field(field.id, name.clone(), term.transform).map_err(refused)?;
    }
    Ok(builder.build())
}

fn unknown(column: &str, schema: &Schema) -> PartitionError {
    let known: Vec<&str> = schema.as_struct().fields().iter().map(|field| field.name.as_str()).collect();
    PartitionError::Column { column: column.to_owned(), known: known.join(", ") }
}

fn field_name(term: &Term) -> String {
    let column = term.column.replace('.', "_");
    match term.transform {
        Transform::Year => format!("{column}_year"),
        Transform::Month => format!("{column}_month"),
        Transform::Day => format!("{column}_day"),
        Transform::Hour => format!("{column}_hour"),
        Transform::Bucket(_) => format!("{column}_bucket"),
        Transform::Truncate(_) => format!("{column}_trunc"),
        Transform::Identity | Transform::Void | Transform::Unknown => column,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(transform: Transform, column: &str) -> Term {
        Term { transform, column: column.to_owned() }
    }

    #[test]
    fn terms() {
        let parsed = parse("day(ts), bucket(16, id),region, truncate( 4 ,a.b )").expect("valid");
        let expected = [
            term(Transform::Day, "ts"),
            term(Transform::Bucket(16), "id"),
            term(Transform::Identity, "region"),
            term(Transform::Truncate(4), "a.b"),
        ];
        assert_eq!(parsed, expected);
    }

    #[test]
    fn what_is_no_term_is_said() {
        for (text, words) in [
            ("day(ts", "write column"),
            ("day()", "write column"),
            ("day(a, b)", "write column"),
            ("bucket(id)", "write column"),
            ("a,,b", "write column"),
            ("bucket(0, id)", "whole number"),
            ("bucket(x, id)", "whole number"),
            ("week(ts)", "unknown"),
        ] {
            let message = parse(text).expect_err(text).to_string();
            assert!(message.contains(words), "{text}: {message}");
        }
    }

    #[test]
    fn binding() {
        let schema: Schema = serde_json::from_str(
            r#"{"type":"struct","schema-id":0,"fields":[{"id":1,"name":"id","required":false,"type":"long"},
                {"id":2,"name":"at","required":false,"type":{"type":"struct","fields":[
                    {"id":3,"name":"ts","required":false,"type":"timestamptz"}]}}]}"#,
        )
        .expect("valid");
        let bound = spec(&parse("hour(at.ts), bucket(8, id)").expect("valid"), &schema).expect("fits");
        let fields: Vec<_> = bound.fields().iter().map(|field| (field.source_id, field.name.as_str())).collect();
        assert_eq!(fields, [(3, "at_ts_hour"), (1, "id_bucket")]);
        let of = |text| spec(&parse(text).expect("valid"), &schema).expect_err("does not fit").to_string();
        assert!(of("day(id)").contains("refused"), "{}", of("day(id)"));
        assert!(of("nope").contains("its columns are: id, at"));
    }
}
