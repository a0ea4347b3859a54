//! Whole runs against a scripted proxy: what is sent, what is retried, what is reported.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Mutex;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use clap::Parser;
use frazil_core::checkpoint::Incarnation;
use frazil_core::receipt::Receipt;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    send: SendArgs,
}

/// A scripted answer; without a script every request is accepted.
type Answer = Box<dyn Fn(&Seen) -> Response + Send>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    key: String,
    table: Option<String>,
    token: Option<String>,
    body: String,
}

#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    seen: Mutex<Vec<Seen>>,
    asked: Mutex<Vec<String>>,
}

/// A proxy that does as it is told.
struct FakeProxy {
    script: Arc<Script>,
    url: String,
    _server: JoinSet<()>,
}

impl FakeProxy {
    async fn start(answers: Vec<Answer>) -> Self {
        let script = Arc::new(Script { answers: Mutex::new(answers.into()), ..Script::default() });
        let router = Router::new()
            .route("/v1/streams/{stream}/events", post(ingest))
            .route("/v1/receipts/{receipt}", get(standing))
            .with_state(script.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("serve") });
        Self { script, url, _server: server }
    }

    /// Runs `frazil send` with `args` against this proxy and returns the books.
    async fn send(&self, args: &str, file: &NamedTempFile) -> Report {
        let path = file.path().display();
        let line = format!("send --url {} --token t --table a.b --key-prefix k -c 1 {args} {path}", self.url);
        let args = Line::try_parse_from(line.split_whitespace()).expect(&line).send;
        args.check().expect("valid");
        send(&args).await.expect("runs")
    }

    fn seen(&self) -> Vec<(String, String)> {
        let seen = self.script.seen.lock().expect("not poisoned");
        seen.iter().map(|seen| (seen.key.clone(), seen.body.clone())).collect()
    }
}

async fn ingest(
    State(script): State<Arc<Script>>,
    Path(stream): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    assert_eq!(stream, "default");
    let header = |name: &str| headers.get(name).map(|value| value.to_str().expect("text").to_owned());
    let body = match header("content-encoding").as_deref() {
        Some("gzip") => {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&body[..]), &mut text).expect("gzip");
            text
        }
        Some("zstd") => String::from_utf8(zstd::decode_all(&body[..]).expect("zstd")).expect("text"),
        _ => String::from_utf8(body.to_vec()).expect("text"),
    };
    let key = header("idempotency-key").expect("always keyed");
    let seen = Seen { key, table: header("table"), token: header("authorization"), body };
    script.seen.lock().expect("not poisoned").push(seen.clone());
    let answer = script.answers.lock().expect("not poisoned").pop_front();
    answer.map_or_else(|| accepted(&seen), |answer| answer(&seen))
}

async fn standing(State(script): State<Arc<Script>>, Path(receipt): Path<String>) -> Response {
    let mut asked = script.asked.lock().expect("not poisoned");
    asked.push(receipt);
    let state = if asked.len() == 1 { "stored" } else { "committed" };
    axum::Json(json!({"state": state})).into_response()
}

fn accepted(seen: &Seen) -> Response {
    let position = seen.key.rsplit('-').next().and_then(|number| number.parse().ok()).expect("numbered");
    let receipt = Receipt {
        shard: frazil_core::Shard::new("default".parse().expect("valid"), 0),
        incarnation: Incarnation(1),
        first: position,
        last: position,
        table: "frazil.a.b".parse().expect("valid"),
    };
    axum::Json(json!({"accepted": seen.body.lines().count(), "receipt": receipt.to_string()})).into_response()
}

fn status(status: u16, retry_after: Option<&'static str>) -> Answer {
    Box::new(move |_| {
        let mut response = StatusCode::from_u16(status).expect("status").into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert("retry-after", seconds.parse().expect("header"));
        }
        response
    })
}

/// A 400 about the events at these positions.
fn invalid(indices: &'static [usize]) -> Answer {
    Box::new(|_| {
        let errors: Vec<Value> = indices
            .iter()
            .map(|index| json!({"index": index, "field": "n", "reason": "wrong_type", "message": "expected long", "got": "x"}))
            .collect();
        let problem =
            json!({"type": "urn:frazil:problem:invalid-events", "title": "T", "detail": "d", "errors": errors});
        (StatusCode::BAD_REQUEST, axum::Json(problem)).into_response()
    })
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("file");
    file.write_all(text.as_bytes()).expect("write");
    file
}

