//! What one message says: continuity, repeats, sections grouped by table. No I/O; must be fed every message in order.

use frazil_core::Shard;
use frazil_core::TableName;
use frazil_core::checkpoint::Sequence;
use frazil_core::continuity::{Continuity, ContinuityCheck};
use frazil_core::envelope::{self, EnvelopeError, EnvelopeHeaders, KEYS_HEADER, Section};
use frazil_core::idempotency::DedupeWindow;
use frazil_core::limits::DEDUPE_KEYS_MAX;
use frazil_log::Message;
use uuid::Uuid;

use crate::rows::{Content, Part};

/// Producers remembered per shard. At the limit the one first seen is forgotten: a loss of its is not noticed.
const PRODUCERS_MAX: usize = 10_000;

/// Judges the messages of one shard.
#[derive(Debug)]
pub(super) struct Examiner {
    shard: Shard,
    window: DedupeWindow,
    continuity: ContinuityCheck,
    /// Where messages go that cannot be read.
    unreadable: TableName,
}

/// What one message holds, and what to count.
#[derive(Debug, Default)]
pub(super) struct Examined {
    /// All that is for one table, in order of appearance.
    pub(super) contents: Vec<(TableName, Content)>,
    pub(super) events: u64,
    pub(super) repeats: u64,
    pub(super) lost: Option<Lost>,
    /// Whose envelope it is, and its number.
    pub(super) producer: Option<(Uuid, u64)>,
    pub(super) unreadable: bool,
    pub(super) bad_checksum: bool,
    pub(super) forgotten: u64,
}

/// Something acknowledged that the log does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    /// Whose envelopes; `None` if only their places are known.
    pub(super) producer: Option<Uuid>,
    /// First missing number, or position.
    pub(super) from: u64,
    /// Last missing one.
    pub(super) to: u64,
    /// Position of the message that shows it.
    pub(super) seen_at: Sequence,
}

impl Lost {
    pub(super) fn count(&self) -> u64 {
        self.to - self.from + 1
    }
}

impl Examiner {
    /// `complete` says that the first message examined will be the very first of the shard.
    pub(super) fn new(shard: Shard, window_nanos: i64, complete: bool, unreadable: TableName) -> Self {
        let window = DedupeWindow::new(window_nanos, DEDUPE_KEYS_MAX);
        Self { shard, window, continuity: ContinuityCheck::new(PRODUCERS_MAX, complete), unreadable }
    }

    /// Takes note of a message that was handed out in an earlier life. Only its headers are needed.
    pub(super) fn recall(&mut self, message: &Message) {
        if let Ok(headers) = parse_headers(message) {
            self.continuity.observe(headers.continuity);
            for range in headers.keys {
                self.window.observe(range, message.sequence, message.timestamp_nanos);
            }
        }
    }

    /// All envelopes of a producer up to `number` are in their tables, whether the log still has them or not.
    pub(super) fn account_for(&mut self, producer: Uuid, number: u64) {
        self.continuity.account_for(producer, number);
    }

    /// The highest number of every producer so far.
    pub(super) fn numbers(&self) -> impl Iterator<Item = (Uuid, u64)> {
        self.continuity.numbers()
    }

    /// Judges the next message.
    pub(super) fn examine(&mut self, message: Message) -> Examined {
        let mut examined = Examined::default();
        if let Err(error) = self.read(&message, &mut examined) {
            tracing::error!(
                shard = %self.shard, sequence = message.sequence, %error,
                "ALARM unreadable message: kept as a dead letter of {}", self.unreadable
            );
            examined.unreadable = true;
            examined.bad_checksum = matches!(error, EnvelopeError::Checksum { .. });
            let received = message.timestamp_nanos.div_euclid(1000);
            let content = Content::Unreadable { payload: message.payload, received, error };
            examined.contents = vec![(self.unreadable.clone(), content)];
        }
        examined
    }

    fn read(&mut self, message: &Message, examined: &mut Examined) -> Result<(), EnvelopeError> {
        let headers = parse_headers(message)?;
        examined.producer = Some((headers.continuity.producer, headers.continuity.number));
        examined.lost = self.check_continuity(message.sequence, &headers);
        let forgotten = self.window.forgotten_early();
        // From the headers, and before the payload is looked at: exactly what `recall` can know.
        let mut repeats = Vec::with_capacity(headers.keys.len());
        for range in &headers.keys {
            repeats.push((*range, self.window.observe(*range, message.sequence, message.timestamp_nanos)));
        }
        examined.forgotten = self.window.forgotten_early() - forgotten;
        headers.verify(&message.payload)?;
        let sections = envelope::sections(&message.payload).collect::<Result<Vec<_>, _>>()?;
        let mut keyed = repeats.into_iter();
        let mut first_index = 0;
        for section in sections {
            let count = section.header.count;
            let repeats = match section.header.keyed_range() {
                None => 0,
                Some(range) => match keyed.next() {
                    Some((announced, repeats)) if announced == range => repeats,
                    Some(_) | None => return Err(disagreement(message)),
                },
            };
            examined.events += u64::from(count);
            examined.repeats += u64::from(repeats);
            add(&mut examined.contents, section, first_index, repeats);
            first_index += count;
        }
        if keyed.next().is_some() { Err(disagreement(message)) } else { Ok(()) }
    }

    fn check_continuity(&mut self, sequence: Sequence, headers: &EnvelopeHeaders) -> Option<Lost> {
        let (shard, producer) = (&self.shard, headers.continuity.producer);
        match self.continuity.observe(headers.continuity) {
            Continuity::InOrder | Continuity::NewProducer => None,
            Continuity::Repeated => {
                tracing::warn!(%shard, sequence, %producer, "an envelope is in the log twice");
                None
            }
            Continuity::Skipped { from, to } => {
                tracing::warn!(%shard, sequence, %producer, from, to, "envelopes are missing that were never acknowledged");
                None
            }
            Continuity::Lost { from, to } => {
                tracing::error!(
                    %shard, sequence, %producer, from, to,
                    "ALARM acknowledged loss: envelopes were acknowledged to a proxy and are not in the log"
                );
                Some(Lost { producer: Some(producer), from, to, seen_at: sequence })
            }
        }
    }

    /// The oldest message that later decisions depend on.
    pub(super) fn oldest_needed(&self) -> Option<Sequence> {
        self.window.oldest_sequence()
    }
}

fn parse_headers(message: &Message) -> Result<EnvelopeHeaders, EnvelopeError> {
    EnvelopeHeaders::parse(|name| message.headers.get(name))
}

/// The headers announce other keyed sections than the payload has.
fn disagreement(message: &Message) -> EnvelopeError {
    let value = message.headers.get(KEYS_HEADER).unwrap_or_default().chars().take(64).collect();
    EnvelopeError::MalformedHeader { name: KEYS_HEADER, value }
}

fn add(contents: &mut Vec<(TableName, Content)>, section: Section, first_index: u32, repeats: u32) {
    let position = contents.iter().position(|(table, _)| *table == section.header.table);
    let part = Part { section, first_index, repeats };
    match position.map(|at| &mut contents[at].1) {
        Some(Content::Sections(parts)) => parts.push(part),
        Some(Content::Unreadable { .. }) | None => {
            contents.push((part.section.header.table.clone(), Content::Sections(vec![part])));
        }
    }
}
