//! Too much, too slow, too full: acknowledgements stay honest, memory stays bounded, advice is true, and everything
//! recovers by itself.
//!
//! `FRAZIL_OVERLOAD_SECONDS` says for how long each overload lasts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use frazil_tests::cluster::{Cluster, Options};
use frazil_tests::faults::{Front, HttpFault, Wire, WireFault};
use frazil_tests::lake::Engine;
use frazil_tests::role::{Role, answer, nats_address};
use frazil_tests::until;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const LIMIT: Duration = Duration::from_secs(120);

/// Memory of a process beyond what its limits bound, in bytes: the program, its connections, its buffers.
const BEYOND: u64 = 160 << 20;

const EVENTS_PER_REQUEST: u64 = 100;

fn seconds() -> u64 {
    std::env::var("FRAZIL_OVERLOAD_SECONDS").map_or(10, |text| text.parse().expect("a number of seconds"))
}

/// What a crowd of clients that send as fast as they can was told.
#[derive(Debug, Default)]
struct Told {
    acked: AtomicU64,
    /// Sum of the ids of all acknowledged events.
    ids: AtomicU64,
    refused: AtomicU64,
    /// The advice that was given last, in seconds.
    advice: AtomicU64,
}

/// A crowd: each request has ids of its own, and is sent again, with its key, only if its outcome is unknown.
#[derive(Clone)]
struct Crowd {
    client: reqwest::Client,
    url: String,
    token: String,
    table: &'static str,
    next: Arc<AtomicU64>,
    told: Arc<Told>,
}

impl Crowd {
    fn new(cluster: &Cluster, url: &str, stream: &str, table: &'static str) -> Self {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().expect("client builds");
        let (url, token) = (format!("{url}/v1/streams/{stream}/events"), cluster.api.token.clone());
        Self { client, url, token, table, next: Arc::default(), told: Arc::default() }
    }

    /// Sends one request until its outcome is known; returns its status.
    async fn send(&self) -> u16 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let ids = number * EVENTS_PER_REQUEST..(number + 1) * EVENTS_PER_REQUEST;
        let body: String =
            ids.clone().map(|id| format!("{{\"id\":{id},\"text\":\"{}\"}}\n", "x".repeat(110))).collect();
        loop {
            let request = self.client.post(&self.url).bearer_auth(&self.token).header("table", self.table);
            let request = request.header("idempotency-key", format!("request-{number}")).body(body.clone());
            let Ok(response) = request.send().await else { continue };
            let advice = response.headers().get("retry-after").map(|value| value.to_str().expect("ASCII").to_owned());
            let (status, told) = answer(response).await;
            match status {
                200 => {
                    self.told.acked.fetch_add(EVENTS_PER_REQUEST, Ordering::Relaxed);
                    self.told.ids.fetch_add(ids.sum(), Ordering::Relaxed);
                }
                429 => {
                    let advice: u64 = advice.expect("Retry-After").parse().expect("seconds");
                    assert!((1..=60).contains(&advice), "{advice}");
                    self.told.advice.store(advice, Ordering::Relaxed);
                    self.told.refused.fetch_add(1, Ordering::Relaxed);
                }
                503 if told["type"] == "urn:frazil:problem:outcome-unknown" => continue,
                503 => {}
                _ => panic!("{status}: {told}"),
            }
            return status;
        }
    }

    /// So many clients at once, for so long.
    async fn rush(&self, clients: usize, time: Duration) {
        let stop = Arc::new(AtomicBool::new(false));
        let mut crowd = JoinSet::new();
        for _ in 0..clients {
            let (one, stop) = (self.clone(), Arc::clone(&stop));
            crowd.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    one.send().await;
                }
            });
        }
        tokio::time::sleep(time).await;
        stop.store(true, Ordering::Relaxed);
        crowd.join_all().await;
    }

    /// After the advised time there is room.
    async fn heeds_advice(&self) {
        let advice = self.told.advice.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(advice)).await;
        assert_eq!(self.send().await, 200, "after the advised {advice} s");
    }

    /// Exactly the acknowledged events are in the table, each once.
    async fn is_honest(&self, cluster: &Cluster) {
        let (acked, ids) = (self.told.acked.load(Ordering::Relaxed), self.told.ids.load(Ordering::Relaxed));
        let profile = || async {
            let profile = cluster.lake.profile(Engine::DuckDb, self.table, &["id"]).await;
            (profile.rows.unwrap_or_default() >= acked).then_some(profile)
        };
        let profile = until("every acknowledged event to be visible", LIMIT, profile).await;
        let column = &profile.columns["id"];
        assert_eq!((profile.rows, column.count, column.distinct), (Some(acked), acked, acked));
        assert_eq!(column.sum, Some(ids as f64), "other events than those acknowledged");
    }
}

