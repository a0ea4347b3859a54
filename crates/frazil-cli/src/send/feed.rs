//! The reading side: every file in turn, its events cut into batches, put into the bounded queue.
//!
//! Runs on a blocking thread; a full queue holds it up, which bounds memory. It must not contact anybody.

use std::io::BufRead;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::batch::{Batch, Batcher, Place, Reject, Unit};
use super::events::{self, EventsError, Found};
use super::{Format, OnError, SendArgs, input};

/// What the reading side hands over.
#[derive(Debug)]
pub(super) enum Fed {
    Batch(Batch),
    /// A text in the input that is no event.
    Reject(Reject),
    /// The input cannot be read any further.
    Failed(String),
}

/// What to read and how to cut it.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    files: Vec<PathBuf>,
    format: Format,
    pointer: Option<String>,
    stop_at_rejects: bool,
    prefix: String,
    max_events: usize,
    max_bytes: usize,
}

impl Plan {
    pub(super) fn new(args: &SendArgs, prefix: String) -> Self {
        Self {
            files: args.files.clone(),
            format: args.format,
            pointer: args.pointer.clone(),
            stop_at_rejects: args.on_error == OnError::Stop,
            prefix,
            max_events: args.batch_events,
            max_bytes: usize::try_from(args.batch_bytes.0).unwrap_or(usize::MAX),
        }
    }
}

/// Reads everything, until the end, an error, or `halted`.
pub(super) fn run(plan: &Plan, queue: &mpsc::Sender<Fed>, consumed: &Arc<AtomicU64>, halted: &CancellationToken) {
    let mut feed = Feed {
        batcher: Batcher::new(plan.prefix.clone(), plan.max_events, plan.max_bytes),
        stop_at_rejects: plan.stop_at_rejects,
        queue,
        halted,
    };
    for path in &plan.files {
        let source: Arc<str> = input::name(path).into();
        let flow = match read(plan, path, &source, consumed, &mut feed) {
            Ok(flow) => flow,
            Err(error) => {
                // What was read before goes first: the rest of the input is lost, not this.
                let _ = feed.flush();
                feed.put(Fed::Failed(format!("{source}: {error}")))
            }
        };
        if flow.is_break() {
            return;
        }
    }
    let _ = feed.flush();
}

fn read(
    plan: &Plan,
    path: &Path,
    source: &Arc<str>,
    consumed: &Arc<AtomicU64>,
    feed: &mut Feed<'_>,
) -> Result<ControlFlow<()>, EventsError> {
    let mut input = input::open(path, consumed)?;
    let unit = unit(plan, &mut *input)?;
    let mut flow = ControlFlow::Continue(());
    let mut take = |found: Found<'_>| {
        flow = feed.take(Place { source: source.clone(), unit, number: found.number }, &found);
        flow
    };
    match unit {
        Unit::Line => events::ndjson(&mut *input, &mut take)?,
        Unit::Element => events::json(&mut *input, plan.pointer.as_deref().unwrap_or_default(), &mut take)?,
    }
    Ok(flow)
}

fn unit(plan: &Plan, input: &mut dyn BufRead) -> Result<Unit, EventsError> {
    Ok(match plan.format {
        Format::Ndjson => Unit::Line,
        Format::Json => Unit::Element,
        Format::Auto if plan.pointer.is_some() => Unit::Element,
        Format::Auto => match input.fill_buf()?.trim_ascii_start().first() {
            Some(b'[') => Unit::Element,
            Some(_) | None => Unit::Line,
        },
    })
}

struct Feed<'a> {
    batcher: Batcher,
    stop_at_rejects: bool,
    queue: &'a mpsc::Sender<Fed>,
    halted: &'a CancellationToken,
}

impl Feed<'_> {
    fn take(&mut self, place: Place, found: &Found<'_>) -> ControlFlow<()> {
        let Some(reason) = found.defect.clone() else {
            return match self.batcher.add(&place, found.text) {
                Some(full) => self.put(Fed::Batch(full)),
                None => ControlFlow::Continue(()),
            };
        };
        if self.stop_at_rejects {
            self.flush()?;
        }
        self.put(Fed::Reject(Reject { place, field: String::new(), reason, event: found.text.to_vec() }))?;
        if self.stop_at_rejects { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn flush(&mut self) -> ControlFlow<()> {
        match self.batcher.finish() {
            Some(last) => self.put(Fed::Batch(last)),
            None => ControlFlow::Continue(()),
        }
    }

    fn put(&self, fed: Fed) -> ControlFlow<()> {
        if self.halted.is_cancelled() || self.queue.blocking_send(fed).is_err() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}
