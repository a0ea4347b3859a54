//! Crashes, lost requests and answers, other writers.

use super::*;
use crate::sink::fake::{Fault, Op};

/// One table, six messages with three events each.
fn filled() -> (World, TableName) {
    let world = World::new(1);
    let a = table("a");
    world.sink.create_table(&a, number_schema());
    for n in 0..6 {
        world.source.publish(&world.shard(), &[request(&a, [n, n, n])]);
    }
    (world, a)
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_step_neither_loses_nor_repeats() {
    for op in [Op::Load, Op::Stage, Op::Commit] {
        for fault in [Fault::HangBefore, Fault::HangAfter] {
            let (world, a) = filled();
            world.sink.fault_once(op, &a, fault.clone());
            let run = world.start();
            world.sink.hung.notified().await;
            drop(run);
            let run = world.start();
            world.done().await;
            run.drain().await;
            assert_eq!(once(world.sink.ids(&a)), ids(0, 1..7, 3), "after {op:?} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_is_lost_is_adopted() {
    let (world, a) = filled();
    world.sink.fault_once(Op::Commit, &a, Fault::LoseAnswer);
    let run = world.start();
    world.done().await;
    run.drain().await;
    assert_eq!(once(world.sink.ids(&a)), ids(0, 1..7, 3));
    assert_eq!(world.sink.commits(), 1);
    assert_eq!(world.metrics.adopted.get_or_create(&world.label()).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_and_shown_until_they_are_over() {
    for fault in [Fault::Unavailable, Fault::Rejected, Fault::LoseRequest] {
        for op in [Op::Load, Op::Stage, Op::Commit] {
            let (world, a) = filled();
            let status = world.status.watch();
            let (seen, mut failures) = (world.status.watch(), 3);
            let wrong = fault.clone();
            world.sink.script(move |now, _| {
                if now != op || failures == 0 {
                    return Fault::None;
                }
                failures -= 1;
                assert_eq!(seen.borrow().is_ready(), failures == 2, "degraded from the first failure on");
                wrong.clone()
            });
            let run = world.start();
            world.done().await;
            assert!(status.borrow().is_ready());
            run.drain().await;
            assert_eq!(once(world.sink.ids(&a)), ids(0, 1..7, 3), "after {op:?} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_zombie_is_fenced() {
    let (world, a) = filled();
    world.sink.fault_once(Op::Commit, &a, Fault::HangBefore);
    let zombie = world.start();
    world.sink.hung.notified().await;
    let heir = world.start();
    world.done().await;
    heir.drain().await;
    // The zombie's request hangs for ever; what it would do next is what a third writer with its state does.
    let stale = world.sink.table(&a).expect("exists").properties[&world.shard().checkpoint_property()].clone();
    drop(zombie);
    world.source.set_stored_progress(
        &world.shard(),
        frazil_core::stream::Progress { incarnation: frazil_core::checkpoint::Incarnation(7), sequence: 0, at: None },
    );
    world.source.publish(&world.shard(), &[request(&a, [9, 9, 9])]);
    let shard = world.shard();
    let sink = world.sink.clone();
    let name = a.clone();
    let mut moved = false;
    world.sink.script(move |op, _| {
        if op == Op::Stage && !moved {
            moved = true;
            sink.set_property(&name, &shard.checkpoint_property(), Some(&stale.replace(":6", ":7")));
        }
        Fault::None
    });
    let error = world.start().abandoned().await;
    assert_eq!(error.cause(), "fenced");
    assert!(error.to_string().contains("fenced by writer-0"), "{error}");
    assert_eq!(once(world.sink.ids(&a)), ids(0, 1..7, 3));
}

#[tokio::test(start_paused = true)]
async fn two_writers_of_the_same_shards_commit_everything_once() {
    let (mut world, a) = filled();
    world.config.flush.max_age = Duration::from_millis(30);
    let mut tasks = JoinSet::new();
    let stop = CancellationToken::new();
    for _ in 0..2 {
        let definition = Arc::new(world.definition.clone());
        tasks.spawn(crate::supervisor::run_stream(world.shared(), definition, stop.clone()));
    }
    for n in 0..40 {
        tokio::time::sleep(Duration::from_millis(17)).await;
        world.source.publish(&world.shard(), &[request(&a, [n, n, n])]);
    }
    world.done().await;
    stop.cancel();
    tasks.join_all().await;
    assert_eq!(once(world.sink.ids(&a)), ids(0, 1..47, 3));
}

#[tokio::test(start_paused = true)]
async fn a_removed_checkpoint_is_found_in_the_ancestry() {
    let (world, a) = filled();
    let run = world.start();
    world.done().await;
    run.drain().await;
    let property = world.shard().checkpoint_property();
    world.sink.set_property(&a, &property, None);
    world.source.set_stored_progress(
        &world.shard(),
        frazil_core::stream::Progress { incarnation: frazil_core::checkpoint::Incarnation(7), sequence: 2, at: None },
    );
    world.source.publish(&world.shard(), &[request(&a, [1, 1, 1])]);
    let run = world.start();
    world.done().await;
    run.drain().await;
    assert_eq!(once(world.sink.ids(&a)), ids(0, 1..8, 3));
}

/// The reader of a shard that was deleted learns of it late, and has events in hand when its heir has committed already.
#[tokio::test(start_paused = true)]
async fn events_of_a_deleted_shard_do_not_take_the_place_of_later_ones() {
    use crate::faults::Gate;
    for there_is_a_table in [true, false] {
        let (world, a) = (World::new(1), table("a"));
        if there_is_a_table {
            world.sink.create_table(&a, number_schema());
        }
        world.source.publish(&world.shard(), &[request(&a, [1, 2, 3])]);
        let gate = Gate::new();
        let name = if there_is_a_table { a.clone() } else { a.dead_letter() };
        world.sink.fault_once(Op::Load, &name, Fault::HoldBefore(gate.clone()));
        let zombie = world.start();
        gate.reached().await;
        // It is not told that the shard is another one.
        world.source.script(|op, _| match op {
            crate::source::fake::LogOp::Next => Fault::HangBefore,
            _ => Fault::None,
        });
        world.source.create(&world.shard(), 8);
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.source.heal();
        world.source.publish(&world.shard(), &[request(&a, [4])]);
        let heir = world.start();
        world.done().await;
        gate.open();
        assert_eq!(zombie.abandoned().await.cause(), "shard");
        world.source.publish(&world.shard(), &[request(&a, [5])]);
        world.done().await;
        heir.drain().await;
        let found = once(world.sink.ids(if there_is_a_table { &a } else { &name }));
        assert_eq!(found, BTreeSet::from([1, 2].map(|sequence| format!("{:016x}-0-{sequence}-0", 8))));
        world.sink.history(|history| assert_eq!(history.violations(), [""; 0]));
    }
}
