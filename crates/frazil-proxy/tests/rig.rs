//! A proxy on port 0, a client, and the fakes behind it.

use std::sync::Arc;

use frazil_core::checkpoint::Incarnation;
use frazil_core::idempotency::DedupeWindow;
use frazil_core::mapping::MappingPolicy;
use frazil_core::policy::{OnInvalid, TablePolicy};
use frazil_core::rate::RateLimits;
use frazil_core::receipt::Receipt;
use frazil_core::routing::Routing;
use frazil_core::schema::{Field, Schema, Type};
use frazil_core::stream::{CommitNotice, OnMissingTable, StreamDefinition};
use frazil_core::token::{Pattern, Token, TokenRecord};
use frazil_core::{Shard, TableName};
use frazil_log::Directory;
use frazil_proxy::publish::memory::MemoryLog;
use frazil_proxy::tables::memory::MemoryTables;
use frazil_proxy::{DrainTimeout, Proxy, ProxyConfig};
use prometheus_client::registry::Registry;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) struct Rig {
    pub(crate) url: String,
    pub(crate) log: MemoryLog,
    pub(crate) tables: MemoryTables,
    pub(crate) client: Client,
    pub(crate) cancel: CancellationToken,
    pub(crate) server: JoinSet<Result<(), DrainTimeout>>,
}

/// Streams: `sales` (one shard, default table `lake.web.clicks`), `open` (creates tables, three shards), `hidden`;
/// `routed` (by the field `type` into some tables of `lake.web`), `letters` (default table `lake.web.clicks`, takes
/// invalid events), `mixed` (both of these, creates tables), `folded` (routed, without regard to case), `anywhere` (routed
/// by `namespace` and `type`).
/// Tokens: [`token`] for all but `hidden` and for the tables of `lake.web`; [`expired`].
/// Table: `lake.web.clicks` (id long required, name string, price double; system columns).
impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(ProxyConfig::default()).await
    }

    pub(crate) async fn with(config: ProxyConfig) -> Self {
        Self::of(config, streams(), vec![record(&token_of(1), None), record(&token_of(2), Some(1))]).await
    }

    /// A proxy with these streams and tokens instead.
    pub(crate) async fn of(config: ProxyConfig, streams: Vec<StreamDefinition>, records: Vec<TokenRecord>) -> Self {
        let (log, tables) = (MemoryLog::default(), MemoryTables::new("lake"));
        tables.put(&clicks(), clicks_schema());
        for shard in streams.iter().flat_map(StreamDefinition::all_shards) {
            log.recreate(&shard);
        }
        Self::on(config, log, tables, streams, records).await
    }

    /// `kill -9` of the proxy, and another one on the same log and catalog.
    pub(crate) async fn killed(mut self, config: ProxyConfig) -> Self {
        self.server.shutdown().await;
        let records = vec![record(&token_of(1), None), record(&token_of(2), Some(1))];
        Self::on(config, self.log.clone(), self.tables.clone(), streams(), records).await
    }

    async fn on(
        config: ProxyConfig,
        log: MemoryLog,
        tables: MemoryTables,
        streams: Vec<StreamDefinition>,
        records: Vec<TokenRecord>,
    ) -> Self {
        let directory = Directory::fixed(streams, records);
        let mut registry = Registry::default();
        let fake = (Arc::new(log.clone()), Arc::new(tables.clone()));
        let proxy = Proxy::with(config, fake.0, directory, fake.1, &mut registry).expect("a valid configuration");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (cancel, mut server) = (CancellationToken::new(), JoinSet::new());
        let stop = cancel.clone();
        server.spawn(async move { proxy.serve(listener, Arc::new(registry), stop).await });
        let client = Client::builder().no_proxy().build().expect("a client");
        Self { url, log, tables, client, cancel, server }
    }

    /// A request to the native route of `sales`, with a valid token.
    pub(crate) fn events(&self, query: &str) -> RequestBuilder {
        self.post(&format!("/v1/streams/sales/events{query}"))
    }

    /// A request to the IOMETE route of `sales`, complete but for its body.
    pub(crate) fn iomete(&self) -> RequestBuilder {
        let path = "/data-plane/spark/event-stream/sales/ingest";
        self.client
            .post(format!("{}{path}", self.url))
            .header("authorization", token())
            .header("table", "lake.web.clicks")
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url)).bearer_auth(token())
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url)).bearer_auth(token())
    }

    pub(crate) fn commit(&self, receipt: &Receipt, snapshot_id: i64) {
        let notice = CommitNotice {
            table: receipt.table.clone(),
            incarnation: receipt.incarnation,
            sequence: receipt.last,
            snapshot_id,
        };
        self.log.announce(&receipt.shard, notice);
    }

    /// The value of a line of `/metrics`; nothing if there is no such line.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.get("/metrics").send().await.expect("sent").text().await.expect("text");
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        text.lines().find_map(value)
    }

    /// Returns once a line of `/metrics` has this value; the absent one counts as zero.
    pub(crate) async fn until_metric(&self, name: &str, expected: f64) {
        while self.metric(name).await.unwrap_or_default() != expected {
            tokio::task::yield_now().await;
        }
    }

    /// The events of a shard that a writer would admit, in order: its log without the repeats of keyed requests.
    pub(crate) fn admitted(&self, shard: &Shard) -> Vec<String> {
        let mut window = DedupeWindow::new(i64::MAX, 10_000);
        let mut admitted = Vec::new();
        for (sequence, section) in self.log.sections(shard) {
            let range = section.header.keyed_range();
            let repeats = range.map_or(0, |range| window.observe(range, sequence, 0));
            let lines = section.lines().skip(repeats as usize);
            admitted.extend(lines.map(|line| String::from_utf8(line.to_vec()).expect("JSON")));
        }
        admitted
    }

    /// Stops the proxy and returns how its drain ended.
    pub(crate) async fn stop(mut self) -> Result<(), DrainTimeout> {
        self.cancel.cancel();
        self.server.join_next().await.expect("one server").expect("no panic")
    }
}

