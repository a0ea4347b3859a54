//! What users and their engines do to tables, as they may at any time.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema as ArrowSchema};
use frazil_core::TableName;
use frazil_core::schema::{ID_COLUMN, Schema};
use uuid::Uuid;

use super::{FakeSink, FakeTable};

impl FakeSink {
    /// Makes a table with system columns, in the place of an older one if there is one.
    pub(crate) fn create_table(&self, name: &TableName, schema: Schema) {
        self.create_foreign_table(name, schema.with_system_columns());
    }

    /// A table without system columns, as users have them.
    pub(crate) fn create_foreign_table(&self, name: &TableName, schema: Schema) {
        let mut state = self.state();
        state.drop_table(name);
        state.tables.insert(name.clone(), FakeTable::new(name, schema));
    }

    /// Drops the table with all that is in it; says whether there was one.
    pub(crate) fn drop_table(&self, name: &TableName) -> bool {
        self.state().drop_table(name)
    }

    /// Registers a table that was dropped, as it was.
    pub(crate) fn register_table(&self, name: &TableName, table: FakeTable) {
        self.state().tables.insert(name.clone(), table);
    }

    /// Another schema for the table.
    pub(crate) fn set_schema(&self, name: &TableName, schema: Schema) {
        self.change(name, |table| table.take_schema(schema.with_system_columns())).expect("the test created it");
    }

    /// Alters the table, if it exists; the function is told the last column id.
    pub(crate) fn alter(&self, name: &TableName, change: impl FnOnce(&mut Schema, i32)) {
        self.change(name, |table| {
            let mut schema = table.schema.as_ref().clone();
            change(&mut schema, table.last_column_id);
            table.take_schema(schema);
        });
    }

    /// Changes a property behind everybody's back, if the table exists.
    pub(crate) fn set_property(&self, name: &TableName, key: &str, value: Option<&str>) {
        self.change(name, |table| {
            let properties = Arc::make_mut(&mut table.properties);
            match value {
                Some(value) => properties.insert(key.to_owned(), value.to_owned()),
                None => properties.remove(key),
            }
        });
    }

    /// Another engine appends a row.
    pub(crate) fn append_foreign(&self, name: &TableName, id: &str) -> Option<()> {
        self.change(name, |table| {
            let column = ArrowSchema::new(vec![Field::new(ID_COLUMN, DataType::Utf8, false)]);
            let rows = RecordBatch::try_new(Arc::new(column), vec![Arc::new(StringArray::from(vec![id]))]);
            let mut content = table.content().to_vec();
            content.push(Arc::new(rows.expect("one column of one row")));
            table.push(Uuid::new_v4(), BTreeMap::new(), None, content);
        })
    }

    /// An engine rewrites all files: the same rows, a new snapshot on top that is none of ours.
    pub(crate) fn compact(&self, name: &TableName) -> Option<()> {
        self.change(name, |table| {
            let content = table.content().iter().rev().cloned().collect();
            table.push(Uuid::new_v4(), BTreeMap::new(), None, content);
        })
    }

    /// Removes all snapshots but the newest.
    pub(crate) fn expire(&self, name: &TableName) -> Option<()> {
        self.change(name, |table| {
            let snapshots = Arc::make_mut(&mut table.snapshots);
            snapshots.drain(..snapshots.len().saturating_sub(1));
        })
    }

    /// Points `main` at the snapshot `back` commits ago, if it is not expired. The properties stay.
    pub(crate) fn roll_back(&self, name: &TableName, back: usize) -> Option<()> {
        let mut state = self.state();
        let state = &mut *state;
        let table = state.tables.get_mut(name)?;
        let kept = table.snapshots.len().checked_sub(back).filter(|kept| back > 0 && *kept > 0)?;
        let before = table.ids();
        Arc::make_mut(&mut table.snapshots).truncate(kept);
        table.moves += 1;
        state.history.removed(before, &table.ids());
        Some(())
    }

    fn change<T>(&self, name: &TableName, change: impl FnOnce(&mut FakeTable) -> T) -> Option<T> {
        self.state().tables.get_mut(name).map(change)
    }
}
