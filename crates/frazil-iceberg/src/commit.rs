//! The fenced committer: adds files and sets properties in one commit, on exactly the base that was checked.
//!
//! Owns the attempts and what each outcome means; see the crate documentation for why this is airtight. It must
//! never delete anything, and never send the same request twice.

mod error;
mod fence;
mod manifest;
mod merge;
mod snapshot;
mod summary;

use std::collections::BTreeMap;

use uuid::Uuid;

pub use error::AppendError;
use error::PrepareError;
use fence::Verdict;

use crate::data_file::StagedFiles;
use crate::rest::{CatalogError, CommitError, RestCatalog};
use crate::table::Table;

/// Summary key under which every commit of ours carries its id.
pub const COMMIT_ID: &str = "frazil.commit-id";

/// A table property that moves with the commit, and only from the value the work was based on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FencedProperty {
    /// Property key.
    pub key: String,
    /// The value it must have in the base; `None` if it must be absent.
    pub expected: Option<String>,
    /// The value it gets.
    pub value: String,
}

/// What to append. May be given to [`RestCatalog::append`] any number of times: it is committed at most once.
#[derive(Clone, Debug)]
pub struct FencedAppend {
    /// Identifies this content; never use one id for two contents.
    pub commit_id: Uuid,
    /// The table the files were written for.
    pub table_uuid: Uuid,
    /// The files, each group written under one partition spec of the table. May be empty: the properties move all
    /// the same, and a snapshot is added.
    pub data_files: Vec<StagedFiles>,
    /// Properties that fence the commit.
    pub fence: Vec<FencedProperty>,
    /// More entries for the snapshot's summary. Keys that are computed here win.
    pub summary: BTreeMap<String, String>,
}

/// A committed append. Only [`RestCatalog::append`] makes one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Committed {
    /// The snapshot that holds the files.
    pub snapshot_id: i64,
    /// Its sequence number.
    pub sequence_number: i64,
    /// The table as of the commit (or as of now, if adopted).
    pub table: Table,
    /// Whether an earlier attempt had committed it and only its answer was lost.
    pub adopted: bool,
}

/// How one attempt ended, if it did not end the append.
enum Missed {
    /// Somebody else's commit came first.
    Conflict(String),
    /// Nothing was sent.
    NotSent(String),
    /// It was sent on this base, and the outcome is open.
    Unknown { base: Option<i64>, message: String },
}

impl RestCatalog {
    /// Commits an append, or finds that it is committed already. `table` names the table; its metadata need not be
    /// fresh, since every attempt loads its own base.
    ///
    /// Writes one manifest per partition spec, a manifest list and always a new snapshot, under names that no other
    /// attempt uses. Manifests of a lost attempt stay behind unreferenced.
    ///
    /// # Errors
    /// [`AppendError`]. If it [is retryable](AppendError::is_retryable), call again with the same append.
    pub async fn append(&self, table: &Table, append: &FencedAppend) -> Result<Committed, AppendError> {
        fence::check_files(append)?;
        let retry = self.commit_policy().retry;
        let attempts = retry.attempts.max(1);
        // The base of a request that was sent and may still land: only while `main` points at it.
        let mut pending: Option<(Option<i64>, String)> = None;
        let mut last = Missed::NotSent("no attempt was made".to_owned());
        for attempt in 0..attempts {
            if attempt > 0 {
                tokio::time::sleep(retry.wait(attempt - 1, None)).await;
            }
            last = match self.attempt(table, append, &mut pending).await? {
                Ok(committed) => return Ok(committed),
                Err(missed) => missed,
            };
            match &last {
                Missed::Unknown { base, message } => {
                    tracing::warn!(table = %table.ident, commit_id = %append.commit_id, %message, "commit outcome unknown");
                    pending = Some((*base, message.clone()));
                }
                Missed::Conflict(message) | Missed::NotSent(message) => {
                    tracing::debug!(table = %table.ident, commit_id = %append.commit_id, attempt, %message, "commit attempt failed");
                }
            }
        }
        Err(match (pending, last) {
            (Some((_, message)), _) | (None, Missed::Unknown { message, .. }) => AppendError::Unknown { message },
            (None, Missed::Conflict(message)) => AppendError::Contended { attempts, message },
            (None, Missed::NotSent(message)) => AppendError::Unavailable { message },
        })
    }

