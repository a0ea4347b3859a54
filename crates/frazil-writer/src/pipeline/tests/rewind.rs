//! The log goes back: its tail is lost, and the same sequences are given again to other messages.

use frazil_core::checkpoint::Incarnation;
use frazil_core::rewind::HISTORY;
use frazil_core::stream::Progress;

use super::*;

type Stream = (JoinSet<frazil_core::StreamName>, CancellationToken);

/// A writer that starts over by itself.
fn supervised(world: &World) -> Stream {
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(crate::supervisor::run_stream(world.shared(), Arc::new(world.definition.clone()), stop.clone()));
    (tasks, stop)
}

async fn stop((mut tasks, stop): Stream) {
    stop.cancel();
    tasks.join_next().await.expect("one task").expect("no panic");
}

/// A table of texts, each of which is published once, and the log's five first messages.
fn texts(world: &World) -> TableName {
    let a = table("a");
    world.sink.create_table(&a, Schema::new(vec![Field::required(1, "s", Type::String)]));
    a
}

fn text(table: &TableName, n: u64) -> Request {
    Request::new(table, [format!("{{\"s\":\"{n}\"}}")])
}

fn publish(world: &World, table: &TableName, numbers: impl IntoIterator<Item = u64>) {
    numbers.into_iter().for_each(|n| {
        world.source.publish(&world.shard(), &[text(table, n)]);
    });
}

/// The texts of the table, in order; none is there twice.
fn found(world: &World, table: &TableName) -> Vec<u64> {
    let table = world.sink.table(table).expect("exists");
    let mut found: Vec<u64> = table.strings("s").iter().map(|text| text.parse().expect("a number")).collect();
    found.sort_unstable();
    assert!(found.is_sorted_by(|a, b| a < b), "an event is there twice: {found:?}");
    found
}

