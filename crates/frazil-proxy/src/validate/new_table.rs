//! What a missing table would be made from: the stream's template, or what the events of the request look like. Pure but
//! for the clock; nothing is made here.

use std::ops::Range;

use frazil_core::infer::Inference;
use frazil_core::mapping::{MappingPolicy, Plan};
use frazil_core::policy::{SystemColumns, TablePolicy};
use frazil_core::schema::{Schema, TS_COLUMN};
use frazil_core::stream::StreamDefinition;
use tokio::time::Instant;

use super::judge::is_valid;
use crate::body::Events;
use crate::tables::{Cached, NewTable, TableError, TableShape};

/// A table that could be made, and how events are judged for it.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) new: NewTable,
    pub(super) cached: Cached,
}

/// The policy for tables that the stream makes: its own, with what its template sets as properties on top.
///
/// # Errors
/// [`TableError::Unusable`] for a malformed property.
pub(super) fn policy(stream: &StreamDefinition) -> Result<TablePolicy, TableError> {
    let property = |key: &str| stream.create.properties.get(key).map(String::as_str);
    stream.policy.with_properties(property).map_err(|error| unusable(&error))
}

/// A table for some of a request's events.
///
/// # Errors
/// [`TableError::Unusable`] if the template cannot be used, or if there is no column to make a table of.
pub(super) fn propose(stream: &StreamDefinition, events: &Events, range: Range<usize>) -> Result<Proposal, TableError> {
    let policy = policy(stream)?;
    let template = &stream.create;
    let schema = match &template.schema {
        Some(schema) => Schema::from_value(schema).map_err(|error| unusable(&error))?,
        None => infer(events, range, &policy.mapping)?,
    };
    let schema = match policy.system_columns {
        SystemColumns::OnDemand | SystemColumns::All => schema.with_system_columns(),
        SystemColumns::Never => schema,
    };
    if schema.fields.is_empty() {
        return Err(TableError::Unusable("the events have no field to make a column of".to_owned()));
    }
    let by_day = || schema.field(TS_COLUMN).map(|_| format!("day({TS_COLUMN})")).unwrap_or_default();
    let new = NewTable {
        partition_by: template.partition_by.clone().unwrap_or_else(by_day),
        sort_by: template.sort_by.clone().unwrap_or_default(),
        properties: template.properties.clone(),
        strict_namespace: template.strict_namespace,
        schema,
    };
    let shape = TableShape { schema: new.schema.clone(), properties: new.properties.clone() };
    let cached = Cached::compile(&shape, &stream.policy, Instant::now())?;
    Ok(Proposal { new, cached })
}

/// Columns for the events that are valid by themselves.
fn infer(events: &Events, range: Range<usize>, mapping: &MappingPolicy) -> Result<Schema, TableError> {
    let anything = Schema::default().with_system_columns();
    let anything = Plan::new(&anything, mapping).map_err(|error| unusable(&error))?;
    let mut inference = Inference::new(mapping);
    for event in events.range(range).filter(|event| is_valid(&anything, event)) {
        // What it could not read would be invalid for any table, and gets its verdict like all others.
        let _ = inference.observe(event);
    }
    Ok(inference.schema())
}

fn unusable(error: &dyn std::error::Error) -> TableError {
    TableError::Unusable(error.to_string())
}