fn within(role: &Role, bound: u64) {
    let peak = role.peak_bytes();
    println!("peak memory {} MiB of {} MiB", peak >> 20, bound >> 20);
    assert!(peak <= bound, "{} MiB", peak >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_times_the_sustainable_rate() {
    const CLIENTS: usize = 300;
    const IN_FLIGHT: u64 = 8 << 20;
    let cluster = Cluster::start(Options::default()).await;
    // The log takes some 20 requests a second; the crowd sends thousands.
    let wire = Wire::start(nats_address(&cluster));
    let servers = format!("[\"nats://{}\"]", wire.addr());
    let settings =
        [("nats.servers", servers.as_str()), ("max_in_flight", "8MiB"), ("max_requests", "64"), ("body_max", "1MiB")];
    let proxy = Role::proxy(&cluster, &settings).await;
    let crowd = Crowd::new(&cluster, &proxy.url, "default", "e2e.rush");
    assert_eq!(crowd.send().await, 200, "the table is made before the rush");
    wire.set(WireFault::Throttle { bytes_per_second: 300_000 });
    let before = crowd.told.acked.load(Ordering::Relaxed);
    let time = Duration::from_secs(seconds());
    let begun = Instant::now();
    let rush = crowd.rush(CLIENTS, time);
    let watch = async {
        let note = || async { proxy.readiness().await.filter(|(_, text)| text.contains("at the limit of")) };
        let (status, text) = until("the proxy to say that it is full", LIMIT, note).await;
        assert_eq!(status, 200, "it does what it can, so it stays behind its load balancer: {text}");
    };
    tokio::join!(rush, watch);
    let took = begun.elapsed().as_secs_f64();
    let (acked, refused) =
        (crowd.told.acked.load(Ordering::Relaxed) - before, crowd.told.refused.load(Ordering::Relaxed));
    let requests = acked / EVENTS_PER_REQUEST;
    println!(
        "in {took:.0} s {requests} requests were stored and {refused} refused, {} per stored one",
        refused / requests.max(1)
    );
    assert!(requests > 0 && refused > requests * 10, "{requests} stored, {refused} refused: no overload");
    crowd.heeds_advice().await;
    let metrics = proxy.metrics().await.expect("the proxy answers");
    assert_eq!(metrics.sum("frazil_proxy_overloads_total"), Some(refused as f64));
    within(&proxy, 3 * IN_FLIGHT + BEYOND);
    wire.heal();
    crowd.is_honest(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_connections_that_do_nothing_or_too_little() {
    const EACH: usize = 500;
    let cluster = Cluster::start(Options { writers: 0, ..Options::default() }).await;
    let settings = [("header_timeout", "4s"), ("body_timeout", "4s"), ("write_timeout", "4s"), ("idle_timeout", "4s")];
    let proxy = Role::proxy(&cluster, &settings).await;
    let head = format!(
        "POST /v1/streams/default/events HTTP/1.1\r\nhost: a\r\nauthorization: {}\r\ntable: e2e.slow\r\n",
        cluster.api.token
    );
    let body = format!("{head}content-length: 100\r\n\r\n{{");
    let pipelined = "GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n".repeat(40);
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings_frame = "\0\0\0\u{4}\0\0\0\0\0";
    let idle_http_2 = format!("{preface}{settings_frame}");
    let begun = Instant::now();
    let mut connections = Vec::new();
    for said in ["", &head, &body, &preface[..10], &idle_http_2, &pipelined] {
        for _ in 0..EACH {
            let mut connection = TcpStream::connect(proxy.address()).await.expect("the proxy listens");
            connection.write_all(said.as_bytes()).await.expect("the proxy reads");
            connections.push(connection);
        }
    }
    println!("{} connections opened in {:.1} s", connections.len(), begun.elapsed().as_secs_f64());
    let api = proxy.api(&cluster);
    let mut slowest = Duration::ZERO;
    for id in 0..50 {
        let sent = Instant::now();
        api.accept("e2e.honest", &format!("{{\"id\":{id}}}")).await;
        slowest = slowest.max(sent.elapsed());
    }
    println!("the slowest of 50 honest requests took {} ms", slowest.as_millis());
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    // None of them reads what it was sent or hangs up: the proxy has to.
    proxy.until_metric("frazil_proxy_connections", LIMIT, |open| open < 20.0).await;
    let metrics = proxy.metrics().await.expect("the proxy answers");
    assert_eq!(metrics.sum("frazil_proxy_in_flight_requests"), Some(0.0));
    assert_eq!(metrics.sum("frazil_proxy_in_flight_bytes"), Some(0.0));
    println!("{:?}", metrics.of("frazil_proxy_connections_cut_total").collect::<Vec<_>>());
    within(&proxy, 3 * (64 << 20) + BEYOND);
    drop(connections);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_full() {
    let cluster = Cluster::start(Options { writers: 0, ..Options::default() }).await;
    let create = ["stream", "create", "small", "--on-missing-table", "create", "--max-bytes", "16MiB"];
    cluster.frazil(&[&create[..], &["--dedupe-window", "1s"]].concat()).await;
    let proxy = Role::proxy(&cluster, &[]).await;
    let crowd = Crowd::new(&cluster, &proxy.url, "small", "e2e.full");
    while crowd.send().await == 200 {}
    crowd.rush(20, Duration::from_secs(seconds().min(5))).await;
    let stored = crowd.told.acked.load(Ordering::Relaxed);
    let advice = crowd.told.advice.load(Ordering::Relaxed);
    assert!(advice >= 5, "writers free what is committed every ten seconds, but the advice is {advice} s");
    let (status, text) = proxy.readiness().await.expect("the proxy answers");
    assert!(status == 200 && text.contains("the log of small/0 is full"), "{status} {text}");
    let metrics = proxy.metrics().await.expect("the proxy answers");
    let full = metrics.get("frazil_proxy_overloads_total", "reason=\"log_full\"");
    assert_eq!(full, Some(crowd.told.refused.load(Ordering::Relaxed) as f64));

    // Somebody catches up, and it goes on by itself.
    let writer = Role::writer(&cluster, &[("flush_interval", "1s"), ("purge_interval", "2s")]);
    let room = || async { (crowd.send().await == 200).then_some(()) };
    until("room in the log", LIMIT, room).await;
    assert!(crowd.told.acked.load(Ordering::Relaxed) > stored);
    let (status, text) = proxy.readiness().await.expect("the proxy answers");
    assert!(status == 200 && !text.contains("is full"), "{status} {text}");
    writer.until_metric("frazil_writer_lag_messages", LIMIT, |lag| lag == 0.0).await;
    crowd.is_honest(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_hangs_fills_the_writers_memory_and_no_more() {
    const MEMORY: u64 = 16 << 20;
    let cluster = Cluster::start(Options { writers: 0, ..Options::default() }).await;
    let front = Front::start(&cluster.lake.uri).await;
    let memory = MEMORY.to_string();
    let writer =
        Role::writer(&cluster, &[("flush_interval", "1s"), ("memory", &memory), ("catalogs.frazil.uri", &front.url)]);
    let crowd = Crowd::new(&cluster, &cluster.api.url, "default", "e2e.hung");
    assert_eq!(crowd.send().await, 200);
    let committed = "frazil_writer_table_last_commit_timestamp_seconds";
    let first = writer.until_metric(committed, LIMIT, |at| at > 0.0).await;
    writer.until_ready(true, LIMIT).await;

    front.set(HttpFault::Hang { after_work: false });
    while crowd.told.acked.load(Ordering::Relaxed) < 400_000 {
        assert_eq!(crowd.send().await, 200, "the log takes what the writer cannot");
    }
    let reasons = || async {
        let (status, text) = writer.readiness().await?;
        let said = text.contains("table frazil.e2e.hung") && text.contains(": no answer for more than 10 s to: ");
        (status == 503 && said).then_some(text)
    };
    println!("{}", until("the writer to say what it waits for", LIMIT, reasons).await);
    let acked = crowd.told.acked.load(Ordering::Relaxed) as f64;
    // The log is asked every few seconds how far it goes; what is not read is estimated.
    let near = |events: f64| events > acked * 0.9 && events < acked * 1.1;
    writer.until_metric("frazil_writer_lag_events", LIMIT, near).await;
    // The readiness counts from the first try to take events in, these from the events' own times.
    writer.until_metric("frazil_writer_lag_seconds", LIMIT, |seconds| seconds > 10.0).await;
    writer.until_metric("frazil_writer_table_oldest_uncommitted_seconds", LIMIT, |seconds| seconds > 10.0).await;
    let metrics = writer.metrics().await.expect("the writer answers");
    let sum = |name: &str| metrics.sum(&format!("frazil_writer_{name}")).unwrap_or_else(|| panic!("no {name}"));
    println!(
        "lag: {} messages, {} events, {} bytes, {:.0} s; of the table {} events, {} bytes, {:.0} s",
        sum("lag_messages"),
        sum("lag_events"),
        sum("lag_bytes"),
        sum("lag_seconds"),
        sum("table_uncommitted_events"),
        sum("table_uncommitted_bytes"),
        sum("table_oldest_uncommitted_seconds"),
    );
    assert!(sum("lag_bytes") > acked * 100.0);
    assert!(sum("table_uncommitted_events") > 0.0 && sum("table_uncommitted_events") < acked);
    assert_eq!(metrics.sum(committed), Some(first), "nothing was committed since");
    within(&writer, MEMORY + BEYOND);

    front.heal();
    writer.until_ready(true, LIMIT).await;
    writer.until_metric("frazil_writer_lag_messages", LIMIT, |lag| lag == 0.0).await;
    crowd.is_honest(&cluster).await;
    within(&writer, MEMORY + BEYOND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_whose_log_does_not_answer_says_so_and_is_ready_again_by_itself() {
    let cluster = Cluster::start(Options { writers: 0, ..Options::default() }).await;
    let wire = Wire::start(nats_address(&cluster));
    let servers = format!("[\"nats://{}\"]", wire.addr());
    let writer = Role::writer(&cluster, &[("nats.servers", &servers), ("flush_interval", "1s")]);
    let answer: Value = cluster.api.commit("e2e.wired", "{\"id\":0}").await;
    assert_eq!(answer["state"], "committed");
    writer.until_ready(true, LIMIT).await;
    wire.set(WireFault::BlackHole);
    let text = writer.until_ready(false, LIMIT).await;
    assert!(text.contains("shard default/"), "{text}");
    wire.heal();
    wire.cut();
    // Although no message comes that would prove it.
    writer.until_ready(true, LIMIT).await;
    cluster.api.commit("e2e.wired", "{\"id\":1}").await;
}
