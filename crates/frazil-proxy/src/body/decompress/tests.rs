//! What senders do with `Content-Encoding`, and what attackers do.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;

use super::*;

/// A compressor with its encoding.
type Compressor = (Encoding, fn(&[u8]) -> Vec<u8>);

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).expect("into memory");
    encoder.finish().expect("into memory")
}

fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).expect("into memory");
    encoder.finish().expect("into memory")
}

fn raw_deflate(plain: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).expect("into memory");
    encoder.finish().expect("into memory")
}

fn stored(plain: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(plain).expect("into memory");
    encoder.finish().expect("into memory")
}

fn zstandard(plain: &[u8]) -> Vec<u8> {
    zstd::encode_all(plain, 3).expect("into memory")
}

const COMPRESSORS: [Compressor; 5] = [
    (Encoding::Gzip, gzip),
    (Encoding::Deflate, zlib),
    (Encoding::Deflate, raw_deflate),
    (Encoding::Zstd, zstandard),
    (Encoding::Deflate, stored),
];

fn plain(bytes: Vec<u8>, encoding: Encoding, limit: usize) -> Result<Bytes, Rejection> {
    decompress(&bytes.into(), encoding, limit)
}

fn complaint(bytes: Vec<u8>, encoding: Encoding) -> String {
    match plain(bytes, encoding, 1000) {
        Err(Rejection::InvalidEncoding { message, .. }) => message,
        other => panic!("{encoding:?} gave {other:?}"),
    }
}

#[test]
fn several_members_are_one_body() {
    for (encoding, compress) in [COMPRESSORS[0], COMPRESSORS[3]] {
        let both = [compress(b"{\"a\":1}\n"), compress(b""), compress(b"{\"a\":2}\n")].concat();
        assert_eq!(plain(both, encoding, 16).expect("two members"), "{\"a\":1}\n{\"a\":2}\n");
        let both = [compress(b"12345678"), compress(b"12345678")].concat();
        assert!(matches!(plain(both, encoding, 15), Err(Rejection::BodyTooLarge { limit: 15 })));
    }
}

#[test]
fn what_is_cut_off_or_too_long_is_refused_with_the_reason() {
    for (encoding, compress) in COMPRESSORS {
        let whole = compress(b"[{\"name\":\"one\"},{\"name\":\"two\"},{\"name\":\"three\"}]");
        for len in 1..whole.len() {
            let message = complaint(whole[..len].to_vec(), encoding);
            assert!(!message.is_empty(), "{encoding:?} cut to {len}");
        }
        let cut = complaint(whole[..whole.len() - 1].to_vec(), encoding);
        assert!(cut == "it ends too early" || encoding == Encoding::Zstd && cut == "incomplete frame", "{cut}");
        complaint([whole, b"rest".to_vec()].concat(), encoding);
    }
    let trailing = [zlib(b"{}"), b"rest".to_vec()].concat();
    assert_eq!(complaint(trailing, Encoding::Deflate), "4 bytes follow the end of the compressed data");
}

#[test]
fn bombs_stop_at_the_limit() {
    const LIMIT: usize = 1 << 20;
    let zeros = vec![0; 64 << 20];
    // All but the last, which does not compress.
    for (encoding, compress) in &COMPRESSORS[..4] {
        let bomb = compress(&zeros);
        assert!(bomb.len() < LIMIT / 10);
        assert!(matches!(plain(bomb, *encoding, LIMIT), Err(Rejection::BodyTooLarge { limit: LIMIT })));
    }
}

#[test]
fn a_window_beyond_the_limit_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("an encoder");
    encoder.window_log(27).expect("a window");
    encoder.write_all(&[b' '; 100]).expect("into memory");
    let body = encoder.finish().expect("into memory");
    let message = complaint(body, Encoding::Zstd);
    assert!(message.contains("memory"), "{message}");
}

proptest! {
    /// 1. What was compressed comes back. 2. No bytes make a decoder panic or pass the limit.
    #[test]
    fn any_bytes(body: Vec<u8>, which in 0..COMPRESSORS.len()) {
        let (encoding, compress) = COMPRESSORS[which];
        prop_assert_eq!(&plain(compress(&body), encoding, body.len()).expect("whole")[..], &body);
        if let Ok(found) = plain(body, encoding, 50) {
            prop_assert!(found.len() <= 50);
        }
    }
}
