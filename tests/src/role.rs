//! One more process beside those of a [`Cluster`], whose address is known and whose settings a test chooses.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::process::Command;

use crate::client::Api;
use crate::cluster::Cluster;
use crate::hand::free_ports;
use crate::process::Process;
use crate::{tools, until};

/// How long a role may take until it answers.
const ANSWERS: Duration = Duration::from_secs(60);

/// A proxy or writer. Dropping it kills it.
#[derive(Debug)]
pub struct Role {
    process: Process,
    started: Instant,
    /// Where `/readyz` and `/metrics` are; for a proxy, where events are taken, too.
    pub url: String,
    client: reqwest::Client,
}

/// What `/metrics` said at some time.
#[derive(Debug)]
pub struct Metrics(String);

impl Role {
    /// Starts a writer with ordinal 0 of 1. `settings` are keys of its section, such as `flush_interval`, or of others,
    /// such as `nats.servers`.
    pub fn writer(cluster: &Cluster, settings: &[(&str, &str)]) -> Self {
        Self::start(cluster, "writer", "admin_listen", settings)
    }

    /// Starts a proxy and waits until it answers. `settings` are as those of a writer.
    pub async fn proxy(cluster: &Cluster, settings: &[(&str, &str)]) -> Self {
        let role = Self::start(cluster, "proxy", "listen", settings);
        until("the proxy to answer", ANSWERS, || async { role.client.get(role.path("/livez")).send().await.ok() })
            .await;
        role
    }

    fn start(cluster: &Cluster, role: &str, listen: &str, settings: &[(&str, &str)]) -> Self {
        let [port] = free_ports();
        let mut command = Command::new(tools::frazil());
        command.arg(role).arg("--config").arg(config(cluster));
        let variable = |key: &str| {
            let path = if key.contains('.') { key.to_owned() } else { format!("{role}.{key}") };
            format!("FRAZIL__{}", path.to_uppercase().replace('.', "__"))
        };
        command.env(variable(listen), format!("127.0.0.1:{port}"));
        for (key, value) in settings {
            command.env(variable(key), value);
        }
        let log = config(cluster).with_file_name(format!("{role}-{port}.log"));
        let started = Instant::now();
        let process = Process::spawn_logged(role, command, &log);
        let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().expect("client builds");
        Self { process, started, url: format!("http://127.0.0.1:{port}"), client }
    }

    /// A client of this proxy with the cluster's token.
    pub fn api(&self, cluster: &Cluster) -> Api {
        Api::new(&self.url, &cluster.api.token)
    }

    /// Address without the scheme.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    fn path(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// The metrics, if the process answers.
    pub async fn metrics(&self) -> Option<Metrics> {
        let answer = self.client.get(self.path("/metrics")).send().await.ok()?;
        Some(Metrics(answer.text().await.ok()?))
    }

    /// Status and text of `/readyz`, if the process answers.
    pub async fn readiness(&self) -> Option<(u16, String)> {
        let answer = self.client.get(self.path("/readyz")).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// Waits until `/readyz` says so; returns what it said.
    pub async fn until_ready(&self, ready: bool, limit: Duration) -> String {
        let what = if ready { "ready" } else { "not ready" };
        let probe = || async { self.readiness().await.filter(|(status, _)| (*status == 200) == ready) };
        until(what, limit, probe).await.1
    }

    /// Waits until a metric, summed over its labels, satisfies `enough`.
    pub async fn until_metric(&self, name: &str, limit: Duration, enough: impl Fn(f64) -> bool) -> f64 {
        let probe = || async { self.metrics().await.and_then(|metrics| metrics.sum(name)).filter(|sum| enough(*sum)) };
        until(name, limit, probe).await
    }

    /// Seconds since the process was started.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Most memory the process ever had, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.process.resident_bytes()
    }

    /// Kills without warning.
    pub async fn kill9(&mut self) {
        self.process.kill9().await;
    }

    /// Last lines of its log.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}

impl Metrics {
    /// The values of a metric over all its labels, summed; nothing if there is no such line.
    pub fn sum(&self, name: &str) -> Option<f64> {
        let values: Vec<f64> = self.of(name).filter_map(|(_, value)| value.parse().ok()).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// The value of a metric with exactly these labels, as they are written.
    pub fn get(&self, name: &str, labels: &str) -> Option<f64> {
        self.of(name).find(|(found, _)| *found == labels).and_then(|(_, value)| value.parse().ok())
    }

    /// Labels and value of each line of a metric.
    pub fn of<'m>(&'m self, name: &'m str) -> impl Iterator<Item = (&'m str, &'m str)> {
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let labels = match labels {
                "" => "",
                labels => labels.strip_prefix('{')?.strip_suffix('}')?,
            };
            Some((labels, value))
        })
    }

    /// The text as it came.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// Where the cluster's nats-server is.
///
/// # Panics
/// If its configuration does not say.
pub fn nats_address(cluster: &Cluster) -> SocketAddr {
    let text = std::fs::read_to_string(config(cluster)).expect("the configuration is readable");
    let address = text.split("nats://").nth(1).and_then(|rest| rest.split('"').next()).expect("a NATS server");
    address.parse().expect("an address")
}

/// The cluster's configuration file.
fn config(cluster: &Cluster) -> PathBuf {
    let arguments = cluster.script_arguments(&[]);
    let at = arguments.iter().position(|argument| argument == "--config").expect("scripts get the configuration");
    PathBuf::from(&arguments[at + 1])
}

/// The JSON of an answer, whatever its status.
pub async fn answer(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}
