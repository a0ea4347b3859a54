//! The roles of a deployment as processes of their own on this machine: nats-server, catalog, proxy, writers.

mod backup;

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::client::Api;
use crate::hand::{answers, frazil, free_ports, start_nats, start_role, succeeded, token_for_all};
use crate::lake::{Lake, python};
use crate::process::Process;
use crate::seaweed::{self, Seaweed};
use crate::tools;
pub use backup::LogBackup;

/// What a test wants to differ.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Keep the warehouse on a real S3 server instead of a local folder.
    pub s3: bool,
    /// How many writers run from the start; each owns its part of the shards.
    pub writers: u32,
    /// Shards of the stream `default`.
    pub shards: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { s3: false, writers: 1, shards: 2 }
    }
}

/// Ports that every restart of a role uses again.
#[derive(Debug, Clone, Copy)]
struct Ports {
    nats: u16,
    proxy: u16,
    catalog: u16,
}

/// A running deployment with one stream, `default`, that creates missing tables. Dropping it kills all of it.
#[derive(Debug)]
pub struct Cluster {
    /// Client of the proxy.
    pub api: Api,
    /// The catalog as query engines reach it.
    pub lake: Lake,
    ports: Ports,
    nats: Process,
    proxy: Process,
    writers: Vec<Process>,
    _catalog: Process,
    _seaweed: Option<Seaweed>,
    // Last, so that the processes end before their folder goes.
    dir: TempDir,
}

