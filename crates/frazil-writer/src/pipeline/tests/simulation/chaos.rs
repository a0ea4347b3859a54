//! What may go wrong between the writers, the log and the catalog.

use std::sync::Mutex;

use tokio::time::Instant;

use super::tally::Tally;
use super::users::Users;
use super::{Arc, Duration, Random, World};
use crate::faults::Fault;
use crate::sink::fake::Op;
use crate::source::fake::LogOp;

/// Longest a request goes on after its sender has given up, in milliseconds.
const LATE_MS: u64 = 400;

/// The faults of one history.
#[derive(Clone)]
pub(super) struct Chaos {
    /// One operation in so many is hit.
    rarity: u64,
    /// Whether operations may never end, so that only a crash helps. Else they end after seconds at most.
    hangs: bool,
    catalog_down: Arc<Mutex<Option<Instant>>>,
    log_down: Arc<Mutex<Option<Instant>>>,
    tally: Tally,
}

impl Chaos {
    pub(super) fn new(hangs: bool, random: &mut Random, tally: &Tally) -> Self {
        let (catalog_down, log_down, tally) = (Arc::default(), Arc::default(), tally.clone());
        Self { rarity: 4 + random.below(20), hangs, catalog_down, log_down, tally }
    }

    /// From now on operations are hit, and users come in between.
    pub(super) fn unleash(&self, world: &World, users: Users, random: &mut Random) {
        let (chaos, mut random_sink) = (self.clone(), Random(random.next()));
        world.sink.script(move |op, _| {
            users.act_between(&mut random_sink);
            chaos.catalog(op, &mut random_sink)
        });
        let (chaos, mut random_log) = (self.clone(), Random(random.next()));
        world.source.script(move |op, _| chaos.log(op, &mut random_log));
    }

    /// Nothing is reached for a while, mostly a long one.
    pub(super) fn outage(&self, random: &mut Random) {
        let until = Instant::now() + Duration::from_millis(100 + random.below(60_000));
        let (down, kind) = match random.one_in(2) {
            true => (&self.catalog_down, "catalog: outage"),
            false => (&self.log_down, "log: outage"),
        };
        self.tally.note(kind);
        *down.lock().expect("no panic") = Some(until);
    }

    fn is_down(until: &Mutex<Option<Instant>>) -> bool {
        until.lock().expect("no panic").is_some_and(|until| Instant::now() < until)
    }

    fn catalog(&self, op: Op, random: &mut Random) -> Fault {
        if Self::is_down(&self.catalog_down) {
            return Fault::Unavailable;
        }
        if !random.one_in(self.rarity) {
            return Fault::None;
        }
        let deed = matches!(op, Op::Commit | Op::Evolve | Op::Create);
        let (kind, fault) = match random.below(10) {
            0 | 1 if deed => ("catalog: request lost", Fault::LoseRequest),
            2 | 3 if deed => ("catalog: answer lost", Fault::LoseAnswer),
            4 if deed => ("catalog: request late", Fault::Late(random.millis(LATE_MS))),
            5 if op == Op::Evolve => ("catalog: conflict", Fault::Conflict),
            6 if op == Op::Evolve || random.one_in(4) => ("catalog: refuses for good", Fault::Rejected),
            7 => ("catalog: delayed", Fault::DelayBefore(random.millis(3000))),
            8 => ("catalog: answer late", Fault::DelayAfter(random.millis(3000))),
            9 if self.hangs => ("catalog: hangs", hang(random)),
            _ => ("catalog: unavailable", Fault::Unavailable),
        };
        self.tally.note(kind);
        fault
    }

    fn log(&self, op: LogOp, random: &mut Random) -> Fault {
        if Self::is_down(&self.log_down) {
            return Fault::Unavailable;
        }
        let rarity = if op == LogOp::Next { 10 * self.rarity } else { self.rarity };
        if !random.one_in(rarity) {
            return Fault::None;
        }
        let write = matches!(op, LogOp::SaveProgress | LogOp::Purge | LogOp::Announce);
        let (kind, fault) = match random.below(8) {
            0 | 1 if op == LogOp::Next => ("log: messages again", Fault::LoseAnswer),
            0 if write => ("log: answer lost", Fault::LoseAnswer),
            1 if write => ("log: request late", Fault::Late(random.millis(LATE_MS))),
            2 => ("log: refuses for good", Fault::Rejected),
            3 => ("log: delayed", Fault::DelayBefore(random.millis(2000))),
            4 => ("log: answer late", Fault::DelayAfter(random.millis(2000))),
            5 if self.hangs => ("log: hangs", hang(random)),
            _ => ("log: unavailable", Fault::Unavailable),
        };
        self.tally.note(kind);
        fault
    }
}

fn hang(random: &mut Random) -> Fault {
    if random.one_in(2) { Fault::HangBefore } else { Fault::HangAfter }
}
