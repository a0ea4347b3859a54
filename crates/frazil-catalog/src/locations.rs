//! Where a table and its metadata files live. Pure string work: nothing here looks at the storage.

use frazil_iceberg::spec::TableMetadata;
use uuid::Uuid;

use crate::names::TableKey;

/// Longest path component made from a name; leaves room for a suffix within the usual 255 bytes.
const MAX_COMPONENT_BYTES: usize = 200;
/// Table property that moves the metadata files elsewhere.
const METADATA_PATH: &str = "write.metadata.path";

/// The location of a new table, `<warehouse>/<level>/…/<table>`.
///
/// Readers disagree on escapes in paths (`?`, `#`, `%`, spaces), so a name with anything but letters, digits, `_`,
/// `-` and inner dots is only hinted at, and a suffix keeps the location unique. `fresh` asks for the suffix anyway.
pub(crate) fn table_location(warehouse: &str, key: &TableKey, fresh: bool) -> String {
    let mut location = warehouse.trim_end_matches('/').to_owned();
    let mut suffix = fresh;
    for name in key.namespace.levels().iter().map(String::as_str).chain([key.name.as_str()]) {
        let component = component(name);
        suffix |= component != name;
        location.push('/');
        location.push_str(&component);
    }
    if suffix {
        location.push('-');
        location.push_str(&Uuid::new_v4().simple().to_string()[..8]);
    }
    location
}

fn component(name: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut component: String = name.chars().map(|c| if safe(c) { c } else { '_' }).collect();
    component.truncate(MAX_COMPONENT_BYTES);
    // No `.`, no `..`, nothing hidden.
    if component.starts_with('.') {
        component.replace_range(..1, "_");
    }
    component
}

/// The directory of a table's metadata files.
pub(crate) fn metadata_directory(metadata: &TableMetadata) -> String {
    match metadata.properties().get(METADATA_PATH) {
        Some(path) if !path.is_empty() => path.trim_end_matches('/').to_owned(),
        _ => format!("{}/metadata", metadata.location().trim_end_matches('/')),
    }
}

/// A new, unique name for the metadata file after `current`.
pub(crate) fn metadata_file(metadata: &TableMetadata, current: Option<&str>, gzip: bool) -> String {
    let version = current.map_or(0, |current| file_version(current).saturating_add(1));
    let extension = if gzip { ".gz.metadata.json" } else { ".metadata.json" };
    format!("{}/{version:05}-{}{extension}", metadata_directory(metadata), Uuid::new_v4())
}

/// The number in `NNNNN-<uuid>.metadata.json` or `vN.metadata.json`; 0 for files named otherwise.
fn file_version(location: &str) -> u32 {
    let name = location.rsplit('/').next().unwrap_or(location).trim_start_matches('v');
    let digits = name.find(|c: char| !c.is_ascii_digit()).map_or(name, |end| &name[..end]);
    digits.parse().unwrap_or(0)
}

/// Whether `location` is a metadata file that commits to this table have written: the only kind that may be deleted.
pub(crate) fn is_own_metadata_file(metadata: &TableMetadata, location: &str) -> bool {
    let Some(name) = location.strip_prefix(&metadata_directory(metadata)).and_then(|rest| rest.strip_prefix('/'))
    else {
        return false;
    };
    !name.contains('/') && name.ends_with(".metadata.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(levels: &[&str], name: &str) -> TableKey {
        let levels: Vec<String> = levels.iter().map(|level| (*level).to_owned()).collect();
        TableKey {
            namespace: levels.try_into().expect("valid levels"),
            name: name.to_owned().try_into().expect("valid name"),
        }
    }

    #[test]
    fn plain_names_make_plain_locations() {
        let location = table_location("file:///wh/", &key(&["a", "b"], "events_1"), false);
        assert_eq!(location, "file:///wh/a/b/events_1");
    }

    #[test]
    fn other_names_are_replaced_and_made_unique() {
        let one = table_location("s3://b/p", &key(&["a b"], "x/../y?"), false);
        let two = table_location("s3://b/p", &key(&["a b"], "x/../y?"), false);
        assert!(one.starts_with("s3://b/p/a_b/x_.._y_-"), "{one}");
        assert_ne!(one, two);
        let dots = table_location("s3://b", &key(&[".."], "."), false);
        assert!(dots.starts_with("s3://b/_./_-"), "{dots}");
    }

    #[test]
    fn versions_are_read_from_file_names() {
        assert_eq!(file_version("file:///t/metadata/00041-5f6c.metadata.json"), 41);
        assert_eq!(file_version("file:///t/metadata/v7.metadata.json"), 7);
        assert_eq!(file_version("file:///t/metadata/odd.metadata.json"), 0);
    }
}
