//! Tables apart from commits: create, stage, register. Knows no HTTP.

use std::sync::Arc;

use frazil_iceberg::spec::TableMetadata;

use crate::catalog::{Catalog, LoadError};
use crate::change::{self, Creation};
use crate::commit;
use crate::error::ApiError;
use crate::locations;
use crate::metadata_file;
use crate::names::TableKey;

/// A location for a new table that holds no files yet, so that the files of a dropped table are never mixed in.
pub(crate) async fn new_location(catalog: &Catalog, key: &TableKey) -> Result<String, ApiError> {
    let location = locations::table_location(catalog.warehouse(), key, false);
    if catalog.storage().list(&location).await?.is_empty() {
        return Ok(location);
    }
    Ok(locations::table_location(catalog.warehouse(), key, true))
}

/// Creates a table, or with `stage` only says what it would be.
pub(crate) async fn create(
    catalog: &Catalog,
    key: &TableKey,
    mut creation: Creation,
    stage: bool,
) -> Result<Created, ApiError> {
    let wanted = key.clone();
    catalog.store(move |store| store.require_free(&wanted)).await??;
    if creation.location.is_empty() {
        creation.location = new_location(catalog, key).await?;
    }
    let metadata = change::created(creation)?;
    let prepared = tokio::task::spawn_blocking(move || commit::prepare_file(&metadata, None, 0)).await?;
    let (loaded, file) = prepared?;
    let loaded = Arc::new(loaded);
    if stage {
        return Ok(Created::Staged(loaded));
    }
    catalog.storage().put_if_absent(&loaded.location, file).await?;
    let (wanted, location) = (key.clone(), loaded.location.clone());
    match catalog.store(move |store| store.insert_table(&wanted, &location)).await? {
        Ok(()) => {
            catalog.cache().insert(loaded.clone(), None);
            tracing::info!(table = %key, location = loaded.metadata.location(), "table created");
            Ok(Created::Registered(loaded))
        }
        Err(error @ (crate::store::StoreError::Sqlite(_) | crate::store::StoreError::Corrupt(_))) => {
            Err(ApiError::CommitStateUnknown(error))
        }
        Err(refused) => {
            commit::remove(catalog, &loaded.location).await;
            Err(refused.into())
        }
    }
}

/// Outcome of [`create`].
pub(crate) enum Created {
    Registered(Arc<metadata_file::Loaded>),
    /// Nobody can see the table yet, and its metadata file does not exist.
    Staged(Arc<metadata_file::Loaded>),
}

/// Adds a table that exists as a metadata file.
pub(crate) async fn register(
    catalog: &Catalog,
    key: &TableKey,
    location: String,
) -> Result<Arc<metadata_file::Loaded>, ApiError> {
    let wanted = key.clone();
    catalog.store(move |store| store.require_free(&wanted)).await??;
    let loaded = match catalog.load_file(&location).await {
        Ok(loaded) => loaded,
        Err(LoadError::Missing) => {
            return Err(ApiError::BadRequest(format!("metadata file {location} does not exist")));
        }
        // Whatever is wrong with a file that the client named is the client's to mend.
        Err(LoadError::Other(ApiError::Internal(error))) => return Err(ApiError::BadRequest(error.to_string())),
        Err(LoadError::Other(error)) => return Err(error),
    };
    let wanted = key.clone();
    catalog.store(move |store| store.insert_table(&wanted, &location)).await??;
    tracing::info!(table = %key, location = loaded.location, "table registered");
    Ok(loaded)
}

/// Ids of the snapshots that a branch or tag names.
pub(crate) fn referenced_snapshots(metadata: &TableMetadata, json: &serde_json::Value) -> Vec<i64> {
    let refs = json.get("refs").and_then(serde_json::Value::as_object);
    let named = refs.into_iter().flat_map(|refs| refs.values()).filter_map(|entry| entry.get("snapshot-id")?.as_i64());
    named.chain(metadata.current_snapshot_id()).collect()
}
