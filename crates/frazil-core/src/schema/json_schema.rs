//! A table's schema from a JSON Schema that describes its events (drafts 07 and 2020-12).
//!
//! The rule: an event that is valid by the JSON Schema fits the table. What JSON Schema can say and a column cannot
//! hold as values becomes a string column, which keeps the JSON text of whatever is sent; nothing is lost.
//!
//! | JSON Schema | column |
//! | --- | --- |
//! | `boolean` | boolean |
//! | `integer` | long; int with `format: int32`; `decimal(20,0)` with `format: uint64`; `decimal(38,0)` with larger bounds |
//! | `number` | double; float with `format: float` |
//! | `number` or `string` with `format: decimal` | decimal of `x-precision` (38) and `x-scale` (or `multipleOf: 0.01`) |
//! | `string` | string |
//! | … `format: date`, `date-time`, `uuid` | date, timestamptz, uuid |
//! | … `format: date-time-local`, `time-local` | timestamp, time |
//! | … `format: byte` or `contentEncoding: base64` | binary |
//! | `object` with `properties` | struct |
//! | `object` with only a schema in `additionalProperties` | `map<string, …>` |
//! | `array` with a schema in `items` | list |
//! | `enum`, `const` without `type` | the type that all the values have |
//! | `$ref` into the document, `allOf` of one | what it refers to; string where it leads back to itself |
//! | `["…", "null"]`, `anyOf`/`oneOf` with `{"type": "null"}`, `nullable: true` | the type, not required |
//! | everything else: several types, other `anyOf`/`oneOf`/`allOf`, no type, tuples, `patternProperties` alone | string |
//!
//! - A column is required if the property is in `required` and cannot be null; so are elements of lists and values of maps
//!   that cannot be null.
//! - `minimum` and `maximum` do not make an int of a long: bounds are edited with every release of a producer, a column
//!   would have to be altered, and small values in a long column cost next to nothing in Parquet.
//! - `format: time` is a string: RFC 3339 demands an offset there, which a time column cannot keep.
//! - Keywords that only restrict values (`pattern`, `maxLength`, `not`, `if`, …) are not looked at.
//! - `description`, else `title`, documents the column.
//!
//! It must not know what a table does with an event: that is [`crate::mapping`].

mod document;
mod keywords;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use super::{Field, SYSTEM_COLUMNS, Schema, SchemaError, Type};
use crate::infer::MAX_COLUMN_DEPTH;
use document::{Json, Object, join};
use keywords::{enumerated, integer, number, only_null, required, string, type_names};

/// Most columns, fields of structs included, that a JSON Schema may describe; `$ref` can repeat them. More: refused.
pub const FIELDS_MAX: usize = 10_000;

/// Most schemas around a schema, through references and alternatives too. More: refused.
const NESTING_MAX: usize = 256;

/// Largest schema document, in bytes. Larger: refused.
pub const DOCUMENT_MAX_BYTES: usize = 4 << 20;

/// Why a JSON Schema gives no table schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonSchemaError {
    /// The text is no JSON, or repeats a member.
    #[error("the schema is not valid JSON: {0}")]
    Json(String),
    /// The text is too long.
    #[error("the schema is {0} bytes long, at most {DOCUMENT_MAX_BYTES} are allowed")]
    TooLarge(usize),
    /// A part of the schema cannot be obeyed.
    #[error("at {}: {what}", if pointer.is_empty() { "the root" } else { pointer })]
    At {
        /// JSON pointer to the part; empty for the whole.
        pointer: String,
        /// What is wrong with it.
        what: String,
    },
}

