//! Shards as JetStream streams: create, describe, purge, delete.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, PurgeResponse, RetentionPolicy, StorageType};
use frazil_core::Shard;
use frazil_core::checkpoint::{Incarnation, Sequence};
use frazil_core::rewind::Rewinds;
use frazil_core::stream::StreamDefinition;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::connect::Log;
use crate::error::LogError;

/// How long a repeated `Nats-Msg-Id` is recognised, so that a publish of unknown outcome can be tried again.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// What JetStream says about a shard, in JetStream's sequences.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawInfo {
    pub(crate) incarnation: Incarnation,
    pub(crate) first_sequence: Sequence,
    pub(crate) last_sequence: Sequence,
    pub(crate) replicas: usize,
    messages: u64,
    bytes: u64,
    max_bytes: u64,
}

impl RawInfo {
    fn of(info: &Info) -> Result<Self, LogError> {
        let created = u64::try_from(info.created.unix_timestamp_nanos())
            .map_err(|error| LogError::refused("describe shard", error))?;
        Ok(Self {
            incarnation: Incarnation(created),
            first_sequence: info.state.first_sequence,
            last_sequence: info.state.last_sequence,
            replicas: info.config.num_replicas,
            messages: info.state.messages,
            bytes: info.state.bytes,
            max_bytes: u64::try_from(info.config.max_bytes).unwrap_or(u64::MAX),
        })
    }

    fn at(self, rewinds: &Rewinds) -> ShardInfo {
        let Self { incarnation, first_sequence, last_sequence, messages, bytes, max_bytes, .. } = self;
        let (first_sequence, last_sequence) = (rewinds.position(first_sequence), rewinds.position(last_sequence));
        ShardInfo { incarnation, first_sequence, last_sequence, messages, bytes, max_bytes }
    }
}

/// How a shard is set up in JetStream, for those who look after it.
#[derive(Debug, Clone)]
pub struct ShardDetail {
    /// What it holds.
    pub info: ShardInfo,
    /// Copies on the cluster.
    pub replicas: usize,
    /// Copies that lag behind or are offline, by server name.
    pub lagging: Vec<String>,
    /// Kept in files, not in memory.
    pub on_disk: bool,
    /// A full log refuses; it does not drop what is old.
    pub refuses_when_full: bool,
    /// Nothing is dropped for its age, number or because somebody has read it.
    pub keeps_everything: bool,
    /// Nobody may delete single messages.
    pub denies_deletes: bool,
}

impl ShardDetail {
    fn of(info: &Info, rewinds: &Rewinds) -> Result<Self, LogError> {
        let config = &info.config;
        let replicas = info.cluster.iter().flat_map(|cluster| &cluster.replicas);
        let lagging = replicas.filter(|replica| replica.offline || !replica.current);
        let unlimited = config.max_age.is_zero() && config.max_messages <= 0 && config.max_messages_per_subject <= 0;
        Ok(Self {
            info: RawInfo::of(info)?.at(rewinds),
            replicas: config.num_replicas,
            lagging: lagging.map(|replica| replica.name.clone()).collect(),
            on_disk: config.storage == StorageType::File,
            refuses_when_full: config.discard == DiscardPolicy::New,
            keeps_everything: unlimited && config.retention == RetentionPolicy::Limits,
            denies_deletes: config.deny_delete,
        })
    }
}

/// What JetStream says about a shard. Sequences are positions, see [`frazil_core::rewind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardInfo {
    /// Tells it from a later shard of the same name.
    pub incarnation: Incarnation,
    /// Oldest stored sequence; `last_sequence + 1` if the shard is empty but was not always, 0 if it is new.
    pub first_sequence: Sequence,
    /// Newest sequence ever stored, 0 if none.
    pub last_sequence: Sequence,
    /// Stored messages.
    pub messages: u64,
    /// Stored bytes.
    pub bytes: u64,
    /// Bound of `bytes`.
    pub max_bytes: u64,
}

impl Log {
    /// Makes the shard, or brings an existing one to the definition's `max_bytes` and `replicas`. Idempotent.
    ///
    /// # Errors
    /// `Unavailable`, `Refused` (not enough servers or disk).
    pub async fn create_shard(&self, shard: &Shard, definition: &StreamDefinition) -> Result<ShardInfo, LogError> {
        const OPERATION: &str = "create shard";
        let wanted = config(shard, definition)?;
        let name = shard.jetstream_name();
        let (subject, config) = match self.stream_info(&name).await? {
            None => (format!("STREAM.CREATE.{name}"), wanted),
            Some(info) => {
                // Only what a definition may change; the rest is as it was made, or as an operator tuned it.
                let config =
                    Config { max_bytes: wanted.max_bytes, num_replicas: wanted.num_replicas, ..info.config.clone() };
                if config == info.config {
                    return self.describe(shard, &info).await;
                }
                (format!("STREAM.UPDATE.{name}"), config)
            }
        };
        let info: Info = self.api(OPERATION, subject, &config).await?.map_err(|error| match error.error_code() {
            ErrorCode::STORAGE_RESOURCES_EXCEEDED => LogError::refused(OPERATION, no_room(definition)),
            _ => LogError::from_api(OPERATION, shard_name(shard), error),
        })?;
        self.describe(shard, &info).await
    }

