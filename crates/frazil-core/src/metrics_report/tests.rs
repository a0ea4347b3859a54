//! Reports as engines send them, and everything that can be wrong with one.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::schema::Type;

fn path() -> ReportPath {
    ReportPath::parse(Some("main".to_owned()), "sales\u{1f}eu", "orders".to_owned()).expect("valid")
}

fn event(report: &Value) -> (ReportKind, Value) {
    let event = to_event(report.to_string().as_bytes(), &path()).expect("a report");
    (event.kind, serde_json::from_str(&event.json).expect("JSON"))
}

fn refusal(report: &Value) -> String {
    to_event(report.to_string().as_bytes(), &path()).expect_err("refused").to_string()
}

fn counter(value: i64) -> Value {
    json!({"unit": "count", "value": value})
}

fn timer(unit: &str, duration: i64) -> Value {
    json!({"count": 1, "time-unit": unit, "total-duration": duration})
}

/// As a Spark session sends it after planning a scan.
fn scan() -> Value {
    json!({
        "report-type": "scan-report",
        "table-name": "lake.sales.eu.orders",
        "snapshot-id": 6_656_377_125_404_557_408_i64,
        "filter": {"type": "and",
                   "left": {"type": "not-null", "term": "id"},
                   "right": {"type": "gt", "term": "id", "value": "(2-digit-int)"}},
        "schema-id": 4,
        "projected-field-ids": [1, 2, 3],
        "projected-field-names": ["id", "customer", "customer.name"],
        "metrics": {
            "total-planning-duration": timer("nanoseconds", 2_644_235_116),
            "result-data-files": counter(3),
            "result-delete-files": counter(1),
            "total-data-manifests": counter(5),
            "total-delete-manifests": counter(2),
            "scanned-data-manifests": counter(4),
            "skipped-data-manifests": counter(1),
            "total-file-size-in-bytes": {"unit": "bytes", "value": 45_000},
            "total-delete-file-size-in-bytes": {"unit": "bytes", "value": 1_200},
            "skipped-data-files": counter(7),
            "skipped-delete-files": counter(0),
            "scanned-delete-manifests": counter(2),
            "skipped-delete-manifests": counter(0),
            "indexed-delete-files": counter(1),
            "equality-delete-files": counter(0),
            "positional-delete-files": counter(1),
            "dvs": counter(0)
        },
        "metadata": {"engine-name": "spark", "engine-version": "3.5.5"}
    })
}

/// As a Spark session sends it after an append: what did not happen is absent.
fn commit() -> Value {
    json!({
        "report-type": "commit-report",
        "table-name": "lake.sales.eu.orders",
        "snapshot-id": 6_656_377_125_404_557_408_i64,
        "sequence-number": 1,
        "operation": "append",
        "metrics": {
            "total-duration": timer("nanoseconds", 370_474_587),
            "attempts": counter(1),
            "added-data-files": counter(1),
            "total-data-files": counter(1),
            "total-delete-files": counter(0),
            "added-records": counter(10),
            "total-records": counter(10),
            "added-files-size-bytes": {"unit": "bytes", "value": 1279},
            "total-files-size-bytes": {"unit": "bytes", "value": 1279},
            "total-positional-deletes": counter(0),
            "total-equality-deletes": counter(0)
        }
    })
}

