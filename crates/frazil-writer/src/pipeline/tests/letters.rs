//! Dead letters: which events become one, and that they stay one.

use super::*;
use crate::sink::fake::{Fault, Op};

fn id(sequence: Sequence, index: u32) -> String {
    format!("{:016x}-0-{sequence}-{index}", 7)
}

fn text_schema() -> Schema {
    Schema::new(vec![Field::required(1, "n", Type::String)])
}

/// The table's list of letters.
fn positions(world: &World, table: &TableName) -> Option<String> {
    world.sink.table(table)?.properties.get(&world.shard().dead_letters_property()).cloned()
}

/// Two messages; the third event of the first one is bad.
fn with_a_letter() -> (World, TableName) {
    let world = World::new(1);
    let a = table("a");
    world.sink.create_table(&a, number_schema());
    world.source.publish(&world.shard(), &[request(&a, [1, 2]), bad(&a)]);
    world.source.publish(&world.shard(), &[request(&a, [3])]);
    (world, a)
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_only_bad_events_advances_the_checkpoint() {
    let world = World::new(1);
    let a = table("a");
    world.sink.create_table(&a, number_schema());
    world.source.publish(&world.shard(), &[bad(&a)]);
    let run = world.start();
    world.done().await;
    run.drain().await;
    assert_eq!(world.checkpoint(&a, &world.shard()), Some(1));
    assert!(world.sink.ids(&a).is_empty());
    let dead = world.sink.table(&a.dead_letter()).expect("created on demand");
    assert_eq!(dead.strings("payload"), ["{\"n\":\"x\"}"]);
    assert_eq!(dead.strings("reason"), ["wrong_type"]);
    assert_eq!(dead.strings("field"), ["n"]);
    assert_eq!(positions(&world, &a), Some(format!("{:016x}:1@1001000000|1:0", 7)));
    assert_eq!(world.checkpoint(&a.dead_letter(), &world.shard()), Some(1));
}

/// Around the first commit the schema changes, so that the letter would be a row now.
#[tokio::test(start_paused = true)]
async fn a_crash_between_the_two_commits_keeps_letters_letters() {
    for fault in [Fault::HangBefore, Fault::HangAfter] {
        let (world, a) = with_a_letter();
        world.sink.fault_once(Op::Commit, &a, fault.clone());
        let run = world.start();
        world.sink.hung.notified().await;
        drop(run);
        world.sink.set_schema(&a, text_schema());
        // Another batch boundary than before the crash, and a new letter next to the old one.
        world.source.publish(&world.shard(), &[request(&a, [4]), Request::new(&a, ["[]"])]);
        let run = world.start();
        world.done().await;
        run.drain().await;
        let (rows, letters) = (once(world.sink.ids(&a)), once(world.sink.ids(&a.dead_letter())));
        let good = [id(1, 0), id(1, 1), id(2, 0), id(3, 0)];
        if fault == Fault::HangBefore {
            // Nothing was decided: the new schema decides.
            assert_eq!(rows, BTreeSet::from(good).union(&BTreeSet::from([id(1, 2)])).cloned().collect());
            assert_eq!(letters, BTreeSet::from([id(3, 1)]));
            continue;
        }
        assert_eq!(rows, BTreeSet::from(good));
        assert_eq!(letters, BTreeSet::from([id(1, 2), id(3, 1)]));
        let dead = world.sink.table(&a.dead_letter()).expect("exists");
        assert_eq!(dead.strings("reason")[0], "schema_changed");
        assert_eq!(dead.strings("payload")[0], "{\"n\":\"x\"}");
    }
}

/// No new message comes: only the letters are left to do, and the watermark waits for them.
#[tokio::test(start_paused = true)]
async fn letters_alone_are_recovered_once() {
    for op in [Op::Create, Op::Stage, Op::Commit] {
        for fault in [Fault::HangBefore, Fault::HangAfter] {
            let (world, a) = with_a_letter();
            world.sink.fault_once(op, &a.dead_letter(), fault.clone());
            let run = world.start();
            world.sink.hung.notified().await;
            assert_eq!(positions(&world, &a), Some(format!("{:016x}:2@1002000000|1:2", 7)));
            assert_eq!(world.source.stored_progress(&world.shard()), None, "the letter is not written");
            drop(run);
            for _ in 0..2 {
                let run = world.start();
                world.done().await;
                run.drain().await;
                assert_eq!(once(world.sink.ids(&a)), BTreeSet::from([id(1, 0), id(1, 1), id(2, 0)]));
                assert_eq!(once(world.sink.ids(&a.dead_letter())), BTreeSet::from([id(1, 2)]), "{op:?} {fault:?}");
                assert_eq!(world.sink.table(&a).expect("exists").snapshots.len(), 1, "nothing was left to decide");
            }
        }
    }
}

/// Letters are written in part: what is beyond the dead-letter table's checkpoint stays pending.
#[tokio::test(start_paused = true)]
async fn a_crash_in_a_recovery_leaves_the_rest_to_the_next_one() {
    let mut world = World::new(1);
    let (a, shard) = (table("a"), world.shard());
    world.sink.create_table(&a, number_schema());
    for _ in 0..3 {
        world.source.publish(&shard, &[bad(&a)]);
    }
    world.sink.fault_once(Op::Stage, &a.dead_letter(), Fault::HangBefore);
    let run = world.start();
    world.sink.hung.notified().await;
    drop(run);
    assert_eq!(positions(&world, &a), Some(format!("{:016x}:3@1003000000|1:0;2:0;3:0", 7)));
    // One letter per commit; the crash is before the third.
    world.config.flush.max_rows = 1;
    let (name, mut commits) = (a.dead_letter(), 0);
    world.sink.script(move |op, table| {
        commits += u32::from(op == Op::Commit && *table == name);
        if commits == 3 { Fault::HangBefore } else { Fault::None }
    });
    let run = world.start();
    world.sink.hung.notified().await;
    drop(run);
    assert_eq!(world.checkpoint(&a.dead_letter(), &shard), Some(2));
    world.sink.heal();
    let run = world.start();
    world.done().await;
    run.drain().await;
    assert_eq!(once(world.sink.ids(&a.dead_letter())), ids(0, 1..4, 1));
}

/// The first writer's letters do not get through; its heir, with another schema, writes them; then the first one's
/// next try arrives.
#[tokio::test(start_paused = true)]
async fn of_two_writers_of_the_same_letters_one_is_fenced() {
    let (mut world, a) = with_a_letter();
    let (name, mut tried, told) = (a.dead_letter(), false, Arc::clone(&world.sink.hung));
    world.sink.script(move |op, table| {
        if op == Op::Commit && *table == name && !std::mem::replace(&mut tried, true) {
            told.notify_one();
            return Fault::LoseRequest;
        }
        Fault::None
    });
    let backoff = world.config.backoff;
    world.config.backoff.first = Duration::from_secs(300);
    world.config.backoff.longest = Duration::from_secs(300);
    let zombie = world.start();
    world.sink.hung.notified().await;
    world.config.backoff = backoff;
    world.sink.set_schema(&a, text_schema());
    let heir = world.start();
    world.done().await;
    heir.drain().await;
    let error = zombie.abandoned().await;
    assert_eq!(error.cause(), "fenced");
    assert_eq!(once(world.sink.ids(&a.dead_letter())), BTreeSet::from([id(1, 2)]));
    assert_eq!(once(world.sink.ids(&a)), BTreeSet::from([id(1, 0), id(1, 1), id(2, 0)]));
}

#[tokio::test(start_paused = true)]
async fn two_writers_that_recover_the_same_letters_write_them_once() {
    let (world, a) = with_a_letter();
    world.sink.fault_once(Op::Commit, &a.dead_letter(), Fault::HangBefore);
    let run = world.start();
    world.sink.hung.notified().await;
    drop(run);
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    for _ in 0..2 {
        let definition = Arc::new(world.definition.clone());
        tasks.spawn(crate::supervisor::run_stream(world.shared(), definition, stop.clone()));
    }
    world.done().await;
    stop.cancel();
    tasks.join_all().await;
    assert_eq!(once(world.sink.ids(&a.dead_letter())), BTreeSet::from([id(1, 2)]));
    assert_eq!(once(world.sink.ids(&a)), BTreeSet::from([id(1, 0), id(1, 1), id(2, 0)]));
}

/// Two writers decode the same event differently: one decision is made, by the table.
#[tokio::test(start_paused = true)]
async fn a_zombie_with_another_schema_writes_no_letter() {
    let (world, a) = with_a_letter();
    let (name, sink, shard) = (a.clone(), world.sink.clone(), world.shard());
    world.sink.script(move |op, table| {
        // Another writer commits the same messages with a newer schema while this one stores its files.
        if op == Op::Stage && *table == name {
            sink.set_property(&name, &shard.checkpoint_property(), Some(&format!("{:016x}:2", 7)));
        }
        Fault::None
    });
    let error = world.start().abandoned().await;
    assert_eq!(error.cause(), "fenced");
    assert!(world.sink.table(&a.dead_letter()).is_none());
}

#[tokio::test(start_paused = true)]
async fn lost_requests_and_answers_of_either_commit_are_resolved() {
    for on_letters in [false, true] {
        for fault in [Fault::LoseRequest, Fault::LoseAnswer] {
            let (world, a) = with_a_letter();
            let name = if on_letters { a.dead_letter() } else { a.clone() };
            world.sink.fault_once(Op::Commit, &name, fault.clone());
            let run = world.start();
            world.done().await;
            run.drain().await;
            assert_eq!(once(world.sink.ids(&a)), BTreeSet::from([id(1, 0), id(1, 1), id(2, 0)]));
            assert_eq!(once(world.sink.ids(&a.dead_letter())), BTreeSet::from([id(1, 2)]));
            assert_eq!(world.sink.commits(), 2, "{fault:?} on letters: {on_letters}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn letters_in_hand_are_written_although_the_table_is_dropped() {
    let (world, a) = with_a_letter();
    let (sink, name) = (world.sink.clone(), a.clone());
    world.sink.script(move |op, table| {
        if op == Op::Stage && *table == name.dead_letter() {
            sink.drop_table(&name);
        }
        Fault::None
    });
    let run = world.start();
    world.done().await;
    run.drain().await;
    assert_eq!(once(world.sink.ids(&a.dead_letter())), BTreeSet::from([id(1, 2)]));
}

#[tokio::test(start_paused = true)]
async fn a_recreated_table_takes_the_messages_whose_letters_were_pending() {
    let (world, a) = with_a_letter();
    world.sink.fault_once(Op::Commit, &a.dead_letter(), Fault::HangBefore);
    let run = world.start();
    world.sink.hung.notified().await;
    drop(run);
    world.sink.drop_table(&a);
    world.sink.create_table(&a, text_schema());
    let run = world.start();
    world.done().await;
    run.drain().await;
    assert_eq!(once(world.sink.ids(&a)).len(), 4, "the new table decides anew");
    assert!(world.sink.ids(&a.dead_letter()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_crash_in_the_letters_commit_neither_loses_nor_repeats() {
    for op in [Op::Load, Op::Create, Op::Stage, Op::Commit] {
        for fault in [Fault::HangBefore, Fault::HangAfter] {
            let world = World::new(1);
            let a = table("a");
            world.sink.create_table(&a, number_schema());
            world.source.publish(&world.shard(), &[request(&a, [1, 2]), bad(&a)]);
            world.sink.fault_once(op, &a.dead_letter(), fault.clone());
            let run = world.start();
            world.sink.hung.notified().await;
            drop(run);
            let run = world.start();
            world.done().await;
            run.drain().await;
            assert_eq!(once(world.sink.ids(&a)).len(), 2, "after {op:?} {fault:?}");
            assert_eq!(once(world.sink.ids(&a.dead_letter())).len(), 1, "after {op:?} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn events_of_a_missing_table_are_letters_and_stay_so() {
    let world = World::new(1);
    let a = table("a");
    for n in 0..3 {
        world.source.publish(&world.shard(), &[request(&a, [n, n])]);
    }
    let run = world.start();
    world.done().await;
    world.source.publish(&world.shard(), &[request(&a, [7, 7])]);
    world.done().await;
    run.drain().await;
    let dead = world.sink.table(&a.dead_letter()).expect("created on demand");
    assert_eq!(dead.strings("reason"), ["table_not_found"; 8]);
    assert_eq!(world.checkpoint(&a.dead_letter(), &world.shard()), Some(4));
    // The table comes to be, and the low watermark was lost: the letters must not become rows as well.
    world.sink.create_table(&a, number_schema());
    let start =
        frazil_core::stream::Progress { incarnation: frazil_core::checkpoint::Incarnation(7), sequence: 0, at: None };
    world.source.set_stored_progress(&world.shard(), start);
    world.source.publish(&world.shard(), &[request(&a, [8, 8])]);
    let run = world.start();
    world.done().await;
    run.drain().await;
    assert_eq!(once(world.sink.ids(&a)), ids(0, 5..6, 2));
    assert_eq!(once(world.sink.ids(&a.dead_letter())), ids(0, 1..5, 2));
}

#[tokio::test(start_paused = true)]
async fn letters_written_while_a_table_was_away_do_not_become_rows_when_it_is_back() {
    let world = World::new(1);
    let a = table("a");
    world.sink.create_table(&a, number_schema());
    world.source.publish(&world.shard(), &[request(&a, [1, 1])]);
    let run = world.start();
    world.done().await;
    run.drain().await;
    let before = world.sink.table(&a).expect("created");
    world.sink.drop_table(&a);
    world.source.publish(&world.shard(), &[request(&a, [2, 2])]);
    let run = world.start();
    world.done().await;
    run.drain().await;
    assert_eq!(once(world.sink.ids(&a.dead_letter())), ids(0, 2..3, 2));
    // Its checkpoint is that of the first message, and another table holds the low watermark back.
    world.sink.register_table(&a, before);
    let start =
        frazil_core::stream::Progress { incarnation: frazil_core::checkpoint::Incarnation(7), sequence: 1, at: None };
    world.source.set_stored_progress(&world.shard(), start);
    world.source.publish(&world.shard(), &[request(&a, [3, 3])]);
    let run = world.start();
    world.done().await;
    run.drain().await;
    assert_eq!(once(world.sink.ids(&a)), ids(0, [1, 3], 2));
    assert_eq!(once(world.sink.ids(&a.dead_letter())), ids(0, 2..3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_table_dropped_under_an_open_batch_abandons_it_and_the_events_become_letters() {
    let world = World::new(1);
    let a = table("a");
    world.sink.create_table(&a, number_schema());
    world.source.publish(&world.shard(), &[request(&a, [1, 2])]);
    let (sink, name) = (world.sink.clone(), a.clone());
    world.sink.script(move |op, table| {
        if op == Op::Stage && *table == name {
            sink.drop_table(&name);
        }
        Fault::None
    });
    let error = world.start().abandoned().await;
    assert_eq!(error.cause(), "table_replaced");
    let run = world.start();
    world.done().await;
    run.drain().await;
    assert_eq!(once(world.sink.ids(&a.dead_letter())), ids(0, 1..2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_read_is_one_letter() {
    let world = World::new(1);
    let a = table("a");
    world.sink.create_table(&a, number_schema());
    world.source.publish_with(&world.shard(), &[request(&a, [1])], |envelope| {
        envelope.payload = bytes::Bytes::from_static(b"\xff garbage");
    });
    world.source.publish_with(&world.shard(), &[request(&a, [1])], |envelope| {
        envelope.headers.retain(|(name, _)| *name != frazil_core::envelope::VERSION_HEADER);
    });
    world.source.publish(&world.shard(), &[request(&a, [2])]);
    let run = world.start();
    world.done().await;
    run.drain().await;
    assert_eq!(once(world.sink.ids(&a)), ids(0, 3..4, 1));
    let system: TableName = "lake.frazil_system.sales".parse().expect("valid");
    let dead = world.sink.table(&system.dead_letter()).expect("created on demand");
    assert_eq!(once(dead.ids()), ids(0, 1..3, 1));
    assert_eq!(dead.strings("reason"), ["checksum", "malformed_envelope"]);
    assert_eq!(dead.strings("payload")[0], "/yBnYXJiYWdl");
    assert_eq!(world.metrics.checksum_failures.get_or_create(&world.label()).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_newer_schema_is_decoded_with_it() {
    let world = World::new(1);
    let a = table("a");
    world.sink.create_table(&a, number_schema());
    world.source.publish(&world.shard(), &[request(&a, [1])]);
    let run = world.start();
    world.done().await;
    world.sink.set_schema(&a, Schema::new(vec![Field::required(1, "n", Type::String)]));
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.source.publish(&world.shard(), &[request(&a, [2])]);
    world.source.publish(&world.shard(), &[bad(&a)]);
    world.done().await;
    run.drain().await;
    assert!(world.sink.table(&a.dead_letter()).is_none());
    assert_eq!(once(world.sink.ids(&a)), ids(0, 1..4, 1));
}
