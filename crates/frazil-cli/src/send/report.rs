//! Books what became of every batch, writes receipts and refused events to their files, and sums up at the end.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;
use serde_json::value::RawValue;

use super::SendArgs;
use super::batch::Reject;
use super::deliver::{Delivered, STOPPED};
use super::receipts::Newest;
use crate::exit::Failure;

/// Refused events shown on stderr; the rest is counted, and in the file if there is one.
const SHOWN_REJECTS: u64 = 20;

/// The books.
#[derive(Debug)]
pub(super) struct Report {
    prefix: String,
    started: Instant,
    sent_in: Option<Duration>,
    committed: Option<Result<Duration, String>>,
    accepted: u64,
    bytes: u64,
    requests: u64,
    retries: u64,
    receipts: u64,
    rejected: u64,
    unsent: u64,
    failure: Option<String>,
    newest: Newest,
    receipts_file: Option<(PathBuf, BufWriter<File>)>,
    rejects_file: Option<(PathBuf, BufWriter<File>)>,
}

impl Report {
    /// Opens the files, so that a path that cannot be written fails before anything is sent.
    pub(super) fn open(args: &SendArgs, prefix: String) -> anyhow::Result<Self> {
        let open = |path: &Option<PathBuf>| -> anyhow::Result<_> {
            let Some(path) = path else { return Ok(None) };
            let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(Some((path.clone(), BufWriter::new(file))))
        };
        Ok(Self {
            prefix,
            started: Instant::now(),
            sent_in: None,
            committed: None,
            accepted: 0,
            bytes: 0,
            requests: 0,
            retries: 0,
            receipts: 0,
            rejected: 0,
            unsent: 0,
            failure: None,
            newest: Newest::default(),
            receipts_file: open(&args.receipts)?,
            rejects_file: open(&args.rejects)?,
        })
    }

    pub(super) fn receipts(&self) -> u64 {
        self.receipts
    }

    pub(super) fn newest(&self) -> &Newest {
        &self.newest
    }

    /// Books one batch; whether nothing more should be sent.
    pub(super) fn book(&mut self, delivered: Delivered) -> anyhow::Result<bool> {
        self.accepted += delivered.accepted;
        self.bytes += delivered.bytes;
        self.requests += delivered.requests;
        self.retries += delivered.retries;
        self.unsent += delivered.unsent;
        if let Some(receipt) = delivered.receipt {
            self.receipts += 1;
            if !self.newest.add(&receipt) {
                tracing::warn!("a receipt of another version; --wait cannot follow it");
            }
            if let Some((path, file)) = &mut self.receipts_file {
                writeln!(file, "{receipt}").with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        for reject in &delivered.rejects {
            self.reject(reject)?;
        }
        let stop = delivered.failure.is_some();
        let held = self.failure.as_deref();
        // The first failure counts, except that one about the whole says more than "there were refused events".
        if held.is_none() || held == Some(STOPPED) {
            self.failure = delivered.failure.or_else(|| self.failure.take());
        }
        Ok(stop)
    }

    fn reject(&mut self, reject: &Reject) -> anyhow::Result<()> {
        self.rejected += 1;
        let Reject { place, field, reason, event } = reject;
        if self.rejected <= SHOWN_REJECTS {
            // The proxy's words name the field already.
            let field = if reason.contains(field.as_str()) { String::new() } else { format!("{field}: ") };
            eprintln!("{place}: {field}{reason}");
        } else if self.rejected == SHOWN_REJECTS + 1 {
            eprintln!("… more refused events are counted but not shown");
        }
        let Some((path, file)) = &mut self.rejects_file else { return Ok(()) };
        let raw: Option<&RawValue> = serde_json::from_slice(event).ok();
        let event = raw.map_or_else(|| json!(String::from_utf8_lossy(event)), |raw| json!(raw));
        let line =
            json!({"source": &*place.source, "number": place.number, "field": field, "reason": reason, "event": event});
        writeln!(file, "{line}").with_context(|| format!("cannot write {}", path.display()))
    }

    /// The user wants to stop.
    pub(super) fn interrupt(&mut self) {
        self.failure.get_or_insert_with(|| "interrupted".to_owned());
    }

    /// Everything that will be sent is sent.
    pub(super) fn sent(&mut self) {
        self.sent_in = Some(self.started.elapsed());
    }

    /// How waiting for the commit ended.
    pub(super) fn waited(&mut self, waited: Result<(), String>) {
        self.committed = Some(waited.map(|()| self.started.elapsed()));
    }

    fn is_complete(&self) -> bool {
        let all = self.failure.is_none() && self.rejected == 0 && self.unsent == 0;
        all && !matches!(self.committed, Some(Err(_)))
    }

    /// Closes the files, prints the summary, and says how it went.
    pub(super) fn print(mut self, as_json: bool) -> Result<ExitCode, Failure> {
        for (path, file) in [&mut self.receipts_file, &mut self.rejects_file].into_iter().flatten() {
            file.flush().with_context(|| format!("cannot write {}", path.display()))?;
        }
        if as_json {
            println!("{}", self.json())
        } else {
            print!("{}", self.text())
        }
        Ok(if self.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn seconds(&self) -> f64 {
        self.sent_in.unwrap_or_else(|| self.started.elapsed()).as_secs_f64().max(0.001)
    }

    /// The summary for scripts.
    pub(super) fn json(&self) -> serde_json::Value {
        let committed = self.committed.as_ref().map(Result::is_ok);
        let visible = self.committed.as_ref().and_then(|waited| waited.as_ref().ok()).map(Duration::as_secs_f64);
        json!({
            "complete": self.is_complete(),
            "accepted": self.accepted,
            "rejected": self.rejected,
            "unsent": self.unsent,
            "bytes": self.bytes,
            "seconds": self.seconds(),
            "events_per_second": self.accepted as f64 / self.seconds(),
            "requests": self.requests,
            "retries": self.retries,
            "receipts": self.receipts,
            "committed": committed,
            "committed_after_seconds": visible,
            "key_prefix": self.prefix,
            "failure": self.failure.clone().or_else(|| self.committed.clone()?.err()),
        })
    }

    fn text(&self) -> String {
        let seconds = self.seconds();
        let mut text = format!(
            "accepted   {} events, {} in {seconds:.1} s ({} events/s, {}/s)\n",
            HumanCount(self.accepted),
            HumanBytes(self.bytes),
            HumanCount((self.accepted as f64 / seconds) as u64),
            HumanBytes((self.bytes as f64 / seconds) as u64),
        );
        text += &format!("requests   {} ({} retries), {} receipts\n", self.requests, self.retries, self.receipts);
        match &self.committed {
            Some(Ok(after)) => text += &format!("committed  all, {:.1} s after the start\n", after.as_secs_f64()),
            Some(Err(reason)) => text += &format!("committed  not known to be: {reason}\n"),
            None => {}
        }
        if self.rejected > 0 {
            text += &format!("refused    {} events\n", HumanCount(self.rejected));
        }
        if self.unsent > 0 {
            text += &format!("not sent   {} events that were read, and what was not read\n", HumanCount(self.unsent));
        }
        if let Some(failure) = &self.failure {
            text += &format!("failed     {failure}\n");
            text +=
                &format!("to go on   repeat the command with --key-prefix {}: no event is stored twice\n", self.prefix);
        }
        text
    }
}
