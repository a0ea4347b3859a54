//! Loading a table until it works: its columns and plan, its dead-letter table, and its checkpoint of a shard.

use std::sync::Arc;
use std::time::Duration;

use frazil_core::TableName;
use frazil_core::mapping::{MappingPolicy, Plan};
use tokio::time::Instant;

use super::fence::ShardFence;
use crate::columns::Columns;
use crate::pipeline::StreamContext;
use crate::shard::ShardState;
use crate::sink::{Cause, SinkError, SinkTable, TableSink};
use crate::source::Source;

/// A table as a batch sees it.
#[derive(Debug, Clone)]
pub(super) struct Shape<T> {
    /// The table; `None` if it does not exist.
    pub(super) main: Option<T>,
    /// Its dead-letter table, if it exists.
    pub(super) dead: Option<T>,
    /// How events become its rows; `None` if there is no table.
    pub(super) plan: Option<Arc<Plan>>,
    checked: Instant,
}

impl<T: SinkTable> Shape<T> {
    /// Loads the table and its dead-letter table; tries until it works.
    ///
    /// Both, always: after a crash between the two commits the table knows letters that the dead-letter table lacks.
    pub(super) async fn load<So: Source, Si: TableSink<Table = T>>(
        context: &StreamContext<So, Si>,
        table: &TableName,
    ) -> Self {
        let mut trouble = context.trouble(table, "load the table");
        loop {
            match Self::try_load(context, table).await {
                Ok(shape) => return shape,
                Err(error) => trouble.sink(&error).await,
            }
        }
    }

    async fn try_load<So: Source, Si: TableSink<Table = T>>(
        context: &StreamContext<So, Si>,
        table: &TableName,
    ) -> Result<Self, SinkError> {
        let dead = context.sink.load(&table.dead_letter()).await?;
        // After the letters, so that it is not older than they are.
        let main = context.sink.load(table).await?;
        Self::new(main, dead).map_err(SinkError::Rejected)
    }

    fn new(main: Option<T>, dead: Option<T>) -> Result<Self, Cause> {
        let plan = match &main {
            None => None,
            Some(table) => {
                // Refuses columns that cannot be built, so that `columns` cannot fail.
                Columns::new(table.arrow_schema())?;
                Some(Arc::new(Plan::new(table.schema(), &MappingPolicy::default())?))
            }
        };
        Ok(Self { main, dead, plan, checked: Instant::now() })
    }

    /// The same with a newer version of the table, of another schema.
    pub(super) fn with_main(&self, main: T) -> Result<Self, Cause> {
        Self::new(Some(main), self.dead.clone())
    }

    /// Whether rows of this shape fit `table`.
    pub(super) fn same_schema(&self, table: &T) -> bool {
        self.main.as_ref().is_some_and(|main| main.schema() == table.schema())
    }

    /// Takes newer metadata with the same schema.
    pub(super) fn refresh(&mut self, main: T) {
        self.main = Some(main);
        self.checked();
    }

    /// The catalog was asked just now.
    pub(super) fn checked(&mut self) {
        self.checked = Instant::now();
    }

    /// Time since the catalog was asked.
    pub(super) fn age(&self) -> Duration {
        self.checked.elapsed()
    }

    /// Empty columns for a batch.
    pub(super) fn columns(&self) -> Option<Columns> {
        self.main.as_ref().map(|main| Columns::new(main.arrow_schema()).expect("checked when the table was loaded"))
    }

    /// Bytes of the fixed part of a row.
    pub(super) fn row_width(&self) -> usize {
        self.plan.as_ref().map_or(0, |plan| plan.fixed_width())
    }
}

/// What the tables say about a shard. A property that cannot be read stops the table until somebody corrects it.
pub(super) async fn fence<So: Source, Si: TableSink>(
    context: &StreamContext<So, Si>,
    table: &TableName,
    shape: &Shape<Si::Table>,
    origin: &ShardState,
) -> ShardFence {
    let mut trouble = context.trouble(table, "read the checkpoint");
    let mut read = ShardFence::read(origin, shape.main.as_ref(), shape.dead.as_ref());
    loop {
        match read {
            Ok(fence) => return fence,
            Err(error) => trouble.sink(&SinkError::Rejected(error)).await,
        }
        let now = Shape::load(context, table).await;
        read = ShardFence::read(origin, now.main.as_ref(), now.dead.as_ref());
    }
}

/// The table as it is now, asked for until there is an answer.
pub(super) async fn load<So: Source, Si: TableSink>(
    context: &StreamContext<So, Si>,
    table: &TableName,
) -> Option<Si::Table> {
    let mut trouble = context.trouble(table, "load the table");
    loop {
        match context.sink.load(table).await {
            Ok(loaded) => return loaded,
            Err(error) => trouble.sink(&error).await,
        }
    }
}
