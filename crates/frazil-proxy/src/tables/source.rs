//! The seam to the catalogs: what the proxy asks of them, and what they may answer.

use std::collections::BTreeMap;
use std::fmt::Debug;

use frazil_core::checkpoint::{Checkpoint, CheckpointDelta};
use frazil_core::schema::Schema;
use frazil_core::{Shard, TableName};
use futures::future::BoxFuture;

/// Where tables are. Two implementations: the configured Iceberg catalogs and [`super::memory::MemoryTables`].
pub trait TableSource: Debug + Send + Sync + 'static {
    /// The catalog that two-part table names mean.
    fn default_catalog(&self) -> &str;

    /// The names of all catalogs.
    fn known_catalogs(&self) -> Vec<String>;

    /// A table as it is at present.
    fn load<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<TableShape, TableError>>;

    /// Creates a table, and its namespace unless that is forbidden.
    fn create<'a>(&'a self, table: &'a TableName, new: &'a NewTable) -> BoxFuture<'a, Result<(), TableError>>;

    /// How much of a shard the table contains.
    fn commits<'a>(&'a self, table: &'a TableName, shard: &'a Shard)
    -> BoxFuture<'a, Result<TableCommits, TableError>>;
}

/// What decides whether events fit a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableShape {
    /// The current schema.
    pub schema: Schema,
    /// The properties by which the table's owner sets policies, see [`is_policy_property`].
    pub properties: BTreeMap<String, String>,
}

/// Whether a property may set a policy. Those that the writers keep for every shard are many, and set none.
pub fn is_policy_property(key: &str) -> bool {
    key.strip_prefix(frazil_core::policy::PROPERTY_PREFIX).is_some_and(|setting| !setting.contains('.'))
}

/// A table to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTable {
    /// All columns. The catalog assigns their ids.
    pub schema: Schema,
    /// Partition spec such as `day(event_time), bucket(16, user_id)`; empty for none.
    pub partition_by: String,
    /// Sort order such as `user_id, event_time desc`; empty for none.
    pub sort_by: String,
    /// Table properties.
    pub properties: BTreeMap<String, String>,
    /// Whether a namespace that does not exist is an error; else it is created.
    pub strict_namespace: bool,
}

/// How much of a shard a table contains, and by which snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableCommits {
    /// The table's checkpoint for the shard.
    pub checkpoint: Option<Checkpoint>,
    /// The newest deltas of the shard in the ancestry, with the snapshots that added them, newest first.
    pub deltas: Vec<(CheckpointDelta, i64)>,
}

/// Why a table could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// There is no such table.
    #[error("there is no such table")]
    Missing,
    /// There is no such namespace, and none may be made.
    #[error("there is no such namespace")]
    NoNamespace,
    /// There is one already.
    #[error("the table exists already")]
    Exists,
    /// The catalog does not allow it.
    #[error("{0}")]
    Forbidden(String),
    /// The table or its definition cannot be used; trying again is in vain.
    #[error("{0}")]
    Unusable(String),
    /// The catalog cannot be asked now. A table that was to be created may have been.
    #[error("{0}")]
    Unavailable(String),
}
