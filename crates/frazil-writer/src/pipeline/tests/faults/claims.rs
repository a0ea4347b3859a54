//! A writer is about to commit letters, for a table that another one begins to fill with rows.

use super::*;
use crate::sink::fake::Op;

/// What the two disagree about.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    /// There was no table, and now there is.
    Created,
    /// It is another table of the same name, with a schema that takes the letter.
    Replaced,
}

fn text_schema() -> Schema {
    Schema::new(vec![Field::required(1, "n", Type::String)])
}

/// The step of the zombie that is held, whether letters were written before, and what the zombie ends by.
const CASES: [(Op, bool, &str); 3] =
    [(Op::Create, false, "table_replaced"), (Op::Commit, false, "fenced"), (Op::Commit, true, "fenced")];

async fn check(change: Change, (op, letters_before, end): (Op, bool, &str), after_the_work: bool) {
    let about = format!("{change:?}, {op:?} held, after the work: {after_the_work}, letters before: {letters_before}");
    // Given a message whose event is a letter, of a table that does not exist or does not take it.
    let (world, a, shard) = (World::new(1), table("a"), World::new(1).shard());
    let letters = a.dead_letter();
    if change == Change::Replaced {
        world.sink.create_table(&a, number_schema());
    }
    if letters_before {
        world.source.publish(&shard, &[bad(&a)]);
        let run = world.start();
        world.done().await;
        run.drain().await;
    }
    world.source.publish(&shard, &[bad(&a)]);
    // When its commit is held, the table comes to be, and an heir commits everything.
    let gate = Gate::new();
    let fault = if after_the_work { Fault::HoldAfter(gate.clone()) } else { Fault::HoldBefore(gate.clone()) };
    world.sink.fault_once(op, &letters, fault);
    let zombie = world.start();
    gate.reached().await;
    world.sink.create_table(&a, text_schema());
    let heir = world.start();
    world.done().await;
    gate.open();
    // Then each event is in one place, and the zombie knows that it is none of its business any more.
    if op == Op::Commit && after_the_work {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(zombie);
    } else {
        assert_eq!(zombie.abandoned().await.cause(), end, "{about}");
    }
    heir.drain().await;
    let (rows, written) = (once(world.sink.ids(&a)), once(world.sink.ids(&letters)));
    assert_eq!(rows.intersection(&written).next(), None, "{about}: a row is a letter as well");
    let all: BTreeSet<String> = rows.union(&written).cloned().collect();
    assert_eq!(all, ids(0, 1..2 + u64::from(letters_before), 1), "{about}");
    world.sink.history(|history| assert_eq!(history.violations(), [""; 0], "{about}"));
}

#[tokio::test(start_paused = true)]
async fn an_event_does_not_become_a_letter_and_a_row_of_a_table_that_comes_to_be() {
    for change in [Change::Created, Change::Replaced] {
        for case in CASES {
            for after_the_work in [false, true] {
                check(change, case, after_the_work).await;
            }
        }
    }
}

/// The claim is a commit like others: its answer may be lost, and whoever makes it may die.
#[tokio::test(start_paused = true)]
async fn a_claim_may_fail_in_any_way() {
    for when in everything() {
        let about = format!("{when:?}");
        let (world, a, shard) = (World::new(1), table("a"), World::new(1).shard());
        world.source.publish(&shard, &[request(&a, [1])]);
        let run = world.start();
        world.done().await;
        run.drain().await;
        assert_eq!(once(world.sink.ids(&a.dead_letter())), ids(0, 1..2, 1), "no table, but letters");
        world.sink.create_table(&a, number_schema());
        world.source.publish(&shard, &[request(&a, [2])]);
        let (fault, gate) = fault_of(&when);
        world.sink.fault_once(Op::Commit, &a.dead_letter(), fault);
        let mut run = world.start();
        match when {
            When::Once(_) => {}
            When::Held { .. } => {
                gate.reached().await;
                assert_eq!(world.sink.ids(&a).len(), 0, "{about}");
                gate.open();
            }
            When::Crash(_) => {
                world.sink.hung.notified().await;
                drop(run);
                run = world.start();
            }
        }
        world.done().await;
        run.drain().await;
        assert_eq!(once(world.sink.ids(&a)), ids(0, 2..3, 1), "{about}");
        assert_eq!(once(world.sink.ids(&a.dead_letter())), ids(0, 1..2, 1), "{about}");
        let claim =
            world.sink.table(&a.dead_letter()).expect("exists").properties[&shard.letters_of_property()].clone();
        assert_eq!(claim, world.sink.table(&a).expect("exists").uuid.to_string(), "{about}");
    }
}
