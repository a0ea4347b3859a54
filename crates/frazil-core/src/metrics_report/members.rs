//! The members of a JSON object, each value as it was written. Knows nothing of reports but their errors.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::ReportError;

/// Members by name. A name that is given twice is refused: nobody could say which one counts.
#[derive(Debug)]
pub(super) struct Members<'r>(BTreeMap<String, &'r RawValue>);

impl<'r> Members<'r> {
    /// The members of the report itself.
    ///
    /// # Errors
    /// [`ReportError::Json`] with the position, [`ReportError::Malformed`] for what is no object.
    pub(super) fn of_body(body: &'r [u8]) -> Result<Self, ReportError> {
        serde_json::from_slice(body).map_err(|error| {
            let message = without_position(&error);
            if error.is_data() {
                return ReportError::malformed("", format!("is malformed: {message}"));
            }
            ReportError::Json { line: error.line(), column: error.column(), message }
        })
    }

    /// Takes a member out; one that is null counts as absent.
    pub(super) fn take(&mut self, name: &str) -> Option<&'r RawValue> {
        self.0.remove(name).filter(|raw| raw.get() != "null")
    }

    /// Takes a member out that must be there.
    ///
    /// # Errors
    /// [`ReportError::Malformed`].
    pub(super) fn required(&mut self, name: &str) -> Result<&'r RawValue, ReportError> {
        self.take(name).ok_or_else(|| ReportError::malformed(name, "is missing"))
    }

    /// Puts a member back.
    pub(super) fn keep(&mut self, name: &str, raw: &'r RawValue) {
        self.0.insert(name.to_owned(), raw);
    }

    /// The members that are left, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'r RawValue)> {
        self.0.iter().map(|(name, raw)| (name.as_str(), *raw))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The members of a field that must be an object.
///
/// # Errors
/// [`ReportError::Malformed`].
pub(super) fn object<'r>(field: &str, raw: &'r RawValue) -> Result<Members<'r>, ReportError> {
    let members = serde_json::from_str(raw.get());
    members.map_err(|error| ReportError::malformed(field, format!("is malformed: {}", without_position(&error))))
}

/// What the parser said, without the position: in a nested value it would be that within the value.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message).to_owned()
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, raw)) = map.next_entry::<String, &'de RawValue>()? {
            if members.contains_key(&name) {
                return Err(A::Error::custom(format!("the field {name:?} is given twice")));
            }
            members.insert(name, raw);
        }
        Ok(Members(members))
    }
}
