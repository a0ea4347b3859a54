//! A log in memory that goes back, and remembers its rewinds as the real one does.

use frazil_core::Shard;
use frazil_core::checkpoint::{Checkpoint, Incarnation, Sequence};
use frazil_core::envelope::EnvelopeHeaders;
use frazil_core::rewind::{Loss, Losses, Numbers, Place, Rewind, Rewinds, Suspicion};
use frazil_core::stream::Progress;
use frazil_log::{LogError, Message, ReadError, Standing};
use uuid::Uuid;

use super::{FakeShard, FakeSource};
use crate::source::History;

/// What the control bucket keeps of one shard besides its progress.
#[derive(Debug, Default)]
pub(super) struct Records {
    rewinds: Option<Rewinds>,
    losses: Losses,
    numbers: Option<Numbers>,
}

impl Records {
    fn numbers(&self, incarnation: Incarnation) -> Numbers {
        self.numbers.clone().map_or_else(|| Numbers::none(incarnation), |numbers| numbers.of(incarnation))
    }

    pub(super) fn rewinds(&self, incarnation: Incarnation) -> Rewinds {
        self.rewinds.clone().map_or_else(|| Rewinds::none(incarnation), |rewinds| rewinds.of(incarnation))
    }
}

impl FakeSource {
    /// The log loses everything after `last`, and will use those sequences again. Returns the numbers of the envelopes.
    pub(crate) fn go_back(&self, shard: &Shard, last: Sequence) -> Vec<u64> {
        let lost = {
            let mut state = self.state();
            let log = state.shards.get_mut(shard).expect("the test created it");
            log.last = log.last.min(last);
            log.messages.split_off(&(last + 1))
        };
        self.changed.notify_waiters();
        let number =
            |message: &Message| EnvelopeHeaders::parse(|name| message.headers.get(name)).map(|h| h.continuity.number);
        lost.values().map(|message| number(message).expect("our own envelope")).collect()
    }

    /// The same for the `count` newest messages, as far as they are not purged.
    pub(crate) fn lose_tail(&self, shard: &Shard, count: usize) -> Vec<u64> {
        let last = {
            let state = self.state();
            let log = &state.shards[shard];
            let before_first = log.messages.keys().next().map(|first| log.rewinds.position(log.place_of(*first) - 1));
            log.messages.keys().rev().nth(count).copied().or(before_first).unwrap_or(log.last)
        };
        self.go_back(shard, last)
    }

    /// A proxy was acknowledged a message at `position` although it knew of later ones.
    pub(crate) fn suspect(&self, shard: &Shard, position: Sequence) {
        let mut state = self.state();
        let log = state.shards.get_mut(shard).expect("the test created it");
        log.rewinds.suspected = Some(Suspicion { position, shift: log.rewinds.next_shift(position) });
    }

    pub(crate) fn recorded_rewinds(&self, shard: &Shard) -> Vec<Rewind> {
        let state = self.state();
        let incarnation = state.shards[shard].incarnation;
        state.records.get(shard).map_or_else(Vec::new, |records| records.rewinds(incarnation).rewinds)
    }

    pub(crate) fn recorded_losses(&self, shard: &Shard) -> Vec<Loss> {
        self.state().records.get(shard).map_or_else(Vec::new, |records| records.losses.losses.clone())
    }
}

impl FakeShard {
    /// The position of the next message.
    pub(super) fn next_position(&self) -> Sequence {
        let Place::Sequence(last) = self.rewinds.place(self.last) else { unreachable!("the end is never lost") };
        self.rewinds.position(last + 1)
    }

    /// The first position that could be read from `position` on.
    pub(super) fn expected(&self, position: Sequence) -> Sequence {
        self.rewinds.position(self.rewinds.first_from(position))
    }

    /// Whether a low watermark stands at the end of this very log.
    pub(super) fn is_done(&self, stored: &Progress) -> bool {
        stored.sequence >= self.last && !matches!(self.compare(stored.checkpoint()), Standing::Rewound { .. })
    }

    fn compare(&self, witness: Checkpoint) -> Standing {
        let (sequence, at) = self.rewinds.trace(witness);
        let position = self.rewinds.position(sequence);
        if position > self.last {
            return Standing::Rewound { evidence: format!("it ends at {}", self.last) };
        }
        match (at, self.messages.get(&position)) {
            (Some(at), Some(found)) if found.timestamp_nanos == at => Standing::Kept,
            (Some(at), Some(found)) => {
                Standing::Rewound { evidence: format!("{} ns there, not {at} ns", found.timestamp_nanos) }
            }
            (None, _) | (_, None) => Standing::Unchecked,
        }
    }

    /// What a reader finds that has seen `seen` and was opened when `shift` was the newest one.
    pub(super) fn check(&self, seen: Option<Checkpoint>, shift: u64) -> Result<(), ReadError> {
        if self.rewinds.newest_shift() != shift {
            return Err(ReadError::Shifted);
        }
        let Some(witness) = seen else { return Ok(()) };
        match self.compare(witness) {
            Standing::Kept | Standing::Unchecked => Ok(()),
            Standing::Rewound { evidence } => Err(ReadError::Rewound { witness, evidence }),
        }
    }

