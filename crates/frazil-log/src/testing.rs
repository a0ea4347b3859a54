//! A real nats-server as a child process. Only for tests; behind the cargo feature `testing`.
//!
//! The binary is `.tools/bin/nats-server` of the repository, which `scripts/tools nats` puts there. Without it the
//! tests fail; they are never skipped. The server listens on 127.0.0.1 on a port of its own, keeps its files in a
//! temporary directory, and is killed when the [`TestServer`] is dropped.

use std::fs::write;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::connect::{Log, LogConfig};

/// Bound of a server's start.
const START: Duration = Duration::from_secs(30);

/// What a server may store. It only bounds what shards reserve, and is named because the server's default, three
/// quarters of the free disk, refuses a shard of default size (16 GiB) on a disk with less than 22 GiB left.
const STORE_MAX: &str = "1TB";

/// One nats-server with JetStream on file storage and `sync_interval: always`.
#[derive(Debug)]
pub struct TestServer {
    directory: TempDir,
    port: u16,
    settings: String,
    child: Option<Child>,
}

impl TestServer {
    /// Starts a server with the settings of NATS, in an empty directory.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Starts a server with more settings, in the syntax of its configuration file, such as `max_payload: 8MB`.
    pub fn start_with(settings: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let mut server = Self { directory, port: 0, settings: settings.to_owned(), child: None };
        server.launch();
        server
    }

    /// URL of the server; it stays the same over restarts.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Settings to connect with.
    pub fn config(&self) -> LogConfig {
        LogConfig::new(vec![self.url()], "test")
    }

    /// A connection.
    pub async fn connect(&self) -> Log {
        Log::connect(&self.config()).await.expect("the test server takes connections")
    }

    /// Replaces the settings given to [`TestServer::start_with`]; a restart applies them.
    pub fn set_settings(&mut self, settings: &str) {
        self.settings = settings.to_owned();
    }

    /// Kills the server at once (SIGKILL); its files stay.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error means that it is dead already.
            let _ = child.kill();
            child.wait().expect("a child can be waited for");
        }
    }

    /// Stops the server in its tracks (SIGSTOP): connections stay open, nothing is answered.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets a paused server continue, with everything it was sent meanwhile.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("the server is running").id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().expect("kill can be run");
        assert!(status.success(), "kill {signal} {pid}: {status}");
    }

    /// Kills the server if it is running and starts it again on the same port and files.
    pub fn restart(&mut self) {
        self.kill();
        self.launch();
    }

    /// A copy of everything the server has stored. Restarts it.
    pub fn backup(&mut self) -> Backup {
        self.kill();
        let copy = tempfile::tempdir().expect("a temporary directory can be made");
        copy_dir(&self.store(), copy.path());
        self.launch();
        Backup { copy }
    }

    /// Kills the server and starts it again with what it had stored when the copy was made.
    pub fn restore(&mut self, backup: &Backup) {
        self.kill();
        std::fs::remove_dir_all(self.store()).expect("the store is there");
        copy_dir(backup.copy.path(), &self.store());
        self.launch();
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    fn launch(&mut self) {
        let config = self.directory.path().join("server.conf");
        write(&config, self.configuration()).expect("the temporary directory is writable");
        let mut child = Command::new(binary())
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nats-server can be run");
        let stderr = child.stderr.take().expect("stderr is piped");
        self.child = Some(child);
        self.port = listening_port(stderr);
    }

    fn configuration(&self) -> String {
        let listen = if self.port == 0 { "-1".to_owned() } else { self.port.to_string() };
        let store = self.store();
        format!(
            "server_name: test\nlisten: \"127.0.0.1:{listen}\"\n\
             jetstream {{ store_dir: {store:?}, max_file_store: {STORE_MAX}, sync_interval: always }}\n{}\n",
            self.settings
        )
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a server had stored at some time.
#[derive(Debug)]
pub struct Backup {
    copy: TempDir,
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the target is writable");
    for entry in std::fs::read_dir(from).expect("the source is readable") {
        let entry = entry.expect("the source is readable");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("it has a type").is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a file can be copied");
        }
    }
}

fn binary() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin/nats-server");
    assert!(path.exists(), "{} is missing: run scripts/tools first", path.display());
    path
}

/// Waits until the server says that it is ready, and returns its port. The log is read to its end, so that the
/// server never blocks on a full pipe.
fn listening_port(stderr: ChildStderr) -> u16 {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut port = None;
        let mut seen = Vec::new();
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if let Some((_, address)) = line.split_once("Listening for client connections on ") {
                port = address.rsplit_once(':').and_then(|(_, port)| port.trim().parse().ok());
            }
            if line.contains("Server is ready") {
                // The receiver is gone once it has the port, or has given up.
                let _ = sender.send(port.take().ok_or_else(|| seen.join("\n")));
            }
            if seen.len() < 100 {
                seen.push(line);
            }
        }
        let _ = sender.send(Err(seen.join("\n")));
    });
    match receiver.recv_timeout(START) {
        Ok(Ok(port)) => port,
        Ok(Err(log)) => panic!("nats-server did not start:\n{log}"),
        Err(_) => panic!("nats-server was not ready after {START:?}"),
    }
}
