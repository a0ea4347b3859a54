//! From current metadata, requirements and updates to new metadata. Pure: no I/O, no clock but the builder's.
//!
//! The spec layer's builder does the work. What it would accept although no catalog should is refused here first.

mod initial;
mod types;

use frazil_iceberg::spec::{
    Error, ErrorKind, FormatVersion, Snapshot, TableMetadata, TableMetadataBuilder, TableRequirement, TableUpdate,
};

pub(crate) use initial::{Creation, created, initial};

/// How far clocks may differ, in milliseconds: the same minute that readers of metadata tolerate.
const CLOCK_TOLERANCE_MS: i64 = 60_000;

/// The reserved property through which clients choose the format version.
pub(crate) const FORMAT_VERSION: &str = "format-version";

/// Why a change is not made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ChangeError {
    /// The same request can never succeed.
    #[error("{0}")]
    Refused(String),
    /// The request was made for an older state of the table.
    #[error("{0}")]
    Stale(String),
    /// This machine's clock is behind the table's last update: readers would refuse the result.
    #[error("the clock of this machine is {behind_ms} ms behind the last update of the table")]
    ClockBehind {
        /// How far, in milliseconds.
        behind_ms: i64,
    },
}

impl ChangeError {
    fn refused(error: &Error) -> Self {
        Self::Refused(error.message().to_owned())
    }
}

/// New metadata, and the metadata files that its log no longer names.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) metadata: TableMetadata,
    pub(crate) dropped_from_log: Vec<String>,
}

/// Checks every requirement; `None` means that the table does not exist.
pub(crate) fn check(requirements: &[TableRequirement], current: Option<&TableMetadata>) -> Result<(), ChangeError> {
    for requirement in requirements {
        requirement.check(current).map_err(|error| match error.kind() {
            ErrorKind::CatalogCommitConflicts | ErrorKind::TableNotFound => ChangeError::Stale(error.to_string()),
            _ => ChangeError::refused(&error),
        })?;
    }
    Ok(())
}

/// Applies `updates` to `base`, which stands at `location` (`None` for a table that is being created), at `now_ms`
/// milliseconds since the epoch. Returns `None` if they change nothing.
pub(crate) fn apply(
    base: &TableMetadata,
    location: Option<&str>,
    updates: Vec<TableUpdate>,
    now_ms: i64,
) -> Result<Option<Changed>, ChangeError> {
    let mut builder = base.clone().into_builder(location.map(str::to_owned));
    let mut guard = Guard::new(base, now_ms);
    for update in updates {
        for update in split_reserved(update)? {
            guard.check(&update)?;
            builder = update.apply(builder).map_err(|error| ChangeError::refused(&error))?;
        }
    }
    guard.check_clock()?;
    finish(base, location, builder)
}

fn finish(
    base: &TableMetadata,
    location: Option<&str>,
    builder: TableMetadataBuilder,
) -> Result<Option<Changed>, ChangeError> {
    let built = builder.build().map_err(|error| ChangeError::refused(&error))?;
    if built.changes.is_empty() && location.is_some() {
        return Ok(None);
    }
    let metadata = built.metadata;
    // A current schema chosen among the old ones can take a type back as well.
    types::check_evolution(base.current_schema(), metadata.current_schema(), metadata.format_version())?;
    let dropped_from_log = built.expired_metadata_logs.into_iter().map(|entry| entry.metadata_file).collect();
    Ok(Some(Changed { metadata, dropped_from_log }))
}

/// Turns the property `format-version` into the upgrade that clients mean by it.
fn split_reserved(update: TableUpdate) -> Result<Vec<TableUpdate>, ChangeError> {
    match update {
        TableUpdate::SetProperties { mut updates } => {
            let mut split = Vec::with_capacity(2);
            if let Some(version) = updates.remove(FORMAT_VERSION) {
                split.push(TableUpdate::UpgradeFormatVersion { format_version: parse_version(&version)? });
            }
            split.push(TableUpdate::SetProperties { updates });
            Ok(split)
        }
        other => Ok(vec![other]),
    }
}

/// Reads the value of the property `format-version`.
pub(crate) fn parse_version(value: &str) -> Result<FormatVersion, ChangeError> {
    match value.trim() {
        "1" => Ok(FormatVersion::V1),
        "2" => Ok(FormatVersion::V2),
        "3" => Ok(FormatVersion::V3),
        other => Err(ChangeError::Refused(format!("unsupported format-version {other:?}"))),
    }
}

