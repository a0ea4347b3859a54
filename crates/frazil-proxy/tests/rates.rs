//! Rate limits over HTTP and gRPC: decided after authentication, before anything is stored, with a truthful wait; shared by
//! proxies through a real Redis, and kept by each alone while that does not answer.

mod redis_server;

use std::time::{Duration, Instant};

use frazil_core::rate::{Rate, RateLimits};
use frazil_core::stream::StreamDefinition;
use frazil_core::token::TokenRecord;
use frazil_proto::v1::IngestRequest;
use frazil_proto::v1::ingest_client::IngestClient;
use frazil_proxy::{ProxyConfig, SharedLimits};
use reqwest::Response;
use serde_json::Value;
use tonic::Code;
use tonic_types::StatusExt;

use crate::rig::{Rig, clicks, problem, record, token, token_of};
use redis_server::RedisServer;

fn rate(per_second: u64, burst: u64) -> Option<Rate> {
    Some(Rate::new(per_second, Some(burst)).expect("in bounds"))
}

/// A proxy with one stream, `sales`, and one token, `token()`.
async fn limited(stream: RateLimits, of_token: RateLimits, config: ProxyConfig) -> Rig {
    let sales = StreamDefinition::new("sales".parse().expect("valid"), 1);
    let stream = StreamDefinition { default_table: Some(clicks()), limits: stream, ..sales };
    let record = TokenRecord { limits: of_token, ..record(&token_of(1), None) };
    Rig::of(config, vec![stream], vec![record]).await
}

async fn alone(stream: RateLimits, of_token: RateLimits) -> Rig {
    limited(stream, of_token, ProxyConfig::default()).await
}

fn events(per_second: u64, burst: u64) -> RateLimits {
    RateLimits { events: rate(per_second, burst), bytes: None }
}

fn bytes(per_second: u64, burst: u64) -> RateLimits {
    RateLimits { events: None, bytes: rate(per_second, burst) }
}

