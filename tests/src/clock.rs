//! Wall clocks of processes of the `frazil` binary, each of which can jump. `tests/clock/clock.c`, preloaded, adds to what the
//! system's clock says; nats-server and SeaweedFS are static programs and keep the system's.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::tools;

/// Compiles the shared object into the folder of a run.
///
/// # Panics
/// If there is no C compiler, which building Frazil needs too.
pub async fn build(dir: &Path) {
    let source = tools::root().join("tests/clock/clock.c");
    let mut command = Command::new("cc");
    command.args(["-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o"]).arg(library(dir)).arg(source);
    let output = command.kill_on_drop(true).output().await.expect("a C compiler, cc");
    assert!(output.status.success(), "cc failed:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// What makes the process `name` run by its own clock, which is not set back when the process is started again.
pub fn environment(dir: &Path, name: &str) -> Vec<(String, String)> {
    let clock = clock(dir, name);
    if !clock.exists() {
        set(dir, name, 0);
    }
    let text = |path: PathBuf| path.to_str().expect("paths of a run are plain").to_owned();
    vec![("LD_PRELOAD".to_owned(), text(library(dir))), ("CLOCK_OFFSET_FILE".to_owned(), text(clock))]
}

/// Sets the clock of the process `name` to the system's plus `offset` nanoseconds.
pub fn set(dir: &Path, name: &str, offset: i64) {
    // Not truncated: it is mapped by the process.
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(clock(dir, name));
    file.and_then(|mut file| file.write_all(&offset.to_ne_bytes())).expect("the folder of the run is writable");
}

fn library(dir: &Path) -> PathBuf {
    dir.join("clock.so")
}

fn clock(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.clock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// Nanoseconds since the Unix epoch as `date` says under the clock of `name`.
    async fn date(dir: &Path, name: &str) -> i64 {
        let mut command = Command::new("date");
        command.arg("+%s%N").envs(environment(dir, name));
        let output = command.output().await.expect("date runs");
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
    }

    fn system() -> i64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        i64::try_from(now.as_nanos()).expect("before 2262")
    }

    #[tokio::test]
    async fn each_process_has_its_own_clock() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        build(dir.path()).await;
        for offset in [0, 86_400 * SECOND, -86_400 * SECOND, 1_500_000_000, -1_500_000_000] {
            set(dir.path(), "jumping", offset);
            let (before, shown, after) = (system(), date(dir.path(), "jumping").await, system());
            assert!((before + offset..=after + offset).contains(&shown), "{offset}: {before} {shown} {after}");
            let (before, shown, after) = (system(), date(dir.path(), "steady").await, system());
            assert!((before..=after).contains(&shown), "{before} {shown} {after}");
        }
    }
}