/// Why a document is no schema of a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeclarationError {
    /// Neither an Iceberg schema nor a JSON Schema of objects.
    #[error(
        "this is neither an Iceberg schema (an object with `\"type\": \"struct\"` and `fields`) nor a JSON Schema of \
         objects (`\"type\": \"object\"` and `properties`)"
    )]
    Neither,
    /// An Iceberg schema with a defect.
    #[error(transparent)]
    Iceberg(#[from] SchemaError),
    /// A JSON Schema with a defect.
    #[error(transparent)]
    JsonSchema(#[from] JsonSchemaError),
}

/// Reads a declared schema of either kind: the Iceberg spec's schema JSON, or a JSON Schema. Field ids of the latter are
/// counted from 1; catalogs assign their own.
///
/// # Errors
/// [`DeclarationError`].
pub fn parse_any(text: &[u8]) -> Result<Schema, DeclarationError> {
    let document = read(text)?;
    let object = document.as_object().ok_or(DeclarationError::Neither)?;
    let has = |name: &str| object.get(name).is_some();
    match object.text("type") {
        Some("struct") => Ok(Schema::from_json(text)?),
        None if has("fields") && !has("properties") => Ok(Schema::from_json(text)?),
        Some("object") => Ok(translate(&document)?),
        _ if has("properties") || has("$ref") || has("$schema") || has("type") => Ok(translate(&document)?),
        _ => Err(DeclarationError::Neither),
    }
}

/// Reads a JSON Schema.
///
/// # Errors
/// [`JsonSchemaError`].
pub fn parse(text: &[u8]) -> Result<Schema, JsonSchemaError> {
    translate(&read(text)?)
}

fn read(text: &[u8]) -> Result<Json, JsonSchemaError> {
    if text.len() > DOCUMENT_MAX_BYTES {
        return Err(JsonSchemaError::TooLarge(text.len()));
    }
    serde_json::from_slice(text).map_err(|error| JsonSchemaError::Json(error.to_string()))
}

fn translate(document: &Json) -> Result<Schema, JsonSchemaError> {
    let mut translator = Translator { document, fields: 0, last_id: 0, open_refs: Vec::new(), nesting: 0 };
    let root = translator.shape(document, "", 0)?;
    let Type::Struct(fields) = root.ty else {
        return Err(at("", "the events of a table are objects; `\"type\": \"object\"` with `properties` is missing"));
    };
    for (name, _) in SYSTEM_COLUMNS {
        if fields.iter().any(|field| field.name.eq_ignore_ascii_case(name)) {
            return Err(at(&join("/properties", name), "this is a column that Frazil fills itself; leave it out"));
        }
    }
    tell_apart(&fields, "", &mut HashMap::new())?;
    Ok(Schema::new(fields))
}

/// What a schema says of a value.
#[derive(Debug)]
struct Shape {
    ty: Type,
    nullable: bool,
    doc: Option<String>,
}

impl Shape {
    fn of(ty: Type) -> Self {
        Self { ty, nullable: false, doc: None }
    }

    /// Anything at all: a string column, which keeps the JSON text of what is no string.
    fn anything() -> Self {
        Self { nullable: true, ..Self::of(Type::String) }
    }
}

struct Translator<'d> {
    document: &'d Json,
    /// Fields so far.
    fields: usize,
    last_id: i32,
    /// The references that are being followed, outermost first.
    open_refs: Vec<&'d str>,
    /// The schemas around the present one.
    nesting: usize,
}

type Translated<T> = Result<T, JsonSchemaError>;

impl<'d> Translator<'d> {
    fn next_id(&mut self) -> i32 {
        self.last_id += 1;
        self.last_id
    }

    /// What the schema at `pointer` says of values; `depth` columns enclose it.
    fn shape(&mut self, schema: &'d Json, pointer: &str, depth: usize) -> Translated<Shape> {
        let object = match schema {
            Json::Boolean(_) => return Ok(Shape::anything()),
            Json::Object(object) => object,
            _ => return Err(at(pointer, "a schema is an object, `true` or `false`")),
        };
        if depth > MAX_COLUMN_DEPTH {
            return Err(at(pointer, &format!("columns may be nested {MAX_COLUMN_DEPTH} deep, not deeper")));
        }
        if self.nesting > NESTING_MAX {
            return Err(at(pointer, &format!("schemas may be nested {NESTING_MAX} deep, references included")));
        }
        self.nesting += 1;
        let shape = self.undocumented(object, pointer, depth);
        self.nesting -= 1;
        let mut shape = shape?;
        shape.nullable |= object.get("nullable") == Some(&Json::Boolean(true));
        if let Some(doc) = object.text("description").or_else(|| object.text("title")) {
            shape.doc = Some(doc.to_owned());
        }
        Ok(shape)
    }

