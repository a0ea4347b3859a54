//! The owner of one shard: collects requests, packs them into envelopes, publishes one at a time, answers.
//!
//! One envelope is in flight per shard. While it is, requests queue up and become the next envelope: with a log that
//! syncs every message to disk that is 30 times the throughput of one message per request, and needs no timer.
//!
//! The lane alone numbers the shard's envelopes. It retries an envelope unchanged, under the same message id, until the
//! log answers or the deadline passes. If it must give up without knowing the outcome it takes a new producer id, so
//! that numbers of one producer never have a hole that was not acknowledged.

mod pack;
#[cfg(test)]
mod tests;
mod trouble;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use frazil_core::Shard;
use frazil_core::checkpoint::{Incarnation, Sequence};
use frazil_core::envelope::{ContinuityFields, EncodedEnvelope, Section};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::admission::Permit;
use crate::config::ProxyConfig;
use crate::metrics::Metrics;
use crate::publish::{EventLog, PublishError, Publisher, Stored};
use pack::Pack;
pub(crate) use pack::{fitting, part_limit};
use trouble::Trouble;
pub(crate) use trouble::Troubles;

/// First and longest pause between attempts to publish.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Why a section has no acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreFailure {
    /// Too many requests wait for the shard. Certainly not stored.
    #[error("too many requests wait for this shard")]
    Busy,
    /// The log is at its bound. Certainly not stored.
    #[error("the log is full")]
    Full {
        /// For how long already.
        lasted: Duration,
    },
    /// Certainly not stored.
    #[error("{0}")]
    NotStored(String),
    /// Perhaps stored.
    #[error("the outcome is unknown")]
    Unknown,
}

/// What waits in a lane: sections that go into one envelope, their share of the permit, and where to answer.
#[derive(Debug)]
struct Job {
    sections: Vec<Section>,
    queued: Instant,
    reply: oneshot::Sender<Result<Stored, StoreFailure>>,
    _permit: Arc<Permit>,
}

/// The way into a lane. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct LaneSender {
    jobs: mpsc::Sender<Job>,
}

impl LaneSender {
    /// Stores sections in one message, which they must fit: see [`fitting`]. Cancelling this future does not disturb the
    /// lane.
    pub(crate) async fn store(&self, sections: Vec<Section>, permit: &Arc<Permit>) -> Result<Stored, StoreFailure> {
        let (reply, answer) = oneshot::channel();
        let job = Job { sections, queued: Instant::now(), reply, _permit: Arc::clone(permit) };
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreFailure::Busy,
            mpsc::error::TrySendError::Closed(_) => StoreFailure::NotStored("the shard is being closed".to_owned()),
        })?;
        // No answer means that the lane panicked, at whatever point.
        answer.await.unwrap_or(Err(StoreFailure::Unknown))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.jobs.is_closed()
    }
}

/// One proxy incarnation on one shard, and its running number.
#[derive(Debug)]
struct Producer {
    id: Uuid,
    acked: u64,
}

impl Producer {
    fn new() -> Self {
        Self { id: Uuid::new_v4(), acked: 0 }
    }

    /// Numbers have no holes, so the next number is always the one behind the last acknowledged.
    fn next(&self) -> ContinuityFields {
        ContinuityFields { producer: self.id, number: self.acked + 1, acked: self.acked }
    }
}

/// The state of a lane; [`Lane::run`] is its life.
#[derive(Debug)]
pub(crate) struct Lane {
    shard: Shard,
    log: Arc<dyn EventLog>,
    config: Arc<ProxyConfig>,
    metrics: Metrics,
    troubles: Troubles,
    cancel: CancellationToken,
    jobs: mpsc::Receiver<Job>,
    /// A job that did not fit the last pack.
    held: Option<Job>,
    publisher: Option<Box<dyn Publisher>>,
    incarnation: Option<Incarnation>,
    last_sequence: Sequence,
    producer: Producer,
    heartbeat_at: Option<Instant>,
}

enum Work {
    Job(Job),
    Heartbeat,
    End,
}

