//! Storing envelopes: one publisher per lane, one envelope at a time, and a precise answer about its fate.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::header::NATS_EXPECTED_STREAM;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{HeaderMap, Request, RequestError, RequestErrorKind, Subject};
use bytes::Bytes;
use frazil_core::Shard;
use frazil_core::checkpoint::{Incarnation, Sequence};
use frazil_core::envelope::EncodedEnvelope;
use frazil_core::rewind::HISTORY;

use crate::connect::Log;
use crate::error::{Cause, LogError};
use crate::shard::shard_name;

/// Publishes to one shard.
#[derive(Debug)]
pub struct ShardPublisher {
    log: Log,
    shard: Shard,
    subject: Subject,
    jetstream_name: String,
    incarnation: AtomicU64,
    /// Highest JetStream sequence seen.
    last: AtomicU64,
    /// Highest position handed out, by the rewinds that were known at the time.
    newest: AtomicU64,
    /// Shift of a rewind that was noticed here and that nobody has recorded yet; 0 for none.
    unrecorded: AtomicU64,
}

/// Proof that an envelope is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its position in the shard.
    pub sequence: Sequence,
    /// An earlier attempt with the same `Nats-Msg-Id` had stored it; `sequence` is of that one.
    pub duplicate: bool,
}

/// Why an envelope is not known to be stored.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The shard has reached its `max_bytes`, or the server its disk. Certainly not stored; retry later.
    #[error("the log is full")]
    Full,
    /// The message exceeds what the server takes. Certainly not stored; never retry.
    #[error("the message is larger than the log takes ({0})")]
    TooLarge(String),
    /// The shard does not exist, or its cluster has no leader. Certainly not stored; retry later.
    #[error("no shard answers")]
    NoShard,
    /// The log said no. Certainly not stored; retrying unchanged is useless.
    #[error("the log refused the message")]
    Refused(#[source] Cause),
    /// It never left this process. Certainly not stored; retry when connected.
    #[error("not connected to the log")]
    NotSent(#[source] Cause),
    /// No acknowledgement came. Perhaps stored; retry the very same envelope, within two minutes, to know.
    #[error("the log did not acknowledge")]
    Unknown(#[source] Cause),
}

impl PublishError {
    /// Whether the envelope may be in the log although the publish failed.
    pub fn may_be_stored(&self) -> bool {
        match self {
            Self::Unknown(_) => true,
            Self::Full | Self::TooLarge(_) | Self::NoShard | Self::Refused(_) | Self::NotSent(_) => false,
        }
    }

    /// Whether publishing the same envelope again may succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Full | Self::NoShard | Self::NotSent(_) | Self::Unknown(_) => true,
            Self::TooLarge(_) | Self::Refused(_) => false,
        }
    }
}

impl ShardPublisher {
    /// Opens the shard, which must exist.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`, `Refused`.
    pub async fn open(log: &Log, shard: &Shard) -> Result<Self, LogError> {
        let info = log.raw_info(shard).await?.ok_or_else(|| LogError::NotFound(shard_name(shard)))?;
        let rewinds = log.rewinds(shard, info.incarnation).await?;
        Ok(Self {
            log: log.clone(),
            subject: shard.subject().into(),
            jetstream_name: shard.jetstream_name(),
            shard: shard.clone(),
            incarnation: AtomicU64::new(info.incarnation.0),
            last: AtomicU64::new(info.last_sequence),
            newest: AtomicU64::new(rewinds.position(info.last_sequence)),
            unrecorded: AtomicU64::new(0),
        })
    }

    /// Incarnation of the shard as of the last stored envelope.
    pub fn incarnation(&self) -> Incarnation {
        Incarnation(self.incarnation.load(Ordering::Acquire))
    }

