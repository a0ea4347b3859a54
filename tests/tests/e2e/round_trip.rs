//! What is sent is what is read: every type, every edge value, value by value, by two engines.

use frazil_tests::cluster::{Cluster, Options};
use rand::random;

async fn round_trip(arguments: &[&str]) {
    let seed = std::env::var("FRAZIL_SEED").unwrap_or_else(|_| random::<u32>().to_string());
    println!("seed {seed} (FRAZIL_SEED={seed} repeats it)");
    let cluster = Cluster::start(Options::default()).await;
    println!("{}", cluster.python("round_trip.py", &[arguments, &["--seed", &seed]].concat()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_nested_three_deep_as_json() {
    round_trip(&["types"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_nested_three_deep_as_arrow() {
    round_trip(&["types", "--transport", "arrow"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_nested_three_deep_over_grpc() {
    round_trip(&["types", "--transport", "grpc"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nanoseconds_of_format_version_three() {
    round_trip(&["types-ns"]).await;
    round_trip(&["types-ns", "--transport", "arrow"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_schemas() {
    round_trip(&["random", "--schemas", "12", "--rows", "60"]).await;
}