pub(crate) fn shard(stream: &str, index: u32) -> Shard {
    Shard::new(stream.parse().expect("valid"), index)
}

pub(crate) fn clicks() -> TableName {
    "lake.web.clicks".parse().expect("valid")
}

pub(crate) fn clicks_schema() -> Schema {
    let fields = vec![
        Field::required(1, "id", Type::Long),
        Field::optional(2, "name", Type::String),
        Field::optional(3, "price", Type::Double),
    ];
    Schema::new(fields).with_system_columns()
}

fn streams() -> Vec<StreamDefinition> {
    let named = |name: &str| StreamDefinition::new(name.parse().expect("valid"), 1);
    vec![
        StreamDefinition { default_table: Some(clicks()), ..named("sales") },
        StreamDefinition { on_missing_table: OnMissingTable::Create, shards: 3, ..named("open") },
        named("hidden"),
        StreamDefinition { routing: Some(by_type()), ..named("routed") },
        StreamDefinition {
            routing: Some(Routing { table: "{namespace}.{type}".to_owned(), allow: Vec::new(), fallback: None }),
            ..named("anywhere")
        },
        StreamDefinition { default_table: Some(clicks()), policy: taking_invalid(), ..named("letters") },
        StreamDefinition {
            routing: Some(by_type()),
            policy: taking_invalid(),
            on_missing_table: OnMissingTable::Create,
            ..named("mixed")
        },
        StreamDefinition {
            routing: Some(Routing { table: "WEB.{type}".to_owned(), allow: Vec::new(), fallback: Some(clicks()) }),
            policy: TablePolicy {
                mapping: MappingPolicy { case_insensitive: true, ..MappingPolicy::default() },
                ..TablePolicy::default()
            },
            ..named("folded")
        },
    ]
}

fn by_type() -> Routing {
    let allow = ["lake.web.c*", "lake.web.t*", "lake.web.new*"].map(|pattern| Pattern(pattern.to_owned())).to_vec();
    Routing { table: "web.{type}".to_owned(), allow, fallback: None }
}

fn taking_invalid() -> TablePolicy {
    TablePolicy { on_invalid: OnInvalid::DeadLetter, ..TablePolicy::default() }
}

pub(crate) fn token_of(id: u8) -> Token {
    Token::from_random([id; 6], [id; 32])
}

pub(crate) fn token() -> String {
    token_of(1).reveal()
}

pub(crate) fn expired() -> String {
    token_of(2).reveal()
}

pub(crate) fn record(token: &Token, expires: Option<i64>) -> TokenRecord {
    let patterns = |patterns: &[&str]| patterns.iter().map(|pattern| Pattern((*pattern).to_owned())).collect();
    TokenRecord {
        id: token.id().to_owned(),
        name: "test".to_owned(),
        hash: token.hash(),
        streams: patterns(&["sales", "open", "gone", "routed", "letters", "mixed", "folded", "anywhere"]),
        tables: patterns(&["lake.web.*", "elsewhere.*"]),
        created: 0,
        expires,
        limits: RateLimits::default(),
    }
}

/// The problem document of a refusal, after checking what all of them have in common.
pub(crate) async fn problem(response: Response, status: u16, code: &str) -> Value {
    let found = response.status();
    let headers = response.headers().clone();
    let text = response.text().await.expect("a body");
    assert_eq!(found, StatusCode::from_u16(status).expect("a status"), "{text}");
    let header = |name: &str| headers.get(name).map(|value| value.to_str().expect("ASCII"));
    assert_eq!(header("content-type"), Some("application/problem+json"), "{text}");
    assert_eq!(header("retry-after").is_some(), matches!(status, 429 | 503), "{text}");
    assert_eq!(header("www-authenticate"), (status == 401).then_some("Bearer"), "{text}");
    let problem: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(problem["code"], code, "{text}");
    assert_eq!(problem["status"], status, "{text}");
    assert_eq!(problem["accepted"], 0, "{text}");
    for member in ["type", "title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{text}");
    }
    problem
}

/// The body of an accepted request, and its receipt.
pub(crate) async fn accepted(response: Response, events: u64) -> (Value, Receipt) {
    let status = response.status();
    let header = response.headers().get("frazil-receipt").map(|value| value.to_str().expect("ASCII").to_owned());
    let text = response.text().await.expect("a body");
    assert_eq!(status, StatusCode::OK, "{text}");
    let body: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(body["accepted"], events, "{text}");
    assert_eq!(body["receipt"].as_str(), header.as_deref());
    let receipt: Receipt = header.expect("a receipt").parse().expect("a receipt");
    assert_eq!(receipt.incarnation, Incarnation(1));
    (body, receipt)
}

/// The body of an accepted request, however many tables it is for.
pub(crate) async fn success(response: Response) -> Value {
    let status = response.status();
    let text = response.text().await.expect("a body");
    assert_eq!(status, StatusCode::OK, "{text}");
    serde_json::from_str(&text).expect("JSON")
}
