//! What browsers are told: which pages of other origins may send events and ask for receipts.
//!
//! Around everything else, so that every answer carries the headers, errors of any kind included, and a preflight needs no
//! token. There are no credentials: a page sends its token in `Authorization`, not a cookie.

use std::collections::HashSet;
use std::time::Duration;

use axum::Router;
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, ORIGIN, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::config::ANY_ORIGIN;

/// How long a browser may keep the answer to a preflight. Browsers cut it to their own limit, two hours at most today.
const MAX_AGE: Duration = Duration::from_secs(7200);

/// The paths of the routes that take events or show receipts.
const PATHS: [&str; 2] = ["/v1/", "/data-plane/"];

/// Headers that a page may send: those of all routes, the attributes of CloudEvents, and by `*` any other but
/// `Authorization`, so that extension attributes need not be listed.
const REQUEST_HEADERS: [HeaderName; 14] = [
    AUTHORIZATION,
    CONTENT_TYPE,
    CONTENT_ENCODING,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("frazil-table"),
    HeaderName::from_static("table"),
    HeaderName::from_static("ce-id"),
    HeaderName::from_static("ce-source"),
    HeaderName::from_static("ce-specversion"),
    HeaderName::from_static("ce-type"),
    HeaderName::from_static("ce-time"),
    HeaderName::from_static("ce-subject"),
    HeaderName::from_static("ce-dataschema"),
    HeaderName::from_static("*"),
];

/// `routes` with answers that let pages of `origins` in; unchanged if there are none.
pub(super) fn allow(routes: Router, origins: &[String]) -> Router {
    if origins.is_empty() {
        return routes;
    }
    let any = origins.iter().any(|origin| origin == ANY_ORIGIN);
    let known: HashSet<Vec<u8>> = origins.iter().map(|origin| origin.as_bytes().to_vec()).collect();
    let allowed = move |origin: &HeaderValue, request: &Parts| {
        let path = request.uri.path();
        PATHS.iter().any(|prefix| path.starts_with(prefix)) && (any || known.contains(origin.as_bytes()))
    };
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allowed))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(REQUEST_HEADERS)
        .expose_headers([HeaderName::from_static("frazil-receipt"), RETRY_AFTER])
        .max_age(MAX_AGE)
        .vary([ORIGIN]);
    routes.layer(layer)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::body::Body;
    use axum::http::{Request, Response, StatusCode};
    use axum::routing::{get, post};
    use tower::ServiceExt;

    use super::*;
    use crate::error::Rejection;

    const PAGE: &str = "https://app.example.com";

    async fn ask(origins: &[&str], method: Method, path: &str, origin: Option<&str>) -> Response<Body> {
        let routes = Router::new()
            .route("/v1/streams/{stream}/events", post(|| async { ([("frazil-receipt", "r")], "ok") }))
            .route("/v1/receipts/{receipt}", get(|| async { Rejection::MissingToken }))
            .route("/metrics", get(|| async { "metrics" }))
            .method_not_allowed_fallback(|| async { Rejection::MethodNotAllowed })
            .fallback(|| async { Rejection::NoRoute });
        let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
        let mut request = Request::builder().method(method).uri(path);
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin).header("access-control-request-method", "POST");
        }
        let request = request.body(Body::empty()).expect("a request");
        allow(routes, &origins).oneshot(request).await.expect("infallible")
    }

    fn header<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
        response.headers().get(name).map(|value| value.to_str().expect("ASCII"))
    }

    fn list(response: &Response<Body>, name: &str) -> BTreeSet<String> {
        header(response, name).unwrap_or_default().split(',').map(|item| item.trim().to_ascii_lowercase()).collect()
    }

    #[tokio::test]
    async fn a_preflight_says_what_is_allowed() {
        for origins in [&[PAGE][..], &["https://other.example", PAGE], &["*"]] {
            for path in ["/v1/streams/s/events", "/v1/receipts/r"] {
                let answer = ask(origins, Method::OPTIONS, path, Some(PAGE)).await;
                assert_eq!(answer.status(), StatusCode::OK);
                assert_eq!(header(&answer, "access-control-allow-origin"), Some(PAGE));
                assert_eq!(header(&answer, "access-control-max-age"), Some("7200"));
                assert_eq!(header(&answer, "access-control-allow-credentials"), None);
                assert_eq!(list(&answer, "access-control-allow-methods"), ["get", "post"].map(String::from).into());
                assert_eq!(list(&answer, "vary"), ["origin"].map(String::from).into());
                let allowed = list(&answer, "access-control-allow-headers");
                for name in ["authorization", "content-type", "content-encoding", "idempotency-key", "table", "*"] {
                    assert!(allowed.contains(name), "{name}");
                }
            }
        }
    }

    #[tokio::test]
    async fn every_answer_to_a_page_carries_the_headers() {
        for (method, path, status) in [
            (Method::POST, "/v1/streams/s/events", 200),
            (Method::GET, "/v1/receipts/r", 401),
            (Method::GET, "/v1/streams/s/events", 405),
            (Method::GET, "/v1/nothing", 404),
        ] {
            let answer = ask(&[PAGE], method, path, Some(PAGE)).await;
            assert_eq!(answer.status().as_u16(), status, "{path}");
            assert_eq!(header(&answer, "access-control-allow-origin"), Some(PAGE), "{path}");
            let exposed = list(&answer, "access-control-expose-headers");
            assert_eq!(exposed, ["frazil-receipt", "retry-after"].map(String::from).into(), "{path}");
            assert_eq!(header(&answer, "vary"), Some("origin"), "{path}");
        }
    }

    #[tokio::test]
    async fn others_are_not_let_in() {
        let allowed = "access-control-allow-origin";
        for method in [Method::OPTIONS, Method::POST] {
            for origin in ["https://evil.example", "https://app.example.com.evil.example", "null"] {
                let answer = ask(&[PAGE], method.clone(), "/v1/streams/s/events", Some(origin)).await;
                assert_eq!(header(&answer, allowed), None, "{origin}");
                assert_eq!(header(&answer, "vary"), Some("origin"), "{origin}");
            }
        }
        let metrics = ask(&["*"], Method::GET, "/metrics", Some(PAGE)).await;
        assert_eq!((metrics.status().as_u16(), header(&metrics, allowed)), (200, None));
        let tool = ask(&[PAGE], Method::POST, "/v1/streams/s/events", None).await;
        assert_eq!((tool.status().as_u16(), header(&tool, allowed)), (200, None));
    }

    #[tokio::test]
    async fn off_by_default() {
        let preflight = ask(&[], Method::OPTIONS, "/v1/streams/s/events", Some(PAGE)).await;
        assert_eq!(preflight.status(), StatusCode::METHOD_NOT_ALLOWED);
        let answer = ask(&[], Method::POST, "/v1/streams/s/events", Some(PAGE)).await;
        assert_eq!((header(&answer, "access-control-allow-origin"), header(&answer, "vary")), (None, None));
    }
}
