//! Messy real data: with `capture` the columns and `__extra__` together hold every field that was sent.

use frazil_tests::cluster::{Cluster, Options};
use frazil_tests::tools;
use serde_json::Value;

async fn rebuilt(file: &str, arguments: &[&str]) -> Value {
    let cluster = Cluster::start(Options::default()).await;
    let path = tools::tool(&format!("datasets/{file}"));
    let path = path.to_str().expect("a plain path");
    let text = cluster.python("messy.py", &[&[path], arguments].concat()).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Titles are texts and numbers, ratings whole and broken numbers.
#[tokio::test(flavor = "multi_thread")]
async fn movies_with_fields_of_mixed_type() {
    let counts = rebuilt("movies.json", &["--table", "messy.movies"]).await;
    assert_eq!(counts["events"], 3201, "{counts}");
}

/// Of the nested properties three in four are unknown to the table.
#[tokio::test(flavor = "multi_thread")]
async fn earthquakes_with_unknown_nested_fields() {
    let arguments = ["--table", "messy.earthquakes", "--pointer", "features", "--first", "4"];
    let counts = rebuilt("earthquakes.json", &arguments).await;
    assert_eq!((&counts["events"], &counts["with_captured_fields"]), (&1707.into(), &1707.into()), "{counts}");
}
