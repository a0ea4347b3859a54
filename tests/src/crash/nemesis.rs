//! Injects faults at random times, several at once, and heals them.
//!
//! Every fault names what it takes; two faults never take the same part at the same time, all else may coincide. The
//! seed decides kinds, victims and durations; what a given moment finds free depends on the machine, so a seed repeats
//! the mix and not every interleaving.

mod bag;
mod faults;
mod kind;
mod plan;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use kind::{Group, Kind};

use super::journal::now_ms;
use super::topology::World;
use bag::Bag;
use plan::Planned;

/// Faults at the same time.
const SLOTS: u64 = 3;
/// The longest time a slot rests between two faults.
const LONGEST_REST: Duration = Duration::from_secs(4);

/// A fault that was injected and healed.
#[derive(Debug, Clone, Serialize)]
pub struct Injected {
    /// Its kind.
    pub kind: Kind,
    /// What exactly was done.
    pub what: String,
    /// When it began, in milliseconds since the Unix epoch.
    pub from_ms: u64,
    /// When it was healed.
    pub healed_ms: u64,
}

/// The faults of a run.
#[derive(Debug)]
pub struct Nemesis {
    world: Arc<World>,
    bag: Mutex<Bag>,
    taken: Mutex<BTreeSet<String>>,
    done: Mutex<Vec<Injected>>,
    stop: CancellationToken,
    seed: u64,
}

impl Nemesis {
    /// Faults of these kinds, until `stop`.
    pub fn new(world: Arc<World>, kinds: &[Kind], seed: u64, stop: CancellationToken) -> Arc<Self> {
        let bag = Mutex::new(Bag::new(kinds, seed));
        Arc::new(Self { world, bag, taken: Mutex::default(), done: Mutex::default(), stop, seed })
    }

    /// Faults injected and healed so far.
    pub fn injected(&self) -> Vec<Injected> {
        self.done.lock().expect("no panic while held").clone()
    }

    /// Heals what is injected, and injects no more.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Injects and heals until told to stop; returns when everything is healed.
    pub async fn run(self: Arc<Self>) {
        let mut slots = JoinSet::new();
        for slot in 0..SLOTS {
            let nemesis = self.clone();
            slots.spawn(async move { nemesis.slot(slot).await });
        }
        while let Some(done) = slots.join_next().await {
            done.expect("a slot does not panic");
        }
    }

    async fn slot(&self, slot: u64) {
        let mut rng = StdRng::seed_from_u64(self.seed.wrapping_mul(31).wrapping_add(slot));
        while !self.stop.is_cancelled() {
            self.pause(rng.random_range(Duration::from_millis(300)..LONGEST_REST)).await;
            let Some(kind) = self.bag.lock().expect("no panic while held").draw() else { return };
            match plan::plan(kind, &mut rng, &self.world).await {
                Some(planned) if !self.stop.is_cancelled() && self.take(&planned) => self.inject(planned).await,
                // What it needs is taken: its turn comes again.
                _ => self.bag.lock().expect("no panic while held").put_back(kind),
            }
        }
    }

    async fn inject(&self, mut planned: Planned) {
        let (from_ms, what) = (now_ms(), planned.fault.to_string());
        self.world.journal.note(&format!("fault  {what} for {:.1} s", planned.hold.as_secs_f64()));
        planned.fault.inject(&self.world).await;
        self.pause(planned.hold).await;
        planned.fault.heal(&self.world).await;
        self.world.journal.note(&format!("healed {what}"));
        let mut taken = self.taken.lock().expect("no panic while held");
        planned.takes.iter().for_each(|part| {
            taken.remove(part);
        });
        drop(taken);
        let injected = Injected { kind: planned.kind, what, from_ms, healed_ms: now_ms() };
        self.done.lock().expect("no panic while held").push(injected);
    }

    /// Takes the parts of a fault, if all are free.
    fn take(&self, planned: &Planned) -> bool {
        let mut taken = self.taken.lock().expect("no panic while held");
        let free = planned.takes.iter().all(|part| !taken.contains(part));
        if free {
            taken.extend(planned.takes.iter().cloned());
        }
        free
    }

    async fn pause(&self, length: Duration) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(length) => {}
        }
    }
}
