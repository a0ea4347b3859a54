//! A real redis-server as a child process, killed when dropped.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::Value;

pub(super) struct RedisServer {
    port: u16,
    password: Option<String>,
    child: Child,
}

impl RedisServer {
    pub(super) async fn start() -> Self {
        Self::launch(None).await
    }

    pub(super) async fn with_password(password: &str) -> Self {
        Self::launch(Some(password.to_owned())).await
    }

    async fn launch(password: Option<String>) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let server = Self { port, child: spawn(port, password.as_deref()), password };
        server.answers().await;
        server
    }

    pub(super) fn url(&self) -> String {
        let login = self.password.as_ref().map_or_else(String::new, |password| format!(":{password}@"));
        format!("redis://{login}127.0.0.1:{}", self.port)
    }

    /// What Redis says to a command, as text.
    pub(super) async fn command(&self, words: &[&str]) -> String {
        self.try_command(words).await.expect("Redis answers")
    }

    async fn try_command(&self, words: &[&str]) -> Option<String> {
        let client = redis::Client::open(self.url()).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| {
            command.arg(*word);
        });
        let value: Value = command.query_async(&mut connection).await.ok()?;
        Some(match value {
            Value::Int(number) => number.to_string(),
            Value::Array(values) => values.iter().filter_map(text).collect::<Vec<_>>().join("\n"),
            other => text(&other).unwrap_or_default(),
        })
    }

    async fn answers(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.try_command(&["PING"]).await.is_none() {
            assert!(Instant::now() < deadline, "redis-server does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// SIGSTOP: connections stay open, nothing is answered.
    pub(super) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(super) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(status.success(), "kill {signal}");
    }

    pub(super) fn kill(&mut self) {
        // An error means that it is dead already.
        let _ = self.child.kill();
        self.child.wait().expect("a child can be waited for");
    }

    pub(super) async fn restart(&mut self) {
        self.child = spawn(self.port, self.password.as_deref());
        self.answers().await;
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        Value::Okay => Some("OK".to_owned()),
        _ => None,
    }
}

fn spawn(port: u16, password: Option<&str>) -> Child {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let binary = root.join(".tools/bin/redis-server");
    assert!(binary.exists(), "{} is missing: run `./scripts/tools redis` first", binary.display());
    let mut command = Command::new(binary);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    if let Some(password) = password {
        command.args(["--requirepass", password]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("redis-server starts")
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
