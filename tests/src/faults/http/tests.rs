use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Front, FrontCounts, HttpFault, Requests};
use crate::until;

const LIMIT: Duration = Duration::from_secs(20);

/// A server that counts requests and sends back what it got: the line, the host, the length, and the body.
struct Server {
    requests: Arc<AtomicU64>,
    _server: JoinSet<()>,
}

async fn start() -> (Server, Front) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicU64::new(0));
    let app = Router::new().fallback(mirror).with_state(Arc::clone(&requests));
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, app).await.unwrap() });
    (Server { requests, _server: server }, Front::start(&url).await)
}

async fn mirror(State(requests): State<Arc<AtomicU64>>, request: Request) -> ([(&'static str, String); 3], Vec<u8>) {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let line = format!("{} {}", parts.method, parts.uri);
    let headers = [("x-line", line), ("x-host", header("host")), ("x-length", header("content-length"))];
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    requests.fetch_add(1, Ordering::SeqCst);
    (headers, body.to_vec())
}

/// No kept connections: each request shows what becomes of a connection.
fn client() -> reqwest::Client {
    reqwest::Client::builder().pool_max_idle_per_host(0).timeout(LIMIT).build().unwrap()
}

impl Server {
    fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn requests_and_answers_pass_as_they_are() {
    let (_server, front) = start().await;
    let path = "/v1/namespaces/a%1Fb/tables?x=%2F%20&y=a+b";
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let request = client().post(format!("{}{path}", front.url)).body(body.clone());
    let answer = request.send().await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("x-line"), format!("POST {path}"));
    assert_eq!(header("x-host"), front.url.trim_start_matches("http://"), "signatures cover the host");
    assert_eq!(header("x-length"), "3000000");
    let back = answer.bytes().await.unwrap();
    assert!(back == body, "{} bytes came back", back.len());
    let signed_for = client().get(&front.url).header("host", "bucket.example:443").send().await.unwrap();
    assert_eq!(signed_for.headers()["x-host"], "bucket.example:443");
    assert_eq!(front.counts(), FrontCounts { passed: 2, injected: 0, after_work: 0 });
}

#[tokio::test]
async fn statuses_come_before_or_after_the_work() {
    let (server, front) = start().await;
    for (after_work, done) in [(false, 0), (true, 1)] {
        front.set(HttpFault::Status { status: 503, retry_after: Some(7), after_work });
        let answer = client().post(&front.url).body("work").send().await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"7".parse().unwrap()));
        assert_eq!(answer.bytes().await.unwrap().len(), 0);
        assert_eq!(server.requests(), done);
    }
    assert_eq!(front.counts(), FrontCounts { passed: 0, injected: 2, after_work: 1 });
    front.heal();
    assert!(client().post(&front.url).send().await.unwrap().status().is_success());
}

#[tokio::test]
async fn connections_are_closed_before_or_after_the_work() {
    let (server, front) = start().await;
    for (after_work, done) in [(false, 0), (true, 1)] {
        front.set(HttpFault::Close { after_work });
        let error = client().post(&front.url).body("work").send().await.unwrap_err();
        assert!(!error.is_timeout() && error.status().is_none(), "{error:?}");
        assert_eq!(server.requests(), done);
    }
}

#[tokio::test]
async fn hanging_requests_end_with_the_fault() {
    let (server, front) = start().await;
    for (after_work, done) in [(false, 0), (true, 1)] {
        front.set(HttpFault::Hang { after_work });
        let mut asking = JoinSet::new();
        let request = client().post(&front.url).body("work");
        let before = front.counts().injected;
        asking.spawn(async move { request.send().await.unwrap_err() });
        until("the request", LIMIT, || async { (front.counts().injected > before).then_some(()) }).await;
        assert!(asking.try_join_next().is_none());
        assert_eq!(server.requests(), done);
        front.heal();
        let error = asking.join_next().await.unwrap().unwrap();
        assert!(!error.is_timeout(), "{error:?}");
    }
}

#[tokio::test]
async fn a_filter_lets_other_requests_pass() {
    let (_server, front) = start().await;
    front.set_for(Requests::Commits, HttpFault::Status { status: 500, retry_after: None, after_work: true });
    let status = async |method: reqwest::Method, path: &str| {
        let answer = client().request(method, format!("{}/v1{path}", front.url)).send().await.unwrap();
        answer.status().as_u16()
    };
    let (get, post) = (reqwest::Method::GET, reqwest::Method::POST);
    assert_eq!(status(post.clone(), "/namespaces/a/tables/t").await, 500);
    assert_eq!(status(post.clone(), "/transactions/commit").await, 500);
    assert_eq!(status(get, "/namespaces/a/tables/t").await, 200);
    assert_eq!(status(post.clone(), "/namespaces/a/tables").await, 200);
    assert_eq!(status(post, "/namespaces/a/tables/t/metrics").await, 200);
}

#[tokio::test]
async fn a_mix_is_of_all_kinds_and_repeats_with_its_seed() {
    let (server, front) = start().await;
    let mut runs = Vec::new();
    for _ in 0..2 {
        front.set(HttpFault::Mixed { seed: 42, one_in: 2 });
        let mut outcomes = Vec::new();
        for _ in 0..100 {
            let before = server.requests();
            let answer = client().post(&front.url).body("work").send().await;
            let status = answer.ok().map(|answer| answer.status().as_u16());
            outcomes.push((status, server.requests() > before));
        }
        runs.push(outcomes);
    }
    assert_eq!(runs[0], runs[1]);
    let seen: std::collections::BTreeSet<_> = runs[0].iter().copied().collect();
    let kinds = [
        (None, false),
        (None, true),
        (Some(200), true),
        (Some(429), false),
        (Some(500), false),
        (Some(500), true),
        (Some(502), true),
        (Some(503), false),
        (Some(504), true),
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), kinds);
    let passed = runs[0].iter().filter(|outcome| outcome.0 == Some(200)).count();
    assert!((30..=70).contains(&passed), "one in two of 100 met a fault, {passed} did not");
}
