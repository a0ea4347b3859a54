//! A log in memory with scripted faults per operation, for tests: the fake beside the real thing.
//!
//! Keeps what JetStream promises: one order per shard, sequences from 1, no second message with a known message id.

mod script;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use frazil_core::Shard;
use frazil_core::checkpoint::{Incarnation, Sequence};
use frazil_core::envelope::{EncodedEnvelope, MESSAGE_ID_HEADER, Section, sections};
use frazil_core::stream::{CommitNotice, Progress};
use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use tokio::sync::broadcast;

use super::{EventLog, LogUnavailable, Notices, PublishError, Publisher, Stored};
use script::Scripts;
pub use script::{Fault, Op};

/// Notices that a slow subscriber may have unread; beyond, it misses the oldest.
const NOTICES_KEPT: usize = 1024;

/// The log. Clones share it.
#[derive(Debug, Clone)]
pub struct MemoryLog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    scripts: Scripts,
}

#[derive(Debug)]
struct State {
    connected: bool,
    max_message_bytes: usize,
    shards: BTreeMap<Shard, MemoryShard>,
    /// Whoever subscribed gets notices until this is another sender.
    notices: broadcast::Sender<(Shard, CommitNotice)>,
}

#[derive(Debug, Default)]
struct MemoryShard {
    incarnation: u64,
    deleted: bool,
    messages: Vec<EncodedEnvelope>,
    by_id: HashMap<String, Sequence>,
    progress: Option<Progress>,
    lost: BTreeSet<Sequence>,
}

impl Default for MemoryLog {
    fn default() -> Self {
        let (shards, notices) = (BTreeMap::new(), broadcast::Sender::new(NOTICES_KEPT));
        let state = State { connected: true, max_message_bytes: 1 << 20, shards, notices };
        let inner = Inner { state: Mutex::new(state), scripts: Scripts::default() };
        Self { inner: Arc::new(inner) }
    }
}

impl MemoryLog {
    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Scripts the next publishes, one entry each; `None` is success.
    pub fn script(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.script_on(Op::Publish, faults);
    }

    /// Scripts the next calls of an operation, one entry each; `None` is success.
    pub fn script_on(&self, op: Op, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.inner.scripts.add(op, faults);
    }

    /// Forgets what is still scripted for an operation.
    pub fn heal(&self, op: Op) {
        self.inner.scripts.clear(op);
    }

    /// Lets one held publish go on.
    pub fn release(&self) {
        self.release_on(Op::Publish);
    }

    /// Lets one held call of an operation go on.
    pub fn release_on(&self, op: Op) {
        self.inner.scripts.release(op);
    }

    /// Returns when `count` publishes have been attempted since the beginning.
    pub async fn attempted(&self, count: usize) {
        self.attempted_on(Op::Publish, count).await;
    }

    /// Returns when an operation has been attempted `count` times since the beginning.
    pub async fn attempted_on(&self, op: Op, count: usize) {
        self.inner.scripts.attempted(op, count).await;
    }

    /// Publishes attempted since the beginning.
    pub fn attempts(&self) -> usize {
        self.attempts_on(Op::Publish)
    }

    /// Attempts of an operation since the beginning.
    pub fn attempts_on(&self, op: Op) -> usize {
        self.inner.scripts.attempts(op)
    }

    /// Ends every subscription to notices, as a broken connection does. What is announced until somebody subscribes
    /// again is lost.
    pub fn break_notices(&self) {
        self.state().notices = broadcast::Sender::new(NOTICES_KEPT);
    }

    /// The messages a shard stores, in order.
    pub fn messages(&self, shard: &Shard) -> Vec<EncodedEnvelope> {
        self.state().shards.get(shard).map(|shard| shard.messages.clone()).unwrap_or_default()
    }

    /// The sections a shard stores, with the sequence of their message.
    ///
    /// # Panics
    /// If an envelope cannot be read, which would be a defect of the proxy.
    pub fn sections(&self, shard: &Shard) -> Vec<(Sequence, Section)> {
        let numbered = (1..).zip(self.messages(shard));
        let read = numbered.flat_map(|(sequence, message)| {
            let read: Vec<_> = sections(&message.payload).collect();
            read.into_iter().map(move |section| (sequence, section.expect("a valid envelope")))
        });
        read.collect()
    }

    /// Deletes a shard with everything in it. A later [`MemoryLog::recreate`] makes it anew.
    pub fn delete(&self, shard: &Shard) {
        let mut state = self.state();
        let shard = state.shards.entry(shard.clone()).or_default();
        let incarnation = shard.incarnation;
        *shard = MemoryShard { deleted: true, incarnation, ..MemoryShard::default() };
    }

    /// Replaces a shard by an empty one of the next incarnation.
    pub fn recreate(&self, shard: &Shard) {
        let mut state = self.state();
        let shard = state.shards.entry(shard.clone()).or_default();
        *shard = MemoryShard { incarnation: shard.incarnation + 1, ..MemoryShard::default() };
    }

    /// Makes the log reachable or not, as far as readiness is concerned.
    pub fn set_connected(&self, connected: bool) {
        self.state().connected = connected;
    }

