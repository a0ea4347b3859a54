//! Every open lane: opened with a shard's first request, ended when its stream goes or the proxy drains.
//!
//! Owns the tasks of the lanes. It publishes nothing itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use frazil_core::Shard;
use frazil_core::idempotency::KeyHash;
use frazil_core::stream::StreamDefinition;
use frazil_log::Directory;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::ProxyConfig;
use crate::lane::{Lane, LaneSender, StoreFailure, Troubles};
use crate::metrics::Metrics;
use crate::publish::EventLog;

/// The lanes of all shards.
#[derive(Debug)]
pub(crate) struct Lanes {
    log: Arc<dyn EventLog>,
    config: Arc<ProxyConfig>,
    metrics: Metrics,
    troubles: Troubles,
    state: Mutex<State>,
    turn: AtomicU32,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<Shard, OpenLane>,
    tasks: JoinSet<()>,
    draining: bool,
}

#[derive(Debug)]
struct OpenLane {
    /// When the stream's definition was made: another value is another stream of the same name.
    created: i64,
    sender: LaneSender,
    cancel: CancellationToken,
}

impl Lanes {
    pub(crate) fn new(log: Arc<dyn EventLog>, config: Arc<ProxyConfig>, metrics: Metrics) -> Self {
        let (troubles, state) = (Troubles::default(), Mutex::default());
        Self { log, config, metrics, troubles, state, turn: AtomicU32::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shard for a request: a key always goes to the same one, requests without keys take turns.
    pub(crate) fn choose(&self, stream: &StreamDefinition, key: Option<KeyHash>) -> Shard {
        let index = match key {
            Some(key) => key.shard(stream.shards),
            None => self.turn.fetch_add(1, Ordering::Relaxed) % stream.shards.max(1),
        };
        Shard::new(stream.name.clone(), index)
    }

    /// The lane of a shard, opened if it is not.
    ///
    /// # Errors
    /// While draining; nothing is stored.
    pub(crate) fn lane(&self, shard: &Shard, stream: &StreamDefinition) -> Result<LaneSender, StoreFailure> {
        let mut state = self.state();
        if state.draining {
            return Err(StoreFailure::NotStored("the proxy is shutting down".to_owned()));
        }
        if let Some(lane) = state.open.get(shard)
            && lane.created == stream.created
            && !lane.sender.is_closed()
        {
            return Ok(lane.sender.clone());
        }
        while let Some(ended) = state.tasks.try_join_next() {
            report(ended);
        }
        let cancel = CancellationToken::new();
        let (log, config) = (Arc::clone(&self.log), Arc::clone(&self.config));
        let (metrics, troubles) = (self.metrics.clone(), self.troubles.clone());
        let (lane, sender) = Lane::new(shard.clone(), log, config, metrics, troubles, cancel.clone());
        state.tasks.spawn(lane.run());
        let open = OpenLane { created: stream.created, sender: sender.clone(), cancel };
        if let Some(old) = state.open.insert(shard.clone(), open) {
            old.cancel.cancel();
        }
        Ok(sender)
    }

    /// What is wrong with the logs of shards, in words.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.troubles.notes()
    }

    /// Ends the lanes of streams that are deleted or recreated, until cancelled.
    pub(crate) async fn follow(&self, directory: &Directory, cancel: &CancellationToken) {
        let mut changes = directory.changes();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = changes.changed() => match changed {
                    Ok(()) => self.prune(directory),
                    // The directory no longer changes.
                    Err(_) => return,
                },
            }
        }
    }

    fn prune(&self, directory: &Directory) {
        self.state().open.retain(|shard, lane| {
            let stream = directory.stream(shard.stream.as_str());
            let lives = stream.is_some_and(|stream| stream.created == lane.created && shard.index < stream.shards);
            if !lives {
                tracing::info!(%shard, "the stream is gone, its lane ends");
                lane.cancel.cancel();
            }
            lives
        });
    }

    /// Ends every lane after it has finished what it accepted, and waits for them. Opens no lane afterwards.
    pub(crate) async fn drain(&self) {
        let mut tasks = {
            let mut state = self.state();
            state.draining = true;
            for (_, lane) in state.open.drain() {
                lane.cancel.cancel();
            }
            std::mem::take(&mut state.tasks)
        };
        while let Some(ended) = tasks.join_next().await {
            report(ended);
        }
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a lane panicked; its requests were answered with an unknown outcome");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::publish::memory::MemoryLog;

    fn lanes() -> Lanes {
        let config = ProxyConfig { publish_deadline: Duration::from_secs(1), ..ProxyConfig::default() };
        Lanes::new(Arc::new(MemoryLog::default()), Arc::new(config), Metrics::default())
    }

    fn stream(created: i64) -> StreamDefinition {
        StreamDefinition { shards: 2, ..StreamDefinition::new("sales".parse().expect("valid"), created) }
    }

    async fn ended(lanes: &Lanes) {
        let mut tasks = std::mem::take(&mut lanes.state().tasks);
        while let Some(ended) = tasks.join_next().await {
            ended.expect("no panic");
        }
    }

    #[tokio::test]
    async fn a_lane_is_opened_once_per_shard_of_a_stream() {
        let lanes = lanes();
        let (first, second) = (Shard::new(stream(1).name, 0), Shard::new(stream(1).name, 1));
        for shard in [&first, &first, &second, &first] {
            lanes.lane(shard, &stream(1)).expect("open");
        }
        assert_eq!(lanes.state().tasks.len(), 2);
        let old = lanes.lane(&first, &stream(1)).expect("open");
        let new = lanes.lane(&first, &stream(2)).expect("another stream of the same name");
        lanes.prune(&Directory::fixed([stream(2)], []));
        assert_eq!(lanes.state().open.len(), 1, "the second shard's lane belonged to the old stream");
        lanes.prune(&Directory::fixed([], []));
        ended(&lanes).await;
        assert!(old.is_closed() && new.is_closed());
    }

    #[tokio::test]
    async fn a_drain_ends_every_lane_and_opens_none() {
        let lanes = lanes();
        let shard = Shard::new(stream(1).name, 0);
        let sender = lanes.lane(&shard, &stream(1)).expect("open");
        lanes.drain().await;
        assert!(sender.is_closed());
        assert!(matches!(lanes.lane(&shard, &stream(1)), Err(StoreFailure::NotStored(_))));
    }
}
