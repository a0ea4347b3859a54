//! Changes of a table's schema: one compare-and-swap on the schema that the change was thought out for.
//!
//! Decides nothing about columns: the caller proposes a whole schema with ids. It must never send a proposal a second
//! time, because what the table has become may ask for another one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use iceberg::spec::{FormatVersion, Schema};
use iceberg::{TableRequirement, TableUpdate};
use uuid::Uuid;

use crate::create::{nanosecond_column, parse_schema};
use crate::rest::{CatalogError, CommitError, RestCatalog};
use crate::table::Table;

/// Has the updates take the schema that was added last, whatever id the catalog gave it.
const LAST_ADDED: i32 = -1;

/// Why a table does not have the proposed schema.
#[derive(Debug, thiserror::Error)]
pub enum SchemaUpdateError {
    /// Somebody else altered the table: load it and think the proposal out anew.
    #[error("the table was altered meanwhile: {message}")]
    Conflict {
        /// The catalog's message, or what differs.
        message: String,
    },
    /// Another table has the name now.
    #[error("the table was replaced: expected uuid {expected}, found {found}")]
    Replaced {
        /// The table the proposal was made for.
        expected: Uuid,
        /// The table that is there.
        found: Uuid,
    },
    /// The table was dropped.
    #[error("the table is gone: {message}")]
    Gone {
        /// The catalog's message.
        message: String,
    },
    /// The catalog cannot be reached. The change may land yet, if it was sent: loading the table and proposing again
    /// is safe all the same, because at most one proposal made for one schema can win.
    #[error("unavailable: {message}")]
    Unavailable {
        /// The last failure.
        message: String,
    },
    /// The catalog refuses the change for good; nothing was altered.
    #[error(transparent)]
    Rejected(CatalogError),
    /// The proposal does not fit the table it was made for; nothing was sent.
    #[error("invalid schema change: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
}

impl SchemaUpdateError {
    /// Whether loading the table and proposing anew may succeed without anyone changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Conflict { .. } | Self::Unavailable { .. } => true,
            Self::Replaced { .. } | Self::Gone { .. } | Self::Rejected(_) | Self::Invalid { .. } => false,
        }
    }
}

impl RestCatalog {
    /// Makes `schema_json` (Iceberg schema JSON, its ids already assigned: new ones above [`Table::last_column_id`])
    /// the current schema of the table and sets `properties`, in one commit. It succeeds only while the table still
    /// has the uuid, the current schema and the last column id of `base`. A lost answer is looked up in the table.
    ///
    /// Returns the table as of the commit, with the storage of `base`.
    ///
    /// # Errors
    /// [`SchemaUpdateError`]. After [`SchemaUpdateError::Conflict`] load the table and propose anew.
    pub async fn update_schema(
        &self,
        base: &Table,
        schema_json: &str,
        properties: BTreeMap<String, String>,
    ) -> Result<Table, SchemaUpdateError> {
        let wanted = parse_schema(schema_json).map_err(|error| invalid(error.to_string()))?;
        check(base, &wanted)?;
        if properties.is_empty() && same(&wanted, base.metadata.current_schema()) {
            return Ok(base.clone());
        }
        let sent = self.commit_table(&base.ident, requirements(base), updates(base, &wanted, properties)).await;
        match sent {
            // Believe an answer only if it shows our schema.
            Ok(loaded) if same(loaded.metadata.current_schema(), &wanted) => {
                Ok(Table { metadata: loaded.metadata, metadata_location: loaded.metadata_location, ..base.clone() })
            }
            Ok(_) => self.look_up(base, &wanted, "the answer does not show the new schema".to_owned()).await,
            Err(CommitError::Unknown { reason }) => self.look_up(base, &wanted, reason).await,
            Err(CommitError::Conflict { message }) => Err(self.conflict(base, message).await),
            Err(CommitError::NotFound { message }) => Err(SchemaUpdateError::Gone { message }),
            Err(CommitError::NotSent(error) | CommitError::Rejected(error)) => Err(refused(error)),
        }
    }

    /// The requirement on the uuid fails like any other: the table tells whether it was that one.
    async fn conflict(&self, base: &Table, message: String) -> SchemaUpdateError {
        match self.load_table(&base.ident).await {
            Ok(now) if now.uuid() != base.uuid() => {
                SchemaUpdateError::Replaced { expected: base.uuid(), found: now.uuid() }
            }
            Ok(_) | Err(_) => SchemaUpdateError::Conflict { message },
        }
    }

