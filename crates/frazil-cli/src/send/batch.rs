//! Events gathered into one request, and where each came from. Pure.

use std::fmt;
use std::sync::Arc;

/// How events of an input are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Lines of NDJSON, from 1.
    Line,
    /// Elements of a JSON array, from 1.
    Element,
}

/// Where an event came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) source: Arc<str>,
    pub(super) unit: Unit,
    pub(super) number: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unit {
            Unit::Line => write!(f, "{}:{}", self.source, self.number),
            Unit::Element => write!(f, "{}[{}]", self.source, self.number),
        }
    }
}

/// An event that was refused, by us or by the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reject {
    pub(super) place: Place,
    /// Path of the field; empty for the event itself.
    pub(super) field: String,
    pub(super) reason: String,
    /// The event as it was read.
    pub(super) event: Vec<u8>,
}

/// The events of one request, as NDJSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    /// The idempotency key: the run's prefix and the batch's number.
    pub(super) key: String,
    pub(super) source: Arc<str>,
    pub(super) unit: Unit,
    /// Number of each event in its source.
    pub(super) numbers: Vec<u64>,
    /// One line per event, each ended by a line break.
    pub(super) body: Vec<u8>,
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    pub(super) fn place(&self, index: usize) -> Option<Place> {
        let number = *self.numbers.get(index)?;
        Some(Place { source: self.source.clone(), unit: self.unit, number })
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.body.split_inclusive(|byte| *byte == b'\n')
    }

    /// The event at `index`, without its line break.
    pub(super) fn event(&self, index: usize) -> Option<&[u8]> {
        self.lines().nth(index).map(|line| line.strip_suffix(b"\n").unwrap_or(line))
    }

    /// The batch without the events at `indices` (ascending), under the same key: nothing was stored under it yet.
    pub(super) fn without(&self, indices: &[usize]) -> Self {
        let kept = |index: &usize| indices.binary_search(index).is_err();
        let body =
            self.lines().enumerate().filter(|(index, _)| kept(index)).flat_map(|(_, line)| line).copied().collect();
        let numbers =
            self.numbers.iter().enumerate().filter(|(index, _)| kept(index)).map(|(_, number)| *number).collect();
        Self { key: self.key.clone(), source: self.source.clone(), unit: self.unit, numbers, body }
    }
}

/// Cuts events into batches, by count and size only, so that the same input always gives the same batches.
#[derive(Debug)]
pub(super) struct Batcher {
    prefix: String,
    max_events: usize,
    max_bytes: usize,
    next: u64,
    open: Option<Batch>,
}

impl Batcher {
    pub(super) fn new(prefix: String, max_events: usize, max_bytes: usize) -> Self {
        Self { prefix, max_events, max_bytes, next: 1, open: None }
    }

    /// Adds one event (a single line without its break); returns the batch that is full because of it.
    /// A batch is closed before it would pass the size; one event larger than that is a batch of its own.
    pub(super) fn add(&mut self, place: &Place, event: &[u8]) -> Option<Batch> {
        let fits = |open: &Batch| {
            open.source == place.source
                && open.len() < self.max_events
                && open.body.len() + event.len() < self.max_bytes
        };
        let full = if self.open.as_ref().is_some_and(|open| !fits(open)) { self.open.take() } else { None };
        let Self { prefix, next, open, max_bytes, .. } = self;
        let open = open.get_or_insert_with(|| {
            let key = format!("{prefix}-{next}");
            *next += 1;
            let body = Vec::with_capacity((*max_bytes).min(64 * 1024));
            Batch { key, source: place.source.clone(), unit: place.unit, numbers: Vec::new(), body }
        });
        open.numbers.push(place.number);
        open.body.extend_from_slice(event);
        open.body.push(b'\n');
        full
    }

    /// The batch that is still open.
    pub(super) fn finish(&mut self) -> Option<Batch> {
        self.open.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(source: &str, number: u64) -> Place {
        Place { source: source.into(), unit: Unit::Line, number }
    }

    fn cut(events: &[(&str, &str)], max_events: usize, max_bytes: usize) -> Vec<Batch> {
        let mut batcher = Batcher::new("p".to_owned(), max_events, max_bytes);
        let mut batches = Vec::new();
        for (number, (source, event)) in events.iter().enumerate() {
            batches.extend(batcher.add(&place(source, number as u64 + 1), event.as_bytes()));
        }
        batches.extend(batcher.finish());
        batches
    }

    fn bodies(batches: &[Batch]) -> Vec<&str> {
        batches.iter().map(|batch| std::str::from_utf8(&batch.body).expect("text")).collect()
    }

    #[test]
    fn batches_end_at_the_count_at_the_size_and_at_the_end_of_a_file() {
        let batches = cut(&[("a", "1"), ("a", "2"), ("a", "3"), ("b", "4")], 2, 100);
        assert_eq!(bodies(&batches), ["1\n2\n", "3\n", "4\n"]);
        assert_eq!(batches.iter().map(|b| b.key.as_str()).collect::<Vec<_>>(), ["p-1", "p-2", "p-3"]);

        let batches = cut(&[("a", "11"), ("a", "22"), ("a", "33")], 10, 6);
        assert_eq!(bodies(&batches), ["11\n22\n", "33\n"], "exactly the size fits");
        assert_eq!(
            bodies(&cut(&[("a", "1111111"), ("a", "2")], 10, 4)),
            ["1111111\n", "2\n"],
            "a large one goes alone"
        );
        assert!(cut(&[], 1, 1).is_empty());
    }

    #[test]
    fn events_can_be_taken_out() {
        let batch = cut(&[("a", "1"), ("a", "2"), ("a", "3")], 10, 100).remove(0);
        assert_eq!(batch.event(1), Some(&b"2"[..]));
        let rest = batch.without(&[0, 2]);
        assert_eq!((rest.key.as_str(), rest.numbers.as_slice(), rest.body.as_slice()), ("p-1", &[2][..], &b"2\n"[..]));
        assert_eq!(rest.place(0), Some(place("a", 2)));
        assert_eq!(rest.place(1), None);
        assert_eq!(place("a", 2).to_string(), "a:2");
        assert_eq!(batch.without(&[0, 1, 2]).len(), 0);
    }
}
