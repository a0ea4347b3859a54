//! Where data files go: `<data>/<partition path>/<name>` or the layout for object stores, as the Java implementation
//! names them. Must not touch storage. Readers treat locations as opaque, but people and other tools read them.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use iceberg::spec::{
    Datum, Literal, PartitionSpec, PrimitiveLiteral, PrimitiveType, Struct, StructType, Transform, Type,
};
use iceberg::transform::create_transform_function;
use url::form_urlencoded::byte_serialize;

use super::calendar;
use super::error::StageError;

const DATA_PATH: &str = "write.data.path";
const OBJECT_STORE_ENABLED: &str = "write.object-storage.enabled";
const OBJECT_STORE_PATH: &str = "write.object-storage.path";
const OBJECT_STORE_PARTITIONED: &str = "write.object-storage.partitioned-paths";
const FOLDER_PATH: &str = "write.folder-storage.path";

/// Most bytes of one directory of the partition path: file systems end at 255, and a long string as partition value
/// must not make rows impossible to store. Names of files are unique anyway, and readers never parse the path.
const STEP_BYTES: usize = 200;

/// Bits of a name's hash that are used as directories.
const ENTROPY_BITS: u32 = 20;

/// The layout of one table's data files.
#[derive(Debug)]
pub(super) struct Locations {
    data: String,
    object_store: Option<ObjectStoreLayout>,
    fields: Vec<PathField>,
}

#[derive(Debug)]
struct ObjectStoreLayout {
    /// `<parent>/<table>` if the data is outside the table's location and so may be shared by tables.
    context: Option<String>,
    partitioned: bool,
}

#[derive(Debug)]
struct PathField {
    name: String,
    transform: Transform,
    target: Type,
}

impl Locations {
    pub(super) fn new(
        location: &str,
        properties: &HashMap<String, String>,
        spec: &PartitionSpec,
        types: &StructType,
    ) -> Self {
        let location = location.trim_end_matches('/');
        let flag =
            |key: &str, default: bool| properties.get(key).map_or(default, |text| text.eq_ignore_ascii_case("true"));
        let enabled = flag(OBJECT_STORE_ENABLED, false);
        let keys: &[&str] =
            if enabled { &[DATA_PATH, OBJECT_STORE_PATH, FOLDER_PATH] } else { &[DATA_PATH, FOLDER_PATH] };
        let data = keys.iter().find_map(|key| properties.get(*key)).map(|path| path.trim_end_matches('/').to_owned());
        let data = data.unwrap_or_else(|| format!("{location}/data"));
        let object_store = enabled.then(|| ObjectStoreLayout {
            context: (!data.starts_with(location)).then(|| last_two_segments(location)),
            partitioned: flag(OBJECT_STORE_PARTITIONED, true),
        });
        let field = |(field, target): (&iceberg::spec::PartitionField, &iceberg::spec::NestedFieldRef)| PathField {
            name: field.name.clone(),
            transform: field.transform,
            target: target.field_type.as_ref().clone(),
        };
        let fields = if spec.is_unpartitioned() {
            Vec::new()
        } else {
            spec.fields().iter().zip(types.fields()).map(field).collect()
        };
        Self { data, object_store, fields }
    }

    /// `name=value/…`, both sides form-url-encoded; `None` for unpartitioned tables.
    pub(super) fn partition_path(&self, values: &Struct) -> Option<String> {
        if self.fields.is_empty() {
            return None;
        }
        let step = |(field, value): (&PathField, Option<&Literal>)| {
            shorten(format!("{}={}", encode(&field.name), encode(&human(field.transform, &field.target, value))))
        };
        Some(self.fields.iter().zip(values.iter()).map(step).collect::<Vec<_>>().join("/"))
    }

    /// Full location of a file.
    pub(super) fn data_file(&self, partition_path: Option<&str>, name: &str) -> Result<String, StageError> {
        let data = &self.data;
        let within = |path: Option<&str>| path.map_or_else(|| name.to_owned(), |path| format!("{path}/{name}"));
        let Some(layout) = &self.object_store else { return Ok(format!("{data}/{}", within(partition_path))) };
        let path = within(partition_path.filter(|_| layout.partitioned));
        let entropy = entropy(&path)?;
        Ok(match &layout.context {
            Some(context) => format!("{data}/{entropy}/{context}/{path}"),
            None if layout.partitioned => format!("{data}/{entropy}/{path}"),
            None => format!("{data}/{entropy}-{path}"),
        })
    }
}

