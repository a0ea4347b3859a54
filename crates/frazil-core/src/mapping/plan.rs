//! A schema compiled for the walk: fields by position, names in a small hash table, system columns resolved.

use std::collections::HashMap;

use super::error::{FieldError, Reason};
use super::scalar::Primitive;
use super::walk::Walk;
use super::{Column, MappingPolicy, RowMeta};
use crate::schema::{self, Field, Schema, Type};

/// Why no events can be mapped to a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Two siblings that a field of an event could not be told apart by.
    #[error("columns `{first}` and `{second}` cannot be told apart by name")]
    AmbiguousName {
        /// Dotted name of the first.
        first: String,
        /// Dotted name of the second.
        second: String,
    },
    /// A map whose keys are structs, lists or maps.
    #[error("column `{column}` is a map with nested keys, which Frazil does not support")]
    NestedMapKey {
        /// Dotted name of the map.
        column: String,
    },
}

/// How events become rows of one schema. Compiled once per schema and policy, shared between threads.
#[derive(Debug)]
pub struct Plan {
    pub(super) root: StructPlan,
    pub(super) system: System,
    pub(super) policy: MappingPolicy,
    pub(super) unknown: Unknown,
    fixed_bits: usize,
}

/// What a walk does with a field that has no column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unknown {
    /// Keeps it as JSON in `__extra__`; without such a column the event is invalid.
    #[default]
    Capture,
    /// The event is invalid.
    Reject,
    /// Checks that it is JSON, and drops it.
    Ignore,
    /// Checks that it is JSON: the table is to be altered for its sake before there is a row.
    Accept,
    /// The event is invalid, but for the sake of null, `[]` and `{}`, from which no column could be inferred: they are
    /// captured if there is such a column.
    Probe,
}

/// Positions of the columns that Frazil fills.
#[derive(Debug, Default)]
pub(super) struct System {
    pub(super) id: Option<usize>,
    pub(super) ts: Option<usize>,
    pub(super) write_id: Option<usize>,
    pub(super) extra: Option<usize>,
}

/// The fields of a struct, or the columns of the table.
#[derive(Debug)]
pub(super) struct StructPlan {
    pub(super) fields: Vec<FieldPlan>,
    names: Names,
}

#[derive(Debug)]
pub(super) struct FieldPlan {
    pub(super) name: String,
    pub(super) node: Node,
    /// Filled by Frazil, and so unknown to events.
    pub(super) system: bool,
}

/// A place where one value stands.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) required: bool,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Primitive(Primitive),
    Struct(StructPlan),
    List(Box<Node>),
    Map(Box<MapPlan>),
}

#[derive(Debug)]
pub(super) struct MapPlan {
    pub(super) key: Primitive,
    pub(super) value: Node,
}

impl Plan {
    /// Compiles a schema; unknown fields are captured.
    ///
    /// # Errors
    /// [`PlanError`] if no event could ever be mapped to it without doubt.
    pub fn new(schema: &Schema, policy: &MappingPolicy) -> Result<Self, PlanError> {
        Self::with(schema, policy, Unknown::Capture)
    }

    /// Compiles a schema.
    ///
    /// # Errors
    /// [`PlanError`] if no event could ever be mapped to it without doubt.
    pub fn with(schema: &Schema, policy: &MappingPolicy, unknown: Unknown) -> Result<Self, PlanError> {
        let mut root = StructPlan::new(&schema.fields, policy, "")?;
        let system = System::find(&schema.fields);
        for index in system.all() {
            root.fields[index].system = true;
        }
        let fixed_bits = schema.fields.iter().map(|field| width_bits(&field.ty)).sum();
        let unknown = match unknown {
            Unknown::Capture | Unknown::Probe if system.extra.is_none() => Unknown::Reject,
            other => other,
        };
        Ok(Self { root, system, policy: *policy, unknown, fixed_bits })
    }

    /// Validates one event and delivers its values to `root`, the struct of the table's columns.
    ///
    /// # Errors
    /// The first thing that is wrong with the event. `root` then holds a part of the row: see [`Column`].
    pub fn row<C: Column>(&self, event: &[u8], meta: &RowMeta<'_>, root: &mut C) -> Result<(), FieldError> {
        if self.root.fields.is_empty() && self.unknown != Unknown::Accept {
            // A batch of no columns has no rows: the event would be nowhere.
            return Err(FieldError::new(String::new(), Reason::NoColumns, ""));
        }
        match Walk::new(self, event) {
            Ok(mut walk) => walk.event(meta, root).map_err(|error| *error),
            Err(reason) => Err(FieldError::new(String::new(), reason, &String::from_utf8_lossy(event))),
        }
    }

    /// About how many bytes a row takes in column builders, apart from its texts and the elements of its lists
    /// and maps.
    pub fn fixed_width(&self) -> usize {
        self.fixed_bits.div_ceil(8)
    }

    /// What becomes of unknown fields.
    pub fn unknown_fields(&self) -> Unknown {
        self.unknown
    }
}

