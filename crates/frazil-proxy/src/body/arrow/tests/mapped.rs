//! The forms against the mapping rules: a column of the table gets the value that lay in the Arrow column.

use frazil_core::mapping::{Column, MappingPolicy, NonFinite, Plan, RowMeta};
use frazil_core::schema::{Field as TableField, Schema, Type};

use super::*;

/// Keeps what it is given, in order.
#[derive(Debug, Default)]
struct Given(Vec<String>);

macro_rules! keep {
    ($($name:ident($($value:ident: $ty:ty),*)),* $(,)?) => {
        $(fn $name(&mut self, $($value: $ty),*) {
            self.0.push(format!(concat!(stringify!($name), $(" {", stringify!($value), ":?}"),*), $($value = $value),*));
        })*
    };
}

impl Column for Given {
    keep! {
        null(), boolean(value: bool), int(value: i32), long(value: i64), float(value: f32), double(value: f64),
        decimal(unscaled: i128), date(days: i32), time(micros: i64), timestamp(micros: i64), timestamp_ns(nanos: i64),
        string(value: &str), uuid(value: [u8; 16]), bytes(value: &[u8]), struct_end(), list_end(len: usize),
        map_end(len: usize),
    }

    fn child(&mut self, _: usize) -> &mut Self {
        self
    }
}

/// What a column of type `ty` gets from the rows of `array`.
fn given(array: impl Array + 'static, ty: Type) -> Vec<Vec<String>> {
    let schema = Schema::new(vec![TableField::optional(1, "c", ty)]);
    let policy = MappingPolicy { non_finite: NonFinite::Accept, ..MappingPolicy::default() };
    let plan = Plan::new(&schema, &policy).expect("a plan");
    let meta = RowMeta { id: "", ts_micros: 0, write_id: "" };
    let rows = lines(&stream_of(&[batch_of(vec![("c", Arc::new(array))])]));
    let row = |line: &String| {
        let mut given = Given::default();
        plan.row(line.as_bytes(), &meta, &mut given).unwrap_or_else(|error| panic!("{line}: {error:?}"));
        assert_eq!(given.0.pop().as_deref(), Some("struct_end"), "the row");
        given.0
    };
    rows.iter().map(row).collect()
}

fn flat(array: impl Array + 'static, ty: Type) -> Vec<String> {
    given(array, ty).into_iter().flatten().collect()
}

#[test]
fn numbers() {
    assert_eq!(flat(BooleanArray::from(vec![Some(true), None]), Type::Boolean), ["boolean true", "null"]);
    let ints = Int32Array::from(vec![i32::MIN, i32::MAX]);
    assert_eq!(flat(ints, Type::Int), ["int -2147483648", "int 2147483647"]);
    let longs = Int64Array::from(vec![i64::MIN, i64::MAX]);
    assert_eq!(flat(longs, Type::Long), ["long -9223372036854775808", "long 9223372036854775807"]);
    let doubles =
        Float64Array::from(vec![-0.0, f64::MIN_POSITIVE, f64::MAX, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
    let text = ["-0.0", "2.2250738585072014e-308", "1.7976931348623157e308", "NaN", "inf", "-inf"];
    assert_eq!(flat(doubles, Type::Double), text.map(|number| format!("double {number}")));
    let floats = Float32Array::from(vec![-0.0, 0.1, f32::MAX, f32::NAN]);
    assert_eq!(
        flat(floats, Type::Float),
        ["-0.0", "0.1", "3.4028235e38", "NaN"].map(|number| format!("float {number}"))
    );
    let most = 10i128.pow(38) - 1;
    let decimals = Decimal128Array::from(vec![most, -most, 0]).with_precision_and_scale(38, 10).expect("a decimal");
    let ty = Type::Decimal { precision: 38, scale: 10 };
    assert_eq!(flat(decimals, ty), [most, -most, 0].map(|number| format!("decimal {number}")));
}

#[test]
fn times() {
    assert_eq!(flat(Date32Array::from(vec![-719_162, 2_932_896]), Type::Date), ["date -719162", "date 2932896"]);
    let times = Time64MicrosecondArray::from(vec![0, 86_399_999_999]);
    assert_eq!(flat(times, Type::Time), ["time 0", "time 86399999999"]);
    let micros = || TimestampMicrosecondArray::from(vec![-62_135_596_800_000_000, -1, 253_402_300_799_999_999]);
    let expected = [-62_135_596_800_000_000, -1, 253_402_300_799_999_999i64].map(|n| format!("timestamp {n}"));
    assert_eq!(flat(micros(), Type::Timestamp), expected);
    assert_eq!(flat(micros().with_timezone("Asia/Tokyo"), Type::Timestamptz), expected);
    let nanos = || TimestampNanosecondArray::from(vec![i64::MIN, -1, i64::MAX]);
    let expected = [i64::MIN, -1, i64::MAX].map(|n| format!("timestamp_ns {n}"));
    assert_eq!(flat(nanos(), Type::TimestampNs), expected);
    assert_eq!(flat(nanos().with_timezone_utc(), Type::TimestamptzNs), expected);
}

#[test]
fn text_bytes_and_nesting() {
    assert_eq!(flat(StringArray::from(vec!["\u{0}😀\""]), Type::String), ["string \"\\0😀\\\"\""]);
    assert_eq!(flat(BinaryArray::from(vec![&b"\x00\xff"[..]]), Type::Binary), ["bytes [0, 255]"]);
    let fixed = FixedSizeBinaryArray::try_from_iter([[0xde, 0xad]].into_iter()).expect("two bytes");
    assert_eq!(flat(fixed.clone(), Type::Fixed(2)), ["bytes [222, 173]"]);
    assert_eq!(flat(fixed, Type::Binary), ["bytes [222, 173]"]);
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(ints());
    let expected =
        vec![vec!["int 1", "null", "list_end 2"], vec!["null"], vec!["list_end 0"], vec!["int 2", "list_end 1"]];
    assert_eq!(given(lists, Type::list(2, Type::Int)), expected);
    let mut maps = MapBuilder::new(None, Int64Builder::new(), StringBuilder::new());
    maps.keys().append_value(7);
    maps.values().append_value("v");
    maps.append(true).expect("even");
    let expected = ["long 7", "string \"v\"", "map_end 1"];
    assert_eq!(flat(maps.finish(), Type::map(2, Type::Long, 3, Type::String)), expected);
    let mut maps = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    maps.keys().append_value("k");
    maps.values().append_null();
    maps.append(true).expect("even");
    assert_eq!(flat(maps.finish(), Type::map(2, Type::String, 3, Type::Int)), ["string \"k\"", "null", "map_end 1"]);
}
