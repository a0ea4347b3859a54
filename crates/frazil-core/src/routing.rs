//! Which table is an event for, when its fields say so?
//!
//! A [`Routing`] is what an operator writes; a [`Router`] is its compiled form, which reads the fields of one event after
//! the other. A value can fill its place in the name and nothing else: it has no dot by then, so the catalog, the number of
//! namespace levels and every literal character of the template stand, whatever a client sends. The tables that Frazil
//! keeps for itself cannot be named. Whether the table exists, and who may write to it, is decided elsewhere.

mod fields;
mod template;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::envelope::Unroutable;
use crate::limits::TABLE_NAME_MAX_BYTES;
use crate::mapping::Reason;
use crate::name::{NameError, SYSTEM_NAMESPACE, TableName};
use crate::token::Pattern;
use fields::{Tree, Value};
use template::Template;

/// A rule that finds the table of an event by its fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routing {
    /// Name of the table, with fields in braces: `lake.events.{event_type}`, `web.{site.country}`. A value's characters
    /// other than ASCII letters, digits and `_` become `_`.
    pub table: String,
    /// The full names that may come out; anything the template gives if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Pattern>,
    /// Table of the events for which the rule gives no name, or one that is not allowed; they are invalid if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<TableName>,
}

/// A rule that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RoutingError(pub String);

/// Most patterns of [`Routing::allow`]. More: refused when the stream is made.
const ALLOW_MAX: usize = 1000;

/// Longest excerpt of a text at fault, in characters.
const GOT_MAX: usize = 64;

/// Ending of the tables that [`TableName::dead_letter`] names.
const DEAD_LETTER_SUFFIX: &str = "__dead_letter";

impl Routing {
    /// Checks the rule.
    ///
    /// # Errors
    /// [`RoutingError`] for a template without a field, with unbalanced braces, or that can never be a table's name.
    pub fn validate(&self) -> Result<(), RoutingError> {
        self.compile("default", false).map(drop)
    }

    /// Compiles the rule. Two-part names mean `default_catalog`; with `case_insensitive` names come out in lower case
    /// (but for the catalog) and patterns are compared without regard to case.
    ///
    /// # Errors
    /// As [`Routing::validate`].
    pub fn compile(&self, default_catalog: &str, case_insensitive: bool) -> Result<Router, RoutingError> {
        if self.allow.len() > ALLOW_MAX {
            return Err(RoutingError(format!("{} patterns are too many, at most {ALLOW_MAX} work", self.allow.len())));
        }
        let (template, paths) = template::parse(&self.table)?;
        let fold = |name: &TableName| if case_insensitive { name.to_lowercase() } else { Ok(name.clone()) };
        let unusable = |error: NameError| RoutingError(error.to_string());
        let fallback = self.fallback.as_ref().map(fold).transpose().map_err(unusable)?;
        let lower = |pattern: &Pattern| Pattern(pattern.0.to_lowercase());
        let router = Router {
            fields: paths.iter().map(|path| path.join(".")).collect(),
            tree: Tree::new(&paths)?,
            template,
            allow: if case_insensitive { self.allow.iter().map(lower).collect() } else { self.allow.clone() },
            fallback: fallback.map(Arc::new),
            default_catalog: default_catalog.to_owned(),
            case_insensitive,
            known: HashMap::new(),
            name: String::new(),
        };
        let example = router.parse(&router.template.example()).map_err(unusable)?;
        if reserved(&example) {
            return Err(RoutingError(format!("{example} is the name of a table that Frazil keeps for itself")));
        }
        let names_catalog = router.template.example().split('.').count() > 2;
        if names_catalog && router.template.chooses_catalog() {
            return Err(RoutingError("the catalog cannot come from a field".to_owned()));
        }
        Ok(router)
    }
}

/// An event that the rule finds no table for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoTable {
    /// What is stored about it. There are few different ones per rule: values are not part of it.
    pub unroutable: Unroutable,
    /// The text at fault for the sender, shortened; empty if there is none.
    pub got: String,
}

/// The compiled form of a rule. Remembers the tables it has found, so make one per request.
#[derive(Debug)]
pub struct Router {
    template: Template,
    tree: Tree,
    /// The dotted path of each field.
    fields: Vec<String>,
    allow: Vec<Pattern>,
    fallback: Option<Arc<TableName>>,
    default_catalog: String,
    case_insensitive: bool,
    known: HashMap<String, Arc<TableName>>,
    name: String,
}

impl Router {
    /// The table of an event.
    ///
    /// # Errors
    /// [`NoTable`] if the rule gives no name, or one that is not allowed, and there is no fallback.
    pub fn table_of(&mut self, event: &[u8]) -> Result<Arc<TableName>, NoTable> {
        match self.by_rule(event) {
            Ok(table) => Ok(table),
            Err(refusal) => self.fallback.clone().ok_or(refusal),
        }
    }

