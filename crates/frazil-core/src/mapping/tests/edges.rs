//! Edge values, settings of the policy, unknown fields in every mode, and hostile input.

use serde_json::json;

use super::*;

fn one(ty: Type) -> Schema {
    Schema::new(vec![Field::optional(1, "v", ty)])
}

/// The verdict on a value: what the column got, or the code of the refusal.
fn value(ty: &Type, policy: &MappingPolicy, value: &str) -> Result<Value, &'static str> {
    let event = format!(r#"{{"v":{value}}}"#);
    row_with(&one(ty.clone()), policy, event.as_bytes())
        .map(|row| row["v"].clone())
        .map_err(|error| error.reason.code())
}

#[test]
fn numbers_in_strings() {
    let default = MappingPolicy::default();
    let policy = MappingPolicy { numbers_in_strings: true, ..default };
    for (ty, text, expected) in [
        (Type::Int, r#""1""#, Ok(json!(1))),
        (Type::Int, r#""-2147483648""#, Ok(json!(i32::MIN))),
        (Type::Int, r#""1.0""#, Ok(json!(1))),
        (Type::Int, r#""\u0031e3""#, Ok(json!(1000))),
        (Type::Int, r#""2147483648""#, Err("out_of_range")),
        (Type::Int, r#""1.5""#, Err("fraction")),
        (Type::Long, r#""9223372036854775807""#, Ok(json!(i64::MAX))),
        (Type::Long, r#""9223372036854775808""#, Err("out_of_range")),
        (Type::Double, r#""0.1""#, Ok(json!(0.1))),
        (Type::Double, r#""1e309""#, Err("out_of_range")),
        (Type::Float, r#""3.4e38""#, Ok(json!(3.4e38f32))),
        (Type::Float, r#""3.5e38""#, Err("out_of_range")),
    ] {
        assert_eq!(value(&ty, &policy, text), expected, "{ty} {text}");
        assert_eq!(value(&ty, &default, text), Err("wrong_type"), "{ty} {text}");
    }
    let no_numbers = [
        "", " ", "1 ", " 1", "+1", "01", "1.", ".5", "1e", "0x1", "1_000", "1,5", "--1", "1-", "NaN", "Infinity",
        "null", "true", "[1]", "\\n1", "1\\u0000", "1 2", "１",
    ];
    for ty in [Type::Int, Type::Long, Type::Float, Type::Double] {
        for text in no_numbers {
            assert_eq!(value(&ty, &policy, &format!("\"{text}\"")), Err("bad_format"), "{ty} {text:?}");
        }
        assert_eq!(value(&ty, &policy, r#""1\ud800""#), Err("malformed_json"));
        assert_eq!(value(&ty, &policy, "true"), Err("wrong_type"));
        // Numbers as numbers are as ever.
        assert_eq!(value(&ty, &policy, "7"), value(&ty, &default, "7"));
    }
    // Other columns have their own rules for strings.
    assert_eq!(value(&Type::Boolean, &policy, r#""1""#), Err("wrong_type"));
    assert_eq!(value(&Type::Date, &policy, r#""1""#), Err("bad_format"));
    assert_eq!(value(&Type::Timestamptz, &policy, r#""1714557600000""#), Err("bad_format"));
    assert_eq!(value(&Type::String, &policy, r#""1""#), Ok(json!("1")));
    let keys = Type::map(2, Type::Int, 3, Type::Int);
    assert_eq!(value(&keys, &policy, r#"{"keys":["1",2],"values":["3",4]}"#), Ok(json!([[1, 3], [2, 4]])));
    assert_eq!(value(&keys, &policy, r#"{"keys":["1",1],"values":[3,4]}"#), Err("duplicate_key"));
}

#[test]
fn non_finite_numbers() {
    let default = MappingPolicy::default();
    let policy = MappingPolicy { non_finite: NonFinite::Accept, ..default };
    for ty in [Type::Float, Type::Double] {
        for text in ["NaN", "Infinity", "-Infinity"] {
            let quoted = format!("\"{text}\"");
            assert_eq!(value(&ty, &policy, &quoted), Ok(json!({ "non_finite": text })));
            assert_eq!(value(&ty, &default, &quoted), Err("wrong_type"));
            // JSON has no such numbers, whatever the policy.
            assert_eq!(value(&ty, &policy, text), Err("malformed_json"));
        }
        for text in ["nan", "NAN", "inf", "+Infinity", "-NaN", " NaN", "infinity", "1"] {
            assert_eq!(value(&ty, &policy, &format!("\"{text}\"")), Err("wrong_type"), "{text}");
        }
        // A number that is too large is not an infinity.
        assert_eq!(value(&ty, &policy, "1e999"), Err("out_of_range"));
    }
    let both = MappingPolicy { numbers_in_strings: true, ..policy };
    assert_eq!(value(&Type::Double, &both, r#""NaN""#), Ok(json!({"non_finite": "NaN"})));
    assert_eq!(value(&Type::Double, &both, r#""1e999""#), Err("out_of_range"));
    assert_eq!(value(&Type::Long, &both, r#""NaN""#), Err("bad_format"));
    assert_eq!(value(&Type::Decimal { precision: 9, scale: 2 }, &both, r#""NaN""#), Err("bad_format"));
    let keys = Type::map(2, Type::Double, 3, Type::Int);
    assert_eq!(value(&keys, &policy, r#"{"keys":["NaN","NaN"],"values":[1,2]}"#), Err("duplicate_key"));
}

#[test]
fn zero_has_a_sign_only_as_a_float() {
    let mut found = Vec::new();
    for (ty, text) in [(Type::Double, "-0"), (Type::Double, "-0.0"), (Type::Double, "0"), (Type::Double, "-1e-400")] {
        let Value::Number(number) = value(&ty, &MappingPolicy::default(), text).expect(text) else {
            panic!("a number")
        };
        found.push(number.as_f64().expect("a double").is_sign_negative());
    }
    assert_eq!(found, [true, true, false, true]);
    let Ok(Value::Number(number)) = value(&Type::Float, &MappingPolicy::default(), "-0.0") else { panic!("a number") };
    assert!(number.as_f64().expect("a float").is_sign_negative());
    assert_eq!(value(&Type::Int, &MappingPolicy::default(), "-0"), Ok(json!(0)));
    assert_eq!(value(&Type::Long, &MappingPolicy::default(), "-0.0"), Ok(json!(0)));
    let decimal = Type::Decimal { precision: 9, scale: 2 };
    assert_eq!(value(&decimal, &MappingPolicy::default(), "-0.00"), Ok(json!({"decimal": "0"})));
}

#[test]
fn ends_of_the_ranges() {
    let nines = "9".repeat(38);
    let decimal = |precision, scale| Type::Decimal { precision, scale };
    for (ty, text, expected) in [
        (Type::Float, "3.4028235e38", Ok(json!(f32::MAX))),
        (Type::Float, "-3.4028235e38", Ok(json!(f32::MIN))),
        // Just below and at half a step beyond the largest float.
        (Type::Float, "3.40282356779733661637e38", Ok(json!(f32::MAX))),
        (Type::Float, "3.40282356779733661638e38", Err("out_of_range")),
        (Type::Float, "1e-45", Ok(json!(f32::from_bits(1)))),
        (Type::Double, "1.7976931348623157e308", Ok(json!(f64::MAX))),
        (Type::Double, "-1.7976931348623157e308", Ok(json!(f64::MIN))),
        (Type::Double, "1.7976931348623159e308", Err("out_of_range")),
        (decimal(38, 0), &nines, Ok(json!({"decimal": nines}))),
        (decimal(38, 38), "0.99999999999999999999999999999999999999", Ok(json!({"decimal": nines}))),
        (decimal(38, 38), "1", Err("decimal_digits")),
        (decimal(1, 0), "9", Ok(json!({"decimal": "9"}))),
        (decimal(1, 1), "-0.9", Ok(json!({"decimal": "-9"}))),
        (decimal(38, 10), "-9999999999999999999999999999.9999999999", Ok(json!({"decimal": format!("-{nines}")}))),
        (Type::Date, r#""1970-01-01""#, Ok(json!(0))),
        (Type::Date, r#""2000-02-29""#, Ok(json!(11_016))),
        (Type::Date, r#""2100-02-29""#, Err("bad_format")),
        (Type::Date, "-62135596800000", Ok(json!(-719_162))),
        (Type::Date, "-62135596800001", Err("out_of_range")),
        (Type::Date, "253402300799999", Ok(json!(2_932_896))),
        (Type::Date, "253402300800000", Err("out_of_range")),
        (Type::Time, r#""23:59:59.999999999""#, Ok(json!(86_399_999_999_i64))),
        (Type::Timestamptz, r#""1970-01-01T00:00:00Z""#, Ok(json!(0))),
        (Type::Timestamptz, r#""1970-01-01T00:00:00.000001Z""#, Ok(json!(1))),
        (Type::Timestamptz, r#""1969-12-31T23:59:59.999999Z""#, Ok(json!(-1))),
        (Type::Timestamptz, r#""2024-02-29T23:59:59.999999-23:59""#, Ok(json!(1_709_337_539_999_999_i64))),
        (Type::Timestamptz, "0", Ok(json!(0))),
        (Type::Timestamptz, "253402300799999", Ok(json!(253_402_300_799_999_000_i64))),
        (Type::Timestamp, r#""0001-01-01T00:00:00""#, Ok(json!(-62_135_596_800_000_000_i64))),
        (Type::Timestamp, r#""9999-12-31T23:59:59.999999""#, Ok(json!(253_402_300_799_999_999_i64))),
        (Type::TimestampNs, r#""1677-09-21T00:12:43.145224192""#, Ok(json!(i64::MIN))),
        (Type::TimestampNs, r#""1677-09-21T00:12:43.145224191""#, Err("out_of_range")),
        (Type::TimestamptzNs, r#""2262-04-11T23:47:16.854775807Z""#, Ok(json!(i64::MAX))),
        (Type::TimestamptzNs, r#""2262-04-11T23:47:16.854775808Z""#, Err("out_of_range")),
        (Type::TimestamptzNs, "-1", Ok(json!(-1_000_000))),
        (Type::Uuid, r#""ffffffff-ffff-ffff-ffff-ffffffffffff""#, Ok(json!({ "bytes": vec![255; 16] }))),
        (Type::String, "\"\u{10ffff}\u{0}\"", Err("malformed_json")),
        (Type::String, "\"\\u0000\u{10ffff}😀\"", Ok(json!("\u{0}\u{10ffff}😀"))),
    ] {
        assert_eq!(value(&ty, &MappingPolicy::default(), text), expected, "{ty} {text}");
    }
}

#[test]
fn null_and_empty_at_every_level() {
    let leaf = || Type::Struct(vec![Field::optional(9, "x", Type::Int)]);
    let schema = Schema::new(vec![
        Field::optional(1, "s", Type::Struct(vec![Field::optional(2, "t", leaf())])),
        Field::optional(3, "l", Type::list(4, Type::list(5, leaf()))),
        Field::optional(6, "m", Type::map(7, Type::String, 8, Type::map(10, Type::String, 11, leaf()))),
        Field::optional(12, "p", Type::map(13, Type::Long, 14, Type::list(15, Type::Int))),
    ]);
    let null = json!({"s": null, "l": null, "m": null, "p": null});
    let with = |name: &str, value: Value| {
        let mut row = null.clone();
        row[name] = value;
        row
    };
    for (event, expected) in [
        ("{}", null.clone()),
        (r#"{"s":null,"l":null,"m":null,"p":null}"#, null.clone()),
        (r#"{"s":{}}"#, with("s", json!({"t": null}))),
        (r#"{"s":{"t":null}}"#, with("s", json!({"t": null}))),
        (r#"{"s":{"t":{}}}"#, with("s", json!({"t": {"x": null}}))),
        (r#"{"s":{"t":{"x":null}}}"#, with("s", json!({"t": {"x": null}}))),
        (r#"{"l":[]}"#, with("l", json!([]))),
        (r#"{"l":[null,[],[null,{},{"x":null}]]}"#, with("l", json!([null, [], [null, {"x": null}, {"x": null}]]))),
        (r#"{"m":{}}"#, with("m", json!([]))),
        (
            r#"{"m":{"":null,"a":{},"b":{"":null,"c":{}}}}"#,
            with("m", json!([["", null], ["a", []], ["b", [["", null], ["c", {"x": null}]]]])),
        ),
        (r#"{"p":{"keys":[],"values":[]}}"#, with("p", json!([]))),
        (r#"{"p":{"keys":[1,2,3],"values":[null,[],[null]]}}"#, with("p", json!([[1, null], [2, []], [3, [null]]]))),
    ] {
        assert_eq!(row(&schema, event), Ok(expected), "{event}");
    }
}

#[test]
fn lone_surrogates_are_refused_wherever_they_stand() {
    let schema = Schema::new(vec![
        Field::optional(1, "v", Type::String),
        Field::optional(2, "m", Type::map(3, Type::String, 4, Type::String)),
    ])
    .with_system_columns();
    for event in [
        r#"{"v":"\ud83d"}"#,
        r#"{"v":"\ude00\ud83d"}"#,
        r#"{"v":{"\ud83d":1}}"#,
        r#"{"m":{"\ud83d":"x"}}"#,
        r#"{"m":{"k":"\udfff"}}"#,
        r#"{"\ud83d":1}"#,
        r#"{"unknown":"\ud83d"}"#,
        r#"{"unknown":[{"\udc00":1}]}"#,
        r#"{"v":"\ud83d\u0041"}"#,
    ] {
        for unknown in [Unknown::Capture, Unknown::Ignore, Unknown::Probe] {
            let plan = Plan::with(&schema, &MappingPolicy::default(), unknown).expect("a plan");
            let error = plan.row(event.as_bytes(), &META, &mut NoColumn).expect_err(event);
            assert_eq!(error.reason.code(), "malformed_json", "{event} {unknown:?}");
        }
    }
    let found = row(&schema, r#"{"v":"\ud83d\ude00","é😀":"\uD83D\uDE00"}"#).expect("pairs");
    assert_eq!((&found["v"], &found["__extra__"]), (&json!("😀"), &json!(r#"{"é😀":"\uD83D\uDE00"}"#)));
}

#[test]
fn unknown_fields_in_every_mode_at_every_depth() {
    let item = || Type::Struct(vec![Field::optional(9, "x", Type::Int)]);
    let schema = Schema::new(vec![
        Field::optional(1, "s", item()),
        Field::optional(2, "l", Type::list(3, Type::list(4, item()))),
        Field::optional(5, "m", Type::map(6, Type::String, 7, item())),
        Field::optional(8, "p", Type::map(10, Type::Int, 11, item())),
    ]);
    let places = [
        ("", r#"{"y":Y}"#, r#"{"y":Y}"#),
        ("s.", r#"{"s":{"x":1,"y":Y}}"#, r#"{"s":{"y":Y}}"#),
        ("l[1][0].", r#"{"l":[[],[{"y":Y}]]}"#, r#"{"l":{"1":{"0":{"y":Y}}}}"#),
        (r#"m["k"]."#, r#"{"m":{"k":{"y":Y}}}"#, r#"{"m":{"k":{"y":Y}}}"#),
        ("p[0].", r#"{"p":{"keys":[5],"values":[{"y":Y}]}}"#, r#"{"p":{"0":{"y":Y}}}"#),
    ];
    let with_extra = schema.clone().with_system_columns();
    let plan = |schema: &Schema, unknown, case_insensitive| {
        let policy = MappingPolicy { case_insensitive, ..MappingPolicy::default() };
        Plan::with(schema, &policy, unknown).expect("a plan")
    };
    let verdict = |plan: &Plan, event: &str| {
        let outcome = plan.row(event.as_bytes(), &META, &mut NoColumn);
        outcome.map_err(|error| format!("{} {}", error.field, error.reason.code()))
    };
    for (path, event, extra) in places {
        let at = |value: &str| event.replace('Y', value);
        let refused = Err(format!("{path}y unknown_field"));
        for unknown in [Unknown::Capture, Unknown::Probe, Unknown::Reject] {
            assert_eq!(verdict(&plan(&schema, unknown, false), &at("[1]")), refused, "{event} {unknown:?}");
            assert_eq!(verdict(&plan(&schema, unknown, false), &at("null")), refused, "{event} {unknown:?}");
        }
        assert_eq!(verdict(&plan(&with_extra, Unknown::Reject, false), &at("1")), refused);
        assert_eq!(verdict(&plan(&with_extra, Unknown::Probe, false), &at("1")), refused);
        for empty in ["null", "[]", "{ }"] {
            assert_eq!(verdict(&plan(&with_extra, Unknown::Probe, false), &at(empty)), Ok(()), "{event}");
        }
        for (schema, unknown) in
            [(&schema, Unknown::Ignore), (&with_extra, Unknown::Ignore), (&with_extra, Unknown::Capture)]
        {
            let (exact, folded) = (plan(schema, unknown, false), plan(schema, unknown, true));
            assert_eq!(verdict(&exact, &at("[1]")), Ok(()), "{event}");
            assert_eq!(verdict(&exact, &at("tru")), Err(format!("{path}y malformed_json")));
            assert_eq!(verdict(&exact, &at(r#"1,"y":2"#)), Err(format!("{path}y duplicate_field")));
            assert_eq!(verdict(&exact, &at(r#"1,"\u0079":2"#)), Err(format!("{path}y duplicate_field")));
            assert_eq!(verdict(&exact, &at(r#"1,"Y":2"#)), Ok(()));
            assert_eq!(verdict(&folded, &at(r#"1,"Y":2"#)), Err(format!("{path}Y duplicate_field")));
        }
        let mut recorder = Recorder::default();
        plan(&with_extra, Unknown::Capture, false).row(at("[1]").as_bytes(), &META, &mut recorder).expect("captured");
        assert_eq!(recorder.take_row(&with_extra)["__extra__"], extra.replace('Y', "[1]"));
        let mut recorder = Recorder::default();
        plan(&with_extra, Unknown::Ignore, false).row(at("[1]").as_bytes(), &META, &mut recorder).expect("dropped");
        assert_eq!(recorder.take_row(&with_extra)["__extra__"], Value::Null);
    }
    // Of many unknown fields too, and beyond the first few.
    let many: String = (0..40).map(|i| format!(r#""k{i}":{i},"#)).collect();
    let folded = plan(&schema, Unknown::Ignore, true);
    assert_eq!(verdict(&folded, &format!(r#"{{{many}"K39":1}}"#)), Err("K39 duplicate_field".to_owned()));
    // Keys of a map are data.
    assert_eq!(verdict(&folded, r#"{"m":{"k":null,"K":null}}"#), Ok(()));
    assert_eq!(verdict(&folded, r#"{"S":{"X":1},"s":null}"#), Err("s duplicate_field".to_owned()));
    assert_eq!(verdict(&folded, r#"{"S":{"X":1,"x":1}}"#), Err("s.x duplicate_field".to_owned()));
}

#[test]
fn hostile_events_take_bounded_time() {
    // Each of these would take minutes if anything were quadratic.
    let digits = "7".repeat(1 << 20);
    for number in [
        format!("-{digits}"),
        format!("0.{digits}"),
        format!("{digits}e-1"),
        format!("1e{digits}"),
        format!("1e-{digits}"),
    ] {
        for ty in [Type::Int, Type::Long, Type::Date, Type::Timestamptz, Type::TimestampNs, Type::Boolean] {
            assert!(value(&ty, &MappingPolicy::default(), &number).is_err(), "{ty}");
        }
        let decimal = Type::Decimal { precision: 38, scale: 38 };
        assert_eq!(value(&decimal, &MappingPolicy::default(), &number), Err("decimal_digits"));
        for ty in [Type::Float, Type::Double] {
            let found = value(&ty, &MappingPolicy::default(), &number);
            assert!(matches!(&found, Ok(Value::Number(_)) | Err("out_of_range")), "{ty} {found:?}");
        }
        assert_eq!(value(&Type::String, &MappingPolicy::default(), &number), Ok(json!(number)));
    }
    // What is only long is no problem.
    let zeros = "0".repeat(10_000);
    for ty in [Type::Int, Type::Long] {
        assert_eq!(value(&ty, &MappingPolicy::default(), &format!("12.{zeros}")), Ok(json!(12)));
        assert_eq!(value(&ty, &MappingPolicy::default(), &format!("12{zeros}e-10000")), Ok(json!(12)));
    }
    let exact = format!("1.5{zeros}");
    let decimal = Type::Decimal { precision: 3, scale: 2 };
    assert_eq!(value(&decimal, &MappingPolicy::default(), &exact), Ok(json!({"decimal": "150"})));
    assert_eq!(value(&Type::Double, &MappingPolicy::default(), &exact), Ok(json!(1.5)));

    let schema = one(Type::map(2, Type::String, 3, Type::Int)).with_system_columns();
    let keys: Vec<String> = (0..100_000).map(|i| format!(r#""k{i}":{i}"#)).collect();
    let object = format!("{{{}}}", keys.join(","));
    let found = row(&schema, &object).expect("all captured");
    assert_eq!(found["__extra__"], object);
    let map = row(&schema, &format!(r#"{{"v":{object}}}"#)).expect("a large map");
    assert_eq!(map["v"].as_array().map(Vec::len), Some(100_000));
    let twice = format!(r#"{{{},"k7":1}}"#, keys.join(","));
    assert_eq!(refusal(&schema, &twice), "k7 duplicate_field");
    let text = "é".repeat(2_500_000);
    assert_eq!(row(&one(Type::String), &format!(r#"{{"v":"{text}"}}"#)).expect("5 MB")["v"], text);
}

#[test]
fn nesting_ends_before_the_stack_does() {
    let mut ty = Type::Int;
    for _ in 0..MAX_DEPTH {
        ty = Type::list(2, ty);
    }
    let schema = one(ty);
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        for depth in [10_000, 1_000_000] {
            let event = format!(r#"{{"v":{}1{}}}"#, open.repeat(depth), close.repeat(depth));
            for schema in [&schema, &one(Type::String), &Schema::default().with_system_columns()] {
                let error = row(schema, &event).expect_err("too deep");
                assert!(["too_deep", "wrong_type"].contains(&error.reason.code()), "{error}");
            }
            let unclosed = format!(r#"{{"v":{}"#, open.repeat(depth));
            assert!(row(&one(Type::String), &unclosed).expect_err("too deep").reason.is_syntax());
        }
    }
}
