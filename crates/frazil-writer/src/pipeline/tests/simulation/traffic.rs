//! Requests of all kinds, and what must become of them.

use std::collections::BTreeMap;

use frazil_core::envelope::Unroutable;

use super::*;
use crate::sink::fake::FakeTable;

/// What must be where in the end.
#[derive(Default)]
pub(super) struct Truth {
    /// Ids of the events that are not repeats, per table.
    pub(super) expected: BTreeMap<TableName, BTreeSet<String>>,
    /// Ids among them that may be nothing but letters.
    unroutable: BTreeSet<String>,
    /// The new field of an event, by its id.
    fields: BTreeMap<String, String>,
    /// Per shard and key: events of the request seen so far.
    keys: BTreeMap<(u32, u8), u64>,
}

/// An event, and the name of the field that no table had in the beginning.
fn event(step: u64, random: &mut Random) -> (Vec<u8>, Option<String>) {
    let invalid: [&[u8]; 6] =
        [b"{\"n\":[1,{\"x\":}]}", b"[]", b"{\"n\":1,\"n\":2}", b"\xff\xfe{}", b"", b"{\"n\":true,\"f0\":\xff}"];
    if random.one_in(8) {
        return (invalid[random.below(6) as usize].to_vec(), None);
    }
    let n = if random.one_in(10) { 3_000_000_000 } else { random.below(100) };
    if random.one_in(2) {
        return (format!("{{\"n\":{n}}}").into_bytes(), None);
    }
    // More and more fields over time; sometimes one that can only be captured.
    let name = if random.one_in(12) { "__id__".to_owned() } else { format!("f{}", random.below(1 + step / 2)) };
    let value = ["1", "5000000000", "\"x\"", "1.5", "{\"a\":1}", "[{\"b\":\"y\"}]", "true"][random.below(7) as usize];
    (format!("{{\"n\":{n},\"{name}\":{value}}}").into_bytes(), Some(name))
}

/// The table of events without a route.
pub(super) fn catch_all(world: &World) -> TableName {
    TableName::catch_all("lake", &world.definition.name).expect("valid")
}

pub(super) fn publish(world: &World, truth: &mut Truth, tables: &[TableName], step: u64, random: &mut Random) {
    let shards = world.shards();
    let shard = &shards[random.below(shards.len() as u64) as usize];
    let (mut requests, mut wanted, mut fields) = (Vec::new(), Vec::new(), BTreeMap::new());
    let mut index = 0;
    for _ in 0..random.below(4) {
        let position = random.below(tables.len() as u64);
        let events: Vec<_> = (0..1 + random.below(4)).map(|_| event(step, random)).collect();
        let count = events.len() as u64;
        let named = events.iter().zip(index..).filter_map(|((_, field), at)| Some((at, field.clone()?)));
        fields.extend(named);
        let mut request = Request::new(&tables[position as usize], events.into_iter().map(|(text, _)| text));
        let lost = random.one_in(8);
        if lost {
            request.table = catch_all(world);
            request.unroutable = Some(Unroutable { field: "t".to_owned(), message: "none".to_owned() });
        }
        let repeats = match random.one_in(3).then(|| (random.below(5) * 8 + position * 2 + u64::from(lost)) as u8) {
            None => 0,
            Some(key) => {
                request.key = Some(KeyHash([key; 16]));
                let seen = truth.keys.entry((shard.index, key)).or_default();
                let repeats = (*seen).min(count);
                *seen = (*seen).max(count);
                repeats
            }
        };
        wanted.push((request.table.clone(), lost, index + repeats..index + count));
        index += count;
        requests.push(request);
    }
    let sequence = world.source.publish(shard, &requests);
    let id = |index| format!("{:016x}-{}-{sequence}-{index}", 7, shard.index);
    truth.fields.extend(fields.into_iter().map(|(index, field)| (id(index), field)));
    for (table, lost, events) in wanted {
        let ids: Vec<String> = events.map(id).collect();
        if lost {
            truth.unroutable.extend(ids.iter().cloned());
        }
        truth.expected.entry(table).or_default().extend(ids);
    }
}

impl Truth {
    /// Every event is in its table or its dead-letter table, exactly once; with every field it came with, if it is a row.
    pub(super) fn check(&self, world: &World) {
        for (name, expected) in &self.expected {
            let (rows, letters) = (once(world.sink.ids(name)), once(world.sink.ids(&name.dead_letter())));
            assert_eq!(rows.intersection(&letters).next(), None, "a row of {name} is a dead letter as well");
            assert_eq!(&rows.union(&letters).cloned().collect::<BTreeSet<_>>(), expected, "events of {name}");
            assert_eq!(rows.intersection(&self.unroutable).next(), None, "an unroutable event is a row");
            world.sink.table(name).into_iter().for_each(|table| self.check_fields(&table));
        }
    }

    fn check_fields(&self, table: &FakeTable) {
        for rows in table.snapshots.iter().filter_map(|snapshot| snapshot.rows.as_ref()) {
            let text = |name: &str| {
                arrow_array::cast::AsArray::as_string::<i32>(rows.column_by_name(name).expect("a system column"))
                    .clone()
            };
            let (ids, extra) = (text("__id__"), text("__extra__"));
            for row in 0..rows.num_rows() {
                let Some(field) = self.fields.get(ids.value(row)) else { continue };
                let column = rows.column_by_name(field).filter(|_| field != "__id__");
                let kept = column.is_some_and(|column| !arrow_array::Array::is_null(column, row))
                    || extra.value(row).contains(&format!("\"{field}\":"));
                assert!(kept, "field {field} of {} is nowhere", ids.value(row));
            }
        }
    }
}
