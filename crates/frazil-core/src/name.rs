//! Names, parsed once at the edge: event streams, shards of the log, tables.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::{STREAM_NAME_MAX_BYTES, TABLE_NAME_MAX_BYTES};

/// Namespace of the tables that belong to streams.
pub const SYSTEM_NAMESPACE: &str = "frazil_system";

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The stream name has a wrong shape.
    #[error("stream name {0:?} must be 1 to 63 characters of a-z, 0-9, '-' and '_', starting with a letter or digit")]
    Stream(String),
    /// The table name has a wrong number of parts.
    #[error("table name {0:?} must have the form catalog.namespace.table or namespace.table")]
    TableParts(String),
    /// A part of the table name is empty or has a character that no catalog takes.
    #[error("table name {0:?} has an empty part or a control character")]
    TablePart(String),
    /// The table name has a character that senders may not use.
    #[error("table name {0:?} has a backslash or a character that cannot be seen")]
    TableDeceptive(String),
    /// The table name is too long.
    #[error("table name is {0} bytes long, at most {TABLE_NAME_MAX_BYTES} are allowed")]
    TableLength(usize),
}

/// Name of an event stream, such as `sales`. Safe in NATS subjects, JetStream names and URLs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamName(String);

impl StreamName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StreamName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let bytes = text.as_bytes();
        let shape = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-' || *b == b'_';
        let starts = bytes.first().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !starts || bytes.len() > STREAM_NAME_MAX_BYTES || !bytes.iter().all(shape) {
            return Err(NameError::Stream(text.chars().take(80).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for StreamName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<StreamName> for String {
    fn from(name: StreamName) -> Self {
        name.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One shard of an event stream: one JetStream stream, one total order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shard {
    /// The event stream.
    pub stream: StreamName,
    /// Number of the shard, `0..shards`.
    pub index: u32,
}

impl Shard {
    /// Names shard `index` of `stream`.
    pub fn new(stream: StreamName, index: u32) -> Self {
        Self { stream, index }
    }

    /// Name of the JetStream stream that stores the shard.
    pub fn jetstream_name(&self) -> String {
        format!("FRAZIL_{}_{}", self.stream, self.index)
    }

    /// NATS subject on which envelopes of the shard are published.
    pub fn subject(&self) -> String {
        format!("frazil.log.{}.{}", self.stream, self.index)
    }

    /// NATS subject (not stored) on which the writer announces commits of the shard.
    pub fn committed_subject(&self) -> String {
        format!("frazil.committed.{}.{}", self.stream, self.index)
    }

    /// Key of the shard's low watermark in the control bucket.
    pub fn progress_key(&self) -> String {
        format!("progress.{}.{}", self.stream, self.index)
    }

    /// Table property that holds the shard's checkpoint.
    pub fn checkpoint_property(&self) -> String {
        format!("frazil.checkpoint.{}.{}", self.stream, self.index)
    }

    /// Snapshot summary key that holds the shard's delta of one commit.
    pub fn delta_summary(&self) -> String {
        format!("frazil.delta.{}.{}", self.stream, self.index)
    }

    /// Table property that lists which events the newest commit with dead letters of the shard decided to be such.
    pub fn dead_letters_property(&self) -> String {
        format!("frazil.dead-letters.{}.{}", self.stream, self.index)
    }

    /// Property of a dead-letter table that says for which table letters of the shard are written: its uuid, or `none`.
    pub fn letters_of_property(&self) -> String {
        format!("frazil.letters-of.{}.{}", self.stream, self.index)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stream, self.index)
    }
}

/// Full name of an Iceberg table: catalog, one or more namespace levels, table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName {
    catalog: String,
    namespace: Vec<String>,
    table: String,
}

impl TableName {
    /// The table that belongs to a stream as a whole: what has no other table becomes a dead letter of it.
    /// It need not exist.
    pub fn catch_all(catalog: &str, stream: &StreamName) -> Result<Self, NameError> {
        Self::parse_full(&format!("{catalog}.{SYSTEM_NAMESPACE}.{stream}"))
    }

    /// Parses `catalog.namespace[.namespace…].table`; at least three parts.
    pub fn parse_full(text: &str) -> Result<Self, NameError> {
        let mut parts = split_parts(text)?;
        if parts.len() < 3 {
            return Err(NameError::TableParts(text.to_owned()));
        }
        let table = parts.pop().expect("three parts were checked");
        let catalog = parts.remove(0);
        Ok(Self { catalog, namespace: parts, table })
    }

    /// Parses a name whose catalog may be left out: two parts mean `default_catalog`.
    pub fn parse(text: &str, default_catalog: &str) -> Result<Self, NameError> {
        match split_parts(text)?.len() {
            2 => Self::parse_full(&format!("{default_catalog}.{text}")),
            _ => Self::parse_full(text),
        }
    }

    /// Name of the catalog.
    pub fn catalog(&self) -> &str {
        &self.catalog
    }

    /// The same name, if senders may use it. A table that is there may have any name; one that is named from outside may not
    /// have what some systems take for a slash or for the end of a line, or what makes it look like another.
    ///
    /// # Errors
    /// [`NameError::TableDeceptive`].
    pub fn as_sent(self) -> Result<Self, NameError> {
        let name = self.to_string();
        if name.chars().any(is_deceptive) { Err(NameError::TableDeceptive(name)) } else { Ok(self) }
    }

    /// Levels of the namespace, outermost first; never empty.
    pub fn namespace(&self) -> &[String] {
        &self.namespace
    }

    /// Name of the table within its namespace.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The name in lower case, but for the catalog.
    ///
    /// # Errors
    /// [`NameError::TableLength`]: a few characters take more bytes in lower case.
    pub fn to_lowercase(&self) -> Result<Self, NameError> {
        let (namespace, table) = (self.namespace.join("."), &self.table);
        Self::parse_full(&format!("{}.{}", self.catalog, format!("{namespace}.{table}").to_lowercase()))
    }

    /// The table that receives what cannot become a row of this one.
    pub fn dead_letter(&self) -> Self {
        let table = format!("{}__dead_letter", self.table);
        Self { table, ..self.clone() }
    }
}

fn split_parts(text: &str) -> Result<Vec<String>, NameError> {
    if text.len() > TABLE_NAME_MAX_BYTES {
        return Err(NameError::TableLength(text.len()));
    }
    let parts: Vec<String> = text.split('.').map(str::to_owned).collect();
    if parts.len() < 2 {
        return Err(NameError::TableParts(text.to_owned()));
    }
    let bad = |part: &String| part.trim().is_empty() || part.chars().any(|c| c.is_control() || c == '/');
    if parts.iter().any(bad) {
        return Err(NameError::TablePart(text.to_owned()));
    }
    Ok(parts)
}

/// What some systems take for a slash or the end of a line, and what is not seen.
fn is_deceptive(c: char) -> bool {
    let unseen = ['\u{ad}', '\u{61c}', '\u{2028}', '\u{2029}', '\u{feff}'];
    let ranges = ['\u{200b}'..='\u{200f}', '\u{202a}'..='\u{202e}', '\u{2060}'..='\u{2069}'];
    c == '\\' || unseen.contains(&c) || ranges.iter().any(|range| range.contains(&c))
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.catalog, self.namespace.join("."), self.table)
    }
}

impl FromStr for TableName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse_full(text)
    }
}

