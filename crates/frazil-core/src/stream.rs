//! What an event stream is: its shards, its policies, and the bounds of its log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, Incarnation, Sequence};
use crate::limits::{SHARDS_MAX, TEMPLATE_SCHEMA_MAX_BYTES};
use crate::name::{Shard, StreamName, TableName};
use crate::policy::TablePolicy;
use crate::rate::RateLimits;
use crate::routing::{Routing, RoutingError};

/// What happens to a request whose table does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMissingTable {
    /// `404 NOT_FOUND`.
    #[default]
    NotFound,
    /// The table is created with a schema inferred from the request.
    Create,
}

/// What tables that are missing are created with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TableTemplate {
    /// Schema as JSON of the Iceberg table spec (appendix C); inferred from the first request if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<serde_json::Value>,
    /// Partition spec such as `day(event_time), bucket(16, user_id)`; `day(__ts__)` if absent, none if empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition_by: Option<String>,
    /// Sort order such as `user_id, event_time desc nulls last`; none if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort_by: Option<String>,
    /// Table properties.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
    /// Whether a namespace that does not exist is an error; else it is created.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strict_namespace: bool,
}

/// An event stream, as stored under `stream.<name>` in the control bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamDefinition {
    /// Name of the stream.
    pub name: StreamName,
    /// Number of shards.
    pub shards: u32,
    /// When the definition was made, in microseconds since the Unix epoch.
    pub created: i64,
    /// Table of requests that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_table: Option<TableName>,
    /// What happens to a request whose table does not exist.
    #[serde(default)]
    pub on_missing_table: OnMissingTable,
    /// What missing tables are created with.
    #[serde(default, skip_serializing_if = "is_default")]
    pub create: TableTemplate,
    /// How the table of an event is found if the request names none; comes before the default table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<Routing>,
    /// How events become rows, unless a table's properties say otherwise.
    #[serde(default, skip_serializing_if = "is_default")]
    pub policy: TablePolicy,
    /// What all senders together may send.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: RateLimits,
    /// How long a repeated `Idempotency-Key` is recognised, in seconds.
    pub dedupe_window_secs: u32,
    /// How long committed events stay in the log for a replay, in seconds.
    pub replay_retention_secs: u32,
    /// Bound of each shard's log, in bytes. At the bound requests get `429`; nothing old is dropped.
    pub max_bytes: u64,
    /// Copies of each shard on the NATS cluster: 1, 3 or 5.
    pub replicas: u32,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A stream definition no log can serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Number of shards out of bounds.
    #[error("a stream has 1 to {SHARDS_MAX} shards, not {0}")]
    Shards(u32),
    /// Replicas that JetStream cannot place.
    #[error("replicas must be 1, 3 or 5, not {0}")]
    Replicas(u32),
    /// A window of zero would make idempotency keys void.
    #[error("the dedupe window must be at least one second and at most seven days, not {0} s")]
    DedupeWindow(u32),
    /// A log smaller than a few messages.
    #[error("max_bytes must be at least 16 MiB, not {0}")]
    MaxBytes(u64),
    /// A routing rule that cannot work.
    #[error(transparent)]
    Routing(#[from] RoutingError),
    /// A schema too large to be stored with the stream.
    #[error("the schema for new tables is {0} bytes of JSON, at most {TEMPLATE_SCHEMA_MAX_BYTES} are allowed")]
    TemplateSchema(usize),
}

impl StreamDefinition {
    /// Default dedupe window: one hour.
    pub const DEFAULT_DEDUPE_WINDOW_SECS: u32 = 3600;
    /// Default bound of each shard's log: 16 GiB.
    pub const DEFAULT_MAX_BYTES: u64 = 16 << 30;

    /// A definition with the defaults: one shard, one replica, 404 for missing tables.
    pub fn new(name: StreamName, created: i64) -> Self {
        Self {
            name,
            shards: 1,
            created,
            default_table: None,
            on_missing_table: OnMissingTable::NotFound,
            create: TableTemplate::default(),
            routing: None,
            policy: TablePolicy::default(),
            limits: RateLimits::default(),
            dedupe_window_secs: Self::DEFAULT_DEDUPE_WINDOW_SECS,
            replay_retention_secs: 0,
            max_bytes: Self::DEFAULT_MAX_BYTES,
            replicas: 1,
        }
    }

