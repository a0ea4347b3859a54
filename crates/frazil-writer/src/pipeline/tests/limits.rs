//! Memory, batch sizes, idle tables, the supervisor.

use frazil_core::checkpoint::{Checkpoint, Incarnation};
use frazil_core::envelope::{Section, SectionHeader};
use frazil_core::mapping::{MappingPolicy, Plan};
use tokio::time::Instant;

use super::*;
use crate::batch::OpenBatch;
use crate::columns::{Columns, arrow_schema};
use crate::rows::{Content, Delivery, Part, decode};
use crate::shard::ShardState;
use crate::sink::fake::{Fault, Op};

#[tokio::test(start_paused = true)]
async fn a_thousand_tables_stay_within_the_memory_budget() {
    let mut world = World::new(2);
    world.config.memory_bytes = 1 << 20;
    // Nothing but memory makes them commit.
    world.config.flush.max_age = Duration::from_secs(3600);
    let tables: Vec<TableName> = (0..1000).map(|n| table(&format!("t{n}"))).collect();
    for table in &tables {
        world.sink.create_table(table, number_schema());
    }
    for shard in world.shards() {
        for table in &tables {
            world.source.publish(&shard, &[request(table, 0..200)]);
        }
    }
    let shared = world.shared();
    let budget = shared.budget.clone();
    let mut most = 0;
    world.sink.script(move |_, _| {
        most = most.max(budget.used_bytes());
        assert!(most <= 1 << 20, "{most} bytes in use");
        Fault::None
    });
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let context = Arc::new(StreamContext::new(&shared, Arc::new(world.definition.clone())));
    tasks.spawn(super::super::run(context, world.shards(), stop.clone()));
    let read = world.source.until(|| world.source.full_reads() == 2000);
    tokio::time::timeout(Duration::from_secs(3000), read).await.expect("memory pressure keeps it moving");
    stop.cancel();
    tasks.join_next().await.expect("one task").expect("no panic").expect("no error");
    let rows: usize = tables.iter().map(|table| once(world.sink.ids(table)).len()).sum();
    assert_eq!(rows, 2 * 1000 * 200);
}

#[tokio::test(start_paused = true)]
async fn tables_take_turns_to_store_and_commit() {
    let mut world = World::new(1);
    world.config.concurrent_flushes = 3;
    let tables: Vec<TableName> = (0..100).map(|n| table(&format!("t{n}"))).collect();
    for table in &tables {
        world.sink.create_table(table, number_schema());
        world.source.publish(&world.shard(), &[request(table, 0..5), bad(table)]);
    }
    let run = world.start();
    world.done().await;
    run.drain().await;
    assert_eq!(world.sink.most_flushing(), 3);
    assert!(tables.iter().all(|table| world.sink.ids(table).len() == 5));
}

/// Whoever waits before another try leaves the turn to others.
#[tokio::test(start_paused = true)]
async fn a_table_in_trouble_keeps_no_turn() {
    let mut world = World::new(1);
    world.config.concurrent_flushes = 1;
    let (a, b) = (table("a"), table("b"));
    for table in [&a, &b] {
        world.sink.create_table(table, number_schema());
        world.source.publish(&world.shard(), &[request(table, [1])]);
    }
    let name = a.clone();
    world.sink.script(move |op, table| match op {
        Op::Stage | Op::Commit if *table == name => Fault::Unavailable,
        _ => Fault::None,
    });
    let run = world.start();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((world.sink.ids(&a).len(), world.sink.ids(&b).len()), (0, 1));
    world.sink.heal();
    world.done().await;
    run.drain().await;
    assert_eq!(once(world.sink.ids(&a)).len(), 1);
}

/// Tables that are idle cost their task and what is known of the table, and little else.
#[test]
fn a_table_task_is_small() {
    fn size<A, B, C, F: Future>(_task: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }
    let bytes = size(crate::table::run::<crate::source::JetStreamSource, crate::sink::IcebergSink>);
    assert!(bytes <= 16 << 10, "{bytes} bytes");
}

/// Rows, letters and both: the batch holds budget for about what it has allocated, whatever was taken at first.
#[tokio::test(start_paused = true)]
async fn the_budget_covers_what_a_batch_has_allocated() {
    let schema = Schema::new(vec![Field::optional(1, "n", Type::Long), Field::optional(2, "s", Type::String)]);
    let schema = schema.with_system_columns();
    let plan = Plan::new(&schema, &MappingPolicy::default()).expect("a plain schema");
    let wide = format!("{{\"s\":\"{}\"}}", "x".repeat(3000));
    for lines in [["{}", "{}"], ["[]", "x"], ["{\"n\":1}", "{\"unknown\":[1,2,3]}"], [&wide, "{}"], [&wide, "x"]] {
        let budget = Budget::new(64 << 20);
        let mut batch = OpenBatch::new(Some(Columns::new(&arrow_schema(&schema)).expect("Iceberg types")));
        let origin = Arc::new(ShardState::new(Shard::new("s".parse().expect("valid"), 0), Incarnation(1), 0, None));
        for sequence in 1..200 {
            let content = Content::Sections(vec![part(&lines.repeat(20))]);
            let permit = budget.acquire(content.bytes(plan.fixed_width())).await;
            let delivery = Delivery { origin: Arc::clone(&origin), sequence, at: 1, content, permit };
            decode(&delivery, Some(&plan), &mut batch);
            let end = Checkpoint { incarnation: origin.incarnation, sequence, at: Some(1) };
            batch.extend_to(&origin.shard, end, delivery.permit, Instant::now());
            let (held, allocated) = (batch.held_bytes(), batch.allocated());
            assert!(held <= allocated + 1024, "{lines:?}: {held} held for {allocated}");
            assert!(held >= allocated / 2, "{lines:?}: {held} held for {allocated}");
        }
    }
}

