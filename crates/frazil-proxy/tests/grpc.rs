//! The gRPC front on a real listener: single calls, health, reflection, and what is no gRPC at all.

mod protocol;
mod slow;
mod streams;

use std::time::Duration;

use frazil_core::checkpoint::Incarnation;
use frazil_core::receipt::Receipt;
use frazil_proto::v1::ingest_client::IngestClient;
use frazil_proto::v1::{Format, IngestRequest, IngestResponse, Problem};
use frazil_proxy::ProxyConfig;
use frazil_proxy::publish::PublishError;
use frazil_proxy::publish::memory::Fault;
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::{StatusExt, pb};

use crate::rig::{Rig, clicks, expired, shard, token};

async fn channel(rig: &Rig) -> Channel {
    let endpoint = Endpoint::from_shared(rig.url.clone()).expect("a URL");
    endpoint.connect().await.expect("the proxy speaks HTTP/2")
}

async fn client(rig: &Rig) -> IngestClient<Channel> {
    IngestClient::new(channel(rig).await)
}

/// A message with the token.
fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("ASCII"));
    request
}

fn signed<T>(message: T) -> Request<T> {
    with_token(message, &token())
}

fn sales(format: Format, events: &str) -> IngestRequest {
    IngestRequest {
        stream: "sales".to_owned(),
        format: format.into(),
        events: events.as_bytes().to_vec().into(),
        ..IngestRequest::default()
    }
}

fn json(events: &str) -> IngestRequest {
    sales(Format::Json, events)
}

/// The problem in the details of a status, after checking that it agrees with it.
fn problem(status: &Status) -> Problem {
    let details = pb::Status::decode(status.details()).expect("a google.rpc.Status");
    assert_eq!(details.code, i32::from(status.code()), "{status:?}");
    let of_ours = details.details.iter().find(|detail| detail.type_url == "type.googleapis.com/frazil.v1.Problem");
    Problem::decode(of_ours.unwrap_or_else(|| panic!("{details:?}")).value.as_slice()).expect("a problem")
}

async fn refused(rig: &Rig, request: Request<IngestRequest>) -> (Code, Problem) {
    let status = client(rig).await.ingest(request).await.expect_err("refused");
    (status.code(), problem(&status))
}

fn lines(rig: &Rig) -> Vec<String> {
    let sections = rig.log.sections(&shard("sales", 0));
    let lines = sections.iter().flat_map(|(_, section)| section.lines());
    lines.map(|line| String::from_utf8(line.to_vec()).expect("JSON")).collect()
}

async fn metrics(rig: &Rig) -> String {
    rig.get("/metrics").send().await.expect("sent").text().await.expect("text")
}