    fn undocumented(&mut self, object: &'d Object, pointer: &str, depth: usize) -> Translated<Shape> {
        if let Some(reference) = object.get("$ref") {
            let place = join(pointer, "$ref");
            let target = reference.as_str().ok_or_else(|| at(&place, "a reference is a string"))?;
            return self.follow(target, &place, depth);
        }
        match (object.get("type"), object.get("properties")) {
            (Some(names), _) => self.typed(object, names, pointer, depth),
            (None, Some(_)) => Ok(Shape::of(self.object(object, pointer, depth)?)),
            (None, None) if object.get("items").is_some() => Ok(Shape::of(self.array(object, pointer, depth)?)),
            (None, None) => match enumerated(object, pointer)? {
                Some(shape) => Ok(shape),
                None => self.combined(object, pointer, depth),
            },
        }
    }

    fn follow(&mut self, target: &'d str, place: &str, depth: usize) -> Translated<Shape> {
        let Some(local) = target.strip_prefix('#').filter(|rest| rest.is_empty() || rest.starts_with('/')) else {
            return Err(at(place, &format!("{target:?} is not in this document; only `#/…` can be followed")));
        };
        // A column cannot contain itself; as text it can.
        if self.open_refs.contains(&target) || (local.is_empty() && depth > 0) {
            return Ok(Shape::anything());
        }
        let document = self.document;
        let schema = document.at(local).ok_or_else(|| at(place, &format!("there is nothing at {target:?}")))?;
        self.open_refs.push(target);
        let shape = self.shape(schema, local, depth);
        self.open_refs.pop();
        shape
    }

    fn typed(&mut self, object: &'d Object, names: &Json, pointer: &str, depth: usize) -> Translated<Shape> {
        let place = join(pointer, "type");
        let names = type_names(names, &place)?;
        let nullable = names.contains(&"null");
        let mut named: Vec<&str> = names.into_iter().filter(|name| *name != "null").collect();
        if named.contains(&"number") {
            named.retain(|name| *name != "integer");
        }
        let ty = match named.as_slice() {
            ["boolean"] => Type::Boolean,
            ["integer"] => integer(object),
            ["number"] => number(object, pointer)?,
            ["string"] => string(object, pointer)?,
            ["array"] => self.array(object, pointer, depth)?,
            ["object"] => self.object(object, pointer, depth)?,
            [] => Type::String,
            [one] => return Err(at(&place, &format!("there is no type {one:?} in JSON Schema"))),
            _ => Type::String,
        };
        let listed = |name: &str| object.get(name).and_then(Json::as_array);
        let null_listed = listed("enum").is_none_or(|values| values.contains(&Json::Null));
        Ok(Shape { nullable: nullable && null_listed, ..Shape::of(ty) })
    }

    fn object(&mut self, object: &'d Object, pointer: &str, depth: usize) -> Translated<Type> {
        let properties = match object.get("properties") {
            None => &[],
            Some(Json::Object(Object(properties))) => properties.as_slice(),
            Some(_) => return Err(at(&join(pointer, "properties"), "`properties` is an object")),
        };
        if !properties.is_empty() {
            return self.structure(object, properties, pointer, depth);
        }
        match object.get("additionalProperties") {
            Some(values @ Json::Object(_)) if object.get("patternProperties").is_none() => {
                let (key_id, value_id) = (self.next_id(), self.next_id());
                let value = self.shape(values, &join(pointer, "additionalProperties"), depth + 1)?;
                let (value_required, value) = (!value.nullable, Box::new(value.ty));
                Ok(Type::Map { key_id, key: Box::new(Type::String), value_id, value_required, value })
            }
            _ => Ok(Type::String),
        }
    }

