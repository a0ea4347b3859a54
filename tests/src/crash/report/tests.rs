use super::*;
use crate::crash::journal;

fn injected(kind: Kind, healed_ms: u64) -> Injected {
    Injected { kind, what: kind.name(), from_ms: healed_ms - 10, healed_ms }
}

fn report() -> Report {
    let faults =
        vec![injected(Kind::KillProxy, 10_000), injected(Kind::KillProxy, 30_000), injected(Kind::DiskFull, 90_000)];
    Report {
        seed: 7,
        versions: Versions::default(),
        nats_nodes: 3,
        synced_always: true,
        disks: true,
        seconds: 60.0,
        rate: 5_000,
        faults: faults.len(),
        kinds: figures(&faults, &[15_000, 31_000], &[40_000]),
        requests: Sums { acked_events: 1_234_567, ..Sums::default() },
        rows: 1_234_566,
        lost: 1,
        doubled: 0,
        unexpected: 0,
        dead_letters: 0,
        unknown_found: 0,
        commits: 1,
        longest_without_ack_ms: 1_500,
        longest_without_commit_ms: 2_000,
        peak_bytes: BTreeMap::from([("writer", 3 << 20)]),
        own_ends: vec![],
        violations: vec!["crash.t0: 1 ids acknowledged and not there: [5]".to_owned()],
        injected: faults,
    }
}

#[test]
fn figures_are_per_kind() {
    let kinds = report().kinds;
    let proxy = KindFigures { count: 2, ack_after_ms: Some((1_000, 5_000)), commit_after_ms: Some((10_000, 30_000)) };
    assert_eq!(kinds[&Kind::KillProxy], proxy);
    let disk = KindFigures { count: 1, ack_after_ms: None, commit_after_ms: None };
    assert_eq!(kinds[&Kind::DiskFull], disk);
}

#[test]
fn markdown_says_what_was_lost_and_how_often_each_fault_was_injected() {
    let text = report().markdown();
    for line in ["| events acknowledged | 1,234,567 |", "| **lost** | **1** |", "| seed | 7 |", "Violations:"] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    assert!(text.contains("| `kill-proxy` | 2 | 1.0 s / 5.0 s | 10.0 s / 30.0 s |"), "{text}");
    assert!(text.contains("| `disk-full` | 1 | – | – |"), "{text}");
}

#[test]
fn json_has_every_fault_with_its_times() {
    let folder = tempfile::tempdir().expect("temporary folder");
    report().write(folder.path());
    let text = std::fs::read_to_string(folder.path().join("report.json")).expect("just written");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&json["kinds"]["kill-proxy"]["count"], &json["injected"][2]["kind"]), (&2.into(), &"disk-full".into()));
}

#[test]
fn panics_and_alarms_in_logs_are_found() {
    let folder = tempfile::tempdir().expect("temporary folder");
    assert_eq!(cries(folder.path()), Vec::<String>::new());
    std::fs::write(folder.path().join("writer-0.log"), "fine\nERROR ALARM lost\nALARM again\n")
        .expect("temporary file");
    std::fs::write(folder.path().join("notes.txt"), "panicked\n").expect("temporary file");
    assert_eq!(cries(folder.path()), vec!["writer-0.log: 2 such lines: ERROR ALARM lost"]);
    journal::Journal::new(folder.path()).note("the journal is no role");
    assert_eq!(cries(folder.path()).len(), 1);
}
