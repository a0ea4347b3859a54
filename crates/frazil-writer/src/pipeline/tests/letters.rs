//! Dead letters: which events become one, and that they stay one.

use super::*;
use crate::sink::fake::{Fault, Op};

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
    assert_eq!(dead.properties[&world.shard().dead_letters_property()], "1:0");
}

/// Between the two commits the schema changes, so that the letter would be a row now.
#[tokio::test(start_paused = true)]
async fn a_crash_between_the_two_commits_keeps_letters_letters() {
    for fault in [Fault::HangBefore, Fault::HangAfter] {
        let world = World::new(1);
        let a = table("a");
        world.sink.create_table(&a, number_schema());
        world.source.publish(&world.shard(), &[request(&a, [1, 2]), bad(&a)]);
        world.source.publish(&world.shard(), &[request(&a, [3])]);
        world.sink.fault_once(Op::Commit, &a, fault.clone());
        let run = world.start();
        world.sink.hung.notified().await;
        drop(run);
        let schema = Schema::new(vec![Field::required(1, "n", Type::String)]);
        world.sink.set_schema(&a, schema);
        // Another batch boundary than before the crash, and a new letter next to the old one.
        world.source.publish(&world.shard(), &[request(&a, [4]), Request { events: vec!["[]".to_owned()], ..bad(&a) }]);
        let run = world.start();
        world.done().await;
        run.drain().await;
        let rows = once(world.sink.ids(&a));
        let letters = once(world.sink.ids(&a.dead_letter()));
        let id = |sequence, index| format!("{:016x}-0-{sequence}-{index}", 7);
        assert_eq!(rows, BTreeSet::from([id(1, 0), id(1, 1), id(2, 0), id(3, 0)]), "after {fault:?}");
        assert_eq!(letters, BTreeSet::from([id(1, 2), id(3, 1)]), "after {fault:?}");
    }
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
async fn letters_of_a_table_that_moved_on_are_not_written() {
    let world = World::new(1);
    let a = table("a");
    world.sink.create_table(&a, number_schema());
    world.source.publish(&world.shard(), &[bad(&a)]);
    let (sink, name, shard) = (world.sink.clone(), a.clone(), world.shard());
    let mut loads = 0;
    world.sink.script(move |op, table| {
        loads += u32::from(op == Op::Load && *table == name);
        if op == Op::Load && *table == name && loads == 2 {
            sink.set_property(&name, &shard.checkpoint_property(), Some(&format!("{:016x}:1", 7)));
        }
        Fault::None
    });
    let error = world.start().abandoned().await;
    assert_eq!(error.cause(), "fenced");
    assert!(world.sink.table(&a.dead_letter()).is_none());
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
    assert_eq!(dead.properties[&world.shard().dead_letters_property()], "1-4");
    // The table comes to be, and the low watermark was lost: the letters must not become rows as well.
    world.sink.create_table(&a, number_schema());
    let start = frazil_core::stream::Progress { incarnation: frazil_core::checkpoint::Incarnation(7), sequence: 0 };
    world.source.set_stored_progress(&world.shard(), start);
    world.source.publish(&world.shard(), &[request(&a, [8, 8])]);
    let run = world.start();
    world.done().await;
    run.drain().await;
    assert_eq!(once(world.sink.ids(&a)), ids(0, 5..6, 2));
    assert_eq!(once(world.sink.ids(&a.dead_letter())), ids(0, 1..5, 2));
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
