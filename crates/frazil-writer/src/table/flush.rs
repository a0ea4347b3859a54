//! The work on one sealed batch: rows, checkpoint and the letters' positions in one fenced commit, which decides;
//! then the letters, in a commit to the dead-letter table.

use std::collections::BTreeMap;
use std::sync::Arc;

use frazil_core::stream::CommitNotice;
use frazil_core::{Shard, TableName};
use tokio::time::Instant;
use uuid::Uuid;

use super::Abandon;
use super::append::{WRITER, append};
use super::fence::ShardFence;
use super::load::load;
use crate::batch::{SealedBatch, ShardDelta};
use crate::budget::Permit;
use crate::dead_letter::{dead_letter_schema, letter_rows};
use crate::flush::CommitTrigger;
use crate::metrics::CauseLabel;
use crate::pipeline::StreamContext;
use crate::sink::{Append, Committed, SinkTable, TableSink};
use crate::source::Source;

/// Summary key with the reason of a commit.
const TRIGGER: &str = "frazil.commit-trigger";

/// What is needed to commit a batch.
pub(super) struct Work<So: Source, Si: TableSink> {
    pub(super) context: Arc<StreamContext<So, Si>>,
    pub(super) name: TableName,
    /// The table the batch was decoded for; `None` if it does not exist.
    pub(super) main: Option<Si::Table>,
    pub(super) dead: Option<Si::Table>,
    /// Of every shard in the batch.
    pub(super) fences: Vec<ShardFence>,
}

/// A committed batch.
pub(super) struct Flushed<T> {
    proof: Committed,
    /// The table as of its commit, if there was one.
    pub(super) main: Option<T>,
    /// The dead-letter table, if the batch touched it or it was known.
    pub(super) dead: Option<T>,
    /// The shards' new state.
    pub(super) fences: Vec<ShardFence>,
    /// Memory, to be given back now.
    pub(super) permit: Permit,
    deltas: Vec<ShardDelta>,
    trigger: CommitTrigger,
    rows: usize,
    letters: BTreeMap<&'static str, u64>,
    seconds: f64,
}

