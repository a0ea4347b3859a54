//! What surrounds the calls: refusals before anything is read, panics caught, answers of the library counted.

use std::panic::AssertUnwindSafe;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::{FutureExt, StreamExt};
use http_body_util::{BodyStream, StreamBody};
use tonic::Status;

use super::{Front, INGEST, INGEST_STREAM, meter};
use crate::auth;
use crate::core::now_micros;
use crate::error::Rejection;

/// Around the calls of `frazil.v1.Ingest`.
pub(super) async fn ingest(State(front): State<Front>, request: Request, next: Next) -> Response {
    let route = if request.uri().path() == INGEST { INGEST } else { INGEST_STREAM };
    if let Err(rejection) = is_grpc(&request) {
        front.refuse(route, &rejection);
        return rejection.into_response();
    }
    if let Err(rejection) = may_enter(&front, request.headers()) {
        return front.refuse(route, &rejection).into_http();
    }
    let request = request.map(|body| meter::metered(body, front.clone(), route));
    let outcome = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let Ok(response) = outcome else {
        tracing::error!(route, "a handler panicked");
        return front.refuse(route, &Rejection::Internal).into_http();
    };
    // Our refusals have details and were counted by whoever made them. What is left is what the library makes of
    // messages that are none.
    if response.extensions().get::<Status>().is_some_and(|status| status.details().is_empty()) {
        front.count(route, 400, "BAD_REQUEST");
    }
    response
}

/// Around health and reflection.
pub(super) async fn only_grpc(request: Request, next: Next) -> Response {
    match is_grpc(&request) {
        Ok(()) => next.run(request).await,
        Err(rejection) => rejection.into_response(),
    }
}

/// Around reflection: its streams last as long as the client likes, so the drain ends them, in both directions.
pub(super) async fn until_drain(State(front): State<Front>, request: Request, next: Next) -> Response {
    let limited = |body| {
        let draining = front.core.draining.clone().cancelled_owned();
        Body::new(StreamBody::new(BodyStream::new(body).take_until(draining)))
    };
    next.run(request.map(limited)).await.map(limited)
}

fn is_grpc(request: &Request) -> Result<(), Rejection> {
    let content_type = request.headers().get(CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    if !content_type.starts_with(b"application/grpc") {
        return Err(Rejection::UnsupportedType(String::from_utf8_lossy(content_type).chars().take(100).collect()));
    }
    if request.version() == Version::HTTP_2 {
        return Ok(());
    }
    Err(Rejection::Malformed { name: "protocol", message: "gRPC needs HTTP/2".to_owned() })
}

/// Who may not enter sends no message in vain. The ingest path decides again, for each request.
fn may_enter(front: &Front, headers: &HeaderMap) -> Result<(), Rejection> {
    front.core.refuse_if_draining()?;
    auth::authenticate(headers, &front.core.directory, now_micros()).map(drop)
}