#[tokio::test]
async fn accepted_events_are_in_the_log_and_have_a_receipt() {
    let rig = Rig::start().await;
    let mut client = client(&rig).await;
    for request in [
        sales(Format::Unspecified, r#"[{"id":1},{"id":2}]"#),
        sales(Format::Ndjson, "{\"id\":1}\n{\"id\":2}\n"),
        IngestRequest { table: "web.clicks".to_owned(), ..json(r#"[{"id":1},{"id":2}]"#) },
    ] {
        let IngestResponse { accepted, receipt, invalid, tables, committed, .. } =
            client.ingest(signed(request)).await.expect("accepted").into_inner();
        assert_eq!((accepted, invalid, tables.len(), committed), (2, 0, 0, false));
        receipt.parse::<Receipt>().expect("a receipt");
    }
    assert_eq!(lines(&rig), [r#"{"id":1}"#, r#"{"id":2}"#].repeat(3));
    let nothing = client.ingest(signed(json("[]"))).await.expect("accepted").into_inner();
    assert_eq!(nothing, IngestResponse::default());
    let metrics = metrics(&rig).await;
    let count = r#"frazil_proxy_requests_total{route="/frazil.v1.Ingest/Ingest",status="200",code="OK"} 4"#;
    assert!(metrics.contains(count), "{metrics}");
}

#[tokio::test]
async fn a_key_goes_along() {
    let rig = Rig::start().await;
    let mut client = client(&rig).await;
    for key in ["a", "a", "b", ""] {
        let request = IngestRequest { idempotency_key: key.to_owned(), ..json(r#"{"id":1}"#) };
        client.ingest(signed(request)).await.expect("accepted");
    }
    let keys: Vec<_> = rig.log.sections(&shard("sales", 0)).iter().map(|(_, section)| section.header.key).collect();
    assert_eq!(keys[0], keys[1]);
    assert!(keys[0].is_some() && keys[2].is_some() && keys[0] != keys[2] && keys[3].is_none(), "{keys:?}");
}

#[tokio::test]
async fn waiting_for_the_commit() {
    let rig = Rig::start().await;
    let request = IngestRequest { wait_committed_ms: 60_000, ..json(r#"{"id":1}"#) };
    let mut client = client(&rig).await;
    let commit = async {
        rig.log.attempted(1).await;
        let receipt =
            Receipt { shard: shard("sales", 0), incarnation: Incarnation(1), first: 1, last: 1, table: clicks() };
        rig.commit(&receipt, 77);
    };
    let (answer, ()) = tokio::join!(client.ingest(signed(request)), commit);
    let answer = answer.expect("accepted").into_inner();
    assert_eq!((answer.committed, answer.snapshot_id), (true, Some(77)));
}

#[tokio::test]
async fn each_class_of_refusal_has_its_code_and_details() {
    let rig = Rig::start().await;
    let one = || json(r#"{"id":1}"#);
    let table = |table: &str| IngestRequest { table: table.to_owned(), ..one() };
    let stream = |stream: &str| IngestRequest { stream: stream.to_owned(), ..one() };
    let large = format!(r#"{{"id":1,"name":"{}"}}"#, "x".repeat(5_000_000));
    let key = |key: &str| IngestRequest { idempotency_key: key.to_owned(), ..one() };
    for (request, code, kind) in [
        (Request::new(one()), Code::Unauthenticated, "missing-token"),
        (with_token(one(), "nonsense"), Code::Unauthenticated, "invalid-token"),
        (with_token(one(), &expired()), Code::Unauthenticated, "invalid-token"),
        (signed(stream("hidden")), Code::PermissionDenied, "stream-forbidden"),
        (signed(table("lake.hr.pay")), Code::PermissionDenied, "table-forbidden"),
        (signed(stream("gone")), Code::NotFound, "stream-not-found"),
        (signed(table("lake.web.absent")), Code::NotFound, "table-not-found"),
        (signed(table("elsewhere.web.clicks")), Code::NotFound, "catalog-not-found"),
        (signed(stream("open")), Code::InvalidArgument, "missing-table"),
        (signed(table("...")), Code::InvalidArgument, "malformed-table"),
        (signed(key("two words")), Code::InvalidArgument, "malformed-parameter"),
        (signed(key("new\nline")), Code::InvalidArgument, "malformed-parameter"),
        (signed(IngestRequest { format: 99, ..one() }), Code::InvalidArgument, "malformed-parameter"),
        (signed(json("{")), Code::InvalidArgument, "invalid-json"),
        (signed(sales(Format::ArrowIpcStream, "no arrow")), Code::InvalidArgument, "invalid-arrow"),
        (signed(sales(Format::CloudeventsJson, "{}")), Code::InvalidArgument, "invalid-cloud-event"),
        (signed(json(r#"{"id":"x"}"#)), Code::InvalidArgument, "invalid-events"),
        (signed(json(&large)), Code::InvalidArgument, "body-too-large"),
    ] {
        let (found, problem) = refused(&rig, request).await;
        assert_eq!((found, problem.r#type), (code, format!("urn:frazil:problem:{kind}")), "{}", problem.detail);
    }
    assert_eq!(rig.log.attempts(), 0);
}

#[tokio::test]
async fn invalid_events_are_named() {
    let rig = Rig::start().await;
    let request = signed(json(r#"[{"id":1},{"id":2,"price":"x"},{"name":"n"}]"#));
    let status = client(&rig).await.ingest(request).await.expect_err("refused");
    let problem = problem(&status);
    assert_eq!((problem.invalid, problem.status, problem.code.as_str()), (2, 400, "BAD_REQUEST"));
    let named: Vec<_> = problem.errors.iter().map(|error| (error.index, error.field.as_str())).collect();
    assert_eq!(named, [(1, "price"), (2, "id")]);
    let fields = status.get_details_bad_request().expect("google.rpc.BadRequest").field_violations;
    assert_eq!(fields[0].field, "events[1].price");
}

#[tokio::test]
async fn failures_behind_the_proxy() {
    let config = ProxyConfig { publish_deadline: Duration::from_millis(200), ..ProxyConfig::default() };
    let config = ProxyConfig { publish_timeout: Duration::from_millis(100), ..config };
    let rig = Rig::with(config).await;
    let mut client = client(&rig).await;
    for (faults, code, kind, retry) in [
        (vec![Some(Fault::Refuse(PublishError::Full))], Code::ResourceExhausted, "log-full", true),
        (vec![Some(Fault::Refuse(PublishError::Refused("no".to_owned())))], Code::Unavailable, "log-unavailable", true),
        (vec![Some(Fault::StoreThenLose); 9], Code::Unknown, "outcome-unknown", true),
    ] {
        rig.log.script(faults);
        let status = client.ingest(signed(json(r#"{"id":1}"#))).await.expect_err("refused");
        assert_eq!((status.code(), problem(&status).r#type), (code, format!("urn:frazil:problem:{kind}")));
        assert_eq!(status.get_details_retry_info().is_some(), retry, "{kind}");
    }
}

#[tokio::test]
async fn compressed_messages_are_taken_up_to_the_limit() {
    let rig = Rig::start().await;
    let mut client = client(&rig).await.send_compressed(CompressionEncoding::Gzip);
    let events = format!(r#"{{"id":1,"name":"{}"}}"#, "a".repeat(100_000));
    client.ingest(signed(json(&events))).await.expect("accepted");
    assert_eq!(lines(&rig), [events]);
    let bomb = "a".repeat(50_000_000);
    let status = client.ingest(signed(json(&bomb))).await.expect_err("too large");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(status.message().contains("5065536 bytes"), "{status:?}");
    let count = r#"route="/frazil.v1.Ingest/Ingest",status="400",code="BAD_REQUEST"} 1"#;
    let metrics = metrics(&rig).await;
    assert!(metrics.contains(count), "{metrics}");
}

#[tokio::test]
async fn several_tables_and_dead_letters() {
    let rig = Rig::start().await;
    let events = r#"[{"type":"clicks","id":1},{"type":"taps","id":"x"},{"type":"clicks","id":"not a number"},
        {"type":"hidden","id":4},{"type":"taps","id":"y"}]"#;
    let request = IngestRequest { stream: "mixed".to_owned(), idempotency_key: "k".to_owned(), ..json(events) };
    let mut client = client(&rig).await;
    for _ in 0..2 {
        let answer = client.ingest(signed(request.clone())).await.expect("accepted").into_inner();
        assert_eq!((answer.accepted, answer.invalid, answer.receipt.as_str()), (5, 2, ""));
        let of: Vec<_> = answer.errors.iter().map(|error| (error.index, error.reason.as_str())).collect();
        assert_eq!(of, [(2, "wrong_type"), (3, "unroutable")]);
        let tables: Vec<_> = answer.tables.iter().map(|table| (table.table.as_str(), table.accepted)).collect();
        assert_eq!(tables, [("lake.web.clicks", 2), ("lake.web.taps", 2), ("lake.frazil_system.mixed", 1)]);
        for table in &answer.tables {
            let receipt: Receipt = table.receipt.parse().expect("a receipt");
            assert_eq!(receipt.table.to_string(), table.table);
        }
    }
    assert_eq!(rig.admitted(&shard("mixed", 0)).len(), 5, "the second time was a repeat");
}
