//! What single keywords say: types of scalars, listed values, names.

use super::document::{Json, Object, join};
use super::{Shape, Translated, at};
use crate::schema::Type;

/// Digits of a decimal unless `x-precision` says otherwise.
const DECIMAL_PRECISION: u8 = 38;

pub(super) fn type_names<'j>(names: &'j Json, place: &str) -> Translated<Vec<&'j str>> {
    let names = match names {
        Json::String(name) => vec![name.as_str()],
        Json::Array(names) => names.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    };
    if names.is_empty() { Err(at(place, "`type` is the name of a type, or an array of them")) } else { Ok(names) }
}

pub(super) fn required<'j>(object: &'j Object, pointer: &str) -> Translated<Vec<&'j str>> {
    match object.get("required") {
        None => Ok(Vec::new()),
        Some(Json::Array(names)) => Ok(names.iter().filter_map(Json::as_str).collect()),
        Some(_) => Err(at(&join(pointer, "required"), "`required` is an array of names")),
    }
}

pub(super) fn integer(object: &Object) -> Type {
    match object.text("format") {
        Some("int8" | "int16" | "int32" | "uint8" | "uint16") => Type::Int,
        Some("uint64") => Type::Decimal { precision: 20, scale: 0 },
        _ => {
            let beyond = |name: &str| object.get(name).and_then(Json::as_f64).is_some_and(|bound| bound.abs() > 9.3e18);
            let wide = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"].into_iter().any(beyond);
            if wide { Type::Decimal { precision: DECIMAL_PRECISION, scale: 0 } } else { Type::Long }
        }
    }
}

pub(super) fn number(object: &Object, pointer: &str) -> Translated<Type> {
    match object.text("format") {
        Some("float") => Ok(Type::Float),
        Some("decimal") => decimal(object, pointer),
        _ => Ok(Type::Double),
    }
}

pub(super) fn string(object: &Object, pointer: &str) -> Translated<Type> {
    if object.text("contentEncoding").is_some_and(|encoding| encoding.eq_ignore_ascii_case("base64")) {
        return Ok(Type::Binary);
    }
    Ok(match object.text("format") {
        Some("date") => Type::Date,
        Some("date-time") => Type::Timestamptz,
        Some("date-time-local") => Type::Timestamp,
        Some("time-local") => Type::Time,
        Some("uuid") => Type::Uuid,
        Some("byte") => Type::Binary,
        Some("decimal") => return decimal(object, pointer),
        _ => Type::String,
    })
}

/// `format: decimal`, which is no format of JSON Schema itself, so that its scale has to be said.
fn decimal(object: &Object, pointer: &str) -> Translated<Type> {
    let small = |name: &str, lowest: u8| match object.get(name) {
        None => Ok(None),
        Some(Json::Number(number)) => {
            let value = number.as_u64().and_then(|value| u8::try_from(value).ok());
            let value = value.filter(|value| (lowest..=38).contains(value));
            value.map(Some).ok_or_else(|| at(&join(pointer, name), &format!("expected {lowest} to 38")))
        }
        Some(_) => Err(at(&join(pointer, name), &format!("expected a number, {lowest} to 38"))),
    };
    let precision = small("x-precision", 1)?.unwrap_or(DECIMAL_PRECISION);
    let scale = match small("x-scale", 0)? {
        Some(scale) => scale,
        None => object.get("multipleOf").and_then(Json::as_f64).and_then(power_of_ten).ok_or_else(|| {
            at(pointer, "a decimal needs `x-scale`, its digits after the point, or a `multipleOf` such as 0.01")
        })?,
    };
    if scale > precision {
        return Err(at(pointer, &format!("{scale} digits after the point are more than {precision} digits in all")));
    }
    Ok(Type::Decimal { precision, scale })
}

/// `k` if the step is 10 to the power of −k.
fn power_of_ten(step: f64) -> Option<u8> {
    (0..=38_u8).find(|digits| format!("1e-{digits}").parse() == Ok(step))
}

/// The type that all listed values have.
pub(super) fn enumerated(object: &Object, pointer: &str) -> Translated<Option<Shape>> {
    let values = match (object.get("const"), object.get("enum")) {
        (Some(value), _) => std::slice::from_ref(value),
        (None, Some(Json::Array(values))) => values.as_slice(),
        (None, Some(_)) => return Err(at(&join(pointer, "enum"), "`enum` is an array of values")),
        (None, None) => return Ok(None),
    };
    let nullable = values.contains(&Json::Null);
    let kind = |value: &Json| match value {
        Json::Boolean(_) => Some(Type::Boolean),
        Json::Number(number) if number.is_i64() => Some(Type::Long),
        Json::Number(_) => Some(Type::Double),
        Json::String(_) => Some(Type::String),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    };
    let mut kinds = values.iter().filter(|value| **value != Json::Null).map(kind);
    let first = kinds.next().flatten();
    let ty = first.filter(|first| kinds.all(|kind| kind.as_ref() == Some(first))).unwrap_or(Type::String);
    Ok(Some(Shape { nullable, ..Shape::of(ty) }))
}

/// Whether null is the only value that the schema allows.
pub(super) fn only_null(schema: &Json) -> bool {
    let Some(object) = schema.as_object() else { return false };
    object.text("type") == Some("null")
        || object.get("const") == Some(&Json::Null)
        || object.get("enum").and_then(Json::as_array) == Some(&[Json::Null])
}
