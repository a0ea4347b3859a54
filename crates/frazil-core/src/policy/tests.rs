//! Tests of the policies: properties over settings, the stored form, and the plans.

use serde_json::json;

use super::*;
use crate::mapping::{EpochUnit, NoColumn, NonFinite, RowMeta};
use crate::schema::{Field, Type};

fn with(properties: &[(&str, &str)]) -> Result<TablePolicy, PolicyError> {
    let find = |key: &str| properties.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
    TablePolicy::default().with_properties(find)
}

#[test]
fn each_property_wins_over_the_setting() {
    let default = TablePolicy::default();
    let mapping = default.mapping;
    let unknown = |unknown_fields| TablePolicy { unknown_fields, ..default };
    let invalid = |on_invalid| TablePolicy { on_invalid, ..default };
    let system = |system_columns| TablePolicy { system_columns, ..default };
    let mapped = |mapping| TablePolicy { mapping, ..default };
    let unit = |epoch_unit| mapped(MappingPolicy { epoch_unit, ..mapping });
    for (key, value, expected) in [
        ("frazil.unknown-fields", "capture", unknown(UnknownFieldPolicy::Capture)),
        ("frazil.unknown-fields", "evolve", unknown(UnknownFieldPolicy::Evolve)),
        ("frazil.unknown-fields", "reject", unknown(UnknownFieldPolicy::Reject)),
        ("frazil.unknown-fields", " Ignore ", unknown(UnknownFieldPolicy::Ignore)),
        ("frazil.on-invalid", "reject", invalid(OnInvalid::Reject)),
        ("frazil.on-invalid", "dead_letter", invalid(OnInvalid::DeadLetter)),
        ("frazil.on-invalid", "dead-letter", invalid(OnInvalid::DeadLetter)),
        ("frazil.on-invalid", "DEAD-LETTER", invalid(OnInvalid::DeadLetter)),
        ("frazil.system-columns", "on_demand", system(SystemColumns::OnDemand)),
        ("frazil.system-columns", "on-demand", system(SystemColumns::OnDemand)),
        ("frazil.system-columns", "all", system(SystemColumns::All)),
        ("frazil.system-columns", "never", system(SystemColumns::Never)),
        ("frazil.columns-per-hour", "0", TablePolicy { columns_per_hour: 0, ..default }),
        ("frazil.columns-per-hour", "4294967295", TablePolicy { columns_per_hour: u32::MAX, ..default }),
        ("frazil.epoch-unit", "seconds", unit(EpochUnit::Seconds)),
        ("frazil.epoch-unit", "millis", unit(EpochUnit::Millis)),
        ("frazil.epoch-unit", "micros", unit(EpochUnit::Micros)),
        ("frazil.epoch-unit", "nanos", unit(EpochUnit::Nanos)),
        ("frazil.case-insensitive", "true", mapped(MappingPolicy { case_insensitive: true, ..mapping })),
        ("frazil.case-insensitive", "false", default),
        ("frazil.numbers-in-strings", "TRUE", mapped(MappingPolicy { numbers_in_strings: true, ..mapping })),
        ("frazil.non-finite", "accept", mapped(MappingPolicy { non_finite: NonFinite::Accept, ..mapping })),
        ("frazil.non-finite", "reject", default),
        // Not ours, or not spelled as ours.
        ("frazil.checkpoint.web.0", "reject", default),
        ("unknown-fields", "reject", default),
        ("frazil.unknown_fields", "reject", default),
    ] {
        assert_eq!(with(&[(key, value)]), Ok(expected), "{key} = {value}");
    }
    let both = with(&[("frazil.unknown-fields", "evolve"), ("frazil.columns-per-hour", "7")]).expect("valid");
    assert_eq!((both.unknown_fields, both.columns_per_hour), (UnknownFieldPolicy::Evolve, 7));
    // A property can also take back what the stream has set.
    let set = TablePolicy { unknown_fields: UnknownFieldPolicy::Ignore, ..default };
    let back = set.with_properties(|key| (key == "frazil.unknown-fields").then_some("capture"));
    assert_eq!(back, Ok(default));
    assert_eq!(set.with_properties(|_| None), Ok(set));
}

