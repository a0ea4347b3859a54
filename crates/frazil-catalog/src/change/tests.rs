//! Promotions by format version, without a server. The rest is covered over HTTP.

use std::collections::HashMap;

use frazil_iceberg::spec::{FormatVersion, Schema, TableUpdate};
use serde_json::{Value, json};

use super::{ChangeError, Creation, apply, created, types};

fn schema(kind: &Value) -> Schema {
    let field = json!({ "id": 1, "name": "x", "required": false, "type": kind });
    serde_json::from_value(json!({ "type": "struct", "schema-id": 0, "fields": [field] })).expect("valid schema")
}

fn legal(was: Value, is: Value, version: FormatVersion) -> bool {
    types::check_evolution(&schema(&was), &schema(&is), version).is_ok()
}

#[test]
fn defect_15_only_legal_promotions_are_taken() {
    use FormatVersion::{V2, V3};
    let table = [
        (json!("int"), json!("long"), true, true),
        (json!("float"), json!("double"), true, true),
        (json!("decimal(9, 2)"), json!("decimal(10, 2)"), true, true),
        (json!("date"), json!("timestamp"), false, true),
        (json!("date"), json!("timestamptz"), false, false),
        (json!("long"), json!("int"), false, false),
        (json!("int"), json!("double"), false, false),
        (json!("string"), json!("binary"), false, false),
        (json!("string"), json!("string"), true, true),
    ];
    for (was, is, in_v2, in_v3) in table {
        assert_eq!(legal(was.clone(), is.clone(), V2), in_v2, "{was} to {is}");
        assert_eq!(legal(was.clone(), is.clone(), V3), in_v3, "{was} to {is}");
    }
}

#[test]
fn members_of_lists_and_maps_are_compared_by_their_ids() {
    let list = |id: i32, element: &str| json!({ "type": "list", "element-id": id, "element-required": false, "element": element });
    assert!(legal(list(2, "int"), list(2, "long"), FormatVersion::V2));
    assert!(!legal(list(2, "long"), list(2, "string"), FormatVersion::V2));
    assert!(!legal(list(2, "long"), list(3, "string"), FormatVersion::V2));
    assert!(!legal(list(2, "long"), json!("long"), FormatVersion::V2));
}

#[test]
fn a_clock_far_behind_changes_nothing() {
    let base = created(Creation {
        location: "file:///t".to_owned(),
        schema: schema(&json!("long")),
        partition_spec: None,
        sort_order: None,
        properties: HashMap::new(),
    })
    .expect("created");
    let updates = || vec![TableUpdate::SetProperties { updates: HashMap::from([("a".to_owned(), "b".to_owned())]) }];
    let now_ms = base.last_updated_ms();
    let behind = apply(&base, Some("file:///t/metadata/0.metadata.json"), updates(), now_ms - 60_001);
    assert_eq!(behind.expect_err("refused"), ChangeError::ClockBehind { behind_ms: 60_001 });
    assert!(apply(&base, Some("file:///t/metadata/0.metadata.json"), updates(), now_ms - 60_000).is_ok());
}
