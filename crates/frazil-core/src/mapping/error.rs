//! Why an event was refused: the field, the reason and an excerpt of what stood there.
//!
//! Errors are built on the cold path only. The codes are part of the HTTP answer and of dead letters: they
//! never change their meaning.

use std::fmt;

/// The first thing that is wrong with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Path of the field, as `items[3].price` or `attributes["k"]`; empty for the event itself.
    pub field: String,
    /// What is wrong with it.
    pub reason: Reason,
    /// The offending text, cut to 64 characters; empty if there is none.
    pub got: String,
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A required field is missing or null.
    #[error("required, but missing or null")]
    Required,
    /// The event is JSON, but no object.
    #[error("an event must be a JSON object")]
    NotAnObject,
    /// The JSON value is of a kind that the column does not take.
    #[error("expected {expected}")]
    WrongType {
        /// What the column takes.
        expected: &'static str,
    },
    /// A string, but not in the column's format.
    #[error("expected {expected}")]
    BadFormat {
        /// The format.
        expected: &'static str,
    },
    /// A value that the column's type cannot hold.
    #[error("out of range for {of}")]
    OutOfRange {
        /// The column's type.
        of: &'static str,
    },
    /// A fraction in a column of whole numbers.
    #[error("{of} takes whole numbers only")]
    Fraction {
        /// The column's type.
        of: &'static str,
    },
    /// A number with more digits than the decimal column has, before or after the point.
    #[error("does not fit decimal({precision},{scale}) exactly")]
    DecimalDigits {
        /// The column's precision.
        precision: u8,
        /// The column's scale.
        scale: u8,
    },
    /// A fixed value of another length.
    #[error("expected exactly {bytes} bytes")]
    WrongLength {
        /// The column's length.
        bytes: u32,
    },
    /// No such column, and nothing that keeps the value: by the policy, or for lack of an optional string column
    /// `__extra__`.
    #[error("no such column, and no optional string column `__extra__` that may keep the field")]
    UnknownField,
    /// The table has no columns, and its policy adds none, so there is no place for a row.
    #[error("the table has no columns, and so no place for a row")]
    NoColumns,
    /// The field occurs twice in one object.
    #[error("duplicate field")]
    DuplicateField,
    /// The key occurs twice in one map.
    #[error("duplicate map key")]
    DuplicateKey,
    /// A map in the keys/values form whose parts do not belong together, or that has other parts.
    #[error("expected `keys` and `values` of equal length")]
    KeysAndValues,
    /// Nested too deeply.
    #[error("nested deeper than {limit} levels")]
    TooDeep {
        /// The deepest nesting allowed.
        limit: usize,
    },
    /// No valid JSON.
    #[error("malformed JSON at byte {offset}: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// Byte offset within the event.
        offset: usize,
    },
    /// No valid UTF-8.
    #[error("invalid UTF-8 at byte {offset}")]
    InvalidUtf8 {
        /// Byte offset within the event.
        offset: usize,
    },
}

impl Reason {
    /// The stable machine code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::NotAnObject => "not_an_object",
            Self::WrongType { .. } => "wrong_type",
            Self::BadFormat { .. } => "bad_format",
            Self::OutOfRange { .. } => "out_of_range",
            Self::Fraction { .. } => "fraction",
            Self::DecimalDigits { .. } => "decimal_digits",
            Self::WrongLength { .. } => "wrong_length",
            Self::UnknownField => "unknown_field",
            Self::NoColumns => "no_columns",
            Self::DuplicateField => "duplicate_field",
            Self::DuplicateKey => "duplicate_key",
            Self::KeysAndValues => "keys_and_values",
            Self::TooDeep { .. } => "too_deep",
            Self::Malformed { .. } => "malformed_json",
            Self::InvalidUtf8 { .. } => "invalid_utf8",
        }
    }

    /// Whether the event is no JSON text at all, as opposed to JSON that does not fit the table.
    pub fn is_syntax(&self) -> bool {
        matches!(self, Self::Malformed { .. } | Self::InvalidUtf8 { .. } | Self::TooDeep { .. })
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "field `{}`: ", self.field)?;
        }
        write!(f, "{}", self.reason)?;
        if self.got.is_empty() { Ok(()) } else { write!(f, ", got `{}`", self.got) }
    }
}

impl std::error::Error for FieldError {}

/// Longest excerpt, in characters.
const MAX_GOT: usize = 64;
/// Longest path, in characters: field names come from the client.
const MAX_PATH: usize = 512;

impl FieldError {
    pub(crate) fn new(mut field: String, reason: Reason, got: &str) -> Self {
        cut(&mut field, MAX_PATH);
        // The 4 bytes of a character at most: no more of a huge value is copied than can be shown.
        let end = got.floor_char_boundary(4 * (MAX_GOT + 1));
        let mut got = got[..end].to_owned();
        cut(&mut got, MAX_GOT);
        Self { field, reason, got }
    }
}

/// Cuts to at most `limit` characters, the last of which then is an ellipsis.
fn cut(text: &mut String, limit: usize) {
    if text.chars().nth(limit).is_some() {
        let keep = text.char_indices().nth(limit - 1).map_or(0, |(at, _)| at);
        text.truncate(keep);
        text.push('…');
    }
}

/// Where the walk is: a list of ancestors on the stack, written out only when needed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'f> {
    pub(super) parent: Option<&'f Frame<'f>>,
    pub(super) segment: Segment<'f>,
    /// 1 for the event itself.
    pub(super) depth: usize,
}

/// One step of a path.
#[derive(Debug, Clone, Copy)]
pub(super) enum Segment<'f> {
    Event,
    Field(&'f str),
    Key(&'f str),
    Index(usize),
}

impl<'f> Frame<'f> {
    pub(super) const EVENT: Self = Self { parent: None, segment: Segment::Event, depth: 1 };

    pub(super) fn child(&'f self, segment: Segment<'f>) -> Self {
        Self { parent: Some(self), segment, depth: self.depth + 1 }
    }

    pub(super) fn path(&self) -> String {
        let mut path = self.parent.map(Frame::path).unwrap_or_default();
        match self.segment {
            Segment::Event => {}
            Segment::Field(name) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(short(name));
            }
            Segment::Key(name) => {
                path.push_str("[\"");
                path.push_str(short(name));
                path.push_str("\"]");
            }
            Segment::Index(index) => path.push_str(&format!("[{index}]")),
        }
        path
    }
}

/// A name without the tail that the path's limit would cut off anyway.
fn short(name: &str) -> &str {
    &name[..name.floor_char_boundary(4 * (MAX_PATH + 1))]
}
