//! Which types a column may take on, by the Iceberg specification's schema evolution rules.

use frazil_iceberg::spec::{FormatVersion, NestedField, PrimitiveType, Schema, Type};

use super::ChangeError;

/// Refuses a schema that gives a column id of `old` a type its stored values cannot be read as.
pub(crate) fn check_evolution(old: &Schema, new: &Schema, version: FormatVersion) -> Result<(), ChangeError> {
    for id in new.field_id_to_name_map().keys() {
        let (Some(was), Some(is)) = (old.field_by_id(*id), new.field_by_id(*id)) else {
            continue;
        };
        if !readable_as(&was.field_type, &is.field_type, version) {
            return Err(ChangeError::Refused(format!(
                "illegal type change of column {:?} (id {id}): {} to {}",
                new.name_by_field_id(*id).unwrap_or_default(),
                was.field_type,
                is.field_type
            )));
        }
    }
    Ok(())
}

fn readable_as(was: &Type, is: &Type, version: FormatVersion) -> bool {
    match (was, is) {
        (Type::Primitive(was), Type::Primitive(is)) => was == is || promotes(was, is, version),
        // Members are compared by their own ids.
        (Type::Struct(_), Type::Struct(_)) => true,
        (Type::List(was), Type::List(is)) => was.element_field.id == is.element_field.id,
        (Type::Map(was), Type::Map(is)) => {
            was.key_field.id == is.key_field.id && was.value_field.id == is.value_field.id
        }
        (Type::Primitive(_) | Type::Struct(_) | Type::List(_) | Type::Map(_), _) => false,
    }
}

fn promotes(was: &PrimitiveType, is: &PrimitiveType, version: FormatVersion) -> bool {
    use PrimitiveType as P;
    match (was, is) {
        (P::Int, P::Long) | (P::Float, P::Double) => true,
        (P::Decimal { precision: was, scale }, P::Decimal { precision: is, scale: same }) => scale == same && was <= is,
        (P::Date, P::Timestamp | P::TimestampNs) => version >= FormatVersion::V3,
        _ => false,
    }
}

/// Refuses types and defaults that the table's format version does not have.
pub(crate) fn check_supported(schema: &Schema, version: FormatVersion) -> Result<(), ChangeError> {
    if version >= FormatVersion::V3 {
        return Ok(());
    }
    for id in schema.field_id_to_name_map().keys() {
        if let Some(problem) = schema.field_by_id(*id).and_then(|field| needs_v3(field)) {
            let name = schema.name_by_field_id(*id).unwrap_or_default();
            return Err(ChangeError::Refused(format!("column {name:?}: {problem} needs format version 3")));
        }
    }
    Ok(())
}

fn needs_v3(field: &NestedField) -> Option<String> {
    match &*field.field_type {
        Type::Primitive(nanos @ (PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs)) => {
            Some(format!("type {nanos}"))
        }
        _ if field.initial_default.is_some() => Some("an initial default".to_owned()),
        _ => None,
    }
}
