//! Streams that lie about themselves, or that would become much larger than they are.

use std::time::{Duration, Instant};

use arrow_ipc::CompressionType;
use frazil_core::limits::EVENTS_PER_REQUEST_MAX;

use super::*;

/// The default of the proxy.
const LIMIT: usize = 5_000_000;

fn too_large(array: ArrayRef) {
    let body = stream_of(&[batch_of(vec![("c", array)])]);
    let begun = Instant::now();
    let outcome = convert(&body, LIMIT);
    assert!(matches!(outcome, Err(Rejection::BodyTooLarge { limit: LIMIT })), "{outcome:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "bounded work");
}

fn truncated(text: &str) -> Vec<u8> {
    let mut body = stream_of(&[batch_of(vec![("c", Arc::new(StringArray::from(vec![text])))])]);
    body.truncate(body.len() - 8);
    body
}

#[test]
fn small_bodies_cannot_become_large() {
    let text = "x".repeat(4_000_000);
    // Many rows of one dictionary value, of one view, of one run.
    let keys = Int32Array::from(vec![0; EVENTS_PER_REQUEST_MAX]);
    let value: ArrayRef = Arc::new(StringArray::from(vec![text.as_str()]));
    too_large(Arc::new(DictionaryArray::new(keys, value.clone())));
    let view = StringViewArray::from(vec![text.as_str()]);
    // Not more: arrow's own constructor reads the text once for every view.
    let views = ScalarBuffer::from(vec![view.views()[0]; 100]);
    too_large(Arc::new(StringViewArray::new(views, view.data_buffers().to_vec(), None)));
    let ends = Int32Array::from(vec![i32::try_from(EVENTS_PER_REQUEST_MAX).expect("small")]);
    too_large(Arc::new(RunArray::try_new(&ends, &StringArray::from(vec![text.as_str()])).expect("one run")));
    // Lists of what takes no bytes, and lists that overlap.
    let many = i32::MAX as usize;
    let item = Arc::new(Field::new_list_field(DataType::Null, true));
    too_large(Arc::new(FixedSizeListArray::new(item.clone(), i32::MAX, Arc::new(NullArray::new(many)), None)));
    let offsets = OffsetBuffer::new(vec![0, i32::MAX].into());
    too_large(Arc::new(ListArray::new(item.clone(), offsets, Arc::new(NullArray::new(many)), None)));
    let (offsets, sizes) = (vec![0; 1000].into(), vec![1_000_000; 1000].into());
    too_large(Arc::new(ListViewArray::new(item, offsets, sizes, Arc::new(NullArray::new(1_000_000)), None)));
    // Text that grows when it is escaped.
    too_large(Arc::new(StringArray::from(vec!["\u{1}".repeat(1_000_000).as_str()])));
}

#[test]
fn the_number_of_rows_is_bounded_before_any_is_written() {
    let rows = |rows| stream_of(&[batch_of(vec![("c", Arc::new(NullArray::new(rows)))])]);
    assert_eq!(convert(&rows(EVENTS_PER_REQUEST_MAX), LIMIT).expect("at the limit").len(), EVENTS_PER_REQUEST_MAX);
    for many in [EVENTS_PER_REQUEST_MAX + 1, 1 << 62] {
        assert!(matches!(convert(&rows(many), LIMIT), Err(Rejection::TooManyEvents { .. })), "{many}");
    }
    let half = batch_of(vec![("c", Arc::new(NullArray::new(EVENTS_PER_REQUEST_MAX / 2 + 1)))]);
    assert!(matches!(convert(&stream_of(&[half.clone(), half]), LIMIT), Err(Rejection::TooManyEvents { .. })));
}

#[test]
fn nesting_and_width_are_bounded() {
    let nested = |depth: usize| {
        let mut array: ArrayRef = Arc::new(Int32Array::from(vec![7]));
        for _ in 0..depth {
            let field = Arc::new(Field::new_list_field(array.data_type().clone(), true));
            array = Arc::new(ListArray::new(field, OffsetBuffer::new(vec![0, 1].into()), array, None));
        }
        stream_of(&[batch_of(vec![("c", array)])])
    };
    let expected = format!("{{\"c\":{}7{}}}", "[".repeat(100), "]".repeat(100));
    assert_eq!(lines(&nested(100)), [expected]);
    let found = refusal(&nested(200));
    assert!(found.contains("message 0 has a malformed header: Nested table depth limit reached"), "{found}");
    let names: Vec<String> = (0..10_001).map(|number| format!("c{number}")).collect();
    let wide = names.iter().map(|name| (name.as_str(), Arc::new(NullArray::new(1)) as ArrayRef)).collect();
    assert_eq!(refusal(&stream_of(&[batch_of(wide)])), "it has more than 10000 columns, nested ones included");
    let long = "n".repeat((1 << 20) + 1);
    let body = stream_of(&[batch_of(vec![(long.as_str(), Arc::new(NullArray::new(1)))])]);
    assert_eq!(refusal(&body), "the names of its columns exceed 1048576 bytes");
}

#[test]
fn streams_that_end_too_early_or_too_late() {
    let whole = stream_of(&[batch_of(vec![("c", Arc::new(StringArray::from(vec!["some text"])))])]);
    let mut taken = Vec::new();
    for len in 0..whole.len() {
        match convert(&whole[..len], LIMIT) {
            Ok(events) => taken.push(events.len()),
            Err(Rejection::InvalidArrow(message)) => assert!(!message.is_empty()),
            Err(other) => panic!("{other:?}"),
        }
    }
    // Between two messages a stream may end: after the schema, after the batch.
    assert_eq!(taken, [0, 1]);
    assert_eq!(refusal(b""), "the body is empty");
    let cut = truncated("some text");
    let found = refusal(&cut[..cut.len() - 1]);
    assert!(found.starts_with("it ends in the body of message 1: "), "{found}");
    assert_eq!(refusal(&[&whole[..], b"more"].concat()), "4 bytes follow the end of the stream");
    assert_eq!(refusal(b"ARROW1\0\0"), "this is the Arrow file format; send the stream format");
    assert!(refusal(b"{\"json\": true}").starts_with("it ends in the header of message 0: "));
    let again = [&cut[..], &whole[..]].concat();
    assert_eq!(refusal(&again), "there is a second schema");
}

#[test]
fn compressed_buffers_are_refused_by_name() {
    for (codec, name) in [(CompressionType::LZ4_FRAME, "lz4"), (CompressionType::ZSTD, "zstd")] {
        // Without rows there is nothing that the writer would have to compress.
        let batch = batch_of(vec![("c", Arc::new(NullArray::new(0)))]);
        let options = IpcWriteOptions::default().try_with_compression(Some(codec)).expect("version 5");
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).expect("a writer");
        writer.write(&batch).expect("into memory");
        let found = refusal(&writer.into_inner().expect("into memory"));
        assert!(
            found.starts_with(&format!("its buffers are compressed with {name}, which is not supported")),
            "{found}"
        );
    }
}

#[test]
fn text_that_is_no_utf8_is_refused_with_its_place() {
    let mut body = truncated("needle");
    let place = body.windows(6).position(|window| window == b"needle").expect("the text");
    body[place] = 0xff;
    assert_eq!(refusal(&body), "row 0, column \"c\": a string is not valid UTF-8");
}

#[test]
fn keys_beyond_their_dictionary_are_refused() {
    let keys = |keys: Vec<i8>, values: Vec<&str>| -> ArrayRef {
        Arc::new(DictionaryArray::new(Int8Array::from(keys), Arc::new(StringArray::from(values))))
    };
    let body = stream_of(&[batch_of(vec![("c", keys(vec![0, 5], vec!["a", "b", "c", "d", "e", "f"]))])]);
    // The same stream with the key 5 made 6, in the body of the last message.
    let place = body.windows(2).rposition(|window| window == [0, 5]).expect("the keys") + 1;
    let mut damaged = body.clone();
    damaged[place] = 6;
    assert_eq!(lines(&body).len(), 2);
    assert_eq!(refusal(&damaged), "row 1, column \"c\": its dictionary has no value 6");
}
