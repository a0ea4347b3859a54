//! The JSON bodies of the REST protocol, nothing more.

use std::collections::{BTreeMap, HashMap};

use iceberg::spec::{Schema, SnapshotReference, SnapshotRetention, SortOrder, TableMetadata, UnboundPartitionSpec};
use iceberg::{TableIdent, TableRequirement, TableUpdate};
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize)]
pub(super) struct CatalogConfig {
    #[serde(default)]
    pub(super) defaults: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) overrides: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ErrorResponse {
    pub(super) error: ErrorModel,
}

#[derive(Debug, Deserialize)]
pub(super) struct ErrorModel {
    #[serde(default)]
    pub(super) message: String,
    #[serde(default, rename = "type")]
    pub(super) kind: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct TokenResponse {
    pub(super) access_token: String,
    #[serde(default)]
    pub(super) expires_in: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct TokenError {
    #[serde(default)]
    pub(super) error: String,
    #[serde(default)]
    pub(super) error_description: Option<String>,
}

/// One page of a listing.
pub(super) trait Page {
    fn next_page_token(&self) -> Option<&str>;
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct NamespacePage {
    #[serde(default)]
    pub(super) namespaces: Vec<Vec<String>>,
    #[serde(default)]
    next_page_token: Option<String>,
}

impl Page for NamespacePage {
    fn next_page_token(&self) -> Option<&str> {
        self.next_page_token.as_deref()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct TablePage {
    #[serde(default)]
    pub(super) identifiers: Vec<TableIdent>,
    #[serde(default)]
    next_page_token: Option<String>,
}

impl Page for TablePage {
    fn next_page_token(&self) -> Option<&str> {
        self.next_page_token.as_deref()
    }
}

#[derive(Debug, Serialize)]
pub(super) struct CreateNamespace<'a> {
    pub(super) namespace: &'a [String],
    pub(super) properties: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct CreateTableRequest<'a> {
    pub(super) name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) location: Option<&'a str>,
    pub(super) schema: &'a Schema,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) partition_spec: Option<&'a UnboundPartitionSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) write_order: Option<&'a SortOrder>,
    pub(super) stage_create: bool,
    pub(super) properties: &'a BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LoadTableResult {
    #[serde(default)]
    pub(super) metadata_location: Option<String>,
    pub(super) metadata: TableMetadata,
    #[serde(default)]
    pub(super) config: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) storage_credentials: Option<Vec<StorageCredential>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct StorageCredential {
    pub(super) prefix: String,
    pub(super) config: BTreeMap<String, String>,
}

/// The references of a table, read beside [`LoadTableResult`] because `TableMetadata` does not show them.
#[derive(Debug, Deserialize)]
pub(super) struct LoadedRefs {
    metadata: Refs,
}

#[derive(Debug, Deserialize)]
struct Refs {
    #[serde(default)]
    refs: Option<HashMap<String, SnapshotReference>>,
}

impl LoadedRefs {
    pub(super) fn main_retention(self) -> Option<SnapshotRetention> {
        let mut refs = self.metadata.refs?;
        refs.remove(iceberg::spec::MAIN_BRANCH).filter(SnapshotReference::is_branch).map(|main| main.retention)
    }
}

#[derive(Debug, Serialize)]
pub(super) struct CommitTable<'a> {
    pub(super) identifier: &'a TableIdent,
    pub(super) requirements: &'a [TableRequirement],
    pub(super) updates: Vec<Update<'a>>,
}

impl<'a> CommitTable<'a> {
    pub(super) fn new(
        identifier: &'a TableIdent,
        requirements: &'a [TableRequirement],
        updates: &'a [TableUpdate],
    ) -> Self {
        let last_column_id = requirements.iter().find_map(|requirement| match requirement {
            TableRequirement::LastAssignedFieldIdMatch { last_assigned_field_id } => Some(*last_assigned_field_id),
            _ => None,
        });
        let updates = updates.iter().map(|update| Update::new(update, last_column_id)).collect();
        Self { identifier, requirements, updates }
    }
}

/// An update as catalogs want it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Update<'a> {
    #[serde(flatten)]
    update: &'a TableUpdate,
    /// Of the table with a new schema. The protocol has it as optional, but not every catalog does.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_column_id: Option<i32>,
}

impl<'a> Update<'a> {
    /// `before`: the highest column id that the table ever had.
    fn new(update: &'a TableUpdate, before: Option<i32>) -> Self {
        let last_column_id = match (update, before) {
            (TableUpdate::AddSchema { schema }, Some(before)) => Some(before.max(schema.highest_field_id())),
            _ => None,
        };
        Self { update, last_column_id }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct CommitTableResponse {
    #[serde(default)]
    pub(super) metadata_location: Option<String>,
    pub(super) metadata: TableMetadata,
}
