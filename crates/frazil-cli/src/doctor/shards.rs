//! One shard: how it is set up, how full it is, how far its tables are, and what of it was ever lost.

use frazil_core::Shard;
use frazil_core::rewind::{Loss, Losses, Rewind, Rewinds, distance};
use frazil_core::stream::{Progress, StreamDefinition};
use frazil_log::{Log, LogError, ShardDetail, Standing};
use serde::Serialize;

use super::{Level, Report};
use crate::reach::show_micros;
use crate::units::Size;

/// A shard in the JSON of `--json`. Positions are as in checkpoints and `__id__`.
#[derive(Debug, Serialize)]
pub(super) struct ShardReport {
    stream: String,
    shard: u32,
    incarnation: String,
    replicas: usize,
    messages: u64,
    bytes: u64,
    max_bytes: u64,
    first_position: u64,
    last_position: u64,
    watermark: Option<u64>,
    lag_messages: u64,
    rewinds: Vec<Rewind>,
    losses: Vec<Loss>,
    losses_total: u64,
}

/// Adds what there is to say about a shard. What is on record from before `horizon` (microseconds) is only a note.
pub(super) async fn check(log: &Log, definition: &StreamDefinition, shard: &Shard, horizon: i64, report: &mut Report) {
    let about = format!("shard {shard}");
    match look(log, shard).await {
        Ok(Some(seen)) => seen.judge(definition, shard, horizon, report),
        Ok(None) => report.add(Level::Error, about, "it does not exist in the log"),
        Err(error) => report.add(Level::Error, about, format!("{:#}", anyhow::Error::from(error))),
    }
}

/// What the log and the control bucket say.
struct Seen {
    detail: ShardDetail,
    progress: Option<Progress>,
    standing: Option<Standing>,
    rewinds: Rewinds,
    losses: Losses,
}

async fn look(log: &Log, shard: &Shard) -> Result<Option<Seen>, LogError> {
    let Some(detail) = log.shard_detail(shard).await? else { return Ok(None) };
    let incarnation = detail.info.incarnation;
    let progress = log.control().progress(shard).await?.filter(|progress| progress.incarnation == incarnation);
    let standing = match progress {
        Some(progress) => Some(log.confirm(shard, progress.checkpoint()).await?),
        None => None,
    };
    let (rewinds, losses) = (log.rewinds(shard, incarnation).await?, log.losses(shard).await?);
    Ok(Some(Seen { detail, progress, standing, rewinds, losses }))
}

impl Seen {
    fn judge(self, definition: &StreamDefinition, shard: &Shard, horizon: i64, report: &mut Report) {
        let about = format!("shard {shard}");
        let before = report.findings.len();
        self.judge_settings(definition, &about, report);
        self.judge_fill(&about, report);
        self.judge_history(&about, horizon, report);
        let info = self.detail.info;
        let watermark = self.progress.map(|progress| progress.sequence);
        let lag = distance(watermark.unwrap_or(info.first_sequence.saturating_sub(1)), info.last_sequence);
        let lag = lag.min(info.messages);
        if report.findings.len() == before {
            let text = format!("{} in the log, {lag} messages not known to be committed", Size(info.bytes));
            report.add(Level::Ok, about, text);
        }
        report.shards.push(ShardReport {
            stream: shard.stream.to_string(),
            shard: shard.index,
            incarnation: info.incarnation.to_string(),
            replicas: self.detail.replicas,
            messages: info.messages,
            bytes: info.bytes,
            max_bytes: info.max_bytes,
            first_position: info.first_sequence,
            last_position: info.last_sequence,
            watermark,
            lag_messages: lag,
            rewinds: self.rewinds.rewinds,
            losses: self.losses.losses,
            losses_total: self.losses.total,
        });
    }

    fn judge_settings(&self, definition: &StreamDefinition, about: &str, report: &mut Report) {
        let ShardDetail { replicas, lagging, on_disk, refuses_when_full, keeps_everything, denies_deletes, .. } =
            &self.detail;
        if *replicas != definition.replicas as usize {
            let text = format!("it has {replicas} replicas, the stream is defined with {}", definition.replicas);
            report.add(Level::Warning, about, text);
        }
        if !lagging.is_empty() {
            report.add(Level::Warning, about, format!("copies are offline or behind: {}", lagging.join(", ")));
        }
        let musts = [
            (*on_disk, "it is kept in memory, not in files"),
            (*refuses_when_full, "it drops old messages when it is full (discard must be `new`)"),
            (*keeps_everything, "it drops messages by age, number or interest, committed or not"),
        ];
        for (_, text) in musts.iter().filter(|(met, _)| !met) {
            report.add(Level::Error, about, *text);
        }
        if !denies_deletes {
            report.add(Level::Warning, about, "single messages may be deleted (deny_delete is off)");
        }
    }

    fn judge_fill(&self, about: &str, report: &mut Report) {
        let info = self.detail.info;
        if info.bytes / 4 >= info.max_bytes / 5 {
            let text = format!("{} of {} are in use; full, it refuses events", Size(info.bytes), Size(info.max_bytes));
            report.add(Level::Warning, about, text);
        }
    }

