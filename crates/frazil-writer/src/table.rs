//! The task that owns one table: fills its open batch, decides when to flush, applies what a flush did.
//!
//! While one sealed batch is being committed the next one fills, so that reading does not stop during a commit.
//! There is never more than one of each; commits of a table are strictly in order. The work on a sealed batch
//! is in [`flush`], what is known about a table's checkpoints in [`fence`].

mod append;
mod fence;
mod flush;
mod load;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use frazil_core::TableName;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::batch::OpenBatch;
use crate::budget::Account;
use crate::flush::CommitTrigger;
use crate::pipeline::StreamContext;
use crate::router::{Birth, Router};
use crate::rows::{Delivery, decode, recover};
use crate::sink::{SinkTable, TableSink};
use crate::source::Source;
use fence::ShardFence;
use flush::{Flushed, Work};
use load::Shape;

/// A dead letter is believed only if the table's schema was looked at this recently.
const LETTER_REFRESH: std::time::Duration = std::time::Duration::from_secs(1);

/// Why the stream's pipeline must start over from the low watermark. What was not committed is read again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Abandon {
    /// Somebody else commits the same shards.
    #[error(transparent)]
    Fenced(Box<FencedBy>),
    /// Another table has the name now, or it was dropped, or it came to be.
    #[error("table {table} {what}")]
    Replaced { table: TableName, what: &'static str },
}

/// Whose commit came first.
#[derive(Debug, thiserror::Error)]
#[error("table {table}: fenced by {holder}: {key} is {found:?}, expected {expected:?}")]
pub(crate) struct FencedBy {
    table: TableName,
    /// Who wrote the newest commit, as far as the table says.
    holder: String,
    key: String,
    expected: Option<String>,
    found: Option<String>,
}

impl Abandon {
    /// Label for the restart metric.
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            Self::Fenced(_) => "fenced",
            Self::Replaced { .. } => "table_replaced",
        }
    }
}

/// Runs the table's task until its inbox is closed and everything is committed, or it has been idle for long.
pub(crate) async fn run<So: Source, Si: TableSink>(
    context: Arc<StreamContext<So, Si>>,
    router: Arc<Router>,
    birth: Birth,
) -> Result<(), Abandon> {
    let shape = Shape::load(&context, &birth.table).await;
    birth.row_width.store(shape.row_width(), Ordering::Relaxed);
    let open = OpenBatch::new(shape.columns());
    let account = context.budget.account();
    let label = context.stream_label();
    context.metrics.tables.get_or_create(&label).inc();
    let task = TableTask {
        context: Arc::clone(&context),
        router,
        birth,
        account,
        fences: BTreeMap::new(),
        shape,
        newer: None,
        open,
        flight: JoinSet::new(),
        asked: None,
        held: None,
        closed: false,
        idle_since: Instant::now(),
    };
    let end = task.run().await;
    context.metrics.tables.get_or_create(&label).dec();
    end
}

struct TableTask<So: Source, Si: TableSink> {
    context: Arc<StreamContext<So, Si>>,
    router: Arc<Router>,
    birth: Birth,
    account: Account,
    /// What of each shard is in the table.
    fences: BTreeMap<u32, ShardFence>,
    /// The table as the open batch sees it.
    shape: Shape<Si::Table>,
    /// The table with another schema, for the next batch.
    newer: Option<Shape<Si::Table>>,
    open: OpenBatch,
    /// The batch that is being committed: at most one.
    flight: JoinSet<Result<Flushed<Si::Table>, Abandon>>,
    /// Why the open batch must be committed although the policy does not say so.
    asked: Option<CommitTrigger>,
    /// A delivery that must be decoded with the newer schema.
    held: Option<Delivery>,
    closed: bool,
    idle_since: Instant,
}

enum Event<T> {
    Landed(Result<Flushed<T>, Abandon>),
    Pressed,
    Delivery(Option<Delivery>),
    Timer,
}

