//! Tables in memory, for tests: properties, snapshots, fences, and faults at any operation.

mod apply;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_schema::SchemaRef;
use frazil_core::TableName;
use frazil_core::schema::{ID_COLUMN, Schema};
use tokio::sync::Notify;
use uuid::Uuid;

use super::{Append, CommitError, Committed, EvolveError, SinkError, SinkTable, Staged, TableSink};
use crate::columns;
use apply::{commit_in, evolve_in};

/// An operation that a fault may hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    Load,
    Create,
    Stage,
    Commit,
    Evolve,
}

/// What happens to an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It works.
    None,
    /// It does not happen, and the caller is told so.
    Unavailable,
    /// It does not happen, and will not.
    Rejected,
    /// It does not happen, for somebody else was faster. Only for a change of the schema.
    Conflict,
    /// It does not happen, and the caller does not know.
    LoseRequest,
    /// It happens, and the caller does not know.
    LoseAnswer,
    /// It does not happen, and nobody ever answers.
    HangBefore,
    /// It happens, and nobody ever answers.
    HangAfter,
}

type Script = Box<dyn FnMut(Op, &TableName) -> Fault + Send>;

/// A catalog and a store in memory. Clones share them.
#[derive(Clone)]
pub(crate) struct FakeSink {
    state: Arc<Mutex<State>>,
    script: Arc<Mutex<Script>>,
    /// Told of every hang.
    pub(crate) hung: Arc<Notify>,
    /// Flushing operations under way, and the most there ever were.
    flushing: Arc<Mutex<(usize, usize)>>,
}

#[derive(Default)]
struct State {
    tables: BTreeMap<TableName, FakeTable>,
    /// Every row and letter ever committed, dropped tables included: table, then id.
    commits: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct FakeTable {
    pub(crate) uuid: Uuid,
    name: TableName,
    schema: Arc<Schema>,
    arrow: SchemaRef,
    last_column_id: i32,
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) snapshots: Vec<Snapshot>,
}

#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) id: i64,
    pub(crate) commit_id: Uuid,
    pub(crate) summary: BTreeMap<String, String>,
    pub(crate) rows: Option<RecordBatch>,
}

impl FakeTable {
    fn new(name: &TableName, schema: Schema) -> Self {
        let arrow = columns::arrow_schema(&schema);
        let last_column_id = schema.highest_field_id();
        Self {
            uuid: Uuid::new_v4(),
            name: name.clone(),
            schema: Arc::new(schema),
            arrow,
            last_column_id,
            properties: BTreeMap::new(),
            snapshots: Vec::new(),
        }
    }

    /// Makes it the current schema, under a new id.
    fn take_schema(&mut self, schema: Schema) {
        let schema = Schema { schema_id: self.schema.schema_id + 1, ..schema };
        self.last_column_id = self.last_column_id.max(schema.highest_field_id());
        self.arrow = columns::arrow_schema(&schema);
        self.schema = Arc::new(schema);
    }

    /// Names of the columns.
    pub(crate) fn columns(&self) -> Vec<String> {
        self.schema.fields.iter().map(|field| field.name.clone()).collect()
    }

    /// Values of `__id__`, in commit order.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.strings(ID_COLUMN)
    }

    /// Values of a string column, in commit order.
    pub(crate) fn strings(&self, column: &str) -> Vec<String> {
        let batches = self.snapshots.iter().filter_map(|snapshot| snapshot.rows.as_ref());
        let column = |batch: &RecordBatch| {
            let array = batch.column_by_name(column).expect("the column exists").as_string::<i32>().clone();
            (0..array.len()).map(|row| array.value(row).to_owned()).collect::<Vec<_>>()
        };
        batches.flat_map(column).collect()
    }
}

