//! The control bucket as a JetStream key-value bucket: raw keys and values, no knowledge of what they mean.
//!
//! The layout is that of NATS key-value buckets, so that every NATS tool can read it. Reads go to the leader:
//! what one process has written, another one sees.

use std::time::Duration;

use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::context::CreateKeyValueErrorKind;
use async_nats::jetstream::kv;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, StorageType};
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::connect::Log;
use crate::error::{Cause, LogError};
use crate::publish::{PublishError, store};
use crate::session::{Delivered, Session, SessionConfig};

pub(crate) const BUCKET: &str = "FRAZIL";
const JETSTREAM_NAME: &str = "KV_FRAZIL";
const SUBJECT_PREFIX: &str = "$KV.FRAZIL.";
const OPERATION_HEADER: &str = "KV-Operation";
/// Between two tries to write while nobody takes it.
const NO_LEADER_WAIT: Duration = Duration::from_millis(50);
/// Bound of a watch's unread bytes.
const WATCH_BYTES: usize = 4 << 20;

/// The newest entry of a key.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// `None` if the key was deleted.
    pub(crate) value: Option<Bytes>,
    /// Names this version of the entry.
    pub(crate) revision: u64,
}

impl Entry {
    pub(crate) fn from_delivered(delivered: Delivered) -> Self {
        Self::new(&delivered.subject, &delivered.headers, delivered.payload, delivered.sequence)
    }

    fn new(subject: &str, headers: &HeaderMap, payload: Bytes, revision: u64) -> Self {
        // Present only on the markers that deleting and purging leave behind.
        let deleted = headers.get(OPERATION_HEADER).is_some_and(|operation| operation.as_str() != "PUT");
        let key = subject.strip_prefix(SUBJECT_PREFIX).unwrap_or(subject).to_owned();
        Self { key, value: (!deleted).then_some(payload), revision }
    }
}

/// A write that depends on what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    /// The key's newest entry has this revision; 0 for a key that never existed.
    Revision(u64),
}

/// A conditional write came too late.
#[derive(Debug)]
pub(crate) struct Conflict;

pub(crate) async fn ensure(log: &Log, replicas: u32) -> Result<(), LogError> {
    const OPERATION: &str = "create the control bucket";
    match get(log, OPERATION, "-").await {
        Err(LogError::NotFound(_)) => {}
        other => return other.map(|_| ()),
    }
    let config = kv::Config {
        bucket: BUCKET.to_owned(),
        description: "Frazil: stream definitions, tokens, progress".to_owned(),
        history: 1,
        storage: StorageType::File,
        num_replicas: replicas as usize,
        ..kv::Config::default()
    };
    let created = log.jetstream().create_key_value(config).await;
    let Err(error) = created else { return Ok(()) };
    // Someone else may have made it in the meantime, with other settings.
    match get(log, OPERATION, "-").await {
        Err(LogError::NotFound(_)) => match error.kind() {
            CreateKeyValueErrorKind::BucketCreate
            | CreateKeyValueErrorKind::InvalidStoreName
            | CreateKeyValueErrorKind::TooLongHistory => Err(LogError::refused(OPERATION, error)),
            CreateKeyValueErrorKind::JetStream
            | CreateKeyValueErrorKind::TimedOut
            | CreateKeyValueErrorKind::LimitMarkersNotSupported => Err(LogError::unavailable(OPERATION, error)),
        },
        other => other.map(|_| ()),
    }
}

pub(crate) async fn get(log: &Log, operation: &'static str, key: &str) -> Result<Option<Entry>, LogError> {
    let unavailable = |cause: Cause| LogError::unavailable(operation, cause);
    let stream = log.jetstream().get_stream_no_info(JETSTREAM_NAME).await;
    let stream = stream.map_err(|error| unavailable(error.into()))?;
    match stream.get_last_raw_message_by_subject(&format!("{SUBJECT_PREFIX}{key}")).await {
        Ok(message) => Ok(Some(Entry::new(&message.subject, &message.headers, message.payload, message.sequence))),
        Err(error) => match error.kind() {
            LastRawMessageErrorKind::NoMessageFound => Ok(None),
            LastRawMessageErrorKind::JetStream(error) => Err(LogError::from_api(operation, bucket_name(), error)),
            LastRawMessageErrorKind::InvalidSubject => Err(LogError::refused(operation, error)),
            LastRawMessageErrorKind::Other => Err(unavailable(error.into())),
        },
    }
}

