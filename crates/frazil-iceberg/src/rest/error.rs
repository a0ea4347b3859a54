//! What a catalog's answer means. One map from statuses to errors; knows no request.

use std::error::Error;
use std::time::Duration;

use super::transport::Answer;
use super::wire::ErrorResponse;
use crate::tls::TlsFileError;

/// Failure of a catalog operation other than a commit's unclear outcome.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The table does not exist.
    #[error("no such table: {message}")]
    NoSuchTable {
        /// The server's message.
        message: String,
    },
    /// The namespace does not exist.
    #[error("no such namespace: {message}")]
    NoSuchNamespace {
        /// The server's message.
        message: String,
    },
    /// The table or namespace exists already.
    #[error("already exists: {message}")]
    AlreadyExists {
        /// The server's message.
        message: String,
    },
    /// No or wrong credentials, also after a new token; or a signature that was refused.
    #[error("the catalog does not accept the credentials: {message}")]
    Unauthorized {
        /// The server's message.
        message: String,
    },
    /// The credentials do not allow this.
    #[error("the catalog forbids it: {message}")]
    Forbidden {
        /// The server's message.
        message: String,
    },
    /// The settings, or the files they name, cannot be used. Nothing was sent.
    #[error("the settings of the catalog cannot be used: {message}")]
    Configuration {
        /// What is wrong with them.
        message: String,
    },
    /// The request is wrong in itself.
    #[error("the catalog refuses the request: {message}")]
    BadRequest {
        /// The server's message, or ours if it was not even sent.
        message: String,
    },
    /// The catalog does not answer, or says that it cannot now (after the bounded retries).
    #[error("the catalog is unavailable: {message}")]
    Unavailable {
        /// What happened.
        message: String,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// The answer is not what the protocol says.
    #[error("the catalog's answer cannot be understood: {message}")]
    Malformed {
        /// What is wrong with it.
        message: String,
    },
}

impl From<TlsFileError> for CatalogError {
    fn from(error: TlsFileError) -> Self {
        Self::Configuration { message: error.to_string() }
    }
}

impl CatalogError {
    /// Whether the same request may succeed later without anyone changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::NoSuchTable { .. }
            | Self::NoSuchNamespace { .. }
            | Self::AlreadyExists { .. }
            | Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::Configuration { .. }
            | Self::BadRequest { .. }
            | Self::Malformed { .. } => false,
        }
    }

    pub(super) fn malformed(error: &dyn Error) -> Self {
        Self::Malformed { message: error.to_string() }
    }

    /// The error that an unsuccessful answer stands for.
    pub(super) fn from_answer(answer: &Answer, subject: Subject) -> Self {
        let (kind, message) = error_model(answer);
        if let Some(why) = &answer.signature {
            return Self::Unauthorized { message: format!("{why}: {message}") };
        }
        match answer.status.as_u16() {
            401 | 419 => Self::Unauthorized { message },
            403 => Self::Forbidden { message },
            404 => match (kind.as_str(), subject) {
                ("NoSuchNamespaceException", _) | (_, Subject::Namespace) => Self::NoSuchNamespace { message },
                (_, Subject::Table) => Self::NoSuchTable { message },
                (_, Subject::Catalog) => Self::BadRequest { message },
            },
            409 => Self::AlreadyExists { message },
            408 | 425 | 429 | 500..=599 => Self::Unavailable { message, retry_after: answer.retry_after },
            400..=499 => Self::BadRequest { message },
            // A redirect that would turn a POST into a GET, or anything else that is no answer of the protocol.
            _ => Self::Malformed { message },
        }
    }
}

/// Outcome of a commit that did not answer with success.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A requirement failed: nothing was changed.
    #[error("commit conflict: {message}")]
    Conflict {
        /// The server's message.
        message: String,
    },
    /// The table does not exist (any more): nothing was changed.
    #[error("no such table: {message}")]
    NotFound {
        /// The server's message.
        message: String,
    },
    /// The request was refused: nothing was changed.
    #[error(transparent)]
    Rejected(CatalogError),
    /// The request certainly did not reach the commit: nothing was changed, sending again is safe.
    #[error("commit not sent: {0}")]
    NotSent(CatalogError),
    /// It may have been committed, or may still be. Only the table can tell.
    #[error("commit outcome unknown: {reason}")]
    Unknown {
        /// What happened instead of an answer.
        reason: String,
    },
}

impl CommitError {
    /// What an unsuccessful answer to a sent commit says. Statuses that promise that nothing was done are few;
    /// everything else is unknown.
    pub(super) fn from_answer(answer: &Answer) -> Self {
        let error = CatalogError::from_answer(answer, Subject::Table);
        match answer.status.as_u16() {
            409 => Self::Conflict { message: error_model(answer).1 },
            404 => Self::NotFound { message: error_model(answer).1 },
            400 | 401 | 403 | 419 | 422 => Self::Rejected(error),
            // Refused by a rate limit, in front of any work.
            429 => Self::NotSent(error),
            status => Self::Unknown { reason: format!("status {status}: {error}") },
        }
    }
}

/// What a request is about, where a bare 404 does not say what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Catalog,
    Namespace,
    Table,
}

/// Type and message of the Iceberg error model, or a stand-in from status and body.
fn error_model(answer: &Answer) -> (String, String) {
    match serde_json::from_slice::<ErrorResponse>(&answer.body) {
        Ok(ErrorResponse { error }) if !error.message.is_empty() => (error.kind, error.message),
        Ok(ErrorResponse { error }) => (error.kind, format!("status {}", answer.status)),
        Err(_) => {
            let body = String::from_utf8_lossy(&answer.body);
            let start: String = body.trim().chars().take(200).collect();
            (String::new(), format!("status {}: {start}", answer.status))
        }
    }
}