impl<So: Source, Si: TableSink> TableTask<So, Si> {
    async fn run(mut self) -> Result<(), Abandon> {
        loop {
            self.flush_if_due();
            if self.newer.is_none()
                && let Some(delivery) = self.held.take()
            {
                self.take(delivery).await?;
                continue;
            }
            if self.open.is_empty() && self.flight.is_empty() {
                if self.closed {
                    return Ok(());
                }
                let idle = self.idle_since + self.context.config.idle_after <= Instant::now();
                if idle && self.router.retire(&self.birth.table, &self.birth.inbox) {
                    return Ok(());
                }
            }
            match self.next_event().await {
                Event::Landed(flushed) => self.landed(flushed?).await,
                Event::Pressed => self.asked = self.asked.or(Some(CommitTrigger::Memory)),
                Event::Delivery(Some(delivery)) => self.take(delivery).await?,
                Event::Delivery(None) => {
                    self.closed = true;
                    self.asked = Some(CommitTrigger::Drain);
                }
                Event::Timer => {}
            }
        }
    }

    async fn next_event(&mut self) -> Event<Si::Table> {
        let full = self.context.config.flush.full(self.open.state(Instant::now())).is_some();
        // A full batch, or one of an old schema, waits for the commit before it.
        let room = !self.closed && !full && self.newer.is_none();
        let wake = self.wake_at();
        tokio::select! {
            biased;
            Some(landed) = self.flight.join_next(), if !self.flight.is_empty() => match landed {
                Ok(flushed) => Event::Landed(flushed),
                // Nobody aborts a flight but by dropping the whole task.
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            },
            () = self.account.pressed() => Event::Pressed,
            delivery = self.birth.inbox.recv(), if room => Event::Delivery(delivery),
            () = tokio::time::sleep_until(wake) => Event::Timer,
        }
    }

    /// When something is to be done although nothing happened: a batch gets old, or the table is idle.
    fn wake_at(&self) -> Instant {
        let config = &self.context.config;
        match self.open.opened() {
            Some(opened) if self.flight.is_empty() => opened + config.flush.max_age,
            Some(_) | None => (self.idle_since + config.idle_after).max(Instant::now() + config.flush.max_age),
        }
    }

    fn flush_if_due(&mut self) {
        if !self.flight.is_empty() {
            return;
        }
        if self.open.is_empty() {
            if let Some(newer) = self.newer.take() {
                self.install(newer);
            }
            self.asked = self.asked.filter(|_| self.closed);
            return;
        }
        let due = self.context.config.flush.due(self.open.state(Instant::now()));
        let schema_change = self.newer.as_ref().map(|_| CommitTrigger::SchemaChange);
        if let Some(trigger) = schema_change.or(self.asked).or(due) {
            self.start_flush(trigger);
        }
    }

    fn start_flush(&mut self, trigger: CommitTrigger) {
        let Shape { main, dead, .. } = self.shape.clone();
        let batch = std::mem::replace(&mut self.open, OpenBatch::new(self.shape.columns()));
        if let Some(newer) = self.newer.take() {
            self.install(newer);
        }
        self.asked = self.asked.filter(|_| self.closed);
        self.account.set_open_bytes(0);
        let batch = batch.seal(trigger, |shard| self.fences.get(&shard).map_or(0, |fence| fence.at));
        let fences = batch.deltas.iter().filter_map(|delta| self.fences.get(&delta.shard.index)).cloned().collect();
        let (context, name) = (Arc::clone(&self.context), self.birth.table.clone());
        self.flight.spawn(Work { context, name, main, dead, fences }.flush(batch));
    }

    /// Starts an empty batch of another schema in place of an empty one.
    fn install(&mut self, shape: Shape<Si::Table>) {
        debug_assert!(self.open.is_empty(), "a batch is of one schema");
        self.birth.row_width.store(shape.row_width(), Ordering::Relaxed);
        self.open = OpenBatch::new(shape.columns());
        self.shape = shape;
    }

    /// A batch is committed: the only way forward for progress.
    async fn landed(&mut self, flushed: Flushed<Si::Table>) {
        self.idle_since = Instant::now();
        let notices = flushed.settle(&self.context, &self.birth.table);
        for fence in flushed.fences {
            self.fences.insert(fence.shard.index, fence);
        }
        if let Some(dead) = flushed.dead {
            if let Some(newer) = &mut self.newer {
                newer.dead = Some(dead.clone());
            }
            self.shape.dead = Some(dead);
        }
        if let Some(main) = flushed.main {
            self.see(main);
        }
        drop(flushed.permit);
        self.context.announce(notices).await;
    }

