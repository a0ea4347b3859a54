//! The nats-server child: started, watched, started again on the same port if it dies, stopped at the end.
//!
//! It has a process group of its own, so that Ctrl-C in a terminal reaches only us and the drain keeps its order.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::data_dir::write_private;
use super::leftover;
use super::nats_config::{ServerConfig, pid_file};
use crate::lifecycle::Stop;

/// Starting includes the recovery of the store, which grows with it.
const START_PATIENCE: Duration = Duration::from_secs(120);
const STOP_PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// A child that lived this long did not die of its start; the backoff begins anew.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);
/// The log file is started over when it is larger than this at a start.
const LOG_MAX_BYTES: u64 = 16 << 20;
/// Lines of the server's log shown when it does not start.
const TAIL_LINES: usize = 8;

/// A running nats-server.
#[derive(Debug)]
pub(super) struct Nats {
    binary: PathBuf,
    config: ServerConfig,
    log: PathBuf,
    address: SocketAddr,
    child: Child,
    stop: Stop,
}

impl Nats {
    /// Stops a leftover of an earlier run, then starts the server and waits until it listens.
    pub(super) async fn start(
        binary: PathBuf,
        dir: PathBuf,
        log: PathBuf,
        listen: Option<SocketAddr>,
        stop: Stop,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let token = format!("{:032x}", rand::random::<u128>());
        let mut config = ServerConfig { dir, listen, token };
        leftover::stop(&pid_file(&config.dir), &config.path()).await?;
        let mut child = spawn(&binary, &config, &log)?;
        stop.guard_child(pid_of(&child));
        let address = await_listening(&mut child, &binary, &config, &log).await?;
        // From now on the same port, also when it was chosen freely: clients reconnect to it.
        config.listen = Some(address);
        Ok(Self { binary, config, log, address, child, stop })
    }

    pub(super) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    pub(super) fn token(&self) -> String {
        self.config.token.clone()
    }

    /// Keeps the server running until `cancel`, then stops it.
    pub(super) async fn supervise(mut self, cancel: CancellationToken) -> anyhow::Result<()> {
        let mut backoff = FIRST_BACKOFF;
        loop {
            let started = Instant::now();
            tokio::select! {
                () = cancel.cancelled() => return self.end().await,
                ended = self.child.wait() => error!(status = ?ended, log = %self.log.display(), "nats-server died"),
            }
            if started.elapsed() >= HEALTHY_AFTER {
                backoff = FIRST_BACKOFF;
            }
            loop {
                tokio::select! {
                    () = cancel.cancelled() => return Ok(()),
                    () = tokio::time::sleep(backoff) => {}
                }
                backoff = (backoff * 2).min(LONGEST_BACKOFF);
                match self.restart().await {
                    Ok(()) => break,
                    Err(failure) => error!("nats-server does not start again: {failure:#}"),
                }
            }
        }
    }

    async fn restart(&mut self) -> anyhow::Result<()> {
        let Self { binary, config, log, stop, .. } = self;
        let mut child = spawn(binary, config, log)?;
        stop.guard_child(pid_of(&child));
        await_listening(&mut child, binary, config, log).await?;
        self.child = child;
        info!(url = self.url(), "nats-server runs again");
        Ok(())
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        if let Some(pid) = pid_of(&self.child) {
            // It may have died at this very moment.
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(STOP_PATIENCE, self.child.wait()).await.is_err() {
            warn!("nats-server did not end within {STOP_PATIENCE:?}; killing it, which loses nothing acknowledged");
            self.child.kill().await.context("cannot kill nats-server")?;
        }
        self.stop.guard_child(None);
        // Best effort: a file that stays names a process that is gone.
        let _ = std::fs::remove_file(self.config.pid_file());
        Ok(())
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw)
}

fn spawn(binary: &Path, config: &ServerConfig, log: &Path) -> anyhow::Result<Child> {
    write_private(&config.path(), &config.text())?;
    let output = log_file(log).with_context(|| format!("cannot write {}", log.display()))?;
    let errors = output.try_clone().context("cannot share the log file")?;
    Command::new(binary)
        .arg("-c")
        .arg(config.path())
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))
}

fn log_file(path: &Path) -> std::io::Result<File> {
    let large = std::fs::metadata(path).is_ok_and(|meta| meta.len() > LOG_MAX_BYTES);
    if large {
        std::fs::remove_file(path)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// The file in which the server names the ports it listens on.
#[derive(Debug, Deserialize)]
struct Ports {
    #[serde(default)]
    nats: Vec<String>,
}

async fn await_listening(
    child: &mut Child,
    binary: &Path,
    config: &ServerConfig,
    log: &Path,
) -> anyhow::Result<SocketAddr> {
    let pid = child.id().context("nats-server ended at once")?;
    let name = binary.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let ports = config.dir.join(format!("{name}_{pid}.ports"));
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        if let Some(address) = listening(&ports) {
            // It has told us; the next start has another pid and another file.
            let _ = std::fs::remove_file(&ports);
            return Ok(address);
        }
        if let Some(status) = child.try_wait().context("nats-server")? {
            bail!("nats-server ended at its start ({status}); the end of {}:\n{}", log.display(), tail(log));
        }
        if Instant::now() >= deadline {
            bail!("nats-server does not listen after {START_PATIENCE:?}; the end of {}:\n{}", log.display(), tail(log));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn listening(ports: &Path) -> Option<SocketAddr> {
    // The file may be there before its content is.
    let ports: Ports = serde_json::from_slice(&std::fs::read(ports).ok()?).ok()?;
    ports.nats.iter().find_map(|url| url.strip_prefix("nats://")?.parse().ok())
}

fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_file() {
        let dir = tempfile::tempdir().expect("dir");
        let file = dir.path().join("nats-server_1.ports");
        assert_eq!(listening(&file), None);
        for (text, address) in [
            ("", None),
            ("{\"nats\":[", None),
            ("{}", None),
            (r#"{"nats":["nats://127.0.0.1:4321"],"monitoring":[]}"#, Some("127.0.0.1:4321")),
        ] {
            std::fs::write(&file, text).expect("write");
            assert_eq!(listening(&file).map(|address| address.to_string()).as_deref(), address, "{text}");
        }
    }

    #[tokio::test]
    async fn a_server_that_does_not_start_is_explained() {
        let dir = tempfile::tempdir().expect("dir");
        let binary = dir.path().join("nats-server");
        std::fs::write(&binary, "#!/bin/sh\necho 'no space left' >&2\nexit 3\n").expect("write");
        std::fs::set_permissions(&binary, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
        let (nats, log) = (dir.path().join("nats"), dir.path().join("nats.log"));
        let failure = Nats::start(binary, nats, log, None, Stop::default()).await.expect_err("does not start");
        let text = format!("{failure:#}");
        assert!(text.contains("no space left") && text.contains("exit status: 3"), "{text}");
    }
}
