//! The type promotions that Iceberg allows (table spec, "Schema evolution") and JSON numbers can demand.
//!
//! Each is possible under every partition transform. Promotions that only format version 3 has (a date to a
//! timestamp) are not used: no event demands them.

use crate::mapping::json::Reader;
use crate::mapping::scalar::{Primitive, Scalar, Scratch};
use crate::mapping::{MappingPolicy, Reason};
use crate::schema::{Field, Schema, Type};

/// The most digits of a decimal.
const MAX_PRECISION: u8 = 38;

/// The schema with every column as wide as it can become.
pub(crate) fn widest(schema: &Schema) -> Schema {
    let fields = widest_fields(&schema.fields, &schema.identifier_field_ids);
    Schema { fields, ..schema.clone() }
}

fn widest_fields(fields: &[Field], identifiers: &[i32]) -> Vec<Field> {
    let widest = |field: &Field| {
        let ty = if identifiers.contains(&field.id) { field.ty.clone() } else { widest_type(&field.ty, identifiers) };
        Field { ty, ..field.clone() }
    };
    fields.iter().map(widest).collect()
}

fn widest_type(ty: &Type, identifiers: &[i32]) -> Type {
    match ty {
        Type::Struct(fields) => Type::Struct(widest_fields(fields, identifiers)),
        Type::List { element_id, element_required, element } => Type::List {
            element_id: *element_id,
            element_required: *element_required,
            element: Box::new(widest_type(element, identifiers)),
        },
        Type::Map { key_id, key, value_id, value_required, value } => Type::Map {
            key_id: *key_id,
            key: key.clone(),
            value_id: *value_id,
            value_required: *value_required,
            value: Box::new(widest_type(value, identifiers)),
        },
        primitive => promoted(primitive).unwrap_or_else(|| primitive.clone()),
    }
}

/// What a primitive type can become at most; `None` if it stays.
pub(super) fn promoted(ty: &Type) -> Option<Type> {
    match ty {
        Type::Int => Some(Type::Long),
        Type::Float => Some(Type::Double),
        Type::Decimal { precision, scale } if *precision < MAX_PRECISION => {
            Some(Type::Decimal { precision: MAX_PRECISION, scale: *scale })
        }
        _ => None,
    }
}

/// Takes the value at the reader for a column of type `ty`; the type it must become, if the value is too large for it.
///
/// # Errors
/// If it is too large for any type that it could become, or no value for such a column at all.
pub(super) fn needed(
    ty: &Type,
    wide: &Type,
    reader: &mut Reader<'_>,
    policy: &MappingPolicy,
    scratch: &mut Scratch,
) -> Result<Option<Type>, Reason> {
    let next = reader.peek().unwrap_or(0);
    let primitive = |ty| Primitive::of(ty).expect("only primitive types are promoted");
    let mut ahead = reader.clone();
    if primitive(ty).read(next, &mut ahead, policy, scratch).is_ok() {
        *reader = ahead;
        return Ok(None);
    }
    Ok(Some(match (primitive(wide).read(next, reader, policy, scratch)?, ty) {
        (Scalar::Decimal(unscaled), Type::Decimal { scale, .. }) => {
            // A number has no more digits than its logarithm, and at least one.
            let digits = unscaled.unsigned_abs().checked_ilog10().unwrap_or(0) + 1;
            let precision = u8::try_from(digits).map_or(MAX_PRECISION, |digits| digits.min(MAX_PRECISION));
            Type::Decimal { precision, scale: *scale }
        }
        _ => wide.clone(),
    }))
}
