//! The framing of a stream: where messages begin and end, and what kind each of them is.

use arrow_ipc::{
    Buffer, CompressionType, Endianness, FieldNode, MessageHeader, MetadataVersion, RecordBatch, Schema,
    root_as_message_with_opts,
};
use flatbuffers::{Vector, VerifierOptions};

use super::{Fault, Outcome};

/// What precedes the length of a message, since format version 0.15.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// How files in the Arrow file format begin.
const FILE_MAGIC: &[u8] = b"ARROW1";

/// Deepest nesting of flatbuffer tables: a column in a column is one level. Deeper events do not fit any table anyway.
const TABLES_DEPTH_MAX: usize = frazil_core::mapping::MAX_DEPTH;

/// One message with its body.
#[derive(Debug)]
pub(super) enum Message<'b> {
    Schema(Schema<'b>),
    Dictionary { id: i64, delta: bool, batch: Batch<'b> },
    Batch(Batch<'b>),
}

/// The columns of a record batch, or the values of a dictionary.
#[derive(Debug)]
pub(super) struct Batch<'b> {
    pub(super) rows: usize,
    pub(super) nodes: Vector<'b, FieldNode>,
    pub(super) buffers: Vector<'b, Buffer>,
    /// For each column of views the number of its data buffers.
    pub(super) variadic: Option<Vector<'b, i64>>,
    pub(super) body: &'b [u8],
}

/// The messages of a stream, one after the other.
#[derive(Debug)]
pub(super) struct Messages<'b> {
    rest: &'b [u8],
    /// Number of messages read.
    count: usize,
}

impl<'b> Messages<'b> {
    pub(super) fn new(body: &'b [u8]) -> Outcome<Self> {
        if body.is_empty() {
            return Err(Fault::invalid("the body is empty"));
        }
        if body.starts_with(FILE_MAGIC) {
            return Err(Fault::invalid("this is the Arrow file format; send the stream format"));
        }
        Ok(Self { rest: body, count: 0 })
    }

    /// The next message; none after the end marker, or where the body ends between two messages.
    pub(super) fn next(&mut self) -> Outcome<Option<Message<'b>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut length = self.length()?;
        if length == CONTINUATION {
            length = self.length()?;
        }
        let length = u32::from_le_bytes(length) as usize;
        if length == 0 {
            return match self.rest.len() {
                0 => Ok(None),
                left => Err(Fault::invalid(format!("{left} bytes follow the end of the stream"))),
            };
        }
        let head = self.take(length, "header")?;
        let (message, body_length) = self.head(head)?;
        let body = self.take(body_length, "body")?;
        self.count += 1;
        self.read(message, body).map(Some)
    }

    fn head(&self, head: &'b [u8]) -> Outcome<(arrow_ipc::Message<'b>, usize)> {
        // Tables that share their parts can make a small message look huge.
        let options = VerifierOptions {
            max_depth: TABLES_DEPTH_MAX,
            max_tables: head.len(),
            max_apparent_size: head.len().saturating_mul(4),
            ..VerifierOptions::default()
        };
        let message = root_as_message_with_opts(&options, head).map_err(|error| {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            Fault::invalid(format!("message {} has a malformed header: {first}", self.count))
        })?;
        let Ok(length) = usize::try_from(message.bodyLength()) else {
            return Err(Fault::invalid(format!("message {} has a negative length", self.count)));
        };
        Ok((message, length))
    }

    fn length(&mut self) -> Outcome<[u8; 4]> {
        Ok(self.take(4, "length")?.try_into().expect("four bytes were taken"))
    }

    fn take(&mut self, length: usize, part: &str) -> Outcome<&'b [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            let (count, left) = (self.count, self.rest.len());
            let message = format!("it ends in the {part} of message {count}: {length} bytes expected, {left} found");
            return Err(Fault::invalid(message));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn read(&self, message: arrow_ipc::Message<'b>, body: &'b [u8]) -> Outcome<Message<'b>> {
        if !matches!(message.version(), MetadataVersion::V4 | MetadataVersion::V5) {
            return Err(Fault::invalid("its format is older than version 4 of the metadata (Arrow 0.8)"));
        }
        let missing = || Fault::invalid("a message lacks its header");
        match message.header_type() {
            MessageHeader::Schema => {
                let schema = message.header_as_schema().ok_or_else(missing)?;
                if schema.endianness() != Endianness::Little {
                    return Err(Fault::invalid("it is big-endian; only little-endian is supported"));
                }
                Ok(Message::Schema(schema))
            }
            MessageHeader::DictionaryBatch => {
                let header = message.header_as_dictionary_batch().ok_or_else(missing)?;
                let batch = batch(header.data().ok_or_else(missing)?, body)?;
                Ok(Message::Dictionary { id: header.id(), delta: header.isDelta(), batch })
            }
            MessageHeader::RecordBatch => {
                batch(message.header_as_record_batch().ok_or_else(missing)?, body).map(Message::Batch)
            }
            MessageHeader::Tensor | MessageHeader::SparseTensor => Err(Fault::invalid("tensors are not supported")),
            _ => Err(Fault::invalid("a message is of an unknown kind")),
        }
    }
}

fn batch<'b>(header: RecordBatch<'b>, body: &'b [u8]) -> Outcome<Batch<'b>> {
    if let Some(compression) = header.compression() {
        let codec = match compression.codec() {
            CompressionType::LZ4_FRAME => "lz4",
            CompressionType::ZSTD => "zstd",
            _ => "an unknown codec",
        };
        return Err(Fault::invalid(format!(
            "its buffers are compressed with {codec}, which is not supported; send them plain, and compress the whole \
             body by Content-Encoding"
        )));
    }
    let missing = || Fault::invalid("a batch lacks its nodes or buffers");
    Ok(Batch {
        rows: usize::try_from(header.length()).map_err(|_| Fault::invalid("a batch has a negative length"))?,
        nodes: header.nodes().ok_or_else(missing)?,
        buffers: header.buffers().ok_or_else(missing)?,
        variadic: header.variadicBufferCounts(),
        body,
    })
}
