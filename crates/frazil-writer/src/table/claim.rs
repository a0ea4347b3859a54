//! Before the first commit of a shard to a table: whoever still writes letters of that shard for another table, or for
//! none, is fenced off.
//!
//! Two tables cannot be committed in one, so rows and letters of the same event are kept apart by an order of steps. A
//! writer of letters reads the dead-letter table *before* it reads the table, and its commit is fenced by what the
//! dead-letter table said then: its checkpoint, and for which table letters are written. Whoever is about to write the
//! first rows reads the dead-letter table *after* it has seen the table, and claims it for that table. Of the two
//! commits one comes first and fences the other. If there is no dead-letter table to claim, whoever creates it looks at
//! the table again before he commits letters.

use std::collections::BTreeMap;

use frazil_core::TableName;
use uuid::Uuid;

use super::Abandon;
use super::append::{WRITER, append};
use super::fence::ShardFence;
use super::load::{Shape, load};
use crate::pipeline::StreamContext;
use crate::shard::ShardState;
use crate::sink::{Append, SinkError, SinkTable, TableSink};
use crate::source::Source;

/// The fence, once no letters of the shard can come but those of this table.
pub(super) async fn claimed<So: Source, Si: TableSink>(
    context: &StreamContext<So, Si>,
    table: &TableName,
    shape: &Shape<Si::Table>,
    fence: ShardFence,
    origin: &ShardState,
) -> Result<ShardFence, Abandon> {
    let Some(main) = shape.main.as_ref().filter(|_| fence.is_new) else { return Ok(fence) };
    let name = table.dead_letter();
    let mut trouble = context.trouble(&name, "read the checkpoint");
    loop {
        let Some(dead) = load(context, &name).await else { return Ok(fence) };
        let mut fence = match ShardFence::read(origin, Some(main), Some(&dead)) {
            Ok(fence) => fence,
            Err(error) => {
                trouble.sink(&SinkError::Rejected(error)).await;
                continue;
            }
        };
        if let Some(properties) = fence.claim(main.uuid()) {
            let summary = BTreeMap::from([(WRITER.to_owned(), context.config.name.clone())]);
            let request = Append { commit_id: Uuid::now_v7(), fence: properties.into(), summary };
            append(context, &name, &dead, None, &request).await?;
        }
        return Ok(fence);
    }
}
