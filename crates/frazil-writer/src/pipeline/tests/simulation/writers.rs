//! The writers of one history: as many as somebody wants at the time, some dying, some not knowing that they are not
//! wanted any more.

use super::tally::Tally;
use super::*;

/// Most processes at a time.
const PROCESSES_MAX: usize = 6;
/// Longest time that processes may take to end once nothing is wrong any more.
const END_MAX: Duration = Duration::from_secs(60);

/// One writer; dropping it is a crash.
struct Process {
    ordinal: u32,
    replicas: u32,
    stop: CancellationToken,
    tasks: JoinSet<frazil_core::StreamName>,
}

/// All writers.
pub(super) struct Fleet {
    /// How many there should be.
    replicas: u32,
    running: Vec<Process>,
    budgets: Vec<Budget>,
    tally: Tally,
}

impl Fleet {
    pub(super) fn new(replicas: u32, tally: &Tally) -> Self {
        Self { replicas, running: Vec::new(), budgets: Vec::new(), tally: tally.clone() }
    }

    /// Starts whoever is missing.
    pub(super) fn fill(&mut self, world: &World) {
        for ordinal in 0..self.replicas {
            let there = |process: &Process| {
                (process.ordinal, process.replicas) == (ordinal, self.replicas) && !process.stop.is_cancelled()
            };
            if !self.running.iter().any(there) {
                self.start(world, ordinal);
            }
        }
    }

    fn start(&mut self, world: &World, ordinal: u32) {
        let replicas = self.replicas;
        let budget = Budget::new(world.config.memory_bytes);
        let config = WriterConfig { ordinal, replicas, name: format!("writer-{ordinal}"), ..world.config.clone() };
        let sink = world.sink.checked_by(&budget);
        self.budgets.push(budget.clone());
        let shared = Shared { config: Arc::new(config), budget, sink, ..world.shared() };
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(crate::supervisor::run_stream(shared, Arc::new(world.definition.clone()), stop.clone()));
        self.running.push(Process { ordinal, replicas, stop, tasks });
    }

    /// Some die, some are told to stop, some come that nobody needs.
    pub(super) fn churn(&mut self, world: &World, random: &mut Random) {
        self.running.retain_mut(|process| process.tasks.try_join_next().is_none());
        if random.one_in(3) && !self.running.is_empty() {
            let one = random.below(self.running.len() as u64) as usize;
            self.end(one, random);
        }
        if random.one_in(10) {
            self.scale(1 + random.below(world.definition.shards.into()) as u32, random);
        }
        if random.one_in(8) {
            self.tally.note("writers: two with one ordinal");
            self.start(world, random.below(self.replicas.into()) as u32);
        }
        if self.running.len() > PROCESSES_MAX {
            self.running.remove(0);
        }
    }

    fn end(&mut self, one: usize, random: &mut Random) {
        if random.one_in(3) {
            self.tally.note("writers: drained");
            self.running[one].stop.cancel();
        } else {
            self.tally.note("writers: crash");
            self.running.swap_remove(one);
        }
    }

    /// Another number; some of the old ones stay for a while.
    fn scale(&mut self, replicas: u32, random: &mut Random) {
        if replicas == self.replicas {
            return;
        }
        self.tally.note("writers: another number");
        self.replicas = replicas;
        for one in (0..self.running.len()).rev() {
            match random.one_in(3) {
                true => self.tally.note("writers: old and new overlap"),
                false => self.end(one, random),
            }
        }
    }

    pub(super) fn crash_all(&mut self) {
        self.running.clear();
    }

    /// Tells all to stop, and waits until they have.
    pub(super) async fn stop(mut self) -> Vec<Budget> {
        self.running.iter().for_each(|process| process.stop.cancel());
        let ended = async {
            for process in &mut self.running {
                while let Some(ended) = process.tasks.join_next().await {
                    ended.expect("no panic");
                }
            }
        };
        tokio::time::timeout(END_MAX, ended).await.expect("a writer ends when it is told to");
        self.budgets
    }
}
