//! May this append be committed on this base? Pure.

use std::collections::HashSet;

use super::{AppendError, COMMIT_ID, FencedAppend};
use crate::table::Table;

/// What a base says about an append that may be committed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is in the table already.
    Committed { snapshot_id: i64, sequence_number: i64 },
    /// It is not, and the base is the one it expects.
    Open,
}

pub(super) fn judge(base: &Table, append: &FencedAppend) -> Result<Verdict, AppendError> {
    if base.uuid() != append.table_uuid {
        return Err(AppendError::TableReplaced { expected: append.table_uuid, found: base.uuid() });
    }
    let id = append.commit_id.to_string();
    let ours = base.ancestry().find(|snapshot| snapshot.summary().additional_properties.get(COMMIT_ID) == Some(&id));
    if let Some(snapshot) = ours {
        let (snapshot_id, sequence_number) = (snapshot.snapshot_id(), snapshot.sequence_number());
        return Ok(Verdict::Committed { snapshot_id, sequence_number });
    }
    for property in &append.fence {
        let found = base.property(&property.key);
        if found != property.expected.as_deref() {
            return Err(AppendError::Fenced {
                key: property.key.clone(),
                expected: property.expected.clone(),
                found: found.map(str::to_owned),
            });
        }
    }
    Ok(Verdict::Open)
}

/// What can be wrong with the files before any table is looked at.
pub(super) fn check_files(append: &FencedAppend) -> Result<(), AppendError> {
    let mut paths = HashSet::new();
    for group in &append.data_files {
        if group.table_uuid != append.table_uuid {
            return Err(AppendError::TableReplaced { expected: group.table_uuid, found: append.table_uuid });
        }
        for file in &group.files {
            if !paths.insert(file.file_path()) {
                return Err(AppendError::InvalidFiles { reason: format!("{} is listed twice", file.file_path()) });
            }
        }
    }
    Ok(())
}
