//! Every route of the proxy with every kind of credential. The router itself says which routes there are, so a route that
//! nobody has thought about fails the test.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::request::Builder;
use axum::http::{HeaderMap, Method, Request, Version};
use frazil_core::checkpoint::Incarnation;
use frazil_core::receipt::Receipt;
use frazil_core::stream::StreamDefinition;
use frazil_core::token::{Pattern, Token, TokenRecord};
use frazil_log::Directory;
use frazil_proto::v1::{IngestRequest, IngestStreamRequest};
use frazil_proxy::publish::memory::MemoryLog;
use frazil_proxy::tables::memory::MemoryTables;
use frazil_proxy::{IcebergMetrics, Proxy, ProxyConfig};
use http_body_util::BodyExt;
use prometheus_client::registry::Registry;
use prost::Message;
use tonic_health::pb::HealthCheckRequest;
use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_request::MessageRequest};
use tower::ServiceExt;

use crate::rig::{clicks, clicks_schema, record, shard, token_of};

/// The kinds of credentials, in the order of the columns below.
const CREDENTIALS: [&str; 8] =
    ["none", "malformed", "unknown", "revoked", "expired", "wrong stream", "wrong table", "right"];

/// Statuses of what anybody may ask.
const OPEN: [u16; 8] = [200; 8];
/// Statuses of what needs a token for the stream and the table.
const GUARDED: [u16; 8] = [401, 401, 401, 401, 401, 403, 403, 200];
/// The same where the right answer has no content.
const GUARDED_EMPTY: [u16; 8] = [401, 401, 401, 401, 401, 403, 403, 204];
/// The same as gRPC codes.
const OPEN_GRPC: [u16; 8] = [0; 8];
const GUARDED_GRPC: [u16; 8] = [16, 16, 16, 16, 16, 7, 7, 0];
/// A stream of requests is let in with any valid token; each of its requests is judged by itself, see below.
const GUARDED_STREAM: [u16; 8] = [16, 16, 16, 16, 16, 0, 0, 0];

const EVENT: &str = r#"{"id":1}"#;
const REPORT: &str = r#"{"report-type":"commit-report","table-name":"t","snapshot-id":1,"sequence-number":1,
    "operation":"append","metrics":{}}"#;

struct Row {
    /// As the router has it.
    route: &'static str,
    method: Method,
    path: String,
    /// Body of an HTTP request.
    body: &'static str,
    /// Message of a gRPC call.
    message: Option<Vec<u8>>,
    expected: [u16; 8],
}

fn table() -> Vec<Row> {
    let http = |method: Method, route, path: &str, expected| Row {
        route,
        method,
        path: path.to_owned(),
        body: EVENT,
        message: None,
        expected,
    };
    let report = |route, path: &str| Row { body: REPORT, ..http(Method::POST, route, path, GUARDED_EMPTY) };
    let grpc = |route, path: &str, message: Vec<u8>, expected| Row {
        route,
        method: Method::POST,
        path: path.to_owned(),
        body: "",
        message: Some(message),
        expected,
    };
    let event = || IngestRequest {
        stream: "sales".to_owned(),
        table: "lake.web.clicks".to_owned(),
        events: br#"{"id":1}"#.to_vec().into(),
        ..IngestRequest::default()
    };
    let streamed = IngestStreamRequest { number: 1, request: Some(event()), options: None };
    let listing = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let receipt = receipt().to_string();
    let (post, get) = (Method::POST, Method::GET);
    let reflection = |version: &str| format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
    vec![
        http(post.clone(), "/v1/streams/{stream}/events", "/v1/streams/sales/events?table=web.clicks", GUARDED),
        http(
            post.clone(),
            "/v1/streams/{stream}/tables/{table}/events",
            "/v1/streams/sales/tables/web.clicks/events",
            GUARDED,
        ),
        http(
            post,
            "/data-plane/{namespace}/event-stream/{stream}/ingest",
            "/data-plane/x/event-stream/sales/ingest",
            GUARDED,
        ),
        report("/v1/namespaces/{namespace}/tables/{table}/metrics", "/v1/namespaces/ns/tables/t/metrics"),
        report("/v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics", "/v1/p/namespaces/ns/tables/t/metrics"),
        http(get.clone(), "/v1/receipts/{receipt}", &format!("/v1/receipts/{receipt}"), GUARDED),
        http(get.clone(), "/livez", "/livez", OPEN),
        http(get.clone(), "/readyz", "/readyz", OPEN),
        http(get.clone(), "/metrics", "/metrics", OPEN),
        http(get.clone(), "/openapi.json", "/openapi.json", OPEN),
        http(get.clone(), "/docs", "/docs", [303; 8]),
        http(get.clone(), "/docs/", "/docs/", OPEN),
        http(get, "/docs/{*rest}", "/docs/index.html", OPEN),
        grpc("/frazil.v1.Ingest/Ingest", "/frazil.v1.Ingest/Ingest", event().encode_to_vec(), GUARDED_GRPC),
        grpc(
            "/frazil.v1.Ingest/IngestStream",
            "/frazil.v1.Ingest/IngestStream",
            streamed.encode_to_vec(),
            GUARDED_STREAM,
        ),
        grpc(
            "/grpc.health.v1.Health/{method}",
            "/grpc.health.v1.Health/Check",
            HealthCheckRequest::default().encode_to_vec(),
            OPEN_GRPC,
        ),
        grpc("/grpc.reflection.v1.ServerReflection/{method}", &reflection("v1"), listing.encode_to_vec(), OPEN_GRPC),
        grpc(
            "/grpc.reflection.v1alpha.ServerReflection/{method}",
            &reflection("v1alpha"),
            listing.encode_to_vec(),
            OPEN_GRPC,
        ),
    ]
}