#[test]
fn wrong_values_are_named() {
    for (key, wrong, expected) in [
        ("frazil.unknown-fields", vec!["", "captured", "true", "null", "0"], "capture, evolve, reject or ignore"),
        ("frazil.on-invalid", vec!["", "dead letter", "deadletter", "ignore"], "reject or dead_letter"),
        ("frazil.system-columns", vec!["", "none", "ondemand"], "on_demand, all or never"),
        ("frazil.columns-per-hour", vec!["", "-1", "1.5", "ten", "4294967296", "null"], "a whole number"),
        ("frazil.epoch-unit", vec!["", "ms", "s", "second"], "seconds, millis, micros or nanos"),
        ("frazil.case-insensitive", vec!["", "yes", "1", "null"], "true or false"),
        ("frazil.numbers-in-strings", vec!["", "on", "0"], "true or false"),
        ("frazil.non-finite", vec!["", "null", "string", "true"], "reject or accept"),
    ] {
        for value in wrong {
            let error = with(&[(key, value)]).expect_err(value);
            assert_eq!(error, PolicyError { key, value: value.to_owned(), expected }, "{key} = {value}");
            assert_eq!(
                error.to_string(),
                format!("the table property {key} has the value {value:?}; expected {expected}")
            );
        }
    }
    let error = with(&[("frazil.on-invalid", &"é".repeat(10_000))]).expect_err("too long");
    assert_eq!(error.value.chars().count(), 80);
}

#[test]
fn stored_form_is_pinned() {
    let default = json!({
        "mapping": {"epoch_unit": "millis", "case_insensitive": false, "numbers_in_strings": false, "non_finite": "reject"},
        "unknown_fields": "capture",
        "on_invalid": "reject",
        "system_columns": "on_demand",
        "columns_per_hour": 100,
    });
    assert_eq!(serde_json::to_value(TablePolicy::default()).expect("JSON"), default);
    let set = json!({
        "mapping": {"epoch_unit": "nanos", "case_insensitive": true, "numbers_in_strings": true, "non_finite": "accept"},
        "unknown_fields": "evolve",
        "on_invalid": "dead_letter",
        "system_columns": "never",
        "columns_per_hour": 3,
    });
    let policy: TablePolicy = serde_json::from_value(set.clone()).expect("a policy");
    assert_eq!(serde_json::to_value(policy).expect("JSON"), set);
    // A definition that was stored before a setting existed has its default.
    assert_eq!(serde_json::from_str::<TablePolicy>("{}").expect("a policy"), TablePolicy::default());
    for wrong in [r#"{"unknown":"capture"}"#, r#"{"unknown_fields":"drop"}"#, r#"{"mapping":{"epoch":"millis"}}"#] {
        assert!(serde_json::from_str::<TablePolicy>(wrong).is_err(), "{wrong}");
    }
}

fn takes(plan: &Plan, event: &str) -> bool {
    let meta = RowMeta { id: "", ts_micros: 0, write_id: "" };
    plan.row(event.as_bytes(), &meta, &mut NoColumn).is_ok()
}

/// One column, and `__extra__` as given.
fn table(extra: Option<Field>) -> Schema {
    let mut fields = vec![Field::optional(1, "a", Type::Int)];
    fields.extend(extra);
    Schema::new(fields)
}