    /// The dotted path of the first field of the template, which stands for the rule where one field must be named.
    pub fn first_field(&self) -> &str {
        self.fields.first().map_or("", String::as_str)
    }

    fn by_rule(&mut self, event: &[u8]) -> Result<Arc<TableName>, NoTable> {
        let mut name = std::mem::take(&mut self.name);
        name.clear();
        let named = self.fill(event, &mut name);
        self.name = name;
        named?;
        if let Some(table) = self.known.get(&self.name) {
            return Ok(Arc::clone(table));
        }
        let table = Arc::new(self.check(&self.name)?);
        self.known.insert(self.name.clone(), Arc::clone(&table));
        Ok(table)
    }

    /// Appends the name that the event's values give.
    fn fill(&self, event: &[u8], name: &mut String) -> Result<(), NoTable> {
        let values = self.tree.read(event, self.fields.len()).map_err(|reason| unreadable(reason, event))?;
        for segment in self.template.segments() {
            match segment {
                template::Segment::Literal(text) => name.push_str(text),
                template::Segment::Field(index) => {
                    let refuse = |message: &str, got: &str| no_table(&self.fields[*index], message, got);
                    push(values[*index], name).map_err(|(message, got)| refuse(message, got))?;
                }
            }
        }
        Ok(())
    }

    /// Takes a name that values have given, or not.
    fn check(&self, name: &str) -> Result<TableName, NoTable> {
        let refuse = |message: &str| no_table(self.first_field(), message, name);
        let too_long = || refuse(&format!("the name of the table would be longer than {TABLE_NAME_MAX_BYTES} bytes"));
        let table = self.parse(name).map_err(|_| too_long())?;
        if reserved(&table) {
            return Err(refuse("the table would be one that Frazil keeps for itself"));
        }
        let mut full = table.to_string();
        if self.case_insensitive {
            full = full.to_lowercase();
        }
        if self.allow.is_empty() || self.allow.iter().any(|pattern| pattern.matches(&full)) {
            return Ok(table);
        }
        Err(refuse("the table is not among those that the routing rule allows"))
    }

    fn parse(&self, name: &str) -> Result<TableName, NameError> {
        let table = TableName::parse(name, &self.default_catalog)?;
        if self.case_insensitive { table.to_lowercase() } else { Ok(table) }
    }
}

/// Appends one value as it may stand in a name; or what is wrong with it, and its text.
fn push<'v>(value: Value<'v>, name: &mut String) -> Result<(), (&'static str, &'v str)> {
    const TOO_LONG: &str = "the value is too long for the name of a table";
    /// Longest escape sequence of one character.
    const ESCAPE_MAX_BYTES: usize = 12;
    match value {
        Value::Missing => Err(("the field is missing", "")),
        Value::Null => Err(("the field is null", "null")),
        Value::Twice => Err(("the field occurs more than once", "")),
        Value::Other(raw) => Err(("the field must be a string, a whole number or a boolean", raw)),
        Value::Plain(text) if text.len() > TABLE_NAME_MAX_BYTES => Err((TOO_LONG, text)),
        Value::Plain(text) => {
            push_safe(text, name);
            Ok(())
        }
        Value::Text(text) if text.raw.is_empty() => Err(("the field is empty", "\"\"")),
        Value::Text(text) if text.raw.len() > TABLE_NAME_MAX_BYTES * ESCAPE_MAX_BYTES => Err((TOO_LONG, text.raw)),
        Value::Text(text) => {
            let before = name.len();
            push_safe(&text.value(), name);
            if name.len() - before > TABLE_NAME_MAX_BYTES { Err((TOO_LONG, text.raw)) } else { Ok(()) }
        }
    }
}

fn push_safe(text: &str, name: &mut String) {
    name.extend(text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
}

fn no_table(field: &str, message: &str, got: &str) -> NoTable {
    let unroutable = Unroutable { field: field.to_owned(), message: message.to_owned() };
    let mut excerpt: String = got.chars().take(GOT_MAX).collect();
    if excerpt.len() < got.len() {
        excerpt.push('…');
    }
    NoTable { unroutable, got: excerpt }
}

fn unreadable(reason: Reason, event: &[u8]) -> NoTable {
    let message = match reason {
        Reason::NotAnObject => "the event is not a JSON object",
        Reason::InvalidUtf8 { .. } => "the event is not valid UTF-8",
        Reason::TooDeep { .. } => "the event is nested too deeply",
        _ => "the event is not valid JSON",
    };
    no_table("", message, &String::from_utf8_lossy(&event[..event.len().min(TABLE_NAME_MAX_BYTES)]))
}

/// Whether Frazil keeps a table of this name for itself: dead letters, and what belongs to streams.
fn reserved(table: &TableName) -> bool {
    let letters = table.table().to_ascii_lowercase().ends_with(DEAD_LETTER_SUFFIX);
    letters || table.namespace().iter().any(|level| level.eq_ignore_ascii_case(SYSTEM_NAMESPACE))
}
