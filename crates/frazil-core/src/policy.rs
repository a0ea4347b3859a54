//! What a stream's operator, or a table's owner, decides about events and columns.
//!
//! A stream has one [`TablePolicy`]; a property of a table, where set, wins over it for that table. So the proxy, the
//! writer and a replay of dead letters decide alike, and the table's owner has the last word.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::evolve;
use crate::mapping::{MappingPolicy, Plan, PlanError, Unknown};
use crate::schema::{EXTRA_COLUMN, SYSTEM_COLUMNS, Schema};

/// How events become rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TablePolicy {
    /// How values are matched to columns.
    pub mapping: MappingPolicy,
    /// What becomes of fields without a column.
    pub unknown_fields: UnknownFieldPolicy,
    /// What becomes of events that do not fit.
    pub on_invalid: OnInvalid,
    /// Which system columns are added to a table that lacks them.
    pub system_columns: SystemColumns,
    /// Most columns (fields of structs count) that are added to a table within an hour. What comes on top is captured.
    pub columns_per_hour: u32,
}

impl Default for TablePolicy {
    fn default() -> Self {
        Self {
            mapping: MappingPolicy::default(),
            unknown_fields: UnknownFieldPolicy::default(),
            on_invalid: OnInvalid::default(),
            system_columns: SystemColumns::default(),
            columns_per_hour: 100,
        }
    }
}

/// What becomes of fields without a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownFieldPolicy {
    /// They are kept as JSON in `__extra__`.
    #[default]
    Capture,
    /// They get columns, as far as that is possible; the rest is captured. Columns that are too narrow are widened.
    Evolve,
    /// The event is invalid.
    Reject,
    /// They are dropped. The only setting by which Frazil loses anything.
    Ignore,
}

/// What becomes of events that do not fit their table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnInvalid {
    /// The whole request is refused.
    #[default]
    Reject,
    /// The request is accepted, and the events that do not fit become dead letters.
    DeadLetter,
}

/// Which system columns are added to a table that lacks them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SystemColumns {
    /// All for a table that Frazil creates; `__extra__` to any other, once there is a field to be kept in it.
    #[default]
    OnDemand,
    /// All, to every table.
    All,
    /// None, ever.
    Never,
}

/// A table property with a value that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the table property {key} has the value {value:?}; expected {expected}")]
pub struct PolicyError {
    /// The property.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// What would be understood.
    pub expected: &'static str,
}

/// Prefix of all table properties that are read or written by Frazil.
pub const PROPERTY_PREFIX: &str = "frazil.";

impl TablePolicy {
    /// This policy with what the table's properties say in place of its own settings: `frazil.unknown-fields`,
    /// `frazil.on-invalid`, `frazil.system-columns`, `frazil.columns-per-hour`, `frazil.epoch-unit`,
    /// `frazil.case-insensitive`, `frazil.numbers-in-strings`, `frazil.non-finite`.
    ///
    /// # Errors
    /// [`PolicyError`] for the first value that is not understood.
    pub fn with_properties<'p>(self, property: impl Fn(&str) -> Option<&'p str>) -> Result<Self, PolicyError> {
        let Self { mapping, unknown_fields, on_invalid, system_columns, columns_per_hour } = self;
        Ok(Self {
            mapping: MappingPolicy {
                epoch_unit: read(
                    &property,
                    "frazil.epoch-unit",
                    "seconds, millis, micros or nanos",
                    mapping.epoch_unit,
                )?,
                case_insensitive: read(&property, "frazil.case-insensitive", BOOLEAN, mapping.case_insensitive)?,
                numbers_in_strings: read(&property, "frazil.numbers-in-strings", BOOLEAN, mapping.numbers_in_strings)?,
                non_finite: read(&property, "frazil.non-finite", "reject or accept", mapping.non_finite)?,
            },
            unknown_fields: read(
                &property,
                "frazil.unknown-fields",
                "capture, evolve, reject or ignore",
                unknown_fields,
            )?,
            on_invalid: read(&property, "frazil.on-invalid", "reject or dead_letter", on_invalid)?,
            system_columns: read(&property, "frazil.system-columns", "on_demand, all or never", system_columns)?,
            columns_per_hour: read(&property, "frazil.columns-per-hour", "a whole number", columns_per_hour)?,
        })
    }
}

