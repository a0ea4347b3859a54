//! The port under gRPC: HTTP/2 beside HTTP/1.1, framing, health, reflection.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use bytes::Bytes;
use frazil_proxy::ProxyConfig;
use futures::StreamExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};

use super::{channel, client, json, metrics, problem, signed};
use crate::rig::{Rig, token};

async fn tcp(rig: &Rig) -> TcpStream {
    let address = rig.url.strip_prefix("http://").expect("a URL");
    TcpStream::connect(address).await.expect("the proxy listens")
}

/// A bare HTTP/2 connection; it lives as long as its set.
async fn http2(rig: &Rig) -> (SendRequest<Body>, JoinSet<()>) {
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tcp(rig).await));
    let (sender, connection) = handshake.await.expect("the proxy speaks HTTP/2");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    (sender, tasks)
}

fn grpc(rig: &Rig, path: &str) -> axum::http::request::Builder {
    let request = Request::post(format!("{}{path}", rig.url)).header("content-type", "application/grpc");
    request.header("authorization", token()).header("te", "trailers")
}

/// The `grpc-status` of an answer, which is in its head or in its trailers.
async fn grpc_status(response: Response<Incoming>) -> Code {
    let (head, body) = response.into_parts();
    let trailers = body.collect().await.expect("a whole body").trailers().cloned().unwrap_or_default();
    let status = head.headers.get("grpc-status").or(trailers.get("grpc-status")).expect("a status");
    Code::from_bytes(status.as_bytes())
}

fn body_of(pieces: mpsc::Receiver<Bytes>) -> Body {
    Body::from_stream(futures::stream::unfold(pieces, |mut pieces| async {
        let piece = pieces.recv().await?;
        Some((Ok::<_, Infallible>(piece), pieces))
    }))
}

#[tokio::test]
async fn the_routes_of_http_are_served_over_http_2_as_well() {
    let rig = Rig::start().await;
    let (mut sender, _tasks) = http2(&rig).await;
    let post = |path: &str, body: &'static str| {
        let request = Request::post(format!("{}{path}", rig.url)).header("authorization", token());
        request.body(Body::from(body)).expect("a request")
    };
    let answer = sender.send_request(post("/v1/streams/sales/events", r#"{"id":1}"#)).await.expect("answered");
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.headers().contains_key("frazil-receipt"));
    let answer = sender.send_request(post("/v1/streams/sales/events", "{")).await.expect("answered");
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let answer = sender.send_request(post("/nowhere", "")).await.expect("answered");
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
}

