//! Arrow IPC streams to events: every row becomes one JSON object that maps back to the same values.
//!
//! The buffers are read where they lie, by this module's own reader and not by `arrow-ipc`'s, of which only the generated
//! description of messages is used. That reader builds arrays first: it checks and copies whatever the messages declare
//! and panics on types it does not know. Here nothing is allocated for what a message declares, every access is checked
//! against the buffer it goes to, and the work is bounded by the bytes that come in and those that go out: a value costs
//! at least one byte of output, and the output is bounded.
//!
//! It must not know the table: a column's type alone decides its form (see `value`).

mod layout;
mod message;
mod schema;
mod temporal;
#[cfg(test)]
mod tests;
mod value;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use frazil_core::limits::EVENTS_PER_REQUEST_MAX;

use super::Events;
use super::lines::{Full, LineWriter};
use crate::error::Rejection;
use layout::{Array, Binder, Dictionaries};
use message::{Message, Messages};
use schema::Schema;

/// Why a stream, or a value of it, is refused.
#[derive(Debug)]
enum Fault {
    /// A limit is reached.
    Full(Full),
    /// Something is wrong with it, at a column if there are names. The innermost name comes first.
    Invalid { message: String, row: Option<usize>, column: Vec<String> },
}

type Outcome<T = ()> = Result<T, Box<Fault>>;

impl Fault {
    fn invalid(message: impl Into<String>) -> Box<Self> {
        Box::new(Self::Invalid { message: message.into(), row: None, column: Vec::new() })
    }

    /// The same fault, seen from the column around it.
    fn within(mut self: Box<Self>, name: &str) -> Box<Self> {
        if let Self::Invalid { column, .. } = &mut *self {
            column.push(name.to_owned());
        }
        self
    }

    fn at_row(mut self: Box<Self>, index: usize) -> Box<Self> {
        if let Self::Invalid { row, .. } = &mut *self {
            *row = Some(index);
        }
        self
    }

    fn rejection(self, limit: usize) -> Rejection {
        let (message, row, column) = match self {
            Self::Full(full) => return full.rejection(limit),
            Self::Invalid { message, row, column } => (message, row, column),
        };
        let row = row.map(|row| format!("row {row}, "));
        let names: Vec<&str> = column.iter().rev().map(String::as_str).collect();
        let column = (!names.is_empty()).then(|| format!("column {:?}: ", shortened(&names.join("."))));
        Rejection::InvalidArrow(format!("{}{}{message}", row.unwrap_or_default(), column.unwrap_or_default()))
    }
}

impl From<Full> for Box<Fault> {
    fn from(full: Full) -> Self {
        Self::new(Fault::Full(full))
    }
}

/// A name as it is shown in a message.
fn shortened(name: &str) -> String {
    name.chars().take(200).collect()
}

/// The rows of a stream as events of at most `limit` bytes together.
///
/// # Errors
/// `400` for what is not a whole, valid stream and for values without a form in JSON, with row and column; `413`.
pub(super) fn convert(body: &[u8], limit: usize) -> Result<Events, Rejection> {
    let caught = catch_unwind(AssertUnwindSafe(|| rows(body, limit)));
    // The flatbuffers of a message are read by generated code, which is verified but not ours.
    let outcome = caught.unwrap_or_else(|_| {
        tracing::error!("reading an Arrow stream panicked");
        Err(Fault::invalid("a message cannot be read"))
    });
    outcome.map_err(|fault| fault.rejection(limit))
}

fn rows(body: &[u8], limit: usize) -> Outcome<Events> {
    let mut messages = Messages::new(body)?;
    let Some(Message::Schema(first)) = messages.next()? else {
        return Err(Fault::invalid("the first message is not the schema"));
    };
    let schema = Schema::read(first)?;
    let mut dictionaries: Dictionaries<'_> = HashMap::new();
    let mut lines = LineWriter::new(limit);
    let mut row = 0;
    while let Some(message) = messages.next()? {
        match message {
            Message::Schema(_) => return Err(Fault::invalid("there is a second schema")),
            Message::Dictionary { id, delta, batch } => {
                let Some(column) = schema.dictionaries.get(&id) else {
                    return Err(Fault::invalid(format!("no column has the dictionary {id}")));
                };
                let values = Binder::new(&batch, &dictionaries).only(column)?;
                let known = dictionaries.entry(id).or_default();
                if !delta {
                    *known = Rc::default();
                }
                Rc::make_mut(known).push(values);
            }
            Message::Batch(batch) => {
                if batch.rows > EVENTS_PER_REQUEST_MAX - row {
                    return Err(Full::Events.into());
                }
                let columns = Binder::new(&batch, &dictionaries).all(&schema.columns)?;
                for index in 0..batch.rows {
                    write_row(&columns, index, &mut lines).map_err(|fault| fault.at_row(row + index))?;
                }
                row += batch.rows;
            }
        }
    }
    Ok(lines.finish())
}

fn write_row(columns: &[Array<'_>], index: usize, lines: &mut LineWriter) -> Outcome {
    value::members(columns, index, lines)?;
    lines.end()?;
    Ok(())
}
