//! Tests of evolution: what is proposed, case by case, and what holds for every proposal.

mod properties;

use serde_json::json;

use super::*;
use crate::infer::{MAX_COLUMN_DEPTH, MAX_COLUMN_NAME_BYTES, MAX_COLUMNS};
use crate::mapping::MappingPolicy;

pub(super) const EVOLVE: TablePolicy = TablePolicy {
    mapping: MappingPolicy {
        epoch_unit: crate::mapping::EpochUnit::Millis,
        case_insensitive: false,
        numbers_in_strings: false,
        non_finite: crate::mapping::NonFinite::Reject,
    },
    unknown_fields: UnknownFieldPolicy::Evolve,
    on_invalid: crate::policy::OnInvalid::Reject,
    system_columns: SystemColumns::OnDemand,
    columns_per_hour: 100,
};

fn propose(schema: &Schema, policy: &TablePolicy, left: u32, events: &[&str]) -> Option<Evolved> {
    evolve(schema, policy, 50, left, events.iter().map(|event| event.as_bytes()))
}

/// The proposal as `name: type` of the columns that are new or differ, then the counts.
#[track_caller]
fn changes(schema: &Schema, policy: &TablePolicy, left: u32, events: &[&str]) -> Vec<String> {
    let Some(evolved) = propose(schema, policy, left, events) else { return Vec::new() };
    let changed = evolved.schema.fields.iter().filter(|field| !schema.fields.contains(field));
    let mut found: Vec<String> = changed.map(|field| format!("{}: {}", field.name, field.ty)).collect();
    found.push(format!("+{} >{}", evolved.added, evolved.widened));
    found
}

fn schema() -> Schema {
    let item = || Type::Struct(vec![Field::required(4, "x", Type::Int), Field::optional(5, "f", Type::Float)]);
    Schema {
        schema_id: 7,
        fields: vec![
            Field { doc: Some("the key".to_owned()), ..Field::required(1, "id", Type::Int) },
            Field::optional(2, "items", Type::list(3, item())),
            Field::optional(
                6,
                "by_name",
                Type::map(7, Type::String, 8, Type::Struct(vec![Field::optional(9, "n", Type::Int)])),
            ),
            Field::optional(10, "by_number", Type::map(11, Type::Int, 12, Type::Int)),
            Field::optional(13, "price", Type::Decimal { precision: 4, scale: 2 }),
            Field::optional(14, "user", Type::Struct(vec![Field::optional(15, "name", Type::String)])),
            Field::optional(16, "matrix", Type::list(17, Type::list(18, Type::Float))),
        ],
        identifier_field_ids: vec![1],
    }
}

#[test]
fn nothing_new_changes_nothing() {
    let fits = r#"{"id":1,"items":[{"x":1},null],"by_name":{"k":{"n":1}},"price":1.5,"user":null}"#;
    assert_eq!(propose(&schema(), &EVOLVE, 10, &[fits]), None);
    assert_eq!(propose(&schema(), &EVOLVE, 10, &[]), None);
}

