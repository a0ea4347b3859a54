//! Names made to hurt, on every way into the proxy: none becomes a subject, a path or a header, none is answered with
//! anything but a precise refusal, and nothing is stored for it.

use frazil_core::routing::Routing;
use frazil_core::stream::{OnMissingTable, StreamDefinition};
use frazil_core::token::{Pattern, TokenRecord};
use frazil_proto::v1::IngestRequest;
use frazil_proto::v1::ingest_client::IngestClient;
use frazil_proxy::ProxyConfig;
use proptest::prelude::*;
use reqwest::Response;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use tonic::Code;

use crate::rig::{Rig, clicks, record, shard, token, token_of};

/// Streams: `sales` (default table `lake.web.clicks`), `open` (creates tables), `routed` (to `lake.web.{type}`, creates
/// them). The token is for everything, so that no scope hides what happens.
async fn wide_open() -> Rig {
    let named = |name: &str| StreamDefinition::new(name.parse().expect("valid"), 1);
    let rule = Routing { table: "lake.{site}.{type}".to_owned(), allow: Vec::new(), fallback: None };
    let streams = vec![
        StreamDefinition { default_table: Some(clicks()), ..named("sales") },
        StreamDefinition { on_missing_table: OnMissingTable::Create, ..named("open") },
        StreamDefinition { on_missing_table: OnMissingTable::Create, routing: Some(rule), ..named("routed") },
    ];
    let all = || vec![Pattern("*".to_owned())];
    let record = TokenRecord { streams: all(), tables: all(), ..record(&token_of(1), None) };
    Rig::of(ProxyConfig::default(), streams, vec![record]).await
}

/// No stream can have one of these names.
const STREAMS: [&str; 22] = [
    "sales.eu",
    "*",
    ">",
    "sales.>",
    "sal*",
    "sales ",
    " sales",
    "sales\n",
    "sales\r\nX-Evil: 1",
    "sales/0",
    "../sales",
    "..",
    ".",
    "sales%2F0",
    "sales\0",
    "säles",
    "\u{202e}selas",
    "SALES",
    "_sales",
    "$JS",
    "sales;x",
    "sales?table=lake.web.clicks",
];

/// No table can have one of these names.
const TABLES: [&str; 20] = [
    "clicks",
    "web.",
    ".clicks",
    "web..clicks",
    "..",
    "../../etc.passwd",
    "web/clicks.x",
    "web.clicks/..",
    "web.a\\b",
    "web.a\nb",
    "web.a\r\nX-Evil: 1",
    "web.a\0",
    "web.a\u{7f}",
    "web.\u{85}a",
    "web.a\u{2028}b",
    "web.\u{202e}skcilc",
    "web. ",
    "\t.\t",
    "web.a\u{1b}[31m",
    "web.a\u{200b}",
];

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A refusal that is precise: a problem in plain JSON, whose headers carry nothing of the request.
async fn refused(response: Response, statuses: &[u16], what: &str) -> Value {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("text");
    assert!(statuses.contains(&status), "{what:?}: {status} {text}");
    assert!(headers.get("x-evil").is_none(), "{what:?}: {headers:?}");
    assert!(!text.bytes().any(|byte| byte < 0x20), "{what:?} is shown as it came: {text:?}");
    let problem: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{what:?}: {error}: {text}"));
    assert!(problem["type"].as_str().is_some_and(|kind| kind.starts_with("urn:frazil:problem:")), "{problem}");
    assert!(text.len() < 4_000, "{what:?}: {} bytes are answered", text.len());
    problem
}

