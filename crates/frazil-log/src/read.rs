//! Reading a shard: every stored message from a position on, exactly once, in order.

use std::time::Duration;
use std::{fmt, future};

use async_nats::HeaderValue;
use async_nats::datetime::from_nanos;
use async_nats::jetstream::consumer::DeliverPolicy;
use bytes::Bytes;
use frazil_core::Shard;
use frazil_core::checkpoint::{Checkpoint, Incarnation, Sequence};
use frazil_core::rewind::Rewinds;
use futures::future::BoxFuture;
use tokio::time::{sleep, timeout};

use crate::connect::Log;
use crate::error::{Cause, LogError};
use crate::rewind::Standing;
use crate::session::{Delivered, Session, SessionConfig};
use crate::shard::shard_name;

/// First wait before a failed session is tried again; doubles up to the maximum.
const BACKOFF: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A session that lived this long was no failure to begin with.
const STABLE: Duration = Duration::from_secs(10);

/// Where reading starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At this position (inclusive); 0 means at the oldest stored message, whichever that is.
    /// Above 0, missing messages from this sequence on are reported as [`ReadError::Gap`].
    Sequence(Sequence),
    /// At the first message stored at or after this time, in nanoseconds since the Unix epoch.
    Time(i64),
}

/// How much of each message is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadMode {
    /// Headers and payload.
    Full,
    /// Headers only; payloads are empty and do not cross the network.
    HeadersOnly,
}

/// Message headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    pairs: Vec<(String, String)>,
}

impl Headers {
    /// The first value of a header.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl FromIterator<(String, String)> for Headers {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self { pairs: pairs.into_iter().collect() }
    }
}

/// One stored message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its place in the shard.
    pub sequence: Sequence,
    /// When the log stored it, in nanoseconds since the Unix epoch.
    pub timestamp_nanos: i64,
    /// Its headers.
    pub headers: Headers,
    /// Its payload; empty in [`ReadMode::HeadersOnly`].
    pub payload: Bytes,
}

/// Why there is no next message.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log does not answer. Call again: the reader waits a little and continues where it was.
    #[error("the shard cannot be read now")]
    Unavailable(#[source] Cause),
    /// Messages `expected..found` are gone. Alarm; calling again continues at `found`.
    #[error("messages {expected} to {} are gone from the log", found - 1)]
    Gap {
        /// First missing sequence.
        expected: Sequence,
        /// First sequence that is there.
        found: Sequence,
    },
    /// The log went back: what was read last (or the message before the start) is not there any more. Alarm. Record it
    /// with [`Log::record_rewind`] and open a new reader; this one will not read on.
    #[error("the log went back: {evidence}")]
    Rewound {
        /// The newest message known of the lost history.
        witness: Checkpoint,
        /// What shows it.
        evidence: String,
    },
    /// Somebody has recorded a rewind, so that positions are other ones from here on. Final: open a new reader.
    #[error("the log went back, as another process has recorded")]
    Shifted,
    /// The shard was deleted and made again. Final: open a new reader.
    #[error("the shard was deleted and created again (now {0})")]
    Recreated(Incarnation),
    /// The shard does not exist any more. Open a new reader when it does.
    #[error("the shard was deleted")]
    Deleted,
}

/// Reads one shard. Holds at most about `max_in_flight_bytes` of messages that [`ShardReader::next`] has not yielded
/// yet (never less than two messages of the largest size).
pub struct ShardReader {
    log: Log,
    shard: Shard,
    incarnation: Incarnation,
    mode: ReadMode,
    max_in_flight_bytes: usize,
    position: Position,
    rewinds: Rewinds,
    /// What was read last, or stands before the start.
    seen: Option<Checkpoint>,
    state: State,
    /// A message behind a gap that was just reported.
    held: Option<Message>,
    /// The sequence that a session skipped; if the next session skips it too, it is gone.
    suspect: Option<Sequence>,
    /// Sessions that ended, or did not begin, since the last success.
    failures: u32,
}