#[test]
fn what_is_accepted_and_what_is_probed() {
    use SystemColumns::{All, Never, OnDemand};
    use UnknownFieldPolicy::{Capture, Evolve, Ignore, Reject};
    let usable = || Some(Field::optional(2, EXTRA_COLUMN, Type::String));
    let required = || Some(Field::required(2, EXTRA_COLUMN, Type::String));
    let number = || Some(Field::optional(2, EXTRA_COLUMN, Type::Long));
    let other_case = || Some(Field::optional(2, "__Extra__", Type::String));
    // Columns: policy; accepts `{"b":1}`; writes it; probes for it (and the plan exists).
    for (unknown_fields, system_columns, extra, accepts, writes, probes) in [
        (Capture, OnDemand, None, true, false, true),
        (Capture, All, None, true, false, true),
        (Capture, Never, None, false, false, false),
        (Capture, OnDemand, usable(), true, true, false),
        (Capture, Never, usable(), true, true, false),
        (Capture, OnDemand, number(), false, false, false),
        (Capture, All, other_case(), false, false, false),
        (Evolve, OnDemand, None, true, false, true),
        (Evolve, Never, None, true, false, true),
        (Evolve, OnDemand, usable(), true, true, true),
        (Evolve, OnDemand, number(), true, false, true),
        (Reject, OnDemand, usable(), false, false, false),
        (Reject, All, None, false, false, false),
        (Ignore, OnDemand, None, true, true, false),
        (Ignore, All, usable(), true, true, false),
    ] {
        let policy = TablePolicy { unknown_fields, system_columns, ..TablePolicy::default() };
        let schema = table(extra);
        let probing = policy.probing_plan(&schema).expect("a plan");
        let event = r#"{"a":1,"b":1}"#;
        assert_eq!(takes(&policy.accepting_plan(&schema).expect("a plan"), event), accepts, "{policy:?} {schema:?}");
        assert_eq!(takes(&policy.writing_plan(&schema).expect("a plan"), event), writes, "{policy:?} {schema:?}");
        assert_eq!(probing.is_some(), probes, "{policy:?} {schema:?}");
        if let Some(probing) = probing {
            assert!(takes(&probing, r#"{"a":1}"#) && !takes(&probing, event), "{policy:?} {schema:?}");
        }
        let plan = policy.accepting_plan(&schema).expect("a plan");
        assert_eq!(takes(&plan, r#"{"a":3000000000}"#), unknown_fields == Evolve, "{policy:?}");
        assert!(!takes(&plan, r#"{"a":1,"b":1,"b":2}"#), "a repeated field, {policy:?}");
    }
    // A required `__extra__` is a column like any other.
    let policy = TablePolicy::default();
    let plan = policy.accepting_plan(&table(required())).expect("a plan");
    assert!(takes(&plan, r#"{"__extra__":"e"}"#) && !takes(&plan, r#"{"__extra__":"e","b":1}"#));
}

#[test]
fn empty_values_are_no_reason_to_alter_a_table_that_can_keep_them() {
    let policy = TablePolicy { unknown_fields: UnknownFieldPolicy::Evolve, ..TablePolicy::default() };
    let keeps = table(Some(Field::optional(2, EXTRA_COLUMN, Type::String)));
    let probing = policy.probing_plan(&keeps).expect("a plan").expect("evolve may alter");
    assert!(takes(&probing, r#"{"b":null,"c":[ ],"d":{}}"#));
    for event in
        [r#"{"b":0}"#, r#"{"b":[null]}"#, r#"{"b":{"c":null}}"#, r#"{"b":""}"#, r#"{"b":"null"}"#, r#"{"b":"[]"}"#]
    {
        assert!(!takes(&probing, event), "{event}");
    }
    assert!(!takes(&probing, r#"{"b":null,"b":null}"#));
    let probing = policy.probing_plan(&table(None)).expect("a plan").expect("evolve may alter");
    assert!(!takes(&probing, r#"{"b":null}"#));
}

#[test]
fn who_may_alter_a_table() {
    use SystemColumns::{All, Never, OnDemand};
    use UnknownFieldPolicy::{Capture, Evolve, Ignore, Reject};
    for (unknown_fields, on_demand, all, never) in [
        (Capture, true, true, false),
        (Evolve, true, true, true),
        (Reject, false, true, false),
        (Ignore, false, true, false),
    ] {
        for (system_columns, expected) in [(OnDemand, on_demand), (All, all), (Never, never)] {
            let policy = TablePolicy { unknown_fields, system_columns, ..TablePolicy::default() };
            assert_eq!(policy.may_alter(), expected, "{policy:?}");
            assert_eq!(policy.wants_system_columns(&table(None)), system_columns == All, "{policy:?}");
            assert!(!policy.wants_system_columns(&table(None).with_system_columns()), "{policy:?}");
        }
    }
    // A name that is taken in another case cannot be added, so it is not wanted either.
    let names = ["__ID__", "__TS__", "__Write_Id__", "__extrA__"];
    let taken = Schema::new((1..).zip(names).map(|(id, name)| Field::optional(id, name, Type::Long)).collect());
    assert!(!TablePolicy { system_columns: All, ..TablePolicy::default() }.wants_system_columns(&taken));
}
