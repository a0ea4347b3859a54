//! The pointer swap and what survives reopening, without HTTP.

use std::collections::BTreeMap;

use super::*;
use crate::names::Namespace;

fn namespace(levels: &[&str]) -> Namespace {
    let levels: Vec<String> = levels.iter().map(|level| (*level).to_owned()).collect();
    levels.try_into().expect("valid levels")
}

fn key(name: &str) -> TableKey {
    TableKey { namespace: namespace(&["ns"]), name: name.to_owned().try_into().expect("valid name") }
}

fn swap(name: &str, old: Option<&str>, new: &str) -> Swap {
    Swap { key: key(name), old: old.map(str::to_owned), new: new.to_owned() }
}

fn open(directory: &tempfile::TempDir) -> Store {
    Store::open(&directory.path().join("catalog.db")).expect("opens")
}

#[test]
fn a_swap_of_several_tables_is_all_or_nothing() {
    let directory = tempfile::tempdir().expect("directory");
    let store = open(&directory);
    store.create_namespace(&namespace(&["ns"]), &BTreeMap::new()).expect("created");
    store.insert_table(&key("a"), "a0").expect("inserted");
    store.insert_table(&key("b"), "b0").expect("inserted");

    let stale = [swap("a", Some("a0"), "a1"), swap("b", Some("b9"), "b1")];
    assert_eq!(store.swap(&stale).expect("definite"), Swapped::Lost(key("b")));
    assert_eq!(store.pointer(&key("a")).expect("read").as_deref(), Some("a0"));

    let taken = [swap("a", Some("a0"), "a1"), swap("b", None, "b1")];
    assert_eq!(store.swap(&taken).expect("definite"), Swapped::Lost(key("b")));
    assert_eq!(store.pointer(&key("a")).expect("read").as_deref(), Some("a0"));

    let good = [swap("a", Some("a0"), "a1"), swap("b", Some("b0"), "b1"), swap("c", None, "c0")];
    assert_eq!(store.swap(&good).expect("definite"), Swapped::Done);
    drop(store);

    let store = open(&directory);
    for (name, location) in [("a", "a1"), ("b", "b1"), ("c", "c0")] {
        assert_eq!(store.pointer(&key(name)).expect("read").as_deref(), Some(location));
    }
}

#[test]
fn a_referenced_file_is_never_reported_free() {
    let directory = tempfile::tempdir().expect("directory");
    let store = open(&directory);
    store.create_namespace(&namespace(&["ns"]), &BTreeMap::new()).expect("created");
    store.insert_table(&key("a"), "m1").expect("inserted");
    let free = store.unreferenced(vec!["m0".to_owned(), "m1".to_owned()]).expect("read");
    assert_eq!(free, ["m0"]);
}

#[test]
fn foreign_and_newer_files_are_refused() {
    let directory = tempfile::tempdir().expect("directory");
    let foreign = directory.path().join("foreign.db");
    Connection::open(&foreign).and_then(|c| c.execute_batch("CREATE TABLE t (x)")).expect("made");
    assert!(matches!(Store::open(&foreign), Err(OpenError::ForeignDatabase { .. })));

    let newer = directory.path().join("catalog.db");
    drop(open(&directory));
    Connection::open(&newer).and_then(|c| c.pragma_update(None, "user_version", 99)).expect("made");
    assert!(matches!(Store::open(&newer), Err(OpenError::NewerDatabase { found: 99, .. })));
}

#[test]
fn a_second_process_sees_and_loses_against_the_first() {
    let directory = tempfile::tempdir().expect("directory");
    let (one, two) = (open(&directory), open(&directory));
    one.create_namespace(&namespace(&["ns"]), &BTreeMap::new()).expect("created");
    one.insert_table(&key("a"), "a0").expect("inserted");
    assert_eq!(two.swap(&[swap("a", Some("a0"), "a1")]).expect("definite"), Swapped::Done);
    assert_eq!(one.swap(&[swap("a", Some("a0"), "a2")]).expect("definite"), Swapped::Lost(key("a")));
}
