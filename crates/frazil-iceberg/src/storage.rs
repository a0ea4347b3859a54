//! Files by location: one handle over local files, S3 and memory.
//!
//! Locations are opaque strings, as Iceberg metadata carries them: the scheme and bucket are cut off and the rest is
//! the key, byte for byte. Nothing here parses a location as a URL, so keys with `?`, `#`, `%` or spaces work.
//!
//! Must not know tables, and must not delete anything on its own account.

mod bucket;
mod error;
mod file_io;
mod local;
mod location;
mod object;
mod probe;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use iceberg::io::FileIO;
use object_store::ObjectStore;
use object_store::memory::InMemory;

pub use bucket::BucketOutcome;
pub use error::StorageError;
use location::Location;
pub use probe::{ProbeCause, ProbeFailure, ProbeStep};

use crate::tls::Roots;

/// Result of a storage operation.
pub type Result<T> = std::result::Result<T, StorageError>;

/// Storage properties that hold for locations under a prefix, as a catalog vends them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PrefixProperties {
    /// Locations that start with this use `properties` (the longest prefix wins).
    pub prefix: String,
    /// Iceberg FileIO properties (`s3.…`), laid over the storage's own.
    pub properties: BTreeMap<String, String>,
}

impl fmt::Debug for PrefixProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrefixProperties").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// A file found by [`ObjectStorage::list`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Full location, usable with every other operation.
    pub location: String,
    /// Size in bytes.
    pub size: u64,
    /// Last modification, milliseconds since the epoch.
    pub modified_ms: i64,
}

/// Handle to all files that one set of properties reaches. Cheap to clone; clones share their clients.
#[derive(Clone)]
pub struct ObjectStorage {
    inner: Arc<Inner>,
}

struct Inner {
    roots: Roots,
    properties: BTreeMap<String, String>,
    prefixes: Vec<PrefixProperties>,
    memory: Arc<InMemory>,
    /// One client per bucket and credential, made on first use and kept: a client carries its connection pool and
    /// its credential cache, and a new one per operation would ask the credential service every time.
    clients: Mutex<HashMap<ClientKey, Arc<dyn ObjectStore>>>,
}

/// Bucket, and index of the prefix whose credentials are used.
type ClientKey = (String, Option<usize>);

impl fmt::Debug for ObjectStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Properties hold secrets.
        f.debug_struct("ObjectStorage").field("prefixes", &self.inner.prefixes).finish_non_exhaustive()
    }
}

impl Default for ObjectStorage {
    fn default() -> Self {
        Self::new(BTreeMap::new())
    }
}

impl ObjectStorage {
    /// Storage with Iceberg FileIO properties (`s3.endpoint`, `s3.region` or `client.region`, `s3.access-key-id`,
    /// `s3.secret-access-key`, `s3.session-token`, `s3.path-style-access`). Without credentials among them S3 uses
    /// the environment's (variables, web identity, instance role). Nothing is contacted yet.
    #[must_use]
    pub fn new(properties: BTreeMap<String, String>) -> Self {
        Self::trusting(Roots::default(), properties)
    }

    /// The same, with `roots` trusted beside the system's when a store is reached by https.
    #[must_use]
    pub fn trusting(roots: Roots, properties: BTreeMap<String, String>) -> Self {
        Self::with_memory(roots, properties, Vec::new(), Arc::new(InMemory::new()))
    }

    /// Storage with other properties that trusts the same roots and sees the same `memory://` files.
    #[must_use]
    pub fn with_properties(&self, properties: BTreeMap<String, String>, prefixes: Vec<PrefixProperties>) -> Self {
        Self::with_memory(self.inner.roots.clone(), properties, prefixes, self.inner.memory.clone())
    }

    fn with_memory(
        roots: Roots,
        properties: BTreeMap<String, String>,
        prefixes: Vec<PrefixProperties>,
        memory: Arc<InMemory>,
    ) -> Self {
        Self { inner: Arc::new(Inner { roots, properties, prefixes, memory, clients: Mutex::default() }) }
    }

    /// Writes a whole file, replacing what is there. On return the file is durable: local files are fsynced with
    /// their directory; large objects go up in parts, and a failed upload is aborted.
    ///
    /// # Errors
    /// [`StorageError`]; after an error the location holds the old content or the new one, never a part of it.
    pub async fn put(&self, location: &str, data: Bytes) -> Result<()> {
        match Location::parse(location)? {
            Location::Local(path) => local::put(path, data, local::Existing::Replace).await,
            Location::Object(object) => object::put(&self.client(&object)?, &object, data).await,
        }
    }

