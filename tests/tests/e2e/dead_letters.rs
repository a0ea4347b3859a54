//! Events that were acknowledged and then can no longer become rows.

use frazil_tests::cluster::{Cluster, Options};
use frazil_tests::lake::Engine;

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_events_of_a_dropped_table_become_dead_letters() {
    let mut cluster = Cluster::start(Options { writers: 0, ..Options::default() }).await;
    let events: String = (0..50).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    let answer = cluster.api.accept("e2e.gone", &events).await;
    let dropped = reqwest::Client::new().delete(format!("{}/v1/namespaces/e2e/tables/gone", cluster.lake.uri)).send();
    assert!(dropped.await.expect("the catalog answers").status().is_success());

    cluster.add_writer();
    cluster.api.wait_committed(answer["receipt"].as_str().expect("a receipt")).await;
    for engine in [Engine::PyIceberg, Engine::DuckDb] {
        assert_eq!(cluster.lake.profile(engine, "e2e.gone", &[]).await.rows, None, "{engine:?}");
        let letters = cluster.lake.profile(engine, "e2e.gone__dead_letter", &["payload", "event_index"]).await;
        assert_eq!(letters.rows, Some(50), "{engine:?}");
        assert_eq!((letters.columns["payload"].count, letters.columns["payload"].distinct), (50, 50), "{engine:?}");
        assert_eq!(letters.columns["payload"].min, "{\"id\":0}", "{engine:?}");
        assert_eq!(letters.columns["event_index"].distinct, 50, "{engine:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_does_not_stall_and_is_replayed_exactly_once() {
    let cluster = Cluster::start(Options::default()).await;
    println!("{}", cluster.python("poison.py", &[]).await);
}
