//! What is not committed of which table, and when each was committed last: series per table, of bounded number.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use frazil_core::TableName;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::progress::Uncommitted;

/// Tables of one writer that have series of their own. More: they are put together as the table [`OTHER`].
pub(crate) const TABLE_SERIES_MAX: usize = 1000;

/// The name under which tables beyond [`TABLE_SERIES_MAX`] are put together; no table can have it.
pub(crate) const OTHER: &str = "other";

/// Labels: one table as it is fed by one stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(crate) struct TableLabel {
    pub(crate) stream: String,
    pub(crate) table: String,
}

type Float = Gauge<f64, AtomicU64>;

/// The series. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct TableSeries {
    events: Family<TableLabel, Gauge>,
    bytes: Family<TableLabel, Gauge>,
    oldest: Family<TableLabel, Float>,
    committed: Family<TableLabel, Float>,
    /// Tables with series of their own.
    named: Arc<Mutex<BTreeSet<TableLabel>>>,
    max: usize,
}

impl Default for TableSeries {
    fn default() -> Self {
        Self::at_most(TABLE_SERIES_MAX)
    }
}

impl TableSeries {
    fn at_most(max: usize) -> Self {
        Self {
            events: Family::default(),
            bytes: Family::default(),
            oldest: Family::default(),
            committed: Family::default(),
            named: Arc::default(),
            max,
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Events of a table that are read from the log and not committed";
        registry.register("table_uncommitted_events", help, self.events.clone());
        let help = "Bytes of events of a table that are read from the log and not committed";
        registry.register("table_uncommitted_bytes", help, self.bytes.clone());
        let help = "Time since the oldest event of a table that is not committed was read";
        registry.register("table_oldest_uncommitted_seconds", help, self.oldest.clone());
        let help = "When the table was last committed by this process, in seconds since the Unix epoch";
        registry.register("table_last_commit_timestamp_seconds", help, self.committed.clone());
    }

    /// A table was committed at this time, in seconds since the Unix epoch. Of those put together, the newest is shown.
    pub(crate) fn committed(&self, stream: &str, table: &TableName, unix_seconds: f64) {
        let label = self.label(&mut self.named(), stream, table);
        self.committed.get_or_create(&label).set(unix_seconds);
    }

    /// All that is uncommitted of a stream. Tables that are not mentioned have nothing uncommitted.
    pub(crate) fn refresh(&self, stream: &str, uncommitted: BTreeMap<TableName, Uncommitted>) {
        let mut named = self.named();
        let mut by_label = BTreeMap::<TableLabel, Uncommitted>::new();
        for (table, of_table) in uncommitted {
            by_label.entry(self.label(&mut named, stream, &table)).or_default().merge(&of_table);
        }
        for label in named.iter().filter(|label| label.stream == stream) {
            by_label.entry(label.clone()).or_default();
        }
        let other = Self::other(stream);
        if named.len() >= self.max {
            by_label.entry(other).or_default();
        } else if !by_label.contains_key(&other) {
            self.remove(&other);
        }
        drop(named);
        for (label, of_label) in by_label {
            self.events.get_or_create(&label).set(i64::try_from(of_label.events).unwrap_or(i64::MAX));
            self.bytes.get_or_create(&label).set(i64::try_from(of_label.bytes).unwrap_or(i64::MAX));
            let age = of_label.oldest.map_or(0.0, |at| at.elapsed().as_secs_f64());
            self.oldest.get_or_create(&label).set(age);
        }
    }

    /// A table is not fed any more: its series end, and another table may have some.
    pub(crate) fn forget(&self, stream: &str, table: &TableName) {
        let label = TableLabel { stream: stream.to_owned(), table: table.to_string() };
        if self.named().remove(&label) {
            self.remove(&label);
        }
    }

    /// A stream is gone, and with it the series of all of its tables.
    pub(crate) fn forget_stream(&self, stream: &str) {
        let gone: Vec<TableLabel> = {
            let mut named = self.named();
            let gone: Vec<_> = named.iter().filter(|label| label.stream == stream).cloned().collect();
            named.retain(|label| label.stream != stream);
            gone
        };
        gone.iter().chain([&Self::other(stream)]).for_each(|label| self.remove(label));
    }

    fn remove(&self, label: &TableLabel) {
        self.events.remove(label);
        self.bytes.remove(label);
        self.oldest.remove(label);
        self.committed.remove(label);
    }

    fn label(&self, named: &mut BTreeSet<TableLabel>, stream: &str, table: &TableName) -> TableLabel {
        let own = TableLabel { stream: stream.to_owned(), table: table.to_string() };
        if named.contains(&own) || named.len() < self.max {
            named.insert(own.clone());
            return own;
        }
        Self::other(stream)
    }

    fn other(stream: &str) -> TableLabel {
        TableLabel { stream: stream.to_owned(), table: OTHER.to_owned() }
    }

    fn named(&self) -> MutexGuard<'_, BTreeSet<TableLabel>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use tokio::time::Instant;

    use super::*;

    fn table(n: usize) -> TableName {
        format!("lake.web.t{n}").parse().expect("valid")
    }

    fn of(events: u64) -> Uncommitted {
        Uncommitted { events, bytes: events * 10, oldest: Some(Instant::now()) }
    }

    fn text(series: &TableSeries) -> Vec<String> {
        let (mut registry, mut text) = (Registry::default(), String::new());
        series.register(&mut registry);
        encode(&mut text, &registry).expect("into memory");
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn tables_beyond_the_limit_are_put_together() {
        let series = TableSeries::at_most(2);
        series.refresh("s", (0..5).map(|n| (table(n), of(n as u64 + 1))).collect());
        let lines = text(&series);
        for line in [
            r#"table_uncommitted_events{stream="s",table="lake.web.t0"} 1"#,
            r#"table_uncommitted_events{stream="s",table="lake.web.t1"} 2"#,
            r#"table_uncommitted_events{stream="s",table="other"} 12"#,
            r#"table_uncommitted_bytes{stream="s",table="other"} 120"#,
        ] {
            assert!(lines.iter().any(|found| found == line), "{line} is not in {lines:#?}");
        }
        assert_eq!(lines.len(), 9, "three kinds of series for three labels");
        series.committed("s", &table(4), 7.0);
        series.committed("s", &table(3), 9.0);
        assert!(text(&series).contains(&r#"table_last_commit_timestamp_seconds{stream="s",table="other"} 9.0"#.into()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_that_ends_gives_its_series_to_another() {
        let series = TableSeries::at_most(2);
        series.refresh("s", [(table(0), of(1))].into());
        series.committed("s", &table(0), 1.0);
        series.forget("s", &table(0));
        assert_eq!(text(&series), Vec::<String>::new());
        series.refresh("s", [(table(1), of(4))].into());
        let line = r#"table_uncommitted_events{stream="s",table="lake.web.t1"} 4"#;
        assert!(text(&series).contains(&line.to_owned()));
        series.refresh("s", BTreeMap::new());
        assert!(text(&series).contains(&line.replace(" 4", " 0")), "a table that is not mentioned has nothing left");
        series.forget_stream("s");
        assert_eq!(text(&series), Vec::<String>::new());
    }
}
