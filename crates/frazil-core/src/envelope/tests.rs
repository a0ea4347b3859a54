use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::idempotency::KeyHash;

fn section(table: &str, key: Option<u8>, first: u32, lines: &[&str]) -> Section {
    let mut events = String::new();
    for line in lines {
        events.push_str(line);
        events.push('\n');
    }
    let header = SectionHeader {
        table: table.parse().expect("valid table"),
        count: lines.len() as u32,
        received: 1_700_000_000_000_000,
        key: key.map(|byte| KeyHash([byte; 16])),
        request_key: None,
        unroutable: None,
        first,
        len: events.len() as u32,
    };
    Section { header, events: events.into() }
}

fn encode(sections: &[Section]) -> EncodedEnvelope {
    let mut builder = EnvelopeBuilder::new();
    sections.iter().for_each(|section| builder.push(section));
    builder.finish(ContinuityFields { producer: Uuid::from_u128(9), number: 3, acked: 2 })
}

fn headers(envelope: &EncodedEnvelope) -> Result<EnvelopeHeaders, EnvelopeError> {
    EnvelopeHeaders::parse(|name| envelope.headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str()))
}

#[test]
fn version_one_is_pinned() {
    let envelope = encode(&[section("c.n.t", Some(0xab), 7, &["{\"a\":1}", "{}"])]);
    let text = "{\"table\":\"c.n.t\",\"count\":2,\"received\":1700000000000000,\
                \"key\":\"abababababababababababababababab\",\"first\":7,\"len\":11}\n{\"a\":1}\n{}\n";
    assert_eq!(envelope.payload, text);
    let header = |name| envelope.headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str());
    assert_eq!(header(VERSION_HEADER), Some("1"));
    assert_eq!(header(KEYS_HEADER), Some("abababababababababababababababab:7:2"));
    assert_eq!(header(MESSAGE_ID_HEADER), Some("00000000-0000-0000-0000-000000000009-3"));
}

#[test]
fn a_changed_payload_is_refused() {
    let envelope = encode(&[section("c.n.t", None, 0, &["{}"])]);
    let parsed = headers(&envelope).expect("own headers");
    assert_eq!(parsed.verify(&envelope.payload), Ok(()));
    let mut damaged = envelope.payload.to_vec();
    damaged[3] ^= 0x10;
    assert!(matches!(parsed.verify(&damaged), Err(EnvelopeError::Checksum { .. })));
}

#[test]
fn malformed_headers_are_refused_by_name() {
    let envelope = encode(&[]);
    for (name, value) in [
        (VERSION_HEADER, "2"),
        (CHECKSUM_HEADER, "crc32=12"),
        (CHECKSUM_HEADER, "md5=00000000"),
        (PRODUCER_HEADER, "x"),
        (NUMBER_HEADER, "-1"),
        (ACKED_HEADER, ""),
    ] {
        let mut bad = envelope.clone();
        bad.headers.retain(|(n, _)| *n != name);
        assert_eq!(headers(&bad), Err(EnvelopeError::MissingHeader(name)));
        bad.headers.push((name, value.to_owned()));
        assert!(headers(&bad).is_err(), "{name}: {value:?} was accepted");
    }
}

#[test]
fn wrong_lengths_and_counts_are_refused() {
    let header = |count, len| format!("{{\"table\":\"c.n.t\",\"count\":{count},\"received\":1,\"len\":{len}}}\n");
    for bad in [
        header(1, 10) + "{}\n",
        header(2, 3) + "{}\n",
        header(0, 3) + "{}\n",
        header(1, 2) + "{}",
        header(1, 3),
        "nonsense".to_owned(),
        "nonsense\n".to_owned(),
    ] {
        let read: Vec<_> = sections(&Bytes::from(bad.clone())).collect();
        assert_eq!(read.len(), 1);
        assert!(read[0].is_err(), "{bad:?} was accepted");
    }
}

proptest! {
    /// 1. What is written is read back, section by section and line by line.
    #[test]
    fn round_trip(lines in prop::collection::vec(prop::collection::vec("[a-z{}\" ]{0,20}", 0..6), 0..6), key: Option<u8>) {
        let written: Vec<Section> = lines
            .iter()
            .map(|lines| section("c.n.t", key, 1, &lines.iter().map(String::as_str).collect::<Vec<_>>()))
            .collect();
        let envelope = encode(&written);
        let parsed = headers(&envelope).expect("own headers");
        prop_assert_eq!(parsed.verify(&envelope.payload), Ok(()));
        let read: Vec<Section> = sections(&envelope.payload).collect::<Result<_, _>>().expect("own payload");
        for (section, lines) in read.iter().zip(&lines) {
            let got: Vec<&[u8]> = section.lines().collect();
            prop_assert_eq!(got, lines.iter().map(|l| l.as_bytes()).collect::<Vec<_>>());
        }
        let keyed: Vec<_> = written.iter().filter_map(|s| s.header.keyed_range()).collect();
        prop_assert_eq!(parsed.keys, keyed);
        prop_assert_eq!(read, written);
    }

    /// 2. No payload makes the reader panic, and reading ends.
    #[test]
    fn any_bytes(payload: Vec<u8>) {
        let payload = Bytes::from(payload);
        prop_assert!(sections(&payload).count() <= payload.len());
    }

    /// 3. The packing estimate never falls short.
    #[test]
    fn estimate_is_an_upper_bound(count in 0usize..5, key: Option<u8>, first: u32, table in "[a-z\"\\\\]{1,30}") {
        let section = section(&format!("c.n.{table}"), key, first, &vec!["{}"; count]);
        prop_assert!(encode(std::slice::from_ref(&section)).payload.len() <= section_bytes(&section));
    }
}
