//! Rows of one partition as Parquet bytes. Blocking and without I/O: it must run on a blocking thread.

use arrow_array::RecordBatch;
use bytes::Bytes;
use iceberg::spec::Struct;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;

use super::error::StageError;
use super::metrics::{FileMetrics, NanCounts};
use super::partition::Partition;
use super::plan::{Input, Plan};

/// A file that is not stored yet.
pub(super) struct EncodedFile {
    pub(super) bytes: Bytes,
    pub(super) partition: Struct,
    /// `None` for unpartitioned tables.
    pub(super) partition_path: Option<String>,
    pub(super) metrics: FileMetrics,
}

/// Encodes a partition, sorted if the table has a sort order, into one file or, past the target size, several.
pub(super) fn encode(plan: &Plan, input: &Input, partition: &Partition) -> Result<Vec<EncodedFile>, StageError> {
    let sorted = input.sort_keys.as_ref().map(|keys| partition.rows.sorted(keys));
    let rows = sorted.as_ref().unwrap_or(&partition.rows);
    let partition_path = plan.locations().partition_path(&partition.values);
    let finish = |open: OpenFile| {
        let (bytes, metrics) = open.finish(plan)?;
        let partition = partition.values.clone();
        Ok::<_, StageError>(EncodedFile { bytes, partition, partition_path: partition_path.clone(), metrics })
    };
    let mut files = Vec::new();
    let mut open: Option<OpenFile> = None;
    for piece in rows.pieces(&input.batches) {
        let mut file = match open.take() {
            Some(file) => file,
            None => OpenFile::new(plan)?,
        };
        file.write(plan, &piece?)?;
        if file.size() >= plan.settings.target_file_size_bytes {
            files.push(finish(file)?);
        } else {
            open = Some(file);
        }
    }
    if let Some(file) = open {
        files.push(finish(file)?);
    }
    Ok(files)
}

struct OpenFile {
    writer: ArrowWriter<Vec<u8>>,
    nans: NanCounts,
}

impl OpenFile {
    fn new(plan: &Plan) -> Result<Self, StageError> {
        let options = ArrowWriterOptions::new()
            .with_properties(plan.settings.writer.clone())
            .with_parquet_schema(plan.parquet_schema.clone())
            // Readers of Iceberg go by the table's schema; in small files Arrow's copy would be most of the footer.
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), plan.arrow_schema.clone(), options)?;
        Ok(Self { writer, nans: NanCounts::default() })
    }

    fn write(&mut self, plan: &Plan, rows: &RecordBatch) -> Result<(), StageError> {
        self.nans.add(&plan.leaves, rows)?;
        Ok(self.writer.write(rows)?)
    }

    /// Bytes so far, estimated for the open row group.
    fn size(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    fn finish(mut self, plan: &Plan) -> Result<(Bytes, FileMetrics), StageError> {
        let footer = self.writer.finish()?;
        // The writer is finished, so this only takes the buffer back.
        let bytes = std::mem::take(self.writer.inner_mut());
        Ok((Bytes::from(bytes), FileMetrics::from_footer(&footer, &plan.leaves, &self.nans)))
    }
}
