//! What remains after a stop, and after `kill -9` in the middle of commits.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use frazil_catalog::{Catalog, serve};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::server::{Api, EVENTS, Server, config, expect_ok, path, set_property};

/// Names the directory to the child process, and tells it that it is one.
const CHILD: &str = "FRAZIL_CATALOG_TEST_CHILD";

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let server = Server::with_table().await;
    server.api.create_namespace(&["a", "b"]).await;
    expect_ok(server.api.commit(json!([]), set_property("a", "b")).await);
    let before = server.api.get(EVENTS).await;
    let server = server.restart().await;
    assert_eq!(server.api.get(EVENTS).await, before);
    assert_eq!(server.api.get("/v1/namespaces?parent=a").await["namespaces"], json!([["a", "b"]]));
    expect_ok(server.api.commit(json!([]), set_property("a", "c")).await);
}

/// Not a check: the server that [`a_kill_leaves_the_old_pointer_or_the_new_one`] starts and kills. Does nothing
/// when the test runner calls it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_process() {
    let Some(directory) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let catalog = Catalog::open(config(&directory)).expect("opens");
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("binds");
    println!("\nhttp://{}", listener.local_addr().expect("bound"));
    serve(listener, catalog, CancellationToken::new()).await.expect("served");
}

async fn spawn_child(directory: &Path) -> (Child, Api) {
    let mut child = Command::new(std::env::current_exe().expect("own path"))
        .args(["--exact", "durability::child_process", "--nocapture"])
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("started");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    while let Some(line) = lines.next_line().await.expect("read") {
        if line.starts_with("http://") {
            return (child, Api::new(line));
        }
    }
    panic!("the child ended without serving");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_leaves_the_old_pointer_or_the_new_one() {
    let directory = tempfile::tempdir().expect("directory");
    let mut next = 0_u64;
    for round in 0..6_u64 {
        let (mut child, api) = spawn_child(directory.path()).await;
        if round == 0 {
            api.create_namespace(&["ns"]).await;
            api.create_table("ns", "events", json!({ "write.metadata.previous-versions-max": "3" })).await;
        }
        let (acked, mut progress) = watch::channel(None);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let body = |i: u64| json!({ "requirements": [], "updates": set_property("i", &i.to_string()) });
            // Until the connection breaks.
            while let Ok((status, _)) = api.try_call(reqwest::Method::POST, EVENTS, Some(&body(next))).await {
                assert!(status.is_success(), "{status}");
                acked.send_replace(Some(next));
                next += 1;
            }
            next
        });
        let wanted = next + 3 + 5 * round;
        progress.wait_for(|acked| acked.is_some_and(|i| i >= wanted)).await.expect("committing");
        child.kill().await.expect("killed");
        let unanswered = tasks.join_next().await.expect("one task").expect("no panic");

        let (mut child, api) = spawn_child(directory.path()).await;
        let loaded = api.get(EVENTS).await;
        let found: u64 = loaded["metadata"]["properties"]["i"].as_str().and_then(|i| i.parse().ok()).expect("a number");
        assert!(found == unanswered || found + 1 == unanswered, "found {found}, unanswered {unanswered}");
        for entry in loaded["metadata"]["metadata-log"].as_array().expect("list") {
            assert!(path(&entry["metadata-file"]).exists(), "{entry}");
        }
        child.kill().await.expect("killed");
        next = found + 1;
    }
}
