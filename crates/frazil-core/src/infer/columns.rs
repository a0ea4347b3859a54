//! From observed shapes to columns: their types, their ids, and which names can be columns at all.

use std::collections::HashSet;

use super::shape::{Entry, Fields, Shape};
use crate::schema::{Field, Type};

/// Makes columns.
#[derive(Debug, Default)]
pub(crate) struct Builder<'g> {
    /// The last id in use.
    last_id: i32,
    /// Dotted full names in use, in lower case: Iceberg indexes columns by them, and many engines without regard to case.
    taken: HashSet<String>,
    /// Makes only columns with these places in the order of first appearance; `None`: all.
    granted: Option<&'g HashSet<usize>>,
    /// The places of the columns that were made.
    made: Vec<usize>,
}

impl<'g> Builder<'g> {
    /// One that gives ids above `last_id` and does not use the names of a table's own columns.
    pub(crate) fn new(last_id: i32, own: &[Field], granted: Option<&'g HashSet<usize>>) -> Self {
        let mut builder = Self { last_id, granted, ..Self::default() };
        builder.take_names(own, "");
        builder
    }

    /// The places, in the order of first appearance, of the columns made so far.
    pub(crate) fn into_made(self) -> Vec<usize> {
        self.made
    }

    /// The columns for fields of the struct with the full name `parent`.
    pub(crate) fn fields(&mut self, fields: &Fields, parent: &str) -> Vec<Field> {
        let with_values = fields.list.iter().filter(|entry| entry.shape.has_values());
        with_values.filter_map(|entry| self.field(entry, parent)).collect()
    }

    fn field(&mut self, entry: &Entry, parent: &str) -> Option<Field> {
        if self.granted.is_some_and(|granted| !granted.contains(&entry.order)) {
            return None;
        }
        let full_name = join(parent, &entry.name);
        let field = self.named(&full_name, |builder, id| {
            let ty = builder.column(&entry.shape, &full_name)?;
            Some(Field::optional(id, entry.name.as_str(), ty))
        })?;
        self.made.push(entry.order);
        Some(field)
    }

    /// What `make` makes with a new id under a name that is free; no trace if it makes nothing.
    fn named<T>(&mut self, full_name: &str, make: impl FnOnce(&mut Self, i32) -> Option<T>) -> Option<T> {
        let taken = full_name.to_lowercase();
        if !self.taken.insert(taken.clone()) {
            return None;
        }
        // Pre-order: before the ids of what lies below. If there is nothing below, none were given.
        self.last_id += 1;
        let made = make(self, self.last_id);
        if made.is_none() {
            self.last_id -= 1;
            self.taken.remove(&taken);
        }
        made
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
                self.named(&full_name, |builder, id| Some(Type::list(id, builder.column(element, &full_name)?)))
            }
            (None, None) => None,
        }
    }

    fn take_names(&mut self, fields: &[Field], parent: &str) {
        for field in fields {
            let full_name = join(parent, &field.name);
            self.take_nested(&field.ty, &full_name);
            self.taken.insert(full_name.to_lowercase());
        }
    }

    fn take_nested(&mut self, ty: &Type, full_name: &str) {
        let inner: &[(&str, &Type)] = match ty {
            Type::Struct(fields) => return self.take_names(fields, full_name),
            Type::List { element, .. } => &[("element", element)],
            Type::Map { key, value, .. } => &[("key", key), ("value", value)],
            _ => &[],
        };
        for (part, ty) in inner {
            let full_name = join(full_name, part);
            self.take_nested(ty, &full_name);
            self.taken.insert(full_name.to_lowercase());
        }
    }
}

/// The full name of a field below `parent`.
pub(crate) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}
