//! What happened in a run, line by line with its time: on standard output and in the run's folder.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Milliseconds since the Unix epoch, the clock of acks, commits and faults.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    u64::try_from(since.as_millis()).expect("the clock is before the year 500,000,000")
}

/// The journal of a run.
#[derive(Debug)]
pub struct Journal {
    started: Instant,
    file: Mutex<File>,
}

impl Journal {
    /// A journal in `dir/journal.log`.
    pub fn new(dir: &Path) -> Self {
        let file = File::create(dir.join("journal.log")).expect("the run's folder is writable");
        Self { started: Instant::now(), file: Mutex::new(file) }
    }

    /// Adds a line.
    pub fn note(&self, text: &str) {
        let line = format!("{:8.2} s  {text}", self.started.elapsed().as_secs_f64());
        println!("{line}");
        writeln!(self.file.lock().expect("no panic while held"), "{line}").expect("the run's folder is writable");
    }
}
