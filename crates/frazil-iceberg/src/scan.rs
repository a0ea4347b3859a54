//! Reads the rows of a table's current snapshot, file by file, without those that its delete files take away.
//!
//! ```text
//! manifest list ─► data manifests, one at a time ─► data file ─► columns by field id ─► minus deleted rows ─► batches
//!              └─► delete manifests ─► deletes ──────────────────────────────────────────┘
//! ```
//!
//! One data file is open at a time, and of it one row group is in memory. It must not write, and must not guess: what
//! it cannot read rightly is an error.

mod deletes;
mod error;
mod live;
mod parquet_file;
mod project;

use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{FieldRef, Schema as ArrowSchema, SchemaRef as ArrowSchemaRef};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};

use crate::storage::ObjectStorage;
use crate::table::Table;
use deletes::{Deletes, Gone};
pub use error::ScanError;
use live::LiveFile;

/// Batches of one scan.
pub type Batches = BoxStream<'static, Result<RecordBatch, ScanError>>;

/// A scan that has begun.
pub struct Scan {
    /// The columns that were asked for and that the table has, in the order asked for: the schema of every batch.
    pub schema: ArrowSchemaRef,
    /// The columns that were asked for and that the table does not have.
    pub missing: Vec<String>,
    /// The rows. Within a file they come in its order; the order of files is that of the manifests. Nothing is read
    /// ahead of the consumer but the row group it is in. The first error ends the stream's use: rows of the file it
    /// was in may be lacking.
    pub batches: Batches,
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("schema", &self.schema).field("missing", &self.missing).finish_non_exhaustive()
    }
}

/// Begins to read top-level `columns` of the current snapshot of `main`, named and typed as in the current schema. A
/// table without a snapshot has no rows; a column that a file is older than is null in its rows.
///
/// # Errors
/// [`ScanError`], here or in the stream.
pub async fn scan(table: &Table, columns: &[&str]) -> Result<Scan, ScanError> {
    let all = table.arrow_schema().map_err(|source| ScanError::spec("the schema", source))?;
    let find = |name: &str| all.fields().iter().find(|field| field.name() == name).cloned();
    let (mut fields, mut missing) = (Vec::new(), Vec::new());
    for name in columns {
        match find(name) {
            Some(field) => fields.push(field),
            None => missing.push((*name).to_owned()),
        }
    }
    check_defaults(table, &fields)?;
    let schema: ArrowSchemaRef = Arc::new(ArrowSchema::new(fields));
    let batches = match table.metadata.current_snapshot() {
        Some(snapshot) => {
            let (data, deletes) = live::manifests(table, snapshot).await?;
            let deletes = Deletes::load(table, deletes).await?;
            let reader = Reader { storage: table.storage.clone(), schema: schema.clone(), deletes };
            batches(Arc::new(reader), data)
        }
        None => stream::empty().boxed(),
    };
    Ok(Scan { schema, missing, batches })
}

/// Rows of files that are older than a column with an initial default would have to show it.
fn check_defaults(table: &Table, fields: &[FieldRef]) -> Result<(), ScanError> {
    let schema = table.metadata.current_schema();
    let defaulted = |id: &i32| schema.field_by_id(*id).is_some_and(|field| field.initial_default.is_some());
    let name = |id: &i32| schema.name_by_field_id(*id).unwrap_or_default();
    let wanted = |id: &i32| {
        let top = name(id).split('.').next().unwrap_or_default();
        fields.iter().any(|field| field.name() == top || field.name() == name(id))
    };
    match schema.field_id_to_name_map().keys().find(|id| defaulted(id) && wanted(id)) {
        Some(id) => Err(ScanError::Unsupported {
            location: table.ident.to_string(),
            what: format!("the initial default of column {:?}", name(id)),
        }),
        None => Ok(()),
    }
}

fn batches(reader: Arc<Reader>, manifests: Vec<iceberg::spec::ManifestFile>) -> Batches {
    let storage = reader.storage.clone();
    stream::iter(manifests)
        .then(move |manifest| {
            let storage = storage.clone();
            async move { live::files(&storage, &manifest).await }
        })
        .map_ok(|files| stream::iter(files.into_iter().map(Ok)))
        .try_flatten()
        .and_then(move |file| {
            let reader = reader.clone();
            async move { reader.read(&file).await }
        })
        .try_flatten()
        .boxed()
}

struct Reader {
    storage: ObjectStorage,
    schema: ArrowSchemaRef,
    deletes: Deletes,
}

impl Reader {
    async fn read(&self, file: &LiveFile) -> Result<Batches, ScanError> {
        let gone = self.deletes.of(&self.storage, file).await?;
        let read = self.with_keys(&gone);
        let rows = parquet_file::open(&self.storage, &file.file, read).await?;
        if gone.is_empty() {
            return Ok(rows);
        }
        let (wanted, mut position) = (self.schema.fields().len(), 0_u64);
        let kept = rows.map(move |batch| {
            let batch = batch?;
            let rows = batch.num_rows() as u64;
            let kept = gone.filter(&batch, position)?;
            position += rows;
            Ok(kept.project(&(0..wanted).collect::<Vec<_>>())?)
        });
        Ok(kept.try_filter(|batch| std::future::ready(batch.num_rows() > 0)).boxed())
    }

    /// The wanted columns, then those that equality deletes compare and that are not among them.
    fn with_keys(&self, gone: &Gone) -> ArrowSchemaRef {
        let mut fields: Vec<FieldRef> = self.schema.fields().to_vec();
        for key in gone.key_fields() {
            if !fields.iter().any(|field| project::field_id(field) == project::field_id(key)) {
                fields.push(key.clone());
            }
        }
        Arc::new(ArrowSchema::new(fields))
    }
}

#[cfg(test)]
mod tests;
