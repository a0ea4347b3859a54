//! The open catalog: configuration, database, storage and cache, and how the rest reaches them from async code.

use std::fmt;
use std::sync::Arc;

use frazil_iceberg::{ObjectStorage, StorageError};
use prometheus_client::registry::Registry;

use crate::cache::Cache;
use crate::config::{CatalogConfig, OpenError};
use crate::error::ApiError;
use crate::http;
use crate::metadata_file::{self, Loaded};
use crate::names::TableKey;
use crate::reports::Reports;
use crate::store::{Store, StoreError};

/// Fragments of storage property names that mark a secret.
const SECRET_MARKS: [&str; 6] = ["access-key-id", "secret", "token", "password", "credential", "private"];
/// How often a load starts again because the metadata file was replaced and removed between pointer and file.
const LOAD_ATTEMPTS: usize = 5;

/// The embedded catalog. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Catalog {
    inner: Arc<Inner>,
}

struct Inner {
    config: CatalogConfig,
    client_config: Vec<(String, String)>,
    store: Arc<Store>,
    storage: ObjectStorage,
    cache: Cache,
    reports: Reports,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

impl Catalog {
    /// Opens the database, creating it when missing. Blocks for a moment; contacts no storage.
    ///
    /// # Errors
    /// [`OpenError`]: a wrong configuration, or a file that is not a catalog this program can use.
    pub fn open(mut config: CatalogConfig) -> Result<Self, OpenError> {
        config.warehouse = check_warehouse(&config.warehouse)?;
        if config.token.as_ref().is_some_and(String::is_empty) {
            return Err(OpenError::EmptyToken);
        }
        let reports = Reports::new(config.reports.as_ref(), &config.name)?;
        let store = Arc::new(Store::open(&config.database)?);
        let storage = ObjectStorage::trusting(
            config.storage_roots.clone(),
            config.storage_properties.clone().into_iter().collect(),
        );
        let secret = |key: &str| SECRET_MARKS.iter().any(|mark| key.contains(mark));
        let mut client_config: Vec<_> =
            config.storage_properties.clone().into_iter().filter(|(key, _)| !secret(key)).collect();
        client_config.sort();
        let inner = Inner { config, client_config, store, storage, cache: Cache::default(), reports };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The Iceberg REST protocol under `/v1`.
    pub fn router(&self) -> axum::Router {
        http::router(self.clone())
    }

    /// The catalog's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.config.name
    }

    /// Registers the catalog's metrics as `frazil_catalog_…`.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.reports().metrics().register(registry);
    }

    pub(crate) fn reports(&self) -> &Reports {
        &self.inner.reports
    }

    pub(crate) fn warehouse(&self) -> &str {
        &self.inner.config.warehouse
    }

    pub(crate) fn token(&self) -> Option<&str> {
        self.inner.config.token.as_deref()
    }

    /// Properties handed to clients with every table: how to reach the storage, without secrets.
    pub(crate) fn client_config(&self) -> &[(String, String)] {
        &self.inner.client_config
    }

    pub(crate) fn storage(&self) -> &ObjectStorage {
        &self.inner.storage
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.inner.cache
    }

    /// Runs a database operation on the blocking pool. It finishes even if the caller goes away.
    pub(crate) async fn store<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Result<T, StoreError>, ApiError> {
        let store = self.inner.store.clone();
        Ok(tokio::task::spawn_blocking(move || operation(&store)).await?)
    }

    /// Current metadata of a table; `None` if there is no such table.
    pub(crate) async fn current(&self, key: &TableKey) -> Result<Option<Arc<Loaded>>, ApiError> {
        let mut last_missing = None;
        for _ in 0..LOAD_ATTEMPTS {
            let wanted = key.clone();
            let Some(location) = self.store(move |store| store.pointer(&wanted)).await?? else {
                return Ok(None);
            };
            match self.load_file(&location).await {
                Ok(loaded) => return Ok(Some(loaded)),
                // Twenty commits may have passed since the pointer was read. A pointer that stays, though, names a
                // file that is really gone.
                Err(LoadError::Missing) if last_missing.as_ref() != Some(&location) => last_missing = Some(location),
                Err(LoadError::Missing) => break,
                Err(LoadError::Other(error)) => return Err(error),
            }
        }
        let location = last_missing.unwrap_or_default();
        Err(ApiError::Internal(format!("metadata file {location} of table {key} is missing").into()))
    }

    /// Reads and parses a metadata file, through the cache.
    pub(crate) async fn load_file(&self, location: &str) -> Result<Arc<Loaded>, LoadError> {
        if let Some(loaded) = self.cache().get(location) {
            return Ok(loaded);
        }
        let bytes = self.storage().get(location).await.map_err(|error| match error {
            StorageError::NotFound { .. } => LoadError::Missing,
            other => LoadError::Other(other.into()),
        })?;
        let owned = location.to_owned();
        let decoded = tokio::task::spawn_blocking(move || metadata_file::decode(owned, &bytes)).await;
        let loaded = Arc::new(decoded.map_err(ApiError::from)?.map_err(ApiError::from)?);
        self.cache().insert(loaded.clone(), None);
        Ok(loaded)
    }
}

/// Why a metadata file was not loaded.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// There is no such file.
    Missing,
    Other(ApiError),
}

impl From<ApiError> for LoadError {
    fn from(error: ApiError) -> Self {
        Self::Other(error)
    }
}

fn check_warehouse(warehouse: &str) -> Result<String, OpenError> {
    let trimmed = warehouse.trim_end_matches('/');
    let local = trimmed.strip_prefix("file:///").is_some_and(|path| !path.is_empty());
    let bucket = trimmed.strip_prefix("s3://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
    if local || bucket { Ok(trimmed.to_owned()) } else { Err(OpenError::Warehouse { warehouse: warehouse.to_owned() }) }
}