fn receipt() -> Receipt {
    Receipt { shard: shard("sales", 0), incarnation: Incarnation(1), first: 1, last: 1, table: clicks() }
}

/// The text of a credential; nothing for none.
fn credential(kind: &str) -> Option<String> {
    let token = |id| Some(token_of(id).reveal());
    match kind {
        "none" => None,
        "malformed" => Some("frz_nonsense".to_owned()),
        // Its id is known, its secret is another.
        "unknown" => Some(Token::from_random([1; 6], [99; 32]).reveal()),
        // Revoking deletes the record; that proxies hear of it is tested end to end.
        "revoked" => token(5),
        "expired" => token(2),
        "wrong stream" => token(3),
        "wrong table" => token(4),
        "right" => token(1),
        other => panic!("{other}"),
    }
}

struct Door {
    router: Router,
    log: MemoryLog,
}

impl Door {
    fn new() -> Self {
        let patterns = |text: &str| vec![Pattern(text.to_owned())];
        let records = vec![
            record(&token_of(1), None),
            record(&token_of(2), Some(1)),
            TokenRecord { streams: patterns("hidden"), ..record(&token_of(3), None) },
            TokenRecord { tables: patterns("lake.hr.*"), ..record(&token_of(4), None) },
        ];
        let named = |name: &str| StreamDefinition::new(name.parse().expect("valid"), 1);
        let (log, tables) = (MemoryLog::default(), MemoryTables::new("lake"));
        tables.put(&clicks(), clicks_schema());
        log.recreate(&shard("sales", 0));
        let directory = Directory::fixed(vec![named("sales"), named("hidden")], records);
        let fake = (Arc::new(log.clone()), Arc::new(tables));
        let reports = IcebergMetrics { stream: "sales".parse().expect("valid"), namespace: "web".to_owned() };
        let config = ProxyConfig { iceberg_metrics: Some(reports), ..ProxyConfig::default() };
        let proxy = Proxy::with(config, fake.0, directory, fake.1, &mut Registry::default());
        let router = proxy.expect("a valid configuration").router(Arc::new(Registry::default()));
        Self { router, log }
    }

    /// Paths of every route, from the router's debug form; the fallback is among them, as these two.
    fn routes(&self) -> BTreeSet<String> {
        const FALLBACK: [&str; 2] = ["/", "/{*__private__axum_fallback}"];
        let text = format!("{:?}", self.router);
        let paths: BTreeSet<String> = text
            .split('"')
            .filter(|word| word.starts_with('/') && !FALLBACK.contains(word))
            .map(str::to_owned)
            .collect();
        assert!(paths.contains("/livez"), "the debug form has no paths any more: {text}");
        paths
    }

    /// Status, or gRPC code, and what was said, headers and trailers included.
    async fn ask(&self, row: &Row, credential: Option<&str>) -> (u16, String) {
        let mut request = Request::builder().method(row.method.clone()).uri(&row.path);
        if let Some(credential) = credential {
            request = request.header("authorization", format!("Bearer {credential}"));
        }
        let request = match &row.message {
            None => request.header("table", "lake.web.clicks").body(Body::from(row.body)),
            Some(message) => grpc(request, message),
        };
        let response = self.router.clone().oneshot(request.expect("a request")).await.expect("infallible");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body");
        let trailers: HeaderMap = body.trailers().cloned().unwrap_or_default();
        let said = format!("{:?} {:?} {}", head.headers, trailers, String::from_utf8_lossy(&body.to_bytes()));
        let code = head.headers.get("grpc-status").or(trailers.get("grpc-status"));
        let code = code.map(|code| code.to_str().expect("ASCII").parse().expect("a number"));
        let grpc = row.message.is_some();
        assert_eq!(grpc, code.is_some(), "{}: {said}", row.path);
        (code.unwrap_or(head.status.as_u16()), said)
    }
}