pub(crate) async fn put(
    log: &Log,
    operation: &'static str,
    key: &str,
    value: Vec<u8>,
    condition: Condition,
) -> Result<Result<(), Conflict>, LogError> {
    write(log, operation, key, value.into(), HeaderMap::new(), condition).await
}

/// Deletes a key; a key that is not there is left alone.
pub(crate) async fn delete(log: &Log, operation: &'static str, key: &str) -> Result<(), LogError> {
    if get(log, operation, key).await?.is_none_or(|entry| entry.value.is_none()) {
        return Ok(());
    }
    let mut headers = HeaderMap::new();
    headers.insert(OPERATION_HEADER, "DEL");
    let written = write(log, operation, key, Bytes::new(), headers, Condition::Always).await?;
    written.map_err(|Conflict| LogError::refused(operation, "an unconditional write was refused"))
}

async fn write(
    log: &Log,
    operation: &'static str,
    key: &str,
    value: Bytes,
    mut headers: HeaderMap,
    condition: Condition,
) -> Result<Result<(), Conflict>, LogError> {
    if let Condition::Revision(revision) = condition {
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, revision.to_string().as_str());
    }
    let subject = Subject::from(format!("{SUBJECT_PREFIX}{key}"));
    let deadline = Instant::now() + log.request_timeout();
    loop {
        let stored = store(log, subject.clone(), headers.clone(), value.clone(), log.request_timeout()).await;
        match stored {
            Ok(_) => return Ok(Ok(())),
            Err(PublishError::Refused(cause)) if is_conflict(&cause) => return Ok(Err(Conflict)),
            // Not stored: there is no bucket, or one of a cluster that was made, or has lost its leader, this moment.
            Err(error @ PublishError::NoShard) => match get(log, operation, key).await {
                Err(missing @ LogError::NotFound(_)) => return Err(missing),
                _ if Instant::now() >= deadline => return Err(LogError::unavailable(operation, error)),
                _ => sleep(NO_LEADER_WAIT).await,
            },
            Err(error @ (PublishError::NotSent(_) | PublishError::Unknown(_))) => {
                return Err(LogError::unavailable(operation, error));
            }
            Err(error @ (PublishError::Full | PublishError::TooLarge(_) | PublishError::Refused(_))) => {
                return Err(LogError::refused(operation, error));
            }
        }
    }
}

fn is_conflict(cause: &Cause) -> bool {
    let error = cause.downcast_ref::<jetstream::Error>();
    error.is_some_and(|error| error.error_code() == ErrorCode::STREAM_WRONG_LAST_SEQUENCE)
}

/// All present entries whose keys match (`*` stands for one word), and the session that yields what comes after.
///
/// In a cluster any replica may serve the session, and one that was away knows only what was written before. So the
/// entries are complete when the newest that the leader names is among them.
pub(crate) async fn watch(log: &Log, keys: &[&str]) -> Result<(Vec<Entry>, Session), LogError> {
    const OPERATION: &str = "watch the control bucket";
    let mut newest = 0;
    for key in keys {
        let entry = get(log, OPERATION, key).await?;
        newest = newest.max(entry.map_or(0, |entry| entry.revision));
    }
    let config = SessionConfig {
        stream: JETSTREAM_NAME.to_owned(),
        deliver: DeliverPolicy::LastPerSubject,
        filter: keys.iter().map(|key| format!("{SUBJECT_PREFIX}{key}")).collect(),
        headers_only: false,
        max_bytes: WATCH_BYTES,
    };
    let mut session = Session::open(log, &config).await.map_err(|error| match error {
        LogError::NotFound(_) => LogError::NotFound(bucket_name()),
        error => error,
    })?;
    let mut entries = Vec::new();
    let collect = async {
        let (mut pending, mut revision) = (session.pending(), 0);
        while pending > 0 || revision < newest {
            let delivered = session.next().await?;
            (pending, revision) = (delivered.pending, delivered.sequence);
            entries.push(Entry::from_delivered(delivered));
        }
        Ok::<(), Cause>(())
    };
    // An entry that is replaced while it is waited for comes as its replacement, which is newer still.
    let collected = tokio::time::timeout(log.request_timeout(), collect).await;
    collected
        .map_err(|error| LogError::unavailable(OPERATION, error))?
        .map_err(|cause| LogError::unavailable(OPERATION, cause))?;
    Ok((entries, session))
}

fn bucket_name() -> String {
    format!("control bucket {BUCKET}")
}
