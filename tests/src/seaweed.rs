//! A real S3 server: SeaweedFS in one process, on free ports, with one bucket.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use crate::process::Process;
use crate::{tools, until};

/// Access key of the test's S3 server.
pub const ACCESS_KEY: &str = "testkey";
/// Secret key of the test's S3 server.
pub const SECRET_KEY: &str = "testsecret";

/// Access key and secret of one who may write, read and list, and make no buckets.
pub const WRITER: [&str; 2] = ["writerkey", "writersecret"];
/// Access key and secret of one who may read and list, and nothing else.
pub const READER: [&str; 2] = ["readerkey", "readersecret"];

/// A running SeaweedFS with the bucket `lake`.
#[derive(Debug)]
pub struct Seaweed {
    /// `http://127.0.0.1:<port>`
    pub endpoint: String,
    _process: Process,
}

impl Seaweed {
    /// Starts the server with its data under `dir` and waits until the bucket answers.
    pub async fn start(dir: &Path) -> Self {
        let plan = Plan::new(dir);
        let process = Process::spawn("weed", plan.command(), &dir.join("weed.log"));
        plan.ready(Duration::from_secs(60)).await;
        Self { endpoint: plan.endpoint(), _process: process }
    }
}

/// How the server is started, the same way every time.
#[derive(Debug, Clone)]
pub struct Plan {
    data: PathBuf,
    identities: PathBuf,
    s3: u16,
    master: u16,
    volume: u16,
    filer: u16,
    admin: u16,
    catalog: u16,
    serves_catalog: bool,
}

impl Plan {
    /// A server on free ports with its data under `dir`.
    pub fn new(dir: &Path) -> Self {
        let (data, identities) = (dir.join("seaweed"), dir.join("s3.json"));
        std::fs::create_dir_all(&data).expect("temporary folder");
        let identity = |name: &str, [key, secret]: [&str; 2], actions: &[&str]| {
            let credentials = [serde_json::json!({"accessKey": key, "secretKey": secret})];
            serde_json::json!({"name": name, "credentials": credentials, "actions": actions})
        };
        let admin = identity("admin", [ACCESS_KEY, SECRET_KEY], &["Admin", "Read", "Write", "List", "Tagging"]);
        let (writer, reader) =
            (identity("writer", WRITER, &["Read", "Write", "List"]), identity("reader", READER, &["Read", "List"]));
        std::fs::write(&identities, serde_json::json!({"identities": [admin, writer, reader]}).to_string())
            .expect("temporary file");
        let [s3, master, volume, filer, admin, catalog] = free_ports();
        Self { data, identities, s3, master, volume, filer, admin, catalog, serves_catalog: false }
    }

    /// The same with SeaweedFS's own Iceberg REST catalog over the table bucket `tables`.
    pub fn with_catalog(mut self) -> Self {
        self.serves_catalog = true;
        self
    }

    /// The port of the catalog.
    pub fn catalog_port(&self) -> u16 {
        self.catalog
    }

    /// The port of the S3 API.
    pub fn port(&self) -> u16 {
        self.s3
    }

    /// `http://127.0.0.1:<port>` of the S3 API.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.s3)
    }

    /// The command line.
    pub fn command(&self) -> Command {
        let mut command = Command::new(tools::tool("bin/weed"));
        command.args(["-logtostderr=true", "mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"]);
        command.args(["-webdav=false", "-admin.ui=false", "-s3.port.lance=0", "-bucket=lake"]);
        match self.serves_catalog {
            true => command.arg("-tableBucket=tables").arg(format!("-s3.port.iceberg={}", self.catalog)),
            false => command.arg("-s3.port.iceberg=0"),
        };
        command.arg(format!("-dir={}", self.data.display()));
        command.arg(format!("-s3.config={}", self.identities.display()));
        command.arg(format!("-s3.port={}", self.s3)).arg(format!("-master.port={}", self.master));
        command.arg(format!("-volume.port={}", self.volume)).arg(format!("-filer.port={}", self.filer));
        command.arg(format!("-admin.port={}", self.admin));
        command
    }

    /// Returns once the bucket answers.
    ///
    /// # Panics
    /// After `limit`.
    pub async fn ready(&self, limit: Duration) {
        let bucket = format!("http://127.0.0.1:{}/buckets/lake/", self.filer);
        let client = reqwest::Client::new();
        until("the S3 server", limit, || async {
            client.get(&bucket).send().await.ok()?.status().is_success().then_some(())
        })
        .await;
    }
}

/// What an Iceberg catalog or engine has to know to reach the server at `endpoint`.
pub fn properties(endpoint: &str) -> Vec<(String, String)> {
    let pairs = [
        ("s3.endpoint", endpoint),
        ("s3.access-key-id", ACCESS_KEY),
        ("s3.secret-access-key", SECRET_KEY),
        ("s3.region", "us-east-1"),
        ("s3.path-style-access", "true"),
    ];
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
}

/// Ports that are free now, each with its gRPC companion 10,000 above. SeaweedFS cannot choose its own,
/// so another process could take one meanwhile. Both lie below the range from which systems take ports of
/// outgoing connections, so that a restarted server finds its ports free.
fn free_ports() -> [u16; 6] {
    let mut taken = Vec::new();
    std::array::from_fn(|_| {
        loop {
            let port = rand::random_range(10_000..22_000u16);
            let pair = [port, port + 10_000].map(|port| TcpListener::bind(("127.0.0.1", port)));
            if let [Ok(http), Ok(grpc)] = pair {
                taken.push((http, grpc));
                return port;
            }
        }
    })
}
