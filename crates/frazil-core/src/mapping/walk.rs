//! The walk over one event: containers, names, nulls, unknown fields and errors.
//!
//! Recursive over the schema, so that the depth of the stack is the schema's and at most [`MAX_DEPTH`](super::MAX_DEPTH).

use std::borrow::Cow;
use std::collections::HashSet;

use super::error::{FieldError, Frame, Segment};
use super::extra::Extra;
use super::json::{Reader, Text};
use super::plan::{Kind, MapPlan, Node, Plan, StructPlan, Unknown};
use super::scalar::{Key, Primitive, Scratch};
use super::{Column, Reason, RowMeta};

/// Boxed: the hot path returns it through every level.
type Step<T = ()> = Result<T, Box<FieldError>>;

/// The state of one event's walk.
#[derive(Debug)]
pub(super) struct Walk<'a, 'p> {
    plan: &'p Plan,
    reader: Reader<'a>,
    extra: Extra,
    scratch: Scratch,
}

impl<'a, 'p> Walk<'a, 'p> {
    pub(super) fn new(plan: &'p Plan, event: &'a [u8]) -> Result<Self, Reason> {
        let reader = Reader::new(event)?;
        Ok(Self { plan, reader, extra: Extra::default(), scratch: Scratch::default() })
    }

    /// The event as a row of the table.
    pub(super) fn event<C: Column>(&mut self, meta: &RowMeta<'_>, root: &mut C) -> Step {
        let frame = Frame::EVENT;
        if self.reader.peek() != Some(b'{') {
            let start = self.reader.offset();
            return Err(self.fail(&frame, Reason::NotAnObject, start));
        }
        self.object(&self.plan.root, root, &frame)?;
        if let Err(reason) = self.reader.finish() {
            return Err(self.syntax(&frame, reason));
        }
        self.extra.leave(frame.depth);
        let system = &self.plan.system;
        if let Some(index) = system.id {
            root.child(index).string(meta.id);
        }
        if let Some(index) = system.ts {
            root.child(index).timestamp(meta.ts_micros);
        }
        if let Some(index) = system.write_id {
            root.child(index).string(meta.write_id);
        }
        if let Some(index) = system.extra {
            match self.extra.json() {
                Some(json) => root.child(index).string(json),
                None => root.child(index).null(),
            }
        }
        root.struct_end();
        Ok(())
    }

    /// Any value, at a place where the schema has a column.
    #[inline]
    fn value<C: Column>(&mut self, node: &Node, column: &mut C, frame: &Frame<'_>) -> Step {
        let Some(next) = self.reader.peek() else {
            let reason = self.reader.malformed("expected a value");
            return Err(self.syntax(frame, reason));
        };
        let start = self.reader.offset();
        if next == b'n' {
            if let Err(reason) = self.reader.literal("null") {
                return Err(self.syntax(frame, reason));
            }
            if node.required {
                return Err(self.fail(frame, Reason::Required, start));
            }
            column.null();
            return Ok(());
        }
        match (&node.kind, next) {
            (Kind::Primitive(ty), _) => match ty.read(next, &mut self.reader, &self.plan.policy, &mut self.scratch) {
                Ok(value) => value.deliver(column),
                Err(reason) => return Err(self.fail(frame, reason, start)),
            },
            (Kind::Struct(plan), b'{') => {
                self.object(plan, column, frame)?;
                column.struct_end();
            }
            (Kind::List(element), b'[') => {
                let len = self.elements(element, column, 0, frame)?;
                column.list_end(len);
            }
            (Kind::Map(map), b'{') if map.key == Primitive::String => self.text_map(map, column, frame)?,
            (Kind::Map(map), b'{') => self.paired_map(map, column, frame)?,
            (kind, _) => {
                let expected = match kind {
                    Kind::List(_) => "an array",
                    Kind::Struct(_) | Kind::Map(_) | Kind::Primitive(_) => "an object",
                };
                return Err(self.fail(frame, Reason::WrongType { expected }, start));
            }
        }
        Ok(())
    }

    /// An object with known fields; gives every field but the system columns its value.
    fn object<C: Column>(&mut self, plan: &StructPlan, column: &mut C, frame: &Frame<'_>) -> Step {
        self.enter(frame)?;
        let mut seen = Seen::new(plan.fields.len());
        let mut unknown: Option<Box<KeySet<'a>>> = None;
        let (mut first, mut likely) = (true, 0);
        while let Some(key) = self.key(&mut first, frame)? {
            // Events mostly have their fields in the schema's order.
            let found = match plan.fields.get(likely) {
                Some(field) if field.name == key.raw && !key.escaped => Some(likely),
                _ => plan.find(&key.value()),
            };
            match found.map(|index| (index, &plan.fields[index])) {
                Some((index, field)) if !field.system => {
                    let inner = frame.child(Segment::Field(&field.name));
                    if !seen.insert(index) {
                        let start = self.reader.offset();
                        return Err(self.fail(&inner, Reason::DuplicateField, start));
                    }
                    likely = index + 1;
                    self.value(&field.node, column.child(index), &inner)?;
                    self.extra.leave(inner.depth);
                }
                _ => self.unknown(key, frame, &mut unknown)?,
            }
        }
        if seen.count < plan.fields.len() {
            self.absent(plan, &seen, column, frame)?;
        }
        Ok(())
    }

