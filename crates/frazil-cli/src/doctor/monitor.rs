//! How a nats-server syncs to disk. Clients cannot see that; the monitoring port can (`http_port`, `/jsz`).

use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Level, Report};

/// Bound of one look.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bound of an answer, in bytes.
const ANSWER_MAX: u64 = 1 << 20;

#[derive(Deserialize)]
struct Jsz {
    config: JszConfig,
}

#[derive(Deserialize)]
struct JszConfig {
    #[serde(default)]
    sync_always: bool,
    /// In nanoseconds.
    #[serde(default)]
    sync_interval: u64,
}

/// Asks every given server; without one, says what cannot be known.
pub(super) async fn check(urls: &[String], report: &mut Report) {
    if urls.is_empty() {
        let text = "whether servers sync before they acknowledge (`sync_interval: always`) is not visible to clients; \
                    give --nats-monitor to see it";
        report.add(Level::Note, "log", text);
    }
    for url in urls {
        let about = format!("nats {url}");
        let answer = timeout(TIMEOUT, get(url)).await;
        let answer = answer.unwrap_or_else(|_| bail!("no answer within {} s", TIMEOUT.as_secs()));
        match answer.and_then(|body| serde_json::from_str::<Jsz>(&body).context("not the answer of a nats-server")) {
            Ok(Jsz { config }) if config.sync_always => report.add(Level::Ok, about, "syncs before it acknowledges"),
            Ok(Jsz { config }) => {
                let secs = Duration::from_nanos(config.sync_interval).as_secs();
                let text = format!(
                    "syncs only every {secs} s: what it acknowledged in between is lost with the power. Set \
                     `sync_interval: always` in its jetstream section"
                );
                report.add(Level::Error, about, text);
            }
            Err(error) => report.add(Level::Warning, about, format!("{error:#}")),
        }
    }
}

/// The body of `/jsz`. Monitoring is plain HTTP; one request of version 1.0 needs no client.
async fn get(url: &str) -> anyhow::Result<String> {
    let address = url.strip_prefix("http://").context("write it as http://HOST:PORT")?.trim_end_matches('/');
    let mut stream = TcpStream::connect(address).await.context("cannot connect")?;
    stream.write_all(format!("GET /jsz HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer).await?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
        Some((head, _)) => bail!("{}", head.lines().next().unwrap_or_default()),
        None => bail!("an answer without a body"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn level(answer: &'static str) -> Level {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        let server = async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = [0; 64];
            let read = stream.read(&mut request).await.expect("a request");
            assert!(request[..read].starts_with(b"GET /jsz HTTP/1.0\r\n"));
            stream.write_all(answer.as_bytes()).await.expect("answered");
        };
        let mut report = Report::default();
        tokio::join!(server, check(std::slice::from_ref(&url), &mut report));
        report.findings[0].level
    }

    #[tokio::test]
    async fn only_a_server_that_syncs_always_is_fine() {
        let (head, always) =
            ("HTTP/1.0 200 OK\r\n\r\n", r#"{"config":{"sync_interval":120000000000,"sync_always":true}}"#);
        assert_eq!(level(format!("{head}{always}").leak()).await, Level::Ok);
        assert_eq!(level("HTTP/1.0 200 OK\r\n\r\n{\"config\":{\"sync_interval\":120000000000}}").await, Level::Error);
        assert_eq!(level("HTTP/1.0 200 OK\r\n\r\nhello").await, Level::Warning);
        assert_eq!(level("HTTP/1.0 404 Not Found\r\n\r\n{}").await, Level::Warning);
    }

    #[tokio::test]
    async fn without_a_server_to_ask_it_is_a_note() {
        let mut report = Report::default();
        check(&[], &mut report).await;
        assert_eq!(report.findings[0].level, Level::Note);
    }
}
