//! `frazil dev`: one command, a pasted curl line, a row; again after a restart.

use std::path::Path;
use std::time::Duration;

use frazil_tests::lake::{Engine, Lake};
use frazil_tests::process::Process;
use frazil_tests::tools;
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(60);

async fn start(dir: &Path) -> (Process, Vec<String>) {
    let mut command = Command::new(tools::frazil());
    command.args(["dev", "--listen", "127.0.0.1:0", "--catalog-listen", "127.0.0.1:0", "--flush-interval", "1s"]);
    command.arg("--data-dir").arg(dir).arg("--nats-server").arg(tools::tool("bin/nats-server"));
    let mut process = Process::spawn("frazil dev", command, &dir.join("dev.log"));
    let banner = process.wait_line("ready", LIMIT).await;
    (process, banner)
}

/// The printed curl command, joined over its continued lines, run as a user would paste it.
async fn paste_curl(banner: &[String]) -> serde_json::Value {
    let lines = banner.iter().skip_while(|line| !line.trim_start().starts_with("curl "));
    let mut command = String::new();
    for line in lines {
        command.push_str(line.trim_end().trim_end_matches('\\'));
        if !line.trim_end().ends_with('\\') {
            break;
        }
    }
    let output = Command::new("bash").arg("-c").arg(&command).output().await.expect("bash runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{command} answered {text:?}: {error}"))
}

fn catalog(dir: &Path) -> Lake {
    let text = std::fs::read_to_string(dir.join("dev.json")).expect("dev says where it listens");
    let dev: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    Lake { uri: dev["catalog"]["uri"].as_str().expect("the catalog's address").to_owned(), properties: Vec::new() }
}

/// The table that the curl line's header names.
fn table(banner: &[String]) -> String {
    let text = banner.join(" ");
    let (_, rest) = text.split_once("-H 'table: ").unwrap_or_else(|| panic!("no table in the curl line: {text}"));
    rest.split('\'').next().expect("split yields one part at least").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_one_curl_one_row_and_again_after_a_restart() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let (mut dev, banner) = start(dir.path()).await;
    let accepted = paste_curl(&banner).await["accepted"].as_u64().expect("a count");
    assert!(accepted > 0);
    // The drain commits what was accepted.
    assert!(dev.stop(LIMIT).await, "dev ends with success\n{}", dev.log_tail());

    let (mut dev, again) = start(dir.path()).await;
    let table = table(&again);
    let lake = catalog(dir.path());
    assert_eq!(lake.profile(Engine::PyIceberg, &table, &[]).await.rows, Some(accepted), "rows survive the restart");
    paste_curl(&again).await;
    assert!(dev.stop(LIMIT).await, "dev ends with success\n{}", dev.log_tail());

    let (mut dev, _) = start(dir.path()).await;
    let lake = catalog(dir.path());
    for engine in [Engine::PyIceberg, Engine::DuckDb] {
        assert_eq!(lake.profile(engine, &table, &[]).await.rows, Some(2 * accepted), "{engine:?}");
    }
    assert!(dev.stop(LIMIT).await);
}
