//! The control bucket `FRAZIL`: stream definitions, tokens, and how far the writers are.

use std::collections::HashMap;

use frazil_core::stream::{Progress, StreamDefinition};
use frazil_core::token::TokenRecord;
use frazil_core::{Shard, StreamName};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bucket::{self, Condition, Conflict, Entry};
use crate::connect::Log;
use crate::error::LogError;

/// Reads and writes the control bucket. Every call is one or a few requests; nothing is cached.
#[derive(Debug, Clone)]
pub struct Control {
    log: Log,
}

impl Log {
    /// Makes the control bucket if it is missing.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    pub async fn ensure_bucket(&self, replicas: u32) -> Result<(), LogError> {
        bucket::ensure(self, replicas).await
    }

    /// The control bucket, which [`Log::ensure_bucket`] must have made at some time.
    pub fn control(&self) -> Control {
        Control { log: self.clone() }
    }
}

impl Control {
    /// Stores a new definition.
    ///
    /// # Errors
    /// `AlreadyExists`, `Unavailable`, `Refused`, `NotFound` (no bucket).
    pub async fn create_stream(&self, definition: &StreamDefinition) -> Result<(), LogError> {
        const OPERATION: &str = "create stream definition";
        let key = stream_key(&definition.name);
        let exists = || LogError::AlreadyExists(stream_text(&definition.name));
        let revision = match bucket::get(&self.log, OPERATION, &key).await? {
            Some(Entry { value: Some(_), .. }) => return Err(exists()),
            Some(Entry { value: None, revision, .. }) => revision,
            None => 0,
        };
        let written = bucket::put(&self.log, OPERATION, &key, json(definition), Condition::Revision(revision)).await?;
        written.map_err(|Conflict| exists())
    }