fn numbers(count: usize) -> NamedTempFile {
    file(&(1..=count).map(|n| format!("{{\"n\":{n}}}\n")).collect::<String>())
}

#[tokio::test]
async fn everything_is_sent_once_in_numbered_batches() {
    let proxy = FakeProxy::start(vec![]).await;
    let report = proxy.send("--batch-events 2", &numbers(5)).await.json();
    assert_eq!(report["accepted"], 5);
    assert_eq!(report["complete"], true);
    assert_eq!((&report["requests"], &report["retries"], &report["receipts"]), (&json!(3), &json!(0), &json!(3)));
    let seen = proxy.seen();
    assert_eq!(seen[0], ("k-1".to_owned(), "{\"n\":1}\n{\"n\":2}\n".to_owned()));
    assert_eq!(seen[2], ("k-3".to_owned(), "{\"n\":5}\n".to_owned()));
    let first = proxy.script.seen.lock().expect("not poisoned")[0].clone();
    assert_eq!((first.table.as_deref(), first.token.as_deref()), (Some("a.b"), Some("Bearer t")));
}

#[tokio::test]
async fn compressed_bodies_hold_the_same() {
    for compression in ["gzip", "zstd"] {
        let proxy = FakeProxy::start(vec![]).await;
        let report = proxy.send(&format!("--compress {compression}"), &numbers(2)).await.json();
        assert_eq!(report["accepted"], 2);
        assert_eq!(proxy.seen()[0].1, "{\"n\":1}\n{\"n\":2}\n", "{compression}");
    }
}

#[tokio::test]
async fn a_retry_has_the_same_key_and_body() {
    for cause in [429, 503, 500, 502, 408] {
        let proxy = FakeProxy::start(vec![status(cause, None), status(cause, None)]).await;
        let report = proxy.send("", &numbers(2)).await.json();
        assert_eq!((&report["accepted"], &report["retries"]), (&json!(2), &json!(2)), "{cause}");
        let seen = proxy.seen();
        assert_eq!(seen.len(), 3);
        assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
    }
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let proxy = FakeProxy::start(vec![status(429, Some("1"))]).await;
    let started = std::time::Instant::now();
    let report = proxy.send("", &numbers(1)).await.json();
    assert_eq!(report["accepted"], 1);
    assert!(started.elapsed() >= std::time::Duration::from_secs(1));
}

#[tokio::test]
async fn a_connection_error_is_retried_until_the_time_is_up() {
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        format!("http://{}", listener.local_addr().expect("address"))
    };
    let proxy = FakeProxy { url: closed, ..FakeProxy::start(vec![]).await };
    let report = proxy.send("--max-retry-time 300ms", &numbers(3)).await.json();
    assert_eq!((&report["accepted"], &report["unsent"], &report["complete"]), (&json!(0), &json!(3), &json!(false)));
    let failure = report["failure"].as_str().expect("said");
    assert!(failure.starts_with("gave up after"), "{failure}");
}

#[tokio::test]
async fn statuses_that_never_help_stop_at_once() {
    for refused in [401, 403, 404, 415] {
        let proxy = FakeProxy::start(vec![status(refused, None)]).await;
        let report = proxy.send("--batch-events 1", &numbers(50)).await.json();
        assert_eq!((&report["accepted"], &report["requests"]), (&json!(0), &json!(1)), "{refused}");
        assert!(report["failure"].as_str().expect("said").contains(&refused.to_string()));
    }
}

#[tokio::test]
async fn refused_events_are_named_by_line_and_stop() {
    let proxy = FakeProxy::start(vec![invalid(&[1])]).await;
    let input = file("{\"n\":1}\n\n{\"n\":\"x\"}\n{\"n\":3}\n");
    let rejects = NamedTempFile::new().expect("file");
    let report = proxy.send(&format!("--rejects {}", rejects.path().display()), &input).await;
    assert_eq!(proxy.seen().len(), 1, "nothing is sent again");
    let json = report.json();
    assert_eq!((&json["accepted"], &json["rejected"], &json["unsent"]), (&json!(0), &json!(1), &json!(2)));
    report.print(true).expect("printed");
    let line: Value = serde_json::from_slice(&std::fs::read(rejects.path()).expect("file")).expect("one line");
    assert_eq!((&line["number"], &line["field"], &line["reason"]), (&json!(3), &json!("n"), &json!("expected long")));
    assert_eq!(line["event"], json!({"n": "x"}));
}