/// What the builder does not check, followed through a list of updates.
struct Guard<'a> {
    base: &'a TableMetadata,
    version: FormatVersion,
    last_sequence_number: i64,
    next_row_id: u64,
    now_ms: i64,
    /// The new metadata takes its time from a snapshot, not from the clock.
    has_snapshot: bool,
}

impl<'a> Guard<'a> {
    fn new(base: &'a TableMetadata, now_ms: i64) -> Self {
        Self {
            base,
            version: base.format_version(),
            last_sequence_number: base.last_sequence_number(),
            next_row_id: base.next_row_id(),
            now_ms,
            has_snapshot: false,
        }
    }

    fn check(&mut self, update: &TableUpdate) -> Result<(), ChangeError> {
        match update {
            TableUpdate::UpgradeFormatVersion { format_version } => self.upgrade(*format_version),
            TableUpdate::AssignUuid { uuid } if *uuid != self.base.uuid() => {
                Err(ChangeError::Refused(format!("cannot assign uuid {uuid}: the table has uuid {}", self.base.uuid())))
            }
            TableUpdate::AddSchema { schema } => {
                types::check_supported(schema, self.version)?;
                // Against all of them: the id of a dropped column must not come back with another type either.
                let mut known = self.base.schemas_iter();
                known.try_for_each(|old| types::check_evolution(old, schema, self.version))
            }
            TableUpdate::AddSnapshot { snapshot } => self.snapshot(snapshot),
            _ => Ok(()),
        }
    }

    fn upgrade(&mut self, version: FormatVersion) -> Result<(), ChangeError> {
        if version < self.version {
            return Err(ChangeError::Refused(format!(
                "cannot downgrade the table from format version {} to {version}",
                self.version
            )));
        }
        self.version = version;
        Ok(())
    }

    /// The builder takes the time of a change without snapshots from the clock.
    fn check_clock(&self) -> Result<(), ChangeError> {
        let behind_ms = self.base.last_updated_ms().saturating_sub(self.now_ms);
        if behind_ms > CLOCK_TOLERANCE_MS && !self.has_snapshot {
            return Err(ChangeError::ClockBehind { behind_ms });
        }
        Ok(())
    }

    /// A snapshot from the future would keep everybody else from committing until that time.
    fn snapshot_time(&mut self, snapshot: &Snapshot) -> Result<(), ChangeError> {
        self.has_snapshot = true;
        let (id, time) = (snapshot.snapshot_id(), snapshot.timestamp_ms());
        let ahead_ms = time.saturating_sub(self.now_ms);
        if ahead_ms > CLOCK_TOLERANCE_MS && time > self.base.last_updated_ms() {
            return Err(ChangeError::Refused(format!(
                "the timestamp of snapshot {id} is {ahead_ms} ms ahead of this server's clock"
            )));
        }
        let behind_ms = self.base.last_updated_ms().saturating_sub(time);
        if behind_ms > CLOCK_TOLERANCE_MS {
            return Err(ChangeError::Stale(format!(
                "the timestamp of snapshot {id} is {behind_ms} ms before the last update of the table"
            )));
        }
        Ok(())
    }

    /// Numbers given out from an older state are a lost race, not a wrong request: the client should rebase.
    fn snapshot(&mut self, snapshot: &Snapshot) -> Result<(), ChangeError> {
        self.snapshot_time(snapshot)?;
        if self.version == FormatVersion::V1 {
            return Ok(());
        }
        if snapshot.sequence_number() <= self.last_sequence_number {
            return Err(ChangeError::Stale(format!(
                "snapshot {} has sequence number {}, but the table's last one is {}",
                snapshot.snapshot_id(),
                snapshot.sequence_number(),
                self.last_sequence_number
            )));
        }
        self.last_sequence_number = snapshot.sequence_number();
        if let Some((first_row_id, added)) = snapshot.row_range() {
            if first_row_id < self.next_row_id {
                return Err(ChangeError::Stale(format!(
                    "snapshot {} starts at row id {first_row_id}, but the table's next one is {}",
                    snapshot.snapshot_id(),
                    self.next_row_id
                )));
            }
            self.next_row_id = self.next_row_id.saturating_add(added);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
