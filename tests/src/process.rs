//! A child process with a log, killed when dropped.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// A child. Its standard error goes to a file, its standard output is read line by line or goes there too.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: Option<Lines<BufReader<ChildStdout>>>,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, appending its standard error to `log`.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Self {
        command.stdout(Stdio::piped());
        let mut process = Self::start(name, command, log);
        process.stdout = process.child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        process
    }

    /// Starts `command`, appending both of its outputs to `log`. For long runs, in which nobody reads the output.
    pub fn spawn_logged(name: &str, mut command: Command, log: &Path) -> Self {
        command.stdout(open_log(log));
        Self::start(name, command, log)
    }

    fn start(name: &str, mut command: Command, log: &Path) -> Self {
        command.stdin(Stdio::null()).stderr(open_log(log)).kill_on_drop(true);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { name: name.to_owned(), child, stdout: None, log: log.to_owned() }
    }

    /// Reads standard output until `line`; returns the lines before it.
    ///
    /// # Panics
    /// If the process ends or `limit` passes first; shows the end of its log.
    pub async fn wait_line(&mut self, line: &str, limit: Duration) -> Vec<String> {
        let mut before = Vec::new();
        let stdout = self.stdout.as_mut().expect("the output is piped");
        let read = async {
            while let Some(next) = stdout.next_line().await.expect("stdout is text") {
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

    /// Sends a signal.
    ///
    /// # Errors
    /// If the child has ended.
    pub fn signal(&self, signal: Signal) -> std::io::Result<()> {
        let gone = || std::io::Error::other(format!("{} has ended", self.name));
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).ok_or_else(gone)?;
        Ok(kill_process(pid, signal)?)
    }

    /// How the child ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child is ours")
    }

    /// Asks to end (SIGTERM) and waits; none if that takes longer than `limit`.
    pub async fn terminate(&mut self, limit: Duration) -> Option<ExitStatus> {
        if self.signal(Signal::TERM).is_err() {
            return self.ended();
        }
        tokio::time::timeout(limit, self.child.wait()).await.ok().map(|status| status.expect("the child is ours"))
    }

    /// Asks to end (SIGTERM), waits, and returns whether it ended with success.
    ///
    /// # Panics
    /// If it takes longer than `limit`; shows the end of its log.
    pub async fn stop(&mut self, limit: Duration) -> bool {
        let status = self.terminate(limit).await;
        let late = || panic!("{} did not drain within {limit:?}\n{}", self.name, self.log_tail());
        status.unwrap_or_else(late).success()
    }

    /// Process id of the running child.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the child runs")
    }

    /// Peak resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.peak_bytes().expect("the child runs, on Linux")
    }

    /// Peak resident memory in bytes; none if the child has ended.
    pub fn peak_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib * 1024)
    }

    /// Last lines of the log.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

fn open_log(path: &Path) -> std::fs::File {
    std::fs::OpenOptions::new().create(true).append(true).open(path).expect("log file opens")
}
