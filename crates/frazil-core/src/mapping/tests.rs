//! Tests of the mapping: a recording column, tables of values per type, properties.

mod edges;
mod properties;
mod reader;
mod tables;

use serde_json::{Map, Value, json};

use super::*;
use crate::schema::{Field, Schema, Type};

pub(super) const META: RowMeta<'_> = RowMeta { id: "the-id", ts_micros: 1_700_000_000_000_001, write_id: "the-write" };

/// A sink that keeps everything, to be read back as JSON.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    values: std::collections::VecDeque<Cell>,
    children: Vec<Recorder>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Value(Value),
    Struct,
    List(usize),
    Map(usize),
}

impl Recorder {
    fn number(&mut self, value: f64, json: Value) {
        match value.is_finite() {
            true => self.push(json),
            false => self.push(json!({ "non_finite": value.to_string().replace("inf", "Infinity") })),
        }
    }

    fn push(&mut self, value: Value) {
        self.values.push_back(Cell::Value(value));
    }

    /// Takes the next value of this column; panics if the walk broke the contract of [`Column`].
    pub(super) fn take(&mut self, ty: &Type) -> Value {
        match (self.values.pop_front().expect("a value"), ty) {
            (Cell::Value(value), _) => value,
            (Cell::Struct, Type::Struct(fields)) => self.take_fields(fields),
            (Cell::List(len), Type::List { element, .. }) => {
                (0..len).map(|_| self.child(0).take(element)).collect::<Vec<_>>().into()
            }
            (Cell::Map(len), Type::Map { key, value, .. }) => (0..len)
                .map(|_| Value::from(vec![self.child(0).take(key), self.child(1).take(value)]))
                .collect::<Vec<_>>()
                .into(),
            (cell, ty) => panic!("{cell:?} in a column of {ty}"),
        }
    }

    pub(super) fn take_row(&mut self, schema: &Schema) -> Value {
        assert_eq!(self.values.pop_front(), Some(Cell::Struct), "the row was not ended");
        self.take_fields(&schema.fields)
    }

    fn take_fields(&mut self, fields: &[Field]) -> Value {
        let members =
            fields.iter().enumerate().map(|(index, field)| (field.name.clone(), self.child(index).take(&field.ty)));
        Value::Object(members.collect::<Map<_, _>>())
    }

    pub(super) fn assert_empty(&self) {
        assert_eq!(self.values, [], "values left over");
        self.children.iter().for_each(Recorder::assert_empty);
    }
}

/// Decimals, bytes and what JSON has no number for are recorded as `{"decimal": "…"}`, `{"bytes": […]}` and
/// `{"non_finite": "NaN"}`.
impl Column for Recorder {
    fn null(&mut self) {
        self.push(Value::Null);
    }
    fn boolean(&mut self, value: bool) {
        self.push(value.into());
    }
    fn int(&mut self, value: i32) {
        self.push(value.into());
    }
    fn long(&mut self, value: i64) {
        self.push(value.into());
    }
    fn float(&mut self, value: f32) {
        self.number(value.into(), value.into());
    }
    fn double(&mut self, value: f64) {
        self.number(value, value.into());
    }
    fn decimal(&mut self, unscaled: i128) {
        self.push(json!({"decimal": unscaled.to_string()}));
    }
    fn date(&mut self, days: i32) {
        self.push(days.into());
    }
    fn time(&mut self, micros: i64) {
        self.push(micros.into());
    }
    fn timestamp(&mut self, micros: i64) {
        self.push(micros.into());
    }
    fn timestamp_ns(&mut self, nanos: i64) {
        self.push(nanos.into());
    }
    fn string(&mut self, value: &str) {
        self.push(value.into());
    }
    fn uuid(&mut self, value: [u8; 16]) {
        self.push(json!({"bytes": value}));
    }
    fn bytes(&mut self, value: &[u8]) {
        self.push(json!({"bytes": value}));
    }
    fn child(&mut self, index: usize) -> &mut Self {
        if self.children.len() <= index {
            self.children.resize_with(index + 1, Recorder::default);
        }
        &mut self.children[index]
    }
    fn struct_end(&mut self) {
        self.values.push_back(Cell::Struct);
    }
    fn list_end(&mut self, len: usize) {
        self.values.push_back(Cell::List(len));
    }
    fn map_end(&mut self, len: usize) {
        self.values.push_back(Cell::Map(len));
    }
}

/// The row of an event, and that validation alone comes to the same verdict.
pub(super) fn row_with(schema: &Schema, policy: &MappingPolicy, event: &[u8]) -> Result<Value, FieldError> {
    let plan = Plan::new(schema, policy).expect("a plan");
    let mut recorder = Recorder::default();
    let outcome = plan.row(event, &META, &mut recorder);
    assert_eq!(outcome, plan.row(event, &META, &mut NoColumn), "the sinks disagree");
    outcome.map(|()| {
        let row = recorder.take_row(schema);
        recorder.assert_empty();
        row
    })
}

pub(super) fn row(schema: &Schema, event: &str) -> Result<Value, FieldError> {
    row_with(schema, &MappingPolicy::default(), event.as_bytes())
}

/// The verdict as `field code`.
pub(super) fn refusal(schema: &Schema, event: &str) -> String {
    let error = row(schema, event).expect_err(event);
    assert!(error.got.chars().count() <= 64, "{error}");
    format!("{} {}", error.field, error.reason.code())
}