impl Cluster {
    /// Starts every role and waits until the proxy is ready.
    pub async fn start(options: Options) -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let seaweed = if options.s3 { Some(Seaweed::start(dir.path()).await) } else { None };
        let [nats, proxy, catalog] = free_ports();
        let ports = Ports { nats, proxy, catalog };
        let lake = Lake {
            uri: format!("http://127.0.0.1:{catalog}"),
            properties: seaweed.as_ref().map(|store| seaweed::properties(&store.endpoint)).unwrap_or_default(),
        };
        write_config(dir.path(), "frazil.toml", ports, &lake, &lake.uri);
        let nats = start_nats(dir.path(), ports.nats, "").await;
        let catalog = start_catalog(dir.path(), ports).await;
        let shards = options.shards.to_string();
        let stream =
            ["stream", "create", "default", "--shards", &shards, "--on-missing-table", "create", "--max-bytes", "2GiB"];
        run(dir.path(), &stream).await;
        let token = token_for_all(dir.path(), "frazil.toml").await;
        let proxy = start_proxy(dir.path(), ports).await;
        let api = Api::new(&format!("http://127.0.0.1:{}", ports.proxy), &token);
        let writers = Vec::new();
        let mut cluster = Self { api, lake, ports, nats, proxy, writers, _catalog: catalog, _seaweed: seaweed, dir };
        for ordinal in 0..options.writers {
            cluster.writers.push(start_writer(cluster.dir.path(), "frazil.toml", ordinal, options.writers));
        }
        cluster
    }

    /// Starts one more writer, with ordinal 0 like every other: two of them are a zombie pair.
    pub fn add_writer(&mut self) {
        let writer = start_writer(self.dir.path(), "frazil.toml", 0, 1);
        self.writers.push(writer);
    }

    /// Starts a writer that reaches the catalog at another address.
    pub fn start_writer_with_catalog(&mut self, uri: &str) {
        write_config(self.dir.path(), "writer.toml", self.ports, &self.lake, uri);
        let writer = start_writer(self.dir.path(), "writer.toml", 0, 1);
        self.writers.push(writer);
    }

    /// `kill -9` of a writer, then a new one.
    pub async fn crash_writer(&mut self, index: usize) {
        self.writers[index].kill9().await;
        self.writers[index] = start_writer(self.dir.path(), "frazil.toml", 0, 1);
    }

    /// `kill -9` of the proxy, then a new one on the same port.
    pub async fn crash_proxy(&mut self) {
        self.proxy.kill9().await;
        self.proxy = start_proxy(self.dir.path(), self.ports).await;
    }

    /// `kill -9` of nats-server, then a new one on the same store.
    pub async fn crash_nats(&mut self) {
        self.nats.kill9().await;
        self.nats = start_nats(self.dir.path(), self.ports.nats, "").await;
    }

    /// Runs a command of the binary against this deployment and returns what it printed.
    pub async fn frazil(&self, arguments: &[&str]) -> String {
        run(self.dir.path(), arguments).await
    }

    /// Runs a script of `tests/python` against this deployment and returns what it printed.
    pub async fn python(&self, script: &str, arguments: &[&str]) -> String {
        python(script, &self.script_arguments(arguments)).await
    }

    /// The arguments that every script about a deployment takes, and more.
    pub fn script_arguments(&self, more: &[&str]) -> Vec<String> {
        let (frazil, config) = (tools::frazil(), self.dir.path().join("frazil.toml"));
        let path = |path: &Path| path.to_str().expect("temporary folders have plain names").to_owned();
        let own = [
            ("--url", self.api.url.clone()),
            ("--token", self.api.token.clone()),
            ("--catalog", self.lake.uri.clone()),
            ("--frazil", path(&frazil)),
            ("--config", path(&config)),
        ];
        let own = own.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
        own.chain(more.iter().map(|argument| (*argument).to_owned())).collect()
    }

    /// Process id of the proxy.
    pub fn proxy_pid(&self) -> u32 {
        self.proxy.pid()
    }

    /// URI of the local warehouse.
    pub fn warehouse(&self) -> String {
        format!("file://{}", self.dir.path().join("warehouse").display())
    }

    /// `frazil send` with JSON summary.
    pub async fn send(&self, arguments: &[&str]) -> Value {
        let own = ["send", "--json", "--url", &self.api.url, "--token", &self.api.token];
        let text = run(self.dir.path(), &[&own, arguments].concat()).await;
        serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

/// A writer has nobody waiting at its door: it is not waited for.
fn start_writer(dir: &Path, config: &str, ordinal: u32, replicas: u32) -> Process {
    let (ordinal, replicas) = (ordinal.to_string(), replicas.to_string());
    start_role(dir, "writer", &["writer", "--ordinal", &ordinal, "--replicas", &replicas], config, &[])
}

async fn start_proxy(dir: &Path, ports: Ports) -> Process {
    let process = start_role(dir, "proxy", &["proxy"], "frazil.toml", &[]);
    answers(&format!("http://127.0.0.1:{}/readyz", ports.proxy), &process).await;
    process
}

async fn start_catalog(dir: &Path, ports: Ports) -> Process {
    let process = start_role(dir, "catalog", &["catalog"], "frazil.toml", &[]);
    answers(&format!("http://127.0.0.1:{}/v1/config", ports.catalog), &process).await;
    process
}

async fn run(dir: &Path, arguments: &[&str]) -> String {
    succeeded(frazil(dir, "frazil.toml", arguments).await)
}

fn write_config(dir: &Path, file: &str, ports: Ports, lake: &Lake, catalog_uri: &str) {
    let warehouse = match lake.properties.is_empty() {
        true => format!("file://{}", dir.join("warehouse").display()),
        false => "s3://lake/warehouse".to_owned(),
    };
    let properties: String = lake.properties.iter().map(|(key, value)| format!("\"{key}\" = \"{value}\"\n")).collect();
    let database: PathBuf = dir.join("catalog.db");
    let text = format!(
        r#"
[nats]
servers = ["nats://127.0.0.1:{nats}"]

[proxy]
listen = "127.0.0.1:{proxy}"

[writer]
admin_listen = "127.0.0.1:0"
flush_interval = "1s"

[catalog]
listen = "127.0.0.1:{catalog}"
admin_listen = "127.0.0.1:0"
database = "{database}"
warehouse = "{warehouse}"
[catalog.properties]
{properties}
[catalogs.frazil]
uri = "{catalog_uri}"
[catalogs.frazil.properties]
{properties}
"#,
        nats = ports.nats,
        proxy = ports.proxy,
        catalog = ports.catalog,
        database = database.display(),
    );
    std::fs::write(dir.join(file), text).expect("temporary file");
}
