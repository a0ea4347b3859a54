//! A NATS cluster of which every connection can be led through a wire: the nodes tell nobody where they are, so that
//! clients and other nodes know only the addresses they were given.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::tools;

/// An address that nobody can reach. What a node advertises to the others is never of use, they have their own routes.
const NOWHERE: &str = "127.0.0.1:1";

/// When a node syncs its store to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Sync {
    /// Before every acknowledgement.
    Always,
    /// As NATS does it by itself: every two minutes.
    Default,
}

/// A node's part in its configuration.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name, `nats-0` and so on.
    pub name: String,
    /// Where clients connect.
    pub port: u16,
    /// Where other nodes connect.
    pub route_port: u16,
    /// Where it answers questions about itself.
    pub monitor_port: u16,
    /// The folder of its store.
    pub store: PathBuf,
    /// When it syncs.
    pub sync: Sync,
}

impl Node {
    /// Writes the configuration into `dir`, with `routes` to the other nodes; without routes it is a single server.
    pub fn configure(&self, dir: &Path, routes: &[u16]) -> PathBuf {
        let path = dir.join(format!("{}.conf", self.name));
        std::fs::write(&path, self.text(routes)).expect("the run's folder is writable");
        path
    }

    /// The command line.
    pub fn command(config: &Path) -> Command {
        let mut command = Command::new(tools::tool("bin/nats-server"));
        command.arg("-c").arg(config);
        command
    }

    fn text(&self, routes: &[u16]) -> String {
        let sync = match self.sync {
            Sync::Always => ", sync_interval: always",
            Sync::Default => "",
        };
        let urls: Vec<String> = routes.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        let cluster = match routes {
            [] => String::new(),
            _ => format!(
                "cluster {{ name: crash, host: 127.0.0.1, port: {}, no_advertise: true, advertise: \"{NOWHERE}\", \
                 routes: [{}] }}\n",
                self.route_port,
                urls.join(", ")
            ),
        };
        format!(
            "server_name: {}\nhost: 127.0.0.1\nport: {}\nhttp: \"127.0.0.1:{}\"\n\
             jetstream {{ store_dir: \"{}\", max_file: 200GB{sync} }}\n{cluster}",
            self.name,
            self.port,
            self.monitor_port,
            self.store.display()
        )
    }

    /// Whether the node answers and, in a cluster of `nodes`, knows a leader and sees every other node as current.
    pub async fn is_ready(&self, nodes: usize) -> bool {
        if self.ask("healthz").await.is_none_or(|answer| answer["status"] != "ok") {
            return false;
        }
        if nodes == 1 {
            return true;
        }
        let Some(meta) = self.ask("jsz").await else { return false };
        let leader = meta["meta_cluster"]["leader"].as_str().unwrap_or_default();
        !leader.is_empty() && meta["meta_cluster"]["cluster_size"] == nodes
    }

    /// The leaders of all JetStream streams as this node sees them: (stream, leader).
    pub async fn leaders(&self) -> Vec<(String, String)> {
        let details = self.ask("jsz?accounts=true&streams=true").await.unwrap_or_default();
        let accounts = details["account_details"].as_array().cloned().unwrap_or_default();
        let streams = accounts.iter().flat_map(|account| account["stream_detail"].as_array().cloned());
        let leader = |stream: Value| {
            let leader = stream["cluster"]["leader"].as_str()?.to_owned();
            Some((stream["name"].as_str()?.to_owned(), leader))
        };
        streams.flatten().filter_map(leader).collect()
    }

    async fn ask(&self, question: &str) -> Option<Value> {
        let url = format!("http://127.0.0.1:{}/{question}", self.monitor_port);
        let request = reqwest::Client::new().get(url).timeout(Duration::from_secs(2));
        request.send().await.ok()?.json().await.ok()
    }
}
