//! The same flow with the warehouse on a real S3 server.

use frazil_tests::cluster::{Cluster, Options};

#[tokio::test(flavor = "multi_thread")]
async fn rows_on_a_real_s3_server() {
    let cluster = Cluster::start(Options { s3: true, ..Options::default() }).await;
    let events: String = (0..1_000).map(|id| format!("{{\"id\":{id},\"note\":\"a?b#c/{id}\"}}\n")).collect();
    cluster.api.commit("e2e.s3", &events).await;
    cluster.lake.assert_exactly_once("e2e.s3", 1_000).await;
}
