//! Metrics reports on their way to a proxy, which is played here: taken at once, delivered in order, counted.

use std::future::pending;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use frazil_catalog::{Catalog, CatalogConfig, OpenError, ReportForwarding, serve};
use frazil_iceberg::ClientTls;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::server::config;

/// Longer than any test takes.
const LIMIT: Duration = Duration::from_secs(60);

/// What the proxy answers to a report with this body.
fn answer(body: &[u8]) -> StatusCode {
    match body {
        b"refuse" => StatusCode::BAD_REQUEST,
        _ => StatusCode::NO_CONTENT,
    }
}

#[derive(Debug)]
struct Got {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }
}

struct Proxy {
    url: String,
    got: Receiver<Got>,
    _server: JoinSet<io::Result<()>>,
}

impl Proxy {
    async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.expect("a free port"))
    }

    fn on(listener: TcpListener) -> Self {
        let url = format!("http://{}/behind/a/path/", listener.local_addr().expect("bound"));
        let (sender, got) = channel(100);
        let mut server = JoinSet::new();
        let app = Router::new().fallback(take).with_state(sender);
        server.spawn(async move { axum::serve(listener, app).await });
        Self { url, got, _server: server }
    }

    async fn next(&mut self) -> Got {
        tokio::time::timeout(LIMIT, self.got.recv()).await.expect("in time").expect("the proxy runs")
    }
}

async fn take(State(sender): State<Sender<Got>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.expect("a body");
    let (path, answer) = (head.uri.path().to_owned(), answer(&body));
    let stall = body == "stall";
    sender.send(Got { path, headers: head.headers, body }).await.expect("the test listens");
    if stall {
        return pending().await;
    }
    (answer, "because").into_response()
}

/// A catalog that forwards.
struct Forwarding {
    base: String,
    client: reqwest::Client,
    registry: Registry,
    stop: CancellationToken,
    served: JoinSet<io::Result<()>>,
    _directory: TempDir,
}

impl Forwarding {
    async fn to(forwarding: Option<ReportForwarding>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let config = CatalogConfig { reports: forwarding, ..config(directory.path()) };
        let catalog = Catalog::open(config).expect("opens");
        let mut registry = Registry::default();
        catalog.register_metrics(&mut registry);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        let (stop, mut served) = (CancellationToken::new(), JoinSet::new());
        served.spawn(serve(listener, catalog, stop.clone()));
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { base, client, registry, stop, served, _directory: directory }
    }

    async fn report(&self, table: &str, body: &str) {
        let url = format!("{}/v1/namespaces/a%1Fb/tables/{table}/metrics", self.base);
        let request = self.client.post(url).header("content-type", "application/json").header("content-encoding", "x");
        let answer = request.body(body.to_owned()).send().await.expect("answers");
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    }

    fn count(&self, outcome: &str) -> u64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("text");
        let name = format!("frazil_catalog_metrics_reports_total{{outcome=\"{outcome}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
    }

