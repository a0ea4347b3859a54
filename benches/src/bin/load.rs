//! Load generator: drives a running Frazil over HTTP and prints one JSON line of figures.
//!
//! * `batch`: closed loop, NDJSON posts of `--batch` events from `--connections` connections; reports
//!   events per second accepted, and committed (until the last receipt of every connection is committed).
//! * `single`: the same with one event per post.
//! * `freshness`: open loop at `--rate` events per second, each post waiting with `?wait=committed`; a
//!   post is sent when it is due, however late the earlier answers are, so no delay hides another.
//!
//! With `--tables N` the posts go to N tables in turn; with `--partitions N` events have a field `p` of N values, to
//! partition by. `--watch PID` adds the resident memory of a process, second by second.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// What to measure.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    Batch,
    Single,
    Freshness,
}

/// Drives a running Frazil and prints figures as JSON.
#[derive(Parser, Debug)]
struct Args {
    /// What to measure.
    #[arg(value_enum)]
    mode: Mode,
    /// Base URL of the proxy.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Event stream.
    #[arg(long, default_value = "default")]
    stream: String,
    /// API token.
    #[arg(long, env = "FRAZIL_TOKEN", hide_env_values = true)]
    token: String,
    /// Table to fill; created on first use if the stream says so.
    #[arg(long, default_value = "bench.events")]
    table: String,
    /// Events in all (batch, single).
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Events per post.
    #[arg(long, default_value_t = 100)]
    batch: u64,
    /// Tables to fill in turn; their names are numbered if there are several (batch, single).
    #[arg(long, default_value_t = 1)]
    tables: u64,
    /// Different values of the field `p`; no such field if 0.
    #[arg(long, default_value_t = 0)]
    partitions: u64,
    /// Process whose resident memory is recorded every second.
    #[arg(long, value_name = "PID")]
    watch: Option<u32>,
    /// Connections (batch, single).
    #[arg(long, default_value_t = 8)]
    connections: u64,
    /// Events per second (freshness).
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// Seconds to run (freshness).
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

struct Target {
    client: reqwest::Client,
    args: Args,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = Args::parse();
    if matches!(args.mode, Mode::Single) {
        args.batch = 1;
    }
    let client = reqwest::Client::builder().pool_max_idle_per_host(4096).build()?;
    let target = Arc::new(Target { client, args });
    for number in 0..target.args.tables {
        target.post(number, 0, 1, "").await.context("first post, which creates the table")?;
    }
    let memory = target.args.watch.map(watch);
    let mut figures = match target.args.mode {
        Mode::Batch | Mode::Single => closed_loop(target).await?,
        Mode::Freshness => freshness(target).await?,
    };
    if let Some(memory) = memory {
        figures["resident_mib"] = json!(memory.stop()?);
    }
    println!("{figures}");
    Ok(())
}

/// A thread that samples the memory of a process.
struct Watch {
    stop: mpsc::Sender<()>,
    samples: JoinHandle<Result<Vec<u64>>>,
}

impl Watch {
    fn stop(self) -> Result<Vec<u64>> {
        drop(self.stop);
        self.samples.join().expect("the sampler does not panic")
    }
}

fn watch(pid: u32) -> Watch {
    let (stop, stopped) = mpsc::channel();
    let samples = std::thread::spawn(move || {
        let mut samples = Vec::new();
        while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(Duration::from_secs(1)) {
            samples.push(resident_mib(pid)?);
        }
        Ok(samples)
    });
    Watch { stop, samples }
}

fn resident_mib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib / 1024)
}

