//! The log goes back: an older copy of the nats-server's files is restored under running roles. What was acknowledged
//! after that must be in the table exactly once, and what is lost must be reported.

use std::time::Duration;

use frazil_tests::cluster::{Cluster, Options};
use frazil_tests::lake::Engine;
use frazil_tests::until;
use serde_json::Value;

const TABLE: &str = "e2e.rewind";
const LIMIT: Duration = Duration::from_secs(90);

/// Posts events with these ids, each in a request of its own, so that each is in an envelope of its own; returns the
/// receipts.
async fn post(cluster: &Cluster, ids: std::ops::Range<u64>) -> Vec<String> {
    let mut receipts = Vec::new();
    for id in ids {
        let body = format!("{{\"id\":{id}}}");
        let receipt = until("an acknowledgement", LIMIT, || async {
            // The same key again: after a failure nobody knows whether the first try was stored.
            let request = cluster.api.events(TABLE, body.clone()).header("idempotency-key", format!("id-{id}"));
            let response = request.send().await.ok()?;
            let success = response.status().is_success();
            let answer: Value = response.json().await.ok()?;
            success.then(|| answer["receipt"].as_str().expect("a receipt").to_owned())
        });
        receipts.push(receipt.await);
    }
    receipts
}

async fn committed(cluster: &Cluster, receipts: &[String]) {
    for receipt in receipts {
        cluster.api.wait_committed(receipt).await;
    }
}

async fn doctor(cluster: &Cluster) -> (Option<i32>, Value) {
    let (code, text) = cluster.frazil_code(&["doctor", "--json"]).await;
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (code, report)
}

/// Both engines see these ids, each once.
async fn assert_ids(cluster: &Cluster, ids: impl Iterator<Item = u64> + Clone) {
    for engine in [Engine::PyIceberg, Engine::DuckDb] {
        let profile = cluster.lake.profile(engine, TABLE, &["id"]).await;
        let (count, sum) = (ids.clone().count() as u64, ids.clone().sum::<u64>());
        assert_eq!(profile.rows, Some(count), "{engine:?}");
        let found = &profile.columns["id"];
        assert_eq!((found.distinct, found.sum), (count, Some(sum as f64)), "{engine:?}");
    }
}

/// Numbers of lost envelopes on record.
fn lost(report: &Value) -> u64 {
    let losses = report["shards"][0]["losses"].as_array().expect("a list");
    losses.iter().map(|loss| loss["to"].as_u64().expect("to") - loss["from"].as_u64().expect("from") + 1).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_under_a_running_writer_hides_and_doubles_nothing() {
    let mut cluster = Cluster::start(Options { shards: 1, ..Options::default() }).await;
    committed(&cluster, &post(&cluster, 0..20).await).await;
    let (code, report) = doctor(&cluster).await;
    assert_eq!((code, &report["ok"]), (Some(0), &Value::Bool(true)), "{report}");
    let backup = cluster.backup_nats().await;
    committed(&cluster, &post(&cluster, 20..40).await).await;
    cluster.restore_nats(&backup).await;
    // As many again as are lost, and more: their JetStream sequences are those that the table's checkpoint covers.
    let receipts = post(&cluster, 40..80).await;
    committed(&cluster, &receipts).await;
    assert_ids(&cluster, 0..80).await;
    let (code, report) = doctor(&cluster).await;
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(report["shards"][0]["rewinds"].as_array().map(Vec::len), Some(1), "{report}");
    assert_eq!(lost(&report), 0, "all that the log lost is in the table: {report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_while_no_writer_runs_hides_nothing_and_its_losses_are_reported() {
    let mut cluster = Cluster::start(Options { shards: 1, ..Options::default() }).await;
    committed(&cluster, &post(&cluster, 0..20).await).await;
    let backup = cluster.backup_nats().await;
    committed(&cluster, &post(&cluster, 20..30).await).await;
    cluster.kill_writers().await;
    // Acknowledged, and in no table yet: these are truly lost.
    let gone = post(&cluster, 30..40).await;
    cluster.restore_nats(&backup).await;
    let receipts = post(&cluster, 40..80).await;
    cluster.restart_writer();
    committed(&cluster, &receipts).await;
    assert_ids(&cluster, (0..30).chain(40..80)).await;
    let (code, report) = doctor(&cluster).await;
    assert_eq!(code, Some(1), "{report}");
    assert!(report["shards"][0]["rewinds"].as_array().is_some_and(|rewinds| !rewinds.is_empty()), "{report}");
    assert!(lost(&report) >= 10, "{report}");
    for receipt in &gone {
        let answer = cluster.api.get(&format!("/v1/receipts/{receipt}")).send().await.expect("the proxy answers");
        assert_eq!(answer.status().as_u16(), 404, "{:?}", answer.text().await);
    }
    let text = cluster.frazil_code(&["doctor"]).await.1;
    assert!(text.contains("acknowledged envelopes are lost"), "{text}");
}

/// Nothing that any table has is lost, so the places of the lost events are given to others, and nobody but the proxy
/// can know.
#[tokio::test(flavor = "multi_thread")]
async fn a_loss_that_no_table_knows_of_is_reported_and_confuses_no_receipt() {
    let mut cluster = Cluster::start(Options { shards: 1, ..Options::default() }).await;
    committed(&cluster, &post(&cluster, 0..10).await).await;
    let backup = cluster.backup_nats().await;
    cluster.kill_writers().await;
    let gone = post(&cluster, 10..20).await;
    cluster.restore_nats(&backup).await;
    let receipts = post(&cluster, 20..30).await;
    cluster.restart_writer();
    committed(&cluster, &receipts).await;
    committed(&cluster, &post(&cluster, 30..40).await).await;
    assert_ids(&cluster, (0..10).chain(20..40)).await;
    let (code, report) = doctor(&cluster).await;
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(lost(&report), 10, "{report}");
    drop(gone);
}