impl Lane {
    /// A lane and the way into it. It does nothing until it runs, and opens its shard with the first request.
    pub(crate) fn new(
        shard: Shard,
        log: Arc<dyn EventLog>,
        config: Arc<ProxyConfig>,
        metrics: Metrics,
        troubles: Troubles,
        cancel: CancellationToken,
    ) -> (Self, LaneSender) {
        // Permits bound what can be queued at all, so that one busy shard may take every permit.
        let (sender, jobs) = mpsc::channel(config.max_requests);
        let lane = Self {
            shard,
            log,
            config,
            metrics,
            troubles,
            cancel,
            jobs,
            held: None,
            publisher: None,
            incarnation: None,
            last_sequence: 0,
            producer: Producer::new(),
            heartbeat_at: None,
        };
        (lane, LaneSender { jobs: sender })
    }

    /// Packs, publishes and answers until cancelled; then finishes what was accepted and says farewell.
    pub(crate) async fn run(mut self) {
        self.metrics.lanes.inc();
        while let Some(pack) = self.next_pack().await {
            let outcome = self.store(&pack).await;
            self.heartbeat_at = pack.asks_for_heartbeat().then(|| Instant::now() + self.config.heartbeat_after);
            pack.answer(&outcome);
        }
        self.farewell().await;
        self.troubles.clear(&self.shard);
        self.metrics.lanes.dec();
    }

    /// Waits for the first job, then takes along what is queued behind it. `None` ends the lane.
    async fn next_pack(&mut self) -> Option<Pack> {
        let mut first = loop {
            let job = match self.held.take() {
                Some(job) => job,
                None => match self.receive().await {
                    Work::Job(job) => job,
                    Work::Heartbeat => return Some(Pack::heartbeat()),
                    Work::End => return None,
                },
            };
            if let Some(job) = self.still_wanted(job) {
                break Pack::new(job, self.log.max_message_bytes());
            }
        };
        while let Ok(job) = self.jobs.try_recv() {
            let Some(job) = self.still_wanted(job) else { continue };
            self.held = first.add(job);
            if self.held.is_some() {
                break;
            }
        }
        Some(first)
    }

    async fn receive(&mut self) -> Work {
        loop {
            let heartbeat = self.heartbeat_at;
            tokio::select! {
                biased;
                () = self.cancel.cancelled(), if !self.jobs.is_closed() => self.jobs.close(),
                job = self.jobs.recv() => return job.map_or(Work::End, Work::Job),
                () = tokio::time::sleep_until(heartbeat.unwrap_or_else(Instant::now)), if heartbeat.is_some() => {
                    return Work::Heartbeat;
                }
            }
        }
    }

    /// Drops jobs whose client has gone, and refuses those that waited too long behind a log that does not answer.
    fn still_wanted(&self, job: Job) -> Option<Job> {
        if job.reply.is_closed() {
            return None;
        }
        if job.queued.elapsed() < self.config.publish_deadline {
            return Some(job);
        }
        let message = format!("the request waited {} s for its turn", self.config.publish_deadline.as_secs());
        // A client that has gone needs no answer.
        let _ = job.reply.send(Err(StoreFailure::NotStored(message)));
        None
    }

