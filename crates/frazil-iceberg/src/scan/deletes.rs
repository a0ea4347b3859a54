//! Which rows of a data file are deleted: position deletes and equality deletes, by the rules of the specification on
//! scan planning. Deletion vectors (format version 3) are refused: rows must not come back to life.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_row::{RowConverter, SortField};
use arrow_schema::{DataType, Field, FieldRef, Schema as ArrowSchema, SchemaRef as ArrowSchemaRef};
use arrow_select::filter::filter_record_batch;
use futures::TryStreamExt;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{DataContentType, DataFileFormat, ManifestFile};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use super::error::ScanError;
use super::live::{self, LiveFile};
use super::{parquet_file, project};
use crate::storage::ObjectStorage;
use crate::table::Table;

/// Most deleted rows that are kept in memory to be used for the next data file.
const DELETED_ROWS_KEPT_MAX: u64 = 1_000_000;
/// Most rows of one equality delete file, whose keys have to be in memory all at once.
const EQUALITY_DELETES_MAX: u64 = 1_000_000;

/// Reserved field ids of position delete files.
const FILE_PATH_ID: i32 = 2_147_483_546;
const POSITION_ID: i32 = 2_147_483_545;

/// The delete files of a snapshot.
pub(super) struct Deletes {
    files: Vec<DeleteFile>,
    kept: Mutex<Kept>,
}

struct DeleteFile {
    live: LiveFile,
    /// Equality deletes of an unpartitioned spec apply to every partition.
    global: bool,
    /// The columns compared, of an equality delete file.
    keys: Option<ArrowSchemaRef>,
}

/// Contents of delete files that were read, by location.
#[derive(Default)]
struct Kept {
    rows: u64,
    contents: HashMap<String, Content>,
}

#[derive(Clone)]
enum Content {
    /// Deleted rows by data file.
    Positions(Arc<HashMap<String, HashSet<u64>>>),
    Keys(Arc<Keys>),
}

/// Values whose rows are deleted.
struct Keys {
    fields: ArrowSchemaRef,
    converter: RowConverter,
    deleted: HashSet<Box<[u8]>>,
}

/// What is deleted from one data file.
pub(super) struct Gone {
    path: String,
    contents: Vec<Content>,
}

impl Deletes {
    /// Lists the delete files; their rows are read when a data file asks for them.
    pub(super) async fn load(table: &Table, manifests: Vec<ManifestFile>) -> Result<Self, ScanError> {
        let mut files = Vec::new();
        for manifest in manifests {
            for live in live::files(&table.storage, &manifest).await? {
                files.push(DeleteFile::new(table, live)?);
            }
        }
        Ok(Self { files, kept: Mutex::default() })
    }

    /// What is deleted from `data`.
    pub(super) async fn of(&self, storage: &ObjectStorage, data: &LiveFile) -> Result<Gone, ScanError> {
        let path = data.file.file_path().to_owned();
        let mut contents = Vec::new();
        for file in self.files.iter().filter(|file| file.applies_to(data)) {
            contents.push(self.content(storage, file, &path).await?);
        }
        Ok(Gone { path, contents })
    }

