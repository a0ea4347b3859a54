//! Shards in memory, for tests. Models what the writer relies on: order, timestamps, incarnations, purging.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use frazil_core::checkpoint::{Incarnation, Sequence};
use frazil_core::envelope::{ContinuityFields, EncodedEnvelope, EnvelopeBuilder, Section, SectionHeader, Unroutable};
use frazil_core::idempotency::KeyHash;
use frazil_core::stream::{CommitNotice, Progress};
use frazil_core::{Shard, TableName};
use frazil_log::{LogError, Message, ReadError, ReadMode, ShardInfo, Start};
use tokio::sync::watch;
use uuid::Uuid;

use super::{Source, SourceReader};

/// A log in memory. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct FakeSource {
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
struct State {
    shards: BTreeMap<Shard, FakeShard>,
    progress: BTreeMap<Shard, Progress>,
    notices: Vec<(Shard, CommitNotice)>,
    full_reads: u64,
}

#[derive(Debug)]
struct FakeShard {
    incarnation: Incarnation,
    messages: BTreeMap<Sequence, Message>,
    last: Sequence,
    producer: Uuid,
    number: u64,
    now_nanos: i64,
}

/// A request to store.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) table: TableName,
    pub(crate) key: Option<KeyHash>,
    pub(crate) request_key: Option<String>,
    pub(crate) unroutable: Option<Unroutable>,
    /// One line each, whatever is in it.
    pub(crate) events: Vec<Vec<u8>>,
}

impl Request {
    pub(crate) fn new<E: Into<Vec<u8>>>(table: &TableName, events: impl IntoIterator<Item = E>) -> Self {
        let events = events.into_iter().map(Into::into).collect();
        Self { table: table.clone(), key: None, request_key: None, unroutable: None, events }
    }
}

impl FakeSource {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), changed: Arc::new(watch::channel(0).0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the lock")
    }

    /// Makes a shard, or makes it anew.
    pub(crate) fn create(&self, shard: &Shard, incarnation: u64) {
        let fresh = FakeShard {
            incarnation: Incarnation(incarnation),
            messages: BTreeMap::new(),
            last: 0,
            producer: Uuid::from_u128(u128::from(incarnation)),
            number: 0,
            now_nanos: 1_000_000_000,
        };
        self.state().shards.insert(shard.clone(), fresh);
        self.changed.send_modify(|n| *n += 1);
    }

    /// Stores requests as one message; returns its sequence.
    pub(crate) fn publish(&self, shard: &Shard, requests: &[Request]) -> Sequence {
        self.publish_with(shard, requests, |_| {})
    }

    /// Stores a message after `spoil` had its way with it.
    pub(crate) fn publish_with(
        &self,
        shard: &Shard,
        requests: &[Request],
        spoil: impl FnOnce(&mut EncodedEnvelope),
    ) -> Sequence {
        let mut builder = EnvelopeBuilder::new();
        for Request { table, key, request_key, unroutable, events } in requests {
            let text: Vec<u8> = events.iter().flat_map(|event| event.iter().copied().chain([b'\n'])).collect();
            let (count, len) = (events.len() as u32, text.len() as u32);
            let header = SectionHeader {
                table: table.clone(),
                count,
                received: 1_700_000_000_000_000,
                key: *key,
                request_key: request_key.clone(),
                unroutable: unroutable.clone(),
                first: 0,
                len,
            };
            builder.push(&Section { header, events: Bytes::from(text) });
        }
        let sequence = {
            let mut state = self.state();
            let shard = state.shards.get_mut(shard).expect("the test created it");
            shard.number += 1;
            let continuity =
                ContinuityFields { producer: shard.producer, number: shard.number, acked: shard.number - 1 };
            let mut envelope = builder.finish(continuity);
            spoil(&mut envelope);
            shard.last += 1;
            shard.now_nanos += 1_000_000;
            let headers = envelope.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let message =
                Message { sequence: shard.last, timestamp_nanos: shard.now_nanos, headers, payload: envelope.payload };
            shard.messages.insert(shard.last, message);
            shard.last
        };
        self.changed.send_modify(|n| *n += 1);
        sequence
    }

    /// Moves the log's clock.
    pub(crate) fn pass(&self, shard: &Shard, nanos: i64) {
        self.state().shards.get_mut(shard).expect("the test created it").now_nanos += nanos;
    }

    /// Takes messages out, as a log that loses them does.
    pub(crate) fn lose(&self, shard: &Shard, sequence: Sequence) {
        self.state().shards.get_mut(shard).expect("the test created it").messages.remove(&sequence);
    }

    pub(crate) fn stored_progress(&self, shard: &Shard) -> Option<Progress> {
        self.state().progress.get(shard).copied()
    }

    pub(crate) fn set_stored_progress(&self, shard: &Shard, progress: Progress) {
        self.state().progress.insert(shard.clone(), progress);
    }

    pub(crate) fn notices(&self) -> Vec<(Shard, CommitNotice)> {
        self.state().notices.clone()
    }

    /// Waits for the stored low watermark to reach the end of each of these shards.
    pub(crate) async fn until_done(&self, shards: &[Shard]) {
        let done = || {
            let state = self.state();
            shards.iter().all(|shard| {
                let (log, stored) = (&state.shards[shard], state.progress.get(shard));
                log.last == 0 || stored.is_some_and(|at| at.incarnation == log.incarnation && at.sequence == log.last)
            })
        };
        self.until(done).await;
    }

    /// Waits for a state that some change of the source brings about.
    pub(crate) async fn until(&self, done: impl Fn() -> bool) {
        let mut changed = self.changed.subscribe();
        while !done() {
            changed.changed().await.expect("the sender is our own");
        }
    }

    /// Messages delivered with payload.
    pub(crate) fn full_reads(&self) -> u64 {
        self.state().full_reads
    }

    pub(crate) fn first(&self, shard: &Shard) -> Option<Sequence> {
        self.state().shards[shard].messages.keys().next().copied()
    }
}

