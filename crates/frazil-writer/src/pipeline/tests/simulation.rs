//! Seeded chaos: crashes, lost requests and answers, zombies, schema changes, stale watermarks. Each seed is one
//! history; the failing one is printed. `FRAZIL_SEED=n` runs only that one, `FRAZIL_SEEDS=n` the first n.

use std::collections::BTreeMap;

use super::*;
use crate::sink::fake::{Fault, Op};

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

/// What must be where in the end.
#[derive(Default)]
struct Truth {
    /// Ids of the events that are not repeats, per table.
    expected: BTreeMap<TableName, BTreeSet<String>>,
    /// Per shard and key: events of the request seen so far.
    keys: BTreeMap<(u32, u8), u64>,
}

fn publish(world: &World, truth: &mut Truth, tables: &[TableName], random: &mut Random) {
    let shards = world.shards();
    let shard = &shards[random.below(shards.len() as u64) as usize];
    let mut requests = Vec::new();
    let mut wanted = Vec::new();
    let mut index = 0;
    for _ in 0..random.below(4) {
        let table = &tables[random.below(tables.len() as u64) as usize];
        let count = 1 + random.below(4);
        let key = random
            .one_in(3)
            .then(|| (random.below(5) as u8) * 4 + tables.iter().position(|t| t == table).expect("one of them") as u8);
        let mut request = request(table, 0..count);
        for event in &mut request.events {
            if random.one_in(6) {
                *event = ["{\"n\":\"x\"}", "[]", "{\"n\":1,\"n\":2}"][random.below(3) as usize].to_owned();
            }
        }
        let repeats = match key {
            None => 0,
            Some(key) => {
                request.key = Some(KeyHash([key; 16]));
                let seen = truth.keys.entry((shard.index, key)).or_default();
                let repeats = (*seen).min(count);
                *seen = (*seen).max(count);
                repeats
            }
        };
        wanted.push((table.clone(), index + repeats..index + count));
        index += count;
        requests.push(request);
    }
    let sequence = world.source.publish(shard, &requests);
    for (table, events) in wanted {
        let ids = events.map(|index| format!("{:016x}-{}-{sequence}-{index}", 7, shard.index));
        truth.expected.entry(table).or_default().extend(ids);
    }
}

fn chaos(world: &World, mut random: Random, tables: Vec<TableName>) {
    let sink = world.sink.clone();
    world.sink.script(move |op, _| {
        if random.one_in(25) {
            let table = &tables[random.below(tables.len() as u64) as usize];
            let ty = if random.one_in(2) { Type::Long } else { Type::String };
            sink.set_schema(table, Schema::new(vec![Field::required(1, "n", ty)]));
        }
        match random.below(12) {
            0 => Fault::Unavailable,
            1 if op == Op::Commit => Fault::LoseRequest,
            2 if op == Op::Commit => Fault::LoseAnswer,
            3 if op == Op::Commit => Fault::HangBefore,
            4 if op == Op::Commit => Fault::HangAfter,
            3 if random.one_in(4) => Fault::HangBefore,
            4 if random.one_in(4) => Fault::HangAfter,
            _ => Fault::None,
        }
    });
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

/// 1. Every event is in its table or its dead-letter table, exactly once. 2. Checkpoints never go back.
/// 3. The low watermark is never ahead: all of the above holds from whatever watermark was stored.
async fn history(seed: u64) {
    let mut random = Random(seed);
    let mut world = World::new(1 + random.below(3) as u32);
    world.config.flush.max_age = Duration::from_millis(10 + random.below(100));
    world.config.flush.max_rows = 1 + random.below(40) as usize;
    world.config.progress_interval = Duration::from_millis(5 + random.below(100));
    world.config.purge_interval = Duration::from_millis(50 + random.below(500));
    world.config.backoff.longest = Duration::from_millis(300);
    world.config.table_refresh = Duration::from_millis(random.below(100));
    world.config.drain_deadline = Duration::from_millis(random.below(200));
    let tables: Vec<TableName> = ["a", "b", "c"].map(table).to_vec();
    tables.iter().for_each(|table| world.sink.create_table(table, number_schema()));
    let zombies = random.one_in(2);
    chaos(&world, Random(random.next()), tables.clone());
    let (mut truth, mut last) = (Truth::default(), BTreeMap::new());
    let mut runs: Vec<(JoinSet<frazil_core::StreamName>, CancellationToken)> = Vec::new();
    for _ in 0..10 + random.below(30) {
        if runs.len() < 1 + usize::from(zombies) {
            runs.push(start_stream(&world));
        }
        for _ in 0..random.below(6) {
            publish(&world, &mut truth, &tables, &mut random);
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
    for table in &tables {
        let (rows, letters) = (once(world.sink.ids(table)), once(world.sink.ids(&table.dead_letter())));
        assert_eq!(rows.intersection(&letters).next(), None, "a row of {table} is a dead letter as well");
        let found = rows.union(&letters).cloned().collect::<BTreeSet<_>>();
        assert_eq!(found, truth.expected.remove(table).unwrap_or_default(), "events of {table}");
    }
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
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.expect("a runtime without I/O").block_on(history(seed));
        }));
        if let Err(panic) = ended {
            println!("FRAZIL_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
