//! The progress bar on stderr; hidden where nobody looks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::deliver::Delivered;

const REDRAWS_PER_SECOND: u8 = 5;

/// Bytes read of the files, events accepted.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    consumed: Arc<AtomicU64>,
    accepted: AtomicU64,
}

impl Progress {
    /// `total` bytes, if they are known; `hidden` shows nothing.
    pub(super) fn new(total: Option<u64>, hidden: bool) -> Self {
        // indicatif itself draws nothing when stderr is no terminal.
        let target =
            if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND) };
        let bar = ProgressBar::with_draw_target(total, target);
        let template = match total {
            Some(_) => "{bar:30} {binary_bytes}/{binary_total_bytes}  {msg}  {eta} left",
            None => "{spinner} {binary_bytes}  {msg}  {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(500));
        Self { bar, consumed: Arc::new(AtomicU64::new(0)), accepted: AtomicU64::new(0) }
    }

    /// Counter of the bytes read.
    pub(super) fn consumed(&self) -> Arc<AtomicU64> {
        self.consumed.clone()
    }

    pub(super) fn add(&self, delivered: &Delivered) {
        let accepted = self.accepted.fetch_add(delivered.accepted, Ordering::Relaxed) + delivered.accepted;
        self.bar.set_position(self.consumed.load(Ordering::Relaxed));
        let rate = accepted as f64 / self.bar.elapsed().as_secs_f64().max(0.001);
        self.bar.set_message(format!("{accepted} events  {rate:.0}/s"));
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
