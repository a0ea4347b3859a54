//! Transforms against the definitions of the specification.

use arrow_array::types::Int32Type;
use arrow_array::{
    BinaryArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, StringArray, Time64MicrosecondArray,
    TimestampNanosecondArray,
};
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

/// Every value of the specification's appendix on hashing (32-bit hash requirements), and what it says must agree.
#[test]
fn buckets_are_those_of_the_specification() {
    let day = 17_486;
    let time = 81_068_000_000;
    let instant = 1_510_871_468_000_000;
    let uuid = uuid::uuid!("f79c3e09-677c-4bbd-a479-3f349cb785e7");
    let fixed = FixedSizeBinaryArray::try_from_iter([[0_u8, 1, 2, 3]].iter()).expect("four bytes");
    let decimal = Decimal128Array::from(vec![1420]).with_precision_and_scale(9, 2).expect("fits");
    let wide = Decimal128Array::from(vec![1420]).with_precision_and_scale(38, 2).expect("fits");
    let vectors: [(ArrayRef, i32); 18] = [
        (Arc::new(Int32Array::from(vec![34])), 2_017_239_379),
        (Arc::new(Int64Array::from(vec![34])), 2_017_239_379),
        (Arc::new(decimal), -500_754_589),
        (Arc::new(wide), -500_754_589),
        (Arc::new(Date32Array::from(vec![day])), -653_330_422),
        (Arc::new(Time64MicrosecondArray::from(vec![time])), -662_762_989),
        (Arc::new(TimestampMicrosecondArray::from(vec![instant])), -2_047_944_441),
        (Arc::new(TimestampMicrosecondArray::from(vec![instant]).with_timezone("+00:00")), -2_047_944_441),
        (Arc::new(TimestampMicrosecondArray::from(vec![instant + 1])), -1_207_196_810),
        (Arc::new(TimestampNanosecondArray::from(vec![instant * 1000])), -2_047_944_441),
        (Arc::new(TimestampNanosecondArray::from(vec![instant * 1000 + 1000])), -1_207_196_810),
        (Arc::new(TimestampNanosecondArray::from(vec![instant * 1000 + 1999])), -1_207_196_810),
        (Arc::new(TimestampNanosecondArray::from(vec![instant * 1000]).with_timezone("+00:00")), -2_047_944_441),
        (Arc::new(StringArray::from(vec!["iceberg"])), 1_210_000_089),
        (Arc::new(FixedSizeBinaryArray::try_from_iter([uuid.as_bytes()].into_iter()).expect("uuid")), 1_488_055_340),
        (Arc::new(fixed), -188_683_207),
        (Arc::new(BinaryArray::from_vec(vec![&[0, 1, 2, 3]])), -188_683_207),
        (Arc::new(LargeBinaryArray::from_vec(vec![&[0, 1, 2, 3]])), -188_683_207),
    ];
    for (column, hash) in vectors {
        for width in [1, 16, 100, 1 << 30, i32::MAX] {
            let bucket = first(&apply(Transform::Bucket(width as u32), &column).expect("applies"));
            assert_eq!(bucket, (hash & i32::MAX) % width, "{} in {width}", column.data_type());
        }
    }
}

/// "Truncate" of the specification, with its examples: remainders are positive, decimals count in their last digit.
#[test]
fn truncate_of_decimals_rounds_down_in_units_of_the_last_digit() {
    let values = vec![Some(1065), Some(-1), Some(0), Some(-50), None];
    let column: ArrayRef = Arc::new(Decimal128Array::from(values).with_precision_and_scale(9, 2).expect("fits"));
    let cut = apply(Transform::Truncate(50), &column).expect("applies");
    assert_eq!(cut.data_type(), column.data_type());
    let cut: Vec<_> = cut.as_primitive::<Decimal128Type>().iter().collect();
    assert_eq!(cut, [Some(1050), Some(-50), Some(0), Some(-50), None]);
}

/// One byte holds decimals of two digits: -100 still fits, and anything below -128 would be stored as another value.
#[test]
fn truncate_refuses_decimals_that_outgrow_their_bytes() {
    let column: ArrayRef = Arc::new(Decimal128Array::from(vec![-99]).with_precision_and_scale(2, 0).expect("fits"));
    let cut = apply(Transform::Truncate(10), &column).expect("applies");
    assert_eq!(cut.as_primitive::<Decimal128Type>().value(0), -100);
    assert!(matches!(apply(Transform::Truncate(1000), &column), Err(StageError::Transform { .. })));
}

#[test]
fn truncate_keeps_characters_of_four_bytes_whole() {
    let text: ArrayRef = Arc::new(StringArray::from(vec![Some("🧊🧊ice"), Some("a🧊"), Some(""), None]));
    let cut = |width: u32| {
        let cut = apply(Transform::Truncate(width), &text).expect("applies");
        cut.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(cut(1), [some("🧊"), some("a"), some(""), None]);
    assert_eq!(cut(2), [some("🧊🧊"), some("a🧊"), some(""), None]);
    assert_eq!(cut(100), [some("🧊🧊ice"), some("a🧊"), some(""), None]);
}

#[test]
fn dates_before_1970() {
    let dates: ArrayRef = Arc::new(Date32Array::from(vec![-1, 0, -365, -366, 59, i32::MIN, i32::MAX]));
    let of = |transform: Transform| {
        let values = apply(transform, &dates).expect("applies");
        values.as_primitive::<Int32Type>().values().to_vec()
    };
    assert_eq!(of(Transform::Year)[..5], [-1, 0, -1, -2, 0]);
    assert_eq!(of(Transform::Month)[..5], [-1, 0, -12, -13, 2]);
    let days = apply(Transform::Day, &dates).expect("applies");
    assert_eq!(&days, &dates);
    assert!(apply(Transform::Hour, &dates).is_err());
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