    fn structure(
        &mut self,
        object: &Object,
        properties: &'d [(String, Json)],
        pointer: &str,
        depth: usize,
    ) -> Translated<Type> {
        let required = required(object, pointer)?;
        let parent = join(pointer, "properties");
        let mut fields = Vec::with_capacity(properties.len());
        // A property that no value is valid for has no column.
        for (name, schema) in properties.iter().filter(|(_, schema)| *schema != Json::Boolean(false)) {
            let place = join(&parent, name);
            if name.is_empty() {
                return Err(at(&place, "a column needs a name"));
            }
            self.fields += 1;
            if self.fields > FIELDS_MAX {
                return Err(at(&place, &format!("the schema describes more than {FIELDS_MAX} columns")));
            }
            let id = self.next_id();
            let Shape { ty, nullable, doc } = self.shape(schema, &place, depth + 1)?;
            let required = !nullable && required.contains(&name.as_str());
            fields.push(Field { id, name: name.clone(), required, ty, doc });
        }
        Ok(Type::Struct(fields))
    }

    fn array(&mut self, object: &'d Object, pointer: &str, depth: usize) -> Translated<Type> {
        match object.get("items") {
            Some(items @ Json::Object(_)) if object.get("prefixItems").is_none() => {
                let element_id = self.next_id();
                let element = self.shape(items, &join(pointer, "items"), depth + 1)?;
                Ok(Type::List { element_id, element_required: !element.nullable, element: Box::new(element.ty) })
            }
            // A tuple, or elements of any kind.
            _ => Ok(Type::String),
        }
    }

    /// Alternatives: only those between one schema and null, and those of one schema, have a type.
    fn combined(&mut self, object: &'d Object, pointer: &str, depth: usize) -> Translated<Shape> {
        let present: Vec<_> =
            ["anyOf", "oneOf", "allOf"].into_iter().filter(|name| object.get(name).is_some()).collect();
        let [keyword] = present.as_slice() else { return Ok(Shape::anything()) };
        let place = join(pointer, keyword);
        let members = object.get(keyword).and_then(Json::as_array).ok_or_else(|| at(&place, "this is an array"))?;
        let real: Vec<_> = members.iter().enumerate().filter(|(_, member)| !only_null(member)).collect();
        let nulls = members.len() > real.len();
        match real.as_slice() {
            [(index, member)] if !(nulls && *keyword == "allOf") => {
                let shape = self.shape(member, &join(&place, &index.to_string()), depth)?;
                Ok(Shape { nullable: shape.nullable || nulls, ..shape })
            }
            _ => Ok(Shape::anything()),
        }
    }
}

/// Refuses columns that engines cannot tell apart: by case alone, or `a.b` beside `a` with a field `b`.
fn tell_apart(fields: &[Field], parent: &str, seen: &mut HashMap<String, String>) -> Translated<()> {
    for field in fields {
        let name = if parent.is_empty() { field.name.clone() } else { format!("{parent}.{}", field.name) };
        if let Some(other) = seen.insert(name.to_lowercase(), name.clone()) {
            return Err(at("", &format!("the columns `{other}` and `{name}` cannot be told apart by name")));
        }
        tell_apart_nested(&field.ty, &name, seen)?;
    }
    Ok(())
}

fn tell_apart_nested(ty: &Type, name: &str, seen: &mut HashMap<String, String>) -> Translated<()> {
    match ty {
        Type::Struct(fields) => tell_apart(fields, name, seen),
        Type::List { element, .. } => tell_apart_nested(element, &format!("{name}.element"), seen),
        Type::Map { value, .. } => tell_apart_nested(value, &format!("{name}.value"), seen),
        _ => Ok(()),
    }
}

fn at(pointer: &str, what: &str) -> JsonSchemaError {
    JsonSchemaError::At { pointer: pointer.to_owned(), what: what.to_owned() }
}
