//! The commit loop: check and apply against the current metadata, write the new files, swap all pointers at once.
//!
//! A swap that was lost wrote nothing, so the loop may start again: the requirements, checked against the new state,
//! decide whether the change still stands. Nothing is held locked meanwhile; the swap is the only arbiter.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use frazil_iceberg::spec::{TableRequirement, TableUpdate};

use crate::catalog::Catalog;
use crate::change::{self, ChangeError, Changed};
use crate::error::ApiError;
use crate::locations;
use crate::metadata_file::{self, FileError, Loaded};
use crate::names::TableKey;
use crate::store::{Swap, Swapped};

/// How often a commit whose requirements keep holding may lose the swap before the client is told to come back.
const ATTEMPTS: usize = 8;
/// Table property: remove metadata files that the log no longer names.
const DELETE_AFTER_COMMIT: &str = "write.metadata.delete-after-commit.enabled";

/// What a client wants of one table.
#[derive(Debug, Clone)]
pub(crate) struct TableChange {
    pub(crate) key: TableKey,
    pub(crate) requirements: Vec<TableRequirement>,
    pub(crate) updates: Vec<TableUpdate>,
}

/// New metadata for one table, not yet pointed to.
struct Staged {
    key: TableKey,
    old: Option<Arc<Loaded>>,
    new: Arc<Loaded>,
    /// Content of the new file; `None` if the table does not change.
    file: Option<Bytes>,
    dropped_from_log: Vec<String>,
}

/// Makes all changes or none, and returns the tables' metadata afterwards, in the order of the changes.
pub(crate) async fn commit(catalog: &Catalog, changes: Vec<TableChange>) -> Result<Vec<Arc<Loaded>>, ApiError> {
    let mut lost_to = None;
    for _ in 0..ATTEMPTS {
        let mut staged = Vec::with_capacity(changes.len());
        for change in &changes {
            staged.push(stage(catalog, change.clone()).await?);
        }
        if staged.iter().all(|staged| staged.file.is_none()) && staged.len() == 1 {
            return Ok(staged.into_iter().map(|staged| staged.new).collect());
        }
        write_files(catalog, &staged).await?;
        let swaps: Vec<Swap> = staged.iter().map(Staged::swap).collect();
        match catalog.store(move |store| store.swap(&swaps)).await? {
            Ok(Swapped::Done) => return Ok(finish(catalog, staged).await),
            Ok(Swapped::Lost(key)) => {
                remove_written(catalog, &staged).await;
                tracing::debug!(table = %key, "lost the pointer swap, checking again");
                lost_to = Some(key);
            }
            // The files stay: the pointers may name them.
            Err(error) => return Err(unknown_outcome(error)),
        }
    }
    let table = lost_to.map(|key| key.to_string()).unwrap_or_default();
    Err(ApiError::CommitFailed(format!("table {table} changed {ATTEMPTS} times while this commit was made")))
}

impl Staged {
    fn swap(&self) -> Swap {
        let old = self.old.as_ref().map(|old| old.location.clone());
        Swap { key: self.key.clone(), old, new: self.new.location.clone() }
    }
}

/// Definite refusals by the database stay what they are; only a failure of the database itself leaves it open
/// whether the swap happened.
fn unknown_outcome(error: crate::store::StoreError) -> ApiError {
    use crate::store::StoreError as E;
    match error {
        E::Sqlite(_) | E::Corrupt(_) => ApiError::CommitStateUnknown(error),
        E::NoSuchNamespace(_)
        | E::NamespaceExists(_)
        | E::NamespaceNotEmpty(_)
        | E::NoSuchTable(_)
        | E::TableExists(_) => error.into(),
    }
}

async fn stage(catalog: &Catalog, change: TableChange) -> Result<Staged, ApiError> {
    let old = catalog.current(&change.key).await?;
    let creates = change.requirements.iter().any(|requirement| matches!(requirement, TableRequirement::NotExist));
    if old.is_none() && !creates {
        return Err(ApiError::NoSuchTable(change.key.to_string()));
    }
    let location = match &old {
        Some(_) => String::new(),
        None => crate::tables::new_location(catalog, &change.key).await?,
    };
    let now_ms = now_ms();
    let staged = tokio::task::spawn_blocking(move || stage_blocking(change, old, location, now_ms)).await?;
    staged.map_err(|error| match error {
        StageError::Change(error) => error.into(),
        StageError::File(error) => error.into(),
    })
}

