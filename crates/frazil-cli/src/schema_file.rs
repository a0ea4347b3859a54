//! Files that declare a table's schema, of either kind: the Iceberg spec's schema JSON, or a JSON Schema.

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use frazil_core::schema::{Schema, json_schema};

/// Reads the declared schema; `-` is standard input.
pub(crate) fn read(path: &Path) -> anyhow::Result<Schema> {
    let text = text(path).with_context(|| format!("cannot read the schema {}", path.display()))?;
    json_schema::parse_any(&text).with_context(|| format!("the schema {}", path.display()))
}

/// The file's text; of one that is too large, as much as shows it.
fn text(path: &Path) -> std::io::Result<Vec<u8>> {
    let limit = json_schema::DOCUMENT_MAX_BYTES as u64 + 1;
    let mut text = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut text)?;
    } else {
        std::fs::File::open(path)?.take(limit).read_to_end(&mut text)?;
    }
    Ok(text)
}