    fn place_of(&self, position: Sequence) -> Sequence {
        match self.rewinds.place(position) {
            Place::Sequence(sequence) => sequence,
            Place::Lost => unreachable!("asked of what is there"),
        }
    }

    fn went_back(&mut self, witness: Checkpoint, detected: i64, evidence: String) -> Rewind {
        let (seen, at) = self.rewinds.trace(witness);
        let younger = self.messages.values().find(|message| at.is_some_and(|at| message.timestamp_nanos > at));
        let end = self.place_of(self.last) + 1;
        let from = younger.map_or(end, |message| self.place_of(message.sequence)).min(seen);
        self.split(from, witness, detected, evidence)
    }

    /// Everything from `from` on is of a new history.
    fn split(&mut self, from: Sequence, witness: Checkpoint, detected: i64, evidence: String) -> Rewind {
        let shift = self.rewinds.next_shift(witness.sequence.max(self.last));
        let (newest, newest_at) = (witness.sequence, witness.at);
        let kept = self.messages.get(&self.rewinds.position(from - 1));
        let kept_at = kept.map(|message| message.timestamp_nanos);
        let rewind = Rewind { from, shift, kept_at, newest, newest_at, detected, evidence };
        let moved: Vec<_> = self.messages.split_off(&self.rewinds.position(from)).into_values().collect();
        let sequences: Vec<_> = moved.iter().map(|message| self.place_of(message.sequence)).collect();
        let last = self.place_of(self.last);
        self.rewinds.push(rewind.clone());
        self.last = self.rewinds.position(last);
        for (sequence, mut message) in sequences.into_iter().zip(moved) {
            message.sequence = self.rewinds.position(sequence);
            self.messages.insert(message.sequence, message);
        }
        rewind
    }
}

fn missing(shard: &Shard) -> LogError {
    LogError::NotFound(shard.to_string())
}

impl History for FakeSource {
    async fn confirm(&self, shard: &Shard, witness: Checkpoint) -> Result<Standing, LogError> {
        let state = self.state();
        let log = state.shards.get(shard).ok_or_else(|| missing(shard))?;
        if log.incarnation != witness.incarnation {
            return Err(LogError::Recreated(shard.to_string()));
        }
        Ok(log.compare(witness))
    }

    async fn rewinds(&self, shard: &Shard, incarnation: Incarnation) -> Result<Rewinds, LogError> {
        let state = self.state();
        Ok(state.records.get(shard).map_or_else(|| Rewinds::none(incarnation), |records| records.rewinds(incarnation)))
    }

    async fn record_rewind(
        &self,
        shard: &Shard,
        witness: Checkpoint,
        detected: i64,
    ) -> Result<Option<Rewind>, LogError> {
        let Standing::Rewound { evidence } = self.confirm(shard, witness).await? else { return Ok(None) };
        let rewind = {
            let mut state = self.state();
            let log = state.shards.get_mut(shard).ok_or_else(|| missing(shard))?;
            let rewind = log.went_back(witness, detected, evidence);
            let rewinds = log.rewinds.clone();
            state.records.entry(shard.clone()).or_default().rewinds = Some(rewinds);
            rewind
        };
        self.changed.notify_waiters();
        Ok(Some(rewind))
    }

    fn suspicion(&self, shard: &Shard, incarnation: Incarnation) -> Option<Suspicion> {
        let state = self.state();
        state.shards.get(shard).filter(|log| log.incarnation == incarnation)?.rewinds.suspected
    }

    async fn record_split(&self, shard: &Shard, read: Checkpoint, detected: i64) -> Result<Option<Rewind>, LogError> {
        if let Some(rewind) = self.record_rewind(shard, read, detected).await? {
            return Ok(Some(rewind));
        }
        let rewind = {
            let mut state = self.state();
            let log = state.shards.get_mut(shard).ok_or_else(|| missing(shard))?;
            if log.rewinds.suspected.is_none() {
                return Ok(None);
            }
            let (last, _) = log.rewinds.trace(read);
            let rewind = log.split(last + 1, read, detected, "a proxy noticed".to_owned());
            let rewinds = log.rewinds.clone();
            state.records.entry(shard.clone()).or_default().rewinds = Some(rewinds);
            rewind
        };
        self.changed.notify_waiters();
        Ok(Some(rewind))
    }

    async fn save_numbers(
        &self,
        shard: &Shard,
        incarnation: Incarnation,
        numbers: &[(Uuid, u64)],
    ) -> Result<(), LogError> {
        let mut state = self.state();
        let records = state.records.entry(shard.clone()).or_default();
        let mut stored = records.numbers(incarnation);
        stored.merge(numbers);
        records.numbers = Some(stored);
        Ok(())
    }

    async fn numbers(&self, shard: &Shard, incarnation: Incarnation) -> Result<Vec<(Uuid, u64)>, LogError> {
        let state = self.state();
        Ok(state.records.get(shard).map_or_else(Vec::new, |records| records.numbers(incarnation).numbers))
    }

    async fn record_loss(&self, shard: &Shard, loss: &Loss) -> Result<(), LogError> {
        self.state().records.entry(shard.clone()).or_default().losses.add(loss.clone());
        Ok(())
    }
}
