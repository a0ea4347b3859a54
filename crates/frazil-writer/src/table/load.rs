//! Loading a table until it works: its columns and plan, its dead-letter table, and its checkpoint of a shard.

use std::sync::Arc;
use std::time::Duration;

use frazil_core::TableName;
use frazil_core::mapping::Plan;
use frazil_core::policy::{PolicyError, TablePolicy};
use frazil_log::LogError;
use tokio::time::Instant;

use super::Abandon;
use super::claim;
use super::fence::ShardFence;
use crate::columns::Columns;
use crate::pipeline::StreamContext;
use crate::shard::{ShardState, rewound};
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
    /// Refuses the events for which the table might be altered; `None` if it never is.
    pub(super) probe: Option<Arc<Plan>>,
    /// Whether the policy wants columns that the table does not have, whatever the events are.
    pub(super) lacks_columns: bool,
    /// The stream's policy with the table's own settings.
    pub(super) policy: TablePolicy,
    stream_policy: TablePolicy,
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
            match context.patiently(table, "load the table", Self::try_load(context, table)).await {
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
        if let Some(error) = main.as_ref().and_then(|main| policy_of(main, context.policy()).err()) {
            warn(table, &error);
        }
        Self::new(main, dead, context.policy()).map_err(SinkError::Rejected)
    }

    fn new(main: Option<T>, dead: Option<T>, stream_policy: TablePolicy) -> Result<Self, Cause> {
        let mut shape = Self {
            main: None,
            dead,
            plan: None,
            probe: None,
            lacks_columns: false,
            policy: stream_policy,
            stream_policy,
            checked: Instant::now(),
        };
        let Some(table) = main else { return Ok(shape) };
        // Refuses columns that cannot be built, so that `columns` cannot fail.
        Columns::new(table.arrow_schema())?;
        shape.policy = policy_of(&table, stream_policy).unwrap_or(stream_policy);
        shape.plan = Some(Arc::new(shape.policy.writing_plan(table.schema())?));
        shape.probe = shape.policy.probing_plan(table.schema())?.map(Arc::new);
        shape.lacks_columns = shape.policy.wants_system_columns(table.schema());
        shape.main = Some(table);
        Ok(shape)
    }

    /// The same with a newer version of the table, of another schema or policy.
    pub(super) fn with_main(&self, name: &TableName, main: T) -> Result<Self, Cause> {
        self.warn_of_policy(name, &main);
        Self::new(Some(main), self.dead.clone(), self.stream_policy)
    }

    /// Whether events become rows of `table` just as they do of this shape.
    pub(super) fn is_of(&self, table: &T) -> bool {
        let policy = || policy_of(table, self.stream_policy).unwrap_or(self.stream_policy);
        self.main.as_ref().is_some_and(|main| main.schema() == table.schema()) && self.policy == policy()
    }

    /// Takes newer metadata with the same schema and policy.
    pub(super) fn refresh(&mut self, name: &TableName, main: T) {
        self.warn_of_policy(name, &main);
        self.main = Some(main);
        self.checked();
    }

    /// Once for every mistake: properties are written by people.
    fn warn_of_policy(&self, name: &TableName, now: &T) {
        let known = self.main.as_ref().and_then(|main| policy_of(main, self.stream_policy).err());
        match policy_of(now, self.stream_policy) {
            Err(error) if known.as_ref() != Some(&error) => warn(name, &error),
            Ok(_) | Err(_) => {}
        }
    }

    /// Whether the table may be altered at all.
    pub(super) fn alterable(&self) -> bool {
        self.probe.is_some() || self.lacks_columns
    }

    /// Whether the catalog was asked after `then`.
    pub(super) fn looked_after(&self, then: Instant) -> bool {
        self.checked > then
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

/// The stream's policy with what the table's properties say.
fn policy_of<T: SinkTable>(table: &T, stream_policy: TablePolicy) -> Result<TablePolicy, PolicyError> {
    stream_policy.with_properties(|key| table.property(key))
}

fn warn(table: &TableName, error: &PolicyError) {
    tracing::warn!(%table, %error, "the stream's policy is used for the table");
}

/// What the tables say about a shard. A property that cannot be read stops the table until somebody corrects it. A
/// checkpoint that names a message which the log does not have shows that the log went back.
pub(super) async fn fence<So: Source, Si: TableSink>(
    context: &StreamContext<So, Si>,
    table: &TableName,
    shape: &Shape<Si::Table>,
    origin: &ShardState,
) -> Result<ShardFence, Abandon> {
    let mut trouble = context.trouble(table, "read the checkpoint");
    let mut read = ShardFence::read(origin, shape.main.as_ref(), shape.dead.as_ref());
    loop {
        match read {
            Ok(fence) => {
                let fence = claim::claimed(context, table, shape, fence, origin).await?;
                if fence.of_another {
                    of_today(context, table, origin).await?;
                }
                return confirmed(context, table, fence, origin).await;
            }
            Err(error) => trouble.sink(&SinkError::Rejected(error)).await,
        }
        let now = Shape::load(context, table).await;
        read = ShardFence::read(origin, now.main.as_ref(), now.dead.as_ref());
    }
}

/// Compares the checkpoints with the log, if they are ahead of what was compared when the shard was opened.
async fn confirmed<So: Source, Si: TableSink>(
    context: &StreamContext<So, Si>,
    table: &TableName,
    fence: ShardFence,
    origin: &ShardState,
) -> Result<ShardFence, Abandon> {
    let mut trouble = context.trouble(table, "compare the checkpoint with the log");
    for witness in fence.witnesses(origin.watermark) {
        loop {
            match rewound::went_back(context, &origin.shard, witness).await {
                Ok(false) => break,
                Ok(true) => return Err(Abandon::Rewound { table: table.clone(), shard: origin.shard.clone() }),
                // There is nothing to compare with any more, and what was read of it before is committed all the same.
                Err(LogError::Recreated(_) | LogError::NotFound(_)) => break,
                Err(error) => trouble.retry("unavailable", &error).await,
            }
        }
    }
    Ok(fence)
}

/// The shard that is read must be the one that exists. If it was deleted and created again, what is left in memory of
/// it must not take the place of what the tables have of the later one.
async fn of_today<So: Source, Si: TableSink>(
    context: &StreamContext<So, Si>,
    table: &TableName,
    origin: &ShardState,
) -> Result<(), Abandon> {
    let mut trouble = context.trouble(table, "compare the checkpoint with the log");
    loop {
        match context.source.describe(&origin.shard).await {
            Ok(Some(info)) if info.incarnation == origin.incarnation => return Ok(()),
            Ok(_) => return Err(Abandon::Outlived { table: table.clone(), shard: origin.shard.clone() }),
            Err(error) => trouble.retry("unavailable", &error).await,
        }
    }
}

/// The table as it is now, asked for until there is an answer.
pub(super) async fn load<So: Source, Si: TableSink>(
    context: &StreamContext<So, Si>,
    table: &TableName,
) -> Option<Si::Table> {
    let mut trouble = context.trouble(table, "load the table");
    loop {
        match context.patiently(table, "load the table", context.sink.load(table)).await {
            Ok(loaded) => return loaded,
            Err(error) => trouble.sink(&error).await,
        }
    }
}
