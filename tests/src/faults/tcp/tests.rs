use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{MAX_CONNECTIONS, Wire, WireFault};
use crate::until;

const LIMIT: Duration = Duration::from_secs(20);
/// Long enough to see that nothing comes on a busy machine: what should not pass would be here in microseconds.
const QUIET: Duration = Duration::from_millis(150);

/// A server that sends back what it gets, and ends its side when the client has ended.
struct Echo {
    addr: SocketAddr,
    received: Arc<AtomicU64>,
    _server: JoinSet<()>,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, received) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
        let (count, mut server) = (Arc::clone(&received), JoinSet::new());
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(echo(stream, Arc::clone(&count)));
            }
        });
        Self { addr, received, _server: server }
    }

    async fn has_received(&self, bytes: u64) {
        until("the server's bytes", LIMIT, || async { (self.received.load(Ordering::SeqCst) == bytes).then_some(()) })
            .await;
    }
}

async fn echo(mut stream: TcpStream, received: Arc<AtomicU64>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        received.fetch_add(count as u64, Ordering::SeqCst);
        if stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn start() -> (Echo, Wire) {
    let echo = Echo::start().await;
    let wire = Wire::start(echo.addr);
    (echo, wire)
}

async fn connect(wire: &Wire) -> TcpStream {
    TcpStream::connect(wire.addr()).await.unwrap()
}

async fn ask(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    answered(stream, text).await;
}

async fn answered(stream: &mut TcpStream, text: &str) {
    let mut answer = vec![0; text.len()];
    tokio::time::timeout(LIMIT, stream.read_exact(&mut answer)).await.expect("an answer").unwrap();
    assert_eq!(answer, text.as_bytes());
}

async fn is_quiet(stream: &mut TcpStream) {
    let read = tokio::time::timeout(QUIET, stream.read(&mut [0; 1])).await;
    assert!(read.is_err(), "something came: {read:?}");
}

async fn is_reset(stream: &mut TcpStream) {
    let read = tokio::time::timeout(LIMIT, stream.read(&mut [0; 1])).await.expect("the connection ends");
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn bytes_pass_as_they_are_and_each_direction_ends_alone() {
    let (echo, wire) = start().await;
    let data: Vec<u8> = (0..8_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut reader, mut writer) = connect(&wire).await.into_split();
    let (sent, mut back) = (data.clone(), Vec::new());
    let mut sender = JoinSet::new();
    sender.spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    // The end of our direction has reached the server before its last bytes come back.
    reader.read_to_end(&mut back).await.unwrap();
    assert!(back == data, "{} bytes came back of {}", back.len(), data.len());
    echo.has_received(data.len() as u64).await;
    let counts = wire.counts();
    assert_eq!((counts.accepted, counts.up, counts.down, counts.swallowed), (1, 8_000_000, 8_000_000, 0));
    until("the connection's end", LIMIT, || async { (wire.counts().open == 0).then_some(()) }).await;
}

#[tokio::test]
async fn a_wire_that_refuses_listens_again_on_the_same_port() {
    let (_echo, wire) = start().await;
    let mut open = connect(&wire).await;
    ask(&mut open, "before").await;
    wire.set(WireFault::Refuse);
    is_reset(&mut open).await;
    let refused = || async { TcpStream::connect(wire.addr()).await.err() };
    let error = until("a refusal", LIMIT, refused).await;
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    wire.heal();
    let mut again = until("the port", LIMIT, || async { TcpStream::connect(wire.addr()).await.ok() }).await;
    ask(&mut again, "after").await;
}

#[tokio::test]
async fn resets_reach_open_and_new_connections() {
    let (_echo, wire) = start().await;
    let mut open = connect(&wire).await;
    ask(&mut open, "before").await;
    wire.set(WireFault::Reset);
    is_reset(&mut open).await;
    is_reset(&mut connect(&wire).await).await;
    wire.heal();
    ask(&mut connect(&wire).await, "after").await;
}

#[tokio::test]
async fn a_cut_ends_what_is_open_and_nothing_else() {
    let (_echo, wire) = start().await;
    let mut used = connect(&wire).await;
    ask(&mut used, "before").await;
    let mut fresh = connect(&wire).await;
    wire.cut();
    is_reset(&mut used).await;
    is_reset(&mut fresh).await;
    ask(&mut connect(&wire).await, "after").await;
}

#[tokio::test]
async fn a_reset_of_the_server_is_a_reset_for_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wire = Wire::start(listener.local_addr().unwrap());
    let mut client = connect(&wire).await;
    let (server, _) = listener.accept().await.unwrap();
    server.set_zero_linger().unwrap();
    drop(server);
    is_reset(&mut client).await;
    // And nobody there at all.
    drop(listener);
    is_reset(&mut connect(&wire).await).await;
}

#[tokio::test]
async fn in_a_black_hole_connections_live_and_nothing_passes() {
    let (echo, wire) = start().await;
    let mut open = connect(&wire).await;
    ask(&mut open, "before").await;
    wire.set(WireFault::BlackHole);
    let mut fresh = connect(&wire).await;
    open.write_all(b"held").await.unwrap();
    fresh.write_all(b"too").await.unwrap();
    is_quiet(&mut open).await;
    is_quiet(&mut fresh).await;
    assert_eq!(echo.received.load(Ordering::SeqCst), 6);
    wire.heal();
    answered(&mut open, "held").await;
    answered(&mut fresh, "too").await;
}

#[tokio::test]
async fn a_delay_is_added_to_each_direction_and_bytes_overlap() {
    let (_echo, wire) = start().await;
    let each_way = Duration::from_millis(200);
    wire.set(WireFault::Delay { each_way });
    let (mut stream, started) = (connect(&wire).await, Instant::now());
    for word in ["one ", "two ", "three"] {
        stream.write_all(word.as_bytes()).await.unwrap();
    }
    answered(&mut stream, "one two three").await;
    let took = started.elapsed();
    assert!(took >= each_way * 2, "{took:?}");
    // A wire that waits for each write before it reads the next would take three times as long.
    assert!(took < each_way * 6, "{took:?}");
    let started = Instant::now();
    stream.write_all(b"late").await.unwrap();
    wire.heal();
    answered(&mut stream, "late").await;
    assert!(started.elapsed() < each_way * 2, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_throttle_holds_for_all_connections_together() {
    let (_echo, wire) = start().await;
    wire.set(WireFault::Throttle { bytes_per_second: 200_000 });
    let (started, mut clients) = (Instant::now(), JoinSet::new());
    for client in 0..4_u8 {
        let mut stream = connect(&wire).await;
        clients.spawn(async move {
            let (data, mut back) = (vec![client; 50_000], vec![0; 50_000]);
            stream.write_all(&data).await.unwrap();
            stream.read_exact(&mut back).await.unwrap();
            assert!(back == data);
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    let took = started.elapsed();
    // 200,000 bytes less the burst; not below, and not twice as slow because there are two directions.
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn lost_answers_are_of_work_that_was_done() {
    let (echo, wire) = start().await;
    let mut open = connect(&wire).await;
    ask(&mut open, "before").await;
    wire.set(WireFault::LoseAnswers);
    let mut fresh = connect(&wire).await;
    open.write_all(b"done").await.unwrap();
    fresh.write_all(b"done too").await.unwrap();
    echo.has_received(6 + 4 + 8).await;
    is_quiet(&mut open).await;
    is_quiet(&mut fresh).await;
    until("both answers", LIMIT, || async { (wire.counts().swallowed == 12).then_some(()) }).await;
    // A stream with a hole never goes on.
    wire.heal();
    is_reset(&mut open).await;
    is_reset(&mut fresh).await;
    ask(&mut connect(&wire).await, "after").await;
}

#[tokio::test]
async fn lost_requests_are_of_work_that_was_not_done() {
    let (echo, wire) = start().await;
    let (mut open, mut idle) = (connect(&wire).await, connect(&wire).await);
    ask(&mut open, "before").await;
    wire.set(WireFault::LoseRequests);
    open.write_all(b"lost").await.unwrap();
    is_quiet(&mut open).await;
    assert_eq!(echo.received.load(Ordering::SeqCst), 6);
    wire.heal();
    is_reset(&mut open).await;
    // Nothing of this one was lost.
    ask(&mut idle, "after").await;
}

#[tokio::test]
async fn one_slow_reader_costs_a_bounded_buffer_and_nobody_else() {
    let (echo, wire) = start().await;
    let mut lazy = connect(&wire).await;
    let mut sent = 0;
    let data = vec![1; 256 * 1024];
    // The client never reads: sooner or later everything between it and itself is full.
    while let Ok(written) = tokio::time::timeout(Duration::from_secs(1), lazy.write(&data)).await {
        sent += written.unwrap();
        assert!(sent < 256 << 20, "somebody buffers without a bound");
    }
    let before = echo.received.load(Ordering::SeqCst);
    ask(&mut connect(&wire).await, "others").await;
    assert_eq!(echo.received.load(Ordering::SeqCst), before + 6);
    assert!(wire.counts().open as usize <= MAX_CONNECTIONS);
}
