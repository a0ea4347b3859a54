//! A live, in-memory view of stream definitions and tokens.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use frazil_core::Shard;
use frazil_core::stream::StreamDefinition;
use frazil_core::token::TokenRecord;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::bucket::{self, Entry};
use crate::connect::Log;
use crate::control::{REWIND_KEYS, STREAM_KEYS, TOKEN_KEYS, parse};
use crate::error::{Chain, LogError};
use crate::session::Session;

/// First wait before the watch is tried again; doubles up to the maximum.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What the control bucket says about streams and tokens, kept up to date by a watch. Cheap to clone;
/// look-ups never wait. While the log is unavailable the last known state stays.
#[derive(Debug, Clone)]
pub struct Directory {
    state: Arc<watch::Sender<State>>,
    changes: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct State {
    streams: HashMap<String, Arc<StreamDefinition>>,
    tokens: HashMap<String, Arc<TokenRecord>>,
}

impl Directory {
    /// Starts the watch in `tasks`; returns once the present values are in. Ends when `cancel` is cancelled.
    ///
    /// # Errors
    /// `NotFound` if there is no control bucket, `Unavailable`, `Refused`.
    pub async fn start(log: Log, tasks: &mut JoinSet<()>, cancel: CancellationToken) -> Result<Self, LogError> {
        let (state, session) = load(&log).await?;
        let directory = Self::with(state);
        tasks.spawn({
            let directory = directory.clone();
            async move {
                // Cancelling drops the session, which is all there is to clean up.
                cancel.run_until_cancelled(directory.follow(log, session)).await;
            }
        });
        Ok(directory)
    }

    /// A directory that never changes, for unit tests.
    pub fn fixed(
        streams: impl IntoIterator<Item = StreamDefinition>,
        tokens: impl IntoIterator<Item = TokenRecord>,
    ) -> Self {
        let streams = streams.into_iter().map(|stream| (stream.name.to_string(), Arc::new(stream))).collect();
        let tokens = tokens.into_iter().map(|token| (token.id.clone(), Arc::new(token))).collect();
        Self::with(State { streams, tokens })
    }

    fn with(state: State) -> Self {
        Self { state: Arc::new(watch::Sender::new(state)), changes: Arc::new(watch::Sender::new(0)) }
    }

    /// The definition of a stream.
    pub fn stream(&self, name: &str) -> Option<Arc<StreamDefinition>> {
        self.state.borrow().streams.get(name).cloned()
    }

    /// All definitions, by name.
    pub fn streams(&self) -> Vec<Arc<StreamDefinition>> {
        let mut streams: Vec<_> = self.state.borrow().streams.values().cloned().collect();
        streams.sort_by(|a, b| a.name.cmp(&b.name));
        streams
    }

    /// The record of a token.
    pub fn token(&self, id: &str) -> Option<Arc<TokenRecord>> {
        self.state.borrow().tokens.get(id).cloned()
    }

    /// A number that grows with every change. The channel stays open as long as a directory exists.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Applies changes for ever. A new session starts with everything there is, so nothing that happened
    /// between two sessions is missed, deletions included.
    async fn follow(&self, log: Log, mut session: Session) {
        loop {
            let lost = loop {
                match session.next().await {
                    Ok(delivered) => {
                        let entry = Entry::from_delivered(delivered);
                        note_rewinds(&log, &entry);
                        self.replace(|state| state.apply(&entry));
                    }
                    Err(cause) => break cause,
                }
            };
            tracing::debug!(cause = %lost, "watching the control bucket anew");
            let mut delay = BACKOFF;
            session = loop {
                log.connected().await;
                match load(&log).await {
                    Ok((state, session)) => {
                        self.replace(|present| *present = state);
                        break session;
                    }
                    Err(error) => tracing::warn!(error = %Chain(&error), "cannot watch the control bucket"),
                }
                sleep(delay).await;
                delay = (delay * 2).min(BACKOFF_MAX);
            };
        }
    }

    fn replace(&self, change: impl FnOnce(&mut State)) {
        let changed = self.state.send_if_modified(|state| {
            let before = state.clone();
            change(state);
            *state != before
        });
        if changed {
            self.changes.send_modify(|version| *version += 1);
        }
    }
}

impl State {
    /// Applies one entry. A value this build cannot read leaves what was known of the key.
    fn apply(&mut self, entry: &Entry) {
        let applied = match entry.key.split_once('.') {
            Some(("stream", name)) => set(&mut self.streams, name, entry),
            Some(("token", id)) => set(&mut self.tokens, id, entry),
            _ => Ok(()),
        };
        if let Err(error) = applied {
            tracing::error!(error = %Chain(&error), "ignoring an entry of the control bucket");
        }
    }
}

fn set<T: DeserializeOwned>(map: &mut HashMap<String, Arc<T>>, name: &str, entry: &Entry) -> Result<(), LogError> {
    match parse(entry)? {
        Some(value) => map.insert(name.to_owned(), Arc::new(value)),
        None => map.remove(name),
    };
    Ok(())
}

async fn load(log: &Log) -> Result<(State, Session), LogError> {
    let (entries, session) = bucket::watch(log, &[STREAM_KEYS, TOKEN_KEYS, REWIND_KEYS]).await?;
    let mut state = State::default();
    for entry in &entries {
        note_rewinds(log, entry);
        state.apply(entry);
    }
    Ok((state, session))
}

/// Rewinds are kept with the connection, where whoever publishes finds them.
fn note_rewinds(log: &Log, entry: &Entry) {
    let Some((stream, index)) = entry.key.strip_prefix("rewind.").and_then(|rest| rest.rsplit_once('.')) else {
        return;
    };
    let (Ok(stream), Ok(index)) = (stream.parse(), index.parse()) else { return };
    match parse(entry) {
        Ok(Some(rewinds)) => log.known_rewinds().note(&Shard::new(stream, index), rewinds),
        Ok(None) => {}
        Err(error) => tracing::error!(error = %Chain(&error), "ignoring an entry of the control bucket"),
    }
}
