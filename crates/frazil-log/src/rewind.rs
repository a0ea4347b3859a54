//! Noticing that the log went back, and recording it: see [`frazil_core::rewind`] for what that means.
//!
//! The witness is always a message that somebody has seen: its position, and when the log stored it. A log that has
//! another message in its place, or ends before it, is not the log that was seen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::datetime::from_nanos;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::RawMessageErrorKind;
use frazil_core::Shard;
use frazil_core::checkpoint::{Checkpoint, Incarnation, Sequence};
use frazil_core::rewind::{Loss, Losses, Numbers, Rewind, Rewinds, Suspicion};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::bucket::{self, Condition};
use crate::connect::Log;
use crate::control::{json, parse};
use crate::error::LogError;
use crate::session::{Session, SessionConfig};
use crate::shard::{RawInfo, shard_name};

/// A replicated log may seem to end too early for a moment, while a new leader catches up: this long.
const SETTLE: Duration = Duration::from_secs(10);
const SETTLE_STEP: Duration = Duration::from_millis(250);
/// Tries to change a record against others that change it.
const ATTEMPTS: u32 = 20;

/// Whether the log still is what a witness has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The very message is there; or, if a recorded rewind took it away, the last one before.
    Kept,
    /// The message was freed, or nothing is known to compare it with.
    Unchecked,
    /// The log went back, and nobody has recorded it.
    Rewound {
        /// What shows it.
        evidence: String,
    },
}

/// What this process knows of every shard's rewinds; shared by all clones of a [`Log`].
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownRewinds {
    shards: Arc<Mutex<HashMap<Shard, Rewinds>>>,
}

impl KnownRewinds {
    fn shards(&self) -> MutexGuard<'_, HashMap<Shard, Rewinds>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, shard: &Shard, rewinds: Rewinds) {
        self.shards().insert(shard.clone(), rewinds);
    }

    /// Position of a message by what is known.
    pub(crate) fn position(&self, shard: &Shard, incarnation: Incarnation, sequence: Sequence) -> Sequence {
        self.with(shard, incarnation, |rewinds| rewinds.position(sequence)).unwrap_or(sequence)
    }

    fn with<T>(&self, shard: &Shard, incarnation: Incarnation, look: impl FnOnce(&Rewinds) -> T) -> Option<T> {
        self.shards().get(shard).filter(|rewinds| rewinds.incarnation == incarnation).map(look)
    }
}

impl Log {
    /// The recorded rewinds of a shard.
    ///
    /// # Errors
    /// `Unavailable`, `Malformed`.
    pub async fn rewinds(&self, shard: &Shard, incarnation: Incarnation) -> Result<Rewinds, LogError> {
        let (rewinds, _) = self.stored_rewinds(shard, incarnation).await?;
        self.known_rewinds().note(shard, rewinds.clone());
        Ok(rewinds)
    }

    async fn stored_rewinds(&self, shard: &Shard, incarnation: Incarnation) -> Result<(Rewinds, u64), LogError> {
        let (stored, revision) = self.record::<Rewinds>("read rewinds", &shard.rewind_key()).await?;
        Ok((stored.map_or_else(|| Rewinds::none(incarnation), |stored| stored.of(incarnation)), revision))
    }