enum StageError {
    Change(ChangeError),
    File(FileError),
}

impl From<ChangeError> for StageError {
    fn from(error: ChangeError) -> Self {
        Self::Change(error)
    }
}

impl From<FileError> for StageError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn stage_blocking(
    change: TableChange,
    old: Option<Arc<Loaded>>,
    location: String,
    now_ms: i64,
) -> Result<Staged, StageError> {
    let TableChange { key, requirements, updates } = change;
    change::check(&requirements, old.as_ref().map(|old| &old.metadata))?;
    let (changed, not_before_ms) = match &old {
        Some(old) => {
            let changed = change::apply(&old.metadata, Some(&old.location), updates, now_ms)?;
            (changed, old.metadata.last_updated_ms())
        }
        None => {
            let (base, updates) = change::initial(location, updates)?;
            (change::apply(&base, None, updates, now_ms)?, 0)
        }
    };
    match (changed, old) {
        (Some(Changed { metadata, dropped_from_log }), old) => {
            let current = old.as_ref().map(|old| old.location.as_str());
            let (new, file) = prepare_file(&metadata, current, not_before_ms)?;
            Ok(Staged { key, old, new: Arc::new(new), file: Some(file), dropped_from_log })
        }
        (None, Some(old)) => {
            Ok(Staged { key, new: old.clone(), old: Some(old), file: None, dropped_from_log: Vec::new() })
        }
        (None, None) => Err(ChangeError::Refused("a new table needs a schema".to_owned()).into()),
    }
}

/// Names, serialises and re-reads new metadata. Blocks for large tables.
pub(crate) fn prepare_file(
    metadata: &frazil_iceberg::spec::TableMetadata,
    current: Option<&str>,
    not_before_ms: i64,
) -> Result<(Loaded, Bytes), FileError> {
    let (metadata, json) = metadata_file::seal(metadata, not_before_ms)?;
    let gzip = metadata_file::wants_gzip(&metadata);
    let file = metadata_file::encode(&json, gzip)?.into();
    let location = locations::metadata_file(&metadata, current, gzip);
    Ok((Loaded { location, metadata, json }, file))
}

async fn write_files(catalog: &Catalog, staged: &[Staged]) -> Result<(), ApiError> {
    for entry in staged {
        let Some(file) = &entry.file else { continue };
        if let Err(error) = catalog.storage().put_if_absent(&entry.new.location, file.clone()).await {
            remove_written(catalog, staged).await;
            return Err(error.into());
        }
    }
    Ok(())
}

/// Removes files that no pointer ever named.
async fn remove_written(catalog: &Catalog, staged: &[Staged]) {
    for entry in staged {
        if entry.file.is_some() {
            remove(catalog, &entry.new.location).await;
        }
    }
}

pub(crate) async fn remove(catalog: &Catalog, location: &str) {
    if let Err(error) = catalog.storage().delete(location).await {
        tracing::warn!(location, %error, "metadata file not removed; it is an orphan now");
    }
}

/// After the swap: remember the new metadata, drop what its log no longer names.
async fn finish(catalog: &Catalog, staged: Vec<Staged>) -> Vec<Arc<Loaded>> {
    let mut committed = Vec::with_capacity(staged.len());
    for entry in staged {
        if entry.file.is_some() {
            let replaced = entry.old.as_ref().map(|old| old.location.as_str());
            catalog.cache().insert(entry.new.clone(), replaced);
            tracing::debug!(table = %entry.key, location = entry.new.location, "committed");
        }
        remove_expired(catalog, &entry.new, entry.dropped_from_log).await;
        committed.push(entry.new);
    }
    committed
}

async fn remove_expired(catalog: &Catalog, new: &Loaded, dropped: Vec<String>) {
    let enabled = new.metadata.properties().get(DELETE_AFTER_COMMIT);
    if !enabled.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return;
    }
    let own: Vec<String> =
        dropped.into_iter().filter(|file| locations::is_own_metadata_file(&new.metadata, file)).collect();
    if own.is_empty() {
        return;
    }
    // The same file may have been registered under a second name.
    match catalog.store(move |store| store.unreferenced(own)).await {
        Ok(Ok(free)) => {
            for location in free {
                remove(catalog, &location).await;
            }
        }
        Ok(Err(error)) => tracing::warn!(%error, "old metadata files not removed"),
        Err(error) => tracing::warn!(%error, "old metadata files not removed"),
    }
}