    /// Creates a file that must not exist yet, atomically against racing creators.
    ///
    /// # Errors
    /// [`StorageError::AlreadyExists`] for all creators but one.
    pub async fn put_if_absent(&self, location: &str, data: Bytes) -> Result<()> {
        match Location::parse(location)? {
            Location::Local(path) => local::put(path, data, local::Existing::Refuse).await,
            Location::Object(object) => object::put_if_absent(&self.client(&object)?, &object, data).await,
        }
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] if there is none.
    pub async fn get(&self, location: &str) -> Result<Bytes> {
        match Location::parse(location)? {
            Location::Local(path) => local::get(path, None).await,
            Location::Object(object) => object::get(&self.client(&object)?, &object, None).await,
        }
    }

    /// Reads the bytes `range` of a file.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] if there is no such file.
    pub async fn get_range(&self, location: &str, range: std::ops::Range<u64>) -> Result<Bytes> {
        match Location::parse(location)? {
            Location::Local(path) => local::get(path, Some(range)).await,
            Location::Object(object) => object::get(&self.client(&object)?, &object, Some(range)).await,
        }
    }

    /// Deletes a file; a missing one counts as deleted.
    ///
    /// # Errors
    /// [`StorageError`] if the file may still be there.
    pub async fn delete(&self, location: &str) -> Result<()> {
        let deleted = match Location::parse(location)? {
            Location::Local(path) => local::delete(path).await,
            Location::Object(object) => object::delete(&self.client(&object)?, &object).await,
        };
        match deleted {
            Err(StorageError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    /// Size of a file in bytes.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] if there is no such file.
    pub async fn size(&self, location: &str) -> Result<u64> {
        match Location::parse(location)? {
            Location::Local(path) => local::size(path).await,
            Location::Object(object) => object::size(&self.client(&object)?, &object).await,
        }
    }

    /// Whether the file exists.
    ///
    /// # Errors
    /// [`StorageError`] if that could not be found out.
    pub async fn exists(&self, location: &str) -> Result<bool> {
        match self.size(location).await {
            Ok(_) => Ok(true),
            Err(StorageError::NotFound { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// All files below a directory (`…/a` finds `…/a/b` and `…/a/b/c`, not `…/ab`), in no particular order.
    ///
    /// # Errors
    /// [`StorageError`]; a directory that does not exist is empty.
    pub async fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>> {
        match Location::parse(prefix)? {
            Location::Local(path) => local::list(path, prefix.to_owned()).await,
            Location::Object(object) => object::list(&self.client(&object)?, &object).await,
        }
    }

    /// The same files as an Iceberg `FileIO`, for the readers and writers of manifests.
    #[must_use]
    pub fn file_io(&self) -> FileIO {
        file_io::build(self.clone())
    }

    fn client(&self, object: &location::ObjectLocation) -> Result<Arc<dyn ObjectStore>> {
        let bucket = match &object.store {
            location::Store::Memory => return Ok(self.inner.memory.clone()),
            location::Store::S3 { bucket } => bucket,
        };
        let prefix = self.best_prefix(object);
        let key = (bucket.clone(), prefix);
        let mut clients = self.inner.clients.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = object::s3_client(bucket, &self.properties(prefix), &self.inner.roots)?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    /// The properties in force with the credentials of a prefix.
    fn properties(&self, prefix: Option<usize>) -> BTreeMap<String, String> {
        let mut properties = self.inner.properties.clone();
        if let Some(vended) = prefix.and_then(|index| self.inner.prefixes.get(index)) {
            // A credential replaces a credential: a token left over from another one would spoil it.
            if vended.properties.contains_key("s3.access-key-id") {
                properties.remove("s3.session-token");
            }
            properties.extend(vended.properties.clone());
        }
        properties
    }

    fn best_prefix(&self, object: &location::ObjectLocation) -> Option<usize> {
        let matches = |prefix: &PrefixProperties| object.starts_with(&prefix.prefix);
        let candidates = self.inner.prefixes.iter().enumerate().filter(|(_, prefix)| matches(prefix));
        candidates.max_by_key(|(_, prefix)| prefix.prefix.len()).map(|(index, _)| index)
    }
}

#[cfg(test)]
impl ObjectStorage {
    /// Number of roots that are trusted beside the system's.
    pub(crate) fn roots(&self) -> usize {
        self.inner.roots.len()
    }

    /// A property as it holds for a location.
    pub(crate) fn setting(&self, location: &str, key: &str) -> Option<String> {
        match Location::parse(location).expect("location") {
            Location::Object(object) => self.properties(self.best_prefix(&object)).remove(key),
            Location::Local(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
