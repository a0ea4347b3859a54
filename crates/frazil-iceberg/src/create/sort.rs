//! Sort orders as people write them. Pure.

use iceberg::spec::{NullOrder, Schema, SortDirection, SortField, SortOrder, Transform};

use super::{DefinitionError, term};

/// The id of a new table's order; 0 is that of no order.
const FIRST_ORDER_ID: i64 = 1;

/// Reads a sort order in the notation of the field: terms separated by commas, each a term as in a partition spec,
/// then `asc` (the default) or `desc`, then `nulls first` (the default of `asc`) or `nulls last` (that of `desc`):
/// `user_id, event_time desc nulls last, bucket(16, id) asc`.
///
/// # Errors
/// [`DefinitionError::SortField`] for an unknown column or transform, a column whose values have no order, and for
/// redundant terms.
pub fn parse_sort_order(text: &str, schema: &Schema) -> Result<SortOrder, DefinitionError> {
    let mut fields: Vec<SortField> = Vec::new();
    if text.trim().is_empty() {
        return Ok(SortOrder::unsorted_order());
    }
    for term in term::split(text) {
        let term = term.trim();
        let invalid = |reason: String| DefinitionError::SortField { term: term.to_owned(), reason };
        let field = parse_field(term, schema).map_err(invalid)?;
        if fields.iter().any(|known| known.source_id == field.source_id && known.transform == field.transform) {
            return Err(invalid("the order has it already".to_owned()));
        }
        fields.push(field);
    }
    Ok(SortOrder { order_id: FIRST_ORDER_ID, fields })
}

fn parse_field(text: &str, schema: &Schema) -> Result<SortField, String> {
    let (expression, suffix) = text.split_at(end_of_expression(text));
    let (transform, column, field) = term::resolve(expression.trim(), schema)?;
    if transform == Transform::Void {
        return Err("void has no order".to_owned());
    }
    if !field.field_type.is_primitive() {
        return Err(format!("{column:?} is no column of single values"));
    }
    let (direction, null_order) = parse_suffix(suffix)?;
    Ok(SortField { source_id: field.id, transform, direction, null_order })
}

/// Behind the parenthesis or quote that closes the expression, or at the first space of a bare name.
fn end_of_expression(text: &str) -> usize {
    let mut quote = None;
    let mut closed = None;
    for (at, character) in text.char_indices() {
        match (character, quote) {
            ('`' | '"', None) => quote = Some(character),
            (_, Some(open)) if open == character => {
                quote = None;
                closed = Some(at + 1);
            }
            (')', None) => closed = Some(at + 1),
            _ => {}
        }
    }
    closed.or_else(|| text.find(char::is_whitespace)).unwrap_or(text.len())
}

fn parse_suffix(text: &str) -> Result<(SortDirection, NullOrder), String> {
    let words: Vec<String> = text.split_whitespace().map(str::to_ascii_lowercase).collect();
    let mut words = words.iter().map(String::as_str).peekable();
    let direction = match words.next_if(|word| matches!(*word, "asc" | "desc")) {
        Some("desc") => SortDirection::Descending,
        Some(_) | None => SortDirection::Ascending,
    };
    let null_order = match (words.next(), words.next(), words.next()) {
        (None, None, None) if direction == SortDirection::Ascending => NullOrder::First,
        (None, None, None) => NullOrder::Last,
        (Some("nulls"), Some("first"), None) => NullOrder::First,
        (Some("nulls"), Some("last"), None) => NullOrder::Last,
        _ => return Err(format!("{:?} where asc or desc, then nulls first or nulls last may stand", text.trim())),
    };
    Ok((direction, null_order))
}
