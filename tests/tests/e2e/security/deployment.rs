//! A deployment that is closed as docs/security.md says: every role has its own NATS user with the least it needs, the catalog a
//! token, Redis a password. Every secret has `hush` in it.

use std::path::{Path, PathBuf};
use std::process::Output;

use frazil_tests::client::Api;
use frazil_tests::hand::{self, READY, answers, free_ports, listens, start_nats, start_role, succeeded};
use frazil_tests::process::Process;
use frazil_tests::tools;
use tempfile::TempDir;
use tokio::process::Command;

/// NATS permissions of the roles, as docs/security.md has them. A test compares.
pub(super) const PERMISSIONS: &str = include_str!("nats-users.conf");

pub(super) struct Deployment {
    pub(super) nats: Process,
    pub(super) redis: Process,
    pub(super) catalog: Process,
    ports: Ports,
    dir: TempDir,
}

#[derive(Clone, Copy)]
struct Ports {
    nats: u16,
    redis: u16,
    catalog: u16,
}

impl Deployment {
    /// NATS, Redis and the catalog; the stream `default`, which creates tables, with limits as `limits` says.
    pub(super) async fn start(limits: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let [nats, redis, catalog] = free_ports();
        let ports = Ports { nats, redis, catalog };
        for user in ["admin", "proxy", "writer", "catalog"] {
            let text = config(dir.path(), ports, user, &format!("hush-nats-{user}"));
            std::fs::write(dir.path().join(format!("{user}.toml")), text).expect("temporary file");
        }
        let nats = start_nats(dir.path(), nats, PERMISSIONS).await;
        let redis = start_redis(dir.path(), redis).await;
        let catalog = start_role(dir.path(), "catalog", &["catalog"], "catalog.toml", &[]);
        let mut new = Self { nats, redis, catalog, ports, dir };
        listens("the catalog", ports.catalog).await;
        let create = ["stream", "create", "default", "--on-missing-table", "create", "--max-bytes", "1GiB"];
        new.admin(&[&create, limits].concat()).await;
        new
    }

    /// Runs a command as the operator; it has to succeed.
    pub(super) async fn admin(&mut self, arguments: &[&str]) -> String {
        succeeded(self.run("admin", arguments).await)
    }

    /// Runs a command with the configuration of a role.
    pub(super) async fn run(&self, user: &str, arguments: &[&str]) -> Output {
        hand::frazil(self.dir.path(), &format!("{user}.toml"), arguments).await
    }

    /// A new token, and its id.
    pub(super) async fn token(&mut self, arguments: &[&str]) -> (String, String) {
        let text = self.admin(&[&["token", "create"], arguments].concat()).await;
        let token = text.split_whitespace().find(|word| word.starts_with("frz_")).expect("the token is printed");
        (token.to_owned(), token.split('_').nth(1).expect("three parts").to_owned())
    }

    pub(super) async fn proxy(&self, name: &str) -> (Process, String) {
        let [port] = free_ports();
        let listen = format!("127.0.0.1:{port}");
        let listen = [("FRAZIL__PROXY__LISTEN", listen.as_str())];
        let process = start_role(self.dir.path(), name, &["proxy"], "proxy.toml", &listen);
        let url = format!("http://127.0.0.1:{port}");
        answers(&format!("{url}/readyz"), &process).await;
        (process, url)
    }

    pub(super) fn writer(&self) -> Process {
        let arguments = ["writer", "--ordinal", "0", "--replicas", "1"];
        start_role(self.dir.path(), "writer", &arguments, "writer.toml", &[])
    }

    /// A role that does not come up, and what it says.
    pub(super) async fn fails(&self, name: &str, arguments: &[&str], text: &str) -> String {
        let config = format!("{name}.toml");
        std::fs::write(self.file(&config), text).expect("temporary file");
        let failing = hand::frazil(self.dir.path(), &config, arguments);
        let output = tokio::time::timeout(READY, failing).await.expect("it gives up");
        assert!(!output.status.success(), "{name} came up");
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    /// The configuration of a user.
    pub(super) fn config(&self, user: &str, password: &str) -> String {
        config(self.dir.path(), self.ports, user, password)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Every log line of every role so far.
    pub(super) fn logs(&self) -> String {
        let entries = std::fs::read_dir(self.dir.path()).expect("a readable folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        // What NATS and Redis log is theirs.
        let ours = |path: &PathBuf| {
            path.extension().is_some_and(|e| e == "log") && !path.ends_with("nats.log") && !path.ends_with("redis.log")
        };
        paths.filter(ours).map(|path| std::fs::read_to_string(path).expect("UTF-8")).collect()
    }

    pub(super) fn api(&self, url: &str, token: &str) -> Api {
        Api::new(url, token)
    }
}

fn config(dir: &Path, ports: Ports, user: &str, password: &str) -> String {
    let Ports { nats, redis, catalog } = ports;
    let dir = dir.display();
    format!(
        r#"
[telemetry]
level = "debug"
[nats]
servers = ["nats://127.0.0.1:{nats}"]
user = "{user}"
password = "{password}"
[proxy]
listen = "127.0.0.1:0"
publish_timeout = "500ms"
publish_deadline = "1s"
catalog_timeout = "1s"
[proxy.rate_limits]
redis = "redis://:hush-redis@127.0.0.1:{redis}"
# A slow machine must not decide alone: who shares is what is tested.
timeout = "5s"
[writer]
admin_listen = "127.0.0.1:0"
flush_interval = "500ms"
[catalog]
listen = "127.0.0.1:{catalog}"
admin_listen = "127.0.0.1:0"
database = "{dir}/catalog.db"
warehouse = "file://{dir}/warehouse"
token = "hush-catalog"
[catalog.properties]
"s3.secret-access-key" = "hush-s3-key"
[catalogs.frazil]
uri = "http://127.0.0.1:{catalog}"
[catalogs.frazil.auth]
kind = "bearer"
token = "hush-catalog"
[catalogs.frazil.headers]
x-api-key = "hush-header"
[catalogs.frazil.properties]
"s3.access-key-id" = "hush-s3-id"
"s3.secret-access-key" = "hush-s3-key"
"#
    )
}

async fn start_redis(dir: &Path, port: u16) -> Process {
    let mut command = Command::new(tools::tool("bin/redis-server"));
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--requirepass", "hush-redis"]);
    let process = Process::spawn_logged("redis-server", command, &dir.join("redis.log"));
    listens("redis-server", port).await;
    process
}
