//! A walk over valid events along a table's schema that notes what the table lacks: columns, and width.
//!
//! It takes values to columns as the mapping does, by the same names and the same forms of maps; what a value
//! itself comes to is asked of the mapping.

use std::collections::HashMap;

use super::widen;
use crate::infer::{Builder, Failure, Fields, MAX_COLUMN_DEPTH, Observer, join};
use crate::mapping::MappingPolicy;
use crate::mapping::json::{Reader, Text};
use crate::mapping::scalar::Scratch;
use crate::schema::{Field, Schema, Type};

type Step<T = ()> = Result<T, Failure>;

pub(super) struct Survey<'p> {
    policy: &'p MappingPolicy,
    observer: Observer,
    scratch: Scratch,
    root: Struct,
}

/// A struct of the table, or the table.
#[derive(Debug, Default)]
struct Struct {
    names: HashMap<String, usize>,
    places: Vec<Place>,
    /// Fields without a column.
    unknown: Fields,
}

/// Where the values of a column, element, or map value stand.
#[derive(Debug)]
enum Place {
    /// Its values cannot demand a change.
    Fixed,
    Number {
        /// As wide as the values so far demand.
        ty: Type,
        /// As wide as it can become.
        wide: Type,
    },
    Struct(Struct),
    List(Box<Place>),
    /// Of a map with string keys.
    TextMap(Box<Place>),
    /// Of a map with other keys.
    PairedMap(Box<Place>),
}

impl<'p> Survey<'p> {
    pub(super) fn new(schema: &Schema, policy: &'p MappingPolicy) -> Self {
        let make = Make { identifiers: &schema.identifier_field_ids, fold: policy.case_insensitive };
        Self {
            policy,
            observer: Observer::lenient(policy.case_insensitive, count(&schema.fields)),
            scratch: Scratch::default(),
            root: make.table(&schema.fields),
        }
    }

    /// Notes what an event needs that the accepting plan takes.
    pub(super) fn event(&mut self, event: &[u8]) {
        let Ok(mut reader) = Reader::new(event) else { return };
        reader.peek();
        let mut root = std::mem::take(&mut self.root);
        // An event that is not as its plan found it would be noted as far as it can be read, and harm nothing.
        let _ = self.object(&mut reader, &mut root, 1);
        self.root = root;
    }

    /// The fields with what was noted, and how many columns are wider.
    pub(super) fn grow(&self, schema: &Schema, builder: &mut Builder<'_>) -> (Vec<Field>, u32) {
        let mut widened = 0;
        let fields = self.root.grow(&schema.fields, "", builder, &mut widened);
        (fields, widened)
    }

    fn object(&mut self, reader: &mut Reader<'_>, at: &mut Struct, level: usize) -> Step {
        reader.enter()?;
        let object = self.observer.next_object();
        let mut first = true;
        while let Some(key) = reader.key(&mut first)? {
            reader.peek();
            match at.find(key, self.policy.case_insensitive) {
                Some(index) => self.value(reader, &mut at.places[index], level)?,
                None if level > MAX_COLUMN_DEPTH => drop(reader.skip_value()?),
                None => self.observer.field(reader, key, &mut at.unknown, object, level)?,
            }
        }
        Ok(())
    }

    /// A value of the column at `level`.
    fn value(&mut self, reader: &mut Reader<'_>, place: &mut Place, level: usize) -> Step {
        match (reader.peek(), place) {
            (Some(b'{'), Place::Struct(fields)) => self.object(reader, fields, level + 1)?,
            (Some(b'['), Place::List(element)) => self.elements(reader, element, level + 1)?,
            (Some(b'{'), Place::TextMap(value)) => {
                reader.enter()?;
                let mut first = true;
                while reader.key(&mut first)?.is_some() {
                    reader.peek();
                    self.value(reader, value, level + 1)?;
                }
            }
            (Some(b'{'), Place::PairedMap(value)) => {
                reader.enter()?;
                let mut first = true;
                while let Some(key) = reader.key(&mut first)? {
                    match reader.peek() {
                        Some(b'[') if key.value() == "values" => self.elements(reader, value, level + 1)?,
                        _ => drop(reader.skip_value()?),
                    }
                }
            }
            (Some(next), Place::Number { ty, wide }) if next != b'n' => {
                if let Some(wider) = widen::needed(ty, wide, reader, self.policy, &mut self.scratch)? {
                    *ty = wider;
                }
            }
            _ => drop(reader.skip_value()?),
        }
        Ok(())
    }

