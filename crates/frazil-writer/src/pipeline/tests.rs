//! Whole pipelines on a log and a catalog in memory, with paused time.

mod crashes;
mod evolve;
mod faults;
mod letters;
mod limits;
mod log;
mod poison;
mod rewind;
mod simulation;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use frazil_core::checkpoint::{Checkpoint, Sequence};
use frazil_core::idempotency::KeyHash;
use frazil_core::schema::{Field, Schema, Type};
use frazil_core::stream::StreamDefinition;
use frazil_core::{Shard, TableName};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{PipelineError, Shared, StreamContext};
use crate::budget::Budget;
use crate::clock::WallClock;
use crate::config::WriterConfig;
use crate::metrics::{Metrics, StreamLabel};
use crate::sink::fake::FakeSink;
use crate::source::fake::{FakeSource, Request};
use crate::status::StatusBoard;

/// A log, a catalog and what a writer is told.
struct World {
    source: FakeSource,
    sink: FakeSink,
    definition: StreamDefinition,
    config: WriterConfig,
    metrics: Metrics,
    status: StatusBoard,
    clock: WallClock,
}

/// A running pipeline; dropping it is a crash.
struct Run {
    tasks: JoinSet<Result<(), PipelineError>>,
    stop: CancellationToken,
}

impl Run {
    /// Tells it to stop, and waits.
    async fn drain(mut self) {
        self.stop.cancel();
        self.tasks.join_next().await.expect("one task").expect("no panic").expect("no error");
    }

    /// Waits for it to give up.
    async fn abandoned(mut self) -> PipelineError {
        let ended = tokio::time::timeout(Duration::from_secs(600), self.tasks.join_next()).await;
        let ended = ended.expect("it gives up within ten minutes").expect("one task");
        ended.expect("no panic").expect_err("must be abandoned")
    }
}

fn table(name: &str) -> TableName {
    format!("lake.web.{name}").parse().expect("valid")
}

fn number_schema() -> Schema {
    Schema::new(vec![Field::required(1, "n", Type::Long)])
}

fn request(table: &TableName, events: impl IntoIterator<Item = u64>) -> Request {
    Request::new(table, events.into_iter().map(|n| format!("{{\"n\":{n}}}")))
}

fn keyed(key: u8, request: Request) -> Request {
    Request { key: Some(KeyHash([key; 16])), ..request }
}

/// An event that does not fit the table.
fn bad(table: &TableName) -> Request {
    Request::new(table, ["{\"n\":\"x\"}"])
}

impl World {
    fn new(shards: u32) -> Self {
        let name = "sales".parse().expect("valid");
        let world = Self {
            source: FakeSource::new(),
            sink: FakeSink::new(),
            definition: StreamDefinition { shards, ..StreamDefinition::new(name, 0) },
            config: WriterConfig::new(0, 1),
            metrics: Metrics::default(),
            status: StatusBoard::default(),
            clock: WallClock::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)),
        };
        world.shards().iter().for_each(|shard| world.source.create(shard, 7));
        world
    }

    fn shards(&self) -> Vec<Shard> {
        self.definition.all_shards().collect()
    }

    fn shard(&self) -> Shard {
        self.shards().remove(0)
    }

    fn shared(&self) -> Shared<FakeSource, FakeSink> {
        Shared {
            source: self.source.clone(),
            sink: self.sink.clone(),
            config: Arc::new(self.config.clone()),
            budget: Budget::new(self.config.memory_bytes),
            metrics: self.metrics.clone(),
            status: self.status.clone(),
            flushes: Arc::new(Semaphore::new(self.config.concurrent_flushes)),
            clock: self.clock,
            default_catalog: "lake".to_owned(),
        }
    }

    fn start(&self) -> Run {
        let stop = CancellationToken::new();
        let context = Arc::new(StreamContext::new(&self.shared(), Arc::new(self.definition.clone())));
        let mut tasks = JoinSet::new();
        tasks.spawn(super::run(context, self.shards(), stop.clone()));
        Run { tasks, stop }
    }

    async fn done(&self) {
        let shards = self.shards();
        let done = self.source.until_done(&shards);
        tokio::time::timeout(Duration::from_secs(600), done).await.expect("the log is committed within ten minutes");
    }

    fn checkpoint(&self, table: &TableName, shard: &Shard) -> Option<Sequence> {
        let table = self.sink.table(table)?;
        let text = table.properties.get(&shard.checkpoint_property())?;
        Some(text.parse::<Checkpoint>().expect("our own text").sequence)
    }

    fn label(&self) -> StreamLabel {
        StreamLabel { stream: self.definition.name.to_string() }
    }
}

