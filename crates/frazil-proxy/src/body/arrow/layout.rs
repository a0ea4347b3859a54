//! Arrays: the columns of one batch with the buffers they lie in. Nothing is copied.
//!
//! The order of nodes and buffers is that of the Arrow columnar format: each column before its children, depth first.

use std::collections::HashMap;
use std::iter::Flatten;
use std::option;
use std::rc::Rc;

use arrow_ipc::{Buffer, FieldNode};
use flatbuffers::{Vector, VectorIter};

use super::message::Batch;
use super::schema::{Column, Kind, Whole, Width};
use super::{Fault, Outcome};

/// The dictionaries as they are now, by id.
pub(super) type Dictionaries<'a> = HashMap<i64, Rc<Dictionary<'a>>>;

/// One column of a batch, at any depth.
#[derive(Debug)]
pub(super) struct Array<'a> {
    pub(super) column: &'a Column,
    pub(super) len: usize,
    /// One bit per value; absent if none is null.
    validity: Option<&'a [u8]>,
    pub(super) data: Data<'a>,
}

/// Where the values of a column lie.
#[derive(Debug)]
pub(super) enum Data<'a> {
    None,
    /// Values of one size, or bits.
    Fixed(&'a [u8]),
    Variable {
        offsets: &'a [u8],
        bytes: &'a [u8],
    },
    Views {
        views: &'a [u8],
        buffers: Vec<&'a [u8]>,
    },
    List {
        offsets: &'a [u8],
        child: Box<Array<'a>>,
    },
    ListView {
        offsets: &'a [u8],
        sizes: &'a [u8],
        child: Box<Array<'a>>,
    },
    FixedList(Box<Array<'a>>),
    Struct(Vec<Array<'a>>),
    Map {
        offsets: &'a [u8],
        keys: Box<Array<'a>>,
        values: Box<Array<'a>>,
    },
    Dictionary {
        indices: &'a [u8],
        values: Rc<Dictionary<'a>>,
    },
    RunEnds {
        ends: &'a [u8],
        runs: usize,
        values: Box<Array<'a>>,
    },
}

/// The values of a dictionary: those of its first batch, then those of its deltas.
#[derive(Debug, Clone, Default)]
pub(super) struct Dictionary<'a> {
    /// Each with the number of values up to its end.
    chunks: Vec<(usize, Rc<Array<'a>>)>,
}

impl<'a> Dictionary<'a> {
    pub(super) fn push(&mut self, values: Array<'a>) {
        let before = self.chunks.last().map_or(0, |(end, _)| *end);
        self.chunks.push((before.saturating_add(values.len), Rc::new(values)));
    }

    /// The array that holds value `index`, and its place there.
    fn find(&self, index: usize) -> Option<(&Array<'a>, usize)> {
        let chunk = self.chunks.partition_point(|(end, _)| *end <= index);
        let start = chunk.checked_sub(1).map_or(0, |before| self.chunks[before].0);
        self.chunks.get(chunk).map(|(_, array)| (array.as_ref(), index - start))
    }
}

impl<'a> Array<'a> {
    /// The array in which value `index` lies plainly, and its place there, behind dictionaries and runs; `None` if it is
    /// null.
    pub(super) fn resolve(&self, index: usize) -> Outcome<Option<(&Self, usize)>> {
        let (mut array, mut index) = (self, index);
        loop {
            if index >= array.len {
                return Err(Fault::invalid(format!("value {index} is asked for, but there are {}", array.len)));
            }
            if array.validity.is_some_and(|bits| !bit(bits, index)) {
                return Ok(None);
            }
            (array, index) = match (&array.data, &array.column.kind) {
                (Data::Dictionary { indices, values }, Kind::Dictionary { index: whole, .. }) => {
                    let key = whole.at(indices, index)?;
                    let found = usize::try_from(key).ok().and_then(|key| values.find(key));
                    found.ok_or_else(|| Fault::invalid(format!("its dictionary has no value {key}")))?
                }
                (Data::RunEnds { ends, runs, values }, Kind::RunEnds(whole, _)) => {
                    (values.as_ref(), run_of(*whole, ends, *runs, index)?)
                }
                (Data::None, _) => return Ok(None),
                _ => return Ok(Some((array, index))),
            };
        }
    }
}

/// The run in which value `index` lies: the first that ends behind it.
fn run_of(whole: Whole, ends: &[u8], runs: usize, index: usize) -> Outcome<usize> {
    let (mut from, mut to) = (0, runs);
    while from < to {
        let middle = from + (to - from) / 2;
        if whole.at(ends, middle)? <= index as i128 {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    Ok(from)
}

/// A bit, least significant first. The caller has checked that the buffer is long enough.
fn bit(bits: &[u8], index: usize) -> bool {
    bits.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

/// Value `index` of a buffer of values of `size` bytes.
pub(super) fn bytes_at(buffer: &[u8], index: usize, size: usize) -> Outcome<&[u8]> {
    let start = index.checked_mul(size);
    let end = start.and_then(|start| start.checked_add(size));
    let value = start.zip(end).and_then(|(start, end)| buffer.get(start..end));
    value.ok_or_else(|| Fault::invalid("its values lie outside of their buffer"))
}

/// The same, of a size known to the compiler.
pub(super) fn value_at<const SIZE: usize>(buffer: &[u8], index: usize) -> Outcome<[u8; SIZE]> {
    bytes_at(buffer, index, SIZE).map(|bytes| bytes.try_into().expect("as many bytes as were asked for"))
}

/// Bit `index` of a buffer of bits.
pub(super) fn bit_at(buffer: &[u8], index: usize) -> Outcome<bool> {
    bytes_at(buffer, index / 8, 1).map(|_| bit(buffer, index))
}

impl Whole {
    /// Number `index` of a buffer.
    pub(super) fn at(self, buffer: &[u8], index: usize) -> Outcome<i128> {
        let bytes = bytes_at(buffer, index, self.bytes)?;
        let negative = self.signed && bytes.last().is_some_and(|last| last & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 16];
        wide[..bytes.len()].copy_from_slice(bytes);
        Ok(i128::from_le_bytes(wide))
    }
}

impl Width {
    /// Offset or size `index` of a buffer.
    pub(super) fn at(self, buffer: &[u8], index: usize) -> Outcome<usize> {
        let number = match self {
            Self::Four => i64::from(i32::from_le_bytes(value_at(buffer, index)?)),
            Self::Eight => i64::from_le_bytes(value_at(buffer, index)?),
        };
        usize::try_from(number).map_err(|_| Fault::invalid("an offset is negative"))
    }
}

/// Gives columns their nodes and buffers, in order.
#[derive(Debug)]
pub(super) struct Binder<'a, 'd> {
    rows: usize,
    body: &'a [u8],
    nodes: VectorIter<'a, FieldNode>,
    buffers: VectorIter<'a, Buffer>,
    variadic: Flatten<option::IntoIter<Vector<'a, i64>>>,
    dictionaries: &'d Dictionaries<'a>,
}

impl<'a, 'd> Binder<'a, 'd> {
    pub(super) fn new(batch: &Batch<'a>, dictionaries: &'d Dictionaries<'a>) -> Self {
        Self {
            rows: batch.rows,
            body: batch.body,
            nodes: batch.nodes.iter(),
            buffers: batch.buffers.iter(),
            variadic: batch.variadic.into_iter().flatten(),
            dictionaries,
        }
    }

    /// All columns of the batch.
    pub(super) fn all(mut self, columns: &'a [Column]) -> Outcome<Vec<Array<'a>>> {
        let arrays = columns.iter().map(|column| self.top(column)).collect::<Outcome<Vec<_>>>()?;
        if self.nodes.next().is_some() {
            return Err(Fault::invalid("a batch has more columns than the schema"));
        }
        Ok(arrays)
    }

    /// The one column of the batch.
    pub(super) fn only(mut self, column: &'a Column) -> Outcome<Array<'a>> {
        self.top(column)
    }

    fn top(&mut self, column: &'a Column) -> Outcome<Array<'a>> {
        let array = self.array(column)?;
        if array.len == self.rows {
            return Ok(array);
        }
        let message = format!("it has {} values in a batch of {} rows", array.len, self.rows);
        Err(Fault::invalid(message).within(&column.name))
    }

    fn array(&mut self, column: &'a Column) -> Outcome<Array<'a>> {
        self.bind(column).map_err(|fault| fault.within(&column.name))
    }

    fn bind(&mut self, column: &'a Column) -> Outcome<Array<'a>> {
        let (len, nulls) = self.node()?;
        let validity = match column.kind {
            Kind::Null | Kind::RunEnds(..) => None,
            _ => self.validity(len, nulls)?,
        };
        let data = match &column.kind {
            Kind::Null => Data::None,
            Kind::Boolean
            | Kind::Whole(_)
            | Kind::Float(_)
            | Kind::Decimal { .. }
            | Kind::Date32
            | Kind::Date64
            | Kind::Time { .. }
            | Kind::Timestamp { .. }
            | Kind::Fixed(_)
            | Kind::Uuid => Data::Fixed(self.buffer()?),
            Kind::Text(_) | Kind::Binary(_) => Data::Variable { offsets: self.buffer()?, bytes: self.buffer()? },
            Kind::TextView | Kind::BinaryView => self.views()?,
            Kind::List(_, child) => Data::List { offsets: self.buffer()?, child: self.child(child)? },
            Kind::ListView(_, child) => {
                Data::ListView { offsets: self.buffer()?, sizes: self.buffer()?, child: self.child(child)? }
            }
            Kind::FixedList(_, child) => Data::FixedList(self.child(child)?),
            Kind::Struct(children) => {
                Data::Struct(children.iter().map(|child| self.array(child)).collect::<Outcome<_>>()?)
            }
            Kind::Map { entries, .. } => self.map(entries)?,
            Kind::Dictionary { id, .. } => {
                // A dictionary whose values nobody uses need not be sent.
                let values = self.dictionaries.get(id).cloned().unwrap_or_default();
                Data::Dictionary { indices: self.buffer()?, values }
            }
            Kind::RunEnds(_, values) => {
                let (runs, nulls) = self.node()?;
                self.validity(runs, nulls)?;
                Data::RunEnds { ends: self.buffer()?, runs, values: self.child(values)? }
            }
        };
        Ok(Array { column, len, validity, data })
    }

    fn child(&mut self, column: &'a Column) -> Outcome<Box<Array<'a>>> {
        self.array(column).map(Box::new)
    }

    fn map(&mut self, [keys, values]: &'a [Column; 2]) -> Outcome<Data<'a>> {
        let offsets = self.buffer()?;
        let (len, nulls) = self.node()?;
        if self.validity(len, nulls)?.is_some() {
            return Err(Fault::invalid("entries of maps cannot be null"));
        }
        Ok(Data::Map { offsets, keys: self.child(keys)?, values: self.child(values)? })
    }

    fn views(&mut self) -> Outcome<Data<'a>> {
        let views = self.buffer()?;
        let count = self.variadic.next().ok_or_else(|| Fault::invalid("a batch lacks the number of its buffers"))?;
        let mut buffers = Vec::new();
        for _ in 0..count {
            buffers.push(self.buffer()?);
        }
        Ok(Data::Views { views, buffers })
    }

    /// Length and number of nulls of the next column.
    fn node(&mut self) -> Outcome<(usize, i64)> {
        let node = self.nodes.next().ok_or_else(|| Fault::invalid("a batch has fewer columns than the schema"))?;
        let len = usize::try_from(node.length()).map_err(|_| Fault::invalid("its length is negative"))?;
        Ok((len, node.null_count()))
    }

    fn validity(&mut self, len: usize, nulls: i64) -> Outcome<Option<&'a [u8]>> {
        let bits = self.buffer()?;
        if nulls == 0 {
            return Ok(None);
        }
        if bits.len() < len.div_ceil(8) {
            return Err(Fault::invalid("its validity bits are fewer than its values"));
        }
        Ok(Some(bits))
    }

    fn buffer(&mut self) -> Outcome<&'a [u8]> {
        let buffer = self.buffers.next().ok_or_else(|| Fault::invalid("a batch has fewer buffers than its columns"))?;
        let start = usize::try_from(buffer.offset()).ok();
        let end = start.zip(usize::try_from(buffer.length()).ok()).and_then(|(start, len)| start.checked_add(len));
        let slice = start.zip(end).and_then(|(start, end)| self.body.get(start..end));
        slice.ok_or_else(|| Fault::invalid("a buffer lies outside of its message"))
    }
}
