//! From a location string to a store and a key. Pure; never percent-decodes and never parses a URL.

use std::path::PathBuf;

use object_store::path::Path as ObjectPath;

use super::StorageError;

/// A location, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// A file of this machine.
    Local(PathBuf),
    /// An object of a store.
    Object(ObjectLocation),
}

/// An object of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ObjectLocation {
    pub(super) store: Store,
    /// What the key is appended to in order to get the location back, e.g. `s3a://bucket/`.
    pub(super) root: String,
    pub(super) key: ObjectPath,
}

/// Which store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Store {
    Memory,
    S3 { bucket: String },
}

impl Location {
    pub(super) fn parse(location: &str) -> Result<Self, StorageError> {
        let invalid =
            |reason: &str| StorageError::InvalidLocation { location: location.to_owned(), reason: reason.to_owned() };
        let Some((scheme, rest)) = location.split_once("://") else {
            let path = location.strip_prefix("file:").unwrap_or(location);
            return Self::local(path).ok_or_else(|| invalid("neither an absolute path nor scheme://…"));
        };
        match scheme {
            "file" => Self::local(rest).ok_or_else(|| invalid("file:// needs an absolute path")),
            "s3" | "s3a" | "s3n" => {
                let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() {
                    return Err(invalid("the bucket is missing"));
                }
                let store = Store::S3 { bucket: bucket.to_owned() };
                Self::object(location, store, format!("{scheme}://{bucket}/"), key)
            }
            "memory" => {
                let key = rest.trim_start_matches('/');
                let root = location.get(..location.len() - key.len()).unwrap_or_default();
                Self::object(location, Store::Memory, root.to_owned(), key)
            }
            _ if location.starts_with('/') => Ok(Self::Local(PathBuf::from(location))),
            _ => Err(invalid("the scheme is none of file, s3, s3a, s3n, memory")),
        }
    }

    fn local(path: &str) -> Option<Self> {
        path.starts_with('/').then(|| Self::Local(PathBuf::from(path)))
    }

    fn object(location: &str, store: Store, root: String, key: &str) -> Result<Self, StorageError> {
        // `parse` keeps the key byte for byte; `from` would percent-encode it into another object.
        let key = ObjectPath::parse(key).map_err(|error| StorageError::InvalidLocation {
            location: location.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self::Object(ObjectLocation { store, root, key }))
    }
}

impl ObjectLocation {
    /// The full location.
    pub(super) fn location(&self) -> String {
        format!("{}{}", self.root, self.key)
    }

    /// Whether the location lies under a prefix; the spellings `s3`, `s3a` and `s3n` mean the same store.
    pub(super) fn starts_with(&self, prefix: &str) -> bool {
        let without_scheme = |text: &str| match text.split_once("://") {
            Some(("s3" | "s3a" | "s3n", rest)) => rest.to_owned(),
            _ => text.to_owned(),
        };
        // A bare "s3" or "s3://" is how servers say "everything".
        let everything = matches!(prefix, "" | "s3" | "s3://" | "s3a" | "s3a://");
        everything || without_scheme(&self.location()).starts_with(&without_scheme(prefix))
    }
}
