//! Data files: rows of one table become Parquet files in storage, each of one partition, each described by a
//! [`DataFile`] that a commit can add.
//!
//! ```text
//! batches ─► plan (schema, spec, sort order, properties) ─► partition ─► rows of one partition
//!                                                                          │ encode (blocking threads)
//!                                             DataFile ◄─ put (parallel) ◄─┘ Parquet bytes + metrics
//! ```
//!
//! The caller hands over a whole sealed batch, so no Parquet writer stays open between calls and memory is bounded
//! by the size of that batch. Nothing here commits, and nothing is ever deleted: files of a call that failed or was
//! dropped are orphans, and whoever removes orphans by age removes them.

mod calendar;
mod column;
mod encode;
mod error;
mod literal;
mod location;
mod metrics;
mod parquet_schema;
mod partition;
mod plan;
mod rows;
mod settings;
mod sort;
mod transform;

use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::{StreamExt, TryStreamExt, stream};
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat};
use uuid::Uuid;

use crate::storage::ObjectStorage;
use crate::table::Table;
use encode::EncodedFile;
use plan::{Plan, Prepared};

pub use error::StageError;
pub use settings::{Codec, StageOptions};

/// Files that are in storage and that no commit refers to yet.
#[derive(Clone, Debug)]
pub struct StagedFiles {
    /// The files, ordered by location. Empty if there were no rows.
    pub files: Vec<DataFile>,
    /// The partition spec that the files were split by.
    pub spec_id: i32,
    /// The schema that the files were written with.
    pub schema_id: i32,
    /// The table that the files belong to.
    pub table_uuid: Uuid,
    /// Rows in all files.
    pub rows: u64,
    /// Bytes of all files as stored.
    pub bytes: u64,
}

/// Writes the rows of `batches` as data files of `table`: split by the table's default partition spec, sorted by its
/// default sort order, written as its properties say, all of them stored when this returns.
///
/// Columns of the batches must be the table's current schema ([`Table::arrow_schema`]). Dropping the future stops the
/// uploads; encoding that has begun runs to its end and is thrown away.
///
/// # Errors
/// [`StageError`]. Files that were stored before the error stay there, unreferenced. Calling again with another
/// `file_prefix` and the same rows is always safe, because no row counts before a commit.
pub async fn stage(
    table: &Table,
    batches: Vec<RecordBatch>,
    options: &StageOptions,
) -> Result<StagedFiles, StageError> {
    let plan = Arc::new(Plan::new(&table.metadata, options)?);
    let prepared = prepare(plan.clone(), batches).await?;
    let files = write_all(&plan, prepared, &table.storage, options).await?;
    Ok(StagedFiles {
        spec_id: plan.spec_id(),
        schema_id: plan.schema_id(),
        table_uuid: table.metadata.uuid(),
        rows: files.iter().map(DataFile::record_count).sum(),
        bytes: files.iter().map(DataFile::file_size_in_bytes).sum(),
        files,
    })
}

async fn prepare(plan: Arc<Plan>, batches: Vec<RecordBatch>) -> Result<Prepared, StageError> {
    tokio::task::spawn_blocking(move || plan.prepare(batches)).await?
}

/// Encodes partitions on as many threads as there are processors and stores the files, both bounded: a slow store
/// holds back encoding, so that at most `max_concurrent_uploads` and as many encoded partitions are in memory.
async fn write_all(
    plan: &Arc<Plan>,
    prepared: Prepared,
    storage: &ObjectStorage,
    options: &StageOptions,
) -> Result<Vec<DataFile>, StageError> {
    let encoders = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let Prepared { input, partitions } = prepared;
    let input = Arc::new(input);
    let encoding = partitions.into_iter().map(|partition| {
        let (plan, input) = (plan.clone(), input.clone());
        async move { tokio::task::spawn_blocking(move || encode::encode(&plan, &input, &partition)).await? }
    });
    let mut number: u32 = 0;
    let mut files: Vec<DataFile> = stream::iter(encoding)
        // In order, so that the same input gets the same file numbers.
        .buffered(encoders)
        .map_ok(|encoded| stream::iter(encoded.into_iter().map(Ok::<_, StageError>)))
        .try_flatten()
        .map_ok(|file| {
            let name = format!("{number:05}-{}.parquet", options.file_prefix);
            number += 1;
            store(plan.clone(), storage.clone(), file, name)
        })
        .try_buffer_unordered(options.max_concurrent_uploads.max(1))
        .try_collect()
        .await?;
    files.sort_by(|a, b| a.file_path().cmp(b.file_path()));
    Ok(files)
}

async fn store(
    plan: Arc<Plan>,
    storage: ObjectStorage,
    file: EncodedFile,
    name: String,
) -> Result<DataFile, StageError> {
    let location = plan.locations().data_file(file.partition_path.as_deref(), &name)?;
    let size = file.bytes.len() as u64;
    storage
        .put(&location, file.bytes)
        .await
        .map_err(|source| StageError::Storage { location: location.clone(), source })?;
    let metrics = file.metrics;
    let mut builder = DataFileBuilder::default();
    builder
        .content(DataContentType::Data)
        .file_path(location)
        .file_format(DataFileFormat::Parquet)
        .partition(file.partition)
        .partition_spec_id(plan.spec_id())
        .record_count(metrics.record_count)
        .file_size_in_bytes(size)
        .column_sizes(metrics.column_sizes)
        .value_counts(metrics.value_counts)
        .null_value_counts(metrics.null_value_counts)
        .nan_value_counts(metrics.nan_value_counts)
        .lower_bounds(metrics.lower_bounds)
        .upper_bounds(metrics.upper_bounds)
        .split_offsets(Some(metrics.split_offsets));
    if let Some(order) = plan.sort_order_id() {
        builder.sort_order_id(order);
    }
    builder.build().map_err(|error| StageError::Internal { reason: error.to_string() })
}

#[cfg(test)]
mod tests;
