//! The policies by which letters are mapped again: those of the streams they came in by.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use frazil_core::StreamName;
use frazil_core::policy::TablePolicy;
use frazil_core::replay::Letters;

use crate::config::Config;
use crate::reach;

/// The policy of every stream that letters came in by. A stream that does not exist any more has the default policy,
/// and so have all with `offline`; both is said on stderr, because it may decide what a number means.
pub(super) async fn policies(
    config: &Config,
    letters: &Letters,
    offline: bool,
) -> anyhow::Result<BTreeMap<StreamName, TablePolicy>> {
    let streams: BTreeSet<&StreamName> = letters.shards().map(|shard| &shard.stream).collect();
    if streams.is_empty() {
        return Ok(BTreeMap::new());
    }
    if offline {
        eprintln!(
            "frazil: --offline: the table's properties over the default policy decide, not the streams' policies"
        );
        return Ok(BTreeMap::new());
    }
    let log = reach::log(config).await.context(
        "the streams' policies are in the log's control bucket; with --offline the table's properties over the default \
         policy decide",
    )?;
    let mut policies = BTreeMap::new();
    for stream in streams {
        match log.control().get_stream(stream).await.context("cannot read the control bucket")? {
            Some(definition) => {
                policies.insert(stream.clone(), definition.policy);
            }
            None => eprintln!("frazil: stream {stream} does not exist any more: the default policy decides"),
        }
    }
    Ok(policies)
}
