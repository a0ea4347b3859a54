//! One history: what happens in it, and that it ends well.

use frazil_core::policy::{SystemColumns, UnknownFieldPolicy};

use super::chaos::Chaos;
use super::tally::Tally;
use super::traffic::publish;
use super::truth::Truth;
use super::users::Users;
use super::writers::Fleet;
use super::*;
use crate::metrics::{CauseLabel, OutcomeLabel};

/// Longest time that requests go on whose senders have given up.
const SETTLED: Duration = Duration::from_secs(5);

pub(super) async fn history(seed: u64, tally: &Tally) {
    let mut random = Random(seed);
    let world = world(&mut random);
    let tables: Vec<TableName> = ["a", "b", "c"].map(table).to_vec();
    tables.iter().for_each(|table| world.sink.create_table(table, number_schema()));
    if random.one_in(2) {
        world.sink.create_table(&traffic::catch_all(&world), number_schema());
    }
    let hangs = random.one_in(2);
    let chaos = Chaos::new(hangs, &mut random, tally);
    let users = Users::new(&world, &tables, &mut random, tally);
    chaos.unleash(&world, users.clone(), &mut random);
    let mut truth = Truth::default();
    let mut fleet = Fleet::new(1 + random.below(world.definition.shards.into()) as u32, tally);
    let streams_go = random.one_in(4);
    for step in 0..10 + random.below(30) {
        fleet.fill(&world);
        for _ in 0..random.below(6) {
            publish(&world, &mut truth, &tables, step, &mut random);
        }
        tokio::time::sleep(random.millis(150)).await;
        fleet.churn(&world, &mut random);
        if random.one_in(4) {
            users.act(&mut random);
        }
        if random.one_in(25) {
            chaos.outage(&mut random);
        }
        if streams_go && random.one_in(12) {
            delete_or_create(&world, &truth, tally, &mut random);
        }
        truth.check_watermarks(&world);
    }
    // Hanging operations never end: only a crash frees who waits for them. Else all must go on by themselves.
    if hangs || random.one_in(2) {
        fleet.crash_all();
    }
    end(&world, &truth, fleet, tally).await;
    outcomes(&world, tally);
}

/// Nothing is wrong any more: all comes to rest.
async fn end(world: &World, truth: &Truth, mut fleet: Fleet, tally: &Tally) {
    world.sink.heal();
    world.source.heal();
    for shard in world.shards().iter().filter(|shard| world.source.incarnation(shard).is_none()) {
        create(world, shard, tally);
    }
    fleet.fill(world);
    world.done().await;
    let budgets = fleet.stop().await;
    tokio::time::sleep(SETTLED).await;
    truth.check_watermarks(world);
    truth.check(world);
    assert!(budgets.iter().all(|budget| budget.used_bytes() == 0), "budget is left in use");
    let degraded = world.status.watch().borrow().degraded.clone();
    assert!(degraded.is_empty(), "still degraded: {degraded:?}");
    assert_eq!(restarts(world, "panic"), 0, "a task panicked");
    let (metrics, label) = (&world.metrics, world.label());
    let alarms = [&metrics.missing_messages, &metrics.lost_envelopes, &metrics.unreadable, &metrics.forgotten_keys]
        .map(|metric| metric.get_or_create(&label).get());
    assert_eq!(alarms, [0; 4], "the log has lost nothing, but there was an alarm");
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0, "tasks are left");
}

fn world(random: &mut Random) -> World {
    let mut world = World::new(1 + random.below(4) as u32);
    let config = &mut world.config;
    config.flush.max_age = Duration::from_millis(10 + random.below(100));
    config.flush.max_rows = 1 + random.below(40) as usize;
    config.progress_interval = Duration::from_millis(5 + random.below(100));
    config.purge_interval = Duration::from_millis(50 + random.below(500));
    config.backoff.longest = Duration::from_millis(300);
    config.table_refresh = random.millis(100);
    config.drain_deadline = random.millis(200);
    config.idle_after = Duration::from_millis(*random.pick(&[50, 500, 600_000]));
    config.memory_bytes = *random.pick(&[16 << 10, 64 << 10, 1 << 20]);
    config.concurrent_flushes = 1 + random.below(8) as usize;
    // Mostly one that alters tables.
    let policy = &mut world.definition.policy;
    policy.unknown_fields = match random.below(4) {
        0 => UnknownFieldPolicy::Capture,
        1 => UnknownFieldPolicy::Reject,
        _ => UnknownFieldPolicy::Evolve,
    };
    policy.system_columns = if random.one_in(2) { SystemColumns::All } else { SystemColumns::OnDemand };
    policy.columns_per_hour = random.below(12) as u32;
    world
}

/// The stream loses a shard, or gets one back that is another one.
fn delete_or_create(world: &World, truth: &Truth, tally: &Tally, random: &mut Random) {
    let shard = random.pick(&world.shards()).clone();
    match world.source.incarnation(&shard) {
        Some(incarnation) => {
            truth.orphan(world, &shard, incarnation);
            tally.note("stream: deleted");
            world.source.delete(&shard);
            if random.one_in(2) {
                create(world, &shard, tally);
            }
        }
        None => create(world, &shard, tally),
    }
}

fn create(world: &World, shard: &Shard, tally: &Tally) {
    tally.note("stream: created again");
    world.source.create(shard, world.source.next_incarnation());
}

fn restarts(world: &World, cause: &'static str) -> u64 {
    let label = CauseLabel { stream: world.definition.name.to_string(), cause };
    world.metrics.restarts.get_or_create(&label).get()
}

/// What the faults led to.
fn outcomes(world: &World, tally: &Tally) {
    let updates = |outcome| {
        let label = OutcomeLabel { stream: world.definition.name.to_string(), outcome };
        world.metrics.schema_updates.get_or_create(&label).get()
    };
    tally.note_many("outcome: altered", updates("altered"));
    tally.note_many("outcome: conflict", updates("conflict"));
    tally.note_many("outcome: unavailable", updates("unavailable"));
    tally.note_many("outcome: refused", updates("rejected"));
    tally.note_many("outcome: adopted", world.metrics.adopted.get_or_create(&world.label()).get());
    tally.note_many("outcome: fenced", restarts(world, "fenced"));
    tally.note_many("outcome: replaced", restarts(world, "table_replaced"));
    tally.note_many("outcome: shard gone", restarts(world, "shard"));
}
