//! What goes into one envelope: as much as is queued, within the bounds of a message. Pure.

use frazil_core::envelope::{
    ContinuityFields, EncodedEnvelope, EnvelopeBuilder, Section, SectionHeader, header_bytes, section_bytes,
};
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

/// Most bytes of events for a section with such a header that fit one message of `max_message` bytes.
pub(crate) fn part_limit(max_message: usize, header: &SectionHeader) -> usize {
    max_message.saturating_sub(HEADER_BYTES + KEY_BYTES + header_bytes(header)).max(1)
}

/// How many of the first sections fit one message of `max_message` bytes: at least one, which is not larger than
/// [`part_limit`].
pub(crate) fn fitting(sections: &[Section], max_message: usize) -> usize {
    let mut bytes = HEADER_BYTES;
    let fits = |section: &&Section| {
        bytes += cost(section);
        bytes <= max_message
    };
    sections.iter().take(SECTIONS_MAX).take_while(fits).count().max(1)
}

/// The jobs of one envelope. No jobs make a heartbeat.
#[derive(Debug)]
pub(super) struct Pack {
    jobs: Vec<Job>,
    sections: usize,
    bytes: usize,
    limit: usize,
}

impl Pack {
    /// A pack that only says "I am here, and this is how far I was acknowledged".
    pub(super) fn heartbeat() -> Self {
        Self { jobs: Vec::new(), sections: 0, bytes: 0, limit: 0 }
    }

    /// A pack with a first job, which fits any message because requests are split accordingly.
    pub(super) fn new(first: Job, max_message: usize) -> Self {
        Self {
            bytes: first.sections.iter().map(cost).sum(),
            sections: first.sections.len(),
            jobs: vec![first],
            limit: PACK_TARGET_BYTES.min(max_message.saturating_sub(HEADER_BYTES)),
        }
    }

    /// Adds a job, or gives it back when it does not fit.
    pub(super) fn add(&mut self, job: Job) -> Option<Job> {
        let bytes = self.bytes + job.sections.iter().map(cost).sum::<usize>();
        let sections = self.sections + job.sections.len();
        if bytes > self.limit || sections > SECTIONS_MAX {
            return Some(job);
        }
        (self.bytes, self.sections) = (bytes, sections);
        self.jobs.push(job);
        None
    }

    /// The message to publish.
    pub(super) fn seal(&self, continuity: ContinuityFields) -> EncodedEnvelope {
        let mut builder = EnvelopeBuilder::new();
        for section in self.jobs.iter().flat_map(|job| &job.sections) {
            builder.push(section);
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
        let (sections, bytes) = (self.sections as f64, envelope.payload.len() as f64);
        metrics.pack_sections.observe(sections);
        metrics.pack_bytes.observe(bytes);
    }
}

fn cost(section: &Section) -> usize {
    section_bytes(section) + if section.header.key.is_some() { KEY_BYTES } else { 0 }
}
