//! Where letters stand: settled in their own table or not, replayed into a target or not. Reads properties, decides
//! nothing else.

use std::collections::BTreeMap;

use frazil_core::Shard;
use frazil_core::checkpoint::{Checkpoint, Incarnation};
use frazil_core::replay::{self, Letters, Place, Replayed};
use uuid::Uuid;

/// What became of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It may be replayed.
    Pending,
    /// It is a row by now.
    Replayed,
    /// The dead-letter table's checkpoint does not cover it: somebody took the property away, or put the row there.
    Unsettled,
}

impl State {
    /// For people and for JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Replayed => "replayed",
            Self::Unsettled => "unsettled",
        }
    }
}

/// A property that should say where letters stand, and cannot be read. Guessing could double or lose events.
#[derive(Debug, thiserror::Error)]
#[error("the table property {key} cannot be read: {source}")]
pub struct StandingError {
    /// The property.
    pub key: String,
    /// Why not.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl StandingError {
    fn new(key: &str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { key: key.to_owned(), source: Box::new(source) }
    }
}

/// Up to where a dead-letter table's letters are all in it.
#[derive(Debug, Clone, Default)]
pub struct Settled {
    checkpoints: BTreeMap<Shard, Option<Checkpoint>>,
}

impl Settled {
    /// Whether the letter counts. Letters of an earlier incarnation than the checkpoint's do: nobody can add to them.
    /// `property` is that of the dead-letter table, always of the same version of it.
    ///
    /// # Errors
    /// [`StandingError`].
    pub fn covers<'p>(
        &mut self,
        shard: &Shard,
        incarnation: Incarnation,
        place: Place,
        property: impl Fn(&str) -> Option<&'p str>,
    ) -> Result<bool, StandingError> {
        let checkpoint = match self.checkpoints.get(shard) {
            Some(known) => *known,
            None => {
                let key = shard.checkpoint_property();
                let read = property(&key).map(|text| text.parse::<Checkpoint>()).transpose();
                let read = read.map_err(|error| StandingError::new(&key, error))?;
                self.checkpoints.insert(shard.clone(), read);
                read
            }
        };
        Ok(checkpoint.is_some_and(|at| at.covers(incarnation, place.sequence) || incarnation < at.incarnation))
    }
}

/// Which letters a target contains.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    /// The dead-letter table they are from, if it is not the target's own.
    from: Option<Uuid>,
    shards: BTreeMap<Shard, Mark>,
}

/// The marks of one shard.
#[derive(Debug, Clone, Default)]
pub struct Mark {
    /// The property as it stands in the table.
    pub text: Option<String>,
    /// What it says, and what is on its way.
    pub replayed: Replayed,
}

impl Marks {
    /// Nothing read yet. `from` is the uuid of the dead-letter table unless it is the target's own.
    pub fn new(from: Option<Uuid>) -> Self {
        Self { from, shards: BTreeMap::new() }
    }

    /// Name of the property of the shard.
    pub fn key(&self, shard: &Shard) -> String {
        match self.from {
            Some(uuid) => replay::property_from(shard, &uuid.to_string()),
            None => replay::property(shard),
        }
    }

    /// The marks of the shard, by `property` of the target; read once.
    ///
    /// # Errors
    /// [`StandingError`].
    pub fn of<'p>(
        &mut self,
        shard: &Shard,
        property: impl Fn(&str) -> Option<&'p str>,
    ) -> Result<&mut Mark, StandingError> {
        if !self.shards.contains_key(shard) {
            let key = self.key(shard);
            let text = property(&key).map(str::to_owned);
            let replayed = text.as_deref().unwrap_or_default().parse::<Replayed>();
            let replayed = replayed.map_err(|error| StandingError::new(&key, error))?;
            self.shards.insert(shard.clone(), Mark { text, replayed });
        }
        Ok(self.shards.get_mut(shard).expect("it was inserted if it was missing"))
    }

    /// Forgets what was read, because the target has moved on.
    pub(super) fn forget(&mut self) {
        self.shards.clear();
    }

    /// The same, but for what deleted letters leave behind.
    pub(super) fn of_compact<'p>(
        &mut self,
        shard: &Shard,
        letters: &Letters,
        property: impl Fn(&str) -> Option<&'p str>,
    ) -> Result<&mut Mark, StandingError> {
        let known = self.shards.contains_key(shard);
        let mark = self.of(shard, property)?;
        if !known {
            mark.replayed.compact(letters, shard);
        }
        Ok(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_settles_its_own_past_and_earlier_incarnations() {
        let shard = Shard::new("s".parse().expect("valid"), 0);
        let property = |key: &str| (key == "frazil.checkpoint.s.0").then_some("0000000000000005:10");
        let mut settled = Settled::default();
        for (incarnation, sequence, expected) in
            [(5, 10, true), (5, 11, false), (4, 99, true), (6, 1, false), (5, 1, true)]
        {
            let covers = settled.covers(&shard, Incarnation(incarnation), Place::new(sequence, 0), property);
            assert_eq!(covers.expect("readable"), expected, "{incarnation} {sequence}");
        }
        let mut none = Settled::default();
        assert!(!none.covers(&shard, Incarnation(5), Place::new(1, 0), |_| None).expect("nothing to read"));
        let error = Settled::default().covers(&shard, Incarnation(5), Place::new(1, 0), |_| Some("x"));
        assert!(error.expect_err("malformed").to_string().contains("frazil.checkpoint.s.0"));
    }

    #[test]
    fn marks_of_other_tables_letters_have_their_own_property() {
        let shard = Shard::new("s".parse().expect("valid"), 2);
        let uuid = Uuid::from_u128(7);
        assert_eq!(Marks::new(None).key(&shard), "frazil.replayed.s.2");
        assert_eq!(Marks::new(Some(uuid)).key(&shard), format!("frazil.replayed.s.2.{uuid}"));
    }
}