impl System {
    fn find(fields: &[Field]) -> Self {
        let position = |name: &str| fields.iter().position(|field| field.name == name && field.is_filled());
        Self {
            id: position(schema::ID_COLUMN),
            ts: position(schema::TS_COLUMN),
            write_id: position(schema::WRITE_ID_COLUMN),
            extra: position(schema::EXTRA_COLUMN),
        }
    }

    fn all(&self) -> impl Iterator<Item = usize> {
        [self.id, self.ts, self.write_id, self.extra].into_iter().flatten()
    }
}

impl StructPlan {
    fn new(fields: &[Field], policy: &MappingPolicy, parent: &str) -> Result<Self, PlanError> {
        let names = Names::new(fields, policy.case_insensitive).map_err(|(first, second)| {
            PlanError::AmbiguousName { first: join(parent, first), second: join(parent, second) }
        })?;
        let fields = fields
            .iter()
            .map(|field| {
                let node = Node::new(&field.ty, field.required, policy, &join(parent, &field.name))?;
                Ok(FieldPlan { name: field.name.clone(), node, system: false })
            })
            .collect::<Result<_, PlanError>>()?;
        Ok(Self { fields, names })
    }

    /// The position of the field that a key names. Try the likely one before this.
    pub(super) fn find(&self, key: &str) -> Option<usize> {
        if self.names.fold && key.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii()) {
            let folded = key.to_lowercase();
            return self.names.find(&folded);
        }
        self.names.find(key)
    }
}

impl Node {
    fn new(ty: &Type, required: bool, policy: &MappingPolicy, column: &str) -> Result<Self, PlanError> {
        let kind = match ty {
            Type::Struct(fields) => Kind::Struct(StructPlan::new(fields, policy, column)?),
            Type::List { element, element_required, .. } => {
                let column = join(column, "element");
                Kind::List(Box::new(Self::new(element, *element_required, policy, &column)?))
            }
            Type::Map { key, value, value_required, .. } => {
                let key = Primitive::of(key).ok_or_else(|| PlanError::NestedMapKey { column: column.to_owned() })?;
                let value = Self::new(value, *value_required, policy, &join(column, "value"))?;
                Kind::Map(Box::new(MapPlan { key, value }))
            }
            primitive => Kind::Primitive(Primitive::of(primitive).expect("nested types were matched above")),
        };
        Ok(Self { required, kind })
    }
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

/// Bits of the fixed part, with the validity bit; variable-length values count with their 32-bit offset.
fn width_bits(ty: &Type) -> usize {
    1 + match ty {
        Type::Boolean => 1,
        Type::Int | Type::Float | Type::Date => 32,
        Type::Long | Type::Double | Type::Time => 64,
        Type::Timestamp | Type::Timestamptz | Type::TimestampNs | Type::TimestamptzNs => 64,
        Type::Decimal { .. } | Type::Uuid => 128,
        Type::String | Type::Binary | Type::List { .. } | Type::Map { .. } => 32,
        Type::Fixed(length) => 8 * *length as usize,
        Type::Struct(fields) => fields.iter().map(|field| width_bits(&field.ty)).sum(),
    }
}

/// Names to positions: open addressing over a power of two of slots, at most half full.
///
/// The table's content is the schema and never the client's, so a fast hash without a secret is safe: a hostile
/// key costs at most one short run of slots.
#[derive(Debug)]
struct Names {
    /// Lower-case names, and lookups with lower-case keys.
    fold: bool,
    names: Vec<Box<str>>,
    /// Position + 1; 0 is an empty slot.
    slots: Vec<u32>,
}

impl Names {
    fn new(fields: &[Field], fold: bool) -> Result<Self, (&str, &str)> {
        let names: Vec<Box<str>> = fields
            .iter()
            .map(|field| if fold { field.name.to_lowercase().into() } else { field.name.as_str().into() })
            .collect();
        let mut seen = HashMap::new();
        for (name, field) in names.iter().zip(fields) {
            if let Some(first) = seen.insert(name, &field.name) {
                return Err((first, &field.name));
            }
        }
        let mut slots = vec![0u32; (2 * names.len()).next_power_of_two().max(2)];
        for (index, name) in names.iter().enumerate() {
            let mut slot = hash(name) & (slots.len() - 1);
            while slots[slot] != 0 {
                slot = (slot + 1) & (slots.len() - 1);
            }
            slots[slot] = u32::try_from(index + 1).expect("a struct has fewer than 2^32 fields");
        }
        Ok(Self { fold, names, slots })
    }

    fn find(&self, key: &str) -> Option<usize> {
        let mask = self.slots.len() - 1;
        let mut slot = hash(key) & mask;
        loop {
            let index = (self.slots[slot] as usize).checked_sub(1)?;
            if *self.names[index] == *key {
                return Some(index);
            }
            slot = (slot + 1) & mask;
        }
    }
}

#[inline]
fn hash(name: &str) -> usize {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let (chunks, rest) = name.as_bytes().as_chunks::<8>();
    let mut state = name.len() as u64;
    for chunk in chunks {
        state = (state.rotate_left(23) ^ u64::from_le_bytes(*chunk)).wrapping_mul(FACTOR);
    }
    let tail = rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    state = (state.rotate_left(23) ^ tail).wrapping_mul(FACTOR);
    // The high bits are the mixed ones.
    (state >> 32) as usize
}