    /// A value of the control bucket and its revision. A bucket that does not exist has none.
    async fn record<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        key: &str,
    ) -> Result<(Option<T>, u64), LogError> {
        match bucket::get(self, operation, key).await {
            Ok(Some(entry)) => Ok((parse(&entry)?, entry.revision)),
            Ok(None) | Err(LogError::NotFound(_)) => Ok((None, 0)),
            Err(error) => Err(error),
        }
    }

    /// Whether the log still holds what `witness` has seen. Asks the leader; one that seems not to has to show that it
    /// leads, and is asked again, if the log is replicated for ten seconds.
    ///
    /// # Errors
    /// `NotFound`, `Recreated`, `Unavailable`, `Refused`.
    pub async fn confirm(&self, shard: &Shard, witness: Checkpoint) -> Result<Standing, LogError> {
        let begun = Instant::now();
        let mut doubted = false;
        loop {
            if doubted {
                self.quorum(shard).await?;
            }
            let info = self.raw_info(shard).await?.ok_or_else(|| LogError::NotFound(shard_name(shard)))?;
            if info.incarnation != witness.incarnation {
                return Err(LogError::Recreated(shard_name(shard)));
            }
            let rewinds = self.rewinds(shard, info.incarnation).await?;
            let standing = self.compare(shard, &info, &rewinds, witness).await?;
            let momentary = !doubted || (info.replicas > 1 && begun.elapsed() < SETTLE);
            match standing {
                Standing::Rewound { .. } if momentary => {
                    doubted = true;
                    sleep(SETTLE_STEP).await;
                }
                standing => return Ok(standing),
            }
        }
    }

    async fn compare(
        &self,
        shard: &Shard,
        info: &RawInfo,
        rewinds: &Rewinds,
        witness: Checkpoint,
    ) -> Result<Standing, LogError> {
        let (sequence, at) = rewinds.trace(witness);
        if sequence == 0 {
            return Ok(Standing::Unchecked);
        }
        if sequence > info.last_sequence {
            let last = info.last_sequence;
            return Ok(Standing::Rewound { evidence: format!("it ends at {last}, but {sequence} was stored") });
        }
        let Some(at) = at else { return Ok(Standing::Unchecked) };
        match self.stored_at(shard, sequence).await? {
            None => Ok(Standing::Unchecked),
            Some(found) if found == at => Ok(Standing::Kept),
            Some(found) => Ok(Standing::Rewound {
                evidence: format!("message {sequence} is of {found} ns, but the one stored there was of {at} ns"),
            }),
        }
    }

    /// When a message was stored, if it is there.
    async fn stored_at(&self, shard: &Shard, sequence: Sequence) -> Result<Option<i64>, LogError> {
        const OPERATION: &str = "read a message";
        if sequence == 0 {
            return Ok(None);
        }
        let stream = self.jetstream().get_stream_no_info(shard.jetstream_name()).await;
        let stream = stream.map_err(|error| LogError::unavailable(OPERATION, error))?;
        match stream.get_raw_message(sequence).await {
            Ok(StreamMessage { time, .. }) => {
                let nanos = i64::try_from(time.unix_timestamp_nanos());
                nanos.map(Some).map_err(|error| LogError::refused(OPERATION, error))
            }
            Err(error) => match error.kind() {
                RawMessageErrorKind::NoMessageFound => Ok(None),
                RawMessageErrorKind::JetStream(error) => Err(LogError::from_api(OPERATION, shard_name(shard), error)),
                RawMessageErrorKind::InvalidSubject => Err(LogError::refused(OPERATION, error)),
                RawMessageErrorKind::Other => Err(LogError::unavailable(OPERATION, error)),
            },
        }
    }

    /// Records that the log went back, as `witness` shows, unless that is recorded or not so. From the first message
    /// that is younger than the witness everything is of the new history. `detected` is the time in microseconds since
    /// the Unix epoch. Returns the rewind if it is news.
    ///
    /// # Errors
    /// `NotFound` (shard or bucket), `Recreated`, `Malformed`, `Unavailable`, `Refused`.
    pub async fn record_rewind(
        &self,
        shard: &Shard,
        witness: Checkpoint,
        detected: i64,
    ) -> Result<Option<Rewind>, LogError> {
        const OPERATION: &str = "record a rewind";
        for _ in 0..ATTEMPTS {
            let Standing::Rewound { evidence } = self.confirm(shard, witness).await? else { return Ok(None) };
            let (mut rewinds, revision) = self.stored_rewinds(shard, witness.incarnation).await?;
            let (seen, at) = rewinds.trace(witness);
            // Described before the younger messages are looked for: what is stored in between is younger.
            let info = self.raw_info(shard).await?.ok_or_else(|| LogError::NotFound(shard_name(shard)))?;
            let end = info.last_sequence + 1;
            let younger = match at {
                Some(at) => self.first_younger(shard, at).await?,
                None => None,
            };
            let from = younger.unwrap_or(end).min(seen);
            let rewind = Rewind {
                from,
                shift: rewinds.next_shift(witness.sequence.max(rewinds.position(info.last_sequence))),
                kept_at: self.stored_at(shard, from - 1).await?,
                newest: witness.sequence,
                newest_at: witness.at,
                detected,
                evidence,
            };
            rewinds.push(rewind.clone());
            if self.put_record(OPERATION, &shard.rewind_key(), &rewinds, revision).await? {
                self.known_rewinds().note(shard, rewinds);
                return Ok(Some(rewind));
            }
        }
        Err(LogError::refused(OPERATION, "others keep storing theirs"))
    }

    /// What a proxy has noticed and nobody has dealt with, as far as the directory's watch has told.
    pub fn suspicion(&self, shard: &Shard, incarnation: Incarnation) -> Option<Suspicion> {
        self.known_rewinds().with(shard, incarnation, |rewinds| rewinds.suspected).flatten()
    }

    /// Whether a recorded rewind took away the message at a position, as far as the directory's watch has told.
    pub fn is_lost(&self, shard: &Shard, incarnation: Incarnation, position: Sequence) -> bool {
        self.known_rewinds().with(shard, incarnation, |rewinds| rewinds.is_lost(position)).unwrap_or(false)
    }

    /// Notes that `sequence` was acknowledged although the position `newest` had been before, unless a rewind explains
    /// it.
    pub(crate) async fn suspect(
        &self,
        shard: &Shard,
        incarnation: Incarnation,
        sequence: Sequence,
        newest: Sequence,
    ) -> Result<(), LogError> {
        const OPERATION: &str = "record a suspicion";
        for _ in 0..ATTEMPTS {
            let (mut rewinds, revision) = self.stored_rewinds(shard, incarnation).await?;
            let position = rewinds.position(sequence);
            let known = rewinds.suspected.is_some_and(|suspected| suspected.position <= position);
            if !known && position <= newest {
                rewinds.suspected = Some(Suspicion { position, shift: rewinds.next_shift(newest) });
                if !self.put_record(OPERATION, &shard.rewind_key(), &rewinds, revision).await? {
                    continue;
                }
            }
            self.known_rewinds().note(shard, rewinds);
            return Ok(());
        }
        Err(LogError::refused(OPERATION, "others keep storing theirs"))
    }

    /// Settles a suspicion: everything after `read`, which is all that any table has been given, is of a new history.
    /// Returns the rewind if there is one.
    ///
    /// # Errors
    /// As [`Log::record_rewind`].
    pub async fn record_split(
        &self,
        shard: &Shard,
        read: Checkpoint,
        detected: i64,
    ) -> Result<Option<Rewind>, LogError> {
        const OPERATION: &str = "record a rewind";
        for _ in 0..ATTEMPTS {
            if let Some(rewind) = self.record_rewind(shard, read, detected).await? {
                return Ok(Some(rewind));
            }
            let (mut rewinds, revision) = self.stored_rewinds(shard, read.incarnation).await?;
            let (last, kept_at) = rewinds.trace(read);
            if rewinds.suspected.is_none() {
                return Ok(None);
            }
            let info = self.raw_info(shard).await?.ok_or_else(|| LogError::NotFound(shard_name(shard)))?;
            let rewind = Rewind {
                from: last + 1,
                shift: rewinds.next_shift(read.sequence.max(rewinds.position(info.last_sequence))),
                kept_at,
                newest: read.sequence,
                newest_at: read.at,
                detected,
                evidence: "a proxy was acknowledged a sequence that had been given before".to_owned(),
            };
            rewinds.push(rewind.clone());
            if self.put_record(OPERATION, &shard.rewind_key(), &rewinds, revision).await? {
                self.known_rewinds().note(shard, rewinds);
                return Ok(Some(rewind));
            }
        }
        Err(LogError::refused(OPERATION, "others keep storing theirs"))
    }

    /// Notes that all envelopes of these producers, up to these numbers, are in their tables.
    ///
    /// # Errors
    /// `Malformed`, `Unavailable`, `Refused`, `NotFound` (no bucket).
    pub async fn save_numbers(
        &self,
        shard: &Shard,
        incarnation: Incarnation,
        numbers: &[(Uuid, u64)],
    ) -> Result<(), LogError> {
        const OPERATION: &str = "store the producers' numbers";
        for _ in 0..ATTEMPTS {
            let (stored, revision) = self.record::<Numbers>(OPERATION, &shard.numbers_key()).await?;
            let mut stored = stored.map_or_else(|| Numbers::none(incarnation), |stored| stored.of(incarnation));
            stored.merge(numbers);
            if self.put_record(OPERATION, &shard.numbers_key(), &stored, revision).await? {
                return Ok(());
            }
        }
        Err(LogError::refused(OPERATION, "others keep storing theirs"))
    }

    /// Up to which number all envelopes of a producer are in their tables, as far as that was noted.
    ///
    /// # Errors
    /// `Malformed`, `Unavailable`.
    pub async fn numbers(&self, shard: &Shard, incarnation: Incarnation) -> Result<Vec<(Uuid, u64)>, LogError> {
        let (stored, _) = self.record::<Numbers>("read the producers' numbers", &shard.numbers_key()).await?;
        Ok(stored.map_or_else(Vec::new, |stored| stored.of(incarnation).numbers))
    }

    /// Adds a loss to those on record; the newest hundred are kept.
    ///
    /// # Errors
    /// `Malformed`, `Unavailable`, `Refused`, `NotFound` (no bucket).
    pub async fn record_loss(&self, shard: &Shard, loss: &Loss) -> Result<(), LogError> {
        const OPERATION: &str = "record a loss";
        for _ in 0..ATTEMPTS {
            let (losses, revision) = self.record::<Losses>(OPERATION, &shard.losses_key()).await?;
            let mut losses = losses.unwrap_or_default();
            if !losses.add(loss.clone()) || self.put_record(OPERATION, &shard.losses_key(), &losses, revision).await? {
                return Ok(());
            }
        }
        Err(LogError::refused(OPERATION, "others keep storing theirs"))
    }

    /// The losses on record.
    ///
    /// # Errors
    /// `Malformed`, `Unavailable`.
    pub async fn losses(&self, shard: &Shard) -> Result<Losses, LogError> {
        Ok(self.record::<Losses>("read losses", &shard.losses_key()).await?.0.unwrap_or_default())
    }

    /// Whether the record was stored; if not, somebody else was first.
    async fn put_record(
        &self,
        operation: &'static str,
        key: &str,
        value: &impl Serialize,
        revision: u64,
    ) -> Result<bool, LogError> {
        Ok(bucket::put(self, operation, key, json(value), Condition::Revision(revision)).await?.is_ok())
    }

    /// The first stored message that is younger than `at`.
    async fn first_younger(&self, shard: &Shard, at: i64) -> Result<Option<Sequence>, LogError> {
        const OPERATION: &str = "find the first message of a new history";
        let start_time = from_nanos(i128::from(at) + 1).map_err(|error| LogError::refused(OPERATION, error))?;
        let config = SessionConfig {
            stream: shard.jetstream_name(),
            deliver: DeliverPolicy::ByStartTime { start_time },
            filter: Vec::new(),
            headers_only: true,
            max_bytes: 0,
        };
        let mut session = Session::open(self, &config).await?;
        if session.pending() == 0 {
            return Ok(None);
        }
        let first = timeout(self.request_timeout(), session.next()).await;
        let first = first.map_err(|error| LogError::unavailable(OPERATION, error))?;
        first.map(|delivered| Some(delivered.sequence)).map_err(|cause| LogError::unavailable(OPERATION, cause))
    }
}
