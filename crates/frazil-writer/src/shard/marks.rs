//! What is remembered of each message that is read and not known to be committed: when it was stored, and which number
//! of which producer it is. So the stored low watermark can name its message, and after a rewind it is known which
//! envelopes the log lost that are in their tables. Pure.

use std::collections::{HashMap, VecDeque};

use frazil_core::checkpoint::Sequence;
use frazil_core::rewind::PRODUCERS_RECORDED_MAX;
use uuid::Uuid;

/// Messages remembered. Beyond, every other one is dropped, which only makes the stored watermark a little older.
const MARKS_MAX: usize = 65_536;

#[derive(Debug, Clone, Copy)]
struct Mark {
    sequence: Sequence,
    at: i64,
    producer: Option<(Uuid, u64)>,
}

/// The messages between the low watermark and the newest one read.
#[derive(Debug, Default)]
pub(super) struct Marks {
    marks: VecDeque<Mark>,
    /// The newest message that the watermark has passed, and when it was stored.
    passed: Option<(Sequence, i64)>,
    /// By producer, the highest number of a message that the watermark has passed.
    contained: HashMap<Uuid, u64>,
    /// Its keys, oldest first: the oldest are forgotten.
    producers: VecDeque<Uuid>,
}

impl Marks {
    /// With the message that the stored low watermark names, and the producers' numbers up to there.
    pub(super) fn after(passed: Option<(Sequence, i64)>, numbers: impl Iterator<Item = (Uuid, u64)>) -> Self {
        let mut marks = Self { passed, ..Self::default() };
        numbers.for_each(|(producer, number)| marks.contain(producer, number));
        marks
    }

    /// A message is read; sequences must grow.
    pub(super) fn read(&mut self, sequence: Sequence, at: i64, producer: Option<(Uuid, u64)>) {
        if self.marks.len() == MARKS_MAX {
            let mut keep = true;
            self.marks.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.marks.push_back(Mark { sequence, at, producer });
    }

    /// All messages up to `watermark` are in their tables. Returns the newest remembered one of them, and when it was
    /// stored.
    pub(super) fn pass(&mut self, watermark: Sequence) -> Option<(Sequence, i64)> {
        while let Some(mark) = self.marks.front().copied().filter(|mark| mark.sequence <= watermark) {
            self.marks.pop_front();
            self.passed = Some((mark.sequence, mark.at));
            if let Some((producer, number)) = mark.producer {
                self.contain(producer, number);
            }
        }
        self.passed
    }

    fn contain(&mut self, producer: Uuid, number: u64) {
        if self.contained.insert(producer, number).is_some() {
            return;
        }
        self.producers.push_back(producer);
        if self.producers.len() > PRODUCERS_RECORDED_MAX
            && let Some(oldest) = self.producers.pop_front()
        {
            self.contained.remove(&oldest);
        }
    }

    /// By producer, up to which number all envelopes read are in their tables.
    pub(super) fn contained(&self) -> Vec<(Uuid, u64)> {
        self.producers.iter().map(|producer| (*producer, self.contained[producer])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_names_its_message_and_what_it_contains() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut marks = Marks::after(Some((1, 10)), [(b, 6)].into_iter());
        marks.read(3, 30, Some((a, 1)));
        marks.read(4, 40, Some((b, 7)));
        marks.read(9, 90, Some((a, 2)));
        assert_eq!(marks.pass(2), Some((1, 10)));
        assert_eq!(marks.pass(8), Some((4, 40)));
        assert_eq!(marks.contained(), [(b, 7), (a, 1)]);
        assert_eq!(marks.pass(8), Some((4, 40)), "it stays known");
        assert_eq!(marks.pass(9), Some((9, 90)));
        assert_eq!(marks.contained(), [(b, 7), (a, 2)]);
    }

    #[test]
    fn memory_is_bounded_and_the_newest_message_is_always_known() {
        let mut marks = Marks::default();
        for sequence in 1..=300_000u64 {
            marks.read(sequence, sequence as i64, Some((Uuid::from_u128(u128::from(sequence)), 1)));
        }
        assert!(marks.marks.len() <= MARKS_MAX);
        let (named, at) = marks.pass(150_000).expect("some are known");
        assert!((140_000..=150_000).contains(&named) && at == named as i64, "{named}");
        assert_eq!(marks.pass(300_000), Some((300_000, 300_000)));
        assert_eq!(marks.contained().len(), PRODUCERS_RECORDED_MAX);
    }
}