/// The ids of events `0..events` of these messages.
fn ids(shard: u32, messages: impl IntoIterator<Item = Sequence>, events: u32) -> BTreeSet<String> {
    let of = |sequence| (0..events).map(move |index| format!("{:016x}-{shard}-{sequence}-{index}", 7));
    messages.into_iter().flat_map(of).collect()
}

/// The list as a set, after checking that nothing is in it twice.
fn once(ids: Vec<String>) -> BTreeSet<String> {
    let count = ids.len();
    let set: BTreeSet<String> = ids.into_iter().collect();
    assert_eq!(set.len(), count, "an event is there twice");
    set
}

#[tokio::test(start_paused = true)]
async fn every_event_of_every_shard_is_in_its_table_once() {
    let world = World::new(3);
    let (a, b) = (table("a"), table("b"));
    world.sink.create_table(&a, number_schema());
    world.sink.create_table(&b, number_schema());
    for shard in world.shards() {
        for n in 0..4 {
            world.source.publish(&shard, &[request(&a, [n, n]), request(&b, [n])]);
        }
        world.source.publish(&shard, &[]);
    }
    let run = world.start();
    world.done().await;
    let expected: BTreeSet<String> = (0..3).flat_map(|shard| ids(shard, 1..5, 2)).collect();
    assert_eq!(once(world.sink.ids(&a)), expected);
    let third: BTreeSet<String> =
        (0..3).flat_map(|shard| (1..5).map(move |seq| format!("{:016x}-{shard}-{seq}-2", 7))).collect();
    assert_eq!(once(world.sink.ids(&b)), third, "the index counts the events of the whole message");
    assert_eq!(world.checkpoint(&a, &world.shard()), Some(4));
    assert_eq!(world.sink.commits(), 2, "one batch per table holds all shards");
    let notices = world.source.notices();
    assert_eq!(notices.len(), 6, "one per table and shard");
    assert!(notices.iter().all(|(_, notice)| notice.sequence == 4 && notice.snapshot_id == 1));
    run.drain().await;
    let summary = &world.sink.table(&a).expect("exists").snapshots[0].summary;
    assert_eq!(summary[&world.shard().delta_summary()], format!("{:016x}:0-4", 7));
    assert_eq!(summary["frazil.commit-trigger"], "age");
}

#[tokio::test(start_paused = true)]
async fn a_drain_commits_what_is_open_and_stores_the_watermark() {
    let mut world = World::new(1);
    world.config.flush.max_age = Duration::from_secs(3000);
    let a = table("a");
    world.sink.create_table(&a, number_schema());
    world.source.publish(&world.shard(), &[request(&a, [1])]);
    let run = world.start();
    world.source.until(|| world.source.full_reads() == 1).await_within_a_second().await;
    run.drain().await;
    assert_eq!(once(world.sink.ids(&a)).len(), 1);
    assert_eq!(world.source.stored_progress(&world.shard()).expect("stored").sequence, 1);
    let summary = &world.sink.table(&a).expect("exists").snapshots[0].summary;
    assert_eq!(summary["frazil.commit-trigger"], "drain");
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_cannot_commit_ends_at_its_deadline() {
    let world = World::new(1);
    let a = table("a");
    world.sink.create_table(&a, number_schema());
    world.source.publish(&world.shard(), &[request(&a, [1])]);
    world.sink.fault_once(crate::sink::fake::Op::Commit, &a, crate::sink::fake::Fault::HangBefore);
    let run = world.start();
    world.sink.hung.notified().await;
    let before = tokio::time::Instant::now();
    run.drain().await;
    assert!(before.elapsed() <= world.config.drain_deadline * 2);
    assert_eq!(world.source.stored_progress(&world.shard()), None);
}

/// Steps of virtual time, for states that no event of the fakes announces.
trait AwaitWithin: Future<Output = ()> + Sized {
    async fn await_within_a_second(self) {
        let _reached_or_a_second_passed = tokio::time::timeout(Duration::from_secs(1), self).await;
    }
}

impl<F: Future<Output = ()>> AwaitWithin for F {}