impl Source for FakeSource {
    type Reader = FakeReader;

    async fn describe(&self, shard: &Shard) -> Result<Option<ShardInfo>, LogError> {
        Ok(self.state().shards.get(shard).map(|shard| ShardInfo {
            incarnation: shard.incarnation,
            first_sequence: shard.messages.keys().next().copied().unwrap_or(match shard.last {
                0 => 0,
                last => last + 1,
            }),
            last_sequence: shard.last,
            messages: shard.messages.len() as u64,
            bytes: 0,
            max_bytes: 0,
        }))
    }

    async fn open(&self, shard: &Shard, start: Start, mode: ReadMode) -> Result<FakeReader, LogError> {
        let state = self.state();
        let log = state.shards.get(shard).ok_or_else(|| LogError::NotFound(shard.to_string()))?;
        let next = match start {
            Start::Sequence(sequence) => sequence,
            Start::Time(nanos) => {
                let found = log.messages.values().find(|message| message.timestamp_nanos >= nanos);
                found.map_or(log.last + 1, |message| message.sequence)
            }
        };
        let incarnation = log.incarnation;
        drop(state);
        let changed = self.changed.subscribe();
        Ok(FakeReader { source: self.clone(), shard: shard.clone(), incarnation, next, mode, changed })
    }

    async fn progress(&self, shard: &Shard) -> Result<Option<Progress>, LogError> {
        Ok(self.stored_progress(shard))
    }

    async fn save_progress(&self, shard: &Shard, progress: Progress) -> Result<(), LogError> {
        self.set_stored_progress(shard, progress);
        self.changed.send_modify(|n| *n += 1);
        Ok(())
    }

    async fn announce(&self, shard: &Shard, notice: &CommitNotice) -> Result<(), LogError> {
        self.state().notices.push((shard.clone(), notice.clone()));
        self.changed.send_modify(|n| *n += 1);
        Ok(())
    }

    async fn purge_through(&self, shard: &Shard, incarnation: Incarnation, through: Sequence) -> Result<(), LogError> {
        let mut state = self.state();
        let log = state.shards.get_mut(shard).ok_or_else(|| LogError::NotFound(shard.to_string()))?;
        if log.incarnation != incarnation {
            return Err(LogError::Recreated(shard.to_string()));
        }
        log.messages = log.messages.split_off(&(through + 1));
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct FakeReader {
    source: FakeSource,
    shard: Shard,
    incarnation: Incarnation,
    next: Sequence,
    mode: ReadMode,
    changed: watch::Receiver<u64>,
}

impl FakeReader {
    fn poll(&mut self) -> Result<Option<Message>, ReadError> {
        let mut state = self.source.state();
        let Some(log) = state.shards.get(&self.shard) else { return Err(ReadError::Deleted) };
        if log.incarnation != self.incarnation {
            return Err(ReadError::Recreated(log.incarnation));
        }
        let Some(message) = log.messages.range(self.next..).next().map(|(_, message)| message.clone()) else {
            return Ok(None);
        };
        if self.next > 0 && message.sequence > self.next {
            let expected = std::mem::replace(&mut self.next, message.sequence);
            return Err(ReadError::Gap { expected, found: message.sequence });
        }
        self.next = message.sequence + 1;
        Ok(Some(match self.mode {
            ReadMode::Full => {
                state.full_reads += 1;
                message
            }
            ReadMode::HeadersOnly => Message { payload: Bytes::new(), ..message },
        }))
    }
}

impl SourceReader for FakeReader {
    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    async fn next(&mut self) -> Result<Message, ReadError> {
        loop {
            self.changed.mark_unchanged();
            if let Some(message) = self.poll()? {
                return Ok(message);
            }
            self.changed.changed().await.expect("the source outlives its readers");
        }
    }
}
