//! What goes into one envelope: as much as is queued, within the bounds of a message. Pure.

use frazil_core::TableName;
use frazil_core::envelope::{ContinuityFields, EncodedEnvelope, EnvelopeBuilder, section_bytes};
use frazil_core::limits::PACK_TARGET_BYTES;

use super::{Job, StoreFailure};
use crate::metrics::Metrics;
use crate::publish::Stored;

/// Most sections of one envelope. Their keys travel in message headers, which JetStream bounds to 64 KiB in all.
const SECTIONS_MAX: usize = 1000;

/// Bytes that the message headers take without the keys: names, a checksum, two UUIDs and three numbers.
const HEADER_BYTES: usize = 512;

/// Bytes that one key takes in the message headers: 32 digits, two numbers and separators.
const KEY_BYTES: usize = 56;

/// Bytes that a section's header line takes besides the table name written twice, see [`section_bytes`].
const SECTION_BYTES: usize = 200;

/// Largest part of a request that fits one message of `max_message` bytes.
pub(crate) fn part_limit(max_message: usize, table: &TableName) -> usize {
    let overhead = HEADER_BYTES + KEY_BYTES + SECTION_BYTES + table.to_string().len() * 2;
    max_message.saturating_sub(overhead).max(1)
}

/// The jobs of one envelope. No jobs make a heartbeat.
#[derive(Debug)]
pub(super) struct Pack {
    jobs: Vec<Job>,
    bytes: usize,
    limit: usize,
}

impl Pack {
    /// A pack that only says "I am here, and this is how far I was acknowledged".
    pub(super) fn heartbeat() -> Self {
        Self { jobs: Vec::new(), bytes: 0, limit: 0 }
    }

    /// A pack with a first job, which fits any message because requests are split accordingly.
    pub(super) fn new(first: Job, max_message: usize) -> Self {
        Self {
            bytes: cost(&first),
            jobs: vec![first],
            limit: PACK_TARGET_BYTES.min(max_message.saturating_sub(HEADER_BYTES)),
        }
    }

    /// Adds a job, or gives it back when it does not fit.
    pub(super) fn add(&mut self, job: Job) -> Option<Job> {
        let bytes = self.bytes + cost(&job);
        if bytes > self.limit || self.jobs.len() == SECTIONS_MAX {
            return Some(job);
        }
        self.bytes = bytes;
        self.jobs.push(job);
        None
    }

    /// The message to publish.
    pub(super) fn seal(&self, continuity: ContinuityFields) -> EncodedEnvelope {
        let mut builder = EnvelopeBuilder::new();
        for job in &self.jobs {
            builder.push(&job.section);
        }
        builder.finish(continuity)
    }

    /// Whether a loss of this pack would go unnoticed unless something follows it.
    pub(super) fn asks_for_heartbeat(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Gives every job the outcome. Clients that have gone need none.
    pub(super) fn answer(self, outcome: &Result<Stored, StoreFailure>) {
        for job in self.jobs {
            let _ = job.reply.send(outcome.clone());
        }
    }

    /// Counts a stored pack.
    pub(super) fn observe(&self, envelope: &EncodedEnvelope, metrics: &Metrics) {
        #[allow(clippy::cast_precision_loss, reason = "a few megabytes at most")]
        let (sections, bytes) = (self.jobs.len() as f64, envelope.payload.len() as f64);
        metrics.pack_sections.observe(sections);
        metrics.pack_bytes.observe(bytes);
    }
}

fn cost(job: &Job) -> usize {
    section_bytes(&job.section) + if job.section.header.key.is_some() { KEY_BYTES } else { 0 }
}
