//! Merges small manifests, because every append adds one and planning a query reads them all.
//!
//! Never touches delete manifests, and never makes a commit fail for what it could not merge.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use iceberg::spec::{FormatVersion, ManifestContentType, ManifestEntry, ManifestFile};

use super::PrepareError;
use super::manifest::{BoundSpec, Manifests};
use crate::manifest_file;
use crate::table::Table;

const ENABLED: &str = "commit.manifest-merge.enabled";
const MIN_COUNT: &str = "commit.manifest.min-count-to-merge";
const TARGET_SIZE: &str = "commit.manifest.target-size-bytes";
const DEFAULT_MIN_COUNT: usize = 100;
const DEFAULT_TARGET_SIZE: u64 = 8 * 1024 * 1024;
/// Manifests read by one attempt; more of them wait for the next commit.
const MAX_READ: usize = 500;
const READS_IN_FLIGHT: usize = 8;

/// Returns the manifests with small ones of the same spec merged, if there are enough of them.
pub(super) async fn merge_small(
    base: &Table,
    manifests: &mut Manifests<'_>,
    kept: Vec<ManifestFile>,
) -> Result<Vec<ManifestFile>, PrepareError> {
    // Rewriting a manifest of a table with row lineage would have to write every file's row ids out.
    let lineage = base.metadata.format_version() >= FormatVersion::V3;
    if lineage || base.property(ENABLED) == Some("false") {
        return Ok(kept);
    }
    let min_count = number(base, MIN_COUNT).unwrap_or(DEFAULT_MIN_COUNT).max(2);
    let target = number(base, TARGET_SIZE).unwrap_or(DEFAULT_TARGET_SIZE);

    let (small, mut result): (Vec<_>, Vec<_>) = kept.into_iter().partition(|manifest| is_small(manifest, target));
    let mut by_spec: BTreeMap<i32, Vec<ManifestFile>> = BTreeMap::new();
    for manifest in small {
        by_spec.entry(manifest.partition_spec_id).or_default().push(manifest);
    }
    let mut left = MAX_READ;
    for (spec_id, group) in by_spec {
        if group.len() < min_count {
            result.extend(group);
            continue;
        }
        for bin in bins(group, target) {
            if bin.len() < 2 || bin.len() > left {
                result.extend(bin);
                continue;
            }
            left -= bin.len();
            result.extend(merge(base, manifests, spec_id, bin).await?);
        }
    }
    Ok(result)
}

fn number<T: std::str::FromStr>(base: &Table, key: &str) -> Option<T> {
    base.property(key)?.trim().parse().ok()
}

/// Half of the target: what merging made bigger than that is left alone.
fn is_small(manifest: &ManifestFile, target: u64) -> bool {
    let length = u64::try_from(manifest.manifest_length).unwrap_or(u64::MAX);
    manifest.content == ManifestContentType::Data && manifest.key_metadata.is_none() && length < target / 2
}

/// Packs manifests in their order into bins of at most the target size (and of at most what one attempt reads).
fn bins(group: Vec<ManifestFile>, target: u64) -> Vec<Vec<ManifestFile>> {
    let mut bins = Vec::new();
    let mut bin: Vec<ManifestFile> = Vec::new();
    let mut size = 0;
    for manifest in group {
        let length = u64::try_from(manifest.manifest_length).unwrap_or_default();
        if !bin.is_empty() && (size + length > target || bin.len() >= MAX_READ) {
            bins.push(std::mem::take(&mut bin));
            size = 0;
        }
        size += length;
        bin.push(manifest);
    }
    bins.push(bin);
    bins
}

/// One manifest for a bin, or the bin itself if it holds something that cannot be rewritten.
async fn merge(
    base: &Table,
    manifests: &mut Manifests<'_>,
    spec_id: i32,
    bin: Vec<ManifestFile>,
) -> Result<Vec<ManifestFile>, PrepareError> {
    match rewrite(base, manifests, spec_id, &bin).await {
        Ok(merged) => Ok(vec![merged]),
        Err(PrepareError::Invalid { reason }) => {
            tracing::warn!(table = %base.ident, spec_id, %reason, "manifests are left unmerged");
            Ok(bin)
        }
        Err(other) => Err(other),
    }
}

async fn rewrite(
    base: &Table,
    manifests: &mut Manifests<'_>,
    spec_id: i32,
    bin: &[ManifestFile],
) -> Result<ManifestFile, PrepareError> {
    let bound = BoundSpec::find(&base.metadata, spec_id, None)?;
    let io = manifests.io().clone();
    // Owned: a future that borrows an item of the iterator would keep the whole append from being `Send`.
    let reads = bin.iter().cloned().map(|manifest| {
        let io = io.clone();
        async move { manifest_file::load(&io, &manifest).await }
    });
    let loaded: Vec<Vec<ManifestEntry>> = stream::iter(reads).buffered(READS_IN_FLIGHT).try_collect().await?;
    let mut writer = manifests.writer(&bound)?;
    for entry in loaded.iter().flatten().filter(|entry| entry.is_alive()) {
        bound.check(entry.data_file())?;
        let (Some(snapshot_id), Some(sequence_number)) = (entry.snapshot_id(), entry.sequence_number()) else {
            return Err(PrepareError::invalid(format!("{} has no sequence number", entry.file_path())));
        };
        writer.add_existing(entry.data_file(), snapshot_id, sequence_number, entry.file_sequence_number)?;
    }
    Ok(writer.finish().await?)
}
