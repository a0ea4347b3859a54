//! The seam to the tables.

use super::*;
use crate::sink::fake::Op;

/// Where a step happens.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Table,
    Letters,
}

/// The commit path, in order.
const STEPS: [(Op, Place); 8] = [
    (Op::Load, Place::Letters),
    (Op::Load, Place::Table),
    (Op::Evolve, Place::Table),
    (Op::Stage, Place::Table),
    (Op::Commit, Place::Table),
    (Op::Create, Place::Letters),
    (Op::Stage, Place::Letters),
    (Op::Commit, Place::Letters),
];

/// What must come of one operation with one fault, besides everything being there once.
#[derive(Debug, PartialEq)]
struct Then {
    /// Commits found in the table whose answer was lost.
    adopted: u64,
    /// Failures that were counted.
    failures: u64,
}

fn then(op: Op, when: &When) -> Then {
    let deed = op == Op::Commit;
    let (adopted, failures) = match when {
        When::Held { .. } | When::Once(Fault::DelayBefore(_) | Fault::DelayAfter(_)) => (0, 0),
        // It is known afterwards what came of it, but by another look at the table only.
        When::Once(Fault::LoseAnswer | Fault::Late(_)) => (u64::from(deed), 1),
        // The table stays as it is for now, and the field is captured.
        When::Once(Fault::Rejected) if op == Op::Evolve => (0, 0),
        When::Once(_) => (0, 1),
        // The next writer finds the checkpoint; it need not know whose commit it was.
        When::Crash(_) => (0, 0),
    };
    Then { adopted, failures }
}

fn failures(given: &Given) -> u64 {
    let label = |cause| CauseLabel { stream: given.world.definition.name.to_string(), cause };
    let of = |cause| given.world.metrics.failures.get_or_create(&label(cause)).get();
    ["unavailable", "rejected", "unknown", "conflict"].map(of).iter().sum()
}

/// While an operation is held, nothing after it counts as done.
fn then_nothing_is_ahead(given: &Given, op: Op, place: Place, after_the_work: bool, about: &str) {
    let (world, shard) = (&given.world, given.world.shard());
    let step = STEPS.iter().position(|step| *step == (op, place)).expect("it is listed");
    let decided = world.checkpoint(&given.table, &shard);
    assert_eq!(decided.is_some(), step > 4 || (step == 4 && after_the_work), "{about}: rows and checkpoint");
    let written = world.sink.ids(&given.table.dead_letter()).len();
    assert_eq!(written, usize::from(step == 7 && after_the_work), "{about}: letters");
    assert_eq!(given.stored(), 0, "{about}: the watermark");
    assert_eq!(world.source.notices().len(), 0, "{about}: announcements");
}

async fn check(op: Op, place: Place, when: When) {
    let about = format!("{op:?} of {place:?}, {when:?}");
    let mut given = Given::new();
    let name = if place == Place::Table { given.table.clone() } else { given.table.dead_letter() };
    let (fault, gate) = fault_of(&when);
    given.world.sink.fault_once(op, &name, fault);
    let mut run = given.world.start();
    match when {
        When::Once(_) => {}
        When::Held { after_the_work } => {
            gate.reached().await;
            tokio::time::sleep(Duration::from_secs(30)).await;
            then_nothing_is_ahead(&given, op, place, after_the_work, &about);
            gate.open();
        }
        When::Crash(_) => {
            given.world.sink.hung.notified().await;
            drop(run);
            run = given.world.start();
        }
    }
    given.world.done().await;
    let found = Then { adopted: given.adopted(), failures: failures(&given) };
    assert_eq!(found, then(op, &when), "{about}");
    given.then_it_goes_on(run, &about).await;
}

#[tokio::test(start_paused = true)]
async fn any_step_of_a_commit_may_fail_in_any_way() {
    for (op, place) in STEPS {
        for when in everything() {
            check(op, place, when).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_schema_that_loses_a_race_is_thought_out_anew() {
    let mut given = Given::new();
    given.world.sink.fault_once(Op::Evolve, &given.table, Fault::Conflict);
    let run = given.world.start();
    given.world.done().await;
    assert!(given.world.sink.table(&given.table).expect("exists").columns().contains(&"city".to_owned()));
    given.then_it_goes_on(run, "conflict").await;
}

/// The request is given up and lands only after another writer has committed the same events.
#[tokio::test(start_paused = true)]
async fn a_late_commit_that_is_overtaken_never_lands() {
    for place in [Place::Table, Place::Letters] {
        let mut given = Given::new();
        let name = if place == Place::Table { given.table.clone() } else { given.table.dead_letter() };
        given.world.sink.fault_once(Op::Commit, &name, Fault::Late(Duration::from_secs(60)));
        let zombie = given.world.start();
        given.world.sink.table(&name);
        tokio::time::sleep(Duration::from_secs(6)).await;
        drop(zombie);
        let run = given.world.start();
        given.world.done().await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        given.then_it_goes_on(run, &format!("{place:?}")).await;
    }
}
