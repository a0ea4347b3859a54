//! Manifests in storage against the specification, and manifests of others.

use std::collections::HashMap;

use iceberg::spec::{DataContentType, DataFileBuilder, DataFileFormat, Datum, Literal, NestedField, Struct};
use proptest::prelude::*;

use super::*;

const LOCATION: &str = "memory:///wh/m0.avro";

/// Columns 1, 2, … of these types, each partitioned by identity.
fn identities(types: &[&str]) -> (PartitionSpec, SchemaRef) {
    let column = |(place, of): (usize, &&str)| {
        let of: Type = serde_json::from_value(json!(of)).expect("a type");
        Arc::new(NestedField::optional(place as i32 + 1, format!("c{place}.x"), of))
    };
    let schema = Schema::builder().with_fields(types.iter().enumerate().map(column)).build().expect("schema");
    let field = |place| json!({"source-id": place + 1, "field-id": 1000 + place, "name": format!("c{place}.x"), "transform": "identity"});
    let fields: Vec<_> = (0..types.len()).map(field).collect();
    let spec = serde_json::from_value(json!({"spec-id": 3, "fields": fields})).expect("spec");
    (spec, Arc::new(schema))
}

fn file(name: &str, partition: Struct, bounds: HashMap<i32, Datum>) -> DataFile {
    let mut builder = DataFileBuilder::default();
    builder
        .content(DataContentType::Data)
        .file_path(format!("memory:///wh/{name}"))
        .file_format(DataFileFormat::Parquet)
        .partition(partition)
        .record_count(10)
        .file_size_in_bytes(100)
        .column_sizes(HashMap::from([(1, 11)]))
        .value_counts(HashMap::from([(1, 12)]))
        .null_value_counts(HashMap::from([(1, 13)]))
        .nan_value_counts(HashMap::from([(1, 14)]))
        .lower_bounds(bounds.clone())
        .upper_bounds(bounds)
        .split_offsets(Some(vec![4]))
        .partition_spec_id(3)
        .sort_order_id(2);
    builder.build().expect("described")
}

async fn write(version: FormatVersion, of: &(PartitionSpec, SchemaRef), files: &[DataFile]) -> (FileIO, ManifestFile) {
    let io = FileIO::new_with_memory();
    let writer = DataManifestWriter::new(&io, LOCATION.to_owned(), 7, version, &of.0, &of.1);
    let mut writer = writer.expect("writer");
    for file in files {
        writer.add(file).expect("added");
    }
    let mut written = writer.finish().await.expect("written");
    (written.sequence_number, written.min_sequence_number) = (5, 5);
    (io, written)
}

async fn stored(io: &FileIO) -> Bytes {
    io.new_input(LOCATION).expect("input").read().await.expect("stored")
}

fn fields_of(content: &[u8]) -> Vec<Value> {
    let mut schema = Header::parse(content).expect("header").avro_schema().expect("schema");
    avro_schema::partition_fields(&mut schema).map(|field| field.clone()).collect()
}

fn uuid(value: u128) -> Option<Literal> {
    Some(Literal::uuid(uuid::Uuid::from_u128(value)))
}

const HIGH: u128 = u128::MAX - 1;

#[tokio::test]
async fn defect_19_partition_types_are_those_of_the_specification() {
    // iceberg-rust 0.10.1 fails to write a uuid, cannot read nanoseconds that it wrote, defines decimals of one
    // precision and scale twice under one name, and says nowhere whether a timestamp is adjusted to UTC.
    let types = ["uuid", "uuid", "timestamp_ns", "timestamptz_ns", "timestamptz", "decimal(9, 2)", "decimal(9, 2)"];
    let of = identities(&types);
    let longs = || [Some(Literal::long(i64::MIN)), Some(Literal::long(-1)), Some(Literal::timestamptz(i64::MAX))];
    let decimals = || [Some(Literal::decimal(-5)), Some(Literal::decimal(999_999_999))];
    let first = [uuid(HIGH), uuid(1)].into_iter().chain(longs()).chain(decimals()).collect();
    let second = [uuid(0), None].into_iter().chain(longs()).chain(decimals()).collect();
    let bounds = HashMap::from([(1, Datum::uuid(uuid::Uuid::from_u128(HIGH))), (3, Datum::timestamp_nanos(3))]);
    let files = [file("a", first, bounds), file("b", second, HashMap::new())];
    for version in [FormatVersion::V1, FormatVersion::V2, FormatVersion::V3] {
        let (io, manifest) = write(version, &of, &files).await;
        let content = stored(&io).await;
        assert_eq!((manifest.manifest_path.as_str(), manifest.manifest_length), (LOCATION, content.len() as i64));
        let fields = fields_of(&content);
        let long = |unit: &str, utc: bool| json!({"type": "long", "logicalType": unit, "adjust-to-utc": utc});
        let fixed = |id: i32| json!({"type": "fixed", "name": format!("uuid_{id}"), "size": 16, "logicalType": "uuid"});
        let types: Vec<_> = fields.iter().map(|field| field["type"][1].clone()).collect();
        let nanos = [long("timestamp-nanos", false), long("timestamp-nanos", true), long("timestamp-micros", true)];
        assert_eq!(types[..2], [fixed(1000), fixed(1001)]);
        assert_eq!(types[2..5], nanos);
        assert_eq!((&types[5]["name"], &types[6]["name"]), (&json!("decimal_1005"), &json!("decimal_1006")));
        assert!(fields.iter().all(|field| field["type"][0] == "null" && field["default"] == Value::Null));
        assert_eq!(fields[6]["name"], "c6_x2Ex");
        // The table's own schema and spec are in there, not the stand-ins.
        let header = Header::parse(&content).expect("header");
        assert_eq!(serde_json::from_slice::<Schema>(header.get(SCHEMA).expect("schema")).expect("schema"), *of.1);
        assert!(!String::from_utf8_lossy(header.get(PARTITION_SPEC).expect("spec")).contains("stand_in"));
        // Uuids are compared without a sign.
        let summaries = manifest.partitions.as_ref().expect("summaries");
        assert_eq!(summaries[0].lower_bound.as_deref(), Some(&vec![0; 16]));
        assert_eq!(summaries[0].upper_bound.as_deref(), Some(&HIGH.to_be_bytes().to_vec()));
        assert!(summaries[1].contains_null && !summaries[0].contains_null);
        assert_eq!(summaries[2].lower_bound.as_deref(), Some(&i64::MIN.to_le_bytes().to_vec()));

        let entries = load(&io, &manifest).await.expect("read back");
        let read: Vec<_> = entries.iter().map(|entry| entry.data_file().clone()).collect();
        assert_eq!(read, files, "{version}");
        assert!(entries.iter().all(|entry| entry.snapshot_id() == Some(7)));
    }
}

