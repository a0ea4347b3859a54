//! Reads a shard in memory. Faults hit the handing out of messages.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use frazil_core::Shard;
use frazil_core::checkpoint::{Checkpoint, Incarnation, Sequence};
use frazil_core::rewind::Rewinds;
use frazil_log::{Message, ReadError, ReadMode};

use super::{FakeSource, LogOp};
use crate::faults::Fault;
use crate::source::SourceReader;

/// Wait before reading goes on after a fault, as a reader has it.
const PAUSE: Duration = Duration::from_millis(10);
/// Messages that come again after a connection broke in the middle of an answer.
const REDELIVERED: u64 = 3;

pub(crate) struct FakeReader {
    source: FakeSource,
    shard: Shard,
    incarnation: Incarnation,
    next: Sequence,
    mode: ReadMode,
    /// What was read last.
    seen: Option<Checkpoint>,
    /// Shift of the newest rewind on record when it was opened.
    shift: u64,
}

impl FakeReader {
    pub(super) fn new(source: &FakeSource, shard: &Shard, rewinds: &Rewinds, next: Sequence, mode: ReadMode) -> Self {
        let (incarnation, shift) = (rewinds.incarnation, rewinds.newest_shift());
        let seen = next.checked_sub(1).map(|sequence| Checkpoint { incarnation, sequence, at: None });
        Self { source: source.clone(), shard: shard.clone(), incarnation, next, mode, seen, shift }
    }

    /// The message to hand out next; it stays the next one until it is taken.
    fn peek(&mut self) -> Result<Option<Message>, ReadError> {
        let state = self.source.state();
        let Some(log) = state.shards.get(&self.shard) else { return Err(ReadError::Deleted) };
        if log.incarnation != self.incarnation {
            return Err(ReadError::Recreated(log.incarnation));
        }
        log.check(self.seen, self.shift)?;
        self.next = if self.next == 0 { 0 } else { log.expected(self.next) };
        let Some(message) = log.messages.range(self.next..).next().map(|(_, message)| message.clone()) else {
            return Ok(None);
        };
        if self.next > 0 && message.sequence > self.next {
            let expected = std::mem::replace(&mut self.next, message.sequence);
            return Err(ReadError::Gap { expected, found: message.sequence });
        }
        Ok(Some(message))
    }

    fn fate(&self) -> Fault {
        match self.source.fate(LogOp::Next, &self.shard) {
            // Nothing is taken before the wait is over, for it may be cancelled.
            Fault::HangAfter => Fault::HangBefore,
            Fault::HoldAfter(gate) => Fault::HoldBefore(gate),
            Fault::DelayAfter(time) => Fault::DelayBefore(time),
            fault => fault,
        }
    }

    fn take(&mut self, message: Message) -> Message {
        self.next = message.sequence + 1;
        let (incarnation, sequence, at) = (self.incarnation, message.sequence, Some(message.timestamp_nanos));
        self.seen = Some(Checkpoint { incarnation, sequence, at });
        match self.mode {
            ReadMode::Full => {
                self.source.state().full_reads += 1;
                message
            }
            ReadMode::HeadersOnly => Message { payload: Bytes::new(), ..message },
        }
    }

    /// Reading begins anew, a little further back: what was handed out comes again.
    fn begin_again(&mut self) {
        let state = self.source.state();
        let first = state.shards.get(&self.shard).and_then(|log| log.messages.keys().next().copied());
        let back = self.next.saturating_sub(REDELIVERED);
        self.next = self.next.min(back.max(first.unwrap_or(self.next)));
    }
}

impl SourceReader for FakeReader {
    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    fn expect(&mut self, witness: Checkpoint) {
        self.seen = Some(witness);
    }

    async fn next(&mut self) -> Result<Message, ReadError> {
        loop {
            let changes = Arc::clone(&self.source.changed);
            let changed = changes.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let message = match self.peek() {
                Ok(Some(message)) => message,
                Ok(None) => {
                    changed.await;
                    continue;
                }
                // It may take time to find out that the shard is not the one it was.
                Err(error) => {
                    let _whatever_it_is = self.fate().around(&self.source.hung, || ()).await;
                    return Err(error);
                }
            };
            let fault = self.fate();
            if fault == Fault::LoseAnswer {
                self.begin_again();
            } else if fault.around(&self.source.hung, || ()).await.is_ok() {
                return Ok(self.take(message));
            }
            tokio::time::sleep(PAUSE).await;
            return Err(ReadError::Unavailable("scripted".into()));
        }
    }
}
