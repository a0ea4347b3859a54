//! One ephemeral pull consumer and the messages it delivers, until anything about it goes wrong.
//!
//! A session never repairs itself: on a broken connection, missing heartbeats or a lost message it ends, and its
//! owner ([`crate::read`], [`crate::directory`]) opens the next one where it wants to continue.
//!
//! Flow control: two pull requests are kept open, each bounded in bytes. JetStream serves them one after the
//! other and ends each with a status message (or with its last message), so what was delivered but not yet
//! yielded never exceeds two requests.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, IntoConsumerConfig, pull};
use async_nats::{HeaderMap, Message, StatusCode, Subscriber};
use bytes::Bytes;
use frazil_core::checkpoint::Sequence;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::connect::{Link, Log};
use crate::error::{Cause, LogError};

/// Pull requests kept open.
const OPEN_PULLS: usize = 2;
/// Messages per pull request. Two requests stay below the 65,536 messages a subscription may queue.
const PULL_MESSAGES: usize = 16_384;
/// After this time without enough messages a pull request ends and is made again.
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// An idle consumer gives a sign of life this often…
const HEARTBEAT: Duration = Duration::from_secs(2);
/// …and counts as lost after this silence.
const SILENCE: Duration = Duration::from_secs(5);
/// The server drops a consumer nobody pulls from after this time.
const INACTIVE: Duration = Duration::from_secs(60);
/// Room for the subjects of a message, which count against a pull's bytes as well.
const SUBJECTS_BYTES: usize = 4096;

/// What to read.
#[derive(Debug, Clone)]
pub(crate) struct SessionConfig {
    /// Name of the JetStream stream.
    pub(crate) stream: String,
    pub(crate) deliver: DeliverPolicy,
    /// Subjects; empty for all.
    pub(crate) filter: Vec<String>,
    pub(crate) headers_only: bool,
    /// Wanted bound of delivered, not yet yielded bytes; at least two of the largest messages are allowed.
    pub(crate) max_bytes: usize,
}

/// A message as the consumer delivered it.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) sequence: Sequence,
    pub(crate) timestamp_nanos: i64,
    /// Messages that were waiting in the stream behind this one.
    pub(crate) pending: u64,
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

/// A running consumer.
#[derive(Debug)]
pub(crate) struct Session {
    log: Log,
    link: Link,
    subscriber: Subscriber,
    /// Where the server takes pull requests.
    pull_subject: String,
    /// Replies to pull request n arrive at `<inbox>.<n>`.
    inbox: String,
    pulls: VecDeque<Pull>,
    pulls_made: u64,
    pull_bytes: usize,
    /// Messages since the last pull request ended.
    accepted_since_end: u64,
    /// Messages the consumer has numbered so far.
    delivered: u64,
    pending: u64,
    opened: Instant,
    deadline: Instant,
}

#[derive(Debug)]
struct Pull {
    number: u64,
    left: usize,
}

#[derive(Deserialize)]
struct ConsumerCreated {
    name: String,
    num_pending: u64,
}

impl Session {
    /// Creates the consumer.
    pub(crate) async fn open(log: &Log, config: &SessionConfig) -> Result<Self, LogError> {
        const OPERATION: &str = "create consumer";
        let link = log.link();
        let inbox = log.client().new_inbox();
        let subscriber = log.client().subscribe(format!("{inbox}.*")).await;
        let subscriber = subscriber.map_err(|error| LogError::unavailable(OPERATION, error))?;
        let consumer = pull::Config {
            deliver_policy: config.deliver,
            ack_policy: AckPolicy::None,
            filter_subjects: config.filter.clone(),
            headers_only: config.headers_only,
            inactive_threshold: INACTIVE,
            num_replicas: 1,
            memory_storage: true,
            ..pull::Config::default()
        };
        let stream = &config.stream;
        let body = json!({ "stream_name": stream, "config": consumer.into_consumer_config() });
        let created: ConsumerCreated = log
            .api(OPERATION, format!("CONSUMER.CREATE.{stream}"), &body)
            .await?
            .map_err(|error| LogError::from_api(OPERATION, stream, error))?;
        let now = Instant::now();
        Ok(Self {
            log: log.clone(),
            link,
            subscriber,
            pull_subject: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{}", created.name),
            inbox,
            pulls: VecDeque::new(),
            pulls_made: 0,
            pull_bytes: (config.max_bytes / OPEN_PULLS).max(log.max_payload() + SUBJECTS_BYTES),
            accepted_since_end: 0,
            delivered: 0,
            pending: created.num_pending,
            opened: now,
            deadline: now + SILENCE,
        })
    }

    /// Messages that were waiting when the consumer was created.
    pub(crate) fn pending(&self) -> u64 {
        self.pending
    }