    async fn attempt(
        &self,
        table: &Table,
        append: &FencedAppend,
        pending: &mut Option<(Option<i64>, String)>,
    ) -> Result<Result<Committed, Missed>, AppendError> {
        let base = match self.load_table(&table.ident).await {
            Ok(base) => base,
            Err(error) => return load_failed(error, pending).map(Err),
        };
        match fence::judge(&base, append)? {
            Verdict::Committed { snapshot_id, sequence_number } => {
                return Ok(Ok(Committed { snapshot_id, sequence_number, table: base, adopted: true }));
            }
            Verdict::Open => {}
        }
        let base_id = base.metadata.current_snapshot_id();
        // `main` has moved on: the request that asserted its old place can no longer land.
        pending.take_if(|(sent_on, _)| *sent_on != base_id);
        let prepared = match snapshot::prepare(&base, append).await {
            Ok(prepared) => prepared,
            Err(error) => return prepare_failed(error, pending).map(Err),
        };
        let (snapshot_id, sequence_number) = (prepared.snapshot_id, prepared.sequence_number);
        let sent = self.commit_table(&base.ident, prepared.requirements, prepared.updates).await;
        match sent {
            // Believe an answer only if it shows our snapshot.
            Ok(loaded) if loaded.metadata.snapshot_by_id(snapshot_id).is_some() => {
                let table = Table { metadata: loaded.metadata, metadata_location: loaded.metadata_location, ..base };
                Ok(Ok(Committed { snapshot_id, sequence_number, table, adopted: false }))
            }
            Ok(_) => {
                let message = "the answer does not hold the new snapshot".to_owned();
                Ok(Err(Missed::Unknown { base: base_id, message }))
            }
            Err(error) => commit_failed(error, base_id, pending).map(Err),
        }
    }
}

fn load_failed(error: CatalogError, pending: &Option<(Option<i64>, String)>) -> Result<Missed, AppendError> {
    match error {
        // Nothing can land in a table that is not there.
        CatalogError::NoSuchTable { message } | CatalogError::NoSuchNamespace { message } => {
            Err(AppendError::Gone { message })
        }
        error if error.is_retryable() => Ok(Missed::NotSent(error.to_string())),
        error => Err(unless_pending(pending, error.to_string(), || AppendError::Rejected(error))),
    }
}

fn prepare_failed(error: PrepareError, pending: &Option<(Option<i64>, String)>) -> Result<Missed, AppendError> {
    let message = error.to_string();
    match error {
        // A manifest of the base may be gone because the table moved on and expired it: the next attempt sees.
        PrepareError::Storage(crate::StorageError::NotFound { .. }) => Ok(Missed::NotSent(message)),
        PrepareError::Storage(error) if error.is_retryable() => Ok(Missed::NotSent(message)),
        PrepareError::Storage(error) => Err(unless_pending(pending, message, || AppendError::Storage(error))),
        PrepareError::Invalid { reason } => {
            Err(unless_pending(pending, message, || AppendError::InvalidFiles { reason }))
        }
    }
}

fn commit_failed(
    error: CommitError,
    base: Option<i64>,
    pending: &Option<(Option<i64>, String)>,
) -> Result<Missed, AppendError> {
    match error {
        CommitError::Conflict { message } => Ok(Missed::Conflict(message)),
        // The next load tells whether it is gone or somewhere else.
        CommitError::NotFound { message } => Ok(Missed::NotSent(message)),
        CommitError::NotSent(error) if error.is_retryable() => Ok(Missed::NotSent(error.to_string())),
        CommitError::NotSent(error) | CommitError::Rejected(error) => {
            Err(unless_pending(pending, error.to_string(), || AppendError::Rejected(error)))
        }
        CommitError::Unknown { reason } => Ok(Missed::Unknown { base, message: reason }),
    }
}

/// A final error only if no earlier request of this call may still land.
fn unless_pending(
    pending: &Option<(Option<i64>, String)>,
    message: String,
    error: impl FnOnce() -> AppendError,
) -> AppendError {
    match pending {
        Some((_, sent)) => AppendError::Unknown { message: format!("{sent}; then {message}") },
        None => error(),
    }
}

#[cfg(test)]
mod tests;
