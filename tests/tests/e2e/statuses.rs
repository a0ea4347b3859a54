//! Every status of the IOMETE dialect that a deployment can show without being overloaded or drained, from the
//! outside. The proxy's own tests cause `429`, `500` and `503` with the seams they need.

use std::time::Duration;

use frazil_tests::client::{Api, json};
use frazil_tests::cluster::{Cluster, Options};
use frazil_tests::until;
use serde_json::Value;

async fn problem(request: reqwest::RequestBuilder, status: u16, code: &str) -> Value {
    let response = request.send().await.expect("proxy answers");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body = json(response, status).await;
    assert_eq!(body["code"], code, "{body}");
    assert_eq!(body["status"], status, "{body}");
    body
}

/// Proxies follow new streams and tokens; an empty array is accepted as soon as they know both.
async fn known(api: &Api, stream: &str, token: &str) {
    until("the proxy to know stream and token", Duration::from_secs(30), || async {
        let empty = api.iomete(stream, "[]").header("authorization", token).header("table", "frazil.io.t");
        empty.send().await.ok()?.status().is_success().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_of_the_iomete_dialect() {
    let cluster = Cluster::start(Options::default()).await;
    cluster.frazil(&["stream", "create", "strict", "--max-bytes", "1GiB"]).await;
    let api = &cluster.api;
    known(api, "strict", &api.token).await;
    let post = |stream: &str, body: &str| api.iomete(stream, body.to_owned());
    let authorized = |stream: &str, body: &str| post(stream, body).header("authorization", &api.token);

    let first = authorized("default", r#"[{"id":1,"name":"a"},{"id":2,"name":"b"}]"#).header("table", "frazil.io.t");
    let answer = json(first.send().await.expect("proxy answers"), 200).await;
    assert_eq!(answer["accepted"], 2);
    let bearer = post("default", r#"{"id":3,"name":"c"}"#).bearer_auth(&api.token).header("table", "frazil.io.t");
    assert_eq!(json(bearer.send().await.expect("proxy answers"), 200).await["accepted"], 1);

    let event = r#"{"id":4,"name":"d"}"#;
    problem(authorized("strict", event), 400, "BAD_REQUEST").await;
    problem(authorized("default", event).header("table", "io.t"), 400, "BAD_REQUEST").await;
    problem(authorized("default", "{\"id\":").header("table", "frazil.io.t"), 400, "BAD_REQUEST").await;
    problem(authorized("default", "17").header("table", "frazil.io.t"), 400, "BAD_REQUEST").await;
    let mismatch = authorized("default", r#"[{"id":5},{"id":"six"}]"#).header("table", "frazil.io.t");
    let body = problem(mismatch, 400, "BAD_REQUEST").await;
    assert_eq!((&body["errors"][0]["index"], &body["errors"][0]["field"]), (&1.into(), &"id".into()), "{body}");

    problem(post("default", event).header("table", "frazil.io.t"), 401, "UNAUTHORIZED").await;
    let forged = post("default", event).header("table", "frazil.io.t").header("authorization", "frz_nonsense");
    problem(forged, 401, "UNAUTHORIZED").await;

    let scoped = ["token", "create", "--name", "scoped", "--stream", "strict", "--table", "frazil.io.*"];
    let scoped = cluster.frazil(&scoped).await;
    let scoped = scoped.split_whitespace().find(|word| word.starts_with("frz_")).expect("the token is printed");
    known(api, "strict", scoped).await;
    let with_scoped = |stream: &str| post(stream, event).header("authorization", scoped);
    problem(with_scoped("default").header("table", "frazil.io.t"), 403, "FORBIDDEN").await;
    problem(with_scoped("strict").header("table", "frazil.hr.pay"), 403, "FORBIDDEN").await;

    problem(authorized("strict", event).header("table", "frazil.io.missing"), 404, "NOT_FOUND").await;
    problem(authorized("nowhere", event).header("table", "frazil.io.t"), 404, "NOT_FOUND").await;
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(5_000_000));
    problem(authorized("default", &large).header("table", "frazil.io.t"), 413, "PAYLOAD_TOO_LARGE").await;

    let receipt = answer["receipt"].as_str().expect("a receipt");
    api.wait_committed(receipt).await;
}
