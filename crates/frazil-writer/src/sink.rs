//! The seam to the tables: load, stage files, commit fenced.
//!
//! One real implementation, [`IcebergSink`], and one in memory for tests. [`Committed`] has no constructor outside
//! this module, so nothing but a commit can move progress.

#[cfg(test)]
pub(crate) mod fake;
mod iceberg;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use frazil_core::TableName;
use frazil_core::schema::Schema;
use uuid::Uuid;

pub use frazil_iceberg::FencedProperty;
pub use iceberg::IcebergSink;

/// A loaded version of a table. A value: it never changes.
pub trait SinkTable: Clone + Send + Sync + 'static {
    /// Differs for a table that was dropped and created again.
    fn uuid(&self) -> Uuid;
    /// The current schema.
    fn schema(&self) -> &Arc<Schema>;
    /// The current schema for the batches that [`TableSink::stage`] takes.
    fn arrow_schema(&self) -> &SchemaRef;
    /// The highest column id ever assigned in the table.
    fn last_column_id(&self) -> i32;
    /// A table property.
    fn property(&self, key: &str) -> Option<&str>;
    /// The newest value of a summary key in the ancestry of `main` that `accept` likes.
    fn find_summary(&self, key: &str, accept: &dyn Fn(&str) -> bool) -> Option<String>;
}

/// Where rows go.
pub trait TableSink: Clone + Send + Sync + 'static {
    /// A loaded table.
    type Table: SinkTable;
    /// Files in storage that no commit refers to yet.
    type Files: Clone + Send + Sync + 'static;

    /// Loads a table; `None` if the catalog says that there is none.
    fn load(&self, name: &TableName) -> impl Future<Output = Result<Option<Self::Table>, SinkError>> + Send;

    /// Creates a table with these columns, partitioned by the day of `__ts__`, with its namespace if need be;
    /// loads it if it exists already.
    fn create(&self, name: &TableName, schema: &Schema) -> impl Future<Output = Result<Self::Table, SinkError>> + Send;

    /// Makes `schema`, thought out for exactly this version of the table, its schema, and sets properties, in one
    /// commit. At most one call for a version can succeed, whoever makes it.
    fn evolve(
        &self,
        table: &Self::Table,
        schema: &Schema,
        properties: &BTreeMap<String, String>,
    ) -> impl Future<Output = Result<Self::Table, EvolveError>> + Send;

    /// Stores the rows as data files. `file_prefix` must be new for every call.
    fn stage(
        &self,
        table: &Self::Table,
        rows: RecordBatch,
        file_prefix: &str,
    ) -> impl Future<Output = Result<Staged<Self::Files>, SinkError>> + Send;

    /// Commits an append, or finds that it is committed already. The same append may be given any number of times.
    fn commit(
        &self,
        table: &Self::Table,
        files: Option<&Self::Files>,
        append: &Append,
    ) -> impl Future<Output = Result<(Committed, Self::Table), CommitError>> + Send;
}

/// What staging produced.
#[derive(Debug, Clone)]
pub struct Staged<F> {
    /// The files.
    pub files: F,
    /// Their number.
    pub count: usize,
    /// Their size in bytes.
    pub bytes: u64,
}

/// What a commit changes besides adding files. It is one content under one id, for ever.
#[derive(Debug, Clone)]
pub struct Append {
    /// Identifies the content.
    pub commit_id: Uuid,
    /// Properties that move, and only from the value the batch was opened at.
    pub fence: Vec<FencedProperty>,
    /// Entries for the snapshot summary.
    pub summary: BTreeMap<String, String>,
}

/// Proof that an append is in its table.
#[derive(Debug)]
pub struct Committed {
    snapshot_id: i64,
    adopted: bool,
}

impl Committed {
    fn new(snapshot_id: i64, adopted: bool) -> Self {
        Self { snapshot_id, adopted }
    }

    /// The snapshot that holds the rows.
    pub fn snapshot_id(&self) -> i64 {
        self.snapshot_id
    }

    /// Whether an earlier try had committed it and only its answer was lost.
    pub fn adopted(&self) -> bool {
        self.adopted
    }
}

/// What the catalog or the store said.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a table could not be loaded or created, or files not be staged. Nothing is committed.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Catalog or store cannot be reached. Trying again may help.
    #[error("catalog or store unavailable: {0}")]
    Unavailable(#[source] Cause),
    /// It will not work until somebody changes the table, the permissions or the configuration.
    #[error("refused: {0}")]
    Rejected(#[source] Cause),
}

/// Why a table does not have the schema that was proposed for it.
#[derive(Debug, thiserror::Error)]
pub enum EvolveError {
    /// Somebody else altered the table. It must be loaded, and the schema thought out anew.
    #[error("the table was altered meanwhile: {0}")]
    Conflict(#[source] Cause),
    /// Another table has the name now.
    #[error("the table was replaced by another one")]
    Replaced,
    /// The table was dropped.
    #[error("the table was dropped")]
    Gone,
    /// The change did not happen, or nobody knows. As after a conflict, the table must be loaded first.
    #[error("catalog unavailable: {0}")]
    Unavailable(#[source] Cause),
    /// It did not happen, and will not until somebody changes the table, the permissions or the configuration.
    #[error("schema change refused: {0}")]
    Rejected(#[source] Cause),
}

/// Why an append is not known to be committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Somebody else committed what the batch holds, or more. The batch must be given up.
    #[error("fenced: {key} is {found:?}, expected {expected:?}")]
    Fenced {
        /// The property.
        key: String,
        /// Its value when the batch was opened.
        expected: Option<String>,
        /// Its value now.
        found: Option<String>,
    },
    /// Another table has the name now.
    #[error("the table was replaced by another one")]
    Replaced,
    /// The table was dropped.
    #[error("the table was dropped")]
    Gone,
    /// It may be committed. The same append must be given again.
    #[error("commit outcome unknown: {0}")]
    Unknown(#[source] Cause),
    /// It is not committed. Trying again may help.
    #[error("catalog or store unavailable: {0}")]
    Unavailable(#[source] Cause),
    /// It is not committed, and will not be until somebody changes the table, the permissions or the configuration.
    #[error("commit refused: {0}")]
    Rejected(#[source] Cause),
}
