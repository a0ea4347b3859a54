//! `frazil table describe`: what a table looks like now, and how much of the log it contains. Read only.

use std::cell::RefCell;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use frazil_core::TableName;
use frazil_core::policy::TablePolicy;
use frazil_core::schema::{Field, Schema};
use frazil_iceberg::Table;
use serde_json::json;

use crate::exit::Failure;
use crate::reach::{self, ReachArgs};

/// Properties that hold checkpoints.
const CHECKPOINT_PREFIX: &str = "frazil.checkpoint.";

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  frazil table describe shop.orders

Policies are the table's own properties frazil.*, which win over those of a stream; any engine can set them.
A checkpoint is the last position of a shard whose events are all in the table, as <incarnation>:<sequence>.")]
pub(super) struct DescribeArgs {
    /// namespace.table, or catalog.namespace.table
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: ReachArgs,
}

pub(super) async fn run(args: DescribeArgs) -> Result<ExitCode, Failure> {
    let config = args.reach.resolve()?;
    let name = reach::table_name(&config, &args.name)?;
    let catalog = reach::catalog_of(&config, &name).await?;
    let table = catalog.load_table(&super::ident(&name)).await.with_context(|| format!("cannot load {name}"))?;
    let description = Description::of(&name, &table)?;
    if args.json {
        println!("{}", description.json())
    } else {
        print!("{}", description.text())
    }
    Ok(ExitCode::SUCCESS)
}

/// The current snapshot: id, time in milliseconds, totals of its summary.
type SnapshotShown = (i64, i64, Vec<(String, String)>);

/// Everything that is shown.
struct Description {
    name: String,
    uuid: String,
    location: String,
    metadata_location: String,
    format_version: u8,
    schema: serde_json::Value,
    columns: Vec<(String, String)>,
    /// Partition fields: name, transform, source column.
    partition: Vec<(String, String, String)>,
    /// Sort fields: transform, source column, direction with the place of nulls.
    sort: Vec<(String, String, String)>,
    /// Properties that decide about events, each with what is wrong with its value, if so.
    policies: Vec<(String, String, Option<String>)>,
    snapshot: Option<SnapshotShown>,
    checkpoints: Vec<(String, String)>,
    properties: Vec<(String, String)>,
}

impl Description {
    fn of(name: &TableName, table: &Table) -> anyhow::Result<Self> {
        let metadata = &table.metadata;
        let text = table.schema_json().context("the schema")?;
        let schema: serde_json::Value = serde_json::from_str(&text).context("the schema")?;
        let spec = metadata.default_partition_spec();
        let source = |id| metadata.current_schema().name_by_field_id(id).unwrap_or("?").to_owned();
        let partition = spec.fields().iter().map(|f| (f.name.clone(), f.transform.to_string(), source(f.source_id)));
        let sort = metadata.default_sort_order().fields.iter();
        let sort = sort.map(|f| {
            (f.transform.to_string(), source(f.source_id), format!("{}, nulls {}", f.direction, f.null_order))
        });
        let snapshot = metadata.current_snapshot().map(|snapshot| {
            let summary = &snapshot.summary().additional_properties;
            let mut totals: Vec<_> = summary
                .iter()
                .filter(|(key, _)| key.starts_with("total-"))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            totals.sort();
            (snapshot.snapshot_id(), snapshot.timestamp_ms(), totals)
        });
        let mut properties: Vec<_> = metadata.properties().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        properties.sort();
        let (checkpoints, properties): (_, Vec<_>) =
            properties.into_iter().partition(|(key, _)| key.starts_with(CHECKPOINT_PREFIX));
        Ok(Self {
            name: name.to_string(),
            uuid: table.uuid().to_string(),
            location: table.location().to_owned(),
            metadata_location: table.metadata_location.clone(),
            format_version: metadata.format_version() as u8,
            columns: columns(&schema),
            schema,
            partition: partition.collect(),
            sort: sort.collect(),
            policies: policies(&properties),
            snapshot,
            checkpoints,
            properties,
        })
    }

    fn json(&self) -> serde_json::Value {
        let checkpoints: serde_json::Map<_, _> = self
            .checkpoints
            .iter()
            .map(|(key, value)| (key[CHECKPOINT_PREFIX.len()..].to_owned(), json!(value)))
            .collect();
        let partition: Vec<_> = self
            .partition
            .iter()
            .map(|(name, transform, source)| json!({"name": name, "transform": transform, "source": source}))
            .collect();
        let sort = self.sort.iter().map(
            |(transform, source, direction)| json!({"transform": transform, "source": source, "direction": direction}),
        );
        let policies = self.policies.iter().map(|(key, value, wrong)| match wrong {
            None => (key.clone(), json!(value)),
            Some(wrong) => (key.clone(), json!({"value": value, "error": wrong})),
        });
        json!({
            "name": self.name,
            "uuid": self.uuid,
            "location": self.location,
            "metadata_location": self.metadata_location,
            "format_version": self.format_version,
            "schema": self.schema,
            "partition": partition,
            "sort": sort.collect::<Vec<_>>(),
            "policies": policies.collect::<serde_json::Map<_, _>>(),
            "snapshot_id": self.snapshot.as_ref().map(|(id, ..)| id),
            "totals": self.snapshot.as_ref().map(|(_, _, totals)| totals.iter().cloned().collect::<std::collections::BTreeMap<_, _>>()),
            "checkpoints": checkpoints,
            "properties": self.properties.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        })
    }

