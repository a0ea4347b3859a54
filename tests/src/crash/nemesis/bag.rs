//! Draws kinds of faults so that each has its turn before any has its second.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::Kind;

/// All kinds of a run, shuffled again whenever the bag is empty.
#[derive(Debug)]
pub(super) struct Bag {
    kinds: Vec<Kind>,
    left: Vec<Kind>,
    rng: StdRng,
}

impl Bag {
    pub(super) fn new(kinds: &[Kind], seed: u64) -> Self {
        Self { kinds: kinds.to_vec(), left: Vec::new(), rng: StdRng::seed_from_u64(seed) }
    }

    /// The next kind; none if there are no kinds at all.
    pub(super) fn draw(&mut self) -> Option<Kind> {
        if self.left.is_empty() {
            self.left = self.kinds.clone();
            self.left.shuffle(&mut self.rng);
        }
        self.left.pop()
    }

    /// Gives back a kind that could not be injected now; it is drawn again after all others that are left.
    pub(super) fn put_back(&mut self, kind: Kind) {
        self.left.insert(0, kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_turn() {
        let kinds = Kind::all();
        let mut bag = Bag::new(&kinds, 7);
        let mut drawn: Vec<Kind> = kinds.iter().filter_map(|_| bag.draw()).collect();
        drawn.sort_unstable();
        assert_eq!(drawn, kinds);
    }

    #[test]
    fn what_is_put_back_waits_for_the_others() {
        let kinds = [Kind::KillProxy, Kind::KillWriter, Kind::KillNats];
        let mut bag = Bag::new(&kinds, 7);
        let first = bag.draw().expect("three kinds");
        bag.put_back(first);
        let next: Vec<Kind> = kinds.iter().filter_map(|_| bag.draw()).collect();
        assert_eq!(next[2], first);
        assert_eq!(Bag::new(&[], 7).draw(), None);
    }
}
