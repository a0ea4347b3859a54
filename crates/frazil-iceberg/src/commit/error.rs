//! How an append can end without being committed by this call.

use uuid::Uuid;

use crate::rest::CatalogError;
use crate::storage::StorageError;

/// Why an append is not, or not known to be, committed.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another table has the name now. The files belong to the old one and must not be committed.
    #[error("the table was replaced: expected uuid {expected}, found {found}")]
    TableReplaced {
        /// The table the files were written for.
        expected: Uuid,
        /// The table that is there.
        found: Uuid,
    },
    /// A fence property has moved on: somebody else committed what these files hold, or more.
    #[error("fenced: {key} is {found:?}, expected {expected:?}")]
    Fenced {
        /// The property.
        key: String,
        /// Its value when the work on these files began.
        expected: Option<String>,
        /// Its value now.
        found: Option<String>,
    },
    /// The table was dropped.
    #[error("the table is gone: {message}")]
    Gone {
        /// The catalog's message.
        message: String,
    },
    /// The catalog refuses this append for good; nothing was committed.
    #[error(transparent)]
    Rejected(CatalogError),
    /// The files cannot be appended to this table; nothing was sent.
    #[error("files cannot be appended: {reason}")]
    InvalidFiles {
        /// What is wrong.
        reason: String,
    },
    /// A manifest could not be read or written, and will not be on another try; nothing is pending.
    #[error("manifest: {0}")]
    Storage(StorageError),
    /// Other commits came first on every attempt; nothing of this append is in the table.
    #[error("no success in {attempts} attempts, other commits came first: {message}")]
    Contended {
        /// Attempts made.
        attempts: u32,
        /// The last conflict.
        message: String,
    },
    /// Catalog or storage cannot be reached; nothing of this append is in the table.
    #[error("unavailable: {message}")]
    Unavailable {
        /// The last failure.
        message: String,
    },
    /// It may be committed, or may be yet. Call again with the **same** append to find out and finish.
    #[error("commit outcome unknown: {message}")]
    Unknown {
        /// The last failure.
        message: String,
    },
}

impl AppendError {
    /// Whether to call again with the same append. (Always with the same one: it is idempotent.)
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Contended { .. } | Self::Unavailable { .. } | Self::Unknown { .. } => true,
            Self::TableReplaced { .. }
            | Self::Fenced { .. }
            | Self::Gone { .. }
            | Self::Rejected(_)
            | Self::InvalidFiles { .. }
            | Self::Storage(_) => false,
        }
    }
}

/// Failure to prepare a snapshot; nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("{reason}")]
    Invalid { reason: String },
}

impl PrepareError {
    pub(super) fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid { reason: reason.into() }
    }
}

impl From<iceberg::Error> for PrepareError {
    /// Takes the storage's own error back out of the spec layer's.
    fn from(error: iceberg::Error) -> Self {
        let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<StorageError>());
        let Some(StorageError::Unavailable { location, .. }) = source else {
            return Self::Invalid { reason: error.to_string() };
        };
        Self::Storage(StorageError::Unavailable { location: location.clone(), source: error.to_string().into() })
    }
}
