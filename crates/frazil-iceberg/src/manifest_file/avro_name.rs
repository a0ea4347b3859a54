//! Names of partition fields as Avro allows them. Manifests name the columns of their partition struct after the fields
//! of the spec, and a field on a nested column has a dot in its name (`user.id_bucket`).
//!
//! iceberg-rust 0.10.1 writes such names as they are: neither it nor any other reader can open the manifest again.
//! Readers find partition values by field id, so another name does no harm.

use iceberg::spec::PartitionSpec;
use serde_json::Value;

/// The spec with names that Avro allows; ids and transforms stay.
pub(super) fn sanitized(spec: &PartitionSpec) -> serde_json::Result<PartitionSpec> {
    if spec.fields().iter().all(|field| sanitize(&field.name) == field.name) {
        return Ok(spec.clone());
    }
    let mut json = serde_json::to_value(spec)?;
    for field in json["fields"].as_array_mut().into_iter().flatten() {
        if let Some(name) = field["name"].as_str().map(sanitize) {
            field["name"] = Value::String(name);
        }
    }
    serde_json::from_value(json)
}

/// As the Java implementation does (`AvroSchemaUtil.sanitize`): `.` becomes `_x2E`, a digit in front gets a `_`.
fn sanitize(name: &str) -> String {
    let mut sanitized = String::with_capacity(name.len());
    for (place, unit) in name.encode_utf16().enumerate() {
        match u8::try_from(unit).map(char::from) {
            Ok(plain) if plain.is_ascii_alphabetic() || plain == '_' => sanitized.push(plain),
            Ok(digit) if digit.is_ascii_digit() => {
                if place == 0 {
                    sanitized.push('_');
                }
                sanitized.push(digit);
            }
            Ok(_) | Err(_) => sanitized.push_str(&format!("_x{unit:X}")),
        }
    }
    sanitized
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_reference_implementation() {
        for (name, expected) in [
            ("event_time_day", "event_time_day"),
            ("user.id_bucket", "user_x2Eid_bucket"),
            ("a/b c", "a_x2Fb_x20c"),
            ("9x9", "_9x9"),
            ("ü", "_xFC"),
        ] {
            assert_eq!(sanitize(name), expected);
        }
    }
}
