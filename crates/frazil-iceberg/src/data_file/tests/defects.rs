//! Defects of iceberg-rust 0.10.1 that this module exists to avoid. Each test shows our behaviour; its comment says
//! what the library does, so that an upgrade can tell which work-around became unnecessary.

use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray, TimestampMicrosecondArray, TimestampNanosecondArray};
use iceberg::spec::{Datum, Literal, PrimitiveType, Transform};

use super::fixture::{batch, of, options, read, stage_blocking, table};
use crate::data_file::StageOptions;

/// iceberg-rust 0.10.1 (`ParquetWriter`, min-max aggregation) ignores a row group whose statistics are inexact, and
/// Parquet statistics of strings over 64 bytes are. For this file it records the bounds `m0`..`m9`, and readers that
/// look for `s > 'n'` skip the file with the row that matches.
#[test]
fn defect_02_bounds_with_several_row_groups_and_long_strings() {
    let table = table([("s", of(PrimitiveType::String))]).property("write.metadata.metrics.column.s", "full").build();
    let (low, high) = ("a".repeat(200), "z".repeat(200));
    let short = StringArray::from_iter_values((0..10).map(|n| format!("m{n}")));
    let long = StringArray::from_iter_values((0..10).map(|n| if n % 2 == 0 { &low } else { &high }));
    let batches = [short, long].map(|column| batch(&table, vec![Arc::new(column) as ArrayRef])).to_vec();
    let two_groups = StageOptions { row_group_rows: 10, ..options() };

    let staged = stage_blocking(&table, batches.clone(), &two_groups);
    let [file] = staged.files.as_slice() else { panic!("one file") };
    assert_eq!(read(&table, file).0.num_row_groups(), 2);
    assert_eq!(file.lower_bounds()[&1], Datum::string(&low));
    assert_eq!(file.upper_bounds()[&1], Datum::string(&high));

    // The same through truncated statistics, as they are without the property.
    let table = self::table([("s", of(PrimitiveType::String))]).build();
    let staged = stage_blocking(&table, batches, &two_groups);
    let [file] = staged.files.as_slice() else { panic!("one file") };
    assert_eq!(file.lower_bounds()[&1], Datum::string("a".repeat(16)));
    assert_eq!(file.upper_bounds()[&1], Datum::string("z".repeat(15) + "{"));
}

/// iceberg-rust 0.10.1 (`PartitionSpec::partition_to_path`) puts names and values into the path as they are: `/` adds
/// directories, and readers that parse the location as a URL cut it off at `?` or `#`.
#[test]
fn defect_03_partition_path_is_escaped() {
    let table = table([("s", of(PrimitiveType::String))]).partition(1, "a/b c", Transform::Identity).build();
    let values = ["a?b", "a#b", "a/b", "100%", "a b", "grüße", "null", "..", ""];
    let rows: StringArray = values.iter().copied().map(Some).chain([None]).collect();
    let staged = stage_blocking(&table, vec![batch(&table, vec![Arc::new(rows)])], &options());

    let expected =
        ["a%3Fb", "a%23b", "a%2Fb", "100%25", "a+b", "gr%C3%BC%C3%9Fe", "null", "..", "", "null"].map(|value| {
            let name = "a%2Fb+c";
            format!("memory://warehouse/ns/t/data/{name}={value}/")
        });
    for (value, start) in values.iter().map(|value| Some(Literal::string(value))).chain([None]).zip(expected) {
        let file = staged.files.iter().find(|file| file.partition()[0] == value).expect("a file per value");
        assert!(file.file_path().starts_with(&start), "{} begins with {start}", file.file_path());
        assert_eq!(read(&table, file).1.iter().map(arrow_array::RecordBatch::num_rows).sum::<usize>(), 1);
    }
    assert_eq!(staged.files.len(), values.len() + 1);
}

/// iceberg-rust 0.10.1 (`Datum::to_human_string`, reached by the path of an identity partition) panics for a
/// timestamptz before 1970 with a fraction of a second: the remainder is negative and wraps around as `u32`.
#[test]
fn defect_04_pre_epoch_identity_timestamptz_does_not_panic() {
    let table = table([("ts", of(PrimitiveType::Timestamptz)), ("ns", of(PrimitiveType::TimestamptzNs))])
        .v3()
        .partition(1, "ts", Transform::Identity)
        .partition(2, "ns", Transform::Identity)
        .build();
    let micros = TimestampMicrosecondArray::from(vec![-1_500_001, i64::MIN]).with_timezone("+00:00");
    let nanos = TimestampNanosecondArray::from(vec![-1, i64::MIN]).with_timezone("+00:00");
    let staged = stage_blocking(&table, vec![batch(&table, vec![Arc::new(micros), Arc::new(nanos)])], &options());
    assert_eq!(staged.files.len(), 2);
    let data = "memory://warehouse/ns/t/data";
    let near =
        format!("{data}/ts=1969-12-31T23%3A59%3A58.499999%2B00%3A00/ns=1969-12-31T23%3A59%3A59.999999999%2B00%3A00/");
    assert!(staged.files.iter().any(|file| file.file_path().starts_with(&near)), "{staged:?}");
}

/// iceberg-rust 0.10.1 refuses `hour` on nanoseconds ("Unsupported data type for hour transform") and buckets negative
/// nanoseconds by the microsecond above, where the specification says below.
#[test]
fn defect_05_hour_on_nanoseconds() {
    let table = table([("ns", of(PrimitiveType::TimestampNs))])
        .v3()
        .partition(1, "hour", Transform::Hour)
        .partition(1, "bucket", Transform::Bucket(1 << 20))
        .build();
    let hour = 3_600_000_000_000;
    let rows = TimestampNanosecondArray::from(vec![-1, hour - 1, hour]);
    let staged = stage_blocking(&table, vec![batch(&table, vec![Arc::new(rows)])], &options());
    let mut hours: Vec<_> = staged.files.iter().map(|file| file.partition()[0].clone()).collect();
    hours.sort_by_key(|hour| format!("{hour:?}"));
    let mut expected = [-1, 0, 1].map(|hour| Some(Literal::int(hour))).to_vec();
    expected.sort_by_key(|hour| format!("{hour:?}"));
    assert_eq!(hours, expected);

    let floored = crate::data_file::transform::apply(
        Transform::Bucket(1 << 20),
        &(Arc::new(TimestampMicrosecondArray::from(vec![-1])) as ArrayRef),
    )
    .expect("bucket of microseconds");
    let floored = crate::data_file::literal::at(&floored, 0, &PrimitiveType::Int).expect("an int");
    let before = staged.files.iter().find(|file| file.partition()[0] == Some(Literal::int(-1))).expect("hour -1");
    assert_eq!(before.partition()[1], floored);
}