fn lost(world: &World) -> Vec<(u64, u64)> {
    world.source.recorded_losses(&world.shard()).iter().map(|loss| (loss.from, loss.to)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_was_committed_and_is_lost_then_is_no_loss_and_hides_nothing() {
    let world = World::new(1);
    let (a, shard) = (texts(&world), world.shard());
    publish(&world, &a, 1..=5);
    let run = supervised(&world);
    world.done().await;
    world.source.go_back(&shard, 3);
    publish(&world, &a, 6..=8);
    world.done().await;
    stop(run).await;
    assert_eq!(found(&world, &a), [1, 2, 3, 4, 5, 6, 7, 8]);
    let rewinds = world.source.recorded_rewinds(&shard);
    assert_eq!((rewinds.len(), rewinds[0].from, rewinds[0].shift, rewinds[0].newest), (1, 4, HISTORY, 5));
    assert_eq!(world.checkpoint(&a, &shard), Some(HISTORY + 6));
    assert_eq!(lost(&world), [], "the table has all of it");
    assert_eq!(world.metrics.lost_envelopes.get_or_create(&world.label()).get(), 0);
    assert_eq!(world.metrics.log_rewinds.get_or_create(&world.label()).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_only_the_writer_still_has_is_committed_first() {
    let mut world = World::new(1);
    world.config.flush.max_age = Duration::from_secs(3000);
    let (a, shard) = (texts(&world), world.shard());
    publish(&world, &a, 1..=5);
    let run = supervised(&world);
    world.source.until(|| world.source.full_reads() == 5).await_within_a_second().await;
    assert!(found(&world, &a).is_empty());
    world.source.go_back(&shard, 3);
    publish(&world, &a, [6]);
    world.source.until(|| world.source.full_reads() == 6).await_within_a_second().await;
    assert_eq!(found(&world, &a), [1, 2, 3, 4, 5], "drained when it was noticed");
    stop(run).await;
    assert_eq!(found(&world, &a), [1, 2, 3, 4, 5, 6]);
    assert_eq!(lost(&world), []);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_has_is_reported_by_its_numbers() {
    let mut world = World::new(1);
    world.config.flush.max_age = Duration::from_secs(1);
    let (a, shard) = (texts(&world), world.shard());
    publish(&world, &a, 1..=3);
    let run = supervised(&world);
    world.done().await;
    stop(run).await;
    // Never read: the places are used again, and nothing but the producer's numbers shows it.
    publish(&world, &a, 4..=5);
    world.source.go_back(&shard, 3);
    publish(&world, &a, 6..=7);
    let run = supervised(&world);
    world.done().await;
    stop(run).await;
    assert_eq!(found(&world, &a), [1, 2, 3, 6, 7]);
    assert_eq!(lost(&world), [(4, 5)]);
    assert!(world.source.recorded_rewinds(&shard).is_empty(), "no table is concerned");
}

/// Each way of noticing by itself: the stored watermark, and the table's checkpoint when the watermark went back too.
#[tokio::test(start_paused = true)]
async fn a_writer_that_was_down_notices_when_it_starts() {
    for watermark in [None, Some(2)] {
        let world = World::new(1);
        let (a, shard) = (texts(&world), world.shard());
        publish(&world, &a, 1..=5);
        let run = supervised(&world);
        world.done().await;
        stop(run).await;
        world.source.go_back(&shard, 3);
        publish(&world, &a, 6..=9);
        if let Some(sequence) = watermark {
            let progress = Progress { incarnation: Incarnation(7), sequence, at: None };
            world.source.set_stored_progress(&shard, progress);
        }
        let run = supervised(&world);
        world.done().await;
        stop(run).await;
        assert_eq!(found(&world, &a), (1..=9).collect::<Vec<_>>(), "{watermark:?}");
        let rewinds = world.source.recorded_rewinds(&shard);
        assert_eq!((rewinds.len(), rewinds[0].from, rewinds[0].newest), (1, 4, 5), "{watermark:?}");
        assert_eq!(lost(&world), [], "they had been committed, and their numbers are on record: {watermark:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_looked_at_late_needs_no_second_rewind() {
    let world = World::new(1);
    let (a, shard) = (texts(&world), world.shard());
    let b = table("b");
    world.sink.create_table(&b, Schema::new(vec![Field::required(1, "s", Type::String)]));
    publish(&world, &b, 1..=4);
    publish(&world, &a, 5..=6);
    let run = supervised(&world);
    world.done().await;
    stop(run).await;
    world.source.go_back(&shard, 2);
    let run = supervised(&world);
    publish(&world, &a, 7..=9);
    world.done().await;
    publish(&world, &b, 10..=12);
    world.done().await;
    stop(run).await;
    assert_eq!(found(&world, &a), [5, 6, 7, 8, 9]);
    assert_eq!(found(&world, &b), [1, 2, 3, 4, 10, 11, 12]);
    assert_eq!(world.source.recorded_rewinds(&shard).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_proxy_noticed_is_put_on_record_although_no_table_is_concerned() {
    let world = World::new(1);
    let (a, shard) = (texts(&world), world.shard());
    publish(&world, &a, 1..=3);
    let run = supervised(&world);
    world.done().await;
    world.source.suspect(&shard, 4);
    publish(&world, &a, 4..=5);
    world.done().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let rewinds = world.source.recorded_rewinds(&shard);
    assert_eq!((rewinds.len(), rewinds[0].from, rewinds[0].shift), (1, 4, HISTORY));
    publish(&world, &a, 6..=7);
    world.done().await;
    stop(run).await;
    assert_eq!(found(&world, &a), (1..=7).collect::<Vec<_>>());
    assert_eq!(world.source.recorded_rewinds(&shard).len(), 1);
    assert_eq!(world.checkpoint(&a, &shard), Some(HISTORY + 7));
}

/// Rewinds between and during commits, crashes and zombies, with watermarks that go back as well.
/// 1. No event is in the table twice. 2. Every event that the log did not lose is there.
/// 3. What is neither there nor in the log is reported by number.
async fn history(seed: u64) {
    let mut random = Random(seed);
    let mut world = World::new(1);
    world.config.flush.max_age = Duration::from_millis(10 + random.below(300));
    world.config.progress_interval = Duration::from_millis(5 + random.below(100));
    world.config.purge_interval = Duration::from_millis(50 + random.below(500));
    world.config.backoff.longest = Duration::from_millis(300);
    let (a, shard) = (texts(&world), world.shard());
    let (mut next, mut runs) = (1, Vec::new());
    // What the log did not lose. Each event is the only one of its envelope, and has its number.
    let (mut stored, mut rewinds): (Vec<u64>, u32) = (Vec::new(), 0);
    for _ in 0..15 + random.below(25) {
        if runs.len() < 2 && random.below(3) > 0 {
            runs.push(supervised(&world));
        }
        for _ in 0..random.below(6) {
            publish(&world, &a, [next]);
            stored.push(next);
            next += 1;
        }
        tokio::time::sleep(Duration::from_millis(random.below(400))).await;
        if random.below(3) == 0 && !runs.is_empty() {
            let (tasks, _) = runs.swap_remove(random.below(runs.len() as u64) as usize);
            drop(tasks);
        }
        if random.below(5) == 0 {
            let gone = world.source.lose_tail(&shard, random.below(6) as usize);
            stored.retain(|n| !gone.contains(n));
            rewinds += 1;
        }
    }
    let before = next;
    publish(&world, &a, [next, next + 1]);
    stored.extend([next, next + 1]);
    let run = supervised(&world);
    world.done().await;
    runs.clear();
    stop(run).await;
    let found = found(&world, &a);
    let missing: Vec<u64> = stored.iter().filter(|n| !found.contains(n)).copied().collect();
    assert!(missing.is_empty(), "{missing:?} are stored and not in the table, after {rewinds} rewinds");
    let reported = |n: &u64| world.source.recorded_losses(&shard).iter().any(|loss| (loss.from..=loss.to).contains(n));
    let silent: Vec<u64> = (1..before).filter(|n| !found.contains(n) && !reported(n)).collect();
    assert!(silent.is_empty(), "{silent:?} are lost without a word, after {rewinds} rewinds");
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

#[test]
fn any_history_with_rewinds_keeps_what_the_log_kept_and_reports_the_rest() {
    let seeds = match std::env::var("FRAZIL_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("FRAZIL_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..std::env::var("FRAZIL_SEEDS").map_or(300, |count| count.parse().expect("a number of seeds")),
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
