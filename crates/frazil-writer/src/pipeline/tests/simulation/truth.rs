//! What must be where: every logged event, and what users or the end of its log did to it.

use std::collections::BTreeMap;

use frazil_core::checkpoint::Incarnation;

use super::*;
use crate::sink::fake::FakeTable;

/// One logged event that is no repeat.
pub(super) struct Event {
    pub(super) table: TableName,
    /// It may be nothing but a letter.
    pub(super) unroutable: bool,
    /// A field that no table had in the beginning.
    pub(super) field: Option<String>,
}

/// Events of one shard: by sequence, their ids.
type Log = BTreeMap<Sequence, Vec<String>>;

/// Everything that was logged.
#[derive(Default)]
pub(super) struct Truth {
    events: BTreeMap<String, Event>,
    logs: BTreeMap<(u32, Incarnation), Log>,
    /// Per shard, which one, and key: events of the request seen so far.
    pub(super) keys: BTreeMap<(u32, Incarnation, u8), u64>,
}

impl Truth {
    /// A message was logged that holds these events.
    pub(super) fn logged(
        &mut self,
        shard: &Shard,
        incarnation: Incarnation,
        sequence: Sequence,
        events: impl IntoIterator<Item = (u64, Event)>,
    ) {
        let log = self.logs.entry((shard.index, incarnation)).or_default();
        for (index, event) in events {
            let id = format!("{incarnation}-{}-{sequence}-{index}", shard.index);
            log.entry(sequence).or_default().push(id.clone());
            self.events.insert(id, event);
        }
    }

    /// The log of the shard is about to go: what is not committed may be lost.
    pub(super) fn orphan(&self, world: &World, shard: &Shard, incarnation: Incarnation) {
        let ids = self.logs.get(&(shard.index, incarnation)).into_iter().flat_map(BTreeMap::values).flatten();
        world.sink.history(|history| ids.for_each(|id| history.orphaned(id)));
    }

    /// 2: whatever was stored as done is committed, so that reading may begin after it.
    pub(super) fn check_watermarks(&self, world: &World) {
        for shard in world.shards() {
            let Some(stored) = world.source.stored_progress(&shard) else { continue };
            let Some(log) = self.logs.get(&(shard.index, stored.incarnation)) else { continue };
            let done = log.range(..=stored.sequence).flat_map(|(_, ids)| ids);
            let open = world.sink.history(|history| {
                let mut open = done.filter(|id| !history.was_committed(id) && !history.is_excused(id));
                open.next().cloned()
            });
            assert_eq!(open, None, "the watermark of {shard} is {stored:?}, beyond this event");
        }
    }

    /// 1: every event is in its table or its dead-letter table, exactly once, unless it was taken away. 2 and 3: as
    /// the tables have noted it.
    pub(super) fn check(&self, world: &World) {
        world.sink.history(|history| assert_eq!(history.violations(), [""; 0]));
        let mut places: BTreeMap<String, Vec<TableName>> = BTreeMap::new();
        let tables: BTreeSet<&TableName> = self.events.values().map(|event| &event.table).collect();
        for name in tables.into_iter().flat_map(|table| [table.clone(), table.dead_letter()]) {
            let Some(table) = world.sink.table(&name) else { continue };
            for id in table.ids().into_iter().filter(|id| !id.starts_with("user-")) {
                places.entry(id).or_default().push(name.clone());
            }
            self.check_fields(&table);
        }
        for (id, event) in &self.events {
            let found = places.remove(id).unwrap_or_default();
            let allowed = [event.table.clone(), event.table.dead_letter()];
            match found.as_slice() {
                [] => assert!(world.sink.history(|history| history.is_excused(id)), "{id} of {} is lost", event.table),
                [place] => assert!(allowed[usize::from(event.unroutable)..].contains(place), "{id} is in {place}"),
                places => panic!("{id} is in {places:?}"),
            }
        }
        assert!(places.is_empty(), "nobody logged these: {places:?}");
    }

    fn check_fields(&self, table: &FakeTable) {
        for rows in table.content() {
            let text = |name: &str| {
                rows.column_by_name(name).map(|column| arrow_array::cast::AsArray::as_string::<i32>(column).clone())
            };
            // Letters have neither, and rows of others.
            let (Some(ids), Some(extra)) = (text("__id__"), text("__extra__")) else { continue };
            for row in 0..rows.num_rows() {
                let Some(field) = self.events.get(ids.value(row)).and_then(|event| event.field.as_ref()) else {
                    continue;
                };
                let column = rows.column_by_name(field).filter(|_| field != "__id__");
                let kept = column.is_some_and(|column| !arrow_array::Array::is_null(column, row))
                    || extra.value(row).contains(&format!("\"{field}\":"));
                assert!(kept, "field {field} of {} is nowhere", ids.value(row));
            }
        }
    }
}
