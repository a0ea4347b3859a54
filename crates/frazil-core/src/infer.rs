//! The schema of a table that does not exist yet, from the first batch of events for it.
//!
//! It owns the choice of types and nothing else: partitioning, system columns ([`Schema::with_system_columns`]) and
//! the creation of the table belong to others. Every event it has seen is valid for the table it proposes, once that has
//! the system columns.
//!
//! | values of a field, over all events | column |
//! | --- | --- |
//! | whole numbers within 64 bits | long |
//! | other numbers, finite as a double, perhaps mixed with the former | double |
//! | `true`, `false` | boolean |
//! | strings, all of them RFC 3339 date-times with offset | timestamptz |
//! | other strings | string |
//! | objects | struct of their merged fields |
//! | arrays | list of their merged elements |
//! | any other mix; numbers beyond a long or a double | string, which keeps the JSON text |
//! | only nulls, empty arrays, empty objects | left out |
//!
//! Everything may be null. Columns are in the order of their first appearance, ids in pre-order from 1.
//! What is left out goes to `__extra__` when it comes. That is also the fate of
//! - fields named like system columns, and fields without a name;
//! - a field whose name differs from a sibling's only in case, or whose dotted full name is taken: many engines could not
//!   read the table;
//! - top-level fields beyond [`MAX_COLUMNS`]. A nested object that would exceed it, or an object or array nested
//!   deeper than [`MAX_COLUMN_DEPTH`], becomes a string column.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use crate::mapping::json::{Reader, Text};
use crate::mapping::{FieldError, Reason, temporal};
use crate::schema::{Field, SYSTEM_COLUMNS, Schema, Type};

/// The most columns an inferred schema has; fields of structs and elements of lists count.
pub const MAX_COLUMNS: usize = 2_000;
/// The deepest level of columns; a top-level column is at level 1.
pub const MAX_COLUMN_DEPTH: usize = 64;

/// An event from which nothing can be inferred.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {index}: {error}")]
pub struct InferError {
    /// Position of the event in the batch, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub error: FieldError,
}

/// Proposes columns for a batch of events; the system columns are not among them.
///
/// No events, or none with a usable field, give a schema without columns.
///
/// # Errors
/// [`InferError`] for the first event that is no JSON object or repeats a field. Filter a batch of which some events
/// may be invalid with [`Inference`].
pub fn infer_schema<'e>(events: impl Iterator<Item = &'e [u8]>) -> Result<Schema, InferError> {
    let mut inference = Inference::default();
    for (index, event) in events.enumerate() {
        inference.observe(event).map_err(|error| InferError { index, error })?;
    }
    Ok(inference.schema())
}

/// Inference, event by event.
#[derive(Debug, Default)]
pub struct Inference {
    root: Fields,
    /// How many names and list elements were met, all levels together.
    columns: usize,
    /// How many objects were met: names the current one, to find repeated fields.
    objects: u64,
}

impl Inference {
    /// Takes one event into account.
    ///
    /// # Errors
    /// If the event is no JSON object or repeats a field. One that is no JSON leaves no trace; of one that repeats
    /// a field, the values up to there remain observed.
    pub fn observe(&mut self, event: &[u8]) -> Result<(), FieldError> {
        let fail = |reason| FieldError::new(String::new(), reason, &String::from_utf8_lossy(event));
        let check = || {
            let mut reader = Reader::new(event)?;
            let next = reader.peek();
            reader.skip_value()?;
            reader.finish()?;
            if next == Some(b'{') { Reader::new(event) } else { Err(Reason::NotAnObject) }
        };
        let mut reader = check().map_err(fail)?;
        reader.peek();
        let mut root = std::mem::take(&mut self.root);
        let outcome = self.object(&mut reader, &mut root, 1);
        self.root = root;
        outcome.map_err(|failure| match failure {
            Failure::Reader(reason) => fail(reason),
            Failure::Duplicate(name) => FieldError::new(name, Reason::DuplicateField, ""),
        })
    }

