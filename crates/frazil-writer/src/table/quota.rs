//! How many columns a table may still get within this hour. Pure.
//!
//! The count is kept in the table itself and moves in the commits that add the columns, so that it holds over writers
//! and restarts.

/// Table property with the columns added within an hour: `<hours since the Unix epoch>:<count>`.
pub(super) const COLUMNS_ADDED: &str = "frazil.columns-added";

/// What a table may still get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quota {
    hour: u64,
    used: u32,
    limit: u32,
}

impl Quota {
    /// Reads the property. A malformed one, or one that is of neither this hour nor (another writer's clock may be
    /// ahead) the next, counts as none.
    pub(super) fn read(property: Option<&str>, hour: u64, limit: u32) -> Self {
        let parsed = property.and_then(|text| text.split_once(':'));
        let parsed = parsed.and_then(|(hour, used)| Some((hour.parse::<u64>().ok()?, used.parse::<u32>().ok()?)));
        match parsed {
            Some((at, used)) if at == hour || at == hour + 1 => Self { hour: at, used, limit },
            Some(_) | None => Self { hour, used: 0, limit },
        }
    }

    /// Columns that may still be added.
    pub(super) fn left(self) -> u32 {
        self.limit.saturating_sub(self.used)
    }

    /// The property's value once `added` more are there.
    pub(super) fn with(self, added: u32) -> String {
        format!("{}:{}", self.hour, self.used.saturating_add(added))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_hour_counts() {
        let left = |property| Quota::read(property, 100, 10).left();
        assert_eq!(left(None), 10);
        assert_eq!(left(Some("100:4")), 6);
        assert_eq!(left(Some("99:4")), 10);
        assert_eq!(left(Some("101:4")), 6, "the clock of another writer is ahead");
        assert_eq!(left(Some("102:4")), 10);
        assert_eq!(left(Some("100:11")), 0);
        for malformed in ["", "100", "100:", ":4", "100:-1", "x:y", "100:4:5"] {
            assert_eq!(left(Some(malformed)), 10, "{malformed:?}");
        }
    }

    #[test]
    fn the_value_is_pinned_and_adds_up() {
        assert_eq!(Quota::read(None, 100, 10).with(3), "100:3");
        assert_eq!(Quota::read(Some("100:3"), 100, 10).with(3), "100:6");
        assert_eq!(Quota::read(Some("101:3"), 100, 10).with(3), "101:6");
    }
}
