//! Shards in memory, for tests. Models what the writer relies on: order, timestamps, incarnations, purging. Faults may
//! hit any operation.

mod reader;
mod rewind;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use frazil_core::checkpoint::{Incarnation, Sequence};
use frazil_core::envelope::{ContinuityFields, EncodedEnvelope, EnvelopeBuilder, Section, SectionHeader, Unroutable};
use frazil_core::idempotency::KeyHash;
use frazil_core::rewind::Rewinds;
use frazil_core::stream::{CommitNotice, Progress};
use frazil_core::{Shard, TableName};
use frazil_log::{LogError, Message, ReadMode, ShardInfo, Start};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::Source;
use crate::faults::Fault;
pub(crate) use reader::FakeReader;

/// An operation that a fault may hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum LogOp {
    Describe,
    Open,
    /// Handing out a message. If its answer is lost, the reader begins again some messages back.
    Next,
    Progress,
    SaveProgress,
    Announce,
    Purge,
}

type Script = Box<dyn FnMut(LogOp, &Shard) -> Fault + Send>;

/// A log in memory. Clones share it.
#[derive(Clone)]
pub(crate) struct FakeSource {
    state: Arc<Mutex<State>>,
    /// Told of every change. No `watch`, which wakes those who wait in an order that differs from run to run.
    changed: Arc<Notify>,
    script: Arc<Mutex<Script>>,
    /// Told of every hang.
    pub(crate) hung: Arc<Notify>,
    /// Requests that their senders have given up and that are still under way.
    late: Arc<Mutex<JoinSet<()>>>,
}

#[derive(Debug, Default)]
struct State {
    shards: BTreeMap<Shard, FakeShard>,
    progress: BTreeMap<Shard, Progress>,
    records: BTreeMap<Shard, rewind::Records>,
    notices: Vec<(Shard, CommitNotice)>,
    full_reads: u64,
    newest_incarnation: u64,
}

