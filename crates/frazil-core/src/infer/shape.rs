//! What the values of fields without a column look like, over any number of events.
//!
//! Bounded: at most [`MAX_COLUMNS`] names and list elements are remembered, whatever comes. It does not
//! decide which of them become columns, nor of which type.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::{MAX_COLUMN_DEPTH, MAX_COLUMN_NAME_BYTES, MAX_COLUMNS};
use crate::mapping::json::{Reader, Text};
use crate::mapping::{Reason, temporal};
use crate::schema;

/// Looks at values.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    /// How many columns there are, and names and list elements were met; all levels together.
    columns: usize,
    /// How many objects were met: names the current one, to find repeated fields.
    objects: u64,
    /// Whether names that differ only in case are one name.
    fold: bool,
    /// Whether an object that repeats a field is kept as text; else it is a failure.
    repeats_as_text: bool,
}

/// Why a value could not be observed.
#[derive(Debug)]
pub(crate) enum Failure {
    Reader(Reason),
    Duplicate(String),
}

/// The kinds of values that one column was seen with.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    pub(super) boolean: bool,
    pub(super) long: bool,
    pub(super) double: bool,
    /// RFC 3339 date-times with offset.
    pub(super) instant: bool,
    /// Other strings.
    pub(super) string: bool,
    /// Anything that only a string column keeps.
    pub(super) text: bool,
    pub(super) object: Option<Fields>,
    pub(super) list: Option<Box<Shape>>,
}

/// Fields by name, in the order of their first appearance.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    pub(super) list: Vec<Entry>,
    index: HashMap<String, usize>,
    /// Whether a field found no room.
    pub(super) full: bool,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Place in the order in which all fields of all levels appeared first; unique.
    pub(super) order: usize,
    /// The last object that had this field.
    object: u64,
    pub(super) shape: Shape,
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::Reader(reason)
    }
}

impl Observer {
    /// One that refuses objects with repeated fields.
    pub(super) fn strict(fold: bool) -> Self {
        Self { fold, ..Self::default() }
    }

    /// One for a table that has `columns` already, which keeps objects with repeated fields as text.
    pub(crate) fn lenient(fold: bool, columns: usize) -> Self {
        Self { columns, objects: 0, fold, repeats_as_text: true }
    }

    /// A number for an object whose fields are observed one by one.
    pub(crate) fn next_object(&mut self) -> u64 {
        self.objects += 1;
        self.objects
    }

    /// Reads an object at the reader into `fields`, which are at `level`; whether it repeats a field.
    pub(super) fn object(
        &mut self,
        reader: &mut Reader<'_>,
        fields: &mut Fields,
        level: usize,
    ) -> Result<bool, Failure> {
        reader.enter()?;
        let object = self.next_object();
        let (mut first, mut repeats) = (true, false);
        let mut others = HashSet::new();
        while let Some(key) = reader.key(&mut first)? {
            let Some(position) = self.position(fields, key, level) else {
                if !others.insert(self.folded(key.value())) {
                    repeats |= self.repeat(&key.value())?;
                }
                reader.skip_value()?;
                continue;
            };
            repeats |= self.entry(reader, &mut fields.list[position], object, level)?;
        }
        Ok(repeats)
    }

    /// Reads the value at the reader, of the field with this key in an object of `fields`.
    pub(crate) fn field(
        &mut self,
        reader: &mut Reader<'_>,
        key: Text<'_>,
        fields: &mut Fields,
        object: u64,
        level: usize,
    ) -> Result<(), Failure> {
        match self.position(fields, key, level) {
            Some(position) => drop(self.entry(reader, &mut fields.list[position], object, level)?),
            None => drop(reader.skip_value()?),
        }
        Ok(())
    }

    fn entry(
        &mut self,
        reader: &mut Reader<'_>,
        entry: &mut Entry,
        object: u64,
        level: usize,
    ) -> Result<bool, Failure> {
        reader.peek();
        if entry.object == object {
            let repeats = self.repeat(&entry.name)?;
            reader.skip_value()?;
            return Ok(repeats);
        }
        entry.object = object;
        self.value(reader, &mut entry.shape, level)?;
        Ok(false)
    }

    fn repeat(&self, name: &str) -> Result<bool, Failure> {
        if self.repeats_as_text { Ok(true) } else { Err(Failure::Duplicate(name.to_owned())) }
    }

    /// The position of a key's entry, made if there is room; `None` if the field does not become a column.
    fn position(&mut self, fields: &mut Fields, key: Text<'_>, level: usize) -> Option<usize> {
        let name = key.value();
        let folded = self.folded(name.clone());
        if let Some(position) = fields.index.get(&*folded) {
            return Some(*position);
        }
        let system = level == 1 && schema::is_system_name(&name);
        if system || name.is_empty() || name.len() > MAX_COLUMN_NAME_BYTES {
            return None;
        }
        if self.columns >= MAX_COLUMNS {
            fields.full = true;
            return None;
        }
        self.columns += 1;
        let position = fields.list.len();
        fields.index.insert(folded.into_owned(), position);
        let entry = Entry { name: name.into_owned(), order: self.columns, object: 0, shape: Shape::default() };
        fields.list.push(entry);
        Some(position)
    }

    fn folded<'n>(&self, name: Cow<'n, str>) -> Cow<'n, str> {
        if self.fold { name.to_lowercase().into() } else { name }
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
                shape.text |= outcome?;
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

impl Shape {
    /// Whether anything but nulls and empty containers was seen.
    pub(super) fn has_values(&self) -> bool {
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
