//! How would a table's schema have to change for these events to fit? Pure; whoever commits the change owns it.
//!
//! | policy | what is proposed |
//! | --- | --- |
//! | `evolve` | columns for unknown fields, wider columns for numbers that are too large, and `__extra__` for the rest |
//! | `capture` | `__extra__` |
//! | `reject`, `ignore` | nothing |
//! | any, with `system_columns = all` | also the system columns that are lacking, once there is a valid event |
//!
//! - New columns may be null and stand behind those that are there: in the table, in structs, in structs in lists and in
//!   the values of maps. Their types are inferred as for a new table ([`infer`](crate::infer)), from these events alone.
//!   An object that repeats a field becomes text.
//! - int becomes long, float double, and a decimal gets more digits (never another scale), where a value demands it. Keys
//!   of maps and identifier fields stay as they are.
//! - No column comes from null, `{}` and `[]`; from names that [`infer`](crate::infer) leaves out, among them any that
//!   differs from a sibling's only in case; from what is deeper than [`MAX_COLUMN_DEPTH`](crate::infer::MAX_COLUMN_DEPTH);
//!   or beyond [`MAX_COLUMNS`](crate::infer::MAX_COLUMNS), the table's own counted in. These and the columns beyond
//!   `columns_left` (those that appeared last) are captured: `__extra__` is added for them, unless the policy forbids it.
//! - Only events that the changed table would take count: one that is invalid anyway changes nothing.
//!
//! Every event that [`TablePolicy::accepting_plan`] takes fits the proposed schema, if it may have `__extra__`. The same
//! events again give no other proposal, below the limits.

mod survey;
#[cfg(test)]
mod tests;
mod widen;

use std::collections::HashSet;

use crate::infer::Builder;
use crate::mapping::{NoColumn, Plan, PlanError, RowMeta, Unknown};
use crate::policy::{SystemColumns, TablePolicy, UnknownFieldPolicy};
use crate::schema::{EXTRA_COLUMN, Field, SYSTEM_COLUMNS, Schema, Type};
use survey::Survey;
pub(crate) use widen::widest;

/// A schema that takes more events than the one it was made from, by additions and widenings that the Iceberg spec
/// allows ("Schema evolution") and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evolved {
    /// The whole new schema. Every field it has in common with the old one keeps its id, and its `schema_id` is still
    /// the old one's; new ids lie above the last, in pre-order.
    pub schema: Schema,
    /// Columns (fields of structs count; system columns do not) that are new.
    pub added: u32,
    /// Columns that are wider.
    pub widened: u32,
}

/// Proposes a schema for events of which some do not fit; `None` if nothing that the policy allows would help.
///
/// `last_column_id` is the table's, so that no id is used again; `columns_left` is how many columns may still be added.
pub fn evolve<'e>(
    schema: &Schema,
    policy: &TablePolicy,
    last_column_id: i32,
    columns_left: u32,
    events: impl Iterator<Item = &'e [u8]>,
) -> Option<Evolved> {
    // A schema without a plan takes no events at all.
    let evolution = Evolution::new(schema, policy, last_column_id).ok()?;
    evolution.propose(columns_left, events)
}

struct Evolution<'s> {
    schema: &'s Schema,
    policy: &'s TablePolicy,
    last_id: i32,
    accepting: Plan,
    strict: Plan,
}

impl<'s> Evolution<'s> {
    fn new(schema: &'s Schema, policy: &'s TablePolicy, last_column_id: i32) -> Result<Self, PlanError> {
        Ok(Self {
            schema,
            policy,
            last_id: last_column_id.max(schema.highest_field_id()),
            accepting: policy.accepting_plan(schema)?,
            strict: strict(schema, policy)?,
        })
    }

    fn propose<'e>(&self, columns_left: u32, events: impl Iterator<Item = &'e [u8]>) -> Option<Evolved> {
        let mut any = false;
        // The valid events that the table as it is does not take as they are.
        let mut misfits = Vec::new();
        for event in events {
            if takes(&self.strict, event) {
                any = true;
            } else if takes(&self.accepting, event) {
                any = true;
                misfits.push(event);
            }
        }
        let mut evolved = match self.policy.unknown_fields {
            UnknownFieldPolicy::Evolve => self.grow(columns_left, &misfits),
            UnknownFieldPolicy::Capture | UnknownFieldPolicy::Reject | UnknownFieldPolicy::Ignore => {
                Evolved { schema: self.schema.clone(), added: 0, widened: 0 }
            }
        };
        self.add_system_columns(&mut evolved.schema, any, &misfits);
        (evolved.schema != *self.schema).then_some(evolved)
    }

    /// The schema with new and wider columns.
    fn grow(&self, columns_left: u32, misfits: &[&[u8]]) -> Evolved {
        let mut survey = Survey::new(self.schema, &self.policy.mapping);
        for event in misfits {
            survey.event(event);
        }
        let columns_left = usize::try_from(columns_left).unwrap_or(usize::MAX);
        let build = |granted: Option<&HashSet<usize>>| {
            let mut builder = Builder::new(self.last_id, &self.schema.fields, granted);
            let grown = survey.grow(self.schema, &mut builder);
            (grown, builder.into_made())
        };
        let (mut grown, mut made) = build(None);
        if made.len() > columns_left {
            made.sort_unstable();
            let granted: HashSet<usize> = made[..columns_left].iter().copied().collect();
            (grown, made) = build(Some(&granted));
        }
        let (fields, widened) = grown;
        let schema = Schema { fields, ..self.schema.clone() };
        // A table has fewer columns than 2^32 by far.
        Evolved { schema, added: u32::try_from(made.len()).unwrap_or(u32::MAX), widened }
    }

    fn add_system_columns(&self, schema: &mut Schema, any: bool, misfits: &[&[u8]]) {
        let wanted = |name: &str| match self.policy.system_columns {
            SystemColumns::Never => false,
            SystemColumns::All => any,
            SystemColumns::OnDemand => name == EXTRA_COLUMN && self.needs_extra(schema, misfits),
        };
        let lacking = SYSTEM_COLUMNS.into_iter().filter(|(name, _)| schema.lacks(name) && wanted(name));
        let lacking: Vec<(&str, Type)> = lacking.collect();
        let mut id = self.last_id.max(schema.highest_field_id());
        for (name, ty) in lacking {
            id += 1;
            schema.fields.push(Field::optional(id, name, ty));
        }
    }

    /// Whether there is an event with a field to be captured.
    fn needs_extra(&self, schema: &Schema, misfits: &[&[u8]]) -> bool {
        match self.policy.unknown_fields {
            UnknownFieldPolicy::Reject | UnknownFieldPolicy::Ignore => false,
            // What the accepting plan takes and this one does not has a field without a column.
            UnknownFieldPolicy::Capture | UnknownFieldPolicy::Evolve => {
                strict(schema, self.policy).is_ok_and(|plan| misfits.iter().any(|event| !takes(&plan, event)))
            }
        }
    }
}

/// Takes only events that have a column for each of their fields.
fn strict(schema: &Schema, policy: &TablePolicy) -> Result<Plan, PlanError> {
    Plan::with(schema, &policy.mapping, Unknown::Reject)
}

fn takes(plan: &Plan, event: &[u8]) -> bool {
    let meta = RowMeta { id: "", ts_micros: 0, write_id: "" };
    plan.row(event, &meta, &mut NoColumn).is_ok()
}