    /// What became of a proposal whose answer was lost.
    async fn look_up(&self, base: &Table, wanted: &Schema, lost: String) -> Result<Table, SchemaUpdateError> {
        tracing::warn!(table = %base.ident, message = %lost, "outcome of a schema change unknown, asking the table");
        let now = match self.load_table(&base.ident).await {
            Ok(table) => table,
            Err(CatalogError::NoSuchTable { message } | CatalogError::NoSuchNamespace { message }) => {
                return Err(SchemaUpdateError::Gone { message });
            }
            // Not a refusal of the proposal: that may have been taken.
            Err(error) => return Err(SchemaUpdateError::Unavailable { message: format!("{lost}; then {error}") }),
        };
        if now.uuid() != base.uuid() {
            return Err(SchemaUpdateError::Replaced { expected: base.uuid(), found: now.uuid() });
        }
        if same(now.metadata.current_schema(), wanted) {
            return Ok(now);
        }
        if requirements(base).iter().all(|requirement| requirement.check(Some(&now.metadata)).is_ok()) {
            return Err(SchemaUpdateError::Unavailable { message: lost });
        }
        let message = format!("{lost}; then the table had another schema");
        Err(SchemaUpdateError::Conflict { message })
    }
}

/// Equal but for the id, which the catalog chooses.
fn same(one: &Schema, other: &Schema) -> bool {
    let identifiers = |schema: &Schema| schema.identifier_field_ids().collect::<BTreeSet<_>>();
    one.as_struct() == other.as_struct() && identifiers(one) == identifiers(other)
}

fn invalid(reason: String) -> SchemaUpdateError {
    SchemaUpdateError::Invalid { reason }
}

fn refused(error: CatalogError) -> SchemaUpdateError {
    if error.is_retryable() {
        SchemaUpdateError::Unavailable { message: error.to_string() }
    } else {
        SchemaUpdateError::Rejected(error)
    }
}

/// What catalogs do not all check: an id that was in use before would read the old column's values, and nanoseconds
/// need format version 3.
fn check(base: &Table, wanted: &Schema) -> Result<(), SchemaUpdateError> {
    let last = base.last_column_id();
    for (id, name) in wanted.field_id_to_name_map() {
        let known = base.metadata.schemas_iter().any(|schema| schema.field_by_id(*id).is_some());
        if !known && *id <= last {
            return Err(invalid(format!("column {name:?} is new but has id {id}, which is not above {last}")));
        }
    }
    match nanosecond_column(wanted) {
        Some(column) if base.metadata.format_version() < FormatVersion::V3 => {
            let version = base.metadata.format_version();
            Err(invalid(format!(
                "column {column:?} has nanoseconds, which need format version 3; the table has {version}"
            )))
        }
        Some(_) | None => Ok(()),
    }
}

fn requirements(base: &Table) -> Vec<TableRequirement> {
    vec![
        TableRequirement::UuidMatch { uuid: base.uuid() },
        TableRequirement::CurrentSchemaIdMatch { current_schema_id: base.metadata.current_schema_id() },
        TableRequirement::LastAssignedFieldIdMatch { last_assigned_field_id: base.last_column_id() },
    ]
}

/// Makes the schema the current one: by its id if the table has it, or else under the next id, since not every catalog
/// gives it one.
fn updates(base: &Table, wanted: &Schema, properties: BTreeMap<String, String>) -> Vec<TableUpdate> {
    let current = base.metadata.current_schema_id();
    let present = base.metadata.schemas_iter().filter(|schema| same(schema, wanted)).map(|schema| schema.schema_id());
    let mut updates = match present.max_by_key(|id| *id == current) {
        Some(id) if id == current => Vec::new(),
        Some(schema_id) => vec![TableUpdate::SetCurrentSchema { schema_id }],
        None => {
            let last = base.metadata.schemas_iter().map(|schema| schema.schema_id()).max().unwrap_or(current);
            let schema = wanted.clone().into_builder().with_schema_id(last + 1).build();
            let schema = schema.expect("a schema is valid under any id");
            vec![TableUpdate::AddSchema { schema }, TableUpdate::SetCurrentSchema { schema_id: LAST_ADDED }]
        }
    };
    if !properties.is_empty() {
        updates.push(TableUpdate::SetProperties { updates: HashMap::from_iter(properties) });
    }
    updates
}

#[cfg(test)]
mod tests;
