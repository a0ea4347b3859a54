//! Clients that send too slowly, take nothing, or only sit there: each is cut off by a limit with a name, and nobody else
//! notices.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use frazil_proxy::ProxyConfig;
use futures::FutureExt;
use http_body_util::BodyExt;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::rig::{Rig, accepted, token};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

fn address(rig: &Rig) -> SocketAddr {
    rig.url.strip_prefix("http://").expect("a URL").parse().expect("an address")
}

async fn tcp(rig: &Rig) -> TcpStream {
    TcpStream::connect(address(rig)).await.expect("the proxy listens")
}

/// Reads until the proxy hangs up, by closing or by resetting.
async fn until_hung_up(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

/// An HTTP/2 connection that lets an answer have so many bytes ahead; its end is the end of the set.
async fn http2(rig: &Rig, window: u32) -> (SendRequest<Body>, JoinSet<()>) {
    let mut http2 = Builder::new(TokioExecutor::new());
    http2.initial_stream_window_size(window);
    let (sender, connection) = http2.handshake(TokioIo::new(tcp(rig).await)).await.expect("HTTP/2");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    (sender, tasks)
}

fn cut(reason: &str) -> String {
    format!("frazil_proxy_connections_cut_total{{reason=\"{reason}\"}}")
}

/// The proxy is well: it takes events, and holds nothing for those who are gone.
async fn well(rig: &Rig) {
    accepted(rig.events("").body(r#"{"id":1}"#).send().await.expect("answered"), 1).await;
    rig.until_metric("frazil_proxy_in_flight_requests", 0.0).await;
    assert_eq!(rig.metric("frazil_proxy_in_flight_bytes").await, Some(0.0));
}

#[tokio::test]
async fn a_head_that_drips_is_cut_off_at_its_limit() {
    let limit = Duration::from_millis(300);
    let rig = Rig::with(ProxyConfig { header_timeout: limit, ..ProxyConfig::default() }).await;
    for head in [&b"POST /v1/streams/sales/events HTTP/1.1\r\nhost: a\r\nx: "[..], PREFACE] {
        let (begun, mut stream) = (Instant::now(), tcp(&rig).await);
        let (mut reader, mut writer) = stream.split();
        let drip = async {
            for byte in head.iter().chain([b'y'].iter().cycle()) {
                if writer.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(limit / 10).await;
            }
        };
        let hung_up = async {
            let mut buffer = [0; 1024];
            while reader.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        };
        tokio::select! {
            () = drip => {}
            () = hung_up => {}
        }
        assert!(begun.elapsed() >= limit && begun.elapsed() < limit * 20, "{:?}", begun.elapsed());
    }
    well(&rig).await;
}

#[tokio::test]
async fn a_body_that_drips_is_cut_off_at_its_limit_and_gives_its_permit_back() {
    let rig = Rig::with(ProxyConfig { body_timeout: Duration::from_millis(200), ..ProxyConfig::default() }).await;
    let mut stream = tcp(&rig).await;
    let head = format!(
        "POST /v1/streams/sales/events HTTP/1.1\r\nhost: a\r\nauthorization: {}\r\ncontent-length: 1000\r\n\r\n{{",
        token()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    rig.until_metric("frazil_proxy_in_flight_requests", 1.0).await;
    let (mut reader, mut writer) = stream.split();
    let drip = async {
        while writer.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::future::pending().await
    };
    let mut answer = [0; 12];
    tokio::select! {
        read = reader.read_exact(&mut answer) => drop(read.expect("an answer")),
        () = drip => {}
    }
    assert_eq!(&answer, b"HTTP/1.1 408");
    well(&rig).await;
}

#[tokio::test]
async fn http_1_requests_without_end_whose_answers_nobody_reads() {
    let rig = Rig::with(ProxyConfig { write_timeout: Duration::from_millis(300), ..ProxyConfig::default() }).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a size");
    let mut stream = socket.connect(address(&rig)).await.expect("the proxy listens");
    let request = b"GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n";
    // Until the proxy takes no more, since it cannot answer; and then until it has hung up.
    while stream.write_all(request).await.is_ok() {}
    rig.until_metric(&cut("write_timeout"), 1.0).await;
    rig.until_metric("frazil_proxy_connections", 1.0).await;
    well(&rig).await;
}

#[tokio::test]
async fn an_http_2_answer_that_flow_control_holds_back() {
    let rig = Rig::with(ProxyConfig { write_timeout: Duration::from_millis(300), ..ProxyConfig::default() }).await;
    for window in [0, 1, 5000] {
        let before = rig.metric(&cut("untaken")).await.unwrap_or_default();
        let (mut sender, mut tasks) = http2(&rig, window).await;
        let request = Request::get(format!("{}/openapi.json", rig.url)).body(Body::empty()).expect("a request");
        let answer = sender.send_request(request).await.expect("the head needs no window");
        // The body is neither read nor dropped: the connection itself is fine.
        tasks.join_next().await.expect("a connection").expect("no panic");
        drop(answer);
        assert_eq!(rig.metric(&cut("untaken")).await, Some(before + 1.0), "window {window}");
    }
    well(&rig).await;
}

#[tokio::test]
async fn an_answer_taken_slowly_but_steadily_is_finished() {
    let rig = Rig::with(ProxyConfig { write_timeout: Duration::from_secs(2), ..ProxyConfig::default() }).await;
    let (mut sender, _tasks) = http2(&rig, 8192).await;
    let request = Request::get(format!("{}/openapi.json", rig.url)).body(Body::empty()).expect("a request");
    let mut answer = sender.send_request(request).await.expect("answered");
    let mut bytes = 0;
    while let Some(frame) = answer.frame().await {
        bytes += frame.expect("no error").data_ref().map_or(0, |data| data.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(bytes > 2 * 8192, "{bytes}: the window has to be opened again and again");
    assert_eq!(rig.metric(&cut("untaken")).await, None);
}

#[tokio::test]
async fn an_http_2_connection_without_requests_is_told_to_go() {
    let rig = Rig::with(ProxyConfig { idle_timeout: Duration::from_millis(200), ..ProxyConfig::default() }).await;
    let (mut sender, mut tasks) = http2(&rig, 65_535).await;
    let request = Request::get(format!("{}/livez", rig.url)).body(Body::empty()).expect("a request");
    let answer = sender.send_request(request).await.expect("answered").into_body();
    answer.collect().await.expect("a whole body");
    tasks.join_next().await.expect("a connection").expect("it ends well");
    assert_eq!(rig.metric(&cut("idle")).await, Some(1.0));
    well(&rig).await;
}

#[tokio::test]
async fn an_idle_http_1_connection_is_closed_at_the_limit_of_its_next_head() {
    let rig = Rig::with(ProxyConfig { header_timeout: Duration::from_millis(200), ..ProxyConfig::default() }).await;
    let mut stream = tcp(&rig).await;
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
    until_hung_up(&mut stream).await;
    well(&rig).await;
}

#[tokio::test]
async fn an_http_2_client_that_gives_no_sign_of_life() {
    let (ping_interval, ping_timeout) = (Duration::from_millis(100), Duration::from_millis(200));
    let rig = Rig::with(ProxyConfig { ping_interval, ping_timeout, ..ProxyConfig::default() }).await;
    let mut dead = tcp(&rig).await;
    dead.write_all(PREFACE).await.expect("sent");
    dead.write_all(EMPTY_SETTINGS).await.expect("sent");
    // Another one, whose client answers pings, outlives it.
    let (mut sender, _tasks) = http2(&rig, 65_535).await;
    until_hung_up(&mut dead).await;
    let request = Request::get(format!("{}/livez", rig.url)).body(Body::empty()).expect("a request");
    assert_eq!(sender.send_request(request).await.expect("answered").status(), 200);
}

#[tokio::test]
async fn rapid_reset() {
    let rig = Rig::start().await;
    let (mut sender, mut tasks) = http2(&rig, 65_535).await;
    let mut sent = 0;
    while tasks.try_join_next().is_none() && sent < 20_000 {
        let request = Request::post(format!("{}/frazil.v1.Ingest/Ingest", rig.url));
        let request = request.header("content-type", "application/grpc").header("authorization", token());
        let request = request.header("te", "trailers").body(Body::empty()).expect("a request");
        // Begun, and taken back at once.
        if sender.ready().await.is_err() || matches!(sender.send_request(request).now_or_never(), Some(Err(_))) {
            break;
        }
        sent += 1;
        if sent % 16 == 0 {
            tokio::task::yield_now().await;
        }
    }
    drop(sender);
    rig.until_metric("frazil_proxy_in_flight_requests", 0.0).await;
    well(&rig).await;
}

#[tokio::test]
async fn a_thousand_connections_that_say_nothing_keep_nobody_out() {
    let rig = Rig::with(ProxyConfig { header_timeout: Duration::from_secs(2), ..ProxyConfig::default() }).await;
    let mut silent = Vec::new();
    for number in 0..1000 {
        let mut stream = tcp(&rig).await;
        let begun = [&b""[..], b"POST / HT", PREFACE][number % 3];
        stream.write_all(begun).await.expect("sent");
        silent.push(stream);
    }
    accepted(rig.events("").body(r#"{"id":1}"#).send().await.expect("answered"), 1).await;
    // Those that have not said enough are closed; those that speak HTTP/2 are idle.
    for (number, stream) in silent.iter_mut().enumerate().filter(|(number, _)| number % 3 < 2) {
        until_hung_up(stream).await;
        assert!(number < 1000);
    }
    well(&rig).await;
}
