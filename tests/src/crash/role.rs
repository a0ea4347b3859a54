//! A role of the deployment as a process that can be killed, frozen, ended and started again, and that is restarted by
//! a supervisor when it ends by itself, as an orchestrator would do.

use std::path::PathBuf;
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::process::Process;

/// How long a role may take to end after SIGTERM, before it is killed; longer than its own drain timeout.
const DRAIN_LIMIT: Duration = Duration::from_secs(40);

/// What a role is, for figures per kind of role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoleKind {
    /// nats-server.
    Nats,
    /// `frazil proxy`.
    Proxy,
    /// `frazil writer`.
    Writer,
    /// `frazil catalog`.
    Catalog,
    /// The S3 server.
    Store,
}

impl RoleKind {
    /// The name in fault kinds and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::Proxy => "proxy",
            Self::Writer => "writer",
            Self::Catalog => "catalog",
            Self::Store => "store",
        }
    }
}

/// Program and arguments of a role.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables it has beside those of the harness.
    pub environment: Vec<(String, String)>,
}

impl Launch {
    /// The program and arguments of `command`.
    pub fn of(command: &Command) -> Self {
        let text = |word: &std::ffi::OsStr| word.to_str().expect("paths of a run are plain").to_owned();
        let command = command.as_std();
        let arguments = command.get_args().map(text).collect();
        Self { program: command.get_program().into(), arguments, environment: Vec::new() }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A role.
#[derive(Debug)]
pub struct Role {
    /// Its name, such as `writer-1`.
    pub name: String,
    /// What it is.
    pub kind: RoleKind,
    log: PathBuf,
    launch: StdMutex<Launch>,
    process: Mutex<Option<Process>>,
    peak: AtomicU64,
    own_ends: StdMutex<Vec<String>>,
}

impl Role {
    /// A role that does not run yet.
    pub fn new(name: &str, kind: RoleKind, launch: Launch, dir: &std::path::Path) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            log: dir.join(format!("{name}.log")),
            launch: StdMutex::new(launch),
            process: Mutex::new(None),
            peak: AtomicU64::new(0),
            own_ends: StdMutex::default(),
        }
    }

    /// What the next start runs.
    pub fn relaunch(&self, launch: Launch) {
        *self.launch.lock().expect("no panic while held") = launch;
    }

    /// Starts the process, if none runs.
    pub async fn start(&self) {
        let mut process = self.process.lock().await;
        if process.is_none() {
            *process = Some(self.spawn());
        }
    }

    /// Kills without warning, frozen or not.
    pub async fn kill9(&self) {
        if let Some(mut process) = self.take().await {
            process.kill9().await;
        }
    }

    /// Asks to end (SIGTERM); whether it ended in time and with success. Killed if it did not.
    pub async fn end(&self) -> bool {
        let Some(mut process) = self.take().await else { return true };
        match process.terminate(DRAIN_LIMIT).await {
            Some(status) => status.success(),
            None => {
                process.kill9().await;
                false
            }
        }
    }

    /// Freezes the process.
    pub async fn freeze(&self) {
        self.signal(Signal::STOP).await;
    }

    /// Thaws it.
    pub async fn thaw(&self) {
        self.signal(Signal::CONT).await;
    }

    /// Starts the process again if it has ended by itself, and notes that.
    pub async fn supervise(&self) -> Option<String> {
        let mut process = self.process.lock().await;
        let status = process.as_mut()?.ended()?;
        let tail = process.as_ref().map(Process::log_tail).unwrap_or_default();
        *process = Some(self.spawn());
        let last = tail.lines().last().unwrap_or_default();
        let note = format!("{} ended by itself ({status}): {last}", self.name);
        self.own_ends.lock().expect("no panic while held").push(note.clone());
        Some(note)
    }

    /// Notes how much memory the process has used at most.
    pub async fn measure(&self) {
        if let Some(bytes) = self.process.lock().await.as_ref().and_then(Process::peak_bytes) {
            self.peak.fetch_max(bytes, Ordering::Relaxed);
        }
    }

    /// Peak resident memory seen so far, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// The times the process ended by itself.
    pub fn own_ends(&self) -> Vec<String> {
        self.own_ends.lock().expect("no panic while held").clone()
    }

    async fn take(&self) -> Option<Process> {
        self.measure().await;
        self.process.lock().await.take()
    }

    async fn signal(&self, signal: Signal) {
        if let Some(process) = self.process.lock().await.as_ref() {
            // It may have ended by itself, which the supervisor notes.
            let _ = process.signal(signal);
        }
    }

    fn spawn(&self) -> Process {
        let command = self.launch.lock().expect("no panic while held").command();
        Process::spawn_logged(&self.name, command, &self.log)
    }
}
