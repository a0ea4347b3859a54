//! The seam to the log.

use super::*;
use crate::source::fake::LogOp;

const OPERATIONS: [LogOp; 7] =
    [LogOp::Describe, LogOp::Open, LogOp::Next, LogOp::Progress, LogOp::SaveProgress, LogOp::Announce, LogOp::Purge];

/// While an operation is held: what comes before it is done, what comes after is not.
fn then_nothing_is_ahead(given: &Given, op: LogOp, after_the_work: bool, about: &str) {
    let rows = given.world.sink.ids(&given.table).len();
    let reading = matches!(op, LogOp::Describe | LogOp::Open | LogOp::Next | LogOp::Progress);
    assert_eq!(rows, if reading { 0 } else { 4 }, "{about}: rows");
    let kept = match op {
        LogOp::SaveProgress => after_the_work,
        LogOp::Announce | LogOp::Purge => true,
        _ => false,
    };
    assert_eq!(given.stored(), if kept { 2 } else { 0 }, "{about}: the watermark");
    let freed = op == LogOp::Purge && after_the_work || op == LogOp::Announce;
    assert_eq!(given.world.source.first(&given.world.shard()) != Some(1), freed, "{about}: what is freed");
}

async fn check(op: LogOp, when: When) {
    let about = format!("{op:?}, {when:?}");
    let mut given = Given::new();
    given.publish();
    let (fault, gate) = fault_of(&when);
    given.world.source.fault_once(op, fault);
    let mut run = given.world.start();
    match when {
        When::Once(_) => {}
        When::Held { after_the_work } => {
            gate.reached().await;
            tokio::time::sleep(Duration::from_secs(30)).await;
            then_nothing_is_ahead(&given, op, after_the_work, &about);
            gate.open();
        }
        When::Crash(_) => {
            given.world.source.hung.notified().await;
            drop(run);
            run = given.world.start();
        }
    }
    given.world.done().await;
    given.then_it_goes_on(run, &about).await;
}

#[tokio::test(start_paused = true)]
async fn any_operation_of_the_log_may_fail_in_any_way() {
    for op in OPERATIONS {
        for when in everything() {
            check(op, when).await;
        }
    }
}

/// What was judged once must not be judged again: a key would then seem to be a repeat of itself.
#[tokio::test(start_paused = true)]
async fn messages_that_come_again_are_not_judged_again() {
    let world = World::new(1);
    let a = table("a");
    world.sink.create_table(&a, number_schema());
    for n in 0..20 {
        world.source.publish(&world.shard(), &[keyed(n, request(&a, [1, 2])), request(&a, [3])]);
    }
    let mut messages = 0;
    world.source.script(move |op, _| {
        messages += u32::from(op == LogOp::Next);
        if op == LogOp::Next && messages % 5 == 4 { Fault::LoseAnswer } else { Fault::None }
    });
    let run = world.start();
    world.done().await;
    run.drain().await;
    assert_eq!(once(world.sink.ids(&a)), ids(0, 1..21, 3));
    assert_eq!(world.metrics.repeats.get_or_create(&world.label()).get(), 0);
    assert!(world.source.full_reads() > 20, "messages came again");
}

/// However long it takes, and wherever the writer is when it begins.
#[tokio::test(start_paused = true)]
async fn an_outage_of_everything_only_takes_its_time() {
    for begin in 0..12 {
        let mut given = Given::new();
        let run = given.world.start();
        tokio::time::sleep(Duration::from_millis(begin * 700)).await;
        given.world.source.script(|_, _| Fault::Unavailable);
        given.world.sink.script(|_, _| Fault::Unavailable);
        given.publish();
        tokio::time::sleep(Duration::from_secs(120)).await;
        given.world.source.heal();
        given.world.sink.heal();
        given.world.done().await;
        given.then_it_goes_on(run, &format!("an outage after {begin}")).await;
    }
}

/// Two writers have one ordinal, and the slower one finds that what it wanted to read is committed and gone.
#[tokio::test(start_paused = true)]
async fn what_another_writer_has_freed_is_no_loss() {
    for op in [LogOp::Describe, LogOp::Progress, LogOp::Open, LogOp::Next] {
        let mut given = Given::new();
        given.publish();
        let gate = Gate::new();
        given.world.source.fault_once(op, Fault::HoldAfter(gate.clone()));
        let slow = start_stream(&given.world);
        gate.reached().await;
        let fast = given.world.start();
        given.publish();
        given.world.done().await;
        let freed = given.world.source.until(|| is_freed(&given.world));
        tokio::time::timeout(given.world.config.purge_interval * 3, freed).await.expect("what is committed is freed");
        fast.drain().await;
        gate.open();
        given.publish();
        given.world.done().await;
        let lost = given.world.metrics.missing_messages.get_or_create(&given.world.label()).get();
        assert_eq!(lost, 0, "{op:?}");
        given.then_all_is_there(&format!("{op:?}"));
        slow.1.cancel();
        slow.0.join_all().await;
    }
}

/// Keys that come between a description of the log and the watermark must be known as well.
#[tokio::test(start_paused = true)]
async fn the_window_reaches_up_to_the_watermark_also_if_the_log_grows_meanwhile() {
    for op in [LogOp::Describe, LogOp::Progress, LogOp::Open, LogOp::Next] {
        let (world, a) = (World::new(1), table("a"));
        world.sink.create_table(&a, number_schema());
        world.source.publish(&world.shard(), &[keyed(1, request(&a, [1]))]);
        let gate = Gate::new();
        world.source.fault_once(op, Fault::HoldAfter(gate.clone()));
        let slow = start_stream(&world);
        gate.reached().await;
        let fast = world.start();
        world.source.publish(&world.shard(), &[keyed(2, request(&a, [2]))]);
        world.done().await;
        fast.drain().await;
        gate.open();
        world.source.publish(&world.shard(), &[keyed(2, request(&a, [2]))]);
        world.done().await;
        slow.1.cancel();
        slow.0.join_all().await;
        assert_eq!(once(world.sink.ids(&a)), ids(0, 1..3, 1), "{op:?}");
    }
}

/// Whether the first two messages are gone.
fn is_freed(world: &World) -> bool {
    world.source.first(&world.shard()).is_none_or(|first| first > 2)
}

/// A writer as it runs in reality: it starts over when it must.
fn start_stream(world: &World) -> (JoinSet<frazil_core::StreamName>, CancellationToken) {
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    tasks.spawn(crate::supervisor::run_stream(world.shared(), Arc::new(world.definition.clone()), stop.clone()));
    (tasks, stop)
}
