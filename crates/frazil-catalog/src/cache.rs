//! The current metadata of recently used tables, parsed, by metadata location. A metadata file never changes under
//! its name, so an entry can be old but never wrong; the pointer in the database decides which entry counts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::metadata_file::Loaded;

/// Most tables kept.
const MAX_ENTRIES: usize = 128;
/// Most metadata kept, in bytes of JSON. The parsed form is a few times larger.
const MAX_BYTES: usize = 16 * 1024 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Cache {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<String, Entry>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    loaded: Arc<Loaded>,
    used: u64,
}

impl Cache {
    pub(crate) fn get(&self, location: &str) -> Option<Arc<Loaded>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clock += 1;
        let now = inner.clock;
        let entry = inner.entries.get_mut(location)?;
        entry.used = now;
        Some(entry.loaded.clone())
    }

    /// Adds metadata, and forgets what it replaces and what was used longest ago. Metadata too large for the cache
    /// is kept alone: it is what the next commit needs.
    pub(crate) fn insert(&self, loaded: Arc<Loaded>, replaces: Option<&str>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = replaces {
            inner.remove(old);
        }
        inner.remove(&loaded.location);
        inner.clock += 1;
        let used = inner.clock;
        inner.bytes += loaded.json.get().len();
        inner.entries.insert(loaded.location.clone(), Entry { loaded, used });
        while inner.entries.len() > 1 && (inner.entries.len() > MAX_ENTRIES || inner.bytes > MAX_BYTES) {
            let oldest = inner.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(location, _)| location.clone());
            match oldest {
                Some(location) => inner.remove(&location),
                None => break,
            }
        }
    }
}

impl Inner {
    fn remove(&mut self, location: &str) {
        if let Some(entry) = self.entries.remove(location) {
            self.bytes -= entry.loaded.json.get().len();
        }
    }
}