/// What is read next, in JetStream's sequences.
#[derive(Debug, Clone, Copy)]
enum Position {
    Oldest,
    At(Sequence),
    Since(i64),
}

enum State {
    /// The future lives here, not in `next`, so that a caller who cancels often still makes progress.
    Opening(BoxFuture<'static, Result<Session, ReadError>>),
    Reading(Box<Session>),
}

impl fmt::Debug for ShardReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reading = matches!(self.state, State::Reading(_));
        f.debug_struct("ShardReader")
            .field("shard", &self.shard)
            .field("incarnation", &self.incarnation)
            .field("position", &self.position)
            .field("reading", &reading)
            .finish_non_exhaustive()
    }
}

impl ShardReader {
    /// Opens the shard, which must exist, for reading from `start` on.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`, `Refused`.
    pub async fn open(
        log: &Log,
        shard: &Shard,
        start: Start,
        mode: ReadMode,
        max_in_flight_bytes: usize,
    ) -> Result<Self, LogError> {
        let info = log.raw_info(shard).await?.ok_or_else(|| LogError::NotFound(shard_name(shard)))?;
        let incarnation = info.incarnation;
        let rewinds = log.rewinds(shard, incarnation).await?;
        let (position, seen) = match start {
            Start::Sequence(0) => (Position::Oldest, None),
            Start::Sequence(position) => {
                let before = Checkpoint { incarnation, sequence: position - 1, at: None };
                (Position::At(rewinds.first_from(position)), Some(before))
            }
            Start::Time(nanos) => (Position::Since(nanos), None),
        };
        let mut reader = Self {
            log: log.clone(),
            shard: shard.clone(),
            incarnation,
            mode,
            max_in_flight_bytes,
            position,
            rewinds,
            seen,
            state: State::Opening(Box::pin(future::pending())),
            held: None,
            suspect: None,
            failures: 0,
        };
        reader.reopen();
        Ok(reader)
    }

    /// Names the message before the start by its time too, so that the reader notices if the log goes back before the
    /// first message is read. Must come before the first [`ShardReader::next`].
    pub fn expect(&mut self, witness: Checkpoint) {
        self.seen = Some(witness);
        self.reopen();
    }

    /// Incarnation of the shard that is read.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The next message; waits for ever while there is none. Cancel-safe: dropping the future loses nothing.
    ///
    /// # Errors
    /// [`ReadError`]; after each but `Recreated` and `Shifted` it is right to call again.
    pub async fn next(&mut self) -> Result<Message, ReadError> {
        if let Some(message) = self.held.take() {
            return Ok(message);
        }
        loop {
            match &mut self.state {
                State::Opening(opening) => match opening.await {
                    Ok(session) => self.state = State::Reading(Box::new(session)),
                    Err(error) => {
                        self.failures += 1;
                        self.reopen();
                        return Err(error);
                    }
                },
                State::Reading(session) => match session.next().await {
                    Ok(delivered) => {
                        if let Some(outcome) = self.judge(delivered) {
                            return outcome;
                        }
                    }
                    Err(cause) => {
                        tracing::debug!(shard = %self.shard, %cause, "reading the shard anew");
                        self.failures = if session.age() > STABLE { 1 } else { self.failures + 1 };
                        self.reopen();
                    }
                },
            }
        }
    }

    /// Decides whether a message is the next one; `None` if it is not and reading goes on.
    fn judge(&mut self, delivered: Delivered) -> Option<Result<Message, ReadError>> {
        let found = delivered.sequence;
        let expected = match self.position {
            Position::At(expected) => expected,
            Position::Oldest | Position::Since(_) => found,
        };
        if found < expected {
            // Sequences are given again.
            self.reopen();
            return None;
        }
        if found > expected && self.suspect != Some(expected) {
            // The consumer may run on a replica that is not what it should be; a second one must agree.
            self.suspect = Some(expected);
            self.reopen();
            return None;
        }
        self.suspect = None;
        self.failures = 0;
        self.position = Position::At(found + 1);
        let sequence = self.rewinds.position(found);
        let message = Message { sequence, ..Message::from(delivered) };
        self.seen = Some(Checkpoint { incarnation: self.incarnation, sequence, at: Some(message.timestamp_nanos) });
        if found > expected {
            self.held = Some(message);
            return Some(Err(ReadError::Gap { expected: sequence - (found - expected), found: sequence }));
        }
        Some(Ok(message))
    }