    /// How long the session has been running.
    pub(crate) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// The next message; an error ends the session. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Delivered, Cause> {
        loop {
            self.pull().await?;
            let message = tokio::select! {
                // What has arrived is yielded before anything else is considered: it is good, and a reader that
                // was busy for a minute finds heartbeats in the queue, not a missed deadline.
                biased;
                message = self.subscriber.next() => message.ok_or("the connection is closed")?,
                () = self.link.broken() => return Err("the connection broke".into()),
                () = sleep_until(self.deadline) => return Err("the consumer is silent".into()),
            };
            self.deadline = Instant::now() + SILENCE;
            match message.status {
                None | Some(StatusCode::OK) => return self.accept(message),
                Some(status) => self.heed(status, &message)?,
            }
        }
    }

    /// Keeps the pull requests open. Cancel-safe: a request is counted in the same step in which it is queued.
    async fn pull(&mut self) -> Result<(), Cause> {
        while self.pulls.len() < OPEN_PULLS {
            let number = self.pulls_made + 1;
            let body = json!({
                "batch": PULL_MESSAGES,
                "max_bytes": self.pull_bytes,
                "expires": PULL_EXPIRES.as_nanos(),
                "idle_heartbeat": HEARTBEAT.as_nanos(),
            });
            let reply = format!("{}.{number}", self.inbox);
            let (subject, body) = (self.pull_subject.clone(), body.to_string());
            self.log.client().publish_with_reply(subject, reply, body.into()).await?;
            self.pulls_made = number;
            self.pulls.push_back(Pull { number, left: PULL_MESSAGES });
        }
        Ok(())
    }

    fn accept(&mut self, message: Message) -> Result<Delivered, Cause> {
        let place =
            message.reply.as_deref().and_then(Place::parse).ok_or("a message without its place in the stream")?;
        self.delivered += 1;
        self.accepted_since_end += 1;
        if place.delivered != self.delivered {
            return Err(format!("message {} of the consumer is missing", self.delivered).into());
        }
        if let Some(pull) = self.pulls.front_mut() {
            pull.left -= 1;
            if pull.left == 0 {
                self.pulls.pop_front();
            }
        }
        Ok(Delivered {
            sequence: place.sequence,
            timestamp_nanos: place.timestamp_nanos,
            pending: place.pending,
            subject: message.subject.into_string(),
            headers: message.headers.unwrap_or_default(),
            payload: message.payload,
        })
    }

    fn heed(&mut self, status: StatusCode, message: &Message) -> Result<(), Cause> {
        let text = message.description.as_deref().unwrap_or_default();
        let ended = match status {
            StatusCode::IDLE_HEARTBEAT => return Ok(()),
            StatusCode::TIMEOUT => true,
            StatusCode::REQUEST_TERMINATED => text == TOO_LARGE || text == "Batch Completed",
            _ => false,
        };
        if !ended {
            return Err(format!("the consumer ended: {status} {text}").into());
        }
        let number = message.subject.rsplit_once('.').and_then(|(_, number)| number.parse().ok()).unwrap_or(0);
        // Pulls are served in order, so all earlier ones have ended too: one whose bytes were used up exactly ends
        // without a status of its own.
        self.pulls.retain(|pull| pull.number > number);
        if text == TOO_LARGE && self.accepted_since_end == 0 {
            // Not even the first message fits. It was stored when the server allowed larger ones than now.
            self.pull_bytes = self.pull_bytes.saturating_mul(2);
        }
        self.accepted_since_end = 0;
        Ok(())
    }
}

/// Status text of a pull request whose remaining bytes do not take the next message.
const TOO_LARGE: &str = "Message Size Exceeds MaxBytes";

/// Where a message is, from the reply subject that JetStream gives it.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    sequence: Sequence,
    delivered: u64,
    timestamp_nanos: i64,
    pending: u64,
}

impl Place {
    /// `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<tries>.<sequence>.<delivered>.<nanos>.<pending>[.<random>]`
    fn parse(reply: &str) -> Option<Self> {
        let tokens = reply.strip_prefix("$JS.ACK.")?;
        let skipped = if tokens.split('.').count() == 7 { 3 } else { 5 };
        let mut tokens = tokens.split('.').skip(skipped);
        Some(Self {
            sequence: tokens.next()?.parse().ok()?,
            delivered: tokens.next()?.parse().ok()?,
            timestamp_nanos: tokens.next()?.parse().ok()?,
            pending: tokens.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_reply_subjects_are_read() {
        let place = Place { sequence: 42, delivered: 7, timestamp_nanos: 1_700_000_000_000_000_001, pending: 3 };
        let short = "$JS.ACK.FRAZIL_s_0.abc.1.42.7.1700000000000000001.3";
        assert_eq!(Place::parse(short).as_ref(), Some(&place));
        let long = "$JS.ACK._.hash.FRAZIL_s_0.abc.1.42.7.1700000000000000001.3";
        assert_eq!(Place::parse(long).as_ref(), Some(&place));
        assert_eq!(Place::parse(&format!("{long}.random")), Some(place));
        for bad in ["", "$JS.ACK.", "_INBOX.x.1.2.3.4.5.6.7", "$JS.ACK.s.c.1.x.7.1.3"] {
            assert_eq!(Place::parse(bad), None, "{bad}");
        }
    }
}
