//! Whether the writer is healthy, and what is wrong if not. Others watch it; nothing here acts on it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// The writer's condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriterStatus {
    /// What keeps the writer from doing all its work, by place (`table lake.web.clicks`, `shard sales/0`, …).
    /// Empty means ready.
    pub degraded: BTreeMap<String, String>,
}

impl WriterStatus {
    /// Whether everything works.
    pub fn is_ready(&self) -> bool {
        self.degraded.is_empty()
    }
}

/// Where problems are reported.
#[derive(Debug, Clone)]
pub struct StatusBoard {
    problems: Arc<Mutex<BTreeMap<String, (u64, String)>>>,
    sender: Arc<watch::Sender<WriterStatus>>,
}

/// A reported problem; over when dropped.
#[derive(Debug)]
pub struct Problem {
    place: String,
    board: StatusBoard,
}

impl Default for StatusBoard {
    fn default() -> Self {
        let (sender, _) = watch::channel(WriterStatus::default());
        Self { problems: Arc::default(), sender: Arc::new(sender) }
    }
}

impl StatusBoard {
    /// Reports a problem at `place`, or what it is now.
    #[must_use = "the problem is over when this is dropped"]
    pub fn raise(&self, place: impl Into<String>, reason: impl Into<String>) -> Problem {
        let place = place.into();
        self.change(|problems| {
            let entry = problems.entry(place.clone()).or_default();
            *entry = (entry.0 + 1, reason.into());
        });
        Problem { place, board: self.clone() }
    }

    /// Follows the status.
    pub fn watch(&self) -> watch::Receiver<WriterStatus> {
        self.sender.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, (u64, String)>)) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut problems);
        let degraded = problems.iter().map(|(place, (_, reason))| (place.clone(), reason.clone())).collect();
        self.sender.send_replace(WriterStatus { degraded });
    }
}

impl Drop for Problem {
    fn drop(&mut self) {
        let place = std::mem::take(&mut self.place);
        self.board.change(|problems| {
            if let Some((count, _)) = problems.get_mut(&place) {
                *count -= 1;
                if *count == 0 {
                    problems.remove(&place);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_ready_again_when_its_last_problem_is_over() {
        let board = StatusBoard::default();
        let watch = board.watch();
        assert!(watch.borrow().is_ready());
        let first = board.raise("table a", "down");
        let second = board.raise("table a", "still down");
        drop(first);
        assert_eq!(watch.borrow().degraded.get("table a").map(String::as_str), Some("still down"));
        drop(second);
        assert!(watch.borrow().is_ready());
    }
}
