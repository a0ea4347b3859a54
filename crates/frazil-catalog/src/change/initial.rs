//! Metadata of tables that do not exist yet.

use std::collections::HashMap;

use frazil_iceberg::spec::{
    FormatVersion, Schema, SortOrder, TableMetadata, TableMetadataBuilder, TableUpdate, UnboundPartitionSpec,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ChangeError, FORMAT_VERSION, parse_version, types};

/// Properties that tables made here get unless the client chose otherwise: commits come every few seconds, so old
/// metadata files would pile up.
const DEFAULT_PROPERTIES: [(&str, &str); 2] =
    [("write.metadata.delete-after-commit.enabled", "true"), ("write.metadata.previous-versions-max", "20")];
/// Highest partition field id of an unpartitioned table; the first partition field gets the next one.
const UNPARTITIONED_LAST_ID: i64 = 999;

/// What a client asks for when it creates a table.
#[derive(Debug)]
pub(crate) struct Creation {
    pub(crate) location: String,
    pub(crate) schema: Schema,
    pub(crate) partition_spec: Option<UnboundPartitionSpec>,
    pub(crate) sort_order: Option<SortOrder>,
    pub(crate) properties: HashMap<String, String>,
}

/// Metadata of a new table; column, spec and order ids are assigned anew.
pub(crate) fn created(creation: Creation) -> Result<TableMetadata, ChangeError> {
    let Creation { location, schema, partition_spec, sort_order, mut properties } = creation;
    let version = match properties.remove(FORMAT_VERSION) {
        Some(version) => parse_version(&version)?,
        None => FormatVersion::V2,
    };
    types::check_supported(&schema, version)?;
    add_defaults(&mut properties);
    let spec = partition_spec.unwrap_or_default();
    let order = sort_order.unwrap_or_else(SortOrder::unsorted_order);
    let built = TableMetadataBuilder::new(schema, spec, order, location, version, properties)
        .and_then(TableMetadataBuilder::build)
        .map_err(|error| ChangeError::refused(&error))?;
    Ok(built.metadata)
}

fn add_defaults(properties: &mut HashMap<String, String>) {
    for (key, value) in DEFAULT_PROPERTIES {
        properties.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
}

/// The metadata that the updates of a create transaction start from, and the updates with the default properties.
///
/// The client has already written files for the ids it uses, so nothing may be renumbered: the first schema, spec and
/// order of the updates are put in place as they are, and the builder then recognises them when it applies all
/// updates on top.
pub(crate) fn initial(
    default_location: String,
    mut updates: Vec<TableUpdate>,
) -> Result<(TableMetadata, Vec<TableUpdate>), ChangeError> {
    let version = requested_version(&updates)?;
    let base = base_metadata(&updates, version, default_location)?;
    // First, so that whatever the client says about the same properties wins.
    let defaults = DEFAULT_PROPERTIES.map(|(key, value)| (key.to_owned(), value.to_owned()));
    updates.insert(0, TableUpdate::SetProperties { updates: HashMap::from(defaults) });
    Ok((base, updates))
}

fn requested_version(updates: &[TableUpdate]) -> Result<FormatVersion, ChangeError> {
    let version = first(updates, |update| match update {
        TableUpdate::UpgradeFormatVersion { format_version } => Some(Ok(*format_version)),
        TableUpdate::SetProperties { updates } => updates.get(FORMAT_VERSION).map(|version| parse_version(version)),
        _ => None,
    });
    version.unwrap_or(Ok(FormatVersion::V2))
}

fn base_metadata(
    updates: &[TableUpdate],
    version: FormatVersion,
    default_location: String,
) -> Result<TableMetadata, ChangeError> {
    let schema = first(updates, |update| match update {
        TableUpdate::AddSchema { schema } => Some(schema),
        _ => None,
    })
    .ok_or_else(|| ChangeError::Refused("a new table needs a schema".to_owned()))?;
    let uuid = first(updates, |update| match update {
        TableUpdate::AssignUuid { uuid } => Some(*uuid),
        _ => None,
    });
    let location = first(updates, |update| match update {
        TableUpdate::SetLocation { location } => Some(location.clone()),
        _ => None,
    });
    let (spec, last_partition_id) = first_spec(updates);
    let order = first(updates, |update| match update {
        TableUpdate::AddSortOrder { sort_order } => Some(sort_order.clone()),
        _ => None,
    })
    .unwrap_or_else(SortOrder::unsorted_order);
    let value = json!({
        "format-version": version as u8,
        "table-uuid": uuid.unwrap_or_else(Uuid::now_v7),
        "location": location.unwrap_or(default_location),
        "last-sequence-number": 0,
        "next-row-id": 0,
        "last-updated-ms": 0,
        "last-column-id": schema.highest_field_id(),
        "schema": schema,
        "schemas": [schema],
        "current-schema-id": schema.schema_id(),
        "partition-spec": spec["fields"],
        "partition-specs": [spec],
        "default-spec-id": spec["spec-id"],
        "last-partition-id": last_partition_id,
        "sort-orders": [order],
        "default-sort-order-id": order.order_id,
    });
    serde_json::from_value(value).map_err(|error| ChangeError::Refused(format!("invalid new table: {error}")))
}

/// The first partition spec as table metadata has it (with field ids), and its highest field id.
fn first_spec(updates: &[TableUpdate]) -> (Value, i64) {
    let spec = first(updates, |update| match update {
        TableUpdate::AddSpec { spec } => Some(spec.clone()),
        _ => None,
    })
    .unwrap_or_default();
    let mut last = UNPARTITIONED_LAST_ID;
    let mut fields = Vec::with_capacity(spec.fields().len());
    for field in spec.fields() {
        let id = field.field_id.map_or(last + 1, i64::from);
        last = last.max(id);
        fields.push(json!({
            "source-id": field.source_id, "field-id": id, "name": field.name, "transform": field.transform,
        }));
    }
    (json!({ "spec-id": spec.spec_id().unwrap_or(0), "fields": fields }), last)
}

fn first<'a, T>(updates: &'a [TableUpdate], pick: impl Fn(&'a TableUpdate) -> Option<T>) -> Option<T> {
    updates.iter().find_map(pick)
}
