//! Two catalogs in one deployment, the embedded one and SeaweedFS's own behind OAuth2, with one proxy and one writer. While
//! one of them is away, the other's tables go on, and its own catch up.

use std::path::Path;

use frazil_tests::client::Api;
use frazil_tests::hand::{
    READY, answers, frazil, free_ports, listens, start_nats, start_role, succeeded, token_for_all,
};
use frazil_tests::lake::{Engine, Lake};
use frazil_tests::process::Process;
use frazil_tests::seaweed::{self, Plan};
use tempfile::TempDir;

/// The table that two-part names mean is in the first catalog.
const TABLES: [&str; 3] = ["first.web.clicks", "second.web.clicks", "web.defaulted"];

struct Deployment {
    api: Api,
    first: Lake,
    second: Lake,
    plan: Plan,
    catalog_port: u16,
    catalog: Process,
    weed: Process,
    _roles: [Process; 3],
    // Last, so that the processes end before their folder goes.
    dir: TempDir,
}

impl Deployment {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let plan = Plan::new(dir.path()).with_catalog();
        let weed = start_weed(&plan, dir.path()).await;
        let [nats_port, proxy_port, catalog_port] = free_ports();
        let first = Lake { uri: format!("http://127.0.0.1:{catalog_port}"), properties: Vec::new() };
        let uri = format!("http://127.0.0.1:{}", plan.catalog_port());
        let mut properties = seaweed::properties(&plan.endpoint());
        properties.extend([
            ("warehouse".to_owned(), "s3://tables".to_owned()),
            ("credential".to_owned(), format!("{}:{}", seaweed::ACCESS_KEY, seaweed::SECRET_KEY)),
            ("oauth2-server-uri".to_owned(), format!("{uri}/v1/oauth/tokens")),
        ]);
        let second = Lake { uri, properties };
        let config = configuration(dir.path(), [nats_port, proxy_port, catalog_port], &plan);
        std::fs::write(dir.path().join("frazil.toml"), config).expect("temporary file");
        let nats = start_nats(dir.path(), nats_port, "").await;
        let catalog = start_catalog(dir.path(), catalog_port).await;
        let stream = ["stream", "create", "default", "--shards", "1", "--on-missing-table", "create"];
        succeeded(frazil(dir.path(), "frazil.toml", &stream).await);
        let token = token_for_all(dir.path(), "frazil.toml").await;
        let proxy = start_role(dir.path(), "proxy", &["proxy"], "frazil.toml", &[]);
        answers(&format!("http://127.0.0.1:{proxy_port}/readyz"), &proxy).await;
        let writer =
            start_role(dir.path(), "writer", &["writer", "--ordinal", "0", "--replicas", "1"], "frazil.toml", &[]);
        let api = Api::new(&format!("http://127.0.0.1:{proxy_port}"), &token);
        Self { api, first, second, plan, catalog_port, catalog, weed, _roles: [nats, proxy, writer], dir }
    }

    /// Sends the events `ids` to a table and returns the receipt.
    async fn accept(&self, table: &str, ids: std::ops::Range<u64>) -> String {
        let body: String = ids.map(|id| format!("{{\"id\":{id}}}\n")).collect();
        let answer = self.api.accept(table, &body).await;
        answer["receipt"].as_str().expect("a receipt").to_owned()
    }

    /// Where a table is, and its name there.
    fn lake<'n>(&self, table: &'n str) -> (&Lake, &'n str) {
        match table.split_once('.').expect("two parts or three") {
            ("first", name) => (&self.first, name),
            ("second", name) => (&self.second, name),
            _ => (&self.first, table),
        }
    }

    /// Asserts that a table holds each of the ids `0..total` once and nothing else.
    async fn assert_exactly_once(&self, table: &str, total: u64) {
        let (lake, name) = self.lake(table);
        let profile = lake.profile(Engine::PyIceberg, name, &["id"]).await;
        assert_eq!(profile.rows, Some(total), "rows of {table}");
        let ids = &profile.columns["id"];
        assert_eq!((ids.count, ids.distinct), (total, total), "ids of {table}");
        assert_eq!((&ids.min, &ids.max), (&0.into(), &(total - 1).into()), "ids of {table}");
    }
}