#[test]
fn a_scan_report() {
    let (kind, event) = event(&scan());
    assert_eq!(kind, ReportKind::Scan);
    let filter = scan()["filter"].to_string();
    let expected = json!({
        "table_name": "lake.sales.eu.orders",
        "snapshot_id": 6_656_377_125_404_557_408_i64,
        "filter_expression": serde_json::from_str::<Value>(&filter).expect("JSON"),
        "schema_id": 4,
        "projected_field_ids": "1,2,3",
        "projected_field_names": "id,customer,customer.name",
        "total_planning_duration_ns": 2_644_235_116_i64,
        "result_data_files": 3,
        "result_delete_files": 1,
        "total_data_manifests": 5,
        "scanned_data_manifests": 4,
        "skipped_data_manifests": 1,
        "total_delete_manifests": 2,
        "scanned_delete_manifests": 2,
        "skipped_delete_manifests": 0,
        "total_file_size_in_bytes": 45_000,
        "total_delete_file_size_in_bytes": 1_200,
        "skipped_data_files": 7,
        "skipped_delete_files": 0,
        "indexed_delete_files": 1,
        "equality_delete_files": 0,
        "positional_delete_files": 1,
        "path": {"prefix": "main", "namespace": ["sales", "eu"], "table": "orders"},
        "report": {
            "metadata": {"engine-name": "spark", "engine-version": "3.5.5"},
            "metrics": {"dvs": {"unit": "count", "value": 0}}
        }
    });
    assert_eq!(event, expected);
}

#[test]
fn a_commit_report() {
    let (kind, event) = event(&commit());
    assert_eq!(kind, ReportKind::Commit);
    let expected = json!({
        "table_name": "lake.sales.eu.orders",
        "snapshot_id": 6_656_377_125_404_557_408_i64,
        "sequence_number": 1,
        "operation": "append",
        "total_duration_ns": 370_474_587,
        "attempts": 1,
        "added_data_files": 1,
        "total_data_files": 1,
        "total_delete_files": 0,
        "added_records": 10,
        "total_records": 10,
        "added_files_size_in_bytes": 1279,
        "total_files_size_in_bytes": 1279,
        "total_positional_deletes": 0,
        "total_equality_deletes": 0,
        "path": {"prefix": "main", "namespace": ["sales", "eu"], "table": "orders"}
    });
    assert_eq!(event, expected);
}

/// The columns that the tables are known for elsewhere: a query written for those must fit.
#[test]
fn the_columns_are_pinned() {
    let scan = "table_name snapshot_id filter_expression schema_id projected_field_ids projected_field_names \
                total_planning_duration_ns result_data_files result_delete_files total_data_manifests \
                scanned_data_manifests skipped_data_manifests total_delete_manifests scanned_delete_manifests \
                skipped_delete_manifests total_file_size_in_bytes total_delete_file_size_in_bytes skipped_data_files \
                skipped_delete_files indexed_delete_files equality_delete_files positional_delete_files";
    let commit = "table_name snapshot_id sequence_number operation total_duration_ns attempts added_data_files \
                  removed_data_files total_data_files added_delete_files removed_delete_files total_delete_files \
                  added_equality_delete_files removed_equality_delete_files added_positional_delete_files \
                  removed_positional_delete_files added_records removed_records total_records \
                  added_files_size_in_bytes removed_files_size_in_bytes total_files_size_in_bytes \
                  added_positional_deletes removed_positional_deletes total_positional_deletes \
                  added_equality_deletes removed_equality_deletes total_equality_deletes";
    let texts = ["table_name", "filter_expression", "projected_field_ids", "projected_field_names", "operation"];
    for (kind, expected) in [(ReportKind::Scan, scan), (ReportKind::Commit, commit)] {
        let schema = kind.schema();
        let names: Vec<&str> = schema.fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, expected.split_whitespace().collect::<Vec<_>>(), "{}", kind.table());
        for field in &schema.fields {
            let expected = match field.name.as_str() {
                name if texts.contains(&name) => Type::String,
                "schema_id" => Type::Int,
                _ => Type::Long,
            };
            assert_eq!((&field.ty, field.required), (&expected, false), "{}", field.name);
        }
    }
}

