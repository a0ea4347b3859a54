//! Events that no table takes: without a route, without sense, in any number.

use frazil_core::envelope::Unroutable;

use super::*;
use crate::dead_letter::dead_letter_schema;
use crate::flush::BATCH_LETTERS_MAX;
use crate::metrics::CauseLabel;
use crate::sink::fake::{Fault, Op};

/// A section as the proxy makes it of events that it found no table for.
fn unroutable(world: &World, events: &[&str]) -> Request {
    let table = TableName::catch_all("lake", &world.definition.name).expect("valid");
    let why = Unroutable { field: "event_type".to_owned(), message: "expected a string".to_owned() };
    let request = Request::new(&table, events.iter().copied());
    Request { unroutable: Some(why), request_key: Some("order-7".to_owned()), ..request }
}

fn letters(world: &World, reason: &'static str) -> u64 {
    let label = CauseLabel { stream: world.definition.name.to_string(), cause: reason };
    world.metrics.dead_letters.get_or_create(&label).get()
}

#[tokio::test(start_paused = true)]
async fn unroutable_events_are_letters_whatever_tables_there_are() {
    for exists in [false, true] {
        let world = World::new(1);
        let section = unroutable(&world, &[r#"{"n":1}"#, r#"{"n":2}"#]);
        let (a, catch_all) = (table("a"), section.table.clone());
        world.sink.create_table(&a, number_schema());
        if exists {
            world.sink.create_table(&catch_all, number_schema());
        }
        let loads = Arc::new(std::sync::Mutex::new(0));
        let (count, name) = (Arc::clone(&loads), catch_all.clone());
        world.sink.script(move |op, table| {
            *count.lock().expect("no panic") += u32::from(op == Op::Load && *table == name);
            Fault::None
        });
        world.source.publish(&world.shard(), &[request(&a, [1]), section]);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let run = world.start();
        world.done().await;
        run.drain().await;
        assert_eq!(once(world.sink.ids(&a)), ids(0, 1..2, 1));
        let dead = world.sink.table(&catch_all.dead_letter()).expect("created on demand");
        assert_eq!(dead.ids(), [1, 2].map(|index| format!("{:016x}-0-1-{index}", 7)));
        assert_eq!(dead.strings("reason"), ["unroutable"; 2]);
        assert_eq!(dead.strings("field"), ["event_type"; 2]);
        assert_eq!(dead.strings("message"), ["expected a string"; 2]);
        assert_eq!(dead.strings("request_key"), ["order-7"; 2]);
        assert_eq!(dead.strings("payload"), [r#"{"n":1}"#, r#"{"n":2}"#]);
        assert!(world.sink.ids(&catch_all).is_empty(), "no rows, table or not");
        assert_eq!(letters(&world, "unroutable"), 2);
    }
}

/// The reason is in the message itself, so that a recovery finds it again.
#[tokio::test(start_paused = true)]
async fn an_unroutable_event_that_is_recovered_keeps_its_reason() {
    let world = World::new(1);
    let section = unroutable(&world, &[r#"{"n":1}"#]);
    let catch_all = section.table.clone();
    world.sink.create_table(&catch_all, number_schema());
    world.source.publish(&world.shard(), &[section]);
    world.sink.fault_once(Op::Commit, &catch_all.dead_letter(), Fault::HangBefore);
    let run = world.start();
    world.sink.hung.notified().await;
    drop(run);
    let run = world.start();
    world.done().await;
    run.drain().await;
    let dead = world.sink.table(&catch_all.dead_letter()).expect("exists");
    assert_eq!(
        (dead.strings("reason"), dead.strings("request_key")),
        (vec!["unroutable".into()], vec!["order-7".into()])
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_table_from_before_request_keys_goes_on() {
    let world = World::new(1);
    let a = table("a");
    world.sink.create_table(&a, number_schema());
    let mut schema = dead_letter_schema();
    schema.fields.pop_if(|field| field.name == "request_key").expect("the last column");
    world.sink.create_foreign_table(&a.dead_letter(), schema);
    world.source.publish(&world.shard(), &[Request { request_key: Some("k".to_owned()), ..bad(&a) }]);
    let run = world.start();
    world.done().await;
    run.drain().await;
    assert_eq!(once(world.sink.ids(&a.dead_letter())), ids(0, 1..2, 1));
}

/// With `on_invalid = dead_letter` lines come that are no JSON, and no text.
#[tokio::test(start_paused = true)]
async fn lines_that_are_no_events_are_letters_as_they_came() {
    let world = World::new(1);
    let a = table("a");
    world.sink.create_table(&a, number_schema());
    let lines: [&[u8]; 8] =
        [b"{\"n\":1}", b"not json", b"\xff\xfe", b"{\"n\":\xff}", b"", b"{\"n\":1}}", b"\0", b"{\"n\":2}\r"];
    world.source.publish(&world.shard(), &[Request::new(&a, lines)]);
    let run = world.start();
    world.done().await;
    run.drain().await;
    let id = |index| format!("{:016x}-0-1-{index}", 7);
    assert_eq!(once(world.sink.ids(&a)), BTreeSet::from([id(0), id(7)]));
    let dead = world.sink.table(&a.dead_letter()).expect("exists");
    assert_eq!(dead.ids(), [1, 2, 3, 4, 5, 6].map(id));
    assert_eq!(dead.strings("payload"), ["not json", "//4=", "eyJuIjr/fQ==", "", "{\"n\":1}}", "\0"]);
    assert!(dead.strings("reason").iter().all(|reason| !reason.is_empty()));
}

/// A hundred thousand events that are all invalid: letters in bounded batches, and the good table does not wait.
#[tokio::test(start_paused = true)]
async fn a_poison_batch_does_not_stall_the_shard() {
    let mut world = World::new(1);
    world.config.memory_bytes = 32 << 20;
    world.definition.policy.unknown_fields = frazil_core::policy::UnknownFieldPolicy::Evolve;
    let (a, b) = (table("a"), table("b"));
    world.sink.create_table(&a, number_schema());
    world.sink.create_table(&b, number_schema());
    for n in 0..20 {
        world.source.publish(&world.shard(), &[Request::new(&a, vec!["x"; 5000]), request(&b, [n])]);
    }
    let shared = world.shared();
    let (budget, peak) = (shared.budget.clone(), Arc::new(std::sync::Mutex::new(0)));
    let most = Arc::clone(&peak);
    world.sink.script(move |_, _| {
        let mut most = most.lock().expect("no panic");
        *most = budget.used_bytes().max(*most);
        Fault::None
    });
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    tasks.spawn(crate::supervisor::run_stream(shared, Arc::new(world.definition.clone()), stop.clone()));
    let started = std::time::Instant::now();
    world.done().await;
    stop.cancel();
    tasks.join_all().await;
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    assert_eq!(once(world.sink.ids(&a.dead_letter())).len(), 100_000);
    assert_eq!(world.sink.ids(&b).len(), 20);
    let dead = world.sink.table(&a.dead_letter()).expect("exists");
    let largest = dead.snapshots.iter().filter_map(|s| s.rows.as_ref()).map(|rows| rows.num_rows()).max();
    assert!(largest.is_some_and(|rows| rows < BATCH_LETTERS_MAX + 5000), "{largest:?}");
    let counted = *peak.lock().expect("no panic");
    assert!(counted >= 5000 * size_of::<crate::dead_letter::DeadLetter>(), "letters count: {counted}");
}
