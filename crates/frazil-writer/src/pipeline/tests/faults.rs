//! Every step of the commit path, and of reading, times everything that may happen to it: exactly once in the end,
//! nothing counts as done before it is, and the run goes on.

mod catalog;
mod claims;
mod log;

use super::*;
use crate::faults::{Fault, Gate};
use crate::metrics::CauseLabel;

/// A stream whose table gets a column for a new field, and a letter: everything a commit can be about.
struct Given {
    world: World,
    table: TableName,
    messages: Sequence,
}

/// What happens to an operation, and what it takes to go on.
#[derive(Debug, Clone, PartialEq)]
enum When {
    /// The operation fails, or takes its time.
    Once(Fault),
    /// It waits for the test.
    Held { after_the_work: bool },
    /// It never ends, and the writer dies.
    Crash(Fault),
}

/// All there is in the vocabulary.
fn everything() -> Vec<When> {
    let time = Duration::from_secs(3);
    let once = [
        Fault::Unavailable,
        Fault::Rejected,
        Fault::LoseRequest,
        Fault::LoseAnswer,
        Fault::Late(Duration::from_millis(50)),
        Fault::DelayBefore(time),
        Fault::DelayAfter(time),
    ];
    let held = [false, true].map(|after_the_work| When::Held { after_the_work });
    let crashes = [Fault::HangBefore, Fault::HangAfter].map(When::Crash);
    once.map(When::Once).into_iter().chain(held).chain(crashes).collect()
}

impl Given {
    fn new() -> Self {
        let mut world = World::new(1);
        world.definition.policy.unknown_fields = frazil_core::policy::UnknownFieldPolicy::Evolve;
        let table = table("a");
        world.sink.create_table(&table, number_schema());
        let mut given = Self { world, table, messages: 0 };
        given.publish();
        given
    }

    /// Two rows, one of them with a field that is a new column the first time, and a letter.
    fn publish(&mut self) {
        let events = [r#"{"n":1}"#, r#"{"n":2,"city":"Ulm"}"#, r#"{"n":"x"}"#];
        self.world.source.publish(&self.world.shard(), &[Request::new(&self.table, events)]);
        self.messages += 1;
    }

    fn stored(&self) -> Sequence {
        self.world.source.stored_progress(&self.world.shard()).map_or(0, |stored| stored.sequence)
    }

    fn restarts(&self) -> u64 {
        let label = |cause| CauseLabel { stream: self.world.definition.name.to_string(), cause };
        let of = |cause| self.world.metrics.restarts.get_or_create(&label(cause)).get();
        ["fenced", "table_replaced", "shard", "panic"].map(of).iter().sum()
    }

    fn adopted(&self) -> u64 {
        self.world.metrics.adopted.get_or_create(&self.world.label()).get()
    }

    /// All that was published is there once, and counts as done; nobody is worried.
    fn then_all_is_there(&self, about: &str) {
        let (world, shard, all) = (&self.world, self.world.shard(), 1..=self.messages);
        let id = |sequence, index| format!("{:016x}-0-{sequence}-{index}", 7);
        let rows: BTreeSet<String> = all.clone().flat_map(|sequence| [id(sequence, 0), id(sequence, 1)]).collect();
        let letters: BTreeSet<String> = all.map(|sequence| id(sequence, 2)).collect();
        assert_eq!(once(world.sink.ids(&self.table)), rows, "{about}");
        assert_eq!(once(world.sink.ids(&self.table.dead_letter())), letters, "{about}");
        for table in [&self.table, &self.table.dead_letter()] {
            assert_eq!(world.checkpoint(table, &shard), Some(self.messages), "{about}: {table}");
        }
        assert_eq!(self.stored(), self.messages, "{about}");
        assert!(world.status.watch().borrow().is_ready(), "{about}");
        world.sink.history(|history| assert_eq!(history.violations(), [""; 0], "{about}"));
    }

    /// The same after one more message: the run goes on, and nothing was begun anew.
    async fn then_it_goes_on(&mut self, run: Run, about: &str) {
        self.then_all_is_there(about);
        self.publish();
        self.world.done().await;
        run.drain().await;
        self.then_all_is_there(about);
        assert_eq!(self.restarts(), 0, "{about}");
    }
}

/// The fault, and the gate that the test opens, if there is one.
fn fault_of(when: &When) -> (Fault, Gate) {
    let gate = Gate::new();
    let fault = match when {
        When::Once(fault) | When::Crash(fault) => fault.clone(),
        When::Held { after_the_work: false } => Fault::HoldBefore(gate.clone()),
        When::Held { after_the_work: true } => Fault::HoldAfter(gate.clone()),
    };
    (fault, gate)
}
