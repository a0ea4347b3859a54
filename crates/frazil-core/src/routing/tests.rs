//! Rules over events: what they give, what they refuse, and that no value leaves its place.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

fn rule(table: &str) -> Routing {
    Routing { table: table.to_owned(), allow: Vec::new(), fallback: None }
}

fn router(table: &str) -> Router {
    rule(table).compile("lake", false).expect("a valid rule")
}

fn found(table: &str, event: &Json) -> String {
    router(table).table_of(event.to_string().as_bytes()).expect("routable").to_string()
}

fn refused(router: &mut Router, event: &str) -> (String, String) {
    let NoTable { unroutable, .. } = router.table_of(event.as_bytes()).expect_err("unroutable");
    (unroutable.field, unroutable.message)
}

#[test]
fn values_fill_their_places() {
    for (template, event, table) in [
        ("lake.events.{type}", json!({"a": {}, "type": "click", "z": [1]}), "lake.events.click"),
        ("events.{type}", json!({"type": "click"}), "lake.events.click"),
        ("web.{site.country}", json!({"site": {"lang": "x", "country": "DE"}}), "lake.web.DE"),
        ("{tenant}.{a.b}_{a.c}", json!({"a": {"c": true, "b": -7}, "tenant": 12}), "lake.12._7_true"),
        ("web.{t}_{t}", json!({"t": "x"}), "lake.web.x_x"),
        ("web.{ t }", json!({"t": "a.b-c/d\u{e9}\n\"'"}), "lake.web.a_b_c_d____"),
        ("web.{t}", json!({"t": ".."}), "lake.web.__"),
        ("web.{t}", json!({"t": "\u{1f600}"}), "lake.web._"),
        ("web.{\u{e9}}", json!({"\u{e9}": "x"}), "lake.web.x"),
        ("other.a.b.{t}", json!({"t": "x"}), "other.a.b.x"),
    ] {
        assert_eq!(found(template, &event), table, "{template} {event}");
    }
    let escaped = router("web.{t}").table_of(br#" {"\u0074" : "\u0061\u0062"} "#).expect("routable");
    assert_eq!(escaped.to_string(), "lake.web.ab");
}

#[test]
fn what_gives_no_name_is_refused_precisely() {
    const KIND: &str = "the field must be a string, a whole number or a boolean";
    let mut router = router("web.{a}_{b.c}");
    for (event, field, message) in [
        (r#"{"b":{"c":1}}"#, "a", "the field is missing"),
        (r#"{"a":1,"b":7}"#, "b.c", "the field is missing"),
        (r#"{"a":null,"b":{"c":1}}"#, "a", "the field is null"),
        (r#"{"a":"","b":{"c":1}}"#, "a", "the field is empty"),
        (r#"{"a":1.5,"b":{"c":1}}"#, "a", KIND),
        (r#"{"a":1e3,"b":{"c":1}}"#, "a", KIND),
        (r#"{"a":1,"b":{"c":[]}}"#, "b.c", KIND),
        (r#"{"a":1,"b":{"c":{}}}"#, "b.c", KIND),
        (r#"{"a":1,"a":1,"b":{"c":1}}"#, "a", "the field occurs more than once"),
        (r#"{"a":1,"b":{"c":1},"b":{"c":1}}"#, "b.c", "the field occurs more than once"),
        ("[]", "", "the event is not a JSON object"),
        ("7", "", "the event is not a JSON object"),
        (r#"{"a":1"#, "", "the event is not valid JSON"),
        (r#"{"a":1,"b":{"c":1}} x"#, "", "the event is not valid JSON"),
        ("", "", "the event is not valid JSON"),
    ] {
        assert_eq!(refused(&mut router, event), (field.to_owned(), message.to_owned()), "{event}");
    }
    let not_text = router.table_of(b"{\"a\":\"\xff\"}").expect_err("unroutable");
    assert_eq!(not_text.unroutable.message, "the event is not valid UTF-8");
    let deep = format!("{{\"x\":{}", "[".repeat(10_000));
    assert_eq!(refused(&mut router, &deep).1, "the event is nested too deeply");
}

#[test]
fn long_values_are_refused_and_not_copied_about() {
    let mut router = router("web.{t}");
    for value in ["x".repeat(5_000_000), "\u{1}".repeat(10_000), "\u{e9}".repeat(513), "x".repeat(513)] {
        let event = json!({"t": value}).to_string();
        let NoTable { unroutable, got } = router.table_of(event.as_bytes()).expect_err("too long");
        assert_eq!(unroutable.message, "the value is too long for the name of a table");
        assert!(got.chars().count() <= GOT_MAX + 1, "{got}");
    }
    let number = format!("{{\"t\":{}}}", "9".repeat(10_000));
    assert_eq!(refused(&mut router, &number).1, "the value is too long for the name of a table");
    let longest = json!({"t": "x".repeat(504)}).to_string();
    assert!(refused(&mut router, &longest).1.starts_with("the name of the table would be longer"));
    let fits = json!({"t": "x".repeat(503)}).to_string();
    router.table_of(fits.as_bytes()).expect("512 bytes in all");
}

#[test]
fn only_allowed_names_come_out() {
    let allow = ["lake.web.click_*", "lake.web.view"].map(|pattern| Pattern(pattern.to_owned())).to_vec();
    let mut router = Routing { allow, ..rule("web.{t}") }.compile("lake", false).expect("valid");
    for good in ["click_", "click-eu", "view"] {
        router.table_of(json!({ "t": good }).to_string().as_bytes()).expect(good);
    }
    for bad in ["clicks", "View", "views", "pay"] {
        let refusal = router.table_of(json!({ "t": bad }).to_string().as_bytes()).expect_err(bad);
        assert_eq!(refusal.unroutable.message, "the table is not among those that the routing rule allows");
        assert_eq!((refusal.unroutable.field.as_str(), refusal.got), ("t", format!("web.{bad}")));
    }
}

#[test]
fn the_fallback_takes_what_has_no_table() {
    let fallback = Some("lake.web.Rest".parse().expect("valid"));
    let allow = vec![Pattern("lake.web.a".to_owned())];
    let rule = Routing { fallback, allow, ..rule("web.{t}") };
    for (fold, rest) in [(false, "lake.web.Rest"), (true, "lake.web.rest")] {
        let mut router = rule.compile("lake", fold).expect("valid");
        for event in ["{}", "nonsense", r#"{"t":"b"}"#, r#"{"t":null}"#, r#"{"t":"a__dead_letter"}"#] {
            assert_eq!(router.table_of(event.as_bytes()).expect("fallback").to_string(), rest, "{event}");
        }
        assert_eq!(router.table_of(br#"{"t":"a"}"#).expect("by rule").to_string(), "lake.web.a");
    }
}

#[test]
fn case_is_folded_but_for_the_catalog() {
    let rule = Routing { allow: vec![Pattern("Lake.Web.CLICK*".to_owned())], ..rule("Lake.Web.{t}") };
    let mut router = rule.compile("x", true).expect("valid");
    for value in ["Click", "CLICK", "click"] {
        let table = router.table_of(json!({ "t": value }).to_string().as_bytes()).expect("allowed");
        assert_eq!(table.to_string(), "Lake.web.click");
    }
}

#[test]
fn tables_that_frazil_keeps_for_itself_cannot_be_named() {
    for (template, event) in [
        ("web.{t}", json!({"t": "clicks__dead_letter"})),
        ("web.{t}", json!({"t": "clicks__Dead-Letter"})),
        ("{t}.x", json!({"t": "frazil_system"})),
        ("{t}.x", json!({"t": "Frazil.System"})),
    ] {
        let (_, message) = refused(&mut router(template), &event.to_string());
        assert_eq!(message, "the table would be one that Frazil keeps for itself", "{template} {event}");
    }
}

#[test]
fn rules_that_cannot_work_are_refused() {
    for (template, why) in [
        ("web.clicks", "has no field"),
        ("web.{t", "without its `}`"),
        ("web.t}", "without its `{`"),
        ("web.{a{b}}", "without its `}`"),
        ("web.{}", "a field without a name"),
        ("web.{a..b}", "a field without a name"),
        ("{t}", "must have the form"),
        ("web..{t}", "an empty part"),
        ("a/b.{t}", "control character"),
        ("{c}.web.clicks", "the catalog cannot come from a field"),
        ("x{c}y.web.{t}", "the catalog cannot come from a field"),
        ("web.{a}_{a.b}", "cannot be a value and an object"),
        ("web.{a.b}_{a}", "cannot be a value and an object"),
        ("web.{t}__dead_letter", "keeps for itself"),
        ("frazil_system.{t}", "keeps for itself"),
        (&format!("web.{}{{t}}", "x".repeat(600)), "512 are allowed"),
        (&format!("web.{{{}}}", "t".repeat(2000)), "longer than 1024 bytes"),
    ] {
        let error = rule(template).validate().expect_err(template).to_string();
        assert!(error.contains(why), "{template}: {error}");
    }
    let many = Routing { allow: vec![Pattern("*".to_owned()); ALLOW_MAX + 1], ..rule("web.{t}") };
    assert!(many.validate().is_err());
    for good in ["web.{t}", "lake.events.{event_type}", "web.{site.country}", "{a}.{b}", "l.{a}.{b}"] {
        rule(good).validate().expect(good);
    }
}

proptest! {
    /// 1. Whatever a client sends, the name has the template's catalog, its number of levels and its literal characters,
    ///    and reads back as itself; what stands in a field's place is ASCII letters, digits and `_`.
    #[test]
    fn no_value_leaves_its_place(tenant: String, kind in "\\PC*|[.\"'`/\\\\\\x00-\\x1f]{0,9}", number: i64) {
        let mut router = router("other.site_{tenant}.deep.{deep.kind}_{number}");
        let event = json!({"tenant": tenant, "deep": {"kind": kind}, "number": number}).to_string();
        match router.table_of(event.as_bytes()) {
            Ok(table) => {
                let text = table.to_string();
                prop_assert_eq!(&TableName::parse_full(&text), &Ok((*table).clone()));
                prop_assert_eq!((table.catalog(), table.namespace().len()), ("other", 2));
                prop_assert!(table.namespace()[0].starts_with("site_") && table.namespace()[1] == "deep", "{}", text);
                prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.'), "{}", text);
                prop_assert!(text.len() <= TABLE_NAME_MAX_BYTES);
            }
            Err(_) => prop_assert!(tenant.is_empty() || kind.is_empty() || tenant.len() + kind.len() > 400),
        }
    }

    /// 2. No bytes make a router panic. 3. A router decides alike every time.
    #[test]
    fn any_bytes(event: Vec<u8>, text in "[{}\\[\\]\",:a0 ]{0,30}") {
        let mut router = router("web.{a}");
        for bytes in [event.as_slice(), text.as_bytes()] {
            prop_assert_eq!(router.table_of(bytes), router.table_of(bytes));
        }
    }

    /// 4. A template is refused or gives names; it never panics.
    #[test]
    fn any_template(template in "[a-z.{}]{0,20}") {
        if let Ok(mut router) = rule(&template).compile("lake", false) {
            let _ = router.table_of(br#"{"a":"x"}"#);
        }
    }
}
