//! The three modes of the HTTP binding, rule by rule.

use axum::http::HeaderName;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn lines(events: &Events) -> Vec<String> {
    events.iter().map(|line| String::from_utf8(line.to_vec()).expect("UTF-8")).collect()
}

fn event(change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> String {
    let mut event = json!({"specversion": "1.0", "id": "1", "source": "/here", "type": "t"});
    change(event.as_object_mut().expect("an object"));
    event.to_string()
}

fn refused(outcome: Result<Events, Rejection>) -> (Option<usize>, String) {
    match outcome {
        Err(Rejection::InvalidCloudEvent { index, message }) => (index, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_structured_event_is_taken_as_it_came() {
    let body = "\u{feff} {\"specversion\":\"1.0\",\n \"id\":\"a\",\"source\":\"s\",\"type\":\"t\",\"time\":null,\
                \"data\":{\"n\":1.000,\"big\":123456789012345678901234567890.10},\"ext\":7,\"flag\":true}\n";
    let events = structured(body.as_bytes(), Tolerance::Strict).expect("valid");
    let expected = body.trim_start_matches('\u{feff}').trim().replace('\n', " ");
    assert_eq!(lines(&events), [expected]);
}

#[test]
fn the_rules_are_checked() {
    let set = |name: &'static str, value: Value| event(|members| drop(members.insert(name.to_owned(), value)));
    let unset = |name: &'static str| event(|members| drop(members.remove(name)));
    for (body, message) in [
        (unset("id"), "id: this attribute is required"),
        (unset("type"), "type: this attribute is required"),
        (set("source", Value::Null), "source: this attribute is required"),
        (set("source", json!("")), "source: must not be empty"),
        (set("id", json!(7)), "id: must be a string"),
        (set("specversion", json!("0.3")), "specversion: \"0.3\" is not supported; 1.0 is"),
        (set("subject", json!("")), "subject: must not be empty"),
        (set("datacontenttype", json!({})), "datacontenttype: must be a string"),
        (set("userId", json!(1)), "\"userId\": names of attributes consist of the letters a to z and of digits"),
        (set("", json!(1)), "\"\": names of attributes consist of the letters a to z and of digits"),
        (set("data_base64", json!("§")), "data_base64: not valid base64: Invalid symbol 194, offset 0."),
        (set("data_base64", json!([])), "data_base64: must be a string"),
        ("7".to_owned(), "it is not a JSON object"),
        (
            event(|members| members.extend([("data".to_owned(), json!(1)), ("data_base64".to_owned(), json!("AA=="))])),
            "data: must not be given together with data_base64",
        ),
    ] {
        assert_eq!(refused(structured(body.as_bytes(), Tolerance::Strict)), (None, message.to_owned()), "{body}");
        let batch = format!("[{}, {body}]", event(|_| ()));
        assert_eq!(refused(batched(batch.as_bytes(), Tolerance::Strict)), (Some(1), message.to_owned()), "{body}");
        // What is not a valid CloudEvent is an event all the same where its table decides.
        let kept = batched(batch.as_bytes(), Tolerance::KeepLines).expect("tolerant");
        assert_eq!(lines(&kept), [event(|_| ()), body.clone()]);
        assert_eq!(lines(&structured(body.as_bytes(), Tolerance::KeepLines).expect("tolerant")), [body]);
    }
    let (_, message) = refused(structured(set("time", json!("yesterday")).as_bytes(), Tolerance::Strict));
    assert!(message.starts_with("time: \"yesterday\" is no RFC 3339 date and time: "), "{message}");
    for (name, value) in [
        ("time", json!("2024-02-29T12:00:00.123456789+05:30")),
        ("data_base64", json!("AQ==")),
        ("data", Value::Null),
        ("comexampleext1", json!(1)),
    ] {
        assert!(structured(set(name, value).as_bytes(), Tolerance::Strict).is_ok(), "{name}");
    }
}

#[test]
fn each_mode_has_its_shape() {
    let one = event(|_| ());
    let (array, two) = (format!("[{one}]"), format!("{one}\n{one}"));
    for body in [&array, &two] {
        let (_, message) = refused(structured(body.as_bytes(), Tolerance::KeepLines));
        assert!(message.contains("application/cloudevents-batch+json"), "{message}");
    }
    let (_, message) = refused(batched(one.as_bytes(), Tolerance::KeepLines));
    assert!(message.contains("application/cloudevents+json"), "{message}");
    assert_eq!(batched(b" [ ] ", Tolerance::Strict).expect("an empty batch").len(), 0);
    for body in ["", "{", "[{]", "{\"id\":\"\u{0}\"}"] {
        assert!(matches!(structured(body.as_bytes(), Tolerance::KeepLines), Err(Rejection::InvalidJson { .. })));
    }
}

fn attributes(pairs: &[(&str, &str)]) -> Result<Attributes, Rejection> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: HeaderName = name.parse().expect("a header name");
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"));
    }
    Attributes::parse(&headers)
}

const HEAD: [(&str, &str); 5] =
    [("ce-type", "t"), ("ce-source", "/s"), ("ce-id", "1"), ("ce-specversion", "1.0"), ("host", "h")];

fn with(pairs: &[(&'static str, &'static str)]) -> Result<Attributes, Rejection> {
    attributes(&[&HEAD[..], pairs].concat())
}

fn made(pairs: &[(&'static str, &'static str)], body: &[u8]) -> String {
    let events = binary(&with(pairs).expect("valid"), body, 10_000).expect("valid");
    lines(&events).remove(0)
}

#[test]
fn a_binary_event_is_put_together() {
    let start = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t""#;
    for (content_type, body, members) in [
        (None, "", ""),
        (None, " {\"n\":\n1.10} ", r#","data":{"n": 1.10}"#),
        (Some("application/json"), "", r#","datacontenttype":"application/json""#),
        (Some("application/json"), "null", r#","datacontenttype":"application/json","data":null"#),
        (Some("application/x+json; v=1"), "[1e400]", r#","datacontenttype":"application/x+json; v=1","data":[1e400]"#),
        (Some("text/json"), "7", r#","datacontenttype":"text/json","data":7"#),
        (Some("text/plain"), "a\n\"ß\"", r#","datacontenttype":"text/plain","data":"a\n\"ß\"""#),
        (Some("image/png"), "\u{1}", r#","datacontenttype":"image/png","data_base64":"AQ==""#),
    ] {
        let head: Vec<_> = content_type.map(|text| ("content-type", text)).into_iter().collect();
        assert_eq!(made(&head, body.as_bytes()), format!("{start}{members}}}"));
    }
    let latin = made(&[("content-type", "text/plain; charset=iso-8859-1")], b"\xe9");
    assert!(latin.ends_with(r#""data_base64":"6Q=="}"#), "{latin}");
    let more = made(&[("ce-zeta", "7"), ("ce-alpha1", "true"), ("ce-time", "2024-01-01T00:00:00Z")], b"");
    assert_eq!(more, format!(r#"{start},"alpha1":"true","time":"2024-01-01T00:00:00Z","zeta":"7"}}"#));
}

#[test]
fn header_values_are_decoded_once() {
    for (value, decoded) in [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("%2525", "%25"),
        ("100% %4 %zz", "100% %4 %zz"),
        ("\"a \\\"b\\\" %41\"", "a \"b\" A"),
        ("already ß", "already ß"),
        ("\"", "\""),
        ("", ""),
    ] {
        let attributes = with(&[("ce-ext", value)]).expect("valid");
        assert_eq!(attributes.0.last(), Some(&("ext".to_owned(), decoded.to_owned())), "{value}");
    }
}

#[test]
fn headers_that_break_the_rules() {
    for (pairs, message) in [
        (vec![("ce-id", "1"), ("ce-specversion", "1.0")], "the header ce-source is required"),
        (vec![("ce-specversion", "1.0")], "the header ce-id is required"),
        ([&HEAD[..], &[("ce-id", "2")]].concat(), "the header ce-id is given more than once"),
        ([&HEAD[..], &[("ce-subject", "")]].concat(), "the header ce-subject: must not be empty"),
        ([&HEAD[..], &[("ce-ext", "%ff")]].concat(), "the header ce-ext is not UTF-8 after percent-decoding"),
        (
            [&HEAD[..], &[("ce-my-ext", "1")]].concat(),
            "the header ce-\"my-ext\": names of attributes consist of the letters a to z and of digits",
        ),
        (
            [&HEAD[..], &[("ce-datacontenttype", "a/b")]].concat(),
            "the header ce-datacontenttype is not allowed; the body is the data, of Content-Type",
        ),
    ] {
        assert_eq!(refused(attributes(&pairs).map(|_| Events::default())), (None, message.to_owned()));
    }
}

#[test]
fn data_is_what_it_is_said_to_be_and_within_the_limit() {
    let attributes = with(&[("content-type", "application/json")]).expect("valid");
    for (body, line, column) in [("{\n\"a\":}", 2, 5), ("{} {}", 1, 4), (" ", 1, 1)] {
        match binary(&attributes, body.as_bytes(), 1000) {
            Err(Rejection::InvalidJson { line: l, column: c, .. }) => assert_eq!((l, c), (line, column), "{body:?}"),
            other => panic!("{body:?} gave {other:?}"),
        }
    }
    let (_, message) = refused(binary(&attributes, b"\"a\xff\"", 1000));
    assert_eq!(message, "data: not valid UTF-8 at byte 2");
    let image = with(&[("content-type", "image/png")]).expect("valid");
    let size = binary(&image, &[0; 300], 1000).expect("fits").bytes();
    assert_eq!(binary(&image, &[0; 300], size).expect("at the limit").bytes(), size);
    assert!(matches!(binary(&image, &[0; 300], size - 1), Err(Rejection::BodyTooLarge { .. })));
}

proptest! {
    /// 1. Any attribute value that is percent-encoded comes back. 2. Any bytes as data come back.
    #[test]
    fn round_trip(value in "\\PC{1,20}", data: Vec<u8>) {
        let encoded: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let mut headers: Vec<_> = HEAD.to_vec();
        headers.extend([("ce-ext", encoded.as_str()), ("content-type", "application/octet-stream")]);
        let events = binary(&attributes(&headers).expect("valid"), &data, 10_000).expect("valid");
        let line = lines(&events).remove(0);
        let event: Value = serde_json::from_str(&line).expect("JSON");
        prop_assert_eq!(event["ext"].as_str(), Some(value.as_str()));
        let found = event["data_base64"].as_str().map(|text| STANDARD.decode(text).expect("base64"));
        prop_assert_eq!(found.unwrap_or_default(), data);
        prop_assert!(structured(line.as_bytes(), Tolerance::Strict).is_ok());
    }

    /// 3. No body makes it panic.
    #[test]
    fn any_body(body: Vec<u8>) {
        let _ = structured(&body, Tolerance::Strict);
        let _ = batched(&body, Tolerance::Strict);
        let _ = binary(&with(&[]).expect("valid"), &body, 100);
    }
}