#[tokio::test]
async fn what_is_no_grpc_is_told_so() {
    let rig = Rig::start().await;
    let (mut sender, _tasks) = http2(&rig).await;
    let path = "/frazil.v1.Ingest/Ingest";
    let plain = Request::post(format!("{}{path}", rig.url)).body(Body::from("{}")).expect("a request");
    assert_eq!(sender.send_request(plain).await.expect("answered").status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let health = Request::post(format!("{}/grpc.health.v1.Health/Check", rig.url)).body(Body::empty());
    let answer = sender.send_request(health.expect("a request")).await.expect("answered");
    assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let old = rig.post(path).header("content-type", "application/grpc").body("\0\0\0\0\0").send().await.expect("sent");
    assert_eq!(old.status(), StatusCode::BAD_REQUEST);
    assert!(old.text().await.expect("text").contains("gRPC needs HTTP/2"));
    let absent = grpc(&rig, "/frazil.v1.Ingest/Absent").body(Body::empty()).expect("a request");
    assert_eq!(sender.send_request(absent).await.expect("answered").status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn broken_framing_ends_the_call_and_not_the_connection() {
    let rig = Rig::start().await;
    let (mut sender, _tasks) = http2(&rig).await;
    let garbage: &[u8] = b"\0\0\0\0\x05\xff\xff\xff\xff\xff";
    for (body, code) in [
        (&b""[..], Code::Internal),
        // A length of 4 GB, known before any of it has come.
        (b"\0\xff\xff\xff\xff", Code::InvalidArgument),
        // A flag that means nothing, compression that was not announced, no message of ours, a message cut short.
        (b"\x07\0\0\0\x01\0", Code::Internal),
        (b"\x01\0\0\0\x01\0", Code::Internal),
        (garbage, Code::Internal),
        (b"\0\0\0\0\x05ab", Code::Internal),
    ] {
        for path in ["/frazil.v1.Ingest/Ingest", "/frazil.v1.Ingest/IngestStream"] {
            let request = grpc(&rig, path).body(Body::from(body)).expect("a request");
            let found = grpc_status(sender.send_request(request).await.expect("answered")).await;
            // A stream without requests is a stream that has ended well.
            let code = if body.is_empty() && path.ends_with("Stream") { Code::Ok } else { code };
            assert_eq!(found, code, "{path} {body:?}");
        }
    }
    assert_eq!(rig.log.attempts(), 0);
    client(&rig).await.ingest(signed(json(r#"{"id":1}"#))).await.expect("accepted");
}

#[tokio::test]
async fn a_message_that_comes_too_slowly_ends_the_call() {
    let rig = Rig::with(ProxyConfig { body_timeout: Duration::from_millis(50), ..ProxyConfig::default() }).await;
    let (mut sender, _tasks) = http2(&rig).await;
    for path in ["/frazil.v1.Ingest/Ingest", "/frazil.v1.Ingest/IngestStream"] {
        let (send, pieces) = mpsc::channel(1);
        send.send(Bytes::from_static(b"\0\0\0\0\x05ab")).await.expect("room");
        let request = grpc(&rig, path).body(body_of(pieces)).expect("a request");
        let found = grpc_status(sender.send_request(request).await.expect("answered")).await;
        assert_eq!(found, Code::DeadlineExceeded, "{path}");
        drop(send);
    }
    assert!(metrics(&rig).await.contains(r#"status="408",code="REQUEST_TIMEOUT"} 1"#));
}

#[tokio::test]
async fn garbage_is_answered_or_cut_off() {
    let rig = Rig::with(ProxyConfig { header_timeout: Duration::from_millis(200), ..ProxyConfig::default() }).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let answer = async |bytes: &[u8]| {
        let mut stream = tcp(&rig).await;
        stream.write_all(bytes).await.expect("sent");
        let mut answer = Vec::new();
        // Reset or closed: the proxy has hung up either way.
        let _ = stream.read_to_end(&mut answer).await;
        answer
    };
    assert!(answer(b"\x16\x03\x01\x02\x00 TLS?\r\n\r\n").await.starts_with(b"HTTP/1.1 400"));
    assert!(answer(b"PRI * HTTP/1.1\r\n\r\n").await.starts_with(b"HTTP/1.1 4"));
    assert_eq!(answer(b"PRI * HT").await, b"", "a preface that never ends");
    assert_eq!(answer(b"").await, b"", "silence");
    let frames = answer(&[&preface[..], &[0xff; 64]].concat()).await;
    assert!(!frames.starts_with(b"HTTP"), "{frames:?}");
    assert_eq!(rig.get("/livez").send().await.expect("sent").status(), StatusCode::OK);
}

#[tokio::test]
async fn health_follows_readiness() {
    let rig = Rig::start().await;
    let mut health = HealthClient::new(channel(&rig).await);
    let of = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in ["", "frazil.v1.Ingest"] {
        let answer = health.check(of(service)).await.expect("known").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
    assert_eq!(health.check(of("absent")).await.expect_err("unknown").code(), Code::NotFound);
    let mut unknown = health.watch(of("absent")).await.expect("watched").into_inner();
    let first = unknown.message().await.expect("told").expect("a state");
    assert_eq!(first.status(), ServingStatus::ServiceUnknown);

    let states = health.watch(of("frazil.v1.Ingest")).await.expect("watched").into_inner();
    let mut states = states.map(|state| state.expect("told").status());
    assert_eq!(states.next().await, Some(ServingStatus::Serving));
    rig.log.set_connected(false);
    assert_eq!(states.next().await, Some(ServingStatus::NotServing));
    rig.log.set_connected(true);
    assert_eq!(states.next().await, Some(ServingStatus::Serving));
    rig.cancel.cancel();
    assert_eq!(states.collect::<Vec<_>>().await, [ServingStatus::NotServing]);
    assert_eq!(unknown.message().await.expect("a good end"), None);
    assert_eq!(rig.stop().await, Ok(()));
}

#[tokio::test]
async fn reflection_knows_the_services_and_does_not_outlast_a_drain() {
    use v1::server_reflection_request::MessageRequest as Wanted;
    use v1::server_reflection_response::MessageResponse as Found;
    let rig = Rig::start().await;
    let mut reflection = v1::server_reflection_client::ServerReflectionClient::new(channel(&rig).await);
    let ask = |wanted| v1::ServerReflectionRequest { host: String::new(), message_request: Some(wanted) };
    let symbol = Wanted::FileContainingSymbol("frazil.v1.Ingest".to_owned());
    // The client keeps its side open, as some tools do.
    let asked = futures::stream::iter([ask(Wanted::ListServices(String::new())), ask(symbol)]);
    let asked = asked.chain(futures::stream::pending());
    let mut answers = reflection.server_reflection_info(asked).await.expect("answered").into_inner();
    let mut next = async || answers.message().await.expect("answered").expect("more").message_response;
    let Some(Found::ListServicesResponse(list)) = next().await else { panic!("no list") };
    let services: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for expected in ["frazil.v1.Ingest", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"] {
        assert!(services.contains(&expected), "{services:?}");
    }
    let Some(Found::FileDescriptorResponse(files)) = next().await else { panic!("no file") };
    assert!(String::from_utf8_lossy(&files.file_descriptor_proto[0]).contains("IngestStream"));

    let mut old = v1alpha::server_reflection_client::ServerReflectionClient::new(channel(&rig).await);
    let wanted = v1alpha::server_reflection_request::MessageRequest::ListServices(String::new());
    let wanted = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(wanted) };
    let answers = old.server_reflection_info(futures::stream::iter([wanted])).await.expect("answered");
    assert_eq!(answers.into_inner().count().await, 1);
    assert_eq!(rig.stop().await, Ok(()));
}

#[tokio::test]
async fn during_a_drain_calls_are_refused_with_advice() {
    let rig = Rig::start().await;
    rig.log.script([Some(frazil_proxy::publish::memory::Fault::Hold)]);
    let mut first = client(&rig).await;
    let mut second = first.clone();
    let in_flight = first.ingest(signed(json(r#"{"id":1}"#)));
    let meanwhile = async {
        rig.log.attempted(1).await;
        rig.cancel.cancel();
        let status = second.ingest(signed(json(r#"{"id":2}"#))).await.expect_err("refused");
        assert_eq!(
            (status.code(), problem(&status).r#type.as_str()),
            (Code::Unavailable, "urn:frazil:problem:draining")
        );
        rig.log.release();
    };
    let (answer, ()) = tokio::join!(in_flight, meanwhile);
    assert_eq!(answer.expect("accepted").into_inner().accepted, 1);
    assert_eq!(rig.stop().await, Ok(()));
}