#[test]
fn every_time_unit() {
    for (unit, nanos) in [
        ("nanoseconds", 7_i64),
        ("microseconds", 7_000),
        ("milliseconds", 7_000_000),
        ("seconds", 7_000_000_000),
        ("minutes", 420_000_000_000),
        ("hours", 25_200_000_000_000),
        ("days", 604_800_000_000_000),
        ("MILLISECONDS", 7_000_000),
    ] {
        let mut report = commit();
        report["metrics"]["total-duration"] = timer(unit, 7);
        assert_eq!(event(&report).1["total_duration_ns"], json!(nanos), "{unit}");
    }
    for (wrong, words) in [
        (timer("fortnights", 1), "time-unit of nanoseconds to days"),
        (timer("days", i64::MAX / 1000), "fewer than 2^63 nanoseconds"),
        (json!({"time-unit": "seconds", "total-duration": 1}), "must be a timer"),
        (json!(5), "must be a timer"),
    ] {
        let mut report = commit();
        report["metrics"]["total-duration"] = wrong;
        let message = refusal(&report);
        assert!(message.starts_with("`metrics.total-duration` ") && message.contains(words), "{message}");
    }
}

#[test]
fn a_timer_that_ran_several_times_is_kept_whole() {
    let mut report = scan();
    let several = json!({"count": 3, "time-unit": "microseconds", "total-duration": 9});
    report["metrics"]["total-planning-duration"] = several.clone();
    let (_, event) = event(&report);
    assert_eq!(event["total_planning_duration_ns"], 9_000);
    assert_eq!(event["report"]["metrics"]["total-planning-duration"], several);
}

#[test]
fn what_is_not_known_is_kept() {
    let mut report = commit();
    report["metrics"]["manifests-created"] = counter(2);
    report["metrics"]["cache-hits"] = json!([1, "of", 2]);
    report["table_name"] = json!("not the column");
    report["__id__"] = json!("nor this one");
    let (_, event) = event(&report);
    assert_eq!(event["table_name"], "lake.sales.eu.orders");
    assert!(event.get("__id__").is_none());
    let expected = json!({
        "__id__": "nor this one",
        "table_name": "not the column",
        "metrics": {"cache-hits": [1, "of", 2], "manifests-created": {"unit": "count", "value": 2}}
    });
    assert_eq!(event["report"], expected);
}

#[test]
fn required_fields_are_missed_by_name() {
    for report in [scan(), commit()] {
        let fields: Vec<String> = report.as_object().expect("an object").keys().cloned().collect();
        for field in fields.iter().filter(|field| *field != "metadata") {
            let mut without = report.clone();
            without.as_object_mut().expect("an object").remove(field);
            assert_eq!(refusal(&without), format!("`{field}` is missing"));
            without[field] = Value::Null;
            assert_eq!(refusal(&without), format!("`{field}` is missing"));
        }
    }
}

#[test]
fn what_is_malformed_is_named() {
    let changed = |base: Value, field: &str, value: Value| {
        let mut report = base;
        report[field] = value;
        refusal(&report)
    };
    for (message, words) in [
        (changed(scan(), "report-type", json!("profile")), "`report-type` must be \"scan-report\" or"),
        (changed(scan(), "report-type", json!(1)), "`report-type` must be"),
        (changed(scan(), "table-name", json!(["a"])), "`table-name` must be a string, not [\"a\"]"),
        (changed(scan(), "snapshot-id", json!("1")), "`snapshot-id` must be a whole number of 64 bits, not \"1\""),
        (changed(scan(), "snapshot-id", json!(1.5)), "`snapshot-id` must be a whole number"),
        (changed(scan(), "schema-id", json!(5_000_000_000_i64)), "`schema-id` must be a whole number of 32 bits"),
        (changed(scan(), "projected-field-ids", json!([1, "2"])), "`projected-field-ids` must be a list of whole"),
        (changed(scan(), "projected-field-names", json!("id")), "`projected-field-names` must be a list of strings"),
        (changed(scan(), "metrics", json!([])), "`metrics` is malformed: invalid type: sequence"),
        (changed(commit(), "sequence-number", json!({})), "`sequence-number` must be a whole number"),
        (changed(commit(), "operation", json!(1)), "`operation` must be a string"),
    ] {
        assert!(message.starts_with(words), "{message}");
    }
    for wrong in [json!(1), json!({"unit": "count"}), json!({"value": 1}), json!({"unit": "count", "value": "1"})] {
        let mut report = commit();
        report["metrics"]["attempts"] = wrong;
        let message = refusal(&report);
        assert!(message.starts_with("`metrics.attempts` must be a counter"), "{message}");
    }
}

