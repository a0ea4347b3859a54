//! Paths as the Java implementation writes them.

use iceberg::spec::{FormatVersion, NestedField, Schema, SortOrder, TableMetadataBuilder, UnboundPartitionSpec};

use super::*;

fn locations(properties: &[(&str, &str)], fields: &[(PrimitiveType, Transform)]) -> Locations {
    let field = |(index, (primitive, _)): (usize, &(PrimitiveType, Transform))| {
        let id = i32::try_from(index).expect("few") + 1;
        std::sync::Arc::new(NestedField::optional(id, format!("c{id}"), Type::Primitive(primitive.clone())))
    };
    let schema = Schema::builder().with_fields(fields.iter().enumerate().map(field)).build().expect("valid");
    let mut spec = UnboundPartitionSpec::builder();
    for (index, (_, transform)) in fields.iter().enumerate() {
        let id = i32::try_from(index).expect("few") + 1;
        spec = spec.add_partition_field(id, format!("p{id}"), *transform).expect("valid");
    }
    let properties: HashMap<String, String> =
        properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let location = "s3://bucket/db/table".to_owned();
    let order = SortOrder::unsorted_order();
    let metadata = TableMetadataBuilder::new(schema, spec.build(), order, location, FormatVersion::V3, properties)
        .and_then(TableMetadataBuilder::build)
        .expect("valid")
        .metadata;
    let types = metadata.default_partition_type();
    Locations::new(metadata.location(), metadata.properties(), metadata.default_partition_spec(), types)
}

fn path(primitive: PrimitiveType, transform: Transform, value: Option<Literal>) -> String {
    locations(&[], &[(primitive, transform)]).partition_path(&[value].into_iter().collect()).expect("partitioned")
}

#[test]
fn values_are_written_for_people() {
    use PrimitiveType as P;
    let day = 20_000;
    let cases = [
        (P::Timestamptz, Transform::Year, Literal::int(-1), "p1=1969"),
        (P::Timestamptz, Transform::Month, Literal::int(-1), "p1=1969-12"),
        (P::Timestamptz, Transform::Day, Literal::date(day), "p1=2024-10-04"),
        (P::Timestamptz, Transform::Hour, Literal::int(-1), "p1=1969-12-31-23"),
        (P::Date, Transform::Identity, Literal::date(-1), "p1=1969-12-31"),
        (P::Time, Transform::Identity, Literal::time(36_000_000_000), "p1=10%3A00"),
        (P::Timestamp, Transform::Identity, Literal::timestamp(-1), "p1=1969-12-31T23%3A59%3A59.999999"),
        (P::Timestamptz, Transform::Identity, Literal::timestamptz(0), "p1=1970-01-01T00%3A00%3A00%2B00%3A00"),
        (P::TimestampNs, Transform::Identity, Literal::long(-1), "p1=1969-12-31T23%3A59%3A59.999999999"),
        (P::Long, Transform::Bucket(8), Literal::int(3), "p1=3"),
        (P::Boolean, Transform::Identity, Literal::bool(true), "p1=true"),
        (P::Double, Transform::Identity, Literal::double(1.0), "p1=1.0"),
        (P::Decimal { precision: 9, scale: 2 }, Transform::Identity, Literal::decimal(-5), "p1=-0.05"),
        (P::Decimal { precision: 9, scale: 0 }, Transform::Identity, Literal::decimal(100), "p1=100"),
        (P::Binary, Transform::Identity, Literal::binary([0xfb, 0xff]), "p1=%2B%2F8%3D"),
        (P::Uuid, Transform::Identity, Literal::uuid(uuid::Uuid::nil()), "p1=00000000-0000-0000-0000-000000000000"),
        (P::String, Transform::Truncate(2), Literal::string("a b"), "p1=a+b"),
    ];
    for (primitive, transform, value, expected) in cases {
        assert_eq!(path(primitive, transform, Some(value)), expected);
    }
    assert_eq!(path(P::String, Transform::Identity, None), "p1=null");
}

#[test]
fn long_values_are_cut_off_and_escapes_stay_whole() {
    let long = |value: String| path(PrimitiveType::String, Transform::Identity, Some(Literal::string(value)));
    assert_eq!(long("x".repeat(5000)), format!("p1={}", "x".repeat(197)));
    for shift in 0..3 {
        let cut = long("x".repeat(shift) + &"/".repeat(500));
        assert!(cut.len() <= STEP_BYTES && cut.ends_with("%2F"), "{cut}");
    }
}

#[test]
fn data_goes_below_the_table_or_where_the_property_says() {
    let name = "00000-w.parquet";
    let file = |properties: &[(&str, &str)]| locations(properties, &[]).data_file(None, name).expect("a location");
    assert_eq!(file(&[]), "s3://bucket/db/table/data/00000-w.parquet");
    assert_eq!(file(&[(DATA_PATH, "s3://other/x/")]), "s3://other/x/00000-w.parquet");
    assert_eq!(file(&[(FOLDER_PATH, "s3://old")]), "s3://old/00000-w.parquet");
    assert_eq!(file(&[(FOLDER_PATH, "s3://old"), (DATA_PATH, "s3://new")]), "s3://new/00000-w.parquet");
}

/// Hashes as in the tests of the Java and Python implementations.
#[test]
fn the_object_store_layout_spreads_files() {
    for (name, hash) in [
        ("a", "0101/0110/1001/10110010"),
        ("b", "1110/0111/1110/00000011"),
        ("c", "0010/1101/0110/01011111"),
        ("d", "1001/0001/0100/01110011"),
    ] {
        assert_eq!(entropy(name).expect("hashes"), hash);
    }
    let enabled = (OBJECT_STORE_ENABLED, "true");
    let partitioned = [(PrimitiveType::String, Transform::Identity)];
    let file = |properties: &[(&str, &str)]| {
        locations(properties, &partitioned).data_file(Some("p1=x"), "a").expect("a location")
    };
    let inside = entropy("p1=x/a").expect("hashes");
    assert_eq!(file(&[enabled]), format!("s3://bucket/db/table/data/{inside}/p1=x/a"));
    let flat = (OBJECT_STORE_PARTITIONED, "false");
    assert_eq!(file(&[enabled, flat]), "s3://bucket/db/table/data/0101/0110/1001/10110010-a");
    let outside = (OBJECT_STORE_PATH, "s3://shared");
    assert_eq!(file(&[enabled, outside]), format!("s3://shared/{inside}/db/table/p1=x/a"));
}