#[tokio::test]
async fn names_of_streams() {
    let rig = wide_open().await;
    let long = "s".repeat(64);
    let huge = "s".repeat(8_000);
    for name in STREAMS.iter().copied().chain([long.as_str(), huge.as_str()]) {
        let name_in_path = encoded(name);
        for path in [
            format!("/v1/streams/{name_in_path}/events"),
            format!("/v1/streams/{name_in_path}/tables/web.clicks/events"),
            format!("/data-plane/x/event-stream/{name_in_path}/ingest"),
        ] {
            let request = rig.post(&path).header("table", "lake.web.clicks").body(r#"{"id":1}"#);
            let problem = refused(request.send().await.expect("sent"), &[404], name).await;
            assert_ne!(problem["code"], "OK");
        }
        let message = IngestRequest { stream: name.to_owned(), ..event() };
        assert_eq!(by_grpc(&rig, message).await, Code::NotFound, "{name:?}");
    }
    assert_eq!(rig.log.attempts(), 0);
}

#[tokio::test]
async fn names_of_tables() {
    let rig = wide_open().await;
    let long = format!("web.{}", "t".repeat(600));
    for name in TABLES.iter().copied().chain([long.as_str()]) {
        let in_path = encoded(name);
        for stream in ["sales", "open"] {
            for path in [
                format!("/v1/streams/{stream}/tables/{in_path}/events"),
                format!("/v1/streams/{stream}/events?table={in_path}"),
            ] {
                // Such a segment is taken out by every URL library before anything is sent.
                if name == ".." && path.contains("/tables/") {
                    continue;
                }
                let request = rig.post(&path).body(r#"{"id":1}"#);
                refused(request.send().await.expect("sent"), &[400], name).await;
            }
            for header in ["table", "frazil-table"] {
                // What no header can carry is stopped by every HTTP library, and by ours on the other side.
                let Ok(value) = HeaderValue::from_bytes(name.as_bytes()) else { continue };
                if name.trim().is_empty() {
                    continue;
                }
                let request =
                    rig.post(&format!("/v1/streams/{stream}/events")).header(header, value).body(r#"{"id":1}"#);
                refused(request.send().await.expect("sent"), &[400], name).await;
            }
            let message = IngestRequest { stream: stream.to_owned(), table: name.to_owned(), ..event() };
            assert_eq!(by_grpc(&rig, message).await, Code::InvalidArgument, "{name:?}");
        }
    }
    assert_eq!(rig.log.attempts(), 0);
}

/// Legal in Iceberg, and harmless: they are percent-encoded towards catalogs and never part of a subject.
#[tokio::test]
async fn odd_names_of_tables_are_names() {
    let rig = wide_open().await;
    for name in
        ["web.two words", "web.a*", "web.>", "web.%2F", "web.ü", "web.$JS", "web.a?b#c", "web.'; drop table x --"]
    {
        let path = format!("/v1/streams/open/tables/{}/events", encoded(name));
        let answer = rig.post(&path).body(r#"{"id":1}"#).send().await.expect("sent");
        assert_eq!(answer.status(), 200, "{name}");
    }
    let sections = rig.log.sections(&shard("open", 0));
    assert_eq!(sections.len(), 8);
    assert_eq!(shard("open", 0).subject(), "frazil.log.open.0", "the subject knows the stream only");
}

#[tokio::test]
async fn malformed_receipts_and_headers() {
    let rig = wide_open().await;
    for receipt in ["..", "%00", "%2e%2e%2f", "*", "a%0d%0aX-Evil:%201", &"A".repeat(3_000)] {
        let answer = rig.get(&format!("/v1/receipts/{receipt}")).send().await.expect("sent");
        refused(answer, &[400, 404], receipt).await;
    }
    // A receipt that was made by hand, of a stream and a table that no name can be.
    for (stream, table) in [("sales.>", "lake.web.clicks"), ("sales", "lake.web/..clicks"), ("sales", "lake.web.a\nb")]
    {
        use base64::Engine;
        let text = format!("1|{stream}|0|1|1|1|{table}");
        let forged = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let answer = rig.get(&format!("/v1/receipts/{forged}")).send().await.expect("sent");
        refused(answer, &[400], table).await;
    }
    for key in ["a b", "\u{fc}", "a\u{7f}"] {
        let Ok(value) = HeaderValue::from_bytes(key.as_bytes()) else { continue };
        let request = rig.events("").header("idempotency-key", value).body(r#"{"id":1}"#);
        refused(request.send().await.expect("sent"), &[400], key).await;
    }
    for (name, value) in [("content-type", "text/\u{fc}"), ("content-encoding", "gzip\u{fc}, x")] {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
        let request = rig.events("").header(name, value).body(r#"{"id":1}"#);
        refused(request.send().await.expect("sent"), &[415], name).await;
    }
    assert_eq!(rig.log.attempts(), 0);
}

fn event() -> IngestRequest {
    IngestRequest { stream: "sales".to_owned(), events: br#"{"id":1}"#.to_vec().into(), ..IngestRequest::default() }
}

async fn by_grpc(rig: &Rig, message: IngestRequest) -> Code {
    let endpoint = tonic::transport::Endpoint::from_shared(rig.url.clone()).expect("a URL");
    let mut client = IngestClient::new(endpoint.connect().await.expect("connected"));
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", token().parse().expect("ASCII"));
    let status = client.ingest(request).await.expect_err("refused");
    assert!(!status.message().chars().any(char::is_control), "{status:?}");
    status.code()
}

/// Texts that events carry in the fields that a rule reads.
fn value() -> impl Strategy<Value = String> {
    let hostile =
        prop::sample::select([&STREAMS[..], &TABLES[..]].concat().into_iter().map(str::to_owned).collect::<Vec<_>>());
    prop_oneof![hostile, any::<String>(), "[./%*>\\\\ \n\r\0a-z_]{0,40}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// 1. Whatever events say, as plain JSON or as CloudEvents: the table they go to has the shape of the rule, and each place
    ///    in it is filled with ASCII letters, digits and `_`.
    #[test]
    fn values_never_leave_their_place(site in value(), kind in value()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let rig = wide_open().await;
            let plain = json!({"id": 1, "site": site, "type": kind}).to_string();
            let cloud = json!({"specversion": "1.0", "id": "1", "source": "/x", "site": site, "type": kind}).to_string();
            for (media, body) in [("application/json", plain), ("application/cloudevents+json", cloud)] {
                let request = rig.post("/v1/streams/routed/events").header("content-type", media).body(body);
                let answer = request.send().await.expect("sent");
                if answer.status() != 200 {
                    refused(answer, &[400, 403], &kind).await;
                }
            }
            for (_, section) in rig.log.sections(&shard("routed", 0)) {
                let table = section.header.table;
                assert_eq!((table.catalog(), table.namespace().len()), ("lake", 1), "{table}");
                let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                assert!(plain(&table.namespace()[0]) && plain(table.table()), "{table}");
            }
        });
    }
}
