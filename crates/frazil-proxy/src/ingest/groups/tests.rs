//! Grouping: nothing is lost, nothing changes its order within its group, and positions lead back to the request.

use std::collections::BTreeMap;

use frazil_core::routing::Routing;
use proptest::prelude::*;

use super::*;
use crate::body::{Format, Tolerance};

fn routed(lines: &[String]) -> Result<(Batch, Vec<Target>), Rejection> {
    let rule = Routing { table: "web.{t}".to_owned(), allow: Vec::new(), fallback: None };
    let router = rule.compile("lake", false).expect("a valid rule");
    let body = lines.join("\n");
    let events = Events::split(body.as_bytes(), Format::Ndjson, Tolerance::KeepLines).expect("lines");
    Batch::routed(router, events)
}

#[test]
fn what_goes_to_one_table_stays_as_it_is() {
    let lines: Vec<String> = (0..3).map(|id| format!("{{\"t\":\"a\",\"id\":{id}}}")).collect();
    let (batch, targets) = routed(&lines).expect("few tables");
    assert_eq!((targets.len(), batch.groups.len(), &batch.groups[0]), (1, 1, &(0..3)));
    assert!(batch.origin.is_none(), "nothing is copied");
}

#[test]
fn the_number_of_tables_is_bounded_and_that_of_other_groups_small() {
    let lines = |count: usize| (0..count).map(|n| format!("{{\"t\":\"t{n}\"}}")).collect::<Vec<_>>();
    assert_eq!(routed(&lines(TABLES_PER_REQUEST_MAX)).expect("at the limit").1.len(), TABLES_PER_REQUEST_MAX);
    let above = routed(&lines(TABLES_PER_REQUEST_MAX + 1));
    assert!(matches!(above, Err(Rejection::TooManyTables { limit: TABLES_PER_REQUEST_MAX })), "{above:?}");
    let strange = (0..5000).map(|n| format!("{{\"t\":{n}.5,\"x\":\"{n}\"}}")).collect::<Vec<_>>();
    let broken = (0..5000).map(|n| format!("{}{{", " ".repeat(n % 50))).collect::<Vec<_>>();
    let (batch, targets) = routed(&[strange, broken].concat()).expect("no table at all");
    assert_eq!((targets.len(), batch.got.len()), (2, VERDICTS_MAX));
}

proptest! {
    /// 1. Groups are disjoint, whole and in order of first appearance; 2. every event is where its position says; 3. within
    ///    a group the order is the client's; 4. the same request is always cut alike.
    #[test]
    fn groups(kinds in prop::collection::vec(0u8..6, 1..60)) {
        let line = |(id, kind): (usize, &u8)| match kind {
            0 => format!("broken {id}"),
            1 => format!("{{\"id\":{id}}}"),
            kind => format!("{{\"id\":{id},\"t\":\"t{kind}\"}}"),
        };
        let lines: Vec<String> = kinds.iter().enumerate().map(line).collect();
        let (batch, targets) = routed(&lines).expect("few tables");
        let mut expected = Vec::<(u8, Vec<usize>)>::new();
        let mut at = BTreeMap::new();
        for (index, kind) in kinds.iter().enumerate() {
            let group = *at.entry(*kind).or_insert(expected.len());
            if group == expected.len() {
                expected.push((*kind, Vec::new()));
            }
            expected[group].1.push(index);
        }
        prop_assert_eq!(targets.len(), expected.len());
        let mut next = 0;
        for (range, (_, members)) in batch.groups.iter().zip(&expected) {
            prop_assert_eq!(range.start, next);
            next = range.end;
            let origins: Vec<usize> = range.clone().map(|index| batch.origin(index)).collect();
            prop_assert_eq!(&origins, members);
            for (index, event) in members.iter().zip(batch.events.range(range.clone())) {
                prop_assert_eq!(event, lines[*index].as_bytes());
            }
        }
        prop_assert_eq!(next, lines.len());
        let again = routed(&lines).expect("few tables");
        prop_assert_eq!((&again.0.events, &again.1), (&batch.events, &targets));
    }
}
