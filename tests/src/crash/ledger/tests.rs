use super::{Entry, Ledger, Outcome, Sums};

fn entry(first: u64, keyed: bool, outcome: Outcome, attempts: u32) -> Entry {
    Entry { table: 1, first, events: 10, keyed, outcome, at_ms: 5, attempts, receipt: None }
}

#[test]
fn sums_tell_outcomes_apart() {
    let ledger = Ledger::default();
    ledger.add(entry(0, true, Outcome::Acked, 3));
    ledger.add(entry(10, false, Outcome::Acked, 1));
    ledger.add(entry(20, false, Outcome::Unknown, 1));
    ledger.add(entry(30, false, Outcome::Refused, 1));
    let sums = Sums {
        requests: 4,
        retries: 2,
        acked_events: 20,
        acked_keyless_events: 10,
        unknown_events: 10,
        refused_events: 10,
    };
    assert_eq!(ledger.sums(), sums);
    assert_eq!(ledger.acked_events(), 20);
}

#[test]
fn the_file_has_a_line_per_request() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("ledger.csv");
    let ledger = Ledger::default();
    ledger.add(entry(0, true, Outcome::Acked, 1));
    ledger.add(entry(10, false, Outcome::Unknown, 1));
    ledger.write(&path, &["crash.a".to_owned(), "crash.b".to_owned()]);
    let text = std::fs::read_to_string(path).expect("just written");
    assert_eq!(text, "crash.b,0,10,acked\ncrash.b,10,10,unknown\n");
}
