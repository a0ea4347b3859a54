//! Tables in memory, for tests: properties, snapshots, fences, other engines, and faults at any operation.

mod apply;
mod history;
mod table;
mod users;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arrow_array::RecordBatch;
use frazil_core::TableName;
use frazil_core::schema::Schema;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{Append, CommitError, Committed, EvolveError, SinkError, Staged, TableSink};
use crate::budget::Budget;
pub(crate) use crate::faults::Fault;
pub(crate) use history::History;
pub(crate) use table::FakeTable;

/// An operation that a fault may hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    Load,
    Create,
    Stage,
    Commit,
    Evolve,
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
    /// Requests that their senders have given up and that are still under way.
    late: Arc<Mutex<JoinSet<()>>>,
    /// Memory of the writer that uses this clone: what it wants stored must be accounted for there.
    budget: Option<Budget>,
}

#[derive(Default)]
struct State {
    tables: BTreeMap<TableName, FakeTable>,
    history: History,
    commits: u64,
}

impl FakeSink {
    pub(crate) fn new() -> Self {
        let script: Script = Box::new(|_, _| Fault::None);
        Self {
            state: Arc::default(),
            script: Arc::new(Mutex::new(script)),
            hung: Arc::new(Notify::new()),
            flushing: Arc::default(),
            late: Arc::default(),
            budget: None,
        }
    }

    /// The same tables, for a writer with this budget.
    pub(crate) fn checked_by(&self, budget: &Budget) -> Self {
        Self { budget: Some(budget.clone()), ..self.clone() }
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

    /// What ever happened to the events.
    pub(crate) fn history<T>(&self, look: impl FnOnce(&mut History) -> T) -> T {
        look(&mut self.state().history)
    }

    /// The most operations that ever stored or committed at the same time.
    pub(crate) fn most_flushing(&self) -> usize {
        self.flushing.lock().expect("no test panics while it holds the lock").1
    }

    /// Decides the fate of an operation and runs it accordingly. An error: it did not happen, or nobody knows.
    async fn act<T>(&self, op: Op, table: &TableName, work: impl FnOnce(&mut State) -> T) -> Result<T, Fault> {
        let _flushing = matches!(op, Op::Stage | Op::Commit | Op::Evolve).then(|| Flushing::begin(&self.flushing));
        // Every operation takes a moment, so that others come in between.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let fault = (self.script.lock().expect("no test panics while it holds the lock"))(op, table);
        fault.around(&self.hung, || work(&mut self.state())).await
    }

    /// Does the work after its sender has stopped to wait for it.
    fn later(&self, after: Duration, work: impl FnOnce(&mut State) + Send + 'static) {
        let state = Arc::clone(&self.state);
        self.late.lock().expect("no test panics while it holds the lock").spawn(async move {
            tokio::time::sleep(after).await;
            work(&mut state.lock().expect("no test panics while it holds the lock"));
        });
    }

    /// Rows that come to be stored are held in memory that the budget must know.
    fn check_budget(&self, bytes: usize) {
        let Some(budget) = &self.budget else { return };
        let used = budget.used_bytes();
        assert!(used <= budget.total_bytes(), "{used} bytes of {}", budget.total_bytes());
        assert!(bytes <= 2 * used + BATCH_SLACK, "rows of {bytes} bytes, but only {used} are accounted for");
    }
}

/// Bytes that a batch may take beyond what the budget holds for it: empty buffers of its columns.
const BATCH_SLACK: usize = 64 << 10;

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

impl TableSink for FakeSink {
    type Table = FakeTable;
    type Files = RecordBatch;

    async fn load(&self, name: &TableName) -> Result<Option<FakeTable>, SinkError> {
        self.act(Op::Load, name, |state| state.tables.get(name).cloned()).await.map_err(sink_error)
    }

    async fn create(&self, name: &TableName, schema: &Schema) -> Result<FakeTable, SinkError> {
        let create = |state: &mut State, name: &TableName, schema: &Schema| {
            state.tables.entry(name.clone()).or_insert_with(|| FakeTable::new(name, schema.clone())).clone()
        };
        let done = self.act(Op::Create, name, |state| create(state, name, schema)).await;
        if let Err(Fault::Late(after)) = &done {
            let (name, schema) = (name.clone(), schema.clone());
            self.later(*after, move |state| drop(create(state, &name, &schema)));
        }
        done.map_err(sink_error)
    }

    async fn evolve(
        &self,
        table: &FakeTable,
        schema: &Schema,
        properties: &BTreeMap<String, String>,
    ) -> Result<FakeTable, EvolveError> {
        let evolve = |state: &mut State| state.evolve(table, schema, properties);
        match self.act(Op::Evolve, &table.name, evolve).await {
            Ok(done) => done,
            Err(Fault::Rejected) => Err(EvolveError::Rejected("scripted".into())),
            Err(Fault::Conflict) => Err(EvolveError::Conflict("scripted".into())),
            Err(Fault::Late(after)) => {
                let (table, schema, properties) = (table.clone(), schema.clone(), properties.clone());
                self.later(after, move |state| drop(state.evolve(&table, &schema, &properties)));
                Err(EvolveError::Unavailable("scripted".into()))
            }
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
        let bytes = rows.get_array_memory_size();
        self.check_budget(bytes);
        let staged = Staged { files: rows, count: 1, bytes: bytes as u64 };
        self.act(Op::Stage, &table.name, |_| staged).await.map_err(sink_error)
    }

    async fn commit(
        &self,
        table: &FakeTable,
        files: Option<&RecordBatch>,
        append: &Append,
    ) -> Result<(Committed, FakeTable), CommitError> {
        let (name, uuid) = (&table.name, table.uuid);
        match self.act(Op::Commit, name, |state| state.commit(name, uuid, files, append)).await {
            Ok(done) => done,
            Err(Fault::Unavailable) => Err(CommitError::Unavailable("scripted".into())),
            Err(Fault::Rejected) => Err(CommitError::Rejected("scripted".into())),
            Err(Fault::Late(after)) => {
                if let Err(base) = self.state().judge(name, uuid, append)? {
                    let (name, files, append) = (name.clone(), files.cloned(), append.clone());
                    self.later(after, move |state| {
                        let _overtaken = state.land(&name, uuid, base, files.as_ref(), &append);
                    });
                }
                Err(CommitError::Unknown("scripted".into()))
            }
            Err(_) => Err(CommitError::Unknown("scripted".into())),
        }
    }
}
