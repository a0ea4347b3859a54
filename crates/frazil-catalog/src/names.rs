//! Names of namespaces and tables: checked once, where they enter. Knows nothing of HTTP or SQL.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Separates the levels of a namespace in paths, queries and in the database; not allowed inside a level.
pub(crate) const SEPARATOR: char = '\u{1f}';
/// Longest name of one level or table, in bytes: what file systems take as one path component.
const MAX_NAME_BYTES: usize = 255;
/// Deepest nesting of namespaces.
const MAX_LEVELS: usize = 16;

/// Why a name is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum NameError {
    #[error("a name must not be empty")]
    Empty,
    #[error("name {0:?} contains a control character")]
    Control(String),
    #[error("name of {0} bytes is longer than {MAX_NAME_BYTES} bytes")]
    TooLong(usize),
    #[error("a namespace must have at least one level")]
    NoLevels,
    #[error("namespace of {0} levels is deeper than {MAX_LEVELS} levels")]
    TooDeep(usize),
}

fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong(name.len()));
    }
    if name.chars().any(char::is_control) {
        return Err(NameError::Control(name.to_owned()));
    }
    Ok(())
}

/// One or more valid levels. A dot inside a level is part of its name, never a separator.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub(crate) struct Namespace(Vec<String>);

impl Namespace {
    /// From levels joined by [`SEPARATOR`], as paths and queries carry them (already percent-decoded).
    pub(crate) fn from_joined(joined: &str) -> Result<Self, NameError> {
        joined.split(SEPARATOR).map(str::to_owned).collect::<Vec<_>>().try_into()
    }

    pub(crate) fn levels(&self) -> &[String] {
        &self.0
    }

    /// The levels joined by [`SEPARATOR`]: the key in the database.
    pub(crate) fn joined(&self) -> String {
        self.0.join(&SEPARATOR.to_string())
    }

    /// The namespace around this one.
    pub(crate) fn parent(&self) -> Option<Self> {
        let (_, parents) = self.0.split_last()?;
        (!parents.is_empty()).then(|| Self(parents.to_vec()))
    }

    pub(crate) fn last(&self) -> &str {
        self.0.last().expect("a namespace has at least one level")
    }
}

impl TryFrom<Vec<String>> for Namespace {
    type Error = NameError;

    fn try_from(levels: Vec<String>) -> Result<Self, NameError> {
        if levels.is_empty() {
            return Err(NameError::NoLevels);
        }
        if levels.len() > MAX_LEVELS {
            return Err(NameError::TooDeep(levels.len()));
        }
        levels.iter().try_for_each(|level| check(level))?;
        Ok(Self(levels))
    }
}

impl From<Namespace> for Vec<String> {
    fn from(namespace: Namespace) -> Self {
        namespace.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// A valid table name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        check(&name)?;
        Ok(Self(name))
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

/// A table's full name; its JSON form is the protocol's `TableIdentifier`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct TableKey {
    pub(crate) namespace: Namespace,
    pub(crate) name: Name,
}

impl fmt::Display for TableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.namespace, self.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_is_no_separator() {
        let namespace = Namespace::from_joined("a.b\u{1f}c").expect("valid");
        assert_eq!(namespace.levels(), ["a.b", "c"]);
        assert_eq!(namespace.joined(), "a.b\u{1f}c");
        assert_eq!(namespace.parent().expect("nested").levels(), ["a.b"]);
    }

    #[test]
    fn bad_names_are_refused() {
        let level = |name: &str| Namespace::try_from(vec![name.to_owned()]).expect_err("refused");
        assert_eq!(level(""), NameError::Empty);
        assert_eq!(level("a\nb"), NameError::Control("a\nb".to_owned()));
        assert_eq!(level(&"x".repeat(256)), NameError::TooLong(256));
        assert_eq!(Namespace::try_from(Vec::new()), Err(NameError::NoLevels));
        assert_eq!(Namespace::try_from(vec!["x".to_owned(); 17]), Err(NameError::TooDeep(17)));
        assert_eq!(Namespace::from_joined("a\u{1f}"), Err(NameError::Empty));
    }
}
