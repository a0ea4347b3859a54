//! Which columns differ between two schemas of a table: for the log, for people. Pure.

use std::collections::BTreeMap;

use frazil_core::schema::{Field, Schema, Type};

/// Most names that are listed; the rest is counted only.
const NAMES_MAX: usize = 20;

/// What a newer schema adds to an older one, as texts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Changes {
    /// New columns with their types.
    pub(super) new: String,
    /// Columns with other types, and which.
    pub(super) wider: String,
}

impl Changes {
    pub(super) fn between(old: &Schema, new: &Schema) -> Self {
        let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
        collect(&old.fields, "", &mut before);
        collect(&new.fields, "", &mut after);
        let added = after.iter().filter(|(id, _)| !before.contains_key(*id));
        let wider = after.iter().filter_map(|(id, (path, ty))| {
            let (_, old) = before.get(id).filter(|(_, old)| is_primitive(old) && old != ty)?;
            Some(format!("{path}: {old} to {ty}"))
        });
        Self { new: list(added.map(|(_, (path, ty))| format!("{path}: {ty}"))), wider: list(wider) }
    }
}

fn list(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(NAMES_MAX);
    let shown = names[..names.len() - more].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

fn is_primitive(ty: &Type) -> bool {
    !matches!(ty, Type::Struct(_) | Type::List { .. } | Type::Map { .. })
}

type Fields<'s> = BTreeMap<i32, (String, &'s Type)>;

fn collect<'s>(fields: &'s [Field], parent: &str, into: &mut Fields<'s>) {
    for field in fields {
        enter(field.id, &field.ty, &field.name, parent, into);
    }
}

fn enter<'s>(id: i32, ty: &'s Type, name: &str, parent: &str, into: &mut Fields<'s>) {
    let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
    match ty {
        Type::Struct(fields) => collect(fields, &path, into),
        Type::List { element_id, element, .. } => enter(*element_id, element, "element", &path, into),
        Type::Map { key_id, key, value_id, value, .. } => {
            enter(*key_id, key, "key", &path, into);
            enter(*value_id, value, "value", &path, into);
        }
        _ => {}
    }
    into.insert(id, (path, ty));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_types_at_any_depth() {
        let inner = |ty| Type::list(3, Type::Struct(vec![Field::optional(4, "x", ty)]));
        let old =
            Schema::new(vec![Field::optional(1, "n", Type::Int), Field::optional(2, "items", inner(Type::Float))]);
        let mut new = old.clone();
        new.fields[0].ty = Type::Long;
        new.fields[1].ty = inner(Type::Double);
        new.fields.push(Field::optional(5, "tag", Type::String));
        let changes = Changes::between(&old, &new);
        assert_eq!(changes.new, "tag: string");
        assert_eq!(changes.wider, "n: int to long, items.element.x: float to double");
        new.fields.extend((10..40).map(|id| Field::optional(id, format!("f{id}"), Type::Long)));
        assert!(Changes::between(&old, &new).new.ends_with("f28: long and 11 more"));
    }
}