    /// The columns for what was observed so far.
    pub fn schema(&self) -> Schema {
        let mut builder = Builder::default();
        Schema::new(builder.fields(&self.root, ""))
    }

    /// Reads an object at the reader into `fields`, which are at `level`.
    fn object(&mut self, reader: &mut Reader<'_>, fields: &mut Fields, level: usize) -> Result<(), Failure> {
        reader.enter()?;
        self.objects += 1;
        let object = self.objects;
        let mut first = true;
        while let Some(key) = reader.key(&mut first)? {
            reader.peek();
            let Some(position) = self.position(fields, key, level) else {
                reader.skip_value()?;
                continue;
            };
            let entry = &mut fields.list[position];
            if entry.object == object {
                return Err(Failure::Duplicate(entry.name.clone()));
            }
            entry.object = object;
            self.value(reader, &mut entry.shape, level)?;
        }
        Ok(())
    }

    /// The position of a key's entry, made if there is room; `None` if the field does not become a column.
    fn position(&mut self, fields: &mut Fields, key: Text<'_>, level: usize) -> Option<usize> {
        let name = key.value();
        if let Some(position) = fields.index.get(&*name) {
            return Some(*position);
        }
        let system = level == 1 && SYSTEM_COLUMNS.iter().any(|(column, _)| column.eq_ignore_ascii_case(&name));
        if system || name.is_empty() {
            return None;
        }
        if self.columns >= MAX_COLUMNS {
            fields.full = true;
            return None;
        }
        self.columns += 1;
        let position = fields.list.len();
        fields.index.insert(name.clone().into_owned(), position);
        fields.list.push(Entry { name: name.into_owned(), object: 0, shape: Shape::default() });
        Some(position)
    }

    /// Reads any value at the reader into `shape`, which is the shape of a column at `level`.
    fn value(&mut self, reader: &mut Reader<'_>, shape: &mut Shape, level: usize) -> Result<(), Failure> {
        let start_of_container = matches!(reader.peek(), Some(b'{' | b'['));
        if start_of_container && level >= MAX_COLUMN_DEPTH {
            shape.text = true;
            reader.skip_value()?;
            return Ok(());
        }
        match reader.peek() {
            Some(b'{') => {
                let mut fields = shape.object.take().unwrap_or_default();
                let outcome = self.object(reader, &mut fields, level + 1);
                shape.object = Some(fields);
                outcome?;
            }
            Some(b'[') => self.array(reader, shape, level)?,
            Some(b'"') => {
                let text = reader.string()?;
                let instant = temporal::date_time(&text.value()).is_some_and(|value| value.offset.is_some());
                shape.instant |= instant;
                shape.string |= !instant;
            }
            Some(b't' | b'f') => {
                shape.boolean = true;
                reader.skip_value()?;
            }
            Some(b'n') => {
                reader.skip_value()?;
            }
            _ => {
                let number = reader.number()?;
                if number.whole {
                    let fits = number.small.is_some() || number.text.parse::<i64>().is_ok();
                    shape.long |= fits;
                    shape.text |= !fits;
                } else {
                    let finite = number.text.parse::<f64>().is_ok_and(f64::is_finite);
                    shape.double |= finite;
                    shape.text |= !finite;
                }
            }
        }
        Ok(())
    }

    fn array(&mut self, reader: &mut Reader<'_>, shape: &mut Shape, level: usize) -> Result<(), Failure> {
        if shape.list.is_none() {
            if self.columns >= MAX_COLUMNS {
                shape.text = true;
                reader.skip_value()?;
                return Ok(());
            }
            self.columns += 1;
        }
        let mut element = shape.list.take().unwrap_or_default();
        let outcome = self.elements(reader, &mut element, level + 1);
        shape.list = Some(element);
        outcome
    }

    fn elements(&mut self, reader: &mut Reader<'_>, element: &mut Shape, level: usize) -> Result<(), Failure> {
        reader.enter()?;
        let mut first = true;
        while reader.element(&mut first)? {
            self.value(reader, element, level)?;
        }
        Ok(())
    }
}