    /// Replaces an existing definition by what `change` makes of it, and returns that. Nobody's change is lost: should
    /// someone else store theirs in between, `change` is called again with it. A refusal of `change` stores nothing.
    ///
    /// # Errors
    /// `NotFound` (no such stream, or no bucket), `Malformed`, `Unavailable`, `Refused` (others keep storing theirs).
    pub async fn edit_stream<E>(
        &self,
        name: &StreamName,
        change: impl Fn(StreamDefinition) -> Result<StreamDefinition, E>,
    ) -> Result<Result<StreamDefinition, E>, LogError> {
        const OPERATION: &str = "change stream definition";
        let key = stream_key(name);
        for _ in 0..EDIT_ATTEMPTS {
            let missing = || LogError::NotFound(stream_text(name));
            let entry = bucket::get(&self.log, OPERATION, &key).await?.ok_or_else(missing)?;
            let present: StreamDefinition = parse(&entry)?.ok_or_else(missing)?;
            let changed = match change(present.clone()) {
                Ok(changed) if changed == present => return Ok(Ok(present)),
                Ok(changed) => changed,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let condition = Condition::Revision(entry.revision);
            if bucket::put(&self.log, OPERATION, &key, json(&changed), condition).await?.is_ok() {
                return Ok(Ok(changed));
            }
        }
        Err(LogError::refused(OPERATION, "others keep storing theirs"))
    }

    /// Reads a definition.
    ///
    /// # Errors
    /// `Unavailable`, `Malformed`, `NotFound` (no bucket).
    pub async fn get_stream(&self, name: &StreamName) -> Result<Option<StreamDefinition>, LogError> {
        self.read("read stream definition", &stream_key(name)).await
    }

    /// All definitions, by name.
    ///
    /// # Errors
    /// `Unavailable`, `Malformed`, `NotFound` (no bucket).
    pub async fn list_streams(&self) -> Result<Vec<StreamDefinition>, LogError> {
        let mut streams: Vec<StreamDefinition> = self.list(STREAM_KEYS).await?;
        streams.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(streams)
    }

    /// Removes a definition; its shards and progress stay. Nothing to remove is no error.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`, `NotFound` (no bucket).
    pub async fn delete_stream(&self, name: &StreamName) -> Result<(), LogError> {
        bucket::delete(&self.log, "delete stream definition", &stream_key(name)).await
    }

    /// Stores a token, replacing one of the same id.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`, `NotFound` (no bucket).
    pub async fn put_token(&self, token: &TokenRecord) -> Result<(), LogError> {
        self.write("store token", &token_key(&token.id), token).await
    }

    /// All tokens, by id.
    ///
    /// # Errors
    /// `Unavailable`, `Malformed`, `NotFound` (no bucket).
    pub async fn list_tokens(&self) -> Result<Vec<TokenRecord>, LogError> {
        let mut tokens: Vec<TokenRecord> = self.list(TOKEN_KEYS).await?;
        tokens.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(tokens)
    }

    /// Removes a token. Nothing to remove is no error.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`, `NotFound` (no bucket).
    pub async fn delete_token(&self, id: &str) -> Result<(), LogError> {
        bucket::delete(&self.log, "delete token", &token_key(id)).await
    }

    /// Low watermark of a shard, if one was ever stored.
    ///
    /// # Errors
    /// `Unavailable`, `Malformed`, `NotFound` (no bucket).
    pub async fn progress(&self, shard: &Shard) -> Result<Option<Progress>, LogError> {
        self.read("read progress", &shard.progress_key()).await
    }

    /// Stores the low watermark of a shard, unless a later one is stored: the log may be purged up to that one, and a
    /// restart from before it would find messages missing.
    ///
    /// # Errors
    /// `Unavailable`, `Malformed`, `Refused`, `NotFound` (no bucket).
    pub async fn set_progress(&self, shard: &Shard, progress: Progress) -> Result<(), LogError> {
        const OPERATION: &str = "store progress";
        let key = shard.progress_key();
        for _ in 0..PROGRESS_ATTEMPTS {
            let entry = bucket::get(&self.log, OPERATION, &key).await?;
            let stored: Option<Progress> = entry.as_ref().map(parse).transpose()?.flatten();
            let later =
                |stored: Progress| (stored.incarnation, stored.sequence) >= (progress.incarnation, progress.sequence);
            if stored.is_some_and(later) {
                return Ok(());
            }
            let condition = Condition::Revision(entry.map_or(0, |entry| entry.revision));
            if bucket::put(&self.log, OPERATION, &key, json(&progress), condition).await?.is_ok() {
                return Ok(());
            }
        }
        Err(LogError::refused(OPERATION, "others keep storing theirs"))
    }

    async fn read<T: DeserializeOwned>(&self, operation: &'static str, key: &str) -> Result<Option<T>, LogError> {
        let entry = bucket::get(&self.log, operation, key).await?;
        entry.and_then(|entry| parse(&entry).transpose()).transpose()
    }

    async fn write(&self, operation: &'static str, key: &str, value: &impl Serialize) -> Result<(), LogError> {
        let written = bucket::put(&self.log, operation, key, json(value), Condition::Always).await?;
        written.map_err(|Conflict| LogError::refused(operation, "an unconditional write was refused"))
    }

    async fn list<T: DeserializeOwned>(&self, keys: &str) -> Result<Vec<T>, LogError> {
        let (entries, _) = bucket::watch(&self.log, &[keys]).await?;
        // The newest entry of a key counts, should one have changed meanwhile.
        let newest: HashMap<&str, &Entry> = entries.iter().map(|entry| (entry.key.as_str(), entry)).collect();
        newest.into_values().filter_map(|entry| parse(entry).transpose()).collect()
    }
}

/// Tries to store a low watermark against others that store theirs. A watermark that is not stored costs a re-read.
const PROGRESS_ATTEMPTS: u32 = 5;

/// Tries to change a stream definition against others that change it.
const EDIT_ATTEMPTS: u32 = 20;

/// Keys of all stream definitions.
pub(crate) const STREAM_KEYS: &str = "stream.*";
/// Keys of all tokens.
pub(crate) const TOKEN_KEYS: &str = "token.*";
/// Keys of the rewinds of all shards.
pub(crate) const REWIND_KEYS: &str = "rewind.*.*";

/// The value of an entry; `None` if it was deleted.
pub(crate) fn parse<T: DeserializeOwned>(entry: &Entry) -> Result<Option<T>, LogError> {
    let Some(value) = &entry.value else { return Ok(None) };
    serde_json::from_slice(value)
        .map(Some)
        .map_err(|error| LogError::Malformed { key: entry.key.clone(), source: error.into() })
}

pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("control values are plain values")
}

fn stream_key(name: &StreamName) -> String {
    format!("stream.{name}")
}

fn token_key(id: &str) -> String {
    format!("token.{id}")
}

fn stream_text(name: &StreamName) -> String {
    format!("stream {name}")
}
