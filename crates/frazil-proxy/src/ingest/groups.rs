//! The events of one request in groups, one group per table. Pure; whether the events fit is decided elsewhere.
//!
//! Groups are in the order in which their first events appear, and the events of a group in the client's. In this order
//! they are numbered and stored, so that a repetition of the request is cut into the same parts. What clients are told
//! about events names the client's own positions.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use frazil_core::TableName;
use frazil_core::envelope::Unroutable;
use frazil_core::limits::{TABLES_PER_REQUEST_MAX, VERDICTS_MAX};
use frazil_core::routing::Router;

use crate::body::Events;
use crate::error::Rejection;

/// Where a group of events goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// To a table.
    Table(Arc<TableName>),
    /// To no table: they become dead letters, or the request is refused.
    Nowhere(Unroutable),
}

/// The events of one request, grouped.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The events in the order in which they are stored.
    pub(crate) events: Events,
    /// The events of each group.
    pub(crate) groups: Vec<Range<usize>>,
    /// What chose the tables: the path of the rule's first field; nothing if the request names its table.
    pub(crate) rule_field: Option<String>,
    /// For each event its position in the request; absent if the order is the same.
    origin: Option<Vec<u32>>,
    /// The texts for which the first events have no table, by their positions in the request.
    got: Vec<(usize, String)>,
}

impl Batch {
    /// All events in one group.
    pub(crate) fn of_one(events: Events) -> Self {
        let whole = 0..events.len();
        Self { events, groups: vec![whole], rule_field: None, origin: None, got: Vec::new() }
    }

    /// The events grouped by a rule, and where each group goes.
    ///
    /// # Errors
    /// `400` for more than [`TABLES_PER_REQUEST_MAX`] tables.
    pub(crate) fn routed(mut router: Router, events: Events) -> Result<(Self, Vec<Target>), Rejection> {
        let mut known = HashMap::<Target, usize>::new();
        let mut groups = Vec::<(Target, Vec<u32>)>::new();
        let (mut got, mut tables) = (Vec::new(), 0);
        for (index, event) in (0..).zip(events.iter()) {
            let target = router.table_of(event).map(Target::Table).unwrap_or_else(|refusal| {
                if got.len() < VERDICTS_MAX {
                    got.push((index as usize, refusal.got));
                }
                Target::Nowhere(refusal.unroutable)
            });
            if let Some(group) = known.get(&target) {
                groups[*group].1.push(index);
                continue;
            }
            tables += usize::from(matches!(target, Target::Table(_)));
            if tables > TABLES_PER_REQUEST_MAX {
                return Err(Rejection::TooManyTables { limit: TABLES_PER_REQUEST_MAX });
            }
            known.insert(target.clone(), groups.len());
            groups.push((target, vec![index]));
        }
        let (targets, members): (Vec<Target>, Vec<Vec<u32>>) = groups.into_iter().unzip();
        let rule_field = Some(router.first_field().to_owned());
        if members.len() <= 1 {
            return Ok((Self { rule_field, got, ..Self::of_one(events) }, targets));
        }
        let mut ranges = Vec::with_capacity(members.len());
        for group in &members {
            let start = ranges.last().map_or(0, |range: &Range<usize>| range.end);
            ranges.push(start..start + group.len());
        }
        let order = members.concat();
        let events = events.reordered(&order);
        Ok((Self { events, groups: ranges, rule_field, origin: Some(order), got }, targets))
    }

    /// The position in the request of the event that is stored as this one.
    pub(crate) fn origin(&self, index: usize) -> usize {
        self.origin.as_ref().map_or(index, |origin| origin[index] as usize)
    }

    /// The text for which an event has no table, if it is remembered.
    pub(crate) fn got(&self, origin: usize) -> &str {
        let found = self.got.binary_search_by_key(&origin, |(index, _)| *index);
        found.map_or("", |at| self.got[at].1.as_str())
    }
}
