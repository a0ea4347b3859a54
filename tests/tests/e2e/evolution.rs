//! A table that grows while it is written: four writers, new fields every second for a minute, and a user who alters
//! the same table with PyIceberg all the while.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use frazil_tests::client::{Api, json};
use frazil_tests::cluster::{Cluster, Options};
use frazil_tests::lake::Engine;
use frazil_tests::tools;
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::Instant;

const TABLE: &str = "e2e.evolving";
const FOR: Duration = Duration::from_secs(60);
const SENDERS: u64 = 4;
const EVENTS: u64 = 20;

/// Starts the user; it ends when its standard input is closed.
fn user(cluster: &Cluster) -> Child {
    let mut command = Command::new(tools::tool("venv/bin/python"));
    command.arg(tools::root().join("tests/python/alter.py")).args(cluster.script_arguments(&["--table", TABLE]));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("python starts")
}

/// Events with two fields, one of them nested, that are named after the second they are sent in.
fn body(ids: std::ops::Range<u64>, second: u64) -> String {
    ids.map(|id| format!("{{\"id\":{id},\"f{second}\":\"v{id}\",\"nested\":{{\"g{second}\":{id}}}}}\n")).collect()
}

/// What one sender did: how many events had the fields of which second, and its receipts.
#[derive(Default)]
struct Sent {
    seconds: BTreeMap<u64, u64>,
    receipts: Vec<String>,
}

async fn send(api: Api, ids: Arc<AtomicU64>, sender: u64, started: Instant) -> Sent {
    let mut sent = Sent::default();
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    for batch in 0.. {
        pace.tick().await;
        let second = started.elapsed().as_secs();
        if started.elapsed() >= FOR {
            break;
        }
        let first = ids.fetch_add(EVENTS, Ordering::Relaxed);
        let request = api.events(TABLE, body(first..first + EVENTS, second));
        let request = request.header("idempotency-key", format!("evolving-{sender}-{batch}"));
        let answer = json(request.send().await.expect("proxy answers"), 200).await;
        sent.receipts.push(answer["receipt"].as_str().expect("a receipt").to_owned());
        *sent.seconds.entry(second).or_default() += EVENTS;
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn four_writers_and_a_user_alter_one_table() {
    let cluster = Cluster::start(Options { writers: 4, shards: 4, ..Options::default() }).await;
    let properties = ["unknown-fields=evolve", "columns-per-hour=1000"];
    cluster.python("create.py", &[&["--table", TABLE], properties.as_slice()].concat()).await;
    cluster.api.commit(TABLE, "{\"id\":0}").await;
    let mut user = user(&cluster);
    let (ids, started) = (Arc::new(AtomicU64::new(1)), Instant::now());
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        senders.spawn(send(cluster.api.clone(), ids.clone(), sender, started));
    }
    let mut sent = Sent::default();
    while let Some(one) = senders.join_next().await {
        let one = one.expect("a sender does not panic");
        one.seconds.into_iter().for_each(|(second, count)| *sent.seconds.entry(second).or_default() += count);
        sent.receipts.extend(one.receipts.into_iter().rev().take(20));
    }
    drop(user.stdin.take());
    let changes = user.wait_with_output().await.expect("the user ends");
    let changes: Value = serde_json::from_slice(&changes.stdout).expect("the user counts");
    for receipt in &sent.receipts {
        cluster.api.wait_committed(receipt).await;
    }
    let total = ids.load(Ordering::Relaxed);
    println!("{total} events, fields of {} seconds, the user's own: {changes}", sent.seconds.len());
    // One change of each kind at least.
    assert!(changes["changes"].as_u64().is_some_and(|count| count >= 4), "the user was kept out: {changes}");
    cluster.lake.assert_exactly_once(TABLE, total).await;
    let paths: Vec<String> = sent.seconds.keys().flat_map(|s| [format!("f{s}"), format!("nested.g{s}")]).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let profile = cluster.lake.profile(Engine::PyIceberg, TABLE, &paths).await;
    for (second, count) in &sent.seconds {
        assert_eq!(profile.columns[&format!("f{second}")].count, *count, "values of f{second}");
        assert_eq!(profile.columns[&format!("nested.g{second}")].count, *count, "values of nested.g{second}");
    }
    assert_eq!(cluster.lake.profile(Engine::PyIceberg, &format!("{TABLE}__dead_letter"), &[]).await.rows, None);
}
