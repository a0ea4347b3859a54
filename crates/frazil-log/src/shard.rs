//! Shards as JetStream streams: create, describe, purge, delete.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, PurgeResponse, StorageType};
use frazil_core::Shard;
use frazil_core::checkpoint::{Incarnation, Sequence};
use frazil_core::stream::StreamDefinition;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::connect::Log;
use crate::error::LogError;

/// How long a repeated `Nats-Msg-Id` is recognised, so that a publish of unknown outcome can be tried again.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// What JetStream says about a shard.
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
                    return describe(&info);
                }
                (format!("STREAM.UPDATE.{name}"), config)
            }
        };
        let info: Info = self
            .api(OPERATION, subject, &config)
            .await?
            .map_err(|error| LogError::from_api(OPERATION, shard_name(shard), error))?;
        describe(&info)
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
        self.stream_info(&shard.jetstream_name()).await?.as_ref().map(describe).transpose()
    }

    /// Frees every message up to and including `through`; returns how many. It never touches another
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
        let info = self.shard_info(shard).await?.ok_or_else(|| LogError::NotFound(shard_name(shard)))?;
        if info.incarnation != incarnation {
            return Err(LogError::Recreated(shard_name(shard)));
        }
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

    /// What JetStream says about a stream, if it exists.
    async fn stream_info(&self, name: &str) -> Result<Option<Info>, LogError> {
        const OPERATION: &str = "describe shard";
        match self.api(OPERATION, format!("STREAM.INFO.{name}"), &json!({})).await? {
            Ok(info) => Ok(Some(info)),
            Err(error) => match LogError::from_api(OPERATION, name, error) {
                LogError::NotFound(_) => Ok(None),
                error => Err(error),
            },
        }
    }
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

fn describe(info: &Info) -> Result<ShardInfo, LogError> {
    let created = u64::try_from(info.created.unix_timestamp_nanos())
        .map_err(|error| LogError::refused("describe shard", error))?;
    Ok(ShardInfo {
        incarnation: Incarnation(created),
        first_sequence: info.state.first_sequence,
        last_sequence: info.state.last_sequence,
        messages: info.state.messages,
        bytes: info.state.bytes,
        max_bytes: u64::try_from(info.config.max_bytes).unwrap_or(u64::MAX),
    })
}
