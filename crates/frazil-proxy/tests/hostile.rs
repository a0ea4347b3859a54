//! Bodies made to hurt: each gets its documented answer, soon, and nothing of it stays in memory.

use std::io::Write;
use std::time::{Duration, Instant};

use frazil_core::schema::{Field, Schema, Type};
use frazil_proxy::ProxyConfig;
use reqwest::Response;
use serde_json::{Value, json};

use crate::rig::{Rig, accepted, problem, success};

/// Far more than any of these takes, even on a slow machine in a debug build; a quadratic algorithm takes minutes.
const BOUND: Duration = Duration::from_secs(20);

async fn send(rig: &Rig, stream: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Response {
    let begun = Instant::now();
    let request = rig.post(&format!("/v1/streams/{stream}/events")).header("content-type", content_type);
    let answer = request.body(body).send().await.expect("answered");
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    answer
}

async fn send_compressed(rig: &Rig, encoding: &str, body: Vec<u8>) -> Response {
    let begun = Instant::now();
    let answer = rig.events("").header("content-encoding", encoding).body(body).send().await.expect("answered");
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    answer
}

/// Nothing is in flight any more, and the proxy still takes requests.
async fn at_rest(rig: &Rig) {
    let text = rig.get("/metrics").send().await.expect("sent").text().await.expect("a body");
    assert!(text.contains("frazil_proxy_in_flight_bytes 0"), "{text}");
    accepted(rig.events("").body(r#"{"id":1}"#).send().await.expect("sent"), 1).await;
}

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

#[tokio::test]
async fn a_hundred_thousand_keys() {
    let rig = Rig::start().await;
    rig.log.set_max_message_bytes(4 << 20);
    let keys: String = (0..100_000).map(|n| format!(",\"key_{n}\":{n}")).collect();
    accepted(send(&rig, "sales", JSON, format!("{{\"id\":1{keys}}}")).await, 1).await;
    let twice = format!("{{\"id\":1{keys},\"key_0\":0}}");
    let found = problem(send(&rig, "sales", JSON, twice).await, 400, "BAD_REQUEST").await;
    assert_eq!(
        (&found["errors"][0]["reason"], &found["errors"][0]["field"]),
        (&json!("duplicate_field"), &json!("key_0"))
    );
    let created = rig.post("/v1/streams/open/events?table=lake.web.wide").body(format!("{{\"id\":1{keys}}}"));
    accepted(created.send().await.expect("sent"), 1).await;
    let columns = rig.tables.get(&"lake.web.wide".parse().expect("valid")).expect("made").fields.len();
    assert_eq!(columns, frazil_core::infer::MAX_COLUMNS + 4, "the rest is kept in __extra__");
    let routed = send(&rig, "routed", JSON, format!("{{\"id\":1{keys}}}")).await;
    problem(routed, 400, "BAD_REQUEST").await;
    rig.log.set_max_message_bytes(1 << 20);
    problem(send(&rig, "sales", JSON, format!("{{\"id\":1{keys}}}")).await, 413, "PAYLOAD_TOO_LARGE").await;
    at_rest(&rig).await;
}

#[tokio::test]
async fn nested_ten_thousand_deep() {
    let rig = Rig::start().await;
    let array = format!("{{\"id\":1,\"name\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let object = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    let open = "[".repeat(10_000);
    for body in [&array, &object] {
        let found = problem(send(&rig, "sales", JSON, body.clone()).await, 400, "BAD_REQUEST").await;
        assert_eq!(found["errors"][0]["reason"], "too_deep", "{found}");
        let found = problem(send(&rig, "routed", JSON, body.clone()).await, 400, "BAD_REQUEST").await;
        assert_eq!(found["errors"][0]["reason"], "unroutable", "{found}");
        assert_eq!(success(send(&rig, "letters", NDJSON, body.clone()).await).await["errors"][0]["reason"], "too_deep");
    }
    for content_type in [JSON, NDJSON] {
        let found = problem(send(&rig, "sales", content_type, open.clone()).await, 400, "BAD_REQUEST").await;
        assert_eq!(found["type"], "urn:frazil:problem:invalid-json", "{found}");
    }
    at_rest(&rig).await;
}

#[tokio::test]
async fn a_string_of_five_megabytes() {
    let rig = Rig::start().await;
    let of = |bytes: usize| format!("{{\"id\":1,\"name\":\"{}\"}}", "x".repeat(bytes));
    let large = problem(send(&rig, "sales", JSON, of(5_000_000)).await, 413, "PAYLOAD_TOO_LARGE").await;
    assert_eq!(large["type"], "urn:frazil:problem:body-too-large");
    let large = problem(send(&rig, "sales", JSON, of(4_900_000)).await, 413, "PAYLOAD_TOO_LARGE").await;
    assert_eq!(large["type"], "urn:frazil:problem:event-too-large");
    rig.log.set_max_message_bytes(8 << 20);
    accepted(send(&rig, "sales", JSON, of(4_900_000)).await, 1).await;
    let typed = json!({"type": "x".repeat(4_900_000)}).to_string();
    let found = problem(send(&rig, "routed", JSON, typed).await, 400, "BAD_REQUEST").await;
    assert!(found["errors"][0]["got"].as_str().expect("text").len() < 100, "shortened");
    at_rest(&rig).await;
}

#[tokio::test]
async fn text_that_is_not_utf_8() {
    let rig = Rig::start().await;
    let body: &[u8] = b"{\"id\":1}\n{\"id\":2,\"name\":\"\xed\xa0\x80\"}\n";
    for content_type in [JSON, NDJSON] {
        let found = problem(send(&rig, "sales", content_type, body).await, 400, "BAD_REQUEST").await;
        let detail = found["detail"].as_str().expect("text");
        assert!(detail.contains("line 2, column 17") && detail.contains("UTF-8"), "{detail}");
    }
    let kept = success(send(&rig, "letters", NDJSON, body).await).await;
    assert_eq!((&kept["accepted"], &kept["errors"][0]["reason"]), (&json!(2), &json!("invalid_utf8")));
    let lone = r#"{"id":1,"name":"\ud800"}"#;
    let found = problem(send(&rig, "sales", JSON, lone).await, 400, "BAD_REQUEST").await;
    assert!(found.to_string().contains("surrogate"), "{found}");
    at_rest(&rig).await;
}

#[tokio::test]
async fn a_number_of_ten_thousand_digits() {
    let rig = Rig::start().await;
    let types =
        [Type::Int, Type::Long, Type::Float, Type::Double, Type::Decimal { precision: 38, scale: 2 }, Type::Date];
    let mut fields: Vec<Field> = (1..).zip(types).map(|(id, ty)| Field::optional(id, format!("c{id}"), ty)).collect();
    fields.push(Field::optional(50, "text", Type::String));
    rig.tables.put(&"lake.web.numbers".parse().expect("valid"), Schema::new(fields));
    let digits = "9".repeat(10_000);
    let post = async |body: String| {
        rig.post("/v1/streams/sales/tables/web.numbers/events").body(body).send().await.expect("answered")
    };
    for column in 1..=6 {
        for number in [digits.clone(), format!("-{digits}"), format!("1{digits}e9999"), format!("1e{digits}")] {
            let answer = post(format!("{{\"c{column}\":{number}}}")).await;
            let found = problem(answer, 400, "BAD_REQUEST").await;
            let got = found["errors"][0]["got"].as_str().expect("text");
            assert!(got.chars().count() <= 64, "shortened: {got}");
        }
    }
    accepted(post(format!("{{\"text\":{digits}}}")).await, 1).await;
    let typed = format!("{{\"type\":{digits}}}");
    problem(send(&rig, "routed", JSON, typed).await, 400, "BAD_REQUEST").await;
    at_rest(&rig).await;
}

/// A compressor, by the name of its encoding.
type Compressor = (&'static str, fn(&[u8]) -> Vec<u8>);

const COMPRESSORS: [Compressor; 3] = [("gzip", gzip), ("deflate", deflate), ("zstd", zstd)];

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain).expect("into memory");
    encoder.finish().expect("into memory")
}

fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain).expect("into memory");
    encoder.finish().expect("into memory")
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    zstd::encode_all(plain, 1).expect("into memory")
}

#[tokio::test]
async fn compressed_bodies_that_end_too_early() {
    let rig = Rig::start().await;
    let plain = Value::from((0..1000).map(|id| json!({"id": id})).collect::<Vec<_>>()).to_string();
    for (encoding, compress) in COMPRESSORS {
        let whole = compress(plain.as_bytes());
        accepted(send_compressed(&rig, encoding, whole.clone()).await, 1000).await;
        for keep in [1, whole.len() / 2, whole.len() - 1] {
            let found =
                problem(send_compressed(&rig, encoding, whole[..keep].to_vec()).await, 400, "BAD_REQUEST").await;
            assert_eq!(found["type"], "urn:frazil:problem:invalid-encoding", "{encoding} {keep}: {found}");
        }
    }
    at_rest(&rig).await;
}

/// Ten gigabytes of zeros, in a body that passes the limit before it is decompressed: a thousand times ten megabytes as
/// members or frames of their own, where the encoding knows such.
#[tokio::test]
async fn compression_bombs() {
    let config = ProxyConfig { body_max_bytes: 50_000_000, max_in_flight_bytes: 50_000_000, ..ProxyConfig::default() };
    let rig = Rig::with(config).await;
    let zeros = vec![0; 10 << 20];
    for (encoding, compress) in COMPRESSORS {
        let one = compress(&zeros);
        let bomb = if encoding == "deflate" { compress(&vec![0; 200 << 20]) } else { one.repeat(1000) };
        assert!(bomb.len() < 49_000_000, "{encoding} {}", bomb.len());
        let found = problem(send_compressed(&rig, encoding, bomb).await, 413, "PAYLOAD_TOO_LARGE").await;
        assert_eq!(found["type"], "urn:frazil:problem:body-too-large", "{encoding}");
    }
    at_rest(&rig).await;
}