impl<So: Source, Si: TableSink> Work<So, Si> {
    /// Commits the batch; returns only when it is committed, or must be given up.
    pub(super) async fn flush(mut self, mut batch: SealedBatch) -> Result<Flushed<Si::Table>, Abandon> {
        let started = Instant::now();
        let rows = batch.rows.as_ref().map_or(0, arrow_array::RecordBatch::num_rows);
        let mut letters = BTreeMap::new();
        for letter in &batch.letters {
            *letters.entry(letter.reason.code()).or_default() += 1;
        }
        let (mut main, mut proof) = (self.main.take(), None);
        let uuid = main.as_ref().map(Si::Table::uuid);
        if uuid.is_none() {
            self.unchanged(None).await?;
        }
        // A batch that only recovers letters does not move the table.
        main = main.filter(|_| !batch.deltas.iter().all(ShardDelta::is_recovery));
        if let Some(table) = &mut main {
            let (committed, now) = self.commit_rows(table, &mut batch).await?;
            (*table, proof) = (now, Some(committed));
        }
        let proof = match proof {
            Some(proof) if batch.letters.is_empty() => proof,
            Some(proof) => {
                self.commit_letters(&batch, uuid).await?;
                proof
            }
            None => self.commit_letters(&batch, uuid).await?,
        };
        Ok(Flushed {
            proof,
            main,
            dead: self.dead,
            fences: self.fences,
            permit: batch.permit,
            deltas: batch.deltas,
            trigger: batch.trigger,
            rows,
            letters,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    /// Whether the table is still the one with this uuid, or still missing. Events for a table that came to be must
    /// become its rows: they were accepted for it.
    async fn unchanged(&self, uuid: Option<Uuid>) -> Result<(), Abandon> {
        let now = load(&self.context, &self.name).await.map(|table| table.uuid());
        let what = match (uuid, now) {
            _ if now == uuid => return Ok(()),
            (None, _) => "was created",
            (Some(_), None) => "was dropped",
            (Some(_), Some(_)) => "was replaced by another one",
        };
        Err(Abandon::Replaced { table: self.name.clone(), what })
    }

    /// Commits the letters of the table with this uuid, or of a table that does not exist.
    async fn commit_letters(&mut self, batch: &SealedBatch, uuid: Option<Uuid>) -> Result<Committed, Abandon> {
        let name = self.name.dead_letter();
        let dead = match self.dead.take() {
            Some(dead) => dead,
            None => {
                let created = create_dead_letter(&self.context, &name).await;
                // Whoever claims the letters for another table could not do so before: see `claim`.
                self.unchanged(uuid).await?;
                created
            }
        };
        let commit_id = Uuid::now_v7();
        let mut properties = Vec::new();
        for (fence, delta) in self.fences.iter_mut().zip(&batch.deltas) {
            let letters = || batch.letters.iter().any(|letter| letter.shard == delta.shard);
            if uuid.is_none() || delta.is_recovery() || letters() {
                properties.extend(fence.advance_letters(delta, uuid));
            }
        }
        let request = Append { commit_id, fence: properties, summary: self.summary(batch) };
        let rows = letter_rows(&batch.letters, &commit_id.to_string(), dead.arrow_schema());
        let rows = (!batch.letters.is_empty()).then_some(rows);
        let (proof, dead) = append(&self.context, &name, &dead, rows, &request).await?;
        self.dead = Some(dead);
        Ok(proof)
    }

    async fn commit_rows(
        &mut self,
        main: &Si::Table,
        batch: &mut SealedBatch,
    ) -> Result<(Committed, Si::Table), Abandon> {
        let fences = self.fences.iter_mut().zip(&batch.deltas).filter(|(_, delta)| !delta.is_recovery());
        let properties = fences.flat_map(|(fence, delta)| fence.advance(delta, &batch.letters)).collect();
        let request = Append { commit_id: batch.commit_id, fence: properties, summary: self.summary(batch) };
        append(&self.context, &self.name, main, batch.rows.take(), &request).await
    }

    fn summary(&self, batch: &SealedBatch) -> BTreeMap<String, String> {
        let moved = batch.deltas.iter().filter(|delta| !delta.is_recovery());
        let deltas = moved.map(|delta| (delta.shard.delta_summary(), delta.delta.to_string()));
        let about = [(WRITER, self.context.config.name.clone()), (TRIGGER, batch.trigger.to_string())];
        deltas.chain(about.map(|(key, value)| (key.to_owned(), value))).collect()
    }
}

async fn create_dead_letter<So: Source, Si: TableSink>(context: &StreamContext<So, Si>, name: &TableName) -> Si::Table {
    let schema = dead_letter_schema();
    let mut trouble = context.trouble(name, "create the dead-letter table");
    loop {
        let creating = context.sink.create(name, &schema);
        match context.patiently(name, "create the dead-letter table", creating).await {
            Ok(table) => return table,
            Err(error) => trouble.sink(&error).await,
        }
    }
}

impl<T> Flushed<T> {
    /// Moves the shards' progress, counts, logs; returns what to announce.
    pub(super) fn settle<So: Source, Si: TableSink>(
        &self,
        context: &StreamContext<So, Si>,
        table: &TableName,
    ) -> Vec<(Shard, CommitNotice)> {
        let (label, metrics) = (context.stream_label(), &context.metrics);
        let cause = |cause| CauseLabel { stream: label.stream.clone(), cause };
        metrics.rows.get_or_create(&label).inc_by(self.rows as u64);
        metrics.commits.get_or_create(&cause(self.trigger.as_str())).inc();
        metrics.commit_seconds.get_or_create(&label).observe(self.seconds);
        for (reason, count) in &self.letters {
            metrics.dead_letters.get_or_create(&cause(reason)).inc_by(*count);
        }
        metrics.table_series.committed(&label.stream, table, context.clock.unix().as_secs_f64());
        let snapshot_id = self.proof.snapshot_id();
        tracing::info!(
            %table, snapshot_id, trigger = %self.trigger, rows = self.rows,
            dead_letters = self.letters.values().sum::<u64>(), seconds = self.seconds, "committed"
        );
        let mut notices = Vec::new();
        for ShardDelta { shard, delta, .. } in &self.deltas {
            if let Some(state) = context.shard(shard.index) {
                state.progress().committed(table, &self.proof, delta.end);
            }
            let (incarnation, sequence) = (delta.incarnation, delta.end);
            notices.push((shard.clone(), CommitNotice { table: table.clone(), incarnation, sequence, snapshot_id }));
        }
        notices
    }
}
