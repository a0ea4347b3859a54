//! Tables that get other schemas because events need them.

use frazil_core::policy::{SystemColumns, UnknownFieldPolicy};
use frazil_core::stream::Progress;

use super::*;
use crate::metrics::OutcomeLabel;
use crate::sink::fake::{Fault, Op};

/// A stream whose tables evolve, and one of them.
fn evolving() -> (World, TableName) {
    let mut world = World::new(1);
    world.definition.policy.unknown_fields = UnknownFieldPolicy::Evolve;
    let a = table("a");
    world.sink.create_table(&a, number_schema());
    (world, a)
}

fn publish(world: &World, table: &TableName, events: &[&str]) {
    world.source.publish(&world.shard(), &[Request::new(table, events.iter().copied())]);
}

/// Runs until all is committed.
async fn settle(world: &World) {
    let run = world.start();
    world.done().await;
    run.drain().await;
}

fn columns(world: &World, table: &TableName) -> Vec<String> {
    world.sink.table(table).expect("exists").columns()
}

fn updates(world: &World, outcome: &'static str) -> u64 {
    let label = OutcomeLabel { stream: world.definition.name.to_string(), outcome };
    world.metrics.schema_updates.get_or_create(&label).get()
}

fn added(world: &World) -> u64 {
    world.metrics.columns_added.get_or_create(&world.label()).get()
}

