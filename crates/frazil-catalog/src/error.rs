//! Every refusal of the catalog, and its one mapping to the protocol's error shape (status, `type`, message).

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use frazil_iceberg::StorageError;
use serde_json::json;

use crate::change::ChangeError;
use crate::metadata_file::FileError;
use crate::names::NameError;
use crate::store::StoreError;

/// Outcome of a request other than success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{0}")]
    BadRequest(String),
    #[error("missing or wrong bearer token")]
    NotAuthorized,
    #[error("no such endpoint")]
    NoSuchEndpoint,
    #[error("this endpoint does not take that method")]
    MethodNotAllowed,
    #[error("{0}")]
    Unsupported(String),
    #[error("the request body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the request body must be sent as content-type application/json")]
    MediaType,
    #[error("{0}")]
    Unprocessable(String),
    #[error("namespace does not exist: {0}")]
    NoSuchNamespace(String),
    #[error("namespace already exists: {0}")]
    NamespaceExists(String),
    #[error("namespace is not empty: {0}")]
    NamespaceNotEmpty(String),
    #[error("table does not exist: {0}")]
    NoSuchTable(String),
    #[error("table already exists: {0}")]
    TableExists(String),
    #[error("{0}")]
    CommitFailed(String),
    /// The pointer swap was sent to the database, and whether it happened cannot be told.
    #[error("the outcome of the commit is unknown: {0}")]
    CommitStateUnknown(#[source] StoreError),
    /// Nothing was changed, and the same request may work later.
    #[error("temporarily unavailable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("internal error: {0}")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NotAuthorized => StatusCode::UNAUTHORIZED,
            Self::NoSuchEndpoint | Self::NoSuchNamespace(_) | Self::NoSuchTable(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unsupported(_) => StatusCode::NOT_ACCEPTABLE,
            Self::NamespaceExists(_) | Self::NamespaceNotEmpty(_) | Self::TableExists(_) | Self::CommitFailed(_) => {
                StatusCode::CONFLICT
            }
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unprocessable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::CommitStateUnknown(_) | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The exception name that clients of the reference implementation know.
    fn kind(&self) -> &'static str {
        match self {
            Self::BadRequest(_) | Self::TooLarge { .. } | Self::MediaType => "BadRequestException",
            Self::NotAuthorized => "NotAuthorizedException",
            Self::NoSuchEndpoint => "NoSuchEndpointException",
            Self::MethodNotAllowed => "MethodNotAllowedException",
            Self::Unsupported(_) => "UnsupportedOperationException",
            Self::Unprocessable(_) => "UnprocessableEntityException",
            Self::NoSuchNamespace(_) => "NoSuchNamespaceException",
            Self::NamespaceExists(_) | Self::TableExists(_) => "AlreadyExistsException",
            Self::NamespaceNotEmpty(_) => "NamespaceNotEmptyException",
            Self::NoSuchTable(_) => "NoSuchTableException",
            Self::CommitFailed(_) => "CommitFailedException",
            Self::CommitStateUnknown(_) => "CommitStateUnknownException",
            Self::Unavailable(_) => "ServiceUnavailableException",
            Self::Internal(_) => "InternalServerError",
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() {
            tracing::error!(error = %self, status = status.as_u16(), "catalog request failed");
        }
        let error = json!({ "message": self.to_string(), "type": self.kind(), "code": status.as_u16() });
        let mut response = (status, Json(json!({ "error": error }))).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = header::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<NameError> for ApiError {
    fn from(error: NameError) -> Self {
        Self::BadRequest(error.to_string())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSuchNamespace(name) => Self::NoSuchNamespace(name.to_string()),
            StoreError::NamespaceExists(name) => Self::NamespaceExists(name.to_string()),
            StoreError::NamespaceNotEmpty(name) => Self::NamespaceNotEmpty(name.to_string()),
            StoreError::NoSuchTable(key) => Self::NoSuchTable(key.to_string()),
            StoreError::TableExists(key) => Self::TableExists(key.to_string()),
            StoreError::Sqlite(source) => Self::Unavailable(source.into()),
            StoreError::Corrupt(_) => Self::Internal(error.into()),
        }
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Refused(_) => Self::BadRequest(error.to_string()),
            ChangeError::Stale(_) => Self::CommitFailed(error.to_string()),
            ChangeError::ClockBehind { .. } => Self::Unavailable(error.into()),
        }
    }
}

impl From<FileError> for ApiError {
    fn from(error: FileError) -> Self {
        match error {
            // Updates that the spec layer applies, but cannot read back: the client's doing, and nothing was written.
            FileError::NotRepresentable(_) => Self::BadRequest(error.to_string()),
            FileError::Unreadable { .. } | FileError::Compression(_) => Self::Internal(error.into()),
        }
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        match error {
            // Clients choose locations; one that can never be written, such as one with a name too long for the file
            // system, is theirs to change.
            StorageError::InvalidLocation { .. } | StorageError::Refused { .. } => Self::BadRequest(error.to_string()),
            StorageError::Unavailable { .. } => Self::Unavailable(error.into()),
            StorageError::NotFound { .. }
            | StorageError::AlreadyExists { .. }
            | StorageError::PermissionDenied { .. }
            | StorageError::Configuration { .. } => Self::Internal(error.into()),
        }
    }
}

impl From<tokio::task::JoinError> for ApiError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Internal(error.into())
    }
}
