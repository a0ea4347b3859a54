//! Positions that never go back, over a log that can.
//!
//! A JetStream stream can lose its tail and give the same sequences again: power loss without `sync_interval: always`,
//! a restored backup, a replaced disk. Its creation time, our [`Incarnation`], stays. So nothing above `frazil-log` sees
//! JetStream's sequences: it sees **positions**, which are sequences plus a shift. Each [`Rewind`] in the control bucket
//! says from which sequence on the messages are of a new history, and gives them a shift above every position that was
//! ever handed out. To checkpoints, deltas, ids, receipts and the dedupe window a rewind is just a jump forward.
//!
//! A position between the end of the kept history and the first of the new one names a message that is lost.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::checkpoint::{Checkpoint, Incarnation, Sequence};
use crate::name::Shard;

/// Shifts are multiples of this, so that a position shows at a glance which history it is of.
pub const HISTORY: u64 = 1 << 40;
/// Rewinds kept of one shard, and losses.
pub const RECORDED_MAX: usize = 100;
/// Producers whose numbers are kept of one shard: of those that were heard of last.
pub const PRODUCERS_RECORDED_MAX: usize = 1000;

/// The log went back once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewind {
    /// First JetStream sequence of the new history.
    pub from: Sequence,
    /// What is added to sequences from there on.
    pub shift: u64,
    /// When the last kept message was stored, the one before `from`, in nanoseconds since the Unix epoch. If the log
    /// loses that one too, before anything new is read, nothing else shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_at: Option<i64>,
    /// Newest position of the history before that whoever noticed knew of.
    pub newest: Sequence,
    /// When that one was stored, in nanoseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_at: Option<i64>,
    /// When it was noticed, in microseconds since the Unix epoch.
    pub detected: i64,
    /// How it was noticed.
    pub evidence: String,
}

/// Every recorded rewind of one incarnation of a shard, as stored under [`Shard::rewind_key`]; oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewinds {
    /// Incarnation of the shard.
    pub incarnation: Incarnation,
    /// Oldest first; shifts grow.
    pub rewinds: Vec<Rewind>,
    /// What a proxy has noticed and the shard's writer has not dealt with yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspected: Option<Suspicion>,
}

/// A proxy was acknowledged a sequence that had been given before. It cannot know where the new history begins, nor
/// whether any table is concerned; the writer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    /// A message at this position, by the rewinds recorded so far, is of a new history.
    pub position: Sequence,
    /// The shift that the proxy gives its receipts meanwhile. The new history gets no smaller one.
    pub shift: u64,
}

/// What the log stores under a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The message with this JetStream sequence, if it is there.
    Sequence(Sequence),
    /// Nothing any more: a recorded rewind took it away.
    Lost,
}

/// Something acknowledged that the log lost, as stored in a [`Losses`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// When it was noticed, in microseconds since the Unix epoch.
    pub detected: i64,
    /// Incarnation of the shard.
    pub incarnation: Incarnation,
    /// Whose envelopes are missing; `None` if only their places in the log are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producer: Option<Uuid>,
    /// First missing number of the producer, or first missing position.
    pub from: u64,
    /// Last missing one.
    pub to: u64,
    /// Position of the message that showed it.
    pub seen_at: Sequence,
}

/// The newest losses of a shard, as stored under [`Shard::losses_key`]; oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// At most [`RECORDED_MAX`].
    pub losses: Vec<Loss>,
    /// Losses ever recorded.
    pub total: u64,
}

/// Up to which numbers the envelopes of a shard are in their tables, as stored under [`Shard::numbers_key`]. The log may
/// free or lose them: the check of the producers' numbers does not miss them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// Incarnation of the shard.
    pub incarnation: Incarnation,
    /// By producer; the one heard of longest ago comes first.
    pub numbers: Vec<(Uuid, u64)>,
}

impl Numbers {
    /// Nothing known.
    pub fn none(incarnation: Incarnation) -> Self {
        Self { incarnation, numbers: Vec::new() }
    }

    /// The same if it is of `incarnation`; of another one nothing is known.
    #[must_use]
    pub fn of(self, incarnation: Incarnation) -> Self {
        if self.incarnation == incarnation { self } else { Self::none(incarnation) }
    }

