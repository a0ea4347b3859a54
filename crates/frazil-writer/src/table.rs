//! The task that owns one table: fills its open batch, decides when to flush, applies what a flush did.
//!
//! While one sealed batch is being committed the next one fills, so that reading does not stop during a commit.
//! There is never more than one of each; commits of a table are strictly in order. The work on a sealed batch
//! is in [`flush`], what is known about a table's checkpoints in [`fence`], how a delivery gets into the batch in
//! [`fill`], how the table gets another schema in [`evolve`].

mod abandon;
mod append;
mod changes;
mod claim;
mod evolve;
mod fence;
mod fill;
mod flush;
mod load;
mod quota;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::batch::OpenBatch;
use crate::budget::Account;
use crate::flush::{CommitTrigger, FlushPolicy};
use crate::pipeline::StreamContext;
use crate::router::{Birth, Router};
use crate::rows::Delivery;
use crate::sink::{SinkTable, TableSink};
use crate::source::Source;
use evolve::Pause;
use fence::ShardFence;
use fill::Next;
use flush::{Flushed, Work};
use load::Shape;

pub(crate) use abandon::{Abandon, FencedBy};

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
        flight_began: Instant::now(),
        first: true,
        asked: None,
        held: None,
        pause: None,
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
    /// When the newest flight began.
    flight_began: Instant,
    /// No batch was committed yet.
    first: bool,
    /// Why the open batch must be committed although the policy does not say so.
    asked: Option<CommitTrigger>,
    /// A delivery that must be decoded with the newer schema, or once nothing else is under way.
    held: Option<Next>,
    /// Why the table is not altered for a while.
    pause: Option<Pause>,
    closed: bool,
    idle_since: Instant,
}

enum Event<T> {
    Landed(Result<Flushed<T>, Abandon>),
    Pressed,
    Delivery(Option<Delivery>),
    Timer,
}

/// What came of a look at the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// No answer: it is not known how the table is now.
    Nothing,
    /// It can be written.
    Usable,
    /// It has columns that cannot be written, for which the known state is kept.
    Unusable,
}

impl<So: Source, Si: TableSink> TableTask<So, Si> {
    async fn run(mut self) -> Result<(), Abandon> {
        loop {
            self.flush_if_due();
            if let Some(next) = self.ready() {
                self.take_in(next).await?;
                continue;
            }
            if self.open.is_empty() && self.flight.is_empty() {
                if self.closed {
                    return Ok(());
                }
                let idle = self.idle_since + self.context.config.idle_after <= Instant::now();
                if idle && self.router.retire(&self.birth.table, &self.birth.inbox) {
                    self.context.metrics.table_series.forget(self.context.stream_name().as_str(), &self.birth.table);
                    return Ok(());
                }
            }
            match self.next_event().await {
                Event::Landed(flushed) => self.landed(flushed?).await,
                Event::Pressed => self.asked = self.asked.or(Some(CommitTrigger::Memory)),
                Event::Delivery(Some(delivery)) => self.take_in(Next::new(delivery)).await?,
                Event::Delivery(None) => {
                    self.closed = true;
                    self.asked = Some(CommitTrigger::Drain);
                }
                Event::Timer => {}
            }
        }
    }

    /// Takes a delivery in, and shows in the status if the catalog, the store or the log lets it wait for long.
    async fn take_in(&mut self, next: Next) -> Result<(), Abandon> {
        let (context, table) = (Arc::clone(&self.context), self.birth.table.clone());
        context.patiently(&table, "take events in", self.take(next)).await
    }

    async fn next_event(&mut self) -> Event<Si::Table> {
        let full = self.context.config.flush.full(self.open.state(Instant::now())).is_some();
        // A full batch, or one of an old schema, waits for the commit before it; a held delivery keeps its place.
        let room = !self.closed && !full && self.newer.is_none() && self.held.is_none();
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
            Some(opened) if self.flight.is_empty() => opened + self.policy().max_age,
            Some(_) | None => (self.idle_since + config.idle_after).max(Instant::now() + config.flush.max_age),
        }
    }

    fn policy(&self) -> FlushPolicy {
        let policy = self.context.config.flush;
        if self.first { policy.of_first_batch() } else { policy }
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
        let due = self.policy().due(self.open.state(Instant::now()));
        let alone = self.held.as_ref().is_some_and(|held| held.alone);
        let schema_change = (alone || self.newer.is_some()).then_some(CommitTrigger::SchemaChange);
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
        (self.flight_began, self.first) = (Instant::now(), false);
        self.flight.spawn(Work { context, name, main, dead, fences }.flush(batch));
    }

    /// Starts an empty batch of another schema in place of an empty one.
    fn install(&mut self, shape: Shape<Si::Table>) {
        debug_assert!(self.open.is_empty(), "a batch is of one schema");
        self.birth.row_width.store(shape.row_width(), Ordering::Relaxed);
        self.open = OpenBatch::new(shape.columns());
        self.shape = shape;
        self.pause = None;
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
        // What a commit saw is news only if nobody has looked since it began.
        let looked = self.newest().looked_after(self.flight_began);
        if let Some(main) = flushed.main.filter(|_| !looked) {
            self.see(main);
        }
        drop(flushed.permit);
        self.context.announce(notices).await;
    }

    /// The table as it was last seen.
    fn newest(&self) -> &Shape<Si::Table> {
        self.newer.as_ref().unwrap_or(&self.shape)
    }

    /// The table as it is now: the same columns with newer metadata, or another schema or policy for the next batch.
    fn see(&mut self, main: Si::Table) -> Seen {
        if self.shape.is_of(&main) {
            self.shape.refresh(&self.birth.table, main);
            self.newer = None;
            return Seen::Usable;
        }
        match self.shape.with_main(&self.birth.table, main) {
            Ok(newer) => {
                self.newer = Some(newer);
                Seen::Usable
            }
            Err(error) => {
                let table = &self.birth.table;
                tracing::error!(%table, %error, "the table's new schema cannot be written; keeping the old one");
                Seen::Unusable
            }
        }
    }

    /// Loads the table again, once; without an answer the known state stays.
    async fn look_again(&mut self) -> Result<Seen, Abandon> {
        let table = &self.birth.table;
        let replaced = |what| Err(Abandon::Replaced { table: table.clone(), what });
        self.shape.checked();
        let loading = self.context.sink.load(table);
        match (self.context.patiently(table, "look at the table again", loading).await, &self.shape.main) {
            (Ok(Some(_)), None) => replaced("was created"),
            (Ok(None), Some(_)) => replaced("was dropped"),
            (Ok(Some(now)), Some(known)) if now.uuid() != known.uuid() => replaced("was replaced by another one"),
            (Ok(Some(now)), Some(_)) => Ok(self.see(now)),
            (Ok(None), None) => Ok(Seen::Usable),
            (Err(error), _) => {
                tracing::warn!(%table, %error, "cannot look at the table again");
                Ok(Seen::Nothing)
            }
        }
    }
}
