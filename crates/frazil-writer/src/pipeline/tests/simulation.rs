//! Seeded chaos: crashes, lost requests and answers, zombies, users and policies that alter tables, events that fit
//! nowhere, stale watermarks. Each seed is one history; the failing one is printed. `FRAZIL_SEED=n` runs only that
//! one, `FRAZIL_SEEDS=n` the first n.

mod chaos;
mod traffic;

use std::collections::BTreeMap;

use frazil_core::policy::{SystemColumns, UnknownFieldPolicy};

use super::*;
use crate::metrics::OutcomeLabel;
use traffic::{Truth, publish};

/// Ways in which a change of a schema ends, each of which must come up.
const OUTCOMES: [&str; 4] = ["altered", "conflict", "unavailable", "rejected"];

/// SplitMix64.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

fn checkpoints(world: &World, tables: &[TableName]) -> BTreeMap<(TableName, u32), Sequence> {
    let names = tables.iter().flat_map(|table| [table.clone(), table.dead_letter()]);
    let of = |name: TableName| {
        let found = world
            .shards()
            .into_iter()
            .filter_map(|shard| world.checkpoint(&name, &shard).map(|at| ((name.clone(), shard.index), at)));
        found.collect::<Vec<_>>()
    };
    names.flat_map(of).collect()
}

/// 1. Every event is in its table or its dead-letter table, exactly once, and with all its fields.
/// 2. Checkpoints never go back.
/// 3. The low watermark is never ahead: all of the above holds from whatever watermark was stored.
/// 4. Nothing gets stuck: when the faults are over, all is committed.
async fn history(seed: u64) -> Vec<u64> {
    let mut random = Random(seed);
    let mut world = World::new(1 + random.below(3) as u32);
    world.config.flush.max_age = Duration::from_millis(10 + random.below(100));
    world.config.flush.max_rows = 1 + random.below(40) as usize;
    world.config.progress_interval = Duration::from_millis(5 + random.below(100));
    world.config.purge_interval = Duration::from_millis(50 + random.below(500));
    world.config.backoff.longest = Duration::from_millis(300);
    world.config.table_refresh = Duration::from_millis(random.below(100));
    world.config.drain_deadline = Duration::from_millis(random.below(200));
    set_policy(&mut world, &mut random);
    let tables: Vec<TableName> = ["a", "b", "c"].map(table).to_vec();
    tables.iter().for_each(|table| world.sink.create_table(table, number_schema()));
    if random.one_in(2) {
        world.sink.create_table(&traffic::catch_all(&world), number_schema());
    }
    let zombies = random.one_in(2);
    chaos::unleash(&world, Random(random.next()), tables.clone());
    let (mut truth, mut last) = (Truth::default(), BTreeMap::new());
    let mut runs: Vec<(JoinSet<frazil_core::StreamName>, CancellationToken)> = Vec::new();
    for step in 0..10 + random.below(30) {
        if runs.len() < 1 + usize::from(zombies) {
            runs.push(start_stream(&world));
        }
        for _ in 0..random.below(6) {
            publish(&world, &mut truth, &tables, step, &mut random);
        }
        tokio::time::sleep(Duration::from_millis(random.below(150))).await;
        if random.one_in(3) {
            let (tasks, stop) = runs.swap_remove(random.below(runs.len() as u64) as usize);
            if random.one_in(3) {
                stop.cancel();
                tokio::time::sleep(Duration::from_millis(random.below(100))).await;
            }
            drop(tasks);
        }
        let now = checkpoints(&world, &tables);
        for (place, before) in &last {
            assert!(now.get(place).is_some_and(|at| at >= before), "the checkpoint of {place:?} went back");
        }
        last = now;
    }
    runs.clear();
    world.sink.heal();
    let _run = start_stream(&world);
    world.done().await;
    truth.check(&world);
    let outcome = |outcome| OutcomeLabel { stream: world.definition.name.to_string(), outcome };
    let count = |of| world.metrics.schema_updates.get_or_create(&outcome(of)).get();
    OUTCOMES.iter().map(|outcome| count(outcome)).collect()
}

/// Mostly one that alters tables.
fn set_policy(world: &mut World, random: &mut Random) {
    let policy = &mut world.definition.policy;
    policy.unknown_fields = match random.below(4) {
        0 => UnknownFieldPolicy::Capture,
        1 => UnknownFieldPolicy::Reject,
        _ => UnknownFieldPolicy::Evolve,
    };
    policy.system_columns = if random.one_in(2) { SystemColumns::All } else { SystemColumns::OnDemand };
    policy.columns_per_hour = random.below(12) as u32;
    world.config.concurrent_flushes = 4 + random.below(8) as usize;
}

fn start_stream(world: &World) -> (JoinSet<frazil_core::StreamName>, CancellationToken) {
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(crate::supervisor::run_stream(world.shared(), Arc::new(world.definition.clone()), stop.clone()));
    (tasks, stop)
}

#[test]
fn any_history_ends_with_every_event_once() {
    let seeds = match std::env::var("FRAZIL_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("FRAZIL_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..std::env::var("FRAZIL_SEEDS").map_or(200, |count| count.parse().expect("a number of seeds")),
    };
    let (single, mut totals) = (seeds.end - seeds.start == 1, [0; OUTCOMES.len()]);
    for seed in seeds {
        let mut counts = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            counts = runtime.expect("a runtime without I/O").block_on(history(seed));
        }));
        if let Err(panic) = ended {
            println!("FRAZIL_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
        totals.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
    }
    println!("changes of schemas: {OUTCOMES:?} {totals:?}");
    assert!(single || totals.iter().all(|total| *total > 0), "the histories leave something out: {totals:?}");
}
