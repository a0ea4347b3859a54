//! The live files of a snapshot, from its manifests. Must not open a data file.

use iceberg::spec::{DataFile, ManifestContentType, ManifestFile, ManifestList, SnapshotRef};

use super::error::ScanError;
use crate::manifest_file;
use crate::storage::ObjectStorage;
use crate::table::Table;

/// A data or delete file that is part of the snapshot.
pub(super) struct LiveFile {
    pub(super) file: DataFile,
    pub(super) spec_id: i32,
    /// Of the data: deletes apply to files that are older than they are.
    pub(super) sequence_number: i64,
}

/// The manifests of data files and those of delete files.
pub(super) async fn manifests(
    table: &Table,
    snapshot: &SnapshotRef,
) -> Result<(Vec<ManifestFile>, Vec<ManifestFile>), ScanError> {
    let unsupported = |what: &str| ScanError::Unsupported { location: table.ident.to_string(), what: what.to_owned() };
    if snapshot.encryption_key_id().is_some() {
        return Err(unsupported("encryption"));
    }
    if snapshot.manifest_list().is_empty() {
        return Err(unsupported("a snapshot without a manifest list (format version 1, old style)"));
    }
    let content = table.storage.get(snapshot.manifest_list()).await?;
    let list = ManifestList::parse_with_version(&content, table.metadata.format_version())
        .map_err(|source| ScanError::spec(snapshot.manifest_list(), source))?;
    let live = |manifest: &ManifestFile| manifest.has_added_files() || manifest.has_existing_files();
    let entries = list.consume_entries().into_iter().filter(live);
    Ok(entries.partition(|manifest| manifest.content == ManifestContentType::Data))
}

/// The live files of one manifest.
pub(super) async fn files(storage: &ObjectStorage, manifest: &ManifestFile) -> Result<Vec<LiveFile>, ScanError> {
    let loaded = manifest_file::load(&storage.file_io(), manifest)
        .await
        .map_err(|source| ScanError::spec(manifest.manifest_path.clone(), source))?;
    let live = |entry: iceberg::spec::ManifestEntry| LiveFile {
        // Format version 1 has none, and no deletes either.
        sequence_number: entry.sequence_number().unwrap_or(0),
        spec_id: manifest.partition_spec_id,
        file: entry.data_file,
    };
    Ok(loaded.into_iter().filter(iceberg::spec::ManifestEntry::is_alive).map(live).collect())
}