#[test]
fn bodies_that_are_no_report() {
    let refusal = |body: &[u8]| to_event(body, &path()).expect_err("refused");
    assert_eq!(
        refusal(b"[]"),
        ReportError::malformed("", "is malformed: invalid type: sequence, expected a JSON object")
    );
    for twice in [r#"{"metrics":{},"metrics":{}}"#, r#"{"a":1,"\u0061":2}"#] {
        assert!(refusal(twice.as_bytes()).to_string().contains("is given twice"), "{twice}");
    }
    for (body, at) in [(&b""[..], (1, 0)), (b"{\"a\":\n  1", (2, 3)), (b"{} {}", (1, 4)), (b"{\"a\":\"\xff\"}", (1, 7))]
    {
        let ReportError::Json { line, column, .. } = refusal(body) else { panic!("{body:?}") };
        assert_eq!((line, column), at, "{body:?}");
    }
}

#[test]
fn paths() {
    let text = |prefix: Option<&str>, namespace: &str| {
        path_text(&ReportPath::parse(prefix.map(str::to_owned), namespace, "a\"b".to_owned()).expect("valid"))
    };
    assert_eq!(text(None, "sales"), r#"{"namespace":["sales"],"table":"a\"b"}"#);
    assert_eq!(text(Some("m"), "a.b\u{1f}c"), r#"{"prefix":"m","namespace":["a.b","c"],"table":"a\"b"}"#);
    for (namespace, table) in [("", "t"), ("a\u{1f}", "t"), ("\u{1f}a", "t"), ("a", "")] {
        assert!(ReportPath::parse(None, namespace, table.to_owned()).is_err(), "{namespace:?} {table:?}");
    }
}

proptest! {
    /// 1. Every known counter lands in its own column with its own value, and in no other place; one that is absent or null
    ///    leaves its column out.
    #[test]
    fn every_counter_lands_in_its_column(
        scan_values in prop::collection::vec(prop::option::of(any::<i64>()), columns::SCAN.counters.len()),
        commit_values in prop::collection::vec(prop::option::of(any::<i64>()), columns::COMMIT.counters.len()),
    ) {
        for (layout, mut report, values) in
            [(&columns::SCAN, scan(), scan_values), (&columns::COMMIT, commit(), commit_values)]
        {
            let mut metrics = Map::new();
            for ((name, _), value) in layout.counters.iter().zip(&values) {
                metrics.insert((*name).to_owned(), value.map_or(Value::Null, counter));
            }
            report["metrics"] = metrics.into();
            let (_, event) = event(&report);
            for ((_, column), value) in layout.counters.iter().zip(&values) {
                prop_assert_eq!(event.get(*column).and_then(Value::as_i64), *value, "{}", column);
            }
            prop_assert!(event["report"].get("metrics").is_none());
        }
    }

    /// 2. Whatever is sent, the answer is an event that is one JSON object, or an error with words.
    #[test]
    fn any_text_is_answered(text in any::<String>(), field in 0_usize..8, value in "[a-z0-9\"{}\\[\\],:.-]{0,20}") {
        let fields = ["report-type", "table-name", "snapshot-id", "filter", "schema-id", "metrics", "metadata", "new"];
        let mut report = scan();
        report.as_object_mut().expect("an object").remove(fields[field]);
        let report = report.to_string();
        let with = format!("{},\"{}\":{value}}}", &report[..report.len() - 1], fields[field]);
        for body in [text.as_str(), with.as_str()] {
            match to_event(body.as_bytes(), &path()) {
                Ok(event) => {
                    let parsed: Value = serde_json::from_str(&event.json).expect("JSON");
                    prop_assert!(parsed.is_object());
                }
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