    async fn until(&self, outcome: &str, count: u64) {
        let reached = async {
            while self.count(outcome) != count {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(LIMIT, reached).await;
        in_time.unwrap_or_else(|_| panic!("{} {outcome}, not {count}", self.count(outcome)));
    }

    async fn end(&mut self) {
        self.stop.cancel();
        self.served.join_next().await.expect("one task").expect("no panic").expect("served");
    }
}

fn forwarding(url: &str, queue: usize) -> Option<ReportForwarding> {
    Some(ReportForwarding { url: url.to_owned(), token: "hush".to_owned(), tls: ClientTls::default(), queue })
}

#[tokio::test]
async fn reports_are_forwarded_in_order_as_they_came() {
    let mut proxy = Proxy::start().await;
    let sender = Forwarding::to(forwarding(&proxy.url, 10)).await;
    let mut keys = Vec::new();
    for body in ["one", "{\"two\":2}", "refuse", "four"] {
        sender.report("t%20t", body).await;
        let got = proxy.next().await;
        assert_eq!(got.body, body);
        assert_eq!(got.path, "/behind/a/path/v1/frazil/namespaces/a%1Fb/tables/t%20t/metrics");
        assert_eq!(got.header("authorization"), "Bearer hush");
        assert_eq!((got.header("content-type"), got.header("content-encoding")), ("application/json", "x"));
        keys.push(got.header("idempotency-key").to_owned());
    }
    sender.until("forwarded", 3).await;
    assert_eq!((sender.count("refused"), sender.count("dropped"), sender.count("ignored")), (1, 0, 0));
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 4, "each has a key of its own");
}

#[tokio::test]
async fn a_proxy_that_is_away_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let sender = Forwarding::to(forwarding(&url, 10)).await;
    // Connections are made and nobody answers, then they break.
    sender.report("t", "early").await;
    let (first, _) = listener.accept().await.expect("the catalog connects");
    drop(first);
    let (second, _) = listener.accept().await.expect("the catalog connects again");
    drop(second);
    sender.report("t", "later").await;
    let mut proxy = Proxy::on(listener);
    assert_eq!(proxy.next().await.body, "early");
    assert_eq!(proxy.next().await.body, "later");
    sender.until("forwarded", 2).await;
}

#[tokio::test]
async fn a_full_queue_drops_and_counts_and_answers_all_the_same() {
    let mut proxy = Proxy::start().await;
    let sender = Forwarding::to(forwarding(&proxy.url, 2)).await;
    sender.report("t", "stall").await;
    assert_eq!(proxy.next().await.body, "stall");
    for _ in 0..5 {
        sender.report("t", "next").await;
    }
    assert_eq!(sender.count("dropped"), 3, "two wait");
    // More bytes than may wait, though there is a place.
    let mut proxy = Proxy::start().await;
    let sender = Forwarding::to(forwarding(&proxy.url, 1000)).await;
    sender.report("t", &"x".repeat((16 << 20) + 1)).await;
    assert_eq!(sender.count("dropped"), 1);
    sender.report("t", "small").await;
    assert_eq!(proxy.next().await.body, "small");
}

#[tokio::test]
async fn what_is_left_at_the_end_is_tried_once_more_and_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let mut sender = Forwarding::to(forwarding(&url, 10)).await;
    for _ in 0..3 {
        sender.report("t", "x").await;
    }
    // From now on nobody listens.
    drop(listener.accept().await.expect("the catalog connects"));
    drop(listener);
    sender.end().await;
    assert_eq!((sender.count("dropped"), sender.count("forwarded")), (3, 0));

    let mut proxy = Proxy::start().await;
    let mut sender = Forwarding::to(forwarding(&proxy.url, 10)).await;
    for body in ["1", "2", "3"] {
        sender.report("t", body).await;
    }
    sender.end().await;
    assert_eq!((sender.count("dropped"), sender.count("forwarded")), (0, 3));
    for body in ["1", "2", "3"] {
        assert_eq!(proxy.next().await.body, body);
    }
}

#[tokio::test]
async fn without_a_proxy_reports_are_taken_and_counted() {
    let sender = Forwarding::to(None).await;
    sender.report("t", "anything").await;
    assert_eq!(sender.count("ignored"), 1);
}

#[tokio::test]
async fn a_proxy_that_cannot_be_one_is_refused_at_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let open = |reports| Catalog::open(CatalogConfig { reports, ..config(directory.path()) });
    for url in ["", "proxy:8080", "data:x", "http://"] {
        let refused = open(forwarding(url, 1)).expect_err(url);
        assert!(matches!(refused, OpenError::Forwarding { .. }), "{url}: {refused}");
    }
    let line = ReportForwarding { token: "a\nb".to_owned(), ..forwarding("http://proxy", 1).expect("given") };
    let refused = open(Some(line.clone())).expect_err("no header");
    assert!(!format!("{refused} {refused:?} {line:?}").contains("a\nb"), "the token is not told");
}
