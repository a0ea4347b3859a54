//! Streams of every type against the values they were made of, and hostile ones against the limits.

use std::sync::Arc;

use arrow_array::builder::*;
use arrow_array::types::*;
use arrow_array::*;
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer, i256};
use arrow_ipc::writer::{DictionaryHandling, IpcWriteOptions, StreamWriter};
use arrow_schema::{DataType, Field, Fields};
use serde_json::Value;

use super::{convert, rows, value};
use crate::error::Rejection;

mod generated;
mod hostile;
mod mapped;

fn stream_of(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).expect("a writer");
    batches.iter().for_each(|batch| writer.write(batch).expect("into memory"));
    writer.into_inner().expect("into memory")
}

fn batch_of(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .expect("columns of one length")
}

fn lines(body: &[u8]) -> Vec<String> {
    let events = convert(body, 1 << 20).unwrap_or_else(|error| panic!("{error}"));
    events.iter().map(|line| String::from_utf8(line.to_vec()).expect("UTF-8")).collect()
}

fn refusal(body: &[u8]) -> String {
    match convert(body, 1 << 20) {
        Err(Rejection::InvalidArrow(message)) => message,
        other => panic!("{other:?}"),
    }
}

/// The JSON of a column's values.
fn column(array: impl Array + 'static) -> Vec<String> {
    let rows = lines(&stream_of(&[batch_of(vec![("c", Arc::new(array))])]));
    rows.iter().map(|row| row["{\"c\":".len()..row.len() - 1].to_owned()).collect()
}

fn trouble(array: impl Array + 'static) -> String {
    refusal(&stream_of(&[batch_of(vec![("c", Arc::new(array))])]))
}

#[test]
fn whole_numbers_keep_their_digits() {
    assert_eq!(column(Int8Array::from(vec![Some(i8::MIN), None, Some(i8::MAX)])), ["-128", "null", "127"]);
    assert_eq!(column(Int16Array::from(vec![i16::MIN, i16::MAX])), ["-32768", "32767"]);
    assert_eq!(column(Int32Array::from(vec![i32::MIN, i32::MAX])), ["-2147483648", "2147483647"]);
    assert_eq!(column(Int64Array::from(vec![i64::MIN, i64::MAX])), ["-9223372036854775808", "9223372036854775807"]);
    assert_eq!(column(UInt8Array::from(vec![u8::MAX])), ["255"]);
    assert_eq!(column(UInt16Array::from(vec![u16::MAX])), ["65535"]);
    assert_eq!(column(UInt32Array::from(vec![u32::MAX])), ["4294967295"]);
    assert_eq!(column(UInt64Array::from(vec![u64::MAX])), ["18446744073709551615"]);
    assert_eq!(column(BooleanArray::from(vec![Some(true), None, Some(false)])), ["true", "null", "false"]);
    assert_eq!(column(NullArray::new(2)), ["null", "null"]);
}