#[derive(Debug)]
struct FakeShard {
    incarnation: Incarnation,
    rewinds: Rewinds,
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
        let script: Script = Box::new(|_, _| Fault::None);
        Self {
            state: Arc::default(),
            changed: Arc::default(),
            script: Arc::new(Mutex::new(script)),
            hung: Arc::default(),
            late: Arc::default(),
        }
    }

    /// From now on `script` decides what happens to each operation.
    pub(crate) fn script(&self, script: impl FnMut(LogOp, &Shard) -> Fault + Send + 'static) {
        *self.script.lock().expect("no test panics while it holds the lock") = Box::new(script);
    }

    /// Hits the first such operation, once.
    pub(crate) fn fault_once(&self, op: LogOp, fault: Fault) {
        let mut fault = Some(fault);
        self.script(move |now, _| if now == op { fault.take().unwrap_or(Fault::None) } else { Fault::None });
    }

    pub(crate) fn heal(&self) {
        self.script(|_, _| Fault::None);
    }

    fn fate(&self, op: LogOp, shard: &Shard) -> Fault {
        (self.script.lock().expect("no test panics while it holds the lock"))(op, shard)
    }

    /// Decides the fate of an operation and runs it accordingly.
    async fn act<T>(
        &self,
        op: LogOp,
        shard: &Shard,
        work: impl FnOnce(&mut State) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let done = self.fate(op, shard).around(&self.hung, || work(&mut self.state())).await;
        done.unwrap_or_else(|fault| Err(log_error(&fault)))
    }

    /// Like [`act`](Self::act), for what may still happen when its sender has stopped to wait for it.
    async fn write(
        &self,
        op: LogOp,
        shard: &Shard,
        work: impl FnOnce(&mut State) -> Result<(), LogError> + Send + 'static,
    ) -> Result<(), LogError> {
        let fault = self.fate(op, shard);
        if let Fault::Late(after) = fault {
            let (state, changed) = (Arc::clone(&self.state), Arc::clone(&self.changed));
            self.late.lock().expect("no test panics while it holds the lock").spawn(async move {
                tokio::time::sleep(after).await;
                let _nobody_asks = work(&mut state.lock().expect("no test panics while it holds the lock"));
                changed.notify_waiters();
            });
            return Err(log_error(&fault));
        }
        let done = fault.around(&self.hung, || work(&mut self.state())).await;
        self.changed.notify_waiters();
        done.unwrap_or_else(|fault| Err(log_error(&fault)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the lock")
    }

    /// Makes a shard, or makes it anew.
    pub(crate) fn create(&self, shard: &Shard, incarnation: u64) {
        let fresh = FakeShard {
            incarnation: Incarnation(incarnation),
            rewinds: Rewinds::none(Incarnation(incarnation)),
            messages: BTreeMap::new(),
            last: 0,
            producer: Uuid::from_u128(u128::from(incarnation)),
            number: 0,
            now_nanos: 1_000_000_000,
        };
        let mut state = self.state();
        state.newest_incarnation = state.newest_incarnation.max(incarnation);
        state.shards.insert(shard.clone(), fresh);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Deletes a shard with all that is in it.
    pub(crate) fn delete(&self, shard: &Shard) {
        self.state().shards.remove(shard);
        self.changed.notify_waiters();
    }

    /// Which one of its name the shard is, if there is one.
    pub(crate) fn incarnation(&self, shard: &Shard) -> Option<Incarnation> {
        self.state().shards.get(shard).map(|shard| shard.incarnation)
    }

    /// One that no shard has had so far.
    pub(crate) fn next_incarnation(&self) -> u64 {
        let mut state = self.state();
        state.newest_incarnation += 1;
        state.newest_incarnation
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
            shard.last = shard.next_position();
            shard.now_nanos += 1_000_000;
            let headers = envelope.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let message =
                Message { sequence: shard.last, timestamp_nanos: shard.now_nanos, headers, payload: envelope.payload };
            shard.messages.insert(shard.last, message);
            shard.last
        };
        self.changed.notify_waiters();
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
                log.last == 0 || stored.is_some_and(|at| at.incarnation == log.incarnation && log.is_done(at))
            })
        };
        self.until(done).await;
    }

    /// Waits for a state that some change of the source brings about.
    pub(crate) async fn until(&self, done: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if done() {
                return;
            }
            changed.await;
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
        self.act(LogOp::Describe, shard, |state| Ok(state.shards.get(shard).map(FakeShard::info))).await
    }

    async fn open(&self, shard: &Shard, start: Start, mode: ReadMode) -> Result<FakeReader, LogError> {
        let open = |state: &mut State| {
            let log = state.shards.get(shard).ok_or_else(|| LogError::NotFound(shard.to_string()))?;
            Ok((log.rewinds.clone(), log.position(start)))
        };
        let (rewinds, next) = self.act(LogOp::Open, shard, open).await?;
        Ok(FakeReader::new(self, shard, &rewinds, next, mode))
    }

    async fn progress(&self, shard: &Shard) -> Result<Option<Progress>, LogError> {
        self.act(LogOp::Progress, shard, |state| Ok(state.progress.get(shard).copied())).await
    }

    async fn save_progress(&self, shard: &Shard, progress: Progress) -> Result<(), LogError> {
        let name = shard.clone();
        let save = move |state: &mut State| {
            let order = |progress: &Progress| (progress.incarnation, progress.sequence);
            if state.progress.get(&name).is_none_or(|stored| order(stored) < order(&progress)) {
                state.progress.insert(name, progress);
            }
            Ok(())
        };
        self.write(LogOp::SaveProgress, shard, save).await
    }

    async fn announce(&self, shard: &Shard, notice: &CommitNotice) -> Result<(), LogError> {
        let said = (shard.clone(), notice.clone());
        let announce = move |state: &mut State| {
            state.notices.push(said);
            Ok(())
        };
        self.write(LogOp::Announce, shard, announce).await
    }

    async fn purge_through(&self, shard: &Shard, incarnation: Incarnation, through: Sequence) -> Result<(), LogError> {
        let name = shard.clone();
        let purge = move |state: &mut State| {
            let log = state.shards.get_mut(&name).ok_or_else(|| LogError::NotFound(name.to_string()))?;
            if log.incarnation != incarnation {
                return Err(LogError::Recreated(name.to_string()));
            }
            log.messages = log.messages.split_off(&(through + 1));
            Ok(())
        };
        self.write(LogOp::Purge, shard, purge).await
    }
}

impl FakeShard {
    fn info(&self) -> ShardInfo {
        let empty = if self.last == 0 { 0 } else { self.last + 1 };
        ShardInfo {
            incarnation: self.incarnation,
            first_sequence: self.messages.keys().next().copied().unwrap_or(empty),
            last_sequence: self.last,
            messages: self.messages.len() as u64,
            bytes: 0,
            max_bytes: 0,
        }
    }

    fn position(&self, start: Start) -> Sequence {
        match start {
            Start::Sequence(sequence) => sequence,
            Start::Time(nanos) => {
                let found = self.messages.values().find(|message| message.timestamp_nanos >= nanos);
                found.map_or(self.last + 1, |message| message.sequence)
            }
        }
    }
}

fn log_error(fault: &Fault) -> LogError {
    match fault {
        Fault::Rejected => LogError::Refused { operation: "scripted", source: "scripted".into() },
        _ => LogError::Unavailable { operation: "scripted", source: "scripted".into() },
    }
}
