//! Texts and what they mean.

use super::*;

const SCHEMA: &str = r#"{"type":"struct","schema-id":0,"fields":[
    {"id":1,"name":"event_time","required":false,"type":"timestamptz"},
    {"id":2,"name":"user_id","required":false,"type":"long"},
    {"id":3,"name":"x","required":false,"type":"string"},
    {"id":4,"name":"odd, name","required":false,"type":"string"},
    {"id":5,"name":"s","required":false,"type":{"type":"struct","fields":[
        {"id":6,"name":"inner","required":false,"type":"int"}]}},
    {"id":7,"name":"x_trunc","required":false,"type":"string"},
    {"id":8,"name":"d","required":false,"type":"double"},
    {"id":9,"name":"tags","required":false,"type":{"type":"list","element-id":10,"element":"string",
        "element-required":false}},
    {"id":11,"name":"desc","required":false,"type":"string"}]}"#;

fn parse(text: &str) -> Result<Vec<(i32, String, String)>, DefinitionError> {
    let schema = parse_schema(SCHEMA).expect("schema");
    let spec = parse_partition_spec(text, &schema)?;
    let field = |f: &iceberg::spec::UnboundPartitionField| (f.source_id, f.name.clone(), f.transform.to_string());
    Ok(spec.fields().iter().map(field).collect())
}

#[test]
fn terms() {
    let parsed = parse("day(event_time), bucket(16, user_id), truncate(4, `odd, name`), x").expect("spec");
    let expected = [
        (1, "event_time_day", "day"),
        (2, "user_id_bucket", "bucket[16]"),
        (4, "odd, name_trunc", "truncate[4]"),
        (3, "x", "identity"),
    ];
    let parsed: Vec<_> = parsed.iter().map(|(id, name, transform)| (*id, name.as_str(), transform.as_str())).collect();
    assert_eq!(parsed, expected);
    assert_eq!(parse("").expect("none"), []);
    assert_eq!(parse("bucket(user_id,8)").expect("either order")[0].2, "bucket[8]");
    assert_eq!(parse("identity x, HOURS( event_time )").expect("spec").len(), 2);
    assert_eq!(parse("bucket(4, s.inner)").expect("nested")[0].0, 6);
    let void = parse("void(x), always_null(d)").expect("void");
    assert_eq!(void, [(3, "x_null".to_owned(), "void".to_owned()), (8, "d_null".to_owned(), "void".to_owned())]);
}

#[test]
fn refusals() {
    for text in [
        "day(nothing)",
        "day(x)",
        "bucket(0, x)",
        "bucket(x)",
        "bucket(16, d)",
        "day(event_time",
        "week(event_time)",
        "x,",
        ",",
        "x y",
        "truncate(4, x)",
        "x, x",
        "day(event_time), hour(event_time), day(event_time)",
        "s",
        "`x",
        "identity",
        "identity()",
        "bucket(99999999999, x)",
        "void(s)",
        "void(x, x)",
        "tags",
        "bucket(4, tags.element)",
        "x desc",
    ] {
        assert!(matches!(parse(text), Err(DefinitionError::PartitionField { .. })), "{text}: {:?}", parse(text));
    }
    assert!(matches!(parse_schema("{}"), Err(DefinitionError::Schema { .. })));
}

/// Java's parser of create requests refuses a spec without an id ("Cannot parse missing int: spec-id"), Nessie 0.99 also
/// fields without.
#[test]
fn a_spec_and_its_fields_have_ids_for_catalogs_written_in_java() {
    let schema = parse_schema(SCHEMA).expect("schema");
    let spec = serde_json::to_value(parse_partition_spec("day(event_time), x", &schema).expect("spec")).expect("JSON");
    assert_eq!(spec["spec-id"], 0, "{spec}");
    assert_eq!([&spec["fields"][0]["field-id"], &spec["fields"][1]["field-id"]], [1000, 1001], "{spec}");
}

