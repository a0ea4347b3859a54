//! Bodies: tables of what is accepted and refused, properties of splitting, bombs.

use std::io::Write;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn split(body: &str, format: Format) -> Vec<String> {
    let events = Events::split(body.as_bytes(), format).unwrap_or_else(|error| panic!("{body:?}: {error}"));
    events.iter().map(|line| String::from_utf8(line.to_vec()).expect("UTF-8")).collect()
}

fn refused(body: &[u8], format: Format) -> (usize, usize, String) {
    match Events::split(body, format) {
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
    assert_eq!(Events::split(array(MAX).as_bytes(), Format::Json).expect("at the limit").len(), MAX);
    for (body, format) in [(array(MAX + 1), Format::Json), ("1\n".repeat(MAX + 1), Format::Ndjson)] {
        assert!(matches!(Events::split(body.as_bytes(), format), Err(Rejection::TooManyEvents { .. })));
    }
}

#[test]
fn a_part_ends_between_events() {
    let events = Events::split(b"[{},{\"a\":1},{},{}]", Format::Json).expect("valid");
    let parts = |limit| {
        let parts = events.parts(limit).expect("fits");
        parts.iter().map(|p| (p.first, p.count, p.ndjson.len())).collect::<Vec<_>>()
    };
    assert_eq!(parts(100), [(0, 4, 17)]);
    assert_eq!(parts(17), [(0, 4, 17)]);
    assert_eq!(parts(16), [(0, 3, 14), (3, 1, 3)]);
    assert_eq!(parts(8), [(0, 1, 3), (1, 1, 8), (2, 2, 6)]);
    assert!(matches!(events.parts(7), Err(Rejection::EventTooLarge { index: 1, bytes: 7, limit: 6 })));
    assert_eq!(Events::default().parts(1).expect("none"), []);
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
    let plain = BodyHead { format: Format::Json, encoding: Encoding::Identity, length: None };
    assert_eq!(head(&[]).expect("json"), plain);
    assert_eq!(head(&[("content-type", "Application/JSON; charset=utf-8")]).expect("json"), plain);
    assert_eq!(head(&[("content-type", "application/jsonl")]).expect("lines").format, Format::Ndjson);
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

fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain).expect("into memory");
    encoder.finish().expect("into memory").into()
}

fn deflate(plain: &[u8]) -> Bytes {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain).expect("into memory");
    encoder.finish().expect("into memory").into()
}

fn zstd(plain: &[u8]) -> Bytes {
    zstd::encode_all(plain, 3).expect("into memory").into()
}

/// A compressor with its encoding.
type Compressor = (Encoding, fn(&[u8]) -> Bytes);

const COMPRESSORS: [Compressor; 3] = [(Encoding::Gzip, gzip), (Encoding::Deflate, deflate), (Encoding::Zstd, zstd)];

#[test]
fn compressed_bodies_and_bombs() {
    for (encoding, compress) in COMPRESSORS {
        let head = BodyHead { format: Format::Json, encoding, length: None };
        let exact = format!("{{\"a\":\"{}\"}}", "x".repeat(92));
        assert_eq!(decode(&compress(exact.as_bytes()), head, 100).expect("at the limit").len(), 1);
        let above = compress(format!(" {exact}").as_bytes());
        assert!(matches!(decode(&above, head, 100), Err(Rejection::BodyTooLarge { limit: 100 })));
        let bomb = compress(&vec![b' '; 200 << 20]);
        assert!(bomb.len() < 1 << 20, "{encoding:?}");
        assert!(matches!(decode(&bomb, head, 5_000_000), Err(Rejection::BodyTooLarge { .. })));
        let whole = compress(exact.as_bytes());
        let broken = whole.slice(..whole.len() - 6);
        assert!(matches!(decode(&broken, head, 100), Err(Rejection::InvalidEncoding { .. })), "{encoding:?}");
        let garbage = Bytes::from_static(b"this is not compressed");
        assert!(matches!(decode(&garbage, head, 100), Err(Rejection::InvalidEncoding { .. })), "{encoding:?}");
    }
    let head = BodyHead { format: Format::Json, encoding: Encoding::Identity, length: None };
    assert!(matches!(decode(&Bytes::from_static(b"[{}]  "), head, 5), Err(Rejection::BodyTooLarge { .. })));
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
        let events = Events::split(&body, Format::Json).expect("valid");
        prop_assert_eq!(values(&events), elements);
        prop_assert!(events.iter().all(|line| !line.contains(&b'\n')));
    }

    /// 3. Splitting NDJSON gives its lines, under both content types.
    #[test]
    fn lines(elements in prop::collection::vec(any_json(), 1..8), crlf: bool) {
        let end = if crlf { "\r\n" } else { "\n" };
        let body: String = elements.iter().map(|element| format!("{element}{end}")).collect();
        let lines = Events::split(body.as_bytes(), Format::Ndjson).expect("valid");
        prop_assert_eq!(values(&lines), elements.clone());
        if !elements[0].is_array() {
            let json = Events::split(body.as_bytes(), Format::Json).expect("valid");
            prop_assert_eq!(values(&json), elements);
        }
    }

    /// 4. Parts are the request, whole and in order, each within the limit.
    #[test]
    fn parts(sizes in prop::collection::vec(1usize..40, 0..30), limit in 45usize..200) {
        let body: String = sizes.iter().map(|size| format!("\"{}\"\n", "x".repeat(*size))).collect();
        let events = Events::split(body.as_bytes(), Format::Ndjson).expect("valid");
        let parts = events.parts(limit).expect("every event fits");
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

    /// 5. No bytes make the splitter panic.
    #[test]
    fn any_bytes(body: Vec<u8>, ndjson: bool) {
        let format = if ndjson { Format::Ndjson } else { Format::Json };
        let _ = Events::split(&body, format);
    }
}