/// As Java's `URLEncoder`: letters, digits and `*-._` stay, a space becomes `+`, all else `%XX`.
fn encode(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

/// Cuts an encoded step off, not inside an escape.
fn shorten(mut step: String) -> String {
    if step.len() > STEP_BYTES {
        let end = (STEP_BYTES - 2..STEP_BYTES).find(|at| step.as_bytes()[*at] == b'%').unwrap_or(STEP_BYTES);
        step.truncate(end);
    }
    step
}

fn last_two_segments(location: &str) -> String {
    let mut segments: Vec<&str> = location.rsplit('/').filter(|segment| !segment.is_empty()).take(2).collect();
    segments.reverse();
    segments.join("/")
}

/// `0101/0110/1001/10110010`: spreads files over the store's partitions.
fn entropy(path: &str) -> Result<String, StageError> {
    // The bucket transform is the same Murmur3 hash modulo its width, so this width yields its lowest bits.
    let hash = create_transform_function(&Transform::Bucket(1 << ENTROPY_BITS))
        .and_then(|bucket| bucket.transform_literal_result(&Datum::string(path)))
        .map_err(|source| StageError::spec("hash of a location", source))?;
    let PrimitiveLiteral::Int(hash) = hash.literal() else {
        return Err(StageError::Internal { reason: "a bucket number is an int".to_owned() });
    };
    let bits = format!("{hash:0width$b}", width = ENTROPY_BITS as usize);
    Ok(format!("{}/{}/{}/{}", &bits[..4], &bits[4..8], &bits[8..12], &bits[12..]))
}

/// A partition value for people, as in the Java implementation (its exponents of very large floats and very small
/// decimals apart).
fn human(transform: Transform, target: &Type, value: Option<&Literal>) -> String {
    let Some(Literal::Primitive(value)) = value else { return "null".to_owned() };
    match (transform, value) {
        (Transform::Year, PrimitiveLiteral::Int(years)) => format!("{:04}", 1970 + i64::from(*years)),
        (Transform::Month, PrimitiveLiteral::Int(months)) => {
            let months = i64::from(*months);
            format!("{:04}-{:02}", 1970 + months.div_euclid(12), months.rem_euclid(12) + 1)
        }
        (Transform::Day, PrimitiveLiteral::Int(days)) => calendar::date(i64::from(*days)),
        (Transform::Hour, PrimitiveLiteral::Int(hours)) => {
            let hours = i64::from(*hours);
            format!("{}-{:02}", calendar::date(hours.div_euclid(24)), hours.rem_euclid(24))
        }
        (_, value) => plain(target, value),
    }
}

fn plain(target: &Type, value: &PrimitiveLiteral) -> String {
    let primitive = match target {
        Type::Primitive(primitive) => Some(primitive),
        Type::Struct(_) | Type::List(_) | Type::Map(_) => None,
    };
    match (primitive, value) {
        (Some(PrimitiveType::Date), PrimitiveLiteral::Int(days)) => calendar::date(i64::from(*days)),
        (Some(PrimitiveType::Time), PrimitiveLiteral::Long(micros)) => calendar::time_of_day(*micros),
        (Some(PrimitiveType::Timestamp), PrimitiveLiteral::Long(micros)) => calendar::date_time(*micros, 1_000_000),
        (Some(PrimitiveType::Timestamptz), PrimitiveLiteral::Long(micros)) => {
            calendar::date_time(*micros, 1_000_000) + "+00:00"
        }
        (Some(PrimitiveType::TimestampNs), PrimitiveLiteral::Long(nanos)) => calendar::date_time(*nanos, 1_000_000_000),
        (Some(PrimitiveType::TimestamptzNs), PrimitiveLiteral::Long(nanos)) => {
            calendar::date_time(*nanos, 1_000_000_000) + "+00:00"
        }
        (Some(PrimitiveType::Decimal { scale, .. }), PrimitiveLiteral::Int128(unscaled)) => {
            decimal(*unscaled, *scale as usize)
        }
        (_, PrimitiveLiteral::Boolean(value)) => value.to_string(),
        (_, PrimitiveLiteral::Int(value)) => value.to_string(),
        (_, PrimitiveLiteral::Long(value)) => value.to_string(),
        (_, PrimitiveLiteral::Float(value)) => format!("{:?}", value.0),
        (_, PrimitiveLiteral::Double(value)) => format!("{:?}", value.0),
        (_, PrimitiveLiteral::String(value)) => value.clone(),
        (_, PrimitiveLiteral::Binary(value)) => STANDARD.encode(value),
        (_, PrimitiveLiteral::Int128(value)) => value.to_string(),
        (_, PrimitiveLiteral::UInt128(value)) => uuid::Uuid::from_u128(*value).to_string(),
        (_, PrimitiveLiteral::AboveMax) => "above-max".to_owned(),
        (_, PrimitiveLiteral::BelowMin) => "below-min".to_owned(),
    }
}

fn decimal(unscaled: i128, scale: usize) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale > 0 { "." } else { "" };
    format!("{sign}{whole}{point}{fraction}")
}

#[cfg(test)]
mod tests;