    /// Deletes the shard with everything stored in it. Nothing to delete is no error.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    pub async fn delete_shard(&self, shard: &Shard) -> Result<(), LogError> {
        const OPERATION: &str = "delete shard";
        let subject = format!("STREAM.DELETE.{}", shard.jetstream_name());
        match self.api::<IgnoredAny>(OPERATION, subject, &json!({})).await? {
            Ok(IgnoredAny) => Ok(()),
            Err(error) => match LogError::from_api(OPERATION, shard_name(shard), error) {
                LogError::NotFound(_) => Ok(()),
                error => Err(error),
            },
        }
    }

    /// Describes the shard, if it exists.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    pub async fn shard_info(&self, shard: &Shard) -> Result<Option<ShardInfo>, LogError> {
        match self.stream_info(&shard.jetstream_name()).await? {
            Some(info) => self.describe(shard, &info).await.map(Some),
            None => Ok(None),
        }
    }

    /// Describes the shard and how it is set up, if it exists.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`, `Malformed`.
    pub async fn shard_detail(&self, shard: &Shard) -> Result<Option<ShardDetail>, LogError> {
        let Some(info) = self.stream_info(&shard.jetstream_name()).await? else { return Ok(None) };
        let rewinds = self.rewinds(shard, RawInfo::of(&info)?.incarnation).await?;
        ShardDetail::of(&info, &rewinds).map(Some)
    }

    /// Describes the shard in JetStream's sequences, if it exists.
    pub(crate) async fn raw_info(&self, shard: &Shard) -> Result<Option<RawInfo>, LogError> {
        self.stream_info(&shard.jetstream_name()).await?.as_ref().map(RawInfo::of).transpose()
    }

    async fn describe(&self, shard: &Shard, info: &Info) -> Result<ShardInfo, LogError> {
        let info = RawInfo::of(info)?;
        Ok(info.at(&self.rewinds(shard, info.incarnation).await?))
    }

    /// Frees every message up to and including position `through`; returns how many. It never touches another
    /// incarnation than the one named, so that a writer that missed a recreation cannot free unread events.
    ///
    /// # Errors
    /// `Recreated`, `NotFound`, `Unavailable`, `Refused`.
    pub async fn purge_through(
        &self,
        shard: &Shard,
        incarnation: Incarnation,
        through: Sequence,
    ) -> Result<u64, LogError> {
        const OPERATION: &str = "purge shard";
        let info = self.raw_info(shard).await?.ok_or_else(|| LogError::NotFound(shard_name(shard)))?;
        if info.incarnation != incarnation {
            return Err(LogError::Recreated(shard_name(shard)));
        }
        let through = self.rewinds(shard, incarnation).await?.last_through(through);
        // Purging past the end would make JetStream skip sequences; purging "up to 0" would free everything.
        let through = through.min(info.last_sequence);
        if info.messages == 0 || through < info.first_sequence {
            return Ok(0);
        }
        let subject = format!("STREAM.PURGE.{}", shard.jetstream_name());
        // JetStream frees what is below `seq`, exclusive.
        let answer = self.api::<PurgeResponse>(OPERATION, subject, &json!({ "seq": through + 1 })).await?;
        answer.map(|purged| purged.purged).map_err(|error| LogError::from_api(OPERATION, shard_name(shard), error))
    }

    /// Returns once a quorum of a replicated shard's servers has agreed to whatever came before. A leader that was
    /// cut off from the others goes on answering for a while; this it cannot answer.
    ///
    /// It is a purge of a subject under which nothing is stored: JetStream agrees on it and then frees nothing.
    pub(crate) async fn quorum(&self, shard: &Shard) -> Result<(), LogError> {
        const OPERATION: &str = "ask a quorum";
        let subject = format!("STREAM.PURGE.{}", shard.jetstream_name());
        let nothing = json!({ "filter": format!("{}.nothing", shard.subject()) });
        let answer = self.api::<PurgeResponse>(OPERATION, subject, &nothing).await?;
        answer.map(|_| ()).map_err(|error| LogError::from_api(OPERATION, shard_name(shard), error))
    }

    /// What JetStream says about a stream, if it exists.
    async fn stream_info(&self, name: &str) -> Result<Option<Info>, LogError> {
        const OPERATION: &str = "describe shard";
        match self.api(OPERATION, format!("STREAM.INFO.{name}"), &json!({})).await? {
            // A member of a cluster answers without its leader too, with what it happens to hold.
            Ok(Info { cluster: Some(cluster), .. }) if cluster.leader.is_none() => {
                Err(LogError::unavailable(OPERATION, "it has no leader"))
            }
            Ok(info) => Ok(Some(info)),
            Err(error) => match LogError::from_api(OPERATION, name, error) {
                LogError::NotFound(_) => Ok(None),
                error => Err(error),
            },
        }
    }
}

/// A shard reserves its `max_bytes`, so this comes on an empty server too.
fn no_room(definition: &StreamDefinition) -> String {
    format!(
        "its {} bytes are more than the log's servers have left of what they may store (max_file_store, by default three \
         quarters of the free disk); choose a smaller max_bytes",
        definition.max_bytes
    )
}

pub(crate) fn shard_name(shard: &Shard) -> String {
    format!("shard {shard}")
}

fn config(shard: &Shard, definition: &StreamDefinition) -> Result<Config, LogError> {
    let max_bytes = i64::try_from(definition.max_bytes)
        .map_err(|_| LogError::Config(format!("max_bytes {} is out of range", definition.max_bytes)))?;
    Ok(Config {
        name: shard.jetstream_name(),
        subjects: vec![shard.subject()],
        storage: StorageType::File,
        num_replicas: definition.replicas as usize,
        max_bytes,
        // A full log refuses; it never drops what is not committed. For the same reason there is no max_age.
        discard: DiscardPolicy::New,
        duplicate_window: DUPLICATE_WINDOW,
        allow_direct: true,
        deny_delete: true,
        ..Config::default()
    })
}
