//! The default table of a stream: does the log still have what the table's checkpoints name?

use frazil_core::TableName;
use frazil_core::checkpoint::Checkpoint;
use frazil_core::stream::StreamDefinition;
use frazil_iceberg::{CatalogError, Table};
use frazil_log::{Log, Standing};

use super::{Level, Report};
use crate::config::Config;
use crate::reach;

/// Compares the checkpoints of a table with the log.
pub(super) async fn check(
    log: &Log,
    config: &Config,
    definition: &StreamDefinition,
    name: &TableName,
    report: &mut Report,
) {
    let about = format!("table {name}");
    let catalog = match reach::catalog_of(config, name).await {
        Ok(catalog) => catalog,
        Err(error) => return report.add(Level::Error, about, format!("{error:#}")),
    };
    match catalog.load_table(&crate::table::ident(name)).await {
        Ok(table) => compare(log, definition, &table, &about, report).await,
        Err(CatalogError::NoSuchTable { .. } | CatalogError::NoSuchNamespace { .. }) => {
            report.add(Level::Note, about, "it does not exist");
        }
        Err(error) => report.add(Level::Error, about, format!("{:#}", anyhow::Error::from(error))),
    }
}

async fn compare(log: &Log, definition: &StreamDefinition, table: &Table, about: &str, report: &mut Report) {
    let before = report.findings.len();
    for shard in definition.all_shards() {
        let Some(text) = table.metadata.properties().get(&shard.checkpoint_property()) else { continue };
        let Ok(checkpoint) = text.parse::<Checkpoint>() else {
            let text = format!("its property {} is malformed: {text:?}", shard.checkpoint_property());
            report.add(Level::Error, about, text);
            continue;
        };
        match log.confirm(&shard, checkpoint).await {
            Ok(Standing::Rewound { evidence }) => {
                let text = format!("it has events that shard {shard} has lost, and that is not on record: {evidence}");
                report.add(Level::Error, about, text);
            }
            // A checkpoint of a shard that was deleted or made anew covers nothing, as it should.
            Ok(Standing::Kept | Standing::Unchecked)
            | Err(frazil_log::LogError::Recreated(_) | frazil_log::LogError::NotFound(_)) => {}
            Err(error) => report.add(Level::Error, about, format!("{:#}", anyhow::Error::from(error))),
        }
    }
    if report.findings.len() == before {
        report.add(Level::Ok, about, "its checkpoints agree with the log");
    }
}