fn grpc(request: Builder, message: &[u8]) -> Result<Request<Body>, axum::http::Error> {
    let length = u32::try_from(message.len()).expect("small").to_be_bytes();
    let framed = [&[0][..], &length, message].concat();
    let request = request.version(Version::HTTP_2).header("content-type", "application/grpc").header("te", "trailers");
    request.body(Body::from(framed))
}

#[tokio::test]
async fn every_route_with_every_credential() {
    let door = Door::new();
    let mut stored = 0;
    for row in table() {
        for (kind, expected) in CREDENTIALS.iter().zip(row.expected) {
            let credential = credential(kind);
            let (status, said) = door.ask(&row, credential.as_deref()).await;
            assert_eq!(status, expected, "{} with {kind}: {said}", row.path);
            if let Some(token) = &credential {
                let secret = token.rsplit('_').next().expect("three parts");
                assert!(!said.contains(secret), "{} with {kind} tells the token: {said}", row.path);
            }
            let may_store = *kind == "right" && (row.method == Method::POST && !row.path.starts_with("/grpc"));
            stored += usize::from(may_store);
            assert_eq!(door.log.attempts(), stored, "{} with {kind}", row.path);
        }
    }
    assert_eq!(stored, 7, "five HTTP routes, two calls");
}

#[tokio::test]
async fn no_route_is_left_out() {
    let listed: BTreeSet<String> = table().into_iter().map(|row| row.route.to_owned()).collect();
    assert_eq!(Door::new().routes(), listed, "say above who may use the route");
}

#[tokio::test]
async fn no_other_method_does_anything() {
    let door = Door::new();
    let methods =
        [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::TRACE, Method::CONNECT];
    for row in table().into_iter().filter(|row| row.message.is_none()) {
        for method in methods.iter().filter(|method| **method != row.method) {
            let row = Row { method: method.clone(), path: row.path.clone(), message: None, ..row };
            let (status, said) = door.ask(&row, credential("right").as_deref()).await;
            assert!([404, 405].contains(&status), "{method} {}: {status} {said}", row.path);
        }
    }
    assert_eq!(door.log.attempts(), 0);
}

#[tokio::test]
async fn each_request_of_a_stream_is_judged_by_itself() {
    let door = Door::new();
    let rows = table();
    let row = rows.iter().find(|row| row.route.ends_with("/IngestStream")).expect("listed");
    for (kind, problem) in [("wrong stream", "stream-forbidden"), ("wrong table", "table-forbidden")] {
        let (_, said) = door.ask(row, credential(kind).as_deref()).await;
        assert!(said.contains(problem), "{kind}: {said}");
    }
    assert_eq!(door.log.attempts(), 0);
}

#[tokio::test]
async fn receipts_are_for_those_who_may_use_their_stream_and_table() {
    let door = Door::new();
    let ask = async |receipt: Receipt, kind: &str| {
        let path = format!("/v1/receipts/{receipt}");
        let row = Row { route: "", method: Method::GET, path, body: "", message: None, expected: OPEN };
        door.ask(&row, credential(kind).as_deref()).await
    };
    let hidden = Receipt { shard: shard("hidden", 0), ..receipt() };
    assert_eq!(ask(hidden.clone(), "right").await.0, 403);
    // Whether a stream or its log exists is told to nobody else, either.
    let absent = Receipt { shard: shard("absent", 7), ..receipt() };
    let (hidden, absent) = (ask(hidden, "right").await.1, ask(absent, "right").await.1);
    assert_eq!(hidden.replace("hidden", "absent"), absent);
    let pay = Receipt { table: "lake.hr.pay".parse().expect("valid"), ..receipt() };
    assert_eq!(ask(pay, "right").await.0, 403);
    // Dead letters without a table are the stream's.
    let catch_all = Receipt { table: "lake.frazil_system.sales".parse().expect("valid"), ..receipt() };
    assert_eq!(ask(catch_all.clone(), "wrong stream").await.0, 403);
    assert_ne!(ask(catch_all, "wrong table").await.0, 403);
}
