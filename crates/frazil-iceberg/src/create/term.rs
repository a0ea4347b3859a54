//! Terms of partition specs and sort orders: `day(x)`, `bucket(16, x)`, a bare or quoted column name. Must not know
//! what a term is used for.

use iceberg::spec::{NestedFieldRef, Schema, Transform};

const KNOWN: &str = "identity, year, month, day, hour, bucket, truncate, void";

/// The column that a term names and its transform, checked against the schema.
pub(super) fn resolve<'a>(term: &str, schema: &'a Schema) -> Result<(Transform, String, &'a NestedFieldRef), String> {
    let (transform, column) = parse_term(term)?;
    let field = schema.field_by_name(&column).or_else(|| schema.field_by_name_case_insensitive(&column));
    let field = field.ok_or_else(|| unknown_column(&column, schema))?;
    if field.field_type.is_primitive() && schema.accessor_by_field_id(field.id).is_none() {
        return Err(format!("{column:?} is inside a list or map and has no single value per row"));
    }
    transform.result_type(&field.field_type).map_err(|error| error.message().to_owned())?;
    Ok((transform, column, field))
}

fn unknown_column(column: &str, schema: &Schema) -> String {
    let known: Vec<&str> = schema.as_struct().fields().iter().map(|field| field.name.as_str()).collect();
    format!("there is no column {column:?}; its columns are: {}", known.join(", "))
}

/// Splits at commas outside parentheses and quotes.
pub(super) fn split(text: &str) -> Vec<String> {
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

pub(super) fn parse_term(term: &str) -> Result<(Transform, String), String> {
    if term.is_empty() {
        return Err("a term is missing".to_owned());
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
        ("void" | "always_null", [column]) => Ok((Transform::Void, unquote(column)?)),
        ("bucket", [first, second]) => with_width(first, second).map(|(n, column)| (Transform::Bucket(n), column)),
        ("truncate", [first, second]) => with_width(first, second).map(|(n, column)| (Transform::Truncate(n), column)),
        ("bucket" | "truncate", _) => Err(format!("{function} takes a number and a column")),
        (
            "identity" | "year" | "years" | "month" | "months" | "day" | "days" | "date" | "hour" | "hours"
            | "date_hour" | "void" | "always_null",
            _,
        ) => Err(format!("{function} takes one column")),
        _ => Err(format!("unknown transform {function:?}; known: {KNOWN}")),
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
