//! The summary of an appending snapshot. Pure; foreign values are never trusted to be numbers, or to be there.

use std::collections::{BTreeMap, HashMap, HashSet};

use iceberg::spec::{DataFile, Operation, Snapshot, Summary};
use uuid::Uuid;

use super::COMMIT_ID;
use crate::data_file::StagedFiles;

pub(super) fn summary(
    commit_id: Uuid,
    extra: &BTreeMap<String, String>,
    groups: &[StagedFiles],
    base: Option<&Snapshot>,
) -> Summary {
    let files = || groups.iter().flat_map(|group| &group.files);
    let data_files = files().count() as u64;
    let records = files().map(DataFile::record_count).sum::<u64>();
    let bytes = files().map(DataFile::file_size_in_bytes).sum::<u64>();
    let partitions: HashSet<_> =
        groups.iter().flat_map(|group| group.files.iter().map(|file| (group.spec_id, file.partition()))).collect();

    // A later entry replaces an earlier one of the same key.
    let mut entries = vec![
        ("changed-partition-count", Some(partitions.len() as u64)),
        ("total-data-files", total(base, "total-data-files", data_files)),
        ("total-records", total(base, "total-records", records)),
        ("total-files-size", total(base, "total-files-size", bytes)),
        ("total-delete-files", total(base, "total-delete-files", 0)),
        ("total-position-deletes", total(base, "total-position-deletes", 0)),
        ("total-equality-deletes", total(base, "total-equality-deletes", 0)),
    ];
    if data_files > 0 {
        entries.push(("added-data-files", Some(data_files)));
        entries.push(("added-records", Some(records)));
        entries.push(("added-files-size", Some(bytes)));
    }
    let mut properties: HashMap<String, String> = extra.clone().into_iter().collect();
    for (key, value) in entries {
        match value {
            Some(value) => properties.insert(key.to_owned(), value.to_string()),
            None => properties.remove(key),
        };
    }
    properties.insert(COMMIT_ID.to_owned(), commit_id.to_string());
    Summary { operation: Operation::Append, additional_properties: properties }
}

/// The new total, or `None` if the base does not say a believable one: a missing total is better than a wrong one.
fn total(base: Option<&Snapshot>, key: &str, added: u64) -> Option<u64> {
    let before = match base {
        None => 0,
        Some(base) => base.summary().additional_properties.get(key)?.parse::<u64>().ok()?,
    };
    before.checked_add(added).filter(|total| i64::try_from(*total).is_ok())
}
