//! The primitive columns of a schema and how much is recorded of each: `write.metadata.metrics.…`. Must not look at
//! files.

use std::collections::{HashMap, HashSet};

use iceberg::spec::{NestedFieldRef, PrimitiveType, Schema, SortOrder, Type};

use crate::data_file::column::Path;

const DEFAULT_MODE: &str = "write.metadata.metrics.default";
const COLUMN_MODE: &str = "write.metadata.metrics.column.";
const MAX_INFERRED: &str = "write.metadata.metrics.max-inferred-column-defaults";

/// Columns that get bounds if the table does not say otherwise, as in the reference implementation: keeps the
/// manifests of very wide tables small.
const MAX_INFERRED_DEFAULT: usize = 100;

const DEFAULT_TRUNCATION: usize = 16;

/// Most bytes of one code point.
const CODE_POINT_BYTES: usize = 4;

/// What is recorded of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetricsMode {
    /// Its size only.
    None,
    /// Counts of values, nulls and NaNs.
    Counts,
    /// Counts, and bounds cut off after so many characters or bytes.
    Truncate(usize),
    /// Counts and whole bounds.
    Full,
}

impl MetricsMode {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let length = || text.strip_prefix("truncate(")?.strip_suffix(')')?.trim().parse().ok().filter(|n| *n > 0);
        match text.as_str() {
            "none" => Some(Self::None),
            "counts" => Some(Self::Counts),
            "full" => Some(Self::Full),
            _ => length().map(Self::Truncate),
        }
    }

    /// A mode that a property names. Metrics are an offer to readers, so a mistake in one must not stop ingestion.
    fn of_property(properties: &HashMap<String, String>, key: &str) -> Option<Self> {
        let value = properties.get(key)?;
        let mode = Self::parse(value);
        if mode.is_none() {
            tracing::warn!(key, value, "table property is no metrics mode, default is used");
        }
        mode
    }
}

/// A primitive column, nested or not.
#[derive(Clone, Debug)]
pub(in crate::data_file) struct Leaf {
    pub(super) id: i32,
    pub(super) primitive: PrimitiveType,
    /// Where the values are in a batch; `None` inside lists and maps.
    pub(super) path: Option<Path>,
    pub(super) mode: MetricsMode,
}

impl Leaf {
    /// Where bounds are cut off (`Some(None)`: nowhere), or `None` if the column gets no bounds.
    pub(super) fn bounds_limit(&self) -> Option<Option<usize>> {
        self.path.as_ref()?;
        match self.mode {
            MetricsMode::None | MetricsMode::Counts => None,
            MetricsMode::Truncate(length) => Some(Some(length)),
            MetricsMode::Full => Some(None),
        }
    }
}

/// All primitive columns of a schema by field id.
#[derive(Debug)]
pub(in crate::data_file) struct Leaves {
    by_id: HashMap<i32, Leaf>,
    float_ids: Vec<i32>,
}

impl Leaves {
    pub(in crate::data_file) fn new(schema: &Schema, properties: &HashMap<String, String>, order: &SortOrder) -> Self {
        let mut leaves = Vec::new();
        for (index, field) in schema.as_struct().fields().iter().enumerate() {
            collect(field, Some(vec![index]), &mut leaves);
        }
        let modes = Modes::new(properties, order);
        for (index, leaf) in leaves.iter_mut().enumerate() {
            leaf.mode = modes.of(leaf.id, schema.name_by_field_id(leaf.id), index);
        }
        let is_float = |leaf: &&Leaf| matches!(leaf.primitive, PrimitiveType::Float | PrimitiveType::Double);
        let counted = leaves.iter().filter(is_float).filter(|leaf| leaf.path.is_some());
        let float_ids = counted.filter(|leaf| leaf.mode != MetricsMode::None).map(|leaf| leaf.id).collect();
        Self { float_ids, by_id: leaves.into_iter().map(|leaf| (leaf.id, leaf)).collect() }
    }

    pub(super) fn get(&self, id: i32) -> Option<&Leaf> {
        self.by_id.get(&id)
    }

    /// The columns whose NaNs are counted.
    pub(super) fn floats(&self) -> impl Iterator<Item = &Leaf> {
        self.float_ids.iter().filter_map(|id| self.by_id.get(id))
    }

    /// Where the footer's own statistics may be cut off without losing what the bounds need; `None`: nowhere.
    pub(in crate::data_file) fn statistics_bytes(&self) -> Option<usize> {
        let need = |leaf: &Leaf| match leaf.mode {
            MetricsMode::None | MetricsMode::Counts => Some(0),
            MetricsMode::Truncate(length) => length.checked_mul(CODE_POINT_BYTES),
            MetricsMode::Full => None,
        };
        let least = DEFAULT_TRUNCATION * CODE_POINT_BYTES;
        self.by_id.values().map(need).try_fold(least, |most, bytes| Some(most.max(bytes?)))
    }
}

fn collect(field: &NestedFieldRef, path: Option<Path>, leaves: &mut Vec<Leaf>) {
    match field.field_type.as_ref() {
        Type::Primitive(primitive) => {
            leaves.push(Leaf { id: field.id, primitive: primitive.clone(), path, mode: MetricsMode::None });
        }
        Type::Struct(inner) => {
            for (index, child) in inner.fields().iter().enumerate() {
                let path = path.clone().map(|path| [path, vec![index]].concat());
                collect(child, path, leaves);
            }
        }
        Type::List(list) => collect(&list.element_field, None, leaves),
        Type::Map(map) => {
            collect(&map.key_field, None, leaves);
            collect(&map.value_field, None, leaves);
        }
    }
}

/// The table's properties about metrics.
struct Modes<'a> {
    properties: &'a HashMap<String, String>,
    explicit: Option<MetricsMode>,
    max_inferred: usize,
    sorted: HashSet<i32>,
}

impl<'a> Modes<'a> {
    fn new(properties: &'a HashMap<String, String>, order: &SortOrder) -> Self {
        let max_inferred = properties.get(MAX_INFERRED).and_then(|text| text.trim().parse().ok());
        Self {
            properties,
            explicit: MetricsMode::of_property(properties, DEFAULT_MODE),
            max_inferred: max_inferred.unwrap_or(MAX_INFERRED_DEFAULT),
            sorted: order.fields.iter().map(|field| field.source_id).collect(),
        }
    }

    /// The mode of the `index`-th leaf. Columns that files are sorted by get bounds unless they are named.
    fn of(&self, id: i32, name: Option<&str>, index: usize) -> MetricsMode {
        let own = name.and_then(|name| MetricsMode::of_property(self.properties, &format!("{COLUMN_MODE}{name}")));
        let inferred =
            if index < self.max_inferred { MetricsMode::Truncate(DEFAULT_TRUNCATION) } else { MetricsMode::None };
        let general = self.explicit.unwrap_or(inferred);
        own.unwrap_or(match general {
            MetricsMode::None | MetricsMode::Counts if self.sorted.contains(&id) => {
                MetricsMode::Truncate(DEFAULT_TRUNCATION)
            }
            MetricsMode::None | MetricsMode::Counts | MetricsMode::Truncate(_) | MetricsMode::Full => general,
        })
    }
}
