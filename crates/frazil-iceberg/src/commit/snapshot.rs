//! Prepares one attempt: writes its manifests and manifest list, and makes the commit request.
//!
//! Sends nothing to the catalog.

use std::collections::{BTreeMap, HashMap};

use iceberg::spec::{
    FormatVersion, MAIN_BRANCH, ManifestContentType, ManifestFile, ManifestList, ManifestListWriter, Snapshot,
    SnapshotRef, SnapshotReference, TableMetadata,
};
use iceberg::{TableRequirement, TableUpdate};
use uuid::Uuid;

use super::manifest::{BoundSpec, Manifests};
use super::{FencedAppend, PrepareError, merge, summary};
use crate::data_file::StagedFiles;
use crate::table::Table;

/// A commit request, ready to be sent once.
pub(super) struct Prepared {
    pub(super) snapshot_id: i64,
    pub(super) sequence_number: i64,
    pub(super) requirements: Vec<TableRequirement>,
    pub(super) updates: Vec<TableUpdate>,
}

pub(super) async fn prepare(base: &Table, append: &FencedAppend) -> Result<Prepared, PrepareError> {
    let metadata = &base.metadata;
    let snapshot_id = new_snapshot_id(metadata);
    let mut manifests = Manifests::new(base, snapshot_id);
    let kept = match metadata.current_snapshot() {
        Some(parent) => previous_manifests(base, parent).await?,
        None => Vec::new(),
    };
    let mut listed = merge::merge_small(base, &mut manifests, kept).await?;
    listed.extend(write_added(metadata, &mut manifests, &append.data_files).await?);
    let list = manifests.list_location();
    let row_range = write_list(metadata, &manifests, &list, snapshot_id, listed).await?;

    let sequence_number = metadata.next_sequence_number();
    let parent = metadata.current_snapshot().map(AsRef::as_ref);
    let snapshot = Snapshot::builder()
        .with_snapshot_id(snapshot_id)
        .with_parent_snapshot_id(metadata.current_snapshot_id())
        .with_sequence_number(sequence_number)
        .with_timestamp_ms(timestamp_ms(metadata))
        .with_manifest_list(list)
        .with_summary(summary::summary(append.commit_id, &append.summary, &append.data_files, parent))
        .with_schema_id(metadata.current_schema_id());
    let snapshot = match row_range {
        Some((first, rows)) => snapshot.with_row_range(first, rows).build(),
        None => snapshot.build(),
    };
    Ok(Prepared {
        snapshot_id,
        sequence_number,
        requirements: requirements(metadata),
        updates: updates(base, snapshot, append),
    })
}

fn requirements(metadata: &TableMetadata) -> Vec<TableRequirement> {
    vec![
        TableRequirement::UuidMatch { uuid: metadata.uuid() },
        TableRequirement::RefSnapshotIdMatch {
            r#ref: MAIN_BRANCH.to_owned(),
            snapshot_id: metadata.current_snapshot_id(),
        },
    ]
}

fn updates(base: &Table, snapshot: Snapshot, append: &FencedAppend) -> Vec<TableUpdate> {
    let reference = SnapshotReference::new(snapshot.snapshot_id(), base.main_retention.clone());
    let mut updates = vec![
        TableUpdate::AddSnapshot { snapshot },
        TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.to_owned(), reference },
    ];
    let properties: HashMap<_, _> =
        append.fence.iter().map(|property| (property.key.clone(), property.value.clone())).collect();
    if !properties.is_empty() {
        updates.push(TableUpdate::SetProperties { updates: properties });
    }
    updates
}

/// Now, but never before anything the table has seen: metadata builders refuse to go back by more than a minute.
fn timestamp_ms(metadata: &TableMetadata) -> i64 {
    let logged = metadata.history().last().map_or(i64::MIN, |entry| entry.timestamp_ms());
    chrono::Utc::now().timestamp_millis().max(metadata.last_updated_ms()).max(logged)
}

fn new_snapshot_id(metadata: &TableMetadata) -> i64 {
    loop {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        // Positive: some readers take a negative id for "none".
        let id = i64::from_ne_bytes((high ^ low).to_ne_bytes()) & i64::MAX;
        if id > 0 && metadata.snapshot_by_id(id).is_none() {
            return id;
        }
    }
}

/// The manifests of the base that still list live files.
async fn previous_manifests(base: &Table, parent: &SnapshotRef) -> Result<Vec<ManifestFile>, PrepareError> {
    if parent.encryption_key_id().is_some() {
        return Err(PrepareError::invalid("encrypted tables are not supported"));
    }
    if parent.manifest_list().is_empty() {
        return Err(PrepareError::invalid("the current snapshot has no manifest list (format version 1, old style)"));
    }
    let content = base.storage.get(parent.manifest_list()).await?;
    let list = ManifestList::parse_with_version(&content, base.metadata.format_version())?;
    let live = |manifest: &ManifestFile| manifest.has_added_files() || manifest.has_existing_files();
    Ok(list.consume_entries().into_iter().filter(live).collect())
}

/// One manifest per partition spec in use. Files written under an older spec than today's default go into a
/// manifest of that spec, which the format allows.
async fn write_added(
    metadata: &TableMetadata,
    manifests: &mut Manifests<'_>,
    groups: &[StagedFiles],
) -> Result<Vec<ManifestFile>, PrepareError> {
    let mut by_spec: BTreeMap<i32, Vec<&StagedFiles>> = BTreeMap::new();
    for group in groups.iter().filter(|group| !group.files.is_empty()) {
        by_spec.entry(group.spec_id).or_default().push(group);
    }
    let mut written = Vec::with_capacity(by_spec.len());
    for (spec_id, groups) in by_spec {
        let schema_id = groups.iter().map(|group| group.schema_id).max();
        let bound = BoundSpec::find(metadata, spec_id, schema_id)?;
        let mut writer = manifests.writer(&bound)?;
        for file in groups.into_iter().flat_map(|group| &group.files) {
            bound.check(file)?;
            writer.add(file)?;
        }
        written.push(writer.finish().await?);
    }
    Ok(written)
}

/// Writes the list; returns first row id and number of assigned row ids if the format has row lineage.
async fn write_list(
    metadata: &TableMetadata,
    manifests: &Manifests<'_>,
    location: &str,
    snapshot_id: i64,
    listed: Vec<ManifestFile>,
) -> Result<Option<(u64, u64)>, PrepareError> {
    let parent = metadata.current_snapshot_id();
    let sequence_number = metadata.next_sequence_number();
    let first_row = metadata.next_row_id();
    let output = manifests.io().new_output(location)?.writer().await?;
    let mut writer = match metadata.format_version() {
        FormatVersion::V1 => ManifestListWriter::v1(output, snapshot_id, parent),
        FormatVersion::V2 => ManifestListWriter::v2(output, snapshot_id, parent, sequence_number),
        FormatVersion::V3 => ManifestListWriter::v3(output, snapshot_id, parent, sequence_number, Some(first_row)),
    };
    // Data manifests first, as the Java implementation lists them.
    let (data, deletes): (Vec<_>, Vec<_>) =
        listed.into_iter().partition(|manifest| manifest.content == ManifestContentType::Data);
    writer.add_manifests(data.into_iter().chain(deletes))?;
    let next_row = writer.next_row_id();
    writer.close().await?;
    Ok(next_row.map(|next| (first_row, next.saturating_sub(first_row))))
}
