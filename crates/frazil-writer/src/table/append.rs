//! One append to one table, tried until its outcome is certain. The batch waits here while a catalog or a store is
//! down; nothing else of the table proceeds meanwhile.

use arrow_array::RecordBatch;
use frazil_core::TableName;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Abandon, FencedBy};
use crate::pipeline::StreamContext;
use crate::sink::{Append, CommitError, Committed, SinkError, SinkTable, Staged, TableSink};
use crate::source::Source;

/// Summary key with the name of the writer that made a commit.
pub(super) const WRITER: &str = "frazil.writer";

/// Stages the rows (if any) and commits the append.
pub(super) async fn append<So: Source, Si: TableSink>(
    context: &StreamContext<So, Si>,
    name: &TableName,
    table: &Si::Table,
    rows: Option<RecordBatch>,
    append: &Append,
) -> Result<(Committed, Si::Table), Abandon> {
    let mut table = table.clone();
    let staged = match rows {
        Some(rows) => Some(stage(context, name, &mut table, rows).await?),
        None => None,
    };
    let files = staged.as_ref().map(|staged| &staged.files);
    let mut trouble = context.trouble(name, "commit");
    loop {
        // Always the very same append: it is committed at most once, and an open outcome is resolved by asking again.
        let turn = context.flush_turn().await;
        let commit = context.sink.commit(&table, files, append);
        let outcome = context.patiently(name, "commit", commit).await;
        drop(turn);
        let error = match outcome {
            Ok((committed, now)) => {
                if committed.adopted() {
                    context.metrics.adopted.get_or_create(&context.stream_label()).inc();
                    tracing::info!(table = %name, commit_id = %append.commit_id, "found an unanswered commit in the table");
                }
                return Ok((committed, now));
            }
            Err(error) => error,
        };
        match error {
            CommitError::Fenced { key, expected, found } => {
                return Err(fenced(context, name, key, expected, found).await);
            }
            CommitError::Replaced => {
                return Err(Abandon::Replaced { table: name.clone(), what: "was replaced by another one" });
            }
            CommitError::Gone => return Err(Abandon::Replaced { table: name.clone(), what: "was dropped" }),
            CommitError::Unknown(_) => trouble.retry("unknown", &error).await,
            CommitError::Unavailable(_) => trouble.retry("unavailable", &error).await,
            CommitError::Rejected(_) => trouble.retry("rejected", &error).await,
        }
    }
}

async fn stage<So: Source, Si: TableSink>(
    context: &StreamContext<So, Si>,
    name: &TableName,
    table: &mut Si::Table,
    rows: RecordBatch,
) -> Result<Staged<Si::Files>, Abandon> {
    let started = Instant::now();
    let mut trouble = context.trouble(name, "store files");
    let staged = loop {
        let prefix = format!("{}-{}", context.config.name, Uuid::now_v7());
        let turn = context.flush_turn().await;
        let stage = context.sink.stage(&*table, rows.clone(), &prefix);
        let outcome = context.patiently(name, "store files", stage).await;
        drop(turn);
        match outcome {
            Ok(staged) => break staged,
            Err(error) => {
                trouble.sink(&error).await;
                if matches!(error, SinkError::Rejected(_)) {
                    look_again(context, name, table).await?;
                }
            }
        }
    };
    let label = context.stream_label();
    context.metrics.stage_seconds.get_or_create(&label).observe(started.elapsed().as_secs_f64());
    context.metrics.files.get_or_create(&label).inc_by(staged.count as u64);
    context.metrics.file_bytes.get_or_create(&label).inc_by(staged.bytes);
    Ok(staged)
}

/// Somebody may have put right what kept files from being stored: a property, a permission, the columns.
async fn look_again<So: Source, Si: TableSink>(
    context: &StreamContext<So, Si>,
    name: &TableName,
    table: &mut Si::Table,
) -> Result<(), Abandon> {
    let replaced = |what| Err(Abandon::Replaced { table: name.clone(), what });
    match context.patiently(name, "look at the table again", context.sink.load(name)).await {
        Ok(Some(now)) if now.uuid() != table.uuid() => replaced("was replaced by another one"),
        Ok(Some(now)) if now.schema() != table.schema() => replaced("refuses files and has other columns now"),
        Ok(Some(now)) => {
            *table = now;
            Ok(())
        }
        Ok(None) => replaced("was dropped"),
        Err(_) => Ok(()),
    }
}

/// The batch is fenced off: finds out, for the log, who made the newest commit.
async fn fenced<So: Source, Si: TableSink>(
    context: &StreamContext<So, Si>,
    name: &TableName,
    key: String,
    expected: Option<String>,
    found: Option<String>,
) -> Abandon {
    let table = context.patiently(name, "look who holds the table", context.sink.load(name)).await.ok().flatten();
    let holder = table.and_then(|table| table.find_summary(WRITER, &|_| true));
    let holder = holder.unwrap_or_else(|| "an unknown writer".to_owned());
    Abandon::Fenced(Box::new(FencedBy { table: name.clone(), holder, key, expected, found }))
}