    fn absent<C: Column>(&mut self, plan: &StructPlan, seen: &Seen, column: &mut C, frame: &Frame<'_>) -> Step {
        for (index, field) in plan.fields.iter().enumerate() {
            if field.system || seen.contains(index) {
                continue;
            }
            if field.node.required {
                let path = frame.child(Segment::Field(&field.name)).path();
                return Err(Box::new(FieldError::new(path, Reason::Required, "")));
            }
            column.child(index).null();
        }
        Ok(())
    }

    /// A field without a column.
    #[cold]
    fn unknown(&mut self, key: Text<'a>, frame: &Frame<'_>, seen: &mut Option<Box<KeySet<'a>>>) -> Step {
        let name = key.value();
        let inner = frame.child(Segment::Field(&name));
        self.reader.peek();
        let start = self.reader.offset();
        if self.plan.unknown == Unknown::Reject {
            return Err(self.fail(&inner, Reason::UnknownField, start));
        }
        let same = if self.plan.policy.case_insensitive { name.to_lowercase().into() } else { name.clone() };
        if !seen.get_or_insert_default().insert(same) {
            return Err(self.fail(&inner, Reason::DuplicateField, start));
        }
        let value = match self.reader.skip_value() {
            Ok(value) => value,
            Err(reason) => return Err(self.syntax(&inner, reason)),
        };
        match self.plan.unknown {
            Unknown::Probe if !is_empty(value) => return Err(self.fail(&inner, Reason::UnknownField, start)),
            Unknown::Capture | Unknown::Probe => self.extra.add(frame, key.raw, value),
            Unknown::Reject | Unknown::Ignore | Unknown::Accept => {}
        }
        Ok(())
    }

    /// The values of an array, into one child of `column`; how many they are.
    fn elements<C: Column>(&mut self, element: &Node, column: &mut C, child: usize, frame: &Frame<'_>) -> Step<usize> {
        self.enter(frame)?;
        let (mut first, mut len) = (true, 0);
        while self.element(&mut first, frame)? {
            let inner = frame.child(Segment::Index(len));
            self.value(element, column.child(child), &inner)?;
            self.extra.leave(inner.depth);
            len += 1;
        }
        Ok(len)
    }

    /// A map with string keys: an object.
    fn text_map<C: Column>(&mut self, map: &MapPlan, column: &mut C, frame: &Frame<'_>) -> Step {
        self.enter(frame)?;
        let mut keys = KeySet::default();
        let (mut first, mut len) = (true, 0);
        while let Some(key) = self.key(&mut first, frame)? {
            let key = key.value();
            let inner = frame.child(Segment::Key(&key));
            if !keys.insert(key.clone()) {
                let start = self.reader.offset();
                return Err(self.fail(&inner, Reason::DuplicateKey, start));
            }
            column.child(0).string(&key);
            self.value(&map.value, column.child(1), &inner)?;
            self.extra.leave(inner.depth);
            len += 1;
        }
        column.map_end(len);
        Ok(())
    }

    /// A map with other keys: `{"keys": […], "values": […]}`, in any order.
    fn paired_map<C: Column>(&mut self, map: &MapPlan, column: &mut C, frame: &Frame<'_>) -> Step {
        let start = self.reader.offset();
        self.enter(frame)?;
        let (mut keys, mut values) = (None, None);
        let mut first = true;
        while let Some(key) = self.key(&mut first, frame)? {
            let name = key.value();
            // The extra fields of the values are named by index, without `values` in between. This object is a
            // way to write a map and no struct: there are no unknown fields in it that could be kept or dropped.
            let inner = frame.child(Segment::Field(&name));
            let next = self.reader.peek();
            let at = self.reader.offset();
            let reason = match (&*name, next) {
                ("keys", _) if keys.is_some() => Reason::DuplicateField,
                ("values", _) if values.is_some() => Reason::DuplicateField,
                ("keys", Some(b'[')) => {
                    keys = Some(self.keys(map.key, column, &inner)?);
                    continue;
                }
                ("values", Some(b'[')) => {
                    values = Some(self.elements(&map.value, column, 1, frame)?);
                    continue;
                }
                ("keys" | "values", _) => Reason::WrongType { expected: "an array" },
                _ => Reason::KeysAndValues,
            };
            return Err(self.fail(&inner, reason, at));
        }
        match (keys, values) {
            (Some(keys), Some(values)) if keys == values => {
                column.map_end(keys);
                Ok(())
            }
            _ => Err(self.fail(frame, Reason::KeysAndValues, start)),
        }
    }

