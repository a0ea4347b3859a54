//! Rows of one Parquet file in the columns and types of the table: columns are found by field id, as the
//! specification asks, and never by name or place.
//!
//! iceberg-rust 0.10.1 compares a file's columns with the wanted ones by place and type alone, so that two columns of
//! one type change places when they are asked for in another order than the file's.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef as ArrowSchemaRef;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use iceberg::spec::{DataFile, DataFileFormat};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

use super::Batches;
use super::error::ScanError;
use super::project;
use crate::storage::ObjectStorage;

/// Rows of one batch.
const BATCH_ROWS: usize = 8192;

/// Opens a file and yields its rows in the columns of `target`. A column that the file does not have is null.
pub(super) async fn open(
    storage: &ObjectStorage,
    file: &DataFile,
    target: ArrowSchemaRef,
) -> Result<Batches, ScanError> {
    let location = file.file_path().to_owned();
    if file.file_format() != DataFileFormat::Parquet {
        return Err(ScanError::Unsupported { location, what: format!("file format {}", file.file_format()) });
    }
    let reader = StoredFile { storage: storage.clone(), location: location.clone(), size: file.file_size_in_bytes() };
    // The types follow from the Parquet schema alone, whatever Arrow types the writer had.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let failed = |error| ScanError::parquet(&location, error);
    let builder = ParquetRecordBatchStreamBuilder::new_with_options(reader, options).await.map_err(failed)?;
    let columns = project::columns(builder.schema(), &target).map_err(|reason| reason.at(&location))?;
    let mask = ProjectionMask::roots(builder.parquet_schema(), columns);
    let rows = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(failed)?;
    let batch = move |rows: RecordBatch, location: &str| {
        project::batch(&rows, &target).map_err(|mismatch| mismatch.at(location))
    };
    let rows = rows.into_stream().map(move |rows| match rows {
        Ok(rows) => batch(rows, &location),
        Err(error) => Err(ScanError::parquet(&location, error)),
    });
    Ok(rows.boxed())
}

/// A file in storage as the Parquet reader sees it.
struct StoredFile {
    storage: ObjectStorage,
    location: String,
    size: u64,
}

impl AsyncFileReader for StoredFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move {
            let bytes = self.storage.get_range(&self.location, range).await;
            bytes.map_err(|error| ParquetError::External(Box::new(error)))
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let size = self.size;
            let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Skip);
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        }
        .boxed()
    }
}