/// Rows per commit, and whether the commit's rows have the column.
fn commits(world: &World, table: &TableName, column: &str) -> Vec<(usize, bool)> {
    let table = world.sink.table(table).expect("exists");
    let rows = table.snapshots.iter().filter_map(|snapshot| snapshot.rows.as_ref());
    rows.map(|rows| (rows.num_rows(), rows.column_by_name(column).is_some())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_new_field_gets_a_column_and_the_open_batch_keeps_its_shape() {
    let (world, a) = evolving();
    publish(&world, &a, &[r#"{"n":1}"#, r#"{"n":2}"#]);
    publish(&world, &a, &[r#"{"n":3}"#, r#"{"n":4,"city":"Ulm"}"#]);
    publish(&world, &a, &[r#"{"n":5,"city":"Bonn"}"#]);
    settle(&world).await;
    assert_eq!(columns(&world, &a).last().map(String::as_str), Some("city"));
    assert_eq!(commits(&world, &a, "city"), [(2, false), (3, true)]);
    let table = world.sink.table(&a).expect("exists");
    assert_eq!(table.snapshots[0].summary["frazil.commit-trigger"], "schema_change");
    let newest = table.snapshots[1].rows.as_ref().expect("rows");
    let cities = arrow_array::cast::AsArray::as_string::<i32>(newest.column_by_name("city").expect("city")).clone();
    assert_eq!(cities.iter().collect::<Vec<_>>(), [None, Some("Ulm"), Some("Bonn")]);
    assert_eq!((added(&world), updates(&world, "altered")), (1, 1));
    let hour = 1_700_000_000 / 3600;
    assert_eq!(table.properties["frazil.columns-added"], format!("{hour}:1"));
}

#[tokio::test(start_paused = true)]
async fn a_column_that_is_too_narrow_is_widened() {
    let (world, a) = evolving();
    world.sink.create_table(&a, Schema::new(vec![Field::optional(1, "n", Type::Int)]));
    publish(&world, &a, &[r#"{"n":1}"#, r#"{"n":3000000000}"#]);
    settle(&world).await;
    assert_eq!(once(world.sink.ids(&a)), ids(0, 1..2, 2));
    assert_eq!(world.metrics.columns_widened.get_or_create(&world.label()).get(), 1);
    assert!(world.sink.table(&a.dead_letter()).is_none());
    assert!(!world.sink.table(&a).expect("exists").properties.contains_key("frazil.columns-added"));
}

#[tokio::test(start_paused = true)]
async fn ordinary_events_ask_the_catalog_nothing() {
    let (world, a) = evolving();
    let (asked, sink) = (Arc::new(std::sync::Mutex::new(Vec::new())), world.sink.clone());
    let seen = Arc::clone(&asked);
    sink.script(move |op, _| {
        seen.lock().expect("no panic").push(op);
        Fault::None
    });
    for n in 0..20 {
        world.source.publish(&world.shard(), &[request(&a, [n])]);
    }
    settle(&world).await;
    let asked = asked.lock().expect("no panic").clone();
    let all = [Op::Load, Op::Load, Op::Load, Op::Stage, Op::Commit];
    assert_eq!(asked, all, "dead-letter table, table, dead-letter table for it is the first commit, one batch");
}

/// `__id__` cannot be a column: the table has one. Such fields must not make every delivery an occasion.
#[tokio::test(start_paused = true)]
async fn what_can_only_be_captured_is_not_proposed_again_and_again() {
    let (world, a) = evolving();
    let loads = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&loads);
    world.sink.script(move |op, _| {
        count.fetch_add(usize::from(op == Op::Load), std::sync::atomic::Ordering::Relaxed);
        Fault::None
    });
    let run = world.start();
    for _ in 0..8 {
        publish(&world, &a, &[r#"{"n":1,"__id__":"mine"}"#]);
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    let during = loads.load(std::sync::atomic::Ordering::Relaxed);
    assert!(during <= 4, "the three of the start, and one look again: {during}");
    // A field that can be a column comes in the same time: it waits for the end of the pause at most.
    tokio::time::sleep(world.config.table_refresh).await;
    publish(&world, &a, &[r#"{"n":1,"__id__":"mine","city":"Ulm"}"#]);
    world.done().await;
    run.drain().await;
    assert!(columns(&world, &a).contains(&"city".to_owned()));
    assert_eq!(once(world.sink.ids(&a)), ids(0, 1..10, 1));
    assert_eq!(world.sink.table(&a).expect("exists").strings("__extra__"), [r#"{"__id__":"mine"}"#; 9]);
}

/// Otherwise an event that the proxy accepted, because the table can be altered for it, would be a dead letter.
#[tokio::test(start_paused = true)]
async fn an_event_that_would_be_a_letter_is_proposed_also_in_the_pause() {
    let (world, a) = evolving();
    world.sink.create_table(&a, Schema::new(vec![Field::optional(1, "n", Type::Int)]));
    publish(&world, &a, &[r#"{"n":1,"__id__":"mine"}"#]);
    publish(&world, &a, &[r#"{"n":"bad"}"#]);
    publish(&world, &a, &[r#"{"n":3000000000}"#]);
    settle(&world).await;
    assert_eq!(once(world.sink.ids(&a)), ids(0, [1, 3], 1));
    assert_eq!(once(world.sink.ids(&a.dead_letter())), ids(0, 2..3, 1));
}

#[tokio::test(start_paused = true)]
async fn another_writer_was_faster() {
    let (world, a) = evolving();
    publish(&world, &a, &[r#"{"n":1,"city":"Ulm"}"#]);
    let (sink, name, mut done) = (world.sink.clone(), a.clone(), false);
    world.sink.script(move |op, _| {
        if op == Op::Evolve && !std::mem::replace(&mut done, true) {
            sink.alter(&name, |schema, last| schema.fields.push(Field::optional(last + 1, "city", Type::String)));
        }
        Fault::None
    });
    settle(&world).await;
    assert_eq!(commits(&world, &a, "city"), [(1, true)]);
    assert_eq!((updates(&world, "conflict"), updates(&world, "altered"), added(&world)), (1, 0, 0));
    assert_eq!(columns(&world, &a).iter().filter(|name| *name == "city").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn conflicts_that_do_not_end_are_reported_and_waited_out() {
    let (world, a) = evolving();
    publish(&world, &a, &[r#"{"n":1}"#]);
    publish(&world, &a, &[r#"{"n":2,"city":"Ulm"}"#]);
    let (status, mut conflicts) = (world.status.watch(), 0);
    world.sink.script(move |op, _| {
        if op != Op::Evolve {
            return Fault::None;
        }
        // Five are nobody's business; then the open batch is committed, and it is tried again alone.
        assert_eq!(status.borrow().is_ready(), conflicts < 12, "after {conflicts} conflicts");
        conflicts += 1;
        if conflicts <= 20 { Fault::Conflict } else { Fault::None }
    });
    settle(&world).await;
    assert_eq!(commits(&world, &a, "city"), [(1, false), (1, true)]);
    assert!(world.status.watch().borrow().is_ready());
}

/// What is open is committed meanwhile: only the event that needs the catalog waits.
#[tokio::test(start_paused = true)]
async fn a_catalog_that_takes_no_schema_holds_the_delivery_but_not_the_batch() {
    for fault in [Fault::Unavailable, Fault::LoseRequest] {
        let (world, a) = evolving();
        publish(&world, &a, &[r#"{"n":1}"#]);
        publish(&world, &a, &[r#"{"n":2,"city":"Ulm"}"#]);
        world.sink.script(move |op, _| if op == Op::Evolve { fault.clone() } else { Fault::None });
        let run = world.start();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(once(world.sink.ids(&a)), ids(0, 1..2, 1));
        assert_eq!(world.source.stored_progress(&world.shard()).map(|at| at.sequence), Some(1));
        assert!(!world.status.watch().borrow().is_ready());
        world.sink.heal();
        world.done().await;
        assert!(world.status.watch().borrow().is_ready());
        run.drain().await;
        assert_eq!(commits(&world, &a, "city"), [(1, false), (1, true)]);
        assert_eq!(once(world.sink.ids(&a)), ids(0, 1..3, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_found_in_the_table() {
    let (world, a) = evolving();
    publish(&world, &a, &[r#"{"n":2,"city":"Ulm"}"#]);
    world.sink.fault_once(Op::Evolve, &a, Fault::LoseAnswer);
    settle(&world).await;
    assert_eq!(commits(&world, &a, "city"), [(1, true)]);
    assert_eq!(columns(&world, &a).iter().filter(|name| *name == "city").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_crash_around_the_change_neither_loses_nor_repeats() {
    for fault in [Fault::HangBefore, Fault::HangAfter] {
        let (world, a) = evolving();
        publish(&world, &a, &[r#"{"n":1}"#]);
        publish(&world, &a, &[r#"{"n":2,"city":"Ulm"}"#]);
        world.sink.fault_once(Op::Evolve, &a, fault);
        let run = world.start();
        world.sink.hung.notified().await;
        drop(run);
        settle(&world).await;
        assert_eq!(once(world.sink.ids(&a)), ids(0, 1..3, 1));
        assert_eq!(columns(&world, &a).iter().filter(|name| *name == "city").count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_counted_and_the_fields_are_captured() {
    let (world, a) = evolving();
    world.sink.script(|op, _| if op == Op::Evolve { Fault::Rejected } else { Fault::None });
    let run = world.start();
    for _ in 0..5 {
        publish(&world, &a, &[r#"{"n":2,"city":"Ulm"}"#, r#"{"n":"bad"}"#]);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    world.done().await;
    assert_eq!(updates(&world, "rejected"), 1, "once while the pause lasts");
    assert!(world.status.watch().borrow().is_ready());
    // Somebody grants the permission.
    world.sink.heal();
    tokio::time::sleep(world.config.table_refresh).await;
    publish(&world, &a, &[r#"{"n":2,"city":"Ulm"}"#]);
    world.done().await;
    run.drain().await;
    let table = world.sink.table(&a).expect("exists");
    assert_eq!(table.strings("__extra__")[..5], [r#"{"city":"Ulm"}"#; 5]);
    assert!(columns(&world, &a).contains(&"city".to_owned()));
    assert_eq!(once(world.sink.ids(&a.dead_letter())).len(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_hourly_limit_holds_over_restarts_and_ends_with_the_hour() {
    let (mut world, a) = evolving();
    world.definition.policy.columns_per_hour = 2;
    publish(&world, &a, &[r#"{"n":1,"f1":1}"#]);
    settle(&world).await;
    publish(&world, &a, &[r#"{"n":1,"f2":2,"f3":3}"#]);
    settle(&world).await;
    assert_eq!(added(&world), 2);
    let table = world.sink.table(&a).expect("exists");
    assert_eq!(table.columns()[5..], ["f1", "f2"]);
    assert_eq!(table.strings("__extra__"), ["", r#"{"f3":3}"#]);
    assert_eq!(world.metrics.column_limit.get_or_create(&world.label()).get(), 1);
    let run = world.start();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    publish(&world, &a, &[r#"{"n":1,"f3":3}"#]);
    world.done().await;
    run.drain().await;
    assert_eq!(columns(&world, &a)[5..], ["f1", "f2", "f3"]);
    let hour = 1_700_000_000 / 3600 + 1;
    assert_eq!(world.sink.table(&a).expect("exists").properties["frazil.columns-added"], format!("{hour}:1"));
}

#[tokio::test(start_paused = true)]
async fn writers_of_several_shards_add_each_column_once() {
    let mut world = World::new(4);
    world.definition.policy.unknown_fields = UnknownFieldPolicy::Evolve;
    world.config.flush.max_age = Duration::from_millis(200);
    let a = table("a");
    world.sink.create_table(&a, number_schema());
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    for ordinal in 0..4 {
        let mut shared = world.shared();
        shared.config = Arc::new(WriterConfig { ordinal, replicas: 4, ..world.config.clone() });
        tasks.spawn(crate::supervisor::run_stream(shared, Arc::new(world.definition.clone()), stop.clone()));
    }
    for n in 0..10 {
        for shard in world.shards() {
            let event = format!(r#"{{"n":{n},"f{n}":"x"}}"#);
            world.source.publish(&shard, &[Request::new(&a, [event])]);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world.done().await;
    stop.cancel();
    tasks.join_all().await;
    let expected: BTreeSet<String> = (0..4).flat_map(|shard| ids(shard, 1..11, 1)).collect();
    assert_eq!(once(world.sink.ids(&a)), expected);
    assert_eq!((columns(&world, &a).len(), added(&world)), (5 + 10, 10));
    assert!(world.sink.table(&a).expect("exists").strings("__extra__").iter().all(String::is_empty));
}

#[tokio::test(start_paused = true)]
async fn a_user_who_drops_and_adds_columns_under_an_open_batch_stops_nothing() {
    let (world, a) = evolving();
    let run = world.start();
    for n in 0..6 {
        publish(&world, &a, &[r#"{"n":1,"city":"Ulm"}"#]);
        publish(&world, &a, &[r#"{"n":1,"zip":"89073"}"#]);
        tokio::time::sleep(Duration::from_millis(700)).await;
        world.sink.alter(&a, |schema, last| {
            schema.fields.retain(|field| field.name != "city");
            schema.fields.push(Field::optional(last + 1, format!("user{n}"), Type::Double));
        });
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    world.done().await;
    run.drain().await;
    assert_eq!(once(world.sink.ids(&a)), ids(0, 1..13, 1));
    assert!(world.sink.table(&a.dead_letter()).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_dropped_meanwhile_starts_the_pipeline_over() {
    let (world, a) = evolving();
    publish(&world, &a, &[r#"{"n":1,"city":"Ulm"}"#]);
    let (sink, name) = (world.sink.clone(), a.clone());
    world.sink.script(move |op, _| {
        if op == Op::Evolve {
            sink.drop_table(&name);
        }
        Fault::None
    });
    assert_eq!(world.start().abandoned().await.cause(), "table_replaced");
    settle(&world).await;
    assert_eq!(once(world.sink.ids(&a.dead_letter())), ids(0, 1..2, 1));
}

/// What was seen of the table on the way to a refusal counts all the same.
#[tokio::test(start_paused = true)]
async fn a_refusal_after_a_conflict_keeps_what_was_learnt() {
    let (world, a) = evolving();
    world.sink.create_table(&a, Schema::new(vec![Field::optional(1, "n", Type::Int)]));
    publish(&world, &a, &[r#"{"n":1,"__id__":"mine"}"#]);
    publish(&world, &a, &[r#"{"n":3000000000,"city":"Ulm"}"#]);
    let (sink, name, mut calls) = (world.sink.clone(), a.clone(), 0);
    world.sink.script(move |op, _| {
        calls += u32::from(op == Op::Evolve);
        match (op, calls) {
            (Op::Evolve, 1) => sink.alter(&name, |schema, last| {
                schema.fields.retain(|field| field.name != "n");
                schema.fields.push(Field::optional(last + 1, "n", Type::Long));
            }),
            (Op::Evolve, _) => return Fault::Rejected,
            _ => {}
        }
        Fault::None
    });
    settle(&world).await;
    assert_eq!(updates(&world, "conflict"), 1);
    assert_eq!(updates(&world, "rejected"), 2, "other columns are another occasion");
    assert!(world.sink.table(&a.dead_letter()).is_none(), "the event fits the columns that were seen");
    let table = world.sink.table(&a).expect("exists");
    assert_eq!(table.strings("__extra__"), [r#"{"__id__":"mine"}"#, r#"{"city":"Ulm"}"#]);
}

/// Files of the old columns are refused for good: the rows are made anew, for the new ones.
#[tokio::test(start_paused = true)]
async fn a_table_that_refuses_files_and_is_altered_gets_other_files() {
    let (world, a) = evolving();
    publish(&world, &a, &[r#"{"n":1}"#]);
    let (sink, name, mut refusals) = (world.sink.clone(), a.clone(), 0);
    world.sink.script(move |op, table| {
        if op != Op::Stage || *table != name || refusals == 3 {
            return Fault::None;
        }
        refusals += 1;
        if refusals == 3 {
            sink.alter(&name, |schema, last| schema.fields.push(Field::optional(last + 1, "city", Type::String)));
        }
        Fault::Rejected
    });
    assert_eq!(world.start().abandoned().await.cause(), "table_replaced");
    settle(&world).await;
    assert_eq!(commits(&world, &a, "city"), [(1, true)]);
    assert_eq!(once(world.sink.ids(&a)), ids(0, 1..2, 1));
}

/// A schema that Frazil cannot tell the columns of: the known one goes on.
#[tokio::test(start_paused = true)]
async fn a_user_who_makes_the_table_unusable_during_the_change_stops_nothing() {
    let (mut world, a) = evolving();
    world.definition.policy.mapping.case_insensitive = true;
    publish(&world, &a, &[r#"{"n":1,"city":"Ulm"}"#]);
    let (sink, name, mut done) = (world.sink.clone(), a.clone(), false);
    world.sink.script(move |op, _| {
        if op == Op::Evolve && !std::mem::replace(&mut done, true) {
            sink.alter(&name, |schema, last| schema.fields.push(Field::optional(last + 1, "N", Type::Long)));
        }
        Fault::None
    });
    settle(&world).await;
    assert_eq!(once(world.sink.ids(&a)), ids(0, 1..2, 1));
    assert_eq!(world.sink.table(&a).expect("exists").strings("__extra__"), [r#"{"city":"Ulm"}"#]);
}

#[tokio::test(start_paused = true)]
async fn system_columns_are_added_as_the_policy_says() {
    for (policy, expected) in [
        (SystemColumns::All, vec!["n", "__id__", "__ts__", "__write_id__", "__extra__"]),
        (SystemColumns::OnDemand, vec!["n", "__extra__"]),
        (SystemColumns::Never, vec!["n"]),
    ] {
        let mut world = World::new(1);
        world.definition.policy.system_columns = policy;
        let a = table("a");
        world.sink.create_foreign_table(&a, number_schema());
        publish(&world, &a, &[r#"{"n":1}"#]);
        settle(&world).await;
        let before = if policy == SystemColumns::All { 5 } else { 1 };
        assert_eq!(columns(&world, &a).len(), before, "{policy:?}: after an event without unknown fields");
        publish(&world, &a, &[r#"{"n":2,"city":"Ulm"}"#]);
        settle(&world).await;
        assert_eq!(columns(&world, &a), expected, "{policy:?}");
        let letters = world.sink.ids(&a.dead_letter()).len();
        assert_eq!(letters, usize::from(policy == SystemColumns::Never), "{policy:?}");
        assert!(!world.sink.table(&a).expect("exists").properties.contains_key("frazil.columns-added"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_tables_own_policy_wins_also_when_it_changes() {
    let world = World::new(1);
    let a = table("a");
    world.sink.create_table(&a, number_schema());
    let run = world.start();
    let step = async |value: Option<&str>, event: &str| {
        world.sink.set_property(&a, "frazil.unknown-fields", value);
        tokio::time::sleep(world.config.table_refresh + Duration::from_secs(10)).await;
        publish(&world, &a, &[event]);
        world.done().await;
        (columns(&world, &a).len() - 5, world.sink.ids(&a.dead_letter()).len())
    };
    assert_eq!(step(None, r#"{"n":1,"f1":1}"#).await, (0, 0), "captured");
    assert_eq!(step(Some("evolve"), r#"{"n":1,"f2":1}"#).await, (1, 0));
    assert_eq!(step(Some("reject"), r#"{"n":1,"f3":1}"#).await, (1, 1));
    assert_eq!(step(Some("nonsense"), r#"{"n":1,"f4":1}"#).await, (1, 1), "the stream's policy");
    assert_eq!(step(Some("Evolve"), r#"{"n":1,"f5":1}"#).await, (2, 1));
    run.drain().await;
    let extra = world.sink.table(&a).expect("exists").strings("__extra__");
    assert_eq!(extra, [r#"{"f1":1}"#, "", r#"{"f4":1}"#, ""]);
}

/// A policy decides about a batch, not about parts of it.
#[tokio::test(start_paused = true)]
async fn another_policy_waits_for_the_next_batch() {
    let mut world = World::new(1);
    world.config.table_refresh = Duration::ZERO;
    let a = table("a");
    world.sink.create_table(&a, number_schema());
    let run = world.start();
    publish(&world, &a, &[r#"{"n":1,"f1":1}"#]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.sink.set_property(&a, "frazil.unknown-fields", Some("ignore"));
    // A bad event makes the task look at the table; the batch of the old policy is committed first.
    publish(&world, &a, &[r#"{"n":"bad"}"#, r#"{"n":1,"f2":1}"#]);
    world.done().await;
    run.drain().await;
    assert_eq!(commits(&world, &a, "n"), [(1, true), (1, true)]);
    assert_eq!(world.sink.table(&a).expect("exists").strings("__extra__"), [r#"{"f1":1}"#, ""]);
}

#[tokio::test(start_paused = true)]
async fn repeats_are_no_reason_to_alter_a_table() {
    let (world, a) = evolving();
    let first = Request::new(&a, [r#"{"n":1}"#]);
    world.source.publish(&world.shard(), &[keyed(1, first)]);
    let repeat = Request::new(&a, [r#"{"n":1,"never":1}"#, r#"{"n":2}"#]);
    world.source.publish(&world.shard(), &[keyed(1, repeat)]);
    settle(&world).await;
    assert_eq!((columns(&world, &a).len(), updates(&world, "altered")), (5, 0));
    assert_eq!(world.sink.ids(&a).len(), 2);
}

/// The change of the schema is no part of what a checkpoint covers: reading all again gives the same rows.
#[tokio::test(start_paused = true)]
async fn a_replay_from_the_beginning_adds_nothing() {
    let (world, a) = evolving();
    publish(&world, &a, &[r#"{"n":1,"f1":1}"#]);
    settle(&world).await;
    let incarnation = frazil_core::checkpoint::Incarnation(7);
    world.source.set_stored_progress(&world.shard(), Progress { incarnation, sequence: 0, at: None });
    publish(&world, &a, &[r#"{"n":1,"f1":2}"#]);
    settle(&world).await;
    assert_eq!(once(world.sink.ids(&a)), ids(0, 1..3, 1));
    assert_eq!(columns(&world, &a).len(), 6);
}