    /// Publishes a pack until the log answers, or gives up at the deadline.
    async fn store(&mut self, pack: &Pack) -> Result<Stored, StoreFailure> {
        let begun = Instant::now();
        let mut pause = PAUSES.0;
        let mut perhaps_stored = false;
        let mut sealed: Option<EncodedEnvelope> = None;
        loop {
            let opened = self.ensure_open().await;
            // After a change of incarnation the old log is gone with all it held: a new producer, a new envelope.
            if opened == Ok(Opened::Anew) {
                (sealed, perhaps_stored) = (None, false);
            }
            let envelope = sealed.get_or_insert_with(|| pack.seal(self.producer.next()));
            let error = match self.attempt(opened, envelope).await {
                Ok(stored) => {
                    self.metrics.publish_seconds.observe(begun.elapsed().as_secs_f64());
                    pack.observe(envelope, &self.metrics);
                    return self.acknowledged(stored).await;
                }
                Err(error) => error,
            };
            perhaps_stored |= matches!(error, PublishError::Unknown(_));
            let in_vain = matches!(error, PublishError::Full | PublishError::TooLarge(_) | PublishError::Refused(_));
            if in_vain || begun.elapsed() + pause >= self.config.publish_deadline {
                return Err(self.give_up(&error, perhaps_stored));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn attempt(
        &mut self,
        opened: Result<Opened, PublishError>,
        envelope: &EncodedEnvelope,
    ) -> Result<Stored, PublishError> {
        let outcome = match (opened, &self.publisher) {
            (Ok(_), Some(publisher)) => publisher.publish(envelope, self.config.publish_timeout).await,
            (Ok(_), None) => Err(PublishError::NoShard),
            (Err(error), _) => Err(error),
        };
        self.metrics.publish_attempt(outcome.as_ref().map_or_else(PublishError::kind, |_| "stored"));
        if let Err(error) = &outcome {
            tracing::warn!(shard = %self.shard, %error, "publishing failed");
            if *error == PublishError::NoShard {
                self.publisher = None;
            }
        }
        outcome
    }

    /// Takes the log's word: moves the numbers on and makes sure which incarnation gave the sequence.
    async fn acknowledged(&mut self, stored: Stored) -> Result<Stored, StoreFailure> {
        self.producer.acked += 1;
        self.troubles.clear(&self.shard);
        if stored.sequence() > self.last_sequence {
            self.last_sequence = stored.sequence();
            return Ok(stored);
        }
        tracing::warn!(shard = %self.shard, sequence = stored.sequence(), "the shard was recreated under this proxy");
        self.publisher = None;
        match self.ensure_open().await {
            Ok(_) => {
                self.last_sequence = stored.sequence();
                Ok(Stored::new(self.incarnation.unwrap_or(stored.incarnation()), stored.sequence()))
            }
            // Stored, but in a log whose name is not known: no receipt can be given.
            Err(_) => Err(StoreFailure::Unknown),
        }
    }

    fn give_up(&mut self, error: &PublishError, perhaps_stored: bool) -> StoreFailure {
        let lasted = match error {
            PublishError::Full => self.troubles.set(&self.shard, Trouble::Full),
            // The message is at fault, not the log.
            PublishError::TooLarge(_) => Duration::ZERO,
            PublishError::NoShard | PublishError::Refused(_) | PublishError::NotSent(_) | PublishError::Unknown(_) => {
                self.troubles.set(&self.shard, Trouble::Unavailable)
            }
        };
        if perhaps_stored {
            self.metrics.producer_rotations.inc();
            tracing::error!(shard = %self.shard, producer = %self.producer.id, "gave up without knowing the outcome");
            self.producer = Producer::new();
            return StoreFailure::Unknown;
        }
        match error {
            PublishError::Full => StoreFailure::Full { lasted },
            PublishError::TooLarge(_)
            | PublishError::NoShard
            | PublishError::Refused(_)
            | PublishError::NotSent(_)
            | PublishError::Unknown(_) => StoreFailure::NotStored(error.to_string()),
        }
    }

    /// Opens the shard if it is not. Another incarnation than before gets another producer.
    async fn ensure_open(&mut self) -> Result<Opened, PublishError> {
        if self.publisher.is_some() {
            return Ok(Opened::Same);
        }
        let opening = self.log.open(&self.shard);
        let publisher = tokio::time::timeout(self.config.publish_timeout, opening)
            .await
            .unwrap_or_else(|_| Err(PublishError::NotSent("opening the shard took too long".to_owned())))?;
        let before = self.incarnation.replace(publisher.incarnation());
        self.publisher = Some(publisher);
        if before.is_none() || before == self.incarnation {
            return Ok(Opened::Same);
        }
        (self.producer, self.last_sequence) = (Producer::new(), 0);
        Ok(Opened::Anew)
    }

    /// One last heartbeat, tried once, so that a tail lost after this proxy has gone is noticed too.
    async fn farewell(&mut self) {
        if self.heartbeat_at.is_some() {
            let envelope = Pack::heartbeat().seal(self.producer.next());
            // Its loss costs only the notice; the attempt was logged.
            let _ = self.attempt(Ok(Opened::Same), &envelope).await;
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Opened {
    Same,
    Anew,
}
