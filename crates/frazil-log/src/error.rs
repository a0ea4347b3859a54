//! Errors of everything but publishing and reading, which have their own.

use std::error::Error;
use std::fmt;

use async_nats::jetstream::{self, ErrorCode};

/// A cause, whatever its type.
pub type Cause = Box<dyn Error + Send + Sync + 'static>;

/// Shows an error with its causes, on one line.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

/// Why an operation on the log or its control bucket failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The settings are unusable. Do not retry; nothing happened.
    #[error("log settings: {0}")]
    Config(String),
    /// No answer in time, or no connection. Retry; a write may have happened. Every write here is idempotent,
    /// except that a repeated [`Control::create_stream`](crate::Control::create_stream) may say `AlreadyExists`.
    #[error("{operation}: the log is unavailable")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// What the client said.
        source: Cause,
    },
    /// The log answered no. Do not retry unchanged; nothing happened.
    #[error("{operation}: the log refused")]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// What the log said.
        source: Cause,
    },
    /// There is no such shard, stream definition or bucket. Do not retry; nothing happened.
    #[error("{0} does not exist")]
    NotFound(String),
    /// There is one already. Do not retry; nothing happened.
    #[error("{0} exists already")]
    AlreadyExists(String),
    /// The shard is not the one that was meant: it was deleted and made again. Do not retry; nothing happened.
    #[error("{0} was deleted and created again")]
    Recreated(String),
    /// A stored value cannot be read. Do not retry.
    #[error("control value {key:?} is malformed")]
    Malformed {
        /// Key in the control bucket.
        key: String,
        /// What the parser said.
        source: Cause,
    },
}

impl LogError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Config(_)
            | Self::Refused { .. }
            | Self::NotFound(_)
            | Self::AlreadyExists(_)
            | Self::Recreated(_)
            | Self::Malformed { .. } => false,
        }
    }

    /// Whether a write may have taken effect although it failed.
    pub fn may_have_happened(&self) -> bool {
        self.is_retryable()
    }

    pub(crate) fn unavailable(operation: &'static str, source: impl Into<Cause>) -> Self {
        Self::Unavailable { operation, source: source.into() }
    }

    pub(crate) fn refused(operation: &'static str, source: impl Into<Cause>) -> Self {
        Self::Refused { operation, source: source.into() }
    }

    /// What an API error of JetStream means; `subject` names what the request was about.
    pub(crate) fn from_api(operation: &'static str, subject: impl Into<String>, error: jetstream::Error) -> Self {
        match error.error_code() {
            ErrorCode::STREAM_NOT_FOUND => Self::NotFound(subject.into()),
            // A cluster between two leaders; the next try finds the new one.
            ErrorCode::CLUSTER_NOT_AVAILABLE
            | ErrorCode::CLUSTER_NOT_LEADER
            | ErrorCode::CLUSTER_INCOMPLETE
            | ErrorCode::STREAM_OFFLINE => Self::unavailable(operation, error),
            _ => Self::refused(operation, error),
        }
    }
}