impl TablePolicy {
    /// The plan by which the proxy accepts events: it takes all that fits the table as it is, or as the writer would make
    /// it for the event's sake.
    ///
    /// With `evolve`, unknown fields are accepted even if some could not become columns and there can be no `__extra__`
    /// to capture them: only the writer, which sees the events together, knows. Such an event becomes a dead letter.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn accepting_plan(&self, schema: &Schema) -> Result<Plan, PlanError> {
        match self.unknown_fields {
            UnknownFieldPolicy::Evolve => Plan::with(&evolve::widest(schema), &self.mapping, Unknown::Accept),
            UnknownFieldPolicy::Capture if self.adds_extra(schema) => {
                Plan::with(schema, &self.mapping, Unknown::Accept)
            }
            UnknownFieldPolicy::Capture | UnknownFieldPolicy::Reject | UnknownFieldPolicy::Ignore => {
                self.writing_plan(schema)
            }
        }
    }

    /// The plan by which the writer makes rows of a table as it is.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn writing_plan(&self, schema: &Schema) -> Result<Plan, PlanError> {
        let unknown = match self.unknown_fields {
            UnknownFieldPolicy::Capture | UnknownFieldPolicy::Evolve => Unknown::Capture,
            UnknownFieldPolicy::Reject => Unknown::Reject,
            UnknownFieldPolicy::Ignore => Unknown::Ignore,
        };
        Plan::with(schema, &self.mapping, unknown)
    }

    /// The plan that makes the same rows as the writing plan, but refuses all events for whose sake the table might be
    /// altered; `None` if no event can be a reason. What it refuses is to be shown to [`evolve::evolve`]; it may be invalid.
    ///
    /// System columns that every table is to have ([`wants_system_columns`](Self::wants_system_columns)) are
    /// no matter of single events, and so not of this plan.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn probing_plan(&self, schema: &Schema) -> Result<Option<Plan>, PlanError> {
        let unknown = match self.unknown_fields {
            UnknownFieldPolicy::Evolve => Unknown::Probe,
            UnknownFieldPolicy::Capture if self.adds_extra(schema) => Unknown::Reject,
            UnknownFieldPolicy::Capture | UnknownFieldPolicy::Reject | UnknownFieldPolicy::Ignore => return Ok(None),
        };
        Plan::with(schema, &self.mapping, unknown).map(Some)
    }

    /// Whether the first delivery of events to this table is to be shown to [`evolve::evolve`] whatever is in it: the
    /// policy wants all system columns, and the table lacks one that can be added.
    pub fn wants_system_columns(&self, schema: &Schema) -> bool {
        self.system_columns == SystemColumns::All && SYSTEM_COLUMNS.iter().any(|(name, _)| schema.lacks(name))
    }

    /// Whether any table could be altered under this policy.
    pub fn may_alter(&self) -> bool {
        match (self.unknown_fields, self.system_columns) {
            (UnknownFieldPolicy::Evolve, _) | (_, SystemColumns::All) => true,
            (UnknownFieldPolicy::Capture, SystemColumns::OnDemand) => true,
            (_, SystemColumns::OnDemand | SystemColumns::Never) => false,
        }
    }

    /// Whether `__extra__` would be added for a field that has no column.
    fn adds_extra(&self, schema: &Schema) -> bool {
        self.system_columns != SystemColumns::Never && schema.lacks(EXTRA_COLUMN)
    }
}

const BOOLEAN: &str = "true or false";

/// The value of a property, written as in JSON but without quotes; `default` if it is not set.
fn read<'p, T: serde::de::DeserializeOwned>(
    property: &impl Fn(&str) -> Option<&'p str>,
    key: &'static str,
    expected: &'static str,
    default: T,
) -> Result<T, PolicyError> {
    let Some(value) = property(key) else { return Ok(default) };
    let word = value.trim().to_ascii_lowercase();
    let parsed = serde_json::from_str(&word)
        .or_else(|_| serde_json::from_value(serde_json::Value::from(word.replace('-', "_"))));
    parsed.map_err(|_| PolicyError { key, value: value.chars().take(80).collect(), expected })
}
