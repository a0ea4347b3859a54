//! Transforms against the definitions of the specification.

use arrow_array::types::Int32Type;
use arrow_array::{StringArray, TimestampNanosecondArray};
use chrono::{DateTime, Datelike};
use proptest::prelude::*;

use super::*;

fn of_micros(transform: Transform, micros: i64) -> i32 {
    let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![micros]));
    first(&apply(transform, &column).expect("applies"))
}

fn of_nanos(transform: Transform, nanos: i64) -> i32 {
    let column: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![nanos]));
    first(&apply(transform, &column).expect("applies"))
}

fn first(column: &ArrayRef) -> i32 {
    match column.data_type() {
        DataType::Date32 => column.as_primitive::<Date32Type>().value(0),
        _ => column.as_primitive::<Int32Type>().value(0),
    }
}

/// The spec layer (iceberg-rust 0.10.1) says -1 here: it cuts seconds off towards zero and then adds a positive
/// fraction, so the last second before a day boundary falls into the day after.
#[test]
fn day_of_the_last_second_before_a_boundary_before_1970() {
    assert_eq!(of_micros(Transform::Day, -86_400_500_000), -2);
    assert_eq!(of_nanos(Transform::Day, -86_400_500_000_000), -2);
}

#[test]
fn values_near_the_ends_of_the_range_keep_their_order() {
    assert_eq!(of_micros(Transform::Hour, i64::MAX), i32::MAX);
    assert_eq!(of_micros(Transform::Hour, i64::MIN), i32::MIN);
    assert_eq!(of_micros(Transform::Year, i64::MAX), 294_247 - 1970);
    assert_eq!(of_micros(Transform::Month, -1), -1);
}

#[test]
fn nulls_stay_null() {
    let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![None, Some(0)]));
    for transform in [Transform::Year, Transform::Month, Transform::Day, Transform::Hour, Transform::Bucket(4)] {
        assert!(apply(transform, &column).expect("applies").is_null(0), "{transform}");
    }
}

#[test]
fn truncate_at_the_lower_end_wraps_as_the_reference_implementation_does() {
    let ints: ArrayRef = Arc::new(Int32Array::from(vec![i32::MIN, -1, 0, 9, 10]));
    let cut = apply(Transform::Truncate(10), &ints).expect("applies");
    assert_eq!(cut.as_primitive::<Int32Type>().values().as_ref(), &[i32::MIN.wrapping_sub(2), -10, 0, 0, 10]);
    let longs: ArrayRef = Arc::new(Int64Array::from(vec![i64::MIN]));
    let cut = apply(Transform::Truncate(10), &longs).expect("applies");
    assert_eq!(cut.as_primitive::<Int64Type>().value(0), i64::MIN.wrapping_sub(2));
}

#[test]
fn truncate_of_text_counts_characters_and_of_binary_bytes() {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["grüße"]));
    assert_eq!(apply(Transform::Truncate(3), &text).expect("applies").as_string::<i32>().value(0), "grü");
    let binary: ArrayRef = Arc::new(LargeBinaryArray::from_vec(vec![b"abcdef", b"a"]));
    let cut = apply(Transform::Truncate(3), &binary).expect("applies");
    assert_eq!(cut.as_binary::<i64>().iter().flatten().collect::<Vec<_>>(), [b"abc".as_slice(), b"a"]);
}

/// Values of the specification's appendix on hashing.
#[test]
fn buckets_are_those_of_the_specification() {
    let hash = |column: ArrayRef| first(&apply(Transform::Bucket(1 << 30), &column).expect("applies"));
    let expected = |hash: i32| (hash & i32::MAX) % (1 << 30);
    assert_eq!(hash(Arc::new(Int32Array::from(vec![34]))), expected(2_017_239_379));
    assert_eq!(hash(Arc::new(StringArray::from(vec!["iceberg"]))), expected(1_210_000_089));
    assert_eq!(hash(Arc::new(LargeBinaryArray::from_vec(vec![&[0, 1, 2, 3]]))), expected(-188_683_207));
    let instant = 1_510_871_468_000_001;
    assert_eq!(hash(Arc::new(TimestampMicrosecondArray::from(vec![instant]))), expected(-1_207_196_810));
    assert_eq!(hash(Arc::new(TimestampNanosecondArray::from(vec![instant * 1000]))), expected(-1_207_196_810));
}

#[test]
fn widths_of_zero_are_refused() {
    let ints: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    for transform in [Transform::Bucket(0), Transform::Truncate(0), Transform::Hour, Transform::Unknown] {
        assert!(apply(transform, &ints).is_err(), "{transform}");
    }
}

proptest! {
    /// Calendar transforms agree with chrono, in both units and on both sides of 1970.
    #[test]
    fn calendar_transforms_agree_with_chrono(nanos in any::<i64>()) {
        let micros = nanos.div_euclid(1000);
        let expected = DateTime::from_timestamp_micros(micros).expect("inside chrono's range");
        let year = expected.year() - 1970;
        let month = year * 12 + expected.month0() as i32;
        let day = i32::try_from(micros.div_euclid(86_400_000_000)).expect("fits");
        let hour = i32::try_from(micros.div_euclid(3_600_000_000)).expect("fits");
        let transforms =
            [(Transform::Year, year), (Transform::Month, month), (Transform::Day, day), (Transform::Hour, hour)];
        for (transform, expected) in transforms {
            prop_assert_eq!(of_micros(transform, micros), expected);
            prop_assert_eq!(of_nanos(transform, nanos), expected);
        }
    }
}