    async fn content(&self, storage: &ObjectStorage, file: &DeleteFile, data: &str) -> Result<Content, ScanError> {
        let location = file.live.file.file_path();
        if let Some(content) = self.kept().contents.get(location) {
            return Ok(content.clone());
        }
        let rows = file.live.file.record_count();
        let keep = rows <= DELETED_ROWS_KEPT_MAX;
        let content = match &file.keys {
            Some(keys) => Content::Keys(Arc::new(Keys::read(storage, &file.live, keys).await?)),
            // Of a file that is too large to keep, only what concerns this data file.
            None => Content::Positions(Arc::new(positions(storage, &file.live, (!keep).then_some(data)).await?)),
        };
        if keep {
            let mut kept = self.kept();
            if kept.rows + rows > DELETED_ROWS_KEPT_MAX {
                *kept = Kept::default();
            }
            kept.rows += rows;
            kept.contents.insert(location.to_owned(), content.clone());
        }
        Ok(content)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl DeleteFile {
    fn new(table: &Table, live: LiveFile) -> Result<Self, ScanError> {
        let location = live.file.file_path().to_owned();
        let unsupported = |what: String| ScanError::Unsupported { location: location.clone(), what };
        if live.file.file_format() != DataFileFormat::Parquet {
            return Err(unsupported(format!("a delete file in format {}", live.file.file_format())));
        }
        let spec = table.metadata.partition_spec_by_id(live.spec_id);
        let keys = match live.file.content_type() {
            DataContentType::EqualityDeletes => {
                if live.file.record_count() > EQUALITY_DELETES_MAX {
                    return Err(unsupported(format!("more than {EQUALITY_DELETES_MAX} equality deletes in a file")));
                }
                let ids = live.file.equality_ids().unwrap_or_default();
                Some(
                    key_schema(table, &ids)
                        .ok_or_else(|| unsupported(format!("equality deletes on fields {ids:?}")))?,
                )
            }
            DataContentType::PositionDeletes => None,
            DataContentType::Data => return Err(unsupported("a data file in a delete manifest".to_owned())),
        };
        let global = keys.is_some() && spec.is_some_and(|spec| spec.is_unpartitioned());
        Ok(Self { live, global, keys })
    }

    fn applies_to(&self, data: &LiveFile) -> bool {
        let same_partition = self.live.spec_id == data.spec_id && self.live.file.partition() == data.file.partition();
        if self.keys.is_some() {
            return self.live.sequence_number > data.sequence_number && (self.global || same_partition);
        }
        let referenced = self.live.file.referenced_data_file();
        self.live.sequence_number >= data.sequence_number
            && same_partition
            && referenced.is_none_or(|path| path == data.file.file_path())
    }
}

/// The compared columns as the newest schema that has each of them says: a column may be dropped since. `None` if one
/// is not at the top level of any schema.
fn key_schema(table: &Table, ids: &[i32]) -> Option<ArrowSchemaRef> {
    let metadata = &table.metadata;
    let mut older: Vec<_> = metadata.schemas_iter().collect();
    older.sort_by_key(|schema| std::cmp::Reverse(schema.schema_id()));
    let schemas: Vec<ArrowSchema> = std::iter::once(metadata.current_schema())
        .chain(older)
        .map(|schema| schema_to_arrow_schema(schema))
        .collect::<Result<_, _>>()
        .ok()?;
    let find = |id: &i32| {
        let mut fields = schemas.iter().flat_map(|schema| schema.fields());
        fields.find(|field| project::field_id(field) == Some(*id)).map(nullable)
    };
    let fields: Option<Vec<FieldRef>> = ids.iter().map(find).collect();
    fields.filter(|fields| !fields.is_empty()).map(|fields| Arc::new(ArrowSchema::new(fields)))
}

/// Older files may lack the column.
fn nullable(field: &FieldRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_nullable(true))
}

async fn positions(
    storage: &ObjectStorage,
    live: &LiveFile,
    only: Option<&str>,
) -> Result<HashMap<String, HashSet<u64>>, ScanError> {
    let mut batches = parquet_file::open(storage, &live.file, position_schema()).await?;
    let mut found: HashMap<String, HashSet<u64>> = HashMap::new();
    while let Some(batch) = batches.try_next().await? {
        let paths = batch.column(0).as_string::<i32>();
        let positions = batch.column(1).as_primitive::<Int64Type>();
        for (path, position) in paths.iter().zip(positions.iter()) {
            let (Some(path), Some(Ok(position))) = (path, position.map(u64::try_from)) else {
                let reason = "a position delete without a path or with a negative position".to_owned();
                return Err(ScanError::Invalid { location: live.file.file_path().to_owned(), reason });
            };
            if only.is_some_and(|only| only != path) {
                continue;
            }
            match found.get_mut(path) {
                Some(known) => drop(known.insert(position)),
                None => drop(found.insert(path.to_owned(), HashSet::from([position]))),
            }
        }
    }
    Ok(found)
}

fn position_schema() -> ArrowSchemaRef {
    let field = |name: &str, of: DataType, id: i32| {
        let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
        Field::new(name, of, true).with_metadata(id)
    };
    let path = field("file_path", DataType::Utf8, FILE_PATH_ID);
    Arc::new(ArrowSchema::new(vec![path, field("pos", DataType::Int64, POSITION_ID)]))
}

impl Keys {
    async fn read(storage: &ObjectStorage, live: &LiveFile, fields: &ArrowSchemaRef) -> Result<Self, ScanError> {
        let sorts = fields.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        let converter = RowConverter::new(sorts)?;
        let mut batches = parquet_file::open(storage, &live.file, fields.clone()).await?;
        let mut deleted = HashSet::new();
        while let Some(batch) = batches.try_next().await? {
            let rows = converter.convert_columns(batch.columns())?;
            deleted.extend(rows.iter().map(|row| Box::<[u8]>::from(row.as_ref())));
        }
        Ok(Self { fields: fields.clone(), converter, deleted })
    }

    /// For each row whether it stays. Two nulls are equal here.
    fn kept(&self, batch: &RecordBatch) -> Result<Vec<bool>, ScanError> {
        let column = |key: &FieldRef| {
            let ids = batch.schema_ref().fields().iter().map(|field| project::field_id(field));
            let place = ids.enumerate().find(|(_, id)| *id == project::field_id(key)).map(|(place, _)| place);
            batch.column(place.expect("key columns are read along")).clone()
        };
        let columns: Vec<ArrayRef> = self.fields.fields().iter().map(column).collect();
        let rows = self.converter.convert_columns(&columns)?;
        Ok(rows.iter().map(|row| !self.deleted.contains(row.as_ref())).collect())
    }
}

impl Gone {
    pub(super) fn is_empty(&self) -> bool {
        self.contents.is_empty()
    }

    /// The columns that equality deletes compare.
    pub(super) fn key_fields(&self) -> impl Iterator<Item = &FieldRef> {
        let keys = self.contents.iter().filter_map(|content| match content {
            Content::Keys(keys) => Some(keys.fields.fields().iter()),
            Content::Positions(_) => None,
        });
        keys.flatten()
    }

    /// The rows of `batch` that stay; its first row is number `first` of the data file.
    pub(super) fn filter(&self, batch: &RecordBatch, first: u64) -> Result<RecordBatch, ScanError> {
        let mut stays = vec![true; batch.num_rows()];
        for content in &self.contents {
            match content {
                Content::Positions(by_file) => {
                    let Some(gone) = by_file.get(&self.path) else { continue };
                    for (stays, number) in stays.iter_mut().zip(first..) {
                        *stays &= !gone.contains(&number);
                    }
                }
                Content::Keys(keys) => {
                    for (stays, kept) in stays.iter_mut().zip(keys.kept(batch)?) {
                        *stays &= kept;
                    }
                }
            }
        }
        Ok(filter_record_batch(batch, &BooleanArray::from(stays))?)
    }
}