#[test]
fn a_table_without_columns_gets_a_place_for_empty_events() {
    let none = Schema::new(Vec::new());
    let capture = TablePolicy { unknown_fields: UnknownFieldPolicy::Capture, ..EVOLVE };
    for policy in [EVOLVE, capture] {
        assert_eq!(changes(&none, &policy, 10, &["{}"]), ["__extra__: string", "+0 >0"]);
        // Nothing that could be given a place.
        let never = TablePolicy { system_columns: SystemColumns::Never, ..policy };
        assert_eq!(propose(&none, &never, 10, &["{}"]), None);
    }
    assert_eq!(changes(&none, &EVOLVE, 10, &["{}", r#"{"a":1}"#]), ["a: long", "+1 >0"]);
}

#[test]
fn columns_at_every_level() {
    let event = r#"{"new":1,"id":1,"items":[{"x":1,"y":true}],"by_name":{"k":{"m":"s"}},
        "user":{"address":{"city":"Ulm","geo":[1.5]},"name":"n"},"at":"2024-05-01T10:00:00Z"}"#;
    let evolved = propose(&schema(), &EVOLVE, 100, &[event]).expect("a proposal");
    assert_eq!((evolved.added, evolved.widened), (7, 0));
    assert_eq!(evolved.schema.schema_id, 7);
    assert_eq!(evolved.schema.identifier_field_ids, [1]);
    let mut expected = schema();
    let Type::List { element, .. } = &mut expected.fields[1].ty else { panic!("a list") };
    let Type::Struct(fields) = &mut **element else { panic!("a struct") };
    fields.push(Field::optional(51, "y", Type::Boolean));
    let Type::Map { value, .. } = &mut expected.fields[2].ty else { panic!("a map") };
    let Type::Struct(fields) = &mut **value else { panic!("a struct") };
    fields.push(Field::optional(52, "m", Type::String));
    let Type::Struct(fields) = &mut expected.fields[5].ty else { panic!("a struct") };
    fields.push(Field::optional(
        53,
        "address",
        Type::Struct(vec![
            Field::optional(54, "city", Type::String),
            Field::optional(55, "geo", Type::list(56, Type::Double)),
        ]),
    ));
    expected.fields.push(Field::optional(57, "new", Type::Long));
    expected.fields.push(Field::optional(58, "at", Type::Timestamptz));
    assert_eq!(evolved.schema, expected);
}

#[test]
fn ids_lie_above_all_that_were_ever_used() {
    let schema = Schema::new(vec![Field::optional(80, "a", Type::Int)]);
    let evolved = propose(&schema, &EVOLVE, 1, &[r#"{"b":1,"c":1}"#]).expect("a proposal");
    let ids: Vec<(i32, &str)> = evolved.schema.fields.iter().map(|field| (field.id, field.name.as_str())).collect();
    assert_eq!(ids, [(80, "a"), (81, "b"), (82, "__extra__")]);
}

#[test]
fn numbers_get_room() {
    let changes = |event: &str| changes(&schema(), &EVOLVE, 0, &[event]);
    // An identifier field stays, and so its event is invalid.
    assert_eq!(changes(r#"{"id":3000000000}"#), [""; 0]);
    assert_eq!(
        changes(r#"{"id":1,"items":[{"x":3000000000,"f":1e39}]}"#),
        ["items: list<struct<x: long, f: double>>", "+0 >2"]
    );
    assert_eq!(changes(r#"{"id":1,"items":[{"x":1,"f":0.1}]}"#), [""; 0]);
    assert_eq!(
        changes(r#"{"id":1,"by_name":{"a":{"n":1},"b":{"n":-3e9}}}"#),
        ["by_name: map<string, struct<n: long>>", "+0 >1"]
    );
    assert_eq!(
        changes(r#"{"id":1,"by_number":{"values":[3000000000],"keys":[1]}}"#),
        ["by_number: map<int, long>", "+0 >1"]
    );
    // Keys of maps stay.
    assert_eq!(changes(r#"{"id":1,"by_number":{"keys":[3000000000],"values":[3000000000]}}"#), [""; 0]);
    assert_eq!(changes(r#"{"id":1,"matrix":[[1],[2,-1e300]]}"#), ["matrix: list<list<double>>", "+0 >1"]);
    for (price, precision) in [("100", 5), ("\"-123456.78\"", 8), ("999999999999999999999999999999999999.99", 38)] {
        let expected = [format!("price: decimal({precision},2)"), "+0 >1".to_owned()];
        assert_eq!(changes(&format!(r#"{{"id":1,"price":{price}}}"#)), expected);
    }
    // What no wider type of the kind holds: more than 38 digits, another scale, a fraction, beyond a long or a double.
    for bad in [
        r#""price":1e36"#,
        r#""price":0.001"#,
        r#""items":[{"x":0.5}]"#,
        r#""items":[{"x":1e19}]"#,
        r#""matrix":[[1e309]]"#,
    ] {
        assert_eq!(changes(&format!(r#"{{"id":1,"new":1,{bad}}}"#)), [""; 0], "{bad}");
    }
}

#[test]
fn numbers_in_strings_get_room_too() {
    let mut policy = EVOLVE;
    assert_eq!(changes(&schema(), &policy, 9, &[r#"{"id":1,"items":[{"x":"3000000000"}]}"#]), [""; 0]);
    policy.mapping.numbers_in_strings = true;
    let found = changes(&schema(), &policy, 9, &[r#"{"id":1,"items":[{"x":"3000000000","f":"1e39"}],"new":"5"}"#]);
    assert_eq!(found, ["items: list<struct<x: long, f: double>>", "new: string", "+1 >2"]);
    policy.mapping.non_finite = crate::mapping::NonFinite::Accept;
    assert_eq!(changes(&schema(), &policy, 9, &[r#"{"id":1,"matrix":[["NaN"]]}"#]), [""; 0]);
}

#[test]
fn types_come_from_all_events() {
    let found = changes(
        &Schema::default(),
        &EVOLVE,
        99,
        &[
            r#"{"a":1,"m":1,"e":{},"d":{"x":1,"x":2},"o":{"p":1}}"#,
            r#"{"a":1.5,"m":"x","e":1,"d":{"x":3},"o":{"q":[{}]}}"#,
        ],
    );
    assert_eq!(
        found,
        ["a: double", "m: string", "e: string", "d: string", "o: struct<p: long>", "__extra__: string", "+6 >0"]
    );
}

#[test]
fn what_cannot_be_a_column_is_captured() {
    let user = Schema::new(vec![
        Field::optional(1, "User", Type::Struct(vec![Field::optional(2, "name", Type::String)])),
        Field::optional(3, "tags", Type::list(4, Type::String)),
    ]);
    let long_name = format!(r#"{{"{}":1}}"#, "n".repeat(MAX_COLUMN_NAME_BYTES + 1));
    for event in [
        r#"{"a":null}"#,
        r#"{"a":[]}"#,
        r#"{"a":{"b":[null,{}]}}"#,
        r#"{"__id__":1}"#,
        r#"{"__Extra__":1}"#,
        r#"{"":1}"#,
        r#"{"user":1}"#,
        r#"{"USER.name":1}"#,
        r#"{"tags.element":1}"#,
        r#"{"User":{"NAME":1}}"#,
        r#"{"User":{"":1}}"#,
        &long_name,
    ] {
        let expected = ["__extra__: string", "+0 >0"];
        assert_eq!(changes(&user, &EVOLVE, 9, &[event]), expected, "{event}");
        let never = TablePolicy { system_columns: SystemColumns::Never, ..EVOLVE };
        assert_eq!(propose(&user, &never, 9, &[event]), None, "{event}");
        let full = user.clone().with_system_columns();
        assert_eq!(propose(&full, &EVOLVE, 9, &[event]), None, "{event}");
    }
    // The first of two that differ only in case.
    assert_eq!(changes(&user, &EVOLVE, 9, &[r#"{"b":1,"B":2}"#]), ["b: long", "__extra__: string", "+1 >0"]);
    // An object that repeats a field is text, whether the field would be a column or not.
    for value in [r#"{"x":1,"x":2}"#, r#"{"x":1,"":1,"":2}"#, r#"{"x":1,"N":null,"N":null}"#] {
        assert_eq!(
            changes(&user, &EVOLVE, 9, &[&format!(r#"{{"n":[{value}]}}"#)]),
            ["n: list<string>", "+1 >0"],
            "{value}"
        );
    }
    // In a policy without regard to case the event repeats a field.
    let folded = TablePolicy { mapping: MappingPolicy { case_insensitive: true, ..EVOLVE.mapping }, ..EVOLVE };
    assert_eq!(changes(&user, &folded, 9, &[r#"{"b":1,"B":2}"#, r#"{"USER":{"NAME":"n"}}"#]), [""; 0]);
    assert_eq!(changes(&user, &folded, 9, &[r#"{"b":1}"#, r#"{"B":1.5}"#]), ["b: double", "+1 >0"]);
    assert_eq!(changes(&user, &folded, 9, &[r#"{"n":{"x":1,"X":2}}"#]), ["n: string", "+1 >0"]);
    // An `__extra__` that cannot be used is not replaced.
    let required = Schema::new(vec![Field::required(1, "__extra__", Type::String)]);
    assert_eq!(changes(&required, &EVOLVE, 9, &[r#"{"__extra__":"e","a":null,"b":1}"#]), ["b: long", "+1 >0"]);
}

#[test]
fn the_first_columns_win() {
    let user =
        Schema::new(vec![Field::optional(1, "user", Type::Struct(vec![Field::optional(2, "name", Type::String)]))]);
    let events = [r#"{"n":null,"user":{"a":1},"b":{"c":1,"d":2}}"#, r#"{"user":{"e":1},"f":1,"n":1}"#];
    let left = |left| changes(&user, &EVOLVE, left, &events);
    let extra = || "__extra__: string".to_owned();
    assert_eq!(left(0), [extra(), "+0 >0".to_owned()]);
    // `n` appeared first, though without a value.
    assert_eq!(left(1), ["n: long".to_owned(), extra(), "+1 >0".to_owned()]);
    assert_eq!(left(2), ["user: struct<name: string, a: long>", "n: long", "__extra__: string", "+2 >0"]);
    // A struct needs room for one field at least.
    assert_eq!(left(3), left(2));
    assert_eq!(
        left(4),
        ["user: struct<name: string, a: long>", "n: long", "b: struct<c: long>", "__extra__: string", "+4 >0"]
    );
    assert_eq!(
        left(7),
        ["user: struct<name: string, a: long, e: long>", "n: long", "b: struct<c: long, d: long>", "f: long", "+7 >0"]
    );
}

#[test]
fn invalid_events_change_nothing() {
    let bad = [
        "",
        "[]",
        "{",
        r#"{"new":1}x"#,
        r#"{"new":1,"id":"x"}"#,
        r#"{"new":1}"#,
        r#"{"new":1,"new":1,"id":1}"#,
        "\u{feff}{}",
    ];
    assert_eq!(propose(&schema(), &EVOLVE, 9, &bad), None);
    let events: Vec<&[u8]> = vec![b"{\"new\":\"\xff\",\"id\":1}"];
    assert_eq!(evolve(&schema(), &EVOLVE, 50, 9, events.into_iter()), None);
    let all = TablePolicy { system_columns: SystemColumns::All, ..EVOLVE };
    assert_eq!(propose(&schema(), &all, 9, &bad), None);
}

#[test]
fn system_columns_by_policy() {
    let table = Schema::new(vec![Field::optional(1, "a", Type::Int), Field::optional(2, "__TS__", Type::Int)]);
    let (plain, unknown) = (r#"{"a":1}"#, r#"{"a":3000000000,"b":1}"#);
    let fits = r#"{"a":1,"b":1}"#;
    use SystemColumns::{All, Never, OnDemand};
    use UnknownFieldPolicy::{Capture, Evolve, Ignore, Reject};
    let none: &[&str] = &[];
    let all: &[&str] = &["__id__: string", "__write_id__: string", "__extra__: string", "+0 >0"];
    let extra: &[&str] = &["__extra__: string", "+0 >0"];
    for (unknown_fields, system_columns, on_plain, on_unknown) in [
        (Capture, OnDemand, none, extra),
        (Capture, All, all, all),
        (Capture, Never, none, none),
        (Reject, OnDemand, none, none),
        (Reject, All, all, none),
        (Reject, Never, none, none),
        (Ignore, OnDemand, none, none),
        (Ignore, All, all, all),
        (Ignore, Never, none, none),
        (Evolve, All, all, &["b: long", "__id__: string", "__write_id__: string", "__extra__: string", "+1 >0"]),
        (Evolve, OnDemand, none, &["b: long", "+1 >0"]),
    ] {
        let policy = TablePolicy { unknown_fields, system_columns, ..EVOLVE };
        assert_eq!(changes(&table, &policy, 9, &[plain]), on_plain, "{policy:?}");
        assert_eq!(changes(&table, &policy, 9, &[fits]), on_unknown, "{policy:?}");
        // Nothing is widened, and so no invalid event counts, unless by `evolve`.
        let widens = !changes(&table, &policy, 9, &[unknown]).is_empty();
        assert_eq!(widens, unknown_fields == Evolve, "{policy:?}");
    }
}

#[test]
fn hostile_events_are_bounded() {
    // 100,000 fields: as many columns as a table may have, the rest captured.
    let fields: Vec<String> = (0..100_000).map(|i| format!(r#""k{i}":{i}"#)).collect();
    let wide = format!("{{{}}}", fields.join(","));
    let evolved = propose(&Schema::default(), &EVOLVE, u32::MAX, &[&wide, &wide]).expect("a proposal");
    assert_eq!(evolved.added, u32::try_from(MAX_COLUMNS).expect("small"));
    assert_eq!(evolved.schema.fields.last().map(|field| field.name.as_str()), Some("__extra__"));
    // The columns that are there count.
    let next = format!("{{{}}}", fields[50_000..].join(","));
    assert_eq!(propose(&evolved.schema, &EVOLVE, u32::MAX, &[&next]), None);
    // An object of that many fields becomes text, where it would be a column of its own.
    let nested = format!(r#"{{"o":{wide}}}"#);
    assert_eq!(changes(&Schema::default(), &EVOLVE, 500, &[&nested]), ["o: string", "+1 >0"]);
    let known = Schema::new(vec![Field::optional(1, "o", Type::Struct(vec![Field::optional(2, "x", Type::Int)]))]);
    assert_eq!(propose(&known, &EVOLVE, 500, &[&nested]).map(|evolved| evolved.added), Some(500));
    // Too deep for JSON, and too deep for columns.
    let deep = |depth: usize| format!(r#"{{"o":{}1{}}}"#, r#"{"a":"#.repeat(depth), "}".repeat(depth));
    assert_eq!(propose(&Schema::default(), &EVOLVE, 500, &[&deep(10_000)]), None);
    let evolved = propose(&Schema::default(), &EVOLVE, 500, &[&deep(100)]).expect("a proposal");
    assert_eq!(evolved.added, u32::try_from(MAX_COLUMN_DEPTH).expect("small"));
    // The next event that goes deeper there is kept as the text that this column takes.
    assert_eq!(propose(&evolved.schema, &EVOLVE, 500, &[&deep(110)]), None);
    // Huge names, values and numbers.
    let huge =
        format!(r#"{{"{0}":1,"s":"{0}","n":{1},"d":0.{1},"l":[{1}]}}"#, "x".repeat(1 << 20), "1".repeat(1 << 20));
    let found = changes(&Schema::default(), &EVOLVE, 500, &[&huge]);
    assert_eq!(found, ["s: string", "n: string", "d: double", "l: list<string>", "__extra__: string", "+4 >0"]);
}

#[test]
fn proposals_can_be_read_back() {
    let evolved = propose(&schema(), &EVOLVE, 9, &[r#"{"id":1,"new":[{"a":[1]}]}"#]).expect("a proposal");
    assert_eq!(Schema::from_value(&evolved.schema.to_value()), Ok(evolved.schema.clone()));
    assert_eq!(evolved.schema.to_value()["fields"][0]["doc"], json!("the key"));
}
