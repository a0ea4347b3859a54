//! Extractors whose refusals have the protocol's error shape.

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::MAX_BODY_BYTES;
use crate::error::ApiError;
use crate::names::{Name, Namespace, TableKey};
use crate::store::PageRequest;

/// Most names on one page when the client asks for pages without a size.
const DEFAULT_PAGE_SIZE: u32 = 1000;

/// A JSON body. Its content type must say so: a web page can then not send one here unasked.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = content_type.and_then(|value| value.split(';').next()).map(str::trim);
        if !media_type.is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json")) {
            return Err(ApiError::MediaType);
        }
        let bytes = Bytes::from_request(request, state).await.map_err(body_rejection)?;
        let value = serde_json::from_slice(&bytes);
        value.map(Self).map_err(|error| ApiError::BadRequest(format!("invalid request body: {error}")))
    }
}

fn body_rejection(rejection: BytesRejection) -> ApiError {
    let text = rejection.body_text();
    match rejection.into_response().status() {
        axum::http::StatusCode::PAYLOAD_TOO_LARGE => ApiError::TooLarge { limit: MAX_BODY_BYTES },
        _ => ApiError::BadRequest(text),
    }
}

/// The `{namespace}` of the path: levels separated by U+001F, percent-encoded.
pub(super) struct NamespacePath(pub(super) Namespace);

impl<S: Send + Sync> FromRequestParts<S> for NamespacePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(namespace) = path.map_err(|rejection| ApiError::BadRequest(rejection.body_text()))?;
        Ok(Self(Namespace::from_joined(&namespace)?))
    }
}

/// The `{namespace}` and `{table}` of the path.
pub(super) struct TablePath(pub(super) TableKey);

impl<S: Send + Sync> FromRequestParts<S> for TablePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((namespace, name)) = path.map_err(|rejection| ApiError::BadRequest(rejection.body_text()))?;
        let namespace = Namespace::from_joined(&namespace)?;
        Ok(Self(TableKey { namespace, name: Name::try_from(name)? }))
    }
}

/// Query parameters.
pub(super) struct Parameters<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        let Query(value) = query.map_err(|rejection| ApiError::BadRequest(rejection.body_text()))?;
        Ok(Self(value))
    }
}

/// Paging as the protocol has it: no token and no size means everything at once.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Paging {
    page_token: Option<String>,
    page_size: Option<u32>,
}

impl Paging {
    pub(super) fn request(self) -> Result<PageRequest, ApiError> {
        let limit = match (self.page_size, &self.page_token) {
            (Some(0), _) => return Err(ApiError::BadRequest("pageSize must be at least 1".to_owned())),
            (Some(size), _) => Some(size.min(DEFAULT_PAGE_SIZE)),
            (None, Some(_)) => Some(DEFAULT_PAGE_SIZE),
            (None, None) => None,
        };
        // The token is the last name of the page before.
        Ok(PageRequest { after: self.page_token.unwrap_or_default(), limit })
    }
}
