//! Reading a few fields of an event, in one pass over its JSON. Decides nothing about their values.

use super::RoutingError;
use crate::mapping::Reason;
use crate::mapping::json::{Reader, Text};

/// The fields that are read, by their paths.
#[derive(Debug)]
pub(super) struct Tree {
    root: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    name: String,
    what: What,
}

#[derive(Debug)]
enum What {
    /// The field with this number.
    Field(usize),
    /// An object with fields that are read.
    Object(Vec<Node>),
}

/// What stands at a path.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'e> {
    /// Nothing.
    Missing,
    /// Null.
    Null,
    /// Several values.
    Twice,
    /// A string.
    Text(Text<'e>),
    /// The text of a whole number or a boolean.
    Plain(&'e str),
    /// The text of anything else.
    Other(&'e str),
}

impl Tree {
    /// # Errors
    /// If a path leads through another's field: no event could have both.
    pub(super) fn new(paths: &[Vec<String>]) -> Result<Self, RoutingError> {
        let mut root = Vec::new();
        for (number, path) in paths.iter().enumerate() {
            insert(&mut root, path, number).ok_or_else(|| {
                let path = path.join(".");
                RoutingError(format!("the field {path:?} cannot be a value and an object with fields at the same time"))
            })?;
        }
        Ok(Self { root })
    }

    /// The values of the `count` fields in one event.
    pub(super) fn read<'e>(&self, event: &'e [u8], count: usize) -> Result<Vec<Value<'e>>, Reason> {
        let mut values = vec![Value::Missing; count];
        let mut reader = Reader::new(event)?;
        if reader.peek() != Some(b'{') {
            reader.skip_value()?;
            reader.finish()?;
            return Err(Reason::NotAnObject);
        }
        object(&mut reader, &self.root, &mut values)?;
        reader.finish()?;
        Ok(values)
    }
}

fn insert(nodes: &mut Vec<Node>, path: &[String], number: usize) -> Option<()> {
    let (name, rest) = path.split_first()?;
    let known = nodes.iter().position(|node| node.name == *name);
    match (known, rest.is_empty()) {
        (Some(_), true) => None,
        (None, true) => {
            nodes.push(Node { name: name.clone(), what: What::Field(number) });
            Some(())
        }
        (Some(at), false) => match &mut nodes[at].what {
            What::Field(_) => None,
            What::Object(below) => insert(below, rest, number),
        },
        (None, false) => {
            let mut below = Vec::new();
            insert(&mut below, rest, number)?;
            nodes.push(Node { name: name.clone(), what: What::Object(below) });
            Some(())
        }
    }
}

fn object<'e>(reader: &mut Reader<'e>, nodes: &[Node], values: &mut [Value<'e>]) -> Result<(), Reason> {
    reader.enter()?;
    let mut first = true;
    while let Some(key) = reader.key(&mut first)? {
        let name = key.value();
        let node = nodes.iter().find(|node| node.name == *name);
        match node.map(|node| &node.what) {
            Some(What::Field(number)) => {
                let value = value(reader)?;
                let place = &mut values[*number];
                *place = if matches!(place, Value::Missing) { value } else { Value::Twice };
            }
            Some(What::Object(below)) if reader.peek() == Some(b'{') => object(reader, below, values)?,
            Some(What::Object(_)) | None => {
                reader.skip_value()?;
            }
        }
    }
    Ok(())
}

fn value<'e>(reader: &mut Reader<'e>) -> Result<Value<'e>, Reason> {
    Ok(match reader.peek() {
        Some(b'"') => Value::Text(reader.string()?),
        Some(b'-' | b'0'..=b'9') => {
            let number = reader.number()?;
            if number.whole { Value::Plain(number.text) } else { Value::Other(number.text) }
        }
        Some(b't' | b'f') => Value::Plain(reader.skip_value()?),
        Some(b'n') => {
            reader.literal("null")?;
            Value::Null
        }
        _ => Value::Other(reader.skip_value()?),
    })
}