    fn text(&self) -> String {
        let mut lines = vec![
            format!("table      {}", self.name),
            format!("uuid       {}", self.uuid),
            format!("location   {}", self.location),
            format!("metadata   {}", self.metadata_location),
            format!("format     v{}", self.format_version),
        ];
        lines.push("\ncolumns".to_owned());
        let width = self.columns.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        lines.extend(self.columns.iter().map(|(name, ty)| format!("  {name:<width$}  {ty}")));
        lines.push("\npartitioned by".to_owned());
        lines.extend(
            self.partition.iter().map(|(name, transform, source)| format!("  {transform} of {source} ({name})")),
        );
        if self.partition.is_empty() {
            lines.push("  nothing".to_owned());
        }
        lines.push("\nsorted by".to_owned());
        lines.extend(self.sort.iter().map(|(transform, source, direction)| match transform.as_str() {
            "identity" => format!("  {source} {direction}"),
            _ => format!("  {transform} of {source} {direction}"),
        }));
        if self.sort.is_empty() {
            lines.push("  nothing".to_owned());
        }
        lines.push("\npolicies of its own".to_owned());
        lines.extend(self.policies.iter().map(|(key, value, wrong)| match wrong {
            None => format!("  {key} = {value}"),
            Some(wrong) => format!("  {key} = {value} (WRONG: {wrong})"),
        }));
        if self.policies.is_empty() {
            lines.push("  none; those of the stream are in force".to_owned());
        }
        lines.push("\nsnapshot".to_owned());
        match &self.snapshot {
            Some((id, at, totals)) => {
                lines.push(format!("  {id}, {} UTC", reach::show_micros(at.saturating_mul(1000))));
                lines.extend(totals.iter().map(|(key, value)| format!("  {key}: {value}")));
            }
            None => lines.push("  none yet".to_owned()),
        }
        lines.push("\ncheckpoints (stream.shard)".to_owned());
        let shard = |key: &str| key[CHECKPOINT_PREFIX.len()..].to_owned();
        lines.extend(self.checkpoints.iter().map(|(key, value)| format!("  {}: {value}", shard(key))));
        if self.checkpoints.is_empty() {
            lines.push("  none yet".to_owned());
        }
        if !self.properties.is_empty() {
            lines.push("\nproperties".to_owned());
            let own = |key: &String| self.policies.iter().any(|(policy, ..)| policy == key);
            let others = self.properties.iter().filter(|(key, _)| !own(key));
            lines.extend(others.map(|(key, value)| format!("  {key} = {value}")));
        }
        lines.join("\n") + "\n"
    }
}

/// The properties that decide about events, with what is wrong with a value.
fn policies(properties: &[(String, String)]) -> Vec<(String, String, Option<String>)> {
    let policy = TablePolicy::default();
    let known = RefCell::new(Vec::new());
    // Nothing is set here, so nothing can be wrong: this asks which keys there are.
    let asked = policy.with_properties(|key| {
        known.borrow_mut().push(key.to_owned());
        None
    });
    debug_assert!(asked.is_ok());
    let own = properties.iter().filter(|(key, _)| known.borrow().contains(key));
    own.map(|(key, value)| {
        let outcome = policy.with_properties(|asked| (asked == key).then_some(value.as_str()));
        (key.clone(), value.clone(), outcome.err().map(|error| format!("expected {}", error.expected)))
    })
    .collect()
}

/// Columns with their types; a schema with types that Frazil cannot fill is shown all the same.
fn columns(schema: &serde_json::Value) -> Vec<(String, String)> {
    let required = |field: &Field| if field.required { " required" } else { "" };
    match Schema::from_value(schema) {
        Ok(schema) => schema.fields.iter().map(|f| (f.name.clone(), format!("{}{}", f.ty, required(f)))).collect(),
        Err(_) => {
            let fields = schema["fields"].as_array().cloned().unwrap_or_default();
            let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            fields.iter().map(|field| (text(&field["name"]), text(&field["type"]))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_told_from_other_properties_and_checked() {
        let properties = [
            ("frazil.checkpoint.s.0", "1:2"),
            ("frazil.on-invalid", "maybe"),
            ("frazil.unknown-fields", "evolve"),
            ("owner", "ada"),
        ];
        let properties: Vec<_> = properties.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let found = policies(&properties);
        assert_eq!(
            found,
            [
                ("frazil.on-invalid".to_owned(), "maybe".to_owned(), Some("expected reject or dead_letter".to_owned())),
                ("frazil.unknown-fields".to_owned(), "evolve".to_owned(), None),
            ]
        );
    }
}