    fn elements(&mut self, reader: &mut Reader<'_>, element: &mut Place, level: usize) -> Step {
        reader.enter()?;
        let mut first = true;
        while reader.element(&mut first)? {
            self.value(reader, element, level)?;
        }
        Ok(())
    }
}

/// Places for a schema.
struct Make<'s> {
    identifiers: &'s [i32],
    fold: bool,
}

impl Make<'_> {
    /// The root: its system columns are unknown to events, and the observer knows their names.
    fn table(&self, columns: &[Field]) -> Struct {
        let mut root = self.fields(columns);
        let filled = columns.iter().enumerate().filter(|(_, column)| column.is_filled());
        for (index, _) in filled {
            root.names.retain(|_, position| *position != index);
        }
        root
    }

    fn fields(&self, fields: &[Field]) -> Struct {
        let name = |field: &Field| if self.fold { field.name.to_lowercase() } else { field.name.clone() };
        let place = |field: &Field| match self.identifiers.contains(&field.id) {
            true => Place::Fixed,
            false => self.place(&field.ty),
        };
        Struct {
            names: fields.iter().enumerate().map(|(index, field)| (name(field), index)).collect(),
            places: fields.iter().map(place).collect(),
            unknown: Fields::default(),
        }
    }

    fn place(&self, ty: &Type) -> Place {
        match ty {
            Type::Struct(fields) => Place::Struct(self.fields(fields)),
            Type::List { element, .. } => Place::List(Box::new(self.place(element))),
            Type::Map { key, value, .. } if **key == Type::String => Place::TextMap(Box::new(self.place(value))),
            Type::Map { value, .. } => Place::PairedMap(Box::new(self.place(value))),
            primitive => match widen::promoted(primitive) {
                Some(wide) => Place::Number { ty: primitive.clone(), wide },
                None => Place::Fixed,
            },
        }
    }
}

impl Struct {
    fn find(&self, key: Text<'_>, fold: bool) -> Option<usize> {
        let name = key.value();
        if fold { self.names.get(&name.to_lowercase()).copied() } else { self.names.get(&*name).copied() }
    }

    fn grow(&self, old: &[Field], parent: &str, builder: &mut Builder<'_>, widened: &mut u32) -> Vec<Field> {
        let kept = old.iter().zip(&self.places).map(|(field, place)| {
            let ty = place.grow(&field.ty, &join(parent, &field.name), builder, widened);
            Field { ty, ..field.clone() }
        });
        let mut fields: Vec<Field> = kept.collect();
        fields.extend(builder.fields(&self.unknown, parent));
        fields
    }
}

impl Place {
    fn grow(&self, old: &Type, name: &str, builder: &mut Builder<'_>, widened: &mut u32) -> Type {
        match (self, old) {
            (Self::Number { ty, .. }, old) => {
                *widened += u32::from(ty != old);
                ty.clone()
            }
            (Self::Struct(at), Type::Struct(fields)) => Type::Struct(at.grow(fields, name, builder, widened)),
            (Self::List(at), Type::List { element_id, element_required, element }) => Type::List {
                element_id: *element_id,
                element_required: *element_required,
                element: Box::new(at.grow(element, &join(name, "element"), builder, widened)),
            },
            (Self::TextMap(at) | Self::PairedMap(at), Type::Map { key_id, key, value_id, value_required, value }) => {
                Type::Map {
                    key_id: *key_id,
                    key: key.clone(),
                    value_id: *value_id,
                    value_required: *value_required,
                    value: Box::new(at.grow(value, &join(name, "value"), builder, widened)),
                }
            }
            (_, old) => old.clone(),
        }
    }
}

/// How many columns, fields of structs, elements and map entries there are.
fn count(fields: &[Field]) -> usize {
    fields.iter().map(|field| 1 + count_nested(&field.ty)).sum()
}

fn count_nested(ty: &Type) -> usize {
    match ty {
        Type::Struct(fields) => count(fields),
        Type::List { element, .. } => 1 + count_nested(element),
        Type::Map { value, .. } => 2 + count_nested(value),
        _ => 0,
    }
}