/// The Java implementation gives every uuid the type `uuid_fixed`, which is defined once and named after that, and
/// may put null last.
#[tokio::test]
async fn manifests_of_others() {
    let of = identities(&["uuid", "uuid", "timestamp_ns"]);
    let files = [file("a", Struct::from_iter([uuid(HIGH), uuid(1), Some(Literal::long(-7))]), HashMap::new())];
    let (io, manifest) = write(FormatVersion::V2, &of, &files).await;
    let content = stored(&io).await;
    let mut header = Header::parse(&content).expect("header");
    let mut schema = header.avro_schema().expect("schema");
    for (place, field) in avro_schema::partition_fields(&mut schema).take(2).enumerate() {
        let of = json!({"type": "fixed", "name": "uuid_fixed", "size": 16, "logicalType": "uuid"});
        avro_schema::set_type(field, if place == 0 { of } else { json!("uuid_fixed") });
    }
    header.set_avro_schema(&schema);
    io.new_output(LOCATION).expect("output").write(header.on(&content)).await.expect("stored");
    let entries = load(&io, &manifest).await.expect("read");
    assert_eq!(entries[0].data_file(), &files[0]);

    // Text is no uuid of the specification: an error, never another value.
    for field in avro_schema::partition_fields(&mut schema).take(2) {
        avro_schema::set_type(field, json!({"type": "string", "logicalType": "uuid"}));
    }
    header.set_avro_schema(&schema);
    io.new_output(LOCATION).expect("output").write(header.on(&content)).await.expect("stored");
    load(&io, &manifest).await.expect_err("not understood");
}

#[tokio::test]
async fn what_is_no_manifest_is_an_error() {
    let of = identities(&["uuid"]);
    let (io, manifest) = write(FormatVersion::V2, &of, &[]).await;
    let content = stored(&io).await;
    for length in [0, 4, 20, content.len() - 1] {
        io.new_output(LOCATION).expect("output").write(content.slice(..length)).await.expect("stored");
        assert!(load(&io, &manifest).await.is_err(), "{length}");
    }
}

/// A column may have the name that a stand-in would get.
#[tokio::test]
async fn names_of_stand_ins_give_way() {
    let fields = [
        NestedField::optional(1, "stand_in_1000", Type::Primitive(PrimitiveType::Uuid)),
        NestedField::optional(2, "stand_in_1000_", Type::Primitive(PrimitiveType::Int)),
    ];
    let schema = Schema::builder().with_fields(fields.map(Arc::new)).build().expect("schema");
    let field = json!({"source-id": 1, "field-id": 1000, "name": "stand_in_1000", "transform": "identity"});
    let spec = serde_json::from_value(json!({"spec-id": 3, "fields": [field]})).expect("spec");
    let files = [file("a", Struct::from_iter([uuid(9)]), HashMap::new())];
    let (io, manifest) = write(FormatVersion::V2, &(spec, Arc::new(schema)), &files).await;
    assert_eq!(load(&io, &manifest).await.expect("read")[0].data_file(), &files[0]);
}

proptest! {
    /// Headers come in one block or several, whose count is negative if their size is given.
    #[test]
    fn headers_are_read_and_written(
        pairs in proptest::collection::vec(("[a-z.]{1,90}", proptest::collection::vec(any::<u8>(), 0..200)), 0..5),
        rest in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let header = pairs.iter().cloned().collect::<std::collections::BTreeMap<_, _>>();
        let mut built = Header::parse(&[b"Obj\x01\0".as_slice(), &rest].concat()).expect("an empty header");
        for (key, value) in &header {
            built.set(key, value.clone());
        }
        let file = built.on(&[b"Obj\x01\0".as_slice(), &rest].concat());
        let read = Header::parse(&file).expect("header");
        for (key, value) in &header {
            prop_assert_eq!(read.get(key), Some(value.as_slice()));
        }
        prop_assert!(file.ends_with(&rest));
        prop_assert_eq!(read.on(&file), file);
    }

    #[test]
    fn no_content_panics(content in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = Header::parse(&[b"Obj\x01".as_slice(), &content].concat());
    }
}

#[test]
fn blocks_with_a_size() {
    // Count -1, size 4, "k" -> "v", end, the rest.
    let file = b"Obj\x01\x01\x08\x02k\x02v\0rest";
    let header = Header::parse(file).expect("header");
    assert_eq!(header.get("k"), Some(b"v".as_slice()));
    assert_eq!(&header.on(file)[..], b"Obj\x01\x02\x02k\x02v\0rest");
}
