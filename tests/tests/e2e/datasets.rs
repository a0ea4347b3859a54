//! The main job on real data: two public datasets through `frazil send`, read back by two engines.

use std::path::PathBuf;

use frazil_tests::cluster::{Cluster, Options};
use frazil_tests::lake::Engine;
use frazil_tests::tools;
use serde_json::Value;

fn dataset(name: &str) -> (PathBuf, Value) {
    let path = tools::tool(&format!("datasets/{name}"));
    let text = std::fs::read(&path).expect("a readable dataset");
    (path, serde_json::from_slice(&text).expect("a JSON dataset"))
}

/// Count and sum of a dotted path over records, from the source file itself.
fn expected(records: &[Value], path: &str) -> (u64, f64) {
    let pointer = format!("/{}", path.replace('.', "/"));
    let numbers: Vec<f64> = records.iter().filter_map(|record| record.pointer(&pointer)?.as_f64()).collect();
    (numbers.len() as u64, numbers.iter().sum())
}

async fn assert_same(cluster: &Cluster, table: &str, records: &[Value], columns: &[&str]) {
    for engine in [Engine::PyIceberg, Engine::DuckDb] {
        let profile = cluster.lake.profile(engine, table, columns).await;
        assert_eq!(profile.rows, Some(records.len() as u64), "{engine:?}: rows of {table}");
        for path in columns {
            let (count, sum) = expected(records, path);
            let found = &profile.columns[*path];
            assert_eq!(found.count, count, "{engine:?}: values of {path}");
            let difference = (found.sum.expect("a number column") - sum).abs();
            // Engines add doubles in their own order.
            assert!(difference <= sum.abs() * 1e-12, "{engine:?}: sum of {path} is {:?}, not {sum}", found.sum);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_thousand_flights() {
    let (path, value) = dataset("flights-200k.json");
    let records = value.as_array().expect("an array of records");
    let cluster = Cluster::start(Options::default()).await;
    let summary = cluster.send(&["--table", "real.flights", "--wait", path.to_str().expect("UTF-8")]).await;
    assert_eq!(summary["accepted"], records.len());
    assert_same(&cluster, "real.flights", records, &["delay", "distance", "time"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_earthquakes() {
    let (path, value) = dataset("earthquakes.json");
    let records = value["features"].as_array().expect("GeoJSON features");
    let cluster = Cluster::start(Options::default()).await;
    let path = path.to_str().expect("UTF-8");
    let arguments = ["--table", "real.earthquakes", "--pointer", "/features", "--wait", path];
    let summary = cluster.send(&arguments).await;
    assert_eq!(summary["accepted"], records.len());
    let columns = ["mag", "time", "sig", "felt", "mmi", "gap", "dmin", "nst"].map(|name| format!("properties.{name}"));
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    assert_same(&cluster, "real.earthquakes", records, &columns).await;
}
