//! How much of a shard a table contains: the checkpoint, the delta of one commit, and their algebra.
//!
//! A [`Checkpoint`] lives in the table, in the property named by
//! [`Shard::checkpoint_property`](crate::Shard::checkpoint_property), and is written in the same commit
//! as the rows. A [`CheckpointDelta`] is what one commit adds: from an exclusive start to an inclusive
//! end. The start is the checkpoint at which the batch was opened, never "first sequence minus one":
//! sequences are sparse from a table's point of view.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Position in a shard, from 1: the JetStream sequence, shifted after a rewind (see [`crate::rewind`]). Zero means
/// "before the first".
pub type Sequence = u64;

/// Tells a shard from a later one of the same name: the creation time of its JetStream stream, in
/// nanoseconds since the Unix epoch. Rendered as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A stored checkpoint, delta or incarnation that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} is malformed")]
pub struct MalformedCheckpoint {
    what: &'static str,
    text: String,
}

fn malformed(what: &'static str, text: &str) -> MalformedCheckpoint {
    MalformedCheckpoint { what, text: text.chars().take(100).collect() }
}

impl FromStr for Incarnation {
    type Err = MalformedCheckpoint;

    fn from_str(text: &str) -> Result<Self, MalformedCheckpoint> {
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match u64::from_str_radix(text, 16) {
            Ok(value) if digits => Ok(Self(value)),
            _ => Err(malformed("shard incarnation", text)),
        }
    }
}

impl TryFrom<String> for Incarnation {
    type Error = MalformedCheckpoint;

    fn try_from(text: String) -> Result<Self, MalformedCheckpoint> {
        text.parse()
    }
}

impl From<Incarnation> for String {
    fn from(incarnation: Incarnation) -> Self {
        incarnation.to_string()
    }
}

/// Last sequence of one incarnation of a shard whose events are all in the table.
/// Text form: `<incarnation>:<sequence>@<nanoseconds>`, without the last part if it is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Incarnation of the shard the sequence belongs to.
    pub incarnation: Incarnation,
    /// Every event up to and including this sequence is in the table.
    pub sequence: Sequence,
    /// When the log stored the message of that sequence, in nanoseconds since the Unix epoch. It tells the message
    /// from another one that the log stores under the same sequence after it went back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<i64>,
}

impl Checkpoint {
    /// Whether the table already contains the events of `sequence` of `incarnation`.
    pub fn covers(&self, incarnation: Incarnation, sequence: Sequence) -> bool {
        self.incarnation == incarnation && sequence <= self.sequence
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.incarnation, self.sequence)?;
        self.at.map_or(Ok(()), |at| write!(f, "@{at}"))
    }
}

impl FromStr for Checkpoint {
    type Err = MalformedCheckpoint;

    fn from_str(text: &str) -> Result<Self, MalformedCheckpoint> {
        let parse = || {
            let (incarnation, place) = text.split_once(':')?;
            let (sequence, at) = match place.split_once('@') {
                Some((sequence, at)) => (sequence, Some(at.parse().ok()?)),
                None => (place, None),
            };
            Some(Self { incarnation: incarnation.parse().ok()?, sequence: sequence.parse().ok()?, at })
        };
        parse().ok_or_else(|| malformed("checkpoint", text))
    }
}

/// A delta that cannot follow a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// The delta starts before the checkpoint: some of its events are in the table already.
    #[error("delta starts at {start}, but the table already contains everything up to {checkpoint}")]
    Overlap {
        /// Exclusive start of the refused delta.
        start: Sequence,
        /// What the table contains.
        checkpoint: Sequence,
    },
    /// The delta starts after the checkpoint: events between the two would be skipped.
    #[error("delta starts at {start}, but the table contains only what is up to {checkpoint}")]
    Gap {
        /// Exclusive start of the refused delta.
        start: Sequence,
        /// What the table contains.
        checkpoint: Sequence,
    },
    /// The delta belongs to another incarnation of the shard.
    #[error("delta belongs to another incarnation of the shard")]
    Incarnation,
    /// The end lies before the start.
    #[error("delta ends at {end}, before its start {start}")]
    Backwards {
        /// Exclusive start.
        start: Sequence,
        /// Inclusive end.
        end: Sequence,
    },
}

/// What one commit adds of one shard: every event of the table in `(start, end]`.
/// Text form: `<incarnation>:<start>-<end>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CheckpointDelta {
    /// Incarnation of the shard.
    pub incarnation: Incarnation,
    /// Exclusive start: the checkpoint at which the batch was opened.
    pub start: Sequence,
    /// Inclusive end.
    pub end: Sequence,
}

impl CheckpointDelta {
    /// The empty delta at `checkpoint`.
    pub fn at(checkpoint: Checkpoint) -> Self {
        Self { incarnation: checkpoint.incarnation, start: checkpoint.sequence, end: checkpoint.sequence }
    }

