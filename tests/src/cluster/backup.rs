//! Backups of the log: its whole store, copied while nats-server is down and put back later.

use std::path::Path;

use tempfile::TempDir;

use super::{Cluster, start_writer};
use crate::hand::{frazil, start_nats};

/// What the log held at some time.
#[derive(Debug)]
pub struct LogBackup {
    copy: TempDir,
}

impl Cluster {
    /// Copies the log's files. Restarts nats-server.
    pub async fn backup_nats(&mut self) -> LogBackup {
        self.nats.kill9().await;
        let copy = tempfile::tempdir().expect("temporary folder");
        copy_dir(&self.dir.path().join("jetstream"), copy.path());
        self.nats = start_nats(self.dir.path(), self.ports.nats, "").await;
        LogBackup { copy }
    }

    /// Puts the log back to what it was. Restarts nats-server; everything else goes on.
    pub async fn restore_nats(&mut self, backup: &LogBackup) {
        self.nats.kill9().await;
        let store = self.dir.path().join("jetstream");
        std::fs::remove_dir_all(&store).expect("the store is there");
        copy_dir(backup.copy.path(), &store);
        self.nats = start_nats(self.dir.path(), self.ports.nats, "").await;
    }

    /// `kill -9` of every writer.
    pub async fn kill_writers(&mut self) {
        for writer in &mut self.writers {
            writer.kill9().await;
        }
        self.writers.clear();
    }

    /// Starts the one writer again.
    pub fn restart_writer(&mut self) {
        let writer = start_writer(self.dir.path(), "frazil.toml", 0, 1);
        self.writers.push(writer);
    }

    /// Runs a command of the binary against this deployment; returns its exit code and what it printed.
    pub async fn frazil_code(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = frazil(self.dir.path(), "frazil.toml", arguments).await;
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }
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
