//! What can go wrong with a file, and whether trying again can help. Knows no table and no commit.

use std::error::Error;

use crate::tls;

/// Failure of one storage operation.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// There is no such file.
    #[error("{location} does not exist")]
    NotFound {
        /// The file's location.
        location: String,
    },
    /// The file to be created is there already.
    #[error("{location} exists already")]
    AlreadyExists {
        /// The file's location.
        location: String,
    },
    /// The credentials are missing, wrong, or do not allow this.
    #[error("no permission for {location}: {source}")]
    PermissionDenied {
        /// The file's location.
        location: String,
        /// The store's own error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The store did not answer, or answered that it cannot now (after the client's own retries).
    #[error("storage is unavailable at {location}: {source}")]
    Unavailable {
        /// The file's location.
        location: String,
        /// The store's own error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The store refuses the operation for good.
    #[error("storage refused {location}: {source}")]
    Refused {
        /// The file's location.
        location: String,
        /// The store's own error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// No store can be found from the location.
    #[error("invalid location {location:?}: {reason}")]
    InvalidLocation {
        /// The location as given.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The storage properties do not make a client.
    #[error("invalid storage properties: {reason}")]
    Configuration {
        /// What is wrong with them.
        reason: String,
    },
}

impl StorageError {
    /// Whether the same operation may succeed later without anyone changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::NotFound { .. }
            | Self::AlreadyExists { .. }
            | Self::PermissionDenied { .. }
            | Self::Refused { .. }
            | Self::InvalidLocation { .. }
            | Self::Configuration { .. } => false,
        }
    }

    pub(super) fn from_io(location: &str, error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let location = location.to_owned();
        match error.kind() {
            ErrorKind::NotFound => Self::NotFound { location },
            ErrorKind::AlreadyExists => Self::AlreadyExists { location },
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Self::PermissionDenied { location, source: error.into() }
            }
            ErrorKind::InvalidInput
            | ErrorKind::InvalidFilename
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::Unsupported => Self::Refused { location, source: error.into() },
            // A full or failing disk, interruptions: an operator or time can mend them.
            _ => Self::Unavailable { location, source: error.into() },
        }
    }

    pub(super) fn from_object_store(location: &str, error: object_store::Error) -> Self {
        use object_store::Error as E;
        let location = location.to_owned();
        match error {
            E::NotFound { .. } => Self::NotFound { location },
            // S3 answers a failed `If-None-Match: *` with 412.
            E::AlreadyExists { .. } | E::Precondition { .. } => Self::AlreadyExists { location },
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
                Self::PermissionDenied { location, source: error.into() }
            }
            E::InvalidPath { .. }
            | E::NotSupported { .. }
            | E::NotImplemented { .. }
            | E::NotModified { .. }
            | E::UnknownConfigurationKey { .. } => Self::Refused { location, source: error.into() },
            // Exhausted retries, broken connections and statuses such as an expired session token (400): a later
            // try, after the table was reloaded, may have it better.
            _ => Self::Unavailable { location, source: explained(error) },
        }
    }
}

/// The store's client does not show what went wrong in a TLS handshake.
fn explained(error: object_store::Error) -> Box<dyn Error + Send + Sync> {
    match tls::explain(&error) {
        Some(why) => format!("{error}: {why}").into(),
        None => error.into(),
    }
}