    /// Takes in what a writer knows by now. No number goes back; at the bound the producers heard of longest ago are
    /// forgotten.
    pub fn merge(&mut self, news: &[(Uuid, u64)]) {
        let mut news: Vec<(Uuid, u64)> = news.to_vec();
        for (producer, number) in &mut news {
            let known = self.numbers.iter().find(|(known, _)| known == producer);
            *number = known.map_or(*number, |(_, known)| (*number).max(*known));
        }
        self.numbers.retain(|(known, _)| !news.iter().any(|(producer, _)| producer == known));
        self.numbers.extend(news);
        let excess = self.numbers.len().saturating_sub(PRODUCERS_RECORDED_MAX);
        self.numbers.drain(..excess);
    }
}

impl Shard {
    /// Key of the numbers of the shard's producers in the control bucket.
    pub fn numbers_key(&self) -> String {
        format!("numbers.{}.{}", self.stream, self.index)
    }

    /// Key of the shard's rewinds in the control bucket.
    pub fn rewind_key(&self) -> String {
        format!("rewind.{}.{}", self.stream, self.index)
    }

    /// Key of the shard's losses in the control bucket.
    pub fn losses_key(&self) -> String {
        format!("losses.{}.{}", self.stream, self.index)
    }
}

/// Sequences `from..=to` have one shift.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from: Sequence,
    to: Sequence,
    shift: u64,
}

impl Rewinds {
    /// A log that never went back.
    pub fn none(incarnation: Incarnation) -> Self {
        Self { incarnation, rewinds: Vec::new(), suspected: None }
    }

    /// The same if it is of `incarnation`; another one never went back.
    #[must_use]
    pub fn of(self, incarnation: Incarnation) -> Self {
        if self.incarnation == incarnation { self } else { Self::none(incarnation) }
    }

    /// Position of the message with a JetStream sequence.
    pub fn position(&self, sequence: Sequence) -> Sequence {
        let newest = self.rewinds.iter().rev().find(|rewind| rewind.from <= sequence);
        sequence + newest.map_or(0, |rewind| rewind.shift)
    }

    /// Where the message of a position is.
    pub fn place(&self, position: Sequence) -> Place {
        let sequence = self.last_through(position);
        if self.position(sequence) == position { Place::Sequence(sequence) } else { Place::Lost }
    }

    /// What the log must hold if it still is what a witness has seen: a JetStream sequence, and when its message was
    /// stored, if that is known. It is the witness itself, or if a recorded rewind took that away, the last message that
    /// the rewind left.
    pub fn trace(&self, witness: Checkpoint) -> (Sequence, Option<i64>) {
        match self.place(witness.sequence) {
            Place::Sequence(sequence) => (sequence, witness.at),
            Place::Lost => {
                let kept = self.last_through(witness.sequence);
                let after = self.rewinds.iter().rev().find(|rewind| rewind.from == kept + 1);
                (kept, after.and_then(|rewind| rewind.kept_at))
            }
        }
    }

    /// Whether a rewind took away what was acknowledged under this position. A position before the first of its history
    /// was never given to a message; a proxy may have given it in a receipt before the rewind was on record.
    pub fn is_lost(&self, position: Sequence) -> bool {
        let sequence = position % HISTORY;
        self.rewinds.iter().any(|rewind| rewind.shift > position && rewind.from <= sequence)
    }

    /// The first JetStream sequence whose position is not before `position`.
    pub fn first_from(&self, position: Sequence) -> Sequence {
        let stretches = self.stretches();
        let reaches = |stretch: &&Stretch| stretch.to.saturating_add(stretch.shift) >= position;
        let stretch = stretches.iter().find(reaches).or(stretches.last());
        stretch.map_or(position, |stretch| position.saturating_sub(stretch.shift).max(stretch.from))
    }

    /// The last JetStream sequence whose position is not after `position`; 0 if there is none.
    pub fn last_through(&self, position: Sequence) -> Sequence {
        let stretches = self.stretches();
        let stretch = stretches.iter().rev().find(|stretch| stretch.from + stretch.shift <= position);
        stretch.map_or(0, |stretch| (position - stretch.shift).min(stretch.to))
    }

    /// Shift of the newest history; tells whether a rewind was recorded since. 0 for a log that never went back.
    pub fn newest_shift(&self) -> u64 {
        self.rewinds.last().map_or(0, |rewind| rewind.shift)
    }

