//! How far the rows of a stream's requests are visible: one number that covers everything before it.
//!
//! Waits for one receipt at a time, the oldest, since nothing behind it can be told before it.

use std::collections::VecDeque;
use std::sync::Arc;

use frazil_core::receipt::Receipt;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::core::Core;
use crate::receipts::Progressed;

/// Requests of one stream that are stored and not visible yet. At the limit the stream is not read further.
const BACKLOG_MAX: usize = 65_536;

/// Requests in the order of their numbers, each with the receipts it still waits for.
pub(super) struct Commits {
    core: Arc<Core>,
    queue: VecDeque<(u64, Vec<Receipt>)>,
    committed: u64,
    waiting: Option<BoxFuture<'static, bool>>,
}

impl Commits {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core), queue: VecDeque::new(), committed: 0, waiting: None }
    }

    pub(super) fn extend(&mut self, stored: Vec<(u64, Vec<Receipt>)>) {
        self.queue.extend(stored);
    }

    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= BACKLOG_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The number up to which everything is visible.
    pub(super) fn committed(&self) -> u64 {
        self.committed
    }

    /// Returns when the number has grown. May be dropped and called again.
    pub(super) async fn grown(&mut self) {
        loop {
            let Some((number, receipts)) = self.queue.front_mut() else { return std::future::pending().await };
            let Some(receipt) = receipts.last() else {
                self.committed = *number;
                self.queue.pop_front();
                return;
            };
            let waiting = self.waiting.get_or_insert_with(|| visible(Arc::clone(&self.core), receipt.clone()).boxed());
            let visible = waiting.await;
            self.waiting = None;
            if visible {
                receipts.pop();
            }
        }
    }
}

/// Whether the rows became visible; if not, the question may be asked again.
async fn visible(core: Arc<Core>, receipt: Receipt) -> bool {
    match core.receipts.wait(&receipt, core.config.wait_max, &core.draining).await {
        Ok(Progressed::Committed { .. }) => true,
        Ok(Progressed::Stored) if core.draining.is_cancelled() => std::future::pending().await,
        Ok(Progressed::Stored) => false,
        // Too many wait. The events are durable, and somebody who waits leaves some time.
        Err(_) => {
            tokio::time::sleep(core.config.poll_interval).await;
            false
        }
    }
}