fn part(lines: &[&str]) -> Part {
    let events: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let header = SectionHeader {
        table: table("a"),
        count: lines.len() as u32,
        received: 0,
        key: None,
        request_key: None,
        unroutable: None,
        first: 0,
        len: events.len() as u32,
    };
    Part { section: Section { header, events: events.into() }, first_index: 0, repeats: 0 }
}

#[tokio::test(start_paused = true)]
async fn reading_stops_when_the_catalog_is_down_and_the_budget_is_full() {
    let mut world = World::new(1);
    world.config.memory_bytes = 1 << 20;
    let a = table("a");
    world.sink.create_table(&a, number_schema());
    for _ in 0..400 {
        world.source.publish(&world.shard(), &[request(&a, 0..1000)]);
    }
    world.sink.script(|op, _| if op == Op::Commit { Fault::Unavailable } else { Fault::None });
    let run = world.start();
    tokio::time::sleep(Duration::from_secs(300)).await;
    let read = world.source.full_reads();
    assert!(0 < read && read < 400, "{read} messages were read");
    assert!(!world.status.watch().borrow().is_ready());
    world.sink.heal();
    world.done().await;
    run.drain().await;
    assert_eq!(once(world.sink.ids(&a)).len(), 400_000);
}

#[tokio::test(start_paused = true)]
async fn a_batch_fills_while_the_one_before_is_committed() {
    let mut world = World::new(1);
    world.config.flush.max_age = Duration::from_secs(1);
    let a = table("a");
    world.sink.create_table(&a, number_schema());
    world.source.publish(&world.shard(), &[request(&a, [1])]);
    world.sink.script(|op, _| if op == Op::Commit { Fault::Unavailable } else { Fault::None });
    let run = world.start();
    tokio::time::sleep(Duration::from_secs(30)).await;
    for n in 0..50 {
        world.source.publish(&world.shard(), &[request(&a, [n])]);
    }
    let read = world.source.until(|| world.source.full_reads() == 51);
    read.await_within_a_second().await;
    assert_eq!(world.source.full_reads(), 51);
    world.sink.heal();
    world.done().await;
    assert_eq!(world.sink.commits(), 2, "the second batch holds all that came in meanwhile");
    run.drain().await;
}

#[tokio::test(start_paused = true)]
async fn rows_bound_a_batch_but_never_cut_a_message() {
    let mut world = World::new(1);
    world.config.flush.max_rows = 10;
    let a = table("a");
    world.sink.create_table(&a, number_schema());
    for _ in 0..10 {
        world.source.publish(&world.shard(), &[request(&a, 0..4), request(&a, 0..3)]);
    }
    let run = world.start();
    world.done().await;
    run.drain().await;
    let table = world.sink.table(&a).expect("exists");
    let sizes: Vec<usize> =
        table.snapshots.iter().filter_map(|s| s.rows.as_ref()).map(|rows| rows.num_rows()).collect();
    assert_eq!(sizes, [14; 5]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_table_is_forgotten_and_comes_back() {
    let world = World::new(1);
    let a = table("a");
    world.sink.create_table(&a, number_schema());
    world.source.publish(&world.shard(), &[request(&a, [1])]);
    let run = world.start();
    world.done().await;
    let open = || world.metrics.tables.get_or_create(&world.label()).get();
    assert_eq!(open(), 1);
    tokio::time::sleep(world.config.idle_after * 2).await;
    assert_eq!(open(), 0);
    world.source.publish(&world.shard(), &[request(&a, [2])]);
    world.done().await;
    run.drain().await;
    assert_eq!(once(world.sink.ids(&a)), ids(0, 1..3, 1));
}

#[tokio::test(start_paused = true)]
async fn the_supervisor_runs_the_shards_of_its_ordinal_and_drains() {
    let mut world = World::new(3);
    world.config = WriterConfig { ordinal: 1, replicas: 2, ..world.config };
    let a = table("a");
    world.sink.create_table(&a, number_schema());
    for shard in world.shards() {
        world.source.publish(&shard, &[request(&a, [1])]);
    }
    let cancel = CancellationToken::new();
    let directory = frazil_log::Directory::fixed([world.definition.clone()], []);
    let mut tasks = JoinSet::new();
    tasks.spawn(crate::supervisor::supervise(world.shared(), directory, cancel.clone()));
    let owned = world.shards().split_off(1)[..1].to_vec();
    world.source.until_done(&owned).await;
    cancel.cancel();
    tasks.join_next().await.expect("one task").expect("no panic").expect("no error");
    assert_eq!(once(world.sink.ids(&a)), ids(1, 1..2, 1));
}