impl TryFrom<String> for TableName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse_full(&text)
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stream_names_are_safe_in_subjects() {
        for good in ["a", "sales", "web-clicks_2", "0x"] {
            assert_eq!(good.parse::<StreamName>().expect(good).as_str(), good);
        }
        for bad in ["", "-a", "_a", "A", "a.b", "a b", "a*", "a>", "é", &"x".repeat(64)] {
            assert!(bad.parse::<StreamName>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn shard_names() {
        let shard = Shard::new("sales".parse().expect("valid"), 3);
        assert_eq!(shard.jetstream_name(), "FRAZIL_sales_3");
        assert_eq!(shard.subject(), "frazil.log.sales.3");
        assert_eq!(shard.checkpoint_property(), "frazil.checkpoint.sales.3");
    }

    #[test]
    fn two_parts_mean_the_default_catalog() {
        let name = TableName::parse("web.clicks", "frazil").expect("valid");
        assert_eq!(name.to_string(), "frazil.web.clicks");
        let deep = TableName::parse("lake.a.b.c", "frazil").expect("valid");
        assert_eq!((deep.catalog(), deep.namespace().len(), deep.table()), ("lake", 2, "c"));
        assert_eq!(deep.dead_letter().to_string(), "lake.a.b.c__dead_letter");
    }

    #[test]
    fn malformed_table_names_are_refused() {
        for bad in ["", "t", "a..b", ".a.b", "a.b.", "a.b\n.c", "a.b/c.d", " . . "] {
            assert!(TableName::parse(bad, "frazil").is_err(), "{bad:?} was accepted");
        }
        assert!(TableName::parse_full("a.b").is_err());
        let long = format!("web.{}", "x".repeat(TABLE_NAME_MAX_BYTES - "web.".len()));
        assert!(TableName::parse(&long, "l").is_err(), "the catalog counts, as the full name is what is stored");
    }

    /// Texts of characters that mean something in subjects, paths, headers and logs.
    fn hostile() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "[a-z0-9_.*>/%\\\\ \t\r\n\0$\u{202e}\u{2028}é-]{0,80}"]
    }

    proptest! {
        /// 2. What is a stream's name makes one token of a subject, one of a bucket's key and one segment of a path.
        #[test]
        fn streams_are_safe_everywhere(text in hostile()) {
            if let Ok(name) = text.parse::<StreamName>() {
                prop_assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_'));
                let shard = Shard::new(name, 7);
                for subject in [shard.subject(), shard.committed_subject()] {
                    prop_assert_eq!(subject.split('.').count(), 4);
                }
                prop_assert_eq!(shard.jetstream_name(), format!("FRAZIL_{text}_7"));
            }
        }

        /// 3. What is a table's name has no part that could be another directory, another line or nothing, and is itself
        ///    when printed and read.
        #[test]
        fn tables_have_no_deceptive_parts(text in hostile()) {
            if let Ok(name) = TableName::parse(&text, "lake").and_then(TableName::as_sent) {
                let parts = [name.catalog(), name.table()].into_iter().chain(name.namespace().iter().map(String::as_str));
                for part in parts {
                    prop_assert!(!part.trim().is_empty() && !part.contains('.') && !part.chars().any(|c| c.is_control() || c == '/' || is_deceptive(c)));
                }
                prop_assert_eq!(&TableName::parse_full(&name.to_string()).expect("its own form"), &name);
            }
        }

        /// 1. What parses prints back as itself.
        #[test]
        fn full_names_round_trip(text in "[a-z]{1,5}(\\.[a-zA-Z0-9_ -]{1,6}){2,4}") {
            if let Ok(name) = TableName::parse_full(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