/// Manifests cannot be written for two partition fields of one `fixed`; uuids and decimals are no such thing.
#[test]
fn one_partition_field_of_a_fixed_type() {
    let column =
        |id: i32, of: &str| serde_json::json!({"id": id, "name": format!("c{id}"), "required": false, "type": of});
    let types = ["fixed[16]", "fixed[16]", "fixed[5]", "uuid", "uuid", "decimal(38, 0)", "decimal(38, 0)"];
    let columns: Vec<_> = (1..).zip(types).map(|(id, of)| column(id, of)).collect();
    let schema = parse_schema(&serde_json::json!({"type": "struct", "fields": columns}).to_string()).expect("schema");
    assert_eq!(parse_partition_spec("c1, bucket(4, c2), c3, c4, c5, c6, c7", &schema).expect("spec").fields().len(), 7);
    for text in ["c1, c2", "c3, void(c1), c2"] {
        let error = parse_partition_spec(text, &schema).expect_err("refused").to_string();
        assert_eq!(error, "invalid partition field \"c2\": only one partition field can be of type fixed[16]");
    }
}

fn order(text: &str) -> Result<String, DefinitionError> {
    let schema = parse_schema(SCHEMA).expect("schema");
    let order = parse_sort_order(text, &schema)?;
    assert_eq!(order.order_id, i64::from(!order.is_unsorted()));
    let field = |f: &iceberg::spec::SortField| {
        format!("{} {} {} nulls {}", f.source_id, f.transform, f.direction, f.null_order)
    };
    Ok(order.fields.iter().map(field).collect::<Vec<_>>().join(", "))
}

#[test]
fn sort_orders() {
    for (text, expected) in [
        ("", ""),
        ("x", "3 identity ascending nulls first"),
        ("x desc", "3 identity descending nulls last"),
        ("x ASC NULLS LAST", "3 identity ascending nulls last"),
        ("x nulls last", "3 identity ascending nulls last"),
        ("x desc nulls first", "3 identity descending nulls first"),
        ("desc desc", "11 identity descending nulls last"),
        ("`odd, name` desc", "4 identity descending nulls last"),
        ("bucket (16, `odd, name`)desc", "4 bucket[16] descending nulls last"),
        ("identity(x)", "3 identity ascending nulls first"),
        ("s.inner desc", "6 identity descending nulls last"),
        (
            "user_id, event_time desc nulls last, bucket(16, x) asc, day(event_time)",
            "2 identity ascending nulls first, 1 identity descending nulls last, 3 bucket[16] ascending nulls first, \
             1 day ascending nulls first",
        ),
    ] {
        assert_eq!(order(text).expect(text), expected, "{text}");
    }
}

#[test]
fn sort_orders_that_are_refused() {
    for text in [
        "nothing",
        "x down",
        "x asc desc",
        "x nulls",
        "x nulls middle",
        "x desc nulls first please",
        "x, x desc",
        "x,",
        "s",
        "tags",
        "tags.element",
        "void(x)",
        "day(x)",
        "`x desc",
    ] {
        assert!(matches!(order(text), Err(DefinitionError::SortField { .. })), "{text}: {:?}", order(text));
    }
}

#[test]
fn a_definition_has_what_was_asked_for() {
    let create = |spec, order| create_table(SCHEMA, spec, order, BTreeMap::new(), None).expect("definition");
    let bare = create("", " ");
    assert!(bare.partition_spec.is_none() && bare.sort_order.is_none() && bare.properties.is_empty());
    let full = create("void(x)", "x desc");
    assert_eq!(full.partition_spec.expect("a spec").fields().len(), 1);
    assert_eq!(full.sort_order.expect("an order").fields.len(), 1);
}

#[test]
fn nanoseconds_choose_the_format_version() {
    let nested = |of: &str| {
        format!(
            r#"{{"type":"struct","schema-id":0,"fields":[{{"id":1,"name":"l","required":false,"type":
            {{"type":"list","element-id":2,"element-required":false,"element":"{of}"}}}}]}}"#
        )
    };
    let create = |of: &str, version: Option<&str>| {
        let properties = version.map(|version| ("format-version".to_owned(), version.to_owned())).into_iter().collect();
        create_table(&nested(of), "", "", properties, None)
            .map(|create| create.properties.get("format-version").cloned())
    };
    assert_eq!(create("timestamptz_ns", None), Ok(Some("3".to_owned())));
    assert_eq!(create("timestamp_ns", Some("3")), Ok(Some("3".to_owned())));
    assert_eq!(create("timestamptz", None), Ok(None));
    assert_eq!(create("timestamptz", Some("2")), Ok(Some("2".to_owned())));
    let refused = create("timestamp_ns", Some("2")).expect_err("refused");
    assert_eq!(
        refused.to_string(),
        "column \"l.element\" has nanoseconds, which need format-version 3, but the properties say \"2\""
    );
}