    /// Stores the envelope and waits for the acknowledgement, which the server sends after its fsync.
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Errors
    /// [`PublishError`]; only `Unknown` leaves it open whether the envelope is stored.
    pub async fn publish(&self, envelope: &EncodedEnvelope, timeout: Duration) -> Result<Stored, PublishError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &envelope.headers {
            headers.insert(*name, value.as_str());
        }
        // Without it a stream that someone gave an overlapping subject could acknowledge in the shard's place.
        headers.insert(NATS_EXPECTED_STREAM, self.jetstream_name.as_str());
        let ack = store(&self.log, self.subject.clone(), headers, envelope.payload.clone(), timeout).await?;
        let last = self.last.fetch_max(ack.sequence, Ordering::AcqRel);
        if !ack.duplicate && ack.sequence <= last {
            self.refresh(ack.sequence, last).await;
        }
        let position = self.position(ack.sequence);
        self.newest.fetch_max(position, Ordering::AcqRel);
        Ok(Stored { sequence: position, duplicate: ack.duplicate })
    }

    fn position(&self, sequence: Sequence) -> Sequence {
        let known = self.log.known_rewinds().position(&self.shard, self.incarnation(), sequence);
        let unrecorded = self.unrecorded.load(Ordering::Acquire);
        if known < unrecorded { sequence + unrecorded } else { known }
    }

    /// Sequences went back: the shard was deleted and made again, or it has lost its tail.
    async fn refresh(&self, sequence: Sequence, last: Sequence) {
        match self.log.raw_info(&self.shard).await {
            Ok(Some(info)) => {
                if info.incarnation == self.incarnation() {
                    self.went_back(sequence, last).await;
                } else {
                    self.unrecorded.store(0, Ordering::Release);
                    self.newest.store(0, Ordering::Release);
                }
                self.incarnation.store(info.incarnation.0, Ordering::Release);
                self.last.store(sequence, Ordering::Release);
            }
            Ok(None) => tracing::warn!(shard = %self.shard, "shard is gone after a publish"),
            Err(error) => tracing::warn!(shard = %self.shard, %error, "cannot read the incarnation of the shard"),
        }
    }

    /// Nothing may look like a place of the lost history, for which a table may vouch. So the message gets the place
    /// that it will have once the writer has recorded the rewind.
    async fn went_back(&self, sequence: Sequence, last: Sequence) {
        let (shard, incarnation, newest) = (&self.shard, self.incarnation(), self.newest.load(Ordering::Acquire));
        tracing::error!(%shard, sequence, last, "ALARM the log went back: a sequence was acknowledged a second time");
        if let Err(error) = self.log.suspect(shard, incarnation, sequence, newest).await {
            tracing::error!(%shard, %error, "cannot tell the writer that the log went back");
        }
        if self.log.known_rewinds().position(shard, incarnation, sequence) <= newest {
            let shift = self.log.suspicion(shard, incarnation).map_or(0, |suspicion| suspicion.shift);
            self.unrecorded.store(shift.max((newest / HISTORY + 1) * HISTORY), Ordering::Release);
        }
    }
}

/// Publishes one message to a JetStream subject and waits for the acknowledgement.
pub(crate) async fn store(
    log: &Log,
    subject: Subject,
    headers: HeaderMap,
    payload: Bytes,
    timeout: Duration,
) -> Result<PublishAck, PublishError> {
    // Taken before the check: a break after it is noticed, so nobody waits for an answer that cannot come.
    let mut link = log.link();
    if !log.is_connected() {
        return Err(PublishError::NotSent("the connection is down".into()));
    }
    let request = Request::new().headers(headers).payload(payload).timeout(Some(timeout));
    let reply = tokio::select! {
        biased;
        reply = log.client().send_request(subject, request) => reply,
        () = link.broken() => return Err(PublishError::Unknown("the connection broke before the acknowledgement".into())),
    };
    let reply = reply.map_err(refine_request_error)?;
    match serde_json::from_slice(&reply.payload) {
        Ok(Response::Ok(ack)) => Ok(ack),
        Ok(Response::Err { error }) => Err(refine_api_error(error)),
        Err(error) => Err(PublishError::Unknown(error.into())),
    }
}

fn refine_request_error(error: RequestError) -> PublishError {
    match error.kind() {
        RequestErrorKind::NoResponders => PublishError::NoShard,
        RequestErrorKind::MaxPayloadExceeded => {
            PublishError::TooLarge(error.source().map_or_else(|| error.to_string(), ToString::to_string))
        }
        RequestErrorKind::InvalidSubject => PublishError::Refused(error.into()),
        RequestErrorKind::TimedOut | RequestErrorKind::Other => PublishError::Unknown(error.into()),
    }
}

fn refine_api_error(error: jetstream::Error) -> PublishError {
    match error.error_code() {
        // One code for everything the store reports; only its bounds are known to leave nothing behind.
        ErrorCode::STREAM_STORE_FAILED => {
            let text = error.to_string();
            if text.contains("maximum bytes exceeded") || text.contains("maximum messages exceeded") {
                PublishError::Full
            } else {
                PublishError::Unknown(error.into())
            }
        }
        ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED => PublishError::Full,
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => PublishError::TooLarge(error.to_string()),
        ErrorCode::CLUSTER_NOT_AVAILABLE | ErrorCode::CLUSTER_NOT_LEADER | ErrorCode::STREAM_OFFLINE => {
            PublishError::NoShard
        }
        // An earlier attempt with the same id is still being replicated.
        ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT => PublishError::Unknown(error.into()),
        _ => PublishError::Refused(error.into()),
    }
}
