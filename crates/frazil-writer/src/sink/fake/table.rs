//! A table in memory: columns, properties, the snapshots of `main`, and what is in each of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_schema::SchemaRef;
use frazil_core::TableName;
use frazil_core::schema::{ID_COLUMN, Schema};
use uuid::Uuid;

use crate::columns;
use crate::sink::SinkTable;

/// Files of one commit: who compacts them keeps the rows.
pub(super) type Rows = Arc<RecordBatch>;

/// A version of a table. Cheap to clone: everything large is shared.
#[derive(Debug, Clone)]
pub(crate) struct FakeTable {
    pub(crate) uuid: Uuid,
    pub(super) name: TableName,
    pub(super) schema: Arc<Schema>,
    pub(super) arrow: SchemaRef,
    pub(super) last_column_id: i32,
    pub(crate) properties: Arc<BTreeMap<String, String>>,
    /// The ancestry of `main`, oldest first, as far as it is not expired.
    pub(crate) snapshots: Arc<Vec<Arc<Snapshot>>>,
    pub(super) last_snapshot_id: i64,
    /// How often `main` was pointed at another snapshot.
    pub(super) moves: u64,
}

/// One commit.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) id: i64,
    pub(crate) commit_id: Uuid,
    pub(crate) summary: BTreeMap<String, String>,
    /// What it added.
    pub(crate) rows: Option<RecordBatch>,
    /// All that the table held then.
    pub(super) content: Vec<Rows>,
}

impl FakeTable {
    pub(super) fn new(name: &TableName, schema: Schema) -> Self {
        let arrow = columns::arrow_schema(&schema);
        let last_column_id = schema.highest_field_id();
        Self {
            uuid: Uuid::new_v4(),
            name: name.clone(),
            schema: Arc::new(schema),
            arrow,
            last_column_id,
            properties: Arc::default(),
            snapshots: Arc::default(),
            last_snapshot_id: 0,
            moves: 0,
        }
    }

    /// Makes it the current schema, under a new id.
    pub(super) fn take_schema(&mut self, schema: Schema) {
        let schema = Schema { schema_id: self.schema.schema_id + 1, ..schema };
        self.last_column_id = self.last_column_id.max(schema.highest_field_id());
        self.arrow = columns::arrow_schema(&schema);
        self.schema = Arc::new(schema);
    }

    /// Adds a snapshot with this content to `main`; returns its id.
    pub(super) fn push(
        &mut self,
        commit_id: Uuid,
        summary: BTreeMap<String, String>,
        rows: Option<RecordBatch>,
        content: Vec<Rows>,
    ) -> i64 {
        self.last_snapshot_id += 1;
        self.moves += 1;
        let snapshot = Snapshot { id: self.last_snapshot_id, commit_id, summary, rows, content };
        Arc::make_mut(&mut self.snapshots).push(Arc::new(snapshot));
        self.last_snapshot_id
    }

    /// What it holds now, in commit order unless somebody rewrote it.
    pub(crate) fn content(&self) -> &[Rows] {
        self.snapshots.last().map_or(&[], |snapshot| snapshot.content.as_slice())
    }

    /// Names of the columns.
    pub(crate) fn columns(&self) -> Vec<String> {
        self.schema.fields.iter().map(|field| field.name.clone()).collect()
    }

    /// Values of `__id__`.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.strings(ID_COLUMN)
    }

    /// Values of a string column.
    pub(crate) fn strings(&self, column: &str) -> Vec<String> {
        self.content().iter().flat_map(|rows| strings(rows, column)).collect()
    }
}

/// Values of a string column.
pub(super) fn strings(rows: &RecordBatch, column: &str) -> Vec<String> {
    let array = rows.column_by_name(column).expect("the column exists").as_string::<i32>();
    (0..array.len()).map(|row| array.value(row).to_owned()).collect()
}

impl SinkTable for FakeTable {
    fn uuid(&self) -> Uuid {
        self.uuid
    }

    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn arrow_schema(&self) -> &SchemaRef {
        &self.arrow
    }

    fn last_column_id(&self) -> i32 {
        self.last_column_id
    }

    fn property(&self, key: &str) -> Option<&str> {
        self.properties.get(key).map(String::as_str)
    }

    fn find_summary(&self, key: &str, accept: &dyn Fn(&str) -> bool) -> Option<String> {
        let mut values = self.snapshots.iter().rev().filter_map(|snapshot| snapshot.summary.get(key));
        values.find(|value| accept(value)).cloned()
    }
}
