//! What is known of one shard's commits to one table, and what it says about a receipt. Pure.

use std::collections::VecDeque;

use frazil_core::checkpoint::Checkpoint;
use frazil_core::receipt::Receipt;
use frazil_core::rewind::HISTORY;
use frazil_core::stream::{CommitNotice, Progress};
use tokio::time::Instant;

use crate::tables::TableCommits;

/// Commits remembered per shard and table.
const COMMITS_MAX: usize = 128;

/// How far the events of a receipt have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progressed {
    /// Durable in the log.
    Stored,
    /// Visible in the table.
    Committed {
        /// The oldest known snapshot in which all of them are visible.
        snapshot_id: Option<i64>,
    },
}

/// Knowledge only grows, except that another incarnation's commits push out the oldest.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// When the table was last asked.
    pub(super) polled: Option<Instant>,
    /// Everything up to here is in the table.
    checkpoint: Option<Checkpoint>,
    /// Everything up to here is in its table, whichever that is.
    watermark: Option<Checkpoint>,
    /// Up to where which snapshot made the table contain the shard; in no particular order.
    commits: VecDeque<(Checkpoint, i64)>,
}

impl Known {
    pub(super) fn notice(&mut self, notice: &CommitNotice) {
        self.commit(
            Checkpoint { incarnation: notice.incarnation, sequence: notice.sequence, at: None },
            notice.snapshot_id,
        );
    }

    pub(super) fn poll(&mut self, at: Instant, commits: Option<TableCommits>, watermark: Option<Progress>) {
        self.polled = Some(at);
        if let Some(watermark) = watermark {
            self.watermark = Some(watermark.checkpoint());
        }
        let Some(commits) = commits else { return };
        self.checkpoint = commits.checkpoint.or(self.checkpoint);
        for (delta, snapshot_id) in commits.deltas.into_iter().rev() {
            self.commit(Checkpoint { incarnation: delta.incarnation, sequence: delta.end, at: None }, snapshot_id);
        }
    }

    fn commit(&mut self, end: Checkpoint, snapshot_id: i64) {
        if self.commits.iter().any(|(known, _)| *known == end) {
            return;
        }
        if self.commits.len() == COMMITS_MAX {
            self.commits.pop_front();
        }
        self.commits.push_back((end, snapshot_id));
    }

    /// `lost` says that the log has lost the events: then only what was committed before proves anything.
    pub(super) fn progress_of(&self, receipt: &Receipt, lost: bool) -> Progressed {
        let before = |checkpoint: &Checkpoint| checkpoint.sequence / HISTORY == receipt.last / HISTORY;
        let covers = |checkpoint: &Checkpoint| {
            checkpoint.covers(receipt.incarnation, receipt.last) && (!lost || before(checkpoint))
        };
        let first = self.commits.iter().filter(|(end, _)| covers(end)).min_by_key(|(end, _)| end.sequence);
        match first {
            Some((_, snapshot_id)) => Progressed::Committed { snapshot_id: Some(*snapshot_id) },
            None if self.checkpoint.iter().chain(&self.watermark).any(covers) => {
                Progressed::Committed { snapshot_id: None }
            }
            None => Progressed::Stored,
        }
    }
}

#[cfg(test)]
mod tests {
    use frazil_core::Shard;
    use frazil_core::checkpoint::{CheckpointDelta, Incarnation};

    use super::*;

    fn receipt(incarnation: u64, last: u64) -> Receipt {
        Receipt {
            shard: Shard::new("sales".parse().expect("valid"), 0),
            incarnation: Incarnation(incarnation),
            first: 1,
            last,
            table: "lake.web.clicks".parse().expect("valid"),
        }
    }

    fn notice(incarnation: u64, sequence: u64, snapshot_id: i64) -> CommitNotice {
        let table = receipt(0, 1).table;
        CommitNotice { table, incarnation: Incarnation(incarnation), sequence, snapshot_id }
    }

    fn committed(snapshot_id: i64) -> Progressed {
        Progressed::Committed { snapshot_id: Some(snapshot_id) }
    }

    #[test]
    fn the_oldest_snapshot_that_covers_is_named() {
        let mut known = Known::default();
        assert_eq!(known.progress_of(&receipt(1, 1), false), Progressed::Stored);
        for (sequence, snapshot) in [(5, 50), (9, 90), (7, 70), (9, 91)] {
            known.notice(&notice(1, sequence, snapshot));
        }
        for (last, expected) in [(4, 50), (5, 50), (6, 70), (8, 90), (9, 90)] {
            assert_eq!(known.progress_of(&receipt(1, last), false), committed(expected), "{last}");
        }
        assert_eq!(known.progress_of(&receipt(1, 10), false), Progressed::Stored);
        assert_eq!(known.progress_of(&receipt(2, 1), false), Progressed::Stored, "another incarnation");
    }

    #[test]
    fn a_checkpoint_or_a_watermark_suffices_without_a_snapshot() {
        let at = Checkpoint { incarnation: Incarnation(1), sequence: 8, at: None };
        let now = Instant::now();
        let mut known = Known::default();
        known.poll(now, Some(TableCommits { checkpoint: Some(at), deltas: Vec::new() }), None);
        assert_eq!(known.progress_of(&receipt(1, 8), false), Progressed::Committed { snapshot_id: None });
        known.poll(now, None, Some(Progress { incarnation: Incarnation(1), sequence: 9, at: None }));
        assert_eq!(known.progress_of(&receipt(1, 9), false), Progressed::Committed { snapshot_id: None });
        assert_eq!(known.progress_of(&receipt(1, 10), false), Progressed::Stored);
        let delta = CheckpointDelta { incarnation: Incarnation(1), start: 5, end: 8 };
        known.poll(now, Some(TableCommits { checkpoint: Some(at), deltas: vec![(delta, 80)] }), None);
        assert_eq!(known.progress_of(&receipt(1, 8), false), committed(80));
    }

    #[test]
    fn what_the_log_lost_is_committed_only_if_it_was_before() {
        let mut known = Known::default();
        known.notice(&notice(1, HISTORY + 3, 30));
        assert_eq!(known.progress_of(&receipt(1, 5), false), committed(30));
        assert_eq!(known.progress_of(&receipt(1, 5), true), Progressed::Stored);
        known.notice(&notice(1, 6, 20));
        assert_eq!(known.progress_of(&receipt(1, 5), true), committed(20));
        assert_eq!(known.progress_of(&receipt(1, 7), true), Progressed::Stored);
    }

    #[test]
    fn memory_is_bounded() {
        let mut known = Known::default();
        for sequence in 1..1000 {
            known.notice(&notice(1, sequence, 0));
        }
        assert_eq!(known.commits.len(), COMMITS_MAX);
        assert_eq!(known.progress_of(&receipt(1, 999), false), committed(0));
    }
}