#[test]
fn floating_point_is_shortest_and_keeps_what_json_lacks() {
    let doubles = vec![0.1, -0.0, 1.0, 5e-324, f64::MAX, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    let text = ["0.1", "-0.0", "1.0", "5e-324", "1.7976931348623157e308", "\"NaN\"", "\"Infinity\"", "\"-Infinity\""];
    assert_eq!(column(Float64Array::from(doubles)), text.map(|text| text.replace("e308", "e+308")));
    let singles = vec![0.1, -0.0, 16777216.0, f32::MAX, f32::NAN, f32::INFINITY];
    let text = ["0.1", "-0.0", "16777216.0", "3.4028235e+38", "\"NaN\"", "\"Infinity\""];
    assert_eq!(column(Float32Array::from(singles)), text);
    for bits in 0..=u16::MAX {
        let half = <Float16Type as ArrowPrimitiveType>::Native::from_bits(bits);
        let found = value::half(bits);
        assert!(found.to_bits() == half.to_f32().to_bits() || found.is_nan() && half.is_nan(), "{bits:#x}");
    }
    let halves = [0x3c00, 0x8000, 0x2e66, 0x7c00].map(<Float16Type as ArrowPrimitiveType>::Native::from_bits);
    assert_eq!(column(Float16Array::from_iter_values(halves)), ["1.0", "-0.0", "0.099975586", "\"Infinity\""]);
}

#[test]
fn decimals_keep_their_digits() {
    let of = |values: Vec<i128>, precision, scale| {
        column(Decimal128Array::from(values).with_precision_and_scale(precision, scale).expect("a decimal"))
    };
    assert_eq!(of(vec![0, 1, -1, 123_456], 10, 2), ["0.00", "0.01", "-0.01", "1234.56"]);
    assert_eq!(of(vec![0, -12], 10, -3), ["0", "-12000"]);
    assert_eq!(of(vec![7, -7], 10, 0), ["7", "-7"]);
    let nines = "9".repeat(38);
    let most = nines.parse::<i128>().expect("38 digits");
    assert_eq!(of(vec![most, -most], 38, 38), [format!("0.{nines}"), format!("-0.{nines}")]);
    let small = Decimal32Array::from(vec![-5, 999_999_999]).with_precision_and_scale(9, 1).expect("a decimal");
    assert_eq!(column(small), ["-0.5", "99999999.9"]);
    let middle = Decimal64Array::from(vec![i64::MIN, i64::MAX]).with_precision_and_scale(18, 1).expect("a decimal");
    assert_eq!(column(middle), ["-922337203685477580.8", "922337203685477580.7"]);
    let texts = ["1".repeat(76), "0".to_owned(), "10000000000000000000".to_owned(), format!("-{}", "98".repeat(38))];
    let wide = texts.each_ref().map(|text| text.parse::<i256>().expect("a number"));
    let wide = Decimal256Array::from(wide.to_vec()).with_precision_and_scale(76, 0).expect("a decimal");
    assert_eq!(column(wide), texts);
    let extremes = Decimal256Array::from(vec![i256::MIN, i256::MAX]);
    let [min, max] = [i256::MIN, i256::MAX].map(|number| number.to_string());
    assert_eq!(column(extremes.with_precision_and_scale(76, 0).expect("a decimal")), [min, max]);
}

#[test]
fn dates_and_times() {
    assert_eq!(
        column(Date32Array::from(vec![0, -1, 19_782, -719_162, 2_932_896])),
        ["\"1970-01-01\"", "\"1969-12-31\"", "\"2024-02-29\"", "\"0001-01-01\"", "\"9999-12-31\""]
    );
    assert_eq!(column(Date64Array::from(vec![86_400_000, -86_400_000])), ["\"1970-01-02\"", "\"1969-12-31\""]);
    assert_eq!(column(Time32SecondArray::from(vec![0, 86_399])), ["\"00:00:00\"", "\"23:59:59\""]);
    assert_eq!(column(Time32MillisecondArray::from(vec![1])), ["\"00:00:00.001\""]);
    assert_eq!(column(Time64MicrosecondArray::from(vec![86_399_999_999])), ["\"23:59:59.999999\""]);
    assert_eq!(column(Time64NanosecondArray::from(vec![1])), ["\"00:00:00.000000001\""]);
    assert_eq!(column(TimestampSecondArray::from(vec![-1])), ["\"1969-12-31T23:59:59\""]);
    assert_eq!(column(TimestampMillisecondArray::from(vec![-1])), ["\"1969-12-31T23:59:59.999\""]);
    assert_eq!(
        column(TimestampMicrosecondArray::from(vec![1]).with_timezone("+05:30")),
        ["\"1970-01-01T00:00:00.000001Z\""]
    );
    let extremes = TimestampNanosecondArray::from(vec![i64::MIN, i64::MAX]).with_timezone("America/New_York");
    assert_eq!(column(extremes), ["\"1677-09-21T00:12:43.145224192Z\"", "\"2262-04-11T23:47:16.854775807Z\""]);
}

#[test]
fn values_beyond_the_calendar_are_refused_with_their_place() {
    for (message, expected) in [
        (trouble(Date32Array::from(vec![0, 2_932_897])), "the date 2932897 is not in the years 0001 to 9999"),
        (trouble(Date32Array::from(vec![0, i32::MIN])), "the date -2147483648 is not in the years 0001 to 9999"),
        (trouble(Date64Array::from(vec![0, 1])), "the date of 1 milliseconds is not a whole day"),
        (trouble(Time32SecondArray::from(vec![0, 86_400])), "the time 86400 is not within a day"),
        (trouble(Time64NanosecondArray::from(vec![0, -1])), "the time -1 is not within a day"),
        (
            trouble(TimestampSecondArray::from(vec![0, i64::MAX])),
            "the timestamp 9223372036854775807 is not in the years 0001 to 9999",
        ),
    ] {
        assert_eq!(message.split_once(": ").expect("a prefix").1, expected.to_owned(), "the place is told: {message}");
        assert!(message.starts_with("row 1, column \"c\": "), "{message}");
    }
}

#[test]
fn text_and_bytes() {
    let texts = vec![Some("plain"), None, Some(""), Some("\"\\\n\u{1}😀 more than twelve bytes")];
    let expected = texts.iter().map(|text| serde_json::to_string(text).expect("JSON")).collect::<Vec<_>>();
    assert_eq!(column(StringArray::from(texts.clone())), expected);
    assert_eq!(column(LargeStringArray::from(texts.clone())), expected);
    assert_eq!(column(StringViewArray::from(texts)), expected);
    let bytes: Vec<Option<&[u8]>> = vec![Some(b""), None, Some(b"\x00\xff\xfe"), Some(&[7; 13])];
    let expected = ["\"\"", "null", "\"AP/+\"", "\"BwcHBwcHBwcHBwcHBw==\""];
    assert_eq!(column(BinaryArray::from(bytes.clone())), expected);
    assert_eq!(column(LargeBinaryArray::from(bytes.clone())), expected);
    assert_eq!(column(BinaryViewArray::from(bytes)), expected);
    let fixed = FixedSizeBinaryArray::try_from_iter([[0xde, 0xad], [0, 1]].into_iter()).expect("two bytes each");
    assert_eq!(column(fixed), [r#""\\xdead""#, r#""\\x0001""#]);
    let uuid = FixedSizeBinaryArray::try_from_iter([[0xab; 16]].into_iter()).expect("16 bytes");
    let field = Field::new("u", DataType::FixedSizeBinary(16), true)
        .with_metadata([("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned())].into());
    let schema = Arc::new(arrow_schema::Schema::new(vec![field]));
    let batch = RecordBatch::try_new(schema, vec![Arc::new(uuid)]).expect("a batch");
    assert_eq!(lines(&stream_of(&[batch])), [r#"{"u":"abababab-abab-abab-abab-abababababab"}"#]);
}

fn ints() -> Vec<Option<Vec<Option<i32>>>> {
    vec![Some(vec![Some(1), None]), None, Some(vec![]), Some(vec![Some(2)])]
}

#[test]
fn lists() {
    let expected = ["[1,null]", "null", "[]", "[2]"];
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(ints());
    assert_eq!(column(list.clone()), expected);
    assert_eq!(column(LargeListArray::from_iter_primitive::<Int32Type, _, _>(ints())), expected);
    assert_eq!(column(ListViewArray::from(list.clone())), expected);
    assert_eq!(
        column(LargeListViewArray::from(LargeListArray::from_iter_primitive::<Int32Type, _, _>(ints()))),
        expected
    );
    // Slices and views may begin anywhere and overlap.
    assert_eq!(column(list.slice(2, 2)), ["[]", "[2]"]);
    let item = Arc::new(Field::new_list_field(DataType::Int32, true));
    let values: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
    let (offsets, sizes) = (ScalarBuffer::from(vec![1, 0, 3]), ScalarBuffer::from(vec![2, 3, 0]));
    assert_eq!(column(ListViewArray::new(item, offsets, sizes, values, None)), ["[2,3]", "[1,2,3]", "[]"]);
    let pairs = vec![Some(vec![Some(1), None]), None, Some(vec![Some(3), Some(4)])];
    let fixed = FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(pairs, 2);
    assert_eq!(column(fixed), ["[1,null]", "null", "[3,4]"]);
    let nothing = FixedSizeListArray::new(
        Arc::new(Field::new_list_field(DataType::Null, true)),
        0,
        Arc::new(NullArray::new(0)),
        Some(NullBuffer::from(vec![true, false])),
    );
    assert_eq!(column(nothing), ["[]", "null"]);
}

#[test]
fn structs_keep_the_order_and_the_nulls_of_their_fields() {
    let fields =
        Fields::from(vec![Field::new("z", DataType::Int32, true), Field::new("a \"b\"", DataType::Utf8, true)]);
    let children: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![Some(1), Some(2), None])),
        Arc::new(StringArray::from(vec!["x", "y", "z"])),
    ];
    let array = StructArray::new(fields, children, Some(NullBuffer::from(vec![true, false, true])));
    assert_eq!(column(array), [r#"{"z":1,"a \"b\"":"x"}"#, "null", r#"{"z":null,"a \"b\"":"z"}"#]);
    assert_eq!(column(StructArray::new_empty_fields(2, Some(NullBuffer::from(vec![true, false])))), ["{}", "null"]);
}

#[test]
fn maps() {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    builder.keys().append_value("k\"");
    builder.values().append_value(1);
    builder.keys().append_value("l");
    builder.values().append_null();
    builder.append(true).expect("even");
    builder.append(false).expect("even");
    builder.append(true).expect("even");
    assert_eq!(column(builder.finish()), [r#"{"k\"":1,"l":null}"#, "null", "{}"]);
    let mut builder = MapBuilder::new(None, Int64Builder::new(), StringViewBuilder::new());
    builder.keys().append_value(1);
    builder.values().append_value("one");
    builder.keys().append_value(-2);
    builder.values().append_null();
    builder.append(true).expect("even");
    builder.append(true).expect("even");
    assert_eq!(column(builder.finish()), [r#"{"keys":[1,-2],"values":["one",null]}"#, r#"{"keys":[],"values":[]}"#]);
    let keys: ArrayRef = Arc::new(vec![Some("a"), Some("b")].into_iter().collect::<DictionaryArray<Int8Type>>());
    let entries = Fields::from(vec![
        Field::new("key", keys.data_type().clone(), false),
        Field::new("value", DataType::Int32, true),
    ]);
    let values: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let entries = StructArray::new(entries, vec![keys, values], None);
    let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    let map = MapArray::new(field, OffsetBuffer::new(vec![0, 2].into()), entries, None, false);
    assert_eq!(column(map), [r#"{"a":1,"b":2}"#]);
}

#[test]
fn dictionaries_and_runs() {
    let texts = vec![Some("a"), None, Some("b"), Some("a")];
    let expected = ["\"a\"", "null", "\"b\"", "\"a\""];
    assert_eq!(column(texts.clone().into_iter().collect::<DictionaryArray<UInt8Type>>()), expected);
    assert_eq!(column(texts.clone().into_iter().collect::<DictionaryArray<Int64Type>>()), expected);
    let null_value =
        DictionaryArray::<Int8Type>::new(Int8Array::from(vec![0, 1]), Arc::new(Int32Array::from(vec![None, Some(7)])));
    assert_eq!(column(null_value), ["null", "7"]);
    let runs: RunArray<Int16Type> = vec![Some("a"), Some("a"), None, Some("b")].into_iter().collect();
    assert_eq!(column(runs), ["\"a\"", "\"a\"", "null", "\"b\""]);
    let ends = Int64Array::from(vec![1, 3]);
    let dictionary: DictionaryArray<Int8Type> = vec!["x", "y"].into_iter().collect();
    assert_eq!(column(RunArray::try_new(&ends, &dictionary).expect("runs")), ["\"x\"", "\"y\"", "\"y\""]);
    let nulls: DictionaryArray<Int8Type> = vec![None::<&str>, None].into_iter().collect();
    assert_eq!(column(nulls), ["null", "null"]);
}

#[test]
fn dictionaries_are_replaced_and_extended_between_batches() {
    let batches: Vec<_> = [vec!["a", "b"], vec!["a", "b", "c"], vec!["x"]]
        .map(|texts| batch_of(vec![("c", Arc::new(texts.into_iter().collect::<DictionaryArray<Int8Type>>()))]))
        .into();
    let expected = ["a", "b", "a", "b", "c", "x"].map(|text| format!("{{\"c\":\"{text}\"}}"));
    for handling in [DictionaryHandling::Resend, DictionaryHandling::Delta] {
        let options = IpcWriteOptions::default().with_dictionary_handling(handling);
        let schema = batches[0].schema();
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options).expect("a writer");
        batches.iter().for_each(|batch| writer.write(batch).expect("into memory"));
        assert_eq!(lines(&writer.into_inner().expect("into memory")), expected, "{handling:?}");
    }
}

#[test]
fn several_batches_empty_ones_and_no_columns() {
    let of = |values: Vec<i32>| batch_of(vec![("c", Arc::new(Int32Array::from(values)))]);
    let batches = [of(vec![1]), of(vec![]), of(vec![2, 3])];
    assert_eq!(lines(&stream_of(&batches)), [r#"{"c":1}"#, r#"{"c":2}"#, r#"{"c":3}"#]);
    assert_eq!(lines(&stream_of(&[of(vec![])])), [""; 0]);
    let none = Arc::new(arrow_schema::Schema::empty());
    let options = RecordBatchOptions::new().with_row_count(Some(2));
    let batch = RecordBatch::try_new_with_options(none, vec![], &options).expect("a batch");
    assert_eq!(lines(&stream_of(&[batch])), ["{}", "{}"]);
    // A stream may end without its end marker.
    let whole = stream_of(&batches);
    assert_eq!(lines(&whole[..whole.len() - 8]).len(), 3);
}

#[test]
fn types_without_a_form_are_refused_by_name() {
    for (array, message) in [
        (Arc::new(DurationSecondArray::from(vec![1])) as ArrayRef, "column \"c\": durations are not supported"),
        (Arc::new(IntervalYearMonthArray::from(vec![1])), "column \"c\": intervals of months are not supported"),
    ] {
        let found = refusal(&stream_of(&[batch_of(vec![("c", array)])]));
        assert!(found.starts_with(message), "{found}");
    }
    let nested = StructArray::from(vec![(
        Arc::new(Field::new("d", DataType::Duration(arrow_schema::TimeUnit::Second), true)),
        Arc::new(DurationSecondArray::from(vec![1])) as ArrayRef,
    )]);
    assert!(trouble(nested).starts_with("column \"c.d\": durations"));
    let twice = batch_of(vec![("c", Arc::new(NullArray::new(1))), ("c", Arc::new(NullArray::new(1)))]);
    assert_eq!(refusal(&stream_of(&[twice])), "two columns have the name \"c\"");
}
