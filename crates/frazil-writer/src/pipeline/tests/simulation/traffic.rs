//! Requests of all kinds.

use frazil_core::envelope::Unroutable;

use super::truth::{Event, Truth};
use super::*;

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

/// Stores a message in one of the shards, unless that is gone just now.
pub(super) fn publish(world: &World, truth: &mut Truth, tables: &[TableName], step: u64, random: &mut Random) {
    let shard = random.pick(&world.shards()).clone();
    let Some(incarnation) = world.source.incarnation(&shard) else { return };
    let (mut requests, mut wanted) = (Vec::new(), Vec::new());
    let mut index = 0;
    for _ in 0..random.below(4) {
        let position = random.below(tables.len() as u64);
        let events: Vec<_> = (0..1 + random.below(4)).map(|_| event(step, random)).collect();
        let (texts, fields): (Vec<_>, Vec<_>) = events.into_iter().unzip();
        let count = texts.len() as u64;
        let mut request = Request::new(&tables[position as usize], texts);
        let unroutable = random.one_in(8);
        if unroutable {
            request.table = catch_all(world);
            request.unroutable = Some(Unroutable { field: "t".to_owned(), message: "none".to_owned() });
        }
        let mut repeats = 0;
        if random.one_in(3) {
            let key = (random.below(5) * 8 + position * 2 + u64::from(unroutable)) as u8;
            request.key = Some(KeyHash([key; 16]));
            let seen = truth.keys.entry((shard.index, incarnation, key)).or_default();
            repeats = (*seen).min(count);
            *seen = (*seen).max(count);
        }
        let table = request.table.clone();
        let new = (index..).zip(fields).skip(repeats as usize);
        wanted.extend(new.map(|(index, field)| (index, Event { table: table.clone(), unroutable, field })));
        index += count;
        requests.push(request);
    }
    let sequence = world.source.publish(&shard, &requests);
    truth.logged(&shard, incarnation, sequence, wanted);
}
