//! Which messages may be freed without changing what is judged a repeat after a restart. Pure.
//!
//! A restart judges every message after the stored low watermark again. What that depends on is the dedupe window as
//! it was *there*, not as it is at the newest message read: in between a key may have left the window that decided
//! about a message which is not committed yet.

use std::collections::VecDeque;

use frazil_core::checkpoint::Sequence;

/// States kept. Beyond, every other one is dropped, which only keeps messages for longer.
const STATES_MAX: usize = 1024;

/// How the oldest message that the dedupe window depends on moved with the messages judged.
#[derive(Debug)]
pub(super) struct Needed {
    /// A message, and the oldest one that decisions about later ones depended on once it was judged; `None` for no
    /// earlier one. Both grow.
    states: VecDeque<(Sequence, Option<Sequence>)>,
}

impl Needed {
    /// Judging begins after `watermark`, with a window that goes back to `oldest`.
    pub(super) fn new(watermark: Sequence, oldest: Option<Sequence>) -> Self {
        Self { states: VecDeque::from([(watermark, oldest)]) }
    }

    /// Message `sequence` is judged; from here on the window goes back to `oldest`.
    pub(super) fn judged(&mut self, sequence: Sequence, oldest: Option<Sequence>) {
        if self.states.back().is_some_and(|(_, last)| *last == oldest) {
            return;
        }
        self.states.push_back((sequence, oldest));
        if self.states.len() > STATES_MAX {
            let mut keep = false;
            self.states.retain_mut(|(at, oldest)| {
                // "Nothing so far" holds until the next state only, which may be the one that is dropped.
                oldest.get_or_insert(*at + 1);
                keep = !keep;
                keep
            });
        }
    }

    /// The last message that nothing after `stored` depends on. `stored` must not go back.
    pub(super) fn not_needed_through(&mut self, stored: Sequence) -> Sequence {
        let past = self.states.partition_point(|(at, _)| *at <= stored);
        self.states.drain(..past.saturating_sub(1));
        match self.states.front() {
            Some((at, oldest)) if *at <= stored => oldest.map_or(stored, |oldest| stored.min(oldest.saturating_sub(1))),
            Some(_) | None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_an_uncommitted_message_was_judged_by_is_kept() {
        let mut needed = Needed::new(0, None);
        needed.judged(1, Some(1));
        needed.judged(2, Some(1));
        // By the time 3 is read the key of 1 has left the window, but 2 was judged by it.
        needed.judged(3, Some(2));
        assert_eq!(needed.not_needed_through(1), 0);
        assert_eq!(needed.not_needed_through(2), 0);
        assert_eq!(needed.not_needed_through(3), 1);
    }

    proptest! {
        /// 1. Never frees what the state at `stored` needs. 2. Below the bound of states it frees all else.
        #[test]
        fn follows_the_state_at_the_stored_watermark(
            steps in prop::collection::vec(prop::option::of(0u64..20), 1..3000),
            stored in prop::collection::vec(0u64..3000, 1..5),
        ) {
            let mut needed = Needed::new(0, None);
            let (mut truth, mut floor) = (vec![None], 1);
            for (step, sequence) in steps.iter().zip(1u64..) {
                // Grows, and is never beyond the message itself; what has left the window stays out.
                let oldest = step.map(|back| sequence.saturating_sub(back).max(floor));
                floor = oldest.unwrap_or(sequence + 1);
                needed.judged(sequence, oldest);
                truth.push(oldest);
            }
            let mut stored: Vec<u64> = stored.into_iter().map(|at| at.min(steps.len() as u64)).collect();
            stored.sort_unstable();
            for at in stored {
                let exact = truth[at as usize].map_or(at, |oldest| oldest - 1);
                let found = needed.not_needed_through(at);
                prop_assert!(found <= exact, "{found} is freed, but only {exact} may be");
                prop_assert!(found == exact || steps.len() >= STATES_MAX);
            }
        }
    }
}
