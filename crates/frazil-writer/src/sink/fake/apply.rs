//! What a commit and a change of the schema do to a table in memory, and what they refuse.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::RecordBatch;
use frazil_core::schema::Schema;
use uuid::Uuid;

use super::{Append, CommitError, Committed, EvolveError, FakeTable, Snapshot};

pub(super) fn evolve_in(
    table: Option<&mut FakeTable>,
    base: &FakeTable,
    schema: &Schema,
    properties: &BTreeMap<String, String>,
) -> Result<FakeTable, EvolveError> {
    let table = table.ok_or(EvolveError::Gone)?;
    if table.uuid != base.uuid {
        return Err(EvolveError::Replaced);
    }
    if (table.schema.schema_id, table.last_column_id) != (base.schema.schema_id, base.last_column_id) {
        return Err(EvolveError::Conflict("another schema".into()));
    }
    for field in schema.fields.iter().filter(|field| base.schema.fields.iter().all(|known| known.id != field.id)) {
        assert!(field.id > base.last_column_id && !field.required, "{field:?} cannot be added");
    }
    let names: BTreeSet<&String> = schema.fields.iter().map(|field| &field.name).collect();
    assert_eq!(names.len(), schema.fields.len(), "names are unique");
    table.take_schema(schema.clone());
    table.properties.extend(properties.clone());
    Ok(table.clone())
}

pub(super) fn commit_in(
    table: Option<&mut FakeTable>,
    uuid: Uuid,
    files: Option<&RecordBatch>,
    append: &Append,
) -> Result<(Committed, FakeTable), CommitError> {
    let table = table.ok_or(CommitError::Gone)?;
    if table.uuid != uuid {
        return Err(CommitError::Replaced);
    }
    if let Some(ours) = table.snapshots.iter().find(|snapshot| snapshot.commit_id == append.commit_id) {
        return Ok((Committed::new(ours.id, true), table.clone()));
    }
    for fence in &append.fence {
        let found = table.properties.get(&fence.key).cloned();
        if found != fence.expected {
            return Err(CommitError::Fenced { key: fence.key.clone(), expected: fence.expected.clone(), found });
        }
    }
    for fence in &append.fence {
        table.properties.insert(fence.key.clone(), fence.value.clone());
    }
    let id = table.snapshots.len() as i64 + 1;
    let (commit_id, summary, rows) = (append.commit_id, append.summary.clone(), files.cloned());
    table.snapshots.push(Snapshot { id, commit_id, summary, rows });
    Ok((Committed::new(id, false), table.clone()))
}
