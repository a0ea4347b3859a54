//! The other fronts beside plain HTTP: gRPC as a generated Python client uses it, and the OpenAPI document as a fuzzer
//! reads it.

use frazil_tests::cluster::{Cluster, Options};
use frazil_tests::lake::python;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn grpc_by_a_generated_python_client() {
    let cluster = Cluster::start(Options::default()).await;
    cluster.api.commit("e2e.grpc", r#"{"id":0,"name":"n","price":0.5}"#).await;
    let address = cluster.api.url.trim_start_matches("http://").to_owned();
    let flags = ["--table", "e2e.grpc", "--bad-table", "nowhere.grpc.missing", "--committed", "--token"];
    let mut arguments = vec![address];
    arguments.extend(flags.map(str::to_owned));
    arguments.push(cluster.api.token.clone());
    let text = python("grpc_client.py", &arguments).await;
    let seen: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(seen["health"], "SERVING", "{seen}");
    let services = seen["services"].as_array().expect("reflection lists services");
    assert!(services.contains(&"frazil.v1.Ingest".into()), "{seen}");
    // Broken off after some requests: the rest, and one to be refused, came by a second stream.
    let stream = &seen["stream"];
    assert_eq!((&stream["sent"], &stream["ended"]), (&30.into(), &"OK".into()), "{seen}");
    let second = 30 - stream["resumed_above"].as_u64().expect("a number") + 1;
    assert_eq!((&stream["committed"], stream["refused"].as_array().map(Vec::len)), (&second.into(), Some(1)), "{seen}");
    // Broken off and sent again with the same keys: nothing twice.
    let events = seen["events"].as_u64().expect("a number of events");
    cluster.lake.assert_exactly_once("e2e.grpc", events + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openapi_by_schemathesis() {
    let cluster = Cluster::start(Options::default()).await;
    let receipt = cluster.api.commit_receipt("schemathesis.events", r#"{"id":0}"#).await;
    let arguments = ["--url", &cluster.api.url, "--token", &cluster.api.token, "--receipt", &receipt];
    let text = python("schemathesis_run.py", &arguments.map(str::to_owned)).await;
    println!("{text}");
}
