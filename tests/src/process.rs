//! A child process with a log, killed when dropped.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// A running child. Its standard error goes to a file, its standard output is read line by line.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, appending its standard error to `log`.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Self {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("log file opens");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        Self { name: name.to_owned(), child, stdout, log: log.to_owned() }
    }

    /// Reads standard output until `line`; returns the lines before it.
    ///
    /// # Panics
    /// If the process ends or `limit` passes first; shows the end of its log.
    pub async fn wait_line(&mut self, line: &str, limit: Duration) -> Vec<String> {
        let mut before = Vec::new();
        let read = async {
            while let Some(next) = self.stdout.next_line().await.expect("stdout is text") {
                if next == line {
                    return true;
                }
                before.push(next);
            }
            false
        };
        let found = tokio::time::timeout(limit, read).await.unwrap_or(false);
        assert!(found, "{} did not print {line:?} within {limit:?}; its log ends\n{}", self.name, self.log_tail());
        before
    }

    /// Kills without warning, as a crash does, and reaps.
    pub async fn kill9(&mut self) {
        self.child.kill().await.unwrap_or_else(|error| panic!("{} cannot be killed: {error}", self.name));
    }

    /// Sends a signal by number.
    pub fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let status = std::process::Command::new("kill").args([signal, &pid]).status().expect("kill runs");
        assert!(status.success(), "kill {signal} {pid} ({}) failed", self.name);
    }

    /// Asks to end (SIGTERM), waits, and returns whether it ended with success.
    pub async fn stop(&mut self, limit: Duration) -> bool {
        self.signal("-TERM");
        let status = tokio::time::timeout(limit, self.child.wait()).await;
        let status =
            status.unwrap_or_else(|_| panic!("{} did not drain within {limit:?}\n{}", self.name, self.log_tail()));
        status.expect("child is ours").success()
    }

    /// Process id of the running child.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the child runs")
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("child runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux reports peak memory");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number of KiB");
        kib * 1024
    }

    /// Last lines of the log.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}
