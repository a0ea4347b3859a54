//! A log in memory with scripted faults, for tests: the fake beside the real thing.
//!
//! Keeps what JetStream promises: one order per shard, sequences from 1, no second message with a known message id.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use frazil_core::Shard;
use frazil_core::checkpoint::{Incarnation, Sequence};
use frazil_core::envelope::{EncodedEnvelope, MESSAGE_ID_HEADER, Section, sections};
use frazil_core::stream::{CommitNotice, Progress};
use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use tokio::sync::{Semaphore, broadcast, watch};

use super::{EventLog, LogUnavailable, Notices, PublishError, Publisher, Stored};

/// What the next publish meets instead of success.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The error is answered, nothing is stored.
    Refuse(PublishError),
    /// The message is stored, the answer is lost.
    StoreThenLose,
    /// The message waits until [`MemoryLog::release`], then is stored; or until the timeout, then it is lost.
    Hold,
    /// The message is stored after this time; or lost, if the timeout is shorter.
    Delay(Duration),
}

/// The log. Clones share it.
#[derive(Debug, Clone)]
pub struct MemoryLog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    held: Semaphore,
    attempts: watch::Sender<usize>,
    notices: broadcast::Sender<(Shard, CommitNotice)>,
}

#[derive(Debug)]
struct State {
    connected: bool,
    max_message_bytes: usize,
    shards: BTreeMap<Shard, MemoryShard>,
    faults: VecDeque<Option<Fault>>,
}

#[derive(Debug, Default)]
struct MemoryShard {
    incarnation: u64,
    deleted: bool,
    messages: Vec<EncodedEnvelope>,
    by_id: HashMap<String, Sequence>,
    progress: Option<Progress>,
}

impl Default for MemoryLog {
    fn default() -> Self {
        let (shards, faults) = (BTreeMap::new(), VecDeque::new());
        let state = State { connected: true, max_message_bytes: 1 << 20, shards, faults };
        let inner = Inner {
            state: Mutex::new(state),
            held: Semaphore::new(0),
            attempts: watch::Sender::new(0),
            notices: broadcast::Sender::new(1024),
        };
        Self { inner: Arc::new(inner) }
    }
}

impl MemoryLog {
    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Scripts the next publishes, one entry each; `None` is success.
    pub fn script(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.state().faults.extend(faults);
    }

    /// Lets one held publish go on.
    pub fn release(&self) {
        self.inner.held.add_permits(1);
    }

    /// Returns when `count` publishes have been attempted since the beginning.
    pub async fn attempted(&self, count: usize) {
        let mut attempts = self.inner.attempts.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = attempts.wait_for(|made| *made >= count).await;
    }

    /// Publishes attempted since the beginning.
    pub fn attempts(&self) -> usize {
        *self.inner.attempts.borrow()
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

    /// Sets the low watermark of a shard.
    pub fn set_progress(&self, shard: &Shard, progress: Progress) {
        self.state().shards.entry(shard.clone()).or_default().progress = Some(progress);
    }

    /// Announces a commit. Nobody may be listening yet.
    pub fn announce(&self, shard: &Shard, notice: CommitNotice) {
        let _ = self.inner.notices.send((shard.clone(), notice));
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
        let opened = {
            let mut state = self.state();
            let state = state.shards.entry(shard.clone()).or_default();
            if state.deleted {
                Err(PublishError::NoShard)
            } else {
                let (log, shard, incarnation) = (self.clone(), shard.clone(), Incarnation(state.incarnation));
                Ok(Box::new(MemoryPublisher { log, shard, incarnation }) as Box<dyn Publisher>)
            }
        };
        futures::future::ready(opened).boxed()
    }

    fn incarnation<'a>(&'a self, shard: &'a Shard) -> BoxFuture<'a, Result<Option<Incarnation>, LogUnavailable>> {
        let state = self.state();
        let found = state.shards.get(shard).filter(|shard| !shard.deleted).map(|shard| Incarnation(shard.incarnation));
        futures::future::ready(Ok(found)).boxed()
    }

    fn progress<'a>(&'a self, shard: &'a Shard) -> BoxFuture<'a, Result<Option<Progress>, LogUnavailable>> {
        let progress = self.state().shards.get(shard).and_then(|shard| shard.progress);
        futures::future::ready(Ok(progress)).boxed()
    }

    fn notices(&self) -> BoxFuture<'_, Result<Notices, LogUnavailable>> {
        let receiver = self.inner.notices.subscribe();
        let stream = futures::stream::unfold(receiver, |mut receiver| async {
            loop {
                match receiver.recv().await {
                    Ok(notice) => return Some((notice, receiver)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        futures::future::ready(Ok(stream.boxed())).boxed()
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
        self.attempt(envelope, timeout).boxed()
    }
}

impl MemoryPublisher {
    async fn attempt(&self, envelope: &EncodedEnvelope, timeout: Duration) -> Result<Stored, PublishError> {
        let fault = self.log.state().faults.pop_front().flatten();
        self.log.inner.attempts.send_modify(|made| *made += 1);
        let lost = |_| PublishError::Unknown(format!("no answer within {timeout:?}"));
        match fault {
            None => {}
            Some(Fault::Refuse(error)) => return Err(error),
            Some(Fault::StoreThenLose) => {
                self.store(envelope)?;
                return Err(PublishError::Unknown("the answer was lost".to_owned()));
            }
            Some(Fault::Hold) => {
                let permit = tokio::time::timeout(timeout, self.log.inner.held.acquire()).await.map_err(lost)?;
                permit.expect("the semaphore is never closed").forget();
            }
            Some(Fault::Delay(delay)) => {
                tokio::time::timeout(timeout, tokio::time::sleep(delay)).await.map_err(lost)?;
            }
        }
        self.store(envelope)
    }

    /// Like the real publisher, reports the incarnation it was opened with, which may be out of date.
    fn store(&self, envelope: &EncodedEnvelope) -> Result<Stored, PublishError> {
        let stored = self.log.store(&self.shard, envelope)?;
        Ok(Stored::new(self.incarnation, stored.sequence()))
    }
}
