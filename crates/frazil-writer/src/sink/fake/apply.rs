//! What a commit and a change of the schema do to a table in memory, and what they refuse.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::RecordBatch;
use frazil_core::TableName;
use frazil_core::schema::Schema;
use uuid::Uuid;

use super::{Append, CommitError, Committed, EvolveError, FakeTable, State};

/// What a commit was checked on: it can only land while `main` has not moved.
///
/// A catalog only compares the snapshot that `main` points at. So a request on its way could still land if in the
/// meantime another writer committed *and* a user rolled the table back to exactly the snapshot before. No requirement
/// of the REST protocol tells the two apart; this is left out here, and said in the crate's documentation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Base {
    moves: u64,
}

impl State {
    pub(super) fn evolve(
        &mut self,
        base: &FakeTable,
        schema: &Schema,
        properties: &BTreeMap<String, String>,
    ) -> Result<FakeTable, EvolveError> {
        let table = self.tables.get_mut(&base.name).ok_or(EvolveError::Gone)?;
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
        Arc::make_mut(&mut table.properties).extend(properties.clone());
        Ok(table.clone())
    }

    /// May the append be committed to the table as it is? Or is it already?
    pub(super) fn judge(
        &self,
        name: &TableName,
        uuid: Uuid,
        append: &Append,
    ) -> Result<Result<Committed, Base>, CommitError> {
        let table = self.tables.get(name).ok_or(CommitError::Gone)?;
        if table.uuid != uuid {
            return Err(CommitError::Replaced);
        }
        if let Some(ours) = table.snapshots.iter().find(|snapshot| snapshot.commit_id == append.commit_id) {
            return Ok(Ok(Committed::new(ours.id, true)));
        }
        for fence in &append.fence {
            let found = table.properties.get(&fence.key).cloned();
            if found != fence.expected {
                return Err(CommitError::Fenced { key: fence.key.clone(), expected: fence.expected.clone(), found });
            }
        }
        Ok(Err(Base { moves: table.moves }))
    }

    /// Commits what was checked, unless `main` has moved on or it is another table.
    pub(super) fn land(
        &mut self,
        name: &TableName,
        uuid: Uuid,
        base: Base,
        files: Option<&RecordBatch>,
        append: &Append,
    ) -> Option<i64> {
        let table = self.tables.get_mut(name).filter(|table| table.uuid == uuid && table.moves == base.moves)?;
        let values = || append.fence.iter().map(|fence| (&fence.key, &fence.value));
        self.history.moved(name, &table.properties, values());
        Arc::make_mut(&mut table.properties).extend(values().map(|(key, value)| (key.clone(), value.clone())));
        let mut content = table.content().to_vec();
        if let Some(rows) = files {
            self.history.committed(name, uuid, rows);
            content.push(Arc::new(rows.clone()));
        }
        self.commits += 1;
        Some(table.push(append.commit_id, append.summary.clone(), files.cloned(), content))
    }

    pub(super) fn commit(
        &mut self,
        name: &TableName,
        uuid: Uuid,
        files: Option<&RecordBatch>,
        append: &Append,
    ) -> Result<(Committed, FakeTable), CommitError> {
        let committed = match self.judge(name, uuid, append)? {
            Ok(adopted) => adopted,
            Err(base) => {
                let id = self.land(name, uuid, base, files, append).expect("nothing came in between");
                Committed::new(id, false)
            }
        };
        Ok((committed, self.tables[name].clone()))
    }

    pub(super) fn drop_table(&mut self, name: &TableName) -> bool {
        let dropped = self.tables.remove(name);
        if let Some(table) = &dropped {
            self.history.removed(table.ids(), &[]);
        }
        dropped.is_some()
    }
}