fn body(count: usize) -> String {
    format!("[{}]", vec![r#"{"id":1}"#; count].join(","))
}

async fn send(rig: &Rig, count: usize) -> Response {
    rig.events("").body(body(count)).send().await.expect("sent")
}

/// The wait that a refusal names, after checking its shape.
async fn refused(response: Response) -> u64 {
    let after = response.headers()["retry-after"].to_str().expect("ASCII").parse().expect("whole seconds");
    let problem = problem(response, 429, "TOO_MANY_REQUESTS").await;
    assert_eq!(problem["type"], "urn:frazil:problem:rate-limited", "{problem}");
    assert!(problem["detail"].as_str().expect("text").contains(&format!("in {after} s")), "{problem}");
    after
}

async fn metrics(rig: &Rig) -> String {
    rig.get("/metrics").send().await.expect("sent").text().await.expect("text")
}

#[tokio::test]
async fn each_limit_refuses_what_is_above_it_and_stores_nothing() {
    let none = RateLimits::default();
    for (stream, of_token, reason) in [
        (events(1, 10), none, "stream_events"),
        (none, events(1, 10), "token_events"),
        (bytes(10, 91), none, "stream_bytes"),
        (none, bytes(10, 91), "token_bytes"),
    ] {
        let rig = alone(stream, of_token).await;
        assert_eq!(send(&rig, 8).await.status(), 200, "{reason}: within the burst");
        // 2 events or 18 bytes are left; 5 events or 46 bytes are wanted, at 1 event or 10 bytes a second.
        let wait = refused(send(&rig, 5).await).await;
        assert!((2..=3).contains(&wait), "{reason}: {wait} s");
        assert_eq!(rig.log.attempts(), 1, "{reason}");
        let metrics = metrics(&rig).await;
        let count = format!("frazil_proxy_rate_limited_requests_total{{stream=\"sales\",reason=\"{reason}\"}} 1");
        assert!(metrics.contains(&count), "{reason}: {metrics}");
        assert!(!metrics.contains("frz_") && !metrics.contains(token_of(1).id()), "{metrics}");
    }
}

#[tokio::test]
async fn who_waits_as_told_gets_in() {
    let rig = alone(events(2, 2), RateLimits::default()).await;
    assert_eq!(send(&rig, 2).await.status(), 200);
    let wait = refused(send(&rig, 2).await).await;
    let told = Instant::now() + Duration::from_secs(wait);
    tokio::time::sleep_until(told.into()).await;
    assert_eq!(send(&rig, 2).await.status(), 200);
    // More than the burst gets in when the bucket is full, and is paid for afterwards.
    let wait = refused(send(&rig, 8).await).await;
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(send(&rig, 8).await.status(), 200);
    assert!((3..=4).contains(&refused(send(&rig, 1).await).await));
}

#[tokio::test]
async fn a_refusal_comes_after_authentication_and_before_the_body() {
    let rig = alone(bytes(1, 120), RateLimits::default()).await;
    assert_eq!(send(&rig, 10).await.status(), 200);
    let stranger = rig.client.post(format!("{}/v1/streams/sales/events", rig.url)).body(body(10));
    problem(stranger.send().await.expect("sent"), 401, "UNAUTHORIZED").await;
    // The announced length decides: what would be no JSON is not looked at.
    refused(rig.events("").body("x".repeat(100)).send().await.expect("sent")).await;
    // Without a length, the body's decides, still before it is taken apart.
    let unknown = futures::stream::iter(["x".repeat(50), "x".repeat(50)].map(Ok::<_, std::io::Error>));
    refused(rig.events("").body(reqwest::Body::wrap_stream(unknown)).send().await.expect("sent")).await;
    // Nothing is counted for it: a small request still fits.
    assert_eq!(send(&rig, 1).await.status(), 200);
    assert_eq!(send(&rig, 0).await.status(), 200, "no events cost nothing");
}

#[tokio::test]
async fn grpc_is_limited_alike() {
    let rig = alone(events(1, 10), RateLimits::default()).await;
    let endpoint = tonic::transport::Endpoint::from_shared(rig.url.clone()).expect("a URL");
    let mut client = IngestClient::new(endpoint.connect().await.expect("connected"));
    let request = |count| {
        let message = IngestRequest { stream: "sales".into(), events: body(count).into(), ..IngestRequest::default() };
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("authorization", token().parse().expect("ASCII"));
        request
    };
    client.ingest(request(8)).await.expect("within the burst");
    let status = client.ingest(request(5)).await.expect_err("refused");
    assert_eq!(status.code(), Code::ResourceExhausted);
    let delay = status.get_details_retry_info().expect("google.rpc.RetryInfo").retry_delay.expect("a delay");
    assert!((2..=3).contains(&delay.as_secs()), "{delay:?}");
    // One bucket for both fronts.
    refused(send(&rig, 5).await).await;
}

#[tokio::test]
async fn a_token_is_limited_over_all_its_streams_and_a_stream_over_all_its_tokens() {
    let named = |name: &str| StreamDefinition::new(name.parse().expect("valid"), 1);
    let stream = |name: &str, limits| StreamDefinition { default_table: Some(clicks()), limits, ..named(name) };
    let streams = vec![stream("sales", RateLimits::default()), stream("open", events(1, 10))];
    let held = TokenRecord { limits: events(1, 10), ..record(&token_of(1), None) };
    let rig = Rig::of(ProxyConfig::default(), streams, vec![held, record(&token_of(3), None)]).await;
    let post = async |name: &str, who: u8, count: usize| {
        let path = format!("{}/v1/streams/{name}/events", rig.url);
        let request = rig.client.post(path).bearer_auth(token_of(who).reveal()).body(body(count));
        request.send().await.expect("sent").status().as_u16()
    };
    assert_eq!([post("sales", 1, 6).await, post("open", 1, 6).await], [200, 429], "6 and 6 of one token");
    assert_eq!([post("open", 3, 6).await, post("open", 3, 6).await], [200, 429], "6 and 6 of one stream");
    // Refused by one limit, nothing is drawn from the other.
    assert_eq!([post("open", 1, 4).await, post("sales", 3, 1000).await], [200, 200]);
}

fn shared(server: &RedisServer) -> ProxyConfig {
    let limits = SharedLimits { timeout: Duration::from_millis(300), ..SharedLimits::at(server.url()) };
    ProxyConfig { shared_limits: Some(limits), ..ProxyConfig::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_share_a_limit_through_redis() {
    let server = RedisServer::start().await;
    let limits = events(1, 50);
    let (one, two) = tokio::join!(
        limited(limits, RateLimits::default(), shared(&server)),
        limited(limits, RateLimits::default(), shared(&server)),
    );
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..100 {
        let request = if at % 2 == 0 { one.events("") } else { two.events("") };
        tasks.spawn(request.body(body(1)).send());
    }
    let statuses: Vec<u16> =
        tasks.join_all().await.into_iter().map(|answer| answer.expect("sent").status().as_u16()).collect();
    let accepted = statuses.iter().filter(|status| **status == 200).count() as u64;
    let flowed = started.elapsed().as_secs() + 1;
    assert!((50..=50 + flowed).contains(&accepted), "{accepted} in {flowed} s");
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    assert!(metrics(&one).await.contains("frazil_proxy_rate_limits_shared 1"));
    let keys = server.command(&["KEYS", "*"]).await;
    assert!(keys.contains("{frazil}:rate:stream:sales:events"), "{keys}");
    // What Redis holds disappears by itself once it is paid.
    let lives: i64 = server.command(&["PTTL", "{frazil}:rate:stream:sales:events"]).await.trim().parse().expect("ms");
    assert!((1..=53_000).contains(&lives), "{lives}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wait_of_a_shared_limit_is_truthful_and_large_requests_get_in() {
    let server = RedisServer::start().await;
    let rig = limited(bytes(100, 100), events(2, 2), shared(&server)).await;
    assert_eq!(send(&rig, 2).await.status(), 200);
    let wait = refused(send(&rig, 2).await).await;
    assert_eq!(wait, 1);
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(send(&rig, 2).await.status(), 200);
    tokio::time::sleep(Duration::from_secs(refused(send(&rig, 6).await).await)).await;
    assert_eq!(send(&rig, 6).await.status(), 200);
    let wait = refused(send(&rig, 1).await).await;
    assert!((2..=3).contains(&wait), "{wait}: 4 events above the burst, and room for one, at 2 a second");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_proxy_goes_on_alone_and_comes_back_by_itself() {
    let mut server = RedisServer::start().await;
    let rig = limited(events(1, 20), RateLimits::default(), shared(&server)).await;
    assert_eq!(send(&rig, 5).await.status(), 200);
    server.pause();
    let asked = Instant::now();
    assert_eq!(send(&rig, 5).await.status(), 200, "what is left of the bucket as last seen");
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}: Redis hangs, the proxy does not", asked.elapsed());
    for _ in 0..5 {
        let asked = Instant::now();
        send(&rig, 1).await;
        assert!(asked.elapsed() < Duration::from_secs(2));
    }
    refused(send(&rig, 10).await).await;
    let seen = metrics(&rig).await;
    assert!(seen.contains("frazil_proxy_rate_limits_shared 0"), "{seen}");
    assert!(seen.contains(r#"rate_limits_shared_requests_total{outcome="timeout"}"#), "{seen}");
    assert!(seen.contains(r#"rate_limits_shared_requests_total{outcome="resting"}"#), "{seen}");
    server.resume();
    again(&rig).await;
    server.kill();
    assert!([200, 429].contains(&send(&rig, 1).await.status().as_u16()));
    assert!(metrics(&rig).await.contains("frazil_proxy_rate_limits_shared 0"));
    server.restart().await;
    again(&rig).await;
    assert_eq!(server.command(&["DBSIZE"]).await.trim(), "1", "the limits are in Redis again");
}

/// Sends until the limits are shared again.
async fn again(rig: &Rig) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !metrics(rig).await.contains("frazil_proxy_rate_limits_shared 1") {
        assert!(Instant::now() < deadline, "{}", metrics(rig).await);
        send(rig, 1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_redis_with_a_password_is_used_and_its_password_is_never_told() {
    let server = RedisServer::with_password("hush-redis").await;
    let rig = limited(events(1, 2), RateLimits::default(), shared(&server)).await;
    assert_eq!(send(&rig, 2).await.status(), 200);
    assert!(metrics(&rig).await.contains("frazil_proxy_rate_limits_shared 1"));
    let wrong = SharedLimits::at(server.url().replace("hush-redis", "hush-wrong"));
    assert!(!format!("{wrong:?}").contains("hush"));
    let config = ProxyConfig { shared_limits: Some(wrong), ..ProxyConfig::default() };
    let other = limited(events(1, 2), RateLimits::default(), config).await;
    assert_eq!(send(&other, 2).await.status(), 200, "alone");
    let text: Value = refused_text(send(&other, 2).await).await;
    assert!(!text.to_string().contains("hush"), "{text}");
    assert!(metrics(&other).await.contains(r#"outcome="error"} 1"#));
    assert!(!metrics(&other).await.contains("hush"));
    for bad in ["http://redis", "redis://", "hush", ""] {
        let config = ProxyConfig { shared_limits: Some(SharedLimits::at(bad)), ..ProxyConfig::default() };
        let error = config.validate().expect_err(bad);
        assert_eq!(error.setting, "rate_limits.redis");
        assert!(!error.to_string().contains("hush"), "{error}");
    }
}

async fn refused_text(response: Response) -> Value {
    problem(response, 429, "TOO_MANY_REQUESTS").await
}