impl FakeSink {
    pub(crate) fn new() -> Self {
        let script: Script = Box::new(|_, _| Fault::None);
        Self {
            state: Arc::default(),
            script: Arc::new(Mutex::new(script)),
            hung: Arc::new(Notify::new()),
            flushing: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the lock")
    }

    /// From now on `script` decides what happens to each operation.
    pub(crate) fn script(&self, script: impl FnMut(Op, &TableName) -> Fault + Send + 'static) {
        *self.script.lock().expect("no test panics while it holds the lock") = Box::new(script);
    }

    /// Hits the first operation that matches, once.
    pub(crate) fn fault_once(&self, op: Op, table: &TableName, fault: Fault) {
        let (table, mut fault) = (table.clone(), Some(fault));
        self.script(move |now, name| match () {
            () if now == op && *name == table => fault.take().unwrap_or(Fault::None),
            () => Fault::None,
        });
    }

    pub(crate) fn heal(&self) {
        self.script(|_, _| Fault::None);
    }

    pub(crate) fn create_table(&self, name: &TableName, schema: Schema) {
        let table = FakeTable::new(name, schema.with_system_columns());
        self.state().tables.insert(name.clone(), table);
    }

    pub(crate) fn drop_table(&self, name: &TableName) {
        self.state().tables.remove(name);
    }

    /// Another schema for the table, as a user would set it.
    pub(crate) fn set_schema(&self, name: &TableName, schema: Schema) {
        let mut state = self.state();
        state.tables.get_mut(name).expect("the test created it").take_schema(schema.with_system_columns());
    }

    /// Alters the table as a user would; the function is told the last column id.
    pub(crate) fn alter(&self, name: &TableName, change: impl FnOnce(&mut Schema, i32)) {
        let mut state = self.state();
        let table = state.tables.get_mut(name).expect("the test created it");
        let mut schema = table.schema.as_ref().clone();
        change(&mut schema, table.last_column_id);
        table.take_schema(schema);
    }

    /// A table without system columns, as users have them.
    pub(crate) fn create_foreign_table(&self, name: &TableName, schema: Schema) {
        self.state().tables.insert(name.clone(), FakeTable::new(name, schema));
    }

    /// Changes a property behind everybody's back.
    pub(crate) fn set_property(&self, name: &TableName, key: &str, value: Option<&str>) {
        let mut state = self.state();
        let properties = &mut state.tables.get_mut(name).expect("the test created it").properties;
        match value {
            Some(value) => properties.insert(key.to_owned(), value.to_owned()),
            None => properties.remove(key),
        };
    }

    pub(crate) fn table(&self, name: &TableName) -> Option<FakeTable> {
        self.state().tables.get(name).cloned()
    }

    pub(crate) fn ids(&self, name: &TableName) -> Vec<String> {
        self.table(name).map(|table| table.ids()).unwrap_or_default()
    }

    /// Commits so far, of all tables.
    pub(crate) fn commits(&self) -> u64 {
        self.state().commits
    }

    /// The most operations that ever stored or committed at the same time.
    pub(crate) fn most_flushing(&self) -> usize {
        self.flushing.lock().expect("no test panics while it holds the lock").1
    }

    /// Decides the fate of an operation and runs it accordingly. `None`: it did not happen, or nobody knows.
    async fn act<T>(&self, op: Op, table: &TableName, work: impl FnOnce(&mut State) -> T) -> Result<T, Fault> {
        let _flushing = matches!(op, Op::Stage | Op::Commit | Op::Evolve).then(|| Flushing::begin(&self.flushing));
        // Every operation takes a moment, so that others come in between.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        let fault = (self.script.lock().expect("no test panics while it holds the lock"))(op, table);
        match fault {
            Fault::None => Ok(work(&mut self.state())),
            Fault::LoseAnswer => {
                work(&mut self.state());
                Err(fault)
            }
            Fault::HangBefore | Fault::HangAfter => {
                if fault == Fault::HangAfter {
                    work(&mut self.state());
                }
                self.hung.notify_one();
                std::future::pending().await
            }
            Fault::Unavailable | Fault::Rejected | Fault::Conflict | Fault::LoseRequest => Err(fault),
        }
    }
}

/// An operation that is under way.
struct Flushing(Arc<Mutex<(usize, usize)>>);

impl Flushing {
    fn begin(count: &Arc<Mutex<(usize, usize)>>) -> Self {
        let mut counts = count.lock().expect("no test panics while it holds the lock");
        counts.0 += 1;
        counts.1 = counts.1.max(counts.0);
        Self(Arc::clone(count))
    }
}

impl Drop for Flushing {
    fn drop(&mut self) {
        self.0.lock().expect("no test panics while it holds the lock").0 -= 1;
    }
}

fn sink_error(fault: Fault) -> SinkError {
    match fault {
        Fault::Rejected => SinkError::Rejected("scripted".into()),
        _ => SinkError::Unavailable("scripted".into()),
    }
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

impl TableSink for FakeSink {
    type Table = FakeTable;
    type Files = RecordBatch;

    async fn load(&self, name: &TableName) -> Result<Option<FakeTable>, SinkError> {
        self.act(Op::Load, name, |state| state.tables.get(name).cloned()).await.map_err(sink_error)
    }

    async fn create(&self, name: &TableName, schema: &Schema) -> Result<FakeTable, SinkError> {
        let create = |state: &mut State| {
            state.tables.entry(name.clone()).or_insert_with(|| FakeTable::new(name, schema.clone())).clone()
        };
        self.act(Op::Create, name, create).await.map_err(sink_error)
    }

    async fn evolve(
        &self,
        table: &FakeTable,
        schema: &Schema,
        properties: &BTreeMap<String, String>,
    ) -> Result<FakeTable, EvolveError> {
        let evolve = |state: &mut State| evolve_in(state.tables.get_mut(&table.name), table, schema, properties);
        match self.act(Op::Evolve, &table.name, evolve).await {
            Ok(done) => done,
            Err(Fault::Rejected) => Err(EvolveError::Rejected("scripted".into())),
            Err(Fault::Conflict) => Err(EvolveError::Conflict("scripted".into())),
            Err(_) => Err(EvolveError::Unavailable("scripted".into())),
        }
    }

    async fn stage(
        &self,
        table: &FakeTable,
        rows: RecordBatch,
        _file_prefix: &str,
    ) -> Result<Staged<RecordBatch>, SinkError> {
        assert_eq!(rows.schema_ref(), &table.arrow, "batches have the schema of the table they are staged for");
        let bytes = rows.get_array_memory_size() as u64;
        self.act(Op::Stage, &table.name, |_| Staged { files: rows, count: 1, bytes }).await.map_err(sink_error)
    }

    async fn commit(
        &self,
        table: &FakeTable,
        files: Option<&RecordBatch>,
        append: &Append,
    ) -> Result<(Committed, FakeTable), CommitError> {
        let commit = |state: &mut State| {
            let done = commit_in(state.tables.get_mut(&table.name), table.uuid, files, append);
            state.commits += u64::from(matches!(&done, Ok((committed, _)) if !committed.adopted()));
            done
        };
        match self.act(Op::Commit, &table.name, commit).await {
            Ok(done) => done,
            Err(Fault::Unavailable) => Err(CommitError::Unavailable("scripted".into())),
            Err(Fault::Rejected) => Err(CommitError::Rejected("scripted".into())),
            Err(_) => Err(CommitError::Unknown("scripted".into())),
        }
    }
}
