//! The checker must be able to fail: each way in which a table can be wrong is shown to it.

use super::{TableVerdict, check_ids};

/// A ledger in which table `a` got 0..10 (acknowledged), 10..15 (unknown) and 15..20 (refused), and table `b` 20..25.
const LEDGER: &str = "a,5,5,acked\na,0,5,acked\na,10,5,unknown\na,15,5,refused\nb,20,5,acked\n";

async fn verdicts(found: &[(&str, u64)]) -> [TableVerdict; 2] {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (ledger, ids) = (folder.path().join("ledger.csv"), folder.path().join("ids.csv"));
    std::fs::write(&ledger, LEDGER).expect("temporary file");
    let lines: String = found.iter().map(|(table, id)| format!("{table},{id}\n")).collect();
    std::fs::write(&ids, lines).expect("temporary file");
    check_ids(&ledger, &ids).await.tables.try_into().expect("two tables")
}

/// What is right, and then these rows too.
fn right_and(more: &[(&'static str, u64)]) -> Vec<(&'static str, u64)> {
    let a = (0..10).map(|id| ("a", id));
    let b = (20..25).map(|id| ("b", id));
    a.chain(b).chain(more.iter().copied()).collect()
}

#[tokio::test]
async fn what_was_acknowledged_once_each_is_right() {
    let [a, b] = verdicts(&right_and(&[])).await;
    assert_eq!((a.violations(), b.violations()), (vec![], vec![]));
    assert_eq!((a.rows, a.acked, a.unknown, a.refused), (10, 10, 5, 5));
}

#[tokio::test]
async fn events_without_a_known_outcome_may_be_there_once() {
    let [a, _] = verdicts(&right_and(&[("a", 11), ("a", 12)])).await;
    assert_eq!((a.violations(), a.unknown_found), (vec![], 2));
    let [a, _] = verdicts(&right_and(&[("a", 11), ("a", 11)])).await;
    assert_eq!((a.doubled.count, a.doubled.first), (1, vec![11]));
}

#[tokio::test]
async fn a_lost_event_is_found() {
    let mut found = right_and(&[]);
    found.retain(|row| *row != ("a", 7));
    let [a, b] = verdicts(&found).await;
    assert_eq!((a.lost.count, &a.lost.first), (1, &vec![7]));
    assert_eq!((a.violations().len(), b.violations().len()), (1, 0));
}

#[tokio::test]
async fn an_empty_table_has_lost_everything() {
    let [a, b] = verdicts(&[]).await;
    assert_eq!((a.lost.count, b.lost.count), (10, 5));
}

#[tokio::test]
async fn a_doubled_event_is_found() {
    let [a, _] = verdicts(&right_and(&[("a", 3), ("a", 3)])).await;
    assert_eq!((a.doubled.count, &a.doubled.first), (2, &vec![3]));
    assert_eq!(a.violations().len(), 1);
}

#[tokio::test]
async fn a_foreign_event_is_found() {
    let [a, _] = verdicts(&right_and(&[("a", 99)])).await;
    assert_eq!((a.foreign.count, &a.foreign.first), (1, &vec![99]));
    assert_eq!(a.violations().len(), 1);
}

#[tokio::test]
async fn an_event_in_the_wrong_table_is_found() {
    let [_, b] = verdicts(&right_and(&[("b", 3)])).await;
    assert_eq!((b.foreign.count, &b.foreign.first), (1, &vec![3]));
}

#[tokio::test]
async fn a_refused_event_that_is_there_is_found() {
    let [a, _] = verdicts(&right_and(&[("a", 16)])).await;
    assert_eq!((a.refused_found.count, &a.refused_found.first, a.foreign.count), (1, &vec![16], 0));
    assert_eq!(a.violations().len(), 1);
}

#[test]
fn dead_letters_and_engines_that_disagree_are_violations() {
    let letters = TableVerdict { dead_letters: 1, ..TableVerdict::default() };
    assert_eq!(letters.violations().len(), 1);
    let disagree = TableVerdict { rows: 2, duckdb_rows: 1, ..TableVerdict::default() };
    assert_eq!(disagree.violations().len(), 1);
}
