//! The walk over all events of a request, each by the standard of its group. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use frazil_core::envelope::Unroutable;
use frazil_core::limits::VERDICTS_MAX;
use frazil_core::mapping::{FieldError, NoColumn, Plan, RowMeta};

use crate::error::{Verdict, Verdicts};
use crate::ingest::Batch;

/// What the events of a group are measured by.
#[derive(Debug, Clone)]
pub(super) enum Standard {
    /// The schema of a table.
    Plan(Arc<Plan>),
    /// Nothing: they have no table, and so are invalid.
    Nowhere(Unroutable),
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// The invalid events, by their positions in the request.
    pub(super) verdicts: Verdicts,
    /// For each group the number of invalid events.
    pub(super) invalid: Vec<usize>,
    /// For each group the number of valid events.
    pub(super) valid: Vec<usize>,
    /// Invalid events by reason.
    pub(super) reasons: BTreeMap<&'static str, u64>,
}

/// Machine code of the reason of events without a table.
const UNROUTABLE: &str = "unroutable";

/// Judges all events.
pub(super) fn judge(batch: &Batch, standards: &[Standard]) -> Judged {
    let mut judged = Judged::default();
    judged.verdicts.events = batch.events.len();
    for (range, standard) in batch.groups.iter().zip(standards) {
        let mut invalid = 0;
        let mut listed = Vec::new();
        for (index, event) in range.clone().zip(batch.events.range(range.clone())) {
            let Some(fault) = fault(standard, event) else { continue };
            invalid += 1;
            *judged.reasons.entry(fault.reason()).or_default() += 1;
            if listed.len() < VERDICTS_MAX {
                listed.push(fault.verdict(batch, batch.origin(index)));
            }
        }
        judged.take(listed, invalid, range.len() - invalid);
    }
    judged
}

/// Whether an event is valid by itself: a JSON object without repeated fields.
pub(super) fn is_valid(plan: &Plan, event: &[u8]) -> bool {
    plan.row(event, &META, &mut NoColumn).is_ok()
}

const META: RowMeta<'static> = RowMeta { id: "", ts_micros: 0, write_id: "" };

enum Fault<'s> {
    Field(FieldError),
    Nowhere(&'s Unroutable),
}

fn fault<'s>(standard: &'s Standard, event: &[u8]) -> Option<Fault<'s>> {
    match standard {
        Standard::Plan(plan) => plan.row(event, &META, &mut NoColumn).err().map(Fault::Field),
        Standard::Nowhere(unroutable) => Some(Fault::Nowhere(unroutable)),
    }
}

impl Fault<'_> {
    fn reason(&self) -> &'static str {
        match self {
            Self::Field(error) => error.reason.code(),
            Self::Nowhere(_) => UNROUTABLE,
        }
    }

    fn verdict(self, batch: &Batch, index: usize) -> Verdict {
        let reason = self.reason();
        match self {
            Self::Field(error) => {
                let message = error.to_string();
                Verdict { index, field: error.field, reason, message, got: error.got }
            }
            Self::Nowhere(Unroutable { field, message }) => {
                let at = if field.is_empty() { String::new() } else { format!(", by its field `{field}`") };
                let message = format!("no table for the event{at}: {message}");
                Verdict { index, field: field.clone(), reason, message, got: batch.got(index).to_owned() }
            }
        }
    }
}

impl Judged {
    /// Takes in a group. The listed verdicts are those of the first events in the client's order, whatever the groups.
    fn take(&mut self, listed: Vec<Verdict>, invalid: usize, valid: usize) {
        self.verdicts.invalid += invalid;
        self.invalid.push(invalid);
        self.valid.push(valid);
        if !listed.is_empty() {
            self.verdicts.listed.extend(listed);
            self.verdicts.listed.sort_by_key(|verdict| verdict.index);
            self.verdicts.listed.truncate(VERDICTS_MAX);
        }
    }
}
