//! What holds for every proposal, over generated tables and events.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;
use crate::infer::Inference;

/// Values that meet on a few types, at their limits.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        4 => (-100i64..100).prop_map(Value::from),
        2 => any::<i64>().prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        2 => any::<f64>().prop_map(Value::from),
        1 => prop_oneof![Just("12"), Just("3000000000"), Just("1e39"), Just("NaN"), Just("x"), Just("0.5")].prop_map(Value::from),
        1 => Just(Value::from("2024-05-01T10:00:00Z")),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            members(inner.clone()).prop_map(Value::Object),
            members(inner.clone()).prop_map(Value::Object),
            proptest::collection::vec((-2i64..4_000_000_000, inner), 0..3).prop_map(|pairs| {
                let (keys, values): (Vec<i64>, Vec<Value>) = pairs.into_iter().unzip();
                json!({"keys": keys, "values": values})
            }),
        ]
    })
}

fn members(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let name = prop_oneof![
        8 => "[a-d]",
        1 => Just("A".to_owned()),
        1 => prop_oneof![Just("a.b"), Just("B.C"), Just("a.element"), Just("b.value"), Just("keys"), Just("")].prop_map(str::to_owned),
        1 => prop_oneof![Just("__id__"), Just("__extra__"), Just("__TS__")].prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    proptest::collection::vec((name, value), 0..6).prop_map(|members| members.into_iter().collect())
}

/// An event as text, some with a field repeated, perhaps in another case.
fn any_event() -> impl Strategy<Value = String> {
    (members(any_value()), 0u8..12).prop_map(|(members, twist)| {
        let text = Value::Object(members).to_string();
        match twist {
            0 => text.replacen(r#""b":"#, r#""a":1,"b":"#, 1),
            1 => text.replacen(r#"{"a":"#, r#"{"A":2,"a":"#, 2),
            _ => text,
        }
    })
}

/// A table for some of the events, but with narrower numbers, and some structs as maps.
fn narrowed(fields: &[Field], choice: &mut impl Iterator<Item = bool>) -> Vec<Field> {
    let narrow = |field: &Field| Field { ty: narrowed_type(&field.ty, choice), ..field.clone() };
    fields.iter().map(narrow).collect()
}

fn narrowed_type(ty: &Type, choice: &mut impl Iterator<Item = bool>) -> Type {
    let mut flip = || choice.next().unwrap_or(false);
    match ty {
        Type::Long if flip() => Type::Int,
        Type::Long if flip() => Type::Decimal { precision: 5, scale: 2 },
        Type::Double if flip() => Type::Float,
        Type::Struct(fields) => {
            let fields = narrowed(fields, choice);
            let first = fields[0].clone();
            let numbered = fields.len() == 2 && fields.iter().all(|field| matches!(&*field.name, "keys" | "values"));
            match (fields.iter().find(|field| field.name == "values").map(|field| &field.ty), choice.next()) {
                (Some(Type::List { element, .. }), _) if numbered => Type::map(0, Type::Int, 0, (**element).clone()),
                (_, Some(true)) if fields.len() == 1 => Type::map(0, Type::String, 0, first.ty),
                _ => Type::Struct(fields),
            }
        }
        Type::List { element, .. } => Type::list(0, narrowed_type(element, choice)),
        other => other.clone(),
    }
}

/// Gives every field a new id in pre-order.
fn number(fields: &mut [Field], last: &mut i32) {
    for field in fields {
        *last += 1;
        field.id = *last;
        number_type(&mut field.ty, last);
    }
}

fn number_type(ty: &mut Type, last: &mut i32) {
    match ty {
        Type::Struct(fields) => number(fields, last),
        Type::List { element_id, element, .. } => {
            *last += 1;
            *element_id = *last;
            number_type(element, last);
        }
        Type::Map { key_id, value_id, value, .. } => {
            *last += 2;
            (*key_id, *value_id) = (*last - 1, *last);
            number_type(value, last);
        }
        _ => {}
    }
}

/// A table, and events that fit it more or less.
fn table_and_events() -> impl Strategy<Value = (Schema, Vec<String>)> {
    let events = proptest::collection::vec(any_event(), 1..8);
    let choices = proptest::collection::vec(any::<bool>(), 0..40);
    (events, 0usize..4, choices, any::<bool>(), any::<bool>()).prop_map(
        |(events, known, choices, extra, identified)| {
            let mut inference = Inference::default();
            for event in events.iter().take(known) {
                let _ = inference.observe(event.as_bytes());
            }
            let mut choices = choices.into_iter();
            let mut schema = Schema::new(narrowed(&inference.schema().fields, &mut choices));
            number(&mut schema.fields, &mut 0);
            if extra {
                schema = schema.with_system_columns();
            }
            if identified && let Some(first) = schema.fields.iter_mut().find(|field| field.ty == Type::Int) {
                schema.identifier_field_ids = vec![first.id];
            }
            (schema, events)
        },
    )
}

fn policies() -> impl Strategy<Value = TablePolicy> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(case_insensitive, numbers_in_strings, non_finite)| {
        let non_finite = if non_finite { crate::mapping::NonFinite::Accept } else { Default::default() };
        let mapping = MappingPolicy { case_insensitive, numbers_in_strings, non_finite, ..EVOLVE.mapping };
        TablePolicy { mapping, ..EVOLVE }
    })
}

/// Panics unless the second is a legal evolution of the first; collects the ids that are new.
fn assert_legal(old: &[Field], new: &[Field], identifiers: &[i32], ids: &mut Vec<i32>) {
    assert!(new.len() >= old.len());
    for (old, new) in old.iter().zip(new) {
        assert_eq!((old.id, &old.name, old.required, &old.doc), (new.id, &new.name, new.required, &new.doc));
        assert!(!identifiers.contains(&old.id) || old.ty == new.ty, "an identifier field was changed");
        assert_promoted(&old.ty, &new.ty, identifiers, ids);
    }
    for field in &new[old.len()..] {
        assert!(!field.required);
        ids.push(field.id);
        collect_ids(&field.ty, ids);
    }
    // No two siblings that differ only in case, but for those that were there.
    let lower = |field: &Field| field.name.to_lowercase();
    let mut names: BTreeSet<String> = old.iter().map(lower).collect();
    for field in &new[old.len()..] {
        assert!(names.insert(lower(field)), "{} has a twin", field.name);
        assert!(!field.name.is_empty());
    }
}

fn assert_promoted(old: &Type, new: &Type, identifiers: &[i32], ids: &mut Vec<i32>) {
    match (old, new) {
        (Type::Struct(old), Type::Struct(new)) => assert_legal(old, new, identifiers, ids),
        (
            Type::List { element_id, element_required, element },
            Type::List { element_id: id, element_required: required, element: new },
        ) => {
            assert_eq!((element_id, element_required), (id, required));
            assert_promoted(element, new, identifiers, ids);
        }
        (
            Type::Map { key, key_id, value_id, value, .. },
            Type::Map { key: k, key_id: ki, value_id: vi, value: v, .. },
        ) => {
            assert_eq!((key, key_id, value_id), (k, ki, vi));
            assert_promoted(value, v, identifiers, ids);
        }
        (Type::Int, Type::Long) | (Type::Float, Type::Double) => {}
        (Type::Decimal { precision, scale }, Type::Decimal { precision: p, scale: s }) => {
            assert!(p >= precision && s == scale && *p <= 38);
        }
        (old, new) => assert_eq!(old, new),
    }
}

fn collect_ids(ty: &Type, ids: &mut Vec<i32>) {
    match ty {
        Type::Struct(fields) => {
            for field in fields {
                ids.push(field.id);
                collect_ids(&field.ty, ids);
            }
        }
        Type::List { element_id, element, .. } => {
            ids.push(*element_id);
            collect_ids(element, ids);
        }
        _ => {}
    }
}

fn bytes(events: &[String]) -> impl Iterator<Item = &[u8]> {
    events.iter().map(|event| event.as_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Invariants 1 to 4: a proposal is a legal evolution, with pre-order ids above the last and no twins; every event that
    /// was acceptable for its sake fits; the same events ask for nothing more; limits are kept.
    #[test]
    fn proposals((schema, events) in table_and_events(), policy in policies(), left in prop_oneof![Just(u32::MAX), 0u32..6]) {
        let Ok(accepting) = policy.accepting_plan(&schema) else { return Ok(()) };
        let last = schema.highest_field_id() + 3;
        let evolved = evolve(&schema, &policy, last, left, bytes(&events));
        let (added, after) = match &evolved {
            Some(evolved) => (evolved.added, &evolved.schema),
            None => (0, &schema),
        };
        prop_assert!(added <= left);
        let mut ids = Vec::new();
        assert_legal(&schema.fields, &after.fields, &schema.identifier_field_ids, &mut ids);
        prop_assert_eq!(&ids, &((last + 1)..=(last + i32::try_from(ids.len()).expect("few"))).collect::<Vec<_>>());
        let writing = policy.writing_plan(after).expect("an evolved schema has a plan");
        for event in bytes(&events).filter(|event| takes(&accepting, event)) {
            let shown = String::from_utf8_lossy(event);
            let meta = RowMeta { id: "", ts_micros: 0, write_id: "" };
            let outcome = writing.row(event, &meta, &mut NoColumn);
            prop_assert!(outcome.is_ok(), "{:?}\nevent: {shown}\nold: {schema:?}\nnew: {after:?}", outcome);
        }
        let again = evolve(after, &policy, after.highest_field_id(), left - added, bytes(&events));
        prop_assert_eq!(again, None);
        // Invariant 5: the probing plan makes way for every proposal.
        let probing = policy.probing_plan(&schema).expect("a plan").expect("evolve may alter");
        if evolved.is_some() {
            prop_assert!(bytes(&events).any(|event| !takes(&probing, event)));
        }
    }

    /// Invariant 6: under `capture` only `__extra__` is added, and then every acceptable event fits.
    #[test]
    fn captures((schema, events) in table_and_events()) {
        let policy = TablePolicy { unknown_fields: UnknownFieldPolicy::Capture, ..EVOLVE };
        let accepting = policy.accepting_plan(&schema).expect("a plan");
        let evolved = evolve(&schema, &policy, schema.highest_field_id(), 0, bytes(&events));
        let mut after = schema.clone();
        if let Some(evolved) = &evolved {
            prop_assert_eq!((evolved.added, evolved.widened), (0, 0));
            after.fields.push(Field::optional(schema.highest_field_id() + 1, EXTRA_COLUMN, Type::String));
            prop_assert_eq!(&evolved.schema, &after);
        }
        let writing = policy.writing_plan(&after).expect("a plan");
        let probing = policy.probing_plan(&schema).expect("a plan");
        prop_assert_eq!(probing.is_some(), schema.lacks(EXTRA_COLUMN));
        for event in bytes(&events) {
            prop_assert_eq!(takes(&accepting, event), takes(&writing, event));
        }
    }

    /// Invariant 7: arbitrary bytes never panic and change nothing but by being valid.
    #[test]
    fn arbitrary_bytes(event in any::<Vec<u8>>()) {
        let _ = evolve(&schema(), &EVOLVE, 50, 9, std::iter::once(event.as_slice()));
    }
}