    /// The shift for a history that begins after `newest` was handed out.
    pub fn next_shift(&self, newest: Sequence) -> u64 {
        let suspected = self.suspected.map_or(0, |suspected| suspected.shift);
        ((newest.max(self.newest_shift()) / HISTORY + 1) * HISTORY).max(suspected)
    }

    /// Adds the newest rewind, which settles what was suspected; the oldest is forgotten at the bound.
    pub fn push(&mut self, rewind: Rewind) {
        self.suspected = None;
        self.rewinds.push(rewind);
        let excess = self.rewinds.len().saturating_sub(RECORDED_MAX);
        self.rewinds.drain(..excess);
    }

    /// The stretches of the log that have one shift each, in order. A later rewind that goes further back buries
    /// the ones before it.
    fn stretches(&self) -> Vec<Stretch> {
        let (mut stretches, mut end) = (Vec::new(), Sequence::MAX);
        for rewind in self.rewinds.iter().rev() {
            if rewind.from <= end {
                stretches.push(Stretch { from: rewind.from, to: end, shift: rewind.shift });
                end = rewind.from.saturating_sub(1);
            }
        }
        stretches.push(Stretch { from: 0, to: end, shift: 0 });
        stretches.reverse();
        stretches
    }
}

impl Losses {
    /// Adds a loss; returns whether it was news. One that is read about again after a restart is not.
    pub fn add(&mut self, loss: Loss) -> bool {
        let same = |known: &Loss| {
            (known.incarnation, known.producer, known.from, known.to)
                == (loss.incarnation, loss.producer, loss.from, loss.to)
        };
        if self.losses.iter().any(same) {
            return false;
        }
        self.losses.push(loss);
        self.total += 1;
        let excess = self.losses.len().saturating_sub(RECORDED_MAX);
        self.losses.drain(..excess);
        true
    }
}