impl Target {
    /// Posts `count` events starting at `first` to the table of this number; answers with the parsed body.
    async fn post(&self, number: u64, first: u64, count: u64, query: &str) -> Result<Value> {
        let Args { url, stream, table, tables, partitions, token, .. } = &self.args;
        let body = events(first, count, *partitions);
        let table = if *tables == 1 { table.clone() } else { format!("{table}_{}", number % tables) };
        let request = self.client.post(format!("{url}/v1/streams/{stream}/events{query}"));
        let request = request.header("table", table).bearer_auth(token).header("content-type", "application/x-ndjson");
        let response = request.body(body).send().await?;
        let (status, text) = (response.status(), response.text().await?);
        ensure!(status.is_success(), "{status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// Waits until the receipt's events are visible.
    async fn committed(&self, receipt: &str) -> Result<()> {
        let Args { url, token, .. } = &self.args;
        let request = self.client.get(format!("{url}/v1/receipts/{receipt}?wait=committed&timeout=60s"));
        let answer: Value = request.bearer_auth(token).send().await?.error_for_status()?.json().await?;
        if answer["state"] != "committed" {
            bail!("not committed in time: {answer}");
        }
        Ok(())
    }
}

/// About 142 bytes per event: the shape that other sinks of this field are measured with.
fn events(first: u64, count: u64, partitions: u64) -> String {
    let mut body = String::with_capacity(usize::try_from(count).unwrap_or(0) * 160);
    for id in first..first + count {
        let kind = ["view", "click", "purchase", "refund"][(id % 4) as usize];
        let (user, value, millis) = (id * 7919 % 100_000, id % 1000, id % 60_000);
        body.push_str(&format!(
            "{{\"id\":{id},\"user_id\":\"user-{user:05}\",\"event_type\":\"{kind}\",\"value\":{value}.5,\
             \"info\":\"session {user} page {value}\",\"ts\":\"2026-11-21T10:{:02}:{:02}.{:03}Z\"",
            id / 60_000 % 60,
            millis / 1000,
            millis % 1000,
        ));
        if partitions > 0 {
            body.push_str(&format!(",\"p\":{}", id * 7919 % partitions));
        }
        body.push_str("}\n");
    }
    body
}

async fn closed_loop(target: Arc<Target>) -> Result<Value> {
    let Args { events, batch, connections, tables, partitions, .. } = target.args;
    let posts = events.div_ceil(batch);
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for connection in 0..connections {
        let target = target.clone();
        tasks.spawn(async move {
            let (mut latencies, mut last) = (Vec::new(), BTreeMap::new());
            for post in (connection..posts).step_by(usize::try_from(connections)?) {
                let sent = Instant::now();
                let answer = target.post(post, post * batch, batch, "").await?;
                latencies.push(sent.elapsed());
                let receipt = answer["receipt"].as_str().context("no receipt")?;
                last.insert(post % target.args.tables, receipt.to_owned());
            }
            Ok::<_, anyhow::Error>((latencies, last))
        });
    }
    let (mut latencies, mut receipts) = (Vec::new(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        let (some, last) = done??;
        latencies.extend(some);
        receipts.extend(last.into_values());
    }
    let accepted = started.elapsed();
    for receipt in &receipts {
        target.committed(receipt).await?;
    }
    let committed = started.elapsed();
    let sent = posts * batch;
    Ok(json!({
        "mode": if batch == 1 { "single" } else { "batch" }, "events": sent, "batch": batch, "connections": connections,
        "tables": tables, "partitions": partitions,
        "accepted_per_second": per_second(sent, accepted), "committed_per_second": per_second(sent, committed),
        "ack_ms": percentiles(latencies),
    }))
}

async fn freshness(target: Arc<Target>) -> Result<Value> {
    let Args { rate, seconds, .. } = target.args;
    let total = rate * seconds;
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate as f64));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    for id in 0..total {
        let due = started + Duration::from_secs_f64(id as f64 / rate as f64);
        ticks.tick().await;
        let target = target.clone();
        tasks.spawn(async move {
            let answer = target.post(id, id, 1, "?wait=committed").await?;
            ensure!(answer["state"] == "committed", "not committed: {answer}");
            Ok::<_, anyhow::Error>(due.elapsed())
        });
    }
    let mut latencies = Vec::new();
    while let Some(done) = tasks.join_next().await {
        latencies.push(done??);
    }
    Ok(json!({ "mode": "freshness", "rate": rate, "events": total, "visible_ms": percentiles(latencies) }))
}

fn per_second(events: u64, took: Duration) -> u64 {
    (events as f64 / took.as_secs_f64()) as u64
}

fn percentiles(mut latencies: Vec<Duration>) -> Value {
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = (latencies.len() as f64 * share) as usize;
        latencies.get(index.min(latencies.len().saturating_sub(1))).map(|l| l.as_secs_f64() * 1e3)
    };
    json!({ "p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": at(1.0) })
}
