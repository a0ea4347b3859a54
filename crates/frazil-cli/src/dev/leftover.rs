//! The nats-server of a `frazil dev` that crashed: it still owns the store, so it is stopped before a new one starts.
//!
//! Only a process whose command line names our own configuration file is ever signalled.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::bail;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

/// How long a leftover may take to end after SIGTERM, and again after SIGKILL.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// The process named by the pid file, if it runs with the configuration at `config`.
pub(super) fn find(pid_file: &Path, config: &Path) -> Option<Pid> {
    let pid: i32 = std::fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    let pid = Some(pid).filter(|pid| *pid > 1).and_then(Pid::from_raw)?;
    is_ours(pid, config).then_some(pid)
}

/// Stops the leftover, if there is one.
pub(super) async fn stop(pid_file: &Path, config: &Path) -> anyhow::Result<()> {
    let Some(pid) = find(pid_file, config) else { return Ok(()) };
    tracing::warn!(
        pid = pid.as_raw_nonzero().get(),
        "stopping the nats-server of an earlier run that did not end well"
    );
    for signal in [Signal::TERM, Signal::KILL] {
        // It may be gone at this very moment.
        let _ = kill_process(pid, signal);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if !is_ours(pid, config) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }
    bail!("the nats-server of an earlier run (process {}) does not end; stop it by hand", pid.as_raw_nonzero())
}

fn is_ours(pid: Pid, config: &Path) -> bool {
    let config = config.to_string_lossy();
    command_line(pid).is_some_and(|arguments| arguments.iter().any(|argument| *argument == config))
}

/// The arguments of a running process; `None` if it is gone or a zombie.
fn command_line(pid: Pid) -> Option<Vec<String>> {
    let pid = pid.as_raw_nonzero().get();
    let split = |text: &[u8], at: u8| -> Vec<String> {
        text.split(|byte| *byte == at)
            .filter(|part| !part.is_empty())
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect()
    };
    if Path::new("/proc/self/cmdline").exists() {
        return std::fs::read(format!("/proc/{pid}/cmdline")).ok().map(|text| split(&text, 0));
    }
    // Without /proc (macOS) ps tells; paths with spaces are then not recognised, which only means: left alone.
    let listed = Command::new("ps").args(["-o", "command=", "-p", &pid.to_string()]).output().ok()?;
    listed.status.success().then(|| split(listed.stdout.trim_ascii_end(), b' '))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Stdio};

    use super::*;

    /// A process that ends when its standard input does, with `config` among its arguments. It has said that it runs:
    /// right after a spawn the kernel may not show the arguments yet.
    fn process(config: &Path) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", "echo up; read _", "nats-server", "-c"]).arg(config);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh");
        let said = child.stdout.as_mut().expect("piped");
        std::io::Read::read_exact(said, &mut [0; 3]).expect("up");
        child
    }

    #[tokio::test]
    async fn only_a_process_with_our_configuration_is_found_and_stopped() {
        let dir = tempfile::tempdir().expect("dir");
        let (pid_file, ours, other) = (dir.path().join("pid"), dir.path().join("a.conf"), dir.path().join("b.conf"));
        assert_eq!(find(&pid_file, &ours), None, "no pid file");

        let mut child = process(&ours);
        std::fs::write(&pid_file, format!("{}\n", child.id())).expect("write");
        assert_eq!(find(&pid_file, &other), None, "another configuration");
        stop(&pid_file, &other).await.expect("nothing to stop");
        assert!(child.try_wait().expect("status").is_none(), "the other process was left alone");

        let found = find(&pid_file, &ours).expect("found");
        assert_eq!(found.as_raw_nonzero().get().unsigned_abs(), child.id());
        stop(&pid_file, &ours).await.expect("stopped");
        assert!(!child.wait().expect("status").success(), "ended by the signal");
        assert_eq!(find(&pid_file, &ours), None, "gone");
    }

    #[test]
    fn pids_that_are_none_are_ignored() {
        let dir = tempfile::tempdir().expect("dir");
        let pid_file = dir.path().join("pid");
        for text in ["", "x", "0", "1", "-5", "999999999999"] {
            std::fs::write(&pid_file, text).expect("write");
            assert_eq!(find(&pid_file, Path::new("/x.conf")), None, "{text:?}");
        }
    }
}