/// How many messages lie in `(after, through]`, about: across a rewind, where positions jump, a little too few.
pub fn distance(after: Sequence, through: Sequence) -> u64 {
    if after / HISTORY == through / HISTORY {
        through.saturating_sub(after)
    } else {
        (through % HISTORY).saturating_sub(after % HISTORY)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rewind(from: Sequence, shift: u64) -> Rewind {
        Rewind { from, shift, kept_at: Some(900), newest: 0, newest_at: None, detected: 0, evidence: String::new() }
    }

    fn rewinds(list: &[(Sequence, u64)]) -> Rewinds {
        let rewinds = list.iter().map(|(from, history)| rewind(*from, history * HISTORY)).collect();
        Rewinds { incarnation: Incarnation(7), rewinds, suspected: None }
    }

    #[test]
    fn new_messages_never_have_old_positions() {
        let none = Rewinds::none(Incarnation(7));
        assert_eq!((none.position(90), none.place(90)), (90, Place::Sequence(90)));
        let once = rewinds(&[(90, 1)]);
        assert_eq!((once.position(89), once.position(90)), (89, HISTORY + 90));
        assert_eq!((once.place(89), once.place(95)), (Place::Sequence(89), Place::Lost));
        assert_eq!(once.place(HISTORY + 95), Place::Sequence(95));
        assert!(once.is_lost(95) && !once.is_lost(89) && !once.is_lost(HISTORY + 95) && !once.is_lost(HISTORY + 50));
        assert_eq!((once.first_from(101), once.last_through(101)), (90, 89));
        assert_eq!((once.first_from(0), once.last_through(0)), (0, 0));
        assert_eq!(once.next_shift(HISTORY + 200), 2 * HISTORY);
        assert_eq!(none.next_shift(0), HISTORY);
    }

    #[test]
    fn a_deeper_rewind_buries_the_one_before() {
        let twice = rewinds(&[(90, 1), (50, 2)]);
        assert_eq!(
            (twice.position(49), twice.position(50), twice.position(95)),
            (49, 2 * HISTORY + 50, 2 * HISTORY + 95)
        );
        assert_eq!(twice.place(HISTORY + 95), Place::Lost);
        assert!(twice.is_lost(60) && twice.is_lost(HISTORY + 95) && !twice.is_lost(2 * HISTORY + 95));
        assert_eq!(twice.first_from(60), 50);
        assert_eq!(rewinds(&[(50, 1), (90, 2)]).place(HISTORY + 95), Place::Lost);
        assert_eq!(rewinds(&[(50, 1), (90, 2)]).place(HISTORY + 60), Place::Sequence(60));
    }

    #[test]
    fn a_witness_that_is_lost_stands_for_the_last_message_kept() {
        let twice = rewinds(&[(90, 1), (50, 2)]);
        let trace = |sequence| twice.trace(Checkpoint { incarnation: Incarnation(7), sequence, at: Some(1) });
        assert_eq!(trace(30), (30, Some(1)));
        assert_eq!(trace(2 * HISTORY + 95), (95, Some(1)));
        assert_eq!((trace(60), trace(HISTORY + 95)), ((49, Some(900)), (49, Some(900))));
    }

    #[test]
    fn another_incarnation_never_went_back() {
        assert_eq!(rewinds(&[(1, 1)]).of(Incarnation(8)), Rewinds::none(Incarnation(8)));
        assert_eq!(rewinds(&[(1, 1)]).of(Incarnation(7)), rewinds(&[(1, 1)]));
    }

    #[test]
    fn stored_forms_are_pinned() {
        let text = r#"{"incarnation":"0000000000000007","rewinds":[{"from":90,"shift":1099511627776,"kept_at":900,"newest":0,"detected":0,"evidence":""}]}"#;
        assert_eq!(serde_json::to_string(&rewinds(&[(90, 1)])).expect("plain values"), text);
        assert_eq!(serde_json::from_str::<Rewinds>(text).expect("own form"), rewinds(&[(90, 1)]));
    }

    #[test]
    fn a_loss_is_recorded_once_and_the_oldest_is_forgotten() {
        let loss = |from| Loss { detected: 1, incarnation: Incarnation(7), producer: None, from, to: from, seen_at: 9 };
        let mut losses = Losses::default();
        assert!(losses.add(loss(1)));
        assert!(!losses.add(Loss { detected: 2, ..loss(1) }));
        (2..=101).for_each(|from| assert!(losses.add(loss(from))));
        assert_eq!((losses.losses.len(), losses.total, losses.losses[0].from), (RECORDED_MAX, 101, 2));
    }

    #[test]
    fn numbers_never_go_back_and_the_longest_unheard_of_is_forgotten() {
        let producer = |n: usize| Uuid::from_u128(n as u128);
        let mut numbers = Numbers::none(Incarnation(7));
        numbers.merge(&[(producer(1), 5), (producer(2), 7)]);
        numbers.merge(&[(producer(1), 4)]);
        assert_eq!(numbers.numbers, [(producer(2), 7), (producer(1), 5)]);
        let many: Vec<_> = (3..PRODUCERS_RECORDED_MAX + 2).map(|n| (producer(n), 1)).collect();
        numbers.merge(&many);
        assert_eq!((numbers.numbers.len(), numbers.numbers[0]), (PRODUCERS_RECORDED_MAX, (producer(1), 5)));
        assert_eq!(numbers.of(Incarnation(8)), Numbers::none(Incarnation(8)));
    }

    #[test]
    fn distances_hold_within_a_history_and_do_not_explode_across() {
        assert_eq!((distance(3, 10), distance(10, 3)), (7, 0));
        assert_eq!((distance(89, HISTORY + 95), distance(100, HISTORY + 95)), (6, 0));
    }

    proptest! {
        /// 1. Positions grow with sequences. 2. A sequence is found under its position. 3. `first_from` and
        /// `last_through` are the nearest on either side. 4. The next history is above everything before.
        #[test]
        fn translation(froms in prop::collection::vec(1u64..60, 0..5), probes in prop::collection::vec((0u64..7, 0u64..80), 1..20)) {
            let list: Vec<_> = froms.into_iter().zip(1..).collect();
            let rewinds = rewinds(&list);
            let positions: Vec<_> = (0..100).map(|sequence| rewinds.position(sequence)).collect();
            prop_assert!(positions.is_sorted_by(|a, b| a < b));
            for sequence in 0..100u64 {
                prop_assert_eq!(rewinds.place(positions[sequence as usize]), Place::Sequence(sequence));
            }
            for (history, offset) in probes {
                let position = history * HISTORY + offset;
                if history <= list.len() as u64 {
                    let (first, last) = (rewinds.first_from(position), rewinds.last_through(position));
                    prop_assert!(rewinds.position(first) >= position && rewinds.position(last) <= position);
                    prop_assert!(first == last || first == last + 1, "{} {}", first, last);
                }
            }
            prop_assert!(rewinds.next_shift(0) > positions[60] - 60);
        }
    }
}