    /// Checks every bound.
    pub fn validate(&self) -> Result<(), StreamError> {
        if self.shards == 0 || self.shards > SHARDS_MAX {
            return Err(StreamError::Shards(self.shards));
        }
        if ![1, 3, 5].contains(&self.replicas) {
            return Err(StreamError::Replicas(self.replicas));
        }
        if self.dedupe_window_secs == 0 || self.dedupe_window_secs > 7 * 86_400 {
            return Err(StreamError::DedupeWindow(self.dedupe_window_secs));
        }
        if self.max_bytes < 16 << 20 {
            return Err(StreamError::MaxBytes(self.max_bytes));
        }
        if let Some(routing) = &self.routing {
            routing.validate()?;
        }
        let schema = self.create.schema.as_ref().map_or(0, |schema| schema.to_string().len());
        if schema > TEMPLATE_SCHEMA_MAX_BYTES {
            return Err(StreamError::TemplateSchema(schema));
        }
        Ok(())
    }

    /// Every shard of the stream.
    pub fn all_shards(&self) -> impl Iterator<Item = Shard> {
        let name = self.name.clone();
        (0..self.shards).map(move |index| Shard::new(name.clone(), index))
    }

    /// The shards that the writer with this ordinal owns: shard n belongs to writer n mod `writers`.
    pub fn owned_shards(&self, ordinal: u32, writers: u32) -> impl Iterator<Item = Shard> {
        self.all_shards().filter(move |shard| shard.index % writers.max(1) == ordinal)
    }
}

/// Low watermark of a shard, as stored under [`Shard::progress_key`]: every event up to `sequence` is
/// in its table or its dead-letter table. A stale value is safe: the tables' own checkpoints are the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Incarnation of the shard.
    pub incarnation: Incarnation,
    /// The watermark.
    pub sequence: Sequence,
    /// When the log stored that message, in nanoseconds since the Unix epoch: tells it from another one that the log
    /// stores under the same sequence after it went back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<i64>,
}

impl Progress {
    /// The same place as a checkpoint.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint { incarnation: self.incarnation, sequence: self.sequence, at: self.at }
    }
}

/// Announcement of one commit, sent on [`Shard::committed_subject`]. A hint only: it may be lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitNotice {
    /// The table that was committed to.
    pub table: TableName,
    /// Incarnation of the shard.
    pub incarnation: Incarnation,
    /// The table now contains everything up to this sequence of the shard.
    pub sequence: Sequence,
    /// The snapshot that made it so.
    pub snapshot_id: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> StreamDefinition {
        StreamDefinition::new("sales".parse().expect("valid"), 1)
    }

    #[test]
    fn every_shard_has_exactly_one_owner() {
        let definition = StreamDefinition { shards: 7, ..definition() };
        for writers in 1..9 {
            let owned = (0..writers).flat_map(|ordinal| definition.owned_shards(ordinal, writers));
            let mut indices: Vec<u32> = owned.map(|shard| shard.index).collect();
            indices.sort_unstable();
            assert_eq!(indices, (0..7).collect::<Vec<_>>());
        }
    }

    #[test]
    fn bounds_are_checked() {
        assert_eq!(definition().validate(), Ok(()));
        assert_eq!(StreamDefinition { shards: 0, ..definition() }.validate(), Err(StreamError::Shards(0)));
        assert_eq!(StreamDefinition { replicas: 2, ..definition() }.validate(), Err(StreamError::Replicas(2)));
        assert!(StreamDefinition { dedupe_window_secs: 0, ..definition() }.validate().is_err());
        assert!(StreamDefinition { max_bytes: 1, ..definition() }.validate().is_err());
    }

    #[test]
    fn stored_form_is_pinned() {
        let text = r#"{"name":"sales","shards":1,"created":1,"on_missing_table":"not_found","dedupe_window_secs":3600,"replay_retention_secs":0,"max_bytes":17179869184,"replicas":1}"#;
        assert_eq!(serde_json::to_string(&definition()).expect("plain values"), text);
        assert_eq!(serde_json::from_str::<StreamDefinition>(text).expect("own form"), definition());
    }
}
