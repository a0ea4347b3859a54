//! A real S3 server: SeaweedFS in one process, on free ports, with one bucket.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use crate::process::Process;
use crate::{tools, until};

/// Access key of the test's S3 server.
pub const ACCESS_KEY: &str = "testkey";
/// Secret key of the test's S3 server.
pub const SECRET_KEY: &str = "testsecret";

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
        let data = dir.join("seaweed");
        std::fs::create_dir_all(&data).expect("temporary folder");
        let config = dir.join("s3.json");
        let identity = serde_json::json!({"identities": [{
            "name": "admin",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }]});
        std::fs::write(&config, identity.to_string()).expect("temporary file");
        let [s3, master, volume, filer, admin] = free_ports();
        let mut command = Command::new(tools::tool("bin/weed"));
        command.args(["-logtostderr=true", "mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"]);
        command.args(["-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-bucket=lake"]);
        command.arg(format!("-dir={}", data.display())).arg(format!("-s3.config={}", config.display()));
        command.arg(format!("-s3.port={s3}")).arg(format!("-master.port={master}"));
        command.arg(format!("-volume.port={volume}")).arg(format!("-filer.port={filer}"));
        command.arg(format!("-admin.port={admin}"));
        let process = Process::spawn("weed", command, &dir.join("weed.log"));
        let endpoint = format!("http://127.0.0.1:{s3}");
        let bucket = format!("http://127.0.0.1:{filer}/buckets/lake/");
        let client = reqwest::Client::new();
        until("the S3 server", Duration::from_secs(60), || async {
            client.get(&bucket).send().await.ok()?.status().is_success().then_some(())
        })
        .await;
        Self { endpoint, _process: process }
    }
}

/// Ports that are free now, each with its gRPC companion 10,000 above. SeaweedFS cannot choose its own,
/// so another process could take one meanwhile.
fn free_ports() -> [u16; 5] {
    let mut taken = Vec::new();
    std::array::from_fn(|_| {
        loop {
            let port = rand::random_range(20_000..50_000u16);
            let pair = [port, port + 10_000].map(|port| TcpListener::bind(("127.0.0.1", port)));
            if let [Ok(http), Ok(grpc)] = pair {
                taken.push((http, grpc));
                return port;
            }
        }
    })
}
