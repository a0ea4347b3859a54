//! Bodies: tables of what is accepted and refused, properties of splitting, bombs.

use std::io::Write;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn split(body: &str, format: Format) -> Vec<String> {
    let events =
        Events::split(body.as_bytes(), format, Tolerance::Strict).unwrap_or_else(|error| panic!("{body:?}: {error}"));
    events.iter().map(|line| String::from_utf8(line.to_vec()).expect("UTF-8")).collect()
}

fn refused(body: &[u8], format: Format) -> (usize, usize, String) {
    match Events::split(body, format, Tolerance::Strict) {
        Err(Rejection::InvalidJson { line, column, message }) => (line, column, message),
        other => panic!("{body:?} gave {other:?}"),
    }
}

#[test]
fn shapes_that_are_accepted() {
    use Format::{Json, Ndjson};
    for (body, format, events) in [
        (r#"{"a":1}"#, Json, vec![r#"{"a":1}"#]),
        (" {\"a\":\n 1}\r\n ", Json, vec![r#"{"a":  1}"#]),
        ("\u{feff}{}", Json, vec!["{}"]),
        ("[]", Json, vec![]),
        (" [ ] ", Json, vec![]),
        ("[{\"a\":1},\n\t{\"b\":[1,\r\n2]}]", Json, vec![r#"{"a":1}"#, r#"{"b":[1,  2]}"#]),
        ("{\"a\":1}\n{\"a\":2}\n", Json, vec![r#"{"a":1}"#, r#"{"a":2}"#]),
        ("{\n\"a\":1}\n\n{\"a\":2}", Json, vec![r#"{ "a":1}"#, r#"{"a":2}"#]),
        (r#"[1,"x",null,[{}]]"#, Json, vec!["1", r#""x""#, "null", "[{}]"]),
        ("7", Json, vec!["7"]),
        ("", Ndjson, vec![]),
        ("\n \r\n", Ndjson, vec![]),
        ("{\"a\":1}\r\n\n  {\"a\":\"\\n\"}  \n", Ndjson, vec![r#"{"a":1}"#, r#"{"a":"\n"}"#]),
        ("[1]\n2", Ndjson, vec!["[1]", "2"]),
    ] {
        assert_eq!(split(body, format), events, "{body:?}");
    }
}

#[test]
fn refusals_tell_the_position() {
    use Format::{Json, Ndjson};
    for (body, format, line, column) in [
        ("", Json, 1, 0),
        ("  \n", Json, 1, 0),
        ("{\"a\":}", Json, 1, 6),
        ("{\n\"a\" 1}", Json, 2, 5),
        ("[{\"a\":1},\n{\"b\":tru}]", Json, 2, 9),
        ("[{}", Json, 1, 3),
        ("[{}]]", Json, 1, 5),
        ("{} {}", Json, 1, 3),
        ("{}x", Json, 1, 3),
        ("{\"a\":\"x\ny\"}", Json, 1, 7),
        ("{}\n\n{\"a\":}\n", Ndjson, 3, 6),
        ("{}{}\n", Ndjson, 1, 3),
        ("{\n}", Ndjson, 1, 1),
    ] {
        let (found_line, found_column, message) = refused(body.as_bytes(), format);
        assert_eq!((found_line, found_column), (line, column), "{body:?}: {message}");
        assert!(!message.contains(" at line "), "{message}");
    }
    assert_eq!(refused(b"{}\n{\"\xff\":1}", Json).0, 2);
    assert_eq!(refused(b"{}\n{\"\xff\":1}", Json).1, 3);
}

#[test]
fn the_number_of_events_is_bounded() {
    use frazil_core::limits::EVENTS_PER_REQUEST_MAX as MAX;
    let array = |count: usize| format!("[{}]", vec!["0"; count].join(","));
    assert_eq!(Events::split(array(MAX).as_bytes(), Format::Json, Tolerance::Strict).expect("at the limit").len(), MAX);
    for (body, format) in [(array(MAX + 1), Format::Json), ("1\n".repeat(MAX + 1), Format::Ndjson)] {
        assert!(matches!(
            Events::split(body.as_bytes(), format, Tolerance::Strict),
            Err(Rejection::TooManyEvents { .. })
        ));
    }
}

#[test]
fn a_part_ends_between_events() {
    let events = Events::split(b"[{},{\"a\":1},{},{}]", Format::Json, Tolerance::Strict).expect("valid");
    let parts = |limit| {
        let parts = events.parts(0..events.len(), limit).expect("fits");
        parts.iter().map(|p| (p.first, p.count, p.ndjson.len())).collect::<Vec<_>>()
    };
    assert_eq!(parts(100), [(0, 4, 17)]);
    assert_eq!(parts(17), [(0, 4, 17)]);
    assert_eq!(parts(16), [(0, 3, 14), (3, 1, 3)]);
    assert_eq!(parts(8), [(0, 1, 3), (1, 1, 8), (2, 2, 6)]);
    assert!(matches!(events.parts(0..4, 7), Err(Rejection::EventTooLarge { index: 1, bytes: 7, limit: 6 })));
    assert_eq!(Events::default().parts(0..0, 1).expect("none"), []);
}

#[test]
fn tolerant_splitting_keeps_lines_as_they_are() {
    let body = b"\xef\xbb\xbf {\"a\" : 1} \r\nnot\rJSON\r\n\n \t\r\n{\"a\":\xff}\n{}{}\n[1]\n{\"a\":";
    let events = Events::split(body, Format::Ndjson, Tolerance::KeepLines).expect("lines");
    let lines: Vec<&[u8]> = events.iter().collect();
    let expected: [&[u8]; 6] = [b"{\"a\" : 1}", b"not\rJSON", b"{\"a\":\xff}", b"{}{}", b"[1]", b"{\"a\":"];
    assert_eq!(lines, expected);
    for json in ["[{},", "{} {}", "{\"a\":}"] {
        let refused = Events::split(json.as_bytes(), Format::Json, Tolerance::KeepLines);
        assert!(matches!(refused, Err(Rejection::InvalidJson { .. })), "only lines can be told apart: {json}");
    }
    let many = "x\n".repeat(frazil_core::limits::EVENTS_PER_REQUEST_MAX + 1);
    let refused = Events::split(many.as_bytes(), Format::Ndjson, Tolerance::KeepLines);
    assert!(matches!(refused, Err(Rejection::TooManyEvents { .. })));
}

#[test]
fn events_can_be_put_in_another_order() {
    let events = Events::split(b"[0,11,222]", Format::Json, Tolerance::Strict).expect("valid");
    let reordered = events.reordered(&[2, 0, 1]);
    assert_eq!(reordered.iter().collect::<Vec<_>>(), [b"222".as_slice(), b"0", b"11"]);
    assert_eq!(reordered.range(1..2).collect::<Vec<_>>(), [b"0".as_slice()]);
    let parts = reordered.parts(1..3, 3).expect("fit");
    assert_eq!(parts.iter().map(|part| (part.first, part.count)).collect::<Vec<_>>(), [(1, 1), (2, 1)]);
}

fn head(pairs: &[(&'static str, &'static str)]) -> Result<BodyHead, Rejection> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, value.parse().expect("a header value"));
    }
    BodyHead::parse(&headers)
}

#[test]
fn headers() {
    let plain = BodyHead { media: Media::Text(Format::Json), encoding: Encoding::Identity, length: None };
    assert_eq!(head(&[]).expect("json"), plain);
    assert_eq!(head(&[("content-type", "Application/JSON; charset=utf-8")]).expect("json"), plain);
    assert_eq!(head(&[("content-type", "application/jsonl")]).expect("lines").media, Media::Text(Format::Ndjson));
    assert_eq!(head(&[("content-encoding", "GZIP")]).expect("gzip").encoding, Encoding::Gzip);
    assert!(matches!(head(&[("content-type", "text/csv")]), Err(Rejection::UnsupportedType(_))));
    assert!(matches!(head(&[("content-encoding", "br")]), Err(Rejection::UnsupportedEncoding(_))));
    assert!(matches!(head(&[("content-encoding", "gzip, gzip")]), Err(Rejection::UnsupportedEncoding(_))));
    let twice = [("content-encoding", "gzip"), ("content-encoding", "gzip")];
    assert!(matches!(head(&twice), Err(Rejection::UnsupportedEncoding(_))));
}

#[test]
fn reservations_trust_only_what_cannot_grow() {
    let reserve = |pairs: &[(&'static str, &'static str)]| head(pairs).expect("valid").reservation(1000);
    assert_eq!(reserve(&[("content-length", "10")]), 10);
    assert_eq!(reserve(&[("content-length", "10000")]), 1000);
    assert_eq!(reserve(&[]), 1000);
    assert_eq!(reserve(&[("content-length", "10"), ("content-encoding", "zstd")]), 1000);
}

#[test]
fn cloud_events_and_arrow_are_told_by_the_headers() {
    let attributes = [("ce-id", "1"), ("ce-type", "t"), ("ce-source", "s"), ("ce-specversion", "1.0")];
    let with = |content_type: &'static str| head(&[&attributes[..], &[("content-type", content_type)]].concat());
    for (content_type, media) in [
        ("application/cloudevents+json", Media::CloudEvent),
        ("Application/CloudEvents+JSON; charset=UTF-8", Media::CloudEvent),
        ("application/cloudevents-batch+json", Media::CloudEventBatch),
        ("application/vnd.apache.arrow.stream", Media::Arrow),
    ] {
        assert_eq!(head(&[("content-type", content_type)]).expect("valid").media, media);
    }
    // The content type of a whole event wins over the mark of binary mode.
    assert_eq!(with("application/cloudevents+json").expect("structured").media, Media::CloudEvent);
    for content_type in ["application/json", "text/csv", "application/vnd.apache.arrow.stream"] {
        assert!(matches!(with(content_type).expect("binary").media, Media::CloudEventData(_)), "{content_type}");
    }
    assert!(matches!(head(&attributes).expect("binary").media, Media::CloudEventData(_)));
    for other in ["application/cloudevents", "application/cloudevents+avro", "application/cloudevents-batch+protobuf"] {
        assert!(matches!(with(other), Err(Rejection::UnsupportedType(_))), "{other}");
    }
    assert!(matches!(head(&[("ce-specversion", "1.0")]), Err(Rejection::InvalidCloudEvent { .. })));
    // What may grow reserves the limit.
    let sized = |content_type| head(&[("content-length", "10"), ("content-type", content_type)]).expect("valid");
    assert_eq!(sized("application/cloudevents+json").reservation(1000), 10);
    assert_eq!(sized("application/vnd.apache.arrow.stream").reservation(1000), 1000);
}

#[test]
fn every_format_may_be_compressed() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let event = r#"{"specversion":"1.0","id":"1","source":"s","type":"t","data":{"n":1.0}}"#;
    encoder.write_all(event.as_bytes()).expect("into memory");
    let body = Bytes::from(encoder.finish().expect("into memory"));
    let decoded = |content_type, limit| {
        let head = head(&[("content-encoding", "gzip"), ("content-type", content_type)]).expect("valid");
        decode(&body, head, limit, Tolerance::Strict)
    };
    for content_type in ["application/json", "application/x-ndjson", "application/cloudevents+json"] {
        let events = decoded(content_type, event.len()).expect("at the limit");
        assert_eq!(events.iter().collect::<Vec<_>>(), [event.as_bytes()]);
        assert!(matches!(decoded(content_type, event.len() - 1), Err(Rejection::BodyTooLarge { .. })));
    }
    let refused = decoded("application/vnd.apache.arrow.stream", 1000);
    assert!(matches!(refused, Err(Rejection::InvalidArrow(_))), "{refused:?}");
    let plain = decode(&Bytes::from_static(b"[{}]  "), head(&[]).expect("json"), 5, Tolerance::Strict);
    assert!(matches!(plain, Err(Rejection::BodyTooLarge { limit: 5 })));
}

#[tokio::test(start_paused = true)]
async fn slow_and_long_bodies_are_cut_off() {
    let limit = Duration::from_secs(1);
    assert_eq!(read(&mut Body::from("abc"), 3, limit).await.expect("fits"), "abc");
    assert!(matches!(read(&mut Body::from("abcd"), 3, limit).await, Err(Rejection::BodyTooLarge { limit: 3 })));
    let chunks = ["ab", "cd", "e"].map(|chunk| Ok::<_, std::io::Error>(Bytes::from(chunk)));
    let mut stream = Body::from_stream(futures::stream::iter(chunks));
    assert_eq!(read(&mut stream, 5, limit).await.expect("fits"), "abcde");
    let mut never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    assert!(matches!(read(&mut never, 3, limit).await, Err(Rejection::BodyTimeout(_))));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[\\n\\r\\t\"\\\\ {}\\[\\],:]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(".{0,4}", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn values(events: &Events) -> Vec<Value> {
    events.iter().map(|line| serde_json::from_slice(line).expect("a line is JSON")).collect()
}

proptest! {
    /// 1. Splitting an array, compact or pretty, gives its elements. 2. Every event is one line.
    #[test]
    fn arrays(elements in prop::collection::vec(any_json(), 0..8), pretty: bool) {
        let array = Value::from(elements.clone());
        let body = if pretty { serde_json::to_vec_pretty(&array) } else { serde_json::to_vec(&array) }.expect("plain");
        let events = Events::split(&body, Format::Json, Tolerance::Strict).expect("valid");
        prop_assert_eq!(values(&events), elements);
        prop_assert!(events.iter().all(|line| !line.contains(&b'\n')));
    }

    /// 3. Splitting NDJSON gives its lines, under both content types.
    #[test]
    fn lines(elements in prop::collection::vec(any_json(), 1..8), crlf: bool) {
        let end = if crlf { "\r\n" } else { "\n" };
        let body: String = elements.iter().map(|element| format!("{element}{end}")).collect();
        let lines = Events::split(body.as_bytes(), Format::Ndjson, Tolerance::Strict).expect("valid");
        prop_assert_eq!(values(&lines), elements.clone());
        if !elements[0].is_array() {
            let json = Events::split(body.as_bytes(), Format::Json, Tolerance::Strict).expect("valid");
            prop_assert_eq!(values(&json), elements);
        }
    }

    /// 4. Parts are the request, whole and in order, each within the limit.
    #[test]
    fn parts(sizes in prop::collection::vec(1usize..40, 0..30), limit in 45usize..200) {
        let body: String = sizes.iter().map(|size| format!("\"{}\"\n", "x".repeat(*size))).collect();
        let events = Events::split(body.as_bytes(), Format::Ndjson, Tolerance::Strict).expect("valid");
        let parts = events.parts(0..events.len(), limit).expect("every event fits");
        let mut next = 0;
        let mut joined = Vec::new();
        for part in &parts {
            prop_assert!(part.ndjson.len() <= limit && part.count > 0);
            prop_assert_eq!(part.first, next);
            prop_assert_eq!(part.ndjson.iter().filter(|b| **b == b'\n').count(), part.count as usize);
            next += part.count;
            joined.extend_from_slice(&part.ndjson);
        }
        prop_assert_eq!(joined, body.into_bytes());
    }

    /// 5. No bytes make the splitter panic. 6. Tolerantly, every line that is not blank is an event, and every event one line.
    #[test]
    fn any_bytes(body: Vec<u8>, ndjson: bool) {
        let format = if ndjson { Format::Ndjson } else { Format::Json };
        let _ = Events::split(&body, format, Tolerance::Strict);
        let kept = Events::split(&body, Format::Ndjson, Tolerance::KeepLines).expect("few lines");
        let lines = body.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty());
        prop_assert_eq!(kept.len(), lines.count());
        prop_assert!(kept.iter().all(|line| !line.contains(&b'\n')));
    }
}