enum Failure {
    Reader(Reason),
    Duplicate(String),
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::Reader(reason)
    }
}

/// The kinds of values that one column was seen with.
#[derive(Debug, Default)]
struct Shape {
    boolean: bool,
    long: bool,
    double: bool,
    /// RFC 3339 date-times with offset.
    instant: bool,
    /// Other strings.
    string: bool,
    /// Anything that only a string column keeps.
    text: bool,
    object: Option<Fields>,
    list: Option<Box<Shape>>,
}

#[derive(Debug, Default)]
struct Fields {
    list: Vec<Entry>,
    index: HashMap<String, usize>,
    /// Whether a field found no room.
    full: bool,
}

#[derive(Debug)]
struct Entry {
    name: String,
    /// The last object that had this field.
    object: u64,
    shape: Shape,
}

/// Turns shapes into columns.
#[derive(Debug, Default)]
struct Builder {
    next_id: i32,
    /// Dotted full names in use: Iceberg indexes columns by them.
    full_names: HashSet<String>,
}

impl Builder {
    fn fields(&mut self, fields: &Fields, parent: &str) -> Vec<Field> {
        let mut folded = HashSet::new();
        let mut columns = Vec::new();
        for entry in fields.list.iter().filter(|entry| entry.shape.has_values()) {
            let lower = entry.name.to_lowercase();
            if !folded.contains(&lower)
                && let Some(field) = self.field(entry, parent)
            {
                folded.insert(lower);
                columns.push(field);
            }
        }
        columns
    }

    fn field(&mut self, entry: &Entry, parent: &str) -> Option<Field> {
        let full_name = join(parent, &entry.name);
        if !self.full_names.insert(full_name.clone()) {
            return None;
        }
        let id = self.id();
        let ty = self.column(&entry.shape, &full_name);
        if ty.is_none() {
            // Nothing below got an id either.
            self.next_id = id - 1;
        }
        Some(Field::optional(id, entry.name.as_str(), ty?))
    }

    /// The type for a shape that has values; `None` if all its names are taken.
    fn column(&mut self, shape: &Shape, full_name: &str) -> Option<Type> {
        let number = shape.long || shape.double;
        let strings = shape.instant || shape.string;
        // Empty objects and arrays count here: beside another kind they too must be kept.
        let (object, list) = (shape.object.as_ref(), shape.list.as_ref());
        let kinds = [shape.boolean, number, strings, shape.text, object.is_some(), list.is_some()];
        if shape.text || kinds.into_iter().filter(|kind| *kind).count() > 1 {
            return Some(Type::String);
        }
        match (object, list) {
            _ if shape.boolean => Some(Type::Boolean),
            _ if shape.double => Some(Type::Double),
            _ if shape.long => Some(Type::Long),
            _ if shape.string => Some(Type::String),
            _ if shape.instant => Some(Type::Timestamptz),
            (Some(fields), _) if fields.full => Some(Type::String),
            (Some(fields), _) => {
                let fields = self.fields(fields, full_name);
                // Parquet has no struct without fields.
                (!fields.is_empty()).then_some(Type::Struct(fields))
            }
            (None, Some(element)) => {
                let full_name = join(full_name, "element");
                if !self.full_names.insert(full_name.clone()) {
                    return None;
                }
                let element_id = self.id();
                Some(Type::list(element_id, self.column(element, &full_name)?))
            }
            (None, None) => None,
        }
    }

    fn id(&mut self) -> i32 {
        self.next_id += 1;
        self.next_id
    }
}

impl Shape {
    /// Whether anything but nulls and empty containers was seen.
    fn has_values(&self) -> bool {
        self.boolean
            || self.long
            || self.double
            || self.instant
            || self.string
            || self.text
            || self.object.as_ref().is_some_and(Fields::has_values)
            || self.list.as_ref().is_some_and(|element| element.has_values())
    }
}

impl Fields {
    fn has_values(&self) -> bool {
        self.full || self.list.iter().any(|entry| entry.shape.has_values())
    }
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}
