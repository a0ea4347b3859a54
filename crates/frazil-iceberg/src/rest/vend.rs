//! Storage for tables: which properties and credentials hold, and one storage per distinct set of them.
//!
//! Order, later wins: catalog defaults, `config` of the loaded table, `storage-credentials` for their prefixes, the
//! user's properties, catalog overrides. The keys of a credential belong together: if the user (or an override)
//! gives an access key, no part of a vended credential is used, because a vended session token beside the user's
//! key would be refused by every store.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::wire::StorageCredential;
use crate::storage::{ObjectStorage, PrefixProperties};
use crate::tls::Roots;

/// Storages kept, with their clients and connections: one per table whose credentials are vended, one in all
/// otherwise. Beyond it the oldest is forgotten (tables that hold it keep it).
const MAX_STORAGES: usize = 1024;

const CREDENTIAL: [&str; 3] = ["s3.access-key-id", "s3.secret-access-key", "s3.session-token"];

pub(super) struct StoragePool {
    root: ObjectStorage,
    defaults: BTreeMap<String, String>,
    user: BTreeMap<String, String>,
    overrides: BTreeMap<String, String>,
    kept: Mutex<Kept>,
}

type Key = (BTreeMap<String, String>, Vec<PrefixProperties>);

#[derive(Default)]
struct Kept {
    storages: HashMap<Key, ObjectStorage>,
    order: VecDeque<Key>,
}

impl fmt::Debug for StoragePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoragePool").finish_non_exhaustive()
    }
}

impl StoragePool {
    pub(super) fn new(
        roots: &Roots,
        defaults: BTreeMap<String, String>,
        user: BTreeMap<String, String>,
        overrides: BTreeMap<String, String>,
    ) -> Self {
        let root = ObjectStorage::trusting(roots.clone(), BTreeMap::new());
        Self { root, defaults, user, overrides, kept: Mutex::default() }
    }

    /// The storage for a table that was loaded with this `config` and these credentials.
    pub(super) fn storage(
        &self,
        config: Option<BTreeMap<String, String>>,
        credentials: Option<Vec<StorageCredential>>,
    ) -> ObjectStorage {
        let fixed = |key: &str| self.user.contains_key(key) || self.overrides.contains_key(key);
        let own_credential = fixed("s3.access-key-id");
        let usable = |key: &str| !(fixed(key) || (own_credential && CREDENTIAL.contains(&key)));
        let mut properties = storage_properties(&self.defaults, &|key| usable(key));
        properties.extend(storage_properties(&config.unwrap_or_default(), &|key| usable(key)));
        properties.extend(storage_properties(&self.user, &|_| true));
        properties.extend(storage_properties(&self.overrides, &|_| true));
        let prefixes = credentials.unwrap_or_default().into_iter().map(|credential| PrefixProperties {
            prefix: credential.prefix,
            properties: storage_properties(&credential.config, &|key| usable(key)),
        });
        let prefixes = prefixes.filter(|prefix| !prefix.properties.is_empty()).collect();
        self.kept((properties, prefixes))
    }

    fn kept(&self, key: Key) -> ObjectStorage {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(storage) = kept.storages.get(&key) {
            return storage.clone();
        }
        let storage = self.root.with_properties(key.0.clone(), key.1.clone());
        if kept.order.len() >= MAX_STORAGES
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.storages.remove(&oldest);
        }
        kept.order.push_back(key.clone());
        kept.storages.insert(key, storage.clone());
        storage
    }
}

/// The properties that concern storage: others (tokens, expiry times) would only make equal storages differ.
fn storage_properties(
    properties: &BTreeMap<String, String>,
    usable: &dyn Fn(&str) -> bool,
) -> BTreeMap<String, String> {
    let concerns =
        |key: &str| (key.starts_with("s3.") && key != "s3.session-token-expires-at-ms") || key == "client.region";
    let chosen = properties.iter().filter(|(key, _)| concerns(key) && usable(key));
    chosen.map(|(key, value)| (key.clone(), value.clone())).collect()
}
