//! Finding acknowledged losses inside the log: every producer numbers its envelopes without holes and
//! says how far the log has acknowledged, so a number that is missing although it was acknowledged shows.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use crate::envelope::ContinuityFields;

/// What one envelope says about those before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Continuity {
    /// The next number of its producer.
    InOrder,
    /// A producer not seen before; its earlier envelopes may have been purged.
    NewProducer,
    /// A number that was there before: the log stored an envelope twice.
    Repeated,
    /// Numbers `from..=to` were acknowledged to the producer and are not in the log.
    Lost {
        /// First missing number.
        from: u64,
        /// Last missing number.
        to: u64,
    },
    /// Numbers `from..=to` are missing, but were never acknowledged. Nobody was promised anything.
    Skipped {
        /// First missing number.
        from: u64,
        /// Last missing number.
        to: u64,
    },
}

/// The numbers of every producer of one shard, bounded by forgetting the producer first seen.
#[derive(Debug)]
pub struct ContinuityCheck {
    last: HashMap<Uuid, u64>,
    order: VecDeque<Uuid>,
    max_producers: usize,
    complete: bool,
}

impl ContinuityCheck {
    /// Remembers at most `max_producers`. `complete` says that reading starts at the very first
    /// envelope of the shard, so that every producer must begin with number 1.
    pub fn new(max_producers: usize, complete: bool) -> Self {
        let (last, order) = (HashMap::new(), VecDeque::new());
        Self { last, order, max_producers: max_producers.max(1), complete }
    }

    /// Judges the next envelope of the log.
    pub fn observe(&mut self, fields: ContinuityFields) -> Continuity {
        let ContinuityFields { producer, number, acked } = fields;
        let Some(last) = self.last.get_mut(&producer) else {
            self.remember(producer, number);
            return if self.complete { gap(0, number, acked) } else { Continuity::NewProducer };
        };
        if number <= *last {
            return Continuity::Repeated;
        }
        gap(std::mem::replace(last, number), number, acked)
    }

    /// Takes note that all envelopes of a producer up to `number` are accounted for, whether the log still has them or
    /// not.
    pub fn account_for(&mut self, producer: Uuid, number: u64) {
        match self.last.get_mut(&producer) {
            Some(last) => *last = number.max(*last),
            None => self.remember(producer, number),
        }
    }

    /// The highest number of every producer that is remembered; the producer first seen comes first.
    pub fn numbers(&self) -> impl Iterator<Item = (Uuid, u64)> {
        self.order.iter().filter_map(|producer| Some((*producer, *self.last.get(producer)?)))
    }

    fn remember(&mut self, producer: Uuid, number: u64) {
        self.last.insert(producer, number);
        self.order.push_back(producer);
        if self.order.len() > self.max_producers
            && let Some(oldest) = self.order.pop_front()
        {
            self.last.remove(&oldest);
            self.complete = false;
        }
    }
}

fn gap(last: u64, number: u64, acked: u64) -> Continuity {
    let (from, to) = (last + 1, number.saturating_sub(1));
    if from > to {
        Continuity::InOrder
    } else if acked >= from {
        Continuity::Lost { from, to: to.min(acked) }
    } else {
        Continuity::Skipped { from, to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(producer: u128, number: u64, acked: u64) -> ContinuityFields {
        ContinuityFields { producer: Uuid::from_u128(producer), number, acked }
    }

    #[test]
    fn numbers_in_order_are_fine_per_producer() {
        let mut check = ContinuityCheck::new(10, false);
        assert_eq!(check.observe(at(1, 5, 4)), Continuity::NewProducer);
        assert_eq!(check.observe(at(2, 1, 0)), Continuity::NewProducer);
        assert_eq!(check.observe(at(1, 6, 5)), Continuity::InOrder);
        assert_eq!(check.observe(at(2, 2, 1)), Continuity::InOrder);
        assert_eq!(check.observe(at(1, 6, 5)), Continuity::Repeated);
    }

    #[test]
    fn an_acknowledged_number_that_is_missing_is_a_loss() {
        let mut check = ContinuityCheck::new(10, false);
        check.observe(at(1, 1, 0));
        assert_eq!(check.observe(at(1, 5, 4)), Continuity::Lost { from: 2, to: 4 });
        assert_eq!(check.observe(at(1, 8, 6)), Continuity::Lost { from: 6, to: 6 });
        assert_eq!(check.observe(at(1, 10, 8)), Continuity::Skipped { from: 9, to: 9 });
    }

    #[test]
    fn a_complete_log_must_begin_with_one() {
        let mut check = ContinuityCheck::new(10, true);
        assert_eq!(check.observe(at(1, 1, 0)), Continuity::InOrder);
        assert_eq!(check.observe(at(2, 3, 2)), Continuity::Lost { from: 1, to: 2 });
    }

    #[test]
    fn what_is_accounted_for_is_no_loss() {
        let mut check = ContinuityCheck::new(10, false);
        check.observe(at(1, 5, 4));
        check.account_for(Uuid::from_u128(1), 8);
        check.account_for(Uuid::from_u128(2), 3);
        assert!(check.numbers().eq([(Uuid::from_u128(1), 8), (Uuid::from_u128(2), 3)]));
        assert_eq!(check.observe(at(1, 11, 10)), Continuity::Lost { from: 9, to: 10 });
        assert_eq!(check.observe(at(2, 4, 3)), Continuity::InOrder);
    }

    #[test]
    fn the_bound_forgets_the_oldest_producer() {
        let mut check = ContinuityCheck::new(1, true);
        check.observe(at(1, 1, 0));
        check.observe(at(2, 1, 0));
        assert_eq!(check.observe(at(1, 9, 8)), Continuity::NewProducer);
    }
}