    /// Moves the end to `sequence`; it never moves back.
    pub fn extend_to(&mut self, sequence: Sequence) {
        self.end = self.end.max(sequence);
    }

    /// Whether the delta adds nothing.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether the delta contains `sequence`.
    pub fn contains(&self, sequence: Sequence) -> bool {
        self.start < sequence && sequence <= self.end
    }

    /// The checkpoint after this delta, if it follows `base` without overlap or gap; without the time of its end, which
    /// a delta does not know.
    pub fn apply_to(&self, base: Checkpoint) -> Result<Checkpoint, DeltaError> {
        let (start, end, checkpoint) = (self.start, self.end, base.sequence);
        if base.incarnation != self.incarnation {
            return Err(DeltaError::Incarnation);
        }
        if end < start {
            return Err(DeltaError::Backwards { start, end });
        }
        match start.cmp(&checkpoint) {
            std::cmp::Ordering::Less => Err(DeltaError::Overlap { start, checkpoint }),
            std::cmp::Ordering::Greater => Err(DeltaError::Gap { start, checkpoint }),
            std::cmp::Ordering::Equal => Ok(Checkpoint { incarnation: self.incarnation, sequence: end, at: None }),
        }
    }
}

impl fmt::Display for CheckpointDelta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}-{}", self.incarnation, self.start, self.end)
    }
}

impl FromStr for CheckpointDelta {
    type Err = MalformedCheckpoint;

    fn from_str(text: &str) -> Result<Self, MalformedCheckpoint> {
        let parse = || {
            let (incarnation, range) = text.split_once(':')?;
            let (start, end) = range.split_once('-')?;
            let delta =
                Self { incarnation: incarnation.parse().ok()?, start: start.parse().ok()?, end: end.parse().ok()? };
            (delta.start <= delta.end).then_some(delta)
        };
        parse().ok_or_else(|| malformed("checkpoint delta", text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn checkpoint(incarnation: u64, sequence: Sequence) -> Checkpoint {
        Checkpoint { incarnation: Incarnation(incarnation), sequence, at: None }
    }

    #[test]
    fn text_forms_are_pinned() {
        let at = checkpoint(0x18a2, 42);
        assert_eq!(at.to_string(), "00000000000018a2:42");
        let timed = Checkpoint { at: Some(1_700_000_000_000_000_001), ..at };
        assert_eq!(timed.to_string(), "00000000000018a2:42@1700000000000000001");
        let delta = CheckpointDelta { incarnation: at.incarnation, start: 42, end: 50 };
        assert_eq!(delta.to_string(), "00000000000018a2:42-50");
        for bad in [
            "",
            "42",
            "18a2:42",
            "00000000000018a2:",
            "00000000000018a2:-1",
            "00000000000018a2:x",
            "00000000000018a2:1@",
            "00000000000018a2:@1",
        ] {
            assert!(bad.parse::<Checkpoint>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn another_incarnation_covers_nothing() {
        assert!(checkpoint(1, 10).covers(Incarnation(1), 10));
        assert!(!checkpoint(1, 10).covers(Incarnation(1), 11));
        assert!(!checkpoint(1, 10).covers(Incarnation(2), 1));
    }

    proptest! {
        /// 1. Text round trip.
        #[test]
        fn round_trips(incarnation: u64, a: u64, b: u64, time: Option<i64>) {
            let at = Checkpoint { at: time, ..checkpoint(incarnation, a) };
            prop_assert_eq!(at.to_string().parse::<Checkpoint>(), Ok(at));
            let delta = CheckpointDelta { incarnation: at.incarnation, start: a.min(b), end: a.max(b) };
            prop_assert_eq!(delta.to_string().parse::<CheckpointDelta>(), Ok(delta));
        }

        /// 2. A delta applies at exactly one checkpoint. 3. Applying it moves forward, and it never applies twice
        /// unless it is empty. 4. Chained deltas cover each sequence exactly once.
        #[test]
        fn algebra(base in 0u64..100, steps in prop::collection::vec(0u64..5, 1..20), probe in 1u64..200) {
            let mut at = checkpoint(7, base);
            let mut holders = 0;
            for step in steps {
                let mut delta = CheckpointDelta::at(at);
                delta.extend_to(at.sequence + step);
                holders += u32::from(delta.contains(probe));
                let next = delta.apply_to(at).expect("follows");
                prop_assert!(next.sequence >= at.sequence);
                prop_assert_eq!(delta.apply_to(next).is_ok(), delta.is_empty());
                at = next;
            }
            prop_assert_eq!(holders, u32::from(base < probe && probe <= at.sequence));
        }
    }
}