    /// Bounds messages.
    pub fn set_max_message_bytes(&self, bytes: usize) {
        self.state().max_message_bytes = bytes;
    }

    /// A recorded rewind of the log took away the message at this position.
    pub fn lose(&self, shard: &Shard, position: Sequence) {
        self.state().shards.entry(shard.clone()).or_default().lost.insert(position);
    }

    /// Sets the low watermark of a shard.
    pub fn set_progress(&self, shard: &Shard, progress: Progress) {
        self.state().shards.entry(shard.clone()).or_default().progress = Some(progress);
    }

    /// Announces a commit. Nobody may be listening yet.
    pub fn announce(&self, shard: &Shard, notice: CommitNotice) {
        let _ = self.state().notices.send((shard.clone(), notice));
    }

    fn store(&self, shard: &Shard, envelope: &EncodedEnvelope) -> Result<Stored, PublishError> {
        let mut state = self.state();
        let shard = state.shards.entry(shard.clone()).or_default();
        if shard.deleted {
            return Err(PublishError::NoShard);
        }
        let id = envelope.headers.iter().find(|(name, _)| *name == MESSAGE_ID_HEADER).map(|(_, id)| id.clone());
        let id = id.expect("every envelope has a message id");
        let next = shard.messages.len() as Sequence + 1;
        let sequence = *shard.by_id.entry(id).or_insert(next);
        if sequence == next {
            shard.messages.push(envelope.clone());
        }
        Ok(Stored::new(Incarnation(shard.incarnation), sequence))
    }
}

impl EventLog for MemoryLog {
    fn is_connected(&self) -> bool {
        self.state().connected
    }

    fn max_message_bytes(&self) -> usize {
        self.state().max_message_bytes
    }

    fn open<'a>(&'a self, shard: &'a Shard) -> BoxFuture<'a, Result<Box<dyn Publisher>, PublishError>> {
        let open = || {
            let mut state = self.state();
            let state = state.shards.entry(shard.clone()).or_default();
            if state.deleted {
                return Err(PublishError::NoShard);
            }
            let (log, shard, incarnation) = (self.clone(), shard.clone(), Incarnation(state.incarnation));
            Ok(Box::new(MemoryPublisher { log, shard, incarnation }) as Box<dyn Publisher>)
        };
        self.inner.scripts.run(Op::Open, None, open).boxed()
    }

    fn incarnation<'a>(&'a self, shard: &'a Shard) -> BoxFuture<'a, Result<Option<Incarnation>, LogUnavailable>> {
        self.ask(Op::Incarnation, || {
            let state = self.state();
            let found = state.shards.get(shard).filter(|shard| !shard.deleted);
            found.map(|shard| Incarnation(shard.incarnation))
        })
        .boxed()
    }

    fn progress<'a>(&'a self, shard: &'a Shard) -> BoxFuture<'a, Result<Option<Progress>, LogUnavailable>> {
        self.ask(Op::Progress, || self.state().shards.get(shard).and_then(|shard| shard.progress)).boxed()
    }

    fn is_lost(&self, shard: &Shard, incarnation: Incarnation, position: Sequence) -> bool {
        let state = self.state();
        let shard = state.shards.get(shard).filter(|shard| Incarnation(shard.incarnation) == incarnation);
        shard.is_some_and(|shard| shard.lost.contains(&position))
    }

    fn notices(&self) -> BoxFuture<'_, Result<Notices, LogUnavailable>> {
        self.ask(Op::Notices, || {
            let receiver = self.state().notices.subscribe();
            let stream = futures::stream::unfold(receiver, |mut receiver| async {
                loop {
                    match receiver.recv().await {
                        Ok(notice) => return Some((notice, receiver)),
                        Err(broadcast::error::RecvError::Lagged(_)) => {}
                        Err(broadcast::error::RecvError::Closed) => return None,
                    }
                }
            });
            stream.boxed()
        })
        .boxed()
    }
}

impl MemoryLog {
    /// Runs an operation that changes nothing, with what is scripted for it.
    async fn ask<T>(&self, op: Op, answer: impl FnOnce() -> T) -> Result<T, LogUnavailable> {
        let answered = self.inner.scripts.run(op, None, || Ok(answer())).await;
        answered.map_err(|error: PublishError| LogUnavailable(error.to_string()))
    }
}

#[derive(Debug)]
struct MemoryPublisher {
    log: MemoryLog,
    shard: Shard,
    incarnation: Incarnation,
}

impl Publisher for MemoryPublisher {
    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    fn publish<'a>(
        &'a self,
        envelope: &'a EncodedEnvelope,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Stored, PublishError>> {
        self.log.inner.scripts.run(Op::Publish, Some(timeout), move || self.store(envelope)).boxed()
    }
}

impl MemoryPublisher {
    /// Like the real publisher, reports the incarnation it was opened with, which may be out of date.
    fn store(&self, envelope: &EncodedEnvelope) -> Result<Stored, PublishError> {
        let stored = self.log.store(&self.shard, envelope)?;
        Ok(Stored::new(self.incarnation, stored.sequence()))
    }
}