    /// Starts the next session at the position, later the more often it has failed.
    fn reopen(&mut self) {
        let delay = match self.failures {
            0 | 1 => Duration::ZERO,
            failures => (BACKOFF * (1 << failures.min(7))).min(BACKOFF_MAX),
        };
        let deliver = match self.position {
            Position::Oldest => DeliverPolicy::All,
            Position::At(start_sequence) => DeliverPolicy::ByStartSequence { start_sequence },
            Position::Since(nanos) => match from_nanos(i128::from(nanos)) {
                Ok(start_time) => DeliverPolicy::ByStartTime { start_time },
                // Out of the range of times: before every message, or after.
                Err(_) if nanos < 0 => DeliverPolicy::All,
                Err(_) => DeliverPolicy::New,
            },
        };
        let config = SessionConfig {
            stream: self.shard.jetstream_name(),
            deliver,
            filter: Vec::new(),
            headers_only: self.mode == ReadMode::HeadersOnly,
            max_bytes: self.max_in_flight_bytes,
        };
        let (log, shard, rewinds, seen) = (self.log.clone(), self.shard.clone(), self.rewinds.clone(), self.seen);
        self.state = State::Opening(Box::pin(async move {
            sleep(delay).await;
            open_session(&log, &shard, &config, &rewinds, seen).await
        }));
    }
}

async fn open_session(
    log: &Log,
    shard: &Shard,
    config: &SessionConfig,
    rewinds: &Rewinds,
    seen: Option<Checkpoint>,
) -> Result<Session, ReadError> {
    // A request while disconnected would be queued, and its consumer created for nobody.
    let connected = timeout(log.request_timeout(), log.connected()).await;
    connected.map_err(|elapsed| ReadError::Unavailable(elapsed.into()))?;
    let session = Session::open(log, config).await.map_err(refine_open_error)?;
    // After the consumer was created, so that the description is of the stream it belongs to, or of a later one.
    let info = log.raw_info(shard).await.map_err(refine_open_error)?.ok_or(ReadError::Deleted)?;
    if info.incarnation != rewinds.incarnation {
        return Err(ReadError::Recreated(info.incarnation));
    }
    let recorded = log.rewinds(shard, info.incarnation).await.map_err(refine_open_error)?;
    if recorded.newest_shift() != rewinds.newest_shift() {
        return Err(ReadError::Shifted);
    }
    let Some(witness) = seen else { return Ok(session) };
    match log.confirm(shard, witness).await.map_err(refine_open_error)? {
        Standing::Kept | Standing::Unchecked => Ok(session),
        Standing::Rewound { evidence } => Err(ReadError::Rewound { witness, evidence }),
    }
}

fn refine_open_error(error: LogError) -> ReadError {
    match error {
        LogError::NotFound(_) => ReadError::Deleted,
        LogError::Config(_)
        | LogError::Unavailable { .. }
        | LogError::Refused { .. }
        | LogError::AlreadyExists(_)
        | LogError::Recreated(_)
        | LogError::Malformed { .. } => ReadError::Unavailable(error.into()),
    }
}

impl From<Delivered> for Message {
    fn from(delivered: Delivered) -> Self {
        let first = |values: &[HeaderValue]| values.first().map(|value| value.as_str().to_owned());
        let headers = delivered.headers.iter();
        let headers = headers.filter_map(|(name, values)| Some((name.to_string(), first(values)?))).collect();
        Self {
            sequence: delivered.sequence,
            timestamp_nanos: delivered.timestamp_nanos,
            headers,
            payload: delivered.payload,
        }
    }
}