async fn start_weed(plan: &Plan, dir: &Path) -> Process {
    let process = Process::spawn_logged("weed", plan.command(), &dir.join("weed.log"));
    plan.ready(READY).await;
    listens("SeaweedFS's catalog", plan.catalog_port()).await;
    process
}

async fn start_catalog(dir: &Path, port: u16) -> Process {
    let process = start_role(dir, "catalog", &["catalog"], "frazil.toml", &[]);
    answers(&format!("http://127.0.0.1:{port}/v1/config"), &process).await;
    process
}

fn configuration(dir: &Path, [nats, proxy, catalog]: [u16; 3], plan: &Plan) -> String {
    let properties: String =
        seaweed::properties(&plan.endpoint()).iter().map(|(key, value)| format!("\"{key}\" = \"{value}\"\n")).collect();
    format!(
        r#"
default_catalog = "first"

[nats]
servers = ["nats://127.0.0.1:{nats}"]

[proxy]
listen = "127.0.0.1:{proxy}"
# A schema that is known needs no catalog.
table_ttl = "10m"

[writer]
admin_listen = "127.0.0.1:0"
flush_interval = "1s"

[catalog]
listen = "127.0.0.1:{catalog}"
admin_listen = "127.0.0.1:0"
database = "{dir}/catalog.db"
warehouse = "file://{dir}/warehouse"

[catalogs.first]
uri = "http://127.0.0.1:{catalog}"

[catalogs.second]
uri = "http://127.0.0.1:{second}"
warehouse = "s3://tables"
[catalogs.second.auth]
kind = "oauth2"
credential = "{key}:{secret}"
oauth2_server_uri = "http://127.0.0.1:{second}/v1/oauth/tokens"
[catalogs.second.properties]
{properties}"#,
        dir = dir.display(),
        second = plan.catalog_port(),
        key = seaweed::ACCESS_KEY,
        secret = seaweed::SECRET_KEY,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn two_catalogs_do_not_wait_for_each_other() {
    let mut deployment = Deployment::start().await;
    for table in TABLES {
        let receipt = deployment.accept(table, 0..10).await;
        deployment.api.wait_committed(&receipt).await;
    }
    for table in TABLES {
        deployment.assert_exactly_once(table, 10).await;
    }

    // The embedded catalog is away.
    deployment.catalog.kill9().await;
    let mut waiting = Vec::new();
    for table in ["first.web.clicks", "web.defaulted"] {
        waiting.push(deployment.accept(table, 10..20).await);
    }
    let receipt = deployment.accept("second.web.clicks", 10..20).await;
    deployment.api.wait_committed(&receipt).await;
    deployment.assert_exactly_once("second.web.clicks", 20).await;
    deployment.catalog = start_catalog(deployment.dir.path(), deployment.catalog_port).await;
    for receipt in waiting.drain(..) {
        deployment.api.wait_committed(&receipt).await;
    }
    for table in TABLES {
        deployment.assert_exactly_once(table, 20).await;
    }

    // The other one is, with its store.
    deployment.weed.kill9().await;
    let waiting = deployment.accept("second.web.clicks", 20..30).await;
    for table in ["first.web.clicks", "web.defaulted"] {
        let receipt = deployment.accept(table, 20..30).await;
        deployment.api.wait_committed(&receipt).await;
        deployment.assert_exactly_once(table, 30).await;
    }
    deployment.weed = start_weed(&deployment.plan, deployment.dir.path()).await;
    deployment.api.wait_committed(&waiting).await;
    deployment.assert_exactly_once("second.web.clicks", 30).await;
}
