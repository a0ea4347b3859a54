//! Accepted and refused values, type by type and rule by rule.

use serde_json::json;

use super::*;

fn one(ty: Type) -> Schema {
    Schema::new(vec![Field::optional(1, "v", ty)])
}

#[track_caller]
fn accepts(ty: Type, cases: &[(&str, Value)]) {
    let schema = one(ty);
    for (value, expected) in cases {
        let found = row(&schema, &format!(r#"{{"v": {value} }}"#)).unwrap_or_else(|error| panic!("{value}: {error}"));
        assert_eq!(found["v"], *expected, "{value}");
    }
    assert_eq!(row(&schema, r#"{"v":null}"#).expect("null")["v"], Value::Null);
    assert_eq!(row(&schema, "{}").expect("absent")["v"], Value::Null);
}

#[track_caller]
fn refuses(ty: Type, cases: &[(&str, &str)]) {
    let schema = one(ty);
    for (value, code) in cases {
        assert_eq!(refusal(&schema, &format!(r#"{{"v":{value}}}"#)), format!("v {code}"), "{value}");
    }
    let schema = Schema::new(vec![Field { required: true, ..schema.fields[0].clone() }]);
    assert_eq!(refusal(&schema, r#"{"v":null}"#), "v required");
    assert_eq!(refusal(&schema, "{}"), "v required");
}

#[test]
fn booleans() {
    accepts(Type::Boolean, &[("true", json!(true)), ("false", json!(false))]);
    refuses(
        Type::Boolean,
        &[("1", "wrong_type"), (r#""true""#, "wrong_type"), ("[]", "wrong_type"), ("tru", "malformed_json")],
    );
}

#[test]
fn integers() {
    accepts(
        Type::Int,
        &[
            ("0", json!(0)),
            ("-0", json!(0)),
            ("1.0", json!(1)),
            ("1e3", json!(1000)),
            ("1.5E+1", json!(15)),
            ("1200e-2", json!(12)),
            ("0e999999999999999999999", json!(0)),
            ("2147483647", json!(i32::MAX)),
            ("-2147483648", json!(i32::MIN)),
        ],
    );
    let bad = [
        ("1.5", "fraction"),
        ("1e-1", "fraction"),
        ("1e-99999999999999999999", "fraction"),
        ("1e99999999999999999999", "out_of_range"),
        (r#""1""#, "wrong_type"),
        ("true", "wrong_type"),
        ("{}", "wrong_type"),
        ("01", "malformed_json"),
        ("1.", "malformed_json"),
        ("-", "malformed_json"),
        ("+1", "malformed_json"),
        ("NaN", "malformed_json"),
    ];
    refuses(Type::Int, &bad);
    refuses(Type::Int, &[("2147483648", "out_of_range"), ("-2147483649", "out_of_range")]);
    refuses(Type::Long, &bad);
    refuses(Type::Long, &[("9223372036854775808", "out_of_range"), ("-9223372036854775809", "out_of_range")]);
    accepts(
        Type::Long,
        &[
            ("9223372036854775807", json!(i64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("999999999999999999", json!(999_999_999_999_999_999_i64)),
            // A 64-bit float would make an even number of this.
            ("9007199254740993.0", json!(9_007_199_254_740_993_i64)),
            ("9223372036854775807e0", json!(i64::MAX)),
        ],
    );
    refuses(Type::Long, &[("1.0000000000000000000000001", "fraction")]);
}

#[test]
fn floats() {
    accepts(
        Type::Double,
        &[
            ("1", json!(1.0)),
            ("-0.0", json!(-0.0)),
            ("1e308", json!(1e308)),
            ("5e-324", json!(5e-324)),
            ("1e-400", json!(0.0)),
            // Correctly rounded, where quick parsers are off by one unit in the last place.
            ("2.2250738585072011e-308", json!(2.225_073_858_507_201e-308)),
            ("0.1000000000000000055511151231257827", json!(0.1)),
            ("9007199254740993", json!(9_007_199_254_740_992.0)),
        ],
    );
    refuses(Type::Double, &[("1e309", "out_of_range"), (r#""1""#, "wrong_type"), ("[1]", "wrong_type")]);
    accepts(Type::Float, &[("0.1", json!(0.1f32)), ("3.4e38", json!(3.4e38f32)), ("16777217", json!(16_777_216f32))]);
    refuses(Type::Float, &[("3.5e38", "out_of_range"), ("false", "wrong_type")]);
}

#[test]
fn decimals() {
    let decimal = |text: &str| json!({ "decimal": text });
    accepts(
        Type::Decimal { precision: 9, scale: 2 },
        &[
            ("1", decimal("100")),
            ("1.5", decimal("150")),
            ("-1.25000", decimal("-125")),
            (r#""1.25""#, decimal("125")),
            (r#""1\u002e25""#, decimal("125")),
            ("1e-2", decimal("1")),
            ("1e5", decimal("10000000")),
            ("9999999.99", decimal("999999999")),
            ("0.000", decimal("0")),
            // Neither is exact in binary.
            ("0.29", decimal("29")),
            ("1.15", decimal("115")),
        ],
    );
    refuses(
        Type::Decimal { precision: 9, scale: 2 },
        &[
            ("1.255", "decimal_digits"),
            ("10000000", "decimal_digits"),
            ("1e40", "decimal_digits"),
            (r#""abc""#, "bad_format"),
            (r#""1.25 ""#, "bad_format"),
            (r#""+1""#, "bad_format"),
            (r#""01""#, "bad_format"),
            (r#""""#, "bad_format"),
            ("true", "wrong_type"),
        ],
    );
    accepts(
        Type::Decimal { precision: 38, scale: 0 },
        &[
            ("99999999999999999999999999999999999999", decimal("99999999999999999999999999999999999999")),
            ("-99999999999999999999999999999999999999", decimal("-99999999999999999999999999999999999999")),
        ],
    );
    refuses(
        Type::Decimal { precision: 38, scale: 0 },
        &[("100000000000000000000000000000000000000", "decimal_digits"), ("1e39", "decimal_digits")],
    );
    accepts(Type::Decimal { precision: 38, scale: 38 }, &[("0.1", decimal("10000000000000000000000000000000000000"))]);
}

#[test]
fn dates_and_times() {
    accepts(
        Type::Date,
        &[
            (r#""1970-01-01""#, json!(0)),
            (r#""2024-02-29""#, json!(19_782)),
            (r#""1969-12-31""#, json!(-1)),
            (r#""0001-01-01""#, json!(-719_162)),
            (r#""9999-12-31""#, json!(2_932_896)),
            ("86399999", json!(0)),
            ("86400000", json!(1)),
            ("-1", json!(-1)),
        ],
    );
    refuses(
        Type::Date,
        &[
            (r#""2023-02-29""#, "bad_format"),
            (r#""1900-02-29""#, "bad_format"),
            (r#""2024-13-01""#, "bad_format"),
            (r#""2024-00-01""#, "bad_format"),
            (r#""2024-04-31""#, "bad_format"),
            (r#""2024-04-00""#, "bad_format"),
            (r#""0000-01-01""#, "bad_format"),
            (r#""24-01-01""#, "bad_format"),
            (r#""2024-01-01T00:00:00Z""#, "bad_format"),
            (r#""""#, "bad_format"),
            ("1.5", "fraction"),
            ("1e30", "out_of_range"),
            ("true", "wrong_type"),
        ],
    );
    accepts(
        Type::Time,
        &[
            (r#""00:00:00""#, json!(0)),
            (r#""23:59:59.999999""#, json!(86_399_999_999_i64)),
            (r#""01:02:03.5""#, json!(3_723_500_000_i64)),
            (r#""01:02:03.123456789""#, json!(3_723_123_456_i64)),
            ("1000", json!(1_000_000)),
        ],
    );
    refuses(
        Type::Time,
        &[
            (r#""24:00:00""#, "bad_format"),
            (r#""23:60:00""#, "bad_format"),
            (r#""23:59:60""#, "bad_format"),
            (r#""1:00:00""#, "bad_format"),
            (r#""10:00""#, "bad_format"),
            (r#""10:00:00.""#, "bad_format"),
            (r#""10:00:00.1234567890""#, "bad_format"),
            (r#""10:00:00Z""#, "bad_format"),
            ("-1", "out_of_range"),
            ("86400000", "out_of_range"),
        ],
    );
}

#[test]
fn timestamps() {
    let may: i64 = 1_714_557_600_000_000;
    accepts(
        Type::Timestamptz,
        &[
            (r#""2024-05-01T10:00:00Z""#, json!(may)),
            (r#""2024-05-01t10:00:00z""#, json!(may)),
            (r#""2024-05-01 12:00:00+02:00""#, json!(may)),
            (r#""2024-05-01T06:30:00-03:30""#, json!(may)),
            (r#""2024-05-01T10:00:00.123456789Z""#, json!(may + 123_456)),
            (r#""1969-12-31T23:59:59.9999999Z""#, json!(-1)),
            (r#""1969-12-31T23:59:59.999Z""#, json!(-1000)),
            ("1714557600000", json!(may)),
            ("1.7145576e12", json!(may)),
            ("-1", json!(-1000)),
        ],
    );
    let bad = [
        (r#""2024-05-01""#, "bad_format"),
        (r#""2024-05-01T10:00Z""#, "bad_format"),
        (r#""2024-05-01T10:00:60Z""#, "bad_format"),
        (r#""2024-05-01T10:00:00+02""#, "bad_format"),
        (r#""2024-05-01T10:00:00+0200""#, "bad_format"),
        (r#""2024-05-01T10:00:00+24:00""#, "bad_format"),
        (r#""2024-05-01T10:00:00Zx""#, "bad_format"),
        (r#""2024-05-01_10:00:00Z""#, "bad_format"),
        (r#""now""#, "bad_format"),
        (r#""2024-05-0é""#, "bad_format"),
        ("1.5", "fraction"),
        ("1714557600000000000", "out_of_range"),
        ("99999999999999999999999999999999999999999999", "out_of_range"),
        ("{}", "wrong_type"),
    ];
    for ty in [Type::Timestamp, Type::Timestamptz, Type::TimestampNs, Type::TimestamptzNs] {
        refuses(ty, &bad);
    }
    refuses(Type::Timestamptz, &[(r#""2024-05-01T10:00:00""#, "bad_format")]);
    accepts(
        Type::Timestamp,
        &[
            (r#""2024-05-01T10:00:00""#, json!(may)),
            (r#""2024-05-01 10:00:00.5""#, json!(may + 500_000)),
            (r#""2024-05-01T10:00:00Z""#, json!(may)),
            (r#""2024-05-01T10:00:00+00:00""#, json!(may)),
            ("1714557600000", json!(may)),
        ],
    );
    refuses(Type::Timestamp, &[(r#""2024-05-01T10:00:00+02:00""#, "bad_format")]);
    accepts(Type::TimestampNs, &[(r#""2024-05-01T10:00:00.123456789""#, json!(may * 1000 + 123_456_789))]);
    accepts(Type::TimestamptzNs, &[(r#""2024-05-01T12:00:00.1+02:00""#, json!(may * 1000 + 100_000_000))]);
    refuses(Type::TimestamptzNs, &[(r#""9999-01-01T00:00:00Z""#, "out_of_range")]);
}

#[test]
fn epoch_units() {
    let cases = [
        (EpochUnit::Seconds, "1714557600", 1_714_557_600_000_000_i64),
        (EpochUnit::Millis, "1714557600123", 1_714_557_600_123_000),
        (EpochUnit::Micros, "1714557600123456", 1_714_557_600_123_456),
        (EpochUnit::Nanos, "1714557600123456789", 1_714_557_600_123_456),
        (EpochUnit::Nanos, "-1", -1),
    ];
    for (epoch_unit, number, expected) in cases {
        let policy = MappingPolicy { epoch_unit, ..MappingPolicy::default() };
        let event = format!(r#"{{"v":{number}}}"#);
        let found = row_with(&one(Type::Timestamptz), &policy, event.as_bytes()).expect(number);
        assert_eq!(found["v"], json!(expected), "{epoch_unit:?}");
    }
}

#[test]
fn strings() {
    accepts(
        Type::String,
        &[
            (r#""""#, json!("")),
            (r#""plain""#, json!("plain")),
            (r#""\"\\\/\b\f\n\r\t\u0041\u00e9\ud83d\ude00 é😀""#, json!("\"\\/\u{8}\u{c}\n\r\tAé😀 é😀")),
            ("1.50", json!("1.50")),
            ("1e999", json!("1e999")),
            ("true", json!("true")),
            (r#"{"a": [1, "x"]}"#, json!(r#"{"a": [1, "x"]}"#)),
            ("[]", json!("[]")),
        ],
    );
    refuses(
        Type::String,
        &[
            (r#""\ud800""#, "malformed_json"),
            (r#""\ud800\u0041""#, "malformed_json"),
            (r#""\udc00""#, "malformed_json"),
            (r#""\x""#, "malformed_json"),
            (r#""\u00g0""#, "malformed_json"),
            ("\"a\tb\"", "malformed_json"),
            (r#"["\ud800"]"#, "malformed_json"),
            (r#"{"a":1,}"#, "malformed_json"),
            ("[1,]", "malformed_json"),
            ("'x'", "malformed_json"),
        ],
    );
}

#[test]
fn bytes() {
    let bytes = |bytes: &[u8]| json!({ "bytes": bytes });
    accepts(
        Type::Uuid,
        &[(
            r#""f79C3E09-677c-4bbd-a479-3f349cb785e7""#,
            bytes(&[0xf7, 0x9c, 0x3e, 0x09, 0x67, 0x7c, 0x4b, 0xbd, 0xa4, 0x79, 0x3f, 0x34, 0x9c, 0xb7, 0x85, 0xe7]),
        )],
    );
    refuses(
        Type::Uuid,
        &[
            (r#""f79c3e09677c4bbda4793f349cb785e7""#, "bad_format"),
            (r#""{f79c3e09-677c-4bbd-a479-3f349cb785e7}""#, "bad_format"),
            (r#""f79c3e09-677c-4bbd-a479-3f349cb785eg""#, "bad_format"),
            ("1", "wrong_type"),
        ],
    );
    accepts(
        Type::Binary,
        &[
            (r#""""#, bytes(b"")),
            (r#""aGk=""#, bytes(b"hi")),
            (r#""aGk""#, bytes(b"hi")),
            (r#""+\/8=""#, bytes(&[0xfb, 0xff])),
        ],
    );
    refuses(
        Type::Binary,
        &[(r#""-_8""#, "bad_format"), (r#""a""#, "bad_format"), (r#""aGk= ""#, "bad_format"), ("7", "wrong_type")],
    );
    accepts(Type::Fixed(3), &[(r#""\\x00fFa0""#, bytes(&[0, 0xff, 0xa0]))]);
    accepts(Type::Binary, &[(r#""\\x00fFa0""#, bytes(&[0, 0xff, 0xa0])), (r#""\\x""#, bytes(&[]))]);
    accepts(Type::Fixed(3), &[(r#""00fFa0""#, bytes(&[0, 0xff, 0xa0]))]);
    refuses(
        Type::Fixed(3),
        &[
            (r#""00ff""#, "wrong_length"),
            (r#""00ff0000""#, "wrong_length"),
            (r#""00ff0""#, "bad_format"),
            (r#""00ff0g""#, "bad_format"),
            ("[]", "wrong_type"),
        ],
    );
}

#[test]
fn lists_and_structs() {
    let item = Type::Struct(vec![Field::required(3, "x", Type::Int), Field::optional(4, "y", Type::String)]);
    accepts(
        Type::list(2, item.clone()),
        &[("[]", json!([])), (r#"[{"x":1},null,{"y":"b","x":2}]"#, json!([{"x":1,"y":null}, null, {"x":2,"y":"b"}]))],
    );
    refuses(Type::list(2, item.clone()), &[("{}", "wrong_type"), ("1", "wrong_type"), (r#""[]""#, "wrong_type")]);
    let schema = one(Type::list(2, item.clone()));
    assert_eq!(refusal(&schema, r#"{"v":[{"x":1},{"y":"b"}]}"#), "v[1].x required");
    assert_eq!(refusal(&schema, r#"{"v":[{"x":1},{"x":"b"}]}"#), "v[1].x wrong_type");
    assert_eq!(refusal(&schema, r#"{"v":[3]}"#), "v[0] wrong_type");
    assert_eq!(refusal(&schema, r#"{"v":[{"x":1,"x":1}]}"#), "v[0].x duplicate_field");
    assert_eq!(refusal(&schema, r#"{"v":[{"x":1,"z":1}]}"#), "v[0].z unknown_field");
    assert_eq!(refusal(&schema, r#"{"v":[{"x":1}"#), "v malformed_json");
    let strict = one(Type::List { element_id: 2, element_required: true, element: Box::new(Type::Int) });
    assert_eq!(refusal(&strict, r#"{"v":[1,null]}"#), "v[1] required");
    let nested = one(Type::list(2, Type::list(3, Type::Int)));
    assert_eq!(row(&nested, r#"{"v":[[1],[],[2,3]]}"#).expect("nested")["v"], json!([[1], [], [2, 3]]));
    assert_eq!(refusal(&nested, r#"{"v":[[1],[2,true]]}"#), "v[1][1] wrong_type");
}

#[test]
fn maps() {
    accepts(
        Type::map(2, Type::String, 3, Type::Long),
        &[("{}", json!([])), (r#"{"a":1,"b\n":null,"keys":3}"#, json!([["a", 1], ["b\n", null], ["keys", 3]]))],
    );
    refuses(Type::map(2, Type::String, 3, Type::Long), &[("[]", "wrong_type"), ("1", "wrong_type")]);
    let schema = one(Type::map(2, Type::String, 3, Type::Long));
    assert_eq!(refusal(&schema, r#"{"v":{"a":1,"a":2}}"#), r#"v["a"] duplicate_key"#);
    assert_eq!(refusal(&schema, r#"{"v":{"a":1,"\u0061":2}}"#), r#"v["a"] duplicate_key"#);
    assert_eq!(refusal(&schema, r#"{"v":{"a":"x"}}"#), r#"v["a"] wrong_type"#);
    let many: String = (0..40).map(|i| format!(r#""k{i}":{i},"#)).collect();
    assert_eq!(
        row(&schema, &format!(r#"{{"v":{{{many}"z":1}}}}"#)).expect("many keys")["v"].as_array().map(Vec::len),
        Some(41)
    );
    assert_eq!(refusal(&schema, &format!(r#"{{"v":{{{many}"k3":1}}}}"#)), r#"v["k3"] duplicate_key"#);

    accepts(
        Type::map(2, Type::Int, 3, Type::String),
        &[
            (r#"{"keys":[],"values":[]}"#, json!([])),
            (r#"{"keys":[1,2.0],"values":["a",null]}"#, json!([[1, "a"], [2, null]])),
            (r#"{"values":["a"],"keys":[1]}"#, json!([[1, "a"]])),
        ],
    );
    let schema = one(Type::map(2, Type::Int, 3, Type::String));
    for (value, verdict) in [
        (r#"{"keys":[1],"values":[]}"#, "v keys_and_values"),
        (r#"{"keys":[1]}"#, "v keys_and_values"),
        ("{}", "v keys_and_values"),
        (r#"{"keys":[1,1.0],"values":["a","b"]}"#, "v.keys[1] duplicate_key"),
        (r#"{"keys":[null],"values":["a"]}"#, "v.keys[0] required"),
        (r#"{"keys":["1"],"values":["a"]}"#, "v.keys[0] wrong_type"),
        (r#"{"keys":1,"values":["a"]}"#, "v.keys wrong_type"),
        (r#"{"keys":[],"keys":[],"values":[]}"#, "v.keys duplicate_field"),
        (r#"{"1":"a"}"#, "v.1 keys_and_values"),
        (r#"{"keys":[1],"values":["a"],"x":1}"#, "v.x keys_and_values"),
        ("[]", "v wrong_type"),
    ] {
        assert_eq!(refusal(&schema, &format!(r#"{{"v":{value}}}"#)), verdict, "{value}");
    }
    let schema = one(Type::map(2, Type::Double, 3, Type::Int));
    assert_eq!(refusal(&schema, r#"{"v":{"keys":[0.0,-0.0],"values":[1,2]}}"#), "v.keys[1] duplicate_key");
}

#[test]
fn system_columns_are_filled() {
    let schema = Schema::new(vec![Field::optional(1, "a", Type::Long)]).with_system_columns();
    assert_eq!(
        row(&schema, r#"{"a":1}"#).expect("valid"),
        json!({"a": 1, "__id__": "the-id", "__ts__": META.ts_micros, "__write_id__": "the-write", "__extra__": null})
    );
    // An event's own fields of these names are unknown.
    let found = row(&schema, r#"{"__id__":"mine","__extra__":{"x":1},"a":2}"#).expect("valid");
    assert_eq!(found["__id__"], "the-id");
    assert_eq!(found["__extra__"], r#"{"__id__":"mine","__extra__":{"x":1}}"#);

    // Of other types they are ordinary columns, and a required `__extra__` cannot be null, so it is one too.
    let schema = Schema::new(vec![
        Field::optional(1, "__id__", Type::Long),
        Field::required(2, "__ts__", Type::Timestamp),
        Field::required(3, "__extra__", Type::String),
    ]);
    assert_eq!(
        row(&schema, r#"{"__id__":7,"__extra__":"e"}"#).expect("valid"),
        json!({"__id__": 7, "__ts__": META.ts_micros, "__extra__": "e"})
    );
    assert_eq!(refusal(&schema, r#"{"__extra__":"e","b":1}"#), "b unknown_field");
    assert_eq!(refusal(&schema, r#"{"__extra__":"e","__ts__":1}"#), "__ts__ unknown_field");
}

#[test]
fn unknown_fields_are_kept_in_place() {
    let item = Type::Struct(vec![Field::optional(3, "x", Type::Int)]);
    let schema = Schema::new(vec![
        Field::optional(1, "items", Type::list(2, item.clone())),
        Field::optional(4, "user", Type::Struct(vec![Field::optional(5, "item", item.clone())])),
        Field::optional(6, "m", Type::map(7, Type::String, 8, item.clone())),
        Field::optional(9, "p", Type::map(10, Type::Int, 11, item)),
    ])
    .with_system_columns();
    let cases = [
        (r#"{"a":1}"#, r#"{"a":1}"#),
        (r#"{"a":null,"b":"\u0041{","c":[1, 2]}"#, r#"{"a":null,"b":"\u0041{","c":[1, 2]}"#),
        (
            r#"{"items":[{"x":1},{"y":2,"x":1,"z":3},null,{"y":{}}],"q":1}"#,
            r#"{"items":{"1":{"y":2,"z":3},"3":{"y":{}}},"q":1}"#,
        ),
        (r#"{"z":0,"user":{"item":{"n":1},"k":2},"y":0}"#, r#"{"z":0,"user":{"item":{"n":1},"k":2},"y":0}"#),
        (r#"{"user":{"item":{"x":1},"k":2}}"#, r#"{"user":{"k":2}}"#),
        (
            r#"{"m":{"k\"1":{"n":1}},"p":{"keys":[7],"values":[{"n":2}]}}"#,
            r#"{"m":{"k\"1":{"n":1}},"p":{"0":{"n":2}}}"#,
        ),
        (r#"{"":1,"\u0061\"b":2}"#, r#"{"":1,"\u0061\"b":2}"#),
    ];
    for (event, extra) in cases {
        assert_eq!(row(&schema, event).expect(event)["__extra__"], extra, "{event}");
    }
    assert_eq!(refusal(&schema, r#"{"a":1,"a":2}"#), "a duplicate_field");
    assert_eq!(refusal(&schema, r#"{"a":1,"\u0061":2}"#), "a duplicate_field");
    assert_eq!(refusal(&schema, r#"{"user":{"a":1,"a":2}}"#), "user.a duplicate_field");
    assert_eq!(refusal(&schema, r#"{"a":tru}"#), "a malformed_json");
}

#[test]
fn names_match_exactly_or_without_case() {
    let schema = Schema::new(vec![
        Field::optional(1, "userId", Type::Int),
        Field::optional(2, "ÄÖ", Type::Int),
        Field::optional(3, "plain", Type::Int),
    ]);
    assert_eq!(refusal(&schema, r#"{"userid":1}"#), "userid unknown_field");
    let folded = MappingPolicy { case_insensitive: true, ..MappingPolicy::default() };
    let found = row_with(&schema, &folded, r#"{"PLAIN":3,"USERID":1,"äö":2}"#.as_bytes()).expect("valid");
    assert_eq!(found, json!({"userId": 1, "ÄÖ": 2, "plain": 3}));
    let error = row_with(&schema, &folded, br#"{"userId":1,"userid":2}"#).expect_err("a duplicate");
    assert_eq!(error.reason, Reason::DuplicateField);

    let twins = Schema::new(vec![Field::optional(1, "a", Type::Int), Field::optional(2, "A", Type::Int)]);
    assert_eq!(row(&twins, r#"{"A":1,"a":2}"#).expect("exact"), json!({"a": 2, "A": 1}));
    let error = Plan::new(&twins, &folded).expect_err("ambiguous");
    assert_eq!(error.to_string(), "columns `a` and `A` cannot be told apart by name");
    let map = Schema::new(vec![Field::optional(1, "m", Type::map(2, Type::list(3, Type::Int), 4, Type::Int))]);
    assert!(matches!(Plan::new(&map, &folded), Err(PlanError::NestedMapKey { column }) if column == "m"));
}

#[test]
fn a_table_without_columns_has_no_place_for_a_row() {
    let none = Schema::new(Vec::new());
    for unknown in [Unknown::Capture, Unknown::Reject, Unknown::Ignore, Unknown::Probe] {
        let plan = Plan::with(&none, &MappingPolicy::default(), unknown).expect("a plan");
        for event in ["{}", r#"{"a":1}"#] {
            let refused = plan.row(event.as_bytes(), &META, &mut NoColumn).expect_err(event);
            assert_eq!((refused.reason, refused.field.as_str()), (Reason::NoColumns, ""), "{unknown:?}");
        }
    }
    // The proxy takes what the writer is to make columns for.
    let plan = Plan::with(&none, &MappingPolicy::default(), Unknown::Accept).expect("a plan");
    assert_eq!(plan.row(b"{}", &META, &mut NoColumn), Ok(()));
}

#[test]
fn fields_in_any_order_and_number() {
    for count in [1, 7, 64, 128, 129, 400] {
        let fields = (0..count).map(|i| Field::optional(i + 1, format!("field_{i}"), Type::Int)).collect();
        let schema = Schema::new(fields);
        let members = |order: &mut dyn Iterator<Item = i32>| {
            let members: Vec<String> = order.map(|i| format!(r#""field_{i}":{i}"#)).collect();
            format!("{{{}}}", members.join(","))
        };
        let forward = row(&schema, &members(&mut (0..count))).expect("forward");
        assert_eq!(forward, row(&schema, &members(&mut (0..count).rev())).expect("backward"));
        assert_eq!(forward[format!("field_{}", count - 1)], json!(count - 1));
        let sparse = row(&schema, &members(&mut (0..count).step_by(3))).expect("sparse");
        assert_eq!(sparse["field_0"], json!(0));
        let last = count - 1;
        let twice = format!(r#"{{"field_{last}":1,"field_{last}":1}}"#);
        assert_eq!(refusal(&schema, &twice), format!("field_{last} duplicate_field"));
    }
}

#[test]
fn the_event_itself() {
    let schema = one(Type::Int);
    for (event, verdict) in [
        ("", " malformed_json"),
        ("  ", " malformed_json"),
        ("[]", " not_an_object"),
        ("1", " not_an_object"),
        (r#""{}""#, " not_an_object"),
        ("[", " malformed_json"),
        ("{", " malformed_json"),
        ("{}x", " malformed_json"),
        ("{}{}", " malformed_json"),
        (r#"{"v":1,}"#, " malformed_json"),
        (r#"{"v" 1}"#, " malformed_json"),
        (r#"{"v":}"#, "v malformed_json"),
        (r#"{"v":"#, "v malformed_json"),
        (r#"{v:1}"#, " malformed_json"),
        (r#"{,"v":1}"#, " malformed_json"),
        (r#"{"v":1 "w":2}"#, " malformed_json"),
        ("\u{feff}{}", " malformed_json"),
    ] {
        assert_eq!(refusal(&schema, event), verdict, "{event}");
    }
    assert_eq!(row(&schema, " \t\r\n{ \"v\" : 1 } \r\n").expect("whitespace"), json!({"v": 1}));
    let error = row_with(&schema, &MappingPolicy::default(), b"{\"v\":\"\xff\"}").expect_err("bad UTF-8");
    assert_eq!(error.reason, Reason::InvalidUtf8 { offset: 6 });
}

#[test]
fn depth_is_limited() {
    let schema = one(Type::String).with_system_columns();
    for name in ["v", "w"] {
        let nested = |depth: usize| {
            let inner = depth - 1;
            format!(r#"{{"{name}":{}{}}}"#, "[".repeat(inner), "]".repeat(inner))
        };
        row(&schema, &nested(MAX_DEPTH)).expect("as deep as allowed");
        assert_eq!(refusal(&schema, &nested(MAX_DEPTH + 1)), format!("{name} too_deep"));
        assert_eq!(refusal(&schema, &nested(100_000)), format!("{name} too_deep"));
    }
}

#[test]
fn errors_are_short_and_readable() {
    let schema = one(Type::Int);
    let error = row(&schema, r#"{"v":"seven"}"#).expect_err("no number");
    assert_eq!(error.to_string(), r#"field `v`: expected a whole number (int), got `"seven"`"#);
    let error = row(&schema, &format!(r#"{{"v":"{}"}}"#, "é".repeat(1000))).expect_err("no number");
    assert_eq!(error.got.chars().count(), 64);
    assert!(error.got.ends_with("é…"));
    let error = row(&schema, &format!(r#"{{"{}":1}}"#, "é".repeat(100_000))).expect_err("unknown");
    assert_eq!(error.field.chars().count(), 512);
    let error = row(&schema, "[1]").expect_err("an array");
    assert_eq!(error.to_string(), "an event must be a JSON object, got `[1]`");
    let error = row(&schema, r#"{"v":1"#).expect_err("cut off");
    assert_eq!(error.to_string(), "malformed JSON at byte 6: unexpected end");
}

#[test]
fn width_is_counted() {
    let schema = Schema::new(vec![
        Field::optional(1, "a", Type::Long),
        Field::optional(2, "b", Type::Struct(vec![Field::optional(3, "c", Type::Fixed(5))])),
        Field::optional(4, "d", Type::String),
    ]);
    let plan = Plan::new(&schema, &MappingPolicy::default()).expect("a plan");
    assert_eq!(plan.fixed_width(), (65 + 1 + 41 + 33_usize).div_ceil(8));
    assert_eq!(plan.unknown_fields(), Unknown::Reject);
}

#[test]
fn plans_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Plan>();
}

#[test]
fn policy_is_read_from_its_json() {
    let policy: MappingPolicy = serde_json::from_str(r#"{"epoch_unit":"micros"}"#).expect("a policy");
    assert_eq!(policy, MappingPolicy { epoch_unit: EpochUnit::Micros, ..MappingPolicy::default() });
    assert!(serde_json::from_str::<MappingPolicy>(r#"{"epoch":"micros"}"#).is_err());
}