#[tokio::test]
async fn refused_events_are_left_out_and_the_rest_goes_under_the_same_key() {
    let proxy = FakeProxy::start(vec![invalid(&[0, 2]), invalid(&[0])]).await;
    let report = proxy.send("--on-error skip", &numbers(4)).await.json();
    assert_eq!((&report["accepted"], &report["rejected"], &report["unsent"]), (&json!(1), &json!(3), &json!(0)));
    assert_eq!(report["complete"], false, "not everything was accepted");
    let bodies = ["{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n", "{\"n\":2}\n{\"n\":4}\n", "{\"n\":4}\n"];
    assert_eq!(proxy.seen(), bodies.map(|body| ("k-1".to_owned(), body.to_owned())));
}

#[tokio::test]
async fn lines_that_are_no_events_are_found_here() {
    let text = "{\"n\":1}\n{\"n\":\n{\"n\":3}\n";
    let proxy = FakeProxy::start(vec![]).await;
    let report = proxy.send("", &file(text)).await.json();
    assert_eq!((&report["accepted"], &report["rejected"]), (&json!(1), &json!(1)), "what came before is sent");
    let proxy = FakeProxy::start(vec![]).await;
    let report = proxy.send("--on-error skip", &file(text)).await.json();
    assert_eq!((&report["accepted"], &report["rejected"]), (&json!(2), &json!(1)));
    assert_eq!(proxy.seen(), [("k-1".to_owned(), "{\"n\":1}\n{\"n\":3}\n".to_owned())]);
}

#[tokio::test]
async fn documents_are_sent_by_element() {
    let proxy = FakeProxy::start(vec![invalid(&[1])]).await;
    let input = file("{\"type\":\"X\",\"features\":[\n{\"n\":1},\n{\"n\":2}]}");
    let report = proxy.send("--pointer /features --on-error skip", &input).await.json();
    assert_eq!((&report["accepted"], &report["rejected"]), (&json!(1), &json!(1)));
    let proxy = FakeProxy::start(vec![]).await;
    assert_eq!(proxy.send("", &file("[{\"n\":1},{\"n\":2}]")).await.json()["accepted"], 2);
    let missing = FakeProxy::start(vec![]).await.send("--pointer /nope", &input).await.json();
    assert!(missing["failure"].as_str().expect("said").contains("nothing at /nope"), "{missing}");
}

#[tokio::test]
async fn waiting_asks_for_the_newest_receipt_until_it_is_committed() {
    let proxy = FakeProxy::start(vec![]).await;
    let receipts = NamedTempFile::new().expect("file");
    let args = format!("--wait --batch-events 2 --receipts {}", receipts.path().display());
    let report = proxy.send(&args, &numbers(6)).await;
    assert_eq!(report.json()["committed"], true);
    report.print(true).expect("printed");
    let written = std::fs::read_to_string(receipts.path()).expect("file");
    let asked = proxy.script.asked.lock().expect("not poisoned").clone();
    assert_eq!((written.lines().count(), asked.len()), (3, 2));
    assert!(asked.iter().all(|receipt| written.lines().last() == Some(receipt)));
}

#[tokio::test]
async fn an_answer_that_is_not_ours_is_no_success() {
    let proxy = FakeProxy::start(vec![status(200, None)]).await;
    let report = proxy.send("", &numbers(1)).await.json();
    assert_eq!(report["accepted"], 0);
    assert!(report["failure"].as_str().expect("said").contains("not Frazil's"));
}

#[test]
fn arguments_out_of_bounds_are_refused() {
    for wrong in [
        "--batch-events 0",
        "--batch-bytes 6MB",
        "--connections 0",
        "--pointer features",
        "--format ndjson --pointer /a",
        "--key-prefix é",
    ] {
        let line = Line::try_parse_from(format!("send {wrong}").split_whitespace()).expect(wrong);
        assert!(line.send.check().is_err(), "{wrong}");
    }
}