    /// The table as it is now: the same columns with newer metadata, or another schema for the next batch.
    fn see(&mut self, main: Si::Table) {
        if self.shape.same_schema(&main) {
            self.shape.refresh(main);
            self.newer = None;
            return;
        }
        match self.shape.with_main(main) {
            Ok(newer) => self.newer = Some(newer),
            Err(error) => {
                let table = &self.birth.table;
                tracing::error!(%table, %error, "the table's new schema cannot be written; keeping the old one");
            }
        }
    }

    /// Loads the table again, once; without an answer the known state stays.
    async fn look_again(&mut self) -> Result<(), Abandon> {
        let table = &self.birth.table;
        let replaced = |what| Err(Abandon::Replaced { table: table.clone(), what });
        self.shape.checked();
        match (self.context.sink.load(table).await, &self.shape.main) {
            (Ok(Some(_)), None) => replaced("was created"),
            (Ok(None), Some(_)) => replaced("was dropped"),
            (Ok(Some(now)), Some(known)) if now.uuid() != known.uuid() => replaced("was replaced by another one"),
            (Ok(Some(now)), Some(_)) => {
                self.see(now);
                Ok(())
            }
            (Ok(None), None) => Ok(()),
            (Err(error), _) => {
                tracing::warn!(%table, %error, "cannot look at the table again");
                Ok(())
            }
        }
    }

    async fn take(&mut self, delivery: Delivery) -> Result<(), Abandon> {
        self.idle_since = Instant::now();
        if self.open.is_empty() && self.shape.age() > self.context.config.table_refresh {
            self.look_again().await?;
            if let Some(newer) = self.newer.take() {
                self.install(newer);
            }
        }
        let index = delivery.origin.shard.index;
        if !self.fences.contains_key(&index) {
            let fence = load::fence(&self.context, &self.birth.table, &self.shape, &delivery.origin).await;
            self.fences.insert(index, fence);
        }
        let fence = &self.fences[&index];
        if delivery.sequence > fence.at {
            return self.decode(delivery).await;
        }
        if fence.letters.is_empty() {
            delivery.origin.progress().contained(&self.birth.table, fence.checkpoint());
        } else {
            // A letter that is not written yet, or a message behind one: it counts only when the letters do.
            recover(&delivery, self.shape.plan.as_deref(), &fence.letters, &mut self.open);
            self.admit(delivery);
        }
        Ok(())
    }

    /// Decodes a delivery whole: its sequence becomes part of a checkpoint, so a batch never ends inside of one.
    async fn decode(&mut self, delivery: Delivery) -> Result<(), Abandon> {
        let mark = (self.open.rows(), self.open.letters.len());
        self.decode_once(&delivery);
        let surprised = self.open.letters.len() > mark.1 && self.shape.plan.is_some();
        if surprised && self.shape.age() > LETTER_REFRESH {
            // The proxy accepted it: perhaps by a newer schema than the one known here.
            self.look_again().await?;
            if self.newer.is_some() {
                self.open.rewind(mark.0, mark.1);
                if !self.open.is_empty() {
                    self.held = Some(delivery);
                    return Ok(());
                }
                self.newer.take().into_iter().for_each(|newer| self.install(newer));
                self.decode_once(&delivery);
            }
        }
        self.admit(delivery);
        Ok(())
    }

    /// All of the delivery is in the open batch.
    fn admit(&mut self, delivery: Delivery) {
        let Delivery { origin, sequence, permit, .. } = delivery;
        self.open.extend_to(&origin.shard, origin.incarnation, sequence, permit, Instant::now());
        self.account.set_open_bytes(self.open.held_bytes());
    }

    fn decode_once(&mut self, delivery: &Delivery) {
        decode(delivery, self.shape.plan.as_deref(), &mut self.open);
    }
}