    fn keys<C: Column>(&mut self, ty: Primitive, column: &mut C, frame: &Frame<'_>) -> Step<usize> {
        self.enter(frame)?;
        let mut seen: HashSet<Key> = HashSet::new();
        let (mut first, mut len) = (true, 0);
        while self.element(&mut first, frame)? {
            let inner = frame.child(Segment::Index(len));
            let next = self.reader.peek().unwrap_or(0);
            let start = self.reader.offset();
            if next == b'n' {
                return Err(self.fail(&inner, Reason::Required, start));
            }
            match ty.read(next, &mut self.reader, &self.plan.policy, &mut self.scratch) {
                Ok(key) if seen.insert(key.key()) => key.deliver(column.child(0)),
                Ok(_) => return Err(self.fail(&inner, Reason::DuplicateKey, start)),
                Err(reason) => return Err(self.fail(&inner, reason, start)),
            }
            len += 1;
        }
        Ok(len)
    }

    #[inline]
    fn enter(&mut self, frame: &Frame<'_>) -> Step {
        self.reader.enter().map_err(|reason| self.syntax(frame, reason))
    }

    #[inline]
    fn key(&mut self, first: &mut bool, frame: &Frame<'_>) -> Step<Option<Text<'a>>> {
        match self.reader.key(first) {
            Ok(key) => Ok(key),
            Err(reason) => Err(self.syntax(frame, reason)),
        }
    }

    #[inline]
    fn element(&mut self, first: &mut bool, frame: &Frame<'_>) -> Step<bool> {
        match self.reader.element(first) {
            Ok(more) => Ok(more),
            Err(reason) => Err(self.syntax(frame, reason)),
        }
    }

    /// The error for the value at `start`. If that is no JSON, then this is what is wrong with it.
    #[cold]
    fn fail(&mut self, frame: &Frame<'_>, reason: Reason, start: usize) -> Box<FieldError> {
        if reason.is_syntax() {
            return self.syntax(frame, reason);
        }
        let (got, broken) = self.reader.excerpt(start);
        Box::new(FieldError::new(frame.path(), broken.unwrap_or(reason), got.trim_start()))
    }

    /// The error for text that is no JSON: shows what stands where reading stopped.
    #[cold]
    fn syntax(&mut self, frame: &Frame<'_>, reason: Reason) -> Box<FieldError> {
        let offset = match reason {
            Reason::Malformed { offset, .. } => offset,
            _ => self.reader.offset(),
        };
        let got = self.reader.rest(offset);
        Box::new(FieldError::new(frame.path(), reason, got))
    }
}

/// Whether a JSON value is null, or an array or object without content: nothing to infer a column from.
fn is_empty(value: &str) -> bool {
    let inner = |open, close| value.strip_prefix(open).and_then(|rest: &str| rest.strip_suffix(close));
    let content = inner('[', ']').or_else(|| inner('{', '}'));
    value == "null" || content.is_some_and(|content| content.trim_ascii().is_empty())
}

/// Which fields of a struct an object has had.
struct Seen {
    few: u128,
    /// For structs of more than 128 fields.
    many: Vec<u64>,
    count: usize,
}

impl Seen {
    fn new(fields: usize) -> Self {
        let many = if fields > 128 { vec![0; fields.div_ceil(64)] } else { Vec::new() };
        Self { few: 0, many, count: 0 }
    }

    /// False if it was there already.
    #[inline]
    fn insert(&mut self, index: usize) -> bool {
        if self.contains(index) {
            return false;
        }
        match self.many.get_mut(index / 64) {
            Some(word) => *word |= 1 << (index % 64),
            None => self.few |= 1 << index,
        }
        self.count += 1;
        true
    }

    #[inline]
    fn contains(&self, index: usize) -> bool {
        match self.many.get(index / 64) {
            Some(word) => word & 1 << (index % 64) != 0,
            None => self.few & 1 << index != 0,
        }
    }
}

/// How many keys are compared one by one before they are hashed.
const FEW: usize = 16;

/// The keys that an object of any names has had; the first few without hashing.
#[derive(Debug, Default)]
struct KeySet<'a> {
    few: [&'a str; FEW],
    len: usize,
    many: Option<HashSet<Cow<'a, str>>>,
}

impl<'a> KeySet<'a> {
    /// False if it was there already.
    fn insert(&mut self, key: Cow<'a, str>) -> bool {
        if let Some(many) = &mut self.many {
            return many.insert(key);
        }
        let few = &self.few[..self.len];
        match key {
            Cow::Borrowed(key) if self.len < FEW => {
                if few.contains(&key) {
                    return false;
                }
                self.few[self.len] = key;
                self.len += 1;
                true
            }
            key => {
                let many = self.many.insert(few.iter().map(|key| Cow::Borrowed(*key)).collect());
                many.insert(key)
            }
        }
    }
}