    fn judge_history(&self, about: &str, horizon: i64, report: &mut Report) {
        if let Some(Standing::Rewound { evidence }) = &self.standing {
            let text = format!("the log went back, and no writer has recorded it yet: {evidence}");
            report.add(Level::Error, about, text);
        }
        let level = |at: i64| if at >= horizon { Level::Error } else { Level::Note };
        for rewind in &self.rewinds.rewinds {
            let Rewind { from, newest, detected, evidence, .. } = rewind;
            let text = format!(
                "{} UTC: the log went back to before message {from} ({evidence}); {} messages that had been read are \
                 gone from it",
                show_micros(*detected),
                distance(from - 1, *newest),
            );
            report.add(level(*detected), about, text);
        }
        for loss in &self.losses.losses {
            report.add(level(loss.detected), about, describe(loss));
        }
        let forgotten = self.losses.total.saturating_sub(self.losses.losses.len() as u64);
        if forgotten > 0 {
            report.add(Level::Note, about, format!("{forgotten} older losses are no longer on record one by one"));
        }
    }
}

fn describe(loss: &Loss) -> String {
    let Loss { detected, producer, from, to, seen_at, .. } = loss;
    let (time, count) = (show_micros(*detected), to - from + 1);
    match producer {
        Some(producer) => format!(
            "{time} UTC: {count} acknowledged envelopes are lost, numbers {from} to {to} of producer {producer}, as \
             message {seen_at} shows"
        ),
        None => format!("{time} UTC: {count} messages are gone from the log, positions {from} to {to}"),
    }
}

#[cfg(test)]
mod tests {
    use frazil_core::checkpoint::Incarnation;
    use frazil_log::ShardInfo;

    use super::*;

    fn seen() -> Seen {
        let incarnation = Incarnation(7);
        let info =
            ShardInfo { incarnation, first_sequence: 1, last_sequence: 9, messages: 9, bytes: 10, max_bytes: 100 };
        let detail = ShardDetail {
            info,
            replicas: 1,
            lagging: Vec::new(),
            on_disk: true,
            refuses_when_full: true,
            keeps_everything: true,
            denies_deletes: true,
        };
        let progress = Some(Progress { incarnation, sequence: 7, at: Some(1) });
        let (rewinds, losses) = (Rewinds::none(incarnation), Losses::default());
        Seen { detail, progress, standing: Some(Standing::Kept), rewinds, losses }
    }

    fn judged(seen: Seen) -> Report {
        let mut report = Report::default();
        let definition = StreamDefinition::new("sales".parse().expect("valid"), 1);
        let shard = Shard::new(definition.name.clone(), 0);
        seen.judge(&definition, &shard, 1000, &mut report);
        report
    }

    fn levels(report: &Report) -> Vec<Level> {
        report.findings.iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn a_sound_shard_is_one_line() {
        let report = judged(seen());
        assert_eq!(levels(&report), [Level::Ok]);
        assert_eq!((report.shards[0].lag_messages, report.shards[0].watermark), (2, Some(7)));
    }

    #[test]
    fn what_endangers_events_is_an_error() {
        for spoil in [
            |detail: &mut ShardDetail| detail.on_disk = false,
            |detail: &mut ShardDetail| detail.refuses_when_full = false,
            |detail: &mut ShardDetail| detail.keeps_everything = false,
        ] {
            let mut seen = seen();
            spoil(&mut seen.detail);
            assert_eq!(levels(&judged(seen)), [Level::Error]);
        }
        let mut full = seen();
        (full.detail.info.bytes, full.detail.replicas) = (80, 3);
        assert_eq!(levels(&judged(full)), [Level::Warning, Level::Warning]);
    }

    #[test]
    fn losses_and_rewinds_are_errors_until_they_are_old() {
        for (at, level) in [(1000, Level::Error), (999, Level::Note)] {
            let mut seen = seen();
            let evidence = "it ends at 3".to_owned();
            let rewind =
                Rewind { from: 4, shift: 1 << 40, kept_at: None, newest: 6, newest_at: None, detected: at, evidence };
            seen.rewinds.push(rewind);
            let incarnation = seen.rewinds.incarnation;
            let producer = Some(uuid::Uuid::from_u128(1));
            seen.losses.add(Loss { detected: at, incarnation, producer, from: 5, to: 6, seen_at: 9 });
            let report = judged(seen);
            assert_eq!(levels(&report), [level, level]);
            assert!(report.findings[0].message.contains("3 messages that had been read"), "{report:?}");
            assert!(report.findings[1].message.contains("numbers 5 to 6"), "{report:?}");
        }
        let mut unrecorded = seen();
        unrecorded.standing = Some(Standing::Rewound { evidence: "it ends at 3".to_owned() });
        assert_eq!(levels(&judged(unrecorded)), [Level::Error]);
    }
}
