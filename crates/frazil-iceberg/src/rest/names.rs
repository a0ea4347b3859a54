//! Names in URLs: percent-encoding and the namespace separator. Pure.

use super::CatalogError;

/// What joins the levels of a namespace in a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Separator(String);

impl Default for Separator {
    fn default() -> Self {
        Self("\u{1f}".to_owned())
    }
}

impl Separator {
    /// From the catalog's property, which is percent-encoded (`%1F`, `%2E`).
    pub(super) fn from_property(encoded: &str) -> Self {
        // The property is query-encoded text: decoding it as a query value is exactly its definition.
        let query = format!("s={encoded}");
        match url::form_urlencoded::parse(query.as_bytes()).next() {
            Some((_, value)) if !value.is_empty() => Self(value.into_owned()),
            _ => Self::default(),
        }
    }

    pub(super) fn join(&self, levels: &[String]) -> String {
        levels.join(&self.0)
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub(super) fn encode(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Refuses names that no URL can carry: clients and servers resolve `.` and `..` even when encoded.
pub(super) fn check(name: &str) -> Result<(), CatalogError> {
    match name {
        "" | "." | ".." => Err(CatalogError::BadRequest { message: format!("{name:?} cannot be a name") }),
        _ => Ok(()),
    }
}

/// Appends query parameters.
pub(super) fn with_query(url: &str, query: &[(&str, String)]) -> String {
    let mut text = url.to_owned();
    for (index, (key, value)) in query.iter().enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        text.push_str(key);
        text.push('=');
        text.push_str(&encode(value));
    }
    text
}
